/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - the watch cache of cache.h.
 *
 * Each cache has a lock that is held for a lookup, a reference or one change of the tree, never for more. The feed runs on the
 * store's thread; everything else on any thread. Reading an old revision undoes the ring's events on a copy of
 * the tree, which costs only the nodes that differ.
 */
#include "apiserver/cache.h"

#include "base/log.h"
#include "base/map.h"

#define RING_MIN 64
#define RING_MAX 16384
#define RING_BYTES ((size_t)16 << 20) /* of objects that only the ring still holds; beyond it the oldest go, but for RING_KEPT */
#define RING_KEPT 1024
#define EVENT_FRESH (75 * NSEC_PER_SEC)    /* the ring grows rather than drop what is younger, as upstream's */
#define COMPACT_AFTER (300 * NSEC_PER_SEC) /* upstream's compaction interval */
#define COMPACT_MARKS 16

struct ring_slot {
	struct cache_event *event;
	nsec_t at;
};

struct cache {
	struct cacher *cacher;
	struct str prefix; /* own copy */
	void *user;
	pthread_mutex_t lock;     /* guards what follows */
	struct tree_node *root;
	int64_t revision;         /* of the last change */
	struct ring_slot *ring;   /* cap is a power of two */
	size_t cap;
	uint64_t tail, head;      /* positions of the oldest event and of the next one */
	size_t ring_bytes;        /* of the states before and of deleted objects */
	int64_t oldest;           /* the ring leads back to this revision */
};

struct cacher {
	struct cacher_opts opts;
	struct store_watch *watch;
	VEC(struct cache *) caches;
	struct map by_prefix; /* the prefix without "/registry/" and the last '/' -> struct cache * */
	int64_t applied;      /* atomic */
	pthread_mutex_t lock; /* for `moved` and the marks */
	pthread_cond_t moved;
	int waiters;          /* atomic */
	struct {
		nsec_t at;
		int64_t revision;
	} marks[COMPACT_MARKS];
	size_t marks_len;
};

struct cache_event *cache_event_ref(struct cache_event *e) {
	__atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
	return e;
}

void cache_event_unref(struct cache_event *e) {
	if (e && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		tree_item_unref(e->now);
		tree_item_unref(e->before);
		free(e);
	}
}

/* ---- resource versions in frozen objects ------------------------------------------------------- */

#define STAMP_DIGITS 20

void obj_stamp_reserve(struct arena *a, struct value *root) {
	value_set_str(a, value_ensure_object(a, root, N_metadata), N_resourceVersion, S("00000000000000000000"));
}

void obj_stamp(struct obj *o, int64_t revision) {
	/* The object is still the writer's alone, so its block may be written to. */
	struct value *v = value_at(o->root, N_metadata, N_resourceVersion);
	char text[STAMP_DIGITS + 1];
	int n = snprintf(text, sizeof(text), "%lld", (long long)revision);

	assert(v && v->len >= (uint32_t)n);
	memcpy((char *)v->u.text, text, (size_t)n);
	v->len = (uint32_t)n;
	o->revision = revision;
}

struct obj *obj_at_revision(const struct obj *o, int64_t revision) {
	auto_arena struct arena a = { 0 };
	struct value *root = value_copy(&a, o->root);

	obj_stamp_reserve(&a, root);
	struct obj *c = obj_freeze(root, revision);
	obj_stamp(c, revision);
	return c;
}

/* ---- the ring ---------------------------------------------------------------------------------- */

static struct ring_slot *ring_at(struct cache *c, uint64_t position) {
	return &c->ring[position & (c->cap - 1)];
}

/* What an event keeps alive: the state before it, and for a deletion the last one. */
static size_t event_bytes(const struct cache_event *e) {
	return (e->before ? e->before->obj->bytes : 0) + (e->type == WATCH_DELETED ? e->now->obj->bytes : 0);
}

static void ring_drop(struct cache *c) {
	struct ring_slot *s = ring_at(c, c->tail++);

	c->ring_bytes -= event_bytes(s->event);
	c->oldest = s->event->revision;
	cache_event_unref(TAKE(s->event));
}

static void ring_grow(struct cache *c) {
	size_t cap = c->cap ? c->cap * 2 : RING_MIN;
	struct ring_slot *bigger = xcalloc(cap, sizeof(*bigger));

	for (uint64_t p = c->tail; p < c->head; p++) {
		bigger[p & (cap - 1)] = *ring_at(c, p);
	}
	free(c->ring);
	c->ring = bigger;
	c->cap = cap;
}

static void ring_push(struct cache *c, struct cache_event *e) {
	nsec_t now = clock_mono();

	if (c->head - c->tail == c->cap) {
		if (c->cap == 0 || (c->cap < RING_MAX && now - ring_at(c, c->tail)->at < EVENT_FRESH)) {
			ring_grow(c);
		} else {
			ring_drop(c);
		}
	}
	*ring_at(c, c->head++) = (struct ring_slot){ .event = e, .at = now };
	c->ring_bytes += event_bytes(e);
	while (c->ring_bytes > RING_BYTES && c->head - c->tail > RING_KEPT) {
		ring_drop(c);
	}
}

/* ---- the feed (store's thread) ------------------------------------------------------------------ */

#define REGISTRY "/registry/"

/* The cache whose prefix the key has: of one or two segments after "/registry/". *ret_key is what follows. */
static struct cache *cache_of(struct cacher *c, struct str key, struct str *ret_key) {
	struct str rest = str_from(key, sizeof(REGISTRY) - 1);
	ptrdiff_t slash = str_index(rest, '/');

	if (!str_starts(key, S(REGISTRY))) {
		return NULL;
	}
	for (int i = 0; i < 2 && slash > 0; i++) {
		struct cache *found = map_get(&c->by_prefix, str_sub(rest, 0, (size_t)slash));
		if (found) {
			*ret_key = str_from(rest, (size_t)slash + 1);
			return found;
		}
		ptrdiff_t next = str_index(str_from(rest, (size_t)slash + 1), '/');
		slash = next < 0 ? -1 : slash + 1 + next;
	}
	return NULL;
}

static struct obj *decode(struct cache *c, struct str key, struct str bytes, int64_t revision) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v = NULL;

	if (!c->cacher->opts.decode(c->user, &a, bytes, &v, &err)) {
		log_error("apiserver", "stored object cannot be read, left out", kv_str("key", key), kv_err(&err));
		return NULL;
	}
	obj_stamp_reserve(&a, v);
	struct obj *o = obj_freeze(v, revision);
	obj_stamp(o, revision);
	return o;
}

static void applied(struct cacher *c, int64_t revision) {
	__atomic_store_n(&c->applied, revision, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->waiters, __ATOMIC_SEQ_CST)) {
		pthread_mutex_lock(&c->lock);
		pthread_cond_broadcast(&c->moved);
		pthread_mutex_unlock(&c->lock);
	}
}

static void apply_event(struct cache *c, struct str key, const struct store_event *ev) {
	struct cache_event *e = xcalloc(1, sizeof(*e));

	e->refs = 1;
	e->revision = ev->revision;
	if (ev->value) {
		struct obj *o = ev->attachment ? obj_ref(ev->attachment)
					       : decode(c, ev->key, (struct str){ ev->value->bytes, ev->value->len }, ev->revision);
		if (!o) {
			free(e);
			return;
		}
		e->now = tree_item_new(key, o);
		obj_unref(o);
		pthread_mutex_lock(&c->lock);
		e->before = tree_put(&c->root, tree_item_ref(e->now));
		e->type = e->before ? WATCH_MODIFIED : WATCH_ADDED;
	} else {
		pthread_mutex_lock(&c->lock);
		e->before = tree_remove(&c->root, key);
		e->type = WATCH_DELETED;
		if (!e->before) {
			pthread_mutex_unlock(&c->lock);
			free(e);
			return;
		}
		struct obj *last = ev->attachment ? obj_ref(ev->attachment) : obj_at_revision(e->before->obj, ev->revision);
		e->now = tree_item_new(key, last);
		obj_unref(last);
	}
	c->revision = ev->revision;
	ring_push(c, e);
	pthread_mutex_unlock(&c->lock);
}

static void on_store_event(void *arg, const struct store_event *ev, int64_t revision) {
	struct cacher *c = arg;
	struct str key;

	if (ev) {
		struct cache *cache = cache_of(c, ev->key, &key);
		if (cache) {
			apply_event(cache, key, ev);
		}
	}
	if (revision > __atomic_load_n(&c->applied, __ATOMIC_SEQ_CST)) {
		applied(c, revision);
	}
	if (ev && c->opts.on_change) {
		c->opts.on_change(c->opts.arg);
	}
}

static bool on_scanned(void *arg, const struct kv *kv) {
	struct cacher *c = arg;
	struct str key;
	struct cache *cache = cache_of(c, kv->key, &key);

	if (cache && kv->value) {
		struct obj *o = decode(cache, kv->key, (struct str){ kv->value->bytes, kv->value->len }, kv->mod_rev);
		if (o) {
			tree_item_unref(tree_put(&cache->root, tree_item_new(key, o)));
			obj_unref(o);
		}
	}
	return true;
}

/* ---- life --------------------------------------------------------------------------------------- */

struct cacher *cacher_new(const struct cacher_opts *opts) {
	struct cacher *c = xcalloc(1, sizeof(*c));

	c->opts = *opts;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->moved, &attr);
	pthread_condattr_destroy(&attr);
	return c;
}

struct cache *cacher_add(struct cacher *c, struct str prefix, void *user) {
	struct cache *k = xcalloc(1, sizeof(*k));

	assert(!c->watch && str_starts(prefix, S(REGISTRY)) && str_ends(prefix, S("/")));
	k->cacher = c;
	k->prefix = (struct str){ str_dup(prefix), prefix.len };
	k->user = user;
	pthread_mutex_init(&k->lock, NULL);
	VEC_PUSH(&c->caches, k);
	map_set(&c->by_prefix, str_sub(k->prefix, sizeof(REGISTRY) - 1, k->prefix.len - 1), k);
	return k;
}

bool cacher_start(struct cacher *c, struct err *err) {
	int64_t revision = 0;

	if (!store_scan(c->opts.store, S("/registry/"), S("/registry0"), on_scanned, c, &revision, err)) {
		return err_wrap(err, "fill the watch caches");
	}
	VEC_EACH(&c->caches, k) {
		(*k)->revision = (*k)->oldest = revision;
	}
	__atomic_store_n(&c->applied, revision, __ATOMIC_SEQ_CST);
	struct store_watch_opts w = { .prefix = S("/registry/"), .from = revision + 1, .on_event = on_store_event, .arg = c };
	return store_watch(c->opts.store, &w, &c->watch, err);
}

void cacher_free(struct cacher *c) {
	if (!c) {
		return;
	}
	if (c->watch) {
		store_watch_cancel(c->watch);
	}
	VEC_EACH(&c->caches, k) {
		while ((*k)->tail < (*k)->head) {
			ring_drop(*k);
		}
		free((*k)->ring);
		tree_unref((*k)->root);
		pthread_mutex_destroy(&(*k)->lock);
		free((char *)(*k)->prefix.ptr);
		free(*k);
	}
	VEC_RELEASE(&c->caches);
	map_release(&c->by_prefix);
	pthread_cond_destroy(&c->moved);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int64_t cacher_revision(struct cacher *c) {
	return __atomic_load_n(&c->applied, __ATOMIC_SEQ_CST);
}

bool cacher_wait(struct cacher *c, int64_t revision, nsec_t timeout) {
	nsec_t until = clock_mono() + timeout;

	if (cacher_revision(c) >= revision) {
		return true;
	}
	pool_wait_begin();
	__atomic_add_fetch(&c->waiters, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&c->lock);
	while (cacher_revision(c) < revision && clock_mono() < until) {
		struct timespec ts = { .tv_sec = until / NSEC_PER_SEC, .tv_nsec = until % NSEC_PER_SEC };
		pthread_cond_timedwait(&c->moved, &c->lock, &ts);
	}
	pthread_mutex_unlock(&c->lock);
	__atomic_sub_fetch(&c->waiters, 1, __ATOMIC_SEQ_CST);
	pool_wait_end();
	return cacher_revision(c) >= revision;
}

void cacher_compact(struct cacher *c) {
	nsec_t now = clock_mono();
	int64_t before = 0;

	pthread_mutex_lock(&c->lock);
	while (c->marks_len && now - c->marks[0].at >= COMPACT_AFTER) {
		before = c->marks[0].revision;
		memmove(&c->marks[0], &c->marks[1], --c->marks_len * sizeof(c->marks[0]));
	}
	if (c->marks_len < COMPACT_MARKS) {
		c->marks[c->marks_len].at = now;
		c->marks[c->marks_len++].revision = cacher_revision(c);
	}
	pthread_mutex_unlock(&c->lock);
	if (!before) {
		return;
	}
	VEC_EACH(&c->caches, k) {
		pthread_mutex_lock(&(*k)->lock);
		while ((*k)->tail < (*k)->head && ring_at(*k, (*k)->tail)->event->revision <= before) {
			ring_drop(*k);
		}
		(*k)->oldest = MAX((*k)->oldest, before);
		pthread_mutex_unlock(&(*k)->lock);
	}
}

size_t cacher_len(const struct cacher *c) {
	return c->caches.len;
}

struct cache *cacher_at(const struct cacher *c, size_t i) {
	return c->caches.at[i];
}

/* ---- reading ------------------------------------------------------------------------------------- */

struct str cache_prefix(const struct cache *c) {
	return c->prefix;
}

void *cache_user(const struct cache *c) {
	return c->user;
}

struct obj *cache_get(struct cache *c, struct str key) {
	pthread_mutex_lock(&c->lock);
	struct tree_item *i = tree_get(c->root, key);
	struct obj *o = i ? obj_ref(i->obj) : NULL;
	pthread_mutex_unlock(&c->lock);
	return o;
}

size_t cache_len(struct cache *c) {
	pthread_mutex_lock(&c->lock);
	size_t n = tree_len(c->root);
	pthread_mutex_unlock(&c->lock);
	return n;
}

void cache_snapshot(struct cache *c, struct snapshot *ret) {
	/* Read first: whatever is applied by now is in the tree once we hold the lock. */
	int64_t all = cacher_revision(c->cacher);

	pthread_mutex_lock(&c->lock);
	ret->root = tree_ref(c->root);
	ret->revision = MAX(all, c->revision);
	ret->position = c->head;
	pthread_mutex_unlock(&c->lock);
}

bool cache_snapshot_at(struct cache *c, int64_t revision, struct snapshot *ret, struct err *err) {
	struct snapshot s = { 0 };

	pthread_mutex_lock(&c->lock);
	if (revision < c->oldest) {
		pthread_mutex_unlock(&c->lock);
		return err_set(err, ERR_EXPIRED, "The resourceVersion for the provided list is too old.");
	}
	s.root = tree_ref(c->root);
	s.revision = revision;
	s.position = c->head;
	while (s.position > c->tail && ring_at(c, s.position - 1)->event->revision > revision) {
		const struct cache_event *e = ring_at(c, --s.position)->event;
		if (e->before) {
			tree_item_unref(tree_put(&s.root, tree_item_ref(e->before)));
		} else {
			tree_item_unref(tree_remove(&s.root, tree_key(e->now)));
		}
	}
	pthread_mutex_unlock(&c->lock);
	*ret = s;
	return true;
}

void snapshot_release(struct snapshot *s) {
	tree_unref(TAKE(s->root));
}

bool cache_position(struct cache *c, int64_t revision, uint64_t *ret, struct err *err) {
	pthread_mutex_lock(&c->lock);
	if (revision < c->oldest) {
		int64_t oldest = c->oldest;
		pthread_mutex_unlock(&c->lock);
		return err_set(err, ERR_EXPIRED, "too old resource version: %lld (%lld)", (long long)revision, (long long)oldest);
	}
	uint64_t low = c->tail, high = c->head; /* the first event newer than `revision` lies in [low, high] */
	while (low < high) {
		uint64_t mid = low + (high - low) / 2;
		if (ring_at(c, mid)->event->revision > revision) {
			high = mid;
		} else {
			low = mid + 1;
		}
	}
	*ret = low;
	pthread_mutex_unlock(&c->lock);
	return true;
}

uint64_t cache_head(struct cache *c) {
	pthread_mutex_lock(&c->lock);
	uint64_t head = c->head;
	pthread_mutex_unlock(&c->lock);
	return head;
}

int cache_events(struct cache *c, uint64_t position, struct cache_event **ret, int max) {
	int n = 0;

	pthread_mutex_lock(&c->lock);
	if (position < c->tail) {
		pthread_mutex_unlock(&c->lock);
		return -1;
	}
	for (; n < max && position + (uint64_t)n < c->head; n++) {
		ret[n] = cache_event_ref(ring_at(c, position + (uint64_t)n)->event);
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}
