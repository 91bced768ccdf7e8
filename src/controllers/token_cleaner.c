/* SPDX-License-Identifier: Apache-2.0 */
/* token_cleaner.c - deletes bootstrap tokens (Secrets of kube-system) when their time is up. Handlers on the loop, passes on pool threads. */
#include "controllers/frame.h"
#include "controllers/object.h"
#include "net/digest.h"

#define KUBE_SYSTEM S("kube-system")

struct token_cleaner {
	struct frame *frame;
	struct shared *secrets;
	struct work_queue *queue;
};

static bool is_token(const struct value *secret) {
	return str_eq(meta_ns(secret), KUBE_SYSTEM) && str_eqc(value_str_at(secret, N_type), "bootstrap.kubernetes.io/token");
}

static void secret_changed(void *arg, struct obj *old, struct obj *now) {
	struct token_cleaner *c = arg;

	if (now && is_token(now->root)) {
		work_queue_add(c->queue, meta_name(now->root));
	}
}

static bool sync(void *arg, struct str key, struct err *err) {
	struct token_cleaner *c = arg;
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *secret = informer_get(c->secrets->informer, KUBE_SYSTEM, key);
	struct str text;
	nsec_t at;

	if (!secret || !is_token(secret->root)) {
		return true;
	}
	struct str encoded = value_as_str(value_get_str(value_get(secret->root, N_data), S("expiration")));
	if (!encoded.len || !base64_decode(&a, encoded, &text)) {
		return true; /* it lives for ever */
	}
	/* a time that cannot be read counts as past, as the authenticator takes it */
	nsec_t left = time_parse(text, &at) ? at - clock_wall() : 0;
	if (left > 0) {
		work_queue_add_after(c->queue, key, left + NSEC_PER_MSEC);
		return true;
	}
	struct client_call call = {
		.verb = CLIENT_DELETE,
		.gvr = GVR_SECRETS,
		.ns = KUBE_SYSTEM,
		.name = key,
		.precondition_uid = meta_uid(secret->root),
	};
	return client_do(c->frame->client, &call, NULL, NULL, err) || err->code == ERR_NOT_FOUND || err->code == ERR_CONFLICT;
}

static void *make(struct frame *f) {
	struct token_cleaner *c = xcalloc(1, sizeof(*c));

	c->frame = f;
	c->queue = frame_queue(f, "token-cleaner", 1, sync, c);
	c->secrets = frame_watch(f, GVR_SECRETS, secret_changed, c);
	return c;
}

const struct controller_ops token_cleaner_controller = { .name = "tokencleaner", .make = make, .free = free };
