/* SPDX-License-Identifier: Apache-2.0 */
/* table_network.c - rows of networking.k8s.io, discovery.k8s.io and apiregistration.k8s.io. See table.h. */
#include "schema/table.h"

static void ingress(struct row *r) {
	const struct value *rules = value_at(r->o, N_spec, N_rules);
	struct str class = value_str_at(r->o, N_spec, N_ingressClassName), hosts;
	struct few few = { .text = BUF_INIT(65536) };

	if (class.len == 0) {
		class = value_as_str(value_get_str(value_at(r->o, N_metadata, N_annotations), S("kubernetes.io/ingress.class")));
	}
	for (size_t i = 0; i < value_len(rules); i++) {
		struct str host = value_str_at(value_item(rules, i), N_host);

		if (host.len) {
			few_add(&few, host);
		}
	}
	hosts = few_text(r->a, &few);
	cell_name(r);
	cell_or(r, class, "<none>");
	cell_or(r, hosts, "*");
	cell(r, balancer_text(r->a, value_at(r->o, N_status, N_loadBalancer)));
	cell(r, value_len(value_at(r->o, N_spec, N_tls)) ? S("80, 443") : S("80"));
	cell_age(r);
}

static void ingress_class(struct row *r) {
	const struct value *p = value_at(r->o, N_spec, N_parameters);
	struct str kind = value_str_at(p, N_kind), group = value_str_at(p, N_apiGroup), name = value_str_at(p, N_name);

	cell_name(r);
	cell(r, value_str_at(r->o, N_spec, N_controller));
	if (p) {
		cell(r, arena_printf(r->a, "%.*s%s%.*s/%.*s", STR_ARG(kind), group.len ? "." : "", STR_ARG(group), STR_ARG(name)));
	} else {
		cell(r, S("<none>"));
	}
	cell_age(r);
}

static void network_policy(struct row *r) {
	cell_name(r);
	cell(r, table_selector_text(r->a, value_at(r->o, N_spec, N_podSelector)));
	cell_age(r);
}

static void ip_address(struct row *r) {
	const struct value *p = value_at(r->o, N_spec, N_parentRef);
	struct str resource = value_str_at(p, N_resource), group = value_str_at(p, N_group), ns = value_str_at(p, N_namespace), name = value_str_at(p, N_name);

	cell_name(r);
	if (p) {
		cell(r, arena_printf(r->a, "%.*s%s%.*s%s%.*s/%.*s", STR_ARG(resource), group.len ? "." : "", STR_ARG(group), ns.len ? "/" : "", STR_ARG(ns),
				STR_ARG(name)));
	} else {
		cell(r, S("<none>"));
	}
}

static void service_cidr(struct row *r) {
	cell_name(r);
	cell(r, joined(r->a, value_at(r->o, N_spec, N_cidrs), ","));
	cell_age(r);
}

static void endpoint_slice(struct row *r) {
	const struct value *ports = value_get(r->o, N_ports), *endpoints = value_get(r->o, N_endpoints);
	struct few port_list = { .text = BUF_INIT(65536) }, address_list = { .text = BUF_INIT(65536) };
	struct str text;

	for (size_t i = 0; i < value_len(ports); i++) {
		const struct value *port = value_get(value_item(ports, i), N_port);

		few_add(&port_list, port ? arena_printf(r->a, "%lld", (long long)value_as_int(port)) : S("*"));
	}
	for (size_t i = 0; i < value_len(endpoints); i++) {
		const struct value *addresses = value_get(value_item(endpoints, i), N_addresses);

		for (size_t k = 0; k < value_len(addresses); k++) {
			few_add(&address_list, value_as_str(value_item(addresses, k)));
		}
	}
	cell_name(r);
	cell(r, value_str_at(r->o, N_addressType));
	text = few_text(r->a, &port_list);
	cell_or(r, text, "<unset>");
	text = few_text(r->a, &address_list);
	cell_or(r, text, "<unset>");
	cell_age(r);
}

static void api_service(struct row *r) {
	const struct value *service = value_at(r->o, N_spec, N_service), *available = value_find_by(value_at(r->o, N_status, N_conditions), N_type, S("Available"));
	struct str ns = value_str_at(service, N_namespace), name = value_str_at(service, N_name), status = value_str_at(available, N_status);
	struct str reason = value_str_at(available, N_reason);

	cell_name(r);
	cell(r, value_is(service, VALUE_OBJECT) ? arena_printf(r->a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name)) : S("Local"));
	if (!available) {
		cell(r, S("Unknown"));
	} else if (str_eq(status, S("True"))) {
		cell(r, status);
	} else {
		cell(r, arena_printf(r->a, "%.*s (%.*s)", STR_ARG(status), STR_ARG(reason)));
	}
	cell_age(r);
}

const struct table_printer table_network[] = {
	{ T_networking_v1_Ingress, ingress },
	{ T_networking_v1_IngressClass, ingress_class },
	{ T_networking_v1_NetworkPolicy, network_policy },
	{ T_networking_v1_IPAddress, ip_address },
	{ T_networking_v1_ServiceCIDR, service_cidr },
	{ T_discovery_v1_EndpointSlice, endpoint_slice },
	{ T_apiregistration_v1_APIService, api_service },
	{ 0 },
};
