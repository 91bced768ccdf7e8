/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - asks containers how they are. One prober a probe, with a timer on the kubelet's loop; the question itself
 * (a program, a request, a connection) is a pool job. Nothing runs between two questions.
 *
 * A result that changes what the pod is wakes the pod; the pass decides what follows (sync.c).
 * Source: Kubernetes "Configure Liveness, Readiness and Startup Probes"; API reference Probe.
 */
#include "kubelet/probe.h"

#include "kubelet/hook.h"
#include "net/client.h"

enum probe_kind { PROBE_STARTUP, PROBE_LIVENESS, PROBE_READINESS, PROBE_KINDS };
static const struct {
	enum name_id field;
	const char *name; /* in events */
} kinds[PROBE_KINDS] = {
	[PROBE_STARTUP] = { N_startupProbe, "Startup" },
	[PROBE_LIVENESS] = { N_livenessProbe, "Liveness" },
	[PROBE_READINESS] = { N_readinessProbe, "Readiness" },
};

enum probe_outcome { PROBE_SUCCESS, PROBE_FAILURE };

struct prober {
	struct list link;          /* in pod.probers */
	struct pod *p;             /* NULL: dropped, ends with its job */
	struct kubelet *k;
	struct loop_timer timer;
	struct job job;
	bool busy;
	enum probe_kind kind;
	char *ctr;
	char id[CTR_ID_MAX];
	enum ctr_kind ctr_kind;
	/* settings */
	nsec_t delay, period, timeout;
	int failure_threshold, success_threshold;
	int64_t grace;             /* -1: the pod's */
	/* state */
	bool good;                 /* the standing verdict */
	bool decided;              /* a verdict was reached by asking */
	enum probe_outcome last;
	int run;                   /* same outcomes in a row */
	/* job */
	struct obj *pod;           /* referenced while busy */
	char ip[64];
	bool ok;
	struct err err;
};

/* ---- one question (pool) ---------------------------------------------------------------------------------- */

static bool ask_exec(struct prober *pr, struct arena *a, const struct value *exec, struct err *err) {
	const struct value *command = value_get(exec, N_command);
	struct str *argv = arena_array(a, struct str, value_len(command) + 1);
	struct cri_exec_result res = { .out = BUF_INIT(10 << 10), .err = BUF_INIT(10 << 10) };
	size_t n = 0;

	VALUE_EACH(command, c) {
		argv[n++] = value_as_str(c);
	}
	bool ok = cri_exec_sync(pr->k->o.cri, str_c(pr->id), (struct cri_strs){ argv, n }, pr->timeout, &res, err);
	if (!ok && err->code == ERR_TIMEOUT) {
		auto_arena struct arena tmp = { 0 };
		struct str span = duration_format(&tmp, pr->timeout);
		(void)err_set(err, ERR_TIMEOUT, "command timed out: \"%.*s\" timed out after %.*s", STR_ARG(arena_join(a, argv, n, S(" "))), STR_ARG(span));
	} else if (ok && res.exit_code != 0) {
		ok = err_set(err, ERR_INTERNAL, "%.*s%.*s", (int)MIN(res.out.len, (size_t)400), res.out.ptr ? res.out.ptr : "",
			(int)MIN(res.err.len, (size_t)200), res.err.ptr ? res.err.ptr : "");
	}
	cri_exec_result_release(&res);
	return ok;
}

static bool ask_http(struct prober *pr, struct arena *a, const struct value *spec, const struct value *get, struct err *err) {
	int status = 0;
	struct str body;

	if (!handler_http_get(pr->k, a, spec, get, str_c(pr->ip), S("kube-probe/1.36"), pr->timeout, &status, &body, err)) {
		return false;
	}
	return (status >= 200 && status < 400) || err_set(err, ERR_INTERNAL, "HTTP probe failed with statuscode: %d", status);
}

static struct str address_of(struct arena *a, struct str host, int port) {
	return str_index(host, ':') >= 0 ? arena_printf(a, "[%.*s]:%d", STR_ARG(host), port) : arena_printf(a, "%.*s:%d", STR_ARG(host), port);
}

static bool ask_tcp(struct prober *pr, struct arena *a, const struct value *spec, const struct value *tcp, struct err *err) {
	struct str host = value_str_at(tcp, N_host);
	int port = handler_port(spec, value_get(tcp, N_port)), fd = -1;

	if (port == 0) {
		return err_set(err, ERR_INVALID, "couldn't find port: %.*s", STR_ARG(value_as_text(a, value_get(tcp, N_port))));
	}
	struct str address = address_of(a, host.len ? host : str_c(pr->ip), port);
	if (!net_dial_fd(address, pr->timeout, &fd, err)) {
		bool refused = err->sys == 111 /* ECONNREFUSED */ || strstr(err->msg, "refused");
		return err_set(err, ERR_UNAVAILABLE, "dial tcp %.*s: %s", STR_ARG(address), err->code == ERR_TIMEOUT ? "i/o timeout"
			: refused ? "connect: connection refused" : "connect: no route to host");
	}
	close_fd_p(&fd);
	return true;
}

static bool ask_grpc(struct prober *pr, struct arena *a, const struct value *grpc, struct err *err) {
	return grpc_health_check(address_of(a, str_c(pr->ip), (int)value_int_at(grpc, N_port)), value_str_at(grpc, N_service), pr->timeout, err);
}

static void ask(struct job *j) {
	struct prober *pr = container_of(j, struct prober, job);
	auto_arena struct arena a = { 0 };
	enum ctr_kind kind;
	const struct value *spec = pod_container(pr->pod->root, str_c(pr->ctr), &kind);
	const struct value *probe = value_get(spec, kinds[pr->kind].field);

	err_clear(&pr->err);
	if (value_is_set(probe, N_exec)) {
		pr->ok = ask_exec(pr, &a, value_get(probe, N_exec), &pr->err);
	} else if (value_is_set(probe, N_httpGet)) {
		pr->ok = ask_http(pr, &a, spec, value_get(probe, N_httpGet), &pr->err);
	} else if (value_is_set(probe, N_tcpSocket)) {
		pr->ok = ask_tcp(pr, &a, spec, value_get(probe, N_tcpSocket), &pr->err);
	} else if (value_is_set(probe, N_grpc)) {
		pr->ok = ask_grpc(pr, &a, value_get(probe, N_grpc), &pr->err);
	} else {
		pr->ok = true;
	}
}

/* ---- verdicts (loop) ----------------------------------------------------------------------------------------- */

static void prober_free(struct prober *pr) {
	loop_timer_stop(&pr->timer);
	list_remove(&pr->link);
	obj_unref(pr->pod);
	free(pr->ctr);
	free(pr);
}

static void prober_drop(struct prober *pr) {
	if (pr->busy) {
		loop_timer_stop(&pr->timer);
		list_remove(&pr->link);
		pr->p = NULL;
	} else {
		prober_free(pr);
	}
}

static bool startup_pending(struct pod *p, const char *id) {
	LIST_EACH(&p->probers, l) {
		struct prober *pr = container_of(l, struct prober, link);
		if (pr->kind == PROBE_STARTUP && strcmp(pr->id, id) == 0 && !(pr->decided && pr->good)) {
			return true;
		}
	}
	return false;
}

static void on_timer(struct loop_timer *t);

static void answered(struct job *j) {
	struct prober *pr = container_of(j, struct prober, job);
	struct kubelet *k = pr->k;
	struct pod *p = pr->p;
	auto_arena struct arena a = { 0 };

	pr->busy = false;
	k->passes--;
	if (!p || k->stopping) {
		prober_free(pr);
		return;
	}
	enum probe_outcome outcome = pr->ok ? PROBE_SUCCESS : PROBE_FAILURE;
	if (!pr->ok) {
		recorder_event_at(k->recorder, pr->pod->root, ctr_field_path(&a, pr->ctr_kind, str_c(pr->ctr)), "Warning", "Unhealthy",
			"%s probe failed: %s", kinds[pr->kind].name, pr->err.msg);
	}
	obj_unref(TAKE(pr->pod));
	pr->run = outcome == pr->last && pr->run > 0 ? pr->run + 1 : 1;
	pr->last = outcome;
	int threshold = pr->ok ? pr->success_threshold : pr->failure_threshold;
	if (pr->run >= threshold) {
		bool changed = !pr->decided || pr->good != pr->ok;
		bool matters = pr->kind == PROBE_LIVENESS ? !pr->ok : changed && !(pr->kind == PROBE_READINESS && !pr->ok && !pr->good);
		pr->decided = true;
		pr->good = pr->ok;
		if (pr->kind == PROBE_STARTUP && pr->ok) {
			matters = true;
		}
		if (matters) {
			pod_wake(p);
		}
		if (pr->kind != PROBE_READINESS && (!pr->ok || pr->kind == PROBE_STARTUP)) {
			return; /* a startup probe that succeeded asks no more; one that failed waits for the container's end */
		}
	}
	loop_timer_start(k->loop, &pr->timer, pr->period, on_timer);
}

static void on_timer(struct loop_timer *t) {
	struct prober *pr = container_of(t, struct prober, timer);
	struct pod *p = pr->p;
	struct kubelet *k = pr->k;

	if (pr->kind != PROBE_STARTUP && startup_pending(p, pr->id)) {
		loop_timer_start(k->loop, &pr->timer, pr->period, on_timer);
		return;
	}
	if (!p->obj) {
		return;
	}
	pr->pod = obj_ref(p->obj);
	/* the pod's address stands in the status that was made last */
	const struct value *status = p->status_want ? p->status_want->root : value_get(p->obj->root, N_status);
	snprintf(pr->ip, sizeof(pr->ip), "%.*s", STR_ARG(value_str_at(status, N_podIP)));
	pr->job = (struct job){ .loop = k->loop, .run = ask, .done = answered };
	pr->busy = true;
	k->passes++;
	if (!pool_submit(&pr->job)) {
		pr->busy = false;
		k->passes--;
		obj_unref(TAKE(pr->pod));
		loop_timer_start(k->loop, &pr->timer, pr->period, on_timer);
	}
}

static void prober_add(struct pod *p, const struct ctr *c, const struct value *spec, enum probe_kind kind) {
	const struct value *probe = value_get(spec, kinds[kind].field), *pod = p->obj->root;
	struct prober *pr;

	if (!probe || probe->type == VALUE_NULL) {
		return;
	}
	pr = xcalloc(1, sizeof(*pr));
	pr->p = p;
	pr->k = p->k;
	pr->kind = kind;
	pr->ctr = xstrdup(c->name);
	pr->ctr_kind = c->kind;
	snprintf(pr->id, sizeof(pr->id), "%s", c->id);
	pr->delay = value_int_at(probe, N_initialDelaySeconds) * NSEC_PER_SEC;
	pr->period = MAX(value_as_int_or(value_get(probe, N_periodSeconds), 10), 1) * NSEC_PER_SEC;
	pr->timeout = MAX(value_as_int_or(value_get(probe, N_timeoutSeconds), 1), 1) * NSEC_PER_SEC;
	pr->failure_threshold = (int)MAX(value_as_int_or(value_get(probe, N_failureThreshold), 3), 1);
	pr->success_threshold = (int)MAX(value_as_int_or(value_get(probe, N_successThreshold), 1), 1);
	pr->grace = value_is_set(probe, N_terminationGracePeriodSeconds) ? value_int_at(probe, N_terminationGracePeriodSeconds) : -1;
	pr->good = kind == PROBE_LIVENESS;
	list_push(&p->probers, &pr->link);
	nsec_t age = MAX(clock_wall() - c->began, 0), first = MAX(pr->delay - age, 0);
	if (p->adopted && age > 10 * NSEC_PER_SEC) {
		/* found running after a restart of this process: what it was, it is, until asked; not all at once */
		const struct value *s = value_find_by(value_at(pod, N_status, c->kind == CTR_APP ? N_containerStatuses : N_initContainerStatuses), N_name,
			str_c(c->name));
		pr->good = kind == PROBE_LIVENESS || value_bool_at(s, kind == PROBE_READINESS ? N_ready : N_started);
		pr->decided = pr->good && kind != PROBE_LIVENESS;
		if (kind == PROBE_STARTUP && pr->decided) {
			return;
		}
		first += (nsec_t)(rand_double() * (double)pr->period);
	}
	loop_timer_start(p->k->loop, &pr->timer, MAX(first, NSEC_PER_MSEC), on_timer);
}

static bool has_probers(struct pod *p, const char *id) {
	LIST_EACH(&p->probers, l) {
		if (strcmp(container_of(l, struct prober, link)->id, id) == 0) {
			return true;
		}
	}
	return false;
}

static struct ctr *ctr_of(struct pod *p, const char *id) {
	VEC_EACH(&p->ctrs, c) {
		if (strcmp((*c)->id, id) == 0) {
			return *c;
		}
	}
	return NULL;
}

void probes_update(struct pod *p) {
	bool ending = p->stage != POD_ACTIVE;

	LIST_EACH(&p->probers, l) {
		struct prober *pr = container_of(l, struct prober, link);
		struct ctr *c = ctr_of(p, pr->id);
		/* readiness goes on while a pod ends, so that endpoints see it */
		if (!c || !c->runs || (ending && pr->kind != PROBE_READINESS)) {
			prober_drop(pr);
		}
	}
	if (ending || !p->obj) {
		return;
	}
	VEC_EACH(&p->ctrs, cp) {
		const struct ctr *c = *cp;
		enum ctr_kind kind;
		if (!c->runs || (c->kind != CTR_APP && c->kind != CTR_SIDECAR) || c->post_start == HOOK_RUNNING || has_probers(p, c->id)) {
			continue;
		}
		const struct value *spec = pod_container(p->obj->root, str_c(c->name), &kind);
		for (enum probe_kind k = PROBE_STARTUP; k < PROBE_KINDS; k++) {
			prober_add(p, c, spec, k);
		}
	}
}

void probes_view(struct pod *p) {
	const struct value *pod = p->obj ? p->obj->root : NULL;

	VEC_EACH(&p->ctrs, cp) {
		const struct ctr *c = *cp;
		struct probe_view v = { .started = true, .ready = true, .kill_grace = -1 };
		enum ctr_kind kind;
		if (!c->id[0] || (c->kind != CTR_APP && c->kind != CTR_SIDECAR)) {
			continue;
		}
		snprintf(v.id, sizeof(v.id), "%s", c->id);
		const struct value *spec = pod_container(pod, str_c(c->name), &kind);
		if (!has_probers(p, c->id)) { /* not asked yet */
			v.started = !value_is_set(spec, N_startupProbe);
			v.ready = !value_is_set(spec, N_readinessProbe);
		}
		LIST_EACH(&p->probers, l) {
			const struct prober *pr = container_of(l, struct prober, link);
			if (strcmp(pr->id, c->id) != 0) {
				continue;
			}
			switch (pr->kind) {
			case PROBE_STARTUP:
				v.started = pr->decided && pr->good;
				break;
			case PROBE_READINESS:
				v.ready = pr->good;
				break;
			case PROBE_LIVENESS:
			case PROBE_KINDS:
				break;
			}
			if (pr->kind != PROBE_READINESS && pr->decided && !pr->good) {
				v.kill = pr->kind == PROBE_LIVENESS ? PROBE_KILL_LIVENESS : PROBE_KILL_STARTUP;
				v.kill_grace = pr->grace;
			}
		}
		VEC_PUSH(&p->pass_probes, v);
	}
}

void probes_stop(struct pod *p) {
	LIST_EACH(&p->probers, l) {
		prober_drop(container_of(l, struct prober, link));
	}
}
