/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi.c - the types as JSON Schemas, and the documents around them: OpenAPI v3 by group version, v2 for all.
 *
 * Called by the API server, which keeps the bytes. Descriptions are the help texts of the tables. What a default server has
 * switched off (CBOR, shardSelector) is not described. Any thread.
 */
#include "schema/openapi.h"

/* Part of each hash: to be raised when this code changes what it writes. */
#define OPENAPI_REVISION 1

static const struct {
	const char *name;
	const char *v2, *v3; /* the schema as JSON */
} specials[SPECIAL_COUNT] = {
	[SPECIAL_QUANTITY] = { "io.k8s.apimachinery.pkg.api.resource.Quantity",
		"{\"description\":\"An amount with a suffix: 500m, 1Gi, 2e3.\",\"type\":\"string\"}",
		"{\"description\":\"An amount with a suffix: 500m, 1Gi, 2e3.\",\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]}" },
	[SPECIAL_INT_OR_STRING] = { "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
		"{\"description\":\"A whole number or a text.\",\"format\":\"int-or-string\",\"type\":\"string\"}",
		"{\"description\":\"A whole number or a text.\",\"format\":\"int-or-string\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}" },
	[SPECIAL_TIME] = { "io.k8s.apimachinery.pkg.apis.meta.v1.Time", "{\"description\":\"A time in RFC 3339, to the second.\",\"format\":\"date-time\",\"type\":\"string\"}", NULL },
	[SPECIAL_MICRO_TIME] = { "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
		"{\"description\":\"A time in RFC 3339, to the microsecond.\",\"format\":\"date-time\",\"type\":\"string\"}", NULL },
	[SPECIAL_DURATION] = { "io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "{\"description\":\"A span of time: 1h2m3.5s.\",\"type\":\"string\"}", NULL },
	[SPECIAL_RAW_EXTENSION] = { "io.k8s.apimachinery.pkg.runtime.RawExtension", "{\"description\":\"Any object.\",\"type\":\"object\"}", NULL },
	[SPECIAL_UNKNOWN] = { "io.k8s.apimachinery.pkg.runtime.Unknown", "{\"description\":\"Any object.\",\"type\":\"object\"}", NULL },
	[SPECIAL_FIELDS_V1] = { "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "{\"description\":\"A set of fields as a tree.\",\"type\":\"object\"}", NULL },
	[SPECIAL_JSON] = { "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "{\"description\":\"Any value.\"}", NULL },
	[SPECIAL_PROPS_OR_ARRAY] = { "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "{\"description\":\"A schema or a list of schemas.\"}", NULL },
	[SPECIAL_PROPS_OR_BOOL] = { "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "{\"description\":\"A schema, or true or false.\"}", NULL },
	[SPECIAL_PROPS_OR_STRINGS] = { "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
		"{\"description\":\"A schema or a list of names.\"}", NULL },
	[SPECIAL_PATCH] = { "io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "{\"description\":\"A change to an object, in the form that Content-Type names.\",\"type\":\"object\"}", NULL },
};

struct doc doc_new(struct arena *a, bool v2) {
	return (struct doc){ .a = a, .v2 = v2, .paths = value_new_object(a), .type_used = xcalloc(schema_builtin.types_len, sizeof(bool)) };
}

void doc_release(struct doc *d) {
	free(d->type_used);
	VEC_RELEASE(&d->queue);
}

static struct value *ref_to(struct doc *d, struct str name) {
	struct value *v = value_new_object(d->a);

	value_set_str(d->a, v, N__ref, arena_printf(d->a, "#/%s/%.*s", d->v2 ? "definitions" : "components/schemas", STR_ARG(name)));
	return v;
}

struct value *doc_ref(struct doc *d, const struct schema_type *t) {
	size_t index = (size_t)(t - schema_builtin.types);

	if (!d->type_used[index]) {
		d->type_used[index] = true;
		VEC_PUSH(&d->queue, (uint16_t)index);
	}
	return ref_to(d, schema_type_name(t));
}

struct value *doc_ref_special(struct doc *d, enum openapi_special s) {
	d->special_used[s] = true;
	return ref_to(d, str_c(specials[s].name));
}

static struct value *from_json(struct arena *a, const char *text) {
	struct err err = { 0 };
	struct value *v = NULL;

	if (!json_parse(a, str_c(text), NULL, &v, &err)) {
		assert(false); /* the texts are ours */
	}
	return v;
}

/* ---- one value ---------------------------------------------------------------------------------------------------- */
static int special_of(enum schema_kind kind) { /* -1: none */
	switch (kind) {
	case SCHEMA_QUANTITY:
		return SPECIAL_QUANTITY;
	case SCHEMA_INT_OR_STRING:
		return SPECIAL_INT_OR_STRING;
	case SCHEMA_TIME:
		return SPECIAL_TIME;
	case SCHEMA_MICRO_TIME:
		return SPECIAL_MICRO_TIME;
	case SCHEMA_DURATION:
		return SPECIAL_DURATION;
	case SCHEMA_RAW_EXTENSION:
		return SPECIAL_RAW_EXTENSION;
	case SCHEMA_UNKNOWN:
		return SPECIAL_UNKNOWN;
	case SCHEMA_FIELDS_V1:
		return SPECIAL_FIELDS_V1;
	case SCHEMA_JSON:
		return SPECIAL_JSON;
	case SCHEMA_PROPS_OR_ARRAY:
		return SPECIAL_PROPS_OR_ARRAY;
	case SCHEMA_PROPS_OR_BOOL:
		return SPECIAL_PROPS_OR_BOOL;
	case SCHEMA_PROPS_OR_STRINGS:
		return SPECIAL_PROPS_OR_STRINGS;
	case SCHEMA_STRING:
	case SCHEMA_BOOL:
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_UINT64:
	case SCHEMA_DOUBLE:
	case SCHEMA_BYTES:
	case SCHEMA_STRUCT:
	case SCHEMA_STRINGS:
	case SCHEMA_ANY:
		break;
	}
	return -1;
}

static void set_type(struct arena *a, struct value *s, const char *type, const char *format) {
	if (format) {
		value_set_str(a, s, N_format, str_c(format));
	}
	value_set_str(a, s, N_type, str_c(type));
}

static int text_cmp(const void *a, const void *b) {
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void set_enum(struct arena *a, struct value *s, const struct schema_type *t) {
	struct value *list = value_new_array(a);
	struct str *all;

	if (!t || t->form != SCHEMA_FORM_ENUM) {
		return;
	}
	all = arena_array(a, struct str, t->values_len + 1u);
	for (size_t i = 0; i < t->values_len; i++) {
		all[i] = schema_text_of(t->set, t->set->values[t->values_at + i]);
	}
	qsort(all, t->values_len, sizeof(*all), text_cmp);
	for (size_t i = 0; i < t->values_len; i++) {
		value_push_str(a, list, all[i]);
	}
	value_set(a, s, N_enum, list);
}

/* The zero that the reference declares as default of what is no pointer; NULL when it declares none. */
static struct value *zero_default(struct arena *a, enum schema_kind kind) {
	switch (kind) {
	case SCHEMA_STRING:
		return value_new_str(a, S(""));
	case SCHEMA_BOOL:
		return value_new_bool(a, false);
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_UINT32:
	case SCHEMA_UINT64:
	case SCHEMA_DOUBLE:
		return value_new_int(a, 0);
	case SCHEMA_STRUCT:
		return value_new_object(a);
	case SCHEMA_BYTES:
	case SCHEMA_STRINGS:
	case SCHEMA_QUANTITY:
	case SCHEMA_INT_OR_STRING:
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
	case SCHEMA_DURATION:
	case SCHEMA_RAW_EXTENSION:
	case SCHEMA_UNKNOWN:
	case SCHEMA_FIELDS_V1:
	case SCHEMA_JSON:
	case SCHEMA_ANY:
	case SCHEMA_PROPS_OR_ARRAY:
	case SCHEMA_PROPS_OR_BOOL:
	case SCHEMA_PROPS_OR_STRINGS:
		break;
	}
	return NULL;
}

/* The schema of one value of the field's kind. v3 wraps a reference that has siblings into allOf. */
static struct value *item_schema(struct doc *d, const struct schema_type *owner, const struct schema_field *f, bool siblings) {
	struct value *s = value_new_object(d->a), *ref = NULL;
	const struct schema_type *t = schema_field_type(owner, f);
	int special = special_of(f->kind);

	if (special >= 0) {
		ref = doc_ref_special(d, (enum openapi_special)special);
	} else if (f->kind == SCHEMA_STRUCT && !(t->flags & SCHEMA_TYPE_TEXT)) {
		ref = doc_ref(d, t);
	}
	if (ref) {
		if (d->v2 || !siblings) {
			return ref;
		}
		value_push(d->a, value_ensure_array(d->a, s, N_allOf), ref);
		return s;
	}
	switch ((enum schema_kind)f->kind) {
	case SCHEMA_BOOL:
		set_type(d->a, s, "boolean", NULL);
		break;
	case SCHEMA_INT32:
	case SCHEMA_UINT32:
		set_type(d->a, s, "integer", "int32");
		break;
	case SCHEMA_INT64:
	case SCHEMA_UINT64:
		set_type(d->a, s, "integer", "int64");
		break;
	case SCHEMA_DOUBLE:
		set_type(d->a, s, "number", "double");
		break;
	case SCHEMA_BYTES:
		set_type(d->a, s, "string", "byte");
		break;
	case SCHEMA_STRINGS: {
		struct value *items = value_new_object(d->a);

		set_type(d->a, items, "string", NULL);
		if (!d->v2) {
			value_set_str(d->a, items, N_default, S(""));
		}
		value_set(d->a, s, N_items, items);
		set_type(d->a, s, "array", NULL);
		break;
	}
	case SCHEMA_STRING:
		set_enum(d->a, s, t);
		set_type(d->a, s, "string", NULL);
		break;
	case SCHEMA_STRUCT: /* whose JSON is a text */
		set_type(d->a, s, "string", NULL);
		break;
	case SCHEMA_QUANTITY:
	case SCHEMA_INT_OR_STRING:
	case SCHEMA_TIME:
	case SCHEMA_MICRO_TIME:
	case SCHEMA_DURATION:
	case SCHEMA_RAW_EXTENSION:
	case SCHEMA_UNKNOWN:
	case SCHEMA_FIELDS_V1:
	case SCHEMA_JSON:
	case SCHEMA_ANY:
	case SCHEMA_PROPS_OR_ARRAY:
	case SCHEMA_PROPS_OR_BOOL:
	case SCHEMA_PROPS_OR_STRINGS:
		break;
	}
	return s;
}

static struct value *nested_schema(struct doc *d, const struct schema_type *owner, const struct schema_field *f) {
	struct value *zero = d->v2 ? NULL : zero_default(d->a, f->kind), *s = item_schema(d, owner, f, zero);

	if (zero) {
		value_set(d->a, s, N_default, zero);
	}
	return s;
}

static void set_extensions(struct doc *d, const struct schema_type *owner, const struct schema_field *f, struct value *s) {
	bool merge = f->flags & SCHEMA_PATCH_MERGE, retain = f->flags & SCHEMA_PATCH_RETAIN_KEYS, replace = f->flags & SCHEMA_PATCH_REPLACE;
	bool list = f->shape == SCHEMA_LIST || f->kind == SCHEMA_STRINGS || f->kind == SCHEMA_BYTES;

	if (f->flags & SCHEMA_LIST_MAP) {
		struct value *keys = value_new_array(d->a);

		for (const uint16_t *k = schema_list_keys(owner, f); *k; k++) {
			value_push_str(d->a, keys, name_text(*k));
		}
		value_set(d->a, s, N_x_kubernetes_list_map_keys, keys);
	}
	if (f->flags & (SCHEMA_LIST_MAP | SCHEMA_SET) || (list && f->flags & SCHEMA_ATOMIC)) {
		value_set_str(d->a, s, N_x_kubernetes_list_type, f->flags & SCHEMA_LIST_MAP ? S("map") : f->flags & SCHEMA_SET ? S("set") : S("atomic"));
	} else if (!list && f->flags & (SCHEMA_ATOMIC | SCHEMA_GRANULAR)) {
		value_set_str(d->a, s, N_x_kubernetes_map_type, f->flags & SCHEMA_ATOMIC ? S("atomic") : S("granular"));
	}
	if (f->merge_key) {
		value_set_str(d->a, s, N_x_kubernetes_patch_merge_key, name_text(f->merge_key));
	}
	if (merge || retain || replace) {
		value_set_str(d->a, s, N_x_kubernetes_patch_strategy,
			replace ? S("replace") : merge && retain ? S("merge,retainKeys") : merge ? S("merge") : S("retainKeys"));
	}
}

static struct value *field_schema(struct doc *d, const struct schema_type *owner, const struct schema_field *f) {
	struct str help = schema_text_of(owner->set, f->help), declared = schema_text_of(owner->set, schema_field_extra(owner, f)->default_json);
	struct value *s, *zero;

	switch ((enum schema_shape)f->shape) {
	case SCHEMA_ONE:
		s = item_schema(d, owner, f, true);
		break;
	case SCHEMA_LIST:
		s = value_new_object(d->a);
		value_set(d->a, s, N_items, nested_schema(d, owner, f));
		value_set_str(d->a, s, N_type, S("array"));
		break;
	case SCHEMA_MAP:
	default:
		s = value_new_object(d->a);
		value_set(d->a, s, N_additionalProperties, nested_schema(d, owner, f));
		value_set_str(d->a, s, N_type, S("object"));
		break;
	}
	if (help.len) {
		value_set_str(d->a, s, N_description, help);
	}
	if (!d->v2 && declared.len) {
		value_set(d->a, s, N_default, from_json(d->a, declared.ptr));
	} else if (!d->v2 && f->shape == SCHEMA_ONE && f->flags & SCHEMA_KEEP && !(f->flags & SCHEMA_PTR)) {
		zero = zero_default(d->a, f->kind);
		if (zero) {
			value_set(d->a, s, N_default, zero);
		}
	}
	set_extensions(d, owner, f, s);
	return s;
}

/* ---- types --------------------------------------------------------------------------------------------------------------- */
static void add_gvk(struct arena *a, struct value *list, struct str group, struct str version, struct str kind) {
	struct value *v = value_new_object(a);

	value_set_str(a, v, N_group, group);
	value_set_str(a, v, N_kind, kind);
	value_set_str(a, v, N_version, version);
	value_push(a, list, v);
}

static struct value *type_gvks(struct doc *d, const struct schema_type *t) {
	struct value *list = value_new_array(d->a);
	struct str kind = schema_type_short(t);

	if (!(t->flags & SCHEMA_TYPE_EVERY_GROUP)) {
		add_gvk(d->a, list, schema_type_group(t), schema_type_version(t), kind);
		return list;
	}
	for (size_t g = 0; g < schema_groups_len; g++) {
		for (size_t i = 0; i < schema_groups[g].versions_len; i++) {
			const struct schema_version *v = &schema_versions[schema_groups[g].versions_at + i];

			if (v->served) {
				add_gvk(d->a, list, schema_text(schema_groups[g].name), schema_text(v->name), kind);
			}
		}
	}
	return list;
}

/* "type:localhostProfile=LocalhostProfile" */
static struct value *type_unions(struct arena *a, struct str text) {
	struct value *u = value_new_object(a), *by = value_new_object(a), *list = value_new_array(a);
	struct str discriminator, pair, field, name;

	str_cut(text, ':', &discriminator, &text);
	if (discriminator.len) {
		value_set_str(a, u, N_discriminator, discriminator);
	}
	while (str_next(&text, ',', &pair)) {
		str_cut(pair, '=', &field, &name);
		value_set_key_str(a, by, field, name);
	}
	value_set(a, u, N_fields_to_discriminateBy, by);
	value_push(a, list, u);
	return list;
}

static struct value *plain_string(struct arena *a, struct str help) {
	struct value *s = value_new_object(a);

	value_set_str(a, s, N_description, help);
	value_set_str(a, s, N_type, S("string"));
	return s;
}

static struct value *type_schema(struct doc *d, const struct schema_type *t) {
	struct value *s = value_new_object(d->a), *properties = value_new_object(d->a), *required = value_new_array(d->a);
	struct str help = schema_text_of(t->set, t->help), unions = schema_text_of(t->set, t->unions);

	if (help.len) {
		value_set_str(d->a, s, N_description, help);
	}
	if (t->flags & SCHEMA_TYPE_OBJECT) {
		value_set(d->a, properties, N_apiVersion, plain_string(d->a, S("Group and version that this object's form belongs to.")));
		value_set(d->a, properties, N_kind, plain_string(d->a, S("What this object is.")));
	}
	for (size_t i = 0; i < t->fields_len; i++) {
		const struct schema_field *f = &schema_fields(t)[i];

		value_set(d->a, properties, f->name, field_schema(d, t, f));
		if (f->flags & SCHEMA_REQUIRED) {
			value_push_str(d->a, required, name_text(f->name));
		}
	}
	if (properties->len) {
		value_sort_keys(properties);
		value_set(d->a, s, N_properties, properties);
	}
	if (required->len) {
		value_set(d->a, s, N_required, required);
	}
	value_set_str(d->a, s, N_type, S("object"));
	if (t->version >= 0) {
		value_set(d->a, s, N_x_kubernetes_group_version_kind, type_gvks(d, t));
	}
	if (t->flags & SCHEMA_TYPE_ATOMIC) {
		value_set_str(d->a, s, N_x_kubernetes_map_type, S("atomic"));
	}
	if (unions.len) {
		value_set(d->a, s, N_x_kubernetes_unions, type_unions(d->a, unions));
	}
	return s;
}

struct value *doc_schemas(struct doc *d) {
	struct value *schemas = value_new_object(d->a);

	while (d->queue.len) {
		const struct schema_type *t = &schema_builtin.types[VEC_POP(&d->queue)];

		value_set_key(d->a, schemas, schema_type_name(t), type_schema(d, t));
	}
	for (size_t i = 0; i < SPECIAL_COUNT; i++) {
		if (d->special_used[i]) {
			value_set_key(d->a, schemas, str_c(specials[i].name), from_json(d->a, !d->v2 && specials[i].v3 ? specials[i].v3 : specials[i].v2));
		}
	}
	value_sort_keys(schemas);
	return schemas;
}

/* ---- documents -------------------------------------------------------------------------------------------------------------- */
static struct value *info(struct arena *a) {
	struct value *v = value_new_object(a);

	value_set_str(a, v, N_title, S("Kubernetes"));
	value_set_str(a, v, N_version, S("unversioned"));
	return v;
}

static struct value *security(struct arena *a) {
	return from_json(a, "{\"BearerToken\":{\"description\":\"Bearer token\",\"in\":\"header\",\"name\":\"authorization\",\"type\":\"apiKey\"}}");
}

static const struct schema_version *version_find(struct str group, struct str version) {
	for (size_t g = 0; g < schema_groups_len; g++) {
		if (!str_eq(schema_text(schema_groups[g].name), group)) {
			continue;
		}
		for (size_t i = 0; i < schema_groups[g].versions_len; i++) {
			const struct schema_version *v = &schema_versions[schema_groups[g].versions_at + i];

			if (str_eq(schema_text(v->name), version)) {
				return v->resources_len ? v : NULL;
			}
		}
	}
	return NULL;
}

/* The document around the paths; takes d apart. */
static struct value *v3_document(struct doc *d) {
	struct value *ret = value_new_object(d->a), *components = value_new_object(d->a), *schemas = doc_schemas(d);

	value_set_str(d->a, ret, N_openapi, S("3.0.0"));
	value_set(d->a, ret, N_info, info(d->a));
	value_set(d->a, ret, N_paths, d->paths);
	if (schemas->len) {
		value_set(d->a, components, N_schemas, schemas);
	}
	value_set(d->a, components, N_securitySchemes, security(d->a));
	value_set(d->a, ret, N_components, components);
	doc_release(d);
	return ret;
}

struct value *openapi_v3(struct arena *a, struct str group, struct str version) {
	const struct schema_version *v = version_find(group, version);
	struct doc d;

	if (!v) {
		return NULL;
	}
	d = doc_new(a, false);
	doc_paths(&d, v);
	return v3_document(&d);
}

struct value *openapi_v3_at(struct arena *a, struct str path) {
	struct str group, version;
	struct doc d;

	if (str_starts(path, S("api/"))) {
		return openapi_v3(a, S(""), str_from(path, 4));
	}
	if (str_starts(path, S("apis/")) && str_cut(str_from(path, 5), '/', &group, &version)) {
		return openapi_v3(a, group, version);
	}
	d = doc_new(a, false);
	if (!doc_other_path(&d, path)) {
		doc_release(&d);
		return NULL;
	}
	return v3_document(&d);
}

static uint64_t mix(uint64_t h, const void *bytes, size_t len) {
	const unsigned char *p = bytes;

	for (size_t i = 0; i < len; i++) {
		h = (h ^ p[i]) * 1099511628211u;
	}
	return h ^ h >> 29;
}

struct str openapi_v3_hash(struct arena *a, struct str group, struct str version) {
	static const uint64_t seeds[] = { 14695981039346656037u, 0x9e3779b97f4a7c15u };
	uint64_t h[ARRAY_LEN(seeds)];

	for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
		h[i] = mix(seeds[i] + OPENAPI_REVISION, schema_builtin_digest, strlen(schema_builtin_digest));
		h[i] = mix(h[i], group.ptr, group.len);
		h[i] = mix(h[i], "/", 1);
		h[i] = mix(h[i], version.ptr, version.len);
	}
	return arena_printf(a, "%016llX%016llX", (unsigned long long)h[0], (unsigned long long)h[1]);
}

static void index_add(struct arena *a, struct value *paths, struct str path, struct str hash) {
	struct value *entry = value_new_object(a);

	value_set_str(a, entry, N_serverRelativeURL, arena_printf(a, "/openapi/v3/%.*s?hash=%.*s", STR_ARG(path), STR_ARG(hash)));
	value_set_key(a, paths, path, entry);
}

struct value *openapi_v3_index(struct arena *a) {
	struct value *ret = value_new_object(a), *paths = value_new_object(a);
	struct str other;

	for (size_t g = 0; g < schema_groups_len; g++) {
		struct str group = schema_text(schema_groups[g].name), path = group.len ? arena_printf(a, "apis/%.*s", STR_ARG(group)) : S("api");
		bool any = false;

		for (size_t i = 0; i < schema_groups[g].versions_len; i++) {
			const struct schema_version *v = &schema_versions[schema_groups[g].versions_at + i];
			struct str version = schema_text(v->name);

			if (v->served && v->resources_len) {
				index_add(a, paths, arena_printf(a, "%.*s/%.*s", STR_ARG(path), STR_ARG(version)), openapi_v3_hash(a, group, version));
				any = true;
			}
		}
		if (any && group.len) {
			index_add(a, paths, path, openapi_v3_hash(a, group, S("")));
		}
	}
	for (size_t i = 0; (other = doc_other_name(i)).ptr; i++) {
		index_add(a, paths, other, openapi_v3_hash(a, other, S("")));
	}
	value_sort_keys(paths);
	value_set(a, ret, N_paths, paths);
	return ret;
}

struct value *openapi_v2(struct arena *a) {
	struct doc d = doc_new(a, true);
	struct value *ret = value_new_object(a), *requirement = value_new_object(a), *list = value_new_array(a);

	for (size_t g = 0; g < schema_groups_len; g++) {
		for (size_t i = 0; i < schema_groups[g].versions_len; i++) {
			const struct schema_version *v = &schema_versions[schema_groups[g].versions_at + i];

			if (v->served) {
				doc_paths(&d, v);
			}
		}
	}
	value_sort_keys(d.paths);
	value_set_str(a, ret, N_swagger, S("2.0"));
	value_set(a, ret, N_info, info(a));
	value_set(a, ret, N_paths, d.paths);
	value_set(a, ret, N_definitions, doc_schemas(&d));
	value_set(a, ret, N_securityDefinitions, security(a));
	value_set(a, requirement, N_BearerToken, value_new_array(a));
	value_push(a, list, requirement);
	value_set(a, ret, N_security, list);
	doc_release(&d);
	return ret;
}
