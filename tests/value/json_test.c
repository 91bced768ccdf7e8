/* SPDX-License-Identifier: Apache-2.0 */
/* json_test.c - parsing and printing JSON as Go's encoding/json does; the published JSONTestSuite. */
#include "value/value.h"

#include "../cases.h"

#include <dirent.h>
#include <math.h>

#include "base/file.h"

/* Error texts as encoding/json of Go 1.22 gives them. */
static const struct error_case {
	const char *name;
	struct str in;
	const char *msg;
} error_cases[] = {
	{ "nothing", S_INIT(""), "unexpected end of JSON input" },
	{ "white space", S_INIT(" \n"), "unexpected end of JSON input" },
	{ "open object", S_INIT("{"), "unexpected end of JSON input" },
	{ "trailing comma", S_INIT("{\"a\":1,}"), "invalid character '}' looking for beginning of object key string" },
	{ "comma for a key", S_INIT("{,"), "invalid character ',' looking for beginning of object key string" },
	{ "no colon", S_INIT("{\"a\" 1}"), "invalid character '1' after object key" },
	{ "no comma in an object", S_INIT("{\"a\":1 \"b\":2}"), "invalid character '\"' after object key:value pair" },
	{ "no comma in an array", S_INIT("[1 2]"), "invalid character '2' after array element" },
	{ "array ends with a comma", S_INIT("[1,]"), "invalid character ']' looking for beginning of value" },
	{ "two documents", S_INIT("{} {}"), "invalid character '{' after top-level value" },
	{ "a word", S_INIT("abc"), "invalid character 'a' looking for beginning of value" },
	{ "YAML", S_INIT("kind: Pod"), "invalid character 'k' looking for beginning of value" },
	{ "bad true", S_INIT("trup"), "invalid character 'p' in literal true (expecting 'e')" },
	{ "short true", S_INIT("tru"), "unexpected end of JSON input" },
	{ "bad null", S_INIT("[nul]"), "invalid character ']' in literal null (expecting 'l')" },
	{ "control character", S_INIT("\"a\x01\""), "invalid character '\\x01' in string literal" },
	{ "line feed", S_INIT("\"a\n\""), "invalid character '\\n' in string literal" },
	{ "bad escape", S_INIT("\"\\x\""), "invalid character 'x' in string escape code" },
	{ "bad \\u", S_INIT("\"\\u12g4\""), "invalid character 'g' in \\u hexadecimal character escape" },
	{ "minus alone", S_INIT("-"), "unexpected end of JSON input" },
	{ "minus and a letter", S_INIT("-a"), "invalid character 'a' in numeric literal" },
	{ "point without digits", S_INIT("1.x"), "invalid character 'x' after decimal point in numeric literal" },
	{ "exponent without digits", S_INIT("1ex"), "invalid character 'x' in exponent of numeric literal" },
	{ "leading zero", S_INIT("01"), "invalid character '1' after top-level value" },
	{ "out of range", S_INIT("1e999"), "json: cannot unmarshal number 1e999 into Go value of type float64" },
	{ "quote", S_INIT("'"), "invalid character '\\'' looking for beginning of value" },
	{ "zero byte", S_INIT("[\0]"), "invalid character '\\x00' looking for beginning of value" },
	{ "a byte that is not ASCII", S_INIT("\xef\xbb\xbf{}"), "invalid character '\xc3\xaf' looking for beginning of value" },
	{ "a byte of Latin-1 that cannot be printed", S_INIT("\x85"), "invalid character '\\u0085' looking for beginning of value" },
};

static void test_error(void **state) {
	const struct error_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v = NULL;
	assert_false(json_parse(&a, c->in, NULL, &v, &err));
	assert_string_equal(err.msg, c->msg);
	assert_int_equal(err.code, ERR_BAD_REQUEST);
	assert_null(v);
}

/* What comes out is what Go prints for what it read. */
static const struct again_case {
	const char *name;
	struct str in, out;
} again_cases[] = {
	{ "null", S_INIT("null"), S_INIT("null") },
	{ "booleans", S_INIT("[true , false]"), S_INIT("[true,false]") },
	{ "integers", S_INIT("[0,-1,9223372036854775807,-9223372036854775808]"), S_INIT("[0,-1,9223372036854775807,-9223372036854775808]") },
	{ "beyond int64", S_INIT("[9223372036854775808,18446744073709551616,-9223372036854775809]"), S_INIT("[9223372036854776000,18446744073709552000,-9223372036854776000]") },
	{ "minus zero is an integer", S_INIT("-0"), S_INIT("0") },
	{ "minus zero is a float", S_INIT("-0.0"), S_INIT("-0") },
	{ "whole float", S_INIT("[1.0,100e-2,1E3]"), S_INIT("[1,1,1000]") },
	{ "float", S_INIT("[0.1,1.5,3.141592653589793,100000.25]"), S_INIT("[0.1,1.5,3.141592653589793,100000.25]") },
	{ "large floats", S_INIT("[1e20,1e21,1.5e300]"), S_INIT("[100000000000000000000,1e+21,1.5e+300]") },
	{ "small floats", S_INIT("[0.000001,0.0000001,1.5e-9,1e-10]"), S_INIT("[0.000001,1e-7,1.5e-9,1e-10]") },
	{ "17 digits", S_INIT("[0.30000000000000004,5e-324,1.7976931348623157e308]"), S_INIT("[0.30000000000000004,5e-324,1.7976931348623157e+308]") },
	{ "long mantissa", S_INIT("0.1000000000000000055511151231257827021181583404541015625"), S_INIT("0.1") },
	{ "16 digits", S_INIT("[9007199254740993.0,123456789.12345678]"), S_INIT("[9007199254740992,123456789.12345678]") },
	{ "escapes", S_INIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\""), S_INIT("\"\\\"\\\\/\\b\\f\\n\\r\\tA\"") },
	{ "other controls", S_INIT("\"\\u0000\\u001f\\u007f\""), S_INIT("\"\\u0000\\u001f\x7f\"") },
	{ "HTML", S_INIT("\"<a>&</a>\""), S_INIT("\"\\u003ca\\u003e\\u0026\\u003c/a\\u003e\"") },
	{ "JavaScript's line ends", S_INIT("\"\xe2\x80\xa8\\u2029\xe2\x80\xaa\""), S_INIT("\"\\u2028\\u2029\xe2\x80\xaa\"") },
	{ "UTF-8", S_INIT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""), S_INIT("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"") },
	{ "surrogates", S_INIT("\"\\ud83d\\ude00\""), S_INIT("\"\xf0\x9f\x98\x80\"") },
	{ "half a pair", S_INIT("\"\\ud83d\\u0041\\ude00\\ud83d\""), S_INIT("\"\xef\xbf\xbd" "A\xef\xbf\xbd\xef\xbf\xbd\"") },
	{ "bad UTF-8", S_INIT("\"a\xff\xe2\x82" "b\xed\xa0\x80\""), S_INIT("\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"") },
	{ "empty containers", S_INIT("[{},[],\"\"]"), S_INIT("[{},[],\"\"]") },
	{ "order is kept", S_INIT("{\"z\":1,\"kind\":2,\"a\":3,\"apiVersion\":4}"), S_INIT("{\"z\":1,\"kind\":2,\"a\":3,\"apiVersion\":4}") },
	{ "empty key", S_INIT("{\"\":0}"), S_INIT("{\"\":0}") },
	{ "escaped key is known", S_INIT("{\"k\\u0069nd\":1}"), S_INIT("{\"kind\":1}") },
	{ "managed field", S_INIT("{\"f:spec\":{\".\":{},\"k:{\\\"name\\\":\\\"a\\\"}\":{},\"f:unheardOf\":{}}}"), S_INIT("{\"f:spec\":{\".\":{},\"k:{\\\"name\\\":\\\"a\\\"}\":{},\"f:unheardOf\":{}}}") },
	{ "the last duplicate wins", S_INIT("{\"a\":1,\"b\":2,\"a\":3,\"kind\":4,\"kind\":5}"), S_INIT("{\"b\":2,\"a\":3,\"kind\":5}") },
	{ "eight and more plain bytes", S_INIT("\"abcdefgh\\\"ijklmnopqrstuvwx<yz01234567\""), S_INIT("\"abcdefgh\\\"ijklmnopqrstuvwx\\u003cyz01234567\"") },
};

static void test_again(void **state) {
	const struct again_case *c = *state;
	for (int borrow = 0; borrow < 2; borrow++) {
		auto_arena struct arena a = { 0 };
		struct err err = { 0 };
		struct value *v;
		if (!json_parse(&a, c->in, &(struct json_opts){ .borrow = borrow }, &v, &err)) {
			fail_msg("%s", err.msg);
		}
		assert_str(json_text(&a, v), c->out);
		auto_obj struct obj *o = obj_freeze(v, 7);
		assert_str(obj_json(o), c->out);
		assert_true(value_eq(v, o->root));
	}
}

static void add_line(void *arg, struct str path) {
	buf_str(arg, path);
	buf_char(arg, '\n');
}

static const struct duplicate_case {
	const char *name;
	struct str in, paths;
} duplicate_cases[] = {
	{ "none", S_INIT("{\"a\":1,\"b\":{\"a\":1}}"), S_INIT("") },
	{ "at the root", S_INIT("{\"kind\":1,\"kind\":2,\"a\":1,\"a\":1,\"a\":1}"), S_INIT("kind\na\na\n") },
	{ "below", S_INIT("{\"spec\":{\"replicas\":1,\"replicas\":2}}"), S_INIT("spec.replicas\n") },
	{ "in an array", S_INIT("{\"items\":[{},{\"metadata\":{\"labels\":{\"x\":1,\"x\":2}}}]}"), S_INIT("items[1].metadata.labels.x\n") },
	{ "an object", S_INIT("{\"a\":{\"b\":1},\"a\":{\"b\":2,\"b\":3}}"), S_INIT("a\na.b\n") },
};

static void test_duplicate(void **state) {
	const struct duplicate_case *c = *state;
	auto_arena struct arena a = { 0 };
	auto_buf struct buf paths = { 0 };
	struct err err = { 0 };
	struct value *v;
	assert_true(json_parse(&a, c->in, &(struct json_opts){ .on_duplicate = add_line, .arg = &paths }, &v, &err));
	assert_str(buf_view(&paths), c->paths);
	assert_true(json_parse(&a, c->in, &(struct json_opts){ .on_duplicate = add_line, .arg = &paths, .allow_duplicates = true }, &v, &err));
	assert_str(buf_view(&paths), c->paths);
}

/* Many members take another way to find duplicates. */
static void test_many_members(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf in = { 0 }, paths = { 0 };
	struct err err = { 0 };
	struct value *v;
	buf_c(&in, "{");
	for (int i = 0; i < 5000; i++) {
		buf_printf(&in, "\"key%d\":%d,\"key%d\":%d,", i, i, i / 2 * 2, i);
	}
	buf_c(&in, "\"kind\":1}");
	assert_true(json_parse(&a, buf_view(&in), &(struct json_opts){ .on_duplicate = add_line, .arg = &paths }, &v, &err));
	assert_int_equal(value_len(v), 5001);
	for (int i = 0; i < 5000; i++) {
		struct str key = arena_printf(&a, "key%d", i);
		assert_int_equal(value_as_int(value_get_str(v, key)), i % 2 ? i : i + 1);
	}
	auto_obj struct obj *o = obj_freeze(v, 0);
	assert_int_equal(value_as_int(value_get_str(o->root, S("key4998"))), 4999);
	assert_int_equal(value_int_at(o->root, N_kind), 1);
	value_sort_keys(v);
	assert_true(value_eq(v, o->root));
}

static void test_depth(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf in = { 0 };
	struct err err = { 0 };
	struct value *v;
	for (int i = 0; i < 10000; i++) {
		buf_char(&in, '[');
	}
	size_t opened = in.len;
	for (int i = 0; i < 10000; i++) {
		buf_char(&in, ']');
	}
	assert_true(json_parse(&a, buf_view(&in), NULL, &v, &err));
	assert_str(json_text(&a, v), buf_view(&in));
	in.len = opened;
	buf_char(&in, '[');
	assert_false(json_parse(&a, buf_view(&in), NULL, &v, &err));
	assert_string_equal(err.msg, "exceeded max depth");
	assert_false(json_parse(&a, S("[[[0]]]"), &(struct json_opts){ .depth_max = 2 }, &v, &err));
	assert_true(json_parse(&a, S("[[0]]"), &(struct json_opts){ .depth_max = 2 }, &v, &err));
}

/* A writer that reaches the ceiling says so, wherever that is. */
static void test_ceiling(void **state) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v;
	struct str in = S("{\"kind\":\"a\\\"<>b\",\"x\":[1,2.5,true,null,\"\xc3\xa9\"],\"y\":{}}");
	assert_true(json_parse(&a, in, NULL, &v, &err));
	size_t whole = json_text(&a, v).len;
	for (size_t max = 1; max <= whole; max++) {
		auto_buf struct buf b = BUF_INIT(max);
		assert_int_equal(json_print(&b, v), max == whole);
		assert_true(b.len <= max);
	}
}

static void test_indent(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v;
	assert_true(json_parse(&a, S("{\"a\":[1,{}],\"b\":[],\"c\":{\"d\":null}}"), NULL, &v, &err));
	assert_true(json_print_indent(&b, v, 4));
	assert_str(buf_view(&b), S("{\n    \"a\": [\n        1,\n        {}\n    ],\n    \"b\": [],\n    \"c\": {\n        \"d\": null\n    }\n}"));
	buf_clear(&b);
	assert_true(json_print(&b, NULL));
	assert_true(json_print(&b, value_new_double(&a, NAN)));
	assert_str(buf_view(&b), S("nullnull"));
}

static int suite_read(const char *path, struct buf *b) {
	struct err err = { 0 };
	return file_read(path, b, &err);
}

static void test_suite(void **state) {
	const char *found = shared_data("json/test_parsing");
	struct dirent **names;
	size_t wrong = 0;
	if (!found) {
		print_message("skipped: the 318 cases of JSONTestSuite are not here\n");
		skip();
	}
	auto_free char *dir = xstrdup(found);
	int n = scandir(dir, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		auto_arena struct arena a = { 0 };
		auto_buf struct buf b = { 0 };
		auto_free char *path = xasprintf("%s/%s", dir, names[i]->d_name);
		char kind = names[i]->d_name[0];
		struct err err = { 0 };
		struct value *v, *again;
		if (kind != '.' && suite_read(path, &b)) {
			bool ok = json_parse(&a, buf_view(&b), NULL, &v, &err);
			if ((kind == 'y' && !ok) || (kind == 'n' && ok)) {
				print_error("%s: %s\n", names[i]->d_name, ok ? "accepted" : err.msg);
				wrong++;
			}
			if (ok) {
				assert_true(json_parse(&a, json_text(&a, v), NULL, &again, &err));
				assert_true(value_eq(v, again));
			}
		}
		free(names[i]);
	}
	free(names);
	assert_true(n > 300);
	assert_int_equal(wrong, 0);
}

int main(void) {
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_many_members),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_ceiling),
		cmocka_unit_test(test_indent),
		cmocka_unit_test(test_suite),
	};
	int failed = RUN_CASES("json errors", error_cases, test_error);
	failed += RUN_CASES("json again", again_cases, test_again);
	failed += RUN_CASES("json duplicates", duplicate_cases, test_duplicate);
	return failed + cmocka_run_group_tests_name("json", others, NULL, NULL);
}
