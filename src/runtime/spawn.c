/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - child processes of the room: the OCI runtime, conmon, and programs run in containers.
 *
 * posix_spawn shares memory with the child until it execs, so the cost does not grow with the size
 * of our process. All descriptors of ours are close-on-exec. Any thread that may block.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/runtime.h"

extern char **environ;

enum { SPAWN_PASS_MAX = 8 };

bool spawn(const struct spawn_opts *opts, pid_t *ret, struct err *err) {
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (opts->session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP);
	const int stdio[3] = { opts->in, opts->out, opts->err_out };
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setflags(&attr, flags);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	for (int i = 0; i < 3; i++) {
		if (stdio[i] < 0) {
			posix_spawn_file_actions_addopen(&files, i, "/dev/null", i ? O_WRONLY : O_RDONLY, 0);
		} else {
			posix_spawn_file_actions_adddup2(&files, stdio[i], i);
		}
	}
	for (size_t i = 0; i < opts->keep_len; i++) {
		/* A descriptor onto itself: loses close-on-exec. */
		posix_spawn_file_actions_adddup2(&files, opts->keep[i], opts->keep[i]);
	}
	int parked[SPAWN_PASS_MAX];
	bool ok = true;
	assert(opts->pass_len <= SPAWN_PASS_MAX);
	for (size_t i = 0; i < opts->pass_len; i++) {
		/* Above the numbers that are given out, so that none overwrites another. */
		parked[i] = fcntl(opts->pass[i], F_DUPFD_CLOEXEC, 3 + SPAWN_PASS_MAX);
		ok = ok && parked[i] >= 0;
		posix_spawn_file_actions_adddup2(&files, MAX(parked[i], 0), 3 + (int)i);
	}
	const char *path = opts->path ? opts->path : opts->argv[0];
	if (ok) {
		errno = posix_spawn(&pid, path, &files, &attr, (char *const *)opts->argv, opts->env ? (char *const *)opts->env : environ);
	}
	ok = (ok && errno == 0) || err_sys(err, "run %s", path);
	for (size_t i = 0; i < opts->pass_len; i++) {
		close_fd_p(&parked[i]);
	}
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (ok) {
		*ret = pid;
	}
	return ok;
}

int spawn_reap(pid_t pid) {
	int status;
	pid_t r;
	do {
		r = waitpid(pid, &status, 0);
	} while (r < 0 && errno == EINTR);
	if (r < 0) {
		return 255;
	}
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int pidfd_of(pid_t pid) {
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* A descriptor below 3 would be overwritten by the child's stdio. */
static bool raise_fd(int *fd) {
	if (*fd >= 3) {
		return true;
	}
	int up = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	close(*fd);
	*fd = up;
	return up >= 0;
}

bool pipe_make(int ret[2], struct err *err) {
	int p[2];
	if (pipe2(p, O_CLOEXEC) != 0) {
		return err_sys(err, "make a pipe");
	}
	bool first = raise_fd(&p[0]), second = raise_fd(&p[1]);
	if (!first || !second) {
		err_sys(err, "duplicate a descriptor");
		close_fd_p(&p[0]);
		close_fd_p(&p[1]);
		return false;
	}
	ret[0] = p[0];
	ret[1] = p[1];
	return true;
}

void run_result_release(struct run_result *r) {
	buf_release(&r->out);
	buf_release(&r->err_out);
}

/* Reads what is there. False at the end. What is over the ceiling is dropped. */
static bool take(int fd, struct buf *b) {
	char chunk[16384];
	ssize_t n = read(fd, chunk, sizeof(chunk));
	if (n < 0) {
		return errno == EAGAIN || errno == EINTR;
	}
	if (n > 0) {
		size_t room = b->max > b->len ? b->max - b->len : 0;
		(void)buf_add(b, chunk, MIN((size_t)n, room));
	}
	return n > 0;
}

static int poll_ms(nsec_t until) {
	if (!until) {
		return -1;
	}
	nsec_t left = until - clock_mono();
	return left <= 0 ? 0 : (int)MIN(left / NSEC_PER_MSEC + 1, (nsec_t)1000000);
}

/* Collects until the child ended; what it wrote before its end is in the pipes by then. False: time is over. */
static bool collect(int pidfd, int fds[2], nsec_t until, struct run_result *r) {
	struct buf *const to[2] = { &r->out, &r->err_out };
	for (;;) {
		struct pollfd p[3] = { { .fd = fds[0], .events = POLLIN }, { .fd = fds[1], .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
		int n = poll(p, 3, poll_ms(until));
		if (n == 0 && until && clock_mono() >= until) {
			return false;
		}
		if (n <= 0) {
			continue;
		}
		for (int i = 0; i < 2; i++) {
			if (p[i].revents && !take(fds[i], to[i])) {
				close_fd_p(&fds[i]);
				fds[i] = -1;
			}
		}
		if (p[2].revents && !(p[0].revents & POLLIN) && !(p[1].revents & POLLIN)) {
			return true;
		}
	}
}

#define RUN_GRACE (2 * NSEC_PER_SEC)

bool run_program(const char *const *argv, const struct run_opts *opts, struct run_result *ret, struct err *err) {
	auto_fd int out_r = -1, out_w = -1, err_r = -1, err_w = -1, pidfd = -1;
	int p[2];
	pid_t pid;

	ret->out.max = ret->out.max ? ret->out.max : 1 << 20;
	ret->err_out.max = ret->err_out.max ? ret->err_out.max : 1 << 20;
	if (!pipe_make(p, err)) {
		return false;
	}
	out_r = p[0], out_w = p[1];
	if (!pipe_make(p, err)) {
		return false;
	}
	err_r = p[0], err_w = p[1];
	struct spawn_opts so = { .argv = argv, .in = -1, .out = out_w, .err_out = err_w };
	if (!spawn(&so, &pid, err)) {
		return false;
	}
	close_fd_p(&out_w), out_w = -1;
	close_fd_p(&err_w), err_w = -1;
	fcntl(out_r, F_SETFL, O_NONBLOCK);
	fcntl(err_r, F_SETFL, O_NONBLOCK);
	pidfd = pidfd_of(pid);
	if (pidfd < 0) {
		err_sys(err, "watch %s", argv[0]);
		kill(pid, SIGKILL);
		spawn_reap(pid);
		return false;
	}
	int fds[2] = { out_r, err_r };
	out_r = err_r = -1;
	bool in_time = collect(pidfd, fds, opts && opts->timeout ? clock_mono() + opts->timeout : 0, ret);
	if (!in_time && !(opts->on_timeout && opts->on_timeout(opts->arg) && collect(pidfd, fds, clock_mono() + RUN_GRACE, ret))) {
		kill(-pid, SIGKILL);
		kill(pid, SIGKILL);
	}
	close_fd_p(&fds[0]);
	close_fd_p(&fds[1]);
	ret->status = spawn_reap(pid);
	if (!in_time) {
		char text[40];
		snprintf(text, sizeof(text), "%.3gs", (double)opts->timeout / 1e9);
		return err_set(err, ERR_TIMEOUT, "command did not end within %s", text);
	}
	return true;
}

/*
 * runc logs `time="..." level=error msg="..."`, crun `2024-01-01T00:00:00.000000Z: ...`, conmon's own lines
 * begin with "[conmon". The last line of the runtime says what was wrong.
 */
struct str runtime_said(struct arena *a, struct str output) {
	struct str rest = str_trim(output), line, last = S("");
	while (str_next(&rest, '\n', &line)) {
		line = str_trim(line);
		if (line.len && !str_starts(line, S("[conmon"))) {
			last = line;
		}
	}
	ptrdiff_t msg = str_find(last, S("msg=\""));
	if (msg >= 0) {
		struct str text = str_from(last, (size_t)msg + 5);
		if (text.len && text.ptr[text.len - 1] == '"') {
			text.len--;
		}
		auto_buf struct buf b = BUF_INIT(64 << 10);
		for (size_t i = 0; i < text.len; i++) {
			if (text.ptr[i] == '\\' && i + 1 < text.len) {
				i++;
			}
			(void)buf_char(&b, text.ptr[i]);
		}
		return arena_str(a, buf_view(&b));
	}
	if (last.len > 29 && last.ptr[4] == '-' && last.ptr[10] == 'T') {
		ptrdiff_t colon = str_find(last, S("Z: "));
		if (colon > 0) {
			last = str_from(last, (size_t)colon + 3);
		}
	}
	return arena_str(a, last);
}

bool run_runtime(struct cri *c, struct err *err, const char *const *words) {
	const char *argv[24];
	size_t n = 0;
	struct run_result r = { 0 };
	struct path root = path_fmt("%s/oci", c->state_dir);

	argv[n++] = c->runtime;
	argv[n++] = "--root";
	argv[n++] = root.c;
	while (*words && n < ARRAY_LEN(argv) - 1) {
		argv[n++] = *words++;
	}
	argv[n] = NULL;
	struct run_opts opts = { .timeout = 120 * NSEC_PER_SEC };
	bool ok = run_program(argv, &opts, &r, err);
	if (ok && r.status != 0) {
		auto_arena struct arena a = { 0 };
		struct str said = runtime_said(&a, r.err_out.len ? buf_view(&r.err_out) : buf_view(&r.out));
		ok = err_set(err, ERR_INTERNAL, "%s %s: %.*s", c->runtime_name, argv[3], STR_ARG(said.len ? said : S("failed and said nothing")));
	}
	run_result_release(&r);
	return ok;
}
