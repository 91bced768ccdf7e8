/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolv.c - reads resolv.conf.
 *
 * Called by dns-suffix, dns-server-list and dig.
 */
#include "resolv.h"

static struct str word_cut(struct str *s) {
	struct str word;

	*s = str_trim(*s);
	word = (struct str){ s->ptr, 0 };
	while (word.len < s->len && s->ptr[word.len] != ' ' && s->ptr[word.len] != '\t') {
		word.len++;
	}
	*s = (struct str){ s->ptr + word.len, s->len - word.len };
	return word;
}

static void words_add(struct buf *out, struct str line) {
	for (struct str word = word_cut(&line); word.len > 0; word = word_cut(&line)) {
		buf_addf(out, "%s%.*s", out->len ? "," : "", STR_ARG(word));
	}
}

static void options_read(struct resolv *r, struct str line) {
	for (struct str word = word_cut(&line); word.len > 0; word = word_cut(&line)) {
		if (str_has_prefix(word, S("ndots:")) && !str_int((struct str){ word.ptr + 6, word.len - 6 }, 0, 15, &r->ndots)) {
			r->ndots = 1;
		}
	}
}

bool resolv_read(const char *path, struct resolv *ret, struct err *err) {
	struct resolv r = { .text = { .max = 65536 }, .ndots = 1 };
	struct str rest;

	if (!file_read(path, &r.text, err)) {
		resolv_release(&r);
		return false;
	}
	rest = buf_str(&r.text);
	while (rest.len > 0) {
		struct str line = str_cut(&rest, '\n'), word = word_cut(&line);

		if (str_eq(word, S("nameserver"))) {
			words_add(&r.servers, line);
		} else if (str_eq(word, S("search")) || str_eq(word, S("domain"))) {
			buf_clear(&r.search);
			words_add(&r.search, line);
		} else if (str_eq(word, S("options"))) {
			options_read(&r, line);
		}
	}
	*ret = r;
	return true;
}

void resolv_release(struct resolv *r) {
	buf_release(&r->text);
	buf_release(&r->search);
	buf_release(&r->servers);
}
