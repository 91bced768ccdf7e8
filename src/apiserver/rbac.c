/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rbac.c - role-based access control. Bindings are kept in an index by subject that is made anew when a binding has changed; roles are
 * read from the watch cache when a binding leads to them. Any thread.
 */
#include "apiserver/server.h"

#include "base/map.h"

struct rbac_binding {
	struct obj *obj; /* one reference */
	bool cluster;
};
typedef VEC(uint32_t) binding_list; /* into index->bindings */
struct rbac_index {
	uint32_t refs; /* atomic */
	uint64_t cluster_head, ns_head; /* positions of the caches when it was made */
	VEC(struct rbac_binding) bindings;
	struct map by_subject; /* "U:name", "G:group", "S:ns:name" -> binding_list * */
};

struct authz {
	struct apiserver *s;
	struct storage *roles, *cluster_roles, *bindings, *cluster_bindings;
	pthread_mutex_t lock; /* guards index */
	struct rbac_index *index;
};

#define RBAC_GROUP S("rbac.authorization.k8s.io")

struct authz *authz_new(struct apiserver *s) {
	struct authz *z = xcalloc(1, sizeof(*z));

	z->s = s;
	z->roles = storage_find(s, RBAC_GROUP, S("roles"));
	z->cluster_roles = storage_find(s, RBAC_GROUP, S("clusterroles"));
	z->bindings = storage_find(s, RBAC_GROUP, S("rolebindings"));
	z->cluster_bindings = storage_find(s, RBAC_GROUP, S("clusterrolebindings"));
	pthread_mutex_init(&z->lock, NULL);
	return z;
}

static void index_unref(struct rbac_index *x) {
	if (!x || __atomic_sub_fetch(&x->refs, 1, __ATOMIC_ACQ_REL)) {
		return;
	}
	VEC_EACH(&x->bindings, b) {
		obj_unref(b->obj);
	}
	VEC_RELEASE(&x->bindings);
	MAP_EACH(&x->by_subject, e) {
		binding_list *l = e->value;
		VEC_RELEASE(l);
		free(l);
	}
	map_release(&x->by_subject);
	free(x);
}

void authz_free(struct authz *z) {
	if (z) {
		index_unref(z->index);
		pthread_mutex_destroy(&z->lock);
		free(z);
	}
}

/* ---- the index ------------------------------------------------------------------------------------- */

static void index_subject(struct rbac_index *x, struct str key, uint32_t at) {
	binding_list *l = map_get(&x->by_subject, key);

	if (!l) {
		l = xcalloc(1, sizeof(*l));
		map_set(&x->by_subject, key, l);
	}
	if (l->len == 0 || l->at[l->len - 1] != at) {
		VEC_PUSH(l, at);
	}
}

static void index_bindings(struct rbac_index *x, struct storage *st, bool cluster, uint64_t *ret_head) {
	auto_arena struct arena a = { 0 };
	struct snapshot snap;
	struct tree_iter it;

	cache_snapshot(st->cache, &snap);
	*ret_head = snap.position;
	tree_seek(&it, snap.root, S(""));
	for (struct tree_item *i; (i = tree_next(&it));) {
		uint32_t at = (uint32_t)x->bindings.len;
		VEC_PUSH(&x->bindings, ((struct rbac_binding){ .obj = obj_ref(i->obj), .cluster = cluster }));
		VALUE_EACH(value_get(i->obj->root, N_subjects), s) {
			struct str kind = value_str_at(s, N_kind), name = value_str_at(s, N_name), ns = value_str_at(s, N_namespace);
			if (str_eq(kind, S("ServiceAccount"))) {
				if (ns.len == 0) {
					ns = value_str_at(i->obj->root, N_metadata, N_namespace);
				}
				index_subject(x, arena_printf(&a, "U:system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(name)), at);
			} else {
				index_subject(x, arena_printf(&a, "%c:%.*s", str_eq(kind, S("Group")) ? 'G' : 'U', STR_ARG(name)), at);
			}
		}
	}
	snapshot_release(&snap);
}

/* The current index, with a reference. */
static struct rbac_index *index_get(struct authz *z) {
	uint64_t cluster_head = cache_head(z->cluster_bindings->cache), ns_head = cache_head(z->bindings->cache);

	pthread_mutex_lock(&z->lock);
	struct rbac_index *x = z->index;
	if (x && x->cluster_head >= cluster_head && x->ns_head >= ns_head) {
		__atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&z->lock);
		return x;
	}
	x = xcalloc(1, sizeof(*x));
	x->refs = 2;
	index_bindings(x, z->cluster_bindings, true, &x->cluster_head);
	index_bindings(x, z->bindings, false, &x->ns_head);
	struct rbac_index *old = z->index;
	z->index = x;
	pthread_mutex_unlock(&z->lock);
	index_unref(old);
	return x;
}

/* ---- rules ----------------------------------------------------------------------------------------- */

static bool list_has(const struct value *list, struct str text) {
	VALUE_EACH(list, v) {
		struct str t = value_as_str(v);
		if (str_eq(t, text) || str_eq(t, S("*"))) {
			return true;
		}
	}
	return false;
}

static bool resource_matches(const struct value *list, struct str res, struct str sub) {
	VALUE_EACH(list, v) {
		struct str t = value_as_str(v);
		if (str_eq(t, S("*"))) {
			return true;
		}
		if (sub.len == 0) {
			if (str_eq(t, res)) {
				return true;
			}
			continue;
		}
		ptrdiff_t slash = str_index(t, '/');
		if (slash > 0 && str_eq(str_from(t, (size_t)slash + 1), sub)) {
			struct str head = str_sub(t, 0, (size_t)slash);
			if (str_eq(head, res) || str_eq(head, S("*"))) {
				return true;
			}
		}
	}
	return false;
}

static bool path_matches(const struct value *list, struct str path) {
	VALUE_EACH(list, v) {
		struct str t = value_as_str(v);
		if (str_eq(t, S("*")) || str_eq(t, path)) {
			return true;
		}
		if (t.len && t.ptr[t.len - 1] == '*' && str_starts(path, str_sub(t, 0, t.len - 1))) {
			return true;
		}
	}
	return false;
}

static bool name_matches(const struct value *list, struct str name) {
	if (value_len(list) == 0) {
		return true;
	}
	VALUE_EACH(list, v) {
		if (str_eq(value_as_str(v), name)) {
			return true;
		}
	}
	return false;
}

static bool rule_allows(const struct value *rule, const struct access *q) {
	if (!list_has(value_get(rule, N_verbs), q->verb)) {
		return false;
	}
	if (!q->resource) {
		return path_matches(value_get(rule, N_nonResourceURLs), q->path);
	}
	return list_has(value_get(rule, N_apiGroups), q->group) && resource_matches(value_get(rule, N_resources), q->res, q->sub) &&
		name_matches(value_get(rule, N_resourceNames), q->name);
}

/* The role that a binding leads to; NULL when it does not exist. */
static struct obj *role_of(struct authz *z, const struct rbac_binding *b) {
	struct str kind = value_str_at(b->obj->root, N_roleRef, N_kind), name = value_str_at(b->obj->root, N_roleRef, N_name);

	if (str_eq(kind, S("ClusterRole"))) {
		return storage_get(z->cluster_roles, S(""), name);
	}
	return b->cluster ? NULL : storage_get(z->roles, value_str_at(b->obj->root, N_metadata, N_namespace), name);
}

/* Calls visit for each role that holds for the user in `ns`; true from visit ends it. */
struct role_visit {
	bool (*visit)(struct role_visit *v, const struct rbac_binding *b, const struct value *role, struct str subject);
	struct arena *a;
	const struct access *q;
	struct str reason, missing;
	struct value *resource_rules, *path_rules;
};

static bool visit_subject(struct authz *z, struct rbac_index *x, struct str key, struct str ns, struct role_visit *v) {
	binding_list *l = map_get(&x->by_subject, key);

	for (size_t i = 0; l && i < l->len; i++) {
		const struct rbac_binding *b = &x->bindings.at[l->at[i]];
		if (!b->cluster && !(ns.len && str_eq(value_str_at(b->obj->root, N_metadata, N_namespace), ns))) {
			continue;
		}
		auto_obj struct obj *role = role_of(z, b);
		if (!role) {
			struct str name = value_str_at(b->obj->root, N_roleRef, N_name);
			bool cluster = str_eq(value_str_at(b->obj->root, N_roleRef, N_kind), S("ClusterRole"));
			struct str one = arena_printf(v->a, "%s.rbac.authorization.k8s.io \"%.*s\" not found", cluster ? "clusterrole" : "role", STR_ARG(name));
			v->missing = v->missing.len ? arena_printf(v->a, "%.*s, %.*s", STR_ARG(v->missing), STR_ARG(one)) : one;
			continue;
		}
		if (v->visit(v, b, role->root, key)) {
			return true;
		}
	}
	return false;
}

static bool visit_roles(struct authz *z, const struct user *u, struct str ns, struct role_visit *v) {
	struct rbac_index *x = index_get(z);
	bool done = visit_subject(z, x, arena_printf(v->a, "U:%.*s", STR_ARG(u->name)), ns, v);

	for (size_t i = 0; i < u->groups_len && !done; i++) {
		done = visit_subject(z, x, arena_printf(v->a, "G:%.*s", STR_ARG(u->groups[i])), ns, v);
	}
	index_unref(x);
	return done;
}

static bool allow_visit(struct role_visit *v, const struct rbac_binding *b, const struct value *role, struct str subject) {
	VALUE_EACH(value_get(role, N_rules), rule) {
		if (rule_allows(rule, v->q)) {
			struct str name = value_str_at(b->obj->root, N_metadata, N_name), ns = value_str_at(b->obj->root, N_metadata, N_namespace);
			struct str rk = value_str_at(b->obj->root, N_roleRef, N_kind), rn = value_str_at(b->obj->root, N_roleRef, N_name);
			struct str who = str_from(subject, 2);
			const char *kind = subject.ptr[0] == 'G' ? "Group" : str_starts(who, S("system:serviceaccount:")) ? "ServiceAccount" : "User";
			if (*kind == 'S') { /* "name/ns", as upstream says it */
				struct str sa_ns, sa_name;
				str_cut(str_from(who, sizeof("system:serviceaccount:") - 1), ':', &sa_ns, &sa_name);
				who = arena_printf(v->a, "%.*s/%.*s", STR_ARG(sa_name), STR_ARG(sa_ns));
			}
			struct str which = b->cluster ? name : arena_printf(v->a, "%.*s/%.*s", STR_ARG(name), STR_ARG(ns));
			v->reason = arena_printf(v->a, "RBAC: allowed by %s \"%.*s\" of %.*s \"%.*s\" to %s \"%.*s\"", b->cluster ? "ClusterRoleBinding" : "RoleBinding",
				STR_ARG(which), STR_ARG(rk), STR_ARG(rn), kind, STR_ARG(who));
			return true;
		}
	}
	return false;
}

enum decision rbac_authorize(struct authz *z, struct arena *a, const struct access *q, struct str *ret_reason) {
	struct role_visit v = { .visit = allow_visit, .a = a, .q = q, .reason = S(""), .missing = S("") };

	if (visit_roles(z, &q->user, q->resource ? q->ns : S(""), &v)) {
		*ret_reason = v.reason;
		return DECISION_ALLOW;
	}
	*ret_reason = v.missing.len ? arena_printf(a, v.missing.len && str_find(v.missing, S(", ")) > 0 ? "RBAC: [%.*s]" : "RBAC: %.*s", STR_ARG(v.missing))
				    : S("");
	return DECISION_NO_OPINION;
}

static bool rules_visit(struct role_visit *v, const struct rbac_binding *b, const struct value *role, struct str subject) {
	VALUE_EACH(value_get(role, N_rules), rule) {
		struct value *out = value_push(v->a, value_len(value_get(rule, N_nonResourceURLs)) ? v->path_rules : v->resource_rules, value_new_object(v->a));
		static const uint16_t names[] = { N_verbs, N_apiGroups, N_resources, N_resourceNames, N_nonResourceURLs };
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			const struct value *m = value_get(rule, names[i]);
			if (m) {
				value_set(v->a, out, names[i], value_copy(v->a, m));
			}
		}
	}
	return false;
}

struct value *rbac_rules_for(struct authz *z, struct arena *a, const struct user *u, struct str ns) {
	struct role_visit v = { .visit = rules_visit, .a = a, .resource_rules = value_new_array(a), .path_rules = value_new_array(a), .missing = S("") };
	struct value *status = value_new_object(a);

	(void)visit_roles(z, u, ns, &v);
	value_set(a, status, N_resourceRules, v.resource_rules);
	value_set(a, status, N_nonResourceRules, v.path_rules);
	value_set_bool(a, status, N_incomplete, false);
	return status;
}

/* ---- all authorisers together -------------------------------------------------------------------------- */

enum decision authorize(struct apiserver *s, struct arena *a, const struct access *q, struct str *ret_reason) {
	struct str mode = str_c(s->opts.authorization_mode), one;

	*ret_reason = S("");
	if (user_in_group(&q->user, GROUP_MASTERS)) {
		return DECISION_ALLOW;
	}
	/* Health is everybody's business, as upstream's --authorization-always-allow-paths. */
	if (!q->resource && (str_eq(q->path, S("/healthz")) || str_eq(q->path, S("/readyz")) || str_eq(q->path, S("/livez")))) {
		return DECISION_ALLOW;
	}
	while (str_next(&mode, ',', &one)) {
		enum decision d = DECISION_NO_OPINION;
		struct str reason = S("");
		if (str_eq(one, S("AlwaysAllow"))) {
			d = DECISION_ALLOW;
		} else if (str_eq(one, S("AlwaysDeny"))) {
			reason = S("Everything is forbidden.");
		} else if (str_eq(one, S("RBAC"))) {
			d = rbac_authorize(s->authz, a, q, &reason);
		} else if (str_eq(one, S("Node"))) {
			d = node_authorize(s, a, q, &reason);
		}
		if (reason.len) {
			*ret_reason = ret_reason->len && d == DECISION_NO_OPINION ? arena_printf(a, "%.*s\n%.*s", STR_ARG(*ret_reason), STR_ARG(reason)) : reason;
		}
		if (d != DECISION_NO_OPINION) {
			return d;
		}
	}
	return DECISION_NO_OPINION;
}

bool fail_access(struct req *r, const struct access *q, struct str reason, struct err *err) {
	struct str why;

	if (!q->resource) {
		why = arena_printf(r->a, "User \"%.*s\" cannot %.*s path \"%.*s\"", STR_ARG(q->user.name), STR_ARG(q->verb), STR_ARG(q->path));
	} else {
		struct str res = q->sub.len ? arena_printf(r->a, "%.*s/%.*s", STR_ARG(q->res), STR_ARG(q->sub)) : q->res;
		why = arena_printf(r->a, "User \"%.*s\" cannot %.*s resource \"%.*s\" in API group \"%.*s\"", STR_ARG(q->user.name), STR_ARG(q->verb), STR_ARG(res),
			STR_ARG(q->group));
		why = q->ns.len ? arena_printf(r->a, "%.*s in the namespace \"%.*s\"", STR_ARG(why), STR_ARG(q->ns))
				: arena_printf(r->a, "%.*s at the cluster scope", STR_ARG(why));
	}
	if (reason.len) {
		why = arena_printf(r->a, "%.*s: %.*s", STR_ARG(why), STR_ARG(reason));
	}
	return fail_forbidden(r, q->group, q->resource ? q->res : S(""), q->resource ? q->name : S(""), why, err);
}
