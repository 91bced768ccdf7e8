/* SPDX-License-Identifier: Apache-2.0 */
/* cron_job_test.c - schedules as robfig/cron reads them, zones as the tz database has them, CronJobs against an API in memory. */
#include "world.h"

#include "controllers/cron.h"

struct next_case {
	const char *schedule, *zone, *after, *next; /* next NULL: the schedule is refused; "": never */
};
static const struct next_case next_cases[] = {
	/* robfig/cron's own table (2012 began on a Sunday) */
	{ "0/15 * * * *", "", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z" },
	{ "*/15 * * * *", "", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z" },
	{ "20-35/15 * * * *", "", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z" },
	{ "*/15 * * * *", "", "2012-07-09T23:46:00Z", "2012-07-10T00:00:00Z" },
	{ "20-35/15 1/2 */2 * *", "", "2012-07-09T23:35:51Z", "2012-07-11T01:20:00Z" },
	{ "20-35/15 10-12 * * *", "", "2012-07-09T23:35:51Z", "2012-07-10T10:20:00Z" },
	{ "0 0 9 Apr-Oct ?", "", "2012-07-09T23:35:00Z", "2012-08-09T00:00:00Z" },
	{ "0 0 */5 Apr,Aug,Oct Mon", "", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z" },
	{ "0 0 */5 Oct Mon", "", "2012-07-09T23:35:00Z", "2012-10-01T00:00:00Z" },
	{ "0 0 * Feb Mon", "", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z" },
	{ "0 0 * Feb Mon/2", "", "2012-07-09T23:35:00Z", "2013-02-01T00:00:00Z" },
	{ "0 0 29 Feb ?", "", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z" },
	{ "0 0 30 Feb ?", "", "2012-07-09T23:35:00Z", "" },
	{ "0 0 31 Apr ?", "", "2012-07-09T23:35:00Z", "" },
	{ "@hourly", "", "2012-07-09T23:35:51Z", "2012-07-10T00:00:00Z" },
	{ "@weekly", "", "2012-07-09T23:35:51Z", "2012-07-15T00:00:00Z" },
	{ "@every 1h30m", "", "2012-07-09T23:35:51Z", "2012-07-10T01:05:51Z" },
	/* clock changes: 2:30 does not exist on March 11th, 1:00 comes twice on November 4th */
	{ "30 2 11 Mar ?", "America/New_York", "2012-03-11T05:00:00Z", "2013-03-11T06:30:00Z" },
	{ "0 1 * * ?", "America/New_York", "2012-11-04T04:00:00Z", "2012-11-04T05:00:00Z" },
	{ "0 1 * * ?", "America/New_York", "2012-11-04T05:00:00Z", "2012-11-04T06:00:00Z" },
	{ "0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T03:30:00Z" },
	{ "0 9 * * *", "Europe/Berlin", "2050-07-01T08:00:00Z", "2050-07-02T07:00:00Z" }, /* after the table: by the rule */
	{ "0 9 * * *", "Europe/Berlin", "2050-12-01T09:00:00Z", "2050-12-02T08:00:00Z" },
	{ "0 9 * * *", "Australia/Sydney", "2050-01-01T00:00:00Z", "2050-01-01T22:00:00Z" },
	/* refused */
	{ "", "", NULL, NULL },
	{ "* * * *", "", NULL, NULL },
	{ "* * * * * *", "", NULL, NULL },
	{ "60 0 * * *", "", NULL, NULL },
	{ "0 0 0 * *", "", NULL, NULL },
	{ "0 0 * * 7", "", NULL, NULL },
	{ "0 0 * XYZ *", "", NULL, NULL },
	{ "5-1 0 * * *", "", NULL, NULL },
	{ "*/0 * * * *", "", NULL, NULL },
	{ "@unrecognized", "", NULL, NULL },
	{ "@every 1", "", NULL, NULL },
};

static void test_next(void **state) {
	const struct next_case *c = *state;
	auto_arena struct arena a = { 0 };
	const struct zone *zone = NULL;
	struct cron cron = { 0 };
	struct err err = { 0 };
	char text[TIME_TEXT_MAX];
	nsec_t after = 0;

	if (!zone_load(&a, str_c(c->zone), &zone, &err)) {
		skip(); /* a host without the tz database */
	}
	bool ok = cron_parse(str_c(c->schedule), &cron, &err);
	assert_int_equal(ok, c->next != NULL);
	if (!ok) {
		assert_int_equal(err.code, ERR_INVALID);
		return;
	}
	assert_true(time_parse(str_c(c->after), &after));
	nsec_t next = cron_next(&cron, zone, after);
	if (!c->next[0]) {
		assert_int_equal(next, 0);
	} else {
		struct str s = time_format(next, text);
		assert_string_equal(arena_cstr(&a, s), c->next);
	}
}

static void test_zone_refused(void **state) {
	static const char *const names[] = { "Nowhere/Land", "../../etc/passwd", "/etc/passwd", "a b" };
	auto_arena struct arena a = { 0 };
	const struct zone *zone = NULL;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct err err = { 0 };
		assert_false(zone_load(&a, str_c(names[i]), &zone, &err));
		assert_int_equal(err.code, ERR_NOT_FOUND);
	}
}

#define CRON_JOB(extra)                                                                                                             \
	"metadata: {name: c}\n"                                                                                                     \
	"spec:\n"                                                                                                                   \
	"  schedule: '* * * * *'\n"                                                                                                 \
	"  successfulJobsHistoryLimit: 1\n"                                                                                         \
	"  failedJobsHistoryLimit: 1\n"                                                                                             \
	"  jobTemplate: {metadata: {labels: {a: b}}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: x}]}}}}\n" extra

static struct str minutes_ago(struct arena *a, int minutes) {
	char text[TIME_TEXT_MAX];
	nsec_t now = clock_wall();

	return arena_str(a, time_format(now - now % (60 * NSEC_PER_SEC) - minutes * 60 * NSEC_PER_SEC, text));
}

static struct obj *add_cron_job(struct world *w, struct arena *a, const char *yaml) {
	struct str at = minutes_ago(a, 2);

	return fake_add(&w->fake, GVR_CRONJOBS, arena_printf(a, "%sstatus: {lastScheduleTime: '%.*s'}\n", yaml, STR_ARG(at)).ptr);
}

static size_t active_len(struct world *w) {
	auto_obj struct obj *o = fake_get(&w->fake, GVR_CRONJOBS, DEFAULT, S("c"));
	return value_len(value_at(o->root, N_status, N_active));
}

static void test_starts(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "cronjob");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *made = add_cron_job(w, &a, CRON_JOB("  concurrencyPolicy: Allow\n"));

	WAIT_FOR(active_len(w) == 1);
	struct client_list jobs;
	fake_all(&w->fake, GVR_JOBS, DEFAULT, &jobs);
	assert_int_equal(jobs.len, 1);
	const struct value *job = jobs.at[0]->root;
	struct str name = arena_str(&a, value_str_at(job, N_metadata, N_name));
	auto_obj struct obj *o = fake_get(&w->fake, GVR_CRONJOBS, DEFAULT, S("c"));
	nsec_t at = 0;
	assert_true(time_parse(value_str_at(o->root, N_status, N_lastScheduleTime), &at));
	assert_true(str_eq(name, arena_printf(&a, "c-%lld", (long long)(at / NSEC_PER_SEC / 60))));
	assert_true(str_eqc(value_as_str(value_get_str(value_at(job, N_metadata, N_labels), S("a"))), "b"));
	assert_true(str_eq(value_as_str(value_get_str(value_at(job, N_metadata, N_annotations), S("batch.kubernetes.io/cronjob-scheduled-timestamp"))),
		value_str_at(o->root, N_status, N_lastScheduleTime)));
	assert_true(str_eq(value_str_at(value_item(value_at(job, N_metadata, N_ownerReferences), 0), N_uid), value_str_at(made->root, N_metadata, N_uid)));
	client_list_release(&jobs);
	WAIT_FOR(fake_has_event(&w->fake, "SuccessfulCreate", arena_printf(&a, "Created job %.*s", STR_ARG(name)).ptr));

	/* its end is seen */
	fake_change(&w->fake, GVR_JOBS, DEFAULT, name,
		"status: {startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T00:01:00Z', conditions: [{type: Complete, status: 'True'}]}");
	WAIT_FOR(active_len(w) == 0);
	WAIT_FOR(fake_has_event(&w->fake, "SawCompletedJob", arena_printf(&a, "Saw completed job: %.*s, condition: Complete", STR_ARG(name)).ptr));
	auto_obj struct obj *done = fake_get(&w->fake, GVR_CRONJOBS, DEFAULT, S("c"));
	assert_true(str_eqc(value_str_at(done->root, N_status, N_lastSuccessfulTime), "2026-01-01T00:01:00Z"));
	world_free(w);
}

static void test_history(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "cronjob");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *c = fake_add(&w->fake, GVR_CRONJOBS, CRON_JOB("  suspend: true\n"));
	struct str uid = value_str_at(c->root, N_metadata, N_uid);

	for (int i = 0; i < 4; i++) {
		auto_obj struct obj *job = fake_add(&w->fake, GVR_JOBS,
			arena_printf(&a,
				"metadata: {name: j%d, ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: c, uid: %.*s, controller: true}]}\n"
				"status: {startTime: '2026-01-0%dT00:00:00Z', conditions: [{type: %s, status: 'True'}]}",
				i, STR_ARG(uid), i + 1, i % 2 ? "Failed" : "Complete")
				.ptr);
	}
	WAIT_FOR(fake_count(&w->fake, GVR_JOBS, DEFAULT) == 2); /* the newest of each kind */
	auto_obj struct obj *j2 = fake_get(&w->fake, GVR_JOBS, DEFAULT, S("j2")), *j3 = fake_get(&w->fake, GVR_JOBS, DEFAULT, S("j3"));
	assert_non_null(j2);
	assert_non_null(j3);
	world_free(w);
}

static struct str running_job(struct world *w, struct arena *a, const struct value *owner) {
	struct str uid = value_str_at(owner, N_metadata, N_uid);
	auto_obj struct obj *job = fake_add(&w->fake, GVR_JOBS,
		arena_printf(a, "metadata: {name: old, ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: c, uid: %.*s, controller: true}]}", STR_ARG(uid))
			.ptr);

	return arena_str(a, value_str_at(job->root, N_metadata, N_uid));
}

static void run_policy(const char *policy, struct world *w, struct arena *a) {
	struct str at = minutes_ago(a, 2);
	auto_obj struct obj *c = fake_add(&w->fake, GVR_CRONJOBS, arena_printf(a, CRON_JOB("  suspend: true\n  concurrencyPolicy: %s\n"), policy).ptr);
	struct str uid = running_job(w, a, c->root);

	fake_change(&w->fake, GVR_CRONJOBS, DEFAULT, S("c"),
		arena_printf(a, "spec: {suspend: false}\nstatus: {lastScheduleTime: '%.*s', active: [{kind: Job, namespace: default, name: old, uid: %.*s}]}",
			STR_ARG(at), STR_ARG(uid))
			.ptr);
}

static void test_forbid(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "cronjob");
	auto_arena struct arena a = { 0 };

	run_policy("Forbid", w, &a);
	WAIT_FOR(fake_has_event(&w->fake, "JobAlreadyActive",
		"Not starting job because prior execution is running and concurrency policy is Forbid"));
	assert_int_equal(fake_count(&w->fake, GVR_JOBS, DEFAULT), 1);
	world_free(w);
}

static bool old_is_gone(struct world *w) {
	auto_obj struct obj *old = fake_get(&w->fake, GVR_JOBS, DEFAULT, S("old"));
	return !old;
}

static void test_replace(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "cronjob");
	auto_arena struct arena a = { 0 };

	run_policy("Replace", w, &a);
	WAIT_FOR(old_is_gone(w) && active_len(w) == 1);
	assert_int_equal(fake_count(&w->fake, GVR_JOBS, DEFAULT), 1);
	WAIT_FOR(fake_has_event(&w->fake, "SuccessfulDelete", "Deleted job old"));
	world_free(w);
}

static void test_missing_and_suspended(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "cronjob");
	auto_obj struct obj *c = fake_add(&w->fake, GVR_CRONJOBS,
		CRON_JOB("  suspend: true\nstatus: {lastScheduleTime: '2026-01-01T00:00:00Z', active: [{kind: Job, namespace: default, name: lost, uid: nobody}]}\n"));

	WAIT_FOR(active_len(w) == 0);
	WAIT_FOR(fake_has_event(&w->fake, "MissingJob", "Active job went missing: lost"));
	assert_int_equal(fake_count(&w->fake, GVR_JOBS, DEFAULT), 0);
	world_free(w);
}

static void test_unparseable(void **state) {
	struct world *w = world_new(FAKE_KUBELET_OFF, "cronjob");
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *c = fake_add(&w->fake, GVR_CRONJOBS,
		"metadata: {name: c}\nspec: {schedule: 'x', jobTemplate: {spec: {}}}\nstatus: {lastScheduleTime: '2026-01-01T00:00:00Z'}");

	WAIT_FOR(fake_has_event(&w->fake, "UnparseableSchedule", "unparseable schedule: x : expected exactly 5 fields, found 1: [x]"));
	world_free(w);
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(next_cases)] = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
		tests[i] = (struct CMUnitTest){ .name = next_cases[i].schedule, .test_func = test_next, .initial_state = (void *)&next_cases[i] };
	}
	const struct CMUnitTest others[] = {
		cmocka_unit_test(test_zone_refused),
		cmocka_unit_test(test_starts),
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_forbid),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_missing_and_suspended),
		cmocka_unit_test(test_unparseable),
	};
	int failed = cmocka_run_group_tests_name("cron", tests, NULL, NULL);
	return failed + cmocka_run_group_tests_name("cron_job", others, NULL, NULL);
}
