/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_api.h - an API server in memory, as a client transport: enough of create, update, patch, delete, list and
 * watch for controllers and the scheduler to live in, without the server's validation. For tests only.
 *
 * Any thread calls; watchers get their events as messages on their loops, in order. With `kubelet` set, pods run by
 * themselves: bound ones become ready at once, deleted ones go at once.
 */
#ifndef TESTS_CLIENT_FAKE_API_H
#define TESTS_CLIENT_FAKE_API_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "base/map.h"
#include "client/client.h"
#include "client/informer.h"
#include "client/selector.h"
#include "schema/schema.h"

enum fake_kubelet {
	FAKE_KUBELET_OFF,   /* pods stay Pending; deleted ones wait for their grace */
	FAKE_KUBELET_BOUND, /* a bound pod is ready at once */
	FAKE_KUBELET_ANY,   /* any pod is, as if it had been bound */
};

struct fake {
	struct client_transport transport;
	pthread_mutex_t lock;
	struct map objects; /* "group/resource ns/name" -> struct obj * */
	struct list watches;
	int64_t revision;
	enum fake_kubelet kubelet;
	bool no_stream;     /* refuses sendInitialEvents, as an old server */
	/* Called before each call, under the lock; false fails it with what it set. May be NULL. */
	bool (*hook)(struct fake *f, const struct client_call *call, struct err *err);
	int64_t calls, writes;
};

struct fake_watch {
	struct client_watch watch; /* first */
	struct fake *fake;
	struct list link;
	struct client_watch_opts opts;
	struct str ns, labels, fields; /* owned */
	bool stopped; /* of its loop */
	atomic_int refs;
};

struct fake_event {
	struct msg msg;
	struct fake_watch *watch;
	enum watch_event type;
	struct obj *o;
	struct err err;
};

static UNUSED void fake_watch_unref(struct fake_watch *w) {
	if (atomic_fetch_sub(&w->refs, 1) == 1) {
		free((char *)w->ns.ptr);
		free((char *)w->labels.ptr);
		free((char *)w->fields.ptr);
		free(w);
	}
}

static UNUSED void fake_event_run(struct msg *m) {
	struct fake_event *e = container_of(m, struct fake_event, msg);

	if (!e->watch->stopped) {
		e->watch->opts.on_event(e->watch->opts.arg, e->type, e->o, &e->err);
	}
	fake_watch_unref(e->watch);
	obj_unref(e->o);
	free(e);
}

static UNUSED void fake_post(struct fake_watch *w, enum watch_event type, struct obj *o, const struct err *err) {
	struct fake_event *e = xcalloc(1, sizeof(*e));

	e->msg.run = fake_event_run;
	e->watch = w;
	e->type = type;
	e->o = obj_ref(o);
	if (err) {
		e->err = *err;
	}
	atomic_fetch_add(&w->refs, 1);
	if (!loop_post(w->opts.loop, &e->msg)) {
		fake_watch_unref(w);
		obj_unref(o);
		free(e);
	}
}

/* ---- matching ---- */

static UNUSED bool fake_fields_match(const struct obj *o, struct str fields) {
	auto_arena struct arena a = { 0 };
	struct field_selector s = { 0 };
	struct err err = { 0 };

	if (!field_selector_parse(&a, fields, &s, &err)) {
		return false;
	}
	for (size_t i = 0; i < s.len; i++) {
		struct str rest = s.at[i].path, part;
		const struct value *v = o->root;
		while (str_next(&rest, '.', &part)) {
			v = value_get_str(v, part);
		}
		if (str_eq(value_as_str(v), s.at[i].value) == s.at[i].negate) {
			return false;
		}
	}
	return true;
}

static UNUSED bool fake_matches(const struct obj *o, struct str ns, struct str labels, struct str fields) {
	auto_arena struct arena a = { 0 };
	const struct selector *s = NULL;
	struct err err = { 0 };

	if (ns.len && !str_eq(ns, value_str_at(o->root, N_metadata, N_namespace))) {
		return false;
	}
	if (labels.len && (!selector_parse(&a, labels, &s, &err) || !selector_matches(s, value_at(o->root, N_metadata, N_labels)))) {
		return false;
	}
	return !fields.len || fake_fields_match(o, fields);
}

static UNUSED struct str fake_prefix(struct arena *a, struct gvr gvr) {
	return arena_printf(a, "%.*s/%.*s ", STR_ARG(gvr.group), STR_ARG(gvr.resource));
}
static UNUSED struct str fake_key(struct arena *a, struct gvr gvr, struct str ns, struct str name) {
	return arena_printf(a, "%.*s/%.*s %.*s/%.*s", STR_ARG(gvr.group), STR_ARG(gvr.resource), STR_ARG(ns), STR_ARG(name));
}

/* ---- storing (under the lock) ---- */

static UNUSED void fake_notify(struct fake *f, struct gvr gvr, struct obj *old, struct obj *now, struct obj *last) {
	LIST_EACH(&f->watches, l) {
		struct fake_watch *w = container_of(l, struct fake_watch, link);
		if (!str_eq(w->opts.gvr.group, gvr.group) || !str_eq(w->opts.gvr.resource, gvr.resource)) {
			continue;
		}
		bool was = old && fake_matches(old, w->ns, w->labels, w->fields), is = now && fake_matches(now, w->ns, w->labels, w->fields);
		if (is) {
			fake_post(w, was ? WATCH_MODIFIED : WATCH_ADDED, now, NULL);
		} else if (was) {
			fake_post(w, WATCH_DELETED, now ? now : last, NULL);
		}
	}
}

/* Stores `root` under a new revision (NULL: removes); gives the stored object, borrowed. */
static UNUSED struct obj *fake_store(struct fake *f, struct gvr gvr, struct str ns, struct str name, struct value *root, struct arena *a) {
	struct str key = fake_key(a, gvr, ns, name);
	struct obj *old = map_get(&f->objects, key), *now = NULL, *last = NULL;

	f->revision++;
	f->writes++;
	if (root) {
		value_set_str(a, value_ensure_object(a, root, N_metadata), N_resourceVersion, arena_printf(a, "%lld", (long long)f->revision));
		now = obj_freeze(root, f->revision);
		map_set(&f->objects, key, now);
	} else if (old) {
		struct value *gone = value_copy(a, old->root);
		value_set_str(a, value_ensure_object(a, gone, N_metadata), N_resourceVersion, arena_printf(a, "%lld", (long long)f->revision));
		last = obj_freeze(gone, f->revision);
		map_remove(&f->objects, key);
	}
	fake_notify(f, gvr, old, now, last);
	obj_unref(old);
	obj_unref(last);
	return now;
}

static UNUSED const struct schema_type *fake_type(struct gvr gvr) {
	const struct schema_resource *r = schema_resource_find(gvr.group, gvr.version, gvr.resource);

	return r ? schema_resource_type(r) : NULL;
}

static UNUSED void fake_pod_run(struct fake *f, struct arena *a, struct value *pod) {
	char text[TIME_TEXT_MAX];
	struct str now = time_format(clock_wall(), text);
	struct value *status = value_ensure_object(a, pod, N_status);
	static const char *const types[] = { "PodScheduled", "Ready" };

	value_set_str(a, status, N_phase, S("Running"));
	value_set_str(a, status, N_startTime, now);
	value_set_str(a, status, N_podIP, arena_printf(a, "10.1.%d.%d", (int)(f->revision / 250 % 250), (int)(f->revision % 250 + 1)));
	struct value *conditions = value_set(a, status, N_conditions, value_new_array(a));
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct value *c = value_push(a, conditions, value_new_object(a));
		value_set_str(a, c, N_type, str_c(types[i]));
		value_set_str(a, c, N_status, S("True"));
		value_set_str(a, c, N_lastTransitionTime, now);
	}
}

static UNUSED bool fake_is_pod(struct gvr gvr) {
	return gvr.group.len == 0 && str_eqc(gvr.resource, "pods");
}

static UNUSED bool fake_create(struct fake *f, const struct client_call *call, struct obj **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	char text[TIME_TEXT_MAX];
	struct value *o = value_copy(&a, call->body), *meta = value_ensure_object(&a, o, N_metadata);
	const struct schema_type *type = fake_type(call->gvr);
	struct str name = value_str_at(meta, N_name);

	if (!name.len) {
		name = arena_printf(&a, "%.*s%05x", STR_ARG(value_str_at(meta, N_generateName)), (unsigned)(rand_u64() & 0xfffff));
		value_set_str(&a, meta, N_name, name);
	}
	if (map_get(&f->objects, fake_key(&a, call->gvr, call->ns, name))) {
		return err_set(err, ERR_ALREADY_EXISTS, "%.*s \"%.*s\" already exists", STR_ARG(call->gvr.resource), STR_ARG(name));
	}
	if (call->ns.len) {
		value_set_str(&a, meta, N_namespace, call->ns);
	}
	value_set_str(&a, meta, N_uid, arena_printf(&a, "uid-%llx", (unsigned long long)rand_u64()));
	value_set_str(&a, meta, N_creationTimestamp, time_format(clock_wall(), text));
	value_set_int(&a, meta, N_generation, 1);
	if (type) {
		value_set_str(&a, o, N_kind, schema_type_short(type));
		value_set_str(&a, o, N_apiVersion, call->gvr.group.len ? arena_printf(&a, "%.*s/%.*s", STR_ARG(call->gvr.group), STR_ARG(call->gvr.version)) : call->gvr.version);
	}
	if (fake_is_pod(call->gvr)) {
		value_set(&a, o, N_status, value_new_object(&a));
		value_set_str(&a, value_get(o, N_status), N_phase, S("Pending"));
		if (f->kubelet == FAKE_KUBELET_ANY || (f->kubelet == FAKE_KUBELET_BOUND && value_str_at(o, N_spec, N_nodeName).len)) {
			fake_pod_run(f, &a, o);
		}
	}
	if (call->gvr.group.len == 0 && str_eqc(call->gvr.resource, "namespaces")) {
		struct value *spec = value_ensure_object(&a, o, N_spec);
		value_push_str(&a, value_set(&a, spec, N_finalizers, value_new_array(&a)), S("kubernetes"));
	}
	struct obj *made = fake_store(f, call->gvr, call->ns, name, o, &a);
	if (ret) {
		*ret = obj_ref(made);
	}
	return true;
}

static UNUSED bool fake_find(struct fake *f, const struct client_call *call, struct obj **ret, struct err *err) {
	auto_arena struct arena a = { 0 };

	*ret = map_get(&f->objects, fake_key(&a, call->gvr, call->ns, call->name));
	return *ret || err_set(err, ERR_NOT_FOUND, "%.*s \"%.*s\" not found", STR_ARG(call->gvr.resource), STR_ARG(call->name));
}

/* Puts a new state in place by the rules of updates: revision, generation, status apart, last finalizer. */
static UNUSED bool fake_replace(struct fake *f, const struct client_call *call, struct obj *old, struct value *o, struct arena *a, struct obj **ret, struct err *err) {
	struct str rv = value_str_at(o, N_metadata, N_resourceVersion), uid = value_str_at(o, N_metadata, N_uid);
	bool status = str_eqc(call->subresource, "status");
	bool separate = fake_type(call->gvr) && schema_sub_find(schema_resource_find(call->gvr.group, call->gvr.version, call->gvr.resource), S("status"));

	if (rv.len && !str_eq(rv, value_str_at(old->root, N_metadata, N_resourceVersion))) {
		return err_set(err, ERR_CONFLICT, "Operation cannot be fulfilled on %.*s \"%.*s\": the object has been modified; please apply your changes to the latest version and try again",
			STR_ARG(call->gvr.resource), STR_ARG(call->name));
	}
	if (uid.len && !str_eq(uid, value_str_at(old->root, N_metadata, N_uid))) {
		return err_set(err, ERR_CONFLICT, "Precondition failed: UID in precondition: %.*s", STR_ARG(uid));
	}
	struct value *next;
	if (status) {
		next = value_copy(a, old->root);
		value_set(a, next, N_status, value_get(o, N_status));
		value_set(a, value_get(next, N_metadata), N_annotations, value_at(o, N_metadata, N_annotations));
		if (!value_at(o, N_metadata, N_annotations)) {
			value_remove(value_get(next, N_metadata), N_annotations);
		}
	} else {
		next = value_copy(a, o);
		struct value *meta = value_ensure_object(a, next, N_metadata);
		static const uint16_t kept[] = { N_uid, N_creationTimestamp, N_generation, N_deletionTimestamp, N_deletionGracePeriodSeconds };
		for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
			const struct value *v = value_at(old->root, N_metadata, kept[i]);
			if (v) {
				value_set(a, meta, (enum name_id)kept[i], v);
			}
		}
		if (separate && value_get(old->root, N_status)) {
			value_set(a, next, N_status, value_get(old->root, N_status));
		}
		if (!value_eq(value_get(next, N_spec), value_get(old->root, N_spec))) {
			value_set_int(a, meta, N_generation, value_int_at(old->root, N_metadata, N_generation) + 1);
		}
	}
	if (!status && value_eq(next, old->root)) {
		if (ret) {
			*ret = obj_ref(old);
		}
		return true;
	}
	bool ends = value_str_at(next, N_metadata, N_deletionTimestamp).len && value_len(value_at(next, N_metadata, N_finalizers)) == 0 &&
		!value_at(next, N_metadata, N_deletionGracePeriodSeconds) && value_len(value_at(next, N_spec, N_finalizers)) == 0;
	struct obj *keep = ends && ret ? obj_freeze(next, f->revision) : NULL;
	struct obj *now = fake_store(f, call->gvr, call->ns, call->name, ends ? NULL : next, a);
	if (ret) {
		*ret = ends ? keep : obj_ref(now);
	}
	return true;
}

static UNUSED bool fake_bind(struct fake *f, const struct client_call *call, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct client_call pod = *call;
	struct obj *old;

	if (!fake_find(f, &pod, &old, err)) {
		return false;
	}
	if (value_str_at(old->root, N_spec, N_nodeName).len) {
		return err_set(err, ERR_CONFLICT, "Operation cannot be fulfilled on pods/binding \"%.*s\": pod %.*s is already assigned to node", STR_ARG(call->name), STR_ARG(call->name));
	}
	struct value *o = value_copy(&a, old->root);
	value_set_str(&a, value_ensure_object(&a, o, N_spec), N_nodeName, value_str_at(call->body, N_target, N_name));
	if (f->kubelet != FAKE_KUBELET_OFF) {
		fake_pod_run(f, &a, o);
	}
	fake_store(f, call->gvr, call->ns, call->name, o, &a);
	return true;
}

static UNUSED bool fake_patch(struct fake *f, const struct client_call *call, struct obj **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *o = NULL;
	struct obj *old;

	if (!fake_find(f, call, &old, err)) {
		return false;
	}
	switch (call->patch) {
	case PATCH_JSON:
		if (!json_patch_apply(&a, old->root, call->body, &o, err)) {
			return false;
		}
		break;
	case PATCH_MERGE:
	case PATCH_APPLY:
		o = merge_patch_apply(&a, old->root, call->body);
		break;
	case PATCH_STRATEGIC:
		if (!smp_apply(&a, fake_type(call->gvr), old->root, call->body, &o, err)) {
			return false;
		}
		break;
	}
	return fake_replace(f, call, old, value_copy(&a, o), &a, ret, err);
}

static UNUSED bool fake_delete(struct fake *f, const struct client_call *call, struct obj **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	char text[TIME_TEXT_MAX];
	struct obj *old;

	if (!fake_find(f, call, &old, err)) {
		return false;
	}
	if (call->precondition_uid.len && !str_eq(call->precondition_uid, value_str_at(old->root, N_metadata, N_uid))) {
		return err_set(err, ERR_CONFLICT, "Precondition failed: UID in precondition: %.*s", STR_ARG(call->precondition_uid));
	}
	if (call->precondition_rv.len && !str_eq(call->precondition_rv, value_str_at(old->root, N_metadata, N_resourceVersion))) {
		return err_set(err, ERR_CONFLICT, "Precondition failed: ResourceVersion in precondition: %.*s", STR_ARG(call->precondition_rv));
	}
	struct value *o = value_copy(&a, old->root), *meta = value_ensure_object(&a, o, N_metadata);
	bool now = call->has_grace && call->grace_seconds == 0;
	bool graceful = fake_is_pod(call->gvr) && value_str_at(o, N_spec, N_nodeName).len && !now && f->kubelet == FAKE_KUBELET_OFF;
	bool is_namespace = call->gvr.group.len == 0 && str_eqc(call->gvr.resource, "namespaces");
	if (str_eqc(call->propagation, "Orphan")) {
		value_push_str(&a, value_ensure_array(&a, meta, N_finalizers), S("orphan"));
	} else if (str_eqc(call->propagation, "Foreground")) {
		value_push_str(&a, value_ensure_array(&a, meta, N_finalizers), S("foregroundDeletion"));
	}
	bool waits = graceful || value_len(value_get(meta, N_finalizers)) > 0 || (is_namespace && value_len(value_at(o, N_spec, N_finalizers)) > 0);
	if (!waits) {
		struct obj *last = ret ? obj_ref(old) : NULL;
		fake_store(f, call->gvr, call->ns, call->name, NULL, &a);
		if (ret) {
			*ret = last;
		}
		return true;
	}
	if (!value_str_at(meta, N_deletionTimestamp).len) {
		value_set_str(&a, meta, N_deletionTimestamp, time_format(clock_wall(), text));
		if (graceful) {
			value_set_int(&a, meta, N_deletionGracePeriodSeconds, call->has_grace ? call->grace_seconds : 30);
		}
	} else if (now) {
		value_remove(meta, N_deletionGracePeriodSeconds);
	}
	if (is_namespace) {
		value_set_str(&a, value_ensure_object(&a, o, N_status), N_phase, S("Terminating"));
	}
	struct obj *kept = fake_store(f, call->gvr, call->ns, call->name, o, &a);
	if (ret) {
		*ret = obj_ref(kept);
	}
	return true;
}

static UNUSED void fake_list(struct fake *f, const struct client_call *call, struct client_list *ret) {
	auto_arena struct arena a = { 0 };
	struct str prefix = fake_prefix(&a, call->gvr);

	*ret = (struct client_list){ .revision = f->revision };
	ret->at = xcalloc(f->objects.len + 1, sizeof(*ret->at));
	MAP_EACH(&f->objects, e) {
		if (str_starts(e->key, prefix) && fake_matches(e->value, call->ns, call->label_selector, call->field_selector)) {
			ret->at[ret->len++] = obj_ref(e->value);
		}
	}
}

static UNUSED bool fake_delete_collection(struct fake *f, const struct client_call *call, struct err *err) {
	struct client_list all;
	bool ok = true;

	fake_list(f, call, &all);
	for (size_t i = 0; i < all.len && ok; i++) {
		struct client_call one = *call;
		one.name = value_str_at(all.at[i]->root, N_metadata, N_name);
		one.ns = value_str_at(all.at[i]->root, N_metadata, N_namespace);
		ok = fake_delete(f, &one, NULL, err);
	}
	client_list_release(&all);
	return ok;
}

/* /api/v1, /apis, /apis/G/V out of the schema's tables. */
static UNUSED bool fake_raw(const struct client_call *call, struct obj **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *o = value_new_object(&a), *list;
	struct str rest = call->raw_path, group = S(""), version = S(""), skip;

	(void)str_next(&rest, '/', &skip);
	(void)str_next(&rest, '/', &skip);
	if (str_eqc(skip, "apis") && !rest.ptr) {
		list = value_set(&a, o, N_groups, value_new_array(&a));
		for (size_t g = 0; g < schema_groups_len; g++) {
			const struct schema_group *sg = &schema_groups[g];
			if (schema_text(sg->name).len == 0) {
				continue;
			}
			struct value *item = value_new_object(&a), *versions = value_set(&a, item, N_versions, value_new_array(&a));
			value_set_str(&a, item, N_name, schema_text(sg->name));
			for (int v = 0; v < sg->versions_len; v++) {
				const struct schema_version *sv = &schema_versions[sg->versions_at + v];
				if (sv->served) {
					value_set_str(&a, value_push(&a, versions, value_new_object(&a)), N_version, schema_text(sv->name));
				}
			}
			value_push(&a, list, item);
		}
		*ret = obj_freeze(o, 0);
		return true;
	}
	if (str_eqc(skip, "apis")) {
		(void)str_next(&rest, '/', &group);
	}
	(void)str_next(&rest, '/', &version);
	list = value_set(&a, o, N_resources, value_new_array(&a));
	for (size_t i = 0; i < schema_resources_len; i++) {
		const struct schema_resource *r = &schema_resources[i];
		static const struct {
			int verb;
			const char *name;
		} verbs[] = { { SCHEMA_DELETE, "delete" }, { SCHEMA_DELETECOLLECTION, "deletecollection" }, { SCHEMA_LIST_VERB, "list" }, { SCHEMA_WATCH, "watch" } };
		if (!str_eq(schema_resource_group(r), group) || !str_eq(schema_resource_version(r), version)) {
			continue;
		}
		struct value *item = value_new_object(&a), *v = value_set(&a, item, N_verbs, value_new_array(&a));
		for (size_t k = 0; k < ARRAY_LEN(verbs); k++) {
			if (r->verbs & verbs[k].verb) {
				value_push_str(&a, v, str_c(verbs[k].name));
			}
		}
		value_set_str(&a, item, N_name, schema_text(r->name));
		value_set_str(&a, item, N_kind, schema_type_short(schema_resource_type(r)));
		value_set_bool(&a, item, N_namespaced, r->namespaced);
		value_push(&a, list, item);
	}
	*ret = obj_freeze(o, 0);
	return true;
}

static UNUSED bool fake_call_locked(struct fake *f, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list, struct err *err) {
	struct obj *found = NULL;

	switch (call->verb) {
	case CLIENT_GET:
		if (!fake_find(f, call, &found, err)) {
			return false;
		}
		if (ret_obj) {
			*ret_obj = obj_ref(found);
		}
		return true;
	case CLIENT_LIST:
		fake_list(f, call, ret_list);
		return true;
	case CLIENT_CREATE:
		if (str_eqc(call->subresource, "binding")) {
			return fake_bind(f, call, err);
		}
		if (str_eqc(call->subresource, "eviction")) {
			return fake_delete(f, call, NULL, err);
		}
		return fake_create(f, call, ret_obj, err);
	case CLIENT_UPDATE: {
		auto_arena struct arena a = { 0 };
		return fake_find(f, call, &found, err) && fake_replace(f, call, found, value_copy(&a, call->body), &a, ret_obj, err);
	}
	case CLIENT_PATCH:
		return fake_patch(f, call, ret_obj, err);
	case CLIENT_DELETE:
		return fake_delete(f, call, ret_obj, err);
	case CLIENT_DELETE_COLLECTION:
		return fake_delete_collection(f, call, err);
	case CLIENT_RAW:
		return fake_raw(call, ret_obj, err);
	}
	return false;
}

static UNUSED bool fake_call(struct client_transport *t, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list, struct err *err) {
	struct fake *f = container_of(t, struct fake, transport);

	pthread_mutex_lock(&f->lock);
	f->calls++;
	bool ok = (!f->hook || f->hook(f, call, err)) && fake_call_locked(f, call, ret_obj, ret_list, err);
	pthread_mutex_unlock(&f->lock);
	return ok;
}

/* ---- watch ---- */

static UNUSED bool fake_watch_start(struct client_transport *t, const struct client_watch_opts *opts, struct client_watch **ret, struct err *err) {
	struct fake *f = container_of(t, struct fake, transport);
	struct fake_watch *w = xcalloc(1, sizeof(*w));

	w->watch.transport = t;
	w->fake = f;
	w->opts = *opts;
	w->ns = (struct str){ str_dup(opts->ns), opts->ns.len };
	w->labels = (struct str){ str_dup(opts->label_selector), opts->label_selector.len };
	w->fields = (struct str){ str_dup(opts->field_selector), opts->field_selector.len };
	w->refs = 1;
	*ret = &w->watch;
	pthread_mutex_lock(&f->lock);
	if (opts->initial_events && f->no_stream) {
		struct err e = { 0 };
		(void)err_set(&e, ERR_INVALID, "sendInitialEvents is forbidden for watch");
		fake_post(w, WATCH_ENDED, NULL, &e);
	} else if (opts->initial_events) {
		struct client_call list = { .gvr = opts->gvr, .ns = w->ns, .label_selector = w->labels, .field_selector = w->fields };
		struct client_list all;
		fake_list(f, &list, &all);
		for (size_t i = 0; i < all.len; i++) {
			fake_post(w, WATCH_ADDED, all.at[i], NULL);
		}
		client_list_release(&all);
		auto_arena struct arena a = { 0 };
		auto_obj struct obj *mark = obj_freeze(value_new_object(&a), f->revision);
		fake_post(w, WATCH_BOOKMARK, mark, NULL);
		fake_post(w, WATCH_SYNCED, NULL, NULL);
		list_push(&f->watches, &w->link);
	} else if (opts->from != f->revision) {
		struct err e = { 0 }; /* this server keeps no history */
		(void)err_set(&e, ERR_EXPIRED, "too old resource version: %lld (%lld)", (long long)opts->from, (long long)f->revision);
		fake_post(w, WATCH_ENDED, NULL, &e);
	} else {
		list_push(&f->watches, &w->link);
	}
	pthread_mutex_unlock(&f->lock);
	return true;
}

static UNUSED void fake_watch_stop(struct client_watch *watch) {
	struct fake_watch *w = container_of(watch, struct fake_watch, watch);

	w->stopped = true;
	pthread_mutex_lock(&w->fake->lock);
	list_remove(&w->link);
	pthread_mutex_unlock(&w->fake->lock);
	fake_watch_unref(w);
}

/* Ends every watch, as a server that restarts; `expired` makes them list again. */
static UNUSED void fake_end_watches(struct fake *f, bool expired) {
	struct err e = { 0 };

	(void)err_set(&e, expired ? ERR_EXPIRED : ERR_UNAVAILABLE, "the server went away");
	pthread_mutex_lock(&f->lock);
	LIST_EACH(&f->watches, l) {
		struct fake_watch *w = container_of(l, struct fake_watch, link);
		list_remove(l);
		fake_post(w, WATCH_ENDED, NULL, &e);
	}
	pthread_mutex_unlock(&f->lock);
}

/* ---- making one ---- */

static UNUSED void fake_init(struct fake *f, enum fake_kubelet kubelet) {
	*f = (struct fake){ .kubelet = kubelet };
	f->transport = (struct client_transport){ .call = fake_call, .watch = fake_watch_start, .watch_stop = fake_watch_stop };
	pthread_mutex_init(&f->lock, NULL);
	list_init(&f->watches);
}

static UNUSED void fake_release(struct fake *f) {
	MAP_EACH(&f->objects, e) {
		obj_unref(e->value);
	}
	map_release(&f->objects);
	pthread_mutex_destroy(&f->lock);
}

/* ---- for tests ---- */

/* Prints everything, for a debugger: call fake_dump(f). */
static UNUSED void fake_dump(struct fake *f) {
	MAP_EACH(&f->objects, e) {
		struct str json = obj_json(e->value);
		fprintf(stderr, "%.*s: %.*s\n", STR_ARG(e->key), STR_ARG(json));
	}
}

/* Creates an object from YAML, with the status it gives; in namespace "default" when it names none and has one. */
static UNUSED struct obj *fake_add(struct fake *f, struct gvr gvr, const char *yaml) {
	auto_arena struct arena a = { 0 };
	struct value *v = NULL;
	struct err err = { 0 };
	struct obj *made = NULL;
	const struct schema_resource *r = schema_resource_find(gvr.group, gvr.version, gvr.resource);

	if (!yaml_parse(&a, str_c(yaml), NULL, &v, &err)) {
		fail_msg("%s", err.msg);
	}
	struct str ns = value_str_at(v, N_metadata, N_namespace);
	struct client_call call = { .verb = CLIENT_CREATE, .gvr = gvr, .ns = r && !r->namespaced ? S("") : ns.len ? ns : S("default"), .body = v };
	pthread_mutex_lock(&f->lock);
	if (!fake_create(f, &call, &made, &err)) {
		fail_msg("%s", err.msg);
	}
	if (value_get(v, N_status)) {
		struct value *o = value_copy(&a, made->root);
		value_set(&a, o, N_status, value_get(v, N_status));
		struct obj *now = obj_ref(fake_store(f, gvr, call.ns, value_str_at(o, N_metadata, N_name), o, &a));
		obj_unref(made);
		made = now;
	}
	pthread_mutex_unlock(&f->lock);
	return made;
}

/* Merge-patches an object with YAML, status included. */
static UNUSED void fake_change(struct fake *f, struct gvr gvr, struct str ns, struct str name, const char *yaml) {
	auto_arena struct arena a = { 0 };
	struct value *patch = NULL;
	struct err err = { 0 };
	struct obj *old;
	struct client_call call = { .gvr = gvr, .ns = ns, .name = name };

	if (!yaml_parse(&a, str_c(yaml), NULL, &patch, &err)) {
		fail_msg("%s", err.msg);
	}
	pthread_mutex_lock(&f->lock);
	if (!fake_find(f, &call, &old, &err)) {
		fail_msg("%s", err.msg);
	}
	struct value *o = value_copy(&a, merge_patch_apply(&a, old->root, patch));
	if (!value_eq(value_get(o, N_spec), value_get(old->root, N_spec))) {
		value_set_int(&a, value_ensure_object(&a, o, N_metadata), N_generation, value_int_at(old->root, N_metadata, N_generation) + 1);
	}
	fake_store(f, gvr, ns, name, o, &a);
	pthread_mutex_unlock(&f->lock);
}

static UNUSED struct obj *fake_get(struct fake *f, struct gvr gvr, struct str ns, struct str name) {
	struct client_call call = { .gvr = gvr, .ns = ns, .name = name };
	struct obj *found = NULL;
	struct err err = { 0 };

	pthread_mutex_lock(&f->lock);
	if (fake_find(f, &call, &found, &err)) {
		obj_ref(found);
	}
	pthread_mutex_unlock(&f->lock);
	return found;
}

static UNUSED void fake_all(struct fake *f, struct gvr gvr, struct str ns, struct client_list *ret) {
	struct client_call call = { .gvr = gvr, .ns = ns };

	pthread_mutex_lock(&f->lock);
	fake_list(f, &call, ret);
	pthread_mutex_unlock(&f->lock);
}

static UNUSED size_t fake_count(struct fake *f, struct gvr gvr, struct str ns) {
	struct client_list all;
	fake_all(f, gvr, ns, &all);
	size_t n = all.len;
	client_list_release(&all);
	return n;
}

/* Whether an event with this reason and message was recorded. */
static UNUSED bool fake_has_event(struct fake *f, const char *reason, const char *message) {
	struct client_list all;
	bool found = false;

	fake_all(f, GVR_EVENTS, S(""), &all);
	for (size_t i = 0; i < all.len; i++) {
		found = found || (str_eqc(value_str_at(all.at[i]->root, N_reason), reason) && str_eqc(value_str_at(all.at[i]->root, N_message), message));
	}
	client_list_release(&all);
	return found;
}

/* Waits until the expression holds, at most 10 s; fails the test with it otherwise. */
#define WAIT_FOR(expression)                                                                  \
	do {                                                                                  \
		nsec_t wait_until_ = clock_mono() + 10 * NSEC_PER_SEC;                        \
		while (!(expression)) {                                                       \
			if (clock_mono() > wait_until_) {                                     \
				fail_msg("%s:%d: never came: %s", __FILE__, __LINE__, #expression); \
			}                                                                     \
			clock_sleep(NSEC_PER_MSEC);                                           \
		}                                                                             \
	} while (0)

/* Reads one value of an object and compares it in the test's thread. */
static UNUSED int64_t fake_int(struct fake *f, struct gvr gvr, struct str ns, struct str name, enum name_id a, enum name_id b) {
	auto_obj struct obj *o = fake_get(f, gvr, ns, name);
	return o ? value_int_at(o->root, (uint16_t)a, (uint16_t)b) : -1;
}

#endif
