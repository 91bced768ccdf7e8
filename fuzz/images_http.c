/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_http.c - the test server's HTTP/1.1 parser and JSON reader on any bytes.
 *
 * Property: what is accepted lies within the input, and a head that is whole stays the same when
 * bytes follow it. The sources are included, since no room's library has them.
 */
#include "../images/testserver/base.c"
#include "../images/testserver/http_parse.c"
#include "../images/testserver/json.c"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct str outer, struct str s) {
	return s.len == 0 || (s.ptr >= outer.ptr && s.ptr + s.len <= outer.ptr + outer.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct str in = { (const char *)data, size };
	auto_buf struct buf body = { 0 }, path = { 0 }, value = { 0 }, text = { 0 }, printed = { 0 }, again = { 0 };
	static struct http_head head, shorter;
	size_t used = 0, used_shorter = 0;
	struct str raw;

	if (http_parse_request(in, &head, &used) == HTTP_PARSE_DONE) {
		assert(used <= size && inside(in, head.path) && inside(in, head.query));
		for (size_t i = 0; i < head.headers_len; i++) {
			assert(inside(in, head.headers[i].name) && inside(in, head.headers[i].value));
		}
		assert(http_parse_request((struct str){ in.ptr, used }, &shorter, &used_shorter) == HTTP_PARSE_DONE && used_shorter == used);
		http_unescape(&path, head.path, false);
		assert(path.len <= head.path.len);
		http_query_get(head.query, S("key"), &value);
	}
	http_parse_answer(in, &head, &used);
	if (http_parse_chunked(in, &body, &used) == HTTP_PARSE_DONE) {
		assert(used <= size && body.len < size);
	}
	if (json_member(in, S("Source"), &raw)) {
		assert(inside(in, raw));
		if (json_unquote(raw, &text)) {
			json_string(&printed, buf_str(&text));
			assert(json_unquote(buf_str(&printed), &again));
		}
	}
	return 0;
}
