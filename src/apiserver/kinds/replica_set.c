/* SPDX-License-Identifier: Apache-2.0 */
/* replica_set.c - ReplicaSets and ReplicationControllers, which differ in their selector. */
#include "apiserver/kinds/kinds_private.h"
#include "client/selector.h"

static void prepare_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_new_object(x->arena);
	value_set_int(x->arena, status, N_replicas, 0);
	value_set(x->arena, o, N_status, status);
}

static void common(const struct value *spec, struct causes *c) {
	must_not_be_negative(c, value_get(spec, N_replicas), S("spec.replicas"));
	must_not_be_negative(c, value_get(spec, N_minReadySeconds), S("spec.minReadySeconds"));
}

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Always") };
	common(value_get(o, N_spec), c);
	validate_selector_and_template(x, value_get(o, N_spec), policies, ARRAY_LEN(policies), c);
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	must_be_immutable(c, value_at(o, N_spec, N_selector), value_at(old, N_spec, N_selector), S("spec.selector"));
}

const struct kind_ops replica_set_ops = { .group = S_INIT("apps"), .resource = S_INIT("replicasets"), .prepare_create = prepare_create, .validate = validate,
	.validate_update = validate_update };

static void rc_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Always") };
	const struct value *spec = value_get(o, N_spec), *selector = value_get(spec, N_selector), *tmpl = value_get(spec, N_template);
	common(spec, c);
	if (!value_len(selector)) {
		cause_add(c, CAUSE_REQUIRED, S("spec.selector"), NULL, NULL);
	}
	if (!tmpl) {
		cause_add(c, CAUSE_REQUIRED, S("spec.template"), NULL, NULL);
		return;
	}
	const struct value *labels = value_at(tmpl, N_metadata, N_labels);
	if (!selector_matches(selector_from_map(c->arena, selector), labels)) {
		cause_add(c, CAUSE_INVALID, S("spec.template.metadata.labels"), labels, "`selector` does not match template `labels`");
	}
	validate_pod_template(x, tmpl, S("spec.template"), c);
	must_be_one_of(c, value_at(tmpl, N_spec, N_restartPolicy), S("spec.template.spec.restartPolicy"), policies, 1, true);
}

const struct kind_ops replication_controller_ops = { .group = S_INIT(""), .resource = S_INIT("replicationcontrollers"), .prepare_create = prepare_create,
	.validate = rc_validate };
