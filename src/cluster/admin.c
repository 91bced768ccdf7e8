/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - the administrator's way in: what `up`, `status` and `token` share. */
#include "cluster/admin.h"

#include "cluster/pki.h"

bool admin_entry(struct cluster_config *c, struct arena *a, struct kubeconfig_entry *ret, struct err *err) {
	*ret = (struct kubeconfig_entry){ .name = str_c(cluster_context(c)), .server = arena_printf(a, "https://127.0.0.1:%d", c->port) };
	return pki_read(c, "ca.crt", a, &ret->ca_pem, err) && pki_read(c, "admin.crt", a, &ret->cert_pem, err) &&
		pki_read(c, "admin.key", a, &ret->key_pem, err);
}

struct client *admin_client(struct cluster_config *c, struct err *err) {
	struct client *cl = NULL;
	auto_arena struct arena a = { 0 };
	struct kubeconfig_entry e;
	if (!admin_entry(c, &a, &e, err)) {
		return NULL;
	}
	struct client_https_opts o = { .server = e.server.ptr, .ca_pem = e.ca_pem, .cert_pem = e.cert_pem, .key_pem = e.key_pem, .user_agent = "coracle" };
	return client_new_https(&o, &cl, err) ? cl : NULL;
}
