/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_bench.c - what the HTTP server costs over TLS: CPU time of the server's process per request, per megabyte of a big answer, and
 * per delivery of an event to 1,000 watchers. The client is a process of its own (forked; nghttp2 and OpenSSL, nothing of ours), so
 * that its work does not count. Goals: under 15 us a request, 6 us a delivery, 55 MB in 100 ms.
 */
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "net/net.h"

#define EVENT_BYTES 4400
#define WATCHERS 1000
#define EVENTS 100
#define BIG_PIECES 12000
#define BIG_PIECE 4600
#define REQUESTS 50000

static nsec_t cpu(void) {
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NSEC_PER_SEC + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * NSEC_PER_USEC;
}

static int64_t resident_kb(void) {
	auto_buf struct buf b = { 0 };
	struct err err;
	int64_t kb = 0;
	if (file_read("/proc/self/smaps_rollup", &b, &err)) {
		ptrdiff_t at = str_find(buf_view(&b), S("Pss_Anon:"));
		struct str rest = at < 0 ? S("") : str_trim(str_from(buf_view(&b), (size_t)at + 9)), number;
		str_cut(rest, ' ', &number, &rest);
		if (!str_to_i64(number, &kb)) {
			kb = 0;
		}
	}
	return kb;
}

/* ---- the client process ---- */

struct link {
	int fd;
	SSL *ssl;
	nghttp2_session *h2;
	int64_t bytes;
	int open, todo;
	const char *path;
};

static ssize_t on_send(nghttp2_session *h2, const uint8_t *bytes, size_t len, int flags, void *arg) {
	struct link *k = arg;
	int n = SSL_write(k->ssl, bytes, (int)len);
	return n > 0 ? n : NGHTTP2_ERR_CALLBACK_FAILURE;
}
static void ask(struct link *k) {
	nghttp2_nv nv[] = { { (uint8_t *)":method", (uint8_t *)"GET", 7, 3, 0 }, { (uint8_t *)":scheme", (uint8_t *)"https", 7, 5, 0 },
		{ (uint8_t *)":authority", (uint8_t *)"localhost", 10, 9, 0 }, { (uint8_t *)":path", (uint8_t *)(uintptr_t)k->path, 5, strlen(k->path), 0 },
		{ (uint8_t *)"accept", (uint8_t *)"application/json", 6, 16, 0 }, { (uint8_t *)"user-agent", (uint8_t *)"bench/1.0", 10, 9, 0 } };
	nghttp2_submit_request(k->h2, NULL, nv, 6, NULL, NULL);
	k->open++;
	k->todo--;
}
static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *bytes, size_t len, void *arg) {
	((struct link *)arg)->bytes += (int64_t)len;
	return 0;
}
static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t error, void *arg) {
	struct link *k = arg;
	k->open--;
	if (k->todo > 0) {
		ask(k);
	}
	return 0;
}
static void dial(struct link *k, SSL_CTX *ctx, struct str address) {
	nghttp2_session_callbacks *cb;
	struct err err;
	if (!net_dial_fd(address, NSEC_PER_SEC, &k->fd, &err)) {
		_exit(1);
	}
	k->ssl = SSL_new(ctx);
	SSL_set_alpn_protos(k->ssl, (const unsigned char *)"\2h2", 3);
	SSL_set_fd(k->ssl, k->fd);
	for (int rc; (rc = SSL_connect(k->ssl)) != 1;) {
		struct pollfd p = { k->fd, SSL_get_error(k->ssl, rc) == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN, 0 };
		poll(&p, 1, 1000);
	}
	nghttp2_session_callbacks_new(&cb);
	nghttp2_session_callbacks_set_send_callback(cb, on_send);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_client_new(&k->h2, cb, k);
	nghttp2_session_callbacks_del(cb);
	nghttp2_settings_entry settings = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 4 << 20 }; /* as Go's client */
	nghttp2_submit_settings(k->h2, 0, &settings, 1);
	nghttp2_session_set_local_window_size(k->h2, 0, 0, 1 << 30);
}
/* `links` connections with `streams` requests at a time each, `total` requests; ends after `bytes` of body when not 0. */
static void client(struct str address, int links, int streams, int total, const char *path, int64_t bytes) {
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct link *k = xcalloc((size_t)links, sizeof(*k));
	struct pollfd *p = xcalloc((size_t)links, sizeof(*p));
	static char in[65536];
	for (int i = 0; i < links; i++) {
		k[i].path = path;
		dial(&k[i], ctx, address);
		k[i].todo = total / links;
		for (int n = 0; n < streams && k[i].todo; n++) {
			ask(&k[i]);
		}
		nghttp2_session_send(k[i].h2);
		p[i] = (struct pollfd){ k[i].fd, POLLIN, 0 };
	}
	for (bool busy = true; busy;) {
		int64_t sum = 0;
		busy = false;
		poll(p, (nfds_t)links, 1000);
		for (int i = 0; i < links; i++) {
			int n;
			while (p[i].revents && (n = SSL_read(k[i].ssl, in, sizeof(in))) > 0) {
				nghttp2_session_mem_recv(k[i].h2, (uint8_t *)in, (size_t)n);
			}
			nghttp2_session_send(k[i].h2);
			busy = busy || k[i].open;
			sum += k[i].bytes;
		}
		busy = busy && (!bytes || sum < bytes);
	}
	_exit(0);
}

/* ---- the server ---- */

static struct http_stream *streams[WATCHERS];
static _Atomic int streams_len;

static void handle(struct http_exchange *x, void *arg) {
	static char piece[BIG_PIECE];
	static const char *const get = "{\"kind\":\"Pod\"}";
	if (str_eq(x->path, S("/big"))) {
		http_reply_start(x, 200, S("application/json"), NULL);
		for (int i = 0; i < BIG_PIECES; i++) {
			if (!http_reply_write(x, (struct str){ piece, sizeof(piece) })) {
				return;
			}
		}
		http_reply_end(x);
	} else if (str_eq(x->path, S("/watch"))) {
		struct http_stream *s = http_stream_start(x, 200, S("application/json"), &(struct http_stream_opts){ .backlog_max = (size_t)64 << 20 });
		streams[atomic_fetch_add(&streams_len, 1)] = s;
	} else {
		http_reply(x, 200, S("application/json"), str_c(get));
	}
}

static void run(struct str address, const char *what, int links, int at_a_time, int total, const char *path) {
	nsec_t wall = clock_mono(), used = cpu();
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		client(address, links, at_a_time, total, path, 0);
	}
	waitpid(pid, &status, 0);
	wall = clock_mono() - wall;
	used = cpu() - used;
	if (total == 1) {
		printf("%-44s %8.0f ms  %6.0f ms CPU\n", what, (double)wall / 1e6, (double)used / 1e6);
	} else {
		printf("%-44s %8.0f req/s %5.1f us CPU a request\n", what, total / ((double)wall / 1e9), (double)used / 1e3 / total);
	}
}

static void run_watch(struct str address, const char *what, int links) {
	static char event[EVENT_BYTES];
	int status;
	int64_t before = resident_kb();
	streams_len = 0;
	pid_t pid = fork();
	if (pid == 0) {
		client(address, links, WATCHERS / links, WATCHERS, "/watch", (int64_t)WATCHERS * EVENTS * EVENT_BYTES);
	}
	while (streams_len < WATCHERS) {
		clock_sleep(NSEC_PER_MSEC);
	}
	clock_sleep(100 * NSEC_PER_MSEC);
	int64_t memory = resident_kb() - before;
	nsec_t wall = clock_mono(), used = cpu();
	for (int i = 0; i < EVENTS; i++) { /* one at a time, as writes come */
		struct net_bytes *b = net_bytes_new((struct str){ event, sizeof(event) });
		http_stream_broadcast(streams, WATCHERS, b);
		net_bytes_unref(b);
		clock_sleep(5 * NSEC_PER_MSEC);
	}
	waitpid(pid, &status, 0);
	wall = clock_mono() - wall;
	used = cpu() - used;
	printf("%-44s %8.1f KB each %5.1f us CPU a delivery\n", what, (double)memory / WATCHERS, (double)used / 1e3 / WATCHERS / EVENTS);
	for (int i = 0; i < WATCHERS; i++) {
		http_stream_end(streams[i]);
	}
	clock_sleep(200 * NSEC_PER_MSEC);
}

int main(void) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct str key, cert, dns = S("localhost");
	struct tls_server *tls;
	struct http_server *s;
	signal(SIGPIPE, SIG_IGN);
	if (!key_new(KEY_EC_P256, &a, &key, &err) ||
		!cert_new(key, &(struct cert_opts){ .common_name = S("s"), .dns = &dns, .dns_len = 1, .usage = CERT_SERVER }, &a, &cert, &err) ||
		!tls_server_new(&(struct tls_server_opts){ .cert_pem = cert, .key_pem = key }, &tls, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	struct http_listen l = { S("127.0.0.1:0"), tls };
	if (!http_server_start(&(struct http_server_opts){ .listen = &l, .listen_len = 1, .handle = handle, .h2_streams_max = 1000 }, &s, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	struct str address = http_server_address(s, 0);
	run(address, "GET, 1 connection, 64 at a time", 1, 64, REQUESTS, "/get");
	run(address, "GET, 64 connections, 1 at a time", 64, 1, REQUESTS / 64 * 64, "/get");
	run(address, "GET, 1 connection, 1 at a time", 1, 1, REQUESTS / 5, "/get");
	run(address, "55 MB answer", 1, 1, 1, "/big");
	run_watch(address, "1,000 watchers on 20 connections, 4.4 KB", 20);
	run_watch(address, "1,000 watchers on 1,000 connections, 4.4 KB", 1000);
	http_server_stop(s, NSEC_PER_SEC);
	tls_server_free(tls);
	return 0;
}
