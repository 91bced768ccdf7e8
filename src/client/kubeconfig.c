/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubeconfig.c - reads, merges and writes kubeconfig files.
 *
 * Called by bring-up and the command line, on threads that may block. A change is made on the parsed file as
 * a whole, so that what this file does not know stays; it is made under kubectl's own lock ("<file>.lock", created
 * exclusively) and put in place by a rename.
 */
#include "client/kubeconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <unistd.h>

#include "base/file.h"
#include "net/digest.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)
#define LOCK_TRIES 50 /* 100 ms apart */

/* ---- members by text: these documents are kubectl's, not the API's ----------------------------------------- */

static struct str text_of(const struct value *v, const char *key) {
	return value_as_str(value_get_str(v, str_c(key)));
}

static void put(struct arena *a, struct value *v, const char *key, struct str s) {
	if (s.len) {
		value_set_key_str(a, v, str_c(key), s);
	} else {
		value_remove_key(v, str_c(key));
	}
}

/* The list under `key`, made when missing. */
static struct value *list_of(struct arena *a, struct value *root, const char *key) {
	struct value *list = value_get_str(root, str_c(key));

	return value_is(list, VALUE_ARRAY) ? list : value_set_key(a, root, str_c(key), value_new_array(a));
}

/* {name: n, <member>: {...}} in the list; made when missing. Gives the inner object, emptied when it is to be replaced. */
static struct value *named(struct arena *a, struct value *root, const char *list_key, const char *member, struct str name) {
	struct value *list = list_of(a, root, list_key), *item = NULL;

	VALUE_EACH(list, it) {
		if (str_eq(text_of(it, "name"), name)) {
			item = it;
		}
	}
	if (!item) {
		item = value_push(a, list, value_new_object(a));
		value_set_key_str(a, item, S("name"), name);
	}
	struct value *inner = value_get_str(item, str_c(member));
	return value_is(inner, VALUE_OBJECT) ? inner : value_set_key(a, item, str_c(member), value_new_object(a));
}

static const struct value *find_named(const struct value *root, const char *list_key, const char *member, struct str name) {
	const struct value *list = value_get_str(root, str_c(list_key));

	VALUE_EACH(list, it) {
		if (str_eq(text_of(it, "name"), name)) {
			return value_get_str(it, str_c(member));
		}
	}
	return NULL;
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static bool read_file(const char *path, struct arena *a, struct value **ret, struct err *err) {
	auto_buf struct buf b = BUF_INIT(FILE_BYTES_MAX);
	struct value *v = NULL;

	if (!file_read(path, &b, err)) {
		return false;
	}
	if (str_trim(buf_view(&b)).len == 0) {
		*ret = value_new_object(a);
		return true;
	}
	if (!yaml_parse(a, buf_view(&b), NULL, &v, err)) {
		return err_wrap(err, "kubeconfig %s", path);
	}
	if (!value_is(v, VALUE_OBJECT)) {
		return err_set(err, ERR_INVALID, "kubeconfig %s: not a mapping", path);
	}
	*ret = value_copy(a, v);
	return true;
}

static bool write_file(const char *path, const struct value *root, struct err *err) {
	auto_buf struct buf b = BUF_INIT(FILE_BYTES_MAX);
	auto_free char *copy = xstrdup(path);

	if (!yaml_print(&b, root)) {
		return err_set(err, ERR_TOO_LARGE, "kubeconfig %s: larger than %zu bytes", path, FILE_BYTES_MAX);
	}
	return dir_make(dirname(copy), 0750, err) && file_write(path, buf_view(&b), 0600, err);
}

static bool lock_take(const char *path, char **ret_lock, struct err *err) {
	auto_free char *lock = xasprintf("%s.lock", path);
	auto_free char *copy = xstrdup(path);

	if (!dir_make(dirname(copy), 0750, err)) {
		return false;
	}
	for (int i = 0; i < LOCK_TRIES; i++) {
		auto_fd int fd = open(lock, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		if (fd >= 0) {
			*ret_lock = TAKE(lock);
			return true;
		}
		if (errno != EEXIST) {
			return err_sys(err, "open %s", lock);
		}
		clock_sleep(100 * NSEC_PER_MSEC);
	}
	return err_set(err, ERR_UNAVAILABLE, "%s is locked: remove %s if no other program is changing it", path, lock);
}

static void lock_drop(char **lock) {
	if (*lock) {
		(void)unlink(*lock);
		free(*lock);
	}
}
#define auto_lock CLEANUP(lock_drop)

static void head_put(struct arena *a, struct value *root) {
	if (!value_get_str(root, S("apiVersion"))) {
		value_set_key_str(a, root, S("apiVersion"), S("v1"));
	}
	if (!value_get_str(root, S("kind"))) {
		value_set_key_str(a, root, S("kind"), S("Config"));
	}
}

static void entry_put(struct arena *a, struct value *root, const struct kubeconfig_entry *e) {
	struct value *cluster = named(a, root, "clusters", "cluster", e->name);
	put(a, cluster, "server", e->server);
	put(a, cluster, "certificate-authority-data", e->ca_pem.len ? base64_encode(a, e->ca_pem) : S(""));
	put(a, cluster, "certificate-authority", S(""));
	put(a, cluster, "insecure-skip-tls-verify", S(""));

	struct value *user = named(a, root, "users", "user", e->name);
	put(a, user, "client-certificate-data", e->cert_pem.len ? base64_encode(a, e->cert_pem) : S(""));
	put(a, user, "client-key-data", e->key_pem.len ? base64_encode(a, e->key_pem) : S(""));
	put(a, user, "token", e->token);
	put(a, user, "client-certificate", S(""));
	put(a, user, "client-key", S(""));
	put(a, user, "tokenFile", S(""));

	struct value *context = named(a, root, "contexts", "context", e->name);
	put(a, context, "cluster", e->name);
	put(a, context, "user", e->name);
}

bool kubeconfig_merge(const char *path, const struct kubeconfig_entry *e, bool set_current, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_lock char *lock = NULL;
	struct value *root = NULL;

	if (!lock_take(path, &lock, err)) {
		return false;
	}
	if (!file_exists(path)) {
		root = value_new_object(&a);
	} else if (!read_file(path, &a, &root, err)) {
		return false;
	}
	head_put(&a, root);
	entry_put(&a, root, e);
	if (set_current) {
		put(&a, root, "current-context", e->name);
	}
	return write_file(path, root, err);
}

bool kubeconfig_remove(const char *path, struct str name, struct err *err) {
	static const char *const lists[] = { "clusters", "users", "contexts" };
	auto_arena struct arena a = { 0 };
	auto_lock char *lock = NULL;
	struct value *root = NULL;

	if (!file_exists(path)) {
		return true;
	}
	if (!lock_take(path, &lock, err) || !read_file(path, &a, &root, err)) {
		return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		struct value *list = value_get_str(root, str_c(lists[i]));
		for (size_t n = value_len(list); n-- > 0;) {
			if (str_eq(text_of(value_item(list, n), "name"), name)) {
				value_remove_at(list, n);
			}
		}
	}
	if (str_eq(text_of(root, "current-context"), name)) {
		value_set_key_str(&a, root, S("current-context"), S(""));
	}
	return write_file(path, root, err);
}

bool kubeconfig_write(const char *path, const struct kubeconfig_entry *e, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *root = value_new_object(&a);

	head_put(&a, root);
	entry_put(&a, root, e);
	put(&a, root, "current-context", e->name);
	return write_file(path, root, err);
}

/* PEM from "<key>-data" (base64) or the file that "<key>" names, relative to the kubeconfig. */
static bool pem_load(const char *path, struct arena *a, const struct value *from, const char *key, struct str *ret, struct err *err) {
	struct str data = text_of(from, arena_printf(a, "%s-data", key).ptr), file = text_of(from, key);
	auto_buf struct buf b = BUF_INIT(FILE_BYTES_MAX);

	if (data.len) {
		if (!base64_decode(a, data, ret)) {
			return err_set(err, ERR_INVALID, "kubeconfig %s: %s-data is not base64", path, key);
		}
		return true;
	}
	if (!file.len) {
		return true;
	}
	const char *full = arena_cstr(a, file);
	if (file.ptr[0] != '/') {
		char *copy = arena_cstr(a, str_c(path));
		full = arena_printf(a, "%s/%.*s", dirname(copy), STR_ARG(file)).ptr;
	}
	if (!file_read(full, &b, err)) {
		return err_wrap(err, "kubeconfig %s: %s", path, key);
	}
	*ret = arena_str(a, buf_view(&b));
	return true;
}

bool kubeconfig_load(const char *path, const char *context, struct arena *a, struct client_https_opts *ret, struct err *err) {
	struct value *root = NULL;

	if (!read_file(path, a, &root, err)) {
		return false;
	}
	struct str name = context ? str_c(context) : text_of(root, "current-context");
	if (!name.len) {
		return err_set(err, ERR_INVALID, "kubeconfig %s: current-context is not set", path);
	}
	const struct value *c = find_named(root, "contexts", "context", name);
	if (!c) {
		return err_set(err, ERR_NOT_FOUND, "kubeconfig %s: context \"%.*s\" does not exist", path, STR_ARG(name));
	}
	const struct value *cluster = find_named(root, "clusters", "cluster", text_of(c, "cluster"));
	const struct value *user = find_named(root, "users", "user", text_of(c, "user"));
	if (!cluster) {
		return err_set(err, ERR_NOT_FOUND, "kubeconfig %s: cluster \"%.*s\" of context \"%.*s\" does not exist", path, STR_ARG(text_of(c, "cluster")),
			STR_ARG(name));
	}
	struct client_https_opts o = {
		.server = arena_cstr(a, text_of(cluster, "server")),
		.insecure = value_as_bool(value_get_str(cluster, S("insecure-skip-tls-verify"))),
		.token = arena_str(a, text_of(user, "token")),
	};
	if (text_of(user, "tokenFile").len) {
		o.token_file = arena_cstr(a, text_of(user, "tokenFile"));
	}
	if (!pem_load(path, a, cluster, "certificate-authority", &o.ca_pem, err) || !pem_load(path, a, user, "client-certificate", &o.cert_pem, err) ||
		!pem_load(path, a, user, "client-key", &o.key_pem, err)) {
		return false;
	}
	*ret = o;
	return true;
}

bool client_new_kubeconfig(const char *path, const char *context, struct client **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct client_https_opts opts = { 0 };

	return kubeconfig_load(path, context, &a, &opts, err) && client_new_https(&opts, ret, err);
}
