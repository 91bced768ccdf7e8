/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttl_after_finished.c - deletes finished Jobs whose ttlSecondsAfterFinished has passed, with their pods.
 * Handlers on the loop, passes on pool threads.
 */
#include "controllers/frame.h"
#include "controllers/object.h"

struct ttl {
	struct frame *frame;
	struct shared *jobs;
	struct work_queue *queue;
};

/* When it finished; 0 while it has not. */
static nsec_t finished_at(const struct value *job) {
	static const char *const types[] = { "Complete", "Failed" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		const struct value *c = condition_find(value_at(job, N_status, N_conditions), types[i]);
		if (str_eqc(value_str_at(c, N_status), "True")) {
			return value_time(value_get(c, N_lastTransitionTime));
		}
	}
	return 0;
}

static bool wanted(const struct value *job) {
	return value_at(job, N_spec, N_ttlSecondsAfterFinished) && finished_at(job) && !meta_deleting(job);
}

static void job_changed(void *arg, struct obj *old, struct obj *now) {
	struct ttl *c = arg;
	auto_arena struct arena a = { 0 };

	if (now && wanted(now->root)) {
		work_queue_add(c->queue, meta_key(&a, now->root));
	}
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct ttl *c = arg;
	struct str ns, name;

	key_split(key, &ns, &name);
	auto_obj struct obj *job = informer_get(c->jobs->informer, ns, name);
	if (!job || !wanted(job->root)) {
		return true;
	}
	nsec_t left = finished_at(job->root) + value_int_at(job->root, N_spec, N_ttlSecondsAfterFinished) * NSEC_PER_SEC - clock_wall();
	if (left > 0) {
		work_queue_add_after(c->queue, key, left + NSEC_PER_MSEC);
		return true;
	}
	/* somebody may have given it more time since */
	auto_obj struct obj *now = NULL;
	if (!client_get(c->frame->client, GVR_JOBS, ns, name, &now, err)) {
		return err->code == ERR_NOT_FOUND;
	}
	if (now->revision != job->revision) {
		return true; /* its event wakes the key */
	}
	struct client_call call = {
		.verb = CLIENT_DELETE,
		.gvr = GVR_JOBS,
		.ns = ns,
		.name = name,
		.propagation = S("Foreground"),
		.precondition_uid = meta_uid(now->root),
		.precondition_rv = value_str_at(now->root, N_metadata, N_resourceVersion),
	};
	return client_do(c->frame->client, &call, NULL, NULL, err) || err->code == ERR_NOT_FOUND;
}

static void *make(struct frame *f) {
	struct ttl *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->queue = frame_queue(f, "ttl-after-finished", 2, sync, c);
	c->jobs = frame_watch(f, GVR_JOBS, job_changed, c);
	return c;
}

const struct controller_ops ttl_after_finished_controller = { .name = "ttl-after-finished", .make = make, .free = free };
