/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook.c - runs postStart and preStop handlers, and the HTTP requests that hooks and probes send.
 *
 * hook_start is called by a pass; the handler runs in a pool job of its own, so that no pass waits for
 * it; its end is posted to the kubelet's loop as a note for the pod.
 */
#include "kubelet/hook.h"

#include "net/client.h"
#include "net/url.h"

#define HOOK_HTTP_TIMEOUT (30 * NSEC_PER_SEC)
#define BODY_MAX 10240
#define REDIRECTS_MAX 10

struct hook_job {
	struct job job;
	struct kubelet *k;
	struct obj *pod;     /* referenced */
	char *ctr_name, *ctr_id, *ip;
	enum ctr_kind kind;
	enum hook_kind hook;
	bool ok;
	struct err err;
	struct buf output;   /* of an exec that failed */
};

int handler_port(const struct value *ctr_spec, const struct value *port) {
	if (value_is(port, VALUE_STRING)) {
		int n = 0;
		VALUE_EACH(value_get(ctr_spec, N_ports), p) {
			if (str_eq(value_str_at(p, N_name), value_as_str(port))) {
				return (int)value_int_at(p, N_containerPort);
			}
		}
		return str_to_int(value_as_str(port), 1, 65535, &n) ? n : 0;
	}
	int64_t n = value_as_int(port);
	return n > 0 && n < 65536 ? (int)n : 0;
}

static bool same_host(struct str base, struct str url) {
	struct err err = { 0 };
	struct url a, b;

	return url.len > 0 && (url.ptr[0] == '/' || (url_parse(base, &a, &err) && url_parse(url, &b, &err) && str_eq(a.host, b.host)));
}

bool handler_http_get(struct kubelet *k, struct arena *a, const struct value *ctr_spec, const struct value *http_get, struct str ip,
	struct str user_agent, nsec_t timeout, int *ret_status, struct str *ret_body, struct err *err) {
	struct str host = value_str_at(http_get, N_host), path = value_str_at(http_get, N_path);
	bool https = str_case_eq(value_str_at(http_get, N_scheme), S("HTTPS"));
	const struct value *list = value_get(http_get, N_httpHeaders);
	struct http_header *headers = arena_array(a, struct http_header, value_len(list) + 3);
	size_t n = 0;
	int port = handler_port(ctr_spec, value_get(http_get, N_port));
	bool has_agent = false, has_accept = false;
	nsec_t end = clock_mono() + timeout;

	if (port == 0) {
		return err_set(err, ERR_INVALID, "couldn't find port: %.*s", STR_ARG(value_as_text(a, value_get(http_get, N_port))));
	}
	if (host.len == 0) {
		host = ip;
	}
	const char *brackets = str_index(host, ':') >= 0 && host.ptr[0] != '[' ? "[]" : NULL;
	struct str base = brackets ? arena_printf(a, "%s://[%.*s]:%d", https ? "https" : "http", STR_ARG(host), port)
		: arena_printf(a, "%s://%.*s:%d", https ? "https" : "http", STR_ARG(host), port);
	struct str url = arena_printf(a, "%.*s%s%.*s", STR_ARG(base), path.len && path.ptr[0] == '/' ? "" : "/", STR_ARG(path));
	VALUE_EACH(list, h) {
		struct str name = value_str_at(h, N_name), value = value_str_at(h, N_value);
		has_agent = has_agent || str_case_eq(name, S("User-Agent"));
		has_accept = has_accept || str_case_eq(name, S("Accept"));
		if (value.len > 0 || !(str_case_eq(name, S("User-Agent")) || str_case_eq(name, S("Accept")))) {
			headers[n++] = (struct http_header){ name, value };
		}
	}
	if (!has_agent) {
		headers[n++] = (struct http_header){ S("User-Agent"), user_agent };
	}
	if (!has_accept) {
		headers[n++] = (struct http_header){ S("Accept"), S("*/*") };
	}
	headers[n++] = (struct http_header){ S("Connection"), S("close") };

	for (int hops = 0;; hops++) {
		struct http_request r = { .method = S("GET"),
			.url = url,
			.headers = headers,
			.headers_len = n,
			.timeout = MAX(end - clock_mono(), NSEC_PER_MSEC),
			.body_max = 8 << 20,
			.no_auth = true };
		struct http_response res = { 0 };
		if (!http_do(k->http, &r, &res, err)) {
			bool late = err->code == ERR_TIMEOUT;
			char text[sizeof(err->msg)];
			snprintf(text, sizeof(text), "%s", late ? "context deadline exceeded (Client.Timeout exceeded while awaiting headers)" : err->msg);
			http_response_release(&res);
			return err_set(err, late ? ERR_TIMEOUT : ERR_UNAVAILABLE, "Get \"%.*s\": %.300s", STR_ARG(url), text);
		}
		*ret_status = res.status;
		*ret_body = arena_str(a, str_sub(res.body, 0, BODY_MAX));
		struct str next = arena_str(a, http_header_get(res.headers, S("Location")));
		http_response_release(&res);
		/* A redirect on the same host is followed; one that leads elsewhere counts as an answer. */
		if (*ret_status < 300 || *ret_status >= 400 || !same_host(base, next) || hops >= REDIRECTS_MAX) {
			return true;
		}
		url = next.ptr[0] == '/' ? arena_printf(a, "%.*s%.*s", STR_ARG(base), STR_ARG(next)) : next;
	}
}

static bool run_exec(struct hook_job *h, struct arena *a, const struct value *exec, struct err *err) {
	const struct value *command = value_get(exec, N_command);
	struct str *argv = arena_array(a, struct str, value_len(command) + 1);
	size_t n = 0;
	struct cri_exec_result res = { .out = BUF_INIT(BODY_MAX), .err = BUF_INIT(BODY_MAX) };

	VALUE_EACH(command, c) {
		argv[n++] = value_as_str(c);
	}
	bool ok = cri_exec_sync(h->k->o.cri, str_c(h->ctr_id), (struct cri_strs){ argv, n }, 0, &res, err);
	if (ok && res.exit_code != 0) {
		ok = err_set(err, ERR_INTERNAL, "Exec lifecycle hook (%.*s) for Container \"%s\" failed - error: command '%.*s' exited with %d: %.*s",
			STR_ARG(list_text(a, argv, n)), h->ctr_name, STR_ARG(arena_join(a, argv, n, S(" "))), res.exit_code,
			(int)MIN(res.err.len, (size_t)200), res.err.ptr ? res.err.ptr : "");
	}
	cri_exec_result_release(&res);
	return ok;
}

static bool run_handler(struct hook_job *h, struct err *err) {
	auto_arena struct arena a = { 0 };
	enum ctr_kind kind;
	const struct value *spec = pod_container(h->pod->root, str_c(h->ctr_name), &kind);
	const struct value *handler = value_at(spec, N_lifecycle, h->hook == HOOK_POST_START ? N_postStart : N_preStop);

	if (value_is_set(handler, N_exec)) {
		return run_exec(h, &a, value_get(handler, N_exec), err);
	}
	if (value_is_set(handler, N_httpGet)) {
		int status = 0;
		struct str body;
		if (!handler_http_get(h->k, &a, spec, value_get(handler, N_httpGet), str_c(h->ip), S("kube-lifecycle/1.36"), HOOK_HTTP_TIMEOUT,
			&status, &body, err)) {
			return false;
		}
		return status < 400 || err_set(err, ERR_INTERNAL, "HTTP lifecycle hook failed: %d %s", status, http_status_text(status));
	}
	if (value_is_set(handler, N_sleep)) {
		clock_sleep(MAX(value_int_at(handler, N_sleep, N_seconds), 0) * NSEC_PER_SEC);
		return true;
	}
	if (value_is_set(handler, N_tcpSocket)) {
		return true; /* kept for compatibility, never run (API reference, LifecycleHandler) */
	}
	return err_set(err, ERR_INVALID, "invalid handler: no action is set");
}

static void hook_free(struct hook_job *h) {
	obj_unref(h->pod);
	free(h->ctr_name);
	free(h->ctr_id);
	free(h->ip);
	free(h);
}

static void hook_run(struct job *job) {
	struct hook_job *h = container_of(job, struct hook_job, job);

	h->ok = run_handler(h, &h->err);
}

static void hook_done(struct job *job) {
	struct hook_job *h = container_of(job, struct hook_job, job);
	struct kubelet *k = h->k;
	struct pod *p = kubelet_pod(k, value_str_at(h->pod->root, N_metadata, N_uid));

	k->passes--;
	if (!h->ok) {
		auto_arena struct arena a = { 0 };
		bool post = h->hook == HOOK_POST_START;
		recorder_event_at(k->recorder, h->pod->root, ctr_field_path(&a, h->kind, str_c(h->ctr_name)), "Warning",
			post ? "FailedPostStartHook" : "FailedPreStopHook", "%s", post ? "PostStartHook failed" : "PreStopHook failed");
		log_info(KUBELET_LOG, "hook failed", kv_c("hook", post ? "postStart" : "preStop"), kv_c("container", h->ctr_name), kv_err(&h->err));
	}
	if (p && !p->freeing) {
		struct pod_note note = { .post_start = h->hook == HOOK_POST_START, .ok = h->ok };
		snprintf(note.id, sizeof(note.id), "%s", h->ctr_id);
		VEC_PUSH(&p->notes, note);
		pod_wake(p);
	}
	hook_free(h);
}

/* A sleep holds no thread: a timer ends it. */
struct hook_sleep {
	struct msg msg;
	struct loop_timer timer;
	struct hook_job *h;
	nsec_t span;
};

static void sleep_over(struct loop_timer *t) {
	struct hook_sleep *s = container_of(t, struct hook_sleep, timer);

	s->h->ok = true;
	hook_done(&s->h->job);
	free(s);
}

static void sleep_begin(struct msg *m) {
	struct hook_sleep *s = container_of(m, struct hook_sleep, msg);

	loop_timer_start(s->h->k->loop, &s->timer, MAX(s->span, NSEC_PER_MSEC), sleep_over);
}

void hook_start(struct pod *p, const struct value *pod, const struct ctr *c, const struct value *handler, enum hook_kind kind) {
	struct hook_job *h = xcalloc(1, sizeof(*h));

	h->job = (struct job){ .loop = p->k->loop, .run = hook_run, .done = hook_done };
	h->k = p->k;
	h->pod = obj_ref(p->pass_obj);
	h->ctr_name = xstrdup(c->name);
	h->ctr_id = xstrdup(c->id);
	h->ip = xstrdup(p->ips.len ? p->ips.at[0] : "");
	h->kind = c->kind;
	h->hook = kind;
	p->k->passes++;
	if (value_is_set(handler, N_sleep)) {
		struct hook_sleep *s = xcalloc(1, sizeof(*s));
		s->msg.run = sleep_begin;
		s->h = h;
		s->span = MAX(value_int_at(handler, N_sleep, N_seconds), 0) * NSEC_PER_SEC;
		if (loop_post(p->k->loop, &s->msg)) {
			return;
		}
		free(s);
	} else if (pool_submit(&h->job)) {
		return;
	}
	p->k->passes--;
	log_warn(KUBELET_LOG, "hook not started: too much waits", kv_c("container", c->name));
	hook_free(h);
}
