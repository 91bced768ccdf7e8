/* SPDX-License-Identifier: Apache-2.0 */
/* table_workloads.c - rows of apps, batch, autoscaling and the disruption budget. See table.h. */
#include "schema/table.h"

static void cell_ratio(struct row *r, int64_t have, int64_t want) {
	cell(r, arena_printf(r->a, "%lld/%lld", (long long)have, (long long)want));
}

static const struct value *pod_spec(const struct value *o) {
	return value_at(o, N_spec, N_template, N_spec);
}

static void deployment(struct row *r) {
	const struct value *status = value_get(r->o, N_status);

	cell_name(r);
	cell_ratio(r, value_int_at(status, N_readyReplicas), value_int_at(r->o, N_spec, N_replicas));
	cell_int(r, value_int_at(status, N_updatedReplicas));
	cell_int(r, value_int_at(status, N_availableReplicas));
	cell_age(r);
	cells_containers(r, pod_spec(r->o));
	cell(r, table_selector_text(r->a, value_at(r->o, N_spec, N_selector)));
}

static void replica_set(struct row *r) {
	cell_name(r);
	cell_int(r, value_int_at(r->o, N_spec, N_replicas));
	cell_int(r, value_int_at(r->o, N_status, N_replicas));
	cell_int(r, value_int_at(r->o, N_status, N_readyReplicas));
	cell_age(r);
	cells_containers(r, pod_spec(r->o));
	cell(r, table_selector_text(r->a, value_at(r->o, N_spec, N_selector)));
}

static void daemon_set(struct row *r) {
	const struct value *status = value_get(r->o, N_status);

	cell_name(r);
	cell_int(r, value_int_at(status, N_desiredNumberScheduled));
	cell_int(r, value_int_at(status, N_currentNumberScheduled));
	cell_int(r, value_int_at(status, N_numberReady));
	cell_int(r, value_int_at(status, N_updatedNumberScheduled));
	cell_int(r, value_int_at(status, N_numberAvailable));
	cell(r, labels_text(r->a, value_get(pod_spec(r->o), N_nodeSelector)));
	cell_age(r);
	cells_containers(r, pod_spec(r->o));
	cell(r, table_selector_text(r->a, value_at(r->o, N_spec, N_selector)));
}

static void stateful_set(struct row *r) {
	cell_name(r);
	cell_ratio(r, value_int_at(r->o, N_status, N_readyReplicas), value_int_at(r->o, N_spec, N_replicas));
	cell_age(r);
	cells_containers(r, pod_spec(r->o));
}

static void controller_revision(struct row *r) {
	const struct value *owners = value_at(r->o, N_metadata, N_ownerReferences), *owner = NULL;
	struct str kind, group, version, name;

	for (size_t i = 0; i < value_len(owners); i++) {
		if (value_bool_at(value_item(owners, i), N_controller)) {
			owner = value_item(owners, i);
		}
	}
	cell_name(r);
	if (owner && schema_split_api_version(value_str_at(owner, N_apiVersion), &group, &version)) {
		kind = lower(r->a, value_str_at(owner, N_kind));
		name = value_str_at(owner, N_name);
		cell(r, arena_printf(r->a, "%.*s%s%.*s/%.*s", STR_ARG(kind), group.len ? "." : "", STR_ARG(group), STR_ARG(name)));
	} else {
		cell(r, S("<none>"));
	}
	cell_int(r, value_int_at(r->o, N_revision));
	cell_age(r);
}

static bool job_has(const struct value *o, struct str condition) {
	return str_eq(condition_status(value_at(o, N_status, N_conditions), condition), S("True"));
}

static struct str job_state(const struct value *o) {
	static const struct str after_deletion[] = { S_INIT("Suspended"), S_INIT("FailureTarget"), S_INIT("SuccessCriteriaMet") };

	if (job_has(o, S("Complete"))) {
		return S("Complete");
	}
	if (job_has(o, S("Failed"))) {
		return S("Failed");
	}
	if (value_at(o, N_metadata, N_deletionTimestamp)) {
		return S("Terminating");
	}
	for (size_t i = 0; i < ARRAY_LEN(after_deletion); i++) {
		if (job_has(o, after_deletion[i])) {
			return after_deletion[i];
		}
	}
	return S("Running");
}

static void job(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *status = value_get(r->o, N_status), *completions = value_get(spec, N_completions);
	long long done = value_int_at(status, N_succeeded), parallel = value_int_at(spec, N_parallelism);
	struct str start = value_str_at(status, N_startTime), end = value_str_at(status, N_completionTime);
	struct err ignored = { 0 };
	int64_t end_sec = r->now;
	int32_t nsec;

	cell_name(r);
	cell(r, job_state(r->o));
	if (value_is(completions, VALUE_INT)) {
		cell_ratio(r, done, value_as_int(completions));
	} else if (parallel > 1) {
		cell(r, arena_printf(r->a, "%lld/1 of %lld", done, parallel));
	} else {
		cell_ratio(r, done, 1);
	}
	if (end.len && !go_time_parse(end, &end_sec, &nsec, &ignored)) {
		end_sec = r->now;
	}
	cell(r, start.len ? table_age(r->a, start, end_sec) : S(""));
	cell_age(r);
	cells_containers(r, pod_spec(r->o));
	cell(r, table_selector_text(r->a, value_get(spec, N_selector)));
}

static void cron_job(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *suspend = value_get(spec, N_suspend);
	const struct value *last = value_at(r->o, N_status, N_lastScheduleTime), *job_spec = value_at(spec, N_jobTemplate, N_spec);

	cell_name(r);
	cell(r, value_str_at(spec, N_schedule));
	cell_or(r, value_str_at(spec, N_timeZone), "<none>");
	cell(r, !suspend ? S("<unset>") : value_as_bool(suspend) ? S("True") : S("False"));
	cell_int(r, (int64_t)value_len(value_at(r->o, N_status, N_active)));
	cell(r, value_as_str(last).len ? since(r, last) : S("<none>"));
	cell_age(r);
	cells_containers(r, value_at(job_spec, N_template, N_spec));
	cell(r, table_selector_text(r->a, value_get(job_spec, N_selector)));
}

/* ---- autoscaling ----------------------------------------------------------------------------------------------- */
/* The metric's block in a spec or status: "resource", "pods", "object", ... */
static const struct value *metric_block(const struct value *metric) {
	static const enum name_id blocks[] = { N_resource, N_containerResource, N_pods, N_object, N_external };

	for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
		if (value_get(metric, blocks[i])) {
			return value_get(metric, blocks[i]);
		}
	}
	return NULL;
}

static struct str metric_text(struct arena *a, const struct value *metric, const struct value *status) {
	const struct value *block = metric_block(metric), *target = value_get(block, N_target), *current = value_get(metric_block(status), N_current);
	struct str name = value_str_at(block, N_name), type = value_str_at(target, N_type), have = S("<unknown>"), want;
	bool resource = value_get(metric, N_resource) || value_get(metric, N_containerResource);

	if (value_get(target, N_averageUtilization)) {
		const struct value *percent = value_get(current, N_averageUtilization);

		if (percent) {
			have = arena_printf(a, "%lld%%", (long long)value_as_int(percent));
		}
		return arena_printf(a, "%.*s: %.*s/%lld%%", STR_ARG(name), STR_ARG(have), (long long)value_int_at(target, N_averageUtilization));
	}
	if (value_get(target, N_averageValue)) {
		const struct value *average = value_get(current, N_averageValue);

		have = average ? value_as_str(average) : have;
		want = value_str_at(target, N_averageValue);
		if (resource) {
			return arena_printf(a, "%.*s: %.*s/%.*s", STR_ARG(name), STR_ARG(have), STR_ARG(want));
		}
		return arena_printf(a, "%.*s/%.*s%s", STR_ARG(have), STR_ARG(want), str_eq(type, S("AverageValue")) && !value_get(metric, N_pods) ? " (avg)" : "");
	}
	if (value_get(current, N_value)) {
		have = value_str_at(current, N_value);
	}
	want = value_str_at(target, N_value);
	return arena_printf(a, "%.*s/%.*s", STR_ARG(have), STR_ARG(want));
}

static void autoscaler(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *metrics = value_get(spec, N_metrics), *now = value_at(r->o, N_status, N_currentMetrics);
	struct str kind = value_str_at(spec, N_scaleTargetRef, N_kind), name = value_str_at(spec, N_scaleTargetRef, N_name);
	const struct value *percent = value_get(spec, N_targetCPUUtilizationPercentage), *min = value_get(spec, N_minReplicas);
	auto_buf struct buf b = BUF_INIT(65536);

	for (size_t i = 0; i < value_len(metrics) && i < 2; i++) {
		buf_c(&b, i ? ", " : "");
		buf_str(&b, metric_text(r->a, value_item(metrics, i), value_item(now, i)));
	}
	if (value_len(metrics) > 2) {
		buf_printf(&b, " + %zu more...", value_len(metrics) - 2);
	}
	if (percent) { /* v1 */
		const struct value *have = value_at(r->o, N_status, N_currentCPUUtilizationPercentage);

		buf_c(&b, "cpu: ");
		if (have) {
			buf_printf(&b, "%lld%%", (long long)value_as_int(have));
		} else {
			buf_c(&b, "<unknown>");
		}
		buf_printf(&b, "/%lld%%", (long long)value_as_int(percent));
	}
	cell_name(r);
	cell(r, arena_printf(r->a, "%.*s/%.*s", STR_ARG(kind), STR_ARG(name)));
	cell_or(r, buf_view(&b), "<none>");
	cell(r, min ? arena_printf(r->a, "%lld", (long long)value_as_int(min)) : S("<unset>"));
	cell_int(r, value_int_at(spec, N_maxReplicas));
	cell_int(r, value_int_at(r->o, N_status, N_currentReplicas));
	cell_age(r);
}

static void disruption_budget(struct row *r) {
	const struct value *min = value_at(r->o, N_spec, N_minAvailable), *max = value_at(r->o, N_spec, N_maxUnavailable);

	cell_name(r);
	cell(r, min ? value_as_text(r->a, min) : S("N/A"));
	cell(r, max ? value_as_text(r->a, max) : S("N/A"));
	cell_int(r, value_int_at(r->o, N_status, N_disruptionsAllowed));
	cell_age(r);
}

const struct table_printer table_workloads[] = {
	{ T_apps_v1_Deployment, deployment },
	{ T_apps_v1_ReplicaSet, replica_set },
	{ T_apps_v1_DaemonSet, daemon_set },
	{ T_apps_v1_StatefulSet, stateful_set },
	{ T_apps_v1_ControllerRevision, controller_revision },
	{ T_batch_v1_Job, job },
	{ T_batch_v1_CronJob, cron_job },
	{ T_autoscaling_v2_HorizontalPodAutoscaler, autoscaler },
	{ T_autoscaling_v1_HorizontalPodAutoscaler, autoscaler },
	{ T_policy_v1_PodDisruptionBudget, disruption_budget },
	{ 0 },
};
