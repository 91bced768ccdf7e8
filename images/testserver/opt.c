/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opt.c - reads a subcommand's flags by its table.
 *
 * Called first by each command, on the main thread. May end the program.
 */
#include "opt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool opt_duration(struct str s, int64_t *ret_ms) {
	static const struct { struct str name; int64_t ms; } units[] = {
		{ S("ms"), 1 }, { S("s"), 1000 }, { S("m"), 60000 }, { S("h"), 3600000 },
	};
	int64_t total = 0, n;

	if (str_int(s, 0, INT32_MAX, &n)) {
		*ret_ms = n * 1000;
		return true;
	}
	while (s.len > 0) {
		size_t digits = 0, letters = 0;
		bool known = false;

		while (digits < s.len && s.ptr[digits] >= '0' && s.ptr[digits] <= '9') {
			digits++;
		}
		if (!str_int((struct str){ s.ptr, digits }, 0, INT32_MAX, &n)) {
			return false;
		}
		s = (struct str){ s.ptr + digits, s.len - digits };
		while (letters < s.len && s.ptr[letters] >= 'a' && s.ptr[letters] <= 'z') {
			letters++;
		}
		for (size_t i = 0; i < ARRAY_LEN(units); i++) {
			if (str_eq((struct str){ s.ptr, letters }, units[i].name)) {
				total += n * units[i].ms;
				known = true;
			}
		}
		if (!known) {
			return false;
		}
		s = (struct str){ s.ptr + letters, s.len - letters };
	}
	*ret_ms = total;
	return true;
}

static bool opt_set(const struct opt *opt, const char *value) {
	struct str s = str_from(value);

	switch (opt->type) {
	case OPT_TEXT:
		*(const char **)opt->into = value;
		return true;
	case OPT_INT:
		return str_int(s, INT64_MIN + 1, INT64_MAX, opt->into);
	case OPT_DURATION:
		return opt_duration(s, opt->into);
	case OPT_BOOL:
		*(bool *)opt->into = str_eq(s, S("true")) || str_eq(s, S("1"));
		return *(bool *)opt->into || str_eq(s, S("false")) || str_eq(s, S("0"));
	}
	return false;
}

static void usage_print(FILE *to, const char *command, const char *usage, const struct opt *opts, size_t opts_len) {
	fprintf(to, "usage: %s %s\n", command, usage);
	for (size_t i = 0; i < opts_len; i++) {
		static const char *const values[] = { " TEXT", " N", "", " DURATION" };
		int used = fprintf(to, "  --%s%s", opts[i].name, values[opts[i].type]);

		fprintf(to, "%*s%s", used < 34 ? 34 - used : 1, "", opts[i].help);
		if (opts[i].type == OPT_INT && *(int64_t *)opts[i].into != 0) {
			fprintf(to, " (default %lld)", (long long)*(int64_t *)opts[i].into);
		}
		fputc('\n', to);
	}
}

struct opt_rest opt_parse(int argc, char **argv, const char *usage, const struct opt *opts, size_t opts_len) {
	int at = 1;

	for (; at < argc && argv[at][0] == '-' && argv[at][1] != '\0'; at++) {
		struct str value = str_from(argv[at]);
		bool joined = memchr(value.ptr, '=', value.len) != NULL;
		struct str name = str_cut(&value, '=');
		const struct opt *opt = NULL;

		if (str_eq(name, S("--"))) {
			at++;
			break;
		}
		name.ptr += name.ptr[1] == '-' ? 2 : 1;
		name.len = name.len - (size_t)(name.ptr - argv[at]);
		for (size_t i = 0; i < opts_len; i++) {
			if (str_eq(name, str_from(opts[i].name))) {
				opt = &opts[i];
			}
		}
		if (!opt) {
			bool help = str_eq(name, S("help")) || str_eq(name, S("h"));

			if (!help) {
				fprintf(stderr, "%s: unknown flag %s\n", argv[0], argv[at]);
			}
			usage_print(help ? stdout : stderr, argv[0], usage, opts, opts_len);
			exit(help ? 0 : 2);
		}
		if (!joined && opt->type != OPT_BOOL && at + 1 >= argc) {
			fprintf(stderr, "%s: --%s needs a value\n", argv[0], opt->name);
			exit(2);
		}
		if (!opt_set(opt, joined ? value.ptr : opt->type == OPT_BOOL ? "true" : argv[++at])) {
			fprintf(stderr, "%s: bad value in %s\n", argv[0], argv[at]);
			exit(2);
		}
	}
	return (struct opt_rest){ argc - at, argv + at };
}
