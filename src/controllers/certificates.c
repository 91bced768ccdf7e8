/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certificates.c - approves the certificate requests of nodes and signs what is approved.
 *
 * Approved without a person: a kubelet's client certificate, asked for with a bootstrap token or by the
 * node itself, and a kubelet's serving certificate, asked for by the node itself. Signed when approved:
 * kubernetes.io/kube-apiserver-client, kube-apiserver-client-kubelet and kubelet-serving. A pass on a pool thread.
 * Source: upstream's csrapproving and csrsigning controllers, "Certificates and Certificate Signing Requests".
 */
#include "base/log.h"
#include "controllers/frame.h"
#include "controllers/object.h"
#include "net/cert.h"
#include "net/digest.h"

#define CSR_GVR GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
#define LIFETIME (365 * 24 * 3600 * NSEC_PER_SEC)

struct certificates {
	struct frame *frame;
	struct shared *requests;
	struct work_queue *queue;
};

static const struct signer {
	const char *name;
	int usage;
	bool node;                  /* the subject must be a node's */
	bool names;                 /* may carry DNS names and addresses */
	const char *usages[3];      /* that may be asked for */
} signers[] = {
	{ "kubernetes.io/kube-apiserver-client",         CERT_CLIENT, false, false, { "digital signature", "key encipherment", "client auth" } },
	{ "kubernetes.io/kube-apiserver-client-kubelet", CERT_CLIENT, true,  false, { "digital signature", "key encipherment", "client auth" } },
	{ "kubernetes.io/kubelet-serving",               CERT_SERVER, true,  true,  { "digital signature", "key encipherment", "server auth" } },
};

static const struct signer *signer_find(struct str name) {
	for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
		if (str_eqc(name, signers[i].name)) {
			return &signers[i];
		}
	}
	return NULL;
}

static bool has_group(const struct value *spec, const char *group) {
	VALUE_EACH(value_get(spec, N_groups), g) {
		if (str_eqc(value_as_str(g), group)) {
			return true;
		}
	}
	return false;
}

/* What the signer's rules say against the request; NULL when it may be signed. */
static const char *refused(const struct signer *s, const struct value *spec, const struct cert_identity *id) {
	bool auth = false;

	VALUE_EACH(value_get(spec, N_usages), u) {
		bool known = false;
		for (size_t i = 0; i < ARRAY_LEN(s->usages); i++) {
			known = known || str_eqc(value_as_str(u), s->usages[i]);
		}
		if (!known) {
			return "usages are not those of the signer";
		}
		auth = auth || str_eqc(value_as_str(u), s->usages[2]);
	}
	if (!auth) {
		return "usages do not hold what the certificate is for";
	}
	if (s->node && (id->organizations_len != 1 || !str_eq(id->organizations[0], S("system:nodes")))) {
		return "organization is not system:nodes";
	}
	if (s->node && !str_starts(id->common_name, S("system:node:"))) {
		return "subject common name does not begin with system:node:";
	}
	if (!s->names && (id->dns_len || id->ips_len)) {
		return "DNS and IP subject alternative names are not allowed";
	}
	if (s->names && !id->dns_len && !id->ips_len) {
		return "at least one DNS or IP subject alternative name is required";
	}
	for (size_t i = 0; i < id->organizations_len; i++) {
		if (str_eq(id->organizations[i], S("system:masters"))) {
			return "organization system:masters is not given out";
		}
	}
	return NULL;
}

/* Whether nobody has to look at it. */
static bool of_a_node(const struct signer *s, const struct value *spec, const struct cert_identity *id) {
	bool itself = has_group(spec, "system:nodes") && str_eq(value_str_at(spec, N_username), id->common_name);

	return s->node && (itself || (s->usage == CERT_CLIENT && has_group(spec, "system:bootstrappers")));
}

static bool approve(struct certificates *c, struct arena *a, const struct obj *csr, struct err *err) {
	struct value *o = object_edit(a, csr->root);
	struct value *status = value_ensure_object(a, o, N_status);
	struct condition cond = { .type = "Approved", .status = "True", .reason = "AutoApproved", .message = S("Auto approving kubelet certificate after SubjectAccessReview."),
		.update_time = true };
	struct client_call call = { .verb = CLIENT_UPDATE, .gvr = CSR_GVR, .name = meta_name(o), .subresource = S("approval"), .body = o };

	condition_set(a, value_ensure_array(a, status, N_conditions), &cond);
	return client_do(c->frame->client, &call, NULL, NULL, err);
}

static bool sign(struct certificates *c, struct arena *a, const struct signer *s, const struct obj *csr, struct str pem, struct err *err) {
	nsec_t lifetime = value_int_at(csr->root, N_spec, N_expirationSeconds) * NSEC_PER_SEC;
	struct cert_opts opts = {
		.usage = s->usage,
		.lifetime = lifetime > 0 ? MIN(lifetime, LIFETIME) : LIFETIME,
		.ca_cert_pem = c->frame->opts.signing_cert_pem,
		.ca_key_pem = c->frame->opts.signing_key_pem,
	};
	struct str cert;
	struct value *o = object_edit(a, csr->root);

	if (!csr_sign(pem, &opts, a, &cert, err)) {
		return false;
	}
	value_set_str(a, value_ensure_object(a, o, N_status), N_certificate, base64_encode(a, cert));
	if (!client_update_status(c->frame->client, CSR_GVR, S(""), o, NULL, err)) {
		return false;
	}
	log_info("controllers", "certificate signed", kv_str("request", meta_name(o)), kv_str("signer", str_c(s->name)));
	return true;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct certificates *c = arg;
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *csr = informer_get(c->requests->informer, S(""), key);
	const struct value *conditions = csr ? value_at(csr->root, N_status, N_conditions) : NULL;
	const struct signer *s = csr ? signer_find(value_str_at(csr->root, N_spec, N_signerName)) : NULL;
	struct cert_identity id;
	struct str pem;
	struct err bad = { 0 };

	if (!s || value_str_at(csr->root, N_status, N_certificate).len || condition_is(conditions, "Denied", "True") || condition_is(conditions, "Failed", "True")) {
		return true;
	}
	if (!base64_decode(&a, value_str_at(csr->root, N_spec, N_request), &pem) || !csr_parse(pem, &a, &id, &bad) || refused(s, value_get(csr->root, N_spec), &id)) {
		return true; /* upstream leaves what does not fit the signer to a person, too */
	}
	if (!condition_is(conditions, "Approved", "True")) {
		return !of_a_node(s, value_get(csr->root, N_spec), &id) || approve(c, &a, csr, err); /* its own write brings it back */
	}
	return sign(c, &a, s, csr, pem, err);
}

static void request_changed(void *arg, struct obj *old, struct obj *now) {
	struct certificates *c = arg;

	if (now) {
		work_queue_add(c->queue, meta_name(now->root));
	}
}

static void *make(struct frame *f) {
	if (!f->opts.signing_cert_pem.len || !f->opts.signing_key_pem.len) {
		return NULL;
	}
	struct certificates *c = xcalloc(1, sizeof(*c));
	c->frame = f;
	c->queue = frame_queue(f, "certificates", 1, sync, c);
	c->requests = frame_watch(f, CSR_GVR, request_changed, c);
	return c;
}

const struct controller_ops certificates_controller = { .name = "certificatesigningrequest-signing-controller", .make = make, .free = free };
