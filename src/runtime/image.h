/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - container images of one node: names, configurations and unpacked layers.
 *
 * A store is one folder. Layers are unpacked once each, named by the digest of their plain tar
 * (diffID), and shared by all images and containers. An image's id is the digest of its
 * configuration, "sha256:<hex>". Everything here blocks (disk, network, a child process that
 * unpacks): pool threads only. All functions are safe from any number of threads at once; two pulls
 * of one reference share the work.
 *
 * Images come from `docker save` archives, OCI layouts (a folder, or a tar of one, also gzip or zstd)
 * and registries that speak the distribution API (v2).
 *
 * Source: OCI image-spec v1.1, OCI distribution-spec v1.1, Docker image manifest v2 schema 2.
 */
#ifndef RUNTIME_IMAGE_H
#define RUNTIME_IMAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* ---- references ------------------------------------------------------------------------------ */
/* "nginx" is registry "docker.io", repository "library/nginx", tag "latest". */
struct image_ref {
	struct str registry;   /* host, or host:port */
	struct str repository; /* path below it */
	struct str tag;        /* "" when only a digest was given */
	struct str digest;     /* "sha256:<64 hex>" or "" */
};
/* Parses and completes as docker does. Fails: ERR_INVALID, in the field's words ("invalid reference format: ..."). */
NODISCARD bool image_ref_parse(struct arena *a, struct str text, struct image_ref *ret, struct err *err);
/* Whole: "docker.io/library/nginx:latest", "host:5000/a/b@sha256:...". */
struct str image_ref_text(struct arena *a, const struct image_ref *ref);
/* As people write it: "nginx:latest". */
struct str image_ref_short(struct arena *a, const struct image_ref *ref);

/* ---- the store ------------------------------------------------------------------------------- */
struct image_store;

struct image_store_opts {
	struct str root_dir;                /* made when missing */
	struct str self_path;               /* program whose main() calls runtime_helper_main(); "": /proc/self/exe */
	const struct str *insecure;         /* registries (host, host:port) that speak plain http; loopback always may */
	size_t insecure_len;
	struct str ca_file;                 /* PEM, beside the system's; "" none */
	uint64_t image_bytes_max;           /* unpacked, of one image; 0: 64 GiB */
	/* Whether a container uses the image; called without the store's lock. NULL: none. */
	bool (*in_use)(void *arg, struct str image_id);
	void *arg;
};
NODISCARD bool image_store_open(const struct image_store_opts *opts, struct image_store **ret, struct err *err);
void image_store_free(struct image_store *s);

struct image_info {
	struct str id;               /* "sha256:..." */
	const struct str *tags;      /* whole references with a tag, sorted */
	size_t tags_len;
	const struct str *digests;   /* whole references with a digest ("repo@sha256:...") */
	size_t digests_len;
	uint64_t size;               /* bytes of its unpacked layers */
	int64_t created;             /* as the configuration says, ns since 1970; 0 unknown */
	int64_t pulled;              /* when it came here */
	bool pinned;                 /* never removed by image_gc_images() */
	/* of its configuration */
	struct str os, arch;
	struct str user;             /* "", "uid", "uid:gid", "name", "name:group" */
	const struct str *entrypoint; size_t entrypoint_len;
	const struct str *cmd; size_t cmd_len;
	const struct str *env; size_t env_len; /* "NAME=value" */
	struct str workdir;
	struct str stop_signal;      /* "" when not set */
	const struct str *ports; size_t ports_len;     /* "80/tcp" */
	const struct str *volumes; size_t volumes_len; /* paths */
	const struct str *labels; size_t labels_len;   /* "name=value" */
	const struct str *layers; size_t layers_len;   /* diffIDs, lowest first */
};

/* Progress for people; called now and then from the working thread. total 0: not known. */
struct image_progress {
	void (*step)(void *arg, const char *what, uint64_t done, uint64_t total);
	void *arg;
};

/* Loads every image of an archive or layout. `ret` gets their ids (len of them), in `a`. */
struct image_list {
	struct image_info *at;
	size_t len;
};
NODISCARD bool image_load(struct image_store *s, struct arena *a, const char *path,
	const struct image_progress *progress, struct image_list *ret, struct err *err);

struct image_auth {
	struct str username, password;
	struct str identity_token; /* OAuth2 refresh token */
	struct str registry_token; /* bearer token, sent as it is */
};
struct image_transfer_opts {
	const struct image_auth *auth; /* NULL: anonymous */
	const struct image_progress *progress;
	bool insecure;                 /* plain http allowed for this registry */
};
/*
 * Pulls for this machine's platform. `ret_id` is in `a`.
 * Fails: ERR_NOT_FOUND no such image; ERR_UNAUTHORIZED/ERR_FORBIDDEN; ERR_INVALID bad reference or bad
 * content (digest differs); ERR_UNAVAILABLE registry not reachable; ERR_TOO_LARGE.
 */
NODISCARD bool image_pull(struct image_store *s, struct arena *a, struct str ref, const struct image_transfer_opts *opts,
	struct str *ret_id, struct err *err);
/* Pushes the image that `ref` names here to the registry that it names. `ret_digest` is the manifest's, in `a`. */
NODISCARD bool image_push(struct image_store *s, struct arena *a, struct str ref, const struct image_transfer_opts *opts,
	struct str *ret_digest, struct err *err);

/* Reads a reference, an id, or a unique start of an id (at least 4 hex digits). ERR_NOT_FOUND when there is none. */
NODISCARD bool image_status(struct image_store *s, struct arena *a, struct str ref_or_id, struct image_info *ret, struct err *err);
NODISCARD bool image_ls(struct image_store *s, struct arena *a, struct image_list *ret, struct err *err); /* by first tag, then id */
NODISCARD bool image_tag(struct image_store *s, struct str ref_or_id, struct str new_ref, struct err *err);
NODISCARD bool image_pin(struct image_store *s, struct str ref_or_id, bool pinned, struct err *err);
/*
 * Removes a name; with the last name, or by id, the image and the layers that nobody else uses.
 * Fails: ERR_CONFLICT while a container uses it, unless force (its layers then stay until unused).
 */
NODISCARD bool image_rm(struct image_store *s, struct str ref_or_id, bool force, struct err *err);

/* Removes layers of no image and no container, and what an interrupted load left. Bytes freed in ret (may be NULL). */
NODISCARD bool image_gc(struct image_store *s, uint64_t *ret_bytes, struct err *err);
/* Bytes and inodes that the store's layers take. */
struct image_usage {
	uint64_t bytes, inodes;
	int64_t at; /* wall clock */
	struct str path; /* the file system's folder, borrowed from the store */
};
void image_usage(struct image_store *s, struct image_usage *ret);

#endif
