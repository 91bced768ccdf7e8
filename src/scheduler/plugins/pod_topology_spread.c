/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_topology_spread.c - keeps matching pods even over domains (values of a node label).
 *
 * DoNotSchedule constraints filter by skew; ScheduleAnyway ones score. A pod without constraints is spread
 * over hosts and zones among the pods of its owner, or of the Services that select it.
 */
#include <math.h>

#include "scheduler/plugin.h"

#define HOSTNAME "kubernetes.io/hostname"
#define ZONE "topology.kubernetes.io/zone"

struct constraint {
	struct str key;
	int64_t max_skew, min_domains;
	const struct selector *selector; /* of counted pods; NULL: all of `among` */
	const struct group *among;       /* pods of the namespace or of the owner */
	bool self;                       /* the pod itself will count */
	bool honor_affinity, honor_taints;
	struct map counts;               /* domain -> pods + 1 */
	int64_t min;
	double weight;
};
struct spread {
	struct constraint *hard, *soft;
	size_t hard_len, soft_len;
	bool all_keys; /* nodes that lack a key are not scored */
};

static int64_t count_of(const struct constraint *k, struct str domain, bool *ret_known) {
	intptr_t n = (intptr_t)map_get(&k->counts, domain);

	*ret_known = n > 0;
	return n > 0 ? (int64_t)n - 1 : 0;
}

/* ---- reading the pod ------------------------------------------------------------------------------------------------ */

static const struct selector *selector_of(struct cycle *c, const struct value *constraint) {
	struct value *merged = value_copy(&c->arena, value_get(constraint, N_labelSelector));
	const struct selector *s = NULL;
	struct err err = { 0 };

	if (merged) {
		VALUE_EACH(value_get(constraint, N_matchLabelKeys), key) {
			const struct value *v = value_get_str(c->pod->labels, value_as_str(key));
			if (v) {
				value_set_key(&c->arena, value_ensure_object(&c->arena, merged, N_matchLabels), value_as_str(key), v);
			}
		}
	}
	if (!selector_from_value(&c->arena, merged, &s, &err)) {
		(void)!selector_from_value(&c->arena, NULL, &s, &err);
	}
	return s;
}

static struct constraint constraint_read(struct cycle *c, const struct value *v) {
	struct constraint k = {
		.key = value_str_at(v, N_topologyKey),
		.max_skew = MAX(value_int_at(v, N_maxSkew), (int64_t)1),
		.min_domains = value_int_at(v, N_minDomains),
		.selector = selector_of(c, v),
		.among = cache_group(&c->cache->by_ns, c->pod->ns),
		.honor_affinity = !str_eqc(value_str_at(v, N_nodeAffinityPolicy), "Ignore"),
		.honor_taints = str_eqc(value_str_at(v, N_nodeTaintsPolicy), "Honor"),
	};

	k.self = selector_matches(k.selector, c->pod->labels);
	return k;
}

/* Services that select the pod, as one selector: all of them must match. False when there is none. */
static bool services_selector(struct cycle *c, const struct selector **ret) {
	struct value *all = value_new_object(&c->arena);

	MAP_EACH(&c->cache->services, e) {
		const struct value *service = ((struct obj *)e->value)->root, *selector = value_at(service, N_spec, N_selector);
		if (!str_eq(value_str_at(service, N_metadata, N_namespace), c->pod->ns) || value_len(selector) == 0 ||
			!selector_matches(selector_from_map(&c->arena, selector), c->pod->labels)) {
			continue;
		}
		for (size_t i = 0; i < value_len(selector); i++) {
			value_set_key(&c->arena, all, value_key(selector, i), value_item(selector, i));
		}
	}
	*ret = selector_from_map(&c->arena, all);
	return *ret != NULL;
}

static void defaults_add(struct cycle *c, struct spread *s) {
	static const struct {
		struct str key;
		int64_t max_skew;
	} defaults[] = { { S_INIT(HOSTNAME), 3 }, { S_INIT(ZONE), 5 } };
	const struct group *among = c->pod->owner.len ? cache_group(&c->cache->by_owner, c->pod->owner) : NULL;
	const struct selector *selector = NULL;

	if (!c->pod->owner.len) {
		if (!services_selector(c, &selector)) {
			return;
		}
		among = cache_group(&c->cache->by_ns, c->pod->ns);
	}
	s->soft = arena_array(&c->arena, struct constraint, ARRAY_LEN(defaults));
	for (size_t i = 0; i < ARRAY_LEN(defaults); i++) {
		s->soft[s->soft_len++] = (struct constraint){
			.key = defaults[i].key,
			.max_skew = defaults[i].max_skew,
			.selector = selector,
			.among = among,
			.self = true,
			.honor_affinity = true,
		};
	}
	s->all_keys = false;
}

static bool node_counts(const struct cycle *c, const struct constraint *k, const struct node *n) {
	if (k->honor_affinity && !pod_wants_node(c->spec, n->o->root)) {
		return false;
	}
	if (k->honor_taints) {
		VALUE_EACH(value_at(n->o->root, N_spec, N_taints), taint) {
			if (!str_eqc(value_str_at(taint, N_effect), "PreferNoSchedule") && !tolerations_tolerate(value_get(c->spec, N_tolerations), taint)) {
				return false;
			}
		}
	}
	return true;
}

/* Adds the pods that count to their domains, of those that are in the map already. */
static void pods_count(const struct cycle *c, struct constraint *k) {
	if (!k->among) {
		return;
	}
	LIST_EACH((struct list *)&k->among->pods, l) {
		struct pod *p = NULL;
		/* the same list type links pods by namespace or by owner */
		p = k->among == cache_group(&c->cache->by_ns, c->pod->ns) ? container_of(l, struct pod, by_ns) : container_of(l, struct pod, by_owner);
		bool known;
		if (p->excluded || !p->node->o || value_str_at(p->o->root, N_metadata, N_deletionTimestamp).len || !selector_matches(k->selector, p->labels)) {
			continue;
		}
		struct str domain = node_label(p->node, k->key, &known);
		intptr_t n = known ? (intptr_t)map_get(&k->counts, domain) : 0;
		if (n > 0 && node_counts(c, k, p->node)) {
			map_set(&k->counts, domain, (void *)(n + 1));
		}
	}
}

/* ---- filter ------------------------------------------------------------------------------------------------------------ */

static bool has_all_keys(const struct spread *s, const struct constraint *list, size_t len, const struct node *n) {
	for (size_t i = 0; i < len; i++) {
		bool has;
		(void)node_label(n, list[i].key, &has);
		if (!has) {
			return false;
		}
	}
	return true;
}

static void hard_count(struct cycle *c, struct spread *s) {
	for (size_t i = 0; i < s->hard_len; i++) {
		struct constraint *k = &s->hard[i];
		for (size_t n = 0; n < c->cache->nodes.len; n++) {
			const struct node *node = c->cache->nodes.at[n];
			bool has;
			struct str domain = node_label(node, k->key, &has);
			if (has && has_all_keys(s, s->hard, s->hard_len, node) && node_counts(c, k, node) && !map_get(&k->counts, domain)) {
				map_set(&k->counts, domain, (void *)1);
			}
		}
		pods_count(c, k);
		k->min = INT64_MAX;
		MAP_EACH(&k->counts, e) {
			k->min = MIN(k->min, (int64_t)(intptr_t)e->value - 1);
		}
		if (k->counts.len == 0 || (k->min_domains && (int64_t)k->counts.len < k->min_domains)) {
			k->min = 0;
		}
	}
}

static void spread_release(struct spread *s) {
	for (size_t i = 0; i < s->hard_len; i++) {
		map_release(&s->hard[i].counts);
	}
	for (size_t i = 0; i < s->soft_len; i++) {
		map_release(&s->soft[i].counts);
	}
}

static enum prepare prepare(struct cycle *c) {
	const struct value *list = value_get(c->spec, N_topologySpreadConstraints);
	struct spread *s = arena_new(&c->arena, struct spread);

	if (*c->own) {
		spread_release(*c->own); /* of an earlier try in this cycle */
	}
	s->all_keys = true;
	s->hard = arena_array(&c->arena, struct constraint, value_len(list));
	s->soft = arena_array(&c->arena, struct constraint, value_len(list));
	VALUE_EACH(list, v) {
		if (str_eqc(value_str_at(v, N_whenUnsatisfiable), "ScheduleAnyway")) {
			s->soft[s->soft_len++] = constraint_read(c, v);
		} else {
			s->hard[s->hard_len++] = constraint_read(c, v);
		}
	}
	if (value_len(list) == 0) {
		defaults_add(c, s);
	}
	*c->own = s;
	hard_count(c, s);
	return s->hard_len ? PREPARE_GO : PREPARE_SKIP;
}

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	const struct spread *s = *c->own;

	for (size_t i = 0; i < s->hard_len; i++) {
		const struct constraint *k = &s->hard[i];
		bool has, known;
		struct str domain = node_label(n, k->key, &has);
		if (!has) {
			return verdict_refuse(v, S("node(s) didn't match pod topology spread constraints (missing required label)"), true);
		}
		if (count_of(k, domain, &known) + k->self - k->min > k->max_skew) {
			return verdict_refuse(v, S("node(s) didn't match pod topology spread constraints"), false);
		}
	}
	return true;
}

/* ---- score -------------------------------------------------------------------------------------------------------------- */

static bool prepare_score(struct cycle *c, struct node *const *fit, size_t n) {
	struct spread *s = *c->own;

	for (size_t i = 0; i < s->soft_len; i++) {
		struct constraint *k = &s->soft[i];
		for (size_t f = 0; f < n; f++) {
			bool has;
			struct str domain = node_label(fit[f], k->key, &has);
			if (has && (!s->all_keys || has_all_keys(s, s->soft, s->soft_len, fit[f])) && !map_get(&k->counts, domain)) {
				map_set(&k->counts, domain, (void *)1);
			}
		}
		k->weight = log((double)(k->counts.len + 2));
		pods_count(c, k);
	}
	return s->soft_len > 0;
}

static int64_t score(struct cycle *c, const struct node *n) {
	const struct spread *s = *c->own;
	double sum = 0;

	if (s->all_keys && !has_all_keys(s, s->soft, s->soft_len, n)) {
		return -1;
	}
	for (size_t i = 0; i < s->soft_len; i++) {
		const struct constraint *k = &s->soft[i];
		bool has, known;
		struct str domain = node_label(n, k->key, &has);
		if (has) {
			sum += (double)count_of(k, domain, &known) * k->weight + (double)(k->max_skew - 1);
		}
	}
	return (int64_t)round(sum);
}

static void normalize(struct cycle *c, struct node *const *fit, int64_t *scores, size_t n) {
	int64_t min = INT64_MAX, max = 0;

	for (size_t i = 0; i < n; i++) {
		if (scores[i] >= 0) {
			min = MIN(min, scores[i]);
			max = MAX(max, scores[i]);
		}
	}
	for (size_t i = 0; i < n; i++) {
		scores[i] = scores[i] < 0 ? 0 : max == 0 ? SCORE_MAX : SCORE_MAX * (max + min - scores[i]) / max;
	}
}

static void finish(struct cycle *c) {
	if (*c->own) {
		spread_release(*c->own);
	}
}

const struct sched_plugin pod_topology_spread_plugin = {
	.name = "PodTopologySpread",
	.weight = 2,
	.events = EVENT_NODE_ADD | EVENT_NODE_LABELS | EVENT_NODE_TAINTS | EVENT_POD_ADD | EVENT_POD_GONE | EVENT_POD_SPEC,
	.prepare = prepare,
	.filter = filter,
	.prepare_score = prepare_score,
	.score = score,
	.normalize = normalize,
	.finish = finish,
};
