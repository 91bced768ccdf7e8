/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pki.h - the cluster's keys and certificates in <data dir>/pki: made once, renewed when less than a
 * third of their life is left, or when the names they must hold have changed. Names and subjects are kubeadm's.
 */
#ifndef CLUSTER_PKI_H
#define CLUSTER_PKI_H

#include "cluster/config.h"

/* ca, front-proxy-ca, sa.key/sa.pub, apiserver, apiserver-kubelet-client, front-proxy-client, admin,
 * controller-manager, scheduler, proxy, dns, and the first node's kubelet-client and kubelet. */
NODISCARD bool pki_ensure(struct cluster_config *c, struct err *err);
const char *pki_path(struct cluster_config *c, const char *file); /* "ca.crt" */
NODISCARD bool pki_read(struct cluster_config *c, const char *file, struct arena *a, struct str *ret, struct err *err);
/* "sha256:<hex>" of the cluster CA's certificate: what a join token pins. */
NODISCARD bool pki_ca_hash(struct cluster_config *c, char out[80], struct err *err);

#endif
