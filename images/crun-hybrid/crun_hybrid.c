/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crun_hybrid.c - starts crun where cgroups are in hybrid mode and the v2 hierarchy holds controllers.
 *
 * crun refuses such machines. This program takes that one mount away, in a mount namespace of its own,
 * and becomes crun: containers then live in the v1 hierarchies. The node sees nothing of it. crun is
 * found through the link "<own name>.real". Linked statically: it costs half a millisecond.
 *
 * Propagation is set to slave, not private: what the node unmounts later is unmounted here too.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv) {
	static const char unified[] = "/sys/fs/cgroup/unified";
	char real[4096];

	if (argc < 1 || strlen(argv[0]) + sizeof(".real") > sizeof(real)) {
		return 125;
	}
	snprintf(real, sizeof(real), "%s.real", argv[0]);
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0) {
		perror("crun-hybrid: mount namespace");
		return 125;
	}
	umount2(unified, MNT_DETACH);
	execv(real, argv);
	perror(real);
	return 127;
}
