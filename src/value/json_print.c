/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_print.c - values to JSON text, byte for byte as Go's encoding/json writes them with HTML
 * escaping on. Any thread. Recurses as deep as the value is.
 */
#include "value/value.h"

#include <math.h>

#include "value/number.h"
#include "value/shape.h"
#include "value/utf8.h"

/* Room for n bytes, without a call when there is some. The ceiling holds: cap is never more than it and one. */
static inline char *room(struct buf *b, size_t n) {
	return b->len + n < b->cap && !b->overflow ? b->ptr + b->len : buf_reserve(b, n);
}

static inline bool put_bytes(struct buf *b, const char *bytes, size_t n) {
	char *p = room(b, n);
	if (!p) {
		return false;
	}
	if (n) {
		memcpy(p, bytes, n);
	}
	b->len += n;
	return true;
}

static inline bool put_char(struct buf *b, char c) {
	char *p = room(b, 1);
	if (!p) {
		return false;
	}
	*p = c;
	b->len++;
	return true;
}

/* Bytes that are not written as they are: controls, quote, backslash, < > &, and all that is not ASCII. */
static inline uint64_t special_bytes(uint64_t w) {
	const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
	uint64_t quote_or_and = (w & ones * 0xfb) ^ ones * '"'; /* " is 0x22, & is 0x26 */
	uint64_t less_or_more = (w & ones * 0xfd) ^ ones * '<'; /* < is 0x3c, > is 0x3e */
	uint64_t back = w ^ ones * '\\';
	return (w | ((w - ones * 0x20) & ~w) | ((quote_or_and - ones) & ~quote_or_and) |
		((less_or_more - ones) & ~less_or_more) | ((back - ones) & ~back)) & highs;
}

static inline bool special_byte(unsigned char c) {
	return c < 0x20 || c >= 0x80 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&';
}

/* What stands for the special byte at p; *ret_taken bytes of the source are done with it. */
static bool put_special(struct buf *b, const char *p, const char *end, size_t *ret_taken) {
	static const char hex[] = "0123456789abcdef";
	unsigned char c = (unsigned char)*p;
	*ret_taken = 1;
	if (c >= 0x80) {
		size_t n = utf8_sequence(p, end);
		if (!n) {
			return put_bytes(b, "\\ufffd", 6);
		}
		*ret_taken = n;
		if (n == 3 && memcmp(p, "\xe2\x80", 2) == 0 && ((unsigned char)p[2] & 0xfe) == 0xa8) { /* U+2028 and U+2029 */
			return put_bytes(b, p[2] & 1 ? "\\u2029" : "\\u2028", 6);
		}
		return put_bytes(b, p, n);
	}
	char text[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };
	switch (c) {
	case '"':
	case '\\':
		text[1] = (char)c;
		return put_bytes(b, text, 2);
	case '\b':
		return put_bytes(b, "\\b", 2);
	case '\f':
		return put_bytes(b, "\\f", 2);
	case '\n':
		return put_bytes(b, "\\n", 2);
	case '\r':
		return put_bytes(b, "\\r", 2);
	case '\t':
		return put_bytes(b, "\\t", 2);
	default:
		return put_bytes(b, text, 6);
	}
}

/* The rest of a string, from its first special byte on. */
static bool put_rest(struct buf *b, const char *p, const char *end) {
	while (p < end) {
		const char *from = p;
		size_t taken;
		while (p < end && !special_byte((unsigned char)*p)) {
			p++;
		}
		if (!put_bytes(b, from, (size_t)(p - from))) {
			return false;
		}
		if (p < end) {
			if (!put_special(b, p, end, &taken)) {
				return false;
			}
			p += taken;
		}
	}
	return put_char(b, '"');
}

bool json_print_str(struct buf *b, struct str s) {
	char *start = room(b, s.len + 2), *out = start;
	const char *p = s.ptr ? s.ptr : "", *end = p + s.len;
	if (!start) {
		return false;
	}
	*out++ = '"';
	while (end - p >= 8) {
		uint64_t w;
		memcpy(&w, p, 8);
		if (special_bytes(w)) {
			break;
		}
		memcpy(out, &w, 8);
		out += 8;
		p += 8;
	}
	while (p < end && !special_byte((unsigned char)*p)) {
		*out++ = *p++;
	}
	if (p == end) {
		*out++ = '"';
		b->len += (size_t)(out - start);
		return true;
	}
	b->len += (size_t)(out - start);
	return put_rest(b, p, end);
}

static bool put_double(struct buf *b, double d) {
	char text[NUMBER_TEXT_MAX];
	return isfinite(d) ? put_bytes(b, text, number_json(d, text)) : put_bytes(b, "null", 4);
}

static bool put_scalar(struct buf *b, const struct value *v) {
	switch ((enum value_type)v->type) {
	case VALUE_BOOL:
		return v->u.boolean ? put_bytes(b, "true", 4) : put_bytes(b, "false", 5);
	case VALUE_INT:
		return buf_i64(b, v->u.integer);
	case VALUE_FLOAT:
		return put_double(b, v->u.number);
	case VALUE_STRING:
		return json_print_str(b, value_as_str(v));
	case VALUE_NULL:
	case VALUE_ARRAY:
	case VALUE_OBJECT:
		break;
	}
	return put_bytes(b, "null", 4);
}

/* Known names are plain letters: nothing in them is escaped. */
static inline bool put_key(struct buf *b, const struct value *object, size_t n) {
	uint16_t name = object->u.items[n].name;
	if (!name) {
		return json_print_str(b, value_text_key(object, n)) && put_char(b, ':');
	}
	struct str text = name_text(name);
	char *p = room(b, text.len + 3);
	if (!p) {
		return false;
	}
	*p++ = '"';
	memcpy(p, text.ptr, text.len);
	p[text.len] = '"';
	p[text.len + 1] = ':';
	b->len += text.len + 3;
	return true;
}

static bool put_value(struct buf *b, const struct value *v) {
	if (v->type < VALUE_ARRAY) {
		return put_scalar(b, v);
	}
	bool object = v->type == VALUE_OBJECT;
	if (!put_char(b, object ? '{' : '[')) {
		return false;
	}
	for (size_t i = 0; i < v->len; i++) {
		if ((i && !put_char(b, ',')) || (object && !put_key(b, v, i)) || !put_value(b, &v->u.items[i])) {
			return false;
		}
	}
	return put_char(b, object ? '}' : ']');
}

bool json_print(struct buf *b, const struct value *v) {
	return v ? put_value(b, v) : put_bytes(b, "null", 4);
}

static bool put_line(struct buf *b, size_t indent) {
	char *p = room(b, indent + 1);
	if (!p) {
		return false;
	}
	*p = '\n';
	memset(p + 1, ' ', indent);
	b->len += indent + 1;
	return true;
}

static bool put_indented(struct buf *b, const struct value *v, size_t step, size_t indent) {
	if (v->type < VALUE_ARRAY || !v->len) {
		return put_value(b, v);
	}
	bool object = v->type == VALUE_OBJECT;
	if (!put_char(b, object ? '{' : '[')) {
		return false;
	}
	for (size_t i = 0; i < v->len; i++) {
		if ((i && !put_char(b, ',')) || !put_line(b, indent + step) ||
			(object && (!put_key(b, v, i) || !put_char(b, ' '))) ||
			!put_indented(b, &v->u.items[i], step, indent + step)) {
			return false;
		}
	}
	return put_line(b, indent) && put_char(b, object ? '}' : ']');
}

bool json_print_indent(struct buf *b, const struct value *v, int spaces) {
	return v ? put_indented(b, v, (size_t)MAX(spaces, 0), 0) : put_bytes(b, "null", 4);
}

struct str json_text(struct arena *a, const struct value *v) {
	auto_buf struct buf b = { 0 };
	return json_print(&b, v) ? arena_str(a, buf_view(&b)) : (struct str){ 0 };
}
