/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number.c - see number.h. Finds the fewest decimal digits that read back as the same double, and sets
 * them as Go does. Pure functions; any thread.
 */
#include "value/number.h"

#include <math.h>
#include <stdio.h>

#define DIGITS_MAX 17

struct decimal {
	bool negative;
	char digits[DIGITS_MAX + 1];
	int len;
	int point; /* the value is 0.digits * 10^point */
};

static bool digits_of(double d, bool single, int precision, struct decimal *ret) {
	char text[40];
	int n = snprintf(text, sizeof(text), "%.*e", precision - 1, d);
	char *e = memchr(text, 'e', (size_t)n);
	int64_t exponent;
	double back;
	ret->len = 0;
	ret->negative = text[0] == '-';
	for (char *p = text + ret->negative; p < e; p++) {
		if (*p >= '0' && *p <= '9') { /* not the decimal point, whatever the locale writes */
			ret->digits[ret->len++] = *p;
		}
	}
	while (ret->len > 1 && ret->digits[ret->len - 1] == '0') {
		ret->len--;
	}
	if (!str_to_i64(str_c(e + 1), &exponent)) {
		exponent = 0;
	}
	ret->point = (int)exponent + 1;
	return sscanf(text, "%lf", &back) == 1 && (single ? (float)back == (float)d : back == d);
}

static struct decimal shortest(double d, bool single) {
	struct decimal r = { .digits = "0", .len = 1, .point = 1, .negative = signbit(d) };
	if (d == 0) {
		return r;
	}
	/* 15 digits always survive a double, except among the subnormal ones, which have fewer. */
	int precision = fabs(d) < 2.3e-308 || single ? 1 : 15;
	while (!digits_of(d, single, precision, &r) && precision < DIGITS_MAX) {
		precision++;
	}
	return r;
}

static size_t put_exponent(const struct decimal *r, char *out) {
	char *at = out;
	int exponent = r->point - 1;
	*at++ = r->digits[0];
	if (r->len > 1) {
		*at++ = '.';
		at = mempcpy(at, r->digits + 1, (size_t)r->len - 1);
	}
	at += snprintf(at, 8, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
	return (size_t)(at - out);
}

static size_t put_plain(const struct decimal *r, char *out) {
	char *at = out;
	if (r->point <= 0) {
		*at++ = '0';
	}
	for (int i = 0; i < r->point; i++) {
		*at++ = i < r->len ? r->digits[i] : '0';
	}
	if (r->len > r->point) {
		*at++ = '.';
		for (int i = r->point; i < r->len; i++) {
			*at++ = i < 0 ? '0' : r->digits[i];
		}
	}
	return (size_t)(at - out);
}

size_t number_json(double d, char out[NUMBER_TEXT_MAX]) {
	struct decimal r = shortest(d, false);
	size_t n = 0;
	if (r.negative) {
		out[n++] = '-';
	}
	if (d != 0 && (fabs(d) < 1e-6 || fabs(d) >= 1e21)) {
		n += put_exponent(&r, out + n);
		if (out[n - 2] == '0' && out[n - 3] == '-') { /* e-09 becomes e-9 */
			out[n - 2] = out[n - 1];
			n--;
		}
		return n;
	}
	return n + put_plain(&r, out + n);
}

static size_t general(double d, bool single, char out[NUMBER_TEXT_MAX]) {
	struct decimal r = shortest(d, single);
	size_t n = 0;
	int exponent = r.point - 1;
	if (r.negative) {
		out[n++] = '-';
	}
	if (d != 0 && (exponent < -4 || exponent >= 6)) {
		return n + put_exponent(&r, out + n);
	}
	return n + put_plain(&r, out + n);
}

size_t number_general(double d, char out[NUMBER_TEXT_MAX]) {
	return general(d, false, out);
}

size_t number_general_single(double d, char out[NUMBER_TEXT_MAX]) {
	return general(d, true, out);
}

bool number_parse(struct str text, double *ret) {
	/* Up to 15 digits and a power of ten up to 22 are exact doubles, and so is one operation on them. */
	static const double tens[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
		1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
	size_t i = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+'), digits = 0;
	bool negative = i && text.ptr[0] == '-', seen_point = false;
	int64_t mantissa = 0, exponent = 0, given = 0;
	for (; i < text.len && digits < 16; i++) {
		char c = text.ptr[i];
		if (c == '.') {
			seen_point = true;
			continue;
		}
		if (c < '0' || c > '9') {
			break;
		}
		mantissa = mantissa * 10 + (c - '0');
		digits += mantissa != 0;
		exponent -= seen_point;
	}
	if (i < text.len && (text.ptr[i] == 'e' || text.ptr[i] == 'E')) {
		if (!str_to_i64(str_from(text, i + 1), &given)) {
			given = 1000; /* beyond any exact power */
		}
		i = text.len;
	}
	exponent += MIN(MAX(given, (int64_t)-1000), (int64_t)1000);
	if (i == text.len && digits <= 15 && exponent >= -22 && exponent <= 22) {
		double d = (double)mantissa;
		d = exponent < 0 ? d / tens[-exponent] : d * tens[exponent];
		*ret = negative ? -d : d;
		return true;
	}
	auto_free char *copy = str_dup(text);
	double d = strtod(copy, NULL);
	if (isinf(d)) {
		return false;
	}
	*ret = d;
	return true;
}
