/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c - see clock.h. Any thread. The random generator's state is a thread's own, seeded from the
 * kernel; what must not be guessed does not come from here. Dates are the proleptic Gregorian calendar.
 */
#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <time.h>

static _Atomic(const struct clock_source *) clock_source;

void clock_set_source(const struct clock_source *source) {
	atomic_store_explicit(&clock_source, source, memory_order_release);
}

static const struct clock_source *replaced(void) {
	return atomic_load_explicit(&clock_source, memory_order_acquire);
}

static nsec_t now(clockid_t id) {
	struct timespec ts;
	clock_gettime(id, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

nsec_t clock_mono(void) {
	const struct clock_source *s = replaced();
	return s ? s->mono() : now(CLOCK_MONOTONIC);
}

nsec_t clock_wall(void) {
	const struct clock_source *s = replaced();
	return s ? s->wall() : now(CLOCK_REALTIME);
}

void clock_sleep(nsec_t span) {
	if (span <= 0) {
		return;
	}
	struct timespec ts = { .tv_sec = span / NSEC_PER_SEC, .tv_nsec = span % NSEC_PER_SEC };
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR) {
	}
}

/* ---- chance ----------------------------------------------------------------------------------- */

static uint64_t split_mix(uint64_t *state) {
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t rand_u64(void) {
	static _Thread_local uint64_t state;
	static _Thread_local bool seeded;
	const struct clock_source *s = replaced();
	if (s) {
		return s->random();
	}
	if (!seeded) {
		if (getrandom(&state, sizeof(state), 0) != (ssize_t)sizeof(state)) {
			state = (uint64_t)now(CLOCK_MONOTONIC) ^ (uint64_t)(uintptr_t)&state;
		}
		seeded = true;
	}
	return split_mix(&state);
}

double rand_double(void) {
	return (double)(rand_u64() >> 11) * 0x1p-53;
}

/* ---- dates ------------------------------------------------------------------------------------ */

struct civil {
	int64_t year;
	int month, day, hour, minute, second;
	int32_t nsec;
};

static bool leap_year(int64_t y) {
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int days_in_month(int64_t y, int month) {
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	return days[month - 1] + (month == 2 && leap_year(y));
}

/* Leap days in the years 1 to y. */
static int64_t leap_days(int64_t y) {
	return y / 4 - y / 100 + y / 400;
}

/* Days from 1970-01-01 to the first of January of year y, which is at least 0. */
static int64_t days_to_year(int64_t y) {
	/* Year 0 is a leap year, and leap_days(-1) would round towards zero. */
	int64_t leaps = y > 0 ? leap_days(y - 1) + 1 : 0;
	return y * 365 + leaps - (1970 * 365 + leap_days(1969) + 1);
}

static int64_t seconds_of(const struct civil *c) {
	int64_t days = days_to_year(c->year);
	for (int m = 1; m < c->month; m++) {
		days += days_in_month(c->year, m);
	}
	return ((days + c->day - 1) * 24 + c->hour) * 3600 + c->minute * 60 + c->second;
}

static struct civil civil_of(nsec_t wall) {
	int64_t sec = wall / NSEC_PER_SEC;
	int32_t nsec = (int32_t)(wall % NSEC_PER_SEC);
	if (nsec < 0) {
		nsec += (int32_t)NSEC_PER_SEC;
		sec--;
	}
	int64_t days = sec / 86400, rest = sec % 86400;
	if (rest < 0) {
		rest += 86400;
		days--;
	}
	int64_t year = 1970 + days / 366; /* at most a year or so too early or late; then walk */
	while (days_to_year(year) > days) {
		year--;
	}
	while (days_to_year(year + 1) <= days) {
		year++;
	}
	int day = (int)(days - days_to_year(year)), month = 1;
	while (day >= days_in_month(year, month)) {
		day -= days_in_month(year, month++);
	}
	return (struct civil){ .year = year, .month = month, .day = day + 1, .hour = (int)(rest / 3600),
		.minute = (int)(rest / 60 % 60), .second = (int)(rest % 60), .nsec = nsec };
}

static struct str format(nsec_t wall, int digits, char out[TIME_TEXT_MAX]) {
	struct civil c = civil_of(wall);
	int n = snprintf(out, TIME_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", (int)c.year, c.month, c.day, c.hour,
		c.minute, c.second);
	if (digits) {
		int32_t fraction = c.nsec;
		for (int i = digits; i < 9; i++) {
			fraction /= 10;
		}
		n += snprintf(out + n, TIME_TEXT_MAX - (size_t)n, ".%0*d", digits, (int)fraction);
	}
	out[n++] = 'Z';
	out[n] = 0;
	return (struct str){ out, (size_t)n };
}

struct str time_format(nsec_t wall, char out[TIME_TEXT_MAX]) {
	return format(wall, 0, out);
}

struct str time_format_micro(nsec_t wall, char out[TIME_TEXT_MAX]) {
	return format(wall, 6, out);
}

struct str time_format_nano(nsec_t wall, char out[TIME_TEXT_MAX]) {
	return format(wall, 9, out);
}

/* Takes exactly `digits` decimal digits and, when `after` is not 0, that character. */
static bool take_number(struct str *s, size_t digits, char after, int *ret) {
	int v = 0;
	if (s->len < digits + (after != 0)) {
		return false;
	}
	for (size_t i = 0; i < digits; i++) {
		unsigned d = (unsigned)(s->ptr[i] - '0');
		if (d > 9) {
			return false;
		}
		v = v * 10 + (int)d;
	}
	if (after && s->ptr[digits] != after) {
		return false;
	}
	*s = str_from(*s, digits + (after != 0));
	*ret = v;
	return true;
}

static bool take_fraction(struct str *s, int32_t *ret_nsec) {
	int32_t scale = 100000000, nsec = 0;
	size_t i = 1;
	for (; i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9'; i++) {
		nsec += (s->ptr[i] - '0') * scale; /* beyond nine digits scale is 0, as Go cuts */
		scale /= 10;
	}
	if (i == 1) {
		return false;
	}
	*ret_nsec = nsec;
	*s = str_from(*s, i);
	return true;
}

static bool take_offset(struct str *s, int *ret_seconds) {
	int hours, minutes;
	if (str_eq(*s, S("Z"))) {
		*ret_seconds = 0;
		return true;
	}
	bool west = s->len && s->ptr[0] == '-';
	if (!west && !(s->len && s->ptr[0] == '+')) {
		return false;
	}
	*s = str_from(*s, 1);
	if (!take_number(s, 2, ':', &hours) || !take_number(s, 2, 0, &minutes) || s->len || hours > 24 || minutes > 60) {
		return false;
	}
	*ret_seconds = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
	return true;
}

bool time_parse(struct str text, nsec_t *ret) {
	struct civil c = { 0 };
	int year, offset;
	if (!take_number(&text, 4, '-', &year) || !take_number(&text, 2, '-', &c.month) ||
		!take_number(&text, 2, 'T', &c.day) || !take_number(&text, 2, ':', &c.hour) ||
		!take_number(&text, 2, ':', &c.minute) || !take_number(&text, 2, 0, &c.second)) {
		return false;
	}
	if (text.len && (text.ptr[0] == '.' || text.ptr[0] == ',') && !take_fraction(&text, &c.nsec)) {
		return false;
	}
	if (!take_offset(&text, &offset)) {
		return false;
	}
	c.year = year;
	if (c.month < 1 || c.month > 12 || c.day < 1 || c.day > days_in_month(c.year, c.month) || c.hour > 23 ||
		c.minute > 59 || c.second > 59) {
		return false;
	}
	int64_t sec = seconds_of(&c) - offset;
	nsec_t wall;
	if (__builtin_mul_overflow(sec, NSEC_PER_SEC, &wall) || __builtin_add_overflow(wall, c.nsec, &wall)) {
		wall = sec < 0 ? INT64_MIN : INT64_MAX;
	}
	*ret = wall;
	return true;
}

/* ---- durations -------------------------------------------------------------------------------- */

static const struct {
	struct str name;
	nsec_t span;
} units[] = {
	{ S_INIT("ns"),        1 },
	{ S_INIT("us"),        NSEC_PER_USEC },
	{ S_INIT("\xc2\xb5s"), NSEC_PER_USEC }, /* micro sign */
	{ S_INIT("\xce\xbcs"), NSEC_PER_USEC }, /* Greek mu */
	{ S_INIT("ms"),        NSEC_PER_MSEC },
	{ S_INIT("s"),         NSEC_PER_SEC },
	{ S_INIT("m"),         60 * NSEC_PER_SEC },
	{ S_INIT("h"),         3600 * NSEC_PER_SEC },
};

static bool digit(struct str s) {
	return s.len && s.ptr[0] >= '0' && s.ptr[0] <= '9';
}

/* One "3.5s": a number and its unit. Negative spans are summed as positive ones up to 2^63, as Go does. */
static bool take_span(struct str *s, uint64_t *ret) {
	uint64_t whole = 0, fraction = 0;
	double scale = 1;
	bool any = digit(*s), exact = true;
	for (; digit(*s); *s = str_from(*s, 1)) {
		if (whole > ((uint64_t)1 << 63) / 10) {
			return false;
		}
		whole = whole * 10 + (uint64_t)(s->ptr[0] - '0');
		if (whole > (uint64_t)1 << 63) {
			return false;
		}
	}
	if (s->len && s->ptr[0] == '.') {
		*s = str_from(*s, 1);
		any = any || digit(*s);
		for (; digit(*s); *s = str_from(*s, 1)) {
			exact = exact && fraction <= (((uint64_t)1 << 63) - 10) / 10;
			if (exact) {
				fraction = fraction * 10 + (uint64_t)(s->ptr[0] - '0');
				scale *= 10;
			}
		}
	}
	size_t n = 0;
	while (n < s->len && s->ptr[n] != '.' && !digit(str_from(*s, n))) {
		n++;
	}
	for (size_t i = 0; any && i < ARRAY_LEN(units); i++) {
		if (str_eq(str_sub(*s, 0, n), units[i].name)) {
			uint64_t unit = (uint64_t)units[i].span;
			if (whole > ((uint64_t)1 << 63) / unit) {
				return false;
			}
			*s = str_from(*s, n);
			*ret = whole * unit + (uint64_t)((double)fraction * ((double)unit / scale));
			return *ret <= (uint64_t)1 << 63;
		}
	}
	return false;
}

bool duration_parse(struct str text, nsec_t *ret) {
	uint64_t sum = 0, span;
	bool negative = text.len && text.ptr[0] == '-';
	if (negative || (text.len && text.ptr[0] == '+')) {
		text = str_from(text, 1);
	}
	if (str_eq(text, S("0"))) {
		*ret = 0;
		return true;
	}
	if (!text.len) {
		return false;
	}
	while (text.len) {
		if (!take_span(&text, &span)) {
			return false;
		}
		sum += span;
		if (sum > (uint64_t)1 << 63) {
			return false;
		}
	}
	if (!negative && sum > (uint64_t)INT64_MAX) {
		return false;
	}
	*ret = negative ? (nsec_t)(0 - sum) : (nsec_t)sum;
	return true;
}

/* "1.5" from 1500 and digits 3: a whole and its fraction without trailing zeros. */
static size_t put_fraction(char *out, size_t room, uint64_t v, int digits) {
	uint64_t one = 1;
	for (int i = 0; i < digits; i++) {
		one *= 10;
	}
	int n = snprintf(out, room, "%llu", (unsigned long long)(v / one));
	if (v % one) {
		n += snprintf(out + n, room - (size_t)n, ".%0*llu", digits, (unsigned long long)(v % one));
		while (out[n - 1] == '0') {
			n--;
		}
	}
	return (size_t)n;
}

struct str duration_format(struct arena *a, nsec_t span) {
	char text[48];
	size_t n = 0;
	uint64_t u = span < 0 ? 0 - (uint64_t)span : (uint64_t)span;
	if (span == 0) {
		return S("0s");
	}
	if (span < 0) {
		text[n++] = '-';
	}
	if (u < (uint64_t)NSEC_PER_SEC) {
		int digits = u < (uint64_t)NSEC_PER_USEC ? 0 : u < (uint64_t)NSEC_PER_MSEC ? 3 : 6;
		n += put_fraction(text + n, sizeof(text) - n, u, digits);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", digits == 0 ? "ns" : digits == 3 ? "\xc2\xb5s" : "ms");
		return arena_str(a, (struct str){ text, n });
	}
	uint64_t minutes = u / (60 * (uint64_t)NSEC_PER_SEC);
	if (minutes >= 60) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%lluh", (unsigned long long)(minutes / 60));
	}
	if (minutes) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%llum", (unsigned long long)(minutes % 60));
	}
	n += put_fraction(text + n, sizeof(text) - n - 1, u % (60 * (uint64_t)NSEC_PER_SEC), 9);
	text[n++] = 's';
	return arena_str(a, (struct str){ text, n });
}
