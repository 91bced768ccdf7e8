/* SPDX-License-Identifier: Apache-2.0 */
/*
 * housekeeping.c - what grows and nobody asks about: container logs are rotated, images that no container
 * uses go when the disk gets full. One timer on the kubelet's loop, one pool job.
 */
#include "kubelet/housekeeping.h"

#include <sys/statvfs.h>

#include "kubelet/log_file.h"

#define PERIOD (10 * NSEC_PER_SEC)
#define IMAGES_EVERY 30 /* periods: 5 minutes */
#define HIGH_DEFAULT 85
#define LOW_DEFAULT 80
#define MIN_AGE (120 * NSEC_PER_SEC)

struct housekeeping {
	struct kubelet *k;
	struct loop_timer timer;
	struct job job;
	bool busy;
	unsigned round;
};

static void rotate_logs(struct kubelet *k) {
	auto_arena struct arena a = { 0 };
	struct cri_containers list = { 0 };
	struct err err = { 0 };

	if (!cri_container_list(k->o.cri, &a, S(""), &list, &err)) {
		return;
	}
	for (size_t i = 0; i < list.len; i++) {
		const struct cri_container_status *st = &list.at[i];
		bool rotated = false;
		if (st->state != CRI_CONTAINER_RUNNING || st->log_path.len == 0) {
			continue;
		}
		if (!log_rotate(arena_cstr(&a, st->log_path), k->o.log_bytes_max, k->o.log_files_max, &rotated, &err) ||
			(rotated && !cri_container_reopen_log(k->o.cri, st->id, &err))) {
			log_warn(KUBELET_LOG, "log not rotated", kv_str("log", st->log_path), kv_err(&err));
			err_clear(&err);
		}
	}
}

static int percent_used(const char *path) {
	struct statvfs fs;

	if (statvfs(path, &fs) != 0 || fs.f_blocks == 0) {
		return 0;
	}
	return (int)(100 - fs.f_bavail * 100 / fs.f_blocks);
}

static bool in_use(const struct cri_containers *list, struct str image_id) {
	for (size_t i = 0; i < list->len; i++) {
		if (str_eq(list->at[i].image_id, image_id)) {
			return true;
		}
	}
	return false;
}

static int by_age(const void *x, const void *y) {
	const struct image_info *a = x, *b = y;

	return (a->pulled > b->pulled) - (a->pulled < b->pulled);
}

static void collect_images(struct kubelet *k) {
	auto_arena struct arena a = { 0 };
	struct image_store *store = cri_images(k->o.cri);
	struct image_usage usage = { 0 };
	struct image_list images = { 0 };
	struct cri_containers containers = { 0 };
	struct err err = { 0 };
	int high = k->o.image_gc_high_percent ? k->o.image_gc_high_percent : HIGH_DEFAULT;
	int low = k->o.image_gc_low_percent ? k->o.image_gc_low_percent : LOW_DEFAULT;

	if (high < 0) {
		return;
	}
	image_usage(store, &usage);
	const char *path = usage.path.len ? arena_cstr(&a, usage.path) : k->o.state_dir;
	if (percent_used(path) < high || !image_ls(store, &a, &images, &err) || !cri_container_list(k->o.cri, &a, S(""), &containers, &err)) {
		return;
	}
	if (images.len > 1) {
		qsort(images.at, images.len, sizeof(*images.at), by_age);
	}
	for (size_t i = 0; i < images.len && percent_used(path) > low; i++) {
		const struct image_info *im = &images.at[i];
		if (im->pinned || in_use(&containers, im->id) || clock_wall() - im->pulled < MIN_AGE) {
			continue;
		}
		if (image_rm(store, im->id, false, &err)) {
			log_info(KUBELET_LOG, "image removed: the disk is full", kv_str("image", im->id));
		}
		err_clear(&err);
	}
	uint64_t freed = 0;
	if (!image_gc(store, &freed, &err)) {
		log_warn(KUBELET_LOG, "layers not collected", kv_err(&err));
	}
}

static void run(struct job *j) {
	struct housekeeping *h = container_of(j, struct housekeeping, job);

	rotate_logs(h->k);
	if (h->round++ % IMAGES_EVERY == IMAGES_EVERY - 1) {
		collect_images(h->k);
	}
}

static void on_timer(struct loop_timer *t);

static void done(struct job *j) {
	struct housekeeping *h = container_of(j, struct housekeeping, job);

	h->busy = false;
	h->k->passes--;
	if (!h->k->stopping) {
		loop_timer_start(h->k->loop, &h->timer, PERIOD, on_timer);
	}
}

static void on_timer(struct loop_timer *t) {
	struct housekeeping *h = container_of(t, struct housekeeping, timer);

	if (h->k->stopping) {
		return;
	}
	h->job = (struct job){ .loop = h->k->loop, .run = run, .done = done };
	h->busy = true;
	h->k->passes++;
	if (!pool_submit(&h->job)) {
		done(&h->job);
	}
}

static void begin(void *arg) {
	struct housekeeping *h = arg;

	loop_timer_start(h->k->loop, &h->timer, PERIOD, on_timer);
}

struct housekeeping *housekeeping_start(struct kubelet *k) {
	struct housekeeping *h = xcalloc(1, sizeof(*h));

	h->k = k;
	loop_call(k->loop, begin, h);
	return h;
}

void housekeeping_free(struct housekeeping *h) {
	free(h);
}
