/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - what the files behind cri.h share. Private to the room.
 *
 * Locking. Calls come from many pool threads, so the tables of sandboxes and containers, and the
 * fields marked "locked", are guarded by one mutex, cri.lock. It is held for lookups and updates in
 * memory only: never across a file, a mount or a child process. Sandboxes and containers are
 * counted: a thread that works on one holds a reference while another may remove it.
 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <pthread.h>
#include <sys/types.h>

#include "base/map.h"
#include "base/vec.h"
#include "runtime/cgroup.h"
#include "runtime/cri.h"
#include "value/value.h"

enum {
	RUNTIME_ID_LEN = 64,      /* hex digits of a sandbox's or container's id */
	RUNTIME_PATH_MAX = 512,
	RUNTIME_STATE_DIR_MAX = 60,
	RUNTIME_NOTE_MAX = 64 << 10,
	RUNTIME_RECORD_MAX = 4 << 20, /* bytes of one record on disk */
};

struct path {
	char c[RUNTIME_PATH_MAX];
};
struct path path_fmt(const char *fmt, ...) PRINTF(1, 2); /* too long: ends the program, since all parts are bounded */

/* A process that can be told from a later one with the same number. */
struct proc {
	int pid;          /* 0: none */
	uint64_t started; /* field 22 of /proc/<pid>/stat */
};
struct proc proc_of(int pid);       /* {0} when it does not run */
bool proc_alive(struct proc p);     /* a zombie counts as ended */
bool proc_signal(struct proc p, int sig); /* false when it does not run */

struct sandbox {
	unsigned refs;       /* locked */
	char *id;
	struct obj *config;  /* the record's unchanging part */
	struct proc holder;  /* locked */
	bool holder_is_child; /* to be reaped by us */
	char *note;          /* locked; NULL: none */
	bool removed;        /* locked; out of the table */
	char *netns;         /* "" with the node's network */
	char *cgroup;        /* "<parent>/<id>" */
	char *cgroup_parent;
	enum cri_ns network, pid, ipc;
	int64_t created;
};

struct container {
	unsigned refs;       /* locked */
	char *id;
	char *sandbox_id;
	struct obj *config;  /* the record's unchanging part */
	char *cgroup;        /* "<parent>/<id>" */
	char *image_id;
	char *log_path;      /* absolute; "" no log */
	int stop_signal;
	bool tty, stdin, stdin_once;
	bool own_pid_ns;     /* its end ends all its processes */
	int64_t created, uid, gid;
	/* Start, clearing up after the end, and removal exclude each other: held across child processes. */
	pthread_mutex_t work;
	bool cleared;        /* under `work`: the runtime and the mounts know it no more */
	pthread_mutex_t save; /* held across the writing of the record */
	bool gone;           /* under `save`: its folders are removed */
	/* locked, and in the record: */
	enum cri_container_state state;
	bool starting;       /* a monitor may run although the state is still CREATED */
	struct proc init, monitor;
	int64_t started, finished;
	int exit_code;
	bool oom_killed;
	char *reason;        /* of an end; NULL: by the exit code */
	char *message;       /* NULL: none */
	struct obj *resources; /* last set; NULL: the config's */
	bool removed, creating; /* creating: not listed yet */
	/* locked, not in the record: */
	int64_t usage_at;    /* when the writable layer was last walked; mono clock, 0 never */
	uint64_t usage_bytes, usage_inodes;
};

struct monitor; /* monitor.c */

struct cri {
	char *root_dir, *state_dir, *cgroup_prefix, *self_path;
	char *runtime_name, *runtime_version, *conmon_version;
	char *runtime_real;  /* path of crun or runc */
	char *runtime;       /* what is run: the same, or the program that hides the leftover hierarchy first */
	char *conmon;
	struct cgroups cgroups;
	struct image_store *images;
	int oom_score_adj_min;
	uint64_t nofile_max;
	void (*on_exit)(void *arg, struct str id, bool is_sandbox);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t idle;  /* working became 0 */
	unsigned working;     /* locked; background jobs that cri_free() waits for */
	struct map sandboxes, containers; /* locked; id -> struct, one reference each */
	struct monitor *monitor;
	_Atomic bool adopting; /* ends are not told: the caller lists next */
};

/* ---- cri.c: lookups (each returns a counted reference, or NULL) --------------------------------- */
struct sandbox *sandbox_get(struct cri *c, struct str id);
void sandbox_put(struct cri *c, struct sandbox *s);
struct container *container_get(struct cri *c, struct str id);
void container_put(struct cri *c, struct container *k);
NODISCARD bool container_find(struct cri *c, struct str id, struct container **ret, struct err *err);
NODISCARD bool sandbox_find(struct cri *c, struct str id, struct sandbox **ret, struct err *err);
/* All containers of a sandbox ("": all), counted. */
struct container **containers_of(struct cri *c, struct arena *a, struct str sandbox_id, size_t *ret_len);
void work_began(struct cri *c);
void work_ended(struct cri *c);
void id_make(char out[RUNTIME_ID_LEN + 1]);

/* ---- record.c: what stands on disk -------------------------------------------------------------- */
NODISCARD bool record_write(const char *path, const struct value *v, struct err *err); /* atomic, not flushed: it need not survive the machine */
NODISCARD bool record_read(struct arena *a, const char *path, struct value **ret, struct err *err);
struct value *record_kvs(struct arena *a, struct cri_kvs kvs);
struct value *record_strs(struct arena *a, struct cri_strs strs);
struct cri_kvs record_to_kvs(struct arena *a, const struct value *v);
struct cri_strs record_to_strs(struct arena *a, const struct value *v);
struct value *record_resources(struct arena *a, const struct cri_resources *r);
void record_to_resources(struct arena *a, const struct value *v, struct cri_resources *ret);
/* Members by plain text keys. */
struct str get_str(const struct value *v, const char *key);
int64_t get_int(const struct value *v, const char *key);
bool get_bool(const struct value *v, const char *key);
struct value *get(const struct value *v, const char *key);
void set_str(struct arena *a, struct value *v, const char *key, struct str s);
void set_int(struct arena *a, struct value *v, const char *key, int64_t n);
void set_bool(struct arena *a, struct value *v, const char *key, bool b);
struct value *set(struct arena *a, struct value *v, const char *key, const struct value *item);

/* ---- spawn.c: child processes ------------------------------------------------------------------- */
struct spawn_opts {
	const char *path;         /* NULL: argv[0] */
	const char *const *argv;
	const char *const *env;   /* NULL: ours */
	int in, out, err_out;     /* -1: /dev/null */
	const int *keep;          /* stay open under their numbers */
	size_t keep_len;
	const int *pass;          /* become 3, 4, ...; not together with keep */
	size_t pass_len;
	bool session;             /* a session of its own */
};
NODISCARD bool spawn(const struct spawn_opts *opts, pid_t *ret, struct err *err);
int spawn_reap(pid_t pid); /* blocks; exit code, 128 + signal */
int pidfd_of(pid_t pid);   /* -1 when it is gone */
NODISCARD bool pipe_make(int ret[2], struct err *err); /* close-on-exec, both ends at least 3 */

struct run_result {
	int status; /* exit code, 128 + signal */
	struct buf out, err_out;
};
void run_result_release(struct run_result *r);
/*
 * Runs to the end, keeps the output (up to the ceilings in ret, default 1 MiB; the rest is read and dropped).
 * After the timeout the child is killed; ERR_TIMEOUT. Before, `on_timeout` (may be NULL) may end what the child waits
 * for: when it says so (true) the child has two seconds to notice, so that it can reap its own children.
 */
struct run_opts {
	nsec_t timeout;
	bool (*on_timeout)(void *arg);
	void *arg;
};
NODISCARD bool run_program(const char *const *argv, const struct run_opts *opts, struct run_result *ret, struct err *err);
/* The OCI runtime with its global flags and these words (NULL-ended); a failure is an err with what it said. */
NODISCARD bool run_runtime(struct cri *c, struct err *err, const char *const *words);
#define RUN_RUNTIME(c, err, ...) run_runtime((c), (err), (const char *const[]){ __VA_ARGS__, NULL })
/* What a runtime printed, made fit for users: its last line, without its log decoration. */
struct str runtime_said(struct arena *a, struct str output);

/* ---- mounts.c ----------------------------------------------------------------------------------- */
/* Mounts the layers (lowest first) with a writable one above at `target`. */
NODISCARD bool overlay_mount(const struct str *layers, size_t len, const char *upper, const char *work, const char *target, struct err *err);
/* Whether overlay works with its writable layer in this folder. Fails: ERR_UNAVAILABLE with what to do. */
NODISCARD bool overlay_check(const char *root_dir, struct err *err);
void mount_drop(const char *path);  /* unmounts all that is stacked there; says nothing */
/* Unmounts everything at and below `path`. */
void mount_drop_below(const char *path);
/* Bytes on disk and inodes of a tree; links are not followed, what cannot be read is left out. */
void dir_usage(const char *path, uint64_t *ret_bytes, uint64_t *ret_inodes);
NODISCARD bool tmpfs_mount(const char *target, uint64_t bytes, struct err *err);

/* ---- users.c ------------------------------------------------------------------------------------ */
struct run_user {
	int64_t uid, gid;
	VEC(int64_t) groups;
};
void run_user_release(struct run_user *u);
/* Who runs the container's process; names are looked up below `rootfs` without leaving it. */
NODISCARD bool run_user_resolve(const char *rootfs, const struct cri_security *security, struct str image_user, struct run_user *ret, struct err *err);

/* ---- spec.c ------------------------------------------------------------------------------------- */
struct spec_input {
	const struct cri_container_config *config;
	const struct image_info *image;
	const struct run_user *user;
	struct str hostname;
	const char *id, *rootfs, *cgroup;
	/* Namespaces to join by path; "" makes a new one; NULL shares the node's. */
	const char *ns_network, *ns_ipc, *ns_uts, *ns_pid;
	const char *resolv_conf, *hostname_file, *shm; /* on the node */
	int oom_score_adj_min;
	uint64_t nofile_max;
	enum cgroup_mode cgroup_mode;
};
/* config.json. Fails: ERR_INVALID for what the user asked wrongly. */
NODISCARD bool spec_make(struct arena *a, const struct spec_input *in, struct value **ret, struct err *err);
struct value *spec_resources(struct arena *a, const struct cri_resources *r, enum cgroup_mode mode);
int signal_of(struct str name); /* "SIGTERM", "TERM", "15"; 0 when it is none */

/* ---- seccomp.c ---------------------------------------------------------------------------------- */
/* The default profile for a container with these capabilities, in OCI form. */
struct value *seccomp_default(struct arena *a, const struct value *capabilities);

/* ---- sandbox.c, container.c --------------------------------------------------------------------- */
struct path sandbox_dir(const struct cri *c, const char *id);
struct path container_dir(const struct cri *c, const char *id);   /* state: bundle, sockets, record */
struct path container_layer(const struct cri *c, const char *id); /* root: upper, work */
/* Reads a record back at open. False (with why) when it is half made: then all traces are removed. */
NODISCARD bool sandbox_adopt(struct cri *c, struct str id, bool same_boot, struct err *err);
NODISCARD bool container_adopt(struct cri *c, struct str id, bool same_boot, struct err *err);
void sandbox_traces_remove(struct cri *c, struct str id);
void container_traces_remove(struct cri *c, struct str id);
void sandbox_free(struct sandbox *s);
void container_free(struct container *k);
/*
 * Looks whether it ended; true when it is (now) known to be. With `monitor_gone`, a container without an
 * exit code is killed and counts as ended too. Tells on_exit, once, and clears up in the background.
 */
bool container_check_exit(struct cri *c, struct container *k, bool monitor_gone);
NODISCARD bool container_end(struct cri *c, struct container *k, nsec_t grace, struct err *err);
NODISCARD bool container_delete(struct cri *c, struct container *k, struct err *err);
struct path exit_path(const struct cri *c, const char *id);
/* The layers' folders of an image, lowest first (image_store.c). */
NODISCARD bool image_layer_dirs(struct image_store *s, struct arena *a, struct str id, struct cri_strs *ret, struct err *err);
bool container_uses_image(void *cri, struct str image_id); /* for image_store_opts.in_use */

/* ---- monitor.c: tells ends ---------------------------------------------------------------------- */
NODISCARD bool monitor_start(struct cri *c, struct err *err);
void monitor_stop(struct cri *c);
/* Watches the process; a child of ours is also reaped. */
void monitor_watch_holder(struct cri *c, const char *sandbox_id, pid_t pid, bool is_child);
void monitor_watch_conmon(struct cri *c, const char *container_id, pid_t pid); /* at adoption, too */
/* Blocks until the container's end is known, or the time is over (false). */
bool monitor_wait_exit(struct cri *c, struct container *k, nsec_t until_mono);
void monitor_wake(struct cri *c); /* someone found an end by looking: wakes those who wait for it */

#endif
