/* SPDX-License-Identifier: Apache-2.0 */
/*
 * informer.h - a local, always current copy of a resource: the state first, then changes; again from
 * the start when the watch is too old, with back-off while the server is away. Owned by one loop, on
 * which the handlers run. The copy may be read from any thread: what it returns is counted and frozen.
 */
#ifndef CLIENT_INFORMER_H
#define CLIENT_INFORMER_H

#include "client/client.h"

struct informer;
struct informer_opts {
	struct client *client; /* borrowed */
	struct loop *loop;
	struct gvr gvr;        /* its texts must outlive the informer */
	struct str ns, label_selector, field_selector; /* copied */
	/*
	 * Any may be NULL. `old` is NULL for an add, `now` is NULL for a delete. After a list again, what vanished meanwhile comes as deletes. The
	 * cache already shows the new state.
	 */
	void (*on_change)(void *arg, struct obj *old, struct obj *now);
	void (*on_synced)(void *arg); /* once, when the first list is in */
	void *arg;
	/* Secondary index: appends the keys under which informer_index() finds `o` (e.g. owner uid, node name). At most 16 are kept. */
	void (*index)(const struct obj *o, struct arena *a, void (*add)(void *ctx, struct str key), void *ctx);
	/* The resource does not exist on the server (any more): called on each 404 or 405, the informer tries on. May be NULL. */
	void (*on_missing)(void *arg);
};
struct informer *informer_start(const struct informer_opts *opts); /* any thread */
/* On its loop but not from its handlers, or after the loop has stopped; frees i. */
void informer_stop(struct informer *i);
bool informer_synced(const struct informer *i); /* any thread */

struct obj *informer_get(struct informer *i, struct str ns, struct str name); /* one reference, or NULL; any thread */
/* All of namespace `ns` (empty: all), one reference each: client_list_release(). Any thread. */
void informer_list(struct informer *i, struct str ns, struct client_list *ret);
void informer_index(struct informer *i, struct str key, struct client_list *ret);
size_t informer_len(struct informer *i); /* objects held; any thread */

/* "ns/name", or "name" when cluster-scoped; in the arena. */
struct str obj_key(struct arena *a, const struct obj *o);
void key_split(struct str key, struct str *ret_ns, struct str *ret_name);

#endif
