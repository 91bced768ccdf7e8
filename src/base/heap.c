/* SPDX-License-Identifier: Apache-2.0 */
/* heap.c - see heap.h. */
#include "base/heap.h"

#include "base/vec.h"

static void place(struct heap *h, size_t i, struct heap_node *n) {
	h->nodes[i] = n;
	n->index = i + 1;
}

static void up(struct heap *h, size_t i, struct heap_node *n) {
	while (i && h->nodes[(i - 1) / 2]->at > n->at) {
		place(h, i, h->nodes[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(h, i, n);
}

static void down(struct heap *h, size_t i, struct heap_node *n) {
	for (;;) {
		size_t c = 2 * i + 1;
		if (c >= h->len) {
			break;
		}
		if (c + 1 < h->len && h->nodes[c + 1]->at < h->nodes[c]->at) {
			c++;
		}
		if (h->nodes[c]->at >= n->at) {
			break;
		}
		place(h, i, h->nodes[c]);
		i = c;
	}
	place(h, i, n);
}

void heap_push(struct heap *h, struct heap_node *n) {
	assert(!n->index);
	h->nodes = vec_grow(h->nodes, &h->cap, h->len + 1, sizeof(*h->nodes));
	h->len++;
	up(h, h->len - 1, n);
}

void heap_remove(struct heap *h, struct heap_node *n) {
	if (!n->index) {
		return;
	}
	size_t i = n->index - 1;
	struct heap_node *last = h->nodes[--h->len];
	n->index = 0;
	if (last == n) {
		return;
	}
	if (i && h->nodes[(i - 1) / 2]->at > last->at) {
		up(h, i, last);
	} else {
		down(h, i, last);
	}
}

struct heap_node *heap_min(const struct heap *h) {
	return h->len ? h->nodes[0] : NULL;
}

struct heap_node *heap_pop(struct heap *h) {
	struct heap_node *n = heap_min(h);
	if (n) {
		heap_remove(h, n);
	}
	return n;
}

void heap_release(struct heap *h) {
	free(h->nodes);
	*h = (struct heap){ 0 };
}
