/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns_test.c - the name server over sockets on loopback: Services of a fake API, UDP and TCP, what does not parse, truncation, upstream servers that
 * answer, stay silent, lie, and the cache before them.
 */
#include "network/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../client/fake_api.h"
#include "../cases.h"
#include "base/clock.h"
#include "net/dns.h"

static struct fake fake;
static struct client *client;

/* ---- a client ---- */

static int dial(int type, int port) {
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { .tv_sec = 8 };
	int fd = socket(AF_INET, type, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static struct str query_bytes(struct arena *a, uint16_t id, const char *name, uint16_t type, int edns) {
	struct dns_message q = { .id = id, .recursion_desired = true, .question = { str_c(name), type, DNS_IN }, .questions = 1, .edns = edns > 0, .udp_bytes_max = (uint16_t)edns };
	struct buf b = { 0 };
	struct err err = { 0 };
	assert_true(dns_build(&q, 0, &b, &err));
	struct str s = arena_str(a, buf_view(&b));
	buf_release(&b);
	return s;
}

static void read_all(int fd, void *to, size_t len) {
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(fd, (char *)to + at, len - at, 0);
		assert_true(n > 0);
		at += (size_t)n;
	}
}

static struct dns_message tcp_read(struct arena *a, int fd) {
	uint8_t len[2];
	struct dns_message m;
	struct err err = { 0 };
	read_all(fd, len, 2);
	size_t n = (size_t)len[0] << 8 | len[1];
	char *bytes = arena_alloc(a, n);
	read_all(fd, bytes, n);
	assert_true(dns_parse(a, (struct str){ bytes, n }, &m, &err));
	return m;
}

static void tcp_send(int fd, struct str q) {
	char bytes[4096] = { (char)(q.len >> 8), (char)q.len };
	memcpy(bytes + 2, q.ptr, q.len);
	assert_int_equal(send(fd, bytes, q.len + 2, 0), q.len + 2);
}

static struct dns_message ask_edns(struct arena *a, int port, bool tcp, const char *name, uint16_t type, int edns) {
	static uint16_t id = 100;
	int fd = dial(tcp ? SOCK_STREAM : SOCK_DGRAM, port);
	struct str q = query_bytes(a, ++id, name, type, edns);
	struct dns_message m;
	struct err err = { 0 };
	if (tcp) {
		tcp_send(fd, q);
		m = tcp_read(a, fd);
	} else {
		char *bytes = arena_alloc(a, 65536);
		assert_int_equal(send(fd, q.ptr, q.len, 0), q.len);
		ssize_t n = recv(fd, bytes, 65536, 0);
		assert_true(n > 0);
		assert_true(dns_parse(a, (struct str){ bytes, (size_t)n }, &m, &err));
		assert_true(edns || n <= 512);
	}
	close(fd);
	assert_true(m.response);
	assert_int_equal(m.id, id);
	assert_str(m.question.name, str_c(name));
	return m;
}

static struct dns_message ask(struct arena *a, int port, bool tcp, const char *name, uint16_t type) {
	return ask_edns(a, port, tcp, name, type, 0);
}

static struct dns *start(const char *const *forward) {
	struct dns_opts o = { .client = client, .bind_address = "127.0.0.1", .port = -1, .domain = "cluster.local", .forward = forward };
	struct dns *d;
	struct err err = { 0 };
	if (!dns_start(&o, &d, &err)) {
		fail_msg("%s", err.msg);
	}
	for (int i = 0; i < 300; i++) { /* until its caches are filled */
		auto_arena struct arena a = { 0 };
		if (ask(&a, dns_port(d), false, "svc.cluster.local.", DNS_A).rcode == DNS_NOERROR) {
			return d;
		}
		usleep(10000);
	}
	fail_msg("the server never became ready");
	return NULL;
}

/* ---- the cluster's names ---- */

static void test_services(void **state) {
	struct dns *d = start(NULL);
	for (int tcp = 0; tcp < 2; tcp++) {
		auto_arena struct arena a = { 0 };
		struct dns_message m = ask(&a, dns_port(d), tcp, "web.default.svc.cluster.local.", DNS_A);
		assert_int_equal(m.answers_len, 1);
		assert_memory_equal(m.answers[0].address, "\x0a\x60\x00\x05", 4);
		assert_true(m.authoritative && !m.recursion_available && m.recursion_desired);
		m = ask(&a, dns_port(d), tcp, "_http._tcp.web.default.svc.cluster.local.", DNS_SRV);
		assert_int_equal(m.answers[0].port, 80);
		m = ask(&a, dns_port(d), tcp, "5.0.96.10.in-addr.arpa.", DNS_PTR);
		assert_str(m.answers[0].target, S("web.default.svc.cluster.local."));
		m = ask(&a, dns_port(d), tcp, "1.9.244.10.in-addr.arpa.", DNS_PTR);
		assert_str(m.answers[0].target, S("10-244-9-1.many.default.svc.cluster.local."));
		m = ask(&a, dns_port(d), tcp, "web.default.svc.cluster.local.", DNS_AAAA);
		assert_true(m.rcode == DNS_NOERROR && m.answers_len == 0 && m.authority_len == 1);
		m = ask(&a, dns_port(d), tcp, "example.com.", DNS_A);
		assert_int_equal(m.rcode, DNS_NXDOMAIN);
	}
	/* A change is seen, then a deletion. */
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	fake_change(&fake, GVR_SERVICES, S("default"), S("web"), "spec: {type: ExternalName, externalName: bar.example.com, clusterIP: null}");
	struct dns_message m = { 0 };
	for (int i = 0; i < 100 && (!m.answers_len || m.answers[0].type != DNS_CNAME); i++) {
		m = ask(&a, dns_port(d), false, "web.default.svc.cluster.local.", DNS_A);
		usleep(5000);
	}
	assert_str(m.answers[0].target, S("bar.example.com."));
	assert_true(client_delete(client, GVR_SERVICES, S("default"), S("web"), &err));
	for (int i = 0; i < 100 && m.rcode != DNS_NXDOMAIN; i++) {
		m = ask(&a, dns_port(d), false, "web.default.svc.cluster.local.", DNS_A);
		usleep(5000);
	}
	assert_int_equal(m.rcode, DNS_NXDOMAIN);
	m = ask(&a, dns_port(d), false, "5.0.96.10.in-addr.arpa.", DNS_PTR);
	assert_int_equal(m.answers_len, 0);
	dns_stop(d);
}

static void test_truncation(void **state) {
	struct dns *d = start(NULL);
	auto_arena struct arena a = { 0 };
	struct dns_message m = ask(&a, dns_port(d), false, "many.default.svc.cluster.local.", DNS_A);
	assert_true(m.truncated && m.answers_len < 60);
	m = ask(&a, dns_port(d), true, "many.default.svc.cluster.local.", DNS_A);
	assert_true(!m.truncated && m.answers_len == 60);
	m = ask_edns(&a, dns_port(d), false, "many.default.svc.cluster.local.", DNS_A, 4096);
	assert_true(!m.truncated && m.answers_len == 60 && m.edns);
	/* Each answer begins with another address. */
	uint32_t first = 0, other = 0;
	for (int i = 0; i < 30 && first == other; i++) {
		m = ask(&a, dns_port(d), true, "many.default.svc.cluster.local.", DNS_A);
		memcpy(i ? &other : &first, m.answers[0].address, 4);
		other = i ? other : first;
	}
	assert_int_not_equal(first, other);
	dns_stop(d);
}

static void test_odd_questions(void **state) {
	static const struct {
		const char *bytes;
		size_t len;
		int rcode; /* -1: no answer */
	} cases[] = {
		{ "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12, DNS_FORMERR },                                    /* cut */
		{ "\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", 12, DNS_FORMERR },                                    /* no question */
		{ "\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01", 17, -1 },                         /* an answer */
		{ "\x12\x34\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01", 17, DNS_NOTIMP },                 /* UPDATE */
		{ "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\xfc\x00\x01", 17, DNS_REFUSED },                /* AXFR */
		{ "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x03", 17, DNS_REFUSED },                /* CHAOS */
		{ "\x12", 1, -1 },
	};
	struct dns *d = start(NULL);
	int fd = dial(SOCK_DGRAM, dns_port(d));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_arena struct arena a = { 0 };
		struct pollfd p = { fd, POLLIN, 0 };
		char in[1024];
		struct dns_message m;
		struct err err = { 0 };
		assert_int_equal(send(fd, cases[i].bytes, cases[i].len, 0), cases[i].len);
		int answered = poll(&p, 1, cases[i].rcode < 0 ? 60 : 3000);
		assert_int_equal(answered, cases[i].rcode >= 0);
		if (answered) {
			ssize_t n = recv(fd, in, sizeof(in), 0);
			assert_true(dns_parse(&a, (struct str){ in, (size_t)n }, &m, &err));
			assert_int_equal(m.rcode, cases[i].rcode);
			assert_int_equal(m.id, 0x1234);
		}
	}
	close(fd);
	/* Several questions in one segment, in pieces, over one connection. */
	auto_arena struct arena a = { 0 };
	fd = dial(SOCK_STREAM, dns_port(d));
	struct str q1 = query_bytes(&a, 1, "kubernetes.default.svc.cluster.local.", DNS_A, 0), q2 = query_bytes(&a, 2, "x.default.svc.cluster.local.", DNS_A, 0);
	char both[512];
	size_t n = 0;
	for (int i = 0; i < 2; i++) {
		struct str q = i ? q2 : q1;
		both[n++] = 0;
		both[n++] = (char)q.len;
		memcpy(both + n, q.ptr, q.len);
		n += q.len;
	}
	assert_int_equal(send(fd, both, 5, 0), 5);
	usleep(20000);
	assert_int_equal(send(fd, both + 5, n - 5, 0), n - 5);
	assert_int_equal(tcp_read(&a, fd).id, 1);
	assert_int_equal(tcp_read(&a, fd).rcode, DNS_NXDOMAIN);
	shutdown(fd, SHUT_WR);
	char byte;
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	dns_stop(d);
}

/* ---- upstream servers ---- */

struct upstream {
	int udp, tcp, port;
	pthread_t thread;
	_Atomic int queries;
	_Atomic bool silent, lies; /* no answers; first a wrong id, then a wrong name */
	_Atomic bool end;
};

/* Anything has the address 192.0.2.1; "none." does not exist; "big." is truncated on UDP. */
static struct str upstream_answer(struct arena *a, struct str in, bool tcp, int lie) {
	struct dns_message q;
	struct err err = { 0 };
	struct buf b = { 0 };
	assert_true(dns_parse(a, in, &q, &err));
	struct dns_record r = { .name = q.question.name, .type = DNS_A, .klass = DNS_IN, .ttl = 60, .address = { 192, 0, 2, 1 } };
	struct dns_message m = { .id = (uint16_t)(q.id + (lie == 1)), .response = true, .recursion_available = true, .question = q.question, .questions = 1, .answers = &r,
		.answers_len = 1 };
	if (lie == 2) {
		m.question.name = r.name = S("evil.example.");
	}
	if (lie) {
		r.address[3] = 66;
	}
	if (str_starts(q.question.name, S("none."))) {
		m.rcode = DNS_NXDOMAIN;
		m.answers_len = 0;
	}
	if (str_starts(q.question.name, S("big.")) && !tcp) {
		m.truncated = true;
		m.answers_len = 0;
	}
	assert_true(dns_build(&m, 0, &b, &err));
	struct str s = arena_str(a, buf_view(&b));
	buf_release(&b);
	return s;
}

static void *upstream_run(void *arg) {
	struct upstream *u = arg;
	while (!u->end) {
		auto_arena struct arena a = { 0 };
		struct pollfd p[2] = { { u->udp, POLLIN, 0 }, { u->tcp, POLLIN, 0 } };
		struct sockaddr_in peer;
		socklen_t len = sizeof(peer);
		char in[4096];
		poll(p, 2, 50);
		if (p[0].revents) {
			ssize_t n = recvfrom(u->udp, in, sizeof(in), 0, (struct sockaddr *)&peer, &len);
			u->queries++;
			for (int lie = u->lies ? 1 : 3; n > 0 && !u->silent && lie <= 3; lie++) {
				struct str out = upstream_answer(&a, (struct str){ in, (size_t)n }, false, lie % 3);
				sendto(u->udp, out.ptr, out.len, 0, (struct sockaddr *)&peer, len);
			}
		}
		if (p[1].revents) {
			int fd = accept(u->tcp, NULL, NULL);
			uint8_t head[2];
			u->queries++;
			read_all(fd, head, 2);
			size_t n = (size_t)head[0] << 8 | head[1];
			read_all(fd, in, n);
			tcp_send(fd, upstream_answer(&a, (struct str){ in, n }, true, 0));
			close(fd);
		}
	}
	return NULL;
}

static void upstream_start(struct upstream *u) {
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	u->udp = socket(AF_INET, SOCK_DGRAM, 0);
	u->tcp = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(u->udp, (struct sockaddr *)&at, sizeof(at)), 0);
	getsockname(u->udp, (struct sockaddr *)&at, &len);
	assert_int_equal(bind(u->tcp, (struct sockaddr *)&at, sizeof(at)), 0);
	listen(u->tcp, 10);
	u->port = ntohs(at.sin_port);
	pthread_create(&u->thread, NULL, upstream_run, u);
}

static void upstream_end(struct upstream *u) {
	u->end = true;
	pthread_join(u->thread, NULL);
	close(u->udp);
	close(u->tcp);
}

static void test_forward(void **state) {
	struct upstream good = { 0 }, silent = { .silent = true };
	upstream_start(&good);
	upstream_start(&silent);
	auto_free char *one = xasprintf("127.0.0.1:%d", silent.port), *two = xasprintf("127.0.0.1:%d", good.port);
	struct dns *d = start((const char *const[]){ one, two, NULL });
	auto_arena struct arena a = { 0 };
	nsec_t begin = clock_mono();
	struct dns_message m = ask(&a, dns_port(d), false, "ExAmple.com.", DNS_A);
	nsec_t took = clock_mono() - begin;
	assert_true(took > 1500 * NSEC_PER_MSEC && took < 4 * NSEC_PER_SEC); /* the silent one's time */
	assert_int_equal(m.answers_len, 1);
	assert_memory_equal(m.answers[0].address, "\xc0\x00\x02\x01", 4);
	assert_true(!m.authoritative && m.recursion_available);
	/* Once more from the cache; and the server that answered is asked first from now on. */
	int before = good.queries;
	begin = clock_mono();
	assert_int_equal(ask(&a, dns_port(d), false, "example.com.", DNS_A).answers_len, 1);
	assert_int_equal(good.queries, before);
	assert_int_equal(ask(&a, dns_port(d), false, "none.example.com.", DNS_A).rcode, DNS_NXDOMAIN);
	assert_true(clock_mono() - begin < NSEC_PER_SEC);
	/* A truncated answer is handed on; over TCP the client gets the whole. */
	m = ask(&a, dns_port(d), false, "big.example.com.", DNS_A);
	assert_true(m.truncated && m.answers_len == 0);
	m = ask(&a, dns_port(d), true, "big.example.com.", DNS_A);
	assert_true(!m.truncated && m.answers_len == 1);
	/* ExternalName: the CNAME and what it leads to. */
	m = ask(&a, dns_port(d), false, "out.default.svc.cluster.local.", DNS_A);
	assert_int_equal(m.answers_len, 2);
	assert_str(m.answers[0].target, S("foo.example.com."));
	assert_str(m.answers[1].name, S("foo.example.com."));
	/* The cluster's own are never sent out. */
	before = good.queries;
	assert_int_equal(ask(&a, dns_port(d), false, "nope.default.svc.cluster.local.", DNS_A).rcode, DNS_NXDOMAIN);
	assert_int_equal(good.queries, before);
	/* Stopping with a question under way, of a client that waits and of one that left. */
	good.silent = true;
	int fd = dial(SOCK_STREAM, dns_port(d)), left = dial(SOCK_STREAM, dns_port(d));
	silent.silent = true;
	tcp_send(left, query_bytes(&a, 9, "waits.example.com.", DNS_TXT, 0));
	close(left);
	int udp = dial(SOCK_DGRAM, dns_port(d));
	struct str q = query_bytes(&a, 8, "waits2.example.com.", DNS_A, 0);
	assert_int_equal(send(udp, q.ptr, q.len, 0), q.len);
	usleep(50000);
	dns_stop(d);
	close(fd);
	close(udp);
	upstream_end(&good);
	upstream_end(&silent);
}

static void test_liar_and_dead(void **state) {
	struct upstream liar = { .lies = true };
	upstream_start(&liar);
	auto_free char *one = xasprintf("127.0.0.1:%d", liar.port);
	struct dns *d = start((const char *const[]){ one, NULL });
	auto_arena struct arena a = { 0 };
	struct dns_message m = ask(&a, dns_port(d), false, "example.com.", DNS_A);
	assert_memory_equal(m.answers[0].address, "\xc0\x00\x02\x01", 4); /* not the liar's 192.0.2.66 */
	upstream_end(&liar);
	m = ask(&a, dns_port(d), false, "other.example.com.", DNS_A); /* nobody listens any more */
	assert_int_equal(m.rcode, DNS_SERVFAIL);
	m = ask(&a, dns_port(d), true, "other.example.com.", DNS_A);
	assert_int_equal(m.rcode, DNS_SERVFAIL);
	dns_stop(d);
}

static void test_bad_options(void **state) {
	static const struct {
		const char *bind;
		int port;
		const char *forward;
	} cases[] = { { "nowhere", -1, NULL }, { "127.0.0.1", 70000, NULL }, { "127.0.0.1", -1, "example.com:53" }, { "127.0.0.1", -1, "127.0.0.1:0" }, { "192.0.2.1", -1, NULL } };
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *forward[] = { cases[i].forward, NULL };
		struct dns_opts o = { .client = client, .bind_address = cases[i].bind, .port = cases[i].port, .forward = forward };
		struct dns *d;
		struct err err = { 0 };
		assert_false(dns_start(&o, &d, &err));
		assert_true(err.msg[0]);
	}
}

/* For "make bench" to be honest about: a question in the cluster, there and back. */
static void test_latency(void **state) {
	struct dns *d = start(NULL);
	auto_arena struct arena a = { 0 };
	int fd = dial(SOCK_DGRAM, dns_port(d));
	struct str q = query_bytes(&a, 1, "kubernetes.default.svc.cluster.local.", DNS_A, 0);
	char in[512];
	nsec_t begin = clock_mono();
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(send(fd, q.ptr, q.len, 0), q.len);
		assert_true(recv(fd, in, sizeof(in), 0) > 0);
	}
	printf("a question over loopback: %ld us\n", (long)((clock_mono() - begin) / 2000 / NSEC_PER_USEC));
	close(fd);
	dns_stop(d);
}

static int setup(void **state) {
	struct buf y = { 0 };
	fake_init(&fake, FAKE_KUBELET_OFF);
	client = client_new(&fake.transport);
	obj_unref(fake_add(&fake, GVR_SERVICES, "{metadata: {name: kubernetes}, spec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443}]}}"));
	obj_unref(fake_add(&fake, GVR_SERVICES, "{metadata: {name: web}, spec: {clusterIP: 10.96.0.5, ports: [{name: http, port: 80, protocol: TCP}]}}"));
	obj_unref(fake_add(&fake, GVR_SERVICES, "{metadata: {name: out}, spec: {type: ExternalName, externalName: foo.example.com}}"));
	obj_unref(fake_add(&fake, GVR_SERVICES, "{metadata: {name: many}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}"));
	buf_c(&y, "metadata: {name: many-1, labels: {kubernetes.io/service-name: many}}\naddressType: IPv4\nendpoints:\n");
	for (int i = 1; i <= 60; i++) {
		buf_printf(&y, "- addresses: [10.244.9.%d]\n  conditions: {ready: true}\n", i);
	}
	obj_unref(fake_add(&fake, GVR_ENDPOINTSLICES, buf_cstr(&y)));
	buf_release(&y);
	return 0;
}

static int teardown(void **state) {
	client_free(client);
	fake_release(&fake);
	return 0;
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_odd_questions),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_liar_and_dead),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_services),
	};
	return cmocka_run_group_tests_name("dns", tests, setup, teardown);
}
