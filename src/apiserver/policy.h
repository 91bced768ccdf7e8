/* SPDX-License-Identifier: Apache-2.0 */
/* policy.h - the roles and bindings that every cluster starts with, as data: who may do what is upstream's fact. */
#ifndef APISERVER_POLICY_H
#define APISERVER_POLICY_H

#include <stddef.h>

/*
 * One rule is "verbs|groups|resources[|names]", each a comma-separated list ("core" is the empty group), or "verbs|/paths" for
 * paths that are no resources. `$r` stands for get, list, watch; `$w` for create, delete, deletecollection, patch, update; `$rw` for both.
 */
struct policy_role {
	const char *ns;   /* NULL: a ClusterRole */
	const char *name;
	const char *const *rules; /* NULL-ended */
	const char *aggregate_to; /* label rbac.authorization.k8s.io/aggregate-to-<this>: "true" */
	const char *aggregate_from; /* aggregationRule over that label; the rules are the aggregator's then */
};
struct policy_binding {
	const char *ns;   /* NULL: a ClusterRoleBinding */
	const char *name;
	const char *role; /* "ClusterRole/x" or "Role/x" */
	const char *subjects; /* comma-separated "Group/x", "User/x", "ServiceAccount/ns/x" */
};
extern const struct policy_role policy_roles[];
extern const size_t policy_roles_len;
extern const struct policy_binding policy_bindings[];
extern const size_t policy_bindings_len;

#endif
