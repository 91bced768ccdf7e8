/* SPDX-License-Identifier: Apache-2.0 */
/* kubeconfig.h - reads, merges and writes kubeconfig files; a change keeps what it does not know. */
#ifndef CLIENT_KUBECONFIG_H
#define CLIENT_KUBECONFIG_H

#include "client/client.h"

struct kubeconfig_entry {
	struct str name;     /* of cluster, user and context alike */
	struct str server;
	struct str ca_pem, cert_pem, key_pem, token;
};
/* Adds or replaces the entry's cluster, user and context and makes it current when set_current; atomic; mode 0600; takes the file's lock (".lock" beside it as kubectl). */
NODISCARD bool kubeconfig_merge(const char *path, const struct kubeconfig_entry *e, bool set_current, struct err *err);
/* Removes them; current-context is cleared when it named it. A missing file is success. */
NODISCARD bool kubeconfig_remove(const char *path, struct str name, struct err *err);
/* A whole new file with one entry. */
NODISCARD bool kubeconfig_write(const char *path, const struct kubeconfig_entry *e, struct err *err);
/* Resolves a context (NULL: current) to what a client needs; text lives in `a`. */
NODISCARD bool kubeconfig_load(const char *path, const char *context, struct arena *a, struct client_https_opts *ret, struct err *err);

#endif
