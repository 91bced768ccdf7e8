/* SPDX-License-Identifier: Apache-2.0 */
/* replication_controller.c - ReplicationControllers: the flavor of replicas.c whose selector is a plain map of labels. */
#include "controllers/replicas.h"

static bool selector(struct arena *a, const struct value *owner, const struct selector **ret, struct err *err) {
	const struct value *map = value_at(owner, N_spec, N_selector);

	if (value_len(map) == 0) {
		map = value_at(owner, N_spec, N_template, N_metadata, N_labels);
	}
	if (value_len(map) == 0) {
		return selector_from_value(a, NULL, ret, err); /* matches nothing */
	}
	*ret = selector_from_map(a, map);
	return true;
}

static const struct replicas_flavor flavor = {
	.gvr = { S_INIT(""), S_INIT("v1"), S_INIT("replicationcontrollers") },
	.group = "",
	.kind = "ReplicationController",
	.component = "replication-controller",
	.selector = selector,
};

static void *make(struct frame *f) {
	return replicas_make(f, &flavor);
}

const struct controller_ops replication_controller_controller = { .name = "replicationcontroller", .make = make, .free = replicas_free };
