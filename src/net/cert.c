/* SPDX-License-Identifier: Apache-2.0 */
/* cert.c - see cert.h. All state is local to a call; any thread. */
#include "net/cert.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "net/digest.h"
#include "net/x509.h"

#define CLEANUP_FN(type, fn)                 \
	static void fn##_p(type **p) {       \
		fn(*p);                      \
	}
CLEANUP_FN(X509, X509_free)
CLEANUP_FN(X509_REQ, X509_REQ_free)
CLEANUP_FN(EVP_PKEY, EVP_PKEY_free)
CLEANUP_FN(BIO, BIO_free_all)
#define auto_x509 CLEANUP(X509_free_p)
#define auto_req CLEANUP(X509_REQ_free_p)
#define auto_key CLEANUP(EVP_PKEY_free_p)
#define auto_bio CLEANUP(BIO_free_all_p)

const char *x509_reason(void) {
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	return reason ? reason : "unknown reason";
}

static struct str bio_str(struct arena *a, BIO *bio) {
	char *ptr;
	long len = BIO_get_mem_data(bio, &ptr);
	return arena_str(a, (struct str){ ptr, (size_t)len });
}

static BIO *bio_of(struct str s) {
	return BIO_new_mem_buf(s.len ? s.ptr : "", (int)s.len);
}

bool x509_key_read(struct str pem, EVP_PKEY **ret, struct err *err) {
	auto_bio BIO *bio = bio_of(pem);
	*ret = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	ERR_clear_error();
	return *ret ? true : err_set(err, ERR_INVALID, "the private key is not PEM");
}

static bool cert_read(struct str pem, X509 **ret, struct err *err) {
	auto_bio BIO *bio = bio_of(pem);
	*ret = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	ERR_clear_error();
	return *ret ? true : err_set(err, ERR_INVALID, "the certificate is not PEM");
}

static bool req_read(struct str pem, X509_REQ **ret, struct err *err) {
	auto_bio BIO *bio = bio_of(pem);
	*ret = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	ERR_clear_error();
	return *ret ? true : err_set(err, ERR_INVALID, "the certificate request is not PEM");
}

/* ---- keys ---- */

bool key_new(enum key_kind kind, struct arena *a, struct str *ret_pem, struct err *err) {
	auto_key EVP_PKEY *key = kind == KEY_RSA_2048 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	auto_bio BIO *bio = BIO_new(BIO_s_mem());
	if (!key || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
		return err_set(err, ERR_INTERNAL, "make a key: %s", x509_reason());
	}
	*ret_pem = bio_str(a, bio);
	return true;
}

bool key_public(struct str key_pem, struct arena *a, struct str *ret_pem, struct err *err) {
	auto_key EVP_PKEY *key = NULL;
	auto_bio BIO *bio = BIO_new(BIO_s_mem());
	if (!x509_key_read(key_pem, &key, err)) {
		return false;
	}
	if (PEM_write_bio_PUBKEY(bio, key) != 1) {
		return err_set(err, ERR_INTERNAL, "write a public key: %s", x509_reason());
	}
	*ret_pem = bio_str(a, bio);
	return true;
}

/* ---- making ---- */

static X509_NAME *subject_new(const struct cert_opts *o) {
	X509_NAME *name = X509_NAME_new();
	for (size_t i = 0; i < o->organizations_len; i++) {
		X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_UTF8, (const unsigned char *)o->organizations[i].ptr,
			(int)o->organizations[i].len, -1, 0);
	}
	if (o->common_name.len) {
		X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)o->common_name.ptr, (int)o->common_name.len, -1, 0);
	}
	return name;
}

static bool alt_names(const struct cert_opts *o, GENERAL_NAMES **ret, struct err *err) {
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	for (size_t i = 0; i < o->dns_len; i++) {
		GENERAL_NAME *n = GENERAL_NAME_new();
		ASN1_IA5STRING *s = ASN1_IA5STRING_new();
		ASN1_STRING_set(s, o->dns[i].ptr, (int)o->dns[i].len);
		GENERAL_NAME_set0_value(n, GEN_DNS, s);
		sk_GENERAL_NAME_push(names, n);
	}
	for (size_t i = 0; i < o->ips_len; i++) {
		char text[64];
		snprintf(text, sizeof(text), "%.*s", STR_ARG(o->ips[i]));
		ASN1_OCTET_STRING *s = a2i_IPADDRESS(text);
		if (!s) {
			ERR_clear_error();
			GENERAL_NAMES_free(names);
			return err_set(err, ERR_INVALID, "\"%s\" is not an IP address", text);
		}
		GENERAL_NAME *n = GENERAL_NAME_new();
		GENERAL_NAME_set0_value(n, GEN_IPADD, s);
		sk_GENERAL_NAME_push(names, n);
	}
	*ret = names;
	return true;
}

static void ext_add(X509 *cert, X509V3_CTX *ctx, int nid, const char *value) {
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
	if (e) {
		X509_add_ext(cert, e, -1);
		X509_EXTENSION_free(e);
	}
}

static void serial_set(X509 *cert) {
	unsigned char bytes[16];
	random_bytes(bytes, sizeof(bytes));
	bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and always as long */
	BIGNUM *bn = BN_bin2bn(bytes, sizeof(bytes), NULL);
	BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
	BN_free(bn);
}

static void times_set(X509 *cert, const struct cert_opts *o, X509 *ca) {
	nsec_t from = o->not_before ? o->not_before : clock_wall() - 300 * NSEC_PER_SEC;
	nsec_t span = o->lifetime ? o->lifetime : 365 * 24 * 3600 * NSEC_PER_SEC;
	nsec_t to = (o->not_before ? from : clock_wall()) + span;
	ASN1_TIME_set(X509_getm_notBefore(cert), from / NSEC_PER_SEC);
	ASN1_TIME_set(X509_getm_notAfter(cert), to / NSEC_PER_SEC);
	if (ca && ASN1_TIME_compare(X509_get0_notAfter(ca), X509_get0_notAfter(cert)) < 0) {
		X509_set1_notAfter(cert, X509_get0_notAfter(ca));
	}
}

static void usage_set(X509 *cert, X509V3_CTX *ctx, int usage, bool ec) {
	bool both = (usage & (CERT_SERVER | CERT_CLIENT)) == (CERT_SERVER | CERT_CLIENT);
	ext_add(cert, ctx, NID_basic_constraints, usage & CERT_CA ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (usage & CERT_CA) {
		ext_add(cert, ctx, NID_key_usage, "critical,digitalSignature,keyEncipherment,keyCertSign,cRLSign");
	} else {
		ext_add(cert, ctx, NID_key_usage, ec ? "critical,digitalSignature" : "critical,digitalSignature,keyEncipherment");
	}
	if (usage & (CERT_SERVER | CERT_CLIENT)) {
		ext_add(cert, ctx, NID_ext_key_usage, both ? "serverAuth,clientAuth" : usage & CERT_SERVER ? "serverAuth" : "clientAuth");
	}
	ext_add(cert, ctx, NID_subject_key_identifier, "hash");
}

/* Signs a certificate for `pub` with the CA of opts, or with `self` when there is none. */
static bool issue(EVP_PKEY *pub, EVP_PKEY *self, X509_NAME *subject, GENERAL_NAMES *names, const struct cert_opts *o, struct arena *a,
	struct str *ret_pem, struct err *err) {
	auto_x509 X509 *ca = NULL, *cert = X509_new();
	auto_key EVP_PKEY *ca_key = NULL;
	auto_bio BIO *bio = BIO_new(BIO_s_mem());
	X509V3_CTX ctx;

	if (o->ca_cert_pem.len && (!cert_read(o->ca_cert_pem, &ca, err) || !x509_key_read(o->ca_key_pem, &ca_key, err))) {
		return err_wrap(err, "CA");
	}
	X509_set_version(cert, X509_VERSION_3);
	serial_set(cert);
	times_set(cert, o, ca);
	X509_set_subject_name(cert, subject);
	X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca) : subject);
	X509_set_pubkey(cert, pub);
	X509V3_set_ctx(&ctx, ca ? ca : cert, cert, NULL, NULL, 0);
	usage_set(cert, &ctx, o->usage, EVP_PKEY_get_base_id(pub) == EVP_PKEY_EC);
	if (ca) {
		ext_add(cert, &ctx, NID_authority_key_identifier, "keyid");
	}
	if (sk_GENERAL_NAME_num(names) > 0) {
		X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0);
	}
	if (!X509_sign(cert, ca ? ca_key : self, EVP_sha256()) || PEM_write_bio_X509(bio, cert) != 1) {
		return err_set(err, ERR_INVALID, "sign a certificate: %s", x509_reason());
	}
	ERR_clear_error();
	*ret_pem = bio_str(a, bio);
	return true;
}

bool cert_new(struct str key_pem, const struct cert_opts *o, struct arena *a, struct str *ret_pem, struct err *err) {
	auto_key EVP_PKEY *key = NULL;
	GENERAL_NAMES *names = NULL;
	if (!x509_key_read(key_pem, &key, err) || !alt_names(o, &names, err)) {
		return false;
	}
	X509_NAME *subject = subject_new(o);
	bool ok = issue(key, key, subject, names, o, a, ret_pem, err);
	X509_NAME_free(subject);
	GENERAL_NAMES_free(names);
	return ok;
}

bool csr_new(struct str key_pem, const struct cert_opts *o, struct arena *a, struct str *ret_pem, struct err *err) {
	auto_key EVP_PKEY *key = NULL;
	auto_req X509_REQ *req = X509_REQ_new();
	auto_bio BIO *bio = BIO_new(BIO_s_mem());
	GENERAL_NAMES *names = NULL;
	if (!x509_key_read(key_pem, &key, err) || !alt_names(o, &names, err)) {
		return false;
	}
	X509_NAME *subject = subject_new(o);
	X509_REQ_set_version(req, X509_REQ_VERSION_1);
	X509_REQ_set_subject_name(req, subject);
	X509_REQ_set_pubkey(req, key);
	if (sk_GENERAL_NAME_num(names) > 0) {
		STACK_OF(X509_EXTENSION) *exts = NULL;
		X509V3_add1_i2d(&exts, NID_subject_alt_name, names, 0, 0);
		X509_REQ_add_extensions(req, exts);
		sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	}
	bool ok = X509_REQ_sign(req, key, EVP_sha256()) && PEM_write_bio_X509_REQ(bio, req) == 1;
	X509_NAME_free(subject);
	GENERAL_NAMES_free(names);
	if (!ok) {
		return err_set(err, ERR_INTERNAL, "sign a certificate request: %s", x509_reason());
	}
	*ret_pem = bio_str(a, bio);
	return true;
}

static GENERAL_NAMES *req_names(X509_REQ *req) {
	STACK_OF(X509_EXTENSION) *exts = X509_REQ_get_extensions(req);
	GENERAL_NAMES *names = exts ? X509V3_get_d2i(exts, NID_subject_alt_name, NULL, NULL) : NULL;
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	return names ? names : GENERAL_NAMES_new();
}

bool csr_sign(struct str csr_pem, const struct cert_opts *o, struct arena *a, struct str *ret_pem, struct err *err) {
	auto_req X509_REQ *req = NULL;
	if (!req_read(csr_pem, &req, err)) {
		return false;
	}
	EVP_PKEY *pub = X509_REQ_get0_pubkey(req);
	if (!pub || X509_REQ_verify(req, pub) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_INVALID, "the certificate request is not signed by its own key");
	}
	if (!o->ca_cert_pem.len) {
		return err_set(err, ERR_INVALID, "a certificate request needs a CA to sign it");
	}
	GENERAL_NAMES *names = req_names(req);
	bool ok = issue(pub, NULL, X509_REQ_get_subject_name(req), names, o, a, ret_pem, err);
	GENERAL_NAMES_free(names);
	return ok;
}

/* ---- reading ---- */

/* Values of one kind of entry in a name, in order. */
static struct str *name_entries(X509_NAME *name, int nid, struct arena *a, size_t *ret_len) {
	int n = X509_NAME_entry_count(name);
	struct str *at = arena_array(a, struct str, (size_t)n);
	*ret_len = 0;
	for (int i = 0; i < n; i++) {
		X509_NAME_ENTRY *e = X509_NAME_get_entry(name, i);
		unsigned char *utf8 = NULL;
		if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(e)) != nid) {
			continue;
		}
		int len = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(e));
		if (len >= 0) {
			at[(*ret_len)++] = arena_str(a, (struct str){ (char *)utf8, (size_t)len });
			OPENSSL_free(utf8);
		}
	}
	return at;
}

static struct str name_last(X509_NAME *name, int nid, struct arena *a) {
	size_t n;
	struct str *at = name_entries(name, nid, a, &n);
	return n ? at[n - 1] : (struct str){ 0 };
}

static void names_read(GENERAL_NAMES *names, struct arena *a, struct cert_identity *id) {
	int n = sk_GENERAL_NAME_num(names);
	struct str *dns = arena_array(a, struct str, (size_t)MAX(n, 0)), *ips = arena_array(a, struct str, (size_t)MAX(n, 0));
	for (int i = 0; i < n; i++) {
		int type;
		void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
		const ASN1_STRING *s = value;
		if (type == GEN_DNS) {
			dns[id->dns_len++] = arena_str(a, (struct str){ (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) });
		} else if (type == GEN_IPADD) {
			char text[INET6_ADDRSTRLEN];
			int family = ASN1_STRING_length(s) == 4 ? AF_INET : ASN1_STRING_length(s) == 16 ? AF_INET6 : 0;
			if (family && inet_ntop(family, ASN1_STRING_get0_data(s), text, sizeof(text))) {
				ips[id->ips_len++] = arena_str(a, str_c(text));
			}
		}
	}
	id->dns = dns;
	id->ips = ips;
}

static nsec_t time_read(const ASN1_TIME *t) {
	struct tm tm;
	return ASN1_TIME_to_tm(t, &tm) ? (nsec_t)timegm(&tm) * NSEC_PER_SEC : 0;
}

static void subject_read(X509_NAME *subject, struct arena *a, struct cert_identity *id) {
	id->common_name = name_last(subject, NID_commonName, a);
	id->organizations = name_entries(subject, NID_organizationName, a, &id->organizations_len);
}

static void identity_read(X509 *cert, struct arena *a, struct cert_identity *id) {
	unsigned char digest[SHA256_BYTES];
	unsigned int digest_len = sizeof(digest);
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);

	subject_read(X509_get_subject_name(cert), a, id);
	id->issuer = name_last(X509_get_issuer_name(cert), NID_commonName, a);
	BIGNUM *bn = ASN1_INTEGER_to_BN(serial, NULL);
	char *hex = BN_bn2hex(bn);
	id->serial = arena_str(a, str_c(hex));
	OPENSSL_free(hex);
	BN_free(bn);
	X509_digest(cert, EVP_sha256(), digest, &digest_len);
	id->fingerprint = hex_encode(a, (struct str){ (char *)digest, sizeof(digest) });
	id->not_before = time_read(X509_get0_notBefore(cert));
	id->not_after = time_read(X509_get0_notAfter(cert));
	id->ca = X509_check_ca(cert) == 1;
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	if (names) {
		names_read(names, a, id);
		GENERAL_NAMES_free(names);
	}
	ERR_clear_error();
}

bool cert_parse(struct str cert_pem, struct arena *a, struct cert_identity *ret, struct err *err) {
	auto_x509 X509 *cert = NULL;
	if (!cert_read(cert_pem, &cert, err)) {
		return false;
	}
	*ret = (struct cert_identity){ 0 };
	identity_read(cert, a, ret);
	return true;
}

bool csr_parse(struct str csr_pem, struct arena *a, struct cert_identity *ret, struct err *err) {
	auto_req X509_REQ *req = NULL;
	if (!req_read(csr_pem, &req, err)) {
		return false;
	}
	*ret = (struct cert_identity){ 0 };
	subject_read(X509_REQ_get_subject_name(req), a, ret);
	GENERAL_NAMES *names = req_names(req);
	names_read(names, a, ret);
	GENERAL_NAMES_free(names);
	return true;
}

/* Copies an identity into one block, so that it can hang on a connection and cost no chunk of an arena. */
struct cert_identity *x509_identity_new(X509 *cert) {
	auto_arena struct arena a = { 0 };
	struct cert_identity id = { 0 };
	identity_read(cert, &a, &id);

	struct str *texts[] = { &id.common_name, &id.serial, &id.fingerprint, &id.issuer };
	const struct str **lists[] = { &id.organizations, &id.dns, &id.ips };
	size_t lens[] = { id.organizations_len, id.dns_len, id.ips_len }, bytes = sizeof(id);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		bytes += texts[i]->len;
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		bytes += lens[i] * sizeof(struct str);
		for (size_t k = 0; k < lens[i]; k++) {
			bytes += (*lists[i])[k].len;
		}
	}
	struct cert_identity *ret = xmalloc(bytes);
	struct str *list_at = (struct str *)(ret + 1);
	char *text_at = (char *)(list_at + lens[0] + lens[1] + lens[2]);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct str old = *texts[i];
		*texts[i] = (struct str){ text_at, old.len };
		text_at = old.len ? mempcpy(text_at, old.ptr, old.len) : text_at;
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		const struct str *old = *lists[i];
		*lists[i] = list_at;
		for (size_t k = 0; k < lens[i]; k++) {
			*list_at++ = (struct str){ text_at, old[k].len };
			text_at = old[k].len ? mempcpy(text_at, old[k].ptr, old[k].len) : text_at;
		}
	}
	*ret = id;
	return ret;
}

bool cert_matches_key(struct str cert_pem, struct str key_pem) {
	auto_x509 X509 *cert = NULL;
	auto_key EVP_PKEY *key = NULL;
	struct err err;
	bool ok = cert_read(cert_pem, &cert, &err) && x509_key_read(key_pem, &key, &err) && X509_check_private_key(cert, key) == 1;
	ERR_clear_error();
	return ok;
}

bool cert_verify(struct str cert_pem, struct str ca_pem, struct err *err) {
	auto_x509 X509 *cert = NULL;
	if (!cert_read(cert_pem, &cert, err)) {
		return false;
	}
	X509_STORE *store = X509_STORE_new();
	auto_bio BIO *bio = bio_of(ca_pem);
	for (X509 *ca; (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
		X509_STORE_add_cert(store, ca);
		X509_free(ca);
	}
	ERR_clear_error();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_STORE_CTX_init(ctx, store, cert, NULL);
	bool ok = X509_verify_cert(ctx) == 1;
	if (!ok) {
		err_set(err, ERR_UNAUTHORIZED, "the certificate is not trusted: %s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	ERR_clear_error();
	return ok;
}
