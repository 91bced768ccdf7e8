/* SPDX-License-Identifier: Apache-2.0 */
/*
 * services.h - what one Service means in nftables: a list of map elements. Pure: objects in, text out. And the text of the
 * table they go into. Private to network/.
 *
 * Frontends are looked up by "protocol . address . port" (svc, svc_x) or, for node ports, "protocol . port" (np, np_x); the answer is a jump
 * to a chain for so many endpoints, which takes one at random out of ep_c, ep_x, ep_n or ep_nx by the frontend and a number. The _x maps hold what
 * only traffic from outside the cluster sees: externalTrafficPolicy Local.
 *
 * Source: Kubernetes "Virtual IPs and Service Proxies"; EndpointSlice conditions.
 */
#ifndef NETWORK_SERVICES_H
#define NETWORK_SERVICES_H

#include "base/vec.h"
#include "value/value.h"

struct element { /* texts in the arena */
	const char *map; /* static */
	struct str key, data; /* data is empty for sets */
};
struct service_rules {
	VEC(struct element) elements;
	/* Chains that must be there: "c3", "x1", "c3a"; each once. */
	VEC(struct str) chains;
	VEC(int) affinity_s; /* timeouts in use */
	int health_port;     /* healthCheckNodePort; 0: none */
	int local_endpoints; /* of the port that has most of them here */
};
void service_rules_release(struct service_rules *r);

/* Whether the proxy has to do with it: no ExternalName, not headless, not of another proxy. */
bool service_is_proxied(const struct value *svc);
/* `slices`: its EndpointSlices. Everything is allocated in `a`, but for the lists. */
void service_rules_make(struct arena *a, const struct value *svc, const struct value *const *slices, size_t slices_len, const char *node_name,
	struct service_rules *ret);

struct services_table {
	const char *table;        /* name */
	const char *cluster_cidr; /* "" or NULL: unknown, nothing is masqueraded for it */
	const char *nodeport_addresses; /* "" or NULL: every local address; else a list "a, b/16" */
	const char *bridge;       /* may be NULL */
};
/* Maps, sets and the fixed chains, empty. */
void services_table_text(const struct services_table *t, struct buf *out);
/* A chain that some frontend jumps to: "c3". Those that are true here can only be made in the script that makes the table. */
bool services_chain_with_table(struct str chain);
void services_chain_text(const char *table, struct str chain, struct buf *out);
void services_affinity_text(const char *table, int seconds, struct buf *out);
/* "add element ip T map { key : data }", or delete. */
void services_element_text(const char *table, const char *verb, const char *map, struct str key, struct str data, struct buf *out);

#endif
