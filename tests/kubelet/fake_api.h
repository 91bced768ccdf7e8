/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_api.h - an API server in memory behind the client's transport: keeps objects, answers calls, feeds watches. Knows as much
 * as the kubelet needs: deletion with grace, merges of conditions by type, token requests.
 */
#ifndef TESTS_FAKE_API_H
#define TESTS_FAKE_API_H

#include <pthread.h>

#include "base/vec.h"
#include "client/client.h"
#include "client/selector.h"

struct fake_api;
struct fake_watch {
	struct client_watch base;
	struct fake_api *api;
	struct str resource, ns, fields;
	struct loop *loop;
	void (*on_event)(void *arg, enum watch_event type, struct obj *o, const struct err *err);
	void *arg;
	bool stopped;
	int posted;
};
struct fake_api {
	struct client_transport t;
	pthread_mutex_t lock;
	struct map at; /* "resource/ns/name" -> struct obj */
	VEC(struct fake_watch *) watches;
	int64_t revision;
	int tokens, status_patches;
};

static struct str fake_key(struct arena *a, struct str resource, struct str ns, struct str name) {
	return arena_printf(a, "%.*s/%.*s/%.*s", STR_ARG(resource), STR_ARG(ns), STR_ARG(name));
}

struct fake_event {
	struct msg msg;
	struct fake_watch *w;
	enum watch_event type;
	struct obj *o;
};

static void fake_deliver(struct msg *m) {
	struct fake_event *e = container_of(m, struct fake_event, msg);
	struct fake_watch *w = e->w;

	if (!w->stopped) {
		w->on_event(w->arg, e->type, e->o, NULL);
	}
	obj_unref(e->o);
	pthread_mutex_lock(&w->api->lock);
	w->posted--;
	pthread_mutex_unlock(&w->api->lock);
	free(e);
}

static void fake_post(struct fake_watch *w, enum watch_event type, struct obj *o) {
	struct fake_event *e = xcalloc(1, sizeof(*e));

	e->msg.run = fake_deliver;
	e->w = w;
	e->type = type;
	e->o = obj_ref(o);
	w->posted++;
	if (!loop_post(w->loop, &e->msg)) {
		obj_unref(e->o);
		free(e);
		w->posted--;
	}
}

static bool fake_fits(const struct fake_watch *w, struct str resource, const struct value *o) {
	struct str ns = value_str_at(o, N_metadata, N_namespace), key, value;

	if (w->stopped || !str_eq(w->resource, resource) || (w->ns.len && !str_eq(w->ns, ns))) {
		return false;
	}
	if (!str_cut(w->fields, '=', &key, &value)) {
		return true;
	}
	return str_eq(value, str_eq(key, S("spec.nodeName")) ? value_str_at(o, N_spec, N_nodeName) : value_str_at(o, N_metadata, N_name));
}

/* Under the lock: stores (NULL: removes) and tells. */
static struct obj *fake_put(struct fake_api *api, struct str resource, struct value *v, struct arena *a, bool remove) {
	struct str key = fake_key(a, resource, value_str_at(v, N_metadata, N_namespace), value_str_at(v, N_metadata, N_name));
	struct value *meta = value_ensure_object(a, v, N_metadata);
	char number[24];

	api->revision++;
	snprintf(number, sizeof(number), "%lld", (long long)api->revision);
	value_set_str(a, meta, N_resourceVersion, str_c(number));
	struct obj *o = obj_freeze(v, api->revision);
	struct obj *old = remove ? map_remove(&api->at, key) : map_set(&api->at, key, obj_ref(o));
	VEC_EACH(&api->watches, w) {
		if (fake_fits(*w, resource, o->root)) {
			fake_post(*w, remove ? WATCH_DELETED : old ? WATCH_MODIFIED : WATCH_ADDED, o);
		}
	}
	obj_unref(old);
	return o;
}

static struct obj *fake_get(struct fake_api *api, const char *resource, const char *ns, const char *name) {
	auto_arena struct arena a = { 0 };

	pthread_mutex_lock(&api->lock);
	struct obj *o = obj_ref(map_get(&api->at, fake_key(&a, str_c(resource), str_c(ns), str_c(name))));
	pthread_mutex_unlock(&api->lock);
	return o;
}

/* Adds or replaces an object from JSON. */
static void fake_set(struct fake_api *api, const char *resource, const char *json) {
	auto_arena struct arena a = { 0 };
	struct value *v = NULL;
	struct err err = { 0 };

	if (!json_parse(&a, str_c(json), &(struct json_opts){ 0 }, &v, &err)) {
		fprintf(stderr, "bad JSON in the test: %s\n%s\n", err.msg, json);
		abort();
	}
	pthread_mutex_lock(&api->lock);
	obj_unref(fake_put(api, str_c(resource), v, &a, false));
	pthread_mutex_unlock(&api->lock);
}

/* Sets deletionTimestamp, as a DELETE with grace does. */
static void fake_delete(struct fake_api *api, const char *ns, const char *name, int grace) {
	auto_arena struct arena a = { 0 };
	char now[TIME_TEXT_MAX];

	pthread_mutex_lock(&api->lock);
	struct obj *o = map_get(&api->at, fake_key(&a, S("pods"), str_c(ns), str_c(name)));
	struct value *v = value_copy(&a, o->root), *meta = value_get(v, N_metadata);
	value_set_str(&a, meta, N_deletionTimestamp, time_format(clock_wall(), now));
	value_set_int(&a, meta, N_deletionGracePeriodSeconds, grace);
	value_set_int(&a, meta, N_generation, value_int_at(meta, N_generation) + 1);
	obj_unref(fake_put(api, S("pods"), v, &a, false));
	pthread_mutex_unlock(&api->lock);
}

static void fake_merge(struct arena *a, struct value *to, const struct value *patch) {
	for (size_t i = 0; i < value_len(patch); i++) {
		struct str key = value_key(patch, i);
		const struct value *v = value_item(patch, i);
		struct value *old = value_get_str(to, key);
		if (v->type == VALUE_NULL) {
			value_remove_key(to, key);
		} else if (str_eq(key, S("conditions")) && old) {
			VALUE_EACH(v, c) {
				struct value *have = value_find_by(old, N_type, value_str_at(c, N_type));
				if (value_get_str(c, S("$patch"))) {
					for (size_t k = 0; k < value_len(old); k++) {
						if (value_item(old, k) == have) {
							value_remove_at(old, k);
							break;
						}
					}
				} else if (have) {
					fake_merge(a, have, c);
				} else {
					value_push(a, old, c);
				}
			}
		} else if (v->type == VALUE_OBJECT && old && old->type == VALUE_OBJECT) {
			fake_merge(a, old, v);
		} else {
			value_set_key(a, to, key, value_copy(a, v));
		}
	}
}

static bool fake_call(struct client_transport *t, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list, struct err *err) {
	struct fake_api *api = container_of(t, struct fake_api, t);
	auto_arena struct arena a = { 0 };
	struct str ns = call->ns, name = call->name;
	struct obj *ret = NULL;
	bool ok = true;

	pthread_mutex_lock(&api->lock);
	if (call->body && (call->verb == CLIENT_CREATE || call->verb == CLIENT_UPDATE) && call->subresource.len == 0) {
		name = value_str_at(call->body, N_metadata, N_name);
	}
	struct obj *have = map_get(&api->at, fake_key(&a, call->gvr.resource, ns, name));
	if (call->verb == CLIENT_CREATE && str_eq(call->subresource, S("token"))) {
		struct value *v = value_copy(&a, call->body), *st = value_ensure_object(&a, v, N_status);
		char text[TIME_TEXT_MAX];
		api->tokens++;
		value_set_str(&a, st, N_token, arena_printf(&a, "token-%d", api->tokens));
		value_set_str(&a, st, N_expirationTimestamp, time_format(clock_wall() + 3600 * NSEC_PER_SEC, text));
		ret = obj_freeze(v, 0);
	} else if (call->verb == CLIENT_LIST) {
		MAP_EACH(&api->at, e) {
			if (str_starts(e->key, call->gvr.resource) && ret_list) {
				ret_list->at = xrealloc(ret_list->at, (ret_list->len + 1) * sizeof(*ret_list->at));
				ret_list->at[ret_list->len++] = obj_ref(e->value);
			}
		}
	} else if (call->verb == CLIENT_CREATE) {
		if (have && name.len > 0) {
			ok = err_set(err, ERR_ALREADY_EXISTS, "%.*s exists", STR_ARG(name));
		} else {
			struct value *v = value_copy(&a, call->body), *meta = value_ensure_object(&a, v, N_metadata);
			if (ns.len) {
				value_set_str(&a, meta, N_namespace, ns);
			}
			if (value_str_at(meta, N_name).len == 0) {
				value_set_str(&a, meta, N_name, arena_printf(&a, "generated-%lld", (long long)api->revision));
			}
			ret = fake_put(api, call->gvr.resource, v, &a, false);
		}
	} else if (!have) {
		ok = err_set(err, ERR_NOT_FOUND, "%.*s \"%.*s\" not found", STR_ARG(call->gvr.resource), STR_ARG(name));
	} else if (call->verb == CLIENT_GET) {
		ret = obj_ref(have);
	} else if (call->verb == CLIENT_UPDATE) {
		ret = fake_put(api, call->gvr.resource, value_copy(&a, call->body), &a, false);
	} else if (call->verb == CLIENT_PATCH) {
		struct str uid = value_str_at(call->body, N_metadata, N_uid);
		if (uid.len && !str_eq(uid, value_str_at(have->root, N_metadata, N_uid))) {
			ok = err_set(err, ERR_CONFLICT, "another object");
		} else {
			struct value *v = value_copy(&a, have->root);
			fake_merge(&a, v, call->body);
			api->status_patches += str_eq(call->gvr.resource, S("pods"));
			ret = fake_put(api, call->gvr.resource, v, &a, false);
		}
	} else if (call->verb == CLIENT_DELETE) {
		ret = fake_put(api, call->gvr.resource, value_copy(&a, have->root), &a, true);
	}
	pthread_mutex_unlock(&api->lock);
	if (ok && ret_obj) {
		*ret_obj = ret;
	} else {
		obj_unref(ret);
	}
	return ok;
}

static void fake_watch_stop(struct client_watch *cw) {
	struct fake_watch *w = container_of(cw, struct fake_watch, base);

	pthread_mutex_lock(&w->api->lock);
	w->stopped = true; /* the row stays until the end of the test */
	pthread_mutex_unlock(&w->api->lock);
}

static bool fake_watch(struct client_transport *t, const struct client_watch_opts *o, struct client_watch **ret, struct err *err) {
	struct fake_api *api = container_of(t, struct fake_api, t);
	struct fake_watch *w = xcalloc(1, sizeof(*w));

	w->base.transport = t;
	w->api = api;
	w->resource = o->gvr.resource;
	w->ns = str_c(str_dup(o->ns));
	w->fields = str_c(str_dup(o->field_selector));
	w->loop = o->loop;
	w->on_event = o->on_event;
	w->arg = o->arg;
	*ret = &w->base;
	pthread_mutex_lock(&api->lock);
	VEC_PUSH(&api->watches, w);
	if (o->initial_events) {
		MAP_EACH(&api->at, e) {
			struct obj *x = e->value;
			struct str resource, rest;
			str_cut(e->key, '/', &resource, &rest);
			if (fake_fits(w, resource, x->root)) {
				fake_post(w, WATCH_ADDED, x);
			}
		}
		fake_post(w, WATCH_SYNCED, NULL);
	}
	pthread_mutex_unlock(&api->lock);
	return true;
}

static void fake_free(struct client_transport *t) {
}

static struct fake_api *fake_api_new(void) {
	struct fake_api *api = xcalloc(1, sizeof(*api));

	api->t = (struct client_transport){ .call = fake_call, .watch = fake_watch, .watch_stop = fake_watch_stop, .free = fake_free };
	pthread_mutex_init(&api->lock, NULL);
	api->revision = 100;
	return api;
}

static void fake_api_free(struct fake_api *api) {
	MAP_EACH(&api->at, e) {
		obj_unref(e->value);
	}
	map_release(&api->at);
	VEC_EACH(&api->watches, w) {
		free((char *)(*w)->ns.ptr);
		free((char *)(*w)->fields.ptr);
		free(*w);
	}
	VEC_RELEASE(&api->watches);
	free(api);
}

#endif
