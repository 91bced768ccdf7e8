/* SPDX-License-Identifier: Apache-2.0 */
/*
 * default.h - how defaults that the reference's server sets in code are written; private to schema/.
 *
 * A hook belongs to a type and is called for each object of it, outer ones first. It may set members in any
 * order: the walker in default.c puts them into declared order afterwards. No pointer to a member may be kept over a
 * set in the same object.
 */
#ifndef SCHEMA_DEFAULT_H
#define SCHEMA_DEFAULT_H

#include "schema/schema.h"

struct default_hook {
	uint16_t type; /* T_... */
	void (*fn)(struct arena *a, struct value *object);
};

/* One list a group, ended by a hook without function. */
extern const struct default_hook defaults_core[], defaults_apps[], defaults_batch[], defaults_autoscaling[], defaults_networking[], defaults_storage[],
	defaults_rbac[], defaults_admissionregistration[], defaults_apiextensions[], defaults_flowcontrol[], defaults_resource[];

/* Sets a member that is absent, null, "" or 0. */
static inline void default_text(struct arena *a, struct value *o, enum name_id name, const char *text) {
	if (value_is_empty(value_get(o, name))) {
		value_set_str(a, o, name, str_c(text));
	}
}
static inline void default_number(struct arena *a, struct value *o, enum name_id name, int64_t n) {
	if (value_is_empty(value_get(o, name))) {
		value_set_int(a, o, name, n);
	}
}
/* Sets a member that is absent or null: the reference has a pointer there. */
static inline bool default_absent(const struct value *o, enum name_id name) {
	const struct value *v = value_get(o, name);

	return !v || v->type == VALUE_NULL;
}
static inline void default_ptr_int(struct arena *a, struct value *o, enum name_id name, int64_t n) {
	if (default_absent(o, name)) {
		value_set_int(a, o, name, n);
	}
}
static inline void default_ptr_text(struct arena *a, struct value *o, enum name_id name, const char *text) {
	if (default_absent(o, name)) {
		value_set_str(a, o, name, str_c(text));
	}
}
static inline void default_ptr_bool(struct arena *a, struct value *o, enum name_id name, bool b) {
	if (default_absent(o, name)) {
		value_set_bool(a, o, name, b);
	}
}
static inline struct value *default_object(struct arena *a, struct value *o, enum name_id name) {
	return value_ensure_object(a, o, name);
}

#endif
