/* SPDX-License-Identifier: Apache-2.0 */
/* impersonate.c - Impersonate-* headers: a request as somebody else, by those who may. */
#include "apiserver/server.h"

static bool may_impersonate(struct req *r, struct str group, struct str resource, struct str sub, struct str ns, struct str name, struct err *err) {
	struct access q = { .user = r->user, .verb = S("impersonate"), .resource = true, .group = group, .version = S("v1"), .res = resource, .sub = sub,
		.ns = ns, .name = name };
	struct str reason = S("");

	return authorize(r->s, r->a, &q, &reason) == DECISION_ALLOW || fail_access(r, &q, reason, err);
}

bool impersonate(struct req *r, struct err *err) {
	const struct http_headers h = r->x->headers;
	const struct str group_header = S("Impersonate-Group"), extra_header = S("Impersonate-Extra-");
	struct str name = http_request_header(r->x, S("Impersonate-User")), uid = http_request_header(r->x, S("Impersonate-Uid"));
	struct user u = { .name = name };
	bool other = uid.len > 0;

	for (size_t i = 0; i < h.len; i++) {
		struct str n = h.at[i].name;
		bool extra = n.len > extra_header.len && str_case_eq(str_sub(n, 0, extra_header.len), extra_header);
		if (!extra && !str_case_eq(n, group_header)) {
			continue;
		}
		other = true;
		if (name.len == 0) {
			break;
		}
		if (!extra) {
			if (!may_impersonate(r, S(""), S("groups"), S(""), S(""), h.at[i].value, err)) {
				return false;
			}
			user_add_group(r->a, &u, h.at[i].value);
			continue;
		}
		struct str key = str_from(n, extra_header.len);
		char *low = arena_alloc(r->a, key.len + 1);
		for (size_t k = 0; k < key.len; k++) {
			low[k] = key.ptr[k] >= 'A' && key.ptr[k] <= 'Z' ? (char)(key.ptr[k] + 32) : key.ptr[k];
		}
		key = (struct str){ low, key.len };
		if (!url_unescape(r->a, key, false, &key)) {
			return err_set(err, ERR_BAD_REQUEST, "invalid URL escape in %.*s", STR_ARG(n));
		}
		if (!may_impersonate(r, S("authentication.k8s.io"), S("userextras"), key, S(""), h.at[i].value, err)) {
			return false;
		}
		struct value *all = u.extra ? (struct value *)u.extra : value_new_object(r->a);
		struct value *list = value_get_str(all, key);
		value_push_str(r->a, list ? list : value_set_key(r->a, all, key, value_new_array(r->a)), h.at[i].value);
		u.extra = all;
	}
	if (name.len == 0) {
		return !other || err_set(err, ERR_INTERNAL, "requested impersonation without a user name");
	}
	const struct str sa = S("system:serviceaccount:");
	if (str_starts(name, sa)) {
		struct str ns, account;
		if (!str_cut(str_from(name, sa.len), ':', &ns, &account)) {
			return err_set(err, ERR_BAD_REQUEST, "invalid service account user name \"%.*s\"", STR_ARG(name));
		}
		if (!may_impersonate(r, S(""), S("serviceaccounts"), S(""), ns, account, err)) {
			return false;
		}
		if (u.groups_len == 0) {
			struct user as = user_service_account(r->a, ns, account, S(""));
			u.groups = as.groups;
			u.groups_len = as.groups_len;
		}
	} else if (!may_impersonate(r, S(""), S("users"), S(""), S(""), name, err)) {
		return false;
	}
	if (uid.len && !may_impersonate(r, S("authentication.k8s.io"), S("uids"), S(""), S(""), uid, err)) {
		return false;
	}
	u.uid = uid;
	user_add_group(r->a, &u, str_eq(name, USER_ANONYMOUS) ? GROUP_UNAUTHENTICATED : GROUP_AUTHENTICATED);
	r->user = u;
	return true;
}
