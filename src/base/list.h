/* SPDX-License-Identifier: Apache-2.0 */
/* list.h - intrusive doubly linked list: what sits in a list embeds a `struct list` and container_of finds it. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/util.h"

struct list {
	struct list *prev, *next; /* a head points to itself when empty; a zeroed link is in no list */
};

static inline void list_init(struct list *head) {
	head->prev = head->next = head;
}
static inline bool list_empty(const struct list *head) {
	return head->next == head || !head->next;
}
static inline void list_push(struct list *head, struct list *link) { /* at the end */
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}
static inline void list_push_front(struct list *head, struct list *link) {
	list_push(head->next, link);
}
static inline bool list_linked(const struct list *link) {
	return link->next != NULL;
}
static inline void list_remove(struct list *link) { /* harmless when in no list */
	if (link->next) {
		link->prev->next = link->next;
		link->next->prev = link->prev;
		link->prev = link->next = NULL;
	}
}
static inline struct list *list_pop(struct list *head) { /* the first, NULL when empty */
	struct list *l = list_empty(head) ? NULL : head->next;
	if (l) {
		list_remove(l);
	}
	return l;
}
/* The body may remove `it`. */
#define LIST_EACH(head, it) \
	for (struct list *it = (head)->next, *it##_next_ = it ? it->next : NULL; it && it != (head); \
		it = it##_next_, it##_next_ = it->next)

#endif
