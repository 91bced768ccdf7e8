/* SPDX-License-Identifier: Apache-2.0 */
/* merge_patch.c - RFC 7386: applies a merge patch, and finds the one between two values. */
#include "value/value.h"

#include "value/shape.h"

/* `doc` is ours to edit, or NULL; what comes back stands on its own. */
static struct value *merge(struct arena *a, struct value *doc, const struct value *patch) {
	struct value_index index = { 0 };
	if (!value_is(patch, VALUE_OBJECT)) {
		return value_copy(a, patch);
	}
	if (!value_is(doc, VALUE_OBJECT)) {
		doc = value_new_object(a);
	}
	bool dead = false;
	for (size_t i = 0; i < patch->len; i++) {
		struct str key = value_key(patch, i);
		const struct value *change = value_item(patch, i);
		struct value *old = value_index_get(&index, doc, key);
		if (change->type != VALUE_NULL) {
			const struct value *v = merge(a, old, change);
			if (!old) {
				value_add_key(a, doc, key, v);
			} else if (v != old) {
				uint16_t name = old->name;
				*old = *v;
				old->name = name;
			}
		} else if (old) {
			old->type = SHAPE_DEAD;
			dead = true;
		}
	}
	value_index_release(&index);
	if (dead) {
		value_drop_dead(doc);
	}
	return doc;
}

struct value *merge_patch_apply(struct arena *a, const struct value *doc, const struct value *patch) {
	if (!patch) {
		return value_copy(a, doc);
	}
	/* What the patch does not touch is copied too: the result is free to be edited. */
	return merge(a, value_is(patch, VALUE_OBJECT) ? value_copy(a, doc) : NULL, patch);
}

struct value *merge_patch_diff(struct arena *a, const struct value *from, const struct value *to) {
	if (!value_is(from, VALUE_OBJECT) || !value_is(to, VALUE_OBJECT)) {
		return value_copy(a, to);
	}
	struct value *patch = value_new_object(a);
	struct value_index in_from = { 0 }, in_to = { 0 };
	for (size_t i = 0; i < from->len; i++) {
		if (!value_index_get(&in_to, to, value_key(from, i))) {
			value_add_key(a, patch, value_key(from, i), NULL);
		}
	}
	for (size_t i = 0; i < to->len; i++) {
		const struct value *new = value_item(to, i), *old = value_index_get(&in_from, from, value_key(to, i));
		if (!value_eq(old, new)) {
			value_add_key(a, patch, value_key(to, i), old ? merge_patch_diff(a, old, new) : value_copy(a, new));
		}
	}
	value_index_release(&in_from);
	value_index_release(&in_to);
	return patch;
}
