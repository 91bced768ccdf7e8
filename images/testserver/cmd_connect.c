/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_connect.c - `connect HOST:PORT`: says in one word why a connection cannot be made.
 *
 * Exits 0 when it can be. Else one line on stderr starts with TIMEOUT, REFUSED, DNS, UNKNOWN (bad
 * arguments) or OTHER, and the exit code is 1. Over UDP an answer must come.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TIMEOUT_DEFAULT_MS = 120 * 1000 };

static int failed(const char *word, const char *why) {
	fprintf(stderr, "%s: %s\n", word, why);
	return 1;
}

static int failed_err(const struct err *err) {
	static const char *const words[] = {
		[ERR_NONE] = "OTHER", [ERR_OTHER] = "OTHER", [ERR_LOOKUP] = "DNS", [ERR_REFUSED] = "REFUSED", [ERR_TIMEOUT] = "TIMEOUT",
	};

	return failed(words[err->code], err->msg);
}

static int udp_ask(int fd, const char *data, int timeout_ms) {
	struct err err = { 0 };
	char bytes[2048];
	ssize_t n;

	if (dprintf(fd, "%s\n", data) < 0) {
		err_sys(&err, "write");
		return failed_err(&err);
	}
	if (!net_readable(fd, timeout_ms)) {
		return failed("TIMEOUT", "no answer");
	}
	n = read(fd, bytes, sizeof(bytes));
	if (n < 0) {
		err_sys(&err, "read");
		return failed_err(&err);
	}
	return n > 0 ? 0 : failed("OTHER", "an empty answer");
}

int cmd_connect(int argc, char **argv) {
	const char *protocol = "tcp", *udp_data = "hostname";
	int64_t timeout_ms = 0;
	const struct opt opts[] = {
		{ "timeout", OPT_DURATION, &timeout_ms, "how long to try" },
		{ "protocol", OPT_TEXT, &protocol, "tcp or udp" },
		{ "udp-data", OPT_TEXT, &udp_data, "what is sent over UDP" },
	};
	struct opt_rest rest = opt_parse(argc, argv, "[FLAG...] HOST:PORT", opts, ARRAY_LEN(opts));
	bool udp = strcmp(protocol, "udp") == 0;
	char host[256], *colon;
	struct err err = { 0 };
	auto_fd int fd = -1;

	term_exits();
	if (rest.argc != 1) {
		return failed("UNKNOWN", "one HOST:PORT is needed");
	}
	if (!udp && strcmp(protocol, "tcp") != 0) {
		return failed("UNKNOWN", "the protocol is tcp or udp");
	}
	if (snprintf(host, sizeof(host), "%s", rest.argv[0]) >= (int)sizeof(host) || !(colon = strrchr(host, ':'))) {
		return failed("UNKNOWN", "no port in the address");
	}
	*colon = '\0';
	if (host[0] == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		memmove(host, host + 1, strlen(host));
	}
	timeout_ms = timeout_ms > 0 && timeout_ms < INT32_MAX ? timeout_ms : TIMEOUT_DEFAULT_MS;
	if (!net_connect(host, colon + 1, udp ? SOCK_DGRAM : SOCK_STREAM, (int)timeout_ms, &fd, &err)) {
		return failed_err(&err);
	}
	return udp ? udp_ask(fd, udp_data, (int)timeout_ms) : 0;
}
