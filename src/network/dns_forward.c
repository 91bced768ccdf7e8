/* SPDX-License-Identifier: Apache-2.0 */
/* dns_forward.c - see dns_forward.h. One socket a question: the kernel picks a random port, and only that server may answer. */
#include "network/dns_forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/map.h"
#include "base/vec.h"

enum { IN_FLIGHT_MAX = 1000, SERVERS_MAX = 8, CACHE_MAX = 2000, CACHE_BYTES_MAX = 4096, EDNS_BYTES = 1232, TTL_MAX_S = 30, NEGATIVE_TTL_S = 5 };
static const nsec_t timeout = 2 * NSEC_PER_SEC;

struct ask {
	struct list link;
	struct dns_forward *f;
	struct dns_question q; /* its name is `name` */
	char *name;
	uint16_t id;
	bool tcp, connected, dnssec_ok, checking_disabled;
	int tries;
	int fd;
	struct loop_fd *watch;
	struct loop_timer timer;
	struct buf out, in;
	dns_forward_done done;
	void *arg;
};
struct cached {
	struct list link; /* oldest first */
	char *key;
	nsec_t until;
	size_t len;
	char bytes[];
};
struct dns_forward {
	struct loop *loop;
	struct sockaddr_in servers[SERVERS_MAX];
	size_t servers_len, first; /* `first`: the one that answered last */
	struct list asks;
	size_t in_flight;
	struct map cache;
	struct list cache_order;
};

static bool server_parse(const char *text, struct sockaddr_in *ret) {
	struct str ip, port;
	int number = 53;
	if (str_cut(str_c(text), ':', &ip, &port) && !str_to_int(port, 1, 65535, &number)) {
		return false;
	}
	auto_free char *c = str_dup(ip);
	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)number) };
	return inet_pton(AF_INET, c, &ret->sin_addr) == 1;
}

bool dns_forward_new(struct loop *loop, const char *const *servers, struct dns_forward **ret, struct err *err) {
	struct dns_forward *f = xcalloc(1, sizeof(*f));
	f->loop = loop;
	list_init(&f->asks);
	list_init(&f->cache_order);
	for (size_t i = 0; servers[i]; i++) {
		if (f->servers_len == SERVERS_MAX || !server_parse(servers[i], &f->servers[f->servers_len])) {
			free(f);
			return err_set(err, ERR_INVALID, "\"%s\" is no name server like 192.0.2.1:53, or there are more than %d", servers[i], SERVERS_MAX);
		}
		f->servers_len++;
	}
	*ret = f;
	return true;
}

/* ---- cache ---- */

static char *cache_key(const struct dns_question *q, bool dnssec_ok, bool tcp) {
	char *key = xasprintf("%d %d %d %.*s", q->type, dnssec_ok, tcp, STR_ARG(q->name));
	for (char *c = key; *c; c++) {
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
	}
	return key;
}

static void cached_free(struct dns_forward *f, struct cached *c) {
	list_remove(&c->link);
	map_remove(&f->cache, str_c(c->key));
	free(c->key);
	free(c);
}

static struct cached *cache_find(struct dns_forward *f, const struct dns_question *q, bool dnssec_ok, bool tcp) {
	auto_free char *key = cache_key(q, dnssec_ok, tcp);
	struct cached *c = map_get(&f->cache, str_c(key));
	if (c && c->until <= loop_now(f->loop)) {
		cached_free(f, c);
		c = NULL;
	}
	return c;
}

static void cache_put(struct dns_forward *f, const struct ask *k, const struct dns_message *m, struct str bytes) {
	uint32_t ttl = TTL_MAX_S;
	if (bytes.len > CACHE_BYTES_MAX || m->truncated || (m->rcode != DNS_NOERROR && m->rcode != DNS_NXDOMAIN)) {
		return;
	}
	for (size_t i = 0; i < m->answers_len; i++) {
		ttl = MIN(ttl, m->answers[i].ttl);
	}
	if (!m->answers_len) {
		ttl = NEGATIVE_TTL_S;
		for (size_t i = 0; i < m->authority_len; i++) {
			ttl = m->authority[i].type == DNS_SOA ? MIN(ttl, MIN(m->authority[i].minimum, m->authority[i].ttl)) : ttl;
		}
	}
	if (ttl == 0) {
		return;
	}
	char *key = cache_key(&k->q, k->dnssec_ok, k->tcp);
	struct cached *old = map_get(&f->cache, str_c(key));
	if (old) {
		cached_free(f, old);
	}
	if (f->cache.len >= CACHE_MAX) {
		cached_free(f, container_of(f->cache_order.next, struct cached, link));
	}
	struct cached *c = xcalloc(1, sizeof(*c) + bytes.len);
	c->key = key;
	c->until = loop_now(f->loop) + ttl * NSEC_PER_SEC;
	c->len = bytes.len;
	memcpy(c->bytes, bytes.ptr, bytes.len);
	map_set(&f->cache, str_c(key), c);
	list_push(&f->cache_order, &c->link);
}

/* ---- one question ---- */

static void socket_drop(struct ask *k) {
	loop_timer_stop(&k->timer);
	if (k->watch) {
		loop_fd_free(k->watch);
		k->watch = NULL;
	}
	if (k->fd >= 0) {
		close(k->fd);
		k->fd = -1;
	}
	buf_clear(&k->in);
}

static void ask_free(struct ask *k) {
	socket_drop(k);
	list_remove(&k->link);
	k->f->in_flight--;
	buf_release(&k->in);
	buf_release(&k->out);
	free(k->name);
	free(k);
}

static void ask_next(struct ask *k);

static void ask_end(struct ask *k, const struct dns_message *m, struct str bytes) {
	dns_forward_done done = k->done;
	void *arg = k->arg;
	/* The answer may lie in k->in. */
	done(arg, m, bytes);
	ask_free(k);
}

static void on_timeout(struct loop_timer *t) {
	ask_next(container_of(t, struct ask, timer));
}

/* Whether these bytes answer our question; anything else is somebody's guess and is passed over. */
static bool answer_take(struct ask *k, struct str bytes) {
	auto_arena struct arena a = { 0 };
	struct dns_message m;
	struct err err = { 0 };
	if (!dns_parse(&a, bytes, &m, &err) || !m.response || m.id != k->id || m.questions != 1 || m.question.type != k->q.type ||
		!dns_name_eq(m.question.name, k->q.name)) {
		return false;
	}
	if (m.rcode == DNS_SERVFAIL || m.rcode == DNS_REFUSED || m.rcode == DNS_NOTIMP) {
		if (k->tries < (int)k->f->servers_len) {
			ask_next(k);
			return true;
		}
	} else {
		k->f->first = (k->f->first + (size_t)k->tries - 1) % k->f->servers_len;
		cache_put(k->f, k, &m, bytes);
	}
	ask_end(k, &m, bytes);
	return true;
}

static void on_udp(void *arg, int events) {
	struct ask *k = arg;
	for (;;) {
		char bytes[65536];
		ssize_t n = recv(k->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR) {
				ask_next(k); /* nobody there */
			}
			return;
		}
		if (answer_take(k, (struct str){ bytes, (size_t)n })) {
			return;
		}
	}
}

static void on_tcp(void *arg, int events) {
	struct ask *k = arg;
	if (events & LOOP_WRITE) {
		ssize_t n = send(k->fd, k->out.ptr, k->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			ask_next(k);
			return;
		}
		buf_drop(&k->out, n > 0 ? (size_t)n : 0);
		if (k->out.len == 0) {
			loop_fd_change(k->watch, LOOP_READ);
		}
		return;
	}
	char *room = buf_reserve(&k->in, 4096);
	ssize_t n = room ? recv(k->fd, room, 4096, MSG_DONTWAIT) : 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		ask_next(k);
		return;
	}
	k->in.len += (size_t)n;
	if (k->in.len >= 2) {
		size_t len = (size_t)(uint8_t)k->in.ptr[0] << 8 | (uint8_t)k->in.ptr[1];
		if (k->in.len >= 2 + len && !answer_take(k, (struct str){ k->in.ptr + 2, len })) {
			ask_next(k);
		}
	}
}

static bool query_build(struct ask *k) {
	struct dns_message m = { .recursion_desired = true, .question = k->q, .questions = 1, .edns = true, .udp_bytes_max = EDNS_BYTES, .dnssec_ok = k->dnssec_ok,
		.checking_disabled = k->checking_disabled };
	struct err err = { 0 };
	auto_buf struct buf b = BUF_INIT(1024);
	if (getrandom(&k->id, sizeof(k->id), 0) != sizeof(k->id)) {
		return false;
	}
	m.id = k->id;
	buf_clear(&k->out);
	if (!dns_build(&m, 0, &b, &err)) {
		return false;
	}
	if (k->tcp) {
		buf_char(&k->out, (char)(b.len >> 8));
		buf_char(&k->out, (char)b.len);
	}
	return buf_str(&k->out, buf_view(&b));
}

static void ask_next(struct ask *k) {
	struct dns_forward *f = k->f;
	socket_drop(k);
	while (k->tries < (int)f->servers_len) {
		const struct sockaddr_in *to = &f->servers[(f->first + (size_t)k->tries++) % f->servers_len];
		if (!query_build(k)) {
			break;
		}
		k->fd = socket(AF_INET, (k->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		bool ok = k->fd >= 0 && (connect(k->fd, (const struct sockaddr *)to, sizeof(*to)) == 0 || (k->tcp && errno == EINPROGRESS)) &&
			(k->tcp || send(k->fd, k->out.ptr, k->out.len, MSG_NOSIGNAL) == (ssize_t)k->out.len);
		if (ok) {
			k->watch = loop_fd_watch(f->loop, k->fd, k->tcp ? LOOP_WRITE : LOOP_READ, k->tcp ? on_tcp : on_udp, k);
			loop_timer_start(f->loop, &k->timer, timeout, on_timeout);
			return;
		}
		socket_drop(k);
	}
	ask_end(k, NULL, (struct str){ 0 });
}

void dns_forward_ask(struct dns_forward *f, const struct dns_question *q, bool tcp, bool dnssec_ok, bool checking_disabled, dns_forward_done done, void *arg) {
	struct cached *c = checking_disabled ? NULL : cache_find(f, q, dnssec_ok, tcp);
	if (c) {
		auto_arena struct arena a = { 0 };
		struct dns_message m;
		struct err err = { 0 };
		if (dns_parse(&a, (struct str){ c->bytes, c->len }, &m, &err)) {
			done(arg, &m, (struct str){ c->bytes, c->len });
			return;
		}
	}
	if (f->in_flight >= IN_FLIGHT_MAX) {
		done(arg, NULL, (struct str){ 0 });
		return;
	}
	struct ask *k = xcalloc(1, sizeof(*k));
	k->f = f;
	k->name = str_dup(q->name);
	k->q = *q;
	k->q.name = str_c(k->name);
	k->tcp = tcp;
	k->dnssec_ok = dnssec_ok;
	k->checking_disabled = checking_disabled;
	k->fd = -1;
	k->in.max = 2 + 65535 + 4096;
	k->out.max = 2048;
	k->done = done;
	k->arg = arg;
	list_push(&f->asks, &k->link);
	f->in_flight++;
	ask_next(k);
}

void dns_forward_free(struct dns_forward *f) {
	if (!f) {
		return;
	}
	LIST_EACH(&f->asks, it) {
		ask_free(container_of(it, struct ask, link));
	}
	LIST_EACH(&f->cache_order, it) {
		cached_free(f, container_of(it, struct cached, link));
	}
	map_release(&f->cache);
	free(f);
}
