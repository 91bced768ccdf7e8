/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_split.c - see tar_split.h. Computing only; runs in the child that unpacks. Whatever it is given, putting the
 * pieces together gives the same bytes: what it does not understand it passes on raw.
 *
 * Source: POSIX.1 pax interchange format; GNU tar's long names and base-256 numbers.
 */
#include "runtime/tar_split.h"

void tar_split_init(struct tar_split *t) {
	t->extension.max = TAR_EXTENSION_MAX;
	t->long_path.max = TAR_PATH_MAX;
}

void tar_split_release(struct tar_split *t) {
	buf_release(&t->extension);
	buf_release(&t->long_path);
}

/* A number field: octal text, or base-256 when the first bit is set. */
static bool number(const unsigned char *p, size_t len, uint64_t *ret) {
	uint64_t n = 0;
	size_t i = 0;
	if (p[0] & 0x80) {
		if (p[0] != 0x80) {
			return false; /* negative, or beyond 64 bits */
		}
		for (i = 1; i < len; i++) {
			if (n >> 55) {
				return false;
			}
			n = n << 8 | p[i];
		}
		*ret = n;
		return true;
	}
	while (i < len && p[i] == ' ') {
		i++;
	}
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++) {
		if (n >> 60) {
			return false;
		}
		n = n << 3 | (uint64_t)(p[i] - '0');
	}
	if (i < len && p[i] != ' ' && p[i] != 0) {
		return false;
	}
	*ret = n;
	return true;
}

static bool checksum_fits(const unsigned char *h) {
	uint64_t said, sum = 0;
	for (int i = 0; i < TAR_BLOCK; i++) {
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	}
	return number(h + 148, 8, &said) && said == sum;
}

static bool all_zero(const unsigned char *h) {
	for (int i = 0; i < TAR_BLOCK; i++) {
		if (h[i]) {
			return false;
		}
	}
	return true;
}

static uint64_t padded(uint64_t n) {
	return (n + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

static struct str field(const unsigned char *p, size_t max) {
	return (struct str){ (const char *)p, strnlen((const char *)p, max) };
}

static bool path_set(struct buf *b, struct str path) {
	buf_clear(b);
	return buf_str(b, path);
}

/* "LEN key=value\n", repeated. */
static void pax_read(struct tar_split *t) {
	struct str rest = buf_view(&t->extension);
	while (rest.len) {
		struct str head, tail, key, value;
		uint64_t len;
		if (!str_cut(rest, ' ', &head, &tail) || !str_to_u64(head, &len) || len <= head.len + 1 || len > rest.len) {
			return;
		}
		struct str record = str_sub(rest, head.len + 1, len);
		rest = str_from(rest, len);
		if (record.len && record.ptr[record.len - 1] == '\n') {
			record.len--;
		}
		if (!str_cut(record, '=', &key, &value)) {
			continue;
		}
		if (str_eq(key, S("path"))) {
			(void)path_set(&t->long_path, value);
		} else if (str_eq(key, S("size"))) {
			t->long_size_set = str_to_u64(value, &t->long_size);
		}
	}
}

static void extension_end(struct tar_split *t) {
	if (t->extension_type == 'x') {
		pax_read(t);
	} else if (!t->extension.overflow) {
		struct str s = buf_view(&t->extension);
		(void)path_set(&t->long_path, field((const unsigned char *)s.ptr, s.len));
	}
	buf_clear(&t->extension);
}

static struct str header_path(struct tar_split *t, const unsigned char *h, struct buf *room) {
	if (t->long_path.len) {
		return buf_view(&t->long_path);
	}
	if (memcmp(h + 257, "ustar", 5) == 0 && h[345] && memcmp(h + 257, "ustar  ", 7) != 0) {
		buf_str(room, field(h + 345, 155));
		buf_char(room, '/');
	}
	buf_str(room, field(h, 100));
	return buf_view(room);
}

static void header(struct tar_split *t) {
	const unsigned char *h = t->block;
	uint64_t size;

	t->raw(t->arg, (struct str){ (const char *)h, TAR_BLOCK });
	if (all_zero(h) || !checksum_fits(h) || !number(h + 124, 12, &size)) {
		t->ended = true;
		return;
	}
	char type = (char)h[156];
	if (type == 'x' || type == 'L') {
		t->extension_type = type;
		t->collect = size;
		t->pass = padded(size);
		return;
	}
	if (type == 'g' || type == 'K') {
		t->pass = padded(size);
		return;
	}
	if (t->long_size_set) {
		size = t->long_size;
	}
	if (size > (uint64_t)1 << 62) {
		t->ended = true;
		return;
	}
	bool regular = type == '0' || type == 0 || type == '7';
	bool bare = type == '1' || type == '2' || type == '3' || type == '4' || type == '5' || type == '6';
	if (regular && size) {
		auto_buf struct buf room = BUF_INIT(TAR_PATH_MAX);
		struct str path = header_path(t, h, &room);
		t->file(t->arg, path, size);
		t->skip = size;
		t->pass = padded(size) - size;
	} else if (!bare) {
		t->pass = padded(size);
	}
	buf_clear(&t->long_path);
	t->long_size_set = false;
}

void tar_split_add(struct tar_split *t, struct str in) {
	while (in.len) {
		if (t->skip) {
			size_t n = (size_t)MIN(t->skip, (uint64_t)in.len);
			t->skip -= n;
			in = str_from(in, n);
		} else if (t->ended) {
			t->raw(t->arg, in);
			return;
		} else if (t->pass) {
			size_t n = (size_t)MIN(t->pass, (uint64_t)in.len);
			if (t->collect) {
				size_t keep = (size_t)MIN(t->collect, (uint64_t)n);
				(void)buf_add(&t->extension, in.ptr, keep);
				t->collect -= keep;
			}
			t->raw(t->arg, str_sub(in, 0, n));
			t->pass -= n;
			in = str_from(in, n);
			if (!t->pass && t->extension_type) {
				extension_end(t);
				t->extension_type = 0;
			}
		} else {
			size_t n = MIN((size_t)TAR_BLOCK - t->block_len, in.len);
			memcpy(t->block + t->block_len, in.ptr, n);
			t->block_len += n;
			in = str_from(in, n);
			if (t->block_len == TAR_BLOCK) {
				t->block_len = 0;
				header(t);
			}
		}
	}
}

void tar_split_end(struct tar_split *t) {
	if (t->block_len) {
		t->raw(t->arg, (struct str){ (const char *)t->block, t->block_len });
		t->block_len = 0;
	}
}

/* ---- the stored form --------------------------------------------------------------------------- */

static void put_number(struct buf *b, uint64_t n, size_t bytes) {
	for (size_t i = 0; i < bytes; i++) {
		buf_char(b, (char)(n >> (8 * i)));
	}
}

static uint64_t take_number(struct str *s, size_t bytes) {
	uint64_t n = 0;
	for (size_t i = 0; i < bytes; i++) {
		n |= (uint64_t)(unsigned char)s->ptr[i] << (8 * i);
	}
	*s = str_from(*s, bytes);
	return n;
}

void tar_split_store_raw(struct buf *b, struct str bytes) {
	buf_char(b, 'R');
	put_number(b, bytes.len, 4);
	buf_str(b, bytes);
}

void tar_split_store_file(struct buf *b, struct str path, uint64_t size) {
	buf_char(b, 'F');
	put_number(b, size, 8);
	put_number(b, path.len, 4);
	buf_str(b, path);
}

enum tar_piece_type tar_split_next(struct str *rest, struct tar_piece *ret) {
	struct str s = *rest;
	if (!s.len) {
		return TAR_PIECE_END;
	}
	char type = s.ptr[0];
	s = str_from(s, 1);
	if ((type != 'R' && type != 'F') || s.len < (type == 'F' ? 12 : 4)) {
		return TAR_PIECE_BAD;
	}
	uint64_t size = type == 'F' ? take_number(&s, 8) : 0;
	uint64_t len = take_number(&s, 4);
	if (len > s.len) {
		return TAR_PIECE_BAD;
	}
	*ret = (struct tar_piece){ str_sub(s, 0, len), size };
	*rest = str_from(s, len);
	return type == 'F' ? TAR_PIECE_FILE : TAR_PIECE_RAW;
}
