/* SPDX-License-Identifier: Apache-2.0 */
/*
 * defaults_core.c - defaults of the core group: pods and their parts, Services, storage claims, namespaces ...
 * See default.h for how hooks work.
 */
#include "schema/default.h"
#include "schema/walk.h"

/* ---- pods ------------------------------------------------------------------------------------------------------ */

/* The members of both maps, sorted; those of `over` win. */
static struct value overlaid(struct arena *a, const struct value *under, const struct value *over) {
	size_t n = value_len(under), m = value_len(over);
	auto_free struct walk_member *members = xcalloc(n + m + 1, sizeof(*members));

	for (size_t i = 0; i < n + m; i++) {
		const struct value *from = i < n ? under : over;
		size_t at = i < n ? i : i - n;

		members[i].key = value_key(from, at);
		members[i].node = *value_item(from, at);
	}
	return walk_map(a, members, n + m);
}

/* What is limited but not requested is requested in full. */
static void requests_from_limits(struct arena *a, struct value *containers) {
	for (size_t i = 0; i < value_len(containers); i++) {
		struct value *resources = value_get(value_item(containers, i), N_resources), both;

		if (value_len(value_get(resources, N_limits))) {
			both = overlaid(a, value_get(resources, N_limits), value_get(resources, N_requests));
			value_set(a, resources, N_requests, &both);
		}
	}
}

static void host_ports(struct arena *a, struct value *containers) {
	for (size_t i = 0; i < value_len(containers); i++) {
		struct value *ports = value_get(value_item(containers, i), N_ports);

		for (size_t k = 0; k < value_len(ports); k++) {
			struct value *port = value_item(ports, k);

			if (value_int_at(port, N_containerPort)) {
				default_number(a, port, N_hostPort, value_int_at(port, N_containerPort));
			}
		}
	}
}

static void pod(struct arena *a, struct value *o) {
	struct value *spec = value_ensure_object(a, o, N_spec);

	requests_from_limits(a, value_get(spec, N_containers));
	requests_from_limits(a, value_get(spec, N_initContainers));
	default_ptr_bool(a, spec, N_enableServiceLinks, true);
	if (value_bool_at(spec, N_hostNetwork)) {
		host_ports(a, value_get(spec, N_containers));
		host_ports(a, value_get(spec, N_initContainers));
	}
}

static void pod_spec(struct arena *a, struct value *o) {
	default_text(a, o, N_dnsPolicy, "ClusterFirst");
	default_text(a, o, N_restartPolicy, "Always");
	if (default_absent(o, N_securityContext)) {
		value_set(a, o, N_securityContext, value_new_object(a));
	}
	default_ptr_int(a, o, N_terminationGracePeriodSeconds, 30);
	default_text(a, o, N_schedulerName, "default-scheduler");
	/* serviceAccount is the older name of serviceAccountName: both say the same. */
	if (value_str_at(o, N_serviceAccountName).len == 0 && value_str_at(o, N_serviceAccount).len) {
		value_set_str(a, o, N_serviceAccountName, value_str_at(o, N_serviceAccount));
	}
	if (value_str_at(o, N_serviceAccountName).len) {
		value_set_str(a, o, N_serviceAccount, value_str_at(o, N_serviceAccountName));
	}
}

static bool lower_or_digit(char c) {
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Does the reference mean the tag "latest", named or by default? False for what is no reference at all. */
static bool means_latest(struct str image) {
	struct str path = image, tag = { 0 }, first, rest;
	ptrdiff_t at = str_index(image, '@'), colon, slash;

	if (image.len == 0) {
		return false;
	}
	if (at >= 0) {
		path = str_sub(image, 0, (size_t)at);
	}
	slash = str_rindex(path, '/');
	colon = str_rindex(path, ':');
	if (colon > slash) {
		tag = str_from(path, (size_t)colon + 1);
		path = str_sub(path, 0, (size_t)colon);
	}
	/* A registry's name may hold capitals and a port; the path may not. */
	if (str_cut(path, '/', &first, &rest) && (str_index(first, '.') >= 0 || str_index(first, ':') >= 0 || str_eq(first, S("localhost")))) {
		path = rest;
	}
	for (size_t i = 0; i < path.len; i++) {
		if (!lower_or_digit(path.ptr[i]) && !memchr("._-/", path.ptr[i], 4)) {
			return false;
		}
	}
	if (path.len == 0 || !lower_or_digit(path.ptr[0]) || !lower_or_digit(path.ptr[path.len - 1])) {
		return false;
	}
	return tag.len ? str_eq(tag, S("latest")) : at < 0;
}

static void container(struct arena *a, struct value *o) {
	default_text(a, o, N_imagePullPolicy, means_latest(value_str_at(o, N_image)) ? "Always" : "IfNotPresent");
	default_text(a, o, N_terminationMessagePath, "/dev/termination-log");
	default_text(a, o, N_terminationMessagePolicy, "File");
}

static void probe(struct arena *a, struct value *o) {
	default_number(a, o, N_timeoutSeconds, 1);
	default_number(a, o, N_periodSeconds, 10);
	default_number(a, o, N_successThreshold, 1);
	default_number(a, o, N_failureThreshold, 3);
}

static void http_get(struct arena *a, struct value *o) {
	default_text(a, o, N_path, "/");
	default_text(a, o, N_scheme, "HTTP");
}

static void field_ref(struct arena *a, struct value *o) {
	default_text(a, o, N_apiVersion, "v1");
}

/* ---- volumes ------------------------------------------------------------------------------------------------------ */
static void volume(struct arena *a, struct value *o) {
	if (value_len(o) == (value_get(o, N_name) ? 1u : 0u)) {
		value_set(a, o, N_emptyDir, value_new_object(a));
	}
}

static void default_mode(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_defaultMode, 0644);
}

static void host_path(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_type, "");
}

static void token_projection(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_expirationSeconds, 3600);
}

static void image_volume(struct arena *a, struct value *o) {
	default_text(a, o, N_pullPolicy, means_latest(value_str_at(o, N_reference)) ? "Always" : "IfNotPresent");
}

static void volume_mode(struct arena *a, struct value *o) {
	default_ptr_text(a, o, N_volumeMode, "Filesystem");
}

static void persistent_volume(struct arena *a, struct value *o) {
	struct value *spec = value_ensure_object(a, o, N_spec);

	default_text(a, spec, N_persistentVolumeReclaimPolicy, "Retain");
	volume_mode(a, spec);
	default_text(a, value_ensure_object(a, o, N_status), N_phase, "Pending");
}

static void claim(struct arena *a, struct value *o) {
	default_text(a, value_ensure_object(a, o, N_status), N_phase, "Pending");
}

/* ---- Services ------------------------------------------------------------------------------------------------------ */
static void service_affinity(struct arena *a, struct value *spec) {
	struct value *config;

	default_text(a, spec, N_sessionAffinity, "None");
	if (str_eq(value_str_at(spec, N_sessionAffinity), S("None"))) {
		value_remove(spec, N_sessionAffinityConfig);
	} else if (str_eq(value_str_at(spec, N_sessionAffinity), S("ClientIP"))) {
		config = value_ensure_object(a, spec, N_sessionAffinityConfig);
		default_ptr_int(a, value_ensure_object(a, config, N_clientIP), N_timeoutSeconds, 10800);
	}
}

static void service_ports(struct arena *a, struct value *ports) {
	for (size_t i = 0; i < value_len(ports); i++) {
		struct value *port = value_item(ports, i);

		if (value_is_empty(value_get(port, N_targetPort))) {
			value_set_int(a, port, N_targetPort, value_int_at(port, N_port));
		}
	}
}

static void service(struct arena *a, struct value *o) {
	struct value *spec = value_ensure_object(a, o, N_spec), *ingress;
	struct str type;
	bool cluster_ip, node_port, balancer;

	service_affinity(a, spec);
	default_text(a, spec, N_type, "ClusterIP");
	type = value_str_at(spec, N_type);
	cluster_ip = str_eq(type, S("ClusterIP"));
	node_port = str_eq(type, S("NodePort"));
	balancer = str_eq(type, S("LoadBalancer"));
	service_ports(a, value_get(spec, N_ports));
	if (balancer || node_port || (cluster_ip && value_len(value_get(spec, N_externalIPs)))) {
		default_text(a, spec, N_externalTrafficPolicy, "Cluster");
	}
	if (balancer || node_port || cluster_ip) {
		default_ptr_text(a, spec, N_internalTrafficPolicy, "Cluster");
	}
	if (balancer) {
		default_ptr_bool(a, spec, N_allocateLoadBalancerNodePorts, true);
		ingress = value_at(o, N_status, N_loadBalancer, N_ingress);
		for (size_t i = 0; i < value_len(ingress); i++) {
			if (value_str_at(value_item(ingress, i), N_ip).len) {
				default_ptr_text(a, value_item(ingress, i), N_ipMode, "VIP");
			}
		}
	}
}

static void endpoint_port(struct arena *a, struct value *o) {
	default_text(a, o, N_protocol, "TCP");
}

/* ---- the rest --------------------------------------------------------------------------------------------------------- */

/* stringData is for writing only: it goes into data. */
static void secret(struct arena *a, struct value *o) {
	const struct value *plain = value_get(o, N_stringData);

	if (value_len(plain)) {
		struct value *encoded = value_copy_shallow(a, plain), data;

		VALUE_EACH(encoded, it) {
			struct str text = walk_base64_encode(a, value_as_str(it));

			it->u.text = text.ptr;
			it->len = (uint32_t)text.len;
		}
		data = overlaid(a, value_get(o, N_data), encoded);
		value_set(a, o, N_data, &data);
	}
	value_remove(o, N_stringData);
	default_text(a, o, N_type, "Opaque");
}

static void namespace(struct arena *a, struct value *o) {
	struct str name = value_str_at(o, N_metadata, N_name);

	if (name.len) {
		struct value *labels = value_ensure_object(a, value_ensure_object(a, o, N_metadata), N_labels);

		value_set_key_str(a, labels, S("kubernetes.io/metadata.name"), name);
		value_sort_keys(labels);
	}
	default_text(a, value_ensure_object(a, o, N_status), N_phase, "Active");
}

static void node_status(struct arena *a, struct value *o) {
	if (default_absent(o, N_allocatable) && !default_absent(o, N_capacity)) {
		value_set(a, o, N_allocatable, value_copy(a, value_get(o, N_capacity)));
	}
}

static void replication_controller(struct arena *a, struct value *o) {
	const struct value *labels = value_at(o, N_spec, N_template, N_metadata, N_labels);

	if (value_len(labels) == 0) {
		return;
	}
	if (value_len(value_at(o, N_spec, N_selector)) == 0) {
		value_set(a, value_ensure_object(a, o, N_spec), N_selector, value_copy(a, labels));
	}
	if (value_len(value_at(o, N_metadata, N_labels)) == 0) {
		labels = value_at(o, N_spec, N_template, N_metadata, N_labels);
		value_set(a, value_ensure_object(a, o, N_metadata), N_labels, value_copy(a, labels));
	}
}

/* Adds to o.<to> what o.<from> has and it lacks. */
static void take_missing(struct arena *a, struct value *o, enum name_id to, enum name_id from) {
	if (value_len(value_get(o, from))) {
		struct value both = overlaid(a, value_get(o, from), value_get(o, to));

		value_set(a, o, to, &both);
	}
}

static void limit_range_item(struct arena *a, struct value *o) {
	if (str_eq(value_str_at(o, N_type), S("Container"))) {
		take_missing(a, o, N_default, N_max);
		take_missing(a, o, N_defaultRequest, N_default);
		take_missing(a, o, N_defaultRequest, N_min);
	}
}

static void token_request(struct arena *a, struct value *o) {
	default_ptr_int(a, o, N_expirationSeconds, 3600);
}

const struct default_hook defaults_core[] = {
	{ T_core_v1_Pod, pod },
	{ T_core_v1_PodSpec, pod_spec },
	{ T_core_v1_Container, container },
	{ T_core_v1_EphemeralContainer, container },
	{ T_core_v1_Probe, probe },
	{ T_core_v1_HTTPGetAction, http_get },
	{ T_core_v1_ObjectFieldSelector, field_ref },
	{ T_core_v1_Volume, volume },
	{ T_core_v1_SecretVolumeSource, default_mode },
	{ T_core_v1_ConfigMapVolumeSource, default_mode },
	{ T_core_v1_DownwardAPIVolumeSource, default_mode },
	{ T_core_v1_ProjectedVolumeSource, default_mode },
	{ T_core_v1_HostPathVolumeSource, host_path },
	{ T_core_v1_ServiceAccountTokenProjection, token_projection },
	{ T_core_v1_ImageVolumeSource, image_volume },
	{ T_core_v1_PersistentVolume, persistent_volume },
	{ T_core_v1_PersistentVolumeClaim, claim },
	{ T_core_v1_PersistentVolumeClaimSpec, volume_mode },
	{ T_core_v1_Service, service },
	{ T_core_v1_EndpointPort, endpoint_port },
	{ T_core_v1_Secret, secret },
	{ T_core_v1_Namespace, namespace },
	{ T_core_v1_NodeStatus, node_status },
	{ T_core_v1_ReplicationController, replication_controller },
	{ T_core_v1_LimitRangeItem, limit_range_item },
	{ T_authentication_v1_TokenRequestSpec, token_request },
	{ 0 },
};
