/* SPDX-License-Identifier: Apache-2.0 */
/* ref_test.c - image references: what docker's reference grammar accepts, how it completes names, what it refuses. */
#include "runtime/image.h"

#include "../cases.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct ref_case {
	const char *name;
	struct str in, whole, brief; /* whole "": refused */
	const char *words;           /* of the refusal */
} ref_cases[] = {
	{ "name alone",           S_INIT("nginx"),                       S_INIT("docker.io/library/nginx:latest"),          S_INIT("nginx:latest"), NULL },
	{ "tag",                  S_INIT("nginx:1.25"),                  S_INIT("docker.io/library/nginx:1.25"),            S_INIT("nginx:1.25"), NULL },
	{ "user",                 S_INIT("bitnami/redis"),               S_INIT("docker.io/bitnami/redis:latest"),          S_INIT("bitnami/redis:latest"), NULL },
	{ "whole",                S_INIT("docker.io/library/nginx:1"),   S_INIT("docker.io/library/nginx:1"),               S_INIT("nginx:1"), NULL },
	{ "hub without library",  S_INIT("docker.io/nginx"),             S_INIT("docker.io/library/nginx:latest"),          S_INIT("nginx:latest"), NULL },
	{ "old hub",              S_INIT("index.docker.io/nginx"),       S_INIT("docker.io/library/nginx:latest"),          S_INIT("nginx:latest"), NULL },
	{ "registry",             S_INIT("quay.io/a/b/c:x"),             S_INIT("quay.io/a/b/c:x"),                         S_INIT("quay.io/a/b/c:x"), NULL },
	{ "registry, one part",   S_INIT("ghcr.io/x"),                   S_INIT("ghcr.io/x:latest"),                        S_INIT("ghcr.io/x:latest"), NULL },
	{ "port",                 S_INIT("host:5000/x"),                 S_INIT("host:5000/x:latest"),                      S_INIT("host:5000/x:latest"), NULL },
	{ "port and tag",         S_INIT("host:5000/x:5000"),            S_INIT("host:5000/x:5000"),                        S_INIT("host:5000/x:5000"), NULL },
	{ "localhost",            S_INIT("localhost/x"),                 S_INIT("localhost/x:latest"),                      S_INIT("localhost/x:latest"), NULL },
	{ "IPv6",                 S_INIT("[::1]:5000/x:1"),              S_INIT("[::1]:5000/x:1"),                          S_INIT("[::1]:5000/x:1"), NULL },
	{ "digest",               S_INIT("nginx@sha256:" HEX64),         S_INIT("docker.io/library/nginx@sha256:" HEX64),   S_INIT("nginx@sha256:" HEX64), NULL },
	{ "tag and digest",       S_INIT("nginx:1@sha256:" HEX64),       S_INIT("docker.io/library/nginx:1@sha256:" HEX64), S_INIT("nginx:1@sha256:" HEX64), NULL },
	{ "separators",           S_INIT("f_g/a__b.c-d---e"),            S_INIT("docker.io/f_g/a__b.c-d---e:latest"),       S_INIT("f_g/a__b.c-d---e:latest"), NULL },
	{ "tag with all",         S_INIT("x:V_1.2-3"),                   S_INIT("docker.io/library/x:V_1.2-3"),             S_INIT("x:V_1.2-3"), NULL },
	{ "upper host",           S_INIT("Host/x"),                      S_INIT("Host/x:latest"),                           S_INIT("Host/x:latest"), NULL },
	{ "empty",                S_INIT(""),                            S_INIT(""), S_INIT(""), "is empty" },
	{ "upper case",           S_INIT("Nginx"),                       S_INIT(""), S_INIT(""), "must be lowercase" },
	{ "upper in path",        S_INIT("a.b/Nginx"),                   S_INIT(""), S_INIT(""), "must be lowercase" },
	{ "tag empty",            S_INIT("nginx:"),                      S_INIT(""), S_INIT(""), "tag \"\"" },
	{ "tag begins with dot",  S_INIT("nginx:.1"),                    S_INIT(""), S_INIT(""), "tag" },
	{ "no name",              S_INIT(":1"),                          S_INIT(""), S_INIT(""), "has no image name" },
	{ "only a digest",        S_INIT("@sha256:" HEX64),              S_INIT(""), S_INIT(""), "has no image name" },
	{ "short digest",         S_INIT("x@sha256:abcd"),               S_INIT(""), S_INIT(""), "64" },
	{ "upper digest",         S_INIT("x@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"), S_INIT(""), S_INIT(""), "lower-case" },
	{ "other digest",         S_INIT("x@md5:abcd"),                  S_INIT(""), S_INIT(""), "sha256" },
	{ "slash at the end",     S_INIT("a/b/"),                        S_INIT(""), S_INIT(""), "not a valid name part" },
	{ "slash at the start",   S_INIT("/a"),                          S_INIT(""), S_INIT(""), "not a valid name part" },
	{ "two slashes",          S_INIT("a//b"),                        S_INIT(""), S_INIT(""), "not a valid name part" },
	{ "dash at the end",      S_INIT("a-"),                          S_INIT(""), S_INIT(""), "not a valid name part" },
	{ "two dots",             S_INIT("a..b"),                        S_INIT(""), S_INIT(""), "not a valid name part" },
	{ "three underscores",    S_INIT("a___b"),                       S_INIT(""), S_INIT(""), "not a valid name part" },
	{ "blank",                S_INIT("a b"),                         S_INIT(""), S_INIT(""), "not a valid name part" },
	{ "url",                  S_INIT("https://x.y/z"),               S_INIT(""), S_INIT(""), "invalid reference format" },
	{ "bad port",             S_INIT("a.b:99999/x"),                 S_INIT(""), S_INIT(""), "is not a registry host" },
	{ "64 hex digits",        S_INIT(HEX64),                         S_INIT(""), S_INIT(""), "cannot specify 64-byte hexadecimal strings" },
};

static void test_ref(void **state) {
	const struct ref_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct image_ref ref = { 0 };
	struct err err = { 0 };

	assert_int_equal(image_ref_parse(&a, c->in, &ref, &err), c->words == NULL);
	if (c->words) {
		assert_int_equal(err.code, ERR_INVALID);
		if (!strstr(err.msg, c->words)) {
			fail_msg("\"%s\" does not say \"%s\"", err.msg, c->words);
		}
		assert_null(ref.registry.ptr);
		return;
	}
	assert_str(image_ref_text(&a, &ref), c->whole);
	assert_str(image_ref_short(&a, &ref), c->brief);
	/* What was completed is complete. */
	struct image_ref again = { 0 };
	assert_true(image_ref_parse(&a, c->whole, &again, &err));
	assert_str(image_ref_text(&a, &again), c->whole);
}

static void test_long_names(void **state) {
	auto_arena struct arena a = { 0 };
	char text[600];
	struct image_ref ref;
	struct err err = { 0 };
	memset(text, 'a', sizeof(text));
	assert_true(image_ref_parse(&a, (struct str){ text, 200 }, &ref, &err));
	assert_false(image_ref_parse(&a, (struct str){ text, 300 }, &ref, &err));
	assert_non_null(strstr(err.msg, "255"));
	assert_false(image_ref_parse(&a, (struct str){ text, 600 }, &ref, &err));
}

int main(void) {
	const struct CMUnitTest more[] = { cmocka_unit_test(test_long_names) };
	int failed = RUN_CASES("references", ref_cases, test_ref);
	return failed + cmocka_run_group_tests_name("long names", more, NULL, NULL);
}
