/* SPDX-License-Identifier: Apache-2.0 */
/* sub_misc.c - small special resources: a namespace's finalize, a signing request's approval, component statuses. */
#include "apiserver/server.h"

/* ---- namespaces/finalize ---------------------------------------------------------------------------- */

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

/* ---- certificatesigningrequests/approval --------------------------------------------------------------- */

static bool approve(struct req *r, const struct value *current, void *arg, struct value **ret, struct err *err) {
	struct value *sent = NULL, *o = value_copy(r->a, current);

	if (r->verb == VERB_PATCH) {
		if (!patch_value(r, r->st->type, current, &sent, err)) {
			return false;
		}
	} else {
		sent = *(struct value **)arg;
		struct str rv = value_str_at(sent, N_metadata, N_resourceVersion);
		if (rv.len && !str_eq(rv, value_str_at(current, N_metadata, N_resourceVersion))) {
			return fail_conflict(r, r->st->group, r->st->resource, r->info.name, RV_CONFLICT, err);
		}
	}
	const struct value *list = value_at(sent, N_status, N_conditions);
	struct value *status = value_ensure_object(r->a, o, N_status);
	if (list) {
		value_set(r->a, status, N_conditions, value_copy(r->a, list));
	}
	char text[TIME_TEXT_MAX];
	struct str now = time_format(clock_wall(), text);
	VALUE_EACH(value_get(status, N_conditions), c) {
		if (value_str_at(c, N_lastUpdateTime).len == 0) {
			value_set_str(r->a, c, N_lastUpdateTime, now);
		}
		if (value_str_at(c, N_lastTransitionTime).len == 0) {
			value_set_str(r->a, c, N_lastTransitionTime, now);
		}
		if (value_str_at(c, N_status).len == 0) {
			value_set_str(r->a, c, N_status, S("True"));
		}
	}
	*ret = o;
	return true;
}

bool serve_approval(struct req *r, struct answer *ret, struct err *err) {
	struct value *sent = NULL;

	if (r->verb == VERB_GET) {
		return registry_get(r, ret, err);
	}
	auto_obj struct obj *csr = storage_get(r->st, S(""), r->info.name);
	if (!csr) {
		return fail_not_found(r, r->st->group, r->st->resource, r->info.name, err);
	}
	/* Who approves must be allowed to for this signer: by its name or by all of its domain. */
	struct str signer = value_str_at(csr->root, N_spec, N_signerName), domain, rest, reason;
	str_cut(signer, '/', &domain, &rest);
	struct access q = { .user = r->user, .verb = S("approve"), .resource = true, .group = S("certificates.k8s.io"), .version = S("*"), .res = S("signers"),
		.name = signer };
	if (authorize(r->s, r->a, &q, &reason) != DECISION_ALLOW) {
		q.name = arena_printf(r->a, "%.*s/*", STR_ARG(domain));
		if (authorize(r->s, r->a, &q, &reason) != DECISION_ALLOW) {
			return fail_forbidden(r, r->st->group, r->st->resource, r->info.name,
				arena_printf(r->a, "user not permitted to approve requests with signerName \"%.*s\"", STR_ARG(signer)), err);
		}
	}
	if (r->verb == VERB_UPDATE && !body_decode(r, r->st->type, false, &sent, err)) {
		return false;
	}
	ret->res = r->res;
	return registry_modify_object(r, r->st, S(""), r->info.name, MODIFY_RAW, approve, &sent, &ret->obj, NULL, err);
}

/* ---- componentstatuses: deprecated since 1.19, still listed by tools ----------------------------------- */

static struct value *component(struct req *r, const char *name) {
	struct value *o = value_new_object(r->a);

	value_set_str(r->a, o, N_kind, S("ComponentStatus"));
	value_set_str(r->a, o, N_apiVersion, S("v1"));
	value_set_str(r->a, value_ensure_object(r->a, o, N_metadata), N_name, str_c(name));
	struct value *c = value_push(r->a, value_ensure_array(r->a, o, N_conditions), value_new_object(r->a));
	value_set_str(r->a, c, N_type, S("Healthy"));
	value_set_str(r->a, c, N_status, S("True"));
	value_set_str(r->a, c, N_message, S("ok"));
	return o;
}

bool serve_component_status(struct req *r, struct answer *ret, struct err *err) {
	static const char *const names[] = { "controller-manager", "scheduler", "etcd-0" };

	kind_warn(&r->kx, "v1 ComponentStatus is deprecated in v1.19+");
	ret->res = r->res;
	if (r->verb == VERB_GET) {
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			if (str_eqc(r->info.name, names[i])) {
				ret->value = component(r, names[i]);
				return true;
			}
		}
		return fail_not_found(r, S(""), S("componentstatuses"), r->info.name, err);
	}
	struct value *list = value_new_object(r->a), *items = value_new_array(r->a);
	value_set_str(r->a, list, N_kind, S("ComponentStatusList"));
	value_set_str(r->a, list, N_apiVersion, S("v1"));
	value_set(r->a, list, N_metadata, value_new_object(r->a));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		value_push(r->a, items, component(r, names[i]));
	}
	value_set(r->a, list, N_items, items);
	ret->value = list;
	return true;
}
