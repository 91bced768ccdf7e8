/* SPDX-License-Identifier: Apache-2.0 */
/* selectors.c - rules for label selectors, node selectors, and a workload's selector with its template. */
#include "apiserver/kinds/kinds_private.h"
#include "client/selector.h"

static void expression(const struct value *e, struct str path, bool node, struct causes *c) {
	struct str op = value_str_at(e, N_operator);
	size_t n = value_len(value_get(e, N_values));
	struct str values = PATH(c, path, "values");
	const char *why = label_key_rule(value_str_at(e, N_key));
	if (why) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "key"), value_get(e, N_key), "%s", why);
	}
	if (str_eq(op, S("In")) || str_eq(op, S("NotIn"))) {
		if (!n) {
			cause_add(c, CAUSE_REQUIRED, values, NULL, "must be specified when `operator` is 'In' or 'NotIn'");
		}
		for (size_t i = 0; i < n && !node; i++) {
			const struct value *v = value_item(value_get(e, N_values), i);
			if ((why = label_value_rule(value_as_str(v)))) {
				cause_add(c, CAUSE_INVALID, path_index(c->arena, values, i), v, "%s", why);
			}
		}
	} else if (str_eq(op, S("Exists")) || str_eq(op, S("DoesNotExist"))) {
		if (n) {
			cause_add(c, CAUSE_FORBIDDEN, values, NULL, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
		}
	} else if (node && (str_eq(op, S("Gt")) || str_eq(op, S("Lt")))) {
		if (n != 1) {
			cause_add(c, CAUSE_REQUIRED, values, NULL, "must be specified single value when `operator` is 'Lt' or 'Gt'");
		}
	} else {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "operator"), value_get(e, N_operator), "not a valid selector operator");
	}
}

void validate_label_selector(const struct value *selector, struct str path, struct causes *c) {
	struct str exprs = PATH(c, path, "matchExpressions");
	size_t i = 0;
	validate_labels(value_get(selector, N_matchLabels), PATH(c, path, "matchLabels"), c);
	VALUE_EACH(value_get(selector, N_matchExpressions), e) {
		expression(e, path_index(c->arena, exprs, i++), false, c);
	}
}

void validate_node_selector(const struct value *selector, struct str path, struct causes *c) {
	struct str terms = PATH(c, path, "nodeSelectorTerms");
	size_t i = 0;
	if (!value_len(value_get(selector, N_nodeSelectorTerms))) {
		cause_add(c, CAUSE_REQUIRED, terms, NULL, "must have at least one node selector term");
	}
	VALUE_EACH(value_get(selector, N_nodeSelectorTerms), t) {
		struct str p = path_index(c->arena, terms, i++);
		size_t j = 0;
		VALUE_EACH(value_get(t, N_matchExpressions), e) {
			expression(e, path_index(c->arena, PATH(c, p, "matchExpressions"), j++), true, c);
		}
		j = 0;
		VALUE_EACH(value_get(t, N_matchFields), e) {
			struct str q = path_index(c->arena, PATH(c, p, "matchFields"), j++);
			if (!str_eq(value_str_at(e, N_key), S("metadata.name"))) {
				cause_add(c, CAUSE_INVALID, PATH(c, q, "key"), value_get(e, N_key), "not a valid field selector key");
			}
		}
	}
}

void validate_selector_and_template(struct kind_ctx *x, const struct value *spec, const struct str *policies, size_t n, struct causes *c) {
	const struct value *selector = value_get(spec, N_selector), *tmpl = value_get(spec, N_template);
	const struct selector *parsed;
	struct err err = { 0 };
	if (!value_is(selector, VALUE_OBJECT)) { /* absent is null in the canonical form */
		cause_add(c, CAUSE_REQUIRED, S("spec.selector"), NULL, NULL);
	} else {
		validate_label_selector(selector, S("spec.selector"), c);
		if (!value_len(value_get(selector, N_matchLabels)) && !value_len(value_get(selector, N_matchExpressions))) {
			cause_add(c, CAUSE_INVALID, S("spec.selector"), selector, "empty selector is invalid for deployment");
		} else if (selector_from_value(c->arena, selector, &parsed, &err) && !selector_matches(parsed, value_at(tmpl, N_metadata, N_labels))) {
			const struct value *labels = value_at(tmpl, N_metadata, N_labels);
			cause_add(c, CAUSE_INVALID, S("spec.template.metadata.labels"), labels, "`selector` does not match template `labels`");
		}
	}
	if (!tmpl) {
		cause_add(c, CAUSE_REQUIRED, S("spec.template"), NULL, NULL);
		return;
	}
	validate_pod_template(x, tmpl, S("spec.template"), c);
	const struct value *policy = value_at(tmpl, N_spec, N_restartPolicy);
	for (size_t i = 0; i < n; i++) {
		if (str_eq(value_as_str(policy), policies[i])) {
			return;
		}
	}
	cause_not_supported(c, S("spec.template.spec.restartPolicy"), policy, policies, n);
}
