/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ref.c - image references: parsed, completed and printed as docker and the kubelet's users know them.
 *
 * Pure computing on text that users and manifests give; any thread.
 * Source: distribution/reference grammar; docker's normalised names.
 */
#include "runtime/image.h"

enum { REF_NAME_MAX = 255, REF_TAG_MAX = 128 };

#define REF_DEFAULT_REGISTRY S("docker.io")
#define REF_DEFAULT_PREFIX S("library/")

static bool is_lower_alnum(char c) {
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c) {
	return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_hex(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		if (!((s.ptr[i] >= '0' && s.ptr[i] <= '9') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'f'))) {
			return false;
		}
	}
	return true;
}

/* Whether the part before the first slash is taken for a registry. */
static bool looks_like_host(struct str head) {
	for (size_t i = 0; i < head.len; i++) {
		if (head.ptr[i] >= 'A' && head.ptr[i] <= 'Z') {
			return true;
		}
	}
	return str_index(head, '.') >= 0 || str_index(head, ':') >= 0 || str_eq(head, S("localhost"));
}

/* alphanumerics, separated by one '.', one or two '_', or any number of '-'. */
static bool path_part_valid(struct str s) {
	size_t i = 0;
	while (i < s.len) {
		size_t from = i;
		while (i < s.len && is_lower_alnum(s.ptr[i])) {
			i++;
		}
		if (i == from) {
			return false; /* starts, or goes on, with a separator */
		}
		if (i == s.len) {
			return true;
		}
		from = i;
		while (i < s.len && s.ptr[i] == s.ptr[from] && !is_lower_alnum(s.ptr[i])) {
			i++;
		}
		size_t run = i - from;
		char c = s.ptr[from];
		if (!((c == '.' && run == 1) || (c == '_' && run <= 2) || c == '-')) {
			return false;
		}
	}
	return false; /* empty, or ends with a separator */
}

/* A host name or address, with an optional port: "localhost", "a.b:5000", "[::1]:5000". */
static bool registry_valid(struct str s) {
	struct str host = s, port = { 0 };
	ptrdiff_t colon = str_rindex(s, ':');
	if (s.len && s.ptr[0] == '[') {
		ptrdiff_t end = str_index(s, ']');
		if (end < 2) {
			return false;
		}
		for (ptrdiff_t i = 1; i < end; i++) {
			char c = s.ptr[i];
			if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.')) {
				return false;
			}
		}
		if ((size_t)end + 1 == s.len) {
			return true;
		}
		if (s.ptr[end + 1] != ':') {
			return false;
		}
		port = str_from(s, (size_t)end + 2);
		int n;
		return str_to_int(port, 1, 65535, &n);
	}
	if (colon >= 0) {
		int n;
		host = str_sub(s, 0, (size_t)colon);
		port = str_from(s, (size_t)colon + 1);
		if (!str_to_int(port, 1, 65535, &n)) {
			return false;
		}
	}
	struct str rest = host, part;
	while (str_next(&rest, '.', &part)) {
		if (!part.len || part.ptr[0] == '-' || part.ptr[part.len - 1] == '-') {
			return false;
		}
		for (size_t i = 0; i < part.len; i++) {
			if (!is_alnum(part.ptr[i]) && part.ptr[i] != '-') {
				return false;
			}
		}
	}
	return host.len > 0;
}

static bool tag_valid(struct str s) {
	if (!s.len || s.len > REF_TAG_MAX || s.ptr[0] == '.' || s.ptr[0] == '-') {
		return false;
	}
	for (size_t i = 0; i < s.len; i++) {
		if (!is_alnum(s.ptr[i]) && s.ptr[i] != '_' && s.ptr[i] != '.' && s.ptr[i] != '-') {
			return false;
		}
	}
	return true;
}

static bool has_upper(struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] >= 'A' && s.ptr[i] <= 'Z') {
			return true;
		}
	}
	return false;
}

bool image_ref_parse(struct arena *a, struct str text, struct image_ref *ret, struct err *err) {
	struct image_ref r = { 0 };
	struct str name = text, rest;

	if (!text.len) {
		return err_set(err, ERR_INVALID, "invalid reference format: the image name is empty");
	}
	if (text.len > REF_NAME_MAX + REF_TAG_MAX + 80) {
		return err_set(err, ERR_INVALID, "invalid reference format: the image name is longer than %d characters", REF_NAME_MAX);
	}
	ptrdiff_t at = str_index(text, '@');
	if (at >= 0) {
		struct str digest = str_from(text, (size_t)at + 1);
		name = str_sub(text, 0, (size_t)at);
		if (!str_starts(digest, S("sha256:"))) {
			return err_set(err, ERR_INVALID, "invalid reference format: digest \"%.*s\" of image \"%.*s\" is not of the form sha256:<64 hex digits>",
				STR_ARG(digest), STR_ARG(text));
		}
		if (digest.len != 7 + 64 || !is_hex(str_from(digest, 7))) {
			return err_set(err, ERR_INVALID, "invalid reference format: digest \"%.*s\" of image \"%.*s\" must have 64 lower-case hex digits",
				STR_ARG(digest), STR_ARG(text));
		}
		r.digest = arena_str(a, digest);
	}
	/* A tag's colon stands after the last slash; before it, a colon begins a port. */
	ptrdiff_t slash = str_rindex(name, '/');
	ptrdiff_t colon = str_rindex(name, ':');
	if (colon > slash) {
		struct str tag = str_from(name, (size_t)colon + 1);
		if (!tag_valid(tag)) {
			return err_set(err, ERR_INVALID, "invalid reference format: tag \"%.*s\" of image \"%.*s\" must be 1 to %d letters, digits, '_', '.' or '-'",
				STR_ARG(tag), STR_ARG(text), REF_TAG_MAX);
		}
		r.tag = arena_str(a, tag);
		name = str_sub(name, 0, (size_t)colon);
	}
	if (!name.len) {
		return err_set(err, ERR_INVALID, "invalid reference format: \"%.*s\" has no image name", STR_ARG(text));
	}
	/* The first part is a registry when it looks like a host. */
	struct str head;
	if (str_cut(name, '/', &head, &rest) && looks_like_host(head)) {
		if (!registry_valid(head)) {
			return err_set(err, ERR_INVALID, "invalid reference format: \"%.*s\" in image \"%.*s\" is not a registry host", STR_ARG(head), STR_ARG(text));
		}
		r.registry = str_eq(head, S("index.docker.io")) ? REF_DEFAULT_REGISTRY : arena_str(a, head);
		name = rest;
	} else {
		r.registry = REF_DEFAULT_REGISTRY;
	}
	if (has_upper(name)) {
		return err_set(err, ERR_INVALID, "invalid reference format: repository name \"%.*s\" must be lowercase", STR_ARG(name));
	}
	struct str parts = name, part;
	bool any = false;
	while (str_next(&parts, '/', &part)) {
		any = true;
		if (!path_part_valid(part)) {
			return err_set(err, ERR_INVALID, "invalid reference format: \"%.*s\" in image \"%.*s\" is not a valid name part", STR_ARG(part), STR_ARG(text));
		}
	}
	if (!any) {
		return err_set(err, ERR_INVALID, "invalid reference format: \"%.*s\" has no image name", STR_ARG(text));
	}
	if (name.len == 64 && is_hex(name) && str_eq(r.registry, REF_DEFAULT_REGISTRY)) {
		return err_set(err, ERR_INVALID, "invalid repository name (%.*s), cannot specify 64-byte hexadecimal strings", STR_ARG(name));
	}
	if (str_eq(r.registry, REF_DEFAULT_REGISTRY) && str_index(name, '/') < 0) {
		r.repository = arena_printf(a, "library/%.*s", STR_ARG(name));
	} else {
		r.repository = arena_str(a, name);
	}
	if (r.registry.len + r.repository.len + 1 > REF_NAME_MAX) {
		return err_set(err, ERR_INVALID, "invalid reference format: repository name must not be more than %d characters", REF_NAME_MAX);
	}
	if (!r.tag.len && !r.digest.len) {
		r.tag = S("latest");
	}
	*ret = r;
	return true;
}

struct str image_ref_text(struct arena *a, const struct image_ref *ref) {
	return arena_printf(a, "%.*s/%.*s%s%.*s%s%.*s", STR_ARG(ref->registry), STR_ARG(ref->repository), ref->tag.len ? ":" : "",
		STR_ARG(ref->tag), ref->digest.len ? "@" : "", STR_ARG(ref->digest));
}

struct str image_ref_short(struct arena *a, const struct image_ref *ref) {
	struct str repo = ref->repository, head, rest;
	bool hub = str_eq(ref->registry, REF_DEFAULT_REGISTRY);
	/* Only what completes to the same again is left out. */
	struct str official = str_from(repo, REF_DEFAULT_PREFIX.len);
	if (hub && str_starts(repo, REF_DEFAULT_PREFIX) && str_index(official, '/') < 0 && !(official.len == 64 && is_hex(official))) {
		repo = official;
	} else if (hub && (!str_cut(repo, '/', &head, &rest) || looks_like_host(head))) {
		hub = false;
	}
	return arena_printf(a, "%.*s%s%.*s%s%.*s%s%.*s", hub ? 0 : (int)ref->registry.len, ref->registry.ptr, hub ? "" : "/", STR_ARG(repo),
		ref->tag.len ? ":" : "", STR_ARG(ref->tag), ref->digest.len ? "@" : "", STR_ARG(ref->digest));
}
