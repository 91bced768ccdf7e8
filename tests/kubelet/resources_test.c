/* SPDX-License-Identifier: Apache-2.0 */
/* resources_test.c - QoS classes, sums over a pod, and what containers are given. Values as Kubernetes documents them. */
#include "../cases.h"
#include "kubelet/resources.h"

#define R(cpu, mem) "{\"requests\":{\"cpu\":\"" cpu "\",\"memory\":\"" mem "\"},\"limits\":{\"cpu\":\"" cpu "\",\"memory\":\"" mem "\"}}"
#define C(r) "{\"name\":\"c\",\"resources\":" r "}"
#define POD(ctrs) "{\"spec\":{\"containers\":[" ctrs "]}}"

static const struct pod_case {
	const char *name, *json, *qos;
	int64_t cpu_request, cpu_limit, memory_request, memory_limit;
	int oom;
} pod_cases[] = {
	{ "nothing", POD(C("{}")), "BestEffort", 0, 0, 0, 0, 1000 },
	{ "guaranteed", POD(C(R("100m", "64Mi"))), "Guaranteed", 100, 100, 64 << 20, 64 << 20, -997 },
	{ "limits alone", POD(C("{\"limits\":{\"cpu\":\"1\",\"memory\":\"1Gi\"}}")), "Guaranteed", 1000, 1000, 1 << 30, 1 << 30, -997 },
	{ "burstable", POD(C("{\"requests\":{\"cpu\":\"250m\"}}")), "Burstable", 250, 0, 0, 0, 999 },
	{ "a quarter of the memory", POD(C("{\"requests\":{\"memory\":\"1Gi\"}}")), "Burstable", 0, 0, 1 << 30, 0, 750 },
	{ "more than there is", POD(C("{\"requests\":{\"memory\":\"8Gi\"}}")), "Burstable", 0, 0, (int64_t)8 << 30, 0, 3 },
	{ "one of two", POD(C(R("100m", "64Mi")) "," C("{}")), "Burstable", 100, 0, 64 << 20, 0, 985 },
	{ "two", POD(C(R("100m", "64Mi")) "," C(R("200m", "64Mi"))), "Guaranteed", 300, 300, 128 << 20, 128 << 20, -997 },
	{ "large init", "{\"spec\":{\"containers\":[" C(R("100m", "64Mi")) "],\"initContainers\":[" C(R("1", "32Mi")) "]}}", "Guaranteed", 1000, 1000,
		64 << 20, 64 << 20, -997 },
	{ "sidecar", "{\"spec\":{\"containers\":[" C(R("100m", "64Mi")) "],\"initContainers\":[{\"name\":\"s\",\"restartPolicy\":\"Always\",\"resources\":"
		R("1", "32Mi") "}]}}", "Guaranteed", 1100, 1100, 96 << 20, 96 << 20, -997 },
	{ "overhead", "{\"spec\":{\"overhead\":{\"cpu\":\"10m\",\"memory\":\"1Mi\"},\"containers\":[" C(R("100m", "64Mi")) "]}}", "Guaranteed", 110, 110,
		65 << 20, 65 << 20, -997 },
};

static struct value *parse(struct arena *a, const char *json) {
	struct value *v = NULL;
	struct err err = { 0 };

	assert_true(json_parse(a, str_c(json), &(struct json_opts){ 0 }, &v, &err));
	return v;
}

static void test_pod(void **state) {
	const struct pod_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct value *pod = parse(&a, c->json);
	struct kubelet k = { .memory_bytes = (int64_t)4 << 30, .oom_score_min = -1000 };
	struct cri_resources res;
	struct pod_sums s;

	assert_true(str_eqc(qos_text(pod_qos(pod)), c->qos));
	pod_sums(pod, &s);
	assert_int_equal(s.cpu_request, c->cpu_request);
	assert_int_equal(s.cpu_limit, c->cpu_limit);
	assert_int_equal(s.memory_request, c->memory_request);
	assert_int_equal(s.memory_limit, c->memory_limit);
	ctr_resources(&k, &a, pod, CTR_APP, value_item(value_at(pod, N_spec, N_containers), 0), &res);
	assert_int_equal(res.oom_score_adj, c->oom);
	k.oom_score_min = 0; /* without CAP_SYS_RESOURCE */
	ctr_resources(&k, &a, pod, CTR_APP, value_item(value_at(pod, N_spec, N_containers), 0), &res);
	assert_int_equal(res.oom_score_adj, MAX(c->oom, 0));
}

static const struct shares_case {
	const char *name;
	int64_t milli;
	uint64_t shares;
} shares_cases[] = {
	{ "none", 0, 2 }, { "one milli", 1, 2 }, { "two", 2, 2 }, { "100m", 100, 102 }, { "one cpu", 1000, 1024 }, { "32 cpus", 32000, 32768 },
	{ "more than the kernel takes", 1000000, 262144 },
};

static void test_shares(void **state) {
	const struct shares_case *c = *state;

	assert_int_equal(cpu_shares(c->milli), c->shares);
}

int main(void) {
	return RUN_CASES("pods", pod_cases, test_pod) + RUN_CASES("shares", shares_cases, test_shares);
}
