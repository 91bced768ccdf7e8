/* SPDX-License-Identifier: Apache-2.0 */
/* sub_approval.c - certificatesigningrequests/approval: sets conditions, by those who may approve for the signer. */
#include "apiserver/server.h"

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
