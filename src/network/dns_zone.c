/* SPDX-License-Identifier: Apache-2.0 */
/* dns_zone.c - see dns_zone.h. */
#include "network/dns_zone.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "base/clock.h"
#include "base/vec.h"

enum { LABELS_MAX = 8, RECORDS_MAX = 1000, CHAIN_MAX = 8 };

typedef VEC(struct dns_record) records;

struct lookup {
	const struct dns_zone *z;
	struct arena *a;
	struct dns_message *m;
	records answers, additional;
	bool exists; /* the name is there, whatever the type: NODATA rather than NXDOMAIN */
};

static struct str lower(struct arena *a, struct str s) {
	char *out = arena_cstr(a, s);
	for (size_t i = 0; i < s.len; i++) {
		out[i] = (char)(out[i] >= 'A' && out[i] <= 'Z' ? out[i] + 32 : out[i]);
	}
	return (struct str){ out, s.len };
}

/* ---- records ---- */

static struct dns_record record(struct str name, uint16_t type) {
	return (struct dns_record){ .name = name, .type = type, .klass = DNS_IN, .ttl = DNS_TTL };
}

static bool address_add(struct lookup *l, records *to, struct str name, struct str ip) {
	char text[64];
	struct dns_record r = record(name, DNS_A);
	if (ip.len >= sizeof(text) || to->len >= RECORDS_MAX) {
		return false;
	}
	snprintf(text, sizeof(text), "%.*s", STR_ARG(ip));
	if (inet_pton(AF_INET6, text, r.address) == 1) {
		r.type = DNS_AAAA;
	} else if (inet_pton(AF_INET, text, r.address) != 1) {
		return false;
	}
	VEC_PUSH(to, r);
	return true;
}

/* Only of the type that was asked for. */
static void address_answer(struct lookup *l, struct str name, struct str ip) {
	uint16_t want = l->m->question.type;
	bool six = str_index(ip, ':') >= 0;
	l->exists = true;
	if (want == DNS_ANY || want == (six ? DNS_AAAA : DNS_A)) {
		address_add(l, &l->answers, name, ip);
	}
}

static void srv_answer(struct lookup *l, struct str name, struct str target, int port, struct str ip) {
	struct dns_record r = record(name, DNS_SRV);
	l->exists = true;
	if ((l->m->question.type != DNS_SRV && l->m->question.type != DNS_ANY) || l->answers.len >= RECORDS_MAX) {
		return;
	}
	r.priority = 0;
	r.weight = 100;
	r.port = (uint16_t)port;
	r.target = target;
	VEC_PUSH(&l->answers, r);
	VEC_EACH(&l->additional, has) {
		if (str_eq(has->name, target)) {
			return;
		}
	}
	address_add(l, &l->additional, target, ip);
}

static void soa_fill(const struct dns_zone *z, struct arena *a, struct dns_record *r) {
	*r = record(z->domain, DNS_SOA);
	r->target = arena_printf(a, "ns.dns.%.*s", STR_ARG(z->domain));
	r->mailbox = arena_printf(a, "hostmaster.%.*s", STR_ARG(z->domain));
	r->serial = z->serial;
	r->refresh = 7200;
	r->retry = 1800;
	r->expire = 86400;
	r->minimum = DNS_TTL;
}

void dns_zone_negative(const struct dns_zone *z, struct arena *a, struct dns_message *m, int rcode) {
	m->rcode = rcode;
	m->authority = arena_new(a, struct dns_record);
	m->authority_len = 1;
	soa_fill(z, a, m->authority);
}

/* ---- endpoints ---- */

bool dns_endpoint_ready(const struct value *endpoint) {
	const struct value *ready = value_at(endpoint, N_conditions, N_ready);
	return !ready || value_as_bool(ready);
}

bool dns_service_headless(const struct value *svc) {
	return str_eq(value_str_at(svc, N_spec, N_clusterIP), S("None"));
}

struct str dns_endpoint_name(struct arena *a, const struct value *endpoint) {
	struct str host = value_str_at(endpoint, N_hostname);
	if (host.len) {
		return host;
	}
	struct str ip = value_as_str(value_item(value_get(endpoint, N_addresses), 0));
	char *out = arena_cstr(a, ip);
	for (size_t i = 0; i < ip.len; i++) {
		out[i] = out[i] == '.' || out[i] == ':' ? '-' : out[i];
	}
	return (struct str){ out, ip.len };
}

/* Calls each(endpoint, slice) for the ready ones. */
typedef void (*endpoint_fn)(struct lookup *l, const struct value *endpoint, const struct value *slice, void *arg);

static void endpoints_each(struct lookup *l, struct str ns, struct str name, endpoint_fn each, void *arg) {
	struct client_list slices = { 0 };
	l->z->source->slices(l->z->source->arg, ns, name, &slices);
	for (size_t i = 0; i < slices.len; i++) {
		/* The list's objects live only for this call: what is kept of them is copied into the arena by `each`. */
		VALUE_EACH(value_get(slices.at[i]->root, N_endpoints), e) {
			if (dns_endpoint_ready(e)) {
				each(l, e, slices.at[i]->root, arg);
			}
		}
	}
	client_list_release(&slices);
}

struct endpoint_ask {
	struct str name;            /* of the answers */
	struct str host;            /* only the endpoint of this name; empty: all */
	struct str port, proto;     /* SRV */
	struct str service;         /* "svc.ns.svc.cluster.local." */
	bool srv;
};

static void endpoint_address(struct lookup *l, const struct value *e, const struct value *slice, void *arg) {
	struct endpoint_ask *ask = arg;
	if (ask->host.len && !str_case_eq(dns_endpoint_name(l->a, e), ask->host)) {
		return;
	}
	VALUE_EACH(value_get(e, N_addresses), ip) {
		address_answer(l, ask->name, value_as_str(ip));
	}
}

static bool port_matches(const struct value *p, struct str port, struct str proto) {
	struct str pp = value_str_at(p, N_protocol);
	return (!port.len || str_case_eq(value_str_at(p, N_name), port)) && (!proto.len || str_case_eq(pp.len ? pp : S("TCP"), proto));
}

static void endpoint_srv(struct lookup *l, const struct value *e, const struct value *slice, void *arg) {
	struct endpoint_ask *ask = arg;
	VALUE_EACH(value_get(slice, N_ports), p) {
		if (port_matches(p, ask->port, ask->proto)) {
			struct str target = arena_printf(l->a, "%.*s.%.*s", STR_ARG(dns_endpoint_name(l->a, e)), STR_ARG(ask->service));
			srv_answer(l, ask->name, target, (int)value_int_at(p, N_port), value_as_str(value_item(value_get(e, N_addresses), 0)));
		}
	}
}

/* ---- Services ---- */

static void service_srv(struct lookup *l, const struct value *svc, struct endpoint_ask *ask, struct str ns, struct str name) {
	if (dns_service_headless(svc)) {
		endpoints_each(l, ns, name, endpoint_srv, ask);
		return;
	}
	VALUE_EACH(value_at(svc, N_spec, N_ports), p) {
		if (port_matches(p, ask->port, ask->proto)) {
			srv_answer(l, ask->name, ask->service, (int)value_int_at(p, N_port), value_str_at(svc, N_spec, N_clusterIP));
		}
	}
}

static void cluster_addresses(struct lookup *l, const struct value *svc, struct str name) {
	const struct value *ips = value_at(svc, N_spec, N_clusterIPs);
	if (value_len(ips) == 0) {
		address_answer(l, name, value_str_at(svc, N_spec, N_clusterIP));
	}
	VALUE_EACH(ips, ip) {
		address_answer(l, name, value_as_str(ip));
	}
}

/* `labels` are those in front of "svc", outermost last: [_http, _tcp, web, default]. Returns the CNAME's target, or nothing. */
static struct str service_lookup(struct lookup *l, struct str name, const struct str *labels, size_t n) {
	struct str none = { 0 };
	if (n == 0) {
		l->exists = true;
		return none;
	}
	struct str ns = labels[n - 1];
	if (n == 1) {
		l->exists = l->z->source->has_namespace(l->z->source->arg, ns);
		return none;
	}
	struct str svc_name = labels[n - 2];
	auto_obj struct obj *svc = l->z->source->service(l->z->source->arg, ns, svc_name);
	if (!svc) {
		return none;
	}
	struct str type = value_str_at(svc->root, N_spec, N_type);
	struct endpoint_ask ask = { .name = name, .service = arena_printf(l->a, "%.*s.%.*s.svc.%.*s", STR_ARG(svc_name), STR_ARG(ns), STR_ARG(l->z->domain)) };
	if (str_eq(type, S("ExternalName"))) {
		if (n > 2) {
			return none;
		}
		l->exists = true;
		struct str target = value_str_at(svc->root, N_spec, N_externalName);
		return target.len ? arena_printf(l->a, "%.*s%s", STR_ARG(target), target.ptr[target.len - 1] == '.' ? "" : ".") : none;
	}
	if (n == 2) {
		if (dns_service_headless(svc->root)) {
			endpoints_each(l, ns, svc_name, endpoint_address, &ask);
		} else {
			cluster_addresses(l, svc->root, name);
		}
		if (l->m->question.type == DNS_SRV) {
			service_srv(l, svc->root, &ask, ns, svc_name);
		}
	} else if (n == 3) {
		ask.host = labels[0];
		if (labels[0].ptr[0] == '_') { /* "_tcp.web": something is below it, but not here */
			VALUE_EACH(value_at(svc->root, N_spec, N_ports), p) {
				l->exists |= port_matches(p, S(""), str_from(labels[0], 1));
			}
		} else {
			endpoints_each(l, ns, svc_name, endpoint_address, &ask);
		}
	} else if (n == 4 && labels[0].len > 1 && labels[0].ptr[0] == '_' && labels[1].len > 1 && labels[1].ptr[0] == '_') {
		ask.port = str_from(labels[0], 1);
		ask.proto = str_from(labels[1], 1);
		service_srv(l, svc->root, &ask, ns, svc_name);
	}
	return none;
}

/* "10-244-1-5.default.pod" is 10.244.1.5, pod or no pod. */
static void pod_lookup(struct lookup *l, struct str name, const struct str *labels, size_t n) {
	if (n == 0) {
		l->exists = true;
	} else if (n == 1) {
		l->exists = l->z->source->has_namespace(l->z->source->arg, labels[0]);
	} else if (n == 2) {
		struct in_addr v4;
		char *ip = arena_cstr(l->a, labels[0]);
		for (char *c = ip; *c; c++) {
			*c = *c == '-' ? '.' : *c;
		}
		if (inet_pton(AF_INET, ip, &v4) == 1) {
			address_answer(l, name, str_c(ip));
		}
	}
}

static struct str name_lookup(struct lookup *l, struct str name) {
	struct str none = { 0 }, low = lower(l->a, name), labels[LABELS_MAX];
	size_t n = 0;
	uint16_t type = l->m->question.type;

	low.len -= l->z->domain.len;
	if (low.len == 0) { /* the apex */
		l->exists = true;
		if (type == DNS_SOA || type == DNS_ANY) {
			struct dns_record r;
			soa_fill(l->z, l->a, &r);
			VEC_PUSH(&l->answers, r);
		}
		if (type == DNS_NS || type == DNS_ANY) {
			struct dns_record r = record(name, DNS_NS);
			r.target = arena_printf(l->a, "ns.dns.%.*s", STR_ARG(l->z->domain));
			VEC_PUSH(&l->answers, r);
		}
		return none;
	}
	struct str rest = { low.ptr, low.len - 1 }, label; /* without the dot before the zone */
	while (str_next(&rest, '.', &label)) {
		if (n == LABELS_MAX || label.len == 0) {
			return none;
		}
		labels[n++] = label;
	}
	struct str last = labels[n - 1];
	if (str_eq(last, S("svc"))) {
		return service_lookup(l, name, labels, n - 1);
	}
	if (str_eq(last, S("pod"))) {
		pod_lookup(l, name, labels, n - 1);
	} else if (n == 1 && str_eq(last, S("dns-version"))) {
		l->exists = true;
		if (type == DNS_TXT || type == DNS_ANY) {
			struct dns_record r = record(name, DNS_TXT);
			struct str *text = arena_new(l->a, struct str);
			*text = S("1.1.0");
			r.texts = text;
			r.texts_len = 1;
			VEC_PUSH(&l->answers, r);
		}
	} else if ((n == 1 || n == 2) && str_eq(last, S("dns"))) {
		l->exists = n == 1 || str_eq(labels[0], S("ns"));
	}
	return none;
}

/* Clients take the first address: each answer begins with another one. */
static void shuffle(records *r) {
	for (size_t i = r->len; i > 1; i--) {
		size_t j = rand_u64() % i;
		struct dns_record swap = r->at[i - 1];
		r->at[i - 1] = r->at[j];
		r->at[j] = swap;
	}
}

static void hand_over(struct arena *a, records *from, struct dns_record **to, size_t *to_len) {
	*to = arena_array(a, struct dns_record, from->len);
	*to_len = from->len;
	if (from->len) {
		memcpy(*to, from->at, from->len * sizeof(*from->at));
	}
	VEC_RELEASE(from);
}

static enum dns_outcome reverse_answer(const struct dns_zone *z, struct arena *a, struct dns_message *m, const char *address) {
	struct str names[64];
	size_t n = z->source->reverse(z->source->arg, a, address, names, ARRAY_LEN(names));
	if (n == 0) {
		return DNS_OUTSIDE;
	}
	m->authoritative = true;
	m->rcode = DNS_NOERROR;
	if (m->question.type == DNS_PTR || m->question.type == DNS_ANY) {
		m->answers = arena_array(a, struct dns_record, n);
		m->answers_len = n;
		for (size_t i = 0; i < n; i++) {
			m->answers[i] = record(m->question.name, DNS_PTR);
			m->answers[i].target = arena_printf(a, "%.*s.%.*s", STR_ARG(names[i]), STR_ARG(z->domain));
		}
	}
	return DNS_ANSWERED;
}

enum dns_outcome dns_zone_answer(const struct dns_zone *z, struct arena *a, struct dns_message *m, struct str *ret_target) {
	struct lookup l = { .z = z, .a = a, .m = m };
	struct str name = m->question.name;
	char address[46];
	bool chase = false;

	if (!dns_name_within(name, z->domain)) {
		return dns_reverse_parse(name, address) ? reverse_answer(z, a, m, address) : DNS_OUTSIDE;
	}
	m->authoritative = true;
	for (int i = 0; i < CHAIN_MAX; i++) {
		l.exists = false;
		struct str target = name_lookup(&l, name);
		if (!target.len) {
			break;
		}
		struct dns_record r = record(name, DNS_CNAME);
		r.target = target;
		VEC_PUSH(&l.answers, r);
		if (m->question.type == DNS_CNAME || m->question.type == DNS_ANY) {
			break;
		}
		if (!dns_name_within(target, z->domain)) {
			*ret_target = target;
			chase = true;
			break;
		}
		name = target;
	}
	bool chain = l.answers.len && l.answers.at[0].type == DNS_CNAME;
	if (!chain) {
		shuffle(&l.answers);
	}
	hand_over(a, &l.answers, &m->answers, &m->answers_len);
	hand_over(a, &l.additional, &m->additional, &m->additional_len);
	m->rcode = DNS_NOERROR;
	if (!m->answers_len) {
		dns_zone_negative(z, a, m, l.exists ? DNS_NOERROR : DNS_NXDOMAIN);
	} else if (chain && !l.exists) {
		dns_zone_negative(z, a, m, DNS_NXDOMAIN); /* RFC 6604: of the last name of the chain */
	}
	return chase ? DNS_CHASE : DNS_ANSWERED;
}
