/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_test.c - what any JSON becomes as a typed value, and the reference's words for what does not fit.
 */
#include "field.h"

struct decode_case {
	const char *name;
	uint16_t type;
	const char *in;
	const char *want;     /* canonical JSON; NULL: fails */
	const char *error;    /* or the report, joined by "; " */
};

static const struct decode_case cases[] = {
	{ "declared order, nulls dropped", T_core_v1_Service, "{'spec':{'type':'ClusterIP','ports':null},'metadata':{'name':'a','labels':null},'kind':'Service','apiVersion':'v1'}",
		"{'kind':'Service','apiVersion':'v1','metadata':{'name':'a'},'spec':{'type':'ClusterIP'},'status':{'loadBalancer':{}}}", "" },
	{ "maps are sorted", T_core_v1_ConfigMap, "{'data':{'b':'2','name':'x','a':'1'}}", "{'metadata':{},'data':{'a':'1','b':'2','name':'x'}}", "" },
	{ "unknown fields", T_core_v1_Pod, "{'spec':{'containers':[{'name':'a','foo':1}],'bar':{'x':1}},'baz':2}",
		"{'metadata':{},'spec':{'containers':[{'name':'a','resources':{}}]},'status':{}}",
		"unknown field \"spec.containers[0].foo\"; unknown field \"spec.bar\"; unknown field \"baz\"" },
	{ "volumeMounts at pod level", T_core_v1_Pod, "{'spec':{'containers':[],'volumeMounts':[]}}", "{'metadata':{},'spec':{'containers':[]},'status':{}}",
		"unknown field \"spec.volumeMounts\"" },
	{ "text for a number", T_apps_v1_Deployment, "{'spec':{'replicas':'3'}}", NULL,
		"json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" },
	{ "a number out of range", T_apps_v1_Deployment, "{'spec':{'replicas':3000000000}}", NULL,
		"json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32" },
	{ "a fraction", T_apps_v1_Deployment, "{'spec':{'replicas':1.5}}", NULL,
		"json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32" },
	{ "number for an env value", T_apps_v1_Deployment, "{'spec':{'template':{'spec':{'containers':[{'env':[{'name':'a','value':1}]}]}}}}", NULL,
		"json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string" },
	{ "text for a list", T_core_v1_Pod, "{'spec':{'containers':'x'}}", NULL,
		"json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container" },
	{ "object for a list", T_core_v1_Pod, "{'spec':{'containers':{}}}", NULL,
		"json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container" },
	{ "text for an object", T_core_v1_Pod, "{'spec':'x'}", NULL, "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec" },
	{ "number as a label", T_core_v1_Pod, "{'metadata':{'labels':{'a':1}}}", NULL,
		"json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string" },
	{ "list as labels", T_core_v1_Pod, "{'metadata':{'labels':[]}}", NULL,
		"json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string" },
	{ "bool for an enum", T_core_v1_Pod, "{'spec':{'restartPolicy':true}}", NULL,
		"json: cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy" },
	{ "not an object", T_core_v1_Pod, "'x'", NULL, "json: cannot unmarshal string into Go value of type v1.Pod" },
	{ "kind is no text", T_core_v1_Pod, "{'kind':1}", NULL, "json: cannot unmarshal number into Go struct field Pod.kind of type string" },
	{ "secret that is not base64", T_core_v1_Secret, "{'data':{'a':'hello!'}}", NULL, "illegal base64 data at input byte 5" },
	{ "secret without padding", T_core_v1_Secret, "{'data':{'a':'YWRtaW4'}}", NULL, "illegal base64 data at input byte 4" },
	{ "base64 with line breaks", T_core_v1_Secret, "{'data':{'a':'YWRt\\naW4='}}", "{'metadata':{},'data':{'a':'YWRtaW4='}}", "" },
	{ "quantities", T_core_v1_ResourceRequirements, "{'limits':{'cpu':1,'memory':'1024Mi','a':0.5,'b':'1e3'},'requests':null}",
		"{'limits':{'a':'500m','b':'1e3','cpu':'1','memory':'1Gi'}}", "" },
	{ "no quantity", T_core_v1_ResourceRequirements, "{'limits':{'cpu':'x'}}", NULL,
		"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'" },
	{ "unknown suffix", T_core_v1_ResourceRequirements, "{'limits':{'cpu':'1Z'}}", NULL,
		"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'" },
	{ "suffix of known letters", T_core_v1_ResourceRequirements, "{'limits':{'cpu':'1Mm'}}", NULL, "unable to parse quantity's suffix" },
	{ "times", T_meta_v1_ObjectMeta, "{'creationTimestamp':'2024-01-02T04:04:05.999+01:00','deletionTimestamp':'0001-01-01T00:00:00Z'}",
		"{'creationTimestamp':'2024-01-02T03:04:05Z'}", "" },
	{ "no time", T_meta_v1_ObjectMeta, "{'creationTimestamp':'yesterday'}", NULL,
		"parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"" },
	{ "no month", T_meta_v1_ObjectMeta, "{'creationTimestamp':'2024-13-02T03:04:05Z'}", NULL, "parsing time \"2024-13-02T03:04:05Z\": month out of range" },
	{ "no day", T_meta_v1_ObjectMeta, "{'creationTimestamp':'2023-02-29T03:04:05Z'}", NULL, "parsing time \"2023-02-29T03:04:05Z\": day out of range" },
	{ "no zone", T_meta_v1_ObjectMeta, "{'creationTimestamp':'2024-01-02T03:04:05'}", NULL,
		"parsing time \"2024-01-02T03:04:05\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"Z07:00\"" },
	{ "micro time", T_coordination_v1_LeaseSpec, "{'renewTime':'2024-01-02T03:04:05.1234567Z'}", "{'renewTime':'2024-01-02T03:04:05.123456Z'}", "" },
	{ "port by name or number", T_core_v1_HTTPGetAction, "{'port':'http'}", "{'port':'http'}", "" },
	{ "port as bool", T_core_v1_HTTPGetAction, "{'port':true}", NULL, "json: cannot unmarshal bool into Go value of type int32" },
	{ "empty lists are left out, kept ones stay", T_core_v1_PodSpec, "{'volumes':[],'containers':[],'nodeSelector':{}}", "{'containers':[]}", "" },
	{ "a pointer keeps its zero", T_core_v1_PodSpec, "{'containers':[],'terminationGracePeriodSeconds':0,'hostNetwork':false}",
		"{'containers':[],'terminationGracePeriodSeconds':0}", "" },
	{ "null in a list", T_core_v1_PodSpec, "{'containers':[null]}", "{'containers':[{'name':'','resources':{}}]}", "" },
	{ "raw objects stay as they are", T_apps_v1_ControllerRevision, "{'data':{'z':1,'a':[null,1.50]},'revision':2}", "{'metadata':{},'data':{'z':1,'a':[null,1.5]},'revision':2}", "" },
	{ "inline members", T_core_v1_Volume, "{'hostPath':{'path':'/x'},'name':'v'}", "{'name':'v','hostPath':{'path':'/x'}}", "" },
	{ "duration", T_metrics_v1beta1_PodMetrics, "{'window':'90s','timestamp':null,'containers':null}",
		"{'metadata':{},'timestamp':null,'window':'1m30s','containers':null}", "" },
	{ "a schema or true", T_apiextensions_v1_JSONSchemaProps, "{'additionalProperties':true,'items':{'type':'string'},'default':{'b':1,'a':null}}",
		"{'default':{'b':1,'a':null},'items':{'type':'string'},'additionalProperties':true}", "" },
};

static struct value *quoted(struct arena *a, const char *text) {
	char *s = arena_cstr(a, str_c(text));

	for (char *p = s; *p; p++) {
		*p = *p == '\'' ? '"' : *p;
	}
	return field_c(a, s);
}

static void test_decode(void **state) {
	const struct decode_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct schema_report report = { .arena = &a };
	struct err err = { 0 };
	struct value *v = NULL;
	bool ok = schema_decode(&a, schema_type_at(c->type), quoted(&a, c->in), &report, &v, &err);
	struct str problems = arena_join(&a, report.problems.at, report.problems.len, S("; "));

	schema_report_release(&report);
	if (!c->want) {
		assert_false(ok);
		assert_string_equal(err.msg, c->error);
		assert_int_equal(err.code, ERR_BAD_REQUEST);
		return;
	}
	if (!ok) {
		fail_msg("%s", err.msg);
	}
	assert_string_equal(arena_cstr(&a, json_text(&a, v)), arena_cstr(&a, json_text(&a, quoted(&a, c->want))));
	assert_string_equal(arena_cstr(&a, problems), c->error);
}

static void test_duplicates(void **state) {
	auto_arena struct arena a = { 0 };
	struct schema_report report = { .arena = &a };
	struct err err = { 0 };
	struct value *v = NULL;

	assert_true(json_parse(&a, S("{\"spec\":{\"replicas\":1,\"replicas\":2}}"), &(struct json_opts){ .on_duplicate = schema_report_duplicate, .arg = &report }, &v, &err));
	assert_int_equal(report.problems.len, 1);
	assert_string_equal(arena_cstr(&a, report.problems.at[0]), "duplicate field \"spec.replicas\"");
	schema_report_release(&report);
}

static void test_deep(void **state) { /* nested schemas end in an error, not on the stack */
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v = NULL, *out = NULL;

	for (size_t i = 0; i < 4000; i++) {
		buf_c(&b, "{\"not\":");
	}
	buf_c(&b, "{}");
	for (size_t i = 0; i < 4000; i++) {
		buf_c(&b, "}");
	}
	assert_true(json_parse(&a, buf_view(&b), NULL, &v, &err));
	assert_false(schema_decode(&a, schema_type_at(T_apiextensions_v1_JSONSchemaProps), v, NULL, &out, &err));
	assert_string_equal(err.msg, "exceeded max depth");
}

/* What would cost the square of its length, or memory without end, is refused. */
static void test_costly(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf pb = { 0 };
	struct value *list = value_new_array(&a), *object = value_new_object(&a), *v = NULL;
	struct err err = { 0 };

	for (int i = 0; i < 3000; i++) { /* finalizers and a name by turns */
		buf_add(&pb, "\x72\x01" "f" "\x0a\x01" "n", 6);
	}
	assert_false(pb_decode(&a, schema_type_at(T_meta_v1_ObjectMeta), buf_view(&pb), &v, &err));
	assert_string_equal(err.msg, "proto: repeated field in too many pieces");
	for (int i = 0; i < 20000; i++) {
		value_push(&a, list, value_new_str(&a, arena_printf(&a, "f%d", i)));
	}
	value_set(&a, value_ensure_object(&a, object, N_metadata), N_finalizers, list);
	err_clear(&err);
	assert_false(smp_apply(&a, schema_type_at(T_core_v1_Pod), object, object, &v, &err));
	assert_int_equal(err.code, ERR_TOO_LARGE);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(cases) + 3] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		tests[i] = (struct CMUnitTest){ .name = cases[i].name, .test_func = test_decode, .initial_state = (void *)&cases[i] };
	}
	tests[ARRAY_LEN(cases)] = (struct CMUnitTest)cmocka_unit_test(test_duplicates);
	tests[ARRAY_LEN(cases) + 1] = (struct CMUnitTest)cmocka_unit_test(test_deep);
	tests[ARRAY_LEN(cases) + 2] = (struct CMUnitTest)cmocka_unit_test(test_costly);
	return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
