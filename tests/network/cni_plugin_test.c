/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cni_plugin_test.c - our plugin by the CNI contract: environment and standard input in, JSON and exit code out; and plugins of others, scripts
 * here, run in order as libcni runs them. Source: CNI specification 1.0.0 and 1.1.0.
 */
#include "network/network.h"

#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "lab.h"
#include "value/value.h"

static struct lab_pod p1, p2;
static char dir[64];

struct call {
	const char *command, *id, *netns, *ifname, *conf;
};

/* Runs it as a program would be; `out` is parsed. */
static int run(struct arena *a, const struct call *c, struct value **ret) {
	int in[2], out[2], status;
	auto_buf struct buf got = { 0 };
	struct err err = { 0 };
	assert_true(pipe(in) == 0 && pipe(out) == 0);
	fflush(NULL); /* or the child would print it too */
	pid_t pid = fork();
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		const char *const env[][2] = { { "CNI_COMMAND", c->command }, { "CNI_CONTAINERID", c->id }, { "CNI_NETNS", c->netns }, { "CNI_IFNAME", c->ifname }, { "CNI_PATH", "/x" } };
		for (size_t i = 0; i < ARRAY_LEN(env); i++) {
			if (env[i][1]) {
				setenv(env[i][0], env[i][1], 1);
			} else {
				unsetenv(env[i][0]);
			}
		}
		_exit(cni_plugin_main());
	}
	close(in[0]);
	close(out[1]);
	(void)!write(in[1], c->conf, strlen(c->conf)); /* it may be gone already */
	close(in[1]);
	char part[4096];
	ssize_t n;
	while ((n = read(out[0], part, sizeof(part))) > 0) {
		buf_add(&got, part, (size_t)n);
	}
	close(out[0]);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	*ret = NULL;
	if (got.len && !json_parse(a, arena_str(a, buf_view(&got)), NULL, ret, &err)) {
		fail_msg("not JSON: %s", buf_cstr(&got));
	}
	return WEXITSTATUS(status);
}

static struct value *at(const struct value *v, const char *key) {
	return value_get_str(v, str_c(key));
}

static const char *conf_of(struct arena *a, const char *version, const char *more) {
	return arena_printf(a, "{\"cniVersion\":\"%s\",\"name\":\"pods\",\"type\":\"coracle-cni\",\"stateDir\":\"%s\",\"bridge\":\"corP\",\"subnet\":\"10.245.1.0/24\","
			       "\"clusterCIDR\":\"10.245.0.0/16\"%s}", version, dir, more).ptr;
}

static const struct error_case {
	const char *name;
	struct call call;
	int code;
} error_cases[] = {
	{ "no command", { NULL, "x", "/n", "eth0", "{}" }, 4 },
	{ "unknown command", { "JUMP", "x", "/n", "eth0", "{}" }, 4 },
	{ "no id", { "ADD", NULL, "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\"}" }, 4 },
	{ "id with a slash", { "ADD", "../x", "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\"}" }, 4 },
	{ "interface too long", { "ADD", "x", "/n", "eth0123456789abcd", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\"}" }, 4 },
	{ "no netns", { "ADD", "x", "", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\"}" }, 4 },
	{ "not JSON", { "ADD", "x", "/n", "eth0", "{" }, 6 },
	{ "empty", { "ADD", "x", "/n", "eth0", "" }, 6 },
	{ "version of the future", { "ADD", "x", "/n", "eth0", "{\"cniVersion\":\"9.0.0\",\"name\":\"n\"}" }, 1 },
	{ "no version", { "ADD", "x", "/n", "eth0", "{\"name\":\"n\"}" }, 1 },
	{ "no state folder", { "ADD", "x", "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"subnet\":\"10.0.0.0/24\"}" }, 7 },
	{ "no subnet", { "ADD", "x", "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\"}" }, 7 },
	{ "bad subnet", { "ADD", "x", "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\",\"subnet\":\"10.0.0.1/24\"}" }, 7 },
	{ "bad cluster range", { "ADD", "x", "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\",\"subnet\":\"10.0.0.0/24\",\"clusterCIDR\":\"} evil\"}" }, 7 },
	{ "bad bridge", { "ADD", "x", "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\",\"subnet\":\"10.0.0.0/24\",\"bridge\":\"a b\"}" }, 7 },
	{ "bad port", { "ADD", "x", "/n", "eth0", "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\",\"subnet\":\"10.0.0.0/24\",\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":70000,\"containerPort\":1}]}}" }, 7 },
	{ "no subnet at STATUS", { "STATUS", NULL, NULL, NULL, "{\"cniVersion\":\"1.1.0\",\"name\":\"n\",\"stateDir\":\"/tmp/none\"}" }, 50 },
};

static void test_errors(void **state) {
	const struct error_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct value *v;
	assert_int_equal(run(&a, &c->call, &v), 1);
	assert_int_equal(value_as_int(at(v, "code")), c->code);
	assert_true(value_as_str(at(v, "msg")).len > 0);
	assert_true(value_as_str(at(v, "cniVersion")).len > 0);
}

static void test_version(void **state) {
	auto_arena struct arena a = { 0 };
	struct value *v;
	assert_int_equal(run(&a, &(struct call){ .command = "VERSION", .conf = "{\"cniVersion\":\"0.4.0\"}" }, &v), 0);
	assert_str(value_as_str(at(v, "cniVersion")), S("0.4.0"));
	bool found = false;
	VALUE_EACH(at(v, "supportedVersions"), s) {
		found |= str_eq(value_as_str(s), S("1.0.0"));
	}
	assert_true(found);
}

static struct value *add(struct arena *a, struct lab_pod *p, const char *version, const char *more) {
	struct value *v;
	int code = run(a, &(struct call){ "ADD", p->name, p->netns, "eth0", conf_of(a, version, more) }, &v);
	if (code) {
		fail_msg("%.*s", STR_ARG(json_text(a, v)));
	}
	struct str ip, rest, address = value_as_str(at(value_item(at(v, "ips"), 0), "address"));
	assert_true(str_cut(address, '/', &ip, &rest));
	snprintf(p->ip, sizeof(p->ip), "%.*s", STR_ARG(ip));
	return v;
}

static void test_add_check_del(void **state) {
	auto_arena struct arena a = { 0 };
	struct value *v = add(&a, &p1, "1.0.0", ""), *w;
	assert_str(value_as_str(at(v, "cniVersion")), S("1.0.0"));
	assert_int_equal(value_len(at(v, "interfaces")), 3);
	const struct value *eth = value_item(at(v, "interfaces"), 2);
	assert_str(value_as_str(at(eth, "name")), S("eth0"));
	assert_str(value_as_str(at(eth, "sandbox")), str_c(p1.netns));
	assert_int_equal(value_as_str(at(eth, "mac")).len, 17);
	const struct value *ip = value_item(at(v, "ips"), 0);
	assert_str(value_as_str(at(ip, "gateway")), S("10.245.1.1"));
	assert_int_equal(value_as_int(at(ip, "interface")), 2);
	assert_null(at(ip, "version"));
	assert_str(value_as_str(at(value_item(at(v, "routes"), 0), "dst")), S("0.0.0.0/0"));
	/* The same again gives the same. */
	char was[64];
	snprintf(was, sizeof(was), "%s", p1.ip);
	add(&a, &p1, "1.0.0", "");
	assert_string_equal(was, p1.ip);
	/* An old runtime, and a host port. */
	v = add(&a, &p2, "0.4.0", ",\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":7070,\"containerPort\":8080,\"protocol\":\"tcp\"}]}");
	assert_str(value_as_str(at(value_item(at(v, "ips"), 0), "version")), S("4"));
	lab_expect(&p1, SOCK_STREAM, p2.ip, LAB_PORT, "p2 ");
	lab_expect(NULL, SOCK_STREAM, "127.0.0.1", 7070, "p2 ");

	const struct call check = { "CHECK", "p1", p1.netns, "eth0", conf_of(&a, "1.0.0", "") };
	assert_int_equal(run(&a, &check, &w), 0);
	assert_null(w);
	/* One that is not there: container unknown. */
	assert_int_equal(run(&a, &(struct call){ "CHECK", "p9", p1.netns, "eth0", check.conf }, &w), 1);
	assert_int_equal(value_as_int(at(w, "code")), 3);
	assert_int_equal(run(&a, &(struct call){ "ADD", "p9", "/proc/none/ns/net", "eth0", check.conf }, &w), 1);

	assert_int_equal(run(&a, &(struct call){ "STATUS", NULL, NULL, NULL, conf_of(&a, "1.1.0", "") }, &w), 0);
	/* GC keeps what it is told. */
	assert_int_equal(run(&a, &(struct call){ "GC", NULL, NULL, NULL, conf_of(&a, "1.1.0", ",\"cni.dev/valid-attachments\":[{\"containerID\":\"p2\",\"ifname\":\"eth0\"}]") }, &w), 0);
	assert_int_equal(run(&a, &check, &w), 1);
	lab_expect(NULL, SOCK_STREAM, "127.0.0.1", 7070, "p2 ");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(run(&a, &(struct call){ "DEL", "p2", p2.netns, "eth0", check.conf }, &w), 0);
		assert_null(w);
	}
	assert_int_equal(run(&a, &(struct call){ "DEL", "p2", NULL, "eth0", check.conf }, &w), 0);
	lab_expect(NULL, SOCK_STREAM, "127.0.0.1", 7070, "refused");
	/* A second interface beside the first. */
	assert_int_equal(run(&a, &(struct call){ "ADD", "p1", p1.netns, "eth0", check.conf }, &w), 0);
	assert_int_equal(run(&a, &(struct call){ "ADD", "p1", p1.netns, "net1", check.conf }, &w), 0);
	assert_int_equal(run(&a, &(struct call){ "DEL", "p1", p1.netns, "net1", check.conf }, &w), 0);
	assert_int_equal(run(&a, &check, &w), 0);
	assert_int_equal(run(&a, &(struct call){ "DEL", "p1", p1.netns, "eth0", check.conf }, &w), 0);
	network_remove("corP", NULL, NULL, dir);
}

/* ---- plugins of others ---- */

static void script(const char *name, const char *text) {
	auto_free char *path = xasprintf("%s/bin/%s", dir, name);
	struct err err = { 0 };
	assert_true(file_write(path, str_c(text), 0755, &err));
	chmod(path, 0755);
}

/* Each says what it was asked, into $LOG; the first gives an address, the second hands it on. */
static const char first_sh[] = "#!/bin/sh\nin=$(cat)\necho \"first $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $in\" >> \"$LOG\"\n"
			       "[ $CNI_COMMAND = ADD ] && echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.9.9.9/24\"}]}'\nexit 0\n";
static const char second_sh[] = "#!/bin/sh\nin=$(cat)\necho \"second $CNI_COMMAND $in\" >> \"$LOG\"\n"
				"[ -e \"$LOG.fail\" ] && [ $CNI_COMMAND = ADD ] && { echo '{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"no room\",\"details\":\"at all\"}'; exit 1; }\n"
				"[ $CNI_COMMAND = ADD ] && echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.9.9.9/24\"}]}'\nexit 0\n";

static struct str log_take(struct arena *a) {
	auto_free char *path = xasprintf("%s/log", dir);
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	assert_true(file_read(path, &b, &err));
	unlink(path);
	return arena_str(a, buf_view(&b));
}

static void test_others(void **state) {
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	struct cni *c;
	char ip[64];
	const char *bin = arena_printf(&a, "%s/bin", dir).ptr, *conf = arena_printf(&a, "%s/conf", dir).ptr, *log = arena_printf(&a, "%s/log", dir).ptr;
	const char *no = arena_printf(&a, "%s/log.fail", dir).ptr;
	assert_true(dir_make(bin, 0755, &err) && dir_make(conf, 0755, &err));
	script("first", first_sh);
	script("second", second_sh);
	setenv("LOG", log, 1);
	assert_true(file_write(arena_printf(&a, "%s/10-x.conflist", conf).ptr,
		S("{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":[{\"type\":\"first\",\"mode\":7},{\"type\":\"second\",\"capabilities\":{\"portMappings\":true}}]}"), 0644, &err));
	assert_true(file_write(arena_printf(&a, "%s/99-y.conflist", conf).ptr, S("never read"), 0644, &err));
	struct cni_opts o = { .state_dir = dir, .bridge = "corP", .conf_dir = conf, .bin_dir = bin };
	if (!cni_open(&o, &c, &err)) {
		fail_msg("%s (%s)", err.msg, err.ctx);
	}
	assert_true(cni_ready(c));
	struct cni_port port = { 80, 8080, "TCP", "" };
	struct cni_pod pod = { .id = "s1", .netns = p1.netns, .ns = "prod", .name = "web", .uid = "u1", .ports = &port, .ports_len = 1 };
	assert_true(cni_add(c, &pod, ip, &err));
	assert_string_equal(ip, "10.9.9.9");
	struct str log_text = log_take(&a), line;
	assert_true(str_next(&log_text, '\n', &line));
	assert_true(str_starts(line, S("first ADD s1 eth0 IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=s1;K8S_POD_UID=u1 ")));
	assert_true(str_contains(line, S("\"mode\":7")) && str_contains(line, S("\"name\":\"net\"")) && !str_contains(line, S("prevResult")) && !str_contains(line, S("runtimeConfig")));
	assert_true(str_next(&log_text, '\n', &line));
	assert_true(str_contains(line, S("\"prevResult\":{")) && str_contains(line, S("\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\"}]")));
	/* Again: nothing is run. DEL: backwards, with the result that was kept. */
	assert_true(cni_add(c, &pod, ip, &err));
	assert_false(file_exists(log));
	assert_true(cni_del(c, &(struct cni_pod){ .id = "s1", .netns = p1.netns }, &err));
	log_text = log_take(&a);
	assert_true(str_next(&log_text, '\n', &line) && str_starts(line, S("second DEL ")) && str_contains(line, S("prevResult")) && str_contains(line, S("portMappings")));
	assert_true(str_next(&log_text, '\n', &line) && str_starts(line, S("first DEL ")));
	/* A failure is told in the plugin's words, and what was done before is undone. */
	assert_true(file_write(no, S(""), 0644, &err));
	assert_false(cni_add(c, &pod, ip, &err));
	assert_string_equal(err.msg, "plugin type=\"second\" failed: no room; at all");
	log_text = log_take(&a);
	assert_true(str_contains(log_text, S("first DEL")));
	unlink(no);
	/* After a restart: what is not wanted goes. */
	assert_true(cni_add(c, &pod, ip, &err));
	log_take(&a);
	assert_true(cni_keep_only(c, (const char *const[]){ "s1" }, 1, &err));
	assert_false(file_exists(log));
	assert_true(cni_keep_only(c, NULL, 0, &err));
	assert_true(str_contains(log_take(&a), S("first DEL s1")));
	/* One that is missing: not ready. */
	unlink(arena_printf(&a, "%s/second", bin).ptr);
	assert_false(cni_ready(c));
	cni_close(c);
	static const char *const bad[] = { "{", "{\"name\":\"x\",\"plugins\":[]}", "{\"name\":\"x\",\"plugins\":[{\"type\":\"../x\"}]}", "{\"plugins\":[{\"type\":\"x\"}]}" };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_true(file_write(arena_printf(&a, "%s/10-x.conflist", conf).ptr, str_c(bad[i]), 0644, &err));
		assert_false(cni_open(&o, &c, &err));
	}
}

static int setup(void **state) {
	struct err err = { 0 };
	lab_pod_start(&p1, "p1");
	lab_pod_start(&p2, "p2");
	snprintf(dir, sizeof(dir), "/tmp/coracle-cni-%d", getpid());
	return dir_make(dir, 0755, &err) ? 0 : 1;
}

static int teardown(void **state) {
	struct err err = { 0 };
	lab_pod_end(&p1);
	lab_pod_end(&p2);
	return dir_remove(dir, &err) ? 0 : 1;
}

int main(void) {
	signal(SIGPIPE, SIG_IGN);
	if (!lab_enter()) {
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_add_check_del),
		cmocka_unit_test(test_others),
	};
	return RUN_CASES("cni_errors", error_cases, test_errors) + cmocka_run_group_tests_name("cni_plugin", tests, setup, teardown);
}
