/* SPDX-License-Identifier: Apache-2.0 */
/* nft.c - see nft.h. The program is looked up in PATH and where Debian puts it. */
#include "network/nft.h"

#include <ctype.h>
#include <unistd.h>

#include "loop/loop.h"

static const char *nft_path(void) {
	static const char *const places[] = { "/usr/sbin/nft", "/sbin/nft" };
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (access(places[i], X_OK) == 0) {
			return places[i];
		}
	}
	return "nft";
}

static bool run(const char *const *argv, struct str input, struct child_result *ret, struct err *err) {
	struct child_opts o = { .argv = argv, .input = input, .output_max = 64 << 20, .timeout = 60 * NSEC_PER_SEC };
	if (!child_run(&o, ret, err)) {
		if (err->code == ERR_NOT_FOUND) {
			err->code = ERR_UNAVAILABLE;
		}
		return err_wrap(err, "nft");
	}
	if (ret->status == 0) {
		return true;
	}
	struct str said = str_trim(buf_view(&ret->err_out));
	bool missing = str_contains(said, S("No such file or directory"));
	return err_set(err, missing ? ERR_NOT_FOUND : ERR_INTERNAL, "nft: %.*s", (int)MIN(said.len, (size_t)400), said.ptr);
}

bool nft_run(struct str script, struct err *err) {
	const char *const argv[] = { nft_path(), "-f", "-", NULL };
	struct child_result r = { 0 };
	bool ok = run(argv, script, &r, err);
	child_result_release(&r);
	return ok;
}

bool nft_list(const char *const *words, struct buf *ret, struct err *err) {
	const char *argv[12] = { nft_path(), "-j", "-n" };
	struct child_result r = { 0 };
	for (size_t i = 0; words[i] && i + 4 < ARRAY_LEN(argv); i++) {
		argv[3 + i] = words[i];
	}
	bool ok = run(argv, S(""), &r, err) && (buf_str(ret, buf_view(&r.out)) || err_set(err, ERR_TOO_LARGE, "the answer of nft is too long"));
	child_result_release(&r);
	return ok;
}

bool nft_table_delete(const char *name, struct err *err) {
	auto_free char *script = xasprintf("table ip %s\ndelete table ip %s\n", name, name);
	return nft_run(str_c(script), err);
}

bool nft_name_ok(const char *name) {
	size_t len = strlen(name);
	if (!isalpha((unsigned char)name[0]) || len > 200) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("_-.", name[i])) {
			return false;
		}
	}
	return true;
}
