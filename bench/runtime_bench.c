/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime_bench.c - how long a pod takes in the runtime alone (no API, no pod network), with each OCI runtime that is here,
 * beside what upstream's runtimes do at least for the same pod: two containers made and started by runc or crun (pause and
 * the container), without a monitor. And podman, where it is installed. Needs root; all state is below one folder.
 */
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "runtime/runtime.h"

enum { ROUNDS = 25 };

static char top[64], group[64];

struct series {
	const char *name;
	double ms[ROUNDS];
	size_t len;
};

static int cmp(const void *x, const void *y) {
	double p = *(const double *)x, q = *(const double *)y;
	return p < q ? -1 : p > q;
}

static void series_print(const char *who, struct series *s) {
	qsort(s->ms, s->len, sizeof(double), cmp);
	if (s->len) {
		printf("%-24s %-34s median %7.2f ms   p90 %7.2f ms\n", who, s->name, s->ms[s->len / 2], s->ms[s->len * 9 / 10]);
	}
}

static nsec_t lap(struct series *s, nsec_t from) {
	nsec_t now = clock_mono();
	s->ms[s->len++] = (double)(now - from) / 1e6;
	return now;
}

static bool one_pod(struct cri *c, struct series s[6], struct err *err) {
	auto_arena struct arena a = { 0 };
	const struct str command[] = { S("sleep"), S("1000") }, exec[] = { S("true") };
	struct str parent = arena_printf(&a, "%s/pod", group), sandbox, id;
	struct cri_sandbox_config sc = { .name = S("bench"), .ns = S("default"), .uid = S("bench"), .cgroup_parent = parent, .log_dir = arena_printf(&a, "%s/log", top) };
	struct cri_container_config cc = { .name = S("c"), .image = S("coracle.local/busybox:1.36"), .command = { command, 2 }, .log_path = S("c.log") };
	struct cri_exec_result r = { 0 };

	nsec_t t0 = clock_mono(), t = t0;
	if (!cri_sandbox_create(c, &a, &sc, &sandbox, err)) {
		return false;
	}
	t = lap(&s[0], t);
	if (!cri_container_create(c, &a, sandbox, &cc, &id, err)) {
		return false;
	}
	t = lap(&s[1], t);
	if (!cri_container_start(c, id, err)) {
		return false;
	}
	t = lap(&s[2], t);
	lap(&s[3], t0);
	t = clock_mono();
	bool ok = cri_exec_sync(c, id, (struct cri_strs){ exec, 1 }, 0, &r, err);
	cri_exec_result_release(&r);
	t = lap(&s[4], t);
	ok = ok && cri_sandbox_remove(c, sandbox, err);
	lap(&s[5], t);
	clock_sleep(30 * NSEC_PER_MSEC); /* the kernel's grace periods: each pod begins on a machine at rest */
	return ok;
}

static bool ours(enum cri_runtime runtime, const char *who, struct err *err) {
	struct series s[6] = { { .name = "sandbox" }, { .name = "container create" }, { .name = "container start" }, { .name = "pod: nothing to running" },
		{ .name = "exec true" }, { .name = "remove pod" } };
	auto_arena struct arena a = { 0 };
	struct image_list loaded;
	struct cri *c;
	char state[80];
	snprintf(state, sizeof(state), "%s/%s", top, who);
	struct cri_opts o = { .root_dir = arena_printf(&a, "%s/root-%s", top, who), .state_dir = str_c(state), .cgroup_prefix = str_c(group), .runtime = runtime };
	if (!cri_open(&o, &c, err)) {
		return false;
	}
	bool ok = image_load(cri_images(c), &a, "build/images/busybox.tar", NULL, &loaded, err);
	for (int i = 0; i < ROUNDS && ok; i++) {
		ok = one_pod(c, s, err);
	}
	struct cri_version v;
	cri_version(c, &v);
	printf("coracle with %.*s %.*s, conmon %.*s, cgroups %.*s\n", STR_ARG(v.runtime), STR_ARG(v.runtime_version), STR_ARG(v.conmon_version), STR_ARG(v.cgroups));
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		series_print(who, &s[i]);
	}
	struct err ignored = { 0 };
	(void)!cri_cgroup_remove(c, str_c(group), &ignored);
	cri_free(c);
	return ok;
}

/* ---- references -------------------------------------------------------------------------------- */

static bool quiet(const char *const *argv) {
	struct run_result r = { 0 };
	struct err err = { 0 };
	bool ok = run_program(argv, NULL, &r, &err) && r.status == 0;
	run_result_release(&r);
	return ok;
}

static bool bundle_make(char bundle[96], const char *name, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v;
	static const char text[] = "{\"ociVersion\":\"1.0.2\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"args\":[\"/bin/sleep\",\"1000\"],\"env\":[\"PATH=/bin\"],\"cwd\":\"/\"},"
				   "\"root\":{\"path\":\"rootfs\"},\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
				   "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":[\"ro\"]}],"
				   "\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"mount\"}]}}";
	snprintf(bundle, 96, "%s/%s", top, name);
	char bin[128], program[160];
	snprintf(bin, sizeof(bin), "%s/rootfs/bin", bundle);
	snprintf(program, sizeof(program), "%s/sleep", bin);
	if (!dir_make(bin, 0755, err)) {
		return false;
	}
	const char *const copy[] = { "/bin/cp", "build/images/bin/busybox", program, NULL };
	if (!quiet(copy)) {
		return err_set(err, ERR_IO, "cannot copy busybox to %s", program);
	}
	if (!json_parse(&a, str_c(text), NULL, &v, err)) {
		return false;
	}
	struct value *l = get(v, "linux");
	set_str(&a, l, "cgroupsPath", arena_printf(&a, "%s/%s", group, name));
	char config[128];
	snprintf(config, sizeof(config), "%s/config.json", bundle);
	return record_write(config, v, err);
}

/* Two containers, as upstream's runtimes make for a pod of one. Output goes nowhere: no monitor holds it. */
static void reference(const char *runtime) {
	struct series s = { .name = "two containers: create, start" };
	char bundle[2][96], root[96];
	struct err err = { 0 };
	snprintf(root, sizeof(root), "%s/ref-%s", top, strrchr(runtime, '/') + 1);
	if (access(runtime, X_OK) != 0) {
		printf("%s is not installed\n", runtime);
		return;
	}
	if (!bundle_make(bundle[0], "ref-pause", &err) || !bundle_make(bundle[1], "ref-container", &err)) {
		printf("%s: %s\n", runtime, err.msg);
		return;
	}
	for (int i = 0; i < ROUNDS; i++) {
		nsec_t from = clock_mono();
		bool ok = true;
		for (int k = 0; k < 2 && ok; k++) {
			const char *id = k ? "ref-container" : "ref-pause";
			const char *const create[] = { "/bin/sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh", runtime, "--root", root, "create", "-b", bundle[k], id, NULL };
			const char *const start[] = { runtime, "--root", root, "start", id, NULL };
			ok = quiet(create) && quiet(start);
		}
		if (ok) {
			lap(&s, from);
		}
		for (int k = 0; k < 2; k++) {
			const char *const drop[] = { runtime, "--root", root, "delete", "--force", k ? "ref-container" : "ref-pause", NULL };
			(void)quiet(drop);
		}
		if (!ok) {
			printf("%-24s does not work with these cgroups as it is\n", runtime);
			return;
		}
		clock_sleep(30 * NSEC_PER_MSEC);
	}
	series_print(runtime, &s);
}

static void podman(void) {
	struct series s = { .name = "run -d --network=none" };
	const char *const load[] = { "/usr/bin/podman", "load", "-i", "build/images/busybox.tar", NULL };
	const char *const run[] = { "/usr/bin/podman", "run", "-d", "--network=none", "--name", "coracle-bench", "coracle.local/busybox:1.36", "sleep", "1000", NULL };
	const char *const drop[] = { "/usr/bin/podman", "rm", "-f", "-t", "0", "coracle-bench", NULL };
	if (access("/usr/bin/podman", X_OK) != 0 || !quiet(load)) {
		printf("podman is not installed\n");
		return;
	}
	for (int i = 0; i < ROUNDS; i++) {
		nsec_t from = clock_mono();
		bool ok = quiet(run);
		if (ok) {
			lap(&s, from);
		}
		(void)quiet(drop);
		if (!ok) {
			break;
		}
	}
	series_print("podman", &s);
}

int main(int argc, char **argv) {
	int helper = runtime_helper_main(argc, argv);
	struct err err = { 0 };
	struct utsname u;

	if (helper >= 0) {
		return helper;
	}
	if (geteuid() != 0 || access("build/images/busybox.tar", R_OK) != 0) {
		printf("skipped: needs root and `make images`\n");
		return 0;
	}
	uname(&u);
	printf("Linux %s, %ld processors\n", u.release, sysconf(_SC_NPROCESSORS_ONLN));
	snprintf(top, sizeof(top), "/tmp/coracle-bench-%d", getpid());
	snprintf(group, sizeof(group), "/coracle-bench-%d", getpid());
	bool ok = dir_make(top, 0755, &err);
	static const struct {
		enum cri_runtime runtime;
		const char *who;
	} rows[] = { { CRI_RUNTIME_CRUN, "crun" }, { CRI_RUNTIME_RUNC, "runc" } };
	for (size_t i = 0; i < ARRAY_LEN(rows) && ok; i++) {
		if (!ours(rows[i].runtime, rows[i].who, &err)) {
			printf("%s: %s\n", rows[i].who, err.msg);
		}
	}
	reference("/usr/sbin/runc");
	reference("/usr/bin/crun");
	podman();
	struct cgroups cg;
	if (cgroups_detect(&cg, &err)) {
		(void)!cgroup_remove(&cg, group, &err);
	}
	if (!dir_remove(top, &err)) {
		printf("%s\n", err.msg);
	}
	return 0;
}
