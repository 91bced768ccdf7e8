/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_push.c - images to registries. Pool threads.
 *
 * A layer's tar is put together again from its outline (tar_split) and the unpacked files, and must have the digest that
 * it came with; so an image keeps its id on the way. A blob that the registry has is not sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "net/digest.h"
#include "net/url.h"
#include "runtime/registry.h"
#include "runtime/tar_split.h"

enum { PUSH_CHUNK = 256 << 10, PUSH_PIECE_MAX = 32 << 20 };
#define PUSH_BLOB_TIMEOUT (30 * 60 * NSEC_PER_SEC)

static const struct str layer_type = S_INIT("application/vnd.oci.image.layer.v1.tar+gzip");

/* ---- a layer's tar, made again ------------------------------------------------------------------- */

struct blob {
	struct str digest, type;
	int64_t size;
};

struct packer {
	int out;
	z_stream z;
	struct sha256_stream *plain, *packed;
	int64_t size; /* packed */
	unsigned char room[PUSH_CHUNK];
};

static bool packer_write(struct packer *p, const void *bytes, size_t len, int flush, struct err *err) {
	p->z.next_in = (Bytef *)(uintptr_t)bytes;
	p->z.avail_in = (uInt)len;
	if (len) {
		sha256_stream_add(p->plain, (struct str){ bytes, len });
	}
	do {
		p->z.next_out = p->room;
		p->z.avail_out = sizeof(p->room);
		if (deflate(&p->z, flush) == Z_STREAM_ERROR) {
			return err_set(err, ERR_INTERNAL, "compress a layer");
		}
		size_t n = sizeof(p->room) - p->z.avail_out;
		if (n) {
			sha256_stream_add(p->packed, (struct str){ (const char *)p->room, n });
		}
		if (n && write(p->out, p->room, n) != (ssize_t)n) {
			return err_sys(err, "write a packed layer");
		}
		p->size += (int64_t)n;
	} while (p->z.avail_out == 0);
	return true;
}

static bool file_pack(struct packer *p, int root, struct str path, uint64_t size, struct err *err) {
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	char *name = str_dup(path), *chunk = xmalloc(PUSH_CHUNK);
	auto_fd int fd = (int)syscall(SYS_openat2, root, name, &how, sizeof(how));
	struct stat st;
	bool ok = (fd >= 0 && fstat(fd, &st) == 0) || err_sys(err, "open \"%s\" of a layer", name);

	if (ok && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)) {
		ok = err_set(err, ERR_INTERNAL, "\"%s\" of a layer is not the file that it was", name);
	}
	while (ok && size) {
		ssize_t n = read(fd, chunk, (size_t)MIN(size, (uint64_t)PUSH_CHUNK));
		if (n < 0 && errno == EINTR) {
			continue;
		}
		ok = (n > 0 || err_sys(err, "read \"%s\" of a layer", name)) && packer_write(p, chunk, (size_t)n, Z_NO_FLUSH, err);
		size -= ok ? (uint64_t)n : 0;
	}
	free(chunk);
	free(name);
	return ok;
}

static bool pieces_pack(struct packer *p, gzFile split, int root, struct err *err) {
	auto_buf struct buf in = BUF_INIT(PUSH_PIECE_MAX);
	bool ended = false;
	for (;;) {
		struct str rest = buf_view(&in);
		struct tar_piece piece;
		enum tar_piece_type type;
		while ((type = tar_split_next(&rest, &piece)) == TAR_PIECE_RAW || type == TAR_PIECE_FILE) {
			bool ok = type == TAR_PIECE_RAW ? packer_write(p, piece.bytes.ptr, piece.bytes.len, Z_NO_FLUSH, err) : file_pack(p, root, piece.bytes, piece.size, err);
			if (!ok) {
				return false;
			}
		}
		if (ended) {
			return type == TAR_PIECE_END || err_set(err, ERR_INTERNAL, "the outline of a layer is damaged");
		}
		buf_drop(&in, in.len - rest.len);
		char *room = buf_reserve(&in, PUSH_CHUNK);
		int n = room ? gzread(split, room, PUSH_CHUNK) : -1;
		if (n < 0) {
			return err_set(err, ERR_INTERNAL, "the outline of a layer cannot be read");
		}
		in.len += (size_t)n;
		ended = n == 0;
	}
}

/* Packs the layer into `out`. Fails when the result is not the layer that it should be. */
static bool layer_pack(struct image_store *s, struct arena *a, struct str diff_id, int out, struct blob *ret, struct err *err) {
	struct packer *p = xcalloc(1, sizeof(*p));
	struct path dir = layer_dir(s, diff_id), outline = layer_file(s, diff_id, ".split");
	char plain[SHA256_HEX], packed[SHA256_HEX];
	auto_fd int root = open(dir.c, O_PATH | O_DIRECTORY | O_CLOEXEC);
	gzFile split = gzopen(outline.c, "rbe");

	p->out = out;
	p->plain = sha256_stream_new();
	p->packed = sha256_stream_new();
	bool ok = (root >= 0 && split) || err_sys(err, "open layer %.*s", STR_ARG(diff_id));
	ok = ok && (deflateInit2(&p->z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK || err_set(err, ERR_INTERNAL, "start compressing"));
	ok = ok && pieces_pack(p, split, root, err) && packer_write(p, NULL, 0, Z_FINISH, err);
	deflateEnd(&p->z);
	sha256_stream_hex(p->plain, plain);
	sha256_stream_hex(p->packed, packed);
	if (ok && !str_eqc(digest_hex(diff_id), plain)) {
		ok = err_set(err, ERR_INTERNAL, "layer %.*s cannot be put together again: its files were changed", STR_ARG(diff_id));
	}
	if (ok) {
		*ret = (struct blob){ arena_printf(a, "sha256:%s", packed), layer_type, p->size };
	}
	if (split) {
		gzclose(split);
	}
	sha256_stream_free(p->plain);
	sha256_stream_free(p->packed);
	free(p);
	return ok;
}

/* ---- sending ----------------------------------------------------------------------------------- */

static bool blob_there(struct registry *r, struct str digest, bool *ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct http_response answer = { 0 };
	struct http_request rq = { .method = S("HEAD"), .redirects = 5 };
	bool ok = registry_do(r, arena_printf(&a, "blobs/%.*s", STR_ARG(digest)), &rq, &answer, err);
	if (ok && answer.status != 200 && answer.status != 404) {
		ok = registry_fail(r, "push", &answer, err);
	}
	*ret = ok && answer.status == 200;
	http_response_release(&answer);
	return ok;
}

static ssize_t read_fd(void *arg, char *into, size_t len) {
	return read(*(int *)arg, into, len);
}

/* Sends a blob: from a file, or (fd -1) from memory. */
static bool blob_send(struct registry *r, struct str digest, int fd, int64_t size, struct str bytes, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct http_response answer = { 0 };
	struct http_request start = { .method = S("POST") };

	bool ok = registry_do(r, S("blobs/uploads/"), &start, &answer, err);
	if (ok && answer.status != 202) {
		ok = registry_fail(r, "push", &answer, err);
	}
	struct str location = ok ? arena_str(&a, http_header_get(answer.headers, S("Location"))) : S("");
	http_response_release(&answer);
	if (!ok) {
		return false;
	}
	if (!location.len) {
		return err_set(err, ERR_INVALID, "registry %.*s accepts an upload but does not say where", STR_ARG(r->ref.registry));
	}
	struct str to = arena_printf(&a, "%.*s%cdigest=%.*s", STR_ARG(location), str_index(location, '?') >= 0 ? '&' : '?', STR_ARG(url_escape(&a, digest)));
	struct http_request put = { .method = S("PUT"), .content_type = S("application/octet-stream"), .body = bytes, .timeout = PUSH_BLOB_TIMEOUT };
	if (fd >= 0) {
		if (lseek(fd, 0, SEEK_SET) != 0) {
			return err_sys(err, "rewind a packed layer");
		}
		put.body_read = read_fd;
		put.body_len = size;
		put.arg = &fd;
	}
	answer = (struct http_response){ 0 };
	ok = registry_do(r, to, &put, &answer, err);
	if (ok && answer.status != 201) {
		ok = registry_fail(r, "push", &answer, err);
	}
	http_response_release(&answer);
	return ok;
}

/* Of the blobs that the layer is known by, one that the registry has. */
static bool layer_known(struct image_store *s, struct registry *r, struct arena *a, struct str diff_id, struct blob *ret, bool *ret_found, struct err *err) {
	pthread_mutex_lock(&s->lock);
	struct layer *l = map_get(&s->layers, diff_id);
	struct obj *meta = l && l->meta ? obj_ref(l->meta) : NULL;
	pthread_mutex_unlock(&s->lock);
	bool ok = true;
	*ret_found = false;
	VALUE_EACH(get(meta ? meta->root : NULL, "blobs"), b) {
		struct str digest = get_str(b, "digest");
		if (ok && !*ret_found && digest_valid(digest)) {
			ok = blob_there(r, digest, ret_found, err);
			if (*ret_found) {
				struct str type = get_str(b, "mediaType");
				bool docker = str_starts(type, S("application/vnd.docker."));
				*ret = (struct blob){ arena_str(a, digest), docker || !type.len ? layer_type : arena_str(a, type), get_int(b, "size") };
			}
		}
	}
	obj_unref(meta);
	return ok;
}

static bool layer_push(struct image_store *s, struct registry *r, struct arena *a, struct str diff_id, struct blob *ret, struct err *err) {
	bool found;
	if (!layer_known(s, r, a, diff_id, ret, &found, err)) {
		return false;
	}
	if (found) {
		return true;
	}
	struct path p = path_fmt("%s/tmp/blob-XXXXXX", s->root);
	auto_fd int fd = mkostemp(p.c, O_CLOEXEC);
	if (fd < 0) {
		return err_sys(err, "make a file like %s", p.c);
	}
	unlink(p.c);
	return layer_pack(s, a, diff_id, fd, ret, err) && blob_there(r, ret->digest, &found, err) &&
	       (found || blob_send(r, ret->digest, fd, ret->size, (struct str){ 0 }, err));
}

static struct value *descriptor(struct arena *a, struct str type, struct str digest, int64_t size) {
	struct value *v = value_new_object(a);
	set_str(a, v, "mediaType", type);
	set_str(a, v, "digest", digest);
	set_int(a, v, "size", size);
	return v;
}

static bool manifest_put(struct registry *r, struct arena *a, struct str manifest, struct str *ret_digest, struct err *err) {
	struct http_response answer = { 0 };
	struct http_request put = { .method = S("PUT"), .content_type = S("application/vnd.oci.image.manifest.v1+json"), .body = manifest };
	char hex[SHA256_HEX];

	sha256_hex(manifest, hex);
	bool ok = registry_do(r, arena_printf(a, "manifests/%.*s", STR_ARG(r->ref.tag)), &put, &answer, err);
	if (ok && answer.status != 201 && answer.status != 200) {
		ok = registry_fail(r, "push", &answer, err);
	}
	http_response_release(&answer);
	*ret_digest = arena_printf(a, "sha256:%s", hex);
	return ok;
}

static bool push_run(struct image_store *s, struct registry *r, struct arena *a, const struct image_info *image, const struct image_transfer_opts *opts,
	struct str *ret_digest, struct err *err) {
	auto_buf struct buf config = BUF_INIT(IMAGE_CONFIG_MAX);
	struct value *m = value_new_object(a), *layers = value_new_array(a);
	struct path from = path_fmt("%s/configs/%.*s", s->root, STR_ARG(digest_hex(image->id)));
	bool there;

	for (size_t i = 0; i < image->layers_len; i++) {
		struct blob b = { 0 };
		if (opts && opts->progress && opts->progress->step) {
			opts->progress->step(opts->progress->arg, "layer", i, image->layers_len);
		}
		if (!layer_push(s, r, a, image->layers[i], &b, err)) {
			return false;
		}
		value_push(a, layers, descriptor(a, b.type, b.digest, b.size));
	}
	if (!file_read(from.c, &config, err) || !blob_there(r, image->id, &there, err) ||
		(!there && !blob_send(r, image->id, -1, 0, buf_view(&config), err))) {
		return false;
	}
	set_int(a, m, "schemaVersion", 2);
	set_str(a, m, "mediaType", S("application/vnd.oci.image.manifest.v1+json"));
	set(a, m, "config", descriptor(a, S("application/vnd.oci.image.config.v1+json"), image->id, (int64_t)config.len));
	set(a, m, "layers", layers);
	return manifest_put(r, a, json_text(a, m), ret_digest, err);
}

bool image_push(struct image_store *s, struct arena *a, struct str ref, const struct image_transfer_opts *opts, struct str *ret_digest, struct err *err) {
	auto_arena struct arena tmp = { 0 };
	struct image_ref parsed;
	struct image_info image;
	struct registry r;
	struct str digest;

	if (!image_ref_parse(&tmp, ref, &parsed, err)) {
		return false;
	}
	if (parsed.digest.len) {
		return err_set(err, ERR_INVALID, "an image is pushed under a tag, not a digest: \"%.*s\"", STR_ARG(ref));
	}
	if (!image_status(s, &tmp, ref, &image, err) || !registry_open(s, &parsed, opts, true, &r, err)) {
		return err_wrap(err, "push %.*s", STR_ARG(ref));
	}
	bool ok = push_run(s, &r, &tmp, &image, opts, &digest, err);
	registry_close(&r);
	if (ok) {
		*ret_digest = arena_str(a, digest);
	}
	return ok || err_wrap(err, "push %.*s", STR_ARG(ref));
}
