/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipam.h - addresses of one range, one file each in a folder: the file's name is the address, its text the owner.
 * Making the file is the reservation, so several processes may reserve side by side. Private to network/. May block.
 */
#ifndef NETWORK_IPAM_H
#define NETWORK_IPAM_H

#include <netinet/in.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"

struct ip_range {
	uint32_t base; /* host order, its host bits zero */
	int prefix;
};
/* "10.244.1.0/24"; host bits must be zero. ERR_INVALID. */
NODISCARD bool ip_range_parse(struct str cidr, struct ip_range *ret, struct err *err);
bool ip_range_has(const struct ip_range *r, struct in_addr a);
struct in_addr ip_range_nth(const struct ip_range *r, uint32_t n);
uint32_t ip_range_size(const struct ip_range *r);
struct in_addr ip_range_gateway(const struct ip_range *r); /* the first address: the bridge's */
#define IP_TEXT_MAX 16
const char *ip_text(struct in_addr a, char out[IP_TEXT_MAX]);

/* The next free one after the last given (so that an address rests before it comes back). ERR_TOO_LARGE: all are in use. */
NODISCARD bool ipam_reserve(const char *dir, const struct ip_range *r, struct str owner, struct in_addr *ret, struct err *err);
/* Only when `owner` has it; missing is fine. */
void ipam_release(const char *dir, struct in_addr a, struct str owner);
/* Calls `each` for every address in use; it may release. */
void ipam_each(const char *dir, void (*each)(void *arg, struct in_addr a, struct str owner), void *arg);

#endif
