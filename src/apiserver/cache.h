/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - the watch cache: for each stored resource an ordered map of its objects and a ring of its latest events. All
 * reads, lists and watches are served from here; the store is only written, and read once at start.
 *
 * The store's thread feeds it: an event is in the cache before the writer that caused it is answered, so a read that
 * follows a write sees it. Readers take a snapshot in O(1) and never block the feed.
 *
 * Keys here are relative to the resource's prefix: "ns/name" or "name".
 */
#ifndef APISERVER_CACHE_H
#define APISERVER_CACHE_H

#include <pthread.h>

#include "apiserver/tree.h"
#include "client/client.h"
#include "store/store.h"

struct cache_event {
	uint32_t refs;           /* atomic */
	enum watch_event type;   /* WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED */
	int64_t revision;
	struct tree_item *now;   /* DELETED: the last state, with the deletion's resourceVersion */
	struct tree_item *before; /* NULL when ADDED */
};
struct cache_event *cache_event_ref(struct cache_event *e);
void cache_event_unref(struct cache_event *e);

/* The caches of all resources, and their feed from the store. */
struct cacher;
/* One resource's. */
struct cache;

struct cacher_opts {
	struct store *store; /* borrowed */
	/* Decodes a stored value into `a` (canonical, in the stored version, without resourceVersion). Any thread. */
	bool (*decode)(void *user, struct arena *a, struct str bytes, struct value **ret, struct err *err);
	/* An event went into a cache; called on the store's thread after it can be read. Must be quick. */
	void (*on_change)(void *arg);
	void *arg;
};
struct cacher *cacher_new(const struct cacher_opts *opts);
/* Before cacher_start. `prefix` begins with "/registry/" and ends with '/'; `user` is given to decode. */
struct cache *cacher_add(struct cacher *c, struct str prefix, void *user);
NODISCARD bool cacher_start(struct cacher *c, struct err *err); /* fills the caches and follows the store from there */
void cacher_free(struct cacher *c);                             /* stops following first */
int64_t cacher_revision(struct cacher *c);                      /* newest applied */
/* Waits until the newest applied revision is at least `revision`; false after `timeout`. Blocks. */
bool cacher_wait(struct cacher *c, int64_t revision, nsec_t timeout);
/* Forgets what is older than about five minutes: continue tokens and watches from before get Expired. Called every minute or so. */
void cacher_compact(struct cacher *c);
size_t cacher_len(const struct cacher *c);
struct cache *cacher_at(const struct cacher *c, size_t i);

struct str cache_prefix(const struct cache *c);
void *cache_user(const struct cache *c);
struct obj *cache_get(struct cache *c, struct str key); /* one reference, or NULL */
size_t cache_len(struct cache *c);

struct snapshot {
	struct tree_node *root; /* one reference: snapshot_release */
	int64_t revision;       /* nothing newer is in it, nothing older is missing */
	uint64_t position;      /* of the next event after it, for a watch that goes on from here */
};
void cache_snapshot(struct cache *c, struct snapshot *ret);
/* As it was at `revision`, which must not be newer than the store. Fails: ERR_EXPIRED when the ring does not go back that far. */
NODISCARD bool cache_snapshot_at(struct cache *c, int64_t revision, struct snapshot *ret, struct err *err);
void snapshot_release(struct snapshot *s);

/* Position of the first event after `revision`. Fails: ERR_EXPIRED ("too old resource version: 1 (5)"). */
NODISCARD bool cache_position(struct cache *c, int64_t revision, uint64_t *ret, struct err *err);
uint64_t cache_head(struct cache *c); /* position of the next event to come */
/*
 * References to at most `max` events from `position` on. Returns how many, 0 when there are none yet; -1 when the ring has passed it.
 */
int cache_events(struct cache *c, uint64_t position, struct cache_event **ret, int max);

/* A frozen copy of `o` whose metadata.resourceVersion and revision are `revision`. */
struct obj *obj_at_revision(const struct obj *o, int64_t revision);
/* Makes room for obj_stamp: sets a placeholder as metadata.resourceVersion before obj_freeze. */
void obj_stamp_reserve(struct arena *a, struct value *root);
/* Writes the revision into an object frozen after obj_stamp_reserve and not shared yet. */
void obj_stamp(struct obj *o, int64_t revision);

#endif
