/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1.h - the HTTP/1.1 core (RFC 9112), without I/O: heads and bodies out of bytes, for server and
 * client. Strict, because two readers that disagree about where a request ends can be played against
 * each other: no bare LF, no folded headers, one framing only.
 *
 * Private to net.
 */
#ifndef NET_HTTP1_H
#define NET_HTTP1_H

#include "net/http.h"

enum parse { PARSE_MORE, PARSE_DONE, PARSE_BAD };

enum http1_framing { HTTP1_NONE, HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_UNTIL_CLOSE };

struct http1_head {
	/* a request's */
	struct str method, target;
	struct str path, query, host;
	bool expect_continue;
	/* an answer's */
	int status;
	/* both */
	int version; /* 10 or 11 */
	struct http_headers headers;
	enum http1_framing framing;
	uint64_t length; /* HTTP1_LENGTH */
	bool keep_alive;
};

/* Bytes of the head with its empty line, 0 when it is not there yet. *scanned starts at 0 and remembers between calls. */
size_t http1_head_end(struct str bytes, size_t *scanned);

/*
 * Reads a head that http1_head_end has found. All in `a`, which must own `head`.
 * Fails: *ret_status is the status to answer (400, 431, 501, 505), err says why.
 */
NODISCARD bool http1_parse_request(struct arena *a, struct str head, size_t headers_max, struct http1_head *ret, int *ret_status, struct err *err);
/* `method` is the request's: it decides whether there is a body. */
NODISCARD bool http1_parse_response(struct arena *a, struct str head, size_t headers_max, struct str method, struct http1_head *ret, struct err *err);

struct http1_body {
	enum http1_framing framing;
	uint64_t left;  /* of the length or the chunk */
	int state;      /* of the chunk reader */
	size_t extra;   /* bytes of extensions and trailers so far */
};
void http1_body_init(struct http1_body *b, enum http1_framing framing, uint64_t length);
/*
 * Takes the next piece of the body off *in. PARSE_MORE with a piece: there may be more in `in`, call again; without a
 * piece: `in` is used up. PARSE_DONE: the body is whole, `in` holds what follows. PARSE_BAD: not a body, err says why.
 */
enum parse http1_body_next(struct http1_body *b, struct str *in, struct str *ret_piece, struct err *err);
/* The connection ended here: whether the body is whole. */
bool http1_body_at_eof(const struct http1_body *b);

#endif
