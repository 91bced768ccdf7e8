/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - from request info to what serves it: resource, subresource, verb. Called by http.c and transport.c after
 * authorisation.
 */
#include "apiserver/server.h"

/* What is served by a function of its own, instead of the generic registry. A sub of "" is the resource itself. */
static const struct special specials[] = {
	{ S_INIT("apps"), S_INIT("deployments"), S_INIT("scale"), serve_scale },
	{ S_INIT("apps"), S_INIT("replicasets"), S_INIT("scale"), serve_scale },
	{ S_INIT("apps"), S_INIT("statefulsets"), S_INIT("scale"), serve_scale },
	{ S_INIT(""), S_INIT("replicationcontrollers"), S_INIT("scale"), serve_scale },
	{ S_INIT(""), S_INIT("bindings"), S_INIT(""), serve_binding },
	{ S_INIT(""), S_INIT("componentstatuses"), S_INIT(""), serve_component_status },
	{ S_INIT(""), S_INIT("pods"), S_INIT("binding"), serve_binding },
	{ S_INIT(""), S_INIT("pods"), S_INIT("eviction"), serve_eviction },
	{ S_INIT(""), S_INIT("pods"), S_INIT("ephemeralcontainers"), serve_pod_spec },
	{ S_INIT(""), S_INIT("pods"), S_INIT("resize"), serve_pod_spec },
	{ S_INIT(""), S_INIT("pods"), S_INIT("log"), serve_pod_stream },
	{ S_INIT(""), S_INIT("pods"), S_INIT("exec"), serve_pod_stream },
	{ S_INIT(""), S_INIT("pods"), S_INIT("attach"), serve_pod_stream },
	{ S_INIT(""), S_INIT("pods"), S_INIT("portforward"), serve_pod_stream },
	{ S_INIT(""), S_INIT("pods"), S_INIT("proxy"), serve_proxy },
	{ S_INIT(""), S_INIT("services"), S_INIT("proxy"), serve_proxy },
	{ S_INIT(""), S_INIT("nodes"), S_INIT("proxy"), serve_proxy },
	{ S_INIT(""), S_INIT("serviceaccounts"), S_INIT("token"), serve_token },
	{ S_INIT(""), S_INIT("namespaces"), S_INIT("finalize"), serve_finalize },
	{ S_INIT("certificates.k8s.io"), S_INIT("certificatesigningrequests"), S_INIT("approval"), serve_approval },
	{ S_INIT("authentication.k8s.io"), S_INIT("tokenreviews"), S_INIT(""), serve_token_review },
	{ S_INIT("authentication.k8s.io"), S_INIT("selfsubjectreviews"), S_INIT(""), serve_self_subject_review },
	{ S_INIT("authorization.k8s.io"), S_INIT("subjectaccessreviews"), S_INIT(""), serve_access_review },
	{ S_INIT("authorization.k8s.io"), S_INIT("selfsubjectaccessreviews"), S_INIT(""), serve_access_review },
	{ S_INIT("authorization.k8s.io"), S_INIT("localsubjectaccessreviews"), S_INIT(""), serve_access_review },
	{ S_INIT("authorization.k8s.io"), S_INIT("selfsubjectrulesreviews"), S_INIT(""), serve_rules_review },
};

const struct special *special_find(struct str group, struct str resource, struct str sub) {
	for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
		if (str_eq(specials[i].resource, resource) && str_eq(specials[i].sub, sub) && str_eq(specials[i].group, group)) {
			return &specials[i];
		}
	}
	return NULL;
}

enum verb verb_of(struct str text) {
	static const struct {
		const char *text;
		enum verb verb;
	} verbs[] = { { "get", VERB_GET }, { "list", VERB_LIST }, { "watch", VERB_WATCH }, { "create", VERB_CREATE }, { "update", VERB_UPDATE },
		{ "patch", VERB_PATCH }, { "delete", VERB_DELETE }, { "deletecollection", VERB_DELETE_COLLECTION } };

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (str_eqc(text, verbs[i].text)) {
			return verbs[i].verb;
		}
	}
	return VERB_NONE;
}

static int schema_bit(enum verb v) {
	switch (v) {
	case VERB_GET:
		return SCHEMA_GET;
	case VERB_LIST:
		return SCHEMA_LIST_VERB;
	case VERB_WATCH:
		return SCHEMA_WATCH;
	case VERB_CREATE:
		return SCHEMA_CREATE;
	case VERB_UPDATE:
		return SCHEMA_UPDATE;
	case VERB_PATCH:
		return SCHEMA_PATCH;
	case VERB_DELETE:
		return SCHEMA_DELETE;
	case VERB_DELETE_COLLECTION:
		return SCHEMA_DELETECOLLECTION;
	case VERB_NONE:
		break;
	}
	return 0;
}

bool route_find(struct req *r, struct err *err) {
	const struct request_info *i = &r->info;
	const struct schema_resource *res = schema_resource_find(i->group, i->version, i->resource);
	bool proxies = str_eq(i->subresource, S("proxy"));

	if (!res || !schema_served(res) || (i->group.len == 0) != str_eq(i->prefix, S("api"))) {
		return fail_route(r, err);
	}
	r->res = res;
	r->st = storage_of(r->s, res);
	if (i->subresource.len) {
		r->sub = schema_sub_find(res, i->subresource);
		if (!r->sub || (i->parts > 3 && !proxies)) {
			return fail_route(r, err);
		}
	}
	if (res->namespaced && i->ns.len == 0 && (i->name.len || r->verb == VERB_CREATE || r->verb == VERB_DELETE_COLLECTION)) {
		return fail_route(r, err); /* such a path exists below a namespace only */
	}
	if (!res->namespaced && i->ns.len && !str_eq(i->resource, S("namespaces"))) {
		return fail_route(r, err);
	}
	if (r->verb == VERB_CREATE && i->name.len && !r->sub) {
		return fail_method(r, err);
	}
	int verbs = r->sub ? r->sub->verbs : res->verbs;
	if (!(verbs & schema_bit(r->verb))) {
		return fail_method(r, err);
	}
	if (r->x && i->group.len == 0 && str_eq(i->resource, S("endpoints"))) {
		kind_warn(&r->kx, "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
	}
	return true;
}

static bool serve_create(struct req *r, struct answer *ret, struct err *err) {
	struct value *o = NULL;

	if (!body_decode(r, schema_resource_type(r->res), true, &o, err)) {
		return false;
	}
	ret->code = 201;
	ret->res = r->res;
	return registry_create(r, convert_from(r->a, o, r->res), &ret->obj, err);
}

static bool serve_update(struct req *r, struct answer *ret, struct err *err) {
	struct value *o = NULL;
	bool created = false;

	if (!body_decode(r, schema_resource_type(r->res), true, &o, err)) {
		return false;
	}
	ret->res = r->res;
	int flags = r->sub ? MODIFY_STATUS : 0; /* the only generic subresource */
	bool ok = registry_update(r, convert_from(r->a, o, r->res), flags, &ret->obj, &created, err);
	ret->code = created ? 201 : 200;
	return ok;
}

static bool delete_options(struct req *r, struct value **ret, struct err *err) {
	const struct schema_type *type = schema_kind_find(S(""), S("v1"), S("DeleteOptions"));
	struct value *o = NULL;

	if (r->body.len || r->body_value) {
		if (!body_decode(r, type, false, &o, err)) {
			return false;
		}
	} else {
		o = value_new_object(r->a);
		if (r->opts.has_grace) {
			value_set_int(r->a, o, N_gracePeriodSeconds, r->opts.grace_seconds);
		}
		if (r->opts.propagation.len) {
			value_set_str(r->a, o, N_propagationPolicy, r->opts.propagation);
		}
		if (r->opts.has_orphan) {
			value_set_bool(r->a, o, N_orphanDependents, r->opts.orphan);
		}
	}
	VALUE_EACH(value_get(o, N_dryRun), d) {
		r->opts.dry_run |= str_eq(value_as_str(d), S("All"));
	}
	r->kx.dry_run = r->opts.dry_run;
	*ret = o;
	return true;
}

static bool serve_generic(struct req *r, struct answer *ret, struct err *err) {
	struct value *options = NULL;

	switch (r->verb) {
	case VERB_GET:
		return registry_get(r, ret, err);
	case VERB_LIST:
		return list_http(r, ret, err);
	case VERB_WATCH:
		return watch_http(r, ret, err);
	case VERB_CREATE:
		return serve_create(r, ret, err);
	case VERB_UPDATE:
		return serve_update(r, ret, err);
	case VERB_PATCH:
		return registry_patch(r, ret, err);
	case VERB_DELETE:
		return delete_options(r, &options, err) && registry_delete(r, options, ret, err);
	case VERB_DELETE_COLLECTION:
		return delete_options(r, &options, err) && registry_delete_collection(r, options, ret, err);
	case VERB_NONE:
		break;
	}
	return fail_method(r, err);
}

bool route_resource(struct req *r, struct answer *ret, struct err *err) {
	const struct special *sp = special_find(r->info.group, r->info.resource, r->info.subresource);

	if (sp) {
		return sp->serve(r, ret, err);
	}
	if (!r->st) {
		return fail_route(r, err);
	}
	return serve_generic(r, ret, err);
}
