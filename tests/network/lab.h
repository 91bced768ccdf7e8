/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.h - network namespaces for tests: the test process is the node, in a namespace of its own; each pod (or outside machine) is a child in
 * another one that serves TCP and UDP and asks others on command. Nothing of the machine is touched, and all of it is gone when the
 * processes are. Needs root; without it the tests are skipped.
 */
#ifndef TESTS_NETWORK_LAB_H
#define TESTS_NETWORK_LAB_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cases.h"
#include "base/clock.h"
#include "network/netlink.h"

enum { LAB_PORT = 8080, LAB_TIMEOUT_MS = 700 };

struct lab_ask {
	int type;     /* SOCK_STREAM, SOCK_DGRAM; 0: end */
	char ip[16];
	int port, from_port;
};
/* "name peer-address" of who answered, or "refused", "timeout", "error". */
struct lab_answer {
	char text[96];
};
struct lab_pod {
	pid_t pid;
	int fd;
	char netns[64], ip[64], name[32];
};

static UNUSED struct lab_answer lab_ask_here(const struct lab_ask *q) {
	struct lab_answer a = { 0 };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)q->port) }, from = { .sin_family = AF_INET, .sin_port = htons((uint16_t)q->from_port) };
	struct timeval limit = { .tv_usec = LAB_TIMEOUT_MS * 1000 };
	int one = 1, fd = socket(AF_INET, q->type | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, q->ip, &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	ssize_t n = -1;
	if ((!q->from_port || bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0) && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
		send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL) == 18) {
		n = recv(fd, a.text, sizeof(a.text) - 1, 0);
	}
	if (n <= 0) {
		const char *why = errno == ECONNREFUSED || errno == ECONNRESET ? "refused" : errno == EAGAIN || errno == EINPROGRESS || errno == ETIMEDOUT || errno == EHOSTUNREACH ? "timeout" : "error";
		snprintf(a.text, sizeof(a.text), "%s", n == 0 ? "closed" : why);
	}
	close(fd);
	return a;
}

static UNUSED void lab_child(const char *name, int command) {
	int one = 1, tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(LAB_PORT) };
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(tcp, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(tcp, 64) < 0 || bind(udp, (struct sockaddr *)&at, sizeof(at)) < 0) {
		_exit(1);
	}
	for (;;) {
		struct pollfd p[3] = { { command, POLLIN, 0 }, { tcp, POLLIN, 0 }, { udp, POLLIN, 0 } };
		struct sockaddr_in peer;
		socklen_t len = sizeof(peer);
		char in[64], out[96], ip[INET_ADDRSTRLEN];
		struct lab_ask q;
		poll(p, 3, -1);
		if (p[0].revents) {
			if (read(command, &q, sizeof(q)) != sizeof(q) || !q.type) {
				_exit(0);
			}
			pid_t asker = fork(); /* so that a pod can ask itself */
			if (asker == 0) {
				struct lab_answer a = lab_ask_here(&q);
				_exit(write(command, &a, sizeof(a)) != sizeof(a));
			}
		}
		while (waitpid(-1, NULL, WNOHANG) > 0) {
		}
		if (p[1].revents) {
			int fd = accept(tcp, (struct sockaddr *)&peer, &len);
			snprintf(out, sizeof(out), "%s %s", name, inet_ntop(AF_INET, &peer.sin_addr, ip, sizeof(ip)));
			if (write(fd, out, strlen(out)) < 0) {
				_exit(1);
			}
			/* The question is read before the close: a close with unread bytes would be a reset. */
			struct timeval limit = { .tv_usec = 100000 };
			setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
			(void)!read(fd, in, sizeof(in));
			close(fd);
		}
		if (p[2].revents) {
			len = sizeof(peer);
			if (recvfrom(udp, in, sizeof(in), 0, (struct sockaddr *)&peer, &len) >= 0) {
				snprintf(out, sizeof(out), "%s %s", name, inet_ntop(AF_INET, &peer.sin_addr, ip, sizeof(ip)));
				sendto(udp, out, strlen(out), 0, (struct sockaddr *)&peer, len);
			}
		}
	}
}

/* Before any thread of the test's own. */
static UNUSED void lab_pod_start(struct lab_pod *p, const char *name) {
	int pair[2], ready[2];
	char byte;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(ready), 0);
	snprintf(p->name, sizeof(p->name), "%s", name);
	p->fd = pair[0];
	p->pid = fork();
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		signal(SIGPIPE, SIG_IGN);
		if (unshare(CLONE_NEWNET) < 0 || write(ready[1], "!", 1) != 1) {
			_exit(1);
		}
		lab_child(name, pair[1]);
	}
	close(pair[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	snprintf(p->netns, sizeof(p->netns), "/proc/%d/ns/net", p->pid);
}

static UNUSED void lab_pod_end(struct lab_pod *p) {
	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
		close(p->fd);
		p->pid = 0;
	}
}

/* From a pod; NULL: from the node. */
static UNUSED struct lab_answer lab_ask(struct lab_pod *from, int type, const char *ip, int port, int from_port) {
	struct lab_ask q = { .type = type, .port = port, .from_port = from_port };
	struct lab_answer a = { 0 };
	snprintf(q.ip, sizeof(q.ip), "%s", ip);
	if (!from) {
		return lab_ask_here(&q);
	}
	assert_int_equal(write(from->fd, &q, sizeof(q)), sizeof(q));
	assert_int_equal(read(from->fd, &a, sizeof(a)), sizeof(a));
	return a;
}

/* Asks until the answer begins with `want` (the name, or why not), for at most 3 s. */
static UNUSED void lab_expect_at(struct lab_pod *from, int type, const char *ip, int port, const char *want, const char *file, int line) {
	nsec_t until = clock_mono() + 3 * NSEC_PER_SEC;
	struct lab_answer a;
	for (;;) {
		a = lab_ask(from, type, ip, port, 0);
		if (strncmp(a.text, want, strlen(want)) == 0) {
			return;
		}
		if (clock_mono() > until) {
			break;
		}
		usleep(20000);
	}
	print_error("%s:%d: %s -> %s:%d: got \"%s\", want \"%s\"\n", file, line, from ? from->name : "node", ip, port, a.text, want);
	_fail(file, line);
}
#define lab_expect(from, type, ip, port, want) lab_expect_at((from), (type), (ip), (port), (want), __FILE__, __LINE__)

/* Into a namespace of our own, loopback up. False: not root. */
static UNUSED bool lab_enter(void) {
	struct nl nl = { .fd = -1 };
	struct nl_link lo;
	struct err err = { 0 };
	bool ok = geteuid() == 0 && unshare(CLONE_NEWNET) == 0 && nl_open(&nl, &err) && nl_link_get(&nl, "lo", &lo, &err) && nl_link_up(&nl, lo.index, &err);
	nl_close(&nl);
	int fd = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY); /* a new namespace has it as the machine has it */
	ok = ok && fd >= 0 && write(fd, "0", 1) == 1;
	close(fd);
	if (!ok) {
		printf("skipped: needs root and network namespaces\n");
	}
	return ok;
}

/* A cable between the node and a machine: addresses on both ends, and each is the other's default route. */
static UNUSED void lab_cable(struct lab_pod *p, const char *link, const char *here, const char *there) {
	struct nl nl = { .fd = -1 }, in = { .fd = -1 };
	struct nl_link a, b;
	struct err err = { 0 };
	struct in_addr ha, ta;
	int ns = open(p->netns, O_RDONLY | O_CLOEXEC);
	inet_pton(AF_INET, here, &ha);
	inet_pton(AF_INET, there, &ta);
	uint8_t mac[6] = { 0x0a, 0x01, 0, 0, 0, (uint8_t)(ntohl(ta.s_addr) >> 8) };
	mac[4] = (uint8_t)ntohl(ta.s_addr);
	bool ok = nl_open(&nl, &err) && nl_open_in(p->netns, &in, &err) && nl_veth_add(&nl, link, 0, "eth0", ns, mac, 1500, &err) &&
		nl_link_get(&nl, link, &a, &err) && nl_link_get(&in, "eth0", &b, &err) && nl_addr_add(&nl, a.index, ha, 24, &err) &&
		nl_addr_add(&in, b.index, ta, 24, &err) && nl_link_up(&nl, a.index, &err) && nl_link_up(&in, b.index, &err) &&
		nl_route_replace(&in, &(struct nl_route){ .via = ha, .index = b.index }, &err) &&
		nl_route_replace(&nl, &(struct nl_route){ .via = ta, .index = a.index }, &err);
	if (!ok) {
		print_error("%s\n", err.msg);
	}
	assert_true(ok);
	snprintf(p->ip, sizeof(p->ip), "%s", there);
	close(ns);
	nl_close(&nl);
	nl_close(&in);
}

#endif
