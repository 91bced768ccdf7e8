/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_main.c - runs a fuzz target over the files and folders named on the command line, so that a
 * corpus is an ordinary test where there is no libFuzzer. A target that finds something aborts.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t passed, failed;

static void run_file(const char *path) {
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };
	if (!file_read(path, &b, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		failed++;
		return;
	}
	/* In memory of its exact size, so that reading past the end is seen. */
	auto_free uint8_t *exact = xmalloc(b.len);
	if (b.len) {
		memcpy(exact, b.ptr, b.len);
	}
	LLVMFuzzerTestOneInput(exact, b.len);
	passed++;
}

static void run_folder(const char *path) {
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);
	if (n < 0) {
		fprintf(stderr, "cannot read %s\n", path);
		failed++;
		return;
	}
	for (int i = 0; i < n; i++) {
		auto_free char *file = xasprintf("%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.') {
			run_file(file);
		}
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv) {
	for (int i = 1; i < argc; i++) {
		struct stat st;
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
			run_folder(argv[i]);
		} else {
			run_file(argv[i]);
		}
	}
	printf("%zu passed, %zu failed\n", passed, failed);
	return failed != 0;
}
