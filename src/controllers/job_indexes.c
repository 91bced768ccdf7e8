/* SPDX-License-Identifier: Apache-2.0 */
/* job_indexes.c - sets of completion indexes as intervals: as compact in memory as in the status. Pure. */
#include "controllers/job.h"

void indexes_release(struct indexes *x) {
	VEC_RELEASE(&x->at);
}

void indexes_add(struct indexes *x, int64_t i) {
	size_t n = 0;

	while (n < x->at.len && x->at.at[n].last + 1 < i) {
		n++;
	}
	if (n == x->at.len || i + 1 < x->at.at[n].first) {
		struct interval one = { i, i };
		VEC_INSERT(&x->at, n, one);
		return;
	}
	struct interval *v = &x->at.at[n];
	v->first = MIN(v->first, i);
	v->last = MAX(v->last, i);
	if (n + 1 < x->at.len && x->at.at[n + 1].first <= v->last + 1) {
		v->last = MAX(v->last, x->at.at[n + 1].last);
		VEC_REMOVE(&x->at, n + 1);
	}
}

void indexes_parse(struct indexes *x, struct str text, int64_t below) {
	struct str rest = text, part, first, last;

	while (text.len && str_next(&rest, ',', &part)) {
		struct interval v;
		bool range = str_cut(part, '-', &first, &last);
		if (!str_to_i64(first, &v.first) || !str_to_i64(range ? last : first, &v.last) || v.first < 0 || v.first > v.last || v.first >= below) {
			continue;
		}
		v.last = MIN(v.last, below - 1);
		if (x->at.len && v.first <= x->at.at[x->at.len - 1].last) {
			continue; /* not ascending: not what we wrote */
		}
		VEC_PUSH(&x->at, v);
	}
}

bool indexes_has(const struct indexes *x, int64_t i) {
	size_t low = 0, high = x->at.len;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (x->at.at[mid].last < i) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	return low < x->at.len && x->at.at[low].first <= i;
}

int64_t indexes_total(const struct indexes *x) {
	int64_t n = 0;

	for (size_t i = 0; i < x->at.len; i++) {
		n += x->at.at[i].last - x->at.at[i].first + 1;
	}
	return n;
}

/* Two neighbours are written "1,2", three "1-3", as upstream does. */
struct str indexes_text(struct arena *a, const struct indexes *x) {
	auto_buf struct buf b = { 0 };

	for (size_t i = 0; i < x->at.len; i++) {
		struct interval v = x->at.at[i];
		if (i > 0) {
			buf_char(&b, ',');
		}
		buf_i64(&b, v.first);
		if (v.last > v.first) {
			buf_char(&b, v.last == v.first + 1 ? ',' : '-');
			buf_i64(&b, v.last);
		}
	}
	return arena_str(a, buf_view(&b));
}
