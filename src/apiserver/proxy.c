/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c - what is served by somebody else: a pod's log, exec, attach and port-forward by the kubelet of its node; the proxy
 * subresource of nodes, pods and services by whatever answers there. Finds the address, then relay.c carries the bytes.
 */
#include "apiserver/relay.h"

#include "base/clock.h"

#define KUBELET_PORT 10250

/* ---- addresses -------------------------------------------------------------------------------------- */

static bool kubelet_address(struct req *r, struct str node, struct str *ret, struct err *err) {
	static const char *const order[] = { "InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS" };
	auto_obj struct obj *o = storage_get(storage_find(r->s, S(""), S("nodes")), S(""), node);

	if (!o) {
		return fail_not_found(r, S(""), S("nodes"), node, err);
	}
	int64_t port = value_int_at(o->root, N_status, N_daemonEndpoints, N_kubeletEndpoint, N_Port);
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		VALUE_EACH(value_at(o->root, N_status, N_addresses), a) {
			struct str host = value_str_at(a, N_address);
			if (str_eqc(value_str_at(a, N_type), order[i]) && host.len) {
				*ret = str_index(host, ':') >= 0 ? arena_printf(r->a, "[%.*s]:%lld", STR_ARG(host), (long long)(port ? port : KUBELET_PORT))
								 : arena_printf(r->a, "%.*s:%lld", STR_ARG(host), (long long)(port ? port : KUBELET_PORT));
				return true;
			}
		}
	}
	return err_set(err, ERR_INTERNAL, "no preferred addresses found; known addresses: []");
}

/* ---- pods: log, exec, attach, portforward ------------------------------------------------------------ */

static struct str names_of(struct arena *a, const struct value *list) {
	struct str *names = arena_array(a, struct str, value_len(list) + 1);
	size_t n = 0;

	VALUE_EACH(list, c) {
		names[n++] = value_str_at(c, N_name);
	}
	return arena_join(a, names, n, S(" "));
}

static bool find_container(struct req *r, const struct value *pod, struct str asked, struct str *ret, struct err *err) {
	const struct value *spec = value_get(pod, N_spec);
	const struct value *lists[] = { value_get(spec, N_containers), value_get(spec, N_initContainers), value_get(spec, N_ephemeralContainers) };
	struct str pod_name = value_str_at(pod, N_metadata, N_name);

	for (size_t i = 0; asked.len && i < ARRAY_LEN(lists); i++) {
		if (value_find_by(lists[i], N_name, asked)) {
			*ret = asked;
			return true;
		}
	}
	if (asked.len) {
		return err_set(err, ERR_BAD_REQUEST, "container %.*s is not valid for pod %.*s", STR_ARG(asked), STR_ARG(pod_name));
	}
	if (value_len(lists[0]) == 1) {
		*ret = value_str_at(value_item(lists[0], 0), N_name);
		return true;
	}
	if (value_len(lists[0]) == 0) {
		return err_set(err, ERR_BAD_REQUEST, "a container name must be specified for pod %.*s", STR_ARG(pod_name));
	}
	struct str names = names_of(r->a, lists[0]), text;
	text = arena_printf(r->a, "a container name must be specified for pod %.*s, choose one of: [%.*s]", STR_ARG(pod_name), STR_ARG(names));
	if (value_len(lists[1])) {
		names = names_of(r->a, lists[1]);
		text = arena_printf(r->a, "%.*s or one of the init containers: [%.*s]", STR_ARG(text), STR_ARG(names));
	}
	if (value_len(lists[2])) {
		names = names_of(r->a, lists[2]);
		text = arena_printf(r->a, "%.*s or one of the ephemeral containers: [%.*s]", STR_ARG(text), STR_ARG(names));
	}
	return err_set(err, ERR_BAD_REQUEST, "%.*s", STR_ARG(text));
}

/* The kubelet's names of the parameters. */
static const struct {
	const char *sub, *from, *to;
	bool flag; /* true becomes 1, false is left out */
} params[] = {
	{ "log", "follow", "follow", false },
	{ "log", "previous", "previous", false },
	{ "log", "sinceSeconds", "sinceSeconds", false },
	{ "log", "sinceTime", "sinceTime", false },
	{ "log", "timestamps", "timestamps", false },
	{ "log", "tailLines", "tailLines", false },
	{ "log", "limitBytes", "limitBytes", false },
	{ "log", "stream", "stream", false },
	{ "exec", "command", "command", false },
	{ "exec", "stdin", "input", true },
	{ "exec", "stdout", "output", true },
	{ "exec", "stderr", "error", true },
	{ "exec", "tty", "tty", true },
	{ "attach", "stdin", "input", true },
	{ "attach", "stdout", "output", true },
	{ "attach", "stderr", "error", true },
	{ "attach", "tty", "tty", true },
	{ "portforward", "ports", "port", false },
};

static struct str kubelet_query(struct req *r) {
	auto_buf struct buf b = BUF_INIT((size_t)1 << 20);
	struct str rest = r->x->query, key, v, sub = r->info.subresource;

	while (url_query_next(r->a, &rest, &key, &v)) {
		for (size_t i = 0; i < ARRAY_LEN(params); i++) {
			if (!str_eqc(sub, params[i].sub) || !str_eqc(key, params[i].from)) {
				continue;
			}
			if (params[i].flag && !query_bool(v)) {
				continue;
			}
			struct str text = params[i].flag ? S("1") : url_escape(r->a, v);
			buf_printf(&b, "%c%s=%.*s", b.len ? '&' : '?', params[i].to, STR_ARG(text));
		}
	}
	return arena_str(r->a, buf_view(&b));
}

static bool check_log_options(struct req *r, struct err *err) {
	static const char *const numbers[] = { "tailLines", "sinceSeconds", "limitBytes" };
	struct causes c = { .arena = r->a };
	struct str v, since_time, since_seconds;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int64_t n;
		if (!url_query_get(r->a, r->x->query, str_c(numbers[i]), &v)) {
			continue;
		}
		if (!str_to_i64(v, &n)) {
			return err_set(err, ERR_BAD_REQUEST, "strconv.ParseInt: parsing \"%.*s\": invalid syntax", STR_ARG(v));
		}
		if (n < (i == 0 ? 0 : 1)) {
			cause_add(&c, CAUSE_INVALID, str_c(numbers[i]), value_new_int(r->a, n),
				i == 0 ? "must be greater than or equal to 0" : "must be greater than 0");
		}
	}
	if (url_query_get(r->a, r->x->query, S("sinceTime"), &since_time) && url_query_get(r->a, r->x->query, S("sinceSeconds"), &since_seconds)) {
		cause_add(&c, CAUSE_FORBIDDEN, S("sinceTime"), NULL, "at most one of `sinceTime` or `sinceSeconds` may be specified");
	}
	return c.len ? fail_invalid(r, S(""), S("PodLogOptions"), S(""), &c, err) : true;
}

#define HEADERS_MAX 64

/* Headers that belong to one connection, or to us. */
static bool is_private(struct str name, bool upgrade) {
	static const char *const names[] = { "Authorization", "Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Keep-Alive", "Proxy-Connection",
		"Te", "Trailer", "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Accept-Encoding" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (str_case_eq(name, str_c(names[i]))) {
			return true;
		}
	}
	return !upgrade && (str_case_eq(name, S("Connection")) || str_case_eq(name, S("Upgrade")));
}

static size_t take_headers(struct req *r, struct http_header *out) {
	bool upgrade = http_wants_upgrade(r->x, S(""));
	size_t n = 0;

	for (size_t i = 0; i < r->x->headers.len && n + 4 < HEADERS_MAX; i++) {
		if (!is_private(r->x->headers.at[i].name, upgrade)) {
			out[n++] = r->x->headers.at[i];
		}
	}
	return n;
}

bool serve_pod_stream(struct req *r, struct answer *ret, struct err *err) {
	static const struct {
		const char *sub, *path;
		bool container;
	} routes[] = { { "log", "containerLogs", true }, { "exec", "exec", true }, { "attach", "attach", true }, { "portforward", "portForward", false } };
	struct str sub = r->info.subresource, asked = S(""), container = S(""), address, query;
	const char *path = "";
	bool needs = false, is_log = str_eq(sub, S("log"));

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (str_eqc(sub, routes[i].sub)) {
			path = routes[i].path;
			needs = routes[i].container;
		}
	}
	auto_obj struct obj *pod = storage_get(r->st, r->info.ns, r->info.name);
	if (!pod) {
		return fail_not_found(r, S(""), S("pods"), r->info.name, err);
	}
	if (is_log && !check_log_options(r, err)) {
		return false;
	}
	if (!url_query_get(r->a, r->x->query, S("container"), &asked)) {
		asked = S("");
	}
	if (needs && !find_container(r, pod->root, asked, &container, err)) {
		return false;
	}
	struct str node = value_str_at(pod->root, N_spec, N_nodeName);
	if (node.len == 0) {
		/* Upstream's log of a pod that waits is empty; the rest cannot be. */
		if (is_log) {
			http_reply(r->x, 200, S("text/plain"), S(""));
			ret->answered = true;
			return true;
		}
		return err_set(err, ERR_BAD_REQUEST, "pod %.*s does not have a host assigned", STR_ARG(r->info.name));
	}
	if (str_eq(sub, S("exec")) || str_eq(sub, S("attach"))) {
		struct str phase = value_str_at(pod->root, N_status, N_phase);
		if (str_eq(phase, S("Succeeded")) || str_eq(phase, S("Failed"))) {
			return err_set(err, ERR_BAD_REQUEST, "cannot exec into a container in a completed pod; current phase is %.*s", STR_ARG(phase));
		}
	}
	if (!kubelet_address(r, node, &address, err)) {
		return false;
	}
	query = kubelet_query(r);
	struct str tail = needs ? arena_printf(r->a, "/%.*s", STR_ARG(container)) : S("");
	struct str url = arena_printf(r->a, "https://%.*s/%s/%.*s/%.*s%.*s%.*s", STR_ARG(address), path, STR_ARG(r->info.ns), STR_ARG(r->info.name), STR_ARG(tail),
		STR_ARG(query));
	struct http_header headers[HEADERS_MAX];
	struct relay_opts o = { .client = r->s->kubelets, .method = r->x->method, .url = url, .headers = headers, .status_errors = true };
	if (!is_log && !http_wants_upgrade(r->x, S(""))) {
		return err_set(err, ERR_BAD_REQUEST, "Upgrade request required");
	}
	o.headers_len = is_log ? 0 : take_headers(r, headers);
	return relay(r, &o, ret, err);
}

/* ---- proxy --------------------------------------------------------------------------------------------- */

/* "https:name:port", "name:port", "name" */
static void split_name(struct str text, struct str *scheme, struct str *name, struct str *port) {
	struct str a, b, c;

	*scheme = S("http");
	*port = S("");
	if (!str_cut(text, ':', &a, &b)) {
		*name = text;
		return;
	}
	if (str_cut(b, ':', &b, &c)) {
		*scheme = str_eq(a, S("https")) ? S("https") : S("http");
		*name = b;
		*port = c;
		return;
	}
	*name = a;
	*port = b;
}

static struct str host_port(struct arena *a, struct str host, int64_t port) {
	return str_index(host, ':') >= 0 ? arena_printf(a, "[%.*s]:%lld", STR_ARG(host), (long long)port)
					 : arena_printf(a, "%.*s:%lld", STR_ARG(host), (long long)port);
}

static bool pod_target(struct req *r, struct str name, struct str port, struct str *ret, struct err *err) {
	auto_obj struct obj *pod = storage_get(r->st, r->info.ns, name);
	int64_t number = 0;

	if (!pod) {
		return fail_not_found(r, S(""), S("pods"), name, err);
	}
	if (port.len && (!str_to_i64(port, &number) || number < 1 || number > 65535)) {
		return err_set(err, ERR_BAD_REQUEST, "invalid pod request \"%.*s\"", STR_ARG(r->info.name));
	}
	VALUE_EACH(value_at(pod->root, N_spec, N_containers), c) {
		VALUE_EACH(value_get(c, N_ports), p) {
			if (!number) {
				number = value_int_at(p, N_containerPort);
			}
		}
	}
	struct str ip = value_str_at(pod->root, N_status, N_podIP);
	if (ip.len == 0) {
		return err_set(err, ERR_BAD_REQUEST, "address not allowed: pod %.*s has no IP address yet", STR_ARG(name));
	}
	*ret = host_port(r->a, ip, number ? number : 80);
	return true;
}

/* One ready endpoint of the service, at random. */
static bool service_target(struct req *r, struct str name, struct str port, struct str *ret, struct err *err) {
	auto_obj struct obj *svc = storage_get(r->st, r->info.ns, name);
	struct str port_name = port, prefix = arena_printf(r->a, "%.*s/", STR_ARG(r->info.ns));
	int64_t number;

	if (!svc) {
		return fail_not_found(r, S(""), S("services"), name, err);
	}
	const struct value *ports = value_at(svc->root, N_spec, N_ports);
	if (port.len == 0 && value_len(ports)) {
		port_name = value_str_at(value_item(ports, 0), N_name);
	} else if (str_to_i64(port, &number)) {
		bool known = false;
		VALUE_EACH(ports, p) {
			if (value_int_at(p, N_port) == number) {
				port_name = value_str_at(p, N_name);
				known = true;
			}
		}
		if (!known) {
			return fail_retry(r, ERR_UNAVAILABLE, 0, arena_printf(r->a, "no service port %lld found for service \"%.*s\"", (long long)number, STR_ARG(name)), err);
		}
	}
	struct str chosen = S("");
	unsigned seen = 0;
	struct snapshot snap;
	struct tree_iter it;
	cache_snapshot(storage_find(r->s, S("discovery.k8s.io"), S("endpointslices"))->cache, &snap);
	tree_seek(&it, snap.root, prefix);
	for (struct tree_item *i; (i = tree_next(&it)) && str_starts(tree_key(i), prefix);) {
		const struct value *slice = i->obj->root;
		int64_t target = 0;
		if (!str_eq(value_as_str(value_get_str(value_at(slice, N_metadata, N_labels), S("kubernetes.io/service-name"))), name)) {
			continue;
		}
		VALUE_EACH(value_get(slice, N_ports), p) {
			if (str_eq(value_str_at(p, N_name), port_name)) {
				target = value_int_at(p, N_port);
			}
		}
		VALUE_EACH(value_get(slice, N_endpoints), e) {
			const struct value *ready = value_at(e, N_conditions, N_ready);
			if (!target || (ready && !value_as_bool(ready))) {
				continue;
			}
			if (rand_u64() % ++seen == 0) {
				chosen = host_port(r->a, value_as_str(value_item(value_get(e, N_addresses), 0)), target);
			}
		}
	}
	snapshot_release(&snap);
	if (!chosen.len) {
		fail_details(r, S(""), S(""), S(""));
		return fail_retry(r, ERR_UNAVAILABLE, 0, arena_printf(r->a, "no endpoints available for service \"%.*s\"", STR_ARG(r->info.name)), err);
	}
	*ret = chosen;
	return true;
}

/* Location of the answer points at the backend: the client must come back through us. */
struct rewrite {
	struct str base;    /* "http://10.0.0.7:80" */
	struct str prefix;  /* "/api/v1/namespaces/x/pods/y/proxy" */
};

static bool pass_header(void *arg, struct arena *a, struct str name, struct str *value) {
	static const char *const dropped[] = { "Connection", "Transfer-Encoding", "Keep-Alive", "Content-Length", "Content-Type", "Date", "Proxy-Authenticate" };
	const struct rewrite *w = arg;

	for (size_t i = 0; i < ARRAY_LEN(dropped); i++) {
		if (str_case_eq(name, str_c(dropped[i]))) {
			return false;
		}
	}
	if (str_case_eq(name, S("Location"))) {
		struct str path = *value;
		if (str_starts(path, w->base)) {
			path = str_from(path, w->base.len);
		}
		if (path.len && path.ptr[0] == '/') {
			*value = arena_printf(a, "%.*s%.*s", STR_ARG(w->prefix), STR_ARG(path));
		}
	}
	return true;
}

bool serve_proxy(struct req *r, struct answer *ret, struct err *err) {
	struct str scheme, name, port, target, rest = r->info.rest;
	bool node = str_eq(r->info.resource, S("nodes"));

	if (!r->x) {
		return fail_method(r, err);
	}
	split_name(r->info.name, &scheme, &name, &port);
	if (node) {
		if (!kubelet_address(r, name, &target, err)) {
			return false;
		}
		if (port.len) {
			target = arena_printf(r->a, "%.*s:%.*s", STR_ARG(str_sub(target, 0, (size_t)str_rindex(target, ':'))), STR_ARG(port));
		}
		scheme = S("https");
	} else if (str_eq(r->info.resource, S("pods")) ? !pod_target(r, name, port, &target, err) : !service_target(r, name, port, &target, err)) {
		return false;
	}
	struct str query = r->x->query.len ? arena_printf(r->a, "?%.*s", STR_ARG(r->x->query)) : S("");
	bool reads = str_eq(r->x->method, S("GET")) || str_eq(r->x->method, S("HEAD"));
	if (rest.len == 0 && reads && !http_wants_upgrade(r->x, S(""))) {
		/* So that relative links of the page lead below it. */
		http_header_set(r->x, S("Location"), arena_printf(r->a, "%.*s/%.*s", STR_ARG(r->x->path), STR_ARG(query)));
		http_reply(r->x, 301, S(""), S(""));
		ret->answered = true;
		return true;
	}
	struct rewrite w = { .base = arena_printf(r->a, "%.*s://%.*s", STR_ARG(scheme), STR_ARG(target)), .prefix = str_sub(r->x->path, 0, r->x->path.len - rest.len) };
	struct http_header headers[HEADERS_MAX];
	size_t n = take_headers(r, headers);
	headers[n++] = (struct http_header){ S("X-Forwarded-Uri"), r->x->path };
	headers[n++] = (struct http_header){ S("X-Forwarded-Host"), r->x->host };
	headers[n++] = (struct http_header){ S("X-Forwarded-Proto"), S("https") };
	struct relay_opts o = { .client = node ? r->s->kubelets : r->s->backends,
		.method = r->x->method,
		.url = arena_printf(r->a, "%.*s%.*s%.*s", STR_ARG(w.base), STR_ARG(rest.len ? rest : S("/")), STR_ARG(query)),
		.headers = headers,
		.headers_len = n,
		.body = r->body,
		.content_type = r->content_type,
		.header = pass_header,
		.arg = &w };
	return relay(r, &o, ret, err);
}
