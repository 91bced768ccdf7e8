/* SPDX-License-Identifier: Apache-2.0 */
/* services.c - see services.h. */
#include "network/services.h"

#include "network/ipam.h"

#include <arpa/inet.h>
#include <ctype.h>

enum { ENDPOINTS_MAX = 4096, AFFINITY_MARK = 0x43000000 };

void service_rules_release(struct service_rules *r) {
	VEC_RELEASE(&r->elements);
	VEC_RELEASE(&r->chains);
	VEC_RELEASE(&r->affinity_s);
}

bool service_is_proxied(const struct value *svc) {
	const struct value *spec = value_get(svc, N_spec);
	struct str ip = value_str_at(spec, N_clusterIP);
	return ip.len && !str_eq(ip, S("None")) && str_index(ip, ':') < 0 && !str_eq(value_str_at(spec, N_type), S("ExternalName")) &&
		!value_get_str(value_at(svc, N_metadata, N_labels), S("service.kubernetes.io/service-proxy-name"));
}

/* ---- endpoints of one port ---- */

struct endpoint {
	struct str address; /* "10.244.1.5 . 8080" */
	bool local, ready, serving_terminating;
};
typedef VEC(struct endpoint) endpoints;

static int by_address(const void *a, const void *b) {
	return str_cmp(((const struct endpoint *)a)->address, ((const struct endpoint *)b)->address);
}

/* One element that nft refuses would keep all Services out: what goes into a script is checked here, whoever checked it before. */
static bool is_ipv4(struct str s) {
	char text[INET_ADDRSTRLEN];
	struct in_addr a;
	if (s.len >= sizeof(text)) {
		return false;
	}
	snprintf(text, sizeof(text), "%.*s", STR_ARG(s));
	return inet_pton(AF_INET, text, &a) == 1;
}

static bool condition(const struct value *e, unsigned name, bool absent) {
	const struct value *c = value_at(e, N_conditions, name);
	return c ? value_as_bool(c) : absent;
}

static const struct value *slice_port(const struct value *slice, struct str name, struct str proto) {
	VALUE_EACH(value_get(slice, N_ports), p) {
		struct str pp = value_str_at(p, N_protocol);
		if (str_eq(value_str_at(p, N_name), name) && str_eq(pp.len ? pp : S("TCP"), proto)) {
			return p;
		}
	}
	return NULL;
}

static void endpoints_collect(struct arena *a, const struct value *const *slices, size_t n, struct str port_name, struct str proto, const char *node,
	endpoints *out) {
	for (size_t i = 0; i < n; i++) {
		const struct value *p = slice_port(slices[i], port_name, proto);
		int64_t number = value_int_at(p, N_port);
		if (number < 1 || number > 65535 || !str_eq(value_str_at(slices[i], N_addressType), S("IPv4"))) {
			continue;
		}
		VALUE_EACH(value_get(slices[i], N_endpoints), e) {
			struct str ip = value_as_str(value_item(value_get(e, N_addresses), 0));
			if (!is_ipv4(ip) || out->len >= ENDPOINTS_MAX) {
				continue;
			}
			bool ready = condition(e, N_ready, true), terminating = condition(e, N_terminating, false);
			struct endpoint ep = {
				.address = arena_printf(a, "%.*s . %d", STR_ARG(ip), (int)number),
				.local = str_eqc(value_str_at(e, N_nodeName), node),
				.ready = ready,
				.serving_terminating = terminating && condition(e, N_serving, ready),
			};
			VEC_PUSH(out, ep);
		}
	}
	/* One order whatever order the slices come in, and each address once, ready before not ready. */
	VEC_SORT(out, by_address);
	size_t kept = 0;
	for (size_t i = 0; i < out->len; i++) {
		struct endpoint *last = kept ? &out->at[kept - 1] : NULL;
		if (last && str_eq(last->address, out->at[i].address)) {
			last->ready |= out->at[i].ready;
			last->serving_terminating |= out->at[i].serving_terminating;
			last->local |= out->at[i].local;
		} else {
			out->at[kept++] = out->at[i];
		}
	}
	out->len = kept;
}

/* The ready ones; when there is none, those that end but still serve. */
static void endpoints_choose(const endpoints *all, bool local_only, endpoints *out) {
	for (int pass = 0; pass < 2 && out->len == 0; pass++) {
		for (size_t i = 0; i < all->len; i++) {
			const struct endpoint *e = &all->at[i];
			if ((!local_only || e->local) && (pass == 0 ? e->ready : e->serving_terminating)) {
				VEC_PUSH(out, *e);
			}
		}
	}
}

/* ---- frontends ---- */

struct maker {
	struct arena *a;
	struct service_rules *out;
	const char *node;
	struct str key;      /* "ns/name" */
	int affinity_s;      /* 0: none */
};

static void element(struct maker *m, const char *map, struct str key, struct str data) {
	struct element e = { map, key, data };
	VEC_PUSH(&m->out->elements, e);
}

static void chain_need(struct maker *m, struct str name) {
	VEC_EACH(&m->out->chains, c) {
		if (str_eq(*c, name)) {
			return;
		}
	}
	VEC_PUSH(&m->out->chains, name);
}

/* The same in every process, so that a client stays where it was after a restart. */
static uint32_t affinity_id(struct str svc, struct str proto, int port) {
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < svc.len; i++) {
		h = (h ^ (uint8_t)svc.ptr[i]) * 16777619u;
	}
	h = (h ^ (uint8_t)proto.ptr[0]) * 16777619u;
	h = (h ^ (uint32_t)port) * 16777619u;
	return AFFINITY_MARK | ((h ^ h >> 24) & 0xffffff);
}

static const struct frontend_kind {
	const char *entry, *endpoints, *chain, *reject, *affinity;
} kinds[2][2] = {
	/* address: all, from outside */
	{ { "svc", "ep_c", "c", "rej_svc", "aff_svc" }, { "svc_x", "ep_x", "x", NULL, "aff_svc" } },
	/* node port */
	{ { "np", "ep_n", "n", "rej_np", "aff_np" }, { "np_x", "ep_nx", "nx", NULL, "aff_np" } },
};

/* `local`: only this node's endpoints may be used, and without one the traffic is dropped rather than rejected. */
static void frontend(struct maker *m, const struct frontend_kind *k, struct str key, const endpoints *eps, bool local, uint32_t affinity) {
	if (eps->len == 0) {
		if (local || !k->reject) {
			element(m, k->entry, key, S("drop"));
		} else {
			element(m, k->reject, key, S("goto reject_it"));
		}
		return;
	}
	const char *tail = m->affinity_s ? "a" : "";
	struct str plain = arena_printf(m->a, "%s%zu", k->chain, eps->len);
	struct str chain = arena_printf(m->a, "%s%zu%s", k->chain, eps->len, tail);
	chain_need(m, plain);
	if (m->affinity_s) {
		chain_need(m, chain);
		element(m, k->affinity, key, arena_printf(m->a, "0x%08x", affinity));
	}
	element(m, k->entry, key, arena_printf(m->a, "goto %.*s", STR_ARG(chain)));
	for (size_t i = 0; i < eps->len; i++) {
		element(m, k->endpoints, arena_printf(m->a, "%.*s . %zu", STR_ARG(key), i), eps->at[i].address);
	}
}

static bool is_local(const struct value *spec, unsigned name) {
	return str_eq(value_str_at(spec, name), S("Local"));
}

/* An address by which the world outside comes: externalIPs, the load balancer's. */
static void outside(struct maker *m, struct str ip, struct str proto, int port, const endpoints *all, const endpoints *local, bool policy_local,
	uint32_t affinity) {
	struct str key = arena_printf(m->a, "%.*s . %.*s . %d", STR_ARG(proto), STR_ARG(ip), port);
	frontend(m, &kinds[0][0], key, all, false, affinity);
	if (policy_local) {
		frontend(m, &kinds[0][1], key, local, true, affinity);
	}
	element(m, "ext_ips", arena_str(m->a, ip), policy_local ? S("return") : S("goto masq"));
}

/* loadBalancerSourceRanges: only from there. */
static void source_ranges(struct maker *m, const struct value *spec, struct str key) {
	VEC(struct ip_range) ranges = { 0 };
	const struct value *given = value_get(spec, N_loadBalancerSourceRanges);
	VALUE_EACH(given, g) {
		struct ip_range r;
		struct err err = { 0 };
		if (ip_range_parse(str_trim(value_as_str(g)), &r, &err)) {
			VEC_PUSH(&ranges, r);
		}
	}
	if (value_len(given)) {
		element(m, "lb_closed", key, S(""));
	}
	for (size_t i = 0; i < ranges.len; i++) {
		bool inside = false; /* another one, or the same once more: an interval set takes no overlaps */
		for (size_t j = 0; j < ranges.len; j++) {
			inside |= i != j && ip_range_has(&ranges.at[j], ip_range_nth(&ranges.at[i], 0)) &&
				(ranges.at[j].prefix < ranges.at[i].prefix || (ranges.at[j].prefix == ranges.at[i].prefix && j < i));
		}
		if (!inside) {
			char text[IP_TEXT_MAX];
			element(m, "lb_from", arena_printf(m->a, "%.*s . %s/%d", STR_ARG(key), ip_text(ip_range_nth(&ranges.at[i], 0), text), ranges.at[i].prefix), S(""));
		}
	}
	VEC_RELEASE(&ranges);
}

static void port_rules(struct maker *m, const struct value *svc, const struct value *p, const struct value *const *slices, size_t n) {
	const struct value *spec = value_get(svc, N_spec);
	struct str given = value_str_at(p, N_protocol), proto_up = given.len ? given : S("TCP");
	struct str proto = str_eq(proto_up, S("UDP")) ? S("udp") : str_eq(proto_up, S("SCTP")) ? S("sctp") : S("tcp");
	int port = (int)value_int_at(p, N_port), node_port = (int)value_int_at(p, N_nodePort);
	bool itp_local = is_local(spec, N_internalTrafficPolicy), etp_local = is_local(spec, N_externalTrafficPolicy);
	struct str ip = value_str_at(spec, N_clusterIP);
	endpoints found = { 0 }, all = { 0 }, local = { 0 };
	uint32_t affinity = affinity_id(m->key, proto, port);

	if (!is_ipv4(ip) || port < 1 || port > 65535) {
		return;
	}
	endpoints_collect(m->a, slices, n, value_str_at(p, N_name), proto_up, m->node, &found);
	endpoints_choose(&found, false, &all);
	endpoints_choose(&found, true, &local);
	m->out->local_endpoints = MAX(m->out->local_endpoints, (int)local.len);

	struct str key = arena_printf(m->a, "%.*s . %.*s . %d", STR_ARG(proto), STR_ARG(ip), port);
	frontend(m, &kinds[0][0], key, itp_local ? &local : &all, itp_local && all.len > 0, affinity);
	element(m, "cluster_ips", arena_str(m->a, ip), S(""));
	VALUE_EACH(value_get(spec, N_externalIPs), e) {
		if (is_ipv4(value_as_str(e))) {
			outside(m, value_as_str(e), proto, port, &all, &local, etp_local, affinity);
		}
	}
	VALUE_EACH(value_at(svc, N_status, N_loadBalancer, N_ingress), e) {
		if (is_ipv4(value_str_at(e, N_ip)) && !str_eq(value_str_at(e, N_ipMode), S("Proxy"))) {
			outside(m, value_str_at(e, N_ip), proto, port, &all, &local, etp_local, affinity);
			source_ranges(m, spec, arena_printf(m->a, "%.*s . %.*s . %d", STR_ARG(proto), STR_ARG(value_str_at(e, N_ip)), port));
		}
	}
	if (node_port > 0 && node_port <= 65535) {
		struct str np = arena_printf(m->a, "%.*s . %d", STR_ARG(proto), node_port);
		frontend(m, &kinds[1][0], np, &all, false, affinity);
		if (etp_local) {
			frontend(m, &kinds[1][1], np, &local, true, affinity);
		} else {
			const char *set = proto.ptr[0] == 't' ? "np_tcp" : proto.ptr[0] == 'u' ? "np_udp" : "np_sctp";
			element(m, set, arena_printf(m->a, "%d", node_port), S(""));
		}
	}
	if (m->affinity_s) {
		element(m, "aff_rec", arena_printf(m->a, "0x%08x", affinity), arena_printf(m->a, "jump aff_%d", m->affinity_s));
	}
	for (size_t i = 0; i < all.len; i++) {
		struct str at, rest;
		(void)str_cut(all.at[i].address, ' ', &at, &rest);
		element(m, "hairpin", arena_printf(m->a, "%.*s . %.*s", STR_ARG(at), STR_ARG(at)), S(""));
	}
	VEC_RELEASE(&found);
	VEC_RELEASE(&all);
	VEC_RELEASE(&local);
}

void service_rules_make(struct arena *a, const struct value *svc, const struct value *const *slices, size_t slices_len, const char *node_name,
	struct service_rules *ret) {
	const struct value *spec = value_get(svc, N_spec);
	struct maker m = { .a = a, .out = ret, .node = node_name,
		.key = arena_printf(a, "%.*s/%.*s", STR_ARG(value_str_at(svc, N_metadata, N_namespace)), STR_ARG(value_str_at(svc, N_metadata, N_name))) };
	if (!service_is_proxied(svc)) {
		return;
	}
	if (str_eq(value_str_at(spec, N_sessionAffinity), S("ClientIP"))) {
		m.affinity_s = (int)value_as_int_or(value_at(spec, N_sessionAffinityConfig, N_clientIP, N_timeoutSeconds), 10800);
		m.affinity_s = m.affinity_s < 1 ? 1 : MIN(m.affinity_s, 86400);
		VEC_PUSH(&ret->affinity_s, m.affinity_s);
	}
	if (str_eq(value_str_at(spec, N_type), S("LoadBalancer")) && is_local(spec, N_externalTrafficPolicy)) {
		int64_t port = value_int_at(spec, N_healthCheckNodePort);
		ret->health_port = port > 0 && port <= 65535 ? (int)port : 0;
	}
	VALUE_EACH(value_get(spec, N_ports), p) {
		port_rules(&m, svc, p, slices, slices_len);
	}
}

/* ---- text ---- */

#define FRONTEND "inet_proto . ipv4_addr . inet_service"
/*
 * A number has no type name, so these are declared by example. nft 1.0 can list and fill such a map of the kernel's but not use it in a new rule
 * ("conflicting protocols"; with "tcp dport" as the example it adds a match for TCP): the chains come with the table, in one script.
 */
#define EP_IP "typeof meta l4proto . ip daddr . th dport . numgen random mod 4096 : ip daddr . th dport"
#define EP_PORT "typeof meta l4proto . th dport . numgen random mod 4096 : ip daddr . th dport"

bool services_chain_with_table(struct str chain) {
	return !str_ends(chain, S("a")) && !str_starts(chain, S("aff_"));
}

void services_table_text(const struct services_table *t, struct buf *out) {
	bool cidr = t->cluster_cidr && *t->cluster_cidr;
	bool some = t->nodeport_addresses && *t->nodeport_addresses;
	/* Which traffic looks at node ports. */
	auto_free char *node = some ? xasprintf("fib daddr type local ip daddr { %s }", t->nodeport_addresses) : xstrdup("fib daddr type local");
	auto_free char *from_outside = cidr ? xasprintf("ip saddr != %s ", t->cluster_cidr) : xstrdup("");

	buf_printf(out,
		"table ip %s {\n"
		"\tmap svc { type " FRONTEND " : verdict; }\n"
		"\tmap svc_x { type " FRONTEND " : verdict; }\n"
		"\tmap rej_svc { type " FRONTEND " : verdict; }\n"
		"\tmap np { type inet_proto . inet_service : verdict; }\n"
		"\tmap np_x { type inet_proto . inet_service : verdict; }\n"
		"\tmap rej_np { type inet_proto . inet_service : verdict; }\n"
		"\tmap ep_c { " EP_IP "; }\n"
		"\tmap ep_x { " EP_IP "; }\n"
		"\tmap ep_n { " EP_PORT "; }\n"
		"\tmap ep_nx { " EP_PORT "; }\n"
		"\tmap aff_svc { type " FRONTEND " : mark; }\n"
		"\tmap aff_np { type inet_proto . inet_service : mark; }\n"
		"\tmap aff_rec { type mark : verdict; }\n"
		"\tmap aff { type ipv4_addr . mark : ipv4_addr . inet_service; size 262144; flags dynamic,timeout; timeout 3h; }\n"
		"\tmap ext_ips { type ipv4_addr : verdict; }\n"
		"\tset cluster_ips { type ipv4_addr; }\n"
		"\tset hairpin { type ipv4_addr . ipv4_addr; }\n"
		"\tset lb_closed { type " FRONTEND "; }\n"
		"\tset lb_from { type " FRONTEND " . ipv4_addr; flags interval; }\n"
		"\tset np_tcp { type inet_service; }\n"
		"\tset np_udp { type inet_service; }\n"
		"\tset np_sctp { type inet_service; }\n",
		t->table);
	buf_printf(out,
		"\tchain reject_it {\n\t\tmeta l4proto tcp reject with tcp reset\n\t\treject with icmp port-unreachable\n\t}\n"
		"\tchain masq { masquerade fully-random; }\n"
		"\tchain frontends {\n\t\tmeta l4proto . ip daddr . th dport vmap @svc\n\t\t%s meta l4proto . th dport vmap @np\n\t}\n"
		"\tchain from_outside {\n\t\tmeta l4proto . ip daddr . th dport vmap @svc_x\n\t\t%s meta l4proto . th dport vmap @np_x\n\t}\n"
		"\tchain no_endpoints {\n\t\tmeta l4proto . ip daddr . th dport vmap @rej_svc\n\t\t%s meta l4proto . th dport vmap @rej_np\n\t}\n",
		node, node, node);
	buf_printf(out,
		"\tchain prerouting {\n\t\ttype nat hook prerouting priority dstnat;\n"
		"\t\t%sfib saddr type != local jump from_outside\n\t\tjump frontends\n\t}\n"
		"\tchain output { type nat hook output priority -100; jump frontends; }\n",
		from_outside);
	/* Service without endpoints: before the address is looked at any further. From outside, a Local frontend comes first: it drops. */
	buf_printf(out,
		"\tchain reject_pre {\n\t\ttype filter hook prerouting priority -110;\n"
		"\t\tct state new meta l4proto . ip daddr . th dport @lb_closed meta l4proto . ip daddr . th dport . ip saddr != @lb_from drop\n"
		"\t\tct state new jump no_endpoints\n\t}\n"
		"\tchain reject_out { type filter hook output priority -110; ct state new jump no_endpoints; }\n"
		"\tchain aff_pre { type filter hook prerouting priority -90; ct state new ct status dnat meta mark vmap @aff_rec; }\n"
		"\tchain aff_out { type filter hook output priority -90; ct state new ct status dnat meta mark vmap @aff_rec; }\n");
	/* What is still for a cluster address after translation is for a port that no Service has: it must not leave by the default route. */
	buf_printf(out,
		"\tchain unused_fwd { type filter hook forward priority filter; ip daddr @cluster_ips jump reject_it; }\n"
		"\tchain unused_out { type filter hook output priority filter; ip daddr @cluster_ips jump reject_it; }\n");
	if (t->bridge && *t->bridge) {
		buf_printf(out, "\tchain guard { type filter hook prerouting priority raw; iifname \"%s\" ip daddr 127.0.0.0/8 drop; }\n", t->bridge);
	}
	buf_printf(out,
		"\tchain postrouting { type nat hook postrouting priority srcnat; ct status dnat jump source; }\n"
		"\tchain source {\n"
		"\t\toifname \"lo\" return\n"
		"\t\tip saddr . ip daddr @hairpin goto masq\n"
		"\t\tip saddr 127.0.0.0/8 goto masq\n");
	if (cidr) {
		buf_printf(out, "\t\tip saddr != %s ct original ip daddr @cluster_ips goto masq\n", t->cluster_cidr);
	}
	buf_printf(out,
		"\t\tct original ip daddr @cluster_ips return\n"
		"\t\tct original ip daddr vmap @ext_ips\n"
		"\t\tmeta l4proto tcp ct original proto-dst @np_tcp goto masq\n"
		"\t\tmeta l4proto udp ct original proto-dst @np_udp goto masq\n"
		"\t\tmeta l4proto sctp ct original proto-dst @np_sctp goto masq\n"
		"\t}\n}\n");
}

void services_chain_text(const char *table, struct str chain, struct buf *out) {
	size_t digits = 0;
	while (digits < chain.len && !isdigit((unsigned char)chain.ptr[digits])) {
		digits++;
	}
	struct str kind = str_sub(chain, 0, digits), count = str_from(chain, digits);
	bool affinity = str_ends(count, S("a")), port = kind.ptr[0] == 'n';
	const char *front = port ? "meta l4proto . th dport" : "meta l4proto . ip daddr . th dport";
	count.len -= affinity;
	buf_printf(out, "add chain ip %s %.*s\nflush chain ip %s %.*s\n", table, STR_ARG(chain), table, STR_ARG(chain));
	if (affinity) {
		buf_printf(out,
			"add rule ip %s %.*s meta mark set %s map @%s\n"
			"add rule ip %s %.*s meta l4proto { tcp, udp, sctp } dnat ip to ip saddr . meta mark map @aff\n"
			"add rule ip %s %.*s goto %.*s%.*s\n",
			table, STR_ARG(chain), front, port ? "aff_np" : "aff_svc", table, STR_ARG(chain), table, STR_ARG(chain), STR_ARG(kind), STR_ARG(count));
	} else {
		buf_printf(out, "add rule ip %s %.*s dnat ip to %s . numgen random mod %.*s map @ep_%.*s\n", table, STR_ARG(chain), front, STR_ARG(count),
			STR_ARG(kind));
	}
}

void services_affinity_text(const char *table, int seconds, struct buf *out) {
	/* The mark has done its work: routing and the next rooms must not see it. */
	buf_printf(out,
		"add chain ip %s aff_%d\nflush chain ip %s aff_%d\n"
		"add rule ip %s aff_%d update @aff { ip saddr . meta mark timeout %ds : ip daddr . th dport }\n"
		"add rule ip %s aff_%d meta mark set 0\n",
		table, seconds, table, seconds, table, seconds, seconds, table, seconds);
}

void services_element_text(const char *table, const char *verb, const char *map, struct str key, struct str data, struct buf *out) {
	if (data.len) {
		buf_printf(out, "%s element ip %s %s { %.*s : %.*s }\n", verb, table, map, STR_ARG(key), STR_ARG(data));
	} else {
		buf_printf(out, "%s element ip %s %s { %.*s }\n", verb, table, map, STR_ARG(key));
	}
}
