/* SPDX-License-Identifier: Apache-2.0 */
/* namespace.c - Namespaces: phase, the `kubernetes` finalizer, the label with the name. */
#include "apiserver/kinds/kinds_private.h"

static void name_label(struct kind_ctx *x, struct value *o) {
	struct value *labels = value_ensure_object(x->arena, value_get(o, N_metadata), N_labels);
	value_set_key_str(x->arena, labels, S("kubernetes.io/metadata.name"), value_str_at(o, N_metadata, N_name));
	value_sort_keys(labels);
}

static void prepare_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_new_object(x->arena);
	value_set_str(x->arena, status, N_phase, S("Active"));
	value_set(x->arena, o, N_status, status);
	struct value *finalizers = value_ensure_array(x->arena, value_ensure_object(x->arena, o, N_spec), N_finalizers);
	VALUE_EACH(finalizers, f) {
		if (str_eq(value_as_str(f), S("kubernetes"))) {
			name_label(x, o);
			return;
		}
	}
	value_push_str(x->arena, finalizers, S("kubernetes"));
	name_label(x, o);
}

static void prepare_update(struct kind_ctx *x, struct value *o, const struct value *old) {
	value_set(x->arena, o, N_status, value_copy(x->arena, value_get(old, N_status)));
	value_set(x->arena, o, N_spec, value_copy(x->arena, value_get(old, N_spec))); /* finalizers change through /finalize */
	name_label(x, o);
}

const struct kind_ops namespace_ops = { .group = S_INIT(""), .resource = S_INIT("namespaces"), .prepare_create = prepare_create,
	.prepare_update = prepare_update, .name_rule = name_dns1123_label, .no_generation = true };
