/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_server.c - answers HTTP/1.1 requests, one thread a connection.
 *
 * Called by the commands that serve. The accepting thread takes a connection only while fewer than
 * HTTP_CONNECTIONS_MAX are open, so that the kernel's queue holds back the rest. `wake` is a pipe
 * that becomes readable for ever when the server stops: every thread that waits, waits for it too.
 */
#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

struct http_server {
	int listener;
	int port;
	int wake[2];
	struct http_serve serve;
	atomic_bool draining;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int connections; /* under lock */
	bool accepting;  /* under lock */
};

struct connection {
	struct http_server *server; /* borrowed; outlives every connection */
	struct stream stream;
	struct buf in;
	struct http_request req;
};

static const struct {
	int status;
	const char *text;
} reasons[] = {
	{ 100, "Continue" }, { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" },
	{ 301, "Moved Permanently" }, { 302, "Found" }, { 303, "See Other" }, { 304, "Not Modified" },
	{ 307, "Temporary Redirect" }, { 308, "Permanent Redirect" }, { 400, "Bad Request" }, { 401, "Unauthorized" },
	{ 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" },
	{ 412, "Precondition Failed" }, { 413, "Content Too Large" }, { 417, "Expectation Failed" },
	{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" }, { 501, "Not Implemented" },
	{ 503, "Service Unavailable" },
};

static const char *reason(int status) {
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (reasons[i].status == status) {
			return reasons[i].text;
		}
	}
	return "Status";
}

void http_reply_text(struct http_reply *reply, int status, const char *fmt, ...) {
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply->status = status;
	buf_clear(&reply->body);
	buf_add(&reply->body, str_from(text));
}

bool http_request_param(const struct http_request *req, struct str name, struct buf *out) {
	struct str type = http_header_get(&req->head, S("Content-Type"));

	if (http_query_get(req->head.query, name, out)) {
		return true;
	}
	return str_has_prefix(type, S("application/x-www-form-urlencoded")) && http_query_get(req->body, name, out);
}

const struct http_route *http_route_find(const struct http_route *routes, size_t len, struct str path) {
	for (size_t i = 0; i < len; i++) {
		struct str want = str_from(routes[i].path);
		bool any = want.len >= 4 && str_eq((struct str){ want.ptr + want.len - 3, 3 }, S("..."));

		if (any ? str_has_prefix(path, (struct str){ want.ptr, want.len - 3 }) : str_eq(path, want)) {
			return &routes[i];
		}
	}
	return NULL;
}

/* ---- one connection ---- */

static bool send_file(struct connection *c, int file, off_t len) {
	while (len > 0) {
		char bytes[16384];
		ssize_t n;

		if (!c->stream.tls) {
			n = sendfile(c->stream.fd, file, NULL, (size_t)MIN(len, 1 << 20));
			if (n < 0 && errno == EINTR) {
				continue;
			}
		} else {
			n = read(file, bytes, (size_t)MIN(len, (off_t)sizeof(bytes)));
			if (n > 0 && !stream_write(&c->stream, (struct str){ bytes, (size_t)n })) {
				return false;
			}
		}
		if (n <= 0) {
			return false; /* the file has become shorter, or the client is gone */
		}
		len -= n;
	}
	return true;
}

static bool reply_send(struct connection *c, struct http_reply *reply) {
	auto_buf struct buf out = { .max = BUF_MAX * 2 };
	bool head_only = str_eq(c->req.head.method, S("HEAD"));
	time_t now = time(NULL);
	char date[40];
	struct tm tm;
	bool ok;

	if (reply->body.overflown) {
		http_reply_text(reply, 500, "the answer is too large\n");
	}
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	buf_addf(&out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %.*s\r\nContent-Length: %lld\r\n%s%.*s\r\n",
		reply->status, reason(reply->status), date, STR_ARG(reply->type),
		reply->file >= 0 ? (long long)reply->file_len : (long long)reply->body.len,
		reply->close ? "Connection: close\r\n" : "", STR_ARG(buf_str(&reply->headers)));
	if (!head_only && reply->file < 0) {
		buf_add(&out, buf_str(&reply->body));
	}
	ok = stream_write(&c->stream, buf_str(&out));
	if (ok && !head_only && reply->file >= 0) {
		ok = send_file(c, reply->file, reply->file_len);
	}
	return ok;
}

static bool refuse(struct connection *c, int status, const char *text) {
	struct http_reply reply = { .status = status, .type = S("text/plain; charset=utf-8"), .file = -1, .close = true };
	bool ok;

	http_reply_text(&reply, status, "%s\n", text);
	ok = reply_send(c, &reply);
	buf_release(&reply.body);
	/* Reading on for a moment lets the answer arrive before the reset that unread bytes cause. */
	if (!c->stream.tls) {
		shutdown(c->stream.fd, SHUT_WR);
	}
	for (char waste[4096]; ok && stream_readable(&c->stream, 200) && stream_read(&c->stream, waste, sizeof(waste)) > 0;) {
	}
	return false;
}

/* Reads more bytes of a request; false when it is over for this connection. */
static bool fill(struct connection *c, int64_t deadline) {
	struct pollfd p[2] = { { .fd = c->stream.fd, .events = POLLIN }, { .fd = c->server->wake[0], .events = POLLIN } };
	bool idle = c->in.len == 0;
	int64_t left = deadline - now_ms();
	char bytes[16384];
	ssize_t n;

	if (left <= 0) {
		return false;
	}
	if (!c->stream.tls || !tls_pending(c->stream.tls)) {
		/* In the middle of a request the server's end is no reason to leave it. */
		n = poll(p, idle ? 2 : 1, (int)left);
		if (n < 0) {
			return errno == EINTR;
		}
		if (n == 0 || !p[0].revents) {
			return false;
		}
	}
	n = stream_read(&c->stream, bytes, sizeof(bytes));
	return n > 0 && buf_add(&c->in, (struct str){ bytes, (size_t)n });
}

/* Reads one whole request into c->req; *ret_used bytes of c->in are its. `chunks` holds a chunked body. */
static bool request_read(struct connection *c, struct buf *chunks, size_t *ret_used) {
	int64_t deadline = now_ms() + (c->in.len ? HTTP_REQUEST_MS : HTTP_IDLE_MS);
	struct http_head *head = &c->req.head;
	size_t used = 0, body_used = 0;
	bool continued = false;

	for (;;) {
		enum http_parse parsed = HTTP_PARSE_MORE;
		bool idle = c->in.len == 0;

		/* RFC 9112 section 2.2: an empty line before a request is passed over. */
		while (c->in.len > 0 && (c->in.ptr[0] == '\r' || c->in.ptr[0] == '\n')) {
			buf_consume(&c->in, 1);
		}
		if (c->in.len > 0) {
			parsed = http_parse_request(buf_str(&c->in), head, &used);
		}
		if (parsed == HTTP_PARSE_DONE && head->expect_continue && !continued) {
			continued = true;
			if (!stream_write(&c->stream, S("HTTP/1.1 100 Continue\r\n\r\n"))) {
				return false;
			}
		}
		if (parsed == HTTP_PARSE_DONE && head->chunked) {
			parsed = http_parse_chunked((struct str){ c->in.ptr + used, c->in.len - used }, chunks, &body_used);
			c->req.body = buf_str(chunks);
		} else if (parsed == HTTP_PARSE_DONE) {
			body_used = head->body_len;
			c->req.body = (struct str){ c->in.ptr + used, head->body_len };
			parsed = c->in.len - used < body_used ? HTTP_PARSE_MORE : parsed;
		}
		switch (parsed) {
		case HTTP_PARSE_DONE:
			*ret_used = used + body_used;
			return true;
		case HTTP_PARSE_BAD:
			return refuse(c, 400, "bad request");
		case HTTP_PARSE_LARGE:
			return refuse(c, used ? 413 : 431, "the request is too large");
		case HTTP_PARSE_MORE:
			break;
		}
		if (!fill(c, deadline)) {
			return c->in.len > 0 && now_ms() >= deadline ? refuse(c, 408, "the request did not end in time") : false;
		}
		if (idle) {
			deadline = now_ms() + HTTP_REQUEST_MS;
		}
	}
}

/* One request and its answer; false when the connection ends with it. */
static bool serve_one(struct connection *c) {
	struct http_reply reply = { .status = 200, .type = S("text/plain; charset=utf-8"), .file = -1 };
	auto_buf struct buf chunks = { .max = HTTP_BODY_BYTES_MAX }, path = { 0 };
	size_t used = 0;
	bool ok;

	if (!request_read(c, &chunks, &used)) {
		return false;
	}
	http_unescape(&path, c->req.head.path, false);
	c->req.path = buf_str(&path);
	c->server->serve.handle(c->server->serve.arg, &c->req, &reply);
	reply.close = reply.close || !c->req.head.keep_alive || atomic_load(&c->server->draining);
	ok = reply_send(c, &reply) && !reply.close;
	if (reply.sent) {
		reply.sent(reply.sent_arg);
	}
	buf_release(&reply.body);
	buf_release(&reply.headers);
	fd_close_p(&reply.file);
	buf_consume(&c->in, used);
	return ok;
}

static void *connection_run(void *arg) {
	struct connection *c = arg;
	struct http_server *s = c->server;
	struct err err = { 0 };

	if (s->serve.tls && !tls_accept(s->serve.tls, c->stream.fd, &c->stream.tls, &err)) {
		log_line("%s: %s", c->req.peer, err.msg);
	} else {
		while (serve_one(c)) {
		}
	}
	stream_close(&c->stream);
	buf_release(&c->in);
	free(c);
	pthread_mutex_lock(&s->lock);
	s->connections--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- accepting ---- */

static void accept_one(struct http_server *s, int fd, const struct sockaddr_storage *peer) {
	/* Some room above the body's limit: the head, and the start of a request behind it. */
	size_t in_max = HTTP_BODY_BYTES_MAX * 2;
	struct sockaddr_storage local = { 0 };
	socklen_t len = sizeof(local);
	struct err err = { 0 };
	struct connection *c = xcalloc(1, sizeof(*c));
	int on = 1;

	*c = (struct connection){ .server = s, .stream = { .fd = fd }, .in = { .max = in_max } };
	getsockname(fd, (struct sockaddr *)&local, &len);
	net_address(peer, c->req.peer, sizeof(c->req.peer));
	net_address(&local, c->req.local, sizeof(c->req.local));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	stream_patience(&c->stream, HTTP_REQUEST_MS / 1000 * 2);
	pthread_mutex_lock(&s->lock);
	s->connections++;
	pthread_mutex_unlock(&s->lock);
	if (!thread_start(connection_run, c, &err)) {
		log_line("connection dropped: %s", err.msg);
		close(fd);
		free(c);
		pthread_mutex_lock(&s->lock);
		s->connections--;
		pthread_mutex_unlock(&s->lock);
	}
}

static void *accept_run(void *arg) {
	struct http_server *s = arg;
	struct pollfd p[2] = { { .fd = s->listener, .events = POLLIN }, { .fd = s->wake[0], .events = POLLIN } };
	bool stopping = false;

	for (;;) {
		struct sockaddr_storage peer = { 0 };
		socklen_t len = sizeof(peer);
		int fd;

		pthread_mutex_lock(&s->lock);
		while (s->connections >= HTTP_CONNECTIONS_MAX && !stopping) {
			pthread_cond_wait(&s->changed, &s->lock);
		}
		pthread_mutex_unlock(&s->lock);
		if (poll(p, 2, stopping ? 0 : -1) < 0 && errno != EINTR) {
			break;
		}
		stopping = stopping || p[1].revents;
		if (!p[0].revents) {
			if (stopping) {
				break; /* what had connected before is taken */
			}
			continue;
		}
		fd = accept4(s->listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
		if (fd >= 0) {
			accept_one(s, fd, &peer);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			poll(&p[1], 1, 50); /* until a connection ends */
		}
	}
	close(s->listener);
	pthread_mutex_lock(&s->lock);
	s->accepting = false;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

bool http_server_start(const struct http_serve *serve, struct http_server **ret, struct err *err) {
	struct http_server *s = xcalloc(1, sizeof(*s)); /* lives until the program ends */

	*s = (struct http_server){ .serve = *serve, .accepting = true };
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	*ret = s; /* before its first request */
	if (pipe2(s->wake, O_CLOEXEC) != 0) {
		return err_sys(err, "pipe");
	}
	if (!net_listen(SOCK_STREAM, serve->port, &s->listener, &s->port, err) || !thread_start(accept_run, s, err)) {
		return false;
	}
	log_line("listening on TCP port %d", s->port);
	return true;
}

int http_server_port(const struct http_server *server) {
	return server->port;
}

void http_server_drain(struct http_server *server) {
	atomic_store(&server->draining, true);
}

void http_server_stop(struct http_server *server, int wait_ms) {
	struct timespec until;

	http_server_drain(server);
	if (!fd_write_all(server->wake[1], S("!"))) {
		return;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += wait_ms / 1000 + 1;
	pthread_mutex_lock(&server->lock);
	pthread_cond_broadcast(&server->changed);
	while (server->accepting || server->connections > 0) {
		if (pthread_cond_timedwait(&server->changed, &server->lock, &until) == ETIMEDOUT) {
			log_line("%d connections were still open", server->connections);
			break;
		}
	}
	pthread_mutex_unlock(&server->lock);
}
