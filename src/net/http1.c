/* SPDX-License-Identifier: Apache-2.0 */
/* http1.c - see http1.h. Pure functions over bytes; any thread. */
#include "net/http1.h"

#include "net/url.h"

#define TRAILER_BYTES_MAX 16384

/* RFC 9110 section 5.6.2: what a token is made of. */
static bool is_token(unsigned char c) {
	static const uint32_t set[8] = {
		0, /* controls */
		(1u << ('!' - 32)) | (1u << ('#' - 32)) | (1u << ('$' - 32)) | (1u << ('%' - 32)) | (1u << ('&' - 32)) | (1u << ('\'' - 32)) |
			(1u << ('*' - 32)) | (1u << ('+' - 32)) | (1u << ('-' - 32)) | (1u << ('.' - 32)) | (0x3ffu << ('0' - 32)),
		0x7fffffeu | (1u << ('^' - 64)) | (1u << ('_' - 64)),
		(1u << ('`' - 96)) | 0x7fffffeu | (1u << ('|' - 96)) | (1u << ('~' - 96)),
	};
	return set[c >> 5] >> (c & 31) & 1;
}

static bool all_token(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		if (!is_token((unsigned char)s.ptr[i])) {
			return false;
		}
	}
	return s.len > 0;
}

/* Field values: no controls but tab; bytes above 127 pass. */
static bool value_ok(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		if ((c < 32 && c != '\t') || c == 127) {
			return false;
		}
	}
	return true;
}

static struct str trim_blanks(struct str s) {
	while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
		s = str_from(s, 1);
	}
	while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
		s.len--;
	}
	return s;
}

size_t http1_head_end(struct str bytes, size_t *scanned) {
	size_t from = *scanned > 3 ? *scanned - 3 : 0;
	if (bytes.len < 4) {
		return 0;
	}
	char *p = memmem(bytes.ptr + from, bytes.len - from, "\r\n\r\n", 4);
	*scanned = bytes.len;
	return p ? (size_t)(p - bytes.ptr) + 4 : 0;
}

/* Takes a line that ends with CRLF off *rest. */
static bool line_next(struct str *rest, struct str *ret_line) {
	char *p = memmem(rest->ptr, rest->len, "\r\n", 2);
	if (!p) {
		return false;
	}
	*ret_line = str_sub(*rest, 0, (size_t)(p - rest->ptr));
	*rest = str_from(*rest, ret_line->len + 2);
	return true;
}

static bool headers_parse(struct arena *a, struct str rest, size_t headers_max, struct http1_head *h, int *ret_status, struct err *err) {
	struct str line;
	size_t lines = 0, n = 0;
	for (size_t i = 0; i < rest.len; i++) {
		lines += rest.ptr[i] == '\n';
	}
	if (lines > headers_max + 1) {
		*ret_status = 431;
		return err_set(err, ERR_TOO_LARGE, "more than %zu headers", headers_max);
	}
	struct http_header *at = arena_array(a, struct http_header, lines + 1);
	while (line_next(&rest, &line) && line.len) {
		struct http_header *f = &at[n];
		/* A line that begins with a blank would be a folded header: RFC 9112 section 5.2 lets us refuse it. */
		if (!str_cut(line, ':', &f->name, &f->value) || !all_token(f->name)) {
			return err_set(err, ERR_BAD_REQUEST, "malformed header line");
		}
		f->value = trim_blanks(f->value);
		if (!value_ok(f->value)) {
			return err_set(err, ERR_BAD_REQUEST, "invalid characters in header %.*s", STR_ARG(f->name));
		}
		n++;
	}
	h->headers = (struct http_headers){ at, n };
	return true;
}

/* Content-Length and Transfer-Encoding; *chunked or *has_length. */
static bool framing_parse(struct http1_head *h, bool *chunked, bool *has_length, int *ret_status, struct err *err) {
	for (size_t i = 0; i < h->headers.len; i++) {
		const struct http_header *f = &h->headers.at[i];
		if (str_case_eq(f->name, S("Content-Length"))) {
			uint64_t v;
			bool digits = f->value.len > 0 && f->value.len < 20;
			for (size_t k = 0; digits && k < f->value.len; k++) {
				digits = f->value.ptr[k] >= '0' && f->value.ptr[k] <= '9';
			}
			if (!digits || !str_to_u64(f->value, &v) || v > INT64_MAX || (*has_length && v != h->length)) {
				return err_set(err, ERR_BAD_REQUEST, "bad Content-Length");
			}
			*has_length = true;
			h->length = v;
		} else if (str_case_eq(f->name, S("Transfer-Encoding"))) {
			if (!str_case_eq(f->value, S("chunked"))) {
				*ret_status = 501;
				return err_set(err, ERR_BAD_REQUEST, "unsupported transfer encoding");
			}
			if (*chunked) {
				return err_set(err, ERR_BAD_REQUEST, "too many transfer encodings");
			}
			*chunked = true;
		}
	}
	/* RFC 9112 section 6.3: both at once is an attack or a broken peer. */
	if (*chunked && (*has_length || h->version == 10)) {
		return err_set(err, ERR_BAD_REQUEST, *has_length ? "both Content-Length and Transfer-Encoding" : "Transfer-Encoding in HTTP/1.0");
	}
	return true;
}

static bool version_parse(struct str v, int *ret) {
	if (v.len != 8 || !str_starts(v, S("HTTP/")) || v.ptr[6] != '.' || v.ptr[5] < '0' || v.ptr[5] > '9' || v.ptr[7] < '0' || v.ptr[7] > '9') {
		return false;
	}
	*ret = (v.ptr[5] - '0') * 10 + (v.ptr[7] - '0');
	return true;
}

static void keep_alive_set(struct http1_head *h) {
	bool close = http_header_has_token(h->headers, S("Connection"), S("close"));
	h->keep_alive = !close && (h->version == 11 || http_header_has_token(h->headers, S("Connection"), S("keep-alive")));
}

/* Origin form, absolute form, "*" for OPTIONS; CONNECT is not ours. */
static bool target_parse(struct http1_head *h, struct err *err) {
	struct str t = h->target;
	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.ptr[i];
		if (c <= 32 || c == 127) {
			return err_set(err, ERR_BAD_REQUEST, "invalid character in the request target");
		}
	}
	if (str_starts(t, S("http://")) || str_starts(t, S("https://"))) {
		struct url u;
		if (!url_parse(t, &u, err)) {
			return false;
		}
		h->path = u.path.len ? u.path : S("/");
		h->query = u.query;
		return true;
	}
	if (str_eq(t, S("*")) && str_eq(h->method, S("OPTIONS"))) {
		h->path = t;
		return true;
	}
	if (!str_starts(t, S("/"))) {
		return err_set(err, ERR_BAD_REQUEST, "the request target must begin with /");
	}
	str_cut(t, '?', &h->path, &h->query);
	return true;
}

static bool host_check(struct http1_head *h, struct err *err) {
	size_t hosts = 0;
	for (size_t i = 0; i < h->headers.len; i++) {
		if (str_case_eq(h->headers.at[i].name, S("Host"))) {
			h->host = h->headers.at[i].value;
			hosts++;
		}
	}
	if (hosts > 1 || (hosts == 0 && h->version == 11)) {
		return err_set(err, ERR_BAD_REQUEST, hosts ? "too many Host headers" : "missing required Host header");
	}
	for (size_t i = 0; i < h->host.len; i++) {
		char c = h->host.ptr[i];
		if (c == ' ' || c == '/' || c == '@' || c == '?' || c == '#' || c == '\t' || c == ',') {
			return err_set(err, ERR_BAD_REQUEST, "malformed Host header");
		}
	}
	return true;
}

bool http1_parse_request(struct arena *a, struct str head, size_t headers_max, struct http1_head *ret, int *ret_status, struct err *err) {
	struct http1_head h = { 0 };
	struct str line, rest = head, version;
	bool chunked = false, has_length = false;

	*ret_status = 400;
	if (!line_next(&rest, &line)) {
		return err_set(err, ERR_BAD_REQUEST, "malformed request line");
	}
	bool two = str_cut(line, ' ', &h.method, &h.target) && str_cut(h.target, ' ', &h.target, &version);
	if (!two || !all_token(h.method) || !h.target.len || !version_parse(version, &h.version)) {
		return err_set(err, ERR_BAD_REQUEST, "malformed request line");
	}
	if (h.version != 11 && h.version != 10) {
		*ret_status = 505;
		return err_set(err, ERR_BAD_REQUEST, "unsupported protocol version");
	}
	if (!target_parse(&h, err) || !headers_parse(a, rest, headers_max, &h, ret_status, err) || !host_check(&h, err) ||
		!framing_parse(&h, &chunked, &has_length, ret_status, err)) {
		return false;
	}
	h.framing = chunked ? HTTP1_CHUNKED : has_length && h.length ? HTTP1_LENGTH : HTTP1_NONE;
	keep_alive_set(&h);
	h.expect_continue = h.version == 11 && str_case_eq(http_header_get(h.headers, S("Expect")), S("100-continue"));
	*ret = h;
	return true;
}

bool http1_parse_response(struct arena *a, struct str head, size_t headers_max, struct str method, struct http1_head *ret, struct err *err) {
	struct http1_head h = { 0 };
	struct str line, rest = head, version, status;
	bool chunked = false, has_length = false;
	int ignored;

	if (!line_next(&rest, &line) || !str_cut(line, ' ', &version, &status) || !version_parse(version, &h.version) ||
		(h.version != 11 && h.version != 10) || !str_to_int(str_sub(status, 0, 3), 100, 999, &h.status) || (status.len > 3 && status.ptr[3] != ' ')) {
		return err_set(err, ERR_BAD_REQUEST, "the answer is not HTTP: \"%.*s\"", (int)MIN(line.len, (size_t)60), line.ptr);
	}
	if (!headers_parse(a, rest, headers_max, &h, &ignored, err) || !framing_parse(&h, &chunked, &has_length, &ignored, err)) {
		return false;
	}
	/* RFC 9112 section 6.3 */
	bool empty = str_eq(method, S("HEAD")) || h.status / 100 == 1 || h.status == 204 || h.status == 304;
	h.framing = empty ? HTTP1_NONE : chunked ? HTTP1_CHUNKED : has_length ? (h.length ? HTTP1_LENGTH : HTTP1_NONE) : HTTP1_UNTIL_CLOSE;
	keep_alive_set(&h);
	h.keep_alive = h.keep_alive && h.framing != HTTP1_UNTIL_CLOSE;
	*ret = h;
	return true;
}

/* ---- bodies ---- */

enum chunk_state { CHUNK_SIZE_FIRST, CHUNK_SIZE, CHUNK_EXT, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_TRAILER_START, CHUNK_TRAILER,
	CHUNK_TRAILER_LF, CHUNK_END_LF, CHUNK_END };

void http1_body_init(struct http1_body *b, enum http1_framing framing, uint64_t length) {
	*b = (struct http1_body){ .framing = framing, .left = framing == HTTP1_LENGTH ? length : 0 };
}

bool http1_body_at_eof(const struct http1_body *b) {
	switch (b->framing) {
	case HTTP1_NONE:
	case HTTP1_UNTIL_CLOSE:
		return true;
	case HTTP1_LENGTH:
		return b->left == 0;
	case HTTP1_CHUNKED:
		return b->state == CHUNK_END;
	}
	return false;
}

static struct str take(struct str *in, uint64_t max) {
	size_t n = (size_t)MIN((uint64_t)in->len, max);
	struct str piece = str_sub(*in, 0, n);
	*in = str_from(*in, n);
	return piece;
}

static int chunk_digit(char c) {
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of chunk framing; false when it does not belong. */
static bool chunk_step(struct http1_body *b, char c) {
	switch ((enum chunk_state)b->state) {
	case CHUNK_SIZE_FIRST:
	case CHUNK_SIZE: {
		int d = chunk_digit(c);
		if (d >= 0) {
			if (b->left >> 56) {
				return false;
			}
			b->left = b->left << 4 | (uint64_t)d;
			b->state = CHUNK_SIZE;
			return true;
		}
		if (b->state == CHUNK_SIZE_FIRST) {
			return false;
		}
		b->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT;
		return c == '\r' || c == ';' || c == ' ' || c == '\t';
	}
	case CHUNK_EXT:
		b->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT;
		return ++b->extra <= TRAILER_BYTES_MAX && c != '\n' && c != 0;
	case CHUNK_SIZE_LF:
		b->state = b->left ? CHUNK_DATA : CHUNK_TRAILER_START;
		return c == '\n';
	case CHUNK_DATA_CR:
		b->state = CHUNK_DATA_LF;
		return c == '\r';
	case CHUNK_DATA_LF:
		b->state = CHUNK_SIZE_FIRST;
		return c == '\n';
	case CHUNK_TRAILER_START:
		b->state = c == '\r' ? CHUNK_END_LF : CHUNK_TRAILER;
		return c != '\n' && c != 0;
	case CHUNK_TRAILER:
		b->state = c == '\r' ? CHUNK_TRAILER_LF : CHUNK_TRAILER;
		return ++b->extra <= TRAILER_BYTES_MAX && c != '\n' && c != 0;
	case CHUNK_TRAILER_LF:
		b->state = CHUNK_TRAILER_START;
		return c == '\n';
	case CHUNK_END_LF:
		b->state = CHUNK_END;
		return c == '\n';
	case CHUNK_DATA:
	case CHUNK_END:
		break;
	}
	return false;
}

static enum parse chunked_next(struct http1_body *b, struct str *in, struct str *ret_piece, struct err *err) {
	while (b->state != CHUNK_END) {
		if (b->state == CHUNK_DATA) {
			*ret_piece = take(in, b->left);
			b->left -= ret_piece->len;
			if (!b->left) {
				b->state = CHUNK_DATA_CR;
			}
			if (ret_piece->len || b->left) {
				return PARSE_MORE;
			}
			continue;
		}
		if (!in->len) {
			return PARSE_MORE;
		}
		if (!chunk_step(b, in->ptr[0])) {
			err_set(err, ERR_BAD_REQUEST, "malformed chunked encoding");
			return PARSE_BAD;
		}
		*in = str_from(*in, 1);
	}
	return PARSE_DONE;
}

enum parse http1_body_next(struct http1_body *b, struct str *in, struct str *ret_piece, struct err *err) {
	*ret_piece = (struct str){ 0 };
	switch (b->framing) {
	case HTTP1_NONE:
		return PARSE_DONE;
	case HTTP1_LENGTH:
		*ret_piece = take(in, b->left);
		b->left -= ret_piece->len;
		return b->left || ret_piece->len ? PARSE_MORE : PARSE_DONE;
	case HTTP1_UNTIL_CLOSE:
		*ret_piece = take(in, UINT64_MAX);
		return PARSE_MORE;
	case HTTP1_CHUNKED:
		return chunked_next(b, in, ret_piece, err);
	}
	return PARSE_BAD;
}
