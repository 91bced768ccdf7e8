/* SPDX-License-Identifier: Apache-2.0 */
/* cron.h - schedules of CronJobs and the time zones they are read in. Values, no state; any thread. Private to this room. */
#ifndef CONTROLLERS_CRON_H
#define CONTROLLERS_CRON_H

#include "base/clock.h"
#include "base/err.h"

/* ---- zone.c ---- */
struct zone; /* NULL is UTC */
/*
 * The zone by its name in the tz database. In the arena.
 * Fails: ERR_NOT_FOUND "unknown time zone X".
 */
NODISCARD bool zone_load(struct arena *a, struct str name, const struct zone **ret, struct err *err);
/* The same from the bytes of a TZif file (RFC 9636). Fails: ERR_BAD_REQUEST, malformed. */
NODISCARD bool zone_parse(struct arena *a, struct str tzif, const struct zone **ret, struct err *err);
int64_t zone_offset(const struct zone *z, int64_t unix_sec); /* seconds east of UTC at that time */

/* ---- cron.c ---- */
struct cron {
	uint64_t minutes, hours, days, months, weekdays; /* bit n: n is in it */
	bool any_day, any_weekday; /* written as a star: then the other one alone decides */
	nsec_t every;              /* "@every 90s": a plain delay instead of the fields; 0: fields */
};
/* Five fields, or "@hourly" and its kin, as robfig/cron's standard parser takes. Fails: ERR_INVALID with what is wrong. */
NODISCARD bool cron_parse(struct str text, struct cron *ret, struct err *err);
/* The first time after `after` (both since 1970); 0 when there is none within five years. */
nsec_t cron_next(const struct cron *c, const struct zone *z, nsec_t after);

#endif
