/* SPDX-License-Identifier: Apache-2.0 */
/* node_name.c - spec.nodeName, when a pod with one is looked at at all (preemption for a node). */
#include "scheduler/plugin.h"

static enum prepare prepare(struct cycle *c) {
	return value_str_at(c->spec, N_nodeName).len ? PREPARE_GO : PREPARE_SKIP;
}

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	return str_eq(value_str_at(c->spec, N_nodeName), n->name) || verdict_refuse(v, S("node(s) didn't match the requested node name"), true);
}

const struct sched_plugin node_name_plugin = {
	.name = "NodeName",
	.events = EVENT_NODE_ADD | EVENT_POD_SPEC,
	.prepare = prepare,
	.filter = filter,
};
