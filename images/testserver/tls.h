/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - TLS under a stream, for both sides.
 *
 * tls.c has it by OpenSSL; tls_none.c stands in for it in the small build, where all of this fails
 * with a message. The commands are the same in both.
 */
#ifndef TESTSERVER_TLS_H
#define TESTSERVER_TLS_H

#include "base.h"

#include <sys/types.h>

/* A server's certificate and key; shared by its connections, lives until the program ends. */
struct tls_server;
/* One connection. Belongs to one thread. */
struct tls;

/*
 * Reads PEM files. A file named localhost.crt that is not there is no error: the server then makes a
 * certificate of its own for localhost, 127.0.0.1, ::1 and example.com, as that file would hold.
 */
NODISCARD bool tls_server_new(const char *cert_file, const char *key_file, struct tls_server **ret, struct err *err);

/* Both shake hands on a blocking socket, which stays the caller's. */
NODISCARD bool tls_accept(struct tls_server *server, int fd, struct tls **ret, struct err *err);

struct tls_trust {
	const char *ca_file; /* PEM; NULL: what the system trusts */
	bool insecure;       /* take any certificate */
};
NODISCARD bool tls_connect(int fd, const char *host, const struct tls_trust *trust, struct tls **ret, struct err *err);

/* As read(2) and write(2). */
ssize_t tls_read(struct tls *tls, char *to, size_t len);
ssize_t tls_write(struct tls *tls, const char *from, size_t len);
/* True when bytes have been decrypted that tls_read has not given out: poll knows nothing of them. */
bool tls_pending(const struct tls *tls);
/* Says goodbye and frees; NULL is fine. */
void tls_free(struct tls *tls);

/* Adds the SHA-256 of `in` in base64 for URLs, without padding. */
NODISCARD bool tls_digest(struct str in, struct buf *out);

#endif
