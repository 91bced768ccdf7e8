/* SPDX-License-Identifier: Apache-2.0 */
/*
 * static_pods.c - see static_pods.h. A static pod lives as long as its file, whatever the API says; so that the cluster sees
 * it, a mirror pod with the same name is kept in the API, which has its status and decides nothing.
 *
 * The folder is watched on the kubelet's loop; files are read, and mirrors written, by pool jobs.
 * Source: Kubernetes "Create static Pods"; annotations kubernetes.io/config.hash, .source, .mirror.
 */
#include "kubelet/static_pods.h"

#include <dirent.h>
#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/pod.h"
#include "net/digest.h"
#include "schema/schema.h"

#define FILES_MAX 500
#define FILE_MAX ((size_t)1 << 20)
#define SETTLE (100 * NSEC_PER_MSEC) /* editors write in several steps */
#define RETRY_FIRST (NSEC_PER_SEC / 2)
#define RETRY_MAX (10 * NSEC_PER_SEC)
#define MIRROR S("kubernetes.io/config.mirror")

struct found {
	VEC(struct obj *) at;
};

struct static_pods {
	struct kubelet *k;
	char *dir;
	int inotify;
	struct loop_fd *watch;
	struct loop_timer timer;
	struct job job;
	bool busy, again;
	struct found found; /* of the job */
	bool ok;
};

struct mirror_job { /* one write for one pod's mirror */
	struct job job;
	struct static_pods *sp;
	struct pod *p;         /* referenced; NULL: a mirror of nobody */
	struct obj *pod;       /* create: the static pod; delete: the mirror */
	bool create, ok;
	struct err err;
};

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static void annotate(struct arena *a, struct value *meta, struct str key, struct str value) {
	value_set_key_str(a, value_ensure_object(a, meta, N_annotations), key, value);
}

bool static_pod_read(struct arena *a, const char *node_name, const char *path, struct str text, struct value **ret, struct err *err) {
	const struct schema_type *type = schema_type_at(T_core_v1_Pod);
	char hash[SHA256_HEX];
	struct value *raw = NULL, *pod = NULL, *meta;

	if (!yaml_parse(a, text, &(struct json_opts){ .depth_max = 100 }, &raw, err)) {
		return false;
	}
	if (!str_eq(value_str_at(raw, N_kind), S("Pod")) || !str_eq(value_str_at(raw, N_apiVersion), S("v1"))) {
		return err_set(err, ERR_INVALID, "a manifest must hold one Pod of v1");
	}
	if (!schema_decode(a, type, raw, NULL, &pod, err)) {
		return false;
	}
	struct str name = value_str_at(pod, N_metadata, N_name);
	if (name.len == 0 || value_len(value_at(pod, N_spec, N_containers)) == 0) {
		return err_set(err, ERR_INVALID, "a pod must have a name and a container");
	}
	schema_default(a, type, pod);
	sha256_hex(arena_printf(a, "%s\n%s\n%.*s", node_name, path, STR_ARG(text)), hash);
	hash[32] = 0;
	meta = value_ensure_object(a, pod, N_metadata);
	value_set_str(a, meta, N_name, arena_printf(a, "%.*s-%s", STR_ARG(name), node_name));
	if (value_str_at(meta, N_namespace).len == 0) {
		value_set_str(a, meta, N_namespace, S("default"));
	}
	value_set_str(a, meta, N_uid, str_c(hash));
	annotate(a, meta, S("kubernetes.io/config.hash"), str_c(hash));
	annotate(a, meta, S("kubernetes.io/config.source"), S("file"));
	value_set_str(a, value_ensure_object(a, pod, N_spec), N_nodeName, str_c(node_name));
	value_remove(pod, N_status);
	*ret = pod;
	return true;
}

static bool is_manifest(const char *name) {
	struct str s = str_c(name);

	return name[0] != '.' && (str_ends(s, S(".yaml")) || str_ends(s, S(".yml")) || str_ends(s, S(".json")) || str_ends(s, S(".manifest")));
}

static void read_one(struct static_pods *sp, const char *path, struct found *found) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = BUF_INIT(FILE_MAX);
	struct err err = { 0 };
	struct value *pod = NULL;

	if (!file_read(path, &b, &err) || !static_pod_read(&a, sp->k->o.node_name, path, buf_view(&b), &pod, &err)) {
		log_warn(KUBELET_LOG, "manifest cannot be used", kv_c("file", path), kv_err(&err));
		return;
	}
	VEC_PUSH(&found->at, obj_freeze(pod, 0));
}

static bool scan(struct static_pods *sp, struct found *found, struct err *err) {
	auto_arena struct arena a = { 0 };
	DIR *d = opendir(sp->dir);

	if (!d) {
		return err_sys(err, "open the folder of static pods %s", sp->dir);
	}
	for (struct dirent *e; found->at.len < FILES_MAX && (e = readdir(d));) {
		if (is_manifest(e->d_name)) {
			read_one(sp, pod_path_fmt(&a, "%s/%s", sp->dir, e->d_name), found);
		}
	}
	closedir(d);
	return true;
}

/* ---- mirrors -------------------------------------------------------------------------------------------------------- */

bool is_mirror(const struct value *pod) {
	return value_get_str(value_at(pod, N_metadata, N_annotations), MIRROR) != NULL;
}

static struct value *mirror_make(struct mirror_job *m, struct arena *a) {
	struct value *pod = value_copy(a, m->pod->root), *meta = value_get(pod, N_metadata);
	struct str hash = value_str_at(meta, N_uid);

	annotate(a, meta, MIRROR, hash);
	value_remove(meta, N_uid);
	return pod;
}

static void mirror_run(struct job *j) {
	struct mirror_job *m = container_of(j, struct mirror_job, job);
	auto_arena struct arena a = { 0 };
	struct client *c = m->sp->k->o.client;
	const struct value *meta = value_get(m->pod->root, N_metadata);

	if (m->create) {
		m->ok = client_create(c, GVR_PODS, value_str_at(meta, N_namespace), mirror_make(m, &a), NULL, &m->err);
		return;
	}
	struct client_call call = { .verb = CLIENT_DELETE, .gvr = GVR_PODS, .ns = value_str_at(meta, N_namespace), .name = value_str_at(meta, N_name),
		.has_grace = true, .precondition_uid = value_str_at(meta, N_uid) };
	m->ok = client_do(c, &call, NULL, NULL, &m->err) || m->err.code == ERR_NOT_FOUND || m->err.code == ERR_CONFLICT;
}

static void mirror_bring(struct static_pods *sp, struct pod *p);

static void on_mirror_retry(struct loop_timer *t) {
	struct pod *p = container_of(t, struct pod, status_timer);

	mirror_bring(p->k->static_pods, p);
}

static void mirror_done(struct job *j) {
	struct mirror_job *m = container_of(j, struct mirror_job, job);
	struct pod *p = m->p;
	struct kubelet *k = m->sp->k;

	k->passes--;
	if (p) {
		p->mirror_busy = false;
		if (m->ok) {
			p->status_retry = 0;
			if (!m->create) { /* the news that it is gone may have come first */
				mirror_bring(m->sp, p);
			}
		} else if (!p->freeing && !k->stopping) {
			p->status_retry = p->status_retry ? MIN(p->status_retry * 2, RETRY_MAX) : RETRY_FIRST;
			loop_timer_start(k->loop, &p->status_timer, p->status_retry, on_mirror_retry);
			if (m->err.code != ERR_ALREADY_EXISTS) { /* that of the file's last version goes in a moment */
				log_warn(KUBELET_LOG, "mirror of a static pod not written", kv_str("pod", p->name), kv_err(&m->err));
			}
		}
		pod_unref(p);
	}
	obj_unref(m->pod);
	free(m);
}

static void mirror_submit(struct static_pods *sp, struct pod *p, struct obj *pod, bool create) {
	struct mirror_job *m = xcalloc(1, sizeof(*m));

	m->job = (struct job){ .loop = sp->k->loop, .run = mirror_run, .done = mirror_done };
	m->sp = sp;
	m->p = p;
	m->pod = obj_ref(pod);
	m->create = create;
	sp->k->passes++;
	if (p) {
		p->mirror_busy = true;
		pod_ref(p);
	}
	if (!pool_submit(&m->job)) {
		m->err.code = ERR_UNAVAILABLE;
		mirror_done(&m->job);
	}
}

/* Makes the mirror when there is none. */
static void mirror_bring(struct static_pods *sp, struct pod *p) {
	if (!p->mirror && !p->mirror_busy && !p->gone && !p->freeing && p->obj && !sp->k->stopping) {
		mirror_submit(sp, p, p->obj, true);
	}
}

void static_pods_mirror(struct static_pods *sp, struct kubelet *k, struct obj *old, struct obj *now) {
	const struct value *pod = (now ? now : old)->root;
	struct str hash = value_as_str(value_get_str(value_at(pod, N_metadata, N_annotations), MIRROR));
	struct pod *p = kubelet_pod(k, hash);

	if (!sp) {
		return; /* somebody's mirror, from before the folder was taken away: the API's business */
	}
	if (!p || !p->is_static || p->gone) {
		if (now) {
			mirror_submit(sp, NULL, now, false); /* of a file that is gone */
			return;
		}
		MAP_EACH(&k->pods, e) { /* its name is free for the one that came in its place */
			struct pod *next = e->value;
			if (next->is_static && str_eq(next->name, value_str_at(pod, N_metadata, N_name)) && str_eq(next->ns, value_str_at(pod, N_metadata, N_namespace))) {
				mirror_bring(sp, next);
			}
		}
		return;
	}
	obj_unref(p->mirror);
	p->mirror = obj_ref(now);
	if (!now) {
		obj_unref(TAKE(p->status_have));
		mirror_bring(sp, p);
		return;
	}
	if (!value_is_empty(value_at(pod, N_metadata, N_deletionTimestamp))) {
		mirror_submit(sp, p, now, false); /* deleting a mirror deletes nothing: it comes back */
		return;
	}
	if (now->revision > p->status_revision && !p->status_busy) {
		obj_unref(p->status_have);
		p->status_have = obj_freeze(value_get(pod, N_status), now->revision);
	}
	pod_status_post(p);
}

/* ---- the set of pods -------------------------------------------------------------------------------------------------- */

static bool holds(const struct found *f, struct str uid) {
	for (size_t i = 0; i < f->at.len; i++) {
		if (str_eq(value_str_at(f->at.at[i]->root, N_metadata, N_uid), uid)) {
			return true;
		}
	}
	return false;
}

/* Takes the objects of `f`. `run`: the loop runs. */
static void take(struct static_pods *sp, struct found *f, bool run) {
	struct kubelet *k = sp->k;

	MAP_EACH(&k->pods, e) {
		struct pod *p = e->value;
		if (p->is_static && !p->gone && !holds(f, p->uid)) {
			p->gone = true;
			if (p->mirror) {
				mirror_submit(sp, p, p->mirror, false);
			}
			pod_wake(p);
		}
	}
	VEC_EACH(&f->at, o) {
		const struct value *meta = value_get((*o)->root, N_metadata);
		struct str uid = value_str_at(meta, N_uid);
		struct pod *p = kubelet_pod(k, uid);
		if (!p) {
			p = pod_new(k, uid, value_str_at(meta, N_namespace), value_str_at(meta, N_name));
		}
		if (!p->obj) {
			p->is_static = true;
			p->obj = obj_ref(*o);
			log_info(KUBELET_LOG, "static pod", kv_str("ns", p->ns), kv_str("pod", p->name));
			if (run) {
				pod_wake(p);
				mirror_bring(sp, p);
			}
		}
		obj_unref(*o);
	}
	VEC_RELEASE(&f->at);
}

/* ---- watching ------------------------------------------------------------------------------------------------------------ */

static void scan_run(struct job *j) {
	struct static_pods *sp = container_of(j, struct static_pods, job);
	struct err err = { 0 };

	sp->ok = scan(sp, &sp->found, &err);
	if (!sp->ok) {
		log_warn(KUBELET_LOG, "static pods not read", kv_err(&err));
	}
}

static void on_settled(struct loop_timer *t);

static void scan_done(struct job *j) {
	struct static_pods *sp = container_of(j, struct static_pods, job);

	sp->busy = false;
	sp->k->passes--;
	if (sp->k->stopping || !sp->ok) {
		VEC_EACH(&sp->found.at, o) {
			obj_unref(*o);
		}
		VEC_RELEASE(&sp->found.at);
		return;
	}
	take(sp, &sp->found, true);
	if (sp->again) {
		loop_timer_start(sp->k->loop, &sp->timer, SETTLE, on_settled);
	}
}

static void on_settled(struct loop_timer *t) {
	struct static_pods *sp = container_of(t, struct static_pods, timer);

	sp->again = sp->busy;
	if (sp->busy || sp->k->stopping) {
		return;
	}
	sp->job = (struct job){ .loop = sp->k->loop, .run = scan_run, .done = scan_done };
	sp->busy = true;
	sp->k->passes++;
	if (!pool_submit(&sp->job)) {
		sp->ok = false;
		scan_done(&sp->job);
		loop_timer_start(sp->k->loop, &sp->timer, NSEC_PER_SEC, on_settled);
	}
}

static void on_change(void *arg, int events) {
	struct static_pods *sp = arg;
	char block[4096];

	while (read(sp->inotify, block, sizeof(block)) > 0) {
	}
	loop_timer_start(sp->k->loop, &sp->timer, SETTLE, on_settled);
}

bool static_pods_new(struct kubelet *k, struct static_pods **ret, struct err *err) {
	struct static_pods *sp = xcalloc(1, sizeof(*sp));
	struct found found = { 0 };

	sp->k = k;
	sp->dir = xstrdup(k->o.static_pod_dir);
	sp->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (sp->inotify < 0 ||
		inotify_add_watch(sp->inotify, sp->dir, IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0) {
		(void)err_sys(err, "watch the folder of static pods %s", sp->dir);
		static_pods_free(sp);
		return false;
	}
	if (!scan(sp, &found, err)) {
		static_pods_free(sp);
		return false;
	}
	take(sp, &found, false);
	*ret = sp;
	return true;
}

void static_pods_begin(struct static_pods *sp) {
	sp->watch = loop_fd_watch(sp->k->loop, sp->inotify, LOOP_READ, on_change, sp);
	MAP_EACH(&sp->k->pods, e) {
		struct pod *p = e->value;
		if (p->is_static) {
			pod_wake(p);
			mirror_bring(sp, p);
		}
	}
}

void static_pods_end(struct static_pods *sp) {
	loop_timer_stop(&sp->timer);
	if (sp->watch) {
		loop_fd_free(TAKE(sp->watch));
	}
}

void static_pods_free(struct static_pods *sp) {
	if (!sp) {
		return;
	}
	close_fd_p(&sp->inotify);
	free(sp->dir);
	free(sp);
}
