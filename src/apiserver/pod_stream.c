/* SPDX-License-Identifier: Apache-2.0 */
/* pod_stream.c - a pod's log, exec, attach and port-forward: checked here, served by the kubelet of its node. */
#include "apiserver/relay.h"

#define KUBELET_PORT 10250

bool kubelet_address(struct req *r, struct str node, struct str *ret, struct err *err) {
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
	struct http_header headers[RELAY_HEADERS_MAX];
	struct relay_opts o = { .client = r->s->kubelets, .method = r->x->method, .url = url, .headers = headers, .status_errors = true };
	if (!is_log && !http_wants_upgrade(r->x, S(""))) {
		return err_set(err, ERR_BAD_REQUEST, "Upgrade request required");
	}
	o.headers_len = is_log ? 0 : relay_headers(r, headers);
	return relay(r, &o, ret, err);
}
