/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints_test.c - EndpointSlices and Endpoints of Services against an API in memory. */
#include "world.h"

/* All addresses of the Service's slices, "ip:port ready|serving|terminating" each. */
static size_t slice_count(struct world *w, size_t *ret_endpoints, size_t *ret_ready) {
	struct client_list all;

	*ret_endpoints = *ret_ready = 0;
	fake_all(&w->fake, GVR_ENDPOINTSLICES, DEFAULT, &all);
	size_t n = all.len;
	for (size_t i = 0; i < all.len; i++) {
		const struct value *endpoints = value_get(all.at[i]->root, N_endpoints);
		assert_true(value_len(endpoints) <= 100);
		*ret_endpoints += value_len(endpoints);
		VALUE_EACH(endpoints, e) {
			*ret_ready += value_bool_at(e, N_conditions, N_ready);
		}
	}
	client_list_release(&all);
	return n;
}

static bool slices_are(struct world *w, size_t slices, size_t endpoints, size_t ready) {
	size_t e, r;
	return slice_count(w, &e, &r) == slices && e == endpoints && r == ready;
}

static int64_t subset_len(struct world *w, enum name_id which) {
	auto_obj struct obj *e = fake_get(&w->fake, GVR_ENDPOINTS, DEFAULT, S("web"));
	return e ? (int64_t)value_len(value_get(value_item(value_get(e->root, N_subsets), 0), which)) : -1;
}

#define SERVICE "metadata: {name: web, labels: {tier: front}}\nspec: {selector: {app: web}, ipFamilies: [IPv4], ports: [{name: http, protocol: TCP, port: 80, targetPort: http}]}"
#define POD                                                                                                                          \
	"metadata: {name: p%d, labels: {app: web}}\nspec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8083}]}]}\n" \
	"status: {phase: Running, podIP: 10.1.0.%d, conditions: [{type: Ready, status: '%s', lastTransitionTime: '2026-01-01T00:00:00Z'}]}"

static void test_slices(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "endpointslice,endpoints");
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };

	obj_unref(fake_add(&w->fake, GVR_NODES, "metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}"));
	obj_unref(fake_add(&w->fake, GVR_SERVICES, SERVICE));
	WAIT_FOR(slices_are(w, 1, 0, 0)); /* a Service without pods has one empty slice */
	for (int i = 1; i <= 3; i++) {
		obj_unref(fake_add(&w->fake, GVR_PODS, arena_printf(&a, POD, i, i, i < 3 ? "True" : "False").ptr));
	}
	WAIT_FOR(slices_are(w, 1, 3, 2));
	struct client_list all;
	fake_all(&w->fake, GVR_ENDPOINTSLICES, DEFAULT, &all);
	const struct value *o = all.at[0]->root, *port = value_item(value_get(o, N_ports), 0), *first = value_item(value_get(o, N_endpoints), 0);
	assert_true(str_eqc(value_as_str(value_get_str(value_at(o, N_metadata, N_labels), S("kubernetes.io/service-name"))), "web"));
	assert_true(str_eqc(value_as_str(value_get_str(value_at(o, N_metadata, N_labels), S("endpointslice.kubernetes.io/managed-by"))), "endpointslice-controller.k8s.io"));
	assert_true(str_eqc(value_as_str(value_get_str(value_at(o, N_metadata, N_labels), S("tier"))), "front"));
	assert_true(str_eqc(value_str_at(o, N_addressType), "IPv4"));
	assert_int_equal(value_int_at(port, N_port), 8083);
	assert_true(str_eqc(value_str_at(port, N_name), "http"));
	assert_true(str_eqc(value_str_at(first, N_nodeName), "n1"));
	assert_true(str_eqc(value_str_at(first, N_zone), "z1"));
	assert_true(str_eqc(value_str_at(first, N_targetRef, N_kind), "Pod"));
	client_list_release(&all);
	WAIT_FOR(subset_len(w, N_addresses) == 2 && subset_len(w, N_notReadyAddresses) == 1);

	/* one that ends: serving, terminating, not ready */
	assert_true(client_delete(w->client, GVR_PODS, DEFAULT, S("p1"), &err));
	WAIT_FOR(slices_are(w, 1, 3, 1));
	WAIT_FOR(subset_len(w, N_addresses) == 1);
	/* one that starts answering */
	fake_change(&w->fake, GVR_PODS, DEFAULT, S("p3"), "status: {conditions: [{type: Ready, status: 'True', lastTransitionTime: '2026-01-01T00:00:01Z'}]}");
	WAIT_FOR(slices_are(w, 1, 3, 2));
	world_free(w);
}

static void test_many(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "endpointslice");
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_SERVICES, SERVICE));
	for (int i = 1; i <= 230; i++) {
		obj_unref(fake_add(&w->fake, GVR_PODS, arena_printf(&a, POD, i, i, "True").ptr));
	}
	WAIT_FOR(slices_are(w, 3, 230, 230));
	world_free(w);
}

static void test_publish(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "endpointslice,endpoints");
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_SERVICES, "metadata: {name: web}\nspec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: web}}"));
	obj_unref(fake_add(&w->fake, GVR_PODS, arena_printf(&a, POD, 1, 1, "False").ptr));
	WAIT_FOR(slices_are(w, 1, 1, 1));
	WAIT_FOR(subset_len(w, N_addresses) == 1);
	world_free(w);
}

/* Endpoints go with their Service, also those that somebody made for one without a selector; others are left alone. */
static void test_deleted(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "endpoints");
	struct err err = { 0 };

	obj_unref(fake_add(&w->fake, GVR_ENDPOINTS, "metadata: {name: alone}"));
	obj_unref(fake_add(&w->fake, GVR_ENDPOINTS, "metadata: {name: manual}"));
	obj_unref(fake_add(&w->fake, GVR_SERVICES, "metadata: {name: manual}\nspec: {ports: [{port: 80}]}"));
	obj_unref(fake_add(&w->fake, GVR_SERVICES, SERVICE));
	WAIT_FOR(fake_count(&w->fake, GVR_ENDPOINTS, DEFAULT) == 3);
	assert_true(client_delete(w->client, GVR_SERVICES, DEFAULT, S("manual"), &err));
	assert_true(client_delete(w->client, GVR_SERVICES, DEFAULT, S("web"), &err));
	WAIT_FOR(fake_count(&w->fake, GVR_ENDPOINTS, DEFAULT) == 1);
	auto_obj struct obj *alone = fake_get(&w->fake, GVR_ENDPOINTS, DEFAULT, S("alone"));
	assert_non_null(alone);
	world_free(w);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_deleted),
	};
	return cmocka_run_group_tests_name("endpoints", tests, NULL, NULL);
}
