/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h - the little protobuf that list.c and watch.c put round objects. Private to the room. */
#ifndef APISERVER_WIRE_H
#define APISERVER_WIRE_H

#include "base/buf.h"

static inline void wire_varint(struct buf *b, uint64_t v) {
	for (; v >= 0x80; v >>= 7) {
		buf_char(b, (char)(v | 0x80));
	}
	buf_char(b, (char)v);
}

static inline size_t wire_varint_len(uint64_t v) {
	size_t n = 1;

	for (; v >= 0x80; v >>= 7) {
		n++;
	}
	return n;
}

/* A field of bytes; `tag` is number << 3 | 2. */
static inline void wire_field(struct buf *b, char tag, struct str bytes) {
	buf_char(b, tag);
	wire_varint(b, bytes.len);
	buf_str(b, bytes);
}
static inline size_t wire_field_len(size_t bytes) {
	return 1 + wire_varint_len(bytes) + bytes;
}

#endif
