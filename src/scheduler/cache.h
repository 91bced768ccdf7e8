/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - what the scheduler knows of nodes and the pods on them. Private to this room. One thread: the
 * scheduler's loop.
 *
 * A pod stands on a node from the moment it is assumed there (before the API server knows) or seen there,
 * until it is finished, gone, or forgotten after a failed binding.
 */
#ifndef SCHEDULER_CACHE_H
#define SCHEDULER_CACHE_H

#include "base/list.h"
#include "base/map.h"
#include "base/vec.h"
#include "client/client.h"
#include "client/selector.h"

/* Amounts of resources. cpu in thousandths, others in units. Extended ones are few: a sorted list is enough. */
struct amount {
	struct str name; /* text of some object or static: as long as its holder */
	int64_t value;
};
struct resources {
	int64_t cpu, memory, storage;
	VEC(struct amount) extended; /* also hugepages-* */
};
void resources_add(struct resources *r, const struct resources *more, int sign); /* copies names that are new */
void resources_clear(struct resources *r);
int64_t resources_extended(const struct resources *r, struct str name);
/* The numbers of a ResourceList; "pods" is left out. Names borrow from `list`. */
void resources_read(struct resources *r, const struct value *list);
/* What a pod asks for: containers, init containers, sidecars, pod-level resources, overhead. */
void resources_of_pod(struct resources *ret, const struct value *pod);
/* The same for scoring: a container that asks for nothing counts as 100m and 200Mi. */
void resources_of_pod_nonzero(int64_t *ret_cpu, int64_t *ret_memory, const struct value *pod);

struct port {
	int64_t number;
	struct str protocol, ip; /* borrow from the pod */
};

/* Terms of pod (anti-)affinity, parsed. */
struct affinity_term {
	const struct selector *selector; /* NULL matches all */
	const struct selector *ns_selector;
	bool has_ns_selector;
	struct str *namespaces;
	size_t namespaces_len;
	struct str topology_key;
	int64_t weight; /* of a preferred one */
};
struct affinity_terms {
	struct affinity_term *at;
	size_t len;
};

struct pod {
	struct obj *o;      /* one reference */
	struct str key;     /* "ns/name"; owned */
	struct str ns, uid, owner; /* borrow from o; owner: uid of its controller */
	const struct value *labels;
	int32_t priority;
	struct node *node;  /* NULL: on none */
	struct node *nominated; /* where its victims are going; NULL: nowhere */
	bool assumed;       /* bound by us, not seen bound yet */
	bool excluded;      /* treated as gone, while preemption tries */
	struct resources requests;
	int64_t nonzero_cpu, nonzero_memory;
	struct port *ports;
	size_t ports_len;
	struct affinity_terms affinity, anti, preferred, preferred_anti;
	struct arena arena; /* of ports and terms */
	struct list by_node, by_ns, by_owner, by_affine; /* links */
	void *queued;       /* the queue's entry; NULL when not in it */
};

struct node {
	struct obj *o;     /* NULL: pods name it but it is not (any more) there */
	struct str name;   /* owned */
	size_t index;      /* in cache.nodes, when o */
	struct resources allocatable, requested;
	int64_t nonzero_cpu, nonzero_memory;
	int64_t pods_max;
	size_t pods_len;   /* on it, excluded ones not counted */
	struct list pods;
	VEC(struct pod *) nominated; /* preemptors that wait for their victims to go */
	struct map images; /* name -> size (as a pointer's number) */
};

struct group { /* pods of one namespace or owner */
	struct list pods;
	size_t len;
};

struct cache {
	struct map by_name;          /* node name -> struct node */
	VEC(struct node *) nodes;    /* those that exist, in no order */
	struct map pods;             /* uid -> struct pod: all that are not finished */
	struct map by_ns, by_owner;  /* -> struct group of the pods on nodes */
	struct list affine;          /* pods on nodes that have pod (anti-)affinity themselves */
	struct map namespaces;       /* name -> struct obj *, one reference each */
	struct map services, claims; /* "ns/name" -> struct obj * (claims: PersistentVolumeClaims) */
	struct map volumes;          /* PersistentVolumes by name */
	struct map image_nodes;      /* image name -> on how many nodes (number) */
};

void cache_init(struct cache *c);
void cache_release(struct cache *c);

struct node *cache_node(struct cache *c, struct str name);     /* NULL when not known */
void cache_node_put(struct cache *c, struct obj *o);
void cache_node_remove(struct cache *c, struct str name);

struct pod *cache_pod(struct cache *c, struct str uid);
struct pod *cache_pod_put(struct cache *c, struct obj *o);     /* makes it or gives it a newer object; not on a node by itself */
void cache_pod_remove(struct cache *c, struct pod *p);         /* frees it */
void cache_place(struct cache *c, struct pod *p, struct str node);
void cache_unplace(struct cache *c, struct pod *p);
/* For preemption: takes a pod off its node's sums without moving it, and puts it back. */
void cache_exclude(struct cache *c, struct pod *p, bool exclude);
void cache_nominate(struct cache *c, struct pod *p, struct str node); /* empty: no more */

struct group *cache_group(const struct map *m, struct str key); /* NULL when there are none */
void cache_map_put(struct map *m, struct str key, struct obj *o); /* of namespaces, services; NULL removes */

#endif
