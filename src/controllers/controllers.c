/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controllers.c - the table of controllers, and starting and stopping them as one.
 *
 * Starting: make every enabled controller, then (when elected) start the informers they asked for; when all
 * are filled, start the queues. Stopping: silence the handlers, end the queues, then the informers.
 */
#include "controllers/controllers.h"

#include <semaphore.h>

#include "base/log.h"
#include "client/leader.h"
#include "controllers/frame.h"

/* One row a controller: its name for --controllers, and how it lives. Names are upstream's. */
#define CONTROLLERS(X)                  \
	X(namespace)                    \
	X(service_account)              \
	X(root_ca)                      \
	X(replica_set)                  \
	X(replication_controller)       \
	X(deployment)                   \
	X(job)                          \
	X(cron_job)                     \
	X(daemon_set)                   \
	X(stateful_set)                 \
	X(ttl_after_finished)           \
	X(endpoint_slice)               \
	X(endpoints)                    \
	X(garbage_collector)            \
	X(node_lifecycle)               \
	X(taint_eviction)               \
	X(pod_gc)                       \
	X(disruption)                   \
	X(token_cleaner)                \
	X(certificates)                 \
	X(node_ipam)

#define DECLARE(name) extern const struct controller_ops name##_controller;
CONTROLLERS(DECLARE)
#define ROW(name) &name##_controller,
static const struct controller_ops *const table[] = { CONTROLLERS(ROW) };

struct made {
	const struct controller_ops *ops;
	void *controller;
};
struct controllers {
	struct frame frame;
	bool own_loop;
	struct leader *leader;
	VEC(struct made) made;
	sem_t silent;
};

static bool enabled(const char *list, const char *name) {
	struct str rest = str_c(list ? list : "*"), item;
	bool on = false;

	while (str_next(&rest, ',', &item)) {
		item = str_trim(item);
		if (str_eqc(item, "*")) {
			on = true;
		} else if (str_eqc(item, name)) {
			return true;
		} else if (item.len > 1 && item.ptr[0] == '-' && str_eqc(str_from(item, 1), name)) {
			return false;
		}
	}
	return on;
}

static bool names_known(const char *list, struct err *err) {
	struct str rest = str_c(list ? list : "*"), item;

	while (str_next(&rest, ',', &item)) {
		item = str_trim(item);
		item = item.len && item.ptr[0] == '-' ? str_from(item, 1) : item;
		bool known = str_eqc(item, "*");
		for (size_t i = 0; i < ARRAY_LEN(table); i++) {
			known = known || str_eqc(item, table[i]->name);
		}
		if (!known) {
			return err_set(err, ERR_INVALID, "\"%.*s\" is not in the list of known controllers", STR_ARG(item));
		}
	}
	return true;
}

void frame_all_synced(struct frame *f) {
	struct controllers *c = container_of(f, struct controllers, frame);

	if (f->started) {
		VEC_EACH(&c->made, m) {
			if (m->ops->synced) {
				m->ops->synced(m->controller);
			}
		}
		return;
	}
	f->started = true;
	log_info("controllers", "caches are filled, controllers run", kv_int("controllers", c->made.len));
	VEC_EACH(&f->queues, q) {
		work_queue_start(*q);
	}
	VEC_EACH(&c->made, m) {
		if (m->ops->started) {
			m->ops->started(m->controller);
		}
	}
}

static void run_here(void *arg) {
	struct controllers *c = arg;
	struct frame *f = &c->frame;

	if (f->running || f->stopping) {
		return;
	}
	f->running = true;
	f->unsynced = 1; /* until all have been started */
	MAP_EACH(&f->by_gvr, e) {
		frame_inform(e->value);
	}
	if (--f->unsynced == 0) {
		frame_all_synced(f);
	}
}

static void lost(void *arg) {
	struct controllers *c = arg;

	log_error("controllers", "leader election lost");
	if (c->frame.opts.on_lost) {
		c->frame.opts.on_lost(c->frame.opts.arg);
	} else {
		exit(1); /* another works already: not one more write */
	}
}

static struct str keep(struct arena *a, struct str s) {
	return s.len ? arena_str(a, s) : (struct str){ 0 };
}

bool controllers_start(const struct controllers_opts *opts, struct controllers **ret, struct err *err) {
	if (!names_known(opts->enabled, err)) {
		return false;
	}
	struct controllers *c = xcalloc(1, sizeof(*c));
	struct frame *f = &c->frame;

	f->opts = *opts;
	f->opts.root_ca_pem = keep(&f->arena, opts->root_ca_pem);
	f->opts.signing_cert_pem = keep(&f->arena, opts->signing_cert_pem);
	f->opts.signing_key_pem = keep(&f->arena, opts->signing_key_pem);
	f->opts.cluster_cidr = opts->cluster_cidr ? arena_cstr(&f->arena, str_c(opts->cluster_cidr)) : NULL;
	f->client = client_ref(opts->client);
	f->loop = opts->loop;
	sem_init(&c->silent, 0, 0);
	if (!f->loop) {
		f->loop = loop_new("controllers");
		c->own_loop = true;
		if (!loop_start_thread(f->loop, err)) {
			loop_free(f->loop);
			client_free(f->client);
			arena_release(&f->arena);
			sem_destroy(&c->silent);
			free(c);
			return false;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (enabled(opts->enabled, table[i]->name)) {
			void *controller = table[i]->make(f);
			if (controller) {
				VEC_PUSH(&c->made, ((struct made){ table[i], controller }));
			}
		}
	}
	if (opts->leader_elect) {
		struct leader_opts l = {
			.client = f->client,
			.loop = f->loop,
			.ns = S("kube-system"),
			.name = S("kube-controller-manager"),
			.on_started = run_here,
			.on_stopped = lost,
			.arg = c,
		};
		c->leader = leader_start(&l);
	} else {
		(void)loop_call(f->loop, run_here, c);
	}
	*ret = c;
	return true;
}

static void silence_here(void *arg) {
	struct controllers *c = arg;

	c->frame.stopping = true;
	VEC_EACH(&c->made, m) {
		if (m->ops->stop) {
			m->ops->stop(m->controller);
		}
	}
	sem_post(&c->silent);
}

static void informers_end_here(void *arg) {
	struct controllers *c = arg;

	MAP_EACH(&c->frame.by_gvr, e) {
		struct shared *s = e->value;
		informer_stop(TAKE(s->informer));
		VEC_RELEASE(&s->watchers);
	}
	sem_post(&c->silent);
}

/* Runs fn on the loop and waits for it. */
static void on_loop(struct controllers *c, void (*fn)(void *arg)) {
	if (loop_call(c->frame.loop, fn, c)) {
		while (sem_wait(&c->silent) != 0) {
			/* a signal came: wait on */
		}
	}
}

void controllers_stop(struct controllers *c) {
	struct frame *f = &c->frame;

	on_loop(c, silence_here);
	leader_stop(c->leader);
	VEC_EACH(&f->queues, q) {
		work_queue_free(*q);
	}
	on_loop(c, informers_end_here);
	if (c->own_loop) {
		loop_stop(f->loop);
		loop_free(f->loop);
	}
	VEC_EACH(&c->made, m) {
		m->ops->free(m->controller);
	}
	VEC_RELEASE(&c->made);
	VEC_RELEASE(&f->queues);
	map_release(&f->by_gvr);
	arena_release(&f->arena);
	client_free(f->client);
	sem_destroy(&c->silent);
	free(c);
}
