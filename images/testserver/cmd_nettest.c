/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_nettest.c - `nettest`: counts the messages of other pods by their source.
 *
 * POST /write {"Source":"..."} counts, /read tells all as JSON, /status is "pass" once --peers
 * sources have written, "running" before; /quit ends the program. It does not look for its peers
 * itself: a test writes to it.
 */
#include "cmd.h"
#include "counts.h"
#include "http.h"
#include "opt.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

static struct nettest {
	pthread_mutex_t lock;
	struct counts received; /* under lock */
	int64_t errors;         /* under lock; writes without a source */
	int64_t peers;
} nettest = { .lock = PTHREAD_MUTEX_INITIALIZER, .peers = 8 };

static void on_quit(void *arg, const struct http_request *req, struct http_reply *reply) {
	exit(0);
}

static void on_read(void *arg, const struct http_request *req, struct http_reply *reply) {
	struct buf *out = &reply->body;

	reply->type = S("application/json");
	buf_add(out, S("{\n\t\"Hostname\": "));
	json_string(out, host_name());
	buf_add(out, S(",\n\t\"Sent\": {},\n\t\"Received\": {"));
	pthread_mutex_lock(&nettest.lock);
	for (size_t i = 0; i < nettest.received.len; i++) {
		buf_add(out, i ? S(",\n\t\t") : S("\n\t\t"));
		json_string(out, nettest.received.items[i].key);
		buf_addf(out, ": %lld", (long long)nettest.received.items[i].number);
	}
	buf_addf(out, "%s},\n\t\"Errors\": %lld,\n\t\"StillContactingPeers\": false\n}\n", nettest.received.len ? "\n\t" : "",
		(long long)nettest.errors);
	pthread_mutex_unlock(&nettest.lock);
}

static void on_write(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_buf struct buf source = { .max = COUNTS_TEXT_BYTES_MAX };
	struct count *count = NULL;
	struct str raw;
	bool ok = json_member(req->body, S("Source"), &raw) && json_unquote(raw, &source) && source.len > 0;

	pthread_mutex_lock(&nettest.lock);
	if (ok) {
		count = counts_put(&nettest.received, buf_str(&source));
	}
	if (count) {
		count->number++;
	} else {
		nettest.errors++;
	}
	pthread_mutex_unlock(&nettest.lock);
	reply->type = S("application/json");
	buf_add(&reply->body, S("{\"Hostname\":"));
	json_string(&reply->body, host_name());
	buf_add(&reply->body, S("}\n"));
}

static void on_status(void *arg, const struct http_request *req, struct http_reply *reply) {
	bool pass;

	pthread_mutex_lock(&nettest.lock);
	pass = (int64_t)nettest.received.len >= nettest.peers;
	pthread_mutex_unlock(&nettest.lock);
	buf_add(&reply->body, pass ? S("pass") : S("running"));
}

static const struct http_route routes[] = {
	{ "/quit",   on_quit },
	{ "/read",   on_read },
	{ "/status", on_status },
	{ "/write",  on_write },
};

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct http_route *route = http_route_find(routes, ARRAY_LEN(routes), req->path);

	if (!route) {
		http_reply_text(reply, 404, "404 page not found\n");
		return;
	}
	route->handle(arg, req, reply);
}

int cmd_nettest(int argc, char **argv) {
	const char *service = "nettest", *namespace = "default";
	int64_t port = 8080, delay_s = 0;
	struct http_server *server;
	struct err err = { 0 };
	const struct opt opts[] = {
		{ "port", OPT_INT, &port, "where to listen; 0 is any free port" },
		{ "peers", OPT_INT, &nettest.peers, "how many sources /status waits for" },
		{ "service", OPT_TEXT, &service, "taken and not used" },
		{ "namespace", OPT_TEXT, &namespace, "taken and not used" },
		{ "delay-shutdown", OPT_INT, &delay_s, "seconds to go on after SIGTERM" },
	};

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (!http_server_start(&(struct http_serve){ .port = port, .handle = on_request }, &server, &err)) {
		log_line("nettest: %s", err.msg);
		return 1;
	}
	term_wait(-1);
	if (delay_s > 0) {
		poll(NULL, 0, (int)MIN(delay_s, 86400) * 1000);
	}
	return 0;
}
