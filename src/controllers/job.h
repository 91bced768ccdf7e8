/* SPDX-License-Identifier: Apache-2.0 */
/* job.h - parts of the Job controller that stand alone: sets of indexes, the pod failure policy. Private to this room. */
#ifndef CONTROLLERS_JOB_H
#define CONTROLLERS_JOB_H

#include "base/vec.h"
#include "controllers/pods.h"

#define JOB_FINALIZER S("batch.kubernetes.io/job-tracking")
#define JOB_INDEX S("batch.kubernetes.io/job-completion-index")
#define JOB_FAILURES S("batch.kubernetes.io/job-index-failure-count")
#define JOB_IGNORED_FAILURES S("batch.kubernetes.io/job-index-ignored-failure-count")

/* ---- job_indexes.c: "1,3-5,7" ---- */
struct interval {
	int64_t first, last;
};
struct indexes {
	VEC(struct interval) at; /* ascending, apart from each other */
};
void indexes_parse(struct indexes *x, struct str text, int64_t below); /* what is not below `below`, or no number, is left out */
void indexes_add(struct indexes *x, int64_t i);
bool indexes_has(const struct indexes *x, int64_t i);
int64_t indexes_total(const struct indexes *x);
struct str indexes_text(struct arena *a, const struct indexes *x);
void indexes_release(struct indexes *x);

/* ---- job_failure.c: how a pod failed, and what the Job's policy says to it ---- */
enum failure_action { FAILURE_COUNT, FAILURE_IGNORE, FAILURE_FAIL_JOB, FAILURE_FAIL_INDEX };
/* Failed, or deleted before it came to an end (only while Pending when terminating pods are waited for). */
bool job_pod_failed(const struct value *job, const struct value *pod);
/* What the first matching rule says; FAILURE_COUNT when none matches. *ret_message (may be NULL) for FAIL_JOB. */
enum failure_action job_failure_action(struct arena *a, const struct value *job, const struct value *pod, struct str *ret_message);
int64_t job_pod_index(const struct value *pod); /* -1 when it has none */
int64_t job_pod_failures(const struct value *pod);         /* of its index, before it */
int64_t job_pod_ignored_failures(const struct value *pod);
nsec_t job_pod_finished_at(const struct value *pod);
bool job_waits_for_terminating(const struct value *job);   /* podReplacementPolicy: Failed */

#endif
