/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.h - healthCheckNodePort: load balancers outside ask each node by HTTP whether it has endpoints of a Service whose traffic stays on the node. Private
 * to network/; all on one loop. Source: Kubernetes "Source IP for Services with Type=LoadBalancer".
 */
#ifndef NETWORK_HEALTH_H
#define NETWORK_HEALTH_H

#include "loop/loop.h"

struct health;
struct health *health_new(struct loop *loop);
void health_free(struct health *h); /* on its loop, or after the loop has stopped */
/* The port of Service `key` ("ns/name"); 0: none any more. A port that cannot be had is logged and tried again at the next call. */
void health_set(struct health *h, struct str key, int port, int local_endpoints);

#endif
