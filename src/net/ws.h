/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws.h - WebSocket (RFC 6455), both sides: the handshake's key and the frames, without I/O. Bytes in, callbacks and bytes out;
 * the owner moves them to and from a net_conn. One thread at a time.
 */
#ifndef NET_WS_H
#define NET_WS_H

#include "base/buf.h"
#include "base/err.h"
#include "net/http.h"

/* "Sec-WebSocket-Accept" for a key; `out` holds 28 characters and NUL. */
void ws_accept_key(struct str key, char out[29]);
/*
 * Server handshake: checks the request, picks the first of `protocols` (in the server's order of preference) that the client offers, takes the
 * connection. *ret_protocol is the chosen one, or empty when the client offered none (then none is answered).
 * Fails: ERR_BAD_REQUEST (not a WebSocket request, wrong version, no common protocol); nothing has been answered then.
 */
NODISCARD bool ws_upgrade(struct http_exchange *x, const struct str *protocols, size_t n, struct net_conn **ret, struct str *ret_protocol, struct err *err);

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };
enum ws_code {
	WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_PROTOCOL_ERROR = 1002, WS_UNSUPPORTED = 1003, WS_NO_STATUS = 1005, WS_BAD_DATA = 1007,
	WS_TOO_BIG = 1009, WS_INTERNAL = 1011,
};

struct ws;
struct ws_handler {
	/*
	 * One whole message, fragments joined, borrowed for the call. Longer than message_max: the connection is closed with 1009.
	 * Empty messages come too.
	 */
	void (*on_message)(void *arg, enum ws_opcode opcode, struct str bytes);
	/* Instead, when set: each piece of a data message as it arrives, without limit; `first`, `last` of its message. */
	void (*on_piece)(void *arg, enum ws_opcode opcode, struct str bytes, bool first, bool last);
	void (*on_pong)(void *arg, struct str bytes); /* may be NULL */
	/* The peer's close frame (WS_NO_STATUS when it holds none), or our own verdict on a broken peer. Answered already. Once. */
	void (*on_close)(void *arg, int code, struct str reason);
	/* Bytes to send to the peer; borrowed for the call. */
	void (*on_output)(void *arg, struct str bytes);
};
struct ws_opts {
	bool client;        /* our side masks */
	size_t message_max; /* 0: 16 MiB */
};
struct ws *ws_new(const struct ws_opts *opts, const struct ws_handler *h, void *arg);
void ws_free(struct ws *w); /* not from its callbacks */
/* Bytes from the peer, in any cut. False once the connection is over (closed or broken: on_close has told): read no more, close after sending. */
bool ws_input(struct ws *w, struct str bytes);
/* One message in one frame. Pings are answered by ws_input itself. False after a close was sent. */
bool ws_send(struct ws *w, enum ws_opcode opcode, struct str bytes);
/* The same with the first byte(s) apart: the channel byte of exec. */
bool ws_send2(struct ws *w, enum ws_opcode opcode, struct str head, struct str bytes);
void ws_close(struct ws *w, int code, struct str reason); /* sends a close frame once; the peer answers with its own */
bool ws_closed(const struct ws *w);                       /* both have sent a close, or it broke */

#endif
