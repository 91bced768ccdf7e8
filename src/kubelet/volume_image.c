/* SPDX-License-Identifier: Apache-2.0 */
/* volume_image.c - image volumes: the root of an OCI image, read-only. */
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/file.h"
#include "kubelet/images.h"
#include "kubelet/volume.h"

static bool is_mounted(struct arena *a, const char *path) {
	struct stat own, up;

	return stat(path, &own) == 0 && stat(pod_path_fmt(a, "%s/..", path), &up) == 0 && (own.st_dev != up.st_dev || own.st_ino == up.st_ino);
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_image);
	struct image_info info = { 0 };

	if (is_mounted(a, v->path)) { /* by an earlier process: the containers see it already */
		return true;
	}
	if (!image_ready_volume(p, a, pod, value_str_at(source, N_reference), value_str_at(source, N_pullPolicy), &info, err)) {
		return false;
	}
	/* a single layer is a bind mount, which a look at devices does not show: begin with none */
	return dir_make(v->path, 0755, err) &&
		(umount2(v->path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || true) && cri_image_mount(p->k->o.cri, info.id, v->path, err);
}

const struct volume_plugin volume_image = { .name = "kubernetes.io~image", .source = N_image, .readonly = true, .prepare = prepare };
