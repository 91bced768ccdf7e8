/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root_ca.c - every namespace has the ConfigMap kube-root-ca.crt with the cluster's CA, for pods to verify the
 * API server with; it is put back when it is changed. Handlers on the loop, passes on pool threads.
 */
#include "controllers/frame.h"
#include "controllers/object.h"

#define NAME "kube-root-ca.crt"

struct root_cas {
	struct frame *frame;
	struct shared *namespaces, *maps;
	struct work_queue *queue; /* names of namespaces */
};

static void namespace_changed(void *arg, struct obj *old, struct obj *now) {
	struct root_cas *c = arg;

	if (now) {
		work_queue_add(c->queue, meta_name(now->root));
	}
}

static void map_changed(void *arg, struct obj *old, struct obj *now) {
	struct root_cas *c = arg;
	const struct value *o = now ? now->root : old->root;

	if (str_eqc(meta_name(o), NAME) && (old || !now)) {
		work_queue_add(c->queue, meta_ns(o));
	}
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct root_cas *c = arg;
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *ns = informer_get(c->namespaces->informer, S(""), key);
	auto_obj struct obj *is = informer_get(c->maps->informer, key, S(NAME));
	struct str pem = c->frame->opts.root_ca_pem;

	if (!ns || meta_deleting(ns->root) || str_eqc(value_str_at(ns->root, N_status, N_phase), "Terminating")) {
		return true;
	}
	const struct value *data = is ? value_get(is->root, N_data) : NULL;
	if (is && value_len(data) == 1 && str_eq(value_as_str(value_get_str(data, S("ca.crt"))), pem)) {
		return true;
	}
	struct value *o = is ? object_edit(&a, is->root) : value_new_object(&a);
	value_set_str(&a, o, N_kind, S("ConfigMap"));
	value_set_str(&a, o, N_apiVersion, S("v1"));
	struct value *meta = value_ensure_object(&a, o, N_metadata);
	value_set_str(&a, meta, N_name, S(NAME));
	value_set_str(&a, meta, N_namespace, key);
	value_set_key_str(&a, value_ensure_object(&a, meta, N_annotations), S("kubernetes.io/description"),
		S("Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or "
		  "kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."));
	value_set_key_str(&a, value_set(&a, o, N_data, value_new_object(&a)), S("ca.crt"), pem);
	bool ok = is ? client_update(c->frame->client, GVR_CONFIGMAPS, key, o, NULL, err) : client_create(c->frame->client, GVR_CONFIGMAPS, key, o, NULL, err);
	return ok || err->code == ERR_ALREADY_EXISTS || err->code == ERR_NOT_FOUND || str_contains(str_c(err->msg), S("because it is being terminated"));
}

static void *make(struct frame *f) {
	if (!f->opts.root_ca_pem.len) {
		return NULL;
	}
	struct root_cas *c = xcalloc(1, sizeof(*c));
	c->frame = f;
	c->queue = frame_queue(f, "root-ca", 1, sync, c);
	c->namespaces = frame_watch(f, GVR_NAMESPACES, namespace_changed, c);
	c->maps = frame_watch(f, GVR_CONFIGMAPS, map_changed, c);
	return c;
}

const struct controller_ops root_ca_controller = { .name = "root-ca-certificate-publisher", .make = make, .free = free };
