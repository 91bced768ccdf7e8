/* SPDX-License-Identifier: Apache-2.0 */
/* util.c - allocation that ends the program instead of failing, and the growing array's one slow path. */
#include "base/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/vec.h"

static void oom(void) {
	static const char msg[] = "fatal: out of memory\n";
	(void)!write(2, msg, sizeof(msg) - 1);
	abort();
}

void *xmalloc(size_t bytes) {
	void *p = malloc(bytes ? bytes : 1);
	if (!p) {
		oom();
	}
	return p;
}

void *xcalloc(size_t count, size_t bytes) {
	void *p = calloc(count ? count : 1, bytes ? bytes : 1);
	if (!p) {
		oom();
	}
	return p;
}

void *xrealloc(void *p, size_t bytes) {
	p = realloc(p, bytes ? bytes : 1);
	if (!p) {
		oom();
	}
	return p;
}

char *xstrdup(const char *s) {
	size_t n = strlen(s) + 1;
	return memcpy(xmalloc(n), s, n);
}

char *xasprintf(const char *fmt, ...) {
	char *s;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0) {
		oom();
	}
	return s;
}

void close_fd_p(int *fd) {
	if (*fd >= 0) {
		close(*fd);
		*fd = -1;
	}
}

void *vec_grow(void *at, size_t *cap, size_t want, size_t item_bytes) {
	if (want > *cap) {
		size_t n = *cap ? *cap * 2 : 4;
		n = n < want ? want : n;
		assert(n < SIZE_MAX / item_bytes);
		at = xrealloc(at, n * item_bytes);
		*cap = n;
	}
	return at;
}
