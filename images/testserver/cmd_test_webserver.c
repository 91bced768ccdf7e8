/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_test_webserver.c - `test-webserver`: serves the files of the container, or of one folder.
 *
 * DNS tests leave their findings in files and fetch them through it; with --root it stands in for
 * a common web server.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"

static const char *root = "/";

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	/* Pages that are opened through the API server's proxy fetch from other origins. */
	buf_add(&reply->headers, S("Cache-Control: private\r\nAccess-Control-Allow-Origin: *\r\n"
				   "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
				   "Access-Control-Allow-Headers: DNT,X-Mx-ReqToken,Keep-Alive,User-Agent,X-Requested-With,"
				   "Cache-Control,Content-Type\r\n"));
	http_reply_file(reply, req, root);
	log_line("%s %.*s %.*s %d", req->peer, STR_ARG(req->head.method), (int)MIN(req->head.target.len, 500), req->head.target.ptr, reply->status);
}

int cmd_test_webserver(int argc, char **argv) {
	struct http_server *server;
	struct err err = { 0 };
	int64_t port = 80, drain_ms = 0;
	const struct opt opts[] = {
		{ "port", OPT_INT, &port, "where to listen; 0 is any free port" },
		{ "root", OPT_TEXT, &root, "the folder that is served (/)" },
		{ "drain", OPT_DURATION, &drain_ms, "how long to go on after SIGTERM (0)" },
	};

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (!http_server_start(&(struct http_serve){ .port = port, .handle = on_request }, &server, &err)) {
		log_line("test-webserver: %s", err.msg);
		return 1;
	}
	term_wait(-1);
	http_server_drain(server);
	term_wait((int)drain_ms);
	http_server_stop(server, 5000);
	return 0;
}
