/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage.c - what is stored and how: one storage per resource, its folder below /registry/, its stored version, and
 * the few rules by which kinds differ there. Values are the protobuf envelope of the stored version, as upstream keeps them in etcd.
 */
#include "apiserver/server.h"

#include "net/digest.h"

/* Where a kind departs from the common rules of its strategy. */
static const struct {
	const char *group, *resource;
	int flags;
} storage_flags[] = {
	{ "", "endpoints", STORAGE_UPSERT | STORAGE_NO_GENERATION },
	{ "", "events", STORAGE_UPSERT | STORAGE_NO_GENERATION },
	{ "", "limitranges", STORAGE_UPSERT | STORAGE_NO_GENERATION },
	{ "", "resourcequotas", STORAGE_UPSERT | STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "", "services", STORAGE_UPSERT | STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "", "podtemplates", STORAGE_UPSERT | STORAGE_RETURN_DELETED },
	{ "", "nodes", STORAGE_KEEP_STATUS | STORAGE_NO_GENERATION },
	{ "", "namespaces", STORAGE_NO_GENERATION | STORAGE_RETURN_DELETED },
	{ "", "configmaps", STORAGE_NO_GENERATION },
	{ "", "secrets", STORAGE_NO_GENERATION },
	{ "", "serviceaccounts", STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "", "pods", STORAGE_RETURN_DELETED },
	{ "", "persistentvolumes", STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "", "persistentvolumeclaims", STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "", "replicationcontrollers", STORAGE_ORPHAN },
	{ "batch", "jobs", STORAGE_ORPHAN },
	{ "coordination.k8s.io", "leases", STORAGE_UPSERT | STORAGE_CONDITIONAL | STORAGE_NO_GENERATION },
	{ "policy", "poddisruptionbudgets", STORAGE_CONDITIONAL },
	{ "node.k8s.io", "runtimeclasses", STORAGE_CONDITIONAL | STORAGE_NO_GENERATION },
	{ "scheduling.k8s.io", "priorityclasses", STORAGE_UPSERT },
	{ "storage.k8s.io", "storageclasses", STORAGE_UPSERT | STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "storage.k8s.io", "volumeattachments", STORAGE_CONDITIONAL | STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "storage.k8s.io", "csidrivers", STORAGE_CONDITIONAL | STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "storage.k8s.io", "csinodes", STORAGE_CONDITIONAL | STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "storage.k8s.io", "csistoragecapacities", STORAGE_RETURN_DELETED | STORAGE_NO_GENERATION },
	{ "rbac.authorization.k8s.io", "roles", STORAGE_UPSERT | STORAGE_NO_GENERATION },
	{ "rbac.authorization.k8s.io", "rolebindings", STORAGE_UPSERT | STORAGE_NO_GENERATION },
	{ "rbac.authorization.k8s.io", "clusterroles", STORAGE_UPSERT | STORAGE_NO_GENERATION },
	{ "rbac.authorization.k8s.io", "clusterrolebindings", STORAGE_UPSERT | STORAGE_NO_GENERATION },
	{ "apiextensions.k8s.io", "customresourcedefinitions", STORAGE_CONDITIONAL },
	{ "apiregistration.k8s.io", "apiservices", STORAGE_CONDITIONAL | STORAGE_NO_GENERATION },
	{ "certificates.k8s.io", "certificatesigningrequests", STORAGE_NO_GENERATION },
	{ "apps", "controllerrevisions", STORAGE_NO_GENERATION },
};

/* The row of the version that `res` is stored as. */
static const struct schema_resource *stored_as(const struct schema_resource *res) {
	struct str group = schema_resource_group(res), version;

	if (schema_text(res->storage).len == 0) {
		return res;
	}
	if (!schema_split_api_version(schema_text(res->storage), &group, &version)) {
		return res;
	}
	const struct schema_resource *to = schema_resource_find(group, version, schema_text(res->name));
	return to && schema_served(to) ? to : res;
}

static bool is_stored(const struct schema_resource *res) {
	return res->list_type != SCHEMA_NO_TYPE && res->verbs & SCHEMA_CREATE && schema_served(res);
}

void storages_init(struct apiserver *s) {
	s->by_resource = xcalloc(schema_resources_len, sizeof(*s->by_resource));
	s->storages = xcalloc(schema_resources_len, sizeof(*s->storages));
	for (size_t i = 0; i < schema_resources_len; i++) {
		const struct schema_resource *res = &schema_resources[i];
		if (!is_stored(res) || stored_as(res) != res) {
			continue;
		}
		struct storage *st = &s->storages[s->storages_len++];
		*st = (struct storage){ .res = res,
			.type = schema_resource_type(res),
			.group = schema_resource_group(res),
			.resource = schema_text(res->name),
			.kind = schema_type_short(schema_resource_type(res)),
			.namespaced = res->namespaced,
			.has_status = schema_sub_find(res, S("status")) != NULL };
		st->ops = kind_ops_find(st->group, st->resource);
		for (size_t f = 0; f < ARRAY_LEN(storage_flags); f++) {
			if (str_eqc(st->group, storage_flags[f].group) && str_eqc(st->resource, storage_flags[f].resource)) {
				st->flags = storage_flags[f].flags;
			}
		}
		auto_arena struct arena a = { 0 };
		struct str key = schema_text(res->key);
		st->cache = cacher_add(s->cacher, arena_printf(&a, "/registry/%.*s/", STR_ARG(key)), st);
		s->by_resource[i] = st;
	}
	for (size_t i = 0; i < schema_resources_len; i++) {
		const struct schema_resource *res = &schema_resources[i];
		if (is_stored(res) && !s->by_resource[i]) {
			s->by_resource[i] = s->by_resource[stored_as(res) - schema_resources];
		}
	}
}

struct storage *storage_of(struct apiserver *s, const struct schema_resource *res) {
	return s->by_resource[res - schema_resources];
}

struct storage *storage_find(struct apiserver *s, struct str group, struct str resource) {
	for (size_t i = 0; i < s->storages_len; i++) {
		if (str_eq(s->storages[i].resource, resource) && str_eq(s->storages[i].group, group)) {
			return &s->storages[i];
		}
	}
	return NULL;
}

struct str storage_key(struct arena *a, const struct storage *st, struct str ns, struct str name) {
	return st->namespaced ? arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : name;
}

struct obj *storage_get(struct storage *st, struct str ns, struct str name) {
	auto_arena struct arena a = { 0 };

	return cache_get(st->cache, storage_key(&a, st, ns, name));
}

/* ---- writing -------------------------------------------------------------------------------------- */

struct stored_write {
	struct write w; /* first: prepare gets it back */
	struct obj *obj;
};

static void *on_prepare(struct write *w, int64_t revision) {
	struct stored_write *sw = (struct stored_write *)w;

	obj_stamp(sw->obj, revision);
	return obj_ref(sw->obj);
}

static void attachment_free(void *attachment) {
	obj_unref(attachment);
}

static struct str full_key(struct arena *a, const struct storage *st, struct str key) {
	struct str prefix = cache_prefix(st->cache);

	return arena_printf(a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(key));
}

/* The stored form never holds a resourceVersion: the store's revision is it. */
static bool encode_stored(const struct storage *st, struct value *v, struct blob **ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT((size_t)64 << 20);
	struct value *rv = value_at(v, N_metadata, N_resourceVersion);
	uint32_t len = rv ? rv->len : 0;

	if (rv) {
		rv->len = 0;
	}
	bool ok = pb_encode_object(&b, st->type, v);
	if (rv) {
		rv->len = len;
	}
	if (!ok) {
		return err_set(err, ERR_TOO_LARGE, "object is too large to be stored");
	}
	if (b.len > (size_t)3 << 19) { /* what etcd takes: 1.5 MiB */
		return err_set(err, ERR_TOO_LARGE, "etcdserver: request is too large");
	}
	*ret = blob_new(buf_view(&b));
	return true;
}

bool storage_write(struct req *r, struct storage *st, struct str key, struct value *v, int64_t mod_rev, struct obj **ret, struct err *err) {
	struct stored_write sw = { 0 };
	int64_t revision = 0;

	obj_stamp_reserve(r->a, v);
	if (!encode_stored(st, v, &sw.w.value, err)) {
		return false;
	}
	sw.obj = obj_freeze(v, 0);
	sw.w.key = full_key(r->a, st, key);
	sw.w.cond = mod_rev ? STORE_MOD_REV : STORE_ABSENT;
	sw.w.mod_rev = mod_rev;
	sw.w.prepare = on_prepare;
	sw.w.attachment_free = attachment_free;
	bool ok = store_write(r->s->store, &sw.w, &revision, NULL, err);
	blob_unref(sw.w.value);
	if (!ok) {
		obj_unref(sw.obj);
		return false;
	}
	*ret = sw.obj;
	return true;
}

bool storage_delete(struct req *r, struct storage *st, struct str key, const struct obj *current, struct value *last, struct obj **ret, struct err *err) {
	struct stored_write sw = { 0 };
	int64_t revision = 0;

	obj_stamp_reserve(r->a, last);
	sw.obj = obj_freeze(last, 0);
	sw.w.key = full_key(r->a, st, key);
	sw.w.cond = STORE_MOD_REV;
	sw.w.mod_rev = current->revision;
	sw.w.prepare = on_prepare;
	sw.w.attachment_free = attachment_free;
	if (!store_write(r->s->store, &sw.w, &revision, NULL, err)) {
		obj_unref(sw.obj);
		return false;
	}
	*ret = sw.obj;
	return true;
}
