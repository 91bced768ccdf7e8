/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the table of commands that bring a cluster up, look at it and end it. */
#include "cluster/cluster.h"

#include "cluster/agent.h"
#include "cluster/components.h"
#include "cluster/hosts.h"
#include "cluster/image.h"
#include "cluster/server.h"
#include "cluster/status.h"
#include "cluster/up.h"

const struct command cluster_commands[] = {
	{ "up", "start a cluster in the background and point kubectl at it", cmd_up },
	{ "down", "end it and leave nothing", cmd_down },
	{ "status", "tell whether it runs, and its nodes", cmd_status },
	{ "image", "load, list, remove, pull, push, tag images of the nodes", cmd_image },
	{ "token", "make a token with which a further node joins", cmd_token },
	{ "agent", "make this machine a node of a cluster", cmd_agent },
	{ "kubeconfig", "print the administrator's kubeconfig", cmd_kubeconfig },
	{ "server", "run a whole cluster in the foreground", cmd_server },
	{ "apiserver", "the API server alone", cmd_apiserver },
	{ "controller-manager", "the controllers alone", cmd_controller_manager },
	{ "scheduler", "the scheduler alone", cmd_scheduler },
	{ "kubelet", "the kubelet alone", cmd_kubelet },
	{ "proxy", "the Service proxy alone", cmd_proxy },
	{ "dns", "cluster DNS alone", cmd_dns },
	{ "cni", NULL, cmd_cni },
	{ "host", NULL, cmd_host },
	{ 0 },
};
