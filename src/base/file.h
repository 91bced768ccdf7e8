/* SPDX-License-Identifier: Apache-2.0 */
/* file.h - whole files and folders. All may block: never on an event loop. Messages name the path. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the whole file to `ret`, bounded by ret's ceiling. ERR_NOT_FOUND when there is none. */
NODISCARD bool file_read(const char *path, struct buf *ret, struct err *err);
/* Writes beside it, flushes, renames over: readers see the old or the new whole. */
NODISCARD bool file_write(const char *path, struct str bytes, mode_t mode, struct err *err);
/* Into a file that exists, as it is, without flush or rename: /proc, /sys, cgroup files. */
NODISCARD bool file_put(const char *path, struct str bytes, struct err *err);
NODISCARD bool dir_make(const char *path, mode_t mode, struct err *err); /* with its parents */
/* Removes a tree; a mount point in it is a failure and stays whole, links are not followed. A missing path is success. */
NODISCARD bool dir_remove(const char *path, struct err *err);
bool file_exists(const char *path);

#endif
