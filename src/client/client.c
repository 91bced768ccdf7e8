/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - the shorthands over the one call, and what is the same for every transport.
 *
 * Called by every component. Runs on the caller's thread; touches nothing but the transport.
 */
#include "client/client.h"

#include <stdatomic.h>

struct client {
	atomic_uint refs;
	struct client_transport *transport; /* owned */
};

struct client *client_new(struct client_transport *t) {
	struct client *c = xcalloc(1, sizeof(*c));

	c->refs = 1;
	c->transport = t;
	return c;
}

struct client *client_ref(struct client *c) {
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void client_free(struct client *c) {
	if (!c || atomic_fetch_sub(&c->refs, 1) > 1) {
		return;
	}
	if (c->transport->free) {
		c->transport->free(c->transport);
	}
	free(c);
}

void client_list_release(struct client_list *l) {
	if (!l) {
		return;
	}
	for (size_t i = 0; i < l->len; i++) {
		obj_unref(l->at[i]);
	}
	free(l->at);
	free((char *)l->continue_token.ptr);
	*l = (struct client_list){ 0 };
}

bool client_do(struct client *c, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list, struct err *err) {
	return c->transport->call(c->transport, call, ret_obj, ret_list, err);
}

bool client_get(struct client *c, struct gvr gvr, struct str ns, struct str name, struct obj **ret, struct err *err) {
	return client_do(c, &(struct client_call){ .verb = CLIENT_GET, .gvr = gvr, .ns = ns, .name = name }, ret, NULL, err);
}

bool client_list(struct client *c, struct gvr gvr, struct str ns, struct str label_selector, struct client_list *ret, struct err *err) {
	return client_do(c, &(struct client_call){ .verb = CLIENT_LIST, .gvr = gvr, .ns = ns, .label_selector = label_selector }, NULL, ret, err);
}

bool client_create(struct client *c, struct gvr gvr, struct str ns, const struct value *body, struct obj **ret, struct err *err) {
	return client_do(c, &(struct client_call){ .verb = CLIENT_CREATE, .gvr = gvr, .ns = ns, .body = body }, ret, NULL, err);
}

static bool update(struct client *c, struct gvr gvr, struct str ns, struct str subresource, const struct value *body, struct obj **ret,
	struct err *err) {
	struct client_call call = {
		.verb = CLIENT_UPDATE,
		.gvr = gvr,
		.ns = ns,
		.name = value_str_at(body, N_metadata, N_name),
		.subresource = subresource,
		.body = body,
	};
	if (call.name.len == 0) {
		return err_set(err, ERR_BAD_REQUEST, "update of %.*s: metadata.name is empty", STR_ARG(gvr.resource));
	}
	return client_do(c, &call, ret, NULL, err);
}

bool client_update(struct client *c, struct gvr gvr, struct str ns, const struct value *body, struct obj **ret, struct err *err) {
	return update(c, gvr, ns, S(""), body, ret, err);
}

bool client_update_status(struct client *c, struct gvr gvr, struct str ns, const struct value *body, struct obj **ret, struct err *err) {
	return update(c, gvr, ns, S("status"), body, ret, err);
}

bool client_patch(struct client *c, struct gvr gvr, struct str ns, struct str name, struct str subresource, enum patch_type type,
	const struct value *patch, struct obj **ret, struct err *err) {
	struct client_call call = {
		.verb = CLIENT_PATCH,
		.gvr = gvr,
		.ns = ns,
		.name = name,
		.subresource = subresource,
		.patch = type,
		.body = patch,
	};
	return client_do(c, &call, ret, NULL, err);
}

bool client_delete(struct client *c, struct gvr gvr, struct str ns, struct str name, struct err *err) {
	return client_do(c, &(struct client_call){ .verb = CLIENT_DELETE, .gvr = gvr, .ns = ns, .name = name }, NULL, NULL, err);
}

bool client_watch_start(struct client *c, const struct client_watch_opts *opts, struct client_watch **ret, struct err *err) {
	return c->transport->watch(c->transport, opts, ret, err);
}

void client_watch_stop(struct client_watch *w) {
	if (w) {
		w->transport->watch_stop(w);
	}
}
