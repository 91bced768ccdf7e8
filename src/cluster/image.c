/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - `coracle image load|ls|rm|pull|push|tag`: talks to the control sockets of all nodes of the
 * cluster on this machine; what changes images does so on every one of them.
 */
#include "cluster/image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/flags.h"
#include "cluster/hosts.h"
#include "cluster/server.h"
#include "net/client.h"
#include "net/url.h"
#include "value/value.h"

struct image_run {
	struct cluster_config c;
	struct arena arena;
	const char *sockets[256];
	size_t sockets_len;
	bool force;
	const char *user, *password;
	bool tty;
	struct buf partial; /* of an answer's last line */
	struct value *last; /* line */
	int fd;             /* of an archive that is sent */
	uint64_t sent, size;
};

static bool find_sockets(struct image_run *r, struct err *err) {
	int all[256];
	size_t hosts = hosts_list(&r->c, all, ARRAY_LEN(all));
	if (cluster_pid(&r->c, "server.pid")) {
		r->sockets[r->sockets_len++] = cluster_run_path(&r->c, "control.sock");
	}
	for (size_t i = 0; i < hosts && r->sockets_len < ARRAY_LEN(r->sockets); i++) {
		if (hosts_pid(&r->c, all[i])) {
			r->sockets[r->sockets_len++] = cluster_run_path(&r->c, "nodes/%d/control.sock", all[i]);
		}
	}
	return r->sockets_len || err_set(err, ERR_UNAVAILABLE, "cluster %s is down: start it with `coracle up`", r->c.name);
}

/* Shows a progress line; keeps the last line, which holds the result. */
static void on_line(struct image_run *r, struct str l) {
	struct err err = { 0 };
	struct value *v;
	if (!json_parse(&r->arena, arena_str(&r->arena, l), NULL, &v, &err)) {
		return;
	}
	struct str what = value_str_at(v, N_step);
	if (what.len && r->tty) {
		int64_t done = value_int_at(v, N_done), total = value_int_at(v, N_total);
		if (total > 0) {
			fprintf(stderr, "\r\033[K%.*s  %lld of %lld kB", STR_ARG(what), (long long)done / 1024, (long long)total / 1024);
		} else {
			fprintf(stderr, "\r\033[K%.*s", STR_ARG(what));
		}
	}
	if (!what.len) {
		r->last = v;
	}
}

static bool on_body(void *arg, struct str bytes) {
	struct image_run *r = arg;
	buf_str(&r->partial, bytes);
	for (ptrdiff_t nl; (nl = str_index(buf_view(&r->partial), '\n')) >= 0;) {
		on_line(r, str_sub(buf_view(&r->partial), 0, (size_t)nl));
		buf_drop(&r->partial, (size_t)nl + 1);
	}
	return true;
}

static ssize_t body_read(void *arg, char *into, size_t len) {
	struct image_run *r = arg;
	ssize_t n = read(r->fd, into, len);
	if (n > 0) {
		r->sent += (uint64_t)n;
		if (r->tty) {
			fprintf(stderr, "\r\033[Ksending  %llu of %llu kB", (unsigned long long)r->sent / 1024, (unsigned long long)r->size / 1024);
		}
	}
	return n;
}

/* One request to one node. The answer's last value is in r->last. */
static bool ask(struct image_run *r, const char *socket, struct http_request *rq, struct err *err) {
	struct http_client *http;
	struct http_response resp = { 0 };
	struct http_header headers[2];
	struct http_client_opts o = { .base = arena_printf(&r->arena, "unix:%s", socket), .user_agent = S("coracle-image") };
	if (r->user) {
		headers[0] = (struct http_header){ S("X-Registry-User"), str_c(r->user) };
		headers[1] = (struct http_header){ S("X-Registry-Password"), str_c(r->password) };
		rq->headers = headers;
		rq->headers_len = 2;
	}
	if (!http_client_new(&o, &http, err)) {
		return false;
	}
	r->last = NULL;
	buf_clear(&r->partial);
	rq->on_body = on_body;
	rq->arg = r;
	rq->timeout = -1;
	bool ok = http_do(http, rq, &resp, err);
	if (r->tty) {
		fprintf(stderr, "\r\033[K");
	}
	if (ok && resp.body.len) { /* an error's body is collected */
		on_line(r, resp.body);
	}
	if (ok && r->partial.len) {
		on_line(r, buf_view(&r->partial));
	}
	if (ok && (resp.status >= 300 || value_get(r->last, N_error))) {
		struct str msg = value_str_at(r->last, N_error);
		ok = err_set(err, err_from_reason(value_str_at(r->last, N_reason), resp.status), "%.*s", STR_ARG(msg.len ? msg : S("the node gave no reason")));
	}
	if (ok && !r->last) {
		ok = err_set(err, ERR_UNAVAILABLE, "the node broke the answer off");
	}
	http_response_release(&resp);
	http_client_free(http);
	return ok;
}

static bool load(struct image_run *r, const struct flag_args *args, struct err *err) {
	for (size_t f = 0; f < args->len; f++) {
		struct stat st;
		bool std = !strcmp(args->at[f], "-");
		if (std && r->sockets_len > 1) {
			return err_set(err, ERR_BAD_REQUEST, "standard input cannot be sent to %zu nodes: name a file", r->sockets_len);
		}
		for (size_t i = 0; i < r->sockets_len; i++) {
			auto_fd int fd = std ? dup(0) : open(args->at[f], O_RDONLY | O_CLOEXEC);
			if (fd < 0 || fstat(fd, &st) != 0) {
				return err_sys(err, "open %s", args->at[f]);
			}
			if (S_ISDIR(st.st_mode)) {
				return err_set(err, ERR_BAD_REQUEST, "%s is a folder: pack it with tar first", args->at[f]);
			}
			r->fd = fd;
			r->sent = 0;
			r->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
			struct http_request rq = { .method = S("POST"), .url = S("/images/load"), .content_type = S("application/x-tar"), .body_read = body_read,
				.body_len = S_ISREG(st.st_mode) ? st.st_size : -1 };
			if (!ask(r, r->sockets[i], &rq, err)) {
				return err_wrap(err, "%s", args->at[f]);
			}
		}
		VALUE_EACH(value_get(r->last, N_loaded), name) {
			printf("Loaded image: %.*s\n", STR_ARG(value_as_str(name)));
		}
	}
	return true;
}

/* The same small request to every node; prints the named member of the last answer. */
static bool everywhere(struct image_run *r, const char *method, struct str url, enum name_id print, struct err *err) {
	for (size_t i = 0; i < r->sockets_len; i++) {
		struct http_request rq = { .method = str_c(method), .url = url };
		if (!ask(r, r->sockets[i], &rq, err)) {
			return false;
		}
	}
	if (print != N_NONE) {
		printf("%.*s\n", STR_ARG(value_str_at(r->last, print)));
	}
	return true;
}

static struct str escaped(struct image_run *r, const char *s) {
	return url_escape(&r->arena, str_c(s));
}

static bool rm(struct image_run *r, const struct flag_args *args, struct err *err) {
	for (size_t i = 0; i < args->len; i++) {
		struct str url = arena_printf(&r->arena, "/images?ref=%.*s%s", STR_ARG(escaped(r, args->at[i])), r->force ? "&force=1" : "");
		if (!everywhere(r, "DELETE", url, N_NONE, err)) {
			return false;
		}
		printf("Removed image: %s\n", args->at[i]);
	}
	return true;
}

static bool pull(struct image_run *r, const struct flag_args *args, struct err *err) {
	for (size_t i = 0; i < args->len; i++) {
		if (!everywhere(r, "POST", arena_printf(&r->arena, "/images/pull?ref=%.*s", STR_ARG(escaped(r, args->at[i]))), N_id, err)) {
			return false;
		}
	}
	return true;
}

static bool push(struct image_run *r, const struct flag_args *args, struct err *err) {
	r->sockets_len = 1; /* one node's copy is enough */
	for (size_t i = 0; i < args->len; i++) {
		if (!everywhere(r, "POST", arena_printf(&r->arena, "/images/push?ref=%.*s", STR_ARG(escaped(r, args->at[i]))), N_digest, err)) {
			return false;
		}
	}
	return true;
}

static bool tag(struct image_run *r, const struct flag_args *args, struct err *err) {
	return everywhere(r, "POST", arena_printf(&r->arena, "/images/tag?from=%.*s&to=%.*s", STR_ARG(escaped(r, args->at[0])), STR_ARG(escaped(r, args->at[1]))),
		N_NONE, err);
}

static bool ls(struct image_run *r, const struct flag_args *args, struct err *err) {
	struct http_request rq = { .method = S("GET"), .url = S("/images") };
	if (!ask(r, r->sockets[0], &rq, err)) {
		return false;
	}
	printf("%-50s %-20s %-14s %s\n", "REPOSITORY", "TAG", "IMAGE ID", "SIZE");
	VALUE_EACH(value_get(r->last, N_images), image) {
		struct str id = str_sub(str_from(value_str_at(image, N_id), strlen("sha256:")), 0, 12);
		struct value *tags = value_get(image, N_tags);
		for (size_t i = 0; i < MAX(value_len(tags), (size_t)1); i++) {
			struct str whole = value_as_str(value_item(tags, i)), repo = S("<none>"), t = S("<none>");
			ptrdiff_t colon = str_rindex(whole, ':');
			if (colon > 0) {
				repo = str_sub(whole, 0, (size_t)colon);
				t = str_from(whole, (size_t)colon + 1);
			}
			double mb = (double)value_int_at(image, N_size) / 1e6;
			printf("%-50.*s %-20.*s %-14.*s %.*f MB\n", STR_ARG(repo), STR_ARG(t), STR_ARG(id), mb < 10 ? 2 : 0, mb);
		}
	}
	return true;
}

static const struct image_verb {
	const char *name, *args, *help;
	size_t args_min, args_max;
	bool (*run)(struct image_run *r, const struct flag_args *args, struct err *err);
} verbs[] = {
	{ "load", "FILE...",     "load archives of `docker save` or OCI layouts into every node; - is standard input", 1, 256, load },
	{ "ls",   "",            "list the images of the first node",                                                  0, 0,   ls },
	{ "rm",   "IMAGE...",    "remove images from every node",                                                      1, 256, rm },
	{ "pull", "REFERENCE...", "pull from a registry into every node",                                              1, 256, pull },
	{ "push", "REFERENCE...", "push to the registry that the reference names",                                     1, 256, push },
	{ "tag",  "IMAGE NAME",  "give an image one more name on every node",                                          2, 2,   tag },
};

static void usage(const struct flag *flags) {
	printf("Images of a cluster's nodes.\n\nUsage: coracle image VERB [arguments] [flags]\n\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		printf("  %-5s %-13s %s\n", verbs[i].name, verbs[i].args, verbs[i].help);
	}
	printf("\n  docker save app:1 | coracle image load -\n\n");
	flags_print(flags);
}

int cmd_image(int argc, char **argv) {
	struct image_run r = { .tty = isatty(2), .fd = -1, .partial = BUF_INIT(1 << 20) };
	struct cluster_args args = { 0 };
	struct flag_args rest = { 0 };
	const struct image_verb *verb = NULL;
	const char *names[ARRAY_LEN(verbs)];
	bool help;
	struct err err = { 0 };
	const struct flag flags[] = {
		CLUSTER_FLAGS(args),
		{ "force", 'f', FLAG_BOOL, &r.force, NULL, "remove although a container uses it" },
		{ "username", 'u', FLAG_STRING, &r.user, "NAME", "for the registry" },
		{ "password", 'p', FLAG_STRING, &r.password, "TEXT", "for the registry" },
		{ 0 },
	};
	if (!flags_parse(flags, argc, argv, &rest, &help, &err)) {
		fprintf(stderr, "coracle image: %s\nSee coracle image --help.\n", err.msg);
		return 2;
	}
	if (help || !rest.len) {
		usage(flags);
		return help ? 0 : 2;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		names[i] = verbs[i].name;
		if (!strcmp(rest.at[0], verbs[i].name)) {
			verb = &verbs[i];
		}
	}
	if (!verb) {
		const char *near = flags_nearest(rest.at[0], names, ARRAY_LEN(names));
		fprintf(stderr, "coracle image: unknown verb \"%s\"%s%s%s\n", rest.at[0], near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
		return 2;
	}
	memmove(rest.at, rest.at + 1, --rest.len * sizeof(rest.at[0]));
	if (rest.len < verb->args_min || rest.len > verb->args_max) {
		fprintf(stderr, "coracle image %s: usage: coracle image %s %s\n", verb->name, verb->name, verb->args);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	bool ok = cluster_config_load(&args, &r.c, &err) && find_sockets(&r, &err) && verb->run(&r, &rest, &err);
	if (!ok) {
		fprintf(stderr, "coracle image %s: %s%s%s\n", verb->name, err.ctx, err.ctx[0] ? ": " : "", err.msg);
	}
	buf_release(&r.partial);
	arena_release(&r.arena);
	cluster_config_release(&r.c);
	return ok ? 0 : 1;
}
