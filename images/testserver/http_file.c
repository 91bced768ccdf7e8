/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_file.c - answers that are files, and redirects.
 *
 * Called by the handlers of the commands, on connection threads. Reads files below the given root;
 * `..` never leads out of it, links may.
 */
#include "http.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096, LISTING_MAX = 10000 };

static const struct {
	struct str end, type;
} types[] = {
	{ S(".html"), S("text/html; charset=utf-8") }, { S(".htm"), S("text/html; charset=utf-8") },
	{ S(".json"), S("application/json") },         { S(".js"), S("text/javascript; charset=utf-8") },
	{ S(".css"), S("text/css; charset=utf-8") },   { S(".svg"), S("image/svg+xml") },
	{ S(".jpg"), S("image/jpeg") },                { S(".png"), S("image/png") },
	{ S(".gz"), S("application/gzip") },           { S(".tar"), S("application/x-tar") },
};

static struct str type_of(struct str path) {
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct str end = types[i].end;

		if (path.len >= end.len && str_eq_nocase((struct str){ path.ptr + path.len - end.len, end.len }, end)) {
			return types[i].type;
		}
	}
	return S("text/plain; charset=utf-8");
}

/* Adds the parts of `path` to `out`, without `.`, and with `..` taking one part back. */
static void path_clean(struct buf *out, struct str path) {
	size_t root = out->len;

	while (path.len > 0) {
		struct str part = str_cut(&path, '/');

		if (str_eq(part, S(".."))) {
			while (out->len > root && out->ptr[--out->len] != '/') {
			}
			out->ptr[out->len] = '\0';
		} else if (part.len > 0 && !str_eq(part, S("."))) {
			buf_addf(out, "/%.*s", STR_ARG(part));
		}
	}
}

static void html_add(struct buf *out, struct str s) {
	for (size_t i = 0; i < s.len; i++) {
		switch (s.ptr[i]) {
		case '<':
			buf_add(out, S("&lt;"));
			break;
		case '&':
			buf_add(out, S("&amp;"));
			break;
		case '"':
			buf_add(out, S("&#34;"));
			break;
		default:
			buf_add(out, (struct str){ &s.ptr[i], 1 });
		}
	}
}

static void listing(struct http_reply *reply, int fd) {
	DIR *dir = fdopendir(fd); /* takes fd */
	struct dirent *entry;

	if (!dir) {
		close(fd);
		http_reply_text(reply, 500, "cannot list the folder\n");
		return;
	}
	reply->type = S("text/html; charset=utf-8");
	buf_add(&reply->body, S("<pre>\n"));
	for (size_t n = 0; n < LISTING_MAX && (entry = readdir(dir)) != NULL; n++) {
		const char *slash = entry->d_type == DT_DIR ? "/" : "";
		struct str name = str_from(entry->d_name);

		if (str_eq(name, S(".")) || str_eq(name, S(".."))) {
			continue;
		}
		buf_add(&reply->body, S("<a href=\""));
		http_escape(&reply->body, name);
		buf_addf(&reply->body, "%s\">", slash);
		html_add(&reply->body, name);
		buf_addf(&reply->body, "%s</a>\n", slash);
	}
	buf_add(&reply->body, S("</pre>\n"));
	closedir(dir);
}

void http_reply_redirect(struct http_reply *reply, struct str location, int status) {
	for (size_t i = 0; i < location.len; i++) {
		if ((unsigned char)location.ptr[i] < ' ') {
			http_reply_text(reply, 400, "a location is one line\n");
			return;
		}
	}
	reply->status = status ? status : 302;
	reply->type = S("text/html; charset=utf-8");
	buf_addf(&reply->headers, "Location: %.*s\r\n", STR_ARG(location));
	buf_add(&reply->body, S("<a href=\""));
	html_add(&reply->body, location);
	buf_add(&reply->body, S("\">there</a>\n"));
}

void http_reply_file(struct http_reply *reply, const struct http_request *req, const char *root) {
	auto_buf struct buf path = { .max = PATH_BYTES_MAX };
	bool slash = req->path.len > 0 && req->path.ptr[req->path.len - 1] == '/';
	auto_fd int fd = -1;
	struct stat st;

	if (!str_eq(req->head.method, S("GET")) && !str_eq(req->head.method, S("HEAD"))) {
		http_reply_text(reply, 405, "only GET and HEAD are answered\n");
		return;
	}
	buf_add(&path, str_eq(str_from(root), S("/")) ? S("") : str_from(root));
	if (memchr(req->path.ptr ? req->path.ptr : "", '\0', req->path.len)) {
		http_reply_text(reply, 400, "bad path\n");
		return;
	}
	path_clean(&path, req->path);
	/* O_NONBLOCK: a pipe in the tree must not hold a thread. */
	fd = path.overflown ? -1 : open(path.len ? path.ptr : "/", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0) {
		bool denied = fd < 0 && errno == EACCES;

		http_reply_text(reply, denied ? 403 : 404, denied ? "403 Forbidden\n" : "404 page not found\n");
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		int index;

		if (!slash && req->path.len > 1) {
			auto_buf struct buf there = { 0 };

			buf_addf(&there, "%.*s/", STR_ARG(req->head.path));
			http_reply_redirect(reply, buf_str(&there), 301);
			return;
		}
		index = openat(fd, "index.html", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (index < 0) {
			listing(reply, fd);
			fd = -1;
			return;
		}
		close(fd);
		fd = index;
		buf_add(&path, S("/index.html"));
		if (fstat(fd, &st) != 0) {
			http_reply_text(reply, 500, "cannot read the index\n");
			return;
		}
	}
	if (!S_ISREG(st.st_mode)) {
		http_reply_text(reply, 403, "no regular file\n");
		return;
	}
	reply->type = type_of(buf_str(&path));
	if (st.st_size == 0) {
		/* Files of /proc and /sys say 0 and have content all the same. */
		char bytes[4096];
		ssize_t n;

		while ((n = read(fd, bytes, sizeof(bytes))) > 0 && buf_add(&reply->body, (struct str){ bytes, (size_t)n })) {
		}
		return;
	}
	reply->file = fd;
	reply->file_len = st.st_size;
	fd = -1;
}
