/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - `coracle status`, `token`, `kubeconfig`. */
#ifndef CLUSTER_STATUS_H
#define CLUSTER_STATUS_H

int cmd_status(int argc, char **argv);
int cmd_token(int argc, char **argv);
int cmd_kubeconfig(int argc, char **argv);

#endif
