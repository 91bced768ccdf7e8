/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - see utf8.h. */
#include "value/utf8.h"

struct str utf8_clean(struct arena *a, struct str s) {
	if (utf8_valid(s)) {
		return s;
	}
	char *out = arena_alloc(a, s.len * 3), *to = out;
	for (const char *p = s.ptr, *end = p + s.len; p < end;) {
		size_t n = (unsigned char)*p < 0x80 ? 1 : utf8_sequence(p, end);
		if (n) {
			to = mempcpy(to, p, n);
			p += n;
		} else {
			to += utf8_put(to, UTF8_REPLACEMENT);
			p++;
		}
	}
	return (struct str){ out, (size_t)(to - out) };
}
