/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cni_external.c - see cni_external.h. What a sandbox got is kept in state_dir/results/<id>: the result of its last plugin and what
 * it was asked with, so that DEL gives the plugins the same.
 */
#include "network/cni_external.h"

#include <dirent.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "network/netlink.h"
#include "network/pod_link.h"

enum { CONF_BYTES_MAX = 1 << 20 };

struct cni_external {
	struct arena arena; /* the configuration; read-only once open */
	const char *path, *bin_dir, *state_dir;
	struct str name, version;
	const struct value *plugins;
};

extern char **environ;

static int by_name(const void *a, const void *b) {
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The first by name, as libcni takes it. */
static char *conf_find(const char *dir) {
	VEC(char *) names = { 0 };
	char *found = NULL;
	DIR *d = opendir(dir);
	struct dirent *e;
	while (d && (e = readdir(d))) {
		struct str n = str_c(e->d_name);
		if (n.ptr[0] != '.' && (str_ends(n, S(".conflist")) || str_ends(n, S(".conf")) || str_ends(n, S(".json")))) {
			VEC_PUSH(&names, xstrdup(e->d_name));
		}
	}
	if (d) {
		closedir(d);
	}
	VEC_SORT(&names, by_name);
	if (names.len) {
		found = xasprintf("%s/%s", dir, names.at[0]);
	}
	VEC_EACH(&names, n) {
		free(*n);
	}
	VEC_RELEASE(&names);
	return found;
}

static struct value *get(const struct value *v, const char *key) {
	return value_get_str(v, str_c(key));
}

static bool conf_read(struct cni_external *e, struct err *err) {
	auto_buf struct buf b = BUF_INIT(CONF_BYTES_MAX);
	struct value *conf;
	if (!file_read(e->path, &b, err) || !json_parse(&e->arena, buf_view(&b), NULL, &conf, err)) {
		return err_wrap(err, "%s", e->path);
	}
	e->name = value_as_str(get(conf, "name"));
	e->version = value_as_str(get(conf, "cniVersion"));
	if (!e->version.len) {
		e->version = S("0.2.0");
	}
	if (get(conf, "type")) { /* .conf: one plugin */
		struct value *list = value_new_array(&e->arena);
		value_push(&e->arena, list, conf);
		e->plugins = list;
	} else {
		e->plugins = get(conf, "plugins");
	}
	if (!e->name.len || !value_len(e->plugins)) {
		return err_set(err, ERR_INVALID, "%s: a network has a name and plugins", e->path);
	}
	VALUE_EACH(e->plugins, p) {
		struct str type = value_as_str(get(p, "type"));
		if (!type.len || str_index(type, '/') >= 0) {
			return err_set(err, ERR_INVALID, "%s: a plugin without a proper type", e->path);
		}
	}
	return true;
}

bool cni_external_open(const char *conf_dir, const char *bin_dir, const char *state_dir, struct cni_external **ret, struct err *err) {
	auto_free char *path = conf_find(conf_dir);
	if (!path) {
		return true;
	}
	struct cni_external *e = xcalloc(1, sizeof(*e));
	e->path = arena_cstr(&e->arena, str_c(path));
	e->bin_dir = arena_cstr(&e->arena, str_c(bin_dir && *bin_dir ? bin_dir : "/opt/cni/bin:/usr/lib/cni"));
	e->state_dir = arena_cstr(&e->arena, str_c(state_dir));
	auto_free char *results = xasprintf("%s/results", state_dir);
	if (!conf_read(e, err) || !dir_make(results, 0755, err)) {
		cni_external_close(e);
		return false;
	}
	log_info("cni", "plugins of others are used", kv_c("conf", e->path), kv_str("network", e->name));
	*ret = e;
	return true;
}

void cni_external_close(struct cni_external *e) {
	if (e) {
		arena_release(&e->arena);
		free(e);
	}
}

static char *plugin_path(struct cni_external *e, struct str type) {
	struct str rest = str_c(e->bin_dir), dir;
	while (str_next(&rest, ':', &dir)) {
		auto_free char *path = xasprintf("%.*s/%.*s", STR_ARG(dir), STR_ARG(type));
		if (access(path, X_OK) == 0) {
			return TAKE(path);
		}
	}
	return NULL;
}

bool cni_external_ready(struct cni_external *e) {
	VALUE_EACH(e->plugins, p) {
		auto_free char *path = plugin_path(e, value_as_str(get(p, "type")));
		if (!path) {
			return false;
		}
	}
	return true;
}

/* ---- one call of one plugin ---- */

static struct value *plugin_conf(struct cni_external *e, struct arena *a, const struct value *plugin, const struct value *ports, const struct value *prev) {
	struct value *conf = value_copy(a, plugin);
	value_set_key_str(a, conf, S("name"), e->name);
	value_set_key_str(a, conf, S("cniVersion"), e->version);
	if (value_as_bool(get(get(plugin, "capabilities"), "portMappings")) && value_len(ports)) {
		struct value *rc = value_new_object(a);
		value_set_key(a, rc, S("portMappings"), ports);
		value_set_key(a, conf, S("runtimeConfig"), rc);
	}
	if (prev) {
		value_set_key(a, conf, S("prevResult"), prev);
	}
	return conf;
}

/* A plugin's own error: {"code": 7, "msg": "...", "details": "..."}. */
static bool plugin_failed(struct arena *a, struct str type, struct child_result *r, struct err *err) {
	struct value *v;
	struct err ignored = { 0 };
	if (json_parse(a, buf_view(&r->out), NULL, &v, &ignored) && get(v, "msg")) {
		struct str msg = value_as_str(get(v, "msg")), details = value_as_str(get(v, "details"));
		return err_set(err, ERR_INTERNAL, "plugin type=\"%.*s\" failed: %.*s%s%.*s", STR_ARG(type), (int)MIN(msg.len, (size_t)300), msg.ptr,
			details.len ? "; " : "", (int)MIN(details.len, (size_t)200), details.ptr);
	}
	struct str said = str_trim(buf_view(&r->err_out));
	return err_set(err, ERR_INTERNAL, "plugin type=\"%.*s\" failed with exit code %d: %.*s", STR_ARG(type), r->status, (int)MIN(said.len, (size_t)400), said.ptr);
}

static bool plugin_run(struct cni_external *e, struct arena *a, const char *command, const struct cni_pod *pod, struct str type, const struct value *conf,
	struct value **ret, struct err *err) {
	auto_free char *path = plugin_path(e, type);
	VEC(const char *) env = { 0 };
	struct child_result r = { 0 };
	if (!path) {
		return err_set(err, ERR_UNAVAILABLE, "failed to find plugin \"%.*s\" in path [%s]", STR_ARG(type), e->bin_dir);
	}
	for (char **v = environ; *v; v++) {
		if (strncmp(*v, "CNI_", 4) != 0) {
			VEC_PUSH(&env, *v);
		}
	}
	VEC_PUSH(&env, arena_printf(a, "CNI_COMMAND=%s", command).ptr);
	VEC_PUSH(&env, arena_printf(a, "CNI_CONTAINERID=%s", pod->id).ptr);
	VEC_PUSH(&env, arena_printf(a, "CNI_NETNS=%s", pod->netns ? pod->netns : "").ptr);
	VEC_PUSH(&env, "CNI_IFNAME=eth0");
	VEC_PUSH(&env, arena_printf(a, "CNI_PATH=%s", e->bin_dir).ptr);
	VEC_PUSH(&env, arena_printf(a, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s",
		pod->ns ? pod->ns : "", pod->name ? pod->name : "", pod->id, pod->uid ? pod->uid : "").ptr);
	VEC_PUSH(&env, NULL);
	struct child_opts o = { .argv = (const char *const[]){ path, NULL }, .env = env.at, .input = json_text(a, conf), .timeout = 120 * NSEC_PER_SEC };
	bool ok = child_run(&o, &r, err);
	if (ok && r.status != 0) {
		ok = plugin_failed(a, type, &r, err);
	}
	if (ok && ret) {
		ok = json_parse(a, arena_str(a, buf_view(&r.out)), NULL, ret, err) || err_wrap(err, "result of plugin %.*s", STR_ARG(type));
	}
	child_result_release(&r);
	VEC_RELEASE(&env);
	return ok;
}

/* ---- a pod ---- */

static struct value *ports_of(struct arena *a, const struct cni_pod *pod) {
	struct value *list = value_new_array(a);
	for (size_t i = 0; i < pod->ports_len; i++) {
		const struct cni_port *p = &pod->ports[i];
		auto_free char *proto = xstrdup(p->protocol && *p->protocol ? p->protocol : "TCP");
		for (char *s = proto; *s; s++) {
			*s = (char)(*s >= 'A' && *s <= 'Z' ? *s + 32 : *s);
		}
		struct value *m = value_new_object(a);
		value_set_key(a, m, S("hostPort"), value_new_int(a, p->host_port));
		value_set_key(a, m, S("containerPort"), value_new_int(a, p->container_port));
		value_set_key_str(a, m, S("protocol"), str_c(proto));
		if (p->host_ip && *p->host_ip) {
			value_set_key_str(a, m, S("hostIP"), str_c(p->host_ip));
		}
		value_push(a, list, m);
	}
	return list;
}

static bool loopback_up(const char *netns, struct err *err) {
	auto_nl struct nl in = { .fd = -1 };
	struct nl_link lo;
	return nl_open_in(netns, &in, err) && nl_link_get(&in, "lo", &lo, err) && nl_link_up(&in, lo.index, err);
}

static char *result_path(struct cni_external *e, const char *id) {
	return xasprintf("%s/results/%s", e->state_dir, id);
}

static bool kept_read(struct cni_external *e, struct arena *a, const char *id, struct value **ret) {
	auto_free char *path = result_path(e, id);
	auto_buf struct buf b = BUF_INIT(CONF_BYTES_MAX);
	struct err err = { 0 };
	return file_read(path, &b, &err) && json_parse(a, arena_str(a, buf_view(&b)), NULL, ret, &err);
}

static bool address_of(const struct value *result, char *ret_ip, struct err *err) {
	struct str ip, rest;
	struct value *first = value_item(get(result, "ips"), 0);
	struct str text = value_as_str(first ? get(first, "address") : get(get(result, "ip4"), "ip"));
	(void)str_cut(text, '/', &ip, &rest);
	if (!ip.len || ip.len >= 64) {
		return err_set(err, ERR_INTERNAL, "the network's plugins gave no address");
	}
	snprintf(ret_ip, 64, "%.*s", STR_ARG(ip));
	return true;
}

bool cni_external_add(struct cni_external *e, const struct cni_pod *pod, char *ret_ip, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_free char *path = NULL;
	struct value *prev = NULL, *kept = NULL, *ports = ports_of(&a, pod);
	char key[256];

	if (!pod_key(pod->id, "eth0", key, err)) {
		return false;
	}
	path = result_path(e, pod->id);
	if (kept_read(e, &a, pod->id, &kept) && get(kept, "result")) {
		return address_of(get(kept, "result"), ret_ip, err);
	}
	if (!loopback_up(pod->netns, err)) {
		return false;
	}
	bool ok = true;
	VALUE_EACH(e->plugins, p) {
		ok = ok && plugin_run(e, &a, "ADD", pod, value_as_str(get(p, "type")), plugin_conf(e, &a, p, ports, prev), &prev, err);
	}
	if (ok) {
		kept = value_new_object(&a);
		value_set_key(&a, kept, S("portMappings"), ports);
		value_set_key_str(&a, kept, S("netns"), str_c(pod->netns));
		value_set_key_str(&a, kept, S("namespace"), str_c(pod->ns));
		value_set_key_str(&a, kept, S("pod"), str_c(pod->name));
		value_set_key_str(&a, kept, S("uid"), str_c(pod->uid));
		value_set_key(&a, kept, S("result"), prev);
		ok = address_of(prev, ret_ip, err) && file_write(path, json_text(&a, kept), 0600, err);
	}
	if (!ok) {
		struct err ignored = { 0 };
		(void)!cni_external_del(e, pod, &ignored);
	}
	return ok;
}

bool cni_external_del(struct cni_external *e, const struct cni_pod *pod, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *kept = NULL;
	char key[256];
	if (!pod_key(pod->id, "eth0", key, err)) {
		return false;
	}
	const struct value *prev = NULL, *ports = ports_of(&a, pod);
	if (kept_read(e, &a, pod->id, &kept)) {
		prev = get(kept, "result");
		ports = get(kept, "portMappings");
	}
	for (size_t i = value_len(e->plugins); i-- > 0;) {
		struct value *p = value_item(e->plugins, i);
		if (!plugin_run(e, &a, "DEL", pod, value_as_str(get(p, "type")), plugin_conf(e, &a, p, ports, prev), NULL, err)) {
			return false;
		}
	}
	auto_free char *path = result_path(e, pod->id);
	unlink(path);
	return true;
}

bool cni_external_keep_only(struct cni_external *e, const char *const *ids, size_t n, struct err *err) {
	auto_free char *dir = xasprintf("%s/results", e->state_dir);
	VEC(char *) gone = { 0 };
	DIR *d = opendir(dir);
	struct dirent *f;
	bool ok = true;
	while (d && (f = readdir(d))) {
		bool wanted = f->d_name[0] == '.';
		for (size_t i = 0; !wanted && i < n; i++) {
			wanted = strcmp(ids[i], f->d_name) == 0;
		}
		if (!wanted) {
			VEC_PUSH(&gone, xstrdup(f->d_name));
		}
	}
	if (d) {
		closedir(d);
	}
	VEC_EACH(&gone, id) {
		auto_arena struct arena a = { 0 };
		struct value *kept = NULL;
		struct cni_pod pod = { .id = *id };
		if (kept_read(e, &a, *id, &kept)) {
			pod.netns = arena_cstr(&a, value_as_str(get(kept, "netns")));
			pod.netns = file_exists(pod.netns) ? pod.netns : "";
			pod.ns = arena_cstr(&a, value_as_str(get(kept, "namespace")));
			pod.name = arena_cstr(&a, value_as_str(get(kept, "pod")));
			pod.uid = arena_cstr(&a, value_as_str(get(kept, "uid")));
		}
		ok = ok && cni_external_del(e, &pod, err);
		free(*id);
	}
	VEC_RELEASE(&gone);
	return ok;
}
