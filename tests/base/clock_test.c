/* SPDX-License-Identifier: Apache-2.0 */
/* clock_test.c - times and durations as Go's time package reads and writes them. */
#include "base/clock.h"

#include "../cases.h"

static const struct time_case {
	const char *name;
	struct str in;
	nsec_t at;        /* unless bad */
	struct str micro; /* printed again */
	bool bad;
} time_cases[] = {
	{ "epoch", S_INIT("1970-01-01T00:00:00Z"), 0, S_INIT("1970-01-01T00:00:00.000000Z"), false },
	{ "Go's example", S_INIT("2006-01-02T15:04:05Z"), 1136214245 * NSEC_PER_SEC, S_INIT("2006-01-02T15:04:05.000000Z"), false },
	{ "offset east", S_INIT("2006-01-02T15:04:05+07:00"), 1136189045 * NSEC_PER_SEC, S_INIT("2006-01-02T08:04:05.000000Z"), false },
	{ "offset west", S_INIT("2006-01-02T15:04:05-07:30"), 1136241245 * NSEC_PER_SEC, S_INIT("2006-01-02T22:34:05.000000Z"), false },
	{ "fraction", S_INIT("2006-01-02T15:04:05.123456789Z"), 1136214245 * NSEC_PER_SEC + 123456789, S_INIT("2006-01-02T15:04:05.123456Z"), false },
	{ "short fraction", S_INIT("2006-01-02T15:04:05.5Z"), 1136214245 * NSEC_PER_SEC + 500000000, S_INIT("2006-01-02T15:04:05.500000Z"), false },
	{ "long fraction is cut", S_INIT("2006-01-02T15:04:05.1234567899Z"), 1136214245 * NSEC_PER_SEC + 123456789, S_INIT("2006-01-02T15:04:05.123456Z"), false },
	{ "leap day", S_INIT("2024-02-29T00:00:00Z"), 1709164800 * NSEC_PER_SEC, S_INIT("2024-02-29T00:00:00.000000Z"), false },
	{ "leap day of 2000", S_INIT("2000-02-29T23:59:59Z"), 951868799 * NSEC_PER_SEC, S_INIT("2000-02-29T23:59:59.000000Z"), false },
	{ "before the epoch", S_INIT("1969-12-31T23:59:59.25Z"), -750000000, S_INIT("1969-12-31T23:59:59.250000Z"), false },
	{ "1900", S_INIT("1900-01-01T00:00:00Z"), -2208988800 * NSEC_PER_SEC, S_INIT("1900-01-01T00:00:00.000000Z"), false },
	{ "2038", S_INIT("2038-01-19T03:14:08Z"), 2147483648 * NSEC_PER_SEC, S_INIT("2038-01-19T03:14:08.000000Z"), false },
	{ "a certificate without end", S_INIT("9999-12-31T23:59:59Z"), INT64_MAX, S_INIT("2262-04-11T23:47:16.854775Z"), false },
	{ "Go's zero time", S_INIT("0001-01-01T00:00:00Z"), INT64_MIN, S_INIT("1677-09-21T00:12:43.145224Z"), false },
	{ "no leap day", S_INIT("2023-02-29T00:00:00Z"), 0, S_INIT(""), true },
	{ "no leap day in 1900", S_INIT("1900-02-29T00:00:00Z"), 0, S_INIT(""), true },
	{ "month 13", S_INIT("2023-13-01T00:00:00Z"), 0, S_INIT(""), true },
	{ "hour 24", S_INIT("2023-01-01T24:00:00Z"), 0, S_INIT(""), true },
	{ "second 60", S_INIT("2023-01-01T00:00:60Z"), 0, S_INIT(""), true },
	{ "no zone", S_INIT("2023-01-01T00:00:00"), 0, S_INIT(""), true },
	{ "small letters", S_INIT("2023-01-01t00:00:00z"), 0, S_INIT(""), true },
	{ "date alone", S_INIT("2023-01-01"), 0, S_INIT(""), true },
	{ "one digit", S_INIT("2023-1-01T00:00:00Z"), 0, S_INIT(""), true },
	{ "point without digits", S_INIT("2023-01-01T00:00:00.Z"), 0, S_INIT(""), true },
	{ "more behind it", S_INIT("2023-01-01T00:00:00Z "), 0, S_INIT(""), true },
	{ "nothing", S_INIT(""), 0, S_INIT(""), true },
};

static void test_time(void **state) {
	const struct time_case *c = *state;
	char text[TIME_TEXT_MAX];
	nsec_t at = 42;
	assert_int_equal(time_parse(c->in, &at), !c->bad);
	if (c->bad) {
		assert_int_equal(at, 42);
		return;
	}
	assert_true(at == c->at);
	assert_str(time_format_micro(at, text), c->micro);
}

static void test_time_forms(void **state) {
	char text[TIME_TEXT_MAX];
	nsec_t at = 1136214245 * NSEC_PER_SEC + 7000;
	assert_str(time_format(at, text), S("2006-01-02T15:04:05Z"));
	assert_str(time_format_micro(at, text), S("2006-01-02T15:04:05.000007Z"));
	assert_str(time_format_nano(at, text), S("2006-01-02T15:04:05.000007000Z"));
	/* Every day of the range is printed as it is read. */
	for (nsec_t day = -90000; day < 90000; day++) {
		nsec_t back;
		at = day * 86400 * NSEC_PER_SEC + 12345;
		assert_true(time_parse(time_format_nano(at, text), &back));
		assert_true(back == at);
	}
}

/* From the documentation and tests of Go's time package. */
static const struct duration_case {
	const char *name;
	struct str in;
	nsec_t span;
	struct str out;
	bool bad;
} duration_cases[] = {
	{ "zero", S_INIT("0"), 0, S_INIT("0s"), false },
	{ "zero seconds", S_INIT("0s"), 0, S_INIT("0s"), false },
	{ "seconds", S_INIT("5s"), 5 * NSEC_PER_SEC, S_INIT("5s"), false },
	{ "minutes and seconds", S_INIT("1m30s"), 90 * NSEC_PER_SEC, S_INIT("1m30s"), false },
	{ "90 seconds", S_INIT("90s"), 90 * NSEC_PER_SEC, S_INIT("1m30s"), false },
	{ "hours", S_INIT("24h"), 86400 * NSEC_PER_SEC, S_INIT("24h0m0s"), false },
	{ "all", S_INIT("1h2m3s4ms5us6ns"), 3723004005006, S_INIT("1h2m3.004005006s"), false },
	{ "fraction", S_INIT("2.5s"), 2500 * NSEC_PER_MSEC, S_INIT("2.5s"), false },
	{ "fraction of an hour", S_INIT("1.5h"), 5400 * NSEC_PER_SEC, S_INIT("1h30m0s"), false },
	{ "point first", S_INIT(".5s"), 500 * NSEC_PER_MSEC, S_INIT("500ms"), false },
	{ "point last", S_INIT("1.s"), NSEC_PER_SEC, S_INIT("1s"), false },
	{ "milliseconds", S_INIT("300ms"), 300 * NSEC_PER_MSEC, S_INIT("300ms"), false },
	{ "microseconds", S_INIT("1.1us"), 1100, S_INIT("1.1\xc2\xb5s"), false },
	{ "micro sign", S_INIT("12\xc2\xb5s"), 12000, S_INIT("12\xc2\xb5s"), false },
	{ "mu", S_INIT("12\xce\xbcs"), 12000, S_INIT("12\xc2\xb5s"), false },
	{ "nanoseconds", S_INIT("7ns"), 7, S_INIT("7ns"), false },
	{ "negative", S_INIT("-1.5h"), -5400 * NSEC_PER_SEC, S_INIT("-1h30m0s"), false },
	{ "plus", S_INIT("+5s"), 5 * NSEC_PER_SEC, S_INIT("5s"), false },
	{ "many digits", S_INIT("0.3333333333333333333h"), 1200 * NSEC_PER_SEC, S_INIT("20m0s"), false },
	{ "the largest", S_INIT("9223372036854775807ns"), INT64_MAX, S_INIT("2562047h47m16.854775807s"), false },
	{ "the smallest", S_INIT("-9223372036854775808ns"), INT64_MIN, S_INIT("-2562047h47m16.854775808s"), false },
	{ "too large", S_INIT("9223372036854775808ns"), 0, S_INIT(""), true },
	{ "too many hours", S_INIT("3000000h"), 0, S_INIT(""), true },
	{ "no unit", S_INIT("3"), 0, S_INIT(""), true },
	{ "unknown unit", S_INIT("3d"), 0, S_INIT(""), true },
	{ "no digits", S_INIT(".s"), 0, S_INIT(""), true },
	{ "sign alone", S_INIT("-"), 0, S_INIT(""), true },
	{ "nothing", S_INIT(""), 0, S_INIT(""), true },
	{ "blank", S_INIT("1h 2m"), 0, S_INIT(""), true },
	{ "sign inside", S_INIT("1h-2m"), 0, S_INIT(""), true },
};

static void test_duration(void **state) {
	const struct duration_case *c = *state;
	auto_arena struct arena a = { 0 };
	nsec_t span = 42;
	assert_int_equal(duration_parse(c->in, &span), !c->bad);
	if (c->bad) {
		assert_int_equal(span, 42);
		return;
	}
	assert_true(span == c->span);
	assert_str(duration_format(&a, span), c->out);
}

static nsec_t fake_mono(void) {
	return 5;
}
static nsec_t fake_wall(void) {
	return 6;
}
static uint64_t fake_random(void) {
	return UINT64_MAX;
}

static void test_source(void **state) {
	nsec_t before = clock_mono();
	clock_sleep(2 * NSEC_PER_MSEC);
	assert_true(clock_mono() - before >= 2 * NSEC_PER_MSEC);
	assert_true(rand_u64() != rand_u64());
	clock_set_source(&(struct clock_source){ fake_mono, fake_wall, fake_random });
	assert_int_equal(clock_mono(), 5);
	assert_int_equal(clock_wall(), 6);
	assert_true(rand_double() < 1 && rand_double() > 0.999);
	clock_set_source(NULL);
	assert_true(clock_wall() > 1700000000 * NSEC_PER_SEC);
}

int main(void) {
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_time_forms),
		cmocka_unit_test(test_source),
	};
	int failed = RUN_CASES("times", time_cases, test_time);
	failed += RUN_CASES("durations", duration_cases, test_duration);
	return failed + cmocka_run_group_tests_name("clock", others, NULL, NULL);
}
