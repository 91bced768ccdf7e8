/* SPDX-License-Identifier: Apache-2.0 */
/* service_pods.c - which pods stand behind a Service. Pure reading; any thread. */
#include "controllers/endpoints.h"
#include "controllers/pods.h"

bool service_selects(const struct value *service) {
	return value_len(value_at(service, N_spec, N_selector)) > 0 && !str_eqc(value_str_at(service, N_spec, N_type), "ExternalName");
}

bool pod_is_endpoint(const struct value *pod) {
	return value_str_at(pod, N_status, N_podIP).len > 0 && !pod_is_finished(pod);
}

void service_pods(struct shared *pods, const struct value *service, struct client_list *ret) {
	auto_arena struct arena a = { 0 };
	const struct selector *selector = selector_from_map(&a, value_at(service, N_spec, N_selector));
	size_t kept = 0;

	*ret = (struct client_list){ 0 };
	if (!service_selects(service)) {
		return;
	}
	informer_list(pods->informer, meta_ns(service), ret);
	for (size_t i = 0; i < ret->len; i++) {
		struct obj *pod = ret->at[i];
		if (selector_matches(selector, meta_labels(pod->root)) && pod_is_endpoint(pod->root)) {
			ret->at[kept++] = pod;
		} else {
			obj_unref(pod);
		}
	}
	ret->len = kept;
}

struct str pod_ip(const struct value *pod, const char *family) {
	bool six = str_eqc(str_c(family), "IPv6");
	struct str first = value_str_at(pod, N_status, N_podIP);

	if (first.len && (str_index(first, ':') >= 0) == six) {
		return first;
	}
	VALUE_EACH(value_at(pod, N_status, N_podIPs), ip) {
		struct str text = value_str_at(ip, N_ip);
		if (text.len && (str_index(text, ':') >= 0) == six) {
			return text;
		}
	}
	return S("");
}

static int64_t named_port(const struct value *containers, struct str name, struct str protocol, bool sidecars_only) {
	VALUE_EACH(containers, c) {
		if (sidecars_only && !str_eqc(value_str_at(c, N_restartPolicy), "Always")) {
			continue;
		}
		VALUE_EACH(value_get(c, N_ports), p) {
			struct str has = value_str_at(p, N_protocol);
			if (str_eq(value_str_at(p, N_name), name) && str_eq(has.len ? has : S("TCP"), protocol)) {
				return value_int_at(p, N_containerPort);
			}
		}
	}
	return 0;
}

static int64_t target_port(const struct value *port, const struct value *pod, struct str protocol) {
	const struct value *target = value_get(port, N_targetPort);

	if (value_is(target, VALUE_STRING)) {
		int64_t n = named_port(value_at(pod, N_spec, N_containers), value_as_str(target), protocol, false);
		return n ? n : named_port(value_at(pod, N_spec, N_initContainers), value_as_str(target), protocol, true);
	}
	return value_as_int(target) ? value_as_int(target) : value_int_at(port, N_port);
}

struct value *pod_ports(struct arena *a, const struct value *service, const struct value *pod) {
	struct value *ports = value_new_array(a);

	VALUE_EACH(value_at(service, N_spec, N_ports), p) {
		struct str protocol = value_str_at(p, N_protocol);
		protocol = protocol.len ? protocol : S("TCP");
		int64_t number = target_port(p, pod, protocol);
		if (number == 0) {
			continue;
		}
		struct value *port = value_push(a, ports, value_new_object(a));
		value_set_str(a, port, N_name, value_str_at(p, N_name));
		value_set_str(a, port, N_protocol, protocol);
		value_set_int(a, port, N_port, number);
		if (value_get(p, N_appProtocol)) {
			value_set(a, port, N_appProtocol, value_get(p, N_appProtocol));
		}
	}
	return ports;
}

struct value *pod_reference(struct arena *a, const struct value *pod) {
	struct value *ref = value_new_object(a);

	value_set_str(a, ref, N_kind, S("Pod"));
	value_set_str(a, ref, N_namespace, meta_ns(pod));
	value_set_str(a, ref, N_name, meta_name(pod));
	value_set_str(a, ref, N_uid, meta_uid(pod));
	return ref;
}

bool pod_endpoint_changed(const struct value *old, const struct value *now) {
	return !old || !now || pod_is_ready(old) != pod_is_ready(now) || meta_deleting(old) != meta_deleting(now) || pod_is_endpoint(old) != pod_is_endpoint(now) ||
		!str_eq(value_str_at(old, N_status, N_podIP), value_str_at(now, N_status, N_podIP)) ||
		!value_eq(value_at(old, N_status, N_podIPs), value_at(now, N_status, N_podIPs)) ||
		!str_eq(value_str_at(old, N_spec, N_nodeName), value_str_at(now, N_spec, N_nodeName)) ||
		!str_eq(value_str_at(old, N_spec, N_hostname), value_str_at(now, N_spec, N_hostname)) || !value_eq(meta_labels(old), meta_labels(now));
}

static bool selects(const struct selector *s, const struct obj *pod) {
	return pod && selector_matches(s, meta_labels(pod->root));
}

void wake_services(struct shared *services, struct work_queue *queue, const struct obj *old, const struct obj *now) {
	struct client_list all;

	if (!pod_endpoint_changed(old ? old->root : NULL, now ? now->root : NULL)) {
		return;
	}
	informer_list(services->informer, meta_ns((now ? now : old)->root), &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct value *service = all.at[i]->root;
		const struct selector *s = selector_from_map(&a, value_at(service, N_spec, N_selector));
		if (service_selects(service) && (selects(s, old) || selects(s, now))) {
			work_queue_add(queue, meta_key(&a, service));
		}
	}
	client_list_release(&all);
}
