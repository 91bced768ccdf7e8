/* SPDX-License-Identifier: Apache-2.0 */
/* taint_toleration.c - taints NoSchedule and NoExecute keep pods away that do not tolerate them; PreferNoSchedule lowers the score. */
#include "scheduler/plugin.h"

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	VALUE_EACH(value_at(n->o->root, N_spec, N_taints), taint) {
		struct str effect = value_str_at(taint, N_effect);
		if ((str_eqc(effect, "NoSchedule") || str_eqc(effect, "NoExecute")) && !tolerations_tolerate(value_get(c->spec, N_tolerations), taint)) {
			return verdict_refuse(v,
				arena_printf(&c->arena, "node(s) had untolerated taint {%.*s: %.*s}", STR_ARG(value_str_at(taint, N_key)),
					STR_ARG(value_str_at(taint, N_value))),
				true);
		}
	}
	return true;
}

static bool prepare_score(struct cycle *c, struct node *const *fit, size_t n) {
	for (size_t i = 0; i < n; i++) {
		if (value_len(value_at(fit[i]->o->root, N_spec, N_taints))) {
			return true;
		}
	}
	return false;
}

static int64_t score(struct cycle *c, const struct node *n) {
	int64_t intolerable = 0;

	VALUE_EACH(value_at(n->o->root, N_spec, N_taints), taint) {
		bool tolerated = false;
		if (!str_eqc(value_str_at(taint, N_effect), "PreferNoSchedule")) {
			continue;
		}
		VALUE_EACH(value_get(c->spec, N_tolerations), t) {
			struct str effect = value_str_at(t, N_effect);
			tolerated = tolerated || ((!effect.len || str_eqc(effect, "PreferNoSchedule")) && toleration_tolerates(t, taint));
		}
		intolerable += !tolerated;
	}
	return intolerable;
}

static void normalize(struct cycle *c, struct node *const *fit, int64_t *scores, size_t n) {
	normalize_default(scores, n, true);
}

const struct sched_plugin taint_toleration_plugin = {
	.name = "TaintToleration",
	.weight = 3,
	.events = EVENT_NODE_ADD | EVENT_NODE_TAINTS | EVENT_POD_SPEC,
	.filter = filter,
	.prepare_score = prepare_score,
	.score = score,
	.normalize = normalize,
};
