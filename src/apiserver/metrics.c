/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - counters under upstream's names, in Prometheus' text form. Counting takes a lock for a few nanoseconds; the
 * number of label sets is bounded.
 */
#include "apiserver/server.h"

#include "base/map.h"

#define SERIES_MAX 2000

static const double bounds[] = { 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60 };

struct series {
	int64_t count;
	double sum;
	int64_t buckets[ARRAY_LEN(bounds)];
};
struct metrics {
	pthread_mutex_t lock;
	struct map totals;    /* labels -> int64_t * */
	struct map durations; /* labels -> struct series * */
};

struct metrics *metrics_new(void) {
	struct metrics *m = xcalloc(1, sizeof(*m));

	pthread_mutex_init(&m->lock, NULL);
	return m;
}

static void free_all(struct map *m) {
	MAP_EACH(m, e) {
		free(e->value);
	}
	map_release(m);
}

void metrics_free(struct metrics *m) {
	if (m) {
		free_all(&m->totals);
		free_all(&m->durations);
		pthread_mutex_destroy(&m->lock);
		free(m);
	}
}

static void *slot(struct map *m, struct str key, size_t bytes) {
	void *v = map_get(m, key);

	if (!v && m->len < SERIES_MAX) {
		v = xcalloc(1, bytes);
		map_set(m, key, v);
	}
	return v;
}

void metrics_request(struct req *r, int code, nsec_t took) {
	struct metrics *m = r->s->metrics;
	char verb[24], labels[512];
	struct str v = r->info.verb.len && r->info.verb.len < sizeof(verb) ? r->info.verb : S("other");
	/* Names that no table knows would make as many series as there are clients with ideas. */
	struct str resource = r->res ? r->info.resource : S(""), sub = r->sub ? r->info.subresource : S("");

	if (!m) {
		return;
	}
	for (size_t i = 0; i < v.len; i++) {
		verb[i] = v.ptr[i] >= 'a' && v.ptr[i] <= 'z' ? (char)(v.ptr[i] - 32) : v.ptr[i];
	}
	if (r->x && r->info.is_resource) {
		/* upstream's names of methods */
		if (str_eq(v, S("create"))) {
			v = S("POST");
		} else if (str_eq(v, S("update"))) {
			v = S("PUT");
		} else {
			v = (struct str){ verb, v.len };
		}
	} else {
		v = (struct str){ verb, v.len };
	}
	const char *scope = !r->info.is_resource || !r->res ? "" : r->info.name.len ? "resource" : r->info.ns.len ? "namespace" : "cluster";
	int n = snprintf(labels, sizeof(labels), "group=\"%.*s\",resource=\"%.*s\",scope=\"%s\",subresource=\"%.*s\",verb=\"%.*s\",version=\"%.*s\"",
		STR_ARG(r->res ? r->info.group : S("")), STR_ARG(resource), scope, STR_ARG(sub), STR_ARG(v), STR_ARG(r->res ? r->info.version : S("")));
	if (n <= 0 || (size_t)n >= sizeof(labels)) {
		return;
	}
	struct str key = { labels, (size_t)n };
	pthread_mutex_lock(&m->lock);
	struct series *d = slot(&m->durations, key, sizeof(*d));
	double sec = (double)took / (double)NSEC_PER_SEC;
	if (d && !str_eq(v, S("WATCH"))) {
		d->count++;
		d->sum += sec;
		for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
			d->buckets[i] += sec <= bounds[i];
		}
	}
	char total[600];
	n = snprintf(total, sizeof(total), "code=\"%d\",component=\"apiserver\",%s", code, labels);
	int64_t *c = slot(&m->totals, (struct str){ total, (size_t)n }, sizeof(*c));
	if (c) {
		(*c)++;
	}
	pthread_mutex_unlock(&m->lock);
}

void metrics_print(struct apiserver *s, struct buf *b) {
	struct metrics *m = s->metrics;
	struct store_stats st;

	pthread_mutex_lock(&m->lock);
	buf_c(b, "# HELP apiserver_request_total [STABLE] Counter of apiserver requests.\n# TYPE apiserver_request_total counter\n");
	MAP_EACH(&m->totals, e) {
		buf_printf(b, "apiserver_request_total{%.*s,dry_run=\"\"} %lld\n", STR_ARG(e->key), (long long)*(int64_t *)e->value);
	}
	buf_c(b, "# HELP apiserver_request_duration_seconds [STABLE] Response latency distribution in seconds.\n"
		 "# TYPE apiserver_request_duration_seconds histogram\n");
	MAP_EACH(&m->durations, e) {
		const struct series *d = e->value;
		for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
			buf_printf(b, "apiserver_request_duration_seconds_bucket{component=\"apiserver\",%.*s,le=\"%g\"} %lld\n", STR_ARG(e->key), bounds[i],
				(long long)d->buckets[i]);
		}
		buf_printf(b, "apiserver_request_duration_seconds_bucket{component=\"apiserver\",%.*s,le=\"+Inf\"} %lld\n", STR_ARG(e->key), (long long)d->count);
		buf_printf(b, "apiserver_request_duration_seconds_sum{component=\"apiserver\",%.*s} %g\n", STR_ARG(e->key), d->sum);
		buf_printf(b, "apiserver_request_duration_seconds_count{component=\"apiserver\",%.*s} %lld\n", STR_ARG(e->key), (long long)d->count);
	}
	pthread_mutex_unlock(&m->lock);
	buf_printf(b, "# TYPE apiserver_current_inflight_requests gauge\napiserver_current_inflight_requests{request_kind=\"mutating\"} %d\n"
		      "apiserver_current_inflight_requests{request_kind=\"readOnly\"} %d\n",
		__atomic_load_n(&s->writers, __ATOMIC_RELAXED), __atomic_load_n(&s->readers, __ATOMIC_RELAXED));
	buf_printf(b, "# TYPE apiserver_longrunning_requests gauge\napiserver_longrunning_requests{component=\"apiserver\",verb=\"WATCH\"} %zu\n",
		watch_hub_len(s->hub));
	buf_c(b, "# HELP apiserver_storage_objects [STABLE] Number of stored objects.\n# TYPE apiserver_storage_objects gauge\n");
	for (size_t i = 0; i < s->storages_len; i++) {
		auto_arena struct arena a = { 0 };
		struct str q = qualified(&a, s->storages[i].group, s->storages[i].resource);
		buf_printf(b, "apiserver_storage_objects{resource=\"%.*s\"} %zu\n", STR_ARG(q), cache_len(s->storages[i].cache));
	}
	store_stats(s->store, &st);
	buf_printf(b, "# TYPE apiserver_storage_size_bytes gauge\napiserver_storage_size_bytes{storage_cluster_id=\"local\"} %lld\n", (long long)st.file_bytes);
	buf_printf(b, "# TYPE coracle_store_writes_total counter\ncoracle_store_writes_total %lld\n", (long long)st.writes);
	buf_printf(b, "# TYPE coracle_store_commits_total counter\ncoracle_store_commits_total %lld\n", (long long)st.commits);
	buf_printf(b, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %lld\n", (long long)(s->started / NSEC_PER_SEC));
}
