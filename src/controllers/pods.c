/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pods.c - what the controllers of pods share.
 *
 * Runs in syncs on pool threads (the reading functions anywhere). Reads the shared copies, writes through
 * the client.
 */
#include "controllers/pods.h"

#include "base/log.h"
#include "schema/schema.h"

/* ---- reading ------------------------------------------------------------------------------------------------ */

bool pod_is_finished(const struct value *pod) {
	struct str phase = value_str_at(pod, N_status, N_phase);

	return str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed");
}

bool pod_is_active(const struct value *pod) {
	return !pod_is_finished(pod) && !meta_deleting(pod);
}

bool pod_is_ready(const struct value *pod) {
	return condition_is(value_at(pod, N_status, N_conditions), "Ready", "True");
}

bool pod_is_available(const struct value *pod, int64_t min_ready, nsec_t now, nsec_t *ret_wait) {
	const struct value *ready = condition_find(value_at(pod, N_status, N_conditions), "Ready");

	if (!str_eqc(value_str_at(ready, N_status), "True")) {
		return false;
	}
	if (min_ready == 0) {
		return true;
	}
	nsec_t since = value_time(value_get(ready, N_lastTransitionTime));
	nsec_t wait = since + min_ready * NSEC_PER_SEC - now;
	if (since && wait <= 0) {
		return true;
	}
	if (ret_wait && since && (*ret_wait == 0 || wait < *ret_wait)) {
		*ret_wait = wait;
	}
	return false;
}

int64_t pod_restarts(const struct value *pod) {
	int64_t most = 0;

	VALUE_EACH(value_at(pod, N_status, N_containerStatuses), c) {
		most = MAX(most, value_int_at(c, N_restartCount));
	}
	return most;
}

/* ---- claiming ------------------------------------------------------------------------------------------------- */

struct claim {
	struct frame *frame;
	struct gvr gvr, owner_gvr;
	const struct value *owner;
	const struct selector *selector;
	bool (*wants)(const struct value *owner, const struct value *o); /* may be NULL */
	bool asked, alive; /* the server, whether the owner lives: once a claim */
	struct err err;
};

static bool owner_alive(struct claim *c) {
	if (!c->asked) {
		auto_obj struct obj *now = NULL;
		struct err err = { 0 };
		c->asked = true;
		c->alive = client_get(c->frame->client, c->owner_gvr, meta_ns(c->owner), meta_name(c->owner), &now, &err) &&
			str_eq(meta_uid(now->root), meta_uid(c->owner)) && !meta_deleting(now->root);
	}
	return c->alive;
}

static bool owners_write(struct claim *c, const struct value *o, struct value *owners, struct arena *a, struct obj **ret) {
	struct value *patch = value_new_object(a), *meta = value_set(a, patch, N_metadata, value_new_object(a));

	value_set_str(a, meta, N_uid, meta_uid(o));
	value_set_str(a, meta, N_resourceVersion, value_str_at(o, N_metadata, N_resourceVersion));
	value_set(a, meta, N_ownerReferences, value_len(owners) ? owners : NULL);
	return client_patch(c->frame->client, c->gvr, meta_ns(o), meta_name(o), S(""), PATCH_MERGE, patch, ret, &c->err);
}

static struct obj *adopt(struct claim *c, struct obj *o) {
	auto_arena struct arena a = { 0 };
	struct obj *now = NULL;

	if (!owner_alive(c)) {
		return NULL;
	}
	struct value *owners = value_shallow(&a, value_at(o->root, N_metadata, N_ownerReferences));
	if (owners->type != VALUE_ARRAY) {
		owners = value_new_array(&a);
	}
	value_push(&a, owners, owner_ref(&a, c->owner));
	if (!owners_write(c, o->root, owners, &a, &now)) {
		if (c->err.code == ERR_NOT_FOUND) {
			err_clear(&c->err);
		}
		return NULL;
	}
	return now;
}

static void release(struct claim *c, struct obj *o) {
	auto_arena struct arena a = { 0 };
	struct value *owners = value_new_array(&a);

	VALUE_EACH(value_at(o->root, N_metadata, N_ownerReferences), ref) {
		if (!str_eq(value_str_at(ref, N_uid), meta_uid(c->owner))) {
			value_push(&a, owners, ref);
		}
	}
	if (!owners_write(c, o->root, owners, &a, NULL) && (c->err.code == ERR_NOT_FOUND || c->err.code == ERR_INVALID)) {
		err_clear(&c->err); /* gone, or made anew under the same name */
	}
}

static bool is_wanted(const struct claim *c, const struct value *o) {
	return selector_matches(c->selector, meta_labels(o)) && (!c->wants || c->wants(c->owner, o));
}

bool objects_claim(struct frame *f, struct shared *objects, struct gvr owner_gvr, const struct value *owner, const struct selector *selector,
	struct pod_set *ret, struct err *err) {
	return objects_claim_if(f, objects, owner_gvr, owner, selector, NULL, ret, err);
}

bool objects_claim_if(struct frame *f, struct shared *objects, struct gvr owner_gvr, const struct value *owner, const struct selector *selector,
	bool (*wants)(const struct value *owner, const struct value *o), struct pod_set *ret, struct err *err) {
	struct claim c = { .frame = f, .gvr = objects->gvr, .owner_gvr = owner_gvr, .owner = owner, .selector = selector, .wants = wants };
	auto_arena struct arena a = { 0 };
	bool deleting = meta_deleting(owner);

	*ret = (struct pod_set){ 0 };
	informer_index(objects->informer, index_owner(&a, meta_uid(owner)), &ret->owned);
	informer_index(objects->informer, index_orphan(&a, meta_ns(owner)), &ret->orphans);
	ret->at = xcalloc(ret->owned.len + ret->orphans.len + 1, sizeof(*ret->at));
	for (size_t i = 0; i < ret->owned.len; i++) {
		struct obj *o = ret->owned.at[i];
		const struct value *ref = meta_controller(o->root);
		if (!ref || !str_eq(value_str_at(ref, N_uid), meta_uid(owner))) {
			continue;
		}
		if (is_wanted(&c, o->root)) {
			ret->at[ret->len++] = obj_ref(o);
		} else if (!deleting) {
			release(&c, o);
		}
	}
	for (size_t i = 0; i < ret->orphans.len && !deleting; i++) {
		struct obj *o = ret->orphans.at[i];
		if (!meta_deleting(o->root) && is_wanted(&c, o->root)) {
			struct obj *now = adopt(&c, o);
			if (now) {
				ret->at[ret->len++] = now;
			}
		}
	}
	if (c.err.code != ERR_NONE) {
		pod_set_release(ret);
		*err = c.err;
		return false;
	}
	return true;
}

bool pods_claim(struct frame *f, struct shared *pods, struct gvr owner_gvr, const struct value *owner, const struct selector *selector,
	struct pod_set *ret, struct err *err) {
	return objects_claim(f, pods, owner_gvr, owner, selector, ret, err);
}

void pod_set_release(struct pod_set *s) {
	for (size_t i = 0; i < s->len; i++) {
		obj_unref(s->at[i]);
	}
	free(s->at);
	client_list_release(&s->owned);
	client_list_release(&s->orphans);
	*s = (struct pod_set){ 0 };
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

struct value *pod_from_template(struct arena *a, const struct value *template, const struct value *owner) {
	const struct value *from = value_get(template, N_metadata);
	struct value *pod = value_new_object(a), *meta;
	struct str name = meta_name(owner);

	value_set_str(a, pod, N_kind, S("Pod"));
	value_set_str(a, pod, N_apiVersion, S("v1"));
	meta = value_set(a, pod, N_metadata, value_new_object(a));
	value_set_str(a, meta, N_generateName, arena_printf(a, "%.*s-", STR_ARG(name)));
	value_set_str(a, meta, N_namespace, meta_ns(owner));
	if (value_len(value_get(from, N_labels))) {
		value_set(a, meta, N_labels, value_copy(a, value_get(from, N_labels)));
	}
	if (value_len(value_get(from, N_annotations))) {
		value_set(a, meta, N_annotations, value_copy(a, value_get(from, N_annotations)));
	}
	if (value_len(value_get(from, N_finalizers))) {
		value_set(a, meta, N_finalizers, value_copy(a, value_get(from, N_finalizers)));
	}
	value_push(a, value_set(a, meta, N_ownerReferences, value_new_array(a)), owner_ref(a, owner));
	value_set(a, pod, N_spec, value_shallow(a, value_get(template, N_spec)));
	return pod;
}

/* Whether a namespace refuses new objects because it is being deleted. */
static bool namespace_ends(const struct err *err) {
	return err->code == ERR_FORBIDDEN && str_contains(str_c(err->msg), S("because it is being terminated"));
}

bool pod_create(struct frame *f, struct recorder *r, const struct value *owner, const struct value *pod, struct err *err) {
	auto_obj struct obj *made = NULL;

	if (!client_create(f->client, GVR_PODS, meta_ns(owner), pod, &made, err)) {
		if (!namespace_ends(err)) {
			recorder_event(r, owner, "Warning", "FailedCreate", "Error creating: %s", err->msg);
		}
		return false;
	}
	struct str name = meta_name(made->root);
	recorder_event(r, owner, "Normal", "SuccessfulCreate", "Created pod: %.*s", STR_ARG(name));
	return true;
}

bool pod_delete(struct frame *f, struct recorder *r, const struct value *owner, const struct value *pod, struct err *err) {
	struct str name = meta_name(pod);
	struct client_call call = {
		.verb = CLIENT_DELETE,
		.gvr = GVR_PODS,
		.ns = meta_ns(pod),
		.name = name,
		.precondition_uid = meta_uid(pod),
	};

	if (!client_do(f->client, &call, NULL, NULL, err)) {
		if (err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT) {
			return true; /* gone, or another one by this name */
		}
		recorder_event(r, owner, "Warning", "FailedDelete", "Error deleting: %s", err->msg);
		return false;
	}
	recorder_event(r, owner, "Normal", "SuccessfulDelete", "Deleted pod: %.*s", STR_ARG(name));
	return true;
}

struct str controller_key(struct arena *a, struct shared *owners, const char *group, const char *kind, const struct value *object) {
	const struct value *ref = meta_controller(object);
	struct str api_version = value_str_at(ref, N_apiVersion), g = S(""), v;

	if (!ref || !str_eqc(value_str_at(ref, N_kind), kind) || !owners->informer) {
		return S("");
	}
	if (str_index(api_version, '/') >= 0) {
		(void)str_cut(api_version, '/', &g, &v);
	}
	if (!str_eqc(g, group)) {
		return S("");
	}
	auto_obj struct obj *owner = informer_get(owners->informer, meta_ns(object), value_str_at(ref, N_name));
	if (!owner || !str_eq(meta_uid(owner->root), value_str_at(ref, N_uid))) {
		return S("");
	}
	return meta_key(a, owner->root);
}
