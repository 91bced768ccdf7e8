/* SPDX-License-Identifier: Apache-2.0 */
/* node.c - Nodes: taints, the pod range that is given once. */
#include "apiserver/kinds/kinds_private.h"

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str effects[] = { S_INIT("NoSchedule"), S_INIT("PreferNoSchedule"), S_INIT("NoExecute") };
	const struct value *taints = value_at(o, N_spec, N_taints);
	size_t i = 0;
	VALUE_EACH(taints, t) {
		struct str p = path_index(c->arena, S("spec.taints"), i);
		const char *why = label_key_rule(value_str_at(t, N_key));
		if (why) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "key"), value_get(t, N_key), "%s", why);
		}
		if ((why = label_value_rule(value_str_at(t, N_value)))) {
			cause_add(c, CAUSE_INVALID, PATH(c, p, "value"), value_get(t, N_value), "%s", why);
		}
		must_be_one_of(c, value_get(t, N_effect), PATH(c, p, "effect"), effects, ARRAY_LEN(effects), true);
		for (size_t j = 0; j < i; j++) {
			const struct value *u = value_item(taints, j);
			if (str_eq(value_str_at(t, N_key), value_str_at(u, N_key)) && str_eq(value_str_at(t, N_effect), value_str_at(u, N_effect))) {
				cause_add(c, CAUSE_DUPLICATE, p, t, "taints must be unique by key and effect pair");
			}
		}
		i++;
	}
	i = 0;
	VALUE_EACH(value_at(o, N_spec, N_podCIDRs), cidr) {
		if (!is_cidr(value_as_str(cidr))) {
			cause_add(c, CAUSE_INVALID, path_index(c->arena, S("spec.podCIDRs"), i), cidr, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
		}
		i++;
	}
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	static const enum name_id once[] = { N_podCIDR, N_providerID };
	for (size_t i = 0; i < ARRAY_LEN(once); i++) {
		struct str now = value_str_at(o, N_spec, once[i]), was = value_str_at(old, N_spec, once[i]);
		if (was.len && !str_eq(now, was)) {
			cause_add(c, CAUSE_FORBIDDEN, path_field(c->arena, S("spec"), name_text(once[i])), NULL, "node updates may not change %.*s except from \"\" to valid",
				STR_ARG(name_text(once[i])));
		}
	}
}

const struct kind_ops node_ops = { .group = S_INIT(""), .resource = S_INIT("nodes"), .validate = validate, .validate_update = validate_update,
	.no_generation = true };
