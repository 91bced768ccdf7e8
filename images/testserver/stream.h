/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - a connected socket, with or without TLS above it.
 */
#ifndef TESTSERVER_STREAM_H
#define TESTSERVER_STREAM_H

#include "tls.h"

struct stream {
	int fd;          /* owned; -1 when there is none */
	struct tls *tls; /* owned; NULL: plain */
};

/* As read(2); waits. */
ssize_t stream_read(struct stream *s, char *to, size_t len);
/* Writes all of it; false when the other side is gone. */
NODISCARD bool stream_write(struct stream *s, struct str text);
/* Waits until there is something to read, or timeout_ms (negative: for ever) have passed. */
bool stream_readable(struct stream *s, int timeout_ms);
void stream_close(struct stream *s);
#define auto_stream CLEANUP(stream_close)

/* Bounds how long one read or write may wait, so that no peer holds a thread for ever. */
void stream_patience(struct stream *s, int seconds);

#endif
