/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cni_external.h - CNI plugins that are programs of others, run as the specification says: the plugins of the
 * first .conflist (or .conf) of a folder in order, each with the result of the one before. Private to network/.
 */
#ifndef NETWORK_CNI_EXTERNAL_H
#define NETWORK_CNI_EXTERNAL_H

#include "network/network.h"

struct cni_external;
/* `*ret` stays NULL when the folder holds no configuration. Fails: one that cannot be read. */
NODISCARD bool cni_external_open(const char *conf_dir, const char *bin_dir, const char *state_dir, struct cni_external **ret, struct err *err);
void cni_external_close(struct cni_external *e);
bool cni_external_ready(struct cni_external *e);
NODISCARD bool cni_external_add(struct cni_external *e, const struct cni_pod *pod, char *ret_ip, struct err *err);
NODISCARD bool cni_external_del(struct cni_external *e, const struct cni_pod *pod, struct err *err);
NODISCARD bool cni_external_keep_only(struct cni_external *e, const char *const *ids, size_t n, struct err *err);

#endif
