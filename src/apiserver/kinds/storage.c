/* SPDX-License-Identifier: Apache-2.0 */
/* storage.c - PersistentVolumes, claims and classes. */
#include "apiserver/kinds/kinds_private.h"
#include "schema/schema.h"

static const struct str access_modes[] = { S_INIT("ReadOnlyMany"), S_INIT("ReadWriteMany"), S_INIT("ReadWriteOnce"), S_INIT("ReadWriteOncePod") };

static void modes(const struct value *spec, struct str path, struct causes *c) {
	size_t i = 0;
	if (!value_len(value_get(spec, N_accessModes))) {
		cause_add(c, CAUSE_REQUIRED, path, NULL, "at least 1 access mode is required");
	}
	VALUE_EACH(value_get(spec, N_accessModes), m) {
		must_be_one_of(c, m, path_index(c->arena, path, i++), access_modes, ARRAY_LEN(access_modes), true);
	}
}

static void phase_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_new_object(x->arena);
	value_set_str(x->arena, status, N_phase, S("Pending"));
	value_set(x->arena, o, N_status, status);
}

static void pv_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Delete"), S_INIT("Recycle"), S_INIT("Retain") };
	const struct value *spec = value_get(o, N_spec), *storage = value_at(spec, N_capacity, N_storage);
	modes(spec, S("spec.accessModes"), c);
	if (!value_len(value_get(spec, N_capacity))) {
		cause_add(c, CAUSE_REQUIRED, S("spec.capacity"), NULL, NULL);
	} else if (!storage) {
		cause_not_supported(c, S("spec.capacity"), value_get(spec, N_capacity), (const struct str[]){ S_INIT("storage") }, 1);
	} else if (quantity_from(storage).nano <= 0) {
		cause_add(c, CAUSE_INVALID, S("spec.capacity[storage]"), storage, "must be greater than zero");
	}
	must_be_one_of(c, value_get(spec, N_persistentVolumeReclaimPolicy), S("spec.persistentVolumeReclaimPolicy"), policies, ARRAY_LEN(policies), false);
	if (value_get(spec, N_local) && !value_at(spec, N_nodeAffinity, N_required)) {
		cause_add(c, CAUSE_REQUIRED, S("spec.nodeAffinity"), NULL, "Local volume requires node affinity");
	}
}

static void pv_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	const struct value *was = value_at(old, N_spec, N_volumeMode);
	if (was && !value_eq(was, value_at(o, N_spec, N_volumeMode))) {
		cause_add(c, CAUSE_INVALID, S("spec.volumeMode"), value_at(o, N_spec, N_volumeMode), "field is immutable");
	}
}

const struct kind_ops persistent_volume_ops = { .group = S_INIT(""), .resource = S_INIT("persistentvolumes"), .prepare_create = phase_create,
	.validate = pv_validate, .validate_update = pv_update, .no_generation = true };

static void pvc_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	const struct value *spec = value_get(o, N_spec), *storage = value_at(spec, N_resources, N_requests, N_storage);
	modes(spec, S("spec.accessModes"), c);
	if (!storage) {
		cause_add(c, CAUSE_REQUIRED, S("spec.resources[storage]"), NULL, NULL);
	} else if (quantity_from(storage).nano <= 0) {
		cause_add(c, CAUSE_INVALID, S("spec.resources[storage]"), storage, "must be greater than zero");
	}
	validate_label_selector(value_get(spec, N_selector), S("spec.selector"), c);
}

static void pvc_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	struct value *now = value_copy(c->arena, value_get(o, N_spec)), *was = value_copy(c->arena, value_get(old, N_spec));
	static const enum name_id mutable_fields[] = { N_resources, N_volumeAttributesClassName };
	for (size_t i = 0; i < ARRAY_LEN(mutable_fields); i++) {
		value_remove(now, mutable_fields[i]);
		value_remove(was, mutable_fields[i]);
	}
	if (!value_str_at(was, N_volumeName).len) { /* binding sets it once */
		value_remove(now, N_volumeName);
		value_remove(was, N_volumeName);
	}
	if (!value_get(was, N_storageClassName)) { /* the default class may be given later */
		value_remove(now, N_storageClassName);
	}
	if (!value_eq(now, was)) {
		cause_add(c, CAUSE_FORBIDDEN, S("spec"), NULL, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims");
	}
	const struct value *want = value_at(o, N_spec, N_resources, N_requests, N_storage), *had = value_at(old, N_spec, N_resources, N_requests, N_storage);
	if (quantity_cmp(quantity_from(want), quantity_from(had)) < 0 &&
		quantity_cmp(quantity_from(want), quantity_from(value_at(old, N_status, N_capacity, N_storage))) <= 0) {
		cause_add(c, CAUSE_FORBIDDEN, S("spec.resources.requests.storage"), NULL, "field can not be less than status.capacity");
	}
}

const struct kind_ops persistent_volume_claim_ops = { .group = S_INIT(""), .resource = S_INIT("persistentvolumeclaims"), .prepare_create = phase_create,
	.validate = pvc_validate, .validate_update = pvc_update, .no_generation = true };

static void class_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str modes_of[] = { S_INIT("Immediate"), S_INIT("WaitForFirstConsumer") }, policies[] = { S_INIT("Delete"), S_INIT("Retain") };
	must_have(c, value_get(o, N_provisioner), S("provisioner"));
	must_be_one_of(c, value_get(o, N_volumeBindingMode), S("volumeBindingMode"), modes_of, 2, true);
	must_be_one_of(c, value_get(o, N_reclaimPolicy), S("reclaimPolicy"), policies, 2, false);
}

static void class_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	static const enum name_id fixed[] = { N_parameters, N_provisioner, N_reclaimPolicy, N_volumeBindingMode };
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		const struct value *now = value_get(o, fixed[i]), *was = value_get(old, fixed[i]);
		if (!(value_is_empty(now) && value_is_empty(was)) && !value_eq(now, was)) {
			cause_add(c, CAUSE_FORBIDDEN, name_text(fixed[i]), NULL, "updates to %.*s are forbidden.", STR_ARG(name_text(fixed[i])));
		}
	}
}

const struct kind_ops storage_class_ops = { .group = S_INIT("storage.k8s.io"), .resource = S_INIT("storageclasses"), .validate = class_validate,
	.validate_update = class_update, .no_generation = true };
