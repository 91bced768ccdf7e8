/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.c - finds types, kinds, resources and fields in the tables. Called by everyone through schema.h;
 * reads constants only, so any thread may.
 */
#include "schema/schema.h"

const struct schema_field *schema_field_find(const struct schema_type *t, uint16_t name) {
	const uint8_t *slots = t->set->slots + t->slots_at;
	const struct schema_field *fields = schema_fields(t);
	uint32_t mask = (1u << t->slots_log2) - 1;
	uint32_t at = ((uint32_t)name * 0x9e3779b1u >> 16) & mask; /* as apigen fills them */

	if (t->fields_len == 0 || name == N_NONE) {
		return NULL;
	}
	for (; slots[at]; at = (at + 1) & mask) {
		if (fields[slots[at] - 1].name == name) {
			return &fields[slots[at] - 1];
		}
		if (mask == 0) {
			return NULL;
		}
	}
	return NULL;
}

struct str schema_type_name(const struct schema_type *t) {
	return schema_text_of(t->set, t->name);
}

struct str schema_type_short(const struct schema_type *t) {
	struct str name = schema_type_name(t);

	return str_from(name, (size_t)(str_rindex(name, '.') + 1));
}

const struct schema_type *schema_type_find(struct str full_name) {
	size_t lo = 0, hi = schema_builtin.types_len;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = str_cmp(full_name, schema_type_name(&schema_builtin.types[mid]));

		if (c == 0) {
			return &schema_builtin.types[mid];
		}
		if (c < 0) {
			hi = mid;
		} else {
			lo = mid + 1;
		}
	}
	return NULL;
}

struct str schema_type_group(const struct schema_type *t) {
	return t->version < 0 ? S("") : schema_text(schema_groups[schema_versions[t->version].group].name);
}

struct str schema_type_version(const struct schema_type *t) {
	return t->version < 0 ? S("") : schema_text(schema_versions[t->version].name);
}

const struct schema_type *schema_kind_find(struct str group, struct str version, struct str kind) {
	size_t lo = 0, hi = schema_kinds_len;

	while (lo < hi) { /* the first row of this kind */
		size_t mid = (lo + hi) / 2;

		if (str_cmp(schema_type_short(&schema_builtin.types[schema_kinds[mid]]), kind) < 0) {
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	for (; lo < schema_kinds_len; lo++) {
		const struct schema_type *t = &schema_builtin.types[schema_kinds[lo]];

		if (!str_eq(schema_type_short(t), kind)) {
			return NULL;
		}
		if (t->flags & SCHEMA_TYPE_EVERY_GROUP ||
			(str_eq(schema_type_group(t), group) && str_eq(schema_type_version(t), version))) {
			return t;
		}
	}
	return NULL;
}

bool schema_split_api_version(struct str api_version, struct str *ret_group, struct str *ret_version) {
	struct str head, tail;

	if (!str_cut(api_version, '/', &head, &tail)) {
		*ret_group = S("");
		*ret_version = api_version;
		return true;
	}
	if (str_index(tail, '/') >= 0) {
		return false;
	}
	*ret_group = head;
	*ret_version = tail;
	return true;
}

const struct schema_type *schema_kind_of(const struct value *object) {
	struct str group, version;

	if (!schema_split_api_version(value_str_at(object, N_apiVersion), &group, &version)) {
		return NULL;
	}
	return schema_kind_find(group, version, value_str_at(object, N_kind));
}

const struct schema_resource *schema_resource_find(struct str group, struct str version, struct str plural) {
	for (size_t g = 0; g < schema_groups_len; g++) {
		if (!str_eq(schema_text(schema_groups[g].name), group)) {
			continue;
		}
		for (size_t v = 0; v < schema_groups[g].versions_len; v++) {
			const struct schema_version *ver = &schema_versions[schema_groups[g].versions_at + v];

			if (!str_eq(schema_text(ver->name), version)) {
				continue;
			}
			for (size_t r = 0; r < ver->resources_len; r++) {
				const struct schema_resource *res = &schema_resources[ver->resources_at + r];

				if (str_eq(schema_text(res->name), plural)) {
					return res;
				}
			}
		}
		return NULL;
	}
	return NULL;
}

const struct schema_resource *schema_resource_of(const struct schema_type *kind) {
	if (!kind || kind->version < 0 || kind->set != &schema_builtin) {
		return NULL;
	}
	for (size_t r = 0; r < schema_versions[kind->version].resources_len; r++) {
		const struct schema_resource *res = &schema_resources[schema_versions[kind->version].resources_at + r];

		if (&schema_builtin.types[res->type] == kind) {
			return res;
		}
	}
	return NULL;
}

const struct schema_sub *schema_sub_find(const struct schema_resource *r, struct str name) {
	for (size_t i = 0; i < r->subs_len; i++) {
		if (str_eq(schema_text(schema_subs[r->subs_at + i].name), name)) {
			return &schema_subs[r->subs_at + i];
		}
	}
	return NULL;
}

struct str schema_resource_group(const struct schema_resource *r) {
	return schema_text(schema_groups[schema_versions[r->version].group].name);
}

struct str schema_resource_version(const struct schema_resource *r) {
	return schema_text(schema_versions[r->version].name);
}

struct str schema_resource_api_version(struct arena *a, const struct schema_resource *r) {
	struct str group = schema_resource_group(r), version = schema_resource_version(r);

	return group.len == 0 ? version : arena_printf(a, "%.*s/%.*s", STR_ARG(group), STR_ARG(version));
}
