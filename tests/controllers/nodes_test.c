/* SPDX-License-Identifier: Apache-2.0 */
/* nodes_test.c - nodes that fall silent, taints, eviction, pods of nodes that are gone; against an API in memory. */
#include "world.h"

#define NODE(name, ready)                                                                                               \
	"metadata: {name: " name "}\nstatus: {conditions: [{type: Ready, status: '" ready "', reason: KubeletReady, " \
	"lastHeartbeatTime: '2026-01-01T00:00:00Z', lastTransitionTime: '2026-01-01T00:00:00Z'}]}"
#define POD(name, node, spec)                                                                                \
	"metadata: {name: " name "}\nspec: {nodeName: " node ", " spec "containers: [{name: c}]}\nstatus: {phase: Running, " \
	"conditions: [{type: Ready, status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z'}]}"

static bool has_taint(struct world *w, struct str node, const char *key, const char *effect) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_NODES, S(""), node);
	VALUE_EACH(value_at(o->root, N_spec, N_taints), t) {
		if (str_eqc(value_str_at(t, N_key), key) && str_eqc(value_str_at(t, N_effect), effect)) {
			return true;
		}
	}
	return false;
}

static struct str condition(struct world *w, struct arena *a, struct gvr gvr, struct str ns, struct str name, const char *type, enum name_id member) {
	auto_obj struct obj *o = fake_get(&w->fake, gvr, ns, name);
	return o ? arena_str(a, value_str_at(value_find_by(value_at(o->root, N_status, N_conditions), N_type, str_c(type)), member)) : S("");
}

static bool pod_exists(struct world *w, struct str name) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_PODS, DEFAULT, name);
	return o && !value_str_at(o->root, N_metadata, N_deletionTimestamp).len;
}

static void renew(struct world *w, int n) {
	auto_arena struct arena a = { 0 };
	fake_change(&w->fake, GVR_LEASES, S("kube-node-lease"), S("alive"), arena_printf(&a, "spec: {renewTime: '2026-01-01T00:00:%02d.000000Z'}", n).ptr);
}

static void test_silence(void **state) {
	struct world *w = world_new_opts(FAKE_KUBELET_OFF, &(struct controllers_opts){ .enabled = "nodelifecycle,taint-eviction-controller", .node_grace = 1500 * NSEC_PER_MSEC });
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_LEASES, "metadata: {name: alive, namespace: kube-node-lease}\nspec: {holderIdentity: alive}"));
	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("alive", "True")));
	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("dead", "True")));
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("victim", "dead", "")));
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("patient", "dead", "tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, tolerationSeconds: 300}], ")));
	for (int i = 0; !str_eqc(condition(w, &a, GVR_NODES, S(""), S("dead"), "Ready", N_status), "Unknown"); i++) {
		assert_true(i < 200);
		renew(w, i % 60);
		clock_sleep(50 * NSEC_PER_MSEC);
	}
	assert_true(str_eqc(condition(w, &a, GVR_NODES, S(""), S("dead"), "Ready", N_reason), "NodeStatusUnknown"));
	assert_true(str_eqc(condition(w, &a, GVR_NODES, S(""), S("dead"), "Ready", N_message), "Kubelet stopped posting node status."));
	assert_true(str_eqc(condition(w, &a, GVR_NODES, S(""), S("alive"), "Ready", N_status), "True"));
	WAIT_FOR(has_taint(w, S("dead"), "node.kubernetes.io/unreachable", "NoExecute"));
	assert_true(has_taint(w, S("dead"), "node.kubernetes.io/unreachable", "NoSchedule"));
	assert_false(has_taint(w, S("alive"), "node.kubernetes.io/unreachable", "NoExecute"));
	WAIT_FOR(!pod_exists(w, S("victim")));
	assert_true(str_eqc(condition(w, &a, GVR_PODS, DEFAULT, S("victim"), "DisruptionTarget", N_reason), "DeletionByTaintManager"));
	WAIT_FOR(str_eqc(condition(w, &a, GVR_PODS, DEFAULT, S("patient"), "Ready", N_status), "False"));
	assert_true(pod_exists(w, S("patient")));

	/* it comes back */
	fake_change(&w->fake, GVR_NODES, S(""), S("dead"),
		"status: {conditions: [{type: Ready, status: 'True', reason: KubeletReady, lastHeartbeatTime: '2026-01-01T01:00:00Z', lastTransitionTime: '2026-01-01T01:00:00Z'}]}");
	WAIT_FOR(!has_taint(w, S("dead"), "node.kubernetes.io/unreachable", "NoExecute") && !has_taint(w, S("dead"), "node.kubernetes.io/unreachable", "NoSchedule"));
	world_free(w);
}

static void test_taints(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "nodelifecycle,taint-eviction-controller");

	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n1", "True")));
	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n2", "False")));
	WAIT_FOR(has_taint(w, S("n2"), "node.kubernetes.io/not-ready", "NoSchedule") && has_taint(w, S("n2"), "node.kubernetes.io/not-ready", "NoExecute"));
	fake_change(&w->fake, GVR_NODES, S(""), S("n1"), "spec: {unschedulable: true}");
	WAIT_FOR(has_taint(w, S("n1"), "node.kubernetes.io/unschedulable", "NoSchedule"));
	fake_change(&w->fake, GVR_NODES, S(""), S("n1"), "spec: {unschedulable: null}");
	WAIT_FOR(!has_taint(w, S("n1"), "node.kubernetes.io/unschedulable", "NoSchedule"));

	/* conformance taint eviction: tolerated for a second, then gone */
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("p", "n1", "tolerations: [{key: a, operator: Equal, value: b, effect: NoExecute, tolerationSeconds: 1}], ")));
	fake_change(&w->fake, GVR_NODES, S(""), S("n1"), "spec: {taints: [{key: a, value: b, effect: NoExecute}]}");
	clock_sleep(300 * NSEC_PER_MSEC);
	assert_true(pod_exists(w, S("p")));
	WAIT_FOR(!pod_exists(w, S("p")));
	world_free(w);
}

/* With every node unready nobody is driven away. */
static void test_all_gone(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "nodelifecycle,taint-eviction-controller");

	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n1", "False")));
	WAIT_FOR(has_taint(w, S("n1"), "node.kubernetes.io/not-ready", "NoSchedule"));
	assert_false(has_taint(w, S("n1"), "node.kubernetes.io/not-ready", "NoExecute"));
	world_free(w);
}

static void test_finished_pods(void **state) {
	struct world *w = world_new_opts(FAKE_KUBELET_OFF, &(struct controllers_opts){ .enabled = "podgc", .terminated_pods_max = 1 });
	struct err err = { 0 };

	obj_unref(fake_add(&w->fake, GVR_PODS, "metadata: {name: unbound, finalizers: [a/b]}\nspec: {containers: [{name: c}]}"));
	assert_true(client_delete(w->client, GVR_PODS, DEFAULT, S("unbound"), &err));
	fake_change(&w->fake, GVR_PODS, DEFAULT, S("unbound"), "metadata: {finalizers: null}");
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 0);
	world_free(w);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_taints),
		cmocka_unit_test(test_all_gone),
		cmocka_unit_test(test_finished_pods),
	};
	return cmocka_run_group_tests_name("nodes", tests, NULL, NULL);
}
