/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_patch.c - RFC 6902, with the words and the leniencies of the library that the API server uses:
 * "replace" and "test" take a missing member for null, negative indices count from the end. The document
 * is copied once; then each operation edits the copy.
 */
#include "value/value.h"

#include <stdarg.h>

#define OPERATIONS_MAX 10000           /* as the API server */
#define COPIED_BYTES_MAX (3u << 20)    /* what "copy" may add together, as the API server: its largest request */

struct patch {
	struct arena *a;
	struct err *err;
	struct value *doc;   /* ours to edit */
	size_t copied_bytes;
};

/* A place in the document: a member or item that may not be there (yet). */
struct place {
	struct value *parent; /* NULL: the whole document */
	struct str key;       /* in an object: unescaped */
	struct str path;      /* for messages */
};

static bool fail(struct patch *p, const char *fmt, ...) PRINTF(2, 3);
static bool fail(struct patch *p, const char *fmt, ...) {
	char msg[600];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return err_set(p->err, ERR_INVALID, "%s", msg);
}

/* "~1" is a slash and "~0" a tilde. */
static struct str unescape(struct arena *a, struct str token) {
	if (str_index(token, '~') < 0) {
		return token;
	}
	char *out = arena_alloc(a, token.len), *to = out;
	for (size_t i = 0; i < token.len; i++) {
		char next = i + 1 < token.len ? token.ptr[i + 1] : 0;
		bool escaped = token.ptr[i] == '~' && (next == '0' || next == '1');
		*to++ = escaped ? (next == '0' ? '~' : '/') : token.ptr[i];
		i += escaped;
	}
	return (struct str){ out, (size_t)(to - out) };
}

enum index_result { INDEX_OK, INDEX_BAD_SYNTAX, INDEX_OUT_OF_RANGE };

/* An index below `len`; a negative one counts from the end. No leading zeros: RFC 6901 section 4. */
static enum index_result index_of(struct str key, size_t len, size_t *ret, int64_t *ret_number) {
	int64_t i;
	struct str digits = str_from(key, key.len && key.ptr[0] == '-');
	if (!digits.len || digits.ptr[0] == '+' || digits.ptr[0] == '-' || (digits.len > 1 && digits.ptr[0] == '0') ||
		!str_to_i64(key, &i)) {
		return INDEX_BAD_SYNTAX;
	}
	*ret_number = i;
	if (i >= (int64_t)len || i < -(int64_t)len) {
		return INDEX_OUT_OF_RANGE;
	}
	*ret = (size_t)(i < 0 ? i + (int64_t)len : i);
	return INDEX_OK;
}

static bool bad_index(struct patch *p, const char *op, struct place at, enum index_result why, int64_t number) {
	if (why == INDEX_OUT_OF_RANGE) {
		return fail(p, "error in %s for path: '%.*s': Unable to access invalid index: %lld: invalid index referenced", op,
			STR_ARG(at.path), (long long)number);
	}
	return fail(p, "error in %s for path: '%.*s': value was not a proper array index: '%.*s': strconv.Atoi: parsing \"%.*s\": invalid syntax",
		op, STR_ARG(at.path), STR_ARG(at.key), STR_ARG(at.key));
}

/* Finds the container that the path's last token is looked up in. False when there is none. */
static bool locate(struct patch *p, struct str path, struct place *ret) {
	struct str rest = path, token;
	struct value *at = p->doc;
	*ret = (struct place){ .path = path };
	if (!path.len) {
		return true;
	}
	if (path.ptr[0] != '/') {
		return false;
	}
	rest = str_from(rest, 1);
	for (;;) {
		bool more = str_cut(rest, '/', &token, &rest);
		token = unescape(p->a, token);
		if (!value_is(at, VALUE_OBJECT) && !value_is(at, VALUE_ARRAY)) {
			return false;
		}
		if (!more) {
			ret->parent = at;
			ret->key = token;
			return true;
		}
		size_t i;
		int64_t number;
		at = at->type == VALUE_OBJECT ? value_get_str(at, token) :
			index_of(token, at->len, &i, &number) == INDEX_OK ? &at->u.items[i] : NULL;
	}
}

/* What stands there; *ret is NULL for a missing member. Fails for a bad index. */
static bool look(struct patch *p, const char *op, struct place at, struct value **ret) {
	size_t i;
	int64_t number = 0;
	if (!at.parent) {
		*ret = p->doc;
		return true;
	}
	if (at.parent->type == VALUE_OBJECT) {
		*ret = value_get_str(at.parent, at.key);
		return true;
	}
	enum index_result why = index_of(at.key, at.parent->len, &i, &number);
	if (why != INDEX_OK) {
		return bad_index(p, op, at, why, number);
	}
	*ret = &at.parent->u.items[i];
	return true;
}

/* `v` stands on its own. */
static bool add_at(struct patch *p, const char *op, struct place at, struct value *v) {
	size_t i;
	int64_t number = 0;
	if (!at.parent) {
		p->doc = v;
		return true;
	}
	if (at.parent->type == VALUE_OBJECT) {
		value_set_key(p->a, at.parent, at.key, v);
		return true;
	}
	if (str_eq(at.key, S("-"))) {
		value_push(p->a, at.parent, v);
		return true;
	}
	enum index_result why = index_of(at.key, at.parent->len + 1, &i, &number);
	if (why != INDEX_OK) {
		return bad_index(p, op, at, why, number);
	}
	value_insert(p->a, at.parent, i, v);
	return true;
}

static bool remove_at(struct patch *p, const char *op, struct place at) {
	struct value *v;
	if (!at.parent) {
		return fail(p, "%s operation does not apply: doc is missing path: \"\": missing value", op);
	}
	if (!look(p, op, at, &v)) {
		return false;
	}
	if (!v) {
		return fail(p, "error in %s for path: '%.*s': Unable to remove nonexistent key: %.*s: missing value", op,
			STR_ARG(at.path), STR_ARG(at.key));
	}
	value_remove_at(at.parent, (size_t)(v - at.parent->u.items));
	return true;
}

/* ---- the operations ---------------------------------------------------------------------------- */

static bool pointer(struct patch *p, const struct value *op, const char *name, const char *member, struct str *ret) {
	const struct value *v = value_get_str(op, str_c(member));
	if (!value_is(v, VALUE_STRING)) {
		return fail(p, "%s operation failed to decode %s: missing value", name, member);
	}
	*ret = value_as_str(v);
	return true;
}

static bool place_of(struct patch *p, const struct value *op, const char *name, const char *member, struct place *ret) {
	struct str path;
	if (!pointer(p, op, name, member, &path)) {
		return false;
	}
	if (!locate(p, path, ret)) {
		return fail(p, "%s operation does not apply: doc is missing %s: \"%.*s\": missing value", name,
			str_eqc(S("from"), member) ? "from path" : "path", STR_ARG(path));
	}
	return true;
}

/* The operation's value on its own; null when it has none, as in the reference. */
static struct value *operand(struct patch *p, const struct value *op) {
	struct value *v = value_copy(p->a, value_get_str(op, S("value")));
	return v ? v : value_new_null(p->a);
}

static bool run_add(struct patch *p, const struct value *op) {
	struct place at;
	return place_of(p, op, "add", "path", &at) && add_at(p, "add", at, operand(p, op));
}

static bool run_remove(struct patch *p, const struct value *op) {
	struct place at;
	return place_of(p, op, "remove", "path", &at) && remove_at(p, "remove", at);
}

static bool run_replace(struct patch *p, const struct value *op) {
	struct place at;
	struct value *old;
	if (!place_of(p, op, "replace", "path", &at)) {
		return false;
	}
	if (at.parent && at.parent->type == VALUE_OBJECT) {
		value_set_key(p->a, at.parent, at.key, operand(p, op)); /* also where there was none */
		return true;
	}
	if (!look(p, "replace", at, &old)) {
		return fail(p, "replace operation does not apply: doc is missing key: %.*s: missing value", STR_ARG(at.path));
	}
	struct value *v = operand(p, op);
	if (at.parent) {
		*old = *v;
	} else {
		p->doc = v;
	}
	return true;
}

static bool run_move(struct patch *p, const struct value *op) {
	struct place from, to;
	struct value *v;
	struct str path;
	if (!place_of(p, op, "move", "from", &from) || !look(p, "move", from, &v) || !pointer(p, op, "move", "path", &path)) {
		return false;
	}
	if (str_eq(path, from.path) && v) {
		return true;
	}
	if (str_starts(path, from.path) && path.len > from.path.len && path.ptr[from.path.len] == '/') {
		return fail(p, "error in move for path: '%.*s': cannot move a value into itself: missing value", STR_ARG(path));
	}
	struct value moved = v ? *v : (struct value){ .type = VALUE_NULL };
	/* The place it goes to is looked for after the removal: indices may have changed. */
	return remove_at(p, "move", from) && place_of(p, op, "move", "path", &to) && add_at(p, "move", to, &moved);
}

/* About what the value takes as JSON. */
static size_t json_bytes(const struct value *v) {
	size_t bytes = 8 + (value_is(v, VALUE_STRING) ? v->len : 0);
	VALUE_EACH(v, it) {
		bytes += json_bytes(it);
	}
	for (size_t i = 0; value_is(v, VALUE_OBJECT) && i < v->len; i++) {
		bytes += value_key(v, i).len;
	}
	return bytes;
}

static bool run_copy(struct patch *p, const struct value *op) {
	struct place from, to;
	struct value *v;
	if (!place_of(p, op, "copy", "from", &from) || !look(p, "copy", from, &v)) {
		return false;
	}
	p->copied_bytes += json_bytes(v);
	if (p->copied_bytes > COPIED_BYTES_MAX) {
		return err_set(p->err, ERR_TOO_LARGE,
			"Unable to complete the copy, the accumulated size increase of copy is %zu, exceeding the limit %u", p->copied_bytes,
			COPIED_BYTES_MAX);
	}
	struct value *copy = v ? value_copy(p->a, v) : value_new_null(p->a);
	return place_of(p, op, "copy", "path", &to) && add_at(p, "copy", to, copy);
}

static bool run_test(struct patch *p, const struct value *op) {
	static const struct value null = { .type = VALUE_NULL };
	struct place at;
	struct value *v;
	if (!place_of(p, op, "test", "path", &at) || !look(p, "test", at, &v)) {
		return false;
	}
	const struct value *want = value_get_str(op, S("value"));
	return value_eq(v ? v : &null, want ? want : &null) ||
		fail(p, "testing value %.*s failed: test failed", STR_ARG(at.path));
}

static const struct {
	struct str name;
	bool (*run)(struct patch *p, const struct value *op);
} operations[] = {
	{ S_INIT("add"),     run_add },
	{ S_INIT("remove"),  run_remove },
	{ S_INIT("replace"), run_replace },
	{ S_INIT("move"),    run_move },
	{ S_INIT("copy"),    run_copy },
	{ S_INIT("test"),    run_test },
};

static bool run(struct patch *p, const struct value *op) {
	struct str name = value_as_str(value_get_str(op, S("op")));
	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		if (str_eq(name, operations[i].name)) {
			return operations[i].run(p, op);
		}
	}
	return fail(p, "Unexpected kind: %.*s", STR_ARG(name.len ? name : S("unknown")));
}

static const char *go_type(const struct value *v) {
	static const char *const names[] = {
		[VALUE_NULL] = "null",
		[VALUE_BOOL] = "bool",
		[VALUE_INT] = "number",
		[VALUE_FLOAT] = "number",
		[VALUE_STRING] = "string",
		[VALUE_ARRAY] = "array",
		[VALUE_OBJECT] = "object",
	};
	return names[v ? v->type : VALUE_NULL];
}

bool json_patch_apply(struct arena *a, const struct value *doc, const struct value *patch, struct value **ret, struct err *err) {
	struct patch p = { .a = a, .err = err };
	if (!value_is(patch, VALUE_ARRAY)) {
		return err_set(err, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type jsonpatch.Patch", go_type(patch));
	}
	if (patch->len > OPERATIONS_MAX) {
		return err_set(err, ERR_TOO_LARGE, "The allowed maximum operations in a JSON patch is %d, got %u", OPERATIONS_MAX, patch->len);
	}
	VALUE_EACH(patch, check) {
		if (check->type != VALUE_OBJECT) {
			return err_set(err, ERR_BAD_REQUEST, "json: cannot unmarshal %s into Go value of type jsonpatch.Operation", go_type(check));
		}
	}
	p.doc = doc ? value_copy(a, doc) : value_new_null(a);
	VALUE_EACH(patch, op) {
		if (!run(&p, op)) {
			return false;
		}
	}
	*ret = p.doc;
	return true;
}
