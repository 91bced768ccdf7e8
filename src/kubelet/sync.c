/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.c - one pass over one pod: looks at what the runtime has, compares it with what the spec wants,
 * takes the next steps and computes the status.
 *
 * Level-driven: a pass assumes nothing about why it runs, may be repeated at any time, and never waits
 * for a container, a hook, a pull or a grace period: whoever ends those causes the next pass. Runs on a
 * pool thread; owns what struct pod marks "pass".
 */
#include <stdio.h>

#include "base/file.h"
#include "client/selector.h"
#include "kubelet/hook.h"
#include "kubelet/images.h"
#include "kubelet/internal.h"
#include "kubelet/log_file.h"
#include "kubelet/objects.h"
#include "kubelet/resources.h"
#include "kubelet/tokens.h"
#include "kubelet/volume.h"

#define CRASH_FIRST (10 * NSEC_PER_SEC)
#define CRASH_MAX (300 * NSEC_PER_SEC)
#define RETRY_FIRST (NSEC_PER_SEC / 2)
#define RETRY_MAX (10 * NSEC_PER_SEC)
#define GRACE_UNKNOWN 30 /* of a pod that only the runtime knows */
#define DRAIN (400 * NSEC_PER_MSEC)
#define DRAIN_GRACE_MIN 2 /* seconds */

/* ---- what is there ---------------------------------------------------------------------------------- */

static struct ctr *ctr_add(struct pod *p, struct str name, enum ctr_kind kind) {
	struct ctr *c = xcalloc(1, sizeof(*c));

	c->name = str_dup(name);
	c->kind = kind;
	VEC_PUSH(&p->ctrs, c);
	return c;
}

static void bind_list(struct pod *p, const struct value *list, bool init, bool ephemeral) {
	VALUE_EACH(list, spec) {
		struct str name = value_str_at(spec, N_name);
		struct ctr *c = pod_ctr(p, name);
		enum ctr_kind kind = ephemeral ? CTR_EPHEMERAL : !init ? CTR_APP : ctr_is_sidecar(spec) ? CTR_SIDECAR : CTR_INIT;
		if (!c) {
			c = ctr_add(p, name, kind);
		}
		c->kind = kind;
		c->spec = spec;
	}
}

static void bind_spec(struct pod *p, const struct value *pod) {
	const struct value *spec = value_get(pod, N_spec);

	VEC_EACH(&p->ctrs, c) {
		(*c)->spec = NULL;
		(*c)->now = (*c)->before = NULL;
	}
	bind_list(p, value_get(spec, N_initContainers), true, false);
	bind_list(p, value_get(spec, N_containers), false, false);
	bind_list(p, value_get(spec, N_ephemeralContainers), false, true);
}

/* A new instance: what was known about the one before does not hold for it. */
static void instance_is(struct ctr *c, const struct cri_container_status *st) {
	if (str_eqc(st->id, c->id)) {
		return;
	}
	snprintf(c->id, sizeof(c->id), "%.*s", STR_ARG(st->id));
	c->post_start = HOOK_NONE;
	c->post_start_failed = false;
	c->kill = KILL_NONE;
	c->alive_said = false;
}

static bool look(struct pod *p, struct arena *a, struct err *err) {
	pod_sandbox_refresh(p, a);
	VEC_EACH(&p->sandboxes, s) {
		struct cri_containers list = { 0 };
		if (!cri_container_list(p->k->o.cri, a, str_c(s->id), &list, err)) {
			return false;
		}
		for (size_t i = 0; i < list.len; i++) {
			struct cri_container_status *st = &list.at[i];
			struct ctr *c = pod_ctr(p, st->name);
			if (!c) {
				c = ctr_add(p, st->name, CTR_APP);
			}
			if (!c->now || st->attempt >= c->now->attempt) {
				c->before = c->now;
				c->now = st;
			} else if (!c->before || st->attempt > c->before->attempt) {
				c->before = st;
			}
		}
	}
	VEC_EACH(&p->ctrs, c) {
		if ((*c)->now) {
			instance_is(*c, (*c)->now);
		}
	}
	return true;
}

static void take_notes(struct pod *p, const struct value *pod) {
	VEC_EACH(&p->pass_notes, n) {
		VEC_EACH(&p->ctrs, cp) {
			struct ctr *c = *cp;
			if (strcmp(c->id, n->id) != 0) {
				continue;
			}
			if (n->post_start) {
				c->post_start = HOOK_DONE;
				c->post_start_failed = !n->ok;
			} else if (c->kill == KILL_HOOK) {
				c->kill_deadline = clock_mono(); /* the hook is over: go on at once */
			}
		}
	}
	VEC_EACH(&p->ctrs, cp) {
		struct ctr *c = *cp;
		bool may = ctr_running(c) && c->post_start != HOOK_RUNNING;
		/* an instance that the probes have not seen yet */
		c->started = may && !value_is_set(c->spec, N_startupProbe);
		c->ready = c->started && !value_is_set(c->spec, N_readinessProbe);
		VEC_EACH(&p->pass_probes, v) {
			if (ctr_running(c) && strcmp(v->id, c->id) == 0) {
				c->started = may && v->started;
				c->ready = c->started && v->ready;
			}
		}
	}
}

/* ---- starting over ------------------------------------------------------------------------------------ */

static bool in_current_sandbox(struct pod *p, const struct ctr *c) {
	struct pod_sandbox *s = pod_sandbox_current(p);

	return c->now && s && str_eqc(c->now->sandbox_id, s->id);
}

/* Starts an ended container again unless its back-off is on. */
static bool restart(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c) {
	nsec_t now = clock_wall(), ended = c->now ? c->now->finished : 0;
	bool fresh = c->crash.span > 0 && now - c->crash.since > 2 * CRASH_MAX;
	/* `since` of the back-off is the moment of the last restart: a later end begins a new wait */
	bool waits = c->crash.span > 0 && !fresh && c->crash.since <= ended && now < ended + c->crash.span;

	if (waits) {
		struct str full = pod_full_name(a, pod);
		if (!c->backoff_said) {
			recorder_event_at(p->k->recorder, pod, ctr_field_path(a, c->kind, str_c(c->name)), "Warning", "BackOff",
				"Back-off restarting failed container %s in pod %.*s", c->name, STR_ARG(full));
			c->backoff_said = true;
		}
		ctr_wait(c, "CrashLoopBackOff", "back-off %.*s restarting failed container=%s pod=%.*s", STR_ARG(duration_format(a, c->crash.span)),
			c->name, STR_ARG(full));
		pass_wake(p, ended + c->crash.span - now);
		return false;
	}
	if (c->crash.since <= ended || fresh) {
		c->crash.span = fresh || c->crash.span == 0 ? CRASH_FIRST : MIN(c->crash.span * 2, CRASH_MAX);
		c->crash.since = now;
		c->backoff_said = false;
	}
	return ctr_start(p, a, pod, c);
}

/* ---- running containers --------------------------------------------------------------------------------- */

static bool image_changed(const struct ctr *c) {
	return c->spec && c->now && c->kind != CTR_EPHEMERAL && !str_eq(c->now->image, value_str_at(c->spec, N_image)) &&
		value_str_at(c->spec, N_image).len > 0;
}

static void check_alive(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c) {
	int64_t grace = pod_grace_seconds(pod);
	const char *message = NULL;

	if (!ctr_running(c) || c->kill != KILL_NONE) {
		ctr_kill_step(p, pod, c);
		return;
	}
	VEC_EACH(&p->pass_probes, v) {
		if (strcmp(v->id, c->id) != 0 || v->kill == PROBE_KILL_NO) {
			continue;
		}
		bool live = v->kill == PROBE_KILL_LIVENESS;
		message = arena_printf(a, "Container %s failed %s probe, will be restarted", c->name, live ? "liveness" : "startup").ptr;
		grace = v->kill_grace >= 0 ? v->kill_grace : grace;
	}
	if (c->post_start_failed) {
		message = "FailedPostStartHook";
	} else if (!message && image_changed(c)) {
		message = arena_printf(a, "Container %s definition changed, will be restarted", c->name).ptr;
	} else if (!message && !c->spec) {
		message = arena_printf(a, "Container %s is not wanted any more", c->name).ptr;
	}
	if (message) {
		ctr_kill(p, pod, c, grace, message);
	}
}

static void begin_post_start(struct pod *p, const struct value *pod, struct ctr *c) {
	const struct value *hook = value_at(c->spec, N_lifecycle, N_postStart);

	if (!ctr_running(c) || c->alive_said) {
		return;
	}
	c->alive_said = true;
	if (!hook || c->post_start != HOOK_NONE) {
		return;
	}
	/* after a restart of this process: a container that has run for a while had its hook */
	if (p->adopted && clock_wall() - c->now->started > 30 * NSEC_PER_SEC) {
		c->post_start = HOOK_DONE;
		return;
	}
	c->post_start = HOOK_RUNNING;
	c->started = c->ready = false;
	hook_start(p, pod, c, hook, HOOK_POST_START);
}

/* Starts or restarts `c` when it should run; true when it runs (or ended for good). */
static bool keep(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c) {
	if (ctr_running(c)) {
		c->waiting = NULL;
		return true;
	}
	if (!c->now || (c->now->state == CRI_CONTAINER_CREATED)) {
		return ctr_start(p, a, pod, c);
	}
	if (!ctr_restarts(pod, c->kind, c->spec, c->now->exit_code)) {
		c->waiting = NULL;
		return true;
	}
	return restart(p, a, pod, c);
}

static bool apps_began(struct pod *p) {
	VEC_EACH(&p->ctrs, c) {
		if ((*c)->kind == CTR_APP && (*c)->spec && in_current_sandbox(p, *c)) {
			return true;
		}
	}
	return false;
}

static bool any_hook_running(struct pod *p) {
	VEC_EACH(&p->ctrs, c) {
		if ((*c)->post_start == HOOK_RUNNING && ctr_running(*c)) {
			return true;
		}
	}
	return false;
}

/* Init containers in their order; true when the app containers may run. */
static bool inits_done(struct pod *p, struct arena *a, const struct value *pod) {
	bool began = apps_began(p);

	VEC_EACH(&p->ctrs, cp) {
		struct ctr *c = *cp;
		if (!c->spec || (c->kind != CTR_INIT && c->kind != CTR_SIDECAR)) {
			continue;
		}
		if (c->kind == CTR_SIDECAR) {
			bool runs = in_current_sandbox(p, c) || ctr_running(c) ? keep(p, a, pod, c) : ctr_start(p, a, pod, c);
			if (!began && (!runs || !ctr_running(c) || !c->started)) {
				if (runs && !ctr_running(c)) {
					pass_wake(p, NSEC_PER_MSEC); /* started just now: what follows needs a look at it */
				}
				return false;
			}
			continue;
		}
		if (began) {
			continue; /* the pod was initialized before */
		}
		if (!in_current_sandbox(p, c)) {
			if (!ctr_start(p, a, pod, c)) {
				return false;
			}
			return false;
		}
		if (ctr_running(c)) {
			c->waiting = NULL;
			return false;
		}
		if (ctr_exited(c) && c->now->exit_code == 0) {
			c->waiting = NULL;
			continue;
		}
		keep(p, a, pod, c);
		return false;
	}
	return true;
}

/* Older instances go: one ended instance stays for its log and its last state. */
static void forget_old(struct pod *p, struct arena *a) {
	VEC_EACH(&p->sandboxes, s) {
		struct cri_containers list = { 0 };
		struct err err = { 0 };
		if (!cri_container_list(p->k->o.cri, a, str_c(s->id), &list, &err)) {
			return;
		}
		for (size_t i = 0; i < list.len; i++) {
			struct cri_container_status *st = &list.at[i];
			struct ctr *c = pod_ctr(p, st->name);
			/* what this pass made is newer than `now` */
			if (!c || !c->now || st->state == CRI_CONTAINER_RUNNING || st->attempt >= c->now->attempt ||
				(c->before && str_eq(st->id, c->before->id) && c->now->state == CRI_CONTAINER_RUNNING)) {
				continue;
			}
			if (cri_container_remove(p->k->o.cri, st->id, &err)) {
				log_files_remove(st->log_path);
				remove(pod_path_fmt(a, "%s/containers/%s/%u", p->dir, c->name, st->attempt));
				if (c->before == st) {
					c->before = NULL;
				}
			}
		}
	}
}

/* ---- the active pod -------------------------------------------------------------------------------------- */

static bool deadline_passed(struct pod *p, const struct value *pod) {
	const struct value *v = value_at(pod, N_spec, N_activeDeadlineSeconds);

	if (!v || v->type == VALUE_NULL) {
		return false;
	}
	nsec_t left = p->started_at + value_as_int(v) * NSEC_PER_SEC - clock_wall();
	if (left > 0) {
		pass_wake(p, left);
	}
	return left <= 0;
}

static void fail(struct pod *p, const struct value *pod, const char *reason, const char *message) {
	p->failed = true;
	p->fail_reason = reason;
	free(p->fail_message);
	p->fail_message = xstrdup(message);
	p->stage = POD_TERMINATING;
	pod_event(p, pod, "Warning", reason, "%s", message);
}

/* Says a failure once for each text, and when it lasts. */
static void say(struct pod *p, const struct value *pod, char **last, const char *reason, const char *text) {
	if (*last && strcmp(*last, text) == 0 && p->retry < RETRY_MAX) {
		return;
	}
	free(*last);
	*last = xstrdup(text);
	pod_event(p, pod, "Warning", reason, "%s", text);
}

static void retry_later(struct pod *p) {
	p->retry = p->retry ? MIN(p->retry * 2, RETRY_MAX) : RETRY_FIRST;
	pass_wake(p, p->retry);
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod) {
	struct err err = { 0 };
	char text[900];

	if (!p->dirs_made) {
		const char *dir = pod_path_fmt(a, "%s/volumes", p->dir);
		if (!dir_make(dir, 0750, &err) || !dir_make(p->log_dir, 0755, &err)) {
			say(p, pod, &p->sandbox_error, "FailedCreatePodContainer", err.msg);
			return false;
		}
		p->dirs_made = true;
	}
	if (!p->cgroup_made) {
		struct pod_sums sums;
		pod_sums(p->allocated ? p->allocated->root : pod, &sums);
		if (!pod_cgroup_make(p, a, pod, &sums, &err)) {
			snprintf(text, sizeof(text), "unable to ensure pod container exists: %s", err.msg);
			say(p, pod, &p->sandbox_error, "FailedCreatePodContainer", text);
			return false;
		}
		p->cgroup_made = true;
	}
	if (!volumes_prepare(p, a, pod, &err)) {
		if (err.code != ERR_UNAVAILABLE) { /* that is: not yet, and whoever is at it wakes the pod */
			say(p, pod, &p->mount_error, "FailedMount", err.msg);
		}
		log_info(KUBELET_LOG, "volumes not ready", kv_str("ns", p->ns), kv_str("pod", p->name), kv_err(&err));
		return false;
	}
	free(TAKE(p->mount_error));
	if (!pod_sandbox_ensure(p, a, pod, &err)) {
		bool network = err.code == ERR_UNAVAILABLE && strncmp(err.msg, "network is not ready", 20) == 0;
		snprintf(text, sizeof(text), "%s%s", network ? "" : "Failed to create pod sandbox: rpc error: code = Unknown desc = ", err.msg);
		say(p, pod, &p->sandbox_error, network ? "NetworkNotReady" : "FailedCreatePodSandBox", text);
		if (!network) {
			log_warn(KUBELET_LOG, "sandbox not made", kv_str("ns", p->ns), kv_str("pod", p->name), kv_err(&err));
		}
		return false;
	}
	free(TAKE(p->sandbox_error));
	if (!p->hosts_made && !(p->hosts_made = pod_hosts_write(p, pod, &err))) {
		say(p, pod, &p->sandbox_error, "FailedCreatePodContainer", err.msg);
		return false;
	}
	return true;
}

/* Whether the pod has ended by itself: nothing runs, nothing will. */
static bool ended(struct pod *p, const struct value *pod) {
	struct str phase = pod_phase(p, pod);

	if (!str_eq(phase, S("Succeeded")) && !str_eq(phase, S("Failed"))) {
		return false;
	}
	VEC_EACH(&p->ctrs, c) {
		if (ctr_running(*c) && (*c)->kind != CTR_SIDECAR && (*c)->kind != CTR_EPHEMERAL) {
			return false;
		}
	}
	return true;
}

static void run_containers(struct pod *p, struct arena *a, const struct value *pod) {
	VEC_EACH(&p->ctrs, c) {
		begin_post_start(p, pod, *c);
		check_alive(p, a, pod, *c);
	}
	VEC_EACH(&p->ctrs, c) {
		if ((*c)->kind == CTR_EPHEMERAL && (*c)->spec && !(*c)->now) {
			ctr_start(p, a, pod, *c);
		}
	}
	if (!inits_done(p, a, pod)) {
		return;
	}
	VEC_EACH(&p->ctrs, c) {
		if ((*c)->kind != CTR_APP || !(*c)->spec) {
			continue;
		}
		if (any_hook_running(p) && !(*c)->now) {
			break; /* in order: a postStart hook holds the ones behind it back */
		}
		keep(p, a, pod, *c);
	}
}

static void sync_active(struct pod *p, struct arena *a, const struct value *pod) {
	if (p->refused) {
		fail(p, pod, p->refused, p->refused_message);
		return;
	}
	if (deadline_passed(p, pod)) {
		fail(p, pod, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
		return;
	}
	if (ended(p, pod)) {
		p->stage = POD_TERMINATING;
		return;
	}
	if (!prepare(p, a, pod)) {
		VEC_EACH(&p->ctrs, c) { /* what runs is looked after meanwhile */
			if (ctr_running(*c)) {
				check_alive(p, a, pod, *c);
			}
		}
		retry_later(p);
		return;
	}
	p->retry = 0;
	pod_resize(p, a, pod);
	run_containers(p, a, pod);
	forget_old(p, a);
}

/* ---- ending ------------------------------------------------------------------------------------------------- */

static int64_t seconds_left(nsec_t end) {
	nsec_t left = end - clock_mono();

	return left <= 0 ? 0 : (left + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
}

/* Ends what runs: first all but the sidecars, then those, last started first. True when nothing runs. */
static bool kill_all(struct pod *p, struct arena *a, const struct value *pod) {
	nsec_t now = clock_mono();
	nsec_t end = now + (pod ? pod_grace_seconds(pod) : GRACE_UNKNOWN) * NSEC_PER_SEC;
	bool runs = false;

	if (p->kill_grace_end == 0) {
		p->kill_grace_end = end;
	} else {
		const struct value *grace = value_at(pod, N_metadata, N_deletionGracePeriodSeconds);
		if (grace && end < p->kill_grace_end) {
			p->kill_grace_end = end; /* deleted again, with less patience */
		}
	}
	for (size_t i = 0; i < p->ctrs.len; i++) {
		struct ctr *c = p->ctrs.at[i];
		c->waiting = ctr_running(c) || c->now ? NULL : c->waiting;
		if (c->kind != CTR_SIDECAR && ctr_running(c)) {
			ctr_kill(p, pod, c, MAX(seconds_left(p->kill_grace_end), 1), arena_printf(a, "Stopping container %s", c->name).ptr);
			runs = true;
		}
	}
	for (size_t i = p->ctrs.len; !runs && i > 0; i--) {
		struct ctr *c = p->ctrs.at[i - 1];
		if (c->kind == CTR_SIDECAR && ctr_running(c)) {
			ctr_kill(p, pod, c, MAX(seconds_left(p->kill_grace_end), 1), arena_printf(a, "Stopping container %s", c->name).ptr);
			return false;
		}
	}
	return !runs;
}

static bool has_service(struct pod *p, const struct value *pod) {
	struct client_list all = { 0 };
	bool found = false;

	if (!p->k->services_informer) {
		return false;
	}
	informer_list(p->k->services_informer, p->ns, &all);
	for (size_t i = 0; !found && i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct value *selector = value_at(all.at[i]->root, N_spec, N_selector);
		found = value_len(selector) > 0 && selector_matches(selector_from_map(&a, selector), value_at(pod, N_metadata, N_labels));
	}
	client_list_release(&all);
	return found;
}

static bool has_pre_stop(const struct value *pod) {
	VALUE_EACH(value_at(pod, N_spec, N_containers), c) {
		if (value_is_set(value_get(c, N_lifecycle), N_preStop)) {
			return true;
		}
	}
	return false;
}

/*
 * A pod that serves is deleted: the proxies take its address out at the same time as we hear of it. Its programs get
 * their stop signal a moment later, so that no new connection meets a closed port. Counts towards the grace period; a pod
 * that waits by itself (preStop), does not serve, or is to go at once is not held up.
 */
static bool draining(struct pod *p, const struct value *pod, const struct value *old) {
	nsec_t now = clock_mono();

	if (p->drain_end == 0) {
		const struct value *ready = value_find_by(value_get(old, N_conditions), N_type, S("Ready"));
		bool serves = pod && !p->pass_gone && !p->failed && str_eq(value_str_at(ready, N_status), S("True"));
		bool drain = serves && pod_grace_seconds(pod) >= DRAIN_GRACE_MIN && !has_pre_stop(pod) && has_service(p, pod);
		p->drain_end = drain ? now + DRAIN : now;
	}
	if (p->drain_end > now && (p->pass_gone || pod_grace_seconds(pod) < DRAIN_GRACE_MIN)) {
		p->drain_end = now; /* deleted again, with less patience */
	}
	if (p->drain_end > now) {
		pass_wake(p, p->drain_end - now);
		return true;
	}
	return false;
}

static bool release(struct pod *p, struct arena *a, const struct value *pod) {
	struct err err = { 0 };

	pod_sandbox_stop(p, a, pod);
	VEC_EACH(&p->sandboxes, s) {
		if (s->ready || s->has_network) {
			return false;
		}
	}
	if (!volumes_teardown(p, &err)) {
		log_warn(KUBELET_LOG, "volumes not released", kv_str("ns", p->ns), kv_str("pod", p->name), kv_err(&err));
		return false;
	}
	pod_cgroup_remove(p, a);
	return true;
}

static void sync_terminating(struct pod *p, struct arena *a, const struct value *pod, const struct value *old) {
	if (draining(p, pod, old) || !kill_all(p, a, pod)) {
		return;
	}
	/* messages and exit codes are read before their files go */
	VEC_EACH(&p->ctrs, c) {
		ctr_termination_message(p, *c);
	}
	if (!release(p, a, pod)) {
		retry_later(p);
		return;
	}
	p->stage = POD_TERMINATED;
	log_info(KUBELET_LOG, "pod ended", kv_str("ns", p->ns), kv_str("pod", p->name));
}

static void sync_terminated(struct pod *p, struct arena *a) {
	struct err err = { 0 };

	if (!p->pass_gone) {
		return; /* its records and logs stay until it is deleted */
	}
	for (size_t i = 0; i < p->sandboxes.len;) {
		if (!cri_sandbox_remove(p->k->o.cri, str_c(p->sandboxes.at[i].id), &err)) {
			log_warn(KUBELET_LOG, "sandbox not removed", kv_c("sandbox", p->sandboxes.at[i].id), kv_err(&err));
			retry_later(p);
			return;
		}
		VEC_REMOVE(&p->sandboxes, i);
	}
	pod_cgroup_remove(p, a);
	if (!dir_remove(p->dir, &err) || !dir_remove(p->log_dir, &err)) {
		log_warn(KUBELET_LOG, "pod folder stays", kv_c("dir", p->dir), kv_err(&err));
		retry_later(p);
		return;
	}
	images_forget(p->k->images, p->uid);
	tokens_forget(p->k->tokens, p->uid);
	objects_forget(p->k->objects, p->uid);
	p->stage = POD_REMOVED;
	p->pass_done = true;
}

/* ---- the pass ------------------------------------------------------------------------------------------------ */

static void first_sight(struct pod *p, const struct value *pod, const struct value *old) {
	if (p->started_at != 0) {
		return;
	}
	nsec_t t;
	p->started_at = time_parse(value_str_at(old, N_startTime), &t) ? t : clock_wall();
	struct str phase = value_str_at(old, N_phase);
	if (str_eq(phase, S("Succeeded")) || str_eq(phase, S("Failed"))) {
		if (p->stage == POD_ACTIVE) {
			p->stage = POD_TERMINATING;
		}
	}
	/* instances that the runtime has forgotten (after a reboot) count as restarts */
	static const enum name_id lists[] = { N_containerStatuses, N_initContainerStatuses };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		VALUE_EACH(value_get(old, lists[i]), s) {
			struct ctr *c = pod_ctr(p, value_str_at(s, N_name));
			if (c && !c->now && value_str_at(s, N_containerID).len > 0) {
				c->restarts_lost = (int)value_int_at(s, N_restartCount) + 1;
			}
		}
	}
}

static void id_add(struct pod *p, const char *id) {
	VEC_PUSH(&p->pass_ids, xstrdup(id));
}

static void finish(struct pod *p) {
	VEC_EACH(&p->sandboxes, s) {
		id_add(p, s->id);
	}
	VEC_EACH(&p->ctrs, cp) {
		struct ctr *c = *cp;
		c->runs = ctr_running(c);
		if (c->id[0]) {
			id_add(p, c->id);
		}
		c->began = c->now ? c->now->started : 0;
		c->now = c->before = NULL;
		c->spec = NULL;
	}
}

static void status_compute(struct pod *p, struct arena *a, const struct value *pod, const struct value *old) {
	struct value *status = pod_status_make(p, a, pod, old);

	obj_unref(p->status_made);
	p->status_made = obj_freeze(status, 0);
}

/* Starts change what is there: the status is made from a second look. */
static void look_again(struct pod *p, struct arena *a, const struct value *pod) {
	struct err err = { 0 };

	VEC_EACH(&p->ctrs, c) {
		(*c)->now = (*c)->before = NULL;
	}
	if (!look(p, a, &err)) {
		log_warn(KUBELET_LOG, "containers not listed", kv_str("pod", p->name), kv_err(&err));
	}
	take_notes(p, pod);
}

void pod_pass(struct pod *p) {
	auto_arena struct arena a = { 0 };
	const struct value *pod = p->pass_obj ? p->pass_obj->root : NULL;
	const struct value *old = p->pass_status_have ? p->pass_status_have->root : value_get(pod, N_status);
	struct err err = { 0 };

	bind_spec(p, pod);
	if (!look(p, &a, &err)) {
		log_warn(KUBELET_LOG, "containers not listed", kv_str("pod", p->name), kv_err(&err));
		retry_later(p);
		finish(p);
		return;
	}
	first_sight(p, pod, old);
	take_notes(p, pod);
	if (p->stage == POD_ACTIVE && (p->pass_gone || !pod || !value_is_empty(value_at(pod, N_metadata, N_deletionTimestamp)))) {
		p->stage = POD_TERMINATING;
	}
	if (p->stage == POD_ACTIVE) {
		sync_active(p, &a, pod);
		if (p->stage == POD_ACTIVE) {
			look_again(p, &a, pod);
			VEC_EACH(&p->ctrs, c) {
				begin_post_start(p, pod, *c);
			}
			if (ended(p, pod)) {
				p->stage = POD_TERMINATING;
			}
		}
	}
	if (p->stage == POD_TERMINATING) {
		sync_terminating(p, &a, pod, old);
		look_again(p, &a, pod);
		if (p->stage == POD_TERMINATING) { /* ended while we looked */
			bool runs = false;
			VEC_EACH(&p->ctrs, c) {
				runs = runs || ctr_running(*c);
			}
			if (!runs) {
				pass_wake(p, NSEC_PER_MSEC);
			}
		}
	}
	if (pod && !p->pass_gone) {
		status_compute(p, &a, pod, old);
	}
	if (p->stage == POD_TERMINATED) {
		sync_terminated(p, &a);
	}
	finish(p);
}
