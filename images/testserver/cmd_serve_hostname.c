/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_serve_hostname.c - `serve-hostname`: answers the host name over HTTP, or raw over TCP and UDP.
 *
 * Like `serve` it goes on for a moment after SIGTERM, while connections may still be sent to it.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"
#include "udp.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static bool close_each;
static int listener = -1;

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	log_line("HTTP request from %s", req->peer);
	buf_add(&reply->body, host_name());
	reply->close = close_each;
}

static void on_datagram(void *arg, struct str request, const char *peer, struct buf *reply) {
	log_line("UDP request from %s", peer);
	buf_add(reply, host_name());
}

static void *tcp_run(void *arg) {
	for (;;) {
		struct sockaddr_storage from = { 0 };
		socklen_t len = sizeof(from);
		char peer[64];
		int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
				usleep(50000);
			}
			continue;
		}
		net_address(&from, peer, sizeof(peer));
		log_line("TCP request from %s", peer);
		/* A name fits into any socket's buffer, so this thread never waits for a peer. */
		if (!fd_write_all(fd, host_name())) {
			log_line("TCP answer to %s failed", peer);
		}
		close(fd);
	}
	return NULL;
}

int cmd_serve_hostname(int argc, char **argv) {
	static struct udp_server udp_server = { .handle = on_datagram };
	bool http = true, tcp = false, udp = false;
	int64_t port = 9376, drain_ms = 2000;
	struct http_server *server = NULL;
	struct err err = { 0 };
	const struct opt opts[] = {
		{ "http", OPT_BOOL, &http, "serve HTTP (true)" },
		{ "tcp", OPT_BOOL, &tcp, "serve raw over TCP; needs --http=false" },
		{ "udp", OPT_BOOL, &udp, "serve raw over UDP; needs --http=false" },
		{ "close", OPT_BOOL, &close_each, "end the connection after each HTTP request" },
		{ "port", OPT_INT, &port, "where to listen" },
		{ "drain", OPT_DURATION, &drain_ms, "how long to go on after SIGTERM (2s)" },
	};
	int bound;

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (http && (tcp || udp)) {
		log_line("serve-hostname: --http cannot be with --tcp or --udp; add --http=false");
		return 2;
	}
	if ((http && !http_server_start(&(struct http_serve){ .port = port, .handle = on_request }, &server, &err)) ||
		(tcp && !(net_listen(SOCK_STREAM, port, &listener, &bound, &err) && thread_start(tcp_run, NULL, &err))) ||
		(udp && !udp_server_start(&udp_server, "", port, &err))) {
		log_line("serve-hostname: %s", err.msg);
		return 1;
	}
	log_line("serving on port %lld", (long long)port);
	term_wait(-1);
	if (server) {
		http_server_drain(server);
	}
	term_wait((int)drain_ms);
	if (server) {
		http_server_stop(server, 5000);
	}
	return 0;
}
