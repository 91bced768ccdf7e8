/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spdy.h - SPDY/3.1, as kubectl exec, attach and port-forward speak it after an upgrade (or inside a WebSocket): frames, compressed header
 * blocks, streams, windows; without I/O. One thread at a time.
 */
#ifndef NET_SPDY_H
#define NET_SPDY_H

#include "base/buf.h"
#include "base/err.h"
#include "net/http.h"

struct spdy;
struct spdy_stream {
	uint32_t id;
	void *user;            /* the owner's */
	struct http_headers headers; /* of SYN_STREAM; owned by the stream */
	/* private from here */
	struct spdy_stream_impl *impl;
};
enum spdy_status {
	SPDY_PROTOCOL_ERROR = 1, SPDY_INVALID_STREAM = 2, SPDY_REFUSED_STREAM = 3, SPDY_UNSUPPORTED_VERSION = 4, SPDY_CANCEL = 5, SPDY_INTERNAL_ERROR = 6,
	SPDY_FLOW_CONTROL_ERROR = 7, SPDY_STREAM_IN_USE = 8, SPDY_STREAM_ALREADY_CLOSED = 9, SPDY_FRAME_TOO_LARGE = 11,
};
struct spdy_handler {
	/* The peer opened a stream: answer with spdy_reply (accept) or spdy_reset. `fin`: the peer will send nothing on it. */
	void (*on_stream)(void *arg, struct spdy_stream *s, bool fin);
	void (*on_reply)(void *arg, struct spdy_stream *s, struct http_headers headers, bool fin); /* to our own streams; may be NULL */
	/* Data; `fin` with the last (which may be empty). The window opens again by spdy_consume. */
	void (*on_data)(void *arg, struct spdy_stream *s, struct str bytes, bool fin);
	void (*on_drain)(void *arg, struct spdy_stream *s); /* what waited for the window has been sent; may be NULL */
	/* The stream is over (both sides ended, reset, connection gone); freed after the call. */
	void (*on_stream_close)(void *arg, struct spdy_stream *s, bool reset);
	void (*on_goaway)(void *arg); /* the peer opens no more; may be NULL */
	void (*on_output)(void *arg, struct str bytes); /* to be sent; borrowed for the call */
	/* The peer broke the protocol; a GOAWAY has been put out. */
	void (*on_error)(void *arg, const struct err *err);
};
struct spdy_opts {
	bool client;          /* we open odd streams */
	uint32_t streams_max; /* open at a time; 0: 1,000; beyond: REFUSED_STREAM */
	uint32_t window;      /* bytes a stream may send to us before spdy_consume; 0: 64 KiB, the protocol's own */
	size_t backlog_max;   /* bytes a stream may hold for the peer's window; 0: 4 MiB */
};
struct spdy *spdy_new(const struct spdy_opts *opts, const struct spdy_handler *h, void *arg);
void spdy_free(struct spdy *s); /* ends all streams (on_stream_close); not from its callbacks */
/* Bytes from the peer, in any cut. False once the connection is broken (on_error has told). */
bool spdy_input(struct spdy *s, struct str bytes);

struct spdy_stream *spdy_open(struct spdy *s, const struct http_header *headers, size_t n, bool fin); /* NULL after GOAWAY */
void spdy_reply(struct spdy *s, struct spdy_stream *st, const struct http_header *headers, size_t n, bool fin);
/* Sends as the peer's window allows and keeps the rest. False when the stream is over or its backlog is full: nothing was taken. */
bool spdy_send(struct spdy *s, struct spdy_stream *st, struct str bytes, bool fin);
size_t spdy_backlog(const struct spdy_stream *st); /* bytes waiting for the peer's window */
void spdy_consume(struct spdy *s, struct spdy_stream *st, size_t bytes); /* dealt with: the peer may send as much again */
void spdy_reset(struct spdy *s, struct spdy_stream *st, enum spdy_status status); /* on_stream_close follows before it returns */
void spdy_ping(struct spdy *s);
void spdy_goaway(struct spdy *s, uint32_t status); /* 0: fine */
struct str spdy_header(const struct spdy_stream *st, struct str name); /* no case; ptr NULL when absent */

#endif
