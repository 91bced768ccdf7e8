/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes.h - bytes that many connections send without a copy of their own: one encoding of an event
 * serves a thousand watchers. Counted; frozen once made; any thread.
 */
#ifndef NET_BYTES_H
#define NET_BYTES_H

#include "base/str.h"

struct net_bytes {
	uint32_t refs;       /* atomic */
	uint32_t slices_len;
	size_t len;          /* of all slices */
	void (*on_free)(void *owner); /* NULL: the slices point into this allocation */
	void *owner;
	struct str slices[]; /* sent one after another */
};

struct net_bytes *net_bytes_new(struct str bytes); /* copies */
/* Joins copies of the parts in one allocation. */
struct net_bytes *net_bytes_join(const struct str *parts, size_t n);
/* Borrows the parts from `owner` until on_free(owner), called once by whichever thread drops the last reference. */
struct net_bytes *net_bytes_wrap(const struct str *parts, size_t n, void (*on_free)(void *owner), void *owner);
struct net_bytes *net_bytes_ref(struct net_bytes *b);
void net_bytes_unref(struct net_bytes *b); /* NULL is fine */

#endif
