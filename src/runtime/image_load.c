/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_load.c - images from files: `docker save` archives and OCI layouts. Pool threads.
 *
 * An archive is first unpacked into a folder by the confined child; from there on it is a folder. Files in it are
 * opened without leaving it, whatever links it holds. Every digest that is named is checked.
 *
 * Source: Docker image spec v1.2 (manifest.json); OCI image-layout.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "net/digest.h"
#include "runtime/images.h"

enum { LOAD_IMAGES_MAX = 1000, LOAD_INDEX_DEPTH = 4 };

struct load {
	struct image_store *s;
	struct arena *a;
	int dir;
	const struct image_progress *progress;
	VEC(struct str) ids;
};

static bool open_inside(const struct load *l, struct str name, int *ret, struct err *err) {
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	char *path = str_dup(name);
	int fd = (int)syscall(SYS_openat2, l->dir, path, &how, sizeof(how));
	struct stat st;
	bool ok = fd >= 0 && fstat(fd, &st) == 0;
	if (!ok) {
		bool missing = errno == ENOENT;
		ok = missing ? err_set(err, ERR_INVALID, "the archive lacks \"%s\"", path) : err_sys(err, "open \"%s\" of the archive", path);
	} else if (!S_ISREG(st.st_mode)) {
		ok = err_set(err, ERR_INVALID, "\"%s\" in the archive is no file", path);
	}
	free(path);
	if (!ok) {
		close_fd_p(&fd);
		return false;
	}
	*ret = fd;
	return true;
}

static bool read_inside(const struct load *l, struct str name, size_t max, struct str *ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(max);
	int opened;
	if (!open_inside(l, name, &opened, err)) {
		return false;
	}
	auto_fd int fd = opened;
	for (;;) {
		char *room = buf_reserve(&b, 65536 < max - b.len ? 65536 : max - b.len);
		ssize_t n = room ? read(fd, room, MIN((size_t)65536, max - b.len)) : 0;
		if (n < 0) {
			return err_sys(err, "read \"%.*s\" of the archive", STR_ARG(name));
		}
		if (n == 0) {
			break;
		}
		b.len += (size_t)n;
		if (b.len == max) {
			return err_set(err, ERR_TOO_LARGE, "\"%.*s\" in the archive is over %zu bytes", STR_ARG(name), max);
		}
	}
	*ret = arena_str(l->a, buf_view(&b));
	return true;
}

static bool json_inside(const struct load *l, struct str name, struct value **ret, struct err *err) {
	struct str text;
	struct err bad = { 0 };
	if (!read_inside(l, name, IMAGE_MANIFEST_MAX, &text, err)) {
		return false;
	}
	return json_parse(l->a, text, NULL, ret, &bad) || err_set(err, ERR_INVALID, "\"%.*s\" in the archive is not JSON: %s", STR_ARG(name), bad.msg);
}

/* ---- layers ------------------------------------------------------------------------------------ */

struct layer_file_open {
	const struct load *l;
	struct str name, digest, type;
	int64_t size;
	struct blob_file file;
	int fd;
};

static bool layer_source_open(void *arg, struct blob_source **ret, struct err *err) {
	struct layer_file_open *o = arg;
	if (!open_inside(o->l, o->name, &o->fd, err)) {
		return false;
	}
	*ret = blob_file_init(&o->file, o->fd, o->digest, o->size, o->type);
	return true;
}

static void say(const struct load *l, const char *what, uint64_t done, uint64_t total) {
	if (l->progress && l->progress->step) {
		l->progress->step(l->progress->arg, what, done, total);
	}
}

/* Gets all layers, adds the image, lets the layers go. `files[i]` holds the blob of `layers.at[i]`. */
static bool image_make(struct load *l, struct str config, const struct value *config_value, struct cri_strs layers, struct layer_file_open *files,
	struct cri_strs tags, struct cri_strs digests, struct err *err) {
	size_t held = 0;
	struct str id;
	bool ok = true;

	for (; held < layers.len && ok; held += ok) {
		say(l, "layer", held, layers.len);
		files[held].fd = -1;
		ok = layer_get(l->s, layers.at[held], layer_source_open, &files[held], err);
		close_fd_p(&files[held].fd);
	}
	struct image_new n = { config, config_value, layers.at, layers.len, tags.at, digests.at, tags.len, digests.len };
	ok = ok && image_add(l->s, l->a, &n, &id, err);
	while (held-- > 0) {
		layer_release(l->s, layers.at[held]);
	}
	if (ok) {
		VEC_PUSH(&l->ids, id);
	}
	return ok;
}

/* Names that are to be kept; each must be a whole, valid one. */
static bool tags_parse(struct load *l, const struct value *names, struct cri_strs *ret, struct err *err) {
	size_t n = value_is(names, VALUE_ARRAY) ? value_len(names) : 0;
	struct str *at = arena_array(l->a, struct str, n);
	for (size_t i = 0; i < n; i++) {
		struct image_ref ref;
		if (!image_ref_parse(l->a, value_as_str(value_item(names, i)), &ref, err)) {
			return false;
		}
		if (ref.digest.len || !ref.tag.len) {
			return err_set(err, ERR_INVALID, "\"%.*s\" in the archive is not a name with a tag", STR_ARG(value_as_str(value_item(names, i))));
		}
		at[i] = image_ref_text(l->a, &ref);
	}
	*ret = (struct cri_strs){ at, n };
	return true;
}

/* ---- docker save ------------------------------------------------------------------------------- */

static bool docker_image(struct load *l, const struct value *entry, struct err *err) {
	struct str config;
	struct value *v;
	struct cri_strs layers, tags, none = { 0 };
	const struct value *paths = get(entry, "Layers");

	if (!read_inside(l, get_str(entry, "Config"), IMAGE_CONFIG_MAX, &config, err) || !image_config_parse(l->a, config, &v, &layers, err) ||
		!tags_parse(l, get(entry, "RepoTags"), &tags, err)) {
		return false;
	}
	if (value_len(paths) != layers.len) {
		return err_set(err, ERR_INVALID, "the archive has %zu layers, the image's configuration names %zu", value_len(paths), layers.len);
	}
	struct layer_file_open *files = arena_array(l->a, struct layer_file_open, layers.len);
	for (size_t i = 0; i < layers.len; i++) {
		files[i] = (struct layer_file_open){ .l = l, .name = value_as_str(value_item(paths, i)), .size = -1 };
	}
	return image_make(l, config, v, layers, files, tags, none, err);
}

static bool docker_load(struct load *l, const struct value *manifest, struct err *err) {
	if (!value_is(manifest, VALUE_ARRAY) || !value_len(manifest) || value_len(manifest) > LOAD_IMAGES_MAX) {
		return err_set(err, ERR_INVALID, "manifest.json of the archive lists no images, or more than %d", LOAD_IMAGES_MAX);
	}
	VALUE_EACH(manifest, entry) {
		if (!docker_image(l, entry, err)) {
			return false;
		}
	}
	return true;
}

/* ---- OCI layout -------------------------------------------------------------------------------- */

static bool blob_name(struct load *l, struct str digest, struct str *ret, struct err *err) {
	if (!digest_valid(digest)) {
		return err_set(err, ERR_INVALID, "\"%.*s\" in the archive is not of the form sha256:<64 hex digits>", STR_ARG(digest));
	}
	*ret = arena_printf(l->a, "blobs/sha256/%.*s", STR_ARG(digest_hex(digest)));
	return true;
}

static bool blob_read(struct load *l, struct str digest, size_t max, struct str *ret, struct err *err) {
	struct str name;
	char hex[SHA256_HEX];
	if (!blob_name(l, digest, &name, err) || !read_inside(l, name, max, ret, err)) {
		return false;
	}
	sha256_hex(*ret, hex);
	return str_eqc(digest_hex(digest), hex) || err_set(err, ERR_INVALID, "blob %.*s of the archive has another digest: sha256:%s", STR_ARG(digest), hex);
}

static bool blob_json(struct load *l, struct str digest, struct value **ret, struct err *err) {
	struct str text;
	struct err bad = { 0 };
	if (!blob_read(l, digest, IMAGE_MANIFEST_MAX, &text, err)) {
		return false;
	}
	return json_parse(l->a, text, NULL, ret, &bad) || err_set(err, ERR_INVALID, "blob %.*s of the archive is not JSON: %s", STR_ARG(digest), bad.msg);
}

static bool oci_manifest(struct load *l, struct str digest, const struct value *manifest, struct cri_strs tags, struct err *err) {
	const struct value *blobs = get(manifest, "layers");
	struct str config;
	struct value *v;
	struct cri_strs layers;

	if (!blob_read(l, get_str(get(manifest, "config"), "digest"), IMAGE_CONFIG_MAX, &config, err) || !image_config_parse(l->a, config, &v, &layers, err)) {
		return false;
	}
	if (value_len(blobs) != layers.len) {
		return err_set(err, ERR_INVALID, "the manifest has %zu layers, the image's configuration names %zu", value_len(blobs), layers.len);
	}
	struct layer_file_open *files = arena_array(l->a, struct layer_file_open, layers.len);
	for (size_t i = 0; i < layers.len; i++) {
		const struct value *b = value_item(blobs, i);
		files[i] = (struct layer_file_open){ .l = l, .digest = get_str(b, "digest"), .size = value_as_int_or(get(b, "size"), -1), .type = get_str(b, "mediaType") };
		if (!blob_name(l, files[i].digest, &files[i].name, err)) {
			return false;
		}
	}
	/* The manifest's digest is known under the repositories of its names. */
	struct str *known = arena_array(l->a, struct str, tags.len);
	for (size_t i = 0; i < tags.len; i++) {
		ptrdiff_t colon = str_rindex(tags.at[i], ':');
		known[i] = arena_printf(l->a, "%.*s@%.*s", (int)colon, tags.at[i].ptr, STR_ARG(digest));
	}
	return image_make(l, config, v, layers, files, tags, (struct cri_strs){ known, tags.len }, err);
}

/* A descriptor: a manifest, or an index of them for several platforms. */
static bool oci_descriptor(struct load *l, const struct value *d, struct cri_strs tags, int depth, struct err *err) {
	struct str digest = get_str(d, "digest");
	struct value *v;
	if (!blob_json(l, digest, &v, err)) {
		return false;
	}
	if (!value_is(get(v, "manifests"), VALUE_ARRAY)) {
		return oci_manifest(l, digest, v, tags, err);
	}
	const struct value *fit = image_index_pick(v);
	if (!fit || depth == LOAD_INDEX_DEPTH) {
		return err_set(err, ERR_NOT_FOUND, "the archive has no image for linux/%.*s", STR_ARG(image_arch()));
	}
	return oci_descriptor(l, fit, tags, depth + 1, err);
}

/* "io.containerd.image.name" is whole; "org.opencontainers.image.ref.name" may be whole, or only a tag. */
static struct cri_strs descriptor_tags(struct load *l, const struct value *d) {
	static const char *const keys[] = { "io.containerd.image.name", "org.opencontainers.image.ref.name" };
	struct str *at = arena_array(l->a, struct str, ARRAY_LEN(keys));
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct str name = get_str(get(d, "annotations"), keys[i]);
		struct image_ref ref;
		struct err ignored = { 0 };
		bool whole = i == 0 || str_index(name, '/') >= 0 || str_index(name, ':') >= 0;
		if (n == 0 && whole && name.len && image_ref_parse(l->a, name, &ref, &ignored) && ref.tag.len && !ref.digest.len) {
			at[n++] = image_ref_text(l->a, &ref);
		}
	}
	return (struct cri_strs){ at, n };
}

static bool platform_fits(const struct value *d) {
	const struct value *p = get(d, "platform");
	return !p || (str_eq(get_str(p, "os"), S("linux")) && str_eq(get_str(p, "architecture"), image_arch()));
}

static bool oci_load(struct load *l, const struct value *index, struct err *err) {
	const struct value *list = get(index, "manifests");
	if (!value_len(list) || value_len(list) > LOAD_IMAGES_MAX) {
		return err_set(err, ERR_INVALID, "index.json of the archive lists no images, or more than %d", LOAD_IMAGES_MAX);
	}
	VALUE_EACH(list, d) {
		if (platform_fits(d) && !oci_descriptor(l, d, descriptor_tags(l, d), 0, err)) {
			return false;
		}
	}
	return l->ids.len || err_set(err, ERR_NOT_FOUND, "the archive has no image for linux/%.*s", STR_ARG(image_arch()));
}

/* ---- the door ---------------------------------------------------------------------------------- */

static bool dir_load(struct load *l, struct err *err) {
	struct value *v;
	/* Newer `docker save` writes both: its manifest.json has the names. */
	if (faccessat(l->dir, "manifest.json", R_OK, 0) == 0) {
		return json_inside(l, S("manifest.json"), &v, err) && docker_load(l, v, err);
	}
	if (faccessat(l->dir, "index.json", R_OK, 0) == 0) {
		return json_inside(l, S("index.json"), &v, err) && oci_load(l, v, err);
	}
	return err_set(err, ERR_INVALID, "neither a `docker save` archive nor an OCI layout: it holds no manifest.json and no index.json");
}

static bool load_result(struct load *l, struct image_list *ret) {
	ret->at = arena_array(l->a, struct image_info, l->ids.len);
	ret->len = 0;
	VEC_EACH(&l->ids, id) {
		bool had = false;
		for (size_t i = 0; i < ret->len; i++) {
			had = had || str_eq(ret->at[i].id, *id);
		}
		if (!had && image_info_by_id(l->s, l->a, *id, &ret->at[ret->len])) {
			ret->len++;
		}
	}
	return true;
}

bool image_load(struct image_store *s, struct arena *a, const char *path, const struct image_progress *progress, struct image_list *ret, struct err *err) {
	struct load l = { .s = s, .a = a, .dir = -1, .progress = progress };
	struct path unpacked = { "" };
	struct stat st;
	struct err ignored = { 0 };

	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0) {
		return err_sys(err, "open %s", path);
	}
	bool ok;
	if (S_ISDIR(st.st_mode)) {
		l.dir = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		ok = l.dir >= 0 || err_sys(err, "open %s", path);
	} else if (!S_ISREG(st.st_mode)) {
		ok = err_set(err, ERR_INVALID, "%s is neither a file nor a folder", path);
	} else {
		say(&l, "unpack", 0, (uint64_t)st.st_size);
		ok = archive_unpack(s, fd, &unpacked, err);
		l.dir = ok ? open(unpacked.c, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		ok = ok && (l.dir >= 0 || err_sys(err, "open %s", unpacked.c));
	}
	ok = ok && dir_load(&l, err) && load_result(&l, ret);
	VEC_RELEASE(&l.ids);
	close_fd_p(&l.dir);
	if (unpacked.c[0]) {
		(void)!dir_remove(unpacked.c, &ignored);
	}
	return ok || err_wrap(err, "load %s", path);
}
