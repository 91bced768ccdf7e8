/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_serve.c - `serve`: the web server of examples/hello.
 *
 * Answers every path with its host name and version. A rolling update must not lose a request, so on
 * SIGTERM it goes on answering for `--drain` (the time until no node sends it connections any more),
 * telling clients to close, and then ends when the answers in the making are out.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWERS_WAIT_MS = 20 * 1000 };

struct serve {
	const char *text, *version;
};

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct serve *s = arg;

	if (s->text[0]) {
		buf_addf(&reply->body, "%s\n", s->text);
	} else {
		buf_addf(&reply->body, "hello from %.*s version %s\n", STR_ARG(host_name()), s->version);
	}
}

int cmd_serve(int argc, char **argv) {
	const char *version = getenv("VERSION");
	struct serve s = { .text = "", .version = version && *version ? version : "v0" };
	int64_t port = 8083, drain_ms = 2000;
	struct http_server *server;
	struct err err = { 0 };
	const struct opt opts[] = {
		{ "port", OPT_INT, &port, "where to listen; 0 is any free port" },
		{ "text", OPT_TEXT, &s.text, "the answer, in place of host name and version" },
		{ "version", OPT_TEXT, &s.version, "the version in the answer; else $VERSION" },
		{ "drain", OPT_DURATION, &drain_ms, "how long to go on accepting after SIGTERM (2s)" },
	};

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (!http_server_start(&(struct http_serve){ .port = port, .handle = on_request, .arg = &s }, &server, &err)) {
		log_line("serve: %s", err.msg);
		return 1;
	}
	term_wait(-1);
	log_line("draining for %lld ms", (long long)drain_ms);
	http_server_drain(server);
	term_wait((int)drain_ms); /* a second signal cuts it short */
	http_server_stop(server, ANSWERS_WAIT_MS);
	return 0;
}
