/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - what all controllers stand in: informers that they share, queues, a recorder each. Private to
 * this room.
 *
 * A controller is one file with one row in controllers.c. Its `make` registers what it watches and makes
 * its queue; handlers run on the frame's loop and only queue keys; syncs run on pool threads and read
 * the shared copies. Queues start when every copy is filled.
 */
#ifndef CONTROLLERS_FRAME_H
#define CONTROLLERS_FRAME_H

#include "base/map.h"
#include "client/client.h"
#include "client/informer.h"
#include "client/recorder.h"
#include "client/selector.h"
#include "client/work_queue.h"
#include "controllers/controllers.h"

struct frame;

/* One resource's copy, shared by the controllers. Lives as long as the frame. */
struct shared {
	struct frame *frame;
	struct gvr gvr; /* texts owned by the frame's arena, or static */
	struct informer *informer; /* NULL until the frame runs; syncs never see NULL */
	VEC(struct watcher) watchers;
	bool synced;
};
struct watcher {
	void (*on_change)(void *arg, struct obj *old, struct obj *now); /* on the loop */
	void *arg;
};

struct frame {
	struct controllers_opts opts;
	struct client *client;
	struct loop *loop;
	struct arena arena;  /* of the frame's life; loop and start-up only */
	struct map by_gvr;   /* "group/version/resource" -> struct shared; loop and start-up only */
	int unsynced;
	bool running;  /* informers run */
	bool started;  /* queues run */
	bool stopping; /* handlers are not called any more */
	VEC(struct work_queue *) queues;
};

/* A row of the table in controllers.c. */
struct controller_ops {
	const char *name;
	void *(*make)(struct frame *f); /* NULL: nothing to do with these options */
	void (*started)(void *c);       /* on the loop, once: the first copies are filled, queues run; may be NULL */
	void (*synced)(void *c);        /* on the loop: those that came later are filled too; may be NULL */
	void (*stop)(void *c);          /* on the loop, before the copies go: timers; may be NULL */
	void (*free)(void *c);          /* last, off the loop; the queues are gone already */
};

/*
 * The copy of a resource; on_change may be NULL. At start-up, or later on the loop: a watcher that comes
 * late is told what is there already.
 */
struct shared *frame_watch(struct frame *f, struct gvr gvr, void (*on_change)(void *arg, struct obj *old, struct obj *now), void *arg);
/* A queue that starts with the frame and is freed by it. */
struct work_queue *frame_queue(struct frame *f, const char *name, int workers, bool (*sync)(void *arg, struct str key, struct err *err), void *arg);

void frame_inform(struct shared *s);     /* starts its informer; controllers.c, on the loop */
void frame_all_synced(struct frame *f);  /* every copy is filled: in controllers.c */

/*
 * Calls fn(arg, i) for i in [0, n) on the calling thread and on up to `parallel` - 1 others, returns when all have
 * returned. The first failure's err is kept; the others still run. Gives how many succeeded.
 */
size_t frame_parallel(size_t n, size_t parallel, bool (*fn)(void *arg, size_t i, struct err *err), void *arg, struct err *err);
/* The same in batches of 1, 2, 4, ...: stops after a batch with a failure, so that a namespace that refuses is asked few times. */
size_t frame_slow_start(size_t n, bool (*fn)(void *arg, size_t i, struct err *err), void *arg, struct err *err);

/* Keys of the secondary index of every shared copy. In the arena. */
struct str index_owner(struct arena *a, struct str uid);  /* objects with an ownerReference to uid */
struct str index_orphan(struct arena *a, struct str ns);  /* objects of ns without a controller */
struct str index_node(struct arena *a, struct str node);  /* pods bound to node */
struct str index_service(struct arena *a, struct str ns, struct str name); /* EndpointSlices labelled for a Service */

#endif
