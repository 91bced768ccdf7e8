/* SPDX-License-Identifier: Apache-2.0 */
/* table_storage.c - rows of volumes, claims and storage.k8s.io, and of resource.k8s.io. See table.h. */
#include "schema/table.h"

static struct str access_modes(struct arena *a, const struct value *modes) {
	static const struct {
		struct str mode, text;
	} all[] = {
		{ S_INIT("ReadWriteOnce"), S_INIT("RWO") },
		{ S_INIT("ReadOnlyMany"), S_INIT("ROX") },
		{ S_INIT("ReadWriteMany"), S_INIT("RWX") },
		{ S_INIT("ReadWriteOncePod"), S_INIT("RWOP") },
	};
	struct str found[ARRAY_LEN(all)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		for (size_t k = 0; k < value_len(modes); k++) {
			if (str_eq(value_as_str(value_item(modes, k)), all[i].mode)) {
				found[n++] = all[i].text;
				break;
			}
		}
	}
	return arena_join(a, found, n, S(","));
}

static struct str class_of(const struct value *o) {
	const struct value *beta = value_get_str(value_at(o, N_metadata, N_annotations), S("volume.beta.kubernetes.io/storage-class"));

	return beta ? value_as_str(beta) : value_str_at(o, N_spec, N_storageClassName);
}

static struct str phase_of(const struct value *o) {
	return value_at(o, N_metadata, N_deletionTimestamp) ? S("Terminating") : value_str_at(o, N_status, N_phase);
}

static void persistent_volume(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *claim = value_get(spec, N_claimRef);
	struct str ns = value_str_at(claim, N_namespace), name = value_str_at(claim, N_name);

	cell_name(r);
	cell(r, value_str_at(spec, N_capacity, N_storage));
	cell(r, access_modes(r->a, value_get(spec, N_accessModes)));
	cell(r, value_str_at(spec, N_persistentVolumeReclaimPolicy));
	cell(r, phase_of(r->o));
	cell(r, claim ? arena_printf(r->a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : S(""));
	cell(r, class_of(r->o));
	cell_or(r, value_str_at(spec, N_volumeAttributesClassName), "<unset>");
	cell(r, value_str_at(r->o, N_status, N_reason));
	cell_age(r);
	cell_or(r, value_str_at(spec, N_volumeMode), "<unset>");
}

static void claim_row(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *status = value_get(r->o, N_status);
	bool bound = value_str_at(spec, N_volumeName).len;

	cell_name(r);
	cell(r, phase_of(r->o));
	cell(r, value_str_at(spec, N_volumeName));
	cell(r, bound ? value_str_at(status, N_capacity, N_storage) : S(""));
	cell(r, bound ? access_modes(r->a, value_get(status, N_accessModes)) : S(""));
	cell(r, class_of(r->o));
	cell_or(r, value_str_at(status, N_currentVolumeAttributesClassName), "<unset>");
	cell_age(r);
	cell_or(r, value_str_at(spec, N_volumeMode), "<unset>");
}

static bool is_default_class(const struct value *o) {
	const struct value *notes = value_at(o, N_metadata, N_annotations);

	return str_eq(value_as_str(value_get_str(notes, S("storageclass.kubernetes.io/is-default-class"))), S("true")) ||
		str_eq(value_as_str(value_get_str(notes, S("storageclass.beta.kubernetes.io/is-default-class"))), S("true"));
}

static void storage_class(struct row *r) {
	struct str name = value_str_at(r->o, N_metadata, N_name);

	cell(r, is_default_class(r->o) ? arena_printf(r->a, "%.*s (default)", STR_ARG(name)) : name);
	cell(r, value_str_at(r->o, N_provisioner));
	cell_or(r, value_str_at(r->o, N_reclaimPolicy), "Delete");
	cell_or(r, value_str_at(r->o, N_volumeBindingMode), "Immediate");
	cell_bool(r, value_bool_at(r->o, N_allowVolumeExpansion));
	cell_age(r);
}

static void attributes_class(struct row *r) {
	cell_name(r);
	cell(r, value_str_at(r->o, N_driverName));
	cell_age(r);
}

static void volume_attachment(struct row *r) {
	cell_name(r);
	cell(r, value_str_at(r->o, N_spec, N_attacher));
	cell(r, value_str_at(r->o, N_spec, N_source, N_persistentVolumeName));
	cell(r, value_str_at(r->o, N_spec, N_nodeName));
	cell_bool(r, value_bool_at(r->o, N_status, N_attached));
	cell_age(r);
}

static void csi_node(struct row *r) {
	cell_name(r);
	cell_int(r, (int64_t)value_len(value_at(r->o, N_spec, N_drivers)));
	cell_age(r);
}

static void csi_driver(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *attach = value_get(spec, N_attachRequired), *tokens = value_get(spec, N_tokenRequests);
	auto_buf struct buf b = BUF_INIT(65536);

	for (size_t i = 0; i < value_len(tokens); i++) {
		buf_c(&b, i ? "," : "");
		buf_str(&b, value_str_at(value_item(tokens, i), N_audience));
	}
	cell_name(r);
	cell_bool(r, attach ? value_as_bool(attach) : true);
	cell_bool(r, value_bool_at(spec, N_podInfoOnMount));
	cell_bool(r, value_bool_at(spec, N_storageCapacity));
	cell(r, value_len(tokens) ? buf_view(&b) : S("<unset>"));
	cell_bool(r, value_bool_at(spec, N_requiresRepublish));
	cell_or(r, joined(r->a, value_get(spec, N_volumeLifecycleModes), ","), "<none>");
	cell_age(r);
}

static void csi_capacity(struct row *r) {
	cell_name(r);
	cell(r, value_str_at(r->o, N_storageClassName));
	cell_or(r, value_str_at(r->o, N_capacity), "<unset>");
}

/* ---- resource.k8s.io ---------------------------------------------------------------------------------------------- */
static void name_and_age(struct row *r) {
	cell_name(r);
	cell_age(r);
}

static void resource_claim(struct row *r) {
	const struct value *status = value_get(r->o, N_status);
	auto_buf struct buf b = BUF_INIT(200);

	if (value_at(r->o, N_metadata, N_deletionTimestamp)) {
		buf_c(&b, "deleted");
	}
	if (!value_get(status, N_allocation)) {
		if (!value_at(r->o, N_metadata, N_deletionTimestamp)) {
			buf_c(&b, "pending");
		}
	} else {
		buf_c(&b, b.len ? ",allocated" : "allocated");
		buf_c(&b, value_len(value_get(status, N_reservedFor)) ? ",reserved" : "");
	}
	cell_name(r);
	cell(r, buf_view(&b));
	cell_age(r);
}

static void resource_slice(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec);

	cell_name(r);
	cell_or(r, value_str_at(spec, N_nodeName), "<none>");
	cell(r, value_str_at(spec, N_driver));
	cell(r, value_str_at(spec, N_pool, N_name));
	cell_age(r);
}

const struct table_printer table_storage[] = {
	{ T_core_v1_PersistentVolume, persistent_volume },
	{ T_core_v1_PersistentVolumeClaim, claim_row },
	{ T_storage_v1_StorageClass, storage_class },
	{ T_storage_v1_VolumeAttributesClass, attributes_class },
	{ T_storage_v1_VolumeAttachment, volume_attachment },
	{ T_storage_v1_CSINode, csi_node },
	{ T_storage_v1_CSIDriver, csi_driver },
	{ T_storage_v1_CSIStorageCapacity, csi_capacity },
	{ T_resource_v1_DeviceClass, name_and_age },
	{ T_resource_v1_ResourceClaimTemplate, name_and_age },
	{ T_resource_v1_ResourceClaim, resource_claim },
	{ T_resource_v1_ResourceSlice, resource_slice },
	{ 0 },
};
