/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local_test.c - the server through its in-process transport: what a controller sees. One server for all tests, on a store of its own
 * without flushes.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "apiserver/apiserver.h"
#include "base/file.h"
#include "net/net.h"

static struct store *store;
static struct apiserver *server;
static struct client *admin;
static struct loop *loop;
static char dir[64];

static struct str path_of(struct arena *a, const char *name) {
	return arena_printf(a, "%s/%s", dir, name);
}

static int start(void **state) {
	static const char *const masters[] = { "system:masters", NULL };
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct str key, cert;
	struct cert_opts o = { .common_name = S("server"), .usage = CERT_CA | CERT_SERVER };

	snprintf(dir, sizeof(dir), "/tmp/coracle-local-test-%d", getpid());
	assert_true(dir_make(dir, 0700, &err));
	assert_true(key_new(KEY_EC_P256, &a, &key, &err) && cert_new(key, &o, &a, &cert, &err));
	assert_true(file_write(path_of(&a, "crt").ptr, cert, 0600, &err) && file_write(path_of(&a, "key").ptr, key, 0600, &err));
	assert_true(store_open(&(struct store_opts){ .dir = path_of(&a, "data").ptr, .no_sync = true, .map_bytes = (size_t)1 << 30 }, &store, &err));
	struct apiserver_opts ao = { .store = store, .bind_address = "127.0.0.1", .port = -1, .cert_file = path_of(&a, "crt").ptr,
		.key_file = path_of(&a, "key").ptr, .sa_key_file = path_of(&a, "key").ptr, .advertise_address = "10.0.0.1" };
	if (!apiserver_start(&ao, &server, &err)) {
		fail_msg("%s %s", err.ctx, err.msg);
	}
	admin = client_new(apiserver_transport(server, "admin", masters));
	loop = loop_new("test");
	assert_true(loop_start_thread(loop, &err));
	return 0;
}

static int stop(void **state) {
	struct err err = { 0 };

	loop_stop(loop);
	client_free(admin);
	apiserver_stop(server, 100);
	loop_free(loop);
	store_close(store);
	return dir_remove(dir, &err) ? 0 : 1;
}

static struct value *parse(struct arena *a, const char *text) {
	struct value *v = NULL;
	struct err err = { 0 };

	assert_true(json_parse(a, str_c(text), NULL, &v, &err));
	return v;
}

/* ---- calls ------------------------------------------------------------------------------------------- */

static void test_calls(void **state) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	auto_obj struct obj *made = NULL, *got = NULL, *patched = NULL, *again = NULL;
	struct client_list l = { 0 };

	assert_true(client_create(admin, GVR_CONFIGMAPS, S("default"), parse(&a, "{\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}"), &made, &err));
	assert_true(str_eq(value_str_at(made->root, N_kind), S("ConfigMap")));
	assert_true(made->revision > 0);
	assert_true(client_get(admin, GVR_CONFIGMAPS, S("default"), S("a"), &got, &err));
	assert_ptr_equal(got, made); /* the very object: nothing was copied */
	assert_true(client_patch(admin, GVR_CONFIGMAPS, S("default"), S("a"), S(""), PATCH_MERGE, parse(&a, "{\"data\":{\"k\":\"w\"}}"), &patched, &err));
	assert_true(patched->revision > made->revision);
	assert_false(client_update(admin, GVR_CONFIGMAPS, S("default"), made->root, &again, &err));
	assert_int_equal(err.code, ERR_CONFLICT);
	err_clear(&err);
	assert_true(client_list(admin, GVR_CONFIGMAPS, S("default"), S(""), &l, &err));
	assert_int_equal(l.len, 1);
	client_list_release(&l);
	assert_true(client_delete(admin, GVR_CONFIGMAPS, S("default"), S("a"), &err));
	assert_false(client_get(admin, GVR_CONFIGMAPS, S("default"), S("a"), &again, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_string_equal(err.msg, "configmaps \"a\" not found");
}

static void test_is_authorised(void **state) {
	static const char *const none[] = { NULL };
	struct client *bob = client_new(apiserver_transport(server, "bob", none));
	struct client *scheduler = client_new(apiserver_transport(server, "system:kube-scheduler", none));
	struct client_list l = { 0 };
	struct err err = { 0 };

	assert_false(client_list(bob, GVR_PODS, S("default"), S(""), &l, &err));
	assert_int_equal(err.code, ERR_FORBIDDEN);
	assert_string_equal(err.msg, "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"");
	err_clear(&err);
	assert_true(client_list(scheduler, GVR_PODS, S(""), S(""), &l, &err));
	client_list_release(&l);
	client_free(bob);
	client_free(scheduler);
}

static void test_generated_names_differ(void **state) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *one = NULL, *two = NULL;
	struct err err = { 0 };
	struct value *body = parse(&a, "{\"metadata\":{\"generateName\":\"g-\"}}");

	assert_true(client_create(admin, GVR_CONFIGMAPS, S("default"), body, &one, &err));
	assert_true(client_create(admin, GVR_CONFIGMAPS, S("default"), body, &two, &err));
	assert_false(str_eq(value_str_at(one->root, N_metadata, N_name), value_str_at(two->root, N_metadata, N_name)));
	assert_int_equal(value_str_at(one->root, N_metadata, N_name).len, 7);
}

static void test_bootstrap(void **state) {
	auto_obj struct obj *svc = NULL, *ep = NULL, *role = NULL;
	struct err err = { 0 };

	assert_true(client_get(admin, GVR_SERVICES, S("default"), S("kubernetes"), &svc, &err));
	assert_true(str_eq(value_str_at(svc->root, N_spec, N_clusterIP), S("10.96.0.1")));
	assert_true(client_get(admin, GVR_ENDPOINTS, S("default"), S("kubernetes"), &ep, &err));
	assert_true(client_get(admin, GVR("rbac.authorization.k8s.io", "v1", "clusterroles"), S(""), S("view"), &role, &err));
	assert_true(value_len(value_get(role->root, N_rules)) > 5); /* aggregated */
}

/* ---- watches ----------------------------------------------------------------------------------------------- */

struct seen {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	int added, modified, deleted, synced, ended;
	int64_t last; /* revision of the last event: must rise */
	bool disorder;
};

static void on_event(void *arg, enum watch_event type, struct obj *o, const struct err *err) {
	struct seen *s = arg;

	pthread_mutex_lock(&s->lock);
	s->added += type == WATCH_ADDED;
	s->modified += type == WATCH_MODIFIED;
	s->deleted += type == WATCH_DELETED;
	s->synced += type == WATCH_SYNCED;
	s->ended += type == WATCH_ENDED;
	if (o && s->synced) {
		s->disorder |= o->revision <= s->last;
		s->last = o->revision;
	}
	pthread_cond_broadcast(&s->moved);
	pthread_mutex_unlock(&s->lock);
}

#define WAIT_FOR(s, cond) \
	do { \
		pthread_mutex_lock(&(s)->lock); \
		while (!(cond)) { \
			pthread_cond_wait(&(s)->moved, &(s)->lock); \
		} \
		pthread_mutex_unlock(&(s)->lock); \
	} while (0)

static void stop_watch(void *arg) {
	client_watch_stop(arg);
}

static void test_watch_sees_every_change_once(void **state) {
	enum { WRITERS = 4, EACH = 100 };
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };
	struct client_watch *w = NULL;
	struct client_watch_opts o = { .gvr = GVR_SECRETS, .ns = S("kube-public"), .initial_events = true, .loop = loop, .on_event = on_event, .arg = &s };

	assert_true(client_create(admin, GVR_SECRETS, S("kube-public"), parse(&a, "{\"metadata\":{\"name\":\"before\"}}"), NULL, &err));
	assert_true(client_watch_start(admin, &o, &w, &err));
	WAIT_FOR(&s, s.synced == 1);
	assert_int_equal(s.added, 1);
	for (int i = 0; i < EACH; i++) {
		char text[100];
		snprintf(text, sizeof(text), "{\"metadata\":{\"name\":\"s%d\"}}", i);
		assert_true(client_create(admin, GVR_SECRETS, S("kube-public"), parse(&a, text), NULL, &err));
		snprintf(text, sizeof(text), "s%d", i);
		assert_true(client_patch(admin, GVR_SECRETS, S("kube-public"), str_c(text), S(""), PATCH_MERGE, parse(&a, "{\"data\":{\"a\":\"Yg==\"}}"), NULL, &err));
		assert_true(client_delete(admin, GVR_SECRETS, S("kube-public"), str_c(text), &err));
	}
	WAIT_FOR(&s, s.deleted == EACH);
	assert_int_equal(s.added, EACH + 1);
	assert_int_equal(s.modified, EACH);
	assert_false(s.disorder);
	(void)loop_call(loop, stop_watch, w);
}

static void test_watch_selects(void **state) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER };
	struct client_watch *w = NULL;
	struct client_watch_opts o = { .gvr = GVR_CONFIGMAPS, .ns = S("default"), .label_selector = S("watched=yes"), .initial_events = true, .loop = loop,
		.on_event = on_event, .arg = &s };

	assert_true(client_watch_start(admin, &o, &w, &err));
	assert_true(client_create(admin, GVR_CONFIGMAPS, S("default"), parse(&a, "{\"metadata\":{\"name\":\"sel\"}}"), NULL, &err));
	assert_true(client_patch(admin, GVR_CONFIGMAPS, S("default"), S("sel"), S(""), PATCH_MERGE, parse(&a, "{\"metadata\":{\"labels\":{\"watched\":\"yes\"}}}"), NULL, &err));
	assert_true(client_patch(admin, GVR_CONFIGMAPS, S("default"), S("sel"), S(""), PATCH_MERGE, parse(&a, "{\"data\":{\"a\":\"b\"}}"), NULL, &err));
	assert_true(client_patch(admin, GVR_CONFIGMAPS, S("default"), S("sel"), S(""), PATCH_MERGE, parse(&a, "{\"metadata\":{\"labels\":null}}"), NULL, &err));
	WAIT_FOR(&s, s.deleted == 1);
	assert_int_equal(s.added, 1);
	assert_int_equal(s.modified, 1);
	(void)loop_call(loop, stop_watch, w);
}

static void test_watch_of_the_past_goes_on_from_there(void **state) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct seen s = { .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER, .synced = 1 };
	struct client_list l = { 0 };
	struct client_watch *w = NULL;

	assert_true(client_list(admin, GVR_CONFIGMAPS, S("kube-public"), S(""), &l, &err));
	assert_true(client_create(admin, GVR_CONFIGMAPS, S("kube-public"), parse(&a, "{\"metadata\":{\"name\":\"past\"}}"), NULL, &err));
	assert_true(client_delete(admin, GVR_CONFIGMAPS, S("kube-public"), S("past"), &err));
	struct client_watch_opts o = { .gvr = GVR_CONFIGMAPS, .ns = S("kube-public"), .from = l.revision, .loop = loop, .on_event = on_event, .arg = &s };
	assert_true(client_watch_start(admin, &o, &w, &err));
	WAIT_FOR(&s, s.deleted == 1);
	assert_int_equal(s.added, 1);
	(void)loop_call(loop, stop_watch, w);
	client_list_release(&l);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_is_authorised),
		cmocka_unit_test(test_generated_names_differ),
		cmocka_unit_test(test_bootstrap),
		cmocka_unit_test(test_watch_sees_every_change_once),
		cmocka_unit_test(test_watch_selects),
		cmocka_unit_test(test_watch_of_the_past_goes_on_from_there),
	};
	return cmocka_run_group_tests_name("local", tests, start, stop);
}
