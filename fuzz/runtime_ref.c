/* SPDX-License-Identifier: Apache-2.0 */
/* runtime_ref.c - a reference that parses prints whole, and what is printed parses to the same; its short form means the same. */
#include "runtime/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct arena *a, struct str text, struct str whole) {
	struct image_ref again;
	struct err err = { 0 };
	bool ok = image_ref_parse(a, text, &again, &err);
	assert(ok && str_eq(image_ref_text(a, &again), whole));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	struct image_ref ref;
	struct err err = { 0 };

	if (!image_ref_parse(&a, (struct str){ (const char *)data, size }, &ref, &err)) {
		assert(err.code == ERR_INVALID && err.msg[0]);
		return 0;
	}
	struct str whole = image_ref_text(&a, &ref);
	assert(ref.registry.len && ref.repository.len && (ref.tag.len || ref.digest.len));
	same(&a, whole, whole);
	same(&a, image_ref_short(&a, &ref), whole);
	return 0;
}
