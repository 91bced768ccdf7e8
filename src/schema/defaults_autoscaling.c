/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_autoscaling.c - defaults of the group autoscaling. See default.h for how hooks work. */
#include "schema/default.h"

static void add_policy(struct arena *a, struct value *policies, const char *type, int64_t amount) {
	struct value *p = value_new_object(a);

	value_set_str(a, p, N_type, str_c(type));
	value_set_int(a, p, N_value, amount);
	value_set_int(a, p, N_periodSeconds, 15);
	value_push(a, policies, p);
}

/* What is not said of scaling is said in full once anything is. */
static void scaling_rules(struct arena *a, struct value *rules, bool up) {
	default_ptr_text(a, rules, N_selectPolicy, "Max");
	if (up) {
		default_ptr_int(a, rules, N_stabilizationWindowSeconds, 0);
	}
	if (value_len(value_get(rules, N_policies)) == 0) {
		struct value *policies = value_new_array(a);

		if (up) {
			add_policy(a, policies, "Pods", 4);
		}
		add_policy(a, policies, "Percent", 100);
		value_set(a, rules, N_policies, policies);
	}
}

static void autoscaler_v2(struct arena *a, struct value *o) {
	struct value *behavior;

	default_ptr_int(a, o, N_minReplicas, 1);
	if (value_len(value_get(o, N_metrics)) == 0) {
		struct value *metrics = value_new_array(a), *metric = value_new_object(a), *resource = value_new_object(a), *target = value_new_object(a);

		value_set_str(a, target, N_type, S("Utilization"));
		value_set_int(a, target, N_averageUtilization, 80);
		value_set_str(a, resource, N_name, S("cpu"));
		value_set(a, resource, N_target, target);
		value_set_str(a, metric, N_type, S("Resource"));
		value_set(a, metric, N_resource, resource);
		value_push(a, metrics, metric);
		value_set(a, o, N_metrics, metrics);
	}
	behavior = value_get(o, N_behavior);
	if (value_is(behavior, VALUE_OBJECT)) {
		scaling_rules(a, value_ensure_object(a, behavior, N_scaleUp), true);
		scaling_rules(a, value_ensure_object(a, behavior, N_scaleDown), false);
	}
}

static void autoscaler_v1(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_minReplicas, 1);
}

const struct default_hook defaults_autoscaling[] = {
	{ T_autoscaling_v2_HorizontalPodAutoscalerSpec, autoscaler_v2 },
	{ T_autoscaling_v1_HorizontalPodAutoscalerSpec, autoscaler_v1 },
	{ 0 },
};
