/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_scalar.c - resolves plain scalars as sigs.k8s.io/yaml does: YAML 1.1's booleans (yes, off, y),
 * integers with 0x, 0o, 0b, a leading 0 and underscores, floats, dates that stay text. Pure functions.
 */
#include "value/yaml_scalar.h"

#include <math.h>

#include "base/clock.h"
#include "value/number.h"

struct word {
	struct str text;
	struct yaml_scalar means;
};

static const struct word words[] = {
	{ S_INIT(""),      { .kind = YAML_KIND_NULL } },
	{ S_INIT("~"),     { .kind = YAML_KIND_NULL } },
	{ S_INIT("null"),  { .kind = YAML_KIND_NULL } },
	{ S_INIT("Null"),  { .kind = YAML_KIND_NULL } },
	{ S_INIT("NULL"),  { .kind = YAML_KIND_NULL } },
	{ S_INIT("y"),     { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("Y"),     { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("yes"),   { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("Yes"),   { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("YES"),   { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("true"),  { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("True"),  { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("TRUE"),  { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("on"),    { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("On"),    { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("ON"),    { .kind = YAML_KIND_BOOL, .boolean = true } },
	{ S_INIT("n"),     { .kind = YAML_KIND_BOOL } },
	{ S_INIT("N"),     { .kind = YAML_KIND_BOOL } },
	{ S_INIT("no"),    { .kind = YAML_KIND_BOOL } },
	{ S_INIT("No"),    { .kind = YAML_KIND_BOOL } },
	{ S_INIT("NO"),    { .kind = YAML_KIND_BOOL } },
	{ S_INIT("false"), { .kind = YAML_KIND_BOOL } },
	{ S_INIT("False"), { .kind = YAML_KIND_BOOL } },
	{ S_INIT("FALSE"), { .kind = YAML_KIND_BOOL } },
	{ S_INIT("off"),   { .kind = YAML_KIND_BOOL } },
	{ S_INIT("Off"),   { .kind = YAML_KIND_BOOL } },
	{ S_INIT("OFF"),   { .kind = YAML_KIND_BOOL } },
	{ S_INIT(".nan"),  { .kind = YAML_KIND_FLOAT, .number = NAN } },
	{ S_INIT(".NaN"),  { .kind = YAML_KIND_FLOAT, .number = NAN } },
	{ S_INIT(".NAN"),  { .kind = YAML_KIND_FLOAT, .number = NAN } },
	{ S_INIT(".inf"),  { .kind = YAML_KIND_FLOAT, .number = INFINITY } },
	{ S_INIT(".Inf"),  { .kind = YAML_KIND_FLOAT, .number = INFINITY } },
	{ S_INIT(".INF"),  { .kind = YAML_KIND_FLOAT, .number = INFINITY } },
	{ S_INIT("+.inf"), { .kind = YAML_KIND_FLOAT, .number = INFINITY } },
	{ S_INIT("+.Inf"), { .kind = YAML_KIND_FLOAT, .number = INFINITY } },
	{ S_INIT("+.INF"), { .kind = YAML_KIND_FLOAT, .number = INFINITY } },
	{ S_INIT("-.inf"), { .kind = YAML_KIND_FLOAT, .number = -INFINITY } },
	{ S_INIT("-.Inf"), { .kind = YAML_KIND_FLOAT, .number = -INFINITY } },
	{ S_INIT("-.INF"), { .kind = YAML_KIND_FLOAT, .number = -INFINITY } },
	{ S_INIT("<<"),    { .kind = YAML_KIND_MERGE } },
};
#define WORD_BYTES_MAX 5

static const struct yaml_scalar string = { .kind = YAML_KIND_STR };

static bool digit(char c) {
	return c >= '0' && c <= '9';
}

/* ---- integers ---------------------------------------------------------------------------------- */

/* Go's ParseInt with base 0, underscores already gone. Out of uint64 counts as no integer. */
static bool integer(struct str s, struct yaml_scalar *ret) {
	bool negative = s.ptr[0] == '-', sign = negative || s.ptr[0] == '+';
	unsigned base = 10;
	uint64_t n = 0;
	s = str_from(s, sign);
	if (s.len > 1 && s.ptr[0] == '0') {
		char c = (char)(s.ptr[1] | 0x20);
		base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
		s = str_from(s, c == 'x' || c == 'b' || c == 'o' ? 2 : 1);
	}
	if (!s.len) {
		return false;
	}
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];
		unsigned d = digit(c) ? (unsigned)(c - '0') : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (unsigned)((c | 0x20) - 'a' + 10) : 99;
		if (d >= base || __builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, d, &n)) {
			return false;
		}
	}
	if (n <= (uint64_t)INT64_MAX + negative) {
		*ret = (struct yaml_scalar){ .kind = YAML_KIND_INT, .integer = negative ? (int64_t)(0 - n) : (int64_t)n };
		return true;
	}
	*ret = (struct yaml_scalar){ .kind = YAML_KIND_INT, .is_unsigned = true, .number = (double)n };
	return !sign; /* ParseUint takes no sign */
}

/* ---- floats ------------------------------------------------------------------------------------ */

static size_t digits_at(struct str s, size_t at) {
	size_t n = 0;
	while (at + n < s.len && digit(s.ptr[at + n])) {
		n++;
	}
	return n;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool float_grammar(struct str s) {
	size_t at = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+');
	size_t whole = digits_at(s, at), fraction = 0;
	at += whole;
	if (at < s.len && s.ptr[at] == '.') {
		fraction = digits_at(s, at + 1);
		at += 1 + fraction;
	}
	if (!whole && !fraction) {
		return false;
	}
	if (at < s.len && (s.ptr[at] == 'e' || s.ptr[at] == 'E')) {
		at++;
		at += at < s.len && (s.ptr[at] == '-' || s.ptr[at] == '+');
		size_t exponent = digits_at(s, at);
		if (!exponent) {
			return false;
		}
		at += exponent;
	}
	return at == s.len;
}

static bool floating(struct str s, struct yaml_scalar *ret) {
	double d;
	if (!float_grammar(s) || !number_parse(s, &d)) {
		return false;
	}
	*ret = (struct yaml_scalar){ .kind = YAML_KIND_FLOAT, .number = d };
	return true;
}

/* ---- dates ------------------------------------------------------------------------------------- */

/* One or two digits and, when it is not 0, `after`; written to *out as two. */
static bool two_digits(struct str *s, char after, char **out) {
	size_t n = digits_at(*s, 0);
	if (n < 1 || n > 2 || (after && (s->len <= n || s->ptr[n] != after))) {
		return false;
	}
	*(*out)++ = n == 2 ? s->ptr[0] : '0';
	*(*out)++ = s->ptr[n - 1];
	*s = str_from(*s, n + (after != 0));
	return true;
}

/* A date with or without a time; made whole, it is checked as RFC 3339. */
static bool timestamp(struct str s) {
	char whole[80] = { 0 }, *out = whole;
	nsec_t ignored;
	if (digits_at(s, 0) != 4 || s.len < 5 || s.len > 60 || s.ptr[4] != '-') {
		return false;
	}
	out = mempcpy(out, s.ptr, 5);
	s = str_from(s, 5);
	if (!two_digits(&s, '-', &out)) {
		return false;
	}
	*out++ = '-';
	if (!two_digits(&s, 0, &out)) {
		return false;
	}
	if (!s.len) {
		memcpy(out, "T00:00:00Z", 10);
		return time_parse(str_c(whole), &ignored);
	}
	bool zone = s.ptr[0] == 'T' || s.ptr[0] == 't';
	if (!zone && s.ptr[0] != ' ') {
		return false;
	}
	s = str_from(s, 1);
	*out++ = 'T';
	if (!two_digits(&s, ':', &out)) {
		return false;
	}
	*out++ = ':';
	if (!two_digits(&s, ':', &out)) {
		return false;
	}
	*out++ = ':';
	if (!two_digits(&s, 0, &out)) {
		return false;
	}
	out = mempcpy(out, s.ptr, s.len); /* the fraction, and the zone where there has to be one */
	if (!zone) {
		*out = 'Z';
	}
	return time_parse(str_c(whole), &ignored) && (zone || !str_contains(s, S(":")));
}

/* ---- the whole --------------------------------------------------------------------------------- */

static bool maybe_special(struct str s) {
	return s.len == 0 || digit(s.ptr[0]) || strchr("+-.~<yYnNtTfFoO", s.ptr[0]);
}

struct yaml_scalar yaml_resolve(struct str text) {
	struct yaml_scalar r = string;
	if (!maybe_special(text)) {
		return string;
	}
	for (size_t i = 0; text.len <= WORD_BYTES_MAX && i < ARRAY_LEN(words); i++) {
		if (str_eq(text, words[i].text)) {
			return words[i].means;
		}
	}
	if (text.ptr[0] == '.') {
		return floating(text, &r) ? r : string;
	}
	if (!digit(text.ptr[0]) && text.ptr[0] != '+' && text.ptr[0] != '-') {
		return string;
	}
	if (timestamp(text)) {
		r.kind = YAML_KIND_TIMESTAMP;
		return r;
	}
	auto_free char *plain = NULL;
	struct str s = text;
	if (str_index(text, '_') >= 0) {
		plain = xmalloc(text.len);
		s = (struct str){ plain, 0 };
		for (size_t i = 0; i < text.len; i++) {
			if (text.ptr[i] != '_') {
				plain[s.len++] = text.ptr[i];
			}
		}
	}
	return s.len && (integer(s, &r) || floating(s, &r)) ? r : string;
}

bool yaml_base60(struct str s) {
	size_t at = s.len && (s.ptr[0] == '-' || s.ptr[0] == '+'), parts = 0;
	if (at >= s.len || !digit(s.ptr[at])) {
		return false;
	}
	while (at < s.len && (digit(s.ptr[at]) || s.ptr[at] == '_')) {
		at++;
	}
	for (; at < s.len && s.ptr[at] == ':'; parts++) {
		size_t n = digits_at(s, at + 1);
		if (n < 1 || n > 2 || (n == 2 && s.ptr[at + 1] > '5')) {
			return false;
		}
		at += 1 + n;
	}
	if (parts && at < s.len && s.ptr[at] == '.') {
		at++;
		while (at < s.len && (digit(s.ptr[at]) || s.ptr[at] == '_')) {
			at++;
		}
	}
	return parts && at == s.len;
}
