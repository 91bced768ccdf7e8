/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network_bench.c - what Services cost in nftables: our flat maps beside chains as kube-proxy writes them; and what a pod's interface costs. In a
 * network namespace of its own (root).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "network/netlink.h"
#include "network/network.h"
#include "network/nft.h"
#include "network/services.h"

static double run_ms(struct buf *script) {
	struct err err = { 0 };
	nsec_t begin = clock_mono();
	if (!nft_run(buf_view(script), &err)) {
		printf("nft: %s\n", err.msg);
		exit(1);
	}
	return (double)(clock_mono() - begin) / NSEC_PER_MSEC;
}

static void maps_script(int services, struct buf *out) {
	struct services_table t = { "maps", "10.0.0.0/8", NULL, "corB" };
	static const char *const kinds[] = { "c", "x", "n", "nx" };
	buf_c(out, "table ip maps\ndelete table ip maps\n");
	services_table_text(&t, out);
	for (int i = 0; i < 4 * 32; i++) {
		char name[8];
		snprintf(name, sizeof(name), "%s%d", kinds[i / 32], i % 32 + 1);
		services_chain_text("maps", str_c(name), out);
	}
	buf_c(out, "add element ip maps svc { ");
	for (int i = 0; i < services; i++) {
		buf_printf(out, "%stcp . 10.%d.%d.%d . 80 : goto c3", i ? ", " : "", 96 + i / 65536, i / 256 % 256, i % 256);
	}
	buf_c(out, " }\nadd element ip maps ep_c { ");
	for (int i = 0; i < services * 3; i++) {
		int s = i / 3;
		buf_printf(out, "%stcp . 10.%d.%d.%d . 80 . %d : 10.%d.%d.%d . 8080", i ? ", " : "", 96 + s / 65536, s / 256 % 256, s % 256, i % 3, 200 + i / 65536, i / 256 % 256,
			i % 256);
	}
	buf_c(out, " }\n");
}

static void chains_script(int services, struct buf *out) {
	buf_c(out, "table ip chains\ndelete table ip chains\ntable ip chains {\n");
	for (int i = 0; i < services; i++) {
		for (int e = 0; e < 3; e++) {
			int n = i * 3 + e;
			buf_printf(out, "chain e%d { meta l4proto tcp dnat ip to 10.%d.%d.%d:8080; }\n", n, 200 + n / 65536, n / 256 % 256, n % 256);
		}
		buf_printf(out, "chain s%d { numgen random mod 3 vmap { 0 : goto e%d, 1 : goto e%d, 2 : goto e%d }; }\n", i, i * 3, i * 3 + 1, i * 3 + 2);
	}
	buf_c(out, "map svc { type ipv4_addr . inet_proto . inet_service : verdict; elements = { ");
	for (int i = 0; i < services; i++) {
		buf_printf(out, "%s10.%d.%d.%d . tcp . 80 : goto s%d", i ? ", " : "", 96 + i / 65536, i / 256 % 256, i % 256, i);
	}
	buf_c(out, " }; }\nchain pre { type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @svc; }\n}\n");
}

static void services_bench(int services) {
	auto_buf struct buf maps = { 0 }, chains = { 0 }, change = { 0 };
	struct err err = { 0 };
	maps_script(services, &maps);
	chains_script(services, &chains);
	double maps_load = run_ms(&maps), maps_change = 0, chains_change = 0, chains_load;
	for (int i = 0; i < 10; i++) { /* one endpoint is replaced */
		buf_clear(&change);
		buf_printf(&change, "delete element ip maps ep_c { tcp . 10.96.0.0 . 80 . 0 : 10.%d.0.%d . 8080 }\nadd element ip maps ep_c { tcp . 10.96.0.0 . 80 . 0 : 10.9.0.%d . 8080 }\n",
			i ? 9 : 200, i ? i : 0, i + 1);
		maps_change += run_ms(&change) / 10;
	}
	if (!nft_table_delete("maps", &err)) {
		exit(1);
	}
	chains_load = run_ms(&chains);
	for (int i = 0; i < 5; i++) {
		buf_clear(&change);
		buf_printf(&change, "add chain ip chains e0\nflush chain ip chains e0\nadd rule ip chains e0 meta l4proto tcp dnat ip to 10.9.0.%d:8080\n", i + 1);
		chains_change += run_ms(&change) / 5;
	}
	printf("%5d Services x 3: maps load %7.1f ms, change %5.1f ms;  chains load %7.1f ms, change %5.1f ms\n", services, maps_load, maps_change, chains_load, chains_change);
	if (!nft_table_delete("chains", &err)) {
		exit(1);
	}
}

enum { PODS = 100 };

static void pods_bench(void) {
	char dir[64], ip[64], path[PODS][64];
	pid_t pids[PODS];
	struct cni *c;
	struct err err = { 0 };
	nsec_t add = 0, del = 0, worst = 0;
	snprintf(dir, sizeof(dir), "/tmp/coracle-bench-%d", getpid());
	struct cni_opts o = { .state_dir = dir, .bridge = "corB", .cluster_cidr = "10.244.0.0/16" };
	if (!cni_open(&o, &c, &err) || !cni_set_range(c, S("10.244.1.0/24"), &err)) {
		printf("%s\n", err.msg);
		exit(1);
	}
	for (int i = 0; i < PODS; i++) {
		int ready[2];
		char byte;
		if (pipe(ready) < 0 || (pids[i] = fork()) < 0) {
			exit(1);
		}
		if (pids[i] == 0) {
			if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "!", 1) == 1) {
				pause();
			}
			_exit(0);
		}
		(void)!read(ready[0], &byte, 1);
		close(ready[0]);
		close(ready[1]);
		snprintf(path[i], sizeof(path[i]), "/proc/%d/ns/net", pids[i]);
	}
	for (int i = 0; i < PODS; i++) {
		char id[16];
		snprintf(id, sizeof(id), "p%d", i);
		struct cni_pod p = { .id = id, .netns = path[i] };
		nsec_t begin = clock_mono();
		if (!cni_add(c, &p, ip, &err)) {
			printf("%s\n", err.msg);
			exit(1);
		}
		add += clock_mono() - begin;
		worst = MAX(worst, clock_mono() - begin);
	}
	for (int i = 0; i < PODS; i++) {
		char id[16];
		snprintf(id, sizeof(id), "p%d", i);
		nsec_t begin = clock_mono();
		if (!cni_del(c, &(struct cni_pod){ .id = id }, &err)) {
			printf("%s\n", err.msg);
		}
		del += clock_mono() - begin;
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	printf("a pod's interface: add %.2f ms (worst %.2f), delete %.2f ms;  reference: Debian's bridge and host-local plugins 6.7 ms and 22 ms\n",
		(double)add / PODS / NSEC_PER_MSEC, (double)worst / NSEC_PER_MSEC, (double)del / PODS / NSEC_PER_MSEC);
	cni_destroy(c);
	cni_close(c);
	(void)!dir_remove(dir, &err);
}

int main(void) {
	static const int sizes[] = { 100, 1000, 5000 };
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) {
		printf("skipped: needs root and network namespaces\n");
		return 0;
	}
	pods_bench();
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		services_bench(sizes[i]);
	}
	return 0;
}
