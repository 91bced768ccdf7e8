/* SPDX-License-Identifier: Apache-2.0 */
/* tokens.c - see tokens.h. Passes share the table under its one lock, which is not held while the API is asked. */
#include "kubelet/tokens.h"

#include <pthread.h>

#define RENEW_AT_MOST (24 * 3600 * NSEC_PER_SEC)

struct token {
	char *key, *pod_uid, *text;
	nsec_t renew, expires;
};

struct tokens {
	struct kubelet *k;
	pthread_mutex_t lock;
	struct map at;
};

struct tokens *tokens_new(struct kubelet *k) {
	struct tokens *t = xcalloc(1, sizeof(*t));

	t->k = k;
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

static void token_free(struct token *x) {
	if (x) {
		free(x->key);
		free(x->pod_uid);
		free(x->text);
		free(x);
	}
}

void tokens_free(struct tokens *t) {
	if (!t) {
		return;
	}
	MAP_EACH(&t->at, e) {
		token_free(e->value);
	}
	map_release(&t->at);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void tokens_forget(struct tokens *t, struct str pod_uid) {
	pthread_mutex_lock(&t->lock);
	MAP_EACH(&t->at, e) {
		struct token *x = e->value;
		if (str_eqc(pod_uid, x->pod_uid)) {
			map_remove(&t->at, str_c(x->key));
			token_free(x);
		}
	}
	pthread_mutex_unlock(&t->lock);
}

static struct value *request_body(struct arena *a, const struct token_want *w) {
	struct value *body = value_new_object(a), *spec, *ref;

	value_set_str(a, body, N_apiVersion, S("authentication.k8s.io/v1"));
	value_set_str(a, body, N_kind, S("TokenRequest"));
	spec = value_ensure_object(a, body, N_spec);
	struct value *audiences = value_ensure_array(a, spec, N_audiences);
	if (w->audience.len > 0) {
		value_push_str(a, audiences, w->audience);
	}
	spec = value_get(body, N_spec);
	value_set_int(a, spec, N_expirationSeconds, w->seconds);
	ref = value_ensure_object(a, spec, N_boundObjectRef);
	value_set_str(a, ref, N_apiVersion, S("v1"));
	value_set_str(a, ref, N_kind, S("Pod"));
	value_set_str(a, ref, N_name, w->pod_name);
	value_set_str(a, ref, N_uid, w->pod_uid);
	return body;
}

static bool ask(struct tokens *t, struct arena *a, const struct token_want *w, struct token *ret, struct err *err) {
	auto_obj struct obj *answer = NULL;
	struct client_call call = { .verb = CLIENT_CREATE,
		.gvr = GVR_SERVICEACCOUNTS,
		.ns = w->ns,
		.name = w->account.len ? w->account : S("default"),
		.subresource = S("token"),
		.body = request_body(a, w) };
	nsec_t now = clock_wall(), expires;

	if (!client_do(t->k->o.client, &call, &answer, NULL, err)) {
		char text[sizeof(err->msg)];
		snprintf(text, sizeof(text), "%s", err->msg);
		return err_set(err, err->code, "failed to fetch token: %.500s", text);
	}
	struct str token = value_str_at(answer->root, N_status, N_token);
	if (token.len == 0) {
		return err_set(err, ERR_INTERNAL, "failed to fetch token: the answer holds none");
	}
	if (!time_parse(value_str_at(answer->root, N_status, N_expirationTimestamp), &expires)) {
		expires = now + w->seconds * NSEC_PER_SEC;
	}
	ret->text = str_dup(token);
	ret->expires = expires;
	ret->renew = now + MIN((expires - now) / 10 * 8, RENEW_AT_MOST);
	return true;
}

bool token_get(struct tokens *t, struct arena *a, const struct token_want *w, struct str *ret_token, nsec_t *ret_renew, struct err *err) {
	struct str key = arena_printf(a, "%.*s/%.*s/%.*s/%lld", STR_ARG(w->pod_uid), STR_ARG(w->account), STR_ARG(w->audience), (long long)w->seconds);
	nsec_t now = clock_wall();
	struct token *fresh;

	pthread_mutex_lock(&t->lock);
	struct token *x = map_get(&t->at, key);
	bool usable = x && now < x->expires;
	if (usable) {
		*ret_token = arena_str(a, str_c(x->text));
		*ret_renew = x->renew;
	}
	bool good = x && now < x->renew;
	pthread_mutex_unlock(&t->lock);
	if (good) {
		return true;
	}
	fresh = xcalloc(1, sizeof(*fresh));
	fresh->key = str_dup(key);
	fresh->pod_uid = str_dup(w->pod_uid);
	if (!ask(t, a, w, fresh, err)) {
		token_free(fresh);
		if (usable) { /* still good for a while */
			log_warn(KUBELET_LOG, "token not renewed", kv_str("account", w->account), kv_err(err));
			err_clear(err);
			*ret_renew = now + 60 * NSEC_PER_SEC;
			return true;
		}
		return false;
	}
	*ret_token = arena_str(a, str_c(fresh->text));
	*ret_renew = fresh->renew;
	pthread_mutex_lock(&t->lock);
	struct token *old = map_set(&t->at, key, fresh);
	pthread_mutex_unlock(&t->lock);
	token_free(old);
	return true;
}
