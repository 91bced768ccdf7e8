/* SPDX-License-Identifier: Apache-2.0 */
/* util.h - the few macros that every file uses. */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define UNUSED __attribute__((unused))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

/* Hands a pointer out of a variable that cleans up after itself. */
#define TAKE(p) ({ __auto_type take_ = (p); (p) = NULL; take_; })

/* Each use has names of its own (n), so that one may stand inside another. */
#define MIN(a, b) MIN_EXPAND(a, b, __COUNTER__)
#define MAX(a, b) MAX_EXPAND(a, b, __COUNTER__)
#define MIN_EXPAND(a, b, n) MIN_OF(a, b, n)
#define MAX_EXPAND(a, b, n) MAX_OF(a, b, n)
#define MIN_OF(a, b, n) ({ __auto_type a_##n = (a); __auto_type b_##n = (b); a_##n < b_##n ? a_##n : b_##n; })
#define MAX_OF(a, b, n) ({ __auto_type a_##n = (a); __auto_type b_##n = (b); a_##n > b_##n ? a_##n : b_##n; })

/*
 * Allocation that never fails: out of memory ends the program (STYLE.md section 5). What bounds
 * memory is that every queue, buffer and list has a limit of its own. Free with free().
 */
void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);

static inline void free_p(void *pp) {
	free(*(void **)pp);
}
#define auto_free CLEANUP(free_p)

void close_fd_p(int *fd); /* closes when >= 0 */
#define auto_fd CLEANUP(close_fd_p)

#endif
