/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - the process's worker threads.
 *
 * A job goes to the thread that became idle last (warm caches; the others can end), else to a new
 * thread, else into the queue. Each idle thread waits on a condition of its own, so that a job wakes
 * exactly one. Idle threads end after some seconds, but for the first few.
 */
#include <pthread.h>

#include "loop/loop.h"

#define THREADS_MAX 128
#define THREADS_KEPT 2
#define QUEUE_MAX 100000
#define IDLE_SECONDS 5
#define STACK_BYTES ((size_t)1 << 20) /* reserved; only touched pages cost */

struct worker {
	struct list link; /* in `idle` */
	pthread_cond_t wake;
	struct job *job; /* handed over; NULL: nothing yet */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list idle = { &idle, &idle };   /* the latest first */
static struct list queue = { &queue, &queue };
static size_t queue_len;
static int threads;

struct job_done {
	struct msg msg;
	struct job *job;
};

static void done_run(struct msg *m) {
	struct job_done *d = container_of(m, struct job_done, msg);
	struct job *j = d->job;
	free(d);
	j->done(j);
}

static void job_run(struct job *j) {
	struct loop *l = j->loop;
	struct job_done *d = NULL;
	if (l && j->done) {
		d = xcalloc(1, sizeof(*d));
		*d = (struct job_done){ .msg.run = done_run, .job = j };
	}
	j->run(j); /* without done, run may free the job */
	if (d && !loop_post(l, &d->msg)) {
		free(d); /* the loop has stopped: nobody is left to tell */
	}
}

/* The next job, or NULL when the thread has been idle for long. Called and returns with the lock held. */
static struct job *job_wait(struct worker *w) {
	if (queue_len) {
		queue_len--;
		return container_of(list_pop(&queue), struct job, link);
	}
	struct timespec end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += IDLE_SECONDS;
	list_push_front(&idle, &w->link);
	while (!w->job) {
		if (threads <= THREADS_KEPT) {
			pthread_cond_wait(&w->wake, &lock);
		} else if (pthread_cond_timedwait(&w->wake, &lock, &end) != 0 && !w->job && threads > THREADS_KEPT) {
			list_remove(&w->link);
			return NULL;
		}
	}
	return TAKE(w->job);
}

static void *worker_main(void *arg) {
	struct job *j = arg;
	struct worker w = { 0 };
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w.wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_setname_np(pthread_self(), "worker");

	pthread_mutex_lock(&lock);
	while (j || (j = job_wait(&w))) {
		pthread_mutex_unlock(&lock);
		job_run(j);
		j = NULL;
		pthread_mutex_lock(&lock);
	}
	threads--;
	pthread_mutex_unlock(&lock);
	pthread_cond_destroy(&w.wake);
	return NULL;
}

/* Called with the lock held. */
static bool thread_add(struct job *j) {
	pthread_t t;
	pthread_attr_t attr;
	if (threads >= THREADS_MAX) {
		return false;
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	bool ok = pthread_create(&t, &attr, worker_main, j) == 0;
	pthread_attr_destroy(&attr);
	threads += ok;
	return ok;
}

bool pool_submit(struct job *j) {
	bool ok = true;
	if (loop_current()) {
		j->loop = loop_current();
	}
	pthread_mutex_lock(&lock);
	struct list *free_worker = list_pop(&idle);
	if (free_worker) {
		struct worker *w = container_of(free_worker, struct worker, link);
		w->job = j;
		pthread_cond_signal(&w->wake);
	} else if (!thread_add(j)) {
		ok = queue_len < QUEUE_MAX && threads > 0;
		if (ok) {
			list_push(&queue, &j->link);
			queue_len++;
		}
	}
	pthread_mutex_unlock(&lock);
	return ok;
}

struct plain_job {
	struct job job;
	void (*fn)(void *arg);
	void *arg;
};

static void plain_run(struct job *j) {
	struct plain_job *p = container_of(j, struct plain_job, job);
	void (*fn)(void *arg) = p->fn;
	void *arg = p->arg;
	free(p);
	fn(arg);
}

bool pool_run(void (*fn)(void *arg), void *arg) {
	struct plain_job *p = xcalloc(1, sizeof(*p));
	*p = (struct plain_job){ .job.run = plain_run, .fn = fn, .arg = arg };
	if (!pool_submit(&p->job)) {
		free(p);
		return false;
	}
	return true;
}
