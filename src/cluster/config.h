/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - a cluster's settings and where its things are. Made at the first `up` or `server`, kept in
 * <data dir>/cluster.json, so that ports and address ranges stay the same for life.
 *
 *   <data dir>/            survives `down`: cluster.json, pki/, store/, node/ (pods, images, logs),
 *                          nodes/<name>/ (further nodes on this machine), coracle.log, admin.kubeconfig
 *   <run dir>/             /run/coracle/<id>: pid files, control sockets, the runtime's state; gone after `down`
 *
 * `id` is eight hex digits of the data folder's path: links, tables and cgroups carry it, so that several
 * clusters live side by side on one machine.
 */
#ifndef CLUSTER_CONFIG_H
#define CLUSTER_CONFIG_H

#include "base/arena.h"
#include "base/err.h"

struct cluster_config {
	struct arena arena;
	const char *name;       /* "coracle" by default */
	const char *data_dir;   /* absolute */
	const char *run_dir;
	const char *id;
	const char *node_name;  /* of the first node */
	const char *node_ip;
	int index;              /* picks the address ranges below; differs between clusters of one machine */
	int port;               /* API server */
	int kubelet_port;
	int dns_port;
	const char *cluster_cidr;  /* pods, "10.244.0.0/16" */
	const char *service_cidr;  /* "10.96.0.0/16" */
	const char *dns_ip;        /* "10.96.0.10" */
	const char *link_cidr;     /* between the nodes on this machine, "10.89.0.0/24" */
	const char *link_ip;       /* ours on it */
	const char *domain;        /* "cluster.local" */
	bool link;                 /* the link between nodes of this machine is in use */
	bool forward_dns;          /* names outside the cluster go to the machine's name servers */
};

/* What the user said on the command line; zero means not said. */
struct cluster_args {
	const char *name, *data_dir, *node_ip, *node_name;
	int port;
	bool link;
};
/* Only finds the folders; a cluster need not exist. Fails: ERR_BAD_REQUEST, a bad name. */
NODISCARD bool cluster_config_find(const struct cluster_args *args, struct cluster_config *ret, struct err *err);
/* Reads cluster.json. Fails: ERR_NOT_FOUND when there is no such cluster ("no cluster ... run coracle up"). */
NODISCARD bool cluster_config_load(const struct cluster_args *args, struct cluster_config *ret, struct err *err);
/* Reads it, or makes it: picks free ports and ranges, the node's address, writes cluster.json. */
NODISCARD bool cluster_config_make(const struct cluster_args *args, struct cluster_config *ret, struct err *err);
void cluster_config_release(struct cluster_config *c);
const char *cluster_path(struct cluster_config *c, const char *fmt, ...) PRINTF(2, 3); /* below data_dir; lives as long as c */
const char *cluster_run_path(struct cluster_config *c, const char *fmt, ...) PRINTF(2, 3);
/* The kubeconfig context of this cluster: "coracle", or "coracle-N". */
const char *cluster_context(struct cluster_config *c);
/* The pid in <run dir>/<file>, 0 when it is not alive (or is a stranger with a reused number). */
int cluster_pid(struct cluster_config *c, const char *file);
NODISCARD bool cluster_pid_write(struct cluster_config *c, const char *file, struct err *err);

/* The machine's own address: of the default route's link, else the first that is not loopback; false when there is none. */
bool machine_ip(char out[64]);

#endif
