/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.c - the volumes of a pod: which it needs, made or refreshed by its type, and taken away whole.
 *
 * Called by passes. What is mounted below a pod's folder is found by looking at the kernel's list, not
 * by remembering, so that what an earlier process left is taken away the same way.
 */
#include "kubelet/volume.h"

#include <dirent.h>
#include <errno.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/objects.h"

static const struct volume_plugin *const plugins[] = {
	&volume_empty_dir,
	&volume_host_path,
	&volume_config_map,
	&volume_secret,
	&volume_downward_api,
	&volume_projected,
	&volume_claim,
	&volume_image,
};

struct volumes {
	VEC(struct volume *) at;
};

void volumes_free(struct volumes *vs) {
	if (!vs) {
		return;
	}
	VEC_EACH(&vs->at, vp) {
		free((*vp)->name);
		free((*vp)->path);
		free(*vp);
	}
	VEC_RELEASE(&vs->at);
	free(vs);
}

const struct volume *volume_find(struct pod *p, struct str name) {
	for (size_t i = 0; p->volumes && i < p->volumes->at.len; i++) {
		if (str_eqc(name, p->volumes->at.at[i]->name)) {
			return p->volumes->at.at[i];
		}
	}
	return NULL;
}

static bool is_used(const struct value *pod, struct str name) {
	static const enum name_id lists[] = { N_initContainers, N_containers, N_ephemeralContainers };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		VALUE_EACH(value_at(pod, N_spec, lists[i]), c) {
			if (value_find_by(value_get(c, N_volumeMounts), N_name, name)) {
				return true;
			}
		}
	}
	return false;
}

static const struct volume_plugin *plugin_of(const struct value *volume) {
	for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
		if (value_is_set(volume, plugins[i]->source)) {
			return plugins[i];
		}
	}
	/* a volume without a source is an emptyDir */
	return value_len(volume) <= 1 ? &volume_empty_dir : NULL;
}

static struct volume *volume_of(struct pod *p, struct str name, const struct volume_plugin *plugin) {
	struct volume *v = (struct volume *)volume_find(p, name);

	if (v) {
		return v;
	}
	if (!p->volumes) {
		p->volumes = xcalloc(1, sizeof(*p->volumes));
	}
	v = xcalloc(1, sizeof(*v));
	v->name = str_dup(name);
	v->plugin = plugin;
	if (plugin->in_memory) {
		v->path = xasprintf("%.*s/%.*s/%s/%.*s", STR_ARG(p->k->secrets_dir), STR_ARG(p->uid), plugin->name, STR_ARG(name));
	} else {
		v->path = xasprintf("%s/volumes/%s/%.*s", p->dir, plugin->name, STR_ARG(name));
	}
	VEC_PUSH(&p->volumes->at, v);
	return v;
}

static bool prepare_one(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct err *err) {
	struct str name = value_str_at(volume, N_name);
	const struct volume_plugin *plugin = plugin_of(volume);

	if (!plugin) {
		return err_set(err, ERR_INVALID, "MountVolume.SetUp failed for volume \"%.*s\" : this type of volume is not supported", STR_ARG(name));
	}
	struct volume *v = volume_of(p, name, plugin);
	if (v->ready && !plugin->refreshed) {
		return true;
	}
	nsec_t now = clock_wall();
	if (plugin->prepare(p, a, pod, volume, v, err)) {
		v->ready = true;
	} else if (v->ready) { /* what is there stays as it is */
		log_debug(KUBELET_LOG, "volume not refreshed", kv_str("pod", p->name), kv_str("volume", name), kv_err(err));
		err_clear(err);
	} else {
		char text[sizeof(err->msg)];
		snprintf(text, sizeof(text), "%s", err->msg);
		return err_set(err, err->code, "MountVolume.SetUp failed for volume \"%.*s\" : %.500s", STR_ARG(name), text);
	}
	if (v->again > 0) {
		pass_wake(p, MAX(v->again - now, NSEC_PER_SEC));
	}
	return true;
}

bool volumes_prepare(struct pod *p, struct arena *a, const struct value *pod, struct err *err) {
	VALUE_EACH(value_at(pod, N_spec, N_volumes), volume) {
		if (is_used(pod, value_str_at(volume, N_name)) && !prepare_one(p, a, pod, volume, err)) {
			return false;
		}
	}
	return true;
}

/* ---- taking away --------------------------------------------------------------------------------------- */

/* "\040" and friends of /proc/self/mountinfo. */
static struct str unescape_mount(struct arena *a, struct str s) {
	char *out = arena_alloc(a, s.len + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '\\' && i + 3 < s.len) {
			out[n++] = (char)((s.ptr[i + 1] - '0') * 64 + (s.ptr[i + 2] - '0') * 8 + (s.ptr[i + 3] - '0'));
			i += 3;
		} else {
			out[n++] = s.ptr[i];
		}
	}
	out[n] = 0;
	return (struct str){ out, n };
}

static bool is_below(struct str path, struct str dir) {
	return str_starts(path, dir) && (path.len == dir.len || path.ptr[dir.len] == '/');
}

/* Unmounts all that is mounted at or below `dir`, the newest first. */
static bool unmount_below(struct str dir, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = BUF_INIT(64 << 20);
	VEC(struct str) points = { 0 };
	struct str rest, line;
	bool ok = true;

	if (!file_read("/proc/self/mountinfo", &b, err)) {
		return false;
	}
	rest = buf_view(&b);
	while (str_next(&rest, '\n', &line)) {
		struct str word = { 0 };
		for (int i = 0; i < 5; i++) { /* the fifth field is the mount point */
			if (!str_next(&line, ' ', &word)) {
				word = S("");
			}
		}
		word = unescape_mount(&a, word);
		if (is_below(word, dir)) {
			VEC_PUSH(&points, word);
		}
	}
	for (size_t i = points.len; i > 0; i--) {
		if (umount2(points.at[i - 1].ptr, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT) {
			ok = err_sys(err, "unmount %s", points.at[i - 1].ptr);
		}
	}
	VEC_RELEASE(&points);
	return ok;
}

bool volumes_clean(struct kubelet *k, const char *pod_dir, struct str uid, struct err *err) {
	auto_arena struct arena a = { 0 };
	const char *secrets = pod_path_fmt(&a, "%.*s/%.*s", STR_ARG(k->secrets_dir), STR_ARG(uid));

	return unmount_below(str_c(pod_dir), err) && dir_remove(pod_path_fmt(&a, "%s/volume-subpaths", pod_dir), err) &&
		dir_remove(pod_path_fmt(&a, "%s/volumes", pod_dir), err) && dir_remove(secrets, err);
}

bool volumes_teardown(struct pod *p, struct err *err) {
	for (size_t i = 0; p->volumes && i < p->volumes->at.len; i++) {
		struct volume *v = p->volumes->at.at[i];
		if (v->plugin->teardown && !v->plugin->teardown(p, v, err)) {
			return false;
		}
		v->ready = false;
	}
	objects_forget(p->k->objects, p->uid);
	return volumes_clean(p->k, p->dir, p->uid, err);
}

/* ---- small readers -------------------------------------------------------------------------------------- */

mode_t volume_mode(const struct value *source) {
	return (mode_t)(value_as_int_or(value_get(source, N_defaultMode), 0644) & 07777);
}

int64_t pod_fs_group(const struct value *pod) {
	const struct value *v = value_at(pod, N_spec, N_securityContext, N_fsGroup);

	return v && v->type != VALUE_NULL ? value_as_int(v) : -1;
}
