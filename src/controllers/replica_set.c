/* SPDX-License-Identifier: Apache-2.0 */
/* replica_set.c - ReplicaSets: the flavor of replicas.c with a LabelSelector. */
#include "controllers/replicas.h"

static bool selector(struct arena *a, const struct value *owner, const struct selector **ret, struct err *err) {
	return selector_from_value(a, value_at(owner, N_spec, N_selector), ret, err);
}

static const struct replicas_flavor flavor = {
	.gvr = { S_INIT("apps"), S_INIT("v1"), S_INIT("replicasets") },
	.group = "apps",
	.kind = "ReplicaSet",
	.component = "replicaset-controller",
	.selector = selector,
	.terminating = true,
};

static void *make(struct frame *f) {
	return replicas_make(f, &flavor);
}

const struct controller_ops replica_set_controller = { .name = "replicaset", .make = make, .free = replicas_free };
