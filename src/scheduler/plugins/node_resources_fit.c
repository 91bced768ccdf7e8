/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_resources_fit.c - what a pod requests must be free on the node; emptier nodes score higher
 * (LeastAllocated over cpu and memory).
 */
#include "scheduler/plugin.h"

/* What preemptors that wait for this node will take: they come first when their priority is not lower. */
static void nominated_add(const struct cycle *c, const struct node *n, struct resources *used, int64_t *pods) {
	for (size_t i = 0; i < n->nominated.len; i++) {
		const struct pod *p = n->nominated.at[i];
		if (p != c->pod && p->priority >= c->pod->priority && p->node != n) {
			resources_add(used, &p->requests, 1);
			*pods += 1;
		}
	}
}

static bool fits(const struct cycle *c, const struct node *n, const struct resources *used, int64_t pods, struct arena *a, struct verdict *v) {
	const struct resources *want = &c->pod->requests;

	if (pods + 1 > n->pods_max) {
		verdict_refuse(v, S("Too many pods"), false);
	}
	if (want->cpu > 0 && want->cpu > n->allocatable.cpu - used->cpu) {
		verdict_refuse(v, S("Insufficient cpu"), false);
	}
	if (want->memory > 0 && want->memory > n->allocatable.memory - used->memory) {
		verdict_refuse(v, S("Insufficient memory"), false);
	}
	if (want->storage > 0 && want->storage > n->allocatable.storage - used->storage) {
		verdict_refuse(v, S("Insufficient ephemeral-storage"), false);
	}
	for (size_t i = 0; i < want->extended.len; i++) {
		struct str name = want->extended.at[i].name;
		int64_t w = want->extended.at[i].value;
		if (w > 0 && w > resources_extended(&n->allocatable, name) - resources_extended(used, name)) {
			verdict_refuse(v, arena_printf(a, "Insufficient %.*s", STR_ARG(name)), false);
		}
	}
	return v->len == 0;
}

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	if (n->nominated.len == 0) {
		return fits(c, n, &n->requested, (int64_t)n->pods_len, &c->arena, v);
	}
	struct resources used = { 0 };
	int64_t pods = (int64_t)n->pods_len;
	resources_add(&used, &n->requested, 1);
	nominated_add(c, n, &used, &pods);
	bool ok = fits(c, n, &used, pods, &c->arena, v);
	resources_clear(&used);
	return ok;
}

static int64_t least(int64_t used, int64_t capacity) {
	return capacity <= 0 || used > capacity ? 0 : (int64_t)((__int128)(capacity - used) * SCORE_MAX / capacity);
}

static int64_t score(struct cycle *c, const struct node *n) {
	int64_t cpu = least(n->nonzero_cpu + c->pod->nonzero_cpu, n->allocatable.cpu);
	int64_t memory = least(n->nonzero_memory + c->pod->nonzero_memory, n->allocatable.memory);

	return (cpu + memory) / 2;
}

const struct sched_plugin node_resources_fit_plugin = {
	.name = "NodeResourcesFit",
	.weight = 1,
	.events = EVENT_NODE_ADD | EVENT_NODE_RESOURCES | EVENT_POD_GONE | EVENT_POD_SPEC,
	.filter = filter,
	.score = score,
};
