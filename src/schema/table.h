/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - how a kind's row is written; private to schema/.
 *
 * A printer pushes one cell for each column of its kind, in the order of the columns in api/<group>.api. Cells are texts, whole
 * numbers or booleans, as the reference's printers give them.
 */
#ifndef SCHEMA_TABLE_H
#define SCHEMA_TABLE_H

#include "schema/schema.h"

struct row {
	struct arena *a;
	const struct value *o; /* the object */
	int64_t now;
	struct value *cells;
	struct value *conditions; /* of the row; NULL when there are none */
};

struct table_printer {
	uint16_t type; /* T_... */
	void (*print)(struct row *r);
};

/* One list a family of groups, ended by a printer without function. */
extern const struct table_printer table_core[], table_workloads[], table_network[], table_storage[], table_policy[];

static inline void cell(struct row *r, struct str s) {
	value_push_str(r->a, r->cells, s);
}
static inline void cell_int(struct row *r, int64_t n) {
	value_push(r->a, r->cells, value_new_int(r->a, n));
}
static inline void cell_bool(struct row *r, bool b) {
	value_push(r->a, r->cells, value_new_bool(r->a, b));
}
/* The text, or `none` when it is empty. */
static inline void cell_or(struct row *r, struct str s, const char *none) {
	cell(r, s.len ? s : str_c(none));
}
void cell_name(struct row *r);
void cell_age(struct row *r);                            /* since metadata.creationTimestamp */
struct str since(struct row *r, const struct value *time); /* "<unknown>" without a time */
struct str human_span(struct arena *a, int64_t seconds);
/* Names and images of spec.containers: two cells. */
void cells_containers(struct row *r, const struct value *pod_spec);
struct str labels_text(struct arena *a, const struct value *labels);     /* "a=b,c=d"; "<none>" */
struct str table_selector_text(struct arena *a, const struct value *selector); /* of a LabelSelector */
/* "a,b,c" of an array of strings. */
struct str joined(struct arena *a, const struct value *strings, const char *between);
/* Of status.conditions: the status text of one type; "" when it is not there. */
struct str condition_status(const struct value *conditions, struct str type);
/* "x,y,z + 2 more...": up to three of `count`. */
struct few {
	struct buf text;
	size_t count;
};
void few_add(struct few *f, struct str s);
struct str few_text(struct arena *a, struct few *f); /* "" when there are none; releases it */
struct str lower(struct arena *a, struct str s);
/* Addresses of a load balancer's status, sorted. */
struct str balancer_text(struct arena *a, const struct value *status);

#endif
