/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink.h - links, addresses, routes, neighbours and conntrack by rtnetlink and nfnetlink. Private to network/.
 *
 * A `struct nl` is one socket in one network namespace: every call on it acts there, whatever namespace the
 * calling thread is in. One thread at a time. Calls block for the kernel's answer; deleting a link may take 30 ms.
 * Addresses are IPv4 in network byte order.
 */
#ifndef NETWORK_NETLINK_H
#define NETWORK_NETLINK_H

#include <net/if.h>
#include <netinet/in.h>

#include "base/err.h"

struct nl {
	int fd;       /* -1: closed */
	uint32_t seq;
};
NODISCARD bool nl_open(struct nl *ret, struct err *err); /* rtnetlink, the caller's namespace */
/* In the namespace that `netns` (a path) names; a short-lived thread enters it, the caller stays where it is. ERR_NOT_FOUND: no such file. */
NODISCARD bool nl_open_in(const char *netns, struct nl *ret, struct err *err);
void nl_close(struct nl *nl);
#define auto_nl CLEANUP(nl_close)

struct nl_link {
	int index, master, mtu, peer_nsid;
	unsigned flags; /* IFF_UP, IFF_LOOPBACK, ... */
	char name[IFNAMSIZ];
	char kind[16];  /* "veth", "bridge", "vxlan", "" */
	uint8_t mac[6];
	uint32_t vxlan_id;
	uint16_t vxlan_port; /* host order */
};
/* ERR_NOT_FOUND when there is none. */
NODISCARD bool nl_link_get(struct nl *nl, const char *name, struct nl_link *ret, struct err *err);
NODISCARD bool nl_link_each(struct nl *nl, void (*each)(void *arg, const struct nl_link *l), void *arg, struct err *err);
NODISCARD bool nl_link_up(struct nl *nl, int index, struct err *err);
NODISCARD bool nl_link_del(struct nl *nl, int index, struct err *err);
NODISCARD bool nl_bridge_add(struct nl *nl, const char *name, const uint8_t mac[6], int mtu, struct err *err);
/* `host` here on bridge `master`, its peer `name` in namespace `netns_fd`. Neither is up yet. */
NODISCARD bool nl_veth_add(struct nl *nl, const char *host, int master, const char *name, int netns_fd, const uint8_t peer_mac[6], int mtu, struct err *err);
NODISCARD bool nl_port_up(struct nl *nl, int index, bool hairpin, struct err *err); /* a bridge's port */
struct nl_vxlan {
	const char *name;
	uint32_t id;
	uint16_t port;     /* host order */
	int link;          /* 0: any */
	struct in_addr local;
	uint8_t mac[6];
	int mtu;
};
NODISCARD bool nl_vxlan_add(struct nl *nl, const struct nl_vxlan *v, struct err *err);

struct nl_addr {
	int index;
	struct in_addr addr;
	int prefix, scope;
};
NODISCARD bool nl_addr_add(struct nl *nl, int index, struct in_addr addr, int prefix, struct err *err); /* there already: success */
NODISCARD bool nl_addr_del(struct nl *nl, int index, struct in_addr addr, int prefix, struct err *err);
NODISCARD bool nl_addr_each(struct nl *nl, void (*each)(void *arg, const struct nl_addr *a), void *arg, struct err *err);

struct nl_route {
	struct in_addr dst, via, src; /* 0: none */
	int prefix, index;            /* index 0: by via */
	uint8_t proto;                /* 0: boot */
	bool onlink, link_scope;
};
NODISCARD bool nl_route_replace(struct nl *nl, const struct nl_route *r, struct err *err);
NODISCARD bool nl_route_del(struct nl *nl, const struct nl_route *r, struct err *err); /* not there: success */
/* IPv4 routes of the main table. */
NODISCARD bool nl_route_each(struct nl *nl, void (*each)(void *arg, const struct nl_route *r), void *arg, struct err *err);

/* Permanent entries; replace. */
NODISCARD bool nl_neigh_set(struct nl *nl, int index, struct in_addr addr, const uint8_t mac[6], struct err *err);
NODISCARD bool nl_neigh_del(struct nl *nl, int index, struct in_addr addr, struct err *err);
NODISCARD bool nl_fdb_set(struct nl *nl, int index, const uint8_t mac[6], struct in_addr dst, struct err *err);
NODISCARD bool nl_fdb_del(struct nl *nl, int index, const uint8_t mac[6], struct in_addr dst, struct err *err);
struct nl_neigh {
	int index;
	bool fdb;
	struct in_addr addr;
	uint8_t mac[6];
};
NODISCARD bool nl_neigh_each(struct nl *nl, bool fdb, int index, void (*each)(void *arg, const struct nl_neigh *n), void *arg, struct err *err);

/* Whether table ip `name` is there; on any socket of nl_open_ct. */
NODISCARD bool nl_table_exists(struct nl *nl, const char *name, bool *ret, struct err *err);

/* ---- connection tracking: a socket of its own kind, nl_open_ct ---- */
struct nl_flow { /* ports in host order */
	uint8_t proto;
	struct in_addr src, dst, reply_src, reply_dst;
	uint16_t sport, dport, reply_sport, reply_dport;
};
NODISCARD bool nl_open_ct(struct nl *ret, struct err *err);
/* Deletes the IPv4 flows of `proto` for which `gone` says so; returns how many through `ret_n`. */
NODISCARD bool nl_ct_delete(struct nl *nl, uint8_t proto, bool (*gone)(void *arg, const struct nl_flow *f), void *arg, size_t *ret_n, struct err *err);

#endif
