/* SPDX-License-Identifier: Apache-2.0 */
/*
 * informer.c - keeps a copy of one resource current.
 *
 * The copy is written by the informer's loop and read from any thread, under one reader-writer lock;
 * everything else belongs to the loop. Handlers are called on the loop, without the lock.
 *
 * States: a STREAM watch that begins with the state now; when the server cannot do that, a LIST on a
 * pool thread and a WATCH from its revision. A watch that ends is started again from the last revision seen;
 * one that is too old (410) begins anew. Objects carry the generation of the (re)start that
 * showed them, so that what a restart did not show is known to be gone.
 */
#include "client/informer.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/map.h"

#define RETRY_FIRST (50 * NSEC_PER_MSEC)
#define RETRY_MAX (5 * NSEC_PER_SEC)
#define INDEX_KEYS_MAX 16

enum informer_state { INFORMER_STREAM, INFORMER_LIST, INFORMER_WATCH, INFORMER_WAIT };

struct slot_ref {
	struct entry *entry;
	size_t slot; /* which of entry->slots stands here */
};
struct bucket {
	struct str key; /* owned by the map entry */
	VEC(struct slot_ref) refs;
};
struct slot {
	struct bucket *bucket;
	size_t at; /* in bucket->refs */
};
struct entry {
	struct obj *o;
	uint64_t generation;
	size_t slots_len;
	struct slot slots[1 + INDEX_KEYS_MAX]; /* trimmed on allocation: [0] is the namespace */
};

struct informer {
	struct informer_opts opts;
	struct str ns, label_selector, field_selector; /* owned */
	pthread_rwlock_t lock; /* over by_key, buckets and their content */
	struct map by_key;     /* "ns/name" -> struct entry */
	struct map by_ns;      /* -> struct bucket */
	struct map by_index;   /* -> struct bucket */

	/* of the loop */
	enum informer_state state;
	struct client_watch *watch;
	struct loop_timer timer;
	uint64_t generation;
	bool initial;     /* a watch from scratch has not reached its end mark yet */
	bool no_stream;   /* the server does not know initial events */
	bool notified;
	int64_t revision; /* last seen; 0: start anew */
	int failures;
	struct list_job *list;
	atomic_bool synced;
};

/* ---- keys ------------------------------------------------------------------------------------------ */

struct str obj_key(struct arena *a, const struct obj *o) {
	const struct value *meta = value_get(o->root, N_metadata);
	struct str ns = value_str_at(meta, N_namespace), name = value_str_at(meta, N_name);

	return ns.len ? arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : arena_str(a, name);
}

void key_split(struct str key, struct str *ret_ns, struct str *ret_name) {
	struct str head, tail;

	if (str_cut(key, '/', &head, &tail)) {
		*ret_ns = head;
		*ret_name = tail;
	} else {
		*ret_ns = S("");
		*ret_name = key;
	}
}

/* ---- the copy ---------------------------------------------------------------------------------------- */

static struct bucket *bucket_for(struct map *m, struct str key) {
	struct bucket *b = map_get(m, key);

	if (!b) {
		b = xcalloc(1, sizeof(*b));
		b->key = (struct str){ str_dup(key), key.len };
		map_set(m, key, b);
	}
	return b;
}

static void bucket_free(struct map *m, struct bucket *b) {
	map_remove(m, b->key);
	VEC_RELEASE(&b->refs);
	free((char *)b->key.ptr);
	free(b);
}

static void bucket_add(struct bucket *b, struct entry *e, size_t slot) {
	e->slots[slot] = (struct slot){ b, b->refs.len };
	VEC_PUSH(&b->refs, ((struct slot_ref){ e, slot }));
}

static void entry_unindex(struct informer *i, struct entry *e) {
	for (size_t s = 0; s < e->slots_len; s++) {
		struct bucket *b = e->slots[s].bucket;
		size_t at = e->slots[s].at;

		b->refs.at[at] = b->refs.at[b->refs.len - 1];
		b->refs.at[at].entry->slots[b->refs.at[at].slot].at = at;
		b->refs.len--;
		if (b->refs.len == 0) {
			bucket_free(s == 0 ? &i->by_ns : &i->by_index, b);
		}
	}
	e->slots_len = 0;
}

struct index_keys {
	struct str at[INDEX_KEYS_MAX];
	size_t len;
};
static void index_key_add(void *ctx, struct str key) {
	struct index_keys *k = ctx;

	if (k->len < INDEX_KEYS_MAX) {
		k->at[k->len++] = key;
	}
}

static struct entry *entry_make(struct informer *i, struct obj *o, const struct index_keys *keys) {
	struct entry *e = xcalloc(1, offsetof(struct entry, slots) + (1 + keys->len) * sizeof(struct slot));

	e->o = obj_ref(o);
	e->generation = i->generation;
	e->slots_len = 1 + keys->len;
	bucket_add(bucket_for(&i->by_ns, value_str_at(o->root, N_metadata, N_namespace)), e, 0);
	for (size_t k = 0; k < keys->len; k++) {
		bucket_add(bucket_for(&i->by_index, keys->at[k]), e, 1 + k);
	}
	return e;
}

static void entry_free(struct entry *e) {
	obj_unref(e->o);
	free(e);
}

/* Puts (o) or removes (NULL) what stands under `key`; gives the old object's reference to the caller. */
static struct obj *copy_put(struct informer *i, struct str key, struct obj *o) {
	auto_arena struct arena a = { 0 };
	struct index_keys keys = { 0 };
	struct obj *old = NULL;

	if (o && i->opts.index) {
		i->opts.index(o, &a, index_key_add, &keys);
	}
	pthread_rwlock_wrlock(&i->lock);
	struct entry *was = map_get(&i->by_key, key);
	if (was) {
		old = obj_ref(was->o);
		entry_unindex(i, was);
		entry_free(was);
	}
	if (o) {
		map_set(&i->by_key, key, entry_make(i, o, &keys));
	} else {
		map_remove(&i->by_key, key);
	}
	pthread_rwlock_unlock(&i->lock);
	return old;
}

static void notify(struct informer *i, struct obj *old, struct obj *now) {
	if (i->opts.on_change) {
		i->opts.on_change(i->opts.arg, old, now);
	}
}

static void put(struct informer *i, struct obj *o) {
	auto_arena struct arena a = { 0 };
	struct str key = obj_key(&a, o);
	struct entry *was = map_get(&i->by_key, key); /* only this thread writes */

	if (was && o->revision != 0 && was->o->revision == o->revision &&
		str_eq(value_str_at(was->o->root, N_metadata, N_uid), value_str_at(o->root, N_metadata, N_uid))) {
		was->generation = i->generation; /* shown again by a restart, unchanged */
		return;
	}
	auto_obj struct obj *old = copy_put(i, key, o);
	if (old && !str_eq(value_str_at(old->root, N_metadata, N_uid), value_str_at(o->root, N_metadata, N_uid))) {
		/* deleted and made again while we did not look */
		notify(i, old, NULL);
		notify(i, NULL, o);
		return;
	}
	notify(i, old, o);
}

static void drop(struct informer *i, struct obj *o) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *old = copy_put(i, obj_key(&a, o), NULL);

	if (old) {
		notify(i, o, NULL); /* the last state, as the event shows it */
	}
}

/* Ends a (re)start: what it did not show is gone. */
static void sweep(struct informer *i) {
	VEC(struct obj *) gone = { 0 };

	MAP_EACH(&i->by_key, m) {
		struct entry *e = m->value;
		if (e->generation != i->generation) {
			VEC_PUSH(&gone, obj_ref(e->o));
		}
	}
	VEC_EACH(&gone, o) {
		drop(i, *o);
		obj_unref(*o);
	}
	VEC_RELEASE(&gone);
	i->initial = false;
	i->failures = 0;
	atomic_store(&i->synced, true);
	if (!i->notified) {
		i->notified = true;
		if (i->opts.on_synced) {
			i->opts.on_synced(i->opts.arg);
		}
	}
}

/* ---- list, watch, and again ------------------------------------------------------------------------------ */

static void connect_now(struct informer *i);

static void on_retry(struct loop_timer *t) {
	connect_now(container_of(t, struct informer, timer));
}

static void retry(struct informer *i) {
	nsec_t wait = i->failures > 7 ? RETRY_MAX : MIN(RETRY_FIRST << i->failures, RETRY_MAX);

	i->failures++;
	i->state = INFORMER_WAIT;
	wait += (nsec_t)((double)wait * 0.5 * rand_double());
	loop_timer_start(i->opts.loop, &i->timer, wait, on_retry);
}

static void failed(struct informer *i, const struct err *err) {
	if ((err->code == ERR_NOT_FOUND || err->code == ERR_METHOD_NOT_ALLOWED) && i->opts.on_missing) {
		i->opts.on_missing(i->opts.arg);
	}
	if (i->failures == 5) {
		log_warn("informer", "watch fails, trying on", kv_str("resource", i->opts.gvr.resource), kv_err(err));
	}
	retry(i);
}

/* A list under way. Outlives its informer when that is stopped meanwhile. */
struct list_job {
	struct job job;
	struct informer *informer; /* NULL: stopped, drop the result */
	struct client *client; /* one reference */
	struct gvr gvr;
	struct str ns, label_selector, field_selector; /* owned */
	struct client_list result;
	bool ok;
	struct err err;
};

static struct str own(struct str s) {
	return (struct str){ str_dup(s), s.len };
}

static void list_job_free(struct list_job *l) {
	client_list_release(&l->result);
	client_free(l->client);
	free((char *)l->ns.ptr);
	free((char *)l->label_selector.ptr);
	free((char *)l->field_selector.ptr);
	free(l);
}

static void list_run(struct job *j) {
	struct list_job *l = container_of(j, struct list_job, job);
	struct client_call call = {
		.verb = CLIENT_LIST,
		.gvr = l->gvr,
		.ns = l->ns,
		.label_selector = l->label_selector,
		.field_selector = l->field_selector,
	};
	l->ok = client_do(l->client, &call, NULL, &l->result, &l->err);
}

static void list_done(struct job *j) {
	struct list_job *l = container_of(j, struct list_job, job);
	struct informer *i = l->informer;

	if (i) {
		i->list = NULL;
		if (l->ok) {
			i->generation++;
			for (size_t n = 0; n < l->result.len; n++) {
				put(i, l->result.at[n]);
			}
			i->revision = l->result.revision;
			sweep(i);
			connect_now(i);
		} else {
			failed(i, &l->err);
		}
	}
	list_job_free(l);
}

static void list_start(struct informer *i) {
	struct list_job *l = xcalloc(1, sizeof(*l));

	l->job = (struct job){ .run = list_run, .done = list_done };
	l->informer = i;
	l->client = client_ref(i->opts.client);
	l->gvr = i->opts.gvr;
	l->ns = own(i->ns);
	l->label_selector = own(i->label_selector);
	l->field_selector = own(i->field_selector);
	i->state = INFORMER_LIST;
	i->list = l;
	if (!pool_submit(&l->job)) {
		i->list = NULL;
		list_job_free(l);
		retry(i);
	}
}

/* Whether an error says "I do not know sendInitialEvents". */
static bool stream_unknown(const struct err *err) {
	return err->code == ERR_INVALID || err->code == ERR_BAD_REQUEST || err->code == ERR_METHOD_NOT_ALLOWED;
}

static void watch_ended(struct informer *i, const struct err *err) {
	bool was_initial = i->initial;

	client_watch_stop(TAKE(i->watch));
	i->initial = false;
	if (err->code == ERR_EXPIRED || err->code == ERR_GONE) {
		i->revision = 0;
		connect_now(i);
		return;
	}
	if (was_initial) {
		i->revision = 0;
		if (stream_unknown(err) || err->code == ERR_NONE) {
			i->no_stream = true;
			connect_now(i);
			return;
		}
	} else if (err->code == ERR_NONE && i->failures == 0) {
		connect_now(i); /* its time was up */
		i->failures = 1;
		return;
	}
	failed(i, err);
}

static void on_event(void *arg, enum watch_event type, struct obj *o, const struct err *err) {
	struct informer *i = arg;

	if (o && o->revision > i->revision) {
		i->revision = o->revision;
	}
	if (type != WATCH_ENDED && !i->initial) {
		i->failures = 0;
	}
	switch (type) {
	case WATCH_ADDED:
	case WATCH_MODIFIED:
		put(i, o);
		break;
	case WATCH_DELETED:
		drop(i, o);
		break;
	case WATCH_BOOKMARK:
		break;
	case WATCH_SYNCED:
		sweep(i);
		break;
	case WATCH_ENDED:
		watch_ended(i, err);
		break;
	}
}

static void connect_now(struct informer *i) {
	struct client_watch_opts w = {
		.gvr = i->opts.gvr,
		.ns = i->ns,
		.label_selector = i->label_selector,
		.field_selector = i->field_selector,
		.from = i->revision,
		.loop = i->opts.loop,
		.on_event = on_event,
		.arg = i,
	};
	struct err err = { 0 };

	if (i->revision == 0) {
		if (i->no_stream) {
			list_start(i);
			return;
		}
		i->generation++;
		i->initial = true;
		w.initial_events = true;
	}
	i->state = w.initial_events ? INFORMER_STREAM : INFORMER_WATCH;
	if (!client_watch_start(i->opts.client, &w, &i->watch, &err)) {
		bool unknown = i->initial && stream_unknown(&err);
		i->initial = false;
		if (unknown) {
			i->no_stream = true;
			list_start(i);
		} else {
			if (err.code == ERR_EXPIRED || err.code == ERR_GONE) {
				i->revision = 0;
			}
			failed(i, &err);
		}
	}
}

static void start_here(void *arg) {
	connect_now(arg);
}

struct informer *informer_start(const struct informer_opts *opts) {
	struct informer *i = xcalloc(1, sizeof(*i));

	i->opts = *opts;
	i->ns = own(opts->ns);
	i->label_selector = own(opts->label_selector);
	i->field_selector = own(opts->field_selector);
	pthread_rwlock_init(&i->lock, NULL);
	if (loop_current() == opts->loop) {
		start_here(i);
	} else {
		(void)loop_call(opts->loop, start_here, i);
	}
	return i;
}

void informer_stop(struct informer *i) {
	if (!i) {
		return;
	}
	if (i->list) {
		i->list->informer = NULL;
		i->list = NULL;
	}
	client_watch_stop(TAKE(i->watch));
	loop_timer_stop(&i->timer);
	MAP_EACH(&i->by_key, m) {
		struct entry *e = m->value;
		entry_unindex(i, e);
		entry_free(e);
	}
	map_release(&i->by_key);
	map_release(&i->by_ns);
	map_release(&i->by_index);
	pthread_rwlock_destroy(&i->lock);
	free((char *)i->ns.ptr);
	free((char *)i->label_selector.ptr);
	free((char *)i->field_selector.ptr);
	free(i);
}

/* ---- reading, any thread --------------------------------------------------------------------------------- */

bool informer_synced(const struct informer *i) {
	return atomic_load(&i->synced);
}

struct obj *informer_get(struct informer *i, struct str ns, struct str name) {
	char small[512];
	auto_free char *big = NULL;
	size_t len = ns.len ? ns.len + 1 + name.len : name.len;
	char *key = len <= sizeof(small) ? small : (big = xmalloc(len));

	if (ns.len) {
		memcpy(key, ns.ptr, ns.len);
		key[ns.len] = '/';
	}
	if (name.len) {
		memcpy(key + len - name.len, name.ptr, name.len);
	}
	pthread_rwlock_rdlock(&i->lock);
	struct entry *e = map_get(&i->by_key, (struct str){ key, len });
	struct obj *o = e ? obj_ref(e->o) : NULL;
	pthread_rwlock_unlock(&i->lock);
	return o;
}

static void bucket_read(struct informer *i, struct map *m, struct str key, struct client_list *ret) {
	*ret = (struct client_list){ 0 };
	pthread_rwlock_rdlock(&i->lock);
	struct bucket *b = map_get(m, key);
	if (b) {
		ret->at = xcalloc(b->refs.len, sizeof(*ret->at));
		for (size_t n = 0; n < b->refs.len; n++) {
			ret->at[ret->len++] = obj_ref(b->refs.at[n].entry->o);
		}
	}
	pthread_rwlock_unlock(&i->lock);
}

void informer_list(struct informer *i, struct str ns, struct client_list *ret) {
	if (ns.len) {
		bucket_read(i, &i->by_ns, ns, ret);
		return;
	}
	*ret = (struct client_list){ 0 };
	pthread_rwlock_rdlock(&i->lock);
	ret->at = i->by_key.len ? xcalloc(i->by_key.len, sizeof(*ret->at)) : NULL;
	MAP_EACH(&i->by_key, m) {
		ret->at[ret->len++] = obj_ref(((struct entry *)m->value)->o);
	}
	pthread_rwlock_unlock(&i->lock);
}

void informer_index(struct informer *i, struct str key, struct client_list *ret) {
	bucket_read(i, &i->by_index, key, ret);
}

size_t informer_len(struct informer *i) {
	pthread_rwlock_rdlock(&i->lock);
	size_t n = i->by_key.len;
	pthread_rwlock_unlock(&i->lock);
	return n;
}
