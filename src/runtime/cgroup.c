/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - see cgroup.h. Called by sandboxes, containers and, through cri.h, by the kubelet for the
 * groups above them. Touches /sys/fs/cgroup (or where the hierarchies are mounted) and nothing else.
 */
#include "runtime/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/vec.h"

/* ---- detection ------------------------------------------------------------------------------- */

static void hierarchy_add(struct cgroups *cg, struct str mount, struct str controllers, bool v2) {
	if (cg->len == CGROUP_HIERARCHIES_MAX || mount.len >= sizeof(cg->at[0].mount) || controllers.len + 3 > sizeof(cg->at[0].controllers)) {
		return;
	}
	struct cgroup_hierarchy *h = &cg->at[cg->len++];
	snprintf(h->mount, sizeof(h->mount), "%.*s", STR_ARG(mount));
	snprintf(h->controllers, sizeof(h->controllers), ",%.*s,", STR_ARG(controllers));
	h->v2 = v2;
}

/* The super options of a v1 mount hold its controllers beside flags such as "rw". */
static struct str controllers_of(struct arena *a, struct str options) {
	static const char *const flags[] = { "rw", "ro", "xattr", "noprefix", "clone_children", "none", "favordynmods", "cpuset_v2_mode" };
	struct str rest = options, item;
	struct str ret = S("");
	while (str_next(&rest, ',', &item)) {
		bool flag = str_starts(item, S("release_agent=")) || !item.len;
		for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
			flag = flag || str_eqc(item, flags[i]);
		}
		if (!flag) {
			ret = ret.len ? arena_printf(a, "%.*s,%.*s", STR_ARG(ret), STR_ARG(item)) : item;
		}
	}
	return ret;
}

static bool mount_known(const struct cgroups *cg, struct str mount) {
	for (size_t i = 0; i < cg->len; i++) {
		if (str_eqc(mount, cg->at[i].mount)) {
			return true;
		}
	}
	return false;
}

bool cgroups_detect(struct cgroups *ret, struct err *err) {
	auto_buf struct buf text = BUF_INIT(16 << 20);
	auto_arena struct arena a = { 0 };
	struct cgroups cg = { 0 };
	bool v1 = false, v2 = false;

	if (!file_read("/proc/self/mountinfo", &text, err)) {
		return false;
	}
	struct str lines = buf_view(&text), line;
	while (str_next(&lines, '\n', &line)) {
		/* proc(5): id parent dev root mount options [optional...] - type source super-options */
		struct str f[5], rest = line, item;
		size_t n = 0;
		while (n < 5 && str_next(&rest, ' ', &item)) {
			f[n++] = item;
		}
		ptrdiff_t dash = str_find(rest, S(" - "));
		if (n < 5 || dash < 0) {
			continue;
		}
		struct str type, source, tail = str_from(rest, (size_t)dash + 3);
		str_cut(tail, ' ', &type, &tail);
		str_cut(tail, ' ', &source, &tail);
		if (mount_known(&cg, f[4])) {
			continue;
		}
		if (str_eq(type, S("cgroup"))) {
			hierarchy_add(&cg, f[4], controllers_of(&a, tail), false);
			v1 = true;
		} else if (str_eq(type, S("cgroup2"))) {
			auto_buf struct buf list = BUF_INIT(4096);
			struct err ignored = { 0 };
			char *path = arena_cstr(&a, arena_printf(&a, "%.*s/cgroup.controllers", STR_ARG(f[4])));
			if (!file_read(path, &list, &ignored)) {
				continue;
			}
			struct str have = str_trim(buf_view(&list));
			char *commas = arena_cstr(&a, have);
			for (char *c = commas; *c; c++) {
				*c = *c == ' ' ? ',' : *c;
			}
			hierarchy_add(&cg, f[4], str_c(commas), true);
			v2 = true;
			cg.leftover = have.len > 0;
		}
	}
	if (!cg.len) {
		return err_set(err, ERR_UNAVAILABLE, "no cgroup hierarchy is mounted; mount one, e.g. `mount -t cgroup2 none /sys/fs/cgroup`");
	}
	cg.mode = v1 && v2 ? CGROUP_HYBRID : v2 ? CGROUP_V2 : CGROUP_V1;
	cg.leftover = cg.leftover && cg.mode == CGROUP_HYBRID;
	*ret = cg;
	return true;
}

const char *cgroup_mode_text(enum cgroup_mode mode) {
	switch (mode) {
	case CGROUP_V1:
		return "v1";
	case CGROUP_HYBRID:
		return "hybrid";
	case CGROUP_V2:
		return "v2";
	}
	return "";
}

static bool hierarchy_has(const struct cgroup_hierarchy *h, const char *controller) {
	char key[40];
	snprintf(key, sizeof(key), ",%s,", controller);
	return strstr(h->controllers, key) != NULL;
}

static const struct cgroup_hierarchy *hierarchy_of(const struct cgroups *cg, const char *controller) {
	for (size_t i = 0; i < cg->len; i++) {
		if (hierarchy_has(&cg->at[i], controller)) {
			return &cg->at[i];
		}
	}
	return NULL;
}

bool cgroups_have(const struct cgroups *cg, const char *controller) {
	return hierarchy_of(cg, controller) != NULL;
}

bool cgroup_path_valid(struct str path) {
	struct str rest = path, part;
	if (!path.len || path.ptr[0] != '/' || path.len > 300 || memchr(path.ptr, 0, path.len)) {
		return false;
	}
	while (str_next(&rest, '/', &part)) {
		if (str_eq(part, S("..")) || str_eq(part, S("."))) {
			return false;
		}
	}
	return true;
}

/* ---- files ----------------------------------------------------------------------------------- */

struct cg_path {
	char text[2 * CGROUP_PATH_MAX];
};

static struct cg_path path_of(const struct cgroup_hierarchy *h, const char *path, const char *file) {
	struct cg_path p;
	snprintf(p.text, sizeof(p.text), "%s%s%s%s", h->mount, strcmp(path, "/") == 0 ? "" : path, file ? "/" : "", file ? file : "");
	return p;
}

/* Reads a short file; false when it is not there. NUL-ended. */
static bool read_short(const struct cgroup_hierarchy *h, const char *path, const char *file, char *into, size_t size) {
	struct cg_path p = path_of(h, path, file);
	auto_fd int fd = open(p.text, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return false;
	}
	size_t len = 0;
	for (;;) {
		ssize_t n = read(fd, into + len, size - 1 - len);
		if (n <= 0) {
			break;
		}
		len += (size_t)n;
		if (len == size - 1) {
			break;
		}
	}
	into[len] = 0;
	return true;
}

static bool read_number(const struct cgroup_hierarchy *h, const char *path, const char *file, uint64_t *ret) {
	char text[64];
	return h && read_short(h, path, file, text, sizeof(text)) && str_to_u64(str_trim(str_c(text)), ret);
}

static bool put(const struct cgroup_hierarchy *h, const char *path, const char *file, struct str text, struct err *err) {
	struct cg_path p = path_of(h, path, file);
	auto_fd int fd = open(p.text, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		return err_sys(err, "open %s", p.text);
	}
	if (write(fd, text.ptr, text.len) != (ssize_t)text.len) {
		return err_sys(err, "write \"%.*s\" to %s", STR_ARG(text), p.text);
	}
	return true;
}

static bool put_number(const struct cgroup_hierarchy *h, const char *path, const char *file, int64_t n, struct err *err) {
	char text[32];
	int len = snprintf(text, sizeof(text), "%lld", (long long)n);
	return put(h, path, file, (struct str){ text, (size_t)len }, err);
}

/* ---- making ---------------------------------------------------------------------------------- */

/* A v1 cpuset takes no process before its lists are filled. */
static void cpuset_inherit(const struct cgroup_hierarchy *h, const char *parent, const char *path) {
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char mine[1024], theirs[1024];
		struct err ignored = { 0 };
		if (!read_short(h, path, files[i], mine, sizeof(mine)) || str_trim(str_c(mine)).len) {
			continue;
		}
		if (read_short(h, parent, files[i], theirs, sizeof(theirs)) && str_trim(str_c(theirs)).len) {
			(void)put(h, path, files[i], str_trim(str_c(theirs)), &ignored);
		}
	}
}

/* Hands every controller that the group has to its children. One by one: a refused one must not keep the others back. */
static void hand_down(const struct cgroup_hierarchy *h, const char *path) {
	char have[512];
	struct err ignored = { 0 };
	if (!read_short(h, path, "cgroup.controllers", have, sizeof(have))) {
		return;
	}
	struct str rest = str_trim(str_c(have)), item;
	while (str_next(&rest, ' ', &item)) {
		char text[64];
		int n = snprintf(text, sizeof(text), "+%.*s", STR_ARG(item));
		(void)put(h, path, "cgroup.subtree_control", (struct str){ text, (size_t)n }, &ignored);
	}
}

static bool make_in(const struct cgroup_hierarchy *h, const char *path, struct err *err) {
	char at[CGROUP_PATH_MAX], parent[CGROUP_PATH_MAX] = "/";
	struct cg_path whole = path_of(h, path, NULL);
	struct stat st;

	bool cpuset = hierarchy_has(h, "cpuset") && !h->v2;

	/* Somebody else may have made a cpuset a moment ago and not filled it yet. */
	if (!cpuset && stat(whole.text, &st) == 0) {
		return true;
	}
	snprintf(at, sizeof(at), "%s", path);
	for (char *c = at + 1;; c++) {
		if (*c && *c != '/') {
			continue;
		}
		char was = *c;
		*c = 0;
		struct cg_path p = path_of(h, at, NULL);
		if (h->v2) {
			hand_down(h, parent);
		}
		if (mkdir(p.text, 0755) != 0 && errno != EEXIST) {
			return err_sys(err, "make cgroup %s", p.text);
		}
		if (cpuset) {
			cpuset_inherit(h, parent, at);
		}
		snprintf(parent, sizeof(parent), "%s", at);
		if (!was) {
			return true;
		}
		*c = was;
	}
}

bool cgroup_make(const struct cgroups *cg, const char *path, struct err *err) {
	for (size_t i = 0; i < cg->len; i++) {
		if (!make_in(&cg->at[i], path, err)) {
			return false;
		}
	}
	return true;
}

bool cgroup_join(const struct cgroups *cg, const char *path, int pid, struct err *err) {
	for (size_t i = 0; i < cg->len; i++) {
		if (!put_number(&cg->at[i], path, "cgroup.procs", pid, err)) {
			return false;
		}
	}
	return true;
}

/* Moves what the group holds itself into `to`. */
static void members_move(const struct cgroup_hierarchy *h, const char *from, const char *to) {
	auto_buf struct buf text = BUF_INIT(1 << 20);
	struct err ignored = { 0 };
	struct cg_path p = path_of(h, from, "cgroup.procs");
	if (!file_read(p.text, &text, &ignored)) {
		return;
	}
	struct str rest = buf_view(&text), line;
	while (str_next(&rest, '\n', &line)) {
		if (line.len) {
			(void)!put(h, to, "cgroup.procs", line, &ignored);
		}
	}
}

/* Handing down +memory fails so while the group holds processes. Threaded controllers would not, and then stand in the way. */
static bool refused_by_members(const struct err *err) {
	return err->sys == EBUSY || err->sys == EOPNOTSUPP;
}

void cgroups_prepare(const struct cgroups *cg) {
	static const char *const threaded[] = { "-cpu", "-cpuset", "-pids", "-perf_event" };
	for (size_t i = 0; i < cg->len && cg->mode == CGROUP_V2; i++) {
		const struct cgroup_hierarchy *h = &cg->at[i];
		struct cg_path init = path_of(h, "/init", NULL);
		struct err err = { 0 }, ignored = { 0 };
		char type[64];
		/* The machine's own root has no type, and is exempt from the rule. */
		if (!read_short(h, "/", "cgroup.type", type, sizeof(type)) || !hierarchy_has(h, "memory") ||
			put(h, "/", "cgroup.subtree_control", S("+memory"), &err) || !refused_by_members(&err)) {
			continue;
		}
		for (size_t t = 0; t < ARRAY_LEN(threaded); t++) {
			(void)!put(h, "/", "cgroup.subtree_control", str_c(threaded[t]), &ignored);
		}
		(void)!mkdir(init.text, 0755);
		for (int tries = 0; tries < 5; tries++) { /* what is moved may fork meanwhile */
			members_move(h, "/", "/init");
			if (put(h, "/", "cgroup.subtree_control", S("+memory"), &err) || !refused_by_members(&err)) {
				break;
			}
		}
	}
}

/* ---- limits ---------------------------------------------------------------------------------- */

uint64_t cgroup_weight(uint64_t shares) {
	if (shares < 2) {
		shares = 2;
	}
	if (shares > 262144) {
		shares = 262144;
	}
	return 1 + (shares - 2) * 9999 / 262142;
}

static bool apply_cpu(const struct cgroup_hierarchy *h, const char *path, const struct cri_resources *res, struct err *err) {
	uint64_t period = res->cpu_period_us ? res->cpu_period_us : 100000;
	if (h->v2) {
		if (res->cpu_shares && !put_number(h, path, "cpu.weight", (int64_t)cgroup_weight(res->cpu_shares), err)) {
			return false;
		}
		if (res->cpu_quota_us) {
			char text[64];
			int n = res->cpu_quota_us < 0 ? snprintf(text, sizeof(text), "max %llu", (unsigned long long)period)
			                              : snprintf(text, sizeof(text), "%lld %llu", (long long)res->cpu_quota_us, (unsigned long long)period);
			return put(h, path, "cpu.max", (struct str){ text, (size_t)n }, err);
		}
		return true;
	}
	if (res->cpu_shares && !put_number(h, path, "cpu.shares", (int64_t)MAX(res->cpu_shares, (uint64_t)2), err)) {
		return false;
	}
	if (!res->cpu_quota_us) {
		return true;
	}
	return put_number(h, path, "cpu.cfs_period_us", (int64_t)period, err) &&
	       put_number(h, path, "cpu.cfs_quota_us", res->cpu_quota_us < 0 ? -1 : res->cpu_quota_us, err);
}

static bool apply_memory(const struct cgroup_hierarchy *h, const char *path, const struct cri_resources *res, struct err *err) {
	struct err ignored = { 0 };
	if (!res->memory_limit) {
		return true;
	}
	if (h->v2) {
		if (res->memory_limit < 0) {
			return put(h, path, "memory.max", S("max"), err);
		}
		if (!put_number(h, path, "memory.max", res->memory_limit, err)) {
			return false;
		}
		if (res->memory_swap_limit >= res->memory_limit) {
			/* Absent without swap accounting. */
			(void)put_number(h, path, "memory.swap.max", res->memory_swap_limit - res->memory_limit, &ignored);
		}
		return true;
	}
	/* The sum may not be below the part: lift the old sum first when the part grows. */
	if (res->memory_swap_limit) {
		(void)put_number(h, path, "memory.memsw.limit_in_bytes", -1, &ignored);
	}
	if (!put_number(h, path, "memory.limit_in_bytes", res->memory_limit < 0 ? -1 : res->memory_limit, err)) {
		return false;
	}
	if (res->memory_swap_limit > 0) {
		(void)put_number(h, path, "memory.memsw.limit_in_bytes", res->memory_swap_limit, &ignored);
	}
	return true;
}

bool cgroup_apply(const struct cgroups *cg, const char *path, const struct cri_resources *res, struct err *err) {
	const struct cgroup_hierarchy *cpu = hierarchy_of(cg, "cpu"), *memory = hierarchy_of(cg, "memory"), *pids = hierarchy_of(cg, "pids"),
				      *cpuset = hierarchy_of(cg, "cpuset"), *hugetlb = hierarchy_of(cg, "hugetlb");

	if (cpu && !apply_cpu(cpu, path, res, err)) {
		return false;
	}
	if (memory && !apply_memory(memory, path, res, err)) {
		return false;
	}
	if (pids && res->pids_limit) {
		if (!(res->pids_limit < 0 ? put(pids, path, "pids.max", S("max"), err) : put_number(pids, path, "pids.max", res->pids_limit, err))) {
			return false;
		}
	}
	if (cpuset && res->cpuset_cpus.len && !put(cpuset, path, "cpuset.cpus", res->cpuset_cpus, err)) {
		return false;
	}
	if (cpuset && res->cpuset_mems.len && !put(cpuset, path, "cpuset.mems", res->cpuset_mems, err)) {
		return false;
	}
	for (size_t i = 0; hugetlb && i < res->hugepages.len; i++) {
		char file[80];
		snprintf(file, sizeof(file), "hugetlb.%.*s.%s", STR_ARG(res->hugepages.at[i].key), hugetlb->v2 ? "max" : "limit_in_bytes");
		if (!put(hugetlb, path, file, res->hugepages.at[i].value, err)) {
			return false;
		}
	}
	for (size_t i = 0; i < res->unified.len && cg->mode == CGROUP_V2; i++) {
		char file[128];
		struct str key = res->unified.at[i].key;
		if (str_index(key, '/') >= 0 || key.len >= sizeof(file)) {
			return err_set(err, ERR_INVALID, "\"%.*s\" is not the name of a cgroup file", STR_ARG(key));
		}
		snprintf(file, sizeof(file), "%.*s", STR_ARG(key));
		if (!put(&cg->at[0], path, file, res->unified.at[i].value, err)) {
			return false;
		}
	}
	return true;
}

/* ---- ending ---------------------------------------------------------------------------------- */

/* Kills what the group holds itself; true when it held something. */
static bool kill_members(const struct cgroup_hierarchy *h, const char *path) {
	auto_buf struct buf text = BUF_INIT(1 << 20);
	struct err ignored = { 0 };
	struct cg_path p = path_of(h, path, "cgroup.procs");
	bool any = false;

	if (!file_read(p.text, &text, &ignored)) {
		return false;
	}
	struct str rest = buf_view(&text), line;
	while (str_next(&rest, '\n', &line)) {
		int pid;
		if (str_to_int(line, 2, INT_MAX, &pid) && pid != getpid()) {
			kill(pid, SIGKILL);
			any = true;
		}
	}
	return any;
}

static bool is_child_dir(const struct dirent *e) {
	return e->d_type == DT_DIR && e->d_name[0] != '.';
}

static bool kill_tree(const struct cgroup_hierarchy *h, const char *path, int depth) {
	struct cg_path p = path_of(h, path, NULL);
	bool any = kill_members(h, path);
	DIR *d = depth < 16 ? opendir(p.text) : NULL;

	for (struct dirent *e; d && (e = readdir(d));) {
		char child[CGROUP_PATH_MAX];
		if (is_child_dir(e) && (size_t)snprintf(child, sizeof(child), "%s/%s", path, e->d_name) < sizeof(child)) {
			any = kill_tree(h, child, depth + 1) || any;
		}
	}
	if (d) {
		closedir(d);
	}
	return any;
}

void cgroup_kill(const struct cgroups *cg, const char *path) {
	nsec_t until = clock_mono() + 10 * NSEC_PER_SEC, pause = NSEC_PER_MSEC / 2;

	for (size_t i = 0; i < cg->len; i++) {
		struct err ignored = { 0 };
		if (cg->at[i].v2) {
			(void)put(&cg->at[i], path, "cgroup.kill", S("1"), &ignored);
		}
	}
	for (;;) {
		bool any = false;
		for (size_t i = 0; i < cg->len; i++) {
			any = kill_tree(&cg->at[i], path, 0) || any;
		}
		if (!any || clock_mono() > until) {
			return;
		}
		clock_sleep(pause);
		pause = MIN(pause * 2, 50 * NSEC_PER_MSEC);
	}
}

static bool remove_in(const struct cgroup_hierarchy *h, const char *path, int depth, struct err *err) {
	struct cg_path p = path_of(h, path, NULL);
	DIR *d = depth < 16 ? opendir(p.text) : NULL;

	if (!d) {
		return true;
	}
	for (struct dirent *e; (e = readdir(d));) {
		char child[CGROUP_PATH_MAX];
		if (is_child_dir(e) && (size_t)snprintf(child, sizeof(child), "%s/%s", path, e->d_name) < sizeof(child) &&
			!remove_in(h, child, depth + 1, err)) {
			closedir(d);
			return false;
		}
	}
	closedir(d);
	/* Killed processes leave a moment after they are gone from the list. */
	for (int i = 0; rmdir(p.text) != 0; i++) {
		if (errno == ENOENT) {
			return true;
		}
		if (errno != EBUSY || i == 12) {
			return err_sys(err, "remove cgroup %s", p.text);
		}
		clock_sleep(NSEC_PER_MSEC << MIN(i, 7));
	}
	return true;
}

bool cgroup_remove(const struct cgroups *cg, const char *path, struct err *err) {
	bool ok = true;
	if (strcmp(path, "/") == 0) {
		return err_set(err, ERR_INVALID, "the root cgroup cannot be removed");
	}
	cgroup_kill(cg, path);
	for (size_t i = 0; i < cg->len; i++) {
		ok = remove_in(&cg->at[i], path, 0, err) && ok;
	}
	return ok;
}

void cgroup_rmdir(const struct cgroups *cg, const char *path) {
	for (size_t i = 0; i < cg->len; i++) {
		struct cg_path p = path_of(&cg->at[i], path, NULL);
		rmdir(p.text);
	}
}

/* ---- statistics ------------------------------------------------------------------------------ */

/* The number of "name N" in a flat-keyed file. */
static uint64_t keyed(struct str text, struct str name) {
	struct str line, key;
	while (str_next(&text, '\n', &line)) {
		uint64_t n;
		if (str_cut(line, ' ', &key, &line) && str_eq(key, name) && str_to_u64(line, &n)) {
			return n;
		}
	}
	return 0;
}

static void stats_machine_memory(struct cri_stats *s) {
	auto_buf struct buf text = BUF_INIT(64 << 10);
	struct err ignored = { 0 };
	uint64_t total = 0, unused = 0, inactive = 0, anon = 0;

	if (!file_read("/proc/meminfo", &text, &ignored)) {
		return;
	}
	struct str rest = buf_view(&text), line;
	while (str_next(&rest, '\n', &line)) {
		struct str key, value;
		uint64_t kib;
		if (!str_cut(line, ':', &key, &value)) {
			continue;
		}
		value = str_trim(value);
		str_cut(value, ' ', &value, &line);
		if (!str_to_u64(value, &kib)) {
			continue;
		}
		*(str_eq(key, S("MemTotal"))       ? &total
		  : str_eq(key, S("MemFree"))        ? &unused
		  : str_eq(key, S("Inactive(file)")) ? &inactive
		  : str_eq(key, S("AnonPages"))      ? &anon
		                                     : &(uint64_t){ 0 }) = kib * 1024;
	}
	s->memory_usage = total - MIN(unused, total);
	s->memory_working_set = s->memory_usage - MIN(inactive, s->memory_usage);
	s->memory_rss = anon;
	s->memory_limit = total;
}

bool cgroup_stats(const struct cgroups *cg, const char *path, struct cri_stats *ret, struct err *err) {
	const struct cgroup_hierarchy *cpu = hierarchy_of(cg, cg->mode == CGROUP_V2 ? "cpu" : "cpuacct"), *memory = hierarchy_of(cg, "memory"),
				      *pids = hierarchy_of(cg, "pids");
	struct cri_stats s = { .at = clock_wall() };
	char text[8192];
	bool found = false, root = strcmp(path, "/") == 0;

	if (!cpu && cg->mode == CGROUP_V2) {
		cpu = &cg->at[0]; /* cpu.stat is there without the controller */
	}
	if (cpu && cpu->v2 && read_short(cpu, path, "cpu.stat", text, sizeof(text))) {
		s.cpu_ns = keyed(str_c(text), S("usage_usec")) * 1000;
		found = true;
	} else if (cpu && read_number(cpu, path, "cpuacct.usage", &s.cpu_ns)) {
		found = true;
	}
	if (root) {
		stats_machine_memory(&s);
		found = true;
	} else if (memory && memory->v2) {
		found = read_number(memory, path, "memory.current", &s.memory_usage) || found;
		if (read_short(memory, path, "memory.stat", text, sizeof(text))) {
			uint64_t inactive = keyed(str_c(text), S("inactive_file"));
			s.memory_working_set = s.memory_usage - MIN(inactive, s.memory_usage);
			s.memory_rss = keyed(str_c(text), S("anon"));
			s.memory_page_faults = keyed(str_c(text), S("pgfault"));
			s.memory_major_page_faults = keyed(str_c(text), S("pgmajfault"));
		}
		(void)read_number(memory, path, "memory.max", &s.memory_limit); /* "max": stays 0 */
	} else if (memory) {
		found = read_number(memory, path, "memory.usage_in_bytes", &s.memory_usage) || found;
		if (read_short(memory, path, "memory.stat", text, sizeof(text))) {
			uint64_t inactive = keyed(str_c(text), S("total_inactive_file"));
			s.memory_working_set = s.memory_usage - MIN(inactive, s.memory_usage);
			s.memory_rss = keyed(str_c(text), S("total_rss"));
			s.memory_page_faults = keyed(str_c(text), S("total_pgfault"));
			s.memory_major_page_faults = keyed(str_c(text), S("total_pgmajfault"));
		}
		if (read_number(memory, path, "memory.limit_in_bytes", &s.memory_limit) && s.memory_limit > (uint64_t)1 << 60) {
			s.memory_limit = 0; /* the page counter's largest value: none */
		}
	}
	if (pids) {
		(void)read_number(pids, path, "pids.current", &s.pids);
	}
	if (!found) {
		return err_set(err, ERR_NOT_FOUND, "cgroup %s does not exist", path);
	}
	*ret = s;
	return true;
}

uint64_t cgroup_oom_kills(const struct cgroups *cg, const char *path) {
	const struct cgroup_hierarchy *memory = hierarchy_of(cg, "memory");
	char text[1024];
	if (!memory || !read_short(memory, path, memory->v2 ? "memory.events" : "memory.oom_control", text, sizeof(text))) {
		return 0;
	}
	return keyed(str_c(text), S("oom_kill"));
}
