/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.c - lists: the resourceVersion rules, pages out of one snapshot, and printing straight from the frozen objects in bounded memory.
 *
 * A continue token holds the revision of the first page and the last key given, as upstream's; the snapshot is found again
 * in the cache by its revision as long as the ring leads back there.
 */
#include "apiserver/server.h"
#include "apiserver/wire.h"

#define CHUNK ((size_t)128 << 10)     /* bytes printed before they are sent */
#define ANSWER_MAX ((size_t)1 << 30)

#define EXPIRED_CONTINUE \
	"The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use " \
	"the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent " \
	"list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."

static struct str token_make(struct arena *a, int64_t revision, struct str start) {
	struct value *v = value_new_object(a);

	value_set_key_str(a, v, S("v"), S("meta.k8s.io/v1"));
	value_set_key(a, v, S("rv"), value_new_int(a, revision));
	value_set_key_str(a, v, S("start"), start);
	return base64url_encode(a, json_text(a, v));
}

static bool token_read(struct req *r, struct str token, int64_t *ret_revision, struct str *ret_start, struct err *err) {
	struct str text;
	struct value *v = NULL;
	struct err why = { 0 };

	if (!base64url_decode(r->a, token, &text)) {
		return err_set(err, ERR_BAD_REQUEST, "continue key is not valid: illegal base64 data at input byte 0");
	}
	if (!json_parse(r->a, text, NULL, &v, &why)) {
		return err_set(err, ERR_BAD_REQUEST, "continue key is not valid: %s", why.msg);
	}
	if (!str_eq(value_as_str(value_get_str(v, S("v"))), S("meta.k8s.io/v1"))) {
		return err_set(err, ERR_BAD_REQUEST, "continue key is not valid: server does not recognize this encoded version");
	}
	*ret_revision = value_as_int(value_get_str(v, S("rv")));
	*ret_start = value_as_str(value_get_str(v, S("start")));
	if (*ret_revision == 0) {
		return err_set(err, ERR_BAD_REQUEST, "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
	}
	if (ret_start->len == 0) {
		return err_set(err, ERR_BAD_REQUEST, "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)");
	}
	return true;
}

static bool take_snapshot(struct req *r, struct list_page *p, struct err *err) {
	const struct request_opts *o = &r->opts;
	struct str start;
	int64_t rv = 0;

	if (o->continue_token.len) {
		if (o->resource_version.len && !str_eq(o->resource_version, S("0"))) {
			return err_set(err, ERR_BAD_REQUEST, "specifying resource version is not allowed when using continue");
		}
		if (!token_read(r, o->continue_token, &rv, &start, err)) {
			return false;
		}
		p->from = start;
		if (rv < 0) { /* the rest of an expired list: what is there now, consistent from here on */
			cache_snapshot(r->st->cache, &p->snap);
			return true;
		}
		if (rv > cacher_revision(r->s->cacher)) {
			return fail_rv_too_large(r, rv, err);
		}
		if (!cache_snapshot_at(r->st->cache, rv, &p->snap, err)) {
			r->message = S(EXPIRED_CONTINUE);
			if (!r->details) {
				r->details = value_new_object(r->a);
			}
			r->fresh_continue = token_make(r->a, -1, start);
			return false;
		}
		return true;
	}
	if (!resource_version_parse(r, S("ListOptions"), &rv, err)) {
		return false;
	}
	if (rv > 0 && !cacher_wait(r->s->cacher, rv, 3 * NSEC_PER_SEC)) {
		return fail_rv_too_large(r, rv, err);
	}
	/* With a limit and no match rule a resourceVersion means exactly that one. */
	if (o->match == RV_MATCH_EXACT || (rv > 0 && o->limit > 0 && o->match == RV_MATCH_UNSET)) {
		return cache_snapshot_at(r->st->cache, rv, &p->snap, err);
	}
	cache_snapshot(r->st->cache, &p->snap);
	return true;
}

bool list_begin(struct req *r, struct list_page *ret, struct err *err) {
	struct list_page p = { .limit = MAX(r->opts.limit, (int64_t)0) };

	if (!selection_parse(r, &p.sel, err)) {
		return false;
	}
	struct str ns = r->info.ns, from = S("");
	p.to = S("");
	if (r->st->namespaced && ns.len) {
		from = arena_printf(r->a, "%.*s/", STR_ARG(ns));
		p.to = arena_printf(r->a, "%.*s0", STR_ARG(ns)); /* '0' follows '/' */
	}
	if (p.sel.name.len && (!r->st->namespaced || ns.len)) {
		from = arena_printf(r->a, "%.*s%.*s", STR_ARG(from), STR_ARG(p.sel.name));
		p.to = arena_printf(r->a, "%.*s%c", STR_ARG(from), '\0');
	}
	if (!take_snapshot(r, &p, err)) {
		return false;
	}
	if (p.from.len == 0 || str_cmp(p.from, from) < 0) {
		p.from = from;
	}
	*ret = p;
	return true;
}

void list_end(struct list_page *p) {
	snapshot_release(&p->snap);
}

struct obj *list_next(struct list_page *p, struct list_cursor *c) {
	if (c->given == 0 && !c->last_key.ptr) {
		tree_seek(&c->it, p->snap.root, p->from);
		c->last_key = S("");
	}
	for (struct tree_item *i; (i = tree_next(&c->it));) {
		if (p->to.len && str_cmp(tree_key(i), p->to) >= 0) {
			break;
		}
		if (!selection_is_all(&p->sel) && !selection_matches(&p->sel, i->obj->root)) {
			continue;
		}
		if (p->limit && c->given == p->limit) {
			c->more = true;
			return NULL;
		}
		c->given++;
		c->last_key = tree_key(i);
		return i->obj;
	}
	return NULL;
}

struct str list_continue(struct req *r, const struct list_page *p, const struct list_cursor *c, int64_t *ret_remaining) {
	*ret_remaining = -1;
	if (!c->more) {
		return S("");
	}
	struct str next = arena_printf(r->a, "%.*s%c", STR_ARG(c->last_key), '\0');
	if (selection_is_all(&p->sel)) {
		size_t end = p->to.len ? tree_rank(p->snap.root, p->to) : tree_len(p->snap.root);
		*ret_remaining = (int64_t)(end - tree_rank(p->snap.root, next));
	}
	return token_make(r->a, p->snap.revision, next);
}

/* ---- printing ------------------------------------------------------------------------------------ */

struct printer {
	struct req *r;
	struct buf out;
	bool started, gone;
};

static void flush_some(struct printer *p, bool last) {
	if (p->out.len < CHUNK && !last) {
		return;
	}
	if (!p->started) {
		reply_warnings(p->r);
		if (last) {
			http_reply_maybe_gzip(p->r->x, 200, media_type(&p->r->accept, false), buf_view(&p->out));
			return;
		}
		struct http_reply_opts opts = { .gzip = http_accepts_gzip(p->r->x) };
		http_reply_start(p->r->x, 200, media_type(&p->r->accept, false), &opts);
		p->started = true;
	}
	if (!p->gone && p->out.len) {
		p->gone = !http_reply_write(p->r->x, buf_view(&p->out));
	}
	buf_clear(&p->out);
	if (last && p->gone) {
		http_reply_abort(p->r->x);
	} else if (last) {
		http_reply_end(p->r->x);
	}
}

/* ListMeta as JSON. */
static void print_meta(struct buf *b, const struct list_page *p, struct str next, int64_t remaining) {
	buf_printf(b, "\"metadata\":{\"resourceVersion\":\"%lld\"", (long long)p->snap.revision);
	if (next.len) {
		buf_printf(b, ",\"continue\":\"%.*s\"", STR_ARG(next));
	}
	if (remaining >= 0) {
		buf_printf(b, ",\"remainingItemCount\":%lld", (long long)remaining);
	}
	buf_char(b, '}');
}

typedef VEC(struct obj *) obj_vec;

static void print_json(struct req *r, const struct list_page *p, const obj_vec *objs, struct str next, int64_t remaining) {
	struct printer pr = { .r = r, .out = BUF_INIT(ANSWER_MAX) };
	struct str kind = schema_type_short(schema_resource_list(r->res)), api_version = schema_resource_api_version(r->a, r->res);
	auto_arena struct arena tmp = { 0 };
	struct str version = r->accept.as_version;
	bool table = r->accept.as == AS_TABLE, partial = r->accept.as == AS_PARTIAL_LIST;
	int64_t now = clock_wall() / NSEC_PER_SEC;

	if (table) {
		kind = S("Table");
	} else if (partial) {
		kind = S("PartialObjectMetadataList");
	}
	if (table || partial) {
		api_version = str_eq(version, S("v1")) ? S("meta.k8s.io/v1") : S("meta.k8s.io/v1beta1");
	}
	buf_printf(&pr.out, "{\"kind\":\"%.*s\",\"apiVersion\":\"%.*s\",", STR_ARG(kind), STR_ARG(api_version));
	print_meta(&pr.out, p, next, remaining);
	if (table) {
		buf_c(&pr.out, ",\"columnDefinitions\":");
		json_print(&pr.out, table_columns(r->a, r->res));
		buf_c(&pr.out, ",\"rows\":[");
	} else {
		buf_c(&pr.out, ",\"items\":[");
	}
	for (size_t i = 0; i < objs->len && !pr.gone; i++) {
		const struct value *v = convert_to(&tmp, objs->at[i]->root, r->res);
		if (i) {
			buf_char(&pr.out, ',');
		}
		if (table) {
			json_print(&pr.out, table_row(&tmp, r->res, v, table_include_of(r->opts.include_object), now));
		} else if (partial) {
			json_print(&pr.out, schema_meta_only(&tmp, v));
		} else {
			json_print_item(&pr.out, v);
		}
		arena_clear(&tmp);
		flush_some(&pr, false);
	}
	buf_c(&pr.out, "]}\n");
	flush_some(&pr, true);
	buf_release(&pr.out);
}

/* ---- protobuf: the length of the whole comes first, so everything is encoded twice instead of being kept ---- */

/* One item as the list's field 2, or only its length when `out` is NULL. */
static size_t put_item(struct req *r, struct arena *tmp, struct buf *scratch, const struct obj *o, bool partial, struct buf *out) {
	const struct value *v = convert_to(tmp, o->root, r->res);
	const struct schema_type *t = schema_resource_type(r->res);

	if (partial) {
		v = schema_meta_only(tmp, v);
		t = schema_kind_of(v);
	}
	buf_clear(scratch);
	pb_encode(scratch, t, v);
	if (out) {
		wire_field(out, 0x12, buf_view(scratch));
	}
	arena_clear(tmp);
	return wire_field_len(scratch->len);
}

static void print_protobuf(struct req *r, const struct list_page *p, const obj_vec *objs, struct str next, int64_t remaining) {
	struct printer pr = { .r = r, .out = BUF_INIT(ANSWER_MAX) };
	auto_arena struct arena tmp = { 0 };
	auto_buf struct buf scratch = BUF_INIT(0), head = BUF_INIT(0), meta = BUF_INIT(0);
	bool partial = r->accept.as == AS_PARTIAL_LIST;
	const struct schema_type *list_meta = schema_type_find(S("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"));
	struct value *m = value_new_object(r->a), *canonical_meta = NULL;
	struct err err = { 0 };
	size_t len;

	value_set_str(r->a, m, N_resourceVersion, arena_printf(r->a, "%lld", (long long)p->snap.revision));
	if (next.len) {
		value_set_str(r->a, m, N_continue, next);
	}
	if (remaining >= 0) {
		value_set_int(r->a, m, N_remainingItemCount, remaining);
	}
	pb_encode(&meta, list_meta, schema_decode(r->a, list_meta, m, NULL, &canonical_meta, &err) ? canonical_meta : m);
	len = wire_field_len(meta.len);
	for (size_t i = 0; i < objs->len; i++) {
		len += put_item(r, &tmp, &scratch, objs->at[i], partial, NULL);
	}
	wire_field(&head, 0x0a, partial ? S("meta.k8s.io/v1") : schema_resource_api_version(r->a, r->res));
	wire_field(&head, 0x12, partial ? S("PartialObjectMetadataList") : schema_type_short(schema_resource_list(r->res)));
	buf_add(&pr.out, "k8s\0", 4);
	wire_field(&pr.out, 0x0a, buf_view(&head));
	buf_char(&pr.out, 0x12);
	wire_varint(&pr.out, len);
	wire_field(&pr.out, 0x0a, buf_view(&meta));
	for (size_t i = 0; i < objs->len && !pr.gone; i++) {
		put_item(r, &tmp, &scratch, objs->at[i], partial, &pr.out);
		flush_some(&pr, false);
	}
	wire_field(&pr.out, 0x1a, S(""));
	wire_field(&pr.out, 0x22, S(""));
	flush_some(&pr, true);
	buf_release(&pr.out);
}

/* As one value, for the forms that are not printed piece by piece. Shares the objects' members. */
static struct value *list_value(struct req *r, const struct list_page *p, const obj_vec *objs, struct str next, int64_t remaining) {
	struct value *list = value_new_object(r->a), *items = value_new_array(r->a);
	bool partial = r->accept.as == AS_PARTIAL_LIST;

	value_set_str(r->a, list, N_kind, partial ? S("PartialObjectMetadataList") : schema_type_short(schema_resource_list(r->res)));
	value_set_str(r->a, list, N_apiVersion, partial ? S("meta.k8s.io/v1") : schema_resource_api_version(r->a, r->res));
	struct value *meta = value_ensure_object(r->a, list, N_metadata);
	value_set_str(r->a, meta, N_resourceVersion, arena_printf(r->a, "%lld", (long long)p->snap.revision));
	if (next.len) {
		value_set_str(r->a, meta, N_continue, next);
	}
	if (remaining >= 0) {
		value_set_int(r->a, meta, N_remainingItemCount, remaining);
	}
	for (size_t i = 0; i < objs->len; i++) {
		const struct value *v = convert_to(r->a, objs->at[i]->root, r->res);
		if (partial) {
			value_push(r->a, items, schema_meta_only(r->a, v));
			continue;
		}
		struct value *item = value_new_object(r->a);
		VALUE_EACH(v, m) {
			if (m->name != N_kind && m->name != N_apiVersion) {
				value_set_key(r->a, item, value_key(v, (size_t)(m - value_item(v, 0))), m);
			}
		}
		value_push(r->a, items, item);
	}
	value_set(r->a, list, N_items, items);
	return list;
}

bool list_http(struct req *r, struct answer *ret, struct err *err) {
	struct list_page p = { 0 };
	struct list_cursor c = { 0 };
	obj_vec objs = { 0 };
	int64_t remaining;

	if (!list_begin(r, &p, err)) {
		return false;
	}
	for (struct obj *o; (o = list_next(&p, &c));) {
		VEC_PUSH(&objs, o);
	}
	struct str next = list_continue(r, &p, &c, &remaining);
	if (r->accept.format == MEDIA_JSON && !r->accept.pretty) {
		print_json(r, &p, &objs, next, remaining);
	} else if (r->accept.format == MEDIA_PROTOBUF && r->accept.as != AS_TABLE) {
		print_protobuf(r, &p, &objs, next, remaining);
	} else {
		struct value *list = list_value(r, &p, &objs, next, remaining);
		reply_value(r, 200, r->res, list);
	}
	ret->answered = true;
	VEC_RELEASE(&objs);
	list_end(&p);
	return true;
}
