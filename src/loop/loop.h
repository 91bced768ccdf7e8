/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - event loops, timers, mailboxes, the worker pool, child processes.
 *
 * One thread, one loop (libuv below). A mutable struct belongs to one loop's thread. Threads talk by
 * posting messages. Blocking work goes to the pool: `run` is on a pool thread and touches only the job,
 * `done` is back on the caller's loop.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"

struct loop;
struct loop *loop_new(const char *name);      /* not running yet */
void loop_run(struct loop *l);                /* in the calling thread, until loop_stop */
NODISCARD bool loop_start_thread(struct loop *l, struct err *err); /* runs it in a thread of its own, named `name` */
void loop_stop(struct loop *l);               /* any thread; joins when it has a thread of its own (not from itself) */
void loop_free(struct loop *l);               /* after loop_stop */
struct loop *loop_current(void);              /* of this thread; NULL in a pool thread */
nsec_t loop_now(struct loop *l);              /* monotonic, cached for this turn */

/* ---- messages ---- */
struct msg {
	struct list link;
	void (*run)(struct msg *m); /* on the loop's thread; owns and frees m */
};
/* Gives the message away; any thread. False when the loop has stopped or its queue (1M) is full: then run was not and never will be called. */
bool loop_post(struct loop *l, struct msg *m);
/* The same from a plain function. */
bool loop_call(struct loop *l, void (*fn)(void *arg), void *arg);

/* ---- the end of a turn (owner thread only) ---- */
/* `run` is called before the loop waits, in each turn: what a turn produced leaves together. */
struct loop_turn {
	struct list link;
	void (*run)(struct loop_turn *t);
};
void loop_turn_add(struct loop *l, struct loop_turn *t);
void loop_turn_remove(struct loop_turn *t); /* harmless when not added; not from run */

/* ---- timers (owner thread only) ---- */
struct loop_timer {
	struct heap_node node;
	struct loop *loop;
	void (*fire)(struct loop_timer *t); /* may restart or free it */
};
void loop_timer_start(struct loop *l, struct loop_timer *t, nsec_t after, void (*fire)(struct loop_timer *t)); /* restarts when running */
void loop_timer_stop(struct loop_timer *t); /* harmless when not running */

/* ---- fd watching (owner thread only) ---- */
struct loop_fd;
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop_fd *loop_fd_watch(struct loop *l, int fd, int events, void (*ready)(void *arg, int events), void *arg);
void loop_fd_change(struct loop_fd *f, int events);
void loop_fd_free(struct loop_fd *f); /* stops watching; does not close the fd */

/*
 * ---- the worker pool: one per process, threads made on demand (at most 1,024), ended when idle ----
 *
 * As many jobs run at a time as there are processors. A job may block: around a wait of its own it says so by pool_wait_begin and
 * pool_wait_end, and another runs meanwhile (what this room, store and net wait for says so itself); one that does not say it is noticed after a millisecond.
 */
struct job {
	struct list link;
	struct loop *loop;           /* where done runs; set by pool_submit; NULL: done is not called */
	void (*run)(struct job *j);  /* pool thread; may block */
	void (*done)(struct job *j); /* caller's loop; may free j */
};
/* False when 100,000 jobs wait already: nothing was taken. */
bool pool_submit(struct job *j);
/* Runs fn(arg) on a pool thread; no completion. */
bool pool_run(void (*fn)(void *arg), void *arg);

/* Around a wait, in pairs, also nested; harmless in other threads. */
void pool_wait_begin(void);
void pool_wait_end(void);

/* ---- children ---- */
struct child_opts {
	const char *const *argv;   /* argv[0] is looked up in PATH; NULL-ended */
	const char *const *env;    /* NULL: inherit */
	const char *cwd;           /* NULL: inherit */
	struct str input;          /* for stdin */
	size_t output_max;         /* bytes of stdout+stderr kept each; 0: 1 MiB */
	nsec_t timeout;            /* 0: none; then SIGKILL to its process group and ERR_TIMEOUT */
	const int *pass_fds;       /* kept open in the child under the numbers 3, 4, ... */
	size_t pass_fds_len;
};
struct child_result {
	int status;      /* exit code; 128 + signal when killed */
	struct buf out;
	struct buf err_out;
};
void child_result_release(struct child_result *r);
/* Runs a program to its end; blocks: only in threads that may. Fails only when it could not run or timed out. */
NODISCARD bool child_run(const struct child_opts *opts, struct child_result *ret, struct err *err);

#endif
