/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counts.h - a small map of text to text and a number, in the order of arrival, with a ceiling.
 */
#ifndef TESTSERVER_COUNTS_H
#define TESTSERVER_COUNTS_H

#include "base.h"

enum { COUNTS_MAX = 10000, COUNTS_TEXT_BYTES_MAX = 64 * 1024 };

struct count {
	struct str key;   /* own copy, NUL-ended */
	struct str value; /* own copy, NUL-ended; may be empty */
	int64_t number;
};

struct counts {
	struct count *items; /* owned */
	size_t len, cap;
};

/* NULL when there is none. Borrowed until the next counts_put. */
struct count *counts_get(struct counts *c, struct str key);
/* The item of that key, made when there is none; NULL when the map is full or the key too long. */
struct count *counts_put(struct counts *c, struct str key);
/* Replaces the item's value; false when it is too long. */
NODISCARD bool count_set(struct count *item, struct str value);

#endif
