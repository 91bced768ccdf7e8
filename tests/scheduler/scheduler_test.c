/* SPDX-License-Identifier: Apache-2.0 */
/* scheduler_test.c - where pods go and why not, against an API in memory. Messages are upstream's. */
#include "../client/fake_api.h"
#include "scheduler/scheduler.h"

struct world {
	struct fake fake;
	struct client *client;
	struct scheduler *scheduler;
};

static struct world *world_new(void) {
	struct world *w = xcalloc(1, sizeof(*w));
	struct err err = { 0 };

	fake_init(&w->fake, FAKE_KUBELET_BOUND);
	w->client = client_new(&w->fake.transport);
	struct scheduler_opts opts = { .client = w->client };
	if (!scheduler_start(&opts, &w->scheduler, &err)) {
		fail_msg("%s", err.msg);
	}
	return w;
}

static void world_free(struct world *w) {
	scheduler_stop(w->scheduler);
	client_free(w->client);
	fake_release(&w->fake);
	free(w);
}

#define NODE(name, more_meta, spec)                                                                          \
	"metadata: {name: " name ", labels: {kubernetes.io/hostname: " name more_meta "}}\nspec: {" spec "}\n" \
	"status: {allocatable: {cpu: '2', memory: 4Gi, pods: '10', example.com/gpu: '1'}}"
#define POD(name, spec) "metadata: {name: " name ", labels: {app: x}}\nspec: {schedulerName: default-scheduler, " spec "}"

/* Waits for the pod's node; "" when it was refused with the message. */
static struct str outcome(struct world *w, struct arena *a, const char *pod) {
	for (nsec_t until = clock_mono() + 10 * NSEC_PER_SEC; clock_mono() < until; clock_sleep(NSEC_PER_MSEC)) {
		auto_obj struct obj *o = fake_get(&w->fake, GVR_PODS, S("default"), str_c(pod));
		struct str node = value_str_at(o->root, N_spec, N_nodeName);
		const struct value *c = value_find_by(value_at(o->root, N_status, N_conditions), N_type, S("PodScheduled"));
		if (node.len) {
			return arena_str(a, node);
		}
		if (str_eqc(value_str_at(c, N_status), "False")) {
			assert_true(str_eqc(value_str_at(c, N_reason), "Unschedulable"));
			return arena_str(a, value_str_at(c, N_message));
		}
	}
	return S("(nothing happened)");
}

struct fit_case {
	const char *name;
	const char *nodes[3];
	const char *first; /* a pod that is there already; NULL: none */
	const char *pod;
	const char *result; /* node, or message */
};

#define HELPLESS(n) " preemption: 0/" n " nodes are available: " n " Preemption is not helpful for scheduling."
#define NO_VICTIMS(n) " preemption: 0/" n " nodes are available: " n " No preemption victims found for incoming pod."

static const struct fit_case fit_cases[] = {
	{ "fits", { NODE("n1", "", "") }, NULL, POD("p", "containers: [{name: c, resources: {requests: {cpu: 100m}}}]"), "n1" },
	{ "too much cpu", { NODE("n1", "", "") }, NULL, POD("p", "containers: [{name: c, resources: {requests: {cpu: 1000}}}]"),
		"0/1 nodes are available: 1 Insufficient cpu." NO_VICTIMS("1") },
	{ "too much of two", { NODE("n1", "", ""), NODE("n2", "", "") }, NULL,
		POD("p", "containers: [{name: c, resources: {requests: {cpu: 3, memory: 5Gi}}}]"),
		"0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory." NO_VICTIMS("2") },
	{ "to the milli", { NODE("n1", "", "") }, POD("q", "containers: [{name: c, resources: {requests: {cpu: 1500m}}}]"),
		POD("p", "containers: [{name: c, resources: {requests: {cpu: 500m}}}]"), "n1" },
	{ "one milli too much", { NODE("n1", "", "") }, POD("q", "containers: [{name: c, resources: {requests: {cpu: 1500m}}}]"),
		POD("p", "containers: [{name: c, resources: {requests: {cpu: 501m}}}]"), "0/1 nodes are available: 1 Insufficient cpu." NO_VICTIMS("1") },
	{ "init containers count once", { NODE("n1", "", "") }, NULL,
		POD("p", "initContainers: [{name: i, resources: {requests: {cpu: 1500m}}}, {name: k, resources: {requests: {cpu: 1500m}}}], containers: [{name: c, resources: {requests: {cpu: 500m}}}]"),
		"n1" },
	{ "sidecars add up", { NODE("n1", "", "") }, NULL,
		POD("p", "initContainers: [{name: i, restartPolicy: Always, resources: {requests: {cpu: 1500m}}}], containers: [{name: c, resources: {requests: {cpu: 600m}}}]"),
		"0/1 nodes are available: 1 Insufficient cpu." NO_VICTIMS("1") },
	{ "overhead", { NODE("n1", "", "") }, NULL, POD("p", "overhead: {cpu: 200m}, containers: [{name: c, resources: {requests: {cpu: 1900m}}}]"),
		"0/1 nodes are available: 1 Insufficient cpu." NO_VICTIMS("1") },
	{ "extended", { NODE("n1", "", "") }, NULL, POD("p", "containers: [{name: c, resources: {requests: {example.com/gpu: 2}}}]"),
		"0/1 nodes are available: 1 Insufficient example.com/gpu." NO_VICTIMS("1") },
	{ "node selector", { NODE("n1", "", ""), NODE("n2", ", disk: ssd", "") }, NULL, POD("p", "nodeSelector: {disk: ssd}, containers: [{name: c}]"), "n2" },
	{ "node selector matches none", { NODE("n1", "", "") }, NULL, POD("p", "nodeSelector: {disk: ssd}, containers: [{name: c}]"),
		"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." HELPLESS("1") },
	{ "node affinity by field", { NODE("n1", "", ""), NODE("n2", "", "") }, NULL,
		POD("p", "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [n2]}]}]}}}, containers: [{name: c}]"),
		"n2" },
	{ "preferred node affinity", { NODE("n1", "", ""), NODE("n2", ", disk: ssd", ""), NODE("n3", "", "") }, NULL,
		POD("p", "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {matchExpressions: [{key: disk, operator: Exists}]}}]}}, containers: [{name: c}]"),
		"n2" },
	{ "cordoned", { NODE("n1", "", "unschedulable: true") }, NULL, POD("p", "containers: [{name: c}]"),
		"0/1 nodes are available: 1 node(s) were unschedulable." HELPLESS("1") },
	{ "tainted", { NODE("n1", "", "taints: [{key: a, value: b, effect: NoSchedule}]"), NODE("n2", "", "unschedulable: true") }, NULL,
		POD("p", "containers: [{name: c}]"),
		"0/2 nodes are available: 1 node(s) had untolerated taint {a: b}, 1 node(s) were unschedulable." HELPLESS("2") },
	{ "tolerated", { NODE("n1", "", "taints: [{key: a, value: b, effect: NoSchedule}]") }, NULL,
		POD("p", "tolerations: [{key: a, operator: Exists}], containers: [{name: c}]"), "n1" },
	{ "prefers no taint", { NODE("n1", "", "taints: [{key: a, effect: PreferNoSchedule}]"), NODE("n2", "", "") }, NULL, POD("p", "containers: [{name: c}]"),
		"n2" },
	{ "host port taken", { NODE("n1", "", "") }, POD("q", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 54322, protocol: TCP}]}]"),
		POD("p", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 54322, hostIP: 10.0.0.1, protocol: TCP}]}]"),
		"0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports." NO_VICTIMS("1") },
	{ "host port of another protocol", { NODE("n1", "", "") }, POD("q", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 54322, protocol: TCP}]}]"),
		POD("p", "containers: [{name: c, ports: [{containerPort: 80, hostPort: 54322, protocol: UDP}]}]"), "n1" },
	{ "anti-affinity", { NODE("n1", "", "") }, POD("q", "containers: [{name: c}]"),
		POD("p", "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: x}}}]}}, containers: [{name: c}]"),
		"0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules." NO_VICTIMS("1") },
	{ "existing anti-affinity", { NODE("n1", "", "") },
		POD("q", "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: x}}}]}}, containers: [{name: c}]"),
		POD("p", "containers: [{name: c}]"),
		"0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules." NO_VICTIMS("1") },
	{ "affinity to itself", { NODE("n1", "", "") }, NULL,
		POD("p", "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: x}}}]}}, containers: [{name: c}]"),
		"n1" },
	{ "affinity to nobody", { NODE("n1", "", "") }, NULL,
		POD("p", "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: y}}}]}}, containers: [{name: c}]"),
		"0/1 nodes are available: 1 node(s) didn't match pod affinity rules." HELPLESS("1") },
	{ "spread without the label", { NODE("n1", "", "") }, NULL,
		POD("p", "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: x}}}], containers: [{name: c}]"),
		"0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)." HELPLESS("1") },
	{ "claim missing", { NODE("n1", "", "") }, NULL, POD("p", "volumes: [{name: v, persistentVolumeClaim: {claimName: data}}], containers: [{name: c}]"),
		"0/1 nodes are available: persistentvolumeclaim \"data\" not found." HELPLESS("1") },
	{ "no nodes", { NULL }, NULL, POD("p", "containers: [{name: c}]"), "no nodes available to schedule pods" },
};

static void test_fit(void **state) {
	const struct fit_case *c = *state;
	struct world *w = world_new();
	auto_arena struct arena a = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(c->nodes) && c->nodes[i]; i++) {
		obj_unref(fake_add(&w->fake, GVR_NODES, c->nodes[i]));
	}
	if (c->first) {
		obj_unref(fake_add(&w->fake, GVR_PODS, c->first));
		assert_true(str_eqc(outcome(w, &a, "q"), "n1"));
	}
	obj_unref(fake_add(&w->fake, GVR_PODS, c->pod));
	assert_string_equal(arena_cstr(&a, outcome(w, &a, "p")), c->result);
	if (strchr(c->result, ' ')) {
		WAIT_FOR(fake_has_event(&w->fake, "FailedScheduling", c->result));
	} else {
		WAIT_FOR(fake_has_event(&w->fake, "Scheduled", arena_printf(&a, "Successfully assigned default/p to %s", c->result).ptr));
	}
	world_free(w);
}

static bool all_bound(struct world *w, size_t n) {
	struct client_list all;
	size_t bound = 0;

	fake_all(&w->fake, GVR_PODS, S("default"), &all);
	for (size_t i = 0; i < all.len; i++) {
		bound += value_str_at(all.at[i]->root, N_spec, N_nodeName).len > 0;
	}
	client_list_release(&all);
	return bound == n;
}

/* A burst goes evenly over the nodes. */
static void test_burst(void **state) {
	struct world *w = world_new();
	auto_arena struct arena a = { 0 };

	for (int i = 0; i < 4; i++) {
		obj_unref(fake_add(&w->fake, GVR_NODES,
			arena_printf(&a, "metadata: {name: n%d, labels: {kubernetes.io/hostname: n%d}}\nstatus: {allocatable: {cpu: '8', memory: 32Gi, pods: '110'}}", i, i).ptr));
	}
	for (int i = 0; i < 100; i++) {
		obj_unref(fake_add(&w->fake, GVR_PODS,
			arena_printf(&a, "metadata: {name: p%d, ownerReferences: [{kind: ReplicaSet, name: r, uid: u, controller: true}]}\nspec: {containers: [{name: c}]}", i).ptr));
	}
	nsec_t began = clock_mono();
	WAIT_FOR(all_bound(w, 100));
	assert_true(clock_mono() - began < 3 * NSEC_PER_SEC); /* some milliseconds on a quiet machine */
	struct client_list all;
	fake_all(&w->fake, GVR_PODS, S("default"), &all);
	size_t on[4] = { 0 };
	for (size_t i = 0; i < all.len; i++) {
		on[value_str_at(all.at[i]->root, N_spec, N_nodeName).ptr[1] - '0']++;
	}
	client_list_release(&all);
	for (int i = 0; i < 4; i++) {
		assert_in_range(on[i], 24, 26);
	}
	world_free(w);
}

/* A pod that fits nowhere is bound when a node that helps appears. */
static void test_wakes(void **state) {
	struct world *w = world_new();
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n1", "", "unschedulable: true")));
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("p", "containers: [{name: c}]")));
	assert_true(outcome(w, &a, "p").len > 2);
	fake_change(&w->fake, GVR_NODES, S(""), S("n1"), "spec: {unschedulable: null}");
	WAIT_FOR(all_bound(w, 1));
	world_free(w);
}

static void test_gates(void **state) {
	struct world *w = world_new();

	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n1", "", "")));
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("p", "schedulingGates: [{name: wait}], containers: [{name: c}]")));
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("q", "containers: [{name: c}]")));
	obj_unref(fake_add(&w->fake, GVR_PODS, "metadata: {name: other}\nspec: {schedulerName: another, containers: [{name: c}]}"));
	WAIT_FOR(all_bound(w, 1));
	fake_change(&w->fake, GVR_PODS, S("default"), S("p"), "spec: {schedulingGates: null}");
	WAIT_FOR(all_bound(w, 2));
	world_free(w);
}

static bool gone(struct world *w, const char *pod) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_PODS, S("default"), str_c(pod));
	return !o;
}

/* Only the low pod goes, and its event says for whom. */
static void test_preemption(void **state) {
	struct world *w = world_new();
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n1", "", "")));
	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n2", "", "")));
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("low", "priority: 1, nodeSelector: {kubernetes.io/hostname: n1}, containers: [{name: c, resources: {requests: {cpu: 1500m}}}]")));
	obj_unref(fake_add(&w->fake, GVR_PODS, POD("medium", "priority: 5, nodeSelector: {kubernetes.io/hostname: n2}, containers: [{name: c, resources: {requests: {cpu: 1500m}}}]")));
	WAIT_FOR(all_bound(w, 2));
	auto_obj struct obj *high = fake_add(&w->fake, GVR_PODS, POD("high", "priority: 10, containers: [{name: c, resources: {requests: {cpu: 1500m}}}]"));
	WAIT_FOR(gone(w, "low"));
	WAIT_FOR(all_bound(w, 2));
	assert_false(gone(w, "medium"));
	assert_true(str_eqc(outcome(w, &a, "high"), "n1"));
	struct str uid = value_str_at(high->root, N_metadata, N_uid);
	WAIT_FOR(fake_has_event(&w->fake, "Preempted", arena_printf(&a, "Preempted by pod %.*s on node n1", STR_ARG(uid)).ptr));
	world_free(w);
}

static void test_spread(void **state) {
	struct world *w = world_new();
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n1", "", "")));
	obj_unref(fake_add(&w->fake, GVR_NODES, NODE("n2", "", "")));
	for (int i = 0; i < 6; i++) {
		obj_unref(fake_add(&w->fake, GVR_PODS,
			arena_printf(&a,
				"metadata: {name: p%d, labels: {app: x}}\nspec: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, "
				"whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: x}}}], containers: [{name: c}]}", i)
				.ptr));
	}
	WAIT_FOR(all_bound(w, 6));
	struct client_list all;
	size_t on_first = 0;
	fake_all(&w->fake, GVR_PODS, S("default"), &all);
	for (size_t i = 0; i < all.len; i++) {
		on_first += str_eqc(value_str_at(all.at[i]->root, N_spec, N_nodeName), "n1");
	}
	client_list_release(&all);
	assert_int_equal(on_first, 3);
	world_free(w);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(fit_cases) + 5] = { { 0 } };
	size_t n = 0;

	for (; n < ARRAY_LEN(fit_cases); n++) {
		tests[n] = (struct CMUnitTest){ .name = fit_cases[n].name, .test_func = test_fit, .initial_state = (void *)&fit_cases[n] };
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_burst);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_wakes);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_gates);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_preemption);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_spread);
	return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
