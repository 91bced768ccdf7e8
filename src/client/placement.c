/* SPDX-License-Identifier: Apache-2.0 */
/* placement.c - what lets a pod on a node. Pure functions over values; any thread. */
#include "client/placement.h"

#include "client/selector.h"

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
