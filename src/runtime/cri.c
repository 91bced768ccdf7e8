/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri.c - opens the runtime: finds the programs it needs, makes its folders, adopts what runs. Holds the
 * tables of sandboxes and containers. See cri.h for what callers see, runtime.h for the locking.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "net/digest.h"
#include "runtime/programs.h"
#include "runtime/runtime.h"

#define RUNTIME_NOFILE_MAX ((uint64_t)1048576)

/* ---- processes ------------------------------------------------------------------------------- */

/* proc(5): the second field may hold spaces and brackets, so count from its last bracket. */
static bool proc_stat(int pid, char *ret_state, uint64_t *ret_started) {
	struct path p = path_fmt("/proc/%d/stat", pid);
	char text[1024];
	auto_fd int fd = open(p.c, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (n <= 0) {
		return false;
	}
	struct str rest = { text, (size_t)n }, item = { 0 };
	ptrdiff_t close_at = str_rindex(rest, ')');
	if (close_at < 0) {
		return false;
	}
	rest = str_from(rest, (size_t)close_at + 2);
	*ret_state = rest.len ? rest.ptr[0] : 'X';
	for (int field = 3; field <= 22; field++) {
		if (!str_next(&rest, ' ', &item)) {
			return false;
		}
	}
	return str_to_u64(item, ret_started);
}

struct proc proc_of(int pid) {
	struct proc p = { .pid = pid };
	char state;
	return pid > 0 && proc_stat(pid, &state, &p.started) ? p : (struct proc){ 0 };
}

bool proc_alive(struct proc p) {
	uint64_t started;
	char state;
	return p.pid > 0 && proc_stat(p.pid, &state, &started) && started == p.started && state != 'Z' && state != 'X';
}

bool proc_signal(struct proc p, int sig) {
	return proc_alive(p) && kill(p.pid, sig) == 0;
}

/* ---- tables ---------------------------------------------------------------------------------- */

void id_make(char out[RUNTIME_ID_LEN + 1]) {
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[RUNTIME_ID_LEN / 2];
	random_bytes(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[RUNTIME_ID_LEN] = 0;
}

struct sandbox *sandbox_get(struct cri *c, struct str id) {
	pthread_mutex_lock(&c->lock);
	struct sandbox *s = map_get(&c->sandboxes, id);
	if (s) {
		s->refs++;
	}
	pthread_mutex_unlock(&c->lock);
	return s;
}

void sandbox_put(struct cri *c, struct sandbox *s) {
	if (!s) {
		return;
	}
	pthread_mutex_lock(&c->lock);
	bool last = --s->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (last) {
		sandbox_free(s);
	}
}

struct container *container_get(struct cri *c, struct str id) {
	pthread_mutex_lock(&c->lock);
	struct container *k = map_get(&c->containers, id);
	if (k) {
		k->refs++;
	}
	pthread_mutex_unlock(&c->lock);
	return k;
}

void container_put(struct cri *c, struct container *k) {
	if (!k) {
		return;
	}
	pthread_mutex_lock(&c->lock);
	bool last = --k->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (last) {
		container_free(k);
	}
}

bool container_find(struct cri *c, struct str id, struct container **ret, struct err *err) {
	*ret = container_get(c, id);
	return *ret || err_set(err, ERR_NOT_FOUND, "container \"%.*s\" not found", STR_ARG(id));
}

bool sandbox_find(struct cri *c, struct str id, struct sandbox **ret, struct err *err) {
	*ret = sandbox_get(c, id);
	return *ret || err_set(err, ERR_NOT_FOUND, "sandbox \"%.*s\" not found", STR_ARG(id));
}

struct container **containers_of(struct cri *c, struct arena *a, struct str sandbox_id, size_t *ret_len) {
	size_t n = 0;
	pthread_mutex_lock(&c->lock);
	struct container **all = arena_array(a, struct container *, c->containers.len);
	MAP_EACH(&c->containers, e) {
		struct container *k = e->value;
		if (!sandbox_id.len || str_eqc(sandbox_id, k->sandbox_id)) {
			all[n++] = k;
			k->refs++;
		}
	}
	pthread_mutex_unlock(&c->lock);
	*ret_len = n;
	return all;
}

void work_began(struct cri *c) {
	pthread_mutex_lock(&c->lock);
	c->working++;
	pthread_mutex_unlock(&c->lock);
}

void work_ended(struct cri *c) {
	pthread_mutex_lock(&c->lock);
	if (--c->working == 0) {
		pthread_cond_broadcast(&c->idle);
	}
	pthread_mutex_unlock(&c->lock);
}

/* ---- programs -------------------------------------------------------------------------------- */

static char *find_program(struct str given, const char *name) {
	static const char *const dirs[] = { "/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/libexec/podman", "/usr/lib/podman" };
	if (given.len) {
		char *path = str_dup(given);
		if (access(path, X_OK) == 0) {
			return path;
		}
		free(path);
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		char *path = xasprintf("%s/%s", dirs[i], name);
		if (access(path, X_OK) == 0) {
			return path;
		}
		free(path);
	}
	return NULL;
}

/* "crun version 1.8.1", "runc version 1.1.5+ds1", "conmon version 2.1.6": the word after "version". NULL: it cannot run. */
static char *program_version(const char *path) {
	const char *const argv[] = { path, "--version", NULL };
	struct run_opts opts = { .timeout = 10 * NSEC_PER_SEC };
	struct run_result r = { 0 };
	struct err ignored = { 0 };
	char *ret = NULL;
	if (run_program(argv, &opts, &r, &ignored) && r.status == 0) {
		struct str line, text = buf_view(&r.out);
		str_cut(text, '\n', &line, &text);
		ptrdiff_t at = str_find(line, S("version "));
		ret = str_dup(at < 0 ? S("unknown") : str_trim(str_from(line, (size_t)at + 8)));
	}
	run_result_release(&r);
	return ret;
}

static bool program_write(const char *path, const unsigned char *bytes, size_t len, struct err *err) {
	struct path tmp = path_fmt("%s.new", path);
	auto_buf struct buf had = BUF_INIT(1 << 20);
	struct err ignored = { 0 };
	if (file_read(path, &had, &ignored) && had.len == len && memcmp(had.ptr, bytes, len) == 0) {
		return true;
	}
	unlink(tmp.c);
	{
		auto_fd int fd = open(tmp.c, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
		if (fd < 0 || write(fd, bytes, len) != (ssize_t)len || fchmod(fd, 0755) != 0) {
			return err_sys(err, "write %s", tmp.c);
		}
	}
	return rename(tmp.c, path) == 0 || err_sys(err, "rename %s", tmp.c);
}

/* Whether this kernel lets crun live beside the leftover hierarchy: the wrapper must be able to run at all. */
static bool wrapper_make(struct cri *c, struct err *err) {
	struct path at = path_fmt("%s/bin/crun", c->state_dir), link = path_fmt("%s/bin/crun.real", c->state_dir);
	if (!program_write(at.c, program_crun_hybrid, program_crun_hybrid_len, err)) {
		return false;
	}
	unlink(link.c);
	if (symlink(c->runtime_real, link.c) != 0) {
		return err_sys(err, "link %s", link.c);
	}
	free(c->runtime);
	c->runtime = xstrdup(at.c);
	char *version = program_version(c->runtime);
	bool ok = version != NULL;
	free(version);
	return ok || err_set(err, ERR_UNAVAILABLE, "crun cannot be started in a mount namespace of its own");
}

static bool runtime_take(struct cri *c, const struct cri_opts *opts, const char *name) {
	struct err err = { 0 };
	free(c->runtime_real);
	free(c->runtime);
	free(c->runtime_version);
	c->runtime_real = c->runtime = c->runtime_version = NULL;
	char *path = find_program(opts->runtime_path, name);
	char *version = path ? program_version(path) : NULL;
	if (!version) {
		free(path);
		return false;
	}
	c->runtime_real = path;
	c->runtime = xstrdup(path);
	c->runtime_version = version;
	free(c->runtime_name);
	c->runtime_name = xstrdup(name);
	if (strcmp(name, "crun") == 0 && c->cgroups.leftover && !wrapper_make(c, &err)) {
		log_warn("runtime", "crun does not work with these cgroups", kv_err(&err));
		return false;
	}
	return true;
}

static bool programs_find(struct cri *c, const struct cri_opts *opts, struct err *err) {
	const char *const wanted[] = { opts->runtime != CRI_RUNTIME_RUNC ? "crun" : NULL, opts->runtime != CRI_RUNTIME_CRUN ? "runc" : NULL };
	bool found = false;
	for (size_t i = 0; i < ARRAY_LEN(wanted) && !found; i++) {
		found = wanted[i] && runtime_take(c, opts, wanted[i]);
	}
	if (!found) {
		return err_set(err, ERR_UNAVAILABLE, "no container runtime that works was found%s%.*s; install one: apt-get install crun (or runc)",
			opts->runtime_path.len ? " at " : "", STR_ARG(opts->runtime_path));
	}
	c->conmon = find_program(opts->conmon_path, "conmon");
	c->conmon_version = c->conmon ? program_version(c->conmon) : NULL;
	if (!c->conmon_version) {
		return err_set(err, ERR_UNAVAILABLE, "conmon was not found%s%.*s; install it: apt-get install conmon", opts->conmon_path.len ? " at " : "",
			STR_ARG(opts->conmon_path));
	}
	return true;
}

/* ---- the machine ------------------------------------------------------------------------------- */

/* Without CAP_SYS_RESOURCE, no process may be protected better than we are. */
static void limits_find(struct cri *c) {
	auto_buf struct buf status = BUF_INIT(64 << 10), score = BUF_INIT(64);
	struct err ignored = { 0 };
	struct rlimit nofile;
	bool can = false;

	if (file_read("/proc/self/status", &status, &ignored)) {
		struct str rest = buf_view(&status), line;
		while (str_next(&rest, '\n', &line)) {
			if (str_starts(line, S("CapEff:"))) {
				char hex[32];
				snprintf(hex, sizeof(hex), "%.*s", STR_ARG(str_trim(str_from(line, 7))));
				can = strtoull(hex, NULL, 16) >> 24 & 1; /* CAP_SYS_RESOURCE */
			}
		}
	}
	c->oom_score_adj_min = -1000;
	if (!can && (!file_read("/proc/self/oom_score_adj", &score, &ignored) || !str_to_int(str_trim(buf_view(&score)), -1000, 1000, &c->oom_score_adj_min))) {
		c->oom_score_adj_min = 0;
	}
	c->nofile_max = 1024;
	if (getrlimit(RLIMIT_NOFILE, &nofile) == 0) {
		c->nofile_max = can ? RUNTIME_NOFILE_MAX : MIN((uint64_t)nofile.rlim_max, RUNTIME_NOFILE_MAX);
	}
}

static bool folders_make(struct cri *c, struct err *err) {
	static const struct {
		const char *name;
		mode_t mode;
	} state[] = { { "sandboxes", 0711 }, { "containers", 0711 }, { "netns", 0711 }, { "exits", 0700 }, { "s", 0700 }, { "oci", 0700 }, { "bin", 0711 },
		{ "tmp", 0700 }, { "holder", 0755 } };
	for (size_t i = 0; i < ARRAY_LEN(state); i++) {
		if (!dir_make(path_fmt("%s/%s", c->state_dir, state[i].name).c, state[i].mode, err)) {
			return false;
		}
	}
	return dir_make(path_fmt("%s/containers", c->root_dir).c, 0700, err) &&
	       program_write(path_fmt("%s/holder/pause", c->state_dir).c, program_pause, program_pause_len, err);
}

/* After the machine started anew, numbers of processes mean nothing. */
static bool boot_same(struct cri *c) {
	auto_buf struct buf now = BUF_INIT(256), then = BUF_INIT(256);
	struct path at = path_fmt("%s/boot_id", c->state_dir);
	struct err ignored = { 0 };
	if (!file_read("/proc/sys/kernel/random/boot_id", &now, &ignored)) {
		return true;
	}
	bool same = !file_read(at.c, &then, &ignored) || str_eq(buf_view(&now), buf_view(&then));
	(void)!file_write(at.c, buf_view(&now), 0600, &ignored);
	return same;
}

/* ---- adoption ---------------------------------------------------------------------------------- */

/* Names in a folder; copies in the arena. */
static size_t names_in(struct arena *a, const char *dir, struct str **ret) {
	VEC(struct str) names = { 0 };
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] != '.') {
			VEC_PUSH(&names, arena_str(a, str_c(e->d_name)));
		}
	}
	if (d) {
		closedir(d);
	}
	*ret = arena_array(a, struct str, names.len);
	if (names.len) {
		memcpy(*ret, names.at, names.len * sizeof(struct str));
	}
	size_t n = names.len;
	VEC_RELEASE(&names);
	return n;
}

static void adopt_all(struct cri *c, bool same_boot) {
	auto_arena struct arena a = { 0 };
	struct str *names;
	struct err err = { 0 };

	size_t n = names_in(&a, path_fmt("%s/sandboxes", c->state_dir).c, &names);
	for (size_t i = 0; i < n; i++) {
		if (!sandbox_adopt(c, names[i], same_boot, &err)) {
			log_warn("runtime", "half-made sandbox removed", kv_str("sandbox", names[i]), kv_err(&err));
			sandbox_traces_remove(c, names[i]);
		}
	}
	n = names_in(&a, path_fmt("%s/netns", c->state_dir).c, &names);
	for (size_t i = 0; i < n; i++) {
		if (!map_get(&c->sandboxes, names[i])) {
			sandbox_traces_remove(c, names[i]);
		}
	}
	n = names_in(&a, path_fmt("%s/containers", c->state_dir).c, &names);
	for (size_t i = 0; i < n; i++) {
		if (!container_adopt(c, names[i], same_boot, &err)) {
			char *id = str_dup(names[i]);
			log_warn("runtime", "half-made container removed", kv_str("container", names[i]), kv_err(&err));
			(void)!RUN_RUNTIME(c, &err, "delete", "--force", id);
			free(id);
			container_traces_remove(c, names[i]);
		}
	}
	n = names_in(&a, path_fmt("%s/containers", c->root_dir).c, &names);
	for (size_t i = 0; i < n; i++) {
		if (!map_get(&c->containers, names[i])) {
			container_traces_remove(c, names[i]);
		}
	}
	n = names_in(&a, path_fmt("%s/exits", c->state_dir).c, &names);
	for (size_t i = 0; i < n; i++) {
		if (!map_get(&c->containers, names[i])) {
			unlink(path_fmt("%s/exits/%.*s", c->state_dir, STR_ARG(names[i])).c);
		}
	}
}

/* Holders whose sandbox was never written down: known by their root folder, which nobody else has. */
static void holders_sweep(struct cri *c) {
	struct path home = path_fmt("%s/holder", c->state_dir);
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d));) {
		char at[RUNTIME_PATH_MAX];
		int pid;
		if (!str_to_int(str_c(e->d_name), 2, INT_MAX, &pid)) {
			continue;
		}
		ssize_t n = readlink(path_fmt("/proc/%d/root", pid).c, at, sizeof(at));
		bool known = n <= 0 || !str_eq((struct str){ at, (size_t)n }, str_c(home.c));
		MAP_EACH(&c->sandboxes, s) {
			known = known || ((struct sandbox *)s->value)->holder.pid == pid;
		}
		if (!known) {
			kill(pid, SIGKILL);
		}
	}
	if (d) {
		closedir(d);
	}
}

static void holders_watch(struct cri *c) {
	MAP_EACH(&c->sandboxes, e) {
		struct sandbox *s = e->value;
		if (proc_alive(s->holder)) {
			monitor_watch_holder(c, s->id, s->holder.pid, false);
		}
	}
}

/* ---- open and free ----------------------------------------------------------------------------- */

static char *dir_text(struct str s) {
	while (s.len > 1 && s.ptr[s.len - 1] == '/') {
		s.len--;
	}
	return str_dup(s);
}

static bool open_steps(struct cri *c, const struct cri_opts *opts, struct err *err) {
	struct image_store_opts images = {
		.root_dir = str_c(c->root_dir),
		.self_path = opts->self_path,
		.insecure = opts->insecure_registries,
		.insecure_len = opts->insecure_registries_len,
		.ca_file = opts->registry_ca_file,
		.in_use = container_uses_image,
		.arg = c,
	};
	if (!cgroups_detect(&c->cgroups, err) || !folders_make(c, err) || !programs_find(c, opts, err) || !image_store_open(&images, &c->images, err)) {
		return false;
	}
	limits_find(c);
	cgroups_prepare(&c->cgroups);
	if (!overlay_check(c->root_dir, err)) {
		return false;
	}
	bool same = boot_same(c);
	if (!monitor_start(c, err)) {
		return false;
	}
	c->adopting = true;
	adopt_all(c, same);
	c->adopting = false;
	holders_sweep(c);
	holders_watch(c);
	return true;
}

bool cri_open(const struct cri_opts *opts, struct cri **ret, struct err *err) {
	if (geteuid() != 0) {
		return err_set(err, ERR_UNAVAILABLE, "running containers needs root; start it with sudo");
	}
	if (!opts->root_dir.len || !opts->state_dir.len || opts->root_dir.ptr[0] != '/' || opts->state_dir.ptr[0] != '/') {
		return err_set(err, ERR_INVALID, "the runtime's root and state folders must be absolute paths");
	}
	if (opts->state_dir.len > RUNTIME_STATE_DIR_MAX || opts->root_dir.len > 200) {
		return err_set(err, ERR_INVALID, "state folder \"%.*s\" is longer than %d bytes (sockets below it could not be named)", STR_ARG(opts->state_dir),
			RUNTIME_STATE_DIR_MAX);
	}
	if (!cgroup_path_valid(opts->cgroup_prefix)) {
		return err_set(err, ERR_INVALID, "cgroup prefix \"%.*s\" is not an absolute path", STR_ARG(opts->cgroup_prefix));
	}
	struct cri *c = xcalloc(1, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->idle, NULL);
	c->root_dir = dir_text(opts->root_dir);
	c->state_dir = dir_text(opts->state_dir);
	c->cgroup_prefix = dir_text(opts->cgroup_prefix);
	c->arg = opts->arg;
	c->on_exit = opts->on_exit;
	if (!open_steps(c, opts, err)) {
		cri_free(c);
		return false;
	}
	*ret = c;
	return true;
}

void cri_free(struct cri *c) {
	if (!c) {
		return;
	}
	monitor_stop(c);
	pthread_mutex_lock(&c->lock);
	while (c->working) {
		pthread_cond_wait(&c->idle, &c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	MAP_EACH(&c->containers, e) {
		container_free(e->value);
	}
	map_release(&c->containers);
	MAP_EACH(&c->sandboxes, e) {
		sandbox_free(e->value);
	}
	map_release(&c->sandboxes);
	image_store_free(c->images);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->idle);
	free(c->root_dir);
	free(c->state_dir);
	free(c->cgroup_prefix);
	free(c->runtime_name);
	free(c->runtime_version);
	free(c->conmon_version);
	free(c->runtime_real);
	free(c->runtime);
	free(c->conmon);
	free(c);
}

struct image_store *cri_images(struct cri *c) {
	return c->images;
}

void cri_version(struct cri *c, struct cri_version *ret) {
	*ret = (struct cri_version){ str_c(c->runtime_name), str_c(c->runtime_version), str_c(c->conmon_version), str_c(cgroup_mode_text(c->cgroups.mode)) };
}

/* ---- cgroups above containers ------------------------------------------------------------------- */

static bool group_path(struct str path, struct path *ret, struct err *err) {
	if (!cgroup_path_valid(path)) {
		return err_set(err, ERR_INVALID, "cgroup \"%.*s\" is not an absolute path of at most 300 bytes", STR_ARG(path));
	}
	*ret = path_fmt("%.*s", STR_ARG(path));
	return true;
}

bool cri_cgroup_set(struct cri *c, struct str path, const struct cri_resources *res, struct err *err) {
	struct path p;
	return group_path(path, &p, err) && cgroup_make(&c->cgroups, p.c, err) && (!res || cgroup_apply(&c->cgroups, p.c, res, err));
}

bool cri_cgroup_remove(struct cri *c, struct str path, struct err *err) {
	struct path p;
	return group_path(path, &p, err) && cgroup_remove(&c->cgroups, p.c, err);
}

bool cri_cgroup_stats(struct cri *c, struct str path, struct cri_stats *ret, struct err *err) {
	struct path p;
	return group_path(path, &p, err) && cgroup_stats(&c->cgroups, p.c, ret, err);
}

bool cri_cgroup_children(struct cri *c, struct arena *a, struct str path, struct cri_strs *ret, struct err *err) {
	struct path p;
	VEC(struct str) names = { 0 };
	if (!group_path(path, &p, err)) {
		return false;
	}
	for (size_t i = 0; i < c->cgroups.len; i++) {
		DIR *d = opendir(path_fmt("%s%s", c->cgroups.at[i].mount, p.c).c);
		for (struct dirent *e; d && (e = readdir(d));) {
			bool known = e->d_type != DT_DIR || e->d_name[0] == '.';
			VEC_EACH(&names, n) {
				known = known || str_eqc(*n, e->d_name);
			}
			if (!known) {
				VEC_PUSH(&names, arena_str(a, str_c(e->d_name)));
			}
		}
		if (d) {
			closedir(d);
		}
	}
	struct str *at = arena_array(a, struct str, names.len);
	if (names.len) {
		memcpy(at, names.at, names.len * sizeof(*at));
	}
	*ret = (struct cri_strs){ at, names.len };
	VEC_RELEASE(&names);
	return true;
}
