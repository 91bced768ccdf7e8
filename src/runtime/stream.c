/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - programs run in containers (exec), and attachment to a container's own streams. Behind cri.h.
 *
 * An exec is a child of ours: the OCI runtime, which runs the program with the pipes we gave it (or a pty, whose other
 * side it copies) and ends with its exit code. An attachment is conmon's socket, whose packets a small thread sorts into
 * pipes. Streams do not outlive us.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"
#include "runtime/runtime.h"

enum { EXEC_ARGS_MAX = 4096, EXEC_OUTPUT_MAX = 16 << 20, ATTACH_PACKET = 32 << 10 };

struct cri_stream_private {
	struct cri *c;
	struct container *k;   /* counted */
	/* exec */
	pid_t pid;             /* the runtime; 0: reaped, or an attachment */
	int tty;               /* the pty's other name, for resizes; -1 */
	int said;              /* what the runtime itself says with a tty; -1 */
	struct path console;   /* socket on which crun hands over the terminal; "" none */
	struct path process_file, pid_file;
	int exit_code;
	/* attach */
	bool attach;
	int socket, wake[2];
	int to_out, to_err, from_in; /* our ends */
	pthread_t thread;
};

/* ---- exec ---------------------------------------------------------------------------------------- */

static void unique_files(struct cri *c, struct container *k, struct path *process, struct path *pid) {
	char id[RUNTIME_ID_LEN + 1];
	struct path dir = container_dir(c, k->id);
	id_make(id);
	*process = path_fmt("%s/exec-%.16s.json", dir.c, id);
	*pid = path_fmt("%s/exec-%.16s.pid", dir.c, id);
}

/* The container's own process, with other arguments: user, capabilities, environment and folder are the same. */
static bool process_write(struct cri *c, struct container *k, struct cri_strs argv, bool tty, const char *to, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *spec;

	if (!argv.len || argv.len > EXEC_ARGS_MAX) {
		return err_set(err, ERR_INVALID, "a command needs 1 to %d words", EXEC_ARGS_MAX);
	}
	pthread_mutex_lock(&c->lock);
	bool running = k->state == CRI_CONTAINER_RUNNING;
	pthread_mutex_unlock(&c->lock);
	if (!running) {
		return err_set(err, ERR_CONFLICT, "container %s is not running", k->id);
	}
	if (!record_read(&a, path_fmt("%s/config.json", container_dir(c, k->id).c).c, &spec, err)) {
		return false;
	}
	struct value *process = get(spec, "process");
	set(&a, process, "args", record_strs(&a, argv));
	set_bool(&a, process, "terminal", tty);
	if (tty) {
		struct value *env = get(process, "env");
		bool had = false;
		VALUE_EACH(env, v) {
			had = had || str_starts(value_as_str(v), S("TERM="));
		}
		if (!had && env) {
			value_push_str(&a, env, S("TERM=xterm"));
		}
	}
	return record_write(to, process, err);
}

static void exec_files_remove(const struct path *process, const struct path *pid) {
	unlink(process->c);
	unlink(pid->c);
}

static bool exec_pid(const struct path *pid_file, int *ret) {
	auto_buf struct buf b = BUF_INIT(64);
	struct err ignored = { 0 };
	return file_read(pid_file->c, &b, &ignored) && str_to_int(str_trim(buf_view(&b)), 1, INT_MAX, ret);
}

/* Kills the program itself: the runtime's death alone would leave it. False when it did not start. */
static bool exec_kill(const struct path *pid_file) {
	int pid;
	return exec_pid(pid_file, &pid) && kill(pid, SIGKILL) == 0;
}

/*
 * The runtime is the program's parent, from outside the container's process namespace: were both killed at once, the
 * program would stay a zombie there until the node's init looked, and the container could not end before.
 */
static bool on_exec_timeout(void *arg) {
	return exec_kill(arg);
}

void cri_exec_result_release(struct cri_exec_result *r) {
	buf_release(&r->out);
	buf_release(&r->err);
}

bool cri_exec_sync(struct cri *c, struct str id, struct cri_strs argv, nsec_t timeout, struct cri_exec_result *ret, struct err *err) {
	struct path process, pid_file, root = path_fmt("%s/oci", c->state_dir);
	struct container *k;
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	unique_files(c, k, &process, &pid_file);
	bool ok = process_write(c, k, argv, false, process.c, err);
	if (ok) {
		const char *const words[] = { c->runtime, "--root", root.c, "exec", "--process", process.c, "--pid-file", pid_file.c, k->id, NULL };
		struct run_opts opts = { .timeout = timeout, .on_timeout = on_exec_timeout, .arg = &pid_file };
		struct run_result r = { .out = ret->out, .err_out = ret->err };
		r.out.max = r.out.max ? r.out.max : EXEC_OUTPUT_MAX;
		r.err_out.max = r.err_out.max ? r.err_out.max : EXEC_OUTPUT_MAX;
		ok = run_program(words, &opts, &r, err);
		ret->out = r.out;
		ret->err = r.err_out;
		ret->exit_code = r.status;
		if (ok && r.status != 0 && access(pid_file.c, F_OK) != 0) {
			auto_arena struct arena a = { 0 };
			struct str said = runtime_said(&a, buf_view(&ret->err));
			ok = err_set(err, ERR_INTERNAL, "cannot run \"%.*s\" in the container: %.*s", STR_ARG(argv.at[0]), STR_ARG(said.len ? said : S("the runtime said nothing")));
		}
	}
	exec_files_remove(&process, &pid_file);
	container_put(c, k);
	return ok;
}

static void stream_clear(struct cri_stream *s) {
	s->in = s->out = s->err_out = s->done = -1;
	s->priv = NULL;
}

static struct cri_stream_private *private_new(struct cri *c, struct container *k) {
	struct cri_stream_private *p = xcalloc(1, sizeof(*p));
	p->c = c;
	p->k = k;
	p->tty = p->said = p->socket = p->wake[0] = p->wake[1] = p->to_out = p->to_err = p->from_in = -1;
	return p;
}

static bool pty_make(int *ret_master, int *ret_slave, struct err *err) {
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave = -1;
	char name[64];
	if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 || ptsname_r(master, name, sizeof(name)) != 0 ||
		(slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
		err_sys(err, "make a terminal");
		close_fd_p(&master);
		return false;
	}
	*ret_master = master;
	*ret_slave = slave;
	return true;
}

/* Our ends in `s`, the child's in `theirs`. */
static bool ends_make(const struct cri_stream_opts *opts, struct cri_stream *s, int theirs[3], struct err *err) {
	int p[2];
	if (opts->tty) {
		int master, slave;
		if (!pty_make(&master, &slave, err)) {
			return false;
		}
		s->out = master;
		s->in = fcntl(master, F_DUPFD_CLOEXEC, 3);
		theirs[0] = theirs[1] = theirs[2] = slave;
		return true;
	}
	if (opts->in) {
		if (!pipe_make(p, err)) {
			return false;
		}
		theirs[0] = p[0], s->in = p[1];
	}
	if (opts->out) {
		if (!pipe_make(p, err)) {
			return false;
		}
		theirs[1] = p[1], s->out = p[0];
	}
	if (opts->err_out) {
		if (!pipe_make(p, err)) {
			return false;
		}
		theirs[2] = p[1], s->err_out = p[0];
	}
	return true;
}

static void ends_close(int theirs[3]) {
	for (int i = 0; i < 3; i++) {
		if (theirs[i] >= 0 && (i == 0 || theirs[i] != theirs[0])) {
			close(theirs[i]);
		}
	}
}

/* Listens where the runtime hands the terminal over. */
static bool console_listen(struct cri *c, struct cri_stream_private *p, int *ret, struct err *err) {
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char id[RUNTIME_ID_LEN + 1];
	id_make(id);
	p->console = path_fmt("%s/tmp/tty-%.16s", c->state_dir, id);
	memcpy(at.sun_path, p->console.c, MIN(strlen(p->console.c) + 1, sizeof(at.sun_path) - 1)); /* state_dir is bounded so that it fits */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 1) != 0) {
		err_sys(err, "listen on %s", p->console.c);
		close_fd_p(&fd);
		return false;
	}
	*ret = fd;
	return true;
}

static int descriptor_receive(int from) {
	char byte;
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room) };
	int fd = -1;
	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) < 0) {
		return -1;
	}
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len >= CMSG_LEN(sizeof(int))) {
		memcpy(&fd, CMSG_DATA(h), sizeof(int));
	}
	return fd;
}

static bool exec_never_began(struct cri_stream_private *p, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = BUF_INIT(64 << 10);
	if (p->said >= 0) {
		fcntl(p->said, F_SETFL, O_NONBLOCK);
		char *room = buf_reserve(&b, 16384);
		ssize_t n = read(p->said, room, 16384);
		b.len += n > 0 ? (size_t)n : 0;
	}
	struct str said = runtime_said(&a, buf_view(&b));
	return err_set(err, ERR_INTERNAL, "cannot run the command in container %s%s%.*s", p->k->id, said.len ? ": " : "", STR_ARG(said));
}

/* Waits for the terminal, or for the runtime to give up. */
static bool console_take(struct cri_stream_private *p, int listener, struct cri_stream *s, struct err *err) {
	struct pollfd f[2] = { { .fd = listener, .events = POLLIN }, { .fd = s->done, .events = POLLIN } };
	int n = poll(f, 2, 30000);
	if (n > 0 && f[0].revents) {
		auto_fd int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		s->out = peer >= 0 ? descriptor_receive(peer) : -1;
		s->in = s->out >= 0 ? fcntl(s->out, F_DUPFD_CLOEXEC, 3) : -1;
		p->tty = s->out >= 0 ? fcntl(s->out, F_DUPFD_CLOEXEC, 3) : -1;
		return s->out >= 0 || err_sys(err, "take over the terminal");
	}
	return n > 0 ? exec_never_began(p, err) : err_set(err, ERR_TIMEOUT, "the runtime made no terminal within 30s");
}

/*
 * With a terminal: crun hands over the pty's other side, so that nothing stands in between. runc does so only for
 * programs it does not wait for; there the runtime gets a pty of ours and copies.
 */
static bool exec_run(struct cri *c, struct cri_stream_private *p, const struct cri_stream_opts *opts, struct cri_stream *s, struct err *err) {
	struct path root = path_fmt("%s/oci", c->state_dir);
	bool direct = opts->tty && strcmp(c->runtime_name, "crun") == 0;
	int theirs[3] = { -1, -1, -1 }, said[2] = { -1, -1 };
	auto_fd int listener = -1;
	const char *argv[20];
	size_t n = 0;

	const char *const words[] = { c->runtime, "--root", root.c, "exec", "--process", p->process_file.c, "--pid-file", p->pid_file.c };
	for (; n < ARRAY_LEN(words); n++) {
		argv[n] = words[n];
	}
	if (direct) {
		if (!console_listen(c, p, &listener, err) || !pipe_make(said, err)) {
			return false;
		}
		p->said = said[0];
		theirs[2] = said[1];
		argv[n++] = "--console-socket";
		argv[n++] = p->console.c;
	}
	if (opts->tty) {
		argv[n++] = "--tty";
	}
	argv[n++] = p->k->id;
	argv[n] = NULL;
	bool ok = direct || ends_make(opts, s, theirs, err);
	if (ok) {
		struct spawn_opts so = { .argv = argv, .in = theirs[0], .out = theirs[1], .err_out = theirs[2], .session = true };
		ok = spawn(&so, &p->pid, err);
	}
	if (opts->tty && !direct && ok) {
		p->tty = fcntl(s->out, F_DUPFD_CLOEXEC, 3);
	}
	ends_close(theirs);
	if (ok) {
		s->done = pidfd_of(p->pid);
		ok = s->done >= 0 || err_sys(err, "watch the exec");
	}
	return ok && (!direct || console_take(p, listener, s, err));
}

bool cri_exec_start(struct cri *c, struct str id, struct cri_strs argv, const struct cri_stream_opts *opts, struct cri_stream *ret, struct err *err) {
	struct cri_stream s;
	struct container *k;
	stream_clear(&s);
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	struct cri_stream_private *p = private_new(c, k);
	s.priv = p;
	unique_files(c, k, &p->process_file, &p->pid_file);
	if (!process_write(c, k, argv, opts->tty, p->process_file.c, err) || !exec_run(c, p, opts, &s, err)) {
		cri_stream_free(&s);
		return false;
	}
	*ret = s;
	return true;
}

/* ---- attach -------------------------------------------------------------------------------------- */

static bool write_all(int fd, const char *bytes, size_t len) {
	while (len) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

/* Sorts conmon's packets (first byte: 2 output, 3 errors) and passes input on, until either side is done. */
static void *attach_main(void *arg) {
	struct cri_stream_private *p = arg;
	char *packet = xmalloc(ATTACH_PACKET);
	sigset_t pipe_signal;
	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL); /* a reader that went is an error of write() here */
	pthread_setname_np(pthread_self(), "cri-attach");
	for (;;) {
		struct pollfd f[3] = { { .fd = p->socket, .events = POLLIN }, { .fd = p->from_in, .events = POLLIN }, { .fd = p->wake[0], .events = POLLIN } };
		if (poll(f, 3, -1) < 0) {
			continue;
		}
		if (f[2].revents) {
			break;
		}
		if (f[0].revents) {
			ssize_t n = recv(p->socket, packet, ATTACH_PACKET, 0);
			if (n < 0 && errno == EINTR) {
				continue;
			}
			if (n <= 0) {
				break;
			}
			int to = packet[0] == 3 ? p->to_err : p->to_out;
			if (to >= 0 && !write_all(to, packet + 1, (size_t)n - 1)) {
				close_fd_p(packet[0] == 3 ? &p->to_err : &p->to_out);
				*(packet[0] == 3 ? &p->to_err : &p->to_out) = -1;
			}
		}
		if (f[1].revents) {
			ssize_t n = read(p->from_in, packet, 8192); /* conmon takes at most 32 KiB a packet */
			if (n > 0 && !write_all(p->socket, packet, (size_t)n)) {
				break;
			}
			if (n <= 0) {
				close_fd_p(&p->from_in);
				p->from_in = -1;
				shutdown(p->socket, SHUT_WR);
			}
		}
	}
	free(packet);
	close_fd_p(&p->to_out), p->to_out = -1;
	close_fd_p(&p->to_err), p->to_err = -1;
	uint64_t one = 1;
	(void)!write(p->wake[1], &one, sizeof(one));
	return NULL;
}

static bool attach_connect(struct cri *c, struct container *k, int *ret, struct err *err) {
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	snprintf(to.sun_path, sizeof(to.sun_path), "%s/s/%.16s/attach", c->state_dir, k->id);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0) {
		err_sys(err, "attach to container %s", k->id);
		close_fd_p(&fd);
		return false;
	}
	*ret = fd;
	return true;
}

static bool attach_open(struct cri *c, struct cri_stream_private *p, const struct cri_stream_opts *opts, struct cri_stream *s, struct err *err) {
	int pair[2];
	if (opts->in && !p->k->stdin) {
		return err_set(err, ERR_INVALID, "container %s was made without stdin", p->k->id);
	}
	p->attach = true;
	if (!attach_connect(c, p->k, &p->socket, err)) {
		return false;
	}
	if (opts->in) {
		if (!pipe_make(pair, err)) {
			return false;
		}
		p->from_in = pair[0], s->in = pair[1];
	}
	if (opts->out) {
		if (!pipe_make(pair, err)) {
			return false;
		}
		p->to_out = pair[1], s->out = pair[0];
	}
	if (opts->err_out && !p->k->tty) {
		if (!pipe_make(pair, err)) {
			return false;
		}
		p->to_err = pair[1], s->err_out = pair[0];
	}
	p->wake[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* ends the thread */
	p->wake[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* tells that it ended */
	s->done = fcntl(p->wake[1], F_DUPFD_CLOEXEC, 3);
	if (p->wake[0] < 0 || p->wake[1] < 0 || s->done < 0) {
		return err_sys(err, "make an event");
	}
	errno = pthread_create(&p->thread, NULL, attach_main, p);
	if (errno != 0) {
		p->thread = 0;
		return err_sys(err, "start a thread");
	}
	return true;
}

bool cri_attach(struct cri *c, struct str id, const struct cri_stream_opts *opts, struct cri_stream *ret, struct err *err) {
	struct cri_stream s;
	struct container *k;
	stream_clear(&s);
	if (!container_find(c, id, &k, err)) {
		return false;
	}
	s.priv = private_new(c, k);
	if (!attach_open(c, s.priv, opts, &s, err)) {
		cri_stream_free(&s);
		return false;
	}
	*ret = s;
	return true;
}

/* ---- both ---------------------------------------------------------------------------------------- */

void cri_stream_resize(struct cri_stream *s, uint16_t columns, uint16_t rows) {
	struct cri_stream_private *p = s->priv;
	if (p->attach) {
		struct path ctl = path_fmt("%s/ctl", container_dir(p->c, p->k->id).c);
		auto_fd int fd = open(ctl.c, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		char text[40];
		int n = snprintf(text, sizeof(text), "1 %u %u\n", rows, columns);
		if (fd >= 0) {
			(void)!write(fd, text, (size_t)n); /* one command a write */
		}
		return;
	}
	struct winsize size = { .ws_col = columns, .ws_row = rows };
	if (p->tty >= 0 && ioctl(p->tty, TIOCSWINSZ, &size) == 0 && p->pid) {
		kill(p->pid, SIGWINCH); /* the pty is nobody's controlling terminal on this side */
	}
}

bool cri_stream_wait(struct cri_stream *s, int *ret_exit_code, struct err *err) {
	struct cri_stream_private *p = s->priv;
	if (p->attach) {
		struct pollfd f = { .fd = p->wake[1], .events = POLLIN };
		while (poll(&f, 1, -1) < 0) {
		}
		/* conmon closes the socket a moment before it leaves the exit code. */
		if (!monitor_wait_exit(p->c, p->k, clock_mono() + 2 * NSEC_PER_SEC)) {
			*ret_exit_code = 0; /* detached; it runs on */
			return true;
		}
		pthread_mutex_lock(&p->c->lock);
		*ret_exit_code = p->k->exit_code;
		pthread_mutex_unlock(&p->c->lock);
		return true;
	}
	if (p->pid) {
		p->exit_code = spawn_reap(p->pid);
		p->pid = 0;
		if (p->exit_code != 0 && access(p->pid_file.c, F_OK) != 0) {
			return exec_never_began(p, err);
		}
	}
	*ret_exit_code = p->exit_code;
	return true;
}

void cri_stream_free(struct cri_stream *s) {
	struct cri_stream_private *p = s->priv;
	if (!p) {
		return;
	}
	if (p->pid) {
		struct pollfd f = { .fd = s->done, .events = POLLIN };
		/* Nobody reads any more: a runtime that copies must not wait for that. */
		close_fd_p(&s->in), s->in = -1;
		close_fd_p(&s->out), s->out = -1;
		close_fd_p(&s->err_out), s->err_out = -1;
		if (exec_kill(&p->pid_file) && f.fd >= 0) {
			(void)poll(&f, 1, 2000);
		}
		kill(-p->pid, SIGKILL);
		kill(p->pid, SIGKILL);
		spawn_reap(p->pid);
	}
	if (p->thread) {
		uint64_t one = 1;
		(void)!write(p->wake[0], &one, sizeof(one));
		/* A reader that stopped reading would hold the thread: close its pipe first. */
		close_fd_p(&s->out), s->out = -1;
		close_fd_p(&s->err_out), s->err_out = -1;
		pthread_join(p->thread, NULL);
	}
	if (p->process_file.c[0]) {
		exec_files_remove(&p->process_file, &p->pid_file);
	}
	if (p->console.c[0]) {
		unlink(p->console.c);
	}
	close_fd_p(&p->said);
	close_fd_p(&s->in);
	close_fd_p(&s->out);
	close_fd_p(&s->err_out);
	close_fd_p(&s->done);
	close_fd_p(&p->tty);
	close_fd_p(&p->socket);
	close_fd_p(&p->wake[0]);
	close_fd_p(&p->wake[1]);
	close_fd_p(&p->to_out);
	close_fd_p(&p->to_err);
	close_fd_p(&p->from_in);
	container_put(p->c, p->k);
	free(p);
	stream_clear(s);
}
