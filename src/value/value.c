/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.c - the tree itself: reading, building, comparing, copying. See value.h for what a value is and
 * shape.h for how its memory looks.
 *
 * Reading is for any thread. Building is for the owner of the arena; a container grows by doubling, and
 * what it outgrew stays in the arena. Deep walks recurse: the parsers limit depth to 10,000.
 */
#include "value/value.h"

#include <math.h>

#include "value/number.h"
#include "value/shape.h"

/* ---- reading ---------------------------------------------------------------------------------- */

bool value_is_empty(const struct value *v) {
	if (!v) {
		return true;
	}
	switch ((enum value_type)v->type) {
	case VALUE_NULL:
		return true;
	case VALUE_BOOL:
		return !v->u.boolean;
	case VALUE_INT:
		return v->u.integer == 0;
	case VALUE_FLOAT:
		return v->u.number == 0;
	case VALUE_STRING:
	case VALUE_ARRAY:
	case VALUE_OBJECT:
		return v->len == 0;
	}
	return true;
}

struct str value_key(const struct value *object, size_t n) {
	if (!value_is(object, VALUE_OBJECT) || n >= object->len) {
		return (struct str){ 0 };
	}
	uint16_t name = object->u.items[n].name;
	return name ? name_text(name) : value_text_key(object, n);
}

static struct value *find_text(const struct value *object, struct str key) {
	if (!(object->shape & (SHAPE_KEYS | SHAPE_OFFSETS))) {
		return NULL;
	}
	for (size_t i = 0; i < object->len; i++) {
		if (!object->u.items[i].name && str_eq(value_text_key(object, i), key)) {
			return &object->u.items[i];
		}
	}
	return NULL;
}

struct value *value_get_str(const struct value *v, struct str key) {
	if (!value_is(v, VALUE_OBJECT)) {
		return NULL;
	}
	uint16_t name = name_find(key);
	return name ? value_get(v, name) : find_text(v, key);
}

struct value *value_at_n(const struct value *v, const uint16_t *names, size_t n) {
	for (size_t i = 0; i < n && v; i++) {
		v = value_get(v, names[i]);
	}
	return (struct value *)v;
}

struct str value_as_str(const struct value *v) {
	return value_is(v, VALUE_STRING) ? (struct str){ v->u.text, v->len } : S("");
}

int64_t value_as_int(const struct value *v) {
	return value_as_int_or(v, 0);
}

int64_t value_as_int_or(const struct value *v, int64_t absent) {
	if (value_is(v, VALUE_INT)) {
		return v->u.integer;
	}
	if (value_is(v, VALUE_FLOAT) && v->u.number >= -0x1p63 && v->u.number < 0x1p63 &&
		v->u.number == trunc(v->u.number)) {
		return (int64_t)v->u.number;
	}
	return !v || v->type == VALUE_NULL ? absent : 0;
}

double value_as_double(const struct value *v) {
	return value_is(v, VALUE_INT) ? (double)v->u.integer : value_is(v, VALUE_FLOAT) ? v->u.number : 0;
}

bool value_as_bool(const struct value *v) {
	return value_is(v, VALUE_BOOL) && v->u.boolean;
}

struct str value_as_text(struct arena *a, const struct value *v) {
	char text[NUMBER_TEXT_MAX];
	if (value_is(v, VALUE_BOOL)) {
		return v->u.boolean ? S("true") : S("false");
	}
	if (value_is(v, VALUE_INT)) {
		return arena_printf(a, "%lld", (long long)v->u.integer);
	}
	if (value_is(v, VALUE_FLOAT)) {
		return isfinite(v->u.number) ? arena_str(a, (struct str){ text, number_json(v->u.number, text) }) : S("");
	}
	return value_as_str(v);
}

struct value *value_find_by(const struct value *array, unsigned key, struct str text) {
	if (value_is(array, VALUE_ARRAY)) {
		VALUE_EACH(array, it) {
			const struct value *member = value_get(it, key);
			if (value_is(member, VALUE_STRING) && str_eq(value_as_str(member), text)) {
				return it;
			}
		}
	}
	return NULL;
}

/* ---- comparing -------------------------------------------------------------------------------- */

struct member {
	struct str key;
	const struct value *value;
	size_t at;
};

static int member_cmp(const void *a, const void *b) {
	return str_cmp(((const struct member *)a)->key, ((const struct member *)b)->key);
}

/* The members in the order of their keys; free() it. */
static struct member *members_sorted(const struct value *object) {
	struct member *m = xcalloc(object->len, sizeof(*m));
	for (size_t i = 0; i < object->len; i++) {
		m[i] = (struct member){ value_key(object, i), &object->u.items[i], i };
	}
	if (object->len) {
		qsort(m, object->len, sizeof(*m), member_cmp);
	}
	return m;
}

static bool same_key(const struct value *a, const struct value *b, size_t n) {
	uint16_t name = a->u.items[n].name;
	return name == b->u.items[n].name && (name || str_eq(value_text_key(a, n), value_text_key(b, n)));
}

static bool objects_eq(const struct value *a, const struct value *b) {
	size_t i = 0;
	while (i < a->len && same_key(a, b, i)) { /* most often the order is the same */
		if (!value_eq(&a->u.items[i], &b->u.items[i])) {
			return false;
		}
		i++;
	}
	if (i == a->len) {
		return true;
	}
	auto_free struct member *ma = members_sorted(a), *mb = members_sorted(b);
	for (i = 0; i < a->len; i++) {
		if (!str_eq(ma[i].key, mb[i].key) || !value_eq(ma[i].value, mb[i].value)) {
			return false;
		}
	}
	return true;
}

static bool numbers_eq(const struct value *a, const struct value *b) {
	if (a->type == b->type) {
		return a->type == VALUE_INT ? a->u.integer == b->u.integer : a->u.number == b->u.number;
	}
	double d = a->type == VALUE_FLOAT ? a->u.number : b->u.number;
	int64_t i = a->type == VALUE_INT ? a->u.integer : b->u.integer;
	return d >= -0x1p63 && d < 0x1p63 && d == trunc(d) && (int64_t)d == i;
}

bool value_eq(const struct value *a, const struct value *b) {
	if (!a || !b) {
		return a == b;
	}
	if ((a->type == VALUE_INT || a->type == VALUE_FLOAT) && (b->type == VALUE_INT || b->type == VALUE_FLOAT)) {
		return numbers_eq(a, b);
	}
	if (a->type != b->type) {
		return false;
	}
	switch ((enum value_type)a->type) {
	case VALUE_NULL:
	case VALUE_INT:
	case VALUE_FLOAT:
		return true;
	case VALUE_BOOL:
		return a->u.boolean == b->u.boolean;
	case VALUE_STRING:
		return str_eq(value_as_str(a), value_as_str(b));
	case VALUE_ARRAY:
		if (a->len != b->len) {
			return false;
		}
		for (size_t i = 0; a->u.items != b->u.items && i < a->len; i++) {
			if (!value_eq(&a->u.items[i], &b->u.items[i])) {
				return false;
			}
		}
		return true;
	case VALUE_OBJECT:
		return a->len == b->len && (a->u.items == b->u.items || objects_eq(a, b));
	}
	return false;
}

/* ---- building --------------------------------------------------------------------------------- */

static struct value *new_value(struct arena *a, struct value v) {
	struct value *p = arena_alloc(a, sizeof(*p));
	*p = v;
	return p;
}

static struct value string_value(struct arena *a, struct str s) {
	assert(s.len <= UINT32_MAX);
	return (struct value){ .type = VALUE_STRING, .len = (uint32_t)s.len, .u.text = arena_str(a, s).ptr };
}

struct value *value_new_object(struct arena *a) {
	return new_value(a, (struct value){ .type = VALUE_OBJECT });
}

struct value *value_new_array(struct arena *a) {
	return new_value(a, (struct value){ .type = VALUE_ARRAY });
}

struct value *value_new_str(struct arena *a, struct str s) {
	return new_value(a, string_value(a, s));
}

struct value *value_new_int(struct arena *a, int64_t i) {
	return new_value(a, (struct value){ .type = VALUE_INT, .u.integer = i });
}

struct value *value_new_double(struct arena *a, double d) {
	return new_value(a, (struct value){ .type = VALUE_FLOAT, .u.number = d });
}

struct value *value_new_bool(struct arena *a, bool b) {
	return new_value(a, (struct value){ .type = VALUE_BOOL, .u.boolean = b });
}

struct value *value_new_null(struct arena *a) {
	return new_value(a, (struct value){ .type = VALUE_NULL });
}

/* Gives *to (a copy of the node *from) its own items, exactly as many, and its own table of keys. */
static void own_items(struct arena *a, struct value *to, const struct value *from, bool copy_keys) {
	bool keys = from->shape & (SHAPE_KEYS | SHAPE_OFFSETS);
	size_t n = from->len;
	to->shape = keys ? SHAPE_KEYS : 0;
	if (!n) {
		to->shape = 0;
		to->u.items = NULL;
		return;
	}
	to->u.items = arena_alloc(a, n * sizeof(struct value) + (keys ? n * sizeof(struct str) : 0));
	memcpy(to->u.items, from->u.items, n * sizeof(struct value));
	for (size_t i = 0; keys && i < n; i++) {
		struct str key = { 0 };
		if (!from->u.items[i].name) {
			key = value_text_key(from, i);
			key = copy_keys ? arena_str(a, key) : key;
		}
		value_keys(to)[i] = key;
	}
}

static void copy_below(struct arena *a, struct value *to, const struct value *from) {
	if (from->type == VALUE_STRING) {
		to->u.text = arena_str(a, value_as_str(from)).ptr;
	} else if (from->type >= VALUE_ARRAY) {
		own_items(a, to, from, true);
		for (size_t i = 0; i < from->len; i++) {
			copy_below(a, &to->u.items[i], &from->u.items[i]);
		}
	}
}

struct value *value_copy(struct arena *a, const struct value *v) {
	if (!v) {
		return NULL;
	}
	struct value *copy = new_value(a, *v);
	copy->name = N_NONE;
	copy_below(a, copy, v);
	return copy;
}

struct value *value_copy_shallow(struct arena *a, const struct value *v) {
	if (!v) {
		return NULL;
	}
	struct value *copy = new_value(a, *v);
	copy->name = N_NONE;
	if (v->type >= VALUE_ARRAY) {
		own_items(a, copy, v, false);
	}
	return copy;
}

/* Makes room for one more member, and for a table of keys when one is needed. */
static void grow(struct arena *a, struct value *v, bool text_key) {
	size_t cap = value_cap(v);
	bool had_keys = v->shape & SHAPE_KEYS, keys = had_keys || text_key;
	unsigned log2 = 1; /* the smallest room: two members */
	assert(!(v->shape & SHAPE_FROZEN) && v->len < UINT32_MAX / 2);
	if (v->len < cap && keys == had_keys) {
		return;
	}
	while (((size_t)1 << log2) <= v->len) {
		log2++;
	}
	size_t room = (size_t)1 << log2;
	struct value *items = arena_alloc(a, room * sizeof(*items) + (keys ? room * sizeof(struct str) : 0));
	if (v->len) {
		memcpy(items, v->u.items, v->len * sizeof(*items));
	}
	if (had_keys) {
		memcpy(items + room, value_keys(v), v->len * sizeof(struct str));
	} else if (keys) {
		memset(items + room, 0, v->len * sizeof(struct str));
	}
	v->u.items = items;
	v->shape = (uint8_t)(log2 | (keys ? SHAPE_KEYS : 0));
}

/* Puts the node in its place under its name: what is copied is the node, not what is below it. */
static struct value *put(struct value *place, unsigned name, const struct value *v) {
	struct value node = v ? *v : (struct value){ .type = VALUE_NULL };
	node.name = (uint16_t)name;
	*place = node;
	return place;
}

struct value *value_set(struct arena *a, struct value *object, unsigned name, const struct value *v) {
	assert(value_is(object, VALUE_OBJECT) && name != N_NONE && !(object->shape & SHAPE_FROZEN));
	struct value *old = value_get(object, name);
	if (old) {
		return put(old, name, v);
	}
	struct value node = v ? *v : (struct value){ .type = VALUE_NULL }; /* v may be a member that moves */
	grow(a, object, false);
	return put(&object->u.items[object->len++], name, &node);
}

struct value *value_add_key(struct arena *a, struct value *object, struct str key, const struct value *v) {
	struct value node = v ? *v : (struct value){ .type = VALUE_NULL };
	uint16_t name = name_find(key);
	struct str own = name ? (struct str){ 0 } : arena_str(a, key);
	grow(a, object, !name);
	if (object->shape & SHAPE_KEYS) {
		value_keys(object)[object->len] = own;
	}
	return put(&object->u.items[object->len++], name, &node);
}

struct value *value_set_key(struct arena *a, struct value *object, struct str key, const struct value *v) {
	assert(value_is(object, VALUE_OBJECT) && !(object->shape & SHAPE_FROZEN));
	struct value *old = value_get_str(object, key);
	return old ? put(old, old->name, v) : value_add_key(a, object, key, v);
}

struct value *value_set_str(struct arena *a, struct value *object, unsigned name, struct str s) {
	struct value v = string_value(a, s);
	return value_set(a, object, name, &v);
}

struct value *value_set_int(struct arena *a, struct value *object, unsigned name, int64_t i) {
	return value_set(a, object, name, &(struct value){ .type = VALUE_INT, .u.integer = i });
}

struct value *value_set_bool(struct arena *a, struct value *object, unsigned name, bool b) {
	return value_set(a, object, name, &(struct value){ .type = VALUE_BOOL, .u.boolean = b });
}

struct value *value_set_key_str(struct arena *a, struct value *object, struct str key, struct str s) {
	struct value v = string_value(a, s);
	return value_set_key(a, object, key, &v);
}

static struct value *ensure(struct arena *a, struct value *object, unsigned name, enum value_type type) {
	assert(!(object->shape & SHAPE_FROZEN));
	struct value *v = value_get(object, name);
	return value_is(v, type) ? v : value_set(a, object, name, &(struct value){ .type = (uint8_t)type });
}

struct value *value_ensure_object(struct arena *a, struct value *object, unsigned name) {
	return ensure(a, object, name, VALUE_OBJECT);
}

struct value *value_ensure_array(struct arena *a, struct value *object, unsigned name) {
	return ensure(a, object, name, VALUE_ARRAY);
}

void value_remove_at(struct value *container, size_t n) {
	assert(value_len(container) > n && !(container->shape & SHAPE_FROZEN));
	size_t behind = container->len - n - 1;
	struct value *items = container->u.items;
	bool exact = !(container->shape & SHAPE_CAP_LOG2);
	struct str *keys = container->shape & SHAPE_KEYS ? value_keys(container) : NULL;
	memmove(items + n, items + n + 1, behind * sizeof(*items));
	if (keys) {
		memmove(keys + n, keys + n + 1, behind * sizeof(*keys));
	}
	if (keys && exact) { /* the room shrinks with len, and the table follows it */
		memmove(items + container->len - 1, keys, (container->len - 1) * sizeof(*keys));
	}
	container->len--;
}

void value_drop_dead(struct value *container) {
	assert(!(container->shape & SHAPE_FROZEN));
	struct value *items = container->u.items;
	struct str *keys = container->shape & SHAPE_KEYS ? value_keys(container) : NULL;
	bool exact = !(container->shape & SHAPE_CAP_LOG2);
	uint32_t to = 0;
	for (uint32_t at = 0; at < container->len; at++) {
		if (items[at].type == SHAPE_DEAD) {
			continue;
		}
		items[to] = items[at];
		if (keys) {
			keys[to] = keys[at];
		}
		to++;
	}
	container->len = to;
	if (keys && exact) { /* the table follows the room */
		memmove(items + to, keys, to * sizeof(*keys));
	}
}

bool value_remove(struct value *object, unsigned name) {
	struct value *v = value_get(object, name);
	if (!v) {
		return false;
	}
	value_remove_at(object, (size_t)(v - object->u.items));
	return true;
}

bool value_remove_key(struct value *object, struct str key) {
	struct value *v = value_get_str(object, key);
	if (!v) {
		return false;
	}
	value_remove_at(object, (size_t)(v - object->u.items));
	return true;
}

struct value *value_push(struct arena *a, struct value *array, const struct value *v) {
	return value_insert(a, array, value_len(array), v);
}

struct value *value_push_str(struct arena *a, struct value *array, struct str s) {
	struct value v = string_value(a, s);
	return value_push(a, array, &v);
}

struct value *value_insert(struct arena *a, struct value *array, size_t n, const struct value *v) {
	assert(value_is(array, VALUE_ARRAY) && n <= array->len);
	struct value node = v ? *v : (struct value){ .type = VALUE_NULL };
	grow(a, array, false);
	memmove(array->u.items + n + 1, array->u.items + n, (array->len - n) * sizeof(node));
	array->len++;
	return put(&array->u.items[n], N_NONE, &node);
}

void value_fill(struct arena *a, struct value *object, const struct value *nodes, const struct str *keys, size_t n) {
	bool text = false;
	assert(value_is(object, VALUE_OBJECT) && object->len == 0 && n < UINT32_MAX / 2);
	for (size_t i = 0; i < n && !text; i++) {
		text = nodes[i].name == N_NONE;
	}
	object->len = (uint32_t)n;
	object->shape = text ? SHAPE_KEYS : 0;
	object->u.items = n ? arena_alloc(a, n * sizeof(*nodes) + (text ? n * sizeof(*keys) : 0)) : NULL;
	if (n) {
		memcpy(object->u.items, nodes, n * sizeof(*nodes));
	}
	if (text) {
		memcpy(value_keys(object), keys, n * sizeof(*keys));
	}
}

#define INDEX_FROM 24 /* members up to which walking is faster */

struct value *value_index_get(struct value_index *x, const struct value *object, struct str key) {
	if (value_len(object) <= INDEX_FROM) {
		return value_get_str(object, key);
	}
	uint16_t name = name_find(key);
	if (name) {
		return value_get(object, name); /* there are only so many names */
	}
	if (!(object->shape & (SHAPE_KEYS | SHAPE_OFFSETS))) {
		return NULL;
	}
	for (; x->seen < object->len; x->seen++) {
		if (!object->u.items[x->seen].name) {
			map_set(&x->places, value_text_key(object, x->seen), (void *)(x->seen + 1));
		}
	}
	size_t place = (size_t)map_get(&x->places, key);
	return place ? &object->u.items[place - 1] : NULL;
}

void value_index_release(struct value_index *x) {
	map_release(&x->places);
	x->seen = 0;
}

void value_sort_keys(struct value *object) {
	size_t sorted = 1;
	if (!value_is(object, VALUE_OBJECT) || object->len < 2) {
		return;
	}
	while (sorted < object->len && str_cmp(value_key(object, sorted - 1), value_key(object, sorted)) < 0) {
		sorted++;
	}
	if (sorted == object->len) {
		return;
	}
	assert(!(object->shape & SHAPE_FROZEN));
	auto_free struct member *m = members_sorted(object);
	auto_free struct value *items = xcalloc(object->len, sizeof(*items));
	memcpy(items, object->u.items, object->len * sizeof(*items));
	for (size_t i = 0; i < object->len; i++) {
		object->u.items[i] = items[m[i].at];
		if (object->shape & SHAPE_KEYS) {
			value_keys(object)[i] = m[i].key; /* a known name's slot holds its static text, unused */
		}
	}
}

void value_sort_keys_deep(struct value *v) {
	value_sort_keys(v);
	VALUE_EACH(v, it) {
		value_sort_keys_deep(it);
	}
}
