/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_pull.c - images from registries. Pool threads.
 *
 * A blob is first downloaded to a file, checked against its digest and size, then unpacked: nothing that was not
 * announced reaches the unpacker. Up to three layers come side by side. Pulls of one reference with the same
 * credentials at the same time are one pull, whose outcome all get.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "net/digest.h"
#include "runtime/registry.h"

enum { PULL_LAYERS_AT_ONCE = 3, PULL_INDEX_DEPTH = 3 };
#define PULL_BLOB_TIMEOUT (30 * 60 * NSEC_PER_SEC)

static const char accept_manifests[] =
	"application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
	"application/vnd.docker.distribution.manifest.list.v2+json";

/* ---- blobs ------------------------------------------------------------------------------------- */

struct download {
	int fd;
	struct sha256_stream *sha;
	int64_t size, done; /* size -1: not known */
	bool failed;        /* the disk */
	int sys;
	const struct image_progress *progress;
};

static bool on_piece(void *arg, struct str bytes) {
	struct download *d = arg;
	if (d->size >= 0 && (int64_t)bytes.len > d->size - d->done) {
		return false;
	}
	sha256_stream_add(d->sha, bytes);
	d->done += (int64_t)bytes.len;
	while (bytes.len) {
		ssize_t n = write(d->fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			d->failed = true;
			d->sys = errno;
			return false;
		}
		bytes = str_from(bytes, (size_t)n);
	}
	if (d->progress && d->progress->step) {
		d->progress->step(d->progress->arg, "download", (uint64_t)d->done, d->size < 0 ? 0 : (uint64_t)d->size);
	}
	return true;
}

static bool blob_try(struct registry *r, struct str digest, int64_t size, int fd, const struct image_progress *progress, bool *ret_again, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct download d = { .fd = fd, .sha = sha256_stream_new(), .size = size, .progress = progress };
	struct http_response answer = { 0 };
	struct http_request rq = { .on_body = on_piece, .arg = &d, .timeout = PULL_BLOB_TIMEOUT, .redirects = 5, .body_max = 1 << 20 };
	char hex[SHA256_HEX];

	*ret_again = false;
	bool ok = registry_do(r, arena_printf(&a, "blobs/%.*s", STR_ARG(digest)), &rq, &answer, err);
	sha256_stream_hex(d.sha, hex);
	sha256_stream_free(d.sha);
	if (d.failed) {
		errno = d.sys;
		ok = err_sys(err, "write a layer");
	} else if (!ok) {
		bool longer = err->code == ERR_CANCELLED;
		*ret_again = !longer;
		if (longer) {
			err_set(err, ERR_INVALID, "blob %.*s is longer than the %lld bytes that the manifest says", STR_ARG(digest), (long long)size);
		}
	} else if (answer.status != 200) {
		ok = registry_fail(r, "pull", &answer, err);
	} else if (!str_eqc(digest_hex(digest), hex) || (size >= 0 && d.done != size)) {
		/* A connection that was cut looks the same: worth one more try. */
		*ret_again = size >= 0 && d.done < size;
		ok = err_set(err, ERR_INVALID, "blob %.*s came with another content: %lld bytes, sha256:%s", STR_ARG(digest), (long long)d.done, hex);
	}
	http_response_release(&answer);
	return ok;
}

static bool blob_download(struct registry *r, struct str digest, int64_t size, int fd, const struct image_progress *progress, struct err *err) {
	for (int i = 0;; i++) {
		bool again;
		if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
			return err_sys(err, "empty a download");
		}
		if (blob_try(r, digest, size, fd, progress, &again, err)) {
			return lseek(fd, 0, SEEK_SET) == 0 || err_sys(err, "rewind a download");
		}
		if (!again || i == 3) {
			return false;
		}
		clock_sleep(500 * NSEC_PER_MSEC << i);
	}
}

/* ---- layers ------------------------------------------------------------------------------------ */

struct pull_layer {
	struct image_store *s;
	struct registry *r;
	const struct image_progress *progress;
	struct str digest, type;
	int64_t size;
	int fd;
	struct blob_file file;
};

static bool layer_open(void *arg, struct blob_source **ret, struct err *err) {
	struct pull_layer *l = arg;
	struct path p = path_fmt("%s/tmp/blob-XXXXXX", l->s->root);
	l->fd = mkostemp(p.c, O_CLOEXEC);
	if (l->fd < 0) {
		return err_sys(err, "make a file like %s", p.c);
	}
	unlink(p.c); /* lives as long as it is open */
	if (!blob_download(l->r, l->digest, l->size, l->fd, l->progress, err)) {
		return false;
	}
	*ret = blob_file_init(&l->file, l->fd, l->digest, l->size, l->type);
	return true;
}

struct layers_pull {
	struct image_store *s;
	struct cri_strs ids;
	struct pull_layer *at;
	pthread_mutex_t lock;
	size_t next;   /* locked */
	bool *held;    /* locked */
	bool failed;   /* locked */
	struct err err;
};

static void *layers_worker(void *arg) {
	struct layers_pull *p = arg;
	for (;;) {
		struct err err = { 0 };
		pthread_mutex_lock(&p->lock);
		size_t i = p->failed ? p->ids.len : p->next++;
		pthread_mutex_unlock(&p->lock);
		if (i >= p->ids.len) {
			return NULL;
		}
		bool ok = layer_get(p->s, p->ids.at[i], layer_open, &p->at[i], &err);
		close_fd_p(&p->at[i].fd), p->at[i].fd = -1;
		pthread_mutex_lock(&p->lock);
		p->held[i] = ok;
		if (!ok && !p->failed) {
			p->failed = true;
			p->err = err;
		}
		pthread_mutex_unlock(&p->lock);
	}
}

static bool layers_get(struct layers_pull *p, struct err *err) {
	pthread_t threads[PULL_LAYERS_AT_ONCE];
	size_t n = 0;
	pthread_mutex_init(&p->lock, NULL);
	for (; n + 1 < PULL_LAYERS_AT_ONCE && n + 1 < p->ids.len; n++) {
		if (pthread_create(&threads[n], NULL, layers_worker, p) != 0) {
			break;
		}
	}
	layers_worker(p);
	for (size_t i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
	}
	pthread_mutex_destroy(&p->lock);
	if (p->failed) {
		*err = p->err;
	}
	return !p->failed;
}

/* ---- manifests --------------------------------------------------------------------------------- */

static bool manifest_get(struct registry *r, struct arena *a, struct str which, struct value **ret, struct str *ret_digest, struct err *err) {
	const struct http_header headers[] = { { S("Accept"), str_c(accept_manifests) } };
	struct http_request rq = { .headers = headers, .headers_len = 1, .body_max = IMAGE_MANIFEST_MAX, .redirects = 5 };
	struct http_response answer = { 0 };
	char hex[SHA256_HEX];
	struct err bad = { 0 };

	bool ok = registry_do(r, arena_printf(a, "manifests/%.*s", STR_ARG(which)), &rq, &answer, err);
	if (ok && answer.status != 200) {
		ok = registry_fail(r, "pull", &answer, err);
	}
	if (ok) {
		sha256_hex(answer.body, hex);
		*ret_digest = arena_printf(a, "sha256:%s", hex);
		if (digest_valid(which) && !str_eq(which, *ret_digest)) {
			ok = err_set(err, ERR_INVALID, "the registry's manifest does not have the digest %.*s (it has %.*s)", STR_ARG(which), STR_ARG(*ret_digest));
		} else if (!json_parse(a, arena_str(a, answer.body), NULL, ret, &bad)) {
			ok = err_set(err, ERR_INVALID, "the registry's manifest is not JSON: %s", bad.msg);
		} else if (get_int(*ret, "schemaVersion") == 1) {
			ok = err_set(err, ERR_INVALID, "the image has a manifest of the old schema 1, which is not supported; push it again with a newer tool");
		}
	}
	http_response_release(&answer);
	return ok;
}

/* Through indexes to the manifest for this machine. `ret_top` is the digest of what the name meant. */
static bool manifest_find(struct registry *r, struct arena *a, struct value **ret, struct str *ret_top, struct err *err) {
	struct str which = r->ref.digest.len ? r->ref.digest : r->ref.tag, digest;
	for (int depth = 0;; depth++) {
		if (!manifest_get(r, a, which, ret, &digest, err)) {
			return false;
		}
		if (depth == 0) {
			*ret_top = digest;
		}
		if (!value_is(get(*ret, "manifests"), VALUE_ARRAY)) {
			return true;
		}
		const struct value *fit = image_index_pick(*ret);
		which = get_str(fit, "digest");
		if (!fit || depth == PULL_INDEX_DEPTH) {
			return err_set(err, ERR_NOT_FOUND, "no matching manifest for linux/%.*s in the manifest list entries", STR_ARG(image_arch()));
		}
		if (!digest_valid(which)) {
			return err_set(err, ERR_INVALID, "the image's index names \"%.*s\", which is no digest", STR_ARG(which));
		}
	}
}

static bool config_get(struct registry *r, struct arena *a, const struct value *manifest, struct str *ret, struct err *err) {
	struct str digest = get_str(get(manifest, "config"), "digest");
	struct http_request rq = { .body_max = IMAGE_CONFIG_MAX, .redirects = 5 };
	struct http_response answer = { 0 };
	char hex[SHA256_HEX];

	if (!digest_valid(digest)) {
		return err_set(err, ERR_INVALID, "the image's manifest names no configuration");
	}
	bool ok = registry_do(r, arena_printf(a, "blobs/%.*s", STR_ARG(digest)), &rq, &answer, err);
	if (ok && answer.status != 200) {
		ok = registry_fail(r, "pull", &answer, err);
	}
	if (ok) {
		sha256_hex(answer.body, hex);
		ok = str_eqc(digest_hex(digest), hex) ||
			err_set(err, ERR_INVALID, "the image's configuration does not have the digest %.*s (it has sha256:%s)", STR_ARG(digest), hex);
		*ret = arena_str(a, answer.body);
	}
	http_response_release(&answer);
	return ok;
}

static bool pull_run(struct image_store *s, struct registry *r, struct arena *a, const struct image_transfer_opts *opts, struct str *ret_id, struct err *err) {
	struct value *manifest, *config_value;
	struct str top, config;
	struct layers_pull p = { .s = s };

	if (!manifest_find(r, a, &manifest, &top, err) || !config_get(r, a, manifest, &config, err) || !image_config_parse(a, config, &config_value, &p.ids, err)) {
		return false;
	}
	const struct value *blobs = get(manifest, "layers");
	if (value_len(blobs) != p.ids.len) {
		return err_set(err, ERR_INVALID, "the manifest has %zu layers, the image's configuration names %zu", value_len(blobs), p.ids.len);
	}
	p.at = arena_array(a, struct pull_layer, p.ids.len);
	p.held = arena_array(a, bool, p.ids.len);
	int64_t total = 0;
	for (size_t i = 0; i < p.ids.len; i++) {
		const struct value *b = value_item(blobs, i);
		p.at[i] = (struct pull_layer){ .s = s, .r = r, .progress = opts ? opts->progress : NULL, .digest = get_str(b, "digest"), .type = get_str(b, "mediaType"),
			.size = value_as_int_or(get(b, "size"), -1), .fd = -1 };
		if (!digest_valid(p.at[i].digest) || p.at[i].size < 0 || p.at[i].size > (int64_t)s->bytes_max - total) {
			return err_set(err, ERR_INVALID, "layer %zu of the image has no digest, or an impossible size", i);
		}
		total += p.at[i].size;
	}
	bool ok = layers_get(&p, err);
	struct image_ref by = r->ref;
	struct str tag = image_ref_text(a, &by);
	by.tag = (struct str){ 0 };
	by.digest = top;
	struct str digest = image_ref_text(a, &by);
	struct image_new n = { .config = config, .config_value = config_value, .layers = p.ids.at, .layers_len = p.ids.len, .tags = &tag,
		.tags_len = r->ref.digest.len ? 0 : 1, .digests = &digest, .digests_len = 1 };
	ok = ok && image_add(s, a, &n, ret_id, err);
	for (size_t i = 0; i < p.ids.len; i++) {
		if (p.held[i]) {
			layer_release(s, p.ids.at[i]);
		}
	}
	return ok;
}

/* ---- one pull for all who want the same ---------------------------------------------------------- */

struct pull {
	unsigned refs;
	bool done, ok;
	struct err err;
	char id[DIGEST_LEN + 1];
};

static struct str pull_key(struct arena *a, struct str ref, const struct image_auth *auth) {
	char hex[SHA256_HEX];
	auto_buf struct buf b = BUF_INIT(1 << 20);
	if (auth) {
		const struct str parts[] = { auth->username, auth->password, auth->identity_token, auth->registry_token };
		for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
			buf_printf(&b, "%zu:", parts[i].len);
			buf_str(&b, parts[i]);
		}
	}
	sha256_hex(buf_view(&b), hex);
	return arena_printf(a, "%.*s %s", STR_ARG(ref), hex);
}

/* Called with the lock held. */
static void pull_put(struct pull *p) {
	if (--p->refs == 0) {
		free(p);
	}
}

bool image_pull(struct image_store *s, struct arena *a, struct str ref, const struct image_transfer_opts *opts, struct str *ret_id, struct err *err) {
	auto_arena struct arena tmp = { 0 };
	struct image_ref parsed;
	struct registry r;
	struct str id = { 0 };

	if (!image_ref_parse(&tmp, ref, &parsed, err)) {
		return false;
	}
	struct str key = pull_key(&tmp, image_ref_text(&tmp, &parsed), opts ? opts->auth : NULL);
	pthread_mutex_lock(&s->lock);
	struct pull *p = map_get(&s->pulls, key);
	bool mine = !p;
	if (mine) {
		p = xcalloc(1, sizeof(*p));
		map_set(&s->pulls, key, p);
	}
	p->refs++;
	while (!mine && !p->done) {
		pthread_cond_wait(&s->changed, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	if (mine) {
		bool ok = registry_open(s, &parsed, opts, false, &r, err);
		if (ok) {
			ok = pull_run(s, &r, &tmp, opts, &id, err);
			registry_close(&r);
		}
		pthread_mutex_lock(&s->lock);
		p->done = true;
		p->ok = ok;
		if (ok) {
			snprintf(p->id, sizeof(p->id), "%.*s", STR_ARG(id));
		} else {
			p->err = *err;
		}
		map_remove(&s->pulls, key);
		pthread_cond_broadcast(&s->changed);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_lock(&s->lock);
	bool ok = p->ok;
	if (ok) {
		*ret_id = arena_str(a, str_c(p->id));
	} else {
		*err = p->err;
	}
	pull_put(p);
	pthread_mutex_unlock(&s->lock);
	return ok || err_wrap(err, "pull %.*s", STR_ARG(ref));
}
