/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_test.c - server and client over real sockets of this machine: every way to answer, both protocols'
 * limits, upgrades, streams, TLS identities, what broken and hostile peers get.
 */
#include "net/net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena keep; /* PEM texts */
static struct str ca, ca_key, server_cert, server_key, alice_cert, alice_key, other_ca, mallory_cert, mallory_key;
static struct tls_server *tls;
static struct http_server *server;
static char base_tls[64], base_plain[64], base_unix[80], socket_path[64];
static struct loop *loop; /* the test's own */

static _Atomic int closed, drained, gone_seen;
static struct http_stream *_Atomic last_stream;
static _Atomic bool hold; /* handlers of /hold wait for it to fall */

static void on_stream_close(void *arg) {
	closed++;
}
static void on_stream_drain(void *arg) {
	drained++;
}

static void echo_data(void *arg, struct str bytes) {
	net_conn_write(*(struct net_conn **)arg, bytes);
}
static void echo_close(void *arg, const struct err *err) {
	net_conn_close(*(struct net_conn **)arg);
	free(arg);
	closed++;
}
static const struct net_conn_handler echo_handler = { .on_data = echo_data, .on_close = echo_close };

/* ---- the server's handlers, by path ---- */

static void serve_facts(struct http_exchange *x) {
	auto_buf struct buf b = { 0 };
	buf_printf(&b, "%.*s %.*s?%.*s v%d host=%.*s tls=%d cn=%.*s", STR_ARG(x->method), STR_ARG(x->path), STR_ARG(x->query), x->version, STR_ARG(x->host), x->tls,
		STR_ARG(x->peer_cert ? x->peer_cert->common_name : S("-")));
	for (size_t i = 0; x->peer_cert && i < x->peer_cert->organizations_len; i++) {
		buf_printf(&b, " o=%.*s", STR_ARG(x->peer_cert->organizations[i]));
	}
	if (x->peer_cert_error.len) {
		buf_printf(&b, " certerr=%.*s", STR_ARG(x->peer_cert_error));
	}
	buf_printf(&b, " auth=%.*s body=%.*s", STR_ARG(http_request_header(x, S("authorization"))), STR_ARG(x->body));
	http_header_add(x, S("X-Test"), S("a\r\nInjected: yes"));
	http_reply(x, 200, S("text/plain"), buf_view(&b));
}
static void serve_big(struct http_exchange *x) {
	char line[1000];
	int n = 2000;
	memset(line, 'x', sizeof(line));
	http_reply_start(x, 200, S("text/plain"), &(struct http_reply_opts){ .gzip = str_eq(x->query, S("gzip")) && http_accepts_gzip(x) });
	for (int i = 0; i < n; i++) {
		if (!http_reply_write(x, (struct str){ line, sizeof(line) })) {
			gone_seen++;
			return;
		}
	}
	http_reply_end(x);
}
static void serve_upload(struct http_exchange *x) {
	char bytes[10000];
	size_t n, total = 0;
	struct err err = { 0 };
	struct sha256_stream *sha = sha256_stream_new();
	char hex[SHA256_HEX];
	while (http_body_read(x, bytes, sizeof(bytes), &n, &err) && n) {
		sha256_stream_add(sha, (struct str){ bytes, n });
		total += n;
	}
	sha256_stream_hex(sha, hex);
	sha256_stream_free(sha);
	http_reply(x, 200, S("text/plain"), arena_printf(&x->arena, "%zu %s %d", total, hex, err.code));
}
static void serve_watch(struct http_exchange *x) {
	struct http_stream *s = http_stream_start(x, 200, S("application/json"),
		&(struct http_stream_opts){ .on_close = on_stream_close, .on_drain = on_stream_drain, .backlog_max = 100000 });
	http_stream_send_copy(s, S("first\n"));
	last_stream = s;
}
static void serve_upgrade(struct http_exchange *x) {
	struct err err = { 0 };
	struct net_conn **c = xcalloc(1, sizeof(*c));
	http_header_add(x, S("Upgrade"), S("echo"));
	if (!http_upgrade(x, c, &err)) {
		http_reply(x, 400, S("text/plain"), str_c(err.msg));
		free(c);
		return;
	}
	net_conn_start(*c, &echo_handler, c);
}
static void serve_redirect(struct http_exchange *x) {
	http_header_add(x, S("Location"), x->query);
	http_reply(x, 302, S("text/plain"), S("elsewhere"));
}
static void serve_hold(struct http_exchange *x) {
	while (hold) {
		clock_sleep(NSEC_PER_MSEC);
	}
	http_reply(x, 200, S("text/plain"), S("held"));
}
static void serve_break(struct http_exchange *x) {
	http_reply_start(x, 200, S("text/plain"), NULL);
	gone_seen += !http_reply_write(x, S("half"));
	http_reply_abort(x);
}
static void serve_nothing(struct http_exchange *x) {
}
static void serve_empty(struct http_exchange *x) {
	http_reply(x, 204, S(""), S("not sent"));
}

static void handle(struct http_exchange *x, void *arg) {
	static const struct {
		const char *path;
		void (*serve)(struct http_exchange *x);
	} routes[] = {
		{ "/big", serve_big },       { "/upload", serve_upload },     { "/watch", serve_watch }, { "/upgrade", serve_upgrade }, { "/redirect", serve_redirect },
		{ "/hold", serve_hold },     { "/break", serve_break },       { "/nothing", serve_nothing }, { "/empty", serve_empty },
	};
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (str_eqc(x->path, routes[i].path)) {
			routes[i].serve(x);
			return;
		}
	}
	serve_facts(x);
}
static enum http_body early(struct http_exchange *x, void *arg) {
	if (str_eq(x->path, S("/healthz"))) {
		http_reply(x, 200, S("text/plain"), S("ok"));
		return HTTP_BODY_DONE;
	}
	return str_eq(x->path, S("/upload")) ? HTTP_BODY_STREAM : HTTP_BODY_COLLECT;
}

/* ---- setting up ---- */

static void issue(const char *cn, const char *org, int usage, struct str issuer, struct str issuer_key, struct str *cert, struct str *key) {
	struct err err = { 0 };
	struct str orgs[] = { str_c(org) }, dns[] = { S("localhost") }, ips[] = { S("127.0.0.1"), S("::1") };
	struct cert_opts o = { .common_name = str_c(cn), .organizations = orgs, .organizations_len = org ? 1 : 0, .usage = usage, .ca_cert_pem = issuer,
		.ca_key_pem = issuer_key };
	if (usage == CERT_SERVER) {
		o.dns = dns, o.dns_len = 1, o.ips = ips, o.ips_len = 2;
	}
	assert_true(key_new(KEY_EC_P256, &keep, key, &err));
	assert_true(cert_new(*key, &o, &keep, cert, &err));
}

static int group_setup(void **state) {
	struct err err = { 0 };
	struct str none = { 0 }, other_key;
	signal(SIGPIPE, SIG_IGN);
	issue("test-ca", NULL, CERT_CA, none, none, &ca, &ca_key);
	issue("other-ca", NULL, CERT_CA, none, none, &other_ca, &other_key);
	issue("server", NULL, CERT_SERVER, ca, ca_key, &server_cert, &server_key);
	issue("alice", "team-a", CERT_CLIENT, ca, ca_key, &alice_cert, &alice_key);
	issue("mallory", "system:masters", CERT_CLIENT, other_ca, other_key, &mallory_cert, &mallory_key);
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = server_cert, .key_pem = server_key, .client_ca_pem = ca }, &tls, &err));
	snprintf(socket_path, sizeof(socket_path), "/tmp/coracle-http-%d.sock", (int)getpid());
	snprintf(base_unix, sizeof(base_unix), "unix:%s", socket_path);
	struct http_listen listen[] = { { S("127.0.0.1:0"), tls }, { S("127.0.0.1:0"), NULL }, { str_c(base_unix), NULL } };
	struct http_server_opts o = { .listen = listen, .listen_len = 3, .handle = handle, .early = early, .body_max = 100000, .headers_timeout = 600 * NSEC_PER_MSEC,
		.body_timeout = 600 * NSEC_PER_MSEC, .header_bytes_max = 8000, .headers_max = 50 };
	if (!http_server_start(&o, &server, &err)) {
		fail_msg("%s", err.msg);
	}
	snprintf(base_tls, sizeof(base_tls), "https://localhost:%d", http_server_port(server, 0));
	snprintf(base_plain, sizeof(base_plain), "http://127.0.0.1:%d", http_server_port(server, 1));
	loop = loop_new("test");
	assert_true(loop_start_thread(loop, &err));
	return 0;
}

static int group_teardown(void **state) {
	http_server_stop(server, NSEC_PER_SEC);
	tls_server_free(tls);
	loop_stop(loop);
	loop_free(loop);
	arena_release(&keep);
	return 0;
}

static struct http_client *client_for(const char *base) {
	struct http_client *c = NULL;
	struct err err = { 0 };
	struct http_client_opts o = { .base = str_c(base), .tls = { .ca_pem = ca }, .bearer_token = S("tok") };
	assert_true(http_client_new(&o, &c, &err));
	return c;
}

static const char *const bases[] = { base_tls, base_plain, base_unix };

/* One request that must succeed; the body, copied to `out`. */
static int ask(struct http_client *c, struct http_request r, char *out, size_t out_bytes) {
	struct http_response resp;
	struct err err = { 0 };
	if (!http_do(c, &r, &resp, &err)) {
		fail_msg("%.*s: %s: %s", STR_ARG(r.url), err.ctx, err.msg);
	}
	snprintf(out, out_bytes, "%.*s", STR_ARG(resp.body));
	int status = resp.status;
	http_response_release(&resp);
	return status;
}

/* ---- requests and answers ---- */

static void test_facts_arrive(void **state) {
	char got[500];
	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		struct http_client *c = client_for(bases[i]);
		assert_int_equal(ask(c, (struct http_request){ .url = S("/a/b%20c?x=1&y"), .method = S("PUT"), .body = S("hello") }, got, sizeof(got)), 200);
		char want[500];
		const char *host = i == 0 ? base_tls + 8 : i == 1 ? base_plain + 7 : "localhost";
		snprintf(want, sizeof(want), "PUT /a/b%%20c?x=1&y v11 host=%s tls=%d cn=- auth=Bearer tok body=hello", host, i == 0);
		assert_string_equal(got, want);
		http_client_free(c);
	}
}

static void test_header_values_cannot_inject(void **state) {
	struct http_client *c = client_for(base_plain);
	struct http_response r;
	struct err err = { 0 };
	assert_true(http_do(c, &(struct http_request){ .url = S("/") }, &r, &err));
	assert_true(str_eqc(http_header_get(r.headers, S("x-test")), "a  Injected: yes"));
	assert_null(http_header_get(r.headers, S("Injected")).ptr);
	http_response_release(&r);
	struct http_header bad = { S("X"), S("a\r\nb: c") };
	assert_false(http_do(c, &(struct http_request){ .url = S("/"), .headers = &bad, .headers_len = 1 }, &r, &err));
	assert_int_equal(err.code, ERR_BAD_REQUEST);
	assert_false(http_do(c, &(struct http_request){ .url = S("/a b") }, &r, &err));
	assert_int_equal(err.code, ERR_BAD_REQUEST);
	http_client_free(c);
}

static void test_client_certificates(void **state) {
	struct http_client *c;
	struct err err = { 0 };
	char got[500];
	struct http_client_opts o = { .base = str_c(base_tls), .tls = { .ca_pem = ca, .cert_pem = alice_cert, .key_pem = alice_key } };
	assert_true(http_client_new(&o, &c, &err));
	assert_int_equal(ask(c, (struct http_request){ .url = S("/") }, got, sizeof(got)), 200);
	assert_non_null(strstr(got, "cn=alice o=team-a "));
	http_client_free(c);
	/* A certificate of another CA names nobody; the server answers all the same and knows why. */
	o.tls.cert_pem = mallory_cert, o.tls.key_pem = mallory_key;
	assert_true(http_client_new(&o, &c, &err));
	assert_int_equal(ask(c, (struct http_request){ .url = S("/") }, got, sizeof(got)), 200);
	assert_non_null(strstr(got, "cn=- certerr="));
	assert_null(strstr(got, "mallory"));
	http_client_free(c);
	/* A key that does not belong to the certificate is found at once. */
	o.tls.key_pem = alice_key;
	assert_false(http_client_new(&o, &c, &err));
	assert_int_equal(err.code, ERR_INVALID);
}

static void test_server_certificate_is_checked(void **state) {
	struct http_client *c;
	struct http_response r;
	struct err err = { 0 };
	struct http_client_opts o = { .base = str_c(base_tls), .tls = { .ca_pem = other_ca } };
	assert_true(http_client_new(&o, &c, &err));
	assert_false(http_do(c, &(struct http_request){ .url = S("/") }, &r, &err));
	assert_int_equal(err.code, ERR_UNAUTHORIZED);
	assert_non_null(strstr(err.msg, "not trusted"));
	http_client_free(c);
	o.tls = (struct tls_client_opts){ .ca_pem = ca, .server_name = S("elsewhere") };
	assert_true(http_client_new(&o, &c, &err));
	assert_false(http_do(c, &(struct http_request){ .url = S("/") }, &r, &err));
	assert_int_equal(err.code, ERR_UNAUTHORIZED);
	http_client_free(c);
	char got[500];
	o.tls = (struct tls_client_opts){ .insecure = true };
	assert_true(http_client_new(&o, &c, &err));
	assert_int_equal(ask(c, (struct http_request){ .url = S("/") }, got, sizeof(got)), 200);
	http_client_free(c);
}

static void test_connections_are_kept(void **state) {
	struct http_server_stats before, after;
	char got[500];
	http_server_stats(server, &before);
	struct http_client *c = client_for(base_tls);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(ask(c, (struct http_request){ .url = i % 2 ? S("/healthz") : S("/x") }, got, sizeof(got)), 200);
	}
	assert_string_equal(got, "ok");
	assert_int_equal(ask(c, (struct http_request){ .url = S("/empty") }, got, sizeof(got)), 204);
	assert_string_equal(got, "");
	assert_int_equal(ask(c, (struct http_request){ .url = S("/x"), .method = S("HEAD") }, got, sizeof(got)), 200);
	assert_string_equal(got, "");
	http_server_stats(server, &after);
	assert_int_equal(after.connections_total - before.connections_total, 1);
	assert_int_equal(after.requests - before.requests, 12);
	http_client_free(c);
}

static void test_handler_without_answer(void **state) {
	char got[500];
	struct http_client *c = client_for(base_plain);
	assert_int_equal(ask(c, (struct http_request){ .url = S("/nothing") }, got, sizeof(got)), 500);
	http_client_free(c);
}

static void test_broken_off_answer_is_an_error(void **state) {
	struct http_client *c = client_for(base_tls);
	struct http_response r;
	struct err err = { 0 };
	assert_false(http_do(c, &(struct http_request){ .url = S("/break") }, &r, &err));
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	http_client_free(c);
}

static bool count_body(void *arg, struct str bytes) {
	*(size_t *)arg += bytes.len;
	return true;
}

static void test_big_answers(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		struct http_client *c = client_for(bases[i]);
		struct http_response r;
		struct err err = { 0 };
		size_t n = 0;
		assert_true(http_do(c, &(struct http_request){ .url = S("/big") }, &r, &err));
		assert_int_equal(r.body.len, 2000000);
		http_response_release(&r);
		assert_true(http_do(c, &(struct http_request){ .url = S("/big"), .on_body = count_body, .arg = &n }, &r, &err));
		assert_int_equal(n, 2000000);
		http_response_release(&r);
		assert_true(http_do(c, &(struct http_request){ .url = S("/big?gzip"), .gzip = true }, &r, &err));
		assert_int_equal(r.body.len, 2000000);
		assert_true(str_eqc(http_header_get(r.headers, S("Content-Encoding")), "gzip"));
		http_response_release(&r);
		assert_false(http_do(c, &(struct http_request){ .url = S("/big"), .body_max = 1000 }, &r, &err));
		assert_int_equal(err.code, ERR_TOO_LARGE);
		http_client_free(c);
	}
}

struct upload {
	size_t left;
	struct sha256_stream *sha;
};
static ssize_t upload_read(void *arg, char *into, size_t len) {
	struct upload *u = arg;
	size_t n = MIN(MIN(len, u->left), (size_t)50001);
	memset(into, (int)(u->left % 251), n);
	sha256_stream_add(u->sha, (struct str){ into, n });
	u->left -= n;
	return (ssize_t)n;
}
static void test_streamed_uploads(void **state) {
	for (int round = 0; round < 4; round++) {
		struct http_client *c = client_for(bases[round % 2]);
		struct upload u = { .left = 3000000, .sha = sha256_stream_new() };
		char got[500], want[500], hex[SHA256_HEX];
		struct http_request r = { .url = S("/upload"), .body_read = upload_read, .body_len = round < 2 ? 3000000 : -1, .arg = &u };
		assert_int_equal(ask(c, r, got, sizeof(got)), 200);
		sha256_stream_hex(u.sha, hex);
		snprintf(want, sizeof(want), "3000000 %s 0", hex);
		assert_string_equal(got, want);
		sha256_stream_free(u.sha);
		http_client_free(c);
	}
}

static void test_oversized_bodies(void **state) {
	static char big[200000];
	memset(big, 'b', sizeof(big));
	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		struct http_client *c = client_for(bases[i]);
		char got[500];
		assert_int_equal(ask(c, (struct http_request){ .url = S("/"), .body = { big, 100000 } }, got, sizeof(got)), 200);
		assert_int_equal(ask(c, (struct http_request){ .url = S("/"), .body = { big, sizeof(big) } }, got, sizeof(got)), 413);
		assert_non_null(strstr(got, "limit is 100000"));
		http_client_free(c);
	}
}

static void test_redirects(void **state) {
	struct http_client *c = client_for(base_plain);
	char got[500], url[200];
	assert_int_equal(ask(c, (struct http_request){ .url = S("/redirect?/there") }, got, sizeof(got)), 302);
	assert_int_equal(ask(c, (struct http_request){ .url = S("/redirect?/there"), .redirects = 3 }, got, sizeof(got)), 200);
	assert_non_null(strstr(got, "GET /there?"));
	assert_non_null(strstr(got, "auth=Bearer tok"));
	/* Another host must not get the token. */
	snprintf(url, sizeof(url), "/redirect?%s/there", base_tls);
	assert_int_equal(ask(c, (struct http_request){ .url = str_c(url), .redirects = 3 }, got, sizeof(got)), 200);
	assert_non_null(strstr(got, "auth= "));
	snprintf(url, sizeof(url), "/redirect?%s/redirect?/redirect", base_plain);
	assert_int_equal(ask(c, (struct http_request){ .url = str_c(url), .redirects = 2 }, got, sizeof(got)), 302);
	http_client_free(c);
}

static void test_refused_and_timed_out(void **state) {
	struct http_response r;
	struct err err = { 0 };
	int fd;
	char url[64], text[64];
	assert_true(net_listen_fd(S("127.0.0.1:0"), &fd, &err)); /* listens, never answers */
	snprintf(url, sizeof(url), "http://%s", net_fd_address(fd, false, text, sizeof(text)).ptr);
	struct http_client *c = client_for(url);
	assert_false(http_do(c, &(struct http_request){ .url = S("/"), .timeout = 100 * NSEC_PER_MSEC }, &r, &err));
	assert_int_equal(err.code, ERR_TIMEOUT);
	close(fd);
	assert_false(http_do(c, &(struct http_request){ .url = S("/") }, &r, &err));
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	assert_non_null(strstr(err.msg, "Connection refused"));
	http_client_free(c);
}

/* ---- streams ---- */

struct watcher {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct buf text;
	int status, ends;
	enum err_code code;
	struct http_watch *watch;
};
static void watch_headers(void *arg, int status, struct http_headers headers) {
	struct watcher *w = arg;
	w->status = status;
}
static void watch_data(void *arg, struct str bytes) {
	struct watcher *w = arg;
	pthread_mutex_lock(&w->lock);
	buf_str(&w->text, bytes);
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}
static void watch_end(void *arg, const struct err *err) {
	struct watcher *w = arg;
	pthread_mutex_lock(&w->lock);
	w->ends++;
	w->code = err->code;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}
static const struct http_watch_handler watch_handler = { .on_headers = watch_headers, .on_data = watch_data, .on_end = watch_end };

static void wait_text(struct watcher *w, size_t len) {
	pthread_mutex_lock(&w->lock);
	while (w->text.len < len && !w->ends) {
		pthread_cond_wait(&w->changed, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
}
static void wait_end(struct watcher *w) {
	pthread_mutex_lock(&w->lock);
	while (!w->ends) {
		pthread_cond_wait(&w->changed, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
}
static void wait_for(_Atomic int *n, int want) {
	for (int i = 0; i < 5000 && *n < want; i++) {
		clock_sleep(NSEC_PER_MSEC);
	}
	assert_int_equal(*n, want);
}
static void watch_cancel(void *arg) {
	struct watcher *w = arg;
	http_watch_cancel(w->watch);
	pthread_mutex_lock(&w->lock);
	w->watch = NULL;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}
static void watcher_end(struct watcher *w) {
	loop_call(loop, watch_cancel, w);
	pthread_mutex_lock(&w->lock);
	while (w->watch) {
		pthread_cond_wait(&w->changed, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	buf_release(&w->text);
}
#define WATCHER { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER }

static void test_stream_ends_cleanly(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		struct watcher w = WATCHER;
		struct http_client *c = client_for(bases[i]);
		closed = 0;
		w.watch = http_watch_start(c, loop, &(struct http_request){ .url = S("/watch") }, &watch_handler, &w);
		http_client_free(c); /* the watch lives on */
		wait_text(&w, 6);
		assert_int_equal(w.status, 200);
		assert_int_equal(closed, 0);
		assert_true(http_stream_send_copy(last_stream, S("second\n")));
		wait_text(&w, 13);
		http_stream_end(last_stream);
		wait_end(&w);
		assert_int_equal(w.code, ERR_NONE);
		assert_string_equal(buf_cstr(&w.text), "first\nsecond\n");
		wait_for(&closed, 1);
		watcher_end(&w);
		assert_int_equal(w.ends, 1);
	}
}

static void test_stream_learns_that_the_client_left(void **state) {
	struct watcher w = WATCHER;
	struct http_client *c = client_for(base_tls);
	closed = 0;
	w.watch = http_watch_start(c, loop, &(struct http_request){ .url = S("/watch") }, &watch_handler, &w);
	wait_text(&w, 6);
	watcher_end(&w);
	assert_int_equal(w.ends, 0); /* cancelled: not told */
	wait_for(&closed, 1);
	assert_false(http_stream_send_copy(last_stream, S("x")));
	assert_true(http_stream_failed(last_stream));
	http_stream_end(last_stream);
	http_client_free(c);
}

static void test_slow_watcher_meets_its_limit(void **state) {
	struct err err = { 0 };
	int fd;
	char head[400];
	closed = drained = 0;
	last_stream = NULL;
	assert_true(net_dial_fd(str_c(base_plain + 7), NSEC_PER_SEC, &fd, &err));
	int small = 65536;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	const char *get = "GET /watch HTTP/1.1\r\nHost: x\r\n\r\n";
	assert_int_equal(send(fd, get, strlen(get), 0), strlen(get));
	while (!last_stream) {
		clock_sleep(NSEC_PER_MSEC);
	}
	/* Never read: the kernel's buffers fill, then ours, then it ends. */
	static char bytes[20000];
	struct net_bytes *b = net_bytes_new((struct str){ bytes, sizeof(bytes) });
	int sent = 0;
	while (sent < 10000 && http_stream_send(last_stream, b)) {
		sent++;
		clock_sleep(200 * NSEC_PER_USEC);
	}
	assert_in_range(sent, 5, 9999);
	assert_true(http_stream_failed(last_stream));
	assert_true(http_stream_backlog(last_stream) > 50000);
	assert_int_equal(closed, 0);
	/* It begins to read: the backlog drains, and the holder hears of it. */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	int before = drained;
	for (int i = 0; i < 10000 && drained == before; i++) {
		while (recv(fd, head, sizeof(head), 0) > 0) {
		}
		clock_sleep(NSEC_PER_MSEC);
	}
	assert_int_equal(drained, before + 1);
	/* It stops again, for good: to abort does not wait for it. */
	for (sent = 0; sent < 10000 && http_stream_send(last_stream, b); sent++) {
		clock_sleep(200 * NSEC_PER_USEC);
	}
	http_stream_abort(last_stream);
	wait_for(&closed, 1);
	close(fd);
	net_bytes_unref(b);
}

static void test_broadcast(void **state) {
	enum { N = 20 };
	struct watcher w[N];
	struct http_stream *s[N];
	struct http_client *c = client_for(base_plain);
	struct str parts[] = { S("{\"type\":\"ADDED\",\"object\":"), S("{}"), S("}\n") };
	closed = 0;
	for (int i = 0; i < N; i++) {
		w[i] = (struct watcher)WATCHER;
		last_stream = NULL;
		w[i].watch = http_watch_start(c, loop, &(struct http_request){ .url = S("/watch") }, &watch_handler, &w[i]);
		wait_text(&w[i], 6);
		s[i] = last_stream;
	}
	for (int k = 0; k < 100; k++) {
		struct net_bytes *b = net_bytes_wrap(parts, 3, NULL, NULL);
		http_stream_broadcast(s, N, b);
		net_bytes_unref(b);
	}
	for (int i = 0; i < N; i++) {
		http_stream_end(s[i]);
		wait_end(&w[i]);
		assert_int_equal(w[i].text.len, 6 + 100 * (parts[0].len + 4));
		watcher_end(&w[i]);
	}
	wait_for(&closed, N);
	http_client_free(c);
}

/* ---- upgrades ---- */

struct peer {
	struct net_conn *conn;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct buf text;
	int eofs, closes, drains;
};
static void peer_data(void *arg, struct str bytes) {
	struct peer *p = arg;
	pthread_mutex_lock(&p->lock);
	buf_str(&p->text, bytes);
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}
static void peer_count(struct peer *p, int *what) {
	pthread_mutex_lock(&p->lock);
	++*what;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}
static void peer_eof(void *arg) {
	struct peer *p = arg;
	peer_count(p, &p->eofs);
}
static void peer_drain(void *arg) {
	struct peer *p = arg;
	peer_count(p, &p->drains);
}
static void peer_close(void *arg, const struct err *err) {
	struct peer *p = arg;
	peer_count(p, &p->closes);
}
static const struct net_conn_handler peer_handler = { .on_data = peer_data, .on_eof = peer_eof, .on_drain = peer_drain, .on_close = peer_close };
static void peer_wait(struct peer *p, size_t len, int eofs, int closes) {
	pthread_mutex_lock(&p->lock);
	while (p->text.len < len || p->eofs < eofs || p->closes < closes) {
		pthread_cond_wait(&p->changed, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static bool dial_echo(const char *base, struct peer *p, struct err *err) {
	struct http_client *c = client_for(base);
	struct http_response r;
	struct http_header up = { S("Upgrade"), S("echo") };
	*p = (struct peer)WATCHER;
	bool ok = http_dial_upgrade(c, loop, &(struct http_request){ .url = S("/upgrade"), .headers = &up, .headers_len = 1 }, &r, &p->conn, err);
	if (ok) {
		assert_int_equal(r.status, 101);
		assert_true(str_eqc(http_header_get(r.headers, S("upgrade")), "echo"));
		http_response_release(&r);
		net_conn_start(p->conn, &peer_handler, p);
	}
	http_client_free(c);
	return ok;
}

static void test_upgrade_echoes(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		struct peer p;
		struct err err = { 0 };
		static char block[100000];
		closed = 0;
		assert_true(dial_echo(bases[i], &p, &err));
		assert_true(net_conn_write(p.conn, S("hello ")));
		assert_true(net_conn_write(p.conn, S("there")));
		peer_wait(&p, 11, 0, 0);
		assert_string_equal(buf_cstr(&p.text), "hello there");
		for (int k = 0; k < 20; k++) {
			assert_true(net_conn_write(p.conn, (struct str){ block, sizeof(block) }));
		}
		peer_wait(&p, 11 + 20 * sizeof(block), 0, 0);
		net_conn_shutdown(p.conn); /* the echo has no on_eof: it sends what it has and closes */
		peer_wait(&p, 0, 1, 1);
		net_conn_close(p.conn);
		wait_for(&closed, 1);
		buf_release(&p.text);
	}
}

/*
 * Two writers share one conn, one waits for on_drain: it must be told also when the other's write empties the
 * buffer, and when its own bytes go out in one piece before anybody looked.
 */
struct flood {
	struct net_conn *conn;
	int fd;
	_Atomic int drains, ready;
};
static void flood_drain(void *arg) {
	((struct flood *)arg)->drains++;
}
static void flood_data(void *arg, struct str bytes) {
}
static const struct net_conn_handler flood_handler = { .on_data = flood_data, .on_drain = flood_drain };
static void flood_fill(void *arg) { /* on the loop: until the socket takes no more */
	struct flood *f = arg;
	static char bytes[50000];
	while (net_conn_backlog(f->conn) <= 4 * NET_CONN_DRAIN) {
		assert_true(net_conn_write(f->conn, (struct str){ bytes, sizeof(bytes) }));
	}
	/* the peer takes all of it before the loop hears of it */
	static char sink[1 << 20];
	while (net_conn_backlog(f->conn) > 0) {
		while (recv(f->fd, sink, sizeof(sink), MSG_DONTWAIT) > 0) {
		}
		assert_true(net_conn_write(f->conn, S("x"))); /* the other writer flushes */
	}
	f->ready = 1;
}
static void test_drain_is_told_whoever_flushes(void **state) {
	struct flood f = { 0 };
	int fds[2];
	static char bytes[200000], sink[300000];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f.fd = fds[1];
	f.conn = net_conn_from_fd(loop, fds[0]);
	net_conn_start(f.conn, &flood_handler, &f);
	loop_call(loop, flood_fill, &f);
	wait_for(&f.ready, 1);
	wait_for(&f.drains, 1);
	/* from another thread, in one piece */
	int big = 1 << 20;
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	while (recv(fds[1], sink, sizeof(sink), MSG_DONTWAIT) > 0) {
	}
	assert_true(net_conn_write(f.conn, (struct str){ bytes, sizeof(bytes) }));
	for (int i = 0; i < 5000 && f.drains < 2; i++) {
		while (recv(fds[1], sink, sizeof(sink), MSG_DONTWAIT) > 0) {
		}
		clock_sleep(NSEC_PER_MSEC);
	}
	assert_int_equal(f.drains, 2);
	net_conn_close(f.conn);
	clock_sleep(20 * NSEC_PER_MSEC);
	close(fds[1]);
}

static void test_upgrade_refused(void **state) {
	struct http_client *c = client_for(base_plain);
	struct http_response r;
	struct net_conn *conn;
	struct err err = { 0 };
	struct http_header up = { S("Upgrade"), S("echo") };
	assert_true(http_dial_upgrade(c, loop, &(struct http_request){ .url = S("/plain"), .headers = &up, .headers_len = 1 }, &r, &conn, &err));
	assert_int_equal(r.status, 200);
	assert_null(conn);
	assert_true(r.body.len > 0);
	http_response_release(&r);
	http_client_free(c);
}

/* ---- proxying: pipe ---- */

static _Atomic int piped;
static _Atomic int64_t piped_bytes;
static void on_piped(void *arg, int64_t a_to_b, int64_t b_to_a) {
	piped_bytes = a_to_b + b_to_a;
	piped++;
}
static void on_front(void *arg, struct net_conn *c) {
	/* The back end's conn lives on one of its own: the pipe moves it. */
	struct net_conn *back = NULL;
	struct err err = { 0 };
	struct http_client *client = client_for(base_tls);
	struct http_response r;
	struct http_header up = { S("Upgrade"), S("echo") };
	struct loop *other = arg;
	assert_true(http_dial_upgrade(client, other, &(struct http_request){ .url = S("/upgrade"), .headers = &up, .headers_len = 1 }, &r, &back, &err));
	http_response_release(&r);
	http_client_free(client);
	net_conn_pipe(c, back, on_piped, NULL);
}
struct front {
	struct net_listener *listener;
	struct loop *other;
	_Atomic int ready;
};
static void front_listen(void *arg) {
	struct front *f = arg;
	struct err err = { 0 };
	assert_true(net_listen(loop, S("127.0.0.1:0"), on_front, f->other, &f->listener, &err));
	f->ready = 1;
}
static void front_close(void *arg) {
	struct front *f = arg;
	net_listener_free(f->listener);
	f->ready = 2;
}
static void test_pipe_between_loops(void **state) {
	struct front f = { .other = loop_new("other") };
	struct err err = { 0 };
	static char out[1000000], in[1000000];
	int fd;
	piped = closed = 0;
	assert_true(loop_start_thread(f.other, &err));
	loop_call(loop, front_listen, &f);
	wait_for(&f.ready, 1);
	assert_true(net_dial_fd(net_listener_address(f.listener), NSEC_PER_SEC, &fd, &err));
	fcntl(fd, F_SETFL, 0);
	random_bytes(out, sizeof(out));
	size_t sent = 0, got = 0;
	while (got < sizeof(in)) { /* in step, so that a blocked send cannot deadlock the test */
		if (sent < sizeof(out)) {
			ssize_t n = send(fd, out + sent, MIN(sizeof(out) - sent, (size_t)30000), 0);
			assert_true(n > 0);
			sent += (size_t)n;
		}
		ssize_t n = recv(fd, in + got, sizeof(in) - got, sent < sizeof(out) ? MSG_DONTWAIT : 0);
		got += n > 0 ? (size_t)n : 0;
		assert_true(n != 0);
	}
	assert_memory_equal(in, out, sizeof(in));
	shutdown(fd, SHUT_WR);
	assert_int_equal(recv(fd, in, sizeof(in), 0), 0);
	close(fd);
	wait_for(&piped, 1);
	wait_for(&closed, 1);
	assert_int_equal(piped_bytes, 2000000);
	loop_call(loop, front_close, &f);
	wait_for(&f.ready, 2);
	loop_stop(f.other);
	loop_free(f.other);
}

/* ---- hostile and broken clients, HTTP/1.1 ---- */

/* Sends raw bytes, returns all that comes back until the end (or until half a second of silence). */
static void raw(const char *bytes, size_t len, char *out, size_t out_bytes) {
	struct err err = { 0 };
	int fd;
	size_t n = 0;
	assert_true(net_dial_fd(str_c(base_plain + 7), NSEC_PER_SEC, &fd, &err));
	fcntl(fd, F_SETFL, 0);
	struct timeval tv = { .tv_usec = 500000 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)!send(fd, bytes, len, MSG_NOSIGNAL);
	for (ssize_t k; n + 1 < out_bytes && (k = recv(fd, out + n, out_bytes - n - 1, 0)) > 0;) {
		n += (size_t)k;
	}
	out[n] = 0;
	close(fd);
}

static const struct raw_case {
	const char *name, *send;
	const char *want; /* the beginning of the answer */
	int answers;      /* how many in all */
} raw_cases[] = {
	{ "plain", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", 1 },
	{ "http 1.0", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK", 1 },
	{ "empty lines before it", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", 1 },
	{ "pipelined", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 200 OK", 3 },
	{ "chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
		"HTTP/1.1 200 OK", 1 },
	{ "length and chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
		"HTTP/1.1 400 Bad Request", 1 },
	{ "two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "HTTP/1.1 400 Bad Request", 1 },
	{ "signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", "HTTP/1.1 400 Bad Request", 1 },
	{ "two encodings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "other encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 501 Not Implemented", 1 },
	{ "obscured encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "bad chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "huge chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "chunk without its end", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "bare LF", "GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "no host", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "no colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "control in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\001b\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "not http", "hello there\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "http 2.0 by hand", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 HTTP Version Not Supported", 1 },
	{ "path without slash", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request", 1 },
	{ "absolute form", "GET http://a/p?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK", 1 },
	{ "100 continue", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab", "HTTP/1.1 100 Continue", 2 },
	{ "no 100 for too much", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 200000\r\n\r\n", "HTTP/1.1 413 Request Entity Too Large", 1 },
	{ "half a head", "GET / HT", "", 0 },
	{ "half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", "", 0 },
	{ "TLS on the plain port", "\026\003\001\002\001\001", "", 0 },
};

static void test_raw(void **state) {
	const struct raw_case *c = *state;
	char got[8000];
	int answers = 0;
	raw(c->send, strlen(c->send), got, sizeof(got));
	if (strncmp(got, c->want, strlen(c->want)) != 0) {
		fail_msg("got \"%s\"", got);
	}
	for (char *at = got; (at = strstr(at, "HTTP/1.1 ")); at++) {
		answers++;
	}
	assert_int_equal(answers, c->answers);
	assert_null(strstr(got, "smuggled"));
}

static void test_time_limits(void **state) {
	struct err err = { 0 };
	char got[1000];
	int head, body;
	assert_true(net_dial_fd(str_c(base_plain + 7), NSEC_PER_SEC, &head, &err));
	assert_true(net_dial_fd(str_c(base_plain + 7), NSEC_PER_SEC, &body, &err));
	fcntl(head, F_SETFL, 0);
	fcntl(body, F_SETFL, 0);
	const char *half = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
	assert_int_equal(send(head, "GET / HT", 8, 0), 8);
	assert_int_equal(send(body, half, strlen(half), 0), strlen(half));
	assert_int_equal(recv(head, got, sizeof(got), 0), 0); /* closed */
	ssize_t n = recv(body, got, sizeof(got) - 1, 0);
	assert_true(n > 0);
	got[n] = 0;
	assert_non_null(strstr(got, "HTTP/1.1 408 Request Timeout"));
	close(head);
	close(body);
}

static void test_long_heads(void **state) {
	auto_buf struct buf b = { 0 };
	char got[2000];
	buf_c(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < 60; i++) {
		buf_printf(&b, "X-%d: y\r\n", i);
	}
	buf_c(&b, "\r\n");
	raw(b.ptr, b.len, got, sizeof(got));
	assert_non_null(strstr(got, "HTTP/1.1 431 "));
	buf_clear(&b);
	buf_c(&b, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	for (int i = 0; i < 9000; i++) {
		buf_char(&b, 'x');
	}
	raw(b.ptr, b.len, got, sizeof(got));
	assert_non_null(strstr(got, "HTTP/1.1 431 "));
}

/* ---- stopping ---- */

static void *hold_request(void *arg) {
	struct http_client *c = client_for(arg);
	char got[100];
	assert(ask(c, (struct http_request){ .url = S("/hold") }, got, sizeof(got)) == 200 && strcmp(got, "held") == 0);
	http_client_free(c);
	return NULL;
}
static void *release_hold(void *arg) {
	clock_sleep(100 * NSEC_PER_MSEC);
	hold = false;
	return NULL;
}
static void test_stop_lets_requests_finish_and_ends_streams(void **state) {
	struct http_server *s = NULL;
	struct err err = { 0 };
	char base[64];
	pthread_t asking, releasing;
	struct watcher w = WATCHER;
	struct peer p;
	struct http_listen l = { S("127.0.0.1:0"), tls };
	assert_true(http_server_start(&(struct http_server_opts){ .listen = &l, .listen_len = 1, .handle = handle }, &s, &err));
	snprintf(base, sizeof(base), "https://localhost:%d", http_server_port(s, 0));
	struct http_client *c = client_for(base);
	closed = 0;
	w.watch = http_watch_start(c, loop, &(struct http_request){ .url = S("/watch") }, &watch_handler, &w);
	wait_text(&w, 6);
	assert_true(dial_echo(base, &p, &err));
	net_conn_write(p.conn, S("x"));
	peer_wait(&p, 1, 0, 0);
	hold = true;
	pthread_create(&asking, NULL, hold_request, base);
	struct http_server_stats stats = { 0 };
	while (stats.requests < 3) {
		http_server_stats(s, &stats);
		clock_sleep(NSEC_PER_MSEC);
	}
	clock_sleep(20 * NSEC_PER_MSEC);
	pthread_create(&releasing, NULL, release_hold, NULL);
	http_server_stop(s, 5 * NSEC_PER_SEC);
	pthread_join(asking, NULL);
	pthread_join(releasing, NULL);
	wait_end(&w);
	assert_int_equal(w.code, ERR_NONE); /* a clean end */
	watcher_end(&w);
	wait_for(&closed, 2);
	peer_wait(&p, 0, 0, 1);
	net_conn_close(p.conn);
	buf_release(&p.text);
	assert_false(http_stream_send_copy(last_stream, S("late")));
	http_stream_end(last_stream); /* after its server is gone */
	struct http_response r;
	assert_false(http_do(c, &(struct http_request){ .url = S("/") }, &r, &err));
	assert_int_equal(err.code, ERR_UNAVAILABLE);
	http_client_free(c);
}

static void test_address_in_use(void **state) {
	struct http_server *s;
	struct err err = { 0 };
	char want[100];
	struct http_listen l = { str_c(base_plain + 7), NULL };
	assert_false(http_server_start(&(struct http_server_opts){ .listen = &l, .listen_len = 1, .handle = handle }, &s, &err));
	snprintf(want, sizeof(want), "listen on %s: Address already in use", base_plain + 7);
	assert_string_equal(err.msg, want);
}

int main(void) {
	struct CMUnitTest tests[100] = { 0 };
	size_t n = 0;
	const struct CMUnitTest plain[] = {
		cmocka_unit_test(test_facts_arrive),
		cmocka_unit_test(test_header_values_cannot_inject),
		cmocka_unit_test(test_client_certificates),
		cmocka_unit_test(test_server_certificate_is_checked),
		cmocka_unit_test(test_connections_are_kept),
		cmocka_unit_test(test_handler_without_answer),
		cmocka_unit_test(test_broken_off_answer_is_an_error),
		cmocka_unit_test(test_big_answers),
		cmocka_unit_test(test_streamed_uploads),
		cmocka_unit_test(test_oversized_bodies),
		cmocka_unit_test(test_redirects),
		cmocka_unit_test(test_refused_and_timed_out),
		cmocka_unit_test(test_stream_ends_cleanly),
		cmocka_unit_test(test_stream_learns_that_the_client_left),
		cmocka_unit_test(test_slow_watcher_meets_its_limit),
		cmocka_unit_test(test_broadcast),
		cmocka_unit_test(test_upgrade_echoes),
		cmocka_unit_test(test_drain_is_told_whoever_flushes),
		cmocka_unit_test(test_upgrade_refused),
		cmocka_unit_test(test_pipe_between_loops),
		cmocka_unit_test(test_time_limits),
		cmocka_unit_test(test_long_heads),
		cmocka_unit_test(test_stop_lets_requests_finish_and_ends_streams),
		cmocka_unit_test(test_address_in_use),
	};
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		tests[n++] = plain[i];
	}
	for (size_t i = 0; i < ARRAY_LEN(raw_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = raw_cases[i].name, .test_func = test_raw, .initial_state = (void *)(uintptr_t)&raw_cases[i] };
	}
	/* cmocka counts by the array's size */
	assert(n <= ARRAY_LEN(tests));
	return _cmocka_run_group_tests("http", tests, n, group_setup, group_teardown);
}
