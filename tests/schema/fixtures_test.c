/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixtures_test.c - every type against the bytes of the reference encoders: JSON and protobuf, filled and empty,
 * both ways.
 */
#include "field.h"

/* Walks are in schema/; base64 of the data is read here with the decoder of a Secret. */
static struct str base64_bytes(struct arena *a, struct str text) {
	auto_buf struct buf b = BUF_INIT(16 << 20);
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < text.len && text.ptr[i] != '='; i++) {
		bits = bits << 6 | (uint32_t)(strchr(digits, text.ptr[i]) - digits);
		if (++n % 4 != 1) {
			buf_char(&b, (char)(bits >> (6 - 2 * ((n - 1) % 4))));
		}
	}
	return arena_str(a, buf_view(&b));
}

static int bad;

static void differ(struct str type, const char *what, struct str want, struct str got) {
	size_t at = 0;

	while (at < want.len && at < got.len && want.ptr[at] == got.ptr[at]) {
		at++;
	}
	if (++bad <= 20) {
		at = at > 60 ? at - 60 : 0;
		printf("%.*s: %s differs\n  want ...%.*s\n  got  ...%.*s\n", STR_ARG(type), what, STR_ARG(str_sub(want, at, at + 160)),
			STR_ARG(str_sub(got, at, at + 160)));
	}
}

static void compare(struct str type, const char *what, struct str want, struct str got) {
	if (!str_eq(want, got)) {
		differ(type, what, want, got);
	}
}

static void compare_bytes(struct arena *a, struct str type, const char *what, struct str want, struct str got) {
	auto_buf struct buf w = { 0 }, g = { 0 };

	if (str_eq(want, got)) {
		return;
	}
	for (size_t i = 0; i < want.len; i++) {
		buf_printf(&w, "%02x", (unsigned char)want.ptr[i]);
	}
	for (size_t i = 0; i < got.len; i++) {
		buf_printf(&g, "%02x", (unsigned char)got.ptr[i]);
	}
	differ(type, what, buf_view(&w), buf_view(&g));
}

static void check(struct arena *a, struct str name, const struct schema_type *t, const struct value *raw, struct str want, const char *what) {
	struct err err = { 0 };
	struct value *v = NULL;

	if (!schema_decode(a, t, raw, NULL, &v, &err)) {
		differ(name, what, want, str_c(err.msg));
		return;
	}
	compare(name, what, want, json_text(a, v));
}

static void check_pb(struct arena *a, struct str name, const struct schema_type *t, const struct value *raw, struct str want_json, struct str pb,
	const char *what) {
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v = NULL;

	if (!pb_decode(a, t, pb, &v, &err)) {
		differ(name, what, want_json, str_c(err.msg));
		return;
	}
	compare(name, what, want_json, json_text(a, v));
	assert_true(pb_encode(&b, t, v));
	compare_bytes(a, name, what, pb, buf_view(&b));
	if (schema_decode(a, t, raw, NULL, &v, &err)) {
		buf_clear(&b);
		assert_true(pb_encode(&b, t, v));
		compare_bytes(a, name, what, pb, buf_view(&b));
	}
}

static void test_all_types(void **state) {
	auto_arena struct arena outer = { 0 };
	const char *path = field_path(&outer, "api/fixtures/all-types.jsonl.gz");
	struct str rest, line;
	size_t n = 0;

	if (!path) {
		print_message("shared data is absent: 1199 types skipped\n");
		skip();
	}
	rest = field_read(&outer, path);
	while (str_next(&rest, '\n', &line) && line.len) {
		auto_arena struct arena a = { 0 };
		struct value *row = field_json(&a, line), *empty = value_new_object(&a);
		struct str name = value_as_str(value_get_str(row, S("type")));
		const struct schema_type *t = schema_type_find(name);
		struct value *json = value_get_str(row, S("json")), *zero = value_get_str(row, S("zeroJson"));
		struct str pb = value_as_str(value_get_str(row, S("pb"))), zero_pb = value_as_str(value_get_str(row, S("zeroPb")));
		bool text = str_ends(name, S(".meta.v1.GroupVersion")); /* its JSON is a text, which has no empty form */

		n++;
		if (!t) {
			differ(name, "type", S("known"), S("unknown"));
			continue;
		}
		check(&a, name, t, json, json_text(&a, json), "json");
		if (!text) {
			check(&a, name, t, empty, json_text(&a, zero), "zeroJson");
			check(&a, name, t, zero, json_text(&a, zero), "zeroJson again");
		}
		if (t->flags & SCHEMA_TYPE_NO_PROTO) {
			continue;
		}
		check_pb(&a, name, t, json, json_text(&a, json), base64_bytes(&a, pb), "pb");
		if (!text) {
			check_pb(&a, name, t, empty, json_text(&a, zero), base64_bytes(&a, zero_pb), "zeroPb");
		}
	}
	printf("%zu types, %d differences\n", n, bad);
	assert_int_equal(bad, 0);
	assert_int_equal(n, 1199);
}

static void test_objects(void **state) {
	auto_arena struct arena outer = { 0 };
	const char *path = field_path(&outer, "api/fixtures");
	struct dirent *e;
	DIR *dir;
	size_t n = 0;

	if (!path) {
		print_message("shared data is absent: 91 objects skipped\n");
		skip();
	}
	bad = 0;
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir))) {
		auto_arena struct arena a = { 0 };
		auto_buf struct buf b = { 0 };
		struct str name = str_c(e->d_name), json, pb;
		const struct schema_type *t, *t2 = NULL;
		struct value *raw, *v = NULL;
		struct err err = { 0 };

		if (!str_ends(name, S(".json"))) {
			continue;
		}
		n++;
		json = field_read(&a, arena_printf(&a, "%s/%s", path, e->d_name).ptr);
		pb = field_read(&a, arena_printf(&a, "%s/%.*s.pb", path, (int)name.len - 5, name.ptr).ptr);
		raw = field_json(&a, str_trim(json));
		t = str_eq(name, S("core.v1.WatchEvent.json")) ? schema_kind_find(S(""), S("v1"), S("WatchEvent")) : schema_kind_of(raw);
		if (!t) {
			differ(name, "kind", S("known"), S("unknown"));
			continue;
		}
		check(&a, name, t, raw, str_trim(json), "json");
		if (!pb_decode_object(&a, pb, t, &t2, &v, &err)) {
			differ(name, "pb", S("read"), str_c(err.msg));
			continue;
		}
		assert_ptr_equal(t, t2);
		compare(name, "pb to json", str_trim(json), json_text(&a, v));
		assert_true(pb_encode_object(&b, t, v));
		compare_bytes(&a, name, "pb again", pb, buf_view(&b));
		buf_clear(&b);
		assert_true(schema_decode(&a, t, raw, NULL, &v, &err));
		assert_true(pb_encode_object(&b, t, v));
		compare_bytes(&a, name, "json to pb", pb, buf_view(&b));
	}
	closedir(dir);
	printf("%zu objects, %d differences\n", n, bad);
	assert_int_equal(bad, 0);
	assert_true(n >= 91);
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_types),
		cmocka_unit_test(test_objects),
	};
	return cmocka_run_group_tests_name("fixtures", tests, NULL, NULL);
}
