/* SPDX-License-Identifier: Apache-2.0 */
/*
 * addons.h - objects that make a bare API server a cluster: the kube-dns Service and its endpoints,
 * cluster-info and the roles for joining nodes, kubeadm-config, the role of cluster DNS. Written again when somebody removed them.
 */
#ifndef CLUSTER_ADDONS_H
#define CLUSTER_ADDONS_H

#include "client/client.h"
#include "cluster/config.h"

/* Blocks. `dns_address` and `dns_port`: where cluster DNS listens. */
NODISCARD bool addons_ensure(struct client *c, struct cluster_config *cfg, const char *dns_address, int dns_port, struct str ca_pem, struct err *err);
/* A bootstrap token Secret; `ret` is "<id>.<secret>" in `a`. */
NODISCARD bool token_create(struct client *c, struct arena *a, nsec_t ttl, struct str description, struct str *ret, struct err *err);

#endif
