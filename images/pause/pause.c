/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pause.c - the process that holds a pod's namespaces.
 *
 * It is the first process of every sandbox. It prints nothing, collects children that were left to
 * it (with a shared process namespace it is everybody's parent of last resort), and ends on SIGTERM
 * or SIGINT. `-v` prints its version. One thread; touches no file. Linked statically: its image
 * holds nothing else.
 */
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char version[] = "coracle pause 1\n";

int main(int argc, char **argv) {
	sigset_t wanted;

	if (argc > 1 && strcmp(argv[1], "-v") == 0) {
		return write(1, version, sizeof(version) - 1) == (ssize_t)sizeof(version) - 1 ? 0 : 1;
	}
	/* Blocked signals stay pending even for process 1, to whom the kernel applies no default. */
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &wanted, NULL) != 0) {
		return 1;
	}
	for (;;) {
		int sig = sigwaitinfo(&wanted, NULL);

		if (sig == SIGTERM || sig == SIGINT) {
			return 0;
		}
		while (waitpid(-1, NULL, WNOHANG) > 0) {
		}
	}
}
