/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c - a request on its way to a handler, and the queue between the answering thread and the io loop.
 *
 * The answering thread puts the head and pieces of the body into the queue and posts one "kick" to the loop, unless
 * one is on its way. The loop takes from the queue as the connection can send, and wakes a writer that waits for
 * room. Streams are exchanges whose handler has returned.
 */
#include "net/server_int.h"

#include "base/log.h"

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

void exchange_kick_now(struct exchange *x) {
	pthread_mutex_lock(&x->lock);
	struct net_conn *upgrade = TAKE(x->upgrade);
	bool stream = x->is_stream, aborted = x->aborted;
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
		struct conn *c = x->conn;
		if (c->state == CONN_H2) {
			h2_answer(x);
		} else if (aborted) {
			conn_kill(c); /* at once, even when the peer reads nothing */
			return;
		}
		conn_dirty(c);
	}
}

static void kick_run(struct msg *m) {
	struct exchange *x = container_of(m, struct exchange, msg);
	pthread_mutex_lock(&x->lock);
	x->posted = false;
	pthread_mutex_unlock(&x->lock);
	exchange_kick_now(x);
	exchange_unref(x);
}

/* The lock must not be held. */
void exchange_kick(struct exchange *x) {
	if (loop_current() == x->io->loop) {
		exchange_ref(x);
		exchange_kick_now(x);
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
		id->dns_len = id->ips_len = 0; /* names exchange_of clients are exchange_of no use */
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

/* Takes a reference exchange_of its own. With the lock held. */
void exchange_queue(struct exchange *x, struct net_bytes *bytes) {
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

struct exchange *exchange_of(const struct http_exchange *x) {
	return (struct exchange *)(uintptr_t)x;
}

struct str http_request_header(const struct http_exchange *x, struct str name) {
	return http_header_get(x->headers, name);
}

bool http_gone(const struct http_exchange *x) {
	return atomic_load(&exchange_of(x)->gone);
}

struct loop *http_loop(struct http_exchange *x) {
	return exchange_of(x)->io->loop;
}

bool wait_cond_until(pthread_cond_t *cond, pthread_mutex_t *lock, nsec_t deadline) {
	struct timespec ts = { .tv_sec = deadline / NSEC_PER_SEC, .tv_nsec = deadline % NSEC_PER_SEC };
	pool_wait_begin();
	bool woken = pthread_cond_timedwait(cond, lock, &ts) == 0;
	pool_wait_end();
	return woken;
}

void wait_cond_init(pthread_cond_t *cond) {
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

nsec_t real_mono(void) { /* for condition variables, which no simulated clock moves */
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

bool http_body_read(struct http_exchange *pub, void *into, size_t len, size_t *ret_len, struct err *err) {
	struct exchange *x = exchange_of(pub);
	pthread_cond_t cond;
	bool ok = true, resume = false;
	*ret_len = 0;
	if (!x->body_streamed) { /* collected: the same call serves */
		*ret_len = MIN(len, pub->body.len);
		memcpy(into, pub->body.len ? pub->body.ptr : "", *ret_len);
		pub->body = str_from(pub->body, *ret_len);
		return true;
	}
	wait_cond_init(&cond);
	pthread_mutex_lock(&x->lock);
	nsec_t deadline = real_mono() + x->server->opts.body_timeout;
	while (ok && !x->body_in.len && !x->body_eof) {
		if (x->body_broken) {
			ok = err_set(err, ERR_CLOSED, "the client broke off while sending the body");
			break;
		}
		x->waiter = &cond;
		if (!wait_cond_until(&cond, &x->lock, deadline) && !x->body_in.len && !x->body_eof) {
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
