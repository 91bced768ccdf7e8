/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.c - the life of containers. Behind cri.h; pool threads.
 *
 * create mounts the root file system and writes the OCI configuration; start runs conmon, which runs
 * the OCI runtime; the end is seen by monitor.c in the exit file that conmon leaves, and cleared up
 * in the background; remove takes what is left. On disk: <state>/containers/<id> is the OCI bundle and
 * holds the record, conmon's sockets and the mount point; <root>/containers/<id> holds the writable
 * layer; <state>/exits/<id> the exit code.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "loop/loop.h"
#include "runtime/runtime.h"

enum { CONTAINER_SYNC_MAX = 64 << 10, CONTAINER_EXIT_START = 128, CONTAINER_EXIT_LOST = 137 };
#define CONTAINER_CREATE_TIMEOUT (60 * NSEC_PER_SEC)
#define CONTAINER_KILL_TIMEOUT (30 * NSEC_PER_SEC)
#define CONTAINER_USAGE_AGE (30 * NSEC_PER_SEC)

struct path container_dir(const struct cri *c, const char *id) {
	return path_fmt("%s/containers/%s", c->state_dir, id);
}

struct path container_layer(const struct cri *c, const char *id) {
	return path_fmt("%s/containers/%s", c->root_dir, id);
}

struct path exit_path(const struct cri *c, const char *id) {
	return path_fmt("%s/exits/%s", c->state_dir, id);
}

void container_free(struct container *k) {
	obj_unref(k->config);
	obj_unref(k->resources);
	pthread_mutex_destroy(&k->work);
	pthread_mutex_destroy(&k->save);
	free(k->id);
	free(k->sandbox_id);
	free(k->cgroup);
	free(k->image_id);
	free(k->log_path);
	free(k->reason);
	free(k->message);
	free(k);
}

bool container_uses_image(void *cri, struct str image_id) {
	struct cri *c = cri;
	bool used = false;
	pthread_mutex_lock(&c->lock);
	MAP_EACH(&c->containers, e) {
		struct container *k = e->value;
		used = used || str_eqc(image_id, k->image_id);
	}
	pthread_mutex_unlock(&c->lock);
	return used;
}

/* ---- the record ------------------------------------------------------------------------------ */

static struct value *config_make(struct arena *a, const struct cri_container_config *cfg, const struct sandbox *s, const struct image_info *image,
	const char *id, struct str log_path) {
	struct value *v = value_new_object(a);
	set_str(a, v, "id", str_c(id));
	set_str(a, v, "sandbox", str_c(s->id));
	set_str(a, v, "name", cfg->name);
	set_int(a, v, "attempt", cfg->attempt);
	set_str(a, v, "image", cfg->image);
	set_str(a, v, "imageId", image->id);
	set_str(a, v, "imageRef", image->digests_len ? image->digests[0] : image->id);
	set_str(a, v, "logPath", log_path);
	set(a, v, "labels", record_kvs(a, cfg->labels));
	set(a, v, "annotations", record_kvs(a, cfg->annotations));
	set_bool(a, v, "tty", cfg->tty);
	set_bool(a, v, "stdin", cfg->stdin);
	set_bool(a, v, "stdinOnce", cfg->stdin_once);
	set_str(a, v, "cgroup", arena_printf(a, "%s/%s", s->cgroup_parent, id));
	set_bool(a, v, "ownPidNamespace", cfg->security.pid == CRI_NS_CONTAINER);
	set(a, v, "resources", record_resources(a, &cfg->resources));
	set_int(a, v, "created", clock_wall());
	return v;
}

static const char *const state_names[] = {
	[CRI_CONTAINER_CREATED] = "created",
	[CRI_CONTAINER_RUNNING] = "running",
	[CRI_CONTAINER_EXITED] = "exited",
	[CRI_CONTAINER_UNKNOWN] = "unknown",
};

static void proc_set(struct arena *a, struct value *v, const char *key, struct proc p) {
	struct value *o = value_new_object(a);
	set_int(a, o, "pid", p.pid);
	set_int(a, o, "started", (int64_t)p.started);
	set(a, v, key, o);
}

static struct proc proc_get(const struct value *v, const char *key) {
	return (struct proc){ (int)get_int(get(v, key), "pid"), (uint64_t)get_int(get(v, key), "started") };
}

static bool save_now(struct cri *c, struct container *k, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v = value_copy(&a, k->config->root), *now = value_new_object(&a);
	struct path dir = container_dir(c, k->id);

	pthread_mutex_lock(&c->lock);
	set_str(&a, now, "state", str_c(k->creating ? "creating" : k->starting ? "starting" : state_names[k->state]));
	proc_set(&a, now, "init", k->init);
	proc_set(&a, now, "monitor", k->monitor);
	set_int(&a, now, "started", k->started);
	set_int(&a, now, "finished", k->finished);
	set_int(&a, now, "exitCode", k->exit_code);
	set_bool(&a, now, "oomKilled", k->oom_killed);
	set_str(&a, now, "reason", str_c(k->reason));
	set_str(&a, now, "message", str_c(k->message));
	set_int(&a, now, "uid", k->uid);
	set_int(&a, now, "gid", k->gid);
	set_int(&a, now, "stopSignal", k->stop_signal);
	if (k->resources) {
		set(&a, v, "resources", value_copy(&a, k->resources->root));
	}
	pthread_mutex_unlock(&c->lock);
	set(&a, v, "now", now);
	return record_write(path_fmt("%s/container.json", dir.c).c, v, err);
}

/* The monitor and the pod's worker may both have news: the later writer writes all of it. */
static bool container_save(struct cri *c, struct container *k, struct err *err) {
	pthread_mutex_lock(&k->save);
	bool ok = k->gone || save_now(c, k, err);
	pthread_mutex_unlock(&k->save);
	return ok;
}

/* From a record's unchanging part. */
static struct container *container_of_config(const struct value *v) {
	struct container *k = xcalloc(1, sizeof(*k));
	k->id = str_dup(get_str(v, "id"));
	k->sandbox_id = str_dup(get_str(v, "sandbox"));
	k->cgroup = str_dup(get_str(v, "cgroup"));
	k->image_id = str_dup(get_str(v, "imageId"));
	k->log_path = str_dup(get_str(v, "logPath"));
	k->config = obj_freeze(v, 0);
	k->tty = get_bool(v, "tty");
	k->stdin = get_bool(v, "stdin");
	k->stdin_once = get_bool(v, "stdinOnce");
	k->own_pid_ns = get_bool(v, "ownPidNamespace");
	k->created = get_int(v, "created");
	k->uid = k->gid = -1;
	k->stop_signal = SIGTERM;
	k->refs = 1;
	pthread_mutex_init(&k->work, NULL);
	pthread_mutex_init(&k->save, NULL);
	return k;
}

/* ---- create ---------------------------------------------------------------------------------- */

static bool config_check(const struct cri_container_config *cfg, struct err *err) {
	if (!cfg->name.len) {
		return err_set(err, ERR_INVALID, "a container needs a name");
	}
	for (size_t i = 0; i < cfg->env.len; i++) {
		struct cri_kv kv = cfg->env.at[i];
		if (!kv.key.len || str_index(kv.key, '=') >= 0 || str_index(kv.key, 0) >= 0 || (kv.value.len && str_index(kv.value, 0) >= 0)) {
			return err_set(err, ERR_INVALID, "environment variable \"%.*s\" has an impossible name or value", STR_ARG(kv.key));
		}
	}
	return true;
}

/* The root folder shows the mode and owner of the writable layer's: take over those of the image. */
static bool upper_like(const char *upper, struct str layer, struct err *err) {
	char *path = str_dup(layer);
	struct stat st;
	bool ok = stat(path, &st) == 0 && chmod(upper, st.st_mode & 07777) == 0 && chown(upper, st.st_uid, st.st_gid) == 0;
	ok = ok || err_sys(err, "take over the root folder's mode from %s", path);
	free(path);
	return ok;
}

static bool rootfs_mount(struct cri *c, struct container *k, struct arena *a, struct err *err) {
	struct path layer = container_layer(c, k->id), dir = container_dir(c, k->id);
	struct path upper = path_fmt("%s/upper", layer.c), work = path_fmt("%s/work", layer.c), rootfs = path_fmt("%s/rootfs", dir.c);
	const char *const make[] = { layer.c, upper.c, work.c, rootfs.c };
	struct cri_strs layers;

	if (!image_layer_dirs(c->images, a, str_c(k->image_id), &layers, err)) {
		return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(make); i++) {
		if (mkdir(make[i], i == 0 ? 0700 : 0755) != 0) {
			return err_sys(err, "make %s", make[i]);
		}
	}
	return upper_like(upper.c, layers.at[layers.len - 1], err) && overlay_mount(layers.at, layers.len, upper.c, work.c, rootfs.c, err);
}

/* Namespaces by path, as the pod shares them. */
struct spaces {
	struct path network, ipc, uts, pid;
	const char *network_p, *ipc_p, *uts_p, *pid_p;
};

static bool spaces_make(struct cri *c, const struct sandbox *s, const struct cri_security *security, struct spaces *ret, struct err *err) {
	int holder = s->holder.pid;
	struct spaces n = { .network = path_fmt("%s", s->netns), .ipc = path_fmt("/proc/%d/ns/ipc", holder), .uts = path_fmt("/proc/%d/ns/uts", holder) };

	switch (security->pid) {
	case CRI_NS_POD:
		if (s->pid != CRI_NS_POD) {
			return err_set(err, ERR_INVALID, "the sandbox has no process namespace to share");
		}
		n.pid = path_fmt("/proc/%d/ns/pid", holder);
		break;
	case CRI_NS_CONTAINER:
		n.pid = path_fmt("%s", "");
		break;
	case CRI_NS_NODE:
		break;
	case CRI_NS_TARGET: {
		struct container *target = container_get(c, security->pid_target);
		pthread_mutex_lock(&c->lock);
		struct proc p = target && target->state == CRI_CONTAINER_RUNNING ? target->init : (struct proc){ 0 };
		pthread_mutex_unlock(&c->lock);
		container_put(c, target);
		if (!proc_alive(p)) {
			return err_set(err, ERR_NOT_FOUND, "container %.*s, whose processes are to be shared, does not run", STR_ARG(security->pid_target));
		}
		n.pid = path_fmt("/proc/%d/ns/pid", p.pid);
		break;
	}
	}
	*ret = n;
	ret->network_p = s->network == CRI_NS_NODE ? NULL : ret->network.c;
	ret->uts_p = s->network == CRI_NS_NODE ? NULL : ret->uts.c;
	ret->ipc_p = s->ipc == CRI_NS_NODE ? NULL : ret->ipc.c;
	ret->pid_p = security->pid == CRI_NS_NODE ? NULL : ret->pid.c;
	return true;
}

static bool spec_write(struct cri *c, struct arena *a, struct container *k, const struct sandbox *s, const struct cri_container_config *cfg,
	const struct image_info *image, struct err *err) {
	struct path dir = container_dir(c, k->id), rootfs = path_fmt("%s/rootfs", dir.c), box = sandbox_dir(c, s->id);
	struct path resolv = path_fmt("%s/resolv.conf", box.c), hostname = path_fmt("%s/hostname", box.c), shm = path_fmt("%s/shm", box.c);
	struct run_user user = { 0 };
	struct spaces spaces;
	struct value *spec;

	if (!spaces_make(c, s, &cfg->security, &spaces, err) || !run_user_resolve(rootfs.c, &cfg->security, image->user, &user, err)) {
		return false;
	}
	struct spec_input in = {
		.config = cfg,
		.image = image,
		.user = &user,
		.hostname = get_str(s->config->root, "hostname"),
		.id = k->id,
		.rootfs = rootfs.c,
		.cgroup = k->cgroup,
		.ns_network = spaces.network_p,
		.ns_ipc = spaces.ipc_p,
		.ns_uts = spaces.uts_p,
		.ns_pid = spaces.pid_p,
		.resolv_conf = resolv.c,
		.hostname_file = hostname.c,
		.shm = s->ipc == CRI_NS_NODE ? "/dev/shm" : shm.c,
		.oom_score_adj_min = c->oom_score_adj_min,
		.nofile_max = c->nofile_max,
		.cgroup_mode = c->cgroups.mode,
	};
	k->uid = user.uid;
	k->gid = user.gid;
	bool ok = spec_make(a, &in, &spec, err) && record_write(path_fmt("%s/config.json", dir.c).c, spec, err);
	run_user_release(&user);
	return ok;
}

static bool log_dir_make(const struct container *k, struct err *err) {
	char *dir = xstrdup(k->log_path), *slash = strrchr(dir, '/');
	bool ok = true;
	if (slash && slash != dir) {
		*slash = 0;
		ok = dir_make(dir, 0755, err);
	}
	free(dir);
	return ok;
}

static bool container_build(struct cri *c, struct arena *a, struct container *k, const struct sandbox *s, const struct cri_container_config *cfg,
	const struct image_info *image, struct err *err) {
	struct path dir = container_dir(c, k->id);
	struct str stop = cfg->stop_signal.len ? cfg->stop_signal : image->stop_signal;

	if (stop.len && !(k->stop_signal = signal_of(stop))) {
		return err_set(err, ERR_INVALID, "stop signal \"%.*s\" is unknown", STR_ARG(stop));
	}
	if (mkdir(dir.c, 0700) != 0) {
		return err_sys(err, "make %s", dir.c);
	}
	return container_save(c, k, err) && rootfs_mount(c, k, a, err) && spec_write(c, a, k, s, cfg, image, err) && log_dir_make(k, err);
}

static void table_add(struct cri *c, struct container *k) {
	pthread_mutex_lock(&c->lock);
	map_set(&c->containers, str_c(k->id), k);
	pthread_mutex_unlock(&c->lock);
}

/* Takes it out of the table, once; the table's reference goes with it. */
static void table_remove(struct cri *c, struct container *k) {
	pthread_mutex_lock(&c->lock);
	bool ours = !k->removed;
	k->removed = true;
	if (ours) {
		map_remove(&c->containers, str_c(k->id));
	}
	pthread_mutex_unlock(&c->lock);
	if (ours) {
		container_put(c, k);
	}
}

static struct str log_path_of(struct arena *a, const struct sandbox *s, struct str path) {
	if (!path.len || path.ptr[0] == '/') {
		return path;
	}
	return arena_printf(a, "%.*s/%.*s", STR_ARG(get_str(s->config->root, "logDir")), STR_ARG(path));
}

bool cri_container_create(struct cri *c, struct arena *a, struct str sandbox_id, const struct cri_container_config *cfg, struct str *ret_id, struct err *err) {
	auto_arena struct arena tmp = { 0 };
	char id[RUNTIME_ID_LEN + 1];
	struct image_info image;
	struct sandbox *s;
	bool ok;

	if (!config_check(cfg, err) || !image_status(c->images, &tmp, cfg->image, &image, err) || !sandbox_find(c, sandbox_id, &s, err)) {
		return err_wrap(err, "create container %.*s", STR_ARG(cfg->name));
	}
	if (!proc_alive(s->holder)) {
		sandbox_put(c, s);
		return err_set(err, ERR_CONFLICT, "sandbox %.*s is not ready: its holder ended", STR_ARG(sandbox_id));
	}
	id_make(id);
	struct container *k = container_of_config(config_make(&tmp, cfg, s, &image, id, log_path_of(&tmp, s, cfg->log_path)));
	k->creating = true;
	table_add(c, k); /* from here on its image is in use */
	ok = container_build(c, &tmp, k, s, cfg, &image, err);
	sandbox_put(c, s);
	if (ok) {
		pthread_mutex_lock(&c->lock);
		k->creating = false;
		pthread_mutex_unlock(&c->lock);
		ok = container_save(c, k, err);
	}
	if (!ok) {
		container_traces_remove(c, str_c(id));
		table_remove(c, k);
		return err_wrap(err, "create container %.*s", STR_ARG(cfg->name));
	}
	*ret_id = arena_str(a, str_c(id));
	return true;
}

/* ---- start ----------------------------------------------------------------------------------- */

/* conmon answers one line of JSON: {"pid": N} or {"pid": -1, "message": "..."}. */
static bool sync_read(int fd, struct buf *ret, struct err *err) {
	nsec_t until = clock_mono() + CONTAINER_CREATE_TIMEOUT;
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		nsec_t left = until - clock_mono();
		if (left <= 0) {
			return err_set(err, ERR_TIMEOUT, "the container runtime did not answer within 60s");
		}
		if (poll(&p, 1, (int)(left / NSEC_PER_MSEC) + 1) <= 0) {
			continue;
		}
		char *room = buf_reserve(ret, 4096);
		ssize_t n = room ? read(fd, room, 4096) : 0;
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return true;
		}
		ret->len += (size_t)n;
		if (memchr(room, '\n', (size_t)n)) {
			return true;
		}
	}
}

static bool sync_parse(struct str answer, int *ret_pid, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v = NULL;
	struct err ignored = { 0 };

	if (!answer.len || !json_parse(&a, answer, NULL, &v, &ignored)) {
		return err_set(err, ERR_INTERNAL, "the container's monitor (conmon) ended without an answer");
	}
	int64_t pid = get(v, "pid") ? get_int(v, "pid") : get_int(v, "data");
	if (pid > 0 && pid <= INT_MAX) {
		*ret_pid = (int)pid;
		return true;
	}
	struct str said = runtime_said(&a, get_str(v, "message"));
	return err_set(err, ERR_INTERNAL, "failed to create the container: %.*s", STR_ARG(said.len ? said : S("the runtime said nothing")));
}

static bool pid_read(const char *path, int *ret) {
	auto_buf struct buf b = BUF_INIT(64);
	struct err ignored = { 0 };
	return file_read(path, &b, &ignored) && str_to_int(str_trim(buf_view(&b)), 1, INT_MAX, ret);
}

static bool conmon_run(struct cri *c, struct container *k, int *ret_pid, struct err *err) {
	struct path dir = container_dir(c, k->id), pid_file = path_fmt("%s/pid", dir.c), monitor_file = path_fmt("%s/conmon.pid", dir.c),
		    exits = path_fmt("%s/exits", c->state_dir), sockets = path_fmt("%s/s", c->state_dir), oci = path_fmt("%s/oci", c->state_dir),
		    tmp_dir = path_fmt("TMPDIR=%s/tmp", c->state_dir);
	char short_id[17], sync_env[32];
	auto_buf struct buf log = BUF_INIT(PATH_MAX + 16), answer = BUF_INIT(CONTAINER_SYNC_MAX);
	const char *argv[40], *env[6];
	size_t n = 0;
	int p[2];
	pid_t pid;

	snprintf(short_id, sizeof(short_id), "%.16s", k->id);
	buf_printf(&log, k->log_path[0] ? "k8s-file:%s" : "none", k->log_path);
	const char *const words[] = { c->conmon, "--api-version", "1", "-c", k->id, "-u", short_id, "-n", k->id, "-b", dir.c, "-r", c->runtime, "--runtime-arg", "--root",
		"--runtime-arg", oci.c, "-l", buf_cstr(&log), "--exit-dir", exits.c, "-p", pid_file.c, "-P", monitor_file.c, "--socket-dir-path", sockets.c,
		"--no-sync-log" };
	for (; n < ARRAY_LEN(words); n++) {
		argv[n] = words[n];
	}
	if (k->tty) {
		argv[n++] = "-t";
	}
	if (k->stdin) {
		argv[n++] = "-i";
		if (!k->stdin_once) {
			argv[n++] = "--leave-stdin-open";
		}
	}
	argv[n] = NULL;
	if (!pipe_make(p, err)) {
		return false;
	}
	auto_fd int read_end = p[0];
	auto_fd int write_end = p[1];
	snprintf(sync_env, sizeof(sync_env), "_OCI_SYNCPIPE=%d", write_end);
	size_t e = 0;
	env[e++] = sync_env;
	env[e++] = tmp_dir.c;
	env[e++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	env[e] = NULL;
	struct spawn_opts so = { .argv = argv, .env = env, .in = -1, .out = -1, .err_out = -1, .keep = &write_end, .keep_len = 1, .session = true };
	if (!spawn(&so, &pid, err)) {
		return false;
	}
	close_fd_p(&write_end), write_end = -1;
	spawn_reap(pid); /* it forks once more and goes */
	int monitor = 0;
	if (pid_read(monitor_file.c, &monitor)) {
		struct proc m = proc_of(monitor);
		pthread_mutex_lock(&c->lock);
		k->monitor = m;
		pthread_mutex_unlock(&c->lock);
	}
	return sync_read(read_end, &answer, err) && sync_parse(buf_view(&answer), ret_pid, err);
}

/* Moves the monitor out of our own cgroup, beside the start: see holder_join in sandbox.c. */
struct monitor_join {
	struct cri *c;
	int pid;
};

static void monitor_join_run(void *arg) {
	struct monitor_join *j = arg;
	struct path group = path_fmt("%s/conmon", j->c->cgroup_prefix);
	struct err ignored = { 0 };
	(void)!(cgroup_make(&j->c->cgroups, group.c, &ignored) && cgroup_join(&j->c->cgroups, group.c, j->pid, &ignored));
	work_ended(j->c);
	free(j);
}

static void monitor_join(struct cri *c, int pid) {
	struct monitor_join *j = xcalloc(1, sizeof(*j));
	*j = (struct monitor_join){ c, pid };
	work_began(c);
	if (!pool_run(monitor_join_run, j)) {
		monitor_join_run(j);
	}
}

/* What a failed start leaves running. */
static void start_undo(struct cri *c, struct container *k) {
	struct err ignored = { 0 };
	proc_signal(k->monitor, SIGKILL);
	(void)!RUN_RUNTIME(c, &ignored, "delete", "--force", k->id);
	cgroup_kill(&c->cgroups, k->cgroup);
	cgroup_rmdir(&c->cgroups, k->cgroup);
}

static bool start_run(struct cri *c, struct container *k, struct err *err) {
	int pid;
	if (!conmon_run(c, k, &pid, err)) {
		return false;
	}
	struct proc init = proc_of(pid);
	pthread_mutex_lock(&c->lock);
	k->init = init;
	int monitor = k->monitor.pid;
	pthread_mutex_unlock(&c->lock);
	monitor_join(c, monitor);
	return RUN_RUNTIME(c, err, "start", k->id);
}

static void start_failed(struct cri *c, struct container *k, const struct err *why) {
	struct err ignored = { 0 };
	start_undo(c, k);
	pthread_mutex_lock(&c->lock);
	k->starting = false;
	k->state = CRI_CONTAINER_EXITED;
	k->exit_code = CONTAINER_EXIT_START;
	k->started = 0;
	k->finished = clock_wall();
	k->reason = xstrdup("StartError");
	k->message = xstrdup(why->msg);
	pthread_mutex_unlock(&c->lock);
	(void)!container_save(c, k, &ignored);
}

bool cri_container_start(struct cri *c, struct str id, struct err *err) {
	struct container *k;
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	pthread_mutex_lock(&k->work);
	pthread_mutex_lock(&c->lock);
	bool fit = k->state == CRI_CONTAINER_CREATED && !k->removed;
	k->starting = fit;
	pthread_mutex_unlock(&c->lock);
	bool ok = fit || err_set(err, ERR_CONFLICT, "container %.*s was started before", STR_ARG(id));
	if (ok) {
		ok = container_save(c, k, err) && start_run(c, k, err);
		if (ok) {
			pthread_mutex_lock(&c->lock);
			k->starting = false;
			k->state = CRI_CONTAINER_RUNNING;
			k->started = clock_wall();
			int monitor = k->monitor.pid;
			pthread_mutex_unlock(&c->lock);
			ok = container_save(c, k, err);
			monitor_watch_conmon(c, k->id, monitor);
		} else {
			start_failed(c, k, err);
		}
	}
	pthread_mutex_unlock(&k->work);
	(void)container_check_exit(c, k, false); /* it may be over already */
	container_put(c, k);
	return ok;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Frees what the runtime, the kernel and the mount table hold. Under k->work. */
static void container_clear(struct cri *c, struct container *k) {
	struct err err = { 0 };
	struct path dir = container_dir(c, k->id), rootfs = path_fmt("%s/rootfs", dir.c);
	if (k->cleared) {
		return;
	}
	cgroup_kill(&c->cgroups, k->cgroup); /* processes that outlived the first one in a shared namespace */
	if (!RUN_RUNTIME(c, &err, "delete", "--force", k->id)) {
		log_debug("runtime", "runtime delete", kv_c("container", k->id), kv_err(&err));
	}
	cgroup_rmdir(&c->cgroups, k->cgroup);
	mount_drop(rootfs.c);
	k->cleared = true;
}

struct clear {
	struct cri *c;
	struct container *k; /* counted */
};

static void clear_run(void *arg) {
	struct clear *j = arg;
	pthread_mutex_lock(&j->k->work);
	container_clear(j->c, j->k);
	pthread_mutex_unlock(&j->k->work);
	container_put(j->c, j->k);
	work_ended(j->c);
	free(j);
}

static void clear_later(struct cri *c, struct container *k) {
	struct clear *j = xcalloc(1, sizeof(*j));
	*j = (struct clear){ c, k };
	pthread_mutex_lock(&c->lock);
	k->refs++;
	pthread_mutex_unlock(&c->lock);
	work_began(c);
	if (!pool_run(clear_run, j)) {
		clear_run(j);
	}
}

/* False while there is no exit file. conmon renames it into place. */
static bool exit_read(struct cri *c, struct container *k, int *ret_code, int64_t *ret_at) {
	struct path p = exit_path(c, k->id);
	auto_buf struct buf b = BUF_INIT(64);
	struct err ignored = { 0 };
	struct stat st;
	if (stat(p.c, &st) != 0 || !file_read(p.c, &b, &ignored) || !str_to_int(str_trim(buf_view(&b)), -1, 255, ret_code)) {
		return false;
	}
	*ret_at = (int64_t)st.st_mtim.tv_sec * NSEC_PER_SEC + st.st_mtim.tv_nsec;
	return true;
}

bool container_check_exit(struct cri *c, struct container *k, bool monitor_gone) {
	int code = 0;
	int64_t at = 0;

	pthread_mutex_lock(&c->lock);
	enum cri_container_state state = k->state;
	bool starting = k->starting;
	pthread_mutex_unlock(&c->lock);
	if (state != CRI_CONTAINER_RUNNING || starting) {
		return state == CRI_CONTAINER_EXITED;
	}
	bool lost = false;
	if (!exit_read(c, k, &code, &at)) {
		if (!monitor_gone) {
			return false;
		}
		lost = true;
		code = CONTAINER_EXIT_LOST;
		at = clock_wall();
		proc_signal(k->init, SIGKILL);
	}
	bool oom = code == 137 && !lost && cgroup_oom_kills(&c->cgroups, k->cgroup) > 0;
	pthread_mutex_lock(&c->lock);
	bool first = k->state == CRI_CONTAINER_RUNNING;
	if (first) {
		k->state = CRI_CONTAINER_EXITED;
		k->exit_code = code < 0 ? CONTAINER_EXIT_LOST : code;
		k->finished = MAX(at, k->started);
		k->oom_killed = oom;
		if (lost) {
			k->reason = xstrdup("ContainerStatusUnknown");
			k->message = xstrdup("the container's monitor (conmon) ended before it could tell the exit code");
		}
	}
	pthread_mutex_unlock(&c->lock);
	if (first) {
		struct err err = { 0 };
		if (!container_save(c, k, &err)) {
			log_warn("runtime", "container record not written", kv_c("container", k->id), kv_err(&err));
		}
		clear_later(c, k);
		if (c->on_exit && !c->adopting) {
			c->on_exit(c->arg, str_c(k->id), false);
		}
		monitor_wake(c);
	}
	return true;
}

static bool container_running(struct cri *c, struct container *k) {
	pthread_mutex_lock(&c->lock);
	bool running = k->state == CRI_CONTAINER_RUNNING;
	pthread_mutex_unlock(&c->lock);
	return running;
}

static void container_kill(struct cri *c, struct container *k) {
	proc_signal(k->init, SIGKILL);
	if (!k->own_pid_ns) {
		cgroup_kill(&c->cgroups, k->cgroup);
	}
}

bool container_end(struct cri *c, struct container *k, nsec_t grace, struct err *err) {
	if (!container_running(c, k) || container_check_exit(c, k, false)) {
		return true;
	}
	if (grace > 0) {
		proc_signal(k->init, k->stop_signal);
		if (monitor_wait_exit(c, k, clock_mono() + grace)) {
			return true;
		}
	}
	container_kill(c, k);
	if (monitor_wait_exit(c, k, clock_mono() + CONTAINER_KILL_TIMEOUT)) {
		return true;
	}
	if (!proc_alive(k->init)) {
		(void)container_check_exit(c, k, true); /* its monitor hangs */
		proc_signal(k->monitor, SIGKILL);
		return true;
	}
	return err_set(err, ERR_TIMEOUT, "container %s did not end within 30s of SIGKILL: process %d is stuck in the kernel", k->id, k->init.pid);
}

bool cri_container_stop(struct cri *c, struct str id, nsec_t grace, struct err *err) {
	struct container *k = container_get(c, id);
	if (!k) {
		return true;
	}
	bool ok = container_end(c, k, grace, err);
	container_put(c, k);
	return ok;
}

bool cri_container_signal(struct cri *c, struct str id, int sig, struct err *err) {
	struct container *k;
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	bool ok = (container_running(c, k) && proc_signal(k->init, sig)) || err_set(err, ERR_CONFLICT, "container %.*s does not run", STR_ARG(id));
	container_put(c, k);
	return ok;
}

void container_traces_remove(struct cri *c, struct str id) {
	struct err err = { 0 };
	char *name = str_dup(id);
	struct path dir = container_dir(c, name), layer = container_layer(c, name), rootfs = path_fmt("%s/rootfs", dir.c), code = exit_path(c, name);
	char short_id[17];

	mount_drop(rootfs.c);
	unlink(code.c);
	snprintf(short_id, sizeof(short_id), "%.16s", name);
	unlink(path_fmt("%s/s/%s", c->state_dir, short_id).c);
	if (!dir_remove(layer.c, &err) || !dir_remove(dir.c, &err)) {
		log_warn("runtime", "container folder stays", kv_str("container", id), kv_err(&err));
	}
	free(name);
}

bool container_delete(struct cri *c, struct container *k, struct err *err) {
	if (!container_end(c, k, 0, err)) {
		return false;
	}
	pthread_mutex_lock(&k->work);
	if (k->started || k->starting || k->monitor.pid) {
		container_clear(c, k);
	}
	pthread_mutex_lock(&k->save);
	if (!k->gone) {
		k->gone = true;
		container_traces_remove(c, str_c(k->id));
	}
	pthread_mutex_unlock(&k->save);
	pthread_mutex_unlock(&k->work);
	table_remove(c, k);
	return true;
}

bool cri_container_remove(struct cri *c, struct str id, struct err *err) {
	struct container *k = container_get(c, id);
	if (!k) {
		return true;
	}
	bool ok = container_delete(c, k, err);
	container_put(c, k);
	return ok;
}

/* ---- looking --------------------------------------------------------------------------------- */

static void status_fill(struct cri *c, struct arena *a, struct container *k, struct cri_container_status *ret) {
	const struct value *v = k->config->root;
	pthread_mutex_lock(&c->lock);
	const char *reason = k->reason ? k->reason
	                     : k->state != CRI_CONTAINER_EXITED ? ""
	                     : k->oom_killed                    ? "OOMKilled"
	                     : k->exit_code == 0                ? "Completed"
	                                                        : "Error";
	*ret = (struct cri_container_status){
		.state = k->state,
		.pid = k->state == CRI_CONTAINER_RUNNING ? k->init.pid : 0,
		.exit_code = k->exit_code,
		.started = k->started,
		.finished = k->finished,
		.oom_killed = k->oom_killed,
		.reason = arena_str(a, str_c(reason)),
		.message = arena_str(a, str_c(k->message)),
	};
	record_to_resources(a, k->resources ? k->resources->root : get(v, "resources"), &ret->resources);
	pthread_mutex_unlock(&c->lock);
	ret->id = arena_str(a, str_c(k->id));
	ret->sandbox_id = arena_str(a, str_c(k->sandbox_id));
	ret->name = arena_str(a, get_str(v, "name"));
	ret->attempt = (uint32_t)get_int(v, "attempt");
	ret->created = k->created;
	ret->image = arena_str(a, get_str(v, "image"));
	ret->image_id = arena_str(a, str_c(k->image_id));
	ret->image_ref = arena_str(a, get_str(v, "imageRef"));
	ret->log_path = arena_str(a, str_c(k->log_path));
	ret->labels = record_to_kvs(a, get(v, "labels"));
	ret->annotations = record_to_kvs(a, get(v, "annotations"));
	ret->tty = k->tty;
	ret->stdin = k->stdin;
	ret->stdin_once = k->stdin_once;
	ret->uid = k->uid;
	ret->gid = k->gid;
}

bool cri_container_status(struct cri *c, struct arena *a, struct str id, struct cri_container_status *ret, struct err *err) {
	struct container *k;
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	(void)container_check_exit(c, k, false);
	status_fill(c, a, k, ret);
	container_put(c, k);
	return true;
}

static int by_created(const void *x, const void *y) {
	const struct cri_container_status *p = x, *q = y;
	return p->created != q->created ? (p->created < q->created ? -1 : 1) : str_cmp(p->id, q->id);
}

bool cri_container_list(struct cri *c, struct arena *a, struct str sandbox_id, struct cri_containers *ret, struct err *err) {
	size_t n, shown = 0;
	struct container **all = containers_of(c, a, sandbox_id, &n);
	ret->at = arena_array(a, struct cri_container_status, n);
	for (size_t i = 0; i < n; i++) {
		if (!all[i]->creating) {
			status_fill(c, a, all[i], &ret->at[shown++]);
		}
		container_put(c, all[i]);
	}
	ret->len = shown;
	if (shown > 1) {
		qsort(ret->at, shown, sizeof(*ret->at), by_created);
	}
	return true;
}

bool cri_container_update(struct cri *c, struct str id, const struct cri_resources *res, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct container *k;
	struct cri_resources now;

	if (!container_find(c, id, &k, err)) {
		return false;
	}
	pthread_mutex_lock(&c->lock);
	bool running = k->state == CRI_CONTAINER_RUNNING;
	record_to_resources(&a, k->resources ? k->resources->root : get(k->config->root, "resources"), &now);
	pthread_mutex_unlock(&c->lock);
	bool ok = running || err_set(err, ERR_CONFLICT, "container %.*s does not run", STR_ARG(id));
	if (ok && res->memory_limit > 0 && !res->memory_swap_limit) {
		struct cri_resources with = *res;
		with.memory_swap_limit = res->memory_limit; /* as at creation: no swap beside the memory */
		ok = cgroup_apply(&c->cgroups, k->cgroup, &with, err);
	} else if (ok) {
		ok = cgroup_apply(&c->cgroups, k->cgroup, res, err);
	}
	if (ok) {
		/* Zero means "not set": what was set before stays. */
		now.cpu_shares = res->cpu_shares ? res->cpu_shares : now.cpu_shares;
		now.cpu_quota_us = res->cpu_quota_us ? res->cpu_quota_us : now.cpu_quota_us;
		now.cpu_period_us = res->cpu_period_us ? res->cpu_period_us : now.cpu_period_us;
		now.memory_limit = res->memory_limit ? res->memory_limit : now.memory_limit;
		now.memory_swap_limit = res->memory_swap_limit ? res->memory_swap_limit : now.memory_swap_limit;
		now.pids_limit = res->pids_limit ? res->pids_limit : now.pids_limit;
		now.cpuset_cpus = res->cpuset_cpus.len ? res->cpuset_cpus : now.cpuset_cpus;
		now.cpuset_mems = res->cpuset_mems.len ? res->cpuset_mems : now.cpuset_mems;
		struct obj *frozen = obj_freeze(record_resources(&a, &now), 0);
		pthread_mutex_lock(&c->lock);
		obj_unref(k->resources);
		k->resources = frozen;
		pthread_mutex_unlock(&c->lock);
		ok = container_save(c, k, err);
	}
	container_put(c, k);
	return ok;
}

bool cri_container_reopen_log(struct cri *c, struct str id, struct err *err) {
	struct container *k;
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	struct path ctl = path_fmt("%s/ctl", container_dir(c, k->id).c);
	auto_fd int fd = open(ctl.c, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, "2 0 0\n", 6) == 6;
	ok = ok || err_sys(err, "tell the monitor of %.*s to reopen the log", STR_ARG(id));
	container_put(c, k);
	return ok;
}

/* ---- statistics ------------------------------------------------------------------------------ */

bool cri_container_stats(struct cri *c, struct str id, struct cri_stats *ret, struct err *err) {
	struct container *k;
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	bool ok = cgroup_stats(&c->cgroups, k->cgroup, ret, err);
	if (ok) {
		pthread_mutex_lock(&c->lock);
		bool fresh = k->usage_at && clock_mono() - k->usage_at < CONTAINER_USAGE_AGE;
		ret->rootfs_bytes = k->usage_bytes;
		ret->rootfs_inodes = k->usage_inodes;
		pthread_mutex_unlock(&c->lock);
		if (!fresh) {
			struct path upper = path_fmt("%s/upper", container_layer(c, k->id).c);
			dir_usage(upper.c, &ret->rootfs_bytes, &ret->rootfs_inodes);
			pthread_mutex_lock(&c->lock);
			k->usage_at = clock_mono();
			k->usage_bytes = ret->rootfs_bytes;
			k->usage_inodes = ret->rootfs_inodes;
			pthread_mutex_unlock(&c->lock);
		}
	}
	container_put(c, k);
	return ok;
}

/* ---- adoption -------------------------------------------------------------------------------- */

/* A start that was cut off: what runs by now is kept, anything less is an end. */
static void adopt_starting(struct cri *c, struct container *k) {
	struct path dir = container_dir(c, k->id);
	struct path pid_file = path_fmt("%s/pid", dir.c), monitor_file = path_fmt("%s/conmon.pid", dir.c), root = path_fmt("%s/oci", c->state_dir);
	int pid, monitor;

	k->starting = false;
	if (pid_read(pid_file.c, &pid) && pid_read(monitor_file.c, &monitor)) {
		const char *const argv[] = { c->runtime, "--root", root.c, "state", k->id, NULL };
		struct run_result r = { 0 };
		struct run_opts opts = { .timeout = 20 * NSEC_PER_SEC };
		struct err ignored = { 0 };
		auto_arena struct arena a = { 0 };
		struct value *v = NULL;
		k->init = proc_of(pid);
		k->monitor = proc_of(monitor);
		bool running = run_program(argv, &opts, &r, &ignored) && r.status == 0 && json_parse(&a, buf_view(&r.out), NULL, &v, &ignored) &&
			str_eq(get_str(v, "status"), S("running"));
		run_result_release(&r);
		if (running && proc_alive(k->monitor)) {
			k->state = CRI_CONTAINER_RUNNING;
			k->started = clock_wall();
			return;
		}
	}
	struct err why = { 0 };
	err_set(&why, ERR_INTERNAL, "the start was interrupted");
	start_failed(c, k, &why);
}

static void adopt_state(struct cri *c, struct container *k, const struct value *now, bool same_boot) {
	struct str state = get_str(now, "state");

	k->init = same_boot ? proc_get(now, "init") : (struct proc){ 0 };
	k->monitor = same_boot ? proc_get(now, "monitor") : (struct proc){ 0 };
	k->started = get_int(now, "started");
	k->finished = get_int(now, "finished");
	k->exit_code = (int)get_int(now, "exitCode");
	k->oom_killed = get_bool(now, "oomKilled");
	k->reason = get_str(now, "reason").len ? str_dup(get_str(now, "reason")) : NULL;
	k->message = get_str(now, "message").len ? str_dup(get_str(now, "message")) : NULL;
	k->uid = get_int(now, "uid");
	k->gid = get_int(now, "gid");
	k->stop_signal = (int)get_int(now, "stopSignal");
	for (size_t i = 0; i < ARRAY_LEN(state_names); i++) {
		if (str_eqc(state, state_names[i])) {
			k->state = (enum cri_container_state)i;
		}
	}
	if (str_eq(state, S("starting"))) {
		adopt_starting(c, k);
	}
}

bool container_adopt(struct cri *c, struct str id, bool same_boot, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v;
	char *name = str_dup(id);
	struct path record = path_fmt("%s/container.json", container_dir(c, name).c);
	free(name);
	if (!record_read(&a, record.c, &v, err)) {
		return false;
	}
	struct value *now = value_copy(&a, get(v, "now"));
	if (!str_eq(get_str(v, "id"), id) || !now) {
		return err_set(err, ERR_INVALID, "record %s is not whole", record.c);
	}
	if (str_eq(get_str(now, "state"), S("creating"))) {
		return err_set(err, ERR_INVALID, "the container was never finished");
	}
	value_remove_key(v, S("now"));
	struct container *k = container_of_config(v);
	adopt_state(c, k, now, same_boot);
	table_add(c, k);
	if (k->state == CRI_CONTAINER_RUNNING) {
		/* Its end may have come while nobody looked. */
		if (!container_check_exit(c, k, !proc_alive(k->monitor))) {
			monitor_watch_conmon(c, k->id, k->monitor.pid);
		}
	}
	return true;
}
