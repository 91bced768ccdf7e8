/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protobuf.c - the API's protobuf: messages to canonical values and back, byte for byte as the reference.
 *
 * Called by the API server (bodies, stored objects) and the client. The wire format is protobuf's; the layout of
 * each message is its type's table, and the special types (Quantity, Time, IntOrString, raw JSON ...) have layouts of their
 * own, written here. Bytes come from outside: every length is checked, nesting is bounded, unknown numbers are skipped.
 * Any thread.
 */
#include "schema/schema.h"
#include "schema/walk.h"
#include "schema/wire.h"

enum {
	DEPTH_MAX = 200,
	SCATTERED_MAX = 1 << 20, /* items copied again because a list or map does not stand in one piece */
};
#define DECODED_BYTES_MAX ((size_t)512 << 20) /* a few bytes of input can stand for many of value */

/* ---- reading the wire ----------------------------------------------------------------------------------- */
struct reader {
	const uint8_t *at, *end;
};

struct record { /* one tag with what follows it */
	uint32_t num;
	enum wire wire;
	uint64_t n;      /* varint, fixed */
	struct str bytes;
};

struct decoder {
	struct arena *a;
	struct err *err;
	struct cells cells;
	int depth;
	size_t scattered;
	size_t bytes_before; /* of the arena */
};

static bool broken(struct err *err) {
	return err_set(err, ERR_BAD_REQUEST, "unexpected EOF");
}

static struct reader reader_of(struct str s) {
	const uint8_t *p = (const uint8_t *)(s.ptr ? s.ptr : "");

	return (struct reader){ p, p + s.len };
}

static bool read_varint(struct reader *r, uint64_t *ret, struct err *err) {
	uint64_t n = 0;

	if (r->at < r->end && *r->at < 0x80) {
		*ret = *r->at++;
		return true;
	}
	for (int shift = 0; shift < 70; shift += 7) {
		uint8_t b;

		if (r->at == r->end) {
			return broken(err);
		}
		b = *r->at++;
		if (shift < 64) {
			n |= (uint64_t)(b & 0x7f) << shift;
		}
		if (b < 0x80) {
			*ret = n;
			return true;
		}
	}
	return err_set(err, ERR_BAD_REQUEST, "proto: integer overflow");
}

static bool read_record(struct reader *r, struct record *rec, struct err *err) {
	uint64_t tag, n;

	if (!read_varint(r, &tag, err)) {
		return false;
	}
	rec->wire = tag & 7;
	if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) {
		return err_set(err, ERR_BAD_REQUEST, "proto: illegal tag %d (wire type %d)", (int)(tag >> 3 & 0x1fffffff), (int)(tag & 7));
	}
	rec->num = (uint32_t)(tag >> 3);
	switch (rec->wire) {
	case WIRE_VARINT:
		return read_varint(r, &rec->n, err);
	case WIRE_FIXED64:
	case WIRE_FIXED32:
		n = rec->wire == WIRE_FIXED64 ? 8 : 4;
		if ((uint64_t)(r->end - r->at) < n) {
			return broken(err);
		}
		rec->n = 0;
		memcpy(&rec->n, r->at, n);
		r->at += n;
		return true;
	case WIRE_BYTES:
		if (!read_varint(r, &n, err)) {
			return false;
		}
		if (n > (uint64_t)(r->end - r->at)) {
			return broken(err);
		}
		rec->bytes = (struct str){ (const char *)r->at, (size_t)n };
		r->at += n;
		return true;
	case WIRE_GROUP:
	case WIRE_GROUP_END:
		return true;
	}
	return err_set(err, ERR_BAD_REQUEST, "proto: illegal wireType %d", (int)rec->wire);
}

/* Passes over what follows the tag of an unknown number; records other than groups are already read. */
static bool skip(struct reader *r, const struct record *rec, struct err *err) {
	size_t open = 1;

	if (rec->wire == WIRE_GROUP_END) {
		return err_set(err, ERR_BAD_REQUEST, "proto: unexpected end of group");
	}
	if (rec->wire != WIRE_GROUP) {
		return true;
	}
	while (open) {
		struct record in;

		if (r->at == r->end) {
			return broken(err);
		}
		if (!read_record(r, &in, err)) {
			return false;
		}
		open += in.wire == WIRE_GROUP ? 1 : 0;
		open -= in.wire == WIRE_GROUP_END ? 1 : 0;
	}
	return true;
}

static bool wrong_wire(struct decoder *d, const struct schema_field *f, const struct record *rec) {
	return err_set(d->err, ERR_BAD_REQUEST, "proto: wrong wireType = %d for field %.*s", (int)rec->wire, STR_ARG(name_text(f->name)));
}

/* ---- decode: special messages ----------------------------------------------------------------------------- */
static bool decode_message(struct decoder *d, const struct schema_type *t, struct str bytes, size_t base);
static bool decode_struct(struct decoder *d, const struct schema_type *t, struct str bytes, struct value *out);
static bool decode_object(struct decoder *d, struct str bytes, const struct schema_type *fallback, const struct schema_type **ret_type,
	struct value *out);

/* Reads a small message whose fields 1..3 are scalars. */
struct small {
	uint64_t n[4];
	struct str bytes[4];
	bool has[4];
};

static bool decode_small(struct decoder *d, struct str bytes, struct small *s) {
	struct reader r = reader_of(bytes);

	while (r.at < r.end) {
		struct record rec = { 0 };

		if (!read_record(&r, &rec, d->err) || !skip(&r, &rec, d->err)) {
			return false;
		}
		if (rec.num < ARRAY_LEN(s->n)) {
			s->n[rec.num] = rec.n;
			s->bytes[rec.num] = rec.bytes;
			s->has[rec.num] = true;
		}
	}
	return true;
}

/* JSON text, or an object in its own envelope; "" is null. */
static bool decode_raw(struct decoder *d, struct str raw, struct value *out) {
	struct value *v = NULL;

	if (raw.len == 0) {
		*out = (struct value){ .type = VALUE_NULL };
		return true;
	}
	if (pb_is_object(raw)) {
		const struct schema_type *t = NULL;

		return decode_object(d, raw, NULL, &t, out);
	}
	if (!json_parse(d->a, raw, &(struct json_opts){ .borrow = true, .allow_duplicates = true }, &v, d->err)) {
		return false;
	}
	*out = *v;
	return true;
}

static bool decode_strings(struct decoder *d, struct str bytes, uint32_t num, struct value *out) {
	struct reader r = reader_of(bytes), count = r;
	struct value *items;
	size_t n = 0, at = 0;

	while (count.at < count.end) {
		struct record rec = { 0 };

		if (!read_record(&count, &rec, d->err) || !skip(&count, &rec, d->err)) {
			return false;
		}
		n += rec.num == num && rec.wire == WIRE_BYTES;
	}
	items = arena_alloc(d->a, n * sizeof(*items));
	while (r.at < r.end) {
		struct record rec = { 0 };

		if (!read_record(&r, &rec, d->err) || !skip(&r, &rec, d->err)) {
			return false;
		}
		if (rec.num == num && rec.wire == WIRE_BYTES) {
			items[at++] = walk_str(rec.bytes);
		}
	}
	*out = n ? walk_array(items, n) : (struct value){ .type = VALUE_NULL };
	return true;
}

/* The three JSONSchemaPropsOr... : a schema in `schema_num`, its alternative in the other. */
static bool decode_props_or(struct decoder *d, const struct schema_type *t, enum schema_kind kind, struct str bytes, struct value *out) {
	uint32_t schema_num = kind == SCHEMA_PROPS_OR_BOOL ? 2 : 1;
	struct reader r = reader_of(bytes);
	struct value list = { .type = VALUE_ARRAY };
	bool allows = false, has_schema = false;

	while (r.at < r.end) {
		struct record rec = { 0 };
		struct value v;

		if (!read_record(&r, &rec, d->err) || !skip(&r, &rec, d->err)) {
			return false;
		}
		if (rec.num == schema_num && rec.wire == WIRE_BYTES) {
			if (!decode_struct(d, t, rec.bytes, out)) {
				return false;
			}
			has_schema = true;
		} else if (kind == SCHEMA_PROPS_OR_BOOL && rec.num == 1 && rec.wire == WIRE_VARINT) {
			allows = rec.n != 0;
		} else if (kind == SCHEMA_PROPS_OR_ARRAY && rec.num == 2 && rec.wire == WIRE_BYTES) {
			if (!decode_struct(d, t, rec.bytes, &v)) {
				return false;
			}
			value_push(d->a, &list, &v);
		} else if (kind == SCHEMA_PROPS_OR_STRINGS && rec.num == 2 && rec.wire == WIRE_BYTES) {
			v = walk_str(rec.bytes);
			value_push(d->a, &list, &v);
		}
	}
	if (list.len) {
		*out = list;
	} else if (!has_schema) {
		*out = kind == SCHEMA_PROPS_OR_BOOL ? (struct value){ .type = VALUE_BOOL, .u.boolean = allows } : (struct value){ .type = VALUE_NULL };
	}
	return true;
}

/* ---- decode: one value -------------------------------------------------------------------------------------- */
static bool decode_quantity(struct decoder *d, struct str text, struct value *out) {
	struct quantity q = { 0 };
	struct str canonical;

	if (text.len == 0) {
		*out = walk_str(S("0"));
		return true;
	}
	if (!quantity_parse(text, &q, d->err)) {
		return false;
	}
	canonical = quantity_text(d->a, q);
	*out = walk_str(str_eq(canonical, text) ? text : canonical);
	return true;
}

/* Years 0000 to 9999 have a text. */
#define SEC_MIN (-62167219200ll)
#define SEC_MAX 253402300799ll

static bool decode_time(struct decoder *d, struct str bytes, bool micro, struct value *out) {
	struct small s = { 0 };
	int64_t sec;
	int32_t nsec;

	if (!decode_small(d, bytes, &s)) {
		return false;
	}
	sec = (int64_t)s.n[1];
	nsec = (int32_t)s.n[2];
	if (bytes.len == 0 || (sec == -62135596800ll && nsec == 0)) {
		*out = (struct value){ .type = VALUE_NULL };
		return true;
	}
	if (sec < SEC_MIN || sec > SEC_MAX || nsec < 0 || nsec > 999999999) {
		return err_set(d->err, ERR_BAD_REQUEST, "proto: time out of range");
	}
	*out = walk_str(micro ? time_text_micro(d->a, sec, nsec) : time_text(d->a, sec));
	return true;
}

static bool decode_int_or_string(struct decoder *d, struct str bytes, struct value *out) {
	struct small s = { 0 };

	if (!decode_small(d, bytes, &s)) {
		return false;
	}
	*out = s.n[1] == 1 ? walk_str(s.bytes[3]) : (struct value){ .type = VALUE_INT, .u.integer = (int32_t)s.n[2] };
	return true;
}

static bool decode_text_type(struct decoder *d, struct str bytes, struct value *out) {
	struct small s = { 0 };

	if (!decode_small(d, bytes, &s)) {
		return false;
	}
	*out = walk_str(s.bytes[1].len ? arena_join(d->a, &s.bytes[1], 2, S("/")) : s.bytes[2]);
	return true;
}

static enum wire wire_of(enum schema_kind kind) {
	switch (kind) {
	case SCHEMA_BOOL:
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_UINT64:
		return WIRE_VARINT;
	case SCHEMA_DOUBLE:
		return WIRE_FIXED64;
	case SCHEMA_STRING:
	case SCHEMA_BYTES:
	case SCHEMA_STRUCT:
	case SCHEMA_STRINGS:
	case SCHEMA_QUANTITY:
	case SCHEMA_INT_OR_STRING:
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
	case SCHEMA_DURATION:
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
	return WIRE_BYTES;
}

static bool decode_item(struct decoder *d, const struct schema_type *owner, const struct schema_field *f, const struct record *rec, struct value *out) {
	struct small s = { 0 };

	if (rec->wire != wire_of(f->kind)) {
		return wrong_wire(d, f, rec);
	}
	switch ((enum schema_kind)f->kind) {
	case SCHEMA_STRING:
		*out = walk_str(rec->bytes);
		return true;
	case SCHEMA_BOOL:
		*out = (struct value){ .type = VALUE_BOOL, .u.boolean = rec->n != 0 };
		return true;
	case SCHEMA_INT32:
		*out = (struct value){ .type = VALUE_INT, .u.integer = (int32_t)rec->n };
		return true;
	case SCHEMA_UINT32:
		*out = (struct value){ .type = VALUE_INT, .u.integer = (uint32_t)rec->n };
		return true;
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
		*out = (struct value){ .type = VALUE_INT, .u.integer = (int64_t)rec->n };
		return true;
	case SCHEMA_DOUBLE:
		*out = (struct value){ .type = VALUE_FLOAT };
		memcpy(&out->u.number, &rec->n, sizeof(out->u.number));
		return true;
	case SCHEMA_BYTES:
		*out = walk_str(walk_base64_encode(d->a, rec->bytes));
		return true;
	case SCHEMA_STRUCT:
		return decode_struct(d, schema_field_type(owner, f), rec->bytes, out);
	case SCHEMA_STRINGS:
		return decode_strings(d, rec->bytes, 1, out);
	case SCHEMA_QUANTITY:
		return decode_small(d, rec->bytes, &s) && decode_quantity(d, s.bytes[1], out);
	case SCHEMA_INT_OR_STRING:
		return decode_int_or_string(d, rec->bytes, out);
	case SCHEMA_TIME:
		return decode_time(d, rec->bytes, false, out);
	case SCHEMA_MICRO_TIME:
		return decode_time(d, rec->bytes, true, out);
	case SCHEMA_DURATION:
		if (!decode_small(d, rec->bytes, &s)) {
			return false;
		}
		*out = walk_str(duration_text(d->a, (int64_t)s.n[1]));
		return true;
	case SCHEMA_RAW_EXTENSION:
	case SCHEMA_FIELDS_V1:
	case SCHEMA_JSON:
	case SCHEMA_ANY:
		return decode_small(d, rec->bytes, &s) && decode_raw(d, s.bytes[1], out);
	case SCHEMA_UNKNOWN:
		return decode_small(d, rec->bytes, &s) && decode_raw(d, s.bytes[2], out);
	case SCHEMA_PROPS_OR_ARRAY:
	case SCHEMA_PROPS_OR_BOOL:
	case SCHEMA_PROPS_OR_STRINGS:
		return decode_props_or(d, schema_field_type(owner, f), f->kind, rec->bytes, out);
	}
	return false;
}

/* ---- decode: lists and maps, whose items stand one behind the other ------------------------------------------- */
/* How many more records with this number follow at once. */
static size_t count_run(struct reader r, uint32_t num) {
	struct err ignored = { 0 };
	size_t n = 0;

	while (r.at < r.end) {
		struct record rec = { 0 };

		if (!read_record(&r, &rec, &ignored) || rec.num != num || rec.wire == WIRE_GROUP || rec.wire == WIRE_GROUP_END) {
			break;
		}
		n++;
	}
	return n;
}

/* [packed=true] scalars: several in one record. */
static bool decode_packed(struct decoder *d, const struct schema_type *owner, const struct schema_field *f, struct str bytes, struct value *list) {
	struct reader r = reader_of(bytes);

	while (r.at < r.end) {
		struct record rec = { .num = f->num, .wire = wire_of(f->kind) };
		struct value v;

		if (rec.wire == WIRE_VARINT) {
			if (!read_varint(&r, &rec.n, d->err)) {
				return false;
			}
		} else {
			if (r.end - r.at < 8) {
				return broken(d->err);
			}
			memcpy(&rec.n, r.at, 8);
			r.at += 8;
		}
		if (!decode_item(d, owner, f, &rec, &v)) {
			return false;
		}
		value_push(d->a, list, &v);
	}
	return true;
}

/* No encoder scatters a list; one that came in many pieces would cost the square of its length. */
static bool scattered(struct decoder *d, size_t had) {
	d->scattered += had;
	return d->scattered <= SCATTERED_MAX || err_set(d->err, ERR_BAD_REQUEST, "proto: repeated field in too many pieces");
}

static bool decode_list(struct decoder *d, const struct schema_type *owner, const struct schema_field *f, struct reader *r, struct record rec, size_t cell) {
	struct value list = d->cells.stack.at[cell];
	struct value *items;
	size_t n, had;

	if (list.type != VALUE_ARRAY) {
		list = (struct value){ .type = VALUE_ARRAY };
	}
	if (rec.wire == WIRE_BYTES && wire_of(f->kind) != WIRE_BYTES) {
		if (!decode_packed(d, owner, f, rec.bytes, &list)) {
			return false;
		}
		if (list.len) {
			d->cells.stack.at[cell] = list;
		}
		return true;
	}
	had = list.len;
	if (!scattered(d, had)) {
		return false;
	}
	n = 1 + count_run(*r, rec.num);
	items = arena_alloc(d->a, (had + n) * sizeof(*items));
	if (had) {
		memcpy(items, list.u.items, had * sizeof(*items));
	}
	for (size_t i = 0; i < n; i++) {
		if (i && !read_record(r, &rec, d->err)) {
			return false;
		}
		if (rec.wire == WIRE_BYTES && wire_of(f->kind) != WIRE_BYTES) { /* packed among single ones: not worth more than an error */
			return wrong_wire(d, f, &rec);
		}
		if (!decode_item(d, owner, f, &rec, &items[had + i])) {
			return false;
		}
		items[had + i].name = N_NONE;
	}
	d->cells.stack.at[cell] = walk_array(items, had + n);
	return true;
}

static bool decode_entry(struct decoder *d, const struct schema_type *owner, const struct schema_field *f, struct str bytes, struct walk_member *m) {
	struct reader r = reader_of(bytes);
	bool has_value = false;

	m->key = S("");
	while (r.at < r.end) {
		struct record rec = { 0 };

		if (!read_record(&r, &rec, d->err) || !skip(&r, &rec, d->err)) {
			return false;
		}
		if (rec.num == 1 && rec.wire == WIRE_BYTES) {
			m->key = rec.bytes;
		} else if (rec.num == 2) {
			if (!decode_item(d, owner, f, &rec, &m->node)) {
				return false;
			}
			has_value = true;
		}
	}
	if (!has_value) {
		m->node = walk_zero_item(d->a, owner, f);
	}
	return true;
}

static bool decode_map(struct decoder *d, const struct schema_type *owner, const struct schema_field *f, struct reader *r, struct record rec, size_t cell) {
	struct value map = d->cells.stack.at[cell];
	size_t had = map.type == VALUE_OBJECT ? map.len : 0, n = 1 + count_run(*r, rec.num);
	auto_free struct walk_member *members = NULL;

	if (!scattered(d, had)) {
		return false;
	}
	members = xcalloc(had + n, sizeof(*members));
	for (size_t i = 0; i < had; i++) {
		members[i].key = value_key(&map, i);
		members[i].node = *value_item(&map, i);
	}
	for (size_t i = 0; i < n; i++) {
		if (i && !read_record(r, &rec, d->err)) {
			return false;
		}
		if (rec.wire != WIRE_BYTES) {
			return wrong_wire(d, f, &rec);
		}
		if (!decode_entry(d, owner, f, rec.bytes, &members[had + i])) {
			return false;
		}
	}
	d->cells.stack.at[cell] = walk_map(d->a, members, had + n);
	return true;
}

/* ---- decode: messages ------------------------------------------------------------------------------------------- */
static bool decode_field(struct decoder *d, const struct schema_type *t, size_t index, struct reader *r, const struct record *rec, size_t base) {
	const struct schema_field *f = &schema_fields(t)[index];
	struct value v;

	switch ((enum schema_shape)f->shape) {
	case SCHEMA_ONE:
		if (!decode_item(d, t, f, rec, &v)) {
			return false;
		}
		d->cells.stack.at[base + index] = v;
		return true;
	case SCHEMA_LIST:
		return decode_list(d, t, f, r, *rec, base + index);
	case SCHEMA_MAP:
		return decode_map(d, t, f, r, *rec, base + index);
	}
	return false;
}

/* Reads a message of type t into the cells from `base` on. */
static bool decode_message(struct decoder *d, const struct schema_type *t, struct str bytes, size_t base) {
	const uint16_t *order = t->set->order + t->order_at;
	const struct schema_inline *inlines = t->set->inlines + t->inlines_at;
	struct reader r = reader_of(bytes);
	size_t at = 0; /* numbers mostly ascend: look here first */

	if (d->depth >= DEPTH_MAX) {
		return err_set(d->err, ERR_BAD_REQUEST, "proto: nested too deep");
	}
	d->depth++;
	while (r.at < r.end) {
		struct record rec = { 0 };
		bool known = false;

		if (!read_record(&r, &rec, d->err)) {
			return false;
		}
		for (size_t i = 0; i < t->order_len && !known; i++) {
			size_t k = at + i < t->order_len ? at + i : at + i - t->order_len;
			uint16_t entry = order[k];

			if (entry & 0x8000) {
				const struct schema_inline *in = &inlines[entry & 0x7fff];

				if (in->num == rec.num) {
					known = true;
					at = k;
					if (rec.wire != WIRE_BYTES) {
						return err_set(d->err, ERR_BAD_REQUEST, "proto: wrong wireType = %d for an embedded message", (int)rec.wire);
					}
					if (!decode_message(d, schema_ref(t, in->type), rec.bytes, base + in->at)) {
						return false;
					}
				}
			} else if (schema_fields(t)[entry].num == rec.num) {
				known = true;
				at = k;
				if (!decode_field(d, t, entry, &r, &rec, base)) {
					return false;
				}
			}
		}
		if (!known && !skip(&r, &rec, d->err)) {
			return false;
		}
	}
	d->depth--;
	return true;
}

static bool decode_struct_as(struct decoder *d, const struct schema_type *t, struct str bytes, struct str kind, struct str api_version, struct value *out) {
	size_t base;

	if (t->flags & SCHEMA_TYPE_TEXT) {
		return decode_text_type(d, bytes, out);
	}
	if (d->a->bytes - d->bytes_before > DECODED_BYTES_MAX) {
		return err_set(d->err, ERR_TOO_LARGE, "proto: message is too large when decoded");
	}
	base = cells_open(&d->cells, t);
	if (!decode_message(d, t, bytes, base)) {
		return false;
	}
	*out = cells_finish(&d->cells, d->a, t, base, kind, api_version);
	return true;
}

static bool decode_struct(struct decoder *d, const struct schema_type *t, struct str bytes, struct value *out) {
	return decode_struct_as(d, t, bytes, S(""), S(""), out);
}

static bool decode_object(struct decoder *d, struct str bytes, const struct schema_type *fallback, const struct schema_type **ret_type,
	struct value *out) {
	struct small unknown = { 0 }, meta = { 0 };
	struct str content_type = S(""), group, version;
	const struct schema_type *t = fallback;
	struct reader r = reader_of(str_from(bytes, 4));

	if (!pb_is_object(bytes)) {
		return err_set(d->err, ERR_BAD_REQUEST, "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
	}
	while (r.at < r.end) {
		struct record rec = { 0 };

		if (!read_record(&r, &rec, d->err) || !skip(&r, &rec, d->err)) {
			return false;
		}
		if (rec.num < 4) {
			unknown.bytes[rec.num] = rec.bytes;
		} else if (rec.num == 4) {
			content_type = rec.bytes;
		}
	}
	if (!decode_small(d, unknown.bytes[1], &meta)) {
		return false;
	}
	if (unknown.bytes[3].len) {
		return err_set(d->err, ERR_BAD_REQUEST, "content encoding \"%.*s\" is not known", STR_ARG(str_sub(unknown.bytes[3], 0, 100)));
	}
	if (meta.bytes[2].len) {
		if (!schema_split_api_version(meta.bytes[1], &group, &version)) {
			return err_set(d->err, ERR_BAD_REQUEST, "unexpected GroupVersion string: %.*s", STR_ARG(str_sub(meta.bytes[1], 0, 100)));
		}
		t = schema_kind_find(group, version, meta.bytes[2]);
	}
	if (!t || t->flags & SCHEMA_TYPE_NO_PROTO) {
		return err_set(d->err, ERR_BAD_REQUEST, "no kind \"%.*s\" is registered for version \"%.*s\" in scheme", STR_ARG(str_sub(meta.bytes[2], 0, 100)),
			STR_ARG(str_sub(meta.bytes[1], 0, 100)));
	}
	*ret_type = t;
	if (str_eq(content_type, S("application/json"))) {
		struct value *raw = NULL, *v = NULL;

		if (!json_parse(d->a, unknown.bytes[2], &(struct json_opts){ .borrow = true, .allow_duplicates = true }, &raw, d->err) ||
			!schema_decode(d->a, t, raw, NULL, &v, d->err)) {
			return false;
		}
		*out = *v;
		return true;
	}
	if (!(t->flags & SCHEMA_TYPE_OBJECT)) {
		return decode_struct(d, t, unknown.bytes[2], out);
	}
	return decode_struct_as(d, t, unknown.bytes[2], meta.bytes[2], meta.bytes[1], out);
}

static bool decoder_end(struct decoder *d, bool ok, struct value v, struct value **ret) {
	VEC_RELEASE(&d->cells.stack);
	if (ok) {
		*ret = arena_alloc(d->a, sizeof(**ret));
		**ret = v;
		(*ret)->name = N_NONE;
	}
	return ok;
}

bool pb_decode(struct arena *a, const struct schema_type *t, struct str bytes, struct value **ret, struct err *err) {
	struct decoder d = { .a = a, .err = err, .bytes_before = a->bytes };
	struct value v = { 0 };
	bool ok = decode_struct(&d, t, bytes, &v);

	return decoder_end(&d, ok, v, ret);
}

bool pb_decode_object(struct arena *a, struct str bytes, const struct schema_type *fallback, const struct schema_type **ret_type, struct value **ret,
	struct err *err) {
	struct decoder d = { .a = a, .err = err, .bytes_before = a->bytes };
	struct value v = { 0 };
	bool ok = decode_object(&d, bytes, fallback, ret_type, &v);

	return decoder_end(&d, ok, v, ret);
}

/* ---- writing the wire ----------------------------------------------------------------------------------------- */
struct encoder {
	struct buf *b;
	VEC(const struct value *) members; /* of each open object, by index of its field */
	struct arena scratch;
};

/* ---- encode ------------------------------------------------------------------------------------------------------ */
static void encode_struct(struct encoder *e, const struct schema_type *t, const struct value *v);

static bool absent(const struct value *v) {
	return !v || v->type == VALUE_NULL;
}

static void encode_json(struct encoder *e, uint32_t num, const struct value *v) {
	size_t from;

	if (absent(v)) {
		return;
	}
	from = message_open(e->b, num);
	json_print(e->b, v);
	message_close(e->b, from);
}

static void encode_quantity(struct encoder *e, const struct value *v) {
	put_bytes(e->b, 1, value_is(v, VALUE_STRING) ? value_as_str(v) : absent(v) ? S("0") : quantity_text(&e->scratch, quantity_from(v)));
}

static void encode_time(struct encoder *e, const struct value *v, bool micro) {
	struct err ignored = { 0 };
	int64_t sec = 0;
	int32_t nsec = 0;

	if (!value_is(v, VALUE_STRING) || !go_time_parse(value_as_str(v), &sec, &nsec, &ignored)) {
		return;
	}
	put_int(e->b, 1, (uint64_t)sec);
	put_int(e->b, 2, micro ? (uint64_t)(nsec / 1000 * 1000) : 0);
}

static void encode_int_or_string(struct encoder *e, const struct value *v) {
	bool text = value_is(v, VALUE_STRING);

	put_int(e->b, 1, text);
	put_int(e->b, 2, text ? 0 : (uint64_t)value_as_int(v));
	put_bytes(e->b, 3, text ? value_as_str(v) : S(""));
}

static void encode_strings(struct encoder *e, uint32_t num, const struct value *v) {
	for (size_t i = 0; i < value_len(v); i++) {
		put_bytes(e->b, num, value_as_str(value_item(v, i)));
	}
}

static void encode_nested(struct encoder *e, uint32_t num, const struct schema_type *t, const struct value *v) {
	size_t from = message_open(e->b, num);

	encode_struct(e, t, v);
	message_close(e->b, from);
}

static void encode_props_or(struct encoder *e, const struct schema_type *t, enum schema_kind kind, const struct value *v) {
	uint32_t schema_num = 1;

	if (kind == SCHEMA_PROPS_OR_BOOL) {
		schema_num = 2;
		put_int(e->b, 1, value_is(v, VALUE_OBJECT) || value_as_bool(v));
	} else if (kind == SCHEMA_PROPS_OR_STRINGS && value_is(v, VALUE_ARRAY)) {
		encode_strings(e, 2, v);
	} else if (value_is(v, VALUE_ARRAY)) {
		for (size_t i = 0; i < value_len(v); i++) {
			encode_nested(e, 2, t, value_item(v, i));
		}
	}
	if (value_is(v, VALUE_OBJECT)) {
		encode_nested(e, schema_num, t, v);
	}
}

static void encode_unknown(struct encoder *e, const struct value *v) {
	size_t from = message_open(e->b, 1);

	put_bytes(e->b, 1, value_str_at(v, N_apiVersion));
	put_bytes(e->b, 2, value_str_at(v, N_kind));
	message_close(e->b, from);
	encode_json(e, 2, v);
	put_bytes(e->b, 3, S(""));
	put_bytes(e->b, 4, S("application/json"));
}

/* The inside of a message of a kind that is one. */
static void encode_inside(struct encoder *e, const struct schema_type *owner, const struct schema_field *f, const struct value *v) {
	const struct schema_type *t = schema_field_type(owner, f);

	switch ((enum schema_kind)f->kind) {
	case SCHEMA_STRUCT:
		encode_struct(e, t, v);
		break;
	case SCHEMA_STRINGS:
		encode_strings(e, 1, v);
		break;
	case SCHEMA_QUANTITY:
		encode_quantity(e, v);
		break;
	case SCHEMA_INT_OR_STRING:
		encode_int_or_string(e, v);
		break;
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
		encode_time(e, v, f->kind == SCHEMA_MICRO_TIME);
		break;
	case SCHEMA_DURATION: {
		struct err ignored = { 0 };
		int64_t nsec = 0;

		put_int(e->b, 1, go_duration_parse(value_as_str(v), &nsec, &ignored) ? (uint64_t)nsec : 0);
		break;
	}
	case SCHEMA_RAW_EXTENSION:
	case SCHEMA_FIELDS_V1:
	case SCHEMA_JSON:
	case SCHEMA_ANY:
		encode_json(e, 1, v);
		break;
	case SCHEMA_UNKNOWN:
		encode_unknown(e, v);
		break;
	case SCHEMA_PROPS_OR_ARRAY:
	case SCHEMA_PROPS_OR_BOOL:
	case SCHEMA_PROPS_OR_STRINGS:
		encode_props_or(e, t, f->kind, v);
		break;
	case SCHEMA_STRING:
	case SCHEMA_BOOL:
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_UINT64:
	case SCHEMA_DOUBLE:
	case SCHEMA_BYTES:
		assert(false); /* encode_item writes these */
	}
}

static void encode_bytes(struct encoder *e, uint32_t num, const struct value *v) {
	size_t from = message_open(e->b, num);

	walk_base64_decode(e->b, value_as_str(v));
	message_close(e->b, from);
}

/* One value under a number; absent stands for zero. */
static void encode_item(struct encoder *e, const struct schema_type *owner, const struct schema_field *f, uint32_t num, const struct value *v) {
	double d;
	uint64_t bits;
	size_t from;

	switch ((enum schema_kind)f->kind) {
	case SCHEMA_STRING:
		put_bytes(e->b, num, value_as_str(v));
		return;
	case SCHEMA_BOOL:
		put_int(e->b, num, value_as_bool(v));
		return;
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_UINT64:
		put_int(e->b, num, (uint64_t)value_as_int(v));
		return;
	case SCHEMA_DOUBLE:
		d = value_as_double(v);
		memcpy(&bits, &d, sizeof(bits));
		put_tag(e->b, num, WIRE_FIXED64);
		buf_add(e->b, &bits, sizeof(bits));
		return;
	case SCHEMA_BYTES:
		encode_bytes(e, num, v);
		return;
	case SCHEMA_STRUCT:
	case SCHEMA_STRINGS:
	case SCHEMA_QUANTITY:
	case SCHEMA_INT_OR_STRING:
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
	case SCHEMA_DURATION:
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
	from = message_open(e->b, num);
	encode_inside(e, owner, f, v);
	message_close(e->b, from);
}

struct entry {
	struct str key;
	const struct value *v;
};

static int entry_cmp(const void *a, const void *b) {
	return str_cmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static void encode_map(struct encoder *e, const struct schema_type *owner, const struct schema_field *f, const struct value *v) {
	size_t n = value_is(v, VALUE_OBJECT) ? v->len : 0;
	struct entry few[16], *entries = n <= ARRAY_LEN(few) ? few : xcalloc(n, sizeof(*entries));
	bool sorted = true;

	for (size_t i = 0; i < n; i++) {
		entries[i] = (struct entry){ value_key(v, i), value_item(v, i) };
		sorted = sorted && (i == 0 || entry_cmp(&entries[i - 1], &entries[i]) < 0);
	}
	if (!sorted) {
		qsort(entries, n, sizeof(*entries), entry_cmp);
	}
	for (size_t i = 0; i < n; i++) {
		size_t from = message_open(e->b, f->num);

		put_bytes(e->b, 1, entries[i].key);
		if (f->kind == SCHEMA_BYTES && absent(entries[i].v)) { /* nil bytes have no field */
			message_close(e->b, from);
			continue;
		}
		encode_item(e, owner, f, 2, entries[i].v);
		message_close(e->b, from);
	}
	if (entries != few) {
		free(entries);
	}
}

static void encode_field(struct encoder *e, const struct schema_type *t, const struct schema_field *f, const struct value *v) {
	switch ((enum schema_shape)f->shape) {
	case SCHEMA_ONE:
		if (absent(v) && (f->flags & SCHEMA_PTR || f->kind == SCHEMA_BYTES)) {
			return;
		}
		if (f->kind == SCHEMA_STRINGS && !(f->flags & SCHEMA_PTR) && absent(v)) {
			return;
		}
		encode_item(e, t, f, f->num, v);
		return;
	case SCHEMA_LIST:
		for (size_t i = 0; i < value_len(v); i++) {
			encode_item(e, t, f, f->num, value_item(v, i));
		}
		return;
	case SCHEMA_MAP:
		encode_map(e, t, f, v);
		return;
	}
}

/* The fields of t, whose values stand in e->members from `base` on, by ascending number. */
static void encode_message(struct encoder *e, const struct schema_type *t, size_t base) {
	const uint16_t *order = t->set->order + t->order_at;

	for (size_t i = 0; i < t->order_len; i++) {
		if (order[i] & 0x8000) {
			const struct schema_inline *in = &t->set->inlines[t->inlines_at + (order[i] & 0x7fff)];
			size_t from = message_open(e->b, in->num);

			encode_message(e, schema_ref(t, in->type), base + in->at);
			message_close(e->b, from);
		} else {
			encode_field(e, t, &schema_fields(t)[order[i]], e->members.at[base + order[i]]);
		}
	}
}

static void encode_struct(struct encoder *e, const struct schema_type *t, const struct value *v) {
	size_t base = e->members.len;

	if (t->flags & SCHEMA_TYPE_TEXT) {
		struct str text = value_as_str(v), group = S(""), version = text;
		ptrdiff_t slash = str_rindex(text, '/');

		if (slash > 0) {
			group = str_sub(text, 0, (size_t)slash);
			version = str_from(text, (size_t)slash + 1);
		}
		put_bytes(e->b, 1, group);
		put_bytes(e->b, 2, version);
		return;
	}
	VEC_RESERVE(&e->members, base + t->fields_len + 1);
	e->members.len = base + t->fields_len;
	memset(e->members.at + base, 0, t->fields_len * sizeof(*e->members.at));
	if (value_is(v, VALUE_OBJECT)) {
		for (size_t i = 0; i < v->len; i++) {
			const struct value *m = value_item(v, i);
			const struct schema_field *f = schema_field_find(t, m->name);

			if (f) {
				e->members.at[base + (size_t)(f - schema_fields(t))] = m;
			}
		}
	}
	encode_message(e, t, base);
	e->members.len = base;
}

bool pb_encode(struct buf *b, const struct schema_type *t, const struct value *v) {
	struct encoder e = { .b = b };

	encode_struct(&e, t, v);
	VEC_RELEASE(&e.members);
	arena_release(&e.scratch);
	return !b->overflow;
}

bool pb_encode_object(struct buf *b, const struct schema_type *t, const struct value *v) {
	struct str kind = value_str_at(v, N_kind), api_version = value_str_at(v, N_apiVersion), group;
	size_t from;

	buf_add(b, "k8s\0", 4);
	from = message_open(b, 1);
	if (kind.len == 0 && t->flags & SCHEMA_TYPE_OBJECT) { /* it does not say: then what it must be */
		kind = schema_type_short(t);
		group = schema_type_group(t);
		api_version = schema_type_version(t);
		put_tag(b, 1, WIRE_BYTES);
		put_varint(b, group.len + (group.len != 0) + api_version.len);
		buf_str(b, group);
		buf_str(b, group.len ? S("/") : S(""));
		buf_str(b, api_version);
	} else {
		put_bytes(b, 1, api_version);
	}
	put_bytes(b, 2, kind);
	message_close(b, from);
	from = message_open(b, 2);
	pb_encode(b, t, v);
	message_close(b, from);
	put_bytes(b, 3, S(""));
	put_bytes(b, 4, S(""));
	return !b->overflow;
}
