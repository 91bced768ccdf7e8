/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value_patch.c - a document and a patch, one JSON array of two: applying never touches the document; the
 * difference that a merge patch makes leads to the same result again.
 */
#include "value/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_null(const struct value *v) {
	VALUE_EACH(v, it) {
		if (has_null(it)) {
			return true;
		}
	}
	return value_is(v, VALUE_NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v, *ret;
	struct json_opts opts = { .depth_max = 200 };

	if (!json_parse(&a, (struct str){ (const char *)data, size }, &opts, &v, &err) || value_len(v) != 2) {
		return 0;
	}
	auto_obj struct obj *before = obj_freeze(value_item(v, 0), 1);
	const struct value *doc = value_item(v, 0), *patch = value_item(v, 1);
	if (json_patch_apply(&a, before->root, patch, &ret, &err)) {
		auto_obj struct obj *after = obj_freeze(ret, 2);
		assert(value_eq(after->root, ret));
	}
	assert(value_eq(before->root, doc));
	ret = merge_patch_apply(&a, before->root, patch);
	assert(value_eq(before->root, doc));
	if (!has_null(ret)) { /* a merge patch cannot set null */
		struct value *diff = merge_patch_diff(&a, doc, ret);
		assert(value_eq(merge_patch_apply(&a, doc, diff), ret));
	}
	return 0;
}
