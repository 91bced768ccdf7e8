/* SPDX-License-Identifier: Apache-2.0 */
/* job_failure.c - how a pod of a Job failed, and what the Job's podFailurePolicy says to it. Pure reading. */
#include "controllers/job.h"

bool job_waits_for_terminating(const struct value *job) {
	return str_eqc(value_str_at(job, N_spec, N_podReplacementPolicy), "Failed");
}

bool job_pod_failed(const struct value *job, const struct value *pod) {
	struct str phase = value_str_at(pod, N_status, N_phase);

	if (str_eqc(phase, "Failed")) {
		return true;
	}
	if (!meta_deleting(pod)) {
		return false;
	}
	return job_waits_for_terminating(job) ? str_eqc(phase, "Pending") : !str_eqc(phase, "Succeeded");
}

int64_t job_pod_index(const struct value *pod) {
	int64_t i;

	return str_to_i64(meta_annotation(pod, JOB_INDEX), &i) && i >= 0 ? i : -1;
}

static int64_t annotation_int(const struct value *pod, struct str key) {
	int64_t i;

	return str_to_i64(meta_annotation(pod, key), &i) && i >= 0 ? i : 0;
}

int64_t job_pod_failures(const struct value *pod) {
	return annotation_int(pod, JOB_FAILURES);
}

int64_t job_pod_ignored_failures(const struct value *pod) {
	return annotation_int(pod, JOB_IGNORED_FAILURES);
}

nsec_t job_pod_finished_at(const struct value *pod) {
	static const uint16_t lists[] = { N_initContainerStatuses, N_containerStatuses };
	nsec_t latest = 0;

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		VALUE_EACH(value_at(pod, N_status, lists[i]), c) {
			latest = MAX(latest, value_time(value_at(c, N_state, N_terminated, N_finishedAt)));
		}
	}
	if (!latest) { /* it never ran: when it stopped being ready, or was deleted */
		latest = value_time(value_get(condition_find(value_at(pod, N_status, N_conditions), "Ready"), N_lastTransitionTime));
	}
	return latest ? latest : value_time(value_at(pod, N_metadata, N_deletionTimestamp));
}

/* ---- the policy ------------------------------------------------------------------------------------------------------- */

static bool code_in(const struct value *values, int64_t code) {
	VALUE_EACH(values, v) {
		if (value_as_int(v) == code) {
			return true;
		}
	}
	return false;
}

/* The container whose exit code the requirement means; NULL when none. */
static const struct value *container_matching(const struct value *statuses, const struct value *requirement) {
	struct str name = value_str_at(requirement, N_containerName);
	bool in = str_eqc(value_str_at(requirement, N_operator), "In");

	VALUE_EACH(statuses, c) {
		const struct value *terminated = value_at(c, N_state, N_terminated);
		int64_t code = value_int_at(terminated, N_exitCode);
		if (terminated && code != 0 && (!name.len || str_eq(name, value_str_at(c, N_name))) && code_in(value_get(requirement, N_values), code) == in) {
			return c;
		}
	}
	return NULL;
}

static const struct value *condition_matching(const struct value *pod, const struct value *patterns) {
	VALUE_EACH(patterns, p) {
		struct str status = value_str_at(p, N_status);
		VALUE_EACH(value_at(pod, N_status, N_conditions), c) {
			if (str_eq(value_str_at(c, N_type), value_str_at(p, N_type)) && str_eq(value_str_at(c, N_status), status.len ? status : S("True"))) {
				return c;
			}
		}
	}
	return NULL;
}

static bool rule_matches(struct arena *a, const struct value *rule, size_t n, const struct value *pod, struct str *ret_message) {
	const struct value *codes = value_get(rule, N_onExitCodes), *patterns = value_get(rule, N_onPodConditions);
	struct str ns = meta_ns(pod), name = meta_name(pod), action = value_str_at(rule, N_action);

	if (codes) {
		const struct value *c = container_matching(value_at(pod, N_status, N_initContainerStatuses), codes);
		c = c ? c : container_matching(value_at(pod, N_status, N_containerStatuses), codes);
		if (!c) {
			return false;
		}
		struct str container = value_str_at(c, N_name);
		*ret_message = arena_printf(a, "Container %.*s for pod %.*s/%.*s failed with exit code %lld matching %.*s rule at index %zu", STR_ARG(container),
			STR_ARG(ns), STR_ARG(name), (long long)value_int_at(c, N_state, N_terminated, N_exitCode), STR_ARG(action), n);
		return true;
	}
	const struct value *c = condition_matching(pod, patterns);
	if (!c) {
		return false;
	}
	struct str type = value_str_at(c, N_type);
	*ret_message = arena_printf(a, "Pod %.*s/%.*s has condition %.*s matching %.*s rule at index %zu", STR_ARG(ns), STR_ARG(name), STR_ARG(type), STR_ARG(action), n);
	return true;
}

enum failure_action job_failure_action(struct arena *a, const struct value *job, const struct value *pod, struct str *ret_message) {
	static const struct {
		const char *name;
		enum failure_action action;
	} actions[] = { { "Ignore", FAILURE_IGNORE }, { "FailJob", FAILURE_FAIL_JOB }, { "FailIndex", FAILURE_FAIL_INDEX }, { "Count", FAILURE_COUNT } };
	const struct value *rules = value_at(job, N_spec, N_podFailurePolicy, N_rules);

	for (size_t n = 0; n < value_len(rules); n++) {
		const struct value *rule = value_item(rules, n);
		struct str action = value_str_at(rule, N_action), message;
		if (!rule_matches(a, rule, n, pod, &message)) {
			continue;
		}
		if (ret_message) {
			*ret_message = message;
		}
		for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
			if (str_eqc(action, actions[i].name)) {
				return actions[i].action;
			}
		}
	}
	return FAILURE_COUNT;
}
