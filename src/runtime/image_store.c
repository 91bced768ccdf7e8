/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_store.c - the tables of images and their names, on disk and in memory. See image.h and images.h.
 * Pool threads; any number at once.
 */
#include "runtime/images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "net/digest.h"

/* ---- small things ------------------------------------------------------------------------------ */

bool digest_valid(struct str digest) {
	if (digest.len != DIGEST_LEN || !str_starts(digest, S("sha256:"))) {
		return false;
	}
	for (size_t i = 7; i < digest.len; i++) {
		char c = digest.ptr[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
			return false;
		}
	}
	return true;
}

struct str digest_hex(struct str digest) {
	return str_from(digest, 7);
}

struct str image_arch(void) {
#if defined(__x86_64__)
	return S("amd64");
#elif defined(__aarch64__)
	return S("arm64");
#elif defined(__arm__)
	return S("arm");
#elif defined(__riscv)
	return S("riscv64");
#elif defined(__powerpc64__)
	return S("ppc64le");
#elif defined(__s390x__)
	return S("s390x");
#else
	return S("386");
#endif
}

static bool type_is_manifest(struct str type) {
	return !type.len || str_contains(type, S("manifest")) || str_contains(type, S("index"));
}

const struct value *image_index_pick(const struct value *index) {
	const struct value *unnamed = NULL;
	VALUE_EACH(get(index, "manifests"), m) {
		const struct value *p = get(m, "platform");
		if (!type_is_manifest(get_str(m, "mediaType"))) {
			continue;
		}
		if (!p) {
			unnamed = unnamed ? unnamed : m;
		} else if (str_eq(get_str(p, "os"), S("linux")) && str_eq(get_str(p, "architecture"), image_arch())) {
			return m;
		}
	}
	return unnamed;
}

static struct path config_path(const struct image_store *s, struct str id) {
	return path_fmt("%s/configs/%.*s", s->root, STR_ARG(digest_hex(id)));
}

static void image_free(struct image *i) {
	obj_unref(i->meta);
	free(i->id);
	free(i);
}

/* ---- the file ---------------------------------------------------------------------------------- */

/* Written from the tables as they are when the write begins; later changes write again. */
static bool store_save(struct image_store *s, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = BUF_INIT((size_t)256 << 20);
	struct path to = path_fmt("%s/images.json", s->root);

	pthread_mutex_lock(&s->save);
	pthread_mutex_lock(&s->lock);
	struct value *v = value_new_object(&a), *images = value_new_object(&a), *tags = value_new_object(&a);
	MAP_EACH(&s->images, e) {
		struct image *i = e->value;
		value_set_key(&a, images, e->key, i->meta->root);
	}
	MAP_EACH(&s->tags, t) {
		value_set_key_str(&a, tags, t->key, str_c(((struct image *)t->value)->id));
	}
	set(&a, v, "images", images);
	set(&a, v, "tags", tags);
	bool ok = json_print(&b, v);
	pthread_mutex_unlock(&s->lock);
	ok = ok ? file_write(to.c, buf_view(&b), 0600, err) : err_set(err, ERR_TOO_LARGE, "too many images to write %s", to.c);
	pthread_mutex_unlock(&s->save);
	return ok;
}

static bool layers_are_here(struct image_store *s, const struct value *meta) {
	VALUE_EACH(get(meta, "layers"), l) {
		struct layer *have = map_get(&s->layers, value_as_str(l));
		if (!have || have->state != LAYER_READY) {
			return false;
		}
	}
	return true;
}

static bool store_read(struct image_store *s, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct path from = path_fmt("%s/images.json", s->root);
	auto_buf struct buf b = BUF_INIT((size_t)256 << 20);
	struct value *v;

	if (!file_read(from.c, &b, err)) {
		bool fresh = err->code == ERR_NOT_FOUND;
		if (fresh) {
			err_clear(err);
		}
		return fresh;
	}
	if (!json_parse(&a, buf_view(&b), NULL, &v, err)) {
		return err_wrap(err, "read %s", from.c);
	}
	struct value *images = get(v, "images"), *tags = get(v, "tags");
	for (size_t n = 0; n < value_len(images); n++) {
		struct str id = value_key(images, n);
		struct value *meta = value_item(images, n);
		if (!digest_valid(id) || !layers_are_here(s, meta)) {
			log_warn("runtime", "image lacks layers and is forgotten", kv_str("image", id));
			continue;
		}
		struct image *i = xcalloc(1, sizeof(*i));
		*i = (struct image){ .id = str_dup(id), .meta = obj_freeze(meta, 0) };
		map_set(&s->images, id, i);
	}
	for (size_t n = 0; n < value_len(tags); n++) {
		struct image *i = map_get(&s->images, value_as_str(value_item(tags, n)));
		if (i) {
			map_set(&s->tags, value_key(tags, n), i);
		}
	}
	return true;
}

bool image_store_open(const struct image_store_opts *opts, struct image_store **ret, struct err *err) {
	static const char *const dirs[] = { "layers", "configs", "tmp", "empty" };
	if (!opts->root_dir.len || opts->root_dir.len > 200) {
		return err_set(err, ERR_INVALID, "the image folder's path must have 1 to 200 bytes");
	}
	struct image_store *s = xcalloc(1, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->save, NULL);
	pthread_cond_init(&s->changed, NULL);
	s->root = str_dup(opts->root_dir);
	s->self = opts->self_path.len ? str_dup(opts->self_path) : xstrdup("/proc/self/exe");
	s->ca_file = str_dup(opts->ca_file);
	s->bytes_max = opts->image_bytes_max ? opts->image_bytes_max : (uint64_t)64 << 30;
	s->in_use = opts->in_use;
	s->arg = opts->arg;
	s->insecure = xcalloc(opts->insecure_len, sizeof(char *));
	s->insecure_len = opts->insecure_len;
	for (size_t i = 0; i < opts->insecure_len; i++) {
		s->insecure[i] = str_dup(opts->insecure[i]);
	}
	bool ok = true;
	for (size_t i = 0; i < ARRAY_LEN(dirs) && ok; i++) {
		ok = dir_make(path_fmt("%s/%s", s->root, dirs[i]).c, i == 0 || i == 3 ? 0711 : 0700, err);
	}
	if (!ok || !layers_open(s, err) || !store_read(s, err)) {
		image_store_free(s);
		return err_wrap(err, "open the image store %.*s", STR_ARG(opts->root_dir));
	}
	*ret = s;
	return true;
}

void image_store_free(struct image_store *s) {
	if (!s) {
		return;
	}
	map_release(&s->tags);
	MAP_EACH(&s->images, e) {
		image_free(e->value);
	}
	map_release(&s->images);
	MAP_EACH(&s->layers, l) {
		obj_unref(((struct layer *)l->value)->meta);
		free(l->value);
	}
	map_release(&s->layers);
	map_release(&s->pulls);
	for (size_t i = 0; i < s->insecure_len; i++) {
		free(s->insecure[i]);
	}
	free(s->insecure);
	free(s->root);
	free(s->self);
	free(s->ca_file);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->save);
	pthread_cond_destroy(&s->changed);
	free(s);
}

/* ---- adding ------------------------------------------------------------------------------------ */

bool image_config_parse(struct arena *a, struct str bytes, struct value **ret, struct cri_strs *ret_layers, struct err *err) {
	struct value *v;
	if (!json_parse(a, bytes, NULL, &v, err)) {
		return err_set(err, ERR_INVALID, "the image's configuration is not JSON: %s", arena_cstr(a, str_c(err->msg)));
	}
	struct value *ids = get(get(v, "rootfs"), "diff_ids");
	if (!value_is(v, VALUE_OBJECT) || (get(v, "rootfs") && !value_is(ids, VALUE_ARRAY) && !value_is_empty(ids))) {
		return err_set(err, ERR_INVALID, "the image's configuration has no list of layers (rootfs.diff_ids)");
	}
	struct str os = get_str(v, "os"), arch = get_str(v, "architecture");
	if (os.len && !str_eq(os, S("linux"))) {
		return err_set(err, ERR_INVALID, "the image is for the operating system \"%.*s\", not linux", STR_ARG(os));
	}
	if (arch.len && !str_eq(arch, image_arch())) {
		return err_set(err, ERR_INVALID, "the image is for the architecture \"%.*s\", this machine is %.*s", STR_ARG(arch), STR_ARG(image_arch()));
	}
	struct cri_strs layers = record_to_strs(a, ids);
	if (layers.len > IMAGE_LAYERS_MAX) {
		return err_set(err, ERR_INVALID, "the image has %zu layers, more than %d", layers.len, IMAGE_LAYERS_MAX);
	}
	for (size_t i = 0; i < layers.len; i++) {
		if (!digest_valid(layers.at[i])) {
			return err_set(err, ERR_INVALID, "layer id \"%.*s\" is not of the form sha256:<64 hex digits>", STR_ARG(layers.at[i]));
		}
	}
	*ret = v;
	*ret_layers = layers;
	return true;
}

static void strs_union(struct arena *a, struct value *array, const struct str *at, size_t n) {
	for (size_t i = 0; i < n; i++) {
		bool had = false;
		VALUE_EACH(array, v) {
			had = had || str_eq(value_as_str(v), at[i]);
		}
		if (!had && value_len(array) < IMAGE_NAMES_MAX) {
			value_push_str(a, array, at[i]);
		}
	}
}

/* Called with the lock held. */
static struct value *meta_make(struct image_store *s, struct arena *a, const struct image_new *n, const struct image *had) {
	struct value *meta = had ? value_copy(a, had->meta->root) : value_new_object(a);
	struct value *digests = had ? get(meta, "digests") : NULL;
	digests = digests ? digests : value_new_array(a);
	strs_union(a, digests, n->digests, n->digests_len);
	if (!had) {
		struct value *layers = value_new_array(a);
		uint64_t bytes = 0;
		for (size_t i = 0; i < n->layers_len; i++) {
			struct layer *l = map_get(&s->layers, n->layers[i]);
			value_push_str(a, layers, n->layers[i]);
			bytes += l ? l->bytes : 0;
		}
		set(a, meta, "config", value_copy(a, n->config_value));
		set(a, meta, "layers", layers);
		set_int(a, meta, "size", (int64_t)bytes);
		set_bool(a, meta, "pinned", false);
	}
	set_int(a, meta, "pulled", clock_wall());
	set(a, meta, "digests", value_copy(a, digests));
	return meta;
}

bool image_add(struct image_store *s, struct arena *a, const struct image_new *n, struct str *ret_id, struct err *err) {
	auto_arena struct arena tmp = { 0 };
	char hex[SHA256_HEX];

	sha256_hex(n->config, hex);
	struct str id = arena_printf(a, "sha256:%s", hex);
	if (!file_write(config_path(s, id).c, n->config, 0600, err)) {
		return false;
	}
	pthread_mutex_lock(&s->lock);
	struct image *i = map_get(&s->images, id);
	struct obj *meta = obj_freeze(meta_make(s, &tmp, n, i), 0);
	if (!i) {
		i = xcalloc(1, sizeof(*i));
		i->id = str_dup(id);
		map_set(&s->images, id, i);
	}
	obj_unref(i->meta);
	i->meta = meta;
	for (size_t t = 0; t < n->tags_len; t++) {
		map_set(&s->tags, n->tags[t], i);
	}
	pthread_mutex_unlock(&s->lock);
	*ret_id = id;
	return store_save(s, err);
}

/* ---- looking ----------------------------------------------------------------------------------- */

static struct cri_strs kv_texts(struct arena *a, const struct value *object, bool values) {
	size_t n = value_is(object, VALUE_OBJECT) ? value_len(object) : 0;
	struct str *at = arena_array(a, struct str, n);
	for (size_t i = 0; i < n; i++) {
		struct str key = value_key(object, i);
		at[i] = values ? arena_printf(a, "%.*s=%.*s", STR_ARG(key), STR_ARG(value_as_str(value_item(object, i)))) : arena_str(a, key);
	}
	return (struct cri_strs){ at, n };
}

static int by_text(const void *x, const void *y) {
	return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

/* Called with the lock held; everything is copied. */
static void info_fill(struct image_store *s, struct arena *a, const struct image *i, struct image_info *ret) {
	const struct value *m = i->meta->root, *whole = get(m, "config"), *cfg = get(whole, "config");
	VEC(struct str) tags = { 0 };

	MAP_EACH(&s->tags, e) {
		if (e->value == i) {
			VEC_PUSH(&tags, arena_str(a, e->key));
		}
	}
	VEC_SORT(&tags, by_text);
	struct str *tag_at = arena_array(a, struct str, tags.len);
	if (tags.len) {
		memcpy(tag_at, tags.at, tags.len * sizeof(*tag_at));
	}
	struct cri_strs digests = record_to_strs(a, get(m, "digests")), layers = record_to_strs(a, get(m, "layers")),
			entrypoint = record_to_strs(a, get(cfg, "Entrypoint")), cmd = record_to_strs(a, get(cfg, "Cmd")), env = record_to_strs(a, get(cfg, "Env")),
			ports = kv_texts(a, get(cfg, "ExposedPorts"), false), volumes = kv_texts(a, get(cfg, "Volumes"), false),
			labels = kv_texts(a, get(cfg, "Labels"), true);
	nsec_t created = 0;
	(void)!time_parse(get_str(whole, "created"), &created);
	*ret = (struct image_info){
		.id = arena_str(a, str_c(i->id)),
		.tags = tag_at,
		.tags_len = tags.len,
		.digests = digests.at,
		.digests_len = digests.len,
		.size = (uint64_t)get_int(m, "size"),
		.created = created,
		.pulled = get_int(m, "pulled"),
		.pinned = get_bool(m, "pinned"),
		.os = arena_str(a, get_str(whole, "os")),
		.arch = arena_str(a, get_str(whole, "architecture")),
		.user = arena_str(a, get_str(cfg, "User")),
		.entrypoint = entrypoint.at,
		.entrypoint_len = entrypoint.len,
		.cmd = cmd.at,
		.cmd_len = cmd.len,
		.env = env.at,
		.env_len = env.len,
		.workdir = arena_str(a, get_str(cfg, "WorkingDir")),
		.stop_signal = arena_str(a, get_str(cfg, "StopSignal")),
		.ports = ports.at,
		.ports_len = ports.len,
		.volumes = volumes.at,
		.volumes_len = volumes.len,
		.labels = labels.at,
		.labels_len = labels.len,
		.layers = layers.at,
		.layers_len = layers.len,
	};
	VEC_RELEASE(&tags);
}

bool image_info_by_id(struct image_store *s, struct arena *a, struct str id, struct image_info *ret) {
	pthread_mutex_lock(&s->lock);
	struct image *i = map_get(&s->images, id);
	if (i) {
		info_fill(s, a, i, ret);
	}
	pthread_mutex_unlock(&s->lock);
	return i != NULL;
}

static bool is_hex_start(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		if (!((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f'))) {
			return false;
		}
	}
	return s.len >= 4 && s.len <= 64;
}

/* By "repo@sha256:...": the digest of a manifest that was pulled under that name. Called with the lock held. */
static struct image *by_digest(struct image_store *s, struct str whole) {
	MAP_EACH(&s->images, e) {
		struct image *i = e->value;
		VALUE_EACH(get(i->meta->root, "digests"), d) {
			if (str_eq(value_as_str(d), whole)) {
				return i;
			}
		}
	}
	return NULL;
}

enum find { FIND_NONE, FIND_ONE, FIND_MANY };

/* Called with the lock held. */
static enum find by_start(struct image_store *s, struct str hex, struct image **ret) {
	enum find found = FIND_NONE;
	MAP_EACH(&s->images, e) {
		if (str_starts(digest_hex(e->key), hex)) {
			found = found == FIND_NONE ? FIND_ONE : FIND_MANY;
			*ret = e->value;
		}
	}
	return found;
}

bool image_find(struct image_store *s, struct arena *a, struct str ref_or_id, struct str *ret_id, struct err *err) {
	struct str hex = str_starts(ref_or_id, S("sha256:")) ? digest_hex(ref_or_id) : ref_or_id;
	struct image *i = NULL;
	struct image_ref ref;
	struct err bad = { 0 };
	bool is_ref = !str_starts(ref_or_id, S("sha256:")) && image_ref_parse(a, ref_or_id, &ref, &bad);
	struct str whole = { 0 };
	enum find found = FIND_NONE;

	if (is_ref) {
		/* With both, the digest decides. */
		struct image_ref by = ref;
		if (by.digest.len) {
			by.tag = (struct str){ 0 };
		}
		whole = image_ref_text(a, &by);
	}
	pthread_mutex_lock(&s->lock);
	if (is_ref) {
		i = ref.digest.len ? by_digest(s, whole) : map_get(&s->tags, whole);
		found = i ? FIND_ONE : FIND_NONE;
	}
	if (!i && is_hex_start(hex)) {
		found = by_start(s, hex, &i);
	}
	if (found == FIND_ONE) {
		*ret_id = arena_str(a, str_c(i->id));
	}
	pthread_mutex_unlock(&s->lock);
	if (found == FIND_MANY) {
		return err_set(err, ERR_CONFLICT, "\"%.*s\" is the start of more than one image id", STR_ARG(ref_or_id));
	}
	if (found == FIND_NONE) {
		if (!is_ref && !is_hex_start(hex)) {
			*err = bad;
			return bad.code ? false : err_set(err, ERR_INVALID, "\"%.*s\" is not an image reference", STR_ARG(ref_or_id));
		}
		return err_set(err, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(ref_or_id));
	}
	return true;
}

bool image_status(struct image_store *s, struct arena *a, struct str ref_or_id, struct image_info *ret, struct err *err) {
	struct str id;
	if (!image_find(s, a, ref_or_id, &id, err)) {
		return false;
	}
	return image_info_by_id(s, a, id, ret) || err_set(err, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(ref_or_id));
}

static int by_name(const void *x, const void *y) {
	const struct image_info *p = x, *q = y;
	struct str a = p->tags_len ? p->tags[0] : S("~"), b = q->tags_len ? q->tags[0] : S("~");
	int d = str_cmp(a, b);
	return d ? d : str_cmp(p->id, q->id);
}

bool image_ls(struct image_store *s, struct arena *a, struct image_list *ret, struct err *err) {
	size_t n = 0;
	pthread_mutex_lock(&s->lock);
	ret->at = arena_array(a, struct image_info, s->images.len);
	MAP_EACH(&s->images, e) {
		info_fill(s, a, e->value, &ret->at[n++]);
	}
	pthread_mutex_unlock(&s->lock);
	ret->len = n;
	if (n > 1) {
		qsort(ret->at, n, sizeof(*ret->at), by_name);
	}
	return true;
}

bool image_layer_dirs(struct image_store *s, struct arena *a, struct str id, struct cri_strs *ret, struct err *err) {
	struct image_info info;
	if (!image_info_by_id(s, a, id, &info)) {
		return err_set(err, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(id));
	}
	size_t n = MAX(info.layers_len, (size_t)1);
	struct str *at = arena_array(a, struct str, n);
	at[0] = arena_printf(a, "%s/empty", s->root);
	for (size_t i = 0; i < info.layers_len; i++) {
		at[i] = arena_str(a, str_c(layer_dir(s, info.layers[i]).c));
	}
	*ret = (struct cri_strs){ at, n };
	return true;
}

/* ---- changing ---------------------------------------------------------------------------------- */

bool image_tag(struct image_store *s, struct str ref_or_id, struct str new_ref, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct image_ref ref;
	struct str id;

	if (!image_ref_parse(&a, new_ref, &ref, err)) {
		return false;
	}
	if (ref.digest.len) {
		return err_set(err, ERR_INVALID, "a tag cannot have a digest: \"%.*s\"", STR_ARG(new_ref));
	}
	if (!image_find(s, &a, ref_or_id, &id, err)) {
		return false;
	}
	pthread_mutex_lock(&s->lock);
	struct image *i = map_get(&s->images, id);
	if (i) {
		map_set(&s->tags, image_ref_text(&a, &ref), i);
	}
	pthread_mutex_unlock(&s->lock);
	return i ? store_save(s, err) : err_set(err, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(ref_or_id));
}

bool image_pin(struct image_store *s, struct str ref_or_id, bool pinned, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct str id;
	if (!image_find(s, &a, ref_or_id, &id, err)) {
		return false;
	}
	pthread_mutex_lock(&s->lock);
	struct image *i = map_get(&s->images, id);
	if (i) {
		struct value *meta = value_copy(&a, i->meta->root);
		set_bool(&a, meta, "pinned", pinned);
		obj_unref(i->meta);
		i->meta = obj_freeze(meta, 0);
	}
	pthread_mutex_unlock(&s->lock);
	return i ? store_save(s, err) : err_set(err, ERR_NOT_FOUND, "image \"%.*s\" is not here", STR_ARG(ref_or_id));
}

/* Drops the names that mean `i`; with `only`, that one. Returns how many are left. Called with the lock held. */
static size_t tags_drop(struct image_store *s, const struct image *i, struct str only) {
	size_t left = 0;
	MAP_EACH(&s->tags, e) {
		if (e->value != i) {
			continue;
		}
		if (!only.len || str_eq(e->key, only)) {
			map_remove(&s->tags, e->key);
		} else {
			left++;
		}
	}
	return left;
}

bool image_rm(struct image_store *s, struct str ref_or_id, bool force, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct image_ref ref;
	struct err ignored = { 0 };
	struct str id, only = { 0 };

	if (!image_find(s, &a, ref_or_id, &id, err)) {
		return false;
	}
	if (image_ref_parse(&a, ref_or_id, &ref, &ignored) && !ref.digest.len) {
		struct str whole = image_ref_text(&a, &ref);
		pthread_mutex_lock(&s->lock);
		if (map_get(&s->tags, whole)) {
			only = whole;
		}
		pthread_mutex_unlock(&s->lock);
	}
	bool used = s->in_use && s->in_use(s->arg, id);
	pthread_mutex_lock(&s->lock);
	struct image *i = map_get(&s->images, id);
	size_t names = 0;
	MAP_EACH(&s->tags, e) {
		names += e->value == i;
	}
	bool last = !only.len || names == 1;
	bool refused = last && used && !force;
	if (i && !refused) {
		size_t left = tags_drop(s, i, only);
		if (!left) {
			map_remove(&s->images, id);
			image_free(i);
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (refused) {
		return err_set(err, ERR_CONFLICT, "image %.*s is used by a container; remove that first, or force", STR_ARG(ref_or_id));
	}
	return store_save(s, err) && (!last || image_gc(s, NULL, err));
}

/* ---- layers that nobody needs -------------------------------------------------------------------- */

/* Called with the lock held. */
static bool layer_needed(struct image_store *s, struct str diff_id) {
	MAP_EACH(&s->images, e) {
		VALUE_EACH(get(((struct image *)e->value)->meta->root, "layers"), l) {
			if (str_eq(value_as_str(l), diff_id)) {
				return true;
			}
		}
	}
	return false;
}

/*
 * An image that was removed by force may still be a running container's: its layers are then among the lower
 * folders of an overlay mount.
 */
static bool layer_mounted(struct image_store *s, struct str mounts, struct str diff_id) {
	return str_contains(mounts, str_c(layer_dir(s, diff_id).c));
}

bool image_gc(struct image_store *s, uint64_t *ret_bytes, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf mounts = BUF_INIT((size_t)64 << 20);
	VEC(struct str) drop = { 0 };
	uint64_t bytes = 0;
	bool ok = true;

	if (!file_read("/proc/self/mountinfo", &mounts, err)) {
		return false;
	}
	pthread_mutex_lock(&s->lock);
	MAP_EACH(&s->layers, e) {
		struct layer *l = e->value;
		if (l->state == LAYER_READY && !l->users && !layer_needed(s, e->key) && !layer_mounted(s, buf_view(&mounts), e->key)) {
			VEC_PUSH(&drop, arena_str(&a, e->key));
			bytes += l->bytes;
			map_remove(&s->layers, e->key);
			obj_unref(l->meta);
			free(l);
		}
	}
	pthread_mutex_unlock(&s->lock);
	VEC_EACH(&drop, d) {
		struct path dir = layer_dir(s, *d), dead = path_fmt("%s/tmp/dead-%.*s", s->root, STR_ARG(digest_hex(*d)));
		unlink(layer_file(s, *d, ".json").c);
		unlink(layer_file(s, *d, ".split").c);
		/* Out of the way first: a pull may bring the same layer back meanwhile. */
		ok = (rename(dir.c, dead.c) == 0 || err_sys(err, "remove %s", dir.c)) && dir_remove(dead.c, err) && ok;
	}
	VEC_RELEASE(&drop);
	if (ret_bytes) {
		*ret_bytes = bytes;
	}
	return ok;
}

void image_usage(struct image_store *s, struct image_usage *ret) {
	*ret = (struct image_usage){ .at = clock_wall(), .path = str_c(s->root) };
	pthread_mutex_lock(&s->lock);
	MAP_EACH(&s->layers, e) {
		ret->bytes += ((struct layer *)e->value)->bytes;
		ret->inodes += ((struct layer *)e->value)->inodes;
	}
	pthread_mutex_unlock(&s->lock);
}
