/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.h - the confined child that unpacks archives. Private to the room.
 *
 * Started as this program again, argv[0] RUNTIME_UNPACK. Descriptors: 0 the archive's bytes as they came,
 * UNPACK_RESULT one line of JSON at the end, UNPACK_DIR the empty folder to unpack into, UNPACK_SPLIT (layers
 * only) what the tar holds beside file contents.
 * Answer: {"diffId": "sha256:...", "bytes": N, "inodes": N} or {"error": "..."}.
 */
#ifndef RUNTIME_UNPACK_H
#define RUNTIME_UNPACK_H

#define RUNTIME_UNPACK "coracle-unpack"
enum { UNPACK_RESULT = 3, UNPACK_DIR = 4, UNPACK_SPLIT = 5 };

/* argv: RUNTIME_UNPACK, "layer" or "archive", most bytes to write, most entries. */
int unpack_main(int argc, char **argv);

#endif
