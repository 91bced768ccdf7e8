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

/* ---- nodes by label and field ------------------------------------------------------------------------------------- */

bool node_term_matches(const struct value *term, const struct value *node) {
	const struct value *expressions = value_get(term, N_matchExpressions), *fields = value_get(term, N_matchFields);

	if (value_len(expressions) + value_len(fields) == 0) {
		return false; /* an empty term selects nothing */
	}
	VALUE_EACH(expressions, e) {
		if (!requirement_matches(e, value_at(node, N_metadata, N_labels))) {
			return false;
		}
	}
	VALUE_EACH(fields, f) {
		bool in = false;
		VALUE_EACH(value_get(f, N_values), v) {
			in = in || str_eq(value_as_str(v), value_str_at(node, N_metadata, N_name));
		}
		if (!str_eqc(value_str_at(f, N_key), "metadata.name") || in != str_eqc(value_str_at(f, N_operator), "In")) {
			return false;
		}
	}
	return true;
}

bool node_selector_matches(const struct value *node_selector, const struct value *node) {
	VALUE_EACH(value_get(node_selector, N_nodeSelectorTerms), term) {
		if (node_term_matches(term, node)) {
			return true;
		}
	}
	return false;
}

bool pod_wants_node(const struct value *spec, const struct value *node) {
	const struct value *labels = value_get(spec, N_nodeSelector);
	const struct value *required = value_at(spec, N_affinity, N_nodeAffinity, N_requiredDuringSchedulingIgnoredDuringExecution);

	for (size_t i = 0; i < value_len(labels); i++) {
		const struct value *has = value_get_str(value_at(node, N_metadata, N_labels), value_key(labels, i));
		if (!has || !str_eq(value_as_str(has), value_as_str(value_item(labels, i)))) {
			return false;
		}
	}
	return !required || node_selector_matches(required, node);
}

struct str node_label(const struct node *n, struct str key, bool *ret_has) {
	const struct value *v = value_get_str(value_at(n->o->root, N_metadata, N_labels), key);

	*ret_has = v != NULL;
	return value_as_str(v);
}

/* ---- taints ----------------------------------------------------------------------------------------------------------- */

bool toleration_tolerates(const struct value *t, const struct value *taint) {
	struct str effect = value_str_at(t, N_effect), key = value_str_at(t, N_key), op = value_str_at(t, N_operator);
	struct str value = value_str_at(t, N_value), has = value_str_at(taint, N_value);
	int64_t x, y;

	if ((effect.len && !str_eq(effect, value_str_at(taint, N_effect))) || (key.len && !str_eq(key, value_str_at(taint, N_key)))) {
		return false;
	}
	if (str_eqc(op, "Exists")) {
		return true;
	}
	if (str_eqc(op, "Lt") || str_eqc(op, "Gt")) {
		return str_to_i64(value, &x) && str_to_i64(has, &y) && (str_eqc(op, "Lt") ? y < x : y > x);
	}
	return str_eq(value, has);
}

bool tolerations_tolerate(const struct value *tolerations, const struct value *taint) {
	VALUE_EACH(tolerations, t) {
		if (toleration_tolerates(t, taint)) {
			return true;
		}
	}
	return false;
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
