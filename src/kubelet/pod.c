/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod.c - a pod's life on the loop: when a pass runs, what it is given, what is done with its result.
 *
 * Called by kubelet.c and by whoever has news for a pod (probes, hooks, pulls). Runs on the
 * kubelet's loop; the pass itself (sync.c) runs on the pool. Costs nothing while a pod is idle: no
 * thread, no timer unless the last pass asked for one.
 */
#include "kubelet/pod.h"

#include "kubelet/probe.h"
#include "kubelet/volume.h"

void ctr_free(struct ctr *c) {
	if (!c) {
		return;
	}
	free(c->name);
	free(c->waiting_message);
	free(c->message);
	free(c);
}

struct pod *pod_new(struct kubelet *k, struct str uid, struct str ns, struct str name) {
	struct pod *p = xcalloc(1, sizeof(*p));

	p->k = k;
	p->uid = str_c(str_dup(uid));
	p->ns = str_c(str_dup(ns));
	p->name = str_c(str_dup(name));
	p->dir = xasprintf("%.*s/%.*s", STR_ARG(k->pods_dir), STR_ARG(uid));
	p->log_dir = xasprintf("%.*s/%.*s_%.*s_%.*s", STR_ARG(k->log_dir), STR_ARG(ns), STR_ARG(name), STR_ARG(uid));
	list_init(&p->probers);
	map_set(&k->pods, p->uid, p);
	return p;
}

static void pod_free(struct pod *p) {
	struct kubelet *k = p->k;

	loop_timer_stop(&p->timer);
	loop_timer_stop(&p->status_timer);
	probes_stop(p);
	if (map_get(&k->pods, p->uid) == p) {
		map_remove(&k->pods, p->uid);
	}
	VEC_EACH(&p->ids, id) {
		if (map_get(&k->ids, str_c(*id)) == p) {
			map_remove(&k->ids, str_c(*id));
		}
		free(*id);
	}
	VEC_RELEASE(&p->ids);
	VEC_EACH(&p->pass_ids, id) {
		free(*id);
	}
	VEC_RELEASE(&p->pass_ids);
	VEC_EACH(&p->ctrs, c) {
		ctr_free(*c);
	}
	VEC_RELEASE(&p->ctrs);
	VEC_RELEASE(&p->sandboxes);
	VEC_RELEASE(&p->notes);
	VEC_RELEASE(&p->pass_notes);
	VEC_RELEASE(&p->pass_probes);
	volumes_free(p->volumes);
	obj_unref(p->obj);
	obj_unref(p->mirror);
	obj_unref(p->pass_obj);
	obj_unref(p->pass_status_have);
	obj_unref(p->status_want);
	obj_unref(p->status_have);
	obj_unref(p->status_made);
	obj_unref(p->allocated);
	free(p->resize_pending);
	free(p->resize_error);
	free(p->fail_message);
	free(p->refused_message);
	free(p->mount_error);
	free(p->sandbox_error);
	free(p->dir);
	free(p->log_dir);
	free((char *)p->uid.ptr);
	free((char *)p->ns.ptr);
	free((char *)p->name.ptr);
	free(p);
}

void pod_ref(struct pod *p) {
	p->refs++;
}

void pod_unref(struct pod *p) {
	p->refs--;
	if (p->freeing && p->refs == 0 && !p->busy) {
		pod_free(p);
	}
}

void pod_drop(struct pod *p) {
	p->freeing = true;
	loop_timer_stop(&p->timer);
	loop_timer_stop(&p->status_timer);
	probes_stop(p);
	if (map_get(&p->k->pods, p->uid) == p) {
		map_remove(&p->k->pods, p->uid);
	}
	if (p->refs == 0 && !p->busy) {
		pod_free(p);
	}
}

static void on_timer(struct loop_timer *t) {
	pod_wake(container_of(t, struct pod, timer));
}

/* The containers and sandboxes of the last pass are how on_exit finds the pod. */
static void ids_take(struct pod *p) {
	VEC_EACH(&p->ids, id) {
		if (map_get(&p->k->ids, str_c(*id)) == p) {
			map_remove(&p->k->ids, str_c(*id));
		}
		free(*id);
	}
	VEC_CLEAR(&p->ids);
	VEC_EACH(&p->pass_ids, id) {
		map_set(&p->k->ids, str_c(*id), p);
		VEC_PUSH(&p->ids, *id);
	}
	VEC_CLEAR(&p->pass_ids);
}

static void pass_run(struct job *j) {
	pod_pass(container_of(j, struct pod, job));
}

static void pass_finished(struct job *j) {
	struct pod *p = container_of(j, struct pod, job);
	struct kubelet *k = p->k;

	p->busy = false;
	k->passes--;
	obj_unref(p->pass_obj);
	p->pass_obj = NULL;
	obj_unref(p->pass_status_have);
	p->pass_status_have = NULL;
	ids_take(p);
	p->released = p->stage >= POD_TERMINATED;
	if (p->freeing) {
		if (p->refs == 0) {
			pod_free(p);
		}
		return;
	}
	if (p->status_made) {
		obj_unref(p->status_want);
		p->status_want = TAKE(p->status_made);
	}
	if (k->stopping) {
		return;
	}
	if (p->pass_done) {
		log_info(KUBELET_LOG, "pod removed", kv_str("ns", p->ns), kv_str("pod", p->name), kv_str("uid", p->uid));
		pod_drop(p);
		return;
	}
	probes_update(p);
	pod_status_post(p);
	if (p->again) {
		pod_wake(p);
	} else if (p->wake_after > 0) {
		loop_timer_start(k->loop, &p->timer, p->wake_after, on_timer);
	}
}

void pod_wake(struct pod *p) {
	struct kubelet *k = p->k;

	if (p->freeing || k->stopping) {
		return;
	}
	if (p->busy) {
		p->again = true;
		return;
	}
	loop_timer_stop(&p->timer);
	p->again = false;
	p->busy = true;
	p->pass_obj = obj_ref(p->obj);
	p->pass_gone = p->gone;
	p->pass_status_have = obj_ref(p->status_have);
	p->wake_after = 0;
	VEC_CLEAR(&p->pass_notes);
	VEC_EACH(&p->notes, n) {
		VEC_PUSH(&p->pass_notes, *n);
	}
	VEC_CLEAR(&p->notes);
	VEC_CLEAR(&p->pass_probes);
	probes_view(p);
	p->job = (struct job){ .loop = k->loop, .run = pass_run, .done = pass_finished };
	k->passes++;
	if (!pool_submit(&p->job)) {
		p->busy = false;
		k->passes--;
		obj_unref(TAKE(p->pass_obj));
		obj_unref(TAKE(p->pass_status_have));
		VEC_EACH(&p->pass_notes, n) {
			VEC_PUSH(&p->notes, *n);
		}
		loop_timer_start(k->loop, &p->timer, NSEC_PER_SEC, on_timer);
	}
}

struct pod *kubelet_pod(struct kubelet *k, struct str uid) {
	return map_get(&k->pods, uid);
}

struct wake_msg {
	struct msg msg;
	struct kubelet *k;
	char *uid;
};

static void wake_run(struct msg *m) {
	struct wake_msg *w = container_of(m, struct wake_msg, msg);
	struct pod *p = kubelet_pod(w->k, str_c(w->uid));

	if (p) {
		pod_wake(p);
	}
	free(w->uid);
	free(w);
}

void kubelet_wake(struct kubelet *k, struct str uid) {
	struct wake_msg *w = xcalloc(1, sizeof(*w));

	w->msg.run = wake_run;
	w->k = k;
	w->uid = str_dup(uid);
	if (!loop_post(k->loop, &w->msg)) {
		free(w->uid);
		free(w);
	}
}

void pass_wake(struct pod *p, nsec_t after) {
	after = MAX(after, NSEC_PER_MSEC);
	if (p->wake_after == 0 || after < p->wake_after) {
		p->wake_after = after;
	}
}

struct ctr *pod_ctr(struct pod *p, struct str name) {
	VEC_EACH(&p->ctrs, c) {
		if (str_eqc(name, (*c)->name)) {
			return *c;
		}
	}
	return NULL;
}

void ctr_wait(struct ctr *c, const char *reason, const char *fmt, ...) {
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->waiting = reason;
	free(c->waiting_message);
	c->waiting_message = xstrdup(text);
}
