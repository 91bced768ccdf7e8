/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resize.c - in-place resize: a pod's newer requests and limits are taken into force without a restart, the pod's
 * cgroup growing before and shrinking after its containers'. Called by passes.
 *
 * What is in force is p->allocated, a version of the pod; a newer version takes its place when it fits the node. A
 * container whose resizePolicy asks for it is ended, and starts again with the new resources.
 * Source: Kubernetes KEP-1287, "Resize CPU and Memory Resources assigned to Containers".
 */
#include "kubelet/internal.h"
#include "kubelet/resources.h"

#define RETRY (5 * NSEC_PER_SEC)

const struct value *ctr_allocated(const struct pod *p, const struct ctr *c) {
	enum ctr_kind kind;
	const struct value *spec = p->allocated ? pod_container(p->allocated->root, str_c(c->name), &kind) : NULL;

	return spec ? spec : c->spec;
}

static bool same_resources(const struct value *a, const struct value *b) {
	const struct value *x = value_get(a, N_resources), *y = value_get(b, N_resources);

	return x == y || (x && y && value_eq(x, y)) || (value_len(x) == 0 && value_len(y) == 0);
}

static bool changed(struct pod *p, const struct value *pod) {
	VEC_EACH(&p->ctrs, c) {
		if ((*c)->spec && (*c)->kind != CTR_EPHEMERAL && !same_resources(ctr_allocated(p, *c), (*c)->spec)) {
			return true;
		}
	}
	return !same_resources(value_get(p->allocated->root, N_spec), value_get(pod, N_spec));
}

/* NULL: it fits. */
static char *misfit(struct pod *p, const struct value *pod) {
	struct pod_sums sums;
	int64_t cpu = kubelet_allocatable_cpu_milli(p->k), memory = kubelet_allocatable_memory(p->k);

	pod_sums(pod, &sums);
	if (sums.cpu_request > cpu) {
		return xasprintf("Node didn't have enough capacity: cpu, requested: %lld, capacity: %lld", (long long)sums.cpu_request, (long long)cpu);
	}
	if (sums.memory_request > memory) {
		return xasprintf("Node didn't have enough capacity: memory, requested: %lld, capacity: %lld", (long long)sums.memory_request,
			(long long)memory);
	}
	return NULL;
}

static int64_t limit_max(int64_t a, int64_t b) { /* 0: none, which is the largest */
	return a == 0 || b == 0 ? 0 : MAX(a, b);
}

static void fail(struct pod *p, const struct ctr *c, const struct err *err) {
	free(p->resize_error);
	p->resize_error = xasprintf("%s%s%s", c ? c->name : "", c ? ": " : "", err->msg);
	log_warn(KUBELET_LOG, "pod not resized", kv_str("ns", p->ns), kv_str("pod", p->name), kv_err(err));
}

static bool restarts_for(const struct value *spec, const char *resource) {
	VALUE_EACH(value_get(spec, N_resizePolicy), policy) {
		if (str_eqc(value_str_at(policy, N_resourceName), resource)) {
			return str_eq(value_str_at(policy, N_restartPolicy), S("RestartContainer"));
		}
	}
	return false;
}

/* Brings one running container to what is allocated. */
static bool bring(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c) {
	struct cri_resources want;
	const struct cri_resources *have = &c->now->resources;
	struct err err = { 0 };

	ctr_resources(p->k, a, pod, c->kind, c->spec, &want);
	bool cpu = want.cpu_shares != have->cpu_shares || MAX(want.cpu_quota_us, 0) != MAX(have->cpu_quota_us, 0);
	bool memory = want.memory_limit != have->memory_limit;
	if (!cpu && !memory) {
		return true;
	}
	if ((cpu && restarts_for(c->spec, "cpu")) || (memory && restarts_for(c->spec, "memory"))) {
		ctr_kill(p, pod, c, pod_grace_seconds(pod), arena_printf(a, "Container %s resize requires restart", c->name).ptr);
		return true; /* it starts again with what is allocated */
	}
	want.oom_score_adj_set = false;
	if (want.cpu_quota_us == 0 && have->cpu_quota_us > 0) {
		want.cpu_quota_us = -1;
	}
	if (want.memory_limit == 0 && have->memory_limit > 0) {
		want.memory_limit = want.memory_swap_limit = -1;
	}
	if (!cri_container_update(p->k->o.cri, str_c(c->id), &want, &err)) {
		fail(p, c, &err);
		return false;
	}
	return true;
}

static void actuate(struct pod *p, struct arena *a, const struct value *pod, const struct value *before) {
	struct pod_sums now, old, both;
	struct err err = { 0 };
	bool ok = true;

	free(TAKE(p->resize_error));
	pod_sums(pod, &now);
	pod_sums(before, &old);
	both = (struct pod_sums){ MAX(now.cpu_request, old.cpu_request), limit_max(now.cpu_limit, old.cpu_limit),
		MAX(now.memory_request, old.memory_request), limit_max(now.memory_limit, old.memory_limit) };
	if (!pod_cgroup_make(p, a, pod, &both, &err)) {
		fail(p, NULL, &err);
		ok = false;
	}
	VEC_EACH(&p->ctrs, c) {
		if (ok && ctr_running(*c) && (*c)->spec && (*c)->kind != CTR_EPHEMERAL && (*c)->kill == KILL_NONE) {
			ok = bring(p, a, pod, *c) && ok;
		}
	}
	if (ok && !pod_cgroup_make(p, a, pod, &now, &err)) {
		fail(p, NULL, &err);
		ok = false;
	}
	p->resizing = !ok;
	if (!ok) {
		pass_wake(p, RETRY);
	}
}

void pod_resize(struct pod *p, struct arena *a, const struct value *pod) {
	if (!p->allocated) {
		p->allocated = obj_ref(p->pass_obj);
		return; /* what starts now starts with it; what was adopted has it */
	}
	if (!changed(p, pod)) {
		free(TAKE(p->resize_pending));
		if (p->resizing) {
			actuate(p, a, pod, p->allocated->root);
		}
		obj_unref(p->allocated);
		p->allocated = obj_ref(p->pass_obj);
		return;
	}
	char *why = misfit(p, pod);
	if (why) {
		free(p->resize_pending);
		p->resize_pending = why;
		return;
	}
	free(TAKE(p->resize_pending));
	struct obj *before = p->allocated;
	p->allocated = obj_ref(p->pass_obj);
	p->resizing = true;
	actuate(p, a, pod, before->root);
	obj_unref(before);
}
