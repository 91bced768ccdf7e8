/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.c - the confined child that unpacks archives: see unpack.h. Hostile bytes are read here and nowhere else.
 *
 * Three processes in a row, each without network, names, or anything of ours:
 *   decompress   gzip or zstd to plain bytes; may only read, write and manage memory (seccomp)
 *   this one     hashes the plain tar and takes it apart (tar_split); looks at no content
 *   extract      libarchive into the folder, which is its root directory
 * So the digest is computed by a process that a broken decompressor or tar reader cannot reach.
 *
 * Layers become what overlay understands: ".wh.x" a character device 0/0, ".wh..wh..opq" an attribute.
 * Source: OCI image-spec, layer.md; Linux Documentation/filesystems/overlayfs.rst.
 */
#include "runtime/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/str.h"
#include "net/digest.h"
#include "runtime/tar_split.h"
#include "value/value.h"

enum { CHUNK = 64 << 10, SPLIT_MAX = 1 << 30 };

/* ---- libarchive ---------------------------------------------------------------------------------- */

/*
 * Loaded by the extracting process alone: with what it draws in (libxml2, ICU, the C++ library) it would cost every start of
 * the program 3 ms and a megabyte and a half.
 */
#define LIBARCHIVE "libarchive.so.13"
#define LIBARCHIVE_CALLS(X) \
	X(entry_acl_clear) X(entry_filetype) X(entry_hardlink) X(entry_pathname) X(entry_rdev) \
	X(entry_set_fflags) X(entry_set_hardlink) X(entry_set_pathname) X(entry_xattr_add_entry) \
	X(entry_xattr_clear) X(entry_xattr_next) X(entry_xattr_reset) X(error_string) X(read_data_block) \
	X(read_new) X(read_next_header) X(read_open) X(read_support_format_empty) X(read_support_format_tar) \
	X(set_error) X(write_close) X(write_data_block) X(write_disk_new) X(write_disk_set_options) \
	X(write_finish_entry) X(write_header)

static struct {
#define CALL_MEMBER(name) __typeof__(archive_##name) *name;
	LIBARCHIVE_CALLS(CALL_MEMBER)
#undef CALL_MEMBER
} la;

/* NULL, or why not. */
static const char *libarchive_load(void) {
	void *lib = dlopen(LIBARCHIVE, RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		return dlerror();
	}
#define CALL_LOAD(name)                                              \
	if (!(*(void **)&la.name = dlsym(lib, "archive_" #name))) {  \
		return "archive_" #name " is missing in " LIBARCHIVE; \
	}
	LIBARCHIVE_CALLS(CALL_LOAD)
#undef CALL_LOAD
	return NULL;
}

/* ---- answers ----------------------------------------------------------------------------------- */

static void answer(struct arena *a, const struct value *v) {
	auto_buf struct buf b = BUF_INIT(64 << 10);
	(void)a;
	json_print(&b, v);
	buf_char(&b, '\n');
	(void)!write(UNPACK_RESULT, b.ptr, b.len);
}

static int answer_error(const char *what, const char *why) {
	auto_arena struct arena a = { 0 };
	struct value *v = value_new_object(&a);
	value_set_key_str(&a, v, S("error"), arena_printf(&a, "%s%s%s", what, why ? ": " : "", why ? why : ""));
	answer(&a, v);
	return 1;
}

/* ---- confinement --------------------------------------------------------------------------------- */

static bool limits_set(uint64_t bytes_max) {
	const struct rlimit none = { 0, 0 }, memory = { (rlim_t)2 << 30, (rlim_t)2 << 30 }, file = { bytes_max, bytes_max };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)memory; /* the sanitizers map terabytes */
#else
	if (setrlimit(RLIMIT_AS, &memory) != 0) {
		return false;
	}
#endif
	return setrlimit(RLIMIT_CORE, &none) == 0 && setrlimit(RLIMIT_FSIZE, &file) == 0;
}

/* Keeps what making files of any owner and kind needs, and trusted.* attributes (CAP_SYS_ADMIN). */
static bool capabilities_keep(void) {
	static const int keep[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP, CAP_SYS_ADMIN };
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };
	for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
		data[keep[i] / 32].permitted |= 1U << keep[i] % 32;
		data[keep[i] / 32].effective |= 1U << keep[i] % 32;
	}
	return syscall(SYS_capset, &head, data) == 0;
}

/* Reads and writes what it has open, manages memory, ends. Anything else kills it. */
static bool calls_limit(void) {
#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true; /* the sanitizers make calls of their own */
#elif defined(__x86_64__)
	const uint32_t machine = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
	const uint32_t machine = AUDIT_ARCH_AARCH64;
#else
	return true;
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, machine, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(read),
		ALLOW(write),
		ALLOW(brk),
		ALLOW(mmap),
		ALLOW(munmap),
		ALLOW(mremap),
		ALLOW(madvise),
		ALLOW(futex),
		ALLOW(getrandom),
		ALLOW(rt_sigprocmask),
		ALLOW(rt_sigreturn),
		ALLOW(exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
#undef ALLOW
	struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#endif
}

static bool write_all(int fd, const void *bytes, size_t len) {
	const char *p = bytes;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return false;
		}
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static ssize_t read_some(int fd, void *into, size_t len) {
	ssize_t n;
	do {
		n = read(fd, into, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* ---- decompress ---------------------------------------------------------------------------------- */

struct head {
	unsigned char bytes[CHUNK];
	size_t len;
};

static int gunzip(struct head *head, int in, int out) {
	static unsigned char plain[CHUNK];
	z_stream z = { 0 };
	bool ended = false;

	if (inflateInit2(&z, 15 + 16) != Z_OK) {
		return 1;
	}
	for (;;) {
		z.next_in = head->bytes;
		z.avail_in = (unsigned)head->len;
		while (z.avail_in) {
			if (ended) {
				/* Members may follow each other; what follows that is none, is padding. */
				if (z.avail_in < 2 || z.next_in[0] != 0x1f || z.next_in[1] != 0x8b || inflateReset(&z) != Z_OK) {
					while (read_some(in, head->bytes, sizeof(head->bytes)) > 0) {
					}
					return 0;
				}
				ended = false;
			}
			z.next_out = plain;
			z.avail_out = sizeof(plain);
			int r = inflate(&z, Z_NO_FLUSH);
			if ((r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR) || !write_all(out, plain, sizeof(plain) - z.avail_out)) {
				return 1;
			}
			ended = r == Z_STREAM_END;
			if (r == Z_BUF_ERROR && z.avail_out) {
				break;
			}
		}
		ssize_t n = read_some(in, head->bytes, sizeof(head->bytes));
		if (n <= 0) {
			return n == 0 && ended ? 0 : 1;
		}
		head->len = (size_t)n;
	}
}

static int unzstd(struct head *head, int in, int out) {
	static unsigned char plain[CHUNK];
	ZSTD_DStream *z = ZSTD_createDStream();
	size_t left = 1;

	if (!z || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 27))) {
		return 1;
	}
	for (;;) {
		ZSTD_inBuffer from = { head->bytes, head->len, 0 };
		while (from.pos < from.size) {
			ZSTD_outBuffer to = { plain, sizeof(plain), 0 };
			left = ZSTD_decompressStream(z, &to, &from);
			if (ZSTD_isError(left) || !write_all(out, plain, to.pos)) {
				return 1;
			}
		}
		/* What did not fit into the last piece. */
		for (size_t more = sizeof(plain); left && more == sizeof(plain);) {
			ZSTD_outBuffer to = { plain, sizeof(plain), 0 };
			ZSTD_inBuffer none = { NULL, 0, 0 };
			left = ZSTD_decompressStream(z, &to, &none);
			if (ZSTD_isError(left) || !write_all(out, plain, to.pos)) {
				return 1;
			}
			more = to.pos;
		}
		ssize_t n = read_some(in, head->bytes, sizeof(head->bytes));
		if (n <= 0) {
			return n == 0 && left == 0 ? 0 : 1;
		}
		head->len = (size_t)n;
	}
}

static bool is_gzip(const struct head *h) {
	return h->len >= 2 && h->bytes[0] == 0x1f && h->bytes[1] == 0x8b;
}

static bool is_zstd(const struct head *h) {
	return h->len >= 4 && memcmp(h->bytes, "\x28\xb5\x2f\xfd", 4) == 0;
}

static void keep_only(const int *fds, size_t n) {
	/* `fds` ascend. */
	int from = 3;
	for (size_t i = 0; i < n; i++) {
		if (fds[i] > from) {
			syscall(SYS_close_range, (unsigned)from, (unsigned)fds[i] - 1, 0U);
		}
		from = fds[i] + 1;
	}
	syscall(SYS_close_range, (unsigned)from, ~0U, 0U);
}

static pid_t decompress_start(struct head *head, int *ret_plain) {
	int p[2];
	if (pipe(p) != 0) {
		return -1;
	}
	pid_t pid = fork();
	if (pid == 0) {
		bool gzip = is_gzip(head);
		dup2(p[1], 1);
		keep_only(NULL, 0);
		if (!calls_limit()) {
			_exit(2);
		}
		int r = gzip ? gunzip(head, 0, 1) : unzstd(head, 0, 1);
		_exit(r);
	}
	close(p[1]);
	*ret_plain = p[0];
	return pid;
}

/* ---- extract ------------------------------------------------------------------------------------- */

struct extract {
	int in, report;
	uint64_t bytes, bytes_max, inodes, inodes_max;
	bool layer;
	char chunk[CHUNK];
};

static void report(struct extract *x, const char *fmt, const char *what, const char *why) {
	char text[1024];
	int n = snprintf(text, sizeof(text), fmt, what, why);
	(void)!write(x->report, text, (size_t)MIN(n, (int)sizeof(text) - 1));
}

static la_ssize_t extract_read(struct archive *ar, void *data, const void **ret) {
	struct extract *x = data;
	ssize_t n = read_some(x->in, x->chunk, sizeof(x->chunk));
	if (n < 0) {
		la.set_error(ar, errno, "read failed");
		return -1;
	}
	*ret = x->chunk;
	return n;
}

/* "./a//b/", "/a/b" are a/b. False for what would leave the folder. The root itself is ".". */
static bool path_clean(const char *in, char *out, size_t size) {
	struct str rest = str_c(in), part;
	size_t n = 0;
	while (str_next(&rest, '/', &part)) {
		if (!part.len || str_eq(part, S("."))) {
			continue;
		}
		if (str_eq(part, S("..")) || n + part.len + 2 > size) {
			return false;
		}
		if (n) {
			out[n++] = '/';
		}
		memcpy(out + n, part.ptr, part.len);
		n += part.len;
	}
	if (!n) {
		out[n++] = '.';
	}
	out[n] = 0;
	return true;
}

/* Overlay's own attributes would let a layer point elsewhere; of the system's, only file capabilities are a layer's business. */
static void attributes_filter(struct archive_entry *e) {
	const char *name;
	const void *value;
	size_t size;
	struct kept {
		char name[256];
		void *value;
		size_t size;
	} kept[64];
	size_t n = 0;

	la.entry_xattr_reset(e);
	while (la.entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK && n < ARRAY_LEN(kept)) {
		bool ok = strncmp(name, "user.", 5) == 0 || strcmp(name, "security.capability") == 0;
		if (ok && strlen(name) < sizeof(kept[n].name) && size <= 64 << 10 && strncmp(name, "user.overlay.", 13) != 0) {
			snprintf(kept[n].name, sizeof(kept[n].name), "%s", name);
			kept[n].value = xmalloc(size);
			memcpy(kept[n].value, value, size);
			kept[n++].size = size;
		}
	}
	la.entry_xattr_clear(e);
	for (size_t i = 0; i < n; i++) {
		la.entry_xattr_add_entry(e, kept[i].name, kept[i].value, kept[i].size);
		free(kept[i].value);
	}
	la.entry_acl_clear(e);
	la.entry_set_fflags(e, 0, 0);
}

static bool parents_make(char *path) {
	for (char *c = path; (c = strchr(c, '/')); c++) {
		*c = 0;
		bool ok = mkdir(path, 0755) == 0 || errno == EEXIST;
		*c = '/';
		if (!ok) {
			return false;
		}
	}
	return true;
}

enum whiteout { WHITEOUT_NOT, WHITEOUT_DONE, WHITEOUT_FAILED };

static enum whiteout whiteout(struct extract *x, char *path) {
	char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	if (!x->layer || strncmp(base, ".wh.", 4) != 0) {
		return WHITEOUT_NOT;
	}
	if (!parents_make(path)) {
		return WHITEOUT_FAILED;
	}
	if (strcmp(base, ".wh..wh..opq") == 0) {
		if (slash) {
			*slash = 0;
		}
		bool ok = setxattr(slash ? path : ".", "trusted.overlay.opaque", "y", 1, 0) == 0;
		if (slash) {
			*slash = '/';
		}
		return ok ? WHITEOUT_DONE : WHITEOUT_FAILED;
	}
	if (strncmp(base, ".wh..wh.", 8) == 0) {
		return WHITEOUT_DONE; /* aufs' own files */
	}
	char target[TAR_PATH_MAX];
	int n = snprintf(target, sizeof(target), "%.*s%s", (int)(base - path), path, base + 4);
	if (!base[4] || strcmp(base + 4, ".") == 0 || strcmp(base + 4, "..") == 0 || n >= (int)sizeof(target)) {
		errno = EINVAL;
		return WHITEOUT_FAILED;
	}
	return mknod(target, S_IFCHR, makedev(0, 0)) == 0 || errno == EEXIST ? WHITEOUT_DONE : WHITEOUT_FAILED;
}

static bool entry_write(struct extract *x, struct archive *from, struct archive *to, struct archive_entry *e) {
	char path[TAR_PATH_MAX], link[TAR_PATH_MAX];
	const char *name = la.entry_pathname(e), *hard = la.entry_hardlink(e);

	if (!name || !path_clean(name, path, sizeof(path))) {
		report(x, "E entry \"%.300s\" %s", name ? name : "", "would lie outside the archive's folder");
		return false;
	}
	if (++x->inodes > x->inodes_max) {
		report(x, "E %s%s", "the archive has too many entries", "");
		return false;
	}
	switch (whiteout(x, path)) {
	case WHITEOUT_DONE:
		return true;
	case WHITEOUT_FAILED:
		report(x, "E whiteout \"%.300s\": %s", path, strerrordesc_np(errno));
		return false;
	case WHITEOUT_NOT:
		break;
	}
	la.entry_set_pathname(e, path);
	if (hard) {
		if (!path_clean(hard, link, sizeof(link))) {
			report(x, "E hard link \"%.300s\" %s", hard, "leads outside the archive's folder");
			return false;
		}
		la.entry_set_hardlink(e, link);
	}
	mode_t type = la.entry_filetype(e);
	if (!x->layer && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK && !hard) {
		return true; /* an image archive has no business with devices */
	}
	if ((type == AE_IFCHR || type == AE_IFBLK) && la.entry_rdev(e) == 0) {
		report(x, "E device \"%.300s\" %s", path, "0/0 is overlay's whiteout and may not come in an archive");
		return false;
	}
	if (strcmp(path, ".") == 0 && type != AE_IFDIR) {
		report(x, "E %s%s", "the archive's root is not a folder", "");
		return false;
	}
	attributes_filter(e);
	if (la.write_header(to, e) < ARCHIVE_WARN) {
		report(x, "E \"%.300s\": %.300s", path, la.error_string(to));
		return false;
	}
	const void *block;
	size_t size;
	la_int64_t offset;
	for (;;) {
		int r = la.read_data_block(from, &block, &size, &offset);
		if (r == ARCHIVE_EOF) {
			break;
		}
		if (r < ARCHIVE_WARN) {
			report(x, "E \"%.300s\": %.300s", path, la.error_string(from));
			return false;
		}
		x->bytes += size;
		if (x->bytes > x->bytes_max) {
			report(x, "E %s%s", "the archive is larger unpacked than images may be", "");
			return false;
		}
		if (la.write_data_block(to, block, size, offset) < ARCHIVE_WARN) {
			report(x, "E \"%.300s\": %.300s", path, la.error_string(to));
			return false;
		}
	}
	if (la.write_finish_entry(to) < ARCHIVE_WARN) {
		report(x, "E \"%.300s\": %.300s", path, la.error_string(to));
		return false;
	}
	return true;
}

static int extract(struct extract *x) {
	int flags = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_UNLINK | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
		(x->layer ? ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_XATTR : 0);
	struct archive *from = la.read_new(), *to = la.write_disk_new();
	struct archive_entry *e;
	int r;

	la.read_support_format_tar(from);
	la.read_support_format_empty(from);
	la.write_disk_set_options(to, flags);
	if (la.read_open(from, x, NULL, extract_read, NULL) != ARCHIVE_OK) {
		report(x, "E %.300s%s", la.error_string(from), "");
		return 1;
	}
	while ((r = la.read_next_header(from, &e)) != ARCHIVE_EOF) {
		if (r < ARCHIVE_WARN) {
			report(x, "E %.300s%s", la.error_string(from), "");
			return 1;
		}
		if (!entry_write(x, from, to, e)) {
			return 1;
		}
	}
	if (la.write_close(to) < ARCHIVE_WARN) { /* modes and times of folders */
		report(x, "E %.300s%s", la.error_string(to), "");
		return 1;
	}
	/* What follows the end mark belongs to the digest: let it through. */
	while (read_some(x->in, x->chunk, sizeof(x->chunk)) > 0) {
	}
	char text[64];
	int n = snprintf(text, sizeof(text), "K %llu %llu", (unsigned long long)x->bytes, (unsigned long long)x->inodes);
	return write_all(x->report, text, (size_t)n) ? 0 : 1;
}

static pid_t extract_start(bool layer, uint64_t bytes_max, uint64_t inodes_max, int *ret_feed, int *ret_report) {
	int feed[2], back[2];
	if (pipe(feed) != 0 || pipe(back) != 0) {
		return -1;
	}
	fcntl(feed[1], F_SETPIPE_SZ, 1 << 20);
	pid_t pid = fork();
	if (pid == 0) {
		struct extract *x = xcalloc(1, sizeof(*x));
		*x = (struct extract){ .in = 0, .report = 1, .layer = layer, .bytes_max = bytes_max, .inodes_max = inodes_max };
		dup2(feed[0], 0);
		dup2(back[1], 1);
		const char *missing = libarchive_load(); /* while its files can be seen */
		if (missing) {
			report(x, "E %s: %s", "libarchive cannot be loaded (apt-get install libarchive13)", missing);
			_exit(1);
		}
		bool inside = unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) == 0 && fchdir(UNPACK_DIR) == 0 && chroot(".") == 0;
		keep_only(NULL, 0);
		umask(0);
		if (!inside || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !capabilities_keep()) {
			report(x, "E %s: %s", "cannot confine itself", strerrordesc_np(errno));
			_exit(1);
		}
		int r = extract(x);
		_exit(r);
	}
	close(feed[0]);
	close(back[1]);
	*ret_feed = feed[1];
	*ret_report = back[0];
	return pid;
}

/* ---- the middle ---------------------------------------------------------------------------------- */

struct split_out {
	struct buf raw;   /* raw bytes that are not stored yet */
	gzFile file;
	bool failed;
};

static void split_write(struct split_out *o, struct buf *b) {
	o->failed = o->failed || b->overflow || (b->len && gzwrite(o->file, b->ptr, (unsigned)b->len) != (int)b->len);
	buf_release(b);
}

static void split_flush(struct split_out *o) {
	struct buf b = BUF_INIT(16 << 20);
	if (o->raw.len) {
		tar_split_store_raw(&b, buf_view(&o->raw));
		split_write(o, &b);
		buf_clear(&o->raw);
	}
}

static void on_raw(void *arg, struct str bytes) {
	struct split_out *o = arg;
	buf_str(&o->raw, bytes);
	if (o->raw.len > 1 << 20) {
		split_flush(o);
	}
}

static void on_file(void *arg, struct str path, uint64_t size) {
	struct split_out *o = arg;
	struct buf b = BUF_INIT(1 << 20);
	split_flush(o);
	tar_split_store_file(&b, path, size);
	split_write(o, &b);
}

static bool child_ok(pid_t pid) {
	int status;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR) {
			return false;
		}
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct middle {
	struct sha256_stream *sha;
	struct tar_split split;
	struct split_out out;
	bool layer;
};

static void middle_take(struct middle *m, struct str bytes) {
	sha256_stream_add(m->sha, bytes);
	if (m->layer) {
		tar_split_add(&m->split, bytes);
	}
}

static bool middle_open(struct middle *m, bool layer) {
	m->layer = layer;
	m->sha = sha256_stream_new();
	m->out.raw.max = 16 << 20;
	tar_split_init(&m->split);
	m->split.raw = on_raw;
	m->split.file = on_file;
	m->split.arg = &m->out;
	m->out.file = layer ? gzdopen(UNPACK_SPLIT, "wb1") : NULL;
	return !layer || m->out.file;
}

static bool middle_close(struct middle *m, char hex[SHA256_HEX]) {
	sha256_stream_hex(m->sha, hex);
	sha256_stream_free(m->sha);
	if (!m->layer) {
		return true;
	}
	tar_split_end(&m->split);
	split_flush(&m->out);
	tar_split_release(&m->split);
	buf_release(&m->out.raw);
	return gzclose(m->out.file) == Z_OK && !m->out.failed;
}

int unpack_main(int argc, char **argv) {
	static struct head head;
	uint64_t bytes_max, inodes_max;
	bool layer = argc == 4 && strcmp(argv[1], "layer") == 0;

	signal(SIGPIPE, SIG_IGN);
	if (argc != 4 || (!layer && strcmp(argv[1], "archive") != 0) || !str_to_u64(str_c(argv[2]), &bytes_max) || !str_to_u64(str_c(argv[3]), &inodes_max)) {
		return answer_error("called wrongly", NULL);
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!limits_set(bytes_max)) {
		return answer_error("cannot limit itself", strerrordesc_np(errno));
	}
	while (head.len < 4) {
		ssize_t n = read_some(0, head.bytes + head.len, sizeof(head.bytes) - head.len);
		if (n <= 0) {
			break;
		}
		head.len += (size_t)n;
	}
	int feed, back, plain = 0;
	pid_t extractor = extract_start(layer, bytes_max, inodes_max, &feed, &back);
	pid_t decompressor = 0;
	if (extractor > 0 && (is_gzip(&head) || is_zstd(&head))) {
		decompressor = decompress_start(&head, &plain);
		head.len = 0;
	}
	struct middle m = { 0 };
	if (extractor < 0 || decompressor < 0 || !middle_open(&m, layer)) {
		return answer_error("cannot start", strerrordesc_np(errno));
	}
	bool fed = true;
	uint64_t total = 0;
	/* What was read to recognise the compression comes first. */
	for (ssize_t n = head.len ? (ssize_t)head.len : read_some(plain, head.bytes, sizeof(head.bytes)); n != 0;
		n = read_some(plain, head.bytes, sizeof(head.bytes))) {
		if (n < 0) {
			fed = false;
			break;
		}
		total += (uint64_t)n;
		middle_take(&m, (struct str){ (const char *)head.bytes, (size_t)n });
		/* Headers and padding come on top of the contents. */
		if (total / 2 > bytes_max || !write_all(feed, head.bytes, (size_t)n)) {
			fed = false;
			break;
		}
	}
	close(feed);
	auto_arena struct arena a = { 0 };
	auto_buf struct buf said = BUF_INIT(8 << 10);
	for (char *room; (room = buf_reserve(&said, 1024));) {
		ssize_t n = read_some(back, room, 1024);
		if (n <= 0) {
			break;
		}
		said.len += (size_t)n;
	}
	char hex[SHA256_HEX];
	bool kept = middle_close(&m, hex);
	bool extracted = child_ok(extractor);
	if (decompressor) {
		close(plain);
	}
	struct str text = buf_view(&said), bytes, inodes;
	if (text.len > 2 && text.ptr[0] == 'E') {
		return answer_error(arena_cstr(&a, str_from(text, 2)), NULL);
	}
	if (decompressor && !child_ok(decompressor)) {
		return answer_error("the compressed data is damaged", NULL);
	}
	uint64_t nb, ni;
	if (!fed || !extracted || text.len < 3 || text.ptr[0] != 'K' || !str_cut(str_from(text, 2), ' ', &bytes, &inodes) || !str_to_u64(bytes, &nb) ||
		!str_to_u64(inodes, &ni)) {
		return answer_error("the extracting process failed", NULL);
	}
	if (!kept) {
		return answer_error("cannot write the layer's outline", NULL);
	}
	struct value *v = value_new_object(&a);
	value_set_key_str(&a, v, S("diffId"), arena_printf(&a, "sha256:%s", hex));
	value_set_key(&a, v, S("bytes"), value_new_int(&a, (int64_t)nb));
	value_set_key(&a, v, S("inodes"), value_new_int(&a, (int64_t)ni));
	answer(&a, v);
	return 0;
}
