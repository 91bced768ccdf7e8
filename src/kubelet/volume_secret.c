/* SPDX-License-Identifier: Apache-2.0 */
/* volume_secret.c - secret volumes: keys become files, in memory only. */
#include "kubelet/objects.h"
#include "kubelet/volume.h"

bool vfiles_of_secret(struct pod *p, struct arena *a, struct vfiles *f, const struct value *source, mode_t mode, struct err *err) {
	auto_obj struct obj *o = NULL;
	bool optional = value_bool_at(source, N_optional);
	struct str name = value_str_at(source, N_secretName); /* of a volume; a projected source says `name` */

	if (name.len == 0) {
		name = value_str_at(source, N_name);
	}
	if (!objects_get(p->k->objects, true, p->ns, name, p->uid, &o, err)) {
		if (err->code == ERR_NOT_FOUND && optional) {
			err_clear(err);
			return true;
		}
		return false;
	}
	return vfiles_of_keys(a, f, &(struct key_source){ .items = value_get(source, N_items),
		.base64 = value_get(o->root, N_data),
		.optional = optional,
		.mode = mode,
		.what = "secret",
		.name = name }, err);
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_secret);
	struct vfiles f = { 0 };
	bool ok = vfiles_of_secret(p, a, &f, source, volume_mode(source), err) && vfiles_show(p, pod, v, &f, err);

	vfiles_release(&f);
	return ok;
}

const struct volume_plugin volume_secret = { .name = "kubernetes.io~secret",
	.source = N_secret,
	.in_memory = true,
	.readonly = true,
	.refreshed = true,
	.prepare = prepare };
