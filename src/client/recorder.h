/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorder.h - writes Events in the background: same ones are counted up instead of repeated
 * (upstream's correlator: count, firstTimestamp, lastTimestamp), spam is limited (burst 25 per source and object, then one per 5
 * minutes), at most 1,000 wait. Any thread; never blocks.
 */
#ifndef CLIENT_RECORDER_H
#define CLIENT_RECORDER_H

#include "client/client.h"

struct recorder;
struct recorder *recorder_new(struct client *c, const char *component, const char *host); /* host may be NULL */
void recorder_free(struct recorder *r); /* writes what waits, at most 2 s */
/* type "Normal" or "Warning". `about`'s kind, namespace, name, uid and versions make involvedObject. */
void recorder_event(struct recorder *r, const struct value *about, const char *type, const char *reason, const char *fmt, ...) PRINTF(5, 6);
/* The same with a fieldPath ("spec.containers{name}"). */
void recorder_event_at(struct recorder *r, const struct value *about, struct str field_path, const char *type, const char *reason, const char *fmt, ...)
	PRINTF(6, 7);

#endif
