/* SPDX-License-Identifier: Apache-2.0 */
/* defaults_admissionregistration.c - defaults of webhooks and admission policies. See default.h for how hooks work. */
#include "schema/default.h"

static void selectors(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_matchPolicy, "Equivalent");
	if (default_absent(o, N_namespaceSelector)) {
		value_set(a, o, N_namespaceSelector, value_new_object(a));
	}
	if (default_absent(o, N_objectSelector)) {
		value_set(a, o, N_objectSelector, value_new_object(a));
	}
}

static void validating_webhook(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_failurePolicy, "Fail");
	selectors(a, o);
	default_ptr_int(a, o, N_timeoutSeconds, 10);
}

static void mutating_webhook(struct arena *a, struct value *o) {
	validating_webhook(a, o);
	default_ptr_text(a, o, N_reinvocationPolicy, "Never");
}

static void rule(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_scope, "*");
}

static void service_reference(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_port, 443);
}

static void policy_spec(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_failurePolicy, "Fail");
}

static void mutating_policy_spec(struct arena *a, struct value *o) {
	policy_spec(a, o);
	default_text(a, o, N_reinvocationPolicy, "Never");
}

const struct default_hook defaults_admissionregistration[] = {
	{ T_admissionregistration_v1_ValidatingWebhook, validating_webhook },
	{ T_admissionregistration_v1_MutatingWebhook, mutating_webhook },
	{ T_admissionregistration_v1_RuleWithOperations, rule },
	{ T_admissionregistration_v1_NamedRuleWithOperations, rule },
	{ T_admissionregistration_v1_ServiceReference, service_reference },
	{ T_admissionregistration_v1_MatchResources, selectors },
	{ T_admissionregistration_v1_ValidatingAdmissionPolicySpec, policy_spec },
	{ T_admissionregistration_v1_MutatingAdmissionPolicySpec, mutating_policy_spec },
	{ 0 },
};
