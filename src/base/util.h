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

#define MIN(a, b) ({ __auto_type min_a_ = (a); __auto_type min_b_ = (b); min_a_ < min_b_ ? min_a_ : min_b_; })
#define MAX(a, b) ({ __auto_type max_a_ = (a); __auto_type max_b_ = (b); max_a_ > max_b_ ? max_a_ : max_b_; })

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
