/* SPDX-License-Identifier: Apache-2.0 */
/*
 * preempt.c - which pods of lower priority would have to leave, and where that costs least.
 *
 * On each node that could be helped: take all lower pods away; if the pod fits then, give them back one by one, the more
 * important first (those whose disruption budget would be broken before the others), as long as it still fits.
 * What could not be given back are the victims. The scheduler's loop only.
 */
#include "scheduler/cycle.h"

#define CANDIDATES_MIN 100 /* nodes with victims that are enough to choose from; or a tenth of all */

struct candidate {
	struct node *node;
	struct pod **victims;
	size_t victims_len;
	size_t violations; /* victims whose budget allows no disruption */
};

static nsec_t started(const struct pod *p) {
	nsec_t t = 0;

	return time_parse(value_str_at(p->o->root, N_status, N_startTime), &t) ? t : INT64_MAX;
}

static int more_important(const void *pa, const void *pb) {
	const struct pod *a = *(struct pod *const *)pa, *b = *(struct pod *const *)pb;
	nsec_t ta = started(a), tb = started(b);

	if (a->priority != b->priority) {
		return a->priority > b->priority ? -1 : 1;
	}
	return (ta > tb) - (ta < tb);
}

/* ---- disruption budgets --------------------------------------------------------------------------------------------- */

/* Whether evicting `p` breaks a budget; counts down what the budget still allows in `left`. */
static bool breaks_budget(struct cycle *c, const struct map *budgets, struct map *left, const struct pod *p) {
	bool breaks = false;

	MAP_EACH(budgets, e) {
		const struct value *b = ((struct obj *)e->value)->root;
		const struct selector *s = NULL;
		struct err err = { 0 };
		if (!str_eq(value_str_at(b, N_metadata, N_namespace), p->ns) || value_get_str(value_at(b, N_status, N_disruptedPods), p->key) ||
			!selector_from_value(&c->arena, value_at(b, N_spec, N_selector), &s, &err) || !selector_matches(s, p->labels)) {
			continue;
		}
		intptr_t used = (intptr_t)map_get(left, e->key) + 1;
		map_set(left, e->key, (void *)used);
		breaks = breaks || used > (intptr_t)value_int_at(b, N_status, N_disruptionsAllowed);
	}
	return breaks;
}

/* ---- one node ------------------------------------------------------------------------------------------------------------ */

/* Filters depend on other nodes' pods too when affinity or spreading is asked for: prepare anew then. */
static bool fits(struct cycle *c, const struct node *n, struct verdict *v) {
	int events = 0;
	bool prepare = false;

	for (size_t i = 0; i < sched_plugins_len; i++) {
		prepare = prepare || (!c->skip[i] && sched_plugins[i]->finish);
	}
	return (!prepare || cycle_prepare(c, &events)) && cycle_filter(c, n, v, &events);
}

static void give_back(struct cycle *c, struct candidate *k, struct pod *p, bool violates) {
	struct verdict v = { 0 };

	cache_exclude(c->cache, p, false);
	if (!fits(c, k->node, &v)) {
		cache_exclude(c->cache, p, true);
		k->victims[k->victims_len++] = p;
		k->violations += violates;
	}
}

/* True when the pod would fit; else the reason goes to the histogram. */
static bool victims_select(struct cycle *c, struct node *n, const struct map *budgets, struct candidate *ret, struct histogram *reasons) {
	struct pod **lower = arena_array(&c->arena, struct pod *, n->pods_len + 1);
	struct verdict v = { 0 };
	struct map left = { 0 };
	size_t len = 0;

	LIST_EACH(&n->pods, l) {
		struct pod *p = container_of(l, struct pod, by_node);
		if (p->priority < c->pod->priority && len < n->pods_len) {
			lower[len++] = p;
		}
	}
	if (len == 0) {
		histogram_add(reasons, S("No preemption victims found for incoming pod"), 1);
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		cache_exclude(c->cache, lower[i], true);
	}
	*ret = (struct candidate){ .node = n, .victims = arena_array(&c->arena, struct pod *, len) };
	bool ok = fits(c, n, &v);
	if (ok) {
		bool *violates = arena_array(&c->arena, bool, len);
		qsort(lower, len, sizeof(*lower), more_important);
		for (size_t i = 0; i < len; i++) {
			violates[i] = breaks_budget(c, budgets, &left, lower[i]);
		}
		for (int round = 0; round < 2; round++) {
			for (size_t i = 0; i < len; i++) {
				if (violates[i] == (round == 0)) {
					give_back(c, ret, lower[i], violates[i]);
				}
			}
		}
	} else {
		for (size_t i = 0; i < v.len; i++) {
			histogram_add(reasons, v.reasons[i], 1);
		}
	}
	for (size_t i = 0; i < len; i++) {
		cache_exclude(c->cache, lower[i], false);
	}
	map_release(&left);
	return ok && ret->victims_len > 0;
}

/* ---- the best node --------------------------------------------------------------------------------------------------------- */

static int64_t highest_priority(const struct candidate *k) {
	int64_t max = INT64_MIN;

	for (size_t i = 0; i < k->victims_len; i++) {
		max = MAX(max, (int64_t)k->victims[i]->priority);
	}
	return max;
}

static int64_t priority_sum(const struct candidate *k) {
	int64_t sum = 0;

	for (size_t i = 0; i < k->victims_len; i++) {
		sum += (int64_t)k->victims[i]->priority - INT32_MIN + 1; /* so that more victims never sum up to less */
	}
	return sum;
}

/* The earliest start among its most important victims: the later, the less work is lost. */
static nsec_t earliest_start(const struct candidate *k) {
	int64_t highest = highest_priority(k);
	nsec_t min = INT64_MAX;

	for (size_t i = 0; i < k->victims_len; i++) {
		if (k->victims[i]->priority == highest) {
			min = MIN(min, started(k->victims[i]));
		}
	}
	return min;
}

/* Negative: `a` is the better choice. */
static int candidate_cmp(const struct candidate *a, const struct candidate *b) {
	int64_t x[] = { (int64_t)a->violations, highest_priority(a), priority_sum(a), (int64_t)a->victims_len, -earliest_start(a) };
	int64_t y[] = { (int64_t)b->violations, highest_priority(b), priority_sum(b), (int64_t)b->victims_len, -earliest_start(b) };

	for (size_t i = 0; i < ARRAY_LEN(x); i++) {
		if (x[i] != y[i]) {
			return x[i] < y[i] ? -1 : 1;
		}
	}
	return 0;
}

static bool eligible(struct cycle *c, struct preemption *ret) {
	const struct node *n = c->pod->nominated;

	if (str_eqc(value_str_at(c->spec, N_preemptionPolicy), "Never")) {
		ret->message = S("not eligible due to preemptionPolicy=Never.");
		return false;
	}
	if (n) {
		LIST_EACH((struct list *)&n->pods, l) {
			const struct pod *p = container_of(l, struct pod, by_node);
			if (p->priority < c->pod->priority && value_str_at(p->o->root, N_metadata, N_deletionTimestamp).len) {
				ret->message = S("not eligible due to a terminating pod on the nominated node.");
				return false;
			}
		}
	}
	return true;
}

void cycle_preempt(struct cycle *c, const struct decision *d, const struct map *budgets, struct preemption *ret) {
	size_t nodes = c->cache->nodes.len, enough = MAX((size_t)CANDIDATES_MIN, nodes / 10), found = 0;
	struct histogram reasons = { 0 };
	struct candidate best = { 0 };

	*ret = (struct preemption){ 0 };
	if (!eligible(c, ret)) {
		return;
	}
	size_t start = d->candidates_len ? rand_u64() % d->candidates_len : 0;
	for (size_t i = 0; i < d->candidates_len && found < enough; i++) {
		struct candidate k;
		if (victims_select(c, d->candidates[(start + i) % d->candidates_len], budgets, &k, &reasons)) {
			if (!best.node || candidate_cmp(&k, &best) < 0) {
				best = k;
			}
			found++;
		}
	}
	if (best.node) {
		ret->node = best.node;
		ret->victims = best.victims;
		ret->victims_len = best.victims_len;
	} else {
		if (nodes > d->candidates_len) {
			histogram_add(&reasons, S("Preemption is not helpful for scheduling"), nodes - d->candidates_len);
		}
		ret->message = arena_printf(&c->arena, "0/%zu nodes are available: %.*s.", nodes, STR_ARG(histogram_text(&reasons, &c->arena)));
	}
	histogram_release(&reasons);
}
