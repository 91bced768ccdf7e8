/* SPDX-License-Identifier: Apache-2.0 */
/* cycle.c - filter, score, choose. The scheduler's loop only. */
#include "scheduler/cycle.h"

#define SAMPLE_MIN 100     /* so many fitting nodes are always looked for */
#define SAMPLE_PERCENT_MIN 5

void cycle_start(struct cycle *c, struct cache *cache, const struct pod *pod) {
	*c = (struct cycle){ .cache = cache, .pod = pod, .spec = value_get(pod->o->root, N_spec) };
}

void cycle_end(struct cycle *c) {
	for (size_t i = 0; i < sched_plugins_len; i++) {
		c->own = &c->state[i];
		if (sched_plugins[i]->finish) {
			sched_plugins[i]->finish(c);
		}
	}
	arena_release(&c->arena);
}

bool cycle_prepare(struct cycle *c, int *ret_events) {
	for (size_t i = 0; i < sched_plugins_len; i++) {
		const struct sched_plugin *p = sched_plugins[i];
		c->own = &c->state[i];
		c->skip[i] = !p->filter;
		if (!p->prepare) {
			continue;
		}
		switch (p->prepare(c)) {
		case PREPARE_GO:
			break;
		case PREPARE_SKIP:
			c->skip[i] = true;
			break;
		case PREPARE_REFUSE:
			*ret_events = p->events;
			return false;
		}
	}
	return true;
}

bool cycle_filter(struct cycle *c, const struct node *n, struct verdict *v, int *ret_events) {
	v->len = 0;
	v->unresolvable = false;
	for (size_t i = 0; i < sched_plugins_len; i++) {
		if (c->skip[i]) {
			continue;
		}
		c->own = &c->state[i];
		if (!sched_plugins[i]->filter(c, n, v)) {
			*ret_events |= sched_plugins[i]->events;
			return false;
		}
	}
	return true;
}

/* ---- reasons ------------------------------------------------------------------------------------------------------- */

void histogram_add(struct histogram *h, struct str reason, size_t n) {
	map_set(&h->counts, reason, (void *)((uintptr_t)map_get(&h->counts, reason) + n));
}

static int str_cmp_p(const void *a, const void *b) {
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

struct str histogram_text(struct histogram *h, struct arena *a) {
	struct str *lines = arena_array(a, struct str, h->counts.len + 1);
	size_t n = 0;

	MAP_EACH(&h->counts, e) {
		lines[n++] = arena_printf(a, "%zu %.*s", (size_t)(uintptr_t)e->value, STR_ARG(e->key));
	}
	qsort(lines, n, sizeof(*lines), str_cmp_p); /* as text, as upstream sorts */
	return arena_join(a, lines, n, S(", "));
}

void histogram_release(struct histogram *h) {
	map_release(&h->counts);
}

/* ---- score --------------------------------------------------------------------------------------------------------------- */

static struct node *choose(struct cycle *c, struct node **fit, size_t n) {
	int64_t *total = arena_array(&c->arena, int64_t, n), *scores = arena_array(&c->arena, int64_t, n);
	size_t best = 0, ties = 1;

	for (size_t i = 0; i < sched_plugins_len; i++) {
		const struct sched_plugin *p = sched_plugins[i];
		c->own = &c->state[i];
		if (!p->weight || (p->prepare_score && !p->prepare_score(c, fit, n))) {
			continue;
		}
		for (size_t k = 0; k < n; k++) {
			scores[k] = p->score(c, fit[k]);
		}
		if (p->normalize) {
			p->normalize(c, fit, scores, n);
		}
		for (size_t k = 0; k < n; k++) {
			total[k] += scores[k] * p->weight;
		}
	}
	for (size_t k = 1; k < n; k++) {
		if (total[k] > total[best]) {
			best = k;
			ties = 1;
		} else if (total[k] == total[best] && rand_u64() % ++ties == 0) {
			best = k; /* any of the best, evenly */
		}
	}
	return fit[best];
}

/* How many fitting nodes are enough: all of a small cluster, a share of a large one that shrinks with its size. */
static size_t sample(size_t nodes) {
	if (nodes <= SAMPLE_MIN) {
		return nodes;
	}
	size_t percent = nodes / 125 >= 50 - SAMPLE_PERCENT_MIN ? SAMPLE_PERCENT_MIN : 50 - nodes / 125;
	return MAX(nodes * percent / 100, (size_t)SAMPLE_MIN);
}

void cycle_decide(struct cycle *c, size_t *start, struct decision *ret) {
	struct cache *cache = c->cache;
	size_t nodes = cache->nodes.len, enough = sample(nodes), fit_len = 0, looked = 0;

	*ret = (struct decision){ 0 };
	if (nodes == 0) {
		ret->message = S("no nodes available to schedule pods");
		ret->helps = EVENT_NODE_ADD;
		return;
	}
	if (!cycle_prepare(c, &ret->helps)) {
		ret->refused = true;
		ret->message = arena_printf(&c->arena, "0/%zu nodes are available: %.*s.", nodes, STR_ARG(c->refusal));
		return;
	}
	struct node **fit = arena_array(&c->arena, struct node *, enough);
	struct histogram reasons = { 0 };
	ret->candidates = arena_array(&c->arena, struct node *, nodes);
	struct node *nominated = c->pod->nominated;
	struct verdict v = { 0 };
	if (nominated && nominated->o && cycle_filter(c, nominated, &v, &ret->helps)) {
		ret->node = nominated; /* its victims made room there */
		return;
	}
	for (; looked < nodes && fit_len < enough; looked++) {
		struct node *n = cache->nodes.at[(*start + looked) % nodes];
		if (cycle_filter(c, n, &v, &ret->helps)) {
			fit[fit_len++] = n;
			continue;
		}
		for (size_t i = 0; i < v.len; i++) {
			histogram_add(&reasons, v.reasons[i], 1);
		}
		if (!v.unresolvable) {
			ret->candidates[ret->candidates_len++] = n;
		}
	}
	*start = (*start + looked) % nodes;
	if (fit_len == 0) {
		ret->message = arena_printf(&c->arena, "0/%zu nodes are available: %.*s.", nodes, STR_ARG(histogram_text(&reasons, &c->arena)));
	} else {
		ret->node = fit_len == 1 ? fit[0] : choose(c, fit, fit_len);
	}
	histogram_release(&reasons);
}
