/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_protobuf.c - any bytes as a message: with the envelope when they begin with its magic, else the first two bytes choose
 * a type and the rest is a bare message. What decodes is canonical, and encodes to bytes that decode to the same.
 */
#include "schema/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf once = { 0 }, twice = { 0 };
	const struct schema_type *t = NULL;
	struct str in = { (const char *)data, size };
	struct value *v = NULL, *again = NULL;
	struct err err = { 0 };
	bool ok;

	if (pb_is_object(in)) {
		ok = pb_decode_object(&a, in, NULL, &t, &v, &err);
	} else {
		if (size < 2) {
			return 0;
		}
		t = &schema_builtin.types[(data[0] << 8 | data[1]) % schema_builtin.types_len];
		ok = t->form == SCHEMA_FORM_STRUCT && !(t->flags & SCHEMA_TYPE_NO_PROTO) && pb_decode(&a, t, str_from(in, 2), &v, &err);
	}
	if (!ok) {
		return 0;
	}
	struct str text = json_text(&a, v);
	bool damaged = str_contains(text, S("\\ufffd")); /* text that is no UTF-8 comes out of raw JSON repaired */
	bool encoded = pb_encode(&once, t, v);
	assert(encoded);
	ok = pb_decode(&a, t, buf_view(&once), &again, &err);
	assert(ok);
	encoded = pb_encode(&twice, t, again);
	assert(encoded && (damaged || str_eq(buf_view(&once), buf_view(&twice))));
	if (!pb_is_object(in)) { /* an envelope gives kind and apiVersion besides */
		assert(damaged || str_eq(text, json_text(&a, again)));
	}
	ok = schema_decode(&a, t, again, NULL, &v, &err);
	assert(ok && str_eq(json_text(&a, again), json_text(&a, v)));
	return 0;
}
