/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_spdy.c - fuzz target: SPDY/3.1 input to a server that answers, echoes and sometimes resets. Property: nothing is said of a stream before it
 * was opened or after it was closed, each is closed once, and the events do not depend on how the bytes were cut.
 */
#include <stdint.h>

#include "net/spdy.h"

struct log {
	struct spdy *spdy;
	struct buf text;   /* events; data lengths are summed, because pieces follow the cuts */
	uint64_t data;
	size_t open;
	bool broken;
};

static void on_stream(void *arg, struct spdy_stream *s, bool fin) {
	struct log *l = arg;
	assert(!l->broken && !s->user);
	s->user = l;
	l->open++;
	buf_printf(&l->text, "+%u:%zu:%d ", s->id, s->headers.len, fin);
	if (s->id % 7 == 3) {
		spdy_reset(l->spdy, s, SPDY_CANCEL);
		return;
	}
	spdy_reply(l->spdy, s, s->headers.at, s->headers.len, false);
}
static void on_data(void *arg, struct spdy_stream *s, struct str bytes, bool fin) {
	struct log *l = arg;
	assert(s->user == l);
	l->data += bytes.len;
	spdy_consume(l->spdy, s, bytes.len);
	if (fin) {
		buf_printf(&l->text, "f%u ", s->id);
		(void)spdy_send(l->spdy, s, S("bye"), true);
	}
}
static void on_stream_close(void *arg, struct spdy_stream *s, bool reset) {
	struct log *l = arg;
	assert(s->user == l);
	s->user = NULL;
	l->open--;
	buf_printf(&l->text, "-%u:%d ", s->id, reset);
}
static void on_output(void *arg, struct str bytes) {
	struct log *l = arg;
	assert(bytes.len >= 8);
	(void)l;
}
static void on_error(void *arg, const struct err *err) {
	struct log *l = arg;
	assert(!l->broken);
	l->broken = true;
	buf_printf(&l->text, "e%s ", err->msg);
}
static const struct spdy_handler handler = { .on_stream = on_stream, .on_data = on_data, .on_stream_close = on_stream_close, .on_output = on_output, .on_error = on_error };

static void run(struct str in, size_t cut, struct log *l) {
	l->spdy = spdy_new(&(struct spdy_opts){ .streams_max = 20 }, &handler, l);
	bool more = true;
	for (size_t at = 0; at < in.len && more; at += cut) {
		more = spdy_input(l->spdy, str_sub(in, at, at + cut));
	}
	assert(more == !l->broken);
	spdy_free(l->spdy);
	assert(l->open == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct log whole = { 0 }, cuts = { 0 };
	if (size < 2) {
		return 0;
	}
	struct str in = { (const char *)data + 1, size - 1 };
	run(in, in.len, &whole);
	run(in, (size_t)data[0] % 31 + 1, &cuts);
	assert(str_eq(buf_view(&whole.text), buf_view(&cuts.text)) && whole.data == cuts.data);
	buf_release(&whole.text);
	buf_release(&cuts.text);
	return 0;
}
