/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openapi.c - /openapi/v2 and /openapi/v3: documents are made when first asked for, kept as bytes, and answered with an
 * ETag. Addresses with the right hash never change, so clients may keep them.
 */
#include "apiserver/server.h"

#include "base/map.h"

struct document {
	struct net_bytes *bytes;
	char etag[SHA256_HEX + 2];
};
struct openapi_cache {
	pthread_mutex_t lock; /* guards the map */
	struct map documents; /* "v3/apis/apps/v1" -> struct document * */
};

struct openapi_cache *openapi_cache_new(void) {
	struct openapi_cache *o = xcalloc(1, sizeof(*o));

	pthread_mutex_init(&o->lock, NULL);
	return o;
}

void openapi_cache_free(struct openapi_cache *o) {
	if (!o) {
		return;
	}
	MAP_EACH(&o->documents, e) {
		struct document *d = e->value;
		net_bytes_unref(d->bytes);
		free(d);
	}
	map_release(&o->documents);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static struct document *keep(struct openapi_cache *o, struct str key, struct str bytes) {
	struct document *d = xcalloc(1, sizeof(*d));
	char hex[SHA256_HEX];

	sha256_hex(bytes, hex);
	snprintf(d->etag, sizeof(d->etag), "\"%.64s\"", hex);
	d->bytes = net_bytes_new(bytes);
	map_set(&o->documents, key, d);
	return d;
}

/* Makes the document that `key` names; false when there is none. */
static bool make(struct arena *a, struct str key, struct buf *b) {
	struct value *v;

	if (str_eq(key, S("v2"))) {
		return json_print(b, openapi_v2(a));
	}
	if (str_eq(key, S("v2/protobuf"))) {
		return openapi_v2_protobuf(b, openapi_v2(a));
	}
	if (str_eq(key, S("v3"))) {
		return json_print(b, openapi_v3_index(a));
	}
	v = str_starts(key, S("v3/")) ? openapi_v3_at(a, str_from(key, 3)) : NULL;
	return v && json_print(b, v);
}

static struct document *document(struct openapi_cache *o, struct str key) {
	pthread_mutex_lock(&o->lock);
	struct document *d = map_get(&o->documents, key);
	if (!d) {
		auto_arena struct arena a = { 0 };
		auto_buf struct buf b = BUF_INIT((size_t)128 << 20);
		if (make(&a, key, &b)) {
			d = keep(o, key, buf_view(&b));
		}
	}
	pthread_mutex_unlock(&o->lock);
	return d;
}

bool serve_openapi(struct req *r, struct answer *ret, struct err *err) {
	struct str key = str_from(r->info.path, sizeof("/openapi/") - 1), hash, type = S("application/json");
	struct str accept = http_request_header(r->x, S("Accept"));

	while (key.len && key.ptr[key.len - 1] == '/') {
		key.len--;
	}
	ret->answered = true;
	if (str_eq(key, S("v2")) && str_contains(accept, S("com.github.proto-openapi.spec.v2@v1.0+protobuf"))) {
		key = S("v2/protobuf");
		type = S("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
	}
	struct document *d = document(r->s->openapi, key);
	if (!d) {
		http_reply(r->x, 404, S("text/plain; charset=utf-8"), S("404 page not found\n"));
		return true;
	}
	if (url_query_get(r->a, r->x->query, S("hash"), &hash)) {
		http_header_set(r->x, S("Cache-Control"), S("public, immutable"));
		http_header_set(r->x, S("Expires"), S("Fri, 01 Jan 2100 00:00:00 GMT"));
	}
	http_header_set(r->x, S("ETag"), str_c(d->etag));
	http_header_set(r->x, S("Vary"), S("Accept-Encoding, Accept"));
	if (str_eq(http_request_header(r->x, S("If-None-Match")), str_c(d->etag))) {
		http_reply(r->x, 304, S(""), S(""));
		return true;
	}
	if (http_accepts_gzip(r->x)) {
		http_reply_maybe_gzip(r->x, 200, type, d->bytes->slices[0]);
	} else {
		http_reply_bytes(r->x, 200, type, d->bytes);
	}
	return true;
}
