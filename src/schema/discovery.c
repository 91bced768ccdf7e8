/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discovery.c - what the server offers, in the two forms that clients ask for: /api, /apis and their lists, and
 * the aggregated document. Called by the API server, which adds custom and aggregated groups. Any thread.
 */
#include "schema/schema.h"

static const struct {
	uint8_t bit;
	struct str name;
} verb_names[] = {
	{ SCHEMA_CREATE, S_INIT("create") },
	{ SCHEMA_DELETE, S_INIT("delete") },
	{ SCHEMA_DELETECOLLECTION, S_INIT("deletecollection") },
	{ SCHEMA_GET, S_INIT("get") },
	{ SCHEMA_LIST_VERB, S_INIT("list") },
	{ SCHEMA_PATCH, S_INIT("patch") },
	{ SCHEMA_UPDATE, S_INIT("update") },
	{ SCHEMA_WATCH, S_INIT("watch") },
};

static struct value *verbs(struct arena *a, uint8_t mask) {
	struct value *list = value_new_array(a);

	for (size_t i = 0; i < ARRAY_LEN(verb_names); i++) {
		if (mask & verb_names[i].bit) {
			value_push_str(a, list, verb_names[i].name);
		}
	}
	return list;
}

/* Adds "a,b" as a list, when there is any. */
static void set_words(struct arena *a, struct value *object, enum name_id name, struct str words) {
	struct value *list = value_new_array(a);
	struct str word;

	if (words.len == 0) {
		return;
	}
	while (str_next(&words, ',', &word)) {
		value_push_str(a, list, word);
	}
	value_set(a, object, name, list);
}

static struct str group_version(struct arena *a, struct str group, struct str version) {
	return group.len ? arena_printf(a, "%.*s/%.*s", STR_ARG(group), STR_ARG(version)) : version;
}

static bool version_served(const struct schema_version *v) {
	return v->served && v->resources_len > 0;
}

static const struct schema_group *group_find(struct str name) {
	for (size_t i = 0; i < schema_groups_len; i++) {
		if (str_eq(schema_text(schema_groups[i].name), name)) {
			return &schema_groups[i];
		}
	}
	return NULL;
}

struct value *discovery_api_versions(struct arena *a, struct str server_address) {
	struct value *ret = value_new_object(a), *versions = value_new_array(a), *servers = value_new_array(a), *server = value_new_object(a);

	value_set_str(a, ret, N_kind, S("APIVersions"));
	value_push_str(a, versions, S("v1"));
	value_set(a, ret, N_versions, versions);
	value_set_str(a, server, N_clientCIDR, S("0.0.0.0/0"));
	value_set_str(a, server, N_serverAddress, server_address);
	value_push(a, servers, server);
	value_set(a, ret, N_serverAddressByClientCIDRs, servers);
	return ret;
}

static struct value *for_discovery(struct arena *a, struct str group, struct str version) {
	struct value *v = value_new_object(a);

	value_set_str(a, v, N_groupVersion, group_version(a, group, version));
	value_set_str(a, v, N_version, version);
	return v;
}

/* Adds name, versions and preferredVersion; false when nothing of the group is served. */
static bool group_fill(struct arena *a, struct value *object, const struct schema_group *g) {
	struct str name = schema_text(g->name);
	struct value *versions = value_new_array(a), *preferred = NULL;

	for (size_t i = 0; i < g->versions_len; i++) {
		const struct schema_version *v = &schema_versions[g->versions_at + i];

		if (version_served(v)) {
			struct value *entry = for_discovery(a, name, schema_text(v->name));

			value_push(a, versions, entry);
			preferred = preferred ? preferred : for_discovery(a, name, schema_text(v->name));
		}
	}
	if (!preferred) {
		return false;
	}
	value_set_str(a, object, N_name, name);
	value_set(a, object, N_versions, versions);
	value_set(a, object, N_preferredVersion, preferred);
	return true;
}

struct value *discovery_group_list(struct arena *a) {
	struct value *ret = value_new_object(a), *groups = value_new_array(a);

	value_set_str(a, ret, N_kind, S("APIGroupList"));
	value_set_str(a, ret, N_apiVersion, S("v1"));
	for (size_t i = 0; i < schema_groups_len; i++) {
		struct value *g = value_new_object(a);

		if (schema_text(schema_groups[i].name).len && group_fill(a, g, &schema_groups[i])) {
			value_push(a, groups, g);
		}
	}
	value_set(a, ret, N_groups, groups);
	return ret;
}

struct value *discovery_group(struct arena *a, struct str group) {
	const struct schema_group *g = group.len ? group_find(group) : NULL;
	struct value *ret = value_new_object(a);

	value_set_str(a, ret, N_kind, S("APIGroup"));
	value_set_str(a, ret, N_apiVersion, S("v1"));
	return g && group_fill(a, ret, g) ? ret : NULL;
}

static struct value *resource_entry(struct arena *a, const struct schema_resource *r) {
	struct value *v = value_new_object(a);

	value_set_str(a, v, N_name, schema_text(r->name));
	value_set_str(a, v, N_singularName, schema_text(r->singular));
	value_set_bool(a, v, N_namespaced, r->namespaced);
	value_set_str(a, v, N_kind, schema_type_short(schema_resource_type(r)));
	value_set(a, v, N_verbs, verbs(a, r->verbs));
	set_words(a, v, N_shortNames, schema_text(r->shorts));
	set_words(a, v, N_categories, schema_text(r->categories));
	if (schema_text(r->hash).len) {
		value_set_str(a, v, N_storageVersionHash, schema_text(r->hash));
	}
	return v;
}

static struct value *sub_entry(struct arena *a, const struct schema_resource *r, const struct schema_sub *s) {
	const struct schema_version *sv = &schema_versions[s->version];
	struct value *v = value_new_object(a);

	value_set_str(a, v, N_name, arena_printf(a, "%.*s/%.*s", STR_ARG(schema_text(r->name)), STR_ARG(schema_text(s->name))));
	value_set_str(a, v, N_singularName, S(""));
	value_set_bool(a, v, N_namespaced, r->namespaced);
	if (s->version != r->version) {
		value_set_str(a, v, N_group, schema_text(schema_groups[sv->group].name));
		value_set_str(a, v, N_version, schema_text(sv->name));
	}
	value_set_str(a, v, N_kind, schema_type_short(&schema_builtin.types[s->type]));
	value_set(a, v, N_verbs, verbs(a, s->verbs));
	return v;
}

static const struct schema_version *version_find(struct str group, struct str version) {
	const struct schema_group *g = group_find(group);

	for (size_t i = 0; g && i < g->versions_len; i++) {
		const struct schema_version *v = &schema_versions[g->versions_at + i];

		if (str_eq(schema_text(v->name), version)) {
			return version_served(v) ? v : NULL;
		}
	}
	return NULL;
}

struct value *discovery_resources(struct arena *a, struct str group, struct str version) {
	const struct schema_version *v = version_find(group, version);
	struct value *ret = value_new_object(a), *list = value_new_array(a);

	if (!v) {
		return NULL;
	}
	value_set_str(a, ret, N_kind, S("APIResourceList"));
	if (group.len) { /* the core group's list goes without */
		value_set_str(a, ret, N_apiVersion, S("v1"));
	}
	value_set_str(a, ret, N_groupVersion, group_version(a, group, version));
	for (size_t i = 0; i < v->resources_len; i++) {
		const struct schema_resource *r = &schema_resources[v->resources_at + i];

		value_push(a, list, resource_entry(a, r));
		for (size_t k = 0; k < r->subs_len; k++) {
			value_push(a, list, sub_entry(a, r, &schema_subs[r->subs_at + k]));
		}
	}
	value_set(a, ret, N_resources, list);
	return ret;
}

/* ---- aggregated ------------------------------------------------------------------------------------------ */
static struct value *response_kind(struct arena *a, uint16_t version, uint16_t type) {
	const struct schema_version *v = &schema_versions[version];
	struct value *k = value_new_object(a);

	value_set_str(a, k, N_group, schema_text(schema_groups[v->group].name));
	value_set_str(a, k, N_version, schema_text(v->name));
	value_set_str(a, k, N_kind, schema_type_short(&schema_builtin.types[type]));
	return k;
}

static struct value *aggregated_resource(struct arena *a, const struct schema_resource *r) {
	struct value *v = value_new_object(a), *subs = value_new_array(a);

	value_set_str(a, v, N_resource, schema_text(r->name));
	value_set(a, v, N_responseKind, response_kind(a, r->version, r->type));
	value_set_str(a, v, N_scope, r->namespaced ? S("Namespaced") : S("Cluster"));
	value_set_str(a, v, N_singularResource, schema_text(r->singular));
	value_set(a, v, N_verbs, verbs(a, r->verbs));
	set_words(a, v, N_shortNames, schema_text(r->shorts));
	set_words(a, v, N_categories, schema_text(r->categories));
	for (size_t i = 0; i < r->subs_len; i++) {
		const struct schema_sub *s = &schema_subs[r->subs_at + i];
		struct value *sub = value_new_object(a);

		value_set_str(a, sub, N_subresource, schema_text(s->name));
		value_set(a, sub, N_responseKind, response_kind(a, s->version, s->type));
		value_set(a, sub, N_verbs, verbs(a, s->verbs));
		value_push(a, subs, sub);
	}
	if (value_len(subs)) {
		value_set(a, v, N_subresources, subs);
	}
	return v;
}

struct value *discovery_aggregated_group(struct arena *a, const struct schema_group *g) {
	struct value *ret = value_new_object(a), *meta = value_new_object(a), *versions = value_new_array(a);

	if (schema_text(g->name).len) {
		value_set_str(a, meta, N_name, schema_text(g->name));
	}
	value_set(a, ret, N_metadata, meta);
	for (size_t i = 0; i < g->versions_len; i++) {
		const struct schema_version *v = &schema_versions[g->versions_at + i];
		struct value *version = value_new_object(a), *resources = value_new_array(a);

		if (!version_served(v)) {
			continue;
		}
		value_set_str(a, version, N_version, schema_text(v->name));
		for (size_t k = 0; k < v->resources_len; k++) {
			value_push(a, resources, aggregated_resource(a, &schema_resources[v->resources_at + k]));
		}
		value_set(a, version, N_resources, resources);
		value_set_str(a, version, N_freshness, S("Current"));
		value_push(a, versions, version);
	}
	if (value_len(versions) == 0) {
		return NULL;
	}
	value_set(a, ret, N_versions, versions);
	return ret;
}

struct value *discovery_aggregated(struct arena *a, bool core, struct str version) {
	struct value *ret = value_new_object(a), *items = value_new_array(a);

	value_set_str(a, ret, N_kind, S("APIGroupDiscoveryList"));
	value_set_str(a, ret, N_apiVersion, arena_printf(a, "apidiscovery.k8s.io/%.*s", STR_ARG(version)));
	value_set(a, ret, N_metadata, value_new_object(a));
	for (size_t i = 0; i < schema_groups_len; i++) {
		struct value *g;

		if ((schema_text(schema_groups[i].name).len == 0) == core && (g = discovery_aggregated_group(a, &schema_groups[i]))) {
			value_push(a, items, g);
		}
	}
	value_set(a, ret, N_items, items);
	return ret;
}
