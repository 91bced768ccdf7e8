/* SPDX-License-Identifier: Apache-2.0 */
/*
 * namespace_lifecycle.c - NamespaceLifecycle: nothing is created in a namespace that is absent or on its way out, and three
 * namespaces cannot be deleted.
 */
#include "apiserver/server.h"

static bool is_immortal(struct str name) {
	return str_eq(name, S("default")) || str_eq(name, S("kube-system")) || str_eq(name, S("kube-public"));
}

static bool is_namespace(const struct admission *ad) {
	return ad->group.len == 0 && str_eq(ad->resource, S("namespaces"));
}

static bool admit(struct admission *ad, struct err *err) {
	struct req *r = ad->r;

	if (ad->verb != ADMIT_CREATE || ad->ns.len == 0 || is_namespace(ad)) {
		return true;
	}
	auto_obj struct obj *ns = storage_get(storage_find(r->s, S(""), S("namespaces")), S(""), ad->ns);
	if (!ns) {
		return fail_not_found(r, S(""), S("namespaces"), ad->ns, err);
	}
	if (!str_eq(value_str_at(ns->root, N_status, N_phase), S("Terminating"))) {
		return true;
	}
	struct str name = value_str_at(ad->object, N_metadata, N_name);
	(void)fail_forbidden(r, ad->group, ad->resource, name.len ? name : ad->name,
		arena_printf(r->a, "unable to create new content in namespace %.*s because it is being terminated", STR_ARG(ad->ns)), err);
	fail_cause(r, S("NamespaceTerminating"), arena_printf(r->a, "namespace %.*s is being terminated", STR_ARG(ad->ns)), S("metadata.namespace"));
	return false;
}

static bool validate(struct admission *ad, struct err *err) {
	if (ad->verb == ADMIT_DELETE && is_namespace(ad) && is_immortal(ad->name)) {
		return fail_forbidden(ad->r, S(""), S("namespaces"), ad->name, S("this namespace may not be deleted"), err);
	}
	return true;
}

const struct admission_plugin admit_namespace_lifecycle = { "NamespaceLifecycle", ADMIT_CREATE | ADMIT_DELETE, admit, validate };
