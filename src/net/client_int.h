/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_int.h - the inside of the HTTP client, shared by its files:
 *
 *   client.c        requests, answers, redirects, upgrades: blocking
 *   client_link.c   connections: dialling, keeping
 *   client_watch.c  answers that stream to a loop
 *
 * Private to net.
 */
#ifndef NET_CLIENT_INT_H
#define NET_CLIENT_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/vec.h"
#include "net/client.h"
#include "net/http1.h"
#include "net/sock.h"
#include "net/url.h"

#define HEAD_BYTES_MAX ((size_t)1 << 20)
#define READ_BYTES 65536

/* A connection of the client; belongs to whoever uses it, or to the idle list. */
struct client_link {
	struct sock sock;
	char *origin;      /* "https://host:port" */
	struct buf in;     /* read beyond what was asked for */
	nsec_t idle_since;
	bool reused;
};

struct http_client {
	_Atomic int refs; /* the holder's, and one per call in flight */
	struct tls_client *tls;
	char *base, *bearer, *user_agent;
	struct str (*token)(void *arg, struct arena *a);
	void *token_arg;
	nsec_t connect_timeout, idle_timeout;
	size_t idle_max;
	pthread_mutex_t lock;
	VEC(struct client_link *) idle; /* the latest last */
};

/* One attempt's state: where it goes and what it says. */
struct call {
	struct http_client *client;
	const struct http_request *r;
	struct arena arena;
	struct str text; /* the url, absolute */
	struct url url;
	struct str method;
	char *origin; /* in the arena */
	nsec_t deadline;
	bool no_auth;
	bool sent_any;
};

/* client_link.c; any thread */
void client_link_free(struct client_link *k); /* NULL is fine */
struct client_link *client_link_reuse(struct http_client *c, const char *origin); /* a live idle one, or NULL */
void client_link_keep(struct http_client *c, struct client_link *k);               /* takes it, back to the idle ones */
/* A new one, TLS included. `upgrade`: without ALPN. */
NODISCARD bool client_link_dial(struct http_client *c, const struct url *u, const char *origin, bool upgrade, nsec_t deadline, struct client_link **ret,
	struct err *err);

/* client.c; blocking */
void client_unref(struct http_client *c);
NODISCARD bool call_init(struct call *c, struct http_client *client, const struct http_request *r, struct err *err);
/* Sends head and body. A peer that answers early and closes makes this fail; its answer may still be read. */
NODISCARD bool call_send(struct call *c, struct client_link *k, bool upgrade, struct err *err);
/* The answer's head; 1xx before it are skipped (but 101). *ret_nothing: the connection ended before a byte. */
NODISCARD bool call_head_read(struct client_link *k, struct str method, nsec_t deadline, struct arena *a, struct http1_head *ret, bool *ret_nothing,
	struct err *err);

#endif
