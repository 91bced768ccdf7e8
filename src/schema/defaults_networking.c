/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_networking.c - defaults of networking.k8s.io and discovery.k8s.io. See default.h for how hooks work. */
#include "schema/default.h"

static void policy(struct arena *a, struct value *o) {
	if (value_len(value_get(o, N_policyTypes)) == 0) {
		struct value *types = value_new_array(a);

		value_push_str(a, types, S("Ingress"));
		if (value_len(value_get(o, N_egress))) {
			value_push_str(a, types, S("Egress"));
		}
		value_set(a, o, N_policyTypes, types);
	}
}

static void policy_port(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_protocol, "TCP");
}

static void class_parameters(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_scope, "Cluster");
}

static void slice_port(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_name, "");
	default_ptr_text(a, o, N_protocol, "TCP");
}

const struct default_hook defaults_networking[] = {
	{ T_networking_v1_NetworkPolicySpec, policy },
	{ T_networking_v1_NetworkPolicyPort, policy_port },
	{ T_networking_v1_IngressClassParametersReference, class_parameters },
	{ T_discovery_v1_EndpointPort, slice_port },
	{ 0 },
};
