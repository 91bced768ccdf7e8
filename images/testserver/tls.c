/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.c - TLS by OpenSSL.
 *
 * Called by stream.c and the commands that serve or ask with TLS. A context is shared by threads, a
 * connection belongs to one. Reads certificate files when told to.
 */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SELF_SIGNED_DAYS = 3650 };

struct tls_server {
	SSL_CTX *ctx; /* owned */
};

struct tls {
	SSL_CTX *ctx; /* owned when we are the client; else NULL */
	SSL *ssl;     /* owned */
};

static bool fail(struct err *err, const char *what) {
	char text[200] = "";
	unsigned long code = ERR_peek_last_error();

	if (code) {
		ERR_error_string_n(code, text, sizeof(text));
	}
	ERR_clear_error();
	return err_set(err, "%s%s%s", what, text[0] ? ": " : "", text);
}

static bool extension_add(X509 *cert, int nid, const char *value) {
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* A certificate for this machine alone, made anew at each start, so that no key lies in an image. */
static bool self_sign(SSL_CTX *ctx, struct err *err) {
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	bool ok = key && cert && X509_set_version(cert, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)time(NULL)) &&
		X509_gmtime_adj(X509_getm_notBefore(cert), -86400) && X509_gmtime_adj(X509_getm_notAfter(cert), SELF_SIGNED_DAYS * 86400L) &&
		X509_set_pubkey(cert, key) && X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Coracle test", -1, -1, 0) &&
		X509_set_issuer_name(cert, name) && extension_add(cert, NID_basic_constraints, "critical,CA:TRUE") &&
		extension_add(cert, NID_subject_alt_name, "DNS:localhost,DNS:example.com,IP:127.0.0.1,IP:::1") &&
		extension_add(cert, NID_ext_key_usage, "serverAuth") && X509_sign(cert, key, EVP_sha256()) > 0 &&
		SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1;

	X509_free(cert);
	EVP_PKEY_free(key);
	return ok || fail(err, "make a certificate");
}

static bool is_default_file(const char *path) {
	const char *slash = strrchr(path, '/');

	return strcmp(slash ? slash + 1 : path, "localhost.crt") == 0 && access(path, F_OK) != 0;
}

bool tls_server_new(const char *cert_file, const char *key_file, struct tls_server **ret, struct err *err) {
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct tls_server *server;
	bool ok = ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1;

	ok = ok || fail(err, "start TLS");
	if (ok && is_default_file(cert_file)) {
		ok = self_sign(ctx, err);
	} else if (ok) {
		ok = (access(cert_file, R_OK) == 0 || err_sys(err, "read %s", cert_file)) &&
			(access(key_file, R_OK) == 0 || err_sys(err, "read %s", key_file));
		ok = ok && (SSL_CTX_use_certificate_chain_file(ctx, cert_file) == 1 || fail(err, cert_file));
		ok = ok && (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) == 1 || fail(err, key_file));
	}
	if (!ok) {
		SSL_CTX_free(ctx);
		return false;
	}
	server = xcalloc(1, sizeof(*server));
	server->ctx = ctx;
	*ret = server;
	return true;
}

bool tls_accept(struct tls_server *server, int fd, struct tls **ret, struct err *err) {
	SSL *ssl = SSL_new(server->ctx);

	if (!ssl || SSL_set_fd(ssl, fd) != 1 || SSL_accept(ssl) != 1) {
		fail(err, "TLS handshake");
		SSL_free(ssl);
		return false;
	}
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->ssl = ssl;
	return true;
}

/* A host that is an address is checked against the certificate's addresses, another against its names. */
static bool expect_host(SSL *ssl, const char *host) {
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1) {
		return true;
	}
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

bool tls_connect(int fd, const char *host, const struct tls_trust *trust, struct tls **ret, struct err *err) {
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;
	bool ok = ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1;

	ok = ok && (trust->ca_file ? SSL_CTX_load_verify_locations(ctx, trust->ca_file, NULL) : SSL_CTX_set_default_verify_paths(ctx)) == 1;
	if (ok) {
		SSL_CTX_set_verify(ctx, trust->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
		ssl = SSL_new(ctx);
	}
	ok = ok && ssl && SSL_set_fd(ssl, fd) == 1 && expect_host(ssl, host);
	ERR_clear_error(); /* a host that is no address leaves one */
	ok = ok && SSL_connect(ssl) == 1;
	if (!ok) {
		fail(err, "TLS handshake");
		SSL_free(ssl);
		SSL_CTX_free(ctx);
		return false;
	}
	*ret = xcalloc(1, sizeof(**ret));
	**ret = (struct tls){ .ctx = ctx, .ssl = ssl };
	return true;
}

ssize_t tls_read(struct tls *tls, char *to, size_t len) {
	size_t n = 0;

	if (SSL_read_ex(tls->ssl, to, len, &n) == 1) {
		return (ssize_t)n;
	}
	return SSL_get_error(tls->ssl, 0) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

ssize_t tls_write(struct tls *tls, const char *from, size_t len) {
	size_t n = 0;

	return SSL_write_ex(tls->ssl, from, len, &n) == 1 ? (ssize_t)n : -1;
}

bool tls_pending(const struct tls *tls) {
	return SSL_has_pending(tls->ssl) == 1;
}

void tls_free(struct tls *tls) {
	if (!tls) {
		return;
	}
	SSL_shutdown(tls->ssl);
	SSL_free(tls->ssl);
	SSL_CTX_free(tls->ctx);
	ERR_clear_error();
	free(tls);
}

bool tls_digest(struct str in, struct buf *out) {
	unsigned char digest[32], text[48];
	unsigned len;
	int n;

	if (EVP_Digest(in.ptr, in.len, digest, &len, EVP_sha256(), NULL) != 1) {
		return false;
	}
	n = EVP_EncodeBlock(text, digest, (int)len);
	for (int i = 0; i < n && text[i] != '='; i++) {
		char c = text[i] == '+' ? '-' : text[i] == '/' ? '_' : (char)text[i];

		buf_add(out, (struct str){ &c, 1 });
	}
	return true;
}
