/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spdy.c - SPDY/3.1 sessions without I/O; see spdy.h. Source: "SPDY Protocol - Draft 3.1". One thread at a time.
 *
 * Windows. The peers that we meet (kubectl, client-go) neither keep nor announce windows. So ours are announced as data is
 * consumed, what the peer sends is never refused for its size (the owner stops reading its socket instead), and a
 * peer's window binds us only once it has shown by a WINDOW_UPDATE or SETTINGS that it keeps one.
 */
#include "net/spdy.h"

#include "base/list.h"
#include "net/spdy_block.h"

#define VERSION 3
#define WINDOW_DEFAULT 65536
#define STREAMS_DEFAULT 1000
#define BACKLOG_DEFAULT ((size_t)4 << 20)
#define CONTROL_MAX ((size_t)64 << 10)  /* bytes of a control frame */
#define DATA_FRAME ((size_t)32 << 10)

enum frame_type { SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, HEADERS = 8, WINDOW_UPDATE = 9 };
enum { FLAG_FIN = 1, FLAG_UNIDIRECTIONAL = 2 };
enum { SETTING_INITIAL_WINDOW = 7 };

struct spdy_stream_impl {
	struct spdy_stream pub; /* first */
	struct list link;       /* in streams, or in dead */
	struct arena arena;     /* headers */
	bool local_fin, remote_fin, fin_waits, closed;
	int64_t send_window;
	uint32_t unconsumed;    /* consumed by the owner and not announced yet */
	struct buf backlog;
};

struct spdy {
	struct spdy_opts opts;
	const struct spdy_handler *handler;
	void *arg;
	struct list streams, dead;
	size_t streams_len;
	uint32_t next_id, last_peer_id, next_ping;
	bool goaway_seen, goaway_sent, broken;
	int depth; /* calls on the stack: the dead are freed by the outermost */
	struct spdy_block block; /* of headers: one compressed stream each way */
	/* windows of the session, and whether the peer keeps any */
	bool windows_kept;
	int64_t send_window, initial_window;
	uint32_t unconsumed;
	/* the frame that is being read */
	uint8_t head[8];
	size_t head_len;
	uint32_t left;
	struct buf control;
};

static void put32(struct buf *b, uint32_t v) {
	char bytes[4] = { (char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v };
	buf_add(b, bytes, 4);
}

static uint32_t get32(const char *p) {
	const uint8_t *u = (const uint8_t *)p;
	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static struct spdy_stream_impl *impl(const struct spdy_stream *s) {
	return (struct spdy_stream_impl *)(uintptr_t)s;
}

static struct spdy_stream_impl *stream_find(struct spdy *s, uint32_t id) {
	LIST_EACH(&s->streams, it) {
		struct spdy_stream_impl *st = container_of(it, struct spdy_stream_impl, link);
		if (st->pub.id == id) {
			return st;
		}
	}
	return NULL;
}

/* ---- output ---- */

static void output(struct spdy *s, const struct buf *b) {
	if (!s->broken) {
		s->handler->on_output(s->arg, buf_view(b));
	}
}

static void control_begin(struct buf *b, enum frame_type type, uint8_t flags, uint32_t len) {
	put32(b, 0x80000000u | VERSION << 16 | (uint32_t)type);
	put32(b, (uint32_t)flags << 24 | len);
}

/* A control frame of one or two words. */
static void control_words(struct spdy *s, enum frame_type type, uint32_t a, uint32_t b, bool two) {
	auto_buf struct buf f = { 0 };
	control_begin(&f, type, 0, two ? 8 : 4);
	put32(&f, a);
	if (two) {
		put32(&f, b);
	}
	output(s, &f);
}

static void reset_send(struct spdy *s, uint32_t id, enum spdy_status status) {
	control_words(s, RST_STREAM, id, (uint32_t)status, true);
}

static void data_frame(struct spdy *s, uint32_t id, struct str bytes, bool fin) {
	auto_buf struct buf f = { 0 };
	put32(&f, id);
	put32(&f, (fin ? (uint32_t)FLAG_FIN << 24 : 0) | (uint32_t)bytes.len);
	buf_str(&f, bytes);
	output(s, &f);
}

/* ---- streams ---- */

static void stream_free(struct spdy_stream_impl *st) {
	list_remove(&st->link);
	buf_release(&st->backlog);
	arena_release(&st->arena);
	free(st);
}

static void leave(struct spdy *s) {
	if (--s->depth == 0) {
		LIST_EACH(&s->dead, it) {
			stream_free(container_of(it, struct spdy_stream_impl, link));
		}
	}
}

static void stream_close(struct spdy *s, struct spdy_stream_impl *st, bool reset) {
	if (st->closed) {
		return;
	}
	st->closed = true;
	list_remove(&st->link);
	list_push(&s->dead, &st->link);
	s->streams_len--;
	s->handler->on_stream_close(s->arg, &st->pub, reset);
}

static void stream_close_if_done(struct spdy *s, struct spdy_stream_impl *st) {
	if (st->local_fin && st->remote_fin) {
		stream_close(s, st, false);
	}
}

static struct spdy_stream_impl *stream_new(struct spdy *s, uint32_t id) {
	struct spdy_stream_impl *st = xcalloc(1, sizeof(*st));
	st->pub.id = id;
	st->pub.impl = st;
	st->send_window = s->initial_window;
	st->backlog.max = s->opts.backlog_max;
	list_push(&s->streams, &st->link);
	s->streams_len++;
	return st;
}

static size_t window_room(const struct spdy *s, const struct spdy_stream_impl *st) {
	if (!s->windows_kept) {
		return SIZE_MAX;
	}
	int64_t room = MIN(s->send_window, st->send_window);
	return room > 0 ? (size_t)room : 0;
}

/* Sends what the windows allow of `bytes`; returns the count. The FIN goes with the last byte. */
static size_t data_send(struct spdy *s, struct spdy_stream_impl *st, struct str bytes, bool fin) {
	size_t sent = 0;
	do {
		size_t n = MIN(MIN(bytes.len - sent, DATA_FRAME), window_room(s, st));
		if (!n && bytes.len > sent) {
			break;
		}
		bool last = sent + n == bytes.len;
		if (n || fin) {
			data_frame(s, st->pub.id, str_sub(bytes, sent, sent + n), fin && last);
		}
		if (fin && last) {
			st->local_fin = true;
		}
		s->send_window -= (int64_t)n;
		st->send_window -= (int64_t)n;
		sent += n;
	} while (sent < bytes.len);
	return sent;
}

/* A window has opened. */
static void backlog_send(struct spdy *s, struct spdy_stream_impl *st) {
	if (!st->backlog.len && !st->fin_waits) {
		return;
	}
	buf_drop(&st->backlog, data_send(s, st, buf_view(&st->backlog), st->fin_waits));
	if (!st->backlog.len) {
		st->fin_waits = false;
		if (s->handler->on_drain && !st->local_fin) {
			s->handler->on_drain(s->arg, &st->pub);
		}
		stream_close_if_done(s, st);
	}
}

/* ---- input ---- */

static bool session_break(struct spdy *s, uint32_t status, const char *why) {
	struct err err = { 0 };
	err_set(&err, ERR_BAD_REQUEST, "SPDY: %s", why);
	spdy_goaway(s, status);
	s->broken = true;
	s->handler->on_error(s->arg, &err);
	return false;
}

static bool syn_stream(struct spdy *s, uint8_t flags, struct str body) {
	if (body.len < 10) {
		return session_break(s, SPDY_PROTOCOL_ERROR, "a SYN_STREAM frame is too short");
	}
	uint32_t id = get32(body.ptr) & 0x7fffffff;
	struct arena a = { 0 };
	struct http_headers headers;
	if (!spdy_block_unpack(&s->block, str_from(body, 10), &a, &headers)) {
		arena_release(&a);
		return session_break(s, SPDY_PROTOCOL_ERROR, "a header block does not unpack");
	}
	bool theirs = (id & 1) != (s->opts.client ? 1 : 0) && id > s->last_peer_id;
	if (!theirs || s->goaway_sent || s->streams_len >= s->opts.streams_max) {
		arena_release(&a);
		reset_send(s, id, theirs ? SPDY_REFUSED_STREAM : SPDY_PROTOCOL_ERROR);
		s->last_peer_id = theirs ? id : s->last_peer_id;
		return true;
	}
	s->last_peer_id = id;
	struct spdy_stream_impl *st = stream_new(s, id);
	st->arena = a;
	st->pub.headers = headers;
	st->remote_fin = flags & FLAG_FIN;
	st->local_fin = flags & FLAG_UNIDIRECTIONAL;
	s->handler->on_stream(s->arg, &st->pub, st->remote_fin);
	return true;
}

/* SYN_REPLY and HEADERS: the block must be unpacked whoever it is for, because all share one zlib stream. */
static bool syn_reply(struct spdy *s, enum frame_type type, uint8_t flags, struct str body) {
	auto_arena struct arena a = { 0 };
	struct http_headers headers;
	if (body.len < 4) {
		return session_break(s, SPDY_PROTOCOL_ERROR, "a SYN_REPLY frame is too short");
	}
	struct spdy_stream_impl *st = stream_find(s, get32(body.ptr) & 0x7fffffff);
	if (!spdy_block_unpack(&s->block, str_from(body, 4), &a, &headers)) {
		return session_break(s, SPDY_PROTOCOL_ERROR, "a header block does not unpack");
	}
	if (!st) {
		return true;
	}
	bool fin = flags & FLAG_FIN;
	st->remote_fin = st->remote_fin || fin;
	if (type == SYN_REPLY && s->handler->on_reply) {
		s->handler->on_reply(s->arg, &st->pub, headers, fin);
	} else if (fin) {
		s->handler->on_data(s->arg, &st->pub, (struct str){ 0 }, true);
	}
	if (!st->closed) {
		stream_close_if_done(s, st);
	}
	return true;
}

static void window_add(struct spdy *s, uint32_t id, uint32_t delta) {
	struct spdy_stream_impl *st = id ? stream_find(s, id) : NULL;
	if (!s->windows_kept) { /* what went out before counted too */
		s->windows_kept = true;
	}
	if (st) {
		st->send_window = MIN(st->send_window + delta, (int64_t)INT32_MAX);
		backlog_send(s, st);
	} else if (!id) {
		s->send_window = MIN(s->send_window + delta, (int64_t)INT32_MAX);
		LIST_EACH(&s->streams, it) {
			struct spdy_stream_impl *each = container_of(it, struct spdy_stream_impl, link);
			backlog_send(s, each);
		}
	}
}

static bool settings(struct spdy *s, struct str body) {
	uint32_t n = body.len >= 4 ? get32(body.ptr) : 0;
	if (body.len < 4 || body.len - 4 != (size_t)n * 8) {
		return session_break(s, SPDY_PROTOCOL_ERROR, "a SETTINGS frame has the wrong length");
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t id = get32(body.ptr + 4 + (size_t)i * 8) & 0xffffff, value = get32(body.ptr + 8 + (size_t)i * 8);
		if (id == SETTING_INITIAL_WINDOW && value <= INT32_MAX) {
			int64_t more = (int64_t)value - s->initial_window;
			s->windows_kept = true;
			s->initial_window = value;
			LIST_EACH(&s->streams, it) {
				container_of(it, struct spdy_stream_impl, link)->send_window += more;
			}
		}
	}
	return true;
}

static bool control_done(struct spdy *s) {
	uint16_t version = (uint16_t)((s->head[0] & 0x7f) << 8 | s->head[1]), type = (uint16_t)(s->head[2] << 8 | s->head[3]);
	uint8_t flags = s->head[4];
	struct str body = buf_view(&s->control);
	struct spdy_stream_impl *st;
	if (version != VERSION) {
		return session_break(s, SPDY_UNSUPPORTED_VERSION, "the peer speaks another version");
	}
	switch (type) {
	case SYN_STREAM:
		return syn_stream(s, flags, body);
	case SYN_REPLY:
	case HEADERS:
		return syn_reply(s, (enum frame_type)type, flags, body);
	case RST_STREAM:
		if (body.len < 8) {
			return session_break(s, SPDY_PROTOCOL_ERROR, "a RST_STREAM frame is too short");
		}
		st = stream_find(s, get32(body.ptr) & 0x7fffffff);
		if (st) {
			stream_close(s, st, true);
		}
		return true;
	case SETTINGS:
		return settings(s, body);
	case PING:
		if (body.len < 4) {
			return session_break(s, SPDY_PROTOCOL_ERROR, "a PING frame is too short");
		}
		if ((get32(body.ptr) & 1) != (s->opts.client ? 1 : 0)) { /* theirs: sent back */
			control_words(s, PING, get32(body.ptr), 0, false);
		}
		return true;
	case GOAWAY:
		s->goaway_seen = true;
		if (s->handler->on_goaway) {
			s->handler->on_goaway(s->arg);
		}
		return true;
	case WINDOW_UPDATE:
		if (body.len < 8) {
			return session_break(s, SPDY_PROTOCOL_ERROR, "a WINDOW_UPDATE frame is too short");
		}
		window_add(s, get32(body.ptr) & 0x7fffffff, get32(body.ptr + 4) & 0x7fffffff);
		return true;
	default:
		return true; /* unknown frames are skipped */
	}
}

/* A piece of a data frame. */
static void data_take(struct spdy *s, struct str bytes) {
	uint32_t id = get32((char *)s->head) & 0x7fffffff;
	bool fin = (s->head[4] & FLAG_FIN) && !s->left;
	struct spdy_stream_impl *st = stream_find(s, id);
	if (!st || st->remote_fin) {
		if (!s->left && !st && id > s->last_peer_id && (id & 1) != (s->opts.client ? 1 : 0)) {
			reset_send(s, id, SPDY_INVALID_STREAM);
		}
		return; /* a stream that is over: what was on its way */
	}
	st->remote_fin = fin;
	if (bytes.len || fin) {
		s->handler->on_data(s->arg, &st->pub, bytes, fin);
	}
	if (!st->closed) {
		stream_close_if_done(s, st);
	}
}

static bool input(struct spdy *s, struct str in) {
	while (!s->broken) {
		if (s->head_len < sizeof(s->head)) {
			if (!in.len) {
				return true;
			}
			s->head[s->head_len++] = (uint8_t)in.ptr[0];
			in = str_from(in, 1);
			if (s->head_len < sizeof(s->head)) {
				continue;
			}
			s->left = get32((char *)s->head + 4) & 0xffffff;
			if ((s->head[0] & 0x80) && s->left > CONTROL_MAX) {
				return session_break(s, SPDY_FRAME_TOO_LARGE, "a control frame is too large");
			}
			if (s->left && !in.len) {
				return true;
			}
		}
		if (s->left && !in.len) {
			return true;
		}
		struct str piece = str_sub(in, 0, s->left);
		in = str_from(in, piece.len);
		s->left -= (uint32_t)piece.len;
		if (s->head[0] & 0x80) {
			buf_str(&s->control, piece);
			if (!s->left) {
				s->head_len = 0;
				bool ok = control_done(s);
				buf_clear(&s->control);
				if (!ok) {
					return false;
				}
			}
		} else {
			if (!s->left) {
				s->head_len = 0;
			}
			data_take(s, piece);
		}
	}
	return false;
}

bool spdy_input(struct spdy *s, struct str bytes) {
	s->depth++;
	bool ok = input(s, bytes);
	leave(s);
	return ok;
}

/* ---- the owner's calls ---- */

struct spdy *spdy_new(const struct spdy_opts *opts, const struct spdy_handler *h, void *arg) {
	struct spdy *s = xcalloc(1, sizeof(*s));
	s->opts = *opts;
	s->opts.streams_max = opts->streams_max ? opts->streams_max : STREAMS_DEFAULT;
	s->opts.window = opts->window ? opts->window : WINDOW_DEFAULT;
	s->opts.backlog_max = opts->backlog_max ? opts->backlog_max : BACKLOG_DEFAULT;
	s->handler = h;
	s->arg = arg;
	list_init(&s->streams);
	list_init(&s->dead);
	s->next_id = opts->client ? 1 : 2;
	s->next_ping = opts->client ? 1 : 2;
	s->send_window = s->initial_window = WINDOW_DEFAULT;
	s->control.max = CONTROL_MAX;
	spdy_block_init(&s->block);
	if (s->opts.window != WINDOW_DEFAULT) {
		auto_buf struct buf f = { 0 };
		control_begin(&f, SETTINGS, 0, 12);
		put32(&f, 1);
		put32(&f, SETTING_INITIAL_WINDOW);
		put32(&f, s->opts.window);
		output(s, &f);
	}
	return s;
}

void spdy_free(struct spdy *s) {
	if (!s) {
		return;
	}
	s->depth++;
	s->broken = true;
	while (!list_empty(&s->streams)) {
		stream_close(s, container_of(s->streams.next, struct spdy_stream_impl, link), true);
	}
	leave(s);
	spdy_block_release(&s->block);
	buf_release(&s->control);
	free(s);
}

static void syn_send(struct spdy *s, enum frame_type type, uint32_t id, const struct http_header *headers, size_t n, bool fin) {
	auto_buf struct buf block = { 0 };
	auto_buf struct buf f = { 0 };
	size_t fixed = type == SYN_STREAM ? 10 : 4;
	spdy_block_pack(&s->block, headers, n, &block);
	control_begin(&f, type, fin ? FLAG_FIN : 0, (uint32_t)(fixed + block.len));
	put32(&f, id);
	if (type == SYN_STREAM) {
		put32(&f, 0);         /* associated with none */
		buf_add(&f, "\0\0", 2); /* priority, slot */
	}
	buf_str(&f, buf_view(&block));
	output(s, &f);
}

struct spdy_stream *spdy_open(struct spdy *s, const struct http_header *headers, size_t n, bool fin) {
	if (s->goaway_seen || s->goaway_sent || s->broken || s->streams_len >= s->opts.streams_max) {
		return NULL;
	}
	struct spdy_stream_impl *st = stream_new(s, s->next_id);
	s->next_id += 2;
	st->local_fin = fin;
	syn_send(s, SYN_STREAM, st->pub.id, headers, n, fin);
	return &st->pub;
}

void spdy_reply(struct spdy *s, struct spdy_stream *st, const struct http_header *headers, size_t n, bool fin) {
	if (impl(st)->closed) {
		return;
	}
	s->depth++;
	syn_send(s, SYN_REPLY, st->id, headers, n, fin);
	impl(st)->local_fin = impl(st)->local_fin || fin;
	stream_close_if_done(s, impl(st));
	leave(s);
}

bool spdy_send(struct spdy *s, struct spdy_stream *pub, struct str bytes, bool fin) {
	struct spdy_stream_impl *st = impl(pub);
	if (st->closed || st->local_fin || st->fin_waits || s->broken) {
		return false;
	}
	if (st->backlog.len + bytes.len > s->opts.backlog_max && bytes.len > window_room(s, st)) {
		return false;
	}
	s->depth++;
	size_t sent = st->backlog.len ? 0 : data_send(s, st, bytes, fin);
	if (sent < bytes.len) {
		buf_str(&st->backlog, str_from(bytes, sent));
		st->fin_waits = fin;
	} else if (fin && !st->local_fin) {
		st->fin_waits = true; /* nothing to send, but a backlog stands before it */
	}
	stream_close_if_done(s, st);
	leave(s);
	return true;
}

size_t spdy_backlog(const struct spdy_stream *st) {
	return impl(st)->backlog.len;
}

void spdy_consume(struct spdy *s, struct spdy_stream *pub, size_t bytes) {
	struct spdy_stream_impl *st = impl(pub);
	st->unconsumed += (uint32_t)bytes;
	s->unconsumed += (uint32_t)bytes;
	if (st->unconsumed >= s->opts.window / 2 && !st->remote_fin && !st->closed) {
		control_words(s, WINDOW_UPDATE, pub->id, st->unconsumed, true);
		st->unconsumed = 0;
	}
	if (s->unconsumed >= WINDOW_DEFAULT / 2) {
		control_words(s, WINDOW_UPDATE, 0, s->unconsumed, true);
		s->unconsumed = 0;
	}
}

void spdy_reset(struct spdy *s, struct spdy_stream *st, enum spdy_status status) {
	if (impl(st)->closed) {
		return;
	}
	s->depth++;
	reset_send(s, st->id, status);
	stream_close(s, impl(st), true);
	leave(s);
}

void spdy_ping(struct spdy *s) {
	control_words(s, PING, s->next_ping, 0, false);
	s->next_ping += 2;
}

void spdy_goaway(struct spdy *s, uint32_t status) {
	if (!s->goaway_sent) {
		s->goaway_sent = true;
		control_words(s, GOAWAY, s->last_peer_id, status, true);
	}
}

struct str spdy_header(const struct spdy_stream *st, struct str name) {
	return http_header_get(st->headers, name);
}
