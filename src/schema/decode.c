/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.c - any JSON or YAML tree becomes the canonical value of a type.
 *
 * Called by the API server for every body that is not protobuf, and by whoever wants a hand-made value in
 * canonical form. Reads the raw tree in its own order, so that the first error is the one that the reference
 * finds first, and speaks the words of Go's JSON decoder, which users know. Any thread.
 */
#include "schema/schema.h"
#include "schema/walk.h"

enum { DEPTH_MAX = 1000, PROBLEMS_MAX = 100 };
#define DECODED_BYTES_MAX ((size_t)512 << 20) /* "{}" can stand for many bytes of value */

/* Where we are: a chain of frames on the C stack, for messages only. */
struct frame {
	const struct frame *up;
	const struct schema_type *owner; /* of `field` */
	const struct schema_field *field; /* NULL: an index or a key below the frame above */
	struct str key;
	size_t index;
	bool is_key;
	int depth;
};

struct decoder {
	struct arena *a;
	struct schema_report *report;
	struct err *err;
	struct cells cells;
	size_t bytes_before; /* of the arena */
};

static bool decode_struct(struct decoder *d, const struct frame *up, const struct schema_type *t, const struct value *raw, struct value *out);

/* ---- messages ------------------------------------------------------------------------------------------ */
/* "spec.containers[0].name", or without indexes and keys as Go's type errors have it. */
static void path_print(struct buf *b, const struct frame *f, bool all) {
	if (!f) {
		return;
	}
	path_print(b, f->up, all);
	if (f->field) {
		if (b->len) {
			buf_char(b, '.');
		}
		buf_str(b, name_text(f->field->name));
	} else if (all && f->is_key) {
		if (b->len) {
			buf_char(b, '.');
		}
		buf_str(b, f->key);
	} else if (all) {
		buf_printf(b, "[%zu]", f->index);
	}
}

static const char *kind_word(const struct value *v) {
	switch ((enum value_type)v->type) {
	case VALUE_NULL:
		return "null";
	case VALUE_BOOL:
		return "bool";
	case VALUE_INT:
	case VALUE_FLOAT:
		return "number";
	case VALUE_STRING:
		return "string";
	case VALUE_ARRAY:
		return "array";
	case VALUE_OBJECT:
		return "object";
	}
	return "value";
}

/* json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container */
static bool type_error(struct decoder *d, const struct frame *at, const struct value *raw, struct str type, bool with_number) {
	auto_buf struct buf path = BUF_INIT(4096), what = BUF_INIT(4096);
	const struct frame *f = at;

	buf_c(&what, kind_word(raw));
	if (with_number && (raw->type == VALUE_INT || raw->type == VALUE_FLOAT)) {
		buf_char(&what, ' ');
		json_print(&what, raw);
	}
	while (f && !f->field) {
		f = f->up;
	}
	if (!f) {
		return err_set(d->err, ERR_BAD_REQUEST, "json: cannot unmarshal %.*s into Go value of type %.*s", STR_ARG(buf_view(&what)), STR_ARG(type));
	}
	path_print(&path, at, false);
	return err_set(d->err, ERR_BAD_REQUEST, "json: cannot unmarshal %.*s into Go struct field %.*s.%.*s of type %.*s", STR_ARG(buf_view(&what)),
		STR_ARG(schema_type_short(f->owner)), STR_ARG(buf_view(&path)), STR_ARG(type));
}

/* What an unmarshaller of its own says: without the place. */
static bool value_error(struct decoder *d, const struct value *raw, const char *type) {
	return err_set(d->err, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type %s", kind_word(raw), type);
}

static void report_add(struct schema_report *r, const char *what, struct str path) {
	if (r->problems.len < PROBLEMS_MAX) {
		VEC_PUSH(&r->problems, arena_printf(r->arena, "%s field \"%.*s\"", what, STR_ARG(path)));
	}
}

void schema_report_duplicate(void *report, struct str path) {
	report_add(report, "duplicate", path);
}

void schema_report_release(struct schema_report *r) {
	VEC_RELEASE(&r->problems);
}

static void unknown_field(struct decoder *d, const struct frame *up, struct str key) {
	auto_buf struct buf path = BUF_INIT(64 * 1024);

	if (!d->report) {
		return;
	}
	path_print(&path, &(struct frame){ .up = up, .key = key, .is_key = true }, true);
	report_add(d->report, "unknown", buf_view(&path));
}

/* ---- scalars -------------------------------------------------------------------------------------------- */
static bool decode_int(struct decoder *d, const struct frame *at, const struct value *raw, struct str type, int64_t min, int64_t max,
	struct value *out) {
	if (raw->type != VALUE_INT && raw->type != VALUE_FLOAT) {
		return type_error(d, at, raw, type, false);
	}
	if (raw->type == VALUE_FLOAT || raw->u.integer < min || raw->u.integer > max) {
		return type_error(d, at, raw, type, true);
	}
	*out = (struct value){ .type = VALUE_INT, .u.integer = raw->u.integer };
	return true;
}

static bool decode_quantity(struct decoder *d, const struct value *raw, struct value *out) {
	struct quantity q = { 0 };
	struct str text = value_is(raw, VALUE_STRING) ? str_trim(value_as_str(raw)) : json_text(d->a, raw);

	if (!quantity_parse(text, &q, d->err)) {
		return false;
	}
	*out = walk_str(quantity_text(d->a, q));
	return true;
}

#define ZERO_TIME_SEC (-62135596800ll) /* 0001-01-01T00:00:00Z prints as null */

static bool decode_time(struct decoder *d, const struct value *raw, bool micro, struct value *out) {
	int64_t sec = 0;
	int32_t nsec = 0;

	if (raw->type != VALUE_STRING) {
		return value_error(d, raw, "string");
	}
	if (!go_time_parse(value_as_str(raw), &sec, &nsec, d->err)) {
		return false;
	}
	if (sec == ZERO_TIME_SEC && nsec == 0) {
		*out = (struct value){ .type = VALUE_NULL };
		return true;
	}
	*out = walk_str(micro ? time_text_micro(d->a, sec, nsec) : time_text(d->a, sec));
	if (str_eq(value_as_str(out), value_as_str(raw))) {
		out->u.text = raw->u.text;
	}
	return true;
}

static bool decode_duration(struct decoder *d, const struct value *raw, struct value *out) {
	int64_t nsec = 0;

	if (raw->type != VALUE_STRING) {
		return value_error(d, raw, "string");
	}
	if (!go_duration_parse(value_as_str(raw), &nsec, d->err)) {
		return false;
	}
	*out = walk_str(duration_text(d->a, nsec));
	return true;
}

static bool decode_int_or_string(struct decoder *d, const struct value *raw, struct value *out) {
	if (raw->type == VALUE_STRING) {
		*out = walk_str(value_as_str(raw));
		return true;
	}
	if (raw->type != VALUE_INT && raw->type != VALUE_FLOAT) {
		return value_error(d, raw, "int32");
	}
	if (raw->type == VALUE_FLOAT || raw->u.integer < INT32_MIN || raw->u.integer > INT32_MAX) {
		struct str number = json_text(d->a, raw);

		return err_set(d->err, ERR_BAD_REQUEST, "json: cannot unmarshal number %.*s into Go value of type int32", STR_ARG(number));
	}
	*out = (struct value){ .type = VALUE_INT, .u.integer = raw->u.integer };
	return true;
}

static bool decode_bytes(struct decoder *d, const struct frame *at, const struct value *raw, struct value *out) {
	struct str text;

	if (raw->type != VALUE_STRING) {
		return type_error(d, at, raw, S("[]uint8"), false);
	}
	if (!base64_normal(d->a, value_as_str(raw), &text, d->err)) {
		return false;
	}
	*out = walk_str(text);
	return true;
}

static bool decode_strings(struct decoder *d, const struct frame *at, const struct value *raw, struct str type, struct value *out) {
	struct value *items;

	if (raw->type != VALUE_ARRAY) {
		return type_error(d, at, raw, type, false);
	}
	items = arena_alloc(d->a, raw->len * sizeof(*items));
	for (size_t i = 0; i < raw->len; i++) {
		const struct value *it = value_item(raw, i);

		if (it->type != VALUE_STRING && it->type != VALUE_NULL) {
			return type_error(d, at, it, S("string"), false);
		}
		items[i] = walk_str(value_as_str(it));
	}
	*out = walk_array(items, raw->len);
	return true;
}

/* ---- one value of a field's kind, whatever the shape ------------------------------------------------------ */
static bool decode_list_of_structs(struct decoder *d, const struct frame *at, const struct schema_type *t, const struct value *raw, struct value *out) {
	struct value *items = arena_alloc(d->a, raw->len * sizeof(*items));

	for (size_t i = 0; i < raw->len; i++) {
		struct frame f = { .up = at, .index = i, .depth = at->depth };

		if (!decode_struct(d, &f, t, value_item(raw, i), &items[i])) {
			return false;
		}
	}
	*out = walk_array(items, raw->len);
	return true;
}

static bool decode_item(struct decoder *d, const struct frame *at, const struct schema_type *owner, const struct schema_field *f, const struct value *raw,
	struct value *out) {
	const struct schema_type *t = schema_field_type(owner, f);

	switch ((enum schema_kind)f->kind) {
	case SCHEMA_STRING:
		if (raw->type != VALUE_STRING) {
			return type_error(d, at, raw, walk_go_type(d->a, owner, f, SCHEMA_ONE), false);
		}
		*out = walk_str(value_as_str(raw));
		return true;
	case SCHEMA_BOOL:
		if (raw->type != VALUE_BOOL) {
			return type_error(d, at, raw, S("bool"), false);
		}
		*out = (struct value){ .type = VALUE_BOOL, .u.boolean = raw->u.boolean };
		return true;
	case SCHEMA_INT32:
		return decode_int(d, at, raw, S("int32"), INT32_MIN, INT32_MAX, out);
	case SCHEMA_INT64:
		return decode_int(d, at, raw, S("int64"), INT64_MIN, INT64_MAX, out);
	case SCHEMA_UINT32:
		return decode_int(d, at, raw, S("uint32"), 0, UINT32_MAX, out);
	case SCHEMA_UINT64:
		return decode_int(d, at, raw, S("uint64"), 0, INT64_MAX, out);
	case SCHEMA_DOUBLE:
		if (raw->type != VALUE_INT && raw->type != VALUE_FLOAT) {
			return type_error(d, at, raw, S("float64"), false);
		}
		*out = *raw;
		return true;
	case SCHEMA_BYTES:
		return decode_bytes(d, at, raw, out);
	case SCHEMA_STRUCT:
		return decode_struct(d, at, t, raw, out);
	case SCHEMA_STRINGS:
		return decode_strings(d, at, raw, walk_go_type(d->a, owner, f, SCHEMA_ONE), out);
	case SCHEMA_QUANTITY:
		return decode_quantity(d, raw, out);
	case SCHEMA_INT_OR_STRING:
		return decode_int_or_string(d, raw, out);
	case SCHEMA_TIME:
		return decode_time(d, raw, false, out);
	case SCHEMA_MICRO_TIME:
		return decode_time(d, raw, true, out);
	case SCHEMA_DURATION:
		return decode_duration(d, raw, out);
	case SCHEMA_RAW_EXTENSION:
	case SCHEMA_UNKNOWN:
	case SCHEMA_FIELDS_V1:
	case SCHEMA_JSON:
		*out = *value_copy(d->a, raw);
		return true;
	case SCHEMA_ANY:
		*out = *value_copy(d->a, raw);
		value_sort_keys_deep(out);
		return true;
	case SCHEMA_PROPS_OR_ARRAY:
		if (raw->type == VALUE_ARRAY) {
			return decode_list_of_structs(d, at, t, raw, out);
		}
		return decode_struct(d, at, t, raw, out);
	case SCHEMA_PROPS_OR_BOOL:
		if (raw->type == VALUE_BOOL) {
			*out = (struct value){ .type = VALUE_BOOL, .u.boolean = raw->u.boolean };
			return true;
		}
		if (raw->type != VALUE_OBJECT) {
			return err_set(d->err, ERR_BAD_REQUEST, "boolean or JSON schema expected");
		}
		return decode_struct(d, at, t, raw, out);
	case SCHEMA_PROPS_OR_STRINGS:
		if (raw->type == VALUE_ARRAY) {
			return decode_strings(d, at, raw, S("[]string"), out);
		}
		return decode_struct(d, at, t, raw, out);
	}
	return false;
}

static bool keeps_null(const struct schema_field *f) { /* as an item: JSON null is itself */
	return f->kind == SCHEMA_JSON || f->kind == SCHEMA_ANY;
}

static bool decode_list(struct decoder *d, const struct frame *at, const struct schema_type *owner, const struct schema_field *f, const struct value *raw,
	struct value *out) {
	struct value *items;

	if (raw->type != VALUE_ARRAY) {
		return type_error(d, at, raw, walk_go_type(d->a, owner, f, SCHEMA_LIST), false);
	}
	items = arena_alloc(d->a, raw->len * sizeof(*items));
	for (size_t i = 0; i < raw->len; i++) {
		struct frame here = { .up = at, .index = i, .depth = at->depth };
		const struct value *it = value_item(raw, i);

		if (it->type == VALUE_NULL && !keeps_null(f)) {
			items[i] = walk_zero_item(d->a, owner, f);
		} else if (!decode_item(d, &here, owner, f, it, &items[i])) {
			return false;
		}
		items[i].name = N_NONE;
	}
	*out = walk_array(items, raw->len);
	return true;
}

static bool decode_map(struct decoder *d, const struct frame *at, const struct schema_type *owner, const struct schema_field *f, const struct value *raw,
	struct value *out) {
	auto_free struct walk_member *members = NULL;

	if (raw->type != VALUE_OBJECT) {
		return type_error(d, at, raw, walk_go_type(d->a, owner, f, SCHEMA_MAP), false);
	}
	members = xcalloc(raw->len + 1, sizeof(*members));
	for (size_t i = 0; i < raw->len; i++) {
		struct frame here = { .up = at, .key = value_key(raw, i), .is_key = true, .depth = at->depth };
		const struct value *it = value_item(raw, i);

		members[i].key = here.key;
		if (it->type == VALUE_NULL && !keeps_null(f)) {
			members[i].node = walk_zero_item(d->a, owner, f);
		} else if (!decode_item(d, &here, owner, f, it, &members[i].node)) {
			return false;
		}
	}
	*out = walk_map(d->a, members, raw->len);
	return true;
}

/* ---- objects ------------------------------------------------------------------------------------------------ */
static bool decode_member(struct decoder *d, const struct frame *up, const struct schema_type *t, const struct schema_field *f, const struct value *raw,
	struct value *out) {
	struct frame here = { .up = up, .owner = t, .field = f, .depth = up ? up->depth + 1 : 1 };

	switch ((enum schema_shape)f->shape) {
	case SCHEMA_ONE:
		return decode_item(d, &here, t, f, raw, out);
	case SCHEMA_LIST:
		return decode_list(d, &here, t, f, raw, out);
	case SCHEMA_MAP:
		return decode_map(d, &here, t, f, raw, out);
	}
	return false;
}

/* kind and apiVersion are text, wherever they stand. */
static bool decode_type_meta(struct decoder *d, const struct frame *up, const struct schema_type *t, const struct value *raw, struct str *ret) {
	struct schema_field f = { .name = raw->name, .kind = SCHEMA_STRING, .type = SCHEMA_NO_TYPE };
	struct frame here = { .up = up, .owner = t, .field = &f };

	if (raw->type == VALUE_NULL) {
		return true;
	}
	if (raw->type != VALUE_STRING) {
		return type_error(d, &here, raw, S("string"), false);
	}
	*ret = value_as_str(raw);
	return true;
}

static bool decode_struct(struct decoder *d, const struct frame *up, const struct schema_type *t, const struct value *raw, struct value *out) {
	struct str kind = { 0 }, api_version = { 0 };
	size_t base;

	if (t->flags & SCHEMA_TYPE_TEXT && raw->type == VALUE_STRING) {
		*out = walk_str(value_as_str(raw));
		return true;
	}
	if (raw->type != VALUE_OBJECT && raw->type != VALUE_NULL) {
		return type_error(d, up, raw, walk_go_struct(d->a, t), false);
	}
	if (up && up->depth > DEPTH_MAX) {
		return err_set(d->err, ERR_BAD_REQUEST, "exceeded max depth");
	}
	if (d->a->bytes - d->bytes_before > DECODED_BYTES_MAX) {
		return err_set(d->err, ERR_TOO_LARGE, "the object is too large when decoded");
	}
	base = cells_open(&d->cells, t);
	for (size_t i = 0; i < value_len(raw); i++) {
		const struct value *m = value_item(raw, i);
		const struct schema_field *f = schema_field_find(t, m->name);
		struct value v;

		if (!f) {
			if (t->flags & SCHEMA_TYPE_OBJECT && (m->name == N_kind || m->name == N_apiVersion)) {
				if (!decode_type_meta(d, up, t, m, m->name == N_kind ? &kind : &api_version)) {
					return false;
				}
			} else {
				unknown_field(d, up, value_key(raw, i));
			}
			continue;
		}
		if (m->type == VALUE_NULL) {
			continue;
		}
		if (!decode_member(d, up, t, f, m, &v)) {
			return false;
		}
		d->cells.stack.at[base + (size_t)(f - schema_fields(t))] = v;
	}
	*out = cells_finish(&d->cells, d->a, t, base, kind, api_version);
	return true;
}

bool schema_decode(struct arena *a, const struct schema_type *t, const struct value *raw, struct schema_report *report, struct value **ret,
	struct err *err) {
	struct decoder d = { .a = a, .report = report, .err = err, .bytes_before = a->bytes };
	struct value v;
	bool ok = decode_struct(&d, NULL, t, raw, &v);

	VEC_RELEASE(&d.cells.stack);
	if (!ok) {
		return false;
	}
	*ret = arena_alloc(a, sizeof(**ret));
	**ret = v;
	(*ret)->name = N_NONE;
	return true;
}
