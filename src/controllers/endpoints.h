/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints.h - which pods stand behind a Service, and on which ports: for EndpointSlices and Endpoints alike. Private to this room. */
#ifndef CONTROLLERS_ENDPOINTS_H
#define CONTROLLERS_ENDPOINTS_H

#include "controllers/frame.h"
#include "controllers/object.h"

/* The pods that a Service's selector matches and that have (or had) an address; references. */
void service_pods(struct shared *pods, const struct value *service, struct client_list *ret);
/* Whether a pod belongs into the endpoints at all: it has an IP and is not finished. */
bool pod_is_endpoint(const struct value *pod);
/*
 * The Service's ports as this pod serves them: [{name, port, protocol, appProtocol}]. A named targetPort is looked up in the pod's containers; a port that
 * it does not have is left out. A headless Service without ports gives none.
 */
struct value *pod_ports(struct arena *a, const struct value *service, const struct value *pod);
/* A pod's address of a family ("IPv4", "IPv6"); "" when it has none. */
struct str pod_ip(const struct value *pod, const char *family);
struct value *pod_reference(struct arena *a, const struct value *pod);
bool service_selects(const struct value *service); /* it has a selector and is no ExternalName */
/* Whether a change of a pod can change endpoints. */
bool pod_endpoint_changed(const struct value *old, const struct value *now);
/* Adds the keys of all Services that select either state of the pod. */
void wake_services(struct shared *services, struct work_queue *queue, const struct obj *old, const struct obj *now);

#endif
