/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cron_job.c - starts Jobs at the times of a schedule.
 *
 * One pass: bring status.active in line with the Jobs that exist, start the Job of the most recent scheduled time unless that
 * is done, suspended, forbidden or too late, delete finished Jobs beyond the history limits, write the status, and come back at the next time.
 * A Job's name is made from its time, so that no time starts two. Handlers on the loop, passes on pool threads.
 */
#include "base/log.h"
#include "controllers/cron.h"
#include "controllers/pods.h"

#define WORKERS 5
#define COME_BACK (100 * NSEC_PER_MSEC) /* after the scheduled time, so that clocks agree it has come */
#define SCHEDULED_AT S("batch.kubernetes.io/cronjob-scheduled-timestamp")

struct cron_jobs {
	struct frame *frame;
	struct shared *cron_jobs, *jobs;
	struct work_queue *queue;
	struct recorder *recorder;
};

struct pass {
	struct cron_jobs *c;
	struct str key;
	struct arena arena;
	const struct value *cron_job; /* as the copy shows it */
	struct value *o;              /* ours: the status is edited */
	struct client_list jobs;      /* its own and more: see is_ours() */
	nsec_t now;
	struct cron schedule;
	const struct zone *zone;
};

/* ---- the Jobs ----------------------------------------------------------------------------------------------------------- */

/* "Complete" or "Failed"; NULL while it runs. */
static const char *job_end(const struct value *job) {
	const struct value *conditions = value_at(job, N_status, N_conditions);

	return condition_is(conditions, "Complete", "True") ? "Complete" : condition_is(conditions, "Failed", "True") ? "Failed" : NULL;
}

static bool is_ours(const struct pass *p, const struct value *job) {
	return str_eq(value_str_at(meta_controller(job), N_uid), meta_uid(p->cron_job));
}

static struct value *status_of(struct pass *p) {
	return value_ensure_object(&p->arena, p->o, N_status);
}

static const struct value *active_find(struct pass *p, struct str uid) {
	return value_find_by(value_at(p->o, N_status, N_active), N_uid, uid);
}

static void active_remove(struct pass *p, struct str uid) {
	struct value *active = value_at(p->o, N_status, N_active);

	for (size_t i = 0; i < value_len(active); i++) {
		if (str_eq(value_str_at(value_item(active, i), N_uid), uid)) {
			value_remove_at(active, i);
			break;
		}
	}
	if (active && value_len(active) == 0) {
		value_remove(value_get(p->o, N_status), N_active);
	}
}

static void success_note(struct pass *p, const struct value *job) {
	struct str at = value_str_at(job, N_status, N_completionTime);

	if (at.len && value_time(value_at(job, N_status, N_completionTime)) > value_time(value_at(p->o, N_status, N_lastSuccessfulTime))) {
		value_set_str(&p->arena, status_of(p), N_lastSuccessfulTime, at);
	}
}

/* status.active against the Jobs that exist. False: our copies lag behind our own writes, wait for them. */
static bool active_update(struct pass *p, bool *ret_current, struct err *err) {
	struct frame *f = p->c->frame;

	*ret_current = true;
	for (size_t i = 0; i < p->jobs.len; i++) {
		const struct value *job = p->jobs.at[i]->root;
		if (!is_ours(p, job)) {
			continue;
		}
		struct str name = meta_name(job);
		bool listed = active_find(p, meta_uid(job)) != NULL;
		const char *end = job_end(job);
		if (!listed && !end) {
			auto_obj struct obj *now = NULL;
			if (!client_get(f->client, GVR_CRONJOBS, meta_ns(p->cron_job), meta_name(p->cron_job), &now, err)) {
				return false;
			}
			if (value_find_by(value_at(now->root, N_status, N_active), N_uid, meta_uid(job))) {
				*ret_current = false;
				return true;
			}
			recorder_event(p->c->recorder, p->cron_job, "Warning", "UnexpectedJob", "Saw a job that the controller did not create or forgot: %.*s",
				STR_ARG(name));
		} else if (listed && end) {
			active_remove(p, meta_uid(job));
			recorder_event(p->c->recorder, p->cron_job, "Normal", "SawCompletedJob", "Saw completed job: %.*s, condition: %s", STR_ARG(name), end);
		}
		if (end && str_eqc(str_c(end), "Complete")) {
			success_note(p, job);
		}
	}
	const struct value *before = value_at(p->cron_job, N_status, N_active);
	VALUE_EACH(before, ref) {
		bool found = !active_find(p, value_str_at(ref, N_uid)); /* it has ended */
		for (size_t i = 0; i < p->jobs.len && !found; i++) {
			found = str_eq(meta_uid(p->jobs.at[i]->root), value_str_at(ref, N_uid));
		}
		struct err missing = { 0 };
		struct str name = value_str_at(ref, N_name);
		if (!found && !client_get(f->client, GVR_JOBS, meta_ns(p->cron_job), name, NULL, &missing)) {
			if (missing.code != ERR_NOT_FOUND) {
				*err = missing;
				return false;
			}
			recorder_event(p->c->recorder, p->cron_job, "Normal", "MissingJob", "Active job went missing: %.*s", STR_ARG(name));
			active_remove(p, value_str_at(ref, N_uid));
		}
	}
	return true;
}

static bool job_delete(struct pass *p, struct str name, struct str uid, struct err *err) {
	struct client_call call = {
		.verb = CLIENT_DELETE,
		.gvr = GVR_JOBS,
		.ns = meta_ns(p->cron_job),
		.name = name,
		.propagation = S("Background"),
		.precondition_uid = uid,
	};

	if (!client_do(p->c->frame->client, &call, NULL, NULL, err) && err->code != ERR_NOT_FOUND && err->code != ERR_CONFLICT) {
		recorder_event(p->c->recorder, p->cron_job, "Warning", "FailedDelete", "Deleted job: %s", err->msg);
		return false;
	}
	active_remove(p, uid);
	recorder_event(p->c->recorder, p->cron_job, "Normal", "SuccessfulDelete", "Deleted job %.*s", STR_ARG(name));
	return true;
}

static int by_start(const void *pa, const void *pb) {
	const struct value *a = *(const struct value *const *)pa, *b = *(const struct value *const *)pb;
	nsec_t ta = value_time(value_at(a, N_status, N_startTime)), tb = value_time(value_at(b, N_status, N_startTime));

	if ((ta == 0) != (tb == 0)) {
		return ta == 0 ? 1 : -1;
	}
	return ta != tb ? (ta > tb) - (ta < tb) : str_cmp(meta_name(a), meta_name(b));
}

static bool history_cut(struct pass *p, const char *end, const struct value *limit, struct err *err) {
	const struct value **ended = arena_array(&p->arena, const struct value *, p->jobs.len);
	size_t n = 0;

	for (size_t i = 0; i < p->jobs.len; i++) {
		const struct value *job = p->jobs.at[i]->root;
		const char *is = job_end(job);
		if (is && is_ours(p, job) && str_eqc(str_c(is), end) && !meta_deleting(job)) {
			ended[n++] = job;
		}
	}
	if (!limit || (int64_t)n <= value_as_int(limit)) {
		return true;
	}
	qsort(ended, n, sizeof(const struct value *), by_start);
	for (size_t i = 0; i < n - (size_t)value_as_int(limit); i++) {
		if (!job_delete(p, meta_name(ended[i]), meta_uid(ended[i]), err)) {
			return false;
		}
	}
	return true;
}

/* ---- the schedule ----------------------------------------------------------------------------------------------------------- */

static bool schedule_read(struct pass *p) {
	struct str zone = value_str_at(p->cron_job, N_spec, N_timeZone), text = value_str_at(p->cron_job, N_spec, N_schedule);
	struct err err = { 0 };

	if (!zone.len && (str_starts(text, S("TZ=")) || str_starts(text, S("CRON_TZ=")))) { /* old objects; validation refuses it now */
		struct str head, rest;
		(void)str_cut(text, ' ', &head, &rest);
		(void)str_cut(head, '=', &head, &zone);
		text = rest;
	}
	if (!zone_load(&p->arena, zone, &p->zone, &err)) {
		recorder_event(p->c->recorder, p->cron_job, "Warning", "UnknownTimeZone", "invalid timeZone: %.*s: %s", STR_ARG(zone), err.msg);
		return false;
	}
	if (!cron_parse(text, &p->schedule, &err)) {
		recorder_event(p->c->recorder, p->cron_job, "Warning", "UnparseableSchedule", "unparseable schedule: %.*s : %s", STR_ARG(text), err.msg);
		return false;
	}
	return true;
}

/* From here scheduled times count: the last one that was acted on. */
static nsec_t schedule_from(struct pass *p, bool deadline) {
	nsec_t from = value_time(value_at(p->o, N_status, N_lastScheduleTime));
	const struct value *seconds = value_at(p->cron_job, N_spec, N_startingDeadlineSeconds);

	from = from ? from : value_time(value_at(p->cron_job, N_metadata, N_creationTimestamp));
	if (deadline && seconds) {
		from = MAX(from, p->now - value_as_int(seconds) * NSEC_PER_SEC);
	}
	return from;
}

/* The latest scheduled time in (from, now]; 0 when there is none. *ret_many: how many there are, roughly. */
static nsec_t most_recent(const struct cron *s, const struct zone *z, nsec_t from, nsec_t now, int64_t *ret_many) {
	/* Looks back over growing spans: a schedule of each minute missed for a year is not walked step by step. */
	static const int64_t spans[] = { 3600, 2 * 86400, 33 * 86400, 367 * 86400, 5 * 366 * (int64_t)86400 };
	nsec_t first = cron_next(s, z, from), second = first ? cron_next(s, z, first) : 0;

	*ret_many = 0;
	if (!first || first > now) {
		return 0;
	}
	*ret_many = second > first ? (now - first) / (second - first) + 1 : 1;
	if (s->every) { /* has no times of the day, so it must be counted from `from` */
		return first + (now - first) / s->every * s->every;
	}
	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		nsec_t start = MAX(from, now - spans[i] * NSEC_PER_SEC), at = 0;
		for (nsec_t t = cron_next(s, z, start); t && t <= now; t = cron_next(s, z, t)) {
			at = t;
		}
		if (at) {
			return at;
		}
	}
	return first;
}

static void come_back(struct pass *p) {
	int64_t many;
	nsec_t from = schedule_from(p, false), recent = most_recent(&p->schedule, p->zone, from, p->now, &many);
	nsec_t next = cron_next(&p->schedule, p->zone, recent ? recent : from);

	if (next) {
		work_queue_add_after(p->c->queue, p->key, MAX(next - p->now, (nsec_t)0) + COME_BACK);
	}
}

/* ---- starting a Job ------------------------------------------------------------------------------------------------------ */

static struct str job_name(struct pass *p, nsec_t at) {
	struct str name = meta_name(p->cron_job);

	return arena_printf(&p->arena, "%.*s-%lld", STR_ARG(name), (long long)(at / NSEC_PER_SEC / 60));
}

/* RFC 3339 in the schedule's zone. */
static struct str zone_time(struct pass *p, nsec_t at) {
	int64_t offset = zone_offset(p->zone, at / NSEC_PER_SEC), minutes = (offset < 0 ? -offset : offset) / 60;
	struct str text = time_text_of(&p->arena, at + offset * NSEC_PER_SEC);

	if (offset == 0) {
		return text;
	}
	return arena_printf(&p->arena, "%.*s%c%02d:%02d", (int)text.len - 1, text.ptr, offset < 0 ? '-' : '+', (int)(minutes / 60), (int)(minutes % 60));
}

static struct value *job_make(struct pass *p, nsec_t at) {
	struct arena *a = &p->arena;
	const struct value *template = value_at(p->cron_job, N_spec, N_jobTemplate), *from = value_get(template, N_metadata);
	struct value *job = value_new_object(a), *meta;

	value_set_str(a, job, N_kind, S("Job"));
	value_set_str(a, job, N_apiVersion, S("batch/v1"));
	meta = value_set(a, job, N_metadata, value_new_object(a));
	value_set_str(a, meta, N_name, job_name(p, at));
	value_set_str(a, meta, N_namespace, meta_ns(p->cron_job));
	if (value_len(value_get(from, N_labels))) {
		value_set(a, meta, N_labels, value_copy(a, value_get(from, N_labels)));
	}
	struct value *annotations = value_copy(a, value_get(from, N_annotations));
	annotations = value_is(annotations, VALUE_OBJECT) ? annotations : value_new_object(a);
	value_set_key_str(a, annotations, SCHEDULED_AT, zone_time(p, at));
	value_set(a, meta, N_annotations, annotations);
	value_push(a, value_set(a, meta, N_ownerReferences, value_new_array(a)), owner_ref(a, p->cron_job));
	value_set(a, job, N_spec, value_shallow(a, value_get(template, N_spec)));
	return job;
}

static bool active_named(struct pass *p, struct str name) {
	return value_find_by(value_at(p->o, N_status, N_active), N_name, name) != NULL;
}

static void active_add(struct pass *p, const struct value *job) {
	struct arena *a = &p->arena;
	struct value *ref = value_push(a, value_ensure_array(a, status_of(p), N_active), value_new_object(a));

	value_set_str(a, ref, N_kind, S("Job"));
	value_set_str(a, ref, N_namespace, meta_ns(job));
	value_set_str(a, ref, N_name, meta_name(job));
	value_set_str(a, ref, N_uid, meta_uid(job));
	value_set_str(a, ref, N_apiVersion, S("batch/v1"));
	value_set_str(a, ref, N_resourceVersion, value_str_at(job, N_metadata, N_resourceVersion));
}

static bool replace_running(struct pass *p, struct err *err) {
	const struct value *active = value_copy(&p->arena, value_at(p->o, N_status, N_active));

	VALUE_EACH(active, ref) {
		if (!job_delete(p, value_str_at(ref, N_name), value_str_at(ref, N_uid), err)) {
			return false;
		}
	}
	return true;
}

static bool job_start(struct pass *p, nsec_t at, struct err *err) {
	auto_obj struct obj *made = NULL;
	struct client *client = p->c->frame->client;
	struct str ns = meta_ns(p->cron_job), name = job_name(p, at);

	if (client_create(client, GVR_JOBS, ns, job_make(p, at), &made, err)) {
		recorder_event(p->c->recorder, p->cron_job, "Normal", "SuccessfulCreate", "Created job %.*s", STR_ARG(name));
	} else if (err->code == ERR_ALREADY_EXISTS) {
		/* made by an earlier pass whose status was not written */
		err_clear(err);
		if (!client_get(client, GVR_JOBS, ns, name, &made, err)) {
			return false;
		}
		if (!is_ours(p, made->root)) {
			return err_set(err, ERR_ALREADY_EXISTS, "the job %.*s exists and is not of this CronJob", STR_ARG(name));
		}
	} else {
		if (err->code == ERR_FORBIDDEN && str_contains(str_c(err->msg), S("because it is being terminated"))) {
			return true;
		}
		recorder_event(p->c->recorder, p->cron_job, "Warning", "FailedCreate", "Error creating job: %s", err->msg);
		return false;
	}
	if (!job_end(made->root) && !active_find(p, meta_uid(made->root))) {
		active_add(p, made->root);
	}
	value_set_str(&p->arena, status_of(p), N_lastScheduleTime, time_text_of(&p->arena, at));
	return true;
}

static bool start_when_due(struct pass *p, struct err *err) {
	int64_t many = 0;
	const struct value *deadline = value_at(p->cron_job, N_spec, N_startingDeadlineSeconds);
	struct str policy = value_str_at(p->cron_job, N_spec, N_concurrencyPolicy);
	nsec_t at = most_recent(&p->schedule, p->zone, schedule_from(p, true), p->now, &many);

	if (many > 100 && !deadline) {
		recorder_event(p->c->recorder, p->cron_job, "Warning", "TooManyMissedTimes",
			"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew");
	}
	if (!at) {
		return true;
	}
	if (deadline && at + value_as_int(deadline) * NSEC_PER_SEC < p->now) {
		struct str text = time_text_of(&p->arena, at);
		recorder_event(p->c->recorder, p->cron_job, "Warning", "MissSchedule", "Missed scheduled time to start a job: %.*s", STR_ARG(text));
		return true;
	}
	if (active_named(p, job_name(p, at)) || value_time(value_at(p->o, N_status, N_lastScheduleTime)) == at) {
		return true;
	}
	if (str_eqc(policy, "Forbid") && value_len(value_at(p->o, N_status, N_active)) > 0) {
		recorder_event(p->c->recorder, p->cron_job, "Normal", "JobAlreadyActive",
			"Not starting job because prior execution is running and concurrency policy is Forbid");
		return true;
	}
	if (str_eqc(policy, "Replace") && !replace_running(p, err)) {
		return false;
	}
	return job_start(p, at, err);
}

/* ---- one pass ------------------------------------------------------------------------------------------------------------- */

static bool status_write(struct pass *p, struct err *err) {
	const struct value *now = value_get(p->o, N_status), *before = value_get(p->cron_job, N_status);

	if (value_eq(now, before) || (value_len(now) == 0 && value_len(before) == 0)) {
		return true;
	}
	return client_update_status(p->c->frame->client, GVR_CRONJOBS, meta_ns(p->cron_job), p->o, NULL, err) || err->code == ERR_NOT_FOUND;
}

static bool run(struct pass *p, struct err *err) {
	bool current = true, ok = true;

	if (!active_update(p, &current, err)) {
		return err->code == ERR_NOT_FOUND;
	}
	if (!current) {
		return true; /* the write that we do not see yet wakes the key */
	}
	if (!meta_deleting(p->cron_job) && !value_bool_at(p->cron_job, N_spec, N_suspend) && schedule_read(p)) {
		ok = start_when_due(p, err);
		come_back(p);
	}
	struct err later = { 0 };
	const struct value *spec = value_get(p->cron_job, N_spec);
	bool cut = history_cut(p, "Complete", value_get(spec, N_successfulJobsHistoryLimit), &later) &&
		history_cut(p, "Failed", value_get(spec, N_failedJobsHistoryLimit), &later);
	bool written = status_write(p, cut ? &later : &(struct err){ 0 });
	if (ok && !(cut && written)) {
		*err = later;
	}
	return ok && cut && written;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct pass p = { .c = arg, .key = key, .now = clock_wall() };
	struct str ns, name;

	key_split(key, &ns, &name);
	auto_obj struct obj *o = informer_get(p.c->cron_jobs->informer, ns, name);
	if (!o) {
		return true;
	}
	p.cron_job = o->root;
	p.o = object_edit(&p.arena, o->root);
	informer_index(p.c->jobs->informer, index_owner(&p.arena, meta_uid(o->root)), &p.jobs);
	bool ok = run(&p, err);
	client_list_release(&p.jobs);
	arena_release(&p.arena);
	return ok;
}

/* ---- what wakes a key ------------------------------------------------------------------------------------------------------- */

static void cron_job_changed(void *arg, struct obj *old, struct obj *now) {
	struct cron_jobs *c = arg;
	auto_arena struct arena a = { 0 };

	if (now) {
		work_queue_add(c->queue, meta_key(&a, now->root));
	}
}

static void job_changed(void *arg, struct obj *old, struct obj *now) {
	struct cron_jobs *c = arg;
	auto_arena struct arena a = { 0 };
	struct str before = old ? controller_key(&a, c->cron_jobs, "batch", "CronJob", old->root) : S("");
	struct str after = now ? controller_key(&a, c->cron_jobs, "batch", "CronJob", now->root) : S("");

	if (before.len) {
		work_queue_add(c->queue, before);
	}
	if (after.len && !str_eq(before, after)) {
		work_queue_add(c->queue, after);
	}
}

static void *make(struct frame *f) {
	struct cron_jobs *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->recorder = recorder_new(f->client, "cronjob-controller", NULL);
	c->queue = frame_queue(f, "cronjob", WORKERS, sync, c);
	c->cron_jobs = frame_watch(f, GVR_CRONJOBS, cron_job_changed, c);
	c->jobs = frame_watch(f, GVR_JOBS, job_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct cron_jobs *c = controller;

	recorder_free(c->recorder);
	free(c);
}

const struct controller_ops cron_job_controller = { .name = "cronjob", .make = make, .free = destroy };
