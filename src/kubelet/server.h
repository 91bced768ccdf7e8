/* SPDX-License-Identifier: Apache-2.0 */
/* server.h - the kubelet API over HTTPS: logs, exec, attach, port-forward, metrics. */
#ifndef KUBELET_SERVER_H
#define KUBELET_SERVER_H

#include "kubelet/internal.h"

struct server;
NODISCARD bool kubelet_server_start(struct kubelet *k, struct server **ret, struct err *err);
int kubelet_server_port(const struct server *s);
/* A container ended: who follows its log reads the rest and stops. Any thread. */
void kubelet_server_on_exit(struct server *s, struct str id);
void kubelet_server_stop(struct server *s);

#endif
