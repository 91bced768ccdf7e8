/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delete.c - deletion of any stored resource: preconditions, grace, finalizers, orphaning and foreground deletion, and
 * of collections. Follows upstream's Store.Delete, rest.BeforeDelete and the pod and namespace strategies.
 */
#include "apiserver/server.h"

#define FINALIZER_ORPHAN S("orphan")
#define FINALIZER_FOREGROUND S("foregroundDeletion")
#define DELETE_ATTEMPTS 64

/* The options of a request: its body, else its query. NULL in `ret` when there are none. */
static bool check_options(struct req *r, const struct value *options, struct err *err) {
	static const struct str policies[] = { S_INIT("Foreground"), S_INIT("Background"), S_INIT("Orphan"), S_INIT("nil") };
	struct causes c = { .arena = r->a };
	const struct value *policy = value_get(options, N_propagationPolicy);
	struct str text = value_as_str(policy);

	if (policy && value_get(options, N_orphanDependents)) {
		cause_add(&c, CAUSE_INVALID, S("propagationPolicy"), policy, "orphanDependents and deletionPropagation cannot be both set");
	}
	if (policy && !str_eq(text, S("Foreground")) && !str_eq(text, S("Background")) && !str_eq(text, S("Orphan"))) {
		cause_not_supported(&c, S("propagationPolicy"), policy, policies, ARRAY_LEN(policies));
	}
	return c.len ? fail_invalid(r, S("meta.k8s.io"), S("DeleteOptions"), S(""), &c, err) : true;
}

static bool has_finalizer(const struct value *o, struct str which) {
	VALUE_EACH(value_at(o, N_metadata, N_finalizers), f) {
		if (str_eq(value_as_str(f), which)) {
			return true;
		}
	}
	return false;
}

enum propagation { PROPAGATE_BACKGROUND, PROPAGATE_ORPHAN, PROPAGATE_FOREGROUND };

static enum propagation propagation_of(const struct storage *st, const struct value *o, const struct value *options) {
	const struct value *orphan = value_get(options, N_orphanDependents);
	struct str policy = value_str_at(options, N_propagationPolicy);

	if (orphan) {
		return value_as_bool(orphan) ? PROPAGATE_ORPHAN : PROPAGATE_BACKGROUND;
	}
	if (policy.len) {
		return str_eq(policy, S("Orphan")) ? PROPAGATE_ORPHAN : str_eq(policy, S("Foreground")) ? PROPAGATE_FOREGROUND : PROPAGATE_BACKGROUND;
	}
	if (has_finalizer(o, FINALIZER_ORPHAN)) {
		return PROPAGATE_ORPHAN;
	}
	if (has_finalizer(o, FINALIZER_FOREGROUND)) {
		return PROPAGATE_FOREGROUND;
	}
	return st->flags & STORAGE_ORPHAN ? PROPAGATE_ORPHAN : PROPAGATE_BACKGROUND;
}

/* Adds and removes the two finalizers of garbage collection. True when something changed. */
static bool set_gc_finalizers(struct req *r, struct value *o, enum propagation p) {
	bool orphan = has_finalizer(o, FINALIZER_ORPHAN), foreground = has_finalizer(o, FINALIZER_FOREGROUND);

	if (orphan == (p == PROPAGATE_ORPHAN) && foreground == (p == PROPAGATE_FOREGROUND)) {
		return false;
	}
	struct value *meta = value_get(o, N_metadata), *list = value_new_array(r->a);
	VALUE_EACH(value_get(meta, N_finalizers), f) {
		struct str t = value_as_str(f);
		if (!str_eq(t, FINALIZER_ORPHAN) && !str_eq(t, FINALIZER_FOREGROUND)) {
			value_push(r->a, list, f);
		}
	}
	if (p == PROPAGATE_ORPHAN) {
		value_push_str(r->a, list, FINALIZER_ORPHAN);
	} else if (p == PROPAGATE_FOREGROUND) {
		value_push_str(r->a, list, FINALIZER_FOREGROUND);
	}
	if (value_len(list)) {
		value_set(r->a, meta, N_finalizers, list);
	} else {
		value_remove(meta, N_finalizers);
	}
	return true;
}

static void mark(struct req *r, struct value *o, nsec_t when, int64_t grace) {
	struct value *meta = value_get(o, N_metadata);
	char text[TIME_TEXT_MAX];

	value_set_str(r->a, meta, N_deletionTimestamp, time_format(when, text));
	value_set_int(r->a, meta, N_deletionGracePeriodSeconds, grace);
}

static void raise_generation(struct req *r, struct value *o) {
	int64_t g = value_int_at(o, N_metadata, N_generation);

	if (g > 0) {
		value_set_int(r->a, value_get(o, N_metadata), N_generation, g + 1);
	}
}

enum outcome { DELETE_NOW, DELETE_LATER /* write the marked object */, DELETE_PENDING /* nothing to do: already on its way */ };

/* Upstream's BeforeDelete with what follows it, on `o`, a copy of the current object. */
static enum outcome decide(struct req *r, const struct storage *st, struct value *o, const struct value *options) {
	const struct value *asked = value_get(options, N_gracePeriodSeconds);
	struct str marked = value_str_at(o, N_metadata, N_deletionTimestamp);
	const struct value *pending = value_at(o, N_metadata, N_deletionGracePeriodSeconds);
	bool graceful = st->ops->grace_seconds != NULL;
	int64_t grace = 0;

	if (str_eq(st->resource, S("namespaces")) && st->group.len == 0) {
		if (marked.len) {
			return finalizers_empty(st, o) ? DELETE_NOW : DELETE_PENDING;
		}
		char text[TIME_TEXT_MAX];
		value_set_str(r->a, value_get(o, N_metadata), N_deletionTimestamp, time_format(clock_wall(), text));
		value_set_str(r->a, value_ensure_object(r->a, o, N_status), N_phase, S("Terminating"));
		return finalizers_empty(st, o) ? DELETE_NOW : DELETE_LATER;
	}
	if (graceful && marked.len) {
		int64_t left = value_as_int(pending);
		if (!pending) {
			return finalizers_empty(st, o) ? DELETE_NOW : DELETE_PENDING;
		}
		if (!asked || value_as_int(asked) >= left) {
			/* Only a shorter grace is heard; zero again on an object whose grace is over deletes what has no finalizers. */
			if (asked && value_as_int(asked) == 0 && left == 0 && finalizers_empty(st, o)) {
				return DELETE_NOW;
			}
			return DELETE_PENDING;
		}
		grace = MAX(value_as_int(asked), (int64_t)0);
		nsec_t when = clock_wall();
		if (time_parse(marked, &when)) {
			when += (grace - left) * NSEC_PER_SEC;
		}
		mark(r, o, when, grace);
		set_gc_finalizers(r, o, propagation_of(st, o, options));
		return grace > 0 || !finalizers_empty(st, o) ? DELETE_LATER : DELETE_NOW;
	}
	if (graceful && !marked.len) {
		/* Unscheduled and finished pods have nothing to wait for. */
		struct str phase = value_str_at(o, N_status, N_phase);
		grace = asked ? value_as_int(asked) : st->ops->grace_seconds(o);
		if (value_str_at(o, N_spec, N_nodeName).len == 0 || str_eq(phase, S("Failed")) || str_eq(phase, S("Succeeded"))) {
			grace = 0;
		}
		if (grace < 0) {
			grace = 1;
		}
		mark(r, o, clock_wall() + grace * NSEC_PER_SEC, grace);
		raise_generation(r, o);
		set_gc_finalizers(r, o, propagation_of(st, o, options));
		return grace > 0 || !finalizers_empty(st, o) ? DELETE_LATER : DELETE_NOW;
	}
	bool changed = set_gc_finalizers(r, o, propagation_of(st, o, options));
	if (finalizers_empty(st, o)) {
		return DELETE_NOW;
	}
	if (!marked.len) {
		mark(r, o, clock_wall(), 0);
		raise_generation(r, o);
		return DELETE_LATER;
	}
	if (!pending) {
		value_set_int(r->a, value_get(o, N_metadata), N_deletionGracePeriodSeconds, 0);
		changed = true;
	}
	return changed ? DELETE_LATER : DELETE_PENDING;
}

static bool check_preconditions(struct req *r, struct storage *st, const struct obj *current, struct str name, const struct value *options, struct err *err) {
	const struct value *uid = value_at(options, N_preconditions, N_uid), *rv = value_at(options, N_preconditions, N_resourceVersion);
	struct str have_uid = value_str_at(current->root, N_metadata, N_uid), have_rv = value_str_at(current->root, N_metadata, N_resourceVersion);

	if (uid && !str_eq(value_as_str(uid), have_uid)) {
		struct str want = value_as_str(uid);
		return fail_conflict(r, st->group, st->resource, name,
			arena_printf(r->a, "Precondition failed: UID in precondition: %.*s, UID in object meta: %.*s", STR_ARG(want), STR_ARG(have_uid)), err);
	}
	if (rv && !str_eq(value_as_str(rv), have_rv)) {
		struct str want = value_as_str(rv);
		return fail_conflict(r, st->group, st->resource, name,
			arena_printf(r->a, "Precondition failed: ResourceVersion in precondition: %.*s, ResourceVersion in object meta: %.*s", STR_ARG(want),
				STR_ARG(have_rv)),
			err);
	}
	return true;
}

static void answer_deleted(struct req *r, struct storage *st, struct obj *last, struct answer *ret) {
	if (st->flags & STORAGE_RETURN_DELETED) {
		ret->obj = last;
		ret->res = r->res;
		return;
	}
	struct value *details = value_new_object(r->a);
	value_set(r->a, details, N_name, value_copy(r->a, value_at(last->root, N_metadata, N_name)));
	if (st->group.len) {
		value_set_str(r->a, details, N_group, st->group);
	}
	value_set_str(r->a, details, N_kind, st->resource);
	value_set(r->a, details, N_uid, value_copy(r->a, value_at(last->root, N_metadata, N_uid)));
	ret->value = status_success(r->a, details);
	obj_unref(last);
}

bool registry_delete_one(struct req *r, struct storage *st, struct str ns, struct str name, const struct value *options, struct answer *ret,
	struct err *err) {
	struct str key = storage_key(r->a, st, ns, name);

	r->kx.name = name;
	for (int i = 0; i < DELETE_ATTEMPTS; i++) {
		auto_obj struct obj *current = cache_get(st->cache, key);
		if (!current) {
			return fail_not_found(r, st->group, st->resource, name, err);
		}
		if (!check_preconditions(r, st, current, name, options, err)) {
			return false;
		}
		struct admission ad = { .r = r, .verb = ADMIT_DELETE, .st = st, .group = st->group, .resource = st->resource, .ns = ns, .name = name,
			.old = current->root };
		if (!admission_validate(&ad, err)) {
			return false;
		}
		struct value *o = value_copy(r->a, current->root);
		struct obj *after = NULL;
		enum outcome what = decide(r, st, o, options);
		if (what == DELETE_PENDING) {
			ret->obj = TAKE(current);
			ret->res = r->res;
			return true;
		}
		if (!canonical(r, st->type, &o, err)) {
			return false;
		}
		if (r->opts.dry_run) {
			after = obj_freeze(o, current->revision);
		} else if (what == DELETE_NOW ? !storage_delete(r, st, key, current, o, &after, err)
					      : !storage_write(r, st, key, o, current->revision, &after, err)) {
			if (err->code != ERR_CONFLICT) {
				return false;
			}
			err_clear(err);
			cacher_wait(r->s->cacher, MAX(current->revision, cacher_revision(r->s->cacher)) + 1, (1 + i) * NSEC_PER_MSEC);
			continue;
		}
		if (what == DELETE_NOW) {
			if (st->ops->deleted && !r->opts.dry_run) {
				st->ops->deleted(&r->kx, o);
			}
			answer_deleted(r, st, after, ret);
		} else {
			ret->obj = after;
			ret->res = r->res;
		}
		return true;
	}
	return fail_conflict(r, st->group, st->resource, name, RV_CONFLICT, err);
}

bool registry_delete(struct req *r, const struct value *options, struct answer *ret, struct err *err) {
	return check_options(r, options, err) && registry_delete_one(r, r->st, r->info.ns, r->info.name, options, ret, err);
}

bool registry_delete_collection(struct req *r, const struct value *options, struct answer *ret, struct err *err) {
	struct list_page p = { 0 };
	struct list_cursor c = { 0 };
	struct value *list = value_new_object(r->a), *items = value_new_array(r->a);

	if (!check_options(r, options, err) || !list_begin(r, &p, err)) {
		return false;
	}
	bool ok = true;
	for (struct obj *o; ok && (o = list_next(&p, &c));) {
		struct answer one = { 0 };
		struct str name = value_str_at(o->root, N_metadata, N_name), ns = value_str_at(o->root, N_metadata, N_namespace);
		value_push(r->a, items, value_copy(r->a, convert_to(r->a, o->root, r->res)));
		ok = registry_delete_one(r, r->st, ns, name, options, &one, err);
		answer_release(&one);
		if (!ok && err->code == ERR_NOT_FOUND) {
			err_clear(err);
			r->details = NULL;
			ok = true;
		}
	}
	if (ok) {
		char rv[24];
		struct str api_version = schema_resource_api_version(r->a, r->res);
		value_set_str(r->a, list, N_kind, schema_type_short(schema_resource_list(r->res)));
		value_set_str(r->a, list, N_apiVersion, api_version);
		value_set_str(r->a, value_ensure_object(r->a, list, N_metadata), N_resourceVersion,
			(struct str){ rv, (size_t)snprintf(rv, sizeof(rv), "%lld", (long long)p.snap.revision) });
		value_set(r->a, list, N_items, items);
		ret->value = list;
		ret->res = r->res;
	}
	list_end(&p);
	return ok;
}
