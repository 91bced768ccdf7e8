/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - answers that outlive their handler: streams (watches, followed logs), which are exchanges that somebody
 * holds, and upgraded connections. Any thread.
 */
#include "net/server_int.h"

/* ---- streams ---- */

struct http_stream {
	struct exchange x;
};

struct http_stream *http_stream_start(struct http_exchange *pub, int status, struct str content_type, const struct http_stream_opts *opts) {
	struct exchange *x = exchange_of(pub);
	assert(x->answer == ANSWER_NONE);
	x->answer = ANSWER_DONE;
	struct head *head = answer_head(x, status, content_type, -1);
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
	exchange_queue(x, bytes);
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
	exchange_kick_now(x);
	exchange_unref(x);
	free(e);
}

/* A message exchange_of its own, so that it comes after every broadcast that was posted before it. */
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
	struct exchange *x = exchange_of(pub);
	assert(x->answer == ANSWER_NONE);
	if (pub->version != 11) {
		return err_set(err, ERR_BAD_REQUEST, "an upgrade needs HTTP/1.1");
	}
	x->answer = ANSWER_DONE;
	struct head *head = answer_head(x, 101, (struct str){ 0 }, -1);
	*ret = net_conn_new(x->io->loop);
	pthread_mutex_lock(&x->lock);
	x->head = head;
	x->upgrade = *ret;
	pthread_mutex_unlock(&x->lock);
	exchange_kick(x);
	return true;
}
