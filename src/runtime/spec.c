/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.c - the OCI configuration (config.json) of one container: pure computing from the pod's wishes,
 * the image's configuration and the sandbox, to a value. Looks at the node only for the list of
 * devices of a privileged container and for a localhost seccomp profile.
 *
 * Source: OCI runtime-spec v1.0.2; defaults as Kubernetes' runtimes set them.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "runtime/runtime.h"

/* ---- tables ---------------------------------------------------------------------------------- */

static const char *const capabilities_all[] = {
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
	"CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN",
	"CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
	"CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", /* the kernel's order: index is its number */
};

static const char *const capabilities_default[] = {
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP",
	"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
};

static const char *const masked_paths[] = { "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap" };
static const char *const readonly_paths[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };

struct default_mount {
	const char *destination, *type, *source, *options;
	const char *privileged_options; /* NULL: the same */
};
static const struct default_mount default_mounts[] = {
	{ "/proc",          "proc",   "proc",   "nosuid,noexec,nodev",                                              NULL },
	{ "/dev",           "tmpfs",  "tmpfs",  "nosuid,strictatime,mode=755,size=65536k",                          NULL },
	{ "/dev/pts",       "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",          NULL },
	{ "/dev/mqueue",    "mqueue", "mqueue", "nosuid,noexec,nodev",                                              NULL },
	{ "/sys",           "sysfs",  "sysfs",  "nosuid,noexec,nodev,ro",                                           "nosuid,noexec,nodev" },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro",                                  "nosuid,noexec,nodev,relatime" },
};

static const struct {
	const char *name;
	int number;
} signals[] = {
	{ "HUP", SIGHUP }, { "INT", SIGINT }, { "QUIT", SIGQUIT }, { "ILL", SIGILL }, { "TRAP", SIGTRAP }, { "ABRT", SIGABRT }, { "IOT", SIGABRT },
	{ "BUS", SIGBUS }, { "FPE", SIGFPE }, { "KILL", SIGKILL }, { "USR1", SIGUSR1 }, { "SEGV", SIGSEGV }, { "USR2", SIGUSR2 }, { "PIPE", SIGPIPE },
	{ "ALRM", SIGALRM }, { "TERM", SIGTERM }, { "STKFLT", SIGSTKFLT }, { "CHLD", SIGCHLD }, { "CLD", SIGCHLD }, { "CONT", SIGCONT },
	{ "STOP", SIGSTOP }, { "TSTP", SIGTSTP }, { "TTIN", SIGTTIN }, { "TTOU", SIGTTOU }, { "URG", SIGURG }, { "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ },
	{ "VTALRM", SIGVTALRM }, { "PROF", SIGPROF }, { "WINCH", SIGWINCH }, { "IO", SIGIO }, { "POLL", SIGIO }, { "PWR", SIGPWR }, { "SYS", SIGSYS },
};

int signal_of(struct str name) {
	int n;
	if (str_to_int(name, 1, 64, &n)) {
		return n;
	}
	if (name.len > 3 && str_case_eq(str_sub(name, 0, 3), S("SIG"))) {
		name = str_from(name, 3);
	}
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		if (str_case_eq(name, str_c(signals[i].name))) {
			return signals[i].number;
		}
	}
	/* RTMIN+3, RTMAX-1, as libc numbers them for programs: 34 to 64 */
	if (name.len >= 5 && (str_case_eq(str_sub(name, 0, 5), S("RTMIN")) || str_case_eq(str_sub(name, 0, 5), S("RTMAX")))) {
		bool min = name.ptr[4] == 'N' || name.ptr[4] == 'n';
		struct str rest = str_from(name, 5);
		if (!rest.len) {
			return min ? 34 : 64;
		}
		if (rest.ptr[0] == (min ? '+' : '-') && str_to_int(str_from(rest, 1), 0, 30, &n)) {
			return min ? 34 + n : 64 - n;
		}
	}
	return 0;
}

/* ---- small helpers ----------------------------------------------------------------------------- */

static struct value *strings(struct arena *a, const char *const *at, size_t n) {
	struct value *v = value_new_array(a);
	for (size_t i = 0; i < n; i++) {
		value_push_str(a, v, str_c(at[i]));
	}
	return v;
}

static bool list_has(const struct value *list, struct str text) {
	VALUE_EACH(list, v) {
		if (str_eq(value_as_str(v), text)) {
			return true;
		}
	}
	return false;
}

/* "/a//b/" and "/a/b" are one place. */
static struct str clean(struct arena *a, struct str path) {
	struct str rest = path, part;
	auto_buf struct buf b = BUF_INIT(4096);
	while (str_next(&rest, '/', &part)) {
		if (part.len && !str_eq(part, S("."))) {
			buf_char(&b, '/');
			buf_str(&b, part);
		}
	}
	return b.len ? arena_str(a, buf_view(&b)) : S("/");
}

/* ---- process ----------------------------------------------------------------------------------- */

static bool capability_name(struct arena *a, struct str name, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(64);
	if (!str_starts(name, S("CAP_")) && !str_starts(name, S("cap_"))) {
		buf_c(&b, "CAP_");
	}
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];
		buf_char(&b, c >= 'a' && c <= 'z' ? (char)(c - 32) : c);
	}
	struct str upper = buf_view(&b);
	for (size_t i = 0; i < ARRAY_LEN(capabilities_all); i++) {
		if (str_eqc(upper, capabilities_all[i])) {
			*ret = arena_str(a, upper);
			return true;
		}
	}
	return err_set(err, ERR_INVALID, "unknown capability \"%.*s\"", STR_ARG(name));
}

static bool names_all(struct cri_strs list) {
	for (size_t i = 0; i < list.len; i++) {
		if (str_case_eq(list.at[i], S("ALL"))) {
			return true;
		}
	}
	return false;
}

/* Those that this kernel, and our own bounding set, can give at all. */
static uint64_t capabilities_possible(void) {
	auto_buf struct buf b = BUF_INIT(64 << 10);
	struct err ignored = { 0 };
	if (file_read("/proc/self/status", &b, &ignored)) {
		struct str rest = buf_view(&b), line;
		while (str_next(&rest, '\n', &line)) {
			if (str_starts(line, S("CapBnd:"))) {
				char text[32];
				struct str hex = str_trim(str_from(line, 7));
				snprintf(text, sizeof(text), "%.*s", STR_ARG(hex));
				return strtoull(text, NULL, 16);
			}
		}
	}
	return ~0ULL;
}

static bool capabilities_make(struct arena *a, const struct cri_security *s, struct value **ret, struct err *err) {
	struct value *list = value_new_array(a);
	uint64_t possible = capabilities_possible();
	bool all = s->privileged || names_all(s->capabilities_add);
	struct value *dropped = value_new_array(a);
	struct str name;

	for (size_t i = 0; i < s->capabilities_drop.len; i++) {
		if (!str_case_eq(s->capabilities_drop.at[i], S("ALL"))) {
			if (!capability_name(a, s->capabilities_drop.at[i], &name, err)) {
				return false;
			}
			value_push_str(a, dropped, name);
		}
	}
	bool none = names_all(s->capabilities_drop) && !s->privileged;
	for (size_t i = 0; i < ARRAY_LEN(capabilities_all); i++) {
		const char *cap = capabilities_all[i];
		bool want = all;
		for (size_t k = 0; k < ARRAY_LEN(capabilities_default) && !none; k++) {
			want = want || strcmp(capabilities_default[k], cap) == 0;
		}
		if (list_has(dropped, str_c(cap)) && !s->privileged) {
			want = false;
		}
		for (size_t k = 0; k < s->capabilities_add.len; k++) {
			if (str_case_eq(s->capabilities_add.at[k], S("ALL"))) {
				continue;
			}
			if (!capability_name(a, s->capabilities_add.at[k], &name, err)) {
				return false;
			}
			want = want || str_eqc(name, cap);
		}
		if (want && (possible >> i & 1)) {
			value_push_str(a, list, str_c(cap));
		}
	}
	*ret = list;
	return true;
}

static void env_put(struct arena *a, struct value *env, struct str name, struct str whole) {
	for (size_t i = 0; i < value_len(env); i++) {
		struct str had = value_as_str(value_item(env, i)), key;
		str_cut(had, '=', &key, &had);
		if (str_eq(key, name)) {
			*value_item(env, i) = *value_new_str(a, whole);
			return;
		}
	}
	value_push_str(a, env, whole);
}

static struct value *env_make(struct arena *a, const struct spec_input *in) {
	struct value *env = value_new_array(a);
	struct str name, rest;

	env_put(a, env, S("PATH"), S("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
	env_put(a, env, S("HOSTNAME"), arena_printf(a, "HOSTNAME=%.*s", STR_ARG(in->hostname)));
	if (in->config->tty) {
		env_put(a, env, S("TERM"), S("TERM=xterm"));
	}
	for (size_t i = 0; i < in->image->env_len; i++) {
		if (str_cut(in->image->env[i], '=', &name, &rest) && name.len) {
			env_put(a, env, name, in->image->env[i]);
		}
	}
	for (size_t i = 0; i < in->config->env.len; i++) {
		struct cri_kv kv = in->config->env.at[i];
		env_put(a, env, kv.key, arena_printf(a, "%.*s=%.*s", STR_ARG(kv.key), STR_ARG(kv.value)));
	}
	return env;
}

static struct value *args_make(struct arena *a, const struct spec_input *in) {
	const struct cri_container_config *k = in->config;
	struct value *args = value_new_array(a);

	for (size_t i = 0; i < k->command.len; i++) {
		value_push_str(a, args, k->command.at[i]);
	}
	for (size_t i = 0; !k->command.len && i < in->image->entrypoint_len; i++) {
		value_push_str(a, args, in->image->entrypoint[i]);
	}
	for (size_t i = 0; i < k->args.len; i++) {
		value_push_str(a, args, k->args.at[i]);
	}
	for (size_t i = 0; !k->args.len && !k->command.len && i < in->image->cmd_len; i++) {
		value_push_str(a, args, in->image->cmd[i]);
	}
	return args;
}

static struct value *user_make(struct arena *a, const struct run_user *u) {
	struct value *user = value_new_object(a), *groups = value_new_array(a);
	set_int(a, user, "uid", u->uid);
	set_int(a, user, "gid", u->gid);
	for (size_t i = 0; i < u->groups.len; i++) {
		value_push(a, groups, value_new_int(a, u->groups.at[i]));
	}
	set(a, user, "additionalGids", groups);
	return user;
}

static bool process_make(struct arena *a, const struct spec_input *in, struct value *capabilities, struct value **ret, struct err *err) {
	const struct cri_container_config *k = in->config;
	struct value *p = value_new_object(a), *caps = value_new_object(a), *args = args_make(a, in);
	struct str cwd = k->working_dir.len ? k->working_dir : in->image->workdir.len ? in->image->workdir : S("/");

	if (!value_len(args)) {
		return err_set(err, ERR_INVALID, "no command specified: the image has none, and neither has the pod");
	}
	if (cwd.ptr[0] != '/') {
		return err_set(err, ERR_INVALID, "workingDir \"%.*s\" is not an absolute path", STR_ARG(cwd));
	}
	set_bool(a, p, "terminal", k->tty);
	set(a, p, "user", user_make(a, in->user));
	set(a, p, "args", args);
	set(a, p, "env", env_make(a, in));
	set_str(a, p, "cwd", cwd);
	set(a, caps, "bounding", capabilities);
	set(a, caps, "effective", capabilities);
	set(a, caps, "permitted", capabilities);
	set(a, p, "capabilities", caps);
	set_bool(a, p, "noNewPrivileges", k->security.no_new_privs && !k->security.privileged);
	struct value *limits = value_new_array(a), *nofile = value_new_object(a);
	set_str(a, nofile, "type", S("RLIMIT_NOFILE"));
	set_int(a, nofile, "hard", (int64_t)in->nofile_max);
	set_int(a, nofile, "soft", (int64_t)in->nofile_max);
	value_push(a, limits, nofile);
	set(a, p, "rlimits", limits);
	set_int(a, p, "oomScoreAdj", MAX(k->resources.oom_score_adj_set ? k->resources.oom_score_adj : 0, in->oom_score_adj_min));
	*ret = p;
	return true;
}

/* ---- mounts ------------------------------------------------------------------------------------ */

static struct value *mount_make(struct arena *a, struct str destination, struct str type, struct str source, struct str options) {
	struct value *m = value_new_object(a), *list = value_new_array(a);
	struct str item;
	set_str(a, m, "destination", destination);
	set_str(a, m, "type", type);
	set_str(a, m, "source", source);
	while (str_next(&options, ',', &item)) {
		value_push_str(a, list, item);
	}
	set(a, m, "options", list);
	return m;
}

/* Whether the pod mounts something at this very place. */
static bool overridden(struct arena *a, const struct cri_container_config *k, const char *destination) {
	for (size_t i = 0; i < k->mounts_len; i++) {
		if (str_eqc(clean(a, k->mounts[i].container_path), destination)) {
			return true;
		}
	}
	return false;
}

static size_t depth_of(struct str path) {
	size_t n = 0;
	for (size_t i = 0; i < path.len; i++) {
		n += path.ptr[i] == '/';
	}
	return path.len > 1 ? n : 0;
}

static const char *const propagation_options[] = {
	[CRI_PROPAGATION_PRIVATE] = "rprivate",
	[CRI_PROPAGATION_HOST_TO_CONTAINER] = "rslave",
	[CRI_PROPAGATION_BIDIRECTIONAL] = "rshared",
};

static bool user_mount(struct arena *a, const struct spec_input *in, const struct cri_mount *m, struct value **ret, struct err *err) {
	struct str to = clean(a, m->container_path);
	struct stat st;
	if (!m->container_path.len || m->container_path.ptr[0] != '/') {
		/* Windows aside, a relative mount path is below the root. */
		to = clean(a, arena_printf(a, "/%.*s", STR_ARG(m->container_path)));
	}
	if (str_eq(to, S("/"))) {
		return err_set(err, ERR_INVALID, "mount path \"/\" is the root file system itself");
	}
	char *from = arena_cstr(a, m->host_path);
	if (m->host_path.len == 0 || from[0] != '/') {
		return err_set(err, ERR_INVALID, "mount source \"%s\" for %.*s is not an absolute path", from, STR_ARG(to));
	}
	if (stat(from, &st) != 0) {
		return err_sys(err, "mount source %s for %.*s", from, STR_ARG(to));
	}
	if (m->propagation == CRI_PROPAGATION_BIDIRECTIONAL && !in->config->security.privileged) {
		return err_set(err, ERR_INVALID, "mount propagation Bidirectional of %.*s needs a privileged container", STR_ARG(to));
	}
	struct str options = arena_printf(a, "rbind,%s,%s", propagation_options[m->propagation], m->readonly ? m->recursive_readonly ? "rro" : "ro" : "rw");
	*ret = mount_make(a, to, S("bind"), m->host_path, options);
	return true;
}

struct placed {
	struct value *mount;
	size_t depth, order;
};

static int placed_cmp(const void *x, const void *y) {
	const struct placed *p = x, *q = y;
	return p->depth != q->depth ? (p->depth < q->depth ? -1 : 1) : p->order < q->order ? -1 : 1;
}

/* Parents come before what lies in them. */
static bool mounts_make(struct arena *a, const struct spec_input *in, struct value **ret, struct err *err) {
	const struct cri_container_config *k = in->config;
	struct value *list = value_new_array(a);
	VEC(struct placed) user = { 0 };
	bool privileged = k->security.privileged, ok = true;

	for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++) {
		const struct default_mount *d = &default_mounts[i];
		if (overridden(a, k, d->destination)) {
			continue;
		}
		const char *options = privileged && d->privileged_options ? d->privileged_options : d->options;
		if (!in->ns_network && strcmp(d->destination, "/sys") == 0) {
			options = privileged ? "rbind,rprivate,nosuid,noexec,nodev,rw" : options;
		}
		value_push(a, list, mount_make(a, str_c(d->destination), str_c(strstr(options, "rbind") ? "bind" : d->type),
			str_c(strstr(options, "rbind") ? "/sys" : d->source), str_c(options)));
	}
	const struct {
		const char *to, *from, *options;
	} own[] = {
		{ "/dev/shm", in->shm, "rbind,rprivate,nosuid,noexec,nodev,rw" },
		{ "/etc/resolv.conf", in->resolv_conf, "rbind,rprivate,rw" },
		{ "/etc/hostname", in->hostname_file, "rbind,rprivate,rw" },
	};
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		if (own[i].from && own[i].from[0] && !overridden(a, k, own[i].to)) {
			struct str options = str_c(own[i].options);
			if (k->security.readonly_rootfs && str_starts(str_c(own[i].to), S("/etc"))) {
				options = S("rbind,rprivate,ro");
			}
			value_push(a, list, mount_make(a, str_c(own[i].to), S("bind"), str_c(own[i].from), options));
		}
	}
	for (size_t i = 0; i < k->mounts_len && ok; i++) {
		struct placed p = { .order = i };
		ok = user_mount(a, in, &k->mounts[i], &p.mount, err);
		if (ok) {
			p.depth = depth_of(get_str(p.mount, "destination"));
			VEC_PUSH(&user, p);
		}
	}
	VEC_SORT(&user, placed_cmp);
	VEC_EACH(&user, p) {
		value_push(a, list, p->mount);
	}
	VEC_RELEASE(&user);
	*ret = list;
	return ok;
}

static const char *root_propagation(const struct cri_container_config *k) {
	const char *ret = NULL;
	for (size_t i = 0; i < k->mounts_len; i++) {
		if (k->mounts[i].propagation == CRI_PROPAGATION_BIDIRECTIONAL) {
			return "rshared";
		}
		if (k->mounts[i].propagation == CRI_PROPAGATION_HOST_TO_CONTAINER) {
			ret = "rslave";
		}
	}
	return ret;
}

/* ---- devices ----------------------------------------------------------------------------------- */

enum { DEVICES_MAX = 4096 };

static void device_rule(struct arena *a, struct value *rules, bool allow, const char *type, int64_t major_no, int64_t minor_no, struct str access) {
	struct value *r = value_new_object(a);
	set_bool(a, r, "allow", allow);
	if (type) {
		set_str(a, r, "type", str_c(type));
		set_int(a, r, "major", major_no);
		set_int(a, r, "minor", minor_no);
	}
	set_str(a, r, "access", access);
	value_push(a, rules, r);
}

static void device_add(struct arena *a, struct value *devices, struct str path, const struct stat *st) {
	struct value *d = value_new_object(a);
	set_str(a, d, "path", path);
	set_str(a, d, "type", S_ISBLK(st->st_mode) ? S("b") : S("c"));
	set_int(a, d, "major", major(st->st_rdev));
	set_int(a, d, "minor", minor(st->st_rdev));
	set_int(a, d, "fileMode", st->st_mode & 0777);
	set_int(a, d, "uid", st->st_uid);
	set_int(a, d, "gid", st->st_gid);
	value_push(a, devices, d);
}

/* Those that the runtimes make themselves, and whole folders that are file systems of their own. */
static bool device_is_standard(const char *name) {
	static const char *const names[] = { "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "fd", "core", "stdin",
		"stdout", "stderr", "hugepages", ".lxc", ".lxd-mounts", ".udev" };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(names[i], name) == 0) {
			return true;
		}
	}
	return false;
}

static void devices_of_node(struct arena *a, struct value *devices, const char *dir, int depth) {
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d)) && value_len(devices) < DEVICES_MAX;) {
		struct stat st;
		if (e->d_name[0] == '.' || (depth == 0 && device_is_standard(e->d_name))) {
			continue;
		}
		char *path = arena_cstr(a, arena_printf(a, "%s/%s", dir, e->d_name));
		if (lstat(path, &st) != 0) {
			continue;
		}
		if (S_ISDIR(st.st_mode) && depth < 4) {
			devices_of_node(a, devices, path, depth + 1);
		} else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
			device_add(a, devices, str_c(path), &st);
		}
	}
	if (d) {
		closedir(d);
	}
}

static bool devices_make(struct arena *a, const struct cri_container_config *k, struct value *linux_part, struct value *resources, struct err *err) {
	struct value *devices = value_new_array(a), *rules = value_new_array(a);

	device_rule(a, rules, k->security.privileged, NULL, 0, 0, S("rwm"));
	if (k->security.privileged) {
		devices_of_node(a, devices, "/dev", 0);
	}
	for (size_t i = 0; i < k->devices_len; i++) {
		const struct cri_device *d = &k->devices[i];
		struct stat st;
		char *from = arena_cstr(a, d->host_path);
		if (stat(from, &st) != 0) {
			return err_sys(err, "device %s", from);
		}
		if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
			return err_set(err, ERR_INVALID, "%s is not a device", from);
		}
		device_add(a, devices, d->container_path.len ? d->container_path : d->host_path, &st);
		device_rule(a, rules, true, S_ISBLK(st.st_mode) ? "b" : "c", major(st.st_rdev), minor(st.st_rdev),
			d->permissions.len ? d->permissions : S("rwm"));
	}
	set(a, linux_part, "devices", devices);
	set(a, resources, "devices", rules);
	return true;
}

/* ---- linux ------------------------------------------------------------------------------------- */

struct value *spec_resources(struct arena *a, const struct cri_resources *r, enum cgroup_mode mode) {
	struct value *v = value_new_object(a), *cpu = value_new_object(a);

	if (r->memory_limit) {
		struct value *memory = value_new_object(a);
		set_int(a, memory, "limit", r->memory_limit);
		/* Without a wish of its own: no swap beside the memory, as the field's runtimes do. */
		set_int(a, memory, "swap", r->memory_swap_limit ? r->memory_swap_limit : r->memory_limit);
		set(a, v, "memory", memory);
	}
	if (r->cpu_shares) {
		set_int(a, cpu, "shares", (int64_t)r->cpu_shares);
	}
	if (r->cpu_quota_us) {
		set_int(a, cpu, "quota", r->cpu_quota_us);
		set_int(a, cpu, "period", (int64_t)(r->cpu_period_us ? r->cpu_period_us : 100000));
	}
	if (r->cpuset_cpus.len) {
		set_str(a, cpu, "cpus", r->cpuset_cpus);
	}
	if (r->cpuset_mems.len) {
		set_str(a, cpu, "mems", r->cpuset_mems);
	}
	if (value_len(cpu)) {
		set(a, v, "cpu", cpu);
	}
	if (r->pids_limit) {
		struct value *pids = value_new_object(a);
		set_int(a, pids, "limit", r->pids_limit);
		set(a, v, "pids", pids);
	}
	if (r->hugepages.len) {
		struct value *list = value_new_array(a);
		for (size_t i = 0; i < r->hugepages.len; i++) {
			struct value *h = value_new_object(a);
			int64_t n = 0;
			set_str(a, h, "pageSize", r->hugepages.at[i].key);
			(void)!str_to_i64(r->hugepages.at[i].value, &n);
			set_int(a, h, "limit", n);
			value_push(a, list, h);
		}
		set(a, v, "hugepageLimits", list);
	}
	if (r->unified.len && mode == CGROUP_V2) {
		set(a, v, "unified", record_kvs(a, r->unified));
	}
	return v;
}

static void namespace_add(struct arena *a, struct value *list, const char *type, const char *path) {
	struct value *n = value_new_object(a);
	if (!path) {
		return;
	}
	set_str(a, n, "type", str_c(type));
	if (path[0]) {
		set_str(a, n, "path", str_c(path));
	}
	value_push(a, list, n);
}

static bool seccomp_make(struct arena *a, const struct cri_security *s, struct value *capabilities, struct value *linux_part, struct err *err) {
	struct value *profile;
	if (s->privileged) {
		return true;
	}
	switch (s->seccomp) {
	case CRI_SECCOMP_UNCONFINED:
		return true;
	case CRI_SECCOMP_RUNTIME_DEFAULT:
		set(a, linux_part, "seccomp", seccomp_default(a, capabilities));
		return true;
	case CRI_SECCOMP_LOCALHOST:
		if (!record_read(a, arena_cstr(a, s->seccomp_path), &profile, err)) {
			return err_wrap(err, "seccomp profile");
		}
		if (!get(profile, "defaultAction")) {
			return err_set(err, ERR_INVALID, "seccomp profile %.*s has no defaultAction", STR_ARG(s->seccomp_path));
		}
		set(a, linux_part, "seccomp", profile);
		return true;
	}
	return true;
}

static bool linux_make(struct arena *a, const struct spec_input *in, struct value *capabilities, struct value **ret, struct err *err) {
	const struct cri_container_config *k = in->config;
	struct value *l = value_new_object(a), *spaces = value_new_array(a), *resources = spec_resources(a, &k->resources, in->cgroup_mode);

	if (!devices_make(a, k, l, resources, err) || !seccomp_make(a, &k->security, capabilities, l, err)) {
		return false;
	}
	set(a, l, "resources", resources);
	set_str(a, l, "cgroupsPath", str_c(in->cgroup));
	namespace_add(a, spaces, "mount", "");
	namespace_add(a, spaces, "network", in->ns_network);
	namespace_add(a, spaces, "ipc", in->ns_ipc);
	namespace_add(a, spaces, "uts", in->ns_uts);
	namespace_add(a, spaces, "pid", in->ns_pid);
	if (in->cgroup_mode == CGROUP_V2 && !k->security.privileged) {
		namespace_add(a, spaces, "cgroup", "");
	}
	set(a, l, "namespaces", spaces);
	if (!k->security.privileged && !k->security.unmasked) {
		set(a, l, "maskedPaths", strings(a, masked_paths, ARRAY_LEN(masked_paths)));
		set(a, l, "readonlyPaths", strings(a, readonly_paths, ARRAY_LEN(readonly_paths)));
	}
	if (root_propagation(k)) {
		set_str(a, l, "rootfsPropagation", str_c(root_propagation(k)));
	}
	*ret = l;
	return true;
}

bool spec_make(struct arena *a, const struct spec_input *in, struct value **ret, struct err *err) {
	struct value *spec = value_new_object(a), *root = value_new_object(a);
	struct value *capabilities = NULL, *process = NULL, *mounts = NULL, *linux_part = NULL;

	if (!capabilities_make(a, &in->config->security, &capabilities, err) || !process_make(a, in, capabilities, &process, err) ||
		!mounts_make(a, in, &mounts, err) || !linux_make(a, in, capabilities, &linux_part, err)) {
		return false;
	}
	set_str(a, spec, "ociVersion", S("1.0.2"));
	set(a, spec, "process", process);
	set_str(a, root, "path", str_c(in->rootfs));
	set_bool(a, root, "readonly", in->config->security.readonly_rootfs);
	set(a, spec, "root", root);
	set(a, spec, "mounts", mounts);
	set(a, spec, "annotations", record_kvs(a, in->config->annotations));
	set(a, spec, "linux", linux_part);
	*ret = spec;
	return true;
}
