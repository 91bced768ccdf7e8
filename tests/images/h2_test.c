/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_test.c - the gRPC connection against nghttp2's client, and against bytes that no client sends.
 */
#include "../../images/testserver/h2.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static enum grpc_status on_call(void *arg, struct str path, struct str message, struct buf *reply, const char **ret_text) {
	if (!str_eq(path, S("/a.B/C"))) {
		*ret_text = "unimplemented";
		return GRPC_UNIMPLEMENTED;
	}
	buf_addf(reply, "<%.*s>", STR_ARG(message));
	return GRPC_OK;
}

/* ---- a client ---- */

struct client {
	struct str body; /* what is left to send */
	struct buf headers, data;
	int closed;
	uint32_t error;
};

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value,
	size_t value_len, uint8_t flags, void *arg) {
	struct client *c = arg;

	buf_addf(&c->headers, "%.*s=%.*s ", (int)name_len, (const char *)name, (int)value_len, (const char *)value);
	return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg) {
	struct client *c = arg;

	buf_add(&c->data, (struct str){ (const char *)data, len });
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg) {
	struct client *c = arg;

	c->closed++;
	c->error = error;
	return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t len, uint32_t *flags, nghttp2_data_source *source, void *arg) {
	struct client *c = source->ptr;

	len = MIN(len, c->body.len);
	memcpy(to, c->body.ptr, len);
	c->body = (struct str){ c->body.ptr + len, c->body.len - len };
	*flags = c->body.len == 0 ? NGHTTP2_DATA_FLAG_EOF : 0;
	return (ssize_t)len;
}

static nghttp2_session *client_new(struct client *c) {
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;

	assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	assert_int_equal(nghttp2_session_client_new(&session, callbacks, c), 0);
	nghttp2_session_callbacks_del(callbacks);
	assert_int_equal(nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0), 0);
	return session;
}

static int32_t client_submit(nghttp2_session *session, struct client *c, const char *path) {
	nghttp2_data_provider provider = { .source.ptr = c, .read_callback = on_read };
	const char *const fields[][2] = {
		{ ":method", "POST" }, { ":scheme", "http" }, { ":path", path }, { ":authority", "x" },
		{ "content-type", "application/grpc" }, { "te", "trailers" }, { "user-agent", "a test with (odd) letters \\^~" },
	};
	nghttp2_nv nv[ARRAY_LEN(fields)];

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		nv[i] = (nghttp2_nv){ (uint8_t *)fields[i][0], (uint8_t *)fields[i][1], strlen(fields[i][0]), strlen(fields[i][1]), 0 };
	}
	return nghttp2_submit_request(session, NULL, nv, ARRAY_LEN(nv), &provider, NULL);
}

/* Carries bytes both ways, `step` at a time, until neither side has any. */
static bool pump(nghttp2_session *session, struct h2 *h2, size_t step) {
	bool ok = true;

	for (bool moved = true; moved;) {
		const uint8_t *data;
		ssize_t len = nghttp2_session_mem_send(session, &data);
		auto_buf struct buf out = { 0 };

		moved = len > 0;
		for (size_t at = 0; at < (size_t)len && ok; at += step) {
			ok = h2_feed(h2, (struct str){ (const char *)data + at, MIN(step, (size_t)len - at) }, &out);
		}
		if (out.len > 0) {
			assert_int_equal(nghttp2_session_mem_recv(session, (uint8_t *)out.ptr, out.len), out.len);
		}
	}
	return ok;
}

static const struct call_case {
	const char *name, *path;
	struct str body;
	const char *headers, *data_tail;
	size_t step;
} call_cases[] = {
	{ "a call", "/a.B/C", S("\0\0\0\0\2hi"), ":status=200 content-type=application/grpc grpc-status=0 ", "<hi>", 65536 },
	{ "byte by byte", "/a.B/C", S("\0\0\0\0\2hi"), ":status=200 content-type=application/grpc grpc-status=0 ", "<hi>", 1 },
	{ "an empty message", "/a.B/C", S("\0\0\0\0\0"), ":status=200 content-type=application/grpc grpc-status=0 ", "<>", 65536 },
	{ "no such method", "/a.B/D", S("\0\0\0\0\0"), ":status=200 content-type=application/grpc grpc-status=12 grpc-message=unimplemented ", "", 7 },
	{ "compressed", "/a.B/C", S("\1\0\0\0\1x"), ":status=200 content-type=application/grpc grpc-status=12 grpc-message=compressed messages are not understood ", "", 65536 },
	{ "length too large", "/a.B/C", S("\0\0\0\0\3x"), ":status=200 content-type=application/grpc grpc-status=3 grpc-message=one message is expected ", "", 65536 },
	{ "no prefix", "/a.B/C", S("x"), ":status=200 content-type=application/grpc grpc-status=3 grpc-message=one message is expected ", "", 65536 },
};

static void test_call(void **state) {
	const struct call_case *c = *state;
	struct client client = { .body = c->body };
	nghttp2_session *session = client_new(&client);
	struct h2 *h2 = h2_new(on_call, NULL);
	size_t tail = strlen(c->data_tail);

	assert_true(client_submit(session, &client, c->path) > 0);
	assert_true(pump(session, h2, c->step));
	assert_int_equal(client.closed, 1);
	assert_int_equal(client.error, 0);
	assert_string_equal(client.headers.ptr, c->headers);
	assert_int_equal(client.data.len, tail ? tail + 5 : 0);
	if (tail) {
		assert_memory_equal(client.data.ptr + 5, c->data_tail, tail);
	}
	buf_release(&client.headers);
	buf_release(&client.data);
	nghttp2_session_del(session);
	h2_free(h2);
}

/* A connection that lives long: its windows and tables must not run out. */
static void test_many_calls(void **state) {
	struct client client = { 0 };
	nghttp2_session *session = client_new(&client);
	struct h2 *h2 = h2_new(on_call, NULL);

	for (int i = 0; i < 20000; i++) {
		client.body = S("\0\0\0\0\5hello");
		buf_clear(&client.headers);
		assert_true(client_submit(session, &client, "/a.B/C") > 0);
		assert_true(pump(session, h2, 65536));
		assert_int_equal(client.closed, i + 1);
		if (i % 100 == 0) {
			assert_int_equal(nghttp2_submit_ping(session, 0, NULL), 0);
		}
	}
	buf_release(&client.headers);
	buf_release(&client.data);
	nghttp2_session_del(session);
	h2_free(h2);
}

static void test_large_message(void **state) {
	auto_buf struct buf body = { 0 };
	struct client client = { 0 };
	nghttp2_session *session = client_new(&client);
	struct h2 *h2 = h2_new(on_call, NULL);

	for (int i = 0; i < 300000; i++) {
		buf_add(&body, S("x"));
	}
	client.body = buf_str(&body);
	assert_true(client_submit(session, &client, "/a.B/C") > 0);
	assert_true(pump(session, h2, 65536));
	assert_int_equal(client.closed, 1);
	assert_int_equal(client.error, NGHTTP2_ENHANCE_YOUR_CALM);
	buf_release(&client.headers);
	nghttp2_session_del(session);
	h2_free(h2);
}

/* ---- bytes of no client ---- */

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define SETTINGS "\0\0\0\4\0\0\0\0\0"
/* :method POST, :path / */
#define HEADERS(flags, id) "\0\0\2\1" flags "\0\0\0" id "\x83\x84"

static const struct bad_case {
	const char *name;
	struct str in;
	int error; /* of the GOAWAY; -1: closed without one; -2: not closed */
} bad_cases[] = {
	{ "HTTP/1.1", S("GET / HTTP/1.1\r\n\r\n"), -1 },
	{ "a start only", S("PRI * HT"), -2 },
	{ "a frame too large", S(PREFACE "\0\x40\1\0\0\0\0\0\1"), 6 },
	{ "an unknown frame", S(PREFACE SETTINGS "\0\0\1\x20\0\0\0\0\1x"), -2 },
	{ "a push promise", S(PREFACE SETTINGS "\0\0\0\5\0\0\0\0\1"), 1 },
	{ "an even stream", S(PREFACE SETTINGS HEADERS("\5", "\2")), 1 },
	{ "stream 0", S(PREFACE SETTINGS HEADERS("\5", "\0")), 1 },
	{ "an old stream", S(PREFACE SETTINGS HEADERS("\5", "\5") HEADERS("\5", "\3")), 5 },
	{ "headers twice", S(PREFACE SETTINGS HEADERS("\4", "\1") HEADERS("\4", "\1")), 1 },
	{ "data of an idle stream", S(PREFACE SETTINGS "\0\0\1\0\0\0\0\0\1x"), 1 },
	{ "padding beyond the frame", S(PREFACE SETTINGS "\0\0\1\1\x0d\0\0\0\1\5"), 1 },
	{ "priority cut off", S(PREFACE SETTINGS "\0\0\2\1\x25\0\0\0\1\0\0"), 1 },
	{ "a continuation of nothing", S(PREFACE SETTINGS "\0\0\0\x9\4\0\0\0\1"), 1 },
	{ "something amid a block", S(PREFACE SETTINGS HEADERS("\1", "\1") "\0\0\x8\6\0\0\0\0\0" "12345678"), 1 },
	{ "an empty continuation", S(PREFACE SETTINGS HEADERS("\1", "\1") "\0\0\0\x9\0\0\0\0\1"), 11 },
	{ "a bad block", S(PREFACE SETTINGS "\0\0\1\1\5\0\0\0\1\x80"), 9 },
	{ "settings of odd length", S(PREFACE "\0\0\5\4\0\0\0\0\0" "12345"), 6 },
	{ "settings of a stream", S(PREFACE "\0\0\0\4\0\0\0\0\1"), 1 },
	{ "a short ping", S(PREFACE SETTINGS "\0\0\4\6\0\0\0\0\0" "1234"), 6 },
	{ "a reset of stream 0", S(PREFACE SETTINGS "\0\0\4\3\0\0\0\0\0" "1234"), 1 },
	{ "goaway", S(PREFACE SETTINGS "\0\0\x8\7\0\0\0\0\0" "12345678"), -1 },
};

static void test_bad(void **state) {
	const struct bad_case *c = *state;
	struct h2 *h2 = h2_new(on_call, NULL);
	auto_buf struct buf out = { 0 };
	bool ok = h2_feed(h2, c->in, &out);

	assert_int_equal(ok, c->error == -2);
	if (c->error >= 0) {
		const unsigned char *last = (unsigned char *)out.ptr + out.len - 17;

		assert_true(out.len >= 17);
		assert_int_equal(last[3], 7);
		assert_int_equal(last[16], c->error);
	}
	h2_free(h2);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(call_cases) + ARRAY_LEN(bad_cases) + 2] = {
		cmocka_unit_test(test_many_calls),
		cmocka_unit_test(test_large_message),
	};
	size_t n = 2;

	for (size_t i = 0; i < ARRAY_LEN(call_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = call_cases[i].name, .test_func = test_call, .initial_state = (void *)&call_cases[i] };
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = bad_cases[i].name, .test_func = test_bad, .initial_state = (void *)&bad_cases[i] };
	}
	return cmocka_run_group_tests_name("h2", tests, NULL, NULL);
}
