/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - a byte stream (TCP or unix socket, with or without TLS) that belongs to a loop: what an
 * upgraded request, a dialled peer or an accepted client becomes. Used for exec, attach,
 * port-forward, proxies.
 *
 * Lifetime: the handle is the holder's until net_conn_close, which the holder calls exactly once, whether
 * or not the peer has gone before. on_close runs exactly once, is the last callback, and runs on the conn's loop (also
 * when net_conn_close itself was the cause); until it has run `arg` must live.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "base/err.h"
#include "loop/loop.h"

struct net_conn;

struct net_conn_handler {
	/* Bytes from the peer, borrowed for the call. Not called while paused. */
	void (*on_data)(void *arg, struct str bytes);
	/* The peer will send no more; writing still works. NULL: the conn closes then, after what is written is sent. */
	void (*on_eof)(void *arg);
	/* The backlog, having been above NET_CONN_DRAIN, has fallen to it. May be NULL. */
	void (*on_drain)(void *arg);
	/* Over. err->code is ERR_NONE after a clean end, else why (peer reset, timeout). May be NULL. */
	void (*on_close)(void *arg, const struct err *err);
};

/*
 * Begins to read, with callbacks on the conn's loop. Before it nothing is read and nothing is lost. Any thread; once.
 * `handler` is borrowed and must outlive the conn (static tables).
 */
void net_conn_start(struct net_conn *c, const struct net_conn_handler *handler, void *arg);

/*
 * Sends a copy of the bytes; never blocks. Any thread; order is kept per thread. False when the conn is over, or when more than
 * NET_CONN_BACKLOG_MAX bytes wait unsent: nothing was taken.
 */
bool net_conn_write(struct net_conn *c, struct str bytes);
/* The same for several pieces as one write: no other write comes between. */
bool net_conn_writev(struct net_conn *c, const struct str *parts, size_t n);
#define NET_CONN_BACKLOG_MAX ((size_t)16 << 20)
#define NET_CONN_DRAIN ((size_t)64 << 10)
/* Bytes that wait unsent; a writer stops above 256 KiB, say, and goes on in on_drain. Any thread. */
size_t net_conn_backlog(struct net_conn *c);

void net_conn_pause(struct net_conn *c);    /* stop on_data: the peer is held back by its window. Any thread. */
void net_conn_resume(struct net_conn *c);   /* Any thread. */
void net_conn_shutdown(struct net_conn *c); /* no more writes: FIN after what waits. Any thread. */
/* Gives the handle back. What was written is still sent (for at most 10 s), then the socket closes. Any thread. */
void net_conn_close(struct net_conn *c);
void net_conn_abort(struct net_conn *c); /* the same, at once, dropping what waits */

struct loop *net_conn_loop(struct net_conn *c);
struct str net_conn_peer(struct net_conn *c);  /* "10.0.0.7:4711"; "" for unix sockets; borrowed from c */
struct str net_conn_local(struct net_conn *c);

/*
 * Copies bytes both ways, with flow control and half closes, until both ends are done; then both are closed and
 * on_done (may be NULL) runs on a's loop. Takes both handles; neither may have been started; b moves to a's loop.
 */
void net_conn_pipe(struct net_conn *a, struct net_conn *b, void (*on_done)(void *arg, int64_t a_to_b, int64_t b_to_a), void *arg);

/* ---- dialling and listening, without TLS or HTTP ---- */

/*
 * Addresses are "10.0.0.1:80", "[::1]:80", "localhost:80", ":80" (all addresses), "unix:/run/x.sock".
 * net_dial blocks (pool threads); the conn then belongs to `l`.
 * Fails: ERR_UNAVAILABLE (refused, no route: says so), ERR_TIMEOUT.
 */
NODISCARD bool net_dial(struct loop *l, struct str address, nsec_t timeout, struct net_conn **ret, struct err *err);
/* A connected socket becomes a conn of `l`; takes fd. */
struct net_conn *net_conn_from_fd(struct loop *l, int fd);
/* The same without a loop: a blocking socket for straight-line code. */
NODISCARD bool net_dial_fd(struct str address, nsec_t timeout, int *ret_fd, struct err *err);

/* A listening socket: non-blocking, close-on-exec, SO_REUSEADDR. A stale unix socket nobody answers on is replaced. Fails: ERR_IO ("listen on ...: Address already in use"). */
NODISCARD bool net_listen_fd(struct str address, int *ret_fd, struct err *err);

struct net_listener;
/* on_accept runs on `l` and owns the conn, which belongs to `l` too. Owner thread only. */
NODISCARD bool net_listen(struct loop *l, struct str address, void (*on_accept)(void *arg, struct net_conn *c), void *arg,
	struct net_listener **ret, struct err *err);
struct str net_listener_address(struct net_listener *n); /* with the port the kernel chose; borrowed */
void net_listener_free(struct net_listener *n);          /* conns live on */

/* Text of a socket address, "1.2.3.4:80", "[::1]:80", "unix:/path" or "unix:". Local or peer end of an fd. */
struct str net_fd_address(int fd, bool peer, char *out, size_t out_bytes);

#endif
