/* SPDX-License-Identifier: Apache-2.0 */
/* leader.h - one of several runs: leader election by a Lease, upstream's timing (15 s lease, 10 s renewal deadline, 2 s retry). */
#ifndef CLIENT_LEADER_H
#define CLIENT_LEADER_H

#include "client/client.h"

struct leader;
struct leader_opts {
	struct client *client;
	struct loop *loop;
	struct str ns, name;     /* of the Lease, e.g. kube-system/kube-scheduler; copied */
	struct str identity;     /* copied; empty: the host's name and a random part */
	void (*on_started)(void *arg); /* on the loop */
	void (*on_stopped)(void *arg); /* lost: the component must stop at once. On the loop. */
	void *arg;
};
struct leader *leader_start(const struct leader_opts *opts); /* any thread */
/* Gives the lease back when it holds it, waits for that call; no callback comes after. Not on its loop. */
void leader_stop(struct leader *l);

#endif
