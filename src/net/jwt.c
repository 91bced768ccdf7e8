/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt.c - see jwt.h. The header is the only JSON read here: a flat object, of which alg and kid count. Any thread.
 *
 * A client shows the same token with each request, and a signature that was good once stays good: each key remembers
 * the digests of tokens that it has verified lately. Whether the token still counts is the caller's to check each time.
 */
#include "net/jwt.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>

#include "net/digest.h"
#include "net/x509.h"

#define TOKEN_MAX 65536
#define EC_HALF 32 /* bytes of r and of s on P-256 */
#define VERIFIED 1024 /* digests that a key remembers, each in the place that its first bytes say */

struct jwt_key {
	EVP_PKEY *key;
	bool ec, is_private;
	char id[48]; /* 43 characters of base64url */
	pthread_mutex_t lock;
	uint8_t (*verified)[SHA256_BYTES]; /* under lock; NULL until there is one */
};

static bool is_private_pem(struct str pem) {
	return str_contains(pem, S("PRIVATE KEY-----"));
}

bool jwt_key_new(struct str pem, struct jwt_key **ret, struct err *err) {
	BIO *bio = BIO_new_mem_buf(pem.len ? pem.ptr : "", (int)pem.len);
	bool private = is_private_pem(pem);
	EVP_PKEY *key = private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
	BIO_free(bio);
	ERR_clear_error();
	int type = key ? EVP_PKEY_get_base_id(key) : 0;
	char curve[40] = "";
	if (type == EVP_PKEY_EC) {
		EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof(curve), NULL);
	}
	bool p256 = type == EVP_PKEY_EC && (strcmp(curve, "prime256v1") == 0 || strcmp(curve, "P-256") == 0);
	if (type != EVP_PKEY_RSA && !p256) {
		EVP_PKEY_free(key);
		return err_set(err, ERR_INVALID, key ? "a token key must be RSA or EC P-256" : "the token key is not PEM");
	}
	unsigned char *der = NULL;
	int der_len = i2d_PUBKEY(key, &der);
	uint8_t digest[SHA256_BYTES];
	auto_arena struct arena a = { 0 };
	sha256((struct str){ (char *)der, der_len > 0 ? (size_t)der_len : 0 }, digest);
	OPENSSL_free(der);
	struct jwt_key *k = xcalloc(1, sizeof(*k));
	*k = (struct jwt_key){ .key = key, .ec = p256, .is_private = private };
	pthread_mutex_init(&k->lock, NULL);
	snprintf(k->id, sizeof(k->id), "%.*s", STR_ARG(base64url_encode(&a, (struct str){ (char *)digest, sizeof(digest) })));
	*ret = k;
	return true;
}

void jwt_key_free(struct jwt_key *k) {
	if (k) {
		EVP_PKEY_free(k->key);
		pthread_mutex_destroy(&k->lock);
		free(k->verified);
		free(k);
	}
}

struct str jwt_key_id(const struct jwt_key *k) {
	return str_c(k->id);
}

static struct str number_param(const struct jwt_key *k, const char *name, size_t pad, struct arena *a) {
	BIGNUM *bn = NULL;
	EVP_PKEY_get_bn_param(k->key, name, &bn);
	size_t len = MAX((size_t)BN_num_bytes(bn), pad);
	char *bytes = arena_alloc(a, len);
	BN_bn2binpad(bn, (unsigned char *)bytes, (int)len);
	BN_free(bn);
	return base64url_encode(a, (struct str){ bytes, len });
}

struct str jwt_key_jwk(const struct jwt_key *k, struct arena *a) {
	if (k->ec) {
		struct str x = number_param(k, OSSL_PKEY_PARAM_EC_PUB_X, EC_HALF, a), y = number_param(k, OSSL_PKEY_PARAM_EC_PUB_Y, EC_HALF, a);
		return arena_printf(a, "{\"use\":\"sig\",\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"P-256\",\"alg\":\"ES256\",\"x\":\"%.*s\",\"y\":\"%.*s\"}", k->id, STR_ARG(x),
			STR_ARG(y));
	}
	struct str n = number_param(k, OSSL_PKEY_PARAM_RSA_N, 0, a), e = number_param(k, OSSL_PKEY_PARAM_RSA_E, 0, a);
	return arena_printf(a, "{\"use\":\"sig\",\"kty\":\"RSA\",\"kid\":\"%s\",\"alg\":\"RS256\",\"n\":\"%.*s\",\"e\":\"%.*s\"}", k->id, STR_ARG(n), STR_ARG(e));
}

/* ---- signing ---- */

/* OpenSSL's DER signature as the 64 bytes of RFC 7518 section 3.4. */
static bool ec_raw(const unsigned char *der, size_t len, unsigned char out[2 * EC_HALF]) {
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
	bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, EC_HALF) == EC_HALF &&
		  BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + EC_HALF, EC_HALF) == EC_HALF;
	ECDSA_SIG_free(sig);
	return ok;
}

bool jwt_sign(const struct jwt_key *k, struct str claims_json, struct arena *a, struct str *ret_token, struct err *err) {
	unsigned char sig[1024], raw[2 * EC_HALF];
	size_t sig_len = sizeof(sig);
	if (!k->is_private) {
		return err_set(err, ERR_INTERNAL, "this key can only verify tokens");
	}
	struct str header = arena_printf(a, "{\"alg\":\"%s\",\"kid\":\"%s\"}", k->ec ? "ES256" : "RS256", k->id);
	struct str parts[] = { base64url_encode(a, header), base64url_encode(a, claims_json) };
	struct str text = arena_join(a, parts, 2, S("."));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->key) == 1 &&
		  EVP_DigestSign(ctx, sig, &sig_len, (const unsigned char *)text.ptr, text.len) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok || (k->ec && !ec_raw(sig, sig_len, raw))) {
		return err_set(err, ERR_INTERNAL, "sign a token: %s", x509_reason());
	}
	struct str signature = k->ec ? (struct str){ (char *)raw, sizeof(raw) } : (struct str){ (char *)sig, sig_len };
	struct str all[] = { text, base64url_encode(a, signature) };
	*ret_token = arena_join(a, all, 2, S("."));
	return true;
}

/* ---- reading ---- */

/* A string of the header's flat JSON; ptr NULL when absent. Names and values with escapes are not ours. */
static struct str header_field(struct str json, const char *name, struct arena *a) {
	struct str quoted = arena_printf(a, "\"%s\"", name);
	ptrdiff_t at = str_find(json, quoted);
	if (at < 0) {
		return (struct str){ 0 };
	}
	struct str rest = str_trim(str_from(json, (size_t)at + quoted.len));
	if (!str_starts(rest, S(":"))) {
		return (struct str){ 0 };
	}
	rest = str_trim(str_from(rest, 1));
	ptrdiff_t end = str_starts(rest, S("\"")) ? str_index(str_from(rest, 1), '"') : -1;
	return end < 0 ? (struct str){ 0 } : str_sub(rest, 1, (size_t)end + 1);
}

struct token {
	struct str signed_part, header, claims, signature; /* the last three decoded */
};

static bool token_split(struct str text, struct arena *a, struct token *ret, struct err *err) {
	struct str header, rest, claims, signature;
	bool ok = text.len <= TOKEN_MAX && str_cut(text, '.', &header, &rest) && str_cut(rest, '.', &claims, &signature) && str_index(signature, '.') < 0;
	if (ok) {
		ret->signed_part = str_sub(text, 0, header.len + 1 + claims.len);
	}
	if (!ok || !base64url_decode(a, header, &ret->header) || !base64url_decode(a, claims, &ret->claims) ||
		!base64url_decode(a, signature, &ret->signature)) {
		return err_set(err, ERR_UNAUTHORIZED, "invalid bearer token: not a JSON web token");
	}
	return true;
}

static bool signature_ok(const struct jwt_key *k, const struct token *t) {
	unsigned char *der = NULL;
	const unsigned char *sig = (const unsigned char *)t->signature.ptr;
	size_t len = t->signature.len;
	if (k->ec) {
		if (len != 2 * EC_HALF) {
			return false;
		}
		ECDSA_SIG *s = ECDSA_SIG_new();
		ECDSA_SIG_set0(s, BN_bin2bn(sig, EC_HALF, NULL), BN_bin2bn(sig + EC_HALF, EC_HALF, NULL));
		int n = i2d_ECDSA_SIG(s, &der);
		ECDSA_SIG_free(s);
		if (n <= 0) {
			return false;
		}
		sig = der;
		len = (size_t)n;
	}
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, k->key) == 1 &&
		  EVP_DigestVerify(ctx, sig, len, (const unsigned char *)t->signed_part.ptr, t->signed_part.len) == 1;
	EVP_MD_CTX_free(ctx);
	OPENSSL_free(der);
	ERR_clear_error();
	return ok;
}

static uint8_t *place_of(const struct jwt_key *k, const uint8_t digest[SHA256_BYTES]) {
	return k->verified[(digest[0] << 8 | digest[1]) % VERIFIED];
}

static bool verified_before(struct jwt_key *k, const uint8_t digest[SHA256_BYTES]) {
	pthread_mutex_lock(&k->lock);
	bool known = k->verified && memcmp(place_of(k, digest), digest, SHA256_BYTES) == 0;
	pthread_mutex_unlock(&k->lock);
	return known;
}

static void verified_remember(struct jwt_key *k, const uint8_t digest[SHA256_BYTES]) {
	pthread_mutex_lock(&k->lock);
	if (!k->verified) {
		k->verified = xcalloc(VERIFIED, sizeof(*k->verified));
	}
	memcpy(place_of(k, digest), digest, SHA256_BYTES);
	pthread_mutex_unlock(&k->lock);
}

static bool token_ok(struct jwt_key *k, struct str token, const struct token *t) {
	uint8_t digest[SHA256_BYTES];
	sha256(token, digest);
	if (verified_before(k, digest)) {
		return true;
	}
	bool ok = signature_ok(k, t);
	if (ok) {
		verified_remember(k, digest);
	}
	return ok;
}

bool jwt_verify(struct jwt_key *const *keys, size_t n, struct str token, struct arena *a, struct str *ret_claims_json, struct err *err) {
	struct token t = { 0 };
	if (!token_split(token, a, &t, err)) {
		return false;
	}
	struct str alg = header_field(t.header, "alg", a), kid = header_field(t.header, "kid", a);
	for (size_t i = 0; i < n; i++) {
		/* The key decides the algorithm, never the token. */
		bool fits = str_eqc(alg, keys[i]->ec ? "ES256" : "RS256") && (!kid.ptr || str_eqc(kid, keys[i]->id));
		if (fits && token_ok(keys[i], token, &t)) {
			*ret_claims_json = t.claims;
			return true;
		}
	}
	return err_set(err, ERR_UNAUTHORIZED, "invalid bearer token: no known key signed it");
}

bool jwt_peek(struct str token, struct arena *a, struct str *ret_claims_json, struct err *err) {
	struct token t = { 0 };
	if (!token_split(token, a, &t, err)) {
		return false;
	}
	*ret_claims_json = t.claims;
	return true;
}
