/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmdb_watch.c - hands committed revisions to watches: in order, none twice, none missing.
 *
 * A watch is registered by the store's thread between two batches, after it was given what it has missed; so live
 * events follow without a gap.
 */
#include "store/lmdb_int.h"

static void watch_give(struct store_watch *w, const struct store_event *ev) {
	if (str_starts(ev->key, w->prefix)) {
		w->matched = true;
		w->on_event(w->arg, ev, ev->revision);
	}
}

void events_give(struct store *s, struct task **at, size_t n) {
	int64_t revision = atomic_load(&s->revision);
	bool any = false;
	pthread_mutex_lock(&s->watch_lock);
	for (size_t i = 0; i < n; i++) {
		struct task *t = at[i];
		if (!t->in_txn) {
			continue;
		}
		any = true;
		struct store_event ev = {
			.key = t->write->key,
			.value = t->write->value,
			.prev_value = t->prev,
			.revision = t->revision,
			.create_rev = t->head.create_rev,
			.prev_rev = t->head.prev_rev,
			.attachment = t->attachment,
		};
		LIST_EACH(&s->watches, it) {
			watch_give(container_of(it, struct store_watch, link), &ev);
		}
	}
	LIST_EACH(&s->watches, it) {
		struct store_watch *w = container_of(it, struct store_watch, link);
		if (any && !w->matched) {
			w->on_event(w->arg, NULL, revision);
		}
		w->matched = false;
	}
	pthread_mutex_unlock(&s->watch_lock);
	for (size_t i = 0; i < n; i++) {
		task_reset(at[i]);
	}
}

/* What a new watch has missed, out of the log. */
bool watch_catch_up(struct store *s, struct store_watch *w, struct err *err) {
	MDB_txn *txn;
	MDB_cursor *c;
	MDB_val k, v;
	int64_t last = atomic_load(&s->revision);
	if (w->from <= 0 || w->from > last) {
		return true;
	}
	if (w->from < atomic_load(&s->compacted)) {
		return err_set(err, ERR_EXPIRED, "too old resource version: %lld (%lld)", (long long)w->from, (long long)atomic_load(&s->compacted));
	}
	if (!read_begin(s, &txn, err)) {
		return false;
	}
	int rc = mdb_cursor_open(txn, s->log, &c);
	if (rc) {
		mdb_txn_abort(txn);
		return mdb_err(s, rc, err, "read");
	}
	struct rev_key rk = rev_key(w->from);
	k = (MDB_val){ 8, rk.be };
	for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); !rc; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		struct record r, prev;
		if (!lmdb_record_read(&v, rev_of(&k), &r)) {
			rc = MDB_CORRUPTED;
			break;
		}
		if (!str_starts(r.key, w->prefix)) {
			continue;
		}
		struct store_event ev = { .key = r.key, .revision = r.revision, .create_rev = r.head.create_rev, .prev_rev = r.head.prev_rev };
		ev.value = r.head.deleted ? NULL : blob_new(r.value);
		if (r.head.prev_rev && log_get(s, txn, r.head.prev_rev, &prev) == 0) {
			ev.prev_value = blob_new(prev.value);
		}
		w->on_event(w->arg, &ev, ev.revision);
		blob_unref(ev.value);
		blob_unref(ev.prev_value);
	}
	mdb_cursor_close(c);
	mdb_txn_abort(txn);
	if (rc != MDB_NOTFOUND) {
		return mdb_err(s, rc, err, "read");
	}
	w->on_event(w->arg, NULL, last);
	return true;
}

bool store_watch(struct store *s, const struct store_watch_opts *opts, struct store_watch **ret, struct err *err) {
	struct store_watch *w = xcalloc(1, sizeof(*w));
	struct task t = { .kind = TASK_WATCH, .watch = w, .err = err };
	*w = (struct store_watch){
		.store = s,
		.prefix = { str_dup(opts->prefix), opts->prefix.len },
		.from = opts->from,
		.on_event = opts->on_event,
		.arg = opts->arg,
	};
	if (!task_do(s, &t)) {
		free((char *)(uintptr_t)w->prefix.ptr);
		free(w);
		return false;
	}
	*ret = w;
	return true;
}

void store_watch_cancel(struct store_watch *w) {
	if (!w) {
		return;
	}
	pthread_mutex_lock(&w->store->watch_lock);
	list_remove(&w->link);
	pthread_mutex_unlock(&w->store->watch_lock);
	free((char *)(uintptr_t)w->prefix.ptr);
	free(w);
}
