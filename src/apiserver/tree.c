/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.c - the persistent treap of tree.h.
 *
 * A node's priority is a hash of its key, so that the shape depends on the keys alone. A node is changed in place when its only
 * reference comes from a parent that the writer owns too; else it is copied (`own`). Called with the cache's lock held for
 * changes, by any thread for reads.
 */
#include "apiserver/tree.h"

struct tree_node {
	uint32_t refs; /* atomic */
	uint32_t size; /* nodes below, itself included */
	uint64_t prio;
	struct tree_node *left, *right; /* one reference each */
	struct tree_item *item;         /* one reference */
};

struct tree_item *tree_item_new(struct str key, struct obj *o) {
	struct tree_item *i = xmalloc(sizeof(*i) + key.len);

	i->refs = 1;
	i->key_len = (uint32_t)key.len;
	i->obj = obj_ref(o);
	if (key.len) {
		memcpy(i->key_bytes, key.ptr, key.len);
	}
	return i;
}

struct tree_item *tree_item_ref(struct tree_item *i) {
	if (i) {
		__atomic_add_fetch(&i->refs, 1, __ATOMIC_RELAXED);
	}
	return i;
}

void tree_item_unref(struct tree_item *i) {
	if (i && __atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		obj_unref(i->obj);
		free(i);
	}
}

struct tree_node *tree_ref(struct tree_node *n) {
	if (n) {
		__atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
	}
	return n;
}

void tree_unref(struct tree_node *n) {
	/* Loops to the right and calls itself to the left: the stack stays as deep as the tree. */
	while (n && __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		struct tree_node *right = n->right;

		tree_unref(n->left);
		tree_item_unref(n->item);
		free(n);
		n = right;
	}
}

/* A node that the writer may change: the same one, or a copy that takes over the caller's reference. */
static struct tree_node *own(struct tree_node *n) {
	if (__atomic_load_n(&n->refs, __ATOMIC_ACQUIRE) == 1) {
		return n;
	}
	struct tree_node *c = xmalloc(sizeof(*c));
	*c = (struct tree_node){ .refs = 1,
		.size = n->size,
		.prio = n->prio,
		.left = tree_ref(n->left),
		.right = tree_ref(n->right),
		.item = tree_item_ref(n->item) };
	tree_unref(n);
	return c;
}

static uint32_t size_of(const struct tree_node *n) {
	return n ? n->size : 0;
}

static void measure(struct tree_node *n) {
	n->size = size_of(n->left) + size_of(n->right) + 1;
}

/* Both give back the new top; `n` and the child that rises are owned. */
static struct tree_node *rotate_right(struct tree_node *n) {
	struct tree_node *up = n->left;

	n->left = up->right;
	measure(n);
	up->right = n;
	measure(up);
	return up;
}

static struct tree_node *rotate_left(struct tree_node *n) {
	struct tree_node *up = n->right;

	n->right = up->left;
	measure(n);
	up->left = n;
	measure(up);
	return up;
}

static struct tree_node *put(struct tree_node *n, struct tree_item *item, uint64_t prio, struct tree_item **old) {
	if (!n) {
		n = xmalloc(sizeof(*n));
		*n = (struct tree_node){ .refs = 1, .size = 1, .prio = prio, .item = item };
		return n;
	}
	n = own(n);
	int c = str_cmp(tree_key(item), tree_key(n->item));
	if (c == 0) {
		*old = n->item;
		n->item = item;
	} else if (c < 0) {
		n->left = put(n->left, item, prio, old);
		measure(n);
		if (n->left->prio > n->prio) {
			n = rotate_right(n);
		}
	} else {
		n->right = put(n->right, item, prio, old);
		measure(n);
		if (n->right->prio > n->prio) {
			n = rotate_left(n);
		}
	}
	return n;
}

struct tree_item *tree_put(struct tree_node **root, struct tree_item *item) {
	struct tree_item *old = NULL;

	*root = put(*root, item, str_hash(tree_key(item)), &old);
	return old;
}

/* Joins two trees, all keys of `a` being smaller; takes both references. */
static struct tree_node *merge(struct tree_node *a, struct tree_node *b) {
	if (!a || !b) {
		return a ? a : b;
	}
	if (a->prio > b->prio) {
		a = own(a);
		a->right = merge(a->right, b);
		measure(a);
		return a;
	}
	b = own(b);
	b->left = merge(a, b->left);
	measure(b);
	return b;
}

static struct tree_node *remove_key(struct tree_node *n, struct str key, struct tree_item **old) {
	n = own(n);
	int c = str_cmp(key, tree_key(n->item));
	if (c == 0) {
		struct tree_node *left = TAKE(n->left), *right = TAKE(n->right);
		*old = TAKE(n->item);
		tree_unref(n);
		return merge(left, right);
	}
	if (c < 0) {
		n->left = remove_key(n->left, key, old);
	} else {
		n->right = remove_key(n->right, key, old);
	}
	measure(n);
	return n;
}

struct tree_item *tree_remove(struct tree_node **root, struct str key) {
	struct tree_item *old = NULL;

	if (tree_get(*root, key)) { /* so that a miss copies nothing */
		*root = remove_key(*root, key, &old);
	}
	return old;
}

struct tree_item *tree_get(const struct tree_node *n, struct str key) {
	while (n) {
		int c = str_cmp(key, tree_key(n->item));
		if (c == 0) {
			return n->item;
		}
		n = c < 0 ? n->left : n->right;
	}
	return NULL;
}

size_t tree_len(const struct tree_node *root) {
	return size_of(root);
}

size_t tree_rank(const struct tree_node *n, struct str key) {
	size_t rank = 0;

	while (n) {
		if (str_cmp(key, tree_key(n->item)) <= 0) {
			n = n->left;
		} else {
			rank += size_of(n->left) + 1;
			n = n->right;
		}
	}
	return rank;
}

void tree_seek(struct tree_iter *it, const struct tree_node *n, struct str from) {
	it->depth = 0;
	while (n) {
		if (str_cmp(tree_key(n->item), from) >= 0) {
			assert(it->depth < ARRAY_LEN(it->stack));
			it->stack[it->depth++] = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
}

struct tree_item *tree_next(struct tree_iter *it) {
	if (it->depth == 0) {
		return NULL;
	}
	const struct tree_node *n = it->stack[--it->depth];
	struct tree_item *item = n->item;
	for (n = n->right; n; n = n->left) {
		assert(it->depth < ARRAY_LEN(it->stack));
		it->stack[it->depth++] = n;
	}
	return item;
}
