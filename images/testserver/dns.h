/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dns.h - DNS messages: a query made, an answer read. No I/O.
 *
 * Source: RFC 1035; RFC 3596 (AAAA); RFC 2782 (SRV).
 */
#ifndef TESTSERVER_DNS_H
#define TESTSERVER_DNS_H

#include "base.h"

enum { DNS_NAME_TEXT_MAX = 1025 }; /* 255 bytes, each at most four characters, and a NUL */

/* The number of a type such as "SRV"; 0 when it is not known. */
uint16_t dns_type(struct str name);

/* Adds a query with recursion desired. False when the name is none (RFC 1035 section 2.3.4). */
NODISCARD bool dns_query(struct buf *out, uint16_t id, struct str name, uint16_t type);

struct dns_answer {
	int rcode;
	bool truncated;
	size_t records; /* in the answer section */
};

/*
 * Reads the answer to query `id` and adds its records to `text`, as `name TTL IN type data`, or the
 * data alone when `brief`, a line each. False when the message is malformed or answers another query.
 */
NODISCARD bool dns_answer_read(struct str in, uint16_t id, bool brief, struct buf *text, struct dns_answer *ret);

/* Adds the name under which the address `text` is looked up backwards. False when it is no address. */
NODISCARD bool dns_reverse_name(const char *text, struct buf *out);

const char *dns_rcode_name(int rcode);

#endif
