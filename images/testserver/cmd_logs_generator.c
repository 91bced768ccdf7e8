/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_logs_generator.c - `logs-generator`: a known number of numbered lines, evenly over a time.
 *
 * Each line is `<level><date> <time> <pid> <file>] <number> <method> <path> <status>`, about 100
 * bytes, as programs of the field log.
 */
#include "base.h"
#include "cmd.h"
#include "opt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LINES_MAX = 100000000 };

static bool line_print(int64_t id) {
	static const char *const methods[] = { "GET", "POST", "PUT" };
	static const char *const namespaces[] = { "kube-system", "default", "ns" };
	static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
	struct timespec now;
	char stamp[32], pod[6] = { 0 };
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%m%d %H:%M:%S", &tm);
	for (size_t i = 0; i < 3 + (size_t)(rand() % 3); i++) {
		pod[i] = letters[(size_t)rand() % (sizeof(letters) - 1)];
	}
	return out_line("I%s.%06ld %7d logs_generator.c:1] %lld %s /api/v1/namespaces/%s/pods/%s %d", stamp, now.tv_nsec / 1000,
		(int)getpid(), (long long)id, methods[rand() % 3], namespaces[rand() % 3], pod, 200 + rand() % 400);
}

int cmd_logs_generator(int argc, char **argv) {
	int64_t total = 0, duration_ms = 0, start = now_ms();
	const struct opt opts[] = {
		{ "log-lines-total", OPT_INT, &total, "how many lines" },
		{ "t", OPT_INT, &total, "the same" },
		{ "run-duration", OPT_DURATION, &duration_ms, "over how long" },
		{ "d", OPT_DURATION, &duration_ms, "the same" },
	};

	opt_parse(argc, argv, "--log-lines-total N --run-duration DURATION", opts, ARRAY_LEN(opts));
	if (total <= 0 || total > LINES_MAX || duration_ms <= 0) {
		fprintf(stderr, "logs-generator: needs --log-lines-total from 1 to %d and a --run-duration\n", LINES_MAX);
		return 2;
	}
	srand((unsigned)getpid());
	for (int64_t id = 0; id < total; id++) {
		int64_t next = start + (int64_t)((double)duration_ms * (double)(id + 1) / (double)total), left;

		if (!line_print(id)) {
			return 1;
		}
		left = next - now_ms();
		if (left > 0 && term_wait((int)left)) {
			return 0;
		}
	}
	return 0;
}
