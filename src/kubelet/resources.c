/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resources.c - requests and limits of pods, their QoS class, the cgroups above containers and the
 * numbers inside them. Called by passes and by the node's status; the arithmetic has no state.
 *
 * Source: Kubernetes "Pod Quality of Service Classes", "Node-pressure eviction", kernel cgroup-v1 cpu
 * and memory documents (the runtime converts for v2).
 */
#include "kubelet/resources.h"

#include "schema/schema.h"

#define SHARES_MIN 2
#define SHARES_MAX 262144
#define PERIOD_US 100000
#define QUOTA_MIN_US 1000
#define PRIORITY_CRITICAL 2000000000

int64_t qty_value(const struct value *q) {
	return q ? quantity_value(quantity_from(q)) : 0;
}

int64_t qty_milli(const struct value *q) {
	return q ? quantity_milli(quantity_from(q)) : 0;
}

const struct value *qty_of(const struct value *resource_list, struct str resource) {
	return value_get_str(resource_list, resource);
}

uint64_t cpu_shares(int64_t milli) {
	int64_t shares = milli * 1024 / 1000;

	return (uint64_t)MIN(MAX(shares, SHARES_MIN), SHARES_MAX);
}

static int64_t cpu_quota(int64_t milli) {
	return MAX(milli * PERIOD_US / 1000, QUOTA_MIN_US);
}

/* ---- sums ---------------------------------------------------------------------------------------- */

static const struct value *request_of(const struct value *resources, struct str name) {
	const struct value *q = qty_of(value_get(resources, N_requests), name);

	return q ? q : qty_of(value_get(resources, N_limits), name);
}

static void sums_of(const struct value *resources, struct pod_sums *ret) {
	*ret = (struct pod_sums){
		.cpu_request = qty_milli(request_of(resources, S("cpu"))),
		.cpu_limit = qty_milli(qty_of(value_get(resources, N_limits), S("cpu"))),
		.memory_request = qty_value(request_of(resources, S("memory"))),
		.memory_limit = qty_value(qty_of(value_get(resources, N_limits), S("memory"))),
	};
}

static void sums_add(struct pod_sums *to, const struct pod_sums *s, bool *no_cpu_limit, bool *no_memory_limit) {
	to->cpu_request += s->cpu_request;
	to->memory_request += s->memory_request;
	to->cpu_limit += s->cpu_limit;
	to->memory_limit += s->memory_limit;
	*no_cpu_limit = *no_cpu_limit || s->cpu_limit == 0;
	*no_memory_limit = *no_memory_limit || s->memory_limit == 0;
}

static void sums_max(struct pod_sums *to, const struct pod_sums *s) {
	to->cpu_request = MAX(to->cpu_request, s->cpu_request);
	to->memory_request = MAX(to->memory_request, s->memory_request);
	to->cpu_limit = MAX(to->cpu_limit, s->cpu_limit);
	to->memory_limit = MAX(to->memory_limit, s->memory_limit);
}

void pod_sums(const struct value *pod, struct pod_sums *ret) {
	const struct value *spec = value_get(pod, N_spec);
	struct pod_sums sum = { 0 }, sidecars = { 0 }, init_peak = { 0 };
	bool no_cpu = false, no_memory = false;

	VALUE_EACH(value_get(spec, N_containers), c) {
		struct pod_sums s;
		sums_of(value_get(c, N_resources), &s);
		sums_add(&sum, &s, &no_cpu, &no_memory);
	}
	VALUE_EACH(value_get(spec, N_initContainers), c) {
		struct pod_sums s;
		sums_of(value_get(c, N_resources), &s);
		if (ctr_is_sidecar(c)) {
			sums_add(&sum, &s, &no_cpu, &no_memory);
			sums_add(&sidecars, &s, &no_cpu, &no_memory);
			sums_max(&init_peak, &sidecars);
		} else {
			struct pod_sums both = sidecars;
			sums_add(&both, &s, &no_cpu, &no_memory);
			sums_max(&init_peak, &both);
		}
	}
	sums_max(&sum, &init_peak);
	if (no_cpu) {
		sum.cpu_limit = 0;
	}
	if (no_memory) {
		sum.memory_limit = 0;
	}
	/* resources of the whole pod, where they are set, stand above the sums */
	const struct value *whole = value_get(spec, N_resources);
	if (whole) {
		struct pod_sums s;
		sums_of(whole, &s);
		sum.cpu_request = s.cpu_request ? s.cpu_request : sum.cpu_request;
		sum.memory_request = s.memory_request ? s.memory_request : sum.memory_request;
		sum.cpu_limit = s.cpu_limit ? s.cpu_limit : sum.cpu_limit;
		sum.memory_limit = s.memory_limit ? s.memory_limit : sum.memory_limit;
	}
	const struct value *overhead = value_get(spec, N_overhead);
	int64_t cpu = qty_milli(qty_of(overhead, S("cpu"))), memory = qty_value(qty_of(overhead, S("memory")));
	sum.cpu_request += cpu;
	sum.memory_request += memory;
	sum.cpu_limit += sum.cpu_limit ? cpu : 0;
	sum.memory_limit += sum.memory_limit ? memory : 0;
	*ret = sum;
}

/* ---- QoS ------------------------------------------------------------------------------------------- */

static bool has_positive(const struct value *list) {
	return qty_milli(qty_of(list, S("cpu"))) > 0 || qty_value(qty_of(list, S("memory"))) > 0;
}

static bool is_guaranteed(const struct value *resources) {
	static const struct str names[] = { S_INIT("cpu"), S_INIT("memory") };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct value *limit = qty_of(value_get(resources, N_limits), names[i]);
		const struct value *request = qty_of(value_get(resources, N_requests), names[i]);
		if (!limit || quantity_from(limit).nano <= 0) {
			return false;
		}
		if (request && quantity_cmp(quantity_from(request), quantity_from(limit)) != 0) {
			return false;
		}
	}
	return true;
}

enum qos pod_qos(const struct value *pod) {
	const struct value *spec = value_get(pod, N_spec), *whole = value_get(spec, N_resources);
	static const enum name_id lists[] = { N_initContainers, N_containers };
	bool any = false, all = true;

	if (has_positive(value_get(whole, N_requests)) || has_positive(value_get(whole, N_limits))) {
		return is_guaranteed(whole) ? QOS_GUARANTEED : QOS_BURSTABLE;
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		VALUE_EACH(value_get(spec, lists[i]), c) {
			const struct value *r = value_get(c, N_resources);
			any = any || has_positive(value_get(r, N_requests)) || has_positive(value_get(r, N_limits));
			all = all && is_guaranteed(r);
		}
	}
	return !any ? QOS_BEST_EFFORT : all ? QOS_GUARANTEED : QOS_BURSTABLE;
}

struct str qos_text(enum qos q) {
	switch (q) {
	case QOS_GUARANTEED:
		return S("Guaranteed");
	case QOS_BURSTABLE:
		return S("Burstable");
	case QOS_BEST_EFFORT:
		return S("BestEffort");
	}
	return S("");
}

/* ---- cgroups --------------------------------------------------------------------------------------- */

/* The class that the pod was admitted with stands in its status; a resize does not move a pod. */
static enum qos qos_known(const struct value *pod) {
	struct str text = value_str_at(pod, N_status, N_qosClass);

	for (enum qos q = QOS_GUARANTEED; q <= QOS_BEST_EFFORT; q++) {
		if (str_eq(text, qos_text(q))) {
			return q;
		}
	}
	return pod_qos(pod);
}

static struct str cgroup_of(struct arena *a, const struct kubelet *k, enum qos q, struct str uid) {
	static const char *const folder[] = { [QOS_GUARANTEED] = "", [QOS_BURSTABLE] = "/burstable", [QOS_BEST_EFFORT] = "/besteffort" };

	return arena_printf(a, "%.*s%s/pod%.*s", STR_ARG(k->kubepods), folder[q], STR_ARG(uid));
}

struct str pod_cgroup(struct arena *a, const struct kubelet *k, const struct value *pod) {
	return cgroup_of(a, k, qos_known(pod), value_str_at(pod, N_metadata, N_uid));
}

void pod_cgroups_possible(struct arena *a, const struct kubelet *k, struct str uid, struct str ret[3]) {
	for (enum qos q = QOS_GUARANTEED; q <= QOS_BEST_EFFORT; q++) {
		ret[q] = cgroup_of(a, k, q, uid);
	}
}

bool pod_cgroup_make(struct pod *p, struct arena *a, const struct value *pod, const struct pod_sums *sums, struct err *err) {
	struct cri_resources res = { .cpu_shares = cpu_shares(sums->cpu_request), .memory_limit = sums->memory_limit };

	if (sums->cpu_limit > 0) {
		res.cpu_quota_us = cpu_quota(sums->cpu_limit);
		res.cpu_period_us = PERIOD_US;
	}
	return cri_cgroup_set(p->k->o.cri, pod_cgroup(a, p->k, pod), &res, err);
}

void pod_cgroup_remove(struct pod *p, struct arena *a) {
	struct str paths[3];

	pod_cgroups_possible(a, p->k, p->uid, paths);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct err err = { 0 };
		if (!cri_cgroup_remove(p->k->o.cri, paths[i], &err)) {
			log_warn(KUBELET_LOG, "cgroup stays", kv_str("cgroup", paths[i]), kv_err(&err));
		}
	}
}

bool kubepods_make(struct kubelet *k, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct cri_resources all = { .cpu_shares = cpu_shares(kubelet_allocatable_cpu_milli(k)) };
	struct cri_resources least = { .cpu_shares = SHARES_MIN };

	return cri_cgroup_set(k->o.cri, k->kubepods, &all, err) &&
		cri_cgroup_set(k->o.cri, arena_printf(&a, "%.*s/burstable", STR_ARG(k->kubepods)), &least, err) &&
		cri_cgroup_set(k->o.cri, arena_printf(&a, "%.*s/besteffort", STR_ARG(k->kubepods)), &least, err);
}

/* ---- containers ------------------------------------------------------------------------------------- */

/* Which processes the kernel kills first: those that use more than they asked for. */
static int oom_score(const struct kubelet *k, const struct value *pod, const struct value *spec) {
	if (value_int_at(pod, N_spec, N_priority) >= PRIORITY_CRITICAL) {
		return -997;
	}
	switch (pod_qos(pod)) {
	case QOS_GUARANTEED:
		return -997;
	case QOS_BEST_EFFORT:
		return 1000;
	case QOS_BURSTABLE:
		break;
	}
	int64_t request = qty_value(request_of(value_get(spec, N_resources), S("memory")));
	int64_t score = k->memory_bytes > 0 ? 1000 - (int64_t)(1000.0 * (double)request / (double)k->memory_bytes) : 999;
	return (int)MIN(MAX(score, 1000 - 997), 999);
}

static struct cri_kvs hugepages_of(struct arena *a, const struct value *limits) {
	struct cri_kv *at = arena_array(a, struct cri_kv, value_len(limits));
	size_t n = 0;

	for (size_t i = 0; i < value_len(limits); i++) {
		struct str key = value_key(limits, i);
		if (!str_starts(key, S("hugepages-"))) {
			continue;
		}
		int64_t page = 0;
		auto_arena struct arena tmp = { 0 };
		page = qty_value(value_new_str(&tmp, str_from(key, 10)));
		struct str name = page >= (1 << 30) ? arena_printf(a, "%lldGB", (long long)(page >> 30))
			: page >= (1 << 20) ? arena_printf(a, "%lldMB", (long long)(page >> 20)) : arena_printf(a, "%lldKB", (long long)(page >> 10));
		at[n++] = (struct cri_kv){ name, arena_printf(a, "%lld", (long long)qty_value(value_item(limits, i))) };
	}
	return (struct cri_kvs){ at, n };
}

void ctr_resources(const struct kubelet *k, struct arena *a, const struct value *pod, enum ctr_kind kind, const struct value *spec,
	struct cri_resources *ret) {
	const struct value *resources = value_get(spec, N_resources), *limits = value_get(resources, N_limits);
	int64_t cpu_limit = qty_milli(qty_of(limits, S("cpu")));

	*ret = (struct cri_resources){
		.cpu_shares = cpu_shares(qty_milli(request_of(resources, S("cpu")))),
		.memory_limit = qty_value(qty_of(limits, S("memory"))),
		.hugepages = hugepages_of(a, limits),
		.oom_score_adj = MAX(oom_score(k, pod, spec), k->oom_score_min),
		.oom_score_adj_set = true,
	};
	if (cpu_limit > 0) {
		ret->cpu_quota_us = cpu_quota(cpu_limit);
		ret->cpu_period_us = PERIOD_US;
	}
	if (ret->memory_limit > 0) {
		ret->memory_swap_limit = ret->memory_limit; /* memory and swap together: no swap */
	}
}
