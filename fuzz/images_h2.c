/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_h2.c - the test server's HTTP/2 connection and header decoder on any bytes.
 *
 * Property: cut in two at any place, the same bytes give the same answer. The sources are included,
 * since no room's library has them.
 */
#include "../images/testserver/base.c"
#include "../images/testserver/hpack.c"
#include "../images/testserver/h2.c"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum grpc_status on_call(void *arg, struct str path, struct str message, struct buf *reply, const char **ret_text) {
	buf_addf(reply, "%zu", path.len + message.len);
	return GRPC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static const char start[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct h2 *whole = h2_new(on_call, NULL), *cut = h2_new(on_call, NULL);
	auto_buf struct buf out = { 0 }, out_cut = { 0 };
	size_t at = size ? data[0] % size : 0;
	struct str in = { (const char *)data, MIN(size, 60000) };
	bool ok, ok_cut;

	at = MIN(at, in.len);
	assert(h2_feed(whole, str_from(start), &out) && h2_feed(cut, str_from(start), &out_cut));
	ok = h2_feed(whole, in, &out);
	ok_cut = h2_feed(cut, (struct str){ in.ptr, at }, &out_cut) && h2_feed(cut, (struct str){ in.ptr + at, in.len - at }, &out_cut);
	assert(ok == ok_cut && str_eq(buf_str(&out), buf_str(&out_cut)));
	h2_free(whole);
	h2_free(cut);
	return 0;
}
