/* SPDX-License-Identifier: Apache-2.0 */
/* images.h - pull policies, shared pulls, back-off, credentials. */
#ifndef KUBELET_IMAGES_H
#define KUBELET_IMAGES_H

#include "kubelet/internal.h"

struct images;
struct images *images_new(struct kubelet *k);
void images_free(struct images *im); /* after the last pass */
/*
 * Whether the container's image is here, as its pull policy wants. False: ctr->waiting says why (a pull
 * that runs wakes the pod when it ends; a back-off sets the next pass). `ret` lives in `a`. Pass.
 */
bool image_ready(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c, struct image_info *ret);
/* The same for an image volume: ERR_UNAVAILABLE while the pull runs. */
NODISCARD bool image_ready_volume(struct pod *p, struct arena *a, const struct value *pod, struct str ref, struct str policy, struct image_info *ret,
	struct err *err);
/* The pod is gone: its back-offs are forgotten. Any thread. */
void images_forget(struct images *im, struct str uid);

#endif
