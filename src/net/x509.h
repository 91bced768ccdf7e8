/* SPDX-License-Identifier: Apache-2.0 */
/* x509.h - what tls.c, cert.c and jwt.c share of OpenSSL's types. Private to net. */
#ifndef NET_X509_H
#define NET_X509_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "net/cert.h"

const char *x509_reason(void); /* the last OpenSSL error's text; empties its queue */
/* A private key. Fails: ERR_INVALID. */
NODISCARD bool x509_key_read(struct str pem, EVP_PKEY **ret, struct err *err);
/* The names of a certificate, all in one allocation (free). */
struct cert_identity *x509_identity_new(X509 *cert);

#endif
