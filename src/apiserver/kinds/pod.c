/* SPDX-License-Identifier: Apache-2.0 */
/* pod.c - Pods and PodTemplates: first state, what an update may change, graceful deletion. */
#include "apiserver/kinds/kinds_private.h"

static void prepare_create(struct kind_ctx *x, struct value *o) {
	struct value *status = value_new_object(x->arena);
	value_set_str(x->arena, status, N_phase, S("Pending"));
	value_set_str(x->arena, status, N_qosClass, pod_qos_class(o));
	const struct value *gates = value_at(o, N_spec, N_schedulingGates);
	if (value_len(gates)) {
		struct value *cond = value_push(x->arena, value_ensure_array(x->arena, status, N_conditions), value_new_object(x->arena));
		value_set_str(x->arena, cond, N_type, S("PodScheduled"));
		value_set_str(x->arena, cond, N_status, S("False"));
		value_set_str(x->arena, cond, N_reason, S("SchedulingGated"));
		value_set_str(x->arena, cond, N_message, S("Scheduling is blocked due to non-empty scheduling gates"));
	}
	value_set(x->arena, o, N_status, status);
	value_remove(value_get(o, N_spec), N_ephemeralContainers); /* only through their subresource */
}

static void prepare_update(struct kind_ctx *x, struct value *o, const struct value *old) {
	value_set(x->arena, o, N_status, value_copy(x->arena, value_get(old, N_status)));
}

static void validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	validate_pod_spec(x, value_get(o, N_spec), value_get(o, N_metadata), S("spec"), c);
}

/* Puts the images of `from`'s containers into `into`, so that images alone do not count as a difference. */
static void images_from(struct arena *a, struct value *into, const struct value *from) {
	static const enum name_id lists[] = { N_containers, N_initContainers };
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		size_t i = 0;
		VALUE_EACH(value_get(from, lists[l]), k) {
			struct value *mine = value_item(value_get(into, lists[l]), i++);
			if (mine) {
				value_set_str(a, mine, N_image, value_str_at(k, N_image));
			}
		}
	}
}

static bool tolerations_kept(const struct value *now, const struct value *was) {
	VALUE_EACH(was, t) {
		bool found = false;
		VALUE_EACH(now, u) {
			found = found || value_eq(t, u) ||
				(str_eq(value_str_at(t, N_key), value_str_at(u, N_key)) && str_eq(value_str_at(t, N_effect), value_str_at(u, N_effect)) &&
					str_eq(value_str_at(t, N_operator), value_str_at(u, N_operator)) && str_eq(value_str_at(t, N_value), value_str_at(u, N_value)));
		}
		if (!found) {
			return false;
		}
	}
	return true;
}

static void validate_update(struct kind_ctx *x, const struct value *o, const struct value *old, struct causes *c) {
	const struct value *now = value_get(o, N_spec), *was = value_get(old, N_spec);
	static const enum name_id lists[] = { N_containers, N_initContainers };
	for (size_t l = 0; l < ARRAY_LEN(lists); l++) {
		struct str path = path_field(c->arena, S("spec"), name_text(lists[l]));
		if (value_len(value_get(now, lists[l])) != value_len(value_get(was, lists[l]))) {
			cause_add(c, CAUSE_FORBIDDEN, path, NULL, "pod updates may not add or remove containers");
			return;
		}
	}
	const struct value *d_now = value_get(now, N_activeDeadlineSeconds), *d_was = value_get(was, N_activeDeadlineSeconds);
	if (d_was && (!d_now || value_as_int(d_now) > value_as_int(d_was))) {
		cause_add(c, CAUSE_INVALID, S("spec.activeDeadlineSeconds"), d_now,
			d_now ? "must be less than or equal to previous value" : "must not update from a positive integer to nil value");
		return;
	}
	if (!tolerations_kept(value_get(now, N_tolerations), value_get(was, N_tolerations))) {
		cause_add(c, CAUSE_FORBIDDEN, S("spec.tolerations"), NULL, "existing toleration can not be modified except its tolerationSeconds");
		return;
	}
	/* With all that may change taken from the new one, nothing may be left that differs. */
	struct value *munged = value_copy(c->arena, was);
	static const enum name_id mutable_fields[] = { N_activeDeadlineSeconds, N_tolerations, N_schedulingGates };
	images_from(c->arena, munged, now);
	for (size_t i = 0; i < ARRAY_LEN(mutable_fields); i++) {
		const struct value *v = value_get(now, mutable_fields[i]);
		if (v) {
			value_set(c->arena, munged, mutable_fields[i], v);
		} else {
			value_remove(munged, mutable_fields[i]);
		}
	}
	const struct value *grace = value_get(was, N_terminationGracePeriodSeconds);
	if (value_as_int(grace) < 0 && value_int_at(now, N_terminationGracePeriodSeconds) == 1) {
		value_set_int(c->arena, munged, N_terminationGracePeriodSeconds, 1);
	}
	if (value_len(value_get(was, N_schedulingGates))) { /* a gated pod may become pickier about nodes */
		static const enum name_id gated[] = { N_nodeSelector, N_affinity };
		for (size_t i = 0; i < ARRAY_LEN(gated); i++) {
			const struct value *v = value_get(now, gated[i]);
			if (v) {
				value_set(c->arena, munged, gated[i], v);
			}
		}
	}
	if (!value_eq(munged, now)) {
		cause_add(c, CAUSE_FORBIDDEN, S("spec"), NULL,
			"pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
			"`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
			"negative)");
	}
}

static int64_t grace_seconds(const struct value *o) {
	return value_as_int_or(value_at(o, N_spec, N_terminationGracePeriodSeconds), 30);
}

const struct kind_ops pod_ops = {
	.group = S_INIT(""),
	.resource = S_INIT("pods"),
	.prepare_create = prepare_create,
	.prepare_update = prepare_update,
	.validate = validate,
	.validate_update = validate_update,
	.grace_seconds = grace_seconds,
};

static void template_validate(struct kind_ctx *x, const struct value *o, struct causes *c) {
	validate_pod_template(x, value_get(o, N_template), S("template"), c);
}

const struct kind_ops pod_template_ops = { .group = S_INIT(""), .resource = S_INIT("podtemplates"), .validate = template_validate };
