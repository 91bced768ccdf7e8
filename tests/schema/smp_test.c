/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smp_test.c - strategic merge patch: the documented cases ("strategic-merge-patch.md" of the API conventions, and what
 * kubectl sends), each with the reference's result.
 */
#include "field.h"

struct smp_case {
	const char *name;
	uint16_t type;
	const char *original, *patch, *want; /* want NULL: fails */
	const char *error;
};

static const struct smp_case cases[] = {
	{ "containers merge by name; the new one goes first", T_core_v1_PodSpec, "{'containers':[{'name':'a','image':'x','args':['1']}]}",
		"{'containers':[{'name':'b','image':'y'},{'name':'a','image':'z'}]}",
		"{'containers':[{'name':'b','image':'y'},{'name':'a','image':'z','args':['1']}]}" },
	{ "set image as kubectl does", T_apps_v1_Deployment,
		"{'spec':{'template':{'spec':{'containers':[{'name':'a','image':'x'},{'name':'b','image':'y'}]}}}}",
		"{'spec':{'template':{'spec':{'$setElementOrder/containers':[{'name':'a'},{'name':'b'}],'containers':[{'name':'b','image':'new'}]}}}}",
		"{'spec':{'template':{'spec':{'containers':[{'name':'a','image':'x'},{'name':'b','image':'new'}]}}}}" },
	{ "setElementOrder reorders; the server's own stay before what stood behind them", T_core_v1_PodSpec,
		"{'containers':[{'name':'a'},{'name':'server'},{'name':'b'}]}", "{'$setElementOrder/containers':[{'name':'b'},{'name':'a'}]}",
		"{'containers':[{'name':'server'},{'name':'b'},{'name':'a'}]}" },
	{ "setElementOrder with a new item", T_core_v1_PodSpec, "{'containers':[{'name':'a'}]}",
		"{'$setElementOrder/containers':[{'name':'a'},{'name':'b'}],'containers':[{'name':'b','image':'i'}]}",
		"{'containers':[{'name':'a'},{'name':'b','image':'i'}]}" },
	{ "setElementOrder that does not name the item", T_core_v1_PodSpec, "{'containers':[{'name':'a'}]}",
		"{'$setElementOrder/containers':[{'name':'a'}],'containers':[{'name':'b'}]}", NULL,
		"The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n" },
	{ "delete an item", T_core_v1_PodSpec, "{'containers':[{'name':'a'},{'name':'b'}]}", "{'containers':[{'name':'a','$patch':'delete'}]}",
		"{'containers':[{'name':'b'}]}" },
	{ "delete an item without its key", T_core_v1_PodSpec, "{'containers':[{'name':'a'}]}", "{'containers':[{'image':'a','$patch':'delete'}]}", NULL,
		"map: map[$patch:delete image:a] does not contain declared merge key: name" },
	{ "replace a list", T_core_v1_PodSpec, "{'containers':[{'name':'a'},{'name':'b'}]}", "{'containers':[{'name':'c'},{'$patch':'replace'}]}",
		"{'containers':[{'name':'c'}]}" },
	{ "an item without its key", T_core_v1_PodSpec, "{'containers':[{'name':'a'}]}", "{'containers':[{'image':'z'}]}", NULL,
		"map: map[image:z] does not contain declared merge key: name" },
	{ "replace a map", T_core_v1_ConfigMap, "{'data':{'a':'1','b':'2'}}", "{'data':{'$patch':'replace','c':'3'}}", "{'data':{'c':'3'}}" },
	{ "null takes a member away", T_core_v1_ConfigMap, "{'data':{'a':'1','b':'2'}}", "{'data':{'a':null,'x':null}}", "{'data':{'b':'2'}}" },
	{ "nulls of what is new are dropped", T_core_v1_ConfigMap, "{}", "{'data':{'a':null,'b':'2'}}", "{'data':{'b':'2'}}" },
	{ "unknown directive", T_core_v1_ConfigMap, "{'data':{'a':'1'}}", "{'data':{'$patch':'explode'}}", NULL,
		"unknown patch type: explode in map: map[$patch:explode]" },
	{ "a list without strategy is replaced", T_core_v1_PodSpec, "{'containers':[{'name':'a','args':['1','2']}],'tolerations':[{'key':'a'}]}",
		"{'containers':[{'name':'a','args':['3']}],'tolerations':[{'key':'b'}]}",
		"{'containers':[{'name':'a','args':['3']}],'tolerations':[{'key':'b'}]}" },
	{ "finalizers merge as a set", T_core_v1_ConfigMap, "{'metadata':{'finalizers':['a','b']}}", "{'metadata':{'finalizers':['b','c']}}",
		"{'metadata':{'finalizers':['a','b','c']}}" },
	{ "finalizers: delete and order", T_core_v1_ConfigMap, "{'metadata':{'finalizers':['a','b','c']}}",
		"{'metadata':{'$deleteFromPrimitiveList/finalizers':['a'],'$setElementOrder/finalizers':['c','b']}}", "{'metadata':{'finalizers':['c','b']}}" },
	{ "retainKeys changes the kind of a volume", T_core_v1_PodSpec, "{'volumes':[{'name':'v','hostPath':{'path':'/x'}}]}",
		"{'volumes':[{'$retainKeys':['name','emptyDir'],'name':'v','emptyDir':{}}]}", "{'volumes':[{'name':'v','emptyDir':{}}]}" },
	{ "retainKeys of a deployment's strategy", T_apps_v1_DeploymentSpec, "{'strategy':{'type':'RollingUpdate','rollingUpdate':{'maxSurge':1}}}",
		"{'strategy':{'$retainKeys':['type'],'type':'Recreate'}}", "{'strategy':{'type':'Recreate'}}" },
	{ "retainKeys that misses a member", T_apps_v1_DeploymentSpec, "{'strategy':{'type':'RollingUpdate'}}",
		"{'strategy':{'$retainKeys':['type'],'type':'Recreate','rollingUpdate':{}}}", NULL, "invalid patch format of retainKeys" },
	{ "service ports merge by port", T_core_v1_ServiceSpec, "{'ports':[{'port':80,'protocol':'TCP','nodePort':30000}]}",
		"{'ports':[{'port':80,'targetPort':8080}]}", "{'ports':[{'port':80,'protocol':'TCP','nodePort':30000,'targetPort':8080}]}" },
	{ "conditions merge by type", T_core_v1_NodeStatus, "{'conditions':[{'type':'Ready','status':'True'},{'type':'Disk','status':'False'}]}",
		"{'$setElementOrder/conditions':[{'type':'Ready'},{'type':'Disk'}],'conditions':[{'type':'Ready','status':'False'}]}",
		"{'conditions':[{'type':'Ready','status':'False'},{'type':'Disk','status':'False'}]}" },
	{ "a null list in the original", T_core_v1_PodSpec, "{'containers':null}", "{'containers':[{'name':'a','command':null}]}",
		"{'containers':[{'name':'a'}]}" },
	{ "labels", T_core_v1_Node, "{'metadata':{'labels':{'a':'1'}}}", "{'metadata':{'labels':{'b':'2'}},'spec':{'unschedulable':true}}",
		"{'metadata':{'labels':{'a':'1','b':'2'}},'spec':{'unschedulable':true}}" },
	{ "selector of a map inside lists", T_core_v1_PodSpec, "{'topologySpreadConstraints':[{'topologyKey':'z','maxSkew':1}]}",
		"{'topologySpreadConstraints':[{'topologyKey':'z','maxSkew':2},{'topologyKey':'n','maxSkew':1}]}",
		"{'topologySpreadConstraints':[{'topologyKey':'z','maxSkew':2},{'topologyKey':'n','maxSkew':1}]}" },
};

static struct value *quoted(struct arena *a, const char *text) {
	char *s = arena_cstr(a, str_c(text));

	for (char *p = s; *p; p++) {
		*p = *p == '\'' ? '"' : *p;
	}
	return field_c(a, s);
}

static void test_smp(void **state) {
	const struct smp_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct value *original = quoted(&a, c->original), *patch = quoted(&a, c->patch), *got = NULL;
	struct str before = json_text(&a, original);
	struct err err = { 0 };
	bool ok = smp_apply(&a, schema_type_at(c->type), original, patch, &got, &err);

	if (!c->want) {
		assert_false(ok);
		assert_string_equal(err.msg, c->error);
		return;
	}
	if (!ok) {
		fail_msg("%s", err.msg);
	}
	assert_string_equal(arena_cstr(&a, json_text(&a, got)), arena_cstr(&a, json_text(&a, quoted(&a, c->want))));
	assert_true(str_eq(before, json_text(&a, original)));
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(cases)] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		tests[i] = (struct CMUnitTest){ .name = cases[i].name, .test_func = test_smp, .initial_state = (void *)&cases[i] };
	}
	return cmocka_run_group_tests_name("smp", tests, NULL, NULL);
}
