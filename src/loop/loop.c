/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - event loops: one thread, one libuv loop, a mailbox, a heap of timers, watched fds.
 *
 * The mailbox is the only part that other threads touch; its lock is held for a few instructions. A
 * batch of messages wakes the loop once. Timers share one uv_timer, set to the earliest of them.
 */
#include "loop/loop.h"

#include <pthread.h>
#include <uv.h>

#include "base/log.h"

#define MAILBOX_MAX 1000000
#define LOOP_STACK_BYTES ((size_t)1 << 20) /* reserved, not used: pages come when they are touched */

struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	uv_timer_t timer;
	uv_prepare_t prepare;
	struct list turns;
	struct heap timers;
	nsec_t now;
	uint64_t now_ms; /* uv's time when `now` was read */
	char *name;

	pthread_mutex_t lock; /* guards what follows */
	struct list inbox;
	size_t inbox_len;
	bool stopping; /* loop_stop was called */
	bool closed;   /* takes no more messages */

	pthread_t thread;
	bool has_thread; /* started by loop_start_thread and not joined */
};

struct loop_fd {
	uv_poll_t poll;
	int events;
	void (*ready)(void *arg, int events);
	void *arg;
};

static __thread struct loop *current;

struct loop *loop_current(void) {
	return current;
}

nsec_t loop_now(struct loop *l) {
	uint64_t ms = uv_now(&l->uv);
	if (ms != l->now_ms || !l->now) {
		l->now_ms = ms;
		l->now = clock_mono();
	}
	return l->now;
}

/* ---- messages ---- */

/* Runs what waits; ends the loop once it was told to stop and nothing waits any more. */
static void on_wake(uv_async_t *async) {
	struct loop *l = async->data;
	struct list batch;

	pthread_mutex_lock(&l->lock);
	list_init(&batch);
	if (!list_empty(&l->inbox)) { /* move the whole chain */
		batch = l->inbox;
		batch.next->prev = &batch;
		batch.prev->next = &batch;
		list_init(&l->inbox);
		l->inbox_len = 0;
	}
	pthread_mutex_unlock(&l->lock);

	for (struct list *it; (it = list_pop(&batch));) {
		struct msg *m = container_of(it, struct msg, link);
		m->run(m);
	}

	pthread_mutex_lock(&l->lock);
	if (l->stopping) {
		if (list_empty(&l->inbox)) {
			l->closed = true;
			uv_stop(&l->uv);
		} else {
			uv_async_send(&l->wake);
		}
	}
	pthread_mutex_unlock(&l->lock);
}

bool loop_post(struct loop *l, struct msg *m) {
	pthread_mutex_lock(&l->lock);
	if (l->closed || l->inbox_len >= MAILBOX_MAX) {
		pthread_mutex_unlock(&l->lock);
		return false;
	}
	bool first = list_empty(&l->inbox);
	list_push(&l->inbox, &m->link);
	l->inbox_len++;
	if (first) { /* inside the lock: after closing the handle may be gone */
		uv_async_send(&l->wake);
	}
	pthread_mutex_unlock(&l->lock);
	return true;
}

struct call {
	struct msg msg;
	void (*fn)(void *arg);
	void *arg;
};

static void call_run(struct msg *m) {
	struct call *c = container_of(m, struct call, msg);
	void (*fn)(void *arg) = c->fn;
	void *arg = c->arg;
	free(c);
	fn(arg);
}

bool loop_call(struct loop *l, void (*fn)(void *arg), void *arg) {
	struct call *c = xcalloc(1, sizeof(*c));
	*c = (struct call){ .msg.run = call_run, .fn = fn, .arg = arg };
	if (!loop_post(l, &c->msg)) {
		free(c);
		return false;
	}
	return true;
}

/* ---- the end of a turn ---- */

static void on_prepare(uv_prepare_t *handle) {
	struct loop *l = handle->data;
	LIST_EACH(&l->turns, it) {
		struct loop_turn *t = container_of(it, struct loop_turn, link);
		t->run(t);
	}
}

void loop_turn_add(struct loop *l, struct loop_turn *t) {
	if (list_empty(&l->turns)) {
		uv_prepare_start(&l->prepare, on_prepare);
	}
	list_push(&l->turns, &t->link);
}

void loop_turn_remove(struct loop_turn *t) {
	list_remove(&t->link);
}

/* ---- timers ---- */

static void on_timer(uv_timer_t *handle);

/* Sets uv's one timer to the earliest of ours. */
static void timer_arm(struct loop *l) {
	struct heap_node *min = heap_min(&l->timers);
	if (!min) {
		uv_timer_stop(&l->timer);
		return;
	}
	uv_update_time(&l->uv);
	nsec_t left = min->at - clock_mono();
	uint64_t ms = left <= 0 ? 0 : (uint64_t)((left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
	uv_timer_start(&l->timer, on_timer, ms, 0);
}

static void on_timer(uv_timer_t *handle) {
	struct loop *l = handle->data;
	nsec_t now = l->now = clock_mono();
	l->now_ms = uv_now(&l->uv);
	/* Those started by callbacks lie after `now`, so this ends. */
	for (struct heap_node *n; (n = heap_min(&l->timers)) && n->at <= now;) {
		heap_pop(&l->timers);
		struct loop_timer *t = container_of(n, struct loop_timer, node);
		t->fire(t);
	}
	timer_arm(l);
}

void loop_timer_start(struct loop *l, struct loop_timer *t, nsec_t after, void (*fire)(struct loop_timer *t)) {
	struct heap_node *old = heap_min(&l->timers);
	heap_remove(&l->timers, &t->node);
	t->loop = l;
	t->fire = fire;
	t->node.at = clock_mono() + MAX(after, (nsec_t)1);
	heap_push(&l->timers, &t->node);
	if (heap_min(&l->timers) == &t->node || old == &t->node) {
		timer_arm(l);
	}
}

void loop_timer_stop(struct loop_timer *t) {
	if (t->loop) {
		/* uv's timer may now fire for nobody: cheaper than to set it again each time */
		heap_remove(&t->loop->timers, &t->node);
		if (!heap_min(&t->loop->timers)) {
			uv_timer_stop(&t->loop->timer);
		}
	}
}

/* ---- fds ---- */

static void on_poll(uv_poll_t *handle, int status, int events);

static void poll_set(struct loop_fd *f) {
	if (f->events) {
		uv_poll_start(&f->poll, f->events, on_poll);
	} else {
		uv_poll_stop(&f->poll);
	}
}

static void on_poll(uv_poll_t *handle, int status, int events) {
	struct loop_fd *f = handle->data;
	if (status < 0) { /* an error waits on the fd: the owner finds it by reading or writing. uv has stopped watching. */
		events = f->events;
		poll_set(f);
	}
	f->ready(f->arg, events);
}

struct loop_fd *loop_fd_watch(struct loop *l, int fd, int events, void (*ready)(void *arg, int events), void *arg) {
	struct loop_fd *f = xcalloc(1, sizeof(*f));
	*f = (struct loop_fd){ .events = events, .ready = ready, .arg = arg };
	int rc = uv_poll_init(&l->uv, &f->poll, fd);
	assert(rc == 0); /* the fd is open and can be polled: the caller's promise */
	(void)rc;
	f->poll.data = f;
	poll_set(f);
	return f;
}

void loop_fd_change(struct loop_fd *f, int events) {
	if (f->events != events) {
		f->events = events;
		poll_set(f);
	}
}

static void on_fd_closed(uv_handle_t *handle) {
	free(handle->data);
}

void loop_fd_free(struct loop_fd *f) {
	if (f) {
		uv_close((uv_handle_t *)&f->poll, on_fd_closed);
	}
}

/* ---- life ---- */

struct loop *loop_new(const char *name) {
	struct loop *l = xcalloc(1, sizeof(*l));
	int rc = uv_loop_init(&l->uv);
	rc |= uv_async_init(&l->uv, &l->wake, on_wake);
	rc |= uv_timer_init(&l->uv, &l->timer);
	rc |= uv_prepare_init(&l->uv, &l->prepare);
	if (rc) {
		log_error("loop", "cannot make an event loop (out of file descriptors?)", kv_c("name", name), kv_int("uv", rc));
		abort();
	}
	l->wake.data = l->timer.data = l->prepare.data = l;
	list_init(&l->turns);
	l->name = xstrdup(name);
	pthread_mutex_init(&l->lock, NULL);
	list_init(&l->inbox);
	return l;
}

void loop_run(struct loop *l) {
	current = l;
	uv_run(&l->uv, UV_RUN_DEFAULT);
	current = NULL;
}

static void *loop_thread(void *arg) {
	struct loop *l = arg;
	char name[16];
	snprintf(name, sizeof(name), "%s", l->name);
	pthread_setname_np(pthread_self(), name);
	loop_run(l);
	return NULL;
}

bool loop_start_thread(struct loop *l, struct err *err) {
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, LOOP_STACK_BYTES);
	int rc = pthread_create(&l->thread, &attr, loop_thread, l);
	pthread_attr_destroy(&attr);
	if (rc) {
		return err_set(err, ERR_IO, "start thread %s: %s", l->name, strerrordesc_np(rc));
	}
	l->has_thread = true;
	return true;
}

void loop_stop(struct loop *l) {
	pthread_mutex_lock(&l->lock);
	l->stopping = true;
	if (!l->closed) {
		uv_async_send(&l->wake);
	}
	pthread_mutex_unlock(&l->lock);
	if (l->has_thread && current != l) {
		pthread_join(l->thread, NULL);
		l->has_thread = false;
	}
}

static void close_left(uv_handle_t *handle, void *arg) {
	(void)arg;
	if (uv_is_closing(handle)) {
		return;
	}
	uv_close(handle, handle->type == UV_POLL ? on_fd_closed : NULL);
}

void loop_free(struct loop *l) {
	if (!l) {
		return;
	}
	pthread_mutex_lock(&l->lock);
	l->closed = true;
	pthread_mutex_unlock(&l->lock);
	/* A loop that never ran may hold messages: they are owed their run. */
	for (struct list *it; (it = list_pop(&l->inbox));) {
		struct msg *m = container_of(it, struct msg, link);
		m->run(m);
	}
	uv_walk(&l->uv, close_left, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT);
	uv_loop_close(&l->uv);
	heap_release(&l->timers);
	pthread_mutex_destroy(&l->lock);
	free(l->name);
	free(l);
}
