/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stateful_set.c - numbered pods that keep their name, their place and their volumes.
 *
 * One pass: keep the history of templates (ControllerRevisions), then go through the ordinals: replace ended pods, make missing ones with
 * their claims, delete those beyond spec.replicas from the highest down, then update pods to the new revision from the highest down.
 * OrderedReady stops at the first pod that is not healthy; Parallel does not wait. Names are fixed, so that a pass on an old copy
 * makes nothing twice. Handlers on the loop, passes on pool threads.
 */
#include "base/log.h"
#include "controllers/history.h"

#define WORKERS 5
#define NO_LIMIT INT32_MAX
#define HASH_LABEL S("controller.kubernetes.io/hash")
#define NAME_LABEL S("statefulset.kubernetes.io/pod-name")
#define INDEX_LABEL S("apps.kubernetes.io/pod-index")

struct stateful_sets {
	struct frame *frame;
	struct shared *sets, *pods, *claims, *revisions;
	struct work_queue *queue;
	struct recorder *recorder;
};

struct pass {
	struct stateful_sets *c;
	struct str key;
	struct arena arena;
	const struct value *set;
	struct pod_set pods, revisions;
	struct obj *current, *update; /* revisions; one reference each */
	int64_t collisions;
	int64_t start, replicas;
	const struct value **at; /* `replicas` pods by ordinal - start; NULL: not there */
	const struct value **condemned; /* the others, the highest ordinal first */
	size_t condemned_len;
	bool ordered;
	nsec_t now, wait;
};

enum step { STEP_GO, STEP_STOP, STEP_FAIL }; /* go on with the next pod, enough for this pass, err is set */

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

/* The number at the end of a pod's name; -1 when the name is not of this set. */
static int64_t ordinal_of(const struct value *set, const struct value *pod) {
	struct str name = meta_name(pod), parent = meta_name(set);
	int64_t n = -1;

	if (name.len < parent.len + 2 || !str_starts(name, parent) || name.ptr[parent.len] != '-' || name.ptr[parent.len + 1] == '-' ||
		!str_to_i64(str_from(name, parent.len + 1), &n) || n > INT32_MAX) {
		return -1;
	}
	return n;
}

static bool is_member(const struct value *set, const struct value *pod) {
	return ordinal_of(set, pod) >= 0;
}

static bool phase_is(const struct value *pod, const char *phase) {
	return str_eqc(value_str_at(pod, N_status, N_phase), phase);
}

static bool is_running(const struct value *pod) { /* and ready */
	return phase_is(pod, "Running") && pod_is_ready(pod);
}

static bool is_available(struct pass *p, const struct value *pod) {
	return phase_is(pod, "Running") && pod_is_available(pod, value_int_at(p->set, N_spec, N_minReadySeconds), p->now, &p->wait);
}

static bool is_healthy(struct pass *p, const struct value *pod) {
	return pod && !meta_deleting(pod) && is_available(p, pod);
}

static struct str revision_of(const struct value *pod) {
	return meta_label(pod, REVISION_LABEL);
}

static int by_ordinal_down(const void *pa, const void *pb) {
	struct str a = meta_name(*(const struct value *const *)pa), b = meta_name(*(const struct value *const *)pb);

	return a.len != b.len ? (a.len > b.len ? -1 : 1) : -str_cmp(a, b); /* one prefix, decimal numbers */
}

static void pods_divide(struct pass *p) {
	p->start = value_int_at(p->set, N_spec, N_ordinals, N_start);
	p->replicas = value_as_int_or(value_at(p->set, N_spec, N_replicas), 1);
	p->ordered = !str_eqc(value_str_at(p->set, N_spec, N_podManagementPolicy), "Parallel");
	p->at = arena_array(&p->arena, const struct value *, (size_t)p->replicas);
	p->condemned = arena_array(&p->arena, const struct value *, p->pods.len);
	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		int64_t n = ordinal_of(p->set, pod) - p->start;
		if (n >= 0 && n < p->replicas) {
			p->at[n] = pod;
		} else {
			p->condemned[p->condemned_len++] = pod;
		}
	}
	if (p->condemned_len > 1) {
		qsort(p->condemned, p->condemned_len, sizeof(const struct value *), by_ordinal_down);
	}
}

/* ---- claims --------------------------------------------------------------------------------------------------------------- */

static struct str claim_name(struct pass *p, const struct value *template, int64_t ordinal) {
	struct str name = meta_name(template), set = meta_name(p->set);

	return arena_printf(&p->arena, "%.*s-%.*s-%lld", STR_ARG(name), STR_ARG(set), (long long)ordinal);
}

static bool retention_is(const struct pass *p, enum name_id when) {
	return str_eqc(value_str_at(p->set, N_spec, N_persistentVolumeClaimRetentionPolicy, (uint16_t)when), "Delete");
}

static void owner_add(struct pass *p, struct value *owners, const struct value *owner) {
	struct value *ref = owner_ref(&p->arena, owner);

	value_remove(ref, N_controller);
	value_remove(ref, N_blockOwnerDeletion);
	value_push(&p->arena, owners, ref);
}

/*
 * Who owns a claim under the retention policy: the set when it is to go with the set, the pod when that is scaled away
 * and the claim is to go with it. `pod` is NULL while the pod is not there.
 */
static struct value *claim_owners(struct pass *p, const struct value *before, const struct value *pod, bool condemned) {
	struct value *owners = value_new_array(&p->arena);
	bool by_pod = condemned && pod && retention_is(p, N_whenScaled);

	VALUE_EACH(before, ref) {
		struct str uid = value_str_at(ref, N_uid), kind = value_str_at(ref, N_kind);
		bool ours = str_eq(uid, meta_uid(p->set)) || str_eqc(kind, "Pod");
		if (!ours) {
			value_push(&p->arena, owners, ref);
		}
	}
	if (by_pod) {
		owner_add(p, owners, pod);
	} else if (retention_is(p, N_whenDeleted)) {
		owner_add(p, owners, p->set);
	}
	return owners;
}

static struct value *claim_make(struct pass *p, const struct value *template, int64_t ordinal) {
	struct arena *a = &p->arena;
	struct value *claim = value_shallow(a, template), *meta = value_copy(a, value_get(template, N_metadata));
	const struct value *match = value_at(p->set, N_spec, N_selector, N_matchLabels);

	value_remove(claim, N_status);
	value_set_str(a, claim, N_kind, S("PersistentVolumeClaim"));
	value_set_str(a, claim, N_apiVersion, S("v1"));
	meta = value_set(a, claim, N_metadata, value_is(meta, VALUE_OBJECT) ? meta : value_new_object(a));
	value_remove(meta, N_creationTimestamp);
	value_set_str(a, meta, N_name, claim_name(p, template, ordinal));
	value_set_str(a, meta, N_namespace, meta_ns(p->set));
	struct value *labels = value_ensure_object(a, meta, N_labels);
	for (size_t i = 0; i < value_len(match); i++) {
		value_set_key_str(a, labels, value_key(match, i), value_as_str(value_item(match, i)));
	}
	struct value *owners = claim_owners(p, NULL, NULL, false);
	if (value_len(owners)) {
		value_set(a, value_get(claim, N_metadata), N_ownerReferences, owners);
	}
	return claim;
}

static bool claim_create(struct pass *p, const struct value *template, int64_t ordinal, struct err *err) {
	struct value *claim = claim_make(p, template, ordinal);
	struct str name = meta_name(claim), set = meta_name(p->set);

	if (client_create(p->c->frame->client, GVR_PERSISTENTVOLUMECLAIMS, meta_ns(p->set), claim, NULL, err)) {
		recorder_event(p->c->recorder, p->set, "Normal", "SuccessfulCreate", "create Claim %.*s Pod %.*s-%lld in StatefulSet %.*s success", STR_ARG(name),
			STR_ARG(set), (long long)ordinal, STR_ARG(set));
		return true;
	}
	if (err->code == ERR_ALREADY_EXISTS) {
		err_clear(err);
		return true;
	}
	recorder_event(p->c->recorder, p->set, "Warning", "FailedCreate", "create Claim %.*s for Pod %.*s-%lld in StatefulSet %.*s failed error: %s",
		STR_ARG(name), STR_ARG(set), (long long)ordinal, STR_ARG(set), err->msg);
	return false;
}

static bool claims_create(struct pass *p, int64_t ordinal, struct err *err) {
	VALUE_EACH(value_at(p->set, N_spec, N_volumeClaimTemplates), template) {
		struct str name = claim_name(p, template, ordinal);
		auto_obj struct obj *is = informer_get(p->c->claims->informer, meta_ns(p->set), name);
		if (is && meta_deleting(is->root)) {
			return err_set(err, ERR_CONFLICT, "pvc %.*s is being deleted", STR_ARG(name));
		}
		if (!is && !claim_create(p, template, ordinal, err)) {
			return false;
		}
	}
	return true;
}

/* Owners after the policy or the number of replicas has changed. */
static bool claims_own(struct pass *p, const struct value *pod, bool condemned, struct err *err) {
	struct arena *a = &p->arena;

	VALUE_EACH(value_at(p->set, N_spec, N_volumeClaimTemplates), template) {
		auto_obj struct obj *is = informer_get(p->c->claims->informer, meta_ns(p->set), claim_name(p, template, ordinal_of(p->set, pod)));
		const struct value *before = is ? value_at(is->root, N_metadata, N_ownerReferences) : NULL;
		struct value *after = claim_owners(p, before, pod, condemned);
		if (!is || (value_len(before) == 0 && value_len(after) == 0) || value_eq(before, after)) {
			continue;
		}
		struct value *patch = value_new_object(a), *meta = value_set(a, patch, N_metadata, value_new_object(a));
		value_set_str(a, meta, N_resourceVersion, value_str_at(is->root, N_metadata, N_resourceVersion));
		value_set(a, meta, N_ownerReferences, value_len(after) ? after : NULL);
		if (!client_patch(p->c->frame->client, GVR_PERSISTENTVOLUMECLAIMS, meta_ns(p->set), meta_name(is->root), S(""), PATCH_MERGE, patch, NULL, err) &&
			err->code != ERR_NOT_FOUND) {
			return false;
		}
	}
	return true;
}

/* ---- pods -------------------------------------------------------------------------------------------------------------------- */

/* The claims first, then the template's volumes that no claim stands for. */
static void volumes_set(struct pass *p, struct value *spec, int64_t ordinal) {
	struct arena *a = &p->arena;
	const struct value *templates = value_at(p->set, N_spec, N_volumeClaimTemplates);
	struct value *volumes = value_new_array(a);

	VALUE_EACH(templates, template) {
		struct value *v = value_push(a, volumes, value_new_object(a));
		value_set_str(a, v, N_name, meta_name(template));
		struct value *claim = value_set(a, v, N_persistentVolumeClaim, value_new_object(a));
		value_set_str(a, claim, N_claimName, claim_name(p, template, ordinal));
	}
	VALUE_EACH(value_get(spec, N_volumes), v) {
		if (!value_find_by(volumes, N_name, value_str_at(v, N_name))) {
			value_push(a, volumes, v);
		}
	}
	if (value_len(volumes)) {
		value_set(a, spec, N_volumes, volumes);
	}
}

/* Below the partition pods stay with the revision they had. */
static struct obj *revision_for(const struct pass *p, int64_t ordinal) {
	const struct value *strategy = value_at(p->set, N_spec, N_updateStrategy), *rolling = value_get(strategy, N_rollingUpdate);

	if (str_eqc(value_str_at(strategy, N_type), "OnDelete")) {
		return p->update;
	}
	int64_t old = rolling ? value_int_at(rolling, N_partition) : value_int_at(p->set, N_status, N_currentReplicas);
	return ordinal < p->start + old ? p->current : p->update;
}

static struct value *pod_make(struct pass *p, int64_t ordinal) {
	struct arena *a = &p->arena;
	struct obj *revision = revision_for(p, ordinal);
	struct value *pod = pod_from_template(a, history_template(a, revision->root), p->set), *meta = value_get(pod, N_metadata);
	struct str set = meta_name(p->set), name = arena_printf(a, "%.*s-%lld", STR_ARG(set), (long long)ordinal);

	value_remove(meta, N_generateName);
	value_set_str(a, meta, N_name, name);
	struct value *labels = value_ensure_object(a, meta, N_labels);
	value_set_key_str(a, labels, NAME_LABEL, name);
	value_set_key_str(a, labels, INDEX_LABEL, arena_printf(a, "%lld", (long long)ordinal));
	value_set_key_str(a, labels, REVISION_LABEL, meta_name(revision->root));
	struct value *spec = value_get(pod, N_spec);
	value_set_str(a, spec, N_hostname, name);
	if (value_str_at(p->set, N_spec, N_serviceName).len) {
		value_set_str(a, spec, N_subdomain, value_str_at(p->set, N_spec, N_serviceName));
	}
	volumes_set(p, spec, ordinal);
	return pod;
}

static bool create(struct pass *p, int64_t ordinal, struct err *err) {
	struct str set = meta_name(p->set);

	if (!claims_create(p, ordinal, err)) {
		return false;
	}
	struct value *pod = pod_make(p, ordinal);
	struct str name = meta_name(pod);
	if (client_create(p->c->frame->client, GVR_PODS, meta_ns(p->set), pod, NULL, err)) {
		recorder_event(p->c->recorder, p->set, "Normal", "SuccessfulCreate", "create Pod %.*s in StatefulSet %.*s successful", STR_ARG(name), STR_ARG(set));
		return true;
	}
	if (err->code != ERR_ALREADY_EXISTS && !str_contains(str_c(err->msg), S("because it is being terminated"))) {
		recorder_event(p->c->recorder, p->set, "Warning", "FailedCreate", "create Pod %.*s in StatefulSet %.*s failed error: %s", STR_ARG(name), STR_ARG(set),
			err->msg);
	}
	return false;
}

static bool delete(struct pass *p, const struct value *pod, struct err *err) {
	struct str name = meta_name(pod), set = meta_name(p->set);
	struct client_call call = { .verb = CLIENT_DELETE, .gvr = GVR_PODS, .ns = meta_ns(pod), .name = name, .precondition_uid = meta_uid(pod) };

	if (client_do(p->c->frame->client, &call, NULL, NULL, err)) {
		recorder_event(p->c->recorder, p->set, "Normal", "SuccessfulDelete", "delete Pod %.*s in StatefulSet %.*s successful", STR_ARG(name), STR_ARG(set));
		return true;
	}
	if (err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT) {
		err_clear(err);
		return true; /* gone, or another one by this name */
	}
	recorder_event(p->c->recorder, p->set, "Warning", "FailedDelete", "delete Pod %.*s in StatefulSet %.*s failed error: %s", STR_ARG(name), STR_ARG(set),
		err->msg);
	return false;
}

/* Puts the labels back that make a pod a member. */
static bool identity_restore(struct pass *p, const struct value *pod, struct err *err) {
	struct arena *a = &p->arena;
	struct str name = meta_name(pod), index = arena_printf(a, "%lld", (long long)ordinal_of(p->set, pod));

	if (str_eq(meta_label(pod, NAME_LABEL), name) && str_eq(meta_label(pod, INDEX_LABEL), index)) {
		return true;
	}
	struct value *patch = value_new_object(a), *meta = value_set(a, patch, N_metadata, value_new_object(a));
	value_set_str(a, meta, N_uid, meta_uid(pod));
	struct value *labels = value_set(a, meta, N_labels, value_new_object(a));
	value_set_key_str(a, labels, NAME_LABEL, name);
	value_set_key_str(a, labels, INDEX_LABEL, index);
	return client_patch(p->c->frame->client, GVR_PODS, meta_ns(pod), name, S(""), PATCH_MERGE, patch, NULL, err) || err->code == ERR_NOT_FOUND;
}

/* ---- steps --------------------------------------------------------------------------------------------------------------------- */

static enum step recreate_ended(struct pass *p, const struct value *pod, struct err *err) {
	struct str ns = meta_ns(p->set), set = meta_name(p->set), name = meta_name(pod);

	if (meta_deleting(pod)) {
		return STEP_STOP;
	}
	if (phase_is(pod, "Failed")) {
		recorder_event(p->c->recorder, p->set, "Warning", "RecreatingFailedPod", "StatefulSet %.*s/%.*s is recreating failed Pod %.*s", STR_ARG(ns),
			STR_ARG(set), STR_ARG(name));
	} else {
		recorder_event(p->c->recorder, p->set, "Normal", "RecreatingTerminatedPod", "StatefulSet %.*s/%.*s is recreating terminated Pod %.*s", STR_ARG(ns),
			STR_ARG(set), STR_ARG(name));
	}
	return delete(p, pod, err) ? STEP_STOP : STEP_FAIL; /* the new one is made when this one is gone */
}

static enum step replica_step(struct pass *p, int64_t i, struct err *err) {
	const struct value *pod = p->at[i];

	if (!pod) {
		if (!create(p, p->start + i, err)) {
			return STEP_FAIL;
		}
		return p->ordered ? STEP_STOP : STEP_GO;
	}
	if (pod_is_finished(pod)) {
		return recreate_ended(p, pod, err);
	}
	if (phase_is(pod, "Pending") && !meta_deleting(pod) && !claims_create(p, p->start + i, err)) {
		return STEP_FAIL;
	}
	if (p->ordered && !is_healthy(p, pod)) {
		return STEP_STOP;
	}
	return identity_restore(p, pod, err) && claims_own(p, pod, false, err) ? STEP_GO : STEP_FAIL;
}

static enum step condemned_step(struct pass *p, size_t i, struct err *err) {
	const struct value *pod = p->condemned[i], *first_unhealthy = NULL;

	for (size_t k = p->condemned_len; k-- > 0 && !first_unhealthy;) {
		first_unhealthy = is_healthy(p, p->condemned[k]) ? NULL : p->condemned[k];
	}
	if (meta_deleting(pod)) {
		return p->ordered ? STEP_STOP : STEP_GO;
	}
	if (p->ordered && !is_available(p, pod) && pod != first_unhealthy) {
		return STEP_STOP;
	}
	if (!claims_own(p, pod, true, err) || !delete(p, pod, err)) {
		return STEP_FAIL;
	}
	return p->ordered ? STEP_STOP : STEP_GO;
}

static int64_t max_unavailable(const struct pass *p) {
	const struct value *v = value_at(p->set, N_spec, N_updateStrategy, N_rollingUpdate, N_maxUnavailable);

	return v ? MAX(int_or_percent(v, p->replicas, true), (int64_t)1) : 1;
}

/* From the highest ordinal down to the partition, as many at once as may be away. */
static bool roll(struct pass *p, struct err *err) {
	const struct value *strategy = value_at(p->set, N_spec, N_updateStrategy);
	int64_t away = 0, most = max_unavailable(p);

	if (str_eqc(value_str_at(strategy, N_type), "OnDelete")) {
		return true;
	}
	for (int64_t i = p->replicas - 1; i >= value_int_at(strategy, N_rollingUpdate, N_partition) && away < most; i--) {
		const struct value *pod = p->at[i];
		if (pod && !meta_deleting(pod) && !str_eq(revision_of(pod), meta_name(p->update->root))) {
			if (!delete(p, pod, err)) {
				return false;
			}
			away++;
		} else {
			away += !is_healthy(p, pod);
		}
	}
	return true;
}

static bool work(struct pass *p, struct err *err) {
	for (int64_t i = 0; i < p->replicas; i++) {
		enum step s = replica_step(p, i, err);
		if (s != STEP_GO) {
			return s == STEP_STOP;
		}
	}
	for (size_t i = 0; i < p->condemned_len; i++) {
		enum step s = condemned_step(p, i, err);
		if (s != STEP_GO) {
			return s == STEP_STOP;
		}
	}
	return roll(p, err);
}

/* ---- history ---------------------------------------------------------------------------------------------------------------------- */

static bool history_keep(struct pass *p, struct err *err) {
	struct value *data = history_data(&p->arena, p->set);
	struct str current = value_str_at(p->set, N_status, N_currentRevision);
	int64_t highest = 0;

	history_sort(&p->revisions);
	struct obj *newest = p->revisions.len ? p->revisions.at[p->revisions.len - 1] : NULL, *same = history_find(&p->revisions, data);
	highest = newest ? history_number(newest) : 0;
	if (!same) {
		if (!history_create(p->c->frame, p->set, HASH_LABEL, data, highest + 1, &p->collisions, &p->update, err)) {
			return false;
		}
	} else if (same != newest) { /* back to an earlier template */
		if (!history_renumber(p->c->frame, same, highest + 1, &p->update, err)) {
			return false;
		}
	} else {
		p->update = obj_ref(same);
	}
	for (size_t i = 0; i < p->revisions.len && !p->current; i++) {
		if (str_eq(meta_name(p->revisions.at[i]->root), current)) {
			p->current = obj_ref(p->revisions.at[i]);
		}
	}
	if (!p->current) {
		p->current = obj_ref(p->update);
	}
	return true;
}

static bool is_live(const struct pass *p, struct str revision) {
	bool live = str_eq(revision, meta_name(p->current->root)) || str_eq(revision, meta_name(p->update->root));

	for (size_t i = 0; i < p->pods.len && !live; i++) {
		live = str_eq(revision, revision_of(p->pods.at[i]->root));
	}
	return live;
}

static bool history_cut(struct pass *p, struct err *err) {
	int64_t limit = value_as_int_or(value_at(p->set, N_spec, N_revisionHistoryLimit), 10), idle = 0;

	for (size_t i = 0; i < p->revisions.len; i++) {
		idle += !is_live(p, meta_name(p->revisions.at[i]->root));
	}
	for (size_t i = 0; i < p->revisions.len && idle > limit && limit != NO_LIMIT; i++) {
		if (is_live(p, meta_name(p->revisions.at[i]->root))) {
			continue;
		}
		if (!history_delete(p->c->frame, p->revisions.at[i], err)) {
			return false;
		}
		idle--;
	}
	return true;
}

/* ---- status ------------------------------------------------------------------------------------------------------------------------- */

static bool status_write(struct pass *p, struct err *err) {
	int64_t ready = 0, available = 0, current = 0, updated = 0, all = (int64_t)p->pods.len;
	struct str current_name = meta_name(p->current->root), update_name = meta_name(p->update->root);
	struct arena *a = &p->arena;

	for (size_t i = 0; i < p->pods.len; i++) {
		const struct value *pod = p->pods.at[i]->root;
		ready += is_running(pod);
		available += is_available(p, pod);
		current += !meta_deleting(pod) && str_eq(revision_of(pod), current_name);
		updated += !meta_deleting(pod) && str_eq(revision_of(pod), update_name);
	}
	bool rolling = !str_eqc(value_str_at(p->set, N_spec, N_updateStrategy, N_type), "OnDelete");
	if (rolling && updated == p->replicas && ready == p->replicas && all == p->replicas) { /* the update is complete */
		current = updated;
		current_name = update_name;
	}
	struct value *o = object_edit(a, p->set), *status = value_ensure_object(a, o, N_status);
	set_int_omit(a, status, N_observedGeneration, value_int_at(p->set, N_metadata, N_generation));
	value_set_int(a, status, N_replicas, all);
	set_int_omit(a, status, N_readyReplicas, ready);
	set_int_omit(a, status, N_currentReplicas, current);
	set_int_omit(a, status, N_updatedReplicas, updated);
	value_set_str(a, status, N_currentRevision, current_name);
	value_set_str(a, status, N_updateRevision, update_name);
	value_set_int(a, status, N_collisionCount, p->collisions);
	value_set_int(a, status, N_availableReplicas, available);
	if (value_eq(status, value_get(p->set, N_status))) {
		return true;
	}
	return client_update_status(p->c->frame->client, GVR_STATEFULSETS, meta_ns(p->set), o, NULL, err) || err->code == ERR_NOT_FOUND;
}

/* ---- one pass -------------------------------------------------------------------------------------------------------------------------- */

static bool run(struct pass *p, struct err *err) {
	if (!history_keep(p, err)) {
		return false;
	}
	pods_divide(p);
	bool ok = meta_deleting(p->set) || work(p, err);
	struct err second = { 0 };
	bool written = status_write(p, &second) && history_cut(p, &second);
	if (ok && !written) {
		*err = second;
	}
	if (p->wait > 0) {
		work_queue_add_after(p->c->queue, p->key, p->wait + NSEC_PER_MSEC);
	}
	return ok && written;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct stateful_sets *c = arg;
	struct pass p = { .c = c, .key = key, .now = clock_wall() };
	const struct selector *selector = NULL;
	struct str ns, name;
	bool ok = false;

	key_split(key, &ns, &name);
	auto_obj struct obj *set = informer_get(c->sets->informer, ns, name);
	if (!set) {
		return true;
	}
	p.set = set->root;
	p.collisions = value_int_at(set->root, N_status, N_collisionCount);
	if (!selector_from_value(&p.arena, value_at(set->root, N_spec, N_selector), &selector, err)) {
		log_warn("statefulset", "selector is invalid, left alone", kv_str("key", key), kv_err(err));
		arena_release(&p.arena);
		return true;
	}
	if (objects_claim(c->frame, c->revisions, GVR_STATEFULSETS, set->root, selector, &p.revisions, err) &&
		objects_claim_if(c->frame, c->pods, GVR_STATEFULSETS, set->root, selector, is_member, &p.pods, err)) {
		ok = run(&p, err);
	}
	obj_unref(p.current);
	obj_unref(p.update);
	pod_set_release(&p.pods);
	pod_set_release(&p.revisions);
	arena_release(&p.arena);
	return ok;
}

/* ---- what wakes a key --------------------------------------------------------------------------------------------------------------------- */

static void set_changed(void *arg, struct obj *old, struct obj *now) {
	struct stateful_sets *c = arg;
	auto_arena struct arena a = { 0 };

	if (now) {
		work_queue_add(c->queue, meta_key(&a, now->root));
	}
}

static void wake_matching(struct stateful_sets *c, const struct value *pod) {
	struct client_list all;

	informer_list(c->sets->informer, meta_ns(pod), &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct selector *s = NULL;
		struct err err = { 0 };
		const struct value *set = all.at[i]->root;
		if (selector_from_value(&a, value_at(set, N_spec, N_selector), &s, &err) && s && selector_matches(s, meta_labels(pod)) && is_member(set, pod)) {
			work_queue_add(c->queue, meta_key(&a, set));
		}
	}
	client_list_release(&all);
}

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct stateful_sets *c = arg;
	auto_arena struct arena a = { 0 };
	struct str before = old ? controller_key(&a, c->sets, "apps", "StatefulSet", old->root) : S("");
	struct str after = now ? controller_key(&a, c->sets, "apps", "StatefulSet", now->root) : S("");

	if (before.len && !str_eq(before, after)) {
		work_queue_add(c->queue, before);
	}
	if (after.len) {
		work_queue_add(c->queue, after);
	} else if (now && !meta_controller(now->root) && !meta_deleting(now->root) &&
		(!old || meta_controller(old->root) || !value_eq(meta_labels(old->root), meta_labels(now->root)))) {
		wake_matching(c, now->root);
	}
}

/* A claim that is gone may be what a pod waits for. */
static void claim_changed(void *arg, struct obj *old, struct obj *now) {
	struct stateful_sets *c = arg;
	struct client_list all;

	if (now) {
		return;
	}
	if (!c->sets->informer) {
		return;
	}
	informer_list(c->sets->informer, meta_ns(old->root), &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		if (value_len(value_at(all.at[i]->root, N_spec, N_volumeClaimTemplates))) {
			work_queue_add(c->queue, meta_key(&a, all.at[i]->root));
		}
	}
	client_list_release(&all);
}

static void *make(struct frame *f) {
	struct stateful_sets *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->recorder = recorder_new(f->client, "statefulset-controller", NULL);
	c->queue = frame_queue(f, "statefulset", WORKERS, sync, c);
	c->sets = frame_watch(f, GVR_STATEFULSETS, set_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	c->claims = frame_watch(f, GVR_PERSISTENTVOLUMECLAIMS, claim_changed, c);
	c->revisions = frame_watch(f, GVR_CONTROLLERREVISIONS, NULL, NULL);
	return c;
}

static void destroy(void *controller) {
	struct stateful_sets *c = controller;

	recorder_free(c->recorder);
	free(c);
}

const struct controller_ops stateful_set_controller = { .name = "statefulset", .make = make, .free = destroy };
