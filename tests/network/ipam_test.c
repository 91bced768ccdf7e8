/* SPDX-License-Identifier: Apache-2.0 */
/* ipam_test.c - addresses of a range: which are given, in which order, to whom, and by several at once. */
#include "network/ipam.h"

#include <arpa/inet.h>
#include <pthread.h>

#include "../cases.h"
#include "base/file.h"

static const struct range_case {
	const char *name, *text;
	bool ok;
	uint32_t size;
} range_cases[] = {
	{ "node", "10.244.1.0/24", true, 256 },
	{ "small", "10.244.1.4/30", true, 4 },
	{ "all", "0.0.0.0/0", true, UINT32_MAX },
	{ "host bits", "10.244.1.1/24", false, 0 },
	{ "no prefix", "10.244.1.0", false, 0 },
	{ "prefix too long", "10.244.1.0/33", false, 0 },
	{ "negative", "10.244.1.0/-1", false, 0 },
	{ "not an address", "10.244.1/24", false, 0 },
	{ "v6", "fd00::/64", false, 0 },
	{ "script", "10.0.0.0/8 } evil", false, 0 },
	{ "empty", "", false, 0 },
};

static void test_range(void **state) {
	const struct range_case *c = *state;
	struct ip_range r = { 0 };
	struct err err = { 0 };
	assert_int_equal(ip_range_parse(str_c(c->text), &r, &err), c->ok);
	if (c->ok) {
		assert_int_equal(ip_range_size(&r), c->size);
	} else {
		assert_int_equal(err.code, ERR_INVALID);
	}
}

static char dir[64];

static int fresh(void **state) {
	struct err err = { 0 };
	snprintf(dir, sizeof(dir), "/tmp/coracle-ipam-%d", getpid());
	return dir_remove(dir, &err) && dir_make(dir, 0755, &err) ? 0 : 1;
}

static int done(void **state) {
	struct err err = { 0 };
	return dir_remove(dir, &err) ? 0 : 1;
}

static const char *reserve(const struct ip_range *r, const char *owner) {
	static char text[IP_TEXT_MAX];
	struct in_addr a;
	struct err err = { 0 };
	return ipam_reserve(dir, r, str_c(owner), &a, &err) ? ip_text(a, text) : err.code == ERR_TOO_LARGE ? "full" : "?";
}

static struct in_addr ip(const char *text) {
	struct in_addr a;
	assert_int_equal(inet_pton(AF_INET, text, &a), 1);
	return a;
}

static void test_order(void **state) {
	struct ip_range r;
	struct err err = { 0 };
	assert_true(ip_range_parse(S("10.1.1.0/29"), &r, &err)); /* .1 is the bridge's: .2 ... .6 */
	assert_string_equal(reserve(&r, "a"), "10.1.1.2");
	assert_string_equal(reserve(&r, "b"), "10.1.1.3");
	ipam_release(dir, ip("10.1.1.2"), S("a"));
	assert_string_equal(reserve(&r, "c"), "10.1.1.4"); /* the one that was freed rests */
	ipam_release(dir, ip("10.1.1.3"), S("not b"));
	assert_string_equal(reserve(&r, "d"), "10.1.1.5");
	assert_string_equal(reserve(&r, "e"), "10.1.1.6");
	assert_string_equal(reserve(&r, "f"), "10.1.1.2"); /* round */
	assert_string_equal(reserve(&r, "g"), "full");
	ipam_release(dir, ip("10.1.1.5"), S("d"));
	assert_string_equal(reserve(&r, "g"), "10.1.1.5");
	/* Another range in the same folder begins at its own start. */
	assert_true(ip_range_parse(S("10.1.2.0/29"), &r, &err));
	assert_string_equal(reserve(&r, "h"), "10.1.2.2");
	assert_true(ip_range_parse(S("10.1.2.0/31"), &r, &err));
	assert_string_equal(reserve(&r, "h"), "?");
}

static void count(void *arg, struct in_addr a, struct str owner) {
	++*(int *)arg;
	ipam_release(dir, a, owner);
}

static void *take_many(void *arg) {
	struct ip_range r;
	struct err err = { 0 };
	size_t got = 0;
	if (ip_range_parse(S("10.2.0.0/24"), &r, &err)) {
		struct in_addr a;
		while (got < 100 && ipam_reserve(dir, &r, S("x"), &a, &err)) {
			got++;
		}
	}
	return (void *)got;
}

static void test_side_by_side(void **state) {
	pthread_t t[4];
	size_t sum = 0;
	int n = 0;
	for (int i = 0; i < 4; i++) {
		pthread_create(&t[i], NULL, take_many, NULL);
	}
	for (int i = 0; i < 4; i++) {
		void *got;
		pthread_join(t[i], &got);
		sum += (size_t)got;
	}
	assert_int_equal(sum, 253);
	ipam_each(dir, count, &n);
	assert_int_equal(n, 253);
	n = 0;
	ipam_each(dir, count, &n);
	assert_int_equal(n, 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, fresh, done),
		cmocka_unit_test_setup_teardown(test_side_by_side, fresh, done),
	};
	return RUN_CASES("range", range_cases, test_range) + cmocka_run_group_tests_name("ipam", tests, NULL, NULL);
}
