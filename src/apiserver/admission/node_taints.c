/* SPDX-License-Identifier: Apache-2.0 */
/* node_taints.c - TaintNodesByCondition: a new node takes no pods until the node lifecycle controller has seen it ready. */
#include "apiserver/server.h"

#define NOT_READY S("node.kubernetes.io/not-ready")

static bool admit(struct admission *ad, struct err *err) {
	struct arena *a = ad->r->a;

	if (ad->group.len || !str_eq(ad->resource, S("nodes")) || ad->sub.len) {
		return true;
	}
	struct value *taints = value_ensure_array(a, value_ensure_object(a, ad->object, N_spec), N_taints);
	VALUE_EACH(taints, t) {
		if (str_eq(value_str_at(t, N_key), NOT_READY) && str_eq(value_str_at(t, N_effect), S("NoSchedule"))) {
			return true;
		}
	}
	struct value *t = value_push(a, taints, value_new_object(a));
	value_set_str(a, t, N_key, NOT_READY);
	value_set_str(a, t, N_effect, S("NoSchedule"));
	return true;
}

const struct admission_plugin admit_node_taints = { "TaintNodesByCondition", ADMIT_CREATE, admit, NULL };
