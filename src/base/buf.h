/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - bytes that grow, born with a ceiling that turns runaway input into an error. After a
 * failed append the buffer keeps what it had and stays failed (`overflow`), so that a writer may
 * append many times and look once at the end.
 *
 *     auto_buf struct buf b = BUF_INIT(body_bytes_max);
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/str.h"

struct buf {
	char *ptr;
	size_t len;
	size_t cap;
	size_t max; /* ceiling in bytes; 0 means BUF_MAX_DEFAULT */
	bool overflow;
};
#define BUF_MAX_DEFAULT ((size_t)1 << 30)
#define BUF_INIT(bytes_max) { .max = (bytes_max) }

bool buf_add(struct buf *b, const void *bytes, size_t len); /* false once over the ceiling */
bool buf_str(struct buf *b, struct str s);
bool buf_c(struct buf *b, const char *s);
bool buf_char(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
bool buf_i64(struct buf *b, int64_t v);
/* Room for `len` more bytes to be written at b->ptr + b->len, then add to b->len; NULL over the ceiling. */
char *buf_reserve(struct buf *b, size_t len);
void buf_drop(struct buf *b, size_t len); /* removes from the front */
void buf_clear(struct buf *b);            /* empties, keeps the memory */
void buf_release(struct buf *b);
char *buf_cstr(struct buf *b);            /* ends it with NUL (not counted); borrowed from b */
struct str buf_view(const struct buf *b); /* borrowed until the next change */
#define auto_buf CLEANUP(buf_release)

#endif
