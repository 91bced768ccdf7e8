/* SPDX-License-Identifier: Apache-2.0 */
/* request_test.c - request info, options and media types: what upstream's tests of the same functions expect. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "apiserver/request.h"

struct info_case {
	const char *name, *method, *path, *query;
	bool resource;
	const char *verb, *prefix, *group, *version, *ns, *res, *sub, *obj, *authz_name, *rest;
};

static const struct info_case info_cases[] = {
	{ "list", "GET", "/api/v1/pods", "", true, "list", "api", "", "v1", "", "pods", "", "", "", "" },
	{ "list in a namespace", "GET", "/api/v1/namespaces/other/pods", "", true, "list", "api", "", "v1", "other", "pods", "", "", "", "" },
	{ "get", "GET", "/api/v1/namespaces/other/pods/foo", "", true, "get", "api", "", "v1", "other", "pods", "", "foo", "foo", "" },
	{ "head is get", "HEAD", "/api/v1/namespaces/other/pods/foo", "", true, "get", "api", "", "v1", "other", "pods", "", "foo", "foo", "" },
	{ "namespace", "GET", "/api/v1/namespaces/other", "", true, "get", "api", "", "v1", "other", "namespaces", "", "other", "other", "" },
	{ "namespaces", "GET", "/api/v1/namespaces", "", true, "list", "api", "", "v1", "", "namespaces", "", "", "", "" },
	{ "namespace status", "PUT", "/api/v1/namespaces/other/status", "", true, "update", "api", "", "v1", "other", "namespaces", "status", "other", "other", "" },
	{ "namespace finalize", "PUT", "/api/v1/namespaces/other/finalize", "", true, "update", "api", "", "v1", "other", "namespaces", "finalize", "other", "other", "" },
	{ "watch", "GET", "/api/v1/pods", "watch=true", true, "watch", "api", "", "v1", "", "pods", "", "", "", "" },
	{ "watch=false", "GET", "/api/v1/pods", "watch=false", true, "list", "api", "", "v1", "", "pods", "", "", "", "" },
	{ "old watch", "GET", "/api/v1/watch/namespaces/other/pods/foo", "", true, "watch", "api", "", "v1", "other", "pods", "", "foo", "foo", "" },
	{ "subresource", "GET", "/api/v1/namespaces/other/pods/foo/log", "", true, "get", "api", "", "v1", "other", "pods", "log", "foo", "foo", "" },
	{ "proxy keeps its path escaped", "POST", "/api/v1/namespaces/n/services/s:http/proxy/a%2Fb/", "", true, "create", "api", "", "v1", "n", "services", "proxy",
		"s:http", "s:http", "/a%2Fb/" },
	{ "group", "PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale", "", true, "patch", "apis", "apps", "v1", "n", "deployments", "scale", "d", "d", "" },
	{ "delete", "DELETE", "/apis/apps/v1/namespaces/n/deployments/d", "", true, "delete", "apis", "apps", "v1", "n", "deployments", "", "d", "d", "" },
	{ "deletecollection", "DELETE", "/apis/apps/v1/namespaces/n/deployments", "", true, "deletecollection", "apis", "apps", "v1", "n", "deployments", "", "", "", "" },
	{ "name selector", "GET", "/api/v1/namespaces/n/secrets", "fieldSelector=metadata.name%3Dx", true, "list", "api", "", "v1", "n", "secrets", "", "", "x", "" },
	{ "escaped name", "GET", "/api/v1/nodes/a%3Ab", "", true, "get", "api", "", "v1", "", "nodes", "", "a:b", "a:b", "" },
	{ "api", "GET", "/api", "", false, "get", "", "", "", "", "", "", "", "", "" },
	{ "api version", "GET", "/api/v1/", "", false, "get", "", "", "", "", "", "", "", "", "" },
	{ "group version", "GET", "/apis/apps/v1", "", false, "get", "apis", "", "", "", "", "", "", "", "" },
	{ "version", "POST", "/version", "", false, "post", "", "", "", "", "", "", "", "", "" },
};

static void assert_text(struct str have, const char *want) {
	assert_int_equal(have.len, strlen(want));
	assert_memory_equal(have.len ? have.ptr : "", want, have.len);
}

static void test_info(void **state) {
	const struct info_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct request_info i = { 0 };

	assert_true(request_info_parse(&a, str_c(c->method), str_c(c->path), str_c(c->query), &i, &err));
	assert_int_equal(i.is_resource, c->resource);
	assert_text(i.verb, c->verb);
	assert_text(i.prefix, c->prefix);
	assert_text(i.group, c->group);
	assert_text(i.version, c->version);
	assert_text(i.ns, c->ns);
	assert_text(i.resource, c->res);
	assert_text(i.subresource, c->sub);
	assert_text(i.name, c->obj);
	assert_text(i.authz_name, c->authz_name);
	assert_text(i.rest, c->rest);
}

struct accept_case {
	const char *name, *accept;
	int allow;
	bool ok;
	enum media_format format;
	enum media_as as;
	const char *version;
};

#define TABLE "as=Table;v=v1;g=meta.k8s.io"
static const struct accept_case accept_cases[] = {
	{ "none", "", 0, true, MEDIA_JSON, AS_OBJECT, "v1" },
	{ "any", "*/*", 0, true, MEDIA_JSON, AS_OBJECT, "v1" },
	{ "protobuf first", "application/vnd.kubernetes.protobuf, */*", 0, true, MEDIA_PROTOBUF, AS_OBJECT, "v1" },
	{ "quality", "application/yaml;q=0.5,application/json;q=0.9", 0, true, MEDIA_JSON, AS_OBJECT, "v1" },
	{ "quality zero", "application/json;q=0", 0, false, 0, 0, "" },
	{ "unknown falls through", "text/html,application/yaml", 0, true, MEDIA_YAML, AS_OBJECT, "v1" },
	{ "unknown", "text/html", 0, false, 0, 0, "" },
	{ "table", "application/json;" TABLE ",application/json", MEDIA_ALLOW_TABLE, true, MEDIA_JSON, AS_TABLE, "v1" },
	{ "table not allowed", "application/json;" TABLE ",application/json", 0, true, MEDIA_JSON, AS_OBJECT, "v1" },
	{ "table of an old version", "application/json;as=Table;v=v1beta1;g=meta.k8s.io", MEDIA_ALLOW_TABLE, true, MEDIA_JSON, AS_TABLE, "v1beta1" },
	{ "table of no version", "application/json;as=Table;v=v9;g=meta.k8s.io", MEDIA_ALLOW_TABLE, false, 0, 0, "" },
	{ "discovery", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", MEDIA_ALLOW_DISCOVERY, true, MEDIA_JSON, AS_DISCOVERY,
		"v2" },
	{ "discovery, unknown first", "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
		MEDIA_ALLOW_DISCOVERY, true, MEDIA_JSON, AS_DISCOVERY, "v2beta1" },
	{ "no yaml in watches", "application/yaml", MEDIA_NO_YAML, false, 0, 0, "" },
};

static void test_accept(void **state) {
	const struct accept_case *c = *state;
	struct media m = { 0 };
	struct err err = { 0 };

	assert_int_equal(media_accept(str_c(c->accept), c->allow, &m, &err), c->ok);
	if (c->ok) {
		assert_int_equal(m.format, c->format);
		assert_int_equal(m.as, c->as);
		assert_text(m.as_version, c->version);
	} else {
		assert_int_equal(err.code, ERR_NOT_ACCEPTABLE);
	}
}

struct opts_case {
	const char *name, *query, *verb;
	bool apply;
	enum err_code code;  /* of what does not parse */
	const char *kind;
	const char *field, *message; /* the first broken rule; NULL: none */
};

static const struct opts_case opts_cases[] = {
	{ "list", "limit=5&labelSelector=a%3Db", "list", false, ERR_NONE, "ListOptions", NULL, NULL },
	{ "bad limit", "limit=five", "list", false, ERR_BAD_REQUEST, "", NULL, NULL },
	{ "match without version", "resourceVersionMatch=Exact", "list", false, ERR_NONE, "ListOptions", "resourceVersionMatch",
		"Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided" },
	{ "unknown match", "resourceVersion=1&resourceVersionMatch=Foo", "list", false, ERR_NONE, "ListOptions", "resourceVersionMatch",
		"Unsupported value: \"Foo\": supported values: \"Exact\", \"NotOlderThan\", \"\"" },
	{ "exact zero", "resourceVersion=0&resourceVersionMatch=Exact", "list", false, ERR_NONE, "ListOptions", "resourceVersionMatch",
		"Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"" },
	{ "match in a watch", "resourceVersion=1&resourceVersionMatch=NotOlderThan", "watch", false, ERR_NONE, "ListOptions", "resourceVersionMatch",
		"Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided" },
	{ "initial events of a list", "sendInitialEvents=true", "list", false, ERR_NONE, "ListOptions", "sendInitialEvents",
		"Forbidden: sendInitialEvents is forbidden for list" },
	{ "dry run", "dryRun=All", "create", false, ERR_NONE, "CreateOptions", NULL, NULL },
	{ "dry run of something", "dryRun=Some", "update", false, ERR_NONE, "UpdateOptions", "dryRun", "Unsupported value: [\"Some\"]: supported values: \"All\"" },
	{ "force without apply", "force=true", "patch", false, ERR_NONE, "PatchOptions", "force", "Forbidden: may not be specified for non-apply patch" },
	{ "apply without manager", "", "patch", true, ERR_NONE, "PatchOptions", "fieldManager", "Required value: is required for apply patch" },
};

static void test_opts(void **state) {
	const struct opts_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct causes causes = { .arena = &a };
	struct request_opts o = { 0 };
	struct err err = { 0 };
	struct str kind = S("");

	assert_int_equal(request_opts_parse(&a, str_c(c->query), str_c(c->verb), c->apply, &o, &causes, &kind, &err), c->code == ERR_NONE);
	assert_int_equal(err.code, c->code);
	assert_text(kind, c->kind);
	assert_int_equal(causes.len > 0, c->field != NULL);
	if (c->field) {
		assert_text(causes.at[0].field, c->field);
		assert_text(causes.at[0].message, c->message);
	}
}

int main(void) {
	static struct CMUnitTest tests[ARRAY_LEN(info_cases) + ARRAY_LEN(accept_cases) + ARRAY_LEN(opts_cases)];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(info_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = info_cases[i].name, .test_func = test_info, .initial_state = (void *)&info_cases[i] };
	}
	for (size_t i = 0; i < ARRAY_LEN(accept_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = accept_cases[i].name, .test_func = test_accept, .initial_state = (void *)&accept_cases[i] };
	}
	for (size_t i = 0; i < ARRAY_LEN(opts_cases); i++) {
		tests[n++] = (struct CMUnitTest){ .name = opts_cases[i].name, .test_func = test_opts, .initial_state = (void *)&opts_cases[i] };
	}
	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
