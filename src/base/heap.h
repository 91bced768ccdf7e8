/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap.h - a binary heap of embedded nodes (timers, delayed queues): the smallest `at` first. The
 * node remembers its place, so that removing any node is O(log n).
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/util.h"

struct heap_node {
	int64_t at;   /* the order */
	size_t index; /* place + 1; 0 when in no heap */
};
struct heap {
	struct heap_node **nodes;
	size_t len, cap;
};

void heap_push(struct heap *h, struct heap_node *n);
void heap_remove(struct heap *h, struct heap_node *n); /* harmless when in no heap */
struct heap_node *heap_min(const struct heap *h);      /* NULL when empty */
struct heap_node *heap_pop(struct heap *h);
void heap_release(struct heap *h);

#endif
