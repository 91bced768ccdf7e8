/* SPDX-License-Identifier: Apache-2.0 */
/* node_affinity.c - spec.nodeSelector and node affinity, required and preferred. */
#include "scheduler/plugin.h"

static const struct value *preferred(const struct cycle *c) {
	return value_at(c->spec, N_affinity, N_nodeAffinity, N_preferredDuringSchedulingIgnoredDuringExecution);
}

static enum prepare prepare(struct cycle *c) {
	bool has = value_len(value_get(c->spec, N_nodeSelector)) || value_at(c->spec, N_affinity, N_nodeAffinity, N_requiredDuringSchedulingIgnoredDuringExecution);

	return has ? PREPARE_GO : PREPARE_SKIP;
}

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	return pod_wants_node(c->spec, n->o->root) || verdict_refuse(v, S("node(s) didn't match Pod's node affinity/selector"), true);
}

static bool prepare_score(struct cycle *c, struct node *const *fit, size_t n) {
	return value_len(preferred(c)) > 0;
}

static int64_t score(struct cycle *c, const struct node *n) {
	int64_t sum = 0;

	VALUE_EACH(preferred(c), p) {
		const struct value *term = value_get(p, N_preference);
		bool all = value_len(value_get(term, N_matchExpressions)) + value_len(value_get(term, N_matchFields)) == 0;
		if (all || node_term_matches(term, n->o->root)) {
			sum += value_int_at(p, N_weight);
		}
	}
	return sum;
}

static void normalize(struct cycle *c, struct node *const *fit, int64_t *scores, size_t n) {
	normalize_default(scores, n, false);
}

const struct sched_plugin node_affinity_plugin = {
	.name = "NodeAffinity",
	.weight = 2,
	.events = EVENT_NODE_ADD | EVENT_NODE_LABELS | EVENT_POD_SPEC,
	.prepare = prepare,
	.filter = filter,
	.prepare_score = prepare_score,
	.score = score,
	.normalize = normalize,
};
