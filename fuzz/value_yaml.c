/* SPDX-License-Identifier: Apache-2.0 */
/* value_yaml.c - what yaml_parse accepts prints as YAML that reads back as the same value. */
#include <math.h>

#include "value/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keys of more than 128 characters and some floats do not survive libyaml's emitter and JSON's way alike. */
static bool plain(const struct value *v) {
	for (size_t i = 0; value_is(v, VALUE_OBJECT) && i < v->len; i++) {
		if (value_key(v, i).len > 100) {
			return false;
		}
	}
	VALUE_EACH(v, it) {
		if (!plain(it)) {
			return false;
		}
	}
	return !value_is(v, VALUE_FLOAT) || fabs(v->u.number) < 0x1p53;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	struct value *v, *again;

	if (!yaml_parse(&a, (struct str){ (const char *)data, size }, NULL, &v, &err)) {
		assert(err.code == ERR_BAD_REQUEST);
		return 0;
	}
	if (a.bytes > 1 << 22 || !plain(v)) {
		return 0;
	}
	assert(yaml_print(&b, v));
	bool ok = yaml_parse(&a, buf_view(&b), NULL, &again, &err);
	assert(ok && value_eq(v, again));
	return 0;
}
