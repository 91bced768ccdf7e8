/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - see relay.h. The request's thread waits for the head of the answer; from then on everything happens on the connection's io
 * loop, where both the answer from behind and the stream to the client live.
 */
#include "apiserver/relay.h"

#define BACKLOG_MAX ((size_t)1 << 20)
#define ERROR_BODY_MAX ((size_t)64 << 10)
#define HEAD_TIMEOUT (60 * NSEC_PER_SEC)

struct run {
	uint32_t refs; /* atomic: the request's thread, the watch, the stream */
	struct loop *loop;
	struct arena arena; /* the request's copy, the answer's head; written before `known` */
	struct http_client *client;
	struct http_request request;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool known, ended;  /* under lock: the head is there; no more will come */
	int status;
	struct http_header *headers;
	size_t headers_len;
	struct buf body;    /* of an answer that is not 2xx, or that came before the stream */
	struct err err;     /* under lock */
	/* the loop's */
	struct http_watch *watch;
	struct http_stream *stream;
	bool stream_closed, paused;
};

static void run_unref(struct run *u) {
	if (__atomic_sub_fetch(&u->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		buf_release(&u->body);
		pthread_mutex_destroy(&u->lock);
		pthread_cond_destroy(&u->moved);
		arena_release(&u->arena);
		free(u);
	}
}

static void run_ref(struct run *u) {
	__atomic_add_fetch(&u->refs, 1, __ATOMIC_RELAXED);
}

static void on_headers(void *arg, int status, struct http_headers h) {
	struct run *u = arg;

	pthread_mutex_lock(&u->lock);
	u->status = status;
	u->headers = arena_array(&u->arena, struct http_header, h.len + 1);
	for (size_t i = 0; i < h.len; i++) {
		u->headers[u->headers_len++] = (struct http_header){ arena_str(&u->arena, h.at[i].name), arena_str(&u->arena, h.at[i].value) };
	}
	u->known = true;
	pthread_cond_signal(&u->moved);
	pthread_mutex_unlock(&u->lock);
	if (u->watch && !u->stream) {
		u->paused = true;
		http_watch_pause(u->watch);
	}
}

static void on_data(void *arg, struct str bytes) {
	struct run *u = arg;

	if (!u->stream) { /* what was under way when we paused */
		pthread_mutex_lock(&u->lock);
		if (u->body.len < ERROR_BODY_MAX * 64) {
			buf_str(&u->body, bytes);
		}
		pthread_mutex_unlock(&u->lock);
		return;
	}
	if (!http_stream_send_copy(u->stream, bytes)) {
		return; /* on_close follows */
	}
	if (!u->paused && http_stream_backlog(u->stream) > BACKLOG_MAX / 2) {
		u->paused = true;
		http_watch_pause(u->watch);
	}
}

static void on_end(void *arg, const struct err *err) {
	struct run *u = arg;

	pthread_mutex_lock(&u->lock);
	u->ended = true;
	u->err = *err;
	pthread_cond_signal(&u->moved);
	pthread_mutex_unlock(&u->lock);
	if (u->stream) {
		if (err->code == ERR_NONE) {
			http_stream_end(TAKE(u->stream));
		} else {
			http_stream_abort(TAKE(u->stream));
		}
	}
	http_watch_cancel(TAKE(u->watch));
	run_unref(u); /* the watch's */
}

static void on_close(void *arg) {
	struct run *u = arg;

	u->stream_closed = true;
	if (u->stream) {
		http_stream_end(TAKE(u->stream));
	}
	if (u->watch) {
		http_watch_cancel(TAKE(u->watch));
		run_unref(u); /* the watch's */
	}
	run_unref(u); /* the stream's */
}

static void on_drain(void *arg) {
	struct run *u = arg;

	if (u->paused && u->watch) {
		u->paused = false;
		http_watch_resume(u->watch);
	}
}

static void start_watch(void *arg) {
	static const struct http_watch_handler handler = { .on_headers = on_headers, .on_data = on_data, .on_end = on_end };
	struct run *u = arg;

	u->watch = http_watch_start(u->client, u->loop, &u->request, &handler, u);
}

/* The stream is there: what has come so far goes out, and the rest follows. */
struct begin {
	struct run *run;
	struct http_stream *stream;
};

static void begin_stream(void *arg) {
	struct begin *b = arg;
	struct run *u = b->run;

	if (u->stream_closed) {
		http_stream_end(b->stream);
		if (u->watch) {
			http_watch_cancel(TAKE(u->watch));
			run_unref(u);
		}
	} else {
		if (u->body.len) {
			(void)http_stream_send_copy(b->stream, buf_view(&u->body));
			buf_release(&u->body);
		}
		if (u->watch) {
			u->stream = b->stream;
			if (u->paused) {
				u->paused = false;
				http_watch_resume(u->watch);
			}
		} else { /* it has ended already */
			http_stream_end(b->stream);
		}
	}
	free(b);
	run_unref(u); /* the request's thread's */
}

static void resume_for_error(void *arg) {
	struct run *u = arg;

	if (u->watch && u->paused) {
		u->paused = false;
		http_watch_resume(u->watch);
	}
	run_unref(u);
}

static struct str header_of(const struct run *u, struct str name) {
	return http_header_get((struct http_headers){ u->headers, u->headers_len }, name);
}

static void pass_headers(struct req *r, const struct run *u, const struct relay_opts *o) {
	for (size_t i = 0; i < u->headers_len; i++) {
		struct str v = u->headers[i].value;
		if (o->header && o->header(o->arg, r->a, u->headers[i].name, &v)) {
			http_header_add(r->x, u->headers[i].name, v);
		}
	}
}

static bool wait_for(struct run *u, bool whole) {
	nsec_t until = clock_mono() + HEAD_TIMEOUT;
	struct timespec ts = { .tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC };
	int rc = 0;

	pool_wait_begin();
	pthread_mutex_lock(&u->lock);
	while (!u->ended && (whole || !u->known) && rc == 0) {
		rc = pthread_cond_timedwait(&u->moved, &u->lock, &ts);
	}
	bool ok = rc == 0;
	pthread_mutex_unlock(&u->lock);
	pool_wait_end();
	return ok;
}

static void give_up(void *arg) {
	struct run *u = arg;

	if (u->watch) {
		http_watch_cancel(TAKE(u->watch));
		run_unref(u);
	}
	run_unref(u);
}

/* An answer that is short or an error: read whole, then sent. */
static bool answer_whole(struct req *r, struct run *u, const struct relay_opts *o, struct err *err) {
	run_ref(u);
	if (!loop_call(u->loop, resume_for_error, u)) {
		run_unref(u);
	}
	(void)wait_for(u, true);
	pthread_mutex_lock(&u->lock);
	struct str text = arena_str(r->a, buf_view(&u->body));
	pthread_mutex_unlock(&u->lock);
	if (o->status_errors && (u->status < 200 || u->status > 299)) {
		r->message = str_trim(text).len ? str_trim(text) : str_c(http_status_text(u->status));
		return err_set(err, err_from_reason(S(""), u->status), "%.*s", STR_ARG(r->message));
	}
	pass_headers(r, u, o);
	http_reply(r->x, u->status, header_of(u, S("Content-Type")), text);
	return true;
}

static bool finish(struct req *r, struct run *u, const struct relay_opts *o, struct answer *ret, struct err *err) {
	if (!wait_for(u, false)) {
		return err_set(err, ERR_TIMEOUT, "no answer from %.*s in time", STR_ARG(o->url));
	}
	if (!u->known) {
		struct str why = arena_str(r->a, str_c(u->err.msg));
		r->message = arena_printf(r->a, "error trying to reach service: %.*s", STR_ARG(why));
		return err_set(err, ERR_UNAVAILABLE, "%.*s", STR_ARG(r->message));
	}
	bool empty = str_eq(r->x->method, S("HEAD")) || u->status == 204 || u->status == 304;
	if (empty || (o->status_errors && (u->status < 200 || u->status > 299))) {
		if (!answer_whole(r, u, o, err)) {
			return false;
		}
		ret->answered = true;
		return true;
	}
	pass_headers(r, u, o);
	struct begin *b = xcalloc(1, sizeof(*b));
	const struct http_stream_opts so = { .on_close = on_close, .on_drain = on_drain, .arg = u, .backlog_max = BACKLOG_MAX };
	run_ref(u); /* the stream's */
	run_ref(u); /* begin_stream's */
	struct str type = header_of(u, S("Content-Type"));
	b->run = u;
	b->stream = http_stream_start(r->x, u->status, type.len ? type : S("text/plain"), &so);
	ret->answered = true;
	if (!loop_call(u->loop, begin_stream, b)) {
		http_stream_end(b->stream);
		free(b);
		run_unref(u);
	}
	return true;
}

/* ---- the request ------------------------------------------------------------------------------------ */

/* Headers that belong to one connection, or to us. */
static bool is_private(struct str name, bool upgrade) {
	static const char *const names[] = { "Authorization", "Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Keep-Alive", "Proxy-Connection",
		"Te", "Trailer", "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Accept-Encoding" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (str_case_eq(name, str_c(names[i]))) {
			return true;
		}
	}
	return !upgrade && (str_case_eq(name, S("Connection")) || str_case_eq(name, S("Upgrade")));
}

size_t relay_headers(struct req *r, struct http_header out[RELAY_HEADERS_MAX]) {
	bool upgrade = http_wants_upgrade(r->x, S(""));
	size_t n = 0;

	for (size_t i = 0; i < r->x->headers.len && n + 4 < RELAY_HEADERS_MAX; i++) {
		if (!is_private(r->x->headers.at[i].name, upgrade)) {
			out[n++] = r->x->headers.at[i];
		}
	}
	return n;
}

/* ---- upgrades --------------------------------------------------------------------------------------- */

static bool relay_upgrade(struct req *r, const struct relay_opts *o, struct answer *ret, struct err *err) {
	struct http_request q = { .method = o->method, .url = o->url, .headers = o->headers, .headers_len = o->headers_len, .body_max = (size_t)1 << 20 };
	struct http_response resp = { 0 };
	struct net_conn *back = NULL, *front = NULL;

	if (!http_dial_upgrade(o->client, http_loop(r->x), &q, &resp, &back, err)) {
		struct str why = arena_str(r->a, str_c(err->msg));
		r->message = arena_printf(r->a, "error dialing backend: %.*s", STR_ARG(why));
		err_clear(err);
		return err_set(err, ERR_INTERNAL, "%.*s", STR_ARG(r->message));
	}
	ret->answered = true;
	if (!back) {
		http_reply(r->x, resp.status, http_header_get(resp.headers, S("Content-Type")), resp.body);
		http_response_release(&resp);
		return true;
	}
	static const char *const passed[] = { "Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "X-Stream-Protocol-Version" };
	for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
		struct str v = http_header_get(resp.headers, str_c(passed[i]));
		if (v.len) {
			http_header_set(r->x, str_c(passed[i]), v);
		}
	}
	http_response_release(&resp);
	if (!http_upgrade(r->x, &front, err)) {
		net_conn_abort(back);
		ret->answered = false;
		return false;
	}
	net_conn_pipe(front, back, NULL, NULL);
	return true;
}

bool relay(struct req *r, const struct relay_opts *o, struct answer *ret, struct err *err) {
	if (http_wants_upgrade(r->x, S(""))) {
		return relay_upgrade(r, o, ret, err);
	}
	struct run *u = xcalloc(1, sizeof(*u));
	pthread_condattr_t attr;
	u->refs = 2; /* ours and the watch's */
	u->loop = http_loop(r->x);
	u->client = o->client;
	u->body.max = ERROR_BODY_MAX * 64;
	pthread_mutex_init(&u->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&u->moved, &attr);
	pthread_condattr_destroy(&attr);
	struct http_header *headers = arena_array(&u->arena, struct http_header, o->headers_len + 1);
	for (size_t i = 0; i < o->headers_len; i++) {
		headers[i] = (struct http_header){ arena_str(&u->arena, o->headers[i].name), arena_str(&u->arena, o->headers[i].value) };
	}
	u->request = (struct http_request){ .method = arena_str(&u->arena, o->method), .url = arena_str(&u->arena, o->url), .headers = headers,
		.headers_len = o->headers_len, .body = arena_str(&u->arena, o->body), .content_type = arena_str(&u->arena, o->content_type) };
	if (!loop_call(u->loop, start_watch, u)) {
		run_unref(u);
		run_unref(u);
		return err_set(err, ERR_UNAVAILABLE, "the server stops");
	}
	bool ok = finish(r, u, o, ret, err);
	if (!ok) {
		if (!loop_call(u->loop, give_up, u)) {
			run_unref(u);
		}
		return false;
	}
	run_unref(u);
	return true;
}
