/* SPDX-License-Identifier: Apache-2.0 */
/* common.c - small rules that several kinds share; see kinds_private.h. */
#include <arpa/inet.h>

#include "apiserver/kinds/kinds_private.h"

void must_have(struct causes *c, const struct value *v, struct str path) {
	if (value_is_empty(v)) {
		cause_add(c, CAUSE_REQUIRED, path, NULL, NULL);
	}
}

void must_be_one_of(struct causes *c, const struct value *v, struct str path, const struct str *list, size_t n, bool required) {
	struct str s = value_as_str(v);
	if (!s.len) {
		if (required) {
			cause_add(c, CAUSE_REQUIRED, path, NULL, NULL);
		}
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (str_eq(s, list[i])) {
			return;
		}
	}
	cause_not_supported(c, path, v, list, n);
}

void must_not_be_negative(struct causes *c, const struct value *v, struct str path) {
	if (value_as_int(v) < 0) {
		cause_add(c, CAUSE_INVALID, path, v, "must be greater than or equal to 0");
	}
}

void must_be_immutable(struct causes *c, const struct value *now, const struct value *was, struct str path) {
	if (!(value_is_empty(now) && value_is_empty(was)) && !value_eq(now, was)) {
		cause_add(c, CAUSE_INVALID, path, now, "field is immutable");
	}
}

void must_be_port(struct causes *c, const struct value *v, struct str path) {
	int64_t p = value_as_int(v);
	if (p < 1 || p > 65535) {
		cause_add(c, CAUSE_INVALID, path, v, "must be between 1 and 65535, inclusive");
	}
}

const char *port_name_rule(struct str name, bool prefix) {
	bool letter = false;
	if (name.len > 15) {
		return "must be no more than 15 characters";
	}
	for (size_t i = 0; i < name.len; i++) {
		char ch = name.ptr[i];
		bool l = ch >= 'a' && ch <= 'z', d = ch >= '0' && ch <= '9';
		letter = letter || l;
		if (!l && !d && ch != '-') {
			return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
		}
		if (ch == '-' && i + 1 < name.len && name.ptr[i + 1] == '-') {
			return "must not contain consecutive hyphens";
		}
	}
	if (!letter) {
		return "must contain at least one letter (a-z)";
	}
	return name.ptr[0] == '-' || name.ptr[name.len - 1] == '-' ? "must not begin or end with a hyphen" : NULL;
}

void must_be_port_or_name(struct causes *c, const struct value *v, struct str path) {
	if (value_is(v, VALUE_STRING)) {
		const char *why = port_name_rule(value_as_str(v), false);
		if (why) {
			cause_add(c, CAUSE_INVALID, path, v, "%s", why);
		}
		return;
	}
	must_be_port(c, v, path);
}

static bool percent(struct str s, int64_t *ret) {
	return s.len > 1 && s.ptr[s.len - 1] == '%' && str_to_i64(str_sub(s, 0, s.len - 1), ret) && *ret >= 0;
}

void must_be_count_or_percent(struct causes *c, const struct value *v, struct str path) {
	int64_t p;
	if (value_is(v, VALUE_STRING)) {
		if (!percent(value_as_str(v), &p)) {
			cause_add(c, CAUSE_INVALID, path, v, "a valid percent string must be a numeric string followed by an ending '%%' (e.g. '1%%',  or '93%%', regex used for validation is '[0-9]+%%')");
		}
		return;
	}
	must_not_be_negative(c, v, path);
}

int64_t count_or_percent(const struct value *v, int64_t total, bool round_up) {
	int64_t p;
	if (value_is(v, VALUE_STRING)) {
		return percent(value_as_str(v), &p) ? (p * total + (round_up ? 99 : 0)) / 100 : 0;
	}
	return value_as_int(v);
}

void must_match(struct causes *c, const struct value *v, struct str path, const char *(*rule)(struct str, bool)) {
	struct str s = value_as_str(v);
	const char *why = s.len ? rule(s, false) : NULL;
	if (why) {
		cause_add(c, CAUSE_INVALID, path, v, "%s", why);
	}
}

bool is_ip(struct str s, int *ret_family) {
	char text[64];
	unsigned char out[16];
	if (s.len == 0 || s.len >= sizeof(text)) {
		return false;
	}
	memcpy(text, s.ptr, s.len);
	text[s.len] = 0;
	int family = memchr(text, ':', s.len) ? AF_INET6 : AF_INET;
	if (inet_pton(family, text, out) != 1) {
		return false;
	}
	if (ret_family) {
		*ret_family = family;
	}
	return true;
}

bool is_cidr(struct str s) {
	struct str ip, bits;
	int family, n;
	return str_cut(s, '/', &ip, &bits) && is_ip(ip, &family) && str_to_int(bits, 0, family == AF_INET ? 32 : 128, &n);
}

void must_be_ip(struct causes *c, const struct value *v, struct str path) {
	if (!is_ip(value_as_str(v), NULL)) {
		cause_add(c, CAUSE_INVALID, path, v, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
	}
}
