/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipe.c - two byte streams joined end to end, for proxies: bytes both ways, each held back while the other cannot send,
 * half closes passed on. On the loop of the first.
 */
#include "net/conn_int.h"

#include "base/log.h"

#define PIPE_BACKLOG ((size_t)256 << 10) /* unsent on one side before the other is not read */

struct pipe;
struct pipe_end {
	struct pipe *pipe;
	struct net_conn *conn;
	struct pipe_end *other;
	int64_t bytes; /* read here, written there */
	bool paused;
};
struct pipe {
	struct pipe_end a, b;
	int open;
	void (*on_done)(void *arg, int64_t a_to_b, int64_t b_to_a);
	void *arg;
};

static void pipe_data(void *arg, struct str bytes) {
	struct pipe_end *e = arg;
	e->bytes += (int64_t)bytes.len;
	if (!net_conn_write(e->other->conn, bytes)) {
		return; /* the other is over: its on_close ends this one too */
	}
	if (net_conn_backlog(e->other->conn) > PIPE_BACKLOG) {
		e->paused = true;
		net_conn_pause(e->conn);
	}
}

static void pipe_eof(void *arg) {
	struct pipe_end *e = arg;
	net_conn_shutdown(e->other->conn);
}

static void pipe_drain(void *arg) {
	struct pipe_end *e = arg;
	if (e->other->paused) {
		e->other->paused = false;
		net_conn_resume(e->other->conn);
	}
}

static void pipe_close(void *arg, const struct err *err) {
	struct pipe_end *e = arg;
	struct pipe *p = e->pipe;
	if (--p->open == 1) {
		/* A clean end: both directions have ended, and the other closes once it has sent what it holds. */
		if (err->code) {
			net_conn_break(e->other->conn);
		}
		return;
	}
	if (p->on_done) {
		p->on_done(p->arg, p->a.bytes, p->b.bytes);
	}
	net_conn_close(p->a.conn);
	net_conn_close(p->b.conn);
	free(p);
}

static const struct net_conn_handler pipe_handler = {
	.on_data = pipe_data, .on_eof = pipe_eof, .on_drain = pipe_drain, .on_close = pipe_close
};

/* On a's loop; b belongs to it by now. */
static void pipe_start(void *arg) {
	struct pipe *p = arg;
	net_conn_join(p->b.conn);
	net_conn_start(p->b.conn, &pipe_handler, &p->b);
	net_conn_start(p->a.conn, &pipe_handler, &p->a);
}

/* On b's old loop: lets go of it. */
static void pipe_move(void *arg) {
	struct pipe *p = arg;
	net_conn_leave(p->b.conn, net_conn_loop(p->a.conn));
	if (!loop_call(net_conn_loop(p->a.conn), pipe_start, p)) {
		log_warn("net", "a pipe's loop has stopped");
	}
}

void net_conn_pipe(struct net_conn *a, struct net_conn *b, void (*on_done)(void *arg, int64_t a_to_b, int64_t b_to_a), void *arg) {
	struct pipe *p = xcalloc(1, sizeof(*p));
	*p = (struct pipe){ .a = { p, a, &p->b }, .b = { p, b, &p->a }, .open = 2, .on_done = on_done, .arg = arg };
	void (*first)(void *arg) = net_conn_loop(a) == net_conn_loop(b) ? pipe_start : pipe_move;
	if (!loop_call(net_conn_loop(b), first, p)) {
		log_warn("net", "a pipe's loop has stopped");
	}
}
