/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.c - shared informers, their index, and running things side by side.
 *
 * frame_watch and the handlers belong to the loop (and to start-up before it); frame_parallel is for pool
 * threads that may block.
 */
#include "controllers/frame.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"

#define PARALLEL_MAX 16

/* ---- the index ------------------------------------------------------------------------------------------- */

struct str index_owner(struct arena *a, struct str uid) {
	return arena_printf(a, "o:%.*s", STR_ARG(uid));
}
struct str index_orphan(struct arena *a, struct str ns) {
	return arena_printf(a, "x:%.*s", STR_ARG(ns));
}
struct str index_node(struct arena *a, struct str node) {
	return arena_printf(a, "n:%.*s", STR_ARG(node));
}
struct str index_service(struct arena *a, struct str ns, struct str name) {
	return arena_printf(a, "s:%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

static void index_object(const struct obj *o, struct arena *a, void (*add)(void *ctx, struct str key), void *ctx) {
	const struct value *meta = value_get(o->root, N_metadata);
	const struct value *owners = value_get(meta, N_ownerReferences);
	struct str ns = value_str_at(meta, N_namespace), kind = value_str_at(o->root, N_kind);
	bool controlled = false;

	VALUE_EACH(owners, ref) {
		controlled = controlled || value_bool_at(ref, N_controller);
		add(ctx, index_owner(a, value_str_at(ref, N_uid)));
	}
	if (!controlled && ns.len) {
		add(ctx, index_orphan(a, ns));
	}
	if (str_eqc(kind, "Pod") && value_str_at(o->root, N_spec, N_nodeName).len) {
		add(ctx, index_node(a, value_str_at(o->root, N_spec, N_nodeName)));
	}
	if (str_eqc(kind, "EndpointSlice")) {
		struct str service = value_as_str(value_get_str(value_get(meta, N_labels), S("kubernetes.io/service-name")));
		if (service.len) {
			add(ctx, index_service(a, ns, service));
		}
	}
}

/* ---- shared copies ------------------------------------------------------------------------------------------ */

static void on_change(void *arg, struct obj *old, struct obj *now) {
	struct shared *s = arg;

	for (size_t i = 0; i < s->watchers.len && !s->frame->stopping; i++) {
		struct watcher *w = &s->watchers.at[i];
		if (w->on_change) {
			w->on_change(w->arg, old, now);
		}
	}
}

static void synced(struct shared *s) {
	if (!s->synced) {
		s->synced = true;
		s->frame->unsynced--;
		if (s->frame->unsynced == 0 && !s->frame->stopping) {
			frame_all_synced(s->frame);
		}
	}
}

static void on_synced(void *arg) {
	synced(arg);
}

static void on_missing(void *arg) {
	synced(arg); /* a server without this resource has none of it */
}

void frame_inform(struct shared *s) {
	struct frame *f = s->frame;
	struct informer_opts opts = {
		.client = f->client,
		.loop = f->loop,
		.gvr = s->gvr,
		.on_change = on_change,
		.on_synced = on_synced,
		.on_missing = on_missing,
		.arg = s,
		.index = index_object,
	};
	f->unsynced++;
	s->informer = informer_start(&opts);
}

struct shared *frame_watch(struct frame *f, struct gvr gvr, void (*change)(void *arg, struct obj *old, struct obj *now), void *arg) {
	auto_arena struct arena a = { 0 };
	struct str key = arena_printf(&a, "%.*s/%.*s/%.*s", STR_ARG(gvr.group), STR_ARG(gvr.version), STR_ARG(gvr.resource));
	struct shared *s = map_get(&f->by_gvr, key);

	if (!s) {
		s = arena_new(&f->arena, struct shared);
		s->frame = f;
		s->gvr = (struct gvr){ arena_str(&f->arena, gvr.group), arena_str(&f->arena, gvr.version), arena_str(&f->arena, gvr.resource) };
		map_set(&f->by_gvr, key, s);
		VEC_PUSH(&s->watchers, ((struct watcher){ change, arg }));
		if (f->running) {
			frame_inform(s);
		}
		return s;
	}
	VEC_PUSH(&s->watchers, ((struct watcher){ change, arg }));
	if (s->informer && change) {
		struct client_list all;
		informer_list(s->informer, S(""), &all);
		for (size_t i = 0; i < all.len; i++) {
			change(arg, NULL, all.at[i]);
		}
		client_list_release(&all);
	}
	return s;
}

struct work_queue *frame_queue(struct frame *f, const char *name, int workers, bool (*sync)(void *arg, struct str key, struct err *err), void *arg) {
	struct work_queue_opts opts = { .name = name, .loop = f->loop, .workers = workers, .sync = sync, .arg = arg };
	struct work_queue *q = work_queue_new(&opts);

	VEC_PUSH(&f->queues, q);
	return q;
}

/* ---- side by side ---------------------------------------------------------------------------------------------- */

/* Shared by the caller and its helpers; the last one frees it. A helper that comes late finds nothing left to do. */
struct parallel {
	atomic_uint refs;
	atomic_size_t next;
	size_t n;
	bool (*fn)(void *arg, size_t i, struct err *err);
	void *arg;
	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t all;
	size_t finished, succeeded;
	struct err err; /* of the first failure */
};

static void parallel_unref(struct parallel *p) {
	if (atomic_fetch_sub(&p->refs, 1) == 1) {
		pthread_mutex_destroy(&p->lock);
		pthread_cond_destroy(&p->all);
		free(p);
	}
}

static void parallel_work(struct parallel *p) {
	for (size_t i; (i = atomic_fetch_add(&p->next, 1)) < p->n;) {
		struct err err = { 0 };
		bool ok = p->fn(p->arg, i, &err);
		pthread_mutex_lock(&p->lock);
		p->succeeded += ok;
		if (!ok && p->err.code == ERR_NONE) {
			p->err = err;
		}
		if (++p->finished == p->n) {
			pthread_cond_signal(&p->all);
		}
		pthread_mutex_unlock(&p->lock);
	}
}

static void parallel_helper(void *arg) {
	parallel_work(arg);
	parallel_unref(arg);
}

size_t frame_parallel(size_t n, size_t parallel, bool (*fn)(void *arg, size_t i, struct err *err), void *arg, struct err *err) {
	struct parallel *p = xcalloc(1, sizeof(*p));

	p->refs = 1;
	p->n = n;
	p->fn = fn;
	p->arg = arg;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->all, NULL);
	for (size_t i = 1; i < MIN(n, parallel); i++) {
		atomic_fetch_add(&p->refs, 1);
		if (!pool_run(parallel_helper, p)) {
			atomic_fetch_sub(&p->refs, 1);
			break;
		}
	}
	parallel_work(p);
	pool_wait_begin();
	pthread_mutex_lock(&p->lock);
	while (p->finished < n) {
		pthread_cond_wait(&p->all, &p->lock);
	}
	size_t succeeded = p->succeeded;
	if (succeeded < n) {
		*err = p->err;
	}
	pthread_mutex_unlock(&p->lock);
	pool_wait_end();
	parallel_unref(p);
	return succeeded;
}

struct offset {
	bool (*fn)(void *arg, size_t i, struct err *err);
	void *arg;
	size_t from;
};
static bool offset_call(void *arg, size_t i, struct err *err) {
	struct offset *o = arg;

	return o->fn(o->arg, o->from + i, err);
}

size_t frame_slow_start(size_t n, bool (*fn)(void *arg, size_t i, struct err *err), void *arg, struct err *err) {
	size_t done = 0;

	for (size_t batch = 1; done < n; batch *= 2) {
		size_t now = MIN(batch, n - done);
		struct offset o = { fn, arg, done };
		size_t ok = frame_parallel(now, PARALLEL_MAX, offset_call, &o, err);
		done += ok;
		if (ok < now) {
			break;
		}
	}
	return done;
}
