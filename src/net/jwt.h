/* SPDX-License-Identifier: Apache-2.0 */
/* jwt.h - signed tokens (RFC 7515, 7519; RS256 and ES256): service-account tokens and OIDC keys. Claims are JSON text that the caller makes and reads. Any thread. */
#ifndef NET_JWT_H
#define NET_JWT_H

#include "base/arena.h"
#include "base/err.h"

struct jwt_key;
/* From a private or public key in PEM (RSA: RS256; EC P-256: ES256). Fails: ERR_INVALID. */
NODISCARD bool jwt_key_new(struct str pem, struct jwt_key **ret, struct err *err);
void jwt_key_free(struct jwt_key *k);
/* base64url(sha256(DER public key)), as Kubernetes names its keys; borrowed from k. */
struct str jwt_key_id(const struct jwt_key *k);
/* One key of a JWK set: {"use":"sig","kty":"RSA","kid":...}. */
struct str jwt_key_jwk(const struct jwt_key *k, struct arena *a);

/* Needs a private key. */
NODISCARD bool jwt_sign(const struct jwt_key *k, struct str claims_json, struct arena *a, struct str *ret_token, struct err *err);
/*
 * Checks the signature by that of `keys` which the header's kid names (by all when it names none) and returns the claims' JSON text.
 * Times, issuer and audience are the caller's to check. Fails: ERR_UNAUTHORIZED.
 */
NODISCARD bool jwt_verify(struct jwt_key *const *keys, size_t n, struct str token, struct arena *a, struct str *ret_claims_json, struct err *err);
/* The claims without any check: to see the issuer. Fails: ERR_UNAUTHORIZED when it is not a token. */
NODISCARD bool jwt_peek(struct str token, struct arena *a, struct str *ret_claims_json, struct err *err);

#endif
