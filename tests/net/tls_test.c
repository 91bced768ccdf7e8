/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_test.c - what a TLS client sees: which certificate for which name, new ones after a reload, ALPN, required client
 * certificates, old protocol versions, garbage instead of a handshake.
 */
#include "net/net.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena a;
static struct str ca, ca_key;

static void handle(struct http_exchange *x, void *arg) {
	http_reply(x, 200, S("text/plain"), x->peer_cert ? x->peer_cert->common_name : S("nobody"));
}

static void issue(const char *cn, int usage, struct str *cert, struct str *key) {
	struct err err = { 0 };
	assert_true(key_new(KEY_EC_P256, &a, key, &err));
	assert_true(cert_new(*key, &(struct cert_opts){ .common_name = str_c(cn), .usage = usage, .ca_cert_pem = ca, .ca_key_pem = ca_key }, &a, cert, &err));
}

static int setup(void **state) {
	struct err err = { 0 };
	struct str key;
	signal(SIGPIPE, SIG_IGN);
	assert_true(key_new(KEY_EC_P256, &a, &key, &err));
	assert_true(cert_new(key, &(struct cert_opts){ .common_name = S("ca"), .usage = CERT_CA }, &a, &ca, &err));
	ca_key = key;
	return 0;
}
static int teardown(void **state) {
	arena_release(&a);
	return 0;
}

static struct http_server *serve(struct tls_server *tls) {
	struct err err = { 0 };
	struct http_server *s = NULL;
	struct http_listen l = { S("127.0.0.1:0"), tls };
	assert_true(http_server_start(&(struct http_server_opts){ .listen = &l, .listen_len = 1, .handle = handle, .loops = 1 }, &s, &err));
	return s;
}

struct seen {
	bool ok;
	char cn[64], alpn[16];
};
/* One handshake; what the server showed. */
static struct seen shake(struct http_server *s, const char *name, const char *alpn, int max_version) {
	struct seen seen = { 0 };
	struct err err = { 0 };
	int fd;
	const unsigned char *proto;
	unsigned int proto_len;
	assert_true(net_dial_fd(http_server_address(s, 0), NSEC_PER_SEC, &fd, &err));
	fcntl(fd, F_SETFL, 0);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	if (max_version) {
		SSL_CTX_set_min_proto_version(ctx, 0);
		SSL_CTX_set_security_level(ctx, 0);
		SSL_CTX_set_max_proto_version(ctx, max_version);
	}
	SSL *ssl = SSL_new(ctx);
	if (name) {
		SSL_set_tlsext_host_name(ssl, name);
	}
	if (alpn) {
		SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned int)strlen(alpn));
	}
	SSL_set_fd(ssl, fd);
	seen.ok = SSL_connect(ssl) == 1;
	X509 *cert = seen.ok ? SSL_get0_peer_certificate(ssl) : NULL;
	if (cert) {
		X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, seen.cn, sizeof(seen.cn));
		SSL_get0_alpn_selected(ssl, &proto, &proto_len);
		snprintf(seen.alpn, sizeof(seen.alpn), "%.*s", (int)proto_len, (const char *)proto);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return seen;
}

static void test_certificate_by_name(void **state) {
	struct str cert[3], key[3];
	struct tls_server *tls;
	struct err err = { 0 };
	issue("default", CERT_SERVER, &cert[0], &key[0]);
	issue("exact", CERT_SERVER, &cert[1], &key[1]);
	issue("wildcard", CERT_SERVER, &cert[2], &key[2]);
	struct tls_sni sni[] = { { S("api.example.org"), cert[1], key[1] }, { S("*.apps.example.org"), cert[2], key[2] } };
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert[0], .key_pem = key[0], .sni = sni, .sni_len = 2 }, &tls, &err));
	struct http_server *s = serve(tls);
	static const struct {
		const char *name, *want;
	} rows[] = { { NULL, "default" }, { "other", "default" }, { "api.example.org", "exact" }, { "API.example.org", "exact" }, { "x.apps.example.org", "wildcard" },
		{ "x.y.apps.example.org", "default" }, { "apps.example.org", "default" } };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_string_equal(shake(s, rows[i].name, NULL, 0).cn, rows[i].want);
	}
	http_server_stop(s, 0);
	tls_server_free(tls);
	sni[1].key_pem = key[0];
	assert_false(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert[0], .key_pem = key[0], .sni = sni, .sni_len = 2 }, &tls, &err));
	assert_string_equal(err.msg, "the private key does not belong to the certificate");
	assert_string_equal(err.ctx, "certificate for *.apps.example.org");
}

static void test_reload(void **state) {
	struct str cert[2], key[2];
	struct tls_server *tls;
	struct err err = { 0 };
	issue("before", CERT_SERVER, &cert[0], &key[0]);
	issue("after", CERT_SERVER, &cert[1], &key[1]);
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert[0], .key_pem = key[0] }, &tls, &err));
	struct http_server *s = serve(tls);
	assert_string_equal(shake(s, NULL, NULL, 0).cn, "before");
	assert_false(tls_server_reload(tls, &(struct tls_server_opts){ .cert_pem = cert[1], .key_pem = key[0] }, &err));
	assert_string_equal(shake(s, NULL, NULL, 0).cn, "before"); /* a bad one changes nothing */
	assert_true(tls_server_reload(tls, &(struct tls_server_opts){ .cert_pem = cert[1], .key_pem = key[1] }, &err));
	assert_string_equal(shake(s, NULL, NULL, 0).cn, "after");
	http_server_stop(s, 0);
	tls_server_free(tls);
}

static void test_alpn_and_versions(void **state) {
	struct str cert, key;
	struct tls_server *tls, *old;
	struct err err = { 0 };
	issue("s", CERT_SERVER, &cert, &key);
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert, .key_pem = key }, &tls, &err));
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert, .key_pem = key, .no_h2 = true }, &old, &err));
	struct http_server *s = serve(tls), *o = serve(old);
	assert_string_equal(shake(s, NULL, NULL, 0).alpn, ""); /* kubectl exec offers nothing: HTTP/1.1 then */
	assert_string_equal(shake(s, NULL, "\2h2\10http/1.1", 0).alpn, "h2");
	assert_string_equal(shake(s, NULL, "\10http/1.1\2h2", 0).alpn, "h2");
	assert_string_equal(shake(s, NULL, "\10http/1.1", 0).alpn, "http/1.1");
	assert_string_equal(shake(o, NULL, "\2h2\10http/1.1", 0).alpn, "http/1.1");
	struct seen none = shake(s, NULL, "\4spdy", 0); /* nothing in common: goes on without */
	assert_true(none.ok);
	assert_string_equal(none.alpn, "");
	assert_true(shake(s, NULL, NULL, TLS1_2_VERSION).ok);
	assert_false(shake(s, NULL, NULL, TLS1_1_VERSION).ok);
	http_server_stop(s, 0);
	http_server_stop(o, 0);
	tls_server_free(tls);
	tls_server_free(old);
}

static void test_client_certificate_required(void **state) {
	struct str cert, key, mine, mine_key;
	struct tls_server *tls;
	struct http_client *c;
	struct http_response r;
	struct err err = { 0 };
	char base[64];
	issue("s", CERT_SERVER, &cert, &key);
	issue("alice", CERT_CLIENT, &mine, &mine_key);
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert, .key_pem = key, .client_ca_pem = ca, .client_cert_required = true }, &tls, &err));
	struct http_server *s = serve(tls);
	snprintf(base, sizeof(base), "https://127.0.0.1:%d", http_server_port(s, 0));
	struct http_client_opts o = { .base = str_c(base), .tls = { .insecure = true } };
	assert_true(http_client_new(&o, &c, &err));
	assert_false(http_do(c, &(struct http_request){ .url = S("/") }, &r, &err));
	http_client_free(c);
	o.tls.cert_pem = mine, o.tls.key_pem = mine_key;
	assert_true(http_client_new(&o, &c, &err));
	assert_true(http_do(c, &(struct http_request){ .url = S("/") }, &r, &err));
	assert_true(str_eqc(r.body, "alice"));
	http_response_release(&r);
	http_client_free(c);
	http_server_stop(s, 0);
	tls_server_free(tls);
}

static void test_garbage_instead_of_a_handshake(void **state) {
	static const char *const texts[] = { "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\026\003\001\000\005hello", "", "\377\377\377\377\377\377\377\377" };
	struct str cert, key;
	struct tls_server *tls;
	struct err err = { 0 };
	issue("s", CERT_SERVER, &cert, &key);
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert, .key_pem = key }, &tls, &err));
	struct http_server *s = serve(tls);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char got[100];
		int fd;
		assert_true(net_dial_fd(http_server_address(s, 0), NSEC_PER_SEC, &fd, &err));
		fcntl(fd, F_SETFL, 0);
		assert_true(send(fd, texts[i], strlen(texts[i]), 0) >= 0);
		shutdown(fd, SHUT_WR);
		while (recv(fd, got, sizeof(got), 0) > 0) { /* an alert, then the end */
		}
		close(fd);
	}
	assert_true(shake(s, NULL, NULL, 0).ok);
	http_server_stop(s, 0);
	tls_server_free(tls);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificate_by_name),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_alpn_and_versions),
		cmocka_unit_test(test_client_certificate_required),
		cmocka_unit_test(test_garbage_instead_of_a_handshake),
	};
	return cmocka_run_group_tests_name("tls", tests, setup, teardown);
}
