/* SPDX-License-Identifier: Apache-2.0 */
/* pod.h - making and dropping pods; loop only. What others do with a pod stands in internal.h. */
#ifndef KUBELET_POD_H
#define KUBELET_POD_H

#include <stdarg.h>

#include "kubelet/internal.h"

struct pod *pod_new(struct kubelet *k, struct str uid, struct str ns, struct str name); /* also puts it in k->pods */
/* Forgets it; it is freed once no job points to it. */
void pod_drop(struct pod *p);

#endif
