/* SPDX-License-Identifier: Apache-2.0 */
/* overlay_names.h - numbers that follow from names, the same on every node and after a restart. Private to network/. */
#ifndef NETWORK_OVERLAY_NAMES_H
#define NETWORK_OVERLAY_NAMES_H

#include "base/err.h"

/* Of a node's end of the VXLAN. */
void overlay_mac(const char *node_name, uint8_t mac[6]);
/* The "proto" of the routes that belong to one node's overlay; 100 ... 179, which no routing daemon uses. */
uint8_t overlay_proto(const char *vxlan_link);
/*
 * Lets 127.0.0.1:nodePort reach pods of other nodes by this link (route_localnet), while nobody can reach our loopback by it: a table of its own,
 * "overlay_<link>".
 */
NODISCARD bool overlay_guard(const char *vxlan_link, struct err *err);
/* Takes the routes and the link away. Blocks; logs what it cannot. */
void overlay_remove(const char *vxlan_link);

#endif
