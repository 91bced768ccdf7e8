/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_auth.c - who may use the kubelet API: client certificates of the cluster's CA, or tokens that the API
 * server knows; members of system:masters may do anything, others what a SubjectAccessReview on the node says.
 *
 * Answers of the API server are kept for a while. Handlers share the table under its one lock, which is not
 * held while the API is asked.
 * Source: Kubernetes "Kubelet authentication/authorization".
 */
#include <pthread.h>

#include "kubelet/server_int.h"
#include "net/digest.h"

#define KEEP_ALLOWED (300 * NSEC_PER_SEC)
#define KEEP_DENIED (30 * NSEC_PER_SEC)
#define KEEP_TOKEN (120 * NSEC_PER_SEC)
#define ENTRIES_MAX 1000

struct user {
	struct str name, uid;
	const struct str *groups;
	size_t groups_len;
};

struct kept {
	nsec_t until;
	bool allowed;
	struct arena arena;
	struct user user; /* of a token */
};

struct auth {
	struct kubelet *k;
	pthread_mutex_t lock;
	struct map at;
};

struct auth *auth_new(struct kubelet *k) {
	struct auth *a = xcalloc(1, sizeof(*a));

	a->k = k;
	pthread_mutex_init(&a->lock, NULL);
	return a;
}

static void kept_free(struct kept *k) {
	if (k) {
		arena_release(&k->arena);
		free(k);
	}
}

void auth_free(struct auth *a) {
	if (!a) {
		return;
	}
	MAP_EACH(&a->at, e) {
		kept_free(e->value);
	}
	map_release(&a->at);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static void user_copy(struct arena *a, const struct user *from, struct user *to) {
	struct str *groups = arena_array(a, struct str, from->groups_len);

	for (size_t i = 0; i < from->groups_len; i++) {
		groups[i] = arena_str(a, from->groups[i]);
	}
	*to = (struct user){ arena_str(a, from->name), arena_str(a, from->uid), groups, from->groups_len };
}

static bool recall(struct auth *au, struct str key, struct arena *a, bool *ret_allowed, struct user *ret_user) {
	bool found = false;

	pthread_mutex_lock(&au->lock);
	struct kept *k = map_get(&au->at, key);
	if (k && clock_mono() < k->until) {
		found = true;
		*ret_allowed = k->allowed;
		if (ret_user) {
			user_copy(a, &k->user, ret_user);
		}
	}
	pthread_mutex_unlock(&au->lock);
	return found;
}

static void remember(struct auth *au, struct str key, bool allowed, const struct user *user, nsec_t span) {
	struct kept *k = xcalloc(1, sizeof(*k));

	k->until = clock_mono() + span;
	k->allowed = allowed;
	if (user) {
		user_copy(&k->arena, user, &k->user);
	}
	pthread_mutex_lock(&au->lock);
	if (au->at.len >= ENTRIES_MAX) { /* rare: begin anew */
		MAP_EACH(&au->at, e) {
			kept_free(e->value);
		}
		map_release(&au->at);
		au->at = (struct map){ 0 };
	}
	kept_free(map_set(&au->at, key, k));
	pthread_mutex_unlock(&au->lock);
}

static bool token_review(struct auth *au, struct arena *a, struct str token, struct user *ret, struct err *err) {
	char hash[SHA256_HEX];
	auto_obj struct obj *answer = NULL;
	bool good = false;

	sha256_hex(token, hash);
	struct str key = arena_printf(a, "token/%s", hash);
	if (recall(au, key, a, &good, ret)) {
		return good || err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
	}
	struct value *body = value_new_object(a);
	value_set_str(a, body, N_apiVersion, S("authentication.k8s.io/v1"));
	value_set_str(a, body, N_kind, S("TokenReview"));
	value_set_str(a, value_ensure_object(a, body, N_spec), N_token, token);
	if (!client_create(au->k->o.client, GVR("authentication.k8s.io", "v1", "tokenreviews"), S(""), body, &answer, err)) {
		return false;
	}
	const struct value *status = value_get(answer->root, N_status), *u = value_get(status, N_user), *list = value_get(u, N_groups);
	struct str *groups = arena_array(a, struct str, value_len(list));
	size_t n = 0;
	VALUE_EACH(list, g) {
		groups[n++] = arena_str(a, value_as_str(g));
	}
	*ret = (struct user){ arena_str(a, value_str_at(u, N_username)), arena_str(a, value_str_at(u, N_uid)), groups, n };
	good = value_bool_at(status, N_authenticated);
	remember(au, key, good, ret, good ? KEEP_TOKEN : KEEP_DENIED / 3);
	return good || err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
}

static bool user_of(struct server *s, struct http_exchange *x, struct user *ret, struct err *err) {
	struct str header = http_request_header(x, S("Authorization"));

	if (x->peer_cert) {
		*ret = (struct user){ .name = x->peer_cert->common_name, .groups = x->peer_cert->organizations, .groups_len = x->peer_cert->organizations_len };
		return true;
	}
	if (header.len > 7 && str_case_eq(str_sub(header, 0, 7), S("Bearer "))) {
		return token_review(s->auth, &x->arena, str_trim(str_from(header, 7)), ret, err);
	}
	return err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
}

/* The subresource of nodes that a path belongs to. */
static struct str subresource_of(struct str path) {
	static const struct {
		const char *prefix, *sub;
	} rows[] = {
		{ "/stats", "stats" }, { "/metrics", "metrics" }, { "/logs", "log" }, { "/checkpoint", "checkpoint" },
		{ "/healthz", "healthz" }, { "/configz", "configz" }, { "/pods", "pods" }, { "/runningpods", "pods" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct str prefix = str_c(rows[i].prefix);
		if (str_starts(path, prefix) && (path.len == prefix.len || path.ptr[prefix.len] == '/')) {
			return str_c(rows[i].sub);
		}
	}
	return S("proxy");
}

static struct str verb_of(struct str method) {
	return str_eq(method, S("POST")) ? S("create") : str_eq(method, S("PUT")) ? S("update") : str_eq(method, S("PATCH")) ? S("patch")
		: str_eq(method, S("DELETE")) ? S("delete") : S("get");
}

static bool review(struct server *s, struct arena *a, const struct user *u, struct str verb, struct str sub, struct err *err) {
	auto_obj struct obj *answer = NULL;
	struct value *body = value_new_object(a), *spec, *attrs;

	value_set_str(a, body, N_apiVersion, S("authorization.k8s.io/v1"));
	value_set_str(a, body, N_kind, S("SubjectAccessReview"));
	spec = value_ensure_object(a, body, N_spec);
	value_set_str(a, spec, N_user, u->name);
	if (u->uid.len > 0) {
		value_set_str(a, spec, N_uid, u->uid);
	}
	struct value *groups = value_ensure_array(a, spec, N_groups);
	for (size_t i = 0; i < u->groups_len; i++) {
		value_push_str(a, groups, u->groups[i]);
	}
	attrs = value_ensure_object(a, spec, N_resourceAttributes);
	value_set_str(a, attrs, N_verb, verb);
	value_set_str(a, attrs, N_version, S("v1"));
	value_set_str(a, attrs, N_resource, S("nodes"));
	value_set_str(a, attrs, N_subresource, sub);
	value_set_str(a, attrs, N_name, str_c(s->k->o.node_name));
	if (!client_create(s->k->o.client, GVR("authorization.k8s.io", "v1", "subjectaccessreviews"), S(""), body, &answer, err)) {
		return false;
	}
	return value_bool_at(answer->root, N_status, N_allowed) || err_set(err, ERR_FORBIDDEN, "denied");
}

static bool may(struct server *s, struct http_exchange *x, const struct user *u, struct str verb, struct str sub, struct err *err) {
	struct arena *a = &x->arena;
	bool allowed = false;

	for (size_t i = 0; i < u->groups_len; i++) {
		if (str_eq(u->groups[i], S("system:masters"))) {
			return true;
		}
	}
	if (s->k->o.authorization_off) {
		return true;
	}
	struct str key = arena_printf(a, "may/%.*s/%.*s/%.*s/%.*s", STR_ARG(verb), STR_ARG(sub), STR_ARG(u->name),
		STR_ARG(arena_join(a, u->groups, u->groups_len, S(","))));
	if (recall(s->auth, key, a, &allowed, NULL)) {
		return allowed || err_set(err, ERR_FORBIDDEN, "denied");
	}
	allowed = review(s, a, u, verb, sub, err);
	if (allowed || err->code == ERR_FORBIDDEN) {
		remember(s->auth, key, allowed, NULL, allowed ? KEEP_ALLOWED : KEEP_DENIED);
	}
	return allowed;
}

bool kubelet_server_allow(struct server *s, struct http_exchange *x) {
	struct err err = { 0 };
	struct user u = { 0 };
	struct str verb = verb_of(x->method), sub = subresource_of(x->path);

	if (!user_of(s, x, &u, &err)) {
		http_reply(x, err.code == ERR_UNAUTHORIZED ? 401 : 500, S("text/plain; charset=utf-8"),
			err.code == ERR_UNAUTHORIZED ? S("Unauthorized") : str_c(err.msg));
		return false;
	}
	if (may(s, x, &u, verb, sub, &err)) {
		return true;
	}
	/* what is called "pods" or "healthz" may also be had by who has all of the API */
	if (!str_eq(sub, S("proxy")) && (str_eq(sub, S("pods")) || str_eq(sub, S("healthz")) || str_eq(sub, S("configz")))) {
		err_clear(&err);
		if (may(s, x, &u, verb, S("proxy"), &err)) {
			return true;
		}
	}
	kubelet_reply_error(x, err.code == ERR_FORBIDDEN ? 403 : 500, "Forbidden (user=%.*s, verb=%.*s, resource=nodes, subresource(s)=[%.*s])", STR_ARG(u.name),
		STR_ARG(verb), STR_ARG(sub));
	return false;
}
