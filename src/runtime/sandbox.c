/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.c - pods' sandboxes: namespaces and their holder, shared memory, resolv.conf, the record.
 * Behind cri.h; pool threads. Everything of a sandbox is below <state>/sandboxes/<id>, its network
 * namespace is bound to <state>/netns/<id> (it must outlive the holder, for CNI DEL).
 *
 * Order on disk: the folder is first and the record last, so that a folder without a record is a
 * sandbox that was never finished, and is cleared at the next open.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "loop/loop.h"
#include "runtime/holder.h"
#include "runtime/runtime.h"

enum { SANDBOX_SYSCTLS_MAX = 64, SANDBOX_HOSTNAME_MAX = 64 };
#define SANDBOX_SHM_BYTES ((uint64_t)64 << 20)

struct path sandbox_dir(const struct cri *c, const char *id) {
	return path_fmt("%s/sandboxes/%s", c->state_dir, id);
}

static struct path netns_path(const struct cri *c, const char *id) {
	return path_fmt("%s/netns/%s", c->state_dir, id);
}

static struct path in_dir(const struct cri *c, const char *id, const char *name) {
	return path_fmt("%s/sandboxes/%s/%s", c->state_dir, id, name);
}

void sandbox_free(struct sandbox *s) {
	obj_unref(s->config);
	free(s->id);
	free(s->note);
	free(s->netns);
	free(s->cgroup);
	free(s->cgroup_parent);
	free(s);
}

/* ---- the record ------------------------------------------------------------------------------ */

static struct value *config_make(struct arena *a, const struct cri_sandbox_config *cfg, const char *id, struct str hostname) {
	struct value *v = value_new_object(a);
	set_str(a, v, "id", str_c(id));
	set_str(a, v, "name", cfg->name);
	set_str(a, v, "namespace", cfg->ns);
	set_str(a, v, "uid", cfg->uid);
	set_int(a, v, "attempt", cfg->attempt);
	set_str(a, v, "hostname", hostname);
	set_str(a, v, "logDir", cfg->log_dir);
	set(a, v, "labels", record_kvs(a, cfg->labels));
	set(a, v, "annotations", record_kvs(a, cfg->annotations));
	set_str(a, v, "cgroupParent", cfg->cgroup_parent);
	set_int(a, v, "network", cfg->network);
	set_int(a, v, "pid", cfg->pid);
	set_int(a, v, "ipc", cfg->ipc);
	set_bool(a, v, "privileged", cfg->privileged);
	set_int(a, v, "created", clock_wall());
	return v;
}

/* Writes what stands in `s` now. Called by the sandbox's one worker. */
static bool sandbox_save(struct cri *c, struct sandbox *s, bool whole, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v = value_copy(&a, s->config->root);
	pthread_mutex_lock(&c->lock);
	set_int(&a, v, "holder", s->holder.pid);
	set_int(&a, v, "holderStarted", (int64_t)s->holder.started);
	set_str(&a, v, "note", str_c(s->note));
	pthread_mutex_unlock(&c->lock);
	set_bool(&a, v, "whole", whole);
	return record_write(in_dir(c, s->id, "sandbox.json").c, v, err);
}

/* From a record's value; a holder is filled in by the caller. */
static struct sandbox *sandbox_of(const struct cri *c, const struct value *v) {
	struct sandbox *s = xcalloc(1, sizeof(*s));
	struct str parent = get_str(v, "cgroupParent");
	s->id = str_dup(get_str(v, "id"));
	s->config = obj_freeze(v, 0);
	s->network = (enum cri_ns)get_int(v, "network");
	s->pid = (enum cri_ns)get_int(v, "pid");
	s->ipc = (enum cri_ns)get_int(v, "ipc");
	s->created = get_int(v, "created");
	s->cgroup_parent = str_dup(parent);
	s->cgroup = xasprintf("%s/%s", s->cgroup_parent, s->id);
	s->netns = s->network == CRI_NS_NODE ? xstrdup("") : xstrdup(netns_path(c, s->id).c);
	return s;
}

/* ---- making ---------------------------------------------------------------------------------- */

static bool sysctl_allowed(struct str name, const struct cri_sandbox_config *cfg) {
	static const char *const ipc[] = { "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msgmax", "kernel.msgmnb",
		"kernel.msgmni", "kernel.sem" };
	bool ok = str_starts(name, S("net.")) && cfg->network != CRI_NS_NODE;
	for (size_t i = 0; i < ARRAY_LEN(ipc); i++) {
		ok = ok || (str_eqc(name, ipc[i]) && cfg->ipc != CRI_NS_NODE);
	}
	return ok || (str_starts(name, S("fs.mqueue.")) && cfg->ipc != CRI_NS_NODE);
}

/* "net.ipv4.ip_forward" or "net/ipv4/ip_forward": the first separator says which one is meant (sysctl.d(5)). */
static bool sysctl_path(struct arena *a, struct str name, const struct cri_sandbox_config *cfg, const char **ret, struct err *err) {
	char *text = arena_cstr(a, name);
	const char *first = strpbrk(text, "./");
	bool slashes = first && *first == '/';
	for (char *p = text; *p; p++) {
		*p = *p == '.' ? (slashes ? '.' : '/') : *p == '/' ? (slashes ? '/' : '.') : *p;
	}
	auto_buf struct buf dotted = BUF_INIT(512);
	for (const char *p = text; *p; p++) {
		buf_char(&dotted, *p == '/' ? '.' : *p);
	}
	if (strstr(text, "..") || text[0] == '/' || !sysctl_allowed(buf_view(&dotted), cfg)) {
		return err_set(err, ERR_INVALID, "sysctl \"%.*s\" is not namespaced, or its namespace is the node's", STR_ARG(name));
	}
	*ret = arena_printf(a, "/proc/sys/%s", text).ptr;
	return true;
}

static bool sysctls_make(struct arena *a, const struct cri_sandbox_config *cfg, struct holder_sysctl *at, size_t *ret_len, struct err *err) {
	size_t n = 0;
	bool port_set = false;

	if (cfg->sysctls.len > SANDBOX_SYSCTLS_MAX) {
		return err_set(err, ERR_INVALID, "%zu sysctls are more than %d", cfg->sysctls.len, SANDBOX_SYSCTLS_MAX);
	}
	for (size_t i = 0; i < cfg->sysctls.len; i++) {
		if (!sysctl_path(a, cfg->sysctls.at[i].key, cfg, &at[n].path, err)) {
			return false;
		}
		port_set = port_set || strstr(at[n].path, "ip_unprivileged_port_start");
		at[n++].value = arena_cstr(a, cfg->sysctls.at[i].value);
	}
	/* Ports below 1024 in a pod's own network are nobody else's: programs need no root for them. */
	if (cfg->network != CRI_NS_NODE && !port_set) {
		at[n++] = (struct holder_sysctl){ "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0" };
	}
	*ret_len = n;
	return true;
}

static bool resolv_conf_write(struct cri *c, const char *id, const struct cri_sandbox_config *cfg, struct err *err) {
	auto_buf struct buf b = BUF_INIT(1 << 20);
	struct path to = in_dir(c, id, "resolv.conf");

	if (!cfg->dns_servers.len && !cfg->dns_searches.len && !cfg->dns_options.len) {
		struct err ignored = { 0 };
		(void)!file_read("/etc/resolv.conf", &b, &ignored); /* a node without one has empty ones */
	}
	const struct {
		const char *word;
		struct cri_strs list;
	} lines[] = { { "search", cfg->dns_searches }, { "options", cfg->dns_options } };
	if (cfg->dns_searches.len) {
		buf_c(&b, "search");
		for (size_t i = 0; i < cfg->dns_searches.len; i++) {
			buf_printf(&b, " %.*s", STR_ARG(cfg->dns_searches.at[i]));
		}
		buf_char(&b, '\n');
	}
	for (size_t i = 0; i < cfg->dns_servers.len; i++) {
		buf_printf(&b, "nameserver %.*s\n", STR_ARG(cfg->dns_servers.at[i]));
	}
	if (lines[1].list.len) {
		buf_c(&b, "options");
		for (size_t i = 0; i < lines[1].list.len; i++) {
			buf_printf(&b, " %.*s", STR_ARG(lines[1].list.at[i]));
		}
		buf_char(&b, '\n');
	}
	auto_fd int fd = open(to.c, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, b.ptr ? b.ptr : "", b.len) != (ssize_t)b.len) {
		return err_sys(err, "write %s", to.c);
	}
	fchmod(fd, 0644);
	return true;
}

static bool text_write(struct path to, struct str text, struct err *err) {
	auto_fd int fd = open(to.c, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, text.ptr, text.len) != (ssize_t)text.len) {
		return err_sys(err, "write %s", to.c);
	}
	fchmod(fd, 0644);
	return true;
}

static bool config_check(const struct cri_sandbox_config *cfg, struct err *err) {
	if (!cfg->name.len || !cfg->uid.len) {
		return err_set(err, ERR_INVALID, "a sandbox needs its pod's name and uid");
	}
	if (!cgroup_path_valid(cfg->cgroup_parent)) {
		return err_set(err, ERR_INVALID, "cgroup parent \"%.*s\" is not an absolute path of at most 300 bytes", STR_ARG(cfg->cgroup_parent));
	}
	if (cfg->hostname.len > SANDBOX_HOSTNAME_MAX) {
		return err_set(err, ERR_INVALID, "host name \"%.*s\" is longer than %d bytes", STR_ARG(cfg->hostname), SANDBOX_HOSTNAME_MAX);
	}
	return true;
}

/* Puts the network namespace under its name. */
static bool netns_keep(struct sandbox *s, int pid, struct err *err) {
	struct path from = path_fmt("/proc/%d/ns/net", pid);
	if (!s->netns[0]) {
		return true;
	}
	auto_fd int fd = open(s->netns, O_RDONLY | O_CREAT | O_CLOEXEC, 0444);
	if (fd < 0) {
		return err_sys(err, "make %s", s->netns);
	}
	if (mount(from.c, s->netns, NULL, MS_BIND, NULL) != 0) {
		return err_sys(err, "bind the network namespace to %s", s->netns);
	}
	return true;
}

/*
 * Moves the holder into the sandbox's cgroup. On a machine at rest the first move waits for a grace
 * period of the kernel, some 15 ms; the moves that follow soon after do not. So it runs beside the rest of
 * the pod's start, and the runtime's own moves find the way warm.
 */
struct join {
	struct cri *c;
	struct sandbox *s; /* counted */
};

static void join_run(void *arg) {
	struct join *j = arg;
	struct err err = { 0 };
	if (!cgroup_join(&j->c->cgroups, j->s->cgroup, j->s->holder.pid, &err) && proc_alive(j->s->holder)) {
		log_warn("runtime", "sandbox holder is outside its cgroup", kv_c("sandbox", j->s->id), kv_err(&err));
	}
	sandbox_put(j->c, j->s);
	work_ended(j->c);
	free(j);
}

static void holder_join(struct cri *c, struct sandbox *s) {
	struct join *j = xcalloc(1, sizeof(*j));
	*j = (struct join){ c, sandbox_get(c, str_c(s->id)) };
	work_began(c);
	if (!pool_run(join_run, j)) {
		join_run(j);
	}
}

static bool holder_run(struct cri *c, struct sandbox *s, const struct cri_sandbox_config *cfg, struct str hostname, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct holder_sysctl sysctls[SANDBOX_SYSCTLS_MAX + 1];
	struct path root = path_fmt("%s/holder", c->state_dir);
	size_t n = 0;
	int pid;

	if (!sysctls_make(&a, cfg, sysctls, &n, err)) {
		return false;
	}
	char score[16];
	snprintf(score, sizeof(score), "%d", MAX(-998, c->oom_score_adj_min));
	struct holder_opts opts = {
		.namespaces = (s->network != CRI_NS_NODE ? CLONE_NEWNET | CLONE_NEWUTS : 0) | (s->ipc != CRI_NS_NODE ? CLONE_NEWIPC : 0) |
			(s->pid == CRI_NS_POD ? CLONE_NEWPID : 0),
		.root = root.c,
		.hostname = arena_cstr(&a, hostname),
		.sysctls = sysctls,
		.sysctls_len = n,
		.oom_score_adj = score,
	};
	if (!holder_start(&opts, &pid, err)) {
		return false;
	}
	s->holder = proc_of(pid);
	s->holder_is_child = true;
	return sandbox_save(c, s, false, err) && netns_keep(s, pid, err) && cgroup_make(&c->cgroups, s->cgroup, err);
}

static bool shm_make(struct cri *c, const char *id, const struct cri_sandbox_config *cfg, struct err *err) {
	struct path shm = in_dir(c, id, "shm");
	if (cfg->ipc == CRI_NS_NODE) {
		return true;
	}
	if (mkdir(shm.c, 01777) != 0 || chmod(shm.c, 01777) != 0) { /* the umask took part of the mode */
		return err_sys(err, "make %s", shm.c);
	}
	return tmpfs_mount(shm.c, cfg->shm_bytes ? cfg->shm_bytes : SANDBOX_SHM_BYTES, err);
}

static bool sandbox_build(struct cri *c, struct sandbox *s, const struct cri_sandbox_config *cfg, struct str hostname, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct path dir = sandbox_dir(c, s->id);
	char *log_dir = arena_cstr(&a, cfg->log_dir);

	if (mkdir(dir.c, 0711) != 0) {
		return err_sys(err, "make %s", dir.c);
	}
	if (cfg->log_dir.len && !dir_make(log_dir, 0755, err)) {
		return false;
	}
	return resolv_conf_write(c, s->id, cfg, err) && text_write(in_dir(c, s->id, "hostname"), arena_printf(&a, "%.*s\n", STR_ARG(hostname)), err) &&
	       shm_make(c, s->id, cfg, err) && holder_run(c, s, cfg, hostname, err) && sandbox_save(c, s, true, err);
}

bool cri_sandbox_create(struct cri *c, struct arena *a, const struct cri_sandbox_config *cfg, struct str *ret_id, struct err *err) {
	auto_arena struct arena tmp = { 0 };
	char id[RUNTIME_ID_LEN + 1], node[SANDBOX_HOSTNAME_MAX + 1] = { 0 };
	struct str hostname = cfg->hostname.len ? cfg->hostname : str_sub(cfg->name, 0, SANDBOX_HOSTNAME_MAX - 1);

	if (!config_check(cfg, err)) {
		return false;
	}
	if (cfg->network == CRI_NS_NODE && gethostname(node, SANDBOX_HOSTNAME_MAX) == 0) {
		hostname = str_c(node);
	}
	id_make(id);
	struct sandbox *s = sandbox_of(c, config_make(&tmp, cfg, id, hostname));
	if (!sandbox_build(c, s, cfg, hostname, err)) {
		if (s->holder.pid) {
			proc_signal(s->holder, SIGKILL);
			waitpid(s->holder.pid, NULL, 0);
		}
		sandbox_traces_remove(c, str_c(id));
		cgroup_rmdir(&c->cgroups, s->cgroup);
		sandbox_free(s);
		return err_wrap(err, "create the sandbox of %.*s/%.*s", STR_ARG(cfg->ns), STR_ARG(cfg->name));
	}
	s->refs = 1;
	int pid = s->holder.pid;
	pthread_mutex_lock(&c->lock);
	map_set(&c->sandboxes, str_c(id), s);
	pthread_mutex_unlock(&c->lock);
	monitor_watch_holder(c, id, pid, true);
	holder_join(c, s);
	*ret_id = arena_str(a, str_c(id));
	return true;
}

bool cri_sandbox_set_note(struct cri *c, struct str id, struct str note, struct err *err) {
	struct sandbox *s;
	if (note.len > RUNTIME_NOTE_MAX) {
		return err_set(err, ERR_TOO_LARGE, "a sandbox's note of %zu bytes is over the limit of %d", note.len, RUNTIME_NOTE_MAX);
	}
	if (!sandbox_find(c, id, &s, err)) {
		return false;
	}
	pthread_mutex_lock(&c->lock);
	free(s->note);
	s->note = str_dup(note);
	pthread_mutex_unlock(&c->lock);
	bool ok = sandbox_save(c, s, true, err);
	sandbox_put(c, s);
	return ok;
}

/* ---- ending ---------------------------------------------------------------------------------- */

static bool containers_end(struct cri *c, struct str id, bool delete, struct err *err) {
	auto_arena struct arena a = { 0 };
	size_t n;
	struct container **all = containers_of(c, &a, id, &n);
	bool ok = true;
	for (size_t i = 0; i < n; i++) {
		ok = (delete ? container_delete(c, all[i], err) : container_end(c, all[i], 0, err)) && ok;
		container_put(c, all[i]);
	}
	return ok;
}

static void holder_end(struct cri *c, struct sandbox *s) {
	pthread_mutex_lock(&c->lock);
	struct proc holder = s->holder;
	pthread_mutex_unlock(&c->lock);
	for (int i = 0; proc_signal(holder, SIGKILL) && i < 2000; i++) {
		auto_fd int fd = pidfd_of(holder.pid);
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (fd < 0 || poll(&p, 1, 1000) > 0) {
			break;
		}
	}
}

bool cri_sandbox_stop(struct cri *c, struct str id, struct err *err) {
	struct sandbox *s = sandbox_get(c, id);
	if (!s) {
		return true;
	}
	bool ok = containers_end(c, id, false, err);
	holder_end(c, s);
	sandbox_put(c, s);
	return ok;
}

void sandbox_traces_remove(struct cri *c, struct str id) {
	struct err ignored = { 0 };
	char *name = str_dup(id);
	struct path dir = sandbox_dir(c, name), netns = netns_path(c, name);
	struct path shm = in_dir(c, name, "shm");

	mount_drop(shm.c);
	mount_drop(netns.c);
	unlink(netns.c);
	if (!dir_remove(dir.c, &ignored)) {
		log_warn("runtime", "sandbox folder stays", kv_str("sandbox", id), kv_err(&ignored));
	}
	free(name);
}

bool cri_sandbox_remove(struct cri *c, struct str id, struct err *err) {
	struct sandbox *s = sandbox_get(c, id);
	if (!s) {
		return true;
	}
	bool ok = containers_end(c, id, true, err);
	if (ok) {
		holder_end(c, s);
		pthread_mutex_lock(&c->lock);
		bool ours = !s->removed;
		s->removed = true;
		if (ours) {
			map_remove(&c->sandboxes, id);
			s->refs--; /* the table's */
		}
		pthread_mutex_unlock(&c->lock);
		sandbox_traces_remove(c, id);
		struct err ignored = { 0 };
		if (!cgroup_remove(&c->cgroups, s->cgroup, &ignored)) {
			log_warn("runtime", "cgroup stays", kv_c("cgroup", s->cgroup), kv_err(&ignored));
		}
		cgroup_rmdir(&c->cgroups, s->cgroup_parent);
	}
	sandbox_put(c, s);
	return ok;
}

/* ---- looking --------------------------------------------------------------------------------- */

static void status_fill(struct cri *c, struct arena *a, struct sandbox *s, struct cri_sandbox_status *ret) {
	const struct value *v = s->config->root;
	pthread_mutex_lock(&c->lock);
	struct proc holder = s->holder;
	struct str note = arena_str(a, str_c(s->note));
	pthread_mutex_unlock(&c->lock);
	bool alive = proc_alive(holder);
	*ret = (struct cri_sandbox_status){
		.id = arena_str(a, str_c(s->id)),
		.name = arena_str(a, get_str(v, "name")),
		.ns = arena_str(a, get_str(v, "namespace")),
		.uid = arena_str(a, get_str(v, "uid")),
		.attempt = (uint32_t)get_int(v, "attempt"),
		.state = alive ? CRI_SANDBOX_READY : CRI_SANDBOX_NOT_READY,
		.created = s->created,
		.netns = arena_str(a, str_c(s->netns)),
		.network = s->network,
		.pid = s->pid,
		.ipc = s->ipc,
		.note = note,
		.log_dir = arena_str(a, get_str(v, "logDir")),
		.cgroup_parent = arena_str(a, str_c(s->cgroup_parent)),
		.hostname = arena_str(a, get_str(v, "hostname")),
		.labels = record_to_kvs(a, get(v, "labels")),
		.annotations = record_to_kvs(a, get(v, "annotations")),
		.pid_holder = alive ? holder.pid : 0,
	};
}

bool cri_sandbox_status(struct cri *c, struct arena *a, struct str id, struct cri_sandbox_status *ret, struct err *err) {
	struct sandbox *s;
	if (!sandbox_find(c, id, &s, err)) {
		return false;
	}
	status_fill(c, a, s, ret);
	sandbox_put(c, s);
	return true;
}

static int by_created(const void *x, const void *y) {
	const struct cri_sandbox_status *p = x, *q = y;
	return p->created != q->created ? (p->created < q->created ? -1 : 1) : str_cmp(p->id, q->id);
}

bool cri_sandbox_list(struct cri *c, struct arena *a, struct cri_sandboxes *ret, struct err *err) {
	size_t n = 0;
	pthread_mutex_lock(&c->lock);
	struct sandbox **all = arena_array(a, struct sandbox *, c->sandboxes.len);
	MAP_EACH(&c->sandboxes, e) {
		all[n] = e->value;
		all[n++]->refs++;
	}
	pthread_mutex_unlock(&c->lock);
	ret->at = arena_array(a, struct cri_sandbox_status, n);
	ret->len = n;
	for (size_t i = 0; i < n; i++) {
		status_fill(c, a, all[i], &ret->at[i]);
		sandbox_put(c, all[i]);
	}
	if (n > 1) {
		qsort(ret->at, n, sizeof(*ret->at), by_created);
	}
	return true;
}

bool cri_sandbox_stats(struct cri *c, struct str id, struct cri_stats *ret, struct err *err) {
	struct sandbox *s;
	if (!sandbox_find(c, id, &s, err)) {
		return false;
	}
	bool ok = cgroup_stats(&c->cgroups, s->cgroup_parent, ret, err);
	sandbox_put(c, s);
	return ok;
}

/* ---- port-forward ---------------------------------------------------------------------------- */

enum { DIAL_TIMEOUT_MS = 10000 };

static bool dial_one(int family, uint16_t port, int *ret) {
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr *to = family == AF_INET ? (const void *)&v4 : (const void *)&v6;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
	socklen_t len = sizeof(error);

	if (fd < 0) {
		return false;
	}
	if (connect(fd, to, family == AF_INET ? sizeof(v4) : sizeof(v6)) != 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		if (errno != EINPROGRESS) {
			goto failed;
		}
		if (poll(&p, 1, DIAL_TIMEOUT_MS) <= 0) {
			errno = ETIMEDOUT;
			goto failed;
		}
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) {
			errno = error;
			goto failed;
		}
	}
	fcntl(fd, F_SETFL, 0);
	*ret = fd;
	return true;
failed:
	error = errno;
	close(fd);
	errno = error;
	return false;
}

struct dial {
	const char *netns;
	uint16_t port;
	int fd, sys;
};

/* A socket belongs to the network of the thread that made it: this thread goes there and does not come back. */
static void *dial_thread(void *arg) {
	struct dial *d = arg;
	auto_fd int ns = d->netns[0] ? open(d->netns, O_RDONLY | O_CLOEXEC) : -1;
	if (d->netns[0] && (ns < 0 || setns(ns, CLONE_NEWNET) != 0)) {
		d->sys = errno;
		return NULL;
	}
	if (!dial_one(AF_INET, d->port, &d->fd)) {
		d->sys = errno;
		(void)dial_one(AF_INET6, d->port, &d->fd);
	}
	return NULL;
}

bool cri_sandbox_dial(struct cri *c, struct str id, uint16_t port, int *ret_fd, struct err *err) {
	struct sandbox *s;
	pthread_t t;
	if (!sandbox_find(c, id, &s, err)) {
		return false;
	}
	struct dial d = { .netns = s->netns, .port = port, .fd = -1 };
	errno = pthread_create(&t, NULL, dial_thread, &d);
	bool ok = errno == 0 || err_sys(err, "start a thread");
	if (ok) {
		pthread_join(t, NULL);
		errno = d.sys;
		ok = d.fd >= 0 || err_sys(err, "connect to port %d in the pod's network", port);
	}
	sandbox_put(c, s);
	if (ok) {
		*ret_fd = d.fd;
	}
	return ok;
}

/* ---- adoption -------------------------------------------------------------------------------- */

bool sandbox_adopt(struct cri *c, struct str id, bool same_boot, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v;
	char *name = str_dup(id);
	struct path record = in_dir(c, name, "sandbox.json");
	free(name);
	if (!record_read(&a, record.c, &v, err)) {
		return false;
	}
	if (!str_eq(get_str(v, "id"), id)) {
		return err_set(err, ERR_INVALID, "record %s is of another sandbox", record.c);
	}
	struct str note = arena_str(&a, get_str(v, "note"));
	bool whole = get_bool(v, "whole");
	struct proc holder = { (int)get_int(v, "holder"), (uint64_t)get_int(v, "holderStarted") };
	value_remove_key(v, S("note"));
	value_remove_key(v, S("holder"));
	value_remove_key(v, S("holderStarted"));
	value_remove_key(v, S("whole"));
	struct sandbox *s = sandbox_of(c, v);
	s->note = note.len ? str_dup(note) : NULL;
	s->holder = same_boot ? holder : (struct proc){ 0 };
	s->refs = 1;
	if (!whole) {
		struct err ignored = { 0 };
		proc_signal(s->holder, SIGKILL);
		(void)!cgroup_remove(&c->cgroups, s->cgroup, &ignored);
		sandbox_free(s);
		return err_set(err, ERR_INVALID, "the sandbox was never finished");
	}
	pthread_mutex_lock(&c->lock);
	map_set(&c->sandboxes, id, s);
	pthread_mutex_unlock(&c->lock);
	return true;
}
