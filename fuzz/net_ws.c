/* SPDX-License-Identifier: Apache-2.0 */
/* net_ws.c - fuzz target: WebSocket input. Property: messages, answers and the verdict do not depend on how the bytes were cut. */
#include <stdint.h>

#include "net/ws.h"

struct log {
	struct buf text;
	bool closed;
};

static void on_message(void *arg, enum ws_opcode opcode, struct str bytes) {
	struct log *l = arg;
	assert(!l->closed && (opcode == WS_TEXT || opcode == WS_BINARY) && bytes.len <= 1000);
	buf_printf(&l->text, "m%d:%zu:", opcode, bytes.len);
	buf_str(&l->text, bytes);
}
static void on_close(void *arg, int code, struct str reason) {
	struct log *l = arg;
	assert(!l->closed);
	l->closed = true;
	buf_printf(&l->text, "c%d:", code);
	buf_str(&l->text, reason);
}
static void on_output(void *arg, struct str bytes) {
	buf_str(&((struct log *)arg)->text, bytes);
}
static const struct ws_handler handler = { .on_message = on_message, .on_close = on_close, .on_output = on_output };

static void run(struct str in, size_t cut, struct log *l) {
	struct ws *w = ws_new(&(struct ws_opts){ .message_max = 1000 }, &handler, l);
	bool more = true;
	for (size_t at = 0; at < in.len && more; at += cut) {
		more = ws_input(w, str_sub(in, at, at + cut));
	}
	assert(more == !l->closed);
	assert(more || !ws_input(w, S("x")));
	ws_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct log whole = { 0 }, cuts = { 0 };
	if (size < 2) {
		return 0;
	}
	struct str in = { (const char *)data + 1, size - 1 };
	run(in, in.len, &whole);
	run(in, (size_t)data[0] % 13 + 1, &cuts);
	assert(str_eq(buf_view(&whole.text), buf_view(&cuts.text)));
	buf_release(&whole.text);
	buf_release(&cuts.text);
	return 0;
}
