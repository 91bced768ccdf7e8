/* SPDX-License-Identifier: Apache-2.0 */
/* host_path.h - paths of the node that pods mount: for hostPath volumes and claims on such. */
#ifndef KUBELET_HOST_PATH_H
#define KUBELET_HOST_PATH_H

#include "base/err.h"

/* Checks the type ("Directory", ...; "" any), makes what ...OrCreate (or no type) asks for. Fails: `hostPath type check failed: /x is not a directory`. */
NODISCARD bool host_path_check(const char *path, struct str type, struct err *err);

#endif
