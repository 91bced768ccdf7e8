/* SPDX-License-Identifier: Apache-2.0 */
/* services_test.c - which map elements a Service becomes: tables. Source: Kubernetes "Virtual IPs and Service Proxies". */
#include "network/services.h"

#include "../cases.h"

#define SLICE "addressType: IPv4, ports: [{name: http, port: 8080, protocol: TCP}, {name: dns, port: 5353, protocol: UDP}], endpoints: "
#define TWO "[{addresses: [10.244.0.5], nodeName: n1, conditions: {ready: true}}, {addresses: [10.244.1.6], nodeName: n2, conditions: {ready: true}}]"

static const struct service_case {
	const char *name, *service;
	const char *slices[3];
	const char *want; /* "map key : data" sorted, one a line */
} service_cases[] = {
	{ "cluster ip", "{clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}", { SLICE TWO },
		"cluster_ips 10.96.0.1\n"
		"ep_c tcp . 10.96.0.1 . 80 . 0 : 10.244.0.5 . 8080\n"
		"ep_c tcp . 10.96.0.1 . 80 . 1 : 10.244.1.6 . 8080\n"
		"hairpin 10.244.0.5 . 10.244.0.5\n"
		"hairpin 10.244.1.6 . 10.244.1.6\n"
		"svc tcp . 10.96.0.1 . 80 : goto c2\n" },
	{ "two slices, one address twice", "{clusterIP: 10.96.0.1, ports: [{name: dns, port: 53, protocol: UDP}]}",
		{ SLICE "[{addresses: [10.244.0.5]}]", SLICE "[{addresses: [10.244.0.5], conditions: {ready: false}}]" },
		"cluster_ips 10.96.0.1\n"
		"ep_c udp . 10.96.0.1 . 53 . 0 : 10.244.0.5 . 5353\n"
		"hairpin 10.244.0.5 . 10.244.0.5\n"
		"svc udp . 10.96.0.1 . 53 : goto c1\n" },
	{ "named port without a match", "{clusterIP: 10.96.0.1, ports: [{name: other, port: 80}]}", { SLICE TWO },
		"cluster_ips 10.96.0.1\n"
		"rej_svc tcp . 10.96.0.1 . 80 : goto reject_it\n" },
	{ "no endpoints", "{clusterIP: 10.96.0.1, type: NodePort, ports: [{name: http, port: 80, nodePort: 30080}]}", { NULL },
		"cluster_ips 10.96.0.1\n"
		"np_tcp 30080\n"
		"rej_np tcp . 30080 : goto reject_it\n"
		"rej_svc tcp . 10.96.0.1 . 80 : goto reject_it\n" },
	{ "headless", "{clusterIP: None, ports: [{name: http, port: 80}]}", { SLICE TWO }, "" },
	{ "external name", "{type: ExternalName, externalName: x.example}", { NULL }, "" },
	{ "v6", "{clusterIP: 'fd00::1', ports: [{name: http, port: 80}]}", { SLICE TWO }, "" },
	{ "not yet allocated", "{ports: [{name: http, port: 80}]}", { SLICE TWO }, "" },
	{ "node port, Local", "{clusterIP: 10.96.0.1, type: NodePort, externalTrafficPolicy: Local, ports: [{name: http, port: 80, nodePort: 30080}]}", { SLICE TWO },
		"cluster_ips 10.96.0.1\n"
		"ep_c tcp . 10.96.0.1 . 80 . 0 : 10.244.0.5 . 8080\n"
		"ep_c tcp . 10.96.0.1 . 80 . 1 : 10.244.1.6 . 8080\n"
		"ep_n tcp . 30080 . 0 : 10.244.0.5 . 8080\n"
		"ep_n tcp . 30080 . 1 : 10.244.1.6 . 8080\n"
		"ep_nx tcp . 30080 . 0 : 10.244.0.5 . 8080\n"
		"hairpin 10.244.0.5 . 10.244.0.5\n"
		"hairpin 10.244.1.6 . 10.244.1.6\n"
		"np tcp . 30080 : goto n2\n"
		"np_x tcp . 30080 : goto nx1\n"
		"svc tcp . 10.96.0.1 . 80 : goto c2\n" },
	{ "internal Local, none here", "{clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}",
		{ SLICE "[{addresses: [10.244.1.6], nodeName: n2}]" },
		"cluster_ips 10.96.0.1\n"
		"hairpin 10.244.1.6 . 10.244.1.6\n"
		"svc tcp . 10.96.0.1 . 80 : drop\n" },
	{ "external ip with affinity",
		"{clusterIP: 10.96.0.1, externalIPs: [192.0.2.1, '; evil'], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, ports: [{name: http, port: 80}]}",
		{ SLICE "[{addresses: [10.244.0.5]}]" },
		"aff_rec 0x43xxxxxx : jump aff_60\n"
		"aff_svc tcp . 10.96.0.1 . 80 : 0x43xxxxxx\n"
		"aff_svc tcp . 192.0.2.1 . 80 : 0x43xxxxxx\n"
		"cluster_ips 10.96.0.1\n"
		"ep_c tcp . 10.96.0.1 . 80 . 0 : 10.244.0.5 . 8080\n"
		"ep_c tcp . 192.0.2.1 . 80 . 0 : 10.244.0.5 . 8080\n"
		"ext_ips 192.0.2.1 : goto masq\n"
		"hairpin 10.244.0.5 . 10.244.0.5\n"
		"svc tcp . 10.96.0.1 . 80 : goto c1a\n"
		"svc tcp . 192.0.2.1 . 80 : goto c1a\n" },
	{ "load balancer for some",
		"{clusterIP: 10.96.0.1, type: LoadBalancer, loadBalancerSourceRanges: [10.1.0.0/16, ' 10.0.0.0/8', 10.1.0.0/16, 192.0.2.0/24, 192.0.2.1/24, 'fd00::/8'], ports: [{name: http, port: 80}]}, "
		"status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}",
		{ SLICE "[{addresses: [10.244.0.5]}, {addresses: [999.0.0.1]}]" },
		"cluster_ips 10.96.0.1\n"
		"ep_c tcp . 10.96.0.1 . 80 . 0 : 10.244.0.5 . 8080\n"
		"ep_c tcp . 203.0.113.1 . 80 . 0 : 10.244.0.5 . 8080\n"
		"ext_ips 203.0.113.1 : goto masq\n"
		"hairpin 10.244.0.5 . 10.244.0.5\n"
		"lb_closed tcp . 203.0.113.1 . 80\n"
		"lb_from tcp . 203.0.113.1 . 80 . 10.0.0.0/8\n"
		"lb_from tcp . 203.0.113.1 . 80 . 192.0.2.0/24\n"
		"svc tcp . 10.96.0.1 . 80 : goto c1\n"
		"svc tcp . 203.0.113.1 . 80 : goto c1\n" },
	{ "only those that end", "{clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}",
		{ SLICE "[{addresses: [10.244.0.5], conditions: {ready: false, serving: true, terminating: true}}, {addresses: [10.244.0.6], conditions: {ready: false, serving: false, terminating: true}}]" },
		"cluster_ips 10.96.0.1\n"
		"ep_c tcp . 10.96.0.1 . 80 . 0 : 10.244.0.5 . 8080\n"
		"hairpin 10.244.0.5 . 10.244.0.5\n"
		"svc tcp . 10.96.0.1 . 80 : goto c1\n" },
	{ "v6 and evil endpoints", "{clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}",
		{ "addressType: IPv6, ports: [{name: http, port: 8080}], endpoints: [{addresses: ['fd00::1']}]", SLICE "[{addresses: ['10.0.0.1 } evil']}]" },
		"cluster_ips 10.96.0.1\n"
		"rej_svc tcp . 10.96.0.1 . 80 : goto reject_it\n" },
};

static int by_text(const void *a, const void *b) {
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct value *parse(struct arena *a, struct str text) {
	struct value *v = NULL;
	struct err err = { 0 };
	if (!yaml_parse(a, text, NULL, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	return v;
}

static void test_service(void **state) {
	const struct service_case *c = *state;
	auto_arena struct arena a = { 0 };
	auto_buf struct buf got = { 0 };
	struct service_rules r = { 0 };
	const struct value *slices[3];
	size_t n = 0;
	VEC(char *) lines = { 0 };
	struct value *svc = parse(&a, arena_printf(&a, "{metadata: {name: s, namespace: d}, spec: %s}", c->service));
	for (; n < 3 && c->slices[n]; n++) {
		slices[n] = parse(&a, arena_printf(&a, "{%s}", c->slices[n]));
	}
	service_rules_make(&a, svc, slices, n, "n1", &r);
	VEC_EACH(&r.elements, e) {
		char *line = xasprintf("%s %.*s%s%.*s\n", e->map, STR_ARG(e->key), e->data.len ? " : " : "", STR_ARG(e->data));
		for (char *m = line; (m = strstr(m, "0x43")); m += 4) { /* a hash of the Service's name */
			memcpy(m + 4, "xxxxxx", 6);
		}
		VEC_PUSH(&lines, line);
	}
	VEC_SORT(&lines, by_text);
	for (size_t i = 0; i < lines.len; i++) {
		if (i == 0 || strcmp(lines.at[i], lines.at[i - 1]) != 0) {
			buf_c(&got, lines.at[i]);
		}
	}
	VEC_EACH(&lines, l) {
		free(*l);
	}
	VEC_RELEASE(&lines);
	service_rules_release(&r);
	assert_str(buf_view(&got), str_c(c->want));
}

static void test_other_proxy(void **state) {
	auto_arena struct arena a = { 0 };
	assert_false(service_is_proxied(parse(&a, S("{metadata: {labels: {service.kubernetes.io/service-proxy-name: x}}, spec: {clusterIP: 10.0.0.1}}"))));
	assert_true(service_is_proxied(parse(&a, S("{metadata: {labels: {x: y}}, spec: {clusterIP: 10.0.0.1}}"))));
}

static void test_text(void **state) {
	auto_buf struct buf b = { 0 };
	services_chain_text("t", S("nx2"), &b);
	assert_str(buf_view(&b), S("add chain ip t nx2\nflush chain ip t nx2\nadd rule ip t nx2 dnat ip to meta l4proto . th dport . numgen random mod 2 map @ep_nx\n"));
	buf_clear(&b);
	services_chain_text("t", S("c12a"), &b);
	assert_str(buf_view(&b), S("add chain ip t c12a\nflush chain ip t c12a\n"
				   "add rule ip t c12a meta mark set meta l4proto . ip daddr . th dport map @aff_svc\n"
				   "add rule ip t c12a meta l4proto { tcp, udp, sctp } dnat ip to ip saddr . meta mark map @aff\n"
				   "add rule ip t c12a goto c12\n"));
	assert_false(services_chain_with_table(S("c12a")));
	assert_false(services_chain_with_table(S("aff_60")));
	assert_true(services_chain_with_table(S("nx2")));
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_other_proxy), cmocka_unit_test(test_text) };
	return RUN_CASES("services", service_cases, test_service) + cmocka_run_group_tests_name("services_text", tests, NULL, NULL);
}
