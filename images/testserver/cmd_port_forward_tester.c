/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_port_forward_tester.c - `port-forward-tester`: serves one connection with known pieces of data.
 *
 * All is told by the environment: BIND_PORT, and perhaps BIND_ADDRESS (localhost),
 * EXPECTED_CLIENT_DATA (waited for first), CHUNKS, CHUNK_SIZE and CHUNK_INTERVAL (milliseconds). Each
 * chunk is CHUNK_SIZE letters x. Ends with `Done`, or with a line that says what was wrong.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *env(const char *name, const char *otherwise) {
	const char *value = getenv(name);

	return value && *value ? value : otherwise;
}

static bool env_int(const char *name, int64_t max, int64_t *ret, struct err *err) {
	return str_int(str_from(env(name, "0")), 0, max, ret) || err_set(err, "%s must be a number up to %lld", name, (long long)max);
}

static bool listen_at(const char *host, const char *port, int *ret_fd, struct err *err) {
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
	int rc = getaddrinfo(host, port, &hints, &found), on = 1, fd = -1;

	if (rc != 0) {
		return err_code(err, ERR_LOOKUP, "lookup %s: %s", host, gai_strerror(rc));
	}
	for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (fd >= 0 && (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 1) != 0)) {
			int sys = errno;

			close(fd);
			fd = -1;
			errno = sys;
		}
	}
	freeaddrinfo(found);
	*ret_fd = fd;
	return fd >= 0 || err_sys(err, "listen on %s port %s", host, port);
}

/* Reads until as much has come as was expected. */
static bool expect(int fd, struct str want, struct err *err) {
	auto_buf struct buf got = { .max = 1 << 20 };

	while (got.len < want.len) {
		char bytes[4096];
		ssize_t n = read(fd, bytes, MIN(sizeof(bytes), want.len - got.len));

		if (n <= 0) {
			break;
		}
		buf_add(&got, (struct str){ bytes, (size_t)n });
	}
	if (!str_eq(buf_str(&got), want)) {
		return err_set(err, "Expected to read %zu bytes from the client, got other %zu", want.len, got.len);
	}
	(void)!out_line("Received expected client data");
	return true;
}

static bool serve(struct err *err) {
	const char *host = env("BIND_ADDRESS", "localhost"), *port = env("BIND_PORT", "");
	struct str expected = str_from(env("EXPECTED_CLIENT_DATA", ""));
	auto_fd int listener = -1, fd = -1;
	int64_t chunks, chunk_size, interval_ms;
	auto_buf struct buf chunk = { 0 };
	char rest[4096];

	if (!env_int("CHUNKS", 1000000, &chunks, err) || !env_int("CHUNK_SIZE", 1 << 20, &chunk_size, err) ||
		!env_int("CHUNK_INTERVAL", 3600 * 1000, &interval_ms, err)) {
		return false;
	}
	for (int64_t i = 0; i < chunk_size; i++) {
		buf_add(&chunk, S("x"));
	}
	if (!listen_at(host, port, &listener, err)) {
		return false;
	}
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) {
		return err_sys(err, "accept");
	}
	(void)!out_line("Accepted client connection");
	if (expected.len > 0 && !expect(fd, expected, err)) {
		return false;
	}
	for (int64_t i = 0; i < chunks; i++) {
		if (!fd_write_all(fd, buf_str(&chunk))) {
			return err_set(err, "writing chunk %lld failed", (long long)i);
		}
		poll(NULL, 0, (int)interval_ms);
	}
	shutdown(fd, SHUT_WR);
	while (read(fd, rest, sizeof(rest)) > 0) {
	}
	return true;
}

int cmd_port_forward_tester(int argc, char **argv) {
	struct err err = { 0 };

	opt_parse(argc, argv, "(told by the environment)", NULL, 0);
	term_exits();
	if (!serve(&err)) {
		(void)!out_line("%s", err.msg);
		return 1;
	}
	return out_line("Done") ? 0 : 1;
}
