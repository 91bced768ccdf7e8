/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - constant messages, keyed facts, one line each on stderr:
 *     2026-11-21T05:46:00.123Z info scheduler pod bound pod=default/a node=n1
 * error: an operator must act. warn: we went on. info: a change the cluster sees. debug: switched on
 * per component at run time. No secrets, no bodies. Any thread; a line is one write, at most 4096 bytes.
 * Facts with empty text are left out.
 *
 *     log_info("scheduler", "pod bound", kv_str("pod", key), kv_int("revision", rev));
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"
#include "base/str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_kv {
	const char *key; /* NULL ends the list */
	struct str text; /* used when is_text */
	int64_t number;
	bool is_text;
};
#define kv_str(k, s) ((struct log_kv){ .key = (k), .text = (s), .is_text = true })
#define kv_c(k, c) ((struct log_kv){ .key = (k), .text = str_c(c), .is_text = true })
#define kv_int(k, i) ((struct log_kv){ .key = (k), .number = (int64_t)(i) })
/* The message and context of an err, and where it was born. */
#define kv_err(e) \
	((struct log_kv){ .key = "err", .text = str_c((e)->msg), .is_text = true }), \
		((struct log_kv){ .key = "ctx", .text = str_c((e)->ctx), .is_text = true }), \
		((struct log_kv){ .key = "where", .text = str_c((e)->where), .is_text = true })

void log_line(enum log_level level, const char *component, const char *msg, const struct log_kv *kv);
#define log_error(comp, msg, ...) log_line(LOG_ERROR, comp, msg, (const struct log_kv[]){ __VA_ARGS__ __VA_OPT__(, ) { 0 } })
#define log_warn(comp, msg, ...) log_line(LOG_WARN, comp, msg, (const struct log_kv[]){ __VA_ARGS__ __VA_OPT__(, ) { 0 } })
#define log_info(comp, msg, ...) log_line(LOG_INFO, comp, msg, (const struct log_kv[]){ __VA_ARGS__ __VA_OPT__(, ) { 0 } })
#define log_debug(comp, msg, ...)                                                                     \
	do {                                                                                          \
		if (log_enabled(LOG_DEBUG, comp)) {                                                   \
			log_line(LOG_DEBUG, comp, msg, (const struct log_kv[]){ __VA_ARGS__ __VA_OPT__(, ) { 0 } }); \
		}                                                                                     \
	} while (0)

bool log_enabled(enum log_level level, const char *component);
/* "info", "debug", or "info,scheduler=debug,kubelet=debug". */
NODISCARD bool log_set_levels(struct str spec, struct err *err);
void log_set_fd(int fd); /* default 2 */

#endif
