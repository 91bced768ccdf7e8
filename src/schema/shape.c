/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.c - small walkers: the status apart from the rest, metadata apart from the object. Called by the
 * API server's strategies. Any thread.
 */
#include "schema/schema.h"
#include "schema/walk.h"

static bool has_status(const struct schema_resource *r) {
	return r && schema_sub_find(r, S("status"));
}

/* Empties an object down to what must be printed; needs no memory. */
static void zero_in_place(const struct schema_type *t, struct value *object) {
	for (size_t i = value_len(object); i-- > 0;) {
		struct value *m = value_item(object, i);
		const struct schema_field *f = schema_field_find(t, m->name);
		uint16_t name = m->name;

		if (!f || !(f->flags & SCHEMA_KEEP)) {
			value_remove_at(object, i);
		} else if (f->kind == SCHEMA_STRUCT && f->shape == SCHEMA_ONE && !(f->flags & SCHEMA_PTR) && m->type == VALUE_OBJECT) {
			zero_in_place(schema_field_type(t, f), m);
		} else {
			struct arena none = { 0 };

			*m = f->kind == SCHEMA_STRUCT && f->shape == SCHEMA_ONE ? (struct value){ .type = VALUE_NULL } : walk_zero(&none, t, f);
			m->name = name;
			arena_release(&none);
		}
	}
}

void schema_drop_status(const struct schema_resource *r, struct value *object) {
	const struct schema_type *t = r ? schema_resource_type(r) : NULL;
	const struct schema_field *f = t ? schema_field_find(t, N_status) : NULL;
	struct value *status = value_get(object, N_status);

	if (!has_status(r) || !status) {
		return;
	}
	if (f && f->flags & SCHEMA_KEEP && status->type == VALUE_OBJECT) {
		zero_in_place(schema_field_type(t, f), status);
	} else {
		value_remove(object, N_status);
	}
}

void schema_keep_status(struct arena *a, const struct schema_resource *r, struct value *object, const struct value *from) {
	const struct value *status = value_get(from, N_status);

	if (!has_status(r)) {
		return;
	}
	if (status) {
		value_set(a, object, N_status, value_copy(a, status));
	} else {
		schema_drop_status(r, object);
	}
}

void schema_only_status(struct arena *a, const struct schema_resource *r, struct value *object, const struct value *from) {
	(void)r;
	for (size_t i = 0; i < value_len(from); i++) {
		const struct value *m = value_item(from, i);

		if (m->name != N_status && m->name != N_metadata && m->name != N_kind && m->name != N_apiVersion) {
			value_set_key(a, object, value_key(from, i), value_copy(a, m));
		}
	}
	for (size_t i = value_len(object); i-- > 0;) {
		const struct value *m = value_item(object, i);

		if (m->name != N_status && m->name != N_metadata && m->name != N_kind && m->name != N_apiVersion &&
			!value_get_str(from, value_key(object, i))) {
			value_remove_at(object, i);
		}
	}
}

struct value *schema_meta_only(struct arena *a, const struct value *object) {
	struct value *ret = value_new_object(a);
	const struct value *meta = value_get(object, N_metadata);

	value_set_str(a, ret, N_kind, S("PartialObjectMetadata"));
	value_set_str(a, ret, N_apiVersion, S("meta.k8s.io/v1"));
	value_set(a, ret, N_metadata, meta ? meta : value_new_object(a));
	return ret;
}
