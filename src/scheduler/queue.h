/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - pods that wait for a node. Private to this room; the scheduler's loop only.
 *
 * Active ones are tried next: higher priority first, then who waits longer. One that failed is either backing
 * off (0.1 s doubling to 10 s) or unschedulable: it waits for an event that can help it, or five minutes.
 */
#ifndef SCHEDULER_QUEUE_H
#define SCHEDULER_QUEUE_H

#include "base/clock.h"
#include "base/heap.h"
#include "scheduler/cache.h"

/* What happens in the cluster, and what plugins say could help a pod they refused. */
enum sched_event {
	EVENT_NODE_ADD = 1 << 0,
	EVENT_NODE_RESOURCES = 1 << 1,
	EVENT_NODE_LABELS = 1 << 2,
	EVENT_NODE_TAINTS = 1 << 3, /* also unschedulable */
	EVENT_POD_ADD = 1 << 4,     /* one was bound, or its labels changed */
	EVENT_POD_GONE = 1 << 5,    /* one left its node */
	EVENT_POD_SPEC = 1 << 6,    /* the waiting pod itself changed */
	EVENT_VOLUME = 1 << 7,
	EVENT_TIME = 1 << 8,        /* five minutes have passed */
	EVENT_ANY = -1,
};

struct queue {
	struct heap active, backoff;
	struct list unschedulable;
	size_t unschedulable_len;
	struct loop *loop;
	struct loop_timer timer; /* for back-off and the five minutes */
	void (*ready)(struct queue *q); /* something became active */
	uint32_t sequence;
};
void queue_init(struct queue *q, struct loop *l, void (*ready)(struct queue *q));
void queue_release(struct queue *q); /* after its pods have been removed */

void queue_add(struct queue *q, struct pod *p);    /* a new pod: active */
void queue_remove(struct queue *q, struct pod *p); /* harmless when it is not in it */
struct pod *queue_pop(struct queue *q);            /* takes the next active one (its attempts stay counted); NULL when none */
/* After a failed attempt: `helps` is what may change that (0: try again after back-off). */
void queue_fail(struct queue *q, struct pod *p, int helps);
void queue_forget(struct queue *q, struct pod *p); /* bound: attempts are forgotten */
void queue_event(struct queue *q, int event);
void queue_wake(struct queue *q, struct pod *p);   /* it changed itself: worth a try */
int queue_attempts(const struct pod *p);

#endif
