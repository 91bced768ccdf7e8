/* SPDX-License-Identifier: Apache-2.0 */
/* volume_downward_api.c - downwardAPI volumes: fields and resources of the pod as files. */
#include "kubelet/env.h"
#include "kubelet/volume.h"

bool vfiles_of_fields(struct pod *p, struct arena *a, const struct value *pod, struct vfiles *f, const struct value *items, mode_t mode,
	struct err *err) {
	VALUE_EACH(items, item) {
		const struct value *resource = value_get(item, N_resourceFieldRef);
		struct str text;
		if (value_is_set(item, N_resourceFieldRef)) {
			enum ctr_kind kind;
			const struct value *spec = pod_container(pod, value_str_at(resource, N_containerName), &kind);
			if (!spec) {
				return err_set(err, ERR_INVALID, "container %.*s not found", STR_ARG(value_str_at(resource, N_containerName)));
			}
			if (!resource_text(p->k, a, spec, resource, &text, err)) {
				return false;
			}
		} else if (!field_text(p, a, pod, value_str_at(item, N_fieldRef, N_fieldPath), &text, err)) {
			return false;
		}
		if (!vfiles_add(f, value_str_at(item, N_path), text, (mode_t)(value_as_int_or(value_get(item, N_mode), mode) & 07777), err)) {
			return false;
		}
	}
	return true;
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_downwardAPI);
	struct vfiles f = { 0 };
	bool ok = vfiles_of_fields(p, a, pod, &f, value_get(source, N_items), volume_mode(source), err) && vfiles_show(p, pod, v, &f, err);

	vfiles_release(&f);
	return ok;
}

const struct volume_plugin volume_downward_api = { .name = "kubernetes.io~downward-api",
	.source = N_downwardAPI,
	.readonly = true,
	.refreshed = true,
	.prepare = prepare };
