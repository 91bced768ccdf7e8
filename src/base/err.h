/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - how anything fails. What can fail is NODISCARD bool, true on success, and takes
 * `struct err *err` last (never NULL). The codes are the reasons of the Kubernetes API, so that one
 * table leads from a failed call to an HTTP status.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/str.h"

/* X(code, HTTP status, reason of metav1.Status) */
#define ERR_CODES(X)                                              \
	X(BAD_REQUEST, 400, "BadRequest")                         \
	X(UNAUTHORIZED, 401, "Unauthorized")                      \
	X(FORBIDDEN, 403, "Forbidden")                            \
	X(NOT_FOUND, 404, "NotFound")                             \
	X(METHOD_NOT_ALLOWED, 405, "MethodNotAllowed")            \
	X(NOT_ACCEPTABLE, 406, "NotAcceptable")                   \
	X(ALREADY_EXISTS, 409, "AlreadyExists")                   \
	X(CONFLICT, 409, "Conflict")                              \
	X(GONE, 410, "Gone")                                      \
	X(EXPIRED, 410, "Expired")                                \
	X(TOO_LARGE, 413, "RequestEntityTooLarge")                \
	X(UNSUPPORTED_MEDIA_TYPE, 415, "UnsupportedMediaType")    \
	X(INVALID, 422, "Invalid")                                \
	X(TOO_MANY_REQUESTS, 429, "TooManyRequests")              \
	X(INTERNAL, 500, "InternalError")                         \
	X(UNAVAILABLE, 503, "ServiceUnavailable")                 \
	X(TIMEOUT, 504, "Timeout")                                \
	X(SERVER_TIMEOUT, 500, "ServerTimeout")                   \
	/* not of the API: a peer or the machine */               \
	X(IO, 500, "InternalError")                               \
	X(CLOSED, 500, "InternalError")                           \
	X(CANCELLED, 500, "InternalError")

enum err_code {
	ERR_NONE = 0,
#define ERR_CODE_ENUM(name, http, reason) ERR_##name,
	ERR_CODES(ERR_CODE_ENUM)
#undef ERR_CODE_ENUM
};

struct err {
	enum err_code code; /* ERR_NONE until something fails */
	int sys;            /* errno of the failed system call, or 0 */
	const char *where;  /* file:line that set it */
	char msg[640];      /* for the user: written once, where the error is born */
	char ctx[160];      /* for the log: each layer puts its part in front */
};

#define ERR_WHERE_2(f, l) f ":" #l
#define ERR_WHERE_1(f, l) ERR_WHERE_2(f, l)
#define ERR_WHERE ERR_WHERE_1(__FILE__, __LINE__)

/* All return false, so that a caller can `return err_set(...)`. */
#define err_set(err, code, ...) err_set_at(err, ERR_WHERE, code, __VA_ARGS__)
/* The failed system call's errno becomes part of the message: "open /x: Permission denied". */
#define err_sys(err, ...) err_sys_at(err, ERR_WHERE, __VA_ARGS__)
bool err_set_at(struct err *err, const char *where, enum err_code code, const char *fmt, ...) PRINTF(4, 5);
bool err_sys_at(struct err *err, const char *where, const char *fmt, ...) PRINTF(3, 4);
/* Puts the operator's context in front; the user's message stays as it was born. */
bool err_wrap(struct err *err, const char *fmt, ...) PRINTF(2, 3);
void err_clear(struct err *err);

int err_http(enum err_code code);            /* 500 for ERR_NONE */
const char *err_reason(enum err_code code);  /* "NotFound"; "" for ERR_NONE */
/* The code of an answer by its reason, then by its HTTP status. */
enum err_code err_from_reason(struct str reason, int http);

#endif
