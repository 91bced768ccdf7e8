/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.h - how a container's memory looks; private to value/.
 *
 * `items` points to room for value_cap() members side by side. An object that has a text key has a
 * table of keys right behind that room, one slot a member (a member with a known name leaves its slot
 * unused): in an arena `struct str`, in a frozen block 32-bit offsets from `items` to the key, which is
 * its length, as SHAPE_OFFSETS says, and its bytes. Objects with known names alone have no table.
 */
#ifndef VALUE_SHAPE_H
#define VALUE_SHAPE_H

#include "value/value.h"

enum {
	SHAPE_CAP_LOG2 = 0x1f, /* mask; 0: the room is exactly len */
	SHAPE_FROZEN = 0x20,   /* items stand in a frozen block: nobody edits them */
	SHAPE_OFFSETS = 0x40,  /* key table of uint32_t */
	SHAPE_KEYS = 0x80,     /* key table of struct str */
};

static inline size_t value_cap(const struct value *v) {
	unsigned log2 = v->shape & SHAPE_CAP_LOG2;
	return log2 ? (size_t)1 << log2 : v->len;
}
static inline struct str *value_keys(const struct value *v) { /* only with SHAPE_KEYS */
	return (struct str *)(v->u.items + value_cap(v));
}
static inline uint32_t *value_key_offsets(const struct value *v) { /* only with SHAPE_OFFSETS */
	return (uint32_t *)(v->u.items + v->len);
}

/* A key's length in a frozen block: seven bits a byte, the lowest first, the high bit says more follow. */
static inline size_t key_length_bytes(size_t len) {
	return len < 0x80 ? 1 : len < 0x4000 ? 2 : len < 0x200000 ? 3 : len < 0x10000000 ? 4 : 5;
}
static inline char *key_length_put(char *at, size_t len) {
	for (; len >= 0x80; len >>= 7) {
		*at++ = (char)(0x80 | (len & 0x7f));
	}
	*at++ = (char)len;
	return at;
}
static inline struct str key_read(const char *at) {
	size_t len = 0;
	unsigned bits = 0;
	for (; *at & 0x80; at++, bits += 7) {
		len |= (size_t)(*at & 0x7f) << bits;
	}
	len |= (size_t)*at << bits;
	return (struct str){ at + 1, len };
}

/* A key as text whose name is known to be N_NONE. */
static inline struct str value_text_key(const struct value *v, size_t n) {
	if (v->shape & SHAPE_KEYS) {
		return value_keys(v)[n];
	}
	return key_read((const char *)v->u.items + value_key_offsets(v)[n]);
}

/* Members are removed together by giving them this type and then dropping them all. */
#define SHAPE_DEAD 0xff
void value_drop_dead(struct value *container);

#endif
