/* SPDX-License-Identifier: Apache-2.0 */
/* world.h - controllers on an API in memory, for tests. DEBUG=1 in the environment shows what they log. */
#ifndef TESTS_CONTROLLERS_WORLD_H
#define TESTS_CONTROLLERS_WORLD_H

#include "../client/fake_api.h"
#include "base/log.h"
#include "controllers/controllers.h"

#define DEFAULT S("default")

struct world {
	struct fake fake;
	struct client *client;
	struct controllers *controllers;
};

static UNUSED struct world *world_new_opts(enum fake_kubelet kubelet, const struct controllers_opts *opts) {
	struct world *w = xcalloc(1, sizeof(*w));
	struct controllers_opts o = *opts;
	struct err err = { 0 };

	(void)!log_set_levels(getenv("DEBUG") ? S("debug") : S("warn"), &err);
	fake_init(&w->fake, kubelet);
	w->client = client_new(&w->fake.transport);
	o.client = w->client;
	if (!controllers_start(&o, &w->controllers, &err)) {
		fail_msg("%s", err.msg);
	}
	return w;
}

static UNUSED struct world *world_new(enum fake_kubelet kubelet, const char *enabled) {
	return world_new_opts(kubelet, &(struct controllers_opts){ .enabled = enabled });
}

static UNUSED void world_free(struct world *w) {
	controllers_stop(w->controllers);
	client_free(w->client);
	fake_release(&w->fake);
	free(w);
}

#endif
