/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp.c - the default system call filter (seccompProfile RuntimeDefault), as OCI JSON.
 *
 * An allow list: what is not named fails. The names are the kernel's own, for the architectures that
 * the node can run; calls that need a capability are allowed with that capability only. Compiling it
 * costs the runtime some 13 ms a container, so it is made only for pods that ask for it.
 * Source: Linux syscalls(2); the set follows the field's common default profile.
 */
#include "runtime/runtime.h"

/* Allowed to everybody. Names that an architecture lacks are skipped by the runtimes. */
static const char *const allowed[] = {
	/* files */
	"_llseek", "_newselect", "access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
	"faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32",
	"fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64",
	"fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "getxattrat", "inotify_add_watch",
	"inotify_init", "inotify_init1", "inotify_rm_watch", "ioctl", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listxattr", "listxattrat", "llistxattr",
	"lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "mkdir", "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "open", "openat",
	"openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "removexattr", "removexattrat",
	"rename", "renameat", "renameat2", "rmdir", "sendfile", "sendfile64", "setxattr", "setxattrat", "splice", "stat", "stat64", "statfs", "statfs64", "statx",
	"symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "tee", "truncate", "truncate64", "umask", "unlink", "unlinkat", "utime", "utimensat",
	"utimensat_time64", "utimes", "vmsplice", "write", "writev", "cachestat", "statmount", "listmount",
	/* memory */
	"brk", "get_mempolicy", "madvise", "mbind", "membarrier", "memfd_create", "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mmap2", "mprotect",
	"mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages", "set_mempolicy",
	"set_mempolicy_home_node", "map_shadow_stack", "process_mrelease",
	/* processes and threads */
	"execve", "execveat", "exit", "exit_group", "fork", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv",
	"futex_wake", "get_robust_list", "get_thread_area", "getcpu", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrlimit", "getrusage",
	"getsid", "gettid", "ioprio_get", "ioprio_set", "pidfd_open", "pidfd_send_signal", "prctl", "prlimit64", "rseq", "sched_get_priority_max",
	"sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
	"sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp",
	"set_robust_list", "set_thread_area", "set_tid_address", "setpgid", "setpriority", "setrlimit", "setsid", "sysinfo", "times", "ugetrlimit", "uname",
	"vfork", "wait4", "waitid", "waitpid", "arch_prctl", "modify_ldt", "process_vm_readv", "process_vm_writev", "ptrace", "landlock_create_ruleset",
	"landlock_add_rule", "landlock_restrict_self", "restart_syscall", "uretprobe",
	/* signals, time, waiting */
	"alarm", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "adjtimex",
	"clock_adjtime", "clock_adjtime64", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
	"epoll_wait_old", "eventfd", "eventfd2", "getitimer", "gettimeofday", "kill", "nanosleep", "pause", "poll", "ppoll", "ppoll_time64", "pselect6",
	"pselect6_time64", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
	"rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "select", "setitimer", "sigaltstack", "signalfd", "signalfd4", "sigprocmask", "sigreturn", "tgkill",
	"time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64",
	"timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "tkill",
	/* sockets and messages */
	"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "ipc", "listen", "mq_getsetattr", "mq_notify", "mq_open",
	"mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "pipe",
	"pipe2", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send",
	"sendmmsg", "sendmsg", "sendto", "setsockopt", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "socket", "socketcall", "socketpair",
	"io_cancel", "io_destroy", "io_getevents", "io_setup", "io_submit", "io_pgetevents", "io_pgetevents_time64",
	/* who one is */
	"capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getresgid", "getresgid32",
	"getresuid", "getresuid32", "getuid", "getuid32", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
	"setgroups32", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid", "setuid32",
	"getrandom", "lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules",
	/* further names of arm and 32-bit machines */
	"arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2",
};

/* Allowed with a capability. */
static const struct {
	const char *capability;
	const char *names[20];
} with_capability[] = {
	{ "CAP_DAC_READ_SEARCH", { "open_by_handle_at" } },
	{ "CAP_SYS_ADMIN",
		{ "bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr", "move_mount",
			"open_tree", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "umount", "umount2" } },
	{ "CAP_SYS_ADMIN", { "clone", "clone3", "unshare", "syslog", "pivot_root" } },
	{ "CAP_SYS_BOOT", { "reboot" } },
	{ "CAP_SYS_CHROOT", { "chroot" } },
	{ "CAP_SYS_MODULE", { "delete_module", "init_module", "finit_module" } },
	{ "CAP_SYS_PACCT", { "acct" } },
	{ "CAP_SYS_PTRACE", { "kcmp", "pidfd_getfd", "process_madvise" } },
	{ "CAP_SYS_RAWIO", { "iopl", "ioperm" } },
	{ "CAP_SYS_TIME", { "settimeofday", "stime", "clock_settime", "clock_settime64" } },
	{ "CAP_SYS_TTY_CONFIG", { "vhangup" } },
	{ "CAP_SYS_NICE", { "migrate_pages", "move_pages" } },
	{ "CAP_SYSLOG", { "syslog" } },
	{ "CAP_BPF", { "bpf" } },
	{ "CAP_PERFMON", { "perf_event_open" } },
};

/* personality(2): the persons that programs ask for, and the question itself. */
static const int64_t personalities[] = { 0x0, 0x8, 0x20000, 0x20008, 0xffffffff };

/* CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, in clone(2)'s flags. */
#define CLONE_NAMESPACE_FLAGS 0x7e020000

static bool has(const struct value *list, const char *text) {
	VALUE_EACH(list, v) {
		if (str_eqc(value_as_str(v), text)) {
			return true;
		}
	}
	return false;
}

static struct value *rule(struct arena *a, struct value *names, const char *action) {
	struct value *r = value_new_object(a);
	set(a, r, "names", names);
	set_str(a, r, "action", str_c(action));
	return r;
}

static struct value *one_name(struct arena *a, const char *name) {
	struct value *names = value_new_array(a);
	value_push_str(a, names, str_c(name));
	return names;
}

/* The rule holds only when the call's first argument compares so. */
static struct value *with_argument(struct arena *a, struct value *r, int64_t value, const char *op) {
	struct value *args = value_new_array(a), *arg = value_new_object(a);
	set_int(a, arg, "index", 0);
	set_int(a, arg, "value", value);
	set_int(a, arg, "valueTwo", 0);
	set_str(a, arg, "op", str_c(op));
	value_push(a, args, arg);
	set(a, r, "args", args);
	return r;
}

struct value *seccomp_default(struct arena *a, const struct value *capabilities) {
	struct value *p = value_new_object(a), *archs = value_new_array(a), *rules = value_new_array(a), *names = value_new_array(a);

	set_str(a, p, "defaultAction", S("SCMP_ACT_ERRNO"));
	set_int(a, p, "defaultErrnoRet", 38); /* ENOSYS: programs fall back to older calls */
#if defined(__x86_64__)
	static const char *const list[] = { "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32" };
#elif defined(__aarch64__)
	static const char *const list[] = { "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM" };
#else
	static const char *const list[] = { "SCMP_ARCH_NATIVE" };
#endif
	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		value_push_str(a, archs, str_c(list[i]));
	}
	set(a, p, "architectures", archs);
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		value_push_str(a, names, str_c(allowed[i]));
	}
	struct value *denied = value_new_array(a);
	for (size_t i = 0; i < ARRAY_LEN(with_capability); i++) {
		bool ok = has(capabilities, with_capability[i].capability);
		for (size_t k = 0; k < ARRAY_LEN(with_capability[i].names) && with_capability[i].names[k]; k++) {
			const char *name = with_capability[i].names[k];
			if (ok && !has(names, name)) {
				value_push_str(a, names, str_c(name));
			}
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(with_capability); i++) {
		for (size_t k = 0; k < ARRAY_LEN(with_capability[i].names) && with_capability[i].names[k]; k++) {
			const char *name = with_capability[i].names[k];
			if (!has(names, name) && !has(denied, name) && strncmp(name, "clone", 5) != 0) {
				value_push_str(a, denied, str_c(name));
			}
		}
	}
	value_push(a, rules, rule(a, names, "SCMP_ACT_ALLOW"));
	if (value_len(denied)) {
		struct value *r = rule(a, denied, "SCMP_ACT_ERRNO");
		set_int(a, r, "errnoRet", 1); /* EPERM, as without the filter */
		value_push(a, rules, r);
	}
	if (!has(names, "clone")) {
		/* Threads and processes, but no namespaces. clone3 hides its flags in memory: programs fall back to clone. */
		value_push(a, rules, with_argument(a, rule(a, one_name(a, "clone"), "SCMP_ACT_ALLOW"), CLONE_NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ"));
		struct value *r = rule(a, one_name(a, "clone3"), "SCMP_ACT_ERRNO");
		set_int(a, r, "errnoRet", 38);
		value_push(a, rules, r);
	}
	for (size_t i = 0; i < ARRAY_LEN(personalities); i++) {
		value_push(a, rules, with_argument(a, rule(a, one_name(a, "personality"), "SCMP_ACT_ALLOW"), personalities[i], "SCMP_CMP_EQ"));
	}
	set(a, p, "syscalls", rules);
	return p;
}
