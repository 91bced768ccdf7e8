/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_none.c - the small build's answer to everything about TLS.
 *
 * Linked in place of tls.c.
 */
#include "tls.h"

static bool unsupported(struct err *err) {
	return err_set(err, "TLS is not supported by this build");
}

bool tls_server_new(const char *cert_file, const char *key_file, struct tls_server **ret, struct err *err) {
	return unsupported(err);
}

bool tls_accept(struct tls_server *server, int fd, struct tls **ret, struct err *err) {
	return unsupported(err);
}

bool tls_connect(int fd, const char *host, const struct tls_trust *trust, struct tls **ret, struct err *err) {
	return unsupported(err);
}

ssize_t tls_read(struct tls *tls, char *to, size_t len) {
	return -1;
}

ssize_t tls_write(struct tls *tls, const char *from, size_t len) {
	return -1;
}

bool tls_pending(const struct tls *tls) {
	return false;
}

void tls_free(struct tls *tls) {
}

bool tls_digest(struct str in, struct buf *out) {
	return false;
}
