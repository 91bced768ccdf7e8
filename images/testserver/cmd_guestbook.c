/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_guestbook.c - `guestbook`: the well-known demonstration of a front, a store and its copies.
 *
 * All three are this one program. The front sends /guestbook?cmd=set to the host agnhost-primary and
 * cmd=get to agnhost-replica. A copy (--replicaof) registers with the primary, is given the whole
 * store, and is sent each later change. Source: conformance checklist, "image-guestbook".
 */
#include "cmd.h"
#include "counts.h"
#include "http.h"
#include "opt.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	REGISTER_FOR_MS = 60 * 1000,
	REGISTER_EVERY_MS = 500,
	CALL_TIMEOUT_MS = 5000,
};

static struct guestbook {
	pthread_mutex_t lock;
	struct counts store;    /* under lock: key and value */
	struct counts replicas; /* under lock: addresses */
	const char *backend_port, *replica_of;
} guestbook = { .lock = PTHREAD_MUTEX_INITIALIZER, .backend_port = "6379", .replica_of = "" };

static struct buf param(const struct http_request *req, struct str name) {
	struct buf value = { 0 };

	http_request_param(req, name, &value);
	buf_add(&value, S("")); /* NUL-ended in any case */
	return value;
}

/* The store as a JSON object; under lock. */
static void store_add(struct buf *out) {
	buf_add(out, S("{"));
	for (size_t i = 0; i < guestbook.store.len; i++) {
		buf_add(out, i ? S(",") : S(""));
		json_string(out, guestbook.store.items[i].key);
		buf_add(out, S(":"));
		json_string(out, guestbook.store.items[i].value);
	}
	buf_add(out, S("}"));
}

/* `set?key=...&value=...` and the like. */
static void target_add(struct buf *out, const char *verb, struct str key, struct str value) {
	buf_addf(out, "/%s?key=", verb);
	http_escape(out, key);
	buf_add(out, S("&value="));
	http_escape(out, value);
}

static bool call(const char *host, const char *target, struct http_answer *ret, struct err *err) {
	return http_call(&(struct http_call){ .host = host, .port = guestbook.backend_port, .target = target, .timeout_ms = CALL_TIMEOUT_MS }, ret, err);
}

static void on_register(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_buf struct buf host = param(req, S("host"));
	bool ok;

	log_line("GET /register?host=%s", host.ptr);
	if (host.len == 0) {
		http_reply_text(reply, 400, "no host to register\n");
		return;
	}
	pthread_mutex_lock(&guestbook.lock);
	ok = counts_put(&guestbook.replicas, buf_str(&host)) != NULL;
	buf_add(&reply->body, S("{\"data\":"));
	store_add(&reply->body);
	buf_add(&reply->body, S("}"));
	pthread_mutex_unlock(&guestbook.lock);
	if (!ok) {
		http_reply_text(reply, 417, "too many replicas\n");
		return;
	}
	log_line("node '%s' registered", host.ptr);
}

static void on_get(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_buf struct buf key = param(req, S("key"));
	struct count *found;

	log_line("GET /get?key=%s", key.ptr);
	buf_add(&reply->body, S("{\"data\":"));
	pthread_mutex_lock(&guestbook.lock);
	if (key.len == 0) {
		store_add(&reply->body);
	} else {
		found = counts_get(&guestbook.store, buf_str(&key));
		json_string(&reply->body, found ? found->value : S(""));
	}
	pthread_mutex_unlock(&guestbook.lock);
	buf_add(&reply->body, S("}"));
}

/* Sends a change to every replica; the list is copied, so that no call happens under the lock. */
static bool propagate(struct str key, struct str value, struct err *err) {
	auto_buf struct buf target = { 0 }, hosts = { 0 };
	struct str rest;
	bool ok = true;

	target_add(&target, "set", key, value);
	pthread_mutex_lock(&guestbook.lock);
	for (size_t i = 0; i < guestbook.replicas.len; i++) {
		buf_addf(&hosts, "%s\n", guestbook.replicas.items[i].key.ptr);
	}
	pthread_mutex_unlock(&guestbook.lock);
	rest = buf_str(&hosts);
	while (rest.len > 0) {
		auto_http_answer struct http_answer answer = { 0 };
		char *host = str_dup(str_cut(&rest, '\n'));
		struct err why = { 0 };

		if (ok && !call(host, target.ptr, &answer, &why)) {
			ok = err_set(err, "encountered error while propagating to replica '%.64s': %.200s", host, why.msg);
		}
		free(host);
	}
	return ok;
}

static void on_set(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_buf struct buf key = param(req, S("key")), value = param(req, S("value"));
	struct err err = { 0 };
	struct count *item;
	bool ok;

	log_line("GET /set?key=%s&value=%s", key.ptr, value.ptr);
	if (key.len == 0) {
		http_reply_text(reply, 400, "cannot set with empty key.\n");
		return;
	}
	pthread_mutex_lock(&guestbook.lock);
	item = counts_put(&guestbook.store, buf_str(&key));
	ok = item && count_set(item, buf_str(&value));
	pthread_mutex_unlock(&guestbook.lock);
	if (!ok) {
		http_reply_text(reply, 417, "the store is full, or the entry too long\n");
		return;
	}
	if (!propagate(buf_str(&key), buf_str(&value), &err)) {
		http_reply_text(reply, 417, "%s\n", err.msg);
		return;
	}
	buf_add(&reply->body, S("{\"message\":\"Updated\"}"));
}

static void on_guestbook(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_buf struct buf cmd = param(req, S("cmd")), key = param(req, S("key")), value = param(req, S("value"));
	auto_buf struct buf target = { 0 };
	auto_http_answer struct http_answer answer = { 0 };
	bool get = str_eq_nocase(buf_str(&cmd), S("get")), set = str_eq_nocase(buf_str(&cmd), S("set"));
	struct err err = { 0 };

	log_line("GET /guestbook?cmd=%s&key=%s&value=%s", cmd.ptr, key.ptr, value.ptr);
	if (!get && !set) {
		http_reply_text(reply, 400, "unsupported cmd: '%s'\n", cmd.ptr);
		return;
	}
	if (set && key.len == 0) {
		http_reply_text(reply, 400, "cannot set with empty key.\n");
		return;
	}
	target_add(&target, get ? "get" : "set", buf_str(&key), buf_str(&value));
	if (!call(get ? "agnhost-replica" : "agnhost-primary", target.ptr, &answer, &err)) {
		http_reply_text(reply, 417, "encountered error: %s\n", err.msg);
		return;
	}
	buf_add(&reply->body, buf_str(&answer.body));
}

static const struct http_route routes[] = {
	{ "/register",  on_register },
	{ "/get",       on_get },
	{ "/set",       on_set },
	{ "/guestbook", on_guestbook },
};

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct http_route *route = http_route_find(routes, ARRAY_LEN(routes), req->path);

	if (!route) {
		http_reply_text(reply, 404, "404 page not found\n");
		return;
	}
	route->handle(arg, req, reply);
}

/* ---- a replica's start ---- */

/* Puts the primary's whole store into ours. What was set since then is newer and stays. */
static bool store_load(struct str data) {
	bool ok = true;

	pthread_mutex_lock(&guestbook.lock);
	for (size_t at = 0; ok; at++) {
		auto_buf struct buf key = { 0 }, value = { 0 };
		struct str raw_key, raw_value;
		struct count *item;

		if (!json_member_at(data, at, &raw_key, &raw_value)) {
			break;
		}
		ok = json_unquote(raw_key, &key) && json_unquote(raw_value, &value);
		if (ok && !counts_get(&guestbook.store, buf_str(&key))) {
			item = counts_put(&guestbook.store, buf_str(&key));
			ok = item && count_set(item, buf_str(&value));
		}
	}
	pthread_mutex_unlock(&guestbook.lock);
	return ok;
}

static bool register_once(struct err *err) {
	auto_http_answer struct http_answer answer = { 0 };
	struct sockaddr_storage local = { 0 };
	socklen_t len = sizeof(local);
	char host[64], target[128];
	auto_fd int fd = -1;
	struct str data;

	/* The address by which the primary is reached is the one that it can reach. */
	if (!net_connect(guestbook.replica_of, guestbook.backend_port, SOCK_DGRAM, CALL_TIMEOUT_MS, &fd, err)) {
		return false;
	}
	getsockname(fd, (struct sockaddr *)&local, &len);
	net_host(&local, host, sizeof(host));
	snprintf(target, sizeof(target), "/register?host=%s", host);
	if (!call(guestbook.replica_of, target, &answer, err)) {
		return false;
	}
	if (answer.status != 200 || !json_member(buf_str(&answer.body), S("data"), &data) || !store_load(data)) {
		return err_set(err, "bad answer, status %d", answer.status);
	}
	return true;
}

static void *register_run(void *arg) {
	int64_t end = now_ms() + REGISTER_FOR_MS;
	struct err err = { 0 };

	while (now_ms() < end) {
		if (register_once(&err)) {
			log_line("registered to node: %s", guestbook.replica_of);
			return NULL;
		}
		log_line("registering to %s: %s", guestbook.replica_of, err.msg);
		usleep(REGISTER_EVERY_MS * 1000);
	}
	log_line("timed out while registering to the primary");
	exit(1); /* the kubelet starts it again */
}

int cmd_guestbook(int argc, char **argv) {
	int64_t http_port = 80, port;
	struct http_server *server;
	struct err err = { 0 };
	const struct opt opts[] = {
		{ "http-port", OPT_INT, &http_port, "where to listen" },
		{ "backend-port", OPT_TEXT, &guestbook.backend_port, "where store and copies listen (6379)" },
		{ "replicaof", OPT_TEXT, &guestbook.replica_of, "the store to be a copy of" },
	};

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (!str_int(str_from(guestbook.backend_port), 1, 65535, &port)) {
		log_line("guestbook: '%s' is no port", guestbook.backend_port);
		return 2;
	}
	if (!http_server_start(&(struct http_serve){ .port = http_port, .handle = on_request }, &server, &err) ||
		(guestbook.replica_of[0] && !thread_start(register_run, NULL, &err))) {
		log_line("guestbook: %s", err.msg);
		return 1;
	}
	term_wait(-1);
	return 0;
}
