/* SPDX-License-Identifier: Apache-2.0 */
/* node_unschedulable.c - cordoned nodes take only pods that tolerate it. */
#include "scheduler/plugin.h"

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	if (!value_bool_at(n->o->root, N_spec, N_unschedulable)) {
		return true;
	}
	struct value *taint = value_new_object(&c->arena);
	value_set_str(&c->arena, taint, N_key, S("node.kubernetes.io/unschedulable"));
	value_set_str(&c->arena, taint, N_effect, S("NoSchedule"));
	if (tolerations_tolerate(value_get(c->spec, N_tolerations), taint)) {
		return true;
	}
	return verdict_refuse(v, S("node(s) were unschedulable"), true);
}

const struct sched_plugin node_unschedulable_plugin = {
	.name = "NodeUnschedulable",
	.events = EVENT_NODE_ADD | EVENT_NODE_TAINTS | EVENT_POD_SPEC,
	.filter = filter,
};
