/* SPDX-License-Identifier: Apache-2.0 */
/* table_core.c - rows of the core group's kinds and of events. See table.h. */
#include "schema/table.h"

/* ---- pods ---------------------------------------------------------------------------------------------------------- */
struct pod_view {
	struct row *r;
	const struct value *spec, *status;
	struct str reason;
	int64_t restarts, ready, total;
	struct str last_restart; /* RFC 3339: compares as text */
	bool initializing;
};

static bool restartable_init(const struct pod_view *p, struct str name) {
	const struct value *c = value_find_by(value_get(p->spec, N_initContainers), N_name, name);

	return str_eq(value_str_at(c, N_restartPolicy), S("Always"));
}

static void later(struct str *last, const struct value *status) {
	struct str at = value_str_at(status, N_lastState, N_terminated, N_finishedAt);

	if (str_cmp(*last, at) < 0) {
		*last = at;
	}
}

/* "Signal:9" or "ExitCode:1" of a terminated state without a reason. */
static struct str exit_text(struct arena *a, const char *prefix, const struct value *terminated) {
	int64_t signal = value_int_at(terminated, N_signal);

	return signal ? arena_printf(a, "%sSignal:%lld", prefix, (long long)signal)
		      : arena_printf(a, "%sExitCode:%lld", prefix, (long long)value_int_at(terminated, N_exitCode));
}

static void pod_init(struct pod_view *p, int64_t *side_restarts, struct str *side_last) {
	const struct value *statuses = value_get(p->status, N_initContainerStatuses);
	struct arena *a = p->r->a;

	for (size_t i = 0; i < value_len(statuses); i++) {
		const struct value *s = value_item(statuses, i), *terminated = value_at(s, N_state, N_terminated);
		struct str waiting = value_str_at(s, N_state, N_waiting, N_reason), reason = value_str_at(terminated, N_reason);
		bool side = restartable_init(p, value_str_at(s, N_name));

		p->restarts += value_int_at(s, N_restartCount);
		later(&p->last_restart, s);
		if (side) {
			*side_restarts += value_int_at(s, N_restartCount);
			later(side_last, s);
		}
		if (terminated && value_int_at(terminated, N_exitCode) == 0) {
			continue;
		}
		if (side && value_bool_at(s, N_started)) {
			p->ready += value_bool_at(s, N_ready);
			continue;
		}
		if (terminated) {
			p->reason = reason.len ? arena_printf(a, "Init:%.*s", STR_ARG(reason)) : exit_text(a, "Init:", terminated);
		} else if (waiting.len && !str_eq(waiting, S("PodInitializing"))) {
			p->reason = arena_printf(a, "Init:%.*s", STR_ARG(waiting));
		} else {
			p->reason = arena_printf(a, "Init:%zu/%zu", i, value_len(value_get(p->spec, N_initContainers)));
		}
		p->initializing = true;
		return;
	}
}

static void pod_containers(struct pod_view *p) {
	const struct value *statuses = value_get(p->status, N_containerStatuses);
	bool running = false;

	for (size_t i = value_len(statuses); i-- > 0;) {
		const struct value *s = value_item(statuses, i), *terminated = value_at(s, N_state, N_terminated);
		struct str waiting = value_str_at(s, N_state, N_waiting, N_reason);

		p->restarts += value_int_at(s, N_restartCount);
		later(&p->last_restart, s);
		if (waiting.len) {
			p->reason = waiting;
		} else if (terminated) {
			struct str reason = value_str_at(terminated, N_reason);

			p->reason = reason.len ? reason : exit_text(p->r->a, "", terminated);
		} else if (value_bool_at(s, N_ready) && value_at(s, N_state, N_running)) {
			running = true;
			p->ready++;
		}
	}
	if (running && str_eq(p->reason, S("Completed"))) {
		bool ready = str_eq(condition_status(value_get(p->status, N_conditions), S("Ready")), S("True"));

		p->reason = ready ? S("Running") : S("NotReady");
	}
}

static void pod_reason(struct pod_view *p) {
	const struct value *conditions = value_get(p->status, N_conditions), *scheduled = value_find_by(conditions, N_type, S("PodScheduled"));
	struct str phase = value_str_at(p->status, N_phase), said = value_str_at(p->status, N_reason), side_last = S("");
	bool deleted = value_at(p->r->o, N_metadata, N_deletionTimestamp);
	int64_t side_restarts = 0;

	p->reason = said.len ? said : phase;
	if (str_eq(value_str_at(scheduled, N_reason), S("SchedulingGated"))) {
		p->reason = S("SchedulingGated");
	}
	pod_init(p, &side_restarts, &side_last);
	if (!p->initializing || str_eq(condition_status(conditions, S("Initialized")), S("True"))) {
		p->restarts = side_restarts;
		p->last_restart = side_last;
		pod_containers(p);
	}
	if (deleted && str_eq(said, S("NodeLost"))) {
		p->reason = S("Unknown");
	} else if (deleted && !str_eq(phase, S("Succeeded")) && !str_eq(phase, S("Failed"))) {
		p->reason = S("Terminating");
	}
}

static void pod_condition(struct row *r, struct str phase) {
	bool failed = str_eq(phase, S("Failed"));
	struct value *c;

	if (!failed && !str_eq(phase, S("Succeeded"))) {
		return;
	}
	c = value_new_object(r->a);
	value_set_str(r->a, c, N_type, S("Completed"));
	value_set_str(r->a, c, N_status, S("True"));
	value_set_str(r->a, c, N_reason, phase);
	value_set_str(r->a, c, N_message, failed ? S("The pod failed.") : S("The pod has completed successfully."));
	r->conditions = value_new_array(r->a);
	value_push(r->a, r->conditions, c);
}

static void pod_gates(struct row *r, const struct pod_view *p) {
	const struct value *gates = value_get(p->spec, N_readinessGates);
	size_t met = 0;

	for (size_t i = 0; i < value_len(gates); i++) {
		met += str_eq(condition_status(value_get(p->status, N_conditions), value_str_at(value_item(gates, i), N_conditionType)), S("True"));
	}
	cell(r, value_len(gates) ? arena_printf(r->a, "%zu/%zu", met, value_len(gates)) : S("<none>"));
}

static void pod(struct row *r) {
	struct pod_view p = { .r = r, .spec = value_get(r->o, N_spec), .status = value_get(r->o, N_status) };
	const struct value *inits = value_get(p.spec, N_initContainers), *ip = value_item(value_get(p.status, N_podIPs), 0);

	p.total = (int64_t)value_len(value_get(p.spec, N_containers));
	for (size_t i = 0; i < value_len(inits); i++) {
		p.total += str_eq(value_str_at(value_item(inits, i), N_restartPolicy), S("Always"));
	}
	pod_condition(r, value_str_at(p.status, N_phase));
	pod_reason(&p);
	cell_name(r);
	cell(r, arena_printf(r->a, "%lld/%lld", (long long)p.ready, (long long)p.total));
	cell(r, p.reason);
	if (p.restarts && p.last_restart.len) {
		struct str ago = table_age(r->a, p.last_restart, r->now);

		cell(r, arena_printf(r->a, "%lld (%.*s ago)", (long long)p.restarts, STR_ARG(ago)));
	} else {
		cell(r, arena_printf(r->a, "%lld", (long long)p.restarts));
	}
	cell_age(r);
	cell_or(r, ip ? value_str_at(ip, N_ip) : S(""), "<none>");
	cell_or(r, value_str_at(p.spec, N_nodeName), "<none>");
	cell_or(r, value_str_at(p.status, N_nominatedNodeName), "<none>");
	pod_gates(r, &p);
}

static void pod_template(struct row *r) {
	cell_name(r);
	cells_containers(r, value_at(r->o, N_template, N_spec));
	cell(r, labels_text(r->a, value_at(r->o, N_template, N_metadata, N_labels)));
}

static void replication_controller(struct row *r) {
	cell_name(r);
	cell_int(r, value_int_at(r->o, N_spec, N_replicas));
	cell_int(r, value_int_at(r->o, N_status, N_replicas));
	cell_int(r, value_int_at(r->o, N_status, N_readyReplicas));
	cell_age(r);
	cells_containers(r, value_at(r->o, N_spec, N_template, N_spec));
	cell(r, labels_text(r->a, value_at(r->o, N_spec, N_selector)));
}

/* ---- Services -------------------------------------------------------------------------------------------------------- */
static struct str external_ip(struct arena *a, const struct value *o) {
	const struct value *spec = value_get(o, N_spec);
	struct str type = value_str_at(spec, N_type), own = joined(a, value_get(spec, N_externalIPs), ","), balancer;

	if (str_eq(type, S("ExternalName"))) {
		return value_str_at(spec, N_externalName);
	}
	if (!str_eq(type, S("LoadBalancer"))) {
		return own.len ? own : S("<none>");
	}
	balancer = balancer_text(a, value_at(o, N_status, N_loadBalancer));
	if (own.len && balancer.len) {
		return arena_printf(a, "%.*s,%.*s", STR_ARG(balancer), STR_ARG(own));
	}
	return own.len ? own : balancer.len ? balancer : S("<pending>");
}

static void service(struct row *r) {
	const struct value *spec = value_get(r->o, N_spec), *ips = value_get(spec, N_clusterIPs), *ports = value_get(spec, N_ports);
	auto_buf struct buf b = BUF_INIT(65536);

	cell_name(r);
	cell(r, value_str_at(spec, N_type));
	cell_or(r, value_len(ips) ? value_as_str(value_item(ips, 0)) : value_str_at(spec, N_clusterIP), "<none>");
	cell(r, external_ip(r->a, r->o));
	for (size_t i = 0; i < value_len(ports); i++) {
		const struct value *p = value_item(ports, i);

		buf_printf(&b, "%s%lld", i ? "," : "", (long long)value_int_at(p, N_port));
		if (value_int_at(p, N_nodePort)) {
			buf_printf(&b, ":%lld", (long long)value_int_at(p, N_nodePort));
		}
		buf_printf(&b, "/%.*s", STR_ARG(value_str_at(p, N_protocol)));
	}
	cell_or(r, buf_view(&b), "<none>");
	cell_age(r);
	cell(r, labels_text(r->a, value_get(spec, N_selector)));
}

static void endpoints(struct row *r) {
	const struct value *subsets = value_get(r->o, N_subsets);
	struct few few = { .text = BUF_INIT(65536) };

	for (size_t i = 0; i < value_len(subsets); i++) {
		const struct value *addresses = value_get(value_item(subsets, i), N_addresses), *ports = value_get(value_item(subsets, i), N_ports);

		for (size_t p = 0; p < MAX(value_len(ports), (size_t)1); p++) {
			for (size_t k = 0; k < value_len(addresses); k++) {
				struct str ip = value_str_at(value_item(addresses, k), N_ip);
				long long port = value_int_at(value_item(ports, p), N_port);

				if (value_len(ports) == 0) {
					few_add(&few, ip);
				} else {
					few_add(&few, arena_printf(r->a, str_index(ip, ':') >= 0 ? "[%.*s]:%lld" : "%.*s:%lld", STR_ARG(ip), port));
				}
			}
		}
	}
	cell_name(r);
	cell(r, value_len(subsets) ? few_text(r->a, &few) : S("<none>"));
	buf_release(&few.text);
	cell_age(r);
}

/* ---- nodes --------------------------------------------------------------------------------------------------------------- */
static int str_cmp_p(const void *a, const void *b) {
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static struct str roles(struct arena *a, const struct value *labels) {
	struct str *all = arena_array(a, struct str, value_len(labels) + 1), prefix = S("node-role.kubernetes.io/");
	size_t n = 0, out = 0;

	for (size_t i = 0; i < value_len(labels); i++) {
		struct str key = value_key(labels, i), v = value_as_str(value_item(labels, i));

		if (str_starts(key, prefix) && key.len > prefix.len) {
			all[n++] = str_from(key, prefix.len);
		} else if (str_eq(key, S("kubernetes.io/role")) && v.len) {
			all[n++] = v;
		}
	}
	if (n == 0) {
		return S("<none>");
	}
	qsort(all, n, sizeof(*all), str_cmp_p);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || !str_eq(all[i], all[i - 1])) {
			all[out++] = all[i];
		}
	}
	return arena_join(a, all, out, S(","));
}

static void node(struct row *r) {
	const struct value *info = value_at(r->o, N_status, N_nodeInfo), *addresses = value_at(r->o, N_status, N_addresses);
	struct str ready = condition_status(value_at(r->o, N_status, N_conditions), S("Ready"));
	const char *state = ready.len == 0 ? "Unknown" : str_eq(ready, S("True")) ? "Ready" : "NotReady";

	cell_name(r);
	cell(r, arena_printf(r->a, "%s%s", state, value_bool_at(r->o, N_spec, N_unschedulable) ? ",SchedulingDisabled" : ""));
	cell(r, roles(r->a, value_at(r->o, N_metadata, N_labels)));
	cell_age(r);
	cell(r, value_str_at(info, N_kubeletVersion));
	cell_or(r, value_str_at(value_find_by(addresses, N_type, S("InternalIP")), N_address), "<none>");
	cell_or(r, value_str_at(value_find_by(addresses, N_type, S("ExternalIP")), N_address), "<none>");
	cell_or(r, value_str_at(info, N_osImage), "<unknown>");
	cell_or(r, value_str_at(info, N_kernelVersion), "<unknown>");
	cell_or(r, value_str_at(info, N_containerRuntimeVersion), "<unknown>");
}

/* ---- events: of the core group and of events.k8s.io ------------------------------------------------------------------------ */
static struct str event_source(struct arena *a, const struct value *o) {
	struct str component = value_str_at(o, N_source, N_component), host = value_str_at(o, N_source, N_host);

	if (component.len == 0) {
		component = value_str_at(o, N_deprecatedSource, N_component);
		host = value_str_at(o, N_deprecatedSource, N_host);
	}
	if (component.len == 0) {
		component = value_str_at(o, N_reportingComponent);
		component = component.len ? component : value_str_at(o, N_reportingController);
		host = value_str_at(o, N_reportingInstance);
	}
	return host.len ? arena_printf(a, "%.*s, %.*s", STR_ARG(component), STR_ARG(host)) : component;
}

static const struct value *either(const struct value *o, enum name_id one, enum name_id other) {
	const struct value *v = value_get(o, one);

	return v && v->type != VALUE_NULL ? v : value_get(o, other);
}

static void event(struct row *r) {
	const struct value *first = either(r->o, N_firstTimestamp, N_deprecatedFirstTimestamp), *last = either(r->o, N_lastTimestamp, N_deprecatedLastTimestamp);
	const struct value *series = value_get(r->o, N_series), *about = either(r->o, N_involvedObject, N_regarding);
	int64_t count = value_as_int(either(r->o, N_count, N_deprecatedCount));
	struct str kind = lower(r->a, value_str_at(about, N_kind)), name = value_str_at(about, N_name), first_text, last_text;

	first_text = since(r, value_as_str(first).len ? first : value_get(r->o, N_eventTime));
	last_text = value_as_str(last).len ? since(r, last) : first_text;
	if (value_is(series, VALUE_OBJECT)) {
		last_text = since(r, value_get(series, N_lastObservedTime));
		count = value_int_at(series, N_count);
	} else if (count == 0) {
		count = 1;
	}
	cell(r, last_text);
	cell(r, value_str_at(r->o, N_type));
	cell(r, value_str_at(r->o, N_reason));
	cell(r, name.len ? arena_printf(r->a, "%.*s/%.*s", STR_ARG(kind), STR_ARG(name)) : kind);
	cell(r, value_str_at(about, N_fieldPath));
	cell(r, event_source(r->a, r->o));
	cell(r, str_trim(value_as_str(either(r->o, N_message, N_note))));
	cell(r, first_text);
	cell_int(r, count);
	cell_name(r);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------------------ */
static void namespace(struct row *r) {
	cell_name(r);
	cell(r, value_str_at(r->o, N_status, N_phase));
	cell_age(r);
}

static void secret(struct row *r) {
	cell_name(r);
	cell(r, value_str_at(r->o, N_type));
	cell_int(r, (int64_t)value_len(value_get(r->o, N_data)));
	cell_age(r);
}

static void service_account(struct row *r) {
	cell_name(r);
	cell_int(r, (int64_t)value_len(value_get(r->o, N_secrets)));
	cell_age(r);
}

static void config_map(struct row *r) {
	cell_name(r);
	cell_int(r, (int64_t)(value_len(value_get(r->o, N_data)) + value_len(value_get(r->o, N_binaryData))));
	cell_age(r);
}

static void component_status(struct row *r) {
	const struct value *healthy = value_find_by(value_get(r->o, N_conditions), N_type, S("Healthy"));

	cell_name(r);
	cell(r, !healthy ? S("Unknown") : str_eq(value_str_at(healthy, N_status), S("True")) ? S("Healthy") : S("Unhealthy"));
	cell(r, value_str_at(healthy, N_message));
	cell(r, value_str_at(healthy, N_error));
}

static void resource_quota(struct row *r) {
	auto_buf struct buf request = BUF_INIT(65536), limit = BUF_INIT(65536);
	struct value *hard = value_copy_shallow(r->a, value_at(r->o, N_status, N_hard));

	value_sort_keys(hard);
	for (size_t i = 0; i < value_len(hard); i++) {
		struct str key = value_key(hard, i);
		struct buf *b = str_starts(key, S("limits.")) ? &limit : &request;
		const struct value *used = value_get_str(value_at(r->o, N_status, N_used), key);

		buf_printf(b, "%s%.*s: %.*s/%.*s", b->len ? ", " : "", STR_ARG(key), STR_ARG(used ? value_as_str(used) : S("0")),
			STR_ARG(value_as_str(value_item(hard, i))));
	}
	cell_name(r);
	cell(r, buf_view(&request));
	cell(r, buf_view(&limit));
	cell_age(r);
}

const struct table_printer table_core[] = {
	{ T_core_v1_Pod, pod },
	{ T_core_v1_PodTemplate, pod_template },
	{ T_core_v1_ReplicationController, replication_controller },
	{ T_core_v1_Service, service },
	{ T_core_v1_Endpoints, endpoints },
	{ T_core_v1_Node, node },
	{ T_core_v1_Event, event },
	{ T_events_v1_Event, event },
	{ T_core_v1_Namespace, namespace },
	{ T_core_v1_Secret, secret },
	{ T_core_v1_ServiceAccount, service_account },
	{ T_core_v1_ConfigMap, config_map },
	{ T_core_v1_ComponentStatus, component_status },
	{ T_core_v1_ResourceQuota, resource_quota },
	{ 0 },
};
