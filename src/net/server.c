/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - listeners, io loops and connections of the HTTP server; see server_int.h for the files beside it.
 *
 * The first io loop accepts and deals connections out in turn. A connection is read when it can be, and flushed at most once per turn of
 * its loop: everything that became ready in a turn leaves in one write. Time limits are looked at once a second.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "net/server_int.h"

#define SWEEP (NSEC_PER_SEC)
#define LINGER_TIME (2 * NSEC_PER_SEC)
#define READ_TURNS 8 /* reads of one connection before others get theirs */

static void conn_ready(void *arg, int events);
static void conn_read(struct conn *c);

/* ---- the stage: small frames become one write ---- */

static void stage_flush(struct conn *c) {
	struct io *io = c->io;
	if (io->stage_len) {
		sock_write(&c->sock, io->stage, io->stage_len);
		io->stage_len = 0;
	}
}

void stage_put(struct conn *c, const void *bytes, size_t len) {
	struct io *io = c->io;
	while (len) {
		size_t n = MIN(len, STAGE_BYTES - io->stage_len);
		memcpy(io->stage + io->stage_len, bytes, n);
		io->stage_len += n;
		bytes = (const char *)bytes + n;
		len -= n;
		if (io->stage_len == STAGE_BYTES) {
			stage_flush(c);
		}
	}
}

/* ---- connections ---- */

void conn_deadline(struct conn *c, nsec_t span) {
	c->deadline = span ? loop_now(c->io->loop) + span : 0;
}

static void conn_watch(struct conn *c) {
	if (c->watch && !c->dying) {
		loop_fd_change(c->watch, (c->reading_paused || c->read_eof ? 0 : LOOP_READ) | (sock_unsent(&c->sock) ? LOOP_WRITE : 0));
	}
}

/* Exchanges and memory go now; the struct when the last call on the stack has let go. */
static void conn_free_if_unused(struct conn *c) {
	if (c->dying && !c->in_use) {
		free(c);
	}
}

static void conn_drop(struct conn *c) {
	c->dying = true;
	list_remove(&c->dirty);
	list_remove(&c->link);
	c->io->conns_len--;
	atomic_fetch_sub(&c->io->server->connections, 1);
	loop_fd_free(TAKE(c->watch));
	if (c->cur) {
		exchange_detach(TAKE(c->cur));
	}
	h2_release(c);
	sock_release(&c->sock);
	buf_release(&c->in);
	free(c->peer_cert);
	c->peer_cert = NULL;
}

void conn_kill(struct conn *c) {
	if (!c->dying) {
		conn_drop(c);
		conn_free_if_unused(c);
	}
}

void conn_dirty(struct conn *c) {
	if (!c->dying && !list_linked(&c->dirty)) {
		list_push(&c->io->dirty, &c->dirty);
	}
}

void conn_linger(struct conn *c) {
	/* RFC 9112 section 9.6: a close with unread input would reset the connection and may destroy the answer on its way. */
	c->close_when_sent = true;
	conn_dirty(c);
}

/* Sends what can be sent and sees to what follows. */
static void conn_flush(struct conn *c) {
	if (c->dying) {
		return;
	}
	c->in_use++;
	for (;;) {
		size_t before = sock_unsent(&c->sock);
		if (before < UNSENT_MAX) {
			switch (c->state) {
			case CONN_H1:
				h1_pump(c);
				break;
			case CONN_H2:
				h2_pump(c);
				break;
			case CONN_HANDSHAKE:
			case CONN_LINGER:
				break;
			}
			if (c->dying) {
				c->io->stage_len = 0;
				break;
			}
			stage_flush(c);
		}
		size_t waiting = sock_unsent(&c->sock);
		enum sock_io io = sock_flush(&c->sock);
		if (io == SOCK_ERROR) {
			conn_kill(c);
			break;
		}
		if (io == SOCK_AGAIN) {
			if (!c->write_deadline || sock_unsent(&c->sock) < waiting) {
				c->write_deadline = loop_now(c->io->loop) + c->io->server->opts.write_timeout;
			}
			conn_watch(c);
			break;
		}
		c->write_deadline = 0;
		if (waiting > 0) {
			continue; /* all is out: there may be more */
		}
		if (c->close_when_sent && c->state != CONN_LINGER) {
			c->state = CONN_LINGER;
			c->reading_paused = false;
			sock_shutdown(&c->sock);
			conn_deadline(c, LINGER_TIME);
			if (c->read_eof) {
				conn_kill(c);
				break;
			}
		}
		conn_watch(c);
		break;
	}
	if (c->read_again && !c->dying) {
		c->read_again = false;
		conn_read(c);
	}
	c->in_use--;
	conn_free_if_unused(c);
}

static void conn_input(struct conn *c, struct str bytes) {
	switch (c->state) {
	case CONN_H1:
		if (!c->in.len && !c->cur) { /* the first byte of a request */
			conn_deadline(c, c->io->server->opts.headers_timeout);
		}
		buf_str(&c->in, bytes);
		h1_input(c);
		break;
	case CONN_H2:
		h2_input(c, bytes);
		break;
	case CONN_HANDSHAKE:
	case CONN_LINGER:
		break;
	}
}

static void conn_eof(struct conn *c) {
	c->read_eof = true;
	switch (c->state) {
	case CONN_H1:
		h1_eof(c);
		break;
	case CONN_H2:
	case CONN_HANDSHAKE:
	case CONN_LINGER:
		conn_kill(c);
		break;
	}
}

static void handshake(struct conn *c) {
	struct err err = { 0 };
	switch (sock_handshake(&c->sock, &err)) {
	case SOCK_OK:
		c->peer_cert = tls_peer_identity(c->sock.ssl, &c->peer_cert_error);
		c->state = CONN_H1;
		if (tls_is_h2(c->sock.ssl)) {
			c->state = CONN_H2;
			h2_start(c);
		}
		conn_dirty(c);
		break;
	case SOCK_AGAIN:
		conn_dirty(c);
		break;
	case SOCK_EOF:
	case SOCK_ERROR:
		log_debug("net", "TLS handshake failed", kv_c("peer", c->peer), kv_err(&err));
		conn_kill(c);
		break;
	}
}

static void conn_read(struct conn *c) {
	struct err err = { 0 };
	struct io *io = c->io;
	c->in_use++;
	sock_woken(&c->sock);
	if (c->state == CONN_HANDSHAKE) {
		handshake(c);
	}
	for (int turns = 0; !c->dying && c->state != CONN_HANDSHAKE && !c->reading_paused && !c->read_eof; turns++) {
		size_t n = 0;
		enum sock_io result = sock_read(&c->sock, io->in, STAGE_BYTES, &n, &err);
		if (result == SOCK_OK) {
			conn_input(c, (struct str){ io->in, n });
			/* Bytes that TLS holds would not wake us: only plain sockets may be left for later. */
			if (turns < READ_TURNS || c->sock.ssl) {
				continue;
			}
		} else if (result == SOCK_EOF) {
			conn_eof(c);
		} else if (result == SOCK_ERROR) {
			conn_kill(c);
		}
		break;
	}
	conn_watch(c);
	c->in_use--;
	conn_free_if_unused(c);
}

void conn_read_pause(struct conn *c, bool paused) {
	if (c->reading_paused == paused || c->dying) {
		return;
	}
	c->reading_paused = paused;
	conn_watch(c);
	if (!paused && !c->in_use) {
		c->in_use++;
		if (c->state == CONN_H1) {
			h1_input(c);
		} else if (c->state == CONN_H2) {
			conn_dirty(c);
		}
		c->in_use--;
		if (!c->dying && !c->reading_paused) {
			conn_read(c);
		} else {
			conn_free_if_unused(c);
		}
	}
}

static void conn_ready(void *arg, int events) {
	struct conn *c = arg;
	if (events & LOOP_READ) {
		c->in_use++;
		conn_read(c);
		c->in_use--;
		if (c->dying) {
			conn_free_if_unused(c);
			return;
		}
	}
	if (events & LOOP_WRITE) {
		conn_flush(c);
	}
}

static void sweep_fire(struct loop_timer *t) {
	struct io *io = container_of(t, struct io, sweep);
	nsec_t now = loop_now(io->loop);
	LIST_EACH(&io->conns, it) {
		struct conn *c = container_of(it, struct conn, link);
		bool late = c->deadline && c->deadline <= now;
		c->zombies /= 2;
		if (c->write_deadline && c->write_deadline <= now) {
			conn_kill(c);
		} else if (late && c->state == CONN_H1 && c->cur && !c->cur->dispatched) {
			c->deadline = 0;
			exchange_refuse(c->cur, 408, "the request's body took too long");
		} else if (late) {
			conn_kill(c);
		} else if (c->state == CONN_H2) {
			h2_sweep(c);
		}
	}
	io->sweeping = io->conns_len > 0;
	if (io->sweeping) {
		loop_timer_start(io->loop, &io->sweep, SWEEP, sweep_fire);
	}
}

static void conn_open(struct io *io, int fd, struct tls_server *tls) {
	struct http_server *s = io->server;
	int on = 1, idle = 30, interval = 15, count = 4;
	if (atomic_load(&s->stopping)) {
		close(fd);
		atomic_fetch_sub(&s->connections, 1);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));

	struct conn *c = xcalloc(1, sizeof(*c));
	c->io = io;
	c->in.max = s->opts.header_bytes_max + PIPELINE_MAX + 2 * STAGE_BYTES;
	c->state = tls ? CONN_HANDSHAKE : CONN_H1;
	list_init(&c->streams);
	sock_init(&c->sock, fd, tls ? tls_server_ssl(tls) : NULL);
	net_fd_address(fd, true, c->peer, sizeof(c->peer));
	list_push(&io->conns, &c->link);
	io->conns_len++;
	c->watch = loop_fd_watch(io->loop, fd, LOOP_READ, conn_ready, c);
	conn_deadline(c, s->opts.headers_timeout);
	if (!io->sweeping) {
		io->sweeping = true;
		loop_timer_start(io->loop, &io->sweep, SWEEP, sweep_fire);
	}
}

void conn_upgrade(struct conn *c, struct exchange *x) {
	struct net_conn *nc = TAKE(x->upgrade);
	assert(c->state == CONN_H1 && c->cur == x);
	sock_write(&c->sock, (char *)x->head->nv, x->head->len);
	(void)sock_flush(&c->sock);
	loop_fd_free(TAKE(c->watch));
	c->io->upgraded_len++;
	net_conn_attach(nc, &c->sock, buf_view(&c->in), &c->io->upgraded);
	conn_kill(c); /* its socket has moved out */
}

static void upgraded_gone(struct net_conn_owner *o) {
	struct io *io = container_of(o, struct io, upgraded);
	io->upgraded_len--;
}

/* ---- flushing: once per turn ---- */

static void flush_run(struct loop_turn *t) {
	struct io *io = container_of(t, struct io, flush);
	for (struct list *it; (it = list_pop(&io->dirty));) {
		conn_flush(container_of(it, struct conn, dirty));
	}
}

/* ---- accepting ---- */

struct handover {
	struct msg msg;
	struct io *io;
	int fd;
	struct tls_server *tls;
};

static void handover_run(struct msg *m) {
	struct handover *h = container_of(m, struct handover, msg);
	conn_open(h->io, h->fd, h->tls);
	free(h);
}

static void accept_again(struct loop_timer *t) {
	struct listener *l = container_of(t, struct listener, again);
	loop_fd_change(l->watch, LOOP_READ);
}

static void deal(struct listener *l, int fd) {
	struct http_server *s = l->server;
	struct io *io = &s->ios[s->next_io++ % s->ios_len];
	atomic_fetch_add(&s->connections_total, 1);
	if (atomic_fetch_add(&s->connections, 1) >= (int64_t)s->opts.connections_max) {
		atomic_fetch_sub(&s->connections, 1);
		close(fd);
		return;
	}
	if (io == &s->ios[0]) {
		conn_open(io, fd, l->tls);
		return;
	}
	struct handover *h = xcalloc(1, sizeof(*h));
	*h = (struct handover){ .msg.run = handover_run, .io = io, .fd = fd, .tls = l->tls };
	if (!loop_post(io->loop, &h->msg)) {
		close(fd);
		atomic_fetch_sub(&s->connections, 1);
		free(h);
	}
}

static void accept_ready(void *arg, int events) {
	struct listener *l = arg;
	for (int i = 0; i < 64; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE) {
				log_warn("net", "out of file descriptors, not accepting for a moment", kv_c("address", l->address));
				loop_fd_change(l->watch, 0);
				loop_timer_start(l->server->ios[0].loop, &l->again, 100 * NSEC_PER_MSEC, accept_again);
			}
			return;
		}
		deal(l, fd);
	}
}

/* ---- life ---- */

void server_unref(struct http_server *s) {
	if (atomic_fetch_sub(&s->refs, 1) != 1) {
		return;
	}
	for (int i = 0; i < s->ios_len; i++) {
		loop_free(s->ios[i].loop);
		free(s->ios[i].stage);
		free(s->ios[i].in);
	}
	free(s->ios);
	free(s->listeners);
	free(s->name);
	free(s);
}

static void io_start(void *arg) {
	struct io *io = arg;
	io->flush.run = flush_run;
	loop_turn_add(io->loop, &io->flush);
	if (io == &io->server->ios[0]) {
		for (size_t i = 0; i < io->server->listeners_len; i++) {
			struct listener *l = &io->server->listeners[i];
			l->watch = loop_fd_watch(io->loop, l->fd, LOOP_READ, accept_ready, l);
		}
	}
}

static void defaults(struct http_server_opts *o) {
	o->name = o->name ? o->name : "http";
	o->loops = o->loops ? o->loops : 2;
	o->body_max = o->body_max ? o->body_max : (size_t)3 << 20;
	o->header_bytes_max = o->header_bytes_max ? o->header_bytes_max : (size_t)256 << 10;
	o->headers_max = o->headers_max ? o->headers_max : 200;
	o->connections_max = o->connections_max ? o->connections_max : 20000;
	o->h2_streams_max = o->h2_streams_max ? o->h2_streams_max : 250;
	o->headers_timeout = o->headers_timeout ? o->headers_timeout : 32 * NSEC_PER_SEC;
	o->body_timeout = o->body_timeout ? o->body_timeout : 60 * NSEC_PER_SEC;
	o->idle_timeout = o->idle_timeout ? o->idle_timeout : 180 * NSEC_PER_SEC;
	o->write_timeout = o->write_timeout ? o->write_timeout : 60 * NSEC_PER_SEC;
}

static void listeners_close(struct http_server *s) {
	for (size_t i = 0; i < s->listeners_len; i++) {
		struct listener *l = &s->listeners[i];
		loop_timer_stop(&l->again);
		loop_fd_free(TAKE(l->watch));
		if (l->fd >= 0) {
			close(l->fd);
			if (str_starts(str_c(l->address), S("unix:/"))) {
				unlink(l->address + 5);
			}
		}
		l->fd = -1;
	}
}

static struct io *ios_new(struct http_server *s) {
	struct io *ios = xcalloc((size_t)s->opts.loops, sizeof(*ios));
	for (int i = 0; i < s->opts.loops; i++) {
		char name[32];
		snprintf(name, sizeof(name), "%s-%d", s->name, i);
		ios[i] = (struct io){ .server = s, .loop = loop_new(name), .stage = xmalloc(STAGE_BYTES), .in = xmalloc(STAGE_BYTES) };
		ios[i].upgraded.on_gone = upgraded_gone;
		list_init(&ios[i].upgraded.conns);
		list_init(&ios[i].conns);
		list_init(&ios[i].dirty);
	}
	return ios;
}

bool http_server_start(const struct http_server_opts *opts, struct http_server **ret, struct err *err) {
	struct http_server *s = xcalloc(1, sizeof(*s));
	bool ok = true;
	s->refs = 1;
	s->opts = *opts;
	defaults(&s->opts);
	s->name = xstrdup(s->opts.name);
	s->opts.name = s->name;
	s->listeners = xcalloc(opts->listen_len, sizeof(s->listeners[0]));
	for (size_t i = 0; ok && i < opts->listen_len; i++) {
		struct listener *l = &s->listeners[i];
		*l = (struct listener){ .server = s, .fd = -1, .tls = opts->listen[i].tls };
		ok = net_listen_fd(opts->listen[i].address, &l->fd, err);
		if (ok) {
			net_fd_address(l->fd, false, l->address, sizeof(l->address));
			s->listeners_len++;
		}
	}
	s->opts.listen = NULL;
	if (!ok) {
		listeners_close(s);
		server_unref(s);
		return false;
	}
	s->ios = ios_new(s);
	s->ios_len = s->opts.loops;
	for (int i = 0; i < s->ios_len; i++) {
		loop_call(s->ios[i].loop, io_start, &s->ios[i]);
	}
	for (int i = 0; ok && i < s->ios_len; i++) {
		ok = loop_start_thread(s->ios[i].loop, err);
	}
	if (!ok) {
		http_server_stop(s, 0);
		return false;
	}
	*ret = s;
	return true;
}

struct str http_server_address(struct http_server *s, size_t i) {
	return str_c(s->listeners[i].address);
}

int http_server_port(struct http_server *s, size_t i) {
	struct str a = str_c(s->listeners[i].address);
	int port = 0;
	ptrdiff_t colon = str_rindex(a, ':');
	return colon >= 0 && str_to_int(str_from(a, (size_t)colon + 1), 0, 65535, &port) ? port : 0;
}

void http_server_stats(struct http_server *s, struct http_server_stats *ret) {
	*ret = (struct http_server_stats){ .connections = s->connections, .connections_total = s->connections_total, .requests = s->requests, .streams = s->streams };
}

/* Streams would never end by themselves; the rest gets its grace. */
static void io_stop(void *arg) {
	struct io *io = arg;
	if (io == &io->server->ios[0]) {
		listeners_close(io->server);
	}
	LIST_EACH(&io->conns, it) {
		struct conn *c = container_of(it, struct conn, link);
		switch (c->state) {
		case CONN_H1:
			h1_stop(c);
			break;
		case CONN_H2:
			h2_stop(c);
			break;
		case CONN_HANDSHAKE:
			conn_kill(c);
			break;
		case CONN_LINGER:
			break;
		}
	}
}

static void io_end(void *arg) {
	struct io *io = arg;
	while (!list_empty(&io->conns)) {
		conn_kill(container_of(io->conns.next, struct conn, link));
	}
	net_conn_abort_all(&io->upgraded);
	loop_timer_stop(&io->sweep);
	loop_turn_remove(&io->flush);
}

static bool wait_zero(_Atomic int64_t *n, nsec_t span) {
	for (nsec_t end = clock_mono() + span; atomic_load(n) > 0 && clock_mono() < end;) {
		clock_sleep(2 * NSEC_PER_MSEC);
	}
	return atomic_load(n) <= 0;
}

void http_server_stop(struct http_server *s, nsec_t grace) {
	if (!s) {
		return;
	}
	atomic_store(&s->stopping, true);
	for (int i = 0; i < s->ios_len; i++) {
		loop_call(s->ios[i].loop, io_stop, &s->ios[i]);
	}
	wait_zero(&s->connections, grace);
	for (int i = 0; i < s->ios_len; i++) {
		loop_call(s->ios[i].loop, io_end, &s->ios[i]);
	}
	if (!wait_zero(&s->handlers, 10 * NSEC_PER_SEC)) {
		log_warn("net", "handlers are still running at the end", kv_c("server", s->name), kv_int("handlers", atomic_load(&s->handlers)));
	}
	for (int i = 0; i < s->ios_len; i++) {
		loop_stop(s->ios[i].loop);
	}
	server_unref(s);
}
