/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quantity_test.c - amounts, times and durations; values as the reference's own tables have them.
 */
#include "field.h"

static const struct {
	const char *in, *want; /* want NULL: no quantity */
} canonical[] = {
	{ "0", "0" },
	{ "0n", "0" },
	{ "0Ki", "0" },
	{ "-0", "0" },
	{ "1", "1" },
	{ "+1", "1" },
	{ "-1", "-1" },
	{ "007", "7" },
	{ "1000m", "1" },
	{ "0.5", "500m" },
	{ ".5", "500m" },
	{ "1.", "1" },
	{ "100m", "100m" },
	{ "1500m", "1500m" },
	{ "1.5", "1500m" },
	{ "1000", "1k" },
	{ "1000k", "1M" },
	{ "1000000", "1M" },
	{ "12345", "12345" },
	{ "1M", "1M" },
	{ "1000M", "1G" },
	{ "1Ki", "1Ki" },
	{ "1024", "1024" },
	{ "1024Ki", "1Mi" },
	{ "1024Mi", "1Gi" },
	{ "512Mi", "512Mi" },
	{ "0.5Gi", "512Mi" },
	{ "1.5Gi", "1536Mi" },
	{ ".5i", NULL },
	{ ".001Ki", "1024m" },
	{ ".000001Ki", "1024u" },
	{ ".000000001Ki", "1024n" },
	{ ".000000000001Ki", "2n" },
	{ "0.0000000001", "1n" },
	{ "1E", "1E" },
	{ "1Ei", "1Ei" },
	{ "8Ei", "9223372036854775807" },
	{ "1e3", "1e3" },
	{ "1E3", "1e3" },
	{ "1e-3", "1e-3" },
	{ "1e2", "100" },
	{ "1e+6", "1e6" },
	{ "100e3", "100e3" },
	{ "3.01e3", "3010" },
	{ "9223372036854775807", "9223372036854775807" },
	{ "-0.0001m", "-100n" },
	{ "1i", NULL },
	{ "", NULL },
	{ "1.1.1", NULL },
	{ "1+1.0", NULL },
	{ "0.1i", NULL },
	{ "abc", NULL },
	{ " 1", NULL },
	{ "1 ", NULL },
	{ "1ki", NULL },
	{ "--1", NULL },
	{ "1Kib", NULL },
};

static void test_canonical(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(canonical); i++) {
		auto_arena struct arena a = { 0 };
		struct quantity q = { 0 };
		struct err err = { 0 };
		bool ok = quantity_parse(str_c(canonical[i].in), &q, &err);

		if (!canonical[i].want) {
			if (ok) {
				fail_msg("%s is read as %s", canonical[i].in, arena_cstr(&a, quantity_text(&a, q)));
			}
			continue;
		}
		assert_true(ok);
		assert_string_equal(arena_cstr(&a, quantity_text(&a, q)), canonical[i].want);
	}
}

static const struct {
	const char *in;
	int64_t value, milli;
} numbers[] = {
	{ "0", 0, 0 },
	{ "1", 1, 1000 },
	{ "1m", 1, 1 },
	{ "1u", 1, 1 },
	{ "1001m", 2, 1001 },
	{ "-1001m", -2, -1001 },
	{ "1Gi", 1073741824, 1073741824000 },
	{ "1E", 1000000000000000000, INT64_MAX },
	{ "100E", INT64_MAX, INT64_MAX },
	{ "-100E", INT64_MIN, INT64_MIN },
};

static void test_numbers(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		struct quantity q = { 0 };
		struct err err = { 0 };

		assert_true(quantity_parse(str_c(numbers[i].in), &q, &err));
		assert_int_equal(quantity_value(q), numbers[i].value);
		assert_int_equal(quantity_milli(q), numbers[i].milli);
	}
}

static struct quantity q_of(const char *text) {
	struct quantity q = { 0 };
	struct err err = { 0 };

	assert_true(quantity_parse(str_c(text), &q, &err));
	return q;
}

static void test_arithmetic(void **state) {
	auto_arena struct arena a = { 0 };

	assert_string_equal(arena_cstr(&a, quantity_text(&a, quantity_add(q_of("0"), q_of("1Gi")))), "1Gi");
	assert_string_equal(arena_cstr(&a, quantity_text(&a, quantity_add(q_of("100m"), q_of("900m")))), "1");
	assert_string_equal(arena_cstr(&a, quantity_text(&a, quantity_sub(q_of("1Gi"), q_of("512Mi")))), "512Mi");
	assert_string_equal(arena_cstr(&a, quantity_text(&a, quantity_sub(q_of("1"), q_of("1500m")))), "-500m");
	assert_int_equal(quantity_cmp(q_of("1000m"), q_of("1")), 0);
	assert_true(quantity_cmp(q_of("1Ki"), q_of("1k")) > 0);
	assert_string_equal(arena_cstr(&a, quantity_text(&a, quantity_of_milli(250, QUANTITY_DECIMAL_SI))), "250m");
	assert_string_equal(arena_cstr(&a, quantity_text(&a, quantity_of(2147483648, QUANTITY_BINARY_SI))), "2Gi");
}

static const struct {
	const char *in, *want, *error;
} durations[] = {
	{ "0", "0s" },
	{ "1h2m3.5s", "1h2m3.5s" },
	{ "90s", "1m30s" },
	{ "100ms", "100ms" },
	{ "1.5us", "1.5\xc2\xb5s" },
	{ "10ns", "10ns" },
	{ "-1m", "-1m0s" },
	{ "24h", "24h0m0s" },
	{ "1", NULL, "time: missing unit in duration \"1\"" },
	{ "1d", NULL, "time: unknown unit \"d\" in duration \"1d\"" },
	{ "x", NULL, "time: invalid duration \"x\"" },
	{ "", NULL, "time: invalid duration \"\"" },
};

static void test_durations(void **state) {
	for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
		auto_arena struct arena a = { 0 };
		struct err err = { 0 };
		int64_t nsec = 0;
		bool ok = go_duration_parse(str_c(durations[i].in), &nsec, &err);

		assert_int_equal(ok, durations[i].want != NULL);
		assert_string_equal(ok ? arena_cstr(&a, duration_text(&a, nsec)) : err.msg, ok ? durations[i].want : durations[i].error);
	}
}

static void test_times(void **state) {
	static const struct {
		const char *text;
		int64_t sec;
	} times[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2000-02-29T12:00:00Z", 951825600 },
		{ "2024-12-31T23:59:59Z", 1735689599 },
		{ "0001-01-01T00:00:00Z", -62135596800 },
		{ "9999-12-31T23:59:59Z", 253402300799 },
		{ "1969-12-31T23:59:59Z", -1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		auto_arena struct arena a = { 0 };
		struct err err = { 0 };
		int64_t sec = 0;
		int32_t nsec = 0;

		assert_true(go_time_parse(str_c(times[i].text), &sec, &nsec, &err));
		assert_int_equal(sec, times[i].sec);
		assert_string_equal(arena_cstr(&a, time_text(&a, sec)), times[i].text);
	}
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_arithmetic),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_times),
	};
	return cmocka_run_group_tests_name("quantity", tests, NULL, NULL);
}
