/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime_tar_split.c - whatever comes, and however it is cut, taking it apart and putting it together again gives the same
 * bytes; reading a stored outline never goes past its end.
 */
#include "runtime/tar_split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_raw(void *arg, struct str bytes) {
	tar_split_store_raw(arg, bytes);
}

static void on_file(void *arg, struct str path, uint64_t size) {
	tar_split_store_file(arg, path, size);
}

static void outline_read(struct str stored) {
	struct tar_piece p;
	enum tar_piece_type t;
	while ((t = tar_split_next(&stored, &p)) == TAR_PIECE_RAW || t == TAR_PIECE_FILE) {
		assert(p.bytes.len <= stored.len + p.bytes.len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_buf struct buf stored = { 0 }, again = { 0 };
	struct str in = { (const char *)data, size };
	size_t step = size ? 1 + data[0] * 3u : 1;
	struct tar_split t = { .raw = on_raw, .file = on_file, .arg = &stored };
	struct tar_piece p;
	enum tar_piece_type type;

	tar_split_init(&t);
	for (size_t i = 0; i < in.len; i += step) {
		tar_split_add(&t, str_sub(in, i, i + step));
	}
	tar_split_end(&t);
	tar_split_release(&t);
	struct str rest = buf_view(&stored);
	while ((type = tar_split_next(&rest, &p)) == TAR_PIECE_RAW || type == TAR_PIECE_FILE) {
		if (type == TAR_PIECE_RAW) {
			buf_str(&again, p.bytes);
		} else {
			buf_str(&again, str_sub(in, again.len, again.len + MIN(p.size, (uint64_t)in.len)));
		}
	}
	assert(type == TAR_PIECE_END && str_eq(buf_view(&again), in));
	outline_read(in);
	return 0;
}
