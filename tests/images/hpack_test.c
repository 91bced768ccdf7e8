/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hpack_test.c - the header decoder against the examples of RFC 7541 and against nghttp2's encoder.
 */
#include "../../images/testserver/hpack.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void collect(void *arg, struct str name, struct str value) {
	buf_addf(arg, "%.*s: ", STR_ARG(name));
	buf_add(arg, value);
	buf_add(arg, S("\n"));
}

/* RFC 7541 appendix C.4: three requests over one connection, Huffman-coded. */
static const struct {
	struct str block;
	const char *want;
} rfc_c4[] = {
	{ S("\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"),
		":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n" },
	{ S("\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf"),
		":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n" },
	{ S("\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"),
		":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n" },
};

static void test_rfc(void **state) {
	struct hpack h = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(rfc_c4); i++) {
		auto_buf struct buf got = { 0 };

		assert_true(hpack_decode(&h, rfc_c4[i].block, collect, &got));
		assert_string_equal(got.ptr, rfc_c4[i].want);
	}
	assert_int_equal(h.entries_len, 3);
	assert_int_equal(h.bytes, 164); /* C.4.3 */
	hpack_release(&h);
}

static const struct bad_case {
	const char *name;
	struct str block;
} bad_cases[] = {
	{ "index 0", S("\x80") },
	{ "index beyond the tables", S("\xbe") },
	{ "name index beyond the tables", S("\x7f\x00\x01x") },
	{ "integer without end", S("\xff\xff\xff\xff\xff\xff\x01") },
	{ "integer cut off", S("\xff\x80") },
	{ "string beyond the block", S("\x40\x05xx") },
	{ "no value", S("\x40\x01x") },
	{ "padding of zeros", S("\x40\x01x\x81\x00") },
	{ "padding of a whole byte", S("\x40\x01x\x82\x1f\xff") },
	{ "end of string symbol", S("\x40\x01x\x84\xff\xff\xff\xff") },
	{ "table larger than allowed", S("\x3f\xe2\x1f") },
	{ "size change behind a field", S("\x82\x20") },
};

static void test_bad(void **state) {
	const struct bad_case *c = *state;
	auto_buf struct buf got = { 0 };
	struct hpack h = { 0 };

	assert_false(hpack_decode(&h, c->block, collect, &got));
	hpack_release(&h);
}

/* Many blocks of one connection, with all byte values and with table changes, as a real encoder makes them. */
static void test_nghttp2(void **state) {
	nghttp2_hd_deflater *deflater = NULL;
	struct hpack h = { 0 };
	unsigned seed = 7;

	assert_int_equal(nghttp2_hd_deflate_new(&deflater, HPACK_TABLE_BYTES_MAX), 0);
	for (int round = 0; round < 500; round++) {
		auto_buf struct buf want = { 0 }, got = { 0 };
		char names[8][40], values[8][400];
		uint8_t out[16384];
		nghttp2_nv nv[8];
		ssize_t len;

		if (round % 50 == 49) {
			assert_int_equal(nghttp2_hd_deflate_change_table_size(deflater, (size_t)(round * 37) % (HPACK_TABLE_BYTES_MAX + 1)), 0);
		}
		for (size_t i = 0; i < 8; i++) {
			int name_len = snprintf(names[i], sizeof(names[i]), "x-name-%u", (unsigned)rand_r(&seed) % 40);
			size_t value_len = (size_t)rand_r(&seed) % (i == 0 ? sizeof(values[i]) : 30);

			for (size_t j = 0; j < value_len; j++) {
				values[i][j] = (char)(round % 2 ? rand_r(&seed) : 'a' + rand_r(&seed) % 3);
			}
			nv[i] = (nghttp2_nv){ (uint8_t *)names[i], (uint8_t *)values[i], (size_t)name_len, value_len, NGHTTP2_NV_FLAG_NONE };
			collect(&want, (struct str){ names[i], (size_t)name_len }, (struct str){ values[i], value_len });
		}
		len = nghttp2_hd_deflate_hd(deflater, out, sizeof(out), nv, ARRAY_LEN(nv));
		assert_true(len > 0);
		assert_true(hpack_decode(&h, (struct str){ (char *)out, (size_t)len }, collect, &got));
		assert_int_equal(got.len, want.len);
		assert_memory_equal(got.ptr, want.ptr, want.len);
		assert_int_equal(h.entries_len, nghttp2_hd_deflate_get_num_table_entries(deflater) - 61);
	}
	nghttp2_hd_deflate_del(deflater);
	hpack_release(&h);
}

static void test_bomb(void **state) {
	auto_buf struct buf block = { 0 }, got = { 0 };
	struct hpack h = { 0 };

	/* One long entry, named again and again: small on the wire, large in memory. */
	buf_add(&block, S("\x40\x01x\x7f\xa1\x1e")); /* 4000 bytes */
	for (int i = 0; i < 4000; i++) {
		buf_add(&block, S("v"));
	}
	for (int i = 0; i < 100; i++) {
		buf_add(&block, S("\xbe"));
	}
	assert_false(hpack_decode(&h, buf_str(&block), collect, &got));
	assert_true(got.len <= HPACK_LIST_BYTES_MAX);
	hpack_release(&h);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(bad_cases) + 3] = {
		cmocka_unit_test(test_rfc),
		cmocka_unit_test(test_nghttp2),
		cmocka_unit_test(test_bomb),
	};

	for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
		tests[i + 3] = (struct CMUnitTest){ .name = bad_cases[i].name, .test_func = test_bad, .initial_state = (void *)&bad_cases[i] };
	}
	return cmocka_run_group_tests_name("hpack", tests, NULL, NULL);
}
