/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.c - field selectors: which labels a kind knows, and what they say of a stored object. Called by the API
 * server's lists and watches. Any thread.
 */
#include "schema/schema.h"

/* The message of a resource with {label} and {gvk} filled in. */
static bool not_supported(const struct schema_resource *r, struct str label, struct err *err) {
	struct str words = r ? schema_text(r->select_error) : S("");
	auto_buf struct buf b = BUF_INIT(1024);

	label = str_sub(label, 0, 200);
	if (words.len == 0) {
		return err_set(err, ERR_BAD_REQUEST, "\"%.*s\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", STR_ARG(label));
	}
	while (words.len) {
		if (str_starts(words, S("{label}"))) {
			buf_str(&b, label);
			words = str_from(words, 7);
		} else if (str_starts(words, S("{gvk}"))) {
			struct str group = schema_resource_group(r), version = schema_resource_version(r), kind = schema_type_short(schema_resource_type(r));

			buf_printf(&b, "%.*s/%.*s, Kind=%.*s", STR_ARG(group), STR_ARG(version), STR_ARG(kind));
			words = str_from(words, 5);
		} else {
			buf_char(&b, words.ptr[0]);
			words = str_from(words, 1);
		}
	}
	return err_set(err, ERR_BAD_REQUEST, "%.*s", STR_ARG(buf_view(&b)));
}

bool schema_field_label(const struct schema_resource *r, struct str label, struct str *ret_label, struct err *err) {
	for (size_t i = 0; r && i < r->aliases_len; i++) {
		const uint32_t *alias = schema_select_aliases[r->aliases_at + i];

		if (str_eq(schema_text(alias[0]), label)) {
			*ret_label = schema_text(alias[1]);
			return true;
		}
	}
	for (size_t i = 0; r && i < r->selects_len; i++) {
		struct str known = schema_text(schema_selects[r->selects_at + i]);

		if (str_eq(known, label)) {
			*ret_label = known;
			return true;
		}
	}
	if (!r || r->selects_len == 0) {
		if (str_eq(label, S("metadata.name")) || str_eq(label, S("metadata.namespace"))) {
			*ret_label = label;
			return true;
		}
	}
	return not_supported(r, label, err);
}

static const struct value *walk_path(const struct value *v, struct str path) {
	struct str piece;

	while (v && str_next(&path, '.', &piece)) {
		v = value_get_str(v, piece);
	}
	return v;
}

struct str schema_field_text(struct arena *a, const struct schema_resource *r, const struct value *object, struct str label) {
	if (str_eq(label, S("metadata.name"))) {
		return value_str_at(object, N_metadata, N_name);
	}
	if (str_eq(label, S("metadata.namespace"))) {
		return value_str_at(object, N_metadata, N_namespace);
	}
	if (str_eq(label, S("spec.hostNetwork")) || str_eq(label, S("spec.unschedulable"))) {
		return value_as_bool(walk_path(object, label)) ? S("true") : S("false");
	}
	if (str_eq(label, S("status.podIP"))) {
		const struct value *first = value_item(value_at(object, N_status, N_podIPs), 0);

		return first ? value_str_at(first, N_ip) : value_str_at(object, N_status, N_podIP);
	}
	if (str_eq(label, S("status.podIPs"))) {
		return S("");
	}
	if (str_eq(label, S("source"))) { /* of an event */
		struct str component = value_str_at(object, N_source, N_component);

		return component.len ? component : value_str_at(object, N_reportingComponent);
	}
	if (str_eq(label, S("status.successful"))) {
		return arena_printf(a, "%lld", (long long)value_int_at(object, N_status, N_succeeded));
	}
	if (str_eq(label, S("status.replicas"))) {
		return arena_printf(a, "%lld", (long long)value_int_at(object, N_status, N_replicas));
	}
	if (str_starts(label, S("regarding.")) && !value_get(object, N_regarding)) { /* events are stored in the core group's form */
		return value_as_text(a, walk_path(value_get(object, N_involvedObject), str_from(label, 10)));
	}
	if (str_eq(label, S("reportingController")) && !value_get(object, N_reportingController)) {
		return value_str_at(object, N_reportingComponent);
	}
	return value_as_text(a, walk_path(object, label));
}
