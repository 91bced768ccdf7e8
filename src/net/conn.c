/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - byte streams on loops; see conn.h.
 *
 * Everything happens on the conn's loop; calls from other threads become messages to it. Two references: the
 * holder's handle and the loop's. The loop's goes when the stream is over and the holder has been told.
 */
#include "net/conn_int.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 65536
#define CLOSE_GRACE (10 * NSEC_PER_SEC)

struct net_conn {
	_Atomic int refs;
	struct loop *loop;          /* changes only before start */
	_Atomic size_t posted;      /* bytes in messages to the loop */
	_Atomic size_t unsent;      /* bytes in the socket's buffer */
	_Atomic bool over;          /* nothing can be written any more */
	_Atomic bool drain_wanted;  /* somebody may have seen a long backlog */
	/* the loop's */
	struct sock sock;
	bool attached;
	struct loop_fd *watch;
	const struct net_conn_handler *handler; /* NULL until started */
	void *arg;
	struct buf early;           /* read before start, by whoever had the socket */
	bool paused, eof;
	bool shutdown_asked, shut;
	bool closing;               /* the holder has given it back */
	bool drain_posted, told, finishing;
	struct err err;             /* why it is over */
	struct loop_timer timer;    /* of closing */
	struct list link;           /* in owner->conns */
	struct net_conn_owner *owner;
	char peer[64], local[128];
};

struct net_conn *net_conn_new(struct loop *l) {
	struct net_conn *c = xcalloc(1, sizeof(*c));
	c->refs = 2;
	c->loop = l;
	c->sock.fd = -1;
	return c;
}

static void conn_unref(struct net_conn *c) {
	if (atomic_fetch_sub(&c->refs, 1) == 1) {
		sock_release(&c->sock);
		buf_release(&c->early);
		free(c);
	}
}

/* ---- the end ---- */

/* Tells the holder, lets go of the socket and of the loop's reference. Not from inside the holder's own calls: see finish_later. */
static void conn_finish(struct net_conn *c) {
	if (c->told) {
		return;
	}
	c->told = true;
	atomic_store(&c->over, true);
	loop_timer_stop(&c->timer);
	loop_fd_free(TAKE(c->watch));
	sock_release(&c->sock);
	list_remove(&c->link);
	struct net_conn_owner *owner = TAKE(c->owner);
	if (c->handler && c->handler->on_close) {
		c->handler->on_close(c->arg, &c->err);
	}
	if (owner) {
		owner->on_gone(owner);
	}
	conn_unref(c);
}

static void finish_run(void *arg) {
	struct net_conn *c = arg;
	if (c->handler || c->closing) { /* else it waits for start to tell */
		conn_finish(c);
	}
	conn_unref(c);
}

/* From inside calls of the holder, which does not expect its callbacks there. */
static void conn_finish_later(struct net_conn *c) {
	atomic_store(&c->over, true);
	if (c->finishing) {
		return;
	}
	c->finishing = true;
	loop_fd_free(TAKE(c->watch));
	atomic_fetch_add(&c->refs, 1);
	if (!loop_call(c->loop, finish_run, c)) {
		conn_unref(c); /* the loop is over: nobody is left to tell */
	}
}

static void conn_fail(struct net_conn *c, const struct err *err) {
	if (!c->err.code) {
		c->err = *err;
	}
	conn_finish_later(c);
}

/* ---- writing ---- */

static void conn_ready(void *arg, int events);

static void watch_set(struct net_conn *c) {
	if (!c->watch || c->finishing) {
		return;
	}
	int events = (c->paused || c->eof || !c->handler ? 0 : LOOP_READ) | (sock_unsent(&c->sock) ? LOOP_WRITE : 0);
	loop_fd_change(c->watch, events);
}

/* Both directions have ended, or the holder is gone and all is sent. */
static bool conn_done(struct net_conn *c) {
	return !sock_unsent(&c->sock) && (c->closing || (c->eof && c->shut));
}

static void drain_run(void *arg) {
	struct net_conn *c = arg;
	c->drain_posted = false;
	if (c->drain_wanted && net_conn_backlog(c) <= NET_CONN_DRAIN && !c->told) {
		c->drain_wanted = false;
		if (c->handler && c->handler->on_drain && !c->closing) {
			c->handler->on_drain(c->arg);
		}
	}
	conn_unref(c);
}

/*
 * Whoever wrote may wait for on_drain, also when it was another write that emptied the buffer. Told by a message of its own, because
 * this runs inside the holder's calls.
 */
static void drain_check(struct net_conn *c) {
	if (net_conn_backlog(c) > NET_CONN_DRAIN) {
		c->drain_wanted = true;
	} else if (c->drain_wanted && !c->drain_posted) {
		c->drain_posted = true;
		atomic_fetch_add(&c->refs, 1);
		if (!loop_call(c->loop, drain_run, c)) {
			conn_unref(c);
		}
	}
}

static void conn_flush(struct net_conn *c) {
	if (!c->attached || c->finishing) {
		return;
	}
	enum sock_io io = sock_flush(&c->sock);
	atomic_store(&c->unsent, sock_unsent(&c->sock));
	if (io == SOCK_ERROR) {
		struct err err = { 0 };
		err_set(&err, ERR_CLOSED, "the peer closed the connection");
		conn_fail(c, &err);
		return;
	}
	if (io == SOCK_OK && c->shutdown_asked && !c->shut) {
		c->shut = true;
		sock_shutdown(&c->sock);
	}
	if (conn_done(c)) {
		if (c->closing && !c->shut) {
			c->shut = true;
			sock_shutdown(&c->sock);
		}
		conn_finish_later(c);
		return;
	}
	drain_check(c);
	watch_set(c);
}

static void conn_write_now(struct net_conn *c, struct str bytes) {
	if (!c->attached || c->finishing || c->shutdown_asked) {
		return;
	}
	if (!sock_write(&c->sock, bytes.ptr, bytes.len)) {
		struct err err = { 0 };
		err_set(&err, ERR_CLOSED, "the connection is broken");
		conn_fail(c, &err);
	}
}

/* ---- reading ---- */

static void conn_eof(struct net_conn *c) {
	c->eof = true;
	if (c->handler->on_eof && !c->closing) {
		c->handler->on_eof(c->arg);
	} else {
		c->shutdown_asked = true;
	}
	if (!c->finishing) {
		conn_flush(c);
	}
}

static bool can_read(const struct net_conn *c) {
	return c->attached && c->handler && !c->paused && !c->eof && !c->finishing && !c->closing;
}

static void conn_read(struct net_conn *c) {
	char bytes[READ_BYTES];
	struct err err = { 0 };
	if (can_read(c) && c->early.len) {
		struct buf early = c->early;
		c->early = (struct buf){ 0 };
		c->handler->on_data(c->arg, buf_view(&early));
		buf_release(&early);
	}
	sock_woken(&c->sock);
	for (int turns = 0; can_read(c); turns++) {
		size_t n;
		switch (sock_read(&c->sock, bytes, sizeof(bytes), &n, &err)) {
		case SOCK_OK:
			c->handler->on_data(c->arg, (struct str){ bytes, n });
			break;
		case SOCK_AGAIN:
			watch_set(c);
			return;
		case SOCK_EOF:
			conn_eof(c);
			return;
		case SOCK_ERROR:
			conn_fail(c, &err);
			return;
		}
	}
	if (c->closing && !c->finishing) { /* what still comes is thrown away */
		size_t n;
		while (sock_read(&c->sock, bytes, sizeof(bytes), &n, &err) == SOCK_OK) {
		}
	}
	watch_set(c);
}

static void conn_ready(void *arg, int events) {
	struct net_conn *c = arg;
	atomic_fetch_add(&c->refs, 1); /* callbacks may close it */
	if (events & LOOP_WRITE) {
		conn_flush(c);
	}
	if ((events & LOOP_READ) && !c->finishing) {
		conn_read(c);
	}
	conn_unref(c);
}

/* ---- calls, on the loop or as messages to it ---- */

enum op_kind { OP_START, OP_WRITE, OP_PAUSE, OP_RESUME, OP_SHUTDOWN, OP_CLOSE, OP_ABORT };

struct op {
	struct msg msg;
	enum op_kind kind;
	struct net_conn *conn; /* a reference */
	const struct net_conn_handler *handler;
	void *arg;
	size_t len;
	char bytes[];
};

static void resume_run(void *arg) {
	struct net_conn *c = arg;
	if (can_read(c)) {
		conn_read(c);
	}
	conn_unref(c);
}

/* Reads what TLS may hold already; later, because callbacks must not come from inside the holder's call. */
static void conn_read_later(struct net_conn *c) {
	atomic_fetch_add(&c->refs, 1);
	if (!loop_call(c->loop, resume_run, c)) {
		conn_unref(c);
	}
}

static void close_timeout(struct loop_timer *t) {
	conn_finish(container_of(t, struct net_conn, timer));
}

static void op_start(struct net_conn *c, const struct net_conn_handler *handler, void *arg) {
	assert(!c->handler);
	c->handler = handler;
	c->arg = arg;
	if (c->finishing || (c->err.code && !c->attached)) {
		c->finishing = false;
		conn_finish_later(c);
	} else if (c->attached) {
		watch_set(c);
		conn_read_later(c);
	}
}

static void op_close(struct net_conn *c, bool abort) {
	c->closing = true;
	if (c->told) {
		return;
	}
	if (abort || !c->attached) {
		c->finishing = c->finishing && c->handler;
		conn_finish_later(c);
		return;
	}
	if (c->finishing) {
		if (!c->handler) { /* it waited for start */
			c->finishing = false;
			conn_finish_later(c);
		}
		return;
	}
	conn_flush(c);
	if (!c->finishing) {
		loop_timer_start(c->loop, &c->timer, CLOSE_GRACE, close_timeout);
	}
}

static void op_apply(struct net_conn *c, enum op_kind kind, const struct net_conn_handler *handler, void *arg) {
	switch (kind) {
	case OP_START:
		op_start(c, handler, arg);
		break;
	case OP_WRITE:
		break;
	case OP_PAUSE:
		c->paused = true;
		watch_set(c);
		break;
	case OP_RESUME:
		if (c->paused) {
			c->paused = false;
			watch_set(c);
			conn_read_later(c);
		}
		break;
	case OP_SHUTDOWN:
		c->shutdown_asked = true;
		conn_flush(c);
		break;
	case OP_CLOSE:
	case OP_ABORT:
		op_close(c, kind == OP_ABORT);
		break;
	}
}

static void op_run(struct msg *m) {
	struct op *o = container_of(m, struct op, msg);
	struct net_conn *c = o->conn;
	if (o->kind == OP_WRITE) {
		atomic_fetch_sub(&c->posted, o->len);
		conn_write_now(c, (struct str){ o->bytes, o->len });
		conn_flush(c);
	} else {
		op_apply(c, o->kind, o->handler, o->arg);
	}
	free(o);
	conn_unref(c);
}

static struct op *op_new(struct net_conn *c, enum op_kind kind, size_t len) {
	struct op *o = xmalloc(sizeof(*o) + len);
	*o = (struct op){ .msg.run = op_run, .kind = kind, .conn = c, .len = len };
	atomic_fetch_add(&c->refs, 1);
	return o;
}

static bool op_post(struct op *o) {
	if (!loop_post(o->conn->loop, &o->msg)) {
		conn_unref(o->conn);
		free(o);
		return false;
	}
	return true;
}

static void conn_do(struct net_conn *c, enum op_kind kind) {
	if (loop_current() == c->loop) {
		op_apply(c, kind, NULL, NULL);
	} else if (!op_post(op_new(c, kind, 0)) && (kind == OP_CLOSE || kind == OP_ABORT) && !c->told) {
		c->closing = c->told = true; /* its loop is over: nobody else touches it */
		conn_unref(c);
	}
}

void net_conn_start(struct net_conn *c, const struct net_conn_handler *handler, void *arg) {
	if (loop_current() == c->loop) {
		op_start(c, handler, arg);
		return;
	}
	struct op *o = op_new(c, OP_START, 0);
	o->handler = handler;
	o->arg = arg;
	op_post(o);
}

bool net_conn_writev(struct net_conn *c, const struct str *parts, size_t n) {
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		len += parts[i].len;
	}
	if (atomic_load(&c->over) || net_conn_backlog(c) + len > NET_CONN_BACKLOG_MAX) {
		return false;
	}
	if (loop_current() == c->loop && c->attached && !c->sock.ssl) {
		for (size_t i = 0; i < n; i++) {
			conn_write_now(c, parts[i]);
		}
	} else if (loop_current() == c->loop && c->attached && n == 1) {
		conn_write_now(c, parts[0]);
	} else { /* one message, and one TLS record */
		struct op *o = op_new(c, OP_WRITE, len);
		char *at = o->bytes;
		for (size_t i = 0; i < n; i++) {
			at = parts[i].len ? mempcpy(at, parts[i].ptr, parts[i].len) : at;
		}
		atomic_fetch_add(&c->posted, len);
		if (net_conn_backlog(c) > NET_CONN_DRAIN) {
			c->drain_wanted = true;
		}
		if (loop_current() == c->loop && c->attached) {
			op_run(&o->msg);
			return true;
		}
		if (!op_post(o)) {
			atomic_fetch_sub(&c->posted, len);
			return false;
		}
		return true;
	}
	conn_flush(c);
	return true;
}

bool net_conn_write(struct net_conn *c, struct str bytes) {
	return net_conn_writev(c, &bytes, 1);
}

size_t net_conn_backlog(struct net_conn *c) {
	return atomic_load(&c->posted) + atomic_load(&c->unsent);
}

void net_conn_pause(struct net_conn *c) {
	conn_do(c, OP_PAUSE);
}

void net_conn_resume(struct net_conn *c) {
	conn_do(c, OP_RESUME);
}

void net_conn_shutdown(struct net_conn *c) {
	conn_do(c, OP_SHUTDOWN);
}

void net_conn_close(struct net_conn *c) {
	if (c) {
		conn_do(c, OP_CLOSE);
		conn_unref(c);
	}
}

void net_conn_abort(struct net_conn *c) {
	if (c) {
		conn_do(c, OP_ABORT);
		conn_unref(c);
	}
}

struct loop *net_conn_loop(struct net_conn *c) {
	return c->loop;
}

struct str net_conn_peer(struct net_conn *c) {
	return str_c(c->peer);
}

struct str net_conn_local(struct net_conn *c) {
	return str_c(c->local);
}

/* ---- making ---- */

/* Starts to watch the socket; on the loop. */
static void conn_adopt(struct net_conn *c) {
	if (c->watch || c->finishing || c->told) {
		return;
	}
	c->watch = loop_fd_watch(c->loop, c->sock.fd, 0, conn_ready, c);
	conn_flush(c);
	if (c->handler) {
		watch_set(c);
		conn_read_later(c);
	}
}

static void adopt_run(void *arg) {
	struct net_conn *c = arg;
	conn_adopt(c);
	conn_unref(c);
}

void net_conn_attach(struct net_conn *c, struct sock *s, struct str early, struct net_conn_owner *owner) {
	sock_move(&c->sock, s);
	net_fd_address(c->sock.fd, true, c->peer, sizeof(c->peer));
	net_fd_address(c->sock.fd, false, c->local, sizeof(c->local));
	buf_str(&c->early, early);
	c->attached = true;
	c->owner = owner;
	if (owner) {
		list_push(&owner->conns, &c->link);
	}
	if (c->finishing) {
		return;
	}
	if (loop_current() == c->loop) {
		conn_adopt(c);
	} else {
		atomic_fetch_add(&c->refs, 1);
		if (!loop_call(c->loop, adopt_run, c)) {
			conn_unref(c);
		}
	}
}

void net_conn_fail(struct net_conn *c, const struct err *err) {
	conn_fail(c, err);
}

void net_conn_abort_all(struct net_conn_owner *owner) {
	LIST_EACH(&owner->conns, it) {
		struct net_conn *c = container_of(it, struct net_conn, link);
		if (!c->err.code) {
			err_set(&c->err, ERR_CLOSED, "the server is stopping");
		}
		conn_finish(c);
	}
}

struct net_conn *net_conn_from_fd(struct loop *l, int fd) {
	struct net_conn *c = net_conn_new(l);
	struct sock s;
	int on = 1;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on unix sockets, which need none */
	sock_init(&s, fd, NULL);
	net_conn_attach(c, &s, (struct str){ 0 }, NULL);
	return c;
}

bool net_dial(struct loop *l, struct str address, nsec_t timeout, struct net_conn **ret, struct err *err) {
	int fd;
	if (!net_dial_fd(address, timeout, &fd, err)) {
		return false;
	}
	*ret = net_conn_from_fd(l, fd);
	return true;
}

/* ---- for pipe.c ---- */

void net_conn_break(struct net_conn *c) {
	op_apply(c, OP_ABORT, NULL, NULL);
}

void net_conn_leave(struct net_conn *c, struct loop *to) {
	loop_fd_free(TAKE(c->watch));
	c->loop = to;
}

void net_conn_join(struct net_conn *c) {
	conn_adopt(c);
}
