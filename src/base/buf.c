/* SPDX-License-Identifier: Apache-2.0 */
/* buf.c - see buf.h. One owner, no locks. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

char *buf_reserve(struct buf *b, size_t len) {
	size_t max = b->max ? b->max : BUF_MAX_DEFAULT;
	if (b->overflow || len > max || b->len > max - len) {
		b->overflow = true;
		return NULL;
	}
	if (b->len + len + 1 > b->cap) {
		size_t cap = MAX(b->cap * 2, b->len + len + 1);
		cap = MAX(cap, (size_t)64);
		if (cap > max + 1) {
			cap = max + 1;
		}
		b->ptr = xrealloc(b->ptr, cap);
		b->cap = cap;
	}
	return b->ptr + b->len;
}

bool buf_add(struct buf *b, const void *bytes, size_t len) {
	char *p = buf_reserve(b, len);
	if (!p) {
		return false;
	}
	if (len) {
		memcpy(p, bytes, len);
	}
	b->len += len;
	return true;
}

bool buf_str(struct buf *b, struct str s) {
	return buf_add(b, s.ptr, s.len);
}

bool buf_c(struct buf *b, const char *s) {
	return buf_add(b, s, strlen(s));
}

bool buf_char(struct buf *b, char c) {
	return buf_add(b, &c, 1);
}

bool buf_i64(struct buf *b, int64_t v) {
	char tmp[24], *p = tmp + sizeof(tmp);
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	do {
		*--p = (char)('0' + u % 10);
		u /= 10;
	} while (u);
	if (v < 0) {
		*--p = '-';
	}
	return buf_add(b, p, (size_t)(tmp + sizeof(tmp) - p));
}

bool buf_printf(struct buf *b, const char *fmt, ...) {
	char small[256];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	assert(n >= 0);
	if ((size_t)n < sizeof(small)) {
		return buf_add(b, small, (size_t)n);
	}
	char *p = buf_reserve(b, (size_t)n + 1);
	if (!p) {
		return false;
	}
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return true;
}

void buf_drop(struct buf *b, size_t len) {
	assert(len <= b->len);
	b->len -= len;
	if (b->len && len) {
		memmove(b->ptr, b->ptr + len, b->len);
	}
}

void buf_clear(struct buf *b) {
	b->len = 0;
	b->overflow = false;
}

void buf_release(struct buf *b) {
	free(b->ptr);
	*b = (struct buf){ .max = b->max };
}

char *buf_cstr(struct buf *b) {
	if (!b->ptr) {
		b->ptr = xmalloc(64);
		b->cap = 64;
	}
	b->ptr[b->len] = 0; /* reserve always leaves room for it */
	return b->ptr;
}

struct str buf_view(const struct buf *b) {
	return (struct str){ b->ptr, b->len };
}
