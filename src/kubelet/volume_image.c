/* SPDX-License-Identifier: Apache-2.0 */
/* volume_image.c - image volumes: the root of an OCI image, read-only. */
#include "kubelet/images.h"
#include "kubelet/volume.h"

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_image);
	struct image_info info = { 0 };

	if (!image_ready_volume(p, a, pod, value_str_at(source, N_reference), value_str_at(source, N_pullPolicy), &info, err)) {
		return false;
	}
	return err_set(err, ERR_UNAVAILABLE, "the container runtime cannot mount images as volumes");
}

const struct volume_plugin volume_image = { .name = "kubernetes.io~image", .source = N_image, .readonly = true, .prepare = prepare };
