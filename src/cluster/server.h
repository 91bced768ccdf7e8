/* SPDX-License-Identifier: Apache-2.0 */
/* server.h - `coracle server`: store, API server, controllers, scheduler, DNS and the first node in one process. */
#ifndef CLUSTER_SERVER_H
#define CLUSTER_SERVER_H

#include "cluster/config.h"
#include "cluster/node.h"

int cmd_server(int argc, char **argv);

/* What the first node of a cluster is made of; `kubelet` and `proxy` clients are the caller's. Used by server and by down. */
struct node_opts server_node_opts(struct cluster_config *c);

/* ---- shared by the commands ---- */

/* --name, --data-dir: the two flags of everything that concerns a cluster. */
#define CLUSTER_FLAGS(args) \
	{ "name", 0, FLAG_STRING, &(args).name, "NAME", "cluster, when there are several on this machine (default coracle)" }, \
	{ "data-dir", 0, FLAG_STRING, &(args).data_dir, "DIR", "where the cluster's data is (default /var/lib/coracle, /var/lib/coracle-NAME)" }

/* Blocks SIGTERM and SIGINT for all threads made later; call before any is made. */
void signals_block(void);
/* Waits for one of them. */
int signals_wait(void);

#endif
