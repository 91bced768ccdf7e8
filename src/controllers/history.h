/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - ControllerRevisions: the templates that a DaemonSet or StatefulSet has had, each under a number that grows. Private to this room.
 */
#ifndef CONTROLLERS_HISTORY_H
#define CONTROLLERS_HISTORY_H

#include "controllers/pods.h"

#define REVISION_LABEL S("controller-revision-hash")

/* What a revision keeps of its owner: a strategic merge patch that puts spec.template back. In the arena. */
struct value *history_data(struct arena *a, const struct value *owner);
const struct value *history_template(struct arena *a, const struct value *revision); /* the template in it */
/* Ascending by number, then age, then name. */
void history_sort(struct pod_set *revisions);
int64_t history_number(const struct obj *revision);
/* The newest revision with this data; NULL when there is none. Borrowed from the set. */
struct obj *history_find(const struct pod_set *revisions, const struct value *data);
/*
 * Creates a revision named "<owner>-<hash>", with the labels of the owner's template and `hash_label`: the hash. Another one with this name
 * and other data makes the hash be taken again with a higher *collisions, which the caller writes into the owner's status.
 */
NODISCARD bool history_create(struct frame *f, const struct value *owner, struct str hash_label, const struct value *data, int64_t number,
	int64_t *collisions, struct obj **ret, struct err *err);
/* Gives a revision another number. `ret` is it as it is now. */
NODISCARD bool history_renumber(struct frame *f, const struct obj *revision, int64_t number, struct obj **ret, struct err *err);
NODISCARD bool history_delete(struct frame *f, const struct obj *revision, struct err *err);

#endif
