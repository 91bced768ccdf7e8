/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cri_driver.c - drives the runtime for tests: one JSON request a line on stdin, one JSON answer a line on stdout.
 *
 *     cri_driver ROOT STATE CGROUP-PREFIX [crun|runc]
 *
 * {"op": "...", ...} is answered by {"ok": true, ...} or {"error": {"code": "NotFound", "message": "..."}}. Ends that the
 * runtime tells by itself come between the answers, as {"event": "exit", "id": "...", "sandbox": false}. Times are
 * in milliseconds. Requests that carry "parallel": N run N times at once (burst tests).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/runtime.h"

static struct cri *cri;
static pthread_mutex_t out_lock = PTHREAD_MUTEX_INITIALIZER;

static void say(const struct value *v) {
	auto_buf struct buf b = BUF_INIT(64 << 20);
	json_print(&b, v);
	buf_char(&b, '\n');
	pthread_mutex_lock(&out_lock);
	for (size_t done = 0; done < b.len;) {
		ssize_t n = write(1, b.ptr + done, b.len - done);
		if (n <= 0) {
			exit(3);
		}
		done += (size_t)n;
	}
	pthread_mutex_unlock(&out_lock);
}

static void on_exit_seen(void *arg, struct str id, bool is_sandbox) {
	auto_arena struct arena a = { 0 };
	struct value *v = value_new_object(&a);
	set_str(&a, v, "event", S("exit"));
	set_str(&a, v, "id", id);
	set_bool(&a, v, "sandbox", is_sandbox);
	say(v);
}

static enum cri_ns ns_of(struct str s, enum cri_ns absent) {
	return str_eq(s, S("node")) ? CRI_NS_NODE : str_eq(s, S("pod")) ? CRI_NS_POD : str_eq(s, S("container")) ? CRI_NS_CONTAINER
	     : str_eq(s, S("target"))                                                                            ? CRI_NS_TARGET
	                                                                                                         : absent;
}

/* ---- one function an operation --------------------------------------------------------------------- */

struct call {
	struct arena *a;
	const struct value *in;
	struct value *out;
	struct err *err;
};

static struct value *image_value(struct arena *a, const struct image_info *i) {
	struct value *v = value_new_object(a);
	set_str(a, v, "id", i->id);
	set(a, v, "tags", record_strs(a, (struct cri_strs){ i->tags, i->tags_len }));
	set(a, v, "digests", record_strs(a, (struct cri_strs){ i->digests, i->digests_len }));
	set_int(a, v, "size", (int64_t)i->size);
	set_str(a, v, "user", i->user);
	set(a, v, "entrypoint", record_strs(a, (struct cri_strs){ i->entrypoint, i->entrypoint_len }));
	set(a, v, "cmd", record_strs(a, (struct cri_strs){ i->cmd, i->cmd_len }));
	set(a, v, "env", record_strs(a, (struct cri_strs){ i->env, i->env_len }));
	set(a, v, "layers", record_strs(a, (struct cri_strs){ i->layers, i->layers_len }));
	return v;
}

static bool op_version(struct call *k) {
	struct cri_version v;
	cri_version(cri, &v);
	set_str(k->a, k->out, "runtime", v.runtime);
	set_str(k->a, k->out, "version", v.runtime_version);
	set_str(k->a, k->out, "cgroups", v.cgroups);
	return true;
}

static bool op_image_load(struct call *k) {
	struct image_list list;
	if (!image_load(cri_images(cri), k->a, arena_cstr(k->a, get_str(k->in, "path")), NULL, &list, k->err)) {
		return false;
	}
	struct value *images = value_new_array(k->a);
	for (size_t i = 0; i < list.len; i++) {
		value_push(k->a, images, image_value(k->a, &list.at[i]));
	}
	set(k->a, k->out, "images", images);
	return true;
}

static bool op_image_ls(struct call *k) {
	struct image_list list;
	if (!image_ls(cri_images(cri), k->a, &list, k->err)) {
		return false;
	}
	struct value *images = value_new_array(k->a);
	for (size_t i = 0; i < list.len; i++) {
		value_push(k->a, images, image_value(k->a, &list.at[i]));
	}
	set(k->a, k->out, "images", images);
	return true;
}

static bool op_image_status(struct call *k) {
	struct image_info i;
	if (!image_status(cri_images(cri), k->a, get_str(k->in, "ref"), &i, k->err)) {
		return false;
	}
	set(k->a, k->out, "image", image_value(k->a, &i));
	return true;
}

static bool op_image_rm(struct call *k) {
	return image_rm(cri_images(cri), get_str(k->in, "ref"), get_bool(k->in, "force"), k->err);
}

static bool op_image_tag(struct call *k) {
	return image_tag(cri_images(cri), get_str(k->in, "ref"), get_str(k->in, "to"), k->err);
}

static bool op_image_pull(struct call *k) {
	struct image_auth auth = { .username = get_str(k->in, "username"), .password = get_str(k->in, "password") };
	struct image_transfer_opts o = { .auth = auth.username.len ? &auth : NULL };
	struct str id;
	if (!image_pull(cri_images(cri), k->a, get_str(k->in, "ref"), &o, &id, k->err)) {
		return false;
	}
	set_str(k->a, k->out, "id", id);
	return true;
}

static bool op_image_push(struct call *k) {
	struct image_auth auth = { .username = get_str(k->in, "username"), .password = get_str(k->in, "password") };
	struct image_transfer_opts o = { .auth = auth.username.len ? &auth : NULL };
	struct str digest;
	if (!image_push(cri_images(cri), k->a, get_str(k->in, "ref"), &o, &digest, k->err)) {
		return false;
	}
	set_str(k->a, k->out, "digest", digest);
	return true;
}

static bool op_sandbox_create(struct call *k) {
	struct cri_sandbox_config c = {
		.name = get_str(k->in, "name"),
		.ns = S("default"),
		.uid = get_str(k->in, "uid"),
		.hostname = get_str(k->in, "hostname"),
		.log_dir = get_str(k->in, "logDir"),
		.labels = record_to_kvs(k->a, get(k->in, "labels")),
		.dns_servers = record_to_strs(k->a, get(k->in, "dnsServers")),
		.dns_searches = record_to_strs(k->a, get(k->in, "dnsSearches")),
		.dns_options = record_to_strs(k->a, get(k->in, "dnsOptions")),
		.sysctls = record_to_kvs(k->a, get(k->in, "sysctls")),
		.cgroup_parent = get_str(k->in, "cgroupParent"),
		.network = ns_of(get_str(k->in, "network"), CRI_NS_POD),
		.pid = ns_of(get_str(k->in, "pid"), CRI_NS_CONTAINER),
		.ipc = ns_of(get_str(k->in, "ipc"), CRI_NS_POD),
	};
	struct str id;
	if (!cri_sandbox_create(cri, k->a, &c, &id, k->err)) {
		return false;
	}
	set_str(k->a, k->out, "id", id);
	return true;
}

static bool op_sandbox_stop(struct call *k) {
	return cri_sandbox_stop(cri, get_str(k->in, "id"), k->err);
}

static bool op_sandbox_remove(struct call *k) {
	return cri_sandbox_remove(cri, get_str(k->in, "id"), k->err);
}

static bool op_sandbox_note(struct call *k) {
	return cri_sandbox_set_note(cri, get_str(k->in, "id"), get_str(k->in, "note"), k->err);
}

static struct value *sandbox_value(struct arena *a, const struct cri_sandbox_status *s) {
	struct value *v = value_new_object(a);
	set_str(a, v, "id", s->id);
	set_str(a, v, "name", s->name);
	set_str(a, v, "state", s->state == CRI_SANDBOX_READY ? S("ready") : S("not ready"));
	set_str(a, v, "netns", s->netns);
	set_str(a, v, "note", s->note);
	set_int(a, v, "pid", s->pid_holder);
	set(a, v, "labels", record_kvs(a, s->labels));
	return v;
}

static bool op_sandbox_list(struct call *k) {
	struct cri_sandboxes all;
	struct value *list = value_new_array(k->a);
	if (!cri_sandbox_list(cri, k->a, &all, k->err)) {
		return false;
	}
	for (size_t i = 0; i < all.len; i++) {
		value_push(k->a, list, sandbox_value(k->a, &all.at[i]));
	}
	set(k->a, k->out, "sandboxes", list);
	return true;
}

static void resources_of(struct call *k, const struct value *v, struct cri_resources *r) {
	record_to_resources(k->a, v, r);
}

static size_t mounts_of(struct call *k, const struct value *list, struct cri_mount **ret) {
	size_t n = value_len(list);
	*ret = arena_array(k->a, struct cri_mount, n);
	for (size_t i = 0; i < n; i++) {
		const struct value *m = value_item(list, i);
		(*ret)[i] = (struct cri_mount){ .container_path = get_str(m, "to"), .host_path = get_str(m, "from"), .readonly = get_bool(m, "readonly"),
			.propagation = str_eq(get_str(m, "propagation"), S("bidirectional")) ? CRI_PROPAGATION_BIDIRECTIONAL
			             : str_eq(get_str(m, "propagation"), S("slave"))         ? CRI_PROPAGATION_HOST_TO_CONTAINER
			                                                                     : CRI_PROPAGATION_PRIVATE };
	}
	return n;
}

static bool op_container_create(struct call *k) {
	const struct value *sec = get(k->in, "security");
	struct cri_mount *mounts;
	int64_t groups[16];
	size_t ng = 0;
	struct cri_container_config c = {
		.name = get_str(k->in, "name"),
		.attempt = (uint32_t)get_int(k->in, "attempt"),
		.image = get_str(k->in, "image"),
		.command = record_to_strs(k->a, get(k->in, "command")),
		.args = record_to_strs(k->a, get(k->in, "args")),
		.env = record_to_kvs(k->a, get(k->in, "env")),
		.working_dir = get_str(k->in, "workingDir"),
		.labels = record_to_kvs(k->a, get(k->in, "labels")),
		.log_path = get_str(k->in, "logPath"),
		.stdin = get_bool(k->in, "stdin"),
		.stdin_once = get_bool(k->in, "stdinOnce"),
		.tty = get_bool(k->in, "tty"),
		.security = {
			.run_as_user = get_int(sec, "runAsUser"),
			.run_as_user_set = get(sec, "runAsUser") != NULL,
			.run_as_group = get_int(sec, "runAsGroup"),
			.run_as_group_set = get(sec, "runAsGroup") != NULL,
			.run_as_username = get_str(sec, "runAsUserName"),
			.privileged = get_bool(sec, "privileged"),
			.capabilities_add = record_to_strs(k->a, get(sec, "add")),
			.capabilities_drop = record_to_strs(k->a, get(sec, "drop")),
			.no_new_privs = get_bool(sec, "noNewPrivs"),
			.readonly_rootfs = get_bool(sec, "readonlyRootfs"),
			.seccomp = str_eq(get_str(sec, "seccomp"), S("default")) ? CRI_SECCOMP_RUNTIME_DEFAULT : CRI_SECCOMP_UNCONFINED,
			.pid = ns_of(get_str(sec, "pid"), CRI_NS_CONTAINER),
			.pid_target = get_str(sec, "pidTarget"),
		},
	};
	VALUE_EACH(get(sec, "groups"), g) {
		if (ng < ARRAY_LEN(groups)) {
			groups[ng++] = value_as_int(g);
		}
	}
	c.security.supplemental_groups = groups;
	c.security.supplemental_groups_len = ng;
	c.mounts_len = mounts_of(k, get(k->in, "mounts"), &mounts);
	c.mounts = mounts;
	resources_of(k, get(k->in, "resources"), &c.resources);
	struct str id;
	if (!cri_container_create(cri, k->a, get_str(k->in, "sandbox"), &c, &id, k->err)) {
		return false;
	}
	set_str(k->a, k->out, "id", id);
	return true;
}

static bool op_container_start(struct call *k) {
	return cri_container_start(cri, get_str(k->in, "id"), k->err);
}

static bool op_container_stop(struct call *k) {
	return cri_container_stop(cri, get_str(k->in, "id"), get_int(k->in, "graceMs") * NSEC_PER_MSEC, k->err);
}

static bool op_container_remove(struct call *k) {
	return cri_container_remove(cri, get_str(k->in, "id"), k->err);
}

static bool op_container_update(struct call *k) {
	struct cri_resources r;
	resources_of(k, get(k->in, "resources"), &r);
	return cri_container_update(cri, get_str(k->in, "id"), &r, k->err);
}

static bool op_container_reopen_log(struct call *k) {
	return cri_container_reopen_log(cri, get_str(k->in, "id"), k->err);
}

static struct value *container_value(struct arena *a, const struct cri_container_status *s) {
	static const char *const states[] = { "created", "running", "exited", "unknown" };
	struct value *v = value_new_object(a);
	set_str(a, v, "id", s->id);
	set_str(a, v, "sandbox", s->sandbox_id);
	set_str(a, v, "name", s->name);
	set_int(a, v, "attempt", s->attempt);
	set_str(a, v, "state", str_c(states[s->state]));
	set_int(a, v, "pid", s->pid);
	set_int(a, v, "exitCode", s->exit_code);
	set_int(a, v, "created", s->created);
	set_int(a, v, "started", s->started);
	set_int(a, v, "finished", s->finished);
	set_bool(a, v, "oomKilled", s->oom_killed);
	set_str(a, v, "reason", s->reason);
	set_str(a, v, "message", s->message);
	set_str(a, v, "imageId", s->image_id);
	set_str(a, v, "imageRef", s->image_ref);
	set_str(a, v, "logPath", s->log_path);
	set(a, v, "labels", record_kvs(a, s->labels));
	set(a, v, "resources", record_resources(a, &s->resources));
	return v;
}

static bool op_container_status(struct call *k) {
	struct cri_container_status s;
	if (!cri_container_status(cri, k->a, get_str(k->in, "id"), &s, k->err)) {
		return false;
	}
	set(k->a, k->out, "container", container_value(k->a, &s));
	return true;
}

static bool op_container_list(struct call *k) {
	struct cri_containers all;
	struct value *list = value_new_array(k->a);
	if (!cri_container_list(cri, k->a, get_str(k->in, "sandbox"), &all, k->err)) {
		return false;
	}
	for (size_t i = 0; i < all.len; i++) {
		value_push(k->a, list, container_value(k->a, &all.at[i]));
	}
	set(k->a, k->out, "containers", list);
	return true;
}

static bool op_stats(struct call *k) {
	struct cri_stats s;
	struct str id = get_str(k->in, "id");
	bool ok = get_bool(k->in, "sandbox") ? cri_sandbox_stats(cri, id, &s, k->err)
	        : get(k->in, "cgroup")       ? cri_cgroup_stats(cri, get_str(k->in, "cgroup"), &s, k->err)
	                                     : cri_container_stats(cri, id, &s, k->err);
	if (ok) {
		set_int(k->a, k->out, "cpuNs", (int64_t)s.cpu_ns);
		set_int(k->a, k->out, "memory", (int64_t)s.memory_usage);
		set_int(k->a, k->out, "workingSet", (int64_t)s.memory_working_set);
		set_int(k->a, k->out, "limit", (int64_t)s.memory_limit);
		set_int(k->a, k->out, "pids", (int64_t)s.pids);
		set_int(k->a, k->out, "rootfsBytes", (int64_t)s.rootfs_bytes);
	}
	return ok;
}

static bool op_exec_sync(struct call *k) {
	struct cri_exec_result r = { .out = { .max = (size_t)get_int(k->in, "max") } };
	bool ok = cri_exec_sync(cri, get_str(k->in, "id"), record_to_strs(k->a, get(k->in, "argv")), get_int(k->in, "timeoutMs") * NSEC_PER_MSEC, &r, k->err);
	if (ok) {
		set_int(k->a, k->out, "exitCode", r.exit_code);
		set_str(k->a, k->out, "out", buf_view(&r.out));
		set_str(k->a, k->out, "err", buf_view(&r.err));
	}
	cri_exec_result_release(&r);
	return ok;
}

/* Writes "input", closes it (unless "keep"), collects until done or until "until" is seen. */
static bool stream_run(struct call *k, struct cri_stream *s) {
	auto_buf struct buf out = BUF_INIT(16 << 20), err_out = BUF_INIT(16 << 20);
	struct str input = get_str(k->in, "input"), until = get_str(k->in, "until");
	int code = 0;

	if (get(k->in, "columns")) {
		clock_sleep(300 * NSEC_PER_MSEC);
		cri_stream_resize(s, (uint16_t)get_int(k->in, "columns"), (uint16_t)get_int(k->in, "rows"));
		clock_sleep(100 * NSEC_PER_MSEC);
	}
	if (input.len && write(s->in, input.ptr, input.len) != (ssize_t)input.len) {
		return err_sys(k->err, "write input");
	}
	if (!get_bool(k->in, "keep") && !get_bool(k->in, "tty")) {
		close_fd_p(&s->in), s->in = -1;
	}
	bool done = false;
	while (!done && !(until.len && str_contains(buf_view(&out), until))) {
		struct pollfd f[3] = { { .fd = s->out, .events = POLLIN }, { .fd = s->err_out, .events = POLLIN }, { .fd = s->done, .events = POLLIN } };
		if (poll(f, 3, 10000) <= 0) {
			return err_set(k->err, ERR_TIMEOUT, "nothing came; so far: %.*s", STR_ARG(buf_view(&out)));
		}
		for (int i = 0; i < 2; i++) {
			if (f[i].revents) {
				char chunk[4096];
				ssize_t n = read(f[i].fd, chunk, sizeof(chunk));
				if (n > 0) {
					buf_add(i ? &err_out : &out, chunk, (size_t)n);
				} else {
					close(f[i].fd);
					*(i ? &s->err_out : &s->out) = -1;
				}
			}
		}
		done = f[2].revents && !(f[0].revents & POLLIN) && !(f[1].revents & POLLIN);
	}
	if (done && !cri_stream_wait(s, &code, k->err)) {
		return false;
	}
	set_bool(k->a, k->out, "done", done);
	set_int(k->a, k->out, "exitCode", code);
	set_str(k->a, k->out, "out", buf_view(&out));
	set_str(k->a, k->out, "err", buf_view(&err_out));
	return true;
}

static bool op_stream(struct call *k) {
	struct cri_stream_opts o = { .in = get_bool(k->in, "stdin"), .out = true, .err_out = !get_bool(k->in, "tty"), .tty = get_bool(k->in, "tty") };
	struct cri_stream s;
	bool ok = get_bool(k->in, "attach") ? cri_attach(cri, get_str(k->in, "id"), &o, &s, k->err)
	                                    : cri_exec_start(cri, get_str(k->in, "id"), record_to_strs(k->a, get(k->in, "argv")), &o, &s, k->err);
	if (ok) {
		ok = stream_run(k, &s);
		cri_stream_free(&s);
	}
	return ok;
}

static bool op_dial(struct call *k) {
	int fd;
	if (!cri_sandbox_dial(cri, get_str(k->in, "id"), (uint16_t)get_int(k->in, "port"), &fd, k->err)) {
		return false;
	}
	char chunk[4096];
	struct str input = get_str(k->in, "input");
	(void)!write(fd, input.ptr, input.len);
	ssize_t n = read(fd, chunk, sizeof(chunk));
	close(fd);
	set_str(k->a, k->out, "out", (struct str){ chunk, (size_t)MAX(n, (ssize_t)0) });
	return true;
}

static bool op_cgroup_set(struct call *k) {
	struct cri_resources r;
	resources_of(k, get(k->in, "resources"), &r);
	return cri_cgroup_set(cri, get_str(k->in, "path"), &r, k->err);
}

static bool op_cgroup_remove(struct call *k) {
	return cri_cgroup_remove(cri, get_str(k->in, "path"), k->err);
}

static bool op_gc(struct call *k) {
	uint64_t bytes;
	if (!image_gc(cri_images(cri), &bytes, k->err)) {
		return false;
	}
	set_int(k->a, k->out, "bytes", (int64_t)bytes);
	return true;
}

/* A pod from nothing to a running container, as the kubelet's worker does it; for benchmarks. */
static bool op_pod_run(struct call *k) {
	nsec_t t0 = clock_mono();
	struct value *sub = value_copy(k->a, k->in);
	if (!op_sandbox_create(k)) {
		return false;
	}
	nsec_t t1 = clock_mono();
	struct str sandbox = arena_str(k->a, get_str(k->out, "id"));
	set_str(k->a, sub, "sandbox", sandbox);
	struct call next = { k->a, sub, value_new_object(k->a), k->err };
	if (!op_container_create(&next)) {
		return false;
	}
	nsec_t t2 = clock_mono();
	if (!cri_container_start(cri, get_str(next.out, "id"), k->err)) {
		return false;
	}
	nsec_t t3 = clock_mono();
	set_str(k->a, k->out, "sandbox", sandbox);
	set_str(k->a, k->out, "container", get_str(next.out, "id"));
	set_int(k->a, k->out, "sandboxUs", (t1 - t0) / 1000);
	set_int(k->a, k->out, "createUs", (t2 - t1) / 1000);
	set_int(k->a, k->out, "startUs", (t3 - t2) / 1000);
	return true;
}

static const struct {
	const char *name;
	bool (*run)(struct call *k);
} ops[] = {
	{ "version", op_version },
	{ "image_load", op_image_load },
	{ "image_ls", op_image_ls },
	{ "image_status", op_image_status },
	{ "image_rm", op_image_rm },
	{ "image_tag", op_image_tag },
	{ "image_pull", op_image_pull },
	{ "image_push", op_image_push },
	{ "gc", op_gc },
	{ "sandbox_create", op_sandbox_create },
	{ "sandbox_stop", op_sandbox_stop },
	{ "sandbox_remove", op_sandbox_remove },
	{ "sandbox_note", op_sandbox_note },
	{ "sandbox_list", op_sandbox_list },
	{ "container_create", op_container_create },
	{ "container_start", op_container_start },
	{ "container_stop", op_container_stop },
	{ "container_remove", op_container_remove },
	{ "container_update", op_container_update },
	{ "container_reopen_log", op_container_reopen_log },
	{ "container_status", op_container_status },
	{ "container_list", op_container_list },
	{ "stats", op_stats },
	{ "exec_sync", op_exec_sync },
	{ "stream", op_stream },
	{ "dial", op_dial },
	{ "cgroup_set", op_cgroup_set },
	{ "cgroup_remove", op_cgroup_remove },
	{ "pod_run", op_pod_run },
};

static void answer(struct str line) {
	auto_arena struct arena a = { 0 };
	struct value *in, *out = value_new_object(&a);
	struct err err = { 0 };
	bool ok = json_parse(&a, line, NULL, &in, &err), known = false;
	nsec_t from = clock_mono();

	for (size_t i = 0; ok && i < ARRAY_LEN(ops); i++) {
		if (str_eqc(get_str(in, "op"), ops[i].name)) {
			struct call k = { &a, in, out, &err };
			known = true;
			ok = ops[i].run(&k);
			break;
		}
	}
	if (ok && !known) {
		ok = err_set(&err, ERR_INVALID, "no such operation");
	}
	set_bool(&a, out, "ok", ok);
	set_int(&a, out, "us", (clock_mono() - from) / 1000);
	if (!ok) {
		struct value *e = value_new_object(&a);
		set_str(&a, e, "code", str_c(err_reason(err.code)));
		set_str(&a, e, "message", str_c(err.msg));
		set_str(&a, e, "context", str_c(err.ctx));
		set(&a, out, "error", e);
	}
	set(&a, out, "tag", get(in, "tag") ? get(in, "tag") : value_new_null(&a));
	say(out);
}

struct parallel {
	char *line;
	pthread_t thread;
};

static void *parallel_main(void *arg) {
	answer(str_c(arg));
	free(arg);
	return NULL;
}

int main(int argc, char **argv) {
	int helper = runtime_helper_main(argc, argv);
	struct err err = { 0 };
	char *line = NULL;
	size_t room = 0;

	if (helper >= 0) {
		return helper;
	}
	if (argc < 4) {
		fprintf(stderr, "usage: cri_driver ROOT STATE CGROUP-PREFIX [crun|runc]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	struct cri_opts opts = { .root_dir = str_c(argv[1]), .state_dir = str_c(argv[2]), .cgroup_prefix = str_c(argv[3]), .on_exit = on_exit_seen };
	if (argc > 4) {
		opts.runtime = strcmp(argv[4], "runc") == 0 ? CRI_RUNTIME_RUNC : CRI_RUNTIME_CRUN;
	}
	if (!cri_open(&opts, &cri, &err)) {
		fprintf(stderr, "cri_driver: %s (%s)\n", err.msg, err.ctx);
		return 1;
	}
	answer(S("{\"op\": \"version\"}"));
	while (getline(&line, &room, stdin) > 0) {
		if (strstr(line, "\"parallel\": true")) {
			pthread_t t;
			pthread_create(&t, NULL, parallel_main, xstrdup(line));
			pthread_detach(t);
		} else {
			answer(str_c(line));
		}
	}
	free(line);
	cri_free(cri);
	return 0;
}
