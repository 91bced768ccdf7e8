/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_account.c - ServiceAccount: every pod runs as one that exists, and finds its token, the cluster's CA and its
 * namespace mounted in each container.
 */
#include "apiserver/server.h"

#define MOUNT_PATH S("/var/run/secrets/kubernetes.io/serviceaccount")
#define TOKEN_SECONDS 3607 /* an hour, and a little so that it can be told from what people ask for */

static bool is_pod(const struct admission *ad) {
	return ad->group.len == 0 && str_eq(ad->resource, S("pods")) && ad->sub.len == 0;
}

static struct value *token_volume(struct arena *a, struct str name) {
	struct value *v = value_new_object(a), *projected, *sources, *src, *item;

	value_set_str(a, v, N_name, name);
	projected = value_ensure_object(a, v, N_projected);
	value_set_int(a, projected, N_defaultMode, 0644);
	sources = value_new_array(a);

	src = value_ensure_object(a, value_push(a, sources, value_new_object(a)), N_serviceAccountToken);
	value_set_int(a, src, N_expirationSeconds, TOKEN_SECONDS);
	value_set_str(a, src, N_path, S("token"));

	src = value_ensure_object(a, value_push(a, sources, value_new_object(a)), N_configMap);
	value_set_str(a, src, N_name, S("kube-root-ca.crt"));
	item = value_push(a, value_ensure_array(a, src, N_items), value_new_object(a));
	value_set_str(a, item, N_key, S("ca.crt"));
	value_set_str(a, item, N_path, S("ca.crt"));

	src = value_ensure_object(a, value_push(a, sources, value_new_object(a)), N_downwardAPI);
	item = value_push(a, value_ensure_array(a, src, N_items), value_new_object(a));
	value_set_str(a, item, N_path, S("namespace"));
	struct value *ref = value_ensure_object(a, item, N_fieldRef);
	value_set_str(a, ref, N_apiVersion, S("v1"));
	value_set_str(a, ref, N_fieldPath, S("metadata.namespace"));

	value_set(a, projected, N_sources, sources);
	return v;
}

/* Mounts the volume where the container mounts nothing at that path. True when it did. */
static bool mount_in(struct arena *a, struct value *container, struct str volume) {
	struct value *mounts = value_ensure_array(a, container, N_volumeMounts);

	VALUE_EACH(mounts, m) {
		if (str_eq(value_str_at(m, N_mountPath), MOUNT_PATH)) {
			return false;
		}
	}
	struct value *m = value_push(a, mounts, value_new_object(a));
	value_set_str(a, m, N_name, volume);
	value_set_bool(a, m, N_readOnly, true);
	value_set_str(a, m, N_mountPath, MOUNT_PATH);
	return true;
}

static void mount_token(struct req *r, struct value *spec) {
	static const uint16_t lists[] = { N_initContainers, N_containers };
	struct str name = S("");
	bool there = false, used = false;

	VALUE_EACH(value_get(spec, N_volumes), v) {
		if (str_starts(value_str_at(v, N_name), S("kube-api-access-"))) {
			name = value_str_at(v, N_name);
			there = true;
		}
	}
	if (!there) {
		struct str random = random_text(r->a, 5, S("bcdfghjklmnpqrstvwxz2456789"));
		name = arena_printf(r->a, "kube-api-access-%.*s", STR_ARG(random));
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		VALUE_EACH(value_get(spec, lists[i]), c) {
			used |= mount_in(r->a, c, name);
		}
	}
	if (used && !there) {
		struct value *v = token_volume(r->a, name);
		value_push(r->a, value_ensure_array(r->a, spec, N_volumes), v);
	}
}

static bool admit(struct admission *ad, struct err *err) {
	struct req *r = ad->r;

	if (!is_pod(ad) || !ad->object) {
		return true;
	}
	struct value *spec = value_ensure_object(r->a, ad->object, N_spec);
	/* A mirror pod stands for what a node runs by itself: it has no account and no secrets. */
	if (value_get_str(value_at(ad->object, N_metadata, N_annotations), S("kubernetes.io/config.mirror"))) {
		if (value_str_at(spec, N_serviceAccountName).len) {
			return fail_forbidden(r, S(""), S("pods"), ad->name, S("a mirror pod may not reference service accounts"), err);
		}
		return true;
	}
	struct str name = value_str_at(spec, N_serviceAccountName);
	if (name.len == 0) {
		name = S("default");
		value_set_str(r->a, spec, N_serviceAccountName, name);
		value_set_str(r->a, spec, N_serviceAccount, name);
	}
	auto_obj struct obj *sa = storage_get(storage_find(r->s, S(""), S("serviceaccounts")), ad->ns, name);
	for (int i = 0; !sa && i < 50 && str_eq(name, S("default")); i++) {
		/* The controller makes it a moment after the namespace: upstream waits a little too. */
		pool_wait_begin();
		clock_sleep(20 * NSEC_PER_MSEC);
		pool_wait_end();
		sa = storage_get(storage_find(r->s, S(""), S("serviceaccounts")), ad->ns, name);
	}
	if (!sa) {
		return fail_forbidden(r, S(""), S("pods"), ad->name,
			arena_printf(r->a, "error looking up service account %.*s/%.*s: serviceaccount \"%.*s\" not found", STR_ARG(ad->ns), STR_ARG(name), STR_ARG(name)),
			err);
	}
	const struct value *pod_mounts = value_get(spec, N_automountServiceAccountToken);
	const struct value *sa_mounts = value_get(sa->root, N_automountServiceAccountToken);
	if (pod_mounts ? value_as_bool(pod_mounts) : sa_mounts ? value_as_bool(sa_mounts) : true) {
		mount_token(r, spec);
	}
	const struct value *pulls = value_get(sa->root, N_imagePullSecrets);
	if (value_len(value_get(spec, N_imagePullSecrets)) == 0 && value_len(pulls)) {
		value_set(r->a, spec, N_imagePullSecrets, value_copy(r->a, pulls));
	}
	return true;
}

const struct admission_plugin admit_service_account = { "ServiceAccount", ADMIT_CREATE, admit, NULL };
