/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - finds the command by its name (or by the program's own: kube-apiserver, kube-scheduler, ...)
 * and runs it. Rooms are built and connected in src/cluster.
 */
#include <malloc.h>
#include <stdio.h>

#include "base/flags.h"
#include "cluster/cluster.h"
#include "kubectl/kubectl.h"
#include "runtime/cri.h"

#ifndef CORACLE_VERSION
#define CORACLE_VERSION "unknown"
#endif

static const struct {
	const char *program, *command;
} aliases[] = { /* upstream's program names */
	{ "kube-apiserver", "apiserver" },
	{ "kube-controller-manager", "controller-manager" },
	{ "kube-scheduler", "scheduler" },
	{ "kube-proxy", "proxy" },
	{ "kubelet", "kubelet" },
	{ "coracle-cni", "cni" },
};

static const struct command *find(const char *name) {
	for (const struct command *c = cluster_commands; c->name; c++) {
		if (!strcmp(c->name, name)) {
			return c;
		}
	}
	return NULL;
}

static int cmd_version(void) {
	printf("coracle %s (Kubernetes v1.36)\n", CORACLE_VERSION);
	return 0;
}

static void help(void) {
	printf("Coracle is Kubernetes in one program.\n\n"
	       "  coracle up                     start a cluster; kubectl works from then on\n"
	       "  coracle image load app.tar     give it your images\n"
	       "  kubectl create deployment ...  use it\n"
	       "  coracle down                   end it\n\n"
	       "Commands:\n");
	for (const struct command *c = cluster_commands; c->name; c++) {
		if (c->summary) {
			printf("  %-19s %s\n", c->name, c->summary);
		}
	}
	printf("  %-19s %s\n", "kubectl", "apply, get, delete, wait: where there is no other kubectl");
	printf("  %-19s %s\n\n`coracle COMMAND --help` tells more.\n", "version", "print the version");
}

int main(int argc, char **argv) {
	int helper = runtime_helper_main(argc, argv);
	if (helper >= 0) {
		return helper;
	}
	const char *program = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
		if (!strcmp(program, aliases[i].program)) {
			return find(aliases[i].command)->run(argc, argv);
		}
	}
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help();
		return argc < 2 ? 2 : 0;
	}
	if (!strcmp(argv[1], "version") || !strcmp(argv[1], "--version")) {
		return cmd_version();
	}
	if (!strcmp(argv[1], "kubectl")) {
		return kubectl_main(argc - 1, argv + 1);
	}
	const struct command *c = find(argv[1]);
	if (!c) {
		const char *names[64];
		size_t n = 0;
		for (const struct command *k = cluster_commands; k->name && n < ARRAY_LEN(names); k++) {
			if (k->summary) {
				names[n++] = k->name;
			}
		}
		const char *near = flags_nearest(argv[1], names, n);
		fprintf(stderr, "coracle: unknown command \"%s\"%s%s%s\nSee coracle --help.\n", argv[1], near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
		return 2;
	}
	return c->run(argc - 1, argv + 1);
}
