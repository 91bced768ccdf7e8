/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channels.h - the streams of exec and attach over one connection, without I/O: stdin, stdout, stderr,
 * errors, terminal size, by WebSocket ([v4.|v5.][base64.]channel.k8s.io) or SPDY/3.1 (v4 down to v1).
 * Bytes in, callbacks and bytes out. One thread at a time.
 */
#ifndef KUBELET_CHANNELS_H
#define KUBELET_CHANNELS_H

#include "base/err.h"
#include "base/str.h"

enum channel { CHANNEL_STDIN, CHANNEL_STDOUT, CHANNEL_STDERR, CHANNEL_ERROR, CHANNEL_RESIZE, CHANNELS };

struct channels_want {
	bool in, out, err_out, tty;
};

struct channels_handler {
	void (*on_ready)(void *arg);                      /* all streams are there: begin. Once. */
	void (*on_stdin)(void *arg, struct str bytes);    /* borrowed; channels_consumed() when dealt with */
	void (*on_stdin_eof)(void *arg);
	void (*on_resize)(void *arg, uint16_t columns, uint16_t rows);
	void (*on_over)(void *arg);                       /* the peer is gone, broke the protocol, or has said goodbye. Once. */
	void (*on_output)(void *arg, struct str bytes);   /* for the connection; borrowed */
	void (*on_drain)(void *arg);                      /* a stream's backlog has been sent */
};

struct channels;
/* `protocol`: the subprotocol that was agreed on; "" is the first one, channel.k8s.io. */
struct channels *channels_new_ws(struct str protocol, const struct channels_want *want, const struct channels_handler *h, void *arg);
struct channels *channels_new_spdy(struct str protocol, const struct channels_want *want, const struct channels_handler *h, void *arg);
void channels_free(struct channels *c); /* not from its callbacks */
/* After the upgrade: over WebSocket all streams are there at once. */
void channels_begin(struct channels *c);
/* Bytes from the peer, in any cut. False: over, read no more. */
bool channels_input(struct channels *c, struct str bytes);
/* stdout or stderr; bytes for a stream that was not asked for are dropped. */
void channels_send(struct channels *c, enum channel ch, struct str bytes);
size_t channels_backlog(const struct channels *c); /* held for the peer's windows (SPDY) */
void channels_consumed(struct channels *c, size_t bytes); /* of stdin */

/* The end: what the error channel says by the protocol's version, then the close of all streams. */
struct channels_result {
	bool ok;
	bool exited;       /* the program ran: exit_code counts */
	int exit_code;
	struct str error;  /* when not ok and not exited: what went wrong */
};
void channels_finish(struct channels *c, const struct channels_result *r);

/* Subprotocols in the server's order of preference. */
extern const struct str channels_ws_protocols[];
extern const size_t channels_ws_protocols_len;
/* The protocol for an X-Stream-Protocol-Version offer ("v4.channel.k8s.io, v3..."; one header each or commas): ptr NULL when none fits. */
struct str channels_spdy_protocol(struct str offer);

#endif
