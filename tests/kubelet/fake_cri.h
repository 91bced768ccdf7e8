/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_cri.h - a container runtime in memory, in place of the real one: a test that includes this file links with
 * it instead of the runtime room. Sandboxes and containers are rows; tests end containers, refuse things, and count
 * calls. Outlives a kubelet, as the real one does.
 */
#ifndef TESTS_FAKE_CRI_H
#define TESTS_FAKE_CRI_H

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/vec.h"
#include "kubelet/kubelet.h"

struct fake_ctr {
	struct cri_container_status st; /* texts are in cri.own */
	VEC(struct cri_kv) env;
	VEC(struct cri_mount) mounts;
	VEC(struct str) command;
	struct cri_resources resources;
	bool removed;
	int term_signals;
};
struct fake_sandbox {
	struct cri_sandbox_status st;
	struct cri_sandbox_config cfg;
	bool removed;
};
struct fake_image {
	const char *ref;
	int pulls;
	bool present;
	enum err_code pull_fails;
};
struct cri {
	pthread_mutex_t lock;
	VEC(struct fake_sandbox *) sandboxes;
	VEC(struct fake_ctr *) ctrs;
	VEC(struct fake_image) images;
	VEC(char *) cgroups;
	void (*on_exit)(void *arg, struct str id, bool is_sandbox);
	void *arg;
	int next;
	_Atomic bool ignore_term;
	const char *_Atomic start_fails;
	_Atomic int exec_code, execs;
	struct arena own; /* all texts */
};

/* Under the lock. */
static struct str fake_own(struct cri *c, struct str s) {
	return arena_str(&c->own, s);
}

static struct cri *fake_cri_new(void) {
	struct cri *c = xcalloc(1, sizeof(*c));

	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void fake_cri_free(struct cri *c) {
	VEC_EACH(&c->sandboxes, x) {
		free(*x);
	}
	VEC_EACH(&c->ctrs, x) {
		VEC_RELEASE(&(*x)->env);
		VEC_RELEASE(&(*x)->mounts);
		VEC_RELEASE(&(*x)->command);
		free(*x);
	}
	VEC_RELEASE(&c->sandboxes);
	VEC_RELEASE(&c->ctrs);
	VEC_RELEASE(&c->images);
	arena_release(&c->own);
	free(c);
}

static void fake_image_add(struct cri *c, const char *ref, bool present) {
	VEC_PUSH(&c->images, ((struct fake_image){ .ref = ref, .present = present }));
}

static struct fake_ctr *fake_ctr_locked(struct cri *c, struct str id) {
	VEC_EACH(&c->ctrs, x) {
		if (str_eq((*x)->st.id, id) && !(*x)->removed) {
			return *x;
		}
	}
	return NULL;
}

static struct fake_sandbox *fake_sandbox_locked(struct cri *c, struct str id) {
	VEC_EACH(&c->sandboxes, x) {
		if (str_eq((*x)->st.id, id) && !(*x)->removed) {
			return *x;
		}
	}
	return NULL;
}

/* Ends a container, as if its program had. */
static void fake_exit(struct cri *c, struct str id, int code) {
	bool tell = false;

	pthread_mutex_lock(&c->lock);
	struct fake_ctr *x = fake_ctr_locked(c, id);
	if (x && x->st.state == CRI_CONTAINER_RUNNING) {
		x->st.state = CRI_CONTAINER_EXITED;
		x->st.exit_code = code;
		x->st.finished = clock_wall();
		x->st.reason = code ? S("Error") : S("Completed");
		x->st.pid = 0;
		tell = true;
	}
	pthread_mutex_unlock(&c->lock);
	if (tell && c->on_exit) {
		c->on_exit(c->arg, id, false);
	}
}

/* The newest container of that name; "" when there is none. */
static struct str fake_find(struct cri *c, const char *name, enum cri_container_state state) {
	struct str ret = S("");

	pthread_mutex_lock(&c->lock);
	VEC_EACH(&c->ctrs, x) {
		if (!(*x)->removed && str_eqc((*x)->st.name, name) && (*x)->st.state == state) {
			ret = (*x)->st.id;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* ---- cri.h -------------------------------------------------------------------------------------------------- */

struct image_store *cri_images(struct cri *c) {
	return (struct image_store *)c;
}

void cri_version(struct cri *c, struct cri_version *ret) {
	*ret = (struct cri_version){ S("fake"), S("1.0"), S("2.0"), S("v1") };
}

bool cri_sandbox_create(struct cri *c, struct arena *a, const struct cri_sandbox_config *cfg, struct str *ret_id, struct err *err) {
	struct fake_sandbox *s = xcalloc(1, sizeof(*s));
	char id[32];

	pthread_mutex_lock(&c->lock);
	snprintf(id, sizeof(id), "sandbox%d", c->next++);
	s->st = (struct cri_sandbox_status){ .id = fake_own(c, str_c(id)), .name = fake_own(c, cfg->name), .ns = fake_own(c, cfg->ns), .uid = fake_own(c, cfg->uid),
		.attempt = cfg->attempt, .state = CRI_SANDBOX_READY, .created = clock_wall(), .netns = S("/fake/netns"), .network = cfg->network,
		.note = S(""), .cgroup_parent = fake_own(c, cfg->cgroup_parent), .hostname = fake_own(c, cfg->hostname) };
	VEC_PUSH(&c->sandboxes, s);
	*ret_id = arena_str(a, s->st.id);
	pthread_mutex_unlock(&c->lock);
	return true;
}

bool cri_sandbox_set_note(struct cri *c, struct str id, struct str note, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_sandbox *s = fake_sandbox_locked(c, id);
	if (s) {
		s->st.note = fake_own(c, note);
	}
	pthread_mutex_unlock(&c->lock);
	return s || err_set(err, ERR_NOT_FOUND, "no sandbox %.*s", STR_ARG(id));
}

bool cri_sandbox_stop(struct cri *c, struct str id, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_sandbox *s = fake_sandbox_locked(c, id);
	if (s) {
		s->st.state = CRI_SANDBOX_NOT_READY;
	}
	VEC_EACH(&c->ctrs, x) {
		if (str_eq((*x)->st.sandbox_id, id) && (*x)->st.state == CRI_CONTAINER_RUNNING) {
			(*x)->st.state = CRI_CONTAINER_EXITED;
			(*x)->st.exit_code = 137;
			(*x)->st.finished = clock_wall();
		}
	}
	pthread_mutex_unlock(&c->lock);
	return true;
}

bool cri_sandbox_remove(struct cri *c, struct str id, struct err *err) {
	bool ok = cri_sandbox_stop(c, id, err);

	pthread_mutex_lock(&c->lock);
	struct fake_sandbox *s = fake_sandbox_locked(c, id);
	if (s) {
		s->removed = true;
	}
	VEC_EACH(&c->ctrs, x) {
		if (str_eq((*x)->st.sandbox_id, id)) {
			(*x)->removed = true;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return ok;
}

bool cri_sandbox_status(struct cri *c, struct arena *a, struct str id, struct cri_sandbox_status *ret, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_sandbox *s = fake_sandbox_locked(c, id);
	if (s) {
		*ret = s->st;
	}
	pthread_mutex_unlock(&c->lock);
	return s || err_set(err, ERR_NOT_FOUND, "no sandbox %.*s", STR_ARG(id));
}

bool cri_sandbox_list(struct cri *c, struct arena *a, struct cri_sandboxes *ret, struct err *err) {
	pthread_mutex_lock(&c->lock);
	ret->at = arena_array(a, struct cri_sandbox_status, c->sandboxes.len);
	ret->len = 0;
	VEC_EACH(&c->sandboxes, s) {
		if (!(*s)->removed) {
			ret->at[ret->len++] = (*s)->st;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return true;
}

static void fake_kvs(struct cri *c, struct cri_kvs from, void *vec) {
	VEC(struct cri_kv) *v = vec;

	for (size_t i = 0; i < from.len; i++) {
		VEC_PUSH(v, ((struct cri_kv){ fake_own(c, from.at[i].key), fake_own(c, from.at[i].value) }));
	}
}

bool cri_container_create(struct cri *c, struct arena *a, struct str sandbox_id, const struct cri_container_config *cfg, struct str *ret_id,
	struct err *err) {
	struct fake_ctr *x = xcalloc(1, sizeof(*x));
	char id[32];

	pthread_mutex_lock(&c->lock);
	snprintf(id, sizeof(id), "ctr%d", c->next++);
	x->st = (struct cri_container_status){ .id = fake_own(c, str_c(id)), .sandbox_id = fake_own(c, sandbox_id), .name = fake_own(c, cfg->name),
		.attempt = cfg->attempt, .state = CRI_CONTAINER_CREATED, .created = clock_wall(), .image = fake_own(c, cfg->image),
		.image_id = S("sha256:1234"), .image_ref = S("fake@sha256:1234"), .log_path = fake_own(c, cfg->log_path), .uid = -1, .gid = -1,
		.stdin = cfg->stdin, .tty = cfg->tty };
	x->resources = x->st.resources = cfg->resources;
	fake_kvs(c, cfg->env, &x->env);
	for (size_t i = 0; i < cfg->mounts_len; i++) {
		struct cri_mount m = cfg->mounts[i];
		m.container_path = fake_own(c, m.container_path);
		m.host_path = fake_own(c, m.host_path);
		VEC_PUSH(&x->mounts, m);
	}
	for (size_t i = 0; i < cfg->command.len; i++) {
		VEC_PUSH(&x->command, fake_own(c, cfg->command.at[i]));
	}
	VEC_PUSH(&c->ctrs, x);
	*ret_id = arena_str(a, x->st.id);
	pthread_mutex_unlock(&c->lock);
	return true;
}

bool cri_container_start(struct cri *c, struct str id, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_ctr *x = fake_ctr_locked(c, id);
	bool ok = x && !c->start_fails;
	if (x) {
		x->st.state = ok ? CRI_CONTAINER_RUNNING : CRI_CONTAINER_EXITED;
		x->st.started = clock_wall();
		x->st.pid = 1;
		if (!ok) {
			x->st.exit_code = 128;
			x->st.finished = clock_wall();
			x->st.reason = S("ContainerCannotRun");
			x->st.message = str_c(c->start_fails);
		}
	}
	pthread_mutex_unlock(&c->lock);
	return ok || err_set(err, ERR_INTERNAL, "%s", c->start_fails ? c->start_fails : "no such container");
}

bool cri_container_stop(struct cri *c, struct str id, nsec_t grace, struct err *err) {
	fake_exit(c, id, 137);
	return true;
}

bool cri_container_signal(struct cri *c, struct str id, int sig, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_ctr *x = fake_ctr_locked(c, id);
	if (x) {
		x->term_signals++;
	}
	bool ignore = c->ignore_term;
	pthread_mutex_unlock(&c->lock);
	if (!ignore) {
		fake_exit(c, id, 128 + sig);
	}
	return true;
}

bool cri_container_remove(struct cri *c, struct str id, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_ctr *x = fake_ctr_locked(c, id);
	if (x) {
		x->removed = true;
	}
	pthread_mutex_unlock(&c->lock);
	return true;
}

bool cri_container_status(struct cri *c, struct arena *a, struct str id, struct cri_container_status *ret, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_ctr *x = fake_ctr_locked(c, id);
	if (x) {
		*ret = x->st;
	}
	pthread_mutex_unlock(&c->lock);
	return x || err_set(err, ERR_NOT_FOUND, "no container %.*s", STR_ARG(id));
}

bool cri_container_list(struct cri *c, struct arena *a, struct str sandbox_id, struct cri_containers *ret, struct err *err) {
	pthread_mutex_lock(&c->lock);
	ret->at = arena_array(a, struct cri_container_status, c->ctrs.len);
	ret->len = 0;
	VEC_EACH(&c->ctrs, x) {
		if (!(*x)->removed && (sandbox_id.len == 0 || str_eq((*x)->st.sandbox_id, sandbox_id))) {
			ret->at[ret->len++] = (*x)->st;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return true;
}

bool cri_container_update(struct cri *c, struct str id, const struct cri_resources *res, struct err *err) {
	pthread_mutex_lock(&c->lock);
	struct fake_ctr *x = fake_ctr_locked(c, id);
	if (x) {
		x->st.resources = *res;
	}
	pthread_mutex_unlock(&c->lock);
	return true;
}

bool cri_container_reopen_log(struct cri *c, struct str id, struct err *err) {
	return true;
}

void cri_exec_result_release(struct cri_exec_result *r) {
	buf_release(&r->out);
	buf_release(&r->err);
}

bool cri_exec_sync(struct cri *c, struct str id, struct cri_strs argv, nsec_t timeout, struct cri_exec_result *ret, struct err *err) {
	pthread_mutex_lock(&c->lock);
	ret->exit_code = c->exec_code;
	c->execs++;
	pthread_mutex_unlock(&c->lock);
	return true;
}

bool cri_exec_start(struct cri *c, struct str id, struct cri_strs argv, const struct cri_stream_opts *opts, struct cri_stream *ret, struct err *err) {
	return err_set(err, ERR_INTERNAL, "not in this test");
}

bool cri_attach(struct cri *c, struct str id, const struct cri_stream_opts *opts, struct cri_stream *ret, struct err *err) {
	return err_set(err, ERR_INTERNAL, "not in this test");
}

void cri_stream_resize(struct cri_stream *s, uint16_t columns, uint16_t rows) {
}

bool cri_stream_wait(struct cri_stream *s, int *ret_exit_code, struct err *err) {
	return err_set(err, ERR_INTERNAL, "not in this test");
}

void cri_stream_free(struct cri_stream *s) {
}

bool cri_sandbox_dial(struct cri *c, struct str id, uint16_t port, int *ret_fd, struct err *err) {
	return err_set(err, ERR_INTERNAL, "not in this test");
}

bool cri_container_stats(struct cri *c, struct str id, struct cri_stats *ret, struct err *err) {
	*ret = (struct cri_stats){ .at = clock_wall() };
	return true;
}

bool cri_sandbox_stats(struct cri *c, struct str id, struct cri_stats *ret, struct err *err) {
	*ret = (struct cri_stats){ .at = clock_wall() };
	return true;
}

bool cri_cgroup_set(struct cri *c, struct str path, const struct cri_resources *res, struct err *err) {
	return true;
}

bool cri_cgroup_remove(struct cri *c, struct str path, struct err *err) {
	return true;
}

bool cri_cgroup_stats(struct cri *c, struct str path, struct cri_stats *ret, struct err *err) {
	*ret = (struct cri_stats){ .at = clock_wall() };
	return true;
}

bool cri_cgroup_children(struct cri *c, struct arena *a, struct str path, struct cri_strs *ret, struct err *err) {
	*ret = (struct cri_strs){ 0 };
	return true;
}

bool cri_image_mount(struct cri *c, struct str image_id, const char *target, struct err *err) {
	return true;
}

/* ---- image.h --------------------------------------------------------------------------------------------------- */

bool image_ref_parse(struct arena *a, struct str text, struct image_ref *ret, struct err *err) {
	struct str head, tail;

	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] >= 'A' && text.ptr[i] <= 'Z') {
			return err_set(err, ERR_INVALID, "invalid reference format: repository name must be lowercase");
		}
	}
	bool tagged = str_cut(text, ':', &head, &tail);
	*ret = (struct image_ref){ .registry = S("docker.io"), .repository = head, .tag = tagged ? tail : S("latest") };
	return true;
}

static struct fake_image *fake_image_find(struct cri *c, struct str ref) {
	VEC_EACH(&c->images, im) {
		if (str_eqc(ref, im->ref)) {
			return im;
		}
	}
	return NULL;
}

bool image_status(struct image_store *s, struct arena *a, struct str ref, struct image_info *ret, struct err *err) {
	struct cri *c = (struct cri *)s;

	pthread_mutex_lock(&c->lock);
	struct fake_image *im = fake_image_find(c, ref);
	bool ok = im && im->present;
	pthread_mutex_unlock(&c->lock);
	*ret = (struct image_info){ .id = S("sha256:1234"), .size = 1000 };
	return ok || err_set(err, ERR_NOT_FOUND, "no such image: %.*s", STR_ARG(ref));
}

bool image_pull(struct image_store *s, struct arena *a, struct str ref, const struct image_transfer_opts *opts, struct str *ret_id, struct err *err) {
	struct cri *c = (struct cri *)s;

	pthread_mutex_lock(&c->lock);
	struct fake_image *im = fake_image_find(c, ref);
	enum err_code fails = im ? im->pull_fails : ERR_NOT_FOUND;
	if (im) {
		im->pulls++;
		im->present = im->present || !fails;
	}
	pthread_mutex_unlock(&c->lock);
	*ret_id = ref;
	return !fails || err_set(err, fails, "pull of %.*s failed", STR_ARG(ref));
}

bool image_ls(struct image_store *s, struct arena *a, struct image_list *ret, struct err *err) {
	*ret = (struct image_list){ 0 };
	return true;
}

bool image_rm(struct image_store *s, struct str ref, bool force, struct err *err) {
	return true;
}

bool image_gc(struct image_store *s, uint64_t *ret_bytes, struct err *err) {
	return true;
}

void image_usage(struct image_store *s, struct image_usage *ret) {
	*ret = (struct image_usage){ .path = S("/") };
}

#endif
