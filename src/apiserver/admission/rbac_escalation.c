/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rbac_escalation.c - nobody grants what they do not hold: who writes a role must have each of its rules, or the verb escalate on it;
 * who writes a binding must have each rule of the role, or the verb bind on it. Upstream does this in the storage of its RBAC kinds.
 */
#include "apiserver/server.h"

#define RBAC S("rbac.authorization.k8s.io")
#define MISSING_MAX 10 /* named in the refusal */

static bool has(const struct value *list, struct str text) {
	VALUE_EACH(list, v) {
		if (str_eq(value_as_str(v), text) || str_eq(value_as_str(v), S("*"))) {
			return true;
		}
	}
	return false;
}

static bool has_resource(const struct value *list, struct str want) {
	ptrdiff_t slash = str_index(want, '/');

	VALUE_EACH(list, v) {
		struct str t = value_as_str(v);
		if (str_eq(t, want) || str_eq(t, S("*"))) {
			return true;
		}
		if (slash > 0 && str_starts(t, S("*/")) && str_eq(str_from(t, 2), str_from(want, (size_t)slash + 1))) {
			return true;
		}
	}
	return false;
}

static bool has_path(const struct value *list, struct str want) {
	VALUE_EACH(list, v) {
		struct str t = value_as_str(v);
		if (str_eq(t, want) || str_eq(t, S("*")) || (t.len && t.ptr[t.len - 1] == '*' && str_starts(want, str_sub(t, 0, t.len - 1)))) {
			return true;
		}
	}
	return false;
}

/* One indivisible right: an empty name stands for all names. */
struct right {
	struct str verb, group, resource, name, path;
};

static bool covers(const struct value *held, const struct right *q) {
	VALUE_EACH(held, rule) {
		if (!has(value_get(rule, N_verbs), q->verb)) {
			continue;
		}
		if (q->path.len) {
			if (has_path(value_get(rule, N_nonResourceURLs), q->path)) {
				return true;
			}
			continue;
		}
		const struct value *names = value_get(rule, N_resourceNames);
		bool named = value_len(names) == 0 || (q->name.len && has(names, q->name));
		if (named && has(value_get(rule, N_apiGroups), q->group) && has_resource(value_get(rule, N_resources), q->resource)) {
			return true;
		}
	}
	return false;
}

static struct str right_text(struct arena *a, const struct right *q) {
	if (q->path.len) {
		return arena_printf(a, "{NonResourceURLs:[\"%.*s\"], Verbs:[\"%.*s\"]}", STR_ARG(q->path), STR_ARG(q->verb));
	}
	if (q->name.len) {
		return arena_printf(a, "{APIGroups:[\"%.*s\"], Resources:[\"%.*s\"], ResourceNames:[\"%.*s\"], Verbs:[\"%.*s\"]}", STR_ARG(q->group),
			STR_ARG(q->resource), STR_ARG(q->name), STR_ARG(q->verb));
	}
	return arena_printf(a, "{APIGroups:[\"%.*s\"], Resources:[\"%.*s\"], Verbs:[\"%.*s\"]}", STR_ARG(q->group), STR_ARG(q->resource), STR_ARG(q->verb));
}

struct lack {
	struct arena *a;
	const struct value *resource_rules, *path_rules; /* what the user holds */
	struct str texts[MISSING_MAX];
	size_t len;
};

static void look(struct lack *l, const struct right *q) {
	if (!covers(q->path.len ? l->path_rules : l->resource_rules, q) && l->len < MISSING_MAX) {
		l->texts[l->len++] = right_text(l->a, q);
	}
}

static void look_rule(struct lack *l, const struct value *rule) {
	struct value *all = value_new_array(l->a);
	const struct value *names = value_get(rule, N_resourceNames);

	value_push_str(l->a, all, S(""));
	if (value_len(names) == 0) {
		names = all;
	}
	VALUE_EACH(value_get(rule, N_verbs), v) {
		VALUE_EACH(value_get(rule, N_nonResourceURLs), p) {
			look(l, &(struct right){ .verb = value_as_str(v), .path = value_as_str(p) });
		}
		VALUE_EACH(value_get(rule, N_apiGroups), g) {
			VALUE_EACH(value_get(rule, N_resources), res) {
				VALUE_EACH(names, n) {
					look(l, &(struct right){ .verb = value_as_str(v), .group = value_as_str(g), .resource = value_as_str(res),
								.name = value_as_str(n) });
				}
			}
		}
	}
}

/* Does the user hold every one of `rules` in `ns` (empty: everywhere)? */
static bool check_rules(struct admission *ad, struct str ns, const struct value *rules, struct err *err) {
	struct req *r = ad->r;
	struct value *held = rbac_rules_for(r->s->authz, r->a, &r->user, ns);
	struct lack l = { .a = r->a, .resource_rules = value_get(held, N_resourceRules), .path_rules = value_get(held, N_nonResourceRules) };

	VALUE_EACH(rules, rule) {
		look_rule(&l, rule);
	}
	if (l.len == 0) {
		return true;
	}
	struct value *groups = value_new_array(r->a);
	for (size_t i = 0; i < r->user.groups_len; i++) {
		value_push_str(r->a, groups, r->user.groups[i]);
	}
	struct str missing = arena_join(r->a, l.texts, l.len, S("\n")), group_text = json_text(r->a, groups);
	return fail_forbidden(r, ad->group, ad->resource, ad->name,
		arena_printf(r->a, "user \"%.*s\" (groups=%.*s) is attempting to grant RBAC permissions not currently held:\n%.*s", STR_ARG(r->user.name),
			STR_ARG(group_text), STR_ARG(missing)),
		err);
}

static bool may(struct admission *ad, const char *verb, struct str resource, struct str ns, struct str name) {
	struct str reason;
	struct access q = { .user = ad->r->user, .verb = str_c(verb), .resource = true, .group = RBAC, .version = S("v1"), .res = resource, .ns = ns, .name = name };

	return authorize(ad->r->s, ad->r->a, &q, &reason) == DECISION_ALLOW;
}

static bool check_role(struct admission *ad, struct err *err) {
	const struct value *rules = value_get(ad->object, N_rules), *aggregation = value_get(ad->object, N_aggregationRule);

	if (ad->old && value_eq(rules, value_get(ad->old, N_rules)) && value_eq(aggregation, value_get(ad->old, N_aggregationRule))) {
		return true;
	}
	if (may(ad, "escalate", ad->resource, ad->ns, ad->name)) {
		return true;
	}
	if (value_is(aggregation, VALUE_OBJECT)) {
		struct value *everything = value_new_array(ad->r->a), *rule;
		static const uint16_t members[] = { N_verbs, N_apiGroups, N_resources };
		rule = value_push(ad->r->a, everything, value_new_object(ad->r->a));
		for (size_t i = 0; i < ARRAY_LEN(members); i++) {
			value_push_str(ad->r->a, value_ensure_array(ad->r->a, rule, members[i]), S("*"));
		}
		struct err why = { 0 };
		if (!check_rules(ad, S(""), everything, &why)) {
			return fail_forbidden(ad->r, ad->group, ad->resource, ad->name, S("must have cluster-admin privileges to use the aggregationRule"), err);
		}
	}
	return check_rules(ad, ad->ns, rules, err);
}

static bool check_binding(struct admission *ad, struct err *err) {
	const struct value *ref = value_get(ad->object, N_roleRef);
	struct str kind = value_str_at(ref, N_kind), name = value_str_at(ref, N_name);
	bool cluster = str_eq(kind, S("ClusterRole"));

	if (ad->old && value_eq(ref, value_get(ad->old, N_roleRef)) && value_eq(value_get(ad->object, N_subjects), value_get(ad->old, N_subjects))) {
		return true;
	}
	if (may(ad, "bind", cluster ? S("clusterroles") : S("roles"), ad->ns, name)) {
		return true;
	}
	struct storage *st = storage_find(ad->r->s, RBAC, cluster ? S("clusterroles") : S("roles"));
	auto_obj struct obj *role = storage_get(st, cluster ? S("") : ad->ns, name);
	if (!role) {
		return fail_not_found(ad->r, RBAC, st->resource, name, err);
	}
	return check_rules(ad, ad->ns, value_get(role->root, N_rules), err);
}

static bool validate(struct admission *ad, struct err *err) {
	if (!str_eq(ad->group, RBAC) || user_in_group(&ad->r->user, GROUP_MASTERS) || strcmp(ad->r->s->opts.authorization_mode, "AlwaysAllow") == 0) {
		return true;
	}
	if (str_eq(ad->resource, S("roles")) || str_eq(ad->resource, S("clusterroles"))) {
		return check_role(ad, err);
	}
	return check_binding(ad, err);
}

const struct admission_plugin admit_rbac_escalation = { "RBACEscalation", ADMIT_CREATE | ADMIT_UPDATE, NULL, validate };
