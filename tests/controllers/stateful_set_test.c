/* SPDX-License-Identifier: Apache-2.0 */
/* stateful_set_test.c - StatefulSets against an API in memory: order, identity, claims, rolling updates. */
#include "world.h"

#define STATEFUL_SET(extra)                                                                                                     \
	"metadata: {name: s}\n"                                                                                                 \
	"spec:\n"                                                                                                               \
	"  replicas: 3\n"                                                                                                       \
	"  serviceName: svc\n"                                                                                                  \
	"  selector: {matchLabels: {app: s}}\n"                                                                                 \
	"  template: {metadata: {labels: {app: s}}, spec: {containers: [{name: c, image: 'a:1'}]}}\n" extra
#define ROLLING "  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}\n"

static int64_t status(struct world *w, enum name_id field) {
	return fake_int(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), N_status, field);
}

static struct str status_text(struct world *w, struct arena *a, enum name_id field) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"));
	return arena_str(a, value_as_str(value_get(value_get(o->root, N_status), field)));
}

static bool exists(struct world *w, struct str pod) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_PODS, DEFAULT, pod);
	return o != NULL;
}

static bool image_is(struct world *w, struct str pod, const char *image) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_PODS, DEFAULT, pod);
	return o && str_eqc(value_str_at(value_item(value_at(o->root, N_spec, N_containers), 0), N_image), image);
}

static struct str label(struct world *w, struct arena *a, struct str pod, const char *key) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_PODS, DEFAULT, pod);
	return o ? arena_str(a, value_as_str(value_get_str(value_at(o->root, N_metadata, N_labels), str_c(key)))) : S("");
}

static void ready(struct world *w, struct str pod, bool is) {
	fake_change(&w->fake, GVR_PODS, DEFAULT, pod,
		is ? "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}" : "status: {phase: Running, conditions: [{type: Ready, status: 'False'}]}");
}

static bool settled(struct world *w, int64_t replicas, int64_t generation) {
	auto_arena struct arena a = { 0 };

	return status(w, N_observedGeneration) == generation && status(w, N_replicas) == replicas && (status(w, N_readyReplicas) == replicas) &&
		status(w, N_updatedReplicas) == replicas && status(w, N_availableReplicas) == replicas &&
		str_eq(status_text(w, &a, N_currentRevision), status_text(w, &a, N_updateRevision)) && fake_count(&w->fake, GVR_PODS, DEFAULT) == (size_t)replicas;
}

static void test_ordered(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "statefulset");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *made = fake_add(&w->fake, GVR_STATEFULSETS, STATEFUL_SET(ROLLING));

	WAIT_FOR(exists(w, S("s-0")) && status(w, N_replicas) == 1);
	assert_false(exists(w, S("s-1")));
	ready(w, S("s-0"), true);
	WAIT_FOR(exists(w, S("s-1")));
	assert_false(exists(w, S("s-2")));
	ready(w, S("s-1"), true);
	WAIT_FOR(exists(w, S("s-2")));
	ready(w, S("s-2"), true);
	WAIT_FOR(settled(w, 3, 1));

	/* who a pod is */
	assert_true(str_eqc(label(w, &a, S("s-1"), "statefulset.kubernetes.io/pod-name"), "s-1"));
	assert_true(str_eqc(label(w, &a, S("s-1"), "apps.kubernetes.io/pod-index"), "1"));
	assert_true(str_eq(label(w, &a, S("s-1"), "controller-revision-hash"), status_text(w, &a, N_currentRevision)));
	auto_obj struct obj *pod = fake_get(&w->fake, GVR_PODS, DEFAULT, S("s-1"));
	assert_true(str_eqc(value_str_at(pod->root, N_spec, N_hostname), "s-1"));
	assert_true(str_eqc(value_str_at(pod->root, N_spec, N_subdomain), "svc"));
	WAIT_FOR(fake_has_event(&w->fake, "SuccessfulCreate", "create Pod s-2 in StatefulSet s successful"));

	/* scaling down stops while one is not ready, then goes from the highest */
	ready(w, S("s-0"), false);
	WAIT_FOR(status(w, N_readyReplicas) == 2);
	fake_change(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), "spec: {replicas: 1}");
	WAIT_FOR(status(w, N_observedGeneration) == 2);
	assert_int_equal(fake_count(&w->fake, GVR_PODS, DEFAULT), 3);
	ready(w, S("s-0"), true);
	WAIT_FOR(settled(w, 1, 2));
	assert_true(exists(w, S("s-0")));
	world_free(w);
}

static void test_parallel(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "statefulset");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_STATEFULSETS, STATEFUL_SET(ROLLING "  podManagementPolicy: Parallel\n  ordinals: {start: 5}\n"));

	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 3);
	assert_true(exists(w, S("s-5")) && exists(w, S("s-6")) && exists(w, S("s-7")));
	fake_change(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), "spec: {replicas: 0}");
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 0);
	WAIT_FOR(status(w, N_replicas) == 0);
	world_free(w);
}

static void test_failed_pod(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "statefulset");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *made = fake_add(&w->fake, GVR_STATEFULSETS, STATEFUL_SET(ROLLING));

	WAIT_FOR(settled(w, 3, 1));
	auto_obj struct obj *before = fake_get(&w->fake, GVR_PODS, DEFAULT, S("s-1"));
	fake_change(&w->fake, GVR_PODS, DEFAULT, S("s-1"), "status: {phase: Failed}");
	WAIT_FOR(fake_has_event(&w->fake, "RecreatingFailedPod", "StatefulSet default/s is recreating failed Pod s-1"));
	WAIT_FOR(settled(w, 3, 1));
	auto_obj struct obj *after = fake_get(&w->fake, GVR_PODS, DEFAULT, S("s-1"));
	assert_false(str_eq(value_str_at(before->root, N_metadata, N_uid), value_str_at(after->root, N_metadata, N_uid)));
	world_free(w);
}

static void test_roll(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "statefulset");
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	auto_obj struct obj *made = fake_add(&w->fake, GVR_STATEFULSETS, STATEFUL_SET("  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}\n"));

	WAIT_FOR(settled(w, 3, 1));
	struct str first = status_text(w, &a, N_currentRevision);

	/* canary: only the one at or above the partition; a deleted pod below it comes back as it was */
	fake_change(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(image_is(w, S("s-2"), "a:2") && status(w, N_readyReplicas) == 3 && status(w, N_updatedReplicas) == 1 && status(w, N_currentReplicas) == 2);
	assert_true(str_eq(status_text(w, &a, N_currentRevision), first));
	assert_false(str_eq(status_text(w, &a, N_updateRevision), first));
	assert_true(client_delete(w->client, GVR_PODS, DEFAULT, S("s-0"), &err));
	WAIT_FOR(image_is(w, S("s-0"), "a:1"));
	assert_true(str_eq(label(w, &a, S("s-0"), "controller-revision-hash"), first));

	fake_change(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), "spec: {updateStrategy: {rollingUpdate: {partition: 0}}}");
	WAIT_FOR(settled(w, 3, 3));
	assert_true(image_is(w, S("s-0"), "a:2"));
	assert_false(str_eq(status_text(w, &a, N_currentRevision), first));

	/* back: the earlier revision under a higher number */
	fake_change(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), "spec: {template: {spec: {containers: [{name: c, image: 'a:1'}]}}}");
	WAIT_FOR(settled(w, 3, 4));
	assert_true(str_eq(status_text(w, &a, N_currentRevision), first));
	assert_int_equal(fake_count(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT), 2);
	auto_obj struct obj *r = fake_get(&w->fake, GVR_CONTROLLERREVISIONS, DEFAULT, first);
	assert_int_equal(value_int_at(r->root, N_revision), 3);
	world_free(w);
}

static void test_on_delete(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "statefulset");
	struct err err = { 0 };
	auto_obj struct obj *made = fake_add(&w->fake, GVR_STATEFULSETS, STATEFUL_SET("  updateStrategy: {type: OnDelete}\n"));

	WAIT_FOR(status(w, N_readyReplicas) == 3);
	fake_change(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), "spec: {template: {spec: {containers: [{name: c, image: 'a:2'}]}}}");
	WAIT_FOR(status(w, N_observedGeneration) == 2);
	assert_true(image_is(w, S("s-2"), "a:1"));
	assert_true(client_delete(w->client, GVR_PODS, DEFAULT, S("s-1"), &err));
	WAIT_FOR(image_is(w, S("s-1"), "a:2"));
	assert_true(image_is(w, S("s-2"), "a:1"));
	world_free(w);
}

static size_t owners_of(struct world *w, struct str claim, const char *kind) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_PERSISTENTVOLUMECLAIMS, DEFAULT, claim);
	size_t n = 0;

	VALUE_EACH(value_at(o->root, N_metadata, N_ownerReferences), ref) {
		n += str_eqc(value_str_at(ref, N_kind), kind);
	}
	return n;
}

static void test_claims(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "statefulset");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_STATEFULSETS,
		STATEFUL_SET(ROLLING "  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce]}}]\n"
				     "  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}\n"));

	WAIT_FOR(settled(w, 3, 1));
	assert_int_equal(fake_count(&w->fake, GVR_PERSISTENTVOLUMECLAIMS, DEFAULT), 3);
	auto_obj struct obj *claim = fake_get(&w->fake, GVR_PERSISTENTVOLUMECLAIMS, DEFAULT, S("data-s-1"));
	assert_true(str_eqc(value_as_str(value_get_str(value_at(claim->root, N_metadata, N_labels), S("app"))), "s"));
	auto_obj struct obj *pod = fake_get(&w->fake, GVR_PODS, DEFAULT, S("s-1"));
	const struct value *v = value_item(value_at(pod->root, N_spec, N_volumes), 0);
	assert_true(str_eqc(value_str_at(v, N_name), "data"));
	assert_true(str_eqc(value_str_at(v, N_persistentVolumeClaim, N_claimName), "data-s-1"));
	WAIT_FOR(fake_has_event(&w->fake, "SuccessfulCreate", "create Claim data-s-1 Pod s-1 in StatefulSet s success"));
	assert_int_equal(owners_of(w, S("data-s-2"), "StatefulSet"), 1);
	fake_change(&w->fake, GVR_STATEFULSETS, DEFAULT, S("s"), "spec: {replicas: 2}");
	WAIT_FOR(settled(w, 2, 2));
	assert_int_equal(owners_of(w, S("data-s-2"), "Pod"), 1); /* the garbage collector's now */
	assert_int_equal(owners_of(w, S("data-s-2"), "StatefulSet"), 0);
	assert_int_equal(owners_of(w, S("data-s-1"), "StatefulSet"), 1);
	world_free(w);
}

static void test_adopts_by_name(void **state) {
	struct world *w = world_new(FAKE_KUBELET_ANY, "statefulset");
	auto_obj struct obj *member = fake_add(&w->fake, GVR_PODS, "metadata: {name: s-0, labels: {app: s}}\nspec: {containers: [{name: c, image: 'a:1'}]}");
	auto_obj struct obj *other = fake_add(&w->fake, GVR_PODS, "metadata: {name: other, labels: {app: s}}\nspec: {containers: [{name: c}]}");
	auto_obj struct obj *made = fake_add(&w->fake, GVR_STATEFULSETS, STATEFUL_SET("  updateStrategy: {type: OnDelete}\n"));

	WAIT_FOR(status(w, N_readyReplicas) == 3);
	assert_int_equal(fake_count(&w->fake, GVR_PODS, DEFAULT), 4);
	auto_obj struct obj *adopted = fake_get(&w->fake, GVR_PODS, DEFAULT, S("s-0")), *left = fake_get(&w->fake, GVR_PODS, DEFAULT, S("other"));
	assert_int_equal(value_len(value_at(adopted->root, N_metadata, N_ownerReferences)), 1);
	assert_int_equal(value_len(value_at(left->root, N_metadata, N_ownerReferences)), 0);
	world_free(w);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ordered),
		cmocka_unit_test(test_parallel),
		cmocka_unit_test(test_failed_pod),
		cmocka_unit_test(test_roll),
		cmocka_unit_test(test_on_delete),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_adopts_by_name),
	};
	return cmocka_run_group_tests_name("stateful_set", tests, NULL, NULL);
}
