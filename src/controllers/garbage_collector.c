/* SPDX-License-Identifier: Apache-2.0 */
/*
 * garbage_collector.c - deletes what no living owner wants: background, foreground and orphaning deletion.
 *
 * The graph is in the shared copies: every resource that can be listed, watched and deleted is watched here,
 * and their index leads from an owner's uid to its dependents. Handlers (on the loop) only queue objects that may have
 * work to do; a pass (pool thread) asks the server for the object and its owners as they are now, and then
 *
 *   - deletes it when no owner is left, or drops references to absent owners when some are;
 *   - for an object deleted in the foreground: has its blocking dependents deleted, then lets it go;
 *   - for one deleted with orphaning: takes the reference out of its dependents, then lets it go.
 *
 * Handlers are silent until every copy is filled: before, a missing owner may only not have been seen yet.
 */
#include <pthread.h>

#include "base/log.h"
#include "controllers/discovery.h"
#include "controllers/frame.h"
#include "controllers/object.h"

#define WORKERS 8
#define ORPHANS_AT_ONCE 8
#define FOREGROUND S("foregroundDeletion")
#define ORPHAN S("orphan")
#define REDISCOVER_WAIT (2 * NSEC_PER_SEC)

/* A watched resource. Made on the loop, lives as long as the collector. */
struct monitor {
	struct collector *collector;
	struct shared *shared;
	struct str kind; /* owned by the frame's arena */
	bool namespaced;
};
struct collector {
	struct frame *frame;
	struct work_queue *queue;    /* "<monitor>|<uid>|<ns/name>" */
	struct work_queue *discover; /* one key */
	struct recorder *recorder;
	pthread_rwlock_t lock;       /* over monitors and by_kind: written on the loop */
	VEC(struct monitor *) monitors;
	struct map by_kind; /* "group/kind" -> struct monitor */
	bool discovered, ready; /* of the loop */
};

/* ---- finding things -------------------------------------------------------------------------------------------------- */

static struct str kind_key(struct arena *a, struct str group, struct str kind) {
	return arena_printf(a, "%.*s/%.*s", STR_ARG(group), STR_ARG(kind));
}

static struct str group_of(struct str api_version) {
	struct str group, version;

	return str_cut(api_version, '/', &group, &version) ? group : S("");
}

/* The monitor of an owner reference's kind; NULL when we do not know it (yet). */
static struct monitor *owner_monitor(struct collector *c, const struct value *ref) {
	auto_arena struct arena a = { 0 };
	struct str key = kind_key(&a, group_of(value_str_at(ref, N_apiVersion)), value_str_at(ref, N_kind));

	pthread_rwlock_rdlock(&c->lock);
	struct monitor *m = map_get(&c->by_kind, key);
	pthread_rwlock_unlock(&c->lock);
	return m;
}

static size_t monitor_number(struct collector *c, const struct monitor *m) {
	size_t n = 0;

	pthread_rwlock_rdlock(&c->lock);
	while (n < c->monitors.len && c->monitors.at[n] != m) {
		n++;
	}
	pthread_rwlock_unlock(&c->lock);
	return n;
}

static struct monitor *monitor_at(struct collector *c, size_t n) {
	pthread_rwlock_rdlock(&c->lock);
	struct monitor *m = n < c->monitors.len ? c->monitors.at[n] : NULL;
	pthread_rwlock_unlock(&c->lock);
	return m;
}

/* The owner as the copies show it; NULL when they do not. */
static struct obj *owner_cached(struct collector *c, const struct value *o, const struct value *ref) {
	struct monitor *m = owner_monitor(c, ref);

	if (!m || !m->shared->informer) {
		return NULL;
	}
	struct obj *owner = informer_get(m->shared->informer, m->namespaced ? meta_ns(o) : S(""), value_str_at(ref, N_name));
	if (owner && !str_eq(meta_uid(owner->root), value_str_at(ref, N_uid))) {
		obj_unref(owner);
		owner = NULL;
	}
	return owner;
}

static bool deletes_dependents(const struct value *o) {
	return meta_deleting(o) && meta_has_finalizer(o, FOREGROUND);
}

/* Calls fn for every object that names `uid` as an owner. */
static void each_dependent(struct collector *c, struct str uid, void (*fn)(struct collector *c, struct monitor *m, struct obj *o, void *arg), void *arg) {
	auto_arena struct arena a = { 0 };
	struct str key = index_owner(&a, uid);

	for (size_t n = 0;; n++) {
		struct client_list list;
		struct monitor *m = monitor_at(c, n);
		if (!m) {
			return;
		}
		if (!m->shared->informer) {
			continue;
		}
		informer_index(m->shared->informer, key, &list);
		for (size_t i = 0; i < list.len; i++) {
			fn(c, m, list.at[i], arg);
		}
		client_list_release(&list);
	}
}

static const struct value *ref_to(const struct value *o, struct str uid) {
	return value_find_by(value_at(o, N_metadata, N_ownerReferences), N_uid, uid);
}

static void enqueue(struct collector *c, struct monitor *m, const struct value *o) {
	auto_arena struct arena a = { 0 };
	struct str key = meta_key(&a, o), uid = meta_uid(o);

	work_queue_add(c->queue, arena_printf(&a, "%zu|%.*s|%.*s", monitor_number(c, m), STR_ARG(uid), STR_ARG(key)));
}

/* ---- what wakes an object (on the loop) ----------------------------------------------------------------------------------- */

static void enqueue_dependent(struct collector *c, struct monitor *m, struct obj *o, void *arg) {
	enqueue(c, m, o->root);
}

/* Owners that wait for their dependents to go look again. */
static void wake_waiting_owners(struct collector *c, const struct value *o) {
	VALUE_EACH(value_at(o, N_metadata, N_ownerReferences), ref) {
		auto_obj struct obj *owner = owner_cached(c, o, ref);
		struct monitor *m = owner_monitor(c, ref);
		if (owner && m && deletes_dependents(owner->root)) {
			enqueue(c, m, owner->root);
		}
	}
}

static bool has_work(struct collector *c, const struct value *o) {
	if (meta_deleting(o)) {
		return meta_has_finalizer(o, FOREGROUND) || meta_has_finalizer(o, ORPHAN);
	}
	VALUE_EACH(value_at(o, N_metadata, N_ownerReferences), ref) {
		auto_obj struct obj *owner = owner_cached(c, o, ref);
		if (!owner || deletes_dependents(owner->root)) {
			return true;
		}
	}
	return false;
}

static void object_changed(void *arg, struct obj *old, struct obj *now) {
	struct monitor *m = arg;
	struct collector *c = m->collector;

	if (!c->ready) {
		return;
	}
	if (!now) {
		each_dependent(c, meta_uid(old->root), enqueue_dependent, NULL);
		wake_waiting_owners(c, old->root);
		return;
	}
	if (old && !value_eq(value_at(old->root, N_metadata, N_ownerReferences), value_at(now->root, N_metadata, N_ownerReferences))) {
		wake_waiting_owners(c, old->root); /* it may have been what an owner waited for */
	}
	if (has_work(c, now->root)) {
		enqueue(c, m, now->root);
	}
}

static void look_at_all(struct collector *c) {
	for (size_t n = 0;; n++) {
		struct client_list all;
		struct monitor *m = monitor_at(c, n);
		if (!m) {
			return;
		}
		informer_list(m->shared->informer, S(""), &all);
		for (size_t i = 0; i < all.len; i++) {
			if (has_work(c, all.at[i]->root)) {
				enqueue(c, m, all.at[i]->root);
			}
		}
		client_list_release(&all);
	}
}

/* ---- one pass ------------------------------------------------------------------------------------------------------------------ */

enum standing { OWNER_SOLID, OWNER_ABSENT, OWNER_WAITING, OWNER_UNKNOWN /* err is set */ };

static enum standing owner_standing(struct collector *c, const struct value *o, const struct value *ref, struct err *err) {
	struct monitor *m = owner_monitor(c, ref);
	auto_obj struct obj *owner = NULL;

	if (!m) {
		struct str kind = value_str_at(ref, N_kind), version = value_str_at(ref, N_apiVersion);
		(void)err_set(err, ERR_UNAVAILABLE, "owner's kind %.*s of %.*s is not known to the server", STR_ARG(kind), STR_ARG(version));
		return OWNER_UNKNOWN;
	}
	if (m->namespaced && meta_ns(o).len == 0) {
		return OWNER_ABSENT; /* something cluster-scoped cannot be owned from a namespace */
	}
	if (!client_get(c->frame->client, m->shared->gvr, m->namespaced ? meta_ns(o) : S(""), value_str_at(ref, N_name), &owner, err)) {
		if (err->code != ERR_NOT_FOUND) {
			return OWNER_UNKNOWN;
		}
		err_clear(err);
		return OWNER_ABSENT;
	}
	if (!str_eq(meta_uid(owner->root), value_str_at(ref, N_uid))) {
		return OWNER_ABSENT;
	}
	return deletes_dependents(owner->root) ? OWNER_WAITING : OWNER_SOLID;
}

/* Writes metadata members of an object by a merge patch that holds for the revision we read. */
static bool meta_patch(struct collector *c, struct monitor *m, const struct value *o, struct arena *a, enum name_id name, const struct value *v, struct err *err) {
	struct value *patch = value_new_object(a), *meta = value_set(a, patch, N_metadata, value_new_object(a));

	value_set_str(a, meta, N_uid, meta_uid(o));
	value_set_str(a, meta, N_resourceVersion, value_str_at(o, N_metadata, N_resourceVersion));
	value_set(a, meta, name, value_len(v) ? v : NULL);
	return client_patch(c->frame->client, m->shared->gvr, meta_ns(o), meta_name(o), S(""), PATCH_MERGE, patch, NULL, err) || err->code == ERR_NOT_FOUND;
}

static bool finalizer_remove(struct collector *c, struct monitor *m, const struct value *o, struct str finalizer, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *left = value_new_array(&a);

	VALUE_EACH(value_at(o, N_metadata, N_finalizers), f) {
		if (!str_eq(value_as_str(f), finalizer)) {
			value_push(&a, left, f);
		}
	}
	return meta_patch(c, m, o, &a, N_finalizers, left, err);
}

static bool delete_as(struct collector *c, struct monitor *m, const struct value *o, const char *propagation, struct err *err) {
	struct client_call call = {
		.verb = CLIENT_DELETE,
		.gvr = m->shared->gvr,
		.ns = meta_ns(o),
		.name = meta_name(o),
		.propagation = str_c(propagation),
		.precondition_uid = meta_uid(o),
		.precondition_rv = value_str_at(o, N_metadata, N_resourceVersion),
	};
	return client_do(c->frame->client, &call, NULL, NULL, err) || err->code == ERR_NOT_FOUND;
}

/* ---- foreground: an owner waits for dependents that block it ---- */

struct blocking {
	struct str uid;
	size_t left;
};
static void blocking_look(struct collector *c, struct monitor *m, struct obj *o, void *arg) {
	struct blocking *b = arg;

	if (value_bool_at(ref_to(o->root, b->uid), N_blockOwnerDeletion)) {
		b->left++;
		if (!deletes_dependents(o->root)) {
			enqueue(c, m, o->root);
		}
	}
}

static bool foreground(struct collector *c, struct monitor *m, const struct value *o, struct err *err) {
	struct blocking b = { .uid = meta_uid(o) };

	each_dependent(c, b.uid, blocking_look, &b);
	return b.left > 0 || finalizer_remove(c, m, o, FOREGROUND, err);
}

/* ---- orphaning: dependents lose the reference ---- */

struct orphans {
	struct collector *c;
	struct str uid;
	VEC(struct obj *) at;
	VEC(struct monitor *) monitors;
};
static void orphan_take(struct collector *c, struct monitor *m, struct obj *o, void *arg) {
	struct orphans *x = arg;

	VEC_PUSH(&x->at, obj_ref(o));
	VEC_PUSH(&x->monitors, m);
}

static bool refs_drop(struct collector *c, struct monitor *m, const struct value *o, const bool *drop, struct err *err) {
	auto_arena struct arena a = { 0 };
	const struct value *refs = value_at(o, N_metadata, N_ownerReferences);
	struct value *left = value_new_array(&a);

	for (size_t i = 0; i < value_len(refs); i++) {
		if (!drop[i]) {
			value_push(&a, left, value_item(refs, i));
		}
	}
	return meta_patch(c, m, o, &a, N_ownerReferences, left, err);
}

static bool orphan_one(void *arg, size_t i, struct err *err) {
	struct orphans *x = arg;
	struct monitor *m = x->monitors.at[i];
	const struct value *seen = x->at.at[i]->root;
	auto_arena struct arena a = { 0 };

	for (int attempt = 0; attempt < 5; attempt++) {
		auto_obj struct obj *now = NULL;
		err_clear(err);
		if (!client_get(x->c->frame->client, m->shared->gvr, meta_ns(seen), meta_name(seen), &now, err)) {
			return err->code == ERR_NOT_FOUND;
		}
		const struct value *refs = value_at(now->root, N_metadata, N_ownerReferences);
		bool *drop = arena_array(&a, bool, value_len(refs) + 1), any = false;
		for (size_t r = 0; r < value_len(refs); r++) {
			drop[r] = str_eq(value_str_at(value_item(refs, r), N_uid), x->uid);
			any = any || drop[r];
		}
		if (!str_eq(meta_uid(now->root), meta_uid(seen)) || !any || refs_drop(x->c, m, now->root, drop, err)) {
			return true;
		}
		if (err->code != ERR_CONFLICT) {
			return false;
		}
	}
	return false;
}

static bool orphan(struct collector *c, struct monitor *m, const struct value *o, struct err *err) {
	struct orphans x = { .c = c, .uid = meta_uid(o) };

	each_dependent(c, x.uid, orphan_take, &x);
	bool ok = frame_parallel(x.at.len, ORPHANS_AT_ONCE, orphan_one, &x, err) == x.at.len;
	VEC_EACH(&x.at, d) {
		obj_unref(*d);
	}
	VEC_RELEASE(&x.at);
	VEC_RELEASE(&x.monitors);
	return ok && finalizer_remove(c, m, o, ORPHAN, err);
}

/* ---- an object and its owners ---- */

struct circle {
	size_t dependents;
	bool waits; /* a dependent waits for its own dependents: may be a ring */
};
static void circle_look(struct collector *c, struct monitor *m, struct obj *o, void *arg) {
	struct circle *k = arg;

	k->dependents++;
	k->waits = k->waits || deletes_dependents(o->root);
}

/* In a ring of owners everybody would wait for the next: this one stops blocking. */
static bool unblock(struct collector *c, struct monitor *m, const struct value *o, struct obj **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *refs = value_copy(&a, value_at(o, N_metadata, N_ownerReferences));

	VALUE_EACH(refs, ref) {
		value_set_bool(&a, ref, N_blockOwnerDeletion, false);
	}
	return meta_patch(c, m, o, &a, N_ownerReferences, refs, err) &&
		client_get(c->frame->client, m->shared->gvr, meta_ns(o), meta_name(o), ret, err);
}

static bool collect(struct collector *c, struct monitor *m, const struct value *o, struct err *err) {
	const struct value *refs = value_at(o, N_metadata, N_ownerReferences);
	auto_arena struct arena a = { 0 };
	bool *drop = arena_array(&a, bool, value_len(refs) + 1);
	size_t solid = 0, absent = 0, waiting = 0;

	for (size_t i = 0; i < value_len(refs); i++) {
		switch (owner_standing(c, o, value_item(refs, i), err)) {
		case OWNER_SOLID:
			solid++;
			break;
		case OWNER_ABSENT:
			absent++;
			drop[i] = true;
			break;
		case OWNER_WAITING:
			waiting++;
			drop[i] = true;
			break;
		case OWNER_UNKNOWN:
			return false;
		}
	}
	if (value_len(refs) == 0 || (solid && absent + waiting == 0)) {
		return true;
	}
	if (solid) {
		return refs_drop(c, m, o, drop, err);
	}
	struct circle k = { 0 };
	if (waiting) {
		each_dependent(c, meta_uid(o), circle_look, &k);
	}
	if (waiting && k.dependents > 0) {
		auto_obj struct obj *now = NULL;
		if (k.waits && !unblock(c, m, o, &now, err)) {
			return err->code == ERR_NOT_FOUND;
		}
		return delete_as(c, m, now ? now->root : o, "Foreground", err);
	}
	return delete_as(c, m, o, meta_has_finalizer(o, ORPHAN) ? "Orphan" : meta_has_finalizer(o, FOREGROUND) ? "Foreground" : "Background", err);
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct collector *c = arg;
	struct str number, uid, ns, name, rest;
	uint64_t n;

	(void)str_cut(key, '|', &number, &rest);
	(void)str_cut(rest, '|', &uid, &rest);
	key_split(rest, &ns, &name);
	struct monitor *m = str_to_u64(number, &n) ? monitor_at(c, n) : NULL;
	auto_obj struct obj *o = NULL;
	if (!m) {
		return true;
	}
	if (!client_get(c->frame->client, m->shared->gvr, ns, name, &o, err)) {
		return err->code == ERR_NOT_FOUND;
	}
	if (!str_eq(meta_uid(o->root), uid)) {
		return true;
	}
	if (meta_deleting(o->root)) {
		if (meta_has_finalizer(o->root, ORPHAN)) {
			return orphan(c, m, o->root, err);
		}
		return !meta_has_finalizer(o->root, FOREGROUND) || foreground(c, m, o->root, err);
	}
	return collect(c, m, o->root, err);
}

/* ---- which resources there are --------------------------------------------------------------------------------------------------- */

/* What discovery found, on its way to the loop. */
struct found_msg {
	struct msg msg;
	struct collector *c;
	struct resources found;
};

static bool wanted(const struct resource *r) {
	return r->list && r->watch && r->delete_one && !str_eqc(r->gvr.resource, "events");
}

static void monitor_add(struct collector *c, const struct resource *r) {
	auto_arena struct arena a = { 0 };
	struct str key = kind_key(&a, r->gvr.group, r->kind);

	if (map_get(&c->by_kind, key)) { /* only this thread writes */
		return;
	}
	struct monitor *m = arena_new(&c->frame->arena, struct monitor);
	m->collector = c;
	m->kind = arena_str(&c->frame->arena, r->kind);
	m->namespaced = r->namespaced;
	m->shared = frame_watch(c->frame, r->gvr, object_changed, m);
	pthread_rwlock_wrlock(&c->lock);
	VEC_PUSH(&c->monitors, m);
	map_set(&c->by_kind, key, m);
	pthread_rwlock_unlock(&c->lock);
}

static void synced(void *arg) {
	struct collector *c = arg;

	if (c->discovered && !c->ready) {
		c->ready = true;
		log_debug("garbage-collector", "watching", kv_int("resources", c->monitors.len));
		look_at_all(c);
	}
}

static void found_run(struct msg *msg) {
	struct found_msg *f = container_of(msg, struct found_msg, msg);
	struct collector *c = f->c;

	if (!c->frame->stopping) {
		c->discovered = false; /* not ready in the middle of adding */
		for (size_t i = 0; i < f->found.len; i++) {
			if (wanted(&f->found.at[i])) {
				monitor_add(c, &f->found.at[i]);
			}
		}
		c->discovered = true;
		if (c->frame->unsynced == 0) {
			synced(c);
		}
	}
	resources_release(&f->found);
	free(f);
}

static bool discover(void *arg, struct str key, struct err *err) {
	struct collector *c = arg;
	struct found_msg *f = xcalloc(1, sizeof(*f));
	bool complete = resources_discover(c->frame->client, &f->found, err);

	f->msg.run = found_run;
	f->c = c;
	if (f->found.len == 0 || !loop_post(c->frame->loop, &f->msg)) {
		resources_release(&f->found);
		free(f);
	}
	return complete;
}

/* New custom resources and aggregated APIs bring new kinds. */
static void kinds_changed(void *arg, struct obj *old, struct obj *now) {
	struct collector *c = arg;

	work_queue_add_after(c->discover, S("all"), REDISCOVER_WAIT);
}

static void started(void *arg) {
	struct collector *c = arg;

	work_queue_add(c->discover, S("all"));
}

static void *make(struct frame *f) {
	struct collector *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	pthread_rwlock_init(&c->lock, NULL);
	c->recorder = recorder_new(f->client, "garbage-collector-controller", NULL);
	c->queue = frame_queue(f, "garbage-collector", WORKERS, sync, c);
	c->discover = frame_queue(f, "garbage-collector-discovery", 1, discover, c);
	frame_watch(f, GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"), kinds_changed, c);
	frame_watch(f, GVR("apiregistration.k8s.io", "v1", "apiservices"), kinds_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct collector *c = controller;

	recorder_free(c->recorder);
	VEC_RELEASE(&c->monitors);
	map_release(&c->by_kind);
	pthread_rwlock_destroy(&c->lock);
	free(c);
}

const struct controller_ops garbage_collector_controller = {
	.name = "garbagecollector",
	.make = make,
	.started = started,
	.synced = synced,
	.free = destroy,
};
