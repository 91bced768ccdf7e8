/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.h - volumes of pods, one file a type (volume_<type>.c) behind struct volume_plugin. Volumes of
 * a pod are made by its passes, before its sandbox, and refreshed by every later pass; they are taken
 * away when its containers are over.
 *
 * A new type: a file with a `const struct volume_plugin`, and a row in volume.c's table.
 */
#ifndef KUBELET_VOLUME_H
#define KUBELET_VOLUME_H

#include "kubelet/internal.h"

struct volume {
	char *name;              /* in the pod */
	const struct volume_plugin *plugin;
	char *path;              /* on the node: what containers mount */
	bool ready;
	nsec_t again;            /* wall: when it must be looked at without an event (token renewal); 0 never */
	int64_t revision;        /* the plugin's own: what the files were made from */
	uint64_t content;        /* hash of what the files hold */
};

struct volume_plugin {
	const char *name;        /* "kubernetes.io~secret": its folder below volumes/ */
	enum name_id source;     /* member of the volume: N_secret */
	bool in_memory;          /* its folder must not touch the disk */
	bool readonly;           /* in containers, whatever they ask for */
	bool refreshed;          /* prepare is also called when it is ready, to bring it up to date */
	/*
	 * Makes or refreshes v->path (already set to its own folder, which need not exist). May set another path. Idempotent.
	 * Fails: with the text that FailedMount events show after `MountVolume.SetUp failed for volume "x" : `; ERR_UNAVAILABLE: not
	 * yet, the pod will be woken (no event).
	 */
	bool (*prepare)(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err);
	/* Before the folder is removed: unmounts. NULL: nothing to do. */
	bool (*teardown)(struct pod *p, struct volume *v, struct err *err);
};

struct volumes;
void volumes_free(struct volumes *v); /* forgets; what is on disk stays */
/* All of the pod's volumes, made or refreshed. Pass. Fails: with the whole text of a FailedMount event. */
NODISCARD bool volumes_prepare(struct pod *p, struct arena *a, const struct value *pod, struct err *err);
/* Unmounts and removes everything below the pod's folder that belongs to volumes, also what an earlier process left. Pass. */
NODISCARD bool volumes_teardown(struct pod *p, struct err *err);
/* Where a volume is; NULL: no such volume. */
const struct volume *volume_find(struct pod *p, struct str name);
/* The same for a folder of a pod that nobody knows any more. */
NODISCARD bool volumes_clean(struct kubelet *k, const char *pod_dir, struct str uid, struct err *err);

/*
 * What a volumeMount with a subPath means on the node: the path is resolved inside the volume, no link leads out of it, missing
 * folders are made. The result is a path that stays what it is while the container lives (a bind mount below the pod's folder).
 * Fails: the text of CreateContainerConfigError.
 */
NODISCARD bool subpath_bind(struct pod *p, struct arena *a, const struct volume *v, struct str sub_path, const char *ctr, size_t index,
	bool readonly, struct str *ret, struct err *err);

/* ---- for plugins ---- */
/* Files of a volume, written at once (atomic_files.c). */
struct vfile {
	struct str path;  /* relative: "a/b" */
	struct str bytes;
	mode_t mode;
};
struct vfiles {
	VEC(struct vfile) at;
};
/* Adds or replaces. Fails: ERR_INVALID for a path that leads outside. */
NODISCARD bool vfiles_add(struct vfiles *f, struct str path, struct str bytes, mode_t mode, struct err *err);
void vfiles_release(struct vfiles *f);
uint64_t vfiles_hash(const struct vfiles *f);
/*
 * Makes `dir` show exactly these files: readers see all of the old or all of the new (a link, ..data, is switched), and what
 * a reader has open stays. `gid` -1: unchanged owner; else the group of all files, which may read them (fsGroup).
 */
NODISCARD bool vfiles_write(const char *dir, const struct vfiles *f, int64_t gid, int64_t uid, struct err *err);

/* items of a configMap or secret source (or all keys when there are none) out of `data` (and `binary`, base64). */
struct key_source {
	const struct value *items;
	const struct value *text;   /* values are text; NULL: none */
	const struct value *base64; /* values are base64; NULL: none */
	bool optional;
	mode_t mode;                /* of files without one of their own */
	const char *what;           /* "configmap", "secret": for messages */
	struct str ns, name;
};
NODISCARD bool vfiles_of_keys(struct arena *a, struct vfiles *f, const struct key_source *s, struct err *err);
/* downwardAPI items. */
NODISCARD bool vfiles_of_fields(struct pod *p, struct arena *a, const struct value *pod, struct vfiles *f, const struct value *items, mode_t mode,
	struct err *err);
/* One source of a projected volume; also what configMap, secret and downwardAPI volumes are made of. `*again`: see struct volume. */
NODISCARD bool vfiles_of_config_map(struct pod *p, struct arena *a, struct vfiles *f, const struct value *source, mode_t mode, struct err *err);
NODISCARD bool vfiles_of_secret(struct pod *p, struct arena *a, struct vfiles *f, const struct value *source, mode_t mode, struct err *err);
/* Writes when the content changed. */
NODISCARD bool vfiles_show(struct pod *p, const struct value *pod, struct volume *v, const struct vfiles *f, struct err *err);
mode_t volume_mode(const struct value *source); /* defaultMode, 0644 */
int64_t pod_fs_group(const struct value *pod);  /* -1: none */

extern const struct volume_plugin volume_empty_dir, volume_host_path, volume_config_map, volume_secret, volume_downward_api, volume_projected,
	volume_image, volume_claim;

#endif
