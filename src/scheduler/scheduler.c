/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.c - watches pods and nodes, decides one pod after the other, binds in the background.
 *
 * Everything here runs on the scheduler's loop: informers feed the cache and the queue, a turn of the loop takes
 * pods off the queue and decides. A decision is assumed in the cache at once; the call that binds
 * (and the ones that report a failure or end victims) runs on a pool thread with copies of its own.
 */
#include "scheduler/scheduler.h"

#include <semaphore.h>

#include "base/log.h"
#include "client/informer.h"
#include "client/leader.h"
#include "client/recorder.h"
#include "scheduler/cycle.h"

#define TURN_NS (5 * NSEC_PER_MSEC) /* then other things on the loop get their time */
#define BINDINGS_MAX 64

enum watched { WATCHED_PODS, WATCHED_NODES, WATCHED_NAMESPACES, WATCHED_SERVICES, WATCHED_CLAIMS, WATCHED_VOLUMES, WATCHED_BUDGETS, WATCHED_COUNT };

struct scheduler;
struct source { /* one informer and whom it tells */
	struct scheduler *scheduler;
	enum watched what;
	struct informer *informer;
	bool synced;
};

struct scheduler {
	struct scheduler_opts opts;
	struct client *client;
	struct loop *loop;
	bool own_loop;
	char *name; /* owned */
	struct recorder *recorder;
	struct leader *leader;
	struct source sources[WATCHED_COUNT];
	int unsynced;
	bool started, running, stopping;
	bool turn_posted;
	struct cache cache;
	struct queue queue;
	struct map budgets; /* "ns/name" -> struct obj * */
	size_t next_node;
	int jobs;     /* calls under way */
	int bindings; /* of them, those that bind */
	sem_t done;
};

/* ---- calls in the background ------------------------------------------------------------------------------------------- */

/* One chain of calls about one pod. Copies of its own; freed on the loop when done. */
struct call {
	struct job job;
	struct scheduler *s;
	void (*after)(struct call *c); /* on the loop; may be NULL */
	struct obj *pod;    /* as decided upon */
	struct str node;    /* owned */
	struct obj *patch;  /* of the pod's status; NULL: bind it */
	struct obj **victims;
	size_t victims_len;
	bool ok;
	struct err err;
};

static void call_free(struct call *c) {
	obj_unref(c->pod);
	obj_unref(c->patch);
	for (size_t i = 0; i < c->victims_len; i++) {
		obj_unref(c->victims[i]);
	}
	free(c->victims);
	free((char *)c->node.ptr);
	free(c);
}

static bool bind_pod(struct call *c, struct err *err) {
	auto_arena struct arena a = { 0 };
	const struct value *meta = value_get(c->pod->root, N_metadata);
	struct value *b = value_new_object(&a), *m, *target;

	value_set_str(&a, b, N_kind, S("Binding"));
	value_set_str(&a, b, N_apiVersion, S("v1"));
	m = value_set(&a, b, N_metadata, value_new_object(&a));
	value_set_str(&a, m, N_name, value_str_at(meta, N_name));
	value_set_str(&a, m, N_namespace, value_str_at(meta, N_namespace));
	value_set_str(&a, m, N_uid, value_str_at(meta, N_uid));
	target = value_set(&a, b, N_target, value_new_object(&a));
	value_set_str(&a, target, N_kind, S("Node"));
	value_set_str(&a, target, N_name, c->node);
	struct client_call call = {
		.verb = CLIENT_CREATE,
		.gvr = GVR_PODS,
		.ns = value_str_at(meta, N_namespace),
		.name = value_str_at(meta, N_name),
		.subresource = S("binding"),
		.body = b,
	};
	return client_do(c->s->client, &call, NULL, NULL, err);
}

static struct value *pod_condition(struct arena *a, const char *type, const char *status, const char *reason, struct str message) {
	char text[TIME_TEXT_MAX];
	struct value *c = value_new_object(a);

	value_set_str(a, c, N_type, str_c(type));
	value_set_str(a, c, N_status, str_c(status));
	value_set_str(a, c, N_reason, str_c(reason));
	value_set_str(a, c, N_message, message);
	value_set(a, c, N_lastProbeTime, NULL);
	value_set_str(a, c, N_lastTransitionTime, time_format(clock_wall(), text));
	return c;
}

static struct value *status_patch(struct arena *a, struct value *condition) {
	struct value *patch = value_new_object(a), *status = value_set(a, patch, N_status, value_new_object(a));

	if (condition) {
		value_push(a, value_set(a, status, N_conditions, value_new_array(a)), condition);
	}
	return patch;
}

/* Says why in the victim's conditions, before it is deleted: who made it can tell then. */
static bool victim_end(struct call *c, const struct value *victim, struct err *err) {
	auto_arena struct arena a = { 0 };
	const struct value *meta = value_get(victim, N_metadata);
	struct str ns = value_str_at(meta, N_namespace), name = value_str_at(meta, N_name);
	struct value *patch = status_patch(&a,
		pod_condition(&a, "DisruptionTarget", "True", "PreemptionByScheduler",
			arena_printf(&a, "%s: preempting to accommodate a higher priority pod", c->s->name)));

	if (value_str_at(meta, N_deletionTimestamp).len) {
		return true;
	}
	if (!client_patch(c->s->client, GVR_PODS, ns, name, S("status"), PATCH_STRATEGIC, patch, NULL, err)) {
		return err->code == ERR_NOT_FOUND;
	}
	struct client_call call = { .verb = CLIENT_DELETE, .gvr = GVR_PODS, .ns = ns, .name = name, .precondition_uid = value_str_at(meta, N_uid) };
	if (!client_do(c->s->client, &call, NULL, NULL, err) && err->code != ERR_NOT_FOUND && err->code != ERR_CONFLICT) {
		return false;
	}
	struct str by = value_str_at(c->pod->root, N_metadata, N_uid);
	recorder_event(c->s->recorder, victim, "Normal", "Preempted", "Preempted by pod %.*s on node %.*s", STR_ARG(by), STR_ARG(c->node));
	return true;
}

static void call_run(struct job *j) {
	struct call *c = container_of(j, struct call, job);
	const struct value *meta = value_get(c->pod->root, N_metadata);

	if (!c->patch) {
		c->ok = bind_pod(c, &c->err);
		return;
	}
	c->ok = true;
	for (size_t i = 0; i < c->victims_len; i++) {
		struct err err = { 0 };
		if (!victim_end(c, c->victims[i]->root, &err)) {
			log_warn("scheduler", "victim cannot be ended", kv_err(&err));
		}
	}
	if (!client_patch(c->s->client, GVR_PODS, value_str_at(meta, N_namespace), value_str_at(meta, N_name), S("status"), PATCH_STRATEGIC, c->patch->root, NULL,
		    &c->err)) {
		c->ok = c->err.code == ERR_NOT_FOUND;
	}
}

static void call_done(struct job *j) {
	struct call *c = container_of(j, struct call, job);
	struct scheduler *s = c->s;

	s->jobs--;
	if (c->after && !s->stopping) {
		c->after(c);
	} else if (!c->ok) {
		log_debug("scheduler", "status of a pod was not written", kv_err(&c->err));
	}
	call_free(c);
	if (s->stopping && s->jobs == 0) {
		sem_post(&s->done);
	}
}

static struct call *call_make(struct scheduler *s, const struct pod *p) {
	struct call *c = xcalloc(1, sizeof(*c));

	c->s = s;
	c->pod = obj_ref(p->o);
	c->job = (struct job){ .run = call_run, .done = call_done };
	return c;
}

static bool call_start(struct call *c) {
	if (!pool_submit(&c->job)) {
		call_free(c);
		return false;
	}
	c->s->jobs++;
	return true;
}

/* ---- deciding -------------------------------------------------------------------------------------------------------------- */

static void turn(void *arg);

static void turn_post(struct scheduler *s) {
	if (!s->turn_posted && s->running && !s->stopping && s->bindings < BINDINGS_MAX) {
		s->turn_posted = loop_call(s->loop, turn, s);
	}
}

static void queue_ready(struct queue *q) {
	turn_post(container_of(q, struct scheduler, queue));
}

static void bound(struct call *c) {
	struct scheduler *s = c->s;
	const struct value *meta = value_get(c->pod->root, N_metadata);
	struct str ns = value_str_at(meta, N_namespace), name = value_str_at(meta, N_name);
	struct pod *p = cache_pod(&s->cache, value_str_at(meta, N_uid));

	s->bindings--;
	if (c->ok) {
		recorder_event(s->recorder, c->pod->root, "Normal", "Scheduled", "Successfully assigned %.*s/%.*s to %.*s", STR_ARG(ns), STR_ARG(name),
			STR_ARG(c->node));
		if (p) {
			queue_forget(&s->queue, p);
		}
	} else {
		log_debug("scheduler", "binding failed", kv_str("pod", name), kv_err(&c->err));
		if (p && p->assumed) {
			cache_unplace(&s->cache, p);
			queue_event(&s->queue, EVENT_POD_GONE);
			if (c->err.code != ERR_NOT_FOUND) {
				recorder_event(s->recorder, c->pod->root, "Warning", "FailedScheduling", "binding rejected: %s", c->err.msg);
			}
			queue_fail(&s->queue, p, 0);
		}
	}
	turn_post(s);
}

static void bind_start(struct scheduler *s, struct pod *p, struct node *n) {
	struct call *c = call_make(s, p);

	c->node = (struct str){ str_dup(n->name), n->name.len };
	c->after = bound;
	cache_nominate(&s->cache, p, S(""));
	cache_place(&s->cache, p, n->name);
	p->assumed = true;
	s->bindings++;
	if (!call_start(c)) {
		s->bindings--;
		cache_unplace(&s->cache, p);
		queue_fail(&s->queue, p, 0);
	}
}

static bool condition_same(const struct value *pod, struct str message) {
	const struct value *is = value_find_by(value_at(pod, N_status, N_conditions), N_type, S("PodScheduled"));

	return str_eqc(value_str_at(is, N_status), "False") && str_eqc(value_str_at(is, N_reason), "Unschedulable") && str_eq(value_str_at(is, N_message), message);
}

static void refuse(struct scheduler *s, struct cycle *cycle, struct pod *p, const struct decision *d) {
	struct preemption x = { 0 };
	struct str message = d->message;

	if (s->cache.nodes.len) {
		cycle_preempt(cycle, d, &s->budgets, &x);
		if (!x.node) {
			message = arena_printf(&cycle->arena, "%.*s preemption: %.*s", STR_ARG(message), STR_ARG(x.message));
		}
	}
	recorder_event(s->recorder, p->o->root, "Warning", "FailedScheduling", "%.*s", STR_ARG(message));
	queue_fail(&s->queue, p, d->helps | EVENT_TIME);
	if (!x.node && condition_same(p->o->root, message)) {
		return;
	}
	struct call *c = call_make(s, p);
	struct value *patch = status_patch(&cycle->arena, pod_condition(&cycle->arena, "PodScheduled", "False", "Unschedulable", message));
	if (x.node) {
		value_set_str(&cycle->arena, value_ensure_object(&cycle->arena, patch, N_status), N_nominatedNodeName, x.node->name);
		c->node = (struct str){ str_dup(x.node->name), x.node->name.len };
		c->victims = xcalloc(x.victims_len, sizeof(*c->victims));
		for (size_t i = 0; i < x.victims_len; i++) {
			c->victims[c->victims_len++] = obj_ref(x.victims[i]->o);
		}
		cache_nominate(&s->cache, p, x.node->name);
	}
	c->patch = obj_freeze(patch, 0);
	if (!call_start(c)) {
		cache_nominate(&s->cache, p, S(""));
	}
}

static void schedule(struct scheduler *s, struct pod *p) {
	struct cycle cycle;
	struct decision d;

	cycle_start(&cycle, &s->cache, p);
	cycle_decide(&cycle, &s->next_node, &d);
	if (d.node) {
		bind_start(s, p, d.node);
	} else {
		refuse(s, &cycle, p, &d);
	}
	cycle_end(&cycle);
}

static void turn(void *arg) {
	struct scheduler *s = arg;
	nsec_t until = clock_mono() + TURN_NS;

	s->turn_posted = false;
	while (s->running && !s->stopping && s->bindings < BINDINGS_MAX) {
		struct pod *p = queue_pop(&s->queue);
		if (!p) {
			return;
		}
		schedule(s, p);
		if (clock_mono() > until) {
			turn_post(s);
			return;
		}
	}
}

/* ---- what is seen ---------------------------------------------------------------------------------------------------------------- */

static bool is_finished(const struct value *pod) {
	struct str phase = value_str_at(pod, N_status, N_phase);

	return str_eqc(phase, "Succeeded") || str_eqc(phase, "Failed");
}

static void pod_gone(struct scheduler *s, const struct value *o) {
	struct pod *p = cache_pod(&s->cache, value_str_at(o, N_metadata, N_uid));

	if (p) {
		bool was_on = p->node != NULL || p->nominated != NULL;
		queue_forget(&s->queue, p);
		cache_pod_remove(&s->cache, p);
		if (was_on) {
			queue_event(&s->queue, EVENT_POD_GONE);
		}
	}
}

static void pod_on_node(struct scheduler *s, struct obj *now, struct str node) {
	struct pod *p = cache_pod(&s->cache, value_str_at(now->root, N_metadata, N_uid));
	bool known = p && p->node && !p->assumed;
	bool labels = known && !value_eq(p->labels, value_at(now->root, N_metadata, N_labels));
	int64_t cpu = known ? p->requests.cpu : 0, memory = known ? p->requests.memory : 0;

	p = cache_pod_put(&s->cache, now);
	cache_place(&s->cache, p, node);
	p->assumed = false;
	cache_nominate(&s->cache, p, S(""));
	queue_forget(&s->queue, p);
	if (!known || labels) {
		queue_event(&s->queue, EVENT_POD_ADD);
	}
	if (known && (p->requests.cpu < cpu || p->requests.memory < memory)) {
		queue_event(&s->queue, EVENT_POD_GONE); /* it was resized and needs less */
	}
}

static bool is_ours(const struct scheduler *s, const struct value *pod) {
	struct str name = value_str_at(pod, N_spec, N_schedulerName);

	return name.len ? str_eqc(name, s->name) : str_eqc(str_c(s->name), "default-scheduler");
}

static void pod_waits(struct scheduler *s, struct obj *old, struct obj *now) {
	bool blocked = value_len(value_at(now->root, N_spec, N_schedulingGates)) > 0 || value_str_at(now->root, N_metadata, N_deletionTimestamp).len > 0;
	struct pod *p = cache_pod(&s->cache, value_str_at(now->root, N_metadata, N_uid));
	bool known = p != NULL;

	p = cache_pod_put(&s->cache, now);
	if (p->assumed) {
		return;
	}
	if (blocked) {
		queue_forget(&s->queue, p);
		return;
	}
	struct str nominated = value_str_at(now->root, N_status, N_nominatedNodeName);
	if (nominated.len && !p->nominated) {
		cache_nominate(&s->cache, p, nominated);
	}
	bool was_blocked = old && value_len(value_at(old->root, N_spec, N_schedulingGates)) > 0;
	if (!known || was_blocked) {
		queue_forget(&s->queue, p);
		queue_add(&s->queue, p);
	} else if (old && (!value_eq(value_get(old->root, N_spec), value_get(now->root, N_spec)) ||
				  !value_eq(value_at(old->root, N_metadata, N_labels), value_at(now->root, N_metadata, N_labels)))) {
		queue_wake(&s->queue, p);
	}
}

static void pods_changed(struct scheduler *s, struct obj *old, struct obj *now) {
	struct str node = now ? value_str_at(now->root, N_spec, N_nodeName) : S("");

	if (!now || is_finished(now->root)) {
		pod_gone(s, (now ? now : old)->root);
	} else if (node.len) {
		pod_on_node(s, now, node);
	} else if (is_ours(s, now->root)) {
		pod_waits(s, old, now);
	}
}

static void nodes_changed(struct scheduler *s, struct obj *old, struct obj *now) {
	int event = 0;

	if (!now) {
		cache_node_remove(&s->cache, value_str_at(old->root, N_metadata, N_name));
		return;
	}
	cache_node_put(&s->cache, now);
	if (!old) {
		event = EVENT_NODE_ADD;
	} else {
		const struct value *a = old->root, *b = now->root;
		event |= value_eq(value_at(a, N_status, N_allocatable), value_at(b, N_status, N_allocatable)) ? 0 : EVENT_NODE_RESOURCES;
		event |= value_eq(value_at(a, N_metadata, N_labels), value_at(b, N_metadata, N_labels)) ? 0 : EVENT_NODE_LABELS;
		event |= value_eq(value_get(a, N_spec), value_get(b, N_spec)) ? 0 : EVENT_NODE_TAINTS;
	}
	if (event) {
		queue_event(&s->queue, event);
	}
}

static void object_keep(struct map *m, struct obj *old, struct obj *now) {
	auto_arena struct arena a = { 0 };

	cache_map_put(m, obj_key(&a, now ? now : old), now);
}

static void on_change(void *arg, struct obj *old, struct obj *now) {
	struct source *source = arg;
	struct scheduler *s = source->scheduler;

	switch (source->what) {
	case WATCHED_PODS:
		pods_changed(s, old, now);
		break;
	case WATCHED_NODES:
		nodes_changed(s, old, now);
		break;
	case WATCHED_NAMESPACES:
		object_keep(&s->cache.namespaces, old, now);
		break;
	case WATCHED_SERVICES:
		object_keep(&s->cache.services, old, now);
		break;
	case WATCHED_CLAIMS:
		object_keep(&s->cache.claims, old, now);
		queue_event(&s->queue, EVENT_VOLUME);
		break;
	case WATCHED_VOLUMES:
		object_keep(&s->cache.volumes, old, now);
		queue_event(&s->queue, EVENT_VOLUME);
		break;
	case WATCHED_BUDGETS:
		object_keep(&s->budgets, old, now);
		break;
	case WATCHED_COUNT:
		break;
	}
}

/* ---- starting and stopping ---------------------------------------------------------------------------------------------------------- */

static void on_synced(void *arg) {
	struct source *source = arg;
	struct scheduler *s = source->scheduler;

	if (!source->synced) {
		source->synced = true;
		if (--s->unsynced == 0) {
			log_info("scheduler", "caches are filled, scheduling", kv_int("nodes", s->cache.nodes.len), kv_int("pods", s->cache.pods.len));
			s->running = true;
			turn_post(s);
		}
	}
}

static void run_here(void *arg) {
	static const struct gvr watched[WATCHED_COUNT] = {
		[WATCHED_PODS] = { S_INIT(""), S_INIT("v1"), S_INIT("pods") },
		[WATCHED_NODES] = { S_INIT(""), S_INIT("v1"), S_INIT("nodes") },
		[WATCHED_NAMESPACES] = { S_INIT(""), S_INIT("v1"), S_INIT("namespaces") },
		[WATCHED_SERVICES] = { S_INIT(""), S_INIT("v1"), S_INIT("services") },
		[WATCHED_CLAIMS] = { S_INIT(""), S_INIT("v1"), S_INIT("persistentvolumeclaims") },
		[WATCHED_VOLUMES] = { S_INIT(""), S_INIT("v1"), S_INIT("persistentvolumes") },
		[WATCHED_BUDGETS] = { S_INIT("policy"), S_INIT("v1"), S_INIT("poddisruptionbudgets") },
	};
	struct scheduler *s = arg;

	if (s->started || s->stopping) {
		return;
	}
	s->started = true;
	s->unsynced = WATCHED_COUNT;
	for (int i = 0; i < WATCHED_COUNT; i++) {
		struct informer_opts opts = {
			.client = s->client,
			.loop = s->loop,
			.gvr = watched[i],
			/* finished pods are not wanted: a cluster keeps thousands of them */
			.field_selector = i == WATCHED_PODS ? S("status.phase!=Succeeded,status.phase!=Failed") : S(""),
			.on_change = on_change,
			.on_synced = on_synced,
			.on_missing = i >= WATCHED_CLAIMS ? on_synced : NULL,
			.arg = &s->sources[i],
		};
		s->sources[i].scheduler = s;
		s->sources[i].what = (enum watched)i;
		s->sources[i].informer = informer_start(&opts);
	}
}

static void lost(void *arg) {
	struct scheduler *s = arg;

	log_error("scheduler", "leader election lost");
	s->running = false;
	if (s->opts.on_lost) {
		s->opts.on_lost(s->opts.arg);
	} else {
		exit(1); /* another works already: not one more binding */
	}
}

bool scheduler_start(const struct scheduler_opts *opts, struct scheduler **ret, struct err *err) {
	struct scheduler *s = xcalloc(1, sizeof(*s));

	s->opts = *opts;
	s->loop = opts->loop;
	s->name = xstrdup(opts->name ? opts->name : "default-scheduler");
	sem_init(&s->done, 0, 0);
	if (!s->loop) {
		s->loop = loop_new("scheduler");
		s->own_loop = true;
		if (!loop_start_thread(s->loop, err)) {
			loop_free(s->loop);
			sem_destroy(&s->done);
			free(s->name);
			free(s);
			return false;
		}
	}
	s->client = client_ref(opts->client);
	s->recorder = recorder_new(s->client, s->name, NULL);
	cache_init(&s->cache);
	queue_init(&s->queue, s->loop, queue_ready);
	if (opts->leader_elect) {
		struct leader_opts l = {
			.client = s->client,
			.loop = s->loop,
			.ns = S("kube-system"),
			.name = S("kube-scheduler"),
			.on_started = run_here,
			.on_stopped = lost,
			.arg = s,
		};
		s->leader = leader_start(&l);
	} else {
		(void)loop_call(s->loop, run_here, s);
	}
	*ret = s;
	return true;
}

static void stop_here(void *arg) {
	struct scheduler *s = arg;

	s->stopping = true;
	for (int i = 0; i < WATCHED_COUNT; i++) {
		informer_stop(TAKE(s->sources[i].informer));
	}
	queue_release(&s->queue);
	if (s->jobs == 0) {
		sem_post(&s->done);
	}
}

void scheduler_stop(struct scheduler *s) {
	leader_stop(s->leader);
	if (loop_call(s->loop, stop_here, s)) {
		while (sem_wait(&s->done) != 0) {
			/* a signal came: wait on */
		}
	}
	if (s->own_loop) {
		loop_stop(s->loop);
		loop_free(s->loop);
	}
	recorder_free(s->recorder);
	MAP_EACH(&s->cache.pods, e) {
		struct pod *p = e->value;
		free(p->queued);
		p->queued = NULL;
	}
	cache_release(&s->cache);
	for (size_t at = 0; s->budgets.len > 0; at = 0) {
		cache_map_put(&s->budgets, map_next(&s->budgets, &at)->key, NULL);
	}
	map_release(&s->budgets);
	client_free(s->client);
	sem_destroy(&s->done);
	free(s->name);
	free(s);
}
