/* SPDX-License-Identifier: Apache-2.0 */
/* networking.c - Ingresses, IngressClasses, NetworkPolicies. */
#include "apiserver/kinds/kinds_private.h"

static void backend(const struct value *b, struct str path, struct causes *c) {
	const struct value *service = value_get(b, N_service), *resource = value_get(b, N_resource), *port = value_get(service, N_port);
	if (service && resource) {
		cause_add(c, CAUSE_INVALID, path, value_new_str(c->arena, S("")), "cannot set both resource and service backends");
		return;
	}
	if (!service && !resource) {
		cause_add(c, CAUSE_REQUIRED, path, NULL, "resource or service backend is required");
		return;
	}
	if (resource) {
		return;
	}
	struct str p = PATH(c, path, "service");
	if (!value_str_at(service, N_name).len) {
		cause_add(c, CAUSE_REQUIRED, PATH(c, p, "name"), NULL, NULL);
	} else {
		must_match(c, value_get(service, N_name), PATH(c, p, "name"), name_dns1035_label);
	}
	bool name = value_str_at(port, N_name).len, number = value_int_at(port, N_number) != 0;
	if (name && number) {
		cause_add(c, CAUSE_INVALID, p, value_new_str(c->arena, S("")), "cannot set both port name & port number");
	} else if (!name && !number) {
		cause_add(c, CAUSE_REQUIRED, p, NULL, "port name or number is required");
	} else if (number) {
		must_be_port(c, value_get(port, N_number), PATH(c, p, "port.number"));
	}
}

static void ingress_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_new_object(x->arena);
	value_ensure_object(x->arena, status, N_loadBalancer);
	value_set(x->arena, o, N_status, status);
}

static void ingress_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str types[] = { S_INIT("Exact"), S_INIT("ImplementationSpecific"), S_INIT("Prefix") };
	const struct value *spec = value_get(o, N_spec);
	size_t i = 0;
	if (!value_len(value_get(spec, N_rules)) && !value_get(spec, N_defaultBackend)) {
		cause_add(c, CAUSE_INVALID, S("spec"), spec, "either `defaultBackend` or `rules` must be specified");
	}
	if (value_get(spec, N_defaultBackend)) {
		backend(value_get(spec, N_defaultBackend), S("spec.defaultBackend"), c);
	}
	VALUE_EACH(value_get(spec, N_rules), r) {
		struct str p = path_index(c->arena, S("spec.rules"), i++), host = value_str_at(r, N_host);
		if (host.len) {
			struct str bare = str_starts(host, S("*.")) ? str_from(host, 2) : host;
			const char *why = is_ip(host, NULL) ? "must be a DNS name, not an IP address" : name_dns1123_subdomain(bare, false);
			if (why) {
				cause_add(c, CAUSE_INVALID, PATH(c, p, "host"), value_get(r, N_host), "%s", why);
			}
		}
		const struct value *http = value_get(r, N_http);
		if (http && !value_len(value_get(http, N_paths))) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, p, "http.paths"), NULL, NULL);
		}
		size_t j = 0;
		VALUE_EACH(value_get(http, N_paths), q) {
			struct str at = path_index(c->arena, PATH(c, p, "http.paths"), j++), path = value_str_at(q, N_path);
			if (!value_str_at(q, N_pathType).len) {
				cause_add(c, CAUSE_REQUIRED, PATH(c, at, "pathType"), NULL, "pathType must be specified");
			} else {
				must_be_one_of(c, value_get(q, N_pathType), PATH(c, at, "pathType"), types, ARRAY_LEN(types), true);
				if (!str_eq(value_str_at(q, N_pathType), S("ImplementationSpecific")) && (!path.len || path.ptr[0] != '/')) {
					cause_add(c, CAUSE_INVALID, PATH(c, at, "path"), value_get(q, N_path), "must be an absolute path");
				}
			}
			backend(value_get(q, N_backend), PATH(c, at, "backend"), c);
		}
	}
}

const struct kind_ops ingress_ops = { .group = S_INIT("networking.k8s.io"), .resource = S_INIT("ingresses"), .prepare_create = ingress_create,
	.validate = ingress_validate };

static void class_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	must_have(c, value_at(o, N_spec, N_controller), S("spec.controller"));
}
static void class_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	must_be_immutable(c, value_at(o, N_spec, N_controller), value_at(old, N_spec, N_controller), S("spec.controller"));
}

const struct kind_ops ingress_class_ops = { .group = S_INIT("networking.k8s.io"), .resource = S_INIT("ingressclasses"), .validate = class_validate,
	.validate_update = class_update };

static void peers(const struct value *rules, enum name_id list, struct str path, struct causes *c) {
	size_t i = 0;
	VALUE_EACH(rules, r) {
		struct str p = path_index(c->arena, path, i++);
		size_t j = 0;
		VALUE_EACH(value_get(r, list), peer) {
			struct str q = path_index(c->arena, path_field(c->arena, p, name_text(list)), j++);
			const struct value *block = value_get(peer, N_ipBlock);
			validate_label_selector(value_get(peer, N_podSelector), PATH(c, q, "podSelector"), c);
			validate_label_selector(value_get(peer, N_namespaceSelector), PATH(c, q, "namespaceSelector"), c);
			if (block && !is_cidr(value_str_at(block, N_cidr))) {
				cause_add(c, CAUSE_INVALID, PATH(c, q, "ipBlock.cidr"), value_get(block, N_cidr), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
			}
			if (!value_len(peer)) {
				cause_add(c, CAUSE_REQUIRED, q, NULL, "must specify a peer");
			} else if (block && value_len(peer) > 1) {
				cause_add(c, CAUSE_FORBIDDEN, q, NULL, "may not specify both ipBlock and another peer");
			}
		}
		j = 0;
		VALUE_EACH(value_get(r, N_ports), port) {
			struct str q = path_index(c->arena, PATH(c, p, "ports"), j++);
			if (value_get(port, N_port)) {
				must_be_port_or_name(c, value_get(port, N_port), PATH(c, q, "port"));
			}
		}
	}
}

static void policy_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	const struct value *spec = value_get(o, N_spec);
	validate_label_selector(value_get(spec, N_podSelector), S("spec.podSelector"), c);
	peers(value_get(spec, N_ingress), N_from, S("spec.ingress"), c);
	peers(value_get(spec, N_egress), N_to, S("spec.egress"), c);
}

const struct kind_ops network_policy_ops = { .group = S_INIT("networking.k8s.io"), .resource = S_INIT("networkpolicies"), .validate = policy_validate };
