/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - UTF-8, one character at a time; private to value/. */
#ifndef VALUE_UTF8_H
#define VALUE_UTF8_H

#include "base/arena.h"

#define UTF8_REPLACEMENT 0xfffd

/* Length of the valid sequence at p (whose first byte is 0x80 or above); 0 when it is none. */
static inline size_t utf8_sequence(const char *p, const char *end) {
	const unsigned char *u = (const unsigned char *)p;
	size_t n = u[0] >= 0xc2 && u[0] <= 0xdf ? 2 : (u[0] & 0xf0) == 0xe0 ? 3 : u[0] >= 0xf0 && u[0] <= 0xf4 ? 4 : 0;
	return n && (size_t)(end - p) >= n && utf8_valid((struct str){ p, n }) ? n : 0;
}

static inline size_t utf8_put(char *out, uint32_t rune) {
	if (rune < 0x80) {
		out[0] = (char)rune;
		return 1;
	}
	if (rune < 0x800) {
		out[0] = (char)(0xc0 | rune >> 6);
		out[1] = (char)(0x80 | (rune & 0x3f));
		return 2;
	}
	if (rune < 0x10000) {
		out[0] = (char)(0xe0 | rune >> 12);
		out[1] = (char)(0x80 | (rune >> 6 & 0x3f));
		out[2] = (char)(0x80 | (rune & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | rune >> 18);
	out[1] = (char)(0x80 | (rune >> 12 & 0x3f));
	out[2] = (char)(0x80 | (rune >> 6 & 0x3f));
	out[3] = (char)(0x80 | (rune & 0x3f));
	return 4;
}

/* `s`, or a copy in which each byte that is no UTF-8 is U+FFFD. */
struct str utf8_clean(struct arena *a, struct str s);

#endif
