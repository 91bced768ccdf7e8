/* SPDX-License-Identifier: Apache-2.0 */
/* reviews.c - virtual resources that answer questions: who is this token, who am I, may they, what may I. */
#include "apiserver/server.h"

static struct value *user_value(struct arena *a, const struct user *u) {
	struct value *v = value_new_object(a), *groups = value_new_array(a);

	value_set_str(a, v, N_username, u->name);
	if (u->uid.len) {
		value_set_str(a, v, N_uid, u->uid);
	}
	for (size_t i = 0; i < u->groups_len; i++) {
		value_push_str(a, groups, u->groups[i]);
	}
	value_set(a, v, N_groups, groups);
	if (value_len(u->extra)) {
		value_set(a, v, N_extra, value_copy(a, u->extra));
	}
	return v;
}

static const struct schema_type *body_type(struct req *r) {
	return schema_resource_type(r->res);
}

static bool finish(struct req *r, struct value *o, struct answer *ret, struct err *err) {
	if (!canonical(r, body_type(r), &o, err)) {
		return false;
	}
	ret->code = 201;
	ret->value = o;
	return true;
}

bool serve_token_review(struct req *r, struct answer *ret, struct err *err) {
	struct value *o = NULL, *audiences = NULL;
	struct user u;
	struct err why = { 0 };

	if (!body_decode(r, body_type(r), true, &o, err)) {
		return false;
	}
	struct str token = value_str_at(o, N_spec, N_token);
	if (token.len == 0) {
		return err_set(err, ERR_BAD_REQUEST, "token is required for TokenReview in authentication");
	}
	struct value *status = value_new_object(r->a), *none = value_new_array(r->a);
	const struct value *asked = value_at(o, N_spec, N_audiences);
	if (authn_token(r->s->authn, token, asked ? asked : none, r->a, &u, &audiences, &why)) {
		value_set_bool(r->a, status, N_authenticated, true);
		value_set(r->a, status, N_user, user_value(r->a, &u));
		if (!audiences && !asked) {
			audiences = value_new_array(r->a);
			value_push_str(r->a, audiences, authn_issuer(r->s->authn));
		}
		if (value_len(audiences)) {
			value_set(r->a, status, N_audiences, audiences);
		}
	} else {
		value_set(r->a, status, N_user, value_new_object(r->a));
		value_set_str(r->a, status, N_error, str_eq(str_c(why.msg), S("Unauthorized")) ? S("invalid bearer token") : str_c(why.msg));
	}
	value_set(r->a, o, N_status, status);
	return finish(r, o, ret, err);
}

bool serve_self_subject_review(struct req *r, struct answer *ret, struct err *err) {
	struct value *o = NULL;
	char text[TIME_TEXT_MAX];

	if (!body_decode(r, body_type(r), true, &o, err)) {
		return false;
	}
	if (user_in_group(&r->user, GROUP_UNAUTHENTICATED)) {
		return fail_forbidden(r, S("authentication.k8s.io"), S("selfsubjectreviews"), S(""), S("anonymous users have no identity to review"), err);
	}
	value_set_str(r->a, value_ensure_object(r->a, o, N_metadata), N_creationTimestamp, time_format(clock_wall(), text));
	value_set(r->a, value_ensure_object(r->a, o, N_status), N_userInfo, user_value(r->a, &r->user));
	return finish(r, o, ret, err);
}

/* ---- access ---------------------------------------------------------------------------------------- */

static struct user user_from(struct req *r, const struct value *spec) {
	struct user u = { .name = value_str_at(spec, N_user), .uid = value_str_at(spec, N_uid), .extra = value_get(spec, N_extra) };
	const struct value *groups = value_get(spec, N_groups);
	struct str *all = arena_array(r->a, struct str, value_len(groups) + 1);

	VALUE_EACH(groups, g) {
		all[u.groups_len++] = value_as_str(g);
	}
	u.groups = all;
	return u;
}

static bool check_spec(struct req *r, const struct value *spec, bool self, struct str kind, struct err *err) {
	struct causes c = { .arena = r->a };
	const struct value *res = value_get(spec, N_resourceAttributes), *path = value_get(spec, N_nonResourceAttributes);

	if (res && path) {
		cause_add(&c, CAUSE_INVALID, S("spec.nonResourceAttributes"), path, "cannot be specified in combination with resourceAttributes");
	}
	if (!res && !path) {
		cause_add(&c, CAUSE_INVALID, S("spec.resourceAttributes"), NULL, "exactly one of nonResourceAttributes or resourceAttributes must be specified");
	}
	if (!self && value_str_at(spec, N_user).len == 0 && value_len(value_get(spec, N_groups)) == 0) {
		cause_add(&c, CAUSE_INVALID, S("spec.user"), value_get(spec, N_user), "at least one of user or group must be specified");
	}
	return c.len ? fail_invalid(r, S("authorization.k8s.io"), kind, S(""), &c, err) : true;
}

bool serve_access_review(struct req *r, struct answer *ret, struct err *err) {
	bool self = str_eq(r->info.resource, S("selfsubjectaccessreviews")), local = str_eq(r->info.resource, S("localsubjectaccessreviews"));
	struct value *o = NULL;
	struct str reason = S("");

	if (!body_decode(r, body_type(r), true, &o, err)) {
		return false;
	}
	const struct value *spec = value_get(o, N_spec), *res = value_get(spec, N_resourceAttributes), *path = value_get(spec, N_nonResourceAttributes);
	if (!check_spec(r, spec, self, schema_type_short(body_type(r)), err)) {
		return false;
	}
	struct access q = { .user = self ? r->user : user_from(r, spec) };
	if (res) {
		q.resource = true;
		q.verb = value_str_at(res, N_verb);
		q.group = value_str_at(res, N_group);
		q.version = value_str_at(res, N_version);
		q.res = value_str_at(res, N_resource);
		q.sub = value_str_at(res, N_subresource);
		q.ns = value_str_at(res, N_namespace);
		q.name = value_str_at(res, N_name);
		if (local) {
			if (!str_eq(q.ns, r->info.ns)) {
				return err_set(err, ERR_BAD_REQUEST, "spec.resourceAttributes.namespace must match namespace: %.*s", STR_ARG(r->info.ns));
			}
		}
	} else {
		q.verb = value_str_at(path, N_verb);
		q.path = value_str_at(path, N_path);
		if (local) {
			return err_set(err, ERR_BAD_REQUEST, "nonResourceAttributes are not allowed in a LocalSubjectAccessReview");
		}
	}
	enum decision d = authorize(r->s, r->a, &q, &reason);
	struct value *status = value_new_object(r->a);
	value_set_bool(r->a, status, N_allowed, d == DECISION_ALLOW);
	if (d == DECISION_DENY) {
		value_set_bool(r->a, status, N_denied, true);
	}
	if (reason.len) {
		value_set_str(r->a, status, N_reason, reason);
	}
	value_set(r->a, o, N_status, status);
	return finish(r, o, ret, err);
}

bool serve_rules_review(struct req *r, struct answer *ret, struct err *err) {
	struct value *o = NULL;

	if (!body_decode(r, body_type(r), true, &o, err)) {
		return false;
	}
	struct str ns = value_str_at(o, N_spec, N_namespace);
	if (ns.len == 0) {
		return err_set(err, ERR_BAD_REQUEST, "no namespace on request");
	}
	struct value *status = rbac_rules_for(r->s->authz, r->a, &r->user, ns);
	if (str_find(str_c(r->s->opts.authorization_mode), S("Node")) >= 0 && user_in_group(&r->user, GROUP_NODES)) {
		value_set_bool(r->a, status, N_incomplete, true);
		value_set_str(r->a, status, N_evaluationError, S("node authorizer does not support user rule resolution"));
	}
	value_set(r->a, o, N_status, status);
	return finish(r, o, ret, err);
}
