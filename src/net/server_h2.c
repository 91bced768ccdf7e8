/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_h2.c - HTTP/2 on a connection of the server, by nghttp2's memory calls. On the io loop.
 *
 * DATA frames are written straight from the exchanges' queues into the stage; nghttp2 decides which stream sends how much. What
 * a client can make us do without reading answers is bounded: streams at a time, streams reset whose handler still runs, SETTINGS and PING
 * acknowledgements that wait (nghttp2's own limit), headers, bodies.
 */
#include "base/log.h"
#include "net/server_int.h"

#define CONN_WINDOW (1 << 20)
#define STREAM_WINDOW (256 << 10)
#define SWALLOW_MAX ((size_t)16 << 20)

static struct exchange *stream_of(nghttp2_session *h2, int32_t id) {
	return nghttp2_session_get_stream_user_data(h2, id);
}

/* ---- requests ---- */

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *arg) {
	struct conn *c = arg;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
		return 0;
	}
	/* Rapid reset: handlers of streams that are gone still run, and count. */
	if (c->zombies > 4 * (size_t)c->io->server->opts.h2_streams_max) {
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	struct exchange *x = exchange_new(c);
	x->pub.version = 20;
	x->stream_id = frame->hd.stream_id;
	list_push(&c->streams, &x->conn_link);
	c->streams_len++;
	nghttp2_session_set_stream_user_data(h2, x->stream_id, x);
	return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len,
	uint8_t flags, void *arg) {
	struct conn *c = arg;
	struct exchange *x = stream_of(h2, frame->hd.stream_id);
	struct str n = { (const char *)name, name_len }, v = { (const char *)value, value_len };
	if (!x || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
		return 0; /* trailers */
	}
	x->h2_header_bytes += name_len + value_len + 32; /* RFC 9113 section 6.5.2 counts so */
	if (x->h2_header_bytes > c->io->server->opts.header_bytes_max || x->h2_headers.len > c->io->server->opts.headers_max) {
		x->refuse = 431;
		return 0;
	}
	v = arena_str(&x->pub.arena, v);
	if (name_len && name[0] == ':') {
		if (str_eq(n, S(":method"))) {
			x->pub.method = v;
		} else if (str_eq(n, S(":path"))) {
			x->pub.target = v;
		} else if (str_eq(n, S(":authority"))) {
			x->pub.host = v;
		}
		return 0;
	}
	if (str_eq(n, S("host")) && !x->pub.host.len) {
		x->pub.host = v;
	}
	struct http_header h = { arena_str(&x->pub.arena, n), v };
	VEC_PUSH(&x->h2_headers, h);
	return 0;
}

static void request_begin(struct exchange *x) {
	/* Cookies may come in pieces; nothing here reads them. */
	struct http_header *at = arena_array(&x->pub.arena, struct http_header, x->h2_headers.len);
	if (x->h2_headers.len) {
		memcpy(at, x->h2_headers.at, x->h2_headers.len * sizeof(*at));
	}
	x->pub.headers = (struct http_headers){ at, x->h2_headers.len };
	VEC_RELEASE(&x->h2_headers);
	str_cut(x->pub.target, '?', &x->pub.path, &x->pub.query);
	if (!x->refuse && (!str_starts(x->pub.path, S("/")) && !str_eq(x->pub.path, S("*")))) {
		x->refuse = 400;
	}
	if (x->refuse) {
		exchange_refuse(x, x->refuse, x->refuse == 431 ? "the request's headers are too long" : "the request target must begin with /");
		return;
	}
	exchange_begin(x);
}

static int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *frame, void *arg) {
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct exchange *x;
	if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) || !(x = stream_of(h2, frame->hd.stream_id))) {
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		x->body_whole = end;
		x->body_deadline = loop_now(x->io->loop) + x->server->opts.body_timeout;
		request_begin(x);
	}
	if (end) {
		exchange_body_end(x);
	}
	return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len, void *arg) {
	struct exchange *x = stream_of(h2, id);
	if (!x) {
		nghttp2_session_consume(h2, id, len);
		return 0;
	}
	exchange_body_add(x, (struct str){ (const char *)bytes, len });
	x->body_deadline = loop_now(x->io->loop) + x->server->opts.body_timeout;
	if (x->dispatched && !x->body_streamed) {
		/*
		 * Answered before the request was whole. RFC 9113 section 8.1 lets us reset the stream, but curl then loses the
		 * answer: so a client that goes on sending is listened to for a while.
		 */
		x->h2_swallowed += len;
		if (x->h2_swallowed > SWALLOW_MAX) {
			nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
		}
	}
	/* A streamed body opens the window again as it is read, so that its reader sets the pace; see h2_answer. */
	if (x->body_streamed && exchange_body_full(x)) {
		nghttp2_session_consume_connection(h2, len);
		x->h2_unconsumed += len;
	} else {
		nghttp2_session_consume(h2, id, len);
	}
	return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg) {
	struct conn *c = arg;
	struct exchange *x = stream_of(h2, id);
	if (x) {
		if (x->handed_out && x->answer == ANSWER_NONE) {
			c->zombies++;
		}
		c->streams_len--;
		nghttp2_session_set_stream_user_data(h2, id, NULL);
		exchange_detach(x);
	}
	if (!c->streams_len) {
		conn_deadline(c, c->io->server->opts.idle_timeout);
	}
	return 0;
}

/* ---- answers ---- */

static ssize_t data_read(nghttp2_session *h2, int32_t id, uint8_t *unused, size_t max, uint32_t *flags, nghttp2_data_source *source, void *arg) {
	struct conn *c = arg;
	struct exchange *x = stream_of(h2, id);
	(void)unused;
	if (!x) {
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	if (conn_unsent(c) >= UNSENT_MAX) {
		return NGHTTP2_ERR_PAUSE;
	}
	pthread_mutex_lock(&x->lock);
	free(TAKE(x->head)); /* it is out: a stream that waits keeps little */
	size_t n = MIN(x->queued, max);
	bool ended = x->ended, last = n == x->queued;
	bool drained = last && x->drain_wanted;
	x->drain_wanted = x->drain_wanted && !last;
	pthread_mutex_unlock(&x->lock);
	if (drained && x->stream.on_drain) {
		x->stream.on_drain(x->stream.arg);
	}
	if (!n && !ended) {
		return NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (ended && last) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	return (ssize_t)n;
}

static void put_stage(struct conn *c, const void *bytes, size_t len) {
	stage_put(c, bytes, len);
}

static int data_send(nghttp2_session *h2, nghttp2_frame *frame, const uint8_t *header, size_t len, nghttp2_data_source *source, void *arg) {
	struct conn *c = arg;
	struct exchange *x = stream_of(h2, frame->hd.stream_id);
	stage_put(c, header, 9);
	pthread_mutex_lock(&x->lock);
	exchange_take(x, len, put_stage, c);
	pthread_mutex_unlock(&x->lock);
	return 0;
}

void h2_answer(struct exchange *x) {
	struct conn *c = x->conn;
	pthread_mutex_lock(&x->lock);
	struct head *head = x->head_sent ? NULL : x->head;
	bool empty = x->ended && !x->queued && !x->aborted;
	bool ready = x->head || x->head_sent;
	bool aborted = x->aborted;
	bool reader = x->body_streamed && x->body_in.len < BODY_QUEUE_MAX / 2;
	pthread_mutex_unlock(&x->lock);
	if (reader && x->h2_unconsumed) {
		nghttp2_session_consume_stream(c->h2, x->stream_id, x->h2_unconsumed);
		x->h2_unconsumed = 0;
	}
	if (aborted) { /* gone at once, even when the peer reads nothing and the reset has to wait */
		nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, x->stream_id, NGHTTP2_INTERNAL_ERROR);
		nghttp2_session_set_stream_user_data(c->h2, x->stream_id, NULL);
		c->streams_len--;
		exchange_detach(x);
		return;
	}
	if (!ready) {
		return;
	}
	if (head) {
		nghttp2_data_provider provider = { .read_callback = data_read };
		x->head_sent = true;
		bool no_data = empty && x->body_whole;
		if (nghttp2_submit_response(c->h2, x->stream_id, head->nv, head->len, no_data ? NULL : &provider) != 0) {
			nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, x->stream_id, NGHTTP2_INTERNAL_ERROR);
		}
	} else {
		nghttp2_session_resume_data(c->h2, x->stream_id);
	}
}

/* ---- the connection ---- */

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void callbacks_make(void) {
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, data_send);
	nghttp2_option_new(&options);
	nghttp2_option_set_no_auto_window_update(options, 1);
	nghttp2_option_set_no_closed_streams(options, 1);
	nghttp2_option_set_max_reserved_remote_streams(options, 0);
}

void h2_start(struct conn *c) {
	struct http_server_opts *o = &c->io->server->opts;
	nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, o->h2_streams_max },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)o->header_bytes_max },
	};
	pthread_once(&once, callbacks_make);
	int rc = nghttp2_session_server_new2(&c->h2, callbacks, c, options);
	assert(rc == 0);
	(void)rc;
	nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
	nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
	conn_deadline(c, o->idle_timeout);
}

void h2_input(struct conn *c, struct str bytes) {
	ssize_t n = nghttp2_session_mem_recv(c->h2, (const uint8_t *)bytes.ptr, bytes.len);
	if (n < 0) {
		/* Floods and a bad preface end the connection at once; other errors have put out a GOAWAY. */
		log_debug("net", "HTTP/2 connection ended", kv_c("peer", c->peer), kv_c("why", nghttp2_strerror((int)n)));
		conn_kill(c);
		return;
	}
	if (c->streams_len) {
		c->deadline = 0;
	}
	conn_dirty(c);
}

void h2_pump(struct conn *c) {
	const uint8_t *bytes;
	while (conn_unsent(c) < UNSENT_MAX) {
		ssize_t n = nghttp2_session_mem_send(c->h2, &bytes);
		if (n < 0) {
			conn_kill(c);
			return;
		}
		if (n == 0) {
			break;
		}
		stage_put(c, bytes, (size_t)n);
	}
	if (!nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2)) {
		conn_linger(c);
	}
}

void h2_release(struct conn *c) {
	LIST_EACH(&c->streams, it) {
		exchange_detach(container_of(it, struct exchange, conn_link));
	}
	nghttp2_session_del(c->h2);
	c->h2 = NULL;
}

void h2_stop(struct conn *c) {
	LIST_EACH(&c->streams, it) {
		struct exchange *x = container_of(it, struct exchange, conn_link);
		pthread_mutex_lock(&x->lock);
		bool stream = x->is_stream;
		x->ended = x->ended || stream;
		pthread_mutex_unlock(&x->lock);
		if (stream) {
			h2_answer(x);
		}
	}
	nghttp2_submit_goaway(c->h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->h2), NGHTTP2_NO_ERROR, NULL, 0);
	conn_dirty(c);
}

void h2_sweep(struct conn *c) {
	nsec_t now = loop_now(c->io->loop);
	LIST_EACH(&c->streams, it) {
		struct exchange *x = container_of(it, struct exchange, conn_link);
		if (x->body_whole || !x->body_deadline || x->body_deadline > now || x->h2_unconsumed) {
			continue;
		}
		if (!x->dispatched) {
			x->body_deadline = now + NSEC_PER_SEC; /* then it is reset */
			exchange_refuse(x, 408, "the request's body took too long");
		} else {
			nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, x->stream_id, NGHTTP2_CANCEL);
			conn_dirty(c);
		}
	}
}
