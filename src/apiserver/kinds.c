/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kinds.c - the one table of kinds that have rules of their own. A new kind is a file in kinds/ and a row here;
 * a kind without a row follows the generic rules. Constant; any thread.
 */
#include "apiserver/kinds.h"

#include "apiserver/kinds/kinds_private.h"

static const struct kind_ops *const rows[] = {
	&pod_ops,
	&pod_template_ops,
	&service_ops,
	&endpoints_ops,
	&endpoint_slice_ops,
	&namespace_ops,
	&node_ops,
	&secret_ops,
	&config_map_ops,
	&service_account_ops,
	&event_ops,
	&events_event_ops,
	&replication_controller_ops,
	&replica_set_ops,
	&deployment_ops,
	&daemon_set_ops,
	&stateful_set_ops,
	&job_ops,
	&cron_job_ops,
	&persistent_volume_ops,
	&persistent_volume_claim_ops,
	&storage_class_ops,
	&ingress_ops,
	&ingress_class_ops,
	&network_policy_ops,
	&role_ops,
	&cluster_role_ops,
	&role_binding_ops,
	&cluster_role_binding_ops,
	&lease_ops,
	&limit_range_ops,
	&resource_quota_ops,
	&pod_disruption_budget_ops,
	&priority_class_ops,
	&horizontal_pod_autoscaler_ops,
	&certificate_signing_request_ops,
};

static const struct kind_ops generic = { 0 };

const struct kind_ops *kind_ops_find(struct str group, struct str resource) {
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (str_eq(rows[i]->resource, resource) && str_eq(rows[i]->group, group)) {
			return rows[i];
		}
	}
	return &generic;
}
