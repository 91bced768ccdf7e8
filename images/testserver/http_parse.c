/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_parse.c - bytes to HTTP/1.1 heads and bodies; percent-encoding.
 *
 * Called by http_server.c and http_client.c, and by the fuzz target. Pure: no I/O, any thread.
 */
#include "http.h"

#include <string.h>

/* RFC 9110 section 5.6.2: what a method or a header's name is made of. */
static bool token(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c <= ' ' || c >= 0x7f || memchr("()<>@,;:\\\"/[]?={}", c, 17)) {
			return false;
		}
	}
	return s.len > 0;
}

/* The head's length with its empty line; 0 when it is not all there yet. */
static size_t head_len(struct str in) {
	size_t line = 0;

	for (size_t i = 0; i < in.len; i++) {
		if (in.ptr[i] != '\n') {
			continue;
		}
		if (i == line || (i == line + 1 && in.ptr[line] == '\r')) {
			return i + 1;
		}
		line = i + 1;
	}
	return 0;
}

static struct str line_cut(struct str *in) {
	struct str line = str_cut(in, '\n');

	if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
		line.len--;
	}
	return line;
}

static bool has_word(struct str list, struct str word) {
	while (list.len > 0) {
		if (str_eq_nocase(str_trim(str_cut(&list, ',')), word)) {
			return true;
		}
	}
	return false;
}

/* The header lines, and what they say about the body and the connection. */
static enum http_parse headers_parse(struct str in, struct http_head *head) {
	struct str connection, encoding;

	for (struct str line = line_cut(&in); line.len > 0; line = line_cut(&in)) {
		struct http_header *h = &head->headers[head->headers_len];
		int64_t n;

		if (head->headers_len == HTTP_HEADERS_MAX) {
			return HTTP_PARSE_LARGE;
		}
		if (!memchr(line.ptr, ':', line.len) || memchr(line.ptr, '\0', line.len)) {
			return HTTP_PARSE_BAD;
		}
		h->name = str_cut(&line, ':');
		h->value = str_trim(line);
		if (!token(h->name)) {
			return HTTP_PARSE_BAD;
		}
		head->headers_len++;
		if (str_eq_nocase(h->name, S("Content-Length"))) {
			if (!str_int(h->value, 0, INT64_MAX, &n) || h->value.ptr[0] == '-' ||
				(head->has_length && head->body_len != (size_t)n)) {
				return HTTP_PARSE_BAD;
			}
			head->has_length = true;
			head->body_len = (size_t)n;
		}
	}
	connection = http_header_get(head, S("Connection"));
	head->keep_alive = head->http10 ? has_word(connection, S("keep-alive")) : !has_word(connection, S("close"));
	encoding = http_header_get(head, S("Transfer-Encoding"));
	if (encoding.len > 0) {
		/* RFC 9112 section 6.3: both at once may be an attempt to smuggle a request. */
		if (!str_eq_nocase(encoding, S("chunked")) || head->has_length) {
			return HTTP_PARSE_BAD;
		}
		head->chunked = true;
	}
	head->expect_continue = str_eq_nocase(http_header_get(head, S("Expect")), S("100-continue"));
	return head->body_len > HTTP_BODY_BYTES_MAX ? HTTP_PARSE_LARGE : HTTP_PARSE_DONE;
}

static enum http_parse head_find(struct str *in, size_t *ret_used) {
	size_t len = head_len(*in);

	if (len > HTTP_HEAD_BYTES_MAX || (len == 0 && in->len >= HTTP_HEAD_BYTES_MAX)) {
		return HTTP_PARSE_LARGE;
	}
	if (len == 0) {
		return HTTP_PARSE_MORE;
	}
	in->len = len;
	*ret_used = len;
	return HTTP_PARSE_DONE;
}

static bool version_parse(struct str s, struct http_head *head) {
	head->http10 = str_eq(s, S("HTTP/1.0"));
	return head->http10 || str_eq(s, S("HTTP/1.1"));
}

enum http_parse http_parse_request(struct str in, struct http_head *ret, size_t *ret_used) {
	enum http_parse found;
	struct str line, rest;

	*ret = (struct http_head){ 0 };
	found = head_find(&in, ret_used);
	if (found != HTTP_PARSE_DONE) {
		return found;
	}
	line = line_cut(&in);
	ret->method = str_cut(&line, ' ');
	ret->target = str_cut(&line, ' ');
	if (!token(ret->method) || ret->target.len == 0 || !version_parse(line, ret)) {
		return HTTP_PARSE_BAD;
	}
	for (size_t i = 0; i < ret->target.len; i++) {
		if ((unsigned char)ret->target.ptr[i] <= ' ' || ret->target.ptr[i] == 0x7f) {
			return HTTP_PARSE_BAD;
		}
	}
	rest = ret->target;
	if (str_has_prefix(rest, S("http://"))) {
		/* RFC 9112 section 3.2.2: the absolute form, as a proxy is sent it. */
		rest = (struct str){ rest.ptr + 7, rest.len - 7 };
		while (rest.len > 0 && rest.ptr[0] != '/' && rest.ptr[0] != '?') {
			rest = (struct str){ rest.ptr + 1, rest.len - 1 };
		}
	}
	ret->path = str_cut(&rest, '?');
	ret->query = rest;
	return headers_parse(in, ret);
}

enum http_parse http_parse_answer(struct str in, struct http_head *ret, size_t *ret_used) {
	enum http_parse found;
	struct str line;
	int64_t status;

	*ret = (struct http_head){ 0 };
	found = head_find(&in, ret_used);
	if (found != HTTP_PARSE_DONE) {
		return found;
	}
	line = line_cut(&in);
	if (!version_parse(str_cut(&line, ' '), ret) || !str_int(str_cut(&line, ' '), 100, 999, &status)) {
		return HTTP_PARSE_BAD;
	}
	ret->status = (int)status;
	return headers_parse(in, ret);
}

enum http_parse http_parse_chunked(struct str in, struct buf *ret_body, size_t *ret_used) {
	struct str rest = in;

	buf_clear(ret_body);
	for (;;) {
		const char *end = rest.len ? memchr(rest.ptr, '\n', rest.len) : NULL;
		struct str line;
		size_t size = 0;

		if (!end) {
			return rest.len > HTTP_HEAD_BYTES_MAX ? HTTP_PARSE_LARGE : HTTP_PARSE_MORE;
		}
		line = line_cut(&rest);
		line = str_trim(str_cut(&line, ';'));
		if (line.len == 0) {
			return HTTP_PARSE_BAD;
		}
		for (size_t i = 0; i < line.len; i++) {
			char c = line.ptr[i];
			int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;

			if (digit < 0) {
				return HTTP_PARSE_BAD;
			}
			size = size * 16 + (size_t)digit;
			if (size > HTTP_BODY_BYTES_MAX) {
				return HTTP_PARSE_LARGE;
			}
		}
		if (size == 0) {
			size_t trailer;

			/* Trailers end with an empty line, as headers do; nobody here reads them. */
			trailer = head_len(rest);
			if (trailer == 0) {
				return rest.len > HTTP_HEAD_BYTES_MAX ? HTTP_PARSE_LARGE : HTTP_PARSE_MORE;
			}
			*ret_used = (size_t)(rest.ptr - in.ptr) + trailer;
			return HTTP_PARSE_DONE;
		}
		if (rest.len < size + 2) {
			return HTTP_PARSE_MORE;
		}
		if (ret_body->len + size > HTTP_BODY_BYTES_MAX || !buf_add(ret_body, (struct str){ rest.ptr, size })) {
			return HTTP_PARSE_LARGE;
		}
		rest = (struct str){ rest.ptr + size, rest.len - size };
		if (rest.ptr[0] == '\r') {
			rest = (struct str){ rest.ptr + 1, rest.len - 1 };
		}
		if (rest.ptr[0] != '\n') {
			return HTTP_PARSE_BAD;
		}
		rest = (struct str){ rest.ptr + 1, rest.len - 1 };
	}
}

struct str http_header_get(const struct http_head *head, struct str name) {
	for (size_t i = 0; i < head->headers_len; i++) {
		if (str_eq_nocase(head->headers[i].name, name)) {
			return head->headers[i].value;
		}
	}
	return (struct str){ 0 };
}

static int hex(char c) {
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

void http_unescape(struct buf *out, struct str s, bool form) {
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (c == '%' && i + 2 < s.len && hex(s.ptr[i + 1]) >= 0 && hex(s.ptr[i + 2]) >= 0) {
			c = (char)(hex(s.ptr[i + 1]) * 16 + hex(s.ptr[i + 2]));
			i += 2;
		} else if (c == '+' && form) {
			c = ' ';
		}
		buf_add(out, (struct str){ &c, 1 });
	}
}

void http_escape(struct buf *out, struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '-' || c == '_' || c == '.' || c == '~';

		if (plain) {
			buf_add(out, (struct str){ (const char *)&c, 1 });
		} else {
			buf_addf(out, "%%%02X", c);
		}
	}
}

bool http_query_get(struct str query, struct str name, struct buf *out) {
	while (query.len > 0) {
		struct str value = str_cut(&query, '&');
		auto_buf struct buf key = { 0 };

		http_unescape(&key, str_cut(&value, '='), true);
		if (str_eq(buf_str(&key), name)) {
			http_unescape(out, value, true);
			return true;
		}
	}
	return false;
}
