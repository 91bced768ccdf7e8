/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws.c - WebSocket frames and handshake; see ws.h. RFC 6455, without extensions. One thread at a time.
 *
 * Input is a small machine over frames: a header is gathered whole, payload is unmasked as it comes.
 */
#include "net/ws.h"

#include "net/digest.h"

#define MESSAGE_MAX_DEFAULT ((size_t)16 << 20)
#define CONTROL_MAX 125 /* RFC 6455 section 5.5 */
#define HEADER_MAX 14

struct ws {
	struct ws_opts opts;
	const struct ws_handler *handler;
	void *arg;
	/* the frame that is being read */
	uint8_t header[HEADER_MAX];
	size_t header_len;
	bool in_payload, fin;
	uint8_t opcode, mask[4];
	uint64_t left, at;
	uint8_t control[CONTROL_MAX];
	/* the message that is being read */
	bool in_message;
	uint8_t message_opcode;
	struct buf message;
	bool first_piece;
	/* the connection */
	bool close_sent, close_seen, broken;
};

/* ---- handshake ---- */

void ws_accept_key(struct str key, char out[29]) {
	auto_arena struct arena a = { 0 };
	uint8_t digest[SHA1_BYTES];
	struct str parts[] = { key, S("258EAFA5-E914-47DA-95CA-C5AB0DC85B11") };
	sha1(arena_join(&a, parts, 2, S("")), digest);
	snprintf(out, 29, "%s", base64_encode(&a, (struct str){ (char *)digest, sizeof(digest) }).ptr);
}

/* The server's order of preference counts. */
static bool protocol_choose(struct http_exchange *x, const struct str *protocols, size_t n, struct str *ret, struct err *err) {
	struct str offered = http_request_header(x, S("Sec-WebSocket-Protocol"));
	*ret = (struct str){ 0 };
	if (!offered.len) {
		return true;
	}
	for (size_t i = 0; i < n; i++) {
		if (http_header_has_token(x->headers, S("Sec-WebSocket-Protocol"), protocols[i])) {
			*ret = protocols[i];
			return true;
		}
	}
	return err_set(err, ERR_BAD_REQUEST, "none of the WebSocket protocols %.*s is supported", (int)MIN(offered.len, (size_t)200), offered.ptr);
}

bool ws_upgrade(struct http_exchange *x, const struct str *protocols, size_t n, struct net_conn **ret, struct str *ret_protocol, struct err *err) {
	struct str key = http_request_header(x, S("Sec-WebSocket-Key")), protocol;
	char accept[29];
	if (!str_eq(x->method, S("GET")) || !http_wants_upgrade(x, S("websocket")) || !key.len) {
		return err_set(err, ERR_BAD_REQUEST, "not a WebSocket request");
	}
	if (!str_eq(http_request_header(x, S("Sec-WebSocket-Version")), S("13"))) {
		return err_set(err, ERR_BAD_REQUEST, "WebSocket version 13 is needed");
	}
	if (!protocol_choose(x, protocols, n, &protocol, err)) {
		return false;
	}
	if (x->version != 11) {
		return err_set(err, ERR_BAD_REQUEST, "an upgrade needs HTTP/1.1");
	}
	ws_accept_key(key, accept);
	http_header_set(x, S("Upgrade"), S("websocket"));
	http_header_set(x, S("Connection"), S("Upgrade"));
	http_header_set(x, S("Sec-WebSocket-Accept"), str_c(accept));
	if (protocol.len) {
		http_header_set(x, S("Sec-WebSocket-Protocol"), protocol);
	}
	*ret_protocol = protocol;
	return http_upgrade(x, ret, err);
}

/* ---- sending ---- */

static void mask_apply(char *bytes, size_t len, const uint8_t mask[4], uint64_t at) {
	for (size_t i = 0; i < len; i++) {
		bytes[i] ^= (char)mask[(at + i) & 3];
	}
}

static void frame_put(struct ws *w, uint8_t opcode, struct str head, struct str bytes) {
	uint64_t len = head.len + bytes.len;
	char *frame = xmalloc(HEADER_MAX + len), *p = frame;
	uint8_t mask_bit = w->opts.client ? 0x80 : 0;
	*p++ = (char)(0x80 | opcode);
	if (len < 126) {
		*p++ = (char)(mask_bit | len);
	} else if (len < 65536) {
		*p++ = (char)(mask_bit | 126);
		*p++ = (char)(len >> 8), *p++ = (char)len;
	} else {
		*p++ = (char)(mask_bit | 127);
		for (int shift = 56; shift >= 0; shift -= 8) {
			*p++ = (char)(len >> shift);
		}
	}
	uint8_t mask[4];
	if (w->opts.client) {
		random_bytes(mask, 4); /* RFC 6455 section 10.3: not to be guessed */
		p = mempcpy(p, mask, 4);
	}
	char *payload = p;
	p = head.len ? mempcpy(p, head.ptr, head.len) : p;
	p = bytes.len ? mempcpy(p, bytes.ptr, bytes.len) : p;
	if (w->opts.client) {
		mask_apply(payload, len, mask, 0);
	}
	w->handler->on_output(w->arg, (struct str){ frame, (size_t)(p - frame) });
	free(frame);
}

bool ws_send2(struct ws *w, enum ws_opcode opcode, struct str head, struct str bytes) {
	if (w->close_sent || w->broken) {
		return false;
	}
	frame_put(w, (uint8_t)opcode, head, bytes);
	return true;
}

bool ws_send(struct ws *w, enum ws_opcode opcode, struct str bytes) {
	return ws_send2(w, opcode, (struct str){ 0 }, bytes);
}

void ws_close(struct ws *w, int code, struct str reason) {
	char payload[CONTROL_MAX];
	size_t len = 0;
	if (w->close_sent || w->broken) {
		return;
	}
	w->close_sent = true;
	if (code != WS_NO_STATUS) {
		payload[0] = (char)(code >> 8), payload[1] = (char)code;
		len = MIN(reason.len, sizeof(payload) - 2);
		if (len) {
			memcpy(payload + 2, reason.ptr, len);
		}
		len += 2;
	}
	frame_put(w, WS_CLOSE, (struct str){ 0 }, (struct str){ payload, len });
}

bool ws_closed(const struct ws *w) {
	return w->broken || (w->close_sent && w->close_seen);
}

/* ---- receiving ---- */

/* The peer broke the protocol. */
static bool ws_break(struct ws *w, int code, const char *why) {
	ws_close(w, code, str_c(why));
	w->broken = true;
	w->handler->on_close(w->arg, code, str_c(why));
	return false;
}

/* RFC 6455 section 7.4: what may stand in a close frame. */
static bool close_code_ok(int code) {
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999);
}

static bool control_done(struct ws *w) {
	struct str bytes = { (char *)w->control, (size_t)w->at };
	switch (w->opcode) {
	case WS_PING:
		ws_send(w, WS_PONG, bytes);
		return true;
	case WS_PONG:
		if (w->handler->on_pong) {
			w->handler->on_pong(w->arg, bytes);
		}
		return true;
	default:
		break;
	}
	int code = bytes.len >= 2 ? w->control[0] << 8 | w->control[1] : WS_NO_STATUS;
	struct str reason = str_from(bytes, 2);
	if (bytes.len == 1 || (bytes.len >= 2 && !close_code_ok(code)) || !utf8_valid(reason)) {
		return ws_break(w, WS_PROTOCOL_ERROR, "malformed close frame");
	}
	w->close_seen = true;
	ws_close(w, code, (struct str){ 0 });
	w->handler->on_close(w->arg, code, reason);
	return false;
}

static bool piece_take(struct ws *w, char *bytes, size_t len) {
	bool last = w->fin && !w->left;
	struct str piece = { bytes, len };
	if (w->handler->on_piece) {
		w->handler->on_piece(w->arg, (enum ws_opcode)w->message_opcode, piece, w->first_piece, last);
		w->first_piece = false;
	} else if (last && !w->message.len) { /* whole in one: no copy */
		w->handler->on_message(w->arg, (enum ws_opcode)w->message_opcode, piece);
	} else {
		if (!buf_str(&w->message, piece)) {
			return ws_break(w, WS_TOO_BIG, "message too big");
		}
		if (last) {
			w->handler->on_message(w->arg, (enum ws_opcode)w->message_opcode, buf_view(&w->message));
			buf_release(&w->message);
		}
	}
	w->in_message = !last;
	return true;
}

/* Bytes that the header needs in all, as far as it is known. */
static size_t header_size(const struct ws *w) {
	if (w->header_len < 2) {
		return 2;
	}
	uint8_t len = w->header[1] & 0x7f;
	return 2 + (size_t)(len == 126 ? 2 : len == 127 ? 8 : 0) + (w->header[1] & 0x80 ? 4 : 0);
}

/* The header is whole: checks it and begins the payload. */
static bool header_done(struct ws *w) {
	uint8_t b0 = w->header[0], b1 = w->header[1];
	bool masked = b1 & 0x80;
	size_t at = 2;
	w->fin = b0 & 0x80;
	w->opcode = b0 & 0x0f;
	w->left = b1 & 0x7f;
	if (w->left == 126) {
		w->left = (uint64_t)w->header[2] << 8 | w->header[3];
		at = 4;
	} else if (w->left == 127) {
		w->left = 0;
		for (at = 2; at < 10; at++) {
			w->left = w->left << 8 | w->header[at];
		}
	}
	memcpy(w->mask, masked ? &w->header[at] : (const uint8_t[4]){ 0 }, 4);
	w->at = 0;
	w->header_len = 0;
	w->in_payload = true;
	if (b0 & 0x70 || masked == w->opts.client || w->left >> 63) {
		return ws_break(w, WS_PROTOCOL_ERROR, b0 & 0x70 ? "reserved bits" : masked == w->opts.client ? "wrong masking" : "bad length");
	}
	switch (w->opcode) {
	case WS_PING:
	case WS_PONG:
	case WS_CLOSE:
		return w->fin && w->left <= CONTROL_MAX ? true : ws_break(w, WS_PROTOCOL_ERROR, "malformed control frame");
	case WS_TEXT:
	case WS_BINARY:
		if (w->in_message) {
			return ws_break(w, WS_PROTOCOL_ERROR, "a message within a message");
		}
		w->message_opcode = w->opcode;
		w->first_piece = w->in_message = true;
		w->message.max = w->opts.message_max;
		break;
	case WS_CONTINUATION:
		if (!w->in_message) {
			return ws_break(w, WS_PROTOCOL_ERROR, "continuation of nothing");
		}
		break;
	default:
		return ws_break(w, WS_PROTOCOL_ERROR, "unknown opcode");
	}
	if (!w->handler->on_piece && (w->left > w->opts.message_max || w->message.len + w->left > w->opts.message_max)) {
		return ws_break(w, WS_TOO_BIG, "message too big");
	}
	return true;
}

static bool payload_take(struct ws *w, struct str *in) {
	char tmp[4096];
	size_t n = (size_t)MIN((uint64_t)MIN(in->len, sizeof(tmp)), w->left);
	bool control = w->opcode & 8;
	if (n) {
		memcpy(tmp, in->ptr, n);
	}
	mask_apply(tmp, n, w->mask, w->at);
	*in = str_from(*in, n);
	if (control && n) {
		memcpy(w->control + w->at, tmp, n);
	}
	w->at += n;
	w->left -= n;
	w->in_payload = w->left > 0;
	if (control) {
		return w->left ? true : control_done(w);
	}
	return n || !w->left ? piece_take(w, tmp, n) : true;
}

bool ws_input(struct ws *w, struct str in) {
	if (w->broken || w->close_seen) {
		return false;
	}
	for (;;) {
		if (w->in_payload) {
			if (!in.len && w->left) {
				return true;
			}
			if (!payload_take(w, &in)) {
				return false;
			}
			continue;
		}
		if (!in.len) {
			return true;
		}
		w->header[w->header_len++] = (uint8_t)in.ptr[0];
		in = str_from(in, 1);
		if (w->header_len >= 2 && w->header_len == header_size(w) && !header_done(w)) {
			return false;
		}
	}
}

struct ws *ws_new(const struct ws_opts *opts, const struct ws_handler *h, void *arg) {
	struct ws *w = xcalloc(1, sizeof(*w));
	w->opts = *opts;
	w->opts.message_max = opts->message_max ? opts->message_max : MESSAGE_MAX_DEFAULT;
	w->handler = h;
	w->arg = arg;
	return w;
}

void ws_free(struct ws *w) {
	if (w) {
		buf_release(&w->message);
		free(w);
	}
}
