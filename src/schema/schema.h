/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - the kinds as tables, and the walkers over them: decode, protobuf, defaults, strategic merge,
 * OpenAPI, discovery, table rows, field selectors.
 *
 * The tables are made by tools/apigen from api/<group>.api and are constant; every function here is safe on
 * any thread. Values are made in the caller's arena.
 *
 * Canonical form. schema_decode() and pb_decode() give a value in the form that the reference keeps in
 * its structs and prints: members in declared order, map keys sorted by bytes, quantities, times and
 * bytes in their one spelling, unknown members gone, members that are empty left out unless the field
 * is marked SCHEMA_KEEP (then it is present: "", 0, false, {} or null). An object's first members are kind and
 * apiVersion. json_print() of a canonical value is the reference's JSON, and pb_encode() its protobuf.
 * A value built by hand need not be canonical to be read, patched or sent; decode it once to make it so.
 */
#ifndef SCHEMA_SCHEMA_H
#define SCHEMA_SCHEMA_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/vec.h"
#include "tables.h" /* generated: enum schema_type_id { T_core_v1_Pod, ... }, schema_resource_id { R_core_v1_pods, ... } */
#include "value/value.h"

/* ---- tables ------------------------------------------------------------------------------------ */

/* What a field holds, or each item of a list or map does. */
enum schema_kind {
	SCHEMA_STRING, /* `type` may name an enum */
	SCHEMA_BOOL,
	SCHEMA_INT32,
	SCHEMA_INT64,
	SCHEMA_UINT32,
	SCHEMA_UINT64,
	SCHEMA_DOUBLE,
	SCHEMA_BYTES,  /* base64 text */
	SCHEMA_STRUCT, /* `type` */
	SCHEMA_STRINGS, /* a list of strings that is one value (a message of its own in protobuf) */
	SCHEMA_QUANTITY,
	SCHEMA_INT_OR_STRING,
	SCHEMA_TIME,
	SCHEMA_MICRO_TIME,
	SCHEMA_DURATION,
	SCHEMA_RAW_EXTENSION, /* any object, kept as it is */
	SCHEMA_UNKNOWN,
	SCHEMA_FIELDS_V1,
	SCHEMA_JSON, /* any value, kept as it is */
	SCHEMA_ANY,
	SCHEMA_PROPS_OR_ARRAY,   /* JSONSchemaProps or a list of them; `type` is JSONSchemaProps */
	SCHEMA_PROPS_OR_BOOL,    /* ... or true or false */
	SCHEMA_PROPS_OR_STRINGS, /* ... or a list of strings */
};
enum schema_shape { SCHEMA_ONE, SCHEMA_LIST, SCHEMA_MAP /* keys are text */ };

/* Flags of a field. */
enum {
	SCHEMA_REQUIRED = 1 << 0,
	SCHEMA_OPTIONAL = 1 << 1,
	SCHEMA_PTR = 1 << 2,       /* absent differs from zero */
	SCHEMA_KEEP = 1 << 3,      /* printed also when empty */
	SCHEMA_OMIT_ZERO = 1 << 4, /* left out when the whole value is zero (else: when null, 0, "", false or without items) */
	SCHEMA_SET = 1 << 5,       /* list type set */
	SCHEMA_LIST_MAP = 1 << 6,  /* list type map, see schema_list_keys() */
	SCHEMA_ATOMIC = 1 << 7,    /* list or map type atomic */
	SCHEMA_GRANULAR = 1 << 8,
	SCHEMA_PATCH_MERGE = 1 << 9, /* strategic merge: by merge_key, or as a set of scalars when that is N_NONE */
	SCHEMA_PATCH_REPLACE = 1 << 10,
	SCHEMA_PATCH_RETAIN_KEYS = 1 << 11,
	SCHEMA_IMMUTABLE = 1 << 12,
	SCHEMA_DISCRIMINATOR = 1 << 13,
	SCHEMA_DEPRECATED = 1 << 14,
};

struct schema_field {
	uint16_t name;      /* N_... */
	uint16_t type;      /* reference to a type (schema_field_type()), SCHEMA_NO_TYPE when there is none */
	uint16_t num;       /* protobuf number; 0: not in protobuf */
	uint8_t kind;       /* enum schema_kind */
	uint8_t shape;      /* enum schema_shape */
	uint32_t flags;
	uint32_t help;      /* text: one line for people; "" when not written yet */
	uint16_t merge_key; /* N_... for strategic merge; N_NONE */
	uint16_t keys;      /* of a list map: into set->key_names, ends with N_NONE */
	uint16_t extra;     /* into set->extras; 0: none */
};
#define SCHEMA_NO_TYPE 0x7fff

/* What only some fields have. Texts are offsets for schema_text(). */
struct schema_extra {
	int64_t min, max;
	uint32_t default_json; /* declared default as JSON text: "\"TCP\"", "1" */
	uint32_t gate;         /* feature gates that must be on, comma between */
	uint32_t oneof;        /* the union it belongs to */
	uint32_t format;       /* "k8s-short-name" */
	int32_t max_items, max_length, min_length, max_bytes; /* 0: none */
	bool has_min, has_max;
};

/* A message nested in protobuf whose fields are members of the outer object in JSON. */
struct schema_inline {
	uint16_t num;
	uint16_t type; /* reference */
	uint16_t at;   /* its fields start here in the outer type's fields */
};

enum schema_form {
	SCHEMA_FORM_STRUCT,
	SCHEMA_FORM_ENUM,    /* a string with a closed list of values */
	SCHEMA_FORM_STRING,  /* a named string; `values` are the known ones */
	SCHEMA_FORM_STRINGS, /* a named list of strings */
};
enum {
	SCHEMA_TYPE_OBJECT = 1 << 0,      /* has kind and apiVersion */
	SCHEMA_TYPE_EVERY_GROUP = 1 << 1, /* the kind exists in each group version */
	SCHEMA_TYPE_NO_PROTO = 1 << 2,
	SCHEMA_TYPE_ATOMIC = 1 << 3,      /* server-side apply takes it whole */
	SCHEMA_TYPE_TEXT = 1 << 4,        /* meta/v1 GroupVersion: JSON is the text "group/version" */
	SCHEMA_TYPE_DEPRECATED = 1 << 5,
	SCHEMA_TYPE_NO_GROUP = 1 << 6,
};

struct schema_type {
	const struct schema_set *set; /* where the indexes below lead */
	uint32_t name;                /* text: "io.k8s.api.core.v1.Pod" */
	uint32_t help;
	uint32_t unions;              /* text: "discriminator:field=Value,...", "" for none */
	uint32_t fields_at;           /* into set->fields; in the order of JSON, inline members in their place */
	uint32_t order_at;            /* into set->order: fields by protobuf number; 0x8000 + n is the n-th inline */
	uint32_t slots_at;            /* into set->slots, for schema_field_find() */
	uint32_t inlines_at;
	uint32_t values_at;
	uint16_t fields_len;
	uint16_t order_len;
	uint16_t inlines_len;
	uint16_t values_len;
	int16_t version;              /* of a kind: into schema_versions; -1: no kind */
	uint8_t form;                 /* enum schema_form */
	uint8_t slots_log2;
	uint8_t flags;
};

/*
 * A closed family of types. schema_builtin is the one from build time; a CustomResourceDefinition compiles
 * into one of its own, which refers to built-in types (ObjectMeta) by setting the top bit of a reference.
 */
struct schema_set {
	const struct schema_type *types;
	const struct schema_field *fields;
	const uint16_t *order;
	const struct schema_inline *inlines;
	const uint8_t *slots;
	const uint32_t *values; /* texts */
	const uint16_t *key_names;
	const struct schema_extra *extras;
	const char *text;
	uint16_t types_len;
};
extern const struct schema_set schema_builtin;
extern const char schema_builtin_digest[]; /* changes with the .api files */

/* Verbs in the order of discovery. */
enum schema_verb {
	SCHEMA_CREATE = 1 << 0,
	SCHEMA_DELETE = 1 << 1,
	SCHEMA_DELETECOLLECTION = 1 << 2,
	SCHEMA_GET = 1 << 3,
	SCHEMA_LIST_VERB = 1 << 4,
	SCHEMA_PATCH = 1 << 5,
	SCHEMA_UPDATE = 1 << 6,
	SCHEMA_WATCH = 1 << 7,
};

struct schema_group { /* schema_groups: in discovery order */
	uint32_t name; /* text; "" is the core group */
	int32_t priority;
	uint16_t versions_at; /* into schema_versions, the preferred one first */
	uint16_t versions_len;
};
struct schema_version {
	uint32_t name;
	uint16_t group; /* into schema_groups */
	int16_t priority;
	uint16_t resources_at; /* into schema_resources */
	uint16_t resources_len;
	bool served; /* by default */
};
struct schema_sub { /* a subresource */
	uint32_t name;    /* "status" */
	uint16_t type;    /* kind of the body */
	uint16_t version; /* of that kind */
	uint8_t verbs;
};
struct schema_column {
	uint32_t name, type, format, help; /* texts */
	bool wide;                         /* priority 1 */
};
struct schema_resource {
	uint32_t name;       /* "pods"; all of these are texts of schema_builtin */
	uint32_t singular;   /* "pod" */
	uint32_t shorts;     /* "po", comma between */
	uint32_t categories; /* "all" */
	uint32_t storage;    /* group version it is stored as, when not its own: "autoscaling/v2" */
	uint32_t hash;       /* storage version hash */
	uint32_t key;        /* its folder below /registry/: "pods", "minions", "services/specs" */
	uint32_t select_error; /* for an unknown field label; "" for the default words */
	uint32_t help;
	uint16_t version;    /* into schema_versions */
	uint16_t type;       /* its kind */
	uint16_t list_type;  /* SCHEMA_NO_TYPE when it cannot be listed */
	uint16_t subs_at, columns_at, selects_at, aliases_at;
	uint16_t subs_len, columns_len, selects_len, aliases_len;
	uint8_t verbs;
	bool namespaced;
	bool deleted_object; /* a delete answers with the object, not with a Status */
};
extern const struct schema_group schema_groups[];
extern const struct schema_version schema_versions[];
extern const struct schema_sub schema_subs[];
extern const struct schema_column schema_columns[];
extern const struct schema_resource schema_resources[]; /* in discovery order: by group, version, name */
extern const uint32_t schema_selects[];
extern const uint32_t schema_select_aliases[][2];
extern const uint16_t schema_kinds[]; /* types that are kinds, sorted by kind, version */
extern const uint16_t schema_groups_len, schema_kinds_len, schema_resources_len;

/* ---- looking up (lookup.c) ------------------------------------------------------------------------ */
static inline struct str schema_text_of(const struct schema_set *set, uint32_t at) {
	return str_c(set->text + at);
}
static inline struct str schema_text(uint32_t at) { /* of a group, version, resource, column */
	return str_c(schema_builtin.text + at);
}
/* The type that a field, inline or list in `owner` refers to; NULL when it is not a named type. */
static inline const struct schema_type *schema_ref(const struct schema_type *owner, uint16_t ref) {
	const struct schema_set *set = ref & 0x8000 ? &schema_builtin : owner->set;
	return (ref & 0x7fff) == SCHEMA_NO_TYPE ? NULL : &set->types[ref & 0x7fff];
}
static inline const struct schema_type *schema_type_at(enum schema_type_id id) {
	return &schema_builtin.types[id];
}
static inline const struct schema_resource *schema_resource_at(enum schema_resource_id id) {
	return &schema_resources[id];
}
static inline const struct schema_field *schema_fields(const struct schema_type *t) { /* t->fields_len of them */
	return t->set->fields + t->fields_at;
}
static inline const struct schema_type *schema_field_type(const struct schema_type *owner, const struct schema_field *f) {
	return schema_ref(owner, f->type);
}
static inline const struct schema_extra *schema_field_extra(const struct schema_type *owner, const struct schema_field *f) {
	return &owner->set->extras[f->extra]; /* all zero when it has none */
}
/* Keys of a list map, ended by N_NONE. */
static inline const uint16_t *schema_list_keys(const struct schema_type *owner, const struct schema_field *f) {
	return owner->set->key_names + f->keys;
}
/* Field by name; NULL when the type has none such. */
const struct schema_field *schema_field_find(const struct schema_type *t, uint16_t name);

struct str schema_type_name(const struct schema_type *t);  /* "io.k8s.api.core.v1.Pod" */
struct str schema_type_short(const struct schema_type *t); /* "Pod" */
const struct schema_type *schema_type_find(struct str full_name);
/* A kind, also one that is not served. Knows the options of every group (DeleteOptions, WatchEvent). */
const struct schema_type *schema_kind_find(struct str group, struct str version, struct str kind);
/* By the value's own apiVersion and kind. */
const struct schema_type *schema_kind_of(const struct value *object);
struct str schema_type_group(const struct schema_type *t);   /* of a kind; "" otherwise */
struct str schema_type_version(const struct schema_type *t); /* of a kind; "" otherwise */
/* "apps/v1" -> "apps", "v1"; "v1" -> "", "v1". False for more than one slash. */
bool schema_split_api_version(struct str api_version, struct str *ret_group, struct str *ret_version);

const struct schema_resource *schema_resource_find(struct str group, struct str version, struct str plural);
const struct schema_resource *schema_resource_of(const struct schema_type *kind); /* NULL when the kind has no resource */
const struct schema_sub *schema_sub_find(const struct schema_resource *r, struct str name);
struct str schema_resource_group(const struct schema_resource *r);
struct str schema_resource_version(const struct schema_resource *r);
struct str schema_resource_api_version(struct arena *a, const struct schema_resource *r); /* "apps/v1" */
static inline const struct schema_type *schema_resource_type(const struct schema_resource *r) {
	return &schema_builtin.types[r->type];
}
static inline const struct schema_type *schema_resource_list(const struct schema_resource *r) { /* NULL when it has none */
	return r->list_type == SCHEMA_NO_TYPE ? NULL : &schema_builtin.types[r->list_type];
}
static inline const struct schema_version *schema_version_of(const struct schema_resource *r) {
	return &schema_versions[r->version];
}
/* Is its group version on by default? */
static inline bool schema_served(const struct schema_resource *r) {
	return schema_versions[r->version].served;
}

/* ---- decode (decode.c) ------------------------------------------------------------------------------ */
/* Unknown and duplicate fields, in the words of fieldValidation: `unknown field "spec.foo"`, `duplicate field "spec.replicas"`. */
struct schema_report {
	struct arena *arena; /* set by the caller; texts live there */
	VEC(struct str) problems; /* at most 100 are kept */
};
void schema_report_release(struct schema_report *r);
/* For json_opts.on_duplicate, with the report as its arg. */
void schema_report_duplicate(void *report, struct str path);

/*
 * Makes `raw`, any parsed JSON or YAML, into the canonical form of type `t`. Unknown members are dropped and
 * named in `report` (may be NULL). Values that are already canonical are cheap. `ret` shares scalars' text
 * with `raw`. Fails with ERR_BAD_REQUEST and the reference's words, such as "json: cannot unmarshal string into
 * Go struct field DeploymentSpec.spec.replicas of type int32"; the API server puts
 * `Deployment in version "v1" cannot be handled as a Deployment: ` in front.
 */
NODISCARD bool schema_decode(struct arena *a, const struct schema_type *t, const struct value *raw, struct schema_report *report,
	struct value **ret, struct err *err);

/* ---- protobuf (protobuf.c) -------------------------------------------------------------------------- */
#define PB_MAGIC S("k8s\0")
/* A bare message. Bounded in depth and size by its input. `ret` borrows text from `bytes`. Fails with ERR_BAD_REQUEST. */
NODISCARD bool pb_decode(struct arena *a, const struct schema_type *t, struct str bytes, struct value **ret, struct err *err);
/*
 * With the envelope: finds the type by what the envelope says (or takes `fallback`, which may be NULL, when it says
 * nothing), and sets kind and apiVersion in the value. An envelope with JSON inside is decoded too.
 */
NODISCARD bool pb_decode_object(struct arena *a, struct str bytes, const struct schema_type *fallback,
	const struct schema_type **ret_type, struct value **ret, struct err *err);
static inline bool pb_is_object(struct str bytes) { /* starts with the magic? */
	return bytes.len >= 4 && memcmp(bytes.ptr, "k8s\0", 4) == 0;
}
/* Appends the message, the reference's bytes for canonical `v`. False when the buffer is over its ceiling. */
bool pb_encode(struct buf *b, const struct schema_type *t, const struct value *v);
/* With the envelope; kind and apiVersion come from `v`, or from `t` when `v` has none. */
bool pb_encode_object(struct buf *b, const struct schema_type *t, const struct value *v);

/* ---- quantities (quantity.c) ------------------------------------------------------------------------- */
enum quantity_format { QUANTITY_DECIMAL_SI, QUANTITY_BINARY_SI, QUANTITY_DECIMAL_EXPONENT };
struct quantity {
	__int128 nano; /* exact: the reference keeps nothing smaller than nano nor larger than int64 whole units */
	enum quantity_format format;
};
NODISCARD bool quantity_parse(struct str text, struct quantity *ret, struct err *err);
struct str quantity_text(struct arena *a, struct quantity q); /* canonical */
static inline int quantity_cmp(struct quantity a, struct quantity b) {
	return (a.nano > b.nano) - (a.nano < b.nano);
}
struct quantity quantity_add(struct quantity a, struct quantity b); /* format of a, of b when a is zero */
struct quantity quantity_sub(struct quantity a, struct quantity b);
int64_t quantity_value(struct quantity q); /* whole units, rounded up (away from zero), clamped to int64 */
int64_t quantity_milli(struct quantity q); /* thousandths, likewise */
struct quantity quantity_of(int64_t units, enum quantity_format format);
struct quantity quantity_of_milli(int64_t milli, enum quantity_format format);
/* Of a value (string or number); zero when absent or unreadable. */
struct quantity quantity_from(const struct value *v);

/* ---- times (times.c) --------------------------------------------------------------------------------- */
/* RFC 3339 as Go reads it, to nanoseconds since 1970. Fails with Go's words: parsing time "x" as ... */
NODISCARD bool go_time_parse(struct str text, int64_t *ret_sec, int32_t *ret_nsec, struct err *err);
struct str time_text(struct arena *a, int64_t sec);                    /* "2006-01-02T15:04:05Z" */
struct str time_text_micro(struct arena *a, int64_t sec, int32_t nsec); /* "2006-01-02T15:04:05.000000Z" */
/* Go durations: "1h2m3.5s". */
NODISCARD bool go_duration_parse(struct str text, int64_t *ret_nsec, struct err *err);
struct str duration_text(struct arena *a, int64_t nsec);

/* ---- defaults (default.c, defaults_<group>.c) --------------------------------------------------------- */
/* Fills in declared and server-side defaults of a canonical value; it stays canonical. */
void schema_default(struct arena *a, const struct schema_type *t, struct value *object);

/* ---- strategic merge patch (smp.c) --------------------------------------------------------------------- */
/* Applies on a copy. Fails with ERR_BAD_REQUEST or ERR_INVALID in the reference's words. */
NODISCARD bool smp_apply(struct arena *a, const struct schema_type *t, const struct value *original, const struct value *patch,
	struct value **ret, struct err *err);

/* ---- small walkers (shape.c) ---------------------------------------------------------------------------- */
/* Drops what a create or an ordinary update may not set: the status, when the kind has a status subresource. */
void schema_drop_status(const struct schema_resource *r, struct value *object);
/* Takes the status of `from` into `object` (an ordinary update), or all but status and metadata (a status update). */
void schema_keep_status(struct arena *a, const struct schema_resource *r, struct value *object, const struct value *from);
void schema_only_status(struct arena *a, const struct schema_resource *r, struct value *object, const struct value *from);
/* {kind: PartialObjectMetadata, apiVersion: meta.k8s.io/v1, metadata}; shares metadata with `object`. */
struct value *schema_meta_only(struct arena *a, const struct value *object);

/* ---- field selectors (select.c) --------------------------------------------------------------------------- */
/*
 * The label that `label` stands for (an alias is resolved), when objects of `r` can be selected by it; `r` NULL stands
 * for a custom resource: metadata.name and metadata.namespace. Fails with ERR_BAD_REQUEST in the reference's words.
 */
NODISCARD bool schema_field_label(const struct schema_resource *r, struct str label, struct str *ret_label, struct err *err);
/* The text that `label` (as given back above) has in a stored object; "" when absent. */
struct str schema_field_text(struct arena *a, const struct schema_resource *r, const struct value *object, struct str label);

/* ---- discovery (discovery.c): values in the arena ----------------------------------------------------------- */
struct value *discovery_api_versions(struct arena *a, struct str server_address); /* GET /api, e.g. "10.0.0.1:6443" */
struct value *discovery_group_list(struct arena *a);                              /* GET /apis */
struct value *discovery_group(struct arena *a, struct str group);                 /* GET /apis/G; NULL: no such group is served */
struct value *discovery_resources(struct arena *a, struct str group, struct str version); /* GET /api/v1, /apis/G/V; NULL likewise */
/* The aggregated form of /api (core) or /apis; `version` is "v2" or "v2beta1". */
struct value *discovery_aggregated(struct arena *a, bool core, struct str version);
/* One group's entry of it, so that custom groups can be added to the items; NULL when nothing of it is served. */
struct value *discovery_aggregated_group(struct arena *a, const struct schema_group *g);

/* ---- tables (table.c, table_<group>.c) ----------------------------------------------------------------------- */
enum table_include { TABLE_METADATA, TABLE_NONE, TABLE_OBJECT }; /* includeObject; Metadata is the default */
struct value *table_columns(struct arena *a, const struct schema_resource *r); /* columnDefinitions */
/* One row of an object; `now` in seconds since 1970 for ages. The object is shared with the row, not copied. */
struct value *table_row(struct arena *a, const struct schema_resource *r, const struct value *object, enum table_include include,
	int64_t now);
/* The whole meta.k8s.io/v1 Table of one object or of a list value. */
struct value *table_of(struct arena *a, const struct schema_resource *r, const struct value *object_or_list, enum table_include include,
	int64_t now);
/* As kubectl prints ages: "5s", "3m12s", "2d4h"; "<unknown>" for no time. */
struct str table_age(struct arena *a, struct str rfc3339, int64_t now);

/* ---- OpenAPI (openapi.c) -------------------------------------------------------------------------------------- */
/* The v3 document of one group version, made anew each time: keep it. NULL when it is not served. */
struct value *openapi_v3(struct arena *a, struct str group, struct str version);
/* The same by path: "api/v1", "apis/apps/v1", and the small ones: "api", "apis", "apis/apps", "version" ... */
struct value *openapi_v3_at(struct arena *a, struct str path);
/* {"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=..."}}}: GET /openapi/v3. */
struct value *openapi_v3_index(struct arena *a);
/* The hash used there: stable for the tables' contents. */
struct str openapi_v3_hash(struct arena *a, struct str group, struct str version);
/* The whole v2 document, and its protobuf form (gnostic openapi.v2.Document). */
struct value *openapi_v2(struct arena *a);
bool openapi_v2_protobuf(struct buf *b, const struct value *document);

#endif
