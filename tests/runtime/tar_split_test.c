/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_split_test.c - a tar that was taken apart is put together again byte by byte, however it is cut on the way, and its
 * files are recognised under the names that tar gives them. The archives are made by hand, in the forms that tar,
 * bsdtar and Go's archive/tar write.
 */
#include "runtime/tar_split.h"

#include "../cases.h"

/* ---- making archives ----------------------------------------------------------------------------- */

static void header_add(struct buf *b, const char *name, char type, uint64_t size, const char *prefix) {
	char h[TAR_BLOCK] = { 0 };
	unsigned sum = 0;
	memcpy(h, name, MIN(strlen(name), (size_t)100));
	memcpy(h + 100, "0000644", 7);
	memcpy(h + 108, "0000000", 7);
	memcpy(h + 116, "0000000", 7);
	if (size < (uint64_t)1 << 33) {
		snprintf(h + 124, 12, "%011llo", (unsigned long long)size);
	} else {
		h[124] = (char)0x80;
		for (int i = 0; i < 8; i++) {
			h[135 - i] = (char)(size >> (8 * i));
		}
	}
	memcpy(h + 136, "00000000000", 11);
	h[156] = type;
	memcpy(h + 257, "ustar\0" "00", 8);
	if (prefix) {
		memcpy(h + 345, prefix, strlen(prefix));
	}
	memset(h + 148, ' ', 8);
	for (int i = 0; i < TAR_BLOCK; i++) {
		sum += (unsigned char)h[i];
	}
	snprintf(h + 148, 8, "%06o", sum);
	buf_add(b, h, TAR_BLOCK);
}

static void content_add(struct buf *b, struct str s) {
	static const char zero[TAR_BLOCK];
	buf_str(b, s);
	buf_add(b, zero, (TAR_BLOCK - s.len % TAR_BLOCK) % TAR_BLOCK);
}

static void entry_add(struct buf *b, const char *name, char type, struct str content) {
	header_add(b, name, type, content.len, NULL);
	content_add(b, content);
}

static void end_add(struct buf *b) {
	static const char zero[2 * TAR_BLOCK];
	buf_add(b, zero, sizeof(zero));
}

/* ---- taking apart and putting together ------------------------------------------------------------- */

struct seen {
	struct buf stored, names;
};

static void on_raw(void *arg, struct str bytes) {
	struct seen *s = arg;
	tar_split_store_raw(&s->stored, bytes);
}

static void on_file(void *arg, struct str path, uint64_t size) {
	struct seen *s = arg;
	tar_split_store_file(&s->stored, path, size);
	buf_printf(&s->names, "%.*s %llu\n", STR_ARG(path), (unsigned long long)size);
}

static void split(struct str tar, size_t step, struct seen *s) {
	struct tar_split t = { .raw = on_raw, .file = on_file, .arg = s };
	tar_split_init(&t);
	for (size_t i = 0; i < tar.len; i += step) {
		tar_split_add(&t, str_sub(tar, i, i + step));
	}
	tar_split_end(&t);
	tar_split_release(&t);
}

/* File contents are taken from the archive itself: everything that is not raw, in order. */
static void check(struct buf *tar, const char *names) {
	static const size_t steps[] = { 1, 7, 511, 512, 513, 4096, 1 << 20 };
	struct str in = buf_view(tar);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct seen s = { 0 };
		auto_buf struct buf again = { 0 };
		struct tar_piece p;
		enum tar_piece_type type;
		split(in, steps[i], &s);
		assert_str(buf_view(&s.names), str_c(names));
		struct str rest = buf_view(&s.stored);
		while ((type = tar_split_next(&rest, &p)) == TAR_PIECE_RAW || type == TAR_PIECE_FILE) {
			if (type == TAR_PIECE_RAW) {
				buf_str(&again, p.bytes);
			} else {
				buf_str(&again, str_sub(in, again.len, again.len + p.size));
			}
		}
		assert_int_equal(type, TAR_PIECE_END);
		assert_true(str_eq(buf_view(&again), in));
		buf_release(&s.stored);
		buf_release(&s.names);
	}
}

static void test_plain(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "d/", '5', S(""));
	entry_add(&b, "d/one", '0', S("hello"));
	entry_add(&b, "empty", '0', S(""));
	entry_add(&b, "old", 0, S("from V7 tar"));
	entry_add(&b, "link", '2', S(""));
	entry_add(&b, "hard", '1', S(""));
	entry_add(&b, "contiguous", '7', S("x"));
	end_add(&b);
	check(&b, "d/one 5\nold 11\ncontiguous 1\n");
}

static void test_prefix(void **state) {
	auto_buf struct buf b = { 0 };
	header_add(&b, "name", '0', 3, "some/prefix");
	content_add(&b, S("abc"));
	end_add(&b);
	check(&b, "some/prefix/name 3\n");
}

static void test_gnu_long_name(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "././@LongLink", 'L', S("a/very/long/name\0"));
	entry_add(&b, "a/very/lo", '0', S("data"));
	entry_add(&b, "next", '0', S("n"));
	end_add(&b);
	check(&b, "a/very/long/name 4\nnext 1\n");
}

static void test_gnu_long_link_target(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "././@LongLink", 'K', S("a/target\0"));
	entry_add(&b, "l", '2', S(""));
	entry_add(&b, "f", '0', S("x"));
	end_add(&b);
	check(&b, "f 1\n");
}

static void test_pax(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "global", 'g', S("19 comment=whatever\n"));
	entry_add(&b, "PaxHeaders/x", 'x', S("16 path=pax/name\n11 mtime=1\n"));
	entry_add(&b, "short", '0', S("12345"));
	/* The header's size is 0, the extended one counts. */
	entry_add(&b, "PaxHeaders/y", 'x', S("10 size=4\n"));
	header_add(&b, "big", '0', 0, NULL);
	content_add(&b, S("wxyz"));
	entry_add(&b, "after", '0', S("1"));
	end_add(&b);
	check(&b, "pax/name 5\nbig 4\nafter 1\n");
}

static void test_pax_that_lies(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "p", 'x', S("999 path=x\n"));
	entry_add(&b, "a", '0', S("1"));
	entry_add(&b, "p", 'x', S("path=x\n"));
	entry_add(&b, "b", '0', S("1"));
	entry_add(&b, "p", 'x', S("3 \n"));
	entry_add(&b, "c", '0', S("1"));
	end_add(&b);
	check(&b, "a 1\nb 1\nc 1\n");
}

static void test_sparse_is_raw(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "sparse", 'S', S("chunks"));
	entry_add(&b, "f", '0', S("x"));
	end_add(&b);
	check(&b, "f 1\n");
}

static void test_trailing_bytes(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "f", '0', S("x"));
	end_add(&b);
	buf_c(&b, "bytes after the end mark, and no whole block of them");
	check(&b, "f 1\n");
}

static void test_cut(void **state) {
	auto_buf struct buf b = { 0 };
	entry_add(&b, "f", '0', S("x"));
	buf_c(&b, "half a header");
	check(&b, "f 1\n");
}

static void test_garbage_is_raw(void **state) {
	auto_buf struct buf b = { 0 };
	for (int i = 0; i < 3000; i++) {
		buf_char(&b, (char)(i * 7 + i / 13));
	}
	check(&b, "");
}

static void test_damaged_outline(void **state) {
	static const struct str rows[] = { S_INIT("X"), S_INIT("R"), S_INIT("R\5\0\0"), S_INIT("R\5\0\0\0abcd"), S_INIT("F\1\0\0\0\0\0\0\0\2\0\0\0a") };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str rest = rows[i];
		struct tar_piece p;
		assert_int_equal(tar_split_next(&rest, &p), TAR_PIECE_BAD);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_gnu_long_name),
		cmocka_unit_test(test_gnu_long_link_target),
		cmocka_unit_test(test_pax),
		cmocka_unit_test(test_pax_that_lies),
		cmocka_unit_test(test_sparse_is_raw),
		cmocka_unit_test(test_trailing_bytes),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_garbage_is_raw),
		cmocka_unit_test(test_damaged_outline),
	};
	return cmocka_run_group_tests_name("tar_split", tests, NULL, NULL);
}
