/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - the kubelet API: listens, lets in, finds the container that a path names, and hands over to the
 * file of each endpoint (server_*.c). Handlers run on pool threads.
 */
#include "kubelet/server.h"

#include <stdarg.h>

#include "base/file.h"
#include "kubelet/server_int.h"
#include "net/tls.h"
#include "net/url.h"

#define STOP_GRACE (2 * NSEC_PER_SEC)
#define JOBS_WAIT (11 * NSEC_PER_SEC)

/* ---- helpers for handlers -------------------------------------------------------------------------------- */

size_t path_split(struct arena *a, struct str path, struct str *ret, size_t n) {
	struct str rest = path, piece;
	size_t len = 0;

	while (len < n && str_next(&rest, '/', &piece)) {
		if (piece.len > 0 && url_unescape(a, piece, false, &piece)) {
			ret[len++] = piece;
		}
	}
	return len;
}

void kubelet_reply_error(struct http_exchange *x, int status, const char *fmt, ...) {
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	http_reply(x, status, S("text/plain; charset=utf-8"), str_c(text));
}

void kubelet_reply_json(struct http_exchange *x, const struct value *v) {
	auto_buf struct buf b = BUF_INIT(256 << 20);

	json_print(&b, v);
	http_reply_maybe_gzip(x, 200, S("application/json"), buf_view(&b));
}

bool query_flag(struct http_exchange *x, const char *name) {
	struct str v;

	return url_query_get(&x->arena, x->query, str_c(name), &v) && !str_eq(v, S("0")) && !str_eq(v, S("false"));
}

bool spdy_upgrade(struct http_exchange *x, struct str protocol, struct net_conn **ret, struct err *err) {
	http_header_set(x, S("Connection"), S("Upgrade"));
	http_header_set(x, S("Upgrade"), S("SPDY/3.1"));
	if (protocol.len > 0) {
		http_header_set(x, S("X-Stream-Protocol-Version"), protocol);
	}
	return http_upgrade(x, ret, err);
}

void target_release(struct target *t) {
	obj_unref(TAKE(t->pod));
}

bool target_pod(struct server *s, struct arena *a, struct str ns, struct str name, struct target *ret, struct err *err) {
	struct cri_sandboxes list = { 0 };
	bool found = false;

	ret->pod = s->k->pods_informer ? informer_get(s->k->pods_informer, ns, name) : NULL;
	if (!cri_sandbox_list(s->k->o.cri, a, &list, err)) {
		return false;
	}
	struct str uid = ret->pod ? value_str_at(ret->pod->root, N_metadata, N_uid) : S("");
	for (size_t i = 0; i < list.len; i++) { /* oldest first: the newest that fits stays */
		const struct cri_sandbox_status *st = &list.at[i];
		if (str_eq(st->ns, ns) && str_eq(st->name, name) && (!found || uid.len == 0 || str_eq(st->uid, uid) || !str_eq(ret->sandbox.uid, uid))) {
			ret->sandbox = *st;
			found = true;
		}
	}
	if (!found && !ret->pod) {
		return err_set(err, ERR_NOT_FOUND, "pod \"%.*s\" does not exist", STR_ARG(name));
	}
	return true;
}

bool target_container(struct server *s, struct arena *a, struct str ns, struct str name, struct str ctr, bool previous, struct target *ret,
	struct err *err) {
	struct cri_sandboxes sandboxes = { 0 };
	const struct cri_container_status *newest = NULL, *before = NULL;
	struct cri_containers all[16];
	size_t n = 0;
	enum ctr_kind kind;

	if (!target_pod(s, a, ns, name, ret, err)) {
		return false;
	}
	const struct value *pod = ret->pod ? ret->pod->root : NULL;
	if (pod && !pod_container(pod, ctr, &kind)) {
		return err_set(err, ERR_NOT_FOUND, "container \"%.*s\" not found in pod \"%.*s\"", STR_ARG(ctr), STR_ARG(name));
	}
	if (!cri_sandbox_list(s->k->o.cri, a, &sandboxes, err)) {
		return false;
	}
	for (size_t i = 0; i < sandboxes.len && n < ARRAY_LEN(all); i++) {
		if (!str_eq(sandboxes.at[i].uid, ret->sandbox.uid) || ret->sandbox.uid.len == 0) {
			continue;
		}
		if (!cri_container_list(s->k->o.cri, a, sandboxes.at[i].id, &all[n], err)) {
			return false;
		}
		for (size_t j = 0; j < all[n].len; j++) {
			const struct cri_container_status *st = &all[n].at[j];
			if (!str_eq(st->name, ctr)) {
				continue;
			}
			if (!newest || st->attempt >= newest->attempt) {
				before = newest;
				newest = st;
			} else if (!before || st->attempt > before->attempt) {
				before = st;
			}
		}
		n++;
	}
	bool waits = newest && newest->state != CRI_CONTAINER_RUNNING;
	const struct cri_container_status *got = previous ? (before ? before : waits ? newest : NULL) : newest;
	if (got && got->state == CRI_CONTAINER_CREATED) {
		got = previous ? NULL : before;
	}
	if (!got && previous) {
		return err_set(err, ERR_BAD_REQUEST, "previous terminated container \"%.*s\" in pod \"%.*s\" not found", STR_ARG(ctr), STR_ARG(name));
	}
	if (!got) {
		static const enum name_id lists[] = { N_containerStatuses, N_initContainerStatuses, N_ephemeralContainerStatuses };
		struct str reason = S("ContainerCreating");
		for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
			const struct value *st = value_find_by(value_at(pod, N_status, lists[i]), N_name, ctr);
			if (value_str_at(st, N_state, N_waiting, N_reason).len > 0) {
				reason = value_str_at(st, N_state, N_waiting, N_reason);
			}
		}
		bool pull = str_eq(reason, S("ErrImagePull")) || str_eq(reason, S("ImagePullBackOff"));
		if (pull) {
			return err_set(err, ERR_BAD_REQUEST, "container \"%.*s\" in pod \"%.*s\" is waiting to start: %s", STR_ARG(ctr), STR_ARG(name),
				str_eq(reason, S("ErrImagePull")) ? "image can't be pulled" : "trying and failing to pull image");
		}
		return err_set(err, ERR_BAD_REQUEST, "container \"%.*s\" in pod \"%.*s\" is waiting to start: %.*s", STR_ARG(ctr), STR_ARG(name),
			STR_ARG(reason));
	}
	ret->ctr = *got;
	return true;
}

/* ---- routes ---------------------------------------------------------------------------------------------------- */

static void handle_healthz(struct server *s, struct http_exchange *x) {
	http_reply(x, 200, S("text/plain; charset=utf-8"), S("ok"));
}

static const struct {
	const char *path;
	void (*handle)(struct server *s, struct http_exchange *x);
} plain_routes[] = {
	{ "/healthz", handle_healthz },
	{ "/healthz/ping", handle_healthz },
	{ "/healthz/log", handle_healthz },
	{ "/healthz/syncloop", handle_healthz },
	{ "/pods", handle_pods },
	{ "/pods/", handle_pods },
	{ "/runningpods", handle_running_pods },
	{ "/runningpods/", handle_running_pods },
	{ "/stats/summary", handle_stats_summary },
	{ "/metrics", handle_metrics },
	{ "/metrics/resource", handle_metrics_resource },
	{ "/metrics/cadvisor", handle_metrics_cadvisor },
	{ "/configz", handle_configz },
};

static void handle(struct http_exchange *x, void *arg) {
	struct server *s = arg;
	struct str p[6];
	size_t n;

	if (!kubelet_server_allow(s, x)) {
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(plain_routes); i++) {
		if (str_eqc(x->path, plain_routes[i].path)) {
			plain_routes[i].handle(s, x);
			return;
		}
	}
	n = path_split(&x->arena, x->path, p, ARRAY_LEN(p));
	if (n == 4 && str_eq(p[0], S("containerLogs"))) {
		handle_logs(s, x, p[1], p[2], p[3]);
	} else if ((n == 4 || n == 5) && (str_eq(p[0], S("exec")) || str_eq(p[0], S("attach")))) {
		handle_exec(s, x, p[1], p[2], p[n - 1], str_eq(p[0], S("attach"))); /* with five pieces the fourth is the uid */
	} else if ((n == 3 || n == 4) && str_eq(p[0], S("portForward"))) {
		handle_port_forward(s, x, p[1], p[2]);
	} else {
		http_reply(x, 404, S("text/plain; charset=utf-8"), S("404 page not found\n"));
	}
}

/* ---- start and stop ---------------------------------------------------------------------------------------------- */

static bool tls_make(struct server *s, struct err *err) {
	const struct kubelet_opts *o = &s->k->o;
	auto_buf struct buf cert = BUF_INIT(1 << 20), key = BUF_INIT(1 << 20), ca = BUF_INIT(1 << 20);

	if (!file_read(o->cert_file, &cert, err) || !file_read(o->key_file ? o->key_file : o->cert_file, &key, err) ||
		(o->client_ca_file && !file_read(o->client_ca_file, &ca, err))) {
		return err_wrap(err, "read the kubelet's certificates");
	}
	struct tls_server_opts t = { .cert_pem = buf_view(&cert), .key_pem = buf_view(&key), .client_ca_pem = buf_view(&ca) };
	return tls_server_new(&t, &s->tls, err);
}

bool kubelet_server_start(struct kubelet *k, struct server **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct server *s = xcalloc(1, sizeof(*s));
	int port = k->o.port == 0 ? 10250 : MAX(k->o.port, 0);

	s->k = k;
	if (!tls_make(s, err)) {
		free(s);
		return false;
	}
	const char *host = k->o.bind_address;
	struct str address = strchr(host, ':') ? arena_printf(&a, "[%s]:%d", host, port) : arena_printf(&a, "%s:%d", host, port);
	struct http_listen listen = { .address = address, .tls = s->tls };
	struct http_server_opts opts = { .name = "kubelet-api", .listen = &listen, .listen_len = 1, .handle = handle, .arg = s, .loops = 1,
		.connections_max = 2000 };
	s->auth = auth_new(k);
	s->followers = followers_new(s);
	if (!http_server_start(&opts, &s->http, err)) {
		followers_free(s->followers);
		auth_free(s->auth);
		tls_server_free(s->tls);
		free(s);
		return err_wrap(err, "start the kubelet API");
	}
	*ret = s;
	return true;
}

int kubelet_server_port(const struct server *s) {
	return http_server_port(s->http, 0);
}

void kubelet_server_on_exit(struct server *s, struct str id) {
	followers_exit(s->followers, id);
}

void kubelet_server_stop(struct server *s) {
	if (!s) {
		return;
	}
	s->stopping = true;
	for (nsec_t end = clock_mono() + JOBS_WAIT; s->jobs > 0 && clock_mono() < end;) {
		clock_sleep(2 * NSEC_PER_MSEC);
	}
	http_server_stop(s->http, STOP_GRACE);
	followers_free(s->followers);
	auth_free(s->auth);
	tls_server_free(s->tls);
	free(s);
}
