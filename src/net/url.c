/* SPDX-License-Identifier: Apache-2.0 */
/* url.c - see url.h. RFC 3986; query parsing as Go's net/url does it, because clients are written against that. */
#include "net/url.h"

#include <ctype.h>

static int hex_value(char c) {
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool url_unescape(struct arena *a, struct str s, bool plus, struct str *ret) {
	if (str_index(s, '%') < 0 && (!plus || str_index(s, '+') < 0)) {
		*ret = s;
		return true;
	}
	char *out = arena_alloc(a, s.len + 1), *p = out;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];
		if (c == '%') {
			bool whole = s.len - i > 2;
			int hi = whole ? hex_value(s.ptr[i + 1]) : -1;
			int lo = whole ? hex_value(s.ptr[i + 2]) : -1;
			if (hi < 0 || lo < 0) {
				return false;
			}
			c = (char)(hi << 4 | lo);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		*p++ = c;
	}
	*p = 0;
	*ret = (struct str){ out, (size_t)(p - out) };
	return true;
}

struct str url_escape(struct arena *a, struct str s) {
	static const char hex[] = "0123456789ABCDEF";
	char *out = arena_alloc(a, s.len * 3 + 1), *p = out;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		if (isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
			*p++ = (char)c;
		} else {
			*p++ = '%';
			*p++ = hex[c >> 4];
			*p++ = hex[c & 15];
		}
	}
	*p = 0;
	return (struct str){ out, (size_t)(p - out) };
}

bool url_query_next(struct arena *a, struct str *rest, struct str *ret_name, struct str *ret_value) {
	struct str piece;
	while (rest->len && str_next(rest, '&', &piece)) {
		struct str name, value;
		str_cut(piece, '=', &name, &value);
		/* Go refuses ';' as a separator and drops such pieces. */
		if (piece.len && str_index(piece, ';') < 0 && url_unescape(a, name, true, ret_name) && url_unescape(a, value, true, ret_value)) {
			return true;
		}
	}
	return false;
}

bool url_query_get(struct arena *a, struct str query, struct str name, struct str *ret) {
	struct str n, v;
	while (url_query_next(a, &query, &n, &v)) {
		if (str_eq(n, name)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

bool url_parse(struct str text, struct url *ret, struct err *err) {
	struct url u = { 0 };
	ptrdiff_t at = str_find(text, S("://"));
	if (str_starts(text, S("unix:"))) {
		u.scheme = S("unix");
		u.host = str_from(text, 5);
		while (str_starts(u.host, S("//"))) {
			u.host = str_from(u.host, 1);
		}
		if (!u.host.len) {
			return err_set(err, ERR_BAD_REQUEST, "url %.*s names no socket", STR_ARG(text));
		}
		*ret = u;
		return true;
	}
	if (at <= 0) {
		return err_set(err, ERR_BAD_REQUEST, "%.*s is not a url: it does not begin with a scheme such as https://", STR_ARG(text));
	}
	u.scheme = str_sub(text, 0, (size_t)at);
	bool https = str_case_eq(u.scheme, S("https")) || str_case_eq(u.scheme, S("wss"));
	if (!https && !str_case_eq(u.scheme, S("http")) && !str_case_eq(u.scheme, S("ws"))) {
		return err_set(err, ERR_BAD_REQUEST, "url %.*s: scheme %.*s is not http or https", STR_ARG(text), STR_ARG(u.scheme));
	}
	struct str rest = str_from(text, (size_t)at + 3);
	ptrdiff_t hash = str_index(rest, '#');
	rest = hash >= 0 ? str_sub(rest, 0, (size_t)hash) : rest;
	size_t end = 0;
	while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?') {
		end++;
	}
	struct str authority = str_sub(rest, 0, end), path = str_from(rest, end), port = { 0 };
	ptrdiff_t q = str_index(path, '?');
	u.path = q >= 0 ? str_sub(path, 0, (size_t)q) : path;
	u.query = q >= 0 ? str_from(path, (size_t)q + 1) : (struct str){ 0 };
	ptrdiff_t user = str_rindex(authority, '@');
	if (user >= 0) {
		u.user = str_sub(authority, 0, (size_t)user);
		authority = str_from(authority, (size_t)user + 1);
	}
	ptrdiff_t close = str_starts(authority, S("[")) ? str_index(authority, ']') : -1;
	if (close > 0) {
		u.host = str_sub(authority, 1, (size_t)close);
		port = str_from(authority, (size_t)close + 1);
	} else {
		ptrdiff_t colon = str_index(authority, ':');
		u.host = colon >= 0 ? str_sub(authority, 0, (size_t)colon) : authority;
		port = colon >= 0 ? str_from(authority, (size_t)colon) : (struct str){ 0 };
	}
	u.port = https ? 443 : 80;
	bool port_ok = port.len <= 1 ? (!port.len || port.ptr[0] == ':') : port.ptr[0] == ':' && str_to_int(str_from(port, 1), 1, 65535, &u.port);
	if (!u.host.len || !port_ok) {
		return err_set(err, ERR_BAD_REQUEST, "url %.*s: %s", STR_ARG(text), u.host.len ? "the port is not a number from 1 to 65535" : "there is no host");
	}
	*ret = u;
	return true;
}
