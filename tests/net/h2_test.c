/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_test.c - HTTP/2 of the server against nghttp2's client side, over TLS with ALPN: requests side by side, bodies both ways, streams,
 * limits, floods, the end of a server.
 */
#include "net/net.h"

#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct arena keep;
static struct tls_server *tls;
static struct http_server *server;
static _Atomic int closed, handled, gone;
static struct http_stream *_Atomic last_stream;
static _Atomic bool hold;

static void on_close(void *arg) {
	closed++;
}

static void handle(struct http_exchange *x, void *arg) {
	handled++;
	if (str_eq(x->path, S("/big"))) {
		static char line[10000];
		http_reply_start(x, 200, S("text/plain"), NULL);
		for (int i = 0; i < 300; i++) {
			if (!http_reply_write(x, (struct str){ line, sizeof(line) })) {
				gone++;
				return;
			}
		}
		http_reply_end(x);
	} else if (str_eq(x->path, S("/watch"))) {
		struct http_stream *s = http_stream_start(x, 200, S("application/json"), &(struct http_stream_opts){ .on_close = on_close });
		http_stream_send_copy(s, S("first\n"));
		last_stream = s;
	} else if (str_eq(x->path, S("/upload"))) {
		char bytes[1000];
		size_t n, total = 0;
		struct err err = { 0 };
		while (http_body_read(x, bytes, sizeof(bytes), &n, &err) && n) {
			total += n;
		}
		http_reply(x, 200, S("text/plain"), arena_printf(&x->arena, "%zu %d", total, err.code));
	} else if (str_eq(x->path, S("/hold"))) {
		while (hold) {
			clock_sleep(NSEC_PER_MSEC);
		}
		gone += http_gone(x);
		http_reply(x, 200, S("text/plain"), S("held"));
	} else if (str_eq(x->path, S("/upgrade"))) {
		struct net_conn *c;
		struct err err = { 0 };
		bool ok = http_upgrade(x, &c, &err);
		assert(!ok);
		http_reply(x, 400, S("text/plain"), str_c(err.msg));
	} else if (str_eq(x->path, S("/break"))) {
		http_reply_start(x, 200, S("text/plain"), NULL);
		gone += !http_reply_write(x, S("half"));
		http_reply_abort(x);
	} else {
		http_header_add(x, S("X-Custom"), S("yes"));
		http_header_add(x, S("Connection"), S("close")); /* has no place in HTTP/2 */
		http_reply(x, 200, S("text/plain"),
			arena_printf(&x->arena, "%.*s %.*s?%.*s v%d %.*s h=%.*s body=%.*s", STR_ARG(x->method), STR_ARG(x->path), STR_ARG(x->query), x->version,
				STR_ARG(x->host), STR_ARG(http_request_header(x, S("X-Ask"))), STR_ARG(x->body)));
	}
}
static enum http_body early(struct http_exchange *x, void *arg) {
	return str_eq(x->path, S("/upload")) ? HTTP_BODY_STREAM : HTTP_BODY_COLLECT;
}

static struct http_server *start(void) {
	struct err err = { 0 };
	struct http_server *s = NULL;
	struct http_listen l = { S("127.0.0.1:0"), tls };
	struct http_server_opts o = { .listen = &l, .listen_len = 1, .handle = handle, .early = early, .body_max = 100000, .body_timeout = 700 * NSEC_PER_MSEC,
		.header_bytes_max = 8000, .headers_max = 50, .h2_streams_max = 100, .loops = 1 };
	if (!http_server_start(&o, &s, &err)) {
		fail_msg("%s", err.msg);
	}
	return s;
}

static int group_setup(void **state) {
	struct err err = { 0 };
	struct str key, cert, dns = S("localhost");
	signal(SIGPIPE, SIG_IGN);
	assert_true(key_new(KEY_EC_P256, &keep, &key, &err));
	assert_true(cert_new(key, &(struct cert_opts){ .common_name = S("s"), .dns = &dns, .dns_len = 1, .usage = CERT_SERVER }, &keep, &cert, &err));
	assert_true(tls_server_new(&(struct tls_server_opts){ .cert_pem = cert, .key_pem = key }, &tls, &err));
	server = start();
	return 0;
}
static int group_teardown(void **state) {
	http_server_stop(server, NSEC_PER_SEC);
	tls_server_free(tls);
	arena_release(&keep);
	return 0;
}

/* ---- a small client: one connection, blocking ---- */

struct answer {
	int32_t id;
	int status;
	struct buf body;
	bool closed, custom, connection;
	uint32_t error;
	struct str upload;
	size_t upload_at;
	bool no_consume; /* leave the window shut */
};
struct client {
	int fd;
	SSL_CTX *ctx;
	SSL *ssl;
	nghttp2_session *h2;
	bool eof, goaway;
	int open;
};

static ssize_t on_send(nghttp2_session *h2, const uint8_t *bytes, size_t len, int flags, void *arg) {
	struct client *c = arg;
	int n = SSL_write(c->ssl, bytes, (int)len);
	c->eof = c->eof || n <= 0;
	return n > 0 ? n : NGHTTP2_ERR_CALLBACK_FAILURE;
}
static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
	void *arg) {
	struct answer *a = nghttp2_session_get_stream_user_data(h2, f->hd.stream_id);
	struct str n = { (const char *)name, name_len };
	if (a && str_eq(n, S(":status"))) {
		assert_true(str_to_int((struct str){ (const char *)value, value_len }, 100, 999, &a->status));
	}
	if (a) {
		a->custom = a->custom || str_eq(n, S("x-custom"));
		a->connection = a->connection || str_eq(n, S("connection"));
	}
	return 0;
}
static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len, void *arg) {
	struct answer *a = nghttp2_session_get_stream_user_data(h2, id);
	buf_add(&a->body, bytes, len);
	if (a->no_consume) {
		nghttp2_session_consume_connection(h2, len);
	} else {
		nghttp2_session_consume(h2, id, len);
	}
	return 0;
}
static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t error, void *arg) {
	struct answer *a = nghttp2_session_get_stream_user_data(h2, id);
	struct client *c = arg;
	if (a) {
		a->closed = true;
		a->error = error;
	}
	c->open--;
	return 0;
}
static int on_frame(nghttp2_session *h2, const nghttp2_frame *f, void *arg) {
	struct client *c = arg;
	c->goaway = c->goaway || f->hd.type == NGHTTP2_GOAWAY;
	return 0;
}
static ssize_t on_upload(nghttp2_session *h2, int32_t id, uint8_t *into, size_t len, uint32_t *flags, nghttp2_data_source *source, void *arg) {
	struct answer *a = source->ptr;
	size_t n = MIN(len, a->upload.len - a->upload_at);
	memcpy(into, a->upload.ptr + a->upload_at, n);
	a->upload_at += n;
	*flags = a->upload_at == a->upload.len ? NGHTTP2_DATA_FLAG_EOF : 0;
	return (ssize_t)n;
}

static void dial(struct client *c, struct http_server *s) {
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt;
	struct err err = { 0 };
	const unsigned char *proto;
	unsigned int proto_len;
	*c = (struct client){ 0 };
	assert_true(net_dial_fd(http_server_address(s, 0), NSEC_PER_SEC, &c->fd, &err));
	fcntl(c->fd, F_SETFL, 0);
	struct timeval tv = { .tv_sec = 20 };
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	c->ctx = SSL_CTX_new(TLS_client_method());
	c->ssl = SSL_new(c->ctx);
	SSL_set_alpn_protos(c->ssl, (const unsigned char *)"\2h2", 3);
	SSL_set_fd(c->ssl, c->fd);
	assert_int_equal(SSL_connect(c->ssl), 1);
	SSL_get0_alpn_selected(c->ssl, &proto, &proto_len);
	assert_int_equal(proto_len, 2);
	nghttp2_session_callbacks_new(&cb);
	nghttp2_session_callbacks_set_send_callback(cb, on_send);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_option_new(&opt);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_session_client_new2(&c->h2, cb, c, opt);
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	nghttp2_submit_settings(c->h2, 0, NULL, 0);
}
static void hang_up(struct client *c) {
	nghttp2_session_del(c->h2);
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	close(c->fd);
}
static void ask(struct client *c, struct answer *a, const char *method, const char *path, struct str body, const nghttp2_nv *more, size_t more_len) {
#define NV(n, v) { (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0 }
	nghttp2_nv nv[100] = { NV(":method", method), NV(":scheme", "https"), NV(":authority", "localhost"), NV(":path", path) };
	nghttp2_data_provider p = { .source.ptr = a, .read_callback = on_upload };
	*a = (struct answer){ .upload = body };
	for (size_t i = 0; i < more_len; i++) {
		nv[4 + i] = more[i];
	}
	a->id = nghttp2_submit_request(c->h2, NULL, nv, 4 + more_len, body.ptr ? &p : NULL, a);
	assert_true(a->id > 0);
	c->open++;
}
/* Sends and reads once; false at the end of the connection. */
static bool step(struct client *c, int timeout_ms) {
	char bytes[16384];
	if (nghttp2_session_send(c->h2) != 0) {
		return false;
	}
	struct pollfd p = { c->fd, POLLIN, 0 };
	if (!SSL_has_pending(c->ssl) && poll(&p, 1, timeout_ms) == 0) {
		return true;
	}
	int n = SSL_read(c->ssl, bytes, sizeof(bytes));
	if (n <= 0) {
		c->eof = true;
		return false;
	}
	assert_true(nghttp2_session_mem_recv(c->h2, (uint8_t *)bytes, (size_t)n) == n);
	return true;
}
static void run_until_closed(struct client *c, struct answer *a) {
	while (!a->closed && step(c, 10000)) {
	}
	assert_true(a->closed);
}
static void wait_for(_Atomic int *n, int want) {
	for (int i = 0; i < 5000 && *n < want; i++) {
		clock_sleep(NSEC_PER_MSEC);
	}
	assert_int_equal(*n, want);
}
#define NONE ((struct str){ 0 })

/* ---- tests ---- */

static void test_requests_side_by_side(void **state) {
	enum { N = 60 };
	struct client c;
	struct answer a[N];
	char path[N][20];
	const nghttp2_nv extra = NV("x-ask", "1");
	dial(&c, server);
	for (int i = 0; i < N; i++) {
		snprintf(path[i], sizeof(path[i]), "/p/%d?q=%d", i, i);
		ask(&c, &a[i], i % 2 ? "POST" : "GET", path[i], i % 2 ? S("body") : NONE, &extra, 1);
	}
	while (c.open && step(&c, 10000)) {
	}
	for (int i = 0; i < N; i++) {
		char want[100];
		snprintf(want, sizeof(want), "%s /p/%d?q=%d v20 localhost h=1 body=%s", i % 2 ? "POST" : "GET", i, i, i % 2 ? "body" : "");
		assert_int_equal(a[i].status, 200);
		assert_string_equal(buf_cstr(&a[i].body), want);
		assert_true(a[i].custom);
		assert_false(a[i].connection);
		buf_release(&a[i].body);
	}
	hang_up(&c);
}

static void test_head_and_upgrade_and_break(void **state) {
	struct client c;
	struct answer head, up, half;
	dial(&c, server);
	ask(&c, &head, "HEAD", "/x", NONE, NULL, 0);
	ask(&c, &up, "GET", "/upgrade", NONE, NULL, 0);
	ask(&c, &half, "GET", "/break", NONE, NULL, 0);
	while (c.open && step(&c, 10000)) {
	}
	assert_int_equal(head.status, 200);
	assert_int_equal(head.body.len, 0);
	assert_int_equal(head.error, 0);
	assert_int_equal(up.status, 400);
	assert_string_equal(buf_cstr(&up.body), "an upgrade needs HTTP/1.1");
	assert_int_not_equal(half.error, 0);
	buf_release(&up.body);
	buf_release(&half.body);
	hang_up(&c);
}

static void test_bodies_both_ways(void **state) {
	static char bytes[3000000];
	struct client c;
	struct answer big, up;
	dial(&c, server);
	ask(&c, &big, "GET", "/big", NONE, NULL, 0);
	ask(&c, &up, "PUT", "/upload", (struct str){ bytes, sizeof(bytes) }, NULL, 0);
	while (c.open && step(&c, 10000)) {
	}
	assert_int_equal(big.body.len, 3000000);
	assert_string_equal(buf_cstr(&up.body), "3000000 0");
	buf_release(&big.body);
	buf_release(&up.body);
	hang_up(&c);
}

static void test_limits(void **state) {
	static char bytes[200000], value[9000];
	struct client c;
	struct answer body, fits, header, many;
	nghttp2_nv headers[60];
	memset(value, 'v', sizeof(value) - 1);
	dial(&c, server);
	ask(&c, &body, "POST", "/x", (struct str){ bytes, sizeof(bytes) }, NULL, 0);
	run_until_closed(&c, &body);
	assert_int_equal(body.status, 413);
	ask(&c, &fits, "POST", "/x", (struct str){ bytes, 100000 }, NULL, 0);
	run_until_closed(&c, &fits);
	assert_int_equal(fits.status, 200);
	headers[0] = (nghttp2_nv)NV("x-long", value);
	ask(&c, &header, "GET", "/x", NONE, headers, 1);
	run_until_closed(&c, &header);
	assert_int_equal(header.status, 431);
	for (int i = 0; i < 60; i++) {
		headers[i] = (nghttp2_nv)NV("x-many", "v");
	}
	ask(&c, &many, "GET", "/x", NONE, headers, 60);
	run_until_closed(&c, &many);
	assert_int_equal(many.status, 431);
	buf_release(&body.body), buf_release(&fits.body), buf_release(&header.body), buf_release(&many.body);
	hang_up(&c);
}

static void test_body_that_never_comes(void **state) {
	struct client c;
	struct answer a = { 0 };
	nghttp2_nv nv[] = { NV(":method", "POST"), NV(":scheme", "https"), NV(":authority", "l"), NV(":path", "/x") };
	dial(&c, server);
	a.id = nghttp2_submit_headers(c.h2, NGHTTP2_FLAG_NONE, -1, NULL, nv, 4, &a);
	run_until_closed(&c, &a);
	assert_int_equal(a.status, 408);
	buf_release(&a.body);
	hang_up(&c);
}

static void test_watch_and_who_ends_it(void **state) {
	struct client c;
	struct answer a, b;
	dial(&c, server);
	closed = 0;
	last_stream = NULL;
	ask(&c, &a, "GET", "/watch", NONE, NULL, 0);
	while (a.body.len < 6 && step(&c, 10000)) {
	}
	assert_true(http_stream_send_copy(last_stream, S("second\n")));
	while (a.body.len < 13 && step(&c, 10000)) {
	}
	assert_string_equal(buf_cstr(&a.body), "first\nsecond\n");
	http_stream_end(last_stream);
	run_until_closed(&c, &a);
	assert_int_equal(a.error, 0);
	wait_for(&closed, 1);
	/* the client resets it */
	last_stream = NULL;
	ask(&c, &b, "GET", "/watch", NONE, NULL, 0);
	while (b.body.len < 6 && step(&c, 10000)) {
	}
	nghttp2_submit_rst_stream(c.h2, 0, b.id, NGHTTP2_CANCEL);
	while (!b.closed && step(&c, 100)) {
	}
	wait_for(&closed, 2);
	assert_false(http_stream_send_copy(last_stream, S("x")));
	http_stream_end(last_stream);
	buf_release(&a.body), buf_release(&b.body);
	hang_up(&c);
}

static void test_client_that_takes_nothing(void **state) {
	struct client c;
	struct answer big, other;
	dial(&c, server);
	ask(&c, &big, "GET", "/big", NONE, NULL, 0);
	big.no_consume = true; /* its window shuts after 64 KiB; others on the connection go on */
	while (big.body.len < 65535 && step(&c, 10000)) {
	}
	ask(&c, &other, "GET", "/x", NONE, NULL, 0);
	run_until_closed(&c, &other);
	assert_int_equal(other.status, 200);
	assert_int_equal(big.body.len, 65535);
	gone = 0;
	nghttp2_submit_rst_stream(c.h2, 0, big.id, NGHTTP2_CANCEL);
	while (!big.closed && step(&c, 100)) {
	}
	wait_for(&gone, 1); /* its handler, blocked in http_reply_write, hears of it */
	buf_release(&big.body), buf_release(&other.body);
	hang_up(&c);
}

static void test_more_streams_than_allowed(void **state) {
	struct client c;
	struct answer a[150];
	dial(&c, server);
	hold = true;
	for (int i = 0; i < 150; i++) { /* nghttp2 itself holds back what the server's SETTINGS do not allow */
		ask(&c, &a[i], "GET", "/hold", NONE, NULL, 0);
	}
	for (int i = 0; i < 20; i++) {
		step(&c, 20);
	}
	assert_int_equal(nghttp2_session_get_remote_settings(c.h2, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS), 100);
	hold = false;
	while (c.open && step(&c, 10000)) {
	}
	for (int i = 0; i < 150; i++) {
		assert_int_equal(a[i].status, 200);
		buf_release(&a[i].body);
	}
	hang_up(&c);
}

/* Opens streams and resets them at once, without end; the server must stop handing them out, and serve others. */
static void test_rapid_reset(void **state) {
	struct client c, other;
	struct answer ok;
	struct answer *a = xcalloc(20000, sizeof(*a));
	int sent = 0;
	hold = true;
	handled = 0;
	dial(&c, server);
	while (sent < 20000 && !c.eof) {
		for (int i = 0; i < 50; i++, sent++) {
			ask(&c, &a[sent], "GET", "/hold", NONE, NULL, 0);
			if (nghttp2_session_send(c.h2) != 0) {
				c.eof = true;
				break;
			}
			nghttp2_submit_rst_stream(c.h2, 0, a[sent].id, NGHTTP2_CANCEL);
		}
		if (!step(&c, 0)) {
			break;
		}
	}
	assert_true(c.eof || c.goaway); /* nghttp2's own guard, or ours */
	assert_true(handled < 6000);
	hold = false;
	dial(&other, server);
	ask(&other, &ok, "GET", "/x", NONE, NULL, 0);
	run_until_closed(&other, &ok);
	assert_int_equal(ok.status, 200);
	buf_release(&ok.body);
	free(a);
	hang_up(&other);
	hang_up(&c);
}

/* SETTINGS and PING that want answers which nobody reads. */
static void test_ack_floods(void **state) {
	static const struct {
		const char frame[20];
		size_t len;
	} floods[] = { { "\0\0\0\4\0\0\0\0\0", 9 }, { "\0\0\10\6\0\0\0\0\0pingping", 17 } };
	for (size_t f = 0; f < ARRAY_LEN(floods); f++) {
		struct client c;
		static char many[17000];
		dial(&c, server);
		assert_int_equal(nghttp2_session_send(c.h2), 0);
		for (size_t i = 0; i < 1000; i++) {
			memcpy(many + i * floods[f].len, floods[f].frame, floods[f].len);
		}
		int written = 0, n = 1;
		struct timeval tv = { .tv_sec = 5 };
		setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		while (n > 0 && written < 100000000) {
			n = SSL_write(c.ssl, many, (int)(1000 * floods[f].len));
			written += n > 0 ? n : 0;
		}
		assert_true(n <= 0); /* it hung up, or stopped reading us */
		hang_up(&c);
	}
}

static void *stop_server(void *arg) {
	http_server_stop(arg, 5 * NSEC_PER_SEC);
	return NULL;
}
static void test_stop(void **state) {
	struct http_server *s = start();
	struct client c;
	struct answer held, watch;
	pthread_t t;
	dial(&c, s);
	hold = true;
	closed = 0;
	last_stream = NULL;
	ask(&c, &held, "GET", "/hold", NONE, NULL, 0);
	ask(&c, &watch, "GET", "/watch", NONE, NULL, 0);
	while (watch.body.len < 6 && step(&c, 10000)) {
	}
	pthread_create(&t, NULL, stop_server, s);
	while (!c.goaway && step(&c, 10000)) {
	}
	assert_true(c.goaway);
	hold = false;
	while ((!held.closed || !watch.closed) && step(&c, 10000)) {
	}
	assert_int_equal(held.status, 200);
	assert_string_equal(buf_cstr(&held.body), "held");
	assert_int_equal(watch.error, 0);
	while (step(&c, 10000)) { /* then it closes the connection */
	}
	assert_true(c.eof);
	pthread_join(t, NULL);
	wait_for(&closed, 1);
	http_stream_end(last_stream);
	buf_release(&held.body), buf_release(&watch.body);
	hang_up(&c);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_side_by_side),
		cmocka_unit_test(test_head_and_upgrade_and_break),
		cmocka_unit_test(test_bodies_both_ways),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_body_that_never_comes),
		cmocka_unit_test(test_watch_and_who_ends_it),
		cmocka_unit_test(test_client_that_takes_nothing),
		cmocka_unit_test(test_more_streams_than_allowed),
		cmocka_unit_test(test_rapid_reset),
		cmocka_unit_test(test_ack_floods),
		cmocka_unit_test(test_stop),
	};
	return cmocka_run_group_tests_name("h2", tests, group_setup, group_teardown);
}
