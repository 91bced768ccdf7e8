/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.c - text, a bounded buffer, errors, signals and other ground of the test server.
 *
 * Called by every other file. Any thread.
 */
#include "base.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { THREAD_STACK_BYTES = 256 * 1024 };

/* ---- text ---- */

struct str str_from(const char *text) {
	return (struct str){ text, text ? strlen(text) : 0 };
}

bool str_eq(struct str a, struct str b) {
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool str_eq_nocase(struct str a, struct str b) {
	return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

bool str_has_prefix(struct str s, struct str prefix) {
	return s.len >= prefix.len && str_eq((struct str){ s.ptr, prefix.len }, prefix);
}

struct str str_trim(struct str s) {
	while (s.len > 0 && isspace((unsigned char)s.ptr[0])) {
		s.ptr++;
		s.len--;
	}
	while (s.len > 0 && isspace((unsigned char)s.ptr[s.len - 1])) {
		s.len--;
	}
	return s;
}

struct str str_cut(struct str *s, char at) {
	const char *found = s->len ? memchr(s->ptr, at, s->len) : NULL;
	struct str head = *s;

	if (!found) {
		*s = (struct str){ s->ptr + s->len, 0 };
		return head;
	}
	head.len = (size_t)(found - s->ptr);
	*s = (struct str){ found + 1, s->len - head.len - 1 };
	return head;
}

bool str_int(struct str s, int64_t low, int64_t high, int64_t *ret) {
	bool negative = s.len > 0 && s.ptr[0] == '-';
	int64_t n = 0;

	if (s.len == (negative ? 1 : 0)) {
		return false;
	}
	for (size_t i = negative; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9' || n > (INT64_MAX - 9) / 10) {
			return false;
		}
		n = n * 10 + (s.ptr[i] - '0');
	}
	n = negative ? -n : n;
	if (n < low || n > high) {
		return false;
	}
	*ret = n;
	return true;
}

char *str_dup(struct str s) {
	char *copy = xcalloc(s.len + 1, 1);

	if (s.len > 0) {
		memcpy(copy, s.ptr, s.len);
	}
	return copy;
}

/* ---- errors ---- */

bool err_set(struct err *err, const char *fmt, ...) {
	va_list ap;

	err->code = ERR_OTHER;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return false;
}

bool err_code(struct err *err, enum err_code code, const char *fmt, ...) {
	va_list ap;

	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return false;
}

bool err_sys(struct err *err, const char *fmt, ...) {
	int sys = errno;
	size_t len;
	va_list ap;

	err->code = sys == ECONNREFUSED ? ERR_REFUSED : sys == ETIMEDOUT || sys == EAGAIN ? ERR_TIMEOUT : ERR_OTHER;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerror(sys));
	return false;
}

/* ---- buffer ---- */

void buf_release(struct buf *b) {
	free(b->ptr);
	*b = (struct buf){ 0 };
}

void buf_clear(struct buf *b) {
	b->len = 0;
	b->overflown = false;
	if (b->ptr) {
		b->ptr[0] = '\0';
	}
}

static bool buf_reserve(struct buf *b, size_t more) {
	size_t max = b->max ? b->max : BUF_MAX;
	size_t cap = b->cap ? b->cap : 256;

	if (b->overflown || more > max - b->len) {
		b->overflown = true;
		return false;
	}
	if (b->len + more < b->cap) {
		return true;
	}
	while (cap <= b->len + more) {
		cap *= 2;
	}
	b->ptr = realloc(b->ptr, cap);
	if (!b->ptr) {
		abort();
	}
	b->cap = cap;
	return true;
}

bool buf_add(struct buf *b, struct str s) {
	if (!buf_reserve(b, s.len)) {
		return false;
	}
	if (s.len > 0) {
		memcpy(b->ptr + b->len, s.ptr, s.len);
	}
	b->len += s.len;
	b->ptr[b->len] = '\0';
	return true;
}

bool buf_addf(struct buf *b, const char *fmt, ...) {
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !buf_reserve(b, (size_t)n)) {
		return false;
	}
	va_start(ap, fmt);
	vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return true;
}

void buf_consume(struct buf *b, size_t n) {
	if (n == 0) {
		return;
	}
	memmove(b->ptr, b->ptr + n, b->len - n);
	b->len -= n;
	b->ptr[b->len] = '\0';
}

struct str buf_str(const struct buf *b) {
	return (struct str){ b->ptr, b->len };
}

/* ---- the process ---- */

static void term_set(sigset_t *set) {
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
}

void term_init(void) {
	sigset_t set;

	/* Blocked signals stay pending even for process 1, to whom the kernel applies no default. */
	term_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int term_wait(int timeout_ms) {
	struct timespec limit = { timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000 };
	int64_t end = now_ms() + timeout_ms;
	sigset_t set;
	int sig;

	term_set(&set);
	for (;;) {
		sig = timeout_ms < 0 ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &limit);
		if (sig > 0) {
			return sig;
		}
		if (errno != EINTR) {
			return 0;
		}
		if (timeout_ms >= 0) {
			int64_t left = end - now_ms();

			left = left < 0 ? 0 : left;
			limit = (struct timespec){ left / 1000, (left % 1000) * 1000000 };
		}
	}
}

static void on_term(int sig) {
	_exit(128 + sig);
}

void term_exits(void) {
	sigset_t set;

	signal(SIGTERM, on_term);
	signal(SIGINT, on_term);
	term_set(&set);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void term_reset(void) {
	sigset_t set;

	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
}

int64_t now_ms(void) {
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct str host_name(void) {
	static __thread char name[256];

	if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') {
		return S("localhost");
	}
	return str_from(name);
}

void log_line(const char *fmt, ...) {
	char text[2048], stamp[32];
	struct timespec ts;
	struct tm tm;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y/%m/%d %H:%M:%S", &tm);
	/* One call, one write: lines of several threads do not mix. */
	dprintf(STDERR_FILENO, "%s %s\n", stamp, text);
}

bool out_line(const char *fmt, ...) {
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vdprintf(STDOUT_FILENO, fmt, ap);
	va_end(ap);
	return n >= 0 && fd_write_all(STDOUT_FILENO, S("\n"));
}

bool file_read(const char *path, struct buf *out, struct err *err) {
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char bytes[8192];
	ssize_t n;

	if (fd < 0) {
		return err_sys(err, "open %s", path);
	}
	while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
		if (!buf_add(out, (struct str){ bytes, (size_t)n })) {
			return err_set(err, "read %s: the file is too large", path);
		}
	}
	return n == 0 || err_sys(err, "read %s", path);
}

void *xcalloc(size_t n, size_t size) {
	void *p = calloc(n, size);

	if (!p) {
		abort();
	}
	return p;
}

bool thread_start(void *(*run)(void *), void *arg, struct err *err) {
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return rc == 0 || err_set(err, "start a thread: %s", strerror(rc));
}

void fd_close_p(int *fd) {
	if (*fd >= 0) {
		close(*fd);
	}
	*fd = -1;
}

bool fd_write_all(int fd, struct str s) {
	while (s.len > 0) {
		ssize_t n = write(fd, s.ptr, s.len);

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		s.ptr += n;
		s.len -= (size_t)n;
	}
	return true;
}
