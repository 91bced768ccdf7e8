/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work_queue.c - the keyed queue of every controller.
 *
 * All state belongs to the queue's loop: adds from other threads are messages, a sync is a pool job
 * whose `done` comes back to the loop. So there is no lock here, and an idle queue wakes nobody.
 */
#include "client/work_queue.h"

#include <semaphore.h>

#include "base/log.h"
#include "base/map.h"

#define BACKOFF_FIRST (5 * NSEC_PER_MSEC)
#define BACKOFF_MAX (1000 * NSEC_PER_SEC)
#define FAILURES_BEFORE_WARN 5
#define KEYS_MAX 1000000

struct item {
	struct list link;       /* in ready, when it waits for a worker */
	struct heap_node delay; /* in delayed, when it has a later time */
	struct job job;
	struct work_queue *queue;
	struct str key; /* owned */
	bool running;
	bool dirty; /* added while it ran: once more after */
	bool ok;    /* result of the last run */
	int failures;
	struct err err;
};

struct work_queue {
	struct work_queue_opts opts;
	struct map items; /* key -> struct item: what waits, is delayed, runs or has failed */
	struct list ready;
	struct heap delayed;
	struct loop_timer timer;
	int running;
	bool started;
	bool closing;
	sem_t closed; /* posted when the last sync of a closing queue has ended */
};

static void dispatch(struct work_queue *q);

static struct item *item_for(struct work_queue *q, struct str key) {
	struct item *i = map_get(&q->items, key);

	if (!i) {
		if (q->items.len >= KEYS_MAX) {
			log_error(q->opts.name, "work queue is full, key dropped", kv_str("key", key));
			return NULL;
		}
		i = xcalloc(1, sizeof(*i));
		i->queue = q;
		i->key = (struct str){ str_dup(key), key.len };
		map_set(&q->items, key, i);
	}
	return i;
}

/* Frees an item that nothing refers to any more. */
static void item_settle(struct item *i) {
	struct work_queue *q = i->queue;

	if (i->running || i->delay.index || list_linked(&i->link) || (i->failures > 0 && !q->closing)) {
		return;
	}
	map_remove(&q->items, i->key);
	free((char *)i->key.ptr);
	free(i);
}

static void make_ready(struct item *i) {
	if (i->running) {
		i->dirty = true;
	} else if (!list_linked(&i->link)) {
		list_push(&i->queue->ready, &i->link);
	}
}

static void on_timer(struct loop_timer *t) {
	struct work_queue *q = container_of(t, struct work_queue, timer);
	nsec_t now = loop_now(q->opts.loop);

	for (struct heap_node *n; (n = heap_min(&q->delayed)) && n->at <= now;) {
		heap_pop(&q->delayed);
		make_ready(container_of(n, struct item, delay));
	}
	dispatch(q);
}

static void timer_set(struct work_queue *q) {
	struct heap_node *n = heap_min(&q->delayed);

	if (n) {
		nsec_t after = n->at - loop_now(q->opts.loop);
		loop_timer_start(q->opts.loop, &q->timer, MAX(after, (nsec_t)0), on_timer);
	} else {
		loop_timer_stop(&q->timer);
	}
}

static void delay(struct item *i, nsec_t after) {
	struct work_queue *q = i->queue;
	nsec_t at = loop_now(q->opts.loop) + after;

	if (i->delay.index && i->delay.at <= at) {
		return;
	}
	heap_remove(&q->delayed, &i->delay);
	i->delay.at = at;
	heap_push(&q->delayed, &i->delay);
}

static void item_run(struct job *j) {
	struct item *i = container_of(j, struct item, job);

	i->ok = i->queue->opts.sync(i->queue->opts.arg, i->key, &i->err);
}

static nsec_t backoff(int failures) {
	return failures > 18 ? BACKOFF_MAX : MIN(BACKOFF_FIRST << (failures - 1), BACKOFF_MAX);
}

static void item_done(struct job *j) {
	struct item *i = container_of(j, struct item, job);
	struct work_queue *q = i->queue;

	i->running = false;
	q->running--;
	if (q->closing) {
		if (q->running == 0) {
			sem_post(&q->closed);
		}
		return;
	}
	if (i->ok) {
		i->failures = 0;
	} else {
		i->failures++;
		if (i->failures == FAILURES_BEFORE_WARN) {
			log_warn(q->opts.name, "sync keeps failing, trying on", kv_str("key", i->key), kv_int("failures", i->failures), kv_err(&i->err));
		} else {
			log_debug(q->opts.name, "sync failed", kv_str("key", i->key), kv_err(&i->err));
		}
		delay(i, backoff(i->failures));
	}
	if (i->dirty) {
		i->dirty = false;
		make_ready(i);
	}
	item_settle(i);
	dispatch(q);
}

static void dispatch(struct work_queue *q) {
	if (!q->started || q->closing) {
		return;
	}
	while (q->running < q->opts.workers && !list_empty(&q->ready)) {
		struct item *i = container_of(list_pop(&q->ready), struct item, link);
		i->running = true;
		i->err = (struct err){ 0 };
		i->job = (struct job){ .run = item_run, .done = item_done };
		if (!pool_submit(&i->job)) {
			/* the pool is swamped: come back in a moment */
			i->running = false;
			delay(i, 100 * NSEC_PER_MSEC);
			break;
		}
		q->running++;
	}
	timer_set(q);
}

/* An add from another thread. */
struct add_msg {
	struct msg msg;
	struct work_queue *queue;
	nsec_t after;
	size_t len;
	char key[];
};

static void add_here(struct work_queue *q, struct str key, nsec_t after) {
	struct item *i = q->closing ? NULL : item_for(q, key);

	if (!i) {
		return;
	}
	if (after <= 0) {
		make_ready(i);
	} else {
		delay(i, after);
	}
	dispatch(q);
}

static void add_run(struct msg *m) {
	struct add_msg *a = container_of(m, struct add_msg, msg);

	add_here(a->queue, (struct str){ a->key, a->len }, a->after);
	free(a);
}

void work_queue_add_after(struct work_queue *q, struct str key, nsec_t after) {
	if (loop_current() == q->opts.loop) {
		add_here(q, key, after);
		return;
	}
	struct add_msg *a = xmalloc(sizeof(*a) + key.len);
	*a = (struct add_msg){ .msg.run = add_run, .queue = q, .after = after, .len = key.len };
	memcpy(a->key, key.ptr, key.len);
	if (!loop_post(q->opts.loop, &a->msg)) {
		free(a);
	}
}

void work_queue_add(struct work_queue *q, struct str key) {
	work_queue_add_after(q, key, 0);
}

struct work_queue *work_queue_new(const struct work_queue_opts *opts) {
	struct work_queue *q = xcalloc(1, sizeof(*q));

	q->opts = *opts;
	q->opts.workers = opts->workers > 0 ? opts->workers : 2;
	list_init(&q->ready);
	sem_init(&q->closed, 0, 0);
	return q;
}

static void start_here(void *arg) {
	struct work_queue *q = arg;

	q->started = true;
	dispatch(q);
}

void work_queue_start(struct work_queue *q) {
	if (loop_current() == q->opts.loop) {
		start_here(q);
	} else {
		(void)loop_call(q->opts.loop, start_here, q);
	}
}

static void close_here(void *arg) {
	struct work_queue *q = arg;

	q->closing = true;
	loop_timer_stop(&q->timer);
	if (q->running == 0) {
		sem_post(&q->closed);
	}
}

void work_queue_free(struct work_queue *q) {
	if (!q) {
		return;
	}
	assert(loop_current() != q->opts.loop);
	if (loop_call(q->opts.loop, close_here, q)) {
		while (sem_wait(&q->closed) != 0) {
			/* a signal came: wait on */
		}
	}
	MAP_EACH(&q->items, e) {
		struct item *i = e->value;
		free((char *)i->key.ptr);
		free(i);
	}
	map_release(&q->items);
	heap_release(&q->delayed);
	sem_destroy(&q->closed);
	free(q);
}
