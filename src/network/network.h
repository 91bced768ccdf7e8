/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.h - the pod network of a node, the Service proxy and cluster DNS. Three parts that know
 * each other only through the API:
 *
 *   cni      makes a pod's interface: our plugin in this process, or external CNI plugins executed
 *   overlay  routes between the nodes' pod ranges: plain routes on one link, VXLAN otherwise
 *   proxy    Services as nftables maps, loaded once, then element updates
 *   dns      answers for Services and pods, forwards the rest when told to
 *
 * Source: CNI specification 1.0; Kubernetes "Virtual IPs and Service Proxies"; DNS specification 1.1.
 */
#ifndef NETWORK_NETWORK_H
#define NETWORK_NETWORK_H

#include "client/client.h"

/* ---- CNI ---- */
struct cni_opts {
	const char *state_dir;  /* addresses in use, one file each: survives a restart */
	const char *conf_dir;   /* "/etc/cni/net.d"-like: when it holds a .conflist, its plugins are executed instead of ours; NULL: ours */
	const char *bin_dir;    /* of external plugins */
	const char *bridge;     /* name of our bridge, e.g. "cor0" (15 bytes at most) */
	const char *cluster_cidr; /* pods: traffic that leaves it is masqueraded */
	int mtu;                /* 0: that of the default route's link, less 50 with the overlay */
};
struct cni;
NODISCARD bool cni_open(const struct cni_opts *opts, struct cni **ret, struct err *err);
void cni_close(struct cni *c);
/*
 * The node's pod range, "10.244.1.0/24", once the node has one; also after a change. Makes the bridge and the nftables table; with the same range again it
 * only looks whether they are still there. Until then adds fail with ERR_UNAVAILABLE. Blocks.
 */
NODISCARD bool cni_set_range(struct cni *c, struct str cidr, struct err *err);
bool cni_ready(struct cni *c);

struct cni_port { /* hostPort */
	int container_port, host_port;
	const char *protocol; /* "TCP" */
	const char *host_ip;  /* "" any */
};
struct cni_pod {
	const char *id;       /* sandbox */
	const char *netns;    /* path */
	const char *ns, *name, *uid;
	const struct cni_port *ports;
	size_t ports_len;
};
/* Adds eth0 (and lo up); `ret_ip` (at least 64 bytes) is the pod's address. Repeating it for the same id gives the same answer. Blocks; pool threads. */
NODISCARD bool cni_add(struct cni *c, const struct cni_pod *pod, char *ret_ip, struct err *err);
/* Safe to repeat, also when netns is gone already. */
NODISCARD bool cni_del(struct cni *c, const struct cni_pod *pod, struct err *err);
/* Frees what belongs to no sandbox of `ids` (after a restart). */
NODISCARD bool cni_keep_only(struct cni *c, const char *const *ids, size_t n, struct err *err);
/* Removes bridge, tables and addresses: at `down`. */
void cni_destroy(struct cni *c);

/*
 * Our plugin as a program of its own by the CNI contract: environment and standard input as the specification says, result on standard output.
 * Returns the exit code. `coracle cni`, or called as "coracle-cni".
 */
int cni_plugin_main(void);

/* ---- overlay ---- */
struct overlay_opts {
	struct client *client;
	const char *node_name;
	const char *mode;      /* "auto" (routes on one link, VXLAN otherwise), "vxlan", "routes", "off" */
	int vxlan_port;        /* 0: 8472 */
	const char *vxlan_link; /* name of our link, e.g. "cor0.vx" */
	const char *state_dir;  /* that of cni_opts: remembers switches of links that are not ours; NULL: those stay as they are, and 127.0.0.1:nodePort
	                           reaches no pod behind them */
	/* The node's own range became known or changed; and again every 30 s, so that what somebody took away is made anew. On the overlay's thread; may block. */
	void (*on_range)(void *arg, struct str cidr);
	void *arg;
};
struct overlay;
NODISCARD bool overlay_start(const struct overlay_opts *opts, struct overlay **ret, struct err *err);
void overlay_stop(struct overlay *o, bool remove); /* remove: take routes and links away */

/* ---- Service proxy ---- */
struct proxy_opts {
	struct client *client;
	const char *node_name;
	const char *cluster_cidr;  /* pods: what comes from elsewhere to a ClusterIP is masqueraded */
	const char *table;         /* nftables table of this node, e.g. "coracle" */
	const char *nodeport_addresses; /* "" or NULL: every local address */
	const char *bridge;        /* our pod bridge, for hairpin and route_localnet */
};
struct proxy;
NODISCARD bool proxy_start(const struct proxy_opts *opts, struct proxy **ret, struct err *err);
bool proxy_synced(struct proxy *p);
void proxy_stop(struct proxy *p, bool remove); /* remove: delete the table; otherwise rules stay in force while we are away */

/*
 * For `down`, when nothing of the node runs: removes links, our routes, the nftables table, and puts back the sysctls that cni kept in its state folder.
 * What is missing already is fine.
 */
void network_remove(const char *bridge, const char *vxlan_link, const char *table, const char *cni_state_dir);

/* ---- cluster DNS ---- */
struct dns_opts {
	struct client *client;
	const char *bind_address;   /* where it listens, UDP and TCP; may be the cluster IP bound to a local link */
	int port;                   /* 53; -1: any free one (dns_port tells) */
	const char *domain;         /* "cluster.local" */
	const char *const *forward; /* upstream servers "ip:port", NULL-ended; NULL: names outside the cluster get REFUSED/NXDOMAIN at once */
};
struct dns;
NODISCARD bool dns_start(const struct dns_opts *opts, struct dns **ret, struct err *err);
int dns_port(const struct dns *d);
void dns_stop(struct dns *d);

#endif
