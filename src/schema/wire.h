/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - protobuf's wire format, the writing side; private to schema/. A buffer over its ceiling swallows what
 * comes after: look at `overflow` once, at the end.
 */
#ifndef SCHEMA_WIRE_H
#define SCHEMA_WIRE_H

#include "base/buf.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_GROUP = 3, WIRE_GROUP_END = 4, WIRE_FIXED32 = 5 };

static inline void put_varint(struct buf *b, uint64_t n) {
	char bytes[10];
	size_t len = 0;

	for (; n >= 0x80; n >>= 7) {
		bytes[len++] = (char)(0x80 | (n & 0x7f));
	}
	bytes[len++] = (char)n;
	buf_add(b, bytes, len);
}

static inline void put_tag(struct buf *b, uint32_t num, enum wire wire) {
	put_varint(b, (uint64_t)num << 3 | wire);
}

static inline void put_bytes(struct buf *b, uint32_t num, struct str s) {
	put_tag(b, num, WIRE_BYTES);
	put_varint(b, s.len);
	buf_str(b, s);
}

static inline void put_int(struct buf *b, uint32_t num, uint64_t n) {
	put_tag(b, num, WIRE_VARINT);
	put_varint(b, n);
}

/* A nested message: one byte is kept for its length, more is made room for at the end. */
static inline size_t message_open(struct buf *b, uint32_t num) {
	put_tag(b, num, WIRE_BYTES);
	buf_char(b, 0);
	return b->len;
}

static inline void message_close(struct buf *b, size_t from) {
	size_t len, n = 0;
	char bytes[10];

	if (b->overflow) {
		return;
	}
	len = b->len - from;
	if (len < 0x80) {
		b->ptr[from - 1] = (char)len;
		return;
	}
	for (size_t rest = len; rest >= 0x80; rest >>= 7) {
		n++;
	}
	if (!buf_reserve(b, n)) {
		return;
	}
	memmove(b->ptr + from + n, b->ptr + from, len);
	b->len += n;
	for (size_t i = 0; i <= n; i++, len >>= 7) {
		bytes[i] = (char)((i < n ? 0x80 : 0) | (len & 0x7f));
	}
	memcpy(b->ptr + from - 1, bytes, n + 1);
}

#endif
