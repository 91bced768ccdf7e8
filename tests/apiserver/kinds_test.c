/* SPDX-License-Identifier: Apache-2.0 */
/* kinds_test.c - rules of kinds: a manifest, decoded and defaulted as the registry does, and upstream's words for what is wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "apiserver/kinds.h"
#include "schema/schema.h"

struct kinds_case {
	const char *name;
	const char *yaml;
	const char *want; /* "field: message" of each broken rule, one a line; "" none */
};

#define POD(spec) "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: d}, spec: " spec "}"
#define SERVICE(spec) "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: d}, spec: " spec "}"
#define DEPLOYMENT(spec) "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, namespace: d}, spec: " spec "}"

static const struct kinds_case cases[] = {
	{ "good pod", POD("{containers: [{name: a, image: b}]}"), "" },
	{ "no containers", POD("{containers: []}"), "spec.containers: Required value\n" },
	{ "no image", POD("{containers: [{name: a}]}"), "spec.containers[0].image: Required value\n" },
	{ "no name", POD("{containers: [{image: b}]}"), "spec.containers[0].name: Required value\n" },
	{ "two of a name", POD("{containers: [{name: a, image: b}, {name: a, image: c}]}"), "spec.containers[1].name: Duplicate value: \"a\"\n" },
	{ "unknown policy", POD("{restartPolicy: Maybe, containers: [{name: a, image: b}]}"),
		"spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"\n" },
	{ "port too high", POD("{containers: [{name: a, image: b, ports: [{containerPort: 70000}]}]}"),
		"spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive\n" },
	{ "mount of no volume", POD("{containers: [{name: a, image: b, volumeMounts: [{name: v, mountPath: /v}]}]}"),
		"spec.containers[0].volumeMounts[0].name: Not found: \"v\"\n" },
	{ "no volume type", POD("{containers: [{name: a, image: b}], volumes: [{name: v}]}"), "" }, /* defaults to emptyDir */
	{ "two volume types", POD("{containers: [{name: a, image: b}], volumes: [{name: v, emptyDir: {}, configMap: {name: c}}]}"),
		"spec.volumes[0].configMap: Forbidden: may not specify more than 1 volume type\n" },
	{ "request over limit", POD("{containers: [{name: a, image: b, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]}"),
		"spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1\n" },
	{ "odd resource", POD("{containers: [{name: a, image: b, resources: {limits: {gpu: 1}}}]}"),
		"spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified\n"
		"spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource for containers\n"
		"spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified\n"
		"spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers\n" },
	{ "probe without handler", POD("{containers: [{name: a, image: b, livenessProbe: {periodSeconds: 3}}]}"),
		"spec.containers[0].livenessProbe: Required value: must specify a handler type\n" },
	{ "bad name", "{apiVersion: v1, kind: ConfigMap, metadata: {name: A_b, namespace: d}}",
		"metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
		"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')\n" },
	{ "bad label", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: d, labels: {k: 'a b'}}}",
		"metadata.labels[k]: Invalid value: \"a b\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
		"end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')\n" },
	{ "empty data key", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: d}, data: {'': x}}",
		"data[]: Invalid value: \"\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex "
		"used for validation is '[-._a-zA-Z0-9]+')\n" },
	{ "selector differs", DEPLOYMENT("{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: b}]}}}"),
		"spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`\n" },
	{ "no selector", DEPLOYMENT("{template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: b}]}}}"), "spec.selector: Required value\n" },
	{ "negative replicas", DEPLOYMENT("{replicas: -1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: b}]}}}"),
		"spec.replicas: Invalid value: -1: must be greater than or equal to 0\n" },
	{ "no service port", SERVICE("{}"), "spec.ports: Required value\n" },
	{ "unnamed ports", SERVICE("{ports: [{port: 1}, {port: 2}]}"), "spec.ports[0].name: Required value\nspec.ports[1].name: Required value\n" },
	{ "node port of a ClusterIP", SERVICE("{ports: [{port: 1, nodePort: 30001}]}"), "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'\n" },
	{ "tls secret without key", "{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: d}, type: kubernetes.io/tls, data: {tls.crt: ''}}", "data[tls.key]: Required value\n" },
	{ "job restarts always", "{apiVersion: batch/v1, kind: Job, metadata: {name: a, namespace: d, uid: u}, spec: {template: {spec: {containers: [{name: a, image: b}]}}}}",
		"spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"\n" },
};

static void test_validate(void **state) {
	const struct kinds_case *k = *state;
	auto_arena struct arena a = { 0 };
	struct value *raw, *o;
	struct err err = { 0 };
	assert_true(yaml_parse(&a, str_c(k->yaml), NULL, &raw, &err));
	const struct schema_type *t = schema_kind_of(raw);
	assert_non_null(t);
	if (!schema_decode(&a, t, raw, NULL, &o, &err)) {
		fail_msg("%s", err.msg);
	}
	schema_default(&a, t, o);
	const struct schema_resource *r = schema_resource_of(t);
	const struct kind_ops *ops = kind_ops_find(schema_resource_group(r), schema_text(r->name));
	struct kind_ctx x = { .arena = &a, .ns = S("d"), .name = S("x") };
	struct causes c = { .arena = &a };
	if (ops->prepare_create) {
		ops->prepare_create(&x, o);
	}
	validate_meta(&x, o, r->namespaced, ops, &c);
	if (ops->validate) {
		ops->validate(&x, o, &c);
	}
	auto_buf struct buf got = { 0 };
	for (size_t i = 0; i < c.len; i++) {
		buf_printf(&got, "%.*s: %.*s\n", STR_ARG(c.at[i].field), STR_ARG(c.at[i].message));
	}
	assert_string_equal(buf_cstr(&got), k->want);
}

static void test_service_addresses(void **state) {
	struct service_alloc *s;
	struct err err = { 0 };
	auto_arena struct arena a = { 0 };
	const struct kind_ops *ops = kind_ops_find(S(""), S("services"));
	struct value *first, *second;

	assert_true(service_alloc_new("10.96.0.0/24", "30000-30010", &s, &err));
	struct kind_ctx x = { .arena = &a, .services = s, .name = S("x") };
	assert_true(yaml_parse(&a, S("{spec: {type: NodePort, ports: [{port: 80, protocol: TCP}]}}"), NULL, &first, &err));
	assert_true(ops->allocate(&x, first, NULL, &err));
	assert_true(str_starts(value_str_at(first, N_spec, N_clusterIP), S("10.96.0.")));
	int64_t port = value_int_at(value_item(value_at(first, N_spec, N_ports), 0), N_nodePort);
	assert_in_range(port, 30000, 30010);

	/* The same address again is refused, and is free once the Service is gone. */
	second = value_copy(&a, first);
	assert_false(ops->allocate(&x, second, NULL, &err));
	assert_int_equal(err.code, ERR_INVALID);
	assert_non_null(strstr(err.msg, "provided IP is already allocated"));
	ops->deleted(&x, first);
	assert_true(ops->allocate(&x, second, NULL, &err));

	/* Outside the range. */
	assert_true(yaml_parse(&a, S("{spec: {type: NodePort, ports: [{port: 80, protocol: TCP, nodePort: 80}]}}"), NULL, &first, &err));
	assert_false(ops->allocate(&x, first, NULL, &err));
	assert_non_null(strstr(err.msg, "provided port is not in the valid range. The range of valid ports is 30000-30010"));
	service_alloc_free(s);
	assert_false(service_alloc_new("10.96.0.0", "1-2", &s, &err));
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(cases) + 1] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		tests[i] = (struct CMUnitTest){ .name = cases[i].name, .test_func = test_validate, .initial_state = (void *)&cases[i] };
	}
	tests[ARRAY_LEN(cases)] = (struct CMUnitTest)cmocka_unit_test(test_service_addresses);
	return cmocka_run_group_tests_name("kinds", tests, NULL, NULL);
}
