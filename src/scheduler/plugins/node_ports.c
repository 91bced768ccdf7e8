/* SPDX-License-Identifier: Apache-2.0 */
/* node_ports.c - a host port is one pod's, on its address and protocol; 0.0.0.0 is all addresses. */
#include "scheduler/plugin.h"

static enum prepare prepare(struct cycle *c) {
	return c->pod->ports_len ? PREPARE_GO : PREPARE_SKIP;
}

static bool is_any(struct str ip) {
	return str_eqc(ip, "0.0.0.0") || str_eqc(ip, "::");
}

static bool conflict(const struct port *a, const struct port *b) {
	return a->number == b->number && str_eq(a->protocol, b->protocol) && (is_any(a->ip) || is_any(b->ip) || str_eq(a->ip, b->ip));
}

static bool takes(const struct pod *p, const struct pod *wanted) {
	for (size_t i = 0; i < p->ports_len; i++) {
		for (size_t k = 0; k < wanted->ports_len; k++) {
			if (conflict(&p->ports[i], &wanted->ports[k])) {
				return true;
			}
		}
	}
	return false;
}

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	LIST_EACH((struct list *)&n->pods, l) {
		const struct pod *p = container_of(l, struct pod, by_node);
		if (!p->excluded && takes(p, c->pod)) {
			return verdict_refuse(v, S("node(s) didn't have free ports for the requested pod ports"), false);
		}
	}
	for (size_t i = 0; i < n->nominated.len; i++) {
		const struct pod *p = n->nominated.at[i];
		if (p != c->pod && p->priority >= c->pod->priority && takes(p, c->pod)) {
			return verdict_refuse(v, S("node(s) didn't have free ports for the requested pod ports"), false);
		}
	}
	return true;
}

const struct sched_plugin node_ports_plugin = {
	.name = "NodePorts",
	.events = EVENT_NODE_ADD | EVENT_POD_GONE,
	.prepare = prepare,
	.filter = filter,
};
