/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_authz.c - the Node authoriser: a kubelet (system:node:<name> in system:nodes) reads what the pods bound to it need and writes what is its own.
 * Secrets and config maps are allowed by looking through the node's pods in the watch cache.
 */
#include "apiserver/server.h"

/* What every node may do, as rules of the role system:node say it; the rest is decided below. */
static const struct {
	const char *group, *resource, *verbs; /* comma-separated */
} common[] = {
	{ "authentication.k8s.io", "tokenreviews", "create" },
	{ "authorization.k8s.io", "subjectaccessreviews", "create" },
	{ "authorization.k8s.io", "localsubjectaccessreviews", "create" },
	{ "", "services", "get,list,watch" },
	{ "", "nodes", "create,get,list,watch,patch,update" },
	{ "", "nodes/status", "patch,update" },
	{ "", "events", "create,patch,update" },
	{ "events.k8s.io", "events", "create,patch,update" },
	{ "", "pods", "get,list,watch,create,delete" },
	{ "", "pods/status", "patch,update" },
	{ "", "pods/eviction", "create" },
	{ "", "endpoints", "get" },
	{ "certificates.k8s.io", "certificatesigningrequests", "create,get,list,watch" },
	{ "storage.k8s.io", "volumeattachments", "get" },
	{ "storage.k8s.io", "csidrivers", "get,list,watch" },
	{ "storage.k8s.io", "csinodes", "create,delete,get,patch,update" },
	{ "node.k8s.io", "runtimeclasses", "get,list,watch" },
	{ "resource.k8s.io", "resourceslices", "create,delete,deletecollection,get,list,patch,update,watch" },
	{ "resource.k8s.io", "resourceclaims", "get" },
	{ "coordination.k8s.io", "leases", "create,delete,get,patch,update" },
};

static bool word_in(const char *list, struct str word) {
	struct str rest = str_c(list), w;

	while (str_next(&rest, ',', &w)) {
		if (str_eq(w, word)) {
			return true;
		}
	}
	return false;
}

static bool named_in(const struct value *list, enum name_id outer, enum name_id inner, struct str name) {
	VALUE_EACH(list, v) {
		if (str_eq(value_str_at(v, outer, inner), name)) {
			return true;
		}
	}
	return false;
}

static bool containers_use(const struct value *list, bool secret, struct str name) {
	VALUE_EACH(list, c) {
		if (named_in(value_get(c, N_envFrom), secret ? N_secretRef : N_configMapRef, N_name, name)) {
			return true;
		}
		VALUE_EACH(value_get(c, N_env), e) {
			if (str_eq(value_str_at(e, N_valueFrom, secret ? N_secretKeyRef : N_configMapKeyRef, N_name), name)) {
				return true;
			}
		}
	}
	return false;
}

/* Does the pod use the object? */
static bool pod_uses(const struct value *pod, struct str resource, struct str name) {
	const struct value *spec = value_get(pod, N_spec);
	bool secret = str_eq(resource, S("secrets"));

	if (str_eq(resource, S("serviceaccounts"))) {
		return str_eq(value_str_at(spec, N_serviceAccountName), name);
	}
	if (str_eq(resource, S("persistentvolumeclaims"))) {
		if (named_in(value_get(spec, N_volumes), N_persistentVolumeClaim, N_claimName, name)) {
			return true;
		}
		VALUE_EACH(value_get(spec, N_volumes), v) { /* the claim of an ephemeral volume is named pod-volume */
			struct str p = value_str_at(pod, N_metadata, N_name), vn = value_str_at(v, N_name);
			if (value_get(v, N_ephemeral) && name.len == p.len + 1 + vn.len && str_starts(name, p) && str_ends(name, vn)) {
				return true;
			}
		}
		return false;
	}
	if (secret && value_find_by(value_get(spec, N_imagePullSecrets), N_name, name)) {
		return true;
	}
	VALUE_EACH(value_get(spec, N_volumes), v) {
		if (str_eq(secret ? value_str_at(v, N_secret, N_secretName) : value_str_at(v, N_configMap, N_name), name) ||
			named_in(value_at(v, N_projected, N_sources), secret ? N_secret : N_configMap, N_name, name)) {
			return true;
		}
	}
	return containers_use(value_get(spec, N_containers), secret, name) || containers_use(value_get(spec, N_initContainers), secret, name) ||
		containers_use(value_get(spec, N_ephemeralContainers), secret, name);
}

/* Calls for each pod of the namespace that is bound to the node. */
static bool node_pods_use(struct apiserver *s, struct arena *a, struct str node, const struct access *q) {
	struct snapshot snap;
	struct tree_iter it;
	struct str prefix = arena_printf(a, "%.*s/", STR_ARG(q->ns));
	bool found = false;

	cache_snapshot(storage_find(s, S(""), S("pods"))->cache, &snap);
	tree_seek(&it, snap.root, prefix);
	for (struct tree_item *i; !found && (i = tree_next(&it)) && str_starts(tree_key(i), prefix);) {
		found = str_eq(value_str_at(i->obj->root, N_spec, N_nodeName), node) && pod_uses(i->obj->root, q->res, q->name);
	}
	snapshot_release(&snap);
	return found;
}

/* A volume is a node's when a claim that its pods use is bound to it. */
static bool node_uses_volume(struct apiserver *s, struct arena *a, struct str node, struct str volume) {
	auto_obj struct obj *pv = storage_get(storage_find(s, S(""), S("persistentvolumes")), S(""), volume);
	struct access q = { .res = S("persistentvolumeclaims") };

	if (!pv) {
		return false;
	}
	q.ns = value_str_at(pv->root, N_spec, N_claimRef, N_namespace);
	q.name = value_str_at(pv->root, N_spec, N_claimRef, N_name);
	return q.name.len && node_pods_use(s, a, node, &q);
}

enum decision node_authorize(struct apiserver *s, struct arena *a, const struct access *q, struct str *ret_reason) {
	const struct str prefix = S("system:node:");

	if (!q->resource || !str_starts(q->user.name, prefix) || !user_in_group(&q->user, GROUP_NODES)) {
		return DECISION_NO_OPINION;
	}
	struct str node = str_from(q->user.name, prefix.len);
	bool reads = str_eq(q->verb, S("get")) || ((str_eq(q->verb, S("list")) || str_eq(q->verb, S("watch"))) && q->name.len);
	if (q->group.len == 0 && q->sub.len == 0 &&
		(str_eq(q->res, S("secrets")) || str_eq(q->res, S("configmaps")) || str_eq(q->res, S("persistentvolumeclaims")) ||
			str_eq(q->res, S("serviceaccounts")))) {
		if (reads && q->name.len && node_pods_use(s, a, node, q)) {
			return DECISION_ALLOW;
		}
		*ret_reason = arena_printf(a, "no relationship found between node '%.*s' and this object", STR_ARG(node));
		return DECISION_NO_OPINION;
	}
	if (q->group.len == 0 && str_eq(q->res, S("persistentvolumes"))) {
		if (reads && q->name.len && node_uses_volume(s, a, node, q->name)) {
			return DECISION_ALLOW;
		}
		*ret_reason = arena_printf(a, "no relationship found between node '%.*s' and this object", STR_ARG(node));
		return DECISION_NO_OPINION;
	}
	if (q->group.len == 0 && str_eq(q->res, S("serviceaccounts")) && str_eq(q->sub, S("token"))) {
		struct access sa = *q;
		if (str_eq(q->verb, S("create")) && node_pods_use(s, a, node, &sa)) {
			return DECISION_ALLOW;
		}
		*ret_reason = arena_printf(a, "no relationship found between node '%.*s' and this object", STR_ARG(node));
		return DECISION_NO_OPINION;
	}
	if (str_eq(q->res, S("leases")) && str_eq(q->group, S("coordination.k8s.io")) && !str_eq(q->ns, S("kube-node-lease"))) {
		*ret_reason = arena_printf(a, "can only access leases in the \"kube-node-lease\" system namespace");
		return DECISION_NO_OPINION;
	}
	if (q->group.len == 0 && str_eq(q->res, S("persistentvolumeclaims")) && str_eq(q->sub, S("status"))) {
		struct access pvc = *q;
		return node_pods_use(s, a, node, &pvc) ? DECISION_ALLOW : DECISION_NO_OPINION;
	}
	struct str res = q->sub.len ? arena_printf(a, "%.*s/%.*s", STR_ARG(q->res), STR_ARG(q->sub)) : q->res;
	for (size_t i = 0; i < ARRAY_LEN(common); i++) {
		if (str_eqc(res, common[i].resource) && str_eqc(q->group, common[i].group) && word_in(common[i].verbs, q->verb)) {
			return DECISION_ALLOW;
		}
	}
	return DECISION_NO_OPINION;
}
