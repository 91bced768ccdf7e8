/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri.h - sandboxes and containers of one node, as the Container Runtime Interface (v1) means them.
 *
 * Plain blocking functions for pool threads, never for an event loop. Any thread; calls for different
 * sandboxes run side by side, calls for one sandbox are made by one pod worker at a time (status, list,
 * stats and streams may come from anywhere at any time).
 *
 * What runs, outlives us: each container has a monitor of its own (conmon) that holds its output, its
 * log and its exit code. Everything about it stands on disk; after our process died, cri_open() on the
 * same folders finds what runs, what ended meanwhile, and clears what was half made.
 *
 * A sandbox is a network namespace, IPC and UTS namespaces and (when asked for) a process namespace,
 * held by one tiny process. The life of a pod is:
 *
 *     cri_sandbox_create()     -> id; its netns exists and is empty (lo is up)
 *     CNI ADD on cri_sandbox_status().netns, result kept by cri_sandbox_set_note()
 *     cri_container_create(), cri_container_start(), ... on_exit ..., cri_container_remove()
 *     cri_sandbox_stop()       ends containers and holder; the netns stays
 *     CNI DEL
 *     cri_sandbox_remove()     netns, folders, cgroup are gone
 *
 * Strings in options are borrowed for the call. What comes back lives in the caller's arena.
 * Source: k8s.io/cri-api v1, OCI runtime-spec v1.0.2.
 */
#ifndef RUNTIME_CRI_H
#define RUNTIME_CRI_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "runtime/image.h"

struct cri;

/*
 * Every program that links this room calls this first thing in main(): layers are unpacked by, and
 * some runtimes are started through, short-lived children that are this program again. Returns -1
 * when this is an ordinary start; otherwise the exit code to leave main() with.
 */
int runtime_helper_main(int argc, char **argv);

enum cri_runtime { CRI_RUNTIME_AUTO, CRI_RUNTIME_CRUN, CRI_RUNTIME_RUNC };

struct cri_opts {
	struct str root_dir;      /* images, layers, containers' writable layers; survives a reboot */
	struct str state_dir;     /* what runs now: records, netns, sockets; best on a tmpfs; at most 60 bytes */
	struct str cgroup_prefix; /* "/coracle-<name>": relative cgroup parents stand below it, our monitors too */
	enum cri_runtime runtime; /* AUTO: crun where it works, else runc */
	struct str runtime_path;  /* "": looked up in PATH */
	struct str conmon_path;   /* "": looked up in PATH */
	struct str self_path;     /* as in image_store_opts */
	const struct str *insecure_registries;
	size_t insecure_registries_len;
	struct str registry_ca_file;
	/*
	 * A container (or, with is_sandbox, a sandbox's holder) ended. On a thread of the runtime's own: be quick, post
	 * a message. May be NULL. Also called during cri_open for nothing: ends that happened before
	 * are seen by cri_container_list().
	 */
	void (*on_exit)(void *arg, struct str id, bool is_sandbox);
	void *arg;
};
/*
 * Opens or makes the folders, adopts what runs, clears half-made things.
 * Fails: ERR_UNAVAILABLE with what is missing and which package has it (no runtime, no conmon, not root, no overlay).
 */
NODISCARD bool cri_open(const struct cri_opts *opts, struct cri **ret, struct err *err);
void cri_free(struct cri *c); /* what runs, runs on */
struct image_store *cri_images(struct cri *c); /* borrowed */
struct cri_version {
	struct str runtime;         /* "crun", "runc" */
	struct str runtime_version; /* "1.8.1" */
	struct str conmon_version;
	struct str cgroups;         /* "v1", "hybrid", "v2" */
};
void cri_version(struct cri *c, struct cri_version *ret); /* borrowed from c */

/* ---- common parts ---------------------------------------------------------------------------- */
struct cri_kv {
	struct str key, value;
};
struct cri_kvs {
	const struct cri_kv *at;
	size_t len;
};
struct cri_strs {
	const struct str *at;
	size_t len;
};

enum cri_ns { CRI_NS_POD, CRI_NS_CONTAINER, CRI_NS_NODE, CRI_NS_TARGET };

enum cri_seccomp { CRI_SECCOMP_UNCONFINED, CRI_SECCOMP_RUNTIME_DEFAULT, CRI_SECCOMP_LOCALHOST };

/* Zero means "not set" in every field. */
struct cri_resources {
	uint64_t cpu_shares;      /* v1 scale, 2..262144 (converted for v2) */
	int64_t cpu_quota_us;     /* <0: none */
	uint64_t cpu_period_us;   /* 100000 when quota is set and this is not */
	int64_t memory_limit;     /* bytes */
	int64_t memory_swap_limit;
	int64_t pids_limit;
	struct str cpuset_cpus, cpuset_mems;
	struct cri_kvs hugepages; /* {"2MB", "4194304"} */
	struct cri_kvs unified;   /* cgroup v2 files */
	int oom_score_adj;        /* clamped to what this process may set */
	bool oom_score_adj_set;
};

/* ---- sandboxes ------------------------------------------------------------------------------- */
struct cri_sandbox_config {
	struct str name, ns, uid; /* of the pod */
	uint32_t attempt;
	struct str hostname;      /* "": the node's (with network NODE) or the pod's name */
	struct str log_dir;       /* containers' log paths are below it; made when missing */
	struct cri_kvs labels, annotations;
	struct cri_strs dns_servers, dns_searches, dns_options; /* all empty: the node's resolv.conf */
	struct cri_kvs sysctls;   /* {"net.core.somaxconn", "1024"}: namespaced ones only */
	struct str cgroup_parent; /* absolute: "/coracle-x/kubepods/besteffort/pod<uid>"; made when missing */
	enum cri_ns network;      /* POD or NODE */
	enum cri_ns pid;          /* POD (shared), CONTAINER, NODE */
	enum cri_ns ipc;          /* POD or NODE */
	bool privileged;
	uint64_t shm_bytes;       /* size of /dev/shm; 0: 64 MiB */
};
enum cri_sandbox_state { CRI_SANDBOX_READY, CRI_SANDBOX_NOT_READY };
struct cri_sandbox_status {
	struct str id;
	struct str name, ns, uid;
	uint32_t attempt;
	enum cri_sandbox_state state;
	int64_t created;         /* wall clock */
	struct str netns;        /* path to join; "" with network NODE */
	enum cri_ns network, pid, ipc;
	struct str note;         /* what cri_sandbox_set_note() stored; "" nothing */
	struct str log_dir, cgroup_parent, hostname;
	struct cri_kvs labels, annotations;
	int pid_holder;          /* 0 when it does not run */
};
struct cri_sandboxes {
	struct cri_sandbox_status *at;
	size_t len;
};
NODISCARD bool cri_sandbox_create(struct cri *c, struct arena *a, const struct cri_sandbox_config *cfg, struct str *ret_id, struct err *err);
/* Keeps up to 64 KiB of the caller's text (the CNI result) with the sandbox, on disk. */
NODISCARD bool cri_sandbox_set_note(struct cri *c, struct str id, struct str note, struct err *err);
/* Kills its containers and its holder. Idempotent; an unknown id is success. */
NODISCARD bool cri_sandbox_stop(struct cri *c, struct str id, struct err *err);
/* Stops, then removes containers, namespaces, folders, and the cgroup parent when it is empty. Idempotent. */
NODISCARD bool cri_sandbox_remove(struct cri *c, struct str id, struct err *err);
NODISCARD bool cri_sandbox_status(struct cri *c, struct arena *a, struct str id, struct cri_sandbox_status *ret, struct err *err);
NODISCARD bool cri_sandbox_list(struct cri *c, struct arena *a, struct cri_sandboxes *ret, struct err *err); /* oldest first */

/* ---- containers ------------------------------------------------------------------------------ */
enum cri_propagation { CRI_PROPAGATION_PRIVATE, CRI_PROPAGATION_HOST_TO_CONTAINER, CRI_PROPAGATION_BIDIRECTIONAL };
struct cri_mount {
	struct str container_path;
	struct str host_path;     /* must exist */
	bool readonly;
	bool recursive_readonly;
	enum cri_propagation propagation;
};
struct cri_device {
	struct str container_path, host_path, permissions; /* "rwm" */
};
struct cri_security {
	int64_t run_as_user, run_as_group;     /* used when the _set is true */
	bool run_as_user_set, run_as_group_set;
	struct str run_as_username;            /* resolved in the image's /etc/passwd */
	const int64_t *supplemental_groups;
	size_t supplemental_groups_len;
	bool supplemental_groups_strict;       /* leave the image's groups out */
	bool privileged;
	struct cri_strs capabilities_add, capabilities_drop; /* "NET_ADMIN", "CAP_NET_ADMIN", "ALL" */
	bool no_new_privs;
	bool readonly_rootfs;
	enum cri_seccomp seccomp;
	struct str seccomp_path;               /* LOCALHOST: file on the node, OCI form */
	bool unmasked;                         /* procMount: Unmasked */
	enum cri_ns pid;                       /* POD, CONTAINER, NODE, TARGET */
	struct str pid_target;                 /* container id, with TARGET */
};
struct cri_container_config {
	struct str name;
	uint32_t attempt;
	struct str image;             /* id or reference of an image that is here */
	struct cri_strs command;      /* replaces the entrypoint (and the image's cmd) */
	struct cri_strs args;         /* replaces the image's cmd */
	struct cri_kvs env;
	struct str working_dir;
	const struct cri_mount *mounts;
	size_t mounts_len;
	const struct cri_device *devices;
	size_t devices_len;
	struct cri_kvs labels, annotations;
	struct str log_path;          /* absolute, or below the sandbox's log_dir; "": no log is kept */
	bool stdin, stdin_once, tty;
	struct str stop_signal;       /* "": the image's, else SIGTERM */
	struct cri_security security;
	struct cri_resources resources;
};
enum cri_container_state { CRI_CONTAINER_CREATED, CRI_CONTAINER_RUNNING, CRI_CONTAINER_EXITED, CRI_CONTAINER_UNKNOWN };
struct cri_container_status {
	struct str id, sandbox_id, name;
	uint32_t attempt;
	enum cri_container_state state;
	int pid;                      /* while running, else 0 */
	int exit_code;                /* when exited */
	int64_t created, started, finished; /* wall clock ns; 0 not yet */
	bool oom_killed;
	struct str reason;            /* "Completed", "Error", "OOMKilled", "ContainerCannotRun" */
	struct str message;
	struct str image;             /* as it was asked for */
	struct str image_id;
	struct str image_ref;         /* "repo@sha256:..." when known, else the id: the API's imageID */
	struct str log_path;          /* absolute */
	struct cri_kvs labels, annotations;
	bool tty, stdin, stdin_once;
	int64_t uid, gid;             /* that its first process started with; -1 before */
	struct cri_resources resources;
};
struct cri_containers {
	struct cri_container_status *at;
	size_t len;
};
/*
 * Fails: ERR_NOT_FOUND no such sandbox or image; ERR_INVALID a config that can never work (message for the
 * user, e.g. `unable to find user x: no matching entries in passwd file`); ERR_INTERNAL what the runtime said.
 */
NODISCARD bool cri_container_create(struct cri *c, struct arena *a, struct str sandbox_id, const struct cri_container_config *cfg,
	struct str *ret_id, struct err *err);
NODISCARD bool cri_container_start(struct cri *c, struct str id, struct err *err);
/*
 * Sends the stop signal, waits up to `grace` for the end, then kills; returns once it ended. Grace 0 kills
 * at once. Idempotent; may run while another thread reads the status.
 */
NODISCARD bool cri_container_stop(struct cri *c, struct str id, nsec_t grace, struct err *err);
NODISCARD bool cri_container_signal(struct cri *c, struct str id, int sig, struct err *err);
/* Kills it if it runs; removes its root file system and records; the log file stays. Idempotent. */
NODISCARD bool cri_container_remove(struct cri *c, struct str id, struct err *err);
NODISCARD bool cri_container_status(struct cri *c, struct arena *a, struct str id, struct cri_container_status *ret, struct err *err);
/* Of one sandbox, or all with sandbox_id "". Oldest first. */
NODISCARD bool cri_container_list(struct cri *c, struct arena *a, struct str sandbox_id, struct cri_containers *ret, struct err *err);
NODISCARD bool cri_container_update(struct cri *c, struct str id, const struct cri_resources *res, struct err *err);
/* After the log file was renamed: opens a new one under the old name. */
NODISCARD bool cri_container_reopen_log(struct cri *c, struct str id, struct err *err);

/* ---- running further programs; streams ------------------------------------------------------- */
struct cri_exec_result {
	int exit_code;       /* 128 + signal when killed */
	struct buf out, err; /* at most 16 MiB each (the rest is dropped), unless their ceilings are set lower before */
};
void cri_exec_result_release(struct cri_exec_result *r);
/* Fails: ERR_TIMEOUT when it did not end in time (it is killed; output so far is in ret); 0: no limit. */
NODISCARD bool cri_exec_sync(struct cri *c, struct str id, struct cri_strs argv, nsec_t timeout, struct cri_exec_result *ret, struct err *err);

/*
 * A running exec, or an attachment to a container's own streams. The descriptors are close-on-exec and
 * blocking; -1 where not asked for. The caller may set them non-blocking, watch them on a loop, and close any
 * of them early after setting the field to -1 (closing `in` is end of file for the program; with a tty, `in`
 * and `out` are two descriptors of one pty). cri_stream_free() closes what is left.
 */
struct cri_stream {
	int in;      /* write */
	int out;     /* read */
	int err_out; /* read; never with a tty */
	int done;    /* becomes readable once the program ended (or the attachment closed) */
	struct cri_stream_private *priv;
};
struct cri_stream_opts {
	bool in, out, err_out, tty;
};
NODISCARD bool cri_exec_start(struct cri *c, struct str id, struct cri_strs argv, const struct cri_stream_opts *opts,
	struct cri_stream *ret, struct err *err);
/* Fails: ERR_INVALID when stdin is asked for and the container was made without. */
NODISCARD bool cri_attach(struct cri *c, struct str id, const struct cri_stream_opts *opts, struct cri_stream *ret, struct err *err);
void cri_stream_resize(struct cri_stream *s, uint16_t columns, uint16_t rows); /* tty only; does not block */
/*
 * Blocks until the program ended; call when `done` is readable to get its exit code at once. Attachments: the container's.
 * Fails: ERR_INTERNAL when the program never began (not found in the image, ...); what the runtime said about it is in the
 * message, or without a tty in the stream of errors.
 */
NODISCARD bool cri_stream_wait(struct cri_stream *s, int *ret_exit_code, struct err *err);
void cri_stream_free(struct cri_stream *s); /* kills a program that still runs */

/* Connects to 127.0.0.1:port (or ::1) inside the sandbox's network, for port-forward. Blocks up to 10 s. */
NODISCARD bool cri_sandbox_dial(struct cri *c, struct str id, uint16_t port, int *ret_fd, struct err *err);

/* Shows an image's root, read-only, at the folder `target`: image volumes. The caller unmounts it; the layers stay meanwhile. */
NODISCARD bool cri_image_mount(struct cri *c, struct str image_id, const char *target, struct err *err);

/* ---- what they use --------------------------------------------------------------------------- */
struct cri_stats {
	int64_t at;               /* wall clock */
	uint64_t cpu_ns;          /* since creation */
	uint64_t memory_usage, memory_working_set, memory_rss, memory_limit; /* limit 0: none */
	uint64_t memory_page_faults, memory_major_page_faults;
	uint64_t pids;
	uint64_t rootfs_bytes, rootfs_inodes; /* of the writable layer; only of containers, walked at most every 30 s */
};
NODISCARD bool cri_container_stats(struct cri *c, struct str id, struct cri_stats *ret, struct err *err);
NODISCARD bool cri_sandbox_stats(struct cri *c, struct str id, struct cri_stats *ret, struct err *err); /* its cgroup parent */

/* ---- cgroups above containers (kubepods, QoS classes, pods), on v1, hybrid and v2 --------------- */
/* Paths are absolute below the hierarchies' roots: "/coracle-x/kubepods/burstable". */
NODISCARD bool cri_cgroup_set(struct cri *c, struct str path, const struct cri_resources *res, struct err *err); /* makes it (and parents) */
NODISCARD bool cri_cgroup_remove(struct cri *c, struct str path, struct err *err);  /* kills what is in it; with children; missing is success */
NODISCARD bool cri_cgroup_stats(struct cri *c, struct str path, struct cri_stats *ret, struct err *err); /* "/": the machine's */
/* Names of child cgroups, to find orphans. */
NODISCARD bool cri_cgroup_children(struct cri *c, struct arena *a, struct str path, struct cri_strs *ret, struct err *err);

#endif
