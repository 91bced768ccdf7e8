/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill.c - ends one container without holding a thread: preStop hook, stop signal, and after the grace
 * period SIGKILL. Called by passes; each step sets when the next pass is due, and the container's end
 * (or the hook's) causes one at once.
 */
#include <signal.h>

#include "kubelet/hook.h"
#include "kubelet/internal.h"

#define GRACE_MIN (2 * NSEC_PER_SEC) /* after a hook that took all the time, the program still gets this */

static int stop_signal(struct pod *p, const struct ctr *c) {
	auto_arena struct arena a = { 0 };
	struct image_info info = { 0 };
	struct err err = { 0 };
	int n = signal_number(value_str_at(c->spec, N_lifecycle, N_stopSignal));

	if (n == 0 && c->now && image_status(cri_images(p->k->o.cri), &a, c->now->image_id, &info, &err)) {
		n = signal_number(info.stop_signal);
	}
	return n ? n : SIGTERM;
}

static void kill_now(struct pod *p, struct ctr *c) {
	struct err err = { 0 };

	if (!cri_container_stop(p->k->o.cri, str_c(c->id), 0, &err)) {
		log_warn(KUBELET_LOG, "container not killed", kv_str("pod", p->name), kv_c("container", c->name), kv_err(&err));
		pass_wake(p, NSEC_PER_SEC);
		return;
	}
	pass_wake(p, NSEC_PER_MSEC);
}

static void term(struct pod *p, struct ctr *c, nsec_t now) {
	struct err err = { 0 };

	c->kill = KILL_TERM;
	c->kill_deadline = MAX(c->kill_end, now + (c->kill_end > now ? 0 : GRACE_MIN));
	if (!cri_container_signal(p->k->o.cri, str_c(c->id), stop_signal(p, c), &err)) {
		log_debug(KUBELET_LOG, "stop signal not sent", kv_c("container", c->name), kv_err(&err));
		kill_now(p, c);
		return;
	}
	pass_wake(p, c->kill_deadline - now);
}

void ctr_kill_step(struct pod *p, const struct value *pod, struct ctr *c) {
	nsec_t now = clock_mono();

	if (c->kill == KILL_NONE || !ctr_running(c)) {
		return;
	}
	if (now < c->kill_deadline) {
		pass_wake(p, c->kill_deadline - now);
		return;
	}
	if (c->kill == KILL_HOOK) { /* ended, or out of time */
		c->kill_end = MAX(c->kill_end, now + GRACE_MIN);
		term(p, c, now);
		return;
	}
	kill_now(p, c);
}

void ctr_kill(struct pod *p, const struct value *pod, struct ctr *c, int64_t grace_seconds, const char *message) {
	nsec_t now = clock_mono(), end = now + grace_seconds * NSEC_PER_SEC;
	const struct value *hook = value_at(c->spec, N_lifecycle, N_preStop);

	if (!ctr_running(c)) {
		return;
	}
	if (c->kill != KILL_NONE) { /* on its way; a shorter grace period counts */
		if (end < c->kill_end) {
			c->kill_end = end;
			c->kill_deadline = MIN(c->kill_deadline, end);
		}
		ctr_kill_step(p, pod, c);
		return;
	}
	if (pod) {
		auto_arena struct arena a = { 0 };
		recorder_event_at(p->k->recorder, pod, ctr_field_path(&a, c->kind, str_c(c->name)), "Normal", "Killing", "%s", message);
	}
	c->kill_end = end;
	if (pod && hook && grace_seconds > 0) {
		c->kill = KILL_HOOK;
		c->kill_deadline = end;
		hook_start(p, pod, c, hook, HOOK_PRE_STOP);
		pass_wake(p, end - now);
		return;
	}
	if (grace_seconds <= 0) {
		c->kill = KILL_TERM;
		c->kill_deadline = now;
		kill_now(p, c);
		return;
	}
	term(p, c, now);
}
