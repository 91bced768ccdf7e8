/* SPDX-License-Identifier: Apache-2.0 */
/* stateful_set.c - StatefulSets. */
#include "apiserver/kinds/kinds_private.h"

static void prepare_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_new_object(x->arena);
	value_set_int(x->arena, status, N_replicas, 0);
	value_set_int(x->arena, status, N_availableReplicas, 0);
	value_set(x->arena, o, N_status, status);
}

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Always") }, types[] = { S_INIT("OnDelete"), S_INIT("RollingUpdate") },
		management[] = { S_INIT("OrderedReady"), S_INIT("Parallel") };
	const struct value *spec = value_get(o, N_spec);
	must_be_one_of(c, value_get(spec, N_podManagementPolicy), S("spec.podManagementPolicy"), management, ARRAY_LEN(management), true);
	must_be_one_of(c, value_at(spec, N_updateStrategy, N_type), S("spec.updateStrategy.type"), types, ARRAY_LEN(types), true);
	must_not_be_negative(c, value_at(spec, N_updateStrategy, N_rollingUpdate, N_partition), S("spec.updateStrategy.rollingUpdate.partition"));
	must_not_be_negative(c, value_get(spec, N_replicas), S("spec.replicas"));
	must_not_be_negative(c, value_get(spec, N_minReadySeconds), S("spec.minReadySeconds"));
	must_not_be_negative(c, value_at(spec, N_ordinals, N_start), S("spec.ordinals.start"));
	validate_selector_and_template(x, spec, policies, ARRAY_LEN(policies), c);
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	static const enum name_id mutable_fields[] = { N_replicas, N_ordinals, N_template, N_updateStrategy, N_revisionHistoryLimit,
		N_persistentVolumeClaimRetentionPolicy, N_minReadySeconds };
	struct value *now = value_copy(c->arena, value_get(o, N_spec)), *was = value_copy(c->arena, value_get(old, N_spec));
	for (size_t i = 0; i < ARRAY_LEN(mutable_fields); i++) {
		value_remove(now, mutable_fields[i]);
		value_remove(was, mutable_fields[i]);
	}
	if (!value_eq(now, was)) {
		cause_add(c, CAUSE_FORBIDDEN, S("spec"), NULL,
			"updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
			"'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
	}
}

const struct kind_ops stateful_set_ops = { .group = S_INIT("apps"), .resource = S_INIT("statefulsets"), .prepare_create = prepare_create, .validate = validate,
	.validate_update = validate_update };
