/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h - sends a request on to another server and its answer back: streamed in both kinds (log -f lasts for hours) or, for upgrades, as
 * raw bytes both ways. Private to the room.
 */
#ifndef APISERVER_RELAY_H
#define APISERVER_RELAY_H

#include "apiserver/server.h"

struct relay_opts {
	struct http_client *client;
	struct str method, url;            /* absolute */
	const struct http_header *headers; /* as they are sent on */
	size_t headers_len;
	struct str body, content_type;
	/* Changes the answer's header, or leaves it out by returning false. NULL: only Content-Type passes. */
	bool (*header)(void *arg, struct arena *a, struct str name, struct str *value);
	void *arg;
	/* Answers other than 2xx become a Status with the body's text, instead of passing through. */
	bool status_errors;
};
/* Answers r->x. Returns when the answer's head is known; the body streams on by itself. */
NODISCARD bool relay(struct req *r, const struct relay_opts *o, struct answer *ret, struct err *err);

/* The request's headers but for those of one connection or of our own; room for four more is left. Returns how many. */
#define RELAY_HEADERS_MAX 64
size_t relay_headers(struct req *r, struct http_header out[RELAY_HEADERS_MAX]);
/* "10.0.0.7:10250" of a node's kubelet. Fails: ERR_NOT_FOUND, no such node; ERR_INTERNAL, it tells no address. */
NODISCARD bool kubelet_address(struct req *r, struct str node, struct str *ret, struct err *err);

#endif
