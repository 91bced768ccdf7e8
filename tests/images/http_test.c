/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_test.c - the HTTP/1.1 parser, percent-encoding and the little JSON of the test server.
 */
#include "../../images/testserver/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct request_case {
	const char *name;
	struct str in;
	enum http_parse parsed;
	const char *path, *query;
	bool keep_alive;
} request_cases[] = {
	{ "plain", S("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\nrest"), HTTP_PARSE_DONE, "/a", "b=c", true },
	{ "line feeds alone", S("GET / HTTP/1.1\nHost: x\n\n"), HTTP_PARSE_DONE, "/", "", true },
	{ "1.0", S("GET / HTTP/1.0\r\n\r\n"), HTTP_PARSE_DONE, "/", "", false },
	{ "1.0 kept", S("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), HTTP_PARSE_DONE, "/", "", true },
	{ "close in a list", S("GET / HTTP/1.1\r\nConnection: te, Close\r\n\r\n"), HTTP_PARSE_DONE, "/", "", false },
	{ "absolute form", S("GET http://h:1/p?q HTTP/1.1\r\n\r\n"), HTTP_PARSE_DONE, "/p", "q", true },
	{ "nothing", S(""), HTTP_PARSE_MORE, NULL, NULL, false },
	{ "half a line", S("GET / HT"), HTTP_PARSE_MORE, NULL, NULL, false },
	{ "no empty line", S("GET / HTTP/1.1\r\nHost: x\r\n"), HTTP_PARSE_MORE, NULL, NULL, false },
	{ "no version", S("GET /\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "version 3", S("GET / HTTP/3\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "two blanks", S("GET  / HTTP/1.1\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "odd method", S("G(T / HTTP/1.1\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "blank before the colon", S("GET / HTTP/1.1\r\nA : b\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "folded", S("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "a zero byte", S("GET / HTTP/1.1\r\nA: b\0\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "an empty length", S("GET / HTTP/1.1\r\nContent-Length:\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "a signed length", S("GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "a length beyond int64", S("GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "a length beyond the limit", S("GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), HTTP_PARSE_LARGE, NULL, NULL, false },
	{ "the same length twice", S("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"), HTTP_PARSE_DONE, "/", "", true },
	{ "two lengths", S("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
	{ "another coding", S("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n"), HTTP_PARSE_BAD, NULL, NULL, false },
};

static void test_request(void **state) {
	const struct request_case *c = *state;
	struct http_head head;
	size_t used = 0;

	assert_int_equal(http_parse_request(c->in, &head, &used), c->parsed);
	if (c->parsed == HTTP_PARSE_DONE) {
		assert_true(str_eq(head.path, str_from(c->path)));
		assert_true(str_eq(head.query, str_from(c->query)));
		assert_int_equal(head.keep_alive, c->keep_alive);
		assert_int_equal(c->in.ptr[used - 1], '\n');
	}
}

static const struct chunked_case {
	const char *name;
	struct str in;
	enum http_parse parsed;
	const char *body;
	size_t left;
} chunked_cases[] = {
	{ "two", S("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nX"), HTTP_PARSE_DONE, "abcde", 1 },
	{ "upper case, an extension", S("A;x=y\r\n0123456789\r\n0\r\n\r\n"), HTTP_PARSE_DONE, "0123456789", 0 },
	{ "a trailer", S("1\r\na\r\n0\r\nT: v\r\n\r\n"), HTTP_PARSE_DONE, "a", 0 },
	{ "empty", S("0\r\n\r\n"), HTTP_PARSE_DONE, "", 0 },
	{ "cut in the size", S("3"), HTTP_PARSE_MORE, NULL, 0 },
	{ "cut in the data", S("3\r\nab"), HTTP_PARSE_MORE, NULL, 0 },
	{ "cut at the end", S("0\r\n"), HTTP_PARSE_MORE, NULL, 0 },
	{ "no size", S("\r\nabc"), HTTP_PARSE_BAD, NULL, 0 },
	{ "negative", S("-1\r\n"), HTTP_PARSE_BAD, NULL, 0 },
	{ "longer than said", S("1\r\nab\r\n"), HTTP_PARSE_BAD, NULL, 0 },
	{ "too large", S("ffffffffff\r\n"), HTTP_PARSE_LARGE, NULL, 0 },
};

static void test_chunked(void **state) {
	const struct chunked_case *c = *state;
	auto_buf struct buf body = { 0 };
	size_t used = 0;

	assert_int_equal(http_parse_chunked(c->in, &body, &used), c->parsed);
	if (c->parsed == HTTP_PARSE_DONE) {
		assert_true(str_eq(buf_str(&body), str_from(c->body)));
		assert_int_equal(c->in.len - used, c->left);
	}
}

static void test_answer(void **state) {
	struct http_head head;
	size_t used;

	assert_int_equal(http_parse_answer(S("HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"), &head, &used), HTTP_PARSE_DONE);
	assert_int_equal(head.status, 404);
	assert_true(str_eq(http_header_get(&head, S("a")), S("b")));
	assert_int_equal(http_parse_answer(S("HTTP/1.1 204\r\n\r\n"), &head, &used), HTTP_PARSE_DONE);
	assert_int_equal(http_parse_answer(S("SSH-2.0-x\r\n\r\n"), &head, &used), HTTP_PARSE_BAD);
	assert_int_equal(http_parse_answer(S("HTTP/1.1 ok\r\n\r\n"), &head, &used), HTTP_PARSE_BAD);
}

static void test_query(void **state) {
	auto_buf struct buf value = { 0 }, escaped = { 0 };

	assert_true(http_query_get(S("a=1&b%20c=x%2by+z%&d"), S("b c"), &value));
	assert_string_equal(value.ptr, "x+y z%");
	buf_clear(&value);
	assert_true(http_query_get(S("a=1&d"), S("d"), &value));
	assert_int_equal(value.len, 0);
	assert_false(http_query_get(S("a=1"), S("b"), &value));
	http_escape(&escaped, S("a b&c/\xff~"));
	assert_string_equal(escaped.ptr, "a%20b%26c%2F%FF~");
}

static const struct json_case {
	const char *name;
	struct str in;
	const char *source; /* NULL: not found */
} json_cases[] = {
	{ "alone", S("{\"Source\":\"x\"}"), "x" },
	{ "behind others", S(" { \"a\" : [1,{\"Source\":\"no\"},\"]\"] , \"b\":{}, \"Source\" : \"y\" }"), "y" },
	{ "escapes", S("{\"Sour\\u0063e\":\"a\\n\\\"\\u00e9\\ud83d\\ude00\"}"), "a\n\"\xc3\xa9\xf0\x9f\x98\x80" },
	{ "half a pair", S("{\"Source\":\"\\ud83d\"}"), "\xef\xbf\xbd" },
	{ "missing", S("{\"a\":1}"), NULL },
	{ "empty", S("{}"), NULL },
	{ "no object", S("[\"Source\"]"), NULL },
	{ "cut", S("{\"Source\":\"x"), NULL },
	{ "cut in an escape", S("{\"Source\":\"x\\"), NULL },
	{ "a number", S("{\"Source\":5}"), NULL },
	{ "bad escape", S("{\"Source\":\"\\q\"}"), NULL },
	{ "nothing", S(""), NULL },
};

static void test_json(void **state) {
	const struct json_case *c = *state;
	auto_buf struct buf value = { 0 }, printed = { 0 }, again = { 0 };
	struct str raw;
	bool found = json_member(c->in, S("Source"), &raw) && json_unquote(raw, &value);

	assert_int_equal(found, c->source != NULL);
	if (found) {
		assert_true(str_eq(buf_str(&value), str_from(c->source)));
		json_string(&printed, buf_str(&value));
		assert_true(json_unquote(buf_str(&printed), &again));
		assert_true(str_eq(buf_str(&again), buf_str(&value)));
	}
}

static void test_json_deep(void **state) {
	auto_buf struct buf text = { 0 };
	struct str raw;

	buf_add(&text, S("{\"a\":"));
	for (int i = 0; i < 100000; i++) {
		buf_add(&text, S("["));
	}
	assert_false(json_member(buf_str(&text), S("Source"), &raw));
}

static void test_buf(void **state) {
	auto_buf struct buf b = { .max = 10 };

	assert_true(buf_add(&b, S("0123456789")));
	assert_false(buf_add(&b, S("x")));
	assert_false(buf_add(&b, S("")));
	assert_string_equal(b.ptr, "0123456789");
	buf_clear(&b);
	assert_true(buf_addf(&b, "%d", 42));
}

#define ROWS(cases, test)                                                                                     \
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {                                                       \
		tests[n++] = (struct CMUnitTest){ .name = cases[i].name, .test_func = test, .initial_state = (void *)&cases[i] }; \
	}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(request_cases) + ARRAY_LEN(chunked_cases) + ARRAY_LEN(json_cases) + 4] = {
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_json_deep),
		cmocka_unit_test(test_buf),
	};
	size_t n = 4;

	ROWS(request_cases, test_request);
	ROWS(chunked_cases, test_chunked);
	ROWS(json_cases, test_json);
	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
