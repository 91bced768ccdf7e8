/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_batch.c - defaults of the group batch. See default.h for how hooks work. */
#include "schema/default.h"

static void failure_policy(struct arena *a, struct value *policy) {
	struct value *rules = value_get(policy, N_rules);

	for (size_t i = 0; i < value_len(rules); i++) {
		struct value *conditions = value_get(value_item(rules, i), N_onPodConditions);

		for (size_t k = 0; k < value_len(conditions); k++) {
			default_text(a, value_item(conditions, k), N_status, "True");
		}
	}
}

/* A Job, not the template of one in a CronJob. */
static void job(struct arena *a, struct value *o) {
	struct value *spec = value_ensure_object(a, o, N_spec);
	const struct value *labels;
	bool policy;

	if (default_absent(spec, N_parallelism) && default_absent(spec, N_completions)) {
		value_set_int(a, spec, N_completions, 1);
	}
	default_ptr_int(a, spec, N_parallelism, 1);
	default_ptr_int(a, spec, N_backoffLimit, default_absent(spec, N_backoffLimitPerIndex) ? 6 : INT32_MAX);
	default_ptr_text(a, spec, N_completionMode, "NonIndexed");
	default_ptr_bool(a, spec, N_suspend, false);
	default_ptr_bool(a, spec, N_manualSelector, false);
	policy = !default_absent(spec, N_podFailurePolicy);
	failure_policy(a, value_get(spec, N_podFailurePolicy));
	default_ptr_text(a, spec, N_podReplacementPolicy, policy ? "Failed" : "TerminatingOrFailed");
	labels = value_at(spec, N_template, N_metadata, N_labels);
	if (value_len(labels) && value_len(value_at(o, N_metadata, N_labels)) == 0) {
		struct value *copy = value_copy(a, labels);

		value_set(a, value_ensure_object(a, o, N_metadata), N_labels, copy);
	}
}

static void cron_job(struct arena *a, struct value *o) {
	default_text(a, o, N_concurrencyPolicy, "Allow");
	default_ptr_bool(a, o, N_suspend, false);
	default_ptr_int(a, o, N_successfulJobsHistoryLimit, 3);
	default_ptr_int(a, o, N_failedJobsHistoryLimit, 1);
}

const struct default_hook defaults_batch[] = {
	{ T_batch_v1_Job, job },
	{ T_batch_v1_CronJobSpec, cron_job },
	{ 0 },
};
