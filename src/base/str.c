/* SPDX-License-Identifier: Apache-2.0 */
/* str.c - see str.h. Pure functions; any thread. */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>

int str_cmp(struct str a, struct str b) {
	size_t n = MIN(a.len, b.len);
	int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static char lower(char c) {
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool str_case_eq(struct str a, struct str b) {
	if (a.len != b.len) {
		return false;
	}
	for (size_t i = 0; i < a.len; i++) {
		if (lower(a.ptr[i]) != lower(b.ptr[i])) {
			return false;
		}
	}
	return true;
}

bool str_starts(struct str s, struct str prefix) {
	return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

bool str_ends(struct str s, struct str suffix) {
	return s.len >= suffix.len &&
		(suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

bool str_contains(struct str s, struct str needle) {
	return str_find(s, needle) >= 0;
}

uint64_t str_hash(struct str s) {
	uint64_t h = 0x9e3779b97f4a7c15ull ^ s.len;
	const char *p = s.ptr;
	size_t n = s.len;
	while (n >= 8) {
		uint64_t w;
		memcpy(&w, p, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
		p += 8;
		n -= 8;
	}
	uint64_t w = 0;
	if (n) {
		memcpy(&w, p, n);
	}
	h = (h ^ w) * 0xc4ceb9fe1a85ec53ull;
	return h ^ (h >> 29);
}

ptrdiff_t str_index(struct str s, char c) {
	const char *p = s.len ? memchr(s.ptr, c, s.len) : NULL;
	return p ? p - s.ptr : -1;
}

ptrdiff_t str_rindex(struct str s, char c) {
	const char *p = s.len ? memrchr(s.ptr, c, s.len) : NULL;
	return p ? p - s.ptr : -1;
}

ptrdiff_t str_find(struct str s, struct str needle) {
	if (needle.len == 0) {
		return 0;
	}
	const char *p = s.len ? memmem(s.ptr, s.len, needle.ptr, needle.len) : NULL;
	return p ? p - s.ptr : -1;
}

struct str str_sub(struct str s, size_t from, size_t to) {
	to = MIN(to, s.len);
	from = MIN(from, to);
	return (struct str){ s.ptr ? s.ptr + from : NULL, to - from };
}

struct str str_from(struct str s, size_t from) {
	return str_sub(s, from, s.len);
}

struct str str_trim(struct str s) {
	while (s.len && isspace((unsigned char)s.ptr[0])) {
		s.ptr++;
		s.len--;
	}
	while (s.len && isspace((unsigned char)s.ptr[s.len - 1])) {
		s.len--;
	}
	return s;
}

bool str_cut(struct str s, char sep, struct str *head, struct str *tail) {
	ptrdiff_t i = str_index(s, sep);
	if (i < 0) {
		*head = s;
		*tail = (struct str){ 0 };
		return false;
	}
	*head = str_sub(s, 0, (size_t)i);
	*tail = str_from(s, (size_t)i + 1);
	return true;
}

bool str_next(struct str *rest, char sep, struct str *ret_piece) {
	if (!rest->ptr) {
		return false;
	}
	ptrdiff_t i = str_index(*rest, sep);
	if (i < 0) {
		*ret_piece = *rest;
		*rest = (struct str){ 0 };
		return true;
	}
	*ret_piece = str_sub(*rest, 0, (size_t)i);
	*rest = str_from(*rest, (size_t)i + 1);
	return true;
}

char *str_dup(struct str s) {
	char *c = xmalloc(s.len + 1);
	if (s.len) {
		memcpy(c, s.ptr, s.len);
	}
	c[s.len] = 0;
	return c;
}

bool str_to_u64(struct str s, uint64_t *ret) {
	uint64_t v = 0;
	if (s.len == 0) {
		return false;
	}
	for (size_t i = 0; i < s.len; i++) {
		unsigned d = (unsigned)(s.ptr[i] - '0');
		if (d > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, d, &v)) {
			return false;
		}
	}
	*ret = v;
	return true;
}

bool str_to_i64(struct str s, int64_t *ret) {
	bool neg = s.len && s.ptr[0] == '-';
	uint64_t v;
	if (neg || (s.len && s.ptr[0] == '+')) {
		s = str_from(s, 1);
	}
	if (!str_to_u64(s, &v) || v > (uint64_t)INT64_MAX + neg) {
		return false;
	}
	*ret = neg ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

bool str_to_int(struct str s, int min, int max, int *ret) {
	int64_t v;
	if (!str_to_i64(s, &v) || v < min || v > max) {
		return false;
	}
	*ret = (int)v;
	return true;
}

/* Whatever locale the program runs in, a point is a point. */
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void c_locale_make(void) {
	c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool str_to_double(struct str s, double *ret) {
	char buf[400];
	char *end;
	if (s.len == 0 || s.len >= sizeof(buf) || isspace((unsigned char)s.ptr[0])) {
		return false;
	}
	pthread_once(&c_locale_once, c_locale_make);
	memcpy(buf, s.ptr, s.len);
	buf[s.len] = 0;
	double d = strtod_l(buf, &end, c_locale);
	if (end != buf + s.len) {
		return false;
	}
	*ret = d;
	return true;
}

bool utf8_valid(struct str s) {
	const unsigned char *p = (const unsigned char *)s.ptr, *end = p + s.len;
	while (p < end) {
		if (end - p >= 8) { /* eight ASCII bytes at a time */
			uint64_t w;
			memcpy(&w, p, 8);
			if (!(w & 0x8080808080808080ull)) {
				p += 8;
				continue;
			}
		}
		unsigned c = *p;
		size_t n;
		if (c < 0x80) {
			p++;
			continue;
		}
		if (c >= 0xC2 && c <= 0xDF) {
			n = 1;
		} else if (c >= 0xE0 && c <= 0xEF) {
			n = 2;
		} else if (c >= 0xF0 && c <= 0xF4) {
			n = 3;
		} else {
			return false;
		}
		if ((size_t)(end - p) <= n) {
			return false;
		}
		for (size_t i = 1; i <= n; i++) {
			if ((p[i] & 0xC0) != 0x80) {
				return false;
			}
		}
		if ((c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F) || /* overlong, surrogates */
			(c == 0xF0 && p[1] < 0x90) || (c == 0xF4 && p[1] > 0x8F)) {
			return false;
		}
		p += n + 1;
	}
	return true;
}
