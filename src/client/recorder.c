/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorder.c - writes Events in the background, in upstream's form, and keeps them few.
 *
 * Three steps, as client-go's correlator: more than 10 similar events (same but for the message) within
 * 10 minutes become one "(combined from similar events)"; a source may write a burst of 25 events about
 * one object, then one per 5 minutes; an event that was written before is counted up by a patch.
 *
 * Any thread records: it only queues, under the recorder's lock. A pool thread, taken when something waits
 * and given back when nothing does, runs the steps and the calls.
 */
#include "client/recorder.h"

#include <pthread.h>
#include <stdarg.h>

#include "base/log.h"
#include "base/map.h"

#define WAITING_MAX 1000
#define KNOWN_MAX 2048 /* events, similar groups and spam buckets remembered */
#define SIMILAR_MAX 10
#define SIMILAR_WINDOW (600 * NSEC_PER_SEC)
#define SPAM_BURST 25.0
#define SPAM_REFILL (1.0 / 300.0) /* tokens a second */
#define MESSAGE_BYTES_MAX 1024
#define FREE_WAIT (2 * NSEC_PER_SEC)
#define TRIES 3

/* One recorded event that waits to be written. */
struct pending {
	struct list link;
	struct obj *about; /* {involvedObject: reference, type, reason, message} */
	nsec_t at;
};

/* What is remembered under a key; the oldest goes when there are too many. */
struct known {
	struct list link; /* in recorder.known, most recently used last */
	struct str key;   /* owned */
	/* an event written before */
	struct str ns, name; /* of the Event, owned */
	int64_t count;
	nsec_t first;
	/* a group of similar events, or a spam bucket */
	int64_t similar;
	double tokens;
	nsec_t since;
};

struct recorder {
	struct client *client;
	struct str component, host; /* owned */
	pthread_mutex_t lock;       /* over waiting .. deadline */
	pthread_cond_t idle;
	struct list waiting;
	size_t waiting_len;
	int64_t dropped;
	bool writing;
	nsec_t deadline; /* 0: none; set when it is being freed */

	/* of the writing thread */
	struct map by_key;
	struct list known;
};

/* ---- memory of what was written ------------------------------------------------------------------------ */

static void known_free(struct recorder *r, struct known *k) {
	list_remove(&k->link);
	map_remove(&r->by_key, k->key);
	free((char *)k->key.ptr);
	free((char *)k->ns.ptr);
	free((char *)k->name.ptr);
	free(k);
}

static struct known *known_for(struct recorder *r, struct str key) {
	struct known *k = map_get(&r->by_key, key);

	if (!k) {
		if (r->by_key.len >= KNOWN_MAX) {
			known_free(r, container_of(r->known.next, struct known, link));
		}
		k = xcalloc(1, sizeof(*k));
		k->key = (struct str){ str_dup(key), key.len };
		k->tokens = SPAM_BURST;
		map_set(&r->by_key, key, k);
	}
	list_remove(&k->link);
	list_push(&r->known, &k->link);
	return k;
}

static struct str ref_key(struct arena *a, const struct value *ref) {
	struct str kind = value_str_at(ref, N_kind), ns = value_str_at(ref, N_namespace), name = value_str_at(ref, N_name), uid = value_str_at(ref, N_uid),
		   path = value_str_at(ref, N_fieldPath);

	return arena_printf(a, "%.*s/%.*s/%.*s/%.*s/%.*s", STR_ARG(kind), STR_ARG(ns), STR_ARG(name), STR_ARG(uid), STR_ARG(path));
}

static bool spam(struct recorder *r, struct str ref, nsec_t now) {
	auto_arena struct arena a = { 0 };
	struct known *k = known_for(r, arena_printf(&a, "spam %.*s", STR_ARG(ref)));

	if (k->since) {
		k->tokens = MIN(SPAM_BURST, k->tokens + (double)(now - k->since) / (double)NSEC_PER_SEC * SPAM_REFILL);
	}
	k->since = now;
	if (k->tokens < 1.0) {
		return true;
	}
	k->tokens -= 1.0;
	return false;
}

/* True when there are too many that differ only in their message. */
static bool too_similar(struct recorder *r, struct str group, nsec_t now) {
	auto_arena struct arena a = { 0 };
	struct known *k = known_for(r, arena_printf(&a, "similar %.*s", STR_ARG(group)));

	if (now - k->since > SIMILAR_WINDOW) {
		k->similar = 0;
	}
	k->since = now;
	return ++k->similar > SIMILAR_MAX;
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static bool event_create(struct recorder *r, struct arena *a, const struct value *about, struct str message, struct known *k, nsec_t now,
	struct err *err) {
	const struct value *ref = value_get(about, N_involvedObject);
	struct str ns = value_str_at(ref, N_namespace), of = str_sub(value_str_at(ref, N_name), 0, 200);
	char text[TIME_TEXT_MAX];
	struct str time = time_format(now, text);
	struct str name = arena_printf(a, "%.*s.%llx", STR_ARG(of), (unsigned long long)(clock_wall() + (int64_t)(rand_u64() & 0xffff)));
	struct value *e = value_new_object(a), *meta, *source;

	ns = ns.len ? ns : S("default");
	value_set_str(a, e, N_kind, S("Event"));
	value_set_str(a, e, N_apiVersion, S("v1"));
	meta = value_set(a, e, N_metadata, value_new_object(a));
	value_set_str(a, meta, N_name, name);
	value_set_str(a, meta, N_namespace, ns);
	value_set(a, e, N_involvedObject, ref);
	value_set(a, e, N_reason, value_get(about, N_reason));
	value_set_str(a, e, N_message, message);
	source = value_set(a, e, N_source, value_new_object(a));
	value_set_str(a, source, N_component, r->component);
	if (r->host.len) {
		value_set_str(a, source, N_host, r->host);
	}
	value_set_str(a, e, N_firstTimestamp, time);
	value_set_str(a, e, N_lastTimestamp, time);
	value_set_int(a, e, N_count, 1);
	value_set(a, e, N_type, value_get(about, N_type));
	value_set_str(a, e, N_reportingComponent, r->component);
	value_set_str(a, e, N_reportingInstance, r->host);
	if (!client_create(r->client, GVR_EVENTS, ns, e, NULL, err)) {
		return false;
	}
	free((char *)k->ns.ptr);
	free((char *)k->name.ptr);
	k->ns = (struct str){ str_dup(ns), ns.len };
	k->name = (struct str){ str_dup(name), name.len };
	k->count = 1;
	k->first = now;
	return true;
}

static bool event_count(struct recorder *r, struct arena *a, struct str message, struct known *k, nsec_t now, struct err *err) {
	char text[TIME_TEXT_MAX];
	struct value *patch = value_new_object(a);

	value_set_int(a, patch, N_count, k->count + 1);
	value_set_str(a, patch, N_lastTimestamp, time_format(now, text));
	value_set_str(a, patch, N_message, message);
	if (!client_patch(r->client, GVR_EVENTS, k->ns, k->name, S(""), PATCH_MERGE, patch, NULL, err)) {
		return false;
	}
	k->count++;
	return true;
}

static void event_write(struct recorder *r, const struct pending *p) {
	auto_arena struct arena a = { 0 };
	const struct value *about = p->about->root;
	struct str type = value_str_at(about, N_type), reason = value_str_at(about, N_reason), message = value_str_at(about, N_message);
	struct str ref = ref_key(&a, value_get(about, N_involvedObject));
	struct str group = arena_printf(&a, "%.*s/%.*s/%.*s", STR_ARG(ref), STR_ARG(type), STR_ARG(reason));
	struct str key = arena_printf(&a, "event %.*s/%.*s", STR_ARG(group), STR_ARG(message));
	struct err err = { 0 };

	if (!map_get(&r->by_key, key) && too_similar(r, group, p->at)) {
		key = arena_printf(&a, "combined %.*s", STR_ARG(group));
		message = arena_printf(&a, "(combined from similar events): %.*s", STR_ARG(message));
	}
	if (spam(r, ref, p->at)) {
		return;
	}
	struct known *k = known_for(r, key);
	for (int attempt = 0; attempt < TRIES; attempt++) {
		err_clear(&err);
		if (k->count > 0 && event_count(r, &a, message, k, p->at, &err)) {
			return;
		}
		if (k->count > 0 && err.code == ERR_NOT_FOUND) {
			k->count = 0; /* it has expired: begin a new one */
			err_clear(&err);
		}
		if (k->count == 0 && event_create(r, &a, about, message, k, p->at, &err)) {
			return;
		}
		if (err.code != ERR_UNAVAILABLE && err.code != ERR_TIMEOUT && err.code != ERR_TOO_MANY_REQUESTS) {
			break; /* forbidden, namespace going away, invalid: saying it again does not help */
		}
		pthread_mutex_lock(&r->lock);
		bool hurry = r->deadline != 0;
		pthread_mutex_unlock(&r->lock);
		if (hurry) {
			break;
		}
		pool_wait_begin();
		clock_sleep((100 << attempt) * NSEC_PER_MSEC);
		pool_wait_end();
	}
	log_debug("recorder", "event was not written", kv_str("reason", reason), kv_err(&err));
}

static void write_waiting(void *arg) {
	struct recorder *r = arg;

	pthread_mutex_lock(&r->lock);
	for (struct list *l; (l = list_pop(&r->waiting));) {
		struct pending *p = container_of(l, struct pending, link);
		bool late = r->deadline && clock_mono() > r->deadline;
		r->waiting_len--;
		pthread_mutex_unlock(&r->lock);
		if (!late) {
			event_write(r, p);
		}
		obj_unref(p->about);
		free(p);
		pthread_mutex_lock(&r->lock);
	}
	r->writing = false;
	pthread_cond_broadcast(&r->idle);
	pthread_mutex_unlock(&r->lock);
}

/* ---- recording ----------------------------------------------------------------------------------------------- */

static struct value *reference_to(struct arena *a, const struct value *about, struct str field_path) {
	static const uint16_t from_meta[] = { N_namespace, N_name, N_uid };
	const struct value *meta = value_get(about, N_metadata);
	struct value *ref = value_new_object(a);

	value_set_str(a, ref, N_kind, value_str_at(about, N_kind));
	for (size_t i = 0; i < ARRAY_LEN(from_meta); i++) {
		struct str s = value_str_at(meta, from_meta[i]);
		if (s.len) {
			value_set_str(a, ref, (enum name_id)from_meta[i], s);
		}
	}
	value_set_str(a, ref, N_apiVersion, value_str_at(about, N_apiVersion));
	if (value_str_at(meta, N_resourceVersion).len) {
		value_set_str(a, ref, N_resourceVersion, value_str_at(meta, N_resourceVersion));
	}
	if (field_path.len) {
		value_set_str(a, ref, N_fieldPath, field_path);
	}
	return ref;
}

static void record(struct recorder *r, const struct value *about, struct str field_path, const char *type, const char *reason, const char *fmt,
	va_list args) {
	auto_arena struct arena a = { 0 };
	char message[MESSAGE_BYTES_MAX + 1];
	struct value *e = value_new_object(&a);
	struct pending *p = xcalloc(1, sizeof(*p));

	vsnprintf(message, sizeof(message), fmt, args);
	value_set(&a, e, N_involvedObject, reference_to(&a, about, field_path));
	value_set_str(&a, e, N_type, str_c(type));
	value_set_str(&a, e, N_reason, str_c(reason));
	value_set_str(&a, e, N_message, str_c(message));
	p->about = obj_freeze(e, 0);
	p->at = clock_wall();

	pthread_mutex_lock(&r->lock);
	bool take = r->waiting_len < WAITING_MAX && !r->deadline;
	if (take) {
		list_push(&r->waiting, &p->link);
		r->waiting_len++;
	}
	bool first_drop = !take && r->dropped++ == 0;
	bool start = take && !r->writing;
	r->writing = r->writing || start;
	pthread_mutex_unlock(&r->lock);

	if (!take) {
		obj_unref(p->about);
		free(p);
	}
	if (first_drop) {
		log_warn("recorder", "events come faster than they can be written, some are dropped", kv_str("component", r->component));
	}
	if (start && !pool_run(write_waiting, r)) {
		pthread_mutex_lock(&r->lock);
		r->writing = false; /* what waits goes with the next one */
		pthread_mutex_unlock(&r->lock);
	}
}

void recorder_event(struct recorder *r, const struct value *about, const char *type, const char *reason, const char *fmt, ...) {
	va_list args;

	va_start(args, fmt);
	record(r, about, S(""), type, reason, fmt, args);
	va_end(args);
}

void recorder_event_at(struct recorder *r, const struct value *about, struct str field_path, const char *type, const char *reason, const char *fmt,
	...) {
	va_list args;

	va_start(args, fmt);
	record(r, about, field_path, type, reason, fmt, args);
	va_end(args);
}

struct recorder *recorder_new(struct client *c, const char *component, const char *host) {
	struct recorder *r = xcalloc(1, sizeof(*r));

	r->client = client_ref(c);
	r->component = str_c(xstrdup(component));
	r->host = str_c(xstrdup(host ? host : ""));
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->idle, NULL);
	list_init(&r->waiting);
	list_init(&r->known);
	return r;
}

void recorder_free(struct recorder *r) {
	if (!r) {
		return;
	}
	pthread_mutex_lock(&r->lock);
	r->deadline = clock_mono() + FREE_WAIT;
	while (r->writing) {
		pthread_cond_wait(&r->idle, &r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	for (struct list *l; (l = list_pop(&r->waiting));) {
		struct pending *p = container_of(l, struct pending, link);
		obj_unref(p->about);
		free(p);
	}
	while (!list_empty(&r->known)) {
		known_free(r, container_of(r->known.next, struct known, link));
	}
	map_release(&r->by_key);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->idle);
	client_free(r->client);
	free((char *)r->component.ptr);
	free((char *)r->host.ptr);
	free(r);
}
