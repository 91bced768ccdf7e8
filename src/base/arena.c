/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - see arena.h. Chunks double from 4 KiB to 256 KiB; big requests get their own. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>

#define CHUNK_MIN (4096 - 32)
#define CHUNK_MAX (256 * 1024 - 32)

struct arena_chunk {
	struct arena_chunk *next;
	size_t bytes;
	char data[] __attribute__((aligned(16)));
};

static void *alloc_slow(struct arena *a, size_t bytes) {
	size_t last = a->chunks ? a->chunks->bytes : 0;
	size_t want = MAX((size_t)CHUNK_MIN, MIN((size_t)CHUNK_MAX, last * 2));
	bool own = bytes > want / 2 && a->chunks; /* its own chunk, behind the newest, whose room stays in use */
	struct arena_chunk *c = xmalloc(sizeof(*c) + (own ? bytes : MAX(want, bytes)));
	if (own) {
		c->bytes = bytes;
		c->next = a->chunks->next;
		a->chunks->next = c;
		return c->data;
	}
	c->bytes = MAX(want, bytes);
	c->next = a->chunks;
	a->chunks = c;
	a->ptr = c->data + bytes;
	a->end = c->data + c->bytes;
	return c->data;
}

void *arena_alloc(struct arena *a, size_t bytes) {
	assert(bytes < SIZE_MAX / 2);
	bytes = (bytes + 7) & ~(size_t)7;
	a->bytes += bytes;
	if ((size_t)(a->end - a->ptr) >= bytes && a->ptr) {
		void *p = a->ptr;
		a->ptr += bytes;
		return p;
	}
	return alloc_slow(a, bytes);
}

void *arena_calloc(struct arena *a, size_t bytes) {
	void *p = arena_alloc(a, bytes);
	if (bytes) {
		memset(p, 0, bytes);
	}
	return p;
}

void arena_release(struct arena *a) {
	struct arena_chunk *c = a->chunks;
	while (c) {
		struct arena_chunk *next = c->next;
		free(c);
		c = next;
	}
	*a = (struct arena){ 0 };
}

void arena_clear(struct arena *a) {
	struct arena_chunk *keep = a->chunks;
	if (!keep || keep->bytes > CHUNK_MAX) {
		arena_release(a);
		return;
	}
	a->chunks = keep->next;
	keep->next = NULL;
	struct arena rest = { .chunks = a->chunks };
	arena_release(&rest);
	*a = (struct arena){ .chunks = keep, .ptr = keep->data, .end = keep->data + keep->bytes };
}

struct str arena_str(struct arena *a, struct str s) {
	return (struct str){ arena_cstr(a, s), s.len };
}

char *arena_cstr(struct arena *a, struct str s) {
	char *p = arena_alloc(a, s.len + 1);
	if (s.len) {
		memcpy(p, s.ptr, s.len);
	}
	p[s.len] = 0;
	return p;
}

struct str arena_printf(struct arena *a, const char *fmt, ...) {
	char small[256];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	assert(n >= 0);
	char *p = arena_alloc(a, (size_t)n + 1);
	if ((size_t)n < sizeof(small)) {
		memcpy(p, small, (size_t)n + 1);
	} else {
		va_start(ap, fmt);
		vsnprintf(p, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	return (struct str){ p, (size_t)n };
}

struct str arena_join(struct arena *a, const struct str *parts, size_t n, struct str sep) {
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		len += parts[i].len + (i ? sep.len : 0);
	}
	char *p = arena_alloc(a, len + 1), *at = p;
	for (size_t i = 0; i < n; i++) {
		if (i && sep.len) {
			at = mempcpy(at, sep.ptr, sep.len);
		}
		if (parts[i].len) {
			at = mempcpy(at, parts[i].ptr, parts[i].len);
		}
	}
	*at = 0;
	return (struct str){ p, len };
}
