/* SPDX-License-Identifier: Apache-2.0 */
/* selection.c - what a list, watch or deletecollection selects: label and field selectors of the request, matched against stored objects. */
#include "apiserver/server.h"
#include "client/selector.h"

/* Labels of events.k8s.io name the same stored fields otherwise. */
static struct str stored_label(struct req *r, struct str label) {
	if (!str_eq(r->info.group, S("events.k8s.io"))) {
		return label;
	}
	if (str_starts(label, S("regarding."))) {
		struct str rest = str_from(label, sizeof("regarding.") - 1);
		return arena_printf(r->a, "involvedObject.%.*s", STR_ARG(rest));
	}
	return str_eq(label, S("reportingController")) ? S("reportingComponent") : label;
}

bool selection_parse(struct req *r, struct selection *ret, struct err *err) {
	struct selection s = { .res = r->st->res, .ns = r->info.ns };
	struct field_selector f = { 0 };

	if (r->opts.label_selector.len && !selector_parse(r->a, r->opts.label_selector, &s.labels, err)) {
		return false;
	}
	if (r->opts.field_selector.len && !field_selector_parse(r->a, r->opts.field_selector, &f, err)) {
		return false;
	}
	for (size_t i = 0; i < f.len; i++) {
		struct str label;
		if (!schema_field_label(r->res, f.at[i].path, &label, err)) {
			return false;
		}
		if (s.fields_len == ARRAY_LEN(s.fields)) {
			return err_set(err, ERR_BAD_REQUEST, "too many terms in field selector");
		}
		if (str_eq(label, S("metadata.name")) && !f.at[i].negate) {
			s.name = f.at[i].value;
		}
		s.fields[s.fields_len].label = stored_label(r, label);
		s.fields[s.fields_len].value = f.at[i].value;
		s.fields[s.fields_len++].negate = f.at[i].negate;
	}
	if (r->info.name.len && r->verb == VERB_WATCH) { /* /api/v1/watch/.../name, the old form */
		s.name = r->info.name;
	}
	*ret = s;
	return true;
}

bool selection_is_all(const struct selection *sel) {
	return !sel->labels && sel->fields_len == 0;
}

bool selection_matches(const struct selection *sel, const struct value *root) {
	if (sel->labels && !selector_matches(sel->labels, value_at(root, N_metadata, N_labels))) {
		return false;
	}
	for (size_t i = 0; i < sel->fields_len; i++) {
		struct str label = sel->fields[i].label, have;
		auto_arena struct arena a = { 0 };
		/* The three that everybody asks for, without an arena. */
		if (str_eq(label, S("metadata.name"))) {
			have = value_str_at(root, N_metadata, N_name);
		} else if (str_eq(label, S("metadata.namespace"))) {
			have = value_str_at(root, N_metadata, N_namespace);
		} else if (str_eq(label, S("spec.nodeName"))) {
			have = value_str_at(root, N_spec, N_nodeName);
		} else {
			have = schema_field_text(&a, sel->res, root, label);
		}
		if (str_eq(have, sel->fields[i].value) == sel->fields[i].negate) {
			return false;
		}
	}
	return true;
}
