/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c - the proxy subresource of nodes, pods and services: finds who answers there and passes the request on, with links in its
 * headers led back through us.
 */
#include "apiserver/relay.h"

#include "base/clock.h"

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
	struct http_header headers[RELAY_HEADERS_MAX];
	size_t n = relay_headers(r, headers);
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
