/* SPDX-License-Identifier: Apache-2.0 */
/*
 * https.c - the transport over HTTPS: calls become requests, answers become frozen objects, Status
 * answers become errs, watch streams become events.
 *
 * Calls run on the caller's thread and block there; a watch runs on the loop it was given. Touches
 * only net's HTTP client. Reconnecting is the informer's job.
 */
#include "client/client.h"

#include "base/file.h"
#include "base/log.h"
#include "net/client.h"
#include "net/url.h"

#define BODY_BYTES_MAX ((size_t)256 << 20)
#define LINE_BYTES_MAX ((size_t)64 << 20)
#define FILE_BYTES_MAX ((size_t)4 << 20)
#define LIST_PAGE 5000
#define WATCH_SECONDS_MIN 300 /* a watch is asked to end after 5 to 10 minutes, as client-go's */

struct https {
	struct client_transport transport;
	struct http_client *http;
	char *token_file; /* NULL: none */
	struct str token; /* owned */
};

/* ---- requests ------------------------------------------------------------------------------------- */

static struct str segment(struct arena *a, struct str s) {
	return url_escape(a, s);
}

static struct str path_of(struct arena *a, struct gvr gvr, struct str ns, struct str name, struct str subresource) {
	struct str root = gvr.group.len ? arena_printf(a, "/apis/%.*s/%.*s", STR_ARG(gvr.group), STR_ARG(gvr.version))
					: arena_printf(a, "/api/%.*s", STR_ARG(gvr.version));
	struct str space = ns.len ? arena_printf(a, "/namespaces/%.*s", STR_ARG(segment(a, ns))) : S("");
	struct str leaf = name.len ? arena_printf(a, "/%.*s", STR_ARG(segment(a, name))) : S("");

	return arena_printf(a, "%.*s%.*s/%.*s%.*s%s%.*s", STR_ARG(root), STR_ARG(space), STR_ARG(gvr.resource), STR_ARG(leaf), subresource.len ? "/" : "",
		STR_ARG(subresource));
}

struct query {
	struct arena *arena;
	struct buf text;
};
static void query_add(struct query *q, const char *name, struct str value) {
	if (value.len) {
		buf_char(&q->text, q->text.len ? '&' : '?');
		buf_c(&q->text, name);
		buf_char(&q->text, '=');
		buf_str(&q->text, url_escape(q->arena, value));
	}
}
static void query_add_int(struct query *q, const char *name, int64_t value) {
	query_add(q, name, arena_printf(q->arena, "%lld", (long long)value));
}

static struct str query_of(struct arena *a, const struct client_call *call, struct str continue_token) {
	struct query q = { .arena = a };
	bool writes = call->verb == CLIENT_CREATE || call->verb == CLIENT_UPDATE || call->verb == CLIENT_PATCH;
	int64_t limit = call->limit ? call->limit : call->verb == CLIENT_LIST ? LIST_PAGE : 0;

	query_add(&q, "labelSelector", call->label_selector);
	query_add(&q, "fieldSelector", call->field_selector);
	if (!continue_token.len) {
		query_add(&q, "resourceVersion", call->resource_version);
		query_add(&q, "resourceVersionMatch", call->resource_version_match);
	}
	if (limit > 0) {
		query_add_int(&q, "limit", limit);
	}
	query_add(&q, "continue", continue_token);
	if (writes) {
		query_add(&q, "fieldManager", call->field_manager);
	}
	if (call->dry_run) {
		query_add(&q, "dryRun", S("All"));
	}
	if (call->verb == CLIENT_PATCH && (call->force || call->patch == PATCH_APPLY)) {
		query_add(&q, "force", call->force ? S("true") : S("false"));
	}
	struct str text = arena_str(a, buf_view(&q.text));
	buf_release(&q.text);
	return text;
}

/* DeleteOptions of a call that gives no body of its own; NULL when there is nothing to say. */
static const struct value *delete_options(struct arena *a, const struct client_call *call) {
	bool plain = !call->propagation.len && !call->has_grace && !call->precondition_uid.len && !call->precondition_rv.len && !call->dry_run;

	if (call->body || plain) {
		return call->body;
	}
	struct value *o = value_new_object(a);
	value_set_str(a, o, N_kind, S("DeleteOptions"));
	value_set_str(a, o, N_apiVersion, S("v1"));
	if (call->propagation.len) {
		value_set_str(a, o, N_propagationPolicy, call->propagation);
	}
	if (call->has_grace) {
		value_set_int(a, o, N_gracePeriodSeconds, call->grace_seconds);
	}
	if (call->precondition_uid.len || call->precondition_rv.len) {
		struct value *p = value_set(a, o, N_preconditions, value_new_object(a));
		if (call->precondition_uid.len) {
			value_set_str(a, p, N_uid, call->precondition_uid);
		}
		if (call->precondition_rv.len) {
			value_set_str(a, p, N_resourceVersion, call->precondition_rv);
		}
	}
	if (call->dry_run) {
		value_push_str(a, value_set(a, o, N_dryRun, value_new_array(a)), S("All"));
	}
	return o;
}

static struct str method_of(const struct client_call *call) {
	switch (call->verb) {
	case CLIENT_GET:
	case CLIENT_LIST:
	case CLIENT_RAW:
		return S("GET");
	case CLIENT_CREATE:
		return S("POST");
	case CLIENT_UPDATE:
		return S("PUT");
	case CLIENT_PATCH:
		return S("PATCH");
	case CLIENT_DELETE:
	case CLIENT_DELETE_COLLECTION:
		return S("DELETE");
	}
	return S("GET");
}

static struct str content_type_of(const struct client_call *call) {
	if (call->verb != CLIENT_PATCH) {
		return S("application/json");
	}
	switch (call->patch) {
	case PATCH_JSON:
		return S("application/json-patch+json");
	case PATCH_MERGE:
		return S("application/merge-patch+json");
	case PATCH_STRATEGIC:
		return S("application/strategic-merge-patch+json");
	case PATCH_APPLY:
		return S("application/apply-patch+yaml");
	}
	return S("application/json");
}

/* ---- answers ---------------------------------------------------------------------------------------- */

static int64_t revision_of(const struct value *meta) {
	int64_t revision = 0;

	return str_to_i64(value_str_at(meta, N_resourceVersion), &revision) ? revision : 0;
}

static struct obj *freeze(const struct value *root) {
	return obj_freeze(root, revision_of(value_get(root, N_metadata)));
}

/* A Status as an err; `http` decides when it names no reason we know. */
static bool status_fail(const struct value *status, int http, struct err *err) {
	struct str message = value_str_at(status, N_message);

	http = http ? http : (int)value_int_at(status, N_code);
	return err_set(err, err_from_reason(value_str_at(status, N_reason), http), "%.*s", (int)MIN(message.len, (size_t)600), message.ptr ? message.ptr : "");
}

static bool answer_fail(int http, struct str body, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *v = NULL;
	struct err ignored = { 0 };

	if (json_parse(&a, body, NULL, &v, &ignored) && str_eqc(value_str_at(v, N_kind), "Status")) {
		return status_fail(v, http, err);
	}
	struct str text = str_trim(str_sub(body, 0, 300));
	return err_set(err, err_from_reason(S(""), http), "the server answered %d %s%s%.*s", http, http_status_text(http), text.len ? ": " : "", STR_ARG(text));
}

/* Items of a list carry no kind of their own on the wire: gives each the list's without "List". */
static void list_take(struct arena *a, const struct value *root, struct client_list *ret) {
	struct str kind = value_str_at(root, N_kind);
	struct value *items = value_get(root, N_items);
	size_t n = value_len(items);

	kind = str_ends(kind, S("List")) ? str_sub(kind, 0, kind.len - 4) : S("");
	ret->at = xrealloc(ret->at, (ret->len + n) * sizeof(*ret->at) + 1);
	VALUE_EACH(items, it) {
		struct value *typed = it;
		if (kind.len && !value_get(it, N_kind)) {
			typed = value_new_object(a);
			value_set_str(a, typed, N_kind, kind);
			value_set(a, typed, N_apiVersion, value_get(root, N_apiVersion));
			for (size_t m = 0; m < value_len(it); m++) {
				value_set_key(a, typed, value_key(it, m), value_item(it, m));
			}
		}
		ret->at[ret->len++] = freeze(typed);
	}
	ret->revision = revision_of(value_get(root, N_metadata));
}

static bool request(struct https *t, const struct client_call *call, struct arena *a, struct str continue_token, struct value **ret, struct err *err) {
	bool collection = call->verb == CLIENT_LIST || call->verb == CLIENT_DELETE_COLLECTION || call->verb == CLIENT_CREATE;
	bool deletes = call->verb == CLIENT_DELETE || call->verb == CLIENT_DELETE_COLLECTION;
	const struct value *body = deletes ? delete_options(a, call) : call->body;
	/* a create names its object only when it makes a subresource of it (binding, eviction, token) */
	struct str name = collection && !call->subresource.len ? S("") : call->name;
	struct str path = call->verb == CLIENT_RAW ? call->raw_path : path_of(a, call->gvr, call->ns, name, call->subresource);
	struct str query = call->verb == CLIENT_RAW ? S("") : query_of(a, call, continue_token);
	struct http_header accept = { S("Accept"), S("application/json") };
	struct http_request r = {
		.method = method_of(call),
		.url = arena_printf(a, "%.*s%.*s", STR_ARG(path), STR_ARG(query)),
		.headers = &accept,
		.headers_len = 1,
		.body_max = BODY_BYTES_MAX,
	};
	struct http_response answer = { 0 };

	if (body) {
		r.body = json_text(a, body);
		r.content_type = content_type_of(call);
	}
	if (!http_do(t->http, &r, &answer, err)) {
		return false;
	}
	bool ok = answer.status >= 200 && answer.status < 300;
	if (!ok) {
		(void)answer_fail(answer.status, answer.body, err);
	} else if (!json_parse(a, answer.body, NULL, ret, err)) {
		/* RAW also serves plain texts such as /version's neighbours /healthz */
		ok = call->verb == CLIENT_RAW;
		if (ok) {
			err_clear(err);
			*ret = value_new_str(a, answer.body);
		} else {
			err_wrap(err, "answer to %.*s %.*s", STR_ARG(r.method), STR_ARG(path));
		}
	}
	http_response_release(&answer);
	return ok;
}

static bool https_list(struct https *t, const struct client_call *call, struct client_list *ret, struct err *err) {
	struct client_list all = { 0 };
	struct str next = call->continue_token;
	bool ok = true;

	do {
		auto_arena struct arena a = { 0 };
		struct value *v = NULL;
		ok = request(t, call, &a, next, &v, err);
		free((char *)all.continue_token.ptr);
		all.continue_token = (struct str){ 0 };
		if (ok) {
			list_take(&a, v, &all);
			struct str token = value_str_at(v, N_metadata, N_continue);
			if (token.len) {
				all.continue_token = (struct str){ str_dup(token), token.len };
			}
		}
		next = all.continue_token;
	} while (ok && next.len && call->limit == 0); /* who gave a limit turns the pages himself */
	if (!ok) {
		client_list_release(&all);
		return false;
	}
	*ret = all;
	return true;
}

static bool https_call(struct client_transport *transport, const struct client_call *call, struct obj **ret_obj, struct client_list *ret_list,
	struct err *err) {
	struct https *t = container_of(transport, struct https, transport);
	auto_arena struct arena a = { 0 };
	struct value *v = NULL;

	if (call->verb == CLIENT_LIST) {
		return https_list(t, call, ret_list, err);
	}
	if (!request(t, call, &a, call->continue_token, &v, err)) {
		return false;
	}
	if (ret_obj) {
		*ret_obj = freeze(v);
	}
	return true;
}

/* ---- watch -------------------------------------------------------------------------------------------- */

struct https_watch {
	struct client_watch watch; /* first */
	struct client_watch_opts opts;
	struct http_watch *http;
	struct buf line;   /* an event whose end has not come yet, or an error's body */
	struct arena arena; /* of one event */
	int status;        /* of the answer's head; 0 before it */
	bool busy;         /* inside a callback of net: freeing waits */
	bool stopped, ended;
};

static void watch_free(struct https_watch *w) {
	http_watch_cancel(w->http);
	buf_release(&w->line);
	arena_release(&w->arena);
	free(w);
}

static void emit(struct https_watch *w, enum watch_event type, struct obj *o, const struct err *err) {
	if (w->stopped || w->ended) {
		return;
	}
	w->ended = type == WATCH_ENDED;
	w->opts.on_event(w->opts.arg, type, o, err);
}

static void end(struct https_watch *w, const struct err *err) {
	emit(w, WATCH_ENDED, NULL, err);
}

static void event_take(struct https_watch *w, struct str line) {
	static const struct {
		struct str text;
		enum watch_event type;
	} types[] = {
		{ S_INIT("ADDED"), WATCH_ADDED },
		{ S_INIT("MODIFIED"), WATCH_MODIFIED },
		{ S_INIT("DELETED"), WATCH_DELETED },
		{ S_INIT("BOOKMARK"), WATCH_BOOKMARK },
	};
	struct json_opts borrow = { .borrow = true };
	struct value *v = NULL;
	struct err err = { 0 };

	arena_clear(&w->arena);
	if (!json_parse(&w->arena, line, &borrow, &v, &err)) {
		err_wrap(&err, "watch of %.*s", STR_ARG(w->opts.gvr.resource));
		end(w, &err);
		return;
	}
	struct str type = value_str_at(v, N_type);
	const struct value *object = value_get(v, N_object);
	if (str_eqc(type, "ERROR")) {
		(void)status_fail(object, 0, &err);
		end(w, &err);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (str_eq(types[i].text, type)) {
			auto_obj struct obj *o = freeze(object);
			const struct value *annotations = value_at(object, N_metadata, N_annotations);
			emit(w, types[i].type, o, NULL);
			if (types[i].type == WATCH_BOOKMARK && w->opts.initial_events &&
				str_eqc(value_as_str(value_get_str(annotations, S("k8s.io/initial-events-end"))), "true")) {
				emit(w, WATCH_SYNCED, NULL, NULL);
			}
			return;
		}
	}
}

static void on_headers(void *arg, int status, struct http_headers headers) {
	struct https_watch *w = arg;

	w->status = status;
}

static void on_data(void *arg, struct str bytes) {
	struct https_watch *w = arg;
	struct err err = { 0 };

	w->busy = true;
	if (w->status >= 200 && w->status < 300) {
		ptrdiff_t nl;
		while (!w->stopped && !w->ended && (nl = str_index(bytes, '\n')) >= 0) {
			struct str line = str_sub(bytes, 0, (size_t)nl);
			bytes = str_from(bytes, (size_t)nl + 1);
			if (w->line.len) {
				buf_str(&w->line, line);
				line = buf_view(&w->line);
			}
			if (!w->line.overflow && str_trim(line).len) {
				event_take(w, line);
			}
			if (!w->line.overflow) {
				buf_clear(&w->line);
			}
		}
	}
	if (!w->stopped && !w->ended && !buf_str(&w->line, bytes)) {
		(void)err_set(&err, ERR_TOO_LARGE, "watch of %.*s: an event is larger than %zu bytes", STR_ARG(w->opts.gvr.resource), LINE_BYTES_MAX);
		end(w, &err);
	}
	w->busy = false;
	if (w->stopped) {
		watch_free(w);
	}
}

static void on_end(void *arg, const struct err *err) {
	struct https_watch *w = arg;
	struct err status = { 0 };

	w->busy = true;
	if (err->code == ERR_NONE && w->status != 0 && (w->status < 200 || w->status >= 300)) {
		(void)answer_fail(w->status, buf_view(&w->line), &status);
		err = &status;
	}
	end(w, err);
	w->busy = false;
	if (w->stopped) {
		watch_free(w);
	}
}

static struct str watch_query(struct arena *a, const struct client_watch_opts *opts) {
	struct query q = { .arena = a };

	query_add(&q, "watch", S("true"));
	query_add(&q, "allowWatchBookmarks", S("true"));
	query_add(&q, "labelSelector", opts->label_selector);
	query_add(&q, "fieldSelector", opts->field_selector);
	if (opts->initial_events) {
		query_add(&q, "sendInitialEvents", S("true"));
		query_add(&q, "resourceVersionMatch", S("NotOlderThan"));
	}
	if (opts->from > 0) {
		query_add_int(&q, "resourceVersion", opts->from);
	}
	query_add_int(&q, "timeoutSeconds", WATCH_SECONDS_MIN + (int64_t)(rand_u64() % WATCH_SECONDS_MIN));
	struct str text = arena_str(a, buf_view(&q.text));
	buf_release(&q.text);
	return text;
}

static bool https_watch_start(struct client_transport *transport, const struct client_watch_opts *opts, struct client_watch **ret, struct err *err) {
	static const struct http_watch_handler handler = { .on_headers = on_headers, .on_data = on_data, .on_end = on_end };
	struct https *t = container_of(transport, struct https, transport);
	auto_arena struct arena a = { 0 };
	struct str path = path_of(&a, opts->gvr, opts->ns, S(""), S(""));
	struct http_header accept = { S("Accept"), S("application/json") };
	struct http_request r = {
		.method = S("GET"),
		.url = arena_printf(&a, "%.*s%.*s", STR_ARG(path), STR_ARG(watch_query(&a, opts))),
		.headers = &accept,
		.headers_len = 1,
	};
	struct https_watch *w = xcalloc(1, sizeof(*w));

	w->watch.transport = transport;
	w->opts = *opts;
	w->opts.ns = w->opts.label_selector = w->opts.field_selector = (struct str){ 0 }; /* borrowed for this call only */
	w->line.max = LINE_BYTES_MAX;
	*ret = &w->watch; /* before a callback on another thread can come */
	w->http = http_watch_start(t->http, opts->loop, &r, &handler, w);
	return true;
}

static void https_watch_stop(struct client_watch *watch) {
	struct https_watch *w = container_of(watch, struct https_watch, watch);

	w->stopped = true;
	if (!w->busy) {
		watch_free(w);
	}
}

/* ---- making one ------------------------------------------------------------------------------------------ */

/* Asked before each request, so that a rotated token is used at once: a projected token's file is small and in memory. */
static struct str token_now(void *arg, struct arena *a) {
	struct https *t = arg;
	auto_buf struct buf b = BUF_INIT(FILE_BYTES_MAX);
	struct err err = { 0 };

	if (!t->token_file) {
		return t->token;
	}
	if (!file_read(t->token_file, &b, &err)) {
		log_warn("client", "token file cannot be read", kv_err(&err));
		return t->token;
	}
	return arena_str(a, str_trim(buf_view(&b)));
}

static void https_free(struct client_transport *transport) {
	struct https *t = container_of(transport, struct https, transport);

	http_client_free(t->http);
	free(t->token_file);
	free((char *)t->token.ptr);
	free(t);
}

/* PEM given as text, or read from a file. */
static bool pem_take(struct arena *a, struct str pem, const char *file, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(FILE_BYTES_MAX);

	if (pem.len || !file) {
		*ret = pem;
		return true;
	}
	if (!file_read(file, &b, err)) {
		return false;
	}
	*ret = arena_str(a, buf_view(&b));
	return true;
}

bool client_new_https(const struct client_https_opts *opts, struct client **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct http_client_opts http = {
		.base = str_c(opts->server),
		.tls.insecure = opts->insecure,
		.user_agent = opts->user_agent ? str_c(opts->user_agent) : S("coracle"),
	};

	if (!opts->server || !*opts->server) {
		return err_set(err, ERR_BAD_REQUEST, "no server address given");
	}
	if (!pem_take(&a, opts->ca_pem, opts->ca_file, &http.tls.ca_pem, err) || !pem_take(&a, opts->cert_pem, opts->cert_file, &http.tls.cert_pem, err) ||
		!pem_take(&a, opts->key_pem, opts->key_file, &http.tls.key_pem, err)) {
		return err_wrap(err, "client of %s", opts->server);
	}
	struct https *t = xcalloc(1, sizeof(*t));
	t->transport = (struct client_transport){
		.call = https_call,
		.watch = https_watch_start,
		.watch_stop = https_watch_stop,
		.free = https_free,
	};
	t->token_file = opts->token_file ? xstrdup(opts->token_file) : NULL;
	t->token = (struct str){ str_dup(opts->token), opts->token.len };
	if (t->token_file) {
		http.token = token_now;
		http.token_arg = t;
	} else {
		http.bearer_token = t->token;
	}
	if (!http_client_new(&http, &t->http, err)) {
		free(t->token_file);
		free((char *)t->token.ptr);
		free(t);
		return false;
	}
	*ret = client_new(&t->transport);
	return true;
}
