/* SPDX-License-Identifier: Apache-2.0 */
/* sub_finalize.c - namespaces/finalize: takes a namespace's spec.finalizers away; with the last one it is gone. */
#include "apiserver/server.h"

static bool finalize(struct req *r, const struct value *current, void *arg, struct value **ret, struct err *err) {
	const struct value *sent = *(struct value *const *)arg, *list = value_at(sent, N_spec, N_finalizers);
	struct str rv = value_str_at(sent, N_metadata, N_resourceVersion);
	struct value *o = value_copy(r->a, current);

	if (rv.len && !str_eq(rv, value_str_at(current, N_metadata, N_resourceVersion))) {
		return fail_conflict(r, S(""), S("namespaces"), r->info.name, RV_CONFLICT, err);
	}
	if (value_len(list)) {
		value_set(r->a, value_ensure_object(r->a, o, N_spec), N_finalizers, list);
	} else {
		value_remove(value_get(o, N_spec), N_finalizers);
	}
	*ret = o;
	return true;
}

bool serve_finalize(struct req *r, struct answer *ret, struct err *err) {
	struct value *sent = NULL;

	if (!body_decode(r, r->st->type, false, &sent, err)) {
		return false;
	}
	ret->res = r->res;
	return registry_modify_object(r, r->st, S(""), r->info.name, MODIFY_RAW, finalize, &sent, &ret->obj, NULL, err);
}
