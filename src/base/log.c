/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - see log.h. Any thread: a line is built on the stack and written with one write(). The levels
 * are an unchanging table behind one atomic pointer; a table that was replaced stays chained to the new
 * one, since a thread may still read it.
 */
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_BYTES_MAX 4096 /* longer lines are cut; PIPE_BUF, so that lines of processes do not mix */
#define COMPONENTS_MAX 32
#define COMPONENT_BYTES_MAX 32

struct levels {
	const struct levels *replaced;
	enum log_level general;
	size_t len;
	struct {
		char name[COMPONENT_BYTES_MAX];
		enum log_level level;
	} components[COMPONENTS_MAX];
};

static const struct levels levels_at_start = { .general = LOG_INFO };
static _Atomic(const struct levels *) levels = &levels_at_start;
static _Atomic int log_fd = 2;

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

bool log_enabled(enum log_level level, const char *component) {
	const struct levels *l = atomic_load_explicit(&levels, memory_order_acquire);
	for (size_t i = 0; i < l->len; i++) {
		if (strcmp(l->components[i].name, component) == 0) {
			return level <= l->components[i].level;
		}
	}
	return level <= l->general;
}

static bool level_parse(struct str text, enum log_level *ret) {
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (str_eqc(text, level_names[i])) {
			*ret = (enum log_level)i;
			return true;
		}
	}
	return false;
}

bool log_set_levels(struct str spec, struct err *err) {
	auto_free struct levels *l = xcalloc(1, sizeof(*l));
	struct str piece, name, level;
	l->general = LOG_INFO;
	while (str_next(&spec, ',', &piece)) {
		enum log_level parsed;
		bool general = !str_cut(piece, '=', &name, &level);
		if (!level_parse(general ? name : level, &parsed)) {
			return err_set(err, ERR_INVALID, "log level \"%.*s\": want error, warn, info or debug, or component=level",
				STR_ARG(piece));
		}
		if (general) {
			l->general = parsed;
			continue;
		}
		if (!name.len || name.len >= COMPONENT_BYTES_MAX || l->len == COMPONENTS_MAX) {
			return err_set(err, ERR_INVALID, "log level \"%.*s\": bad name, or more than %d components", STR_ARG(piece),
				COMPONENTS_MAX);
		}
		memcpy(l->components[l->len].name, name.ptr, name.len);
		l->components[l->len++].level = parsed;
	}
	const struct levels *fresh = l;
	l->replaced = atomic_load(&levels);
	while (!atomic_compare_exchange_weak(&levels, &l->replaced, fresh)) {
	}
	l = NULL;
	return true;
}

void log_set_fd(int fd) {
	atomic_store(&log_fd, fd);
}

struct line {
	char text[LINE_BYTES_MAX];
	size_t len;
};

static void put(struct line *l, struct str s) {
	size_t n = MIN(s.len, sizeof(l->text) - 1 - l->len); /* room for the newline */
	if (n) {
		memcpy(l->text + l->len, s.ptr, n);
	}
	l->len += n;
}

static bool plain(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) {
			return false;
		}
	}
	return true;
}

static void put_quoted(struct line *l, struct str s) {
	put(l, S("\""));
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		char esc[8];
		if (c == '"' || c == '\\') {
			snprintf(esc, sizeof(esc), "\\%c", c);
		} else if (c == '\n') {
			snprintf(esc, sizeof(esc), "\\n");
		} else if (c < ' ' || c == 0x7f) {
			snprintf(esc, sizeof(esc), "\\x%02x", c);
		} else {
			snprintf(esc, sizeof(esc), "%c", c);
		}
		put(l, str_c(esc));
	}
	put(l, S("\""));
}

static void put_kv(struct line *l, const struct log_kv *kv) {
	char number[24];
	if (kv->is_text && !kv->text.len) {
		return;
	}
	put(l, S(" "));
	put(l, str_c(kv->key));
	put(l, S("="));
	if (!kv->is_text) {
		snprintf(number, sizeof(number), "%lld", (long long)kv->number);
		put(l, str_c(number));
	} else if (plain(kv->text)) {
		put(l, kv->text);
	} else {
		put_quoted(l, kv->text);
	}
}

void log_line(enum log_level level, const char *component, const char *msg, const struct log_kv *kv) {
	struct line l;
	char at[TIME_TEXT_MAX];
	if (!log_enabled(level, component)) {
		return;
	}
	l.len = 0;
	struct str stamp = time_format_micro(clock_wall(), at);
	put(&l, str_sub(stamp, 0, stamp.len - 4)); /* milliseconds are enough */
	put(&l, S("Z "));
	put(&l, str_c(level_names[level]));
	put(&l, S(" "));
	put(&l, str_c(component));
	put(&l, S(" "));
	put(&l, str_c(msg));
	for (; kv->key; kv++) {
		put_kv(&l, kv);
	}
	l.text[l.len++] = '\n';
	int saved = errno;
	(void)!write(atomic_load(&log_fd), l.text, l.len);
	errno = saved;
}
