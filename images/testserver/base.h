/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - what every file of the test server stands on: text, a bounded buffer, errors, signals.
 *
 * The test server is a container's program, built apart from coracle with nothing but libc, so that
 * its image stays small. The words mean what they mean in src/base.
 */
#ifndef TESTSERVER_BASE_H
#define TESTSERVER_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* ---- text: a pointer and a length, borrowed ---- */

struct str {
	const char *ptr; /* borrowed, not NUL-ended; may be NULL when len is 0 */
	size_t len;      /* bytes */
};
#define S(lit) ((struct str){ "" lit, sizeof(lit) - 1 })
#define STR_ARG(s) (int)(s).len, (s).ptr /* for "%.*s" */

struct str str_from(const char *text);
bool str_eq(struct str a, struct str b);
bool str_eq_nocase(struct str a, struct str b);
bool str_has_prefix(struct str s, struct str prefix);
struct str str_trim(struct str s);

/* Takes what stands before the first `at` off `s`; all of it when there is none. */
struct str str_cut(struct str *s, char at);

/* True when all of `s` is a decimal number within [low, high]. */
NODISCARD bool str_int(struct str s, int64_t low, int64_t high, int64_t *ret);

/* A NUL-ended copy that the caller frees. Out of memory ends the program. */
char *str_dup(struct str s);

/* ---- errors ---- */

enum err_code {
	ERR_NONE,
	ERR_OTHER,
	ERR_LOOKUP,  /* a name has no address */
	ERR_REFUSED, /* nobody listens there */
	ERR_TIMEOUT,
};
struct err {
	enum err_code code;
	char msg[320];
};
/* All return false. err_set is for ERR_OTHER; err_sys takes the code from errno and appends its text. */
bool err_set(struct err *err, const char *fmt, ...) PRINTF(2, 3);
bool err_code(struct err *err, enum err_code code, const char *fmt, ...) PRINTF(3, 4);
bool err_sys(struct err *err, const char *fmt, ...) PRINTF(2, 3);

/* ---- a growing buffer with a ceiling ---- */

struct buf {
	char *ptr;      /* owned; NUL-ended whenever it is not NULL */
	size_t len, cap;
	size_t max;     /* bytes; 0 means BUF_MAX */
	bool overflown; /* an append did not fit: nothing was added, and nothing is any more */
};
#define BUF_MAX ((size_t)8 << 20)

void buf_release(struct buf *b);
void buf_clear(struct buf *b);
bool buf_add(struct buf *b, struct str s);
bool buf_addf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
/* Drops `n` bytes in front. */
void buf_consume(struct buf *b, size_t n);
struct str buf_str(const struct buf *b);
#define auto_buf CLEANUP(buf_release)

/* ---- JSON text, written ---- */

/* Adds `s` as a JSON string. Bytes that are not UTF-8 become U+FFFD. */
void json_string(struct buf *b, struct str s);

/* ---- JSON text, read ---- */

/*
 * Finds member `name` of the object `json`, at its top level. The value is raw JSON text, borrowed.
 * False when json is no object, is malformed before the member, or has no such member.
 */
NODISCARD bool json_member(struct str json, struct str name, struct str *ret);
/* The object's member number `at`: raw key and raw value. False behind the last one. */
NODISCARD bool json_member_at(struct str json, size_t at, struct str *ret_key, struct str *ret_value);
/* Decodes a raw JSON string into `out`. */
NODISCARD bool json_unquote(struct str raw, struct buf *out);

/* ---- the process ---- */

/* Blocks the ending signals in this thread and those it makes; first call of the program. */
void term_init(void);
/* Waits for SIGTERM or SIGINT, for timeout_ms (negative: for ever). Returns the signal, or 0. */
int term_wait(int timeout_ms);
/* For commands that never wait for signals: from now on they end the program, also as process 1. */
void term_exits(void);
/* In a child that will run another program: gives it the signals' usual state back. */
void term_reset(void);

/* Milliseconds of a clock that never goes back. */
int64_t now_ms(void);

/* This machine's name; "localhost" when it has none. */
struct str host_name(void);

/* One line to stdout; false when nobody takes it. */
NODISCARD bool out_line(const char *fmt, ...) PRINTF(1, 2);

/* Reads a whole file, up to the buffer's limit. */
NODISCARD bool file_read(const char *path, struct buf *out, struct err *err);

/* One line to stderr, with the time in front. */
void log_line(const char *fmt, ...) PRINTF(1, 2);

void *xcalloc(size_t n, size_t size);

/* Starts a thread that nobody joins. */
NODISCARD bool thread_start(void *(*run)(void *), void *arg, struct err *err);

void fd_close_p(int *fd);
#define auto_fd CLEANUP(fd_close_p)
/* Writes all of it; false when the other side is gone. */
NODISCARD bool fd_write_all(int fd, struct str s);

#endif
