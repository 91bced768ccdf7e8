/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c - the client transport that calls this server in the same process: the same authorisation, admission and validation as over
 * HTTPS, with objects instead of bytes. Calls run on the caller's thread; watch events are posted to the
 * caller's loop, several to a message.
 */
#include "apiserver/watch.h"

struct local_transport {
	struct client_transport t; /* first */
	struct apiserver *s;
	struct arena arena; /* the user's texts */
	struct user user;
};

static struct str plural_verb(enum client_verb v) {
	switch (v) {
	case CLIENT_GET:
	case CLIENT_RAW:
		return S("get");
	case CLIENT_LIST:
		return S("list");
	case CLIENT_CREATE:
		return S("create");
	case CLIENT_UPDATE:
		return S("update");
	case CLIENT_PATCH:
		return S("patch");
	case CLIENT_DELETE:
		return S("delete");
	case CLIENT_DELETE_COLLECTION:
		return S("deletecollection");
	}
	return S("");
}

static void make_req(struct local_transport *t, struct arena *a, struct gvr gvr, struct str ns, struct str name, struct str sub, struct str verb,
	struct req *r) {
	*r = (struct req){ .s = t->s, .a = a, .user = t->user };
	/* Namespaces themselves are asked for by name; upstream's request info has the name as the namespace too. */
	if (str_eq(gvr.resource, S("namespaces")) && gvr.group.len == 0 && name.len) {
		ns = name;
	}
	r->info = (struct request_info){ .is_resource = true, .verb = verb, .prefix = gvr.group.len ? S("apis") : S("api"), .group = gvr.group,
		.version = gvr.version, .ns = ns, .resource = gvr.resource, .subresource = sub, .name = name, .authz_name = name };
	r->info.parts = sub.len ? 3 : name.len ? 2 : 1;
	r->verb = verb_of(verb);
	r->kx.arena = a;
	r->kx.ns = ns;
	r->kx.name = name;
	r->kx.user = t->user.name;
	r->kx.groups = t->user.groups;
	r->kx.groups_len = t->user.groups_len;
	r->kx.services = t->s->services;
	r->opts.timeout_seconds = -1;
	r->opts.validation = FIELD_VALIDATION_IGNORE;
	r->accept.as_version = S("v1");
}

static bool allowed(struct req *r, struct err *err) {
	struct str reason = S("");
	struct access q = { .user = r->user, .verb = r->info.verb, .resource = true, .group = r->info.group, .version = r->info.version, .res = r->info.resource,
		.sub = r->info.subresource, .ns = r->info.ns, .name = r->info.authz_name };

	return authorize(r->s, r->a, &q, &reason) == DECISION_ALLOW || fail_access(r, &q, reason, err);
}

static struct obj *converted(struct req *r, struct obj *o) {
	const struct value *v = convert_to(r->a, o->root, r->res);

	return v == o->root ? obj_ref(o) : obj_freeze(v, o->revision);
}

static bool do_list(struct req *r, struct client_list *ret, struct err *err) {
	struct list_page p = { 0 };
	struct list_cursor c = { 0 };
	VEC(struct obj *) objs = { 0 };
	int64_t remaining;

	if (!list_begin(r, &p, err)) {
		return false;
	}
	for (struct obj *o; (o = list_next(&p, &c));) {
		VEC_PUSH(&objs, converted(r, o));
	}
	struct str next = list_continue(r, &p, &c, &remaining);
	*ret = (struct client_list){ .at = objs.at, .len = objs.len, .revision = p.snap.revision };
	ret->continue_token = next.len ? (struct str){ str_dup(next), next.len } : (struct str){ 0 };
	list_end(&p);
	return true;
}

static struct value *options_of(struct req *r, const struct client_call *call) {
	struct value *o = call->body ? value_copy(r->a, call->body) : value_new_object(r->a);

	if (call->propagation.len) {
		value_set_str(r->a, o, N_propagationPolicy, call->propagation);
	}
	if (call->has_grace) {
		value_set_int(r->a, o, N_gracePeriodSeconds, call->grace_seconds);
	}
	if (call->precondition_uid.len) {
		value_set_str(r->a, value_ensure_object(r->a, o, N_preconditions), N_uid, call->precondition_uid);
	}
	if (call->precondition_rv.len) {
		value_set_str(r->a, value_ensure_object(r->a, o, N_preconditions), N_resourceVersion, call->precondition_rv);
	}
	return o;
}

static bool local_do(struct req *r, const struct client_call *call, struct answer *ans, struct client_list *ret_list, struct err *err) {
	if (!route_find(r, err)) {
		return false;
	}
	if (call->verb == CLIENT_LIST && r->st) {
		struct client_list unwanted = { 0 };
		bool ok = do_list(r, ret_list ? ret_list : &unwanted, err);
		client_list_release(&unwanted);
		return ok;
	}
	if (call->verb == CLIENT_DELETE || call->verb == CLIENT_DELETE_COLLECTION) {
		r->body_value = options_of(r, call);
	}
	return route_resource(r, ans, err);
}

static bool discovery_raw(struct req *r, struct str path, struct answer *ans, struct err *err) {
	struct str group, version;

	if (str_eq(path, S("/api"))) {
		ans->value = discovery_api_versions(r->a, S(""));
	} else if (str_eq(path, S("/apis"))) {
		ans->value = discovery_group_list(r->a);
	} else if (str_starts(path, S("/api/"))) {
		ans->value = discovery_resources(r->a, S(""), str_from(path, 5));
	} else if (str_starts(path, S("/apis/")) && str_cut(str_from(path, 6), '/', &group, &version)) {
		ans->value = discovery_resources(r->a, group, version);
	} else if (str_starts(path, S("/apis/"))) {
		ans->value = discovery_group(r->a, group);
	}
	return ans->value || err_set(err, ERR_NOT_FOUND, "the server could not find the requested resource");
}

static bool local_call(struct client_transport *ct, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list, struct err *err) {
	struct local_transport *t = (struct local_transport *)ct;
	auto_arena struct arena a = { 0 };
	struct answer ans = { 0 };
	struct req r;
	nsec_t begun = clock_mono();

	make_req(t, &a, call->gvr, call->ns, call->name, call->subresource, plural_verb(call->verb), &r);
	r.body_value = call->body;
	r.patch = call->patch;
	r.opts.label_selector = call->label_selector;
	r.opts.field_selector = call->field_selector;
	if (call->name.len == 0) { /* as in a URL: who selects one name asks for that one */
		r.info.authz_name = selector_exact_name(call->field_selector);
	}
	r.opts.resource_version = call->resource_version;
	r.opts.match = str_eq(call->resource_version_match, S("Exact")) ? RV_MATCH_EXACT
		: str_eq(call->resource_version_match, S("NotOlderThan"))   ? RV_MATCH_NOT_OLDER
									     : RV_MATCH_UNSET;
	r.opts.limit = call->limit;
	r.opts.continue_token = call->continue_token;
	r.opts.field_manager = call->field_manager;
	r.opts.dry_run = r.kx.dry_run = call->dry_run;
	r.opts.force = call->force;
	bool ok = call->verb == CLIENT_RAW ? discovery_raw(&r, call->raw_path, &ans, err) : allowed(&r, err) && local_do(&r, call, &ans, ret_list, err);
	metrics_request(&r, ok ? (ans.code ? ans.code : 200) : err_http(err->code), clock_mono() - begun);
	if (ok && ret_obj) {
		*ret_obj = ans.obj ? (r.res ? converted(&r, ans.obj) : obj_ref(ans.obj)) : ans.value ? obj_freeze(ans.value, 0) : NULL;
	}
	answer_release(&ans);
	return ok;
}

/* ---- watches ------------------------------------------------------------------------------------------- */

struct local_event {
	enum watch_event type;
	struct obj *obj; /* one reference */
};
#define EVENTS_A_MESSAGE 64
struct local_message {
	struct msg msg; /* first */
	struct local_watch *w; /* one reference */
	bool synced, ended;
	struct err err;
	size_t len;
	struct local_event at[EVENTS_A_MESSAGE];
};

struct local_watch {
	struct client_watch cw;  /* first */
	struct watch_sink sink;
	uint32_t refs; /* atomic: the holder's, the hub's, one a message under way */
	struct arena arena; /* the selection's texts */
	struct loop *loop;
	void (*on_event)(void *arg, enum watch_event type, struct obj *o, const struct err *err);
	void *arg;
	const struct schema_resource *res; /* as asked for */
	struct watcher *watcher;
	bool stopped;                      /* the holder's loop */
	struct local_message *pending;     /* the hub's loop */
};

static void local_watch_unref(struct local_watch *w) {
	if (__atomic_sub_fetch(&w->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		arena_release(&w->arena);
		free(w);
	}
}

static void on_message(struct msg *m) {
	struct local_message *lm = (struct local_message *)m;
	struct local_watch *w = lm->w;

	for (size_t i = 0; i < lm->len; i++) {
		if (!w->stopped) {
			w->on_event(w->arg, lm->at[i].type, lm->at[i].obj, NULL);
		}
		obj_unref(lm->at[i].obj);
	}
	if (lm->synced && !w->stopped) {
		w->on_event(w->arg, WATCH_SYNCED, NULL, NULL);
	}
	if (lm->ended && !w->stopped) {
		w->on_event(w->arg, WATCH_ENDED, NULL, &lm->err);
	}
	free(lm);
	local_watch_unref(w);
}

static void post(struct local_message *lm) {
	if (!loop_post(lm->w->loop, &lm->msg)) {
		for (size_t i = 0; i < lm->len; i++) {
			obj_unref(lm->at[i].obj);
		}
		local_watch_unref(lm->w);
		free(lm);
	}
}

static struct local_message *message_new(struct local_watch *w) {
	struct local_message *lm = xcalloc(1, sizeof(*lm));

	__atomic_add_fetch(&w->refs, 1, __ATOMIC_RELAXED);
	lm->w = w;
	lm->msg.run = on_message;
	return lm;
}

static struct obj *in_version(struct local_watch *w, struct obj *o) {
	auto_arena struct arena a = { 0 };
	const struct value *v = convert_to(&a, o->root, w->res);

	return v == o->root ? obj_ref(o) : obj_freeze(v, o->revision);
}

static void add_event(struct local_watch *w, struct local_message **lm, enum watch_event type, struct obj *o) {
	if (*lm && (*lm)->len == EVENTS_A_MESSAGE) {
		post(TAKE(*lm));
	}
	if (!*lm) {
		*lm = message_new(w);
	}
	(*lm)->at[(*lm)->len++] = (struct local_event){ type, in_version(w, o) };
}

static void sink_event(struct watch_sink *k, enum watch_event type, struct obj *o) {
	struct local_watch *w = container_of(k, struct local_watch, sink);

	add_event(w, &w->pending, type, o);
}

static void sink_flush(struct watch_sink *k) {
	struct local_watch *w = container_of(k, struct local_watch, sink);

	if (w->pending) {
		post(TAKE(w->pending));
	}
}

static void sink_ended(struct watch_sink *k, const struct err *err) {
	struct local_watch *w = container_of(k, struct local_watch, sink);

	if (err->code != ERR_NONE) {
		struct local_message *lm = message_new(w);
		lm->ended = true;
		lm->err = *err;
		post(lm);
	}
	local_watch_unref(w); /* the hub's */
}

static bool local_watch(struct client_transport *ct, const struct client_watch_opts *opts, struct client_watch **ret, struct err *err) {
	struct local_transport *t = (struct local_transport *)ct;
	struct local_watch *w = xcalloc(1, sizeof(*w));
	struct selection sel;
	struct req r;
	uint64_t position = 0;

	w->refs = 2; /* the holder's and the hub's */
	w->cw.transport = ct;
	w->loop = opts->loop;
	w->on_event = opts->on_event;
	w->arg = opts->arg;
	w->sink = (struct watch_sink){ .event = sink_event, .flush = sink_flush, .ended = sink_ended };
	make_req(t, &w->arena, opts->gvr, arena_str(&w->arena, opts->ns), S(""), S(""), S("watch"), &r);
	r.opts.label_selector = arena_str(&w->arena, opts->label_selector);
	r.opts.field_selector = arena_str(&w->arena, opts->field_selector);
	r.info.authz_name = selector_exact_name(r.opts.field_selector);
	bool ok = allowed(&r, err) && route_find(&r, err) && (r.st || fail_route(&r, err)) && selection_parse(&r, &sel, err);
	struct list_page p = { 0 };
	if (ok) {
		w->res = r.res;
		if (opts->initial_events) {
			ok = list_begin(&r, &p, err);
			position = p.snap.position;
		} else if (opts->from) {
			ok = cache_position(r.st->cache, opts->from, &position, err);
		} else {
			position = cache_head(r.st->cache);
		}
	}
	if (!ok) {
		w->refs = 1;
		local_watch_unref(w);
		return false;
	}
	if (opts->initial_events) {
		struct list_cursor c = { 0 };
		struct local_message *lm = NULL;
		for (struct obj *o; (o = list_next(&p, &c));) {
			add_event(w, &lm, WATCH_ADDED, o);
		}
		if (!lm) {
			lm = message_new(w);
		}
		lm->synced = true;
		post(lm);
		list_end(&p);
	}
	*ret = &w->cw;
	w->watcher = watch_attach(t->s->hub, r.st, &sel, position, &w->sink);
	return true;
}

static void local_watch_stop(struct client_watch *cw) {
	struct local_watch *w = (struct local_watch *)cw;

	w->stopped = true;
	watch_detach(TAKE(w->watcher));
	local_watch_unref(w);
}

static void local_free(struct client_transport *ct) {
	struct local_transport *t = (struct local_transport *)ct;

	arena_release(&t->arena);
	free(t);
}

struct client_transport *apiserver_transport(struct apiserver *s, const char *user, const char *const *groups) {
	struct local_transport *t = xcalloc(1, sizeof(*t));
	size_t n = 0;

	t->t = (struct client_transport){ .call = local_call, .watch = local_watch, .watch_stop = local_watch_stop, .free = local_free };
	t->s = s;
	while (groups && groups[n]) {
		n++;
	}
	struct str *all = arena_array(&t->arena, struct str, n + 1);
	for (size_t i = 0; i < n; i++) {
		all[i] = arena_str(&t->arena, str_c(groups[i]));
	}
	all[n] = GROUP_AUTHENTICATED;
	t->user = (struct user){ .name = arena_str(&t->arena, str_c(user)), .groups = all, .groups_len = n + 1 };
	return &t->t;
}
