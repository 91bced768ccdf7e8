/* SPDX-License-Identifier: Apache-2.0 */
/* informer_test.c - the informer's copy through lists, watches, breaks and old servers; the work queue and expectations. */
#include "fake_api.h"

#include <pthread.h>

#include "client/work_queue.h"

#define DEFAULT S("default")

struct world {
	struct fake fake;
	struct client *client;
	struct loop *loop;
	struct informer *informer;
	atomic_int adds, updates, deletes, synced;
};

static void on_change(void *arg, struct obj *old, struct obj *now) {
	struct world *w = arg;
	atomic_fetch_add(!old ? &w->adds : now ? &w->updates : &w->deletes, 1);
}

static void on_synced(void *arg) {
	atomic_fetch_add(&((struct world *)arg)->synced, 1);
}

static void index_colour(const struct obj *o, struct arena *a, void (*add)(void *ctx, struct str key), void *ctx) {
	struct str colour = value_as_str(value_get_str(value_at(o->root, N_metadata, N_labels), S("colour")));
	if (colour.len) {
		add(ctx, colour);
	}
}

static struct world *world_new(bool no_stream) {
	struct world *w = xcalloc(1, sizeof(*w));
	struct err err = { 0 };

	fake_init(&w->fake, FAKE_KUBELET_OFF);
	w->fake.no_stream = no_stream;
	w->client = client_new(&w->fake.transport);
	w->loop = loop_new("test");
	assert_true(loop_start_thread(w->loop, &err));
	return w;
}

static void start(struct world *w) {
	struct informer_opts opts = {
		.client = w->client,
		.loop = w->loop,
		.gvr = GVR_CONFIGMAPS,
		.on_change = on_change,
		.on_synced = on_synced,
		.arg = w,
		.index = index_colour,
	};
	w->informer = informer_start(&opts);
	WAIT_FOR(informer_synced(w->informer));
	WAIT_FOR(w->synced == 1);
}

static void stop_here(void *arg) {
	struct world *w = arg;
	informer_stop(TAKE(w->informer));
}

static void world_free(struct world *w) {
	assert_true(loop_call(w->loop, stop_here, w));
	loop_stop(w->loop);
	loop_free(w->loop);
	client_free(w->client);
	fake_release(&w->fake);
	free(w);
}

static bool colour_is(struct world *w, struct str name, const char *colour) {
	auto_obj struct obj *o = informer_get(w->informer, DEFAULT, name);
	return o && str_eqc(value_as_str(value_get_str(value_at(o->root, N_metadata, N_labels), S("colour"))), colour);
}

static size_t index_len(struct world *w, struct str key) {
	struct client_list list;
	informer_index(w->informer, key, &list);
	size_t n = list.len;
	client_list_release(&list);
	return n;
}

static void delete_one(struct world *w, struct str name) {
	struct err err = { 0 };
	assert_true(client_delete(w->client, GVR_CONFIGMAPS, DEFAULT, name, &err));
}

/* Follows adds, changes and deletes, whichever way the server begins. */
static void test_follow(void **state) {
	struct world *w = world_new(*state != NULL);

	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: a, labels: {colour: red}}"));
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: b, labels: {colour: red}}"));
	start(w);
	assert_int_equal(w->adds, 2);
	assert_int_equal(informer_len(w->informer), 2);
	assert_int_equal(index_len(w, S("red")), 2);
	fake_change(&w->fake, GVR_CONFIGMAPS, DEFAULT, S("a"), "metadata: {labels: {colour: blue}}");
	WAIT_FOR(colour_is(w, S("a"), "blue"));
	assert_int_equal(index_len(w, S("red")), 1);
	assert_int_equal(index_len(w, S("blue")), 1);
	delete_one(w, S("b"));
	WAIT_FOR(informer_len(w->informer) == 1);
	assert_int_equal(index_len(w, S("red")), 0);
	WAIT_FOR(w->deletes == 1);
	assert_int_equal(w->updates, 1);
	struct client_list list;
	informer_list(w->informer, DEFAULT, &list);
	assert_int_equal(list.len, 1);
	client_list_release(&list);
	informer_list(w->informer, S("other"), &list);
	assert_int_equal(list.len, 0);
	client_list_release(&list);
	world_free(w);
}

/* The watch breaks; meanwhile one goes, one changes, one comes, one is made anew under its name. */
static void test_break(void **state) {
	struct world *w = world_new(*state != NULL);

	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: goes}"));
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: changes}"));
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: stays}"));
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: anew}"));
	start(w);
	assert_int_equal(w->adds, 4);
	pthread_mutex_lock(&w->fake.lock); /* no reconnect before all has happened */
	pthread_mutex_unlock(&w->fake.lock);
	fake_end_watches(&w->fake, false);
	delete_one(w, S("goes"));
	delete_one(w, S("anew"));
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: anew}"));
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: comes}"));
	fake_change(&w->fake, GVR_CONFIGMAPS, DEFAULT, S("changes"), "metadata: {labels: {colour: green}}");
	WAIT_FOR(colour_is(w, S("changes"), "green") && informer_len(w->informer) == 4 && w->deletes == 2);
	WAIT_FOR(w->adds == 6 && w->updates == 1); /* what stays is not told again */
	assert_int_equal(w->synced, 1);
	/* and it follows on */
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: later}"));
	WAIT_FOR(informer_len(w->informer) == 5);
	world_free(w);
}

static void test_expired(void **state) {
	struct world *w = world_new(false);

	start(w);
	fake_end_watches(&w->fake, true);
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: a}"));
	WAIT_FOR(informer_len(w->informer) == 1);
	world_free(w);
}

/* ---- work queue ---- */

struct counted {
	struct work_queue *queue;
	pthread_mutex_t lock;
	atomic_int runs, running, most, fail;
	_Atomic nsec_t last;
};

static bool count(void *arg, struct str key, struct err *err) {
	struct counted *c = arg;

	pthread_mutex_lock(&c->lock);
	c->runs++;
	c->running++;
	c->most = c->running > c->most ? c->running : c->most;
	c->last = clock_mono();
	bool ok = c->fail-- <= 0;
	pthread_mutex_unlock(&c->lock);
	clock_sleep(2 * NSEC_PER_MSEC);
	pthread_mutex_lock(&c->lock);
	c->running--;
	pthread_mutex_unlock(&c->lock);
	return ok || err_set(err, ERR_CONFLICT, "again");
}

static int runs(struct counted *c) {
	pthread_mutex_lock(&c->lock);
	int n = c->runs;
	pthread_mutex_unlock(&c->lock);
	return n;
}

static void test_queue(void **state) {
	struct loop *loop = loop_new("queue");
	struct counted c = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct err err = { 0 };

	assert_true(loop_start_thread(loop, &err));
	struct work_queue_opts opts = { .name = "test", .loop = loop, .workers = 3, .sync = count, .arg = &c };
	c.queue = work_queue_new(&opts);
	for (int i = 0; i < 100; i++) {
		work_queue_add(c.queue, S("one")); /* a key stands in it once */
	}
	assert_int_equal(runs(&c), 0); /* not started */
	work_queue_start(c.queue);
	WAIT_FOR(runs(&c) == 1);
	clock_sleep(10 * NSEC_PER_MSEC);
	assert_int_equal(runs(&c), 1);

	for (int i = 0; i < 30; i++) { /* never more than the workers at once, and a key never twice */
		char key[16];
		snprintf(key, sizeof(key), "key%d", i % 10);
		work_queue_add(c.queue, str_c(key));
	}
	WAIT_FOR(runs(&c) >= 11);
	assert_in_range(c.most, 1, 3);

	/* failures come back with a growing delay */
	WAIT_FOR(c.running == 0);
	int before = runs(&c);
	pthread_mutex_lock(&c.lock);
	c.fail = 3;
	pthread_mutex_unlock(&c.lock);
	nsec_t began = clock_mono();
	work_queue_add(c.queue, S("fails"));
	WAIT_FOR(runs(&c) == before + 4);
	assert_true(clock_mono() - began >= 30 * NSEC_PER_MSEC); /* 5 + 10 + 20, less what the loop's clock lags */

	before = runs(&c);
	began = clock_mono();
	work_queue_add_after(c.queue, S("later"), 300 * NSEC_PER_MSEC);
	work_queue_add_after(c.queue, S("later"), 30 * NSEC_PER_MSEC); /* the earliest wins */
	WAIT_FOR(runs(&c) == before + 1);
	assert_in_range(c.last - began, 25 * NSEC_PER_MSEC, 280 * NSEC_PER_MSEC); /* the loop reads its clock once a turn */
	work_queue_add_after(c.queue, S("never"), NSEC_PER_SEC * 1000);
	work_queue_free(c.queue);
	loop_stop(loop);
	loop_free(loop);
}

static void test_expectations(void **state) {
	struct expectations *e = expectations_new();

	assert_true(expectations_seen(e, S("k")));
	expectations_expect(e, S("k"), 2, NULL, 0);
	assert_false(expectations_seen(e, S("k")));
	expectations_created(e, S("k"));
	expectations_created(e, S("other"));
	assert_false(expectations_seen(e, S("k")));
	expectations_created(e, S("k"));
	expectations_created(e, S("k"));
	assert_true(expectations_seen(e, S("k")));
	expectations_expect(e, S("k"), 0, (struct str[]){ S("a"), S("b") }, 2);
	expectations_deleted(e, S("k"), S("a"));
	expectations_deleted(e, S("k"), S("a")); /* one deletion shows twice */
	assert_false(expectations_seen(e, S("k")));
	expectations_deleted(e, S("k"), S("b"));
	assert_true(expectations_seen(e, S("k")));
	expectations_expect(e, S("k"), 1, NULL, 0);
	expectations_forget(e, S("k"));
	assert_true(expectations_seen(e, S("k")));
	expectations_free(e);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		{ .name = "follow a stream", .test_func = test_follow },
		{ .name = "follow list and watch", .test_func = test_follow, .initial_state = (void *)"old" },
		{ .name = "break of a stream", .test_func = test_break },
		{ .name = "break of list and watch", .test_func = test_break, .initial_state = (void *)"old" },
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_expectations),
	};
	return cmocka_run_group_tests_name("informer", tests, NULL, NULL);
}
