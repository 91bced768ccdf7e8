/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traffic_test.c - one node in a namespace of its own, with pods made by our CNI and Services put in force by our proxy: who answers, and as
 * whom the client is seen. Source of what must hold: Kubernetes "Virtual IPs and Service Proxies" and the conformance tests of Services.
 */
#include "network/network.h"

#include "../client/fake_api.h"
#include "lab.h"
#include "network/nft.h"

static struct fake fake;
static struct client *client;
static struct cni *cni;
static struct proxy *proxy;
static struct lab_pod a, b, c, outside;
static char dir[64];

static void proxy_begin(void) {
	struct proxy_opts o = { .client = client, .node_name = "n1", .cluster_cidr = "10.244.0.0/16", .table = "coracle_t", .bridge = "corT" };
	struct err err = { 0 };
	if (!proxy_start(&o, &proxy, &err)) {
		fail_msg("%s", err.msg);
	}
	for (int i = 0; i < 200 && !proxy_synced(proxy); i++) {
		usleep(10000);
	}
	assert_true(proxy_synced(proxy));
}

static void pod_add(struct lab_pod *p, const struct cni_port *ports, size_t ports_len) {
	struct cni_pod pod = { .id = p->name, .netns = p->netns, .ns = "default", .name = p->name, .uid = "u", .ports = ports, .ports_len = ports_len };
	struct err err = { 0 };
	if (!cni_add(cni, &pod, p->ip, &err)) {
		fail_msg("%s (%s)", err.msg, err.ctx);
	}
}

static void pod_del(struct lab_pod *p) {
	struct cni_pod pod = { .id = p->name, .netns = p->netns };
	struct err err = { 0 };
	if (!cni_del(cni, &pod, &err)) {
		fail_msg("%s", err.msg);
	}
}

/* "ip[!|*|?]": ready here; ! on another node; * terminating but serving; ? not ready. */
static char *slice_yaml(const char *svc, const char *const *ips) {
	struct buf y = { 0 };
	buf_printf(&y,
		"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s-1, labels: {kubernetes.io/service-name: %s}}\naddressType: IPv4\n"
		"ports: [{name: '', port: 8080, protocol: TCP}, {name: u, port: 8080, protocol: UDP}]\nendpoints:\n",
		svc, svc);
	if (!ips[0]) {
		buf_drop(&y, 0);
		y.len -= strlen("endpoints:\n");
		buf_c(&y, "endpoints: []\n");
	}
	for (size_t i = 0; ips[i]; i++) {
		size_t len = strcspn(ips[i], "!*?");
		char how = ips[i][len];
		buf_printf(&y, "- addresses: [%.*s]\n  nodeName: %s\n  conditions: {ready: %s, serving: %s, terminating: %s}\n", (int)len, ips[i], how == '!' ? "n2" : "n1",
			how == '*' || how == '?' ? "false" : "true", how == '?' ? "false" : "true", how == '*' ? "true" : "false");
	}
	return buf_cstr(&y);
}
#define IPS(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static void slice(const char *svc, const char *const *ips) {
	auto_free char *y = slice_yaml(svc, ips), *name = xasprintf("%s-1", svc);
	struct obj *old = fake_get(&fake, GVR_ENDPOINTSLICES, S("default"), str_c(name));
	if (old) {
		fake_change(&fake, GVR_ENDPOINTSLICES, S("default"), str_c(name), y);
	} else {
		obj_unref(fake_add(&fake, GVR_ENDPOINTSLICES, y));
	}
	obj_unref(old);
}

/* Numbered so that no test meets another's addresses. */
static void service(const char *name, int n, const char *spec, const char *status) {
	auto_free char *y = xasprintf(
		"apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  clusterIP: 10.96.0.%d\n"
		"  ports: [{port: 80, targetPort: 8080, protocol: TCP, nodePort: %d}, {name: u, port: 80, targetPort: 8080, protocol: UDP, nodePort: %d}]\n%s%s",
		name, n, 30000 + n, 30000 + n, spec, status);
	obj_unref(fake_add(&fake, GVR_SERVICES, y));
}

static void gone(const char *svc) {
	auto_free char *name = xasprintf("%s-1", svc);
	struct err err = { 0 };
	assert_true(client_delete(client, GVR_SERVICES, S("default"), str_c(svc), &err));
	assert_true(client_delete(client, GVR_ENDPOINTSLICES, S("default"), str_c(name), &err));
}

static const char *cluster_ip(int n) {
	static char text[32];
	snprintf(text, sizeof(text), "10.96.0.%d", n);
	return text;
}

static const char *as(const struct lab_pod *p, const char *seen) {
	static char text[128];
	snprintf(text, sizeof(text), "%s %s", p->name, seen);
	return text;
}

#define TCP SOCK_STREAM
#define UDP SOCK_DGRAM

static void test_pods(void **state) {
	lab_expect(&a, TCP, b.ip, LAB_PORT, as(&b, a.ip));
	lab_expect(&a, UDP, b.ip, LAB_PORT, as(&b, a.ip));
	lab_expect(NULL, TCP, a.ip, LAB_PORT, as(&a, "10.244.1.1"));
	lab_expect(&a, TCP, outside.ip, LAB_PORT, as(&outside, "192.168.77.1")); /* masqueraded: it leaves the cluster */
}

static void test_cluster_ip(void **state) {
	service("web", 1, "", "");
	slice("web", IPS(b.ip, c.ip));
	bool seen_b = false, seen_c = false;
	lab_expect(&a, TCP, cluster_ip(1), 80, "");
	for (int i = 0; i < 60 && !(seen_b && seen_c); i++) {
		struct lab_answer r = lab_ask(&a, TCP, cluster_ip(1), 80, 0);
		seen_b |= !strcmp(r.text, as(&b, a.ip)); /* the pod's own address is kept */
		seen_c |= !strcmp(r.text, as(&c, a.ip));
	}
	assert_true(seen_b && seen_c);
	slice("web", IPS(b.ip));
	lab_expect(&a, UDP, cluster_ip(1), 80, as(&b, a.ip));
	lab_expect(NULL, TCP, cluster_ip(1), 80, "b ");
	lab_expect(NULL, UDP, cluster_ip(1), 80, "b ");
	lab_expect(&outside, TCP, cluster_ip(1), 80, as(&b, "10.244.1.1")); /* the node routes it: masqueraded */
	gone("web");
}

static void test_hairpin(void **state) {
	service("self", 2, "", "");
	slice("self", IPS(a.ip));
	lab_expect(&a, TCP, cluster_ip(2), 80, as(&a, "10.244.1.1"));
	lab_expect(&a, UDP, cluster_ip(2), 80, as(&a, "10.244.1.1"));
	gone("self");
}

static void test_node_port(void **state) {
	service("np", 3, "  type: NodePort\n", "");
	slice("np", IPS(b.ip));
	lab_expect(&outside, TCP, "192.168.77.1", 30003, as(&b, "10.244.1.1"));
	lab_expect(&outside, UDP, "192.168.77.1", 30003, as(&b, "10.244.1.1"));
	lab_expect(&a, TCP, "192.168.77.1", 30003, "b ");
	lab_expect(&b, TCP, "192.168.77.1", 30003, "b ");
	lab_expect(NULL, TCP, "127.0.0.1", 30003, as(&b, "10.244.1.1"));
	lab_expect(NULL, TCP, "192.168.77.1", 30003, "b ");
	fake_change(&fake, GVR_SERVICES, S("default"), S("np"), "spec: {type: ClusterIP, ports: [{port: 80, targetPort: 8080, protocol: TCP}]}");
	lab_expect(&outside, TCP, "192.168.77.1", 30003, "refused");
	lab_expect(&a, TCP, cluster_ip(3), 80, "b ");
	lab_expect(&a, UDP, cluster_ip(3), 80, "refused"); /* no such port any more */
	lab_expect(NULL, TCP, cluster_ip(3), 81, "refused");
	fake_change(&fake, GVR_SERVICES, S("default"), S("np"), "spec: {type: ExternalName, externalName: x.example, clusterIP: null}");
	lab_expect(&a, TCP, cluster_ip(3), 80, "timeout");
	gone("np");
}

static void test_local_policy(void **state) {
	service("lo", 4, "  type: NodePort\n  externalTrafficPolicy: Local\n", "");
	slice("lo", IPS(b.ip, "10.244.9.9!"));
	for (int i = 0; i < 5; i++) { /* never the other node's */
		lab_expect(&outside, TCP, "192.168.77.1", 30004, as(&b, outside.ip));
	}
	slice("lo", IPS("10.244.9.9!"));
	lab_expect(&outside, TCP, "192.168.77.1", 30004, "timeout");
	slice("lo", IPS());
	lab_expect(&outside, TCP, "192.168.77.1", 30004, "refused");
	/* From inside the policy does not count: all endpoints do. */
	auto_free char *there = xasprintf("%s!", c.ip);
	slice("lo", IPS(there));
	lab_expect(&a, TCP, "192.168.77.1", 30004, "c ");
	lab_expect(NULL, TCP, "192.168.77.1", 30004, "c ");
	gone("lo");

	service("itp", 5, "  internalTrafficPolicy: Local\n", "");
	slice("itp", IPS(b.ip, there));
	for (int i = 0; i < 5; i++) {
		lab_expect(&a, TCP, cluster_ip(5), 80, "b ");
	}
	slice("itp", IPS(there));
	lab_expect(&a, TCP, cluster_ip(5), 80, "timeout");
	gone("itp");
}

static void test_no_endpoints(void **state) {
	service("none", 6, "  type: NodePort\n  externalIPs: [192.0.2.7]\n", "");
	slice("none", IPS());
	lab_expect(&a, TCP, cluster_ip(6), 80, "refused");
	lab_expect(&a, UDP, cluster_ip(6), 80, "refused");
	lab_expect(NULL, TCP, cluster_ip(6), 80, "refused");
	lab_expect(&outside, TCP, "192.168.77.1", 30006, "refused");
	lab_expect(&outside, TCP, "192.0.2.7", 80, "refused");
	slice("none", IPS(b.ip));
	lab_expect(&a, TCP, cluster_ip(6), 80, "b ");
	lab_expect(&outside, TCP, "192.0.2.7", 80, "b 10.244.1.1");
	gone("none");
}

static void test_terminating(void **state) {
	auto_free char *ending = xasprintf("%s*", b.ip), *unready = xasprintf("%s?", c.ip);
	service("term", 7, "", "");
	slice("term", IPS(ending, unready));
	lab_expect(&a, TCP, cluster_ip(7), 80, "b ");
	slice("term", IPS(ending, c.ip));
	for (int i = 0; i < 5; i++) {
		lab_expect(&a, TCP, cluster_ip(7), 80, "c ");
	}
	slice("term", IPS(unready));
	lab_expect(&a, TCP, cluster_ip(7), 80, "refused");
	gone("term");
}

static void test_load_balancer(void **state) {
	service("lb", 8, "  type: LoadBalancer\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 31008\n", "status: {loadBalancer: {ingress: [{ip: 192.0.2.8}, {ip: 192.0.2.9, ipMode: Proxy}]}}\n");
	slice("lb", IPS(b.ip));
	lab_expect(&outside, TCP, "192.0.2.8", 80, as(&b, outside.ip));
	lab_expect(&a, TCP, "192.0.2.8", 80, as(&b, a.ip));
	lab_expect(&outside, TCP, "192.0.2.9", 80, "timeout"); /* not ours: it goes on */
	lab_expect(&outside, TCP, "192.168.77.1", 31008, "HTTP/1.1 200 OK");
	slice("lb", IPS("10.244.9.9!"));
	lab_expect(&outside, TCP, "192.168.77.1", 31008, "HTTP/1.1 503 Service Unavailable");
	slice("lb", IPS(b.ip));
	fake_change(&fake, GVR_SERVICES, S("default"), S("lb"), "spec: {loadBalancerSourceRanges: [192.168.70.0/24, 198.51.100.0/24]}");
	lab_expect(&outside, TCP, "192.0.2.8", 80, "timeout");
	fake_change(&fake, GVR_SERVICES, S("default"), S("lb"), "spec: {loadBalancerSourceRanges: [192.168.77.2/32, 198.51.100.0/24]}");
	lab_expect(&outside, TCP, "192.0.2.8", 80, "b ");
	fake_change(&fake, GVR_SERVICES, S("default"), S("lb"), "spec: {loadBalancerSourceRanges: [192.168.77.0/24, 192.168.0.0/16, 192.168.0.0/16, 10.0.0.0/8]}");
	lab_expect(&outside, TCP, "192.0.2.8", 80, "b ");
	gone("lb");
}

static void test_affinity(void **state) {
	service("aff", 9, "  type: NodePort\n  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 100}}\n", "");
	slice("aff", IPS(b.ip, c.ip));
	lab_expect(&a, TCP, cluster_ip(9), 80, "");
	usleep(100000);
	struct lab_answer first = lab_ask(&a, TCP, cluster_ip(9), 80, 0), at_port = lab_ask(&outside, TCP, "192.168.77.1", 30009, 0);
	for (int i = 0; i < 12; i++) {
		assert_string_equal(lab_ask(&a, TCP, cluster_ip(9), 80, 0).text, first.text);
		assert_string_equal(lab_ask(&outside, TCP, "192.168.77.1", 30009, 0).text, at_port.text);
	}
	/* Over a restart of the proxy too. */
	proxy_stop(proxy, false);
	assert_string_equal(lab_ask(&a, TCP, cluster_ip(9), 80, 0).text, first.text);
	proxy_begin();
	for (int i = 0; i < 12; i++) {
		assert_string_equal(lab_ask(&a, TCP, cluster_ip(9), 80, 0).text, first.text);
	}
	bool was_b = first.text[0] == 'b';
	slice("aff", IPS(was_b ? c.ip : b.ip));
	lab_expect(&a, TCP, cluster_ip(9), 80, was_b ? "c " : "b ");
	slice("aff", IPS(b.ip, c.ip));
	usleep(100000);
	for (int i = 0; i < 8; i++) { /* it stays where it moved */
		assert_int_equal(lab_ask(&a, TCP, cluster_ip(9), 80, 0).text[0], was_b ? 'c' : 'b');
	}
	fake_change(&fake, GVR_SERVICES, S("default"), S("aff"), "spec: {sessionAffinity: None, sessionAffinityConfig: null}");
	bool seen_b = false, seen_c = false;
	for (int i = 0; i < 100 && !(seen_b && seen_c); i++) {
		char who = lab_ask(&a, TCP, cluster_ip(9), 80, 0).text[0];
		seen_b |= who == 'b';
		seen_c |= who == 'c';
	}
	assert_true(seen_b && seen_c);
	gone("aff");
}

/* One client port all along: the flow's entry must not outlive its endpoint. */
static void test_udp_moves(void **state) {
	service("udp", 10, "  type: NodePort\n", "");
	slice("udp", IPS(b.ip));
	lab_expect(&a, UDP, cluster_ip(10), 80, "b ");
	assert_string_equal(lab_ask(&a, UDP, cluster_ip(10), 80, 5555).text, as(&b, a.ip));
	assert_int_equal(lab_ask(&outside, UDP, "192.168.77.1", 30010, 5556).text[0], 'b');
	slice("udp", IPS(c.ip));
	lab_expect(&b, UDP, cluster_ip(10), 80, "c "); /* in force */
	usleep(50000);
	assert_string_equal(lab_ask(&a, UDP, cluster_ip(10), 80, 5555).text, as(&c, a.ip));
	assert_int_equal(lab_ask(&outside, UDP, "192.168.77.1", 30010, 5556).text[0], 'c');
	gone("udp");
}

static void test_host_ports(void **state) {
	const struct cni_port on_loopback = { 8080, 7001, "TCP", "127.0.0.1" }, on_node = { 8080, 7001, "TCP", "192.168.77.1" }, on_udp = { 8080, 7001, "UDP", "" };
	struct lab_pod *pods[] = { &a, &b, &c };
	const struct cni_port *ports[] = { &on_loopback, &on_node, &on_udp };
	for (int i = 0; i < 3; i++) {
		pod_del(pods[i]);
		pod_add(pods[i], ports[i], 1);
	}
	lab_expect(NULL, TCP, "127.0.0.1", 7001, "a 10.244.1.1");
	lab_expect(NULL, TCP, "192.168.77.1", 7001, "b ");
	lab_expect(NULL, UDP, "192.168.77.1", 7001, "c ");
	lab_expect(&outside, TCP, "192.168.77.1", 7001, as(&b, outside.ip));
	lab_expect(&b, TCP, "192.168.77.1", 7001, "b 10.244.1.1"); /* to itself */
		pod_del(&b);
	lab_expect(&outside, TCP, "192.168.77.1", 7001, "refused");
	pod_add(&b, NULL, 0);
	for (int i = 0; i < 3; i += 2) {
		pod_del(pods[i]);
		pod_add(pods[i], NULL, 0);
	}
}

static void test_life_of_a_pod(void **state) {
	struct cni_pod pod = { .id = b.name, .netns = b.netns, .ns = "default", .name = "b" };
	char again[64];
	struct err err = { 0 };
	assert_true(cni_add(cni, &pod, again, &err));
	assert_string_equal(again, b.ip);
	/* After a restart of the daemon: the bridge and the pods are as they were, what is not wanted goes. */
	cni_close(cni);
	struct cni_opts o = { .state_dir = dir, .bridge = "corT", .cluster_cidr = "10.244.0.0/16" };
	assert_true(cni_open(&o, &cni, &err));
	assert_false(cni_ready(cni));
	assert_false(cni_add(cni, &pod, again, &err));
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	assert_true(cni_set_range(cni, S("10.244.1.0/24"), &err));
	lab_expect(&a, TCP, b.ip, LAB_PORT, "b ");
	assert_true(cni_keep_only(cni, (const char *const[]){ "a", "b" }, 2, &err));
	lab_expect(&a, TCP, c.ip, LAB_PORT, "timeout"); /* no such host */
	assert_true(cni_add(cni, &pod, again, &err));
	assert_string_equal(again, b.ip);
	pod_add(&c, NULL, 0);
	/* Deleting twice, and with the namespace gone. */
	struct cni_pod none = { .id = "never", .netns = "/nowhere" };
	assert_true(cni_del(cni, &none, &err));
	assert_false(cni_add(cni, &none, again, &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_true(cni_del(cni, &none, &err));
}

static void count_link(void *arg, const struct nl_link *l) {
	*(int *)arg += strcmp(l->name, "lo") != 0 && strcmp(l->name, "cable") != 0;
}

static void test_remove(void **state) {
	struct nl nl;
	struct err err = { 0 };
	int links = 0;
	auto_buf struct buf b_ = BUF_INIT(1 << 20);
	assert_true(nft_run(S("table ip others {\nchain x {\n}\n}\n"), &err));
	proxy_stop(proxy, false);
	proxy = NULL;
	network_remove("corT", "corxT", "coracle_t", dir);
	assert_true(nl_open(&nl, &err) && nl_link_each(&nl, count_link, &links, &err));
	nl_close(&nl);
	assert_int_equal(links, 0);
	assert_true(nft_list((const char *const[]){ "list", "ruleset", NULL }, &b_, &err));
	assert_false(str_contains(buf_view(&b_), S("cor")));
	assert_true(str_contains(buf_view(&b_), S("others")));
	char forward = 0;
	int fd = open("/proc/sys/net/ipv4/ip_forward", O_RDONLY);
	assert_int_equal(read(fd, &forward, 1), 1);
	close(fd);
	assert_int_equal(forward, '0');
	network_remove("corT", "corxT", "coracle_t", dir); /* nothing is there */
}

static int setup(void **state) {
	struct err err = { 0 };
	lab_pod_start(&a, "a");
	lab_pod_start(&b, "b");
	lab_pod_start(&c, "c");
	lab_pod_start(&outside, "outside");
	lab_cable(&outside, "cable", "192.168.77.1", "192.168.77.2");
	snprintf(dir, sizeof(dir), "/tmp/coracle-traffic-%d", getpid());
	fake_init(&fake, FAKE_KUBELET_OFF);
	client = client_new(&fake.transport);
	struct cni_opts o = { .state_dir = dir, .bridge = "corT", .cluster_cidr = "10.244.0.0/16" };
	if (!cni_open(&o, &cni, &err) || !cni_set_range(cni, S("10.244.1.0/24"), &err)) {
		fail_msg("%s", err.msg);
	}
	pod_add(&a, NULL, 0);
	pod_add(&b, NULL, 0);
	pod_add(&c, NULL, 0);
	proxy_begin();
	return 0;
}

static int teardown(void **state) {
	struct lab_pod *all[] = { &a, &b, &c, &outside };
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		lab_pod_end(all[i]);
	}
	if (proxy) {
		proxy_stop(proxy, true);
	}
	cni_close(cni);
	client_free(client);
	fake_release(&fake);
	auto_free char *rm = xasprintf("rm -rf %s", dir);
	return system(rm);
}

int main(void) {
	if (!lab_enter()) {
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pods),
		cmocka_unit_test(test_cluster_ip),
		cmocka_unit_test(test_hairpin),
		cmocka_unit_test(test_node_port),
		cmocka_unit_test(test_local_policy),
		cmocka_unit_test(test_no_endpoints),
		cmocka_unit_test(test_terminating),
		cmocka_unit_test(test_load_balancer),
		cmocka_unit_test(test_affinity),
		cmocka_unit_test(test_udp_moves),
		cmocka_unit_test(test_host_ports),
		cmocka_unit_test(test_life_of_a_pod),
		cmocka_unit_test(test_remove),
	};
	return cmocka_run_group_tests_name("traffic", tests, setup, teardown);
}
