/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - the HTTP server: HTTP/1.1 and HTTP/2, plain or TLS, TCP or unix sockets.
 *
 * A request becomes a `struct http_exchange`. Sockets live on the server's io loops; the handler runs on a pool thread
 * as straight-line code that may block. It answers in one of four ways, once:
 *
 *   http_reply                          a whole answer
 *   http_reply_start, _write, _end      a big answer, made piece by piece in bounded memory
 *   http_stream_start                   a stream that outlives the handler: watch, log -f
 *   http_upgrade                        the raw connection (HTTP/1.1 only): exec, attach, port-forward
 *
 * A handler that returns without an answer gives 500. The exchange lives until the handler has
 * returned; nothing of it may be kept longer (a stream or conn has a life of its own).
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/arena.h"
#include "base/err.h"
#include "loop/loop.h"
#include "net/bytes.h"
#include "net/cert.h"
#include "net/conn.h"
#include "net/tls.h"

struct http_header {
	struct str name; /* as sent; in HTTP/2 always lower case. Compare without case. */
	struct str value;
};
struct http_headers {
	const struct http_header *at;
	size_t len;
};
/* The first header of that name; ptr NULL when absent. */
struct str http_header_get(struct http_headers h, struct str name);
/* Whether a comma-separated header holds the token (no case): "Connection: keep-alive, Upgrade". Looks at all headers of that name. */
bool http_header_has_token(struct http_headers h, struct str name, struct str token);
const char *http_status_text(int status); /* "Not Found"; "" when unknown */

struct http_exchange {
	/* The request; read-only. */
	struct str method;           /* "GET" */
	struct str target;           /* as sent: path and query */
	struct str path;             /* still percent-encoded; begins with '/' */
	struct str query;            /* without '?'; see url.h */
	struct str host;             /* Host or :authority, may be empty in HTTP/1.0 */
	struct http_headers headers; /* pseudo headers left out; Host stays */
	struct str body;             /* whole, unless `early` chose HTTP_BODY_STREAM */
	int version;                 /* 10, 11 or 20 */
	bool tls;
	struct str peer;             /* "10.0.0.7:4711"; "" on a unix socket */
	const struct cert_identity *peer_cert; /* verified client certificate, NULL when none was shown */
	struct str peer_cert_error;  /* a client certificate was shown and not accepted: why */
	nsec_t received;             /* clock_mono() when the headers were complete */
	struct arena arena;          /* for the handler; freed with the exchange */
	void *user;                  /* for `early` to leave something for `handle` */
};

struct http_server;

enum http_body {
	HTTP_BODY_COLLECT, /* read it whole (413 beyond body_max), then call handle */
	HTTP_BODY_STREAM,  /* call handle now; it reads with http_body_read */
	HTTP_BODY_DONE,    /* early has answered with http_reply already: handle is not called */
};

struct http_listen {
	struct str address;   /* "127.0.0.1:6443", "[::]:0", "unix:/run/x.sock" */
	struct tls_server *tls; /* borrowed; NULL: plain */
};
struct http_server_opts {
	const char *name;                 /* of its threads; "http" */
	const struct http_listen *listen; /* at least one */
	size_t listen_len;
	/* On a pool thread. */
	void (*handle)(struct http_exchange *x, void *arg);
	/* On the io loop once the headers are there: must not block. NULL: collect. */
	enum http_body (*early)(struct http_exchange *x, void *arg);
	/* A request that cannot be handed out (400, 408, 413, 431, 503): answers it with http_reply, on the io loop. NULL: plain text. */
	void (*reject)(struct http_exchange *x, int status, const char *why, void *arg);
	void *arg;
	int loops;                 /* io threads; 0: 2 */
	size_t body_max;           /* bytes of a collected body; 0: 3 MiB, what upstream's API server takes */
	size_t header_bytes_max;   /* 0: 256 KiB, else 431 */
	size_t headers_max;        /* 0: 200, else 431 */
	size_t connections_max;    /* 0: 20,000; further ones are closed at once */
	uint32_t h2_streams_max;   /* at a time on one connection; 0: 250 */
	nsec_t headers_timeout;    /* from connect or first byte to the end of the headers, TLS included; 0: 32 s */
	nsec_t body_timeout;       /* between two reads of a request body; 0: 60 s */
	nsec_t idle_timeout;       /* a kept-alive connection without a request; 0: 180 s */
	nsec_t write_timeout;      /* without any progress while bytes wait; 0: 60 s, then the connection is reset */
};
/*
 * Listens and serves. Connections go to the io loops in turn.
 * Fails: ERR_IO, an address is in use or not ours (named).
 */
NODISCARD bool http_server_start(const struct http_server_opts *opts, struct http_server **ret, struct err *err);
/* The address of listen[i] with the port the kernel chose; borrowed. */
struct str http_server_address(struct http_server *s, size_t i);
int http_server_port(struct http_server *s, size_t i); /* 0 for unix sockets */
/*
 * Stops accepting, sends GOAWAY / "Connection: close", gives running requests up to `grace`, ends streams and upgraded
 * conns (their on_close runs), joins the threads and frees. Blocks; not from a handler of this server.
 */
void http_server_stop(struct http_server *s, nsec_t grace);

struct http_server_stats {
	int64_t connections, connections_total, requests, streams; /* streams: open now */
};
void http_server_stats(struct http_server *s, struct http_server_stats *ret);

/* ---- the request, in the handler ---- */

struct str http_request_header(const struct http_exchange *x, struct str name); /* ptr NULL when absent */
/* The client has gone: what takes long may stop. */
bool http_gone(const struct http_exchange *x);
/* HTTP_BODY_STREAM: reads up to `len` bytes, blocks for at least one; *ret_len 0 at the end. Fails: ERR_CLOSED, ERR_TIMEOUT. */
NODISCARD bool http_body_read(struct http_exchange *x, void *into, size_t len, size_t *ret_len, struct err *err);
struct loop *http_loop(struct http_exchange *x); /* the io loop of its connection: for net_dial, http_dial_upgrade beside an upgrade */

/* ---- the answer ---- */

/* Adds an answer header before the answer begins; copies both. Names of any case; CR or LF in a value become spaces. */
void http_header_add(struct http_exchange *x, struct str name, struct str value);
void http_header_set(struct http_exchange *x, struct str name, struct str value); /* replaces those of that name */

/*
 * The whole answer. Content-Length and Date are added; content_type may be empty. HEAD sends no body, 204 and 304 neither.
 * Copies the body.
 */
void http_reply(struct http_exchange *x, int status, struct str content_type, struct str body);
/* The same without a copy: holds a reference until it is sent. */
void http_reply_bytes(struct http_exchange *x, int status, struct str content_type, struct net_bytes *body);

/*
 * A big answer. Chunked in HTTP/1.1 unless a Content-Length header was added. `gzip` compresses at level 1 and sets Content-Encoding and Vary
 * (the caller has looked at Accept-Encoding: http_accepts_gzip).
 */
struct http_reply_opts {
	bool gzip;
};
void http_reply_start(struct http_exchange *x, int status, struct str content_type, const struct http_reply_opts *opts);
/* Blocks while more than 256 KiB wait unsent. False when the peer has gone: stop. Pool threads only. */
NODISCARD bool http_reply_write(struct http_exchange *x, struct str bytes);
NODISCARD bool http_reply_write_bytes(struct http_exchange *x, struct net_bytes *bytes); /* holds a reference; no copy (unless gzip) */
void http_reply_end(struct http_exchange *x);
/* Breaks the answer off so that the client sees it is not whole (RST_STREAM, closed connection). */
void http_reply_abort(struct http_exchange *x);
bool http_accepts_gzip(const struct http_exchange *x);
/* One call for a whole gzipped answer when the client takes it and the body is at least 128 KiB, else as http_reply (upstream's rule). */
void http_reply_maybe_gzip(struct http_exchange *x, int status, struct str content_type, struct str body);

/* ---- streams ---- */

/*
 * Handle: the holder's until http_stream_end, which it calls exactly once, whether or not the peer has gone. on_close runs
 * exactly once on the stream's loop: when the peer is gone, or after http_stream_end. `arg` must live until it has
 * run. Between the two, sends just return false.
 */
struct http_stream;
struct http_stream_opts {
	void (*on_close)(void *arg);
	/* The backlog fell to zero after a send had seen it above half of backlog_max. On the loop. May be NULL. */
	void (*on_drain)(void *arg);
	void *arg;
	size_t backlog_max; /* bytes unsent; 0: 1 MiB */
};
/*
 * Sends the headers and detaches the answer from the handler. An HTTP/2 stream costs about 1 KB while it waits.
 * Never fails: when the peer has gone already, on_close follows.
 */
struct http_stream *http_stream_start(struct http_exchange *x, int status, struct str content_type, const struct http_stream_opts *opts);
/*
 * Any thread; never blocks; holds a reference until sent. On the stream's own loop it is queued
 * directly; sends of one loop turn go out together. False when the peer has gone or the backlog is over its limit (nothing taken): end the stream.
 */
bool http_stream_send(struct http_stream *s, struct net_bytes *bytes);
bool http_stream_send_copy(struct http_stream *s, struct str bytes);
/* One message to many streams: one post per io loop. Streams over their limit are skipped and flagged by http_stream_failed. */
void http_stream_broadcast(struct http_stream *const *streams, size_t n, struct net_bytes *bytes);
bool http_stream_failed(struct http_stream *s);    /* gone or over the limit */
size_t http_stream_backlog(struct http_stream *s); /* bytes unsent */
struct loop *http_stream_loop(struct http_stream *s);
void http_stream_end(struct http_stream *s);   /* gives the handle back; what is queued is sent, then the clean end */
void http_stream_abort(struct http_stream *s); /* gives the handle back; the client sees a break */

/* ---- upgrades ---- */

/* Whether the request asks for an upgrade to `protocol` ("websocket", "SPDY/3.1"), or to any when it is empty. */
bool http_wants_upgrade(const struct http_exchange *x, struct str protocol);
/*
 * Answers 101 with the headers added so far (the caller adds Upgrade; Connection: Upgrade is added when missing) and
 * takes the connection. Bytes that the client sent already are kept for on_data.
 * Fails: ERR_BAD_REQUEST over HTTP/2; then nothing has been answered.
 */
NODISCARD bool http_upgrade(struct http_exchange *x, struct net_conn **ret, struct err *err);

#endif
