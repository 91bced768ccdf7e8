/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h - an ordered map from key to object that can be copied in O(1): a persistent treap. Whoever holds a root sees the
 * map as it was, whatever the writer does meanwhile; nodes that nobody else holds are changed in place.
 *
 * A root is a `struct tree_node *`, NULL when empty, with one reference for its holder. Reading needs no lock. Changing
 * a root and taking a reference to it exclude each other (the cache's lock); dropping a reference may happen at any time.
 */
#ifndef APISERVER_TREE_H
#define APISERVER_TREE_H

#include "value/value.h"

struct tree_item {
	uint32_t refs; /* atomic */
	uint32_t key_len;
	struct obj *obj; /* one reference */
	char key_bytes[];
};
static inline struct str tree_key(const struct tree_item *i) {
	return (struct str){ i->key_bytes, i->key_len };
}
struct tree_item *tree_item_new(struct str key, struct obj *o); /* copies the key, takes a reference of its own to o */
struct tree_item *tree_item_ref(struct tree_item *i);
void tree_item_unref(struct tree_item *i); /* NULL is fine */

struct tree_node;
struct tree_node *tree_ref(struct tree_node *root); /* NULL is fine */
void tree_unref(struct tree_node *root);            /* NULL is fine */

/* Puts `item` (takes the reference) under its key. Returns what stood there before, with its reference, or NULL. */
struct tree_item *tree_put(struct tree_node **root, struct tree_item *item);
/* Takes the key out and returns what stood there, with its reference, or NULL. */
struct tree_item *tree_remove(struct tree_node **root, struct str key);

struct tree_item *tree_get(const struct tree_node *root, struct str key); /* borrowed from the tree; NULL when absent */
size_t tree_len(const struct tree_node *root);
size_t tree_rank(const struct tree_node *root, struct str key); /* how many keys are smaller */

/* In key order, from the first key >= `from`: for (tree_seek(&it, root, from); (i = tree_next(&it));). Borrows the root. */
struct tree_iter {
	const struct tree_node *stack[128]; /* a treap of 2^32 nodes is that deep with a chance below 2^-60 */
	size_t depth;
};
void tree_seek(struct tree_iter *it, const struct tree_node *root, struct str from);
struct tree_item *tree_next(struct tree_iter *it); /* borrowed; NULL at the end */

#endif
