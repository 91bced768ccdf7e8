/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.h - flags of a subcommand: a table of what there is, read from argv.
 */
#ifndef TESTSERVER_OPT_H
#define TESTSERVER_OPT_H

#include "base.h"

enum opt_type {
	OPT_TEXT,     /* const char **, borrowed from argv */
	OPT_INT,      /* int64_t * */
	OPT_BOOL,     /* bool *; `--name`, `--name=true`, `--name=false` */
	OPT_DURATION, /* int64_t * in milliseconds; `300ms`, `5s`, `1m30s`, `2h`; a bare number is seconds */
};

struct opt {
	const char *name; /* without dashes */
	enum opt_type type;
	void *into; /* holds the default before */
	const char *help;
};

/* What stands behind the flags. */
struct opt_rest {
	int argc;
	char **argv; /* borrowed */
};

/*
 * Reads `--name value` and `--name=value` (one dash is as good) up to the first word that is no
 * flag, or behind `--`. argv[0] is the subcommand's name. An unknown flag or a bad value is told on
 * stderr and ends the program with 2; --help tells the flags on stdout and ends it with 0.
 */
struct opt_rest opt_parse(int argc, char **argv, const char *usage, const struct opt *opts, size_t opts_len);

/* Reads a duration; false when `s` is none. */
NODISCARD bool opt_duration(struct str s, int64_t *ret_ms);

#endif
