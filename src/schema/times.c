/* SPDX-License-Identifier: Apache-2.0 */
/*
 * times.c - RFC 3339 times and Go durations: read with Go's rules and words, written canonically.
 *
 * Called by decode, protobuf and tables. Dates are proleptic Gregorian. Any thread.
 */
#include "schema/schema.h"

/* Days since 1970-01-01 of a date, and back (civil-from-days over eras of 400 years). */
static int64_t days_of(int64_t year, int month, int day) {
	int64_t era, of_era;

	year -= month <= 2;
	era = (year >= 0 ? year : year - 399) / 400;
	of_era = year - era * 400;
	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1 - 719468;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day) {
	int64_t era, doe, yoe, doy, mp;

	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	doe = days - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (int)(mp + (mp < 10 ? 3 : -9));
	*year = yoe + era * 400 + (*month <= 2);
}

static int days_in(int64_t year, int month) {
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return days[month - 1] + (month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)));
}

/* Reads through a time, piece by piece, and remembers where Go would have stopped. */
struct time_reader {
	struct str all, rest;
	const char *layout; /* for the message */
	const char *range;  /* "month": out of range */
	struct str stopped_at;
	const char *wanted; /* the layout's piece */
};

static bool is_digit(char c) {
	return c >= '0' && c <= '9';
}

static bool number(struct time_reader *r, size_t digits, bool exact, const char *wanted, int *ret) {
	size_t n = 0;

	*ret = 0;
	while (n < digits && n < r->rest.len && is_digit(r->rest.ptr[n])) {
		*ret = *ret * 10 + (r->rest.ptr[n++] - '0');
	}
	if (n == 0 || (exact && n < digits)) {
		r->stopped_at = r->rest;
		r->wanted = wanted;
		return false;
	}
	r->rest = str_from(r->rest, n);
	return true;
}

static bool literal(struct time_reader *r, const char *c) {
	if (r->rest.len == 0 || r->rest.ptr[0] != *c) {
		r->stopped_at = r->rest;
		r->wanted = c;
		return false;
	}
	r->rest = str_from(r->rest, 1);
	return true;
}

static bool in_range(struct time_reader *r, const char *what, int n, int min, int max) {
	if (n < min || n > max) {
		r->range = what;
		return false;
	}
	return true;
}

static bool zone(struct time_reader *r, int *ret_offset) {
	int hours, minutes, sign;
	struct str from = r->rest;

	*ret_offset = 0;
	if (from.len && from.ptr[0] == 'Z') {
		r->rest = str_from(from, 1);
		return true;
	}
	if (from.len < 6 || (from.ptr[0] != '+' && from.ptr[0] != '-') || from.ptr[3] != ':' || !is_digit(from.ptr[1]) || !is_digit(from.ptr[2]) ||
		!is_digit(from.ptr[4]) || !is_digit(from.ptr[5])) {
		r->stopped_at = from;
		r->wanted = "Z07:00";
		return false;
	}
	sign = from.ptr[0] == '-' ? -1 : 1;
	hours = (from.ptr[1] - '0') * 10 + from.ptr[2] - '0';
	minutes = (from.ptr[4] - '0') * 10 + from.ptr[5] - '0';
	r->rest = str_from(from, 6);
	*ret_offset = sign * (hours * 3600 + minutes * 60);
	return in_range(r, "time zone offset hour", hours, 0, 24) && in_range(r, "time zone offset minute", minutes, 0, 60);
}

static bool read_time(struct time_reader *r, int64_t *sec, int32_t *nsec) {
	int year, month, day, hour, minute, second, offset;
	int32_t nano = 0;

	if (!number(r, 4, true, "2006", &year) || !literal(r, "-") || !number(r, 2, true, "01", &month) || !in_range(r, "month", month, 1, 12) ||
		!literal(r, "-") || !number(r, 2, true, "02", &day) || !literal(r, "T") || !number(r, 2, false, "15", &hour) ||
		!in_range(r, "hour", hour, 0, 23) || !literal(r, ":") || !number(r, 2, true, "04", &minute) || !in_range(r, "minute", minute, 0, 59) ||
		!literal(r, ":") || !number(r, 2, true, "05", &second) || !in_range(r, "second", second, 0, 59)) {
		return false;
	}
	if (r->rest.len > 1 && (r->rest.ptr[0] == '.' || r->rest.ptr[0] == ',') && is_digit(r->rest.ptr[1])) {
		size_t n = 1;
		int32_t unit = 100000000;

		for (; n < r->rest.len && is_digit(r->rest.ptr[n]); n++, unit /= 10) {
			nano += unit * (r->rest.ptr[n] - '0');
		}
		r->rest = str_from(r->rest, n);
	}
	if (!zone(r, &offset)) {
		return false;
	}
	if (r->rest.len) {
		r->wanted = NULL;
		return false;
	}
	if (!in_range(r, "day", day, 1, days_in(year, month))) {
		return false;
	}
	*sec = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
	*nsec = nano;
	return true;
}

bool go_time_parse(struct str text, int64_t *ret_sec, int32_t *ret_nsec, struct err *err) {
	struct time_reader r = { .all = text, .rest = text };
	int64_t sec = 0;
	int32_t nsec = 0;

	if (read_time(&r, &sec, &nsec)) {
		*ret_sec = sec;
		*ret_nsec = nsec;
		return true;
	}
	if (r.range) {
		return err_set(err, ERR_BAD_REQUEST, "parsing time \"%.*s\": %s out of range", STR_ARG(str_sub(text, 0, 200)), r.range);
	}
	if (!r.wanted) {
		return err_set(err, ERR_BAD_REQUEST, "parsing time \"%.*s\": extra text: \"%.*s\"", STR_ARG(str_sub(text, 0, 200)),
			STR_ARG(str_sub(r.rest, 0, 200)));
	}
	return err_set(err, ERR_BAD_REQUEST, "parsing time \"%.*s\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"%.*s\" as \"%s\"",
		STR_ARG(str_sub(text, 0, 200)), STR_ARG(str_sub(r.stopped_at, 0, 200)), r.wanted);
}

static char *digits(char *p, int64_t n, int width) {
	for (int i = width - 1; i >= 0; i--, n /= 10) {
		p[i] = (char)('0' + n % 10);
	}
	return p + width;
}

static char *date_time(char *p, int64_t sec) {
	int64_t days = sec >= 0 ? sec / 86400 : -((86399 - sec) / 86400), in_day = sec - days * 86400, year;
	int month, day;

	date_of(days, &year, &month, &day);
	p = digits(p, year < 0 ? 0 : year, 4);
	*p++ = '-';
	p = digits(p, month, 2);
	*p++ = '-';
	p = digits(p, day, 2);
	*p++ = 'T';
	p = digits(p, in_day / 3600, 2);
	*p++ = ':';
	p = digits(p, in_day / 60 % 60, 2);
	*p++ = ':';
	return digits(p, in_day % 60, 2);
}

struct str time_text(struct arena *a, int64_t sec) {
	char text[32], *p = date_time(text, sec);

	*p++ = 'Z';
	return arena_str(a, (struct str){ text, (size_t)(p - text) });
}

struct str time_text_micro(struct arena *a, int64_t sec, int32_t nsec) {
	char text[40], *p = date_time(text, sec);

	*p++ = '.';
	p = digits(p, nsec / 1000, 6);
	*p++ = 'Z';
	return arena_str(a, (struct str){ text, (size_t)(p - text) });
}

/* ---- durations ------------------------------------------------------------------------------------ */
static const struct {
	struct str name;
	int64_t nsec;
} units[] = {
	{ S_INIT("ns"), 1 },
	{ S_INIT("us"), 1000 },
	{ S_INIT("\xc2\xb5s"), 1000 }, /* micro sign */
	{ S_INIT("\xce\xbcs"), 1000 }, /* Greek mu */
	{ S_INIT("ms"), 1000000 },
	{ S_INIT("s"), 1000000000 },
	{ S_INIT("m"), 60000000000 },
	{ S_INIT("h"), 3600000000000 },
};

static bool duration_bad(struct str text, struct err *err) {
	return err_set(err, ERR_BAD_REQUEST, "time: invalid duration \"%.*s\"", STR_ARG(str_sub(text, 0, 200)));
}

bool go_duration_parse(struct str text, int64_t *ret_nsec, struct err *err) {
	struct str s = text;
	bool negative = false;
	__int128 total = 0;

	if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
		negative = s.ptr[0] == '-';
		s = str_from(s, 1);
	}
	if (str_eq(s, S("0"))) {
		*ret_nsec = 0;
		return true;
	}
	if (s.len == 0) {
		return duration_bad(text, err);
	}
	while (s.len) {
		size_t n = 0, fraction = 0, unit = 0;
		__int128 whole = 0, part = 0, scale = 1;
		struct str name;
		bool found = false;

		for (; n < s.len && is_digit(s.ptr[n]); n++) {
			whole = whole * 10 + (s.ptr[n] - '0');
			if (whole > INT64_MAX) {
				return duration_bad(text, err);
			}
		}
		fraction = n;
		if (n < s.len && s.ptr[n] == '.') {
			for (n++; n < s.len && is_digit(s.ptr[n]); n++) {
				if (scale < 1000000000000000) {
					part = part * 10 + (s.ptr[n] - '0');
					scale *= 10;
				}
			}
			if (n == 1) {
				return duration_bad(text, err);
			}
		}
		if (n == 0 || (fraction == 0 && n == 1)) {
			return duration_bad(text, err);
		}
		s = str_from(s, n);
		for (n = 0; n < s.len && s.ptr[n] != '.' && !is_digit(s.ptr[n]); n++) {
		}
		if (n == 0) {
			return err_set(err, ERR_BAD_REQUEST, "time: missing unit in duration \"%.*s\"", STR_ARG(str_sub(text, 0, 200)));
		}
		name = str_sub(s, 0, n);
		for (; unit < ARRAY_LEN(units) && !found; unit++) {
			found = str_eq(units[unit].name, name);
		}
		if (!found) {
			return err_set(err, ERR_BAD_REQUEST, "time: unknown unit \"%.*s\" in duration \"%.*s\"", STR_ARG(str_sub(name, 0, 100)),
				STR_ARG(str_sub(text, 0, 200)));
		}
		total += whole * units[unit - 1].nsec + part * units[unit - 1].nsec / scale;
		if (total > INT64_MAX) {
			return duration_bad(text, err);
		}
		s = str_from(s, n);
	}
	*ret_nsec = (int64_t)(negative ? -total : total);
	return true;
}

/* A count of `unit`s with its fraction: "1.5", without zeros at the end. */
static void print_fraction(struct buf *b, uint64_t n, uint64_t unit) {
	char part[24];
	size_t len;

	buf_printf(b, "%llu", (unsigned long long)(n / unit));
	if (n % unit == 0) {
		return;
	}
	snprintf(part, sizeof(part), "%llu", (unsigned long long)(unit + n % unit)); /* a 1 and the digits */
	for (len = strlen(part); part[len - 1] == '0'; len--) {
	}
	buf_char(b, '.');
	buf_add(b, part + 1, len - 1);
}

struct str duration_text(struct arena *a, int64_t nsec) {
	auto_buf struct buf b = BUF_INIT(64);
	uint64_t n = nsec < 0 ? -(uint64_t)nsec : (uint64_t)nsec;

	if (n == 0) {
		return S("0s");
	}
	if (nsec < 0) {
		buf_char(&b, '-');
	}
	if (n < 1000) {
		buf_printf(&b, "%lluns", (unsigned long long)n);
	} else if (n < 1000000) {
		print_fraction(&b, n, 1000);
		buf_c(&b, "\xc2\xb5s");
	} else if (n < 1000000000) {
		print_fraction(&b, n, 1000000);
		buf_c(&b, "ms");
	} else {
		uint64_t minutes = n / 60000000000u;

		if (minutes >= 60) {
			buf_printf(&b, "%lluh", (unsigned long long)(minutes / 60));
		}
		if (minutes) {
			buf_printf(&b, "%llum", (unsigned long long)(minutes % 60));
		}
		print_fraction(&b, n % 60000000000u, 1000000000);
		buf_char(&b, 's');
	}
	return arena_str(a, buf_view(&b));
}
