/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.c - see bytes.h. */
#include "net/bytes.h"

static struct net_bytes *alloc(size_t slices, size_t extra) {
	struct net_bytes *b = xmalloc(sizeof(*b) + slices * sizeof(struct str) + extra);
	*b = (struct net_bytes){ .refs = 1, .slices_len = (uint32_t)slices };
	return b;
}

struct net_bytes *net_bytes_join(const struct str *parts, size_t n) {
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		len += parts[i].len;
	}
	struct net_bytes *b = alloc(1, len);
	char *p = (char *)&b->slices[1];
	b->slices[0] = (struct str){ p, len };
	b->len = len;
	for (size_t i = 0; i < n; i++) {
		if (parts[i].len) {
			p = mempcpy(p, parts[i].ptr, parts[i].len);
		}
	}
	return b;
}

struct net_bytes *net_bytes_new(struct str bytes) {
	return net_bytes_join(&bytes, 1);
}

struct net_bytes *net_bytes_wrap(const struct str *parts, size_t n, void (*on_free)(void *owner), void *owner) {
	struct net_bytes *b = alloc(n, 0);
	for (size_t i = 0; i < n; i++) {
		b->slices[i] = parts[i];
		b->len += parts[i].len;
	}
	b->on_free = on_free;
	b->owner = owner;
	return b;
}

struct net_bytes *net_bytes_ref(struct net_bytes *b) {
	__atomic_add_fetch(&b->refs, 1, __ATOMIC_RELAXED);
	return b;
}

void net_bytes_unref(struct net_bytes *b) {
	if (b && __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		if (b->on_free) {
			b->on_free(b->owner);
		}
		free(b);
	}
}
