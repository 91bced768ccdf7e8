/* SPDX-License-Identifier: Apache-2.0 */
/* volumes.c - a pod's PersistentVolumeClaims must exist and be bound, to volumes that the node can reach. */
#include "scheduler/plugin.h"

struct wanted { /* volumes bound to the pod's claims */
	const struct value **at;
	size_t len;
};

static struct str claim_name(const struct cycle *c, struct arena *a, const struct value *volume) {
	struct str name = value_str_at(volume, N_persistentVolumeClaim, N_claimName);

	if (!name.len && value_get(volume, N_ephemeral)) {
		struct str pod = value_str_at(c->pod->o->root, N_metadata, N_name), v = value_str_at(volume, N_name);
		name = arena_printf(a, "%.*s-%.*s", STR_ARG(pod), STR_ARG(v));
	}
	return name;
}

static enum prepare prepare(struct cycle *c) {
	const struct value *volumes = value_get(c->spec, N_volumes);
	struct wanted *w = arena_new(&c->arena, struct wanted);
	bool any = false;

	w->at = arena_array(&c->arena, const struct value *, value_len(volumes));
	VALUE_EACH(volumes, v) {
		struct str name = claim_name(c, &c->arena, v);
		if (!name.len) {
			continue;
		}
		any = true;
		const struct obj *claim = map_get(&c->cache->claims, arena_printf(&c->arena, "%.*s/%.*s", STR_ARG(c->pod->ns), STR_ARG(name)));
		if (!claim) {
			c->refusal = arena_printf(&c->arena, "persistentvolumeclaim \"%.*s\" not found", STR_ARG(name));
			return PREPARE_REFUSE;
		}
		if (value_str_at(claim->root, N_metadata, N_deletionTimestamp).len) {
			c->refusal = arena_printf(&c->arena, "persistentvolumeclaim \"%.*s\" is being deleted", STR_ARG(name));
			return PREPARE_REFUSE;
		}
		const struct obj *volume = map_get(&c->cache->volumes, value_str_at(claim->root, N_spec, N_volumeName));
		if (!str_eqc(value_str_at(claim->root, N_status, N_phase), "Bound") || !volume) {
			c->refusal = S("pod has unbound immediate PersistentVolumeClaims");
			return PREPARE_REFUSE;
		}
		w->at[w->len++] = volume->root;
	}
	*c->own = w;
	return any ? PREPARE_GO : PREPARE_SKIP;
}

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	const struct wanted *w = *c->own;

	for (size_t i = 0; i < w->len; i++) {
		const struct value *required = value_at(w->at[i], N_spec, N_nodeAffinity, N_required);
		if (required && !node_selector_matches(required, n->o->root)) {
			return verdict_refuse(v, S("node(s) had volume node affinity conflict"), true);
		}
	}
	return true;
}

const struct sched_plugin volumes_plugin = {
	.name = "VolumeBinding",
	.events = EVENT_NODE_ADD | EVENT_NODE_LABELS | EVENT_VOLUME,
	.prepare = prepare,
	.filter = filter,
};
