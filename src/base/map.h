/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.h - a hash map from struct str to a pointer. Keys are copied and owned by the map; values are
 * borrowed. Zeroed memory is a valid empty map. One owner, no locks. Iteration order is arbitrary.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/str.h"

struct map_entry {
	uint64_t hash;
	struct str key; /* owned by the map */
	void *value;
};
struct map {
	struct map_entry *slots; /* open addressing, a power of two */
	size_t cap, len, used;   /* used counts tombstones too */
};

void *map_get(const struct map *m, struct str key);                 /* NULL when absent */
void *map_set(struct map *m, struct str key, void *value);          /* value not NULL; returns the old one or NULL */
void *map_remove(struct map *m, struct str key);                    /* returns the old value or NULL */
/* The next entry after `*at` (start at 0); NULL at the end. Removing the returned entry is allowed. */
struct map_entry *map_next(const struct map *m, size_t *at);
void map_release(struct map *m); /* values are the caller's */

#define MAP_EACH(m, e) for (size_t e##_at_ = 0, e##_once_ = 1; e##_once_; e##_once_ = 0) \
	for (struct map_entry *e; (e = map_next((m), &e##_at_));)

#endif
