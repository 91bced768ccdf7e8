/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_h1.c - HTTP/1.1 on a connection of the server: one exchange at a time. On the io loop.
 *
 * Requests that a client sends ahead wait in c->in until the answer before them is out; beyond PIPELINE_MAX the connection is not read.
 */
#include "net/server_int.h"

/* Answers a head that does not parse; nothing after it can be understood. */
static void h1_refuse(struct conn *c, struct exchange *x, int status, const char *why) {
	c->closing = true;
	c->body_open = false;
	x->keep_alive = false;
	x->body_whole = true;
	if (!x->pub.version) {
		x->pub.version = 11;
	}
	buf_clear(&c->in);
	exchange_refuse(x, status, why);
	conn_dirty(c);
}

/* The head of the next request, when it is whole. */
static bool h1_head(struct conn *c) {
	struct http_server_opts *o = &c->io->server->opts;
	struct http1_head head = { 0 };
	struct err err = { 0 };
	int status;
	while (str_starts(buf_view(&c->in), S("\r\n"))) { /* RFC 9112 section 2.2: empty lines before a request are skipped */
		buf_drop(&c->in, 2);
		c->scanned = 0;
	}
	size_t len = http1_head_end(buf_view(&c->in), &c->scanned);
	bool too_long = len ? len > o->header_bytes_max : c->in.len > o->header_bytes_max;

	if ((!len && !too_long) || str_eq(buf_view(&c->in), S("PRI * HTTP/2.0\r\n\r\n"))) {
		return false;
	}
	c->scanned = 0;
	struct exchange *x = c->cur = exchange_new(c);
	if (too_long) {
		h1_refuse(c, x, 431, "the request's headers are too long");
		return false;
	}
	struct str text = arena_str(&x->pub.arena, str_sub(buf_view(&c->in), 0, len));
	if (!http1_parse_request(&x->pub.arena, text, o->headers_max, &head, &status, &err)) {
		h1_refuse(c, x, status, err.msg);
		return false;
	}
	buf_drop(&c->in, len);
	x->pub.method = head.method;
	x->pub.target = head.target;
	x->pub.path = head.path;
	x->pub.query = head.query;
	x->pub.host = head.host;
	x->pub.headers = head.headers;
	x->pub.version = head.version;
	x->keep_alive = head.keep_alive;
	x->expect_continue = head.expect_continue;
	http1_body_init(&c->body, head.framing, head.length);
	c->body_open = head.framing != HTTP1_NONE;
	conn_deadline(c, c->body_open ? o->body_timeout : 0);
	exchange_begin(x);
	if (head.framing == HTTP1_LENGTH && head.length > o->body_max && !x->body_streamed && !x->dispatched) {
		char why[80];
		snprintf(why, sizeof(why), "Request entity too large: limit is %zu", o->body_max);
		exchange_refuse(x, 413, why);
	}
	if (c->body_open && x->expect_continue && (x->body_streamed || !x->dispatched)) {
		static const char text_100[] = "HTTP/1.1 100 Continue\r\n\r\n";
		sock_write(&c->sock, text_100, sizeof(text_100) - 1);
		conn_dirty(c);
	}
	if (!c->body_open) {
		exchange_body_end(x);
	}
	return true;
}

/* False when it needs more input or a reader. */
static bool h1_body(struct conn *c) {
	struct exchange *x = c->cur;
	struct str in = buf_view(&c->in), piece;
	struct err err = { 0 };
	while (c->body_open) {
		if (exchange_body_full(x)) {
			buf_drop(&c->in, c->in.len - in.len);
			conn_read_pause(c, true);
			return false;
		}
		enum parse p = http1_body_next(&c->body, &in, &piece, &err);
		if (p == PARSE_MORE && !piece.len) {
			buf_clear(&c->in);
			conn_deadline(c, c->io->server->opts.body_timeout);
			return false;
		}
		if (p == PARSE_BAD) {
			buf_clear(&c->in);
			c->body_open = false;
			c->closing = true;
			x->keep_alive = false;
			if (x->dispatched) {
				conn_kill(c);
			} else {
				exchange_refuse(x, 400, err.msg);
			}
			return false;
		}
		if (piece.len) {
			exchange_body_add(x, piece);
		}
		c->body_open = p != PARSE_DONE;
	}
	buf_drop(&c->in, c->in.len - in.len);
	conn_deadline(c, 0);
	exchange_body_end(x);
	return true;
}

/* A plain connection that begins with HTTP/2's preface: prior knowledge. */
static bool is_preface(struct conn *c) {
	return !c->sock.ssl && str_starts(buf_view(&c->in), S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
}

void h1_input(struct conn *c) {
	if (!c->cur && !c->closing && is_preface(c)) {
		struct buf in = c->in;
		c->in = (struct buf){ 0 };
		c->state = CONN_H2;
		h2_start(c);
		h2_input(c, buf_view(&in));
		buf_release(&in);
		return;
	}
	while (!c->dying && c->state == CONN_H1) {
		if (c->cur) {
			if (!c->body_open) {
				break;
			}
			if (!h1_body(c)) {
				return;
			}
		} else if (c->closing) {
			buf_clear(&c->in); /* nothing after this counts */
			return;
		} else if (!c->in.len || !h1_head(c)) {
			if (!c->in.len && !c->cur) {
				conn_deadline(c, c->io->server->opts.idle_timeout);
				buf_release(&c->in); /* an idle connection stays small */
				c->in.max = c->io->server->opts.header_bytes_max + PIPELINE_MAX + 2 * STAGE_BYTES;
			}
			break;
		}
	}
	if (!c->dying && c->cur && !c->body_open && c->in.len > PIPELINE_MAX) {
		conn_read_pause(c, true);
	}
}

void h1_eof(struct conn *c) {
	struct exchange *x = c->cur;
	if (!x || c->body_open) {
		conn_kill(c);
		return;
	}
	/* A client that only ended its sending side still waits for the answer; a stream's client has left. */
	c->closing = true;
	if (x->is_stream) {
		conn_kill(c);
	}
}

static void h1_finish(struct conn *c) {
	struct exchange *x = TAKE(c->cur);
	bool close = !x->keep_alive || c->body_open || c->closing || atomic_load(&c->io->server->stopping);
	exchange_detach(x);
	if (close) {
		c->closing = true;
		c->body_open = false;
		conn_linger(c);
		return;
	}
	conn_deadline(c, c->in.len ? c->io->server->opts.headers_timeout : c->io->server->opts.idle_timeout);
	c->read_again = c->reading_paused;
	c->reading_paused = false;
	h1_input(c);
}

static void put_stage(struct conn *c, const void *bytes, size_t len) {
	stage_put(c, bytes, len);
}

void h1_pump(struct conn *c) {
	struct exchange *x;
	while ((x = c->cur) && conn_unsent(c) < UNSENT_MAX && !c->dying) {
		bool drained = false, finish = false;
		pthread_mutex_lock(&x->lock);
		if (!x->head || x->upgrade) {
			pthread_mutex_unlock(&x->lock);
			return;
		}
		if (!x->head_sent) {
			x->head_sent = true;
			stage_put(c, x->head->nv, x->head->len);
		}
		size_t n = MIN(x->queued, UNSENT_MAX);
		if (n) {
			if (x->chunked) {
				char size[24];
				stage_put(c, size, (size_t)snprintf(size, sizeof(size), "%zx\r\n", n));
			}
			exchange_take(x, n, put_stage, c);
			if (x->chunked) {
				stage_put(c, "\r\n", 2);
			}
		}
		if (!x->queued) {
			drained = x->drain_wanted;
			x->drain_wanted = false;
			finish = x->ended;
		}
		pthread_mutex_unlock(&x->lock);
		if (drained && x->stream.on_drain) {
			x->stream.on_drain(x->stream.arg);
		}
		if (finish) {
			if (x->chunked && !x->no_body) {
				stage_put(c, "0\r\n\r\n", 5);
			}
			h1_finish(c);
		} else if (!n) {
			return;
		}
	}
}

void h1_stop(struct conn *c) {
	c->closing = true;
	if (!c->cur) {
		conn_kill(c);
	} else {
		struct exchange *x = c->cur;
		pthread_mutex_lock(&x->lock);
		x->ended = x->ended || x->is_stream;
		pthread_mutex_unlock(&x->lock);
		conn_dirty(c);
	}
}
