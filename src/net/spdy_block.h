/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spdy_block.h - SPDY/3.1's header blocks: names and values, compressed with a dictionary in one zlib stream for each direction. So
 * every block must be unpacked, in order, whoever it is for. Private to net.
 */
#ifndef NET_SPDY_BLOCK_H
#define NET_SPDY_BLOCK_H

#include <zlib.h>

#include "base/buf.h"
#include "net/http.h"

struct spdy_block {
	z_stream unpack, pack;
};
void spdy_block_init(struct spdy_block *b);
void spdy_block_release(struct spdy_block *b);
/* Appends the block; names become lower case. */
void spdy_block_pack(struct spdy_block *b, const struct http_header *headers, size_t n, struct buf *out);
/* False when it is not one, or is larger than 64 KiB or 200 headers. */
NODISCARD bool spdy_block_unpack(struct spdy_block *b, struct str packed, struct arena *a, struct http_headers *ret);

#endif
