/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patch.c - the PATCH verb: JSON patch, merge patch and strategic merge patch, applied to the current object in the version of the
 * request, decoded and handled as an update. A conflict with another writer is tried again on the new state, as upstream does.
 */
#include "apiserver/server.h"

#define OPERATIONS_MAX 10000

static bool read_patch(struct req *r, enum patch_type type, const struct value **ret, struct err *err) {
	struct json_opts opts = { .depth_max = 1000, .borrow = true };
	struct value *v = NULL;

	if (r->body_value) {
		*ret = r->body_value;
		return true;
	}
	bool ok = type == PATCH_APPLY ? yaml_parse(r->a, r->body, &opts, &v, err) : json_parse(r->a, r->body, &opts, &v, err);
	if (!ok) {
		struct str why = arena_str(r->a, str_c(err->msg));
		return err_set(err, ERR_BAD_REQUEST, type == PATCH_APPLY ? "error decoding YAML: %.*s" : "error decoding patch: %.*s", STR_ARG(why));
	}
	*ret = v;
	return true;
}

static bool patch_type_of(struct req *r, enum patch_type *ret, struct err *err) {
	if (!r->x) {
		*ret = r->patch;
		return true;
	}
	return media_patch(r->content_type, true, ret, err);
}

static bool apply(struct req *r, enum patch_type type, const struct schema_type *t, const struct value *current, const struct value *patch,
	struct value **ret, struct err *err) {
	switch (type) {
	case PATCH_JSON:
		if (!value_is(patch, VALUE_ARRAY)) {
			return err_set(err, ERR_BAD_REQUEST, "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch");
		}
		if (value_len(patch) > OPERATIONS_MAX) {
			return err_set(err, ERR_TOO_LARGE, "The allowed maximum operations in a JSON patch is %d, got %zu", OPERATIONS_MAX, value_len(patch));
		}
		return json_patch_apply(r->a, current, patch, ret, err);
	case PATCH_MERGE:
		if (!value_is(patch, VALUE_OBJECT)) {
			return err_set(err, ERR_BAD_REQUEST, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}");
		}
		*ret = merge_patch_apply(r->a, current, patch);
		return true;
	case PATCH_STRATEGIC:
		if (!value_is(patch, VALUE_OBJECT)) {
			return err_set(err, ERR_BAD_REQUEST, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}");
		}
		return smp_apply(r->a, t, current, patch, ret, err);
	case PATCH_APPLY:
		break;
	}
	return err_set(err, ERR_UNSUPPORTED_MEDIA_TYPE,
		"server-side apply (application/apply-patch+yaml) is not supported by this server yet: use client-side apply");
}

bool patch_value(struct req *r, const struct schema_type *type, const struct value *current, struct value **ret, struct err *err) {
	struct schema_report rep = { .arena = r->a };
	const struct value *patch = NULL;
	struct value *raw = NULL;
	enum patch_type pt;

	if (!patch_type_of(r, &pt, err) || !read_patch(r, pt, &patch, err) || !apply(r, pt, type, current, patch, &raw, err)) {
		return false;
	}
	if (!schema_decode(r->a, type, raw, &rep, ret, err)) {
		struct str why = arena_str(r->a, str_c(err->msg));
		schema_report_release(&rep);
		/* A value that no longer fits its type is the patch's fault: 422, as upstream. */
		struct causes c = { .arena = r->a };
		cause_add(&c, CAUSE_INVALID, S("patch"), raw, "%.*s", STR_ARG(why));
		return fail_invalid(r, schema_type_group(type), schema_type_short(type), r->info.name, &c, err);
	}
	if (rep.problems.len && r->opts.validation == FIELD_VALIDATION_STRICT) {
		struct str all = arena_join(r->a, rep.problems.at, rep.problems.len, S(", "));
		struct causes c = { .arena = r->a };
		cause_add(&c, CAUSE_INVALID, S("patch"), patch, "strict decoding error: %.*s", STR_ARG(all));
		schema_report_release(&rep);
		return fail_invalid(r, schema_type_group(type), schema_type_short(type), r->info.name, &c, err);
	}
	for (size_t i = 0; i < rep.problems.len && r->opts.validation == FIELD_VALIDATION_WARN; i++) {
		kind_warn(&r->kx, "%.*s", STR_ARG(rep.problems.at[i]));
	}
	schema_report_release(&rep);
	schema_default(r->a, type, *ret);
	return true;
}

static bool next_state(struct req *r, const struct value *current, void *arg, struct value **ret, struct err *err) {
	struct value *o = NULL;

	if (!patch_value(r, schema_resource_type(r->res), convert_to(r->a, current, r->res), &o, err)) {
		return false;
	}
	struct str name = value_str_at(o, N_metadata, N_name), ns = value_str_at(o, N_metadata, N_namespace);
	if (!str_eq(name, r->info.name)) {
		return err_set(err, ERR_BAD_REQUEST, "the name of the object (%.*s) does not match the name on the URL (%.*s)", STR_ARG(name), STR_ARG(r->info.name));
	}
	if (r->st->namespaced && !str_eq(ns, r->info.ns)) {
		return err_set(err, ERR_BAD_REQUEST, "the namespace of the object (%.*s) does not match the namespace on the request (%.*s)", STR_ARG(ns),
			STR_ARG(r->info.ns));
	}
	/* The resourceVersion that the patch does not set itself is the one it was applied to, and no precondition. */
	struct value *meta = value_get(o, N_metadata);
	if (str_eq(value_str_at(meta, N_resourceVersion), value_str_at(current, N_metadata, N_resourceVersion)) && !(r->st->flags & STORAGE_CONDITIONAL)) {
		value_remove(meta, N_resourceVersion);
	}
	*ret = convert_from(r->a, o, r->res);
	return true;
}

bool registry_patch(struct req *r, struct answer *ret, struct err *err) {
	bool created = false;
	enum patch_type pt;

	if (!patch_type_of(r, &pt, err)) {
		return false;
	}
	ret->res = r->res;
	bool ok = registry_modify_object(r, r->st, r->info.ns, r->info.name, r->sub ? MODIFY_STATUS : 0, next_state, NULL, &ret->obj, &created, err);
	ret->code = created ? 201 : 200;
	return ok;
}
