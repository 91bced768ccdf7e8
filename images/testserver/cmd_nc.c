/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_nc.c - `nc`: joins stdin and stdout to a connection, TCP or UDP.
 *
 *   nc [-u] [-v] [-z] [-N] [-w SECONDS] HOST PORT     connect
 *   nc -l [-u] [-v] [-w SECONDS] [-p] PORT            take one connection
 *
 * -z only tries; -w ends it when nothing moved for so long (while connecting, too); -N closes the
 * sending side at the end of stdin. Over UDP the program ends by -w, since datagrams have no end.
 */
#include "cmd.h"
#include "http.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct nc {
	bool udp, verbose, zero, half_close, listen;
	int64_t wait_s; /* 0: for ever */
	const char *host, *port;
};

static bool words_read(struct nc *n, int argc, char **argv, struct err *err) {
	const struct {
		char letter;
		bool *into;
	} switches[] = {
		{ 'u', &n->udp }, { 'v', &n->verbose }, { 'z', &n->zero }, { 'N', &n->half_close }, { 'l', &n->listen },
	};

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-' || !argv[i][1]) {
			n->host = n->port;
			n->port = argv[i];
			continue;
		}
		for (const char *at = argv[i] + 1; *at; at++) {
			const char *value = at[1] ? at + 1 : i + 1 < argc ? argv[i + 1] : "";
			bool known = strchr("t46nq", *at) != NULL;

			for (size_t j = 0; j < ARRAY_LEN(switches); j++) {
				if (switches[j].letter == *at) {
					*switches[j].into = known = true;
				}
			}
			if (*at == 'w' || *at == 'p' || *at == 's') {
				if (*at == 'w' && !str_int(str_from(value), 1, 86400, &n->wait_s)) {
					return err_set(err, "-w needs seconds");
				}
				if (*at == 'p') {
					n->port = value;
				}
				i += at[1] ? 0 : 1;
				break;
			}
			if (!known) {
				return err_set(err, "unknown flag -%c", *at);
			}
		}
	}
	return (n->port && (n->host || n->listen)) || err_set(err, "usage: nc [-u] [-v] [-z] [-N] [-l] [-w SECONDS] [HOST] PORT");
}

static int wait_ms(const struct nc *n) {
	return n->wait_s ? (int)n->wait_s * 1000 : -1;
}

/* Takes one peer: a TCP connection, or the sender of the first datagram, which stays in the socket. */
static bool take(const struct nc *n, int *ret_fd, struct err *err) {
	struct sockaddr_storage peer = { 0 };
	socklen_t len = sizeof(peer);
	auto_fd int fd = -1;
	int64_t port;
	int bound;
	char byte;

	if (!str_int(str_from(n->port), 0, 65535, &port)) {
		return err_set(err, "'%s' is no port", n->port);
	}
	if (!net_listen(n->udp ? SOCK_DGRAM : SOCK_STREAM, port, &fd, &bound, err)) {
		return false;
	}
	if (n->verbose) {
		log_line("listening on %s port %d", n->udp ? "UDP" : "TCP", bound);
	}
	if (!net_readable(fd, wait_ms(n))) {
		return err_code(err, ERR_TIMEOUT, "nobody came");
	}
	if (n->udp) {
		if (recvfrom(fd, &byte, 1, MSG_PEEK, (struct sockaddr *)&peer, &len) < 0 || connect(fd, (struct sockaddr *)&peer, len) != 0) {
			return err_sys(err, "take the datagram's sender");
		}
		*ret_fd = fd;
		fd = -1;
		return true;
	}
	*ret_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	return *ret_fd >= 0 || err_sys(err, "accept");
}

static bool join(const struct nc *n, int fd, struct err *err) {
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };

	for (;;) {
		char bytes[16384];
		int rc = poll(p, 2, wait_ms(n));
		ssize_t got;

		if (rc == 0) {
			return true;
		}
		if (rc < 0) {
			if (errno == EINTR) {
				continue;
			}
			return err_sys(err, "poll");
		}
		if (p[0].revents) {
			got = read(fd, bytes, sizeof(bytes));
			if (got < 0) {
				return err_sys(err, "read");
			}
			if (got == 0 && !n->udp) {
				return true;
			}
			if (!fd_write_all(STDOUT_FILENO, (struct str){ bytes, (size_t)got })) {
				return err_set(err, "the output could not be written");
			}
		}
		if (p[1].revents) {
			got = read(STDIN_FILENO, bytes, sizeof(bytes));
			if (got <= 0) {
				p[1].fd = -1;
				if (n->half_close && !n->udp) {
					shutdown(fd, SHUT_WR);
				}
			} else if (!fd_write_all(fd, (struct str){ bytes, (size_t)got })) {
				return err_sys(err, "write");
			}
		}
	}
}

int cmd_nc(int argc, char **argv) {
	struct nc n = { 0 };
	struct err err = { 0 };
	auto_fd int fd = -1;
	bool ok = words_read(&n, argc, argv, &err);

	term_exits();
	ok = ok && (n.listen ? take(&n, &fd, &err)
			     : net_connect(n.host, n.port, n.udp ? SOCK_DGRAM : SOCK_STREAM, n.wait_s ? wait_ms(&n) : 120 * 1000, &fd, &err));
	if (ok && n.verbose && !n.listen) {
		log_line("connection to %s port %s succeeded", n.host, n.port);
	}
	ok = ok && (n.zero || join(&n, fd, &err));
	if (!ok) {
		fprintf(stderr, "nc: %s\n", err.msg);
	}
	return ok ? 0 : 1;
}
