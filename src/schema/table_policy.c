/* SPDX-License-Identifier: Apache-2.0 */
/* table_policy.c - rows of roles, certificates, leases, admission, priorities and flow control. See table.h. */
#include "schema/table.h"

static void role_binding(struct row *r) {
	static const struct str kinds[] = { S_INIT("User"), S_INIT("Group"), S_INIT("ServiceAccount") };
	const struct value *subjects = value_get(r->o, N_subjects);
	struct str kind = value_str_at(r->o, N_roleRef, N_kind), name = value_str_at(r->o, N_roleRef, N_name);

	cell_name(r);
	cell(r, arena_printf(r->a, "%.*s/%.*s", STR_ARG(kind), STR_ARG(name)));
	cell_age(r);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		auto_buf struct buf b = BUF_INIT(65536);

		for (size_t i = 0; i < value_len(subjects); i++) {
			const struct value *s = value_item(subjects, i);
			struct str ns = value_str_at(s, N_namespace), who = value_str_at(s, N_name);

			if (str_eq(value_str_at(s, N_kind), kinds[k])) {
				buf_printf(&b, "%s%.*s%s%.*s", b.len ? ", " : "", STR_ARG(k == 2 ? ns : S("")), k == 2 ? "/" : "", STR_ARG(who));
			}
		}
		cell(r, buf_view(&b));
	}
}

static void signing_request(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *conditions = value_at(r->o, N_status, N_conditions), *seconds = value_get(spec, N_expirationSeconds);
	bool denied = value_find_by(conditions, N_type, S("Denied")), approved = value_find_by(conditions, N_type, S("Approved"));

	cell_name(r);
	cell_age(r);
	cell_or(r, value_str_at(spec, N_signerName), "<none>");
	cell(r, value_str_at(spec, N_username));
	cell(r, seconds ? human_span(r->a, value_as_int(seconds)) : S("<none>"));
	cell(r, arena_printf(r->a, "%s%s%s", denied ? "Denied" : approved ? "Approved" : "Pending", value_find_by(conditions, N_type, S("Failed")) ? ",Failed" : "",
			value_str_at(r->o, N_status, N_certificate).len ? ",Issued" : ""));
}

static void lease(struct row *r) {
	cell_name(r);
	cell(r, value_str_at(r->o, N_spec, N_holderIdentity));
	cell_age(r);
}

static void priority_class(struct row *r) {
	cell_name(r);
	cell_int(r, value_int_at(r->o, N_value));
	cell_bool(r, value_bool_at(r->o, N_globalDefault));
	cell_age(r);
	cell(r, value_str_at(r->o, N_preemptionPolicy));
}

static void runtime_class(struct row *r) {
	cell_name(r);
	cell(r, value_str_at(r->o, N_handler));
	cell_age(r);
}

/* ---- admission ------------------------------------------------------------------------------------------------------ */
static void webhooks(struct row *r) {
	cell_name(r);
	cell_int(r, (int64_t)value_len(value_get(r->o, N_webhooks)));
	cell_age(r);
}

static void admission_policy(struct row *r) {
	const struct value *kind = value_at(r->o, N_spec, N_paramKind), *rules = value_at(r->o, N_spec, N_validations);
	struct str version = value_str_at(kind, N_apiVersion), name = value_str_at(kind, N_kind);

	rules = rules ? rules : value_at(r->o, N_spec, N_mutations);
	cell_name(r);
	cell_int(r, (int64_t)value_len(rules));
	cell(r, kind ? arena_printf(r->a, "%.*s/%.*s", STR_ARG(version), STR_ARG(name)) : S("<unset>"));
	cell_age(r);
}

static void admission_binding(struct row *r) {
	const struct value *ref = value_at(r->o, N_spec, N_paramRef);
	struct str ns = value_str_at(ref, N_namespace), name = value_str_at(ref, N_name);

	cell_name(r);
	cell(r, value_str_at(r->o, N_spec, N_policyName));
	if (!ref) {
		cell(r, S("<unset>"));
	} else {
		name = name.len ? name : value_get(ref, N_selector) ? table_selector_text(r->a, value_get(ref, N_selector)) : S("*");
		cell(r, arena_printf(r->a, "%.*s%s%.*s", STR_ARG(ns), ns.len ? "/" : "", STR_ARG(name)));
	}
	cell_age(r);
}

/* ---- flow control ------------------------------------------------------------------------------------------------------ */
static void flow_schema(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec);

	cell_name(r);
	cell(r, value_str_at(spec, N_priorityLevelConfiguration, N_name));
	cell_int(r, value_int_at(spec, N_matchingPrecedence));
	cell_or(r, value_str_at(spec, N_distinguisherMethod, N_type), "<none>");
	cell_age(r);
	cell_or(r, condition_status(value_at(r->o, N_status, N_conditions), S("Dangling")), "?");
}

static void number_or_none(struct row *r, const struct value *v) {
	if (v) {
		cell_int(r, value_as_int(v));
	} else {
		cell(r, S("<none>"));
	}
}

static void priority_level(struct row *r) {
	const struct value *limited = value_at(r->o, N_spec, N_limited), *queuing = value_at(limited, N_limitResponse, N_queuing);

	cell_name(r);
	cell(r, value_str_at(r->o, N_spec, N_type));
	number_or_none(r, value_get(limited, N_nominalConcurrencyShares));
	number_or_none(r, value_get(queuing, N_queues));
	number_or_none(r, value_get(queuing, N_handSize));
	number_or_none(r, value_get(queuing, N_queueLengthLimit));
	cell_age(r);
}

const struct table_printer table_policy[] = {
	{ T_rbac_v1_RoleBinding, role_binding },
	{ T_rbac_v1_ClusterRoleBinding, role_binding },
	{ T_certificates_v1_CertificateSigningRequest, signing_request },
	{ T_coordination_v1_Lease, lease },
	{ T_scheduling_v1_PriorityClass, priority_class },
	{ T_node_v1_RuntimeClass, runtime_class },
	{ T_admissionregistration_v1_MutatingWebhookConfiguration, webhooks },
	{ T_admissionregistration_v1_ValidatingWebhookConfiguration, webhooks },
	{ T_admissionregistration_v1_ValidatingAdmissionPolicy, admission_policy },
	{ T_admissionregistration_v1_MutatingAdmissionPolicy, admission_policy },
	{ T_admissionregistration_v1_ValidatingAdmissionPolicyBinding, admission_binding },
	{ T_admissionregistration_v1_MutatingAdmissionPolicyBinding, admission_binding },
	{ T_flowcontrol_v1_FlowSchema, flow_schema },
	{ T_flowcontrol_v1_PriorityLevelConfiguration, priority_level },
	{ 0 },
};
