/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.c - the cluster's name server: sockets, the informers behind the zone, and what ties a question to its answer. One
 * thread and loop; a question for the cluster is answered in the turn that reads it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"
#include "base/vec.h"
#include "client/informer.h"
#include "network/dns_forward.h"
#include "network/dns_zone.h"
#include "network/network.h"

enum {
	UDP_BATCH = 32,
	UDP_BYTES_MAX = 1232, /* no larger datagram leaves: fragments are lost too often */
	QUERY_BYTES_MAX = 4096,
	TCP_CONNECTIONS_MAX = 256,
	TCP_PENDING_MAX = 100, /* forwarded questions of one connection */
	TCP_OUT_MAX = 1 << 20,
	REVERSE_NAMES_MAX = 64,
};
static const nsec_t tcp_idle = 10 * NSEC_PER_SEC;

struct reverse_name { /* one name of one address; several may share it */
	struct reverse_name *next;
	char name[]; /* "db-0.db.prod.svc" */
};
struct dns {
	struct client *client;
	struct loop *loop;
	char *domain;
	struct informer *services, *slices;
	struct dns_source source;
	struct dns_zone zone;
	struct map reverse;    /* address -> struct reverse_name: endpoints of any Service */
	struct map namespaces; /* name -> number of Services, as a pointer */
	struct dns_forward *forward;
	int udp, tcp, port;
	struct loop_fd *udp_watch, *tcp_watch;
	struct list conns;
	size_t conns_len;
	struct list pending;   /* struct pending */
};

/* ---- the zone's source ---- */

static struct obj *source_service(void *arg, struct str ns, struct str name) {
	struct dns *d = arg;
	return d->services ? informer_get(d->services, ns, name) : NULL;
}

static void source_slices(void *arg, struct str ns, struct str name, struct client_list *ret) {
	struct dns *d = arg;
	char key[520];
	int n = snprintf(key, sizeof(key), "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
	*ret = (struct client_list){ 0 };
	if (d->slices && n > 0 && n < (int)sizeof(key)) {
		informer_index(d->slices, (struct str){ key, (size_t)n }, ret);
	}
}

static bool source_has_namespace(void *arg, struct str ns) {
	struct dns *d = arg;
	return map_get(&d->namespaces, ns) != NULL;
}

static size_t source_reverse(void *arg, struct arena *a, const char *address, struct str *ret, size_t max) {
	struct dns *d = arg;
	struct client_list l = { 0 };
	size_t n = 0;
	char key[64];
	snprintf(key, sizeof(key), "ip:%s", address);
	informer_index(d->services, str_c(key), &l);
	for (size_t i = 0; i < l.len && n < max; i++) {
		const struct value *meta = value_get(l.at[i]->root, N_metadata);
		ret[n++] = arena_printf(a, "%.*s.%.*s.svc", STR_ARG(value_str_at(meta, N_name)), STR_ARG(value_str_at(meta, N_namespace)));
	}
	client_list_release(&l);
	for (struct reverse_name *r = map_get(&d->reverse, str_c(address)); r && n < max; r = r->next) {
		/* Only headless Services give their endpoints names of their own. */
		struct str rest = str_c(r->name), host, svc, ns;
		if (!str_cut(rest, '.', &host, &rest) || !str_cut(rest, '.', &svc, &rest) || !str_cut(rest, '.', &ns, &rest)) {
			continue;
		}
		auto_obj struct obj *o = source_service(d, ns, svc);
		if (o && dns_service_headless(o->root)) {
			ret[n++] = arena_str(a, str_c(r->name));
		}
	}
	return n;
}

static void service_index(const struct obj *o, struct arena *a, void (*add)(void *ctx, struct str key), void *ctx) {
	const struct value *ips = value_at(o->root, N_spec, N_clusterIPs);
	struct str ip = value_str_at(o->root, N_spec, N_clusterIP);
	if (ip.len && !str_eq(ip, S("None"))) {
		add(ctx, arena_printf(a, "ip:%.*s", STR_ARG(ip)));
	}
	VALUE_EACH(ips, v) {
		if (!str_eq(value_as_str(v), ip) && !str_eq(value_as_str(v), S("None"))) {
			add(ctx, arena_printf(a, "ip:%.*s", STR_ARG(value_as_str(v))));
		}
	}
}

static struct str slice_service_name(const struct obj *o) {
	return value_as_str(value_get_str(value_at(o->root, N_metadata, N_labels), S("kubernetes.io/service-name")));
}

static void slice_index(const struct obj *o, struct arena *a, void (*add)(void *ctx, struct str key), void *ctx) {
	struct str name = slice_service_name(o), ns = value_str_at(o->root, N_metadata, N_namespace);
	if (name.len) {
		add(ctx, arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)));
	}
}

static void reverse_add(struct dns *d, struct str address, struct str name) {
	struct reverse_name *r = xmalloc(sizeof(*r) + name.len + 1), *head = map_get(&d->reverse, address);
	size_t n = 0;
	for (struct reverse_name *it = head; it; it = it->next) {
		n++;
	}
	if (n >= REVERSE_NAMES_MAX) {
		free(r);
		return;
	}
	memcpy(r->name, name.ptr, name.len);
	r->name[name.len] = 0;
	r->next = head;
	map_set(&d->reverse, address, r);
}

static void reverse_drop(struct dns *d, struct str address, struct str name) {
	struct reverse_name *head = map_get(&d->reverse, address), **at = &head;
	while (*at && !str_eqc(name, (*at)->name)) {
		at = &(*at)->next;
	}
	if (!*at) {
		return;
	}
	struct reverse_name *gone = *at;
	*at = gone->next;
	free(gone);
	if (head) {
		map_set(&d->reverse, address, head);
	} else {
		map_remove(&d->reverse, address);
	}
}

static void slice_names(struct dns *d, struct obj *o, void (*each)(struct dns *d, struct str address, struct str name)) {
	auto_arena struct arena a = { 0 };
	struct str svc = slice_service_name(o), ns = value_str_at(o->root, N_metadata, N_namespace);
	if (!svc.len) {
		return;
	}
	VALUE_EACH(value_get(o->root, N_endpoints), e) {
		struct str name = arena_printf(&a, "%.*s.%.*s.%.*s.svc", STR_ARG(dns_endpoint_name(&a, e)), STR_ARG(svc), STR_ARG(ns));
		if (dns_endpoint_ready(e)) {
			VALUE_EACH(value_get(e, N_addresses), ip) {
				each(d, value_as_str(ip), name);
			}
		}
	}
}

static void on_slice(void *arg, struct obj *old, struct obj *now) {
	if (old) {
		slice_names(arg, old, reverse_drop);
	}
	if (now) {
		slice_names(arg, now, reverse_add);
	}
}

static void on_service(void *arg, struct obj *old, struct obj *now) {
	struct dns *d = arg;
	d->zone.serial++;
	if (old && now) {
		return;
	}
	struct str ns = value_str_at((now ? now : old)->root, N_metadata, N_namespace);
	uintptr_t n = (uintptr_t)map_get(&d->namespaces, ns);
	n += now ? 1 : (uintptr_t)-1;
	if (n) {
		map_set(&d->namespaces, ns, (void *)n);
	} else {
		map_remove(&d->namespaces, ns);
	}
}

static void informers_begin(void *arg) {
	static const struct gvr services = GVR_INIT("", "v1", "services"), slices = GVR_INIT("discovery.k8s.io", "v1", "endpointslices");
	struct dns *d = arg;
	d->services = informer_start(&(struct informer_opts){ .client = d->client, .loop = d->loop, .gvr = services, .on_change = on_service, .index = service_index, .arg = d });
	d->slices = informer_start(&(struct informer_opts){ .client = d->client, .loop = d->loop, .gvr = slices, .on_change = on_slice, .index = slice_index, .arg = d });
}

static bool filled(struct dns *d) {
	return d->services && d->slices && informer_synced(d->services) && informer_synced(d->slices);
}

/* ---- clients ---- */

struct tcp_conn {
	struct list link;
	struct dns *d;
	int fd, events;
	struct loop_fd *watch;
	struct loop_timer idle;
	struct buf in, out;
	size_t pending;
	bool ended; /* reads no more; goes when all is answered */
};
/* Whom an answer goes to. */
struct client_ref {
	struct tcp_conn *conn; /* NULL: UDP */
	struct sockaddr_in peer;
	struct in_addr local;  /* the address that was asked, and answers */
};
/* A question that waits for an upstream server. */
struct pending {
	struct list link;
	struct dns *d;
	struct client_ref to;
	struct arena arena;    /* all of `m` */
	struct dns_message m;  /* the answer so far */
	bool chase;            /* its answers are to be appended to ours */
	uint16_t udp_bytes_max;
};

static void udp_send(struct dns *d, const struct client_ref *to, struct str bytes) {
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control = { 0 };
	struct iovec iov = { (void *)bytes.ptr, bytes.len };
	struct msghdr msg = { .msg_name = (void *)&to->peer, .msg_namelen = sizeof(to->peer), .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control) };
	struct in_pktinfo info = { .ipi_spec_dst = to->local };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	(void)!sendmsg(d->udp, &msg, MSG_DONTWAIT | MSG_NOSIGNAL); /* a full socket buffer drops, as the network would */
}

static void conn_free(struct tcp_conn *c);
static void conn_flush(struct tcp_conn *c);

static void reply_bytes(struct dns *d, const struct client_ref *to, struct str bytes) {
	if (!to->conn) {
		udp_send(d, to, bytes);
		return;
	}
	struct tcp_conn *c = to->conn;
	buf_char(&c->out, (char)(bytes.len >> 8));
	buf_char(&c->out, (char)bytes.len);
	buf_str(&c->out, bytes);
}

static void reply(struct dns *d, const struct client_ref *to, const struct dns_message *m, uint16_t udp_bytes_max) {
	auto_buf struct buf b = BUF_INIT(65535);
	struct err err = { 0 };
	size_t max = to->conn ? 65535 : MIN(MAX(udp_bytes_max, (uint16_t)512), (uint16_t)UDP_BYTES_MAX);
	if (!dns_build(m, max, &b, &err)) {
		struct dns_message failed = { .id = m->id, .response = true, .opcode = m->opcode, .rcode = DNS_SERVFAIL, .recursion_desired = m->recursion_desired };
		buf_clear(&b);
		b.overflow = false;
		if (!dns_build(&failed, max, &b, &err)) {
			return;
		}
	}
	reply_bytes(d, to, buf_view(&b));
}

/* ---- questions ---- */

static void pending_free(struct pending *p) {
	list_remove(&p->link);
	arena_release(&p->arena);
	free(p);
}

static struct dns_record *records_join(struct arena *a, const struct dns_record *x, size_t nx, const struct dns_record *y, size_t ny) {
	struct dns_record *out = arena_array(a, struct dns_record, nx + ny);
	if (nx) {
		memcpy(out, x, nx * sizeof(*x));
	}
	if (ny) {
		memcpy(out + nx, y, ny * sizeof(*y));
	}
	return out;
}

static void on_forwarded(void *arg, const struct dns_message *got, struct str bytes) {
	struct pending *p = arg;
	struct dns *d = p->d;
	struct tcp_conn *c = p->to.conn;
	(void)bytes;
	if (!got) {
		p->m.rcode = DNS_SERVFAIL;
	} else if (p->chase) {
		p->m.answers = records_join(&p->arena, p->m.answers, p->m.answers_len, got->answers, got->answers_len);
		p->m.answers_len += got->answers_len;
		p->m.rcode = got->rcode;
	} else {
		struct dns_message m = *got;
		m.id = p->m.id;
		m.question = p->m.question; /* with the client's own letters */
		m.response = true;
		m.authoritative = false;
		m.recursion_desired = p->m.recursion_desired;
		m.recursion_available = true;
		m.edns = p->m.edns;
		m.udp_bytes_max = UDP_BYTES_MAX;
		m.edns_version = 0;
		p->m = m;
	}
	bool gone = c && c->fd < 0;
	if (!gone) {
		reply(d, &p->to, &p->m, p->udp_bytes_max);
	}
	pending_free(p);
	if (c) {
		c->pending--;
		conn_flush(c);
	}
}

static void forward(struct dns *d, const struct client_ref *to, const struct dns_message *m, const struct dns_question *q, bool chase, uint16_t udp_bytes_max,
	bool dnssec_ok, bool checking_disabled) {
	if (to->conn && to->conn->pending >= TCP_PENDING_MAX) {
		struct dns_message busy = *m;
		busy.rcode = DNS_SERVFAIL;
		reply(d, to, &busy, udp_bytes_max);
		return;
	}
	struct pending *p = xcalloc(1, sizeof(*p));
	p->d = d;
	p->to = *to;
	p->m = *m;
	p->m.question.name = arena_str(&p->arena, m->question.name);
	p->m.answers = records_join(&p->arena, m->answers, m->answers_len, NULL, 0);
	for (size_t i = 0; i < p->m.answers_len; i++) { /* a chain's names: the only ones that are kept */
		p->m.answers[i].name = arena_str(&p->arena, p->m.answers[i].name);
		p->m.answers[i].target = arena_str(&p->arena, p->m.answers[i].target);
	}
	p->chase = chase;
	p->udp_bytes_max = udp_bytes_max;
	list_push(&d->pending, &p->link);
	if (to->conn) {
		to->conn->pending++;
	}
	dns_forward_ask(d->forward, q, to->conn != NULL, dnssec_ok, checking_disabled, on_forwarded, p);
}

static void answer(struct dns *d, struct arena *a, const struct client_ref *to, struct str bytes) {
	struct dns_message q, m;
	struct err err = { 0 };
	struct str target = { 0 };
	uint16_t id;
	bool is_response;

	if (!dns_parse(a, bytes, &q, &err)) {
		if (dns_parse_id(bytes, &id, &is_response) && !is_response) {
			m = (struct dns_message){ .id = id, .response = true, .rcode = DNS_FORMERR };
			reply(d, to, &m, 512);
		}
		return;
	}
	if (q.response) {
		return; /* never answer an answer: two servers would talk for ever */
	}
	m = (struct dns_message){ .id = q.id, .response = true, .opcode = q.opcode, .recursion_desired = q.recursion_desired, .recursion_available = d->forward != NULL,
		.question = q.question, .questions = q.questions ? 1 : 0, .edns = q.edns, .udp_bytes_max = UDP_BYTES_MAX };
	if (q.opcode != 0) {
		m.rcode = DNS_NOTIMP;
	} else if (q.questions != 1) {
		m.rcode = DNS_FORMERR;
		m.questions = 0;
		m.question = (struct dns_question){ 0 };
	} else if (q.edns && q.edns_version != 0) {
		m.rcode = DNS_BADVERS;
	} else if ((q.question.klass != DNS_IN && q.question.klass != DNS_CLASS_ANY) || q.question.type == DNS_AXFR) {
		m.rcode = DNS_REFUSED;
	} else if (!filled(d)) {
		m.rcode = DNS_SERVFAIL; /* not yet known: "there is no such name" would be remembered */
	} else {
		switch (dns_zone_answer(&d->zone, a, &m, &target)) {
		case DNS_ANSWERED:
			break;
		case DNS_OUTSIDE:
			if (d->forward) {
				forward(d, to, &m, &q.question, false, q.udp_bytes_max, q.dnssec_ok, q.checking_disabled);
				return;
			}
			m.rcode = DNS_NXDOMAIN;
			break;
		case DNS_CHASE:
			if (d->forward) {
				struct dns_question next = { .name = target, .type = q.question.type, .klass = DNS_IN };
				forward(d, to, &m, &next, true, q.udp_bytes_max, false, q.checking_disabled);
				return;
			}
			break;
		}
	}
	reply(d, to, &m, q.udp_bytes_max);
}

/* ---- UDP ---- */

static void on_udp(void *arg, int events) {
	struct dns *d = arg;
	auto_arena struct arena a = { 0 };
	for (int i = 0; i < UDP_BATCH; i++) {
		char bytes[QUERY_BYTES_MAX];
		union {
			struct cmsghdr h;
			char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
		} control;
		struct client_ref to = { 0 };
		struct iovec iov = { bytes, sizeof(bytes) };
		struct msghdr msg = { .msg_name = &to.peer, .msg_namelen = sizeof(to.peer), .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			.msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(d->udp, &msg, MSG_DONTWAIT);
		if (n < 0) {
			return;
		}
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
				struct in_pktinfo info;
				memcpy(&info, CMSG_DATA(c), sizeof(info));
				to.local = info.ipi_addr;
			}
		}
		answer(d, &a, &to, (struct str){ bytes, (size_t)n });
		arena_clear(&a);
	}
}

/* ---- TCP ---- */

static void conn_free(struct tcp_conn *c) {
	if (c->fd >= 0) {
		loop_timer_stop(&c->idle);
		loop_fd_free(c->watch);
		close(c->fd);
		c->fd = -1;
		c->d->conns_len--;
	}
	if (c->pending == 0) { /* else the last answer frees it */
		list_remove(&c->link);
		buf_release(&c->in);
		buf_release(&c->out);
		free(c);
	}
}

static void conn_watch(struct tcp_conn *c, int events) {
	if (c->events != events) {
		c->events = events;
		loop_fd_change(c->watch, events);
	}
}

static void conn_flush(struct tcp_conn *c) {
	if (c->fd < 0) {
		conn_free(c);
		return;
	}
	while (c->out.len) {
		ssize_t n = send(c->fd, c->out.ptr, c->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && errno == EAGAIN) {
			break;
		}
		if (n <= 0 || c->out.overflow) {
			conn_free(c);
			return;
		}
		buf_drop(&c->out, (size_t)n);
	}
	if (c->ended && !c->pending && !c->out.len) {
		conn_free(c);
		return;
	}
	/* One that does not read its answers is not read either. */
	conn_watch(c, c->out.len ? LOOP_WRITE : c->ended ? 0 : LOOP_READ);
}

static void conn_questions(struct tcp_conn *c) {
	auto_arena struct arena a = { 0 };
	struct client_ref to = { .conn = c };
	size_t at = 0;
	c->pending++; /* keeps it alive while answers are made */
	while (c->in.len - at >= 2) {
		size_t len = (size_t)(uint8_t)c->in.ptr[at] << 8 | (uint8_t)c->in.ptr[at + 1];
		if (c->in.len - at - 2 < len) {
			break;
		}
		answer(c->d, &a, &to, (struct str){ c->in.ptr + at + 2, len });
		arena_clear(&a);
		at += 2 + len;
	}
	buf_drop(&c->in, at);
	c->pending--;
	conn_flush(c);
}

static void on_idle(struct loop_timer *t) {
	conn_free(container_of(t, struct tcp_conn, idle));
}

static void on_conn(void *arg, int events) {
	struct tcp_conn *c = arg;
	loop_timer_start(c->d->loop, &c->idle, tcp_idle, on_idle);
	if (c->out.len) {
		conn_flush(c);
		return;
	}
	char *room = buf_reserve(&c->in, QUERY_BYTES_MAX);
	ssize_t n = room ? recv(c->fd, room, QUERY_BYTES_MAX, MSG_DONTWAIT) : 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n < 0) {
		conn_free(c);
		return;
	}
	c->ended = n == 0;
	c->in.len += (size_t)n;
	conn_questions(c);
}

static void on_accept(void *arg, int events) {
	struct dns *d = arg;
	for (int i = 0; i < UDP_BATCH; i++) {
		int fd = accept4(d->tcp, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			return;
		}
		if (d->conns_len >= TCP_CONNECTIONS_MAX) {
			close(fd);
			continue;
		}
		struct tcp_conn *c = xcalloc(1, sizeof(*c));
		c->d = d;
		c->fd = fd;
		c->in.max = 2 + 65535 + QUERY_BYTES_MAX;
		c->out.max = TCP_OUT_MAX;
		c->events = LOOP_READ;
		c->watch = loop_fd_watch(d->loop, fd, LOOP_READ, on_conn, c);
		list_push(&d->conns, &c->link);
		d->conns_len++;
		loop_timer_start(d->loop, &c->idle, tcp_idle, on_idle);
	}
}

/* ---- life ---- */

static int socket_bind(int type, struct sockaddr_in *at, struct err *err) {
	int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		err_sys(err, "open a socket");
		return -1;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, type == SOCK_STREAM ? sizeof(one) : 0);
	(void)setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)at, sizeof(*at)) < 0 || (type == SOCK_STREAM && listen(fd, 128) < 0)) {
		err_sys(err, "listen for DNS on %s:%d", inet_ntoa(at->sin_addr), ntohs(at->sin_port));
		close(fd);
		return -1;
	}
	return fd;
}

/* The same port for both; a free one is tried anew when TCP finds it taken. */
static bool sockets_open(struct dns *d, struct in_addr ip, int port, struct err *err) {
	for (int tries = 0; tries < 20; tries++) {
		struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = ip, .sin_port = htons((uint16_t)MAX(port, 0)) };
		socklen_t len = sizeof(at);
		d->udp = socket_bind(SOCK_DGRAM, &at, err);
		if (d->udp < 0 || getsockname(d->udp, (struct sockaddr *)&at, &len) < 0) {
			return false;
		}
		d->tcp = socket_bind(SOCK_STREAM, &at, err);
		if (d->tcp >= 0) {
			d->port = ntohs(at.sin_port);
			return true;
		}
		if (port >= 0) {
			return false;
		}
		close(d->udp);
		d->udp = -1;
		err_clear(err);
	}
	return err_set(err, ERR_UNAVAILABLE, "no port is free for DNS");
}

static void dns_free(struct dns *d) {
	loop_stop(d->loop);
	if (d->services) {
		informer_stop(d->services);
		informer_stop(d->slices);
	}
	dns_forward_free(d->forward);
	LIST_EACH(&d->pending, it) {
		struct pending *p = container_of(it, struct pending, link);
		if (p->to.conn) {
			p->to.conn->pending--;
		}
		pending_free(p);
	}
	LIST_EACH(&d->conns, it) {
		conn_free(container_of(it, struct tcp_conn, link));
	}
	loop_fd_free(d->udp_watch);
	loop_fd_free(d->tcp_watch);
	if (d->udp >= 0) {
		close(d->udp);
	}
	if (d->tcp >= 0) {
		close(d->tcp);
	}
	loop_free(d->loop);
	MAP_EACH(&d->reverse, e) {
		for (struct reverse_name *r = e->value, *next; r; r = next) {
			next = r->next;
			free(r);
		}
	}
	map_release(&d->reverse);
	map_release(&d->namespaces);
	client_free(d->client);
	free(d->domain);
	free(d);
}

static bool domain_take(struct dns *d, const char *text, struct err *err) {
	struct str s = str_c(text && *text ? text : "cluster.local");
	if (s.len > 200 || s.ptr[0] == '.') {
		return err_set(err, ERR_INVALID, "\"%s\" is no domain", s.ptr);
	}
	d->domain = xasprintf("%s%s", s.ptr, s.ptr[s.len - 1] == '.' ? "" : ".");
	for (char *c = d->domain; *c; c++) {
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
	}
	return true;
}

bool dns_start(const struct dns_opts *opts, struct dns **ret, struct err *err) {
	struct dns *d = xcalloc(1, sizeof(*d));
	const char *address = opts->bind_address && *opts->bind_address ? opts->bind_address : "0.0.0.0";
	struct in_addr ip;

	d->udp = d->tcp = -1;
	list_init(&d->conns);
	list_init(&d->pending);
	d->client = client_ref(opts->client);
	d->loop = loop_new("dns");
	bool ok = inet_pton(AF_INET, address, &ip) == 1 || err_set(err, ERR_INVALID, "\"%s\" is no IPv4 address", address);
	ok = ok && ((opts->port >= -1 && opts->port <= 65535) || err_set(err, ERR_INVALID, "port %d is out of range", opts->port));
	ok = ok && domain_take(d, opts->domain, err) && sockets_open(d, ip, opts->port ? opts->port : 53, err);
	ok = ok && (!opts->forward || !opts->forward[0] || dns_forward_new(d->loop, opts->forward, &d->forward, err));
	if (ok) {
		d->source = (struct dns_source){ source_service, source_slices, source_has_namespace, source_reverse, d };
		d->zone = (struct dns_zone){ .domain = str_c(d->domain), .source = &d->source, .serial = (uint32_t)(clock_wall() / NSEC_PER_SEC) };
		d->udp_watch = loop_fd_watch(d->loop, d->udp, LOOP_READ, on_udp, d);
		d->tcp_watch = loop_fd_watch(d->loop, d->tcp, LOOP_READ, on_accept, d);
		ok = (loop_call(d->loop, informers_begin, d) || err_set(err, ERR_INTERNAL, "the loop takes no work")) && loop_start_thread(d->loop, err);
	}
	if (!ok) {
		dns_free(d);
		return false;
	}
	*ret = d;
	return true;
}

int dns_port(const struct dns *d) {
	return d->port;
}

void dns_stop(struct dns *d) {
	if (d) {
		dns_free(d);
	}
}
