/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - runs a program to its end in the calling thread: for runtimes, mounts, hooks.
 *
 * The child leads a process group of its own. Its end is seen through a pidfd, so that no SIGCHLD
 * handler is needed and nobody else's children are reaped. What a daemon among its descendants holds
 * open is not waited for: once the child has ended, what is in the pipes is the output.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop/loop.h"

#define OUTPUT_MAX_DEFAULT ((size_t)1 << 20)
#define PASS_FDS_MAX 16
#define FD_SPARE 64 /* copies of passed fds go above, out of the way of the numbers that they get */

extern char **environ;

enum { CHILD_IN, CHILD_OUT, CHILD_ERR, CHILD_ENDS };

/* What one run holds; all fds are -1 when closed. */
struct run {
	const struct child_opts *opts;
	int ours[CHILD_ENDS];   /* non-blocking */
	int theirs[CHILD_ENDS];
	int spare[PASS_FDS_MAX];
	int pidfd;
	pid_t pid;
	size_t written; /* of opts->input */
};

static void fd_close(int *fd) {
	close_fd_p(fd);
	*fd = -1;
}

static void run_release(struct run *r) {
	for (size_t i = 0; i < CHILD_ENDS; i++) {
		fd_close(&r->ours[i]);
		fd_close(&r->theirs[i]);
	}
	for (size_t i = 0; i < PASS_FDS_MAX; i++) {
		fd_close(&r->spare[i]);
	}
	fd_close(&r->pidfd);
}

static bool pipes_make(struct run *r, struct err *err) {
	for (int i = 0; i < CHILD_ENDS; i++) {
		int ends[2];
		if (i == CHILD_IN && !r->opts->input.len) {
			r->theirs[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
			if (r->theirs[i] < 0) {
				return err_sys(err, "open /dev/null");
			}
			continue;
		}
		if (pipe2(ends, O_CLOEXEC) != 0) {
			return err_sys(err, "make a pipe for %s", r->opts->argv[0]);
		}
		r->ours[i] = ends[i == CHILD_IN];
		r->theirs[i] = ends[i != CHILD_IN];
		fcntl(r->ours[i], F_SETFL, O_NONBLOCK);
	}
	return true;
}

static int actions_add(struct run *r, posix_spawn_file_actions_t *actions) {
	int rc = 0;
	for (int i = 0; i < CHILD_ENDS; i++) {
		rc = rc ? rc : posix_spawn_file_actions_adddup2(actions, r->theirs[i], i);
	}
	for (size_t i = 0; i < r->opts->pass_fds_len; i++) {
		r->spare[i] = fcntl(r->opts->pass_fds[i], F_DUPFD_CLOEXEC, FD_SPARE);
		if (r->spare[i] < 0) {
			return errno;
		}
		rc = rc ? rc : posix_spawn_file_actions_adddup2(actions, r->spare[i], 3 + (int)i);
	}
	if (r->opts->cwd) {
		rc = rc ? rc : posix_spawn_file_actions_addchdir_np(actions, r->opts->cwd);
	}
	return rc;
}

static bool spawn(struct run *r, struct err *err) {
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, usual;

	sigemptyset(&none);
	sigemptyset(&usual); /* those that a program may find ignored, and would not expect to */
	sigaddset(&usual, SIGPIPE), sigaddset(&usual, SIGINT), sigaddset(&usual, SIGTERM);
	sigaddset(&usual, SIGHUP), sigaddset(&usual, SIGQUIT), sigaddset(&usual, SIGCHLD);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &usual);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&actions);
	int rc = actions_add(r, &actions);
	if (!rc) {
		rc = posix_spawnp(&r->pid, r->opts->argv[0], &actions, &attr, (char *const *)r->opts->argv,
			r->opts->env ? (char *const *)r->opts->env : environ);
	}
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	for (int i = 0; i < CHILD_ENDS; i++) {
		fd_close(&r->theirs[i]);
	}
	if (rc) {
		errno = rc;
		err_sys(err, "run %s%s%s", r->opts->argv[0], r->opts->cwd ? " in " : "", r->opts->cwd ? r->opts->cwd : "");
		err->code = rc == ENOENT ? ERR_NOT_FOUND : ERR_IO;
		return false;
	}
	return true;
}

/* Reads what is there. What is over the limit is read and dropped, so that the child never hangs on a full pipe. */
static void output_read(int *fd, struct buf *b) {
	char tmp[16384];
	for (;;) {
		ssize_t n = read(*fd, tmp, sizeof(tmp));
		if (n > 0) {
			size_t room = b->max - b->len;
			buf_add(b, tmp, MIN((size_t)n, room));
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else {
			if (n == 0 || errno != EAGAIN) {
				fd_close(fd);
			}
			return;
		}
	}
}

static void input_write(struct run *r) {
	while (r->written < r->opts->input.len) {
		ssize_t n = write(r->ours[CHILD_IN], r->opts->input.ptr + r->written, r->opts->input.len - r->written);
		if (n > 0) {
			r->written += (size_t)n;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN) {
			return;
		} else {
			break; /* it does not read its input: its own business */
		}
	}
	fd_close(&r->ours[CHILD_IN]);
}

/* Moves bytes until the child has ended; false when its time is over. */
static bool serve(struct run *r, struct child_result *ret) {
	nsec_t end = r->opts->timeout ? clock_mono() + r->opts->timeout : 0;
	for (;;) {
		struct pollfd p[] = {
			{ .fd = r->pidfd, .events = POLLIN },
			{ .fd = r->ours[CHILD_OUT], .events = POLLIN },
			{ .fd = r->ours[CHILD_ERR], .events = POLLIN },
			{ .fd = r->ours[CHILD_IN], .events = POLLOUT },
		};
		nsec_t left = end ? end - clock_mono() : 0;
		if (end && left <= 0) {
			return false;
		}
		int n = poll(p, ARRAY_LEN(p), end ? (int)MIN(left / NSEC_PER_MSEC + 1, (nsec_t)60000) : -1);
		if (n <= 0) {
			continue; /* a signal, or the time: seen above */
		}
		if (p[3].revents) {
			input_write(r);
		}
		if (p[1].revents) {
			output_read(&r->ours[CHILD_OUT], &ret->out);
		}
		if (p[2].revents) {
			output_read(&r->ours[CHILD_ERR], &ret->err_out);
		}
		if (p[0].revents) {
			return true;
		}
	}
}

static int reap(pid_t pid) {
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void child_result_release(struct child_result *r) {
	buf_release(&r->out);
	buf_release(&r->err_out);
}

bool child_run(const struct child_opts *opts, struct child_result *ret, struct err *err) {
	CLEANUP(run_release) struct run r = { .opts = opts, .ours = { -1, -1, -1 }, .theirs = { -1, -1, -1 }, .pidfd = -1 };
	size_t max = opts->output_max ? opts->output_max : OUTPUT_MAX_DEFAULT;
	struct child_result result = { .out.max = max, .err_out.max = max };

	assert(opts->pass_fds_len <= PASS_FDS_MAX);
	for (size_t i = 0; i < PASS_FDS_MAX; i++) {
		r.spare[i] = -1;
	}
	if (!pipes_make(&r, err) || !spawn(&r, err)) {
		return false;
	}
	r.pidfd = (int)syscall(SYS_pidfd_open, r.pid, 0);
	bool ended = r.pidfd >= 0;
	pool_wait_begin();
	if (!ended) {
		err_sys(err, "watch process %d", (int)r.pid);
	} else if (!(ended = serve(&r, &result))) {
		err_set(err, ERR_TIMEOUT, "%s did not end within %lld ms", opts->argv[0], (long long)(opts->timeout / NSEC_PER_MSEC));
	}
	if (!ended) {
		kill(-r.pid, SIGKILL);
		kill(r.pid, SIGKILL); /* it may not have made its group yet */
	}
	result.status = reap(r.pid);
	pool_wait_end();
	if (!ended) {
		child_result_release(&result);
		return false;
	}
	if (r.ours[CHILD_OUT] >= 0) {
		output_read(&r.ours[CHILD_OUT], &result.out);
	}
	if (r.ours[CHILD_ERR] >= 0) {
		output_read(&r.ours[CHILD_ERR], &result.err_out);
	}
	*ret = result;
	return true;
}
