/* SPDX-License-Identifier: Apache-2.0 */
/* selector.h - label and field selectors, parsed once, matched often. Parsed forms live in an arena and are read-only after. */
#ifndef CLIENT_SELECTOR_H
#define CLIENT_SELECTOR_H

#include "base/err.h"
#include "value/value.h"

struct selector; /* NULL matches everything */
/* "a=b,c!=d,e in (f,g),!h,i notin (j),k>1". Fails: ERR_BAD_REQUEST with upstream's words ("unable to parse requirement: ..."). */
NODISCARD bool selector_parse(struct arena *a, struct str text, const struct selector **ret, struct err *err);
/* metav1.LabelSelector; an absent one (NULL) matches nothing, an empty one everything. */
NODISCARD bool selector_from_value(struct arena *a, const struct value *label_selector, const struct selector **ret, struct err *err);
/* A plain map of labels (Service spec.selector, nodeSelector). Empty or absent matches everything. */
const struct selector *selector_from_map(struct arena *a, const struct value *labels);
bool selector_matches(const struct selector *s, const struct value *labels);
/* One requirement of a NodeSelectorTerm/LabelSelector expression (In, NotIn, Exists, DoesNotExist, Gt, Lt). */
bool requirement_matches(const struct value *expression, const struct value *labels);
struct str selector_text(struct arena *a, const struct selector *s);

struct field_term {
	struct str path, value;
	bool negate;
};
struct field_selector {
	struct field_term *at;
	size_t len;
};
/* "metadata.name=x,status.phase!=Running". */
NODISCARD bool field_selector_parse(struct arena *a, struct str text, struct field_selector *ret, struct err *err);

#endif
