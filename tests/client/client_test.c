/* SPDX-License-Identifier: Apache-2.0 */
/* client_test.c - the HTTPS transport against a server of canned answers, events, leader election, kubeconfig files. */
#include "fake_api.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "client/kubeconfig.h"
#include "client/leader.h"
#include "client/recorder.h"
#include "net/http.h"

/* ---- HTTPS transport (over plain HTTP) ---- */

struct canned {
	const char *method, *target; /* request line expected */
	int status;
	const char *answer;
};
struct site {
	struct http_server *server;
	struct client *client;
	char url[64];
	char target[1024], method[16], body[4096], content_type[128], auth[256]; /* of the last request */
	int status;
	const char *answer;
	atomic_int requests;
};

static void handle(struct http_exchange *x, void *arg) {
	struct site *s = arg;

	snprintf(s->method, sizeof(s->method), "%.*s", STR_ARG(x->method));
	snprintf(s->target, sizeof(s->target), "%.*s", STR_ARG(x->target));
	snprintf(s->body, sizeof(s->body), "%.*s", STR_ARG(x->body));
	struct str type = http_request_header(x, S("Content-Type")), auth = http_request_header(x, S("Authorization"));
	snprintf(s->content_type, sizeof(s->content_type), "%.*s", STR_ARG(type));
	snprintf(s->auth, sizeof(s->auth), "%.*s", STR_ARG(auth));
	atomic_fetch_add(&s->requests, 1);
	http_reply(x, s->status, S("application/json"), str_c(s->answer));
}

static struct site *site_new(const char *token_file) {
	struct site *s = xcalloc(1, sizeof(*s));
	struct http_listen listen = { .address = S("127.0.0.1:0") };
	struct http_server_opts opts = { .name = "canned", .listen = &listen, .listen_len = 1, .handle = handle, .arg = s, .loops = 1 };
	struct err err = { 0 };

	if (!http_server_start(&opts, &s->server, &err)) {
		fail_msg("%s", err.msg);
	}
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", http_server_port(s->server, 0));
	struct client_https_opts client = { .server = s->url, .token = S("secret"), .token_file = token_file };
	assert_true(client_new_https(&client, &s->client, &err));
	return s;
}

static void site_free(struct site *s) {
	client_free(s->client);
	http_server_stop(s->server, NSEC_PER_SEC);
	free(s);
}

#define POD_JSON "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"resourceVersion\":\"7\"}}"

static void test_calls(void **state) {
	struct site *s = site_new(NULL);
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct value *body = value_new_object(&a);
	value_set_str(&a, value_set(&a, body, N_metadata, value_new_object(&a)), N_name, S("p"));
	const struct {
		struct client_call call;
		const char *method, *target, *content_type, *body;
	} cases[] = {
		{ { .verb = CLIENT_GET, .gvr = GVR_PODS, .ns = S("n"), .name = S("p") }, "GET", "/api/v1/namespaces/n/pods/p", "", "" },
		{ { .verb = CLIENT_CREATE, .gvr = GVR_DEPLOYMENTS, .ns = S("n"), .body = body, .field_manager = S("me"), .dry_run = true }, "POST",
			"/apis/apps/v1/namespaces/n/deployments?fieldManager=me&dryRun=All", "application/json", "{\"metadata\":{\"name\":\"p\"}}" },
		{ { .verb = CLIENT_CREATE, .gvr = GVR_PODS, .ns = S("n"), .name = S("p"), .subresource = S("binding"), .body = body }, "POST",
			"/api/v1/namespaces/n/pods/p/binding", "application/json", "{\"metadata\":{\"name\":\"p\"}}" },
		{ { .verb = CLIENT_UPDATE, .gvr = GVR_NODES, .name = S("p"), .subresource = S("status"), .body = body }, "PUT", "/api/v1/nodes/p/status",
			"application/json", "{\"metadata\":{\"name\":\"p\"}}" },
		{ { .verb = CLIENT_PATCH, .gvr = GVR_PODS, .ns = S("n"), .name = S("p"), .patch = PATCH_STRATEGIC, .body = body }, "PATCH", "/api/v1/namespaces/n/pods/p",
			"application/strategic-merge-patch+json", "{\"metadata\":{\"name\":\"p\"}}" },
		{ { .verb = CLIENT_PATCH, .gvr = GVR_PODS, .ns = S("n"), .name = S("p"), .patch = PATCH_APPLY, .body = body, .field_manager = S("me"), .force = true }, "PATCH",
			"/api/v1/namespaces/n/pods/p?fieldManager=me&force=true", "application/apply-patch+yaml", "{\"metadata\":{\"name\":\"p\"}}" },
		{ { .verb = CLIENT_DELETE, .gvr = GVR_PODS, .ns = S("n"), .name = S("p") }, "DELETE", "/api/v1/namespaces/n/pods/p", "", "" },
		{ { .verb = CLIENT_DELETE, .gvr = GVR_PODS, .ns = S("n"), .name = S("p"), .propagation = S("Orphan"), .has_grace = true, .precondition_uid = S("u") }, "DELETE",
			"/api/v1/namespaces/n/pods/p", "application/json",
			"{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"propagationPolicy\":\"Orphan\",\"gracePeriodSeconds\":0,\"preconditions\":{\"uid\":\"u\"}}" },
		{ { .verb = CLIENT_DELETE_COLLECTION, .gvr = GVR_PODS, .ns = S("n"), .label_selector = S("a in (b,c)") }, "DELETE",
			"/api/v1/namespaces/n/pods?labelSelector=a%20in%20%28b%2Cc%29", "", "" },
		{ { .verb = CLIENT_RAW, .raw_path = S("/version") }, "GET", "/version", "", "" },
	};
	s->status = 200;
	s->answer = POD_JSON;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_obj struct obj *o = NULL;
		if (!client_do(s->client, &cases[i].call, &o, NULL, &err)) {
			fail_msg("%zu: %s", i, err.msg);
		}
		assert_string_equal(s->method, cases[i].method);
		assert_string_equal(s->target, cases[i].target);
		assert_string_equal(s->body, cases[i].body);
		if (*cases[i].content_type) {
			assert_string_equal(s->content_type, cases[i].content_type);
		}
		assert_string_equal(s->auth, "Bearer secret");
		assert_int_equal(o->revision, 7);
	}
	site_free(s);
}

static void test_list(void **state) {
	struct site *s = site_new(NULL);
	struct client_list list = { 0 };
	struct err err = { 0 };

	s->status = 200;
	s->answer = "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"42\"},\"items\":[{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"3\"}},"
		    "{\"metadata\":{\"name\":\"b\"}}]}";
	assert_true(client_list(s->client, GVR_PODS, S(""), S(""), &list, &err));
	assert_string_equal(s->target, "/api/v1/pods?limit=5000");
	assert_int_equal(list.len, 2);
	assert_int_equal(list.revision, 42);
	assert_int_equal(list.at[0]->revision, 3);
	assert_true(str_eqc(value_str_at(list.at[0]->root, N_kind), "Pod"));
	assert_true(str_eqc(value_str_at(list.at[1]->root, N_apiVersion), "v1"));
	client_list_release(&list);
	site_free(s);
}

static void test_errors(void **state) {
	static const struct {
		int status;
		const char *answer;
		enum err_code code;
		const char *msg;
	} cases[] = {
		{ 404, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"pods \\\"p\\\" not found\",\"reason\":\"NotFound\",\"code\":404}", ERR_NOT_FOUND,
			"pods \"p\" not found" },
		{ 409, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"AlreadyExists\",\"code\":409}", ERR_ALREADY_EXISTS, "m" },
		{ 409, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Conflict\",\"code\":409}", ERR_CONFLICT, "m" },
		{ 410, "{\"kind\":\"Status\",\"message\":\"m\",\"reason\":\"Expired\",\"code\":410}", ERR_EXPIRED, "m" },
		{ 503, "upstream is away", ERR_UNAVAILABLE, "the server answered 503 Service Unavailable: upstream is away" },
	};
	struct site *s = site_new(NULL);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = { 0 };
		s->status = cases[i].status;
		s->answer = cases[i].answer;
		assert_false(client_get(s->client, GVR_PODS, S("n"), S("p"), NULL, &err));
		assert_int_equal(err.code, cases[i].code);
		assert_string_equal(err.msg, cases[i].msg);
	}
	struct err err = { 0 };
	s->status = 200;
	s->answer = "not json";
	assert_false(client_get(s->client, GVR_PODS, S("n"), S("p"), NULL, &err));
	site_free(s);
}

static void test_token_file(void **state) {
	char dir[] = "/tmp/coracle-client-XXXXXX";
	assert_non_null(mkdtemp(dir));
	auto_free char *path = xasprintf("%s/token", dir);
	struct err err = { 0 };

	assert_true(file_write(path, S("one\n"), 0600, &err));
	struct site *s = site_new(path);
	s->status = 200;
	s->answer = POD_JSON;
	assert_true(client_get(s->client, GVR_PODS, S("n"), S("p"), NULL, &err));
	assert_string_equal(s->auth, "Bearer one");
	assert_true(file_write(path, S("two\n"), 0600, &err));
	assert_true(client_get(s->client, GVR_PODS, S("n"), S("p"), NULL, &err));
	assert_string_equal(s->auth, "Bearer two");
	site_free(s);
	assert_true(dir_remove(dir, &err));
}

/* ---- watch ---- */

struct seen {
	atomic_int added, modified, deleted, bookmarks, synced, ended;
	struct err err;
	struct client_watch *watch;
	struct client *client;
	struct loop *loop;
};

static void on_event(void *arg, enum watch_event type, struct obj *o, const struct err *err) {
	struct seen *s = arg;
	atomic_int *const counters[] = { &s->added, &s->modified, &s->deleted, &s->bookmarks, &s->synced, &s->ended };

	if (type == WATCH_ENDED) {
		s->err = *err;
	}
	atomic_fetch_add(counters[type], 1);
}

static void watch_here(void *arg) {
	struct seen *s = arg;
	struct client_watch_opts opts = { .gvr = GVR_PODS, .initial_events = true, .loop = s->loop, .on_event = on_event, .arg = s };
	struct err err = { 0 };
	assert_true(client_watch_start(s->client, &opts, &s->watch, &err));
}
static void unwatch_here(void *arg) {
	struct seen *s = arg;
	client_watch_stop(s->watch);
}

#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"

static void watched(struct site *s, struct seen *seen) {
	struct err err = { 0 };

	seen->client = s->client;
	seen->loop = loop_new("watch");
	assert_true(loop_start_thread(seen->loop, &err));
	assert_true(loop_call(seen->loop, watch_here, seen));
	WAIT_FOR(seen->ended == 1);
	assert_true(loop_call(seen->loop, unwatch_here, seen));
	loop_stop(seen->loop);
	loop_free(seen->loop);
}

static void test_watch(void **state) {
	struct site *s = site_new(NULL);
	struct seen seen = { 0 };

	s->status = 200;
	s->answer = EVENT("ADDED", POD_JSON) EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"9\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}")
		EVENT("MODIFIED", POD_JSON) EVENT("DELETED", POD_JSON);
	watched(s, &seen);
	assert_true(str_starts(str_c(s->target), S("/api/v1/pods?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=")));
	assert_int_equal(seen.added, 1);
	assert_int_equal(seen.bookmarks, 1);
	assert_int_equal(seen.synced, 1);
	assert_int_equal(seen.modified, 1);
	assert_int_equal(seen.deleted, 1);
	assert_int_equal(seen.err.code, ERR_NONE);
	site_free(s);
}

static void test_watch_ends(void **state) {
	static const struct {
		int status;
		const char *answer;
		enum err_code code;
	} cases[] = {
		{ 200, EVENT("ADDED", POD_JSON) EVENT("ERROR", "{\"kind\":\"Status\",\"message\":\"too old\",\"reason\":\"Expired\",\"code\":410}"), ERR_EXPIRED },
		{ 200, "rubbish\n", ERR_BAD_REQUEST },
		{ 422, "{\"kind\":\"Status\",\"message\":\"sendInitialEvents is forbidden\",\"reason\":\"Invalid\",\"code\":422}", ERR_INVALID },
		{ 403, "{\"kind\":\"Status\",\"message\":\"no\",\"reason\":\"Forbidden\",\"code\":403}", ERR_FORBIDDEN },
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct site *s = site_new(NULL);
		struct seen seen = { 0 };
		s->status = cases[i].status;
		s->answer = cases[i].answer;
		watched(s, &seen);
		assert_int_equal(seen.err.code, cases[i].code);
		site_free(s);
	}
}

/* ---- events ---- */

static int64_t event_total(struct fake *f, const char *reason, size_t *ret_objects) {
	struct client_list all;
	int64_t n = 0;

	*ret_objects = 0;
	fake_all(f, GVR_EVENTS, S(""), &all);
	for (size_t i = 0; i < all.len; i++) {
		if (str_eqc(value_str_at(all.at[i]->root, N_reason), reason)) {
			n += value_int_at(all.at[i]->root, N_count);
			(*ret_objects)++;
		}
	}
	client_list_release(&all);
	return n;
}

static void test_recorder(void **state) {
	struct fake fake;
	fake_init(&fake, FAKE_KUBELET_OFF);
	struct client *client = client_new(&fake.transport);
	struct recorder *r = recorder_new(client, "tester", "host1");
	auto_obj struct obj *about = fake_add(&fake, GVR_CONFIGMAPS, "metadata: {name: m}");
	size_t objects;

	for (int i = 0; i < 3; i++) { /* the same: one event, counted */
		recorder_event(r, about->root, "Normal", "Same", "message %d", 1);
	}
	WAIT_FOR(event_total(&fake, "Same", &objects) == 3);
	assert_int_equal(objects, 1);
	struct client_list all;
	fake_all(&fake, GVR_EVENTS, S("default"), &all);
	const struct value *e = all.at[0]->root;
	assert_true(str_eqc(value_str_at(e, N_involvedObject, N_kind), "ConfigMap"));
	assert_true(str_eqc(value_str_at(e, N_involvedObject, N_name), "m"));
	assert_true(str_eqc(value_str_at(e, N_message), "message 1"));
	assert_true(str_eqc(value_str_at(e, N_source, N_component), "tester"));
	assert_true(str_eqc(value_str_at(e, N_source, N_host), "host1"));
	client_list_release(&all);

	for (int i = 0; i < 15; i++) { /* more than ten that differ only in the message become one */
		recorder_event(r, about->root, "Warning", "Similar", "message %d", i);
	}
	WAIT_FOR(event_total(&fake, "Similar", &objects) == 15);
	assert_int_equal(objects, 11);
	for (int i = 0; i < 100; i++) { /* no more than 25 in a burst about one object */
		recorder_event(r, about->root, "Warning", "Spam", "same");
	}
	recorder_free(r);
	assert_int_equal(event_total(&fake, "Spam", &objects), 25 - 3 - 15);
	client_free(client);
	fake_release(&fake);
}

/* ---- leader election ---- */

struct candidate {
	struct leader *leader;
	atomic_int started, stopped;
};
static void on_started(void *arg) {
	atomic_fetch_add(&((struct candidate *)arg)->started, 1);
}
static void on_stopped(void *arg) {
	atomic_fetch_add(&((struct candidate *)arg)->stopped, 1);
}

static void candidate_start(struct candidate *c, struct client *client, struct loop *loop, struct str identity) {
	struct leader_opts opts = {
		.client = client,
		.loop = loop,
		.ns = S("kube-system"),
		.name = S("lease"),
		.identity = identity,
		.on_started = on_started,
		.on_stopped = on_stopped,
		.arg = c,
	};
	c->leader = leader_start(&opts);
}

static void test_leader(void **state) {
	struct fake fake;
	struct candidate one = { 0 }, two = { 0 };
	struct err err = { 0 };

	fake_init(&fake, FAKE_KUBELET_OFF);
	struct client *client = client_new(&fake.transport);
	struct loop *loop = loop_new("leader");
	assert_true(loop_start_thread(loop, &err));
	candidate_start(&one, client, loop, S("one"));
	WAIT_FOR(one.started == 1);
	candidate_start(&two, client, loop, S("two"));
	clock_sleep(50 * NSEC_PER_MSEC);
	assert_int_equal(two.started, 0);
	leader_stop(one.leader); /* gives the lease back: the other need not wait for it to expire */
	WAIT_FOR(two.started == 1);
	auto_obj struct obj *lease = fake_get(&fake, GVR_LEASES, S("kube-system"), S("lease"));
	assert_true(str_eqc(value_str_at(lease->root, N_spec, N_holderIdentity), "two"));
	assert_int_equal(value_int_at(lease->root, N_spec, N_leaseDurationSeconds), 15);
	/* somebody takes it away */
	fake_change(&fake, GVR_LEASES, S("kube-system"), S("lease"), "spec: {holderIdentity: thief, leaseDurationSeconds: 15}");
	WAIT_FOR(two.stopped == 1);
	leader_stop(two.leader);
	loop_stop(loop);
	loop_free(loop);
	client_free(client);
	fake_release(&fake);
}

/* ---- kubeconfig ---- */

static void test_kubeconfig(void **state) {
	char dir[] = "/tmp/coracle-kubeconfig-XXXXXX";
	assert_non_null(mkdtemp(dir));
	auto_free char *path = xasprintf("%s/.kube/config", dir);
	auto_arena struct arena a = { 0 };
	struct kubeconfig_entry one = { .name = S("one"), .server = S("https://1.2.3.4:6443"), .ca_pem = S("CA"), .cert_pem = S("CERT"), .key_pem = S("KEY") };
	struct kubeconfig_entry two = { .name = S("two"), .server = S("https://2:1"), .token = S("t") };
	struct client_https_opts opts = { 0 };
	struct err err = { 0 };

	assert_true(kubeconfig_remove(path, S("one"), &err)); /* a missing file is success */
	assert_true(kubeconfig_merge(path, &one, true, &err));
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(kubeconfig_load(path, NULL, &a, &opts, &err));
	assert_string_equal(opts.server, "https://1.2.3.4:6443");
	assert_true(str_eqc(opts.ca_pem, "CA") && str_eqc(opts.cert_pem, "CERT") && str_eqc(opts.key_pem, "KEY"));

	/* a second one beside it, and what we do not know stays */
	auto_buf struct buf text = { 0 };
	assert_true(file_read(path, &text, &err));
	buf_c(&text, "preferences:\n  colors: true\n");
	assert_true(file_write(path, buf_view(&text), 0600, &err));
	assert_true(kubeconfig_merge(path, &two, false, &err));
	assert_true(kubeconfig_load(path, NULL, &a, &opts, &err));
	assert_string_equal(opts.server, "https://1.2.3.4:6443");
	assert_true(kubeconfig_load(path, "two", &a, &opts, &err));
	assert_true(str_eqc(opts.token, "t"));
	one.server = S("https://5:6");
	assert_true(kubeconfig_merge(path, &one, false, &err)); /* replaced, not doubled */
	buf_clear(&text);
	assert_true(file_read(path, &text, &err));
	assert_true(str_contains(buf_view(&text), S("colors: true")));
	assert_true(str_contains(buf_view(&text), S("https://5:6")) && !str_contains(buf_view(&text), S("1.2.3.4")));

	assert_true(kubeconfig_remove(path, S("one"), &err));
	assert_false(kubeconfig_load(path, NULL, &a, &opts, &err));
	assert_true(str_contains(str_c(err.msg), S("current-context is not set")));
	assert_false(kubeconfig_load(path, "one", &a, &opts, &err));
	assert_true(str_contains(str_c(err.msg), S("context \"one\" does not exist")));
	assert_true(file_write(path, S("a: [b"), 0600, &err));
	assert_false(kubeconfig_load(path, NULL, &a, &opts, &err));
	err_clear(&err);
	assert_true(dir_remove(dir, &err));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_token_file),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_ends),
		cmocka_unit_test(test_recorder),
		cmocka_unit_test(test_leader),
		cmocka_unit_test(test_kubeconfig),
	};
	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
