/* SPDX-License-Identifier: Apache-2.0 */
/* overlay_names.h - numbers that follow from names, the same on every node and after a restart. Private to network/. */
#ifndef NETWORK_OVERLAY_NAMES_H
#define NETWORK_OVERLAY_NAMES_H

#include "base/str.h"

/* Of a node's end of the VXLAN. */
void overlay_mac(const char *node_name, uint8_t mac[6]);
/* The "proto" of the routes that belong to one node's overlay; 100 ... 179, which no routing daemon uses. */
uint8_t overlay_proto(const char *vxlan_link);
/* Takes the routes and the link away. Blocks; logs what it cannot. */
void overlay_remove(const char *vxlan_link);

#endif
