/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.c - canonical objects, maps, zero values and base64 for the walkers; see walk.h. Any thread.
 */
#include "schema/walk.h"

size_t cells_open(struct cells *c, const struct schema_type *t) {
	size_t base = c->stack.len;

	if (c->stack.cap <= base + t->fields_len) {
		VEC_RESERVE(&c->stack, base + t->fields_len + 1); /* never without memory, also for no fields */
	}
	for (size_t i = 0; i < t->fields_len; i++) {
		c->stack.at[base + i].type = CELL_ABSENT;
	}
	c->stack.len = base + t->fields_len;
	return base;
}

bool walk_omits(const struct schema_field *f, const struct value *v) {
	if (f->flags & SCHEMA_KEEP) {
		return false;
	}
	switch ((enum value_type)v->type) {
	case VALUE_NULL:
		return true;
	case VALUE_BOOL:
		return !(f->flags & SCHEMA_PTR) && !v->u.boolean;
	case VALUE_INT:
		return !(f->flags & SCHEMA_PTR) && v->u.integer == 0;
	case VALUE_FLOAT:
		return !(f->flags & SCHEMA_PTR) && v->u.number == 0;
	case VALUE_STRING:
		return !(f->flags & SCHEMA_PTR) && v->len == 0;
	case VALUE_ARRAY:
		return v->len == 0 && (f->shape == SCHEMA_LIST || f->kind == SCHEMA_STRINGS);
	case VALUE_OBJECT:
		return v->len == 0 && (f->shape == SCHEMA_MAP || f->flags & SCHEMA_OMIT_ZERO);
	}
	return false;
}

struct value cells_finish(struct cells *c, struct arena *a, const struct schema_type *t, size_t base, struct str kind, struct str api_version) {
	const struct schema_field *fields = schema_fields(t);
	struct value *cells = c->stack.at + base, *items;
	size_t n = (kind.len != 0) + (api_version.len != 0), at = 0;

	for (size_t i = 0; i < t->fields_len; i++) {
		if (cells[i].type == CELL_ABSENT) {
			if (fields[i].flags & SCHEMA_KEEP) {
				cells[i] = walk_zero(a, t, &fields[i]);
				n++;
			}
		} else if (walk_omits(&fields[i], &cells[i])) {
			cells[i].type = CELL_ABSENT;
		} else {
			n++;
		}
	}
	items = n ? arena_alloc(a, n * sizeof(*items)) : NULL;
	if (kind.len) {
		items[at] = walk_str(kind);
		items[at++].name = N_kind;
	}
	if (api_version.len) {
		items[at] = walk_str(api_version);
		items[at++].name = N_apiVersion;
	}
	for (size_t i = 0; i < t->fields_len; i++) {
		if (cells[i].type != CELL_ABSENT) {
			items[at] = cells[i];
			items[at++].name = fields[i].name;
		}
	}
	c->stack.len = base;
	return (struct value){ .type = VALUE_OBJECT, .len = (uint32_t)n, .u.items = items };
}

static int member_cmp(const void *x, const void *y) {
	const struct walk_member *a = x, *b = y;
	int c = str_cmp(a->key, b->key);

	return c ? c : a->at < b->at ? -1 : 1;
}

struct value walk_map(struct arena *a, struct walk_member *members, size_t n) {
	struct value object = { .type = VALUE_OBJECT }, *nodes;
	struct str *keys;
	size_t out = 0;
	bool sorted = true;

	for (size_t i = 0; i < n; i++) {
		members[i].at = i;
		sorted = sorted && (i == 0 || str_cmp(members[i - 1].key, members[i].key) < 0);
	}
	if (!sorted) {
		qsort(members, n, sizeof(*members), member_cmp);
	}
	nodes = arena_alloc(a, n * sizeof(*nodes));
	keys = arena_alloc(a, n * sizeof(*keys));
	for (size_t i = 0; i < n; i++) {
		if (i + 1 < n && !sorted && str_eq(members[i].key, members[i + 1].key)) {
			continue;
		}
		nodes[out] = members[i].node;
		nodes[out].name = name_find(members[i].key);
		keys[out++] = members[i].key;
	}
	value_fill(a, &object, nodes, keys, out);
	return object;
}

static struct value zero_struct(struct arena *a, const struct schema_type *t) {
	const struct schema_field *fields = schema_fields(t);
	size_t n = 0, at = 0;
	struct value *items;

	for (size_t i = 0; i < t->fields_len; i++) {
		n += fields[i].flags & SCHEMA_KEEP ? 1 : 0;
	}
	items = n ? arena_alloc(a, n * sizeof(*items)) : NULL;
	for (size_t i = 0; i < t->fields_len; i++) {
		if (fields[i].flags & SCHEMA_KEEP) {
			items[at] = walk_zero(a, t, &fields[i]);
			items[at++].name = fields[i].name;
		}
	}
	return (struct value){ .type = VALUE_OBJECT, .len = (uint32_t)n, .u.items = items };
}

struct value walk_zero_item(struct arena *a, const struct schema_type *owner, const struct schema_field *f) {
	switch ((enum schema_kind)f->kind) {
	case SCHEMA_STRING:
		return walk_str(S(""));
	case SCHEMA_BOOL:
		return (struct value){ .type = VALUE_BOOL };
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_UINT64:
	case SCHEMA_DOUBLE:
	case SCHEMA_INT_OR_STRING:
		return (struct value){ .type = VALUE_INT };
	case SCHEMA_QUANTITY:
		return walk_str(S("0"));
	case SCHEMA_DURATION:
		return walk_str(S("0s"));
	case SCHEMA_STRUCT: {
		const struct schema_type *t = schema_field_type(owner, f);

		return t->flags & SCHEMA_TYPE_TEXT ? walk_str(S("")) : zero_struct(a, t);
	}
	case SCHEMA_BYTES:
	case SCHEMA_STRINGS:
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
	case SCHEMA_RAW_EXTENSION:
	case SCHEMA_UNKNOWN:
	case SCHEMA_FIELDS_V1:
	case SCHEMA_JSON:
	case SCHEMA_ANY:
	case SCHEMA_PROPS_OR_ARRAY:
	case SCHEMA_PROPS_OR_BOOL:
	case SCHEMA_PROPS_OR_STRINGS:
		break;
	}
	return (struct value){ .type = VALUE_NULL };
}

struct value walk_zero(struct arena *a, const struct schema_type *owner, const struct schema_field *f) {
	if (f->shape != SCHEMA_ONE || f->flags & SCHEMA_PTR) {
		return (struct value){ .type = VALUE_NULL };
	}
	return walk_zero_item(a, owner, f);
}

/* ---- base64 ------------------------------------------------------------------------------------------ */
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 0..63, or -1. */
static int digit_of(char c) {
	if (c >= 'A' && c <= 'Z') {
		return c - 'A';
	}
	if (c >= 'a' && c <= 'z') {
		return c - 'a' + 26;
	}
	if (c >= '0' && c <= '9') {
		return c - '0' + 52;
	}
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Reads as Go's StdEncoding does: line breaks are skipped. Returns the place of the first bad byte, or -1. */
static ptrdiff_t decode_base64(struct buf *b, struct str text) {
	uint32_t bits = 0;
	size_t digits = 0, i = 0;

	for (; i < text.len; i++) {
		char c = text.ptr[i];
		int d;

		if (c == '\n' || c == '\r') {
			continue;
		}
		if (c == '=') {
			break;
		}
		d = digit_of(c);
		if (d < 0) {
			return (ptrdiff_t)i;
		}
		bits = bits << 6 | (uint32_t)d;
		if (++digits % 4 == 0) {
			char out[3] = { (char)(bits >> 16), (char)(bits >> 8), (char)bits };

			buf_add(b, out, 3);
			bits = 0;
		}
	}
	if (i == text.len) {
		/* Go names the place where the broken group began. */
		return digits % 4 ? (ptrdiff_t)(text.len - digits % 4) : -1;
	}
	if (digits % 4 < 2) {
		return (ptrdiff_t)i;
	}
	if (digits % 4 == 2) {
		char out = (char)(bits >> 4);

		for (i++; i < text.len && (text.ptr[i] == '\n' || text.ptr[i] == '\r'); i++) {
		}
		if (i == text.len) {
			return (ptrdiff_t)text.len;
		}
		if (text.ptr[i] != '=') {
			return (ptrdiff_t)i;
		}
		buf_add(b, &out, 1);
	} else {
		char out[2] = { (char)(bits >> 10), (char)(bits >> 2) };

		buf_add(b, out, 2);
	}
	for (i++; i < text.len && (text.ptr[i] == '\n' || text.ptr[i] == '\r'); i++) {
	}
	return i < text.len ? (ptrdiff_t)i : -1;
}

struct str walk_base64_encode(struct arena *a, struct str bytes) {
	size_t n = (bytes.len + 2) / 3 * 4;
	char *out = arena_alloc(a, n + 1), *p = out;
	const unsigned char *in = (const unsigned char *)bytes.ptr;
	size_t i = 0;

	for (; i + 3 <= bytes.len; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];

		*p++ = alphabet[v >> 18];
		*p++ = alphabet[v >> 12 & 63];
		*p++ = alphabet[v >> 6 & 63];
		*p++ = alphabet[v & 63];
	}
	if (i + 1 == bytes.len) {
		*p++ = alphabet[in[i] >> 2];
		*p++ = alphabet[in[i] << 4 & 63];
		*p++ = '=';
		*p++ = '=';
	} else if (i + 2 == bytes.len) {
		*p++ = alphabet[in[i] >> 2];
		*p++ = alphabet[(in[i] << 4 | in[i + 1] >> 4) & 63];
		*p++ = alphabet[in[i + 1] << 2 & 63];
		*p++ = '=';
	}
	*p = 0;
	return (struct str){ out, n };
}

bool walk_base64_decode(struct buf *b, struct str text) {
	return decode_base64(b, text) < 0 && !b->overflow;
}

bool base64_normal(struct arena *a, struct str text, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(text.len + 4);
	ptrdiff_t bad = decode_base64(&b, text);
	struct str again;

	if (bad >= 0) {
		return err_set(err, ERR_BAD_REQUEST, "illegal base64 data at input byte %td", bad);
	}
	again = walk_base64_encode(a, buf_view(&b));
	*ret = str_eq(again, text) ? text : again;
	return true;
}

/* ---- names of Go types ---------------------------------------------------------------------------------- */
struct str walk_go_struct(struct arena *a, const struct schema_type *t) {
	struct str full = schema_type_name(t), package, name = schema_type_short(t);

	package = str_sub(full, 0, full.len - name.len - 1);
	package = str_from(package, (size_t)(str_rindex(package, '.') + 1));
	return arena_printf(a, "%.*s.%.*s", STR_ARG(package), STR_ARG(name));
}

static struct str item_type(struct arena *a, const struct schema_type *owner, const struct schema_field *f) {
	static const char *const names[] = {
		[SCHEMA_STRING] = "string",
		[SCHEMA_BOOL] = "bool",
		[SCHEMA_INT32] = "int32",
		[SCHEMA_INT64] = "int64",
		[SCHEMA_UINT32] = "uint32",
		[SCHEMA_UINT64] = "uint64",
		[SCHEMA_DOUBLE] = "float64",
		[SCHEMA_BYTES] = "[]uint8",
		[SCHEMA_STRINGS] = "[]string",
		[SCHEMA_QUANTITY] = "resource.Quantity",
		[SCHEMA_INT_OR_STRING] = "intstr.IntOrString",
		[SCHEMA_TIME] = "v1.Time",
		[SCHEMA_MICRO_TIME] = "v1.MicroTime",
		[SCHEMA_DURATION] = "v1.Duration",
		[SCHEMA_RAW_EXTENSION] = "runtime.RawExtension",
		[SCHEMA_UNKNOWN] = "runtime.Unknown",
		[SCHEMA_FIELDS_V1] = "v1.FieldsV1",
		[SCHEMA_JSON] = "v1.JSON",
		[SCHEMA_ANY] = "interface {}",
		[SCHEMA_PROPS_OR_ARRAY] = "v1.JSONSchemaPropsOrArray",
		[SCHEMA_PROPS_OR_BOOL] = "v1.JSONSchemaPropsOrBool",
		[SCHEMA_PROPS_OR_STRINGS] = "v1.JSONSchemaPropsOrStringArray",
	};
	const struct schema_type *t = schema_field_type(owner, f);

	if (t && (f->kind == SCHEMA_STRUCT || f->kind == SCHEMA_STRING || f->kind == SCHEMA_STRINGS)) {
		return walk_go_struct(a, t);
	}
	return names[f->kind] ? str_c(names[f->kind]) : S("");
}

struct str walk_go_type(struct arena *a, const struct schema_type *owner, const struct schema_field *f, enum schema_shape shape) {
	struct str item = item_type(a, owner, f);

	if (shape == SCHEMA_LIST) {
		return arena_printf(a, "[]%.*s", STR_ARG(item));
	}
	if (shape == SCHEMA_MAP && f->kind == SCHEMA_QUANTITY) {
		return S("v1.ResourceList");
	}
	return shape == SCHEMA_MAP ? arena_printf(a, "map[string]%.*s", STR_ARG(item)) : item;
}
