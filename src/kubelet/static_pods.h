/* SPDX-License-Identifier: Apache-2.0 */
/* static_pods.h - pods from manifest files of this node, and their mirrors in the API. */
#ifndef KUBELET_STATIC_PODS_H
#define KUBELET_STATIC_PODS_H

#include "kubelet/internal.h"

struct static_pods;
/* Reads the folder and makes its pods known; before the loop runs. Files that cannot be used are logged. Fails: the folder cannot be read. */
NODISCARD bool static_pods_new(struct kubelet *k, struct static_pods **ret, struct err *err);
void static_pods_begin(struct static_pods *sp); /* loop: watches the folder from now on */
void static_pods_end(struct static_pods *sp);   /* loop */
void static_pods_free(struct static_pods *sp);  /* its loop has stopped, its jobs have ended; NULL is fine */

bool is_mirror(const struct value *pod);
/* Loop: the informer shows a mirror pod; `now` NULL: it is gone. */
void static_pods_mirror(struct static_pods *sp, struct kubelet *k, struct obj *old, struct obj *now);

/*
 * The pod of one manifest, as this node runs it: name with the node's behind it, a uid made of its place and content, bound to the node,
 * defaults filled in. Fails: ERR_BAD_REQUEST, ERR_INVALID.
 */
NODISCARD bool static_pod_read(struct arena *a, const char *node_name, const char *path, struct str text, struct value **ret, struct err *err);

#endif
