/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.c - what an earlier process left: folders, logs and cgroups of pods. Listed at the start, before any pod is made, so
 * that what is new is never among it; removed once all pods are known, except what is theirs.
 *
 * Listed by kubelet_start, removed by a pool job (or by kubelet_destroy_pods at once).
 */
#include "kubelet/sweep.h"

#include <dirent.h>

#include "base/file.h"
#include "kubelet/volume.h"

struct sweep {
	struct job job;
	struct kubelet *k;
	VEC(char *) folders, logs, cgroups; /* whole paths */
	struct map known;                   /* uid -> anything */
};

static void list_folders(const char *dir, void *paths) {
	VEC(char *) *to = paths;
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] != '.') {
			VEC_PUSH(to, xasprintf("%s/%s", dir, e->d_name));
		}
	}
	if (d) {
		closedir(d);
	}
}

struct sweep *sweep_new(struct kubelet *k) {
	static const char *const folders[] = { "", "/burstable", "/besteffort" };
	auto_arena struct arena a = { 0 };
	struct sweep *s = xcalloc(1, sizeof(*s));

	s->k = k;
	list_folders(arena_cstr(&a, k->pods_dir), &s->folders);
	list_folders(arena_cstr(&a, k->log_dir), &s->logs);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		struct cri_strs names = { 0 };
		struct err err = { 0 };
		const char *parent = pod_path_fmt(&a, "%.*s%s", STR_ARG(k->kubepods), folders[i]);
		if (!cri_cgroup_children(k->o.cri, &a, str_c(parent), &names, &err)) {
			continue;
		}
		for (size_t j = 0; j < names.len; j++) {
			if (str_starts(names.at[j], S("pod"))) {
				VEC_PUSH(&s->cgroups, xasprintf("%s/%.*s", parent, STR_ARG(names.at[j])));
			}
		}
	}
	return s;
}

void sweep_free(struct sweep *s) {
	if (!s) {
		return;
	}
	VEC_EACH(&s->folders, p) {
		free(*p);
	}
	VEC_EACH(&s->logs, p) {
		free(*p);
	}
	VEC_EACH(&s->cgroups, p) {
		free(*p);
	}
	VEC_RELEASE(&s->folders);
	VEC_RELEASE(&s->logs);
	VEC_RELEASE(&s->cgroups);
	map_release(&s->known);
	free(s);
}

/* What follows the last `mark` of a path. */
static struct str after(const char *path, char mark) {
	struct str s = str_c(path);

	return str_from(s, (size_t)(str_rindex(s, mark) + 1));
}

static void complain(const char *path, struct err *err) {
	log_warn(KUBELET_LOG, "what an old pod left stays", kv_c("path", path), kv_err(err));
	err_clear(err);
}

void sweep_all(struct sweep *s) {
	struct err err = { 0 };

	VEC_EACH(&s->folders, p) {
		struct str uid = after(*p, '/');
		if (!map_get(&s->known, uid) && !(volumes_clean(s->k, *p, uid, &err) && dir_remove(*p, &err))) {
			complain(*p, &err);
		}
	}
	VEC_EACH(&s->logs, p) {
		if (!map_get(&s->known, after(*p, '_')) && !dir_remove(*p, &err)) {
			complain(*p, &err);
		}
	}
	VEC_EACH(&s->cgroups, p) {
		if (!map_get(&s->known, str_from(after(*p, '/'), 3)) && !cri_cgroup_remove(s->k->o.cri, str_c(*p), &err)) {
			complain(*p, &err);
		}
	}
}

static void sweep_run(struct job *j) {
	sweep_all(container_of(j, struct sweep, job));
}

static void sweep_done(struct job *j) {
	struct sweep *s = container_of(j, struct sweep, job);

	s->k->passes--;
	sweep_free(s);
}

void sweep_start(struct sweep *s) {
	if (!s) {
		return;
	}
	MAP_EACH(&s->k->pods, e) {
		map_set(&s->known, e->key, s);
	}
	s->job = (struct job){ .loop = s->k->loop, .run = sweep_run, .done = sweep_done };
	s->k->passes++;
	if (!pool_submit(&s->job)) {
		sweep_done(&s->job);
	}
}
