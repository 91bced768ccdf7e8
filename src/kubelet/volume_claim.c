/* SPDX-License-Identifier: Apache-2.0 */
/* volume_claim.c - persistentVolumeClaim: the claim's PersistentVolume, where it is a path of this node (hostPath, local). */
#include <sys/stat.h>
#include <unistd.h>

#include "kubelet/host_path.h"
#include "kubelet/volume.h"

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	auto_obj struct obj *claim = NULL, *pv = NULL;
	struct str name = value_str_at(volume, N_persistentVolumeClaim, N_claimName);
	struct client *c = p->k->o.client;

	if (!client_get(c, GVR("", "v1", "persistentvolumeclaims"), p->ns, name, &claim, err)) {
		return false;
	}
	struct str pv_name = value_str_at(claim->root, N_spec, N_volumeName);
	if (!str_eq(value_str_at(claim->root, N_status, N_phase), S("Bound")) || pv_name.len == 0) {
		return err_set(err, ERR_INVALID, "PVC is not bound");
	}
	if (!client_get(c, GVR("", "v1", "persistentvolumes"), S(""), pv_name, &pv, err)) {
		return false;
	}
	const struct value *spec = value_get(pv->root, N_spec), *host = value_get(spec, N_hostPath), *local = value_get(spec, N_local);
	struct str path = host ? value_str_at(host, N_path) : value_str_at(local, N_path);
	if (path.len == 0) {
		return err_set(err, ERR_INVALID, "PersistentVolume \"%.*s\" is of a type that this node does not support", STR_ARG(pv_name));
	}
	free(v->path);
	v->path = str_dup(path);
	if (!host_path_check(v->path, host ? value_str_at(host, N_type) : S("Directory"), err)) {
		return false;
	}
	int64_t gid = pod_fs_group(pod);
	if (gid >= 0 && local && (chown(v->path, (uid_t)-1, (gid_t)gid) != 0 || chmod(v->path, 02775) != 0)) {
		return err_sys(err, "set the group of %s", v->path);
	}
	return true;
}

const struct volume_plugin volume_claim = { .name = "kubernetes.io~claim", .source = N_persistentVolumeClaim, .prepare = prepare };
