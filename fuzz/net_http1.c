/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_http1.c - fuzz target: HTTP/1.1 heads and bodies. Property: where a message ends and what its body is does not
 * depend on how the bytes were cut, and what was taken holds none of the ways to smuggle a second request.
 */
#include <stdint.h>

#include "net/http1.h"

struct outcome {
	enum parse end;
	struct buf body;
	size_t left; /* bytes that belong to what follows */
};

static void run(const struct http1_head *h, struct str in, size_t cut, struct outcome *o) {
	struct http1_body body;
	struct err err;
	http1_body_init(&body, h->framing, h->length);
	o->end = PARSE_MORE;
	for (size_t at = 0; o->end == PARSE_MORE && at < in.len; at += cut) {
		struct str piece, feed = str_sub(in, at, at + cut);
		while ((o->end = http1_body_next(&body, &feed, &piece, &err)) == PARSE_MORE && piece.len) {
			buf_str(&o->body, piece);
		}
		o->left = feed.len + (in.len - MIN(in.len, at + cut));
		assert(o->end != PARSE_MORE || !feed.len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	struct err err;
	struct http1_head h;
	size_t scanned = 0, scanned_slow = 0, slow = 0;
	int status = 0;
	if (size < 2) {
		return 0;
	}
	bool response = data[0] & 1;
	size_t cut = (size_t)(data[0] >> 1) % 17 + 1;
	struct str in = { (const char *)data + 1, size - 1 };
	size_t len = http1_head_end(in, &scanned);
	for (size_t n = 1; n <= in.len && !slow; n++) {
		slow = http1_head_end(str_sub(in, 0, n), &scanned_slow);
	}
	assert(slow == len);
	if (!len) {
		return 0;
	}
	struct str head = arena_str(&a, str_sub(in, 0, len));
	bool ok = response ? http1_parse_response(&a, head, 50, S("GET"), &h, &err) : http1_parse_request(&a, head, 50, &h, &status, &err);
	if (!ok) {
		assert(err.code && err.msg[0]);
		return 0;
	}
	for (size_t i = 0; i < h.headers.len; i++) {
		struct http_header f = h.headers.at[i];
		assert(f.name.len && str_index(f.name, ' ') < 0 && str_index(f.value, '\n') < 0 && str_index(f.value, '\r') < 0);
	}
	bool length = http_header_get(h.headers, S("Content-Length")).ptr, chunked = http_header_get(h.headers, S("Transfer-Encoding")).ptr;
	assert(!(length && chunked));
	struct outcome whole = { 0 }, cuts = { 0 };
	run(&h, str_from(in, len), in.len + 1, &whole);
	run(&h, str_from(in, len), cut, &cuts);
	assert(whole.end == cuts.end && str_eq(buf_view(&whole.body), buf_view(&cuts.body)));
	assert(whole.end != PARSE_DONE || whole.left == cuts.left);
	buf_release(&whole.body);
	buf_release(&cuts.body);
	return 0;
}
