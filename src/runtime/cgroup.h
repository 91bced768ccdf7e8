/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - control groups on v1, hybrid and v2, private to the room.
 *
 * A path is absolute below the roots of all hierarchies: "/coracle-x/kubepods". All calls block a
 * little; any thread; no state but the table of mounts, which never changes after detection.
 */
#ifndef RUNTIME_CGROUP_H
#define RUNTIME_CGROUP_H

#include "runtime/cri.h"

enum cgroup_mode { CGROUP_V1, CGROUP_HYBRID, CGROUP_V2 };
enum { CGROUP_HIERARCHIES_MAX = 24, CGROUP_PATH_MAX = 512 };

struct cgroup_hierarchy {
	char mount[128];      /* where it is mounted */
	char controllers[96]; /* ",cpu,cpuacct," as v1 names them, ",name=systemd,"; of v2 those that are available */
	bool v2;
};
struct cgroups {
	enum cgroup_mode mode;
	struct cgroup_hierarchy at[CGROUP_HIERARCHIES_MAX];
	size_t len;
	bool leftover; /* hybrid, and the v2 hierarchy holds controllers: crun refuses that */
};

/* Reads /proc/self/mountinfo. Fails: ERR_UNAVAILABLE when no hierarchy is mounted. */
NODISCARD bool cgroups_detect(struct cgroups *ret, struct err *err);
const char *cgroup_mode_text(enum cgroup_mode mode);
/*
 * In a container the v2 root may hold processes, and then no controller can be handed down: moves them to a group of their own,
 * "/init", as container tools do. Nothing happens where it is not needed.
 */
void cgroups_prepare(const struct cgroups *cg);
/* "memory", ...: whether some hierarchy has the controller. */
bool cgroups_have(const struct cgroups *cg, const char *controller);

/* Makes the group (and its parents) in every hierarchy. On v2 the parents hand their controllers down. */
NODISCARD bool cgroup_make(const struct cgroups *cg, const char *path, struct err *err);
NODISCARD bool cgroup_join(const struct cgroups *cg, const char *path, int pid, struct err *err);
NODISCARD bool cgroup_apply(const struct cgroups *cg, const char *path, const struct cri_resources *res, struct err *err);
/* SIGKILL to all in it and below, until none is left (bounded at 10 s). */
void cgroup_kill(const struct cgroups *cg, const char *path);
/* Removes the group and what is below it, in every hierarchy. Processes in it are killed first. */
NODISCARD bool cgroup_remove(const struct cgroups *cg, const char *path, struct err *err);
/* Removes the group where it is empty; says nothing. */
void cgroup_rmdir(const struct cgroups *cg, const char *path);
NODISCARD bool cgroup_stats(const struct cgroups *cg, const char *path, struct cri_stats *ret, struct err *err);
uint64_t cgroup_oom_kills(const struct cgroups *cg, const char *path); /* 0 when not known */
/* cpu.weight of v2 for shares of v1. */
uint64_t cgroup_weight(uint64_t shares);
bool cgroup_path_valid(struct str path);

#endif
