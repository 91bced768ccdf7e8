/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_file.c - see log_file.h. The record format is the CRI's; the reader is given a path and hands out
 * text, and touches nothing but files.
 */
#include "kubelet/log_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/vec.h"

#define CHUNK ((size_t)64 << 10)
#define READ_ROUND ((size_t)256 << 10)
#define LINE_MAX_BYTES ((size_t)1 << 20)

bool log_record_parse(struct str line, struct log_record *ret) {
	struct str rest = line, stream, tag;

	if (!str_cut(rest, ' ', &ret->time, &rest) || !str_cut(rest, ' ', &stream, &rest)) {
		return false;
	}
	str_cut(rest, ' ', &tag, &rest); /* an empty line may end after its tag */
	ret->is_stderr = str_eq(stream, S("stderr"));
	if ((!ret->is_stderr && !str_eq(stream, S("stdout"))) || tag.len == 0 || (tag.ptr[0] != 'F' && tag.ptr[0] != 'P') || ret->time.len < 20) {
		return false;
	}
	ret->partial = tag.ptr[0] == 'P';
	ret->text = rest;
	return true;
}

/* ---- the files of one log --------------------------------------------------------------------------------- */

struct log_names {
	VEC(char *) at; /* whole paths, oldest first; the current file is not among them */
};

static int by_name(const void *a, const void *b) {
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_release(struct log_names *n) {
	VEC_EACH(&n->at, s) {
		free(*s);
	}
	VEC_RELEASE(&n->at);
}

static void names_find(const char *path, struct log_names *ret) {
	const char *slash = strrchr(path, '/');
	char *dir = slash ? str_dup((struct str){ path, (size_t)(slash - path) }) : xstrdup(".");
	const char *base = slash ? slash + 1 : path;
	size_t len = strlen(base);
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		if (strncmp(e->d_name, base, len) == 0 && e->d_name[len] == '.' && strstr(e->d_name, ".tmp") == NULL) {
			VEC_PUSH(&ret->at, xasprintf("%s/%s", dir, e->d_name));
		}
	}
	if (d) {
		closedir(d);
	}
	free(dir);
	VEC_SORT(&ret->at, by_name);
}

void log_files_remove(struct str path) {
	char *p = str_dup(path);
	struct log_names names = { 0 };

	names_find(p, &names);
	VEC_EACH(&names.at, s) {
		unlink(*s);
	}
	names_release(&names);
	unlink(p);
	free(p);
}

bool log_rotate(const char *path, int64_t bytes_max, int files_max, bool *ret_rotated, struct err *err) {
	struct stat st;
	struct log_names names = { 0 };
	char stamp[32];
	struct tm tm;
	time_t now = (time_t)(clock_wall() / NSEC_PER_SEC);

	*ret_rotated = false;
	if (stat(path, &st) != 0) {
		return errno == ENOENT || err_sys(err, "stat %s", path);
	}
	if (st.st_size < bytes_max) {
		return true;
	}
	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	char *to = xasprintf("%s.%s", path, stamp);
	bool ok = access(to, F_OK) == 0 || rename(path, to) == 0 || err_sys(err, "rotate %s", path);
	free(to);
	if (!ok) {
		return false;
	}
	names_find(path, &names);
	for (size_t i = 0; i + (size_t)MAX(files_max - 1, 1) < names.at.len; i++) {
		unlink(names.at.at[i]);
	}
	names_release(&names);
	*ret_rotated = true;
	return true;
}

/* ---- from the end ------------------------------------------------------------------------------------------- */

/* Where the last `lines` lines of the file begin. A record that goes on (P) does not end a line. */
static int64_t offset_of_tail(int fd, int64_t size, int64_t lines) {
	char block[CHUNK];
	int64_t at = size, found = 0;

	if (lines == 0) {
		return size;
	}
	while (at > 0) {
		size_t want = (size_t)MIN((int64_t)sizeof(block), at);
		ssize_t n = pread(fd, block, want, at - (int64_t)want);
		if (n != (ssize_t)want) {
			return 0;
		}
		for (size_t i = want; i > 0; i--) {
			int64_t here = at - (int64_t)want + (int64_t)i; /* first byte after block[i - 1] */
			if (block[i - 1] == '\n' && here != size && ++found >= lines) {
				return here;
			}
		}
		at -= (int64_t)want;
	}
	return 0;
}

char *log_tail(const char *path, int lines, size_t bytes_max) {
	struct stat st;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_buf struct buf raw = BUF_INIT(8 << 20), out = BUF_INIT(8 << 20);
	struct str rest, line;

	if (fd < 0 || fstat(fd, &st) != 0) {
		return NULL;
	}
	int64_t from = MAX(offset_of_tail(fd, st.st_size, lines), st.st_size - (4 << 20));
	for (;;) {
		char *room = buf_reserve(&raw, CHUNK);
		ssize_t n = room ? pread(fd, room, CHUNK, from + (int64_t)raw.len) : 0;
		if (n <= 0) {
			break;
		}
		raw.len += (size_t)n;
	}
	rest = buf_view(&raw);
	while (str_next(&rest, '\n', &line)) {
		struct log_record r;
		if (log_record_parse(line, &r)) {
			buf_str(&out, r.text);
			if (!r.partial) {
				buf_char(&out, '\n');
			}
		}
	}
	struct str text = buf_view(&out);
	if (text.len > bytes_max) {
		text = str_from(text, text.len - bytes_max);
	}
	return text.len ? str_dup(text) : NULL;
}

/* ---- the reader ---------------------------------------------------------------------------------------------- */

struct log_reader {
	char *path;
	struct log_query q;
	int fd;                  /* -1: none yet */
	ino_t ino;
	struct log_names older;  /* rotated files still to be read; next is older.at[next] */
	size_t next;
	bool in_current;
	struct buf rest;         /* a line that is not whole yet */
	int64_t sent;
	bool mid_line;           /* the record before was partial: no time stamp in front of this one */
	char since[TIME_TEXT_MAX];
};

/* Lines of a file, to see from which file a tail begins. */
static int64_t count_lines(int fd) {
	char block[CHUNK];
	int64_t lines = 0, at = 0;

	for (ssize_t n; (n = pread(fd, block, sizeof(block), at)) > 0; at += n) {
		for (ssize_t i = 0; i < n; i++) {
			lines += block[i] == '\n';
		}
	}
	return lines;
}

static bool open_file(struct log_reader *r, const char *path, struct err *err) {
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		return errno == ENOENT || err_sys(err, "open log %s", path);
	}
	if (fstat(fd, &st) != 0) {
		(void)err_sys(err, "stat log %s", path);
		close(fd);
		return false;
	}
	close_fd_p(&r->fd);
	r->fd = fd;
	r->ino = st.st_ino;
	return true;
}

/* With a tail, only as many files as it takes, from the newest back. */
static bool position_tail(struct log_reader *r, struct err *err) {
	int64_t left = r->q.tail;
	auto_fd int fd = open(r->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int64_t here = fd >= 0 ? count_lines(fd) : 0;

	r->next = r->older.at.len;
	if (here >= left) {
		r->in_current = true;
		if (!open_file(r, r->path, err)) {
			return false;
		}
		if (r->fd >= 0 && fstat(r->fd, &st) == 0) {
			lseek(r->fd, offset_of_tail(r->fd, st.st_size, left), SEEK_SET);
		}
		return true;
	}
	left -= here;
	while (r->next > 0) {
		r->next--;
		auto_fd int old = open(r->older.at.at[r->next], O_RDONLY | O_CLOEXEC);
		int64_t n = old >= 0 ? count_lines(old) : 0;
		if (n < left && r->next > 0) {
			left -= n;
			continue;
		}
		if (!open_file(r, r->older.at.at[r->next++], err)) {
			return false;
		}
		if (r->fd >= 0 && fstat(r->fd, &st) == 0) {
			lseek(r->fd, offset_of_tail(r->fd, st.st_size, MIN(left, n)), SEEK_SET);
		}
		return true;
	}
	r->in_current = true;
	return open_file(r, r->path, err);
}

bool log_reader_open(const char *path, const struct log_query *q, struct log_reader **ret, struct err *err) {
	struct log_reader *r = xcalloc(1, sizeof(*r));

	r->path = xstrdup(path);
	r->q = *q;
	r->fd = -1;
	r->rest.max = LINE_MAX_BYTES + CHUNK;
	if (q->since > 0) {
		time_format_nano(q->since, r->since);
	}
	names_find(path, &r->older);
	bool ok = true;
	if (q->tail >= 0) {
		ok = position_tail(r, err);
	}
	if (!ok) {
		log_reader_free(r);
		return false;
	}
	*ret = r;
	return true;
}

void log_reader_free(struct log_reader *r) {
	if (!r) {
		return;
	}
	close_fd_p(&r->fd);
	names_release(&r->older);
	buf_release(&r->rest);
	free(r->path);
	free(r);
}

/* To the next file when this one is at its end. *moved: there was one. */
static bool advance(struct log_reader *r, bool *moved, struct err *err) {
	struct stat st;

	*moved = false;
	if (!r->in_current) {
		if (r->next < r->older.at.len) {
			*moved = true;
			return open_file(r, r->older.at.at[r->next++], err);
		}
		r->in_current = true;
		if (r->fd < 0 || stat(r->path, &st) == 0) {
			*moved = true;
			return open_file(r, r->path, err);
		}
		return true;
	}
	if (stat(r->path, &st) != 0 || (r->fd >= 0 && st.st_ino == r->ino)) {
		return true;
	}
	/* Renamed meanwhile. Its last bytes have been read: the writer has left it once the new file is there. */
	*moved = true;
	return open_file(r, r->path, err);
}

static bool is_old(const struct log_reader *r, struct str time) {
	nsec_t t;

	if (r->q.since <= 0) {
		return false;
	}
	return time_parse(time, &t) && t < r->q.since;
}

/* False: the limit is reached. */
static bool put(struct log_reader *r, struct buf *b, struct str s) {
	if (r->q.limit_bytes >= 0) {
		int64_t room = r->q.limit_bytes - r->sent;
		if ((int64_t)s.len > room) {
			s = str_sub(s, 0, (size_t)MAX(room, 0));
		}
	}
	buf_str(b, s);
	r->sent += (int64_t)s.len;
	return r->q.limit_bytes < 0 || r->sent < r->q.limit_bytes;
}

static bool put_line(struct log_reader *r, struct buf *b, struct str line) {
	struct log_record rec;
	bool open = true;

	if (!log_record_parse(line, &rec)) {
		return true;
	}
	if ((r->q.stream == LOG_STREAM_STDOUT && rec.is_stderr) || (r->q.stream == LOG_STREAM_STDERR && !rec.is_stderr) || is_old(r, rec.time)) {
		return true;
	}
	if (r->q.timestamps && !r->mid_line) {
		open = put(r, b, rec.time) && put(r, b, S(" "));
	}
	open = open && put(r, b, rec.text);
	if (!rec.partial) {
		open = open && put(r, b, S("\n"));
	}
	r->mid_line = rec.partial;
	return open;
}

bool log_reader_read(struct log_reader *r, struct buf *b, bool *ret_more, bool *ret_open, struct err *err) {
	size_t began = b->len;

	*ret_more = false;
	*ret_open = r->q.limit_bytes != 0;
	if (!*ret_open) {
		return true;
	}
	for (;;) {
		char *room = r->fd >= 0 ? buf_reserve(&r->rest, CHUNK) : NULL;
		ssize_t n = room ? read(r->fd, room, CHUNK) : 0;
		if (n < 0) {
			return errno == EINTR || err_sys(err, "read log %s", r->path);
		}
		if (n == 0) {
			bool moved;
			if (!advance(r, &moved, err)) {
				return false;
			}
			if (!moved) {
				return true;
			}
			continue;
		}
		r->rest.len += (size_t)n;
		size_t used = 0;
		struct str all = buf_view(&r->rest);
		for (;;) {
			ptrdiff_t end = str_index(str_from(all, used), '\n');
			if (end < 0) {
				break;
			}
			if (!put_line(r, b, str_sub(all, used, used + (size_t)end))) {
				*ret_open = false;
				return true;
			}
			used += (size_t)end + 1;
		}
		buf_drop(&r->rest, used);
		if (r->rest.len > LINE_MAX_BYTES) {
			buf_clear(&r->rest); /* no writer of ours makes such lines */
		}
		if (b->len - began > READ_ROUND) {
			*ret_more = true;
			return true;
		}
	}
}
