/* SPDX-License-Identifier: Apache-2.0 */
/* validate_meta.c - ObjectMeta's rules, the same for every kind (apimachinery/pkg/api/validation). The request's thread. */
#include "apiserver/kinds.h"
#include "apiserver/kinds/kinds_private.h"

#define ANNOTATIONS_MAX (256 * 1024)

void validate_labels(const struct value *labels, struct str path, struct causes *c) {
	for (size_t i = 0; i < value_len(labels); i++) {
		struct str key = value_key(labels, i);
		const char *why = label_key_rule(key);
		if (why) {
			cause_add(c, CAUSE_INVALID, path, value_new_str(c->arena, key), "%s", why);
		}
		why = label_value_rule(value_as_str(value_item(labels, i)));
		if (why) {
			cause_add(c, CAUSE_INVALID, path_key(c->arena, path, key), value_item(labels, i), "%s", why);
		}
	}
}

void validate_annotations(const struct value *annotations, struct str path, struct causes *c) {
	size_t total = 0;
	for (size_t i = 0; i < value_len(annotations); i++) {
		struct str key = value_key(annotations, i);
		char lower[320];
		struct str k = key;
		if (key.len < sizeof(lower)) { /* upper case is allowed in annotation prefixes */
			for (size_t j = 0; j < key.len; j++) {
				char ch = key.ptr[j];
				lower[j] = ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
			}
			k = (struct str){ lower, key.len };
		}
		const char *why = label_key_rule(k);
		if (why) {
			cause_add(c, CAUSE_INVALID, path, value_new_str(c->arena, key), "%s", why);
		}
		total += key.len + value_as_str(value_item(annotations, i)).len;
	}
	if (total > ANNOTATIONS_MAX) {
		cause_add(c, CAUSE_TOO_LONG, path, NULL, "may not be more than %d bytes", ANNOTATIONS_MAX);
	}
}

static void validate_owners(const struct value *owners, struct str path, struct causes *c) {
	struct arena *a = c->arena;
	struct str controller = { 0 };
	for (size_t i = 0; i < value_len(owners); i++) {
		const struct value *o = value_item(owners, i);
		struct str p = path_index(a, path, i);
		static const struct { enum name_id name; struct str text; } must[] = {
			{ N_apiVersion, S_INIT("version must not be empty") },
			{ N_kind, S_INIT("must not be empty") },
			{ N_name, S_INIT("must not be empty") },
			{ N_uid, S_INIT("must not be empty") },
		};
		for (size_t k = 0; k < ARRAY_LEN(must); k++) {
			if (!value_str_at(o, must[k].name).len) {
				cause_add(c, CAUSE_INVALID, path_field(a, p, name_text(must[k].name)), value_new_str(a, S("")), "%.*s", STR_ARG(must[k].text));
			}
		}
		if (str_eq(value_str_at(o, N_kind), S("Event")) && str_eq(value_str_at(o, N_apiVersion), S("v1"))) {
			cause_add(c, CAUSE_INVALID, p, o, "/v1, Kind=Event is disallowed from being an owner");
		}
		if (value_bool_at(o, N_controller)) {
			if (controller.len) {
				cause_add(c, CAUSE_INVALID, path, owners, "Only one reference can have Controller set to true. Found \"true\" in references for %.*s and %.*s",
					STR_ARG(controller), STR_ARG(value_str_at(o, N_name)));
			}
			controller = value_str_at(o, N_name);
		}
	}
}

static void validate_finalizers(const struct value *finalizers, struct str path, struct causes *c) {
	bool orphan = false, foreground = false;
	for (size_t i = 0; i < value_len(finalizers); i++) {
		const struct value *f = value_item(finalizers, i);
		const char *why = label_key_rule(value_as_str(f));
		if (why) {
			cause_add(c, CAUSE_INVALID, path, f, "%s", why);
		}
		orphan = orphan || str_eq(value_as_str(f), S("orphan"));
		foreground = foreground || str_eq(value_as_str(f), S("foregroundDeletion"));
	}
	if (orphan && foreground) {
		cause_add(c, CAUSE_INVALID, path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set");
	}
}

void validate_meta(struct kind_ctx *x, const struct value *o, bool namespaced, const struct kind_ops *ops, struct causes *c) {
	const struct value *meta = value_get(o, N_metadata);
	const char *(*rule)(struct str, bool) = ops->name_rule ? ops->name_rule : name_dns1123_subdomain;
	struct str name = value_str_at(meta, N_name), generate = value_str_at(meta, N_generateName), ns = value_str_at(meta, N_namespace);
	const char *why;
	if (generate.len && (why = rule(generate, true))) {
		cause_add(c, CAUSE_INVALID, S("metadata.generateName"), value_get(meta, N_generateName), "%s", why);
	}
	if (!name.len) {
		cause_add(c, CAUSE_REQUIRED, S("metadata.name"), NULL, "name or generateName is required");
	} else if ((why = rule(name, false))) {
		cause_add(c, CAUSE_INVALID, S("metadata.name"), value_get(meta, N_name), "%s", why);
	}
	if (namespaced) {
		if (!ns.len) {
			cause_add(c, CAUSE_REQUIRED, S("metadata.namespace"), NULL, NULL);
		} else if ((why = name_dns1123_label(ns, false))) {
			cause_add(c, CAUSE_INVALID, S("metadata.namespace"), value_get(meta, N_namespace), "%s", why);
		}
	} else if (ns.len) {
		cause_add(c, CAUSE_FORBIDDEN, S("metadata.namespace"), NULL, "not allowed on this type");
	}
	if (value_int_at(meta, N_generation) < 0) {
		cause_add(c, CAUSE_INVALID, S("metadata.generation"), value_get(meta, N_generation), "must be greater than or equal to 0");
	}
	validate_labels(value_get(meta, N_labels), S("metadata.labels"), c);
	validate_annotations(value_get(meta, N_annotations), S("metadata.annotations"), c);
	validate_owners(value_get(meta, N_ownerReferences), S("metadata.ownerReferences"), c);
	validate_finalizers(value_get(meta, N_finalizers), S("metadata.finalizers"), c);
}

static void immutable_str(const struct value *now, const struct value *was, enum name_id name, struct causes *c) {
	if (!str_eq(value_str_at(now, name), value_str_at(was, name))) {
		cause_add(c, CAUSE_INVALID, path_field(c->arena, S("metadata"), name_text(name)), value_get(now, name), "field is immutable");
	}
}

void validate_meta_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	const struct value *now = value_get(o, N_metadata), *was = value_get(old, N_metadata);
	immutable_str(now, was, N_name, c);
	immutable_str(now, was, N_namespace, c);
	immutable_str(now, was, N_uid, c);
	immutable_str(now, was, N_creationTimestamp, c);
	/* While an object is being deleted, finalizers may go but not come. */
	if (value_str_at(was, N_deletionTimestamp).len) {
		VALUE_EACH(value_get(now, N_finalizers), f) {
			bool known = false;
			VALUE_EACH(value_get(was, N_finalizers), g) {
				known = known || str_eq(value_as_str(f), value_as_str(g));
			}
			if (!known) {
				cause_add(c, CAUSE_FORBIDDEN, S("metadata.finalizers"), NULL, "no new finalizers can be added if the object is being deleted, found new finalizers []string{\"%.*s\"}",
					STR_ARG(value_as_str(f)));
			}
		}
	}
	validate_labels(value_get(now, N_labels), S("metadata.labels"), c);
	validate_annotations(value_get(now, N_annotations), S("metadata.annotations"), c);
	validate_owners(value_get(now, N_ownerReferences), S("metadata.ownerReferences"), c);
	validate_finalizers(value_get(now, N_finalizers), S("metadata.finalizers"), c);
}
