/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of this room share: the kubelet, its pods, and who owns which part.
 *
 * Threads. The kubelet has one loop. Everything marked "loop" is touched on it alone. A pod is worked
 * on by at most one pool job at a time, its *pass* (sync.c); while `busy` is set, what is marked
 * "pass" belongs to that job, else to the loop. Everything else that a pool thread needs is either
 * unchanging after the start, or a room object that is safe from any thread (client, cri, informer,
 * recorder, images, objects, tokens).
 */
#ifndef KUBELET_INTERNAL_H
#define KUBELET_INTERNAL_H

#include "base/arena.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/vec.h"
#include "client/informer.h"
#include "client/recorder.h"
#include "kubelet/kubelet.h"
#include "value/value.h"

#define CTR_ID_MAX 80
#define KUBELET_LOG "kubelet"
#define RUNTIME_NAME "coracle"

struct kubelet;
struct pod;

/* ---- the kubelet ------------------------------------------------------------------------------- */
struct kubelet {
	struct kubelet_opts o;     /* strings are copies in `own`; unchanging after the start */
	struct arena own;
	struct loop *loop;
	_Atomic bool running;      /* between a successful start and stop */
	_Atomic int callers;       /* threads inside kubelet_on_exit and kubelet_network_changed */
	bool stopping;             /* loop: no new passes */
	bool leaked;               /* something still ran at the stop */
	struct recorder *recorder;
	struct informer *pods_informer, *services_informer, *node_informer;
	struct map pods;           /* loop: uid -> struct pod */
	struct map ids;            /* loop: sandbox or container id -> struct pod */
	bool pods_synced;          /* loop: what the API does not know may go */
	struct objects *objects;   /* ConfigMaps and Secrets that pods use */
	struct images *images;     /* pulls */
	struct tokens *tokens;     /* service-account tokens */
	struct http_client *http;  /* probes and hooks */
	struct node *node;         /* registration, status, lease */
	struct server *server;     /* the kubelet API; NULL without certificates */
	struct sweep *sweep;       /* what an earlier process left, until all pods are known */
	struct housekeeping *housekeeping; /* log rotation, image gc */
	struct static_pods *static_pods;
	struct str pods_dir;       /* <state_dir>/pods */
	struct str log_dir;
	struct str secrets_dir;    /* a tmpfs: what must not touch the disk */
	struct str node_ips[2];
	size_t node_ips_len;
	struct str kubepods;       /* cgroup: <cgroup_root>/kubepods */
	int64_t cpu_milli, memory_bytes, ephemeral_bytes; /* capacity */
	int oom_score_min;         /* the lowest oom_score_adj that we may set */
	_Atomic int passes;        /* running jobs, for the stop */
};

/* Allocatable, for limits that a container does not set. */
int64_t kubelet_allocatable_cpu_milli(const struct kubelet *k);
int64_t kubelet_allocatable_memory(const struct kubelet *k);

/* ---- containers of a pod ----------------------------------------------------------------------- */
enum ctr_kind { CTR_APP, CTR_INIT, CTR_SIDECAR, CTR_EPHEMERAL };

enum kill_step {
	KILL_NONE,
	KILL_HOOK,   /* preStop runs */
	KILL_TERM,   /* the stop signal was sent */
};
enum hook_step { HOOK_NONE, HOOK_RUNNING, HOOK_DONE };

struct backoff {
	nsec_t span;   /* 0: never failed */
	nsec_t since;  /* wall: when span was last set */
};

/* One container of the spec, across restarts of the container. Pass. */
struct ctr {
	char *name;
	enum ctr_kind kind;
	const struct value *spec;                    /* of this pass; NULL when the spec has it no more */
	const struct cri_container_status *now;      /* newest instance in this pass; NULL: none */
	const struct cri_container_status *before;   /* the one before it; NULL: none */
	/* the newest instance */
	char id[CTR_ID_MAX];
	enum hook_step post_start;
	bool post_start_failed;
	enum kill_step kill;
	nsec_t kill_deadline;                        /* mono: of the step */
	nsec_t kill_end;                             /* mono: end of the grace period */
	bool runs;                                   /* at the end of the last pass */
	bool alive_said;                             /* its start was noticed */
	int64_t began;                               /* wall: when the instance started */
	/* instead of one */
	const char *waiting;                         /* reason, static text; NULL: none */
	char *waiting_message;
	struct backoff crash;
	bool backoff_said;                           /* event BackOff was written for this wait */
	int restarts_lost;                           /* restarts of instances the runtime forgot */
	/* from the probes, of instance `id` */
	bool started, ready;
	/* cached: termination message of an ended instance */
	char message_of[CTR_ID_MAX];
	char *message;
};
static inline bool ctr_running(const struct ctr *c) {
	return c->now && c->now->state == CRI_CONTAINER_RUNNING;
}
static inline bool ctr_exited(const struct ctr *c) {
	return c->now && (c->now->state == CRI_CONTAINER_EXITED || c->now->state == CRI_CONTAINER_UNKNOWN);
}

/* ---- probes' view, copied into each pass --------------------------------------------------------- */
enum probe_kill { PROBE_KILL_NO, PROBE_KILL_LIVENESS, PROBE_KILL_STARTUP };
struct probe_view {
	char id[CTR_ID_MAX];
	bool started, ready;
	enum probe_kill kill;
	int64_t kill_grace; /* of the probe; -1: the pod's */
};

/* ---- pods ---------------------------------------------------------------------------------------- */
enum pod_stage {
	POD_ACTIVE,       /* containers are kept as the spec wants */
	POD_TERMINATING,  /* containers are being ended */
	POD_TERMINATED,   /* none runs; volumes, network and cgroup are released */
	POD_REMOVED,      /* nothing is left on this node */
};

struct pod_note { /* loop -> pass: a hook ended */
	char id[CTR_ID_MAX];
	bool post_start;
	bool ok;
};

struct pod_sandbox {
	char id[CTR_ID_MAX];
	uint32_t attempt;
	bool ready;      /* of the last refresh */
	bool has_network;/* ADD was done and DEL was not */
};

struct pod {
	struct kubelet *k;
	struct str uid, ns, name;   /* own; unchanging */
	char *dir;                  /* <pods_dir>/<uid> */
	char *log_dir;              /* <log_dir>/<ns>_<name>_<uid> */
	bool is_static;

	/* loop */
	struct obj *obj;            /* newest known; NULL: only the runtime knows it */
	bool gone;                  /* the API has it no more */
	bool busy, again;
	struct loop_timer timer;    /* next pass that nothing but time causes */
	struct list probers;
	VEC(struct pod_note) notes;
	VEC(char *) ids;            /* its keys in k->ids */
	struct obj *status_want;    /* last computed */
	struct obj *status_have;    /* last written, or as read; NULL: unknown */
	int64_t status_revision;    /* of our last write */
	nsec_t status_reconciled;   /* mono: last time that a foreign change was put right */
	bool status_busy, delete_sent;
	struct obj *mirror;         /* of a static pod, in the API; NULL: none */
	bool mirror_busy;
	bool released;              /* stage is TERMINATED or later */
	const char *refused;        /* reason why it may not run here, set before the first pass; NULL */
	char *refused_message;
	struct loop_timer status_timer;
	nsec_t status_retry;
	int refs;                   /* jobs (hooks, status writes) that point here */
	bool freeing;

	/* pass: set by the loop before it starts */
	struct job job;
	struct obj *pass_obj;
	bool pass_gone;
	VEC(struct probe_view) pass_probes;
	VEC(struct pod_note) pass_notes;
	struct obj *pass_status_have; /* conditions that others write live in it */

	/* pass: kept from pass to pass */
	enum pod_stage stage;
	bool adopted;
	bool failed;                /* ended by us: phase Failed, with ... */
	const char *fail_reason;
	char *fail_message;
	nsec_t kill_grace_end;      /* mono; 0: not terminating */
	nsec_t drain_end;           /* mono: until then nothing is ended; 0: not decided */
	VEC(struct ctr *) ctrs;     /* by the spec's order: init, app, ephemeral */
	VEC(struct pod_sandbox) sandboxes; /* oldest first; the last is the current one */
	struct pod_ips ips;
	bool cgroup_made, dirs_made, hosts_made;
	struct volumes *volumes;    /* volume.c */
	nsec_t retry;               /* back-off of a pass that failed */
	char *mount_error;          /* last FailedMount text, said once a change */
	char *sandbox_error;
	nsec_t started_at;          /* wall: status.startTime */
	struct obj *status_made;    /* result of the last pass */
	bool sandbox_made;          /* once: a new one then means "changed" */
	struct obj *allocated;      /* the pod whose resources are in force, or are being put in force */
	bool resizing;              /* not all of them are yet */
	char *resize_pending;       /* why a newer spec's resources are not taken; NULL */
	char *resize_error;

	/* pass -> loop */
	nsec_t wake_after;          /* 0: nothing but events */
	VEC(char *) pass_ids;       /* ids that are this pod's now */
	bool pass_done;             /* removed: free it */
};

/* Runs a pass soon (now, or after the one that runs). Loop. */
void pod_wake(struct pod *p);
/* The same from any thread, for a pod that may be gone meanwhile. */
void kubelet_wake(struct kubelet *k, struct str uid);
struct pod *kubelet_pod(struct kubelet *k, struct str uid); /* loop; NULL */
void pod_ref(struct pod *p);   /* loop */
void pod_unref(struct pod *p); /* loop */

/* One pass. Pool thread (sync.c). */
void pod_pass(struct pod *p);
/* Asks for another pass no later than `after` from now. Pass. */
void pass_wake(struct pod *p, nsec_t after);
struct ctr *pod_ctr(struct pod *p, struct str name); /* pass; NULL */
void ctr_wait(struct ctr *c, const char *reason, const char *fmt, ...) PRINTF(3, 4);
void ctr_free(struct ctr *c);

/* ---- small readers of specs (spec.c) --------------------------------------------------------------- */
struct str pod_full_name(struct arena *a, const struct value *pod); /* "name_ns(uid)" */
const char *ctr_field_array(enum ctr_kind k); /* "spec.containers" */
struct str ctr_field_path(struct arena *a, enum ctr_kind k, struct str name); /* "spec.containers{name}" */
bool pod_host_network(const struct value *pod);
bool value_is_set(const struct value *v, enum name_id name); /* present and not null */
bool ctr_is_sidecar(const struct value *init_container);
/* Whether a container that ended with `exit_code` is to run again. */
bool ctr_restarts(const struct value *pod, enum ctr_kind kind, const struct value *spec, int exit_code);
/* Every container of the pod: init, app, ephemeral. fn returns false to stop. */
const struct value *pod_container(const struct value *pod, struct str name, enum ctr_kind *ret_kind);
/* Name of the API's Go-printed list: "[a b]". */
struct str list_text(struct arena *a, const struct str *at, size_t n);
int64_t pod_grace_seconds(const struct value *pod); /* deletionGracePeriodSeconds, or the spec's; at least 1 */
const char *pod_path_fmt(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
int signal_number(struct str name); /* "SIGTERM", "TERM", "15", "SIGRTMIN+3"; 0 unknown */

/* Events about a pod or one of its containers. */
#define pod_event(p, obj_, type, reason, ...) recorder_event((p)->k->recorder, (obj_), type, reason, __VA_ARGS__)

/* ---- parts ----------------------------------------------------------------------------------------- */
/* status.c */
struct value *pod_status_make(struct pod *p, struct arena *a, const struct value *pod, const struct value *old);
struct str pod_phase(struct pod *p, const struct value *pod);
const char *ctr_termination_message(struct pod *p, struct ctr *c);

/* status_write.c (loop) */
void pod_status_post(struct pod *p);
void pod_status_later(struct pod *p, nsec_t after);      /* the same after a while */
void pod_status_seen(struct pod *p, struct obj *now);    /* the API shows this one */

/* The container as it stands in p->allocated (its resources count), or its spec. */
const struct value *ctr_allocated(const struct pod *p, const struct ctr *c);

/* resize.c (pass): takes newer resources into force where they fit; containers that must restart for it are ended. */
void pod_resize(struct pod *p, struct arena *a, const struct value *pod);

/* kill.c (pass) */
void ctr_kill(struct pod *p, const struct value *pod, struct ctr *c, int64_t grace_seconds, const char *message);
/* Goes on with killings; wakes by itself. */
void ctr_kill_step(struct pod *p, const struct value *pod, struct ctr *c);

/* start.c (pass): true when it was started or will be by itself (pull, hook); false: ctr->waiting says why. */
bool ctr_start(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c);

/* sandbox.c (pass) */
NODISCARD bool pod_sandbox_ensure(struct pod *p, struct arena *a, const struct value *pod, struct err *err);
void pod_sandbox_stop(struct pod *p, struct arena *a, const struct value *pod); /* all: stop, DEL */
void pod_sandbox_refresh(struct pod *p, struct arena *a);
struct pod_sandbox *pod_sandbox_current(struct pod *p); /* ready one, or NULL */

/* files.c (pass): /etc/hosts */
NODISCARD bool pod_hosts_write(struct pod *p, const struct value *pod, struct err *err);
/* hostname and domain of the pod, as its containers see it. */
void pod_hostname(struct arena *a, const struct value *pod, struct str cluster_domain, struct str *ret_host, struct str *ret_domain);
struct dns_config {
	struct cri_strs servers, searches, options;
};
void pod_dns(struct kubelet *k, struct arena *a, const struct value *pod, struct dns_config *ret);

#endif
