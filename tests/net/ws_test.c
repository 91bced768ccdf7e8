/* SPDX-License-Identifier: Apache-2.0 */
/* ws_test.c - WebSocket frames without I/O: the examples of RFC 6455 section 5.7, fragments, limits, broken peers, any cut of the input. */
#include "net/ws.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct side {
	struct ws *ws;
	struct buf seen; /* what the callbacks told, as text */
	struct buf out;  /* bytes to the peer */
};

static void on_message(void *arg, enum ws_opcode opcode, struct str bytes) {
	struct side *s = arg;
	if (bytes.len > 100) {
		buf_printf(&s->seen, "[%d:%zu bytes]", opcode, bytes.len);
	} else {
		buf_printf(&s->seen, "[%d:%.*s]", opcode, STR_ARG(bytes));
	}
}
static void on_pong(void *arg, struct str bytes) {
	buf_printf(&((struct side *)arg)->seen, "[pong:%.*s]", STR_ARG(bytes));
}
static void on_close(void *arg, int code, struct str reason) {
	buf_printf(&((struct side *)arg)->seen, "[close:%d:%.*s]", code, STR_ARG(reason));
}
static void on_output(void *arg, struct str bytes) {
	buf_str(&((struct side *)arg)->out, bytes);
}
static const struct ws_handler handler = { .on_message = on_message, .on_pong = on_pong, .on_close = on_close, .on_output = on_output };

static void side_init(struct side *s, bool client, size_t max) {
	*s = (struct side){ 0 };
	s->ws = ws_new(&(struct ws_opts){ .client = client, .message_max = max }, &handler, s);
}
static void side_release(struct side *s) {
	ws_free(s->ws);
	buf_release(&s->seen);
	buf_release(&s->out);
}

#define B(lit) { lit, sizeof(lit) - 1 }
static const struct frame_case {
	const char *name;
	bool client; /* who reads */
	struct str in;
	const char *seen;
	struct str out;
	bool more; /* goes on after it */
} frame_cases[] = {
	/* RFC 6455 section 5.7 */
	{ "unmasked text", true, B("\x81\x05\x48\x65\x6c\x6c\x6f"), "[1:Hello]", B(""), true },
	{ "masked text", false, B("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "[1:Hello]", B(""), true },
	{ "fragments", true, B("\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f"), "[1:Hello]", B(""), true },
	{ "ping between fragments", false, B("\x01\x83\0\0\0\0Hel\x89\x81\0\0\0\0p\x80\x82\0\0\0\0lo"), "[1:Hello]", B("\x8a\x01p"), true },
	{ "ping answered", false, B("\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "", B("\x8a\x05Hello"), true },
	{ "pong", false, B("\x8a\x81\0\0\0\0x"), "[pong:x]", B(""), true },
	{ "empty message", false, B("\x82\x80\0\0\0\0"), "[2:]", B(""), true },
	{ "two messages", false, B("\x82\x81\0\0\0\0a\x82\x81\0\0\0\0b"), "[2:a][2:b]", B(""), true },
	{ "close", false, B("\x88\x85\0\0\0\0\x03\xe8" "bye"), "[close:1000:bye]", B("\x88\x02\x03\xe8"), false },
	{ "close without code", false, B("\x88\x80\0\0\0\0"), "[close:1005:]", B("\x88\x00"), false },
	{ "stdin end of kubectl", false, B("\x82\x82\0\0\0\0\xff\x00"), "[2:\xff", B(""), true },
	/* broken peers */
	{ "no mask from a client", false, B("\x81\x01x"), "[close:1002:wrong masking]", B("\x88\x0f\x03\xeawrong masking"), false },
	{ "mask from a server", true, B("\x81\x81\0\0\0\0x"), "[close:1002:wrong masking]", B(""), false },
	{ "reserved bit", false, B("\xc1\x81\0\0\0\0x"), "[close:1002:reserved bits]", B("\x88\x0f\x03\xeareserved bits"), false },
	{ "unknown opcode", false, B("\x83\x81\0\0\0\0x"), "[close:1002:unknown opcode]", B("\x88\x10\x03\xeaunknown opcode"), false },
	{ "continuation of nothing", false, B("\x80\x81\0\0\0\0x"), "[close:1002:continuation of nothing]", B("\x88\x19\x03\xea" "continuation of nothing"), false },
	{ "message in a message", false, B("\x01\x81\0\0\0\0x\x81\x81\0\0\0\0y"), "[close:1002:a message within a message]",
		B("\x88\x1c\x03\xea" "a message within a message"), false },
	{ "fragmented ping", false, B("\x09\x80\0\0\0\0"), "[close:1002:malformed control frame]", B("\x88\x19\x03\xeamalformed control frame"), false },
	{ "long ping", false, B("\x89\xfe\x00\x7e\0\0\0\0"), "[close:1002:malformed control frame]", B("\x88\x19\x03\xeamalformed control frame"), false },
	{ "close with half a code", false, B("\x88\x81\0\0\0\0\x03"), "[close:1002:malformed close frame]", B("\x88\x17\x03\xeamalformed close frame"), false },
	{ "close with a forbidden code", false, B("\x88\x82\0\0\0\0\x03\xed"), "[close:1002:malformed close frame]", B("\x88\x17\x03\xeamalformed close frame"), false },
	{ "length over the limit", false, B("\x82\xff\0\0\0\0\0\x10\0\0\0\0\0\0"), "[close:1009:message too big]", B("\x88\x11\x03\xf1message too big"), false },
	{ "absurd length", false, B("\x82\xff\xff\0\0\0\0\x10\0\0\0\0\0\0"), "[close:1002:bad length]", B("\x88\x0c\x03\xea" "bad length"), false },
};

static void test_frame(void **state) {
	const struct frame_case *c = *state;
	for (size_t cut = 1; cut <= c->in.len; cut++) { /* in pieces of each size */
		struct side s;
		bool more = true;
		side_init(&s, c->client, 1000);
		for (size_t at = 0; at < c->in.len && more; at += cut) {
			more = ws_input(s.ws, str_sub(c->in, at, at + cut));
		}
		assert_int_equal(more, c->more);
		assert_int_equal(strncmp(buf_cstr(&s.seen), c->seen, strlen(c->seen)), 0);
		if (!c->client) { /* a client's answers are masked at random */
			assert_int_equal(s.out.len, c->out.len);
			assert_memory_equal(buf_cstr(&s.out), c->out.ptr, c->out.len);
		}
		assert_int_equal(ws_closed(s.ws), !c->more);
		side_release(&s);
	}
}

static void test_both_sides_understand_each_other(void **state) {
	static const size_t lens[] = { 0, 1, 125, 126, 127, 65535, 65536, 200000 };
	static char bytes[200000];
	struct side client, server;
	auto_buf struct buf want = { 0 };
	side_init(&client, true, 0);
	side_init(&server, false, 0);
	memset(bytes, 'z', sizeof(bytes));
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		assert_true(ws_send2(client.ws, WS_BINARY, str_sub(S("z"), 0, lens[i]), (struct str){ bytes, lens[i] ? lens[i] - 1 : 0 }));
		if (lens[i] > 100) {
			buf_printf(&want, "[2:%zu bytes]", lens[i]);
		} else {
			buf_printf(&want, "[2:%.*s]", (int)lens[i], bytes);
		}
	}
	assert_true(ws_input(server.ws, buf_view(&client.out)));
	assert_string_equal(buf_cstr(&server.seen), buf_cstr(&want));
	ws_close(server.ws, WS_NORMAL, S("done"));
	assert_false(ws_send(server.ws, WS_TEXT, S("late")));
	assert_false(ws_closed(server.ws));
	assert_false(ws_input(client.ws, buf_view(&server.out)));
	assert_string_equal(buf_cstr(&client.seen), "[close:1000:done]");
	assert_true(ws_closed(client.ws));
	buf_clear(&server.seen);
	buf_clear(&client.out);
	side_release(&client);
	side_release(&server);
}

static void test_limit_holds_over_fragments(void **state) {
	struct side s;
	side_init(&s, false, 10);
	assert_true(ws_input(s.ws, S("\x02\x86\0\0\0\0sixbyt")));
	assert_false(ws_input(s.ws, S("\x80\x86\0\0\0\0sixbyt")));
	assert_string_equal(buf_cstr(&s.seen), "[close:1009:message too big]");
	side_release(&s);
}

static void on_piece(void *arg, enum ws_opcode opcode, struct str bytes, bool first, bool last) {
	buf_printf(&((struct side *)arg)->seen, "%s%.*s%s", first ? "<" : "", STR_ARG(bytes), last ? ">" : "");
}
static void test_pieces(void **state) {
	static const struct ws_handler pieces = { .on_piece = on_piece, .on_close = on_close, .on_output = on_output };
	struct side s = { 0 };
	s.ws = ws_new(&(struct ws_opts){ .message_max = 2 }, &pieces, &s); /* no limit for pieces */
	assert_true(ws_input(s.ws, S("\x02\x83\0\0\0\0ab")));
	assert_true(ws_input(s.ws, S("c\x80\x82\0\0\0\0de\x82\x80\0\0\0\0")));
	assert_string_equal(buf_cstr(&s.seen), "<abcde><>");
	side_release(&s);
}

static void test_accept_key(void **state) {
	char out[29];
	ws_accept_key(S("dGhlIHNhbXBsZSBub25jZQ=="), out); /* RFC 6455 section 1.3 */
	assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(frame_cases) + 4] = {
		cmocka_unit_test(test_both_sides_understand_each_other),
		cmocka_unit_test(test_limit_holds_over_fragments),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_accept_key),
	};
	for (size_t i = 0; i < ARRAY_LEN(frame_cases); i++) {
		tests[i + 4] = (struct CMUnitTest){ .name = frame_cases[i].name, .test_func = test_frame, .initial_state = (void *)(uintptr_t)&frame_cases[i] };
	}
	return cmocka_run_group_tests_name("ws", tests, NULL, NULL);
}
