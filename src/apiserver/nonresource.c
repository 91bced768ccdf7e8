/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nonresource.c - paths that are no resources: health, version, discovery, metrics, issuer documents, the list of paths. One row a
 * path; what is not in the table is 404.
 */
#include "apiserver/server.h"

#include <sys/utsname.h>

typedef bool (*path_serve)(struct req *r, struct answer *ret, struct err *err);

static void text(struct req *r, int status, struct str s) {
	http_reply(r->x, status, S("text/plain; charset=utf-8"), s);
}

/* Discovery: JSON, YAML or protobuf with an ETag; 304 when the client has it. */
static bool cached(struct req *r, struct answer *ret, const struct value *v) {
	auto_buf struct buf b = BUF_INIT((size_t)64 << 20);
	char hex[SHA256_HEX], etag[SHA256_HEX + 2];

	encode_value(r->a, &b, &r->accept, NULL, v, S(""), false);
	sha256_hex(buf_view(&b), hex);
	struct str tag = { etag, (size_t)snprintf(etag, sizeof(etag), "\"%.64s\"", hex) };
	http_header_set(r->x, S("ETag"), tag);
	http_header_set(r->x, S("Vary"), S("Accept"));
	ret->answered = true;
	if (str_eq(http_request_header(r->x, S("If-None-Match")), tag)) {
		http_reply(r->x, 304, S(""), S(""));
	} else {
		http_reply_maybe_gzip(r->x, 200, media_type(&r->accept, false), buf_view(&b));
	}
	return true;
}

static struct str advertised(struct req *r) {
	return arena_printf(r->a, "%s:%d", r->s->opts.advertise_address, http_server_port(r->s->http, 0));
}

static bool serve_api(struct req *r, struct answer *ret, struct err *err) {
	if (r->accept.as == AS_DISCOVERY) {
		return cached(r, ret, discovery_aggregated(r->a, true, r->accept.as_version));
	}
	ret->value = discovery_api_versions(r->a, advertised(r));
	return true;
}

static bool serve_apis(struct req *r, struct answer *ret, struct err *err) {
	if (r->accept.as == AS_DISCOVERY) {
		return cached(r, ret, discovery_aggregated(r->a, false, r->accept.as_version));
	}
	ret->value = discovery_group_list(r->a);
	return true;
}

static bool not_found(struct req *r, struct answer *ret) {
	text(r, 404, S("404 page not found\n"));
	ret->answered = true;
	return true;
}

/* /api/v1, /apis/G, /apis/G/V */
static bool serve_group(struct req *r, struct answer *ret, struct err *err) {
	struct str path = r->info.path, group, version;
	bool core = str_starts(path, S("/api/"));

	path = str_from(path, core ? 5 : 6);
	while (path.len && path.ptr[path.len - 1] == '/') {
		path.len--;
	}
	if (core) {
		ret->value = discovery_resources(r->a, S(""), path);
	} else if (str_cut(path, '/', &group, &version)) {
		ret->value = discovery_resources(r->a, group, version);
	} else {
		ret->value = discovery_group(r->a, path);
	}
	return ret->value || not_found(r, ret);
}

#define KUBE_MAJOR "1"
#define KUBE_MINOR "36"
#ifndef CORACLE_VERSION
#define CORACLE_VERSION "unknown"
#endif

static bool serve_version(struct req *r, struct answer *ret, struct err *err) {
	struct value *v = value_new_object(r->a);
	struct utsname u = { 0 };

	(void)uname(&u);
	value_set_key_str(r->a, v, S("major"), S(KUBE_MAJOR));
	value_set_key_str(r->a, v, S("minor"), S(KUBE_MINOR));
	value_set_key_str(r->a, v, S("emulationMajor"), S(KUBE_MAJOR));
	value_set_key_str(r->a, v, S("emulationMinor"), S(KUBE_MINOR));
	value_set_key_str(r->a, v, S("minCompatibilityMajor"), S(KUBE_MAJOR));
	value_set_key_str(r->a, v, S("minCompatibilityMinor"), S("35"));
	value_set_key_str(r->a, v, S("gitVersion"), S("v" KUBE_MAJOR "." KUBE_MINOR ".0+coracle"));
	value_set_key_str(r->a, v, S("gitCommit"), S(CORACLE_VERSION));
	value_set_key_str(r->a, v, S("gitTreeState"), S("clean"));
	value_set_key_str(r->a, v, S("buildDate"), S("1970-01-01T00:00:00Z"));
	value_set_key_str(r->a, v, S("goVersion"), S("go0"));
	value_set_key_str(r->a, v, S("compiler"), S("gcc"));
	value_set_key_str(r->a, v, S("platform"), str_eqc(S("aarch64"), u.machine) ? S("linux/arm64") : S("linux/amd64"));
	ret->value = v;
	return true;
}

/* ---- health ---------------------------------------------------------------------------------------- */

static bool check_ping(struct apiserver *s) {
	return true;
}
static bool check_store(struct apiserver *s) {
	return store_revision(s->store) >= 0;
}
static bool check_ready(struct apiserver *s) {
	return __atomic_load_n(&s->ready, __ATOMIC_SEQ_CST);
}
static bool check_running(struct apiserver *s) {
	return !__atomic_load_n(&s->stopping, __ATOMIC_SEQ_CST);
}

/* Names as upstream's, so that probes of single checks work. `ready_only`: not part of livez. */
static const struct {
	const char *name;
	bool (*ok)(struct apiserver *s);
	bool ready_only;
} checks[] = {
	{ "ping", check_ping, false },
	{ "log", check_ping, false },
	{ "etcd", check_store, false },
	{ "etcd-readiness", check_store, true },
	{ "informer-sync", check_ready, true },
	{ "poststarthook/start-apiserver-admission-initializer", check_ping, false },
	{ "poststarthook/rbac/bootstrap-roles", check_ready, false },
	{ "poststarthook/scheduling/bootstrap-system-priority-classes", check_ready, false },
	{ "poststarthook/priority-and-fairness-config-producer", check_ready, false },
	{ "poststarthook/bootstrap-controller", check_ready, false },
	{ "poststarthook/apiservice-discovery-controller", check_ping, false },
	{ "shutdown", check_running, true },
};

static bool excluded(struct req *r, const char *name) {
	struct str rest = r->x->query, key, v;

	while (url_query_next(r->a, &rest, &key, &v)) {
		if (str_eq(key, S("exclude")) && str_eqc(v, name)) {
			return true;
		}
	}
	return false;
}

static bool serve_health(struct req *r, struct answer *ret, struct err *err) {
	struct str path = str_from(r->info.path, 1), which, one, ignored;
	auto_buf struct buf b = BUF_INIT(0);
	bool failed = false, found = false;

	str_cut(path, '/', &which, &one);
	bool ready = str_eq(which, S("readyz"));
	ret->answered = true;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		if (checks[i].ready_only && !ready) {
			continue;
		}
		if (one.len) {
			if (!str_eqc(one, checks[i].name)) {
				continue;
			}
		} else if (excluded(r, checks[i].name)) {
			buf_printf(&b, "[+]%s excluded: ok\n", checks[i].name);
			continue;
		}
		found = true;
		if (checks[i].ok(r->s)) {
			buf_printf(&b, "[+]%s ok\n", checks[i].name);
		} else {
			buf_printf(&b, "[-]%s failed: reason withheld\n", checks[i].name);
			failed = true;
		}
	}
	if (!found && one.len) {
		return not_found(r, ret);
	}
	http_header_set(r->x, S("X-Content-Type-Options"), S("nosniff"));
	if (failed) {
		buf_printf(&b, "%.*s check failed\n", STR_ARG(which));
		text(r, 500, buf_view(&b));
	} else if (!one.len && url_query_get(r->a, r->x->query, S("verbose"), &ignored)) {
		buf_printf(&b, "%.*s check passed\n", STR_ARG(which));
		text(r, 200, buf_view(&b));
	} else {
		text(r, 200, S("ok"));
	}
	return true;
}

static bool serve_metrics(struct req *r, struct answer *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT((size_t)64 << 20);

	metrics_print(r->s, &b);
	http_reply_maybe_gzip(r->x, 200, S("text/plain; version=0.0.4; charset=utf-8"), buf_view(&b));
	ret->answered = true;
	return true;
}

/* ---- issuer documents --------------------------------------------------------------------------------- */

static bool serve_oidc(struct req *r, struct answer *ret, struct err *err) {
	struct str issuer = authn_issuer(r->s->authn);
	struct str doc = arena_printf(r->a,
		"{\"issuer\":\"%.*s\",\"jwks_uri\":\"https://%.*s/openid/v1/jwks\",\"response_types_supported\":[\"id_token\"],"
		"\"subject_types_supported\":[\"public\"],\"id_token_signing_alg_values_supported\":[\"%s\"]}",
		STR_ARG(issuer), STR_ARG(advertised(r)), str_find(authn_jwks(r->s->authn, r->a), S("\"RSA\"")) >= 0 ? "RS256" : "ES256");

	http_header_set(r->x, S("Cache-Control"), S("public, max-age=3600"));
	http_reply(r->x, 200, S("application/json"), doc);
	ret->answered = true;
	return true;
}

static bool serve_jwks(struct req *r, struct answer *ret, struct err *err) {
	http_header_set(r->x, S("Cache-Control"), S("public, max-age=3600"));
	http_reply(r->x, 200, S("application/jwk-set+json"), authn_jwks(r->s->authn, r->a));
	ret->answered = true;
	return true;
}

static bool serve_paths(struct req *r, struct answer *ret, struct err *err);

/* A path that ends with '*' stands for all below it. */
static const struct {
	const char *path;
	path_serve serve;
	bool listed;
} paths[] = {
	{ "/", serve_paths, false },
	{ "/.well-known/openid-configuration", serve_oidc, true },
	{ "/api", serve_api, true },
	{ "/api/*", serve_group, false },
	{ "/apis", serve_apis, true },
	{ "/apis/*", serve_group, false },
	{ "/healthz", serve_health, true },
	{ "/healthz/*", serve_health, false },
	{ "/livez", serve_health, true },
	{ "/livez/*", serve_health, false },
	{ "/metrics", serve_metrics, true },
	{ "/openapi/v2", serve_openapi, true },
	{ "/openapi/v3", serve_openapi, true },
	{ "/openapi/v3/*", serve_openapi, false },
	{ "/openid/v1/jwks", serve_jwks, true },
	{ "/readyz", serve_health, true },
	{ "/readyz/*", serve_health, false },
	{ "/version", serve_version, true },
};

static bool serve_paths(struct req *r, struct answer *ret, struct err *err) {
	struct value *v = value_new_object(r->a), *list = value_new_array(r->a);

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (paths[i].listed) {
			value_push_str(r->a, list, str_c(paths[i].path));
		}
		if (str_eqc(S("/apis"), paths[i].path)) {
			for (size_t g = 0; g < schema_groups_len; g++) {
				const struct schema_group *sg = &schema_groups[g];
				struct str name = schema_text(sg->name);
				bool any = false;
				for (size_t k = 0; name.len && k < sg->versions_len; k++) {
					const struct schema_version *ver = &schema_versions[sg->versions_at + k];
					struct str version = schema_text(ver->name);
					if (ver->served) {
						if (!any) {
							value_push_str(r->a, list, arena_printf(r->a, "/apis/%.*s", STR_ARG(name)));
						}
						any = true;
						value_push_str(r->a, list, arena_printf(r->a, "/apis/%.*s/%.*s", STR_ARG(name), STR_ARG(version)));
					}
				}
			}
		} else if (str_eqc(S("/api"), paths[i].path)) {
			value_push_str(r->a, list, S("/api/v1"));
		}
	}
	value_set_key(r->a, v, S("paths"), list);
	ret->value = v;
	return true;
}

bool nonresource_serve(struct req *r, struct answer *ret, struct err *err) {
	struct str path = r->info.path;

	if (!str_eq(r->x->method, S("GET")) && !str_eq(r->x->method, S("HEAD"))) {
		text(r, 405, S("405 method not allowed\n"));
		ret->answered = true;
		return true;
	}
	while (path.len > 1 && path.ptr[path.len - 1] == '/') {
		path.len--;
	}
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct str p = str_c(paths[i].path);
		if (str_eq(p, path) || (p.ptr[p.len - 1] == '*' && str_starts(path, str_sub(p, 0, p.len - 1)))) {
			return paths[i].serve(r, ret, err);
		}
	}
	return not_found(r, ret);
}
