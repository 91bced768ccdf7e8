/* SPDX-License-Identifier: Apache-2.0 */
/* misc.c - kinds with one or two rules each: Leases, Events, ServiceAccounts, certificate requests. */
#include "apiserver/kinds/kinds_private.h"

static void lease_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	const struct value *spec = value_get(o, N_spec), *duration = value_get(spec, N_leaseDurationSeconds);
	if (duration && value_as_int(duration) <= 0) {
		cause_add(c, CAUSE_INVALID, S("spec.leaseDurationSeconds"), duration, "must be greater than 0");
	}
	must_not_be_negative(c, value_get(spec, N_leaseTransitions), S("spec.leaseTransitions"));
}

const struct kind_ops lease_ops = { .group = S_INIT("coordination.k8s.io"), .resource = S_INIT("leases"), .validate = lease_validate, .no_generation = true };

static void event_rules(const struct value *o, enum name_id about, struct causes *c) {
	struct str ns = value_str_at(o, about, N_namespace), own = value_str_at(o, N_metadata, N_namespace);
	bool cluster = !ns.len && (str_eq(own, S("default")) || str_eq(own, S("kube-system")));
	if (!cluster && !str_eq(ns, own)) {
		cause_add(c, CAUSE_INVALID, path_field(c->arena, name_text(about), S("namespace")), value_at(o, about, N_namespace), "does not match event.namespace");
	}
}

static void event_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	event_rules(o, N_involvedObject, c);
}

static void events_event_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str types[] = { S_INIT("Normal"), S_INIT("Warning") };
	event_rules(o, N_regarding, c);
	must_have(c, value_get(o, N_reportingController), S("reportingController"));
	must_have(c, value_get(o, N_reportingInstance), S("reportingInstance"));
	must_have(c, value_get(o, N_action), S("action"));
	must_have(c, value_get(o, N_reason), S("reason"));
	must_be_one_of(c, value_get(o, N_type), S("type"), types, 2, true);
}

const struct kind_ops event_ops = { .group = S_INIT(""), .resource = S_INIT("events"), .validate = event_validate, .no_generation = true };
const struct kind_ops events_event_ops = { .group = S_INIT("events.k8s.io"), .resource = S_INIT("events"), .validate = events_event_validate,
	.no_generation = true };

const struct kind_ops service_account_ops = { .group = S_INIT(""), .resource = S_INIT("serviceaccounts"), .no_generation = true };

/* The requester's identity is the server's word, never the client's: the registry's user goes in here. */
static void csr_create(struct kind_ctx *x, struct value *o) {
	struct value *spec = value_ensure_object(x->arena, o, N_spec);
	value_set_str(x->arena, spec, N_username, x->user);
	struct value *groups = value_set(x->arena, spec, N_groups, value_new_array(x->arena));
	for (size_t i = 0; i < x->groups_len; i++) {
		value_push_str(x->arena, groups, x->groups[i]);
	}
	value_remove(spec, N_uid);
	value_remove(spec, N_extra);
	value_set(x->arena, o, N_status, value_new_object(x->arena));
}

static void csr_update(struct kind_ctx *x, struct value *o, const struct value *old) {
	value_set(x->arena, o, N_spec, value_copy(x->arena, value_get(old, N_spec)));
	value_set(x->arena, o, N_status, value_copy(x->arena, value_get(old, N_status)));
}

static void csr_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	const struct value *spec = value_get(o, N_spec), *expiration = value_get(spec, N_expirationSeconds);
	struct str signer = value_str_at(spec, N_signerName), domain, path;
	must_have(c, value_get(spec, N_request), S("spec.request"));
	must_have(c, value_get(spec, N_usages), S("spec.usages"));
	if (!signer.len) {
		cause_add(c, CAUSE_REQUIRED, S("spec.signerName"), NULL, NULL);
	} else if (!str_cut(signer, '/', &domain, &path) || !path.len || name_dns1123_subdomain(domain, false)) {
		cause_add(c, CAUSE_INVALID, S("spec.signerName"), value_get(spec, N_signerName), "must be a fully qualified domain and path of the form 'example.com/signer-name'");
	}
	if (expiration && value_as_int(expiration) < 600) {
		cause_add(c, CAUSE_INVALID, S("spec.expirationSeconds"), expiration, "may not specify a duration less than 600 seconds (10 minutes)");
	}
}

const struct kind_ops certificate_signing_request_ops = { .group = S_INIT("certificates.k8s.io"), .resource = S_INIT("certificatesigningrequests"),
	.prepare_create = csr_create, .prepare_update = csr_update, .validate = csr_validate, .no_generation = true };
