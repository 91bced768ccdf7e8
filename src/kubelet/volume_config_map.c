/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume_config_map.c - configMap volumes, and what they share with secret and projected ones: keys that
 * become files, shown at once when they change.
 */
#include "kubelet/objects.h"
#include "kubelet/volume.h"
#include "net/digest.h"

static bool add_key(struct arena *a, struct vfiles *f, const struct key_source *s, struct str key, struct str path, mode_t mode, bool *found,
	struct err *err) {
	const struct value *text = value_get_str(s->text, key), *coded = value_get_str(s->base64, key);
	struct str bytes;

	*found = text || coded;
	if (!*found) {
		return true;
	}
	bytes = value_as_str(text ? text : coded);
	if (!text && !base64_decode(a, bytes, &bytes)) {
		return err_set(err, ERR_INVALID, "%s \"%.*s\": key \"%.*s\" is not base64", s->what, STR_ARG(s->name), STR_ARG(key));
	}
	return vfiles_add(f, arena_str(a, path), arena_str(a, bytes), mode, err);
}

bool vfiles_of_keys(struct arena *a, struct vfiles *f, const struct key_source *s, struct err *err) {
	const struct value *lists[] = { s->text, s->base64 };
	bool found;

	if (value_len(s->items) == 0) {
		for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
			for (size_t j = 0; j < value_len(lists[i]); j++) {
				struct str key = value_key(lists[i], j);
				if (!add_key(a, f, s, key, key, s->mode, &found, err)) {
					return false;
				}
			}
		}
		return true;
	}
	VALUE_EACH(s->items, item) {
		struct str key = value_str_at(item, N_key);
		mode_t mode = (mode_t)(value_as_int_or(value_get(item, N_mode), s->mode) & 07777);
		if (!add_key(a, f, s, key, value_str_at(item, N_path), mode, &found, err)) {
			return false;
		}
		if (!found && !s->optional) {
			return err_set(err, ERR_NOT_FOUND, "%s references non-existent %s key: %.*s", s->what,
				s->what[0] == 'c' ? "config" : "secret", STR_ARG(key));
		}
	}
	return true;
}

bool vfiles_of_config_map(struct pod *p, struct arena *a, struct vfiles *f, const struct value *source, mode_t mode, struct err *err) {
	auto_obj struct obj *o = NULL;
	bool optional = value_bool_at(source, N_optional);
	struct str name = value_str_at(source, N_name);

	if (!objects_get(p->k->objects, false, p->ns, name, p->uid, &o, err)) {
		if (err->code == ERR_NOT_FOUND && optional) {
			err_clear(err);
			return true;
		}
		return false;
	}
	return vfiles_of_keys(a, f, &(struct key_source){ .items = value_get(source, N_items),
		.text = value_get(o->root, N_data),
		.base64 = value_get(o->root, N_binaryData),
		.optional = optional,
		.mode = mode,
		.what = "configmap",
		.name = name }, err);
}

bool vfiles_show(struct pod *p, const struct value *pod, struct volume *v, const struct vfiles *f, struct err *err) {
	uint64_t hash = vfiles_hash(f);

	if (v->ready && v->content == hash) {
		return true;
	}
	if (!vfiles_write(v->path, f, pod_fs_group(pod), -1, err)) {
		return false;
	}
	v->content = hash;
	return true;
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_configMap);
	struct vfiles f = { 0 };
	bool ok = vfiles_of_config_map(p, a, &f, source, volume_mode(source), err) && vfiles_show(p, pod, v, &f, err);

	vfiles_release(&f);
	return ok;
}

const struct volume_plugin volume_config_map = { .name = "kubernetes.io~configmap",
	.source = N_configMap,
	.readonly = true,
	.refreshed = true,
	.prepare = prepare };
