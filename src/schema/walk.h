/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.h - what the walkers over the tables share; private to schema/.
 *
 * A decoder gathers the fields of an object, in whatever order they come, in `cells`: a stack of nodes, one
 * run of t->fields_len for each object that is open. cells_finish() turns the topmost run into a canonical
 * object: declared order, keys that must be there put in, what is empty left out.
 */
#ifndef SCHEMA_WALK_H
#define SCHEMA_WALK_H

#include "schema/schema.h"

#define CELL_ABSENT 0xff /* value.type of a cell that holds nothing */

struct cells {
	VEC(struct value) stack;
};

size_t cells_open(struct cells *c, const struct schema_type *t); /* index of the run's first cell */
/* Makes the object; `api_version` and `kind` (empty: left out) go first. Closes the run. */
struct value cells_finish(struct cells *c, struct arena *a, const struct schema_type *t, size_t base, struct str kind, struct str api_version);

/* An array of n nodes, of which `nodes` is taken. */
static inline struct value walk_array(struct value *nodes, size_t n) {
	return (struct value){ .type = VALUE_ARRAY, .len = (uint32_t)n, .u.items = n ? nodes : NULL };
}
static inline struct value walk_str(struct str s) { /* borrows */
	return (struct value){ .type = VALUE_STRING, .len = (uint32_t)s.len, .u.text = s.ptr ? s.ptr : "" };
}

/* A map of n members with its keys in the order of bytes; a later one of equal keys wins. `members` is scratch. */
struct walk_member {
	struct str key; /* borrowed by the map */
	struct value node;
	size_t at;
};
struct value walk_map(struct arena *a, struct walk_member *members, size_t n);

/* The value that a kept field, or a list's or map's null item, has when nothing was given. */
struct value walk_zero(struct arena *a, const struct schema_type *owner, const struct schema_field *f);
struct value walk_zero_item(struct arena *a, const struct schema_type *owner, const struct schema_field *f);
/* Is `v` left out when the field is not kept? */
bool walk_omits(const struct schema_field *f, const struct value *v);

/* base64: canonical text of what `text` says, `text` itself when it is canonical. Fails in Go's words. */
NODISCARD bool base64_normal(struct arena *a, struct str text, struct str *ret, struct err *err);
struct str walk_base64_encode(struct arena *a, struct str bytes);
/* Of canonical text; appends. */
bool walk_base64_decode(struct buf *b, struct str text);

/* "v1.PodSpec", "[]string", "map[string]string": the Go type that the reference names in messages. */
struct str walk_go_type(struct arena *a, const struct schema_type *owner, const struct schema_field *f, enum schema_shape shape);
struct str walk_go_struct(struct arena *a, const struct schema_type *t);

#endif
