/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help_test.c - that explain has something to say: what can be reached from a served resource has help, in one sentence or more.
 */
#include "field.h"

struct walk {
	bool seen[SCHEMA_NO_TYPE];
	size_t types, fields, faults;
};

/* Help reads as a sentence: of some words, on one line, with a stop. */
static bool reads_well(struct str help) {
	size_t blanks = 0;

	for (size_t i = 0; i < help.len; i++) {
		if ((unsigned char)help.ptr[i] < ' ') {
			return false;
		}
		blanks += help.ptr[i] == ' ';
	}
	return blanks >= 2 && str_ends(help, S("."));
}

static void fault(struct walk *w, const struct schema_type *t, const struct schema_field *f, const char *what) {
	struct str name = schema_type_name(t);

	print_error("%.*s%s%.*s: %s\n", STR_ARG(name), f ? "." : "", STR_ARG(f ? name_text(f->name) : S("")), what);
	w->faults++;
}

static void walk_type(struct walk *w, const struct schema_type *t) {
	size_t helped = 0;

	if (!t || w->seen[t - schema_builtin.types]) {
		return;
	}
	w->seen[t - schema_builtin.types] = true;
	if (t->form != SCHEMA_FORM_STRUCT) { /* shown as the text that it is */
		return;
	}
	w->types++;
	if (!reads_well(schema_text_of(t->set, t->help))) {
		fault(w, t, NULL, "no help, or none that is a sentence");
	}
	for (size_t i = 0; i < t->fields_len; i++) {
		const struct schema_field *f = &schema_fields(t)[i];
		struct str help = schema_text_of(t->set, f->help);

		if (help.len) {
			helped++;
			if (!reads_well(help)) {
				fault(w, t, f, "help is no sentence");
			}
		}
		walk_type(w, schema_field_type(t, f));
	}
	w->fields += t->fields_len;
	if (helped * 100 < t->fields_len * (size_t)95) {
		print_error("%zu of %u fields: ", helped, t->fields_len);
		fault(w, t, NULL, "too few fields have help");
	}
}

static void test_served(void **state) {
	static struct walk w;

	(void)state;
	for (size_t i = 0; i < schema_resources_len; i++) {
		const struct schema_resource *r = &schema_resources[i];

		if (!schema_served(r)) {
			continue;
		}
		walk_type(&w, schema_resource_type(r));
		walk_type(&w, schema_resource_list(r));
		for (size_t j = 0; j < r->subs_len; j++) {
			walk_type(&w, schema_type_at(schema_subs[r->subs_at + j].type));
		}
	}
	assert_true(w.types > 400);
	assert_true(w.fields > 2000);
	assert_int_equal(w.faults, 0);
}

/* What every request may meet besides its own kind. */
static void test_common(void **state) {
	static const enum schema_type_id ids[] = { T_meta_v1_Status, T_meta_v1_DeleteOptions, T_meta_v1_ListOptions, T_meta_v1_CreateOptions, T_meta_v1_UpdateOptions,
		T_meta_v1_PatchOptions, T_meta_v1_Table, T_meta_v1_PartialObjectMetadataList, T_meta_v1_APIResourceList, T_meta_v1_APIGroupList, T_meta_v1_WatchEvent };
	static struct walk w;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		walk_type(&w, schema_type_at(ids[i]));
	}
	assert_int_equal(w.faults, 0);
}

int main(void) {
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_served), cmocka_unit_test(test_common) };

	return cmocka_run_group_tests_name("help", tests, NULL, NULL);
}
