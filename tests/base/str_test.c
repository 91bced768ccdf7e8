/* SPDX-License-Identifier: Apache-2.0 */
/* str_test.c - strings, checked numbers, UTF-8, buffers and arenas. */
#include "base/str.h"

#include "../cases.h"

#include <math.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

static const struct number_case {
	const char *name;
	struct str in;
	bool i64_ok, u64_ok;
	int64_t i64;
} number_cases[] = {
	{ "zero", S_INIT("0"), true, true, 0 },
	{ "plain", S_INIT("123"), true, true, 123 },
	{ "negative", S_INIT("-123"), true, false, -123 },
	{ "plus", S_INIT("+5"), true, false, 5 },
	{ "largest", S_INIT("9223372036854775807"), true, true, INT64_MAX },
	{ "smallest", S_INIT("-9223372036854775808"), true, false, INT64_MIN },
	{ "one too many", S_INIT("9223372036854775808"), false, true, 0 },
	{ "one too few", S_INIT("-9223372036854775809"), false, false, 0 },
	{ "beyond uint64", S_INIT("18446744073709551616"), false, false, 0 },
	{ "nothing", S_INIT(""), false, false, 0 },
	{ "sign alone", S_INIT("-"), false, false, 0 },
	{ "blank", S_INIT(" 1"), false, false, 0 },
	{ "letter", S_INIT("1a"), false, false, 0 },
	{ "two signs", S_INIT("--1"), false, false, 0 },
};

static void test_number(void **state) {
	const struct number_case *c = *state;
	int64_t i = 42;
	uint64_t u = 42;
	assert_int_equal(str_to_i64(c->in, &i), c->i64_ok);
	assert_true(i == (c->i64_ok ? c->i64 : 42));
	assert_int_equal(str_to_u64(c->in, &u), c->u64_ok);
	assert_true(c->u64_ok || u == 42);
}

static const struct utf8_case {
	const char *name;
	struct str in;
	bool valid;
} utf8_cases[] = {
	{ "nothing", S_INIT(""), true },
	{ "ASCII", S_INIT("abcdefghijkl"), true },
	{ "two, three, four bytes", S_INIT("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), true },
	{ "the last character", S_INIT("\xf4\x8f\xbf\xbf"), true },
	{ "beyond the last", S_INIT("\xf4\x90\x80\x80"), false },
	{ "continuation alone", S_INIT("a\x80"), false },
	{ "cut off", S_INIT("abcdefgh\xe2\x82"), false },
	{ "overlong slash", S_INIT("\xc0\xaf"), false },
	{ "overlong of three", S_INIT("\xe0\x9f\xbf"), false },
	{ "overlong of four", S_INIT("\xf0\x8f\xbf\xbf"), false },
	{ "surrogate", S_INIT("\xed\xa0\x80"), false },
	{ "the last before the surrogates", S_INIT("\xed\x9f\xbf"), true },
	{ "five bytes", S_INIT("\xf8\x88\x80\x80\x80"), false },
	{ "0xff", S_INIT("\xff"), false },
};

static void test_utf8(void **state) {
	const struct utf8_case *c = *state;
	assert_int_equal(utf8_valid(c->in), c->valid);
}

static void test_pieces(void **state) {
	struct str head, tail, rest = S("a,b,,c"), piece;
	assert_true(str_cut(S("k=v=w"), '=', &head, &tail));
	assert_str(head, S("k"));
	assert_str(tail, S("v=w"));
	assert_false(str_cut(S("kv"), '=', &head, &tail));
	assert_str(head, S("kv"));
	assert_str(tail, S(""));
	const char *want[] = { "a", "b", "", "c" };
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_true(str_next(&rest, ',', &piece));
		assert_str(piece, str_c(want[i]));
	}
	assert_false(str_next(&rest, ',', &piece));
	rest = S("a,");
	assert_true(str_next(&rest, ',', &piece) && str_next(&rest, ',', &piece));
	assert_str(piece, S(""));
	assert_false(str_next(&rest, ',', &piece));
	assert_str(str_trim(S(" \t a b \r\n")), S("a b"));
	assert_str(str_trim(S("  ")), S(""));
	assert_str(str_sub(S("abc"), 1, 9), S("bc"));
	assert_str(str_sub(S("abc"), 5, 2), S(""));
	assert_str(str_from(S("abc"), 4), S(""));
}

static void test_compare(void **state) {
	assert_true(str_cmp(S("a"), S("b")) < 0);
	assert_true(str_cmp(S("a"), S("a\0")) < 0);
	assert_true(str_cmp(S("\xff"), S("a")) > 0);
	assert_int_equal(str_cmp((struct str){ 0 }, S("")), 0);
	assert_true(str_case_eq(S("Content-TYPE"), S("content-type")));
	assert_false(str_case_eq(S("a[b"), S("a{b")));
	assert_true(str_starts(S("abc"), S("ab")) && !str_starts(S("a"), S("ab")));
	assert_true(str_ends(S("abc"), S("bc")) && !str_ends(S("c"), S("bc")));
	assert_int_equal(str_find(S("abcbc"), S("bc")), 1);
	assert_int_equal(str_find(S("abc"), S("x")), -1);
	assert_int_equal(str_rindex(S("a/b/c"), '/'), 3);
	assert_true(str_contains(S("abc"), S("")));
	double d;
	assert_true(str_to_double(S("1.5e3"), &d) && d == 1500);
	assert_false(str_to_double(S("1.5x"), &d));
	int i = 7;
	assert_true(str_to_int(S("80"), 1, 65535, &i) && i == 80);
	assert_false(str_to_int(S("65536"), 1, 65535, &i));
	assert_int_equal(i, 80);
}

static void test_buf(void **state) {
	auto_buf struct buf b = BUF_INIT(10);
	assert_true(buf_c(&b, "12345"));
	assert_false(buf_c(&b, "678901"));
	assert_true(b.overflow);
	assert_false(buf_char(&b, 'x')); /* it stays failed, with what it had */
	assert_str(buf_view(&b), S("12345"));
	buf_clear(&b);
	assert_true(buf_printf(&b, "%s-%d", "ab", 12) && buf_i64(&b, -9));
	assert_str(buf_view(&b), S("ab-12-9"));
	assert_string_equal(buf_cstr(&b), "ab-12-9");
	buf_drop(&b, 3);
	assert_str(buf_view(&b), S("12-9"));
	auto_buf struct buf wide = { 0 };
	assert_true(buf_i64(&wide, INT64_MIN) && buf_i64(&wide, INT64_MAX));
	assert_str(buf_view(&wide), S("-92233720368547758089223372036854775807"));
	buf_clear(&wide);
	assert_true(buf_printf(&wide, "%0300d", 1));
	assert_int_equal(wide.len, 300);
	auto_buf struct buf nothing = { 0 };
	assert_string_equal(buf_cstr(&nothing), "");
}

static void test_arena(void **state) {
	auto_arena struct arena a = { 0 };
	char *blocks[2000];
	for (size_t i = 0; i < ARRAY_LEN(blocks); i++) { /* of all sizes: none may lie over another */
		size_t bytes = i * 37 % 9000;
		blocks[i] = arena_alloc(&a, bytes);
		assert_int_equal((uintptr_t)blocks[i] % 8, 0);
		memset(blocks[i], (int)i, bytes);
	}
	for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
		for (size_t n = 0; n < i * 37 % 9000; n++) {
			assert_int_equal((unsigned char)blocks[i][n], (unsigned char)i);
		}
	}
	arena_clear(&a);
	assert_int_equal(a.bytes, 0);
	assert_str(arena_printf(&a, "%s=%d", "a", 5), S("a=5"));
	assert_int_equal(arena_printf(&a, "%0500d", 5).len, 500);
	assert_str(arena_join(&a, (struct str[]){ S("a"), S(""), S("c") }, 3, S(", ")), S("a, , c"));
	assert_str(arena_join(&a, NULL, 0, S(",")), S(""));
	assert_string_equal(arena_cstr(&a, S("abc")), "abc");
	int *zeros = arena_array(&a, int, 100);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(zeros[i], 0);
	}
}

static void test_err(void **state) {
	struct err err = { 0 };
	assert_false(err_set(&err, ERR_NOT_FOUND, "pods \"%s\" not found", "a"));
	err_wrap(&err, "get pod");
	err_wrap(&err, "sync %d", 1);
	assert_string_equal(err.msg, "pods \"a\" not found");
	assert_string_equal(err.ctx, "sync 1: get pod");
	assert_int_equal(err_http(err.code), 404);
	assert_string_equal(err_reason(err.code), "NotFound");
	assert_int_equal(err_from_reason(S("AlreadyExists"), 409), ERR_ALREADY_EXISTS);
	assert_int_equal(err_from_reason(S(""), 409), ERR_ALREADY_EXISTS);
	assert_int_equal(err_from_reason(S("Unheard"), 404), ERR_NOT_FOUND);
	assert_int_equal(err_from_reason(S(""), 418), ERR_INTERNAL);
	err_clear(&err);
	assert_int_equal(err.code, ERR_NONE);
}

int main(void) {
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_buf),
		cmocka_unit_test(test_arena),
		cmocka_unit_test(test_err),
	};
	int failed = RUN_CASES("numbers", number_cases, test_number);
	failed += RUN_CASES("utf8", utf8_cases, test_utf8);
	return failed + cmocka_run_group_tests_name("str", others, NULL, NULL);
}
