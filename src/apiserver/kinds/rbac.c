/* SPDX-License-Identifier: Apache-2.0 */
/* rbac.c - Roles and bindings; escalation checks are the authoriser's. */
#include "apiserver/kinds/kinds_private.h"

static void rules(const struct value *o, bool cluster, struct causes *c) {
	size_t i = 0;
	VALUE_EACH(value_get(o, N_rules), r) {
		struct str p = path_index(c->arena, S("rules"), i++);
		size_t urls = value_len(value_get(r, N_nonResourceURLs));
		if (!value_len(value_get(r, N_verbs))) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "verbs"), NULL, "verbs must contain at least one value");
		}
		if (urls) {
			if (!cluster) {
				cause_add(c, CAUSE_INVALID, PATH(c, p, "nonResourceURLs"), value_get(r, N_nonResourceURLs), "namespaced rules cannot apply to non-resource URLs");
			}
			if (value_len(value_get(r, N_apiGroups)) || value_len(value_get(r, N_resources)) || value_len(value_get(r, N_resourceNames))) {
				cause_add(c, CAUSE_INVALID, PATH(c, p, "nonResourceURLs"), value_get(r, N_nonResourceURLs), "rules cannot apply to both regular resources and non-resource URLs");
			}
			continue;
		}
		if (!value_len(value_get(r, N_apiGroups))) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "apiGroups"), NULL, "resource rules must supply at least one api group");
		}
		if (!value_len(value_get(r, N_resources))) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "resources"), NULL, "resource rules must supply at least one resource");
		}
	}
}

static void role_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	rules(o, false, c);
}
static void cluster_role_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	rules(o, true, c);
}

static void binding(const struct value *o, bool cluster, struct causes *c) {
	static const struct str both[] = { S_INIT("ClusterRole"), S_INIT("Role") }, one[] = { S_INIT("ClusterRole") }, group[] = { S_INIT("rbac.authorization.k8s.io") };
	const struct value *ref = value_get(o, N_roleRef);
	size_t i = 0;
	must_be_one_of(c, value_get(ref, N_apiGroup), S("roleRef.apiGroup"), group, 1, true);
	must_be_one_of(c, value_get(ref, N_kind), S("roleRef.kind"), cluster ? one : both, cluster ? 1 : 2, true);
	must_have(c, value_get(ref, N_name), S("roleRef.name"));
	VALUE_EACH(value_get(o, N_subjects), s) {
		static const struct str kinds[] = { S_INIT("Group"), S_INIT("ServiceAccount"), S_INIT("User") };
		struct str p = path_index(c->arena, S("subjects"), i++);
		must_have(c, value_get(s, N_name), PATH(c, p, "name"));
		must_be_one_of(c, value_get(s, N_kind), PATH(c, p, "kind"), kinds, ARRAY_LEN(kinds), true);
		if (str_eq(value_str_at(s, N_kind), S("ServiceAccount")) && !value_str_at(s, N_namespace).len && cluster) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "namespace"), NULL, NULL);
		}
	}
}

static void role_binding_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	binding(o, false, c);
}
static void cluster_role_binding_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	binding(o, true, c);
}
static void binding_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	if (!value_eq(value_get(o, N_roleRef), value_get(old, N_roleRef))) {
		cause_add(c, CAUSE_INVALID, S("roleRef"), value_get(o, N_roleRef), "cannot change roleRef");
	}
}

#define RBAC(name) .group = S_INIT("rbac.authorization.k8s.io"), .resource = S_INIT(name), .name_rule = name_path_segment, .no_generation = true
const struct kind_ops role_ops = { RBAC("roles"), .validate = role_validate };
const struct kind_ops cluster_role_ops = { RBAC("clusterroles"), .validate = cluster_role_validate };
const struct kind_ops role_binding_ops = { RBAC("rolebindings"), .validate = role_binding_validate, .validate_update = binding_update };
const struct kind_ops cluster_role_binding_ops = { RBAC("clusterrolebindings"), .validate = cluster_role_binding_validate, .validate_update = binding_update };
