/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_restriction.c - NodeRestriction: a kubelet changes its own Node and Lease and the pods bound to it, nothing of other nodes.
 * What a node may read is node_authz.c's business.
 */
#include "apiserver/server.h"

static bool refuse(struct admission *ad, struct str why, struct err *err) {
	return fail_forbidden(ad->r, ad->group, ad->resource, ad->name, why, err);
}

static bool check_pod(struct admission *ad, struct str node, struct err *err) {
	struct arena *a = ad->r->a;
	const struct value *o = ad->verb == ADMIT_CREATE ? ad->object : ad->old;
	struct str on = value_str_at(o, N_spec, N_nodeName);

	if (ad->verb == ADMIT_CREATE) {
		if (str_eq(ad->sub, S("eviction")) || str_eq(ad->sub, S("binding"))) {
			return true;
		}
		if (!value_get_str(value_at(o, N_metadata, N_annotations), S("kubernetes.io/config.mirror"))) {
			return refuse(ad, arena_printf(a, "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"%.*s\" can only create mirror pods", STR_ARG(node)),
				err);
		}
		if (!str_eq(on, node)) {
			return refuse(ad, arena_printf(a, "node \"%.*s\" can only create pods with spec.nodeName set to itself", STR_ARG(node)), err);
		}
		return true;
	}
	if (!str_eq(on, node)) {
		return refuse(ad,
			ad->verb == ADMIT_DELETE ? arena_printf(a, "node \"%.*s\" can only delete pods with spec.nodeName set to itself", STR_ARG(node))
						 : arena_printf(a, "node \"%.*s\" can only update pod status for pods with spec.nodeName set to itself", STR_ARG(node)),
			err);
	}
	if (ad->verb == ADMIT_UPDATE && !str_eq(ad->sub, S("status"))) {
		return refuse(ad, arena_printf(a, "unexpected pod subresource \"%.*s\"", STR_ARG(ad->sub)), err);
	}
	return true;
}

static bool check_node(struct admission *ad, struct str node, struct err *err) {
	struct arena *a = ad->r->a;

	if (!str_eq(ad->name, node)) {
		return refuse(ad, arena_printf(a, "node \"%.*s\" is not allowed to modify node \"%.*s\"", STR_ARG(node), STR_ARG(ad->name)), err);
	}
	if (ad->verb == ADMIT_UPDATE && ad->sub.len == 0 && !value_eq(value_at(ad->object, N_spec, N_taints), value_at(ad->old, N_spec, N_taints)) &&
		(value_len(value_at(ad->object, N_spec, N_taints)) || value_len(value_at(ad->old, N_spec, N_taints)))) {
		return refuse(ad, arena_printf(a, "node \"%.*s\" is not allowed to modify taints", STR_ARG(node)), err);
	}
	return true;
}

static bool validate(struct admission *ad, struct err *err) {
	struct req *r = ad->r;
	const struct str prefix = S("system:node:");

	if (!str_starts(r->user.name, prefix) || !user_in_group(&r->user, GROUP_NODES)) {
		return true;
	}
	struct str node = str_from(r->user.name, prefix.len);
	if (ad->group.len == 0 && str_eq(ad->resource, S("pods"))) {
		return check_pod(ad, node, err);
	}
	if (ad->group.len == 0 && str_eq(ad->resource, S("nodes"))) {
		return check_node(ad, node, err);
	}
	if (str_eq(ad->resource, S("leases")) && str_eq(ad->group, S("coordination.k8s.io"))) {
		if (!str_eq(ad->ns, S("kube-node-lease"))) {
			return refuse(ad, arena_printf(r->a, "can only access leases in the \"kube-node-lease\" system namespace"), err);
		}
		if (!str_eq(ad->name, node)) {
			return refuse(ad, arena_printf(r->a, "can only access node lease with the same name as the requesting node"), err);
		}
	}
	return true;
}

const struct admission_plugin admit_node_restriction = { "NodeRestriction", ADMIT_CREATE | ADMIT_UPDATE | ADMIT_DELETE, NULL, validate };
