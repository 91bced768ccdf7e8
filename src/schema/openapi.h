/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi.h - what the makers of OpenAPI documents share; private to schema/.
 *
 * A document under construction remembers which types were referred to; doc_schemas() then writes all of
 * them. v2 and v3 differ in small ways, which the makers ask `v2` for.
 */
#ifndef SCHEMA_OPENAPI_H
#define SCHEMA_OPENAPI_H

#include "schema/schema.h"

enum openapi_special {
	SPECIAL_QUANTITY,
	SPECIAL_INT_OR_STRING,
	SPECIAL_TIME,
	SPECIAL_MICRO_TIME,
	SPECIAL_DURATION,
	SPECIAL_RAW_EXTENSION,
	SPECIAL_UNKNOWN,
	SPECIAL_FIELDS_V1,
	SPECIAL_JSON,
	SPECIAL_PROPS_OR_ARRAY,
	SPECIAL_PROPS_OR_BOOL,
	SPECIAL_PROPS_OR_STRINGS,
	SPECIAL_PATCH,
	SPECIAL_COUNT,
};

struct doc {
	struct arena *a;
	bool v2;
	struct value *paths;
	bool *type_used; /* by index in schema_builtin.types */
	bool special_used[SPECIAL_COUNT];
	VEC(uint16_t) queue; /* types referred to but not written yet */
};

struct doc doc_new(struct arena *a, bool v2);
void doc_release(struct doc *d);
/* {"$ref": ...}; the type will be written. */
struct value *doc_ref(struct doc *d, const struct schema_type *t);
struct value *doc_ref_special(struct doc *d, enum openapi_special s);
/* All types that were referred to, by name. */
struct value *doc_schemas(struct doc *d);
/* Adds the paths of a group version (openapi_paths.c). */
void doc_paths(struct doc *d, const struct schema_version *v);
/* Adds a path outside of group versions: "api", "apis", "apis/apps", "version" ... False: there is none such. */
bool doc_other_path(struct doc *d, struct str path);
struct str doc_other_name(size_t n); /* the n-th of those that are no group; ptr NULL at the end */

static inline struct value *doc_list(struct arena *a, struct str only) { /* ["only"] */
	struct value *list = value_new_array(a);

	value_push_str(a, list, only);
	return list;
}

#endif
