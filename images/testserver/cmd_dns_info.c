/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_dns_info.c - `dns-suffix`, `dns-server-list` and `etc-hosts`: what a pod knows about names.
 *
 * Source: resolv.conf(5): the last `search` or `domain` line counts, all `nameserver` lines do.
 */
#include "base.h"
#include "cmd.h"
#include "opt.h"

#include <stdio.h>

/* Adds a blank-separated list to `out` with commas. */
static void words_add(struct buf *out, struct str words) {
	while (words.len > 0) {
		struct str word;

		words = str_trim(words);
		for (word = (struct str){ words.ptr, 0 }; word.len < words.len && words.ptr[word.len] != ' ' && words.ptr[word.len] != '\t';) {
			word.len++;
		}
		words = (struct str){ words.ptr + word.len, words.len - word.len };
		if (word.len > 0) {
			buf_addf(out, "%s%.*s", out->len ? "," : "", STR_ARG(word));
		}
	}
}

static int resolv_print(const char *path, bool servers) {
	auto_buf struct buf text = { .max = 65536 }, list = { 0 };
	struct err err = { 0 };
	struct str rest;

	if (!file_read(path, &text, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	rest = buf_str(&text);
	while (rest.len > 0) {
		struct str line = str_trim(str_cut(&rest, '\n')), word;
		struct str words = line;

		for (size_t i = 0; i < words.len; i++) {
			if (words.ptr[i] == '\t') {
				text.ptr[words.ptr + i - text.ptr] = ' ';
			}
		}
		word = str_cut(&words, ' ');
		if (servers && str_eq(word, S("nameserver"))) {
			words_add(&list, words);
		} else if (!servers && (str_eq(word, S("search")) || str_eq(word, S("domain")))) {
			buf_clear(&list);
			words_add(&list, words);
		}
	}
	return out_line("%.*s", STR_ARG(buf_str(&list))) ? 0 : 1;
}

static int resolv_command(int argc, char **argv, bool servers) {
	const char *path = "/etc/resolv.conf";
	const struct opt opts[] = {
		{ "file", OPT_TEXT, &path, "in place of /etc/resolv.conf" },
	};

	opt_parse(argc, argv, "", opts, ARRAY_LEN(opts));
	return resolv_print(path, servers);
}

int cmd_dns_suffix(int argc, char **argv) {
	return resolv_command(argc, argv, false);
}

int cmd_dns_server_list(int argc, char **argv) {
	return resolv_command(argc, argv, true);
}

int cmd_etc_hosts(int argc, char **argv) {
	auto_buf struct buf text = { 0 };
	struct err err = { 0 };

	opt_parse(argc, argv, "", NULL, 0);
	if (!file_read("/etc/hosts", &text, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	return fd_write_all(1, buf_str(&text)) ? 0 : 1;
}
