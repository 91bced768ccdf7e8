/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - one node put together: runtime, pod network, overlay, Service proxy, kubelet and the control
 * socket, each with a client of its own identity. `server` has one in its process, `agent` is one.
 */
#ifndef CLUSTER_NODE_H
#define CLUSTER_NODE_H

#include "client/client.h"

struct node;
struct node_opts {
	/* Borrowed; they outlive the node. Which transport they have is nobody's business here. */
	struct client *kubelet_client; /* system:node:<name> */
	struct client *proxy_client;   /* system:kube-proxy */
	const char *name, *ip;
	const char *data_dir;          /* pods, images, logs */
	const char *run_dir;           /* runtime state, control.sock */
	const char *id;                /* eight hex digits: names of links, table, cgroups */
	const char *cluster_cidr, *dns_ip, *domain;
	int kubelet_port;
	const char *cert_file, *key_file, *client_ca_file;
	const char *const *labels, *const *taints; /* NULL-ended or NULL */
	const char *registry_ca_file;              /* may be NULL */
	const char *const *insecure_registries;    /* NULL-ended or NULL */
	const char *cni_conf_dir, *cni_bin_dir;    /* external CNI plugins; NULL: ours */
	const char *overlay;                       /* "auto", ... */
	bool no_proxy;
};
NODISCARD bool cluster_node_start(const struct node_opts *opts, struct node **ret, struct err *err);
void cluster_node_stop(struct node *n); /* pods run on; NULL is fine */
/* For `down`, when nothing of the node runs any more: ends its pods, removes mounts, links, tables, cgroups. Goes on after a failure. */
NODISCARD bool cluster_node_destroy(const struct node_opts *opts, struct err *err);

#endif
