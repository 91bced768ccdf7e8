/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.h - the one value: every API object, patch, kubeconfig, CNI and OCI document in the program.
 *
 * A `struct value` is a node of 16 bytes: a tree whose containers hold their items in one array. While
 * it lives in an arena of one owner it may be built and edited; obj_freeze() copies it into one
 * counted, compact, unchanging block that threads share.
 *
 * Member names. Names that the API's schema knows are small integers (`N_metadata`, from the generated
 * build/gen/names.h); any other key (labels, ConfigMap data) is text. A key that is a known name is
 * ALWAYS stored as its number, so looking a known name up compares integers only. Members keep their
 * order; a key stands once in an object.
 *
 * Numbers are int64 or double, as the reference's JSON decoder makes them: an integer literal that fits
 * int64 is VALUE_INT, anything else VALUE_FLOAT. Bytes are base64 text, times RFC 3339 text.
 *
 * Accessors are total: NULL stands for "absent" and is accepted everywhere; a wrong type reads as the
 * zero of the asked type. So value_str_at(pod, N_spec, N_nodeName) needs no checks in between.
 * Any thread may read; only the arena's owner may edit.
 */
#ifndef VALUE_VALUE_H
#define VALUE_VALUE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "names.h" /* generated: enum name_id { N_NONE = 0, N_apiVersion, ... , N_COUNT } */

enum value_type {
	VALUE_NULL,
	VALUE_BOOL,
	VALUE_INT,
	VALUE_FLOAT,
	VALUE_STRING,
	VALUE_ARRAY,
	VALUE_OBJECT,
};

struct value {
	uint8_t type;  /* enum value_type */
	uint8_t shape; /* of a container, private to value/: room in `items`, how text keys are held, frozen or not */
	uint16_t name; /* as a member: its known name, or N_NONE when the key is text */
	uint32_t len;  /* bytes of a string; items of a container */
	union {
		bool boolean;
		int64_t integer;
		double number;
		const char *text;    /* not NUL-ended */
		struct value *items; /* `len` of them side by side; behind them stands what text keys there are */
	} u;
};

/* ---- names ----------------------------------------------------------------------------------- */
/*
 * Managed fields name a field as "f:" and its name. Those keys are known names too, with this bit:
 * value_get(fields, N_FIELD | N_spec). So a name may be above N_COUNT; tables indexed by name must look.
 */
#define N_FIELD 0x8000
uint16_t name_find(struct str text); /* N_NONE when the schema does not know it */
struct str name_text(uint16_t name); /* static */

/* ---- reading --------------------------------------------------------------------------------- */
static inline bool value_is(const struct value *v, enum value_type t) {
	return v && v->type == t;
}
static inline size_t value_len(const struct value *v) { /* items of a container, 0 for anything else */
	return v && v->type >= VALUE_ARRAY ? v->len : 0;
}
bool value_is_empty(const struct value *v); /* absent, null, "", 0, false, [] or {} */
/* The n-th item or member; NULL past the end. */
static inline struct value *value_item(const struct value *v, size_t n) {
	return n < value_len(v) ? v->u.items + n : NULL;
}
struct str value_key(const struct value *object, size_t n); /* key of the n-th member */
/* Member by known name; NULL when absent or v is no object. */
static inline struct value *value_get(const struct value *v, unsigned name) {
	if (v && v->type == VALUE_OBJECT) {
		struct value *it = v->u.items;
		for (uint32_t n = v->len; n > 0; n--, it++) {
			if (it->name == name) {
				return it;
			}
		}
	}
	return NULL;
}
struct value *value_get_str(const struct value *v, struct str key); /* by any key */

/* Down a path of known names: value_at(pod, N_spec, N_containers). */
#define value_at(v, ...) value_at_n((v), (const uint16_t[]){ __VA_ARGS__ }, sizeof((const uint16_t[]){ __VA_ARGS__ }) / 2)
#define value_str_at(v, ...) value_as_str(value_at(v, __VA_ARGS__))
#define value_int_at(v, ...) value_as_int(value_at(v, __VA_ARGS__))
#define value_bool_at(v, ...) value_as_bool(value_at(v, __VA_ARGS__))
struct value *value_at_n(const struct value *v, const uint16_t *names, size_t n);

struct str value_as_str(const struct value *v);    /* "" when not a string */
int64_t value_as_int(const struct value *v);       /* a whole double is converted; 0 otherwise */
int64_t value_as_int_or(const struct value *v, int64_t absent);
double value_as_double(const struct value *v);     /* int or float */
bool value_as_bool(const struct value *v);
/* Text of a scalar in the way of labels and downward API: "true", "3", "abc". */
struct str value_as_text(struct arena *a, const struct value *v);

/* The item of an array of objects whose member `key` is the string `text`; NULL when none. */
struct value *value_find_by(const struct value *array, unsigned key, struct str text);
/* Deep equality; member order does not count; 1 and 1.0 are equal. */
bool value_eq(const struct value *a, const struct value *b);

/* for (size_t i = 0; i < value_len(v); i++) in one word: */
#define VALUE_EACH(v, it) \
	for (struct value *it = value_item((v), 0), *it##_end_ = it ? it + value_len(v) : NULL; it < it##_end_; it++)

/* ---- building (in an arena) ------------------------------------------------------------------- */
struct value *value_new_object(struct arena *a);
struct value *value_new_array(struct arena *a);
struct value *value_new_str(struct arena *a, struct str s); /* copies the text */
struct value *value_new_int(struct arena *a, int64_t i);
struct value *value_new_double(struct arena *a, double d);
struct value *value_new_bool(struct arena *a, bool b);
struct value *value_new_null(struct arena *a);
/* Deep copy into `a`: editable there, sharing nothing with the source. NULL gives NULL. */
struct value *value_copy(struct arena *a, const struct value *v);
/*
 * Copies one level: the members may be set, replaced and removed, while everything below is the
 * source's, is not to be edited, and must live as long. Editing what is frozen is caught by an assert.
 */
struct value *value_copy_shallow(struct arena *a, const struct value *v);

/*
 * Sets a member (replaces or appends) to the node *v, whose children are shared, not copied: they must
 * live as long as the arena. Returns the member in its place: pointers to other members of the same
 * object may move, so keep none across a set. Passing NULL for v stores null.
 */
struct value *value_set(struct arena *a, struct value *object, unsigned name, const struct value *v);
struct value *value_set_key(struct arena *a, struct value *object, struct str key, const struct value *v); /* copies the key */
/* value_set_key() for a key that is known not to be there yet: does not look. Copies the key. */
struct value *value_add_key(struct arena *a, struct value *object, struct str key, const struct value *v);
struct value *value_set_str(struct arena *a, struct value *object, unsigned name, struct str s);     /* copies */
struct value *value_set_int(struct arena *a, struct value *object, unsigned name, int64_t i);
struct value *value_set_bool(struct arena *a, struct value *object, unsigned name, bool b);
struct value *value_set_key_str(struct arena *a, struct value *object, struct str key, struct str s);
/* The member when it is an object (array); else a new empty one in its place. */
struct value *value_ensure_object(struct arena *a, struct value *object, unsigned name);
struct value *value_ensure_array(struct arena *a, struct value *object, unsigned name);
bool value_remove(struct value *object, unsigned name); /* false when it was not there */
bool value_remove_key(struct value *object, struct str key);
void value_remove_at(struct value *container, size_t n);
struct value *value_push(struct arena *a, struct value *array, const struct value *v); /* like value_set */
struct value *value_push_str(struct arena *a, struct value *array, struct str s);
struct value *value_insert(struct arena *a, struct value *array, size_t n, const struct value *v);
/*
 * Gives the empty *object n members at once, without looking for doubles: nodes[i] goes under its own `name`, or
 * where that is N_NONE under keys[i], text that is borrowed and is no known name. For walkers that make whole maps.
 */
void value_fill(struct arena *a, struct value *object, const struct value *nodes, const struct str *keys, size_t n);
/*
 * Looks text keys up in an object that may have very many members, without walking it each time: a
 * hostile ConfigMap has 300,000. Zeroed memory is an empty index; members may be appended between calls,
 * but not removed or moved.
 */
struct value_index {
	struct map places; /* a text key's place + 1 */
	size_t seen;       /* members that are in `places` */
};
struct value *value_index_get(struct value_index *x, const struct value *object, struct str key);
void value_index_release(struct value_index *x);
/* Sorts an object's members by key bytes, as Go prints maps. */
void value_sort_keys(struct value *object);
void value_sort_keys_deep(struct value *v); /* all objects in v */

/* ---- JSON -------------------------------------------------------------------------------------- */
struct json_opts {
	size_t depth_max;       /* 0: 10,000, as the reference */
	bool allow_duplicates;  /* the last one wins silently; else duplicates are reported through on_duplicate, last wins */
	bool borrow;            /* strings without escapes point into `text`, which must outlive the value */
	/* JSON: the path, "spec.replicas", "items[0].name". YAML: go-yaml's words, `line 4: key "a" already set in map`. */
	void (*on_duplicate)(void *arg, struct str path);
	void *arg;
};
/* Parses one whole document. Fails: ERR_BAD_REQUEST with Go's words, e.g. "invalid character 'x' looking for beginning of value". */
NODISCARD bool json_parse(struct arena *a, struct str text, const struct json_opts *opts, struct value **ret, struct err *err);
/*
 * Compact, as Go's encoding/json prints (HTML escaping of <, >, & and U+2028/9 on; object order kept).
 * False when the buffer's ceiling is reached. NULL prints null, and so do NaN and the infinities.
 */
bool json_print(struct buf *b, const struct value *v);
bool json_print_indent(struct buf *b, const struct value *v, int spaces); /* pretty, for people */
bool json_print_str(struct buf *b, struct str s);                        /* one quoted string */
struct str json_text(struct arena *a, const struct value *v);            /* compact, in the arena */

/* ---- YAML (libyaml; scalars resolved as sigs.k8s.io/yaml does: YAML 1.1 booleans, ints, floats) -- */
/* One document. Fails: ERR_BAD_REQUEST "error converting YAML to JSON: yaml: line N: ..." */
NODISCARD bool yaml_parse(struct arena *a, struct str text, const struct json_opts *opts, struct value **ret, struct err *err);
/* Block style, keys sorted as kubectl prints, strings quoted where needed. */
bool yaml_print(struct buf *b, const struct value *v);

/* ---- patches ------------------------------------------------------------------------------------ */
/* RFC 6902 on a copy; errors as the API server words them (ERR_INVALID for a failing test, ERR_BAD_REQUEST for a bad patch). */
NODISCARD bool json_patch_apply(struct arena *a, const struct value *doc, const struct value *patch, struct value **ret, struct err *err);
/* RFC 7386 on a copy. */
struct value *merge_patch_apply(struct arena *a, const struct value *doc, const struct value *patch);
/* The merge patch that leads from `from` to `to`. */
struct value *merge_patch_diff(struct arena *a, const struct value *from, const struct value *to);

/* ---- shared objects ------------------------------------------------------------------------------ */
/*
 * A frozen API object: one block, counted, never changed. `revision` is the store's (metadata.resourceVersion
 * is also in the tree). JSON bytes are made at most once, on demand, and shared.
 */
struct obj {
	uint32_t refs;           /* atomic */
	uint32_t bytes;          /* size of the block, for accounting */
	int64_t revision;
	const struct value *root;
	struct encoded *json;    /* atomic; NULL until asked for */
};
struct encoded { /* follows the object's life; borrowed from it */
	uint32_t len;
	char bytes[];
};
struct obj *obj_freeze(const struct value *root, int64_t revision); /* copies the tree into one block */
struct obj *obj_ref(struct obj *o);                                 /* NULL is fine */
void obj_unref(struct obj *o);                                      /* NULL is fine */
void obj_unref_p(struct obj **o);
#define auto_obj CLEANUP(obj_unref_p)
struct str obj_json(struct obj *o); /* compact JSON, cached in the object; borrowed from it */

#endif
