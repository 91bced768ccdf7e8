/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - the cluster as everybody but the API server sees it. Two transports, a function call and
 * HTTPS, and no component can tell which it has.
 *
 * Calls block: only in threads that may (pool threads, work queue workers). Watches and informers
 * deliver on the loop they were given. Objects that come back are frozen and counted.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/err.h"
#include "base/vec.h"
#include "loop/loop.h"
#include "value/value.h"

struct gvr { /* static text */
	struct str group, version, resource;
};
#define GVR(g, v, r) ((struct gvr){ S(g), S(v), S(r) })
#define GVR_INIT(g, v, r) { S_INIT(g), S_INIT(v), S_INIT(r) } /* in static tables */
#define GVR_PODS GVR("", "v1", "pods")
#define GVR_NODES GVR("", "v1", "nodes")
#define GVR_SERVICES GVR("", "v1", "services")
#define GVR_ENDPOINTS GVR("", "v1", "endpoints")
#define GVR_NAMESPACES GVR("", "v1", "namespaces")
#define GVR_SECRETS GVR("", "v1", "secrets")
#define GVR_CONFIGMAPS GVR("", "v1", "configmaps")
#define GVR_SERVICEACCOUNTS GVR("", "v1", "serviceaccounts")
#define GVR_EVENTS GVR("", "v1", "events")
#define GVR_REPLICATIONCONTROLLERS GVR("", "v1", "replicationcontrollers")
#define GVR_DEPLOYMENTS GVR("apps", "v1", "deployments")
#define GVR_REPLICASETS GVR("apps", "v1", "replicasets")
#define GVR_STATEFULSETS GVR("apps", "v1", "statefulsets")
#define GVR_DAEMONSETS GVR("apps", "v1", "daemonsets")
#define GVR_CONTROLLERREVISIONS GVR("apps", "v1", "controllerrevisions")
#define GVR_JOBS GVR("batch", "v1", "jobs")
#define GVR_CRONJOBS GVR("batch", "v1", "cronjobs")
#define GVR_PERSISTENTVOLUMECLAIMS GVR("", "v1", "persistentvolumeclaims")
#define GVR_PODDISRUPTIONBUDGETS GVR("policy", "v1", "poddisruptionbudgets")
#define GVR_PRIORITYCLASSES GVR("scheduling.k8s.io", "v1", "priorityclasses")
#define GVR_ENDPOINTSLICES GVR("discovery.k8s.io", "v1", "endpointslices")
#define GVR_LEASES GVR("coordination.k8s.io", "v1", "leases")

enum client_verb {
	CLIENT_GET,
	CLIENT_LIST,
	CLIENT_CREATE,
	CLIENT_UPDATE,
	CLIENT_PATCH,
	CLIENT_DELETE,
	CLIENT_DELETE_COLLECTION,
	CLIENT_RAW, /* GET of `raw_path`; the body comes back as a value */
};
enum patch_type { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC, PATCH_APPLY };

/*
 * One call, whatever carries it. Zero is the default of every option. Objects that come back always carry apiVersion and
 * kind, also the items of lists.
 */
struct client_call {
	enum client_verb verb;
	struct gvr gvr;
	struct str ns;             /* empty: cluster-scoped, or all namespaces of a list */
	struct str name;
	struct str subresource;    /* "status", "scale", "binding", "eviction", "token", ... */
	const struct value *body;  /* object, patch, or DeleteOptions; borrowed */
	enum patch_type patch;
	struct str label_selector, field_selector;
	struct str resource_version, resource_version_match;
	int64_t limit;
	struct str continue_token;
	struct str field_manager;
	bool dry_run, force;
	struct str propagation;        /* delete: "Background", "Foreground", "Orphan" */
	int64_t grace_seconds;         /* delete: used when has_grace */
	bool has_grace;
	struct str precondition_uid, precondition_rv; /* delete */
	struct str raw_path;
};
struct client_list {
	struct obj **at; /* one reference each */
	size_t len;
	int64_t revision;
	struct str continue_token; /* owned by the list */
};
void client_list_release(struct client_list *l);

struct client;
/*
 * The one call. `ret_obj` (may be NULL) gets one reference; lists go to `ret_list`.
 * Fails: the API's code and message (ERR_CONFLICT, ERR_NOT_FOUND, ...); ERR_UNAVAILABLE when the server cannot be reached.
 */
NODISCARD bool client_do(struct client *c, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list, struct err *err);

/* Shorthands over client_do. `ret` may be NULL where the result is not wanted. */
NODISCARD bool client_get(struct client *c, struct gvr gvr, struct str ns, struct str name, struct obj **ret, struct err *err);
NODISCARD bool client_list(struct client *c, struct gvr gvr, struct str ns, struct str label_selector, struct client_list *ret, struct err *err);
NODISCARD bool client_create(struct client *c, struct gvr gvr, struct str ns, const struct value *body, struct obj **ret, struct err *err);
NODISCARD bool client_update(struct client *c, struct gvr gvr, struct str ns, const struct value *body, struct obj **ret, struct err *err); /* name from metadata */
NODISCARD bool client_update_status(struct client *c, struct gvr gvr, struct str ns, const struct value *body, struct obj **ret, struct err *err);
NODISCARD bool client_patch(struct client *c, struct gvr gvr, struct str ns, struct str name, struct str subresource, enum patch_type type,
	const struct value *patch, struct obj **ret, struct err *err);
NODISCARD bool client_delete(struct client *c, struct gvr gvr, struct str ns, struct str name, struct err *err); /* default grace and propagation */

/* ---- watch ---- */
/* SYNCED ends the initial events; a BOOKMARK with their revision comes right before it. */
enum watch_event { WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED, WATCH_BOOKMARK, WATCH_SYNCED, WATCH_ENDED };
struct client_watch_opts {
	struct gvr gvr;
	struct str ns;
	struct str label_selector, field_selector; /* copied */
	int64_t from;        /* resource version; 0 with initial_events: the state now first, then WATCH_SYNCED */
	bool initial_events;
	struct loop *loop;   /* where on_event runs */
	/* `o` is borrowed for the call (NULL for SYNCED and ENDED). ENDED is the last call: `err` says why (ERR_EXPIRED: list again). */
	void (*on_event)(void *arg, enum watch_event type, struct obj *o, const struct err *err);
	void *arg;
};
struct client_watch;
NODISCARD bool client_watch_start(struct client *c, const struct client_watch_opts *opts, struct client_watch **ret, struct err *err); /* does not block; on opts->loop's thread; on_event never runs inside it */
void client_watch_stop(struct client_watch *w); /* on its loop only; no call after it, also no ENDED; frees w. After ENDED call it too. */

/* ---- transports: what stands behind a client ---- */
struct client_transport {
	/* Contracts as client_do, client_watch_start and client_watch_stop. Thread: any. */
	bool (*call)(struct client_transport *t, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list, struct err *err);
	bool (*watch)(struct client_transport *t, const struct client_watch_opts *opts, struct client_watch **ret, struct err *err);
	void (*watch_stop)(struct client_watch *w);
	void (*free)(struct client_transport *t);
};
struct client_watch { /* first member of each transport's own watch */
	struct client_transport *transport;
};
struct client *client_new(struct client_transport *t); /* takes t */
struct client *client_ref(struct client *c);           /* for work that may outlive its starter; client_free() drops it */
void client_free(struct client *c);                    /* drops one reference; the last one ends the transport */

struct client_https_opts {
	const char *server;         /* "https://host:port" */
	const char *ca_file;        /* or */
	struct str ca_pem;
	const char *cert_file, *key_file;
	struct str cert_pem, key_pem;
	const char *token_file;     /* read again when it changes */
	struct str token;
	bool insecure;
	const char *user_agent;
};
NODISCARD bool client_new_https(const struct client_https_opts *opts, struct client **ret, struct err *err);
/* From a kubeconfig file's context (NULL: the current one). */
NODISCARD bool client_new_kubeconfig(const char *path, const char *context, struct client **ret, struct err *err);

#endif
