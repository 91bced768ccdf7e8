/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_curl.c - `curl`: one HTTP request, with those flags of the well-known program that tests use.
 *
 * Exit codes are the well-known ones: 1 a scheme that is not spoken, 2 a bad flag, 3 a bad URL, 6 no
 * such host, 7 no connection, 22 an HTTP error with -f, 23 the output failed, 28 too late, 35 no
 * TLS, 47 too many redirects, 52 a bad answer, 60 a certificate that is not trusted.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REDIRECTS_MAX = 10, DEFAULT_TIMEOUT_MS = 300 * 1000 };

enum { EXIT_SCHEME = 1, EXIT_FLAG = 2, EXIT_URL = 3, EXIT_HOST = 6, EXIT_CONNECT = 7, EXIT_STATUS = 22, EXIT_OUTPUT = 23, EXIT_TIMEOUT = 28, EXIT_REDIRECTS = 47,
	EXIT_TLS = 35, EXIT_ANSWER = 52, EXIT_TRUST = 60 };

struct curl {
	const char *method, *output, *format, *url;
	struct tls_trust trust;
	bool silent, show_error, fail, include, head, location, given_data;
	struct buf headers, data;
	int64_t timeout_ms, connect_ms;
};

/* Flags: the short letter or 0, the long name, and what it does with its value. */
enum flag_kind { FLAG_IGNORED, FLAG_IGNORED_VALUE, FLAG_SWITCH, FLAG_TEXT, FLAG_SECONDS, FLAG_HEADER, FLAG_DATA };

struct flag {
	char letter;
	const char *name;
	enum flag_kind kind;
	size_t at; /* in struct curl */
};

static const struct flag flags[] = {
	{ 's', "silent", FLAG_SWITCH, offsetof(struct curl, silent) },
	{ 'S', "show-error", FLAG_SWITCH, offsetof(struct curl, show_error) },
	{ 'f', "fail", FLAG_SWITCH, offsetof(struct curl, fail) },
	{ 'i', "include", FLAG_SWITCH, offsetof(struct curl, include) },
	{ 'I', "head", FLAG_SWITCH, offsetof(struct curl, head) },
	{ 'L', "location", FLAG_SWITCH, offsetof(struct curl, location) },
	{ 'X', "request", FLAG_TEXT, offsetof(struct curl, method) },
	{ 'o', "output", FLAG_TEXT, offsetof(struct curl, output) },
	{ 'w', "write-out", FLAG_TEXT, offsetof(struct curl, format) },
	{ 0, "url", FLAG_TEXT, offsetof(struct curl, url) },
	{ 'm', "max-time", FLAG_SECONDS, offsetof(struct curl, timeout_ms) },
	{ 0, "connect-timeout", FLAG_SECONDS, offsetof(struct curl, connect_ms) },
	{ 'H', "header", FLAG_HEADER, 0 },
	{ 'd', "data", FLAG_DATA, 0 },
	{ 0, "data-binary", FLAG_DATA, 0 },
	{ 0, "data-raw", FLAG_DATA, 0 },
	{ 'q', "disable", FLAG_IGNORED, 0 },
	{ 'g', "globoff", FLAG_IGNORED, 0 },
	{ 'k', "insecure", FLAG_SWITCH, offsetof(struct curl, trust.insecure) },
	{ 0, "cacert", FLAG_TEXT, offsetof(struct curl, trust.ca_file) },
	{ 'v', "verbose", FLAG_IGNORED, 0 },
	{ 'N', "no-buffer", FLAG_IGNORED, 0 },
	{ '4', "ipv4", FLAG_IGNORED, 0 },
	{ '6', "ipv6", FLAG_IGNORED, 0 },
	{ 0, "retry", FLAG_IGNORED_VALUE, 0 },
	{ 0, "noproxy", FLAG_IGNORED_VALUE, 0 },
};

/* Seconds, perhaps with a fraction. */
static bool seconds(const char *text, int64_t *ret_ms) {
	struct str rest = str_from(text), whole = str_cut(&rest, '.');
	int64_t n, scale = 100, ms = 0;

	if (!str_int(whole, 0, 86400, &n)) {
		return false;
	}
	for (size_t i = 0; i < rest.len && i < 3; i++, scale /= 10) {
		if (rest.ptr[i] < '0' || rest.ptr[i] > '9') {
			return false;
		}
		ms += (rest.ptr[i] - '0') * scale;
	}
	*ret_ms = n * 1000 + ms;
	return true;
}

static bool data_add(struct curl *c, const char *value, struct err *err) {
	if (c->given_data) {
		buf_add(&c->data, S("&"));
	}
	c->given_data = true;
	if (value[0] == '@') {
		return file_read(strcmp(value, "@-") == 0 ? "/dev/stdin" : value + 1, &c->data, err);
	}
	return buf_add(&c->data, str_from(value)) || err_set(err, "too much data");
}

static bool flag_apply(struct curl *c, const struct flag *flag, const char *value, struct err *err) {
	char *into = (char *)c + flag->at;

	switch (flag->kind) {
	case FLAG_IGNORED:
	case FLAG_IGNORED_VALUE:
		return true;
	case FLAG_SWITCH:
		*(bool *)into = true;
		return true;
	case FLAG_TEXT:
		*(const char **)into = value;
		return true;
	case FLAG_SECONDS:
		return seconds(value, (int64_t *)into) || err_set(err, "'%s' is no number of seconds", value);
	case FLAG_HEADER:
		if (strpbrk(value, "\r\n") || !strchr(value, ':')) {
			return err_set(err, "a header is one line, NAME: VALUE");
		}
		return buf_addf(&c->headers, "%s\r\n", value);
	case FLAG_DATA:
		return data_add(c, value, err);
	}
	return false;
}

static bool takes_value(const struct flag *flag) {
	return flag->kind != FLAG_IGNORED && flag->kind != FLAG_SWITCH;
}

static const struct flag *flag_find(struct str name, char letter) {
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (letter ? flags[i].letter == letter : str_eq(name, str_from(flags[i].name))) {
			return &flags[i];
		}
	}
	return NULL;
}

static bool words_read(struct curl *c, int argc, char **argv, struct err *err) {
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		bool is_long = word[0] == '-' && word[1] == '-';

		if (word[0] != '-' || word[1] == '\0') {
			c->url = word;
			continue;
		}
		/* Short letters may stand together; the first that takes a value takes the rest as it. */
		for (const char *at = word + 1; *at; at++) {
			const struct flag *flag = is_long ? flag_find(str_from(word + 2), 0) : flag_find(S(""), *at);
			const char *value = NULL;

			if (!flag) {
				return err_set(err, "unknown flag %s", word);
			}
			if (takes_value(flag)) {
				value = !is_long && at[1] ? at + 1 : ++i < argc ? argv[i] : NULL;
				if (!value) {
					return err_set(err, "%s needs a value", word);
				}
			}
			if (!flag_apply(c, flag, value, err)) {
				return false;
			}
			if (is_long || value) {
				break;
			}
		}
	}
	return c->url || err_set(err, "no URL; usage: curl [-s] [-f] [-i] [-I] [-L] [-X METHOD] [-H HEADER] [-d DATA] [-o FILE] "
					"[-w FORMAT] [-m SECONDS] [--connect-timeout SECONDS] URL");
}

struct url {
	char *host, *port, *target; /* owned */
	bool https;
};

static void url_release(struct url *u) {
	free(u->host);
	free(u->port);
	free(u->target);
	*u = (struct url){ 0 };
}

/* Cuts a URL into its parts. Returns 0, or an exit code. */
static int url_read(struct str text, struct url *ret) {
	bool https = str_has_prefix(text, S("https://"));
	struct str authority, host, port = https ? S("443") : S("80");
	int64_t number;

	if (https || str_has_prefix(text, S("http://"))) {
		size_t scheme = https ? 8 : 7;

		text = (struct str){ text.ptr + scheme, text.len - scheme };
	} else if (memmem(text.ptr, text.len, "://", 3)) {
		return EXIT_SCHEME;
	}
	authority = (struct str){ text.ptr, 0 };
	while (authority.len < text.len && !strchr("/?#", text.ptr[authority.len])) {
		authority.len++;
	}
	text = (struct str){ text.ptr + authority.len, text.len - authority.len };
	text = str_cut(&text, '#');
	host = authority;
	if (host.len > 0 && host.ptr[0] == '[') {
		struct str rest = { host.ptr + 1, host.len - 1 };

		host = str_cut(&rest, ']');
		if (rest.len > 0) {
			str_cut(&rest, ':');
			port = rest;
		}
	} else if (memchr(host.ptr, ':', host.len)) {
		port = host;
		host = str_cut(&port, ':');
	}
	if (host.len == 0 || !str_int(port, 1, 65535, &number)) {
		return EXIT_URL;
	}
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.ptr[i] <= ' ') {
			return EXIT_URL;
		}
	}
	*ret = (struct url){ str_dup(host), str_dup(port), NULL, https };
	if (text.len > 0 && text.ptr[0] == '?') {
		struct buf target = { 0 };

		buf_addf(&target, "/%.*s", STR_ARG(text));
		ret->target = target.ptr;
	} else {
		ret->target = str_dup(text.len ? text : S("/"));
	}
	return 0;
}

static int exit_code(const struct err *err) {
	switch (err->code) {
	case ERR_LOOKUP:
		return EXIT_HOST;
	case ERR_REFUSED:
		return EXIT_CONNECT;
	case ERR_TIMEOUT:
		return EXIT_TIMEOUT;
	case ERR_NONE:
	case ERR_OTHER:
		break;
	}
	if (strstr(err->msg, "certificate verify failed")) {
		return EXIT_TRUST;
	}
	return strncmp(err->msg, "TLS", 3) == 0 ? EXIT_TLS : strncmp(err->msg, "connect to", 10) == 0 ? EXIT_CONNECT : EXIT_ANSWER;
}

/* Adds the -w format with %{http_code}, \n, \r and \t replaced. */
static void format_add(struct buf *out, const char *format, int status) {
	for (; *format; format++) {
		if (strncmp(format, "%{http_code}", 12) == 0 || strncmp(format, "%{response_code}", 16) == 0) {
			buf_addf(out, "%03d", status);
			format = strchr(format, '}');
		} else if (format[0] == '\\' && format[1] && strchr("nrt", format[1])) {
			format++;
			buf_add(out, *format == 'n' ? S("\n") : *format == 'r' ? S("\r") : S("\t"));
		} else {
			buf_add(out, (struct str){ format, 1 });
		}
	}
}

static bool output(const struct curl *c, const struct http_answer *answer) {
	auto_buf struct buf out = { .max = BUF_MAX * 2 }, report = { 0 };
	auto_fd int file = -1;
	int fd = STDOUT_FILENO;

	if (c->include || c->head) {
		buf_add(&out, buf_str(&answer->head));
	}
	if (!(c->fail && answer->status >= 400)) {
		buf_add(&out, buf_str(&answer->body));
	}
	if (c->output && strcmp(c->output, "-") != 0) {
		fd = file = open(c->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	}
	if (fd < 0 || !fd_write_all(fd, buf_str(&out))) {
		return false;
	}
	format_add(&report, c->format ? c->format : "", answer->status);
	return fd_write_all(STDOUT_FILENO, buf_str(&report));
}

static int transfer(struct curl *c, struct err *err) {
	auto_buf struct buf next = { 0 };
	int64_t end = now_ms() + (c->timeout_ms ? c->timeout_ms : DEFAULT_TIMEOUT_MS);
	const char *method = c->method ? c->method : c->head ? "HEAD" : c->given_data ? "POST" : "GET";

	buf_add(&next, str_from(c->url));
	if (c->given_data && !strcasestr(c->headers.ptr ? c->headers.ptr : "", "content-type:")) {
		buf_add(&c->headers, S("Content-Type: application/x-www-form-urlencoded\r\n"));
	}
	buf_add(&c->headers, S("User-Agent: curl/coracle\r\nAccept: */*\r\n"));
	for (int i = 0; i <= REDIRECTS_MAX; i++) {
		auto_http_answer struct http_answer answer = { 0 };
		CLEANUP(url_release) struct url url = { 0 };
		int rc = url_read(buf_str(&next), &url);
		int64_t left = end - now_ms();

		if (rc) {
			err_set(err, rc == EXIT_SCHEME ? "neither http:// nor https://: %.200s" : "bad URL %.200s", next.ptr);
			return rc;
		}
		if (!http_call(&(struct http_call){ .method = method, .host = url.host, .port = url.port, .target = url.target,
				       .headers = c->headers.ptr, .body = buf_str(&c->data), .tls = url.https ? &c->trust : NULL, .timeout_ms = left > 0 ? (int)left : 1,
				       .connect_timeout_ms = (int)(c->connect_ms ? MIN(c->connect_ms, left) : left) },
			    &answer, err)) {
			return exit_code(err);
		}
		if (c->location && answer.status >= 300 && answer.status < 400 && answer.location.len > 0) {
			buf_clear(&next);
			if (answer.location.ptr[0] == '/') {
				bool six = strchr(url.host, ':') != NULL;

				buf_addf(&next, six ? "http%s://[%s]:%s" : "http%s://%s:%s", url.https ? "s" : "", url.host, url.port);
			}
			buf_add(&next, buf_str(&answer.location));
			continue;
		}
		if (!output(c, &answer)) {
			err_set(err, "the output could not be written");
			return EXIT_OUTPUT;
		}
		if (c->fail && answer.status >= 400) {
			err_set(err, "The requested URL returned error: %d", answer.status);
			return EXIT_STATUS;
		}
		return 0;
	}
	err_set(err, "too many redirects");
	return EXIT_REDIRECTS;
}

int cmd_curl(int argc, char **argv) {
	struct curl c = { 0 };
	struct err err = { 0 };
	int rc;

	term_exits();
	if (!words_read(&c, argc, argv, &err)) {
		fprintf(stderr, "curl: %s\n", err.msg);
		return EXIT_FLAG;
	}
	rc = transfer(&c, &err);
	if (rc && (!c.silent || c.show_error)) {
		fprintf(stderr, "curl: (%d) %s\n", rc, err.msg);
	}
	if (rc && c.format && rc != EXIT_STATUS) {
		auto_buf struct buf report = { 0 };

		format_add(&report, c.format, 0);
		rc = fd_write_all(STDOUT_FILENO, buf_str(&report)) ? rc : EXIT_OUTPUT;
	}
	buf_release(&c.headers);
	buf_release(&c.data);
	return rc;
}
