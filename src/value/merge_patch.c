/* SPDX-License-Identifier: Apache-2.0 */
/* merge_patch.c - RFC 7386: applies a merge patch, and finds the one between two values. */
#include "value/value.h"

#include "value/shape.h"

static struct value *member_like(const struct value *object, const struct value *other, size_t n) {
	uint16_t name = other->u.items[n].name;
	return name ? value_get(object, name) : value_get_str(object, value_text_key(other, n));
}

static struct value *set_like(struct arena *a, struct value *object, const struct value *other, size_t n, const struct value *v) {
	uint16_t name = other->u.items[n].name;
	return name ? value_set(a, object, name, v) : value_set_key(a, object, value_text_key(other, n), v);
}

/* `doc` is ours to edit, or NULL; what comes back stands on its own. */
static struct value *merge(struct arena *a, struct value *doc, const struct value *patch) {
	if (!value_is(patch, VALUE_OBJECT)) {
		return value_copy(a, patch);
	}
	if (!value_is(doc, VALUE_OBJECT)) {
		doc = value_new_object(a);
	}
	for (size_t i = 0; i < patch->len; i++) {
		struct value *old = member_like(doc, patch, i);
		const struct value *change = &patch->u.items[i];
		if (change->type != VALUE_NULL) {
			set_like(a, doc, patch, i, merge(a, old, change));
		} else if (old) {
			value_remove_at(doc, (size_t)(old - doc->u.items));
		}
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
	for (size_t i = 0; i < from->len; i++) {
		if (!member_like(to, from, i)) {
			set_like(a, patch, from, i, NULL);
		}
	}
	for (size_t i = 0; i < to->len; i++) {
		const struct value *old = member_like(from, to, i), *new = &to->u.items[i];
		if (!value_eq(old, new)) {
			set_like(a, patch, to, i, old ? merge_patch_diff(a, old, new) : value_copy(a, new));
		}
	}
	return patch;
}
