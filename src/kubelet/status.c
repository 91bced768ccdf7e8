/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - what a pod's status says, from what the runtime has, what the probes found and why a
 * container is not there. Called at the end of each pass; changes nothing but its caches of
 * termination messages. Times of transition come from the status before.
 *
 * Source: Kubernetes "Pod Lifecycle"; API reference PodStatus; conditions' reasons and messages as the
 * field's clients print them.
 */
#include "base/file.h"
#include "kubelet/internal.h"
#include "kubelet/log_file.h"
#include "kubelet/resources.h"

#define MESSAGE_MAX 4096            /* of one container's file */
#define MESSAGE_LOG_MAX 2048        /* of the end of its log */
#define MESSAGE_LOG_LINES 80

/* ---- termination messages ------------------------------------------------------------------------------ */

const char *ctr_termination_message(struct pod *p, struct ctr *c) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = BUF_INIT(1 << 20);
	struct err err = { 0 };

	if (!ctr_exited(c)) {
		return NULL;
	}
	if (strcmp(c->message_of, c->id) == 0) {
		return c->message;
	}
	snprintf(c->message_of, sizeof(c->message_of), "%s", c->id);
	free(TAKE(c->message));
	const char *path = pod_path_fmt(&a, "%s/containers/%s/%u", p->dir, c->name, c->now->attempt);
	if (file_read(path, &b, &err) && b.len > 0) {
		c->message = str_dup(str_sub(buf_view(&b), 0, MESSAGE_MAX));
	} else if (c->now->exit_code != 0 && str_eq(value_str_at(c->spec, N_terminationMessagePolicy), S("FallbackToLogsOnError"))) {
		c->message = log_tail(arena_cstr(&a, c->now->log_path), MESSAGE_LOG_LINES, MESSAGE_LOG_MAX);
	}
	if (c->message && !utf8_valid(str_c(c->message))) {
		for (char *ch = c->message; *ch; ch++) {
			*ch = (unsigned char)*ch < 0x80 ? *ch : '?';
		}
	}
	if ((!c->message || !c->message[0]) && c->now->message.len > 0) { /* what the runtime said */
		free(c->message);
		c->message = str_dup(str_sub(c->now->message, 0, MESSAGE_MAX));
	}
	return c->message;
}

/* ---- container statuses ----------------------------------------------------------------------------------- */

static void set_time(struct arena *a, struct value *o, enum name_id name, int64_t wall) {
	char text[TIME_TEXT_MAX];

	if (wall > 0) {
		value_set_str(a, o, name, time_format(wall, text));
	} else {
		value_set(a, o, name, NULL);
	}
}

static struct str ctr_full_id(struct arena *a, struct str id) {
	return arena_printf(a, RUNTIME_NAME "://%.*s", STR_ARG(id));
}

static struct value *state_terminated(struct arena *a, const struct cri_container_status *st, const char *message) {
	struct value *state = value_new_object(a), *t = value_ensure_object(a, state, N_terminated);
	struct str reason = st->reason.len ? st->reason : st->exit_code == 0 ? S("Completed") : S("Error");

	value_set_int(a, t, N_exitCode, st->exit_code);
	value_set_str(a, t, N_reason, st->oom_killed ? S("OOMKilled") : reason);
	if (message && message[0]) {
		value_set_str(a, t, N_message, str_c(message));
	}
	set_time(a, t, N_startedAt, st->started);
	set_time(a, t, N_finishedAt, st->finished);
	value_set_str(a, t, N_containerID, ctr_full_id(a, st->id));
	return state;
}

static struct value *state_running(struct arena *a, const struct cri_container_status *st) {
	struct value *state = value_new_object(a), *r = value_ensure_object(a, state, N_running);

	set_time(a, r, N_startedAt, st->started);
	return state;
}

static struct value *state_waiting(struct arena *a, struct str reason, const char *message) {
	struct value *state = value_new_object(a), *w = value_ensure_object(a, state, N_waiting);

	value_set_str(a, w, N_reason, reason);
	if (message && message[0]) {
		value_set_str(a, w, N_message, str_c(message));
	}
	return state;
}

static void volume_mounts(struct arena *a, struct value *s, const struct value *spec) {
	const struct value *mounts = value_get(spec, N_volumeMounts);

	if (value_len(mounts) == 0) {
		return;
	}
	struct value *list = value_ensure_array(a, s, N_volumeMounts);
	VALUE_EACH(mounts, m) {
		struct value *o = value_new_object(a);
		value_set_str(a, o, N_name, value_str_at(m, N_name));
		value_set_str(a, o, N_mountPath, value_str_at(m, N_mountPath));
		if (value_bool_at(m, N_readOnly)) {
			value_set_bool(a, o, N_readOnly, true);
			value_set_str(a, o, N_recursiveReadOnly, S("Disabled"));
		}
		value_push(a, list, o);
	}
}

static void resources_of(struct arena *a, struct value *s, const struct value *spec) {
	const struct value *r = value_get(spec, N_resources), *requests = value_get(r, N_requests);
	struct value *copy = value_new_object(a);

	if (value_len(requests) > 0) {
		value_set(a, s, N_allocatedResources, requests);
		value_set(a, copy, N_requests, requests);
	}
	if (value_len(value_get(r, N_limits)) > 0) {
		value_set(a, copy, N_limits, value_get(r, N_limits));
	}
	value_set(a, s, N_resources, copy);
}

static void user_of(struct arena *a, struct value *s, const struct cri_container_status *st) {
	if (!st || st->uid < 0 || st->state != CRI_CONTAINER_RUNNING) {
		return;
	}
	struct value *l = value_ensure_object(a, value_ensure_object(a, s, N_user), N_linux);
	value_set_int(a, l, N_uid, st->uid);
	value_set_int(a, l, N_gid, st->gid);
	value_push(a, value_ensure_array(a, l, N_supplementalGroups), value_new_int(a, st->gid));
}

static bool will_start_again(const struct value *pod, const struct ctr *c) {
	return c->kind != CTR_EPHEMERAL && ctr_exited(c) && ctr_restarts(pod, c->kind, c->spec, c->now->exit_code);
}

static struct value *state_of(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c, const struct value *old,
	struct value **ret_last) {
	bool inits = value_len(value_at(pod, N_spec, N_initContainers)) > 0;
	bool ending = p->stage != POD_ACTIVE;

	*ret_last = NULL;
	if (c->now && c->before) {
		*ret_last = state_terminated(a, c->before, c->message && strcmp(c->message_of, c->id) != 0 ? c->message : NULL);
	}
	if (ctr_running(c)) {
		if (c->post_start == HOOK_RUNNING) { /* not "started" until the hook has ended */
			return state_waiting(a, inits ? S("PodInitializing") : S("ContainerCreating"), NULL);
		}
		return state_running(a, c->now);
	}
	if (ctr_exited(c)) {
		struct value *t = state_terminated(a, c->now, ctr_termination_message(p, c));
		if (!ending && c->waiting && will_start_again(pod, c) && !(c->kind == CTR_INIT && c->now->exit_code == 0)) {
			*ret_last = t;
			return state_waiting(a, str_c(c->waiting), c->waiting_message);
		}
		return t;
	}
	/* nothing of it is there */
	if (value_is_set(value_get(old, N_state), N_terminated)) {
		*ret_last = value_copy(a, value_get(old, N_lastState));
		return value_copy(a, value_get(old, N_state));
	}
	if (value_is_set(value_get(old, N_state), N_running)) {
		struct value *lost = value_new_object(a), *t = value_ensure_object(a, lost, N_terminated);
		value_set_int(a, t, N_exitCode, 137);
		value_set_str(a, t, N_reason, S("ContainerStatusUnknown"));
		value_set_str(a, t, N_message, S("The container could not be located when the pod was deleted.  The container used to be Running"));
		value_set(a, t, N_startedAt, NULL);
		value_set(a, t, N_finishedAt, NULL);
		if (ending) {
			return lost;
		}
		*ret_last = lost;
	} else if (value_len(value_get(old, N_lastState)) > 0) {
		*ret_last = value_copy(a, value_get(old, N_lastState));
	}
	if (c->waiting) {
		return state_waiting(a, str_c(c->waiting), c->waiting_message);
	}
	return state_waiting(a, inits ? S("PodInitializing") : S("ContainerCreating"), NULL);
}

static struct value *ctr_status(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c, const struct value *old) {
	struct value *s = value_new_object(a), *last = NULL;
	const struct cri_container_status *st = c->now;
	struct value *state = state_of(p, a, pod, c, old, &last);
	bool runs = value_is_set(state, N_running);
	bool done = c->kind == CTR_INIT && value_is_set(state, N_terminated) && value_int_at(state, N_terminated, N_exitCode) == 0;

	value_set_str(a, s, N_name, str_c(c->name));
	value_set(a, s, N_state, state);
	value_set(a, s, N_lastState, last ? last : value_new_object(a));
	value_set_bool(a, s, N_ready, (c->kind == CTR_EPHEMERAL || c->kind == CTR_INIT) ? done : runs && c->ready);
	value_set_int(a, s, N_restartCount, st ? (int64_t)st->attempt : value_int_at(old, N_restartCount));
	value_set_str(a, s, N_image, st ? st->image : value_str_at(c->spec, N_image));
	value_set_str(a, s, N_imageID, st ? (st->image_ref.len ? st->image_ref : st->image_id) : value_str_at(old, N_imageID));
	struct str id = st ? ctr_full_id(a, st->id) : value_str_at(old, N_containerID);
	if (id.len > 0) {
		value_set_str(a, s, N_containerID, id);
	}
	if (c->kind != CTR_EPHEMERAL) {
		value_set_bool(a, s, N_started, runs && c->started);
	}
	if (st) {
		resources_of(a, s, ctr_allocated(p, c));
	}
	volume_mounts(a, s, c->spec);
	user_of(a, s, st);
	return s;
}

/* ---- the phase ------------------------------------------------------------------------------------------------ */

struct str pod_phase(struct pod *p, const struct value *pod) {
	int running = 0, waiting = 0, stopped = 0, succeeded = 0;
	bool init_pending = false, init_failed = false;
	bool apps_seen = false;

	if (p->failed) {
		return S("Failed");
	}
	VEC_EACH(&p->ctrs, cp) {
		apps_seen = apps_seen || ((*cp)->kind == CTR_APP && (*cp)->spec && (*cp)->now);
	}
	VEC_EACH(&p->ctrs, cp) {
		const struct ctr *c = *cp;
		if (!c->spec || c->kind == CTR_EPHEMERAL) {
			continue;
		}
		if (c->kind == CTR_INIT) {
			if (apps_seen) {
				continue; /* initialized before */
			}
			if (!c->now || !ctr_exited(c)) {
				init_pending = true;
			} else if (c->now->exit_code != 0) {
				if (ctr_restarts(pod, c->kind, c->spec, c->now->exit_code)) {
					init_pending = true;
				} else {
					init_failed = true;
				}
			}
			continue;
		}
		if (c->kind == CTR_SIDECAR) {
			init_pending = init_pending || (!apps_seen && !(ctr_running(c) && c->started));
			continue;
		}
		if (!c->now || c->now->state == CRI_CONTAINER_CREATED) {
			waiting++;
		} else if (ctr_running(c)) {
			if (c->post_start == HOOK_RUNNING) {
				waiting++;
			} else {
				running++;
			}
		} else if (c->waiting && ctr_restarts(pod, c->kind, c->spec, c->now->exit_code)) {
			stopped++; /* waits for its next start: it has run before */
			running++;
		} else {
			stopped++;
			succeeded += c->now->exit_code == 0;
			if (ctr_restarts(pod, c->kind, c->spec, c->now->exit_code)) {
				running++;
			}
		}
	}
	if (init_failed) {
		return S("Failed");
	}
	if (init_pending || waiting > 0) {
		return S("Pending");
	}
	if (running > 0) {
		return S("Running");
	}
	if (stopped > 0) {
		return succeeded == stopped ? S("Succeeded") : S("Failed");
	}
	return S("Pending");
}

/* ---- conditions ------------------------------------------------------------------------------------------------- */

struct condition {
	const char *type;
	bool status;
	const char *reason;
	struct str message;
};

static void condition_add(struct arena *a, struct value *list, const struct value *old, const struct value *pod, const struct condition *c) {
	const struct value *before = value_find_by(old, N_type, str_c(c->type));
	struct value *o = value_new_object(a);
	struct str status = c->status ? S("True") : S("False");
	char now[TIME_TEXT_MAX];

	value_set_str(a, o, N_type, str_c(c->type));
	int64_t generation = value_int_at(pod, N_metadata, N_generation);
	if (generation > 0) {
		value_set_int(a, o, N_observedGeneration, generation);
	}
	value_set_str(a, o, N_status, status);
	value_set(a, o, N_lastProbeTime, NULL);
	if (before && str_eq(value_str_at(before, N_status), status) && value_str_at(before, N_lastTransitionTime).len > 0) {
		value_set_str(a, o, N_lastTransitionTime, value_str_at(before, N_lastTransitionTime));
	} else {
		value_set_str(a, o, N_lastTransitionTime, time_format(clock_wall(), now));
	}
	if (c->reason) {
		value_set_str(a, o, N_reason, str_c(c->reason));
	}
	if (c->message.len > 0) {
		value_set_str(a, o, N_message, c->message);
	}
	value_push(a, list, o);
}

static struct condition containers_ready(struct pod *p, struct arena *a, const struct value *status, struct str phase) {
	struct condition c = { .type = "ContainersReady", .status = true };
	VEC(struct str) unready = { 0 };

	if (str_eq(phase, S("Succeeded")) || str_eq(phase, S("Failed"))) {
		c.status = false;
		c.reason = str_eq(phase, S("Failed")) ? "PodFailed" : "PodCompleted";
		return c;
	}
	VEC_EACH(&p->ctrs, cp) {
		if (!(*cp)->spec || ((*cp)->kind != CTR_APP && (*cp)->kind != CTR_SIDECAR)) {
			continue;
		}
		const struct value *list = value_get(status, (*cp)->kind == CTR_APP ? N_containerStatuses : N_initContainerStatuses);
		if (!value_bool_at(value_find_by(list, N_name, str_c((*cp)->name)), N_ready)) {
			VEC_PUSH(&unready, str_c((*cp)->name));
		}
	}
	if (unready.len > 0) {
		c.status = false;
		c.reason = "ContainersNotReady";
		c.message = arena_printf(a, "containers with unready status: %.*s", STR_ARG(list_text(a, unready.at, unready.len)));
	}
	VEC_RELEASE(&unready);
	return c;
}

static struct condition pod_ready(struct arena *a, const struct value *pod, const struct value *old, const struct condition *containers) {
	struct condition c = *containers;
	auto_buf struct buf b = BUF_INIT(4096);

	c.type = "Ready";
	if (!c.status) {
		return c;
	}
	VALUE_EACH(value_at(pod, N_spec, N_readinessGates), gate) {
		struct str type = value_str_at(gate, N_conditionType);
		const struct value *have = value_find_by(old, N_type, type);
		if (have && str_eq(value_str_at(have, N_status), S("True"))) {
			continue;
		}
		buf_c(&b, b.len ? ", " : "");
		if (!have) {
			buf_printf(&b, "corresponding condition of pod readiness gate \"%.*s\" does not exist.", STR_ARG(type));
		} else {
			buf_printf(&b, "the status of pod readiness gate \"%.*s\" is not \"True\", but %.*s", STR_ARG(type),
				STR_ARG(value_str_at(have, N_status)));
		}
	}
	if (b.len > 0) {
		c.status = false;
		c.reason = "ReadinessGatesNotReady";
		c.message = arena_str(a, buf_view(&b));
	}
	return c;
}

static struct condition initialized(struct pod *p, struct arena *a, const struct value *status, struct str phase) {
	struct condition c = { .type = "Initialized", .status = true };
	VEC(struct str) incomplete = { 0 };
	bool apps_began = false;

	VEC_EACH(&p->ctrs, cp) {
		const struct ctr *k = *cp;
		if (k->kind == CTR_APP && k->spec && k->now && k->now->started > 0) {
			apps_began = true;
		}
		if (!k->spec || (k->kind != CTR_INIT && k->kind != CTR_SIDECAR)) {
			continue;
		}
		const struct value *s = value_find_by(value_get(status, N_initContainerStatuses), N_name, str_c(k->name));
		if (!value_bool_at(s, k->kind == CTR_INIT ? N_ready : N_started)) {
			VEC_PUSH(&incomplete, str_c(k->name));
		}
	}
	if (str_eq(phase, S("Succeeded"))) {
		c.reason = "PodCompleted";
	} else if (incomplete.len > 0 && !apps_began) {
		c.status = false;
		c.reason = "ContainersNotInitialized";
		c.message = arena_printf(a, "containers with incomplete status: %.*s", STR_ARG(list_text(a, incomplete.at, incomplete.len)));
	}
	VEC_RELEASE(&incomplete);
	return c;
}

static void conditions(struct pod *p, struct arena *a, struct value *status, const struct value *pod, const struct value *old, struct str phase) {
	struct value *list = value_ensure_array(a, status, N_conditions);
	bool sandbox = pod_sandbox_current(p) != NULL;
	struct condition start = { .type = "PodReadyToStartContainers", .status = sandbox };
	struct condition init = initialized(p, a, status, phase);
	struct condition containers = containers_ready(p, a, status, phase);
	struct condition ready = pod_ready(a, pod, old, &containers);
	struct condition scheduled = { .type = "PodScheduled", .status = true };

	if (p->resize_pending) {
		condition_add(a, list, old, pod, &(struct condition){ .type = "PodResizePending", .status = true, .reason = "Infeasible",
			.message = str_c(p->resize_pending) });
	}
	if (p->resizing) {
		condition_add(a, list, old, pod, &(struct condition){ .type = "PodResizeInProgress", .status = true,
			.reason = p->resize_error ? "Error" : NULL, .message = str_c(p->resize_error) });
	}
	condition_add(a, list, old, pod, &start);
	condition_add(a, list, old, pod, &init);
	condition_add(a, list, old, pod, &ready);
	condition_add(a, list, old, pod, &containers);
	condition_add(a, list, old, pod, &scheduled);
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static void ip_list(struct arena *a, struct value *status, enum name_id one, enum name_id many, const struct str *at, size_t n) {
	if (n == 0) {
		return;
	}
	value_set_str(a, status, one, at[0]);
	struct value *list = value_ensure_array(a, status, many);
	for (size_t i = 0; i < n; i++) {
		struct value *o = value_new_object(a);
		value_set_str(a, o, N_ip, at[i]);
		value_push(a, list, o);
	}
}

static void statuses(struct pod *p, struct arena *a, struct value *status, const struct value *pod, const struct value *old) {
	VEC_EACH(&p->ctrs, cp) {
		struct ctr *c = *cp;
		enum name_id list = c->kind == CTR_APP ? N_containerStatuses
			: c->kind == CTR_EPHEMERAL ? N_ephemeralContainerStatuses : N_initContainerStatuses;
		if (!c->spec) {
			continue;
		}
		const struct value *before = value_find_by(value_get(old, list), N_name, str_c(c->name));
		value_push(a, value_ensure_array(a, status, list), ctr_status(p, a, pod, c, before));
	}
}

struct value *pod_status_make(struct pod *p, struct arena *a, const struct value *pod, const struct value *old) {
	struct value *s = value_new_object(a);
	struct str phase = pod_phase(p, pod), before = value_str_at(old, N_phase);
	int64_t generation = value_int_at(pod, N_metadata, N_generation);
	struct str ips[2];

	/* an end is final, whatever the runtime has forgotten since */
	if (str_eq(before, S("Succeeded")) || str_eq(before, S("Failed"))) {
		phase = before;
	} else if (p->stage >= POD_TERMINATED && !str_eq(phase, S("Succeeded")) && !str_eq(phase, S("Failed"))) {
		/* all containers are over now: deleted while it ran */
		bool all_ok = true, any = false;
		VEC_EACH(&p->ctrs, c) {
			if ((*c)->spec && (*c)->kind == CTR_APP) {
				any = any || (*c)->now;
				all_ok = all_ok && (*c)->now && (*c)->now->exit_code == 0;
			}
		}
		phase = any && all_ok ? S("Succeeded") : S("Failed");
	}
	if (generation > 0) {
		value_set_int(a, s, N_observedGeneration, generation);
	}
	value_set_str(a, s, N_phase, phase);
	statuses(p, a, s, pod, old);
	conditions(p, a, s, pod, value_get(old, N_conditions), phase);
	if (p->failed) {
		value_set_str(a, s, N_reason, str_c(p->fail_reason));
		value_set_str(a, s, N_message, str_c(p->fail_message));
	} else { /* others may have written these (PATCH of /status): they stay */
		if (value_str_at(old, N_reason).len > 0) {
			value_set_str(a, s, N_reason, value_str_at(old, N_reason));
		}
		if (value_str_at(old, N_message).len > 0) {
			value_set_str(a, s, N_message, value_str_at(old, N_message));
		}
	}
	ip_list(a, s, N_hostIP, N_hostIPs, p->k->node_ips, p->k->node_ips_len);
	for (size_t i = 0; i < p->ips.len; i++) {
		ips[i] = str_c(p->ips.at[i]);
	}
	ip_list(a, s, N_podIP, N_podIPs, ips, p->ips.len);
	set_time(a, s, N_startTime, p->started_at);
	struct str qos = value_str_at(old, N_qosClass);
	value_set_str(a, s, N_qosClass, qos.len ? qos : qos_text(pod_qos(pod)));
	return s;
}
