/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_liveness.c - `liveness`: a web server whose /healthz is 200 for ten seconds and 500 then.
 *
 * /started tells its age; /redirect?loc=URL sends probes elsewhere.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"

struct liveness {
	int64_t started_ms, well_ms;
};

static void on_started(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct liveness *l = arg;

	buf_addf(&reply->body, "%.3fs", (double)(now_ms() - l->started_ms) / 1000);
}

static void on_healthz(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct liveness *l = arg;
	int64_t age = now_ms() - l->started_ms;

	if (age > l->well_ms) {
		http_reply_text(reply, 500, "error: %.3f", (double)age / 1000);
	} else {
		http_reply_text(reply, 200, "ok");
	}
}

static void on_redirect(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_buf struct buf location = { 0 };

	http_request_param(req, S("loc"), &location);
	http_reply_redirect(reply, buf_str(&location), 302);
}

static const struct http_route routes[] = {
	{ "/started",  on_started },
	{ "/healthz",  on_healthz },
	{ "/redirect", on_redirect },
};

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct http_route *route = http_route_find(routes, ARRAY_LEN(routes), req->path);

	if (!route) {
		http_reply_text(reply, 404, "404 page not found\n");
		return;
	}
	route->handle(arg, req, reply);
}

int cmd_liveness(int argc, char **argv) {
	struct liveness l = { .started_ms = now_ms(), .well_ms = 10 * 1000 };
	struct http_server *server;
	struct err err = { 0 };
	int64_t port = 8080;
	const struct opt opts[] = {
		{ "port", OPT_INT, &port, "where to listen; 0 is any free port" },
		{ "well-for", OPT_DURATION, &l.well_ms, "how long /healthz is 200 (10s)" },
	};

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (!http_server_start(&(struct http_serve){ .port = port, .handle = on_request, .arg = &l }, &server, &err)) {
		log_line("liveness: %s", err.msg);
		return 1;
	}
	term_wait(-1);
	return 0;
}
