/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apiserver_bench.c - what a request costs the API server with its store: CPU time of the server's process per operation, memory per pod
 * and of a long list. The server runs in a child; the clients, in the parent, do not count.
 *
 *     apiserver_bench [PODS [CLIENTS [WATCHERS]]]
 *
 * References in brackets: upstream's API server libraries with etcd on the same two cores.
 */
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apiserver/apiserver.h"
#include "base/clock.h"
#include "base/file.h"
#include "net/net.h"

static const char pod_text[] =
#include "pod.inc"
	;

static int pods = 12000, clients = 64, watchers = 1000;
static pid_t server_pid;
static struct http_client *client;
static char dir[64];

static void die(const char *what, const struct err *err) {
	fprintf(stderr, "apiserver_bench: %s: %s %s\n", what, err->ctx, err->msg);
	exit(1);
}

/* ---- the server ------------------------------------------------------------------------------------- */

static struct str path_of(struct arena *a, const char *name) {
	return arena_printf(a, "%s/%s", dir, name);
}

static void make_certs(struct arena *a) {
	static const struct str masters[] = { S_INIT("system:masters") }, ips[] = { S_INIT("127.0.0.1") };
	struct err err = { 0 };
	struct str ca, ca_key, key, cert, sa;
	struct cert_opts o = { .common_name = S("ca"), .usage = CERT_CA };

	bool ok = key_new(KEY_EC_P256, a, &ca_key, &err) && cert_new(ca_key, &o, a, &ca, &err) && file_write(path_of(a, "ca.crt").ptr, ca, 0644, &err);
	o = (struct cert_opts){ .common_name = S("server"), .usage = CERT_SERVER, .ips = ips, .ips_len = 1, .ca_cert_pem = ca, .ca_key_pem = ca_key };
	ok = ok && key_new(KEY_EC_P256, a, &key, &err) && cert_new(key, &o, a, &cert, &err) && file_write(path_of(a, "server.crt").ptr, cert, 0644, &err) &&
		file_write(path_of(a, "server.key").ptr, key, 0600, &err);
	o = (struct cert_opts){ .common_name = S("admin"), .usage = CERT_CLIENT, .organizations = masters, .organizations_len = 1, .ca_cert_pem = ca,
		.ca_key_pem = ca_key };
	ok = ok && key_new(KEY_EC_P256, a, &key, &err) && cert_new(key, &o, a, &cert, &err) && file_write(path_of(a, "admin.crt").ptr, cert, 0644, &err) &&
		file_write(path_of(a, "admin.key").ptr, key, 0600, &err) && key_new(KEY_EC_P256, a, &sa, &err) &&
		file_write(path_of(a, "sa.key").ptr, sa, 0600, &err);
	if (!ok) {
		die("certificates", &err);
	}
}

static void run_server(int told, int until) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct store *store = NULL;
	struct apiserver *s = NULL;
	char c;

	if (!store_open(&(struct store_opts){ .dir = path_of(&a, "data").ptr }, &store, &err)) {
		die("store", &err);
	}
	struct apiserver_opts o = { .store = store, .bind_address = "127.0.0.1", .port = -1, .cert_file = path_of(&a, "server.crt").ptr,
		.key_file = path_of(&a, "server.key").ptr, .client_ca_file = path_of(&a, "ca.crt").ptr, .sa_key_file = path_of(&a, "sa.key").ptr };
	if (!apiserver_start(&o, &s, &err)) {
		die("server", &err);
	}
	int port = apiserver_port(s);
	if (write(told, &port, sizeof(port)) != sizeof(port)) {
		exit(1);
	}
	while (read(until, &c, 1) > 0) {
	}
	apiserver_stop(s, 100);
	store_close(store);
	exit(0);
}

/* ---- the clients --------------------------------------------------------------------------------------- */

static int64_t cpu_ns(void) {
	clockid_t clock;
	struct timespec ts;

	if (clock_getcpuclockid(server_pid, &clock) || clock_gettime(clock, &ts)) {
		return 0;
	}
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* One number of the server's /proc files, in KB. */
static long memory_kb(const char *file, const char *key) {
	char path[64];
	auto_buf struct buf b = BUF_INIT(0);
	struct err err = { 0 };
	struct str rest, line;

	snprintf(path, sizeof(path), "/proc/%d/%s", server_pid, file);
	if (!file_read(path, &b, &err)) {
		return 0;
	}
	rest = buf_view(&b);
	while (str_next(&rest, '\n', &line)) {
		if (str_starts(line, str_c(key))) {
			auto_arena struct arena a = { 0 };
			return strtol(arena_cstr(&a, str_from(line, strlen(key))), NULL, 10);
		}
	}
	return 0;
}

static void call(struct str method, struct str url, struct str body, int want) {
	struct http_request q = { .method = method, .url = url, .body = body, .content_type = body.len ? S("application/json") : S("") };
	struct http_response r = { 0 };
	struct err err = { 0 };

	if (!http_do(client, &q, &r, &err)) {
		die("request", &err);
	}
	if (r.status != want) {
		fprintf(stderr, "apiserver_bench: %.*s: %d %.*s\n", STR_ARG(url), r.status, STR_ARG(r.body));
		exit(1);
	}
	http_response_release(&r);
}

static void pod_json(struct buf *b, int n) {
	struct str rest = str_c(pod_text), head;
	char name[24];

	snprintf(name, sizeof(name), "web-%08x", (unsigned)n * 2654435761u);
	while (str_cut(rest, '@', &head, &rest)) {
		buf_str(b, head);
		buf_c(b, name);
	}
	buf_str(b, head);
}

/* A pod as a client sends it: without what a server sets. */
static struct str new_pod(struct arena *a, int n) {
	auto_buf struct buf b = BUF_INIT(0);
	struct value *v = NULL;
	struct err err = { 0 };

	pod_json(&b, n);
	if (!json_parse(a, buf_view(&b), NULL, &v, &err)) {
		die("pod", &err);
	}
	value_remove(value_get(v, N_metadata), N_resourceVersion);
	value_remove(value_get(v, N_metadata), N_managedFields);
	value_remove(v, N_status);
	/* What the server does not keep of it (status, managed fields) is made up for, so that 4.6 KB are stored. */
	struct value *env = value_ensure_array(a, value_item(value_at(v, N_spec, N_containers), 0), N_env);
	for (int i = 0; i < 34; i++) {
		struct value *e = value_push(a, env, value_new_object(a));
		value_set_str(a, e, N_name, arena_printf(a, "SETTING_NUMBER_%02d", i));
		value_set_str(a, e, N_value, arena_printf(a, "value-%d-of-pod-%d-with-some-text", i, n));
	}
	value_remove(value_get(v, N_spec), N_priority);
	value_remove(value_get(v, N_spec), N_priorityClassName);
	return json_text(a, v);
}

static int next; /* atomic */
static int total;

static void *create_some(void *arg) {
	for (int n; (n = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < total;) {
		auto_arena struct arena a = { 0 };
		call(S("POST"), S("/api/v1/namespaces/default/pods"), new_pod(&a, n), 201);
	}
	return NULL;
}

static void *get_some(void *arg) {
	for (int n; (n = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < total;) {
		auto_arena struct arena a = { 0 };
		call(S("GET"), arena_printf(&a, "/api/v1/namespaces/default/pods/web-%08x", (unsigned)(n % pods) * 2654435761u), S(""), 200);
	}
	return NULL;
}

static nsec_t in_parallel(void *(*fn)(void *), int count) {
	pthread_t threads[256];
	nsec_t begun = clock_mono();

	next = 0;
	total = count;
	for (int i = 0; i < clients; i++) {
		pthread_create(&threads[i], NULL, fn, NULL);
	}
	for (int i = 0; i < clients; i++) {
		pthread_join(threads[i], NULL);
	}
	return clock_mono() - begun;
}

static void row(const char *what, double value, const char *unit, const char *goal) {
	printf("%-52s %10.1f %-6s %s\n", what, value, unit, goal);
	fflush(stdout);
}

static int64_t list_bytes;

static bool count_bytes(void *arg, struct str bytes) {
	list_bytes += (int64_t)bytes.len;
	return true;
}

static void bench_list(const char *what, struct str accept, const char *goal) {
	struct http_header h = { S("Accept"), accept };
	struct http_request q = { .url = S("/api/v1/pods"), .on_body = count_bytes, .headers = &h, .headers_len = 1 };
	struct err err = { 0 };
	auto_buf struct buf b = BUF_INIT(0);
	char path[64], text[160];
	double best = 1e9, best_cpu = 1e9;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", server_pid);
	(void)!file_put(path, S("5"), &err);
	long before = memory_kb("status", "VmHWM:");
	for (int i = 0; i < 5; i++) {
		struct http_response r = { 0 };
		int64_t cpu = cpu_ns();
		nsec_t begun = clock_mono();
		list_bytes = 0;
		if (!http_do(client, &q, &r, &err)) {
			die("list", &err);
		}
		best = MIN(best, (double)(clock_mono() - begun) / 1e6);
		best_cpu = MIN(best_cpu, (double)(cpu_ns() - cpu) / 1e6);
		http_response_release(&r);
	}
	long peak = memory_kb("status", "VmHWM:") - before;
	snprintf(text, sizeof(text), "%s: %.1f MB, CPU", what, (double)list_bytes / 1e6);
	row(text, best_cpu, "ms", goal);
	row("   wall clock", best, "ms", "");
	row("   extra memory", (double)peak / 1024, "MB", "goal 10 [60]");
}

/* ---- watches ------------------------------------------------------------------------------------------------ */

static int64_t events; /* atomic */

static void on_headers(void *arg, int status, struct http_headers h) {
	if (status != 200) {
		fprintf(stderr, "apiserver_bench: watch: %d\n", status);
		exit(1);
	}
	__atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
}
static void on_data(void *arg, struct str bytes) {
	int64_t n = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		n += bytes.ptr[i] == '\n';
	}
	__atomic_fetch_add(&events, n, __ATOMIC_RELAXED);
}
static void on_end(void *arg, const struct err *err) {
}

static void bench_watch(void) {
	static const struct http_watch_handler handler = { .on_headers = on_headers, .on_data = on_data, .on_end = on_end };
	struct loop *loop = loop_new("bench");
	struct err err = { 0 };
	struct http_request q = { .url = S("/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan") };
	int ready = 0, writes = 200;
	struct str body;
	auto_arena struct arena a = { 0 };
	char blob[4200];

	if (!loop_start_thread(loop, &err)) {
		die("loop", &err);
	}
	long before = memory_kb("smaps_rollup", "Pss:");
	for (int i = 0; i < watchers; i++) {
		http_watch_start(client, loop, &q, &handler, &ready);
	}
	while (__atomic_load_n(&ready, __ATOMIC_RELAXED) < watchers) {
		clock_sleep(NSEC_PER_MSEC);
	}
	clock_sleep(300 * NSEC_PER_MSEC);
	row("memory a watcher, own TLS connection", (double)(memory_kb("smaps_rollup", "Pss:") - before) / watchers, "KB", "");
	memset(blob, 'x', sizeof(blob));
	__atomic_store_n(&events, 0, __ATOMIC_RELAXED);
	int64_t cpu = cpu_ns();
	nsec_t begun = clock_mono();
	for (int i = 0; i < writes; i++) {
		body = arena_printf(&a, "{\"metadata\":{\"name\":\"w%d\"},\"data\":{\"k\":\"%.*s\"}}", i, (int)sizeof(blob), blob);
		call(S("POST"), S("/api/v1/namespaces/default/configmaps"), body, 201);
	}
	while (__atomic_load_n(&events, __ATOMIC_RELAXED) < (int64_t)writes * watchers && clock_mono() - begun < 60 * NSEC_PER_SEC) {
		clock_sleep(NSEC_PER_MSEC);
	}
	int64_t got = __atomic_load_n(&events, __ATOMIC_RELAXED);
	row("event to each of the watchers, CPU a delivery", (double)(cpu_ns() - cpu) / 1e3 / (double)got, "us", "goal 6 [9 to 20]");
	row("   deliveries missing", (double)((int64_t)writes * watchers - got), "", "");
	row("   wall clock a write", (double)(clock_mono() - begun) / 1e6 / writes, "ms", "");
}

int main(int argc, char **argv) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	int told[2], until[2], port = 0;

	if (argc > 1 && !str_to_int(str_c(argv[1]), 1, 1000000, &pods)) {
		return 2;
	}
	if (argc > 2 && !str_to_int(str_c(argv[2]), 1, 256, &clients)) {
		return 2;
	}
	if (argc > 3 && !str_to_int(str_c(argv[3]), 1, 10000, &watchers)) {
		return 2;
	}
	snprintf(dir, sizeof(dir), "/tmp/coracle-bench-%d", getpid());
	if (!dir_make(dir, 0700, &err)) {
		die(dir, &err);
	}
	make_certs(&a);
	if (pipe(told) || pipe(until)) {
		return 1;
	}
	server_pid = fork();
	if (server_pid == 0) {
		close(until[1]);
		run_server(told[1], until[0]);
	}
	if (read(told[0], &port, sizeof(port)) != sizeof(port)) {
		return 1;
	}
	auto_buf struct buf ca = BUF_INIT(0), cert = BUF_INIT(0), key = BUF_INIT(0);
	if (!file_read(path_of(&a, "ca.crt").ptr, &ca, &err) || !file_read(path_of(&a, "admin.crt").ptr, &cert, &err) ||
		!file_read(path_of(&a, "admin.key").ptr, &key, &err)) {
		die("certificates", &err);
	}
	struct http_client_opts o = { .base = arena_printf(&a, "https://127.0.0.1:%d", port), .idle_max = 256,
		.tls = { .ca_pem = buf_view(&ca), .cert_pem = buf_view(&cert), .key_pem = buf_view(&key) } };
	if (!http_client_new(&o, &client, &err)) {
		die("client", &err);
	}
	call(S("POST"), S("/api/v1/namespaces/default/serviceaccounts"), S("{\"metadata\":{\"name\":\"default\"}}"), 201);
	row("idle server", (double)memory_kb("smaps_rollup", "Pss:") / 1024, "MB", "[114]");

	long before = memory_kb("smaps_rollup", "Pss:"), anon = memory_kb("status", "RssAnon:");
	int64_t cpu = cpu_ns();
	nsec_t took = in_parallel(create_some, pods);
	row("durable create of a 4.6 KB pod, CPU", (double)(cpu_ns() - cpu) / 1e3 / pods, "us", "goal 150 [1,000]");
	row("   a second", (double)pods / ((double)took / 1e9), "", "");
	row("memory a pod in store and caches", (double)(memory_kb("smaps_rollup", "Pss:") - before) / pods, "KB", "goal 6 [33]");
	row("   without the store's mapped file", (double)(memory_kb("status", "RssAnon:") - anon) / pods, "KB", "");

	cpu = cpu_ns();
	took = in_parallel(get_some, pods * 2);
	row("get of a pod, CPU", (double)(cpu_ns() - cpu) / 1e3 / (pods * 2), "us", "goal 40 [304]");
	row("   a second", (double)pods * 2 / ((double)took / 1e9), "", "");

	bench_list("list as JSON", S("application/json"), "goal 100 [348]");
	bench_list("list as protobuf", S("application/vnd.kubernetes.protobuf"), "");
	bench_list("list as a Table", S("application/json;as=Table;v=v1;g=meta.k8s.io"), "");
	bench_watch();
	close(until[1]);
	(void)waitpid(server_pid, NULL, 0);
	(void)!dir_remove(dir, &err);
	return 0;
}
