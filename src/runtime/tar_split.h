/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_split.h - takes a tar apart into file contents and all the rest, so that the very same bytes can be put
 * together again from an unpacked layer (a push must keep the layer's digest). Private to the room.
 *
 * The parser is given bytes as they come and has no I/O. What it emits, in order: raw bytes (headers, padding,
 * links, long names), and for each regular file its path and size in place of its content.
 *
 * Stored form, repeated: 'R' u32 length, bytes; or 'F' u64 size, u32 length, path. Little endian.
 */
#ifndef RUNTIME_TAR_SPLIT_H
#define RUNTIME_TAR_SPLIT_H

#include "base/buf.h"
#include "base/err.h"

enum { TAR_BLOCK = 512, TAR_PATH_MAX = 4096, TAR_EXTENSION_MAX = 1 << 20 };

struct tar_split {
	void (*raw)(void *arg, struct str bytes);
	void (*file)(void *arg, struct str path, uint64_t size);
	void *arg;
	/* private */
	unsigned char block[TAR_BLOCK];
	size_t block_len;
	uint64_t skip;      /* bytes of content that are not emitted */
	uint64_t pass;      /* bytes that are emitted raw before the next header */
	uint64_t collect;   /* of those: bytes of an extension that are also kept */
	struct buf extension;
	char extension_type;
	struct buf long_path; /* from an extension, for the next header; empty: none */
	uint64_t long_size;
	bool long_size_set;
	bool ended;         /* two zero blocks, or something that is no header: all the rest is raw */
};
void tar_split_init(struct tar_split *t);
void tar_split_add(struct tar_split *t, struct str bytes);
/* Emits what is left of a cut tar. */
void tar_split_end(struct tar_split *t);
void tar_split_release(struct tar_split *t);

/* Stored form. */
void tar_split_store_raw(struct buf *b, struct str bytes);
void tar_split_store_file(struct buf *b, struct str path, uint64_t size);
enum tar_piece_type { TAR_PIECE_RAW, TAR_PIECE_FILE, TAR_PIECE_END, TAR_PIECE_BAD };
struct tar_piece {
	struct str bytes; /* raw bytes, or the path */
	uint64_t size;
};
/* Takes the next piece off *rest. */
enum tar_piece_type tar_split_next(struct str *rest, struct tar_piece *ret);

#endif
