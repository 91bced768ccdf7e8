/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.c - OpenSSL contexts from PEM text. Sessions are not resumed (clients of the cluster keep their
 * connections), which keeps each connection small: no tickets, no cache.
 */
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/cert.h"
#include "net/sock.h"
#include "net/x509.h"

struct tls_server {
	pthread_mutex_t lock;
	SSL_CTX *ctx; /* guarded by lock; replaced whole by reload */
};

struct sni_entry {
	char *name;
	SSL_CTX *ctx;
};
/* Hangs on the first SSL_CTX as its app data; freed with it. */
struct sni_table {
	size_t len;
	struct sni_entry at[];
};

bool tls_err(SSL *ssl, struct err *err, const char *what) {
	long verify = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	if (verify != X509_V_OK && ssl && !SSL_is_server(ssl)) {
		return err_set(err, ERR_UNAUTHORIZED, "%s: the server's certificate is not trusted: %s", what, X509_verify_cert_error_string(verify));
	}
	return err_set(err, ERR_CLOSED, "%s: %s", what, reason ? reason : "broken");
}

/* ---- what server and client share ---- */

static bool key_load(SSL_CTX *ctx, struct str cert_pem, struct str key_pem, struct err *err) {
	X509 *cert = NULL;
	EVP_PKEY *key = NULL;
	bool ok = false;
	BIO *bio = BIO_new_mem_buf(cert_pem.ptr, (int)cert_pem.len);

	cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (!cert) {
		err_set(err, ERR_INVALID, "the certificate is not PEM");
		goto out;
	}
	if (SSL_CTX_use_certificate(ctx, cert) != 1) {
		err_set(err, ERR_INVALID, "the certificate cannot be used: %s", x509_reason());
		goto out;
	}
	for (X509 *chain; (chain = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
		SSL_CTX_add0_chain_cert(ctx, chain);
	}
	ERR_clear_error();
	if (!x509_key_read(key_pem, &key, err)) {
		goto out;
	}
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
		err_set(err, ERR_INVALID, "the private key does not belong to the certificate");
		goto out;
	}
	ok = true;
out:
	ERR_clear_error();
	X509_free(cert);
	EVP_PKEY_free(key);
	BIO_free(bio);
	return ok;
}

static bool ca_load(SSL_CTX *ctx, struct str pem, bool announce, struct err *err) {
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	int n = 0;
	for (X509 *ca; (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++) {
		X509_STORE_add_cert(store, ca);
		if (announce) {
			SSL_CTX_add_client_CA(ctx, ca);
		}
		X509_free(ca);
	}
	BIO_free(bio);
	ERR_clear_error();
	return n ? true : err_set(err, ERR_INVALID, "the CA bundle holds no PEM certificate");
}

static SSL_CTX *ctx_new(const SSL_METHOD *method) {
	SSL_CTX *ctx = SSL_CTX_new(method);
	assert(ctx);
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	return ctx;
}

/* ---- server ---- */

/* An unverified client is not an error of TLS: the layer above answers 401. The result stays with the SSL. */
static int verify_later(int ok, X509_STORE_CTX *store) {
	(void)ok, (void)store;
	return 1;
}

static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned int in_len, void *arg) {
	static const unsigned char both[] = "\x02h2\x08http/1.1", old[] = "\x08http/1.1";
	bool no_h2 = arg != NULL;
	const unsigned char *ours = no_h2 ? old : both;
	unsigned int ours_len = no_h2 ? sizeof(old) - 1 : sizeof(both) - 1;
	unsigned char *chosen;
	if (SSL_select_next_proto(&chosen, out_len, ours, ours_len, in, in_len) != OPENSSL_NPN_NEGOTIATED) {
		return SSL_TLSEXT_ERR_NOACK;
	}
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static bool sni_matches(const char *pattern, const char *name) {
	if (pattern[0] == '*' && pattern[1] == '.') {
		const char *dot = strchr(name, '.');
		return dot && str_case_eq(str_c(pattern + 1), str_c(dot));
	}
	return str_case_eq(str_c(pattern), str_c(name));
}

static int on_sni(SSL *ssl, int *alert, void *arg) {
	struct sni_table *table = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	for (size_t i = 0; name && i < table->len; i++) {
		if (sni_matches(table->at[i].name, name)) {
			SSL_set_SSL_CTX(ssl, table->at[i].ctx);
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_OK;
}

static void sni_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp) {
	struct sni_table *table = ptr;
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	for (size_t i = 0; table && i < table->len; i++) {
		SSL_CTX_free(table->at[i].ctx);
		free(table->at[i].name);
	}
	free(table);
}

static int sni_index;
static pthread_once_t sni_once = PTHREAD_ONCE_INIT;
static void sni_index_make(void) {
	sni_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, sni_free);
}

static bool server_ctx(const struct tls_server_opts *o, SSL_CTX **ret, struct err *err) {
	SSL_CTX *ctx = ctx_new(TLS_server_method());
	pthread_once(&sni_once, sni_index_make);
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_select, o->no_h2 ? ctx : NULL);
	if (!key_load(ctx, o->cert_pem, o->key_pem, err) || (o->client_ca_pem.len && !ca_load(ctx, o->client_ca_pem, true, err))) {
		SSL_CTX_free(ctx);
		return false;
	}
	if (o->client_ca_pem.len) {
		int mode = SSL_VERIFY_PEER | (o->client_cert_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
		SSL_CTX_set_verify(ctx, mode, o->client_cert_required ? NULL : verify_later);
		SSL_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
		SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"coracle", 7);
	}
	if (o->sni_len) {
		struct sni_table *table = xcalloc(1, sizeof(*table) + o->sni_len * sizeof(table->at[0]));
		SSL_CTX_set_ex_data(ctx, sni_index, table);
		for (; table->len < o->sni_len; table->len++) {
			struct sni_entry *e = &table->at[table->len];
			e->ctx = ctx_new(TLS_server_method());
			e->name = str_dup(o->sni[table->len].name);
			if (!key_load(e->ctx, o->sni[table->len].cert_pem, o->sni[table->len].key_pem, err)) {
				table->len++; /* freed with the table */
				err_wrap(err, "certificate for %s", e->name);
				SSL_CTX_free(ctx);
				return false;
			}
		}
		SSL_CTX_set_tlsext_servername_callback(ctx, on_sni);
		SSL_CTX_set_tlsext_servername_arg(ctx, table);
	}
	*ret = ctx;
	return true;
}

bool tls_server_new(const struct tls_server_opts *opts, struct tls_server **ret, struct err *err) {
	SSL_CTX *ctx;
	if (!server_ctx(opts, &ctx, err)) {
		return false;
	}
	struct tls_server *t = xcalloc(1, sizeof(*t));
	pthread_mutex_init(&t->lock, NULL);
	t->ctx = ctx;
	*ret = t;
	return true;
}

bool tls_server_reload(struct tls_server *t, const struct tls_server_opts *opts, struct err *err) {
	SSL_CTX *ctx;
	if (!server_ctx(opts, &ctx, err)) {
		return false;
	}
	pthread_mutex_lock(&t->lock);
	SSL_CTX *old = t->ctx;
	t->ctx = ctx;
	pthread_mutex_unlock(&t->lock);
	SSL_CTX_free(old); /* connections hold it on */
	return true;
}

void tls_server_free(struct tls_server *t) {
	if (t) {
		SSL_CTX_free(t->ctx);
		pthread_mutex_destroy(&t->lock);
		free(t);
	}
}

SSL *tls_server_ssl(struct tls_server *t) {
	pthread_mutex_lock(&t->lock);
	SSL *ssl = SSL_new(t->ctx);
	pthread_mutex_unlock(&t->lock);
	assert(ssl);
	SSL_set_accept_state(ssl);
	return ssl;
}

bool tls_is_h2(SSL *ssl) {
	const unsigned char *proto = NULL;
	unsigned int len = 0;
	if (ssl) {
		SSL_get0_alpn_selected(ssl, &proto, &len);
	}
	return len == 2 && memcmp(proto, "h2", 2) == 0;
}

struct cert_identity *tls_peer_identity(SSL *ssl, const char **ret_why) {
	*ret_why = NULL;
	X509 *cert = ssl ? SSL_get0_peer_certificate(ssl) : NULL;
	if (!cert) {
		return NULL;
	}
	long result = SSL_get_verify_result(ssl);
	if (result != X509_V_OK) {
		*ret_why = X509_verify_cert_error_string(result);
		return NULL;
	}
	return x509_identity_new(cert);
}

/* ---- client ---- */

struct tls_client {
	SSL_CTX *ctx;
	char *server_name; /* NULL: the host */
	bool insecure;
};

bool tls_client_new(const struct tls_client_opts *o, struct tls_client **ret, struct err *err) {
	SSL_CTX *ctx = ctx_new(TLS_client_method());
	if (o->ca_pem.len ? !ca_load(ctx, o->ca_pem, false, err) : false) {
		SSL_CTX_free(ctx);
		return false;
	}
	if (!o->ca_pem.len && !o->insecure) {
		SSL_CTX_set_default_verify_paths(ctx);
	}
	if (o->cert_pem.len && !key_load(ctx, o->cert_pem, o->key_pem, err)) {
		SSL_CTX_free(ctx);
		return false;
	}
	SSL_CTX_set_verify(ctx, o->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	struct tls_client *t = xcalloc(1, sizeof(*t));
	*t = (struct tls_client){ .ctx = ctx, .insecure = o->insecure, .server_name = o->server_name.len ? str_dup(o->server_name) : NULL };
	*ret = t;
	return true;
}

void tls_client_free(struct tls_client *t) {
	if (t) {
		SSL_CTX_free(t->ctx);
		free(t->server_name);
		free(t);
	}
}

SSL *tls_client_ssl(struct tls_client *t, struct str host, bool no_alpn) {
	SSL *ssl = SSL_new(t->ctx);
	assert(ssl);
	auto_free char *name = t->server_name ? xstrdup(t->server_name) : str_dup(host);
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) != 1) {
		ERR_clear_error();
		SSL_set1_host(ssl, name);
		SSL_set_tlsext_host_name(ssl, name);
	}
	if (!no_alpn) {
		SSL_set_alpn_protos(ssl, (const unsigned char *)"\x08http/1.1", 9);
	}
	SSL_set_connect_state(ssl);
	return ssl;
}
