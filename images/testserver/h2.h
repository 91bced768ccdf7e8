/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2.h - the server side of one HTTP/2 connection that carries small gRPC calls: bytes in, bytes out.
 *
 * Only what a health check needs: one message in, one message out, no TLS (the client knows that
 * HTTP/2 is spoken). Answers are a few bytes long, so they fit any window a client opens with.
 * Source: RFC 9113; gRPC over HTTP/2.
 */
#ifndef TESTSERVER_H2_H
#define TESTSERVER_H2_H

#include "base.h"

enum {
	H2_STREAMS_MAX = 100,         /* at once */
	H2_FRAME_BYTES_MAX = 16384,   /* the default, which we keep */
	H2_HEADERS_BYTES_MAX = 32768, /* one block, with its continuations */
	H2_MESSAGE_BYTES_MAX = 65536,
};

enum grpc_status {
	GRPC_OK = 0,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_NOT_FOUND = 5,
	GRPC_UNIMPLEMENTED = 12,
};

/* Answers one call of the method `path`; *ret_text explains a status that is not OK. Static text. */
typedef enum grpc_status (*grpc_handler)(void *arg, struct str path, struct str message, struct buf *reply, const char **ret_text);

struct h2;

struct h2 *h2_new(grpc_handler handle, void *arg);
void h2_free(struct h2 *h2);

/* Takes bytes of the client and adds to `out` what to send. False: send that, then close. */
NODISCARD bool h2_feed(struct h2 *h2, struct str in, struct buf *out);

#endif
