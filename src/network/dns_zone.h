/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns_zone.h - what the cluster's names mean: a question in, records out, no I/O. Private to network/.
 * Source: Kubernetes DNS-Based Service Discovery 1.1.0.
 */
#ifndef NETWORK_DNS_ZONE_H
#define NETWORK_DNS_ZONE_H

#include "client/client.h"
#include "net/dns.h"

enum { DNS_TTL = 5 };

/* Where Services and slices come from: the informers, or a test's table. Counted references come back. */
struct dns_source {
	struct obj *(*service)(void *arg, struct str ns, struct str name);
	void (*slices)(void *arg, struct str ns, struct str name, struct client_list *ret);
	bool (*has_namespace)(void *arg, struct str ns);
	/* Names (without the zone, "db-0.db.prod.svc") that an address stands for: a ClusterIP, or endpoints of headless Services. */
	size_t (*reverse)(void *arg, struct arena *a, const char *address, struct str *ret, size_t max);
	void *arg;
};
struct dns_zone {
	struct str domain; /* "cluster.local." in lower case, with the final dot */
	const struct dns_source *source;
	uint32_t serial;
};

enum dns_outcome {
	DNS_ANSWERED, /* rcode and records are complete */
	DNS_OUTSIDE,  /* not a name of the cluster: for upstream servers */
	DNS_CHASE,    /* answers end with a CNAME to a name outside; `ret_target` */
};
/* Fills rcode, answers, authority, additional and the authoritative bit of `m`, whose question is set. All in `a`. */
enum dns_outcome dns_zone_answer(const struct dns_zone *z, struct arena *a, struct dns_message *m, struct str *ret_target);
/* The negative answer's SOA. */
void dns_zone_negative(const struct dns_zone *z, struct arena *a, struct dns_message *m, int rcode);

/* An endpoint's name below its Service: its hostname, or its address with dashes. */
struct str dns_endpoint_name(struct arena *a, const struct value *endpoint);
bool dns_endpoint_ready(const struct value *endpoint);
bool dns_service_headless(const struct value *svc);

#endif
