/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c - a request and its answer: what handlers call, and the queue between their thread and the io loop.
 *
 * The answering thread puts the head and pieces of the body into the queue and posts one "kick" to the loop, unless
 * one is on its way. The loop takes from the queue as the connection can send, and wakes a writer that waits for
 * room. Streams are exchanges whose handler has returned.
 */
#include <zlib.h>

#include "base/log.h"
#include "net/server_int.h"

static void exchange_kick(struct exchange *x);

/* ---- life ---- */

struct exchange *exchange_new(struct conn *c) {
	struct exchange *x = xcalloc(1, sizeof(*x));
	x->refs = 1;
	x->server = c->io->server;
	atomic_fetch_add(&x->server->refs, 1);
	x->io = c->io;
	x->conn = c;
	x->keep_alive = true;
	pthread_mutex_init(&x->lock, NULL);
	x->pub.peer = str_c(c->peer); /* copied when it is handed out */
	x->pub.tls = c->sock.ssl != NULL;
	x->pub.received = loop_now(c->io->loop);
	return x;
}

struct exchange *exchange_ref(struct exchange *x) {
	atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
	return x;
}

static void queue_drop(struct exchange *x) {
	while (x->queue) {
		struct seg *s = x->queue;
		x->queue = s->next;
		net_bytes_unref(s->bytes);
		free(s);
	}
	x->queue_last = NULL;
	x->queued = 0;
}

static void gzip_free(struct gzip *g);

void exchange_unref(struct exchange *x) {
	if (atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1) {
		return;
	}
	queue_drop(x);
	free(x->head);
	gzip_free(x->gzip);
	buf_release(&x->body_in);
	buf_release(&x->body_buf);
	VEC_RELEASE(&x->h2_headers);
	arena_release(&x->pub.arena);
	pthread_mutex_destroy(&x->lock);
	struct http_server *s = x->server;
	free(x);
	server_unref(s);
}

static void waiter_wake(struct exchange *x) {
	if (x->waiter) {
		pthread_cond_signal(x->waiter);
	}
}

/* A stream's holder is told once, on the loop, when nothing can be sent any more. */
static void stream_tell(struct exchange *x) {
	if (x->is_stream && !x->told) {
		x->told = true;
		atomic_fetch_sub(&x->server->streams, 1);
		if (x->stream.on_close) {
			x->stream.on_close(x->stream.arg);
		}
	}
}

void exchange_detach(struct exchange *x) {
	x->conn = NULL;
	list_remove(&x->conn_link);
	atomic_store(&x->gone, true);
	pthread_mutex_lock(&x->lock);
	queue_drop(x);
	x->body_broken = !x->body_eof;
	waiter_wake(x);
	bool stream = x->is_stream;
	pthread_mutex_unlock(&x->lock);
	if (stream) {
		stream_tell(x);
	}
	exchange_unref(x);
}

/* ---- on the loop: the answer has grown ---- */

static void kick_now(struct exchange *x) {
	pthread_mutex_lock(&x->lock);
	struct net_conn *upgrade = TAKE(x->upgrade);
	bool stream = x->is_stream;
	size_t wanted = 0;
	if (x->body_wanted && x->body_in.len < BODY_QUEUE_MAX / 2) {
		x->body_wanted = false;
		wanted = 1;
	}
	if (!x->conn) {
		queue_drop(x);
	}
	pthread_mutex_unlock(&x->lock);

	if (upgrade) {
		x->upgrade = upgrade;
		if (x->conn) {
			conn_upgrade(x->conn, x);
		} else {
			struct err err = { 0 };
			err_set(&err, ERR_CLOSED, "the client has gone");
			net_conn_fail(TAKE(x->upgrade), &err);
		}
	} else if (!x->conn) {
		if (stream) {
			stream_tell(x);
		}
	} else {
		if (wanted) {
			conn_read_pause(x->conn, false);
		}
		if (x->conn->state == CONN_H2) {
			h2_answer(x);
		}
		conn_dirty(x->conn);
	}
}

static void kick_run(struct msg *m) {
	struct exchange *x = container_of(m, struct exchange, msg);
	pthread_mutex_lock(&x->lock);
	x->posted = false;
	pthread_mutex_unlock(&x->lock);
	kick_now(x);
	exchange_unref(x);
}

/* The lock must not be held. */
static void exchange_kick(struct exchange *x) {
	if (loop_current() == x->io->loop) {
		exchange_ref(x);
		kick_now(x);
		exchange_unref(x);
		return;
	}
	pthread_mutex_lock(&x->lock);
	bool post = !x->posted;
	x->posted = true;
	pthread_mutex_unlock(&x->lock);
	if (post) {
		exchange_ref(x);
		x->msg.run = kick_run;
		if (!loop_post(x->io->loop, &x->msg)) {
			kick_run(&x->msg); /* the loop is over: all connections are, too */
		}
	}
}

/* ---- handing out ---- */

static void exchange_run(struct job *j) {
	struct exchange *x = container_of(j, struct exchange, job);
	struct http_server *s = x->server;
	s->opts.handle(&x->pub, s->opts.arg);
	if (x->answer == ANSWER_NONE) {
		log_error("net", "a handler returned without an answer", kv_str("path", x->pub.path));
		http_reply(&x->pub, 500, S("text/plain"), S("internal error\n"));
	} else if (x->answer == ANSWER_STARTED && !x->is_stream) {
		http_reply_abort(&x->pub);
	}
	arena_release(&x->pub.arena); /* a stream lives on without it */
	gzip_free(TAKE(x->gzip));
	atomic_fetch_sub(&s->handlers, 1);
	exchange_unref(x);
}

/* The connection may end while the handler runs: it needs its own copies. */
static void connection_facts(struct exchange *x) {
	struct conn *c = x->conn;
	struct arena *a = &x->pub.arena;
	x->pub.peer = arena_str(a, str_c(c->peer));
	x->pub.peer_cert_error = str_c(c->peer_cert_error);
	if (c->peer_cert) {
		struct cert_identity *id = arena_new(a, struct cert_identity);
		struct str *orgs = arena_array(a, struct str, c->peer_cert->organizations_len);
		*id = *c->peer_cert;
		id->common_name = arena_str(a, id->common_name);
		for (size_t i = 0; i < id->organizations_len; i++) {
			orgs[i] = arena_str(a, c->peer_cert->organizations[i]);
		}
		id->organizations = orgs;
		id->serial = arena_str(a, id->serial);
		id->fingerprint = arena_str(a, id->fingerprint);
		id->issuer = arena_str(a, id->issuer);
		id->dns_len = id->ips_len = 0; /* names of clients are of no use */
		x->pub.peer_cert = id;
	}
}

static void hand_out(struct exchange *x) {
	if (x->dispatched) {
		return;
	}
	x->dispatched = true;
	exchange_ref(x);
	x->handed_out = true;
	x->job = (struct job){ .run = exchange_run };
	atomic_fetch_add(&x->server->handlers, 1);
	if (!pool_submit(&x->job)) {
		atomic_fetch_sub(&x->server->handlers, 1);
		x->handed_out = false;
		exchange_refuse(x, 503, "the server has too many requests waiting");
		exchange_unref(x);
	}
}

void exchange_begin(struct exchange *x) {
	struct http_server *s = x->server;
	enum http_body choice = HTTP_BODY_COLLECT;
	atomic_fetch_add(&s->requests, 1);
	x->no_body = str_eq(x->pub.method, S("HEAD"));
	connection_facts(x);
	if (s->opts.early) {
		choice = s->opts.early(&x->pub, s->opts.arg);
	}
	switch (choice) {
	case HTTP_BODY_COLLECT:
		break;
	case HTTP_BODY_STREAM:
		x->body_streamed = true;
		hand_out(x);
		break;
	case HTTP_BODY_DONE:
		x->dispatched = true;
		break;
	}
}

void exchange_body_add(struct exchange *x, struct str bytes) {
	if (x->body_streamed) {
		pthread_mutex_lock(&x->lock);
		buf_str(&x->body_in, bytes);
		waiter_wake(x);
		pthread_mutex_unlock(&x->lock);
		return;
	}
	if (x->dispatched) {
		return; /* answered early: the rest is thrown away */
	}
	if (x->body_buf.len + bytes.len > x->server->opts.body_max) {
		char why[80];
		snprintf(why, sizeof(why), "Request entity too large: limit is %zu", x->server->opts.body_max);
		buf_release(&x->body_buf);
		exchange_refuse(x, 413, why);
		return;
	}
	buf_str(&x->body_buf, bytes);
}

void exchange_body_end(struct exchange *x) {
	x->body_whole = true;
	if (x->body_streamed) {
		pthread_mutex_lock(&x->lock);
		x->body_eof = true;
		waiter_wake(x);
		pthread_mutex_unlock(&x->lock);
		return;
	}
	x->pub.body = buf_view(&x->body_buf);
	hand_out(x);
}

bool exchange_body_full(struct exchange *x) {
	if (!x->body_streamed) {
		return false;
	}
	pthread_mutex_lock(&x->lock);
	bool full = x->body_in.len >= BODY_QUEUE_MAX;
	x->body_wanted = x->body_wanted || full;
	pthread_mutex_unlock(&x->lock);
	return full;
}

void exchange_refuse(struct exchange *x, int status, const char *why) {
	struct http_server_opts *o = &x->server->opts;
	if (x->answer != ANSWER_NONE || x->handed_out) {
		return;
	}
	x->dispatched = true;
	if (!x->body_whole) {
		x->keep_alive = false;
	}
	if (o->reject && x->pub.method.len) {
		o->reject(&x->pub, status, why, o->arg);
	}
	if (x->answer == ANSWER_NONE) {
		char text[200];
		snprintf(text, sizeof(text), "%d %s: %s\n", status, http_status_text(status), why);
		http_reply(&x->pub, status, S("text/plain; charset=utf-8"), str_c(text));
	}
}

/* ---- the queue ---- */

/* Takes a reference of its own. With the lock held. */
static void queue_add(struct exchange *x, struct net_bytes *bytes) {
	if (!bytes->len || x->no_body) {
		return;
	}
	struct seg *s = xmalloc(sizeof(*s));
	*s = (struct seg){ .bytes = net_bytes_ref(bytes) };
	if (x->queue_last) {
		x->queue_last->next = s;
	} else {
		x->queue = s;
	}
	x->queue_last = s;
	x->queued += bytes->len;
}

size_t exchange_take(struct exchange *x, size_t max, void (*put)(struct conn *c, const void *bytes, size_t len), struct conn *c) {
	size_t taken = 0;
	while (x->queue && taken < max) {
		struct seg *s = x->queue;
		struct str slice = str_from(s->bytes->slices[s->slice], s->at);
		size_t n = MIN(slice.len, max - taken);
		put(c, slice.ptr, n);
		taken += n;
		s->at += n;
		if (n == slice.len) {
			s->at = 0;
			if (++s->slice == s->bytes->slices_len) {
				x->queue = s->next;
				x->queue_last = x->queue ? x->queue_last : NULL;
				net_bytes_unref(s->bytes);
				free(s);
			}
		}
	}
	x->queued -= taken;
	if (x->waiter && x->queued <= REPLY_QUEUE_MAX / 2) {
		waiter_wake(x);
	}
	return taken;
}

/* ---- the request ---- */

static struct exchange *of(const struct http_exchange *x) {
	return (struct exchange *)(uintptr_t)x;
}

struct str http_request_header(const struct http_exchange *x, struct str name) {
	return http_header_get(x->headers, name);
}

bool http_gone(const struct http_exchange *x) {
	return atomic_load(&of(x)->gone);
}

struct loop *http_loop(struct http_exchange *x) {
	return of(x)->io->loop;
}

static bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, nsec_t deadline) {
	struct timespec ts = { .tv_sec = deadline / NSEC_PER_SEC, .tv_nsec = deadline % NSEC_PER_SEC };
	pool_wait_begin();
	bool woken = pthread_cond_timedwait(cond, lock, &ts) == 0;
	pool_wait_end();
	return woken;
}

static void cond_init(pthread_cond_t *cond) {
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

static nsec_t real_mono(void) { /* for condition variables, which no simulated clock moves */
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

bool http_body_read(struct http_exchange *pub, void *into, size_t len, size_t *ret_len, struct err *err) {
	struct exchange *x = of(pub);
	pthread_cond_t cond;
	bool ok = true, resume = false;
	*ret_len = 0;
	if (!x->body_streamed) { /* collected: the same call serves */
		*ret_len = MIN(len, pub->body.len);
		memcpy(into, pub->body.len ? pub->body.ptr : "", *ret_len);
		pub->body = str_from(pub->body, *ret_len);
		return true;
	}
	cond_init(&cond);
	pthread_mutex_lock(&x->lock);
	nsec_t deadline = real_mono() + x->server->opts.body_timeout;
	while (ok && !x->body_in.len && !x->body_eof) {
		if (x->body_broken) {
			ok = err_set(err, ERR_CLOSED, "the client broke off while sending the body");
			break;
		}
		x->waiter = &cond;
		if (!cond_wait_until(&cond, &x->lock, deadline) && !x->body_in.len && !x->body_eof) {
			ok = err_set(err, ERR_TIMEOUT, "the client stopped sending the body");
		}
		x->waiter = NULL;
	}
	if (ok && x->body_in.len) {
		*ret_len = MIN(len, x->body_in.len);
		memcpy(into, x->body_in.ptr, *ret_len);
		buf_drop(&x->body_in, *ret_len);
		resume = x->body_wanted && x->body_in.len < BODY_QUEUE_MAX / 2;
	}
	pthread_mutex_unlock(&x->lock);
	pthread_cond_destroy(&cond);
	if (resume) {
		exchange_kick(x);
	}
	return ok;
}

/* ---- the answer's head ---- */

void http_header_add(struct http_exchange *pub, struct str name, struct str value) {
	struct exchange *x = of(pub);
	if (x->reply_headers_len == x->reply_headers_cap) {
		size_t cap = MAX((size_t)8, x->reply_headers_cap * 2);
		struct http_header *more = arena_array(&pub->arena, struct http_header, cap);
		if (x->reply_headers_len) {
			memcpy(more, x->reply_headers, x->reply_headers_len * sizeof(*more));
		}
		x->reply_headers = more;
		x->reply_headers_cap = cap;
	}
	char *text = arena_cstr(&pub->arena, value);
	for (size_t i = 0; i < value.len; i++) {
		if (text[i] == '\r' || text[i] == '\n' || text[i] == 0) {
			text[i] = ' ';
		}
	}
	x->reply_headers[x->reply_headers_len++] = (struct http_header){ arena_str(&pub->arena, name), { text, value.len } };
}

static void header_remove(struct exchange *x, struct str name) {
	size_t n = 0;
	for (size_t i = 0; i < x->reply_headers_len; i++) {
		if (!str_case_eq(x->reply_headers[i].name, name)) {
			x->reply_headers[n++] = x->reply_headers[i];
		}
	}
	x->reply_headers_len = n;
}

void http_header_set(struct http_exchange *pub, struct str name, struct str value) {
	header_remove(of(pub), name);
	http_header_add(pub, name, value);
}

static struct http_headers reply_headers(struct exchange *x) {
	return (struct http_headers){ x->reply_headers, x->reply_headers_len };
}

/* "Sat, 21 Nov 2026 05:46:00 GMT", made once a second per thread. */
static struct str date_text(void) {
	static _Thread_local time_t last;
	static _Thread_local char text[40];
	time_t now = (time_t)(clock_wall() / NSEC_PER_SEC);
	if (now != last || !text[0]) {
		struct tm tm;
		gmtime_r(&now, &tm);
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		last = now;
	}
	return str_c(text);
}

/* Of HTTP/1.1, not of an answer over HTTP/2. */
static bool is_hop_header(struct str name) {
	return str_case_eq(name, S("Connection")) || str_case_eq(name, S("Transfer-Encoding")) || str_case_eq(name, S("Keep-Alive")) ||
	       str_case_eq(name, S("Upgrade")) || str_case_eq(name, S("Proxy-Connection"));
}

static struct head *head_h1(struct exchange *x, int status, bool has_length) {
	struct buf b = { 0 };
	struct http_headers h = reply_headers(x);
	size_t prefix = offsetof(struct head, nv);
	char *zero = buf_reserve(&b, prefix + 512);
	memset(zero, 0, prefix);
	b.len = prefix;
	bool close = !x->keep_alive || atomic_load(&x->server->stopping) || x->until_close;
	buf_printf(&b, "HTTP/1.1 %d %s\r\n", status, http_status_text(status));
	for (size_t i = 0; i < h.len; i++) {
		buf_str(&b, h.at[i].name);
		buf_str(&b, S(": "));
		buf_str(&b, h.at[i].value);
		buf_str(&b, S("\r\n"));
	}
	if (status == 101) {
		if (!http_header_get(h, S("Connection")).ptr) {
			buf_str(&b, S("Connection: Upgrade\r\n"));
		}
	} else {
		if (!http_header_get(h, S("Date")).ptr) {
			buf_str(&b, S("Date: "));
			buf_str(&b, date_text());
			buf_str(&b, S("\r\n"));
		}
		if (x->chunked && !has_length) {
			buf_str(&b, S("Transfer-Encoding: chunked\r\n"));
		}
		if (close) {
			x->keep_alive = false;
			buf_str(&b, S("Connection: close\r\n"));
		} else if (x->pub.version == 10) {
			buf_str(&b, S("Connection: keep-alive\r\n"));
		}
	}
	buf_str(&b, S("\r\n"));
	struct head *head = (struct head *)(void *)b.ptr;
	head->status = status;
	head->len = b.len - prefix;
	return head;
}

static struct head *head_h2(struct exchange *x, int status) {
	struct http_headers h = reply_headers(x);
	struct str date = date_text();
	size_t text = 3 + date.len;
	for (size_t i = 0; i < h.len; i++) {
		text += h.at[i].name.len + h.at[i].value.len;
	}
	struct head *head = xmalloc(sizeof(*head) + (h.len + 2) * sizeof(nghttp2_nv) + text);
	uint8_t *at = (uint8_t *)&head->nv[h.len + 2];
	head->status = status;
	head->len = 0;
	head->nv[head->len++] = (nghttp2_nv){ .name = (uint8_t *)":status", .namelen = 7, .value = at, .valuelen = 3 };
	at[0] = (uint8_t)('0' + status / 100 % 10), at[1] = (uint8_t)('0' + status / 10 % 10), at[2] = (uint8_t)('0' + status % 10);
	at += 3;
	for (size_t i = 0; i < h.len; i++) {
		if (is_hop_header(h.at[i].name)) {
			continue;
		}
		nghttp2_nv *nv = &head->nv[head->len++];
		*nv = (nghttp2_nv){ .name = at, .namelen = h.at[i].name.len };
		for (size_t k = 0; k < h.at[i].name.len; k++) {
			char c = h.at[i].name.ptr[k];
			*at++ = (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
		}
		nv->value = at;
		nv->valuelen = h.at[i].value.len;
		at = h.at[i].value.len ? mempcpy(at, h.at[i].value.ptr, h.at[i].value.len) : at;
	}
	if (!http_header_get(h, S("Date")).ptr) {
		head->nv[head->len++] = (nghttp2_nv){ .name = (uint8_t *)"date", .namelen = 4, .value = at, .valuelen = date.len };
		memcpy(at, date.ptr, date.len);
	}
	for (size_t i = 0; i < head->len; i++) {
		head->nv[i].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
	}
	return head;
}

static struct head *head_make(struct exchange *x, int status, struct str content_type, int64_t length) {
	char number[24];
	if (content_type.len && !http_header_get(reply_headers(x), S("Content-Type")).ptr) {
		http_header_add(&x->pub, S("Content-Type"), content_type);
	}
	if (length >= 0 && status != 204 && status != 304 && status >= 200 && !http_header_get(reply_headers(x), S("Content-Length")).ptr) {
		snprintf(number, sizeof(number), "%lld", (long long)length);
		http_header_add(&x->pub, S("Content-Length"), str_c(number));
	}
	bool has_length = http_header_get(reply_headers(x), S("Content-Length")).ptr != NULL;
	x->no_body = x->no_body || status == 204 || status == 304;
	if (x->pub.version != 20) {
		x->chunked = !has_length && !x->no_body && x->pub.version == 11 && status >= 200;
		x->until_close = !has_length && !x->no_body && x->pub.version == 10;
		return head_h1(x, status, has_length);
	}
	return head_h2(x, status);
}

/* ---- answers ---- */

void http_reply_bytes(struct http_exchange *pub, int status, struct str content_type, struct net_bytes *body) {
	struct exchange *x = of(pub);
	assert(x->answer == ANSWER_NONE);
	x->answer = ANSWER_DONE;
	struct head *head = head_make(x, status, content_type, (int64_t)body->len);
	pthread_mutex_lock(&x->lock);
	x->head = head;
	queue_add(x, body);
	x->ended = true;
	pthread_mutex_unlock(&x->lock);
	exchange_kick(x);
}

void http_reply(struct http_exchange *pub, int status, struct str content_type, struct str body) {
	struct net_bytes *b = net_bytes_new(body);
	http_reply_bytes(pub, status, content_type, b);
	net_bytes_unref(b);
}

struct gzip {
	z_stream z;
};

static void gzip_free(struct gzip *g) {
	if (g) {
		deflateEnd(&g->z);
		free(g);
	}
}

static bool reply_put(struct exchange *x, struct net_bytes *bytes);

/* Compresses and queues; with `finish` the end of the stream too. */
static bool gzip_put(struct exchange *x, struct str in, bool finish) {
	z_stream *z = &x->gzip->z;
	bool ok = true;
	z->next_in = (Bytef *)(uintptr_t)in.ptr;
	z->avail_in = (uInt)in.len;
	do {
		char out[16384];
		z->next_out = (Bytef *)out;
		z->avail_out = sizeof(out);
		deflate(z, finish ? Z_FINISH : Z_NO_FLUSH);
		size_t n = sizeof(out) - z->avail_out;
		if (n && ok) {
			struct net_bytes *b = net_bytes_new((struct str){ out, n });
			ok = reply_put(x, b);
			net_bytes_unref(b);
		}
	} while (z->avail_out == 0 && ok);
	return ok;
}

void http_reply_start(struct http_exchange *pub, int status, struct str content_type, const struct http_reply_opts *opts) {
	struct exchange *x = of(pub);
	assert(x->answer == ANSWER_NONE);
	x->answer = ANSWER_STARTED;
	if (opts && opts->gzip) {
		x->gzip = xcalloc(1, sizeof(*x->gzip));
		int rc = deflateInit2(&x->gzip->z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
		assert(rc == Z_OK);
		(void)rc;
		http_header_set(pub, S("Content-Encoding"), S("gzip"));
		http_header_add(pub, S("Vary"), S("Accept-Encoding"));
		header_remove(x, S("Content-Length"));
	}
	struct head *head = head_make(x, status, content_type, -1);
	pthread_mutex_lock(&x->lock);
	x->head = head;
	pthread_mutex_unlock(&x->lock);
}

/* Queues and waits for room. */
static bool reply_put(struct exchange *x, struct net_bytes *bytes) {
	assert(loop_current() != x->io->loop);
	pthread_mutex_lock(&x->lock);
	bool ok = !atomic_load(&x->gone);
	if (ok) {
		queue_add(x, bytes);
	}
	bool full = x->queued > REPLY_QUEUE_MAX, kick = x->queued >= STAGE_BYTES / 2;
	pthread_mutex_unlock(&x->lock);
	if (!ok) {
		return false;
	}
	if (kick) { /* small pieces gather until there is a record's worth, or the answer ends */
		exchange_kick(x);
	}
	if (full) {
		pthread_cond_t cond;
		cond_init(&cond);
		pthread_mutex_lock(&x->lock);
		size_t before = x->queued;
		nsec_t deadline = real_mono() + x->server->opts.write_timeout;
		while (x->queued > REPLY_QUEUE_MAX && !atomic_load(&x->gone)) {
			x->waiter = &cond;
			bool woken = cond_wait_until(&cond, &x->lock, deadline);
			x->waiter = NULL;
			if (!woken && x->queued >= before) {
				x->aborted = true; /* a peer that takes nothing for so long never will */
				break;
			}
			if (!woken) {
				before = x->queued;
				deadline = real_mono() + x->server->opts.write_timeout;
			}
		}
		ok = !atomic_load(&x->gone) && !x->aborted;
		pthread_mutex_unlock(&x->lock);
		pthread_cond_destroy(&cond);
		if (!ok) {
			exchange_kick(x);
		}
	}
	return ok;
}

bool http_reply_write_bytes(struct http_exchange *pub, struct net_bytes *bytes) {
	struct exchange *x = of(pub);
	assert(x->answer == ANSWER_STARTED);
	if (x->gzip) {
		for (uint32_t i = 0; i < bytes->slices_len; i++) {
			if (!gzip_put(x, bytes->slices[i], false)) {
				return false;
			}
		}
		return true;
	}
	return reply_put(x, bytes);
}

bool http_reply_write(struct http_exchange *pub, struct str bytes) {
	struct exchange *x = of(pub);
	assert(x->answer == ANSWER_STARTED);
	if (x->gzip) {
		return gzip_put(x, bytes, false);
	}
	while (bytes.len > STAGE_BYTES) { /* a big piece must not fill more than the queue's share at once */
		if (!http_reply_write(pub, str_sub(bytes, 0, STAGE_BYTES))) {
			return false;
		}
		bytes = str_from(bytes, STAGE_BYTES);
	}
	struct net_bytes *b = net_bytes_new(bytes);
	bool ok = reply_put(x, b);
	net_bytes_unref(b);
	return ok;
}

void http_reply_end(struct http_exchange *pub) {
	struct exchange *x = of(pub);
	assert(x->answer == ANSWER_STARTED);
	if (x->gzip) {
		gzip_put(x, (struct str){ 0 }, true);
	}
	x->answer = ANSWER_DONE;
	pthread_mutex_lock(&x->lock);
	x->ended = true;
	pthread_mutex_unlock(&x->lock);
	exchange_kick(x);
}

void http_reply_abort(struct http_exchange *pub) {
	struct exchange *x = of(pub);
	x->answer = ANSWER_DONE;
	pthread_mutex_lock(&x->lock);
	x->aborted = true;
	pthread_mutex_unlock(&x->lock);
	exchange_kick(x);
}

bool http_accepts_gzip(const struct http_exchange *x) {
	for (size_t i = 0; i < x->headers.len; i++) {
		struct str rest = x->headers.at[i].value, piece;
		if (!str_case_eq(x->headers.at[i].name, S("Accept-Encoding"))) {
			continue;
		}
		while (rest.len && str_next(&rest, ',', &piece)) {
			struct str name, q;
			str_cut(piece, ';', &name, &q);
			if (str_case_eq(str_trim(name), S("gzip"))) {
				q = str_trim(q);
				return !(str_eq(q, S("q=0")) || str_starts(q, S("q=0.0")));
			}
		}
	}
	return false;
}

void http_reply_maybe_gzip(struct http_exchange *x, int status, struct str content_type, struct str body) {
	if (body.len < 128 * 1024 || !http_accepts_gzip(x) || loop_current()) {
		http_reply(x, status, content_type, body);
		return;
	}
	http_reply_start(x, status, content_type, &(struct http_reply_opts){ .gzip = true });
	if (http_reply_write(x, body)) {
		http_reply_end(x);
	} else {
		http_reply_abort(x);
	}
}

/* ---- streams ---- */

struct http_stream {
	struct exchange x;
};

struct http_stream *http_stream_start(struct http_exchange *pub, int status, struct str content_type, const struct http_stream_opts *opts) {
	struct exchange *x = of(pub);
	assert(x->answer == ANSWER_NONE);
	x->answer = ANSWER_DONE;
	struct head *head = head_make(x, status, content_type, -1);
	atomic_fetch_add(&x->server->streams, 1);
	exchange_ref(x); /* the handle */
	pthread_mutex_lock(&x->lock);
	x->head = head;
	x->stream = *opts;
	x->stream.backlog_max = opts->backlog_max ? opts->backlog_max : (size_t)1 << 20;
	x->is_stream = true;
	pthread_mutex_unlock(&x->lock);
	exchange_kick(x);
	return (struct http_stream *)x;
}

bool http_stream_send(struct http_stream *s, struct net_bytes *bytes) {
	struct exchange *x = &s->x;
	pthread_mutex_lock(&x->lock);
	if (atomic_load_explicit(&x->gone, memory_order_relaxed) || x->ended || x->aborted || x->queued + bytes->len > x->stream.backlog_max) {
		x->stream_failed = true;
		pthread_mutex_unlock(&x->lock);
		return false;
	}
	queue_add(x, bytes);
	x->drain_wanted = x->drain_wanted || x->queued > x->stream.backlog_max / 2;
	pthread_mutex_unlock(&x->lock);
	exchange_kick(x);
	return true;
}

bool http_stream_send_copy(struct http_stream *s, struct str bytes) {
	struct net_bytes *b = net_bytes_new(bytes);
	bool ok = http_stream_send(s, b);
	net_bytes_unref(b);
	return ok;
}

struct broadcast {
	struct msg msg;
	struct net_bytes *bytes;
	size_t len;
	struct http_stream *to[]; /* references */
};

static void broadcast_run(struct msg *m) {
	struct broadcast *b = container_of(m, struct broadcast, msg);
	for (size_t i = 0; i < b->len; i++) {
		(void)http_stream_send(b->to[i], b->bytes);
		exchange_unref(&b->to[i]->x);
	}
	net_bytes_unref(b->bytes);
	free(b);
}

void http_stream_broadcast(struct http_stream *const *streams, size_t n, struct net_bytes *bytes) {
	if (!n) {
		return;
	}
	struct http_server *s = streams[0]->x.server;
	for (int i = 0; i < s->ios_len; i++) {
		struct io *io = &s->ios[i];
		struct broadcast *b = xmalloc(sizeof(*b) + n * sizeof(b->to[0]));
		*b = (struct broadcast){ .msg.run = broadcast_run };
		for (size_t k = 0; k < n; k++) {
			if (streams[k]->x.io == io) {
				exchange_ref(&streams[k]->x);
				b->to[b->len++] = streams[k];
			}
		}
		b->bytes = net_bytes_ref(bytes);
		if (!b->len || loop_current() == io->loop || !loop_post(io->loop, &b->msg)) {
			broadcast_run(&b->msg);
		}
	}
}

bool http_stream_failed(struct http_stream *s) {
	pthread_mutex_lock(&s->x.lock);
	bool failed = s->x.stream_failed || atomic_load(&s->x.gone);
	pthread_mutex_unlock(&s->x.lock);
	return failed;
}

size_t http_stream_backlog(struct http_stream *s) {
	pthread_mutex_lock(&s->x.lock);
	size_t n = s->x.queued;
	pthread_mutex_unlock(&s->x.lock);
	return n;
}

struct loop *http_stream_loop(struct http_stream *s) {
	return s->x.io->loop;
}

struct stream_end {
	struct msg msg;
	struct exchange *x; /* the handle's reference */
	bool abort;
};

static void stream_end_run(struct msg *m) {
	struct stream_end *e = container_of(m, struct stream_end, msg);
	struct exchange *x = e->x;
	pthread_mutex_lock(&x->lock);
	x->ended = true;
	x->aborted = x->aborted || e->abort;
	pthread_mutex_unlock(&x->lock);
	kick_now(x);
	exchange_unref(x);
	free(e);
}

/* A message of its own, so that it comes after every broadcast that was posted before it. */
static void stream_finish(struct http_stream *s, bool abort) {
	if (!s) {
		return;
	}
	struct exchange *x = &s->x;
	struct stream_end *e = xcalloc(1, sizeof(*e));
	*e = (struct stream_end){ .msg.run = stream_end_run, .x = x, .abort = abort };
	if (loop_current() == x->io->loop || !loop_post(x->io->loop, &e->msg)) {
		stream_end_run(&e->msg);
	}
}

void http_stream_end(struct http_stream *s) {
	stream_finish(s, false);
}

void http_stream_abort(struct http_stream *s) {
	stream_finish(s, true);
}

/* ---- upgrades ---- */

bool http_wants_upgrade(const struct http_exchange *x, struct str protocol) {
	if (!http_header_has_token(x->headers, S("Connection"), S("Upgrade"))) {
		return false;
	}
	return protocol.len ? http_header_has_token(x->headers, S("Upgrade"), protocol) : http_header_get(x->headers, S("Upgrade")).len > 0;
}

bool http_upgrade(struct http_exchange *pub, struct net_conn **ret, struct err *err) {
	struct exchange *x = of(pub);
	assert(x->answer == ANSWER_NONE);
	if (pub->version != 11) {
		return err_set(err, ERR_BAD_REQUEST, "an upgrade needs HTTP/1.1");
	}
	x->answer = ANSWER_DONE;
	struct head *head = head_make(x, 101, (struct str){ 0 }, -1);
	*ret = net_conn_new(x->io->loop);
	pthread_mutex_lock(&x->lock);
	x->head = head;
	x->upgrade = *ret;
	pthread_mutex_unlock(&x->lock);
	exchange_kick(x);
	return true;
}
