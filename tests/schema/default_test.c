/* SPDX-License-Identifier: Apache-2.0 */
/*
 * default_test.c - defaults as a default server of the reference shows them.
 */
#include "field.h"

struct default_case {
	const char *name;
	const char *in, *want;
};

#define CONTAINER_TAIL ",\"resources\":{},\"terminationMessagePath\":\"/dev/termination-log\",\"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":"

static const struct default_case cases[] = {
	{ "plain pod",
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"image\":\"nginx\",\"name\":\"c\"}]}}",
		"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"nginx\"" CONTAINER_TAIL
		"\"Always\"}],\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":\"ClusterFirst\",\"securityContext\":{},"
		"\"schedulerName\":\"default-scheduler\",\"enableServiceLinks\":true},\"status\":{}}" },
	{ "host network, limits, probe, tag",
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"hostNetwork\":true,\"containers\":[{\"name\":\"c\",\"image\":\"r.io:5000/x/nginx:1.2\",\"ports\":[{"
		"\"containerPort\":80}],\"resources\":{\"limits\":{\"memory\":\"1024Mi\",\"cpu\":\"0.5\"},\"requests\":{\"cpu\":\"100m\"}},\"livenessProbe\":{\"httpGet\":{\"port\":"
		"\"http\"}}}]}}",
		"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"r.io:5000/x/nginx:1.2\",\"ports\":[{\"hostPort\":80,"
		"\"containerPort\":80,\"protocol\":\"TCP\"}],\"resources\":{\"limits\":{\"cpu\":\"500m\",\"memory\":\"1Gi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"1Gi\"}},"
		"\"livenessProbe\":{\"httpGet\":{\"path\":\"/\",\"port\":\"http\",\"scheme\":\"HTTP\"},\"timeoutSeconds\":1,\"periodSeconds\":10,\"successThreshold\":1,"
		"\"failureThreshold\":3},\"terminationMessagePath\":\"/dev/termination-log\",\"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":\"IfNotPresent\"}],"
		"\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":\"ClusterFirst\",\"hostNetwork\":true,\"securityContext\":{},"
		"\"schedulerName\":\"default-scheduler\",\"enableServiceLinks\":true},\"status\":{}}" },
	{ "volumes",
		"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"serviceAccount\":\"sa\",\"containers\":null,\"volumes\":[{\"name\":\"e\"},{\"name\":\"c\",\"configMap\":{\"name\":\"m\"}},"
		"{\"name\":\"h\",\"hostPath\":{\"path\":\"/\"}},{\"name\":\"p\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"t\"}}]}}]}}",
		"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{},\"spec\":{\"volumes\":[{\"name\":\"e\",\"emptyDir\":{}},{\"name\":\"c\",\"configMap\":{\"name\":\"m\","
		"\"defaultMode\":420}},{\"name\":\"h\",\"hostPath\":{\"path\":\"/\",\"type\":\"\"}},{\"name\":\"p\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{"
		"\"expirationSeconds\":3600,\"path\":\"t\"}}],\"defaultMode\":420}}],\"containers\":null,\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,"
		"\"dnsPolicy\":\"ClusterFirst\",\"serviceAccountName\":\"sa\",\"serviceAccount\":\"sa\",\"securityContext\":{},\"schedulerName\":\"default-scheduler\","
		"\"enableServiceLinks\":true},\"status\":{}}" },
	{ "service",
		"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"spec\":{\"type\":\"NodePort\",\"ports\":[{\"port\":80}]}}",
		"{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{},\"spec\":{\"ports\":[{\"protocol\":\"TCP\",\"port\":80,\"targetPort\":80}],\"type\":\"NodePort\","
		"\"sessionAffinity\":\"None\",\"externalTrafficPolicy\":\"Cluster\",\"internalTrafficPolicy\":\"Cluster\"},\"status\":{\"loadBalancer\":{}}}" },
	{ "deployment",
		"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"spec\":{\"containers\":[]}}}}",
		"{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":{},\"spec\":{\"replicas\":1,\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"template\":{\"metadata\":{},"
		"\"spec\":{\"containers\":[],\"restartPolicy\":\"Always\",\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":\"ClusterFirst\",\"securityContext\":{},"
		"\"schedulerName\":\"default-scheduler\"}},\"strategy\":{\"type\":\"RollingUpdate\",\"rollingUpdate\":{\"maxUnavailable\":\"25%\",\"maxSurge\":\"25%\"}},"
		"\"revisionHistoryLimit\":10,\"progressDeadlineSeconds\":600},\"status\":{}}" },
	{ "job",
		"{\"apiVersion\":\"batch/v1\",\"kind\":\"Job\",\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"x\":\"y\"}},\"spec\":{\"containers\":[],\"restartPolicy\":\"Never\"}}}}",
		"{\"kind\":\"Job\",\"apiVersion\":\"batch/v1\",\"metadata\":{\"labels\":{\"x\":\"y\"}},\"spec\":{\"parallelism\":1,\"completions\":1,\"backoffLimit\":6,"
		"\"manualSelector\":false,\"template\":{\"metadata\":{\"labels\":{\"x\":\"y\"}},\"spec\":{\"containers\":[],\"restartPolicy\":\"Never\","
		"\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":\"ClusterFirst\",\"securityContext\":{},\"schedulerName\":\"default-scheduler\"}},"
		"\"completionMode\":\"NonIndexed\",\"suspend\":false,\"podReplacementPolicy\":\"TerminatingOrFailed\"},\"status\":{}}" },
	{ "secret with stringData",
		"{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"stringData\":{\"user\":\"admin\"}}",
		"{\"kind\":\"Secret\",\"apiVersion\":\"v1\",\"metadata\":{},\"data\":{\"user\":\"YWRtaW4=\"},\"type\":\"Opaque\"}" },
	{ "namespace", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"x\"}}",
		"{\"kind\":\"Namespace\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\",\"labels\":{\"kubernetes.io/metadata.name\":\"x\"}},\"spec\":{},\"status\":{\"phase\":"
		"\"Active\"}}" },
	{ "role binding",
		"{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"RoleBinding\",\"subjects\":[{\"kind\":\"User\",\"name\":\"u\"},{\"kind\":\"ServiceAccount\",\"name\":\"s\"}],"
		"\"roleRef\":{\"kind\":\"Role\",\"name\":\"r\"}}",
		"{\"kind\":\"RoleBinding\",\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"metadata\":{},\"subjects\":[{\"kind\":\"User\",\"apiGroup\":\"rbac.authorization.k8s.io\","
		"\"name\":\"u\"},{\"kind\":\"ServiceAccount\",\"name\":\"s\"}],\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"r\"}}" },
	{ "network policy",
		"{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"spec\":{\"podSelector\":{},\"egress\":[{\"ports\":[{\"port\":53}]}]}}",
		"{\"kind\":\"NetworkPolicy\",\"apiVersion\":\"networking.k8s.io/v1\",\"metadata\":{},\"spec\":{\"podSelector\":{},\"egress\":[{\"ports\":[{\"protocol\":\"TCP\",\"port\":53}]}"
		"],\"policyTypes\":[\"Ingress\",\"Egress\"]}}" },
	{ "sub-milli amounts",
		"{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolume\",\"spec\":{\"capacity\":{\"storage\":\"0.0001\"}}}",
		"{\"kind\":\"PersistentVolume\",\"apiVersion\":\"v1\",\"metadata\":{},\"spec\":{\"capacity\":{\"storage\":\"1m\"},\"persistentVolumeReclaimPolicy\":\"Retain\","
		"\"volumeMode\":\"Filesystem\"},\"status\":{\"phase\":\"Pending\"}}" },
};

static void test_default(void **state) {
	const struct default_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *raw = field_c(&a, c->in), *v = NULL, *again = NULL;
	const struct schema_type *t = schema_kind_of(raw);

	assert_non_null(t);
	if (!schema_decode(&a, t, raw, NULL, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	schema_default(&a, t, v);
	assert_string_equal(arena_cstr(&a, json_text(&a, v)), c->want);
	/* It is canonical, and a second time changes nothing. */
	assert_true(schema_decode(&a, t, v, NULL, &again, &err));
	assert_string_equal(arena_cstr(&a, json_text(&a, again)), c->want);
	schema_default(&a, t, again);
	assert_string_equal(arena_cstr(&a, json_text(&a, again)), c->want);
}

struct policy_case {
	const char *image, *want;
};
static const struct policy_case policies[] = {
	{ "nginx", "Always" },
	{ "nginx:latest", "Always" },
	{ "nginx:1.25", "IfNotPresent" },
	{ "localhost:5000/nginx", "Always" },
	{ "nginx@sha256:0000000000000000000000000000000000000000000000000000000000000000", "IfNotPresent" },
	{ "Nginx", "IfNotPresent" },
	{ "", "IfNotPresent" },
};

static void test_pull_policy(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
		auto_arena struct arena a = { 0 };
		struct value *o = value_new_object(&a);

		value_set_str(&a, o, N_image, str_c(policies[i].image));
		schema_default(&a, schema_type_at(T_core_v1_Container), o);
		assert_string_equal(arena_cstr(&a, value_str_at(o, N_imagePullPolicy)), policies[i].want);
	}
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(cases) + 1] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		tests[i] = (struct CMUnitTest){ .name = cases[i].name, .test_func = test_default, .initial_state = (void *)&cases[i] };
	}
	tests[ARRAY_LEN(cases)] = (struct CMUnitTest)cmocka_unit_test(test_pull_policy);
	return cmocka_run_group_tests_name("default", tests, NULL, NULL);
}
