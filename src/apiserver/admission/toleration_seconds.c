/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toleration_seconds.c - DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or out of reach, unless it
 * says otherwise.
 */
#include "apiserver/server.h"

#define SECONDS 300

static bool tolerates(const struct value *list, struct str key) {
	VALUE_EACH(list, t) {
		struct str k = value_str_at(t, N_key), effect = value_str_at(t, N_effect);
		if ((k.len == 0 || str_eq(k, key)) && (effect.len == 0 || str_eq(effect, S("NoExecute")))) {
			return true;
		}
	}
	return false;
}

static bool admit(struct admission *ad, struct err *err) {
	static const struct str keys[] = { S_INIT("node.kubernetes.io/not-ready"), S_INIT("node.kubernetes.io/unreachable") };
	struct arena *a = ad->r->a;

	if (ad->group.len || !str_eq(ad->resource, S("pods")) || ad->sub.len || !ad->object) {
		return true;
	}
	struct value *spec = value_ensure_object(a, ad->object, N_spec);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!tolerates(value_get(spec, N_tolerations), keys[i])) {
			struct value *t = value_push(a, value_ensure_array(a, spec, N_tolerations), value_new_object(a));
			value_set_str(a, t, N_key, keys[i]);
			value_set_str(a, t, N_operator, S("Exists"));
			value_set_str(a, t, N_effect, S("NoExecute"));
			value_set_int(a, t, N_tolerationSeconds, SECONDS);
		}
	}
	return true;
}

const struct admission_plugin admit_toleration_seconds = { "DefaultTolerationSeconds", ADMIT_CREATE | ADMIT_UPDATE, admit, NULL };
