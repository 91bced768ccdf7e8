/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - the HTTP client; see client.h. HTTP/1.1 over kept-alive connections.
 *
 * Dialling, sending and reading heads block and run on the caller's (or a pool) thread. A watch or an upgraded
 * connection is dialled so and then moves to its loop. The lock guards the idle connections only.
 */
#include "net/client_int.h"

#include <zlib.h>

#include "net/conn_int.h"

#define HEADERS_MAX 1000

/* ---- requests ---- */

static bool url_of(struct call *c, struct str url, struct err *err) {
	struct arena *a = &c->arena;
	struct str base = str_c(c->client->base);
	for (size_t i = 0; i < url.len; i++) {
		unsigned char b = (unsigned char)url.ptr[i];
		if (b <= ' ' || b == 127) {
			return err_set(err, ERR_BAD_REQUEST, "url \"%.*s\" holds a blank or a control character", (int)MIN(url.len, (size_t)200), url.ptr);
		}
	}
	if (str_starts(url, S("/"))) {
		if (!base.len) {
			return err_set(err, ERR_BAD_REQUEST, "url %.*s has no host and the client no base", STR_ARG(url));
		}
		if (!url_parse(base, &c->url, err)) {
			return false;
		}
		struct str prefix = c->url.path;
		while (str_ends(prefix, S("/"))) {
			prefix.len--;
		}
		str_cut(url, '?', &c->url.path, &c->url.query);
		c->url.path = prefix.len ? arena_printf(a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(c->url.path)) : arena_str(a, c->url.path);
		c->url.query = arena_str(a, c->url.query);
		c->text = arena_printf(a, "%.*s%.*s", STR_ARG(base), STR_ARG(url));
	} else {
		c->text = arena_str(a, url);
		if (!url_parse(c->text, &c->url, err)) {
			return false;
		}
	}
	c->origin = (char *)(uintptr_t)arena_printf(a, "%.*s://%.*s:%d", STR_ARG(c->url.scheme), STR_ARG(c->url.host), c->url.port).ptr;
	return true;
}

static bool header_ok(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '\r' || s.ptr[i] == '\n' || s.ptr[i] == 0) {
			return false;
		}
	}
	return true;
}

static bool head_write(struct call *c, bool upgrade, struct buf *b, struct err *err) {
	const struct http_request *r = c->r;
	struct http_headers own = { r->headers, r->headers_len };
	struct url *u = &c->url;
	bool unix_socket = str_eq(u->scheme, S("unix"));
	buf_printf(b, "%.*s %.*s%s%.*s HTTP/1.1\r\n", STR_ARG(c->method), STR_ARG(u->path.len ? u->path : S("/")), u->query.len ? "?" : "", STR_ARG(u->query));
	if (!http_header_get(own, S("Host")).ptr) {
		bool usual = u->port == (str_case_eq(u->scheme, S("https")) ? 443 : 80);
		bool v6 = str_index(u->host, ':') >= 0;
		if (unix_socket) {
			buf_c(b, "Host: localhost\r\n");
		} else {
			buf_printf(b, v6 ? "Host: [%.*s]" : "Host: %.*s", STR_ARG(u->host));
			if (!usual) {
				buf_printf(b, ":%d", u->port);
			}
			buf_c(b, "\r\n");
		}
	}
	if (!http_header_get(own, S("User-Agent")).ptr) {
		buf_printf(b, "User-Agent: %s\r\n", c->client->user_agent);
	}
	if (!c->no_auth && !r->no_auth && !http_header_get(own, S("Authorization")).ptr) {
		struct str token = c->client->token ? c->client->token(c->client->token_arg, &c->arena) : str_c(c->client->bearer);
		if (token.len && header_ok(token)) {
			buf_printf(b, "Authorization: Bearer %.*s\r\n", STR_ARG(token));
		}
	}
	for (size_t i = 0; i < own.len; i++) {
		if (!header_ok(own.at[i].name) || !header_ok(own.at[i].value)) {
			return err_set(err, ERR_BAD_REQUEST, "a header holds a line end");
		}
		if (!(c->no_auth && str_case_eq(own.at[i].name, S("Authorization")))) {
			buf_str(b, own.at[i].name);
			buf_str(b, S(": "));
			buf_str(b, own.at[i].value);
			buf_str(b, S("\r\n"));
		}
	}
	if (r->gzip && !http_header_get(own, S("Accept-Encoding")).ptr) {
		buf_c(b, "Accept-Encoding: gzip\r\n");
	}
	if (upgrade && !http_header_get(own, S("Connection")).ptr) {
		buf_c(b, "Connection: Upgrade\r\n");
	}
	if (r->content_type.len) {
		buf_printf(b, "Content-Type: %.*s\r\n", STR_ARG(r->content_type));
	}
	if (r->body_read && r->body_len < 0) {
		buf_c(b, "Transfer-Encoding: chunked\r\n");
	} else if (r->body_read || r->body.len || str_eq(c->method, S("POST")) || str_eq(c->method, S("PUT")) || str_eq(c->method, S("PATCH"))) {
		buf_printf(b, "Content-Length: %lld\r\n", (long long)(r->body_read ? r->body_len : (int64_t)r->body.len));
	}
	buf_c(b, "\r\n");
	return true;
}

/* Sends head and body. A peer that answers early and closes makes this fail; its answer may still be read. */
bool call_send(struct call *c, struct client_link *k, bool upgrade, struct err *err) {
	auto_buf struct buf head = { 0 };
	const struct http_request *r = c->r;
	if (!head_write(c, upgrade, &head, err)) {
		return false;
	}
	if (!r->body_read && r->body.len && r->body.len <= READ_BYTES) { /* one record, one packet */
		buf_str(&head, r->body);
	}
	sock_write(&k->sock, head.ptr, head.len);
	if (!sock_wait_flush(&k->sock, c->deadline, err)) {
		return false;
	}
	c->sent_any = true;
	if (!r->body_read) {
		for (size_t at = 0; r->body.len > READ_BYTES && at < r->body.len; at += READ_BYTES) {
			struct str piece = str_sub(r->body, at, at + READ_BYTES);
			sock_write(&k->sock, piece.ptr, piece.len);
			if (!sock_wait_flush(&k->sock, c->deadline, err)) {
				return false;
			}
		}
		return true;
	}
	char bytes[READ_BYTES];
	int64_t left = r->body_len;
	for (;;) {
		size_t want = left >= 0 ? (size_t)MIN((int64_t)sizeof(bytes), left) : sizeof(bytes);
		ssize_t n = want ? r->body_read(c->r->arg, bytes, want) : 0;
		if (n < 0) {
			return err_set(err, ERR_CANCELLED, "the request's body broke off");
		}
		if (r->body_len < 0) {
			char size[24];
			int len = snprintf(size, sizeof(size), "%zx\r\n", (size_t)n);
			sock_write(&k->sock, size, (size_t)len);
			sock_write(&k->sock, bytes, (size_t)n);
			sock_write(&k->sock, "\r\n", 2); /* after the last, empty one this ends the body */
		} else {
			sock_write(&k->sock, bytes, (size_t)n);
			left -= n;
		}
		if (!sock_wait_flush(&k->sock, c->deadline, err)) {
			return false;
		}
		if (n == 0) {
			return left <= 0 ? true : err_set(err, ERR_CANCELLED, "the request's body is shorter than it was said to be");
		}
	}
}

/* ---- answers ---- */

/* More bytes into k->in; *ret_eof at the peer's end. */
static bool link_read(struct client_link *k, nsec_t deadline, bool *ret_eof, struct err *err) {
	size_t n;
	char *room = buf_reserve(&k->in, READ_BYTES);
	if (!room) {
		return err_set(err, ERR_BAD_REQUEST, "the answer's headers are too long");
	}
	if (!sock_wait_read(&k->sock, room, READ_BYTES, &n, deadline, err)) {
		return false;
	}
	k->in.len += n;
	*ret_eof = n == 0;
	return true;
}

/* The answer's head; 1xx before it are skipped (but 101). *ret_nothing: the connection ended before a byte. */
bool call_head_read(struct client_link *k, struct str method, nsec_t deadline, struct arena *a, struct http1_head *ret, bool *ret_nothing, struct err *err) {
	for (;;) {
		size_t scanned = 0, len;
		bool eof = false;
		while (!(len = http1_head_end(buf_view(&k->in), &scanned))) {
			if (k->in.len > HEAD_BYTES_MAX) {
				return err_set(err, ERR_BAD_REQUEST, "the answer's headers are too long");
			}
			*ret_nothing = k->in.len == 0;
			if (!link_read(k, deadline, &eof, err)) {
				*ret_nothing = *ret_nothing && err->code != ERR_TIMEOUT;
				return false;
			}
			if (eof) {
				return err_set(err, ERR_UNAVAILABLE, "the server closed the connection without an answer");
			}
		}
		*ret_nothing = false;
		struct str head = arena_str(a, str_sub(buf_view(&k->in), 0, len));
		buf_drop(&k->in, len);
		if (!http1_parse_response(a, head, HEADERS_MAX, method, ret, err)) {
			return false;
		}
		if (ret->status / 100 != 1 || ret->status == 101) {
			return true;
		}
	}
}

/* Where a body's bytes go: unpacked, counted, collected or handed on. */
struct sink {
	struct call *call;
	struct http_response *response;
	bool streaming;
	size_t max;
	z_stream *gzip;
	bool gzip_end;
};

static bool sink_put(struct sink *s, struct str bytes, struct err *err) {
	if (s->streaming) {
		return s->call->r->on_body(s->call->r->arg, bytes) ? true : err_set(err, ERR_CANCELLED, "given up while reading the answer");
	}
	if (s->response->body_buf.len + bytes.len > s->max) {
		return err_set(err, ERR_TOO_LARGE, "the answer is longer than %zu bytes", s->max);
	}
	return buf_str(&s->response->body_buf, bytes) ? true : err_set(err, ERR_TOO_LARGE, "the answer is longer than %zu bytes", s->max);
}

static bool sink_add(struct sink *s, struct str bytes, struct err *err) {
	if (!s->gzip) {
		return sink_put(s, bytes, err);
	}
	s->gzip->next_in = (Bytef *)(uintptr_t)bytes.ptr;
	s->gzip->avail_in = (uInt)bytes.len;
	while (s->gzip->avail_in && !s->gzip_end) {
		char out[READ_BYTES / 2];
		s->gzip->next_out = (Bytef *)out;
		s->gzip->avail_out = sizeof(out);
		int rc = inflate(s->gzip, Z_NO_FLUSH);
		s->gzip_end = rc == Z_STREAM_END;
		if (rc != Z_OK && rc != Z_STREAM_END) {
			return err_set(err, ERR_BAD_REQUEST, "the answer's gzip encoding is broken");
		}
		if (!sink_put(s, (struct str){ out, sizeof(out) - s->gzip->avail_out }, err)) {
			return false;
		}
	}
	return true;
}

/* *ret_whole: the connection can serve the next request. */
static bool body_read(struct client_link *k, const struct http1_head *head, struct sink *sink, nsec_t deadline, struct err *err) {
	struct http1_body body;
	http1_body_init(&body, head->framing, head->length);
	for (;;) {
		struct str in = buf_view(&k->in), piece;
		enum parse p;
		while ((p = http1_body_next(&body, &in, &piece, err)) == PARSE_MORE && piece.len) {
			if (!sink_add(sink, piece, err)) {
				return false;
			}
		}
		if (p == PARSE_BAD) {
			return false;
		}
		buf_drop(&k->in, k->in.len - in.len);
		if (p == PARSE_DONE) {
			return true;
		}
		bool eof;
		if (!link_read(k, deadline, &eof, err)) {
			return false;
		}
		if (eof) {
			return http1_body_at_eof(&body) ? true : err_set(err, ERR_UNAVAILABLE, "the server broke off within the answer");
		}
	}
}

static bool answer_read(struct call *c, struct client_link *k, struct http_response *ret, struct http1_head *head, bool *ret_nothing, struct err *err) {
	z_stream z = { 0 };
	struct sink sink = { .call = c, .response = ret };
	if (!call_head_read(k, c->method, c->deadline, &ret->arena, head, ret_nothing, err)) {
		return false;
	}
	ret->status = head->status;
	ret->headers = head->headers;
	sink.streaming = c->r->on_body && head->status / 100 == 2;
	sink.max = c->r->body_max ? c->r->body_max : (size_t)64 << 20;
	ret->body_buf.max = sink.max;
	bool redirect = c->r->redirects > 0 && head->status / 100 == 3 && http_header_get(head->headers, S("Location")).ptr;
	if (c->r->on_headers && !redirect && !c->r->on_headers(c->r->arg, head->status, head->headers)) {
		return err_set(err, ERR_CANCELLED, "given up at the answer's headers");
	}
	if (head->status == 101) {
		return true;
	}
	if (c->r->gzip && str_case_eq(http_header_get(head->headers, S("Content-Encoding")), S("gzip"))) {
		sink.gzip = &z;
		inflateInit2(&z, 15 + 16);
	}
	bool ok = body_read(k, head, &sink, c->deadline, err);
	if (sink.gzip) {
		inflateEnd(&z);
		if (ok && !sink.gzip_end && head->framing != HTTP1_NONE) {
			ok = err_set(err, ERR_BAD_REQUEST, "the answer's gzip encoding is broken");
		}
	}
	ret->body = buf_view(&ret->body_buf);
	return ok;
}

void http_response_release(struct http_response *r) {
	buf_release(&r->body_buf);
	arena_release(&r->arena);
	*r = (struct http_response){ 0 };
}

/* ---- calls ---- */

void client_unref(struct http_client *c) {
	if (atomic_fetch_sub(&c->refs, 1) != 1) {
		return;
	}
	VEC_EACH(&c->idle, it) {
		client_link_free(*it);
	}
	VEC_RELEASE(&c->idle);
	tls_client_free(c->tls);
	pthread_mutex_destroy(&c->lock);
	free(c->base);
	free(c->bearer);
	free(c->user_agent);
	free(c);
}

bool call_init(struct call *c, struct http_client *client, const struct http_request *r, struct err *err) {
	*c = (struct call){ .client = client, .r = r };
	c->method = r->method.len ? r->method : r->body.len || r->body_read ? S("POST") : S("GET");
	c->deadline = r->timeout < 0 ? 0 : clock_mono() + (r->timeout ? r->timeout : 60 * NSEC_PER_SEC);
	return url_of(c, r->url, err);
}

static bool repeatable(const struct call *c) {
	return !c->r->body_read && (str_eq(c->method, S("GET")) || str_eq(c->method, S("HEAD")) || str_eq(c->method, S("OPTIONS")));
}

/* Sends and reads once more when a kept connection turns out to be dead. On success *ret_link is at the end of the answer. */
static bool exchange_once(struct call *c, bool upgrade, struct http_response *ret, struct http1_head *head, struct client_link **ret_link, struct err *err) {
	for (int attempt = 0;; attempt++) {
		struct client_link *k = upgrade || attempt ? NULL : client_link_reuse(c->client, c->origin);
		bool nothing = false;
		if (!k && !client_link_dial(c->client, &c->url, c->origin, upgrade, c->deadline, &k, err)) {
			return false;
		}
		c->sent_any = false;
		bool sent = call_send(c, k, upgrade, err);
		struct err send_err = *err;
		if (!sent && (err->code == ERR_TIMEOUT || err->code == ERR_CANCELLED || err->code == ERR_BAD_REQUEST)) {
			client_link_free(k);
			return false;
		}
		if (answer_read(c, k, ret, head, &nothing, err)) {
			head->keep_alive = head->keep_alive && sent;
			*ret_link = k;
			return true;
		}
		bool again = k->reused && nothing && attempt == 0 && (repeatable(c) || !c->sent_any);
		client_link_free(k);
		if (!again) {
			if (nothing && !sent) {
				*err = send_err;
			}
			if (err->code == ERR_CLOSED || err->code == ERR_IO) {
				err->code = ERR_UNAVAILABLE;
			}
			err_wrap(err, "%.*s %.*s", STR_ARG(c->method), (int)MIN(c->text.len, (size_t)100), c->text.ptr);
			return false;
		}
		http_response_release(ret);
	}
}

static bool redirect_follow(struct call *c, const struct http_response *r, struct err *err) {
	struct str to = http_header_get(r->headers, S("Location"));
	char *old = c->origin;
	struct url u = c->url;
	if (str_starts(to, S("//"))) {
		to = arena_printf(&c->arena, "%.*s:%.*s", STR_ARG(u.scheme), STR_ARG(to));
	} else if (str_starts(to, S("/")) && !str_eq(u.scheme, S("unix"))) {
		to = arena_printf(&c->arena, str_index(u.host, ':') >= 0 ? "%.*s://[%.*s]:%d%.*s" : "%.*s://%.*s:%d%.*s", STR_ARG(u.scheme), STR_ARG(u.host), u.port,
			STR_ARG(to));
	}
	if (!url_of(c, to, err)) {
		return false;
	}
	c->no_auth = c->no_auth || strcmp(old, c->origin) != 0;
	return true;
}

bool http_do(struct http_client *client, const struct http_request *r, struct http_response *ret, struct err *err) {
	struct call c;
	struct http1_head head;
	struct client_link *k = NULL;
	*ret = (struct http_response){ 0 };
	bool ok = call_init(&c, client, r, err);
	for (int hops = r->redirects; ok; hops--) {
		ok = exchange_once(&c, false, ret, &head, &k, err);
		if (!ok) {
			break;
		}
		if (head.keep_alive && !k->in.len && head.status != 101) {
			client_link_keep(client, k);
		} else {
			client_link_free(k);
		}
		bool moved = head.status == 301 || head.status == 302 || head.status == 303 || head.status == 307 || head.status == 308;
		bool safe = str_eq(c.method, S("GET")) || str_eq(c.method, S("HEAD"));
		if (!moved || hops <= 0 || !safe || !http_header_get(ret->headers, S("Location")).ptr) {
			ret->url = arena_str(&ret->arena, c.text);
			break;
		}
		ok = redirect_follow(&c, ret, err);
		http_response_release(ret);
	}
	arena_release(&c.arena);
	if (!ok) {
		http_response_release(ret);
	}
	return ok;
}

bool http_dial_upgrade(struct http_client *client, struct loop *l, const struct http_request *r, struct http_response *ret, struct net_conn **ret_conn,
	struct err *err) {
	struct call c;
	struct http1_head head;
	struct client_link *k = NULL;
	*ret = (struct http_response){ 0 };
	*ret_conn = NULL;
	bool ok = call_init(&c, client, r, err) && exchange_once(&c, true, ret, &head, &k, err);
	if (ok && head.status == 101) {
		*ret_conn = net_conn_new(l);
		net_conn_attach(*ret_conn, &k->sock, buf_view(&k->in), NULL);
	}
	if (ok) {
		ret->url = arena_str(&ret->arena, c.text);
		client_link_free(k);
	} else {
		http_response_release(ret);
	}
	arena_release(&c.arena);
	return ok;
}

bool http_client_new(const struct http_client_opts *o, struct http_client **ret, struct err *err) {
	struct tls_client *tls = NULL;
	struct url u;
	if ((o->base.len && !url_parse(o->base, &u, err)) || !tls_client_new(&o->tls, &tls, err)) {
		return false;
	}
	struct http_client *c = xcalloc(1, sizeof(*c));
	*c = (struct http_client){
		.refs = 1,
		.tls = tls,
		.base = str_dup(o->base),
		.bearer = str_dup(o->bearer_token),
		.user_agent = o->user_agent.len ? str_dup(o->user_agent) : xstrdup("coracle"),
		.token = o->token,
		.token_arg = o->token_arg,
		.connect_timeout = o->connect_timeout ? o->connect_timeout : 10 * NSEC_PER_SEC,
		.idle_timeout = o->idle_timeout ? o->idle_timeout : 90 * NSEC_PER_SEC,
		.idle_max = o->idle_max ? o->idle_max : 16,
	};
	pthread_mutex_init(&c->lock, NULL);
	*ret = c;
	return true;
}

void http_client_free(struct http_client *c) {
	if (c) {
		client_unref(c);
	}
}
