/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory of one request or sync. Nothing in it is freed singly, and no pointer into it
 * leaves the request or the thread. Zeroed memory is a valid empty arena:
 *
 *     auto_arena struct arena a = { 0 };
 *     char *p = arena_alloc(&a, 100);
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;
struct arena {
	struct arena_chunk *chunks; /* newest first */
	char *ptr, *end;            /* free room of the newest chunk */
	size_t bytes;               /* handed out so far, for limits and statistics */
};

void *arena_alloc(struct arena *a, size_t bytes);  /* 8-byte aligned, not zeroed; 0 bytes is fine */
void *arena_calloc(struct arena *a, size_t bytes); /* zeroed */
void arena_release(struct arena *a);               /* frees all; the arena is empty and usable again */
void arena_clear(struct arena *a);                 /* empties, keeps one chunk for reuse */
#define auto_arena CLEANUP(arena_release)
#define arena_new(a, type) ((type *)arena_calloc((a), sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_calloc((a), sizeof(type) * (n)))

struct str arena_str(struct arena *a, struct str s);                        /* copy (NUL follows it) */
char *arena_cstr(struct arena *a, struct str s);                            /* NUL-ended copy */
struct str arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3); /* NUL follows it */
struct str arena_join(struct arena *a, const struct str *parts, size_t n, struct str sep);

#endif
