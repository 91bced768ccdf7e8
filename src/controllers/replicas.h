/* SPDX-License-Identifier: Apache-2.0 */
/* replicas.h - keeps a number of pods: ReplicaSets and ReplicationControllers are two flavors of it. Private to this room. */
#ifndef CONTROLLERS_REPLICAS_H
#define CONTROLLERS_REPLICAS_H

#include "controllers/pods.h"

struct replicas_flavor {
	struct gvr gvr;
	const char *group, *kind;
	const char *component; /* in events */
	/* The owner's selector, parsed. */
	bool (*selector)(struct arena *a, const struct value *owner, const struct selector **ret, struct err *err);
	bool terminating; /* status has terminatingReplicas */
};
void *replicas_make(struct frame *f, const struct replicas_flavor *flavor);
void replicas_free(void *controller);

#endif
