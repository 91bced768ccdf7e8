/* SPDX-License-Identifier: Apache-2.0 */
/* volume_projected.c - projected volumes: several sources in one folder, service-account tokens among them, renewed in time. */
#include "kubelet/tokens.h"
#include "kubelet/volume.h"

static bool add_token(struct pod *p, struct arena *a, const struct value *pod, struct vfiles *f, const struct value *source, mode_t mode,
	struct volume *v, struct err *err) {
	struct str token;
	nsec_t renew = 0;

	if (!token_get(p->k->tokens, a, &(struct token_want){ .ns = p->ns,
			.account = value_str_at(pod, N_spec, N_serviceAccountName),
			.pod_name = p->name,
			.pod_uid = p->uid,
			.audience = value_str_at(source, N_audience),
			.seconds = value_as_int_or(value_get(source, N_expirationSeconds), 3600) },
			&token, &renew, err)) {
		return false;
	}
	v->again = v->again ? MIN(v->again, renew) : renew;
	/* a group of its own (fsGroup) reads it, nobody else */
	return vfiles_add(f, value_str_at(source, N_path), token, pod_fs_group(pod) >= 0 ? 0600 : mode, err);
}

static bool add_source(struct pod *p, struct arena *a, const struct value *pod, struct vfiles *f, const struct value *source, mode_t mode,
	struct volume *v, struct err *err) {
	if (value_is_set(source, N_serviceAccountToken)) {
		return add_token(p, a, pod, f, value_get(source, N_serviceAccountToken), mode, v, err);
	}
	if (value_is_set(source, N_configMap)) {
		return vfiles_of_config_map(p, a, f, value_get(source, N_configMap), mode, err);
	}
	if (value_is_set(source, N_secret)) {
		return vfiles_of_secret(p, a, f, value_get(source, N_secret), mode, err);
	}
	if (value_is_set(source, N_downwardAPI)) {
		return vfiles_of_fields(p, a, pod, f, value_at(source, N_downwardAPI, N_items), mode, err);
	}
	return err_set(err, ERR_INVALID, "this source of a projected volume is not supported");
}

static bool prepare(struct pod *p, struct arena *a, const struct value *pod, const struct value *volume, struct volume *v, struct err *err) {
	const struct value *source = value_get(volume, N_projected);
	mode_t mode = volume_mode(source);
	struct vfiles f = { 0 };
	bool ok = true;

	v->again = 0;
	VALUE_EACH(value_get(source, N_sources), s) {
		ok = ok && add_source(p, a, pod, &f, s, mode, v, err);
	}
	ok = ok && vfiles_show(p, pod, v, &f, err);
	vfiles_release(&f);
	return ok;
}

const struct volume_plugin volume_projected = { .name = "kubernetes.io~projected",
	.source = N_projected,
	.in_memory = true,
	.readonly = true,
	.refreshed = true,
	.prepare = prepare };
