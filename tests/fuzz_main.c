/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_main.c - runs a fuzz target over the files and folders named on the command line, so that a
 * corpus is an ordinary test where there is no libFuzzer. A target that finds something aborts. Uses
 * libc alone: some targets (images/) bring small libraries of their own, with base's names.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t passed, failed;

static void cannot(const char *path) {
	perror(path);
	failed++;
}

static void run_file(const char *path) {
	struct stat st;
	FILE *f = fopen(path, "rb");
	if (!f || fstat(fileno(f), &st) < 0) {
		cannot(path);
		return;
	}
	/* In memory of its exact size, so that a sanitizer sees reading past the end. */
	size_t size = (size_t)st.st_size;
	uint8_t *bytes = malloc(size ? size : 1);
	if (!bytes || fread(bytes, 1, size, f) != size) {
		cannot(path);
	} else {
		LLVMFuzzerTestOneInput(bytes, size);
		passed++;
	}
	free(bytes);
	fclose(f);
}

static void run_folder(const char *folder) {
	struct dirent **names;
	char path[4096];
	int n = scandir(folder, &names, NULL, alphasort);
	if (n < 0) {
		cannot(folder);
		return;
	}
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.' &&
			snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name) < (int)sizeof(path)) {
			run_file(path);
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
