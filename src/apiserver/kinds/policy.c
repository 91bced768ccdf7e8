/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - LimitRanges, ResourceQuotas, PodDisruptionBudgets, PriorityClasses, HorizontalPodAutoscalers. */
#include "apiserver/kinds/kinds_private.h"
#include "schema/schema.h"

static void quantities(const struct value *map, struct str path, struct causes *c) {
	for (size_t i = 0; i < value_len(map); i++) {
		struct str name = value_key(map, i), p = path_key(c->arena, path, name);
		const char *why = label_key_rule(name);
		if (why) {
			cause_add(c, CAUSE_INVALID, p, value_new_str(c->arena, name), "%s", why);
		}
		validate_quantity(value_item(map, i), p, c);
	}
}

static void limit_range_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const enum name_id lists[] = { N_max, N_min, N_default, N_defaultRequest, N_maxLimitRequestRatio };
	size_t i = 0;
	VALUE_EACH(value_at(o, N_spec, N_limits), l) {
		struct str p = path_index(c->arena, S("spec.limits"), i++);
		must_have(c, value_get(l, N_type), PATH(c, p, "type"));
		for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
			quantities(value_get(l, lists[k]), path_field(c->arena, p, name_text(lists[k])), c);
		}
		const struct value *min = value_get(l, N_min), *max = value_get(l, N_max);
		for (size_t k = 0; k < value_len(min); k++) {
			const struct value *hi = value_get_str(max, value_key(min, k));
			if (hi && quantity_cmp(quantity_from(value_item(min, k)), quantity_from(hi)) > 0) {
				cause_add(c, CAUSE_INVALID, path_key(c->arena, PATH(c, p, "min"), value_key(min, k)), value_item(min, k), "min value %.*s is greater than max value %.*s",
					STR_ARG(value_as_str(value_item(min, k))), STR_ARG(value_as_str(hi)));
			}
		}
	}
}

const struct kind_ops limit_range_ops = { .group = S_INIT(""), .resource = S_INIT("limitranges"), .validate = limit_range_validate, .no_generation = true };

static void empty_status(struct kind_ctx *x, struct value *o) {
	value_set(x->arena, o, N_status, value_new_object(x->arena));
}

static void quota_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	quantities(value_at(o, N_spec, N_hard), S("spec.hard"), c);
}

static void quota_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	must_be_immutable(c, value_at(o, N_spec, N_scopes), value_at(old, N_spec, N_scopes), S("spec.scopes"));
}

const struct kind_ops resource_quota_ops = { .group = S_INIT(""), .resource = S_INIT("resourcequotas"), .prepare_create = empty_status,
	.validate = quota_validate, .validate_update = quota_update, .no_generation = true };

static void budget_create(struct kind_ctx *x, struct value *o) {
	static const enum name_id zero[] = { N_disruptionsAllowed, N_currentHealthy, N_desiredHealthy, N_expectedPods };
	struct value *status = value_new_object(x->arena);
	for (size_t i = 0; i < ARRAY_LEN(zero); i++) {
		value_set_int(x->arena, status, zero[i], 0);
	}
	value_set(x->arena, o, N_status, status);
}

static void budget_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("AlwaysAllow"), S_INIT("IfHealthyBudget") };
	const struct value *spec = value_get(o, N_spec), *min = value_get(spec, N_minAvailable), *max = value_get(spec, N_maxUnavailable);
	if (min && max) {
		cause_add(c, CAUSE_INVALID, S("spec"), spec, "minAvailable and maxUnavailable cannot be both set");
	}
	must_be_count_or_percent(c, min, S("spec.minAvailable"));
	must_be_count_or_percent(c, max, S("spec.maxUnavailable"));
	must_be_one_of(c, value_get(spec, N_unhealthyPodEvictionPolicy), S("spec.unhealthyPodEvictionPolicy"), policies, 2, false);
	validate_label_selector(value_get(spec, N_selector), S("spec.selector"), c);
}

const struct kind_ops pod_disruption_budget_ops = { .group = S_INIT("policy"), .resource = S_INIT("poddisruptionbudgets"), .prepare_create = budget_create,
	.validate = budget_validate };

static void priority_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Never"), S_INIT("PreemptLowerPriority") };
	struct str name = value_str_at(o, N_metadata, N_name);
	bool system = str_eq(name, S("system-cluster-critical")) || str_eq(name, S("system-node-critical"));
	if (str_starts(name, S("system-")) && !system) {
		cause_add(c, CAUSE_FORBIDDEN, S("metadata.name"), NULL, "priority class names with 'system-' prefix are reserved for system use only. error: %.*s is not a known system priority class",
			STR_ARG(name));
	}
	if (value_int_at(o, N_value) > 1000000000 && !system) {
		cause_add(c, CAUSE_FORBIDDEN, S("value"), NULL, "maximum allowed value of a user defined priority is 1000000000");
	}
	must_be_one_of(c, value_get(o, N_preemptionPolicy), S("preemptionPolicy"), policies, 2, false);
}

static void priority_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	if (value_int_at(o, N_value) != value_int_at(old, N_value)) {
		cause_add(c, CAUSE_FORBIDDEN, S("value"), NULL, "may not be changed in an update.");
	}
	if (!str_eq(value_str_at(o, N_preemptionPolicy), value_str_at(old, N_preemptionPolicy))) {
		cause_add(c, CAUSE_INVALID, S("preemptionPolicy"), value_get(o, N_preemptionPolicy), "field is immutable");
	}
}

const struct kind_ops priority_class_ops = { .group = S_INIT("scheduling.k8s.io"), .resource = S_INIT("priorityclasses"), .validate = priority_validate,
	.validate_update = priority_update };

static void autoscaler_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_new_object(x->arena);
	value_set_int(x->arena, status, N_desiredReplicas, 0);
	value_set(x->arena, o, N_status, status);
}

static void autoscaler_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	const struct value *spec = value_get(o, N_spec), *ref = value_get(spec, N_scaleTargetRef);
	const struct value *min = value_get(spec, N_minReplicas), *max = value_get(spec, N_maxReplicas);
	must_have(c, value_get(ref, N_kind), S("spec.scaleTargetRef.kind"));
	must_have(c, value_get(ref, N_name), S("spec.scaleTargetRef.name"));
	if (min && value_as_int(min) < 1) {
		cause_add(c, CAUSE_INVALID, S("spec.minReplicas"), min, "must be greater than or equal to 1");
	}
	if (value_as_int(max) < 1) {
		cause_add(c, CAUSE_INVALID, S("spec.maxReplicas"), max, "must be greater than 0");
	}
	if (min && value_as_int(max) < value_as_int(min)) {
		cause_add(c, CAUSE_INVALID, S("spec.maxReplicas"), max, "must be greater than or equal to `minReplicas`");
	}
}

const struct kind_ops horizontal_pod_autoscaler_ops = { .group = S_INIT("autoscaling"), .resource = S_INIT("horizontalpodautoscalers"),
	.prepare_create = autoscaler_create, .validate = autoscaler_validate };
