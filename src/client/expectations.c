/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expectations.c - what a controller has written and its cache has not shown yet, by key.
 *
 * Called by controllers: expect and seen on pool threads, created and deleted on the loop by informer
 * handlers; hence the lock. Deletions are told apart by uid, because one deletion shows twice (when
 * its grace begins and when the object goes).
 */
#include <pthread.h>

#include "base/map.h"
#include "base/vec.h"
#include "client/work_queue.h"

#define EXPECTATION_TIMEOUT (300 * NSEC_PER_SEC)

struct expectation {
	int creates;
	VEC(struct str) deletes; /* uids, owned */
	nsec_t since;
};
struct expectations {
	pthread_mutex_t lock;
	struct map by_key; /* -> struct expectation */
};

struct expectations *expectations_new(void) {
	struct expectations *e = xcalloc(1, sizeof(*e));

	pthread_mutex_init(&e->lock, NULL);
	return e;
}

static void expectation_free(struct expectation *x) {
	if (x) {
		VEC_EACH(&x->deletes, uid) {
			free((char *)uid->ptr);
		}
		VEC_RELEASE(&x->deletes);
		free(x);
	}
}

void expectations_free(struct expectations *e) {
	if (!e) {
		return;
	}
	MAP_EACH(&e->by_key, m) {
		expectation_free(m->value);
	}
	map_release(&e->by_key);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

void expectations_expect(struct expectations *e, struct str key, int creates, const struct str *deletes, size_t deletes_len) {
	struct expectation *x = xcalloc(1, sizeof(*x));

	x->creates = creates;
	x->since = clock_mono();
	for (size_t i = 0; i < deletes_len; i++) {
		VEC_PUSH(&x->deletes, ((struct str){ str_dup(deletes[i]), deletes[i].len }));
	}
	pthread_mutex_lock(&e->lock);
	expectation_free(map_set(&e->by_key, key, x));
	pthread_mutex_unlock(&e->lock);
}

void expectations_created(struct expectations *e, struct str key) {
	pthread_mutex_lock(&e->lock);
	struct expectation *x = map_get(&e->by_key, key);
	if (x && x->creates > 0) {
		x->creates--;
	}
	pthread_mutex_unlock(&e->lock);
}

void expectations_deleted(struct expectations *e, struct str key, struct str uid) {
	pthread_mutex_lock(&e->lock);
	struct expectation *x = map_get(&e->by_key, key);
	for (size_t i = 0; x && i < x->deletes.len; i++) {
		if (str_eq(x->deletes.at[i], uid)) {
			free((char *)x->deletes.at[i].ptr);
			VEC_REMOVE(&x->deletes, i);
			break;
		}
	}
	pthread_mutex_unlock(&e->lock);
}

bool expectations_seen(struct expectations *e, struct str key) {
	pthread_mutex_lock(&e->lock);
	struct expectation *x = map_get(&e->by_key, key);
	bool seen = !x || (x->creates <= 0 && x->deletes.len == 0) || clock_mono() - x->since > EXPECTATION_TIMEOUT;
	pthread_mutex_unlock(&e->lock);
	return seen;
}

void expectations_forget(struct expectations *e, struct str key) {
	pthread_mutex_lock(&e->lock);
	expectation_free(map_remove(&e->by_key, key));
	pthread_mutex_unlock(&e->lock);
}
