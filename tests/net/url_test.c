/* SPDX-License-Identifier: Apache-2.0 */
/* url_test.c - URLs, percent coding and queries; headers' tokens. */
#include "net/net.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct url_case {
	const char *in, *scheme, *host;
	int port;
	const char *path, *query;
	bool ok;
} url_cases[] = {
	{ "https://a.b/c?d=e", "https", "a.b", 443, "/c", "d=e", true },
	{ "http://a", "http", "a", 80, "", "", true },
	{ "http://a:81", "http", "a", 81, "", "", true },
	{ "http://a:/x", "http", "a", 80, "/x", "", true },
	{ "https://[::1]:6443/x", "https", "::1", 6443, "/x", "", true },
	{ "https://u:p@h:1/x#frag", "https", "h", 1, "/x", "", true },
	{ "http://a?q", "http", "a", 80, "", "q", true },
	{ "unix:/run/a.sock", "unix", "/run/a.sock", 0, "", "", true },
	{ "unix:///run/a.sock", "unix", "/run/a.sock", 0, "", "", true },
	{ "a.b/c", "", "", 0, "", "", false },
	{ "/c", "", "", 0, "", "", false },
	{ "ftp://a", "", "", 0, "", "", false },
	{ "https://", "", "", 0, "", "", false },
	{ "https://:1", "", "", 0, "", "", false },
	{ "https://a:x", "", "", 0, "", "", false },
	{ "https://a:65536", "", "", 0, "", "", false },
	{ "unix:", "", "", 0, "", "", false },
};

static void test_url(void **state) {
	const struct url_case *c = *state;
	struct url u = { 0 };
	struct err err = { 0 };
	assert_int_equal(url_parse(str_c(c->in), &u, &err), c->ok);
	assert_true(str_eqc(u.scheme, c->scheme));
	assert_true(str_eqc(u.host, c->host));
	assert_int_equal(u.port, c->port);
	assert_true(str_eqc(u.path, c->path));
	assert_true(str_eqc(u.query, c->query));
}

static void test_escapes(void **state) {
	static const struct {
		const char *in;
		bool plus;
		const char *want; /* NULL: refused */
	} rows[] = { { "a%2Fb", false, "a/b" }, { "%41%7a", false, "Az" }, { "a+b", false, "a+b" }, { "a+b", true, "a b" }, { "%", false, NULL }, { "%4", false, NULL },
		{ "%zz", false, NULL }, { "100%25", false, "100%" }, { "", false, "" } };
	auto_arena struct arena a = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str got;
		assert_int_equal(url_unescape(&a, str_c(rows[i].in), rows[i].plus, &got), rows[i].want != NULL);
		assert_true(!rows[i].want || str_eqc(got, rows[i].want));
	}
	assert_true(str_eqc(url_escape(&a, S("a b/c~%\xc3\xa4")), "a%20b%2Fc~%25%C3%A4"));
}

static void test_query(void **state) {
	auto_arena struct arena a = { 0 };
	struct str rest = S("a=1&b&c=x%3Dy&&a=2&bad=%&d;e=1&f=a+b"), name, value;
	auto_buf struct buf got = { 0 };
	while (url_query_next(&a, &rest, &name, &value)) {
		buf_printf(&got, "%.*s:%.*s ", STR_ARG(name), STR_ARG(value));
	}
	assert_string_equal(buf_cstr(&got), "a:1 b: c:x=y a:2 f:a b ");
	assert_true(url_query_get(&a, S("x=1&watch=true"), S("watch"), &value));
	assert_true(str_eqc(value, "true"));
	assert_false(url_query_get(&a, S("x=1"), S("watch"), &value));
	assert_false(url_query_get(&a, S(""), S("watch"), &value));
}

static void test_headers(void **state) {
	const struct http_header at[] = { { S("Connection"), S("keep-alive, Upgrade") }, { S("X"), S("1") }, { S("x"), S("2") } };
	struct http_headers h = { at, 3 };
	assert_true(http_header_has_token(h, S("connection"), S("upgrade")));
	assert_false(http_header_has_token(h, S("connection"), S("up")));
	assert_true(str_eqc(http_header_get(h, S("X")), "1"));
	assert_null(http_header_get(h, S("Y")).ptr);
	assert_true(http_header_has_token(h, S("X"), S("2")));
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(url_cases) + 3] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(url_cases); i++) {
		tests[i] = (struct CMUnitTest){ .name = url_cases[i].in, .test_func = test_url, .initial_state = (void *)(uintptr_t)&url_cases[i] };
	}
	tests[ARRAY_LEN(url_cases)] = (struct CMUnitTest)cmocka_unit_test(test_escapes);
	tests[ARRAY_LEN(url_cases) + 1] = (struct CMUnitTest)cmocka_unit_test(test_query);
	tests[ARRAY_LEN(url_cases) + 2] = (struct CMUnitTest)cmocka_unit_test(test_headers);
	return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
