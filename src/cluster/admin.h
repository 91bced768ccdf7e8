/* SPDX-License-Identifier: Apache-2.0 */
/* admin.h - the administrator's kubeconfig entry and client, for the commands beside a running server. */
#ifndef CLUSTER_ADMIN_H
#define CLUSTER_ADMIN_H

#include "client/kubeconfig.h"
#include "cluster/config.h"

/* Text lives in `a`. Fails: ERR_NOT_FOUND, the cluster was never started. */
NODISCARD bool admin_entry(struct cluster_config *c, struct arena *a, struct kubeconfig_entry *ret, struct err *err);
/* A client as the administrator, over HTTPS; NULL on failure. */
struct client *admin_client(struct cluster_config *c, struct err *err);

#endif
