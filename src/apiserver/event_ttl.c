/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event_ttl.c - Events live for an hour after they were last written, as with upstream's --event-ttl. Called every minute or so by
 * bootstrap.c's job, on a pool thread.
 */
#include "apiserver/server.h"

#define TTL (3600 * NSEC_PER_SEC)
#define AT_ONCE 2000 /* the rest goes in the next turn */

/* The latest time that the event itself tells. */
static nsec_t last_seen(const struct value *o) {
	const struct str texts[] = { value_str_at(o, N_lastTimestamp), value_str_at(o, N_series, N_lastObservedTime), value_str_at(o, N_eventTime),
		value_str_at(o, N_firstTimestamp), value_str_at(o, N_metadata, N_creationTimestamp) };
	nsec_t last = 0, t;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (texts[i].len && time_parse(texts[i], &t)) {
			last = MAX(last, t);
		}
	}
	return last;
}

void events_expire(struct apiserver *s) {
	struct storage *st = storage_find(s, S(""), S("events"));
	nsec_t now = clock_wall();
	struct snapshot snap;
	struct tree_iter it;
	int gone = 0;

	cache_snapshot(st->cache, &snap);
	tree_seek(&it, snap.root, S(""));
	for (struct tree_item *i; gone < AT_ONCE && (i = tree_next(&it));) {
		auto_arena struct arena a = { 0 };
		struct answer ans = { 0 };
		struct err err = { 0 };
		struct req r;
		if (now - last_seen(i->obj->root) < TTL) {
			continue;
		}
		struct str ns = value_str_at(i->obj->root, N_metadata, N_namespace), name = value_str_at(i->obj->root, N_metadata, N_name);
		struct value *options = value_new_object(&a);
		value_set_str(&a, value_ensure_object(&a, options, N_preconditions), N_resourceVersion, value_str_at(i->obj->root, N_metadata, N_resourceVersion));
		req_internal(s, &a, &r, st, VERB_DELETE, ns, name);
		gone += registry_delete_one(&r, st, ns, name, options, &ans, &err); /* one that was written again meanwhile stays */
		answer_release(&ans);
	}
	snapshot_release(&snap);
}
