/* SPDX-License-Identifier: Apache-2.0 */
/*
 * obj.c - frozen objects: one block of memory with the count, all nodes and all text, shared by threads.
 *
 * The block: struct obj, the root, then each container's items with its table of key offsets behind
 * them, then the text, packed. Equal texts of moderate length are stored once where a small cache sees
 * them (an object repeats its names, times and conditions). Written by obj_freeze alone; after that only
 * the count and the pointer to the JSON bytes change, both atomically.
 */
#include "value/value.h"

#include "value/shape.h"

#define SEEN_SLOTS 512         /* texts the cache remembers; a later one with the same slot takes its place */
#define SEEN_BYTES_MAX 128     /* longer texts are seldom equal */
#define BLOCK_BYTES_MAX ((size_t)1 << 31)

/* The same walk is made twice: to measure, when places is filled, and to write, when it is read back. */
struct freeze {
	size_t nodes_bytes, text_bytes;
	struct seen {
		struct str text;
		uint32_t at;
	} seen[SEEN_SLOTS];
	uint32_t *places; /* of each text in walking order: offset in the text area, or FRESH and it */
	size_t len, cap;

	char *items; /* the writing walk: next free node, */
	char *text;  /* start of the text area, */
	size_t read; /* next of places */
};
#define FRESH 0x80000000u /* the first of its kind: its bytes are to be written */

static size_t table_bytes(const struct value *v) {
	return v->shape & (SHAPE_KEYS | SHAPE_OFFSETS) ? (v->len * sizeof(uint32_t) + 7) & ~(size_t)7 : 0;
}

/* Objects that lost their text keys keep the table in an arena; a frozen one drops it. */
static bool has_text_key(const struct value *v) {
	if (v->type == VALUE_OBJECT && v->shape & (SHAPE_KEYS | SHAPE_OFFSETS)) {
		for (size_t i = 0; i < v->len; i++) {
			if (!v->u.items[i].name) {
				return true;
			}
		}
	}
	return false;
}

/* Keys carry their length in front and so never share bytes with plain strings. */
static void measure_text(struct freeze *f, struct str s, bool key) {
	if (f->len == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 256;
		f->places = xrealloc(f->places, f->cap * sizeof(*f->places));
	}
	struct seen *slot = NULL;
	if (s.len <= SEEN_BYTES_MAX) {
		slot = &f->seen[(str_hash(s) + key) % SEEN_SLOTS];
		if (slot->text.ptr && (slot->at & FRESH) == (key ? FRESH : 0) && str_eq(slot->text, s)) {
			f->places[f->len++] = slot->at & ~FRESH;
			return;
		}
	}
	uint32_t at = (uint32_t)f->text_bytes;
	if (slot && s.ptr) {
		*slot = (struct seen){ s, at | (key ? FRESH : 0) };
	}
	f->places[f->len++] = at | FRESH;
	f->text_bytes += s.len + (key ? key_length_bytes(s.len) : 0);
	assert(f->text_bytes < BLOCK_BYTES_MAX);
}

static void measure(struct freeze *f, const struct value *v) {
	if (v->type == VALUE_STRING && v->len) {
		measure_text(f, value_as_str(v), false);
	}
	if (v->type < VALUE_ARRAY || !v->len) {
		return;
	}
	bool keys = has_text_key(v);
	f->nodes_bytes += v->len * sizeof(*v) + (keys ? table_bytes(v) : 0);
	for (size_t i = 0; i < v->len; i++) {
		if (keys && !v->u.items[i].name) {
			measure_text(f, value_text_key(v, i), true);
		}
		measure(f, &v->u.items[i]);
	}
}

static char *write_text(struct freeze *f, struct str s, bool key) {
	uint32_t place = f->places[f->read++];
	char *start = f->text + (place & ~FRESH);
	if (place & FRESH) {
		char *at = key ? key_length_put(start, s.len) : start;
		if (s.len) {
			memcpy(at, s.ptr, s.len);
		}
	}
	return start;
}

static void write_node(struct freeze *f, struct value *to, const struct value *from) {
	*to = *from;
	to->shape = from->type >= VALUE_ARRAY ? SHAPE_FROZEN : 0;
	if (from->type == VALUE_STRING) {
		to->u.text = from->len ? write_text(f, value_as_str(from), false) : "";
	}
	if (from->type < VALUE_ARRAY) {
		return;
	}
	to->u.items = NULL;
	if (!from->len) {
		return;
	}
	bool keys = has_text_key(from);
	to->u.items = (struct value *)f->items;
	to->shape |= keys ? SHAPE_OFFSETS : 0;
	f->items += from->len * sizeof(*from) + (keys ? table_bytes(from) : 0);
	if (keys) {
		memset(value_key_offsets(to), 0, table_bytes(from));
	}
	for (size_t i = 0; i < from->len; i++) {
		if (keys && !from->u.items[i].name) {
			value_key_offsets(to)[i] = (uint32_t)(write_text(f, value_text_key(from, i), true) - (char *)to->u.items);
		}
		write_node(f, &to->u.items[i], &from->u.items[i]);
	}
}

struct obj *obj_freeze(const struct value *root, int64_t revision) {
	static const struct value none = { .type = VALUE_NULL };
	auto_free struct freeze *f = xmalloc(sizeof(*f));
	*f = (struct freeze){ 0 };
	root = root ? root : &none;
	measure(f, root);
	size_t head = sizeof(struct obj) + sizeof(struct value), bytes = head + f->nodes_bytes + f->text_bytes;
	assert(bytes < BLOCK_BYTES_MAX);
	struct obj *o = xmalloc(bytes);
	struct value *frozen = (struct value *)(o + 1);
	*o = (struct obj){ .refs = 1, .bytes = (uint32_t)bytes, .revision = revision, .root = frozen };
	f->items = (char *)o + head;
	f->text = f->items + f->nodes_bytes;
	write_node(f, frozen, root);
	frozen->name = N_NONE;
	assert(f->read == f->len);
	free(f->places);
	return o;
}

struct obj *obj_ref(struct obj *o) {
	if (o) {
		__atomic_fetch_add(&o->refs, 1, __ATOMIC_RELAXED);
	}
	return o;
}

void obj_unref(struct obj *o) {
	if (o && __atomic_fetch_sub(&o->refs, 1, __ATOMIC_ACQ_REL) == 1) {
		free(o->json);
		free(o);
	}
}

void obj_unref_p(struct obj **o) {
	obj_unref(*o);
	*o = NULL;
}

struct str obj_json(struct obj *o) {
	struct encoded *json = __atomic_load_n(&o->json, __ATOMIC_ACQUIRE);
	if (!json) {
		auto_buf struct buf b = BUF_INIT(UINT32_MAX / 2);
		buf_reserve(&b, sizeof(*json) + o->bytes);
		b.len = b.ptr ? sizeof(*json) : 0;
		bool ok = json_print(&b, o->root);
		assert(ok); /* the block is below 2 GB, but the escapes of its text may not be: nobody stores such objects */
		struct encoded *made = xrealloc(TAKE(b.ptr), b.len);
		made->len = (uint32_t)(b.len - sizeof(*made));
		if (__atomic_compare_exchange_n(&o->json, &json, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			json = made;
		} else {
			free(made); /* another thread was first; `json` is its */
		}
	}
	return (struct str){ json->bytes, json->len };
}
