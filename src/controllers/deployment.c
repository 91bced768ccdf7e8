/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deployment.c - Deployments: one ReplicaSet per template, moved from the old ones to the new one by
 * strategy.
 *
 * One pass for one key reads the Deployment and its ReplicaSets, takes the next step (create the new
 * ReplicaSet, scale one up or some down, clean up history) and writes the status. Steps, arithmetic, annotations, reasons
 * and messages are upstream's deployment controller's, since kubectl and people read them.
 */
#include <math.h>

#include "base/log.h"
#include "controllers/pods.h"

#define WORKERS 5
#define HISTORY_CHARS_MAX 2000
#define NO_LIMIT INT32_MAX

#define REVISION S("deployment.kubernetes.io/revision")
#define REVISION_HISTORY S("deployment.kubernetes.io/revision-history")
#define DESIRED_REPLICAS S("deployment.kubernetes.io/desired-replicas")
#define MAX_REPLICAS S("deployment.kubernetes.io/max-replicas")
#define HASH_LABEL S("pod-template-hash")

struct deployments {
	struct frame *frame;
	struct shared *deployments, *sets, *pods;
	struct work_queue *queue;
	struct recorder *recorder;
};

/* One ReplicaSet in a pass; `o` is replaced when we write it. */
struct set {
	struct obj *o;
};
struct sets { /* sets of a pass or some of them; pointers into the pass's arena */
	struct set **at;
	size_t len;
};

/* One pass. */
struct rollout {
	struct deployments *c;
	struct str key;
	struct arena arena;
	struct value *d;  /* our copy of the Deployment; its metadata and status are edited */
	struct sets all;  /* of the claim */
	struct set *fresh; /* the ReplicaSet of the present template; NULL: none yet */
	struct sets old;  /* all but fresh */
};

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int64_t replicas_of(const struct value *o) {
	return value_as_int_or(value_at(o, N_spec, N_replicas), 1);
}
static int64_t set_replicas(const struct set *s) {
	return replicas_of(s->o->root);
}
static int64_t set_status(const struct set *s, enum name_id name) {
	return value_int_at(s->o->root, N_status, name);
}
static int64_t set_revision(const struct set *s) {
	int64_t revision = 0;
	return str_to_i64(meta_annotation(s->o->root, REVISION), &revision) ? revision : 0;
}
static int64_t sum_replicas(const struct sets *s) {
	int64_t n = 0;
	for (size_t i = 0; i < s->len; i++) {
		n += set_replicas(s->at[i]);
	}
	return n;
}
static int64_t sum_status(const struct sets *s, enum name_id name) {
	int64_t n = 0;
	for (size_t i = 0; i < s->len; i++) {
		n += set_status(s->at[i], name);
	}
	return n;
}
static bool is_rolling(const struct value *d) {
	return !str_eqc(value_str_at(d, N_spec, N_strategy, N_type), "Recreate");
}

/* Surge rounds up, unavailable rounds down; never both 0, or nothing could move. */
static void fenceposts(const struct value *d, int64_t *ret_surge, int64_t *ret_unavailable) {
	const struct value *rolling = value_at(d, N_spec, N_strategy, N_rollingUpdate);
	const struct value *surge = value_get(rolling, N_maxSurge), *unavailable = value_get(rolling, N_maxUnavailable);
	int64_t total = replicas_of(d);

	*ret_surge = surge ? int_or_percent(surge, total, true) : (total * 25 + 99) / 100;
	*ret_unavailable = unavailable ? int_or_percent(unavailable, total, false) : total * 25 / 100;
	if (*ret_surge == 0 && *ret_unavailable == 0) {
		*ret_unavailable = 1;
	}
}
static int64_t max_surge(const struct value *d) {
	int64_t surge, unavailable;
	if (!is_rolling(d)) {
		return 0;
	}
	fenceposts(d, &surge, &unavailable);
	return surge;
}
static int64_t max_unavailable(const struct value *d) {
	int64_t surge, unavailable;
	if (!is_rolling(d) || replicas_of(d) == 0) {
		return 0;
	}
	fenceposts(d, &surge, &unavailable);
	return MIN(unavailable, replicas_of(d));
}

static bool has_deadline(const struct value *d) {
	const struct value *v = value_at(d, N_spec, N_progressDeadlineSeconds);
	return v && value_as_int(v) != NO_LIMIT;
}

static const struct value *progressing(const struct value *status) {
	return condition_find(value_get(status, N_conditions), "Progressing");
}

/* The template without the label that we add to it. */
static struct value *plain_template(struct arena *a, const struct value *template) {
	struct value *t = value_shallow(a, template);
	struct value *meta = value_set(a, t, N_metadata, value_shallow(a, value_get(template, N_metadata)));
	struct value *labels = value_set(a, meta, N_labels, value_shallow(a, value_at(template, N_metadata, N_labels)));

	value_remove_key(labels, HASH_LABEL);
	if (value_is(value_get(meta, N_creationTimestamp), VALUE_NULL)) {
		value_remove(meta, N_creationTimestamp);
	}
	return t;
}
static bool same_template(struct arena *a, const struct value *x, const struct value *y) {
	return value_eq(plain_template(a, x), plain_template(a, y));
}

static int by_creation(const void *pa, const void *pb) {
	const struct value *a = (*(struct set *const *)pa)->o->root, *b = (*(struct set *const *)pb)->o->root;
	int c = str_cmp(value_str_at(a, N_metadata, N_creationTimestamp), value_str_at(b, N_metadata, N_creationTimestamp));
	return c ? c : str_cmp(meta_name(a), meta_name(b));
}
static int by_revision(const void *pa, const void *pb) {
	const struct set *a = *(struct set *const *)pa, *b = *(struct set *const *)pb;
	int64_t x = set_revision(a), y = set_revision(b);
	return x != y ? (x > y) - (x < y) : by_creation(pa, pb);
}
static int by_size_newer(const void *pa, const void *pb) {
	int64_t x = set_replicas(*(struct set *const *)pa), y = set_replicas(*(struct set *const *)pb);
	return x != y ? (x < y) - (x > y) : by_creation(pb, pa);
}
static int by_size_older(const void *pa, const void *pb) {
	int64_t x = set_replicas(*(struct set *const *)pa), y = set_replicas(*(struct set *const *)pb);
	return x != y ? (x < y) - (x > y) : by_creation(pa, pb);
}
static void sets_sort(struct sets *s, int (*cmp)(const void *, const void *)) {
	if (s->len > 1) {
		qsort(s->at, s->len, sizeof(*s->at), cmp);
	}
}

static struct sets sets_with(struct rollout *r, const struct sets *s, struct set *one) {
	struct sets out = { arena_array(&r->arena, struct set *, s->len + 1), 0 };
	for (size_t i = 0; i < s->len; i++) {
		out.at[out.len++] = s->at[i];
	}
	if (one) {
		out.at[out.len++] = one;
	}
	return out;
}
static struct sets sets_active(struct rollout *r, const struct sets *s) {
	struct sets out = { arena_array(&r->arena, struct set *, s->len), 0 };
	for (size_t i = 0; i < s->len; i++) {
		if (set_replicas(s->at[i]) > 0) {
			out.at[out.len++] = s->at[i];
		}
	}
	return out;
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

/* Writes status and annotations; r->d becomes what the server answered. */
static bool deployment_write(struct rollout *r, struct err *err) {
	auto_obj struct obj *now = NULL;

	if (!client_update_status(r->c->frame->client, GVR_DEPLOYMENTS, meta_ns(r->d), r->d, &now, err)) {
		return false;
	}
	r->d = value_copy(&r->arena, now->root);
	return true;
}

static struct value *conditions_of(struct rollout *r, struct value *status) {
	return value_ensure_array(&r->arena, status, N_conditions);
}

static bool condition_put(struct rollout *r, struct value *status, const char *type, const char *state, const char *reason, struct str message) {
	struct condition c = { .type = type, .status = state, .reason = reason, .message = message, .update_time = true };
	return condition_set(&r->arena, conditions_of(r, status), &c);
}

static bool annotation_put(struct arena *a, struct value *o, struct str key, struct str text) {
	struct value *annotations = value_ensure_object(a, value_ensure_object(a, o, N_metadata), N_annotations);
	const struct value *is = value_get_str(annotations, key);

	if (is && str_eq(value_as_str(is), text)) {
		return false;
	}
	value_set_key_str(a, annotations, key, text);
	return true;
}

static struct str number(struct arena *a, int64_t n) {
	return arena_printf(a, "%lld", (long long)n);
}

static bool replicas_annotations_put(struct rollout *r, struct value *o) {
	int64_t desired = replicas_of(r->d);
	bool changed = annotation_put(&r->arena, o, DESIRED_REPLICAS, number(&r->arena, desired));
	return annotation_put(&r->arena, o, MAX_REPLICAS, number(&r->arena, desired + max_surge(r->d))) || changed;
}

static bool set_write(struct rollout *r, struct set *s, const struct value *o, struct err *err) {
	struct obj *now = NULL;

	if (!client_update(r->c->frame->client, GVR_REPLICASETS, meta_ns(o), o, &now, err)) {
		return false;
	}
	obj_unref(s->o);
	s->o = now;
	return true;
}

/* Also brings the annotations up to date, as they decide what a later scaling means. */
static bool set_scale(struct rollout *r, struct set *s, int64_t replicas, struct err *err) {
	int64_t was = set_replicas(s);
	struct value *o = object_edit(&r->arena, s->o->root);
	bool annotated = replicas_annotations_put(r, o);

	if (was == replicas && !annotated) {
		return true;
	}
	struct value *spec = value_set(&r->arena, o, N_spec, value_shallow(&r->arena, value_get(o, N_spec)));
	value_set_int(&r->arena, spec, N_replicas, replicas);
	if (!set_write(r, s, o, err)) {
		return false;
	}
	if (was != replicas) {
		struct str name = meta_name(o);
		recorder_event(r->c->recorder, r->d, "Normal", "ScalingReplicaSet", "Scaled %s replica set %.*s from %lld to %lld",
			replicas > was ? "up" : "down", STR_ARG(name), (long long)was, (long long)replicas);
	}
	return true;
}

/* ---- the new ReplicaSet ------------------------------------------------------------------------------------------------- */

/* Finds the set of the present template (the oldest, should there be several) and the others. */
static void sets_divide(struct rollout *r) {
	const struct value *template = value_at(r->d, N_spec, N_template);

	sets_sort(&r->all, by_creation);
	r->fresh = NULL;
	r->old = (struct sets){ arena_array(&r->arena, struct set *, r->all.len), 0 };
	for (size_t i = 0; i < r->all.len; i++) {
		struct set *s = r->all.at[i];
		if (!r->fresh && same_template(&r->arena, value_at(s->o->root, N_spec, N_template), template)) {
			r->fresh = s;
		} else {
			r->old.at[r->old.len++] = s;
		}
	}
}

static bool copied_annotation(struct str key) {
	static const struct str skipped[] = {
		S_INIT("kubectl.kubernetes.io/last-applied-configuration"),
		S_INIT("deployment.kubernetes.io/revision"),
		S_INIT("deployment.kubernetes.io/revision-history"),
		S_INIT("deployment.kubernetes.io/desired-replicas"),
		S_INIT("deployment.kubernetes.io/max-replicas"),
		S_INIT("deprecated.daemonset.template.generation"),
	};
	for (size_t i = 0; i < ARRAY_LEN(skipped); i++) {
		if (str_eq(key, skipped[i])) {
			return false;
		}
	}
	return true;
}

static struct str history_add(struct arena *a, struct str history, struct str revision) {
	struct str joined = history.len ? arena_printf(a, "%.*s,%.*s", STR_ARG(history), STR_ARG(revision)) : revision;

	while (joined.len > HISTORY_CHARS_MAX && str_cut(joined, ',', &history, &joined)) {
		/* the oldest go */
	}
	return joined;
}

/* Annotations of a ReplicaSet that is (or is going to be) the newest. */
static bool annotations_put(struct rollout *r, struct value *o, int64_t revision, bool exists) {
	const struct value *from = value_at(r->d, N_metadata, N_annotations);
	struct str was = meta_annotation(o, REVISION);
	int64_t old_revision = 0;
	bool changed = false;

	for (size_t i = 0; i < value_len(from); i++) {
		struct str key = value_key(from, i);
		if (copied_annotation(key)) {
			changed = annotation_put(&r->arena, o, key, value_as_str(value_item(from, i))) || changed;
		}
	}
	if (was.len && !str_to_i64(was, &old_revision)) {
		log_warn("deployment", "revision annotation is no number, left as it is", kv_str("replicaset", meta_name(o)));
		return changed;
	}
	if (old_revision < revision) {
		was = arena_str(&r->arena, was);
		annotation_put(&r->arena, o, REVISION, number(&r->arena, revision));
		if (was.len) {
			annotation_put(&r->arena, o, REVISION_HISTORY, history_add(&r->arena, meta_annotation(o, REVISION_HISTORY), was));
		}
		changed = true;
	}
	if (!exists) {
		changed = replicas_annotations_put(r, o) || changed;
	}
	return changed;
}

static int64_t max_revision(const struct sets *s) {
	int64_t max = 0;
	for (size_t i = 0; i < s->len; i++) {
		max = MAX(max, set_revision(s->at[i]));
	}
	return max;
}

/* How many replicas the new set may have now, next to the old ones. */
static int64_t fresh_replicas(const struct value *d, int64_t total, int64_t has) {
	if (!is_rolling(d)) {
		return replicas_of(d);
	}
	int64_t most = replicas_of(d) + max_surge(d);
	if (total >= most) {
		return has;
	}
	return has + MIN(most - total, replicas_of(d) - has);
}

static bool fresh_refresh(struct rollout *r, int64_t revision, struct err *err) {
	struct value *o = object_edit(&r->arena, r->fresh->o->root);
	int64_t min_ready = value_int_at(r->d, N_spec, N_minReadySeconds);
	bool changed = annotations_put(r, o, revision, true);

	if (value_int_at(o, N_spec, N_minReadySeconds) != min_ready) {
		struct value *spec = value_set(&r->arena, o, N_spec, value_shallow(&r->arena, value_get(o, N_spec)));
		set_int_omit(&r->arena, spec, N_minReadySeconds, min_ready);
		changed = true;
	}
	if (changed) {
		return set_write(r, r->fresh, o, err);
	}
	bool write = annotation_put(&r->arena, r->d, REVISION, meta_annotation(r->fresh->o->root, REVISION));
	if (has_deadline(r->d) && !progressing(value_get(r->d, N_status))) {
		struct str name = meta_name(r->fresh->o->root);
		condition_put(r, value_ensure_object(&r->arena, r->d, N_status), "Progressing", "True", "FoundNewReplicaSet",
			arena_printf(&r->arena, "Found new replica set \"%.*s\"", STR_ARG(name)));
		write = true;
	}
	return !write || deployment_write(r, err);
}

static struct value *fresh_make(struct rollout *r, int64_t revision) {
	struct arena *a = &r->arena;
	const struct value *template = value_at(r->d, N_spec, N_template);
	struct str hash = safe_hash(a, template, value_int_at(r->d, N_status, N_collisionCount));
	struct str name = meta_name(r->d);
	struct value *o = value_new_object(a), *meta, *spec, *selector, *t;

	value_set_str(a, o, N_kind, S("ReplicaSet"));
	value_set_str(a, o, N_apiVersion, S("apps/v1"));
	meta = value_set(a, o, N_metadata, value_new_object(a));
	value_set_str(a, meta, N_name, arena_printf(a, "%.*s-%.*s", STR_ARG(name), STR_ARG(hash)));
	value_set_str(a, meta, N_namespace, meta_ns(r->d));
	value_push(a, value_set(a, meta, N_ownerReferences, value_new_array(a)), owner_ref(a, r->d));

	t = value_copy(a, template);
	struct value *labels = value_ensure_object(a, value_ensure_object(a, t, N_metadata), N_labels);
	value_set_key_str(a, labels, HASH_LABEL, hash);
	value_set(a, meta, N_labels, value_copy(a, labels));

	spec = value_set(a, o, N_spec, value_new_object(a));
	value_set_int(a, spec, N_replicas, fresh_replicas(r->d, sum_replicas(&r->old), 0));
	set_int_omit(a, spec, N_minReadySeconds, value_int_at(r->d, N_spec, N_minReadySeconds));
	selector = value_set(a, spec, N_selector, value_copy(a, value_at(r->d, N_spec, N_selector)));
	value_set_key_str(a, value_ensure_object(a, selector, N_matchLabels), HASH_LABEL, hash);
	value_set(a, spec, N_template, t);
	annotations_put(r, o, revision, false);
	return o;
}

/* The name is taken: by us in an earlier pass, or by another template with the same hash. */
static bool fresh_taken(struct rollout *r, const struct value *o, struct obj **ret, struct err *err) {
	auto_obj struct obj *is = NULL;

	if (!client_get(r->c->frame->client, GVR_REPLICASETS, meta_ns(o), meta_name(o), &is, err)) {
		return false;
	}
	const struct value *ref = meta_controller(is->root);
	if (ref && str_eq(value_str_at(ref, N_uid), meta_uid(r->d)) &&
		same_template(&r->arena, value_at(is->root, N_spec, N_template), value_at(r->d, N_spec, N_template))) {
		*ret = TAKE(is);
		return true;
	}
	struct value *status = value_ensure_object(&r->arena, r->d, N_status);
	value_set_int(&r->arena, status, N_collisionCount, value_int_at(status, N_collisionCount) + 1);
	if (!deployment_write(r, err)) {
		return false;
	}
	struct str name = meta_name(o);
	return err_set(err, ERR_ALREADY_EXISTS, "replicasets.apps \"%.*s\" already exists", STR_ARG(name));
}

static bool fresh_create(struct rollout *r, int64_t revision, struct err *err) {
	struct value *o = fresh_make(r, revision);
	struct str name = meta_name(o);
	struct obj *made = NULL;
	bool taken = false;

	if (!client_create(r->c->frame->client, GVR_REPLICASETS, meta_ns(o), o, &made, err)) {
		taken = err->code == ERR_ALREADY_EXISTS;
		if (!taken) {
			if (!str_contains(str_c(err->msg), S("because it is being terminated"))) {
				struct err ignored = { 0 };
				struct str message = arena_printf(&r->arena, "Failed to create new replica set \"%.*s\": %s", STR_ARG(name), err->msg);
				if (has_deadline(r->d)) {
					condition_put(r, value_ensure_object(&r->arena, r->d, N_status), "Progressing", "False", "ReplicaSetCreateError", message);
					(void)!deployment_write(r, &ignored);
				}
				recorder_event(r->c->recorder, r->d, "Warning", "ReplicaSetCreateError", "%.*s", STR_ARG(message));
			}
			return false;
		}
		err_clear(err);
		if (!fresh_taken(r, o, &made, err)) {
			return false;
		}
	}
	r->fresh = arena_new(&r->arena, struct set);
	r->fresh->o = made;
	r->all = sets_with(r, &r->all, r->fresh);
	int64_t replicas = set_replicas(r->fresh);
	if (!taken && replicas > 0) {
		recorder_event(r->c->recorder, r->d, "Normal", "ScalingReplicaSet", "Scaled up replica set %.*s from 0 to %lld", STR_ARG(name),
			(long long)replicas);
	}
	bool write = annotation_put(&r->arena, r->d, REVISION, meta_annotation(made->root, REVISION));
	if (!taken && has_deadline(r->d)) {
		write = condition_put(r, value_ensure_object(&r->arena, r->d, N_status), "Progressing", "True", "NewReplicaSetCreated",
				arena_printf(&r->arena, "Created new replica set \"%.*s\"", STR_ARG(name))) ||
			write;
	}
	return !write || deployment_write(r, err);
}

static bool fresh_ensure(struct rollout *r, bool create, struct err *err) {
	int64_t revision = max_revision(&r->old) + 1;

	if (r->fresh) {
		return fresh_refresh(r, revision, err);
	}
	return !create || fresh_create(r, revision, err);
}

/* ---- status ---------------------------------------------------------------------------------------------------------------- */

static struct value *status_now(struct rollout *r) {
	struct arena *a = &r->arena;
	struct value *status = value_is(value_get(r->d, N_status), VALUE_OBJECT) ? value_copy(a, value_get(r->d, N_status)) : value_new_object(a);
	int64_t available = sum_status(&r->all, N_availableReplicas), total = sum_replicas(&r->all);

	set_int_omit(a, status, N_observedGeneration, value_int_at(r->d, N_metadata, N_generation));
	set_int_omit(a, status, N_replicas, sum_status(&r->all, N_replicas));
	set_int_omit(a, status, N_updatedReplicas, r->fresh ? set_status(r->fresh, N_replicas) : 0);
	set_int_omit(a, status, N_readyReplicas, sum_status(&r->all, N_readyReplicas));
	set_int_omit(a, status, N_availableReplicas, available);
	set_int_omit(a, status, N_unavailableReplicas, MAX(total - available, (int64_t)0));
	value_set_int(a, status, N_terminatingReplicas, sum_status(&r->all, N_terminatingReplicas));
	if (available >= replicas_of(r->d) - max_unavailable(r->d)) {
		condition_put(r, status, "Available", "True", "MinimumReplicasAvailable", S("Deployment has minimum availability."));
	} else {
		condition_put(r, status, "Available", "False", "MinimumReplicasUnavailable", S("Deployment does not have minimum availability."));
	}
	return status;
}

static bool status_write(struct rollout *r, struct value *status, struct err *err) {
	if (value_eq(status, value_get(r->d, N_status))) {
		return true;
	}
	value_set(&r->arena, r->d, N_status, status);
	return deployment_write(r, err);
}

/* "ReplicaSet "x" ..." once there is one, else "Deployment "d" ...". */
static struct str progress_message(struct rollout *r, const char *what) {
	struct str name = r->fresh ? meta_name(r->fresh->o->root) : meta_name(r->d);
	return arena_printf(&r->arena, "%s \"%.*s\" %s", r->fresh ? "ReplicaSet" : "Deployment", STR_ARG(name), what);
}

static bool is_complete(const struct value *d, const struct value *status) {
	int64_t want = replicas_of(d);
	return value_int_at(status, N_updatedReplicas) == want && value_int_at(status, N_replicas) == want &&
		value_int_at(status, N_availableReplicas) == want && value_int_at(status, N_observedGeneration) >= value_int_at(d, N_metadata, N_generation);
}

static bool has_progressed(const struct value *was, const struct value *is) {
	int64_t old_was = value_int_at(was, N_replicas) - value_int_at(was, N_updatedReplicas);
	int64_t old_is = value_int_at(is, N_replicas) - value_int_at(is, N_updatedReplicas);
	return value_int_at(is, N_updatedReplicas) > value_int_at(was, N_updatedReplicas) || old_is < old_was ||
		value_int_at(is, N_readyReplicas) > value_int_at(was, N_readyReplicas) ||
		value_int_at(is, N_availableReplicas) > value_int_at(was, N_availableReplicas);
}

static nsec_t deadline_left(const struct value *d, const struct value *condition) {
	return value_time(value_get(condition, N_lastUpdateTime)) + value_int_at(d, N_spec, N_progressDeadlineSeconds) * NSEC_PER_SEC - clock_wall();
}

static bool has_timed_out(const struct value *d, const struct value *status) {
	const struct value *c = progressing(status);
	if (!c || str_eqc(value_str_at(c, N_reason), "NewReplicaSetAvailable")) {
		return false;
	}
	return str_eqc(value_str_at(c, N_reason), "ProgressDeadlineExceeded") || deadline_left(d, c) < 0;
}

static void progress_put(struct rollout *r, struct value *status) {
	const struct value *was = progressing(value_get(r->d, N_status));

	if (!has_deadline(r->d)) {
		condition_remove(value_get(status, N_conditions), "Progressing");
		return;
	}
	if (value_int_at(status, N_replicas) == value_int_at(status, N_updatedReplicas) && str_eqc(value_str_at(was, N_reason), "NewReplicaSetAvailable")) {
		return; /* it was complete already: scaling is no rollout */
	}
	if (is_complete(r->d, status)) {
		condition_put(r, status, "Progressing", "True", "NewReplicaSetAvailable", progress_message(r, "has successfully progressed."));
	} else if (has_progressed(value_get(r->d, N_status), status)) {
		struct str since = arena_str(&r->arena, value_str_at(was, N_lastTransitionTime));
		bool keep = str_eqc(value_str_at(was, N_status), "True");
		condition_remove(value_get(status, N_conditions), "Progressing"); /* so that lastUpdateTime moves */
		condition_put(r, status, "Progressing", "True", "ReplicaSetUpdated", progress_message(r, "is progressing."));
		if (keep) {
			value_set_str(&r->arena, (struct value *)progressing(status), N_lastTransitionTime, since);
		}
	} else if (has_timed_out(r->d, status)) {
		condition_put(r, status, "Progressing", "False", "ProgressDeadlineExceeded", progress_message(r, "has timed out progressing."));
	}
}

static void failure_put(struct rollout *r, struct value *status) {
	const struct value *failure = r->fresh ? condition_find(value_at(r->fresh->o->root, N_status, N_conditions), "ReplicaFailure") : NULL;

	for (size_t i = 0; i < r->all.len && !failure; i++) {
		failure = condition_find(value_at(r->all.at[i]->o->root, N_status, N_conditions), "ReplicaFailure");
	}
	if (!failure) {
		condition_remove(value_get(status, N_conditions), "ReplicaFailure");
		return;
	}
	const char *reason = arena_cstr(&r->arena, value_str_at(failure, N_reason));
	const char *state = arena_cstr(&r->arena, value_str_at(failure, N_status));
	condition_put(r, status, "ReplicaFailure", state, reason, arena_str(&r->arena, value_str_at(failure, N_message)));
}

/* Comes back when the deadline for progress may have passed, since no event will say so. */
static void deadline_watch(struct rollout *r, const struct value *status) {
	const struct value *c = progressing(status);

	if (!has_deadline(r->d) || !c || is_complete(r->d, status) || str_eqc(value_str_at(c, N_reason), "ProgressDeadlineExceeded") ||
		str_eqc(value_str_at(c, N_reason), "NewReplicaSetAvailable")) {
		return;
	}
	nsec_t left = deadline_left(r->d, c);
	work_queue_add_after(r->c->queue, r->key, left < NSEC_PER_SEC ? NSEC_PER_SEC : left + NSEC_PER_SEC);
}

static bool rollout_status(struct rollout *r, struct err *err) {
	struct value *status = status_now(r);

	progress_put(r, status);
	failure_put(r, status);
	if (!status_write(r, status, err)) {
		return false;
	}
	deadline_watch(r, value_get(r->d, N_status));
	return true;
}

/* ---- steps ------------------------------------------------------------------------------------------------------------------- */

static bool cleanup(struct rollout *r, struct err *err) {
	const struct value *limit_value = value_at(r->d, N_spec, N_revisionHistoryLimit);
	int64_t limit = value_as_int_or(limit_value, 10);
	struct sets alive = { arena_array(&r->arena, struct set *, r->old.len), 0 };

	for (size_t i = 0; i < r->old.len; i++) {
		if (!meta_deleting(r->old.at[i]->o->root)) {
			alive.at[alive.len++] = r->old.at[i];
		}
	}
	if (limit == NO_LIMIT || (int64_t)alive.len <= limit) {
		return true;
	}
	sets_sort(&alive, by_revision);
	for (size_t i = 0; i < alive.len - (size_t)limit; i++) {
		const struct value *o = alive.at[i]->o->root;
		if (set_status(alive.at[i], N_replicas) != 0 || set_replicas(alive.at[i]) != 0 ||
			value_int_at(o, N_metadata, N_generation) > value_int_at(o, N_status, N_observedGeneration)) {
			continue;
		}
		if (!client_delete(r->c->frame->client, GVR_REPLICASETS, meta_ns(o), meta_name(o), err) && err->code != ERR_NOT_FOUND) {
			return false;
		}
	}
	return true;
}

/* Scales old sets down as far as availability allows: first what is not healthy anyway, then the oldest. */
static bool old_scale_down(struct rollout *r, bool *ret_scaled, struct err *err) {
	struct sets old = sets_active(r, &r->old);
	struct sets all = sets_with(r, &old, r->fresh);
	int64_t min_available = replicas_of(r->d) - max_unavailable(r->d);
	int64_t fresh_unavailable = set_replicas(r->fresh) - set_status(r->fresh, N_availableReplicas);
	int64_t most = sum_replicas(&r->all) - min_available - fresh_unavailable;

	*ret_scaled = false;
	if (sum_replicas(&old) == 0 || most <= 0) {
		return true;
	}
	sets_sort(&old, by_creation);
	int64_t total = 0;
	for (size_t i = 0; i < old.len && total < most; i++) {
		int64_t has = set_replicas(old.at[i]), available = set_status(old.at[i], N_availableReplicas);
		if (has == 0 || available >= has) {
			continue;
		}
		int64_t down = MIN(most - total, has - available);
		if (!set_scale(r, old.at[i], has - down, err)) {
			return false;
		}
		total += down;
	}
	int64_t spare = sum_status(&all, N_availableReplicas) - min_available, taken = 0;
	for (size_t i = 0; i < old.len && taken < spare; i++) {
		int64_t has = set_replicas(old.at[i]);
		int64_t down = MIN(has, spare - taken);
		if (has == 0) {
			continue;
		}
		if (!set_scale(r, old.at[i], has - down, err)) {
			return false;
		}
		taken += down;
	}
	*ret_scaled = total + taken > 0;
	return true;
}

static bool roll(struct rollout *r, struct err *err) {
	bool scaled = false;

	if (!fresh_ensure(r, true, err)) {
		return false;
	}
	int64_t has = set_replicas(r->fresh), want = replicas_of(r->d);
	if (has != want) {
		int64_t to = has > want ? want : fresh_replicas(r->d, sum_replicas(&r->all), has);
		if (to != has) {
			return set_scale(r, r->fresh, to, err) && rollout_status(r, err);
		}
	}
	if (!old_scale_down(r, &scaled, err)) {
		return false;
	}
	if (!scaled && is_complete(r->d, value_get(r->d, N_status)) && !cleanup(r, err)) {
		return false;
	}
	return rollout_status(r, err);
}

/* Whether a pod of an old template still runs. */
static bool old_pods_run(struct rollout *r) {
	bool run = sum_status(&r->old, N_replicas) > 0;

	for (size_t i = 0; i < r->old.len && !run; i++) {
		struct client_list pods;
		informer_index(r->c->pods->informer, index_owner(&r->arena, meta_uid(r->old.at[i]->o->root)), &pods);
		for (size_t p = 0; p < pods.len; p++) {
			run = run || !pod_is_finished(pods.at[p]->root);
		}
		client_list_release(&pods);
	}
	return run;
}

static bool recreate(struct rollout *r, struct err *err) {
	struct sets old = sets_active(r, &r->old);

	if (!fresh_ensure(r, false, err)) {
		return false;
	}
	if (old.len > 0) {
		for (size_t i = 0; i < old.len; i++) {
			if (!set_scale(r, old.at[i], 0, err)) {
				return false;
			}
		}
		return rollout_status(r, err);
	}
	if (old_pods_run(r)) {
		return rollout_status(r, err);
	}
	if (!r->fresh && !fresh_ensure(r, true, err)) {
		return false;
	}
	if (set_replicas(r->fresh) != replicas_of(r->d) && !set_scale(r, r->fresh, replicas_of(r->d), err)) {
		return false;
	}
	if (is_complete(r->d, value_get(r->d, N_status)) && !cleanup(r, err)) {
		return false;
	}
	return rollout_status(r, err);
}

/* ---- scaling in the middle of a rollout, or paused: every set keeps its share --------------------------------------------------- */

static bool annotation_int(const struct set *s, struct str key, int64_t *ret) {
	return str_to_i64(meta_annotation(s->o->root, key), ret);
}

static int64_t share(const struct rollout *r, const struct set *s) {
	int64_t has = set_replicas(s), before = 0;

	if (replicas_of(r->d) == 0) {
		return -has;
	}
	if (!annotation_int(s, MAX_REPLICAS, &before) || before == 0) {
		before = value_int_at(r->d, N_status, N_replicas);
		if (before == 0) {
			return 0;
		}
	}
	return (int64_t)round((double)(has * (replicas_of(r->d) + max_surge(r->d))) / (double)before) - has;
}

static int64_t proportion(const struct rollout *r, const struct set *s, int64_t to_add, int64_t added) {
	if (set_replicas(s) == 0 || to_add == added) {
		return 0;
	}
	return to_add > 0 ? MIN(share(r, s), to_add - added) : MAX(share(r, s), to_add - added);
}

static struct set *active_or_latest(struct rollout *r) {
	struct sets active = sets_active(r, &r->all);

	if (active.len == 1) {
		return active.at[0];
	}
	if (active.len > 1) {
		return NULL;
	}
	if (r->fresh || r->old.len == 0) {
		return r->fresh;
	}
	struct sets old = sets_with(r, &r->old, NULL);
	sets_sort(&old, by_creation);
	return old.at[old.len - 1];
}

static bool is_saturated(const struct rollout *r) {
	int64_t want = replicas_of(r->d), desired = 0;
	return r->fresh && annotation_int(r->fresh, DESIRED_REPLICAS, &desired) && desired == want && set_replicas(r->fresh) == want &&
		set_status(r->fresh, N_availableReplicas) == want;
}

static bool scale(struct rollout *r, struct err *err) {
	struct set *one = active_or_latest(r);

	if (one) {
		return set_replicas(one) == replicas_of(r->d) || set_scale(r, one, replicas_of(r->d), err);
	}
	if (is_saturated(r)) {
		struct sets old = sets_active(r, &r->old);
		for (size_t i = 0; i < old.len; i++) {
			if (!set_scale(r, old.at[i], 0, err)) {
				return false;
			}
		}
		return true;
	}
	if (!is_rolling(r->d)) {
		return true;
	}
	struct sets active = sets_active(r, &r->all);
	int64_t allowed = replicas_of(r->d) > 0 ? replicas_of(r->d) + max_surge(r->d) : 0;
	int64_t to_add = allowed - sum_replicas(&active), added = 0;
	int64_t *sizes = arena_array(&r->arena, int64_t, active.len);
	sets_sort(&active, to_add < 0 ? by_size_older : by_size_newer);
	for (size_t i = 0; i < active.len; i++) {
		int64_t more = to_add != 0 ? proportion(r, active.at[i], to_add, added) : 0;
		sizes[i] = set_replicas(active.at[i]) + more;
		added += more;
	}
	for (size_t i = 0; i < active.len; i++) {
		if (i == 0 && to_add != 0) {
			sizes[0] = MAX(sizes[0] + to_add - added, (int64_t)0); /* what rounding left over */
		}
		if (!set_scale(r, active.at[i], sizes[i], err)) {
			return false;
		}
	}
	return true;
}

static bool is_scaling(struct rollout *r) {
	struct sets active = sets_active(r, &r->all);

	for (size_t i = 0; i < active.len; i++) {
		int64_t desired;
		if (annotation_int(active.at[i], DESIRED_REPLICAS, &desired) && desired != replicas_of(r->d)) {
			return true;
		}
	}
	return false;
}

static bool scale_only(struct rollout *r, struct err *err) {
	if (!fresh_ensure(r, false, err) || !scale(r, err)) {
		return false;
	}
	if (value_bool_at(r->d, N_spec, N_paused) && !cleanup(r, err)) {
		return false;
	}
	return status_write(r, status_now(r), err);
}

/* A pause stops the clock of the deadline, a resume starts it anew. */
static bool paused_check(struct rollout *r, struct err *err) {
	const struct value *c = progressing(value_get(r->d, N_status));
	bool paused = value_bool_at(r->d, N_spec, N_paused), shown = str_eqc(value_str_at(c, N_reason), "DeploymentPaused");

	if (!has_deadline(r->d) || str_eqc(value_str_at(c, N_reason), "ProgressDeadlineExceeded") || paused == shown) {
		return true;
	}
	struct value *status = value_ensure_object(&r->arena, r->d, N_status);
	if (paused) {
		condition_put(r, status, "Progressing", "Unknown", "DeploymentPaused", S("Deployment is paused"));
	} else {
		condition_put(r, status, "Progressing", "Unknown", "DeploymentResumed", S("Deployment is resumed"));
	}
	return deployment_write(r, err);
}

static bool step(struct rollout *r, struct err *err) {
	sets_divide(r);
	if (meta_deleting(r->d)) {
		return status_write(r, status_now(r), err);
	}
	if (!paused_check(r, err)) {
		return false;
	}
	if (value_bool_at(r->d, N_spec, N_paused) || is_scaling(r)) {
		return scale_only(r, err);
	}
	return is_rolling(r->d) ? roll(r, err) : recreate(r, err);
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct deployments *c = arg;
	struct rollout r = { .c = c, .key = key };
	const struct selector *selector = NULL;
	struct pod_set sets = { 0 };
	struct str ns, name;
	bool ok = false;

	key_split(key, &ns, &name);
	auto_obj struct obj *d = informer_get(c->deployments->informer, ns, name);
	if (!d) {
		return true;
	}
	if (!selector_from_value(&r.arena, value_at(d->root, N_spec, N_selector), &selector, err)) {
		log_warn("deployment", "selector is invalid, left alone", kv_str("key", key), kv_err(err));
		arena_release(&r.arena);
		return true;
	}
	if (!selector) {
		recorder_event(c->recorder, d->root, "Warning", "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.");
		arena_release(&r.arena);
		return true;
	}
	r.d = value_copy(&r.arena, d->root);
	if (objects_claim(c->frame, c->sets, GVR_DEPLOYMENTS, d->root, selector, &sets, err)) {
		struct set *at = arena_array(&r.arena, struct set, sets.len);
		r.all.at = arena_array(&r.arena, struct set *, sets.len);
		for (size_t i = 0; i < sets.len; i++) {
			at[i].o = TAKE(sets.at[i]);
			r.all.at[r.all.len++] = &at[i];
		}
		sets.len = 0;
		pod_set_release(&sets);
		ok = step(&r, err);
		if (!ok && err->code == ERR_NOT_FOUND) {
			ok = true; /* deleted meanwhile: its event wakes the key if there is anything left to do */
		}
		for (size_t i = 0; i < r.all.len; i++) {
			obj_unref(r.all.at[i]->o);
		}
	}
	arena_release(&r.arena);
	return ok;
}

/* ---- what wakes a key --------------------------------------------------------------------------------------------------------------- */

static void deployment_changed(void *arg, struct obj *old, struct obj *now) {
	struct deployments *c = arg;
	auto_arena struct arena a = { 0 };

	work_queue_add(c->queue, meta_key(&a, now ? now->root : old->root));
}

static void wake_matching(struct deployments *c, const struct value *set) {
	struct client_list all;

	informer_list(c->deployments->informer, meta_ns(set), &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct selector *s = NULL;
		struct err err = { 0 };
		if (selector_from_value(&a, value_at(all.at[i]->root, N_spec, N_selector), &s, &err) && s && selector_matches(s, meta_labels(set))) {
			work_queue_add(c->queue, meta_key(&a, all.at[i]->root));
		}
	}
	client_list_release(&all);
}

static void set_changed(void *arg, struct obj *old, struct obj *now) {
	struct deployments *c = arg;
	auto_arena struct arena a = { 0 };
	struct str before = old ? controller_key(&a, c->deployments, "apps", "Deployment", old->root) : S("");
	struct str after = now ? controller_key(&a, c->deployments, "apps", "Deployment", now->root) : S("");

	if (before.len && !str_eq(before, after)) {
		work_queue_add(c->queue, before);
	}
	if (after.len) {
		work_queue_add(c->queue, after);
	} else if (now && !meta_controller(now->root) &&
		(!old || meta_controller(old->root) || !value_eq(meta_labels(old->root), meta_labels(now->root)))) {
		wake_matching(c, now->root);
	}
}

/* Recreate waits for the last old pod to go. */
static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct deployments *c = arg;
	auto_arena struct arena a = { 0 };
	bool ended = !now || (old && pod_is_finished(now->root) && !pod_is_finished(old->root));

	if (!ended) {
		return;
	}
	const struct value *ref = meta_controller(old->root);
	if (!ref || !str_eqc(value_str_at(ref, N_kind), "ReplicaSet")) {
		return;
	}
	auto_obj struct obj *set = informer_get(c->sets->informer, meta_ns(old->root), value_str_at(ref, N_name));
	if (!set) {
		return;
	}
	struct str key = controller_key(&a, c->deployments, "apps", "Deployment", set->root);
	struct str ns, name;
	key_split(key, &ns, &name);
	auto_obj struct obj *d = key.len ? informer_get(c->deployments->informer, ns, name) : NULL;
	if (d && !is_rolling(d->root)) {
		work_queue_add(c->queue, key);
	}
}

static void *make(struct frame *f) {
	struct deployments *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->recorder = recorder_new(f->client, "deployment-controller", NULL);
	c->queue = frame_queue(f, "deployment", WORKERS, sync, c);
	c->deployments = frame_watch(f, GVR_DEPLOYMENTS, deployment_changed, c);
	c->sets = frame_watch(f, GVR_REPLICASETS, set_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct deployments *c = controller;

	recorder_free(c->recorder);
	free(c);
}

const struct controller_ops deployment_controller = { .name = "deployment", .make = make, .free = destroy };
