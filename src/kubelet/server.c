/* SPDX-License-Identifier: Apache-2.0 */
/* server.c - placeholder. */
#include "kubelet/server.h"

struct server {
	int port;
};
bool server_start(struct kubelet *k, struct server **ret, struct err *err) {
	*ret = xcalloc(1, sizeof(struct server));
	return true;
}
int server_port(const struct server *s) {
	return s->port;
}
void server_on_exit(struct server *s, struct str id) {
}
void server_stop(struct server *s) {
	free(s);
}
