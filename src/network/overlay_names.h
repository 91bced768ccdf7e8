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
 * 127.0.0.1:nodePort may lead to a pod of another node: the links that go there need route_localnet. A table of its own, "overlay_<link>", sees to it that
 * nobody reaches our loopback by them.
 */
NODISCARD bool overlay_guard(const char *vxlan_link, const char *const *links, size_t n, struct err *err);
bool overlay_guard_exists(const char *vxlan_link);
/* Takes the routes and the link away. Blocks; logs what it cannot. */
void overlay_remove(const char *vxlan_link);

#endif
