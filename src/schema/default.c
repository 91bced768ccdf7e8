/* SPDX-License-Identifier: Apache-2.0 */
/*
 * default.c - fills in defaults: those declared in the tables, and those of the hooks in defaults_<group>.c.
 *
 * Called by the API server after each decode of an object. Walks the whole object by its tables, outer objects first, as the
 * reference does. Which types have defaults below them is found out once, at first use. Any thread.
 */
#include "schema/default.h"

#include <pthread.h>

static const struct default_hook *const groups[] = {
	defaults_core,
	defaults_apps,
	defaults_batch,
	defaults_autoscaling,
	defaults_networking,
	defaults_storage,
	defaults_rbac,
	defaults_admissionregistration,
	defaults_apiextensions,
	defaults_flowcontrol,
	defaults_resource,
};

/* By type: its hook, and whether anything at or below it has a default. Written once under `once`. */
static struct {
	pthread_once_t once;
	void (**hooks)(struct arena *a, struct value *object);
	bool *reaches;
} known = { .once = PTHREAD_ONCE_INIT };

static bool has_declared(const struct schema_type *t, const struct schema_field *f) {
	return schema_field_extra(t, f)->default_json != 0;
}

static bool is_amounts(const struct schema_field *f) { /* a resource list: values are rounded up to milli */
	return f->kind == SCHEMA_QUANTITY && f->shape == SCHEMA_MAP;
}

static void learn(void) {
	size_t n = schema_builtin.types_len;
	bool more = true;

	known.hooks = xcalloc(n, sizeof(*known.hooks));
	known.reaches = xcalloc(n, sizeof(*known.reaches));
	for (size_t g = 0; g < ARRAY_LEN(groups); g++) {
		for (const struct default_hook *h = groups[g]; h->fn; h++) {
			known.hooks[h->type] = h->fn;
			known.reaches[h->type] = true;
		}
	}
	while (more) { /* until nothing new is reached */
		more = false;
		for (size_t i = 0; i < n; i++) {
			const struct schema_type *t = &schema_builtin.types[i];

			for (size_t k = 0; k < t->fields_len && !known.reaches[i]; k++) {
				const struct schema_field *f = &schema_fields(t)[k];
				const struct schema_type *below = f->kind == SCHEMA_STRUCT ? schema_field_type(t, f) : NULL;

				if (has_declared(t, f) || is_amounts(f) || (below && known.reaches[below - schema_builtin.types])) {
					known.reaches[i] = more = true;
				}
			}
		}
	}
}

/* ---- keeping objects canonical ----------------------------------------------------------------------------- */
static size_t rank(const struct schema_type *t, const struct value *member) {
	const struct schema_field *f = schema_field_find(t, member->name);

	if (f) {
		return 2 + (size_t)(f - schema_fields(t));
	}
	return member->name == N_kind ? 0 : member->name == N_apiVersion ? 1 : 1000;
}

/* Members into declared order; what hooks added stands behind. Few are out of place, so each is moved by swaps. */
static void reorder(const struct schema_type *t, struct value *o) {
	for (size_t i = 1; i < o->len; i++) {
		struct value moved = *value_item(o, i);
		size_t mine = rank(t, &moved), k = i;

		if (mine == 1000) { /* not of the table: stays at the end */
			continue;
		}
		while (k > 0 && rank(t, value_item(o, k - 1)) > mine) {
			*value_item(o, k) = *value_item(o, k - 1);
			k--;
		}
		*value_item(o, k) = moved;
	}
}

static void round_amounts(struct arena *a, struct value *amounts) {
	for (size_t i = 0; i < value_len(amounts); i++) {
		struct value *v = value_item(amounts, i);
		struct str text = value_as_str(v);

		if (text.len && (text.ptr[text.len - 1] == 'n' || text.ptr[text.len - 1] == 'u')) {
			struct quantity q = quantity_from(v);
			struct str rounded = quantity_text(a, quantity_of_milli(quantity_milli(q), q.format));

			v->u.text = rounded.ptr;
			v->len = (uint32_t)rounded.len;
		}
	}
}

/* ---- the walk ------------------------------------------------------------------------------------------------- */
static void walk(struct arena *a, const struct schema_type *t, struct value *o);

static void declared(struct arena *a, const struct schema_type *t, struct value *o) {
	for (size_t i = 0; i < t->fields_len; i++) {
		const struct schema_field *f = &schema_fields(t)[i];
		struct err err = { 0 };
		struct value *v = NULL;
		struct str json;

		if (!has_declared(t, f)) {
			continue;
		}
		v = value_get(o, f->name);
		if (f->flags & SCHEMA_PTR ? !default_absent(o, f->name) : !value_is_empty(v)) {
			continue;
		}
		json = schema_text_of(t->set, schema_field_extra(t, f)->default_json);
		if (json_parse(a, json, NULL, &v, &err) && (f->flags & SCHEMA_PTR || !value_is_empty(v))) {
			value_set(a, o, f->name, v);
		}
	}
}

static void walk_items(struct arena *a, const struct schema_type *t, struct value *container) {
	for (size_t i = 0; i < value_len(container); i++) {
		walk(a, t, value_item(container, i));
	}
}

static void walk(struct arena *a, const struct schema_type *t, struct value *o) {
	if (!value_is(o, VALUE_OBJECT) || t->set != &schema_builtin || !known.reaches[t - schema_builtin.types]) {
		return;
	}
	if (known.hooks[t - schema_builtin.types]) {
		known.hooks[t - schema_builtin.types](a, o);
	}
	declared(a, t, o);
	reorder(t, o);
	for (size_t i = 0; i < o->len; i++) {
		struct value *m = value_item(o, i);
		const struct schema_field *f = schema_field_find(t, m->name);

		if (!f) {
			continue;
		}
		if (is_amounts(f)) {
			round_amounts(a, m);
		} else if (f->kind == SCHEMA_STRUCT && f->shape == SCHEMA_ONE) {
			walk(a, schema_field_type(t, f), m);
		} else if (f->kind == SCHEMA_STRUCT) {
			walk_items(a, schema_field_type(t, f), m);
		}
	}
}

void schema_default(struct arena *a, const struct schema_type *t, struct value *object) {
	pthread_once(&known.once, learn);
	walk(a, t, object);
}
