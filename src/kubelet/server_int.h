/* SPDX-License-Identifier: Apache-2.0 */
/* server_int.h - what the parts of the kubelet API share. Handlers run on pool threads and touch no struct pod: they ask cri and the informer. */
#ifndef KUBELET_SERVER_INT_H
#define KUBELET_SERVER_INT_H

#include "kubelet/internal.h"
#include "kubelet/server.h"
#include "net/http.h"

struct server {
	struct kubelet *k;
	struct tls_server *tls;
	struct http_server *http;
	struct auth *auth;
	struct followers *followers; /* kubelet's loop */
	_Atomic int jobs;            /* of sessions, on the pool: they end on the server's loops, so those outlive them */
	_Atomic bool stopping;       /* no new ones */
};

/* Authenticates and authorises; on false it has answered 401 or 403. */
bool kubelet_server_allow(struct server *s, struct http_exchange *x);
struct auth *auth_new(struct kubelet *k);
void auth_free(struct auth *a);

/* Pieces of a path between slashes, unescaped; at most n. */
size_t path_split(struct arena *a, struct str path, struct str *ret, size_t n);
void kubelet_reply_error(struct http_exchange *x, int status, const char *fmt, ...) PRINTF(3, 4);
void kubelet_reply_json(struct http_exchange *x, const struct value *v);

/* One container of a pod, by names. `previous`: the instance before the newest one that ran. */
struct target {
	struct obj *pod;                     /* referenced; NULL for one that the API does not know */
	struct cri_sandbox_status sandbox;   /* in the arena */
	struct cri_container_status ctr;
};
void target_release(struct target *t);
NODISCARD bool target_pod(struct server *s, struct arena *a, struct str ns, struct str name, struct target *ret, struct err *err);
NODISCARD bool target_container(struct server *s, struct arena *a, struct str ns, struct str name, struct str ctr, bool previous,
	struct target *ret, struct err *err);

void handle_logs(struct server *s, struct http_exchange *x, struct str ns, struct str pod, struct str ctr);
void handle_exec(struct server *s, struct http_exchange *x, struct str ns, struct str pod, struct str ctr, bool attach);
void handle_port_forward(struct server *s, struct http_exchange *x, struct str ns, struct str pod);
void handle_pods(struct server *s, struct http_exchange *x);
void handle_running_pods(struct server *s, struct http_exchange *x);
void handle_stats_summary(struct server *s, struct http_exchange *x);
void handle_metrics(struct server *s, struct http_exchange *x);
void handle_metrics_resource(struct server *s, struct http_exchange *x);
void handle_metrics_cadvisor(struct server *s, struct http_exchange *x);
void handle_configz(struct server *s, struct http_exchange *x);

/* server_logs.c */
struct followers *followers_new(struct server *s);
void followers_exit(struct followers *f, struct str id);  /* any thread */
void followers_free(struct followers *f);                 /* blocks; not on the loop */

/* Answers 101 with the protocol agreed on; then the stream is the caller's. */
bool spdy_upgrade(struct http_exchange *x, struct str protocol, struct net_conn **ret, struct err *err);
bool query_flag(struct http_exchange *x, const char *name); /* "1", "true", or there without a value */

#endif
