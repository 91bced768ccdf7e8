/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_test.c - the OCI configuration of a container. Expected values are what Kubernetes' runtimes document: default
 * capabilities, how command and args meet entrypoint and cmd, which mounts and masked paths there are.
 */
#include <signal.h>

#include "runtime/runtime.h"
#include "../cases.h"

static const struct str entrypoint[] = { S_INIT("/entry"), S_INIT("e1") }, cmd[] = { S_INIT("c1"), S_INIT("c2") },
			image_env[] = { S_INIT("PATH=/image/bin"), S_INIT("A=image"), S_INIT("B=image") };
static const struct image_info image = { .entrypoint = entrypoint, .entrypoint_len = 2, .cmd = cmd, .cmd_len = 2, .env = image_env, .env_len = 3,
	.workdir = S_INIT("/image/dir") };
static const struct run_user user = { .uid = 10, .gid = 20 };

static struct value *made(struct arena *a, const struct cri_container_config *k, const struct image_info *i) {
	struct spec_input in = { .config = k, .image = i, .user = &user, .hostname = S("host"), .id = "id", .rootfs = "/rootfs", .cgroup = "/pods/id",
		.ns_network = "/netns", .ns_ipc = "/ipc", .ns_uts = "/uts", .ns_pid = "", .resolv_conf = "/run/resolv.conf", .hostname_file = "/run/hostname",
		.shm = "/run/shm", .oom_score_adj_min = -100, .nofile_max = 20000, .cgroup_mode = CGROUP_V1 };
	struct value *v = NULL;
	struct err err = { 0 };
	if (!spec_make(a, &in, &v, &err)) {
		print_error("%s\n", err.msg);
		return NULL;
	}
	return v;
}

#define STRS(...) ((struct cri_strs){ (const struct str[]){ __VA_ARGS__ }, sizeof((const struct str[]){ __VA_ARGS__ }) / sizeof(struct str) })

static void assert_list(const struct value *list, const char *want) {
	auto_buf struct buf b = { 0 };
	VALUE_EACH(list, v) {
		buf_printf(&b, "%s%.*s", b.len ? " " : "", STR_ARG(value_as_str(v)));
	}
	assert_str(buf_view(&b), str_c(want));
}

static void test_arguments(void **state) {
	auto_arena struct arena a = { 0 };
	struct cri_container_config k = { .name = S("c") };
	assert_list(get(get(made(&a, &k, &image), "process"), "args"), "/entry e1 c1 c2");
	k.args = STRS(S("a"));
	assert_list(get(get(made(&a, &k, &image), "process"), "args"), "/entry e1 a");
	k.command = STRS(S("x"), S("y"));
	assert_list(get(get(made(&a, &k, &image), "process"), "args"), "x y a");
	k.args = (struct cri_strs){ 0 };
	assert_list(get(get(made(&a, &k, &image), "process"), "args"), "x y");
	const struct image_info none = { 0 };
	k.command = (struct cri_strs){ 0 };
	assert_null(made(&a, &k, &none));
}

static void test_environment(void **state) {
	auto_arena struct arena a = { 0 };
	const struct cri_kv env[] = { { S("B"), S("pod") }, { S("C"), S("a=b c") }, { S("HOSTNAME"), S("mine") } };
	struct cri_container_config k = { .env = { env, 3 } };
	assert_list(get(get(made(&a, &k, &image), "process"), "env"), "PATH=/image/bin HOSTNAME=mine A=image B=pod C=a=b c");
	k.tty = true;
	k.env.len = 0;
	assert_list(get(get(made(&a, &k, &image), "process"), "env"), "PATH=/image/bin HOSTNAME=host TERM=xterm A=image B=image");
}

static void test_process(void **state) {
	auto_arena struct arena a = { 0 };
	struct cri_container_config k = { .resources = { .oom_score_adj = -998, .oom_score_adj_set = true } };
	struct value *p = get(made(&a, &k, &image), "process");
	assert_str(get_str(p, "cwd"), S("/image/dir"));
	assert_int_equal(get_int(get(p, "user"), "uid"), 10);
	assert_int_equal(get_int(p, "oomScoreAdj"), -100); /* what this machine permits */
	assert_int_equal(get_int(value_item(get(p, "rlimits"), 0), "hard"), 20000);
	assert_list(get(get(p, "capabilities"), "bounding"),
		"CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SYS_CHROOT "
		"CAP_MKNOD CAP_AUDIT_WRITE CAP_SETFCAP");
	k.working_dir = S("/pod/dir");
	k.resources.oom_score_adj = 500;
	p = get(made(&a, &k, &image), "process");
	assert_str(get_str(p, "cwd"), S("/pod/dir"));
	assert_int_equal(get_int(p, "oomScoreAdj"), 500);
}

static void test_capabilities(void **state) {
	auto_arena struct arena a = { 0 };
	struct cri_container_config k = { .security = { .capabilities_drop = STRS(S("all")), .capabilities_add = STRS(S("NET_ADMIN"), S("cap_kill")) } };
	assert_list(get(get(get(made(&a, &k, &image), "process"), "capabilities"), "effective"), "CAP_KILL CAP_NET_ADMIN");
	/* Added wins over dropped, as upstream's runtimes have it. */
	k.security.capabilities_drop = STRS(S("KILL"), S("ALL"));
	assert_list(get(get(get(made(&a, &k, &image), "process"), "capabilities"), "effective"), "CAP_KILL CAP_NET_ADMIN");
}

static const struct value *mount_at(const struct value *spec, const char *where, size_t *ret_index) {
	const struct value *list = get(spec, "mounts");
	for (size_t i = 0; i < value_len(list); i++) {
		if (str_eqc(get_str(value_item(list, i), "destination"), where)) {
			*ret_index = i;
			return value_item(list, i);
		}
	}
	return NULL;
}

static void test_mounts(void **state) {
	auto_arena struct arena a = { 0 };
	const struct cri_mount mounts[] = {
		{ .container_path = S("/deep/er/x"), .host_path = S("/tmp") },
		{ .container_path = S("/deep//"), .host_path = S("/tmp"), .readonly = true },
		{ .container_path = S("/dev/shm"), .host_path = S("/tmp") },
		{ .container_path = S("/etc/hosts"), .host_path = S("/etc/passwd"), .propagation = CRI_PROPAGATION_HOST_TO_CONTAINER },
	};
	struct cri_container_config k = { .mounts = mounts, .mounts_len = 4 };
	size_t deep, deeper, any;
	struct value *s = made(&a, &k, &image);

	assert_list(get(mount_at(s, "/deep", &deep), "options"), "rbind rprivate ro");
	assert_list(get(mount_at(s, "/deep/er/x", &deeper), "options"), "rbind rprivate rw");
	assert_true(deep < deeper);
	assert_str(get_str(mount_at(s, "/dev/shm", &any), "source"), S("/tmp")); /* the pod's own instead of the sandbox's */
	assert_str(get_str(mount_at(s, "/etc/resolv.conf", &any), "source"), S("/run/resolv.conf"));
	assert_list(get(mount_at(s, "/etc/hosts", &any), "options"), "rbind rslave rw");
	assert_str(get_str(get(s, "linux"), "rootfsPropagation"), S("rslave"));
	assert_list(get(mount_at(s, "/sys", &any), "options"), "nosuid noexec nodev ro");
	assert_non_null(mount_at(s, "/proc", &any));
	assert_non_null(mount_at(s, "/dev/mqueue", &any));
}

static void test_linux(void **state) {
	auto_arena struct arena a = { 0 };
	const struct cri_kv huge[] = { { S("2MB"), S("4194304") } };
	struct cri_container_config k = { .resources = { .memory_limit = 1 << 20, .cpu_shares = 512, .cpu_quota_us = 5000, .pids_limit = 9, .cpuset_cpus = S("0-1"),
						  .hugepages = { huge, 1 } } };
	struct value *l = get(made(&a, &k, &image), "linux"), *r = get(l, "resources");
	assert_str(get_str(l, "cgroupsPath"), S("/pods/id"));
	assert_int_equal(get_int(get(r, "memory"), "limit"), 1 << 20);
	assert_int_equal(get_int(get(r, "memory"), "swap"), 1 << 20);
	assert_int_equal(get_int(get(r, "cpu"), "shares"), 512);
	assert_int_equal(get_int(get(r, "cpu"), "period"), 100000);
	assert_str(get_str(get(r, "cpu"), "cpus"), S("0-1"));
	assert_int_equal(get_int(get(r, "pids"), "limit"), 9);
	assert_int_equal(get_int(value_item(get(r, "hugepageLimits"), 0), "limit"), 4194304);
	assert_false(get_bool(value_item(get(r, "devices"), 0), "allow"));
	assert_true(value_len(get(l, "maskedPaths")) > 5);
	assert_null(get(l, "seccomp"));
	size_t joined = 0;
	VALUE_EACH(get(l, "namespaces"), n) {
		joined += get(n, "path") != NULL;
	}
	assert_int_equal(joined, 3); /* network, ipc, uts; mount and pid are new */

	k.security.privileged = true;
	l = get(made(&a, &k, &image), "linux");
	assert_true(get_bool(value_item(get(get(l, "resources"), "devices"), 0), "allow"));
	assert_null(get(l, "maskedPaths"));
	k.security.seccomp = CRI_SECCOMP_RUNTIME_DEFAULT;
	assert_null(get(get(made(&a, &k, &image), "linux"), "seccomp"));
}

static bool allows(const struct value *profile, const char *name) {
	VALUE_EACH(get(profile, "syscalls"), rule) {
		VALUE_EACH(get(rule, "names"), n) {
			if (str_eqc(value_as_str(n), name) && str_eq(get_str(rule, "action"), S("SCMP_ACT_ALLOW")) && !get(rule, "args")) {
				return true;
			}
		}
	}
	return false;
}

static void test_seccomp(void **state) {
	auto_arena struct arena a = { 0 };
	struct cri_container_config k = { .security = { .seccomp = CRI_SECCOMP_RUNTIME_DEFAULT } };
	struct value *p = get(get(made(&a, &k, &image), "linux"), "seccomp");
	assert_str(get_str(p, "defaultAction"), S("SCMP_ACT_ERRNO"));
	static const char *const yes[] = { "read", "openat", "execve", "clock_gettime", "epoll_wait", "chroot" };
	static const char *const no[] = { "mount", "unshare", "bpf", "kexec_load", "init_module", "reboot", "setns", "clone", "keyctl", "io_uring_setup" };
	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		assert_true(allows(p, yes[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		assert_false(allows(p, no[i]));
	}
	k.security.capabilities_add = STRS(S("SYS_ADMIN"));
	p = get(get(made(&a, &k, &image), "linux"), "seccomp");
	assert_true(allows(p, "mount") && allows(p, "clone") && allows(p, "unshare"));
}

static const struct signal_case {
	const char *name;
	struct str in;
	int want;
} signal_cases[] = {
	{ "long", S_INIT("SIGTERM"), SIGTERM }, { "short", S_INIT("TERM"), SIGTERM }, { "lower", S_INIT("sigquit"), SIGQUIT }, { "number", S_INIT("9"), 9 },
	{ "real-time", S_INIT("SIGRTMIN+3"), 37 }, { "real-time, last", S_INIT("RTMAX"), 64 }, { "real-time, from the end", S_INIT("RTMAX-2"), 62 },
	{ "none", S_INIT("SIGNOPE"), 0 }, { "empty", S_INIT(""), 0 }, { "zero", S_INIT("0"), 0 }, { "too large", S_INIT("65"), 0 }, { "real-time, beyond", S_INIT("RTMIN+99"), 0 },
};

static void test_signal(void **state) {
	const struct signal_case *c = *state;
	assert_int_equal(signal_of(c->in), c->want);
}

/* KEP-2254: shares to weight. */
static void test_weight(void **state) {
	assert_int_equal(cgroup_weight(2), 1);
	assert_int_equal(cgroup_weight(0), 1);
	assert_int_equal(cgroup_weight(1024), 39);
	assert_int_equal(cgroup_weight(262144), 10000);
}

static const struct said_case {
	const char *name;
	struct str in, want;
} said_cases[] = {
	{ "crun", S_INIT("2026-01-01T00:00:00.000000Z: executable file `x` not found in $PATH: No such file or directory\n"),
		S_INIT("executable file `x` not found in $PATH: No such file or directory") },
	{ "runc", S_INIT("time=\"2026-01-01T00:00:00Z\" level=error msg=\"exec: \\\"x\\\": executable file not found in $PATH\"\n"),
		S_INIT("exec: \"x\": executable file not found in $PATH") },
	{ "last line", S_INIT("a warning\nthe error\n\n"), S_INIT("the error") },
	{ "conmon's own", S_INIT("the error\n[conmon:d]: detail\n"), S_INIT("the error") },
	{ "nothing", S_INIT(""), S_INIT("") },
};

static void test_said(void **state) {
	const struct said_case *c = *state;
	auto_arena struct arena a = { 0 };
	assert_str(runtime_said(&a, c->in), c->want);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_mounts),
		cmocka_unit_test(test_linux),
		cmocka_unit_test(test_seccomp),
		cmocka_unit_test(test_weight),
	};
	return cmocka_run_group_tests_name("spec", tests, NULL, NULL) + RUN_CASES("signals", signal_cases, test_signal) +
	       RUN_CASES("what runtimes say", said_cases, test_said);
}
