/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.c - the few kinds that are served in another version than they are stored in: events (core/v1 and
 * events.k8s.io/v1) and horizontal pod autoscalers (v2 and v1). Everything else passes as it is.
 */
#include "apiserver/server.h"

struct rename {
	uint16_t from, to;
};

/* core/v1 Event -> events.k8s.io/v1 Event; the other way is the same table read backwards. */
static const struct rename event_names[] = {
	{ N_involvedObject, N_regarding },
	{ N_message, N_note },
	{ N_source, N_deprecatedSource },
	{ N_firstTimestamp, N_deprecatedFirstTimestamp },
	{ N_lastTimestamp, N_deprecatedLastTimestamp },
	{ N_count, N_deprecatedCount },
	{ N_reportingComponent, N_reportingController },
};

static uint16_t renamed(uint16_t name, bool back) {
	for (size_t i = 0; i < ARRAY_LEN(event_names); i++) {
		if (name == (back ? event_names[i].to : event_names[i].from)) {
			return back ? event_names[i].from : event_names[i].to;
		}
	}
	return name;
}

static struct value *retyped(struct arena *a, const struct value *v, const struct schema_resource *to) {
	struct value *o = value_new_object(a);
	bool events = str_eq(schema_text(to->name), S("events")), back = schema_resource_group(to).len == 0;

	VALUE_EACH(v, m) {
		struct str key = value_key(v, (size_t)(m - value_item(v, 0)));
		if (m->name == N_apiVersion) {
			value_set_str(a, o, N_apiVersion, schema_resource_api_version(a, to));
		} else if (events && m->name != N_NONE) {
			value_set(a, o, renamed(m->name, back), m);
		} else {
			value_set_key(a, o, key, m);
		}
	}
	return o;
}

/* ---- autoscalers: v1 has one CPU target, v2 a list of metrics ------------------------------------------- */

static const struct value *cpu_metric(const struct value *metrics) {
	VALUE_EACH(metrics, m) {
		if (str_eq(value_str_at(m, N_type), S("Resource")) && str_eq(value_str_at(m, N_resource, N_name), S("cpu"))) {
			return m;
		}
	}
	return NULL;
}

static struct value *autoscaler_to_v1(struct arena *a, const struct value *v, const struct schema_resource *to) {
	struct value *o = value_copy(a, v), *spec = value_get(o, N_spec), *status = value_get(o, N_status);
	const struct value *want = value_at(cpu_metric(value_get(spec, N_metrics)), N_resource, N_target, N_averageUtilization);
	const struct value *is = value_at(cpu_metric(value_get(status, N_currentMetrics)), N_resource, N_current, N_averageUtilization);

	value_set_str(a, o, N_apiVersion, schema_resource_api_version(a, to));
	if (want) {
		value_set_int(a, spec, N_targetCPUUtilizationPercentage, value_as_int(want));
	}
	if (is) {
		value_set_int(a, status, N_currentCPUUtilizationPercentage, value_as_int(is));
	}
	struct value *metrics = value_get(spec, N_metrics);
	if (value_len(metrics) > (want ? 1u : 0u)) { /* what v1 cannot say is kept beside it, as upstream does */
		value_set_key_str(a, value_ensure_object(a, value_ensure_object(a, o, N_metadata), N_annotations), S("autoscaling.alpha.kubernetes.io/metrics"),
			json_text(a, metrics));
	}
	struct value *behavior = value_get(spec, N_behavior);
	if (behavior) {
		value_set_key_str(a, value_ensure_object(a, value_ensure_object(a, o, N_metadata), N_annotations),
			S("autoscaling.alpha.kubernetes.io/behavior"), json_text(a, behavior));
	}
	value_remove(spec, N_metrics);
	value_remove(spec, N_behavior);
	value_remove(status, N_currentMetrics);
	value_remove(status, N_conditions);
	return o;
}

static struct value *resource_metric(struct arena *a, enum name_id inner, int64_t percent, bool target) {
	struct value *m = value_new_object(a);

	value_set_str(a, m, N_type, S("Resource"));
	struct value *res = value_ensure_object(a, m, N_resource);
	value_set_str(a, res, N_name, S("cpu"));
	struct value *t = value_ensure_object(a, res, inner);
	if (target) {
		value_set_str(a, t, N_type, S("Utilization"));
	}
	value_set_int(a, t, N_averageUtilization, percent);
	return m;
}

static void take_annotation(struct arena *a, struct value *o, struct str key, struct value *spec, enum name_id member) {
	struct value *notes = value_at(o, N_metadata, N_annotations), *parsed = NULL;
	struct str text = value_as_str(value_get_str(notes, key));
	struct err err = { 0 };

	if (text.len && json_parse(a, text, NULL, &parsed, &err)) {
		value_set(a, spec, member, parsed);
		value_remove_key(notes, key);
	}
}

static struct value *autoscaler_to_v2(struct arena *a, const struct value *v, const struct schema_resource *to) {
	struct value *o = value_copy(a, v), *spec = value_ensure_object(a, o, N_spec), *status = value_get(o, N_status);
	const struct value *want = value_get(spec, N_targetCPUUtilizationPercentage), *is = value_get(status, N_currentCPUUtilizationPercentage);

	value_set_str(a, o, N_apiVersion, schema_resource_api_version(a, to));
	take_annotation(a, o, S("autoscaling.alpha.kubernetes.io/metrics"), spec, N_metrics);
	take_annotation(a, o, S("autoscaling.alpha.kubernetes.io/behavior"), spec, N_behavior);
	if (want && !cpu_metric(value_get(spec, N_metrics))) {
		struct value *m = resource_metric(a, N_target, value_as_int(want), true);
		value_push(a, value_ensure_array(a, spec, N_metrics), m);
	}
	if (is) {
		struct value *m = resource_metric(a, N_current, value_as_int(is), false);
		value_push(a, value_ensure_array(a, status, N_currentMetrics), m);
	}
	value_remove(spec, N_targetCPUUtilizationPercentage);
	value_remove(status, N_currentCPUUtilizationPercentage);
	return o;
}

static struct value *convert(struct arena *a, const struct value *v, const struct schema_resource *to) {
	struct value *o, *out = NULL;
	struct err err = { 0 };

	if (!str_eq(schema_resource_group(to), S("autoscaling"))) {
		o = retyped(a, v, to);
	} else if (str_eq(schema_resource_version(to), S("v1"))) {
		o = autoscaler_to_v1(a, v, to);
	} else {
		o = autoscaler_to_v2(a, v, to);
	}
	/* Decoding puts the members in their order; what was canonical in one version cannot fail in the other. */
	return schema_decode(a, schema_resource_type(to), o, NULL, &out, &err) ? out : o;
}

struct value *convert_to(struct arena *a, const struct value *stored, const struct schema_resource *to) {
	struct str api_version = value_str_at(stored, N_apiVersion), group, version;

	if (!to || !schema_split_api_version(api_version, &group, &version) ||
		(str_eq(version, schema_resource_version(to)) && str_eq(group, schema_resource_group(to)))) {
		return (struct value *)stored;
	}
	return convert(a, stored, to);
}

struct value *convert_from(struct arena *a, struct value *o, const struct schema_resource *from) {
	struct str group = schema_resource_group(from), version;

	if (schema_text(from->storage).len == 0 || !schema_split_api_version(schema_text(from->storage), &group, &version)) {
		return o;
	}
	const struct schema_resource *to = schema_resource_find(group, version, schema_text(from->name));
	return to && to != from && schema_served(to) ? convert(a, o, to) : o;
}
