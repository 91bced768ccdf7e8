/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolv.h - what resolv.conf says.
 *
 * Source: resolv.conf(5).
 */
#ifndef TESTSERVER_RESOLV_H
#define TESTSERVER_RESOLV_H

#include "base.h"

struct resolv {
	struct buf text;    /* of the file; the lists point into it */
	struct buf search;  /* names, separated by commas; the last `search` or `domain` line counts */
	struct buf servers; /* addresses, separated by commas */
	int64_t ndots;
};

NODISCARD bool resolv_read(const char *path, struct resolv *ret, struct err *err);
void resolv_release(struct resolv *r);
#define auto_resolv CLEANUP(resolv_release)

#endif
