/* SPDX-License-Identifier: Apache-2.0 */
/* selector_test.c - label and field selectors: expected matches and texts are upstream's. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "client/selector.h"

struct case_ {
	const char *name, *text, *labels; /* labels as JSON */
	bool matches;
	const char *fails; /* the error's text, or NULL */
	const char *prints; /* NULL: as it is written */
};

#define NAME_RULE                                                                                                                          \
	"name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. " \
	"'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"

static const struct case_ cases[] = {
	{ "everything", "", "{\"a\":\"b\"}", true, NULL, NULL },
	{ "equals", "a=b", "{\"a\":\"b\"}", true, NULL, NULL },
	{ "double equals", "a==b", "{\"a\":\"c\"}", false, NULL, NULL },
	{ "not equals without the key", "a!=b", "{}", true, NULL, NULL },
	{ "in", "app in (x,y)", "{\"app\":\"y\"}", true, NULL, NULL },
	{ "in without the key", "app in (x,y)", "{}", false, NULL, NULL },
	{ "notin without the key", "app notin (x)", "{}", true, NULL, NULL },
	{ "exists", "app", "{\"app\":\"\"}", true, NULL, NULL },
	{ "not exists", "!app", "{\"app\":\"\"}", false, NULL, NULL },
	{ "greater", "n>5", "{\"n\":\"6\"}", true, NULL, NULL },
	{ "greater, not a number", "n>5", "{\"n\":\"six\"}", false, NULL, NULL },
	{ "less", "n<5", "{\"n\":\"4\"}", true, NULL, NULL },
	{ "a known name", "name=x", "{\"name\":\"x\"}", true, NULL, NULL },
	{ "several, sorted when printed", "b=2, a=1", "{\"a\":\"1\",\"b\":\"2\"}", true, NULL, "a=1,b=2" },
	{ "prefix", "example.com/a=b", "{\"example.com/a\":\"b\"}", true, NULL, NULL },
	{ "values sorted", "a in (c, b ,b)", "{\"a\":\"c\"}", true, NULL, "a in (b,c)" },
	{ "empty value", "a=", "{\"a\":\"\"}", true, NULL, NULL },
	{ "in as a value", "a=in", "{\"a\":\"in\"}", true, NULL, NULL },
	{ "empty set", "a in ()", "{\"a\":\"\"}", true, NULL, NULL },
	{ "dangling comma", "a=b,", NULL, false, "found '', expected: identifier after ','", NULL },
	{ "no operator", "a b", NULL, false, "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt", NULL },
	{ "open set", "a in (b", NULL, false, "unable to parse requirement: found '', expected: ',' or ')'", NULL },
	{ "no set", "a in b", NULL, false, "unable to parse requirement: found 'b' expected: '('", NULL },
	{ "bad start", "=b", NULL, false, "found '=', expected: !, identifier, or 'end of string'", NULL },
	{ "bad key", "-a=b", NULL, false, "unable to parse requirement: <nil>: Invalid value: \"-a\": " NAME_RULE, NULL },
	{ "not an integer", "a>x", NULL, false,
		"unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer", NULL },
};

static void test_text(void **state) {
	const struct case_ *c = *state;
	auto_arena struct arena a = { 0 };
	const struct selector *s = NULL;
	struct value *labels = NULL;
	struct err err = { 0 };

	if (c->fails) {
		assert_false(selector_parse(&a, str_c(c->text), &s, &err));
		assert_int_equal(err.code, ERR_BAD_REQUEST);
		assert_string_equal(err.msg, c->fails);
		return;
	}
	assert_true(selector_parse(&a, str_c(c->text), &s, &err));
	assert_true(json_parse(&a, str_c(c->labels), NULL, &labels, &err));
	assert_int_equal(selector_matches(s, labels), c->matches);
	struct str text = selector_text(&a, s);
	assert_string_equal(arena_cstr(&a, text), c->prints ? c->prints : c->text);
}

static bool from_json(struct arena *a, const char *json, const struct selector **ret, struct err *err) {
	struct value *v = NULL;
	return json_parse(a, str_c(json), NULL, &v, err) && selector_from_value(a, v, ret, err);
}

static void test_value(void **state) {
	auto_arena struct arena a = { 0 };
	const struct selector *s = NULL;
	struct value *labels = NULL;
	struct err err = { 0 };

	assert_true(json_parse(&a, S("{\"app\":\"x\",\"tier\":\"y\"}"), NULL, &labels, &err));
	assert_true(selector_from_value(&a, NULL, &s, &err));
	assert_false(selector_matches(s, labels)); /* absent: nothing */
	assert_true(from_json(&a, "{}", &s, &err));
	assert_true(selector_matches(s, labels)); /* empty: everything */
	assert_true(from_json(&a, "{\"matchLabels\":{\"app\":\"x\"},\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"In\",\"values\":[\"y\",\"z\"]}]}", &s, &err));
	assert_true(selector_matches(s, labels));
	assert_string_equal(arena_cstr(&a, selector_text(&a, s)), "app=x,tier in (y,z)");
	assert_false(from_json(&a, "{\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"Near\"}]}", &s, &err));
	assert_string_equal(err.msg, "\"Near\" is not a valid label selector operator");
}

static void test_fields(void **state) {
	auto_arena struct arena a = { 0 };
	struct field_selector s = { 0 };
	struct err err = { 0 };

	assert_true(field_selector_parse(&a, S("metadata.name=x,status.phase!=Running,a==b\\,c\\=d"), &s, &err));
	assert_int_equal(s.len, 3);
	assert_true(str_eqc(s.at[0].path, "metadata.name") && str_eqc(s.at[0].value, "x") && !s.at[0].negate);
	assert_true(str_eqc(s.at[1].path, "status.phase") && str_eqc(s.at[1].value, "Running") && s.at[1].negate);
	assert_true(str_eqc(s.at[2].path, "a") && str_eqc(s.at[2].value, "b,c=d"));
	assert_true(field_selector_parse(&a, S(""), &s, &err));
	assert_int_equal(s.len, 0);
	assert_false(field_selector_parse(&a, S("metadata.name"), &s, &err));
	assert_string_equal(err.msg, "invalid selector: 'metadata.name'; can't understand 'metadata.name'");
	assert_false(field_selector_parse(&a, S("a=b\\x"), &s, &err));
	assert_string_equal(err.msg, "invalid field selector: invalid escape sequence: \\x");
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(cases) + 2] = { { 0 } };
	size_t n = 0;

	for (; n < ARRAY_LEN(cases); n++) {
		tests[n] = (struct CMUnitTest){ .name = cases[n].name, .test_func = test_text, .initial_state = (void *)&cases[n] };
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_value);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_fields);
	return cmocka_run_group_tests_name("selector", tests, NULL, NULL);
}
