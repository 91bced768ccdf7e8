/* SPDX-License-Identifier: Apache-2.0 */
/* url.h - the parts of a URL, percent coding, query parameters. No state; any thread. */
#ifndef NET_URL_H
#define NET_URL_H

#include "base/arena.h"
#include "base/err.h"

struct url {
	struct str scheme; /* "https", "http", "unix" */
	struct str user;   /* "user:password", mostly empty */
	struct str host;   /* without brackets; of "unix" the socket's path */
	int port;          /* 443 or 80 when not given; 0 for unix */
	struct str path;   /* begins with '/', or empty */
	struct str query;  /* without '?' */
};
/* All parts borrow from `text`. Fails: ERR_BAD_REQUEST. */
NODISCARD bool url_parse(struct str text, struct url *ret, struct err *err);

/* "%2F" becomes "/"; with `plus`, "+" becomes " ". False for a cut or wrong escape. The result may borrow from `s`. */
NODISCARD bool url_unescape(struct arena *a, struct str s, bool plus, struct str *ret);
/* Escapes all but unreserved characters (RFC 3986), as a query value or path segment needs. */
struct str url_escape(struct arena *a, struct str s);

/* Takes the next "name=value" off *rest, unescaped; false at the end. A piece that cannot be unescaped is skipped, as Go's parser does. */
bool url_query_next(struct arena *a, struct str *rest, struct str *ret_name, struct str *ret_value);
/* The first value of `name`; false when absent. */
bool url_query_get(struct arena *a, struct str query, struct str name, struct str *ret);

#endif
