/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field.h - finds and reads the published data that tests compare with. It lies beside the checkout, or where
 * CORACLE_SHARED says; where it is absent a test says how many cases it skips.
 */
#ifndef TESTS_SCHEMA_FIELD_H
#define TESTS_SCHEMA_FIELD_H

#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <unistd.h>

#include "schema/schema.h"

/* Path below the shared data, in the arena; checked with access(). NULL when it is not there. */
static inline const char *field_path(struct arena *a, const char *name) {
	const char *roots[] = { getenv("CORACLE_SHARED"), "../shared", "../../shared" };

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		const char *path = roots[i] ? arena_printf(a, "%s/%s", roots[i], name).ptr : NULL;

		if (path && access(path, R_OK) == 0) {
			return path;
		}
	}
	return NULL;
}

/* The bytes of a file; one that ends in .gz is unpacked. */
static inline struct str field_read(struct arena *a, const char *path) {
	auto_buf struct buf b = BUF_INIT(256 << 20);
	bool gz = str_ends(str_c(path), S(".gz"));
	FILE *f = gz ? popen(arena_printf(a, "gzip -dc '%s'", path).ptr, "r") : fopen(path, "r");
	char *room;
	size_t n;

	assert_non_null(f);
	while ((room = buf_reserve(&b, 65536)) && (n = fread(room, 1, 65536, f)) > 0) {
		b.len += n;
	}
	if (gz) {
		pclose(f);
	} else {
		fclose(f);
	}
	return arena_str(a, buf_view(&b));
}

static inline struct value *field_json(struct arena *a, struct str text) {
	struct err err = { 0 };
	struct value *v = NULL;

	if (!json_parse(a, text, &(struct json_opts){ .borrow = true }, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	return v;
}

static inline struct value *field_c(struct arena *a, const char *text) {
	return field_json(a, str_c(text));
}

#endif
