/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - one conversation with one repository of a registry: where it is, how it wants to be spoken to,
 * and who we are there. Private to the room; one thread at a time may start or change it, requests may run side by
 * side.
 *
 * Source: OCI distribution-spec v1.1; Docker registry token authentication.
 */
#ifndef RUNTIME_REGISTRY_H
#define RUNTIME_REGISTRY_H

#include "net/client.h"
#include "runtime/images.h"

struct registry {
	struct http_client *client;
	struct arena arena;
	struct image_ref ref;
	const struct image_auth *auth; /* NULL: anonymous */
	bool push;
	pthread_mutex_t lock;
	char *authorization;           /* locked; of the last successful answer to a challenge; NULL: none */
};

/* Finds out how to speak to the registry that `ref` names. Fails: ERR_UNAVAILABLE with what was tried. */
NODISCARD bool registry_open(struct image_store *s, const struct image_ref *ref, const struct image_transfer_opts *opts, bool push, struct registry *ret,
	struct err *err);
void registry_close(struct registry *r);
/*
 * One request below /v2/<repository>/, or absolute when path begins with "http" or "/". Answers the registry's challenge
 * once; statuses that pass (429, 5xx) and broken connections are tried again, with pauses, as long as no piece of the
 * answer was handed out. Any other status is returned as it is.
 */
NODISCARD bool registry_do(struct registry *r, struct str path, const struct http_request *base, struct http_response *ret, struct err *err);
/* The err for a status that was not hoped for: with the registry's own words. */
bool registry_fail(struct registry *r, const char *what, const struct http_response *answer, struct err *err);

#endif
