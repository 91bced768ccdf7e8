/* SPDX-License-Identifier: Apache-2.0 */
/* resources.h - what pods ask for and what the kernel is told: quantities, QoS classes, cgroups, OOM scores. Any thread. */
#ifndef KUBELET_RESOURCES_H
#define KUBELET_RESOURCES_H

#include "kubelet/internal.h"

/* Quantities, rounded up as upstream's Value() and MilliValue(); 0 when absent or malformed. */
int64_t qty_value(const struct value *q);
int64_t qty_milli(const struct value *q);
/* A member of requests/limits by resource name. */
const struct value *qty_of(const struct value *resource_list, struct str resource);

enum qos { QOS_GUARANTEED, QOS_BURSTABLE, QOS_BEST_EFFORT };
enum qos pod_qos(const struct value *pod);
struct str qos_text(enum qos q);

/* Sums over the pod: app containers and sidecars added, the largest init container, and the overhead. */
struct pod_sums {
	int64_t cpu_request, cpu_limit;       /* milli; limit 0: some container has none */
	int64_t memory_request, memory_limit; /* bytes */
};
void pod_sums(const struct value *pod, struct pod_sums *ret);

struct str pod_cgroup(struct arena *a, const struct kubelet *k, const struct value *pod); /* absolute path */
/* Every place where the pod's cgroup may be, for a pod whose spec is not known. */
void pod_cgroups_possible(struct arena *a, const struct kubelet *k, struct str uid, struct str ret[3]);
NODISCARD bool pod_cgroup_make(struct pod *p, struct arena *a, const struct value *pod, const struct pod_sums *sums, struct err *err);
void pod_cgroup_remove(struct pod *p, struct arena *a);
NODISCARD bool kubepods_make(struct kubelet *k, struct err *err);

uint64_t cpu_shares(int64_t milli);
void ctr_resources(const struct kubelet *k, struct arena *a, const struct value *pod, enum ctr_kind kind, const struct value *spec,
	struct cri_resources *ret);

#endif
