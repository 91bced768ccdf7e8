/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - the process's worker threads.
 *
 * As many jobs run at a time as there are processors; a job that waits for something (pool_wait_begin) does not
 * count, so that another takes its place. So a burst of short jobs is worked off by a few warm threads without a
 * wake-up each, while jobs that wait for a disk or a peer never hold up others. A job that waits without saying
 * so is found by the monitor: an idle thread that looks once a millisecond, while jobs are queued, which jobs
 * have run for longer than that, and counts them no more.
 *
 * Idle threads wait on a condition each, the latest is woken first (warm caches; the others can end). They end
 * after some seconds, but for the first few.
 */
#include <pthread.h>
#include <unistd.h>

#include "loop/loop.h"

#define THREADS_MAX 1024 /* pods that take their grace to end hold one each */
#define THREADS_KEPT 2
#define QUEUE_MAX 100000
#define IDLE_TIME (5 * NSEC_PER_SEC)
#define STALL_TIME NSEC_PER_MSEC
#define STACK_BYTES ((size_t)1 << 20) /* reserved; only touched pages cost */

struct worker {
	struct list link;      /* in `idle` or `busy` */
	pthread_cond_t wake;
	bool woken;
	bool monitor;          /* woken to be it */
	bool counted;          /* its job counts in `active` */
	int waits;             /* pool_wait_begin less pool_wait_end */
	struct timespec since; /* when the job began, or began to count again */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static struct list idle = { &idle, &idle };              /* the latest first */
static struct list busy = { &busy, &busy };
static struct list queue = { &queue, &queue };
static size_t queue_len;
static int threads, active, waking, active_max;
static bool monitored;

static _Thread_local struct worker *self;

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

static void *worker_main(void *arg);

/* Wakes or makes a thread. Lock held. */
static void wake_one(bool as_monitor) {
	struct list *l = list_pop(&idle);
	struct worker *w = l ? container_of(l, struct worker, link) : NULL;
	if (!w) {
		pthread_t t;
		pthread_attr_t attr;
		if (threads >= THREADS_MAX) {
			return;
		}
		w = xcalloc(1, sizeof(*w));
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, STACK_BYTES);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		bool ok = pthread_create(&t, &attr, worker_main, w) == 0; /* it takes the lock first */
		pthread_attr_destroy(&attr);
		if (!ok) {
			free(w);
			return;
		}
		threads++;
	} else {
		pthread_cond_signal(&w->wake);
	}
	w->woken = true;
	w->monitor = as_monitor;
	if (as_monitor) {
		monitored = true;
	} else {
		waking++;
	}
}

/* Whenever a job came or a place became free. Lock held. */
static void wake_if_needed(void) {
	if (!queue_len) {
		return;
	}
	if (active + waking < active_max) {
		wake_one(false);
	} else if (!monitored) {
		wake_one(true);
	}
}

static void count(struct worker *w) {
	clock_gettime(CLOCK_MONOTONIC, &w->since);
	w->counted = true;
	active++;
}

static void uncount(struct worker *w) {
	if (w->counted) {
		w->counted = false;
		active--;
	}
}

static nsec_t span_between(struct timespec from, struct timespec to) {
	return (nsec_t)(to.tv_sec - from.tv_sec) * NSEC_PER_SEC + (to.tv_nsec - from.tv_nsec);
}

/* Waits for at most `span`; false when nothing came. Lock held. */
static bool worker_wait(struct worker *w, nsec_t span) {
	struct timespec end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += (end.tv_nsec + span) / NSEC_PER_SEC;
	end.tv_nsec = (end.tv_nsec + span) % NSEC_PER_SEC;
	return pthread_cond_timedwait(&w->wake, &lock, &end) == 0;
}

/* Looks after the queue until it is empty or there is room for this thread itself. Lock held. */
static void monitor_run(struct worker *w) {
	while (queue_len && active + waking >= active_max) {
		struct timespec now;
		worker_wait(w, STALL_TIME);
		clock_gettime(CLOCK_MONOTONIC, &now);
		LIST_EACH(&busy, it) {
			struct worker *other = container_of(it, struct worker, link);
			if (other->counted && span_between(other->since, now) >= STALL_TIME) {
				uncount(other);
			}
		}
	}
	w->monitor = monitored = false;
}

/* Until woken; false when it is time to end. Lock held. */
static bool worker_sleep(struct worker *w) {
	w->woken = false;
	list_push_front(&idle, &w->link);
	while (!w->woken) {
		if (threads <= THREADS_KEPT) {
			pthread_cond_wait(&w->wake, &lock);
		} else if (!worker_wait(w, IDLE_TIME) && !w->woken && threads > THREADS_KEPT) {
			list_remove(&w->link);
			return false;
		}
	}
	return true;
}

/* One job off the queue. Lock held, but not while the job runs. */
static void worker_take(struct worker *w) {
	struct job *j = container_of(list_pop(&queue), struct job, link);
	queue_len--;
	count(w);
	list_push(&busy, &w->link);
	wake_if_needed();
	pthread_mutex_unlock(&lock);
	job_run(j);
	pthread_mutex_lock(&lock);
	assert(w->waits == 0);
	list_remove(&w->link);
	uncount(w);
}

static void *worker_main(void *arg) {
	struct worker *w = self = arg;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_setname_np(pthread_self(), "worker");

	pthread_mutex_lock(&lock);
	do {
		if (w->monitor) {
			monitor_run(w);
		} else {
			waking--;
		}
		while (queue_len && active < active_max) {
			worker_take(w);
		}
		wake_if_needed(); /* jobs may be left, and nobody to look after them */
	} while (worker_sleep(w));
	threads--;
	pthread_mutex_unlock(&lock);
	pthread_cond_destroy(&w->wake);
	free(w);
	return NULL;
}

bool pool_submit(struct job *j) {
	if (loop_current()) {
		j->loop = loop_current();
	}
	pthread_mutex_lock(&lock);
	if (!active_max) {
		active_max = (int)MAX(sysconf(_SC_NPROCESSORS_ONLN), 2L);
	}
	bool ok = queue_len < QUEUE_MAX;
	if (ok) {
		list_push(&queue, &j->link);
		queue_len++;
		wake_if_needed();
		if (!threads) { /* none, and none can be made */
			list_remove(&j->link);
			queue_len--;
			ok = false;
		}
	}
	pthread_mutex_unlock(&lock);
	return ok;
}

void pool_wait_begin(void) {
	if (self && self->waits++ == 0) {
		pthread_mutex_lock(&lock);
		uncount(self);
		wake_if_needed();
		pthread_mutex_unlock(&lock);
	}
}

void pool_wait_end(void) {
	if (self && --self->waits == 0) {
		pthread_mutex_lock(&lock);
		count(self);
		pthread_mutex_unlock(&lock);
	}
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
