/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channels_test.c - exec's channels in memory: a WebSocket or SPDY client on one side, channels.c on the other, bytes
 * carried by hand and cut small. Messages as recorded from kubectl.
 */
#include "../cases.h"
#include "base/buf.h"
#include "kubelet/channels.h"
#include "net/digest.h"
#include "net/spdy.h"
#include "net/ws.h"

struct side {
	struct buf to_client, to_server;
	struct channels *c;
	struct ws *ws;
	struct spdy *spdy;
	struct spdy_stream *streams[5];
	struct buf got[5];      /* what the client received, by channel */
	struct buf in;          /* what the server received on stdin */
	bool ready, in_eof, over;
	uint16_t columns, rows;
	int close_code;
	bool base64;
};

static void on_ready(void *arg) {
	((struct side *)arg)->ready = true;
}
static void on_stdin(void *arg, struct str bytes) {
	struct side *s = arg;
	buf_str(&s->in, bytes);
	channels_consumed(s->c, bytes.len);
}
static void on_stdin_eof(void *arg) {
	((struct side *)arg)->in_eof = true;
}
static void on_resize(void *arg, uint16_t columns, uint16_t rows) {
	struct side *s = arg;
	s->columns = columns;
	s->rows = rows;
}
static void on_over(void *arg) {
	((struct side *)arg)->over = true;
}
static void on_output(void *arg, struct str bytes) {
	buf_str(&((struct side *)arg)->to_client, bytes);
}
static void on_drain(void *arg) {
}
static const struct channels_handler handler = { on_ready, on_stdin, on_stdin_eof, on_resize, on_over, on_output, on_drain };

/* ---- a WebSocket client -------------------------------------------------------------------------------------- */

static void ws_message(void *arg, enum ws_opcode opcode, struct str bytes) {
	struct side *s = arg;
	auto_arena struct arena a = { 0 };
	struct str payload = str_from(bytes, 1);
	int ch = bytes.len ? (unsigned char)bytes.ptr[0] - (s->base64 ? '0' : 0) : 99;

	assert_int_equal(opcode, s->base64 ? WS_TEXT : WS_BINARY);
	assert_in_range(ch, 0, 4);
	if (s->base64) {
		assert_true(base64_decode(&a, payload, &payload));
	}
	buf_str(&s->got[ch], payload);
}
static void ws_closed_by(void *arg, int code, struct str reason) {
	((struct side *)arg)->close_code = code;
}
static void ws_out(void *arg, struct str bytes) {
	buf_str(&((struct side *)arg)->to_server, bytes);
}
static const struct ws_handler client_ws = { .on_message = ws_message, .on_close = ws_closed_by, .on_output = ws_out };

/* ---- an SPDY client ---------------------------------------------------------------------------------------------- */

static void spdy_data(void *arg, struct spdy_stream *st, struct str bytes, bool fin) {
	struct side *s = arg;
	for (int i = 0; i < 5; i++) {
		if (s->streams[i] == st) {
			buf_str(&s->got[i], bytes);
		}
	}
	spdy_consume(s->spdy, st, bytes.len);
}
static void spdy_none(void *arg, struct spdy_stream *st, bool fin) {
	fail_msg("the server opened a stream");
}
static void spdy_gone(void *arg, struct spdy_stream *st, bool reset) {
	struct side *s = arg;
	for (int i = 0; i < 5; i++) {
		if (s->streams[i] == st) {
			s->streams[i] = NULL;
		}
	}
}
static void spdy_bad(void *arg, const struct err *err) {
	fail_msg("%s", err->msg);
}
static const struct spdy_handler client_spdy = { .on_stream = spdy_none, .on_data = spdy_data, .on_stream_close = spdy_gone, .on_output = ws_out,
	.on_error = spdy_bad };

/* ---- carrying ---------------------------------------------------------------------------------------------------- */

static void carry(struct side *s, size_t step) {
	while (s->to_client.len || s->to_server.len) {
		if (s->to_server.len) {
			size_t n = MIN(step, s->to_server.len);
			char *piece = xmalloc(n);
			memcpy(piece, s->to_server.ptr, n);
			buf_drop(&s->to_server, n);
			channels_input(s->c, (struct str){ piece, n });
			free(piece);
		}
		if (s->to_client.len) {
			size_t n = MIN(step, s->to_client.len);
			char *piece = xmalloc(n);
			memcpy(piece, s->to_client.ptr, n);
			buf_drop(&s->to_client, n);
			if (s->ws) {
				ws_input(s->ws, (struct str){ piece, n });
			} else {
				spdy_input(s->spdy, (struct str){ piece, n });
			}
			free(piece);
		}
	}
}

static void side_release(struct side *s) {
	channels_free(s->c);
	if (s->ws) {
		ws_free(s->ws);
	}
	if (s->spdy) {
		spdy_free(s->spdy);
	}
	for (int i = 0; i < 5; i++) {
		buf_release(&s->got[i]);
	}
	buf_release(&s->in);
	buf_release(&s->to_client);
	buf_release(&s->to_server);
}

static const struct run_case {
	const char *name, *protocol;
	bool spdy;
	size_t step;
	struct channels_result result;
	const char *error; /* on the error channel */
} run_cases_[] = {
#define OK_STATUS "{\"metadata\":{},\"status\":\"Success\"}"
#define EXIT_STATUS "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit code: exit code 3\"," \
	"\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"3\"}]}}"
	{ "v5 over WebSocket", "v5.channel.k8s.io", false, 4096, { .ok = true, .exited = true }, OK_STATUS },
	{ "v5, a byte at a time", "v5.channel.k8s.io", false, 1, { .ok = true, .exited = true }, OK_STATUS },
	{ "v4 exit code", "v4.channel.k8s.io", false, 7, { .ok = true, .exited = true, .exit_code = 3 }, EXIT_STATUS },
	{ "v4 base64", "v4.base64.channel.k8s.io", false, 5, { .ok = true, .exited = true, .exit_code = 3 }, EXIT_STATUS },
	{ "v1 success says nothing", "channel.k8s.io", false, 64, { .ok = true, .exited = true }, "" },
	{ "v1 failure is text", "channel.k8s.io", false, 64, { .ok = false, .error = S_INIT("boom") }, "error executing remote command: boom" },
	{ "SPDY v4", "v4.channel.k8s.io", true, 4096, { .ok = true, .exited = true, .exit_code = 3 }, EXIT_STATUS },
	{ "SPDY v4, small pieces", "v4.channel.k8s.io", true, 3, { .ok = true, .exited = true }, OK_STATUS },
	{ "SPDY v2", "v2.channel.k8s.io", true, 100, { .ok = true, .exited = true }, "" },
};

static void test_run(void **state) {
	const struct run_case *c = *state;
	struct channels_want want = { .in = true, .out = true, .err_out = true };
	struct side s = { .base64 = strstr(c->protocol, "base64") != NULL };
	static const char *const types[] = { "stdin", "stdout", "stderr", "error" };

	if (c->spdy) {
		s.c = channels_new_spdy(str_c(c->protocol), &want, &handler, &s);
		s.spdy = spdy_new(&(struct spdy_opts){ .client = true }, &client_spdy, &s);
		for (int i = 0; i < 4; i++) {
			struct http_header h = { S("streamtype"), str_c(types[i]) };
			assert_false(s.ready);
			s.streams[i] = spdy_open(s.spdy, &h, 1, false);
			carry(&s, c->step);
		}
	} else {
		s.c = channels_new_ws(str_c(c->protocol), &want, &handler, &s);
		s.ws = ws_new(&(struct ws_opts){ .client = true }, &client_ws, &s);
	}
	channels_begin(s.c);
	carry(&s, c->step);
	assert_true(s.ready);

	if (c->spdy) {
		spdy_send(s.spdy, s.streams[0], S("input"), true);
	} else if (s.base64) {
		ws_send(s.ws, WS_TEXT, S("0aW5wdXQ="));
	} else {
		ws_send(s.ws, WS_BINARY, S("\0input"));
		if (strstr(c->protocol, "v5")) {
			ws_send(s.ws, WS_BINARY, S("\xff\0"));
		}
	}
	carry(&s, c->step);
	assert_true(str_eq(buf_view(&s.in), S("input")));
	assert_int_equal(s.in_eof, c->spdy || strstr(c->protocol, "v5") != NULL);

	channels_send(s.c, CHANNEL_STDOUT, S("out"));
	channels_send(s.c, CHANNEL_STDERR, S("err"));
	channels_finish(s.c, &c->result);
	carry(&s, c->step);
	assert_true(str_eq(buf_view(&s.got[CHANNEL_STDOUT]), S("out")));
	assert_true(str_eq(buf_view(&s.got[CHANNEL_STDERR]), S("err")));
	assert_string_equal(s.got[CHANNEL_ERROR].len ? buf_cstr(&s.got[CHANNEL_ERROR]) : "", c->error);
	if (!c->spdy) {
		assert_int_equal(s.close_code, 1000);
		assert_true(s.over);
	}
	side_release(&s);
}

static void test_terminal(void **state) {
	struct channels_want want = { .in = true, .out = true, .tty = true };
	struct side s = { 0 };

	s.c = channels_new_ws(S("v5.channel.k8s.io"), &want, &handler, &s);
	s.ws = ws_new(&(struct ws_opts){ .client = true }, &client_ws, &s);
	channels_begin(s.c);
	ws_send(s.ws, WS_BINARY, S("\4{\"Width\":100,\"Height\":30}\n"));
	carry(&s, 9);
	assert_int_equal(s.columns, 100);
	assert_int_equal(s.rows, 30);
	ws_send(s.ws, WS_BINARY, S("\4not a size"));
	ws_send(s.ws, WS_BINARY, S("\4{\"Width\":-1,\"Height\":99999999}"));
	channels_send(s.c, CHANNEL_STDERR, S("not asked for"));
	carry(&s, 9);
	assert_int_equal(s.columns, 100);
	assert_int_equal(s.got[CHANNEL_STDERR].len, 0);
	side_release(&s);
}

static const struct offer_case {
	const char *name, *offer, *chosen;
} offer_cases[] = {
	{ "kubectl 1.30", "v5.channel.k8s.io, v4.channel.k8s.io, v3.channel.k8s.io, v2.channel.k8s.io, channel.k8s.io", "v4.channel.k8s.io" },
	{ "one header each", "v3.channel.k8s.io,v2.channel.k8s.io", "v3.channel.k8s.io" },
	{ "none", "", "channel.k8s.io" },
	{ "unknown", "v9.channel.k8s.io", NULL },
};

static void test_offer(void **state) {
	const struct offer_case *c = *state;
	struct str got = channels_spdy_protocol(str_c(c->offer));

	if (!c->chosen) {
		assert_null(got.ptr);
	} else {
		assert_true(str_eqc(got, c->chosen));
	}
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_terminal) };

	return RUN_CASES("runs", run_cases_, test_run) + RUN_CASES("offers", offer_cases, test_offer) +
		cmocka_run_group_tests_name("terminal", tests, NULL, NULL);
}
