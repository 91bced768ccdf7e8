/* SPDX-License-Identifier: Apache-2.0 */
/* dns.h - DNS messages (RFC 1035, 2782, 3596, 6891), without I/O: read a query or answer, write one. Any thread. */
#ifndef NET_DNS_H
#define NET_DNS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum dns_type {
	DNS_A = 1, DNS_NS = 2, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_SRV = 33, DNS_OPT = 41,
	DNS_HTTPS = 65, DNS_AXFR = 252, DNS_ANY = 255,
};
enum { DNS_IN = 1, DNS_CLASS_ANY = 255 };
enum dns_rcode { DNS_NOERROR = 0, DNS_FORMERR = 1, DNS_SERVFAIL = 2, DNS_NXDOMAIN = 3, DNS_NOTIMP = 4, DNS_REFUSED = 5, DNS_BADVERS = 16 };

struct dns_question {
	struct str name; /* "a.b.c." as text, always with the final dot; labels' odd bytes as \DDD, dots inside as \. */
	uint16_t type, klass;
};
struct dns_record {
	struct str name;
	uint16_t type, klass;
	uint32_t ttl;
	/* by type */
	uint8_t address[16];        /* A: the first 4; AAAA */
	struct str target;          /* NS, CNAME, PTR, SRV, MX: a name; SOA: the primary's */
	uint16_t priority, weight, port; /* SRV; MX: priority */
	struct str mailbox;         /* SOA */
	uint32_t serial, refresh, retry, expire, minimum; /* SOA */
	const struct str *texts;    /* TXT: its strings, at most 255 bytes each */
	size_t texts_len;
	struct str raw;             /* any other type: the data as it is */
};
struct dns_message {
	uint16_t id;
	bool response, authoritative, truncated, recursion_desired, recursion_available, authentic_data, checking_disabled;
	int opcode;
	int rcode; /* with EDNS the whole twelve bits */
	struct dns_question question; /* the first; name.ptr NULL when there is none */
	size_t questions;             /* count in the message */
	struct dns_record *answers, *authority, *additional; /* OPT is not among them */
	size_t answers_len, authority_len, additional_len;
	bool edns;
	uint16_t udp_bytes_max; /* what the sender takes; 512 without EDNS */
	int edns_version;
	bool dnssec_ok;
};

/* Fails: ERR_BAD_REQUEST, says what (cut, a pointer that leads forward or in circles, a name over 255 bytes, bytes left over in a record). All in `a`. */
NODISCARD bool dns_parse(struct arena *a, struct str bytes, struct dns_message *ret, struct err *err);
/* Only the header's id, for a FORMERR answer to what does not parse. */
bool dns_parse_id(struct str bytes, uint16_t *ret_id, bool *ret_response);

/*
 * Appends the message with compressed names. What does not fit in bytes_max (0: 65,535) is left out record by record and the truncated bit set (answers and authority;
 * additional records are left out silently). With `edns` an OPT record is written.
 * Fails: ERR_INVALID, a name or text that has no wire form.
 */
NODISCARD bool dns_build(const struct dns_message *m, size_t bytes_max, struct buf *out, struct err *err);

/* Names compare without case. Trailing dots count as equal to none. */
bool dns_name_eq(struct str a, struct str b);
/* Whether `name` is `zone` or below it. */
bool dns_name_within(struct str name, struct str zone);
/* "10.1.2.3" <- "3.2.1.10.in-addr.arpa.", also ip6.arpa; false when it is neither. `out` as inet_ntop writes. */
bool dns_reverse_parse(struct str name, char out[46]);
/* "3.2.1.10.in-addr.arpa." for an address text; false when it is none. */
bool dns_reverse_name(struct arena *a, struct str address, struct str *ret);

#endif
