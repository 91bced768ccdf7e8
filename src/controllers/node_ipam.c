/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_ipam.c - gives each node its pod range: a /24 of the cluster range, each once.
 *
 * One worker, so that no two nodes are given at once; what is taken is read from the nodes themselves at each
 * pass, plus what this process gave and the copy does not show yet. A pass on a pool thread.
 * Source: upstream's range allocator.
 */
#include <arpa/inet.h>

#include "base/log.h"
#include "controllers/frame.h"
#include "controllers/object.h"

#define NODE_BITS 24
#define RANGES_MAX 65536

struct node_ipam {
	struct frame *frame;
	struct shared *nodes;
	struct work_queue *queue;
	uint32_t base, count; /* host order; how many /24 there are */
	struct map given;     /* node name -> range number + 1; the one worker's */
};

static bool range_number(const struct node_ipam *c, struct str cidr, uint32_t *ret) {
	struct str ip, bits;
	char text[64];
	struct in_addr addr;

	if (!str_cut(cidr, '/', &ip, &bits) || ip.len >= sizeof(text)) {
		return false;
	}
	memcpy(text, ip.ptr, ip.len);
	text[ip.len] = 0;
	if (inet_pton(AF_INET, text, &addr) != 1) {
		return false;
	}
	uint32_t n = (ntohl(addr.s_addr) - c->base) >> (32 - NODE_BITS);
	if (n >= c->count) {
		return false;
	}
	*ret = n;
	return true;
}

/* The lowest range that no node has; count when all are taken. */
static uint32_t range_free(struct node_ipam *c) {
	struct client_list list;
	uint8_t *taken = xcalloc(c->count, 1);
	uint32_t n;

	informer_list(c->nodes->informer, S(""), &list);
	for (size_t i = 0; i < list.len; i++) {
		if (range_number(c, value_str_at(list.at[i]->root, N_spec, N_podCIDR), &n)) {
			taken[n] = 1;
		}
	}
	client_list_release(&list);
	MAP_EACH(&c->given, e) {
		taken[(uintptr_t)e->value - 1] = 1;
	}
	for (n = 0; n < c->count && taken[n]; n++) {
	}
	free(taken);
	return n;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct node_ipam *c = arg;
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *node = informer_get(c->nodes->informer, S(""), key);

	if (!node || value_str_at(node->root, N_spec, N_podCIDR).len) {
		map_remove(&c->given, key); /* gone, or the copy shows it */
		return true;
	}
	uintptr_t had = (uintptr_t)map_get(&c->given, key);
	uint32_t n = had ? (uint32_t)had - 1 : range_free(c);
	if (n >= c->count) {
		return err_set(err, ERR_UNAVAILABLE, "no pod range is left in %s for node %.*s", c->frame->opts.cluster_cidr, STR_ARG(key));
	}
	map_set(&c->given, key, (void *)(uintptr_t)(n + 1));
	struct in_addr addr = { htonl(c->base + (n << (32 - NODE_BITS))) };
	char text[INET_ADDRSTRLEN];
	struct str cidr = arena_printf(&a, "%s/%d", inet_ntop(AF_INET, &addr, text, sizeof(text)), NODE_BITS);
	struct value *patch = value_new_object(&a), *spec = value_ensure_object(&a, patch, N_spec);
	value_set_str(&a, spec, N_podCIDR, cidr);
	value_push_str(&a, value_ensure_array(&a, spec, N_podCIDRs), cidr);
	if (!client_patch(c->frame->client, GVR_NODES, S(""), key, S(""), PATCH_STRATEGIC, patch, NULL, err)) {
		if (err->code == ERR_NOT_FOUND) {
			map_remove(&c->given, key);
			return true;
		}
		return false;
	}
	log_info("controllers", "node has a pod range", kv_str("node", key), kv_str("range", cidr));
	return true;
}

static void node_changed(void *arg, struct obj *old, struct obj *now) {
	struct node_ipam *c = arg;

	if (!now || !old || !value_str_at(now->root, N_spec, N_podCIDR).len || !value_str_at(old->root, N_spec, N_podCIDR).len) {
		work_queue_add(c->queue, meta_name(now ? now->root : old->root));
	}
}

static void *make(struct frame *f) {
	struct str ip, bits_text;
	char text[64];
	struct in_addr addr;
	int bits;

	if (!f->opts.cluster_cidr || !str_cut(str_c(f->opts.cluster_cidr), '/', &ip, &bits_text) || !str_to_int(bits_text, 8, NODE_BITS, &bits) ||
		ip.len >= sizeof(text)) {
		return NULL;
	}
	memcpy(text, ip.ptr, ip.len);
	text[ip.len] = 0;
	if (inet_pton(AF_INET, text, &addr) != 1) {
		return NULL;
	}
	struct node_ipam *c = xcalloc(1, sizeof(*c));
	c->frame = f;
	c->count = MIN(1u << (NODE_BITS - bits), (uint32_t)RANGES_MAX);
	c->base = ntohl(addr.s_addr) & ~((1u << (32 - bits)) - 1);
	c->queue = frame_queue(f, "node-ipam", 1, sync, c);
	c->nodes = frame_watch(f, GVR_NODES, node_changed, c);
	return c;
}

static void ipam_free(void *arg) {
	struct node_ipam *c = arg;

	map_release(&c->given);
	free(c);
}

const struct controller_ops node_ipam_controller = { .name = "node-ipam-controller", .make = make, .free = ipam_free };
