/* SPDX-License-Identifier: Apache-2.0 */
/* service_account.c - every namespace has the ServiceAccount "default". Handlers on the loop, passes on pool threads. */
#include "controllers/frame.h"
#include "controllers/object.h"

struct service_accounts {
	struct frame *frame;
	struct shared *namespaces, *accounts;
	struct work_queue *queue; /* names of namespaces */
};

static void namespace_changed(void *arg, struct obj *old, struct obj *now) {
	struct service_accounts *c = arg;

	if (now) {
		work_queue_add(c->queue, meta_name(now->root));
	}
}

static void account_changed(void *arg, struct obj *old, struct obj *now) {
	struct service_accounts *c = arg;

	if (!now && str_eqc(meta_name(old->root), "default")) {
		work_queue_add(c->queue, meta_ns(old->root));
	}
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct service_accounts *c = arg;
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *ns = informer_get(c->namespaces->informer, S(""), key);
	auto_obj struct obj *is = informer_get(c->accounts->informer, key, S("default"));

	if (!ns || meta_deleting(ns->root) || str_eqc(value_str_at(ns->root, N_status, N_phase), "Terminating") || is) {
		return true;
	}
	struct value *o = value_new_object(&a), *meta;
	value_set_str(&a, o, N_kind, S("ServiceAccount"));
	value_set_str(&a, o, N_apiVersion, S("v1"));
	meta = value_set(&a, o, N_metadata, value_new_object(&a));
	value_set_str(&a, meta, N_name, S("default"));
	value_set_str(&a, meta, N_namespace, key);
	if (!client_create(c->frame->client, GVR_SERVICEACCOUNTS, key, o, NULL, err)) {
		return err->code == ERR_ALREADY_EXISTS || err->code == ERR_NOT_FOUND || str_contains(str_c(err->msg), S("because it is being terminated"));
	}
	return true;
}

static void *make(struct frame *f) {
	struct service_accounts *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->queue = frame_queue(f, "serviceaccount", 1, sync, c);
	c->namespaces = frame_watch(f, GVR_NAMESPACES, namespace_changed, c);
	c->accounts = frame_watch(f, GVR_SERVICEACCOUNTS, account_changed, c);
	return c;
}

const struct controller_ops service_account_controller = { .name = "serviceaccount", .make = make, .free = free };
