/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sock.h - a non-blocking socket, with or without TLS, as the edges in this room use it: what is written is
 * encrypted into a buffer at once and sent by sock_flush, so that many small writes become one system call and
 * a TLS write never waits. Who writes looks at sock_unsent and stops in time.
 *
 * Private to net. One thread at a time.
 */
#ifndef NET_SOCK_H
#define NET_SOCK_H

#include <openssl/ssl.h>

#include "base/err.h"
#include "base/str.h"
#include "base/clock.h"
#include "loop/loop.h"

enum sock_io { SOCK_OK, SOCK_AGAIN, SOCK_EOF, SOCK_ERROR };

struct sock {
	int fd;
	SSL *ssl;          /* NULL: plain */
	char *out;         /* encrypted and unsent: [out_at, out_len) */
	size_t out_at, out_len, out_cap;
	bool drained;      /* the last recv got less than it asked for: the next would find nothing */
	bool eof, broken;
	bool tls_shut;
};

/* Takes fd and ssl (state set to accept or connect; NULL: plain). */
void sock_init(struct sock *s, int fd, SSL *ssl);
void sock_release(struct sock *s); /* closes at once */
void sock_move(struct sock *to, struct sock *from); /* `from` becomes empty */

/* Goes on with the TLS handshake. SOCK_AGAIN: wait for reading (what is to be sent has been tried). */
enum sock_io sock_handshake(struct sock *s, struct err *err);
enum sock_io sock_read(struct sock *s, void *into, size_t len, size_t *ret_len, struct err *err);
/* Before a read that follows an event: there may be bytes again. */
static inline void sock_woken(struct sock *s) {
	s->drained = false;
}
bool sock_write(struct sock *s, const void *bytes, size_t len); /* false: the connection is broken */
enum sock_io sock_flush(struct sock *s);                        /* SOCK_OK: all is sent; SOCK_AGAIN: wait for writing */
static inline size_t sock_unsent(const struct sock *s) {
	return s->out_len - s->out_at;
}
void sock_shutdown(struct sock *s); /* after what is unsent was flushed: close_notify and FIN */

/* ---- the same, blocking, until `deadline` (clock_mono; 0: none) ---- */
bool sock_wait_handshake(struct sock *s, nsec_t deadline, struct err *err);
bool sock_wait_flush(struct sock *s, nsec_t deadline, struct err *err);
/* *ret_len 0: the peer has ended. */
bool sock_wait_read(struct sock *s, void *into, size_t len, size_t *ret_len, nsec_t deadline, struct err *err);

/* ---- TLS contexts (tls.c) ---- */
struct tls_server;
SSL *tls_server_ssl(struct tls_server *t);      /* a new one in accept state */
struct cert_identity;
/*
 * The verified client certificate, in memory of its own that free() releases as one; NULL when none was shown or accepted (then *ret_why says why; static).
 */
struct cert_identity *tls_peer_identity(SSL *ssl, const char **ret_why);
bool tls_is_h2(SSL *ssl);

struct tls_client;
struct tls_client_opts;
NODISCARD bool tls_client_new(const struct tls_client_opts *opts, struct tls_client **ret, struct err *err);
void tls_client_free(struct tls_client *t);
/* A new one in connect state for `host`; alpn_h2 offers h2 as well; no_alpn offers nothing. */
SSL *tls_client_ssl(struct tls_client *t, struct str host, bool no_alpn);
/* What went wrong, out of OpenSSL's queue (emptied) or the certificate check. */
bool tls_err(SSL *ssl, struct err *err, const char *what);

#endif
