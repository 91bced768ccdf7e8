/* SPDX-License-Identifier: Apache-2.0 */
/* discovery.h - which resources the server has, each once, in its preferred version: built-in and custom ones. Private to this room. */
#ifndef CONTROLLERS_DISCOVERY_H
#define CONTROLLERS_DISCOVERY_H

#include "client/client.h"

struct resource {
	struct gvr gvr; /* texts live in the resources' arena */
	struct str kind;
	bool namespaced, list, watch, delete_one, delete_collection;
};
struct resources {
	struct resource *at;
	size_t len;
	struct arena arena;
};
/*
 * Asks the server; at most 10,000. False with `err` when some group could not be asked: `ret` has the others. Blocks.
 */
NODISCARD bool resources_discover(struct client *c, struct resources *ret, struct err *err);
void resources_release(struct resources *r);
/* The resource of a kind in any version of its group; NULL when there is none. */
const struct resource *resources_find(const struct resources *r, struct str group, struct str kind);

#endif
