/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smp.c - strategic merge patch: a patch that knows from the tables which lists merge, and by which key.
 *
 * Called by the API server for application/strategic-merge-patch+json and by clients that apply. Works on copies: the
 * original's copy is edited in place, the patch's copy loses its directives on the way. Directives: $patch (replace, delete,
 * merge), $retainKeys, $setElementOrder/<list>, $deleteFromPrimitiveList/<list>. Any thread.
 */
#include "schema/schema.h"

#define SET_ORDER S("$setElementOrder/")
#define DELETE_FROM S("$deleteFromPrimitiveList/")

enum { DEPTH_MAX = 1000 };
#define WORK_MAX ((size_t)100 << 20) /* comparisons of items and keys: lists are matched pair by pair */

struct merge {
	struct arena *a;
	struct err *err;
	int depth;
	size_t work;
};

/* What is known of an object: its type, or the field whose map it is, or nothing. */
struct place {
	const struct schema_type *type;
	const struct schema_type *owner;
	const struct schema_field *map;
};

/* What is known of one member. */
struct member {
	const struct schema_type *owner;
	const struct schema_field *field; /* NULL: nothing */
	bool item;                        /* a value of the field's map, not the field itself */
};

static bool merge_object(struct merge *m, struct place p, struct value *original, struct value *patch);
static bool merge_list(struct merge *m, struct member at, struct value *original, struct value *patch);

/* Counts pairs that are going to be compared; false when a request asks for too many. */
static bool work(struct merge *m, const struct value *a, const struct value *b) {
	m->work += value_len(a) * value_len(b);
	return m->work <= WORK_MAX || err_set(m->err, ERR_TOO_LARGE, "lists or maps are too long to be merged");
}

static struct member member_of(struct place p, struct str key) {
	uint16_t name;

	if (p.map) {
		return (struct member){ p.owner, p.map, true };
	}
	name = p.type ? name_find(key) : N_NONE;
	return name ? (struct member){ p.type, schema_field_find(p.type, name), false } : (struct member){ 0 };
}

/* Of an object found under a member, or of an item of its list. */
static struct place place_of(struct member at) {
	if (!at.field) {
		return (struct place){ 0 };
	}
	if (at.field->shape == SCHEMA_MAP && !at.item) {
		return (struct place){ .owner = at.owner, .map = at.field };
	}
	return (struct place){ .type = at.field->kind == SCHEMA_STRUCT ? schema_field_type(at.owner, at.field) : NULL };
}

static bool merges(struct member at) {
	return at.field && !at.item && at.field->flags & SCHEMA_PATCH_MERGE;
}

static bool replaces(struct member at) {
	return at.field && !at.item && at.field->flags & SCHEMA_PATCH_REPLACE;
}

static uint16_t merge_key(struct member at) {
	return at.field ? at.field->merge_key : N_NONE;
}

/* Go's way to print a map: what an error shows of the offender. */
static void print_go(struct buf *b, const struct value *v) {
	if (value_is(v, VALUE_STRING)) {
		buf_str(b, value_as_str(v));
	} else if (value_is(v, VALUE_OBJECT)) {
		buf_c(b, "map[");
		for (size_t i = 0; i < value_len(v); i++) {
			buf_c(b, i ? " " : "");
			buf_str(b, value_key(v, i));
			buf_char(b, ':');
			print_go(b, value_item(v, i));
		}
		buf_char(b, ']');
	} else if (value_is(v, VALUE_ARRAY)) {
		buf_char(b, '[');
		for (size_t i = 0; i < value_len(v); i++) {
			buf_c(b, i ? " " : "");
			print_go(b, value_item(v, i));
		}
		buf_char(b, ']');
	} else if (!v || v->type == VALUE_NULL) {
		buf_c(b, "<nil>");
	} else {
		json_print(b, v);
	}
}

static bool no_merge_key(struct merge *m, struct value *item, uint16_t key) {
	auto_buf struct buf b = BUF_INIT(400);

	value_sort_keys(item);
	print_go(&b, item);
	return err_set(m->err, ERR_BAD_REQUEST, "map: %.*s does not contain declared merge key: %.*s", STR_ARG(buf_view(&b)), STR_ARG(name_text(key)));
}

static bool bad_directive(struct merge *m, const struct value *directive, const struct value *in) {
	auto_buf struct buf what = BUF_INIT(100), b = BUF_INIT(400);

	print_go(&what, directive);
	print_go(&b, in);
	return err_set(m->err, ERR_BAD_REQUEST, "unknown patch type: %.*s in map: %.*s", STR_ARG(buf_view(&what)), STR_ARG(buf_view(&b)));
}

static bool bad_retain_keys(struct merge *m) {
	return err_set(m->err, ERR_BAD_REQUEST, "invalid patch format of retainKeys");
}

static bool bad_list(struct merge *m, const char *what) {
	return err_set(m->err, ERR_BAD_REQUEST, "invalid patch format of %s list", what);
}

/* ---- what comes new from the patch ----------------------------------------------------------------------------- */

/* Takes directives and nulls out of a value that has no counterpart. False: the value itself is to go. */
static bool strip(struct value *v) {
	if (value_is(v, VALUE_OBJECT)) {
		if (str_eq(value_str_at(v, N__patch), S("delete"))) {
			return false;
		}
		for (size_t i = value_len(v); i-- > 0;) {
			struct str key = value_key(v, i);
			struct value *it = value_item(v, i);

			if (it->type == VALUE_NULL || str_eq(key, S("$patch")) || str_eq(key, S("$retainKeys")) || str_starts(key, SET_ORDER) ||
				str_starts(key, DELETE_FROM) || !strip(it)) {
				value_remove_at(v, i);
			}
		}
	} else if (value_is(v, VALUE_ARRAY)) {
		for (size_t i = value_len(v); i-- > 0;) {
			struct value *it = value_item(v, i);

			if (value_is(it, VALUE_OBJECT) && value_get(it, N__patch)) { /* delete, or replace as a mark in the list */
				value_remove_at(v, i);
			} else {
				strip(it);
			}
		}
	}
	return true;
}

/* ---- the order of lists -------------------------------------------------------------------------------------------- */

/* Are two items the same one: by merge key, or as scalars? */
static bool same_item(const struct value *a, const struct value *b, uint16_t key) {
	if (key == N_NONE || a->type != VALUE_OBJECT || b->type != VALUE_OBJECT) {
		return value_eq(a, b);
	}
	return value_get(a, key) && value_get(b, key) && value_eq(value_get(a, key), value_get(b, key));
}

static ptrdiff_t index_of(const struct value *list, const struct value *item, uint16_t key) {
	for (size_t i = 0; i < value_len(list); i++) {
		if (same_item(value_item(list, i), item, key)) {
			return (ptrdiff_t)i;
		}
	}
	return -1;
}

/* Sorts by each item's place in `order`; those that are not in it keep their places behind. */
static void sort_by(struct value *list, const struct value *order, uint16_t key) {
	for (size_t i = 1; i < value_len(list); i++) {
		struct value moved = *value_item(list, i);
		ptrdiff_t mine = index_of(order, &moved, key);
		size_t k = i;

		for (; mine >= 0 && k > 0; k--) {
			ptrdiff_t other = index_of(order, value_item(list, k - 1), key);

			if (other >= 0 && other <= mine) {
				break;
			}
			*value_item(list, k) = *value_item(list, k - 1);
		}
		*value_item(list, k) = moved;
	}
}

/*
 * The items that the patch names go in the patch's order, the server's own in the server's; between the two the server's order
 * decides where it knows both, else the patch's item goes first.
 */
static struct value *order_items(struct merge *m, struct value *merged, const struct value *patch_order, const struct value *server_order, uint16_t key) {
	struct value *named = value_new_array(m->a), *own = value_new_array(m->a), *out = value_new_array(m->a);
	size_t i = 0, k = 0;

	for (size_t n = 0; n < value_len(merged); n++) {
		const struct value *it = value_item(merged, n);

		value_push(m->a, index_of(patch_order, it, key) >= 0 ? named : own, it);
	}
	sort_by(named, patch_order, key);
	sort_by(own, server_order, key);
	while (i < value_len(own) || k < value_len(named)) {
		bool take_own = k == value_len(named);

		if (i < value_len(own) && !take_own) {
			ptrdiff_t left = index_of(server_order, value_item(own, i), key), right = index_of(server_order, value_item(named, k), key);

			take_own = left >= 0 && right >= 0 && left < right;
		}
		value_push(m->a, out, take_own ? value_item(own, i++) : value_item(named, k++));
	}
	return out;
}

/* ---- lists ------------------------------------------------------------------------------------------------------------ */

/* Takes $patch items out of the patch's list. `*ret_replace`: what is left replaces the original. */
static bool take_directives(struct merge *m, struct value *original, struct value *patch, uint16_t key, bool *ret_replace) {
	for (size_t i = 0; i < value_len(patch);) {
		struct value *it = value_item(patch, i), *wanted;
		const struct value *directive = value_get(it, N__patch);

		if (!directive) {
			i++;
			continue;
		}
		if (str_eq(value_as_str(directive), S("delete"))) {
			wanted = value_get(it, key);
			if (!wanted) {
				return no_merge_key(m, it, key);
			}
			for (size_t k = value_len(original); k-- > 0;) {
				const struct value *has = value_get(value_item(original, k), key);

				if (has && value_eq(has, wanted)) {
					value_remove_at(original, k);
				}
			}
		} else if (str_eq(value_as_str(directive), S("replace"))) {
			*ret_replace = true;
		} else if (str_eq(value_as_str(directive), S("merge"))) {
			return err_set(m->err, ERR_BAD_REQUEST, "merging lists cannot yet be specified in the patch");
		} else {
			return bad_directive(m, directive, it);
		}
		value_remove_at(patch, i);
	}
	return true;
}

static bool merge_objects(struct merge *m, struct member at, struct value *original, struct value *patch, struct value **ret_merged) {
	uint16_t key = merge_key(at);
	bool replace = false;
	struct value *merged;

	if (key == N_NONE) {
		struct str name = name_text(at.field->name);

		return err_set(m->err, ERR_BAD_REQUEST, "cannot merge lists without merge key for %.*s", STR_ARG(name));
	}
	if (!take_directives(m, original, patch, key, &replace)) {
		return false;
	}
	if (replace) {
		for (size_t i = 0; i < value_len(patch); i++) {
			strip(value_item(patch, i));
		}
		original->len = 0;
		*ret_merged = patch;
		return true;
	}
	merged = value_copy_shallow(m->a, original);
	for (size_t i = 0; i < value_len(patch); i++) {
		struct value *it = value_item(patch, i);
		ptrdiff_t found;

		if (!value_get(it, key)) {
			return no_merge_key(m, it, key);
		}
		found = index_of(merged, it, key);
		if (found < 0) {
			strip(it);
			value_push(m->a, merged, it);
		} else if (!merge_object(m, place_of(at), value_item(merged, (size_t)found), it)) {
			return false;
		}
	}
	*ret_merged = merged;
	return true;
}

/* All objects, or none. */
static bool items_alike(struct merge *m, const struct value *original, const struct value *patch, bool *ret_objects) {
	const struct value *lists[] = { original, patch };
	bool first = true;

	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		for (size_t i = 0; i < value_len(lists[l]); i++) {
			const struct value *it = value_item(lists[l], i);

			if (it->type == VALUE_ARRAY) {
				return err_set(m->err, ERR_INVALID, "lists of lists are not supported");
			}
			if (!first && *ret_objects != (it->type == VALUE_OBJECT)) {
				return err_set(m->err, ERR_BAD_REQUEST, "list element types are not identical");
			}
			*ret_objects = it->type == VALUE_OBJECT;
			first = false;
		}
	}
	return true;
}

/* Merges the patch's list into the original's, which becomes the result. */
static bool merge_list(struct merge *m, struct member at, struct value *original, struct value *patch) {
	struct value *merged = NULL;
	bool objects = false;

	if (!work(m, original, original) || !work(m, patch, patch) || !work(m, original, patch)) {
		return false;
	}
	if (!merges(at)) {
		strip(patch);
		patch->name = original->name;
		*original = *patch;
		return true;
	}
	if (!items_alike(m, original, patch, &objects)) {
		return false;
	}
	if (objects) {
		if (!merge_objects(m, at, original, patch, &merged)) {
			return false;
		}
	} else {
		merged = value_new_array(m->a);
		for (size_t i = 0; i < value_len(original); i++) {
			if (index_of(merged, value_item(original, i), N_NONE) < 0) {
				value_push(m->a, merged, value_item(original, i));
			}
		}
		for (size_t i = 0; i < value_len(patch); i++) {
			if (index_of(merged, value_item(patch, i), N_NONE) < 0) {
				value_push(m->a, merged, value_item(patch, i));
			}
		}
	}
	merged = order_items(m, merged, patch, original, objects ? merge_key(at) : N_NONE);
	merged->name = original->name;
	*original = *merged;
	return true;
}

static void delete_scalars(struct value *original, const struct value *patch) {
	for (size_t i = value_len(original); i-- > 0;) {
		if (index_of(patch, value_item(original, i), N_NONE) >= 0) {
			value_remove_at(original, i);
		}
	}
}

/* The patch's items must stand in the order that it declares. */
static bool order_agrees(struct merge *m, const struct value *patch, const struct value *order, uint16_t key) {
	size_t at = 0;

	for (size_t i = 0; i < value_len(patch); i++) {
		const struct value *it = value_item(patch, i);

		if (value_get(it, N__patch)) {
			continue;
		}
		while (at < value_len(order) && !same_item(value_item(order, at), it, key)) {
			at++;
		}
		if (at == value_len(order)) {
			auto_buf struct buf p = BUF_INIT(250), o = BUF_INIT(250);

			print_go(&p, patch);
			print_go(&o, order);
			return err_set(m->err, ERR_BAD_REQUEST, "The order in patch list:\n%.*s\n doesn't match $setElementOrder list:\n%.*s\n",
				STR_ARG(buf_view(&p)), STR_ARG(buf_view(&o)));
		}
		at++;
	}
	return true;
}

/* One $setElementOrder: merges the list that it names, in that order, and takes both out of the patch. */
static bool apply_order(struct merge *m, struct place p, struct value *original, struct value *patch, struct str list_name, const struct value *order) {
	struct member at = member_of(p, list_name);
	struct value *old = value_get_str(original, list_name), *new = value_get_str(patch, list_name), *server_order, *merged;
	uint16_t key = merge_key(at);

	if (old && old->type == VALUE_NULL) {
		old = NULL;
	}
	if (new && new->type == VALUE_NULL) {
		return true; /* the list goes; the main pass does it */
	}
	if (!value_is(order, VALUE_ARRAY) || (old && old->type != VALUE_ARRAY) || (new && new->type != VALUE_ARRAY)) {
		return bad_list(m, "setElementOrder");
	}
	if (!old && !new) {
		return true;
	}
	if (!work(m, order, order) || !work(m, order, old) || !work(m, order, new)) {
		return false;
	}
	if (new && !order_agrees(m, new, order, key)) {
		return false;
	}
	server_order = old ? value_copy_shallow(m->a, old) : value_new_array(m->a);
	if (old && new) {
		if (!merge_list(m, at, old, new)) {
			return false;
		}
		merged = old;
	} else if (new) {
		strip(new);
		merged = new;
	} else {
		merged = old;
	}
	merged = order_items(m, merged, order, server_order, key);
	value_set_key(m->a, original, list_name, merged);
	value_remove_key(patch, list_name);
	return true;
}

/* ---- objects ---------------------------------------------------------------------------------------------------------- */
static bool retain_keys(struct merge *m, struct value *original, struct value *patch) {
	struct value keep, *list = value_get(patch, N__retainKeys);

	if (!list) {
		return true;
	}
	keep = *list;
	value_remove(patch, N__retainKeys);
	if (keep.type != VALUE_ARRAY) {
		return bad_retain_keys(m);
	}
	for (size_t i = 0; i < value_len(patch); i++) {
		struct str key = value_key(patch, i);
		struct value want = { .type = VALUE_STRING, .len = (uint32_t)key.len, .u.text = key.ptr };

		if (value_item(patch, i)->type != VALUE_NULL && !str_starts(key, DELETE_FROM) && !str_starts(key, SET_ORDER) &&
			index_of(&keep, &want, N_NONE) < 0) {
			return bad_retain_keys(m);
		}
	}
	for (size_t i = value_len(original); i-- > 0;) {
		struct str key = value_key(original, i);
		struct value want = { .type = VALUE_STRING, .len = (uint32_t)key.len, .u.text = key.ptr };

		if (index_of(&keep, &want, N_NONE) < 0) {
			value_remove_at(original, i);
		}
	}
	return true;
}

static bool set_orders(struct merge *m, struct place p, struct value *original, struct value *patch) {
	for (size_t i = 0; i < value_len(patch);) {
		struct str key = value_key(patch, i);
		struct value order;

		if (!str_starts(key, SET_ORDER)) {
			i++;
			continue;
		}
		order = *value_item(patch, i);
		value_remove_at(patch, i);
		if (!apply_order(m, p, original, patch, str_from(key, SET_ORDER.len), &order)) {
			return false;
		}
		i = 0; /* the list itself is gone as well */
	}
	return true;
}

static bool merge_member(struct merge *m, struct place p, struct value *original, struct str key, struct value *patch) {
	bool deletes = str_starts(key, DELETE_FROM);
	struct member at;
	struct value *old;

	if (deletes) {
		key = str_from(key, DELETE_FROM.len);
		if (patch->type != VALUE_ARRAY && patch->type != VALUE_NULL) {
			return bad_list(m, "primitive");
		}
	}
	if (patch->type == VALUE_NULL) {
		value_remove_key(original, key);
		return true;
	}
	old = value_get_str(original, key);
	if (deletes) {
		if (!work(m, old, patch)) {
			return false;
		}
		if (value_is(old, VALUE_ARRAY)) {
			delete_scalars(old, patch);
		}
		return true;
	}
	at = member_of(p, key);
	if (value_is(old, VALUE_OBJECT) && patch->type == VALUE_OBJECT && !replaces(at)) {
		return merge_object(m, place_of(at), old, patch);
	}
	if (value_is(old, VALUE_ARRAY) && patch->type == VALUE_ARRAY) {
		return merge_list(m, at, old, patch);
	}
	if (strip(patch)) {
		value_set_key(m->a, original, key, patch);
	} else if (old) {
		value_remove_key(original, key);
	}
	return true;
}

static bool merge_object(struct merge *m, struct place p, struct value *original, struct value *patch) {
	const struct value *directive = value_get(patch, N__patch);
	bool ok = true;

	if (directive) {
		uint16_t name = original->name;

		if (str_eq(value_as_str(directive), S("replace"))) {
			value_remove(patch, N__patch);
			strip(patch);
			*original = *patch;
		} else if (str_eq(value_as_str(directive), S("delete"))) {
			*original = (struct value){ .type = VALUE_OBJECT };
		} else if (str_eq(value_as_str(directive), S("merge"))) {
			value_remove(patch, N__patch);
			return merge_object(m, p, original, patch);
		} else {
			return bad_directive(m, directive, patch);
		}
		original->name = name;
		return true;
	}
	if (++m->depth > DEPTH_MAX) {
		return err_set(m->err, ERR_BAD_REQUEST, "exceeded max depth");
	}
	if (!work(m, patch, original) || !work(m, patch, patch)) {
		return false;
	}
	if (!retain_keys(m, original, patch) || !set_orders(m, p, original, patch)) {
		return false;
	}
	for (size_t i = 0; ok && i < value_len(patch); i++) {
		ok = merge_member(m, p, original, value_key(patch, i), value_item(patch, i));
	}
	m->depth--;
	return ok;
}

bool smp_apply(struct arena *a, const struct schema_type *t, const struct value *original, const struct value *patch, struct value **ret,
	struct err *err) {
	struct merge m = { .a = a, .err = err };
	struct value *to = original ? value_copy(a, original) : value_new_object(a), *by = value_copy(a, patch);

	if (!value_is(to, VALUE_OBJECT) || !value_is(by, VALUE_OBJECT)) {
		return err_set(err, ERR_BAD_REQUEST, "invalid JSON document");
	}
	if (!merge_object(&m, (struct place){ .type = t }, to, by)) {
		return false;
	}
	*ret = to;
	return true;
}
