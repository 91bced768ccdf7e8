/* SPDX-License-Identifier: Apache-2.0 */
/* sweep.h - removes what is left of pods that nobody knows. */
#ifndef KUBELET_SWEEP_H
#define KUBELET_SWEEP_H

#include "kubelet/internal.h"

struct sweep;
struct sweep *sweep_new(struct kubelet *k); /* lists what is there now; before any pod is made */
void sweep_start(struct sweep *s);          /* loop: removes in the background what belongs to no pod of k->pods; takes s, NULL is fine */
void sweep_all(struct sweep *s);            /* the same for everything, at once; blocks */
void sweep_free(struct sweep *s);           /* NULL is fine; not after sweep_start */

#endif
