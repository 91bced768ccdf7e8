/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_rbac.c - defaults of rbac.authorization.k8s.io. See default.h for how hooks work. */
#include "schema/default.h"

static void role_ref(struct arena *a, struct value *o) {
	default_text(a, o, N_apiGroup, "rbac.authorization.k8s.io");
}

static void subject(struct arena *a, struct value *o) {
	struct str kind = value_str_at(o, N_kind);

	if (str_eq(kind, S("User")) || str_eq(kind, S("Group"))) {
		default_text(a, o, N_apiGroup, "rbac.authorization.k8s.io");
	}
}

const struct default_hook defaults_rbac[] = {
	{ T_rbac_v1_RoleRef, role_ref },
	{ T_rbac_v1_Subject, subject },
	{ 0 },
};
