/* SPDX-License-Identifier: Apache-2.0 */
/* job.c - Jobs: the generated selector and labels, and what may change. */
#include "apiserver/kinds/kinds_private.h"
#include "base/clock.h"

static void label(struct kind_ctx *x, struct value *labels, struct str key, struct str text) {
	value_set_key_str(x->arena, labels, key, text);
}

/* The registry has set metadata.uid before it calls. */
static void prepare_create(struct kind_ctx *x, struct value *o) {
	struct value *spec = value_get(o, N_spec);
	struct str uid = value_str_at(o, N_metadata, N_uid), name = value_str_at(o, N_metadata, N_name);
	value_set(x->arena, o, N_status, value_new_object(x->arena));
	if (!value_get(spec, N_template) || value_bool_at(spec, N_manualSelector)) {
		return;
	}
	struct value *meta = value_ensure_object(x->arena, value_get(spec, N_template), N_metadata);
	struct value *labels = value_ensure_object(x->arena, meta, N_labels);
	if (!value_get(spec, N_selector)) {
		struct value *match = value_ensure_object(x->arena, value_ensure_object(x->arena, spec, N_selector), N_matchLabels);
		label(x, match, S("batch.kubernetes.io/controller-uid"), uid);
	}
	label(x, labels, S("controller-uid"), uid);
	label(x, labels, S("job-name"), name);
	label(x, labels, S("batch.kubernetes.io/controller-uid"), uid);
	label(x, labels, S("batch.kubernetes.io/job-name"), name);
	value_sort_keys(labels);
}

static void validate_spec(struct kind_ctx *x, const struct value *spec, bool selector, struct str path, struct causes *c) {
	static const struct str modes[] = { S_INIT("Indexed"), S_INIT("NonIndexed") };
	static const enum name_id counts[] = { N_parallelism, N_completions, N_activeDeadlineSeconds, N_backoffLimit, N_ttlSecondsAfterFinished,
		N_backoffLimitPerIndex, N_maxFailedIndexes };
	const struct value *tmpl = value_get(spec, N_template), *policy = value_at(tmpl, N_spec, N_restartPolicy);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		must_not_be_negative(c, value_get(spec, counts[i]), path_field(c->arena, path, name_text(counts[i])));
	}
	must_be_one_of(c, value_get(spec, N_completionMode), PATH(c, path, "completionMode"), modes, ARRAY_LEN(modes), false);
	if (str_eq(value_str_at(spec, N_completionMode), S("Indexed")) && !value_get(spec, N_completions)) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, path, "completions"), NULL, "when completion mode is Indexed");
	}
	if (selector && !value_get(spec, N_selector)) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, path, "selector"), NULL, NULL);
	}
	if (!tmpl) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, path, "template"), NULL, NULL);
		return;
	}
	validate_pod_template(x, tmpl, PATH(c, path, "template"), c);
	if (!str_eq(value_as_str(policy), S("OnFailure")) && !str_eq(value_as_str(policy), S("Never"))) {
		static const struct str policies[] = { S_INIT("Never"), S_INIT("OnFailure") };
		if (str_eq(value_as_str(policy), S("Always"))) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, path, "template.spec.restartPolicy"), NULL, "valid values: \"OnFailure\", \"Never\"");
		} else {
			cause_not_supported(c, PATH(c, path, "template.spec.restartPolicy"), policy, policies, 2);
		}
	}
}

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	validate_spec(x, value_get(o, N_spec), true, S("spec"), c);
	if (value_str_at(o, N_metadata, N_name).len > 63) {
		cause_add(c, CAUSE_INVALID, S("metadata.name"), value_at(o, N_metadata, N_name), "must be no more than 63 characters");
	}
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	static const enum name_id fixed[] = { N_selector, N_completionMode, N_podFailurePolicy, N_backoffLimitPerIndex, N_managedBy, N_successPolicy };
	const struct value *now = value_get(o, N_spec), *was = value_get(old, N_spec);
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
		must_be_immutable(c, value_get(now, fixed[i]), value_get(was, fixed[i]), path_field(c->arena, S("spec"), name_text(fixed[i])));
	}
	bool indexed = str_eq(value_str_at(now, N_completionMode), S("Indexed"));
	if (!indexed || value_int_at(now, N_completions) != value_int_at(now, N_parallelism)) { /* elastic indexed jobs may grow */
		must_be_immutable(c, value_get(now, N_completions), value_get(was, N_completions), S("spec.completions"));
	}
	if (value_bool_at(was, N_suspend) && !value_get(value_get(old, N_status), N_startTime)) {
		return; /* a job that has not started may get other scheduling directives */
	}
	must_be_immutable(c, value_get(now, N_template), value_get(was, N_template), S("spec.template"));
}

const struct kind_ops job_ops = { .group = S_INIT("batch"), .resource = S_INIT("jobs"), .prepare_create = prepare_create, .validate = validate,
	.validate_update = validate_update };

/* ---- CronJobs ---- */

static bool cron_number(struct str s, int lo, int hi) {
	static const char *const words[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun", "mon", "tue", "wed", "thu",
		"fri", "sat" };
	int n;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_case_eq(s, str_c(words[i]))) {
			return i < 12 ? lo == 1 && hi == 12 : lo == 0 && hi <= 7;
		}
	}
	return str_to_int(s, lo, hi, &n);
}

static bool cron_field(struct str s, int lo, int hi) {
	struct str piece;
	while (str_next(&s, ',', &piece)) {
		struct str range, step, from, to;
		int n;
		if (str_cut(piece, '/', &range, &step) && !str_to_int(step, 1, 1000, &n)) {
			return false;
		}
		if (str_eq(range, S("*")) || str_eq(range, S("?"))) {
			continue;
		}
		bool dash = str_cut(range, '-', &from, &to);
		if (!cron_number(from, lo, hi) || (dash && !cron_number(to, lo, hi))) {
			return false;
		}
	}
	return true;
}

static bool cron_valid(struct str s) {
	static const char *const names[] = { "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly" };
	static const int bounds[5][2] = { { 0, 59 }, { 0, 23 }, { 1, 31 }, { 1, 12 }, { 0, 6 } };
	nsec_t every;
	s = str_trim(s);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (str_eqc(s, names[i])) {
			return true;
		}
	}
	if (str_starts(s, S("@every "))) {
		return duration_parse(str_from(s, 7), &every);
	}
	size_t n = 0;
	struct str piece;
	while (str_next(&s, ' ', &piece)) {
		if (piece.len && (n == 5 || !cron_field(piece, bounds[n][0], bounds[n][1]))) {
			return false;
		}
		n += piece.len > 0;
	}
	return n == 5;
}

static void cron_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str policies[] = { S_INIT("Allow"), S_INIT("Forbid"), S_INIT("Replace") };
	const struct value *spec = value_get(o, N_spec), *schedule = value_get(spec, N_schedule);
	if (!value_as_str(schedule).len) {
		cause_add(c, CAUSE_REQUIRED, S("spec.schedule"), NULL, NULL);
	} else if (str_contains(value_as_str(schedule), S("TZ="))) {
		cause_add(c, CAUSE_INVALID, S("spec.schedule"), schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
	} else if (!cron_valid(value_as_str(schedule))) {
		cause_add(c, CAUSE_INVALID, S("spec.schedule"), schedule, "expected exactly 5 fields, found %.*s", STR_ARG(value_as_str(schedule)));
	}
	must_be_one_of(c, value_get(spec, N_concurrencyPolicy), S("spec.concurrencyPolicy"), policies, ARRAY_LEN(policies), true);
	must_not_be_negative(c, value_get(spec, N_startingDeadlineSeconds), S("spec.startingDeadlineSeconds"));
	must_not_be_negative(c, value_get(spec, N_successfulJobsHistoryLimit), S("spec.successfulJobsHistoryLimit"));
	must_not_be_negative(c, value_get(spec, N_failedJobsHistoryLimit), S("spec.failedJobsHistoryLimit"));
	validate_spec(x, value_at(spec, N_jobTemplate, N_spec), false, S("spec.jobTemplate.spec"), c);
	if (value_str_at(o, N_metadata, N_name).len > 52) {
		cause_add(c, CAUSE_INVALID, S("metadata.name"), value_at(o, N_metadata, N_name), "must be no more than 52 characters");
	}
}

static void cron_prepare_create(struct kind_ctx *x, struct value *o) {
	value_set(x->arena, o, N_status, value_new_object(x->arena));
}

const struct kind_ops cron_job_ops = { .group = S_INIT("batch"), .resource = S_INIT("cronjobs"), .prepare_create = cron_prepare_create, .validate = cron_validate };
