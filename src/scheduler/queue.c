/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c - pods that wait for a node: active, backing off, unschedulable. The scheduler's loop only. */
#include "scheduler/queue.h"

#define BACKOFF_FIRST (100 * NSEC_PER_MSEC) /* upstream waits 1 s; a node that comes up should not find its pods asleep */
#define BACKOFF_MAX (10 * NSEC_PER_SEC)
#define UNSCHEDULABLE_MAX (300 * NSEC_PER_SEC)

enum place { PLACE_OUT, PLACE_ACTIVE, PLACE_BACKOFF, PLACE_UNSCHEDULABLE };
struct entry {
	struct pod *pod;
	enum place place;
	struct heap_node node; /* in active or backoff */
	struct list link;      /* in unschedulable, in the order of `failed` */
	int attempts;
	nsec_t failed;
	int helps;
};

static void timer_set(struct queue *q);

static void on_timer(struct loop_timer *t) {
	struct queue *q = container_of(t, struct queue, timer);
	nsec_t now = loop_now(q->loop);

	while (!list_empty(&q->unschedulable)) {
		struct entry *e = container_of(q->unschedulable.next, struct entry, link);
		if (e->failed + UNSCHEDULABLE_MAX > now) {
			break;
		}
		queue_wake(q, e->pod);
	}
	for (struct heap_node *n; (n = heap_min(&q->backoff)) && n->at <= now;) {
		struct entry *e = container_of(n, struct entry, node);
		queue_remove(q, e->pod);
		queue_add(q, e->pod);
	}
	timer_set(q);
}

static void timer_set(struct queue *q) {
	struct heap_node *n = heap_min(&q->backoff);
	nsec_t at = INT64_MAX;

	if (n) {
		at = n->at;
	}
	if (!list_empty(&q->unschedulable)) {
		at = MIN(at, container_of(q->unschedulable.next, struct entry, link)->failed + UNSCHEDULABLE_MAX);
	}
	if (at == INT64_MAX) {
		loop_timer_stop(&q->timer);
	} else {
		loop_timer_start(q->loop, &q->timer, MAX(at - loop_now(q->loop), (nsec_t)0), on_timer);
	}
}

void queue_init(struct queue *q, struct loop *l, void (*ready)(struct queue *q)) {
	*q = (struct queue){ .loop = l, .ready = ready };
	list_init(&q->unschedulable);
}

void queue_release(struct queue *q) {
	loop_timer_stop(&q->timer);
	heap_release(&q->active);
	heap_release(&q->backoff);
}

static struct entry *entry_for(struct pod *p) {
	struct entry *e = p->queued;

	if (!e) {
		e = p->queued = xcalloc(1, sizeof(*e));
		e->pod = p;
	}
	return e;
}

void queue_add(struct queue *q, struct pod *p) {
	struct entry *e = entry_for(p);

	if (e->place == PLACE_ACTIVE) {
		return;
	}
	assert(e->place == PLACE_OUT);
	/* higher priority first; among equals by arrival */
	e->node.at = (int64_t)(((uint64_t)((int64_t)INT32_MAX - p->priority) << 31) | (q->sequence++ & 0x7fffffff));
	e->place = PLACE_ACTIVE;
	heap_push(&q->active, &e->node);
	q->ready(q);
}

void queue_remove(struct queue *q, struct pod *p) {
	struct entry *e = p->queued;

	if (!e) {
		return;
	}
	switch (e->place) {
	case PLACE_OUT:
		break;
	case PLACE_ACTIVE:
		heap_remove(&q->active, &e->node);
		break;
	case PLACE_BACKOFF:
		heap_remove(&q->backoff, &e->node);
		break;
	case PLACE_UNSCHEDULABLE:
		list_remove(&e->link);
		q->unschedulable_len--;
		break;
	}
	e->place = PLACE_OUT;
}

void queue_forget(struct queue *q, struct pod *p) {
	queue_remove(q, p);
	free(p->queued);
	p->queued = NULL;
}

struct pod *queue_pop(struct queue *q) {
	struct heap_node *n = heap_pop(&q->active);

	if (!n) {
		return NULL;
	}
	struct entry *e = container_of(n, struct entry, node);
	e->place = PLACE_OUT;
	e->attempts++;
	return e->pod;
}

int queue_attempts(const struct pod *p) {
	const struct entry *e = p->queued;

	return e ? e->attempts : 0;
}

static nsec_t backoff_end(const struct entry *e) {
	int doublings = MIN(MAX(e->attempts - 1, 0), 8);

	return e->failed + MIN(BACKOFF_FIRST << doublings, BACKOFF_MAX);
}

static void back_off(struct queue *q, struct entry *e) {
	e->node.at = backoff_end(e);
	if (e->node.at <= loop_now(q->loop)) {
		queue_add(q, e->pod);
		return;
	}
	e->place = PLACE_BACKOFF;
	heap_push(&q->backoff, &e->node);
}

void queue_fail(struct queue *q, struct pod *p, int helps) {
	struct entry *e = entry_for(p);

	queue_remove(q, p);
	e->failed = loop_now(q->loop);
	e->helps = helps;
	if (helps) {
		e->place = PLACE_UNSCHEDULABLE;
		list_push(&q->unschedulable, &e->link);
		q->unschedulable_len++;
	} else {
		back_off(q, e);
	}
	timer_set(q);
}

void queue_wake(struct queue *q, struct pod *p) {
	struct entry *e = p->queued;

	if (e && e->place == PLACE_UNSCHEDULABLE) {
		queue_remove(q, p);
		back_off(q, e);
		timer_set(q);
	}
}

void queue_event(struct queue *q, int event) {
	LIST_EACH(&q->unschedulable, l) {
		struct entry *e = container_of(l, struct entry, link);
		if (e->helps & event) {
			queue_remove(q, e->pod);
			back_off(q, e);
		}
	}
	timer_set(q);
}
