/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kinds.h - what no table can say about a kind: one file a kind in kinds/, one row each in kinds.c.
 *
 * The registry calls these in upstream's order. Create: decode, default, prepare_create, (admission),
 * validate. Update: decode, default, prepare_update, (admission), validate, validate_update. All work on
 * canonical values (schema_decode'd) in the request's arena. Any may be NULL.
 */
#ifndef APISERVER_KINDS_H
#define APISERVER_KINDS_H

#include "base/arena.h"
#include "base/err.h"
#include "value/value.h"

/* One broken rule: becomes a StatusCause; texts are upstream's field errors. */
enum cause_type {
	CAUSE_REQUIRED,      /* FieldValueRequired:     "Required value: ..." */
	CAUSE_INVALID,       /* FieldValueInvalid:      "Invalid value: \"x\": ..." */
	CAUSE_NOT_SUPPORTED, /* FieldValueNotSupported: "Unsupported value: \"x\": supported values: ..." */
	CAUSE_DUPLICATE,     /* FieldValueDuplicate:    "Duplicate value: \"x\"" */
	CAUSE_FORBIDDEN,     /* FieldValueForbidden:    "Forbidden: ..." */
	CAUSE_NOT_FOUND,     /* FieldValueNotFound:     "Not found: \"x\"" */
	CAUSE_TOO_LONG,      /* FieldValueTooLong:      "Too long: may not be more than N bytes" */
	CAUSE_TOO_MANY,      /* FieldValueTooMany */
	CAUSE_TYPE_INVALID,  /* FieldValueTypeInvalid */
	CAUSE_INTERNAL,      /* InternalError */
};
struct cause {
	enum cause_type type;
	struct str field;   /* "spec.containers[0].name" */
	struct str message; /* without the field in front */
};
struct causes {
	struct arena *arena;
	struct cause *at;
	size_t len, cap; /* at most 100 are kept */
};
/* The value is printed in upstream's way: quoted text, bare number, JSON for structures; NULL prints null. */
void cause_add(struct causes *c, enum cause_type type, struct str field, const struct value *bad, const char *fmt, ...) PRINTF(5, 6);
void cause_not_supported(struct causes *c, struct str field, const struct value *bad, const struct str *supported, size_t n);
/* Field paths in the arena: path_field(a, S("spec"), S("name")) is "spec.name"; path_index(a, p, 3) is "p[3]"; path_key(a, p, k) is "p[k]". */
struct str path_field(struct arena *a, struct str path, struct str name);
struct str path_index(struct arena *a, struct str path, size_t i);
struct str path_key(struct arena *a, struct str path, struct str key);

struct kind_ctx {
	struct arena *arena;
	struct str ns, name;
	struct str user;         /* who asks */
	const struct str *groups;
	size_t groups_len;
	bool dry_run;
	struct service_alloc *services; /* cluster addresses and node ports; NULL: none are given */
	struct str *warnings;    /* for the Warning header: kind_warn() */
	size_t warnings_len;
};
void kind_warn(struct kind_ctx *x, const char *fmt, ...) PRINTF(2, 3);

struct kind_ops {
	struct str group, resource; /* "apps", "deployments" */
	/* Clears what the server owns (status on create), sets initial values (pod phase Pending, qosClass, generation is the registry's). */
	void (*prepare_create)(struct kind_ctx *x, struct value *o);
	/* Copies what the request may not change from old (status on the main resource; spec and metadata for /status). */
	void (*prepare_update)(struct kind_ctx *x, struct value *o, const struct value *old);
	void (*prepare_status)(struct kind_ctx *x, struct value *o, const struct value *old); /* NULL: the generic rule: only status (and metadata.labels/annotations/managedFields) are taken */
	void (*validate)(struct kind_ctx *x, const struct value *o, struct causes *c);
	void (*validate_update)(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c);
	void (*validate_status)(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c);
	/*
	 * Work with effects (Service addresses, node ports): allocate after validation and before the write (`old` NULL on create), then exactly one of
	 * committed, after the write, and rollback, when it failed. deleted after a deletion. Not called on dry runs but for allocate with x->dry_run set,
	 * which then only fills in what it would give.
	 */
	bool (*allocate)(struct kind_ctx *x, struct value *o, const struct value *old, struct err *err);
	void (*committed)(struct kind_ctx *x, const struct value *o, const struct value *old);
	void (*rollback)(struct kind_ctx *x, const struct value *o, const struct value *old);
	void (*deleted)(struct kind_ctx *x, const struct value *o);
	/* metadata.generation rises when this differs (default: anything but metadata and status). */
	bool status_is_separate; /* has /status: set by the registry from the schema when left 0 */
	bool no_generation;
	/* metadata.name rule; NULL: DNS-1123 subdomain. Returns NULL when good, else upstream's text. */
	const char *(*name_rule)(struct str name, bool prefix);
	int64_t (*grace_seconds)(const struct value *o); /* graceful deletion (pods): default grace; NULL: immediate */
};
const struct kind_ops *kind_ops_find(struct str group, struct str resource); /* never NULL: a generic row */

/* ---- Service addresses and node ports: one a server, any thread ---- */
struct service_alloc;
/* Fails: ERR_INVALID for a bad range. */
NODISCARD bool service_alloc_new(const char *cidr, const char *node_ports, struct service_alloc **ret, struct err *err);
void service_alloc_free(struct service_alloc *s);
void service_alloc_seed(struct service_alloc *s, const struct value *service); /* for each stored Service, at start */

/* Name rules shared by the kinds (content.IsDNS1123Label and kin); NULL when good. `prefix`: a generateName. */
const char *name_dns1123_label(struct str name, bool prefix);
const char *name_dns1123_subdomain(struct str name, bool prefix);
const char *name_dns1035_label(struct str name, bool prefix);
const char *name_path_segment(struct str name, bool prefix);
const char *label_key_rule(struct str key);     /* qualified name */
const char *label_value_rule(struct str value);
/* ObjectMeta's rules on create and update: called by the registry for every kind. */
void validate_meta(struct kind_ctx *x, const struct value *o, bool namespaced, const struct kind_ops *ops, struct causes *c);
void validate_meta_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c);

#endif
