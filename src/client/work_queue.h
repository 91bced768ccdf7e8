/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work_queue.h - keys to work on: a key stands in it once, is never worked on twice at once, and comes
 * back with back-off (5 ms doubling to 1,000 s, as upstream's default) when its sync fails.
 *
 * A queue belongs to a loop, which keeps its order and its timers; syncs run on pool threads, at most
 * `workers` at a time, and may block. Any thread may add. An idle queue costs no thread and no wakeup.
 */
#ifndef CLIENT_WORK_QUEUE_H
#define CLIENT_WORK_QUEUE_H

#include "base/clock.h"
#include "base/err.h"
#include "loop/loop.h"

struct work_queue;
struct work_queue_opts {
	const char *name;  /* for logs; borrowed */
	struct loop *loop; /* runs until the queue is freed */
	int workers;       /* 0: 2 */
	/* One pass for one key; false: again later with back-off (err is logged at debug, at warn after 5 failures in a row). */
	bool (*sync)(void *arg, struct str key, struct err *err);
	void *arg;
};
struct work_queue *work_queue_new(const struct work_queue_opts *opts); /* idle until started: adds are kept */
void work_queue_start(struct work_queue *q);                           /* when the caches are filled; any thread */
void work_queue_add(struct work_queue *q, struct str key);             /* now; copies the key */
/* The earliest time wins. A key that is added meanwhile is worked on then and once more at its time. */
void work_queue_add_after(struct work_queue *q, struct str key, nsec_t after);
/* Drops what waits, waits for running syncs. Not on its loop. */
void work_queue_free(struct work_queue *q);

/*
 * Expectations: "do not sync before the cache has seen my last writes". Any thread.
 *
 *     expectations_expect(e, key, creates, deleted_uids, n);  before the writes
 *     expectations_created(e, key)                            one was seen by the informer, or its create failed
 *     expectations_deleted(e, key, uid)                       the same for a deletion; unknown uids do no harm
 */
struct expectations;
struct expectations *expectations_new(void);
void expectations_free(struct expectations *e);
void expectations_expect(struct expectations *e, struct str key, int creates, const struct str *deletes, size_t deletes_len);
void expectations_created(struct expectations *e, struct str key);
void expectations_deleted(struct expectations *e, struct str key, struct str uid);
bool expectations_seen(struct expectations *e, struct str key); /* true too after 5 minutes */
void expectations_forget(struct expectations *e, struct str key);

#endif
