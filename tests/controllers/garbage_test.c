/* SPDX-License-Identifier: Apache-2.0 */
/* garbage_test.c - what goes and what stays when owners are deleted, against an API in memory. */
#include "world.h"

static bool exists(struct world *w, struct gvr gvr, struct str name) {
	auto_obj struct obj *o = fake_get(&w->fake, gvr, DEFAULT, name);
	return o != NULL;
}

static size_t owners(struct world *w, struct gvr gvr, struct str name) {
	auto_obj struct obj *o = fake_get(&w->fake, gvr, DEFAULT, name);
	return o ? value_len(value_at(o->root, N_metadata, N_ownerReferences)) : SIZE_MAX;
}

static struct str uid_of(struct arena *a, const struct obj *o) {
	return arena_str(a, value_str_at(o->root, N_metadata, N_uid));
}

static void add_owned(struct world *w, const char *name, struct str owner, struct str uid, bool block) {
	auto_arena struct arena a = { 0 };
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS,
		arena_printf(&a, "metadata: {name: %s, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: %.*s, uid: %.*s, blockOwnerDeletion: %s}]}", name,
			STR_ARG(owner), STR_ARG(uid), block ? "true" : "false")
			.ptr));
}

static void delete_as(struct world *w, struct str name, struct str propagation) {
	struct client_call call = { .verb = CLIENT_DELETE, .gvr = GVR_CONFIGMAPS, .ns = DEFAULT, .name = name, .propagation = propagation };
	struct err err = { 0 };
	assert_true(client_do(w->client, &call, NULL, NULL, &err));
}

/* owner <- child <- grandchild, and a bystander */
static struct world *family(bool block) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "garbagecollector");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *owner = fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: owner}");

	add_owned(w, "child", S("owner"), uid_of(&a, owner), block);
	auto_obj struct obj *child = fake_get(&w->fake, GVR_CONFIGMAPS, DEFAULT, S("child"));
	add_owned(w, "grandchild", S("child"), uid_of(&a, child), block);
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: bystander}"));
	return w;
}

static void test_background(void **state) {
	struct world *w = family(true);

	delete_as(w, S("owner"), S("Background"));
	WAIT_FOR(!exists(w, GVR_CONFIGMAPS, S("grandchild")) && !exists(w, GVR_CONFIGMAPS, S("child")));
	assert_true(exists(w, GVR_CONFIGMAPS, S("bystander")));
	world_free(w);
}

static void test_foreground(void **state) {
	struct world *w = family(true);

	/* a finalizer of somebody else holds the grandchild, and with it everybody above */
	fake_change(&w->fake, GVR_CONFIGMAPS, DEFAULT, S("grandchild"), "metadata: {finalizers: [example.com/hold]}");
	delete_as(w, S("owner"), S("Foreground"));
	WAIT_FOR(fake_int(&w->fake, GVR_CONFIGMAPS, DEFAULT, S("grandchild"), N_metadata, N_generation) == 1);
	clock_sleep(50 * NSEC_PER_MSEC);
	assert_true(exists(w, GVR_CONFIGMAPS, S("owner")) && exists(w, GVR_CONFIGMAPS, S("child")));
	auto_arena struct arena a = { 0 };
	struct value *patch = value_new_object(&a);
	struct err err = { 0 };
	value_set(&a, value_set(&a, patch, N_metadata, value_new_object(&a)), N_finalizers, NULL);
	assert_true(client_patch(w->client, GVR_CONFIGMAPS, DEFAULT, S("grandchild"), S(""), PATCH_MERGE, patch, NULL, &err));
	WAIT_FOR(!exists(w, GVR_CONFIGMAPS, S("owner")));
	assert_false(exists(w, GVR_CONFIGMAPS, S("child")) || exists(w, GVR_CONFIGMAPS, S("grandchild")));
	world_free(w);
}

static void test_orphan(void **state) {
	struct world *w = family(true);

	delete_as(w, S("owner"), S("Orphan"));
	WAIT_FOR(!exists(w, GVR_CONFIGMAPS, S("owner")));
	assert_int_equal(owners(w, GVR_CONFIGMAPS, S("child")), 0);
	assert_int_equal(owners(w, GVR_CONFIGMAPS, S("grandchild")), 1);
	world_free(w);
}

/* conformance gc-multiple-owners */
static void test_two_owners(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "garbagecollector");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *one = fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: one}"), *two = fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: two}");

	add_owned(w, "single", S("one"), uid_of(&a, one), true);
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS,
		arena_printf(&a,
			"metadata: {name: shared, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: one, uid: %.*s, blockOwnerDeletion: true}, "
			"{apiVersion: v1, kind: ConfigMap, name: two, uid: %.*s}]}",
			STR_ARG(uid_of(&a, one)), STR_ARG(uid_of(&a, two)))
			.ptr));
	delete_as(w, S("one"), S("Foreground"));
	WAIT_FOR(!exists(w, GVR_CONFIGMAPS, S("one")));
	WAIT_FOR(owners(w, GVR_CONFIGMAPS, S("shared")) == 1);
	assert_false(exists(w, GVR_CONFIGMAPS, S("single")));
	world_free(w);
}

/* conformance gc-cycle: three own each other in a ring */
static void test_ring(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "garbagecollector");
	auto_arena struct arena a = { 0 };
	static const char *const names[] = { "a", "b", "c" };
	struct str uids[3];

	for (int i = 0; i < 3; i++) {
		auto_obj struct obj *o = fake_add(&w->fake, GVR_CONFIGMAPS, arena_printf(&a, "metadata: {name: %s}", names[i]).ptr);
		uids[i] = uid_of(&a, o);
	}
	for (int i = 0; i < 3; i++) {
		int owner = (i + 2) % 3;
		fake_change(&w->fake, GVR_CONFIGMAPS, DEFAULT, str_c(names[i]),
			arena_printf(&a, "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: %s, uid: %.*s, controller: true, blockOwnerDeletion: true}]}",
				names[owner], STR_ARG(uids[owner]))
				.ptr);
	}
	delete_as(w, S("a"), S("Foreground"));
	WAIT_FOR(!exists(w, GVR_CONFIGMAPS, S("a")) && !exists(w, GVR_CONFIGMAPS, S("b")) && !exists(w, GVR_CONFIGMAPS, S("c")));
	world_free(w);
}

/* An owner that never was: its dependents go. One of an unknown kind keeps them. */
static void test_absent(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "garbagecollector");

	add_owned(w, "lost", S("never"), S("uid-never"), false);
	obj_unref(fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: kept, ownerReferences: [{apiVersion: example.com/v1, kind: Thing, name: x, uid: u}]}"));
	WAIT_FOR(!exists(w, GVR_CONFIGMAPS, S("lost")));
	assert_true(exists(w, GVR_CONFIGMAPS, S("kept")));
	world_free(w);
}

static void test_deployment(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "garbagecollector,deployment,replicaset");
	struct err err = { 0 };

	obj_unref(fake_add(&w->fake, GVR_DEPLOYMENTS,
		"metadata: {name: d}\nspec: {replicas: 20, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c}]}}}"));
	WAIT_FOR(fake_int(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), N_status, N_availableReplicas) == 20);
	struct client_call call = { .verb = CLIENT_DELETE, .gvr = GVR_DEPLOYMENTS, .ns = DEFAULT, .name = S("d"), .propagation = S("Background") };
	assert_true(client_do(w->client, &call, NULL, NULL, &err));
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 0 && fake_count(&w->fake, GVR_REPLICASETS, DEFAULT) == 0);
	world_free(w);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_foreground),
		cmocka_unit_test(test_orphan),
		cmocka_unit_test(test_two_owners),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_deployment),
	};
	return cmocka_run_group_tests_name("garbage", tests, NULL, NULL);
}
