/* SPDX-License-Identifier: Apache-2.0 */
/* housekeeping.h - log rotation and image garbage collection. */
#ifndef KUBELET_HOUSEKEEPING_H
#define KUBELET_HOUSEKEEPING_H

#include "kubelet/internal.h"

struct housekeeping;
struct housekeeping *housekeeping_start(struct kubelet *k);
void housekeeping_free(struct housekeeping *h); /* its loop has stopped, its job has ended */

#endif
