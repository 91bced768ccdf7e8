/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images.c - see images.h. One pull at a time for each image, whoever wants it; at most
 * `image_pulls_max` side by side; what waits, waits in order. A pod that wants an image is a waiter:
 * it finds the outcome under its own key at its next pass.
 *
 * Passes of many pods and pulling threads meet here: the one lock guards the tables; nothing blocks
 * under it.
 */
#include "kubelet/images.h"

#include <pthread.h>

#include "kubelet/objects.h"
#include "net/digest.h"
#include "net/url.h"

#define BACKOFF_FIRST (10 * NSEC_PER_SEC)
#define BACKOFF_MAX (300 * NSEC_PER_SEC)
#define ERR_SHOWN (2 * NSEC_PER_SEC) /* ErrImagePull stands this long before it becomes ImagePullBackOff */

enum want_state { WANT_PULLING, WANT_DONE, WANT_FAILED };

struct want { /* of one container of one pod */
	char *key;        /* "uid/container/image" */
	char *uid;
	enum want_state state;
	char *error;
	nsec_t span;      /* back-off */
	nsec_t failed_at; /* mono */
	bool backoff_said;
};

struct waiter {
	struct obj *pod;
	struct str field_path;
	char *path_text, *key, *uid;
	nsec_t since;
};

struct pull {
	struct list link;   /* in `queue` while it waits */
	struct images *im;
	char *ref;
	struct image_auth *auths; /* tried in order; anonymous last */
	size_t auths_len;
	struct arena arena;       /* of the auths */
	VEC(struct waiter) waiters;
};

struct images {
	struct kubelet *k;
	pthread_mutex_t lock;
	struct map wants;   /* key -> struct want */
	struct map pulls;   /* ref -> struct pull */
	struct list queue;
	int running;
};

struct images *images_new(struct kubelet *k) {
	struct images *im = xcalloc(1, sizeof(*im));

	im->k = k;
	pthread_mutex_init(&im->lock, NULL);
	list_init(&im->queue);
	return im;
}

static void want_free(struct want *w) {
	free(w->key);
	free(w->uid);
	free(w->error);
	free(w);
}

static void pull_free(struct pull *pl) {
	VEC_EACH(&pl->waiters, w) {
		obj_unref(w->pod);
		free(w->path_text);
		free(w->key);
		free(w->uid);
	}
	VEC_RELEASE(&pl->waiters);
	arena_release(&pl->arena);
	free(pl->ref);
	free(pl);
}

void images_free(struct images *im) {
	if (!im) {
		return;
	}
	MAP_EACH(&im->wants, e) {
		want_free(e->value);
	}
	map_release(&im->wants);
	MAP_EACH(&im->pulls, e) {
		pull_free(e->value);
	}
	map_release(&im->pulls);
	pthread_mutex_destroy(&im->lock);
	free(im);
}

void images_forget(struct images *im, struct str uid) {
	pthread_mutex_lock(&im->lock);
	MAP_EACH(&im->wants, e) {
		struct want *w = e->value;
		if (str_eqc(uid, w->uid)) {
			map_remove(&im->wants, str_c(w->key));
			want_free(w);
		}
	}
	pthread_mutex_unlock(&im->lock);
}

/* ---- credentials --------------------------------------------------------------------------------------- */

/* Host and path of a key of "auths": "https://index.docker.io/v1/", "host:5000", "host/path". */
static bool auth_fits(struct str key, const struct image_ref *ref) {
	struct str rest = key, host, path;

	if (str_starts(rest, S("https://"))) {
		rest = str_from(rest, 8);
	} else if (str_starts(rest, S("http://"))) {
		rest = str_from(rest, 7);
	}
	str_cut(rest, '/', &host, &path);
	if (str_eq(path, S("v1/")) || str_eq(path, S("v2/")) || str_eq(path, S("v1")) || str_eq(path, S("v2"))) {
		path = S("");
	}
	if (str_eq(host, S("index.docker.io")) || str_eq(host, S("registry-1.docker.io"))) {
		host = S("docker.io");
	}
	return str_eq(host, ref->registry) && (path.len == 0 || str_starts(ref->repository, path));
}

static void auth_of(struct arena *a, const struct value *entry, struct image_auth *ret) {
	struct str both, user, password;

	*ret = (struct image_auth){ .username = arena_str(a, value_as_str(value_get_str(entry, S("username")))),
		.password = arena_str(a, value_as_str(value_get_str(entry, S("password")))),
		.identity_token = arena_str(a, value_as_str(value_get_str(entry, S("identitytoken")))),
		.registry_token = arena_str(a, value_as_str(value_get_str(entry, S("registrytoken")))) };
	if (ret->username.len == 0 && base64_decode(a, value_as_str(value_get_str(entry, S("auth"))), &both) &&
		str_cut(both, ':', &user, &password)) {
		ret->username = user;
		ret->password = password;
	}
}

/* Fits of one pull secret are appended. A secret that is missing or broken is passed over, as the field does. */
static void auths_of_secret(struct pod *p, struct arena *a, struct str name, const struct image_ref *ref, struct pull *pl) {
	auto_obj struct obj *o = NULL;
	struct err err = { 0 };
	struct str text;
	struct value *doc = NULL;

	if (!objects_get(p->k->objects, true, p->ns, name, p->uid, &o, &err)) {
		log_warn(KUBELET_LOG, "pull secret not read", kv_str("ns", p->ns), kv_str("secret", name), kv_err(&err));
		return;
	}
	const struct value *data = value_get(o->root, N_data), *v = value_get_str(data, S(".dockerconfigjson"));
	bool old_form = !v;
	v = v ? v : value_get_str(data, S(".dockercfg"));
	if (!v || !base64_decode(a, value_as_str(v), &text) || !json_parse(a, text, &(struct json_opts){ 0 }, &doc, &err)) {
		return;
	}
	const struct value *auths = old_form ? doc : value_get_str(doc, S("auths"));
	for (size_t i = 0; i < value_len(auths); i++) {
		if (auth_fits(value_key(auths, i), ref)) {
			struct image_auth *grown = arena_array(&pl->arena, struct image_auth, pl->auths_len + 1);
			if (pl->auths_len > 0) {
				memcpy(grown, pl->auths, pl->auths_len * sizeof(*grown));
			}
			auth_of(&pl->arena, value_item(auths, i), &grown[pl->auths_len++]);
			pl->auths = grown;
		}
	}
}

/* ---- pulling ---------------------------------------------------------------------------------------------- */

static bool try_all(struct pull *pl, struct arena *a, struct str *ret_id, struct err *err) {
	struct image_store *store = cri_images(pl->im->k->o.cri);

	for (size_t i = 0; i < pl->auths_len; i++) {
		err_clear(err);
		if (image_pull(store, a, str_c(pl->ref), &(struct image_transfer_opts){ .auth = &pl->auths[i] }, ret_id, err)) {
			return true;
		}
		if (err->code != ERR_UNAUTHORIZED && err->code != ERR_FORBIDDEN && err->code != ERR_NOT_FOUND) {
			return false;
		}
	}
	if (pl->auths_len > 0) {
		return false;
	}
	return image_pull(store, a, str_c(pl->ref), &(struct image_transfer_opts){ 0 }, ret_id, err);
}

static void pull_run(void *arg);

/* Under the lock: starts what may start. */
static void pulls_start(struct images *im) {
	int max = im->k->o.image_pulls_max > 0 ? im->k->o.image_pulls_max : 5;

	while (im->running < max && !list_empty(&im->queue)) {
		struct pull *pl = container_of(list_pop(&im->queue), struct pull, link);
		im->running++;
		im->k->passes++;
		if (!pool_run(pull_run, pl)) {
			im->running--;
			im->k->passes--;
			list_push_front(&im->queue, &pl->link);
			return; /* the next want tries again */
		}
	}
}

static void say_pulled(struct kubelet *k, const struct waiter *w, const struct pull *pl, nsec_t took, uint64_t size) {
	auto_arena struct arena a = { 0 };
	struct str span = duration_format(&a, took / NSEC_PER_MSEC * NSEC_PER_MSEC);
	struct str waited = duration_format(&a, (clock_mono() - w->since) / NSEC_PER_MSEC * NSEC_PER_MSEC);

	recorder_event_at(k->recorder, w->pod->root, str_c(w->path_text), "Normal", "Pulled",
		"Successfully pulled image \"%s\" in %.*s (%.*s including waiting). Image size: %llu bytes.", pl->ref, STR_ARG(span), STR_ARG(waited),
		(unsigned long long)size);
}

static void want_settle(struct images *im, const struct waiter *w, bool ok, const char *error) {
	struct want *want = map_get(&im->wants, str_c(w->key));

	if (!want) {
		return;
	}
	want->state = ok ? WANT_DONE : WANT_FAILED;
	free(want->error);
	want->error = ok ? NULL : xstrdup(error);
	if (!ok) {
		want->span = want->span ? MIN(want->span * 2, BACKOFF_MAX) : BACKOFF_FIRST;
		want->failed_at = clock_mono();
		want->backoff_said = false;
	} else {
		want->span = 0;
	}
}

static void pull_run(void *arg) {
	struct pull *pl = arg;
	struct images *im = pl->im;
	struct kubelet *k = im->k;
	auto_arena struct arena a = { 0 };
	struct err err = { 0 }, ignore = { 0 };
	struct image_info info = { 0 };
	struct str id = { 0 };
	nsec_t began = clock_mono();

	bool ok = try_all(pl, &a, &id, &err);
	nsec_t took = clock_mono() - began;
	if (!ok && err.code == ERR_UNAVAILABLE && image_status(cri_images(k->o.cri), &a, str_c(pl->ref), &info, &ignore)) {
		/* No registry to ask, but the image was loaded here: a machine without a network goes on with it. */
		log_info(KUBELET_LOG, "registry not reachable, the loaded image is used", kv_c("image", pl->ref), kv_err(&err));
		ok = true;
	} else if (ok && !image_status(cri_images(k->o.cri), &a, id, &info, &err)) {
		ok = false;
	}
	pthread_mutex_lock(&im->lock);
	map_remove(&im->pulls, str_c(pl->ref));
	VEC_EACH(&pl->waiters, w) {
		want_settle(im, w, ok, err.msg);
	}
	im->running--;
	pulls_start(im);
	pthread_mutex_unlock(&im->lock);

	VEC_EACH(&pl->waiters, w) {
		if (ok) {
			say_pulled(k, w, pl, took, info.size);
		} else {
			recorder_event_at(k->recorder, w->pod->root, str_c(w->path_text), "Warning", "Failed", "Failed to pull image \"%s\": %s", pl->ref,
				err.msg);
			recorder_event_at(k->recorder, w->pod->root, str_c(w->path_text), "Warning", "Failed", "Error: ErrImagePull");
		}
		kubelet_wake(k, str_c(w->uid));
	}
	pull_free(pl);
	k->passes--;
}

static void pull_begin(struct pod *p, struct arena *a, const struct value *pod, struct want *w, const char *ref, struct str path) {
	struct images *im = p->k->images;
	struct err err = { 0 };
	struct image_ref parsed = { 0 };

	pthread_mutex_lock(&im->lock);
	struct pull *pl = map_get(&im->pulls, str_c(ref));
	bool fresh = !pl;
	pthread_mutex_unlock(&im->lock);
	struct pull *made = NULL;
	if (fresh) { /* reading secrets may block: not under the lock */
		made = xcalloc(1, sizeof(*made));
		made->im = im;
		made->ref = xstrdup(ref);
		if (image_ref_parse(a, str_c(ref), &parsed, &err)) {
			VALUE_EACH(value_at(pod, N_spec, N_imagePullSecrets), s) {
				auths_of_secret(p, a, value_str_at(s, N_name), &parsed, made);
			}
		}
	}
	recorder_event_at(p->k->recorder, pod, path, "Normal", "Pulling", "Pulling image \"%s\"", ref);
	pthread_mutex_lock(&im->lock);
	pl = map_get(&im->pulls, str_c(ref));
	if (!pl) {
		if (!made) { /* it ended meanwhile: the next pass finds the image, or begins anew */
			w->state = WANT_FAILED;
			w->failed_at = 0;
			pthread_mutex_unlock(&im->lock);
			pass_wake(p, NSEC_PER_MSEC);
			return;
		}
		pl = TAKE(made);
		map_set(&im->pulls, str_c(ref), pl);
		list_push(&im->queue, &pl->link);
	}
	VEC_PUSH(&pl->waiters, ((struct waiter){ .pod = obj_ref(p->pass_obj),
		.path_text = str_dup(path),
		.key = xstrdup(w->key),
		.uid = str_dup(p->uid),
		.since = clock_mono() }));
	w->state = WANT_PULLING;
	pulls_start(im);
	pthread_mutex_unlock(&im->lock);
	if (made) {
		pull_free(made);
	}
}

/* ---- what passes ask ------------------------------------------------------------------------------------------- */

enum verdict { VERDICT_READY, VERDICT_PULLING, VERDICT_FAILED, VERDICT_BACKOFF };

/* The pull that this container wants: begun when there is none. `error` lives in `a`. */
static enum verdict want_pull(struct pod *p, struct arena *a, const struct value *pod, struct str who, struct str path, const char *ref,
	struct str *ret_error) {
	struct images *im = p->k->images;
	struct str key = arena_printf(a, "%.*s/%.*s/%s", STR_ARG(p->uid), STR_ARG(who), ref);
	nsec_t now = clock_mono();

	pthread_mutex_lock(&im->lock);
	struct want *w = map_get(&im->wants, key);
	if (w && w->state == WANT_PULLING) {
		pthread_mutex_unlock(&im->lock);
		return VERDICT_PULLING;
	}
	if (w && w->state == WANT_DONE) { /* used up by this start */
		map_remove(&im->wants, key);
		want_free(w);
		pthread_mutex_unlock(&im->lock);
		return VERDICT_READY;
	}
	if (w && w->failed_at > 0 && now < w->failed_at + w->span) {
		bool early = now < w->failed_at + ERR_SHOWN;
		bool say = !early && !w->backoff_said;
		w->backoff_said = w->backoff_said || say;
		*ret_error = arena_str(a, str_c(w->error));
		pass_wake(p, early ? w->failed_at + ERR_SHOWN - now : w->failed_at + w->span - now);
		pthread_mutex_unlock(&im->lock);
		if (say) {
			recorder_event_at(p->k->recorder, pod, path, "Normal", "BackOff", "Back-off pulling image \"%s\"", ref);
			recorder_event_at(p->k->recorder, pod, path, "Warning", "Failed", "Error: ImagePullBackOff");
		}
		return early ? VERDICT_FAILED : VERDICT_BACKOFF;
	}
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->key = str_dup(key);
		w->uid = str_dup(p->uid);
		map_set(&im->wants, key, w);
	}
	w->state = WANT_PULLING;
	pthread_mutex_unlock(&im->lock);
	pull_begin(p, a, pod, w, ref, path);
	return VERDICT_PULLING;
}

static struct str policy_of(struct str policy, const struct image_ref *ref) {
	if (policy.len > 0) {
		return policy;
	}
	return str_eq(ref->tag, S("latest")) && ref->digest.len == 0 ? S("Always") : S("IfNotPresent");
}

bool image_ready(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c, struct image_info *ret) {
	const char *ref = arena_cstr(a, value_str_at(c->spec, N_image));
	struct str path = ctr_field_path(a, c->kind, str_c(c->name)), error = { 0 };
	struct image_ref parsed = { 0 };
	struct err err = { 0 };

	if (!image_ref_parse(a, str_c(ref), &parsed, &err) && strncmp(ref, "sha256:", 7) != 0) {
		bool said = c->waiting && strcmp(c->waiting, "InvalidImageName") == 0;
		ctr_wait(c, "InvalidImageName", "Failed to apply default image tag \"%s\": couldn't parse image name \"%s\": invalid reference format", ref, ref);
		if (!said) {
			recorder_event_at(p->k->recorder, pod, path, "Warning", "InspectFailed", "%s", c->waiting_message);
			recorder_event_at(p->k->recorder, pod, path, "Warning", "Failed", "Error: InvalidImageName");
		}
		return false;
	}
	err_clear(&err);
	bool present = image_status(cri_images(p->k->o.cri), a, str_c(ref), ret, &err);
	struct str policy = policy_of(value_str_at(c->spec, N_imagePullPolicy), &parsed);
	if (present && !str_eq(policy, S("Always"))) {
		recorder_event_at(p->k->recorder, pod, path, "Normal", "Pulled",
			"Container image \"%s\" already present on machine and can be accessed by the pod", ref);
		return true;
	}
	if (str_eq(policy, S("Never"))) {
		bool said = c->waiting && strcmp(c->waiting, "ErrImageNeverPull") == 0;
		ctr_wait(c, "ErrImageNeverPull", "Container image \"%s\" is not present with pull policy of Never", ref);
		if (!said) {
			recorder_event_at(p->k->recorder, pod, path, "Warning", "ErrImageNeverPull", "%s", c->waiting_message);
			recorder_event_at(p->k->recorder, pod, path, "Warning", "Failed", "Error: ErrImageNeverPull");
		}
		pass_wake(p, 10 * NSEC_PER_SEC); /* it may be loaded meanwhile */
		return false;
	}
	switch (want_pull(p, a, pod, str_c(c->name), path, ref, &error)) {
	case VERDICT_READY:
		err_clear(&err);
		if (image_status(cri_images(p->k->o.cri), a, str_c(ref), ret, &err)) {
			return true;
		}
		ctr_wait(c, "ErrImagePull", "%s", err.msg);
		pass_wake(p, NSEC_PER_SEC);
		return false;
	case VERDICT_PULLING:
		if (c->waiting && strcmp(c->waiting, "ImagePullBackOff") != 0 && strcmp(c->waiting, "ErrImagePull") != 0 &&
			strcmp(c->waiting, "CrashLoopBackOff") != 0) {
			c->waiting = NULL;
		}
		return false;
	case VERDICT_FAILED:
		ctr_wait(c, "ErrImagePull", "%.*s", STR_ARG(error));
		return false;
	case VERDICT_BACKOFF:
		ctr_wait(c, "ImagePullBackOff", "Back-off pulling image \"%s\": ErrImagePull: %.*s", ref, STR_ARG(error));
		return false;
	}
	return false;
}

bool image_ready_volume(struct pod *p, struct arena *a, const struct value *pod, struct str ref_text, struct str policy, struct image_info *ret,
	struct err *err) {
	const char *ref = arena_cstr(a, ref_text);
	struct image_ref parsed = { 0 };
	struct str error = { 0 };

	if (!image_ref_parse(a, ref_text, &parsed, err)) {
		return false;
	}
	bool present = image_status(cri_images(p->k->o.cri), a, ref_text, ret, err);
	policy = policy_of(policy, &parsed);
	if (present && !str_eq(policy, S("Always"))) {
		return true;
	}
	err_clear(err);
	if (str_eq(policy, S("Never"))) {
		return err_set(err, ERR_NOT_FOUND, "image \"%s\" is not present with pull policy of Never", ref);
	}
	switch (want_pull(p, a, pod, S("(volume)"), S(""), ref, &error)) {
	case VERDICT_READY:
		return image_status(cri_images(p->k->o.cri), a, ref_text, ret, err);
	case VERDICT_PULLING:
		return err_set(err, ERR_UNAVAILABLE, "image \"%s\" is being pulled", ref);
	case VERDICT_FAILED:
	case VERDICT_BACKOFF:
		return err_set(err, ERR_INTERNAL, "failed to pull image \"%s\": %.*s", ref, STR_ARG(error));
	}
	return false;
}
