/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts.h - further nodes on this machine: each a host made of namespaces (network, mount, PID, IPC,
 * UTS) with its own folders and cgroup prefix, joined to the others by a bridge.
 *
 * A host is held by one process, `coracle host` (process 1 of its PID namespace), which starts the
 * node's agent, starts it again when it dies, and reaps. When the holder ends, the kernel ends all that ran in it:
 * that is pulling the plug.
 */
#ifndef CLUSTER_HOSTS_H
#define CLUSTER_HOSTS_H

#include "cluster/config.h"

/* The bridge with our address, and masquerading of what leaves the machine. Safe to repeat. */
NODISCARD bool hosts_link_ensure(struct cluster_config *c, struct err *err);
/* Starts host number `n` (2, 3, ...) with an agent that joins with the token; does nothing when it runs already. */
NODISCARD bool hosts_start(struct cluster_config *c, int n, const char *token, struct err *err);
/* Kills all hosts and removes what they left: links, bridge, cgroups, run folders. */
void hosts_stop(struct cluster_config *c);
const char *hosts_name(struct cluster_config *c, int n); /* node name: "<first node>-2" */
const char *hosts_ip(struct cluster_config *c, int n);
/* Numbers of hosts that have run folders; at most `max`. */
size_t hosts_list(struct cluster_config *c, int *ret, size_t max);
int hosts_pid(struct cluster_config *c, int n); /* of the holder; 0 when it does not run */

int cmd_host(int argc, char **argv); /* the holder itself */

#endif
