/* SPDX-License-Identifier: Apache-2.0 */
/* service_alloc.h - cluster addresses and node ports; new, free and seed are in kinds.h. Any thread. */
#ifndef APISERVER_SERVICE_ALLOC_H
#define APISERVER_SERVICE_ALLOC_H

#include "apiserver/kinds.h"

enum alloc_result { ALLOC_OK, ALLOC_TAKEN, ALLOC_OUT_OF_RANGE };

struct str service_alloc_ip(struct service_alloc *s, struct arena *a, bool dry_run); /* "" when the range is full */
enum alloc_result service_alloc_take_ip(struct service_alloc *s, struct str ip, bool dry_run);
void service_alloc_give_ip(struct service_alloc *s, struct str ip); /* "", "None" and strangers are ignored */
int service_alloc_port(struct service_alloc *s, bool dry_run);      /* 0 when the range is full */
enum alloc_result service_alloc_take_port(struct service_alloc *s, int port, bool dry_run);
void service_alloc_give_port(struct service_alloc *s, int port);
void service_alloc_range(const struct service_alloc *s, int *ret_min, int *ret_max);

#endif
