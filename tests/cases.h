/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cases.h - runs a table of cases as cmocka tests, each under its own name, and finds published test
 * data beside the checkout. For programs in tests/.
 *
 *     static const struct x_case { const char *name; ... } x_cases[] = { ... };   the name comes first
 *     static void test_x(void **state) { const struct x_case *c = *state; ... }
 *     failed += RUN_CASES("x", x_cases, test_x);
 */
#ifndef TESTS_CASES_H
#define TESTS_CASES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/str.h"

static inline int run_cases(const char *group, const void *cases, size_t n, size_t case_bytes, CMUnitTestFunction test) {
	struct CMUnitTest *tests = calloc(n ? n : 1, sizeof(*tests));
	for (size_t i = 0; i < n; i++) {
		const char *at = (const char *)cases + i * case_bytes;
		tests[i] = (struct CMUnitTest){ .name = *(const char *const *)at, .test_func = test, .initial_state = (void *)at };
	}
	int failed = n ? _cmocka_run_group_tests(group, tests, n, NULL, NULL) : 0;
	free(tests);
	return failed;
}
#define RUN_CASES(group, cases, test) run_cases((group), (cases), ARRAY_LEN(cases), sizeof((cases)[0]), (test))

/* A file or folder of the published data; NULL when it is not there: say what is skipped, and skip it. */
static inline const char *shared_data(const char *name) {
	static char path[4096];
	const char *root = getenv("CORACLE_SHARED");
	snprintf(path, sizeof(path), "%s/data/%s", root ? root : "../shared", name);
	return access(path, R_OK) == 0 ? path : NULL;
}

#define assert_str(got, want)                                                                          \
	do {                                                                                           \
		struct str got_ = (got), want_ = (want);                                               \
		if (!str_eq(got_, want_)) {                                                            \
			print_error("got  %.*s\nwant %.*s\n", STR_ARG(got_), STR_ARG(want_));          \
			fail();                                                                        \
		}                                                                                      \
	} while (0)

#endif
