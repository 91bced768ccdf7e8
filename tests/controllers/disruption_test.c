/* SPDX-License-Identifier: Apache-2.0 */
/* disruption_test.c - what budgets allow, and bootstrap tokens whose time is up; against an API in memory. */
#include "world.h"

static int64_t status(struct world *w, enum name_id name) {
	return fake_int(&w->fake, GVR_PODDISRUPTIONBUDGETS, DEFAULT, S("b"), N_status, name);
}

#define REPLICA_SET(replicas) \
	"metadata: {name: r}\nspec: {replicas: " replicas ", selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c}]}}}"

struct budget_case {
	const char *name, *spec;
	int64_t expected, desired, healthy, allowed;
};
/* four pods of a ReplicaSet that wants four */
static const struct budget_case budget_cases[] = {
	{ "minAvailable 3", "minAvailable: 3", 4, 3, 4, 1 },
	{ "minAvailable 5", "minAvailable: 5", 4, 5, 4, 0 },
	{ "minAvailable 50%", "minAvailable: 50%", 4, 2, 4, 2 },
	{ "minAvailable 60% rounds up", "minAvailable: 60%", 4, 3, 4, 1 },
	{ "maxUnavailable 1", "maxUnavailable: 1", 4, 3, 4, 1 },
	{ "maxUnavailable 25%", "maxUnavailable: 25%", 4, 3, 4, 1 },
};

static void test_budget(void **state) {
	const struct budget_case *c = *state;
	struct world *w = world_new(FAKE_KUBELET_ANY, "disruption,replicaset");
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_REPLICASETS, REPLICA_SET("4")));
	WAIT_FOR(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("r"), N_status, N_readyReplicas) == 4);
	obj_unref(fake_add(&w->fake, GVR_PODDISRUPTIONBUDGETS, arena_printf(&a, "metadata: {name: b}\nspec: {%s, selector: {matchLabels: {app: x}}}", c->spec).ptr));
	WAIT_FOR(status(w, N_observedGeneration) == 1);
	assert_int_equal(status(w, N_expectedPods), c->expected);
	assert_int_equal(status(w, N_desiredHealthy), c->desired);
	assert_int_equal(status(w, N_currentHealthy), c->healthy);
	assert_int_equal(status(w, N_disruptionsAllowed), c->allowed);
	world_free(w);
}

/* Evictions that the server wrote into the budget count until the pod is gone; a spec that changes is processed. */
static void test_follows(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "disruption,replicaset");
	auto_arena struct arena a = { 0 };
	char text[TIME_TEXT_MAX];

	obj_unref(fake_add(&w->fake, GVR_REPLICASETS, REPLICA_SET("3")));
	WAIT_FOR(fake_int(&w->fake, GVR_REPLICASETS, DEFAULT, S("r"), N_status, N_readyReplicas) == 3);
	obj_unref(fake_add(&w->fake, GVR_PODDISRUPTIONBUDGETS, "metadata: {name: b}\nspec: {minAvailable: 1, selector: {matchLabels: {app: x}}}"));
	WAIT_FOR(status(w, N_disruptionsAllowed) == 2);
	struct client_list pods;
	fake_all(&w->fake, GVR_PODS, DEFAULT, &pods);
	struct str pod = arena_str(&a, value_str_at(pods.at[0]->root, N_metadata, N_name)), now = time_format(clock_wall(), text);
	client_list_release(&pods);
	fake_change(&w->fake, GVR_PODDISRUPTIONBUDGETS, DEFAULT, S("b"), arena_printf(&a, "status: {disruptedPods: {%.*s: '%.*s'}}", STR_ARG(pod), STR_ARG(now)).ptr);
	WAIT_FOR(status(w, N_disruptionsAllowed) == 1);
	struct err err = { 0 };
	assert_true(client_delete(w->client, GVR_PODS, DEFAULT, pod, &err));
	WAIT_FOR(status(w, N_disruptionsAllowed) == 2);
	fake_change(&w->fake, GVR_PODDISRUPTIONBUDGETS, DEFAULT, S("b"), "spec: {minAvailable: 3}");
	WAIT_FOR(status(w, N_observedGeneration) == 2 && status(w, N_disruptionsAllowed) == 0);
	world_free(w);
}

static void test_tokens(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "tokencleaner");

	/* 2020-01-01T00:00:00Z and 2200-01-01T00:00:00Z in base64 */
	obj_unref(fake_add(&w->fake, GVR_SECRETS, "metadata: {name: past, namespace: kube-system}\ntype: bootstrap.kubernetes.io/token\ndata: {expiration: MjAyMC0wMS0wMVQwMDowMDowMFo=}"));
	obj_unref(fake_add(&w->fake, GVR_SECRETS, "metadata: {name: future, namespace: kube-system}\ntype: bootstrap.kubernetes.io/token\ndata: {expiration: MjIwMC0wMS0wMVQwMDowMDowMFo=}"));
	obj_unref(fake_add(&w->fake, GVR_SECRETS, "metadata: {name: other, namespace: kube-system}\ntype: Opaque\ndata: {expiration: MjAyMC0wMS0wMVQwMDowMDowMFo=}"));
	WAIT_FOR(fake_count(&w->fake, GVR_SECRETS, S("kube-system")) == 2);
	auto_obj struct obj *past = fake_get(&w->fake, GVR_SECRETS, S("kube-system"), S("past"));
	assert_null(past);
	world_free(w);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(budget_cases) + 2] = { { 0 } };
	size_t n = 0;

	for (; n < ARRAY_LEN(budget_cases); n++) {
		tests[n] = (struct CMUnitTest){ .name = budget_cases[n].name, .test_func = test_budget, .initial_state = (void *)&budget_cases[n] };
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_follows);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_tokens);
	return cmocka_run_group_tests_name("disruption", tests, NULL, NULL);
}
