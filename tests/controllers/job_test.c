/* SPDX-License-Identifier: Apache-2.0 */
/* job_test.c - Jobs against an API in memory; the pods are ended by the test. Expected outcomes are conformance's. */
#include "world.h"

#define JOB(spec)                                                                                                                     \
	"metadata: {name: j}\nspec: {" spec ", selector: {matchLabels: {batch.kubernetes.io/controller-uid: x}}, template: {metadata: " \
	"{labels: {batch.kubernetes.io/controller-uid: x}}, spec: {restartPolicy: Never, containers: [{name: c}]}}}"

static int64_t status(struct world *w, enum name_id name) {
	return fake_int(&w->fake, GVR_JOBS, DEFAULT, S("j"), N_status, name);
}

static struct str status_str(struct world *w, struct arena *a, enum name_id name) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_JOBS, DEFAULT, S("j"));
	return arena_str(a, value_str_at(o->root, N_status, name));
}

static bool condition(struct world *w, const char *type, const char *reason) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_JOBS, DEFAULT, S("j"));
	const struct value *c = value_find_by(value_at(o->root, N_status, N_conditions), N_type, str_c(type));
	return str_eqc(value_str_at(c, N_status), "True") && str_eqc(value_str_at(c, N_reason), reason);
}

static size_t active_pods(struct world *w) {
	struct client_list all;
	size_t n = 0;
	fake_all(&w->fake, GVR_PODS, DEFAULT, &all);
	for (size_t i = 0; i < all.len; i++) {
		struct str phase = value_str_at(all.at[i]->root, N_status, N_phase);
		n += !str_eqc(phase, "Succeeded") && !str_eqc(phase, "Failed") && !value_str_at(all.at[i]->root, N_metadata, N_deletionTimestamp).len;
	}
	client_list_release(&all);
	return n;
}

/* Ends active pods: those of the index (-1: any), at most `max`. */
static size_t end_pods(struct world *w, int64_t index, size_t max, const char *status_yaml) {
	struct client_list all;
	auto_arena struct arena a = { 0 };
	size_t n = 0;

	fake_all(&w->fake, GVR_PODS, DEFAULT, &all);
	for (size_t i = 0; i < all.len && n < max; i++) {
		const struct value *o = all.at[i]->root;
		struct str phase = value_str_at(o, N_status, N_phase);
		struct str at = value_as_str(value_get_str(value_at(o, N_metadata, N_annotations), S("batch.kubernetes.io/job-completion-index")));
		int64_t has = -1;
		if (str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed") || (index >= 0 && (!str_to_i64(at, &has) || has != index))) {
			continue;
		}
		fake_change(&w->fake, GVR_PODS, DEFAULT, value_str_at(o, N_metadata, N_name), status_yaml);
		n++;
	}
	client_list_release(&all);
	return n;
}

#define SUCCEED "status: {phase: Succeeded}"
/* long ago, so that nothing has to wait for the back-off */
#define FAIL(code) \
	"status: {phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: " code ", finishedAt: '2020-01-01T00:00:00Z'}}}]}"

static bool no_finalizers(struct world *w) {
	struct client_list all;
	bool none = true;
	fake_all(&w->fake, GVR_PODS, DEFAULT, &all);
	for (size_t i = 0; i < all.len; i++) {
		none = none && value_len(value_at(all.at[i]->root, N_metadata, N_finalizers)) == 0;
	}
	client_list_release(&all);
	return none;
}

static void test_completes(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job");
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completions: 4, parallelism: 2, backoffLimit: 6")));
	WAIT_FOR(active_pods(w) == 2 && status(w, N_active) == 2);
	assert_true(status_str(w, &a, N_startTime).len > 0);
	end_pods(w, -1, 2, SUCCEED);
	WAIT_FOR(status(w, N_succeeded) == 2 && active_pods(w) == 2);
	end_pods(w, -1, 1, FAIL("1"));
	WAIT_FOR(status(w, N_failed) == 1 && active_pods(w) == 2);
	end_pods(w, -1, 2, SUCCEED);
	WAIT_FOR(condition(w, "Complete", "CompletionsReached"));
	assert_true(condition(w, "SuccessCriteriaMet", "CompletionsReached"));
	assert_int_equal(status(w, N_succeeded), 4);
	assert_int_equal(status(w, N_failed), 1);
	assert_int_equal(status(w, N_active), 0);
	assert_true(status_str(w, &a, N_completionTime).len > 0);
	WAIT_FOR(no_finalizers(w));
	WAIT_FOR(fake_has_event(&w->fake, "Completed", "Job completed"));
	world_free(w);
}

static void test_backoff_limit(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job");

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completions: 1, parallelism: 1, backoffLimit: 2")));
	for (int i = 1; i <= 3; i++) {
		WAIT_FOR(active_pods(w) == 1);
		end_pods(w, -1, 1, FAIL("1"));
		WAIT_FOR(status(w, N_failed) == i);
	}
	WAIT_FOR(condition(w, "Failed", "BackoffLimitExceeded"));
	assert_true(condition(w, "FailureTarget", "BackoffLimitExceeded"));
	WAIT_FOR(fake_has_event(&w->fake, "BackoffLimitExceeded", "Job has reached the specified backoff limit"));
	world_free(w);
}

static void test_indexed(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job");
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completionMode: Indexed, completions: 4, parallelism: 4, backoffLimit: 6")));
	WAIT_FOR(active_pods(w) == 4);
	struct client_list all;
	fake_all(&w->fake, GVR_PODS, DEFAULT, &all);
	for (size_t i = 0; i < all.len; i++) {
		const struct value *o = all.at[i]->root;
		struct str at = value_as_str(value_get_str(value_at(o, N_metadata, N_annotations), S("batch.kubernetes.io/job-completion-index")));
		struct str label = value_as_str(value_get_str(value_at(o, N_metadata, N_labels), S("batch.kubernetes.io/job-completion-index")));
		assert_true(at.len == 1 && str_eq(at, label));
		assert_true(str_eq(value_str_at(o, N_spec, N_hostname), arena_printf(&a, "j-%.*s", STR_ARG(at))));
		assert_true(str_starts(value_str_at(o, N_metadata, N_name), arena_printf(&a, "j-%.*s-", STR_ARG(at))));
		assert_non_null(value_find_by(value_get(value_item(value_at(o, N_spec, N_containers), 0), N_env), N_name, S("JOB_COMPLETION_INDEX")));
	}
	client_list_release(&all);
	end_pods(w, 2, 1, FAIL("1"));
	WAIT_FOR(status(w, N_failed) == 1 && active_pods(w) == 4);
	end_pods(w, 0, 1, SUCCEED);
	end_pods(w, 2, 1, SUCCEED);
	WAIT_FOR(str_eqc(status_str(w, &a, N_completedIndexes), "0,2"));
	end_pods(w, 1, 1, SUCCEED);
	end_pods(w, 3, 1, SUCCEED);
	WAIT_FOR(condition(w, "Complete", "CompletionsReached"));
	assert_true(str_eqc(status_str(w, &a, N_completedIndexes), "0-3"));
	assert_int_equal(status(w, N_succeeded), 4);
	world_free(w);
}

/* conformance job-backofflimit-per-index */
static void test_per_index(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job");
	auto_arena struct arena a = { 0 };

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completionMode: Indexed, completions: 4, parallelism: 4, backoffLimit: 2147483647, backoffLimitPerIndex: 1")));
	WAIT_FOR(active_pods(w) == 4);
	end_pods(w, 0, 1, SUCCEED);
	end_pods(w, 2, 1, SUCCEED);
	for (int i = 0; i < 2; i++) {
		WAIT_FOR(end_pods(w, 1, 1, FAIL("1")) == 1);
		WAIT_FOR(end_pods(w, 3, 1, FAIL("1")) == 1);
	}
	WAIT_FOR(condition(w, "Failed", "FailedIndexes"));
	assert_true(str_eqc(status_str(w, &a, N_failedIndexes), "1,3"));
	assert_true(str_eqc(status_str(w, &a, N_completedIndexes), "0,2"));
	assert_int_equal(status(w, N_failed), 4);
	assert_int_equal(status(w, N_succeeded), 2);
	world_free(w);
}

/* conformance job-pfp-failjob */
static void test_policy(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job");

	obj_unref(fake_add(&w->fake, GVR_JOBS,
		JOB("completions: 2, parallelism: 2, backoffLimit: 5, podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {containerName: c, operator: In, values: [1]}}, "
		    "{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: 'True'}]}]}")));
	WAIT_FOR(active_pods(w) == 2);
	end_pods(w, -1, 1, "status: {phase: Failed, conditions: [{type: DisruptionTarget, status: 'True', lastTransitionTime: '2020-01-01T00:00:00Z'}], "
			   "containerStatuses: [{name: c, state: {terminated: {exitCode: 143, finishedAt: '2020-01-01T00:00:00Z'}}}]}");
	WAIT_FOR(active_pods(w) == 2);
	assert_int_equal(status(w, N_failed), 0); /* ignored */
	end_pods(w, -1, 1, FAIL("1"));
	WAIT_FOR(condition(w, "Failed", "PodFailurePolicy"));
	assert_true(condition(w, "FailureTarget", "PodFailurePolicy"));
	assert_int_equal(active_pods(w), 0);
	world_free(w);
}

/* conformance job-success-count */
static void test_success_policy(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job");

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completionMode: Indexed, completions: 3, parallelism: 3, backoffLimit: 5, successPolicy: {rules: [{succeededCount: 1}]}")));
	WAIT_FOR(active_pods(w) == 3);
	end_pods(w, 1, 1, SUCCEED);
	WAIT_FOR(condition(w, "Complete", "SuccessPolicy"));
	assert_true(condition(w, "SuccessCriteriaMet", "SuccessPolicy"));
	assert_int_equal(active_pods(w), 0);
	assert_int_equal(status(w, N_succeeded), 1);
	world_free(w);
}

static void test_suspend(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job");

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completions: 1, parallelism: 1, backoffLimit: 5, suspend: true")));
	WAIT_FOR(condition(w, "Suspended", "JobSuspended"));
	assert_int_equal(fake_count(&w->fake, GVR_PODS, DEFAULT), 0);
	fake_change(&w->fake, GVR_JOBS, DEFAULT, S("j"), "spec: {suspend: false}");
	WAIT_FOR(active_pods(w) == 1);
	fake_change(&w->fake, GVR_JOBS, DEFAULT, S("j"), "spec: {suspend: true}");
	WAIT_FOR(active_pods(w) == 0);
	world_free(w);
}

static void test_deadline_and_ttl(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job,ttl-after-finished,garbagecollector");

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completions: 1, parallelism: 1, backoffLimit: 5, activeDeadlineSeconds: 1, ttlSecondsAfterFinished: 0")));
	WAIT_FOR(active_pods(w) == 1);
	WAIT_FOR(fake_has_event(&w->fake, "DeadlineExceeded", "Job was active longer than specified deadline"));
	WAIT_FOR(fake_count(&w->fake, GVR_JOBS, DEFAULT) == 0 && fake_count(&w->fake, GVR_PODS, DEFAULT) == 0);
	world_free(w);
}

/* A Job that is deleted in the background: its pods lose our finalizer although it is gone. */
static void test_orphans(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "job,garbagecollector");
	struct err err = { 0 };

	obj_unref(fake_add(&w->fake, GVR_JOBS, JOB("completions: 3, parallelism: 3, backoffLimit: 5")));
	WAIT_FOR(active_pods(w) == 3);
	assert_true(client_delete(w->client, GVR_JOBS, DEFAULT, S("j"), &err));
	WAIT_FOR(fake_count(&w->fake, GVR_PODS, DEFAULT) == 0);
	world_free(w);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_completes),
		cmocka_unit_test(test_backoff_limit),
		cmocka_unit_test(test_indexed),
		cmocka_unit_test(test_per_index),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_success_policy),
		cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_deadline_and_ttl),
		cmocka_unit_test(test_orphans),
	};
	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
