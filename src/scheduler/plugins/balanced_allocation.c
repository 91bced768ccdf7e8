/* SPDX-License-Identifier: Apache-2.0 */
/* balanced_allocation.c - prefers nodes on which cpu and memory are used to about the same degree. */
#include <math.h>

#include "scheduler/plugin.h"

static bool prepare_score(struct cycle *c, struct node *const *fit, size_t n) {
	return c->pod->requests.cpu > 0 || c->pod->requests.memory > 0; /* best effort pods do not change the balance */
}

static double fraction(int64_t used, int64_t capacity) {
	return capacity <= 0 ? 1.0 : MIN((double)used / (double)capacity, 1.0);
}

static int64_t score(struct cycle *c, const struct node *n) {
	double cpu = fraction(n->requested.cpu + c->pod->requests.cpu, n->allocatable.cpu);
	double memory = fraction(n->requested.memory + c->pod->requests.memory, n->allocatable.memory);

	/* the standard deviation of two numbers is half their distance */
	return (int64_t)((1.0 - fabs(cpu - memory) / 2.0) * SCORE_MAX);
}

const struct sched_plugin balanced_allocation_plugin = {
	.name = "NodeResourcesBalancedAllocation",
	.weight = 1,
	.prepare_score = prepare_score,
	.score = score,
};
