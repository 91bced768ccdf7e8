/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_test.c - YAML as sigs.k8s.io/yaml reads and prints it; the published yaml-test-suite, with a list
 * of where kubectl's reader differs from YAML 1.2.
 */
#include "value/value.h"

#include "../cases.h"

#include <dirent.h>
#include <math.h>

#include "base/file.h"

/* A scalar as the value of a key: what JSON it becomes. */
static const struct scalar_case {
	const char *name;
	struct str in, json;
} scalar_cases[] = {
	{ "text", S_INIT("abc"), S_INIT("\"abc\"") },
	{ "true", S_INIT("true"), S_INIT("true") },
	{ "yes", S_INIT("yes"), S_INIT("true") },
	{ "On", S_INIT("On"), S_INIT("true") },
	{ "y", S_INIT("y"), S_INIT("true") },
	{ "OFF", S_INIT("OFF"), S_INIT("false") },
	{ "no", S_INIT("no"), S_INIT("false") },
	{ "quoted yes", S_INIT("\"yes\""), S_INIT("\"yes\"") },
	{ "mixed case is text", S_INIT("yEs"), S_INIT("\"yEs\"") },
	{ "nothing", S_INIT(""), S_INIT("null") },
	{ "tilde", S_INIT("~"), S_INIT("null") },
	{ "Null", S_INIT("Null"), S_INIT("null") },
	{ "integer", S_INIT("12"), S_INIT("12") },
	{ "signed", S_INIT("+12"), S_INIT("12") },
	{ "underscores", S_INIT("1_000_000"), S_INIT("1000000") },
	{ "octal", S_INIT("0777"), S_INIT("511") },
	{ "octal of 1.2", S_INIT("0o777"), S_INIT("511") },
	{ "no octal", S_INIT("0888"), S_INIT("888") },
	{ "hexadecimal", S_INIT("0xFf"), S_INIT("255") },
	{ "negative hexadecimal", S_INIT("-0x10"), S_INIT("-16") },
	{ "binary", S_INIT("0b101"), S_INIT("5") },
	{ "0x alone is text", S_INIT("0x"), S_INIT("\"0x\"") },
	{ "int64", S_INIT("9223372036854775807"), S_INIT("9223372036854775807") },
	{ "beyond int64", S_INIT("9223372036854775808"), S_INIT("9223372036854776000") },
	{ "whole float", S_INIT("1.0"), S_INIT("1") },
	{ "float", S_INIT("1.5"), S_INIT("1.5") },
	{ "point first", S_INIT(".5"), S_INIT("0.5") },
	{ "point last", S_INIT("5."), S_INIT("5") },
	{ "exponent", S_INIT("1e3"), S_INIT("1000") },
	{ "out of range is text", S_INIT("1e999"), S_INIT("\"1e999\"") },
	{ "version", S_INIT("1.2.3"), S_INIT("\"1.2.3\"") },
	{ "base 60 is text", S_INIT("1:30"), S_INIT("\"1:30\"") },
	{ "quantity", S_INIT("100m"), S_INIT("\"100m\"") },
	{ "date", S_INIT("2001-12-14"), S_INIT("\"2001-12-14\"") },
	{ "time", S_INIT("2001-12-14T21:59:43.10-05:00"), S_INIT("\"2001-12-14T21:59:43.10-05:00\"") },
	{ "minus", S_INIT("'-'"), S_INIT("\"-\"") },
	{ "tagged text", S_INIT("!!str 12"), S_INIT("\"12\"") },
	{ "tagged integer", S_INIT("!!int \"12\""), S_INIT("12") },
	{ "tagged float", S_INIT("!!float 12"), S_INIT("12") },
	{ "binary tag", S_INIT("!!binary aGVsbG8="), S_INIT("\"hello\"") },
	{ "own tag", S_INIT("!mine 12"), S_INIT("\"12\"") },
	{ "flow", S_INIT("{a: [1, two], b: {}}"), S_INIT("{\"a\":[1,\"two\"],\"b\":{}}") },
	{ "literal", S_INIT("|\n  a\n  b\n"), S_INIT("\"a\\nb\\n\"") },
	{ "folded", S_INIT(">-\n  a\n  b\n"), S_INIT("\"a b\"") },
};

static void test_scalar(void **state) {
	const struct scalar_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v;
	if (!yaml_parse(&a, arena_printf(&a, "k: %.*s", STR_ARG(c->in)), NULL, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	assert_str(json_text(&a, value_get_str(v, S("k"))), c->json);
}

static const struct document_case {
	const char *name;
	struct str in, json; /* or the error */
	bool bad;
} document_cases[] = {
	{ "empty", S_INIT(""), S_INIT("null"), false },
	{ "comment", S_INIT("# nothing\n"), S_INIT("null"), false },
	{ "JSON", S_INIT("{\"a\": [1, \"b\\u0041\", null]}"), S_INIT("{\"a\":[1,\"bA\",null]}"), false },
	{ "the first document", S_INIT("---\na: 1\n---\nb: 2\n"), S_INIT("{\"a\":1}"), false },
	{ "keys", S_INIT("1: a\ntrue: b\n1.5: c\n'2': d\n0x10: e\n"), S_INIT("{\"1\":\"a\",\"true\":\"b\",\"1.5\":\"c\",\"2\":\"d\",\"16\":\"e\"}"), false },
	{ "anchor and alias", S_INIT("a: &x {b: 1}\nc: *x\nd: [*x]\n"), S_INIT("{\"a\":{\"b\":1},\"c\":{\"b\":1},\"d\":[{\"b\":1}]}"), false },
	{ "merge", S_INIT("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n"), S_INIT("{\"a\":{\"b\":1,\"c\":2},\"d\":{\"b\":1,\"c\":3}}"), false },
	{ "merge of a list: the first wins", S_INIT("- &x {b: 1, c: 2}\n- &y {c: 3, d: 4}\n- <<: [*x, *y]\n"), S_INIT("[{\"b\":1,\"c\":2},{\"c\":3,\"d\":4},{\"c\":2,\"d\":4,\"b\":1}]"), false },
	{ "a later merge overrides", S_INIT("- &x {b: 1}\n- {b: 2, <<: *x}\n"), S_INIT("[{\"b\":1},{\"b\":1}]"), false },
	{ "quoted merge is a key", S_INIT("'<<': 1\n"), S_INIT("{\"\\u003c\\u003c\":1}"), false },
	{ "the last duplicate wins", S_INIT("a: 1\na: 2\n"), S_INIT("{\"a\":2}"), false },
	{ "manifest", S_INIT("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: c\n    image: busybox\n    args: [sleep, \"3600\"]\n"),
		S_INIT("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"busybox\",\"args\":[\"sleep\",\"3600\"]}]}}"), false },
	{ "tab", S_INIT("a:\n\tb: 1\n"), S_INIT("error converting YAML to JSON: yaml: line 2: found character that cannot start any token"), true },
	{ "mapping in a value", S_INIT("a: b: c\n"), S_INIT("error converting YAML to JSON: yaml: mapping values are not allowed in this context"), true },
	{ "missing colon", S_INIT("a: 1\nb\nc: 2\n"), S_INIT("error converting YAML to JSON: yaml: line 3: could not find expected ':'"), true },
	{ "unknown alias", S_INIT("a: *x\n"), S_INIT("error converting YAML to JSON: yaml: unknown anchor 'x' referenced"), true },
	{ "alias of itself", S_INIT("a: &x [*x]\n"), S_INIT("error converting YAML to JSON: yaml: anchor 'x' value contains itself"), true },
	{ "merge of text", S_INIT("<<: a\n"), S_INIT("error converting YAML to JSON: yaml: map merge requires map or sequence of maps as the value"), true },
	{ "infinite", S_INIT("a: .inf\n"), S_INIT("error converting YAML to JSON: json: unsupported value: +Inf"), true },
	{ "bad number", S_INIT("a: !!int x\n"), S_INIT("error converting YAML to JSON: yaml: cannot decode !!str `x` as a !!int"), true },
	{ "a map as a key", S_INIT("{a: 1}: 2\n"), S_INIT("error converting YAML to JSON: yaml: invalid map key: a map"), true },
	{ "control character", S_INIT("a: \x01\n"), S_INIT("error converting YAML to JSON: yaml: control characters are not allowed"), true },
};

static void test_document(void **state) {
	const struct document_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v = NULL;
	bool ok = yaml_parse(&a, c->in, NULL, &v, &err);
	assert_str(ok ? json_text(&a, v) : str_c(err.msg), c->json);
	assert_int_equal(ok, !c->bad);
	assert_int_equal(err.code, ok ? ERR_NONE : ERR_BAD_REQUEST);
}

/* As kubectl -o yaml prints. */
static const struct print_case {
	const char *name;
	struct str json, yaml;
} print_cases[] = {
	{ "sorted", S_INIT("{\"spec\":1,\"apiVersion\":\"v1\",\"kind\":\"Pod\"}"), S_INIT("apiVersion: v1\nkind: Pod\nspec: 1\n") },
	{ "natural order", S_INIT("{\"a10\":1,\"a9\":2,\"a_\":3,\"A\":4,\"a-1\":5,\"1\":6}"), S_INIT("\"1\": 6\nA: 4\na-1: 5\na_: 3\na9: 2\na10: 1\n") },
	{ "lists are not indented", S_INIT("{\"a\":[{\"b\":1,\"c\":[2]},[3,4]]}"), S_INIT("a:\n- b: 1\n  c:\n  - 2\n- - 3\n  - 4\n") },
	{ "empty", S_INIT("{\"a\":{},\"b\":[],\"c\":\"\",\"d\":null}"), S_INIT("a: {}\nb: []\nc: \"\"\nd: null\n") },
	{ "text that looks like something", S_INIT("[\"yes\",\"1\",\"0x1\",\"1.5\",\"null\",\"~\",\"1:30\",\"2001-12-14\",\"2024-01-02T03:04:05Z\",\"1_0\",\"y\",\"<<\"]"),
		S_INIT("- \"yes\"\n- \"1\"\n- \"0x1\"\n- \"1.5\"\n- \"null\"\n- \"~\"\n- \"1:30\"\n- \"2001-12-14\"\n- \"2024-01-02T03:04:05Z\"\n- \"1_0\"\n- \"y\"\n- \"<<\"\n") },
	{ "text that needs quotes", S_INIT("[\"*\",\"- a\",\"a: b\",\"a #b\",\"@a\",\"it's\",\"a:\",\"{a}\",\" a\",\"a\\tb\",\"'\"]"),
		S_INIT("- '*'\n- '- a'\n- 'a: b'\n- 'a #b'\n- '@a'\n- it's\n- 'a:'\n- '{a}'\n- ' a'\n- \"a\\tb\"\n- ''''\n") },
	{ "text that needs none", S_INIT("[\"100m\",\"1.2.3\",\"a:b\",\"a#b\",\"/bin/sh\",\"-c\",\"10.0.0.1\",\"sha256:ab\"]"),
		S_INIT("- 100m\n- 1.2.3\n- a:b\n- a#b\n- /bin/sh\n- -c\n- 10.0.0.1\n- sha256:ab\n") },
	{ "lines", S_INIT("{\"a\":\"x\\ny\\n\",\"b\":\"x\\ny\",\"c\":\"x\\n\\n\",\"d\":\" x\\ny\"}"),
		S_INIT("a: |\n  x\n  y\nb: |-\n  x\n  y\nc: |+\n  x\n\nd: |2-\n   x\n  y\n") },
	{ "the last line is empty", S_INIT("{\"a\":\"x\\n\\n\"}"), S_INIT("a: |+\n  x\n\n") },
	{ "long text is folded", S_INIT("{\"message\":\"aaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbb cccccccccccccccccccc dddddddddddddddddddd eeee\"}"),
		S_INIT("message: aaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbb cccccccccccccccccccc dddddddddddddddddddd\n  eeee\n") },
	{ "numbers", S_INIT("[0.5,1e21,1234567.5,-3,1.0,12345678901234567890]"), S_INIT("- 0.5\n- 1e+21\n- 1.2345675e+06\n- -3\n- 1\n- 12345678901234567000\n") },
	{ "UTF-8", S_INIT("[\"\xc3\xa9\xe2\x82\xac\",\"\xf0\x9f\x98\x80\"]"), S_INIT("- \xc3\xa9\xe2\x82\xac\n- \"\\U0001F600\"\n") },
	{ "scalar", S_INIT("\"a\""), S_INIT("a\n") },
};

static void test_print(void **state) {
	const struct print_case *c = *state;
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v, *again;
	assert_true(json_parse(&a, c->json, NULL, &v, &err));
	assert_true(yaml_print(&b, v));
	assert_str(buf_view(&b), c->yaml);
	assert_true(yaml_parse(&a, buf_view(&b), NULL, &again, &err));
	assert_true(value_eq(v, again));
}

static void add_line(void *arg, struct str text) {
	buf_str(arg, text);
	buf_char(arg, '\n');
}

static void test_duplicates(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v;
	struct str in = S("a: 1\nspec:\n  foo: 1\n  kind: 2\n  foo: 3\n  kind:\n    x: 1\n");
	assert_true(yaml_parse(&a, in, &(struct json_opts){ .on_duplicate = add_line, .arg = &b }, &v, &err));
	assert_str(buf_view(&b), S("line 5: key \"foo\" already set in map\nline 7: key \"kind\" already set in map\n"));
}

/* Each level ten times the one before: small text, a value that would fill any memory. */
static void test_laughs(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v;
	buf_c(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 12; i++) {
		buf_printf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1,
			i - 1, i - 1, i - 1, i - 1, i - 1);
	}
	assert_false(yaml_parse(&a, buf_view(&b), NULL, &v, &err));
	assert_string_equal(err.msg, "error converting YAML to JSON: yaml: document contains excessive aliasing");
	/* Few aliases, but of a long text. */
	buf_clear(&b);
	buf_c(&b, "- &a ");
	for (int i = 0; i < 1 << 20; i++) {
		buf_char(&b, 'x');
	}
	for (int i = 0; i < 2000; i++) {
		buf_c(&b, "\n- *a");
	}
	assert_false(yaml_parse(&a, buf_view(&b), NULL, &v, &err));
	assert_string_equal(err.msg, "error converting YAML to JSON: yaml: document contains excessive aliasing");
	/* Deep, by nesting and by aliases of aliases. */
	buf_clear(&b);
	for (int i = 0; i < 5000; i++) {
		buf_char(&b, '[');
	}
	assert_false(yaml_parse(&a, buf_view(&b), NULL, &v, &err));
	assert_non_null(strstr(err.msg, "exceeded max depth"));
	buf_clear(&b);
	buf_c(&b, "- &a0 x\n");
	for (int i = 1; i < 5000; i++) {
		buf_printf(&b, "- &a%d [*a%d]\n", i, i - 1);
	}
	assert_false(yaml_parse(&a, buf_view(&b), NULL, &v, &err));
}

static void test_many_keys(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v;
	for (int i = 0; i < 20000; i++) {
		buf_printf(&b, "k%d: %d\n", i % 15000, i);
	}
	assert_true(yaml_parse(&a, buf_view(&b), NULL, &v, &err));
	assert_int_equal(value_len(v), 15000);
	assert_int_equal(value_as_int(value_get_str(v, S("k100"))), 15100);
	assert_int_equal(value_as_int(value_get_str(v, S("k14999"))), 14999);
}

/* ---- the published suite ------------------------------------------------------------------------ */

/*
 * Cases that kubectl reads in its own way, by what they show. go-yaml v2 is libyaml in Go: its grammar is
 * YAML 1.1's, and so is ours.
 */
static const char *const other_ways[] = {
	/* keys that JSON cannot have: maps, lists, null */
	"4FJ6", "6BFJ", "6PBE", "9MMW", "DFF7", "FH7J", "KK5P", "LX3P", "M5DY", "PW8X", "Q9WF", "RZP5", "SBG9", "V9D5",
	"X38W", "XW4D",
	/* accepted by libyaml's grammar */
	"3HFZ", "4H7K", "9C9N", "9HCY", "9JBA", "BS4K", "CVW2", "EB22", "G5U8", "KS4U", "MUS6", "QB6E", "QLJ7", "RHX7",
	"S98Z", "SU5Z", "X4QW", "YJV2",
	/* read otherwise by it, or by the scalars of YAML 1.1 */
	"565N", "652Z", "C4HZ", "DK3J", "FP8R", "L24T", "Y2GN",
	/* refused by it */
	"2JQS", "2LFX", "2SXE", "4ABK", "4MUZ", "5MUD", "58MP", "5T43", "6BCT", "6CA3", "6LVF", "6M2F", "8XYN", "96NN", "9SA2",
	"A2M4", "BEC7", "CFD4", "DBG4", "DK95", "FRK4", "HM87", "HWV9", "K3WX", "M2N8", "NHX8", "NJ66", "NKF9", "Q5MG",
	"QT73", "R4YG", "S3PD", "SM9W", "UKK6", "UT92", "VJP3", "W4TN", "W5VH", "Y79Y", "ZYU8",
};

static bool known_difference(const char *id) {
	for (size_t i = 0; i < ARRAY_LEN(other_ways); i++) {
		if (strncmp(other_ways[i], id, 4) == 0) {
			return true;
		}
	}
	return false;
}

/* The suite shows blanks at line ends, tabs and the like as visible characters. */
static struct str unveil(struct arena *a, struct str s) {
	static const struct {
		const char *from, *to;
	} marks[] = {
		{ "\xe2\x90\xa3", " " },           /* open box */
		{ "\xe2\x80\x94\xe2\x80\x94\xe2\x80\x94\xe2\x80\x94\xc2\xbb", "\t" },
		{ "\xe2\x80\x94\xe2\x80\x94\xe2\x80\x94\xc2\xbb", "\t" },
		{ "\xe2\x80\x94\xe2\x80\x94\xc2\xbb", "\t" },
		{ "\xe2\x80\x94\xc2\xbb", "\t" },
		{ "\xc2\xbb", "\t" },
		{ "\xe2\x86\x90", "\r" },
		{ "\xe2\x87\x94", "\xef\xbb\xbf" },
		{ "\xe2\x86\xb5", "" },
		{ "\xe2\x88\x8e\n", "" },
	};
	char *out = arena_alloc(a, s.len + 1), *to = out;
	for (size_t i = 0; i < s.len;) {
		size_t m = 0;
		while (m < ARRAY_LEN(marks) && !str_starts(str_from(s, i), str_c(marks[m].from))) {
			m++;
		}
		if (m < ARRAY_LEN(marks)) {
			to = mempcpy(to, marks[m].to, strlen(marks[m].to));
			i += strlen(marks[m].from);
		} else {
			*to++ = s.ptr[i++];
		}
	}
	return (struct str){ out, (size_t)(to - out) };
}

/* Only the first of several JSON documents: kubectl splits a stream before it parses. */
static bool first_json(struct arena *a, struct str text, struct value **ret) {
	struct err err = { 0 };
	for (size_t end = 1; end <= text.len; end++) {
		if ((end == text.len || text.ptr[end - 1] == '\n') && json_parse(a, str_sub(text, 0, end), NULL, ret, &err)) {
			return true;
		}
	}
	return false;
}

struct suite_counts {
	size_t ran, wrong, other;
};

static void suite_case(struct arena *a, const char *id, const struct value *c, const struct value *first, struct suite_counts *n) {
	struct err err = { 0 };
	struct value *v = NULL, *want = NULL;
	const struct value *json = value_get_str(c, S("json"));
	struct str yaml = unveil(a, value_as_str(value_get_str(c, S("yaml"))));
	bool must_fail = value_as_bool(value_get_str(c, S("fail")));
	bool ok = yaml_parse(a, yaml, NULL, &v, &err), right = ok != must_fail;
	if (right && ok && value_is(json, VALUE_STRING) && first_json(a, value_as_str(json), &want)) {
		right = value_eq(v, want);
	}
	n->ran++;
	if (right) {
		return;
	}
	if (known_difference(id)) {
		n->other++;
		return;
	}
	print_error("%s: %.*s: %s %.*s\n", id, STR_ARG(value_as_str(value_get_str(first, S("name")))),
		must_fail ? "accepted" : ok ? "wrong" : err.msg, STR_ARG(ok ? json_text(a, v) : S("")));
	n->wrong++;
}

static void test_suite(void **state) {
	const char *found = shared_data("yaml/src");
	struct suite_counts n = { 0 };
	struct dirent **names;
	if (!found) {
		print_message("skipped: the 351 files of yaml-test-suite are not here\n");
		skip();
	}
	auto_free char *dir = xstrdup(found);
	int files = scandir(dir, &names, NULL, alphasort);
	for (int i = 0; i < files; i++) {
		auto_arena struct arena a = { 0 };
		auto_buf struct buf b = { 0 };
		auto_free char *path = xasprintf("%s/%s", dir, names[i]->d_name);
		struct err err = { 0 };
		struct value *cases;
		if (names[i]->d_name[0] != '.' && file_read(path, &b, &err)) {
			assert_true(yaml_parse(&a, buf_view(&b), NULL, &cases, &err));
			VALUE_EACH(cases, c) {
				suite_case(&a, names[i]->d_name, c, value_item(cases, 0), &n);
			}
		}
		free(names[i]);
	}
	free(names);
	print_message("yaml-test-suite: %zu cases, %zu read in kubectl's way\n", n.ran, n.other);
	assert_true(n.ran > 300);
	assert_int_equal(n.wrong, 0);
}

int main(void) {
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_laughs),
		cmocka_unit_test(test_many_keys),
		cmocka_unit_test(test_suite),
	};
	int failed = RUN_CASES("yaml scalars", scalar_cases, test_scalar);
	failed += RUN_CASES("yaml documents", document_cases, test_document);
	failed += RUN_CASES("yaml printing", print_cases, test_print);
	return failed + cmocka_run_group_tests_name("yaml", others, NULL, NULL);
}
