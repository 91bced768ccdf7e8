/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_locality.c - prefers nodes that have the pod's images, large ones most; scaled by how many nodes have
 * them, so that not all pods follow the first.
 */
#include "scheduler/plugin.h"

#define MIN_BYTES ((int64_t)23 << 20)
#define MAX_BYTES_EACH ((int64_t)1000 << 20)

static bool prepare_score(struct cycle *c, struct node *const *fit, size_t n) {
	return c->cache->image_nodes.len > 0 && n > 1;
}

/* As the runtime names it: with the tag it would pull. */
static struct str normal_name(struct arena *a, struct str image) {
	ptrdiff_t colon = str_rindex(image, ':'), slash = str_rindex(image, '/');

	return colon > slash ? image : arena_printf(a, "%.*s:latest", STR_ARG(image));
}

static int64_t bytes_here(struct cycle *c, const struct node *n, const struct value *containers) {
	int64_t sum = 0;

	VALUE_EACH(containers, container) {
		struct str name = normal_name(&c->arena, value_str_at(container, N_image));
		int64_t size = (int64_t)(intptr_t)map_get(&n->images, name), nodes = (int64_t)(intptr_t)map_get(&c->cache->image_nodes, name);
		if (size && c->cache->nodes.len) {
			sum += (int64_t)((double)size * (double)nodes / (double)c->cache->nodes.len);
		}
	}
	return sum;
}

static int64_t score(struct cycle *c, const struct node *n) {
	const struct value *init = value_get(c->spec, N_initContainers), *run = value_get(c->spec, N_containers);
	int64_t bytes = bytes_here(c, n, init) + bytes_here(c, n, run);
	int64_t max = MAX_BYTES_EACH * (int64_t)(value_len(init) + value_len(run));

	bytes = MIN(MAX(bytes, MIN_BYTES), max);
	return max > MIN_BYTES ? SCORE_MAX * (bytes - MIN_BYTES) / (max - MIN_BYTES) : 0;
}

const struct sched_plugin image_locality_plugin = {
	.name = "ImageLocality",
	.weight = 1,
	.prepare_score = prepare_score,
	.score = score,
};
