/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - reads method, URL and headers. The rules are upstream's RequestInfoFactory, ListOptions and kin,
 * and its content negotiation; the texts of refusals are what clients match on.
 */
#include "apiserver/request.h"

#include "net/url.h"

static bool one_of(struct str s, const char *const *texts) {
	for (; *texts; texts++) {
		if (str_eqc(s, *texts)) {
			return true;
		}
	}
	return false;
}

static struct str lower(struct arena *a, struct str s) {
	char *out = arena_alloc(a, s.len + 1);

	for (size_t i = 0; i < s.len; i++) {
		out[i] = s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? (char)(s.ptr[i] + 32) : s.ptr[i];
	}
	return (struct str){ out, s.len };
}

/* Where the escaped path goes on after `n` segments; empty at its end. */
static struct str after_segments(struct str path, size_t n) {
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		while (at < path.len && path.ptr[at] == '/') {
			at++;
		}
		while (at < path.len && path.ptr[at] != '/') {
			at++;
		}
	}
	return str_from(path, at);
}

struct str selector_exact_name(struct str selector) {
	struct str rest = selector, term;

	while (str_next(&rest, ',', &term)) {
		ptrdiff_t at = str_find(term, S("="));
		if (at > 0 && str_eq(str_sub(term, 0, (size_t)at), S("metadata.name"))) {
			struct str v = str_from(term, (size_t)at + 1);
			return str_starts(v, S("=")) ? str_from(v, 1) : v;
		}
	}
	return S("");
}

bool query_bool(struct str v) {
	return !(str_case_eq(v, S("false")) || str_eq(v, S("0")));
}

#define SEGMENTS_MAX 64

bool request_info_parse(struct arena *a, struct str method, struct str path, struct str query, struct request_info *ret, struct err *err) {
	static const char *const namespace_subresources[] = { "status", "finalize", NULL };
	struct request_info r = { .verb = lower(a, method) };
	struct str seg[SEGMENTS_MAX], rest, piece;
	size_t n = 0, at = 0;

	if (!url_unescape(a, path, false, &r.path)) {
		return err_set(err, ERR_BAD_REQUEST, "invalid URL escape in path");
	}
	rest = r.path;
	while (rest.len && rest.ptr[0] == '/') {
		rest = str_from(rest, 1);
	}
	while (rest.len && rest.ptr[rest.len - 1] == '/') {
		rest.len--;
	}
	while (rest.len && n < SEGMENTS_MAX && str_next(&rest, '/', &piece)) {
		seg[n++] = piece;
	}
	bool core = n && str_eq(seg[0], S("api"));
	if (n < 3 || !(core || str_eq(seg[0], S("apis")))) {
		*ret = r;
		return true;
	}
	r.prefix = seg[at++];
	if (!core) {
		if (n < 4) {
			*ret = r;
			return true;
		}
		r.group = seg[at++];
	}
	r.version = seg[at++];
	r.is_resource = true;

	bool old_watch = false;
	if (str_eq(seg[at], S("watch")) || str_eq(seg[at], S("proxy"))) {
		if (at + 1 >= n) {
			return err_set(err, ERR_BAD_REQUEST, "unable to determine kind and namespace from url, %.*s", STR_ARG(r.path));
		}
		old_watch = str_eq(seg[at], S("watch"));
		r.verb = seg[at++];
	} else if (str_eq(method, S("POST"))) {
		r.verb = S("create");
	} else if (str_eq(method, S("GET")) || str_eq(method, S("HEAD"))) {
		r.verb = S("get");
	} else if (str_eq(method, S("PUT"))) {
		r.verb = S("update");
	} else if (str_eq(method, S("PATCH"))) {
		r.verb = S("patch");
	} else if (str_eq(method, S("DELETE"))) {
		r.verb = S("delete");
	} else {
		r.verb = S("");
	}
	if (str_eq(seg[at], S("namespaces")) && at + 1 < n) {
		r.ns = seg[at + 1];
		if (at + 2 < n && !one_of(seg[at + 2], namespace_subresources)) {
			at += 2;
		}
	}
	r.parts = n - at;
	r.resource = seg[at];
	if (r.parts >= 2) {
		r.name = seg[at + 1];
	}
	if (r.parts >= 3 && !str_eq(r.verb, S("proxy"))) {
		r.subresource = seg[at + 2];
		r.rest = after_segments(path, at + 3);
	}
	r.authz_name = r.name;
	if (r.name.len == 0 && str_eq(r.verb, S("get"))) {
		struct str q = query, name, value;
		r.verb = S("list");
		while (url_query_next(a, &q, &name, &value)) {
			if (str_eq(name, S("watch")) && query_bool(value)) {
				r.verb = S("watch");
			} else if (str_eq(name, S("fieldSelector"))) {
				r.authz_name = selector_exact_name(value);
			}
		}
	} else if (r.name.len == 0 && str_eq(r.verb, S("delete"))) {
		r.verb = S("deletecollection");
	} else if (old_watch && r.name.len) {
		r.authz_name = r.name;
	}
	*ret = r;
	return true;
}

/* ---- options ---------------------------------------------------------------------------------- */

static bool parse_int(struct str v, int64_t *ret, struct err *err) {
	if (!str_to_i64(v, ret)) {
		return err_set(err, ERR_BAD_REQUEST, "strconv.ParseInt: parsing \"%.*s\": invalid syntax", STR_ARG(v));
	}
	return true;
}

static void check_watch(const struct request_opts *o, struct causes *c) {
	static const struct str not_older[] = { S_INIT("NotOlderThan") };

	if (o->has_initial_events && o->match != RV_MATCH_NOT_OLDER) {
		cause_add(c, CAUSE_FORBIDDEN, S("resourceVersionMatch"), NULL, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
	}
	if (o->match_text.len) {
		if (!o->has_initial_events) {
			cause_add(c, CAUSE_FORBIDDEN, S("resourceVersionMatch"), NULL,
				"resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
		}
		if (o->match != RV_MATCH_NOT_OLDER) {
			cause_not_supported(c, S("resourceVersionMatch"), value_new_str(c->arena, o->match_text), not_older, ARRAY_LEN(not_older));
		}
		if (o->continue_token.len) {
			cause_add(c, CAUSE_FORBIDDEN, S("resourceVersionMatch"), NULL, "resourceVersionMatch is forbidden when continue is provided");
		}
	}
}

static void check_list(const struct request_opts *o, struct causes *c) {
	static const struct str matches[] = { S_INIT("Exact"), S_INIT("NotOlderThan"), S_INIT("") };

	if (o->match_text.len) {
		if (o->resource_version.len == 0) {
			cause_add(c, CAUSE_FORBIDDEN, S("resourceVersionMatch"), NULL, "resourceVersionMatch is forbidden unless resourceVersion is provided");
		}
		if (o->continue_token.len) {
			cause_add(c, CAUSE_FORBIDDEN, S("resourceVersionMatch"), NULL, "resourceVersionMatch is forbidden when continue is provided");
		}
		if (o->match == RV_MATCH_UNSET) {
			cause_not_supported(c, S("resourceVersionMatch"), value_new_str(c->arena, o->match_text), matches, ARRAY_LEN(matches));
		}
		if (o->match == RV_MATCH_EXACT && str_eq(o->resource_version, S("0"))) {
			cause_add(c, CAUSE_FORBIDDEN, S("resourceVersionMatch"), NULL, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
		}
	}
	if (o->has_initial_events) {
		cause_add(c, CAUSE_FORBIDDEN, S("sendInitialEvents"), NULL, "sendInitialEvents is forbidden for list");
	}
}

static void check_write(const struct request_opts *o, struct str verb, bool apply, struct str validation, struct causes *c) {
	static const struct str validations[] = { S_INIT(""), S_INIT("Ignore"), S_INIT("Strict"), S_INIT("Warn") };

	if (o->field_manager.len > 128) {
		cause_add(c, CAUSE_TOO_LONG, S("fieldManager"), NULL, "may not be more than 128 bytes");
	}
	for (size_t i = 0; i < o->field_manager.len; i++) {
		unsigned char ch = (unsigned char)o->field_manager.ptr[i];
		if (ch < 0x20 || ch == 0x7f) {
			cause_add(c, CAUSE_INVALID, S("fieldManager"), value_new_str(c->arena, o->field_manager), "should only contain printable characters");
			break;
		}
	}
	if (validation.len && !str_eq(validation, S("Ignore")) && !str_eq(validation, S("Strict")) && !str_eq(validation, S("Warn"))) {
		cause_not_supported(c, S("fieldValidation"), value_new_str(c->arena, validation), validations, ARRAY_LEN(validations));
	}
	if (str_eq(verb, S("patch"))) {
		if (!apply && o->has_force) {
			cause_add(c, CAUSE_FORBIDDEN, S("force"), NULL, "may not be specified for non-apply patch");
		}
		if (apply && o->field_manager.len == 0) {
			cause_add(c, CAUSE_REQUIRED, S("fieldManager"), NULL, "is required for apply patch");
		}
	}
}

bool request_opts_parse(struct arena *a, struct str query, struct str verb, bool apply, struct request_opts *ret, struct causes *causes,
	struct str *ret_kind, struct err *err) {
	static const struct str all[] = { S_INIT("All") };
	struct request_opts o = { .timeout_seconds = -1 };
	struct str rest = query, name, v, validation = S("");
	struct value *dry_runs = NULL;
	bool list = str_eq(verb, S("list")) || str_eq(verb, S("watch")) || str_eq(verb, S("deletecollection"));

	while (url_query_next(a, &rest, &name, &v)) {
		if (str_eq(name, S("labelSelector"))) {
			o.label_selector = v;
		} else if (str_eq(name, S("fieldSelector"))) {
			o.field_selector = v;
		} else if (str_eq(name, S("resourceVersion"))) {
			o.resource_version = v;
		} else if (str_eq(name, S("resourceVersionMatch"))) {
			o.match_text = v;
			o.match = str_eq(v, S("Exact")) ? RV_MATCH_EXACT : str_eq(v, S("NotOlderThan")) ? RV_MATCH_NOT_OLDER : RV_MATCH_UNSET;
		} else if (str_eq(name, S("continue"))) {
			o.continue_token = v;
		} else if (str_eq(name, S("limit")) && list) {
			if (!parse_int(v, &o.limit, err)) {
				return false;
			}
		} else if (str_eq(name, S("timeoutSeconds")) && list) {
			if (!parse_int(v, &o.timeout_seconds, err)) {
				return false;
			}
		} else if (str_eq(name, S("watch"))) {
			o.watch = query_bool(v);
		} else if (str_eq(name, S("allowWatchBookmarks"))) {
			o.bookmarks = query_bool(v);
		} else if (str_eq(name, S("sendInitialEvents"))) {
			o.has_initial_events = true;
			o.initial_events = query_bool(v);
		} else if (str_eq(name, S("dryRun")) && v.len) {
			dry_runs = dry_runs ? dry_runs : value_new_array(a);
			value_push_str(a, dry_runs, v);
		} else if (str_eq(name, S("force"))) {
			o.has_force = true;
			o.force = query_bool(v);
		} else if (str_eq(name, S("fieldManager"))) {
			o.field_manager = v;
		} else if (str_eq(name, S("fieldValidation"))) {
			validation = v;
		} else if (str_eq(name, S("includeObject"))) {
			o.include_object = v;
		} else if (str_eq(name, S("propagationPolicy"))) {
			o.propagation = v;
		} else if (str_eq(name, S("orphanDependents"))) {
			o.has_orphan = true;
			o.orphan = query_bool(v);
		} else if (str_eq(name, S("gracePeriodSeconds"))) {
			o.has_grace = true;
			if (!parse_int(v, &o.grace_seconds, err)) {
				return false;
			}
		}
	}
	o.validation = str_eq(validation, S("Strict")) ? FIELD_VALIDATION_STRICT
		: str_eq(validation, S("Ignore"))       ? FIELD_VALIDATION_IGNORE
							: FIELD_VALIDATION_WARN;
	if (list) {
		*ret_kind = S("ListOptions");
		if (str_eq(verb, S("watch"))) {
			check_watch(&o, causes);
		} else {
			check_list(&o, causes);
		}
	} else {
		*ret_kind = str_eq(verb, S("create")) ? S("CreateOptions")
			: str_eq(verb, S("update"))   ? S("UpdateOptions")
			: str_eq(verb, S("patch"))    ? S("PatchOptions")
						      : S("DeleteOptions");
		check_write(&o, verb, apply, validation, causes);
	}
	VALUE_EACH(dry_runs, d) {
		if (!str_eq(value_as_str(d), S("All"))) {
			cause_not_supported(causes, S("dryRun"), dry_runs, all, ARRAY_LEN(all));
			break;
		}
		o.dry_run = true;
	}
	*ret = o;
	return true;
}

/* ---- media types ------------------------------------------------------------------------------ */

#define JSON_TYPE "application/json"
#define YAML_TYPE "application/yaml"
#define PROTOBUF_TYPE "application/vnd.kubernetes.protobuf"

/* Takes "name=value" off a media type's parameters. */
static bool next_param(struct str *rest, struct str *name, struct str *value) {
	struct str piece;

	while (str_next(rest, ';', &piece)) {
		str_cut(str_trim(piece), '=', name, value);
		*name = str_trim(*name);
		*value = str_trim(*value);
		if (value->len >= 2 && value->ptr[0] == '"') {
			*value = str_sub(*value, 1, value->len - 1);
		}
		if (name->len) {
			return true;
		}
	}
	return false;
}

/* The quality of one clause of an Accept header in thousandths; the rest of the clause is read by clause_match. */
static int clause_quality(struct str params) {
	struct str name, value;
	double q = 1;

	while (next_param(&params, &name, &value)) {
		if (str_eq(name, S("q")) && !str_to_double(value, &q)) {
			q = 1;
		}
	}
	return q <= 0 ? 0 : q >= 1 ? 1000 : (int)(q * 1000);
}

static bool clause_match(struct str type, struct str params, int allow, struct media *ret) {
	struct str name, value, as = S(""), g = S(""), v = S("");
	struct media m = { .as_version = S("v1") };

	if (str_case_eq(type, S(JSON_TYPE)) || str_eq(type, S("*/*")) || str_eq(type, S("application/*"))) {
		m.format = MEDIA_JSON;
	} else if (str_case_eq(type, S(YAML_TYPE)) && !(allow & MEDIA_NO_YAML)) {
		m.format = MEDIA_YAML;
	} else if (str_case_eq(type, S(PROTOBUF_TYPE))) {
		m.format = MEDIA_PROTOBUF;
	} else {
		return false;
	}
	while (next_param(&params, &name, &value)) {
		if (str_eq(name, S("as"))) {
			as = value;
		} else if (str_eq(name, S("g"))) {
			g = value;
		} else if (str_eq(name, S("v"))) {
			v = value;
		} else if (str_eq(name, S("pretty"))) {
			m.pretty = str_eq(value, S("1"));
		}
	}
	if (as.len == 0) {
		*ret = m;
		return true;
	}
	if (str_eq(g, S("apidiscovery.k8s.io")) && str_eq(as, S("APIGroupDiscoveryList")) && (allow & MEDIA_ALLOW_DISCOVERY)) {
		m.as = AS_DISCOVERY;
		if (str_eq(v, S("v2"))) {
			m.as_version = S("v2");
		} else if (str_eq(v, S("v2beta1"))) {
			m.as_version = S("v2beta1");
		} else {
			return false;
		}
		*ret = m;
		return true;
	}
	if (!str_eq(g, S("meta.k8s.io")) || !(str_eq(v, S("v1")) || str_eq(v, S("v1beta1")))) {
		return false;
	}
	m.as_version = str_eq(v, S("v1")) ? S("v1") : S("v1beta1");
	if (str_eq(as, S("Table")) && (allow & MEDIA_ALLOW_TABLE) && m.format != MEDIA_PROTOBUF) {
		m.as = AS_TABLE;
	} else if (str_eq(as, S("PartialObjectMetadata")) && (allow & MEDIA_ALLOW_PARTIAL)) {
		m.as = AS_PARTIAL;
	} else if (str_eq(as, S("PartialObjectMetadataList")) && (allow & MEDIA_ALLOW_PARTIAL_LIST)) {
		m.as = AS_PARTIAL_LIST;
	} else {
		return false;
	}
	*ret = m;
	return true;
}

bool media_accept(struct str accept, int allow, struct media *ret, struct err *err) {
	struct str rest = accept, clause, type, params;
	struct media best = { .as_version = S("v1") }, m;
	int best_q = 0;

	if (str_trim(accept).len == 0) {
		*ret = best;
		return true;
	}
	while (str_next(&rest, ',', &clause)) {
		str_cut(str_trim(clause), ';', &type, &params);
		int q = clause_quality(params);
		if (q > best_q && clause_match(str_trim(type), params, allow, &m)) {
			best = m;
			best_q = q;
		}
	}
	if (best_q == 0) {
		return err_set(err, ERR_NOT_ACCEPTABLE, "only the following media types are accepted: %s",
			allow & MEDIA_NO_YAML ? JSON_TYPE ";stream=watch, " PROTOBUF_TYPE ";stream=watch"
					      : JSON_TYPE ", " YAML_TYPE ", " PROTOBUF_TYPE);
	}
	*ret = best;
	return true;
}

static struct str bare_type(struct str content_type) {
	struct str type, params;

	str_cut(content_type, ';', &type, &params);
	return str_trim(type);
}

bool media_body(struct str content_type, enum media_format *ret, struct err *err) {
	struct str t = bare_type(content_type);

	if (t.len == 0 || str_case_eq(t, S(JSON_TYPE))) {
		*ret = MEDIA_JSON;
	} else if (str_case_eq(t, S(YAML_TYPE))) {
		*ret = MEDIA_YAML;
	} else if (str_case_eq(t, S(PROTOBUF_TYPE))) {
		*ret = MEDIA_PROTOBUF;
	} else {
		return err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE, "the body of the request was in an unknown format - accepted media types include: %s",
			JSON_TYPE ", " YAML_TYPE ", " PROTOBUF_TYPE);
	}
	return true;
}

bool media_patch(struct str content_type, bool strategic, enum patch_type *ret, struct err *err) {
	struct str t = bare_type(content_type);

	if (str_eq(t, S("application/json-patch+json"))) {
		*ret = PATCH_JSON;
	} else if (str_eq(t, S("application/merge-patch+json"))) {
		*ret = PATCH_MERGE;
	} else if (str_eq(t, S("application/strategic-merge-patch+json")) && strategic) {
		*ret = PATCH_STRATEGIC;
	} else if (str_eq(t, S("application/apply-patch+yaml"))) {
		*ret = PATCH_APPLY;
	} else {
		return err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE, "the body of the request was in an unknown format - accepted media types include: %s",
			strategic ? "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, "
				    "application/apply-patch+yaml"
				  : "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml");
	}
	return true;
}

struct str media_type(const struct media *m, bool watch) {
	switch (m->format) {
	case MEDIA_JSON:
		break;
	case MEDIA_YAML:
		return S(YAML_TYPE);
	case MEDIA_PROTOBUF:
		return watch ? S(PROTOBUF_TYPE ";stream=watch") : S(PROTOBUF_TYPE);
	}
	if (m->as == AS_DISCOVERY) {
		return str_eq(m->as_version, S("v2")) ? S(JSON_TYPE ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
						      : S(JSON_TYPE ";g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList");
	}
	return S(JSON_TYPE);
}

bool media_pretty(struct str query_pretty, bool given, struct str user_agent) {
	if (given) {
		return query_bool(query_pretty) && query_pretty.len;
	}
	return str_starts(user_agent, S("curl")) || str_starts(user_agent, S("Wget")) || str_starts(user_agent, S("Mozilla/5.0"));
}
