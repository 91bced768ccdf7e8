/* SPDX-License-Identifier: Apache-2.0 */
/* value_test.c - reading, building, comparing and freezing values. */
#include "value/value.h"

#include "../cases.h"

#include <math.h>
#include <pthread.h>

static struct value *parse(struct arena *a, struct str text) {
	struct err err = { 0 };
	struct value *v;
	if (!json_parse(a, text, NULL, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	return v;
}

static void test_absent(void **state) {
	auto_arena struct arena a = { 0 };
	const struct value *v = parse(&a, S("{\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"name\":\"c\"}]}}"));
	assert_str(value_str_at(v, N_spec, N_nodeName), S("n1"));
	assert_str(value_str_at(v, N_status, N_phase), S(""));
	assert_str(value_str_at(v, N_spec), S(""));
	assert_null(value_at(v, N_spec, N_nodeName, N_name));
	assert_null(value_item(value_at(v, N_spec, N_containers), 1));
	assert_null(value_get(NULL, N_spec));
	assert_null(value_get_str(NULL, S("spec")));
	assert_int_equal(value_len(NULL), 0);
	assert_int_equal(value_as_int_or(NULL, 7), 7);
	assert_int_equal(value_as_int(value_at(v, N_spec)), 0);
	assert_false(value_as_bool(NULL));
	assert_str(value_key(v, 0), S("spec"));
	assert_str(value_key(v, 1), S(""));
	assert_non_null(value_find_by(value_at(v, N_spec, N_containers), N_name, S("c")));
	assert_null(value_find_by(value_at(v, N_spec, N_containers), N_name, S("d")));
	assert_null(value_find_by(v, N_name, S("c")));
	assert_null(value_copy(&a, NULL));
	VALUE_EACH(value_at(v, N_status, N_conditions), it) {
		fail();
	}
}

static const struct scalar_case {
	const char *name;
	struct str json, text;
	int64_t integer;
	double number;
	bool boolean, empty;
} scalar_cases[] = {
	{ "null", S_INIT("null"), S_INIT(""), 0, 0, false, true },
	{ "true", S_INIT("true"), S_INIT("true"), 0, 0, true, false },
	{ "false", S_INIT("false"), S_INIT("false"), 0, 0, false, true },
	{ "integer", S_INIT("-3"), S_INIT("-3"), -3, -3, false, false },
	{ "zero", S_INIT("0"), S_INIT("0"), 0, 0, false, true },
	{ "whole float", S_INIT("2.0"), S_INIT("2"), 2, 2, false, false },
	{ "float", S_INIT("2.5"), S_INIT("2.5"), 0, 2.5, false, false },
	{ "float beyond int64", S_INIT("1e19"), S_INIT("10000000000000000000"), 0, 1e19, false, false },
	{ "text", S_INIT("\"abc\""), S_INIT("abc"), 0, 0, false, false },
	{ "no text", S_INIT("\"\""), S_INIT(""), 0, 0, false, true },
	{ "object", S_INIT("{\"a\":1}"), S_INIT(""), 0, 0, false, false },
	{ "empty object", S_INIT("{}"), S_INIT(""), 0, 0, false, true },
	{ "empty array", S_INIT("[]"), S_INIT(""), 0, 0, false, true },
};

static void test_scalar(void **state) {
	const struct scalar_case *c = *state;
	auto_arena struct arena a = { 0 };
	const struct value *v = parse(&a, c->json);
	assert_str(value_as_text(&a, v), c->text);
	assert_int_equal(value_as_int(v), c->integer);
	assert_true(value_as_double(v) == c->number);
	assert_int_equal(value_as_bool(v), c->boolean);
	assert_int_equal(value_is_empty(v), c->empty);
}

static const struct eq_case {
	const char *name;
	struct str a, b;
	bool eq;
} eq_cases[] = {
	{ "order of members", S_INIT("{\"a\":1,\"kind\":2,\"c\":3}"), S_INIT("{\"c\":3,\"a\":1,\"kind\":2}"), true },
	{ "order of items", S_INIT("[1,2]"), S_INIT("[2,1]"), false },
	{ "integer and float", S_INIT("[1,-2,0]"), S_INIT("[1.0,-2e0,-0.0]"), true },
	{ "integer and fraction", S_INIT("1"), S_INIT("1.5"), false },
	{ "large integer and its float", S_INIT("9007199254740993"), S_INIT("9007199254740993.0"), false },
	{ "number and text", S_INIT("1"), S_INIT("\"1\""), false },
	{ "null and false", S_INIT("null"), S_INIT("false"), false },
	{ "one more member", S_INIT("{\"a\":1}"), S_INIT("{\"a\":1,\"b\":2}"), false },
	{ "another key", S_INIT("{\"a\":1,\"b\":1}"), S_INIT("{\"a\":1,\"c\":1}"), false },
	{ "another value, another order", S_INIT("{\"a\":1,\"b\":2}"), S_INIT("{\"b\":3,\"a\":1}"), false },
	{ "empty object and array", S_INIT("{}"), S_INIT("[]"), false },
	{ "null member and none", S_INIT("{\"a\":null}"), S_INIT("{}"), false },
};

static void test_eq(void **state) {
	const struct eq_case *c = *state;
	auto_arena struct arena a = { 0 };
	const struct value *x = parse(&a, c->a), *y = parse(&a, c->b);
	assert_int_equal(value_eq(x, y), c->eq);
	assert_int_equal(value_eq(y, x), c->eq);
	auto_obj struct obj *o = obj_freeze(x, 0);
	assert_int_equal(value_eq(o->root, y), c->eq);
	assert_true(value_eq(o->root, x));
}

static void test_build(void **state) {
	auto_arena struct arena a = { 0 };
	struct value *pod = value_new_object(&a);
	value_set_str(&a, pod, N_kind, S("Pod"));
	struct value *meta = value_ensure_object(&a, pod, N_metadata);
	value_set_str(&a, meta, N_name, S("a"));
	value_set_key_str(&a, meta, S("namespace"), S("default")); /* a known name, given as text */
	struct value *labels = value_ensure_object(&a, meta, N_labels);
	value_set_key_str(&a, labels, S("app.kubernetes.io/x"), S("1"));
	value_set_key_str(&a, labels, S("kind"), S("2"));
	value_set_key_str(&a, labels, S("app.kubernetes.io/x"), S("3"));
	value_set_int(&a, pod, N_replicas, 1);
	value_set_bool(&a, pod, N_paused, true);
	value_set(&a, pod, N_status, NULL);
	struct value *args = value_ensure_array(&a, pod, N_args);
	for (int i = 0; i < 5; i++) {
		value_push_str(&a, args, arena_printf(&a, "%d", i));
	}
	value_insert(&a, args, 0, value_new_int(&a, -1));
	value_remove_at(args, 3);
	assert_str(json_text(&a, pod), S("{\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"labels\":"
		"{\"app.kubernetes.io/x\":\"3\",\"kind\":\"2\"}},\"replicas\":1,\"paused\":true,\"status\":null,"
		"\"args\":[-1,\"0\",\"1\",\"3\",\"4\"]}"));
	assert_str(value_str_at(pod, N_metadata, N_namespace), S("default"));
	assert_true(value_remove(pod, N_status));
	assert_false(value_remove(pod, N_status));
	assert_true(value_is(value_ensure_object(&a, pod, N_args), VALUE_OBJECT)); /* takes the place of another type */
	assert_int_equal(value_len(value_at(pod, N_args)), 0);
}

/* Removing follows the key table, whether the room is exact (parsed) or not (built). */
static void test_remove_keys(void **state) {
	auto_arena struct arena a = { 0 };
	for (int built = 0; built < 2; built++) {
		struct value *v = parse(&a, S("{\"a\":1,\"kind\":2,\"b\":3,\"c\":4,\"spec\":5,\"d\":6}"));
		if (built) {
			value_set_key(&a, v, S("e"), NULL);
			assert_true(value_remove_key(v, S("e")));
		}
		assert_true(value_remove_key(v, S("b")));
		assert_str(json_text(&a, v), S("{\"a\":1,\"kind\":2,\"c\":4,\"spec\":5,\"d\":6}"));
		assert_true(value_remove(v, N_kind));
		assert_true(value_remove_key(v, S("a")));
		assert_true(value_remove_key(v, S("d")));
		assert_str(json_text(&a, v), S("{\"c\":4,\"spec\":5}"));
		assert_true(value_remove_key(v, S("c")));
		assert_false(value_remove_key(v, S("c")));
		auto_obj struct obj *o = obj_freeze(v, 0);
		assert_str(obj_json(o), S("{\"spec\":5}"));
	}
}

static void test_sort(void **state) {
	auto_arena struct arena a = { 0 };
	struct value *v = parse(&a, S("{\"b\":1,\"kind\":{\"z\":1,\"spec\":2,\"A\":3},\"a\":[{\"y\":1,\"x\":2}],\"Z\":3,\"ba\":4}"));
	value_sort_keys_deep(v);
	assert_str(json_text(&a, v), S("{\"Z\":3,\"a\":[{\"x\":2,\"y\":1}],\"b\":1,\"ba\":4,\"kind\":{\"A\":3,\"spec\":2,\"z\":1}}"));
	value_sort_keys_deep(v);
	assert_int_equal(value_as_int(value_get_str(v, S("ba"))), 4);
}

static void test_copy(void **state) {
	auto_arena struct arena a = { 0 }, b = { 0 };
	struct value *copy, *top;
	{
		auto_arena struct arena short_lived = { 0 };
		auto_obj struct obj *o = obj_freeze(parse(&short_lived, S("{\"kind\":\"x\",\"l\":{\"k\":[1]}}")), 3);
		copy = value_copy(&a, o->root);
		top = value_copy_shallow(&b, o->root);
		value_set_str(&b, top, N_kind, S("y"));
		value_set_key_str(&b, top, S("m"), S("z"));
		assert_str(json_text(&b, top), S("{\"kind\":\"y\",\"l\":{\"k\":[1]},\"m\":\"z\"}"));
		assert_str(obj_json(o), S("{\"kind\":\"x\",\"l\":{\"k\":[1]}}"));
	}
	value_push(&a, value_get_str(value_get_str(copy, S("l")), S("k")), value_new_int(&a, 2));
	assert_str(json_text(&a, copy), S("{\"kind\":\"x\",\"l\":{\"k\":[1,2]}}"));
	arena_release(&b);
}

/* A value may be set from a member of the object that grows under it. */
static void test_set_from_itself(void **state) {
	auto_arena struct arena a = { 0 };
	struct value *v = parse(&a, S("{\"a\":\"text\",\"kind\":{\"x\":1}}"));
	value_set_key(&a, v, S("b"), value_item(v, 0));
	value_set(&a, v, N_spec, value_get(v, N_kind));
	assert_str(json_text(&a, v), S("{\"a\":\"text\",\"kind\":{\"x\":1},\"b\":\"text\",\"spec\":{\"x\":1}}"));
}

static void test_freeze(void **state) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *none = obj_freeze(NULL, 1);
	assert_true(value_is(none->root, VALUE_NULL));
	/* Keys of every length of length, and equal texts as key and value. */
	struct value *v = value_new_object(&a);
	for (size_t len = 0; len < 40000; len = len * 2 + 1) {
		char *text = arena_alloc(&a, len + 1);
		memset(text, 'k', len);
		value_set_key_str(&a, v, (struct str){ text, len }, (struct str){ text, len });
	}
	auto_obj struct obj *o = obj_freeze(v, 1);
	assert_true(value_eq(o->root, v));
	assert_str(obj_json(o), json_text(&a, v));
	obj_unref(obj_ref(o));
	/* Known names take no text, equal texts are kept once. */
	auto_obj struct obj *small = obj_freeze(parse(&a, S("{\"kind\":\"abcdefgh\",\"spec\":{\"name\":\"abcdefgh\"}}")), 1);
	assert_int_equal(small->bytes, sizeof(struct obj) + 4 * sizeof(struct value) + 8);
}

static void *json_of(void *o) {
	return (void *)obj_json(o).ptr;
}

static void test_json_once(void **state) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *o = obj_freeze(parse(&a, S("{\"kind\":[1,2,3]}")), 1);
	pthread_t threads[4];
	void *got[4];
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, json_of, o), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], &got[i]);
		assert_ptr_equal(got[i], obj_json(o).ptr);
	}
}

static void test_names(void **state) {
	for (unsigned n = 1; n < N_COUNT; n++) {
		struct str text = name_text((uint16_t)n), field = name_text((uint16_t)(N_FIELD | n));
		assert_int_equal(name_find(text), n);
		assert_int_equal(field.len, text.len + 2);
		assert_true(str_starts(field, S("f:")) && str_ends(field, text));
		assert_int_equal(name_find(field), N_FIELD | n);
	}
	assert_int_equal(name_find(S("")), N_NONE);
	assert_int_equal(name_find(S("f:")), N_NONE);
	assert_int_equal(name_find(S("unheardOf")), N_NONE);
	assert_int_equal(name_find(S("f:unheardOf")), N_NONE);
	assert_int_equal(name_find(S("f:f:name")), N_NONE);
}

int main(void) {
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_build),
		cmocka_unit_test(test_remove_keys),
		cmocka_unit_test(test_sort),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_set_from_itself),
		cmocka_unit_test(test_freeze),
		cmocka_unit_test(test_json_once),
		cmocka_unit_test(test_names),
	};
	int failed = RUN_CASES("value scalars", scalar_cases, test_scalar);
	failed += RUN_CASES("value equality", eq_cases, test_eq);
	return failed + cmocka_run_group_tests_name("value", others, NULL, NULL);
}
