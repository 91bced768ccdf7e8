/* SPDX-License-Identifier: Apache-2.0 */
/* conn_int.h - how server and client make a net_conn out of a socket that they have used. Private to net. */
#ifndef NET_CONN_INT_H
#define NET_CONN_INT_H

#include "net/conn.h"
#include "net/sock.h"

/* Hears of the end of a conn, on its loop, so that a server can count and end what it handed out. */
struct net_conn_owner {
	struct list conns;
	void (*on_gone)(struct net_conn_owner *o);
};

struct net_conn *net_conn_new(struct loop *l); /* no socket yet; what is asked of it waits */
/* Gives it its socket (moved out of *s) and bytes already read. On the conn's loop, or before anybody else knows the conn. owner may be NULL. */
void net_conn_attach(struct net_conn *c, struct sock *s, struct str early, struct net_conn_owner *owner);
/* It will never have one: on_close tells why. On its loop. */
void net_conn_fail(struct net_conn *c, const struct err *err);
/* Ends all at once; their holders are told. On their loop. */
void net_conn_abort_all(struct net_conn_owner *owner);

/* For pipes. On its loop: ends it at once, the handle stays. */
void net_conn_break(struct net_conn *c);
/* On its old loop, not yet started: lets go of it; then on the new one: takes it up. */
void net_conn_leave(struct net_conn *c, struct loop *to);
void net_conn_join(struct net_conn *c);

#endif
