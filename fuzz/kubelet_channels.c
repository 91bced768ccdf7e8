/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec's channels under hostile bytes, WebSocket or SPDY by the first byte, cut by the second: no crash, stdin ends at most
 * once, nothing comes after the end.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "kubelet/channels.h"

struct state {
	struct channels *c;
	int eofs, overs;
};

static void on_ready(void *arg) {
}
static void on_stdin(void *arg, struct str bytes) {
	struct state *s = arg;
	assert(s->overs == 0 && s->eofs == 0);
	channels_consumed(s->c, bytes.len);
}
static void on_stdin_eof(void *arg) {
	assert(++((struct state *)arg)->eofs == 1);
}
static void on_resize(void *arg, uint16_t columns, uint16_t rows) {
	assert(columns > 0 && rows > 0);
}
static void on_over(void *arg) {
	assert(++((struct state *)arg)->overs == 1);
}
static void on_output(void *arg, struct str bytes) {
}
static void on_drain(void *arg) {
}
static const struct channels_handler handler = { on_ready, on_stdin, on_stdin_eof, on_resize, on_over, on_output, on_drain };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct channels_want want = { .in = true, .out = true, .tty = true };
	struct state s = { 0 };

	if (size < 2) {
		return 0;
	}
	size_t step = data[1] ? data[1] : 1;
	s.c = data[0] % 4 == 0 ? channels_new_spdy(S("v4.channel.k8s.io"), &want, &handler, &s)
		: channels_new_ws(channels_ws_protocols[data[0] % channels_ws_protocols_len], &want, &handler, &s);
	channels_begin(s.c);
	for (size_t at = 2; at < size; at += step) {
		if (!channels_input(s.c, (struct str){ (const char *)data + at, MIN(step, size - at) })) {
			break;
		}
		channels_send(s.c, CHANNEL_STDOUT, S("x"));
	}
	channels_finish(s.c, &(struct channels_result){ .ok = true, .exited = true, .exit_code = data[0] });
	channels_free(s.c);
	return 0;
}
