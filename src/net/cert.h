/* SPDX-License-Identifier: Apache-2.0 */
/* cert.h - keys and certificates: make, sign, read. PEM text in and out, results live in the arena. Any thread. */
#ifndef NET_CERT_H
#define NET_CERT_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"

enum key_kind { KEY_EC_P256, KEY_RSA_2048 };
/* A private key, PKCS#8 PEM. */
NODISCARD bool key_new(enum key_kind kind, struct arena *a, struct str *ret_pem, struct err *err);
/* Its public half, SubjectPublicKeyInfo PEM. */
NODISCARD bool key_public(struct str key_pem, struct arena *a, struct str *ret_pem, struct err *err);

enum {
	CERT_CA = 1,     /* may sign others */
	CERT_SERVER = 2, /* extended key usage */
	CERT_CLIENT = 4,
};
struct cert_opts {
	struct str common_name;
	const struct str *organizations;
	size_t organizations_len;
	const struct str *dns; /* subject alternative names */
	size_t dns_len;
	const struct str *ips; /* as text, v4 or v6 */
	size_t ips_len;
	int usage;             /* CERT_... */
	nsec_t not_before;     /* 0: now less 5 minutes */
	nsec_t lifetime;       /* 0: a year; cut to the CA's own end */
	struct str ca_cert_pem, ca_key_pem; /* both empty: signed by its own key */
};
/* A certificate for the key's public half. Serials are random. Fails: ERR_INVALID. */
NODISCARD bool cert_new(struct str key_pem, const struct cert_opts *opts, struct arena *a, struct str *ret_pem, struct err *err);

/* A PKCS#10 request with the subject and names of opts (usage, times, CA are ignored). */
NODISCARD bool csr_new(struct str key_pem, const struct cert_opts *opts, struct arena *a, struct str *ret_pem, struct err *err);
/* Signs the request's subject and names; of opts counts usage, lifetime and the CA. The request's own signature is checked. Fails: ERR_INVALID. */
NODISCARD bool csr_sign(struct str csr_pem, const struct cert_opts *opts, struct arena *a, struct str *ret_pem, struct err *err);

struct cert_identity {
	struct str common_name;
	const struct str *organizations;
	size_t organizations_len;
	const struct str *dns;
	size_t dns_len;
	const struct str *ips; /* as text */
	size_t ips_len;
	struct str serial;      /* hex, upper case */
	struct str fingerprint; /* sha256 of the DER, hex, lower case */
	struct str issuer;      /* common name */
	nsec_t not_before, not_after; /* wall clock */
	bool ca;
};
/* Of the first certificate in the PEM text. Fails: ERR_INVALID. */
NODISCARD bool cert_parse(struct str cert_pem, struct arena *a, struct cert_identity *ret, struct err *err);
/* Of a certificate request: names only. */
NODISCARD bool csr_parse(struct str csr_pem, struct arena *a, struct cert_identity *ret, struct err *err);
/* Whether the key belongs to the certificate. */
bool cert_matches_key(struct str cert_pem, struct str key_pem);
/* Whether a CA of the bundle signed it and it is valid now; the reason in err otherwise (ERR_UNAUTHORIZED). */
NODISCARD bool cert_verify(struct str cert_pem, struct str ca_pem, struct err *err);

#endif
