/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints.c - Endpoints and EndpointSlices. */
#include "apiserver/kinds/kinds_private.h"

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	size_t i = 0;
	VALUE_EACH(value_get(o, N_subsets), s) {
		struct str p = path_index(c->arena, S("subsets"), i++);
		static const enum name_id lists[] = { N_addresses, N_notReadyAddresses };
		if (!value_len(value_get(s, N_addresses)) && !value_len(value_get(s, N_notReadyAddresses))) {
			cause_add(c, CAUSE_REQUIRED, p, NULL, "must specify `addresses` or `notReadyAddresses`");
		}
		for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
			size_t j = 0;
			VALUE_EACH(value_get(s, lists[l]), a) {
				struct str q = path_index(c->arena, path_field(c->arena, p, name_text(lists[l])), j++), ip = value_str_at(a, N_ip);
				must_be_ip(c, value_get(a, N_ip), PATH(c, q, "ip"));
				if (str_starts(ip, S("127."))) {
					cause_add(c, CAUSE_INVALID, PATH(c, q, "ip"), value_get(a, N_ip), "may not be in the loopback range (127.0.0.0/8, ::1/128)");
				}
			}
		}
		size_t j = 0, n = value_len(value_get(s, N_ports));
		VALUE_EACH(value_get(s, N_ports), port) {
			struct str q = path_index(c->arena, PATH(c, p, "ports"), j++);
			must_be_port(c, value_get(port, N_port), PATH(c, q, "port"));
			if (n > 1) {
				must_have(c, value_get(port, N_name), PATH(c, q, "name"));
			}
		}
	}
}

const struct kind_ops endpoints_ops = { .group = S_INIT(""), .resource = S_INIT("endpoints"), .validate = validate, .no_generation = true };

static void slice_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	static const struct str types[] = { S_INIT("IPv4"), S_INIT("IPv6"), S_INIT("FQDN") };
	size_t i = 0;
	must_be_one_of(c, value_get(o, N_addressType), S("addressType"), types, ARRAY_LEN(types), true);
	if (value_len(value_get(o, N_endpoints)) > 1000) {
		cause_add(c, CAUSE_TOO_MANY, S("endpoints"), NULL, "must have at most 1000 items");
	}
	VALUE_EACH(value_get(o, N_endpoints), e) {
		struct str p = path_index(c->arena, S("endpoints"), i++), q = PATH(c, p, "addresses");
		if (!value_len(value_get(e, N_addresses))) {
			cause_add(c, CAUSE_REQUIRED, q, NULL, "must contain at least 1 address");
		}
		size_t j = 0;
		VALUE_EACH(value_get(e, N_addresses), a) {
			if (!str_eq(value_str_at(o, N_addressType), S("FQDN"))) {
				must_be_ip(c, a, path_index(c->arena, q, j++));
			}
		}
	}
}

static void slice_validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	must_be_immutable(c, value_get(o, N_addressType), value_get(old, N_addressType), S("addressType"));
}

const struct kind_ops endpoint_slice_ops = { .group = S_INIT("discovery.k8s.io"), .resource = S_INIT("endpointslices"), .validate = slice_validate,
	.validate_update = slice_validate_update };
