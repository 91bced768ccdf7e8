/* SPDX-License-Identifier: Apache-2.0 */
/* placement.h - what lets a pod on a node: node selectors, node affinity, taints and tolerations. For scheduler, controllers, kubelet. */
#ifndef CLIENT_PLACEMENT_H
#define CLIENT_PLACEMENT_H

#include "value/value.h"

/* A NodeSelectorTerm: all its expressions and fields; an empty one matches nothing. */
bool node_term_matches(const struct value *term, const struct value *node);
/* A NodeSelector: one of its terms. */
bool node_selector_matches(const struct value *node_selector, const struct value *node);
/* spec.nodeSelector and required node affinity of a pod's spec. */
bool pod_wants_node(const struct value *spec, const struct value *node);

bool toleration_tolerates(const struct value *toleration, const struct value *taint);
/* Whether one of the list does; NULL: none. */
bool tolerations_tolerate(const struct value *tolerations, const struct value *taint);

#endif
