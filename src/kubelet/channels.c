/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channels.c - see channels.h.
 *
 * WebSocket: each message begins with a channel number; base64 variants send text with a digit. From v4 on the error
 * channel carries a Status, before that plain text when something failed. v5: FF and a channel number close that channel.
 * SPDY: one stream a channel, named by its header "streamtype"; resize from v3 on.
 *
 * Source: Kubernetes KEP-4006 and KEP-1152; recorded exchanges of kubectl 1.27 to 1.35.
 */
#include "kubelet/channels.h"

#include "base/arena.h"
#include "base/buf.h"
#include "net/digest.h"
#include "net/spdy.h"
#include "net/ws.h"
#include "value/value.h"

const struct str channels_ws_protocols[] = {
	S_INIT("v5.channel.k8s.io"),
	S_INIT("v4.channel.k8s.io"),
	S_INIT("v4.base64.channel.k8s.io"),
	S_INIT("channel.k8s.io"),
	S_INIT("base64.channel.k8s.io"),
};
const size_t channels_ws_protocols_len = ARRAY_LEN(channels_ws_protocols);

static const struct str spdy_protocols[] = {
	S_INIT("v4.channel.k8s.io"),
	S_INIT("v3.channel.k8s.io"),
	S_INIT("v2.channel.k8s.io"),
	S_INIT("channel.k8s.io"),
};

#define CLOSE_SIGNAL 255

struct channels {
	const struct channels_handler *h;
	void *arg;
	struct channels_want want;
	int version;
	bool base64;
	bool ready, over, finished;
	struct ws *ws;
	struct spdy *spdy;
	struct spdy_stream *streams[CHANNELS];
	bool stdin_closed;
};

struct str channels_spdy_protocol(struct str offer) {
	if (offer.len == 0) {
		return S("channel.k8s.io"); /* old clients send no offer */
	}
	for (size_t i = 0; i < ARRAY_LEN(spdy_protocols); i++) {
		struct str rest = offer, piece;
		while (str_next(&rest, ',', &piece)) {
			if (str_eq(str_trim(piece), spdy_protocols[i])) {
				return spdy_protocols[i];
			}
		}
	}
	return (struct str){ 0 };
}

static int version_of(struct str protocol) {
	int v = 1;

	if (protocol.len > 1 && protocol.ptr[0] == 'v') {
		struct str head, rest;
		str_cut(str_from(protocol, 1), '.', &head, &rest);
		if (!str_to_int(head, 1, 5, &v)) {
			v = 1;
		}
	}
	return v;
}

static void over(struct channels *c) {
	if (!c->over) {
		c->over = true;
		c->h->on_over(c->arg);
	}
}

static void resize(struct channels *c, struct str text) {
	auto_arena struct arena a = { 0 };
	struct value *v = NULL;
	struct err err = { 0 };

	if (!json_parse(&a, str_trim(text), &(struct json_opts){ .depth_max = 8 }, &v, &err)) {
		return; /* a size that cannot be read changes nothing */
	}
	int64_t w = value_as_int(value_get_str(v, S("Width"))), h = value_as_int(value_get_str(v, S("Height")));
	if (w > 0 && h > 0 && w < 65536 && h < 65536) {
		c->h->on_resize(c->arg, (uint16_t)w, (uint16_t)h);
	}
}

static void stdin_eof(struct channels *c) {
	if (!c->stdin_closed) {
		c->stdin_closed = true;
		c->h->on_stdin_eof(c->arg);
	}
}

/* ---- WebSocket ------------------------------------------------------------------------------------------------ */

static void ws_on_message(void *arg, enum ws_opcode opcode, struct str bytes) {
	struct channels *c = arg;
	auto_arena struct arena a = { 0 };

	if (bytes.len == 0 || c->over) {
		return;
	}
	unsigned ch = (unsigned char)bytes.ptr[0];
	struct str payload = str_from(bytes, 1);
	if (c->base64) {
		ch -= '0';
		if (!base64_decode(&a, payload, &payload)) {
			ws_close(c->ws, WS_BAD_DATA, S("not base64"));
			over(c);
			return;
		}
	} else if (ch == CLOSE_SIGNAL && c->version >= 5) {
		if (payload.len == 1 && payload.ptr[0] == CHANNEL_STDIN) {
			stdin_eof(c);
		}
		return;
	}
	if (ch == CHANNEL_STDIN && c->want.in && !c->stdin_closed) {
		if (payload.len > 0) {
			c->h->on_stdin(c->arg, payload);
		}
	} else if (ch == CHANNEL_RESIZE && c->want.tty) {
		resize(c, payload);
	}
}

static void ws_on_close(void *arg, int code, struct str reason) {
	over(arg);
}

static void ws_on_output(void *arg, struct str bytes) {
	struct channels *c = arg;

	c->h->on_output(c->arg, bytes);
}

static const struct ws_handler ws_handler = { .on_message = ws_on_message, .on_close = ws_on_close, .on_output = ws_on_output };

static void ws_put(struct channels *c, enum channel ch, struct str bytes) {
	if (c->base64) {
		auto_arena struct arena a = { 0 };
		char digit = (char)('0' + ch);
		ws_send2(c->ws, WS_TEXT, (struct str){ &digit, 1 }, base64_encode(&a, bytes));
	} else {
		char number = (char)ch;
		ws_send2(c->ws, WS_BINARY, (struct str){ &number, 1 }, bytes);
	}
}

struct channels *channels_new_ws(struct str protocol, const struct channels_want *want, const struct channels_handler *h, void *arg) {
	struct channels *c = xcalloc(1, sizeof(*c));

	c->h = h;
	c->arg = arg;
	c->want = *want;
	c->version = version_of(protocol);
	c->base64 = str_contains(protocol, S("base64"));
	c->ws = ws_new(&(struct ws_opts){ .message_max = 4 << 20 }, &ws_handler, c);
	return c;
}

/* ---- SPDY ----------------------------------------------------------------------------------------------------- */

static size_t streams_wanted(const struct channels *c) {
	return 1u + c->want.in + c->want.out + c->want.err_out + (c->want.tty && c->version >= 3);
}

static void check_ready(struct channels *c) {
	size_t n = 0;

	for (size_t i = 0; i < CHANNELS; i++) {
		n += c->streams[i] != NULL;
	}
	if (!c->ready && n >= streams_wanted(c)) {
		c->ready = true;
		c->h->on_ready(c->arg);
	}
}

static void spdy_on_stream(void *arg, struct spdy_stream *s, bool fin) {
	static const struct {
		struct str name;
		enum channel ch;
	} rows[] = {
		{ S_INIT("stdin"), CHANNEL_STDIN },   { S_INIT("stdout"), CHANNEL_STDOUT }, { S_INIT("stderr"), CHANNEL_STDERR },
		{ S_INIT("error"), CHANNEL_ERROR },   { S_INIT("resize"), CHANNEL_RESIZE },
	};
	struct channels *c = arg;
	struct str type = spdy_header(s, S("streamtype"));

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eq(type, rows[i].name) && !c->streams[rows[i].ch]) {
			c->streams[rows[i].ch] = s;
			spdy_reply(c->spdy, s, NULL, 0, false);
			if (fin && rows[i].ch == CHANNEL_STDIN) {
				stdin_eof(c);
			}
			check_ready(c);
			return;
		}
	}
	spdy_reset(c->spdy, s, SPDY_REFUSED_STREAM);
}

static void spdy_on_data(void *arg, struct spdy_stream *s, struct str bytes, bool fin) {
	struct channels *c = arg;

	if (s == c->streams[CHANNEL_STDIN]) {
		if (bytes.len > 0) {
			c->h->on_stdin(c->arg, bytes);
		}
		if (fin) {
			stdin_eof(c);
		}
		return;
	}
	if (s == c->streams[CHANNEL_RESIZE] && bytes.len > 0) {
		resize(c, bytes);
	}
	spdy_consume(c->spdy, s, bytes.len);
}

static void spdy_on_drain(void *arg, struct spdy_stream *s) {
	struct channels *c = arg;

	c->h->on_drain(c->arg);
}

static void spdy_on_stream_close(void *arg, struct spdy_stream *s, bool reset) {
	struct channels *c = arg;

	for (size_t i = 0; i < CHANNELS; i++) {
		if (c->streams[i] == s) {
			c->streams[i] = NULL;
			if (i == CHANNEL_STDIN) {
				stdin_eof(c);
			}
		}
	}
}

static void spdy_on_goaway(void *arg) {
	struct channels *c = arg;

	if (c->finished) {
		over(c);
	}
}

static void spdy_on_output(void *arg, struct str bytes) {
	struct channels *c = arg;

	c->h->on_output(c->arg, bytes);
}

static void spdy_on_error(void *arg, const struct err *err) {
	over(arg);
}

static const struct spdy_handler spdy_handler = {
	.on_stream = spdy_on_stream,
	.on_data = spdy_on_data,
	.on_drain = spdy_on_drain,
	.on_stream_close = spdy_on_stream_close,
	.on_goaway = spdy_on_goaway,
	.on_output = spdy_on_output,
	.on_error = spdy_on_error,
};

struct channels *channels_new_spdy(struct str protocol, const struct channels_want *want, const struct channels_handler *h, void *arg) {
	struct channels *c = xcalloc(1, sizeof(*c));

	c->h = h;
	c->arg = arg;
	c->want = *want;
	c->version = version_of(protocol);
	c->spdy = spdy_new(&(struct spdy_opts){ .streams_max = 16 }, &spdy_handler, c);
	return c;
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

void channels_free(struct channels *c) {
	if (!c) {
		return;
	}
	c->over = true;
	c->stdin_closed = true;
	if (c->ws) {
		ws_free(c->ws);
	}
	if (c->spdy) {
		spdy_free(c->spdy);
	}
	free(c);
}

void channels_begin(struct channels *c) {
	if (!c->ws || c->ready) {
		return;
	}
	c->ready = true;
	/* an empty message tells the client that the streams are there */
	ws_put(c, c->want.out ? CHANNEL_STDOUT : c->want.err_out ? CHANNEL_STDERR : CHANNEL_ERROR, S(""));
	c->h->on_ready(c->arg);
}

bool channels_input(struct channels *c, struct str bytes) {
	if (c->over) {
		return false;
	}
	bool ok = c->ws ? ws_input(c->ws, bytes) : spdy_input(c->spdy, bytes);
	if (!ok) {
		over(c);
	}
	return ok && !c->over;
}

void channels_send(struct channels *c, enum channel ch, struct str bytes) {
	bool wanted = ch == CHANNEL_ERROR || (ch == CHANNEL_STDOUT && c->want.out) || (ch == CHANNEL_STDERR && c->want.err_out);

	if (!wanted || c->over || bytes.len == 0) {
		return;
	}
	if (c->ws) {
		ws_put(c, ch, bytes);
	} else if (c->streams[ch]) {
		spdy_send(c->spdy, c->streams[ch], bytes, false);
	}
}

size_t channels_backlog(const struct channels *c) {
	size_t n = 0;

	for (size_t i = 0; c->spdy && i < CHANNELS; i++) {
		n += c->streams[i] ? spdy_backlog(c->streams[i]) : 0;
	}
	return n;
}

void channels_consumed(struct channels *c, size_t bytes) {
	if (c->spdy && c->streams[CHANNEL_STDIN]) {
		spdy_consume(c->spdy, c->streams[CHANNEL_STDIN], bytes);
	}
}

static struct str status_text(struct arena *a, const struct channels_result *r) {
	struct value *s = value_new_object(a);

	value_set(a, s, N_metadata, value_new_object(a));
	if (r->ok && (!r->exited || r->exit_code == 0)) {
		value_set_str(a, s, N_status, S("Success"));
		return json_text(a, s);
	}
	value_set_str(a, s, N_status, S("Failure"));
	if (r->exited) {
		value_set_str(a, s, N_message, arena_printf(a, "command terminated with non-zero exit code: exit code %d", r->exit_code));
		value_set_str(a, s, N_reason, S("NonZeroExitCode"));
		struct value *cause = value_new_object(a);
		value_set_str(a, cause, N_reason, S("ExitCode"));
		value_set_str(a, cause, N_message, arena_printf(a, "%d", r->exit_code));
		value_push(a, value_ensure_array(a, value_ensure_object(a, s, N_details), N_causes), cause);
	} else {
		value_set_str(a, s, N_message, r->error);
		value_set_str(a, s, N_reason, S("InternalError"));
		struct value *cause = value_new_object(a);
		value_set_str(a, cause, N_message, r->error);
		value_push(a, value_ensure_array(a, value_ensure_object(a, s, N_details), N_causes), cause);
		value_set_int(a, s, N_code, 500);
	}
	return json_text(a, s);
}

void channels_finish(struct channels *c, const struct channels_result *r) {
	auto_arena struct arena a = { 0 };
	bool fine = r->ok && (!r->exited || r->exit_code == 0);
	struct str text = S("");

	if (c->finished || c->over) {
		return;
	}
	c->finished = true;
	if (c->version >= 4) {
		text = status_text(&a, r);
	} else if (!fine) {
		text = r->exited ? arena_printf(&a, "error executing remote command: command terminated with non-zero exit code: exit code %d", r->exit_code)
			: arena_printf(&a, "error executing remote command: %.*s", STR_ARG(r->error));
	}
	if (c->ws) {
		if (text.len > 0) {
			ws_put(c, CHANNEL_ERROR, text);
		}
		ws_close(c->ws, WS_NORMAL, S(""));
		return;
	}
	if (c->streams[CHANNEL_ERROR] && text.len > 0) {
		spdy_send(c->spdy, c->streams[CHANNEL_ERROR], text, false);
	}
	static const enum channel order[] = { CHANNEL_STDOUT, CHANNEL_STDERR, CHANNEL_ERROR, CHANNEL_STDIN, CHANNEL_RESIZE };
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		if (c->streams[order[i]]) {
			spdy_send(c->spdy, c->streams[order[i]], S(""), true);
		}
	}
}
