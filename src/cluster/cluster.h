/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster.h - bring-up: what `coracle up`, `down`, `status`, `server`, `agent`, `token`, `kubeconfig`,
 * `image` and the components alone do. main.c's table of commands points here and nowhere else.
 *
 * Each command gets its own argv (argv[0] is its name) and returns the exit code. Main thread.
 */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

struct command {
	const char *name;
	const char *summary; /* one line of `coracle --help`; NULL: not listed */
	int (*run)(int argc, char **argv);
};
extern const struct command cluster_commands[]; /* ends with name NULL */

#endif
