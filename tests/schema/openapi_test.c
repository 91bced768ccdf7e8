/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi_test.c - the v3 documents against the published ones, but for descriptions and what a default server has off.
 */
#include "field.h"

static size_t differences;

static bool off(struct str s) {
	return str_contains(s, S("cbor"));
}

/* Takes out of both documents what is not compared, and writes references in one way. */
static void normal(struct arena *a, struct value *v) {
	const struct value *ref = value_get(v, N__ref);

	if (value_is(ref, VALUE_STRING) && v->len == 1) { /* a reference alone is as good as allOf of it */
		struct value *all = value_new_array(a), *one = value_new_object(a);

		value_set(a, one, N__ref, ref);
		value_push(a, all, one);
		value_remove(v, N__ref);
		value_set(a, v, N_allOf, all);
		return;
	}
	if (value_is(value_get(v, N_allOf), VALUE_ARRAY)) { /* else a member of that name */
		for (size_t i = 0; i < value_len(v); i++) {
			if (value_item(v, i)->name != N_allOf) {
				normal(a, value_item(v, i));
			}
		}
		value_remove(v, N_description);
		return;
	}
	for (size_t i = value_len(v); i-- > 0;) {
		struct value *it = value_item(v, i);

		if (value_is(v, VALUE_OBJECT)) {
			struct str key = value_key(v, i);

			if (off(key) || (it->name == N_description && it->type == VALUE_STRING)) {
				value_remove_at(v, i);
				continue;
			}
			/* Options of every group name all groups, served or not. */
			if (it->name == N_x_kubernetes_group_version_kind && value_is(it, VALUE_ARRAY) && value_len(it) > 1) {
				value_remove_at(v, i);
				continue;
			}
		} else if (str_eq(value_str_at(it, N_name), S("shardSelector"))) {
			value_remove_at(v, i);
			continue;
		}
		normal(a, it);
	}
}

static void compare(struct arena *a, struct str path, const struct value *want, const struct value *got) {
	if (differences > 60) {
		return;
	}
	if (value_is(want, VALUE_OBJECT) && value_is(got, VALUE_OBJECT)) {
		for (size_t i = 0; i < value_len(want); i++) {
			struct str key = value_key(want, i), below = arena_printf(a, "%.*s | %.*s", STR_ARG(path), STR_ARG(key));
			const struct value *there = value_get_str(got, key);

			if (!there) {
				differences++;
				printf("missing%.*s: %.*s\n", STR_ARG(below), STR_ARG(str_sub(json_text(a, value_item(want, i)), 0, 200)));
			} else {
				compare(a, below, value_item(want, i), there);
			}
		}
		for (size_t i = 0; i < value_len(got); i++) {
			struct str key = value_key(got, i);

			if (!value_get_str(want, key)) {
				differences++;
				printf("too much%.*s | %.*s: %.*s\n", STR_ARG(path), STR_ARG(key), STR_ARG(str_sub(json_text(a, value_item(got, i)), 0, 200)));
			}
		}
		return;
	}
	if (!value_eq(want, got)) {
		differences++;
		printf("differs%.*s:\n  want %.*s\n  got  %.*s\n", STR_ARG(path), STR_ARG(str_sub(json_text(a, want), 0, 3000)), STR_ARG(str_sub(json_text(a, got), 0, 3000)));
	}
}

static void test_v3(void **state) {
	auto_arena struct arena outer = { 0 };
	size_t n = 0;

	if (!field_path(&outer, "api/openapi-v3")) {
		print_message("shared data is absent: 36 documents skipped\n");
		skip();
	}
	for (size_t g = 0; g < schema_groups_len; g++) {
		for (size_t i = 0; i < schema_groups[g].versions_len; i++) {
			auto_arena struct arena a = { 0 };
			struct str group = schema_text(schema_groups[g].name), version = schema_text(schema_versions[schema_groups[g].versions_at + i].name);
			struct str file = group.len ? arena_printf(&a, "api/openapi-v3/apis__%.*s__%.*s_openapi.json.gz", STR_ARG(group), STR_ARG(version))
						    : arena_printf(&a, "api/openapi-v3/api__%.*s_openapi.json.gz", STR_ARG(version));
			const char *path = field_path(&a, file.ptr);
			struct value *want, *got;

			if (!path) {
				continue;
			}
			want = field_json(&a, field_read(&a, path));
			got = openapi_v3(&a, group, version);
			assert_non_null(got);
			normal(&a, want);
			normal(&a, got);
			compare(&a, arena_printf(&a, " %.*s/%.*s", STR_ARG(group), STR_ARG(version)), want, got);
			n++;
		}
	}
	printf("%zu documents, %zu differences\n", n, differences);
	assert_int_equal(differences, 0);
	assert_int_equal(n, 36);
}

static const char *const small[][2] = {
	{ "api", "api_openapi" },
	{ "apis", "apis_openapi" },
	{ "version", "version_openapi" },
	{ "openid/v1/jwks", "openid__v1__jwks_openapi" },
	{ ".well-known/openid-configuration", "well-known__openid-configuration_openapi" },
	{ "apis/apps", "apis__apps_openapi" },
	{ "apis/rbac.authorization.k8s.io", "apis__rbac.authorization.k8s.io_openapi" },
	{ "apis/flowcontrol.apiserver.k8s.io", "apis__flowcontrol.apiserver.k8s.io_openapi" },
	{ "apis/apps/v1", "apis__apps__v1_openapi" },
};

static void test_small(void **state) {
	auto_arena struct arena outer = { 0 };

	if (!field_path(&outer, "api/openapi-v3")) {
		print_message("shared data is absent: %zu documents skipped\n", ARRAY_LEN(small));
		skip();
	}
	differences = 0;
	for (size_t i = 0; i < ARRAY_LEN(small); i++) {
		auto_arena struct arena a = { 0 };
		const char *path = field_path(&a, arena_printf(&a, "api/openapi-v3/%s.json.gz", small[i][1]).ptr);
		struct value *want, *got = openapi_v3_at(&a, str_c(small[i][0]));

		assert_non_null(path);
		assert_non_null(got);
		want = field_json(&a, field_read(&a, path));
		normal(&a, want);
		normal(&a, got);
		compare(&a, str_c(small[i][0]), want, got);
	}
	assert_int_equal(differences, 0);
	assert_null(openapi_v3_at(&outer, S("apis/nosuch")));
	assert_null(openapi_v3_at(&outer, S("nosuch")));
	assert_null(openapi_v3_at(&outer, S("api/v2")));
	VALUE_EACH(value_get(openapi_v3_index(&outer), N_paths), it) {
		assert_true(str_starts(value_str_at(it, N_serverRelativeURL), S("/openapi/v3/")));
	}
}

int main(void) {
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v3),
		cmocka_unit_test(test_small),
	};
	return cmocka_run_group_tests_name("openapi", tests, NULL, NULL);
}
