/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work_queue.h - keys to work on: a key stands in it once, is never worked on twice at once, and comes
 * back with back-off (5 ms doubling to 1,000 s, as upstream's default) when its sync fails. Worker threads of its own (made on
 * demand, at most `workers`) call sync(). Any thread may add.
 */
#ifndef CLIENT_WORK_QUEUE_H
#define CLIENT_WORK_QUEUE_H

#include "base/clock.h"
#include "base/err.h"

struct work_queue;
struct work_queue_opts {
	const char *name;  /* for logs and metrics */
	int workers;       /* 0: 2 */
	/* One pass for one key; false: again later with back-off (err is logged at debug, at warn after 5 failures in a row). */
	bool (*sync)(void *arg, struct str key, struct err *err);
	void *arg;
};
struct work_queue *work_queue_new(const struct work_queue_opts *opts); /* idle until started: adds are kept */
void work_queue_start(struct work_queue *q);   /* when the caches are filled */
void work_queue_add(struct work_queue *q, struct str key);                    /* now; copies the key */
void work_queue_add_after(struct work_queue *q, struct str key, nsec_t after); /* the earliest time wins */
void work_queue_free(struct work_queue *q);    /* waits for running syncs */

/*
 * Expectations: "do not sync before the cache has seen my last writes". Any thread.
 */
struct expectations;
struct expectations *expectations_new(void);
void expectations_free(struct expectations *e);
void expectations_expect(struct expectations *e, struct str key, int creates, int deletes);
void expectations_created(struct expectations *e, struct str key); /* one was seen, or failed */
void expectations_deleted(struct expectations *e, struct str key);
bool expectations_seen(struct expectations *e, struct str key);    /* true too after 5 minutes */
void expectations_forget(struct expectations *e, struct str key);

#endif
