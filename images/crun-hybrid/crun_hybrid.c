/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crun_hybrid.c - starts crun where cgroups are in hybrid mode and the v2 hierarchy holds controllers.
 *
 * crun refuses such machines. This program takes that one mount away, in a mount namespace of its own,
 * and becomes crun: containers then live in the v1 hierarchies. The node sees nothing of it. crun is
 * found through the link "<own name>.real". Linked statically: it costs half a millisecond.
 *
 * Only the one folder above that mount loses its propagation. All the rest stays shared as it was: what a container
 * with a Bidirectional volume mounts must reach the node, and what the node unmounts must go here too.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv) {
	static const char cgroups[] = "/sys/fs/cgroup", unified[] = "/sys/fs/cgroup/unified";
	char real[4096];

	if (argc < 1 || strlen(argv[0]) + sizeof(".real") > sizeof(real)) {
		return 125;
	}
	snprintf(real, sizeof(real), "%s.real", argv[0]);
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, cgroups, NULL, MS_PRIVATE, NULL) != 0) {
		perror("crun-hybrid: mount namespace");
		return 125;
	}
	umount2(unified, MNT_DETACH);
	execv(real, argv);
	perror(real);
	return 127;
}
