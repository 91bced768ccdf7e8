/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec.h - a typed growing array: VEC(int) v = { 0 }; VEC_PUSH(&v, 3); v.at[0]; v.len; VEC_RELEASE(&v).
 * Pointers into it are valid until the next push.
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <string.h>

#include "base/util.h"

#define VEC(type)           \
	struct {            \
		type *at;   \
		size_t len; \
		size_t cap; \
	}

void *vec_grow(void *at, size_t *cap, size_t want, size_t item_bytes);

#define VEC_RESERVE(v, n) ((v)->at = vec_grow((v)->at, &(v)->cap, (n), sizeof(*(v)->at)))
#define VEC_PUSH(v, item)                               \
	do {                                            \
		if ((v)->len == (v)->cap) {             \
			VEC_RESERVE(v, (v)->len + 1);   \
		}                                       \
		(v)->at[(v)->len++] = (item);           \
	} while (0)
#define VEC_POP(v) ((v)->at[--(v)->len])
#define VEC_REMOVE(v, i)                                                                          \
	do {                                                                                      \
		size_t vec_i_ = (i);                                                              \
		(v)->len--;                                                                       \
		memmove(&(v)->at[vec_i_], &(v)->at[vec_i_ + 1], ((v)->len - vec_i_) * sizeof(*(v)->at)); \
	} while (0)
#define VEC_INSERT(v, i, item)                                                                              \
	do {                                                                                                \
		size_t vec_i_ = (i);                                                                        \
		if ((v)->len == (v)->cap) {                                                                 \
			VEC_RESERVE(v, (v)->len + 1);                                                       \
		}                                                                                           \
		memmove(&(v)->at[vec_i_ + 1], &(v)->at[vec_i_], ((v)->len - vec_i_) * sizeof(*(v)->at));    \
		(v)->at[vec_i_] = (item);                                                                   \
		(v)->len++;                                                                                 \
	} while (0)
#define VEC_CLEAR(v) ((v)->len = 0)
#define VEC_RELEASE(v)                          \
	do {                                    \
		free((v)->at);                  \
		(v)->at = NULL;                 \
		(v)->len = (v)->cap = 0;        \
	} while (0)
#define VEC_EACH(v, it) for (__typeof__((v)->at) it = (v)->at; it < (v)->at + (v)->len; it++)
#define VEC_SORT(v, cmp) ((v)->len > 1 ? qsort((v)->at, (v)->len, sizeof(*(v)->at), (cmp)) : (void)0)

#endif
