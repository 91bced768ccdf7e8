/* SPDX-License-Identifier: Apache-2.0 */
/*
 * str.h - text and bytes as a pointer and a length, passed by value. Borrowed unless a comment says
 * otherwise. NUL-ended char * stays at the edges: flags, paths for system calls, formats.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <string.h>

#include "base/util.h"

struct str {
	const char *ptr; /* borrowed, not NUL-ended; may be NULL when len is 0 */
	size_t len;      /* bytes */
};

#define S(lit) ((struct str){ "" lit, sizeof(lit) - 1 })
#define S_INIT(lit) { "" lit, sizeof(lit) - 1 } /* in static tables */
#define STR_ARG(s) (int)(s).len, (s).ptr        /* for "%.*s" */

static inline struct str str_c(const char *c) { /* borrows a NUL-ended string; NULL gives "" */
	return (struct str){ c ? c : "", c ? strlen(c) : 0 };
}
static inline bool str_eq(struct str a, struct str b) {
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool str_eqc(struct str a, const char *b) {
	return str_eq(a, str_c(b));
}
int str_cmp(struct str a, struct str b);      /* byte order, as Go's strings compare */
bool str_case_eq(struct str a, struct str b); /* ASCII letters only */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_contains(struct str s, struct str needle);
uint64_t str_hash(struct str s); /* stable within a process only */

/* -1 when absent. */
ptrdiff_t str_index(struct str s, char c);
ptrdiff_t str_rindex(struct str s, char c);
ptrdiff_t str_find(struct str s, struct str needle);

struct str str_sub(struct str s, size_t from, size_t to); /* [from, to), clamped */
struct str str_from(struct str s, size_t from);           /* [from, len), clamped */
struct str str_trim(struct str s);                        /* ASCII white space at both ends */

/*
 * Cuts `s` at the first `sep`: `*head` is what stands before, `*tail` what follows (empty when there
 * is none). False when sep is absent; then head is all of s. head or tail may point to s itself.
 */
bool str_cut(struct str s, char sep, struct str *head, struct str *tail);

/* Takes the next piece off `*rest`, without the separator; false when rest is used up (ptr NULL). */
bool str_next(struct str *rest, char sep, struct str *ret_piece);

char *str_dup(struct str s); /* NUL-ended copy, free() it */

/* Numbers: the whole of `s` must be one; false otherwise and `ret` is untouched. */
NODISCARD bool str_to_i64(struct str s, int64_t *ret);
NODISCARD bool str_to_u64(struct str s, uint64_t *ret);
NODISCARD bool str_to_double(struct str s, double *ret);
/* In [min, max] as well. */
NODISCARD bool str_to_int(struct str s, int min, int max, int *ret);

bool utf8_valid(struct str s);

#endif
