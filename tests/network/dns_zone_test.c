/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns_zone_test.c - what the cluster's names answer, in tables. Source of the expected answers: Kubernetes DNS-Based Service Discovery 1.1.0, and
 * the conformance tests of cluster DNS.
 */
#include "network/dns_zone.h"

#include <arpa/inet.h>

#include "../cases.h"
#include "base/vec.h"

static const char *const services_yaml[] = {
	"{metadata: {name: kubernetes, namespace: default}, spec: {type: ClusterIP, clusterIP: 10.96.0.1, ports: [{name: https, port: 443, protocol: TCP}]}}",
	"{metadata: {name: web, namespace: prod}, spec: {clusterIP: 10.96.0.5, clusterIPs: [10.96.0.5, 'fd00::5'], ports: [{name: http, port: 80, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]}}",
	"{metadata: {name: db, namespace: prod}, spec: {clusterIP: None, ports: [{name: sql, port: 5432, targetPort: 15432}]}}",
	"{metadata: {name: empty, namespace: prod}, spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}}",
	"{metadata: {name: out, namespace: prod}, spec: {type: ExternalName, externalName: foo.example.com}}",
	"{metadata: {name: inner, namespace: prod}, spec: {type: ExternalName, externalName: web.prod.svc.cluster.local}}",
	"{metadata: {name: loop, namespace: prod}, spec: {type: ExternalName, externalName: loop.prod.svc.cluster.local}}",
	"{metadata: {name: dangling, namespace: prod}, spec: {type: ExternalName, externalName: none.prod.svc.cluster.local}}",
};
static const char *const slice_yaml =
	"{metadata: {name: db-1, namespace: prod}, addressType: IPv4, ports: [{name: sql, port: 15432, protocol: TCP}], endpoints: ["
	"{addresses: [10.244.1.7], hostname: db-0, conditions: {ready: true}}, {addresses: [10.244.2.8], conditions: {}}, "
	"{addresses: [10.244.2.9], hostname: db-2, conditions: {ready: false}}]}";

static struct obj *from_yaml(const char *text) {
	auto_arena struct arena a = { 0 };
	struct value *v;
	struct err err = { 0 };
	if (!yaml_parse(&a, str_c(text), NULL, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	return obj_freeze(v, 1);
}

static struct obj *service(void *arg, struct str ns, struct str name) {
	for (size_t i = 0; i < ARRAY_LEN(services_yaml); i++) {
		struct obj *o = from_yaml(services_yaml[i]);
		if (str_eq(value_str_at(o->root, N_metadata, N_name), name) && str_eq(value_str_at(o->root, N_metadata, N_namespace), ns)) {
			return o;
		}
		obj_unref(o);
	}
	return NULL;
}

static void slices(void *arg, struct str ns, struct str name, struct client_list *ret) {
	*ret = (struct client_list){ 0 };
	if (str_eq(name, S("db")) && str_eq(ns, S("prod"))) {
		ret->at = xcalloc(1, sizeof(*ret->at));
		ret->at[0] = from_yaml(slice_yaml);
		ret->len = 1;
	}
}

static bool has_namespace(void *arg, struct str ns) {
	return str_eq(ns, S("prod")) || str_eq(ns, S("default"));
}

static size_t reverse(void *arg, struct arena *a, const char *address, struct str *ret, size_t max) {
	*ret = strcmp(address, "10.96.0.5") == 0 ? S("web.prod.svc") : strcmp(address, "10.244.1.7") == 0 ? S("db-0.db.prod.svc") : S("");
	return ret->len ? 1 : 0;
}

static const struct dns_source source = { service, slices, has_namespace, reverse, NULL };

/* Answers sorted, one a line: "A 10.96.0.1"; then "+" additional ones; "soa" when the authority has it. */
static const struct zone_case {
	const char *name, *question;
	uint16_t type;
	int rcode;
	const char *want;
} zone_cases[] = {
	{ "cluster ip", "kubernetes.default.svc.cluster.local.", DNS_A, DNS_NOERROR, "A 10.96.0.1\n" },
	{ "upper case", "KUBERNETES.Default.svc.CLUSTER.local.", DNS_A, DNS_NOERROR, "A 10.96.0.1\n" },
	{ "no v6", "kubernetes.default.svc.cluster.local.", DNS_AAAA, DNS_NOERROR, "soa\n" },
	{ "v6", "web.prod.svc.cluster.local.", DNS_AAAA, DNS_NOERROR, "AAAA fd00::5\n" },
	{ "v4 of two", "web.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "A 10.96.0.5\n" },
	{ "no such service", "nope.default.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "no such namespace", "kubernetes.nope.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "search path", "kubernetes.default.svc.prod.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "outside searched", "example.com.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "namespace", "prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "soa\n" },
	{ "no namespace", "nope.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "svc", "svc.cluster.local.", DNS_A, DNS_NOERROR, "soa\n" },
	{ "apex", "cluster.local.", DNS_A, DNS_NOERROR, "soa\n" },
	{ "apex soa", "cluster.local.", DNS_SOA, DNS_NOERROR, "SOA ns.dns.cluster.local. hostmaster.cluster.local. 5\n" },
	{ "version", "dns-version.cluster.local.", DNS_TXT, DNS_NOERROR, "TXT 1.1.0\n" },
	{ "version a", "dns-version.cluster.local.", DNS_A, DNS_NOERROR, "soa\n" },
	{ "srv", "_http._tcp.web.prod.svc.cluster.local.", DNS_SRV, DNS_NOERROR, "SRV 80 web.prod.svc.cluster.local.\n+A 10.96.0.5\n" },
	{ "srv udp", "_dns._udp.web.prod.svc.cluster.local.", DNS_SRV, DNS_NOERROR, "SRV 53 web.prod.svc.cluster.local.\n+A 10.96.0.5\n" },
	{ "srv wrong protocol", "_http._udp.web.prod.svc.cluster.local.", DNS_SRV, DNS_NXDOMAIN, "soa\n" },
	{ "srv as a", "_http._tcp.web.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "soa\n" },
	{ "protocol label", "_tcp.web.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "soa\n" },
	{ "headless", "db.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "A 10.244.1.7\nA 10.244.2.8\n" },
	{ "headless srv", "_sql._tcp.db.prod.svc.cluster.local.", DNS_SRV, DNS_NOERROR,
		"SRV 15432 10-244-2-8.db.prod.svc.cluster.local.\nSRV 15432 db-0.db.prod.svc.cluster.local.\n+A 10.244.1.7\n+A 10.244.2.8\n" },
	{ "endpoint by hostname", "db-0.db.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "A 10.244.1.7\n" },
	{ "endpoint by address", "10-244-2-8.db.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "A 10.244.2.8\n" },
	{ "endpoint not ready", "db-2.db.prod.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "endpoint v6", "db-0.db.prod.svc.cluster.local.", DNS_AAAA, DNS_NOERROR, "soa\n" },
	{ "headless without endpoints", "empty.prod.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "external name", "out.prod.svc.cluster.local.", DNS_CNAME, DNS_NOERROR, "CNAME foo.example.com.\n" },
	{ "external name a", "out.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "CNAME foo.example.com.\nchase foo.example.com.\n" },
	{ "external name inside", "inner.prod.svc.cluster.local.", DNS_A, DNS_NOERROR, "A 10.96.0.5\nCNAME web.prod.svc.cluster.local.\n" },
	{ "external name to nothing", "dangling.prod.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "CNAME none.prod.svc.cluster.local.\nsoa\n" },
	{ "pod", "10-244-1-7.prod.pod.cluster.local.", DNS_A, DNS_NOERROR, "A 10.244.1.7\n" },
	{ "pod v6", "10-244-1-7.prod.pod.cluster.local.", DNS_AAAA, DNS_NOERROR, "soa\n" },
	{ "no pod", "hello.prod.pod.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "ptr of a service", "5.0.96.10.in-addr.arpa.", DNS_PTR, DNS_NOERROR, "PTR web.prod.svc.cluster.local.\n" },
	{ "ptr of an endpoint", "7.1.244.10.in-addr.arpa.", DNS_PTR, DNS_NOERROR, "PTR db-0.db.prod.svc.cluster.local.\n" },
	{ "ptr outside", "1.1.1.1.in-addr.arpa.", DNS_PTR, DNS_NOERROR, "outside\n" },
	{ "outside", "example.com.", DNS_A, DNS_NOERROR, "outside\n" },
	{ "not quite ours", "xcluster.local.", DNS_A, DNS_NOERROR, "outside\n" },
	{ "too deep", "a.b.c.d.e.f.g.h.i.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
	{ "empty label", "a\\.b.prod.svc.cluster.local.", DNS_A, DNS_NXDOMAIN, "soa\n" },
};

static int by_text(const void *a, const void *b) {
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void records_text(struct buf *out, const char *mark, const struct dns_record *r, size_t n) {
	VEC(char *) lines = { 0 };
	for (size_t i = 0; i < n; i++) {
		char ip[64] = "";
		char *line = NULL;
		switch (r[i].type) {
		case DNS_A:
			line = xasprintf("%sA %s\n", mark, inet_ntop(AF_INET, r[i].address, ip, sizeof(ip)));
			break;
		case DNS_AAAA:
			line = xasprintf("%sAAAA %s\n", mark, inet_ntop(AF_INET6, r[i].address, ip, sizeof(ip)));
			break;
		case DNS_CNAME:
		case DNS_PTR:
			line = xasprintf("%s%s %.*s\n", mark, r[i].type == DNS_PTR ? "PTR" : "CNAME", STR_ARG(r[i].target));
			break;
		case DNS_SRV:
			line = xasprintf("%sSRV %d %.*s\n", mark, r[i].port, STR_ARG(r[i].target));
			break;
		case DNS_TXT:
			line = xasprintf("%sTXT %.*s\n", mark, STR_ARG(r[i].texts[0]));
			break;
		case DNS_SOA:
			line = xasprintf("%sSOA %.*s %.*s %u\n", mark, STR_ARG(r[i].target), STR_ARG(r[i].mailbox), r[i].minimum);
			break;
		default:
			line = xasprintf("%s? %d\n", mark, r[i].type);
		}
		VEC_PUSH(&lines, line);
	}
	VEC_SORT(&lines, by_text);
	VEC_EACH(&lines, l) {
		buf_c(out, *l);
		free(*l);
	}
	VEC_RELEASE(&lines);
}

static void test_zone(void **state) {
	const struct zone_case *c = *state;
	auto_arena struct arena a = { 0 };
	auto_buf struct buf got = { 0 };
	struct dns_zone z = { .domain = S("cluster.local."), .source = &source, .serial = 1 };
	struct dns_message m = { .response = true, .question = { str_c(c->question), c->type, DNS_IN }, .questions = 1 };
	struct str target = { 0 };
	enum dns_outcome o = dns_zone_answer(&z, &a, &m, &target);
	records_text(&got, "", m.answers, m.answers_len);
	records_text(&got, "+", m.additional, m.additional_len);
	if (m.authority_len) {
		buf_c(&got, m.authority[0].type == DNS_SOA && m.authority[0].ttl == DNS_TTL ? "soa\n" : "odd authority\n");
	}
	if (o == DNS_OUTSIDE) {
		buf_c(&got, "outside\n");
	} else if (o == DNS_CHASE) {
		buf_printf(&got, "chase %.*s\n", STR_ARG(target));
	} else {
		assert_true(m.authoritative);
	}
	assert_str(buf_view(&got), str_c(c->want));
	assert_int_equal(m.rcode, c->rcode);
	/* Each can be written. */
	struct err err = { 0 };
	auto_buf struct buf wire = { 0 };
	assert_true(dns_build(&m, 0, &wire, &err));
}

static void test_loop(void **state) {
	auto_arena struct arena a = { 0 };
	struct dns_zone z = { .domain = S("cluster.local."), .source = &source };
	struct dns_message m = { .question = { S("loop.prod.svc.cluster.local."), DNS_A, DNS_IN }, .questions = 1 };
	struct str target = { 0 };
	assert_int_equal(dns_zone_answer(&z, &a, &m, &target), DNS_ANSWERED);
	assert_true(m.answers_len <= 8);
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_loop) };
	return RUN_CASES("zone", zone_cases, test_zone) + cmocka_run_group_tests_name("zone_loop", tests, NULL, NULL);
}
