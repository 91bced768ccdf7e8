/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cron.c - reads a cron schedule and finds its next time.
 *
 * The words and the corner cases are robfig/cron v3's, which upstream uses: days of the month and of the week are both asked
 * unless one is a star, then the other decides; hours that a clock change skips are skipped, hours it repeats run twice.
 */
#include "controllers/cron.h"

#define SCHEDULE_MAX 1024 /* bytes */
#define YEARS_MAX 5
#define DAY_SEC 86400

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

struct field {
	const char *name;
	int min, max;
	const char *const *names; /* of min, min + 1, ...; NULL: numbers only */
};
static const char *const month_names[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec" };
static const char *const day_names[] = { "sun", "mon", "tue", "wed", "thu", "fri", "sat" };
static const struct field fields[] = {
	{ "minute", 0, 59, NULL },
	{ "hour", 0, 23, NULL },
	{ "day of month", 1, 31, NULL },
	{ "month", 1, 12, month_names },
	{ "day of week", 0, 6, day_names },
};

static bool number_parse(const struct field *f, struct str text, int *ret, struct err *err) {
	for (int i = f->min; f->names && i <= f->max; i++) {
		if (str_case_eq(text, str_c(f->names[i - f->min]))) {
			*ret = i;
			return true;
		}
	}
	if (!str_to_int(text, 0, INT32_MAX, ret)) {
		return err_set(err, ERR_INVALID, "failed to parse int from %.*s", STR_ARG(text));
	}
	return true;
}

/* "*", "5", "1-5", "*" "/15", "10-40/5" */
static bool range_parse(const struct field *f, struct str text, uint64_t *bits, bool *star, struct err *err) {
	struct str range, step_text, low, high;
	int from = f->min, to = f->max, step = 1;
	bool stepped = str_cut(text, '/', &range, &step_text), ranged = str_cut(range, '-', &low, &high);

	if (str_eqc(low, "*") || str_eqc(low, "?")) {
		*star = *star || !stepped;
	} else {
		if (!number_parse(f, low, &from, err)) {
			return false;
		}
		to = stepped ? f->max : from;
		if (ranged && !number_parse(f, high, &to, err)) {
			return false;
		}
	}
	if (stepped && !number_parse(&(struct field){ 0 }, step_text, &step, err)) {
		return false;
	}
	if (stepped && step == 1 && (str_eqc(low, "*") || str_eqc(low, "?"))) {
		*star = true;
	}
	if (from < f->min) {
		return err_set(err, ERR_INVALID, "beginning of range (%d) below minimum (%d): %.*s", from, f->min, STR_ARG(text));
	}
	if (to > f->max) {
		return err_set(err, ERR_INVALID, "end of range (%d) above maximum (%d): %.*s", to, f->max, STR_ARG(text));
	}
	if (from > to) {
		return err_set(err, ERR_INVALID, "beginning of range (%d) beyond end of range (%d): %.*s", from, to, STR_ARG(text));
	}
	if (step == 0) {
		return err_set(err, ERR_INVALID, "step of range should be a positive number: %.*s", STR_ARG(text));
	}
	for (int64_t i = from; i <= to; i += step) {
		*bits |= (uint64_t)1 << i;
	}
	return true;
}

static bool field_parse(const struct field *f, struct str text, uint64_t *bits, bool *star, struct err *err) {
	struct str rest = text, part;

	while (str_next(&rest, ',', &part)) {
		if (part.len && !range_parse(f, part, bits, star, err)) {
			return false;
		}
	}
	return true;
}

static bool word_next(struct str *rest, struct str *ret) {
	*rest = str_trim(*rest);
	size_t n = 0;

	while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t') {
		n++;
	}
	*ret = str_sub(*rest, 0, n);
	*rest = str_from(*rest, n);
	return n > 0;
}

static bool descriptor_parse(struct str text, struct cron *ret, struct err *err) {
	static const struct {
		const char *word, *fields;
	} known[] = {
		{ "@yearly", "0 0 1 1 *" },
		{ "@annually", "0 0 1 1 *" },
		{ "@monthly", "0 0 1 * *" },
		{ "@weekly", "0 0 * * 0" },
		{ "@daily", "0 0 * * *" },
		{ "@midnight", "0 0 * * *" },
		{ "@hourly", "0 * * * *" },
	};
	nsec_t every = 0;

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (str_eqc(text, known[i].word)) {
			return cron_parse(str_c(known[i].fields), ret, err);
		}
	}
	if (!str_starts(text, S("@every "))) {
		return err_set(err, ERR_INVALID, "unrecognized descriptor: %.*s", STR_ARG(text));
	}
	if (!duration_parse(str_from(text, 7), &every)) {
		return err_set(err, ERR_INVALID, "failed to parse duration %.*s", STR_ARG(text));
	}
	*ret = (struct cron){ .every = every < NSEC_PER_SEC ? NSEC_PER_SEC : every - every % NSEC_PER_SEC };
	return true;
}

bool cron_parse(struct str text, struct cron *ret, struct err *err) {
	struct str rest = str_trim(text), word;
	struct cron c = { 0 };
	uint64_t *const bits[] = { &c.minutes, &c.hours, &c.days, &c.months, &c.weekdays };
	size_t n = 0;

	if (!rest.len) {
		return err_set(err, ERR_INVALID, "empty spec string");
	}
	if (rest.len > SCHEDULE_MAX) {
		return err_set(err, ERR_INVALID, "schedule is longer than %d bytes", SCHEDULE_MAX);
	}
	if (rest.ptr[0] == '@') {
		return descriptor_parse(rest, ret, err);
	}
	struct str count = rest;
	while (word_next(&count, &word)) {
		n++;
	}
	if (n != ARRAY_LEN(fields)) {
		return err_set(err, ERR_INVALID, "expected exactly 5 fields, found %zu: [%.*s]", n, STR_ARG(rest));
	}
	for (size_t i = 0; i < ARRAY_LEN(fields) && word_next(&rest, &word); i++) {
		bool star = false;
		if (!field_parse(&fields[i], word, bits[i], &star, err)) {
			return false;
		}
		c.any_day = i == 2 ? star : c.any_day;
		c.any_weekday = i == 4 ? star : c.any_weekday;
	}
	*ret = c;
	return true;
}

/* ---- the next time -------------------------------------------------------------------------------------------------------- */

struct civil {
	int64_t year;
	int month, day, hour, minute, weekday;
};

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar; a year runs from March here. */
static int64_t days_of(int64_t year, int month, int day) {
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct civil civil_of(int64_t local_sec) {
	int64_t days = local_sec / DAY_SEC, sec = local_sec % DAY_SEC;

	if (sec < 0) {
		sec += DAY_SEC;
		days--;
	}
	int64_t z = days + 719468, era = (z >= 0 ? z : z - 146096) / 146097, of_era = z - era * 146097;
	int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int mp = (int)((5 * of_year + 2) / 153), month = mp < 10 ? mp + 3 : mp - 9;
	int weekday = (int)((days % 7 + 11) % 7); /* 1970-01-01 was a Thursday */

	return (struct civil){
		.year = year_of_era + era * 400 + (month <= 2),
		.month = month,
		.day = (int)(of_year - (153 * mp + 2) / 5 + 1),
		.hour = (int)(sec / 3600),
		.minute = (int)(sec / 60 % 60),
		.weekday = weekday,
	};
}

/* The time at which the clock of the zone shows `local`; a time that is skipped becomes the moment after the gap. */
static int64_t resolve(const struct zone *z, int64_t local) {
	int64_t t = local - zone_offset(z, local), again = local - zone_offset(z, t);

	return again + zone_offset(z, again) == local ? again : MAX(t, again);
}

static bool has(uint64_t bits, int n) {
	return bits >> n & 1;
}

static bool day_matches(const struct cron *c, const struct civil *t) {
	bool day = has(c->days, t->day), weekday = has(c->weekdays, t->weekday);

	return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

nsec_t cron_next(const struct cron *c, const struct zone *z, nsec_t after) {
	int64_t sec = after / NSEC_PER_SEC, from = sec;

	if (c->every) {
		return sec * NSEC_PER_SEC + c->every;
	}
	int64_t offset = zone_offset(z, sec);
	int64_t into = ((sec + offset) % 60 + 60) % 60;
	sec += 60 - into;
	while (sec - from < (int64_t)YEARS_MAX * 366 * DAY_SEC) {
		int64_t local = sec + zone_offset(z, sec), next;
		struct civil t = civil_of(local);
		if (!has(c->months, t.month)) {
			int64_t first = t.month == 12 ? days_of(t.year + 1, 1, 1) : days_of(t.year, t.month + 1, 1);
			next = resolve(z, first * DAY_SEC);
		} else if (!day_matches(c, &t)) {
			next = resolve(z, (days_of(t.year, t.month, t.day) + 1) * DAY_SEC);
		} else if (!has(c->hours, t.hour)) {
			next = sec + 3600 - (local % 3600 + 3600) % 3600;
		} else if (!has(c->minutes, t.minute)) {
			next = sec + 60;
		} else {
			return sec * NSEC_PER_SEC;
		}
		sec = next > sec ? next : sec + 60;
	}
	return 0;
}
