/* SPDX-License-Identifier: Apache-2.0 */
/* err.c - see err.h. Any thread; the caller owns the storage. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
	int http;
	const char *reason;
} codes[] = {
	[ERR_NONE] = { 500, "" },
#define ERR_CODE_ROW(name, http, reason) [ERR_##name] = { http, reason },
	ERR_CODES(ERR_CODE_ROW)
#undef ERR_CODE_ROW
};

bool err_set_at(struct err *err, const char *where, enum err_code code, const char *fmt, ...) {
	va_list ap;
	err->code = code;
	err->sys = 0;
	err->where = where;
	err->ctx[0] = 0;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return false;
}

bool err_sys_at(struct err *err, const char *where, const char *fmt, ...) {
	int sys = errno;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg)) {
		snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", strerrordesc_np(sys) ? strerrordesc_np(sys) : "unknown error");
	}
	err->code = ERR_IO;
	err->sys = sys;
	err->where = where;
	err->ctx[0] = 0;
	return false;
}

bool err_wrap(struct err *err, const char *fmt, ...) {
	char old[sizeof(err->ctx)];
	va_list ap;
	memcpy(old, err->ctx, sizeof(old));
	va_start(ap, fmt);
	int n = vsnprintf(err->ctx, sizeof(err->ctx), fmt, ap);
	va_end(ap);
	if (old[0] && n >= 0 && (size_t)n < sizeof(err->ctx)) {
		snprintf(err->ctx + n, sizeof(err->ctx) - (size_t)n, ": %s", old);
	}
	return false;
}

void err_clear(struct err *err) {
	err->code = ERR_NONE;
	err->sys = 0;
	err->where = NULL;
	err->msg[0] = 0;
	err->ctx[0] = 0;
}

int err_http(enum err_code code) {
	return codes[code].http;
}

const char *err_reason(enum err_code code) {
	return codes[code].reason;
}

enum err_code err_from_reason(struct str reason, int http) {
	for (size_t i = 1; i < ARRAY_LEN(codes); i++) {
		if (str_eqc(reason, codes[i].reason) && reason.len) {
			return (enum err_code)i;
		}
	}
	for (size_t i = 1; i < ARRAY_LEN(codes); i++) {
		if (codes[i].http == http) {
			return (enum err_code)i;
		}
	}
	return ERR_INTERNAL;
}
