/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authn.c - who sent a request: a client certificate, a bearer token (service account, bootstrap, static) or nobody. Runs on
 * the request's thread; the static tokens and keys are read once at start.
 */
#include "apiserver/server.h"

#include "base/file.h"
#include "base/log.h"

struct static_token {
	struct str token;
	struct user user;
};

struct authn {
	struct apiserver *s;
	struct jwt_key *sa_key;
	struct str issuer;
	struct arena arena; /* of the static tokens */
	VEC(struct static_token) tokens;
};

bool user_in_group(const struct user *u, struct str group) {
	for (size_t i = 0; i < u->groups_len; i++) {
		if (str_eq(u->groups[i], group)) {
			return true;
		}
	}
	return false;
}

void user_add_group(struct arena *a, struct user *u, struct str group) {
	if (user_in_group(u, group)) {
		return;
	}
	struct str *more = arena_array(a, struct str, u->groups_len + 1);
	if (u->groups_len) {
		memcpy(more, u->groups, u->groups_len * sizeof(*more));
	}
	more[u->groups_len++] = group;
	u->groups = more;
}

/* ---- static tokens: token,user,uid,"group1,group2" ------------------------------------------------ */

/* Takes one CSV field off *rest; quotes may hold commas and doubled quotes. */
static struct str csv_field(struct arena *a, struct str *rest) {
	if (rest->len == 0 || rest->ptr[0] != '"') {
		struct str f;
		str_cut(*rest, ',', &f, rest);
		return str_trim(f);
	}
	char *out = arena_alloc(a, rest->len);
	size_t n = 0, i = 1;
	for (; i < rest->len; i++) {
		if (rest->ptr[i] == '"') {
			if (i + 1 < rest->len && rest->ptr[i + 1] == '"') {
				i++;
			} else {
				break;
			}
		}
		out[n++] = rest->ptr[i];
	}
	struct str skipped;
	str_cut(str_from(*rest, i + 1), ',', &skipped, rest);
	return (struct str){ out, n };
}

static bool read_tokens(struct authn *n, const char *path, struct err *err) {
	auto_buf struct buf b = BUF_INIT((size_t)4 << 20);
	int number = 0;

	if (!file_read(path, &b, err)) {
		return false;
	}
	struct str rest = arena_str(&n->arena, buf_view(&b)), line, group;
	while (str_next(&rest, '\n', &line)) {
		number++;
		line = str_trim(line);
		if (line.len == 0 || line.ptr[0] == '#') {
			continue;
		}
		struct static_token t = { .token = csv_field(&n->arena, &line) };
		t.user.name = csv_field(&n->arena, &line);
		t.user.uid = csv_field(&n->arena, &line);
		struct str groups = csv_field(&n->arena, &line);
		if (t.token.len == 0 || t.user.name.len == 0) {
			return err_set(err, ERR_INVALID, "%s line %d: token file must have at least token and user name", path, number);
		}
		while (groups.len && str_next(&groups, ',', &group)) {
			user_add_group(&n->arena, &t.user, str_trim(group));
		}
		VEC_PUSH(&n->tokens, t);
	}
	return true;
}

bool authn_new(struct apiserver *s, struct authn **ret, struct err *err) {
	struct authn *n = xcalloc(1, sizeof(*n));

	n->s = s;
	n->issuer = str_c(s->opts.sa_issuer);
	*ret = n;
	if (s->opts.sa_key_file) {
		auto_buf struct buf b = BUF_INIT((size_t)1 << 20);
		if (!file_read(s->opts.sa_key_file, &b, err) || !jwt_key_new(buf_view(&b), &n->sa_key, err)) {
			return err_wrap(err, "service account key %s", s->opts.sa_key_file);
		}
	}
	return !s->opts.token_file || read_tokens(n, s->opts.token_file, err);
}

void authn_free(struct authn *n) {
	if (!n) {
		return;
	}
	jwt_key_free(n->sa_key);
	VEC_RELEASE(&n->tokens);
	arena_release(&n->arena);
	free(n);
}

struct str authn_jwks(struct authn *n, struct arena *a) {
	if (!n->sa_key) {
		return S("{\"keys\":[]}");
	}
	struct str jwk = jwt_key_jwk(n->sa_key, a);
	return arena_printf(a, "{\"keys\":[%.*s]}", STR_ARG(jwk));
}

struct str authn_issuer(struct authn *n) {
	return n->issuer;
}

/* ---- service accounts ------------------------------------------------------------------------------ */

struct user user_service_account(struct arena *a, struct str ns, struct str name, struct str uid) {
	struct user u = { .name = arena_printf(a, "system:serviceaccount:%.*s:%.*s", STR_ARG(ns), STR_ARG(name)), .uid = uid };

	user_add_group(a, &u, S("system:serviceaccounts"));
	user_add_group(a, &u, arena_printf(a, "system:serviceaccounts:%.*s", STR_ARG(ns)));
	return u;
}

static void add_extra(struct arena *a, struct user *u, struct str key, struct str text) {
	struct value *extra = u->extra ? (struct value *)u->extra : value_new_object(a);

	value_push_str(a, value_set_key(a, extra, key, value_new_array(a)), text);
	u->extra = extra;
}

/* Does the object that the token is bound to still exist, the same one? */
static bool still_there(struct apiserver *s, const char *resource, struct str ns, const struct value *ref, struct obj **ret) {
	struct storage *st = storage_find(s, S(""), str_c(resource));
	struct obj *o = storage_get(st, ns, value_as_str(value_get(ref, N_name)));
	struct str uid = value_as_str(value_get(ref, N_uid));

	if (!o || (uid.len && !str_eq(uid, value_str_at(o->root, N_metadata, N_uid)))) {
		obj_unref(o);
		return false;
	}
	if (ret) {
		*ret = o;
	} else {
		obj_unref(o);
	}
	return true;
}

static bool check_times(const struct value *claims, struct err *err) {
	nsec_t now = clock_wall();
	const struct value *exp = value_get_str(claims, S("exp")), *nbf = value_get_str(claims, S("nbf"));

	if (exp && now > value_as_int(exp) * NSEC_PER_SEC) {
		return err_set(err, ERR_UNAUTHORIZED, "service account token has expired");
	}
	if (nbf && now + 60 * NSEC_PER_SEC < value_as_int(nbf) * NSEC_PER_SEC) {
		return err_set(err, ERR_UNAUTHORIZED, "service account token is not valid yet");
	}
	return true;
}

static bool has_text(const struct value *list, struct str text) {
	if (value_is(list, VALUE_STRING)) {
		return str_eq(value_as_str(list), text);
	}
	VALUE_EACH(list, v) {
		if (str_eq(value_as_str(v), text)) {
			return true;
		}
	}
	return false;
}

static bool check_audience(struct authn *n, const struct value *claims, const struct value *wanted, struct arena *a, struct value **ret, struct err *err) {
	const struct value *aud = value_get_str(claims, S("aud"));
	struct value *both = value_new_array(a), *own = value_new_array(a);

	value_push_str(a, own, n->issuer);
	if (value_len(wanted) == 0) {
		wanted = own;
	}
	VALUE_EACH(wanted, w) {
		if (has_text(aud, value_as_str(w))) {
			value_push_str(a, both, value_as_str(w));
		}
	}
	if (value_len(both) == 0) {
		struct str is = json_text(a, aud), want = json_text(a, wanted);
		return err_set(err, ERR_UNAUTHORIZED, "token audiences %.*s is invalid for the target audiences %.*s", STR_ARG(is), STR_ARG(want));
	}
	if (ret) {
		*ret = both;
	}
	return true;
}

static bool service_account(struct authn *n, struct str token, const struct value *audiences, struct arena *a, struct user *ret, struct value **ret_audiences,
	struct err *err) {
	struct str text;
	struct value *claims = NULL;

	if (!jwt_verify(&n->sa_key, 1, token, a, &text, err)) {
		return false;
	}
	if (!json_parse(a, text, NULL, &claims, err)) {
		return err_set(err, ERR_UNAUTHORIZED, "token claims are not JSON");
	}
	if (!str_eq(value_as_str(value_get_str(claims, S("iss"))), n->issuer)) {
		return err_set(err, ERR_UNAUTHORIZED, "token issuer does not match");
	}
	if (!check_times(claims, err) || !check_audience(n, claims, audiences, a, ret_audiences, err)) {
		return false;
	}
	const struct value *bound = value_get_str(claims, S("kubernetes.io"));
	const struct value *sa = value_get_str(bound, S("serviceaccount")), *pod = value_get_str(bound, S("pod")), *node = value_get_str(bound, S("node")),
			   *secret = value_get_str(bound, S("secret"));
	struct str ns = value_as_str(value_get_str(bound, S("namespace"))), name = value_as_str(value_get(sa, N_name));
	struct obj *o = NULL;
	if (!still_there(n->s, "serviceaccounts", ns, sa, &o)) {
		return err_set(err, ERR_UNAUTHORIZED, "service account %.*s/%.*s has been deleted", STR_ARG(ns), STR_ARG(name));
	}
	struct user u = user_service_account(a, arena_str(a, ns), name, arena_str(a, value_str_at(o->root, N_metadata, N_uid)));
	obj_unref(o);
	struct str jti = value_as_str(value_get_str(claims, S("jti")));
	if (pod) {
		if (!still_there(n->s, "pods", ns, pod, NULL)) {
			return err_set(err, ERR_UNAUTHORIZED, "service account token has been invalidated: pod is gone");
		}
		add_extra(a, &u, S("authentication.kubernetes.io/pod-name"), value_as_str(value_get(pod, N_name)));
		add_extra(a, &u, S("authentication.kubernetes.io/pod-uid"), value_as_str(value_get(pod, N_uid)));
	}
	if (node) {
		if (!pod && !still_there(n->s, "nodes", S(""), node, NULL)) {
			return err_set(err, ERR_UNAUTHORIZED, "service account token has been invalidated: node is gone");
		}
		add_extra(a, &u, S("authentication.kubernetes.io/node-name"), value_as_str(value_get(node, N_name)));
		if (value_as_str(value_get(node, N_uid)).len) {
			add_extra(a, &u, S("authentication.kubernetes.io/node-uid"), value_as_str(value_get(node, N_uid)));
		}
	}
	if (secret && !still_there(n->s, "secrets", ns, secret, NULL)) {
		return err_set(err, ERR_UNAUTHORIZED, "service account token has been invalidated: secret is gone");
	}
	if (jti.len) {
		add_extra(a, &u, S("authentication.kubernetes.io/credential-id"), arena_printf(a, "JTI=%.*s", STR_ARG(jti)));
	}
	*ret = u;
	return true;
}

bool authn_issue(struct authn *n, struct arena *a, const struct value *claims, struct str *ret, struct err *err) {
	if (!n->sa_key) {
		return err_set(err, ERR_UNAVAILABLE, "the server has no key to sign service account tokens with");
	}
	return jwt_sign(n->sa_key, json_text(a, claims), a, ret, err);
}

/* ---- bootstrap tokens: Secrets kube-system/bootstrap-token-<id> of a type of their own ------------------- */

static struct str secret_text(struct arena *a, const struct value *secret, const char *key) {
	struct str out = S("");

	return base64_decode(a, value_as_str(value_get_str(value_get(secret, N_data), str_c(key))), &out) ? out : S("");
}

static bool is_token_part(struct str s, size_t len) {
	for (size_t i = 0; i < s.len; i++) {
		if (!((s.ptr[i] >= 'a' && s.ptr[i] <= 'z') || (s.ptr[i] >= '0' && s.ptr[i] <= '9'))) {
			return false;
		}
	}
	return s.len == len;
}

static bool bootstrap_token(struct authn *n, struct str id, struct str secret, struct arena *a, struct user *ret) {
	auto_obj struct obj *o = storage_get(storage_find(n->s, S(""), S("secrets")), S("kube-system"), arena_printf(a, "bootstrap-token-%.*s", STR_ARG(id)));

	if (!o || !str_eq(value_str_at(o->root, N_type), S("bootstrap.kubernetes.io/token")) ||
		value_str_at(o->root, N_metadata, N_deletionTimestamp).len) {
		return false;
	}
	if (!str_eq(secret_text(a, o->root, "token-id"), id) || !bytes_eq_secret(secret_text(a, o->root, "token-secret"), secret) ||
		!str_eq(secret_text(a, o->root, "usage-bootstrap-authentication"), S("true"))) {
		return false;
	}
	struct str expires = secret_text(a, o->root, "expiration");
	nsec_t at;
	if (expires.len && (!time_parse(expires, &at) || clock_wall() > at)) {
		return false;
	}
	struct user u = { .name = arena_printf(a, "system:bootstrap:%.*s", STR_ARG(id)) };
	user_add_group(a, &u, S("system:bootstrappers"));
	struct str rest = secret_text(a, o->root, "auth-extra-groups"), group;
	while (rest.len && str_next(&rest, ',', &group)) {
		if (str_starts(str_trim(group), S("system:bootstrappers:"))) {
			user_add_group(a, &u, arena_str(a, str_trim(group)));
		}
	}
	*ret = u;
	return true;
}

/* ---- requests ---------------------------------------------------------------------------------------------- */

#define TOKEN_MAX 16384

bool authn_token(struct authn *n, struct str token, const struct value *audiences, struct arena *a, struct user *ret, struct value **ret_audiences,
	struct err *err) {
	struct str id, secret;
	struct user u = { 0 };
	bool found = false;

	if (token.len > TOKEN_MAX) {
		return err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
	}
	for (size_t i = 0; i < n->tokens.len && !found; i++) {
		if (bytes_eq_secret(n->tokens.at[i].token, token)) {
			u = n->tokens.at[i].user;
			found = true;
		}
	}
	if (!found && str_cut(token, '.', &id, &secret) && is_token_part(id, 6) && is_token_part(secret, 16)) {
		found = bootstrap_token(n, id, secret, a, &u);
	}
	if (!found && n->sa_key && str_find(token, S(".")) > 0) {
		struct err why = { 0 };
		found = service_account(n, token, audiences, a, &u, ret_audiences, &why);
		if (!found) {
			log_debug("apiserver", "bearer token refused", kv_err(&why));
			return err_set(err, ERR_UNAUTHORIZED, "%s", audiences ? why.msg : "Unauthorized");
		}
	} else if (found && ret_audiences && value_len(audiences)) {
		*ret_audiences = value_new_array(a); /* tokens of other kinds are for this server alone */
		VALUE_EACH(audiences, v) {
			if (str_eq(value_as_str(v), n->issuer)) {
				value_push_str(a, *ret_audiences, n->issuer);
			}
		}
	}
	if (!found) {
		return err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
	}
	user_add_group(a, &u, GROUP_AUTHENTICATED);
	*ret = u;
	return true;
}

bool authn_request(struct authn *n, struct http_exchange *x, struct arena *a, struct user *ret, struct err *err) {
	struct str auth = http_request_header(x, S("Authorization"));

	if (x->peer_cert && x->peer_cert->common_name.len) {
		struct user u = { .name = x->peer_cert->common_name };
		for (size_t i = 0; i < x->peer_cert->organizations_len; i++) {
			user_add_group(a, &u, x->peer_cert->organizations[i]);
		}
		add_extra(a, &u, S("authentication.kubernetes.io/credential-id"),
			arena_printf(a, "X509SHA256=%.*s", STR_ARG(x->peer_cert->fingerprint)));
		user_add_group(a, &u, GROUP_AUTHENTICATED);
		*ret = u;
		return true;
	}
	if (auth.len > 7 && str_case_eq(str_sub(auth, 0, 7), S("Bearer "))) {
		return authn_token(n, str_trim(str_from(auth, 7)), NULL, a, ret, NULL, err);
	}
	/* WebSocket clients in browsers carry the token as a subprotocol. */
	struct str protocols = http_request_header(x, S("Sec-WebSocket-Protocol")), p;
	while (protocols.len && str_next(&protocols, ',', &p)) {
		const struct str prefix = S("base64url.bearer.authorization.k8s.io.");
		struct str token;
		if (str_starts(str_trim(p), prefix) && base64url_decode(a, str_from(str_trim(p), prefix.len), &token)) {
			return authn_token(n, token, NULL, a, ret, NULL, err);
		}
	}
	if (auth.len || n->s->opts.anonymous_off) {
		return err_set(err, ERR_UNAUTHORIZED, "Unauthorized");
	}
	struct user u = { .name = USER_ANONYMOUS };
	user_add_group(a, &u, GROUP_UNAUTHENTICATED);
	*ret = u;
	return true;
}
