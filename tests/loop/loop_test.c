/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test.c - loops, timers, mailboxes, fds, the pool and child processes against the real machine. */
#include "loop/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *started(void) {
	struct err err = { 0 };
	struct loop *l = loop_new("test");
	assert_true(loop_start_thread(l, &err));
	return l;
}

static void count_up(void *arg) {
	atomic_fetch_add((_Atomic int *)arg, 1);
}

static void test_posts_run_before_stop(void **state) {
	_Atomic int n = 0;
	struct loop *l = started();
	for (int i = 0; i < 1000; i++) {
		assert_true(loop_call(l, count_up, &n));
	}
	loop_stop(l);
	assert_int_equal(n, 1000);
	assert_false(loop_call(l, count_up, &n)); /* stopped: refused, never run */
	loop_free(l);
	assert_int_equal(n, 1000);
}

struct order {
	struct msg msg;
	int thread, n;
};
static int order_last[4];
static _Atomic int order_bad, order_seen;
static void order_run(struct msg *m) {
	struct order *o = container_of(m, struct order, msg);
	if (o->n != order_last[o->thread] + 1) {
		order_bad++;
	}
	order_last[o->thread] = o->n;
	order_seen++;
	free(o);
}
struct order_thread {
	struct loop *loop;
	int thread;
};
static void *order_post(void *arg) {
	struct order_thread *t = arg;
	for (int i = 1; i <= 20000; i++) {
		struct order *o = xcalloc(1, sizeof(*o));
		*o = (struct order){ .msg.run = order_run, .thread = t->thread, .n = i };
		if (!loop_post(t->loop, &o->msg)) {
			free(o);
			order_bad++;
		}
	}
	return NULL;
}

static void test_posts_keep_each_threads_order(void **state) {
	struct loop *l = started();
	pthread_t t[4];
	struct order_thread arg[4];
	for (int i = 0; i < 4; i++) {
		arg[i] = (struct order_thread){ l, i };
		pthread_create(&t[i], NULL, order_post, &arg[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
	}
	loop_stop(l);
	loop_free(l);
	assert_int_equal(order_bad, 0);
	assert_int_equal(order_seen, 80000);
}

/* ---- timers ---- */

struct timers {
	struct loop *loop;
	struct loop_timer a, b, c, stopped;
	char seen[16];
	int repeats;
};
static struct timers *tm;
static void fire_a(struct loop_timer *t) {
	tm->seen[strlen(tm->seen)] = 'a';
	if (++tm->repeats < 3) {
		loop_timer_start(t->loop, t, NSEC_PER_MSEC, fire_a);
	}
}
static void fire_b(struct loop_timer *t) {
	tm->seen[strlen(tm->seen)] = 'b';
	loop_stop(t->loop);
}
static void fire_c(struct loop_timer *t) {
	tm->seen[strlen(tm->seen)] = 'c';
	loop_timer_stop(&tm->stopped);
}
static void fire_never(struct loop_timer *t) {
	tm->seen[strlen(tm->seen)] = '!';
}

static void test_timers_fire_in_order(void **state) {
	struct timers s = { .loop = loop_new("timers") };
	tm = &s;
	nsec_t begin = clock_mono();
	loop_timer_start(s.loop, &s.b, 60 * NSEC_PER_MSEC, fire_b);
	loop_timer_start(s.loop, &s.c, 20 * NSEC_PER_MSEC, fire_c);
	loop_timer_start(s.loop, &s.stopped, 30 * NSEC_PER_MSEC, fire_never);
	loop_timer_start(s.loop, &s.a, 500 * NSEC_PER_MSEC, fire_a);
	loop_timer_start(s.loop, &s.a, 0, fire_a); /* restarted sooner */
	loop_run(s.loop);
	assert_string_equal(s.seen, "aaacb");
	assert_true(clock_mono() - begin >= 60 * NSEC_PER_MSEC);
	loop_timer_stop(&s.a);
	loop_timer_stop(&s.a); /* harmless */
	loop_free(s.loop);
}

/* ---- fds ---- */

struct pipe_test {
	struct loop *loop;
	struct loop_fd *watch;
	int fds[2], reads;
};
static void pipe_ready(void *arg, int events) {
	struct pipe_test *p = arg;
	char c[8];
	assert_true(events & LOOP_READ);
	ssize_t n = read(p->fds[0], c, sizeof(c));
	if (n > 0) {
		p->reads += (int)n;
		return;
	}
	loop_fd_free(p->watch);
	loop_stop(p->loop);
}
static void test_fd_readable_until_closed(void **state) {
	struct pipe_test p = { .loop = loop_new("pipe") };
	assert_int_equal(pipe2(p.fds, O_CLOEXEC | O_NONBLOCK), 0);
	p.watch = loop_fd_watch(p.loop, p.fds[0], LOOP_READ, pipe_ready, &p);
	assert_int_equal(write(p.fds[1], "hello", 5), 5);
	close(p.fds[1]);
	loop_run(p.loop);
	assert_int_equal(p.reads, 5);
	close(p.fds[0]);
	loop_free(p.loop);
}

/* ---- pool ---- */

struct sum_job {
	struct job job;
	struct loop *expect;
	int in, out;
	_Atomic int *left;
};
static _Atomic int pool_wrong;
static void sum_run(struct job *j) {
	struct sum_job *s = container_of(j, struct sum_job, job);
	pool_wrong += loop_current() != NULL;
	s->out = s->in * 2;
}
static void sum_done(struct job *j) {
	struct sum_job *s = container_of(j, struct sum_job, job);
	pool_wrong += loop_current() != s->expect || s->out != s->in * 2;
	if (atomic_fetch_sub(s->left, 1) == 1) {
		loop_stop(s->expect);
	}
	free(s);
}
struct pool_test {
	struct loop *loop;
	_Atomic int left;
};
static void submit_all(void *arg) {
	struct pool_test *t = arg;
	for (int i = 0; i < 3000; i++) {
		struct sum_job *s = xcalloc(1, sizeof(*s));
		*s = (struct sum_job){ .job = { .run = sum_run, .done = sum_done }, .expect = t->loop, .in = i, .left = &t->left };
		assert_true(pool_submit(&s->job));
	}
}
static void test_pool_runs_and_comes_back(void **state) {
	struct pool_test t = { .loop = loop_new("pool"), .left = 3000 };
	assert_true(loop_call(t.loop, submit_all, &t));
	loop_run(t.loop);
	assert_int_equal(t.left, 0);
	assert_int_equal(pool_wrong, 0);
	loop_free(t.loop);
}

/* 100 jobs that all wait for each other: they must run at the same time. */
static pthread_barrier_t all_here;
static void meet(void *arg) {
	pthread_barrier_wait(&all_here);
}
static void test_pool_grows_for_blocked_jobs(void **state) {
	pthread_barrier_init(&all_here, NULL, 101);
	for (int i = 0; i < 100; i++) {
		assert_true(pool_run(meet, NULL));
	}
	pthread_barrier_wait(&all_here);
}

/* ---- children ---- */

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void test_child_output_and_status(void **state) {
	struct err err = { 0 };
	struct child_result r = { 0 };
	struct child_opts o = { .argv = ARGV("sh", "-c", "cat; echo bad >&2; exit 3"), .input = S("given") };
	assert_true(child_run(&o, &r, &err));
	assert_int_equal(r.status, 3);
	assert_true(str_eqc(buf_view(&r.out), "given"));
	assert_true(str_eqc(buf_view(&r.err_out), "bad\n"));
	child_result_release(&r);
}

static void test_child_killed_by_signal(void **state) {
	struct err err = { 0 };
	struct child_result r = { 0 };
	assert_true(child_run(&(struct child_opts){ .argv = ARGV("sh", "-c", "kill -9 $$") }, &r, &err));
	assert_int_equal(r.status, 137);
	child_result_release(&r);
}

static void test_child_times_out_with_its_group(void **state) {
	struct err err = { 0 };
	struct child_result r = { 0 };
	nsec_t begin = clock_mono();
	struct child_opts o = { .argv = ARGV("sh", "-c", "sleep 100 & sleep 100"), .timeout = 50 * NSEC_PER_MSEC };
	assert_false(child_run(&o, &r, &err));
	assert_int_equal(err.code, ERR_TIMEOUT);
	assert_true(clock_mono() - begin < 5 * NSEC_PER_SEC);
}

static void test_child_missing_program(void **state) {
	struct err err = { 0 };
	struct child_result r = { 0 };
	assert_false(child_run(&(struct child_opts){ .argv = ARGV("no-such-program-here") }, &r, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_string_equal(err.msg, "run no-such-program-here: No such file or directory");
	assert_false(child_run(&(struct child_opts){ .argv = ARGV("true"), .cwd = "/no/such/place" }, &r, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void test_child_output_is_bounded(void **state) {
	struct err err = { 0 };
	struct child_result r = { 0 };
	struct child_opts o = { .argv = ARGV("sh", "-c", "head -c 3000000 /dev/zero"), .output_max = 1000 };
	assert_true(child_run(&o, &r, &err));
	assert_int_equal(r.status, 0);
	assert_int_equal(r.out.len, 1000);
	child_result_release(&r);
}

static void test_child_daemon_is_not_waited_for(void **state) {
	struct err err = { 0 };
	struct child_result r = { 0 };
	nsec_t begin = clock_mono();
	assert_true(child_run(&(struct child_opts){ .argv = ARGV("sh", "-c", "sleep 7 & echo up") }, &r, &err));
	assert_true(clock_mono() - begin < 5 * NSEC_PER_SEC);
	assert_true(str_eqc(buf_view(&r.out), "up\n"));
	child_result_release(&r);
}

static void test_child_gets_fds_env_cwd(void **state) {
	struct err err = { 0 };
	struct child_result r = { 0 };
	int a[2], b[2];
	assert_int_equal(pipe2(a, O_CLOEXEC), 0);
	assert_int_equal(pipe2(b, O_CLOEXEC), 0);
	assert_int_equal(write(a[1], "A\n", 2), 2);
	assert_int_equal(write(b[1], "B\n", 2), 2);
	struct child_opts o = {
		.argv = ARGV("/bin/sh", "-c", "read x <&3; read y <&4; echo $x$y$WORD$PWD"),
		.env = ARGV("WORD=w", "PATH=/usr/bin:/bin"),
		.cwd = "/tmp",
		.pass_fds = (const int[]){ b[0], a[0] },
		.pass_fds_len = 2,
	};
	assert_true(child_run(&o, &r, &err));
	assert_true(str_eqc(buf_view(&r.out), "BAw/tmp\n"));
	child_result_release(&r);
	close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_posts_run_before_stop),
		cmocka_unit_test(test_posts_keep_each_threads_order),
		cmocka_unit_test(test_timers_fire_in_order),
		cmocka_unit_test(test_fd_readable_until_closed),
		cmocka_unit_test(test_pool_runs_and_comes_back),
		cmocka_unit_test(test_pool_grows_for_blocked_jobs),
		cmocka_unit_test(test_child_output_and_status),
		cmocka_unit_test(test_child_killed_by_signal),
		cmocka_unit_test(test_child_times_out_with_its_group),
		cmocka_unit_test(test_child_missing_program),
		cmocka_unit_test(test_child_output_is_bounded),
		cmocka_unit_test(test_child_daemon_is_not_waited_for),
		cmocka_unit_test(test_child_gets_fds_env_cwd),
	};
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
