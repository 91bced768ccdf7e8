/* SPDX-License-Identifier: Apache-2.0 */
/* sysctl.h - kernel switches of the node's network namespace, set only when needed and remembered for `down`. Private to network/. */
#ifndef NETWORK_SYSCTL_H
#define NETWORK_SYSCTL_H

#include "base/err.h"

/* `name` like "net/ipv4/ip_forward". What it was is kept in state_dir/sysctl, once; state_dir NULL: not kept. */
NODISCARD bool sysctl_set(const char *state_dir, const char *name, const char *value, struct err *err);
/* Puts back what was kept, but for names that `keep` (may be NULL) says stay; forgets all. */
void sysctl_restore(const char *state_dir, bool (*keep)(const char *name));

#endif
