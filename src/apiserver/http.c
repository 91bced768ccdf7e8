/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.c - the edge: one HTTP request in, one answer out. Limits, authentication, authorisation, then route.c. Runs on
 * a pool thread per request.
 */
#include "apiserver/http.h"

#include "base/log.h"

#define READERS_MAX 400 /* upstream's --max-requests-inflight and --max-mutating-requests-inflight */
#define WRITERS_MAX 200

static void reply_text(struct http_exchange *x, int status, struct str text) {
	http_reply(x, status, S("text/plain; charset=utf-8"), text);
}

static bool long_running(const struct req *r) {
	static const struct str subs[] = { S_INIT("log"), S_INIT("exec"), S_INIT("attach"), S_INIT("portforward"), S_INIT("proxy") };

	for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
		if (str_eq(r->info.subresource, subs[i])) {
			return true;
		}
	}
	return r->verb == VERB_WATCH;
}

static bool mutating(const struct req *r) {
	return r->verb == VERB_CREATE || r->verb == VERB_UPDATE || r->verb == VERB_PATCH || r->verb == VERB_DELETE || r->verb == VERB_DELETE_COLLECTION;
}

static int accept_allows(const struct req *r) {
	if (!r->info.is_resource) {
		return str_eq(r->info.path, S("/api")) || str_eq(r->info.path, S("/apis")) ? MEDIA_ALLOW_DISCOVERY : 0;
	}
	switch (r->verb) {
	case VERB_LIST:
		return MEDIA_ALLOW_TABLE | MEDIA_ALLOW_PARTIAL_LIST;
	case VERB_WATCH:
		return MEDIA_ALLOW_TABLE | MEDIA_ALLOW_PARTIAL | MEDIA_NO_YAML;
	case VERB_DELETE_COLLECTION:
		return MEDIA_ALLOW_TABLE | MEDIA_ALLOW_PARTIAL_LIST;
	case VERB_NONE:
		return 0;
	case VERB_GET:
	case VERB_CREATE:
	case VERB_UPDATE:
	case VERB_PATCH:
	case VERB_DELETE:
		break;
	}
	return MEDIA_ALLOW_TABLE | MEDIA_ALLOW_PARTIAL;
}

static struct access access_of(const struct req *r) {
	struct access q = { .user = r->user, .verb = r->info.verb, .resource = r->info.is_resource, .path = r->info.path };

	if (q.resource) {
		q.group = r->info.group;
		q.version = r->info.version;
		q.res = r->info.resource;
		q.sub = r->info.subresource;
		q.ns = r->info.ns;
		q.name = r->info.authz_name;
	}
	return q;
}

static bool read_options(struct req *r, struct err *err) {
	struct causes c = { .arena = r->a };
	struct str kind, bare, params;

	str_cut(r->content_type, ';', &bare, &params);
	bool apply = str_eq(str_trim(bare), S("application/apply-patch+yaml"));
	if (!request_opts_parse(r->a, r->x->query, r->info.verb, apply, &r->opts, &c, &kind, err)) {
		return false;
	}
	r->kx.dry_run = r->opts.dry_run;
	return c.len ? fail_invalid(r, S("meta.k8s.io"), kind, S(""), &c, err) : true;
}

static bool media_of(struct req *r, struct err *err) {
	struct str pretty;
	bool given = url_query_get(r->a, r->x->query, S("pretty"), &pretty);
	bool text_only = r->info.is_resource && (str_eq(r->info.subresource, S("log")) || str_eq(r->info.subresource, S("proxy")) ||
							str_eq(r->info.subresource, S("exec")) || str_eq(r->info.subresource, S("attach")) ||
							str_eq(r->info.subresource, S("portforward")));

	r->accept.as_version = S("v1");
	if (!r->info.is_resource || text_only) {
		struct err ignored = { 0 };
		if (!media_accept(http_request_header(r->x, S("Accept")), accept_allows(r), &r->accept, &ignored)) {
			r->accept = (struct media){ .as_version = S("v1") };
		}
	} else if (!media_accept(http_request_header(r->x, S("Accept")), accept_allows(r), &r->accept, err)) {
		r->accept = (struct media){ .as_version = S("v1") };
		return false;
	}
	if (media_pretty(pretty, given, http_request_header(r->x, S("User-Agent")))) {
		r->accept.pretty = true;
	}
	return true;
}

static bool serve(struct req *r, struct answer *ans, struct err *err) {
	const struct access q = access_of(r);
	struct str reason = S("");

	if (authorize(r->s, r->a, &q, &reason) != DECISION_ALLOW) {
		return fail_access(r, &q, reason, err);
	}
	if (!r->info.is_resource) {
		return nonresource_serve(r, ans, err);
	}
	return route_find(r, err) && media_of(r, err) && read_options(r, err) && route_resource(r, ans, err);
}

/* The groups served by a web service of their own answer unknown resources with a Status; anything else with plain text, as upstream does. */
static bool group_is_served(const struct req *r) {
	for (size_t g = 0; g < schema_groups_len; g++) {
		for (size_t v = 0; v < schema_groups[g].versions_len; v++) {
			const struct schema_version *ver = &schema_versions[schema_groups[g].versions_at + v];
			if (ver->served && str_eq(schema_text(schema_groups[g].name), r->info.group) && str_eq(schema_text(ver->name), r->info.version)) {
				return true;
			}
		}
	}
	return false;
}

static void finish(struct req *r, struct answer *ans, bool ok, struct err *err, nsec_t begun) {
	int code = ok ? (ans->code ? ans->code : 200) : err_http(err->code);

	if (ok) {
		reply_answer(r, ans);
	} else if (!ans->answered) {
		if (err->code == ERR_NOT_FOUND && r->info.is_resource && !r->res && !group_is_served(r)) {
			reply_text(r->x, 404, S("404 page not found\n"));
		} else {
			reply_error(r, err);
		}
		if (code >= 500) {
			log_warn("apiserver", "request failed", kv_str("method", r->x->method), kv_str("path", r->x->path), kv_err(err));
		}
	}
	metrics_request(r, code, clock_mono() - begun);
	answer_release(ans);
}

/* One more in flight, unless too many are. */
static bool enter(int *count, int max) {
	if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) > max) {
		__atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
		return false;
	}
	return true;
}

void http_handle(struct http_exchange *x, void *arg) {
	struct apiserver *s = arg;
	struct err err = { 0 };
	struct answer ans = { 0 };
	struct req r = { .s = s, .a = &x->arena, .x = x, .body = x->body, .content_type = http_request_header(x, S("Content-Type")) };
	nsec_t begun = clock_mono();
	int *slot = NULL;

	http_header_set(x, S("Cache-Control"), S("no-cache, private"));
	r.accept.as_version = S("v1");
	if (!request_info_parse(r.a, x->method, x->path, x->query, &r.info, &err)) {
		finish(&r, &ans, false, &err, begun);
		return;
	}
	r.verb = r.info.is_resource ? verb_of(r.info.verb) : VERB_NONE;
	r.kx.arena = r.a;
	r.kx.ns = r.info.ns;
	r.kx.name = r.info.name;
	r.kx.services = s->services;
	bool ok = media_of(&r, &err);
	if (ok && !long_running(&r)) {
		slot = mutating(&r) ? &s->writers : &s->readers;
		if (!enter(slot, mutating(&r) ? WRITERS_MAX : READERS_MAX)) {
			http_header_set(x, S("Retry-After"), S("1"));
			reply_text(x, 429, S("Too many requests, please try again later.\n"));
			metrics_request(&r, 429, clock_mono() - begun);
			return;
		}
	}
	ok = ok && authn_request(s->authn, x, r.a, &r.user, &err) && impersonate(&r, &err);
	r.kx.user = r.user.name;
	r.kx.groups = r.user.groups;
	r.kx.groups_len = r.user.groups_len;
	ok = ok && serve(&r, &ans, &err);
	finish(&r, &ans, ok, &err, begun);
	if (slot) {
		__atomic_sub_fetch(slot, 1, __ATOMIC_RELAXED);
	}
}
