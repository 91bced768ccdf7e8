/* SPDX-License-Identifier: Apache-2.0 */
/* kinds_private.h - rules that several kinds share. Only kinds/ and validate_*.c include it. */
#ifndef APISERVER_KINDS_PRIVATE_H
#define APISERVER_KINDS_PRIVATE_H

#include "apiserver/kinds.h"

/* ---- shorthands ---- */
#define PATH(c, base, lit) path_field((c)->arena, (base), S(lit))
/* Required unless present and not empty. */
void must_have(struct causes *c, const struct value *v, struct str path);
/* One of a closed list; absent is fine unless `required`. */
void must_be_one_of(struct causes *c, const struct value *v, struct str path, const struct str *list, size_t n, bool required);
void must_not_be_negative(struct causes *c, const struct value *v, struct str path);
void must_be_immutable(struct causes *c, const struct value *now, const struct value *was, struct str path);
/* 1 to 65535. */
void must_be_port(struct causes *c, const struct value *v, struct str path);
/* A port number or an IANA service name. */
void must_be_port_or_name(struct causes *c, const struct value *v, struct str path);
/* IntOrString: not negative, or a percentage. */
void must_be_count_or_percent(struct causes *c, const struct value *v, struct str path);
/* Its number: percentages of `total`, rounded up or down. */
int64_t count_or_percent(const struct value *v, int64_t total, bool round_up);
void must_match(struct causes *c, const struct value *v, struct str path, const char *(*rule)(struct str, bool)); /* a name rule; absent is fine */
void must_be_ip(struct causes *c, const struct value *v, struct str path);
bool is_ip(struct str s, int *ret_family); /* AF_INET or AF_INET6 */
bool is_cidr(struct str s);
const char *port_name_rule(struct str name, bool prefix);

/* ---- validate_meta.c ---- */
void validate_labels(const struct value *labels, struct str path, struct causes *c);
void validate_annotations(const struct value *annotations, struct str path, struct causes *c);

/* ---- selectors.c ---- */
void validate_label_selector(const struct value *selector, struct str path, struct causes *c);
void validate_node_selector(const struct value *selector, struct str path, struct causes *c);
/* A workload's spec.selector and spec.template: selector there, not empty, matches the template's labels. */
void validate_selector_and_template(struct kind_ctx *x, const struct value *spec, const struct str *restart_policies, size_t n, struct causes *c);

/* ---- pod_spec.c ---- */
void validate_pod_spec(struct kind_ctx *x, const struct value *spec, const struct value *meta, struct str path, struct causes *c);
void validate_pod_template(struct kind_ctx *x, const struct value *tmpl, struct str path, struct causes *c);
void validate_resources(const struct value *resources, struct str path, struct causes *c);
void validate_volume_source(const struct value *volume, struct str path, struct causes *c);
void validate_tolerations(const struct value *tolerations, struct str path, struct causes *c);
void validate_quantity(const struct value *q, struct str path, struct causes *c);
struct str pod_qos_class(const struct value *pod);

/* ---- rows of kinds.c, one file each ---- */
extern const struct kind_ops pod_ops, service_ops, deployment_ops, replica_set_ops, replication_controller_ops, daemon_set_ops, stateful_set_ops,
	job_ops, cron_job_ops, namespace_ops, node_ops, secret_ops, config_map_ops, service_account_ops, endpoints_ops, endpoint_slice_ops,
	persistent_volume_ops, persistent_volume_claim_ops, storage_class_ops, ingress_ops, ingress_class_ops, network_policy_ops, role_ops, cluster_role_ops,
	role_binding_ops, cluster_role_binding_ops, lease_ops, limit_range_ops, resource_quota_ops, pod_disruption_budget_ops, priority_class_ops,
	horizontal_pod_autoscaler_ops, event_ops, events_event_ops, certificate_signing_request_ops, pod_template_ops;

#endif
