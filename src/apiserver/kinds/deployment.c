/* SPDX-License-Identifier: Apache-2.0 */
/* deployment.c - Deployments. */
#include "apiserver/kinds/kinds_private.h"

static void prepare_create(struct kind_ctx *x, struct value *o) {
	value_set(x->arena, o, N_status, value_new_object(x->arena));
}

static void strategy(const struct value *s, struct str path, struct causes *c) {
	static const struct str types[] = { S_INIT("Recreate"), S_INIT("RollingUpdate") };
	const struct value *rolling = value_get(s, N_rollingUpdate);
	must_be_one_of(c, value_get(s, N_type), PATH(c, path, "type"), types, ARRAY_LEN(types), true);
	if (str_eq(value_str_at(s, N_type), S("Recreate"))) {
		if (rolling) {
			cause_add(c, CAUSE_FORBIDDEN, PATH(c, path, "rollingUpdate"), NULL, "may not be specified when strategy `type` is 'Recreate'");
		}
		return;
	}
	if (!rolling) {
		return;
	}
	const struct value *surge = value_get(rolling, N_maxSurge), *unavailable = value_get(rolling, N_maxUnavailable);
	must_be_count_or_percent(c, surge, PATH(c, path, "rollingUpdate.maxSurge"));
	must_be_count_or_percent(c, unavailable, PATH(c, path, "rollingUpdate.maxUnavailable"));
	if (count_or_percent(surge, 100, true) == 0 && count_or_percent(unavailable, 100, true) == 0) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "rollingUpdate.maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0");
	}
	if (value_is(unavailable, VALUE_STRING) && count_or_percent(unavailable, 100, false) > 100) {
		cause_add(c, CAUSE_INVALID, PATH(c, path, "rollingUpdate.maxUnavailable"), unavailable, "must not be greater than 100%%");
	}
}

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Always") };
	const struct value *spec = value_get(o, N_spec);
	must_not_be_negative(c, value_get(spec, N_replicas), S("spec.replicas"));
	validate_selector_and_template(x, spec, policies, ARRAY_LEN(policies), c);
	strategy(value_get(spec, N_strategy), S("spec.strategy"), c);
	must_not_be_negative(c, value_get(spec, N_minReadySeconds), S("spec.minReadySeconds"));
	must_not_be_negative(c, value_get(spec, N_revisionHistoryLimit), S("spec.revisionHistoryLimit"));
	const struct value *deadline = value_get(spec, N_progressDeadlineSeconds);
	must_not_be_negative(c, deadline, S("spec.progressDeadlineSeconds"));
	if (deadline && value_as_int(deadline) <= value_int_at(spec, N_minReadySeconds)) {
		cause_add(c, CAUSE_INVALID, S("spec.progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
	}
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	must_be_immutable(c, value_at(o, N_spec, N_selector), value_at(old, N_spec, N_selector), S("spec.selector"));
}

const struct kind_ops deployment_ops = { .group = S_INIT("apps"), .resource = S_INIT("deployments"), .prepare_create = prepare_create, .validate = validate,
	.validate_update = validate_update };
