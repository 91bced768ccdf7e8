/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_apps.c - defaults of the group apps. See default.h for how hooks work. */
#include "schema/default.h"

static bool rolling(const struct value *strategy) {
	return str_eq(value_str_at(strategy, N_type), S("RollingUpdate"));
}

static void deployment(struct arena *a, struct value *o) {
	struct value *strategy, *update;

	default_ptr_int(a, o, N_replicas, 1);
	default_ptr_int(a, o, N_revisionHistoryLimit, 10);
	default_ptr_int(a, o, N_progressDeadlineSeconds, 600);
	strategy = value_ensure_object(a, o, N_strategy);
	default_text(a, strategy, N_type, "RollingUpdate");
	if (rolling(strategy)) {
		update = value_ensure_object(a, strategy, N_rollingUpdate);
		default_ptr_text(a, update, N_maxUnavailable, "25%");
		default_ptr_text(a, update, N_maxSurge, "25%");
	}
}

static void daemon_set(struct arena *a, struct value *o) {
	struct value *strategy, *update;

	default_ptr_int(a, o, N_revisionHistoryLimit, 10);
	strategy = value_ensure_object(a, o, N_updateStrategy);
	default_text(a, strategy, N_type, "RollingUpdate");
	if (rolling(strategy)) {
		update = value_ensure_object(a, strategy, N_rollingUpdate);
		default_ptr_int(a, update, N_maxUnavailable, 1);
		default_ptr_int(a, update, N_maxSurge, 0);
	}
}

static void stateful_set(struct arena *a, struct value *o) {
	struct value *strategy, *update, *retention, *claims;

	default_text(a, o, N_podManagementPolicy, "OrderedReady");
	default_ptr_int(a, o, N_replicas, 1);
	default_ptr_int(a, o, N_revisionHistoryLimit, 10);
	strategy = value_ensure_object(a, o, N_updateStrategy);
	default_text(a, strategy, N_type, "RollingUpdate");
	if (rolling(strategy)) {
		update = value_ensure_object(a, strategy, N_rollingUpdate);
		default_ptr_int(a, update, N_partition, 0);
		default_ptr_int(a, update, N_maxUnavailable, 1);
	}
	retention = value_ensure_object(a, o, N_persistentVolumeClaimRetentionPolicy);
	default_text(a, retention, N_whenDeleted, "Retain");
	default_text(a, retention, N_whenScaled, "Retain");
	claims = value_get(o, N_volumeClaimTemplates);
	for (size_t i = 0; i < value_len(claims); i++) { /* the only templates that say what they are */
		default_text(a, value_item(claims, i), N_kind, "PersistentVolumeClaim");
		default_text(a, value_item(claims, i), N_apiVersion, "v1");
	}
}

static void replica_set(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_replicas, 1);
}

const struct default_hook defaults_apps[] = {
	{ T_apps_v1_DeploymentSpec, deployment },
	{ T_apps_v1_DaemonSetSpec, daemon_set },
	{ T_apps_v1_StatefulSetSpec, stateful_set },
	{ T_apps_v1_ReplicaSetSpec, replica_set },
	{ 0 },
};
