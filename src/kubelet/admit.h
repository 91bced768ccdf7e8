/* SPDX-License-Identifier: Apache-2.0 */
/* admit.h - whether a new pod may run here. Loop only. */
#ifndef KUBELET_ADMIT_H
#define KUBELET_ADMIT_H

#include "kubelet/internal.h"

/* Sets p->refused when it may not. Before the pod's first pass. */
void pod_admit(struct pod *p);

#endif
