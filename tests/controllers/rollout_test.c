/* SPDX-License-Identifier: Apache-2.0 */
/* rollout_test.c - ReplicaSets and Deployments against an API in memory: what upstream's controllers would leave there. */
#include "world.h"

static void test_replica_set(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset");
	auto_obj struct obj *orphan = fake_add(&w->fake, GVR_PODS, "metadata: {name: orphan, labels: {app: x}}\nspec: {containers: [{name: c}]}");
	auto_obj struct obj *rs = fake_add(&w->fake, GVR_REPLICASETS,
		"metadata: {name: x}\nspec: {replicas: 3, selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c}]}}}");

	WAIT_FOR(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), N_status, N_availableReplicas) == 3);
	assert_int_equal(fake_count(&w->fake, GVR_PODS, DEFAULT), 3); /* the orphan is one of them */
	assert_int_equal(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), N_status, N_fullyLabeledReplicas), 3);
	assert_int_equal(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), N_status, N_observedGeneration), 1);

	/* a pod that is deleted comes back */
	struct client_list pods;
	fake_all(&w->fake, GVR_PODS, DEFAULT, &pods);
	struct err err = { 0 };
	auto_arena struct arena a = { 0 };
	struct str gone = arena_str(&a, value_str_at(pods.at[0]->root, N_metadata, N_name));
	struct str released = arena_str(&a, value_str_at(pods.at[1]->root, N_metadata, N_name));
	client_list_release(&pods);
	assert_true(client_delete(w->client, GVR_PODS, DEFAULT, gone, &err));
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 3);

	/* one whose labels stop matching is released and replaced */
	fake_change(&w->fake, GVR_PODS, DEFAULT, released, "metadata: {labels: {app: y}}");
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 4);
	auto_obj struct obj *free_pod = fake_get(&w->fake, GVR_PODS, DEFAULT, released);
	assert_int_equal(value_len(value_at(free_pod->root, N_metadata, N_ownerReferences)), 0);

	fake_change(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), "spec: {replicas: 1}");
	WAIT_FOR(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), N_status, N_replicas) == 1);
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 2);
	world_free(w);
}

/* 100 pods are made in few rounds, and never one too many. */
static void test_burst(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset");
	auto_obj struct obj *rs = fake_add(&w->fake, GVR_REPLICASETS,
		"metadata: {name: x}\nspec: {replicas: 100, selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c}]}}}");

	WAIT_FOR(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), N_status, N_readyReplicas) == 100);
	assert_int_equal(fake_count(&w->fake, GVR_PODS, DEFAULT), 100);
	fake_change(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), "spec: {replicas: 0}");
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 0);
	world_free(w);
}

static bool refuse_pods(struct fake *f, const struct client_call *call, struct err *err) {
	if (call->verb == CLIENT_CREATE && str_eqc(call->gvr.resource, "pods")) {
		return err_set(err, ERR_FORBIDDEN, "pods \"x-\" is forbidden: exceeded quota: q");
	}
	return true;
}

static bool has_failure(struct fake *f, bool want) {
	auto_obj struct obj *rs = fake_get(f, GVR_REPLICASETS, DEFAULT, S("x"));
	const struct value *c = value_find_by(value_at(rs->root, N_status, N_conditions), N_type, S("ReplicaFailure"));
	return want ? str_eqc(value_str_at(c, N_reason), "FailedCreate") && str_eqc(value_str_at(c, N_message), "pods \"x-\" is forbidden: exceeded quota: q") : !c;
}

static void test_failure(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset");
	w->fake.hook = refuse_pods;
	auto_obj struct obj *rs = fake_add(&w->fake, GVR_REPLICASETS,
		"metadata: {name: x}\nspec: {replicas: 5, selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c}]}}}");

	WAIT_FOR(has_failure(&w->fake, true));
	WAIT_FOR(fake_has_event(&w->fake, "FailedCreate", "Error creating: pods \"x-\" is forbidden: exceeded quota: q"));
	pthread_mutex_lock(&w->fake.lock);
	w->fake.hook = NULL;
	pthread_mutex_unlock(&w->fake.lock);
	WAIT_FOR(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("x"), N_status, N_readyReplicas) == 5);
	WAIT_FOR(has_failure(&w->fake, false));
	world_free(w);
}

#define DEPLOYMENT                                                                                                                                                  \
	"metadata: {name: d, labels: {app: d}}\n"                                                                                                                  \
	"spec:\n"                                                                                                                                                  \
	"  replicas: 3\n"                                                                                                                                          \
	"  revisionHistoryLimit: 1\n"                                                                                                                              \
	"  progressDeadlineSeconds: 600\n"                                                                                                                         \
	"  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}\n"                                                                 \
	"  selector: {matchLabels: {app: d}}\n"                                                                                                                    \
	"  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: 'a:1'}]}}\n"

static struct str condition_reason(struct fake *f, struct arena *a, struct str name, const char *type) {
	auto_obj struct obj *d = fake_get(f, GVR_DEPLOYMENTS, DEFAULT, name);
	return arena_str(a, value_str_at(value_find_by(value_at(d->root, N_status, N_conditions), N_type, str_c(type)), N_reason));
}

static bool rolled_out(struct fake *f, struct str name, int64_t replicas) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *d = fake_get(f, GVR_DEPLOYMENTS, DEFAULT, name);
	const struct value *s = value_get(d->root, N_status);
	return value_int_at(s, N_observedGeneration) >= value_int_at(d->root, N_metadata, N_generation) && value_int_at(s, N_replicas) == replicas &&
		value_int_at(s, N_updatedReplicas) == replicas && value_int_at(s, N_availableReplicas) == replicas &&
		str_eqc(condition_reason(f, &a, name, "Progressing"), "NewReplicaSetAvailable");
}

static struct str annotation(struct arena *a, const struct obj *o, const char *key) {
	return arena_str(a, value_as_str(value_get_str(value_at(o->root, N_metadata, N_annotations), str_c(key))));
}

static void test_deployment(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset,deployment");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DEPLOYMENTS, DEPLOYMENT);

	WAIT_FOR(rolled_out(&w->fake, S("d"), 3));
	struct client_list sets;
	fake_all(&w->fake, GVR_REPLICASETS, DEFAULT, &sets);
	assert_int_equal(sets.len, 1);
	struct str first = arena_str(&a, value_str_at(sets.at[0]->root, N_metadata, N_name));
	struct str hash = value_as_str(value_get_str(value_at(sets.at[0]->root, N_metadata, N_labels), S("pod-template-hash")));
	assert_true(hash.len > 0);
	assert_true(str_eq(first, arena_printf(&a, "d-%.*s", STR_ARG(hash))));
	assert_true(str_eqc(annotation(&a, sets.at[0], "deployment.kubernetes.io/revision"), "1"));
	assert_true(str_eqc(annotation(&a, sets.at[0], "deployment.kubernetes.io/desired-replicas"), "3"));
	assert_true(str_eqc(annotation(&a, sets.at[0], "deployment.kubernetes.io/max-replicas"), "4"));
	client_list_release(&sets);
	WAIT_FOR(fake_has_event(&w->fake, "ScalingReplicaSet", arena_printf(&a, "Scaled up replica set %.*s from 0 to 3", STR_ARG(first)).ptr));
	assert_true(str_eqc(condition_reason(&w->fake, &a, S("d"), "Available"), "MinimumReplicasAvailable"));

	/* set image: a second ReplicaSet takes over */
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(rolled_out(&w->fake, S("d"), 3));
	auto_obj struct obj *d = fake_get(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"));
	assert_true(str_eqc(annotation(&a, d, "deployment.kubernetes.io/revision"), "2"));
	assert_int_equal(fake_count(&w->fake, GVR_REPLICASETS, DEFAULT), 2);
	assert_int_equal(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, first, N_spec, N_replicas), 0);
	/* in one step or in several, as pods become available */
	WAIT_FOR(fake_has_event(&w->fake, "ScalingReplicaSet", arena_printf(&a, "Scaled down replica set %.*s from 1 to 0", STR_ARG(first)).ptr) ||
		fake_has_event(&w->fake, "ScalingReplicaSet", arena_printf(&a, "Scaled down replica set %.*s from 2 to 0", STR_ARG(first)).ptr));

	/* undo: the first one again, as revision 3 */
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:1'}]}}}");
	WAIT_FOR(rolled_out(&w->fake, S("d"), 3));
	auto_obj struct obj *again = fake_get(&w->fake, GVR_REPLICASETS, DEFAULT, first);
	assert_true(str_eqc(annotation(&a, again, "deployment.kubernetes.io/revision"), "3"));
	assert_true(str_eqc(annotation(&a, again, "deployment.kubernetes.io/revision-history"), "1"));

	/* a third template: history is cut to one */
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:3'}]}}}");
	WAIT_FOR(rolled_out(&w->fake, S("d"), 3));
	WAIT_FOR(fake_count(&w->fake, GVR_REPLICASETS, DEFAULT) == 2);

	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {replicas: 10}");
	WAIT_FOR(rolled_out(&w->fake, S("d"), 10));
	world_free(w);
}

static void test_recreate(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset,deployment");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DEPLOYMENTS,
		"metadata: {name: d}\n"
		"spec:\n"
		"  replicas: 2\n"
		"  progressDeadlineSeconds: 600\n"
		"  strategy: {type: Recreate}\n"
		"  selector: {matchLabels: {app: d}}\n"
		"  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: 'a:1'}]}}\n");

	WAIT_FOR(rolled_out(&w->fake, S("d"), 2));
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(rolled_out(&w->fake, S("d"), 2));
	assert_int_equal(fake_count(&w->fake, GVR_PODS, DEFAULT), 2);
	world_free(w);
}

/* New pods never become ready: conformance deploy-proportional. */
static bool hold_new(struct fake *f, const struct client_call *call, struct err *err) {
	if (call->verb == CLIENT_CREATE && str_eqc(call->gvr.resource, "pods")) {
		const struct value *c = value_item(value_at(call->body, N_spec, N_containers), 0);
		f->kubelet = str_eqc(value_str_at(c, N_image), "a:2") ? FAKE_KUBELET_BOUND : FAKE_KUBELET_ANY;
	}
	return true;
}

static bool set_sizes(struct fake *f, int64_t old, int64_t fresh) {
	struct client_list sets;
	bool ok = true;

	fake_all(f, GVR_REPLICASETS, DEFAULT, &sets);
	for (size_t i = 0; i < sets.len; i++) {
		const struct value *c = value_item(value_at(sets.at[i]->root, N_spec, N_template, N_spec, N_containers), 0);
		ok = ok && value_int_at(sets.at[i]->root, N_spec, N_replicas) == (str_eqc(value_str_at(c, N_image), "a:2") ? fresh : old);
	}
	ok = ok && sets.len == 2;
	client_list_release(&sets);
	return ok;
}

static void test_proportional(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset,deployment");
	w->fake.hook = hold_new;
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DEPLOYMENTS,
		"metadata: {name: d}\n"
		"spec:\n"
		"  replicas: 10\n"
		"  progressDeadlineSeconds: 600\n"
		"  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 3, maxUnavailable: 2}}\n"
		"  selector: {matchLabels: {app: d}}\n"
		"  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: 'a:1'}]}}\n");

	WAIT_FOR(rolled_out(&w->fake, S("d"), 10));
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(set_sizes(&w->fake, 8, 5));
	WAIT_FOR(fake_int(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), N_status, N_replicas) == 13);
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {replicas: 30}");
	WAIT_FOR(set_sizes(&w->fake, 20, 13));
	world_free(w);
}

static void test_pause(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset,deployment");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DEPLOYMENTS, DEPLOYMENT);

	WAIT_FOR(rolled_out(&w->fake, S("d"), 3));
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {paused: true}");
	WAIT_FOR(str_eqc(condition_reason(&w->fake, &a, S("d"), "Progressing"), "DeploymentPaused"));
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(fake_int(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), N_status, N_observedGeneration) == 3);
	assert_int_equal(fake_count(&w->fake, GVR_REPLICASETS, DEFAULT), 1);
	fake_change(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"), "spec: {paused: false}");
	WAIT_FOR(rolled_out(&w->fake, S("d"), 3));
	assert_int_equal(fake_count(&w->fake, GVR_REPLICASETS, DEFAULT), 2);
	world_free(w);
}

static void test_adopted_revision(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "replicaset,deployment");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *rs = fake_add(&w->fake, GVR_REPLICASETS,
		"metadata: {name: old, labels: {app: d}, annotations: {deployment.kubernetes.io/revision: '3546343826724305832'}}\n"
		"spec: {replicas: 1, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: 'a:0'}]}}}");
	WAIT_FOR(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("old"), N_status, N_availableReplicas) == 1);
	auto_obj struct obj *made = fake_add(&w->fake, GVR_DEPLOYMENTS, DEPLOYMENT);
	WAIT_FOR(rolled_out(&w->fake, S("d"), 3));
	auto_obj struct obj *d = fake_get(&w->fake, GVR_DEPLOYMENTS, DEFAULT, S("d"));
	assert_true(str_eqc(annotation(&a, d, "deployment.kubernetes.io/revision"), "3546343826724305833"));
	world_free(w);
}

static bool has_default_account(struct fake *f, struct str ns) {
	auto_obj struct obj *o = fake_get(f, GVR_SERVICEACCOUNTS, ns, S("default"));
	return o != NULL;
}

static void test_namespace(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "namespace,serviceaccount");
	auto_obj struct obj *ns = fake_add(&w->fake, GVR_NAMESPACES, "metadata: {name: space}");
	auto_obj struct obj *map = fake_add(&w->fake, GVR_CONFIGMAPS, "metadata: {name: m, namespace: space}\ndata: {a: b}");
	struct err err = { 0 };

	WAIT_FOR(has_default_account(&w->fake, S("space")));
	assert_true(client_delete(w->client, GVR_SERVICEACCOUNTS, S("space"), S("default"), &err));
	WAIT_FOR(has_default_account(&w->fake, S("space")));
	assert_true(client_delete(w->client, GVR_NAMESPACES, S(""), S("space"), &err));
	WAIT_FOR(fake_count(&w->fake, GVR_NAMESPACES, S("")) == 0);
	assert_int_equal(fake_count(&w->fake, GVR_CONFIGMAPS, S("space")), 0);
	assert_int_equal(fake_count(&w->fake, GVR_SERVICEACCOUNTS, S("space")), 0);
	world_free(w);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replica_set),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_deployment),
		cmocka_unit_test(test_recreate),
		cmocka_unit_test(test_proportional),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_adopted_revision),
		cmocka_unit_test(test_namespace),
	};
	return cmocka_run_group_tests_name("rollout", tests, NULL, NULL);
}
