/* SPDX-License-Identifier: Apache-2.0 */
/* sub_token.c - serviceaccounts/token: issues tokens that are bound to the account and to a pod, node or secret, and end. */
#include "apiserver/server.h"

#define SECONDS_MIN 600
#define SECONDS_MAX ((int64_t)1 << 32)
#define SECONDS_WARN 3607                      /* what the mounted volume asks for */
#define SECONDS_EXTENDED ((int64_t)365 * 86400) /* old clients that never read the file again keep working; `warnafter` tells */

static bool check(struct req *r, struct value *spec, struct err *err) {
	struct causes c = { .arena = r->a };
	const struct value *seconds = value_get(spec, N_expirationSeconds);

	if (value_as_int(seconds) < SECONDS_MIN) {
		cause_add(&c, CAUSE_INVALID, S("spec.expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
	} else if (value_as_int(seconds) > SECONDS_MAX) {
		cause_add(&c, CAUSE_INVALID, S("spec.expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
	}
	return c.len ? fail_invalid(r, S("authentication.k8s.io"), S("TokenRequest"), S(""), &c, err) : true;
}

static struct value *reference(struct arena *a, const struct value *o) {
	struct value *ref = value_new_object(a);

	value_set_str(a, ref, N_name, value_str_at(o, N_metadata, N_name));
	value_set_str(a, ref, N_uid, value_str_at(o, N_metadata, N_uid));
	return ref;
}

/* Adds the bound object's claims. */
static bool bind(struct req *r, const struct value *ref, struct value *claim, bool *ret_pod, struct err *err) {
	struct str kind = value_str_at(ref, N_kind), api = value_str_at(ref, N_apiVersion), name = value_str_at(ref, N_name), uid = value_str_at(ref, N_uid);
	bool pod = str_eq(kind, S("Pod")), secret = str_eq(kind, S("Secret")), node = str_eq(kind, S("Node"));

	if (!str_eq(api, S("v1")) || !(pod || secret || node)) {
		return err_set(err, ERR_BAD_REQUEST, "cannot bind token to object of type %.*s, Kind=%.*s", STR_ARG(api), STR_ARG(kind));
	}
	struct storage *st = storage_find(r->s, S(""), pod ? S("pods") : secret ? S("secrets") : S("nodes"));
	auto_obj struct obj *o = storage_get(st, r->info.ns, name);
	if (!o) {
		return fail_not_found(r, S(""), st->resource, name, err);
	}
	struct str have = value_str_at(o->root, N_metadata, N_uid);
	if (uid.len && !str_eq(uid, have)) {
		return fail_conflict(r, S(""), st->resource, name,
			arena_printf(r->a, "the UID in the bound object reference (%.*s) does not match the UID in record. The object might have been deleted and then recreated",
				STR_ARG(uid)),
			err);
	}
	value_set_key(r->a, claim, pod ? S("pod") : secret ? S("secret") : S("node"), reference(r->a, o->root));
	if (!pod) {
		return true;
	}
	*ret_pod = true;
	if (!str_eq(value_str_at(o->root, N_spec, N_serviceAccountName), r->info.name)) {
		return err_set(err, ERR_BAD_REQUEST, "cannot bind token for serviceaccount \"%.*s\" to pod running with different serviceaccount name.",
			STR_ARG(r->info.name));
	}
	struct str on = value_str_at(o->root, N_spec, N_nodeName);
	if (on.len) {
		auto_obj struct obj *n = storage_get(storage_find(r->s, S(""), S("nodes")), S(""), on);
		struct value *ref_node = value_new_object(r->a);
		value_set_str(r->a, ref_node, N_name, on);
		if (n) {
			value_set_str(r->a, ref_node, N_uid, value_str_at(n->root, N_metadata, N_uid));
		}
		value_set_key(r->a, claim, S("node"), ref_node);
	}
	return true;
}

bool serve_token(struct req *r, struct answer *ret, struct err *err) {
	const struct schema_type *type = schema_kind_find(S("authentication.k8s.io"), S("v1"), S("TokenRequest"));
	struct value *o = NULL, *claims = value_new_object(r->a), *bound = value_new_object(r->a), *sa;
	bool pod = false;

	if (!body_decode(r, type, true, &o, err)) {
		return false;
	}
	auto_obj struct obj *account = storage_get(r->st, r->info.ns, r->info.name);
	if (!account) {
		return fail_not_found(r, S(""), S("serviceaccounts"), r->info.name, err);
	}
	struct value *spec = value_ensure_object(r->a, o, N_spec);
	if (!value_is(value_get(spec, N_expirationSeconds), VALUE_INT)) {
		value_set_int(r->a, spec, N_expirationSeconds, 3600);
	}
	struct str issuer = authn_issuer(r->s->authn);
	if (value_len(value_get(spec, N_audiences)) == 0) {
		value_push_str(r->a, value_ensure_array(r->a, spec, N_audiences), issuer);
	}
	if (!check(r, spec, err)) {
		return false;
	}
	sa = reference(r->a, account->root);
	value_set_key_str(r->a, bound, S("namespace"), r->info.ns);
	value_set_key(r->a, bound, S("serviceaccount"), sa);
	const struct value *ref = value_get(spec, N_boundObjectRef);
	if (value_is(ref, VALUE_OBJECT) && !bind(r, ref, bound, &pod, err)) {
		return false;
	}
	int64_t now = clock_wall() / NSEC_PER_SEC, seconds = value_int_at(spec, N_expirationSeconds), lasts = seconds;
	if (pod && seconds == SECONDS_WARN && str_eq(value_as_str(value_item(value_get(spec, N_audiences), 0)), issuer)) {
		lasts = SECONDS_EXTENDED;
		value_set_key(r->a, bound, S("warnafter"), value_new_int(r->a, now + seconds));
	}
	value_set_key(r->a, claims, S("aud"), value_get(spec, N_audiences));
	value_set_key(r->a, claims, S("exp"), value_new_int(r->a, now + lasts));
	value_set_key(r->a, claims, S("iat"), value_new_int(r->a, now));
	value_set_key_str(r->a, claims, S("iss"), issuer);
	value_set_key_str(r->a, claims, S("jti"), api_new_uid(r->a));
	value_set_key(r->a, claims, S("kubernetes.io"), bound);
	value_set_key(r->a, claims, S("nbf"), value_new_int(r->a, now));
	value_set_key_str(r->a, claims, S("sub"), arena_printf(r->a, "system:serviceaccount:%.*s:%.*s", STR_ARG(r->info.ns), STR_ARG(r->info.name)));

	struct str token;
	if (!authn_issue(r->s->authn, r->a, claims, &token, err)) {
		return false;
	}
	char text[TIME_TEXT_MAX];
	struct value *meta = value_ensure_object(r->a, o, N_metadata), *status = value_ensure_object(r->a, o, N_status);
	value_set_str(r->a, meta, N_name, r->info.name);
	value_set_str(r->a, meta, N_namespace, r->info.ns);
	value_set_str(r->a, meta, N_creationTimestamp, time_format(clock_wall(), text));
	value_set_str(r->a, status, N_token, token);
	value_set_str(r->a, status, N_expirationTimestamp, time_format((now + seconds) * NSEC_PER_SEC, text));
	if (!canonical(r, type, &o, err)) {
		return false;
	}
	ret->code = 201;
	ret->value = o;
	return true;
}
