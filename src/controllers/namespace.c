/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namespace.c - empties a namespace that is being deleted, then finalizes it.
 *
 * One pass: ask discovery for every namespaced resource that can be listed and deleted, delete what is there of
 * each, say in the conditions what remains and why, and when nothing does, take the finalizer "kubernetes" off.
 * Handlers on the loop, passes on pool threads.
 */
#include "base/log.h"
#include "controllers/discovery.h"
#include "controllers/frame.h"
#include "controllers/object.h"

#define WORKERS 5
#define AT_ONCE 8

struct namespaces {
	struct frame *frame;
	struct shared *namespaces;
	struct work_queue *queue;
};

static void namespace_changed(void *arg, struct obj *old, struct obj *now) {
	struct namespaces *c = arg;

	if (now && meta_deleting(now->root)) {
		work_queue_add(c->queue, meta_name(now->root));
	}
}

/* ---- deleting the content ------------------------------------------------------------------------------------------ */

/* What one resource has left. */
struct remains {
	size_t objects;
	nsec_t wait; /* the longest grace of what is being deleted */
	struct err err; /* of listing or deleting */
	VEC(struct str) finalizers; /* names, in the pass's arena */
};
struct emptying {
	struct namespaces *c;
	struct str ns;
	const struct resource *resources;
	struct remains *remains; /* one per resource */
};

static bool delete_each(struct emptying *e, const struct resource *r, const struct client_list *list, struct err *err) {
	bool ok = true;

	for (size_t i = 0; i < list->len; i++) {
		struct client_call call = {
			.verb = CLIENT_DELETE,
			.gvr = r->gvr,
			.ns = e->ns,
			.name = meta_name(list->at[i]->root),
			.propagation = S("Background"),
		};
		struct err one = { 0 };
		if (!meta_deleting(list->at[i]->root) && !client_do(e->c->frame->client, &call, NULL, NULL, &one) && one.code != ERR_NOT_FOUND && ok) {
			ok = false;
			*err = one;
		}
	}
	return ok;
}

static void remains_note(struct remains *m, const struct client_list *list) {
	m->objects = list->len;
	for (size_t i = 0; i < list->len; i++) {
		const struct value *o = list->at[i]->root;
		nsec_t grace = value_int_at(o, N_metadata, N_deletionGracePeriodSeconds) * NSEC_PER_SEC;
		m->wait = MAX(m->wait, grace);
		VALUE_EACH(value_at(o, N_metadata, N_finalizers), f) {
			VEC_PUSH(&m->finalizers, value_as_str(f));
		}
	}
}

static bool empty_one(void *arg, size_t i, struct err *err) {
	struct emptying *e = arg;
	const struct resource *r = &e->resources[i];
	struct remains *m = &e->remains[i];
	struct client_list list = { 0 };
	bool ok;

	if (!client_list(e->c->frame->client, r->gvr, e->ns, S(""), &list, err)) {
		ok = err->code == ERR_NOT_FOUND || err->code == ERR_METHOD_NOT_ALLOWED;
		m->err = *err;
		if (ok) {
			err_clear(&m->err);
		}
		return ok;
	}
	if (list.len == 0) {
		client_list_release(&list);
		return true;
	}
	struct client_call all = {
		.verb = CLIENT_DELETE_COLLECTION,
		.gvr = r->gvr,
		.ns = e->ns,
		.propagation = S("Background"),
	};
	ok = r->delete_collection && client_do(e->c->frame->client, &all, NULL, NULL, err);
	if (!ok) {
		err_clear(err);
		ok = delete_each(e, r, &list, err);
	}
	client_list_release(&list);
	if (!ok) {
		m->err = *err;
	} else if (client_list(e->c->frame->client, r->gvr, e->ns, S(""), &list, &m->err)) {
		remains_note(m, &list);
		for (size_t f = 0; f < m->finalizers.len; f++) { /* they borrow from the list */
			m->finalizers.at[f] = (struct str){ str_dup(m->finalizers.at[f]), m->finalizers.at[f].len };
		}
		client_list_release(&list);
	}
	return ok;
}

/* ---- conditions -------------------------------------------------------------------------------------------------------- */

static struct str list_join(struct arena *a, struct str list, struct str item) {
	return list.len ? arena_printf(a, "%.*s, %.*s", STR_ARG(list), STR_ARG(item)) : item;
}

static void content_condition(struct arena *a, struct value *conditions, const char *type, const char *good_reason, const char *good, const char *bad_reason,
	struct str bad) {
	struct condition c = { .type = type, .status = bad.len ? "True" : "False", .reason = bad.len ? bad_reason : good_reason,
		.message = bad.len ? bad : str_c(good) };

	condition_set(a, conditions, &c);
}

static size_t finalizer_count(const struct emptying *e, size_t n, struct str name) {
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		VEC_EACH(&e->remains[i].finalizers, f) {
			count += str_eq(*f, name);
		}
	}
	return count;
}

static void conditions_put(struct arena *a, struct value *status, struct emptying *e, size_t n, const struct err *discovery) {
	struct value *conditions = value_ensure_array(a, status, N_conditions);
	struct str failed = S(""), content = S(""), finalizers = S("");

	for (size_t i = 0; i < n; i++) {
		struct remains *m = &e->remains[i];
		struct gvr g = e->resources[i].gvr;
		if (m->err.code != ERR_NONE) {
			failed = list_join(a, failed, str_c(m->err.msg));
		}
		if (m->objects) {
			struct str name = g.group.len ? arena_printf(a, "%.*s.%.*s", STR_ARG(g.resource), STR_ARG(g.group)) : g.resource;
			content = list_join(a, content, arena_printf(a, "%.*s has %zu resource instances", STR_ARG(name), m->objects));
		}
		VEC_EACH(&m->finalizers, f) {
			if (!str_contains(finalizers, *f)) {
				finalizers = list_join(a, finalizers,
					arena_printf(a, "%.*s in %zu resource instances", STR_ARG(*f), finalizer_count(e, n, *f)));
			}
		}
	}
	content_condition(a, conditions, "NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered", "DiscoveryFailed",
		discovery->code == ERR_NONE ? S("") : arena_printf(a, "Discovery failed for some groups, 1 failing: %s", discovery->msg));
	content_condition(a, conditions, "NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed",
		"GroupVersionParsingFailed", S(""));
	content_condition(a, conditions, "NamespaceDeletionContentFailure", "ContentDeleted", "All content successfully deleted, may be waiting on finalization",
		"ContentDeletionFailed", failed.len ? arena_printf(a, "Failed to delete all resource types, 1 remaining: %.*s", STR_ARG(failed)) : S(""));
	content_condition(a, conditions, "NamespaceContentRemaining", "ContentRemoved", "All content successfully removed", "SomeResourcesRemain",
		content.len ? arena_printf(a, "Some resources are remaining: %.*s", STR_ARG(content)) : S(""));
	content_condition(a, conditions, "NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished",
		"SomeFinalizersRemain",
		finalizers.len ? arena_printf(a, "Some content in the namespace has finalizers remaining: %.*s", STR_ARG(finalizers)) : S(""));
}

/* ---- one pass ------------------------------------------------------------------------------------------------------------- */

static bool finalize(struct namespaces *c, const struct value *ns, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *o = value_copy(&a, ns), *left = value_new_array(&a);

	VALUE_EACH(value_at(o, N_spec, N_finalizers), f) {
		if (!str_eqc(value_as_str(f), "kubernetes")) {
			value_push(&a, left, f);
		}
	}
	value_set(&a, value_ensure_object(&a, o, N_spec), N_finalizers, left);
	struct client_call call = {
		.verb = CLIENT_UPDATE,
		.gvr = GVR_NAMESPACES,
		.name = meta_name(ns),
		.subresource = S("finalize"),
		.body = o,
	};
	return client_do(c->frame->client, &call, NULL, NULL, err) || err->code == ERR_NOT_FOUND;
}

static bool has_kubernetes_finalizer(const struct value *ns) {
	VALUE_EACH(value_at(ns, N_spec, N_finalizers), f) {
		if (str_eqc(value_as_str(f), "kubernetes")) {
			return true;
		}
	}
	return false;
}

static void emptying_release(struct emptying *e, size_t n) {
	for (size_t i = 0; i < n; i++) {
		VEC_EACH(&e->remains[i].finalizers, f) {
			free((char *)f->ptr);
		}
		VEC_RELEASE(&e->remains[i].finalizers);
	}
}

static bool empty(struct namespaces *c, struct str key, const struct value *ns, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct resources found = { 0 };
	struct err discovery = { 0 };
	bool complete = resources_discover(c->frame->client, &found, &discovery);
	struct emptying e = { .c = c, .ns = key };
	struct resource *namespaced = arena_array(&a, struct resource, found.len);
	size_t n = 0, objects = 0;
	nsec_t wait = 0;

	for (size_t i = 0; i < found.len; i++) {
		if (found.at[i].namespaced && found.at[i].list && found.at[i].delete_one) {
			namespaced[n++] = found.at[i];
		}
	}
	e.resources = namespaced;
	e.remains = arena_array(&a, struct remains, n);
	struct err first = { 0 };
	bool ok = frame_parallel(n, AT_ONCE, empty_one, &e, &first) == n && complete;
	for (size_t i = 0; i < n; i++) {
		objects += e.remains[i].objects;
		wait = MAX(wait, e.remains[i].wait);
	}
	struct value *o = object_edit(&a, ns);
	struct value *status = value_ensure_object(&a, o, N_status);
	conditions_put(&a, status, &e, n, &discovery);
	if ((objects > 0 || !ok) && !value_eq(status, value_get(ns, N_status))) {
		struct err ignored = { 0 };
		(void)!client_update_status(c->frame->client, GVR_NAMESPACES, S(""), o, NULL, &ignored);
	}
	emptying_release(&e, n);
	resources_release(&found);
	if (!ok) {
		*err = complete ? first : discovery;
		return false;
	}
	if (objects > 0) {
		/* pods that end gracefully, objects with finalizers: look again soon, later when it takes long */
		work_queue_add_after(c->queue, key, wait > 0 ? MIN(wait / 2 + NSEC_PER_SEC, 5 * NSEC_PER_SEC) : NSEC_PER_SEC);
		return true;
	}
	auto_obj struct obj *now = NULL;
	if (!client_get(c->frame->client, GVR_NAMESPACES, S(""), key, &now, err)) {
		return err->code == ERR_NOT_FOUND;
	}
	return !str_eq(meta_uid(now->root), meta_uid(ns)) || finalize(c, now->root, err);
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct namespaces *c = arg;
	auto_obj struct obj *ns = informer_get(c->namespaces->informer, S(""), key);

	if (!ns || !meta_deleting(ns->root) || !has_kubernetes_finalizer(ns->root)) {
		return true;
	}
	return empty(c, key, ns->root, err);
}

static void *make(struct frame *f) {
	struct namespaces *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->queue = frame_queue(f, "namespace", WORKERS, sync, c);
	c->namespaces = frame_watch(f, GVR_NAMESPACES, namespace_changed, c);
	return c;
}

const struct controller_ops namespace_controller = { .name = "namespace", .make = make, .free = free };
