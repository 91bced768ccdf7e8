/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inter_pod_affinity.c - pods near or apart from other pods, by topology domain.
 *
 * Required terms filter: the pod's own, and the anti-affinity of pods that run already. Preferred terms score, both
 * ways; a running pod's required affinity counts as a preference of weight 1.
 */
#include "scheduler/plugin.h"

#define HARD_WEIGHT 1

struct domains { /* "key\0value" -> number + OFFSET, so that none is NULL */
	struct map at;
};
#define OFFSET ((intptr_t)1 << 40)

struct affinities {
	struct domains near, apart, existing, scores;
	bool near_any; /* some pod matches all near terms */
};

static struct str domain_key(struct arena *a, struct str key, struct str value) {
	return arena_printf(a, "%.*s=%.*s", STR_ARG(key), STR_ARG(value));
}

static void domain_add(struct cycle *c, struct domains *d, const struct affinity_term *t, const struct node *n, int64_t add) {
	bool has;
	struct str value = n->o ? node_label(n, t->topology_key, &has) : S("");

	if (!n->o || !has || add == 0) {
		return;
	}
	struct str key = domain_key(&c->arena, t->topology_key, value);
	intptr_t is = (intptr_t)map_get(&d->at, key);
	map_set(&d->at, key, (void *)((is ? is : OFFSET) + add));
}

static int64_t domain_get(struct cycle *c, const struct domains *d, struct str key, const struct node *n, bool *ret_has) {
	struct str value = node_label(n, key, ret_has);
	intptr_t is = *ret_has ? (intptr_t)map_get(&d->at, domain_key(&c->arena, key, value)) : 0;

	return is ? (int64_t)(is - OFFSET) : 0;
}

static bool matches_all(const struct cycle *c, const struct affinity_terms *terms, const struct pod *p) {
	for (size_t i = 0; i < terms->len; i++) {
		if (!term_matches_pod(c->cache, &terms->at[i], p)) {
			return false;
		}
	}
	return terms->len > 0;
}

static void running_pod_add(struct cycle *c, struct affinities *s, const struct pod *p) {
	const struct pod *me = c->pod;

	if (p->excluded || !p->node || !p->node->o || p == me) {
		return;
	}
	if (matches_all(c, &me->affinity, p)) {
		s->near_any = true;
		for (size_t i = 0; i < me->affinity.len; i++) {
			domain_add(c, &s->near, &me->affinity.at[i], p->node, 1);
		}
	}
	for (size_t i = 0; i < me->anti.len; i++) {
		if (term_matches_pod(c->cache, &me->anti.at[i], p)) {
			domain_add(c, &s->apart, &me->anti.at[i], p->node, 1);
		}
	}
}

/* Calls `fn` for each pod on a node that the terms can mean: only their namespaces when they name them. */
static void each_candidate(struct cycle *c, const struct affinity_terms *terms, void (*fn)(struct cycle *c, struct affinities *s, const struct pod *p),
	struct affinities *s) {
	bool everywhere = false;
	struct map seen = { 0 };

	for (size_t i = 0; i < terms->len; i++) {
		everywhere = everywhere || terms->at[i].has_ns_selector;
	}
	if (everywhere) {
		MAP_EACH(&c->cache->pods, e) {
			fn(c, s, e->value);
		}
		return;
	}
	for (size_t i = 0; i < terms->len; i++) {
		for (size_t k = 0; k < terms->at[i].namespaces_len; k++) {
			struct str ns = terms->at[i].namespaces[k];
			struct group *g = cache_group(&c->cache->by_ns, ns);
			if (!g || map_set(&seen, ns, g)) {
				continue;
			}
			LIST_EACH(&g->pods, l) {
				fn(c, s, container_of(l, struct pod, by_ns));
			}
		}
	}
	map_release(&seen);
}

static struct affinity_terms terms_join(struct cycle *c, const struct affinity_terms *x, const struct affinity_terms *y) {
	struct affinity_terms all = { arena_array(&c->arena, struct affinity_term, x->len + y->len), 0 };

	for (size_t i = 0; i < x->len; i++) {
		all.at[all.len++] = x->at[i];
	}
	for (size_t i = 0; i < y->len; i++) {
		all.at[all.len++] = y->at[i];
	}
	return all;
}

static void release(struct affinities *s) {
	map_release(&s->near.at);
	map_release(&s->apart.at);
	map_release(&s->existing.at);
	map_release(&s->scores.at);
}

static enum prepare prepare(struct cycle *c) {
	struct affinities *s = arena_new(&c->arena, struct affinities);
	struct affinity_terms own = terms_join(c, &c->pod->affinity, &c->pod->anti);

	if (*c->own) {
		release(*c->own); /* of an earlier try in this cycle */
	}
	*c->own = s;
	if (own.len) {
		each_candidate(c, &own, running_pod_add, s);
	}
	LIST_EACH(&c->cache->affine, l) {
		const struct pod *p = container_of(l, struct pod, by_affine);
		for (size_t i = 0; i < p->anti.len && !p->excluded; i++) {
			if (term_matches_pod(c->cache, &p->anti.at[i], c->pod)) {
				domain_add(c, &s->existing, &p->anti.at[i], p->node, 1);
			}
		}
	}
	return own.len || s->existing.at.len ? PREPARE_GO : PREPARE_SKIP;
}

static bool near_ok(struct cycle *c, const struct affinities *s, const struct node *n) {
	bool all = true, has;

	for (size_t i = 0; i < c->pod->affinity.len; i++) {
		const struct affinity_term *t = &c->pod->affinity.at[i];
		int64_t count = domain_get(c, &s->near, t->topology_key, n, &has);
		if (!has) {
			return false;
		}
		all = all && count > 0;
	}
	/* the first of a group that wants to be near itself has to start somewhere */
	return all || (!s->near_any && matches_all(c, &c->pod->affinity, c->pod));
}

static bool existing_refuses(struct cycle *c, const struct affinities *s, const struct node *n) {
	const struct value *labels = value_at(n->o->root, N_metadata, N_labels);

	for (size_t i = 0; s->existing.at.len && i < value_len(labels); i++) {
		if (map_get(&s->existing.at, domain_key(&c->arena, value_key(labels, i), value_as_str(value_item(labels, i))))) {
			return true;
		}
	}
	return false;
}

static bool filter(struct cycle *c, const struct node *n, struct verdict *v) {
	const struct affinities *s = *c->own;
	bool has;

	if (!near_ok(c, s, n)) {
		return verdict_refuse(v, S("node(s) didn't match pod affinity rules"), true);
	}
	for (size_t i = 0; i < c->pod->anti.len; i++) {
		if (domain_get(c, &s->apart, c->pod->anti.at[i].topology_key, n, &has) > 0) {
			return verdict_refuse(v, S("node(s) didn't match pod anti-affinity rules"), false);
		}
	}
	if (existing_refuses(c, s, n)) {
		return verdict_refuse(v, S("node(s) didn't satisfy existing pods anti-affinity rules"), false);
	}
	return true;
}

/* ---- score -------------------------------------------------------------------------------------------------------------- */

static void preferred_add(struct cycle *c, struct affinities *s, const struct pod *p) {
	if (!p->node || !p->node->o || p == c->pod) {
		return;
	}
	for (size_t i = 0; i < c->pod->preferred.len; i++) {
		const struct affinity_term *t = &c->pod->preferred.at[i];
		if (term_matches_pod(c->cache, t, p)) {
			domain_add(c, &s->scores, t, p->node, t->weight);
		}
	}
	for (size_t i = 0; i < c->pod->preferred_anti.len; i++) {
		const struct affinity_term *t = &c->pod->preferred_anti.at[i];
		if (term_matches_pod(c->cache, t, p)) {
			domain_add(c, &s->scores, t, p->node, -t->weight);
		}
	}
}

static void existing_add(struct cycle *c, struct affinities *s, const struct affinity_terms *terms, const struct pod *p, int64_t sign, int64_t fixed) {
	for (size_t i = 0; i < terms->len; i++) {
		if (term_matches_pod(c->cache, &terms->at[i], c->pod)) {
			domain_add(c, &s->scores, &terms->at[i], p->node, sign * (fixed ? fixed : terms->at[i].weight));
		}
	}
}

static bool prepare_score(struct cycle *c, struct node *const *fit, size_t n) {
	struct affinities *s = *c->own;
	struct affinity_terms own = terms_join(c, &c->pod->preferred, &c->pod->preferred_anti);

	if (own.len) {
		each_candidate(c, &own, preferred_add, s);
	}
	LIST_EACH(&c->cache->affine, l) {
		const struct pod *p = container_of(l, struct pod, by_affine);
		existing_add(c, s, &p->preferred, p, 1, 0);
		existing_add(c, s, &p->preferred_anti, p, -1, 0);
		existing_add(c, s, &p->affinity, p, 1, HARD_WEIGHT);
	}
	return s->scores.at.len > 0;
}

static int64_t score(struct cycle *c, const struct node *n) {
	const struct affinities *s = *c->own;
	const struct value *labels = value_at(n->o->root, N_metadata, N_labels);
	int64_t sum = 0;

	for (size_t i = 0; i < value_len(labels); i++) {
		intptr_t is = (intptr_t)map_get(&s->scores.at, domain_key(&c->arena, value_key(labels, i), value_as_str(value_item(labels, i))));
		sum += is ? (int64_t)(is - OFFSET) : 0;
	}
	return sum;
}

static void normalize(struct cycle *c, struct node *const *fit, int64_t *scores, size_t n) {
	int64_t min = INT64_MAX, max = INT64_MIN;

	for (size_t i = 0; i < n; i++) {
		min = MIN(min, scores[i]);
		max = MAX(max, scores[i]);
	}
	for (size_t i = 0; i < n; i++) {
		scores[i] = max > min ? SCORE_MAX * (scores[i] - min) / (max - min) : 0;
	}
}

static void finish(struct cycle *c) {
	if (*c->own) {
		release(*c->own);
	}
}

const struct sched_plugin inter_pod_affinity_plugin = {
	.name = "InterPodAffinity",
	.weight = 2,
	.events = EVENT_NODE_ADD | EVENT_NODE_LABELS | EVENT_POD_ADD | EVENT_POD_GONE | EVENT_POD_SPEC,
	.prepare = prepare,
	.filter = filter,
	.prepare_score = prepare_score,
	.score = score,
	.normalize = normalize,
	.finish = finish,
};
