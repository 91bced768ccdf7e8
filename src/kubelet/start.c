/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c - makes and starts one container: image, environment, mounts, security, resources, log.
 *
 * Called by passes. What keeps a container from starting ends in ctr->waiting with the reason and
 * words that the field's clients know; the pass that follows (an event's, or a back-off's) tries again.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "kubelet/env.h"
#include "kubelet/images.h"
#include "kubelet/internal.h"
#include "kubelet/resources.h"
#include "kubelet/volume.h"

#define START_RETRY (10 * NSEC_PER_SEC) /* without news; a ConfigMap that appears, or a change of the pod, is one */
#define RUN_RETRY (NSEC_PER_SEC)         /* until the dead instance is seen, and its back-off begins */

struct start {
	struct pod *p;
	struct arena *a;
	const struct value *pod, *spec;
	struct ctr *c;
	uint32_t attempt;
	struct env env;
	VEC(struct cri_mount) mounts;
	struct cri_container_config cfg;
};

static struct cri_strs expand_all(struct start *s, const struct value *list) {
	struct str *at = arena_array(s->a, struct str, value_len(list));
	size_t n = 0;

	VALUE_EACH(list, v) {
		at[n++] = env_expand(s->a, value_as_str(v), &s->env);
	}
	return (struct cri_strs){ at, n };
}

/* ---- mounts --------------------------------------------------------------------------------------------- */

static bool mount_volume(struct start *s, const struct value *m, size_t index, struct err *err) {
	const struct volume *v = volume_find(s->p, value_str_at(m, N_name));
	struct str sub = value_str_at(m, N_subPath), expr = value_str_at(m, N_subPathExpr);
	struct str propagation = value_str_at(m, N_mountPropagation), path;
	bool readonly = value_bool_at(m, N_readOnly);

	if (!v || !v->ready) {
		return err_set(err, ERR_INVALID, "cannot find volume \"%.*s\" to mount into container \"%s\"", STR_ARG(value_str_at(m, N_name)), s->c->name);
	}
	if (expr.len > 0) {
		sub = env_expand(s->a, expr, &s->env);
		if (str_contains(sub, S("$("))) {
			return err_set(err, ERR_INVALID, "missing value for %.*s", STR_ARG(sub));
		}
	}
	path = str_c(v->path);
	if (sub.len > 0 && !subpath_bind(s->p, s->a, v, sub, s->c->name, index, readonly, &path, err)) {
		return false;
	}
	VEC_PUSH(&s->mounts, ((struct cri_mount){
		.container_path = value_str_at(m, N_mountPath),
		.host_path = path,
		.readonly = readonly || v->plugin->readonly,
		.recursive_readonly = readonly && str_eq(value_str_at(m, N_recursiveReadOnly), S("Enabled")),
		.propagation = str_eq(propagation, S("Bidirectional")) ? CRI_PROPAGATION_BIDIRECTIONAL
			: str_eq(propagation, S("HostToContainer")) ? CRI_PROPAGATION_HOST_TO_CONTAINER : CRI_PROPAGATION_PRIVATE,
	}));
	return true;
}

/* The file that the program may leave its last words in; anybody in the container may write it. */
static bool mount_termination_log(struct start *s, struct err *err) {
	struct str path = value_str_at(s->spec, N_terminationMessagePath);
	const char *dir = pod_path_fmt(s->a, "%s/containers/%s", s->p->dir, s->c->name);
	const char *file = pod_path_fmt(s->a, "%s/%u", dir, s->attempt);

	if (path.len == 0) {
		return true;
	}
	if (!dir_make(dir, 0750, err)) {
		return false;
	}
	auto_fd int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
	if (fd < 0) {
		return err_sys(err, "open %s", file);
	}
	if (fchmod(fd, 0666) != 0) {
		return err_sys(err, "chmod %s", file);
	}
	VEC_PUSH(&s->mounts, ((struct cri_mount){ .container_path = path, .host_path = str_c(file) }));
	return true;
}

static bool mounts_make(struct start *s, struct err *err) {
	size_t index = 0;
	bool own_hosts = false;

	VALUE_EACH(value_get(s->spec, N_volumeMounts), m) {
		if (!mount_volume(s, m, index++, err)) {
			return false;
		}
		struct str at = value_str_at(m, N_mountPath);
		own_hosts = own_hosts || str_eq(at, S("/etc/hosts")) || str_eq(at, S("/etc"));
	}
	if (!own_hosts) {
		VEC_PUSH(&s->mounts, ((struct cri_mount){ .container_path = S("/etc/hosts"),
			.host_path = str_c(pod_path_fmt(s->a, "%s/etc-hosts", s->p->dir)),
			.readonly = value_bool_at(s->spec, N_securityContext, N_readOnlyRootFilesystem) }));
	}
	return mount_termination_log(s, err);
}

/* ---- security --------------------------------------------------------------------------------------------- */

/* The container's setting, else the pod's. */
static const struct value *either(const struct value *ctr, const struct value *pod, enum name_id name) {
	return value_is_set(ctr, name) ? value_get(ctr, name) : value_is_set(pod, name) ? value_get(pod, name) : NULL;
}

static struct cri_strs strs_of(struct arena *a, const struct value *list) {
	struct str *at = arena_array(a, struct str, value_len(list));
	size_t n = 0;

	VALUE_EACH(list, v) {
		at[n++] = value_as_str(v);
	}
	return (struct cri_strs){ at, n };
}

static bool run_as_non_root(struct start *s, const struct value *sc, const struct value *pod_sc, const struct image_info *image, struct err *err) {
	const struct value *user = either(sc, pod_sc, N_runAsUser);
	struct str text = image->user, id, rest;
	int64_t uid = 0;

	if (!value_as_bool(either(sc, pod_sc, N_runAsNonRoot))) {
		return true;
	}
	struct str full = pod_full_name(s->a, s->pod);
	if (user) {
		return value_as_int(user) != 0 || err_set(err, ERR_INVALID,
			"container's runAsUser breaks non-root policy (pod: \"%.*s\", container: %s)", STR_ARG(full), s->c->name);
	}
	str_cut(text, ':', &id, &rest);
	if (id.len > 0 && !str_to_i64(id, &uid)) {
		return err_set(err, ERR_INVALID, "container has runAsNonRoot and image has non-numeric user (%.*s), cannot verify user is non-root "
			"(pod: \"%.*s\", container: %s)", STR_ARG(id), STR_ARG(full), s->c->name);
	}
	return uid != 0 || err_set(err, ERR_INVALID, "container has runAsNonRoot and image will run as root (pod: \"%.*s\", container: %s)",
		STR_ARG(full), s->c->name);
}

static void groups_of(struct start *s, const struct value *pod_sc) {
	const struct value *list = value_get(pod_sc, N_supplementalGroups);
	int64_t *groups = arena_array(s->a, int64_t, value_len(list) + 1);
	size_t n = 0;

	VALUE_EACH(list, g) {
		groups[n++] = value_as_int(g);
	}
	if (pod_fs_group(s->pod) >= 0) {
		groups[n++] = pod_fs_group(s->pod);
	}
	s->cfg.security.supplemental_groups = groups;
	s->cfg.security.supplemental_groups_len = n;
	s->cfg.security.supplemental_groups_strict = str_eq(value_str_at(pod_sc, N_supplementalGroupsPolicy), S("Strict"));
}

static bool security_make(struct start *s, const struct image_info *image, struct err *err) {
	const struct value *sc = value_get(s->spec, N_securityContext), *pod_sc = value_at(s->pod, N_spec, N_securityContext);
	const struct value *user = either(sc, pod_sc, N_runAsUser), *group = either(sc, pod_sc, N_runAsGroup);
	const struct value *seccomp = either(sc, pod_sc, N_seccompProfile), *escalate = value_get(sc, N_allowPrivilegeEscalation);
	const struct value *spec = value_get(s->pod, N_spec);
	struct cri_security *out = &s->cfg.security;

	if (!run_as_non_root(s, sc, pod_sc, image, err)) {
		return false;
	}
	if (user) {
		out->run_as_user = value_as_int(user);
		out->run_as_user_set = true;
	}
	if (group) {
		out->run_as_group = value_as_int(group);
		out->run_as_group_set = true;
		if (!user && image->user.len > 0) {
			struct str name, rest;
			str_cut(image->user, ':', &name, &rest);
			out->run_as_username = name;
		}
	}
	groups_of(s, pod_sc);
	out->privileged = value_bool_at(sc, N_privileged);
	out->capabilities_add = strs_of(s->a, value_at(sc, N_capabilities, N_add));
	out->capabilities_drop = strs_of(s->a, value_at(sc, N_capabilities, N_drop));
	out->no_new_privs = escalate && escalate->type == VALUE_BOOL && !value_as_bool(escalate);
	out->readonly_rootfs = value_bool_at(sc, N_readOnlyRootFilesystem);
	out->unmasked = str_eq(value_str_at(sc, N_procMount), S("Unmasked"));
	struct str type = value_str_at(seccomp, N_type);
	if (str_eq(type, S("RuntimeDefault"))) {
		out->seccomp = CRI_SECCOMP_RUNTIME_DEFAULT;
	} else if (str_eq(type, S("Localhost"))) {
		out->seccomp = CRI_SECCOMP_LOCALHOST;
		out->seccomp_path = arena_printf(s->a, "%s/seccomp/%.*s", s->p->k->o.state_dir, STR_ARG(value_str_at(seccomp, N_localhostProfile)));
	}
	out->pid = value_bool_at(spec, N_hostPID) ? CRI_NS_NODE : value_bool_at(spec, N_shareProcessNamespace) ? CRI_NS_POD : CRI_NS_CONTAINER;
	struct str target = value_str_at(s->spec, N_targetContainerName);
	if (target.len > 0 && out->pid == CRI_NS_CONTAINER) {
		struct ctr *t = pod_ctr(s->p, target);
		if (!t || !ctr_running(t)) {
			return err_set(err, ERR_INVALID, "unable to find target container %.*s", STR_ARG(target));
		}
		out->pid = CRI_NS_TARGET;
		out->pid_target = str_c(t->id);
	}
	return true;
}

/* ---- the config ------------------------------------------------------------------------------------------- */

static void labels_make(struct start *s) {
	struct cri_kv *at = arena_array(s->a, struct cri_kv, 4);

	at[0] = (struct cri_kv){ S("io.kubernetes.container.name"), str_c(s->c->name) };
	at[1] = (struct cri_kv){ S("io.kubernetes.pod.name"), s->p->name };
	at[2] = (struct cri_kv){ S("io.kubernetes.pod.namespace"), s->p->ns };
	at[3] = (struct cri_kv){ S("io.kubernetes.pod.uid"), s->p->uid };
	s->cfg.labels = (struct cri_kvs){ at, 4 };
	at = arena_array(s->a, struct cri_kv, 3);
	at[0] = (struct cri_kv){ S("io.kubernetes.container.restartCount"), arena_printf(s->a, "%u", s->attempt) };
	at[1] = (struct cri_kv){ S("io.kubernetes.container.terminationMessagePath"), value_str_at(s->spec, N_terminationMessagePath) };
	at[2] = (struct cri_kv){ S("io.kubernetes.container.terminationMessagePolicy"), value_str_at(s->spec, N_terminationMessagePolicy) };
	s->cfg.annotations = (struct cri_kvs){ at, 3 };
}

static bool config_make(struct start *s, const struct image_info *image, struct err *err) {
	struct env *e = &s->env;

	if (!env_make(s->p, s->a, s->pod, s->spec, e, err)) {
		return false;
	}
	/* programs expect HOSTNAME as the runtime's users know it */
	struct str host, domain;
	pod_hostname(s->a, s->pod, str_c(s->p->k->o.cluster_domain), &host, &domain);
	if (!env_get(e, S("HOSTNAME")).ptr) {
		env_set(e, S("HOSTNAME"), pod_host_network(s->pod) ? str_c(s->p->k->o.node_name) : host);
	}
	s->cfg = (struct cri_container_config){
		.name = str_c(s->c->name),
		.attempt = s->attempt,
		.image = value_str_at(s->spec, N_image),
		.command = expand_all(s, value_get(s->spec, N_command)),
		.args = expand_all(s, value_get(s->spec, N_args)),
		.env = { e->at.at, e->at.len },
		.working_dir = value_str_at(s->spec, N_workingDir),
		.log_path = arena_printf(s->a, "%s/%s/%u.log", s->p->log_dir, s->c->name, s->attempt),
		.stdin = value_bool_at(s->spec, N_stdin),
		.stdin_once = value_bool_at(s->spec, N_stdinOnce),
		.tty = value_bool_at(s->spec, N_tty),
		.stop_signal = value_str_at(s->spec, N_lifecycle, N_stopSignal),
	};
	labels_make(s);
	if (!mounts_make(s, err) || !security_make(s, image, err)) {
		return false;
	}
	s->cfg.mounts = s->mounts.at;
	s->cfg.mounts_len = s->mounts.len;
	ctr_resources(s->p->k, s->a, s->pod, s->c->kind, ctr_allocated(s->p, s->c), &s->cfg.resources);
	return dir_make(pod_path_fmt(s->a, "%s/%s", s->p->log_dir, s->c->name), 0755, err);
}

static void event(struct start *s, const char *type, const char *reason, const char *text) {
	recorder_event_at(s->p->k->recorder, s->pod, ctr_field_path(s->a, s->c->kind, str_c(s->c->name)), type, reason, "%s", text);
}

/* Waits with a reason; the same failure is said once. */
static bool refuse(struct start *s, const char *reason, const struct err *err) {
	bool said = s->c->waiting == reason && s->c->waiting_message && strcmp(s->c->waiting_message, err->msg) == 0;

	ctr_wait(s->c, reason, "%s", err->msg);
	if (!said) {
		event(s, "Warning", "Failed", arena_printf(s->a, "Error: %s", err->msg).ptr);
	}
	log_info(KUBELET_LOG, "container not started", kv_str("ns", s->p->ns), kv_str("pod", s->p->name), kv_c("container", s->c->name),
		kv_c("reason", reason), kv_err(err));
	pass_wake(s->p, strcmp(reason, "RunContainerError") == 0 ? RUN_RETRY : START_RETRY);
	return false;
}

static bool start(struct start *s, struct str sandbox, const struct image_info *image) {
	struct cri *cri = s->p->k->o.cri;
	struct err err = { 0 };
	struct str id;

	if (!config_make(s, image, &err)) {
		return refuse(s, "CreateContainerConfigError", &err);
	}
	if (!cri_container_create(cri, s->a, sandbox, &s->cfg, &id, &err)) {
		return refuse(s, "CreateContainerError", &err);
	}
	snprintf(s->c->id, sizeof(s->c->id), "%.*s", STR_ARG(id));
	s->c->post_start = HOOK_NONE;
	s->c->post_start_failed = false;
	s->c->kill = KILL_NONE;
	s->c->alive_said = false;
	event(s, "Normal", "Created", "Container created");
	if (!cri_container_start(cri, id, &err)) {
		/* the dead instance stays, to count the attempt and to back off */
		return refuse(s, "RunContainerError", &err);
	}
	event(s, "Normal", "Started", "Container started");
	s->c->waiting = NULL;
	return true;
}

static uint32_t next_attempt(struct pod *p, const struct ctr *c) {
	return c->now ? c->now->attempt + 1 : (uint32_t)MAX(c->restarts_lost, 0);
}

bool ctr_start(struct pod *p, struct arena *a, const struct value *pod, struct ctr *c) {
	struct pod_sandbox *sandbox = pod_sandbox_current(p);
	struct image_info image = { 0 };
	struct start s = { .p = p, .a = a, .pod = pod, .spec = c->spec, .c = c, .attempt = next_attempt(p, c) };
	struct err err = { 0 };

	if (!sandbox || !c->spec) {
		return false;
	}
	if (c->now && c->now->state == CRI_CONTAINER_CREATED) { /* half made by an earlier process, or it could not start */
		if (!cri_container_remove(p->k->o.cri, c->now->id, &err)) {
			return refuse(&s, "CreateContainerError", &err);
		}
	}
	if (!image_ready(p, a, pod, c, &image)) {
		return false;
	}
	bool ok = start(&s, str_c(sandbox->id), &image);
	env_release(&s.env);
	VEC_RELEASE(&s.mounts);
	return ok;
}
