/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_set.c - one pod on every node that suits.
 *
 * One pass: keep the history of templates (ControllerRevisions), find out which nodes should have a pod, make and delete pods so
 * that each has one, replace pods of an old template as the strategy allows, write the status. Pods are made with an affinity to
 * their one node and bound by the scheduler. Handlers on the loop, passes on pool threads; the back-off of failed pods stands under a lock.
 */
#include <pthread.h>

#include "client/placement.h"
#include "base/log.h"
#include "controllers/history.h"

#define WORKERS 2
#define BURST 250 /* pods made or deleted in one step */
#define AT_ONCE 16
#define FAILED_FIRST NSEC_PER_SEC
#define FAILED_MAX (900 * NSEC_PER_SEC)
#define NO_LIMIT INT32_MAX

struct daemon_sets {
	struct frame *frame;
	struct shared *sets, *pods, *nodes, *revisions;
	struct work_queue *queue;
	struct expectations *expectations;
	struct recorder *recorder;
	pthread_mutex_t lock;
	struct map failed; /* "uid/node" -> struct failed; under the lock */
};

struct failed { /* pods that failed on a node: how long not to try again */
	nsec_t since, wait;
};

/* A node and what it has of the set's pods, the oldest first. */
struct place {
	const struct value *node; /* NULL: the node is gone */
	struct str name;
	struct obj **pods; /* part of the pass's pods */
	size_t len;
	bool should_run, may_stay;
};

struct pass {
	struct daemon_sets *c;
	struct str key;
	struct arena arena;
	const struct value *set;
	struct pod_set pods, revisions;
	struct client_list nodes;
	struct place *places;
	size_t places_len;
	struct str hash; /* of the template now */
	int64_t collisions;
	nsec_t now;
	/* what this step will do */
	struct str *create; /* names of nodes */
	const struct value **remove;
	size_t create_len, remove_len;
	nsec_t wait; /* come back after; 0: no need */
};

/* ---- which nodes -------------------------------------------------------------------------------------------------------- */

/* What every daemon's pod tolerates, so that it stays on a node in trouble. */
static const struct {
	const char *key, *effect;
	bool host_network; /* only pods on the host's network */
} own_tolerations[] = {
	{ "node.kubernetes.io/not-ready", "NoExecute", false },
	{ "node.kubernetes.io/unreachable", "NoExecute", false },
	{ "node.kubernetes.io/disk-pressure", "NoSchedule", false },
	{ "node.kubernetes.io/memory-pressure", "NoSchedule", false },
	{ "node.kubernetes.io/pid-pressure", "NoSchedule", false },
	{ "node.kubernetes.io/unschedulable", "NoSchedule", false },
	{ "node.kubernetes.io/network-unavailable", "NoSchedule", true },
};

static struct value *tolerations_of(struct arena *a, const struct value *spec) {
	struct value *all = value_copy(a, value_get(spec, N_tolerations));

	all = value_is(all, VALUE_ARRAY) ? all : value_new_array(a);
	for (size_t i = 0; i < ARRAY_LEN(own_tolerations); i++) {
		struct value *t = value_new_object(a);
		bool there = false;
		if (own_tolerations[i].host_network && !value_bool_at(spec, N_hostNetwork)) {
			continue;
		}
		value_set_str(a, t, N_key, str_c(own_tolerations[i].key));
		value_set_str(a, t, N_operator, S("Exists"));
		value_set_str(a, t, N_effect, str_c(own_tolerations[i].effect));
		VALUE_EACH(all, is) {
			there = there || value_eq(is, t);
		}
		if (!there) {
			value_push(a, all, t);
		}
	}
	return all;
}

/* Whether a pod should be made there, and whether one that is there may stay. */
static void place_judge(struct pass *p, struct place *at, const struct value *tolerations) {
	const struct value *spec = value_at(p->set, N_spec, N_template, N_spec);
	struct str name = value_str_at(spec, N_nodeName);

	if (!at->node || (name.len && !str_eq(name, at->name)) || !pod_wants_node(spec, at->node)) {
		return;
	}
	at->should_run = at->may_stay = true;
	VALUE_EACH(value_at(at->node, N_spec, N_taints), taint) {
		struct str effect = value_str_at(taint, N_effect);
		if (!str_eqc(effect, "PreferNoSchedule") && !tolerations_tolerate(tolerations, taint)) {
			at->should_run = false;
			at->may_stay = at->may_stay && !str_eqc(effect, "NoExecute");
		}
	}
}

/* The node that a pod is on or is meant for. */
static struct str target_node(const struct value *pod) {
	struct str bound = value_str_at(pod, N_spec, N_nodeName);
	const struct value *required = value_at(pod, N_spec, N_affinity, N_nodeAffinity, N_requiredDuringSchedulingIgnoredDuringExecution);

	if (bound.len) {
		return bound;
	}
	VALUE_EACH(value_get(required, N_nodeSelectorTerms), term) {
		VALUE_EACH(value_get(term, N_matchFields), e) {
			if (str_eqc(value_str_at(e, N_key), "metadata.name") && str_eqc(value_str_at(e, N_operator), "In") && value_len(value_get(e, N_values)) == 1) {
				return value_as_str(value_item(value_get(e, N_values), 0));
			}
		}
	}
	return S("");
}

static int by_node_and_age(const void *pa, const void *pb) {
	const struct value *a = (*(struct obj *const *)pa)->root, *b = (*(struct obj *const *)pb)->root;
	int c = str_cmp(target_node(a), target_node(b));
	bool bound_a = value_str_at(a, N_spec, N_nodeName).len > 0, bound_b = value_str_at(b, N_spec, N_nodeName).len > 0;
	nsec_t ta = value_time(value_at(a, N_metadata, N_creationTimestamp)), tb = value_time(value_at(b, N_metadata, N_creationTimestamp));

	if (c) {
		return c;
	}
	if (bound_a != bound_b) {
		return bound_a ? -1 : 1;
	}
	return ta != tb ? (ta > tb) - (ta < tb) : str_cmp(meta_name(a), meta_name(b));
}

static int by_name(const void *pa, const void *pb) {
	return str_cmp(((const struct place *)pa)->name, ((const struct place *)pb)->name);
}

/* Every node, and every node that is gone but has pods. */
static void places_find(struct pass *p) {
	const struct value *tolerations = tolerations_of(&p->arena, value_at(p->set, N_spec, N_template, N_spec));

	p->places = arena_array(&p->arena, struct place, p->nodes.len + p->pods.len);
	for (size_t i = 0; i < p->nodes.len; i++) {
		const struct value *node = p->nodes.at[i]->root;
		p->places[p->places_len++] = (struct place){ .node = node, .name = meta_name(node) };
	}
	if (p->places_len > 1) {
		qsort(p->places, p->places_len, sizeof(*p->places), by_name);
	}
	if (p->pods.len > 1) {
		qsort(p->pods.at, p->pods.len, sizeof(*p->pods.at), by_node_and_age);
	}
	size_t nodes = p->places_len;
	for (size_t from = 0, to; from < p->pods.len; from = to) {
		struct place key = { .name = target_node(p->pods.at[from]->root) };
		for (to = from + 1; to < p->pods.len && str_eq(target_node(p->pods.at[to]->root), key.name); to++) {
		}
		struct place *at = nodes ? bsearch(&key, p->places, nodes, sizeof(*p->places), by_name) : NULL;
		if (!at) {
			at = &p->places[p->places_len++];
			*at = key;
		}
		at->pods = p->pods.at + from;
		at->len = to - from;
	}
	for (size_t i = 0; i < p->places_len; i++) {
		place_judge(p, &p->places[i], tolerations);
	}
}

/* ---- making and deleting ---------------------------------------------------------------------------------------------- */

static struct value *pod_make(struct pass *p, struct arena *a, struct str node) {
	struct value *pod = pod_from_template(a, value_at(p->set, N_spec, N_template), p->set);
	struct value *labels = value_ensure_object(a, value_get(pod, N_metadata), N_labels), *spec = value_get(pod, N_spec);
	struct str generation = meta_annotation(p->set, S("deprecated.daemonset.template.generation"));

	value_set_key_str(a, labels, REVISION_LABEL, p->hash);
	if (generation.len) {
		value_set_key_str(a, labels, S("pod-template-generation"), generation);
	}
	value_set(a, spec, N_tolerations, tolerations_of(a, spec));
	struct value *affinity = value_set(a, spec, N_affinity, value_shallow(a, value_get(spec, N_affinity)));
	struct value *of_node = value_set(a, affinity, N_nodeAffinity, value_shallow(a, value_get(affinity, N_nodeAffinity)));
	struct value *required = value_set(a, of_node, N_requiredDuringSchedulingIgnoredDuringExecution, value_new_object(a));
	struct value *term = value_push(a, value_set(a, required, N_nodeSelectorTerms, value_new_array(a)), value_new_object(a));
	struct value *e = value_push(a, value_set(a, term, N_matchFields, value_new_array(a)), value_new_object(a));
	value_set_str(a, e, N_key, S("metadata.name"));
	value_set_str(a, e, N_operator, S("In"));
	value_push_str(a, value_set(a, e, N_values, value_new_array(a)), node);
	return pod;
}

static bool create_one(void *arg, size_t i, struct err *err) {
	struct pass *p = arg;
	auto_arena struct arena a = { 0 };

	return pod_create(p->c->frame, p->c->recorder, p->set, pod_make(p, &a, p->create[i]), err);
}

static bool remove_one(void *arg, size_t i, struct err *err) {
	struct pass *p = arg;

	bool ok = pod_delete(p->c->frame, p->c->recorder, p->set, p->remove[i], err);
	if (err->code != ERR_NONE) { /* failed, or gone already: its end may have been seen before we expected it */
		expectations_deleted(p->c->expectations, p->key, meta_uid(p->remove[i]));
	}
	return ok;
}

static void will_create(struct pass *p, const struct place *at) {
	p->create[p->create_len++] = at->name;
}
static void will_remove(struct pass *p, const struct value *pod) {
	p->remove[p->remove_len++] = pod;
}

/* Does what was collected, and empties it. */
static bool act(struct pass *p, struct err *err) {
	size_t create = MIN(p->create_len, (size_t)BURST), remove = MIN(p->remove_len, (size_t)BURST);
	struct str *uids = arena_array(&p->arena, struct str, remove);

	if (create + remove == 0) {
		return true;
	}
	for (size_t i = 0; i < remove; i++) {
		uids[i] = meta_uid(p->remove[i]);
	}
	expectations_expect(p->c->expectations, p->key, (int)create, uids, remove);
	struct err first = { 0 };
	size_t made = frame_slow_start(create, create_one, p, &first);
	for (size_t i = made; i < create; i++) {
		expectations_created(p->c->expectations, p->key); /* it will not be seen */
	}
	bool ends = first.code == ERR_FORBIDDEN && str_contains(str_c(first.msg), S("because it is being terminated"));
	bool removed = frame_parallel(remove, AT_ONCE, remove_one, p, err) == remove;
	p->create_len = p->remove_len = 0;
	if (made < create && !ends) {
		*err = first;
		return false;
	}
	return removed;
}

/* ---- one pod a node --------------------------------------------------------------------------------------------------- */

static bool is_updated(const struct pass *p, const struct value *pod) {
	return str_eq(meta_label(pod, REVISION_LABEL), p->hash);
}

static int64_t min_ready(const struct pass *p) {
	return value_int_at(p->set, N_spec, N_minReadySeconds);
}

static bool is_available(struct pass *p, const struct value *pod) {
	return pod_is_available(pod, min_ready(p), p->now, &p->wait);
}

static int64_t nodes_wanted(const struct pass *p) {
	int64_t n = 0;

	for (size_t i = 0; i < p->places_len; i++) {
		n += p->places[i].should_run;
	}
	return n;
}

static int64_t max_surge(const struct pass *p) {
	if (!str_eqc(value_str_at(p->set, N_spec, N_updateStrategy, N_type), "RollingUpdate")) {
		return 0;
	}
	return int_or_percent(value_at(p->set, N_spec, N_updateStrategy, N_rollingUpdate, N_maxSurge), nodes_wanted(p), true);
}

static int64_t max_unavailable(const struct pass *p) {
	const struct value *v = value_at(p->set, N_spec, N_updateStrategy, N_rollingUpdate, N_maxUnavailable);
	int64_t n = v ? int_or_percent(v, nodes_wanted(p), true) : 1;

	return n == 0 && max_surge(p) == 0 ? 1 : n;
}

/* A pod that fails at once on its node is not replaced at full speed. True: wait. */
static bool failed_wait(struct pass *p, struct str node) {
	struct str uid = meta_uid(p->set);
	struct str key = arena_printf(&p->arena, "%.*s/%.*s", STR_ARG(uid), STR_ARG(node));
	nsec_t now = clock_mono(), left = 0;

	pthread_mutex_lock(&p->c->lock);
	struct failed *f = map_get(&p->c->failed, key);
	if (f && now - f->since < f->wait) {
		left = f->since + f->wait - now;
	} else {
		if (!f) {
			f = xcalloc(1, sizeof(*f));
			map_set(&p->c->failed, key, f);
		}
		bool quiet = now - f->since > 2 * FAILED_MAX;
		f->wait = f->wait && !quiet ? MIN(2 * f->wait, FAILED_MAX) : FAILED_FIRST;
		f->since = now;
	}
	pthread_mutex_unlock(&p->c->lock);
	if (left > 0) {
		p->wait = p->wait ? MIN(p->wait, left) : left;
	}
	return left > 0;
}

static void failed_forget(struct daemon_sets *c, struct str uid) {
	auto_arena struct arena a = { 0 };
	struct str prefix = arena_printf(&a, "%.*s/", STR_ARG(uid));

	pthread_mutex_lock(&c->lock);
	MAP_EACH(&c->failed, e) {
		if (str_starts(e->key, prefix)) {
			free(map_remove(&c->failed, e->key));
		}
	}
	pthread_mutex_unlock(&c->lock);
}

/* Drops ended pods, counts the others into `ret` (room for at->len). */
static size_t running(struct pass *p, const struct place *at, const struct value **ret) {
	struct str ns = meta_ns(p->set);
	size_t n = 0;

	for (size_t i = 0; i < at->len; i++) {
		const struct value *pod = at->pods[i]->root;
		struct str phase = value_str_at(pod, N_status, N_phase), name = meta_name(pod);
		if (meta_deleting(pod)) {
			continue;
		}
		if (str_eqc(phase, "Failed")) {
			if (!failed_wait(p, at->name)) {
				recorder_event(p->c->recorder, p->set, "Warning", "FailedDaemonPod",
					"Found failed daemon pod %.*s/%.*s on node %.*s, will try to kill it", STR_ARG(ns), STR_ARG(name), STR_ARG(at->name));
				will_remove(p, pod);
			}
		} else if (str_eqc(phase, "Succeeded")) {
			recorder_event(p->c->recorder, p->set, "Normal", "SucceededDaemonPod",
				"Found succeeded daemon pod %.*s/%.*s on node %.*s, will try to delete it", STR_ARG(ns), STR_ARG(name), STR_ARG(at->name));
			will_remove(p, pod);
		} else {
			ret[n++] = pod;
		}
	}
	return n;
}

/* With surge two may run: an old one that is available, and a new one that is not yet. */
static void thin_surged(struct pass *p, const struct value **pods, size_t n) {
	const struct value *old = NULL, *fresh = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct value **first = is_updated(p, pods[i]) ? &fresh : &old;
		if (*first) {
			will_remove(p, pods[i]);
		} else {
			*first = pods[i];
		}
	}
	if (old && fresh) {
		if (!is_available(p, old) || is_available(p, fresh)) {
			will_remove(p, old);
		}
	}
}

static void place_manage(struct pass *p, const struct place *at) {
	const struct value **pods = arena_array(&p->arena, const struct value *, at->len);

	if (!at->node) {
		for (size_t i = 0; i < at->len; i++) { /* those that are bound are the pod collector's */
			const struct value *pod = at->pods[i]->root;
			if (!value_str_at(pod, N_spec, N_nodeName).len && !meta_deleting(pod)) {
				will_remove(p, pod);
			}
		}
	} else if (at->should_run && at->len == 0) {
		will_create(p, at);
	} else if (at->may_stay) {
		size_t n = running(p, at, pods);
		if (max_surge(p) > 0) {
			if (n == 0 && at->should_run) {
				will_create(p, at);
			} else if (n > 1) {
				thin_surged(p, pods, n);
			}
			return;
		}
		for (size_t i = 1; i < n; i++) {
			will_remove(p, pods[i]);
		}
	} else {
		for (size_t i = 0; i < at->len; i++) {
			if (!meta_deleting(at->pods[i]->root)) {
				will_remove(p, at->pods[i]->root);
			}
		}
	}
}

static bool manage(struct pass *p, bool *ret_quiet, struct err *err) {
	for (size_t i = 0; i < p->places_len; i++) {
		place_manage(p, &p->places[i]);
	}
	*ret_quiet = p->create_len + p->remove_len == 0;
	return act(p, err);
}

/* ---- rolling update ------------------------------------------------------------------------------------------------------ */

/* The one pod of the old and of the new template; false: there are more, managing comes first. */
static bool pods_split(const struct pass *p, const struct place *at, const struct value **ret_old, const struct value **ret_new) {
	*ret_old = *ret_new = NULL;
	for (size_t i = 0; i < at->len; i++) {
		const struct value *pod = at->pods[i]->root;
		const struct value **is = is_updated(p, pod) ? ret_new : ret_old;
		if (meta_deleting(pod)) {
			continue;
		}
		if (*is) {
			return false;
		}
		*is = pod;
	}
	return true;
}

static void roll_in_place(struct pass *p) {
	const struct value **candidates = arena_array(&p->arena, const struct value *, p->places_len);
	int64_t unavailable = 0, most = max_unavailable(p);
	size_t n = 0;

	for (size_t i = 0; i < p->places_len; i++) {
		const struct value *old, *fresh;
		if (p->places[i].len == 0) {
			continue;
		}
		if (!pods_split(p, &p->places[i], &old, &fresh) || !old == !fresh) {
			unavailable++; /* a pod is on its way out or in */
		} else if (fresh) {
			unavailable += !is_available(p, fresh);
		} else if (!is_available(p, old)) {
			will_remove(p, old); /* nobody misses it */
			unavailable++;
		} else {
			candidates[n++] = old;
		}
	}
	for (size_t i = 0; i < n && unavailable < most; i++, unavailable++) {
		will_remove(p, candidates[i]);
	}
}

static void roll_surging(struct pass *p) {
	const struct place **candidates = arena_array(&p->arena, const struct place *, p->places_len);
	int64_t surged = 0, most = max_surge(p);
	size_t n = 0;

	for (size_t i = 0; i < p->places_len; i++) {
		const struct place *at = &p->places[i];
		const struct value *old, *fresh;
		if (at->len == 0) {
			continue;
		}
		if (!pods_split(p, at, &old, &fresh)) {
			surged++;
		} else if (old && !fresh && at->should_run) {
			if (is_available(p, old)) {
				candidates[n++] = at;
			} else {
				will_create(p, at);
			}
		} else if (old && fresh) {
			if (is_available(p, fresh)) {
				will_remove(p, old);
			} else {
				surged++;
			}
		}
	}
	for (size_t i = 0; i < n && surged < most; i++, surged++) {
		will_create(p, candidates[i]);
	}
}

static bool roll(struct pass *p, struct err *err) {
	if (str_eqc(value_str_at(p->set, N_spec, N_updateStrategy, N_type), "OnDelete")) {
		return true;
	}
	if (max_surge(p) > 0) {
		roll_surging(p);
	} else {
		roll_in_place(p);
	}
	return act(p, err);
}

/* ---- history --------------------------------------------------------------------------------------------------------------- */

static struct str revision_hash(const struct obj *revision) {
	struct str label = meta_label(revision->root, REVISION_LABEL);

	return label.len ? label : meta_name(revision->root);
}

/* Two revisions can hold one template (one made by hand): pods of the other one are of ours all the same, and are told so. */
static bool pods_relabel(struct pass *p, const struct value *data, struct err *err) {
	for (size_t i = 0; i < p->pods.len; i++) {
		struct obj *pod = p->pods.at[i], *now = NULL;
		struct str hash = meta_label(pod->root, REVISION_LABEL);
		bool same = false;
		if (str_eq(hash, p->hash) || meta_deleting(pod->root)) {
			continue;
		}
		for (size_t r = 0; r < p->revisions.len && !same; r++) {
			same = str_eq(revision_hash(p->revisions.at[r]), hash) && value_eq(value_get(p->revisions.at[r]->root, N_data), data);
		}
		if (!same) {
			continue;
		}
		struct value *patch = value_new_object(&p->arena), *meta = value_set(&p->arena, patch, N_metadata, value_new_object(&p->arena));
		value_set_key_str(&p->arena, value_set(&p->arena, meta, N_labels, value_new_object(&p->arena)), REVISION_LABEL, p->hash);
		if (client_patch(p->c->frame->client, GVR_PODS, meta_ns(pod->root), meta_name(pod->root), S(""), PATCH_MERGE, patch, &now, err)) {
			obj_unref(pod);
			p->pods.at[i] = now;
		} else if (err->code != ERR_NOT_FOUND) {
			return false;
		}
	}
	return true;
}

static bool history_keep(struct pass *p, struct err *err) {
	struct value *data = history_data(&p->arena, p->set);
	int64_t highest = 0;
	auto_obj struct obj *now = NULL;

	history_sort(&p->revisions);
	struct obj *current = history_find(&p->revisions, data);
	for (size_t i = 0; i < p->revisions.len; i++) {
		if (p->revisions.at[i] != current) {
			highest = MAX(highest, history_number(p->revisions.at[i]));
		}
	}
	if (!current) {
		if (!history_create(p->c->frame, p->set, REVISION_LABEL, data, highest + 1, &p->collisions, &now, err)) {
			return false;
		}
	} else if (history_number(current) <= highest) {
		if (!history_renumber(p->c->frame, current, highest + 1, &now, err)) {
			return false;
		}
	} else {
		now = obj_ref(current);
	}
	p->hash = arena_str(&p->arena, revision_hash(now));
	return pods_relabel(p, data, err);
}

/* Whether some pod is of this revision. */
static bool is_live(const struct pass *p, const struct obj *revision) {
	for (size_t i = 0; i < p->pods.len; i++) {
		if (str_eq(meta_label(p->pods.at[i]->root, REVISION_LABEL), revision_hash(revision))) {
			return true;
		}
	}
	return false;
}

static bool history_cut(struct pass *p, struct err *err) {
	int64_t limit = value_as_int_or(value_at(p->set, N_spec, N_revisionHistoryLimit), 10), old = 0;

	for (size_t i = 0; i < p->revisions.len; i++) {
		old += !str_eq(revision_hash(p->revisions.at[i]), p->hash);
	}
	for (size_t i = 0; i < p->revisions.len && old > limit && limit != NO_LIMIT; i++) {
		struct obj *r = p->revisions.at[i];
		if (str_eq(revision_hash(r), p->hash) || is_live(p, r)) {
			continue;
		}
		if (!history_delete(p->c->frame, r, err)) {
			return false;
		}
		old--;
	}
	return true;
}

/* ---- status ------------------------------------------------------------------------------------------------------------------ */

static bool status_write(struct pass *p, bool observed, struct err *err) {
	int64_t desired = 0, current = 0, misscheduled = 0, ready = 0, available = 0, updated = 0;
	struct arena *a = &p->arena;

	for (size_t i = 0; i < p->places_len; i++) {
		const struct place *at = &p->places[i];
		if (!at->node) {
			continue;
		}
		if (!at->should_run) {
			misscheduled += at->len > 0;
			continue;
		}
		desired++;
		if (at->len == 0) {
			continue;
		}
		const struct value *pod = at->pods[0]->root;
		current++;
		ready += pod_is_ready(pod);
		available += is_available(p, pod);
		updated += is_updated(p, pod);
	}
	struct value *o = object_edit(a, p->set), *status = value_ensure_object(a, o, N_status);
	value_set_int(a, status, N_currentNumberScheduled, current);
	value_set_int(a, status, N_numberMisscheduled, misscheduled);
	value_set_int(a, status, N_desiredNumberScheduled, desired);
	value_set_int(a, status, N_numberReady, ready);
	set_int_omit(a, status, N_updatedNumberScheduled, updated);
	set_int_omit(a, status, N_numberAvailable, available);
	set_int_omit(a, status, N_numberUnavailable, desired - available);
	if (observed) {
		set_int_omit(a, status, N_observedGeneration, value_int_at(p->set, N_metadata, N_generation));
	}
	if (p->collisions != value_int_at(p->set, N_status, N_collisionCount)) {
		value_set_int(a, status, N_collisionCount, p->collisions);
	}
	if (value_eq(status, value_get(p->set, N_status))) {
		return true;
	}
	return client_update_status(p->c->frame->client, GVR_DAEMONSETS, meta_ns(p->set), o, NULL, err) || err->code == ERR_NOT_FOUND;
}

/* ---- one pass ------------------------------------------------------------------------------------------------------------------ */

static bool step(struct pass *p, bool seen, struct err *err) {
	bool ok = true, quiet = true;

	if (!history_keep(p, err)) {
		return false;
	}
	places_find(p);
	p->create = arena_array(&p->arena, struct str, p->places_len);
	p->remove = arena_array(&p->arena, const struct value *, p->pods.len);
	if (seen) {
		/* what managing changed is not in our pods: the next pass, which it wakes, goes on from there */
		ok = manage(p, &quiet, err) && (!quiet || roll(p, err)) && history_cut(p, err);
	}
	struct err second = { 0 };
	bool written = status_write(p, seen, &second);
	if (ok && !written) {
		*err = second;
	}
	if (p->wait > 0) {
		work_queue_add_after(p->c->queue, p->key, p->wait + NSEC_PER_MSEC);
	}
	return ok && written;
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct daemon_sets *c = arg;
	struct pass p = { .c = c, .key = key, .now = clock_wall() };
	const struct selector *selector = NULL;
	struct str ns, name;
	bool ok = false;

	key_split(key, &ns, &name);
	auto_obj struct obj *set = informer_get(c->sets->informer, ns, name);
	if (!set) {
		expectations_forget(c->expectations, key);
		return true;
	}
	if (meta_deleting(set->root)) {
		return true;
	}
	bool seen = expectations_seen(c->expectations, key);
	p.set = set->root;
	p.collisions = value_int_at(set->root, N_status, N_collisionCount);
	if (!selector_from_value(&p.arena, value_at(set->root, N_spec, N_selector), &selector, err)) {
		log_warn("daemonset", "selector is invalid, left alone", kv_str("key", key), kv_err(err));
		arena_release(&p.arena);
		return true;
	}
	if (!selector) {
		recorder_event(c->recorder, set->root, "Warning", "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.");
		arena_release(&p.arena);
		return true;
	}
	informer_list(c->nodes->informer, S(""), &p.nodes);
	if (objects_claim(c->frame, c->revisions, GVR_DAEMONSETS, set->root, selector, &p.revisions, err) &&
		pods_claim(c->frame, c->pods, GVR_DAEMONSETS, set->root, selector, &p.pods, err)) {
		ok = step(&p, seen, err);
	}
	pod_set_release(&p.pods);
	pod_set_release(&p.revisions);
	client_list_release(&p.nodes);
	arena_release(&p.arena);
	return ok;
}

/* ---- what wakes a key ----------------------------------------------------------------------------------------------------------- */

static void set_changed(void *arg, struct obj *old, struct obj *now) {
	struct daemon_sets *c = arg;
	auto_arena struct arena a = { 0 };
	struct str key = meta_key(&a, now ? now->root : old->root);

	if (old && (!now || !str_eq(meta_uid(old->root), meta_uid(now->root)))) {
		expectations_forget(c->expectations, key);
		failed_forget(c, meta_uid(old->root));
	}
	work_queue_add(c->queue, key);
}

static void wake_matching(struct daemon_sets *c, const struct value *o) {
	struct client_list all;

	informer_list(c->sets->informer, meta_ns(o), &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		const struct selector *s = NULL;
		struct err err = { 0 };
		if (selector_from_value(&a, value_at(all.at[i]->root, N_spec, N_selector), &s, &err) && s && selector_matches(s, meta_labels(o))) {
			work_queue_add(c->queue, meta_key(&a, all.at[i]->root));
		}
	}
	client_list_release(&all);
}

/* Of a pod or a revision. */
static void dependent_changed(struct daemon_sets *c, struct obj *old, struct obj *now) {
	auto_arena struct arena a = { 0 };
	struct str before = old ? controller_key(&a, c->sets, "apps", "DaemonSet", old->root) : S("");
	struct str after = now ? controller_key(&a, c->sets, "apps", "DaemonSet", now->root) : S("");

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

static void pod_changed(void *arg, struct obj *old, struct obj *now) {
	struct daemon_sets *c = arg;
	auto_arena struct arena a = { 0 };
	struct str key = controller_key(&a, c->sets, "apps", "DaemonSet", now ? now->root : old->root);

	if (key.len && (!now || meta_deleting(now->root))) {
		expectations_deleted(c->expectations, key, meta_uid(now ? now->root : old->root));
	}
	if (key.len && !old) {
		expectations_created(c->expectations, key);
	}
	dependent_changed(c, old, now);
}

/* One that comes with its owner was made by us or by hand: neither is a reason to look at the set again. */
static void revision_changed(void *arg, struct obj *old, struct obj *now) {
	if (!now || !meta_controller(now->root)) {
		dependent_changed(arg, old, now);
	}
}

static void node_changed(void *arg, struct obj *old, struct obj *now) {
	struct daemon_sets *c = arg;
	struct client_list all;

	if (old && now && value_eq(meta_labels(old->root), meta_labels(now->root)) &&
		value_eq(value_at(old->root, N_spec, N_taints), value_at(now->root, N_spec, N_taints))) {
		return; /* a heartbeat */
	}
	if (!c->sets->informer) {
		return; /* at start-up every set is woken anyway */
	}
	informer_list(c->sets->informer, S(""), &all);
	for (size_t i = 0; i < all.len; i++) {
		auto_arena struct arena a = { 0 };
		work_queue_add(c->queue, meta_key(&a, all.at[i]->root));
	}
	client_list_release(&all);
}

static void *make(struct frame *f) {
	struct daemon_sets *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	pthread_mutex_init(&c->lock, NULL);
	c->expectations = expectations_new();
	c->recorder = recorder_new(f->client, "daemonset-controller", NULL);
	c->queue = frame_queue(f, "daemonset", WORKERS, sync, c);
	c->sets = frame_watch(f, GVR_DAEMONSETS, set_changed, c);
	c->revisions = frame_watch(f, GVR_CONTROLLERREVISIONS, revision_changed, c);
	c->pods = frame_watch(f, GVR_PODS, pod_changed, c);
	c->nodes = frame_watch(f, GVR_NODES, node_changed, c);
	return c;
}

static void destroy(void *controller) {
	struct daemon_sets *c = controller;

	MAP_EACH(&c->failed, e) {
		free(e->value);
	}
	map_release(&c->failed);
	pthread_mutex_destroy(&c->lock);
	recorder_free(c->recorder);
	expectations_free(c->expectations);
	free(c);
}

const struct controller_ops daemon_set_controller = { .name = "daemonset", .make = make, .free = destroy };
