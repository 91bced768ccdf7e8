/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - time and chance, passed in (DESIGN.md law 6). Everything above base asks these functions;
 * a simulation replaces them with clock_set_source() before it starts any thread.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/str.h"
#include "base/err.h"
#include "base/arena.h"

typedef int64_t nsec_t; /* nanoseconds, a span or a point in time */
#define NSEC_PER_SEC ((nsec_t)1000000000)
#define NSEC_PER_MSEC ((nsec_t)1000000)
#define NSEC_PER_USEC ((nsec_t)1000)

nsec_t clock_mono(void); /* monotonic, for spans and deadlines */
nsec_t clock_wall(void); /* since 1970-01-01 UTC, for what people read */
void clock_sleep(nsec_t span); /* only in threads that may block */

struct clock_source {
	nsec_t (*mono)(void);
	nsec_t (*wall)(void);
	uint64_t (*random)(void);
};
void clock_set_source(const struct clock_source *source); /* borrowed; NULL: the real ones */

uint64_t rand_u64(void); /* not for keys and tokens: those come from OpenSSL */
double rand_double(void); /* [0, 1) */

/* RFC 3339 as metav1.Time prints it, "2026-11-21T05:46:00Z" (seconds). */
#define TIME_TEXT_MAX 40
struct str time_format(nsec_t wall, char out[TIME_TEXT_MAX]);
/* metav1.MicroTime: "2026-11-21T05:46:00.123456Z". */
struct str time_format_micro(nsec_t wall, char out[TIME_TEXT_MAX]);
/* Nanoseconds, as CRI logs and RFC3339Nano print (fixed nine digits). */
struct str time_format_nano(nsec_t wall, char out[TIME_TEXT_MAX]);
/* Any RFC 3339 text with offset and fraction. False when it is not one. Beyond nsec_t (before 1678, after 2261): the nearest. */
NODISCARD bool time_parse(struct str text, nsec_t *ret);
/* Go's time.Duration text: "1h2m3.5s", "300ms". False when it is not one. */
NODISCARD bool duration_parse(struct str text, nsec_t *ret);
/* As Go prints it: "1m30s". */
struct str duration_format(struct arena *a, nsec_t span);

#endif
