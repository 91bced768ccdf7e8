/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2.c - HTTP/2 frames, streams and gRPC messages of one connection.
 *
 * Called by cmd_grpc_health_checking.c, on the connection's thread, and by tests and the fuzz
 * target. Pure: no I/O.
 */
#include "h2.h"

#include "hpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum frame_type {
	FRAME_DATA = 0,
	FRAME_HEADERS = 1,
	FRAME_PRIORITY = 2,
	FRAME_RST_STREAM = 3,
	FRAME_SETTINGS = 4,
	FRAME_PUSH_PROMISE = 5,
	FRAME_PING = 6,
	FRAME_GOAWAY = 7,
	FRAME_WINDOW_UPDATE = 8,
	FRAME_CONTINUATION = 9,
	FRAME_TYPES,
};

enum { FLAG_END_STREAM = 1, FLAG_ACK = 1, FLAG_END_HEADERS = 4, FLAG_PADDED = 8, FLAG_PRIORITY = 32 };

enum h2_error {
	H2_NO_ERROR = 0,
	H2_PROTOCOL_ERROR = 1,
	H2_STREAM_CLOSED = 5,
	H2_FRAME_SIZE_ERROR = 6,
	H2_REFUSED_STREAM = 7,
	H2_COMPRESSION_ERROR = 9,
	H2_ENHANCE_YOUR_CALM = 11,
};

enum { HEAD_BYTES = 9 };

static const struct str preface = S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

struct stream {
	uint32_t id;      /* 0: this place is free */
	struct buf path;
	struct buf message; /* with its five bytes in front */
};

struct h2 {
	grpc_handler handle;
	void *arg; /* borrowed; outlives the connection */
	bool started;    /* the preface has been seen */
	uint32_t last_id;
	struct buf in;
	struct hpack hpack;
	struct buf block;       /* a header block that waits for its continuation */
	uint32_t block_id;      /* its stream; 0 when none waits */
	bool block_ends_stream;
	struct stream streams[H2_STREAMS_MAX];
};

struct frame {
	uint8_t type, flags;
	uint32_t id;
	struct str payload;
};

struct h2 *h2_new(grpc_handler handle, void *arg) {
	struct h2 *h2 = xcalloc(1, sizeof(*h2));

	h2->handle = handle;
	h2->arg = arg;
	h2->in.max = 4 * (HEAD_BYTES + H2_FRAME_BYTES_MAX);
	h2->block.max = H2_HEADERS_BYTES_MAX;
	return h2;
}

static void stream_release(struct stream *s) {
	buf_release(&s->path);
	buf_release(&s->message);
	*s = (struct stream){ 0 };
}

void h2_free(struct h2 *h2) {
	if (!h2) {
		return;
	}
	for (size_t i = 0; i < H2_STREAMS_MAX; i++) {
		stream_release(&h2->streams[i]);
	}
	hpack_release(&h2->hpack);
	buf_release(&h2->in);
	buf_release(&h2->block);
	free(h2);
}

static struct stream *stream_find(struct h2 *h2, uint32_t id) {
	for (size_t i = 0; i < H2_STREAMS_MAX; i++) {
		if (h2->streams[i].id == id) {
			return &h2->streams[i];
		}
	}
	return NULL;
}

/* ---- writing ---- */

static uint32_t u32(const char *p) {
	const unsigned char *b = (const unsigned char *)p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void u32_add(struct buf *out, uint32_t n) {
	char b[4] = { (char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n };

	buf_add(out, (struct str){ b, 4 });
}

static void frame_add(struct buf *out, enum frame_type type, uint8_t flags, uint32_t id, struct str payload) {
	char head[5] = { (char)(payload.len >> 16), (char)(payload.len >> 8), (char)payload.len, (char)type, (char)flags };

	buf_add(out, (struct str){ head, 5 });
	u32_add(out, id);
	buf_add(out, payload);
}

static void number_frame_add(struct buf *out, enum frame_type type, uint32_t id, uint32_t number) {
	auto_buf struct buf payload = { 0 };

	u32_add(&payload, number);
	frame_add(out, type, 0, id, buf_str(&payload));
}

/* Ends the connection; always false. */
static bool goaway(struct h2 *h2, struct buf *out, enum h2_error error) {
	auto_buf struct buf payload = { 0 };

	u32_add(&payload, h2->last_id);
	u32_add(&payload, error);
	frame_add(out, FRAME_GOAWAY, 0, 0, buf_str(&payload));
	return false;
}

/* ---- a whole call ---- */

static enum grpc_status call(struct h2 *h2, const struct stream *s, struct buf *reply, const char **ret_text) {
	struct str message = buf_str(&s->message);

	if (message.len < 5 || u32(message.ptr + 1) != message.len - 5) {
		*ret_text = "one message is expected";
		return GRPC_INVALID_ARGUMENT;
	}
	if (message.ptr[0] != 0) {
		*ret_text = "compressed messages are not understood";
		return GRPC_UNIMPLEMENTED;
	}
	return h2->handle(h2->arg, buf_str(&s->path), (struct str){ message.ptr + 5, message.len - 5 }, reply, ret_text);
}

static void answer(struct h2 *h2, struct stream *s, struct buf *out) {
	auto_buf struct buf reply = { .max = 1024 }, head = { 0 }, trailer = { 0 }, data = { 0 };
	const char *text = "";
	enum grpc_status status = call(h2, s, &reply, &text);
	char number[4];
	int len = snprintf(number, sizeof(number), "%d", (int)status);

	hpack_encode(&head, S(":status"), S("200"));
	hpack_encode(&head, S("content-type"), S("application/grpc"));
	hpack_encode(&trailer, S("grpc-status"), (struct str){ number, (size_t)len });
	if (text[0]) {
		hpack_encode(&trailer, S("grpc-message"), str_from(text));
	}
	if (status == GRPC_OK) {
		frame_add(out, FRAME_HEADERS, FLAG_END_HEADERS, s->id, buf_str(&head));
		buf_add(&data, (struct str){ "\0", 1 });
		u32_add(&data, (uint32_t)reply.len);
		buf_add(&data, buf_str(&reply));
		frame_add(out, FRAME_DATA, 0, s->id, buf_str(&data));
		frame_add(out, FRAME_HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, s->id, buf_str(&trailer));
	} else {
		/* An error has one block, head and trailer at once. */
		buf_add(&head, buf_str(&trailer));
		frame_add(out, FRAME_HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, s->id, buf_str(&head));
	}
	stream_release(s);
}

/* ---- frames, each by its own function; false ends the connection ---- */

/* Takes the padding off a DATA or HEADERS frame, and the priority off HEADERS. */
static bool payload_strip(struct frame *f) {
	size_t pad = 0;

	if (f->flags & FLAG_PADDED) {
		if (f->payload.len == 0) {
			return false;
		}
		pad = (unsigned char)f->payload.ptr[0];
		f->payload = (struct str){ f->payload.ptr + 1, f->payload.len - 1 };
	}
	if (f->type == FRAME_HEADERS && (f->flags & FLAG_PRIORITY)) {
		if (f->payload.len < 5) {
			return false;
		}
		f->payload = (struct str){ f->payload.ptr + 5, f->payload.len - 5 };
	}
	if (pad > f->payload.len) {
		return false;
	}
	f->payload.len -= pad;
	return true;
}

static bool on_data(struct h2 *h2, struct frame *f, struct buf *out) {
	uint32_t window = (uint32_t)f->payload.len;
	struct stream *s = f->id ? stream_find(h2, f->id) : NULL;

	if (f->id == 0 || f->id > h2->last_id || !payload_strip(f)) {
		return goaway(h2, out, H2_PROTOCOL_ERROR);
	}
	if (window > 0) {
		number_frame_add(out, FRAME_WINDOW_UPDATE, 0, window);
	}
	if (!s) {
		number_frame_add(out, FRAME_RST_STREAM, f->id, H2_STREAM_CLOSED);
		return true;
	}
	if (!buf_add(&s->message, f->payload)) {
		number_frame_add(out, FRAME_RST_STREAM, f->id, H2_ENHANCE_YOUR_CALM);
		stream_release(s);
		return true;
	}
	if (f->flags & FLAG_END_STREAM) {
		answer(h2, s, out);
	} else if (window > 0) {
		number_frame_add(out, FRAME_WINDOW_UPDATE, f->id, window);
	}
	return true;
}

static void on_header(void *arg, struct str name, struct str value) {
	struct buf *path = arg;

	if (str_eq(name, S(":path")) && path->len == 0) {
		buf_add(path, value);
	}
}

/* A header block is whole: it opens a stream, or ends one as its trailer. */
static bool block_done(struct h2 *h2, struct buf *out) {
	auto_buf struct buf path = { .max = 4096 };
	struct stream *s = stream_find(h2, h2->block_id);
	uint32_t id = h2->block_id;

	h2->block_id = 0;
	/* Decoded in any case, since the table must follow the client's. */
	if (!hpack_decode(&h2->hpack, buf_str(&h2->block), on_header, &path)) {
		return goaway(h2, out, H2_COMPRESSION_ERROR);
	}
	buf_clear(&h2->block);
	if (s && !h2->block_ends_stream) {
		return goaway(h2, out, H2_PROTOCOL_ERROR);
	}
	if (!s) {
		if (id <= h2->last_id) {
			return goaway(h2, out, H2_STREAM_CLOSED);
		}
		h2->last_id = id;
		s = stream_find(h2, 0);
		if (!s) {
			number_frame_add(out, FRAME_RST_STREAM, id, H2_REFUSED_STREAM);
			return true;
		}
		*s = (struct stream){ .id = id, .message = { .max = H2_MESSAGE_BYTES_MAX } };
		buf_add(&s->path, buf_str(&path));
	}
	if (h2->block_ends_stream) {
		answer(h2, s, out);
	}
	return true;
}

static bool on_headers(struct h2 *h2, struct frame *f, struct buf *out) {
	/* RFC 9113 section 5.1.1: streams opened by a client are odd. */
	if (f->id % 2 == 0 || !payload_strip(f)) {
		return goaway(h2, out, H2_PROTOCOL_ERROR);
	}
	h2->block_id = f->id;
	h2->block_ends_stream = f->flags & FLAG_END_STREAM;
	if (!buf_add(&h2->block, f->payload)) {
		return goaway(h2, out, H2_ENHANCE_YOUR_CALM);
	}
	return f->flags & FLAG_END_HEADERS ? block_done(h2, out) : true;
}

static bool on_continuation(struct h2 *h2, struct frame *f, struct buf *out) {
	if (h2->block_id == 0) {
		return goaway(h2, out, H2_PROTOCOL_ERROR);
	}
	if (f->payload.len == 0 || !buf_add(&h2->block, f->payload)) {
		return goaway(h2, out, H2_ENHANCE_YOUR_CALM); /* empty ones could come for ever */
	}
	return f->flags & FLAG_END_HEADERS ? block_done(h2, out) : true;
}

static bool on_rst_stream(struct h2 *h2, struct frame *f, struct buf *out) {
	struct stream *s = f->id ? stream_find(h2, f->id) : NULL;

	if (f->payload.len != 4) {
		return goaway(h2, out, H2_FRAME_SIZE_ERROR);
	}
	if (s) {
		stream_release(s);
	}
	return f->id != 0 || goaway(h2, out, H2_PROTOCOL_ERROR);
}

static bool on_settings(struct h2 *h2, struct frame *f, struct buf *out) {
	if (f->id != 0) {
		return goaway(h2, out, H2_PROTOCOL_ERROR);
	}
	if (f->payload.len % 6 != 0 || ((f->flags & FLAG_ACK) && f->payload.len > 0)) {
		return goaway(h2, out, H2_FRAME_SIZE_ERROR);
	}
	if (!(f->flags & FLAG_ACK)) {
		frame_add(out, FRAME_SETTINGS, FLAG_ACK, 0, (struct str){ 0 });
	}
	return true;
}

static bool on_ping(struct h2 *h2, struct frame *f, struct buf *out) {
	if (f->payload.len != 8) {
		return goaway(h2, out, H2_FRAME_SIZE_ERROR);
	}
	if (!(f->flags & FLAG_ACK)) {
		frame_add(out, FRAME_PING, FLAG_ACK, 0, f->payload);
	}
	return true;
}

static bool on_push_promise(struct h2 *h2, struct frame *f, struct buf *out) {
	return goaway(h2, out, H2_PROTOCOL_ERROR); /* section 8.4: a client does not push */
}

static bool on_goaway(struct h2 *h2, struct frame *f, struct buf *out) {
	return false;
}

static bool on_ignored(struct h2 *h2, struct frame *f, struct buf *out) {
	return true;
}

static bool (*const on_frame[FRAME_TYPES])(struct h2 *h2, struct frame *f, struct buf *out) = {
	[FRAME_DATA] = on_data,
	[FRAME_HEADERS] = on_headers,
	[FRAME_PRIORITY] = on_ignored,
	[FRAME_RST_STREAM] = on_rst_stream,
	[FRAME_SETTINGS] = on_settings,
	[FRAME_PUSH_PROMISE] = on_push_promise,
	[FRAME_PING] = on_ping,
	[FRAME_GOAWAY] = on_goaway,
	[FRAME_WINDOW_UPDATE] = on_ignored,
	[FRAME_CONTINUATION] = on_continuation,
};

static bool frame_take(struct h2 *h2, struct frame *f, struct buf *out) {
	/* Section 6.10: nothing stands between a block and its continuation. */
	if (h2->block_id != 0 && (f->type != FRAME_CONTINUATION || f->id != h2->block_id)) {
		return goaway(h2, out, H2_PROTOCOL_ERROR);
	}
	/* Section 4.1: frames of a kind that is not known are passed over. */
	return f->type >= FRAME_TYPES || on_frame[f->type](h2, f, out);
}

bool h2_feed(struct h2 *h2, struct str in, struct buf *out) {
	size_t used = 0;
	bool ok = true;

	if (!buf_add(&h2->in, in)) {
		return goaway(h2, out, H2_ENHANCE_YOUR_CALM);
	}
	if (!h2->started) {
		size_t seen = MIN(h2->in.len, preface.len);

		if (memcmp(h2->in.ptr, preface.ptr, seen) != 0) {
			return false;
		}
		if (seen < preface.len) {
			return true;
		}
		auto_buf struct buf settings = { 0 };
		buf_add(&settings, (struct str){ "\0\3", 2 }); /* SETTINGS_MAX_CONCURRENT_STREAMS */
		u32_add(&settings, H2_STREAMS_MAX);
		frame_add(out, FRAME_SETTINGS, 0, 0, buf_str(&settings));
		h2->started = true;
		used = preface.len;
	}
	while (ok && h2->in.len - used >= HEAD_BYTES) {
		const char *head = h2->in.ptr + used;
		size_t len = u32(head) >> 8;
		struct frame f = { .type = (uint8_t)head[3], .flags = (uint8_t)head[4], .id = u32(head + 5) & 0x7fffffff };

		if (len > H2_FRAME_BYTES_MAX) {
			return goaway(h2, out, H2_FRAME_SIZE_ERROR);
		}
		if (h2->in.len - used < HEAD_BYTES + len) {
			break;
		}
		f.payload = (struct str){ head + HEAD_BYTES, len };
		ok = frame_take(h2, &f, out);
		used += HEAD_BYTES + len;
	}
	buf_consume(&h2->in, used);
	return ok && !out->overflown;
}
