/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns_forward.h - asks upstream servers on behalf of clients: each question with an id and a port of its own, 2 s a
 * server, then the next. Private to network/; all on the server's loop.
 */
#ifndef NETWORK_DNS_FORWARD_H
#define NETWORK_DNS_FORWARD_H

#include "loop/loop.h"
#include "net/dns.h"

struct dns_forward;
/* `servers`: "ip:port" or "ip", NULL-ended. ERR_INVALID. */
NODISCARD bool dns_forward_new(struct loop *loop, const char *const *servers, struct dns_forward **ret, struct err *err);
/* Ends what is in flight without telling. On its loop, or after the loop has stopped. */
void dns_forward_free(struct dns_forward *f);

/*
 * Asks for one name. `done` is called once, perhaps at once (cache, or too many in flight: NULL): `reply` is the parsed answer with its bytes, borrowed for
 * the call; NULL when no server answered. `tcp`: ask over TCP, as the client did.
 */
typedef void (*dns_forward_done)(void *arg, const struct dns_message *reply, struct str bytes);
void dns_forward_ask(struct dns_forward *f, const struct dns_question *q, bool tcp, bool dnssec_ok, bool checking_disabled, dns_forward_done done, void *arg);

#endif
