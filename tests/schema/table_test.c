/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table_test.c - rows as `kubectl get` shows them; and that every served kind's filled fixture gives one cell a column.
 */
#include "field.h"

struct row_case {
	const char *name;
	const char *object;
	const char *want; /* the cells */
};

/* 2024-01-02T03:04:05Z */
#define NOW 1704164645

static const struct row_case cases[] = {
	{ "running pod",
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a','creationTimestamp':'2024-01-02T02:59:05Z'},'spec':{'nodeName':'n1','containers':[{'name':'c'}]},"
		"'status':{'phase':'Running','podIP':'10.0.0.1','podIPs':[{'ip':'10.0.0.1'}],'containerStatuses':[{'name':'c','ready':true,'restartCount':2,'state':{'running':{}},"
		"'lastState':{'terminated':{'finishedAt':'2024-01-02T03:03:05Z'}}}]}}",
		"['a','1/1','Running','2 (60s ago)','5m','10.0.0.1','n1','<none>','<none>']" },
	{ "pending pod", "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a','creationTimestamp':'2024-01-02T03:04:05Z'},'spec':{'containers':[{},{}]},'status':{'phase':'Pending'}}",
		"['a','0/2','Pending','0','0s','<none>','<none>','<none>','<none>']" },
	{ "crash loop",
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a'},'spec':{'containers':[{'name':'c'}]},'status':{'phase':'Running','containerStatuses':[{'name':'c',"
		"'restartCount':1,'state':{'waiting':{'reason':'CrashLoopBackOff'}}}]}}",
		"['a','0/1','CrashLoopBackOff','1','<unknown>','<none>','<none>','<none>','<none>']" },
	{ "init containers run",
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a'},'spec':{'initContainers':[{'name':'i'},{'name':'j'}],'containers':[{'name':'c'}]},'status':{'phase':'Pending',"
		"'initContainerStatuses':[{'name':'i','state':{'terminated':{'exitCode':0}}},{'name':'j','state':{'running':{}}}]}}",
		"['a','0/1','Init:1/2','0','<unknown>','<none>','<none>','<none>','<none>']" },
	{ "init container failed",
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a'},'spec':{'initContainers':[{'name':'i'}],'containers':[{'name':'c'}]},'status':{'phase':'Pending',"
		"'initContainerStatuses':[{'name':'i','restartCount':3,'state':{'terminated':{'exitCode':2}}}]}}",
		"['a','0/1','Init:ExitCode:2','3','<unknown>','<none>','<none>','<none>','<none>']" },
	{ "terminating", "{'apiVersion':'v1','kind':'Pod','metadata':{'name':'a','deletionTimestamp':'2024-01-02T03:04:05Z'},'spec':{'containers':[{}]},'status':{'phase':'Running'}}",
		"['a','0/1','Terminating','0','<unknown>','<none>','<none>','<none>','<none>']" },
	{ "service",
		"{'apiVersion':'v1','kind':'Service','metadata':{'name':'s'},'spec':{'type':'NodePort','clusterIP':'10.0.0.9','clusterIPs':['10.0.0.9'],'selector':{'b':'2','a':'1'},"
		"'ports':[{'port':80,'nodePort':30036,'protocol':'TCP'},{'port':53,'protocol':'UDP'}]}}",
		"['s','NodePort','10.0.0.9','<none>','80:30036/TCP,53/UDP','<unknown>','a=1,b=2']" },
	{ "load balancer", "{'apiVersion':'v1','kind':'Service','metadata':{'name':'s'},'spec':{'type':'LoadBalancer'}}",
		"['s','LoadBalancer','<none>','<pending>','<none>','<unknown>','<none>']" },
	{ "deployment",
		"{'apiVersion':'apps/v1','kind':'Deployment','metadata':{'name':'d','creationTimestamp':'2023-12-30T03:04:05Z'},'spec':{'replicas':3,'selector':{'matchLabels':{'app':'x'},"
		"'matchExpressions':[{'key':'k','operator':'In','values':['a','b']}]},'template':{'spec':{'containers':[{'name':'c','image':'i:1'}]}}},'status':{'readyReplicas':2,"
		"'updatedReplicas':3,'availableReplicas':2}}",
		"['d','2/3',3,2,'3d','c','i:1','app=x,k in (a,b)']" },
	{ "node",
		"{'apiVersion':'v1','kind':'Node','metadata':{'name':'n','labels':{'node-role.kubernetes.io/worker':'','node-role.kubernetes.io/control-plane':''}},'spec':{'unschedulable':"
		"true},'status':{'conditions':[{'type':'Ready','status':'True'}],'addresses':[{'type':'InternalIP','address':'1.2.3.4'}],'nodeInfo':{'kubeletVersion':'v1.36.0','osImage':"
		"'Debian'}}}",
		"['n','Ready,SchedulingDisabled','control-plane,worker','<unknown>','v1.36.0','1.2.3.4','<none>','Debian','<unknown>','<unknown>']" },
	{ "endpoints",
		"{'apiVersion':'v1','kind':'Endpoints','metadata':{'name':'e'},'subsets':[{'addresses':[{'ip':'1.1.1.1'},{'ip':'1.1.1.2'}],'ports':[{'port':80},{'port':81}]}]}",
		"['e','1.1.1.1:80,1.1.1.2:80,1.1.1.1:81 + 1 more...','<unknown>']" },
	{ "job",
		"{'apiVersion':'batch/v1','kind':'Job','metadata':{'name':'j'},'spec':{'completions':2,'selector':{'matchLabels':{'a':'b'}},'template':{'spec':{'containers':[{'name':'c','image':"
		"'i'}]}}},'status':{'succeeded':1,'startTime':'2024-01-02T03:00:00Z','conditions':[]}}",
		"['j','Running','1/2','4m5s','<unknown>','c','i','a=b']" },
	{ "event",
		"{'apiVersion':'v1','kind':'Event','metadata':{'name':'e'},'involvedObject':{'kind':'Pod','name':'p','fieldPath':'spec.containers{c}'},'reason':'Pulled','message':' x ','source':{"
		"'component':'kubelet','host':'n'},'firstTimestamp':'2024-01-02T03:03:05Z','lastTimestamp':'2024-01-02T03:04:00Z','count':2,'type':'Normal'}",
		"['5s','Normal','Pulled','pod/p','spec.containers{c}','kubelet, n','x','60s',2,'e']" },
	{ "claim",
		"{'apiVersion':'v1','kind':'PersistentVolumeClaim','metadata':{'name':'p'},'spec':{'volumeName':'v','storageClassName':'fast','volumeMode':'Filesystem'},'status':{'phase':'Bound',"
		"'capacity':{'storage':'1Gi'},'accessModes':['ReadWriteOnce']}}",
		"['p','Bound','v','1Gi','RWO','fast','<unset>','<unknown>','Filesystem']" },
	{ "role has the plain columns", "{'apiVersion':'rbac.authorization.k8s.io/v1','kind':'Role','metadata':{'name':'r','creationTimestamp':'2024-01-02T03:04:05Z'}}",
		"['r','2024-01-02T03:04:05Z']" },
};

static struct value *quoted(struct arena *a, const char *text) {
	char *s = arena_cstr(a, str_c(text));

	for (char *p = s; *p; p++) {
		*p = *p == '\'' ? '"' : *p;
	}
	return field_c(a, s);
}

static void test_row(void **state) {
	const struct row_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct value *o = quoted(&a, c->object), *row;
	const struct schema_resource *r = schema_resource_of(schema_kind_of(o));

	assert_non_null(r);
	row = table_row(&a, r, o, TABLE_METADATA, NOW);
	/* < and > are escaped in JSON */
	assert_string_equal(arena_cstr(&a, json_text(&a, value_get(row, N_cells))), arena_cstr(&a, json_text(&a, quoted(&a, c->want))));
	assert_string_equal(arena_cstr(&a, value_str_at(row, N_object, N_kind)), "PartialObjectMetadata");
}

static const struct {
	int64_t seconds;
	const char *want;
} spans[] = {
	{ -5, "<invalid>" },
	{ -1, "0s" },
	{ 0, "0s" },
	{ 119, "119s" },
	{ 120, "2m" },
	{ 121, "2m1s" },
	{ 600, "10m" },
	{ 10799, "179m" },
	{ 10800, "3h" },
	{ 10860, "3h1m" },
	{ 28800, "8h" },
	{ 172800, "2d" },
	{ 176400, "2d1h" },
	{ 691200, "8d" },
	{ 63072000, "2y" },
	{ 63158400, "2y1d" },
	{ 252288000, "8y" },
};

static void test_ages(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		auto_arena struct arena a = { 0 };
		struct str made = time_text(&a, NOW - spans[i].seconds);

		assert_string_equal(arena_cstr(&a, table_age(&a, made, NOW)), spans[i].want);
	}
}

static void test_fixtures(void **state) {
	auto_arena struct arena outer = { 0 };
	const char *path = field_path(&outer, "api/fixtures");

	if (!path) {
		print_message("shared data is absent: 68 kinds skipped\n");
		skip();
	}
	for (size_t i = 0; i < schema_resources_len; i++) {
		const struct schema_resource *r = &schema_resources[i];
		auto_arena struct arena a = { 0 };
		struct str group = schema_resource_group(r), version = schema_resource_version(r), kind = schema_type_short(schema_resource_type(r));
		const char *file = arena_printf(&a, "%s/%.*s.%.*s.%.*s.json", path, STR_ARG(group.len ? group : S("core")), STR_ARG(version), STR_ARG(kind)).ptr;

		if (access(file, R_OK) == 0) {
			struct value *o = field_json(&a, str_trim(field_read(&a, file))), *table = table_of(&a, r, o, TABLE_OBJECT, NOW);

			assert_int_equal(value_len(value_get(table, N_columnDefinitions)), value_len(value_at(value_item(value_get(table, N_rows), 0), N_cells)));
		}
	}
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(cases) + 2] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		tests[i] = (struct CMUnitTest){ .name = cases[i].name, .test_func = test_row, .initial_state = (void *)&cases[i] };
	}
	tests[ARRAY_LEN(cases)] = (struct CMUnitTest)cmocka_unit_test(test_ages);
	tests[ARRAY_LEN(cases) + 1] = (struct CMUnitTest)cmocka_unit_test(test_fixtures);
	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
