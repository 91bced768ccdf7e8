/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discovery.c - reads the server's discovery documents (/api, /apis and one per group version).
 *
 * Used by the namespace controller and the garbage collector, on pool threads. Of a resource that
 * several versions of a group have, the version that comes first in the group's order is taken.
 */
#include "controllers/discovery.h"

#include "base/vec.h"

#define RESOURCES_MAX 10000

typedef VEC(struct resource) resource_vec;

static bool known(resource_vec *all, struct str group, struct str resource) {
	VEC_EACH(all, r) {
		if (str_eq(r->gvr.group, group) && str_eq(r->gvr.resource, resource)) {
			return true;
		}
	}
	return false;
}

static bool has_verb(const struct value *resource, const char *verb) {
	VALUE_EACH(value_get(resource, N_verbs), v) {
		if (str_eqc(value_as_str(v), verb)) {
			return true;
		}
	}
	return false;
}

static bool version_read(struct client *c, struct arena *a, struct str group, struct str version, resource_vec *all, struct err *err) {
	struct str path = group.len ? arena_printf(a, "/apis/%.*s/%.*s", STR_ARG(group), STR_ARG(version)) : arena_printf(a, "/api/%.*s", STR_ARG(version));
	struct client_call call = { .verb = CLIENT_RAW, .raw_path = path };
	auto_obj struct obj *list = NULL;

	if (!client_do(c, &call, &list, NULL, err)) {
		return false;
	}
	VALUE_EACH(value_get(list->root, N_resources), r) {
		struct str name = value_str_at(r, N_name);
		if (str_index(name, '/') >= 0 || known(all, group, name) || all->len >= RESOURCES_MAX) {
			continue;
		}
		struct resource one = {
			.gvr = { arena_str(a, group), arena_str(a, version), arena_str(a, name) },
			.kind = arena_str(a, value_str_at(r, N_kind)),
			.namespaced = value_bool_at(r, N_namespaced),
			.list = has_verb(r, "list"),
			.watch = has_verb(r, "watch"),
			.delete_one = has_verb(r, "delete"),
			.delete_collection = has_verb(r, "deletecollection"),
		};
		VEC_PUSH(all, one);
	}
	return true;
}

static bool group_read(struct client *c, struct arena *a, const struct value *group, resource_vec *all, struct err *err) {
	struct str name = value_str_at(group, N_name), preferred = value_str_at(group, N_preferredVersion, N_version);
	bool ok = preferred.len == 0 || version_read(c, a, name, preferred, all, err);

	VALUE_EACH(value_get(group, N_versions), v) {
		struct str version = value_str_at(v, N_version);
		struct err one = { 0 };
		if (!str_eq(version, preferred) && !version_read(c, a, name, version, all, &one) && ok) {
			ok = false;
			*err = one;
		}
	}
	return ok;
}

bool resources_discover(struct client *c, struct resources *ret, struct err *err) {
	struct client_call call = { .verb = CLIENT_RAW, .raw_path = S("/apis") };
	struct arena a = { 0 };
	resource_vec all = { 0 };
	auto_obj struct obj *groups = NULL;
	bool ok = version_read(c, &a, S(""), S("v1"), &all, err);
	struct err one = { 0 };

	if (!client_do(c, &call, &groups, NULL, &one)) {
		*err = ok ? one : *err;
		ok = false;
	} else {
		VALUE_EACH(value_get(groups->root, N_groups), g) {
			err_clear(&one);
			if (!group_read(c, &a, g, &all, &one) && ok) {
				ok = false;
				*err = one;
			}
		}
	}
	*ret = (struct resources){ arena_array(&a, struct resource, all.len), all.len, { 0 } };
	for (size_t i = 0; i < all.len; i++) {
		ret->at[i] = all.at[i];
	}
	ret->arena = a;
	VEC_RELEASE(&all);
	return ok;
}

void resources_release(struct resources *r) {
	arena_release(&r->arena);
	*r = (struct resources){ 0 };
}

const struct resource *resources_find(const struct resources *r, struct str group, struct str kind) {
	for (size_t i = 0; i < r->len; i++) {
		if (str_eq(r->at[i].kind, kind) && str_eq(r->at[i].gvr.group, group)) {
			return &r->at[i];
		}
	}
	return NULL;
}
