/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apigen.c - turns api/<group>.api into tables: names.h, names.c, tables.h and tables.c.
 *
 * Run by the build before anything else: `apigen OUT-DIR FILE...`. Plain C without the project's own
 * libraries, since those need names.h. The text format is described in docs/api-format.md; the tables
 * it fills in src/schema/schema.h. Every complaint names file and line. One thread, memory is never
 * freed: the program lives for a few milliseconds.
 */
#define _GNU_SOURCE 1
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST(type) struct { type *at; size_t len, cap; }
#define ADD(list, item) (grow((void **)&(list)->at, &(list)->cap, (list)->len, sizeof(*(list)->at)), (list)->at[(list)->len++] = (item))

enum { WORDS_MAX = 256, TYPE_REF_NONE = 0x7fff };

/* ---- what is read -------------------------------------------------------------------------------- */
struct word {
	char *text;
	bool quoted;
};
struct place {
	const char *file;
	int line;
};
struct field {
	struct place at;
	const char *name; /* NULL: inline */
	int num;
	bool ptr;
	int shape; /* 0 one, 1 list, 2 map */
	const char *type_word;
	const char *kind;   /* SCHEMA_... */
	struct type *type;  /* of a struct or a named string */
	char flags[256];
	const char *merge_key, *keys, *dflt, *gate, *oneof, *format;
	long long min, max;
	bool has_min, has_max;
	int max_items, max_length, min_length, max_bytes;
	const char *help;
};
struct type {
	struct place at;
	const char *full, *name;
	struct package *package;
	char form; /* t struct, e closed enum, o open string, s list of strings, a alias */
	const char *alias, *unions, *gv, *help;
	bool object, every_group, noproto, atomic, text, deprecated;
	LIST(struct field) own;  /* as written, inline among them */
	LIST(struct field) flat; /* what JSON sees */
	LIST(const char *) values;
	LIST(struct inline_part) inlines;
	bool flattened, in_flatten;
	int index, fields_at, order_at, order_len, slots_at, slots_log2, inlines_at, values_at;
};
struct inline_part {
	int num, at;
	struct type *type;
	bool done;
};
struct column {
	const char *name, *type, *format, *help;
	bool wide;
};
struct sub {
	struct place at;
	const char *name, *kind_word;
	struct type *kind;
	struct version *kind_version;
	unsigned verbs;
};
struct alias {
	const char *from, *to;
};
struct resource {
	struct place at;
	struct version *version;
	const char *name, *kind_word, *singular, *list, *shorts, *categories, *storage, *hash, *key, *select_error, *help;
	struct type *kind, *list_type;
	bool namespaced, no_list, deleted_object;
	unsigned verbs;
	LIST(struct sub) subs;
	LIST(struct column) columns;
	LIST(const char *) selects;
	LIST(struct alias) aliases;
	int index, subs_at, columns_at, selects_at, aliases_at;
};
struct version {
	struct group *group;
	const char *name;
	int priority, index, resources_at;
	bool off;
	LIST(struct resource *) resources;
};
struct group {
	const char *name;
	int order, priority, index, versions_at;
	LIST(struct version *) versions;
};
struct package {
	const char *name, *alias;
	struct version *version; /* NULL: no API group */
	int index;
};

static LIST(struct type *) types;
static LIST(struct package *) packages;
static LIST(struct group *) groups;
static LIST(struct resource *) resources;
static LIST(const char *) names; /* sorted before use */

/* ---- helpers --------------------------------------------------------------------------------------- */
static void die(struct place at, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));
static void die(struct place at, const char *fmt, ...) {
	va_list ap;

	if (at.file) {
		fprintf(stderr, "%s:%d: ", at.file, at.line);
	} else {
		fprintf(stderr, "apigen: ");
	}
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void grow(void **at, size_t *cap, size_t len, size_t item) {
	if (len < *cap) {
		return;
	}
	*cap = *cap ? *cap * 2 : 8;
	*at = realloc(*at, *cap * item);
	if (!*at) {
		die((struct place){ 0 }, "out of memory");
	}
}

static void *new(size_t bytes) {
	void *p = calloc(1, bytes);

	if (!p) {
		die((struct place){ 0 }, "out of memory");
	}
	return p;
}

static char *print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *print(const char *fmt, ...) {
	char *ret = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&ret, fmt, ap) < 0) {
		die((struct place){ 0 }, "out of memory");
	}
	va_end(ap);
	return ret;
}

static bool same(const char *a, const char *b) {
	return strcmp(a, b) == 0;
}

/* The part of `word` behind `prefix`, or NULL. */
static const char *after(const char *word, const char *prefix) {
	size_t n = strlen(prefix);

	return strncmp(word, prefix, n) == 0 ? word + n : NULL;
}

static long long number(struct place at, const char *text) {
	char *end = NULL;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno || end == text || *end) {
		die(at, "\"%s\" is not a number", text);
	}
	return n;
}

static void name_add(const char *name) {
	ADD(&names, name);
}

static int cmp_str(const void *a, const void *b) {
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void names_sort(void) {
	size_t out = 0;

	qsort(names.at, names.len, sizeof(*names.at), cmp_str);
	for (size_t i = 0; i < names.len; i++) {
		if (i == 0 || !same(names.at[i], names.at[i - 1])) {
			names.at[out++] = names.at[i];
		}
	}
	names.len = out;
}

static int name_id(const char *name) {
	const char **p = bsearch(&name, names.at, names.len, sizeof(*names.at), cmp_str);

	if (!p) {
		die((struct place){ 0 }, "name \"%s\" got lost", name);
	}
	return (int)(p - names.at) + 1;
}

/* A C identifier's tail: everything that is no letter or digit becomes '_'. */
static char *ident(const char *text) {
	char *s = print("%s", text);

	for (char *p = s; *p; p++) {
		if (!isalnum((unsigned char)*p)) {
			*p = '_';
		}
	}
	return s;
}

/* ---- the pool of texts: one array of NUL-ended strings, each held once ------------------------------- */
static struct {
	char *at;
	size_t len, cap;
} pool;
static struct {
	uint32_t *slots;
	size_t cap, len;
} pool_index;

static uint64_t hash_text(const char *s) {
	uint64_t h = 14695981039346656037u;

	for (; *s; s++) {
		h = (h ^ (unsigned char)*s) * 1099511628211u;
	}
	return h;
}

static uint32_t text(const char *s) {
	size_t n, i;

	if (!s || !*s) {
		return 0;
	}
	if (pool.len == 0) {
		grow((void **)&pool.at, &pool.cap, pool.len, 1);
		pool.at[pool.len++] = 0;
	}
	if ((pool_index.len + 1) * 2 > pool_index.cap) {
		uint32_t *old = pool_index.slots;
		size_t old_cap = pool_index.cap;

		pool_index.cap = old_cap ? old_cap * 2 : 1024;
		pool_index.slots = new(pool_index.cap * sizeof(*pool_index.slots));
		for (size_t k = 0; k < old_cap; k++) {
			if (old[k]) {
				for (i = hash_text(pool.at + old[k]) & (pool_index.cap - 1); pool_index.slots[i];
					i = (i + 1) & (pool_index.cap - 1)) {
				}
				pool_index.slots[i] = old[k];
			}
		}
		free(old);
	}
	for (i = hash_text(s) & (pool_index.cap - 1); pool_index.slots[i]; i = (i + 1) & (pool_index.cap - 1)) {
		if (same(pool.at + pool_index.slots[i], s)) {
			return pool_index.slots[i];
		}
	}
	n = strlen(s) + 1;
	pool_index.slots[i] = (uint32_t)pool.len;
	pool_index.len++;
	for (size_t k = 0; k < n; k++) {
		grow((void **)&pool.at, &pool.cap, pool.len, 1);
		pool.at[pool.len++] = s[k];
	}
	return pool_index.slots[i];
}

/* ---- reading ------------------------------------------------------------------------------------------ */
struct reader {
	struct place at;
	struct group *group;
	struct version *version;
	struct package *package;
	struct resource *resource;
	struct type *type;
	const char **help; /* where a following "# more" line goes */
};

/* Cuts a line into words; "..." holds blanks. What follows " # " is the help text. */
static size_t split(struct place at, char *line, struct word *words, char **ret_help) {
	size_t n = 0;
	char *p = line;

	*ret_help = NULL;
	for (;;) {
		while (*p == ' ' || *p == '\t') {
			p++;
		}
		if (!*p) {
			return n;
		}
		if (*p == '#' && (p[1] == ' ' || !p[1])) {
			p++;
			while (*p == ' ') {
				p++;
			}
			*ret_help = print("%s", p);
			return n;
		}
		if (n == WORDS_MAX) {
			die(at, "more than %d words in a line", WORDS_MAX);
		}
		words[n].quoted = *p == '"';
		if (*p == '"') {
			char *out = ++p;

			words[n].text = out;
			while (*p && *p != '"') {
				if (*p == '\\' && p[1]) {
					p++;
				}
				*out++ = *p++;
			}
			if (!*p) {
				die(at, "a quoted word does not end");
			}
			p++;
			*out = 0;
			n++;
			continue;
		}
		words[n].text = p;
		while (*p && *p != ' ' && *p != '\t') {
			if (*p == '"') { /* default="a b" */
				for (p++; *p && *p != '"'; p++) {
				}
				if (!*p) {
					die(at, "a quoted word does not end");
				}
			}
			p++;
		}
		if (*p) {
			*p++ = 0;
		}
		n++;
	}
}

static unsigned verbs_read(struct place at, struct word *w, size_t n) {
	static const char *const verbs[] = { "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch" };
	unsigned mask = 0;

	for (size_t i = 0; i < n; i++) {
		size_t v = 0;

		while (v < 8 && !same(verbs[v], w[i].text)) {
			v++;
		}
		if (v == 8) {
			die(at, "\"%s\" is no verb", w[i].text);
		}
		mask |= 1u << v;
	}
	return mask;
}

static struct group *group_get(const char *name) {
	struct group *g;

	if (same(name, "core")) {
		name = "";
	}
	for (size_t i = 0; i < groups.len; i++) {
		if (same(groups.at[i]->name, name)) {
			return groups.at[i];
		}
	}
	g = new(sizeof(*g));
	g->name = print("%s", name);
	g->order = 1000;
	ADD(&groups, g);
	return g;
}

static void package_open(struct reader *r, const char *name, const char *alias) {
	for (size_t i = 0; i < packages.len; i++) {
		if (same(packages.at[i]->name, name)) {
			die(r->at, "package %s is opened twice", name);
		}
	}
	r->package = new(sizeof(*r->package));
	r->package->name = print("%s", name);
	r->package->alias = print("%s", alias);
	r->package->version = r->version;
	ADD(&packages, r->package);
	r->resource = NULL;
	r->type = NULL;
}

static void read_group(struct reader *r, struct word *w, size_t n) {
	if (n < 2) {
		die(r->at, "group NAME [order=N] [priority=N]");
	}
	r->group = group_get(w[1].text);
	r->version = NULL;
	r->package = NULL;
	for (size_t i = 2; i < n; i++) {
		const char *v;

		if ((v = after(w[i].text, "order="))) {
			r->group->order = (int)number(r->at, v);
		} else if ((v = after(w[i].text, "priority="))) {
			r->group->priority = (int)number(r->at, v);
		} else {
			die(r->at, "a group has no \"%s\"", w[i].text);
		}
	}
}

static void read_version(struct reader *r, struct word *w, size_t n) {
	if (!r->group || n < 6 || !same(w[2].text, "package") || !same(w[4].text, "as")) {
		die(r->at, "inside a group: version NAME package FULL.NAME as SHORT [priority=N] [off]");
	}
	r->version = new(sizeof(*r->version));
	r->version->group = r->group;
	r->version->name = print("%s", w[1].text);
	for (size_t i = 0; i < r->group->versions.len; i++) {
		if (same(r->group->versions.at[i]->name, r->version->name)) {
			die(r->at, "version %s stands twice in group \"%s\"", r->version->name, r->group->name);
		}
	}
	ADD(&r->group->versions, r->version);
	for (size_t i = 6; i < n; i++) {
		const char *v;

		if ((v = after(w[i].text, "priority="))) {
			r->version->priority = (int)number(r->at, v);
		} else if (same(w[i].text, "off")) {
			r->version->off = true;
		} else {
			die(r->at, "a version has no \"%s\"", w[i].text);
		}
	}
	package_open(r, w[3].text, w[5].text);
}

static void read_resource(struct reader *r, struct word *w, size_t n) {
	struct resource *res = new(sizeof(*res));

	if (!r->version || n < 4) {
		die(r->at, "inside a version: resource PLURAL KIND namespaced|cluster [singular=..] [short=..] ...");
	}
	res->at = r->at;
	res->version = r->version;
	res->name = print("%s", w[1].text);
	res->kind_word = print("%s", w[2].text);
	if (!same(w[3].text, "namespaced") && !same(w[3].text, "cluster")) {
		die(r->at, "expected namespaced or cluster, not \"%s\"", w[3].text);
	}
	res->namespaced = same(w[3].text, "namespaced");
	for (size_t i = 4; i < n; i++) {
		const char *v;

		if ((v = after(w[i].text, "singular="))) {
			res->singular = print("%s", v);
		} else if ((v = after(w[i].text, "list="))) {
			res->list = print("%s", v);
		} else if (same(w[i].text, "nolist")) {
			res->no_list = true;
		} else if (same(w[i].text, "deleted-object")) {
			res->deleted_object = true;
		} else if ((v = after(w[i].text, "short="))) {
			res->shorts = print("%s", v);
		} else if ((v = after(w[i].text, "category="))) {
			res->categories = print("%s", v);
		} else if ((v = after(w[i].text, "storage="))) {
			res->storage = print("%s", v);
		} else if ((v = after(w[i].text, "hash="))) {
			res->hash = print("%s", v);
		} else if ((v = after(w[i].text, "key="))) {
			res->key = print("%s", v);
		} else {
			die(r->at, "a resource has no \"%s\"", w[i].text);
		}
	}
	if (!res->list && !res->no_list) {
		res->list = print("%sList", res->kind_word);
	}
	ADD(&r->version->resources, res);
	ADD(&resources, res);
	r->resource = res;
	r->type = NULL;
	r->help = &res->help;
}

static void read_resource_line(struct reader *r, struct word *w, size_t n, const char *help) {
	struct resource *res = r->resource;

	if (same(w[0].text, "verbs")) {
		res->verbs = verbs_read(r->at, w + 1, n - 1);
	} else if (same(w[0].text, "sub") && n >= 3) {
		struct sub s = { .at = r->at, .name = print("%s", w[1].text), .kind_word = print("%s", w[2].text) };

		s.verbs = verbs_read(r->at, w + 3, n - 3);
		ADD(&res->subs, s);
	} else if (same(w[0].text, "column") && n >= 3) {
		struct column c = { .name = print("%s", w[1].text), .type = print("%s", w[2].text), .help = help };

		for (size_t i = 3; i < n; i++) {
			if (after(w[i].text, "format=")) {
				c.format = print("%s", after(w[i].text, "format="));
			} else if (same(w[i].text, "wide")) {
				c.wide = true;
			} else {
				die(r->at, "a column has no \"%s\"", w[i].text);
			}
		}
		ADD(&res->columns, c);
	} else if (same(w[0].text, "select")) {
		for (size_t i = 1; i < n; i++) {
			ADD(&res->selects, print("%s", w[i].text));
		}
	} else if (same(w[0].text, "select-alias") && n == 3) {
		struct alias a = { print("%s", w[1].text), print("%s", w[2].text) };

		ADD(&res->aliases, a);
	} else if (same(w[0].text, "select-error") && n == 2) {
		res->select_error = print("%s", w[1].text);
	} else {
		die(r->at, "a resource has no line \"%s\", or it lacks words", w[0].text);
	}
}

static struct type *type_new(struct reader *r, char form, const char *name) {
	struct type *t = new(sizeof(*t));

	if (!r->package) {
		die(r->at, "a type stands inside a version or a package");
	}
	t->at = r->at;
	t->form = form;
	t->name = print("%s", name);
	t->package = r->package;
	t->full = print("%s.%s", r->package->name, name);
	ADD(&types, t);
	r->resource = NULL;
	r->type = NULL;
	r->help = &t->help;
	return t;
}

static void read_type(struct reader *r, struct word *w, size_t n) {
	struct type *t;

	if (n < 2) {
		die(r->at, "type NAME [object] [atomic] [noproto] ...");
	}
	t = type_new(r, 't', w[1].text);
	for (size_t i = 2; i < n; i++) {
		const char *v;

		if (same(w[i].text, "object")) {
			t->object = true;
		} else if (same(w[i].text, "every-group")) {
			t->every_group = true;
		} else if (same(w[i].text, "noproto")) {
			t->noproto = true;
		} else if (same(w[i].text, "atomic")) {
			t->atomic = true;
		} else if (same(w[i].text, "text")) {
			t->text = true;
		} else if (same(w[i].text, "deprecated")) {
			t->deprecated = true;
		} else if ((v = after(w[i].text, "gv="))) {
			t->gv = print("%s", v);
		} else if ((v = after(w[i].text, "union="))) {
			t->unions = print("%s", v);
		} else {
			die(r->at, "a type has no \"%s\"", w[i].text);
		}
	}
	r->type = t;
}

static void flag(struct field *f, const char *name) {
	size_t n = strlen(f->flags);

	snprintf(f->flags + n, sizeof(f->flags) - n, "%sSCHEMA_%s", n ? " | " : "", name);
}

static const char *names_of(const char *list) { /* registers "a,b" and returns a copy */
	char *copy = print("%s", list), *rest = print("%s", list), *word;

	while ((word = strsep(&rest, ","))) {
		name_add(word);
	}
	return copy;
}

static void field_flag(struct reader *r, struct field *f, const char *w) {
	static const struct {
		const char *word, *flag;
	} plain[] = {
		{ "keep", "KEEP" },
		{ "omitzero", "OMIT_ZERO" },
		{ "set", "SET" },
		{ "atomic", "ATOMIC" },
		{ "granular", "GRANULAR" },
		{ "replace", "PATCH_REPLACE" },
		{ "retain", "PATCH_RETAIN_KEYS" },
		{ "merge", "PATCH_MERGE" },
		{ "immutable", "IMMUTABLE" },
		{ "discriminator", "DISCRIMINATOR" },
		{ "deprecated", "DEPRECATED" },
	};
	const char *v;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (same(w, plain[i].word)) {
			flag(f, plain[i].flag);
			return;
		}
	}
	if ((v = after(w, "merge="))) {
		flag(f, "PATCH_MERGE");
		f->merge_key = names_of(v);
	} else if ((v = after(w, "merge+retain="))) {
		flag(f, "PATCH_MERGE | SCHEMA_PATCH_RETAIN_KEYS");
		f->merge_key = names_of(v);
	} else if ((v = after(w, "patchkey="))) {
		f->merge_key = names_of(v);
	} else if ((v = after(w, "map="))) {
		flag(f, "LIST_MAP");
		f->keys = names_of(v);
	} else if ((v = after(w, "default="))) {
		f->dflt = print("%s", v);
	} else if ((v = after(w, "gate="))) {
		f->gate = print("%s", v);
	} else if ((v = after(w, "oneof="))) {
		f->oneof = print("%s", v);
	} else if ((v = after(w, "format="))) {
		f->format = print("%s", v);
	} else if ((v = after(w, "min="))) {
		f->min = number(r->at, v);
		f->has_min = true;
	} else if ((v = after(w, "max="))) {
		f->max = number(r->at, v);
		f->has_max = true;
	} else if ((v = after(w, "maxItems="))) {
		f->max_items = (int)number(r->at, v);
	} else if ((v = after(w, "maxLength="))) {
		f->max_length = (int)number(r->at, v);
	} else if ((v = after(w, "minLength="))) {
		f->min_length = (int)number(r->at, v);
	} else if ((v = after(w, "maxBytes="))) {
		f->max_bytes = (int)number(r->at, v);
	} else {
		die(r->at, "a field has no \"%s\"", w);
	}
}

static void read_field(struct reader *r, struct word *w, size_t n, const char *help) {
	struct field f = { .at = r->at, .help = help };
	char *name, *tail;

	if (n < 3) {
		die(r->at, "a field is NAME NUMBER TYPE [flags]");
	}
	name = print("%s", w[0].text);
	f.num = same(w[1].text, "-") ? 0 : (int)number(r->at, w[1].text);
	if (same(name, "inline")) {
		f.type_word = print("%s", w[2].text);
		if (n > 3) {
			die(r->at, "an inline member has no flags");
		}
		ADD(&r->type->own, f);
		return;
	}
	tail = name + strlen(name) - 1;
	if (*tail == '!') {
		flag(&f, "REQUIRED");
		*tail = 0;
	} else if (*tail == '?') {
		flag(&f, "OPTIONAL");
		*tail = 0;
	}
	f.name = name;
	name_add(name);
	{
		const char *p = w[2].text, *v;

		if (*p == '*') {
			f.ptr = true;
			flag(&f, "PTR");
			p++;
		}
		if ((v = after(p, "map[string]"))) {
			f.shape = 2;
			p = v;
		} else if ((v = after(p, "[]"))) {
			f.shape = 1;
			p = v;
		}
		f.type_word = print("%s", p);
	}
	for (size_t i = 3; i < n; i++) {
		field_flag(r, &f, w[i].text);
	}
	for (size_t i = 0; i < r->type->own.len; i++) {
		if (r->type->own.at[i].name && same(r->type->own.at[i].name, f.name)) {
			die(r->at, "field %s stands twice in %s", f.name, r->type->name);
		}
	}
	ADD(&r->type->own, f);
	r->help = &r->type->own.at[r->type->own.len - 1].help;
}

static void read_line(struct reader *r, char *line) {
	struct word w[WORDS_MAX];
	char *help = NULL;
	bool indented = *line == '\t';
	size_t n = split(r->at, line, w, &help);

	if (n == 0) {
		if (help && indented && r->help) { /* goes on with the help text above */
			*r->help = *r->help ? print("%s %s", *r->help, help) : help;
		}
		return;
	}
	if (indented) {
		if (r->resource) {
			read_resource_line(r, w, n, help);
		} else if (r->type) {
			read_field(r, w, n, help);
		} else {
			die(r->at, "an indented line belongs to a type or a resource");
		}
		return;
	}
	r->help = NULL;
	if (same(w[0].text, "group")) {
		read_group(r, w, n);
	} else if (same(w[0].text, "version")) {
		read_version(r, w, n);
	} else if (same(w[0].text, "package") && n == 4 && same(w[2].text, "as")) {
		r->version = NULL;
		r->group = NULL;
		package_open(r, w[1].text, w[3].text);
	} else if (same(w[0].text, "resource")) {
		read_resource(r, w, n);
	} else if (same(w[0].text, "type")) {
		read_type(r, w, n);
	} else if ((same(w[0].text, "enum") || same(w[0].text, "open")) && n >= 2) {
		struct type *t = type_new(r, w[0].text[0], w[1].text);

		for (size_t i = 2; i < n; i++) {
			ADD(&t->values, print("%s", w[i].text));
		}
	} else if (same(w[0].text, "strings") && n == 2) {
		type_new(r, 's', w[1].text);
	} else if (same(w[0].text, "alias") && n == 3) {
		type_new(r, 'a', w[1].text)->alias = print("%s", w[2].text);
	} else if (same(w[0].text, "name")) {
		for (size_t i = 1; i < n; i++) {
			name_add(print("%s", w[i].text));
		}
	} else {
		die(r->at, "unknown line \"%s\"", w[0].text);
	}
	if (help && r->help) {
		*r->help = help;
	}
}

static uint64_t digest = 14695981039346656037u; /* of all that was read */

static void read_file(const char *path) {
	struct reader r = { .at = { .file = path } };
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;

	if (!f) {
		die(r.at, "%s", strerror(errno));
	}
	while (getline(&line, &cap, f) >= 0) {
		r.at.line++;
		digest = (digest ^ hash_text(line)) * 1099511628211u;
		line[strcspn(line, "\r\n")] = 0;
		read_line(&r, line);
	}
	free(line);
	fclose(f);
}

/* ---- joining -------------------------------------------------------------------------------------------- */
static struct type *type_by_full(const char *full) {
	for (size_t i = 0; i < types.len; i++) {
		if (same(types.at[i]->full, full)) {
			return types.at[i];
		}
	}
	return NULL;
}

/* The type that `word` means inside `package`: its own, else one behind a package's short name. */
static struct type *type_lookup(struct place at, struct package *package, const char *word) {
	const char *dot = strrchr(word, '.');
	struct type *t = NULL;

	if (!dot) {
		t = type_by_full(print("%s.%s", package->name, word));
	} else {
		char *alias = print("%.*s", (int)(dot - word), word);

		if (same(alias, "meta")) {
			alias = "meta.v1";
		}
		for (size_t i = 0; i < packages.len && !t; i++) {
			if (same(packages.at[i]->alias, alias)) {
				t = type_by_full(print("%s.%s", packages.at[i]->name, dot + 1));
			}
		}
	}
	if (!t) {
		die(at, "type %s is not known here", word);
	}
	for (int hops = 0; t->form == 'a'; hops++) {
		if (hops > 8) {
			die(at, "alias %s turns in a circle", word);
		}
		t = type_lookup(t->at, t->package, t->alias);
	}
	return t;
}

static const char *kind_of_word(const char *word) {
	static const char *const kinds[][2] = {
		{ "string", "SCHEMA_STRING" },
		{ "bool", "SCHEMA_BOOL" },
		{ "int32", "SCHEMA_INT32" },
		{ "int64", "SCHEMA_INT64" },
		{ "uint32", "SCHEMA_UINT32" },
		{ "uint64", "SCHEMA_UINT64" },
		{ "double", "SCHEMA_DOUBLE" },
		{ "bytes", "SCHEMA_BYTES" },
		{ "any", "SCHEMA_ANY" },
		{ "[]string", "SCHEMA_STRINGS" },
		{ "Quantity", "SCHEMA_QUANTITY" },
		{ "IntOrString", "SCHEMA_INT_OR_STRING" },
		{ "Time", "SCHEMA_TIME" },
		{ "MicroTime", "SCHEMA_MICRO_TIME" },
		{ "Duration", "SCHEMA_DURATION" },
		{ "RawExtension", "SCHEMA_RAW_EXTENSION" },
		{ "Unknown", "SCHEMA_UNKNOWN" },
		{ "FieldsV1", "SCHEMA_FIELDS_V1" },
		{ "JSON", "SCHEMA_JSON" },
		{ "JSONSchemaPropsOrArray", "SCHEMA_PROPS_OR_ARRAY" },
		{ "JSONSchemaPropsOrBool", "SCHEMA_PROPS_OR_BOOL" },
		{ "JSONSchemaPropsOrStringArray", "SCHEMA_PROPS_OR_STRINGS" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (same(word, kinds[i][0])) {
			return kinds[i][1];
		}
	}
	return NULL;
}

static void field_resolve(struct package *package, struct field *f) {
	f->kind = kind_of_word(f->type_word);
	if (f->kind) {
		if (after(f->type_word, "JSONSchemaPropsOr")) {
			f->type = type_lookup(f->at, package, "JSONSchemaProps");
		}
		return;
	}
	f->type = type_lookup(f->at, package, f->type_word);
	f->kind = f->type->form == 't' ? "SCHEMA_STRUCT" : f->type->form == 's' ? "SCHEMA_STRINGS" : "SCHEMA_STRING";
}

/* Copies the fields of inline members in their place: JSON sees one object. */
static void type_flatten(struct type *t) {
	if (t->flattened) {
		return;
	}
	if (t->in_flatten) {
		die(t->at, "type %s is inlined into itself", t->name);
	}
	t->in_flatten = true;
	for (size_t i = 0; i < t->own.len; i++) {
		struct field *f = &t->own.at[i];

		if (f->name) {
			field_resolve(t->package, f);
			ADD(&t->flat, *f);
			continue;
		}
		f->type = type_lookup(f->at, t->package, f->type_word);
		type_flatten(f->type);
		struct inline_part part = { .num = f->num, .at = (int)t->flat.len, .type = f->type };
		ADD(&t->inlines, part);
		for (size_t k = 0; k < f->type->flat.len; k++) {
			ADD(&t->flat, f->type->flat.at[k]);
		}
	}
	if (t->flat.len > 250) {
		die(t->at, "type %s has more than 250 fields", t->name);
	}
	t->flattened = true;
	t->in_flatten = false;
}

static int cmp_type(const void *a, const void *b) {
	return strcmp((*(struct type *const *)a)->full, (*(struct type *const *)b)->full);
}

static int cmp_group(const void *a, const void *b) {
	const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;

	return x->order != y->order ? x->order - y->order : strcmp(x->name, y->name);
}

static int cmp_version(const void *a, const void *b) {
	const struct version *x = *(struct version *const *)a, *y = *(struct version *const *)b;

	if (x->off != y->off) {
		return x->off - y->off;
	}
	return y->priority != x->priority ? y->priority - x->priority : strcmp(x->name, y->name);
}

static struct version *version_find(const char *group, const char *name) {
	for (size_t i = 0; i < groups.len; i++) {
		if (same(groups.at[i]->name, group)) {
			for (size_t k = 0; k < groups.at[i]->versions.len; k++) {
				if (same(groups.at[i]->versions.at[k]->name, name)) {
					return groups.at[i]->versions.at[k];
				}
			}
		}
	}
	return NULL;
}

/* "apps/v1" or "v1" */
static struct version *version_of(struct place at, const char *gv) {
	const char *slash = strchr(gv, '/');
	struct version *v = slash ? version_find(print("%.*s", (int)(slash - gv), gv), slash + 1) : version_find("", gv);

	if (!v) {
		die(at, "there is no group version %s", gv);
	}
	return v;
}

static struct version *type_version(struct type *t) {
	return t->gv ? version_of(t->at, t->gv) : t->package->version;
}

static struct type *kind_find(struct place at, struct version *v, const char *kind) {
	for (size_t i = 0; i < types.len; i++) {
		if (same(types.at[i]->name, kind) && types.at[i]->form == 't' && type_version(types.at[i]) == v) {
			return types.at[i];
		}
	}
	die(at, "group \"%s\" version %s has no kind %s", v->group->name, v->name, kind);
}

static void join(void) {
	int index = 0;

	qsort(types.at, types.len, sizeof(*types.at), cmp_type);
	for (size_t i = 0; i < types.len; i++) {
		if (i && same(types.at[i]->full, types.at[i - 1]->full)) {
			die(types.at[i]->at, "type %s stands twice", types.at[i]->full);
		}
		types.at[i]->index = types.at[i]->form == 'a' ? -1 : index++;
	}
	if (index >= TYPE_REF_NONE) {
		die((struct place){ 0 }, "too many types");
	}
	for (size_t i = 0; i < types.len; i++) {
		if (types.at[i]->form == 't') {
			type_flatten(types.at[i]);
		}
	}
	qsort(groups.at, groups.len, sizeof(*groups.at), cmp_group);
	for (size_t i = 0; i < groups.len; i++) {
		groups.at[i]->index = (int)i;
		qsort(groups.at[i]->versions.at, groups.at[i]->versions.len, sizeof(struct version *), cmp_version);
	}
	for (size_t i = 0; i < resources.len; i++) {
		struct resource *r = resources.at[i];

		r->kind = kind_find(r->at, r->version, r->kind_word);
		r->list_type = r->list ? kind_find(r->at, r->version, r->list) : NULL;
		for (size_t k = 0; k < r->subs.len; k++) {
			struct sub *s = &r->subs.at[k];
			const char *slash = strrchr(s->kind_word, '/');

			s->kind_version = slash ? version_of(s->at, print("%.*s", (int)(slash - s->kind_word), s->kind_word)) : r->version;
			s->kind = kind_find(s->at, s->kind_version, slash ? slash + 1 : s->kind_word);
		}
	}
}

/* ---- writing: names --------------------------------------------------------------------------------------- */
static FILE *out_open(const char *dir, const char *name) {
	char *path = print("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	if (!f) {
		die((struct place){ path, 0 }, "%s", strerror(errno));
	}
	fprintf(f, "/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by tools/apigen from the .api files; edit those. */\n");
	return f;
}

static void out_close(FILE *f) {
	if (ferror(f) || fclose(f)) {
		die((struct place){ 0 }, "write failed: %s", strerror(errno));
	}
}

/* Kept in step with the copy that is written into names.c. */
static uint64_t name_seed = 0xe7037ed1a0b428dbu;

static uint64_t name_hash(const char *p, size_t n) {
	uint64_t a = 0, b = 0, h;
	unsigned __int128 m;

	if (n >= 8) {
		memcpy(&a, p, 8);
		memcpy(&b, p + n - 8, 8);
	} else if (n >= 4) {
		uint32_t x, y;

		memcpy(&x, p, 4);
		memcpy(&y, p + n - 4, 4);
		a = x;
		b = y;
	} else if (n) {
		a = (unsigned char)p[0];
		b = (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
	}
	m = (unsigned __int128)(a ^ name_seed) * (b ^ n ^ 0x9e3779b97f4a7c15u);
	h = (uint64_t)m ^ (uint64_t)(m >> 64);
	for (size_t i = 8; i + 8 < n; i++) { /* the middle of a long name */
		h = (h ^ (unsigned char)p[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	return h;
}

static size_t name_cell(const char *name, size_t shift, size_t cells) {
	uint64_t h = name_hash(name, strlen(name));

	return ((h >> 16) + shift * ((h >> 40) | 1)) & (cells - 1);
}

/* Hash and displace: each bucket, fullest first, gets the first shift that puts its names into free cells. */
static bool hash_try(uint16_t *shift, size_t buckets, uint16_t *table, size_t cells) {
	struct {
		uint16_t *at;
		size_t len, cap;
	} *members = new(buckets * sizeof(*members));
	size_t fullest = 0;

	memset(table, 0, cells * sizeof(*table));
	for (size_t i = 0; i < names.len; i++) {
		size_t b = name_hash(names.at[i], strlen(names.at[i])) & (buckets - 1);

		ADD(&members[b], (uint16_t)i);
		if (members[b].len > fullest) {
			fullest = members[b].len;
		}
	}
	for (size_t size = fullest; size > 0; size--) {
		for (size_t b = 0; b < buckets; b++) {
			size_t d, k = 0;

			if (members[b].len != size) {
				continue;
			}
			for (d = 0; d < 65536 && k < size; d += k < size) {
				for (k = 0; k < size; k++) {
					size_t c = name_cell(names.at[members[b].at[k]], d, cells);

					if (table[c]) {
						break;
					}
					table[c] = (uint16_t)(members[b].at[k] + 1);
				}
				for (size_t u = 0; k < size && u < k; u++) {
					table[name_cell(names.at[members[b].at[u]], d, cells)] = 0;
				}
			}
			if (k < size) {
				return false;
			}
			shift[b] = (uint16_t)d;
		}
	}
	return true;
}

static void write_names(const char *dir) {
	static const char hash_source[] =
		"static inline uint64_t name_hash(const char *p, size_t n) {\n"
		"\tuint64_t a = 0, b = 0, h;\n\tunsigned __int128 m;\n\n"
		"\tif (n >= 8) {\n"
		"\t\tmemcpy(&a, p, 8);\n"
		"\t\tmemcpy(&b, p + n - 8, 8);\n"
		"\t} else if (n >= 4) {\n"
		"\t\tuint32_t x, y;\n\n"
		"\t\tmemcpy(&x, p, 4);\n"
		"\t\tmemcpy(&y, p + n - 4, 4);\n"
		"\t\ta = x;\n"
		"\t\tb = y;\n"
		"\t} else if (n) {\n"
		"\t\ta = (unsigned char)p[0];\n"
		"\t\tb = (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];\n"
		"\t}\n"
		"\tm = (unsigned __int128)(a ^ NAME_SEED) * (b ^ n ^ 0x9e3779b97f4a7c15u);\n"
		"\th = (uint64_t)m ^ (uint64_t)(m >> 64);\n"
		"\tfor (size_t i = 8; i + 8 < n; i++) {\n"
		"\t\th = (h ^ (unsigned char)p[i]) * 0x9e3779b97f4a7c15u;\n"
		"\t\th ^= h >> 29;\n"
		"\t}\n"
		"\treturn h;\n"
		"}\n\n";
	FILE *f = out_open(dir, "names.h");
	size_t buckets = 1, cells = 1, longest = 0, at = 0;
	uint16_t *shift, *table;
	LIST(const char *) idents = { 0 };

	fprintf(f, "#ifndef GEN_NAMES_H\n#define GEN_NAMES_H\n\nenum name_id {\n\tN_NONE = 0,\n");
	for (size_t i = 0; i < names.len; i++) {
		const char *id = ident(names.at[i]);

		ADD(&idents, id);
		fprintf(f, "\tN_%s = %zu,\n", id, i + 1);
		if (strlen(names.at[i]) > longest) {
			longest = strlen(names.at[i]);
		}
	}
	fprintf(f, "\tN_COUNT = %zu,\n};\n\n#endif\n", names.len + 1);
	out_close(f);
	qsort(idents.at, idents.len, sizeof(*idents.at), cmp_str);
	for (size_t i = 1; i < idents.len; i++) {
		if (same(idents.at[i], idents.at[i - 1])) {
			die((struct place){ 0 }, "two names give the identifier N_%s", idents.at[i]);
		}
	}
	if (names.len > 30000 || longest > 255) {
		die((struct place){ 0 }, "too many names, or one is longer than 255 bytes");
	}

	while (buckets * 3 < names.len) {
		buckets *= 2;
	}
	while (cells * 3 < names.len * 4) {
		cells *= 2;
	}
	shift = new(buckets * sizeof(*shift));
	table = new(cells * sizeof(*table));
	while (!hash_try(shift, buckets, table, cells)) {
		if (name_seed++ > 0xe7037ed1a0b428dbu + 1000) {
			die((struct place){ 0 }, "no perfect hash found; change name_hash");
		}
	}

	f = out_open(dir, "names.c");
	fprintf(f, "#include <string.h>\n\n#include \"value/value.h\"\n\nstatic const char texts[] =\n");
	for (size_t i = 0; i < names.len; i++) {
		fprintf(f, "\t\"f:%s\"\n", names.at[i]); /* one text for the name and for "f:" and it */
	}
	fprintf(f, "\t;\nstatic const struct {\n\tuint16_t at;\n\tuint8_t len;\n} names[] = {\n\t{ 0, 0 },\n");
	for (size_t i = 0; i < names.len; i++) {
		fprintf(f, "\t{ %zu, %zu },\n", at + 2, strlen(names.at[i]));
		at += strlen(names.at[i]) + 2;
	}
	if (at > 65535) {
		die((struct place){ 0 }, "names take more than 64 KB");
	}
	fprintf(f, "};\nstatic const uint16_t shifts[%zu] = {", buckets);
	for (size_t i = 0; i < buckets; i++) {
		fprintf(f, "%s%u,", i % 24 ? " " : "\n\t", shift[i]);
	}
	fprintf(f, "\n};\nstatic const uint16_t cells[%zu] = {", cells);
	for (size_t i = 0; i < cells; i++) {
		fprintf(f, "%s%u,", i % 24 ? " " : "\n\t", table[i]);
	}
	fprintf(f, "\n};\n\n#define NAME_SEED %lluu\n%s", (unsigned long long)name_seed, hash_source);
	fprintf(f,
		"uint16_t name_find(struct str text) {\n"
		"\tuint64_t h, d;\n"
		"\tuint16_t id, field = 0;\n\n"
		"\tif (text.len > 2 && text.ptr[0] == 'f' && text.ptr[1] == ':') {\n"
		"\t\tfield = N_FIELD;\n"
		"\t\ttext.ptr += 2;\n"
		"\t\ttext.len -= 2;\n"
		"\t}\n"
		"\tif (text.len - 1 > %zu - 1) {\n"
		"\t\treturn N_NONE; /* empty, or longer than every name */\n"
		"\t}\n"
		"\th = name_hash(text.ptr, text.len);\n"
		"\td = shifts[h & %zu];\n"
		"\tid = cells[((h >> 16) + d * ((h >> 40) | 1)) & %zu];\n"
		"\treturn names[id].len == text.len && memcmp(texts + names[id].at, text.ptr, text.len) == 0 ? id | field : N_NONE;\n"
		"}\n\n"
		"struct str name_text(uint16_t name) {\n"
		"\tuint16_t id = name & (uint16_t)~N_FIELD, field = name != id ? 2 : 0;\n\n"
		"\tif (id == N_NONE || id >= N_COUNT) {\n"
		"\t\treturn (struct str){ 0 };\n"
		"\t}\n"
		"\treturn (struct str){ texts + names[id].at - field, (size_t)names[id].len + field };\n"
		"}\n",
		longest, buckets - 1, cells - 1);
	out_close(f);
}

/* ---- writing: tables ---------------------------------------------------------------------------------------- */
struct texts {
	char **at;
	size_t len, cap;
};
static struct texts keysets; /* "a,b" */
static struct texts extras;  /* initialisers */

static int interned(char *s, struct texts *list) {
	for (size_t i = 0; i < list->len; i++) {
		if (same(list->at[i], s)) {
			return (int)i;
		}
	}
	ADD(list, s);
	return (int)list->len - 1;
}

/* Index of the first name of the run in schema_key_names; runs end with N_NONE. 0 is the empty run. */
static int keys_at(const char *keys) {
	int at = 1;
	int n = interned(print("%s", keys), &keysets);

	for (int i = 0; i < n; i++) {
		at += 2;
		for (const char *p = keysets.at[i]; *p; p++) {
			at += *p == ',';
		}
	}
	return at;
}

static int extra_at(const struct field *f) {
	if (!f->dflt && !f->gate && !f->oneof && !f->format && !f->has_min && !f->has_max && !f->max_items && !f->max_length &&
		!f->min_length && !f->max_bytes) {
		return 0;
	}
	return 1 + interned(print("{ %lldLL, %lldLL, %u, %u, %u, %u, %d, %d, %d, %d, %s, %s }", f->min, f->max, text(f->dflt), text(f->gate),
				  text(f->oneof), text(f->format), f->max_items, f->max_length, f->min_length, f->max_bytes,
				  f->has_min ? "true" : "false", f->has_max ? "true" : "false"),
			   &extras);
}

static const char *type_ident(const struct type *t) {
	return ident(print("%s_%s", t->package->alias, t->name));
}

static int type_ref(const struct type *t) {
	return t ? t->index : TYPE_REF_NONE;
}

static void write_tables_h(const char *dir) {
	FILE *f = out_open(dir, "tables.h");

	fprintf(f, "#ifndef GEN_TABLES_H\n#define GEN_TABLES_H\n\n/* Index into schema_builtin.types. */\nenum schema_type_id {\n");
	for (size_t i = 0; i < types.len; i++) {
		if (types.at[i]->form != 'a') {
			fprintf(f, "\tT_%s = %d,\n", type_ident(types.at[i]), types.at[i]->index);
		}
	}
	fprintf(f, "};\n\n/* Index into schema_resources. */\nenum schema_resource_id {\n");
	for (size_t i = 0; i < resources.len; i++) {
		fprintf(f, "\tR_%s_%s = %d,\n", ident(resources.at[i]->version->group->name[0] ? print("%.*s", (int)strcspn(resources.at[i]->version->group->name, "."),
			resources.at[i]->version->group->name) : "core"), ident(print("%s_%s", resources.at[i]->version->name, resources.at[i]->name)), resources.at[i]->index);
	}
	fprintf(f, "};\n\n#endif\n");
	out_close(f);
}

static void write_fields(FILE *f) {
	static const char *const shapes[] = { "SCHEMA_ONE", "SCHEMA_LIST", "SCHEMA_MAP" };
	int at = 0;

	fprintf(f, "static const struct schema_field fields[] = {\n");
	for (size_t i = 0; i < types.len; i++) {
		struct type *t = types.at[i];

		if (t->form != 't') {
			continue;
		}
		t->fields_at = at;
		fprintf(f, "\t/* %s */\n", t->full);
		for (size_t k = 0; k < t->flat.len; k++) {
			struct field *d = &t->flat.at[k];

			fprintf(f, "\t{ %d, %d, %d, %s, %s, %s, %u, %d, %d, %d },\n", name_id(d->name), type_ref(d->type), d->num, d->kind,
				shapes[d->shape], d->flags[0] ? d->flags : "0", text(d->help), d->merge_key ? name_id(d->merge_key) : 0,
				d->keys ? keys_at(d->keys) : 0, extra_at(d));
			at++;
		}
	}
	fprintf(f, "};\n\n");
}

static void write_order(FILE *f) {
	int at = 0, inlines_at = 0;

	fprintf(f, "static const uint16_t order[] = {\n");
	for (size_t i = 0; i < types.len; i++) {
		struct type *t = types.at[i];
		size_t total;

		if (t->form != 't') {
			continue;
		}
		t->order_at = at;
		t->inlines_at = inlines_at;
		inlines_at += (int)t->inlines.len;
		if (t->noproto) {
			continue;
		}
		/* Own fields and inline messages by ascending number. */
		total = t->flat.len + t->inlines.len;
		bool *used = new(total + 1);
		for (size_t k = 0; k < t->inlines.len; k++) {
			struct inline_part *p = &t->inlines.at[k];

			for (size_t m = 0; m < p->type->flat.len; m++) {
				used[(size_t)p->at + m] = true; /* written by the inline message */
			}
		}
		fprintf(f, "\t");
		for (;;) {
			int best = -1, best_num = 0;

			for (size_t k = 0; k < total; k++) {
				int num = k < t->flat.len ? t->flat.at[k].num : t->inlines.at[k - t->flat.len].num;

				if (!used[k] && num > 0 && (best < 0 || num < best_num)) {
					best = (int)k;
					best_num = num;
				}
			}
			if (best < 0) {
				break;
			}
			used[best] = true;
			fprintf(f, "%s%d,", t->order_len ? " " : "", best < (int)t->flat.len ? best : 0x8000 + best - (int)t->flat.len);
			t->order_len++;
			at++;
		}
		fprintf(f, "\n");
	}
	fprintf(f, "\t0,\n};\n\nstatic const struct schema_inline inlines[] = {\n");
	for (size_t i = 0; i < types.len; i++) {
		for (size_t k = 0; k < types.at[i]->inlines.len; k++) {
			struct inline_part *p = &types.at[i]->inlines.at[k];

			fprintf(f, "\t{ %d, %d, %d },\n", p->num, p->type->index, p->at);
		}
	}
	fprintf(f, "\t{ 0 },\n};\n\n");
}

static void write_slots(FILE *f) {
	int at = 0;

	fprintf(f, "static const uint8_t slots[] = {\n");
	for (size_t i = 0; i < types.len; i++) {
		struct type *t = types.at[i];
		uint8_t *cells;

		if (t->form != 't') {
			continue;
		}
		t->slots_at = at;
		t->slots_log2 = 0;
		while ((size_t)1 << t->slots_log2 < t->flat.len * 2) {
			t->slots_log2++;
		}
		cells = new((size_t)1 << t->slots_log2);
		for (size_t k = 0; k < t->flat.len; k++) {
			uint32_t mask = (1u << t->slots_log2) - 1;
			uint32_t c = ((uint32_t)name_id(t->flat.at[k].name) * 0x9e3779b1u >> 16) & mask;

			while (cells[c]) {
				if (same(t->flat.at[cells[c] - 1].name, t->flat.at[k].name)) {
					die(t->at, "type %s gets field %s twice", t->name, t->flat.at[k].name);
				}
				c = (c + 1) & mask;
			}
			cells[c] = (uint8_t)(k + 1);
		}
		fprintf(f, "\t");
		for (size_t k = 0; k < (size_t)1 << t->slots_log2; k++) {
			fprintf(f, "%d,", cells[k]);
		}
		fprintf(f, "\n");
		at += 1 << t->slots_log2;
		free(cells);
	}
	fprintf(f, "\t0,\n};\n\n");
}

static void write_types(FILE *f) {
	int at = 0;

	fprintf(f, "static const uint32_t values[] = {\n");
	for (size_t i = 0; i < types.len; i++) {
		struct type *t = types.at[i];

		t->values_at = at;
		if (t->values.len) {
			fprintf(f, "\t");
			for (size_t k = 0; k < t->values.len; k++) {
				fprintf(f, "%s%u,", k ? " " : "", text(t->values.at[k]));
			}
			fprintf(f, "\n");
			at += (int)t->values.len;
		}
	}
	fprintf(f, "\t0,\n};\n\nstatic const struct schema_type types[] = {\n");
	for (size_t i = 0; i < types.len; i++) {
		static const char *const forms[128] = { ['t'] = "SCHEMA_FORM_STRUCT", ['e'] = "SCHEMA_FORM_ENUM", ['o'] = "SCHEMA_FORM_STRING",
			['s'] = "SCHEMA_FORM_STRINGS" };
		struct type *t = types.at[i];
		struct version *v;

		if (t->form == 'a') {
			continue;
		}
		v = t->object || t->every_group ? type_version(t) : NULL;
		fprintf(f, "\t{ &schema_builtin, %u, %u, %u, %d, %d, %d, %d, %d, %zu, %d, %d, %zu, %d, %s, %d, %s%s%s%s%s%s%s0 },\n", text(t->full), text(t->help),
			text(t->unions), t->fields_at, t->order_at, t->slots_at, t->inlines_at, t->values_at, t->flat.len, t->order_len, (int)t->inlines.len,
			t->values.len, v ? v->index : -1, forms[(int)t->form], t->slots_log2, t->object ? "SCHEMA_TYPE_OBJECT | " : "",
			t->every_group ? "SCHEMA_TYPE_EVERY_GROUP | " : "", t->noproto ? "SCHEMA_TYPE_NO_PROTO | " : "", t->atomic ? "SCHEMA_TYPE_ATOMIC | " : "",
			t->text ? "SCHEMA_TYPE_TEXT | " : "", t->deprecated ? "SCHEMA_TYPE_DEPRECATED | " : "",
			t->package->version ? "" : "SCHEMA_TYPE_NO_GROUP | ");
	}
	fprintf(f, "};\n\n");
}

struct kind_row {
	struct version *version;
	struct type *type;
};

static int cmp_kind(const void *a, const void *b) {
	const struct kind_row *x = a, *y = b;
	int c = strcmp(x->type->name, y->type->name);

	return c ? c : x->version->index - y->version->index;
}

static void write_kinds(FILE *f) {
	LIST(struct kind_row) rows = { 0 };

	for (size_t i = 0; i < types.len; i++) {
		struct kind_row row = { .type = types.at[i] };

		if (row.type->form == 't' && (row.type->object || row.type->every_group)) {
			row.version = type_version(row.type);
			if (row.version) {
				ADD(&rows, row);
			}
		}
	}
	qsort(rows.at, rows.len, sizeof(*rows.at), cmp_kind);
	fprintf(f, "/* Types that are kinds, by kind and group version. */\nconst uint16_t schema_kinds[] = {\n");
	for (size_t i = 0; i < rows.len; i++) {
		fprintf(f, "\t%d, /* %s */\n", rows.at[i].type->index, rows.at[i].type->full);
	}
	fprintf(f, "};\nconst uint16_t schema_kinds_len = %zu;\n\n", rows.len);
}

/* Resources in discovery order; indexes are handed out here. */
static void number_resources(void) {
	LIST(struct resource *) sorted = { 0 };
	int versions_at = 0, resources_at = 0;

	for (size_t i = 0; i < groups.len; i++) {
		groups.at[i]->versions_at = versions_at;
		for (size_t k = 0; k < groups.at[i]->versions.len; k++) {
			struct version *v = groups.at[i]->versions.at[k];

			v->index = versions_at++;
			v->resources_at = resources_at;
			for (size_t m = 0; m < v->resources.len; m++) {
				v->resources.at[m]->index = resources_at++;
				ADD(&sorted, v->resources.at[m]);
			}
		}
	}
	for (size_t i = 0; i < sorted.len; i++) {
		resources.at[i] = sorted.at[i];
	}
}

static void write_resources(FILE *f) {
	int subs = 0, columns = 0, selects = 0, aliases = 0;

	fprintf(f, "const struct schema_group schema_groups[] = {\n");
	for (size_t i = 0; i < groups.len; i++) {
		fprintf(f, "\t{ %u, %d, %d, %zu },\n", text(groups.at[i]->name), groups.at[i]->priority, groups.at[i]->versions_at, groups.at[i]->versions.len);
	}
	fprintf(f, "};\nconst uint16_t schema_groups_len = %zu;\n\nconst struct schema_version schema_versions[] = {\n", groups.len);
	for (size_t i = 0; i < groups.len; i++) {
		for (size_t k = 0; k < groups.at[i]->versions.len; k++) {
			struct version *v = groups.at[i]->versions.at[k];

			fprintf(f, "\t{ %u, %d, %d, %d, %zu, %s },\n", text(v->name), groups.at[i]->index, v->priority, v->resources_at, v->resources.len,
				v->off ? "false" : "true");
		}
	}
	fprintf(f, "};\n\nconst struct schema_sub schema_subs[] = {\n");
	for (size_t i = 0; i < resources.len; i++) {
		struct resource *r = resources.at[i];

		r->subs_at = subs;
		for (size_t k = 0; k < r->subs.len; k++, subs++) {
			fprintf(f, "\t{ %u, %d, %d, %u }, /* %s/%s */\n", text(r->subs.at[k].name), r->subs.at[k].kind->index, r->subs.at[k].kind_version->index,
				r->subs.at[k].verbs, r->name, r->subs.at[k].name);
		}
	}
	fprintf(f, "};\n\nconst struct schema_column schema_columns[] = {\n");
	for (size_t i = 0; i < resources.len; i++) {
		struct resource *r = resources.at[i];

		r->columns_at = columns;
		for (size_t k = 0; k < r->columns.len; k++, columns++) {
			struct column *c = &r->columns.at[k];

			fprintf(f, "\t{ %u, %u, %u, %u, %d },\n", text(c->name), text(c->type), text(c->format), text(c->help), c->wide);
		}
	}
	fprintf(f, "};\n\nconst uint32_t schema_selects[] = {\n");
	for (size_t i = 0; i < resources.len; i++) {
		struct resource *r = resources.at[i];

		r->selects_at = selects;
		for (size_t k = 0; k < r->selects.len; k++, selects++) {
			fprintf(f, "\t%u,\n", text(r->selects.at[k]));
		}
	}
	fprintf(f, "\t0,\n};\n\nconst uint32_t schema_select_aliases[][2] = {\n");
	for (size_t i = 0; i < resources.len; i++) {
		struct resource *r = resources.at[i];

		r->aliases_at = aliases;
		for (size_t k = 0; k < r->aliases.len; k++, aliases++) {
			fprintf(f, "\t{ %u, %u },\n", text(r->aliases.at[k].from), text(r->aliases.at[k].to));
		}
	}
	fprintf(f, "\t{ 0 },\n};\n\nconst struct schema_resource schema_resources[] = {\n");
	for (size_t i = 0; i < resources.len; i++) {
		struct resource *r = resources.at[i];

		fprintf(f, "\t{ %u, %u, %u, %u, %u, %u, %u, %u, %u, %d, %d, %d, %d, %d, %d, %d, %zu, %zu, %zu, %zu, %u, %s, %s }, /* %s */\n", text(r->name), text(r->singular),
			text(r->shorts), text(r->categories), text(r->storage), text(r->hash), text(r->key ? r->key : r->name), text(r->select_error),
			text(r->help), r->version->index, type_ref(r->kind), type_ref(r->list_type), r->subs_at, r->columns_at, r->selects_at, r->aliases_at,
			r->subs.len, r->columns.len, r->selects.len, r->aliases.len, r->verbs, r->namespaced ? "true" : "false",
			r->deleted_object ? "true" : "false", r->name);
	}
	fprintf(f, "};\nconst uint16_t schema_resources_len = %zu;\n\n", resources.len);
}

static void write_pool(FILE *f) {
	size_t from = 0, column = 0;

	fprintf(f, "static const char text[] =\n\t\"");
	for (size_t i = from; i < pool.len; i++) {
		unsigned char c = (unsigned char)pool.at[i];

		if (c == 0) {
			fprintf(f, "\\0\"\n\t\"");
			column = 0;
		} else if (c == '"' || c == '\\') {
			fprintf(f, "\\%c", c);
		} else if (c < 32 || c > 126) {
			fprintf(f, "\\%03o", c);
		} else {
			fputc(c, f);
		}
		if (++column > 2000) {
			fprintf(f, "\"\n\t\"");
			column = 0;
		}
	}
	fprintf(f, "\";\n\n");
}

static void write_tables(const char *dir) {
	FILE *f = out_open(dir, "tables.c");
	int at = 1;

	fprintf(f, "#include \"schema/schema.h\"\n\n");
	write_fields(f);
	write_order(f);
	write_slots(f);
	write_types(f);
	write_kinds(f);
	write_resources(f);
	fprintf(f, "static const uint16_t key_names[] = {\n\t0,\n");
	for (size_t i = 0; i < keysets.len; i++) {
		char *rest = print("%s", keysets.at[i]), *word;

		fprintf(f, "\t/* %d */ ", at);
		while ((word = strsep(&rest, ","))) {
			fprintf(f, "%d, ", name_id(word));
			at++;
		}
		fprintf(f, "0,\n");
		at++;
	}
	fprintf(f, "};\n\nstatic const struct schema_extra extras[] = {\n\t{ 0 },\n");
	for (size_t i = 0; i < extras.len; i++) {
		fprintf(f, "\t%s,\n", extras.at[i]);
	}
	fprintf(f, "};\n\n");
	write_pool(f);
	fprintf(f, "const char schema_builtin_digest[] = \"%016llx\";\n\n", (unsigned long long)digest);
	fprintf(f,
		"const struct schema_set schema_builtin = {\n"
		"\t.types = types,\n\t.fields = fields,\n\t.order = order,\n\t.inlines = inlines,\n\t.slots = slots,\n\t.values = values,\n"
		"\t.key_names = key_names,\n\t.extras = extras,\n\t.text = text,\n\t.types_len = sizeof(types) / sizeof(types[0]),\n};\n");
	out_close(f);
}

int main(int argc, char **argv) {
	static const char *const always[] = { "apiVersion", "kind", "metadata", "items", "spec", "status", "name", "namespace" };

	if (argc < 3) {
		fprintf(stderr, "usage: apigen OUT-DIR FILE.api...\n");
		return 2;
	}
	for (int i = 2; i < argc; i++) {
		read_file(argv[i]);
	}
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		name_add(always[i]);
	}
	names_sort();
	join();
	number_resources();
	write_names(argv[1]);
	write_tables_h(argv[1]);
	write_tables(argv[1]);
	return 0;
}
