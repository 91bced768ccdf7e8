/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects.c - see objects.h. One informer for each object in use, by field selector, as the node
 * authorizer demands. The table is shared by passes (pool threads) and the loop, so it has the one lock
 * of this file; informers are stopped on the loop.
 */
#include "kubelet/objects.h"

#include <pthread.h>

struct object {
	struct objects *all;
	char *key;              /* "s/ns/name" */
	bool secret;
	char *ns, *name;
	struct informer *informer;
	struct map users;       /* pod uid -> this */
	bool watched;           /* the informer has its first answer */
	int64_t seen;           /* revision that a pass got by asking; 0: it was not there */
};

struct objects {
	struct kubelet *k;
	pthread_mutex_t lock;
	struct map at; /* key -> struct object */
};

struct objects *objects_new(struct kubelet *k) {
	struct objects *o = xcalloc(1, sizeof(*o));

	o->k = k;
	pthread_mutex_init(&o->lock, NULL);
	return o;
}

static void object_free(struct object *x) {
	if (x->informer) {
		informer_stop(x->informer);
	}
	map_release(&x->users);
	free(x->key);
	free(x->ns);
	free(x->name);
	free(x);
}

void objects_free(struct objects *o) {
	if (!o) {
		return;
	}
	MAP_EACH(&o->at, e) {
		object_free(e->value);
	}
	map_release(&o->at);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

/* On the loop: everybody who uses it looks again. */
static void on_change(void *arg, struct obj *old, struct obj *now) {
	struct object *x = arg;
	struct objects *o = x->all;
	VEC(char *) uids = { 0 };

	if (old && now && old->revision == now->revision) {
		return;
	}
	pthread_mutex_lock(&o->lock);
	bool known = !x->watched && now && now->revision == x->seen;
	MAP_EACH(&x->users, e) {
		VEC_PUSH(&uids, str_dup(e->key));
	}
	pthread_mutex_unlock(&o->lock);
	VEC_EACH(&uids, uid) {
		if (!known) {
			struct pod *p = kubelet_pod(o->k, str_c(*uid));
			if (p) {
				pod_wake(p);
			}
		}
		free(*uid);
	}
	VEC_RELEASE(&uids);
}

static void on_synced(void *arg) {
	struct object *x = arg;

	pthread_mutex_lock(&x->all->lock);
	x->watched = true;
	pthread_mutex_unlock(&x->all->lock);
}

/* Under the lock. */
static struct object *object_of(struct objects *o, bool secret, struct str ns, struct str name, struct str uid) {
	auto_arena struct arena a = { 0 };
	struct str key = arena_printf(&a, "%s/%.*s/%.*s", secret ? "s" : "c", STR_ARG(ns), STR_ARG(name));
	struct object *x = map_get(&o->at, key);

	if (!x) {
		x = xcalloc(1, sizeof(*x));
		x->all = o;
		x->key = str_dup(key);
		x->secret = secret;
		x->ns = str_dup(ns);
		x->name = str_dup(name);
		map_set(&o->at, key, x);
		x->informer = informer_start(&(struct informer_opts){
			.client = o->k->o.client,
			.loop = o->k->loop,
			.gvr = secret ? GVR_SECRETS : GVR_CONFIGMAPS,
			.ns = str_c(x->ns),
			.field_selector = arena_printf(&a, "metadata.name=%.*s", STR_ARG(name)),
			.on_change = on_change,
			.on_synced = on_synced,
			.arg = x,
		});
	}
	map_set(&x->users, uid, x);
	return x;
}

bool objects_get(struct objects *o, bool secret, struct str ns, struct str name, struct str uid, struct obj **ret, struct err *err) {
	struct obj *found = NULL;

	pthread_mutex_lock(&o->lock);
	struct object *x = object_of(o, secret, ns, name, uid);
	bool watched = x->watched && informer_synced(x->informer);
	if (watched) {
		found = informer_get(x->informer, ns, name);
	}
	pthread_mutex_unlock(&o->lock);
	if (found) {
		*ret = found;
		return true;
	}
	/* Not watched yet, or perhaps only not seen yet: ask. */
	if (client_get(o->k->o.client, secret ? GVR_SECRETS : GVR_CONFIGMAPS, ns, name, ret, err)) {
		pthread_mutex_lock(&o->lock);
		if (!x->watched) { /* x lives: this pod uses it */
			x->seen = (*ret)->revision;
		}
		pthread_mutex_unlock(&o->lock);
		return true;
	}
	if (err->code == ERR_NOT_FOUND) {
		return err_set(err, ERR_NOT_FOUND, "%s \"%.*s\" not found", secret ? "secret" : "configmap", STR_ARG(name));
	}
	return false;
}

static void forget_on_loop(void *arg) {
	object_free(arg);
}

void objects_forget(struct objects *o, struct str uid) {
	pthread_mutex_lock(&o->lock);
	MAP_EACH(&o->at, e) {
		struct object *x = e->value;
		if (!map_remove(&x->users, uid) || x->users.len > 0) {
			continue;
		}
		map_remove(&o->at, str_c(x->key));
		if (!loop_call(o->k->loop, forget_on_loop, x)) {
			object_free(x);
		}
	}
	pthread_mutex_unlock(&o->lock);
}
