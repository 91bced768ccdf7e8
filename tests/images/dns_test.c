/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns_test.c - DNS messages: what is asked, what is told, and what is refused.
 */
#include "../../images/testserver/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct query_case {
	const char *name;
	struct str in;
	struct str want; /* the question's name; {0}: refused */
} query_cases[] = {
	{ "plain", S("a.bc"), S("\1a\2bc\0") },
	{ "with a final dot", S("a."), S("\1a\0") },
	{ "the root", S("."), S("\0") },
	{ "an empty label", S("a..b"), { 0 } },
	{ "a long label", S("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), { 0 } },
};

static void test_query(void **state) {
	const struct query_case *c = *state;
	auto_buf struct buf out = { 0 };

	assert_int_equal(dns_query(&out, 0x1234, c->in, 1), c->want.len > 0);
	if (c->want.len > 0) {
		assert_memory_equal(out.ptr, "\x12\x34\1\0\0\1\0\0\0\0\0\0", 12);
		assert_true(str_eq((struct str){ out.ptr + 12, out.len - 16 }, c->want));
		assert_memory_equal(out.ptr + out.len - 4, "\0\1\0\1", 4);
	}
}

#define HEAD(questions, answers) "\0\1\x81\x80\0" questions "\0" answers "\0\0\0\0"
#define A_FIELDS "\0\1\0\1\0\0\0\5\0\4"

static const struct answer_case {
	const char *name;
	struct str in;
	const char *want; /* NULL: malformed */
} answer_cases[] = {
	{ "no record", S(HEAD("\0", "\0")), "" },
	{ "an address", S(HEAD("\0", "\1") "\1a\0" A_FIELDS "\12\1\2\3"), "a.\t5\tIN\tA\t10.1.2.3\n" },
	{ "a pointer", S(HEAD("\1", "\1") "\1a\0\0\1\0\1\xc0\x0c" A_FIELDS "\12\1\2\3"), "a.\t5\tIN\tA\t10.1.2.3\n" },
	{ "a long address", S(HEAD("\0", "\1") "\0\0\x1c\0\1\0\0\0\5\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), ".\t5\tIN\tAAAA\tfd00::1\n" },
	{ "an unknown type", S(HEAD("\0", "\1") "\1a\0\1\1\0\1\0\0\0\5\0\2\xab\xcd"), "a.\t5\tIN\tTYPE257\t\\# 2 ABCD\n" },
	{ "odd letters", S(HEAD("\0", "\1") "\3a.\n\0" A_FIELDS "\12\1\2\3"), "a\\.\\010.\t5\tIN\tA\t10.1.2.3\n" },
	{ "another id", S("\0\2\x81\x80\0\0\0\0\0\0\0\0"), NULL },
	{ "a query", S("\0\1\1\0\0\0\0\0\0\0\0\0"), NULL },
	{ "a short head", S("\0\1\x81\x80\0"), NULL },
	{ "a record that is missing", S(HEAD("\0", "\1")), NULL },
	{ "a question that is cut", S(HEAD("\1", "\0") "\1a\0\0"), NULL },
	{ "a pointer to itself", S(HEAD("\0", "\1") "\xc0\x0c" A_FIELDS "\12\1\2\3"), NULL },
	{ "a pointer forward", S(HEAD("\0", "\1") "\xc0\x20" A_FIELDS "\12\1\2\3"), NULL },
	{ "a pointer that is cut", S(HEAD("\0", "\1") "\xc0"), NULL },
	{ "a label of a reserved kind", S(HEAD("\0", "\1") "\x80" A_FIELDS "\12\1\2\3"), NULL },
	{ "a name without end", S(HEAD("\0", "\1") "\1a"), NULL },
	{ "data beyond the message", S(HEAD("\0", "\1") "\1a\0" A_FIELDS "\12\1\2"), NULL },
	{ "an address of three bytes", S(HEAD("\0", "\1") "\1a\0\0\1\0\1\0\0\0\5\0\3\12\1\2"), NULL },
	{ "a text beyond its data", S(HEAD("\0", "\1") "\1a\0\0\x10\0\1\0\0\0\5\0\2\5x"), NULL },
	{ "a name longer than its data", S(HEAD("\0", "\1") "\1a\0\0\5\0\1\0\0\0\5\0\2\1b\0"), NULL },
};

static void test_answer(void **state) {
	const struct answer_case *c = *state;
	auto_buf struct buf text = { 0 };
	struct dns_answer answer = { 0 };

	assert_int_equal(dns_answer_read(c->in, 1, false, &text, &answer), c->want != NULL);
	if (c->want) {
		assert_true(str_eq(buf_str(&text), str_from(c->want)));
	}
}

static void test_reverse(void **state) {
	auto_buf struct buf name = { 0 };

	assert_true(dns_reverse_name("10.96.0.7", &name));
	assert_string_equal(name.ptr, "7.0.96.10.in-addr.arpa.");
	buf_clear(&name);
	assert_true(dns_reverse_name("2001:db8::567:89ab", &name)); /* RFC 3596 section 2.5 has one like it */
	assert_string_equal(name.ptr, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.");
	assert_false(dns_reverse_name("10.96.0", &name));
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(query_cases) + ARRAY_LEN(answer_cases) + 1] = { cmocka_unit_test(test_reverse) };
	size_t n = 1;

	for (size_t i = 0; i < ARRAY_LEN(query_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = query_cases[i].name, .test_func = test_query, .initial_state = (void *)&query_cases[i] };
	}
	for (size_t i = 0; i < ARRAY_LEN(answer_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = answer_cases[i].name, .test_func = test_answer, .initial_state = (void *)&answer_cases[i] };
	}
	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
