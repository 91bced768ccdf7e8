/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_write.c - brings what a pass made of a pod's status to the API: only what differs, one write at
 * a time for each pod, the newest wins, again with back-off when it fails. After the last status of a
 * pod that is being deleted, the deletion itself (grace 0, bound to the uid).
 *
 * Called on the loop after each pass and after news from the informer; the writes run on the pool.
 */
#include "kubelet/internal.h"

#define RETRY_MAX (10 * NSEC_PER_SEC)

struct status_job {
	struct job job;
	struct pod *p;           /* referenced */
	struct obj *obj;         /* the pod in the API as known when the job was made */
	struct obj *want, *have; /* statuses; have may be NULL */
	struct obj *stands;      /* after the write; NULL: nothing was written */
	bool delete_too;
	/* result */
	bool ok, deleted;
	int64_t revision;
	struct err err;
};

/* Conditions that differ from `have`'s, by type. */
static struct value *conditions_diff(struct arena *a, const struct value *want, const struct value *have) {
	struct value *ret = value_new_array(a);

	VALUE_EACH(want, c) {
		const struct value *old = value_find_by(have, N_type, value_str_at(c, N_type));
		if (old && value_eq(c, old)) {
			continue;
		}
		struct value *copy = value_copy(a, c);
		if (old) { /* members that went away */
			for (size_t i = 0; i < value_len(old); i++) {
				struct str key = value_key(old, i);
				if (!value_get_str(c, key)) {
					value_set_key(a, copy, key, NULL);
				}
			}
		}
		value_push(a, ret, copy);
	}
	/* conditions of ours that are over; others' stay */
	static const struct str passing[] = { S_INIT("PodResizePending"), S_INIT("PodResizeInProgress") };
	for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
		if (value_find_by(have, N_type, passing[i]) && !value_find_by(want, N_type, passing[i])) {
			struct value *gone = value_new_object(a);
			value_set_key_str(a, gone, S("$patch"), S("delete"));
			value_set_str(a, gone, N_type, passing[i]);
			value_push(a, ret, gone);
		}
	}
	return ret;
}

static bool is_managed(struct str key) {
	static const char *const keys[] = { "phase", "conditions", "message", "reason", "hostIP", "hostIPs", "podIP", "podIPs", "startTime",
		"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses", "qosClass", "observedGeneration" };
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (str_eqc(key, keys[i])) {
			return true;
		}
	}
	return false;
}

/* NULL: nothing to write. */
static struct value *status_diff(struct arena *a, const struct value *want, const struct value *have) {
	struct value *diff = value_new_object(a);

	for (size_t i = 0; i < value_len(want); i++) {
		struct str key = value_key(want, i);
		const struct value *v = value_item(want, i);
		const struct value *old = value_get_str(have, key);
		if (str_eq(key, S("conditions"))) {
			struct value *changed = conditions_diff(a, v, old);
			if (value_len(changed) > 0) {
				value_set(a, diff, N_conditions, changed);
			}
			continue;
		}
		if (old && value_eq(v, old)) {
			continue;
		}
		if (old && (str_eq(key, S("podIPs")) || str_eq(key, S("hostIPs")))) {
			/* a list merged by `ip`: addresses that are gone must be taken out by name */
			struct value *list = value_copy(a, v);
			VALUE_EACH(old, o) {
				if (!value_find_by(v, N_ip, value_str_at(o, N_ip))) {
					struct value *gone = value_new_object(a);
					value_set_key_str(a, gone, S("$patch"), S("delete"));
					value_set_str(a, gone, N_ip, value_str_at(o, N_ip));
					value_push(a, list, gone);
				}
			}
			value_set_key(a, diff, key, list);
			continue;
		}
		value_set_key(a, diff, key, v);
	}
	for (size_t i = 0; i < value_len(have); i++) {
		struct str key = value_key(have, i);
		if (is_managed(key) && !str_eq(key, S("conditions")) && !value_get_str(want, key) && !value_is_empty(value_item(have, i))) {
			value_set_key(a, diff, key, NULL);
		}
	}
	return value_len(diff) > 0 ? diff : NULL;
}

static bool write_status(struct status_job *j, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *ret = NULL;
	struct pod *p = j->p;
	struct value *diff = status_diff(&a, j->want->root, j->have ? j->have->root : NULL);

	if (!diff) {
		return true;
	}
	struct value *patch = value_new_object(&a);
	struct value *meta = value_ensure_object(&a, patch, N_metadata);
	value_set_str(&a, meta, N_uid, value_str_at(j->obj->root, N_metadata, N_uid));
	value_set(&a, patch, N_status, diff);
	if (!client_patch(p->k->o.client, GVR_PODS, p->ns, p->name, S("status"), PATCH_STRATEGIC, patch, &ret, err)) {
		return false;
	}
	if (ret) {
		/* What stands there now, not what we asked for: somebody else may have written conditions of ours meanwhile. */
		const struct value *stands = value_get(ret->root, N_status);
		j->revision = ret->revision;
		j->stands = stands ? obj_freeze(stands, ret->revision) : NULL;
	}
	return true;
}

static bool delete_pod(struct status_job *j, struct err *err) {
	struct pod *p = j->p;
	struct client_call call = { .verb = CLIENT_DELETE,
		.gvr = GVR_PODS,
		.ns = p->ns,
		.name = p->name,
		.has_grace = true,
		.precondition_uid = p->uid };

	return client_do(p->k->o.client, &call, NULL, NULL, err);
}

static void job_run(struct job *job) {
	struct status_job *j = container_of(job, struct status_job, job);

	j->ok = write_status(j, &j->err);
	/* A pod that is not there, or is another one by now, needs no status. */
	bool nobody = !j->ok && (j->err.code == ERR_NOT_FOUND || j->err.code == ERR_CONFLICT);
	if (nobody) {
		j->ok = true;
		err_clear(&j->err);
	}
	if (j->ok && j->delete_too) {
		j->ok = delete_pod(j, &j->err) || j->err.code == ERR_NOT_FOUND || j->err.code == ERR_CONFLICT;
		j->deleted = j->ok;
	}
}

static void on_retry(struct loop_timer *t) {
	pod_status_post(container_of(t, struct pod, status_timer));
}

void pod_status_later(struct pod *p, nsec_t after) {
	if (!p->freeing && !p->k->stopping) {
		loop_timer_start(p->k->loop, &p->status_timer, after, on_retry);
	}
}

static void job_done(struct job *job) {
	struct status_job *j = container_of(job, struct status_job, job);
	struct pod *p = j->p;
	struct kubelet *k = p->k;

	p->status_busy = false;
	k->passes--;
	if (j->ok) {
		p->status_retry = 0;
		p->status_revision = MAX(p->status_revision, j->revision);
		obj_unref(p->status_have);
		p->status_have = j->stands ? obj_ref(j->stands) : obj_ref(j->want);
		p->delete_sent = p->delete_sent || j->deleted;
	}
	if (!p->freeing && !k->stopping) {
		if (!j->ok) {
			p->status_retry = p->status_retry ? MIN(p->status_retry * 2, RETRY_MAX) : NSEC_PER_SEC / 10;
			log_warn(KUBELET_LOG, "status not written", kv_str("ns", p->ns), kv_str("pod", p->name), kv_err(&j->err));
			loop_timer_start(k->loop, &p->status_timer, p->status_retry, on_retry);
		} else {
			if (p->obj && !p->is_static) {
				pod_status_seen(p, p->obj); /* it came while we wrote */
			}
			pod_status_post(p);
		}
	}
	obj_unref(j->stands);
	obj_unref(j->obj);
	obj_unref(j->want);
	obj_unref(j->have);
	free(j);
	pod_unref(p);
}

void pod_status_post(struct pod *p) {
	struct kubelet *k = p->k;

	if (p->status_busy || p->freeing || k->stopping || p->gone || !p->obj || !p->status_want || (p->is_static && !p->mirror)) {
		return;
	}
	bool deleting = !p->is_static && p->released && !p->delete_sent && !value_is_empty(value_at(p->obj->root, N_metadata, N_deletionTimestamp));
	if (!deleting && p->status_have) {
		auto_arena struct arena a = { 0 };
		if (!status_diff(&a, p->status_want->root, p->status_have->root)) {
			return;
		}
	}
	struct status_job *j = xcalloc(1, sizeof(*j));
	j->job = (struct job){ .loop = k->loop, .run = job_run, .done = job_done };
	j->p = p;
	j->obj = obj_ref(p->is_static ? p->mirror : p->obj);
	j->want = obj_ref(p->status_want);
	j->have = obj_ref(p->status_have);
	j->delete_too = deleting;
	loop_timer_stop(&p->status_timer);
	if (!pool_submit(&j->job)) {
		obj_unref(j->obj);
		obj_unref(j->want);
		obj_unref(j->have);
		free(j);
		loop_timer_start(k->loop, &p->status_timer, NSEC_PER_SEC, on_retry);
		return;
	}
	p->status_busy = true;
	k->passes++;
	pod_ref(p);
}
