/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp.h - a service that answers datagrams.
 */
#ifndef TESTSERVER_UDP_H
#define TESTSERVER_UDP_H

#include "base.h"

/* Fills `reply` for one datagram from `peer` ("10.0.0.7:41234"); an empty reply is not sent. */
typedef void (*udp_handler)(void *arg, struct str request, const char *peer, struct buf *reply);

struct udp_server {
	udp_handler handle;
	void *arg;
	int fd, port;
};

/* Listens on `address` ("": all addresses) and answers on a thread of its own. `server` outlives the program's work. */
NODISCARD bool udp_server_start(struct udp_server *server, const char *address, int64_t port, struct err *err);

#endif
