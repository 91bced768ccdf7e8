/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_file.h - container logs in the CRI's form, "<RFC3339Nano> stdout F text\n" (P instead of F: the line goes on in the next record),
 * one file an instance, rotated to "<file>.<time>".
 */
#ifndef KUBELET_LOG_FILE_H
#define KUBELET_LOG_FILE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct log_record {
	struct str time;    /* as written */
	bool is_stderr;
	bool partial;
	struct str text;    /* without the line's end */
};
/* One line of the file, without its '\n'. False: not of that form. */
bool log_record_parse(struct str line, struct log_record *ret);

/* The last lines of a log, at most so many bytes, for a termination message. NULL: none. free() it. */
char *log_tail(const char *path, int lines, size_t bytes_max);
/* Removes the file and its rotated ones. */
void log_files_remove(struct str path);
/*
 * Renames the file to "<path>.<YYYYmmdd-HHMMSS>" when it is larger than bytes_max and keeps at most files_max of them, the
 * current one included. *ret_rotated: the writer must open it again.
 */
NODISCARD bool log_rotate(const char *path, int64_t bytes_max, int files_max, bool *ret_rotated, struct err *err);

/* ---- reading for people ---- */
enum log_stream { LOG_STREAM_ALL, LOG_STREAM_STDOUT, LOG_STREAM_STDERR };
struct log_query {
	int64_t tail;        /* lines; -1: all */
	nsec_t since;        /* wall; 0: from the start */
	int64_t limit_bytes; /* -1: none */
	bool timestamps;
	enum log_stream stream;
};
/*
 * Reads a log and what is appended to it, across rotation. One thread at a time. The reader keeps the file open that it is in, goes
 * on in the next one when that one was renamed, and knows from there on only what follows.
 */
struct log_reader;
/* Starts at the right line of the oldest file that counts. A log that does not exist yet is empty. */
NODISCARD bool log_reader_open(const char *path, const struct log_query *q, struct log_reader **ret, struct err *err);
void log_reader_free(struct log_reader *r);
/* Appends what there is, at most about 256 KiB, formatted. *ret_more: call again now. False in *ret_open: the limit is reached. */
NODISCARD bool log_reader_read(struct log_reader *r, struct buf *b, bool *ret_more, bool *ret_open, struct err *err);

#endif
