/* SPDX-License-Identifier: Apache-2.0 */
/* holder.h - starts the process that holds a sandbox's namespaces. Private to the room. */
#ifndef RUNTIME_HOLDER_H
#define RUNTIME_HOLDER_H

#include "runtime/cri.h"

struct holder_sysctl {
	const char *path; /* "/proc/sys/net/core/somaxconn" */
	const char *value;
};
struct holder_opts {
	int namespaces;       /* CLONE_NEW* */
	const char *root;     /* folder that holds only the program `pause`; becomes its root */
	const char *hostname; /* set with CLONE_NEWUTS */
	const struct holder_sysctl *sysctls;
	size_t sysctls_len;
	const char *oom_score_adj; /* "-998"; may be NULL */
};
/* Returns once the program runs. The child is ours to reap. */
NODISCARD bool holder_start(const struct holder_opts *opts, int *ret_pid, struct err *err);

#endif
