/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay_test.c - three nodes, each a process in a namespace of its own: two on one link, the third behind a router. Pods reach each other by plain
 * routes or by VXLAN, as it must be; what goes away leaves no route.
 */
#include "network/network.h"

#include "../client/fake_api.h"
#include "lab.h"
#include "network/overlay_names.h"

enum { NODES = 3 };

/* A node's process: its pods' bridge by our CNI and the overlay over a fake API that all nodes fill alike. */
struct node {
	pid_t pid;
	int fd;      /* commands: one byte each, answered by one byte */
	char netns[64];
	const char *name, *ip, *range, *pod_ip;
	struct lab_pod pod;
};
static struct node nodes[NODES] = {
	{ .name = "n0", .ip = "192.168.1.10", .range = "10.244.0.0/24", .pod_ip = "10.244.0.2" },
	{ .name = "n1", .ip = "192.168.1.11", .range = "10.244.1.0/24", .pod_ip = "10.244.1.2" },
	{ .name = "n2", .ip = "192.168.2.12", .range = "10.244.2.0/24", .pod_ip = "10.244.2.2" },
};
static struct lab_pod router;

static struct cni *cni;

static void on_range(void *arg, struct str cidr) {
	struct err err = { 0 };
	if (!cni_set_range(cni, cidr, &err)) {
		print_error("%s\n", err.msg);
	}
}

static void node_object(struct fake *f, const struct node *n) {
	auto_free char *y = xasprintf("metadata: {name: %s}\nspec: {podCIDR: %s}\nstatus: {addresses: [{type: Hostname, address: %s}, {type: InternalIP, address: %s}]}", n->name,
		n->range, n->name, n->ip);
	obj_unref(fake_add(f, GVR_NODES, y));
}

static void count_route(void *arg, const struct nl_route *r) {
	*(int *)arg += r->proto == overlay_proto("corxT");
}

static int routes_ours(void) {
	struct nl nl;
	struct err err = { 0 };
	int n = 0;
	assert_true(nl_open(&nl, &err) && nl_route_each(&nl, count_route, &n, &err));
	nl_close(&nl);
	return n;
}

static void node_run(struct node *me, int fd) {
	struct fake fake;
	struct client *client;
	struct overlay *o = NULL;
	struct proxy *proxy = NULL;
	struct err err = { 0 };
	char command, dir[64];
	const char *mode = "auto";
	snprintf(dir, sizeof(dir), "/tmp/coracle-overlay-%d", getpid());
	fake_init(&fake, FAKE_KUBELET_OFF);
	client = client_new(&fake.transport);
	for (int i = 0; i < NODES; i++) {
		node_object(&fake, &nodes[i]);
	}
	while (read(fd, &command, 1) == 1) {
		char answer = '+';
		struct cni_opts co = { .state_dir = dir, .bridge = "corT", .cluster_cidr = "10.244.0.0/16" };
		struct overlay_opts oo = { .client = client, .node_name = me->name, .mode = mode, .vxlan_link = "corxT", .state_dir = dir, .on_range = on_range };
		switch (command) {
		case 'v': /* next start: VXLAN whatever the link */
			mode = "vxlan";
			break;
		case 's': /* start */
			if ((!cni && !cni_open(&co, &cni, &err)) || !overlay_start(&oo, &o, &err)) {
				answer = '-';
			}
			for (int i = 0; i < 100 && !cni_ready(cni); i++) {
				usleep(10000);
			}
			break;
		case 'p': /* its pod */
			answer = cni_add(cni, &(struct cni_pod){ .id = "p", .netns = me->pod.netns }, me->pod.ip, &err) && !strcmp(me->pod.ip, me->pod_ip) ? '+' : '-';
			break;
		case 'x': /* stop, as at a restart */
			overlay_stop(o, false);
			break;
		case 'n': { /* a Service whose one endpoint is the pod of n1 */
			struct proxy_opts po = { .client = client, .node_name = me->name, .cluster_cidr = "10.244.0.0/16", .table = "coracle_t", .bridge = "corT" };
			obj_unref(fake_add(&fake, GVR_SERVICES, "{metadata: {name: s}, spec: {type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 30077}]}}"));
			obj_unref(fake_add(&fake, GVR_ENDPOINTSLICES, "{metadata: {name: s-1, labels: {kubernetes.io/service-name: s}}, addressType: IPv4, ports: [{port: 8080, name: ''}], "
				"endpoints: [{addresses: [10.244.1.2]}]}"));
			answer = proxy_start(&po, &proxy, &err) ? '+' : '-';
			for (int i = 0; i < 200 && !proxy_synced(proxy); i++) {
				usleep(10000);
			}
			break;
		}
		case 'l': { /* from the node itself */
			struct lab_answer at = lab_ask(NULL, SOCK_STREAM, "127.0.0.1", 30077, 0), ip = lab_ask(NULL, SOCK_STREAM, "10.96.0.1", 80, 0);
			answer = !strncmp(at.text, "n1 ", 3) && !strncmp(ip.text, "n1 ", 3) ? '+' : '-';
			snprintf(err.msg, sizeof(err.msg), "%s, %s", at.text, ip.text);
			break;
		}
		case 'd': /* node n1 is deleted */
			answer = client_delete(client, GVR_NODES, S(""), S("n1"), &err) ? '+' : '-';
			break;
		case 'a': /* and comes back */
			node_object(&fake, &nodes[1]);
			break;
		case 'c': /* how many routes are ours */
			answer = (char)('0' + routes_ours());
			break;
		case 'r': /* remove all */
			overlay_stop(o, true);
			proxy_stop(proxy, false);
			network_remove("corT", "corxT", "coracle_t", dir);
			answer = (char)('0' + routes_ours());
			rmdir(dir);
			break;
		}
		if (answer == '-') {
			print_error("%s: %s\n", me->name, err.msg);
		}
		if (write(fd, &answer, 1) != 1) {
			break;
		}
	}
	_exit(0);
}

static void node_start(struct node *n) {
	int pair[2];
	char byte;
	lab_pod_start(&n->pod, n->name);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	n->fd = pair[0];
	n->pid = fork();
	if (n->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		if (!lab_enter() || write(pair[1], "!", 1) != 1) {
			_exit(1);
		}
		node_run(n, pair[1]);
	}
	close(pair[1]);
	assert_int_equal(read(n->fd, &byte, 1), 1);
	snprintf(n->netns, sizeof(n->netns), "/proc/%d/ns/net", n->pid);
}

static char tell(struct node *n, char command) {
	char answer = 0;
	assert_int_equal(write(n->fd, &command, 1), 1);
	assert_int_equal(read(n->fd, &answer, 1), 1);
	return answer;
}

/* Ends of a cable in two namespaces; `to_bridge` gives the second end no address but a bridge. */
static void wire(struct nl *from, struct nl *in, const char *netns, const char *link, int bridge, const char *ip, const char *gateway, int n) {
	struct nl_link a, b;
	struct err err = { 0 };
	struct in_addr addr, via;
	int ns = open(netns, O_RDONLY | O_CLOEXEC);
	uint8_t mac[6] = { 0x0a, 2, 0, 0, 0, (uint8_t)n };
	inet_pton(AF_INET, ip, &addr);
	inet_pton(AF_INET, gateway, &via);
	bool ok = nl_veth_add(from, link, bridge, "eth0", ns, mac, 1500, &err) && nl_link_get(from, link, &a, &err) && nl_link_up(from, a.index, &err) &&
		nl_link_get(in, "eth0", &b, &err) && nl_addr_add(in, b.index, addr, 24, &err) && nl_link_up(in, b.index, &err) &&
		nl_route_replace(in, &(struct nl_route){ .via = via, .index = b.index }, &err);
	if (!ok) {
		print_error("%s\n", err.msg);
	}
	assert_true(ok);
	close(ns);
}

static int setup(void **state) {
	struct nl here = { .fd = -1 }, in = { .fd = -1 };
	struct nl_link br;
	struct err err = { 0 };
	struct in_addr gw1, gw2;
	/* The test's own namespace is the router between 192.168.1.0/24 (a bridge) and 192.168.2.0/24. */
	for (int i = 0; i < NODES; i++) {
		node_start(&nodes[i]);
	}
	inet_pton(AF_INET, "192.168.1.1", &gw1);
	inet_pton(AF_INET, "192.168.2.1", &gw2);
	uint8_t mac[6] = { 0x0a, 3, 0, 0, 0, 1 };
	assert_true(nl_open(&here, &err) && nl_bridge_add(&here, "lan", mac, 1500, &err) && nl_link_get(&here, "lan", &br, &err) &&
		nl_addr_add(&here, br.index, gw1, 24, &err) && nl_link_up(&here, br.index, &err));
	for (int i = 0; i < NODES; i++) {
		char link[16];
		snprintf(link, sizeof(link), "w%d", i);
		assert_true(nl_open_in(nodes[i].netns, &in, &err));
		wire(&here, &in, nodes[i].netns, link, i < 2 ? br.index : 0, nodes[i].ip, i < 2 ? "192.168.1.1" : "192.168.2.1", i);
		nl_close(&in);
	}
	struct nl_link w2;
	assert_true(nl_link_get(&here, "w2", &w2, &err) && nl_addr_add(&here, w2.index, gw2, 24, &err));
	nl_close(&here);
	int fd = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY);
	assert_int_equal(write(fd, "1", 1), 1);
	close(fd);
	return 0;
}

static int teardown(void **state) {
	for (int i = 0; i < NODES; i++) {
		lab_pod_end(&nodes[i].pod);
		kill(nodes[i].pid, SIGKILL);
		waitpid(nodes[i].pid, NULL, 0);
		auto_free char *rm = xasprintf("rm -rf /tmp/coracle-overlay-%d", nodes[i].pid);
		if (system(rm)) {
			return 1;
		}
	}
	lab_pod_end(&router);
	return 0;
}

static void all_talk(void) {
	for (int i = 0; i < NODES; i++) {
		for (int j = 0; j < NODES; j++) {
			auto_free char *want = xasprintf("%s %s", nodes[j].name, nodes[i].pod_ip); /* with its own address */
			lab_expect(&nodes[i].pod, SOCK_STREAM, nodes[j].pod_ip, LAB_PORT, i == j ? "" : want);
			lab_expect(&nodes[i].pod, SOCK_DGRAM, nodes[j].pod_ip, LAB_PORT, i == j ? "" : want);
		}
	}
}

static bool has_vxlan(struct node *n) {
	struct nl in;
	struct nl_link l;
	struct err err = { 0 };
	assert_true(nl_open_in(n->netns, &in, &err));
	bool has = nl_link_get(&in, "corxT", &l, &err);
	nl_close(&in);
	return has;
}

static void count_expect(struct node *n, char want) {
	char got = 0;
	for (int i = 0; i < 200 && (got = tell(n, 'c')) != want; i++) {
		usleep(10000);
	}
	assert_int_equal(got, want);
}

static void test_auto(void **state) {
	for (int i = 0; i < NODES; i++) {
		assert_int_equal(tell(&nodes[i], 's'), '+');
		assert_int_equal(tell(&nodes[i], 'p'), '+');
	}
	all_talk();
	for (int i = 0; i < NODES; i++) {
		assert_int_equal(tell(&nodes[i], 'c'), '2');
		assert_true(has_vxlan(&nodes[i])); /* n2 is reached by it, and reaches all by it */
	}
}

static void test_node_goes(void **state) {
	tell(&nodes[0], 'd');
	count_expect(&nodes[0], '1');
	tell(&nodes[2], 'd');
	count_expect(&nodes[2], '1');
	lab_expect(&nodes[2].pod, SOCK_STREAM, nodes[1].pod_ip, LAB_PORT, "timeout");
	tell(&nodes[0], 'a');
	tell(&nodes[2], 'a');
	all_talk();
}

/* Routes stay while the daemon is away, and are taken over as they are. */
static void test_restart(void **state) {
	for (int i = 0; i < NODES; i++) {
		tell(&nodes[i], 'x');
	}
	all_talk();
	tell(&nodes[0], 'd'); /* seen only after the start */
	for (int i = 0; i < NODES; i++) {
		assert_int_equal(tell(&nodes[i], 's'), '+');
	}
	count_expect(&nodes[0], '1');
	tell(&nodes[0], 'a');
	all_talk();
}

static void test_loopback_node_port(void **state) {
	for (int i = 0; i < NODES; i++) {
		assert_int_equal(tell(&nodes[i], 'n'), '+');
		assert_int_equal(tell(&nodes[i], 'l'), '+');
	}
}

static void test_vxlan_only(void **state) {
	for (int i = 0; i < NODES; i++) {
		tell(&nodes[i], 'x');
		tell(&nodes[i], 'v');
		assert_int_equal(tell(&nodes[i], 's'), '+');
	}
	all_talk();
}

static void test_remove(void **state) {
	for (int i = 0; i < NODES; i++) {
		assert_int_equal(tell(&nodes[i], 'r'), '0');
		assert_false(has_vxlan(&nodes[i]));
	}
}

int main(void) {
	if (!lab_enter()) {
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auto),
		cmocka_unit_test(test_node_goes),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_loopback_node_port),
		cmocka_unit_test(test_vxlan_only),
		cmocka_unit_test(test_remove),
	};
	return cmocka_run_group_tests_name("overlay", tests, setup, teardown);
}
