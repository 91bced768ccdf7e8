/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quantity.c - amounts of resources: "500m", "1Gi", "2e3". Read, written canonically, compared, added.
 *
 * Called by decode, defaults, and every room that counts resources. The rules are those of the reference's
 * resource.Quantity: what is finer than nano is rounded away from zero, one family of suffixes is kept,
 * and the canonical text has the largest suffix that leaves a whole number. Any thread.
 */
#include "schema/schema.h"

#define NANO 1000000000ll

static const char format_wrong[] = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/* Suffixes of tens by exponent/3 from -3 on, and of 1024s from 0 on. */
static const char *const decimal_suffixes[] = { "n", "u", "m", "", "k", "M", "G", "T", "P", "E" };
static const char *const binary_suffixes[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };

static bool is_digit(char c) {
	return c >= '0' && c <= '9';
}

/* Splits as the reference does, which is not what its own message says. */
struct parts {
	bool negative;
	struct str num, denom, suffix;
};

static bool split(struct str s, struct parts *p) {
	size_t i = 0, from;

	if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
		p->negative = s.ptr[0] == '-';
		i++;
	}
	for (; i < s.len && s.ptr[i] == '0'; i++) {
	}
	for (from = i; i < s.len && is_digit(s.ptr[i]); i++) {
	}
	p->num = str_sub(s, from, i);
	if (i < s.len && s.ptr[i] == '.') {
		for (from = ++i; i < s.len && is_digit(s.ptr[i]); i++) {
		}
		p->denom = str_sub(s, from, i);
	}
	for (from = i; i < s.len && memchr("eEinumkKMGTP", s.ptr[i], 12); i++) {
	}
	if (i < s.len && (s.ptr[i] == '-' || s.ptr[i] == '+')) {
		i++;
	}
	for (; i < s.len && is_digit(s.ptr[i]); i++) {
	}
	p->suffix = str_sub(s, from, i);
	return i == s.len;
}

/* The suffix as a power of ten, or of two. */
static bool suffix_read(struct str s, enum quantity_format *format, int *ten, int *two) {
	for (size_t i = 0; i < ARRAY_LEN(decimal_suffixes); i++) {
		if (str_eqc(s, decimal_suffixes[i])) {
			*format = QUANTITY_DECIMAL_SI;
			*ten = ((int)i - 3) * 3;
			return true;
		}
	}
	for (size_t i = 1; i < ARRAY_LEN(binary_suffixes); i++) {
		if (str_eqc(s, binary_suffixes[i])) {
			*format = QUANTITY_BINARY_SI;
			*two = (int)i * 10;
			return true;
		}
	}
	if (s.len > 1 && (s.ptr[0] == 'e' || s.ptr[0] == 'E')) {
		struct str n = str_from(s, 1);

		if (n.ptr[0] == '+') {
			n = str_from(n, 1);
		}
		*format = QUANTITY_DECIMAL_EXPONENT;
		return str_to_int(n, -1000, 1000, ten);
	}
	return false;
}

#define NANO_MAX ((__int128)(((unsigned __int128)1 << 127) - 1))

/* n * 10 + digit, stopping at the largest. */
static __int128 push_digit(__int128 n, int digit) {
	return n > (NANO_MAX - digit) / 10 ? NANO_MAX : n * 10 + digit;
}

bool quantity_parse(struct str text, struct quantity *ret, struct err *err) {
	struct parts p = { 0 };
	struct quantity q = { 0 };
	__int128 n = 0;
	int ten = 0, two = 0, scale;
	bool inexact = false;

	if (text.len == 0 || text.len > 256 || !split(text, &p)) {
		return err_set(err, ERR_BAD_REQUEST, "%s", format_wrong);
	}
	if (!suffix_read(p.suffix, &q.format, &ten, &two)) {
		return err_set(err, ERR_BAD_REQUEST, "unable to parse quantity's suffix");
	}
	/* Digits go into n while they matter: all of the whole part, and of the fraction down to what suffix and nano show. */
	for (size_t i = 0; i < p.num.len; i++) {
		n = push_digit(n, p.num.ptr[i] - '0');
	}
	scale = ten + 9; /* n times ten to this is the count of nanos */
	for (size_t i = 0; i < p.denom.len; i++) {
		if (n > NANO_MAX / 10 - 10) { /* 38 digits: the rest is below any rounding that shows */
			inexact = inexact || p.denom.ptr[i] != '0';
			continue;
		}
		n = push_digit(n, p.denom.ptr[i] - '0');
		scale--;
	}
	for (; two > 0; two--) {
		if (n > NANO_MAX / 2) {
			if (scale >= 0) {
				n = NANO_MAX;
				break;
			}
			inexact = inexact || n % 10;
			n /= 10;
			scale++;
		}
		n *= 2;
	}
	for (; scale > 0 && n; scale--) {
		n = n > NANO_MAX / 10 ? NANO_MAX : n * 10;
	}
	for (; scale < 0 && n; scale++) {
		inexact = inexact || n % 10;
		n /= 10;
		if (n == 0) {
			break;
		}
	}
	q.nano = n + (inexact ? 1 : 0); /* away from zero: who asks for something gets something */
	if (q.format == QUANTITY_BINARY_SI) {
		__int128 most = (__int128)INT64_MAX * NANO;

		if (q.nano > most) {
			q.nano = most;
		}
		if (q.nano > 0 && q.nano < NANO) {
			q.format = QUANTITY_DECIMAL_SI;
		}
	}
	if (p.negative) {
		q.nano = -q.nano;
	}
	*ret = q;
	return true;
}

static struct str print_128(struct arena *a, __int128 n, const char *suffix) {
	char text[64];
	size_t at = sizeof(text);
	unsigned __int128 u = n < 0 ? -(unsigned __int128)n : (unsigned __int128)n;

	at -= strlen(suffix);
	memcpy(text + at, suffix, strlen(suffix));
	do {
		text[--at] = (char)('0' + (int)(u % 10));
		u /= 10;
	} while (u);
	if (n < 0) {
		text[--at] = '-';
	}
	return arena_str(a, (struct str){ text + at, sizeof(text) - at });
}

struct str quantity_text(struct arena *a, struct quantity q) {
	__int128 n = q.nano;
	int thirds = 0; /* n stands for n * 1000^thirds nanos */

	if (n == 0) {
		return S("0");
	}
	if (q.format == QUANTITY_BINARY_SI && n % NANO == 0 && (n <= -1024 * (__int128)NANO || n >= 1024 * (__int128)NANO)) {
		int power = 0;

		for (n /= NANO; n % 1024 == 0 && power < 6; power++) {
			n /= 1024;
		}
		return print_128(a, n, binary_suffixes[power]);
	}
	while (n % 1000 == 0 && thirds < (q.format == QUANTITY_DECIMAL_EXPONENT ? 100 : 9)) {
		n /= 1000;
		thirds++;
	}
	if (q.format == QUANTITY_DECIMAL_EXPONENT) {
		char suffix[16] = "";

		if (thirds != 3) {
			snprintf(suffix, sizeof(suffix), "e%d", thirds * 3 - 9);
		}
		return print_128(a, n, suffix);
	}
	return print_128(a, n, decimal_suffixes[thirds]);
}

static __int128 add_128(__int128 a, __int128 b) {
	__int128 sum;

	if (__builtin_add_overflow(a, b, &sum)) {
		return a > 0 ? NANO_MAX : -NANO_MAX;
	}
	return sum;
}

struct quantity quantity_add(struct quantity a, struct quantity b) {
	return (struct quantity){ .nano = add_128(a.nano, b.nano), .format = a.nano == 0 ? b.format : a.format };
}

struct quantity quantity_sub(struct quantity a, struct quantity b) {
	return (struct quantity){ .nano = add_128(a.nano, -b.nano), .format = a.nano == 0 ? b.format : a.format };
}

static int64_t scaled(__int128 nano, int64_t unit) {
	__int128 n = nano / unit;

	if (nano % unit) {
		n += nano < 0 ? -1 : 1;
	}
	return n > INT64_MAX ? INT64_MAX : n < INT64_MIN ? INT64_MIN : (int64_t)n;
}

int64_t quantity_value(struct quantity q) {
	return scaled(q.nano, NANO);
}

int64_t quantity_milli(struct quantity q) {
	return scaled(q.nano, NANO / 1000);
}

struct quantity quantity_of(int64_t units, enum quantity_format format) {
	return (struct quantity){ .nano = (__int128)units * NANO, .format = format };
}

struct quantity quantity_of_milli(int64_t milli, enum quantity_format format) {
	return (struct quantity){ .nano = (__int128)milli * (NANO / 1000), .format = format };
}

struct quantity quantity_from(const struct value *v) {
	struct quantity q = { 0 };
	struct err err = { 0 };
	char text[40];

	if (value_is(v, VALUE_INT)) {
		return quantity_of(value_as_int(v), QUANTITY_DECIMAL_SI);
	}
	if (value_is(v, VALUE_FLOAT)) {
		snprintf(text, sizeof(text), "%.9f", value_as_double(v));
		return quantity_parse(str_c(text), &q, &err) ? q : (struct quantity){ 0 };
	}
	return quantity_parse(value_as_str(v), &q, &err) ? q : (struct quantity){ 0 };
}
