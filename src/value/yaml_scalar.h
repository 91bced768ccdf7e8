/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_scalar.h - what a plain YAML scalar means to kubectl; private to value/. */
#ifndef VALUE_YAML_SCALAR_H
#define VALUE_YAML_SCALAR_H

#include "base/str.h"

enum yaml_kind {
	YAML_KIND_STR,
	YAML_KIND_NULL,
	YAML_KIND_BOOL,
	YAML_KIND_INT,
	YAML_KIND_FLOAT,
	YAML_KIND_TIMESTAMP, /* stays a string, but needs quotes to be one for others */
	YAML_KIND_MERGE,     /* << */
};

struct yaml_scalar {
	enum yaml_kind kind;
	bool boolean;
	bool is_unsigned;   /* an INT above int64: `number` has it */
	int64_t integer;
	double number;      /* of FLOAT: perhaps infinite or NaN */
};

/* By the rules of YAML 1.1 as go-yaml v2 has them. */
struct yaml_scalar yaml_resolve(struct str text);
/* A number of base 60 (1:30:00), a string to us, which other readers of YAML 1.1 take for a number. */
bool yaml_base60(struct str text);

#endif
