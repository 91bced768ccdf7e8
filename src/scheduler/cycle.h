/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cycle.h - the decision for one pod: which node, or why none. Private to this room; the scheduler's loop only.
 * It reads the cache (preemption also excludes and puts back) and writes nothing else.
 */
#ifndef SCHEDULER_CYCLE_H
#define SCHEDULER_CYCLE_H

#include "scheduler/plugin.h"

void cycle_start(struct cycle *c, struct cache *cache, const struct pod *pod);
void cycle_end(struct cycle *c);
/* Asks every plugin's prepare. False: a plugin refused all nodes, see c->refusal; its events go to *ret_events. */
bool cycle_prepare(struct cycle *c, int *ret_events);
/* Asks the filters; *ret_events gets what may help when one refuses. */
bool cycle_filter(struct cycle *c, const struct node *n, struct verdict *v, int *ret_events);

/* Reasons of many nodes, counted: "2 Insufficient cpu, 1 node(s) were unschedulable". */
struct histogram {
	struct map counts; /* reason -> number */
};
void histogram_add(struct histogram *h, struct str reason, size_t n);
struct str histogram_text(struct histogram *h, struct arena *a);
void histogram_release(struct histogram *h);

struct decision {
	struct node *node;   /* chosen; NULL: none fits */
	struct str message;  /* why none fits, in upstream's words without the part on preemption; in the cycle's arena */
	int helps;           /* enum sched_event */
	/* For preemption, when none fits: nodes where pods that leave could help, in the cycle's arena. */
	struct node **candidates;
	size_t candidates_len;
	bool refused; /* by a prepare: no node was looked at */
};
/* `start` turns through the nodes, so that a large cluster is sampled fairly. */
void cycle_decide(struct cycle *c, size_t *start, struct decision *ret);

struct preemption {
	struct node *node; /* NULL: none; `message` says why */
	struct pod **victims;
	size_t victims_len;
	struct str message; /* after "preemption: " */
};
/* `budgets`: PodDisruptionBudgets, "ns/name" -> struct obj *. */
void cycle_preempt(struct cycle *c, const struct decision *d, const struct map *budgets, struct preemption *ret);

#endif
