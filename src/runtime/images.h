/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images.h - what the files of the image store share. Private to the room.
 *
 * Below the store's folder: images.json (names, and what each image consists of), configs/<hex> (each
 * image's configuration, byte for byte), layers/<hex>/ (an unpacked layer) with layers/<hex>.json (its
 * size, the blobs it is known by) and layers/<hex>.split (what its tar holds beside file contents),
 * tmp/ (in the making).
 *
 * Locking: one mutex guards the tables; never held across disk or network, but for the short write of
 * images.json, which has a mutex of its own.
 */
#ifndef RUNTIME_IMAGES_H
#define RUNTIME_IMAGES_H

#include <pthread.h>

#include "base/map.h"
#include "base/vec.h"
#include "runtime/image.h"
#include "runtime/runtime.h"

enum {
	IMAGE_CONFIG_MAX = 8 << 20,
	IMAGE_MANIFEST_MAX = 4 << 20,
	IMAGE_LAYERS_MAX = 400,
	IMAGE_NAMES_MAX = 1000,
	DIGEST_LEN = 71, /* "sha256:" and 64 hex digits */
};

struct image {
	char *id;            /* digest of the configuration */
	struct obj *meta;    /* {config, layers, digests, size, pulled, pinned} */
};

enum layer_state { LAYER_MAKING, LAYER_READY };
struct layer {
	enum layer_state state;
	uint64_t bytes, inodes;
	struct obj *meta;    /* {bytes, inodes, blobs: [{digest, size, mediaType}]} */
	unsigned users;      /* images in the making that count on it */
};

struct image_store {
	char *root, *self, *ca_file;
	char **insecure;
	size_t insecure_len;
	uint64_t bytes_max;
	bool (*in_use)(void *arg, struct str image_id);
	void *arg;
	pthread_mutex_t lock, save;
	pthread_cond_t changed; /* a layer became ready or failed; a pull ended */
	struct map images; /* id -> struct image */
	struct map tags;   /* whole reference -> struct image, which is also in `images` */
	struct map layers; /* diffID -> struct layer */
	struct map pulls;  /* whole reference -> struct pull (pull.c) */
};

bool digest_valid(struct str digest);
struct str digest_hex(struct str digest); /* the part after "sha256:" */

/* ---- layers (layer.c) ---------------------------------------------------------------------------- */
/* Where a layer's bytes come from: fills `into`, returns how many, 0 at the end, -1 with err set. */
struct blob_source {
	ssize_t (*read)(struct blob_source *s, char *into, size_t len, struct err *err);
	struct str digest;      /* of the bytes as they come; "" not known */
	int64_t size;           /* -1 not known */
	struct str media_type;
};
struct blob_file {
	struct blob_source source;
	int fd; /* borrowed */
};
struct blob_source *blob_file_init(struct blob_file *f, int fd, struct str digest, int64_t size, struct str media_type);

/*
 * Makes sure that the layer is here: unpacks it, unless it is or somebody else is at it (then waits). On success
 * the layer is held until layer_release. `opened` tells whether the source was read.
 */
NODISCARD bool layer_get(struct image_store *s, struct str diff_id, bool (*open)(void *arg, struct blob_source **ret, struct err *err), void *arg,
	struct err *err);
void layer_release(struct image_store *s, struct str diff_id);
struct path layer_dir(const struct image_store *s, struct str diff_id);
struct path layer_file(const struct image_store *s, struct str diff_id, const char *suffix);
bool layers_open(struct image_store *s, struct err *err);
/* Unpacks a whole archive (any compression) into a new folder below tmp/, by the confined child. */
NODISCARD bool archive_unpack(struct image_store *s, int fd, struct path *ret_dir, struct err *err);

/* ---- the tables (image_store.c) -------------------------------------------------------------------- */
/*
 * Adds an image whose layers are all held, or updates one that is here: adds names and digests. `config` are the
 * configuration's bytes, whose digest is the id.
 */
struct image_new {
	struct str config;
	const struct value *config_value;
	const struct str *layers; /* diffIDs */
	size_t layers_len;
	const struct str *tags, *digests; /* whole references */
	size_t tags_len, digests_len;
};
NODISCARD bool image_add(struct image_store *s, struct arena *a, const struct image_new *n, struct str *ret_id, struct err *err);
/* Checks a configuration and lists its diffIDs. */
NODISCARD bool image_config_parse(struct arena *a, struct str bytes, struct value **ret, struct cri_strs *ret_layers, struct err *err);
NODISCARD bool image_info_by_id(struct image_store *s, struct arena *a, struct str id, struct image_info *ret);
/* The id a reference, an id or the start of one means. */
NODISCARD bool image_find(struct image_store *s, struct arena *a, struct str ref_or_id, struct str *ret_id, struct err *err);
/* "amd64" */
struct str image_arch(void);
/* The entry of an index's manifests that fits this machine; NULL when none. */
const struct value *image_index_pick(const struct value *index);

#endif
