/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.c - Services: rules, and the addresses and node ports they are given (upstream: registry/core/service).
 *
 * allocate fills in what is missing and takes what is asked for; what an update no longer has is given back
 * only after the write (committed), what a failed write took at once (rollback).
 */
#include <stdarg.h>

#include "apiserver/kinds/kinds_private.h"
#include "apiserver/kinds/service_alloc.h"

static bool is_type(const struct value *o, const char *type) {
	return str_eqc(value_str_at(o, N_spec, N_type), type);
}
static bool headless(const struct value *o) {
	return str_eq(value_str_at(o, N_spec, N_clusterIP), S("None"));
}
static bool wants_ip(const struct value *o) {
	return !is_type(o, "ExternalName") && !headless(o);
}
static bool wants_ports(const struct value *o) {
	if (is_type(o, "LoadBalancer")) {
		const struct value *v = value_at(o, N_spec, N_allocateLoadBalancerNodePorts);
		return !v || value_as_bool(v);
	}
	return is_type(o, "NodePort");
}

static void prepare_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_set(x->arena, o, N_status, value_new_object(x->arena));
	value_ensure_object(x->arena, status, N_loadBalancer);
}

/* What the new type cannot have is dropped, unless the user set it in this very update. */
static void drop_type_dependent(struct value *o, const struct value *old) {
	struct value *spec = value_get(o, N_spec);
	const struct value *was = value_get(old, N_spec);
	if (is_type(o, "ExternalName") && !is_type(old, "ExternalName")) {
		static const enum name_id gone[] = { N_clusterIP, N_clusterIPs, N_ipFamilies, N_ipFamilyPolicy };
		for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
			if (value_eq(value_get(spec, gone[i]), value_get(was, gone[i]))) {
				value_remove(spec, gone[i]);
			}
		}
	}
	if (wants_ports(old) && !wants_ports(o)) {
		VALUE_EACH(value_get(spec, N_ports), p) {
			bool same = false;
			VALUE_EACH(value_get(was, N_ports), q) {
				same = same || value_int_at(p, N_nodePort) == value_int_at(q, N_nodePort);
			}
			if (same) {
				value_remove(p, N_nodePort);
			}
		}
	}
	if (is_type(old, "LoadBalancer") && !is_type(o, "LoadBalancer")) {
		value_remove(spec, N_allocateLoadBalancerNodePorts);
		value_remove(spec, N_loadBalancerClass);
	}
	if (!is_type(o, "NodePort") && !is_type(o, "LoadBalancer")) {
		value_remove(spec, N_externalTrafficPolicy);
		value_remove(spec, N_healthCheckNodePort);
	}
}

static const struct value *same_port(const struct value *ports, const struct value *p) {
	VALUE_EACH(ports, q) {
		if (value_int_at(p, N_port) == value_int_at(q, N_port) && str_eq(value_str_at(p, N_protocol), value_str_at(q, N_protocol)) &&
			str_eq(value_str_at(p, N_name), value_str_at(q, N_name))) {
			return q;
		}
	}
	return NULL;
}

static void prepare_update(struct kind_ctx *x, struct value *o, const struct value *old) {
	value_set(x->arena, o, N_status, value_copy(x->arena, value_get(old, N_status)));
	struct value *spec = value_get(o, N_spec);
	/* A PUT without the allocated fields keeps them: clients replace Services from files. */
	if (wants_ip(o) && wants_ip(old) && !value_str_at(spec, N_clusterIP).len) {
		static const enum name_id kept[] = { N_clusterIP, N_clusterIPs, N_ipFamilies, N_ipFamilyPolicy };
		for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
			const struct value *v = value_at(old, N_spec, kept[i]);
			if (v && value_is_empty(value_get(spec, kept[i]))) {
				value_set(x->arena, spec, kept[i], value_copy(x->arena, v));
			}
		}
	}
	if (wants_ports(o) && wants_ports(old)) {
		VALUE_EACH(value_get(spec, N_ports), p) {
			const struct value *q = same_port(value_at(old, N_spec, N_ports), p);
			if (q && !value_int_at(p, N_nodePort) && value_int_at(q, N_nodePort)) {
				value_set_int(x->arena, p, N_nodePort, value_int_at(q, N_nodePort));
			}
		}
	}
	drop_type_dependent(o, old);
}

/* ---- rules ---- */

static void validate_ports(const struct value *spec, struct causes *c) {
	static const struct str protocols[] = { S_INIT("SCTP"), S_INIT("TCP"), S_INIT("UDP") };
	const struct value *list = value_get(spec, N_ports);
	size_t n = value_len(list), i = 0;
	VALUE_EACH(list, p) {
		struct str at = path_index(c->arena, S("spec.ports"), i);
		if (n > 1 && !value_str_at(p, N_name).len) {
			cause_add(c, CAUSE_REQUIRED, PATH(c, at, "name"), NULL, NULL);
		}
		must_match(c, value_get(p, N_name), PATH(c, at, "name"), name_dns1123_label);
		must_be_port(c, value_get(p, N_port), PATH(c, at, "port"));
		must_be_one_of(c, value_get(p, N_protocol), PATH(c, at, "protocol"), protocols, ARRAY_LEN(protocols), true);
		if (value_get(p, N_targetPort) && !(value_is(value_get(p, N_targetPort), VALUE_INT) && value_int_at(p, N_targetPort) == 0)) {
			must_be_port_or_name(c, value_get(p, N_targetPort), PATH(c, at, "targetPort"));
		}
		for (size_t j = 0; j < i; j++) {
			const struct value *q = value_item(list, j);
			if (value_str_at(p, N_name).len && str_eq(value_str_at(p, N_name), value_str_at(q, N_name))) {
				cause_add(c, CAUSE_DUPLICATE, PATH(c, at, "name"), value_get(p, N_name), NULL);
			}
			if (value_int_at(p, N_port) == value_int_at(q, N_port) && str_eq(value_str_at(p, N_protocol), value_str_at(q, N_protocol))) {
				cause_add(c, CAUSE_DUPLICATE, at, p, NULL);
			}
			if (value_int_at(p, N_nodePort) && value_int_at(p, N_nodePort) == value_int_at(q, N_nodePort) &&
				str_eq(value_str_at(p, N_protocol), value_str_at(q, N_protocol))) {
				cause_add(c, CAUSE_DUPLICATE, PATH(c, at, "nodePort"), value_get(p, N_nodePort), NULL);
			}
		}
		if (value_int_at(p, N_nodePort) && !str_eq(value_str_at(spec, N_type), S("NodePort")) && !str_eq(value_str_at(spec, N_type), S("LoadBalancer"))) {
			cause_add(c, CAUSE_FORBIDDEN, PATH(c, at, "nodePort"), NULL, "may not be used when `type` is '%.*s'", STR_ARG(value_str_at(spec, N_type)));
		}
		i++;
	}
}

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str types[] = { S_INIT("ClusterIP"), S_INIT("ExternalName"), S_INIT("LoadBalancer"), S_INIT("NodePort") };
	static const struct str affinities[] = { S_INIT("ClientIP"), S_INIT("None") };
	static const struct str traffic[] = { S_INIT("Cluster"), S_INIT("Local") };
	const struct value *spec = value_get(o, N_spec);
	struct str ip = value_str_at(spec, N_clusterIP);
	must_be_one_of(c, value_get(spec, N_type), S("spec.type"), types, ARRAY_LEN(types), true);
	must_be_one_of(c, value_get(spec, N_sessionAffinity), S("spec.sessionAffinity"), affinities, ARRAY_LEN(affinities), true);
	must_be_one_of(c, value_get(spec, N_externalTrafficPolicy), S("spec.externalTrafficPolicy"), traffic, ARRAY_LEN(traffic), false);
	must_be_one_of(c, value_get(spec, N_internalTrafficPolicy), S("spec.internalTrafficPolicy"), traffic, ARRAY_LEN(traffic), false);
	validate_labels(value_get(spec, N_selector), S("spec.selector"), c);
	if (!value_len(value_get(spec, N_ports)) && !headless(o) && !is_type(o, "ExternalName")) {
		cause_add(c, CAUSE_REQUIRED, S("spec.ports"), NULL, NULL);
	}
	validate_ports(spec, c);
	if (is_type(o, "ExternalName")) {
		struct str name = value_str_at(spec, N_externalName);
		if (ip.len && !str_eq(ip, S("None"))) {
			cause_add(c, CAUSE_FORBIDDEN, S("spec.clusterIPs"), NULL, "may not be set for ExternalName services");
		}
		if (!name.len) {
			cause_add(c, CAUSE_REQUIRED, S("spec.externalName"), NULL, NULL);
		} else {
			if (name.ptr[name.len - 1] == '.') {
				name.len--;
			}
			const char *why = name_dns1123_subdomain(name, false);
			if (why) {
				cause_add(c, CAUSE_INVALID, S("spec.externalName"), value_get(spec, N_externalName), "%s", why);
			}
		}
	} else if (ip.len && !str_eq(ip, S("None")) && !is_ip(ip, NULL)) {
		cause_add(c, CAUSE_INVALID, S("spec.clusterIPs[0]"), value_get(spec, N_clusterIP), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
	}
	if (headless(o) && (is_type(o, "NodePort") || is_type(o, "LoadBalancer"))) {
		cause_add(c, CAUSE_INVALID, S("spec.clusterIPs[0]"), value_get(spec, N_clusterIP), "may not be set to 'None' for %.*s services",
			STR_ARG(value_str_at(spec, N_type)));
	}
	const struct value *timeout = value_at(spec, N_sessionAffinityConfig, N_clientIP, N_timeoutSeconds);
	if (timeout && (value_as_int(timeout) <= 0 || value_as_int(timeout) > 86400)) {
		cause_add(c, CAUSE_INVALID, S("spec.sessionAffinityConfig.clientIP.timeoutSeconds"), timeout, "must be greater than 0 and less than 86400");
	}
	size_t i = 0;
	VALUE_EACH(value_get(spec, N_externalIPs), e) {
		must_be_ip(c, e, path_index(c->arena, S("spec.externalIPs"), i++));
	}
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	struct str now = value_str_at(o, N_spec, N_clusterIP), was = value_str_at(old, N_spec, N_clusterIP);
	if (!is_type(o, "ExternalName") && !is_type(old, "ExternalName") && was.len && !str_eq(now, was)) {
		cause_add(c, CAUSE_INVALID, S("spec.clusterIPs[0]"), value_at(o, N_spec, N_clusterIPs), "may not change once set");
	}
}

/* ---- addresses and ports ---- */

static void fill_families(struct kind_ctx *x, struct value *o) {
	struct value *spec = value_get(o, N_spec);
	if (is_type(o, "ExternalName")) {
		return;
	}
	struct str ip = value_str_at(spec, N_clusterIP);
	if (ip.len && !value_len(value_get(spec, N_clusterIPs))) {
		value_push_str(x->arena, value_ensure_array(x->arena, spec, N_clusterIPs), ip);
	}
	if (!value_len(value_get(spec, N_ipFamilies))) {
		value_push_str(x->arena, value_ensure_array(x->arena, spec, N_ipFamilies), S("IPv4"));
	}
	if (!value_str_at(spec, N_ipFamilyPolicy).len) {
		value_set_str(x->arena, spec, N_ipFamilyPolicy, S("SingleStack"));
	}
}

static bool refused(struct kind_ctx *x, struct err *err, const char *field, const char *fmt, ...) PRINTF(4, 5);
static bool refused(struct kind_ctx *x, struct err *err, const char *field, const char *fmt, ...) {
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(err, ERR_INVALID, "Service \"%.*s\" is invalid: %s: Invalid value: %s", STR_ARG(x->name), field, text);
}

static bool port_held(const struct value *old, int64_t port) {
	VALUE_EACH(value_at(old, N_spec, N_ports), p) {
		if (port && value_int_at(p, N_nodePort) == port) {
			return true;
		}
	}
	return false;
}

static void give_back(struct kind_ctx *x, const struct value *o, const struct value *keep) {
	struct str ip = value_str_at(o, N_spec, N_clusterIP);
	if (!str_eq(ip, value_str_at(keep, N_spec, N_clusterIP))) {
		service_alloc_give_ip(x->services, ip);
	}
	VALUE_EACH(value_at(o, N_spec, N_ports), p) {
		int64_t port = value_int_at(p, N_nodePort);
		if (port && !port_held(keep, port)) {
			service_alloc_give_port(x->services, (int)port);
		}
	}
}

static bool allocate_ip(struct kind_ctx *x, struct value *spec, const struct value *old, struct err *err) {
	struct str ip = value_str_at(spec, N_clusterIP);
	if (!ip.len) {
		ip = service_alloc_ip(x->services, x->arena, x->dry_run);
		if (!ip.len) {
			return err_set(err, ERR_INTERNAL, "failed to allocate a serviceIP: range is full");
		}
		value_set_str(x->arena, spec, N_clusterIP, ip);
		return true;
	}
	if (str_eq(ip, value_str_at(old, N_spec, N_clusterIP))) {
		return true;
	}
	switch (service_alloc_take_ip(x->services, ip, x->dry_run)) {
	case ALLOC_OK:
		return true;
	case ALLOC_TAKEN:
		return refused(x, err, "spec.clusterIPs", "[\"%.*s\"]: failed to allocate IP %.*s: provided IP is already allocated", STR_ARG(ip), STR_ARG(ip));
	case ALLOC_OUT_OF_RANGE:
		return refused(x, err, "spec.clusterIPs", "[\"%.*s\"]: failed to allocate IP %.*s: the provided network does not match the current range", STR_ARG(ip),
			STR_ARG(ip));
	}
	return false;
}

static bool allocate_ports(struct kind_ctx *x, struct value *spec, const struct value *old, struct err *err) {
	size_t i = 0;
	VALUE_EACH(value_get(spec, N_ports), p) {
		int64_t port = value_int_at(p, N_nodePort);
		char field[64];
		snprintf(field, sizeof(field), "spec.ports[%zu].nodePort", i++);
		if (!port) {
			/* One number serves TCP and UDP of the same port. */
			VALUE_EACH(value_get(spec, N_ports), q) {
				if (q != p && value_int_at(q, N_nodePort) && value_int_at(q, N_port) == value_int_at(p, N_port) &&
					!str_eq(value_str_at(p, N_protocol), value_str_at(q, N_protocol))) {
					port = value_int_at(q, N_nodePort);
				}
			}
			port = port ? port : service_alloc_port(x->services, x->dry_run);
			if (!port) {
				return err_set(err, ERR_INTERNAL, "failed to allocate a nodePort: range is full");
			}
			value_set_int(x->arena, p, N_nodePort, port);
			continue;
		}
		bool earlier = false; /* the same number under another protocol, taken a moment ago */
		VALUE_EACH(value_get(spec, N_ports), q) {
			if (q == p) {
				break;
			}
			earlier = earlier || value_int_at(q, N_nodePort) == port;
		}
		if (earlier || port_held(old, port)) {
			continue;
		}
		int lo, hi;
		switch (service_alloc_take_port(x->services, (int)port, x->dry_run)) {
		case ALLOC_OK:
			break;
		case ALLOC_TAKEN:
			return refused(x, err, field, "%lld: provided port is already allocated", (long long)port);
		case ALLOC_OUT_OF_RANGE:
			service_alloc_range(x->services, &lo, &hi);
			return refused(x, err, field, "%lld: provided port is not in the valid range. The range of valid ports is %d-%d", (long long)port, lo, hi);
		}
	}
	return true;
}

static bool allocate(struct kind_ctx *x, struct value *o, const struct value *old, struct err *err) {
	struct value *spec = value_get(o, N_spec);
	if (!x->services) {
		return true;
	}
	struct value *before = value_copy(x->arena, o); /* what was taken so far is the difference to it */
	bool ok = !wants_ip(o) || allocate_ip(x, spec, old, err);
	if (!ok) {
		return false;
	}
	if (wants_ports(o) && !allocate_ports(x, spec, old, err)) {
		if (!x->dry_run && wants_ip(o) && !value_str_at(before, N_spec, N_clusterIP).len) {
			service_alloc_give_ip(x->services, value_str_at(spec, N_clusterIP));
		}
		return false;
	}
	fill_families(x, o);
	return true;
}

static void committed(struct kind_ctx *x, const struct value *o, const struct value *old) {
	if (x->services && old) {
		give_back(x, old, o);
	}
}

static void rollback(struct kind_ctx *x, const struct value *o, const struct value *old) {
	if (x->services) {
		give_back(x, o, old);
	}
}

static void deleted(struct kind_ctx *x, const struct value *o) {
	if (x->services) {
		give_back(x, o, NULL);
	}
}

const struct kind_ops service_ops = {
	.group = S_INIT(""),
	.resource = S_INIT("services"),
	.prepare_create = prepare_create,
	.prepare_update = prepare_update,
	.validate = validate,
	.validate_update = validate_update,
	.allocate = allocate,
	.committed = committed,
	.rollback = rollback,
	.deleted = deleted,
	.name_rule = name_dns1035_label,
	.no_generation = true,
};
