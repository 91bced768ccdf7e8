/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - watches. A request's thread sends the initial events and then gives the watcher to the hub; from there the hub's loop reads the
 * rings, matches, encodes each event once for all watchers that want the same form, and sends.
 *
 * A watcher belongs to the hub's loop once attached. It lives until both the hub has let go of it and the stream's on_close
 * has run (its reference count). A watcher whose client reads slowly is left where it is (`blocked`) until its stream has drained;
 * when the ring has passed its position it is ended with 410 Expired.
 */
#include "apiserver/watch.h"

#include "apiserver/wire.h"
#include "client/selector.h"

#define BATCH 64
#define BACKLOG_MAX ((size_t)4 << 20)
#define PIECE ((size_t)64 << 10) /* initial events are sent in pieces of this size */
#define INITIAL_STALL (60 * NSEC_PER_SEC)
#define BOOKMARK_EVERY (60 * NSEC_PER_SEC)

/* The form of events that a watcher wants; watchers of the same form share encodings. */
struct form {
	struct media media;
	const struct schema_resource *res;
	struct str include_object; /* static */
};

struct watcher {
	uint32_t refs; /* atomic */
	struct watch_hub *hub;
	struct list link; /* in hub->by_storage[...]; hub's loop */
	struct storage *st;
	struct selection sel;
	uint64_t position;
	int64_t after;    /* events up to this revision are skipped: the client has asked for what follows it */
	struct watch_sink *sink; /* in process; else the stream */
	bool dirty;       /* the sink has something to flush */
	bool attached, ended;
	/* over HTTP */
	struct arena arena; /* the selection's texts */
	struct http_stream *stream;
	struct form form;
	bool gone;        /* atomic: on_close has run */
	bool blocked;
	bool columns_sent;
	bool bookmarks;
	nsec_t ends_at, next_bookmark;
	struct msg closed; /* posted once, by on_close */
};

struct watch_hub {
	struct apiserver *s;
	struct loop *loop;
	bool running;
	bool pending;            /* atomic: a round is on its way */
	struct list *by_storage; /* of watchers, by index into s->storages */
	struct loop_timer tick;
	size_t len;              /* atomic */
	VEC(struct http_stream *) streams; /* scratch of a round */
};

static void watcher_unref(struct watcher *w) {
	if (__atomic_sub_fetch(&w->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		arena_release(&w->arena);
		free(w);
	}
}

static struct watcher *watcher_ref(struct watcher *w) {
	__atomic_add_fetch(&w->refs, 1, __ATOMIC_RELAXED);
	return w;
}

/* ---- encoding ------------------------------------------------------------------------------------ */

static const char *type_text(enum watch_event t) {
	switch (t) {
	case WATCH_ADDED:
		return "ADDED";
	case WATCH_MODIFIED:
		return "MODIFIED";
	case WATCH_DELETED:
		return "DELETED";
	case WATCH_BOOKMARK:
	case WATCH_SYNCED:
		return "BOOKMARK";
	case WATCH_ENDED:
		break;
	}
	return "ERROR";
}

/* One WatchEvent as it goes over the wire: a JSON line, or a length (4 bytes, big endian) and a bare protobuf message. */
static void frame(struct buf *out, const struct form *f, enum watch_event type, struct str object) {
	const char *t = type_text(type);

	if (f->media.format != MEDIA_PROTOBUF) {
		buf_printf(out, "{\"type\":\"%s\",\"object\":", t);
		while (object.len && object.ptr[object.len - 1] == '\n') {
			object.len--;
		}
		buf_str(out, object);
		buf_c(out, "}\n");
		return;
	}
	/* WatchEvent{1: type, 2: RawExtension{1: raw}} */
	size_t raw = wire_field_len(object.len), total = wire_field_len(strlen(t)) + wire_field_len(raw);
	const char len[4] = { (char)(total >> 24), (char)(total >> 16), (char)(total >> 8), (char)total };
	buf_add(out, len, sizeof(len));
	wire_field(out, 0x0a, str_c(t));
	buf_char(out, 0x12);
	wire_varint(out, raw);
	wire_field(out, 0x0a, object);
}

/* `in_stored`: the object is of the stored version and may have to be converted. */
static void encode_event(struct buf *out, const struct form *f, enum watch_event type, const struct value *root, bool in_stored, bool columns) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = BUF_INIT(0);
	const struct value *v = in_stored && f->res ? convert_to(&a, root, f->res) : root;

	encode_value(&a, &b, &f->media, f->res, v, f->include_object, columns);
	frame(out, f, type, buf_view(&b));
}

static void encode_bookmark(struct buf *out, const struct form *f, int64_t revision, bool initial_end) {
	auto_arena struct arena a = { 0 };
	struct value *raw = value_new_object(&a), *v = NULL;
	struct err err = { 0 };
	struct form plain = *f;

	value_set_str(&a, raw, N_kind, schema_type_short(schema_resource_type(f->res)));
	value_set_str(&a, raw, N_apiVersion, schema_resource_api_version(&a, f->res));
	struct value *meta = value_ensure_object(&a, raw, N_metadata);
	value_set_str(&a, meta, N_resourceVersion, arena_printf(&a, "%lld", (long long)revision));
	if (initial_end) {
		value_set_key_str(&a, value_ensure_object(&a, meta, N_annotations), S("k8s.io/initial-events-end"), S("true"));
	}
	if (f->media.as == AS_TABLE) {
		/* A Table without rows, whose metadata tells the revision. */
		struct value *t = value_new_object(&a);
		value_set_str(&a, t, N_kind, S("Table"));
		value_set_str(&a, t, N_apiVersion, str_eq(f->media.as_version, S("v1")) ? S("meta.k8s.io/v1") : S("meta.k8s.io/v1beta1"));
		value_set(&a, t, N_metadata, value_get(raw, N_metadata));
		value_set(&a, t, N_columnDefinitions, NULL);
		value_set(&a, t, N_rows, value_new_array(&a));
		plain.media.as = AS_OBJECT;
		encode_event(out, &plain, WATCH_BOOKMARK, t, false, false);
		return;
	}
	if (!schema_decode(&a, schema_resource_type(f->res), raw, NULL, &v, &err)) {
		v = raw;
	}
	encode_event(out, f, WATCH_BOOKMARK, v, false, false);
}

static void encode_error(struct buf *out, const struct form *f, const struct err *why) {
	auto_arena struct arena a = { 0 };
	struct req r = { .a = &a };
	struct form plain = *f;

	plain.media.as = AS_OBJECT;
	encode_event(out, &plain, WATCH_ENDED, status_failure(&r, why), false, false);
}

/* ---- ending (hub's loop) ------------------------------------------------------------------------ */

static void end_watcher(struct watcher *w, const struct err *why) {
	if (w->ended) {
		return;
	}
	w->ended = true;
	list_remove(&w->link);
	__atomic_sub_fetch(&w->hub->len, 1, __ATOMIC_RELAXED);
	if (w->sink) {
		struct err none = { 0 };
		w->sink->flush(w->sink);
		w->sink->ended(w->sink, why ? why : &none);
	} else {
		if (why && why->code != ERR_NONE) {
			auto_buf struct buf b = BUF_INIT(0);
			encode_error(&b, &w->form, why);
			(void)http_stream_send_copy(w->stream, buf_view(&b));
		}
		http_stream_end(TAKE(w->stream));
	}
	watcher_unref(w); /* the hub's */
}

static void on_closed_msg(struct msg *m) {
	struct watcher *w = container_of(m, struct watcher, closed);

	if (w->attached) {
		end_watcher(w, NULL);
	}
	watcher_unref(w); /* on_close's */
}

/* io loop. `w->gone` stops the initial events; the hub lets go when it is told. */
static void on_stream_close(void *arg) {
	struct watcher *w = arg;

	__atomic_store_n(&w->gone, true, __ATOMIC_SEQ_CST);
	w->closed.run = on_closed_msg;
	if (!loop_post(w->hub->loop, &w->closed)) {
		watcher_unref(w);
	}
}

/* ---- delivering (hub's loop) ---------------------------------------------------------------------- */

static bool in_range(const struct selection *sel, const struct storage *st, struct str key) {
	if (st->namespaced) {
		if (sel->ns.len && !(key.len > sel->ns.len && key.ptr[sel->ns.len] == '/' && memcmp(key.ptr, sel->ns.ptr, sel->ns.len) == 0)) {
			return false;
		}
		return !sel->name.len || str_ends(key, sel->name);
	}
	return !sel->name.len || str_eq(key, sel->name);
}

/* What the event is to this selection; false: nothing. *ret_old: it is told with the object from before. */
static bool translate(const struct selection *sel, const struct storage *st, const struct cache_event *e, enum watch_event *ret, bool *ret_old) {
	*ret_old = false;
	*ret = e->type;
	if (!in_range(sel, st, tree_key(e->now))) {
		return false;
	}
	if (selection_is_all(sel)) {
		return true;
	}
	bool before = e->before && selection_matches(sel, e->before->obj->root);
	if (e->type == WATCH_DELETED) {
		return before;
	}
	bool now = selection_matches(sel, e->now->obj->root);
	if (now) {
		*ret = before ? WATCH_MODIFIED : WATCH_ADDED;
		return true;
	}
	*ret = WATCH_DELETED;
	*ret_old = true;
	return before;
}

/* The encodings of one event, and who gets them. */
#define FORMS_MAX 16
struct delivery {
	const struct form *form;
	enum watch_event type;
	bool old;
	struct net_bytes *bytes;
};

static bool form_eq(const struct form *a, const struct form *b) {
	return a->media.format == b->media.format && a->media.as == b->media.as && a->res == b->res && str_eq(a->media.as_version, b->media.as_version) &&
		str_eq(a->include_object, b->include_object);
}

static struct net_bytes *event_bytes(const struct form *f, enum watch_event type, struct obj *o, bool columns) {
	auto_buf struct buf b = BUF_INIT(0);

	encode_event(&b, f, type, o->root, true, columns);
	return net_bytes_new(buf_view(&b));
}

static void after_send(struct watcher *w) {
	if (http_stream_failed(w->stream)) {
		end_watcher(w, NULL);
	} else if (http_stream_backlog(w->stream) > BACKLOG_MAX / 2) {
		w->blocked = true;
	}
}

/* Gives one event to all watchers of the cache that stand at `position`. */
static void deliver(struct watch_hub *h, struct list *watchers, struct cache_event *e, uint64_t position) {
	struct delivery known[FORMS_MAX];
	size_t known_len = 0;
	struct obj *old = NULL; /* the object from before with this event's revision */

	for (;;) { /* one pass for each encoding: its watchers go out in one broadcast */
		struct delivery *d = NULL;
		h->streams.len = 0;
		LIST_EACH(watchers, link) {
			struct watcher *w = container_of(link, struct watcher, link);
			enum watch_event type;
			bool use_old;
			if (w->position != position || w->blocked) {
				continue;
			}
			if (e->revision <= w->after || !translate(&w->sel, w->st, e, &type, &use_old)) {
				w->position++;
				continue;
			}
			if (use_old && !old) {
				old = obj_at_revision(e->before->obj, e->revision);
			}
			struct obj *o = use_old ? old : e->now->obj;
			if (w->sink) {
				w->sink->event(w->sink, type, o);
				w->dirty = true;
				w->position++;
				continue;
			}
			if (w->form.media.as == AS_TABLE && !w->columns_sent) {
				struct net_bytes *first = event_bytes(&w->form, type, o, true);
				w->columns_sent = true;
				w->position++;
				(void)http_stream_send(w->stream, first);
				net_bytes_unref(first);
				after_send(w);
				continue;
			}
			if (!d) {
				if (known_len == FORMS_MAX) {
					known_len = 0;
				}
				d = &known[known_len++];
				*d = (struct delivery){ .form = &w->form, .type = type, .old = use_old };
				d->bytes = event_bytes(&w->form, type, o, false);
			} else if (d->type != type || d->old != use_old || !form_eq(d->form, &w->form)) {
				continue; /* in a later pass */
			}
			w->position++;
			VEC_PUSH(&h->streams, w->stream);
		}
		if (!d) {
			break;
		}
		http_stream_broadcast(h->streams.at, h->streams.len, d->bytes);
		net_bytes_unref(d->bytes);
	}
	obj_unref(old);
	LIST_EACH(watchers, link) {
		struct watcher *w = container_of(link, struct watcher, link);
		if (!w->sink && w->position == position + 1 && !w->blocked) {
			after_send(w);
		}
	}
}

static void serve_storage(struct watch_hub *h, struct storage *st, struct list *watchers) {
	struct cache_event *batch[BATCH];

	for (;;) {
		uint64_t low = UINT64_MAX;
		LIST_EACH(watchers, link) {
			struct watcher *w = container_of(link, struct watcher, link);
			if (!w->blocked && w->position < low) {
				low = w->position;
			}
		}
		if (low == UINT64_MAX) {
			return;
		}
		int n = cache_events(st->cache, low, batch, BATCH);
		if (n < 0) {
			LIST_EACH(watchers, link) {
				struct watcher *w = container_of(link, struct watcher, link);
				struct err err = { 0 };
				if (w->position == low && !w->blocked) {
					(void)err_set(&err, ERR_EXPIRED, "too old resource version: the watch fell behind");
					end_watcher(w, &err);
				}
			}
			continue;
		}
		for (int i = 0; i < n; i++) {
			deliver(h, watchers, batch[i], low + (uint64_t)i);
			cache_event_unref(batch[i]);
		}
		if (n < BATCH) {
			break;
		}
	}
	LIST_EACH(watchers, link) {
		struct watcher *w = container_of(link, struct watcher, link);
		if (w->dirty) {
			w->dirty = false;
			w->sink->flush(w->sink);
		}
	}
}

static void hub_round(void *arg) {
	struct watch_hub *h = arg;

	__atomic_store_n(&h->pending, false, __ATOMIC_SEQ_CST);
	for (size_t i = 0; i < h->s->storages_len; i++) {
		if (!list_empty(&h->by_storage[i])) {
			serve_storage(h, &h->s->storages[i], &h->by_storage[i]);
		}
	}
}

void watch_hub_kick(void *hub) {
	struct watch_hub *h = hub;

	if (__atomic_load_n(&h->len, __ATOMIC_RELAXED) && !__atomic_exchange_n(&h->pending, true, __ATOMIC_SEQ_CST)) {
		(void)loop_call(h->loop, hub_round, h);
	}
}

static void unblock(void *arg) {
	struct watcher *w = arg;

	if (w->blocked && !w->ended) {
		w->blocked = false;
		hub_round(w->hub);
	}
	watcher_unref(w);
}

static void on_stream_drain(void *arg) {
	struct watcher *w = arg;

	if (!loop_call(w->hub->loop, unblock, watcher_ref(w))) {
		watcher_unref(w);
	}
}

/* ---- attaching -------------------------------------------------------------------------------------- */

static void attach_now(void *arg) {
	struct watcher *w = arg;
	struct watch_hub *h = w->hub;

	w->attached = true;
	list_push(&h->by_storage[w->st - h->s->storages], &w->link);
	if (__atomic_load_n(&w->gone, __ATOMIC_SEQ_CST)) {
		end_watcher(w, NULL);
		return;
	}
	serve_storage(h, w->st, &h->by_storage[w->st - h->s->storages]);
}

static void attach(struct watcher *w) {
	__atomic_add_fetch(&w->hub->len, 1, __ATOMIC_SEQ_CST);
	if (!loop_call(w->hub->loop, attach_now, w)) {
		__atomic_sub_fetch(&w->hub->len, 1, __ATOMIC_SEQ_CST);
		if (w->stream) {
			http_stream_end(TAKE(w->stream));
		}
		watcher_unref(w);
	}
}

struct watcher *watch_attach(struct watch_hub *h, struct storage *st, const struct selection *sel, uint64_t position, struct watch_sink *sink) {
	struct watcher *w = xcalloc(1, sizeof(*w));

	w->refs = 2; /* the hub's and the caller's */
	w->hub = h;
	w->st = st;
	w->sel = *sel;
	w->position = position;
	w->sink = sink;
	attach(w);
	return w;
}

static void detach_now(void *arg) {
	struct watcher *w = arg;

	if (w->attached) {
		end_watcher(w, NULL);
	}
	watcher_unref(w);
}

void watch_detach(struct watcher *w) {
	if (!loop_call(w->hub->loop, detach_now, w)) {
		watcher_unref(w);
	}
}

/* ---- over HTTP (a request's thread) ------------------------------------------------------------------ */

/* Sends, and waits while the client is far behind. False when it has gone or does not read. */
static bool send_piece(struct watcher *w, struct buf *b) {
	nsec_t since = clock_mono();
	size_t backlog = http_stream_backlog(w->stream);

	while (backlog > BACKLOG_MAX / 2 && !__atomic_load_n(&w->gone, __ATOMIC_SEQ_CST)) {
		pool_wait_begin();
		clock_sleep(2 * NSEC_PER_MSEC);
		pool_wait_end();
		size_t now = http_stream_backlog(w->stream);
		if (now < backlog) {
			since = clock_mono();
		} else if (clock_mono() - since > INITIAL_STALL) {
			return false;
		}
		backlog = now;
	}
	bool ok = !__atomic_load_n(&w->gone, __ATOMIC_SEQ_CST) && http_stream_send_copy(w->stream, buf_view(b));
	buf_clear(b);
	return ok;
}

static bool send_initial(struct watcher *w, struct list_page *p, bool end_mark) {
	auto_buf struct buf b = BUF_INIT(0);
	struct list_cursor c = { 0 };
	bool ok = true;

	for (struct obj *o; ok && (o = list_next(p, &c));) {
		encode_event(&b, &w->form, WATCH_ADDED, o->root, true, w->form.media.as == AS_TABLE && !w->columns_sent);
		w->columns_sent = true;
		if (b.len >= PIECE) {
			ok = send_piece(w, &b);
		}
	}
	if (ok && end_mark) {
		encode_bookmark(&b, &w->form, p->snap.revision, true);
	}
	return ok && (b.len == 0 || send_piece(w, &b));
}

static struct str include_static(struct str text) {
	return str_eq(text, S("Object")) ? S("Object") : str_eq(text, S("None")) ? S("None") : S("");
}

bool watch_http(struct req *r, struct answer *ret, struct err *err) {
	struct selection sel;
	int64_t rv = 0;

	if (!resource_version_parse(r, S("ListOptions"), &rv, err)) {
		return false;
	}
	bool initial = r->opts.has_initial_events ? r->opts.initial_events : rv == 0;
	if (!selection_parse(r, &sel, err)) {
		return false;
	}
	struct watcher *w = xcalloc(1, sizeof(*w));
	w->refs = 2; /* ours (the hub's later) and on_close's */
	w->hub = r->s->hub;
	w->st = r->st;
	w->after = rv;
	w->form = (struct form){ .media = r->accept, .res = r->res, .include_object = include_static(r->opts.include_object) };
	w->form.media.pretty = false;
	w->bookmarks = r->opts.bookmarks;
	/* Texts that outlive the request: parsed again into the watcher's own arena. */
	struct req own = *r;
	own.a = &w->arena;
	own.opts.label_selector = arena_str(&w->arena, r->opts.label_selector);
	own.opts.field_selector = arena_str(&w->arena, r->opts.field_selector);
	own.info.ns = arena_str(&w->arena, r->info.ns);
	if (!selection_parse(&own, &w->sel, err)) {
		w->refs = 1;
		watcher_unref(w);
		return false;
	}
	nsec_t timeout = r->opts.timeout_seconds > 0 ? r->opts.timeout_seconds * NSEC_PER_SEC
						      : (nsec_t)((1800 + rand_double() * 1800) * (double)NSEC_PER_SEC);
	w->ends_at = clock_mono() + timeout;
	w->next_bookmark = clock_mono() + MIN(BOOKMARK_EVERY, MAX(timeout - 2 * NSEC_PER_SEC, NSEC_PER_SEC));

	struct list_page p = { 0 };
	struct err early = { 0 };
	if (initial) {
		struct req lr = *r; /* the snapshot's rules are a list's without a limit */
		lr.opts.limit = 0;
		lr.opts.match = RV_MATCH_UNSET;
		if (!list_begin(&lr, &p, err)) {
			r->details = lr.details;
			r->message = lr.message;
			w->refs = 1;
			watcher_unref(w);
			return false;
		}
		w->position = p.snap.position;
		w->after = 0;
	} else if (rv == 0) {
		w->position = cache_head(r->st->cache);
	} else if (!cache_position(r->st->cache, rv, &w->position, &early)) {
		w->position = 0;
	}
	const struct http_stream_opts so = { .on_close = on_stream_close, .on_drain = on_stream_drain, .arg = w, .backlog_max = BACKLOG_MAX };
	reply_warnings(r);
	w->stream = http_stream_start(r->x, 200, media_type(&r->accept, true), &so);
	ret->answered = true;
	bool ok = true;
	if (early.code) {
		auto_buf struct buf b = BUF_INIT(0);
		encode_error(&b, &w->form, &early);
		(void)http_stream_send_copy(w->stream, buf_view(&b));
		ok = false;
	} else if (initial) {
		ok = send_initial(w, &p, r->opts.initial_events && r->opts.bookmarks);
		list_end(&p);
	}
	if (!ok) {
		http_stream_end(TAKE(w->stream));
		watcher_unref(w);
		return true;
	}
	attach(w);
	return true;
}

/* ---- the hub -------------------------------------------------------------------------------------------- */

static void send_bookmark(struct watcher *w) {
	struct snapshot snap;
	auto_buf struct buf b = BUF_INIT(0);

	cache_snapshot(w->st->cache, &snap);
	uint64_t head = snap.position;
	int64_t revision = snap.revision;
	snapshot_release(&snap);
	if (w->position != head || w->blocked) {
		return; /* it has not seen all of that yet: next time */
	}
	encode_bookmark(&b, &w->form, revision, false);
	(void)http_stream_send_copy(w->stream, buf_view(&b));
}

static void on_tick(struct loop_timer *t) {
	struct watch_hub *h = container_of(t, struct watch_hub, tick);
	nsec_t now = clock_mono();

	hub_round(h);
	for (size_t i = 0; i < h->s->storages_len; i++) {
		LIST_EACH(&h->by_storage[i], link) {
			struct watcher *w = container_of(link, struct watcher, link);
			if (w->sink) {
				continue;
			}
			if (w->bookmarks && now >= w->next_bookmark) {
				w->next_bookmark = now + BOOKMARK_EVERY;
				send_bookmark(w);
			}
			if (now >= w->ends_at || http_stream_failed(w->stream)) {
				end_watcher(w, NULL);
			}
		}
	}
	loop_timer_start(h->loop, t, NSEC_PER_SEC, on_tick);
}

struct watch_hub *watch_hub_new(struct apiserver *s) {
	struct watch_hub *h = xcalloc(1, sizeof(*h));

	h->s = s;
	h->loop = loop_new("api-watch");
	return h;
}

static void start_tick(void *arg) {
	struct watch_hub *h = arg;

	loop_timer_start(h->loop, &h->tick, NSEC_PER_SEC, on_tick);
}

bool watch_hub_start(struct watch_hub *h, struct err *err) {
	h->by_storage = xcalloc(h->s->storages_len, sizeof(*h->by_storage));
	for (size_t i = 0; i < h->s->storages_len; i++) {
		list_init(&h->by_storage[i]);
	}
	if (!loop_start_thread(h->loop, err)) {
		return false;
	}
	h->running = true;
	return loop_call(h->loop, start_tick, h) || err_set(err, ERR_INTERNAL, "the watch loop does not run");
}

static void end_all(void *arg) {
	struct watch_hub *h = arg;
	struct err err = { 0 };

	loop_timer_stop(&h->tick);
	(void)err_set(&err, ERR_CLOSED, "the server stops");
	for (size_t i = 0; i < h->s->storages_len; i++) {
		LIST_EACH(&h->by_storage[i], link) {
			struct watcher *w = container_of(link, struct watcher, link);
			end_watcher(w, w->sink ? &err : NULL);
		}
	}
}

void watch_hub_stop(struct watch_hub *h) {
	if (h && h->running) {
		(void)loop_call(h->loop, end_all, h);
	}
}

void watch_hub_free(struct watch_hub *h) {
	if (!h) {
		return;
	}
	if (h->running) {
		loop_stop(h->loop);
	}
	loop_free(h->loop);
	free(h->by_storage);
	VEC_RELEASE(&h->streams);
	free(h);
}

size_t watch_hub_len(struct watch_hub *h) {
	return __atomic_load_n(&h->len, __ATOMIC_RELAXED);
}
