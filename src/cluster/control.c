/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - see control.h. Handlers run on pool threads and block; the image store is safe for that. */
#include "cluster/control.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "net/http.h"
#include "net/url.h"
#include "value/value.h"

#define ARCHIVE_MAX ((uint64_t)64 << 30)

struct control {
	struct http_server *server;
	struct image_store *images;
	char *spool_dir;
	char *path;
};

static void line(struct http_exchange *x, const struct value *v) {
	auto_buf struct buf b = { 0 };
	json_print(&b, v);
	buf_char(&b, '\n');
	(void)!http_reply_write(x, buf_view(&b)); /* a client that has gone does not stop the work */
}

static void line_error(struct http_exchange *x, const struct err *e) {
	struct value *v = value_new_object(&x->arena);
	value_set_str(&x->arena, v, N_error, str_c(e->msg));
	value_set_str(&x->arena, v, N_reason, str_c(err_reason(e->code)));
	line(x, v);
}

static void on_step(void *arg, const char *what, uint64_t done, uint64_t total) {
	auto_arena struct arena a = { 0 };
	struct value *v = value_new_object(&a);
	value_set_str(&a, v, N_step, str_c(what));
	value_set_int(&a, v, N_done, (int64_t)done);
	value_set_int(&a, v, N_total, (int64_t)total);
	line(arg, v);
}

static void reply_value(struct http_exchange *x, int status, const struct value *v) {
	http_reply(x, status, S("application/json"), json_text(&x->arena, v));
}

static void reply_error(struct http_exchange *x, const struct err *e) {
	struct value *v = value_new_object(&x->arena);
	value_set_str(&x->arena, v, N_error, str_c(e->msg));
	value_set_str(&x->arena, v, N_reason, str_c(err_reason(e->code)));
	reply_value(x, err_http(e->code), v);
}

static struct value *image_value(struct arena *a, const struct image_info *i) {
	struct value *v = value_new_object(a);
	value_set_str(a, v, N_id, i->id);
	struct value *tags = value_ensure_array(a, v, N_tags);
	for (size_t k = 0; k < i->tags_len; k++) {
		value_push_str(a, tags, i->tags[k]);
	}
	struct value *digests = value_ensure_array(a, v, N_digests);
	for (size_t k = 0; k < i->digests_len; k++) {
		value_push_str(a, digests, i->digests[k]);
	}
	value_set_int(a, v, N_size, (int64_t)i->size);
	value_set_int(a, v, N_created, i->created);
	return v;
}

static void list(struct control *c, struct http_exchange *x) {
	struct image_list all;
	struct err err = { 0 };
	if (!image_ls(c->images, &x->arena, &all, &err)) {
		reply_error(x, &err);
		return;
	}
	struct value *v = value_new_object(&x->arena);
	struct value *images = value_ensure_array(&x->arena, v, N_images);
	for (size_t i = 0; i < all.len; i++) {
		value_push(&x->arena, images, image_value(&x->arena, &all.at[i]));
	}
	reply_value(x, 200, v);
}

/* Writes the request's body to a file of the spool folder; the caller unlinks it. */
static bool spool(struct control *c, struct http_exchange *x, const char *path, struct err *err) {
	auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	auto_free char *chunk = xmalloc(1 << 18);
	uint64_t total = 0;
	if (fd < 0) {
		return err_sys(err, "open %s", path);
	}
	for (;;) {
		size_t n;
		if (!http_body_read(x, chunk, 1 << 18, &n, err)) {
			return false;
		}
		if (n == 0) {
			return true;
		}
		total += n;
		if (total > ARCHIVE_MAX) {
			return err_set(err, ERR_TOO_LARGE, "the archive is larger than 64 GiB");
		}
		for (size_t at = 0; at < n;) {
			ssize_t w = write(fd, chunk + at, n - at);
			if (w < 0) {
				return err_sys(err, "write %s", path);
			}
			at += (size_t)w;
		}
	}
}

static void load(struct control *c, struct http_exchange *x) {
	struct err err = { 0 };
	struct image_list loaded = { 0 };
	const char *path = arena_printf(&x->arena, "%s/load-%d-%016llx", c->spool_dir, getpid(), (unsigned long long)rand_u64()).ptr;
	bool ok = spool(c, x, path, &err);
	http_reply_start(x, 200, S("application/json"), NULL);
	struct image_progress progress = { .step = on_step, .arg = x };
	ok = ok && image_load(c->images, &x->arena, path, &progress, &loaded, &err);
	unlink(path);
	if (!ok) {
		line_error(x, &err);
	} else {
		struct value *v = value_new_object(&x->arena);
		struct value *names = value_ensure_array(&x->arena, v, N_loaded);
		for (size_t i = 0; i < loaded.len; i++) {
			value_push_str(&x->arena, names, loaded.at[i].tags_len ? loaded.at[i].tags[0] : loaded.at[i].id);
		}
		line(x, v);
	}
	http_reply_end(x);
}

static void transfer(struct control *c, struct http_exchange *x, struct str ref, bool push) {
	struct err err = { 0 };
	struct str result = { 0 };
	struct image_auth auth = { .username = http_request_header(x, S("X-Registry-User")), .password = http_request_header(x, S("X-Registry-Password")) };
	struct image_progress progress = { .step = on_step, .arg = x };
	struct image_transfer_opts o = { .auth = auth.username.len ? &auth : NULL, .progress = &progress };
	http_reply_start(x, 200, S("application/json"), NULL);
	bool ok = push ? image_push(c->images, &x->arena, ref, &o, &result, &err) : image_pull(c->images, &x->arena, ref, &o, &result, &err);
	if (!ok) {
		line_error(x, &err);
	} else {
		struct value *v = value_new_object(&x->arena);
		value_set_str(&x->arena, v, push ? N_digest : N_id, result);
		line(x, v);
	}
	http_reply_end(x);
}

static struct str param(struct http_exchange *x, const char *name) {
	struct str v = { 0 };
	return url_query_get(&x->arena, x->query, str_c(name), &v) ? v : S("");
}

static void handle(struct http_exchange *x, void *arg) {
	struct control *c = arg;
	struct err err = { 0 };
	bool post = str_eq(x->method, S("POST"));
	if (str_eq(x->path, S("/images")) && str_eq(x->method, S("GET"))) {
		list(c, x);
	} else if (str_eq(x->path, S("/images")) && str_eq(x->method, S("DELETE"))) {
		if (image_rm(c->images, param(x, "ref"), param(x, "force").len > 0, &err)) {
			reply_value(x, 200, value_new_object(&x->arena));
		} else {
			reply_error(x, &err);
		}
	} else if (str_eq(x->path, S("/images/load")) && post) {
		load(c, x);
	} else if (str_eq(x->path, S("/images/pull")) && post) {
		transfer(c, x, param(x, "ref"), false);
	} else if (str_eq(x->path, S("/images/push")) && post) {
		transfer(c, x, param(x, "ref"), true);
	} else if (str_eq(x->path, S("/images/tag")) && post) {
		if (image_tag(c->images, param(x, "from"), param(x, "to"), &err)) {
			reply_value(x, 200, value_new_object(&x->arena));
		} else {
			reply_error(x, &err);
		}
	} else {
		err_set(&err, ERR_NOT_FOUND, "the control socket knows no %.*s %.*s", STR_ARG(x->method), STR_ARG(x->path));
		reply_error(x, &err);
	}
}

static enum http_body early(struct http_exchange *x, void *arg) {
	return str_eq(x->path, S("/images/load")) ? HTTP_BODY_STREAM : HTTP_BODY_COLLECT;
}

bool control_start(const struct control_opts *o, struct control **ret, struct err *err) {
	struct control *c = xcalloc(1, sizeof(*c));
	c->images = o->images;
	c->spool_dir = xstrdup(o->spool_dir);
	c->path = xstrdup(o->path);
	auto_free char *address = xasprintf("unix:%s", o->path);
	unlink(o->path); /* of a former run; the pid file guards against two at once */
	struct http_listen listen = { .address = str_c(address) };
	struct http_server_opts so = { .name = "control", .listen = &listen, .listen_len = 1, .handle = handle, .early = early, .arg = c, .loops = 1,
		.body_timeout = 600 * NSEC_PER_SEC };
	if (!http_server_start(&so, &c->server, err)) {
		control_stop(c);
		return false;
	}
	chmod(o->path, 0600);
	*ret = c;
	return true;
}

void control_stop(struct control *c) {
	if (!c) {
		return;
	}
	if (c->server) {
		http_server_stop(c->server, NSEC_PER_SEC);
		unlink(c->path);
	}
	free(c->spool_dir);
	free(c->path);
	free(c);
}
