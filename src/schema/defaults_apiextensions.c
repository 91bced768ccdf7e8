/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_apiextensions.c - defaults of apiextensions.k8s.io and apiregistration.k8s.io. See default.h for how hooks work. */
#include "schema/default.h"

static void definition_spec(struct arena *a, struct value *o) {
	struct value *names = value_ensure_object(a, o, N_names);
	struct str kind = value_str_at(names, N_kind);

	if (value_str_at(names, N_singular).len == 0) {
		char *lower = arena_cstr(a, kind);

		for (char *p = lower; *p; p++) {
			*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
		}
		value_set_str(a, names, N_singular, str_c(lower));
	}
	if (value_str_at(names, N_listKind).len == 0 && kind.len) {
		value_set_str(a, names, N_listKind, arena_printf(a, "%.*sList", STR_ARG(kind)));
	}
	if (default_absent(o, N_conversion)) {
		struct value *conversion = value_new_object(a);

		value_set_str(a, conversion, N_strategy, S("None"));
		value_set(a, o, N_conversion, conversion);
	}
}

static void service_reference(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_port, 443);
}

const struct default_hook defaults_apiextensions[] = {
	{ T_apiextensions_v1_CustomResourceDefinitionSpec, definition_spec },
	{ T_apiextensions_v1_ServiceReference, service_reference },
	{ T_apiregistration_v1_ServiceReference, service_reference },
	{ 0 },
};
