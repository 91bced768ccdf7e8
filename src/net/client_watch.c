/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_watch.c - an answer that streams to a loop: dialled on a pool thread, then the loop's.
 */
#include "net/client_int.h"

/*
 * Made by the caller, dialled on a pool thread, then the loop's. Two references: the holder's handle and the
 * dialler's, which becomes that of "there may be callbacks".
 */
struct http_watch {
	int refs; /* the loop's, once dialled */
	struct http_client *client;
	struct loop *loop;
	struct http_watch_handler handler;
	void *arg;
	struct arena arena; /* the request's copy, then the answer's head */
	struct http_request request;
	struct http1_head head;
	struct client_link *conn;
	struct err err;
	bool dialled_ok, cancelled, paused, ended;
	struct http1_body body;
	struct loop_fd *fd;
};

static void watch_unref(struct http_watch *w) {
	if (--w->refs == 0) {
		client_link_free(w->conn);
		arena_release(&w->arena);
		free(w);
	}
}

static void watch_end(struct http_watch *w, const struct err *err) {
	if (w->ended) {
		return;
	}
	w->ended = true;
	loop_fd_free(TAKE(w->fd));
	client_link_free(TAKE(w->conn));
	if (!w->cancelled) {
		w->handler.on_end(w->arg, err);
	}
	watch_unref(w);
}

/* Gives on what k->in holds; false when the watch is over. */
static bool watch_feed(struct http_watch *w) {
	struct err err = { 0 };
	enum parse p = PARSE_MORE;
	while (!w->cancelled && !w->paused) {
		struct str in = buf_view(&w->conn->in), piece;
		p = http1_body_next(&w->body, &in, &piece, &err);
		if (p != PARSE_MORE || !piece.len) {
			buf_drop(&w->conn->in, w->conn->in.len - in.len);
			break;
		}
		/* The bytes leave the buffer before the callback, which may cancel. */
		auto_buf struct buf given = { 0 };
		buf_str(&given, piece);
		buf_drop(&w->conn->in, w->conn->in.len - in.len);
		w->handler.on_data(w->arg, buf_view(&given));
	}
	if (w->cancelled) {
		return false;
	}
	if (p != PARSE_MORE) {
		watch_end(w, &err);
		return false;
	}
	return true;
}

static void watch_ready(void *arg, int events) {
	struct http_watch *w = arg;
	struct err err = { 0 };
	bool more = true;
	w->refs++;
	sock_woken(&w->conn->sock);
	while (more && !w->cancelled && !w->ended && !w->paused) {
		size_t n;
		char *room = buf_reserve(&w->conn->in, READ_BYTES);
		if (!room) {
			err_set(&err, ERR_BAD_REQUEST, "the answer's chunk framing is too long");
			watch_end(w, &err);
			break;
		}
		switch (sock_read(&w->conn->sock, room, READ_BYTES, &n, &err)) {
		case SOCK_OK:
			w->conn->in.len += n;
			more = watch_feed(w);
			break;
		case SOCK_AGAIN:
			more = false;
			if (!w->conn->in.len) {
				buf_release(&w->conn->in); /* a waiting watch stays small */
				w->conn->in.max = HEAD_BYTES_MAX + READ_BYTES;
			}
			break;
		case SOCK_EOF:
			if (!http1_body_at_eof(&w->body)) {
				err_set(&err, ERR_UNAVAILABLE, "the server broke off within the answer");
			}
			watch_end(w, &err);
			break;
		case SOCK_ERROR:
			watch_end(w, &err);
			break;
		}
	}
	watch_unref(w);
}

/* The dialler is done; on the loop. */
static void watch_dialled(void *arg) {
	struct http_watch *w = arg;
	if (w->cancelled || !w->dialled_ok) {
		watch_end(w, &w->err);
		return;
	}
	w->refs++;
	if (w->handler.on_headers) {
		w->handler.on_headers(w->arg, w->head.status, w->head.headers);
	}
	http1_body_init(&w->body, w->head.framing, w->head.length);
	if (w->cancelled) {
		watch_end(w, &w->err);
	} else if (watch_feed(w)) {
		w->fd = loop_fd_watch(w->loop, w->conn->sock.fd, w->paused ? 0 : LOOP_READ, watch_ready, w);
		if (!w->paused) {
			watch_ready(w, LOOP_READ); /* TLS may hold bytes */
		}
	} else if (w->cancelled) {
		watch_end(w, &w->err);
	}
	watch_unref(w);
}

static void watch_dial(void *arg) {
	struct http_watch *w = arg;
	struct call c;
	struct http_client *client = w->client;
	bool nothing = false;
	bool ok = call_init(&c, client, &w->request, &w->err);
	ok = ok && client_link_dial(client, &c.url, c.origin, false, c.deadline, &w->conn, &w->err) && call_send(&c, w->conn, false, &w->err) &&
	     call_head_read(w->conn, c.method, c.deadline, &w->arena, &w->head, &nothing, &w->err);
	w->dialled_ok = ok;
	arena_release(&c.arena);
	client_unref(client);
	if (!loop_call(w->loop, watch_dialled, w)) {
		watch_unref(w); /* the loop is over; the holder's handle goes with http_watch_cancel */
	}
}

struct http_watch *http_watch_start(struct http_client *c, struct loop *l, const struct http_request *r, const struct http_watch_handler *h, void *arg) {
	struct http_watch *w = xcalloc(1, sizeof(*w));
	*w = (struct http_watch){ .refs = 2, .client = c, .loop = l, .handler = *h, .arg = arg, .request = *r };
	atomic_fetch_add(&c->refs, 1);
	struct http_header *headers = arena_array(&w->arena, struct http_header, r->headers_len);
	for (size_t i = 0; i < r->headers_len; i++) {
		headers[i] = (struct http_header){ arena_str(&w->arena, r->headers[i].name), arena_str(&w->arena, r->headers[i].value) };
	}
	w->request.headers = headers;
	w->request.url = arena_str(&w->arena, r->url);
	w->request.method = arena_str(&w->arena, r->method);
	w->request.body = arena_str(&w->arena, r->body);
	w->request.content_type = arena_str(&w->arena, r->content_type);
	w->request.body_read = NULL;
	w->request.gzip = false;
	if (!pool_run(watch_dial, w)) {
		err_set(&w->err, ERR_UNAVAILABLE, "too much work waits");
		client_unref(c);
		if (!loop_call(l, watch_dialled, w)) {
			w->refs--;
		}
	}
	return w;
}

void http_watch_cancel(struct http_watch *w) {
	if (!w) {
		return;
	}
	w->cancelled = true;
	if (w->fd && !w->ended) {
		watch_end(w, &w->err);
	}
	watch_unref(w);
}

void http_watch_pause(struct http_watch *w) {
	w->paused = true;
	if (w->fd) {
		loop_fd_change(w->fd, 0);
	}
}

static void watch_go_on(void *arg) {
	struct http_watch *w = arg;
	if (w->fd && !w->paused && !w->ended && !w->cancelled && watch_feed(w)) {
		watch_ready(w, LOOP_READ);
	}
	watch_unref(w);
}

void http_watch_resume(struct http_watch *w) {
	if (!w->paused) {
		return;
	}
	w->paused = false;
	if (w->fd) {
		loop_fd_change(w->fd, LOOP_READ);
		w->refs++;
		if (!loop_call(w->loop, watch_go_on, w)) {
			w->refs--;
		}
	}
}
