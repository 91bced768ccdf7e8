/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value_json.c - what json_parse accepts prints as JSON that reads back as the same value, whole, frozen,
 * copied and sorted; borrowing text or not makes no difference.
 */
#include <math.h>

#include "value/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *arg, struct str path) {
	*(size_t *)arg += path.len;
}

/* A whole float prints as digits, which read back as the integer that has just these; minus zero becomes zero. */
static bool exact(const struct value *v) {
	VALUE_EACH(v, it) {
		if (!exact(it)) {
			return false;
		}
	}
	double d = value_is(v, VALUE_FLOAT) ? v->u.number : 1;
	return (d != 0 && fabs(d) < 0x1p53) || fabs(d) >= 0x1p64;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v, *borrowed, *again;
	struct str in = { (const char *)data, size };
	size_t seen = 0;
	struct json_opts opts = { .on_duplicate = ignore, .arg = &seen, .depth_max = 500 };

	bool ok = json_parse(&a, in, &opts, &v, &err);
	assert(ok == (err.code == ERR_NONE));
	opts.borrow = true;
	assert(json_parse(&a, in, &opts, &borrowed, &err) == ok);
	if (!ok) {
		return 0;
	}
	assert(value_eq(v, borrowed));
	struct str text = json_text(&a, v);
	ok = json_parse(&a, text, &opts, &again, &err);
	assert(ok && (!exact(v) || value_eq(v, again)));
	assert(!exact(v) || str_eq(text, json_text(&a, again)));

	auto_obj struct obj *o = obj_freeze(v, 1);
	assert(value_eq(o->root, v) && str_eq(obj_json(o), text));
	struct value *copy = value_copy(&a, o->root);
	value_sort_keys_deep(copy);
	assert(value_eq(copy, v));
	auto_buf struct buf b = BUF_INIT(text.len - 1 + (text.len == 1));
	assert(json_print(&b, v) == (text.len == 1));
	return 0;
}
