/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.h - the scheduler's door: gives every pod without a node one that fits. A client like any other.
 */
#ifndef SCHEDULER_SCHEDULER_H
#define SCHEDULER_SCHEDULER_H

#include "client/client.h"

struct scheduler;
struct scheduler_opts {
	struct client *client; /* one reference is taken */
	struct loop *loop;     /* borrowed, runs until after scheduler_stop; NULL: one of its own */
	const char *name;      /* spec.schedulerName it answers to; NULL: "default-scheduler" */
	bool leader_elect;     /* work only while holding the Lease kube-system/kube-scheduler */
	void (*on_lost)(void *arg); /* the lease is lost: end the process or stop and start anew; on the loop. NULL: the process ends. */
	void *arg;
};
/* Returns at once; binds once its caches are filled. */
NODISCARD bool scheduler_start(const struct scheduler_opts *opts, struct scheduler **ret, struct err *err);
void scheduler_stop(struct scheduler *s); /* Waits for bindings under way. Not on the loop. */

#endif
