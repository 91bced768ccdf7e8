/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apiserver.c - starts and stops the server: options with their defaults, caches, authenticators, the watch hub,
 * bootstrap objects, then the socket. The order of stopping is the reverse, so that nothing calls what is gone.
 */
#include "apiserver/apiserver.h"

#include "apiserver/http.h"
#include "base/file.h"
#include "base/log.h"

static bool read_file(struct apiserver *s, const char *path, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT((size_t)4 << 20);

	if (!path) {
		return true;
	}
	if (!file_read(path, &b, err)) {
		return false;
	}
	*ret = arena_str(&s->texts, buf_view(&b));
	return true;
}

static const char *text_or(struct apiserver *s, const char *text, const char *absent) {
	return text ? arena_cstr(&s->texts, str_c(text)) : absent;
}

static void take_options(struct apiserver *s, const struct apiserver_opts *o) {
	s->opts = *o;
	s->opts.bind_address = text_or(s, o->bind_address, "0.0.0.0");
	s->opts.port = o->port ? o->port : 6443;
	s->opts.cert_file = text_or(s, o->cert_file, NULL);
	s->opts.key_file = text_or(s, o->key_file, NULL);
	s->opts.client_ca_file = text_or(s, o->client_ca_file, NULL);
	s->opts.sa_key_file = text_or(s, o->sa_key_file, NULL);
	s->opts.sa_issuer = text_or(s, o->sa_issuer, "https://kubernetes.default.svc.cluster.local");
	s->opts.kubelet_ca_file = text_or(s, o->kubelet_ca_file, NULL);
	s->opts.kubelet_cert_file = text_or(s, o->kubelet_cert_file, NULL);
	s->opts.kubelet_key_file = text_or(s, o->kubelet_key_file, NULL);
	s->opts.requestheader_ca_file = text_or(s, o->requestheader_ca_file, NULL);
	s->opts.token_file = text_or(s, o->token_file, NULL);
	s->opts.service_cidr = text_or(s, o->service_cidr, "10.96.0.0/16");
	s->opts.advertise_address = text_or(s, o->advertise_address, strcmp(s->opts.bind_address, "0.0.0.0") ? s->opts.bind_address : "127.0.0.1");
	s->opts.node_port_range = text_or(s, o->node_port_range, "30000-32767");
	s->opts.cluster_domain = text_or(s, o->cluster_domain, "cluster.local");
	s->opts.authorization_mode = text_or(s, o->authorization_mode, "Node,RBAC");
	s->opts.body_bytes_max = o->body_bytes_max ? o->body_bytes_max : (size_t)3 << 20;
}

static bool decode_stored(void *user, struct arena *a, struct str bytes, struct value **ret, struct err *err) {
	const struct storage *st = user;
	const struct schema_type *type = NULL;
	struct value *raw = NULL;

	if (pb_is_object(bytes)) {
		return pb_decode_object(a, bytes, st->type, &type, ret, err);
	}
	return json_parse(a, bytes, NULL, &raw, err) && schema_decode(a, st->type, raw, NULL, ret, err);
}

static void on_change(void *arg) {
	struct apiserver *s = arg;

	watch_hub_kick(s->hub);
}

static bool start_tls(struct apiserver *s, struct err *err) {
	struct str cert = S(""), key = S("");

	if (!s->opts.cert_file || !s->opts.key_file) {
		return err_set(err, ERR_INVALID, "the API server needs a serving certificate and its key");
	}
	if (!read_file(s, s->opts.cert_file, &cert, err) || !read_file(s, s->opts.key_file, &key, err) ||
		!read_file(s, s->opts.client_ca_file, &s->client_ca_pem, err) || !read_file(s, s->opts.requestheader_ca_file, &s->requestheader_ca_pem, err)) {
		return false;
	}
	const struct tls_server_opts t = { .cert_pem = cert, .key_pem = key, .client_ca_pem = s->client_ca_pem };
	return tls_server_new(&t, &s->tls, err) || err_wrap(err, "serving certificate %s", s->opts.cert_file);
}

static bool start_kubelet_client(struct apiserver *s, struct err *err) {
	struct http_client_opts o = { .user_agent = S("coracle-apiserver") };

	if (!read_file(s, s->opts.kubelet_ca_file, &o.tls.ca_pem, err) || !read_file(s, s->opts.kubelet_cert_file, &o.tls.cert_pem, err) ||
		!read_file(s, s->opts.kubelet_key_file, &o.tls.key_pem, err)) {
		return false;
	}
	o.tls.insecure = s->opts.kubelet_ca_file == NULL;
	const struct http_client_opts plain = { .user_agent = S("coracle-apiserver"), .tls = { .insecure = true } };
	return http_client_new(&o, &s->kubelets, err) && http_client_new(&plain, &s->backends, err);
}

static bool start_http(struct apiserver *s, struct err *err) {
	struct str address = str_index(str_c(s->opts.bind_address), ':') >= 0
		? arena_printf(&s->texts, "[%s]:%d", s->opts.bind_address, MAX(s->opts.port, 0))
		: arena_printf(&s->texts, "%s:%d", s->opts.bind_address, MAX(s->opts.port, 0));
	const struct http_listen listen = { .address = address, .tls = s->tls };
	const struct http_server_opts o = { .name = "api", .listen = &listen, .listen_len = 1, .handle = http_handle, .arg = s,
		.body_max = s->opts.body_bytes_max };

	return http_server_start(&o, &s->http, err);
}

struct compactor {
	struct loop_timer timer;
	struct apiserver *s;
};

static void on_compact(struct loop_timer *t) {
	struct compactor *c = container_of(t, struct compactor, timer);

	cacher_compact(c->s->cacher);
	loop_timer_start(t->loop, t, 60 * NSEC_PER_SEC, on_compact);
}

static void compact(void *arg) {
	struct compactor *c = arg;

	loop_timer_start(c->s->loop, &c->timer, 60 * NSEC_PER_SEC, on_compact);
}

static void seed_services(struct apiserver *s) {
	struct snapshot snap;
	struct tree_iter it;

	cache_snapshot(storage_find(s, S(""), S("services"))->cache, &snap);
	tree_seek(&it, snap.root, S(""));
	for (struct tree_item *i; (i = tree_next(&it));) {
		service_alloc_seed(s->services, i->obj->root);
	}
	snapshot_release(&snap);
}

static bool start(struct apiserver *s, struct err *err) {
	s->cacher = cacher_new(&(struct cacher_opts){ .store = s->store, .decode = decode_stored, .on_change = on_change, .arg = s });
	storages_init(s);
	s->hub = watch_hub_new(s);
	s->metrics = metrics_new();
	s->openapi = openapi_cache_new();
	s->authz = authz_new(s);
	if (!start_tls(s, err) || !authn_new(s, &s->authn, err) || !start_kubelet_client(s, err) ||
		!service_alloc_new(s->opts.service_cidr, s->opts.node_port_range, &s->services, err) || !watch_hub_start(s->hub, err) ||
		!cacher_start(s->cacher, err)) {
		return false;
	}
	seed_services(s);
	if (!loop_start_thread(s->loop, err)) {
		return false;
	}
	s->loop_running = true;
	s->compactor = arena_new(&s->texts, struct compactor);
	s->compactor->s = s;
	(void)loop_call(s->loop, compact, s->compactor);
	/* The port is known first: the kubernetes Service's endpoints name it. */
	if (!start_http(s, err) || !bootstrap_start(s, err)) {
		return false;
	}
	__atomic_store_n(&s->ready, true, __ATOMIC_SEQ_CST);
	return true;
}

bool apiserver_start(const struct apiserver_opts *opts, struct apiserver **ret, struct err *err) {
	struct apiserver *s = xcalloc(1, sizeof(*s));

	s->store = opts->store;
	s->started = clock_wall();
	s->loop = loop_new("api-timers");
	take_options(s, opts);
	if (!start(s, err)) {
		apiserver_stop(s, 0);
		return false;
	}
	log_info("apiserver", "serving", kv_str("address", http_server_address(s->http, 0)), kv_int("revision", cacher_revision(s->cacher)));
	*ret = s;
	return true;
}

int apiserver_port(const struct apiserver *s) {
	return http_server_port(s->http, 0);
}

void apiserver_stop(struct apiserver *s, int grace_ms) {
	if (!s) {
		return;
	}
	__atomic_store_n(&s->stopping, true, __ATOMIC_SEQ_CST);
	watch_hub_stop(s->hub);
	if (s->http) {
		http_server_stop(s->http, grace_ms * NSEC_PER_MSEC);
	}
	bootstrap_stop(s);
	if (s->loop_running) {
		loop_stop(s->loop);
	}
	loop_free(s->loop);
	cacher_free(s->cacher); /* first: it calls the hub */
	watch_hub_free(s->hub);
	http_client_free(s->kubelets);
	http_client_free(s->backends);
	tls_server_free(s->tls);
	authn_free(s->authn);
	authz_free(s->authz);
	service_alloc_free(s->services);
	openapi_cache_free(s->openapi);
	metrics_free(s->metrics);
	free(s->storages);
	free(s->by_resource);
	arena_release(&s->texts);
	free(s);
}
