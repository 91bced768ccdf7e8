/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holder.c - starts the process that holds a sandbox's namespaces: one clone, a few system calls, and
 * the static program `pause`. Some 1 ms, where an OCI runtime under a monitor takes 16 to 30 ms and
 * keeps a second process.
 *
 * The child shares our memory until it execs (CLONE_VM | CLONE_VFORK: the parent waits), so it makes
 * raw system calls only: libc's setuid() would change all our threads. It reports through `struct
 * plan`. It ends up with no capability, no root and no descriptor of ours.
 */
#include "runtime/holder.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HOLDER_STACK_BYTES = 64 << 10, HOLDER_ID = 65535 };

/* The thread sanitizer cannot follow a child in our memory: there it gets a copy. */
#if defined(__SANITIZE_THREAD__)
#define HOLDER_CLONE (CLONE_VFORK | SIGCHLD)
#else
#define HOLDER_CLONE (CLONE_VM | CLONE_VFORK | SIGCHLD)
#endif

struct plan {
	const struct holder_opts *opts;
	const char *failed; /* what, when a step failed */
	const char *which;  /* the sysctl's path, else NULL */
	int sys;
};

static int give_up(struct plan *p, const char *what, const char *which) {
	p->sys = errno;
	p->failed = what;
	p->which = which;
	_exit(1);
}

static bool put_file(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	bool ok = fd >= 0 && write(fd, text, len) == (ssize_t)len;
	int sys = errno;
	if (fd >= 0) {
		close(fd);
	}
	errno = sys;
	return ok;
}

static bool loopback_up(void) {
	struct ifreq r = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &r) == 0;
	if (ok) {
		r.ifr_flags |= IFF_UP;
		ok = ioctl(fd, SIOCSIFFLAGS, &r) == 0;
	}
	int sys = errno;
	if (fd >= 0) {
		close(fd);
	}
	errno = sys;
	return ok;
}

static int holder_child(void *arg) {
	struct plan *p = arg;
	const struct holder_opts *o = p->opts;
	static const char *const argv[] = { "/pause", NULL }, *const env[] = { NULL };
	sigset_t none;

	if ((o->namespaces & CLONE_NEWUTS) && sethostname(o->hostname, strlen(o->hostname)) != 0) {
		return give_up(p, "set the host name", NULL);
	}
	if ((o->namespaces & CLONE_NEWNET) && !loopback_up()) {
		return give_up(p, "bring lo up", NULL);
	}
	for (size_t i = 0; i < o->sysctls_len; i++) {
		if (!put_file(o->sysctls[i].path, o->sysctls[i].value)) {
			return give_up(p, "set sysctl", o->sysctls[i].path);
		}
	}
	if (o->oom_score_adj) {
		(void)put_file("/proc/self/oom_score_adj", o->oom_score_adj);
	}
	int nothing = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3 && nothing >= 0; i++) {
		dup2(nothing, i);
	}
	syscall(SYS_close_range, 3U, ~0U, 0U);
	syscall(SYS_setsid);
	if (chroot(o->root) != 0 || chdir("/") != 0) {
		return give_up(p, "enter its folder", NULL);
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_setgroups, 0, NULL) != 0 || syscall(SYS_setresgid, HOLDER_ID, HOLDER_ID, HOLDER_ID) != 0 ||
		syscall(SYS_setresuid, HOLDER_ID, HOLDER_ID, HOLDER_ID) != 0) {
		return give_up(p, "drop its rights", NULL);
	}
	sigemptyset(&none);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, _NSIG / 8);
	execve(argv[0], (char *const *)argv, (char *const *)env);
	return give_up(p, "run pause", NULL);
}

bool holder_start(const struct holder_opts *opts, int *ret_pid, struct err *err) {
	sigset_t all, old;
	/* The stack, and at its low end the plan, which is shared in any case. */
	char *stack = mmap(NULL, HOLDER_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (stack == MAP_FAILED) {
		return err_sys(err, "map a stack");
	}
	struct plan *shared = (struct plan *)stack;
	*shared = (struct plan){ .opts = opts };
	/* No handler of ours may run in the child while it shares our memory. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int pid = clone(holder_child, stack + HOLDER_STACK_BYTES, HOLDER_CLONE | opts->namespaces, shared);
	int sys = errno;
	struct plan plan = *shared;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	munmap(stack, HOLDER_STACK_BYTES);
	errno = sys;
	if (pid < 0) {
		return err_sys(err, "make the sandbox's namespaces");
	}
	if (plan.failed) {
		waitpid(pid, NULL, 0);
		errno = plan.sys;
		return plan.which ? err_sys(err, "set sysctl %s", plan.which) : err_sys(err, "start the sandbox's holder: %s", plan.failed);
	}
	*ret_pid = pid;
	return true;
}
