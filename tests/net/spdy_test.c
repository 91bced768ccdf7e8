/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spdy_test.c - SPDY/3.1 sessions without I/O: two of them wired together as kubectl's exec uses them, bytes in any cut, windows, resets,
 * broken peers; and a header block made by another zlib.
 */
#include "net/spdy.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "net/digest.h"

struct end {
	struct spdy *spdy;
	struct buf seen;
	struct buf out;
	bool consume, quiet;
	struct spdy_stream *last;
	size_t data;
};

static void on_stream(void *arg, struct spdy_stream *s, bool fin) {
	struct end *e = arg;
	e->last = s;
	buf_printf(&e->seen, "+%u", s->id);
	for (size_t i = 0; i < s->headers.len; i++) {
		buf_printf(&e->seen, " %.*s=%.*s", STR_ARG(s->headers.at[i].name), STR_ARG(s->headers.at[i].value));
	}
	buf_c(&e->seen, fin ? " fin\n" : "\n");
	spdy_reply(e->spdy, s, NULL, 0, false);
}
static void on_reply(void *arg, struct spdy_stream *s, struct http_headers headers, bool fin) {
	buf_printf(&((struct end *)arg)->seen, "r%u\n", s->id);
}
static void on_data(void *arg, struct spdy_stream *s, struct str bytes, bool fin) {
	struct end *e = arg;
	e->data += bytes.len;
	if (!e->quiet) {
		buf_printf(&e->seen, "%u:%.*s%s\n", s->id, STR_ARG(bytes), fin ? " fin" : "");
	}
	if (e->consume) {
		spdy_consume(e->spdy, s, bytes.len);
	}
}
static void on_drain(void *arg, struct spdy_stream *s) {
	buf_printf(&((struct end *)arg)->seen, "drain %u\n", s->id);
}
static void on_stream_close(void *arg, struct spdy_stream *s, bool reset) {
	buf_printf(&((struct end *)arg)->seen, "-%u%s\n", s->id, reset ? " reset" : "");
}
static void on_goaway(void *arg) {
	buf_c(&((struct end *)arg)->seen, "goaway\n");
}
static void on_output(void *arg, struct str bytes) {
	buf_str(&((struct end *)arg)->out, bytes);
}
static void on_error(void *arg, const struct err *err) {
	buf_printf(&((struct end *)arg)->seen, "error %s\n", err->msg);
}
static const struct spdy_handler handler = { on_stream, on_reply, on_data, on_drain, on_stream_close, on_goaway, on_output, on_error };

static void end_init(struct end *e, struct spdy_opts o) {
	*e = (struct end){ 0 };
	e->spdy = spdy_new(&o, &handler, e);
}
static void end_release(struct end *e) {
	spdy_free(e->spdy);
	buf_release(&e->seen);
	buf_release(&e->out);
}

/* Moves bytes both ways until nobody has more to say, in pieces of `cut`. */
static void flow(struct end *a, struct end *b, size_t cut) {
	while (a->out.len || b->out.len) {
		struct end *from = a->out.len ? a : b, *to = from == a ? b : a;
		struct buf moving = from->out;
		from->out = (struct buf){ 0 };
		for (size_t at = 0; at < moving.len; at += cut) {
			spdy_input(to->spdy, str_sub(buf_view(&moving), at, at + cut));
		}
		buf_release(&moving);
	}
}

static void test_exec(void **state) {
	for (size_t cut = 1; cut < 40; cut += 6) {
		struct end client, server;
		struct spdy_stream *st[4];
		const char *types[] = { "error", "stdin", "stdout", "stderr" };
		end_init(&client, (struct spdy_opts){ .client = true });
		end_init(&server, (struct spdy_opts){ 0 });
		for (int i = 0; i < 4; i++) {
			struct http_header h[] = { { S("StreamType"), str_c(types[i]) } };
			st[i] = spdy_open(client.spdy, h, 1, false);
			assert_int_equal(st[i]->id, 2 * i + 1);
			flow(&client, &server, cut);
			assert_true(str_eqc(spdy_header(server.last, S("streamType")), types[i]));
			if (i == 1) {
				assert_true(spdy_send(client.spdy, st[i], S("input"), false));
				assert_true(spdy_send(client.spdy, st[i], S(""), true));
				assert_false(spdy_send(client.spdy, st[i], S("late"), false));
			}
		}
		flow(&client, &server, cut);
		if (cut == 1) {
			assert_string_equal(buf_cstr(&client.seen), "r1\nr3\nr5\nr7\n");
		}
		assert_true(spdy_send(server.spdy, server.last, S("oops"), true));
		flow(&client, &server, cut);
		assert_non_null(strstr(buf_cstr(&server.seen), "+1 streamtype=error\n+3 streamtype=stdin\n"));
		assert_non_null(strstr(buf_cstr(&server.seen), "+7 streamtype=stderr\n"));
		assert_non_null(strstr(buf_cstr(&server.seen), " fin\n"));
		/* as kubectl leaves: RST_STREAM(5) for each, then GOAWAY */
		for (int i = 0; i < 4; i++) {
			spdy_reset(client.spdy, st[i], SPDY_CANCEL);
		}
		spdy_goaway(client.spdy, 0);
		assert_null(spdy_open(client.spdy, NULL, 0, false));
		flow(&client, &server, cut);
		assert_non_null(strstr(buf_cstr(&server.seen), "-1 reset\n-3 reset\n-5 reset\n-7 reset\ngoaway\n"));
		end_release(&client);
		end_release(&server);
	}
}

static void test_both_fins_close(void **state) {
	struct end client, server;
	end_init(&client, (struct spdy_opts){ .client = true });
	end_init(&server, (struct spdy_opts){ 0 });
	struct http_header h[] = { { S("streamtype"), S("error") }, { S("port"), S("80") }, { S("requestid"), S("0") } };
	spdy_open(client.spdy, h, 3, true);
	flow(&client, &server, 1000);
	assert_string_equal(buf_cstr(&server.seen), "+1 streamtype=error port=80 requestid=0 fin\n");
	assert_true(spdy_send(server.spdy, server.last, S("bad"), true));
	flow(&client, &server, 1000);
	assert_string_equal(buf_cstr(&server.seen), "+1 streamtype=error port=80 requestid=0 fin\n-1\n");
	assert_string_equal(buf_cstr(&client.seen), "r1\n1:bad fin\n-1\n");
	end_release(&client);
	end_release(&server);
}

static void test_no_windows_until_the_peer_keeps_one(void **state) {
	struct end client, server;
	static char bytes[300000];
	end_init(&client, (struct spdy_opts){ .client = true });
	end_init(&server, (struct spdy_opts){ 0 });
	client.quiet = true;
	struct spdy_stream *st = spdy_open(client.spdy, NULL, 0, false);
	flow(&client, &server, 100000);
	assert_true(spdy_send(server.spdy, server.last, (struct str){ bytes, sizeof(bytes) }, false));
	flow(&client, &server, 100000);
	assert_int_equal(client.data, sizeof(bytes)); /* kubectl never opens a window, and must get all */
	assert_int_equal(spdy_backlog(server.last), 0);
	/* A WINDOW_UPDATE shows that it does count: from here on its windows hold. */
	spdy_consume(client.spdy, st, sizeof(bytes));
	flow(&client, &server, 100000);
	assert_true(spdy_send(server.spdy, server.last, (struct str){ bytes, 100000 }, true));
	flow(&client, &server, 100000);
	assert_int_equal(client.data, sizeof(bytes) + 65536);
	assert_int_equal(spdy_backlog(server.last), 100000 - 65536);
	spdy_consume(client.spdy, st, 65536);
	flow(&client, &server, 100000);
	assert_int_equal(client.data, sizeof(bytes) + 100000);
	end_release(&client);
	end_release(&server);
}

static void test_backlog_is_bounded(void **state) {
	struct end client, server;
	static char bytes[70000];
	end_init(&client, (struct spdy_opts){ .client = true, .window = 100000 }); /* announces its windows at once */
	end_init(&server, (struct spdy_opts){ .backlog_max = 100000 });
	client.quiet = true;
	spdy_open(client.spdy, NULL, 0, false);
	flow(&client, &server, 100000);
	assert_true(spdy_send(server.spdy, server.last, (struct str){ bytes, 70000 }, false));
	assert_true(spdy_send(server.spdy, server.last, (struct str){ bytes, 70000 }, false));
	assert_false(spdy_send(server.spdy, server.last, (struct str){ bytes, 70000 }, false));
	assert_true(spdy_backlog(server.last) <= 100000);
	end_release(&client);
	end_release(&server);
}

static void test_ping_and_limits(void **state) {
	struct end client, server;
	end_init(&client, (struct spdy_opts){ .client = true });
	end_init(&server, (struct spdy_opts){ .streams_max = 2 });
	spdy_ping(client.spdy);
	assert_int_equal(client.out.len, 12);
	auto_buf struct buf ping = { 0 };
	buf_str(&ping, buf_view(&client.out));
	assert_true(spdy_input(server.spdy, buf_view(&client.out)));
	assert_int_equal(server.out.len, 12);
	assert_memory_equal(server.out.ptr, ping.ptr, 12);
	flow(&server, &client, 100); /* the echo is not echoed again */
	client.out.len = 0;
	for (int i = 0; i < 3; i++) {
		spdy_open(client.spdy, NULL, 0, false);
	}
	flow(&client, &server, 100);
	assert_string_equal(buf_cstr(&server.seen), "+1\n+3\n");
	assert_string_equal(buf_cstr(&client.seen), "r1\nr3\n-5 reset\n");
	end_release(&client);
	end_release(&server);
}

/*
 * A SYN_STREAM whose header block was made by Python's zlib (level 9, the dictionary of the draft, sync flush) for {streamtype: error}.
 */
static void test_foreign_header_block(void **state) {
	auto_arena struct arena a = { 0 };
	struct str frame;
	struct end server;
	assert_true(hex_decode(&a, S("80030001000000280000000100000000000078f9e3c6a7c202a62346703a2b294a4dcc851625aca9a08006000000ffff"), &frame));
	end_init(&server, (struct spdy_opts){ 0 });
	assert_true(spdy_input(server.spdy, frame));
	assert_string_equal(buf_cstr(&server.seen), "+1 streamtype=error\n");
	end_release(&server);
}

static const struct broken_case {
	const char *name;
	struct str in;
	const char *seen;
} broken_cases[] = {
	{ "other version", S_INIT("\x80\x02\0\6\0\0\0\4\0\0\0\1"), "error SPDY: the peer speaks another version\n" },
	{ "huge control frame", S_INIT("\x80\x03\0\1\0\xff\xff\xff"), "error SPDY: a control frame is too large\n" },
	{ "short SYN_STREAM", S_INIT("\x80\x03\0\1\0\0\0\4\0\0\0\1"), "error SPDY: a SYN_STREAM frame is too short\n" },
	{ "header block that is not zlib", S_INIT("\x80\x03\0\1\0\0\0\x0e\0\0\0\1\0\0\0\0\0\0junk"), "error SPDY: a header block does not unpack\n" },
	{ "short SETTINGS", S_INIT("\x80\x03\0\4\0\0\0\4\0\0\0\2"), "error SPDY: a SETTINGS frame has the wrong length\n" },
	{ "short RST_STREAM", S_INIT("\x80\x03\0\3\0\0\0\4\0\0\0\2"), "error SPDY: a RST_STREAM frame is too short\n" },
	{ "unknown frame", S_INIT("\x80\x03\0\x7f\0\0\0\4\0\0\0\2"), "" },
	{ "data for no stream", S_INIT("\0\0\0\7\0\0\0\3abc"), "" },
	{ "reset of no stream", S_INIT("\x80\x03\0\3\0\0\0\x08\0\0\0\7\0\0\0\5"), "" },
};

static void test_broken(void **state) {
	const struct broken_case *c = *state;
	struct end server;
	end_init(&server, (struct spdy_opts){ 0 });
	assert_int_equal(spdy_input(server.spdy, c->in), !c->seen[0]);
	assert_string_equal(buf_cstr(&server.seen), c->seen);
	end_release(&server);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(broken_cases) + 6] = {
		cmocka_unit_test(test_exec),
		cmocka_unit_test(test_both_fins_close),
		cmocka_unit_test(test_no_windows_until_the_peer_keeps_one),
		cmocka_unit_test(test_backlog_is_bounded),
		cmocka_unit_test(test_ping_and_limits),
		cmocka_unit_test(test_foreign_header_block),
	};
	for (size_t i = 0; i < ARRAY_LEN(broken_cases); i++) {
		tests[i + 6] = (struct CMUnitTest){ .name = broken_cases[i].name, .test_func = test_broken, .initial_state = (void *)(uintptr_t)&broken_cases[i] };
	}
	return cmocka_run_group_tests_name("spdy", tests, NULL, NULL);
}
