/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c - the little JSON that the test server needs: strings out, members of small objects in.
 *
 * Called by the commands. Pure: no I/O, any thread.
 */
#include "base.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

/* ---- writing ---- */

/* Length of the UTF-8 sequence at s, or 0 when there is none (RFC 3629 section 4). */
static size_t utf8_len(struct str s) {
	unsigned char c = (unsigned char)s.ptr[0];
	size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;

	if (len == 0 || len > s.len) {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		if (((unsigned char)s.ptr[i] & 0xc0) != 0x80) {
			return 0;
		}
	}
	if (len > 2) {
		unsigned char d = (unsigned char)s.ptr[1];

		if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f)) {
			return 0;
		}
	}
	return len;
}

void json_string(struct buf *b, struct str s) {
	buf_add(b, S("\""));
	while (s.len > 0) {
		unsigned char c = (unsigned char)s.ptr[0];
		size_t len = utf8_len(s);

		if (c == '"' || c == '\\') {
			buf_addf(b, "\\%c", c);
		} else if (c == '\n') {
			buf_add(b, S("\\n"));
		} else if (c < 0x20) {
			buf_addf(b, "\\u%04x", c);
		} else if (len == 0) {
			buf_add(b, S("\xef\xbf\xbd"));
		} else {
			buf_add(b, (struct str){ s.ptr, len });
		}
		len = len ? len : 1;
		s.ptr += len;
		s.len -= len;
	}
	buf_add(b, S("\""));
}

/* ---- reading: each skip_* moves `s` behind one thing, or returns false ---- */

static void skip_space(struct str *s) {
	while (s->len > 0 && memchr(" \t\r\n", s->ptr[0], 4)) {
		s->ptr++;
		s->len--;
	}
}

static bool skip_char(struct str *s, char c) {
	skip_space(s);
	if (s->len == 0 || s->ptr[0] != c) {
		return false;
	}
	s->ptr++;
	s->len--;
	return true;
}

static bool skip_string(struct str *s) {
	if (!skip_char(s, '"')) {
		return false;
	}
	while (s->len > 0) {
		size_t step = s->ptr[0] == '\\' ? 2 : 1;
		bool end = s->ptr[0] == '"';

		if (step > s->len) {
			return false;
		}
		s->ptr += step;
		s->len -= step;
		if (end) {
			return true;
		}
	}
	return false;
}

static bool skip_value(struct str *s, int depth) {
	bool object;

	skip_space(s);
	if (s->len == 0 || depth > DEPTH_MAX) {
		return false;
	}
	if (s->ptr[0] == '"') {
		return skip_string(s);
	}
	object = s->ptr[0] == '{';
	if (object || s->ptr[0] == '[') {
		char end = object ? '}' : ']';

		s->ptr++;
		s->len--;
		if (skip_char(s, end)) {
			return true;
		}
		do {
			if (object && !(skip_string(s) && skip_char(s, ':'))) {
				return false;
			}
			if (!skip_value(s, depth + 1)) {
				return false;
			}
		} while (skip_char(s, ','));
		return skip_char(s, end);
	}
	/* A number or a word: its spelling is not judged here. */
	struct str start = *s;
	while (s->len > 0 && !memchr(",]} \t\r\n:\"[{", s->ptr[0], 11)) {
		s->ptr++;
		s->len--;
	}
	return s->ptr != start.ptr;
}

/* Reads one `"key": value` off the front of `json`. */
static bool member_read(struct str *json, struct str *ret_key, struct str *ret_value) {
	skip_space(json);
	*ret_key = *json;
	if (!skip_string(json)) {
		return false;
	}
	ret_key->len = (size_t)(json->ptr - ret_key->ptr);
	if (!skip_char(json, ':')) {
		return false;
	}
	skip_space(json);
	*ret_value = *json;
	if (!skip_value(json, 0)) {
		return false;
	}
	ret_value->len = (size_t)(json->ptr - ret_value->ptr);
	return true;
}

bool json_member_at(struct str json, size_t at, struct str *ret_key, struct str *ret_value) {
	struct str key, value;

	if (!skip_char(&json, '{')) {
		return false;
	}
	for (size_t i = 0; member_read(&json, &key, &value); i++) {
		if (i == at) {
			*ret_key = key;
			*ret_value = value;
			return true;
		}
		if (!skip_char(&json, ',')) {
			break;
		}
	}
	return false;
}

bool json_member(struct str json, struct str name, struct str *ret) {
	struct str key, value;

	if (!skip_char(&json, '{')) {
		return false;
	}
	while (member_read(&json, &key, &value)) {
		auto_buf struct buf text = { 0 };

		if (json_unquote(key, &text) && str_eq(buf_str(&text), name)) {
			*ret = value;
			return true;
		}
		if (!skip_char(&json, ',')) {
			break;
		}
	}
	return false;
}

static bool hex4(struct str s, unsigned *ret) {
	*ret = 0;
	if (s.len < 4) {
		return false;
	}
	for (int i = 0; i < 4; i++) {
		char c = s.ptr[i];
		int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (digit < 0) {
			return false;
		}
		*ret = *ret * 16 + (unsigned)digit;
	}
	return true;
}

static void utf8_add(struct buf *out, unsigned c) {
	char text[4];
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = len - 1; i > 0; i--) {
		text[i] = (char)(0x80 | (c & 0x3f));
		c >>= 6;
	}
	text[0] = (char)(len == 1 ? c : (0xf00u >> len & 0xf0u) | c);
	buf_add(out, (struct str){ text, len });
}

bool json_unquote(struct str raw, struct buf *out) {
	static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";

	if (raw.len < 2 || raw.ptr[0] != '"' || raw.ptr[raw.len - 1] != '"') {
		return false;
	}
	raw = (struct str){ raw.ptr + 1, raw.len - 2 };
	while (raw.len > 0) {
		const char *known;
		unsigned c, low;

		if (raw.ptr[0] != '\\') {
			buf_add(out, (struct str){ raw.ptr, 1 });
			raw = (struct str){ raw.ptr + 1, raw.len - 1 };
			continue;
		}
		if (raw.len < 2) {
			return false;
		}
		known = memchr(escapes, raw.ptr[1], sizeof(escapes) - 1);
		if (known) {
			buf_add(out, (struct str){ meanings + (known - escapes), 1 });
			raw = (struct str){ raw.ptr + 2, raw.len - 2 };
			continue;
		}
		raw = (struct str){ raw.ptr + 1, raw.len - 1 };
		if (raw.ptr[0] != 'u' || !hex4((struct str){ raw.ptr + 1, raw.len - 1 }, &c)) {
			return false;
		}
		raw = (struct str){ raw.ptr + 5, raw.len - 5 };
		if (c >= 0xd800 && c < 0xdc00 && raw.len >= 6 && raw.ptr[0] == '\\' && raw.ptr[1] == 'u' &&
			hex4((struct str){ raw.ptr + 2, raw.len - 2 }, &low) && low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			raw = (struct str){ raw.ptr + 6, raw.len - 6 };
		}
		utf8_add(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
	}
	return !out->overflown;
}
