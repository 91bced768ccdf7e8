/* SPDX-License-Identifier: Apache-2.0 */
/* plugins.c - the table of plugins, in the order in which their filters are asked, and what several of them need. */
#include "scheduler/plugin.h"

/* X(row) */
#define PLUGINS(X)              \
	X(node_unschedulable)   \
	X(node_name)            \
	X(taint_toleration)     \
	X(node_affinity)        \
	X(node_ports)           \
	X(node_resources_fit)   \
	X(volumes)              \
	X(pod_topology_spread)  \
	X(inter_pod_affinity)   \
	X(balanced_allocation)  \
	X(image_locality)

#define DECLARE(row) extern const struct sched_plugin row##_plugin;
PLUGINS(DECLARE)
#define ROW(row) &row##_plugin,
const struct sched_plugin *const sched_plugins[] = { PLUGINS(ROW) };
const size_t sched_plugins_len = ARRAY_LEN(sched_plugins);
static_assert(ARRAY_LEN(sched_plugins) <= PLUGINS_MAX, "struct cycle has a place for each plugin");

bool verdict_refuse(struct verdict *v, struct str reason, bool unresolvable) {
	if (v->len < REASONS_MAX) {
		v->reasons[v->len++] = reason;
	}
	v->unresolvable = v->unresolvable || unresolvable;
	return false;
}

void normalize_default(int64_t *scores, size_t n, bool reverse) {
	int64_t max = 0;

	for (size_t i = 0; i < n; i++) {
		max = MAX(max, scores[i]);
	}
	for (size_t i = 0; i < n; i++) {
		int64_t s = max ? scores[i] * SCORE_MAX / max : 0;
		scores[i] = reverse ? SCORE_MAX - s : s;
	}
}

struct str node_label(const struct node *n, struct str key, bool *ret_has) {
	const struct value *v = value_get_str(value_at(n->o->root, N_metadata, N_labels), key);

	*ret_has = v != NULL;
	return value_as_str(v);
}

/* ---- pods by affinity term ---------------------------------------------------------------------------------------------- */

bool term_matches_pod(const struct cache *c, const struct affinity_term *t, const struct pod *p) {
	bool ns = false;

	for (size_t i = 0; i < t->namespaces_len && !ns; i++) {
		ns = str_eq(t->namespaces[i], p->ns);
	}
	if (!ns && t->has_ns_selector) {
		const struct obj *o = map_get(&c->namespaces, p->ns);
		ns = selector_matches(t->ns_selector, o ? value_at(o->root, N_metadata, N_labels) : NULL);
	}
	return ns && selector_matches(t->selector, p->labels);
}
