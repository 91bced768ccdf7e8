/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c - the answers that end with their handler: heads in the form of each protocol, whole bodies, bodies piece by
 * piece with a bounded queue, gzip. On the answering thread.
 */
#include "net/server_int.h"

#include <zlib.h>

/* ---- the answer's head ---- */

void http_header_add(struct http_exchange *pub, struct str name, struct str value) {
	struct exchange *x = exchange_of(pub);
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
	header_remove(exchange_of(pub), name);
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

/* Of HTTP/1.1, not exchange_of an answer over HTTP/2. */
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

struct head *answer_head(struct exchange *x, int status, struct str content_type, int64_t length) {
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
	struct exchange *x = exchange_of(pub);
	assert(x->answer == ANSWER_NONE);
	x->answer = ANSWER_DONE;
	struct head *head = answer_head(x, status, content_type, (int64_t)body->len);
	pthread_mutex_lock(&x->lock);
	x->head = head;
	exchange_queue(x, body);
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

void gzip_free(struct gzip *g) {
	if (g) {
		deflateEnd(&g->z);
		free(g);
	}
}

static bool reply_put(struct exchange *x, struct net_bytes *bytes);

/* Compresses and queues; with `finish` the end exchange_of the stream too. */
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
	struct exchange *x = exchange_of(pub);
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
	struct head *head = answer_head(x, status, content_type, -1);
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
		exchange_queue(x, bytes);
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
		wait_cond_init(&cond);
		pthread_mutex_lock(&x->lock);
		size_t before = x->queued;
		nsec_t deadline = real_mono() + x->server->opts.write_timeout;
		while (x->queued > REPLY_QUEUE_MAX && !atomic_load(&x->gone)) {
			x->waiter = &cond;
			bool woken = wait_cond_until(&cond, &x->lock, deadline);
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
	struct exchange *x = exchange_of(pub);
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
	struct exchange *x = exchange_of(pub);
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
	struct exchange *x = exchange_of(pub);
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
	struct exchange *x = exchange_of(pub);
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
