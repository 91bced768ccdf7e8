/* SPDX-License-Identifier: Apache-2.0 */
/* history.c - ControllerRevisions. Runs in syncs on pool threads; keeps nothing. */
#include "controllers/history.h"

#define COLLISIONS_MAX 16 /* in one pass */

struct value *history_data(struct arena *a, const struct value *owner) {
	struct value *data = value_new_object(a), *spec = value_set(a, data, N_spec, value_new_object(a));
	struct value *template = value_set(a, spec, N_template, value_shallow(a, value_at(owner, N_spec, N_template)));

	value_set_key_str(a, template, S("$patch"), S("replace"));
	return data;
}

const struct value *history_template(struct arena *a, const struct value *revision) {
	struct value *template = value_shallow(a, value_at(revision, N_data, N_spec, N_template));

	value_remove_key(template, S("$patch"));
	return template;
}

int64_t history_number(const struct obj *revision) {
	return value_int_at(revision->root, N_revision);
}

static int by_number(const void *pa, const void *pb) {
	const struct obj *a = *(struct obj *const *)pa, *b = *(struct obj *const *)pb;
	int64_t na = history_number(a), nb = history_number(b);
	nsec_t ta = value_time(value_at(a->root, N_metadata, N_creationTimestamp)), tb = value_time(value_at(b->root, N_metadata, N_creationTimestamp));

	if (na != nb) {
		return na < nb ? -1 : 1;
	}
	return ta != tb ? (ta > tb) - (ta < tb) : str_cmp(meta_name(a->root), meta_name(b->root));
}

void history_sort(struct pod_set *revisions) {
	if (revisions->len > 1) {
		qsort(revisions->at, revisions->len, sizeof(*revisions->at), by_number);
	}
}

struct obj *history_find(const struct pod_set *revisions, const struct value *data) {
	struct obj *found = NULL;

	for (size_t i = 0; i < revisions->len; i++) {
		if (value_eq(value_get(revisions->at[i]->root, N_data), data) &&
			(!found || history_number(found) <= history_number(revisions->at[i]))) {
			found = revisions->at[i];
		}
	}
	return found;
}

static struct value *revision_make(struct arena *a, const struct value *owner, struct str hash_label, struct str hash, const struct value *data,
	int64_t number) {
	struct value *o = value_new_object(a), *meta;
	struct str name = meta_name(owner);
	struct value *labels = value_copy(a, value_at(owner, N_spec, N_template, N_metadata, N_labels));

	value_set_str(a, o, N_kind, S("ControllerRevision"));
	value_set_str(a, o, N_apiVersion, S("apps/v1"));
	meta = value_set(a, o, N_metadata, value_new_object(a));
	value_set_str(a, meta, N_name, arena_printf(a, "%.*s-%.*s", STR_ARG(name), STR_ARG(hash)));
	value_set_str(a, meta, N_namespace, meta_ns(owner));
	labels = value_is(labels, VALUE_OBJECT) ? labels : value_new_object(a);
	value_set_key_str(a, labels, hash_label, hash);
	value_set(a, meta, N_labels, labels);
	if (value_len(value_at(owner, N_metadata, N_annotations))) {
		value_set(a, meta, N_annotations, value_copy(a, value_at(owner, N_metadata, N_annotations)));
	}
	value_push(a, value_set(a, meta, N_ownerReferences, value_new_array(a)), owner_ref(a, owner));
	value_set(a, o, N_data, data);
	value_set_int(a, o, N_revision, number);
	return o;
}

bool history_create(struct frame *f, const struct value *owner, struct str hash_label, const struct value *data, int64_t number,
	int64_t *collisions, struct obj **ret, struct err *err) {
	for (int i = 0; i < COLLISIONS_MAX; i++) {
		auto_arena struct arena a = { 0 };
		struct str hash = safe_hash(&a, data, *collisions);
		struct value *o = revision_make(&a, owner, hash_label, hash, data, number);
		auto_obj struct obj *other = NULL;
		if (client_create(f->client, GVR_CONTROLLERREVISIONS, meta_ns(owner), o, ret, err)) {
			return true;
		}
		if (err->code != ERR_ALREADY_EXISTS) {
			return false;
		}
		err_clear(err);
		if (!client_get(f->client, GVR_CONTROLLERREVISIONS, meta_ns(owner), meta_name(o), &other, err)) {
			return false;
		}
		bool ours = str_eq(value_str_at(meta_controller(other->root), N_uid), meta_uid(owner));
		if (ours && value_eq(value_get(other->root, N_data), data)) {
			*ret = TAKE(other); /* made by an earlier pass, not in our copy yet */
			return true;
		}
		++*collisions;
	}
	return err_set(err, ERR_CONFLICT, "every name tried for a new revision is taken");
}

bool history_renumber(struct frame *f, const struct obj *revision, int64_t number, struct obj **ret, struct err *err) {
	auto_arena struct arena a = { 0 };
	struct value *patch = value_new_object(&a), *meta = value_set(&a, patch, N_metadata, value_new_object(&a));

	value_set_str(&a, meta, N_uid, meta_uid(revision->root));
	value_set_int(&a, patch, N_revision, number);
	return client_patch(f->client, GVR_CONTROLLERREVISIONS, meta_ns(revision->root), meta_name(revision->root), S(""), PATCH_MERGE, patch, ret, err);
}

bool history_delete(struct frame *f, const struct obj *revision, struct err *err) {
	return client_delete(f->client, GVR_CONTROLLERREVISIONS, meta_ns(revision->root), meta_name(revision->root), err) || err->code == ERR_NOT_FOUND;
}
