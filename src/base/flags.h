/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flags.h - command lines as tables: each subcommand lists its flags once, and parsing, defaults and
 * --help all read that list. Accepts --name value, --name=value, -n value; a bool needs no value. Flags
 * may stand before, between and after arguments; "--" ends them.
 */
#ifndef BASE_FLAGS_H
#define BASE_FLAGS_H

#include "base/err.h"

enum flag_type { FLAG_STRING, FLAG_INT, FLAG_BOOL, FLAG_DURATION /* "30s" or "5m"; nanoseconds */, FLAG_LIST /* may repeat, comma-separated too */ };

struct flag_list {
	const char *at[64];
	size_t len;
};
struct flag {
	const char *name;  /* without dashes; NULL ends the table */
	char letter;       /* 0: none */
	enum flag_type type;
	void *into;        /* const char **, int *, bool *, int64_t *, struct flag_list *: its value before is the default */
	const char *value; /* placeholder in the help: "DIR" */
	const char *help;  /* one line, or several with \n */
};

struct flag_args {
	const char *at[256];
	size_t len;
};

/*
 * Parses argv[1..]; strings are borrowed from argv. `ret_args` (NULL: none allowed) gets what is no flag.
 * `*ret_help` is set on --help or -h, and nothing else is checked then.
 * Fails: ERR_BAD_REQUEST "unknown flag: --nmae (did you mean --name?)" and kin.
 */
NODISCARD bool flags_parse(const struct flag *flags, int argc, char **argv, struct flag_args *ret_args, bool *ret_help, struct err *err);
/* The "Flags:" part of a help text on stdout, aligned, with defaults. */
void flags_print(const struct flag *flags);
/* The nearest of `names` to a mistyped word, or NULL when none is near. */
const char *flags_nearest(const char *word, const char *const *names, size_t n);

#endif
