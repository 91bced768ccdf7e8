/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_inclusterclient.c - `inclusterclient`: asks the API server's /healthz again and again, as a pod.
 *
 * Reads the token anew for each request and logs a digest of it, by which a test sees that the token
 * was rotated.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"

#include <stdlib.h>

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

static bool ask(const char *host, const char *port, const char *folder, struct err *err) {
	auto_buf struct buf path = { 0 }, ca = { 0 }, token = { .max = 65536 }, headers = { 0 }, salted = { 0 }, digest = { 0 };
	auto_http_answer struct http_answer answer = { 0 };
	struct tls_trust trust = { 0 };

	buf_addf(&path, "%s/token", folder);
	buf_addf(&ca, "%s/ca.crt", folder);
	if (!file_read(path.ptr, &token, err)) {
		log_line("authz_header=<empty>");
		return false;
	}
	buf_addf(&headers, "Authorization: Bearer %.*s\r\n", STR_ARG(str_trim(buf_str(&token))));
	buf_addf(&salted, "salt|Bearer %.*s", STR_ARG(str_trim(buf_str(&token))));
	if (!tls_digest(buf_str(&salted), &digest)) {
		return err_set(err, "TLS is not supported by this build");
	}
	log_line("authz_header=%s", digest.ptr);
	trust.ca_file = ca.ptr;
	if (!http_call(&(struct http_call){ .host = host, .port = port, .target = "/healthz", .headers = headers.ptr, .tls = &trust }, &answer, err)) {
		return false;
	}
	return answer.status == 200 || err_set(err, "status %d: %.*s", answer.status, (int)MIN(answer.body.len, 200), answer.body.ptr);
}

int cmd_inclusterclient(int argc, char **argv) {
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT"), *folder = ACCOUNT;
	int64_t interval_s = 30;
	const struct opt opts[] = {
		{ "poll-interval", OPT_INT, &interval_s, "seconds between the requests" },
		{ "account-dir", OPT_TEXT, &folder, "where token and ca.crt are" },
	};

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (!host || !port || interval_s < 1 || interval_s > 86400) {
		log_line("inclusterclient: needs KUBERNETES_SERVICE_HOST and _PORT, and an interval from 1 to 86400");
		return 1;
	}
	log_line("started");
	while (!term_wait((int)interval_s * 1000)) {
		struct err err = { 0 };

		log_line("calling /healthz");
		if (!ask(host, port, folder, &err)) {
			log_line("status=failed");
			log_line("error checking /healthz: %s", err.msg);
		}
	}
	return 0;
}
