/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controllers.h - the controllers' door: they make what is written true, one file a controller behind one
 * frame. They are a client like any other.
 */
#ifndef CONTROLLERS_CONTROLLERS_H
#define CONTROLLERS_CONTROLLERS_H

#include "client/client.h"

struct controllers;
struct controllers_opts {
	struct client *client;    /* one reference is taken */
	struct loop *loop;        /* borrowed, runs until after controllers_stop; NULL: one of its own */
	const char *enabled;      /* comma-separated names, "*" for all, "-name" for none of it; NULL: "*" */
	const char *cluster_cidr; /* a /24 of it becomes each node's podCIDR; NULL: nodes bring their own */
	struct str root_ca_pem;   /* ConfigMap kube-root-ca.crt of each namespace; empty: none is made; copied */
	struct str signing_cert_pem, signing_key_pem; /* CA that signs the certificates of nodes; empty: nobody signs; copied */
	bool leader_elect;        /* work only while holding the Lease kube-system/kube-controller-manager */
	void (*on_lost)(void *arg); /* the lease is lost: end the process or stop and start anew; on the loop. NULL: the process ends. */
	void *arg;
	nsec_t node_grace;        /* without a heartbeat for this long a node becomes Unknown; 0: 40 s */
	int terminated_pods_max;  /* finished pods beyond it are collected, oldest first; 0: 12,500 */
};
/* Returns at once; the controllers begin when their caches are filled. Fails: ERR_INVALID for a bad cluster_cidr or name. */
NODISCARD bool controllers_start(const struct controllers_opts *opts, struct controllers **ret, struct err *err);
/* Waits for syncs that run. Not on the loop. */
void controllers_stop(struct controllers *c);

#endif
