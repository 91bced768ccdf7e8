/* SPDX-License-Identifier: Apache-2.0 */
/* daemon_set.c - DaemonSets. */
#include "apiserver/kinds/kinds_private.h"

static void prepare_create(struct kind_ctx *x, struct value *o) {
	static const enum name_id zero[] = { N_currentNumberScheduled, N_numberMisscheduled, N_desiredNumberScheduled, N_numberReady };
	struct value *status = value_new_object(x->arena);
	for (size_t i = 0; i < ARRAY_LEN(zero); i++) {
		value_set_int(x->arena, status, zero[i], 0);
	}
	value_set(x->arena, o, N_status, status);
}

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Always") }, types[] = { S_INIT("OnDelete"), S_INIT("RollingUpdate") };
	const struct value *spec = value_get(o, N_spec), *update = value_get(spec, N_updateStrategy), *rolling = value_get(update, N_rollingUpdate);
	validate_selector_and_template(x, spec, policies, ARRAY_LEN(policies), c);
	must_be_one_of(c, value_get(update, N_type), S("spec.updateStrategy.type"), types, ARRAY_LEN(types), true);
	if (rolling) {
		must_be_count_or_percent(c, value_get(rolling, N_maxUnavailable), S("spec.updateStrategy.rollingUpdate.maxUnavailable"));
		must_be_count_or_percent(c, value_get(rolling, N_maxSurge), S("spec.updateStrategy.rollingUpdate.maxSurge"));
	}
	must_not_be_negative(c, value_get(spec, N_minReadySeconds), S("spec.minReadySeconds"));
	must_not_be_negative(c, value_get(spec, N_revisionHistoryLimit), S("spec.revisionHistoryLimit"));
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	must_be_immutable(c, value_at(o, N_spec, N_selector), value_at(old, N_spec, N_selector), S("spec.selector"));
}

const struct kind_ops daemon_set_ops = { .group = S_INIT("apps"), .resource = S_INIT("daemonsets"), .prepare_create = prepare_create, .validate = validate,
	.validate_update = validate_update };
