/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.c - get, create and update of any stored resource: upstream's generic registry, with what is special about a
 * kind asked from its kind_ops. Also the one loop through which every change of an existing object goes: read, make the next state,
 * admit, validate, write if it is still the current one, else again.
 *
 * Runs on a pool thread; blocks in the store's write.
 */
#include "apiserver/server.h"

#include "net/digest.h"

#define CREATE_ATTEMPTS 8  /* of a generated name */
#define MODIFY_ATTEMPTS 64 /* of a change that races with others and names no resourceVersion */

bool registry_get(struct req *r, struct answer *ret, struct err *err) {
	int64_t rv = 0;

	if (!resource_version_parse(r, S("GetOptions"), &rv, err)) {
		return false;
	}
	if (!cacher_wait(r->s->cacher, rv, 3 * NSEC_PER_SEC)) {
		return fail_rv_too_large(r, rv, err);
	}
	ret->obj = storage_get(r->st, r->info.ns, r->info.name);
	if (!ret->obj) {
		return fail_not_found(r, r->st->group, r->st->resource, r->info.name, err);
	}
	ret->res = r->res;
	return true;
}

/* ---- metadata ------------------------------------------------------------------------------------ */

struct str api_new_uid(struct arena *a) {
	uint8_t b[16];

	random_bytes(b, sizeof(b));
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4, variant 1 */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	return arena_printf(a, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
		b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* Upstream's names.SimpleNameGenerator: no vowels, no letters that look like digits. */
static struct str generate_name(struct arena *a, struct str base) {
	struct str random = random_text(a, 5, S("bcdfghjklmnpqrstvwxz2456789"));

	if (base.len > 63 - 5) {
		base = str_sub(base, 0, 63 - 5);
	}
	return arena_printf(a, "%.*s%.*s", STR_ARG(base), STR_ARG(random));
}

struct str api_now_text(struct arena *a) {
	char text[TIME_TEXT_MAX];

	return arena_str(a, time_format(clock_wall(), text));
}

static bool check_namespace(struct req *r, const struct storage *st, struct str ns, struct value *meta, struct err *err) {
	struct str have = value_str_at(meta, N_namespace);

	if (!st->namespaced) {
		if (have.len) {
			/* Upstream empties it silently for kinds that have none. */
			value_remove(meta, N_namespace);
		}
		return true;
	}
	if (have.len == 0) {
		value_set_str(r->a, meta, N_namespace, ns);
		return true;
	}
	if (!str_eq(have, ns)) {
		return err_set(err, ERR_BAD_REQUEST, "the namespace of the provided object does not match the namespace sent on the request");
	}
	return true;
}

static bool has_generation(const struct storage *st) {
	return !(st->flags & STORAGE_NO_GENERATION) && !st->ops->no_generation;
}

static bool validate(struct req *r, struct storage *st, const struct value *o, const struct value *old, int flags, struct str name, struct err *err) {
	struct causes c = { .arena = r->a };

	if (!old) {
		validate_meta(&r->kx, o, st->namespaced, st->ops, &c);
		if (st->ops->validate) {
			st->ops->validate(&r->kx, o, &c);
		}
	} else {
		validate_meta(&r->kx, o, st->namespaced, st->ops, &c);
		validate_meta_update(&r->kx, o, old, &c);
		if (flags & MODIFY_STATUS) {
			if (st->ops->validate_status) {
				st->ops->validate_status(&r->kx, o, old, &c);
			}
		} else {
			if (st->ops->validate) {
				st->ops->validate(&r->kx, o, &c);
			}
			if (st->ops->validate_update) {
				st->ops->validate_update(&r->kx, o, old, &c);
			}
		}
	}
	return c.len ? fail_invalid(r, st->group, st->kind, name, &c, err) : true;
}

/* ---- create -------------------------------------------------------------------------------------- */

static bool create_once(struct req *r, struct storage *st, struct value *o, struct obj **ret, struct err *err) {
	struct value *meta = value_get(o, N_metadata);
	struct str name = value_str_at(meta, N_name);

	r->kx.name = name;
	if (!validate(r, st, o, NULL, 0, name, err)) {
		return false;
	}
	struct admission ad = { .r = r, .verb = ADMIT_CREATE, .st = st, .group = st->group, .resource = st->resource, .ns = r->info.ns, .name = name, .object = o };
	if (!admission_validate(&ad, err)) {
		return false;
	}
	if (r->opts.dry_run) {
		if (storage_get(st, r->info.ns, name)) {
			return fail_exists(r, st->group, st->resource, name, err);
		}
	}
	if (st->ops->allocate && !st->ops->allocate(&r->kx, o, NULL, err)) {
		return false;
	}
	bool ok = canonical(r, st->type, &o, err);
	if (ok && r->opts.dry_run) {
		*ret = obj_freeze(o, 0);
		return true;
	}
	ok = ok && storage_write(r, st, storage_key(r->a, st, r->info.ns, name), o, 0, ret, err);
	if (ok && st->ops->committed) {
		st->ops->committed(&r->kx, (*ret)->root, NULL);
	} else if (!ok && st->ops->rollback && !r->opts.dry_run) {
		st->ops->rollback(&r->kx, o, NULL);
	}
	if (!ok && err->code == ERR_CONFLICT) {
		err_clear(err);
		return fail_exists(r, st->group, st->resource, name, err);
	}
	return ok;
}

bool registry_create(struct req *r, struct value *o, struct obj **ret, struct err *err) {
	struct storage *st = r->st;
	struct value *meta = value_ensure_object(r->a, o, N_metadata);

	if (!check_namespace(r, st, r->info.ns, meta, err)) {
		return false;
	}
	if (r->info.name.len && !str_eq(value_str_at(meta, N_name), r->info.name)) {
		value_set_str(r->a, meta, N_name, r->info.name);
	}
	struct str rv = value_str_at(meta, N_resourceVersion);
	if (rv.len && !str_eq(rv, S("0"))) {
		return err_set(err, ERR_INTERNAL, "resourceVersion should not be set on objects to be created");
	}
	struct str generate = value_str_at(meta, N_generateName);
	bool generated = value_str_at(meta, N_name).len == 0 && generate.len;
	if (generated) {
		value_set_str(r->a, meta, N_name, generate_name(r->a, generate));
	}
	struct admission ad = { .r = r, .verb = ADMIT_CREATE, .st = st, .group = st->group, .resource = st->resource, .ns = r->info.ns,
		.name = value_str_at(meta, N_name), .object = o };
	if (!admission_mutate(&ad, err)) {
		return false;
	}
	o = ad.object;
	meta = value_ensure_object(r->a, o, N_metadata);
	value_set_str(r->a, meta, N_uid, api_new_uid(r->a));
	value_set_str(r->a, meta, N_creationTimestamp, api_now_text(r->a));
	value_remove(meta, N_deletionTimestamp);
	value_remove(meta, N_deletionGracePeriodSeconds);
	value_remove(meta, N_selfLink);
	value_remove(meta, N_managedFields);
	value_remove(meta, N_resourceVersion);
	value_remove(meta, N_generation);
	if (has_generation(st)) {
		value_set_int(r->a, meta, N_generation, 1);
	}
	if (st->has_status && !(st->flags & STORAGE_KEEP_STATUS)) {
		schema_drop_status(st->res, o);
	}
	if (st->ops->prepare_create) {
		st->ops->prepare_create(&r->kx, o);
	}
	for (int i = 1;; i++) {
		if (create_once(r, st, o, ret, err)) {
			return true;
		}
		if (!generated || err->code != ERR_ALREADY_EXISTS || i == CREATE_ATTEMPTS) {
			return false;
		}
		err_clear(err);
		r->details = NULL;
		value_set_str(r->a, value_get(o, N_metadata), N_name, generate_name(r->a, generate));
	}
}

/* ---- update -------------------------------------------------------------------------------------- */

bool finalizers_empty(const struct storage *st, const struct value *o) {
	if (value_len(value_at(o, N_metadata, N_finalizers))) {
		return false;
	}
	/* A Namespace has finalizers in its spec as well. */
	return !(str_eq(st->resource, S("namespaces")) && st->group.len == 0 && value_len(value_at(o, N_spec, N_finalizers)));
}

/* Upstream's ShouldDeleteDuringUpdate: marked for deletion, its grace over, and this update took the last finalizer away. */
static bool now_deletable(const struct storage *st, const struct value *o) {
	return value_str_at(o, N_metadata, N_deletionTimestamp).len && value_int_at(o, N_metadata, N_deletionGracePeriodSeconds) == 0 &&
		finalizers_empty(st, o);
}

/* What a request may not change: upstream's BeforeUpdate. */
static void keep_meta(struct req *r, struct value *o, const struct value *old) {
	static const uint16_t kept[] = { N_creationTimestamp, N_deletionTimestamp, N_deletionGracePeriodSeconds, N_selfLink, N_generation, N_managedFields };
	struct value *meta = value_ensure_object(r->a, o, N_metadata);
	const struct value *old_meta = value_get(old, N_metadata);

	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		const struct value *v = value_get(old_meta, kept[i]);
		if (v) {
			value_set(r->a, meta, kept[i], v);
		} else {
			value_remove(meta, kept[i]);
		}
	}
	if (value_str_at(meta, N_uid).len == 0) {
		value_set_str(r->a, meta, N_uid, value_str_at(old_meta, N_uid));
	}
}

/* Whether anything but metadata and status differs. */
static bool spec_differs(const struct value *o, const struct value *old) {
	size_t n = 0, n_old = 0;

	VALUE_EACH(o, m) {
		if (m->name == N_metadata || m->name == N_status) {
			continue;
		}
		n++;
		const struct value *was = value_get_str(old, value_key(o, (size_t)(m - value_item(o, 0))));
		if (!was || !value_eq(m, was)) {
			return true;
		}
	}
	VALUE_EACH(old, m) {
		n_old += m->name != N_metadata && m->name != N_status;
	}
	return n != n_old;
}

/* The generic rule of /status: the status and nothing else, but labels, annotations and finalizers stay as sent only with the spec. */
static struct value *only_status(struct req *r, const struct storage *st, const struct value *o, const struct value *old) {
	struct value *next = value_copy(r->a, old);
	const struct value *status = value_get(o, N_status);
	struct value *meta = value_get(next, N_metadata);
	const struct value *sent = value_get(o, N_metadata);
	static const uint16_t taken[] = { N_labels, N_annotations, N_finalizers, N_ownerReferences, N_resourceVersion, N_uid };

	for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
		const struct value *v = value_get(sent, taken[i]);
		if (v) {
			value_set(r->a, meta, taken[i], v);
		} else if (taken[i] != N_uid) {
			value_remove(meta, taken[i]);
		}
	}
	if (status) {
		value_set(r->a, next, N_status, status);
	} else {
		value_remove(next, N_status);
	}
	return next;
}

static bool prepare(struct req *r, struct storage *st, int flags, struct value **o, const struct value *old, struct err *err) {
	if (!(flags & MODIFY_AS_IS)) {
		if (flags & MODIFY_STATUS) {
			if (st->ops->prepare_status) {
				st->ops->prepare_status(&r->kx, *o, old);
			} else {
				*o = only_status(r, st, *o, old);
			}
		} else {
			if (st->has_status) {
				schema_keep_status(r->a, st->res, *o, old);
			}
			if (st->ops->prepare_update) {
				st->ops->prepare_update(&r->kx, *o, old);
			}
		}
	}
	keep_meta(r, *o, old);
	if (!canonical(r, st->type, o, err)) {
		return false;
	}
	if (has_generation(st) && !(flags & MODIFY_STATUS) && spec_differs(*o, old)) {
		value_set_int(r->a, value_get(*o, N_metadata), N_generation, value_int_at(old, N_metadata, N_generation) + 1);
		return canonical(r, st->type, o, err);
	}
	return true;
}

/* The resourceVersion and uid that the request named must be the current ones. */
static bool check_preconditions(struct req *r, struct storage *st, const struct value *o, const struct obj *old, struct str name, bool *ret_named,
	struct err *err) {
	struct str rv = value_str_at(o, N_metadata, N_resourceVersion), uid = value_str_at(o, N_metadata, N_uid);
	struct str old_uid = value_str_at(old->root, N_metadata, N_uid);

	*ret_named = rv.len && !str_eq(rv, S("0"));
	if (uid.len && !str_eq(uid, old_uid)) {
		return fail_conflict(r, st->group, st->resource, name,
			arena_printf(r->a, "Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s", STR_ARG(uid), STR_ARG(old_uid)), err);
	}
	if (*ret_named) {
		int64_t n = 0;
		if (!str_to_i64(rv, &n)) {
			struct causes c = { .arena = r->a };
			cause_add(&c, CAUSE_INVALID, S("metadata.resourceVersion"), value_new_str(r->a, rv), "strconv.ParseUint: parsing \"%.*s\": invalid syntax",
				STR_ARG(rv));
			return fail_invalid(r, st->group, st->kind, name, &c, err);
		}
		if (n != old->revision) {
			return fail_conflict(r, st->group, st->resource, name, RV_CONFLICT, err);
		}
	} else if (st->flags & STORAGE_CONDITIONAL) {
		struct causes c = { .arena = r->a };
		cause_add(&c, CAUSE_INVALID, S("metadata.resourceVersion"), value_new_int(r->a, 0), "must be specified for an update");
		return fail_invalid(r, st->group, st->kind, name, &c, err);
	}
	return true;
}

/* One try at an existing object. *ret_again: it has changed meanwhile and the request does not mind. */
static bool modify_once(struct req *r, struct storage *st, struct str key, struct str name, int flags, registry_modify modify, void *arg, struct obj *old,
	struct obj **ret, bool *ret_again, struct err *err) {
	struct value *o = NULL;
	bool named = false;

	if (!modify(r, old->root, arg, &o, err)) {
		return false;
	}
	if (!(flags & MODIFY_RAW)) {
		if (!check_preconditions(r, st, o, old, name, &named, err)) {
			return false;
		}
		struct admission ad = { .r = r, .verb = ADMIT_UPDATE, .st = st, .group = st->group, .resource = st->resource,
			.sub = r->info.subresource, .ns = r->info.ns, .name = name, .object = o, .old = old->root };
		if (!(flags & MODIFY_STATUS) && !admission_mutate(&ad, err)) {
			return false;
		}
		o = ad.object;
		if (!prepare(r, st, flags, &o, old->root, err) || !validate(r, st, o, old->root, flags, name, err)) {
			return false;
		}
		ad.object = o;
		if (!admission_validate(&ad, err)) {
			return false;
		}
	} else if (!canonical(r, st->type, &o, err)) {
		return false;
	}
	/* Nothing to write: the current state is the answer, as upstream's storage does it. */
	struct value *meta = value_get(o, N_metadata);
	value_set_str(r->a, meta, N_resourceVersion, value_str_at(old->root, N_metadata, N_resourceVersion));
	if (value_eq(o, old->root)) {
		*ret = obj_ref(old);
		return true;
	}
	bool allocates = !(flags & (MODIFY_RAW | MODIFY_STATUS)) && st->ops->allocate;
	if (allocates && !st->ops->allocate(&r->kx, o, old->root, err)) {
		return false;
	}
	bool ok = !allocates || canonical(r, st->type, &o, err), deletes = now_deletable(st, o);
	if (ok && r->opts.dry_run) {
		*ret = obj_freeze(o, old->revision);
		return true;
	}
	ok = ok && (deletes ? storage_delete(r, st, key, old, o, ret, err) : storage_write(r, st, key, o, old->revision, ret, err));
	if (allocates && ok && st->ops->committed) {
		st->ops->committed(&r->kx, (*ret)->root, old->root);
	} else if (allocates && !ok && !r->opts.dry_run && st->ops->rollback) {
		st->ops->rollback(&r->kx, o, old->root);
	}
	if (ok && deletes && st->ops->deleted) {
		st->ops->deleted(&r->kx, o);
	}
	if (ok) {
		return true;
	}
	if (err->code != ERR_CONFLICT) {
		return false;
	}
	err_clear(err);
	if (named) {
		return fail_conflict(r, st->group, st->resource, name, RV_CONFLICT, err);
	}
	*ret_again = true;
	return false;
}

bool registry_modify_object(struct req *r, struct storage *st, struct str ns, struct str name, int flags, registry_modify modify, void *arg,
	struct obj **ret, bool *ret_created, struct err *err) {
	struct str key = storage_key(r->a, st, ns, name);

	r->kx.name = name;
	for (int i = 0; i < MODIFY_ATTEMPTS; i++) {
		auto_obj struct obj *old = cache_get(st->cache, key);
		bool again = false;
		if (!old) {
			if (!(flags & MODIFY_MAY_CREATE)) {
				return fail_not_found(r, st->group, st->resource, name, err);
			}
			struct value *o = NULL;
			if (!modify(r, NULL, arg, &o, err)) {
				return false;
			}
			if (ret_created) {
				*ret_created = true;
			}
			value_remove(value_ensure_object(r->a, o, N_metadata), N_resourceVersion);
			return registry_create(r, o, ret, err);
		}
		if (modify_once(r, st, key, name, flags, modify, arg, old, ret, &again, err)) {
			return true;
		}
		if (!again) {
			return false;
		}
		/* The write that was faster shows in the cache once it is durable. */
		cacher_wait(r->s->cacher, MAX(old->revision, cacher_revision(r->s->cacher)) + 1, (1 + i) * NSEC_PER_MSEC);
	}
	return fail_conflict(r, st->group, st->resource, name, RV_CONFLICT, err);
}

struct update_arg {
	const struct value *o;
};

static bool take_update(struct req *r, const struct value *current, void *arg, struct value **ret_next, struct err *err) {
	struct update_arg *u = arg;

	*ret_next = value_copy(r->a, u->o);
	return true;
}

bool registry_update(struct req *r, struct value *o, int flags, struct obj **ret, bool *ret_created, struct err *err) {
	struct storage *st = r->st;
	struct value *meta = value_ensure_object(r->a, o, N_metadata);
	struct str name = value_str_at(meta, N_name);

	if (!check_namespace(r, st, r->info.ns, meta, err)) {
		return false;
	}
	if (name.len == 0) {
		return err_set(err, ERR_BAD_REQUEST, "name must be provided");
	}
	if (!str_eq(name, r->info.name)) {
		return err_set(err, ERR_BAD_REQUEST, "the name of the object (%.*s) does not match the name on the URL (%.*s)", STR_ARG(name), STR_ARG(r->info.name));
	}
	if (st->flags & STORAGE_UPSERT && !(flags & MODIFY_STATUS)) {
		flags |= MODIFY_MAY_CREATE;
	}
	struct update_arg u = { .o = o };
	return registry_modify_object(r, st, r->info.ns, name, flags, take_update, &u, ret, ret_created, err);
}
