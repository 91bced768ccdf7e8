/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_grpc_health_checking.c - `grpc-health-checking`: the gRPC health service, steered over HTTP.
 *
 * grpc.health.v1.Health/Check answers SERVING until --delay-unhealthy-sec have passed or
 * /make-not-serving was asked for on the HTTP port; an unknown service is NOT_FOUND.
 */
#include "cmd.h"
#include "h2.h"
#include "http.h"
#include "opt.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONNECTIONS_MAX = 256,
	IDLE_MS = 10 * 60 * 1000, /* clients keep a connection and ask now and then */
};

enum { SERVING = 1, NOT_SERVING = 2 };

static struct health {
	const char *service;
	int64_t delay_s, started_ms;
	atomic_bool not_serving;
	int listener;
	struct tls_server *tls; /* NULL: plain */
	sem_t places; /* of connections */
} health = { .service = "", .delay_s = -1 };

/* Field 1 of a HealthCheckRequest; other fields are passed over. False when the bytes are no message. */
static bool service_read(struct str in, struct str *ret) {
	*ret = (struct str){ 0 };
	while (in.len > 0) {
		unsigned tag = (unsigned char)in.ptr[0];
		uint64_t n = 0;
		unsigned shift = 0;

		in = (struct str){ in.ptr + 1, in.len - 1 };
		if (tag & 0x80) {
			return false; /* no such field in this small message */
		}
		do {
			if (in.len == 0 || shift > 63) {
				return false;
			}
			n |= (uint64_t)((unsigned char)in.ptr[0] & 0x7f) << shift;
			shift += 7;
			in = (struct str){ in.ptr + 1, in.len - 1 };
		} while ((unsigned char)in.ptr[-1] & 0x80);
		if ((tag & 7) == 0) {
			continue;
		}
		if ((tag & 7) != 2 || n > in.len) {
			return false;
		}
		if (tag >> 3 == 1) {
			*ret = (struct str){ in.ptr, (size_t)n };
		}
		in = (struct str){ in.ptr + n, in.len - (size_t)n };
	}
	return true;
}

static enum grpc_status on_call(void *arg, struct str path, struct str message, struct buf *reply, const char **ret_text) {
	int64_t age_ms = now_ms() - health.started_ms;
	struct str service;
	bool ill;

	if (!str_eq(path, S("/grpc.health.v1.Health/Check"))) {
		*ret_text = "unimplemented";
		return GRPC_UNIMPLEMENTED;
	}
	if (!service_read(message, &service)) {
		*ret_text = "bad message";
		return GRPC_INVALID_ARGUMENT;
	}
	if (!str_eq(service, str_from(health.service))) {
		*ret_text = "unknown service";
		return GRPC_NOT_FOUND;
	}
	ill = atomic_load(&health.not_serving) || (health.delay_s >= 0 && age_ms >= health.delay_s * 1000);
	log_line("health check: %s", ill ? "NOT_SERVING" : "SERVING");
	buf_addf(reply, "%c%c", 1 << 3, ill ? NOT_SERVING : SERVING);
	return GRPC_OK;
}

static void *connection_run(void *arg) {
	struct stream s = { .fd = (int)(intptr_t)arg };
	struct h2 *h2 = h2_new(on_call, NULL);
	struct err err = { 0 };
	bool ok;

	stream_patience(&s, IDLE_MS / 1000);
	ok = !health.tls || tls_accept(health.tls, s.fd, &s.tls, &err);
	while (ok && stream_readable(&s, IDLE_MS)) {
		auto_buf struct buf out = { 0 };
		char bytes[8192];
		ssize_t n = stream_read(&s, bytes, sizeof(bytes));

		if (n <= 0) {
			break;
		}
		ok = h2_feed(h2, (struct str){ bytes, (size_t)n }, &out);
		ok = stream_write(&s, buf_str(&out)) && ok;
	}
	h2_free(h2);
	stream_close(&s);
	sem_post(&health.places);
	return NULL;
}

static void *accept_run(void *arg) {
	for (;;) {
		struct err err = { 0 };
		int fd;

		while (sem_wait(&health.places) != 0) {
		}
		fd = accept4(health.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 && thread_start(connection_run, (void *)(intptr_t)fd, &err)) {
			continue;
		}
		if (fd >= 0) {
			close(fd);
		}
		sem_post(&health.places);
		usleep(10000);
	}
	return NULL;
}

static void on_steer(void *arg, const struct http_request *req, struct http_reply *reply) {
	bool ill = str_eq(req->path, S("/make-not-serving"));

	log_line("mark as %s", ill ? "unhealthy" : "healthy");
	atomic_store(&health.not_serving, ill);
	buf_addf(&reply->body, "%.3fs", (double)(now_ms() - health.started_ms) / 1000);
}

static const struct http_route routes[] = {
	{ "/make-serving",     on_steer },
	{ "/make-not-serving", on_steer },
};

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct http_route *route = http_route_find(routes, ARRAY_LEN(routes), req->path);

	if (!route) {
		http_reply_text(reply, 404, "404 page not found\n");
		return;
	}
	route->handle(arg, req, reply);
}

int cmd_grpc_health_checking(int argc, char **argv) {
	const char *cert = "", *key = "";
	int64_t port = 5000, http_port = 8080;
	struct http_server *server;
	struct err err = { 0 };
	const struct opt opts[] = {
		{ "port", OPT_INT, &port, "where gRPC is spoken; 0 is any free port" },
		{ "http-port", OPT_INT, &http_port, "where /make-serving and /make-not-serving are; 0 is any free port" },
		{ "delay-unhealthy-sec", OPT_INT, &health.delay_s, "serving for so many seconds; negative is for ever" },
		{ "service", OPT_TEXT, &health.service, "the service that is answered for" },
		{ "tls-cert-file", OPT_TEXT, &cert, "speak TLS with this certificate (PEM)" },
		{ "tls-private-key-file", OPT_TEXT, &key, "its key (PEM)" },
	};
	int bound;

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	health.started_ms = now_ms();
	sem_init(&health.places, 0, CONNECTIONS_MAX);
	if ((cert[0] && !tls_server_new(cert, key, &health.tls, &err)) ||
		!http_server_start(&(struct http_serve){ .port = http_port, .handle = on_request }, &server, &err) ||
		!net_listen(SOCK_STREAM, port, &health.listener, &bound, &err) || !thread_start(accept_run, NULL, &err)) {
		log_line("grpc-health-checking: %s", err.msg);
		return 1;
	}
	log_line("listening on gRPC port %d", bound);
	term_wait(-1);
	return 0;
}
