/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_dns_info.c - `dns-suffix`, `dns-server-list` and `etc-hosts`: what a pod knows about names.
 */
#include "cmd.h"
#include "opt.h"
#include "resolv.h"

#include <stdio.h>

static bool resolv_of(int argc, char **argv, struct resolv *ret) {
	const char *path = "/etc/resolv.conf";
	struct err err = { 0 };
	const struct opt opts[] = {
		{ "file", OPT_TEXT, &path, "in place of /etc/resolv.conf" },
	};

	opt_parse(argc, argv, "", opts, ARRAY_LEN(opts));
	if (!resolv_read(path, ret, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return false;
	}
	return true;
}

int cmd_dns_suffix(int argc, char **argv) {
	auto_resolv struct resolv r = { 0 };

	return resolv_of(argc, argv, &r) && out_line("%.*s", STR_ARG(buf_str(&r.search))) ? 0 : 1;
}

int cmd_dns_server_list(int argc, char **argv) {
	auto_resolv struct resolv r = { 0 };

	return resolv_of(argc, argv, &r) && out_line("%.*s", STR_ARG(buf_str(&r.servers))) ? 0 : 1;
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
