/* SPDX-License-Identifier: Apache-2.0 */
/* component_status.c - componentstatuses: deprecated since 1.19, still listed by tools. */
#include "apiserver/server.h"

static struct value *component(struct req *r, const char *name) {
	struct value *o = value_new_object(r->a);

	value_set_str(r->a, o, N_kind, S("ComponentStatus"));
	value_set_str(r->a, o, N_apiVersion, S("v1"));
	value_set_str(r->a, value_ensure_object(r->a, o, N_metadata), N_name, str_c(name));
	struct value *c = value_push(r->a, value_ensure_array(r->a, o, N_conditions), value_new_object(r->a));
	value_set_str(r->a, c, N_type, S("Healthy"));
	value_set_str(r->a, c, N_status, S("True"));
	value_set_str(r->a, c, N_message, S("ok"));
	return o;
}

bool serve_component_status(struct req *r, struct answer *ret, struct err *err) {
	static const char *const names[] = { "controller-manager", "scheduler", "etcd-0" };

	kind_warn(&r->kx, "v1 ComponentStatus is deprecated in v1.19+");
	ret->res = r->res;
	if (r->verb == VERB_GET) {
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			if (str_eqc(r->info.name, names[i])) {
				ret->value = component(r, names[i]);
				return true;
			}
		}
		return fail_not_found(r, S(""), S("componentstatuses"), r->info.name, err);
	}
	struct value *list = value_new_object(r->a), *items = value_new_array(r->a);
	value_set_str(r->a, list, N_kind, S("ComponentStatusList"));
	value_set_str(r->a, list, N_apiVersion, S("v1"));
	value_set(r->a, list, N_metadata, value_new_object(r->a));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		value_push(r->a, items, component(r, names[i]));
	}
	value_set(r->a, list, N_items, items);
	ret->value = list;
	return true;
}
