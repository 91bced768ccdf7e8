/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - the watch hub: one loop that carries events from the caches' rings to all watchers, over HTTP and in process.
 * A watcher is a position in its cache's ring and a selection. Private to the room.
 */
#ifndef APISERVER_WATCH_H
#define APISERVER_WATCH_H

#include "apiserver/server.h"

/* Where an in-process watcher's events go. Called on the hub's loop. */
struct watch_sink {
	/* One event, to be kept until flush. `o` is borrowed. */
	void (*event)(struct watch_sink *k, enum watch_event type, struct obj *o);
	void (*flush)(struct watch_sink *k);                         /* what was kept goes out now */
	void (*ended)(struct watch_sink *k, const struct err *err);  /* last call: the sink is the caller's again */
};

struct watcher;
/*
 * A watcher of `st` that goes on from `position`. The selection's texts must live as long as it does. Any thread. The sink gets no call before this returns.
 */
struct watcher *watch_attach(struct watch_hub *h, struct storage *st, const struct selection *sel, uint64_t position, struct watch_sink *sink);
/* Ends it: `ended` follows once on the hub's loop with ERR_NONE, unless it was called already. Any thread. Drops the caller's reference. */
void watch_detach(struct watcher *w);

#endif
