/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects.h - the ConfigMaps and Secrets that pods of this node use: read at first use, then watched one
 * by one (a node may not watch them all), and the pods that use one are woken when it changes.
 */
#ifndef KUBELET_OBJECTS_H
#define KUBELET_OBJECTS_H

#include "kubelet/internal.h"

struct objects;
struct objects *objects_new(struct kubelet *k);
void objects_free(struct objects *o); /* loop, or after it has stopped */
/*
 * The object as it is now, for the pod `uid`, which is woken when it changes, until objects_forget.
 * Fails: ERR_NOT_FOUND `configmap "x" not found`; what the API says. Any thread; blocks at first use.
 */
NODISCARD bool objects_get(struct objects *o, bool secret, struct str ns, struct str name, struct str uid, struct obj **ret, struct err *err);
/* The pod is gone: what nobody uses any more is not watched any more. Any thread. */
void objects_forget(struct objects *o, struct str uid);

#endif
