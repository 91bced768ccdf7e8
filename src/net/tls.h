/* SPDX-License-Identifier: Apache-2.0 */
/* tls.h - TLS contexts for the HTTP server and client. Certificates and keys are PEM text. Any thread. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/err.h"
#include "base/str.h"

struct tls_server;
struct tls_sni {
	struct str name; /* "api.example.org" or "*.example.org" */
	struct str cert_pem, key_pem;
};
struct tls_server_opts {
	struct str cert_pem;      /* the server's certificate, then its chain */
	struct str key_pem;
	struct str client_ca_pem; /* bundle; empty: clients are not asked for certificates */
	/* Else optional: one that does not verify does not break the handshake, the exchange says so (peer_cert_error), as upstream's 401. */
	bool client_cert_required;
	bool no_h2;               /* offer HTTP/1.1 only */
	const struct tls_sni *sni; /* further certificates by name */
	size_t sni_len;
};
/* TLS 1.2 and 1.3. Copies all. Fails: ERR_INVALID, says what does not parse or match. */
NODISCARD bool tls_server_new(const struct tls_server_opts *opts, struct tls_server **ret, struct err *err);
/* New certificates or CAs for new connections; on failure the old stay. */
NODISCARD bool tls_server_reload(struct tls_server *t, const struct tls_server_opts *opts, struct err *err);
void tls_server_free(struct tls_server *t); /* after its servers have stopped; NULL is fine */

struct tls_client_opts {
	struct str ca_pem;      /* bundle; empty: the system's */
	struct str cert_pem;    /* client certificate and chain; may be empty */
	struct str key_pem;
	struct str server_name; /* to verify and to send as SNI; empty: the url's host */
	bool insecure;          /* do not verify */
};

#endif
