/* SPDX-License-Identifier: Apache-2.0 */
/* patch_test.c - JSON patch (RFC 6902, the published json-patch-tests) and merge patch (RFC 7386). */
#include "value/value.h"

#include "../cases.h"

#include "base/file.h"

static struct value *parse(struct arena *a, struct str text) {
	struct err err = { 0 };
	struct value *v;
	if (!json_parse(a, text, NULL, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	return v;
}

/* What the API server answers; the words are evanphx/json-patch's. */
static const struct patch_case {
	const char *name;
	struct str doc, patch, want; /* `want` is the error's text when code is set */
	enum err_code code;
} patch_cases[] = {
	{ "add a member", S_INIT("{\"a\":1}"), S_INIT("[{\"op\":\"add\",\"path\":\"/b\",\"value\":[1]}]"), S_INIT("{\"a\":1,\"b\":[1]}"), 0 },
	{ "add to the end", S_INIT("{\"a\":[1]}"), S_INIT("[{\"op\":\"add\",\"path\":\"/a/-\",\"value\":2}]"), S_INIT("{\"a\":[1,2]}"), 0 },
	{ "add before", S_INIT("{\"a\":[1]}"), S_INIT("[{\"op\":\"add\",\"path\":\"/a/0\",\"value\":2}]"), S_INIT("{\"a\":[2,1]}"), 0 },
	{ "add from the end", S_INIT("{\"a\":[1]}"), S_INIT("[{\"op\":\"add\",\"path\":\"/a/-1\",\"value\":2}]"), S_INIT("{\"a\":[1,2]}"), 0 },
	{ "escaped keys", S_INIT("{\"metadata\":{\"annotations\":{\"a/b~c\":\"1\"}}}"),
		S_INIT("[{\"op\":\"replace\",\"path\":\"/metadata/annotations/a~1b~0c\",\"value\":\"2\"}]"),
		S_INIT("{\"metadata\":{\"annotations\":{\"a/b~c\":\"2\"}}}"), 0 },
	{ "replace what is not there", S_INIT("{}"), S_INIT("[{\"op\":\"replace\",\"path\":\"/a\",\"value\":1}]"), S_INIT("{\"a\":1}"), 0 },
	{ "move", S_INIT("{\"a\":{\"b\":1},\"c\":{}}"), S_INIT("[{\"op\":\"move\",\"from\":\"/a/b\",\"path\":\"/c/d\"}]"), S_INIT("{\"a\":{},\"c\":{\"d\":1}}"), 0 },
	{ "copy stands alone", S_INIT("{\"a\":{\"b\":1}}"),
		S_INIT("[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/c\"},{\"op\":\"add\",\"path\":\"/c/b\",\"value\":2}]"), S_INIT("{\"a\":{\"b\":1},\"c\":{\"b\":2}}"), 0 },
	{ "test absent for null", S_INIT("{}"), S_INIT("[{\"op\":\"test\",\"path\":\"/a\",\"value\":null}]"), S_INIT("{}"), 0 },
	{ "test fails", S_INIT("{\"a\":1}"), S_INIT("[{\"op\":\"test\",\"path\":\"/a\",\"value\":2}]"), S_INIT("testing value /a failed: test failed"), ERR_INVALID },
	{ "add below nothing", S_INIT("{}"), S_INIT("[{\"op\":\"add\",\"path\":\"/a/b\",\"value\":1}]"),
		S_INIT("add operation does not apply: doc is missing path: \"/a/b\": missing value"), ERR_INVALID },
	{ "remove what is not there", S_INIT("{}"), S_INIT("[{\"op\":\"remove\",\"path\":\"/a\"}]"),
		S_INIT("error in remove for path: '/a': Unable to remove nonexistent key: a: missing value"), ERR_INVALID },
	{ "index too large", S_INIT("{\"a\":[]}"), S_INIT("[{\"op\":\"add\",\"path\":\"/a/1\",\"value\":1}]"),
		S_INIT("error in add for path: '/a/1': Unable to access invalid index: 1: invalid index referenced"), ERR_INVALID },
	{ "unknown operation", S_INIT("{}"), S_INIT("[{\"op\":\"spam\",\"path\":\"/a\"}]"), S_INIT("Unexpected kind: spam"), ERR_INVALID },
	{ "no list", S_INIT("{}"), S_INIT("{}"), S_INIT("json: cannot unmarshal object into Go value of type jsonpatch.Patch"), ERR_BAD_REQUEST },
	{ "no operations", S_INIT("{}"), S_INIT("[1]"), S_INIT("json: cannot unmarshal number into Go value of type jsonpatch.Operation"), ERR_BAD_REQUEST },
	{ "into itself", S_INIT("{\"a\":{\"b\":{}}}"), S_INIT("[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]"),
		S_INIT("error in move for path: '/a/b': cannot move a value into itself: missing value"), ERR_INVALID },
};

static void test_patch(void **state) {
	const struct patch_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *doc = parse(&a, c->doc), *ret = NULL;
	auto_obj struct obj *frozen = obj_freeze(doc, 0); /* the source is not written to */
	bool ok = json_patch_apply(&a, frozen->root, parse(&a, c->patch), &ret, &err);
	assert_int_equal(err.code, c->code);
	assert_str(ok ? json_text(&a, ret) : str_c(err.msg), c->want);
	assert_true(value_eq(frozen->root, doc));
}

/* A patch that doubles the document again and again meets a limit. */
static void test_copy_limit(void **state) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *ops = value_new_array(&a), *ret;
	for (int i = 0; i < 64; i++) {
		value_push(&a, ops, parse(&a, S("{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}")));
	}
	assert_false(json_patch_apply(&a, parse(&a, S("{\"a\":[\"0123456789\"]}")), ops, &ret, &err));
	assert_int_equal(err.code, ERR_TOO_LARGE);
}

/*
 * Errors of RFC 6902 that are none to the API server: a missing value is null, and so is a missing member
 * that is copied; a negative index counts from the end.
 */
static bool lenient(struct str error) {
	static const char *const known[] = { "missing 'value' parameter", "missing 'from' location", "Out of bounds (lower)" };
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (str_eqc(error, known[i])) {
			return true;
		}
	}
	return false;
}

static size_t suite_file(const char *name) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	size_t wrong = 0, ran = 0;
	const char *path = shared_data(name);
	if (!path || !file_read(path, &b, &err)) {
		print_message("skipped: about 100 cases of %s are not here\n", name);
		return 0;
	}
	VALUE_EACH(parse(&a, buf_view(&b)), it) {
		struct value *doc = value_get_str(it, S("doc")), *ret = NULL;
		const struct value *expected = value_get_str(it, S("expected"));
		struct str comment = value_as_str(value_get_str(it, S("comment"))), error = value_as_str(value_get_str(it, S("error")));
		if (value_as_bool(value_get_str(it, S("disabled"))) || !doc || (!expected && !error.len)) {
			continue;
		}
		bool ok = json_patch_apply(&a, doc, value_get_str(it, S("patch")), &ret, &err);
		ran++;
		if (ok && lenient(error)) {
			continue;
		}
		if (ok != !error.len || (ok && !value_eq(ret, expected))) {
			print_error("%.*s: want %.*s got %.*s\n", STR_ARG(comment), STR_ARG(error.len ? error : json_text(&a, expected)),
				STR_ARG(ok ? json_text(&a, ret) : str_c(err.msg)));
			wrong++;
		}
	}
	print_message("%s: %zu cases\n", name, ran);
	return wrong;
}

static void test_suite(void **state) {
	assert_int_equal(suite_file("json-patch/spec_tests.json") + suite_file("json-patch/tests.json"), 0);
}

/* RFC 7386, appendix A. */
static const struct merge_case {
	const char *name;
	struct str doc, patch, want;
} merge_cases[] = {
	{ "replace", S_INIT("{\"a\":\"b\"}"), S_INIT("{\"a\":\"c\"}"), S_INIT("{\"a\":\"c\"}") },
	{ "add", S_INIT("{\"a\":\"b\"}"), S_INIT("{\"b\":\"c\"}"), S_INIT("{\"a\":\"b\",\"b\":\"c\"}") },
	{ "remove", S_INIT("{\"a\":\"b\"}"), S_INIT("{\"a\":null}"), S_INIT("{}") },
	{ "remove one", S_INIT("{\"a\":\"b\",\"b\":\"c\"}"), S_INIT("{\"a\":null}"), S_INIT("{\"b\":\"c\"}") },
	{ "array becomes text", S_INIT("{\"a\":[\"b\"]}"), S_INIT("{\"a\":\"c\"}"), S_INIT("{\"a\":\"c\"}") },
	{ "text becomes array", S_INIT("{\"a\":\"c\"}"), S_INIT("{\"a\":[\"b\"]}"), S_INIT("{\"a\":[\"b\"]}") },
	{ "below", S_INIT("{\"a\":{\"b\":\"c\"}}"), S_INIT("{\"a\":{\"b\":\"d\",\"c\":null}}"), S_INIT("{\"a\":{\"b\":\"d\"}}") },
	{ "arrays are not merged", S_INIT("{\"a\":[{\"b\":\"c\"}]}"), S_INIT("{\"a\":[1]}"), S_INIT("{\"a\":[1]}") },
	{ "array by array", S_INIT("[\"a\",\"b\"]"), S_INIT("[\"c\",\"d\"]"), S_INIT("[\"c\",\"d\"]") },
	{ "object by array", S_INIT("{\"a\":\"b\"}"), S_INIT("[\"c\"]"), S_INIT("[\"c\"]") },
	{ "by null", S_INIT("{\"a\":\"foo\"}"), S_INIT("null"), S_INIT("null") },
	{ "by text", S_INIT("{\"a\":\"foo\"}"), S_INIT("\"bar\""), S_INIT("\"bar\"") },
	{ "null stays", S_INIT("{\"e\":null}"), S_INIT("{\"a\":1}"), S_INIT("{\"e\":null,\"a\":1}") },
	{ "array by object", S_INIT("[1,2]"), S_INIT("{\"a\":\"b\",\"c\":null}"), S_INIT("{\"a\":\"b\"}") },
	{ "nulls in what is new", S_INIT("{}"), S_INIT("{\"a\":{\"bb\":{\"ccc\":null}}}"), S_INIT("{\"a\":{\"bb\":{}}}") },
};

static void test_merge(void **state) {
	const struct merge_case *c = *state;
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *doc = obj_freeze(parse(&a, c->doc), 0), *patch = obj_freeze(parse(&a, c->patch), 0);
	assert_str(json_text(&a, merge_patch_apply(&a, doc->root, patch->root)), c->want);
	/* The difference leads to the same, where it can: a merge patch cannot set null. */
	struct value *want = parse(&a, c->want), *diff = merge_patch_diff(&a, doc->root, want);
	assert_true(value_eq(merge_patch_apply(&a, doc->root, diff), want));
}

static void test_diff(void **state) {
	auto_arena struct arena a = { 0 };
	struct value *from = parse(&a, S("{\"spec\":{\"replicas\":1,\"x\":2,\"t\":[1]},\"b\":1}")),
		*to = parse(&a, S("{\"spec\":{\"replicas\":2,\"t\":[1],\"y\":{}}}"));
	assert_str(json_text(&a, merge_patch_diff(&a, from, to)), S("{\"b\":null,\"spec\":{\"x\":null,\"replicas\":2,\"y\":{}}}"));
	assert_str(json_text(&a, merge_patch_diff(&a, from, from)), S("{}"));
}

/* What a hostile request may hold: it must not take time that grows with the square of its members. */
static void test_many_members(void **state) {
	enum { MEMBERS = 200000 };
	auto_arena struct arena a = { 0 };
	auto_buf struct buf doc = { 0 }, patch = { 0 };
	for (int i = 0; i < MEMBERS; i++) {
		buf_printf(&doc, "%s\"k%d\":%d", i ? "," : "{", i, i);
		buf_printf(&patch, "%s\"k%d\":%s", i ? "," : "{", MEMBERS - i, i % 2 ? "null" : "{}");
	}
	buf_c(&doc, "}");
	buf_c(&patch, "}");
	struct value *from = parse(&a, buf_view(&doc)), *to = merge_patch_apply(&a, from, parse(&a, buf_view(&patch)));
	assert_int_equal(value_len(to), MEMBERS / 2 + 1);
	struct value *diff = merge_patch_diff(&a, from, to);
	assert_true(value_eq(merge_patch_apply(&a, from, diff), to));
}

int main(void) {
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_copy_limit),
		cmocka_unit_test(test_suite),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_many_members),
	};
	int failed = RUN_CASES("json patch", patch_cases, test_patch);
	failed += RUN_CASES("merge patch", merge_cases, test_merge);
	return failed + cmocka_run_group_tests_name("patch", others, NULL, NULL);
}
