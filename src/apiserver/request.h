/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - what a request asks, read from its method, URL and headers alone: resource and verb, options, media
 * types. No state, no I/O; results live in the arena and may borrow from the input.
 */
#ifndef APISERVER_REQUEST_H
#define APISERVER_REQUEST_H

#include "apiserver/kinds.h"
#include "base/arena.h"
#include "base/err.h"
#include "client/client.h"

/* Upstream's RequestInfo. */
struct request_info {
	bool is_resource;
	struct str verb;   /* "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"; else the method in lower case */
	struct str path;   /* unescaped */
	struct str prefix; /* "api" or "apis" */
	struct str group, version, ns, resource, subresource, name;
	struct str authz_name; /* name, or that of a metadata.name field selector */
	struct str rest;       /* what follows a proxy subresource, still escaped, with its '/', or empty */
	size_t parts;          /* how many segments follow the version: more than a route takes are not found */
};
/* Fails: ERR_BAD_REQUEST for a path that cannot be unescaped. */
NODISCARD bool request_info_parse(struct arena *a, struct str method, struct str path, struct str query, struct request_info *ret, struct err *err);

enum field_validation { FIELD_VALIDATION_WARN, FIELD_VALIDATION_IGNORE, FIELD_VALIDATION_STRICT };
enum rv_match { RV_MATCH_UNSET, RV_MATCH_EXACT, RV_MATCH_NOT_OLDER };
/* The query parameters of all verbs. */
struct request_opts {
	struct str label_selector, field_selector;
	struct str resource_version, continue_token;
	enum rv_match match;
	struct str match_text;
	int64_t limit;
	int64_t timeout_seconds; /* -1: not given */
	bool watch, bookmarks;
	bool has_initial_events, initial_events;
	bool dry_run, force, has_force;
	struct str field_manager;
	enum field_validation validation;
	struct str include_object; /* of Tables: "", "Metadata", "Object", "None" */
	/* delete */
	struct str propagation;
	bool has_grace, has_orphan, orphan;
	int64_t grace_seconds;
};
/*
 * Reads and checks the query for `verb`. Values that do not parse fail with ERR_BAD_REQUEST; broken rules are added to `causes`, of the kind
 * *ret_kind ("ListOptions").
 */
NODISCARD bool request_opts_parse(struct arena *a, struct str query, struct str verb, bool apply, struct request_opts *ret, struct causes *causes,
	struct str *ret_kind, struct err *err);

enum media_format { MEDIA_JSON, MEDIA_YAML, MEDIA_PROTOBUF };
enum media_as { AS_OBJECT, AS_TABLE, AS_PARTIAL, AS_PARTIAL_LIST, AS_DISCOVERY };
struct media {
	enum media_format format;
	enum media_as as;
	struct str as_version; /* "v1", "v2beta1"; static */
	bool pretty;
};
enum media_allow {
	MEDIA_ALLOW_TABLE = 1,
	MEDIA_ALLOW_PARTIAL = 2,
	MEDIA_ALLOW_PARTIAL_LIST = 4,
	MEDIA_ALLOW_DISCOVERY = 8,
	MEDIA_NO_YAML = 16, /* watches */
};
/* Chooses by an Accept header ("" accepts all). Fails: ERR_NOT_ACCEPTABLE with upstream's words. */
NODISCARD bool media_accept(struct str accept, int allow, struct media *ret, struct err *err);
/* The format of a request body by its Content-Type (empty: JSON). Fails: ERR_UNSUPPORTED_MEDIA_TYPE. */
NODISCARD bool media_body(struct str content_type, enum media_format *ret, struct err *err);
/* Fails: ERR_UNSUPPORTED_MEDIA_TYPE. `yaml` tells whether an apply body may be YAML. */
NODISCARD bool media_patch(struct str content_type, bool strategic, enum patch_type *ret, struct err *err);
struct str media_type(const struct media *m, bool watch); /* for Content-Type; static */
bool media_pretty(struct str query_pretty, bool given, struct str user_agent);
struct str selector_exact_name(struct str field_selector); /* what "metadata.name=x" asks for; "" when it does not */
bool query_bool(struct str value); /* as the API reads it: only "false" and "0" are not true */

#endif
