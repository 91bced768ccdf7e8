/* SPDX-License-Identifier: Apache-2.0 */
/* flags.c - see flags.h. Main thread, before anything else runs. */
#include "base/flags.h"

#include <stdio.h>

#include "base/clock.h"

static size_t distance(const char *a, const char *b) { /* Levenshtein, short words only */
	size_t row[64], la = strlen(a), lb = strlen(b);
	if (la >= 64 || lb >= 64) {
		return 64;
	}
	for (size_t j = 0; j <= lb; j++) {
		row[j] = j;
	}
	for (size_t i = 1; i <= la; i++) {
		size_t diag = row[0];
		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t up = row[j];
			size_t best = MIN(MIN(row[j] + 1, row[j - 1] + 1), diag + (a[i - 1] != b[j - 1]));
			diag = up;
			row[j] = best;
		}
	}
	return row[lb];
}

const char *flags_nearest(const char *word, const char *const *names, size_t n) {
	const char *best = NULL;
	size_t best_d = MAX((size_t)2, strlen(word) / 3);
	for (size_t i = 0; i < n; i++) {
		size_t d = distance(word, names[i]);
		if (d <= best_d && (!best || d < best_d)) {
			best = names[i];
			best_d = d;
		}
	}
	return best;
}

static const struct flag *find(const struct flag *flags, struct str name) {
	for (const struct flag *f = flags; f->name; f++) {
		if (str_eqc(name, f->name) || (name.len == 1 && f->letter == name.ptr[0])) {
			return f;
		}
	}
	return NULL;
}

static bool unknown(const struct flag *flags, const char *arg, struct str name, struct err *err) {
	const char *names[128];
	size_t n = 0;
	for (const struct flag *f = flags; f->name && n < ARRAY_LEN(names); f++) {
		names[n++] = f->name;
	}
	auto_free char *word = str_dup(name);
	const char *near = flags_nearest(word, names, n);
	if (near) {
		return err_set(err, ERR_BAD_REQUEST, "unknown flag: %s (did you mean --%s?)", arg, near);
	}
	return err_set(err, ERR_BAD_REQUEST, "unknown flag: %s", arg);
}

static bool list_add(const struct flag *f, const char *value, struct err *err) {
	struct flag_list *l = f->into;
	char *copy = xstrdup(value); /* lives as long as the process, like argv */
	for (char *at = copy; at;) {
		char *comma = strchr(at, ',');
		if (comma) {
			*comma++ = 0;
		}
		if (l->len == ARRAY_LEN(l->at)) {
			free(copy);
			return err_set(err, ERR_BAD_REQUEST, "--%s: at most %zu values", f->name, ARRAY_LEN(l->at));
		}
		l->at[l->len++] = at;
		at = comma;
	}
	return true;
}

static bool take(const struct flag *f, const char *value, struct err *err) {
	int64_t i;
	switch (f->type) {
	case FLAG_STRING:
		*(const char **)f->into = value;
		return true;
	case FLAG_INT:
		if (!str_to_i64(str_c(value), &i) || i < INT32_MIN || i > INT32_MAX) {
			return err_set(err, ERR_BAD_REQUEST, "--%s: \"%s\" is not a number", f->name, value);
		}
		*(int *)f->into = (int)i;
		return true;
	case FLAG_BOOL:
		if (!strcmp(value, "true") || !strcmp(value, "1")) {
			*(bool *)f->into = true;
		} else if (!strcmp(value, "false") || !strcmp(value, "0")) {
			*(bool *)f->into = false;
		} else {
			return err_set(err, ERR_BAD_REQUEST, "--%s: \"%s\" is neither true nor false", f->name, value);
		}
		return true;
	case FLAG_DURATION:
		if (!duration_parse(str_c(value), &i)) {
			if (!str_to_i64(str_c(value), &i)) {
				return err_set(err, ERR_BAD_REQUEST, "--%s: \"%s\" is not a duration such as 30s or 5m", f->name, value);
			}
			i *= NSEC_PER_SEC;
		}
		*(int64_t *)f->into = i;
		return true;
	case FLAG_LIST:
		return list_add(f, value, err);
	}
	return false;
}

bool flags_parse(const struct flag *flags, int argc, char **argv, struct flag_args *ret_args, bool *ret_help, struct err *err) {
	bool only_args = false;
	*ret_help = false;
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];
		if (only_args || arg[0] != '-' || !arg[1]) {
			if (!ret_args) {
				return err_set(err, ERR_BAD_REQUEST, "unexpected argument: %s", arg);
			}
			if (ret_args->len == ARRAY_LEN(ret_args->at)) {
				return err_set(err, ERR_BAD_REQUEST, "too many arguments");
			}
			ret_args->at[ret_args->len++] = arg;
			continue;
		}
		if (!strcmp(arg, "--")) {
			only_args = true;
			continue;
		}
		struct str name, value;
		bool has_value = str_cut(str_c(arg + (arg[1] == '-' ? 2 : 1)), '=', &name, &value);
		if (!has_value && (str_eqc(name, "help") || str_eqc(name, "h"))) {
			*ret_help = true;
			return true;
		}
		const struct flag *f = find(flags, name);
		if (!f) {
			return unknown(flags, arg, name, err);
		}
		if (!has_value && f->type == FLAG_BOOL) {
			*(bool *)f->into = true;
			continue;
		}
		if (!has_value && i + 1 >= argc) {
			return err_set(err, ERR_BAD_REQUEST, "flag needs a value: %s %s", arg, f->value ? f->value : "VALUE");
		}
		if (!take(f, has_value ? value.ptr : argv[++i], err)) {
			return false;
		}
	}
	return true;
}

void flags_print(const struct flag *flags) {
	size_t width = 0;
	for (const struct flag *f = flags; f->name; f++) {
		width = MAX(width, strlen(f->name) + (f->value ? strlen(f->value) + 1 : 0));
	}
	printf("Flags:\n");
	for (const struct flag *f = flags; f->name; f++) {
		auto_free char *left = xasprintf("%s%s%s", f->name, f->value ? " " : "", f->value ? f->value : "");
		printf("  %c%c%c --%-*s  ", f->letter ? '-' : ' ', f->letter ? f->letter : ' ', f->letter ? ',' : ' ', (int)width, left);
		for (const char *h = f->help; *h; h++) {
			putchar(*h);
			if (*h == '\n') {
				printf("%*s", (int)width + 10, "");
			}
		}
		if (f->type == FLAG_STRING && *(const char **)f->into && **(const char **)f->into) {
			printf(" (default %s)", *(const char **)f->into);
		} else if (f->type == FLAG_INT && *(int *)f->into) {
			printf(" (default %d)", *(int *)f->into);
		} else if (f->type == FLAG_DURATION && *(int64_t *)f->into) {
			printf(" (default %llds)", (long long)(*(int64_t *)f->into / NSEC_PER_SEC));
		}
		putchar('\n');
	}
	printf("  -h, --%-*s  this help\n", (int)width, "help");
}
