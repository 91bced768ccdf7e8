/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c - see registry.h. Pool threads; blocks on the network. */
#include "runtime/registry.h"

#include "base/file.h"
#include "net/digest.h"
#include "net/url.h"

enum { REGISTRY_TRIES = 4, REGISTRY_TOKEN_MAX = 64 << 10 };

static bool is_loopback(struct str registry) {
	return str_starts(registry, S("localhost:")) || str_eq(registry, S("localhost")) || str_starts(registry, S("127.")) || str_starts(registry, S("[::1]"));
}

static bool may_be_plain(struct image_store *s, struct str registry, const struct image_transfer_opts *opts) {
	bool ok = is_loopback(registry) || (opts && opts->insecure);
	for (size_t i = 0; i < s->insecure_len; i++) {
		ok = ok || str_eqc(registry, s->insecure[i]);
	}
	return ok;
}

static struct str host_of(struct str registry) {
	return str_eq(registry, S("docker.io")) ? S("registry-1.docker.io") : registry;
}

static bool client_make(struct image_store *s, struct registry *r, const char *scheme, bool unverified, struct err *err) {
	auto_buf struct buf ca = BUF_INIT(4 << 20);
	struct http_client_opts o = {
		.base = arena_printf(&r->arena, "%s://%.*s", scheme, STR_ARG(host_of(r->ref.registry))),
		.user_agent = S("coracle"),
		.tls.insecure = unverified,
	};
	if (s->ca_file[0]) {
		struct err ignored = { 0 };
		/* Beside the system's, which is the default when this is empty. */
		(void)!file_read("/etc/ssl/certs/ca-certificates.crt", &ca, &ignored);
		if (!file_read(s->ca_file, &ca, err)) {
			return err_wrap(err, "registry CA");
		}
		o.tls.ca_pem = buf_view(&ca);
	}
	return http_client_new(&o, &r->client, err);
}

/* Whether anything answers there. */
static bool ping(struct registry *r, struct err *err) {
	struct http_response answer = { 0 };
	struct http_request rq = { .url = S("/v2/"), .timeout = 20 * NSEC_PER_SEC, .body_max = 1 << 20 };
	bool ok = http_do(r->client, &rq, &answer, err);
	http_response_release(&answer);
	return ok;
}

bool registry_open(struct image_store *s, const struct image_ref *ref, const struct image_transfer_opts *opts, bool push, struct registry *ret, struct err *err) {
	struct registry r = { .auth = opts ? opts->auth : NULL, .push = push };
	bool plain = may_be_plain(s, ref->registry, opts);
	struct err first = { 0 };

	r.ref = (struct image_ref){ arena_str(&r.arena, ref->registry), arena_str(&r.arena, ref->repository), arena_str(&r.arena, ref->tag), arena_str(&r.arena, ref->digest) };
	bool ok = client_make(s, &r, "https", plain, err);
	if (ok && plain) {
		/* An insecure registry may speak either: encrypted first, as docker tries. */
		ok = ping(&r, &first);
		if (!ok) {
			http_client_free(TAKE(r.client));
			ok = client_make(s, &r, "http", false, err) && ping(&r, err);
		}
	}
	if (!ok) {
		http_client_free(r.client);
		arena_release(&r.arena);
		return err_wrap(err, "registry %.*s", STR_ARG(ref->registry));
	}
	pthread_mutex_init(&r.lock, NULL);
	*ret = r;
	return true;
}

void registry_close(struct registry *r) {
	http_client_free(r->client);
	pthread_mutex_destroy(&r->lock);
	free(r->authorization);
	arena_release(&r->arena);
}

/* ---- who we are -------------------------------------------------------------------------------- */

static struct str basic(struct arena *a, const struct image_auth *auth) {
	struct str pair = arena_printf(a, "%.*s:%.*s", STR_ARG(auth->username), STR_ARG(auth->password));
	return arena_printf(a, "Basic %.*s", STR_ARG(base64_encode(a, pair)));
}

/* RFC 7235: scheme, then name="value" or name=value, separated by commas. */
static struct str parameter(struct arena *a, struct str challenge, struct str name) {
	struct str rest;
	if (!str_cut(challenge, ' ', &challenge, &rest)) {
		return (struct str){ 0 };
	}
	while (rest.len) {
		struct str key;
		rest = str_trim(rest);
		if (!str_cut(rest, '=', &key, &rest)) {
			break;
		}
		auto_buf struct buf value = BUF_INIT(8192);
		if (rest.len && rest.ptr[0] == '"') {
			size_t i = 1;
			for (; i < rest.len && rest.ptr[i] != '"'; i++) {
				if (rest.ptr[i] == '\\' && i + 1 < rest.len) {
					i++;
				}
				buf_char(&value, rest.ptr[i]);
			}
			rest = str_from(rest, i + 1);
			struct str skipped;
			str_cut(rest, ',', &skipped, &rest);
		} else {
			struct str plain;
			str_cut(rest, ',', &plain, &rest);
			buf_str(&value, str_trim(plain));
		}
		if (str_case_eq(str_trim(key), name)) {
			return arena_str(a, buf_view(&value));
		}
	}
	return (struct str){ 0 };
}

static struct str token_url(struct registry *r, struct arena *a, struct str challenge, struct str realm) {
	struct str service = parameter(a, challenge, S("service"));
	struct str scope = arena_printf(a, "repository:%.*s:%s", STR_ARG(r->ref.repository), r->push ? "pull,push" : "pull");
	return arena_printf(a, "%.*s%cservice=%.*s&scope=%.*s", STR_ARG(realm), str_index(realm, '?') >= 0 ? '&' : '?', STR_ARG(url_escape(a, service)),
		STR_ARG(url_escape(a, scope)));
}

/* A token from the registry's own authority. */
static bool token_get(struct registry *r, struct arena *a, struct str challenge, struct str *ret, struct err *err) {
	struct http_response answer = { 0 };
	struct str realm = parameter(a, challenge, S("realm"));
	struct http_header headers[1] = { { S("Authorization"), { 0 } } };
	struct http_request rq = { .timeout = 30 * NSEC_PER_SEC, .body_max = REGISTRY_TOKEN_MAX, .no_auth = false, .redirects = 2 };
	struct value *v = NULL;

	if (!str_starts(realm, S("https://")) && !str_starts(realm, S("http://"))) {
		return err_set(err, ERR_UNAUTHORIZED, "registry %.*s asks for a token but does not say from where", STR_ARG(r->ref.registry));
	}
	if (r->auth && r->auth->identity_token.len) {
		rq.method = S("POST");
		rq.url = realm;
		rq.content_type = S("application/x-www-form-urlencoded");
		rq.body = arena_printf(a, "grant_type=refresh_token&service=%.*s&client_id=coracle&scope=%.*s&refresh_token=%.*s",
			STR_ARG(url_escape(a, parameter(a, challenge, S("service")))),
			STR_ARG(url_escape(a, arena_printf(a, "repository:%.*s:%s", STR_ARG(r->ref.repository), r->push ? "pull,push" : "pull"))),
			STR_ARG(url_escape(a, r->auth->identity_token)));
	} else {
		rq.url = token_url(r, a, challenge, realm);
		if (r->auth && r->auth->username.len) {
			headers[0].value = basic(a, r->auth);
			rq.headers = headers;
			rq.headers_len = 1;
		}
	}
	bool ok = http_do(r->client, &rq, &answer, err);
	if (ok && answer.status != 200) {
		ok = err_set(err, ERR_UNAUTHORIZED, "%.*s: the registry's authority refused the credentials (status %d)", STR_ARG(r->ref.registry), answer.status);
	}
	ok = ok && json_parse(a, answer.body, NULL, &v, err);
	struct str token = get_str(v, "token").len ? get_str(v, "token") : get_str(v, "access_token");
	if (ok && (!token.len || token.len > REGISTRY_TOKEN_MAX)) {
		ok = err_set(err, ERR_UNAUTHORIZED, "%.*s: the registry's authority gave no token", STR_ARG(r->ref.registry));
	}
	if (ok) {
		*ret = arena_printf(a, "Bearer %.*s", STR_ARG(token));
	}
	http_response_release(&answer);
	return ok;
}

/* Answers a 401. False without err: nothing is left to try. */
static bool challenge_answer(struct registry *r, struct http_headers headers, bool *ret_again, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str challenge = { 0 }, value = { 0 };

	*ret_again = false;
	for (size_t i = 0; i < headers.len; i++) {
		struct str v = headers.at[i].value;
		if (str_case_eq(headers.at[i].name, S("WWW-Authenticate")) && (!challenge.len || str_case_eq(str_sub(v, 0, 7), S("Bearer ")))) {
			challenge = v;
		}
	}
	if (r->auth && r->auth->registry_token.len) {
		value = arena_printf(&a, "Bearer %.*s", STR_ARG(r->auth->registry_token));
	} else if (str_case_eq(str_sub(challenge, 0, 7), S("Bearer "))) {
		if (!token_get(r, &a, challenge, &value, err)) {
			return false;
		}
	} else if (r->auth && r->auth->username.len) {
		value = basic(&a, r->auth);
	}
	if (value.len) {
		pthread_mutex_lock(&r->lock);
		free(r->authorization);
		r->authorization = str_dup(value);
		pthread_mutex_unlock(&r->lock);
		*ret_again = true;
	}
	return true;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static bool worth_retrying(bool ok, const struct http_response *answer, const struct err *err) {
	if (!ok) {
		return err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT || err->code == ERR_CLOSED || err->code == ERR_IO;
	}
	return answer->status == 429 || answer->status == 408 || (answer->status >= 500 && answer->status != 501);
}

/* Notices when pieces were handed out: then a second try would hand them out again. */
struct handed {
	const struct http_request *base;
	bool any;
};

static bool on_body(void *arg, struct str bytes) {
	struct handed *h = arg;
	h->any = true;
	return h->base->on_body(h->base->arg, bytes);
}

static bool on_headers(void *arg, int status, struct http_headers headers) {
	struct handed *h = arg;
	return !h->base->on_headers || h->base->on_headers(h->base->arg, status, headers);
}

static ssize_t on_body_read(void *arg, char *into, size_t len) {
	struct handed *h = arg;
	h->any = true;
	return h->base->body_read(h->base->arg, into, len);
}

static bool once(struct registry *r, struct str url, const struct http_request *base, struct handed *h, struct http_response *ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct http_header *headers = arena_array(&a, struct http_header, base->headers_len + 1);
	struct http_request rq = *base;
	size_t n = 0;

	for (; n < base->headers_len; n++) {
		headers[n] = base->headers[n];
	}
	pthread_mutex_lock(&r->lock);
	if (r->authorization) {
		headers[n++] = (struct http_header){ S("Authorization"), arena_str(&a, str_c(r->authorization)) };
	}
	pthread_mutex_unlock(&r->lock);
	rq.url = url;
	rq.headers = headers;
	rq.headers_len = n;
	rq.arg = h;
	rq.on_body = base->on_body ? on_body : NULL;
	rq.on_headers = base->on_headers ? on_headers : NULL;
	rq.body_read = base->body_read ? on_body_read : NULL;
	return http_do(r->client, &rq, ret, err);
}

bool registry_do(struct registry *r, struct str path, const struct http_request *base, struct http_response *ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	bool whole = str_starts(path, S("http://")) || str_starts(path, S("https://")) || str_starts(path, S("/"));
	struct str url = whole ? path : arena_printf(&a, "/v2/%.*s/%.*s", STR_ARG(r->ref.repository), STR_ARG(path));
	struct handed h = { .base = base };
	bool challenged = false;

	for (int i = 0;; i++) {
		bool ok = once(r, url, base, &h, ret, err);
		bool streamed = h.any || base->body_read;
		if (ok && ret->status == 401 && !challenged && !h.any) {
			bool again;
			challenged = true;
			if (!challenge_answer(r, ret->headers, &again, err)) {
				http_response_release(ret);
				return false;
			}
			if (again) {
				http_response_release(ret);
				continue;
			}
		}
		if (!worth_retrying(ok, ret, err) || streamed || i + 1 >= REGISTRY_TRIES) {
			return ok;
		}
		http_response_release(ret);
		clock_sleep((300 * NSEC_PER_MSEC << i) + (nsec_t)(rand_u64() % (100 * NSEC_PER_MSEC)));
	}
}

bool registry_fail(struct registry *r, const char *what, const struct http_response *answer, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v = NULL;
	struct err ignored = { 0 };
	struct str said = { 0 };
	enum err_code code = answer->status == 401 ? ERR_UNAUTHORIZED
	                   : answer->status == 403 ? ERR_FORBIDDEN
	                   : answer->status == 404 ? ERR_NOT_FOUND
	                   : answer->status == 429 ? ERR_TOO_MANY_REQUESTS
	                   : answer->status >= 500 ? ERR_UNAVAILABLE
	                                           : ERR_INVALID;
	if (json_parse(&a, answer->body, NULL, &v, &ignored)) {
		const struct value *first = value_item(get(v, "errors"), 0);
		said = get_str(first, "message").len ? get_str(first, "message") : get_str(first, "code");
	}
	return err_set(err, code, "%s: %.*s/%.*s: %s%.*s%s(status %d %s)", what, STR_ARG(r->ref.registry), STR_ARG(r->ref.repository),
		answer->status == 404 && !said.len ? "not found " : "", (int)MIN(said.len, (size_t)200), said.ptr, said.len ? " " : "", answer->status,
		http_status_text(answer->status));
}
