/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h - startup, liveness and readiness probes of a pod's containers. Loop only. */
#ifndef KUBELET_PROBE_H
#define KUBELET_PROBE_H

#include "kubelet/internal.h"

/* After a pass: probes for what runs now, none for what does not. */
void probes_update(struct pod *p);
/* What they found so far, into p->pass_probes. */
void probes_view(struct pod *p);
void probes_stop(struct pod *p);

/* gRPC health checking over a connected h2c exchange (grpc_probe.c). Blocks. Fails: with the words of the event. */
NODISCARD bool grpc_health_check(struct str address, struct str service, nsec_t timeout, struct err *err);
/* Its parts without I/O: takes whole frames off `in`; answers go to `out`; the message's bytes to `message`. */
NODISCARD bool grpc_frames(struct buf *in, struct buf *message, struct buf *out, bool *over, struct err *err);
/* HealthCheckResponse.status; absent: 0. -1: no message. */
int grpc_status(struct str message);

#endif
