/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admit.c - whether a pod that is bound to this node can run here at all: its place among the other pods. What the
 * scheduler checked may have changed since, and who sets nodeName himself asked no scheduler.
 *
 * Called on the loop when a pod is first seen, before its first pass. A pod that is refused ends as Failed.
 * Source: upstream's kubelet admission (GeneralPredicates); its reasons and messages.
 */
#include "kubelet/admit.h"

#include "client/selector.h"
#include "kubelet/resources.h"

static void refuse(struct pod *p, const char *reason, char *message) {
	p->refused = reason;
	free(p->refused_message);
	p->refused_message = xasprintf("Pod was rejected: %s", message);
	free(message);
}

/* Counts towards what is used: neither over nor refused. */
static bool counts(const struct pod *p) {
	struct str phase = p->obj ? value_str_at(p->obj->root, N_status, N_phase) : S("");

	return p->obj && !p->refused && !p->released && !str_eq(phase, S("Succeeded")) && !str_eq(phase, S("Failed"));
}

static bool ports_clash(const struct value *a, const struct value *b) {
	VALUE_EACH(value_at(a, N_spec, N_containers), ca) {
		VALUE_EACH(value_get(ca, N_ports), pa) {
			if (value_int_at(pa, N_hostPort) <= 0) {
				continue;
			}
			VALUE_EACH(value_at(b, N_spec, N_containers), cb) {
				VALUE_EACH(value_get(cb, N_ports), pb) {
					struct str ia = value_str_at(pa, N_hostIP), ib = value_str_at(pb, N_hostIP);
					bool any = ia.len == 0 || ib.len == 0 || str_eq(ia, S("0.0.0.0")) || str_eq(ib, S("0.0.0.0"));
					if (value_int_at(pa, N_hostPort) == value_int_at(pb, N_hostPort) &&
						str_eq(value_str_at(pa, N_protocol), value_str_at(pb, N_protocol)) && (any || str_eq(ia, ib))) {
						return true;
					}
				}
			}
		}
	}
	return false;
}

static bool selector_fits(const struct value *pod, const struct value *node) {
	auto_arena struct arena a = { 0 };
	const struct value *labels = value_at(node, N_metadata, N_labels);
	const struct value *terms = value_at(pod, N_spec, N_affinity, N_nodeAffinity, N_requiredDuringSchedulingIgnoredDuringExecution, N_nodeSelectorTerms);

	if (!selector_matches(selector_from_map(&a, value_at(pod, N_spec, N_nodeSelector)), labels)) {
		return false;
	}
	if (value_len(terms) == 0) {
		return true;
	}
	VALUE_EACH(terms, t) {
		bool fits = value_len(value_get(t, N_matchExpressions)) + value_len(value_get(t, N_matchFields)) > 0;
		VALUE_EACH(value_get(t, N_matchExpressions), e) {
			fits = fits && requirement_matches(e, labels);
		}
		VALUE_EACH(value_get(t, N_matchFields), e) { /* metadata.name is the only one */
			struct value *fields = value_new_object(&a);
			value_set_key_str(&a, fields, S("metadata.name"), value_str_at(node, N_metadata, N_name));
			fits = fits && requirement_matches(e, fields);
		}
		if (fits) {
			return true;
		}
	}
	return false;
}

void pod_admit(struct pod *p) {
	struct kubelet *k = p->k;
	const struct value *pod = p->obj->root;
	struct pod_sums own, used = { 0 };
	int pods = 0, pods_max = k->o.max_pods > 0 ? k->o.max_pods : 110;
	bool clash = false;
	auto_obj struct obj *node = k->node_informer ? informer_get(k->node_informer, S(""), str_c(k->o.node_name)) : NULL;
	struct str phase = value_str_at(pod, N_status, N_phase);

	if (p->adopted || str_eq(phase, S("Running")) || str_eq(phase, S("Succeeded")) || str_eq(phase, S("Failed")) ||
		!value_is_empty(value_at(pod, N_metadata, N_deletionTimestamp))) {
		return; /* it has been let in, or has its end before it */
	}
	pod_sums(pod, &own);
	MAP_EACH(&k->pods, e) {
		const struct pod *other = e->value;
		struct pod_sums s;
		if (other == p || !counts(other)) {
			continue;
		}
		pod_sums(other->obj->root, &s);
		used.cpu_request += s.cpu_request;
		used.memory_request += s.memory_request;
		pods++;
		clash = clash || ports_clash(pod, other->obj->root);
	}
	int64_t cpu = kubelet_allocatable_cpu_milli(k), memory = kubelet_allocatable_memory(k);
	if (pods + 1 > pods_max) {
		refuse(p, "OutOfpods", xasprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", pods, pods_max));
	} else if (own.cpu_request > 0 && used.cpu_request + own.cpu_request > cpu) {
		refuse(p, "OutOfcpu", xasprintf("Node didn't have enough resource: cpu, requested: %lld, used: %lld, capacity: %lld",
			(long long)own.cpu_request, (long long)used.cpu_request, (long long)cpu));
	} else if (own.memory_request > 0 && used.memory_request + own.memory_request > memory) {
		refuse(p, "OutOfmemory", xasprintf("Node didn't have enough resource: memory, requested: %lld, used: %lld, capacity: %lld",
			(long long)own.memory_request, (long long)used.memory_request, (long long)memory));
	} else if (node && !selector_fits(pod, node->root)) {
		refuse(p, "NodeAffinity", xasprintf("Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"));
	} else if (clash) {
		refuse(p, "NodePorts", xasprintf("Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"));
	}
}
