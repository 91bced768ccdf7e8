/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - Jobs: pods that run to completion, counted exactly once each.
 *
 * Every pod of a Job carries a finalizer until it is counted. One pass: look at the pods; find out whether the
 * Job is decided (its condition FailureTarget or SuccessCriteriaMet); delete or make pods; then count: write the uids of ended
 * pods into the status (uncountedTerminatedPods), take their finalizers off, then add them to the numbers. A crash between
 * any two steps loses and doubles nothing. The final condition comes when nothing is uncounted or terminating.
 *
 * Steps, conditions, reasons and messages are upstream's. Handlers on the loop, passes on pool threads; the uids whose
 * finalizers are off but whose copies do not show it yet stand under a lock.
 */
#include "controllers/job.h"

#include <pthread.h>

#include "base/log.h"

#define WORKERS 5
#define AT_ONCE 16
#define CHANGES_MAX 500   /* pods made or deleted in one pass */
#define UNCOUNTED_MAX 500 /* uids in the status */
#define BACKOFF_FIRST (10 * NSEC_PER_SEC)
#define BACKOFF_MAX (600 * NSEC_PER_SEC)

struct jobs {
	struct frame *frame;
	struct shared *jobs, *pods;
	struct work_queue *queue; /* jobs; and "orphan|ns/name": pods without a Job that have our finalizer */
	struct expectations *expectations;
	struct recorder *recorder;
	pthread_mutex_t lock;
	struct map released; /* uids of pods whose finalizer we took off; under the lock */
};

/* How a Job is or will be decided. */
struct outcome {
	const char *interim; /* "FailureTarget", "SuccessCriteriaMet"; NULL: not decided */
	const char *reason;
	struct str message;
};

/* One pass. */
struct pass {
	struct jobs *c;
	struct str key;
	struct arena arena;
	const struct value *job; /* as the copy shows it */
	struct value *o;         /* ours: the status is edited */
	struct pod_set pods;
	struct obj **active;
	size_t active_len;
	bool seen; /* the copy shows our last writes */
	bool indexed, per_index;
	int64_t completions; /* -1: any success will do */
	int64_t ready, terminating;
	int64_t succeeded, failed; /* as of now, what is not counted yet included */
	struct indexes done, failed_indexes;
	struct outcome outcome;
};

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static bool is_tracked(const struct value *pod) {
	return meta_has_finalizer(pod, JOB_FINALIZER);
}

static bool is_released(struct jobs *c, const struct value *pod) {
	pthread_mutex_lock(&c->lock);
	bool is = map_get(&c->released, meta_uid(pod)) != NULL;
	pthread_mutex_unlock(&c->lock);
	return is;
}

static bool has_succeeded(const struct value *pod) {
	return str_eqc(value_str_at(pod, N_status, N_phase), "Succeeded");
}

static const struct value *condition_true(const struct value *job, const char *type) {
	const struct value *c = condition_find(value_at(job, N_status, N_conditions), type);
	return str_eqc(value_str_at(c, N_status), "True") ? c : NULL;
}

static bool job_is_finished(const struct value *job) {
	return condition_true(job, "Complete") || condition_true(job, "Failed");
}

static bool is_suspended(const struct value *job) {
	return value_bool_at(job, N_spec, N_suspend);
}

static bool uid_in(const struct value *list, struct str uid) {
	VALUE_EACH(list, v) {
		if (str_eq(value_as_str(v), uid)) {
			return true;
		}
	}
	return false;
}

static bool failure_counts(struct pass *p, const struct value *pod) {
	return job_failure_action(&p->arena, p->job, pod, NULL) != FAILURE_IGNORE;
}

/* Whether an ended pod stands for an attempt that is not in any number yet. */
static bool is_new(struct pass *p, const struct value *pod) {
	const struct value *uncounted = value_at(p->job, N_status, N_uncountedTerminatedPods);

	return is_tracked(pod) && !is_released(p->c, pod) && !uid_in(value_get(uncounted, N_succeeded), meta_uid(pod)) &&
		!uid_in(value_get(uncounted, N_failed), meta_uid(pod));
}

static bool index_valid(const struct pass *p, int64_t i) {
	return i >= 0 && i < p->completions;
}

static void numbers(struct pass *p) {
	const struct value *status = value_get(p->job, N_status), *uncounted = value_get(status, N_uncountedTerminatedPods);

	p->succeeded = value_int_at(status, N_succeeded) + (int64_t)value_len(value_get(uncounted, N_succeeded));
	p->failed = value_int_at(status, N_failed) + (int64_t)value_len(value_get(uncounted, N_failed));
	p->active = arena_array(&p->arena, struct obj *, p->pods.len);
	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		if (pod_is_active(pod)) {
			p->active[p->active_len++] = p->pods.at[i];
			p->ready += pod_is_ready(pod);
		} else if (meta_deleting(pod) && !pod_is_finished(pod)) {
			p->terminating++;
		}
		if (!is_new(p, pod)) {
			continue;
		}
		if (has_succeeded(pod)) {
			p->succeeded++;
		} else if (job_pod_failed(p->job, pod) && failure_counts(p, pod)) {
			p->failed++;
		}
	}
}

static bool index_failed(struct pass *p, const struct value *pod) {
	if (!job_pod_failed(p->job, pod)) {
		return false;
	}
	switch (job_failure_action(&p->arena, p->job, pod, NULL)) {
	case FAILURE_FAIL_INDEX:
		return true;
	case FAILURE_IGNORE:
		return false;
	case FAILURE_COUNT:
	case FAILURE_FAIL_JOB:
		break;
	}
	return job_pod_failures(pod) >= value_int_at(p->job, N_spec, N_backoffLimitPerIndex);
}

static void read_indexes(struct pass *p) {
	if (!p->indexed) {
		return;
	}
	indexes_parse(&p->done, value_str_at(p->job, N_status, N_completedIndexes), p->completions);
	if (p->per_index) {
		indexes_parse(&p->failed_indexes, value_str_at(p->job, N_status, N_failedIndexes), p->completions);
	}
	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		int64_t index = job_pod_index(pod);
		if (!index_valid(p, index) || !is_tracked(pod)) {
			continue;
		}
		if (has_succeeded(pod)) {
			indexes_add(&p->done, index);
		} else if (p->per_index && index_failed(p, pod)) {
			indexes_add(&p->failed_indexes, index);
		}
	}
	p->succeeded = indexes_total(&p->done);
}

/* ---- is it decided? -------------------------------------------------------------------------------------------------------- */

static void decide(struct pass *p, const char *interim, const char *reason, struct str message) {
	if (!p->outcome.interim) {
		p->outcome = (struct outcome){ interim, reason, message };
	}
}

static void decide_before(struct pass *p, const char *interim) {
	const struct value *c = condition_true(p->job, interim);

	if (c) {
		decide(p, interim, arena_cstr(&p->arena, value_str_at(c, N_reason)), arena_str(&p->arena, value_str_at(c, N_message)));
	}
}

static void decide_by_policy(struct pass *p) {
	for (size_t i = 0; i < p->pods.len && value_at(p->job, N_spec, N_podFailurePolicy); i++) {
		struct str message;
		if (job_pod_failed(p->job, p->pods.at[i]->root) &&
			job_failure_action(&p->arena, p->job, p->pods.at[i]->root, &message) == FAILURE_FAIL_JOB) {
			decide(p, "FailureTarget", "PodFailurePolicy", message);
		}
	}
}

/* With restartPolicy OnFailure the kubelet restarts: its restarts are the attempts. */
static bool restarts_exceed(struct pass *p, int64_t limit) {
	int64_t restarts = 0;

	if (!str_eqc(value_str_at(p->job, N_spec, N_template, N_spec, N_restartPolicy), "OnFailure")) {
		return false;
	}
	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *status = value_get(p->pods.at[i]->root, N_status);
		struct str phase = value_str_at(status, N_phase);
		if (!str_eqc(phase, "Running") && !str_eqc(phase, "Pending")) {
			continue;
		}
		VALUE_EACH(value_get(status, N_initContainerStatuses), c) {
			restarts += value_int_at(c, N_restartCount);
		}
		VALUE_EACH(value_get(status, N_containerStatuses), c) {
			restarts += value_int_at(c, N_restartCount);
		}
	}
	return limit == 0 ? restarts > 0 : restarts >= limit;
}

static void decide_by_limits(struct pass *p) {
	int64_t limit = value_as_int_or(value_at(p->job, N_spec, N_backoffLimit), 6);
	const struct value *deadline = value_at(p->job, N_spec, N_activeDeadlineSeconds);
	nsec_t start = value_time(value_at(p->o, N_status, N_startTime));

	if (p->failed > limit || restarts_exceed(p, limit)) {
		decide(p, "FailureTarget", "BackoffLimitExceeded", S("Job has reached the specified backoff limit"));
	}
	if (deadline && start && !is_suspended(p->job) && !p->outcome.interim) {
		nsec_t left = start + value_as_int(deadline) * NSEC_PER_SEC - clock_wall();
		if (left <= 0) {
			decide(p, "FailureTarget", "DeadlineExceeded", S("Job was active longer than specified deadline"));
		} else {
			work_queue_add_after(p->c->queue, p->key, left + NSEC_PER_MSEC);
		}
	}
}

static void decide_by_failed_indexes(struct pass *p) {
	const struct value *max = value_at(p->job, N_spec, N_maxFailedIndexes);
	int64_t failed = indexes_total(&p->failed_indexes);

	if (!p->per_index) {
		return;
	}
	if (max && failed > value_as_int(max)) {
		decide(p, "FailureTarget", "MaxFailedIndexesExceeded", S("Job has exceeded the specified maximal number of failed indexes"));
	} else if (failed > 0 && failed + indexes_total(&p->done) >= p->completions) {
		decide(p, "FailureTarget", "FailedIndexes", S("Job has failed indexes"));
	}
}

static bool success_rule_met(struct pass *p, const struct value *rule) {
	const struct value *count = value_get(rule, N_succeededCount);
	int64_t met = 0;

	if (!value_get(rule, N_succeededIndexes)) {
		return count && p->succeeded >= value_as_int(count);
	}
	struct indexes wanted = { 0 };
	indexes_parse(&wanted, value_str_at(rule, N_succeededIndexes), p->completions);
	for (size_t i = 0; i < wanted.at.len; i++) {
		for (int64_t k = wanted.at.at[i].first; k <= wanted.at.at[i].last; k++) {
			met += indexes_has(&p->done, k);
		}
	}
	bool ok = met >= (count ? value_as_int(count) : indexes_total(&wanted));
	indexes_release(&wanted);
	return ok;
}

static void decide_by_success_policy(struct pass *p) {
	const struct value *rules = value_at(p->job, N_spec, N_successPolicy, N_rules);

	for (size_t i = 0; i < value_len(rules) && p->indexed && !p->outcome.interim; i++) {
		if (success_rule_met(p, value_item(rules, i))) {
			decide(p, "SuccessCriteriaMet", "SuccessPolicy", arena_printf(&p->arena, "Matched rules at index %zu", i));
		}
	}
}

/* ---- making and deleting pods ----------------------------------------------------------------------------------------------------- */

struct batch {
	struct pass *p;
	struct value **fresh;         /* pods to be made */
	const struct value **victims; /* pods to be deleted */
	size_t tried;
	bool *deleted;
};

static bool create_one(void *arg, size_t i, struct err *err) {
	struct batch *b = arg;

	__atomic_fetch_add(&b->tried, 1, __ATOMIC_RELAXED);
	if (pod_create(b->p->c->frame, b->p->c->recorder, b->p->job, b->fresh[i], err)) {
		return true;
	}
	expectations_created(b->p->c->expectations, b->p->key);
	return false;
}

static bool delete_one(void *arg, size_t i, struct err *err) {
	struct batch *b = arg;

	b->deleted[i] = pod_delete(b->p->c->frame, b->p->c->recorder, b->p->job, b->victims[i], err);
	if (err->code != ERR_NONE) { /* failed, or gone already: its end may have been seen before we expected it */
		expectations_deleted(b->p->c->expectations, b->p->key, meta_uid(b->victims[i]));
	}
	return b->deleted[i];
}

/* Deletes pods and takes them out of the numbers of this pass. */
static bool delete_pods(struct pass *p, struct obj **pods, size_t n, struct err *err) {
	struct batch b = { .p = p, .victims = arena_array(&p->arena, const struct value *, n + 1), .deleted = arena_array(&p->arena, bool, n + 1) };
	struct str *uids = arena_array(&p->arena, struct str, n + 1);

	if (n == 0) {
		return true;
	}
	for (size_t i = 0; i < n; i++) {
		b.victims[i] = pods[i]->root;
		uids[i] = meta_uid(pods[i]->root);
	}
	expectations_expect(p->c->expectations, p->key, 0, uids, n);
	bool ok = frame_parallel(n, AT_ONCE, delete_one, &b, err) == n;
	for (size_t i = 0; i < n; i++) {
		if (b.deleted[i]) {
			p->ready -= pod_is_ready(b.victims[i]);
			p->terminating++;
			p->active_len--; /* only the number is used from here on */
		}
	}
	return ok;
}

static void index_env_add(struct arena *a, struct value *containers) {
	VALUE_EACH(containers, c) {
		struct value *env = value_ensure_array(a, c, N_env);
		if (value_find_by(env, N_name, S("JOB_COMPLETION_INDEX"))) {
			continue;
		}
		struct value *e = value_push(a, env, value_new_object(a)), *from;
		value_set_str(a, e, N_name, S("JOB_COMPLETION_INDEX"));
		from = value_set(a, value_set(a, e, N_valueFrom, value_new_object(a)), N_fieldRef, value_new_object(a));
		value_set_str(a, from, N_fieldPath, S("metadata.annotations['batch.kubernetes.io/job-completion-index']"));
	}
}

/* The ended pod of an index that the next one replaces: the latest; NULL when there is none. */
static const struct value *predecessor(struct pass *p, int64_t index) {
	const struct value *latest = NULL;

	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		if (job_pod_index(pod) != index || !is_tracked(pod) || !job_pod_failed(p->job, pod)) {
			continue;
		}
		if (!latest || job_pod_failures(pod) + job_pod_ignored_failures(pod) > job_pod_failures(latest) + job_pod_ignored_failures(latest)) {
			latest = pod;
		}
	}
	return latest;
}

static struct value *pod_make(struct pass *p, int64_t index) {
	struct arena *a = &p->arena;
	struct value *pod = pod_from_template(a, value_at(p->job, N_spec, N_template), p->job);
	struct value *meta = value_get(pod, N_metadata), *finalizers = value_ensure_array(a, meta, N_finalizers);

	if (!uid_in(finalizers, JOB_FINALIZER)) {
		value_push_str(a, finalizers, JOB_FINALIZER);
	}
	if (!p->indexed) {
		return pod;
	}
	struct str number = arena_printf(a, "%lld", (long long)index), name = meta_name(p->job);
	value_set_str(a, meta, N_generateName, arena_printf(a, "%.*s-%.*s-", STR_ARG(name), STR_ARG(number)));
	value_set_key_str(a, value_ensure_object(a, meta, N_labels), JOB_INDEX, number);
	value_set_key_str(a, value_ensure_object(a, meta, N_annotations), JOB_INDEX, number);
	if (p->per_index) {
		const struct value *before = predecessor(p, index);
		bool counts = before && failure_counts(p, before);
		int64_t failures = before ? job_pod_failures(before) + counts : 0, ignored = before ? job_pod_ignored_failures(before) + !counts : 0;
		struct value *annotations = value_ensure_object(a, meta, N_annotations);
		value_set_key_str(a, annotations, JOB_FAILURES, arena_printf(a, "%lld", (long long)failures));
		if (ignored > 0) {
			value_set_key_str(a, annotations, JOB_IGNORED_FAILURES, arena_printf(a, "%lld", (long long)ignored));
		}
	}
	struct value *spec = value_set(a, pod, N_spec, value_copy(a, value_get(pod, N_spec)));
	value_set_str(a, spec, N_hostname, arena_printf(a, "%.*s-%.*s", STR_ARG(name), STR_ARG(number)));
	index_env_add(a, value_get(spec, N_initContainers));
	index_env_add(a, value_get(spec, N_containers));
	return pod;
}

static nsec_t backoff(int64_t failures) {
	return failures <= 0 ? 0 : failures > 7 ? BACKOFF_MAX : MIN(BACKOFF_FIRST << (failures - 1), BACKOFF_MAX);
}

static int by_finish(const void *pa, const void *pb) {
	nsec_t a = job_pod_finished_at((*(struct obj *const *)pa)->root), b = job_pod_finished_at((*(struct obj *const *)pb)->root);
	return (a > b) - (a < b);
}

/* How long to wait before the next pod: 10 s after a failure, doubling with each failure since the last success. */
static nsec_t backoff_left(struct pass *p) {
	struct obj **ended = arena_array(&p->arena, struct obj *, p->pods.len);
	size_t n = 0;
	int64_t failures = 0;
	nsec_t last = 0;

	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		if (has_succeeded(pod) || job_pod_failed(p->job, pod)) {
			ended[n++] = p->pods.at[i];
		}
	}
	if (n > 1) {
		qsort(ended, n, sizeof(*ended), by_finish);
	}
	for (size_t i = 0; i < n; i++) {
		if (has_succeeded(ended[i]->root)) {
			failures = 0;
		} else {
			failures++;
			last = job_pod_finished_at(ended[i]->root);
		}
	}
	return failures ? last + backoff(failures) - clock_wall() : 0;
}

/* Indexes that have no pod and need one, the lowest first; those that back off are left out and *ret_wait tells for how long. */
static size_t pending_indexes(struct pass *p, size_t max, int64_t *ret, nsec_t *ret_wait) {
	struct indexes busy = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		bool waits = job_waits_for_terminating(p->job) && meta_deleting(pod) && !pod_is_finished(pod);
		if (job_pod_index(pod) >= 0 && (pod_is_active(pod) || waits)) {
			indexes_add(&busy, job_pod_index(pod));
		}
	}
	for (int64_t i = 0; i < p->completions && n < max; i++) {
		if (indexes_has(&p->done, i) || indexes_has(&busy, i) || indexes_has(&p->failed_indexes, i)) {
			continue;
		}
		const struct value *before = p->per_index ? predecessor(p, i) : NULL;
		if (before) {
			nsec_t left = job_pod_finished_at(before) + backoff(job_pod_failures(before) + job_pod_ignored_failures(before) + 1) - clock_wall();
			if (left > 0) {
				*ret_wait = *ret_wait ? MIN(*ret_wait, left) : left;
				continue;
			}
		}
		ret[n++] = i;
	}
	indexes_release(&busy);
	return n;
}

static bool create_pods(struct pass *p, size_t missing, struct err *err) {
	int64_t *indexes = arena_array(&p->arena, int64_t, missing);
	struct batch b = { .p = p, .fresh = arena_array(&p->arena, struct value *, missing) };
	nsec_t wait = p->per_index ? 0 : backoff_left(p);
	struct err first = { 0 };

	if (wait > 0) {
		work_queue_add_after(p->c->queue, p->key, wait + NSEC_PER_MSEC);
		return true;
	}
	if (p->indexed) {
		wait = 0;
		missing = pending_indexes(p, missing, indexes, &wait);
		if (wait > 0) {
			work_queue_add_after(p->c->queue, p->key, wait + NSEC_PER_MSEC);
		}
	}
	if (missing == 0) {
		return true;
	}
	for (size_t i = 0; i < missing; i++) {
		b.fresh[i] = pod_make(p, indexes[i]);
	}
	expectations_expect(p->c->expectations, p->key, (int)missing, NULL, 0);
	size_t made = frame_slow_start(missing, create_one, &b, &first);
	p->active_len += made;
	for (size_t i = b.tried; i < missing; i++) {
		expectations_created(p->c->expectations, p->key);
	}
	if (made < missing) {
		*err = first;
		return str_contains(str_c(first.msg), S("because it is being terminated"));
	}
	return true;
}

/* Who goes first when there are too many: not yet running before running, not ready before ready, younger before older. */
static int by_worth(const void *pa, const void *pb) {
	const struct value *a = (*(struct obj *const *)pa)->root, *b = (*(struct obj *const *)pb)->root;
	int x[] = { value_str_at(a, N_spec, N_nodeName).len > 0, str_eqc(value_str_at(a, N_status, N_phase), "Running"), pod_is_ready(a) };
	int y[] = { value_str_at(b, N_spec, N_nodeName).len > 0, str_eqc(value_str_at(b, N_status, N_phase), "Running"), pod_is_ready(b) };

	for (size_t i = 0; i < ARRAY_LEN(x); i++) {
		if (x[i] != y[i]) {
			return x[i] - y[i];
		}
	}
	return str_cmp(value_str_at(b, N_metadata, N_creationTimestamp), value_str_at(a, N_metadata, N_creationTimestamp));
}

/*
 * How many active pods to delete: at least `least`, and all whose index is out of range or another pod's. They are moved to the
 * front of p->active, the least worth first.
 */
static size_t surplus(struct pass *p, int64_t least) {
	struct obj **order = arena_array(&p->arena, struct obj *, p->active_len);
	bool *keeps = arena_array(&p->arena, bool, p->active_len);
	struct indexes taken = { 0 };
	size_t n = 0, doubles;

	qsort(p->active, p->active_len, sizeof(*p->active), by_worth);
	for (size_t i = p->active_len; i-- > 0;) { /* of several with one index the worthiest keeps it */
		int64_t index = job_pod_index(p->active[i]->root);
		keeps[i] = !p->indexed || (index_valid(p, index) && !indexes_has(&taken, index) && !indexes_has(&p->done, index));
		if (p->indexed && keeps[i]) {
			indexes_add(&taken, index);
		}
	}
	for (size_t i = 0; i < p->active_len; i++) {
		if (!keeps[i]) {
			order[n++] = p->active[i];
		}
	}
	doubles = n;
	for (size_t i = 0; i < p->active_len; i++) {
		if (keeps[i]) {
			order[n++] = p->active[i];
		}
	}
	p->active = order;
	indexes_release(&taken);
	return MAX(doubles, (size_t)MIN(least, (int64_t)p->active_len));
}

static bool manage(struct pass *p, struct err *err) {
	int64_t parallelism = value_as_int_or(value_at(p->job, N_spec, N_parallelism), 1), active = (int64_t)p->active_len, want;

	if (is_suspended(p->job)) {
		return delete_pods(p, p->active, MIN(p->active_len, (size_t)CHANGES_MAX), err);
	}
	if (p->completions < 0) {
		want = p->succeeded > 0 ? active : parallelism;
	} else {
		int64_t left = p->completions - p->succeeded - (p->per_index ? indexes_total(&p->failed_indexes) : 0);
		want = MAX(MIN(left, parallelism), (int64_t)0);
	}
	size_t extra = p->active_len ? surplus(p, MAX(active - want, (int64_t)0)) : 0;
	if (extra > 0) {
		return delete_pods(p, p->active, MIN(extra, (size_t)CHANGES_MAX), err);
	}
	int64_t missing = want - active - (job_waits_for_terminating(p->job) ? p->terminating : 0);
	return missing <= 0 || create_pods(p, (size_t)MIN(missing, (int64_t)CHANGES_MAX), err);
}

/* ---- counting ------------------------------------------------------------------------------------------------------------------------- */

static struct value *status_of(struct pass *p) {
	return value_ensure_object(&p->arena, p->o, N_status);
}

static struct value *uncounted_list(struct pass *p, enum name_id which) {
	struct value *uncounted = value_ensure_object(&p->arena, status_of(p), N_uncountedTerminatedPods);
	return value_ensure_array(&p->arena, uncounted, which);
}

static void uncounted_tidy(struct pass *p) {
	struct value *uncounted = value_get(status_of(p), N_uncountedTerminatedPods);
	static const uint16_t lists[] = { N_succeeded, N_failed };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		if (value_get(uncounted, lists[i]) && value_len(value_get(uncounted, lists[i])) == 0) {
			value_remove(uncounted, (enum name_id)lists[i]);
		}
	}
}

/* Equal, but for the empty list of what is uncounted, which servers print or leave out. */
static bool same_status(struct pass *p, const struct value *x, const struct value *y) {
	struct value *a = value_shallow(&p->arena, x), *b = value_shallow(&p->arena, y);

	if (value_len(value_get(a, N_uncountedTerminatedPods)) + value_len(value_get(b, N_uncountedTerminatedPods)) == 0 && value_get(y, N_startTime)) {
		value_remove(a, N_uncountedTerminatedPods);
		value_remove(b, N_uncountedTerminatedPods);
	}
	return value_eq(a, b);
}

static bool status_write(struct pass *p, struct err *err) {
	auto_obj struct obj *now = NULL;

	uncounted_tidy(p);
	if (!client_update_status(p->c->frame->client, GVR_JOBS, meta_ns(p->o), p->o, &now, err)) {
		return false;
	}
	p->o = value_copy(&p->arena, now->root);
	return true;
}

/* Uids in the lists whose pods have lost their finalizer become part of the numbers. */
static void count_settled(struct pass *p, enum name_id which) {
	struct value *list = uncounted_list(p, which), *status = status_of(p), *left = value_new_array(&p->arena);
	int64_t settled = 0;

	VALUE_EACH(list, uid) {
		bool tracked = false;
		for (size_t i = 0; i < p->pods.len && !tracked; i++) {
			const struct value *pod = p->pods.at[i]->root;
			tracked = str_eq(meta_uid(pod), value_as_str(uid)) && is_tracked(pod) && !is_released(p->c, pod);
		}
		if (tracked) {
			value_push(&p->arena, left, uid);
		} else {
			settled++;
		}
	}
	value_set(&p->arena, value_ensure_object(&p->arena, status, N_uncountedTerminatedPods), which, left);
	if (settled && !(p->indexed && which == N_succeeded)) {
		value_set_int(&p->arena, status, which, value_int_at(status, which) + settled);
	}
}

/* Whether a pod's finalizer may go now. */
static bool may_release(struct pass *p, const struct value *pod) {
	bool ended = has_succeeded(pod) || job_pod_failed(p->job, pod);

	if (meta_deleting(p->job) || p->outcome.interim) {
		return true;
	}
	if (!ended) {
		return false;
	}
	if (p->per_index && !has_succeeded(pod)) {
		/* the last one of an index remembers how often it failed, until its successor is there */
		int64_t index = job_pod_index(pod);
		if (index_valid(p, index) && !indexes_has(&p->failed_indexes, index) && !indexes_has(&p->done, index) && predecessor(p, index) == pod) {
			for (size_t i = 0; i < p->pods.len; i++) {
				const struct value *other = p->pods.at[i]->root;
				if (job_pod_index(other) == index && pod_is_active(other)) {
					return true;
				}
			}
			return false;
		}
	}
	return true;
}

/* Puts ended pods into the status, and into ret_pods those whose finalizers go. */
static size_t count_new(struct pass *p, struct obj **ret_pods) {
	struct value *succeeded = uncounted_list(p, N_succeeded);
	bool fails = p->outcome.interim && strcmp(p->outcome.interim, "FailureTarget") == 0; /* takes what still runs with it */
	size_t n = 0, listed = value_len(succeeded) + value_len(value_at(p->o, N_status, N_uncountedTerminatedPods, N_failed));

	for (size_t i = 0; i < p->pods.len && listed < UNCOUNTED_MAX; i++) {
		const struct value *pod = p->pods.at[i]->root;
		struct str uid = meta_uid(pod);
		if (!is_tracked(pod) || is_released(p->c, pod) || !may_release(p, pod)) {
			continue;
		}
		ret_pods[n++] = p->pods.at[i];
		if (!is_new(p, pod)) {
			continue;
		}
		if (has_succeeded(pod)) {
			if (!p->indexed) {
				value_push_str(&p->arena, uncounted_list(p, N_succeeded), uid);
			}
			listed++;
		} else if ((job_pod_failed(p->job, pod) || fails) && (!p->indexed || index_valid(p, job_pod_index(pod))) && failure_counts(p, pod)) {
			value_push_str(&p->arena, uncounted_list(p, N_failed), uid);
			listed++;
		}
	}
	return n;
}

struct releasing {
	struct jobs *c;
	struct obj **pods;
};

static bool finalizer_off(struct jobs *c, const struct value *pod, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *patch = value_new_object(&a), *meta = value_set(&a, patch, N_metadata, value_new_object(&a));

	value_push_str(&a, value_set_key(&a, meta, S("$deleteFromPrimitiveList/finalizers"), value_new_array(&a)), JOB_FINALIZER);
	pthread_mutex_lock(&c->lock);
	map_set(&c->released, meta_uid(pod), c);
	pthread_mutex_unlock(&c->lock);
	if (client_patch(c->frame->client, GVR_PODS, meta_ns(pod), meta_name(pod), S(""), PATCH_STRATEGIC, patch, NULL, err) || err->code == ERR_NOT_FOUND ||
		err->code == ERR_INVALID) {
		return true;
	}
	pthread_mutex_lock(&c->lock);
	map_remove(&c->released, meta_uid(pod));
	pthread_mutex_unlock(&c->lock);
	return false;
}

static bool release_one(void *arg, size_t i, struct err *err) {
	struct releasing *r = arg;
	return finalizer_off(r->c, r->pods[i]->root, err);
}

static void live_numbers(struct pass *p) {
	struct value *status = status_of(p);

	set_int_omit(&p->arena, status, N_active, (int64_t)p->active_len);
	value_set_int(&p->arena, status, N_ready, MAX(p->ready, (int64_t)0));
	value_set_int(&p->arena, status, N_terminating, p->terminating);
	if (p->indexed) {
		struct str done = indexes_text(&p->arena, &p->done);
		set_int_omit(&p->arena, status, N_succeeded, indexes_total(&p->done));
		if (done.len) {
			value_set_str(&p->arena, status, N_completedIndexes, done);
		}
		if (p->per_index) {
			value_set_str(&p->arena, status, N_failedIndexes, indexes_text(&p->arena, &p->failed_indexes));
		}
	}
}

static void condition_put(struct pass *p, const char *type, const char *status, const char *reason, struct str message) {
	struct condition c = { .type = type, .status = status, .reason = reason, .message = message, .probe_time = true };
	condition_set(&p->arena, value_ensure_array(&p->arena, status_of(p), N_conditions), &c);
}

/* The last word, when nothing is left to count or to end. */
static bool finish(struct pass *p) {
	const struct value *uncounted = value_get(status_of(p), N_uncountedTerminatedPods);
	bool success = p->outcome.interim && strcmp(p->outcome.interim, "SuccessCriteriaMet") == 0;

	if (!p->outcome.interim || value_len(value_get(uncounted, N_succeeded)) + value_len(value_get(uncounted, N_failed)) > 0 || p->terminating > 0) {
		return false;
	}
	condition_put(p, success ? "Complete" : "Failed", "True", p->outcome.reason, p->outcome.message);
	if (success) {
		value_set_str(&p->arena, status_of(p), N_completionTime, now_text(&p->arena));
	}
	return true;
}

static bool count_and_finish(struct pass *p, struct err *err) {
	struct obj **pods = arena_array(&p->arena, struct obj *, p->pods.len + 1);

	count_settled(p, N_succeeded);
	count_settled(p, N_failed);
	size_t n = count_new(p, pods);
	live_numbers(p);
	if (p->outcome.interim) {
		condition_put(p, p->outcome.interim, "True", p->outcome.reason, p->outcome.message);
	}
	uncounted_tidy(p);
	if (!same_status(p, status_of(p), value_get(p->job, N_status)) && !status_write(p, err)) {
		return false;
	}
	struct releasing r = { p->c, pods };
	size_t off = n ? frame_parallel(n, AT_ONCE, release_one, &r, err) : 0;
	struct value *before = value_copy(&p->arena, status_of(p));
	count_settled(p, N_succeeded);
	count_settled(p, N_failed);
	bool finished = off == n && finish(p);
	uncounted_tidy(p);
	if (!same_status(p, status_of(p), before)) {
		struct err one = { 0 };
		if (!status_write(p, &one)) {
			*err = one;
			return false;
		}
	}
	if (finished) {
		bool success = strcmp(p->outcome.interim, "SuccessCriteriaMet") == 0;
		recorder_event(p->c->recorder, p->job, success ? "Normal" : "Warning", success ? "Completed" : p->outcome.reason, "%s",
			success ? "Job completed" : arena_cstr(&p->arena, p->outcome.message));
	}
	return off == n;
}

/* ---- one pass -------------------------------------------------------------------------------------------------------------------------- */

static void suspend_note(struct pass *p) {
	const struct value *is = condition_find(value_get(status_of(p), N_conditions), "Suspended");

	if (is_suspended(p->job) && !str_eqc(value_str_at(is, N_status), "True")) {
		condition_put(p, "Suspended", "True", "JobSuspended", S("Job suspended"));
		recorder_event(p->c->recorder, p->job, "Normal", "Suspended", "Job suspended");
	} else if (!is_suspended(p->job) && str_eqc(value_str_at(is, N_status), "True")) {
		condition_put(p, "Suspended", "False", "JobResumed", S("Job resumed"));
		value_set_str(&p->arena, status_of(p), N_startTime, now_text(&p->arena)); /* the deadline counts anew */
		recorder_event(p->c->recorder, p->job, "Normal", "Resumed", "Job resumed");
	}
}

static bool run(struct pass *p, struct err *err) {
	struct err failure = { 0 };
	bool ok = true;

	numbers(p);
	read_indexes(p);
	if (!value_at(p->o, N_status, N_startTime) && !is_suspended(p->job)) {
		value_set_str(&p->arena, status_of(p), N_startTime, now_text(&p->arena));
	}
	decide_before(p, "SuccessCriteriaMet");
	decide_before(p, "FailureTarget");
	decide_by_policy(p);
	decide_by_limits(p);
	decide_by_failed_indexes(p);
	decide_by_success_policy(p);
	if (p->outcome.interim) {
		ok = delete_pods(p, p->active, p->active_len, &failure);
		if (p->active_len > 0 || !p->seen) {
			p->outcome.interim = NULL; /* some may be there that we do not see yet */
		}
	} else {
		bool managed = p->seen && !meta_deleting(p->job);
		ok = !managed || manage(p, &failure);
		bool complete = p->active_len == 0 && (p->completions < 0 ? p->succeeded > 0 : p->succeeded >= p->completions);
		if (complete && !meta_deleting(p->job) && p->seen) {
			decide(p, "SuccessCriteriaMet", "CompletionsReached", S("Reached expected number of succeeded pods"));
		} else if (managed) {
			suspend_note(p);
		}
	}
	if (!count_and_finish(p, err)) {
		return false;
	}
	if (!ok) {
		*err = failure;
	}
	return ok;
}

static bool orphan_sync(struct jobs *c, struct str key, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str ns, name;

	key_split(key, &ns, &name);
	auto_obj struct obj *pod = informer_get(c->pods->informer, ns, name);
	if (!pod || !is_tracked(pod->root)) {
		return true;
	}
	const struct value *ref = meta_controller(pod->root);
	if (ref && str_eqc(value_str_at(ref, N_kind), "Job")) {
		auto_obj struct obj *job = NULL;
		if (client_get(c->frame->client, GVR_JOBS, ns, value_str_at(ref, N_name), &job, err)) {
			if (str_eq(meta_uid(job->root), value_str_at(ref, N_uid)) && !job_is_finished(job->root)) {
				return true;
			}
		} else if (err->code != ERR_NOT_FOUND) {
			return false;
		}
		err_clear(err);
	}
	return finalizer_off(c, pod->root, err);
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct jobs *c = arg;
	struct pass p = { .c = c, .key = key, .completions = -1 };
	const struct selector *selector = NULL;
	struct str ns, name, rest;

	if (str_starts(key, S("orphan|"))) {
		(void)str_cut(key, '|', &name, &rest);
		return orphan_sync(c, rest, err);
	}
	key_split(key, &ns, &name);
	auto_obj struct obj *job = informer_get(c->jobs->informer, ns, name);
	if (!job) {
		expectations_forget(c->expectations, key);
		return true;
	}
	struct str managed_by = value_str_at(job->root, N_spec, N_managedBy);
	if (job_is_finished(job->root) || (managed_by.len && !str_eqc(managed_by, "kubernetes.io/job-controller"))) {
		return true;
	}
	p.job = job->root;
	p.seen = expectations_seen(c->expectations, key);
	p.indexed = str_eqc(value_str_at(job->root, N_spec, N_completionMode), "Indexed");
	p.completions = value_as_int_or(value_at(job->root, N_spec, N_completions), -1);
	p.per_index = p.indexed && value_at(job->root, N_spec, N_backoffLimitPerIndex);
	p.o = object_edit(&p.arena, job->root);
	value_ensure_object(&p.arena, status_of(&p), N_uncountedTerminatedPods);
	bool ok = selector_from_value(&p.arena, value_at(job->root, N_spec, N_selector), &selector, err) && selector &&
		pods_claim(c->frame, c->pods, GVR_JOBS, job->root, selector, &p.pods, err);
	if (ok) {
		ok = run(&p, err);
		pod_set_release(&p.pods);
	} else if (!selector && err->code == ERR_NONE) {
		ok = true; /* the server gives every Job a selector */
	}
	indexes_release(&p.done);
	indexes_release(&p.failed_indexes);
	arena_release(&p.arena);
	return ok || err->code == ERR_NOT_FOUND;
}

/* ---- what wakes a key ------------------------------------------------------------------------------------------------------------------- */

static void wake_pods_of(struct jobs *c, const struct value *job) {
	auto_arena struct arena a = { 0 };
	struct client_list pods;

	if (!c->pods->informer) {
		return;
	}
	informer_index(c->pods->informer, index_owner(&a, meta_uid(job)), &pods);
	for (size_t i = 0; i < pods.len; i++) {
		if (is_tracked(pods.at[i]->root)) {
			struct str key = meta_key(&a, pods.at[i]->root);
			work_queue_add(c->queue, arena_printf(&a, "orphan|%.*s", STR_ARG(key)));
		}
	}
	client_list_release(&pods);
}

static void job_changed(void *arg, struct obj *old, struct obj *now) {
	struct jobs *c = arg;
	auto_arena struct arena a = { 0 };
	struct str key = meta_key(&a, (now ? now : old)->root);

	if (!now) {
		expectations_forget(c->expectations, key);
		wake_pods_of(c, old->root);
	} else if (job_is_finished(now->root)) {
		wake_pods_of(c, now->root);
		return;
	}
	work_queue_add(c->queue, key);
}

static void wake_matching(struct jobs *c, const struct value *pod) {
	struct client_list all;

	informer_list(c->jobs->informer, meta_ns(pod), &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct selector *s = NULL;
		struct err err = { 0 };
		if (selector_from_value(&a, value_at(all.at[i]->root, N_spec, N_selector), &s, &err) && s && selector_matches(s, meta_labels(pod))) {
			work_queue_add(c->queue, meta_key(&a, all.at[i]->root));
		}
	}
	client_list_release(&all);
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct jobs *c = arg;
	auto_arena struct arena a = { 0 };
	const struct value *pod = (now ? now : old)->root;
	struct str key = controller_key(&a, c->jobs, "batch", "Job", pod);

	if (!now || !is_tracked(pod)) {
		pthread_mutex_lock(&c->lock);
		map_remove(&c->released, meta_uid(pod));
		pthread_mutex_unlock(&c->lock);
	}
	if (old && now) {
		struct str before = controller_key(&a, c->jobs, "batch", "Job", old->root);
		if (before.len && !str_eq(before, key)) {
			work_queue_add(c->queue, before);
		}
	}
	if (key.len) {
		if (!now || meta_deleting(pod)) {
			expectations_deleted(c->expectations, key, meta_uid(pod));
		} else if (!old) {
			expectations_created(c->expectations, key);
		}
		work_queue_add(c->queue, key);
	}
	if (now && is_tracked(pod) && !key.len) {
		struct str own = meta_key(&a, pod);
		work_queue_add(c->queue, arena_printf(&a, "orphan|%.*s", STR_ARG(own)));
	}
	if (now && !meta_controller(pod) && !meta_deleting(pod) &&
		(!old || meta_controller(old->root) || !value_eq(meta_labels(old->root), meta_labels(now->root)))) {
		wake_matching(c, pod);
	}
}

static void *make(struct frame *f) {
	struct jobs *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	pthread_mutex_init(&c->lock, NULL);
	c->expectations = expectations_new();
	c->recorder = recorder_new(f->client, "job-controller", NULL);
	c->queue = frame_queue(f, "job", WORKERS, sync, c);
	c->jobs = frame_watch(f, GVR_JOBS, job_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct jobs *c = controller;

	recorder_free(c->recorder);
	expectations_free(c->expectations);
	map_release(&c->released);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

const struct controller_ops job_controller = { .name = "job", .make = make, .free = destroy };
