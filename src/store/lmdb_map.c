/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_map.c - gives pages of LMDB's mapping back.
 *
 * Every page that is read through the mapping, and the kernel's guess of what comes next, would count as ours for ever. Pages
 * given back stay in the page cache, where they cost nobody memory that is needed otherwise.
 */
#include "store/lmdb_int.h"

#include <inttypes.h>
#include <sys/mman.h>

void map_trim(struct store *s) {
	if (s->map) {
		(void)madvise(s->map, s->map_len, MADV_DONTNEED);
	}
}

/* LMDB does not tell where it maps its file; the kernel does. */
void map_find(struct store *s) {
	char line[4400], *real = realpath(s->dir, NULL), *path = xasprintf("%s/data.mdb", real ? real : s->dir);
	FILE *f = fopen("/proc/self/maps", "re");
	while (f && !s->map && fgets(line, sizeof(line), f)) {
		uintptr_t from, to;
		size_t len = strcspn(line, "\n");
		line[len] = 0;
		if (str_ends((struct str){ line, len }, str_c(path)) && sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2) {
			s->map = (void *)from;
			s->map_len = to - from;
		}
	}
	if (f) {
		(void)fclose(f);
	}
	free(path);
	free(real);
}
