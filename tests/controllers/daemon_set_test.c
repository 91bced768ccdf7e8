/* SPDX-License-Identifier: Apache-2.0 */
/* daemon_set_test.c - DaemonSets against an API in memory: one pod a node, rolling updates, history. */
#include "world.h"

#define DAEMON_SET(strategy)                                                                                                    \
	"metadata: {name: d}\n"                                                                                                 \
	"spec:\n"                                                                                                               \
	"  selector: {matchLabels: {app: d}}\n"                                                                                 \
	"  updateStrategy: " strategy "\n"                                                                                      \
	"  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: 'a:1'}]}}\n"
#define ROLLING "{type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}"

static void add_node(struct world *w, struct arena *a, int n, const char *extra) {
	auto_obj struct obj *node = fake_add(&w->fake, GVR_NODES, arena_printf(a, "metadata: {name: n%d, labels: {n: '%d'}}\n%s", n, n, extra).ptr);
}

static int64_t status(struct world *w, enum name_id field) {
	return fake_int(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"), N_status, field);
}

static struct str target(const struct value *pod) {
	const struct value *required = value_at(pod, N_spec, N_affinity, N_nodeAffinity, N_requiredDuringSchedulingIgnoredDuringExecution);
	const struct value *e = value_item(value_get(value_item(value_get(required, N_nodeSelectorTerms), 0), N_matchFields), 0);
	return value_as_str(value_item(value_get(e, N_values), 0));
}

static size_t pods_with(struct world *w, const char *node, const char *image) {
	struct client_list pods;
	size_t n = 0;

	fake_all(&w->fake, GVR_PODS, DEFAULT, &pods);
	for (size_t i = 0; i < pods.len; i++) {
		const struct value *pod = pods.at[i]->root;
		n += (!node || str_eqc(target(pod), node)) && (!image || str_eqc(value_str_at(value_item(value_at(pod, N_spec, N_containers), 0), N_image), image));
	}
	client_list_release(&pods);
	return n;
}

static bool rolled_out(struct world *w, int64_t nodes, int64_t generation) {
	return status(w, N_observedGeneration) == generation && status(w, N_desiredNumberScheduled) == nodes && status(w, N_updatedNumberScheduled) == nodes &&
		status(w, N_numberAvailable) == nodes && status(w, N_numberReady) == nodes && fake_count(&w->fake, GVR_PODS, DEFAULT) == (size_t)nodes;
}

static void test_one_a_node(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "daemonset");
	auto_arena struct arena a = { 0 };

	add_node(w, &a, 1, "");
	add_node(w, &a, 2, "");
	add_node(w, &a, 3, "spec: {taints: [{key: k, effect: NoSchedule}]}");
	add_node(w, &a, 4, "spec: {unschedulable: true, taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DAEMONSETS, DAEMON_SET(ROLLING));
	WAIT_FOR(rolled_out(w, 3, 1));
	assert_int_equal(pods_with(w, "n3", NULL), 0);
	assert_int_equal(pods_with(w, "n4", NULL), 1);

	/* a new node gets one, a taint that evicts takes one away, a label decides */
	add_node(w, &a, 5, "");
	WAIT_FOR(rolled_out(w, 4, 1));
	fake_change(&w->fake, GVR_NODES, S(""), S("n1"), "spec: {taints: [{key: k, effect: NoExecute}]}");
	WAIT_FOR(rolled_out(w, 3, 1));
	fake_change(&w->fake, GVR_NODES, S(""), S("n2"), "spec: {taints: [{key: k, effect: NoSchedule}]}");
	WAIT_FOR(status(w, N_numberMisscheduled) == 1); /* it may stay */
	assert_int_equal(pods_with(w, "n2", NULL), 1);
	fake_change(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"), "spec: {template: {spec: {nodeSelector: {n: '5'}}}}");
	WAIT_FOR(rolled_out(w, 1, 2));
	assert_int_equal(pods_with(w, "n5", NULL), 1);
	world_free(w);
}

static void test_failed_pod(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "daemonset");
	auto_arena struct arena a = { 0 };
	struct client_list pods;

	add_node(w, &a, 1, "");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DAEMONSETS, DAEMON_SET(ROLLING));
	WAIT_FOR(rolled_out(w, 1, 1));
	fake_all(&w->fake, GVR_PODS, DEFAULT, &pods);
	struct str name = arena_str(&a, value_str_at(pods.at[0]->root, N_metadata, N_name));
	client_list_release(&pods);
	fake_change(&w->fake, GVR_PODS, DEFAULT, name, "status: {phase: Failed}");
	WAIT_FOR(fake_has_event(&w->fake, "FailedDaemonPod", arena_printf(&a, "Found failed daemon pod default/%.*s on node n1, will try to kill it", STR_ARG(name)).ptr));
	WAIT_FOR(rolled_out(w, 1, 1));
	auto_obj struct obj *gone = fake_get(&w->fake, GVR_PODS, DEFAULT, name);
	assert_null(gone);
	world_free(w);
}

static bool revision_is(struct world *w, const char *image, int64_t number, struct str *ret_hash, struct arena *a) {
	struct client_list all;
	bool found = false;

	fake_all(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT, &all);
	for (size_t i = 0; i < all.len; i++) {
		const struct value *r = all.at[i]->root;
		const struct value *c = value_item(value_at(r, N_data, N_spec, N_template, N_spec, N_containers), 0);
		if (str_eqc(value_str_at(c, N_image), image) && value_int_at(r, N_revision) == number) {
			found = true;
			*ret_hash = arena_str(a, value_as_str(value_get_str(value_at(r, N_metadata, N_labels), S("controller-revision-hash"))));
		}
	}
	client_list_release(&all);
	return found;
}

static void check_hashes(struct world *w, struct str hash) {
	struct client_list pods;

	fake_all(&w->fake, GVR_PODS, DEFAULT, &pods);
	for (size_t i = 0; i < pods.len; i++) {
		assert_true(str_eq(value_as_str(value_get_str(value_at(pods.at[i]->root, N_metadata, N_labels), S("controller-revision-hash"))), hash));
	}
	client_list_release(&pods);
}

struct roll_case {
	const char *name, *yaml;
};
static const struct roll_case roll_cases[] = {
	{ "one at a time", DAEMON_SET(ROLLING) },
	{ "a share of the nodes", DAEMON_SET("{type: RollingUpdate, rollingUpdate: {maxUnavailable: 50%, maxSurge: 0}}") },
	{ "surge", DAEMON_SET("{type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}") },
};

static void test_roll(void **state) {
	const struct roll_case *c = *state;
	struct world *w = world_new(FAKE_KUBELET_ANY, "daemonset");
	auto_arena struct arena a = { 0 };
	struct str first, second, again;

	for (int i = 0; i < 4; i++) {
		add_node(w, &a, i, "");
	}
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DAEMONSETS, c->yaml);
	WAIT_FOR(rolled_out(w, 4, 1));
	assert_true(revision_is(w, "a:1", 1, &first, &a));
	check_hashes(w, first);
	fake_change(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(rolled_out(w, 4, 2));
	assert_int_equal(pods_with(w, NULL, "a:2"), 4);
	assert_true(revision_is(w, "a:2", 2, &second, &a));
	check_hashes(w, second);
	/* back: the first revision under a new number */
	fake_change(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:1'}]}}}");
	WAIT_FOR(rolled_out(w, 4, 3));
	assert_int_equal(fake_count(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT), 2);
	assert_true(revision_is(w, "a:1", 3, &again, &a));
	assert_true(str_eq(first, again));
	world_free(w);
}

static void test_on_delete(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "daemonset");
	auto_arena struct arena a = { 0 };
	struct client_list pods;
	struct err err = { 0 };

	add_node(w, &a, 1, "");
	add_node(w, &a, 2, "");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DAEMONSETS, DAEMON_SET("{type: OnDelete}"));
	WAIT_FOR(rolled_out(w, 2, 1));
	fake_change(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(status(w, N_observedGeneration) == 2);
	assert_int_equal(pods_with(w, NULL, "a:1"), 2);
	fake_all(&w->fake, GVR_PODS, DEFAULT, &pods);
	assert_true(client_delete(w->client, GVR_PODS, DEFAULT, value_str_at(pods.at[0]->root, N_metadata, N_name), &err));
	client_list_release(&pods);
	WAIT_FOR(pods_with(w, NULL, "a:2") == 1 && status(w, N_updatedNumberScheduled) == 1);
	assert_int_equal(pods_with(w, NULL, "a:1"), 1);
	world_free(w);
}

static void test_history_limit(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "daemonset");
	auto_arena struct arena a = { 0 };

	add_node(w, &a, 1, "");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DAEMONSETS, DAEMON_SET(ROLLING) "  revisionHistoryLimit: 1\n");
	for (int i = 2; i < 6; i++) {
		fake_change(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"),
			arena_printf(&a, "spec: {template: {spec: {containers: [{name: c, image: 'a:%d'}]}}}", i).ptr);
		WAIT_FOR(rolled_out(w, 1, i));
	}
	WAIT_FOR(fake_count(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT) == 2);
	world_free(w);
}

/* Conformance controllerrevision-lifecycle: a copy made by hand under the next number is the current revision. */
static void test_copied_revision(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "daemonset");
	auto_arena struct arena a = { 0 };
	struct client_list all;
	struct err err = { 0 };
	struct str hash;

	add_node(w, &a, 1, "");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DAEMONSETS, DAEMON_SET(ROLLING));
	WAIT_FOR(rolled_out(w, 1, 1));
	fake_all(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT, &all);
	struct value *copy = value_copy(&a, all.at[0]->root);
	struct str first = arena_str(&a, value_str_at(copy, N_metadata, N_name));
	client_list_release(&all);
	value_set_str(&a, value_get(copy, N_metadata), N_name, S("copy"));
	value_remove(value_get(copy, N_metadata), N_resourceVersion);
	value_set_int(&a, copy, N_revision, 2);
	assert_true(client_create(w->client, GVR_CONTROLLERREVISIONS, DEFAULT, copy, NULL, &err));
	assert_true(client_delete(w->client, GVR_CONTROLLERREVISIONS, DEFAULT, first, &err));
	fake_change(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"), "metadata: {labels: {x: y}}");
	WAIT_FOR(fake_count(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT) == 1);
	fake_change(&w->fake, GVR_DAEMONSETS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(rolled_out(w, 1, 2));
	assert_int_equal(fake_count(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT), 2);
	assert_true(revision_is(w, "a:2", 3, &hash, &a));
	world_free(w);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(roll_cases)] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
		tests[i] = (struct CMUnitTest){ .name = roll_cases[i].name, .test_func = test_roll, .initial_state = (void *)&roll_cases[i] };
	}
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_one_a_node),
		cmocka_unit_test(test_failed_pod),
		cmocka_unit_test(test_on_delete),
		cmocka_unit_test(test_history_limit),
		cmocka_unit_test(test_copied_revision),
	};
	int failed = cmocka_run_group_tests_name("daemon_set", others, NULL, NULL);
	return failed + cmocka_run_group_tests_name("daemon_set rollout", tests, NULL, NULL);
}
