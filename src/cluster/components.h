/* SPDX-License-Identifier: Apache-2.0 */
/* components.h - each component alone, over HTTPS, as upstream's programs run: flags carry upstream's names where they mean the same. */
#ifndef CLUSTER_COMPONENTS_H
#define CLUSTER_COMPONENTS_H

int cmd_apiserver(int argc, char **argv);
int cmd_controller_manager(int argc, char **argv);
int cmd_scheduler(int argc, char **argv);
int cmd_kubelet(int argc, char **argv);
int cmd_proxy(int argc, char **argv);
int cmd_dns(int argc, char **argv);
int cmd_cni(int argc, char **argv);

#endif
