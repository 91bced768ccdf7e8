/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin.h - what decides where a pod may and should go: one file a plugin in plugins/, one row each in
 * plugins.c. Private to this room; the scheduler's loop only.
 *
 * For one pod: every plugin's `prepare`, then for each node looked at every `filter` until one refuses, then for
 * the nodes that fit every `score` and `normalize`. Preemption calls prepare and filter again with pods excluded
 * (pod.excluded): plugins skip those.
 */
#ifndef SCHEDULER_PLUGIN_H
#define SCHEDULER_PLUGIN_H

#include "client/placement.h"
#include "scheduler/cache.h"
#include "scheduler/queue.h"

#define SCORE_MAX 100
#define REASONS_MAX 16

/* Why a node was refused. Texts are static or in the cycle's arena. */
struct verdict {
	struct str reasons[REASONS_MAX];
	size_t len;
	bool unresolvable; /* no pod's leaving would help */
};

enum prepare {
	PREPARE_GO,
	PREPARE_SKIP,   /* this plugin's filter has nothing to say about this pod */
	PREPARE_REFUSE, /* no node will do: cycle.refusal says why */
};

#define PLUGINS_MAX 16
struct cycle {
	struct cache *cache;
	const struct pod *pod;
	const struct value *spec; /* of the pod */
	struct arena arena;       /* of the cycle */
	void *state[PLUGINS_MAX]; /* each plugin's own, by its row; in the arena */
	void **own;               /* the running plugin's place in state[] */
	bool skip[PLUGINS_MAX], skip_score[PLUGINS_MAX];
	struct str refusal;
};

struct sched_plugin {
	const char *name;
	int weight; /* of its score; 0: has none */
	int events; /* enum sched_event that may help a pod it refused */
	/* Once a cycle (and again for each try of preemption). May be NULL: GO. */
	enum prepare (*prepare)(struct cycle *c);
	/* True when the node will do; else says why in `v`. May be NULL. */
	bool (*filter)(struct cycle *c, const struct node *n, struct verdict *v);
	/* Once per cycle before scoring: false when all would score the same. May be NULL: true. `fit` are the nodes that will be scored. */
	bool (*prepare_score)(struct cycle *c, struct node *const *fit, size_t n);
	int64_t (*score)(struct cycle *c, const struct node *n);
	/* Brings the scores of all nodes into [0, 100]. May be NULL: they are. */
	void (*normalize)(struct cycle *c, struct node *const *fit, int64_t *scores, size_t n);
	void (*finish)(struct cycle *c); /* the cycle ends: what its state holds outside the arena goes. May be NULL. */
};
extern const struct sched_plugin *const sched_plugins[];
extern const size_t sched_plugins_len;

/* For filters: adds a reason, gives false. */
bool verdict_refuse(struct verdict *v, struct str reason, bool unresolvable);
/* The usual normalization: the highest becomes 100, or with reverse 0. */
void normalize_default(int64_t *scores, size_t n, bool reverse);

/* ---- shared by plugins ---- */
struct str node_label(const struct node *n, struct str key, bool *ret_has);
bool term_matches_pod(const struct cache *c, const struct affinity_term *t, const struct pod *p);

#endif
