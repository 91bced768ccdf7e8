/* SPDX-License-Identifier: Apache-2.0 */
/* health.c - see health.h. An answer is one small write; whoever does not ask within 2 s is put off. */
#include "network/health.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"

enum { CONNS_MAX = 100, QUESTION_BYTES_MAX = 4096 };
static const nsec_t patience = 2 * NSEC_PER_SEC;

struct port {
	struct health *h;
	char *key;
	int number, local_endpoints;
	int fd;
	struct loop_fd *watch;
};
struct conn {
	struct list link;
	struct health *h;
	char *key; /* of the Service; it may be gone when the question is complete */
	int fd;
	struct loop_fd *watch;
	struct loop_timer timer;
	char in[QUESTION_BYTES_MAX];
	size_t len;
};
struct health {
	struct loop *loop;
	struct map ports; /* key -> struct port */
	struct list conns;
	size_t conns_len;
};

struct health *health_new(struct loop *loop) {
	struct health *h = xcalloc(1, sizeof(*h));
	h->loop = loop;
	list_init(&h->conns);
	return h;
}

static void conn_free(struct conn *c) {
	loop_timer_stop(&c->timer);
	loop_fd_free(c->watch);
	close(c->fd);
	list_remove(&c->link);
	c->h->conns_len--;
	free(c->key);
	free(c);
}

static void on_patience(struct loop_timer *t) {
	conn_free(container_of(t, struct conn, timer));
}

static void answer(struct conn *c) {
	struct str key = str_c(c->key), ns, name;
	const struct port *p = map_get(&c->h->ports, key);
	int n = p ? p->local_endpoints : 0;
	(void)str_cut(key, '/', &ns, &name);
	auto_free char *body = xasprintf("{\n\t\"service\": {\n\t\t\"namespace\": \"%.*s\",\n\t\t\"name\": \"%.*s\"\n\t},\n\t\"localEndpoints\": %d,\n\t\"serviceProxyHealthy\": true\n}",
		STR_ARG(ns), STR_ARG(name), n);
	auto_free char *all = xasprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nX-Load-Balancing-Endpoint-Weight: %d\r\n"
					"Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
		n > 0 ? "200 OK" : "503 Service Unavailable", n, strlen(body), body);
	(void)!send(c->fd, all, strlen(all), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_question(void *arg, int events) {
	struct conn *c = arg;
	ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n > 0) {
		c->len += (size_t)n;
		bool complete = str_find((struct str){ c->in, c->len }, S("\r\n\r\n")) >= 0;
		if (!complete && c->len < sizeof(c->in)) {
			return;
		}
		if (complete) {
			answer(c);
		}
	}
	conn_free(c);
}

static void on_accept(void *arg, int events) {
	struct port *p = arg;
	struct health *h = p->h;
	int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		return;
	}
	if (h->conns_len >= CONNS_MAX) {
		close(fd);
		return;
	}
	struct conn *c = xcalloc(1, sizeof(*c));
	c->h = h;
	c->key = xstrdup(p->key);
	c->fd = fd;
	c->watch = loop_fd_watch(h->loop, fd, LOOP_READ, on_question, c);
	loop_timer_start(h->loop, &c->timer, patience, on_patience);
	list_push(&h->conns, &c->link);
	h->conns_len++;
}

static void port_free(struct port *p) {
	loop_fd_free(p->watch);
	if (p->fd >= 0) {
		close(p->fd);
	}
	free(p->key);
	free(p);
}

static bool port_open(struct port *p) {
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)p->number) };
	int one = 1;
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0 || setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 || bind(p->fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(p->fd, 64) < 0) {
		struct err err = { 0 };
		err_sys(&err, "listen on port %d", p->number);
		log_warn("proxy", "health checks of a Service cannot be answered", kv_c("service", p->key), kv_err(&err));
		return false;
	}
	p->watch = loop_fd_watch(p->h->loop, p->fd, LOOP_READ, on_accept, p);
	return true;
}

void health_set(struct health *h, struct str key, int port, int local_endpoints) {
	struct port *p = map_get(&h->ports, key);
	if (p && p->number != port) {
		map_remove(&h->ports, key);
		port_free(p);
		p = NULL;
	}
	if (port == 0) {
		return;
	}
	if (!p) {
		p = xcalloc(1, sizeof(*p));
		*p = (struct port){ .h = h, .key = str_dup(key), .number = port, .fd = -1 };
		if (!port_open(p)) {
			port_free(p);
			return;
		}
		map_set(&h->ports, key, p);
	}
	p->local_endpoints = local_endpoints;
}

void health_free(struct health *h) {
	if (!h) {
		return;
	}
	LIST_EACH(&h->conns, it) {
		conn_free(container_of(it, struct conn, link));
	}
	MAP_EACH(&h->ports, e) {
		port_free(e->value);
	}
	map_release(&h->ports);
	free(h);
}
