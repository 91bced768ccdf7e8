/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leader.c - leader election by a Lease.
 *
 * Everybody tries every 2 s. Who finds the lease free, expired by his own clock (he has seen no renewal for
 * its duration), or his own, writes it with the resource version he read, so that one of several wins. A
 * leader that could not renew for 10 s has lost it, 5 s before another may take it.
 *
 * State and timers belong to the loop; a try is a pool job that touches only itself.
 */
#include "client/leader.h"

#include <semaphore.h>
#include <unistd.h>

#include "base/log.h"

#define LEASE_SECONDS 15
#define RENEW_DEADLINE (10 * NSEC_PER_SEC)
#define RETRY (2 * NSEC_PER_SEC)

struct leader {
	struct leader_opts opts;
	struct str ns, name, identity; /* owned */
	struct loop_timer timer;
	struct job job;
	bool trying, closing, leading;
	nsec_t renewed; /* last success, when it was begun */
	/* what was last seen, for the expiry by our own clock */
	int64_t seen_revision;
	nsec_t seen_at;
	sem_t closed;

	/* of a try */
	bool release; /* give the lease back instead */
	bool held;    /* result: we hold it */
	bool failed;  /* result: could not be found out */
	nsec_t began;
	int64_t revision; /* result: of the lease as read */
};

static struct value *lease_body(struct leader *l, struct arena *a, const struct value *old) {
	char text[TIME_TEXT_MAX];
	struct str now = time_format_micro(clock_wall(), text);
	struct value *lease = old ? value_copy(a, old) : value_new_object(a), *meta, *spec;
	bool ours = str_eq(value_str_at(old, N_spec, N_holderIdentity), l->identity);
	int64_t transitions = value_int_at(old, N_spec, N_leaseTransitions);

	value_set_str(a, lease, N_apiVersion, S("coordination.k8s.io/v1"));
	value_set_str(a, lease, N_kind, S("Lease"));
	meta = value_ensure_object(a, lease, N_metadata);
	value_set_str(a, meta, N_name, l->name);
	value_set_str(a, meta, N_namespace, l->ns);
	spec = value_ensure_object(a, lease, N_spec);
	value_set_str(a, spec, N_holderIdentity, l->release ? S("") : l->identity);
	value_set_int(a, spec, N_leaseDurationSeconds, l->release ? 1 : LEASE_SECONDS);
	value_set_str(a, spec, N_renewTime, now);
	if (!ours || !value_get(spec, N_acquireTime)) {
		value_set_str(a, spec, N_acquireTime, now);
	}
	value_set_int(a, spec, N_leaseTransitions, old && !ours ? transitions + 1 : transitions);
	return lease;
}

static void try_run(struct job *j) {
	struct leader *l = container_of(j, struct leader, job);
	auto_arena struct arena a = { 0 };
	auto_obj struct obj *old = NULL, *now = NULL;
	struct err err = { 0 };

	l->held = l->failed = false;
	l->revision = 0;
	if (!client_get(l->opts.client, GVR_LEASES, l->ns, l->name, &old, &err)) {
		l->failed = err.code != ERR_NOT_FOUND;
		if (!l->failed && !l->release) {
			l->held = client_create(l->opts.client, GVR_LEASES, l->ns, lease_body(l, &a, NULL), &now, &err);
			l->revision = l->held ? now->revision : 0;
		}
		return;
	}
	struct str holder = value_str_at(old->root, N_spec, N_holderIdentity);
	int64_t seconds = value_int_at(old->root, N_spec, N_leaseDurationSeconds);
	bool ours = str_eq(holder, l->identity);
	bool fresh = old->revision != l->seen_revision || l->began - l->seen_at < seconds * NSEC_PER_SEC;
	l->revision = old->revision;
	if (l->release ? !ours : holder.len > 0 && !ours && fresh) {
		return;
	}
	l->held = client_update(l->opts.client, GVR_LEASES, l->ns, lease_body(l, &a, old->root), &now, &err);
	l->failed = !l->held; /* after a conflict the next try sees whose it is */
}

static void try_start(struct leader *l);

static void on_timer(struct loop_timer *t) {
	try_start(container_of(t, struct leader, timer));
}

static void lead(struct leader *l, bool leads) {
	void (*call)(void *) = leads ? l->opts.on_started : l->opts.on_stopped;

	if (leads == l->leading) {
		return;
	}
	l->leading = leads;
	log_info("leader", leads ? "became leader" : "lost the lease", kv_str("lease", l->name), kv_str("identity", l->identity));
	if (call) {
		call(l->opts.arg);
	}
}

static void try_done(struct job *j) {
	struct leader *l = container_of(j, struct leader, job);
	nsec_t now = loop_now(l->opts.loop);

	l->trying = false;
	loop_timer_stop(&l->timer);
	if (l->closing) {
		if (!l->release && (l->held || l->leading)) {
			l->release = true;
			try_start(l);
			if (l->trying) {
				return;
			}
		}
		sem_post(&l->closed);
		return;
	}
	if (l->revision != l->seen_revision) {
		l->seen_revision = l->revision;
		l->seen_at = now;
	}
	if (l->held) {
		l->renewed = l->began;
	}
	bool leads = l->held || (l->leading && l->failed && now - l->renewed < RENEW_DEADLINE);
	loop_timer_start(l->opts.loop, &l->timer, RETRY + (nsec_t)((double)RETRY * 0.2 * rand_double()), on_timer);
	lead(l, leads);
}

/* A renewal hangs: others may take the lease soon. */
static void on_deadline(struct loop_timer *t) {
	lead(container_of(t, struct leader, timer), false);
}

static void try_start(struct leader *l) {
	l->trying = true;
	l->began = loop_now(l->opts.loop);
	l->job = (struct job){ .run = try_run, .done = try_done };
	if (!pool_submit(&l->job)) {
		l->trying = false;
		loop_timer_start(l->opts.loop, &l->timer, RETRY, on_timer);
	} else if (l->leading && !l->closing) {
		nsec_t left = l->renewed + RENEW_DEADLINE - l->began;
		loop_timer_start(l->opts.loop, &l->timer, MAX(left, (nsec_t)0), on_deadline);
	}
}

static void start_here(void *arg) {
	try_start(arg);
}

struct leader *leader_start(const struct leader_opts *opts) {
	struct leader *l = xcalloc(1, sizeof(*l));
	char host[256] = "";

	l->opts = *opts;
	l->ns = (struct str){ str_dup(opts->ns), opts->ns.len };
	l->name = (struct str){ str_dup(opts->name), opts->name.len };
	if (opts->identity.len) {
		l->identity = (struct str){ str_dup(opts->identity), opts->identity.len };
	} else {
		(void)gethostname(host, sizeof(host) - 1);
		l->identity = str_c(xasprintf("%s_%016llx", host, (unsigned long long)rand_u64()));
	}
	sem_init(&l->closed, 0, 0);
	(void)loop_call(opts->loop, start_here, l);
	return l;
}

static void close_here(void *arg) {
	struct leader *l = arg;

	l->closing = true;
	loop_timer_stop(&l->timer);
	if (!l->trying) {
		l->release = l->leading;
		if (l->leading) {
			try_start(l);
		}
		if (!l->trying) {
			sem_post(&l->closed);
		}
	}
}

void leader_stop(struct leader *l) {
	if (!l) {
		return;
	}
	assert(loop_current() != l->opts.loop);
	if (loop_call(l->opts.loop, close_here, l)) {
		while (sem_wait(&l->closed) != 0) {
			/* a signal came: wait on */
		}
	}
	sem_destroy(&l->closed);
	free((char *)l->ns.ptr);
	free((char *)l->name.ptr);
	free((char *)l->identity.ptr);
	free(l);
}
