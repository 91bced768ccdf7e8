/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup_test.c - tables by name, field selectors, discovery, and the status apart from the rest.
 */
#include "field.h"

static void test_names(void **state) {
	for (uint16_t i = 1; i < N_COUNT; i++) {
		assert_int_equal(name_find(name_text(i)), i);
	}
	assert_int_equal(name_find(S("")), N_NONE);
	assert_int_equal(name_find(S("nosuchname")), N_NONE);
	assert_int_equal(name_find(S("metadata2")), N_NONE);
}

static void test_fields(void **state) {
	size_t n = 0;

	for (size_t i = 0; i < schema_builtin.types_len; i++) {
		const struct schema_type *t = &schema_builtin.types[i];

		assert_ptr_equal(schema_type_find(schema_type_name(t)), t);
		for (size_t k = 0; k < t->fields_len; k++, n++) {
			assert_ptr_equal(schema_field_find(t, schema_fields(t)[k].name), &schema_fields(t)[k]);
		}
	}
	assert_true(n > 4000);
	assert_null(schema_field_find(schema_type_at(T_core_v1_Pod), N_containers));
	assert_null(schema_field_find(schema_type_at(T_core_v1_Pod), N_NONE));
}

static void test_kinds(void **state) {
	assert_ptr_equal(schema_kind_find(S(""), S("v1"), S("Pod")), schema_type_at(T_core_v1_Pod));
	assert_ptr_equal(schema_kind_find(S("apps"), S("v1"), S("Deployment")), schema_type_at(T_apps_v1_Deployment));
	assert_ptr_equal(schema_kind_find(S("apps"), S("v1"), S("DeleteOptions")), schema_type_at(T_meta_v1_DeleteOptions));
	assert_ptr_equal(schema_kind_find(S("example.com"), S("v1"), S("DeleteOptions")), schema_type_at(T_meta_v1_DeleteOptions));
	assert_ptr_equal(schema_kind_find(S("meta.k8s.io"), S("v1"), S("Table")), schema_type_at(T_meta_v1_Table));
	assert_ptr_equal(schema_kind_find(S(""), S("v1"), S("Status")), schema_type_at(T_meta_v1_Status));
	assert_null(schema_kind_find(S("apps"), S("v1"), S("Pod")));
	assert_null(schema_kind_find(S("apps"), S("v9"), S("Deployment")));
	for (size_t i = 0; i < schema_resources_len; i++) {
		const struct schema_resource *r = &schema_resources[i];

		assert_ptr_equal(schema_resource_find(schema_resource_group(r), schema_resource_version(r), schema_text(r->name)), r);
	}
	assert_ptr_equal(schema_resource_of(schema_type_at(T_core_v1_Node)), schema_resource_at(R_core_v1_nodes));
	assert_string_equal(schema_text(schema_resource_at(R_core_v1_nodes)->key).ptr, "minions");
	assert_true(schema_resource_at(R_core_v1_pods)->deleted_object);
	assert_false(schema_resource_at(R_core_v1_configmaps)->deleted_object);
	assert_true(schema_served(schema_resource_at(R_apps_v1_deployments)));
	assert_non_null(schema_sub_find(schema_resource_at(R_core_v1_pods), S("status")));
	assert_null(schema_sub_find(schema_resource_at(R_core_v1_configmaps), S("status")));
}

static const struct {
	uint16_t resource;
	const char *label, *object;
	const char *want, *error;
} selects[] = {
	{ R_core_v1_pods, "spec.nodeName", "{'spec':{'nodeName':'n'}}", "n" },
	{ R_core_v1_pods, "spec.host", "{'spec':{'nodeName':'n'}}", "n" },
	{ R_core_v1_pods, "status.podIP", "{'status':{'podIPs':[{'ip':'1.2.3.4'}]}}", "1.2.3.4" },
	{ R_core_v1_pods, "spec.hostNetwork", "{}", "false" },
	{ R_core_v1_pods, "spec.foo", "{}", NULL, "field label not supported: spec.foo" },
	{ R_core_v1_nodes, "spec.unschedulable", "{'spec':{'unschedulable':true}}", "true" },
	{ R_core_v1_events, "involvedObject.name", "{'involvedObject':{'name':'x'}}", "x" },
	{ R_core_v1_events, "source", "{'source':{},'reportingComponent':'kubelet'}", "kubelet" },
	{ R_core_v1_secrets, "type", "{'type':'Opaque'}", "Opaque" },
	{ R_batch_v1_jobs, "status.successful", "{'status':{'succeeded':3}}", "3" },
	{ R_batch_v1_jobs, "spec.x", "{}", NULL, "field label \"spec.x\" not supported for batchv1.Job" },
	{ R_core_v1_configmaps, "metadata.name", "{'metadata':{'name':'a'}}", "a" },
	{ R_core_v1_configmaps, "data", "{}", NULL, "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"" },
	{ R_resource_v1_resourceslices, "x", "{}", NULL, "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: x" },
	{ R_events_v1_events, "regarding.name", "{'involvedObject':{'name':'x'}}", "x" },
};

static struct value *quoted(struct arena *a, const char *text) {
	char *s = arena_cstr(a, str_c(text));

	for (char *p = s; *p; p++) {
		*p = *p == '\'' ? '"' : *p;
	}
	return field_c(a, s);
}

static void test_selects(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(selects); i++) {
		auto_arena struct arena a = { 0 };
		const struct schema_resource *r = schema_resource_at(selects[i].resource);
		struct err err = { 0 };
		struct str label;

		if (!schema_field_label(r, str_c(selects[i].label), &label, &err)) {
			assert_non_null(selects[i].error);
			assert_string_equal(err.msg, selects[i].error);
			continue;
		}
		assert_non_null(selects[i].want);
		assert_string_equal(arena_cstr(&a, schema_field_text(&a, r, quoted(&a, selects[i].object), label)), selects[i].want);
	}
}

static void test_discovery(void **state) {
	auto_arena struct arena a = { 0 };
	struct value *groups = discovery_group_list(&a), *apps = discovery_resources(&a, S("apps"), S("v1")), *core = discovery_aggregated(&a, true, S("v2"));
	struct value *scale;

	assert_int_equal(value_len(value_get(groups, N_groups)), 20);
	assert_string_equal(arena_cstr(&a, value_str_at(value_item(value_get(groups, N_groups), 0), N_name)), "apiregistration.k8s.io");
	assert_string_equal(arena_cstr(&a, json_text(&a, value_item(value_get(groups, N_groups), 1))),
		"{\"name\":\"apps\",\"versions\":[{\"groupVersion\":\"apps/v1\",\"version\":\"v1\"}],\"preferredVersion\":{\"groupVersion\":\"apps/v1\",\"version\":\"v1\"}}");
	assert_string_equal(arena_cstr(&a, json_text(&a, value_find_by(value_get(apps, N_resources), N_name, S("deployments")))),
		"{\"name\":\"deployments\",\"singularName\":\"deployment\",\"namespaced\":true,\"kind\":\"Deployment\",\"verbs\":[\"create\",\"delete\",\"deletecollection\","
		"\"get\",\"list\",\"patch\",\"update\",\"watch\"],\"shortNames\":[\"deploy\"],\"categories\":[\"all\"],\"storageVersionHash\":\"8aSe+NMegvE=\"}");
	scale = value_find_by(value_get(apps, N_resources), N_name, S("deployments/scale"));
	assert_string_equal(arena_cstr(&a, json_text(&a, scale)),
		"{\"name\":\"deployments/scale\",\"singularName\":\"\",\"namespaced\":true,\"group\":\"autoscaling\",\"version\":\"v1\",\"kind\":\"Scale\",\"verbs\":[\"get\","
		"\"patch\",\"update\"]}");
	assert_null(discovery_resources(&a, S("apps"), S("v1beta1")));
	assert_null(discovery_group(&a, S("nosuch")));
	assert_non_null(discovery_group(&a, S("apps")));
	assert_int_equal(value_len(value_get(core, N_items)), 1);
	assert_string_equal(arena_cstr(&a, json_text(&a, value_at(value_item(value_get(core, N_items), 0), N_metadata))), "{}");
	/* What is made by hand is what decoding would make. */
	for (int i = 0; i < 2; i++) {
		struct value *doc = discovery_aggregated(&a, i == 0, S("v2")), *again = NULL;
		struct err err = { 0 };

		assert_true(schema_decode(&a, schema_kind_of(doc), doc, NULL, &again, &err));
		assert_true(str_eq(json_text(&a, doc), json_text(&a, again)));
	}
}

static void test_status(void **state) {
	auto_arena struct arena a = { 0 };
	const struct schema_resource *r = schema_resource_at(R_apps_v1_statefulsets);
	struct err err = { 0 };
	struct value *o = NULL, *old = NULL;

	assert_true(schema_decode(&a, schema_resource_type(r), quoted(&a, "{'spec':{'replicas':1},'status':{'replicas':3,'conditions':[{'type':'x','status':'True'}]}}"), NULL, &o, &err));
	old = value_copy(&a, o);
	schema_drop_status(r, o);
	assert_string_equal(arena_cstr(&a, json_text(&a, value_get(o, N_status))), "{\"replicas\":0,\"availableReplicas\":0}");
	schema_keep_status(&a, r, o, old);
	assert_true(value_eq(o, old));
	value_set_int(&a, value_get(o, N_spec), N_replicas, 7);
	value_set_int(&a, value_get(o, N_status), N_replicas, 8);
	schema_only_status(&a, r, o, old);
	assert_int_equal(value_int_at(o, N_spec, N_replicas), 1);
	assert_int_equal(value_int_at(o, N_status, N_replicas), 8);
	r = schema_resource_at(R_core_v1_configmaps);
	o = quoted(&a, "{'status':{'a':1}}");
	schema_drop_status(r, o);
	assert_non_null(value_get(o, N_status));
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_selects),
		cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_status),
	};
	return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
