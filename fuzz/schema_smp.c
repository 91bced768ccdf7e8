/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_smp.c - a JSON array of a pod, a strategic merge patch and anything: applying touches neither, an empty patch changes
 * nothing, and what comes out can be typed or is refused with a message. The typed form, defaulted, is canonical.
 */
#include "schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	const struct schema_type *t = schema_type_at(T_core_v1_Pod);
	struct json_opts opts = { .depth_max = 200, .allow_duplicates = true };
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *v = NULL, *out = NULL, *typed = NULL, *again = NULL;

	if (!json_parse(&a, (struct str){ (const char *)data, size }, &opts, &v, &err) || value_len(v) < 2) {
		return 0;
	}
	const struct value *original = value_item(v, 0), *patch = value_item(v, 1);
	struct str before = json_text(&a, v);
	bool ok = smp_apply(&a, t, original, patch, &out, &err);

	assert(ok || err.msg[0]);
	assert(str_eq(before, json_text(&a, v)));
	if (value_is(original, VALUE_OBJECT)) {
		bool same = smp_apply(&a, t, original, value_new_object(&a), &again, &err);

		assert(same && value_eq(original, again));
	}
	if (ok && schema_decode(&a, t, out, NULL, &typed, &err)) {
		schema_default(&a, t, typed);
		bool fine = schema_decode(&a, t, typed, NULL, &again, &err);

		assert(fine && str_eq(json_text(&a, typed), json_text(&a, again)));
	}
	return 0;
}
