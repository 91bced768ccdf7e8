/* SPDX-License-Identifier: Apache-2.0 */
/* sub_scale.c - the scale subresource: an autoscaling/v1 Scale that stands for spec.replicas of whatever has them. */
#include "apiserver/server.h"
#include "client/selector.h"

static struct value *scale_of(struct req *r, const struct value *o) {
	static const uint16_t metas[] = { N_name, N_namespace, N_uid, N_resourceVersion, N_creationTimestamp };
	struct value *s = value_new_object(r->a), *meta, *spec, *status;
	const struct selector *sel = NULL;
	struct err err = { 0 };

	value_set_str(r->a, s, N_kind, S("Scale"));
	value_set_str(r->a, s, N_apiVersion, S("autoscaling/v1"));
	meta = value_ensure_object(r->a, s, N_metadata);
	for (size_t i = 0; i < ARRAY_LEN(metas); i++) {
		const struct value *v = value_at(o, N_metadata, metas[i]);
		if (v) {
			value_set(r->a, meta, metas[i], value_copy(r->a, v));
		}
	}
	spec = value_ensure_object(r->a, s, N_spec);
	if (value_int_at(o, N_spec, N_replicas)) {
		value_set_int(r->a, spec, N_replicas, value_int_at(o, N_spec, N_replicas));
	}
	status = value_ensure_object(r->a, s, N_status);
	value_set_int(r->a, status, N_replicas, value_int_at(o, N_status, N_replicas));
	const struct value *text = value_at(o, N_spec, N_selector);
	if (r->st->group.len == 0) { /* a ReplicationController's is a plain map */
		sel = selector_from_map(r->a, text);
	} else if (!selector_from_value(r->a, text, &sel, &err)) {
		sel = NULL;
	}
	if (value_len(text)) {
		value_set_str(r->a, status, N_selector, selector_text(r->a, sel));
	}
	return s;
}

static bool next_scale(struct req *r, const struct value *current, void *arg, struct value **ret, struct err *err) {
	const struct schema_type *type = schema_kind_find(S("autoscaling"), S("v1"), S("Scale"));
	struct value *scale = NULL;

	if (r->verb == VERB_PATCH) {
		if (!patch_value(r, type, scale_of(r, current), &scale, err)) {
			return false;
		}
	} else {
		scale = value_copy(r->a, *(struct value *const *)arg);
	}
	struct str name = value_str_at(scale, N_metadata, N_name);
	if (!str_eq(name, r->info.name)) {
		return err_set(err, ERR_BAD_REQUEST, "the name of the object (%.*s) does not match the name on the URL (%.*s)", STR_ARG(name), STR_ARG(r->info.name));
	}
	int64_t replicas = value_int_at(scale, N_spec, N_replicas);
	if (replicas < 0) {
		struct causes c = { .arena = r->a };
		cause_add(&c, CAUSE_INVALID, S("spec.replicas"), value_new_int(r->a, replicas), "must be greater than or equal to 0");
		return fail_invalid(r, S("autoscaling"), S("Scale"), name, &c, err);
	}
	struct value *o = value_copy(r->a, current);
	value_set_int(r->a, value_ensure_object(r->a, o, N_spec), N_replicas, replicas);
	/* The Scale's resourceVersion is a precondition when it names another than a patch started from. */
	struct str rv = value_str_at(scale, N_metadata, N_resourceVersion);
	if (rv.len && !(r->verb == VERB_PATCH && str_eq(rv, value_str_at(current, N_metadata, N_resourceVersion)))) {
		value_set_str(r->a, value_get(o, N_metadata), N_resourceVersion, rv);
	} else {
		value_remove(value_get(o, N_metadata), N_resourceVersion);
	}
	*ret = o;
	return true;
}

bool serve_scale(struct req *r, struct answer *ret, struct err *err) {
	const struct schema_type *type = schema_kind_find(S("autoscaling"), S("v1"), S("Scale"));
	struct value *scale = NULL;

	if (r->verb == VERB_GET) {
		auto_obj struct obj *o = storage_get(r->st, r->info.ns, r->info.name);
		if (!o) {
			return fail_not_found(r, r->st->group, r->st->resource, r->info.name, err);
		}
		ret->value = scale_of(r, o->root);
		return true;
	}
	if (r->verb == VERB_UPDATE && !body_decode(r, type, true, &scale, err)) {
		return false;
	}
	auto_obj struct obj *o = NULL;
	if (!registry_modify_object(r, r->st, r->info.ns, r->info.name, 0, next_scale, &scale, &o, NULL, err)) {
		return false;
	}
	ret->value = scale_of(r, o->root);
	return true;
}
