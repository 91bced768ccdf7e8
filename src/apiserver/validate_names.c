/* SPDX-License-Identifier: Apache-2.0 */
/*
 * validate_names.c - the rules for names, label keys and values, in upstream's words
 * (apimachinery/pkg/util/validation). Pure functions.
 */
#include "apiserver/kinds.h"

static bool is_lower(char c) {
	return c >= 'a' && c <= 'z';
}
static bool is_digit(char c) {
	return c >= '0' && c <= '9';
}
static bool is_alnum(char c) {
	return is_lower(c) || is_digit(c) || (c >= 'A' && c <= 'Z');
}

#define LABEL_TEXT \
	"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character " \
	"(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define SUBDOMAIN_TEXT \
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric " \
	"character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define DNS1035_TEXT \
	"a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric " \
	"character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
#define KEY_TEXT \
	"name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or " \
	"'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define QUALIFIED_TEXT \
	"a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName', " \
	" or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and " \
	"'/' (e.g. 'example.com/MyName')"
#define VALUE_TEXT \
	"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " \
	"character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

/* A generateName may end with a '-' or '.', since characters follow. */
static struct str unprefix(struct str s, bool prefix) {
	while (prefix && s.len && (s.ptr[s.len - 1] == '-')) {
		s.len--;
	}
	return s;
}

static bool label_chars(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		bool edge = i == 0 || i + 1 == s.len;
		if (!is_lower(s.ptr[i]) && !is_digit(s.ptr[i]) && (edge || s.ptr[i] != '-')) {
			return false;
		}
	}
	return s.len > 0;
}

const char *name_dns1123_label(struct str name, bool prefix) {
	struct str s = unprefix(name, prefix);
	if (name.len > 63) {
		return "must be no more than 63 bytes";
	}
	return label_chars(s) ? NULL : LABEL_TEXT;
}

const char *name_dns1123_subdomain(struct str name, bool prefix) {
	struct str rest = unprefix(name, prefix), piece;
	if (name.len > 253) {
		return "must be no more than 253 bytes";
	}
	if (prefix && rest.len && rest.ptr[rest.len - 1] == '.') {
		rest.len--;
	}
	if (!rest.len) {
		return SUBDOMAIN_TEXT;
	}
	while (str_next(&rest, '.', &piece)) {
		if (!label_chars(piece)) {
			return SUBDOMAIN_TEXT;
		}
	}
	return NULL;
}

const char *name_dns1035_label(struct str name, bool prefix) {
	struct str s = unprefix(name, prefix);
	if (name.len > 63) {
		return "must be no more than 63 bytes";
	}
	return label_chars(s) && is_lower(s.ptr[0]) ? NULL : DNS1035_TEXT;
}

const char *name_path_segment(struct str name, bool prefix) {
	if (!prefix && (str_eq(name, S(".")) || str_eq(name, S("..")))) {
		return name.len == 1 ? "may not be '.'" : "may not be '..'";
	}
	if (str_index(name, '/') >= 0) {
		return "may not contain '/'";
	}
	return str_index(name, '%') >= 0 ? "may not contain '%'" : NULL;
}

static bool qualified_chars(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		bool edge = i == 0 || i + 1 == s.len;
		char c = s.ptr[i];
		if (!is_alnum(c) && (edge || (c != '-' && c != '_' && c != '.'))) {
			return false;
		}
	}
	return true;
}

const char *label_key_rule(struct str key) {
	struct str head, tail;
	bool slash = str_cut(key, '/', &head, &tail);
	struct str name = slash ? tail : key;
	if (slash && str_index(tail, '/') >= 0) {
		return QUALIFIED_TEXT;
	}
	if (slash && !head.len) {
		return "prefix part must be non-empty";
	}
	if (slash && name_dns1123_subdomain(head, false)) {
		return head.len > 253 ? "prefix part must be no more than 253 bytes" : "prefix part " SUBDOMAIN_TEXT;
	}
	if (!name.len) {
		return "name part must be non-empty";
	}
	if (name.len > 63) {
		return "name part must be no more than 63 bytes";
	}
	return qualified_chars(name) ? NULL : KEY_TEXT;
}

const char *label_value_rule(struct str value) {
	if (value.len > 63) {
		return "must be no more than 63 bytes";
	}
	return qualified_chars(value) ? NULL : VALUE_TEXT;
}
