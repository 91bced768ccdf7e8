/* SPDX-License-Identifier: Apache-2.0 */
/* http1_test.c - the HTTP/1.1 core: heads of answers, where bodies end (RFC 9112 section 6.3), chunks in any cut. Requests are tested over sockets too. */
#include "net/http1.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct answer_case {
	const char *head, *method;
	bool ok;
	int status;
	enum http1_framing framing;
	int length;
	bool keep_alive;
} answer_cases[] = {
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", true, 200, HTTP1_LENGTH, 5, true },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", true, 200, HTTP1_NONE, 0, true },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", true, 200, HTTP1_CHUNKED, 0, true },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n", "GET", true, 200, HTTP1_CHUNKED, 0, false },
	{ "HTTP/1.1 200 OK\r\n\r\n", "GET", true, 200, HTTP1_UNTIL_CLOSE, 0, false },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", true, 200, HTTP1_NONE, 5, true },
	{ "HTTP/1.1 204 No Content\r\n\r\n", "GET", true, 204, HTTP1_NONE, 0, true },
	{ "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", true, 304, HTTP1_NONE, 5, true },
	{ "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "GET", true, 101, HTTP1_NONE, 0, true },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", true, 200, HTTP1_LENGTH, 5, false },
	{ "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\n", "GET", true, 200, HTTP1_LENGTH, 5, true },
	{ "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", "GET", true, 200, HTTP1_LENGTH, 1, true }, /* no reason */
	{ "HTTP/1.1 2000 OK\r\n\r\n", "GET", false, 0, 0, 0, 0 },
	{ "HTTP/1.1 20 OK\r\n\r\n", "GET", false, 0, 0, 0, 0 },
	{ "HTTP/2 200 OK\r\n\r\n", "GET", false, 0, 0, 0, 0 },
	{ "SSH-2.0-OpenSSH\r\n\r\n", "GET", false, 0, 0, 0, 0 },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", false, 0, 0, 0, 0 },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n", "GET", false, 0, 0, 0, 0 },
	{ "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n", "GET", false, 0, 0, 0, 0 },
};

static void test_answer(void **state) {
	const struct answer_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct http1_head h = { 0 };
	struct err err = { 0 };
	size_t scanned = 0;
	assert_int_equal(http1_head_end(str_c(c->head), &scanned), strlen(c->head));
	assert_int_equal(http1_parse_response(&a, str_c(c->head), 10, str_c(c->method), &h, &err), c->ok);
	assert_int_equal(h.status, c->status);
	if (c->ok) {
		assert_int_equal(h.framing, c->framing);
		assert_int_equal(h.length, c->length);
		assert_int_equal(h.keep_alive, c->keep_alive);
	} else {
		assert_int_equal(err.code, ERR_BAD_REQUEST);
	}
}

static const struct body_case {
	const char *name;
	enum http1_framing framing;
	int length;
	const char *in, *body, *rest;
	enum parse end;
	bool whole_at_eof;
} body_cases[] = {
	{ "length", HTTP1_LENGTH, 5, "hellonext", "hello", "next", PARSE_DONE, true },
	{ "length cut", HTTP1_LENGTH, 5, "hel", "hel", "", PARSE_MORE, false },
	{ "none", HTTP1_NONE, 0, "next", "", "next", PARSE_DONE, true },
	{ "until close", HTTP1_UNTIL_CLOSE, 0, "all of it", "all of it", "", PARSE_MORE, true },
	{ "chunks", HTTP1_CHUNKED, 0, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nnext", "hello world", "next", PARSE_DONE, true },
	{ "hex", HTTP1_CHUNKED, 0, "A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789", "", PARSE_DONE, true },
	{ "extension", HTTP1_CHUNKED, 0, "5;a=\"b\" ;c\r\nhello\r\n0\r\n\r\n", "hello", "", PARSE_DONE, true },
	{ "trailers", HTTP1_CHUNKED, 0, "1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\nnext", "x", "next", PARSE_DONE, true },
	{ "empty", HTTP1_CHUNKED, 0, "0\r\n\r\n", "", "", PARSE_DONE, true },
	{ "chunk cut", HTTP1_CHUNKED, 0, "5\r\nhel", "hel", "", PARSE_MORE, false },
	{ "no last chunk", HTTP1_CHUNKED, 0, "5\r\nhello\r\n", "hello", "", PARSE_MORE, false },
	{ "no size", HTTP1_CHUNKED, 0, "\r\nhello", "", "", PARSE_BAD, false },
	{ "negative size", HTTP1_CHUNKED, 0, "-5\r\nhello", "", "", PARSE_BAD, false },
	{ "0x size", HTTP1_CHUNKED, 0, "0x5\r\nhello", "", "", PARSE_BAD, false },
	{ "bare LF", HTTP1_CHUNKED, 0, "5\nhello\n", "", "", PARSE_BAD, false },
	{ "longer than said", HTTP1_CHUNKED, 0, "5\r\nhello!\r\n", "hello", "", PARSE_BAD, false },
	{ "size overflow", HTTP1_CHUNKED, 0, "10000000000000005\r\nhello", "", "", PARSE_BAD, false },
};

static void test_body(void **state) {
	const struct body_case *c = *state;
	struct str all = str_c(c->in);
	for (size_t cut = 1; cut <= all.len; cut++) {
		struct http1_body b;
		auto_buf struct buf got = { 0 };
		struct err err = { 0 };
		enum parse end = PARSE_MORE;
		size_t at = 0;
		struct str in = { 0 };
		http1_body_init(&b, c->framing, (uint64_t)c->length);
		for (; at < all.len && end == PARSE_MORE; at += cut) {
			struct str piece;
			in = str_sub(all, at, at + cut);
			while ((end = http1_body_next(&b, &in, &piece, &err)) == PARSE_MORE && piece.len) {
				buf_str(&got, piece);
			}
		}
		assert_int_equal(end, c->end);
		assert_string_equal(buf_cstr(&got), c->body);
		assert_int_equal(http1_body_at_eof(&b), c->whole_at_eof);
		if (end == PARSE_DONE) {
			assert_true(str_eqc(str_from(all, MIN(at, all.len) - in.len), c->rest));
		}
	}
}

static void test_many_trailers_are_refused(void **state) {
	struct http1_body b;
	struct err err = { 0 };
	struct str piece;
	enum parse end = PARSE_MORE;
	http1_body_init(&b, HTTP1_CHUNKED, 0);
	struct str in = S("0\r\n");
	assert_int_equal(http1_body_next(&b, &in, &piece, &err), PARSE_MORE);
	for (int i = 0; i < 10000 && end == PARSE_MORE; i++) {
		in = S("X: y\r\n");
		end = http1_body_next(&b, &in, &piece, &err);
	}
	assert_int_equal(end, PARSE_BAD);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(answer_cases) + ARRAY_LEN(body_cases) + 1] = { cmocka_unit_test(test_many_trailers_are_refused) };
	static char names[ARRAY_LEN(answer_cases)][100];
	size_t n = 1;
	for (size_t i = 0; i < ARRAY_LEN(answer_cases); i++) {
		snprintf(names[i], sizeof(names[i]), "%s %.60s", answer_cases[i].method, answer_cases[i].head);
		for (char *c = names[i]; *c; c++) {
			*c = *c == '\r' || *c == '\n' ? ' ' : *c;
		}
		tests[n++] = (struct CMUnitTest){ .name = names[i], .test_func = test_answer, .initial_state = (void *)(uintptr_t)&answer_cases[i] };
	}
	for (size_t i = 0; i < ARRAY_LEN(body_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = body_cases[i].name, .test_func = test_body, .initial_state = (void *)(uintptr_t)&body_cases[i] };
	}
	return cmocka_run_group_tests_name("http1", tests, NULL, NULL);
}
