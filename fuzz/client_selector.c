/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_selector.c - label and field selectors out of any text. What parses is printed as a text that parses to the
 * same again, and matching it touches nothing it should not.
 */
#include "client/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	struct str text = { (const char *)data, size };
	const struct selector *first = NULL, *second = NULL;
	struct field_selector fields = { 0 };
	struct value *labels = value_new_object(&a);
	struct err err = { 0 };

	if (size > 64 * 1024) {
		return 0;
	}
	value_set_key_str(&a, labels, S("app"), S("web"));
	value_set_key_str(&a, labels, S("n"), S("5"));
	if (selector_parse(&a, text, &first, &err)) {
		struct str printed = selector_text(&a, first);
		bool again = selector_parse(&a, printed, &second, &err);
		assert(again);
		assert(str_eq(printed, selector_text(&a, second)));
		assert(selector_matches(first, labels) == selector_matches(second, labels));
		assert(selector_matches(first, NULL) == selector_matches(second, NULL));
	}
	err_clear(&err);
	if (field_selector_parse(&a, text, &fields, &err)) {
		for (size_t i = 0; i < fields.len; i++) {
			assert(fields.at[i].path.len + fields.at[i].value.len < size + 1);
		}
	}
	return 0;
}
