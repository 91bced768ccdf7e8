/* SPDX-License-Identifier: Apache-2.0 */
/* addr.h - address texts to socket addresses. Private to net. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"

#define ADDR_MAX 8
struct addr {
	struct sockaddr_storage sa;
	socklen_t len;
};
/* All addresses that a text stands for, at most ADDR_MAX; may ask the resolver (blocks). `passive`: an empty host means all. */
NODISCARD bool addr_resolve(struct str text, bool passive, struct addr ret[ADDR_MAX], size_t *ret_len, struct err *err);

#endif
