/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_link.h - one pod's interface: address, veth pair, routes, host ports. What cni.c in the daemon and
 * cni_plugin.c as a program share; all state is in files and in the kernel. Private to network/. Blocks.
 *
 * A pod has a /32 address and a default route by the bridge: all its traffic passes the node's IP layer, so
 * Services and policies see it also between pods of one node, without bridge netfilter.
 *
 * State folder: addresses/<ip> (ipam.h), pods/<key> (a record: address, veth, ports), sysctl/ (sysctl.h).
 */
#ifndef NETWORK_POD_LINK_H
#define NETWORK_POD_LINK_H

#include "network/ipam.h"
#include "network/netlink.h"
#include "network/network.h"

struct pod_net { /* what is the same for all pods of a node */
	const char *state_dir, *bridge;
	const char *cluster_cidr; /* NULL: pods are not masqueraded */
	struct ip_range range;
	int mtu;                  /* not 0 */
};
struct pod_link {
	struct in_addr address;
	char veth[IFNAMSIZ];
	uint8_t mac[6];
	const struct cni_port *ports;
	size_t ports_len;
};

/* MTU of the default route's link less 50; 1450 without one. */
int pod_net_mtu(struct nl *nl);
/* "cni_<bridge>" */
void pod_net_table(const char *bridge, char out[64]);
/* Bridge with the range's first address, sysctls, nftables table with the ports of all records. Repeatable. */
NODISCARD bool pod_net_make(const struct pod_net *n, struct err *err);

/* Whether bridge, address and table are still as pod_net_make() left them. */
bool pod_net_intact(const struct pod_net *n);

/* Sandbox and interface names as the CNI specification allows them; ERR_INVALID. `ret` (256 bytes): the key of its record. */
NODISCARD bool pod_key(const char *id, const char *ifname, char ret[256], struct err *err);
/* Repeatable. `ret`'s ports are in `a`. */
NODISCARD bool pod_link_add(const struct pod_net *n, const char *key, const char *netns, const char *ifname, const struct cni_port *ports, size_t ports_len,
	struct arena *a, struct pod_link *ret, struct err *err);
NODISCARD bool pod_link_del(const char *state_dir, const char *bridge, const char *key, struct err *err);
/* The record; ERR_NOT_FOUND. */
NODISCARD bool pod_link_read(const char *state_dir, const char *key, struct arena *a, struct pod_link *ret, struct err *err);
/* Deletes all pods whose key `keep` refuses, and addresses without a record that it refuses. */
NODISCARD bool pod_link_keep_only(const char *state_dir, const char *bridge, bool (*keep)(void *arg, struct str key), void *arg, struct err *err);

/* nftables text, for tests: the table without elements; one pod's port elements ("add" or "delete" each). */
void pod_net_rules(const struct pod_net *n, struct buf *out);
void pod_port_elements(const char *table, const char *verb, const struct pod_link *l, struct buf *out);

#endif
