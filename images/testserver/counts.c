/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counts.c - a small map, searched from front to back.
 *
 * Called by nettest and guestbook, under their locks.
 */
#include "counts.h"

#include <stdlib.h>

struct count *counts_get(struct counts *c, struct str key) {
	for (size_t i = 0; i < c->len; i++) {
		if (str_eq(c->items[i].key, key)) {
			return &c->items[i];
		}
	}
	return NULL;
}

struct count *counts_put(struct counts *c, struct str key) {
	struct count *found = counts_get(c, key);

	if (found || c->len == COUNTS_MAX || key.len > COUNTS_TEXT_BYTES_MAX) {
		return found;
	}
	if (c->len == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 16;
		c->items = realloc(c->items, c->cap * sizeof(*c->items));
		if (!c->items) {
			abort();
		}
	}
	c->items[c->len] = (struct count){ .key = { str_dup(key), key.len }, .value = { str_dup(S("")), 0 } };
	return &c->items[c->len++];
}

bool count_set(struct count *item, struct str value) {
	if (value.len > COUNTS_TEXT_BYTES_MAX) {
		return false;
	}
	free((char *)item->value.ptr);
	item->value = (struct str){ str_dup(value), value.len };
	return true;
}
