/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hpack.h - header compression of HTTP/2: the decoder whole, of the encoder what our answers need.
 *
 * Source: RFC 7541.
 */
#ifndef TESTSERVER_HPACK_H
#define TESTSERVER_HPACK_H

#include "base.h"

enum {
	HPACK_TABLE_BYTES_MAX = 4096, /* SETTINGS_HEADER_TABLE_SIZE, the default, which we keep */
	HPACK_ENTRIES_MAX = HPACK_TABLE_BYTES_MAX / 32,
	HPACK_LIST_BYTES_MAX = 64 * 1024, /* all names and values of one block, decoded */
};

/* One direction of one connection. Zeroed memory is a fresh decoder. */
struct hpack {
	struct hpack_entry {
		struct str name, value; /* own copies */
	} entries[HPACK_ENTRIES_MAX]; /* newest first */
	size_t entries_len, bytes;
	size_t bytes_max; /* what the other side set, plus 1; 0 is the default */
};

void hpack_release(struct hpack *h);

/* Called for each header in order; name and value are borrowed for the call. */
typedef void (*hpack_on_header)(void *arg, struct str name, struct str value);

/* Decodes one whole block. False: it is malformed or too large, and the connection must end. */
NODISCARD bool hpack_decode(struct hpack *h, struct str block, hpack_on_header on_header, void *arg);

/* Adds a header to a block, as a literal that enters no table. */
void hpack_encode(struct buf *block, struct str name, struct str value);

#endif
