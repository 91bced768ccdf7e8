/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_netexec.c - `netexec`: HTTP and UDP endpoints by which a test asks and steers a pod.
 *
 * One function an endpoint, on connection threads; `routes` lists them. Every request is logged to
 * stderr with its parameters, since tests read it back with `kubectl logs`.
 * Source: conformance checklist, "image-netexec".
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"
#include "udp.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	DIAL_TRIES_MAX = 1000,
	DIAL_TIMEOUT_MS = 5000,
	SHELL_OUTPUT_BYTES_MAX = 4 * 1024 * 1024,
	UDP_ADDRESSES_MAX = 16,
};

static struct netexec {
	struct http_server *server;
	const char *override, *upload_dir;
	atomic_bool ready;
	struct udp_server udp[UDP_ADDRESSES_MAX];
} netexec;

#define auto_param auto_buf struct buf

/* A parameter's value; empty when it was not given. */
static struct buf param(const struct http_request *req, struct str name) {
	struct buf value = { 0 };

	http_request_param(req, name, &value);
	buf_add(&value, S("")); /* NUL-ended in any case */
	return value;
}

/* ---- endpoints, in the order of the table ---- */

static void on_root(void *arg, const struct http_request *req, struct http_reply *reply) {
	struct timespec now;
	struct tm tm;
	char text[32];

	log_line("GET /");
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	buf_addf(&reply->body, "NOW: %s.%09ld +0000 UTC", text, now.tv_nsec);
}

static void on_client_ip(void *arg, const struct http_request *req, struct http_reply *reply) {
	log_line("GET /clientip");
	buf_add(&reply->body, str_from(req->peer));
}

static void on_server_port(void *arg, const struct http_request *req, struct http_reply *reply) {
	log_line("GET /serverport");
	buf_add(&reply->body, str_from(strrchr(req->local, ':') + 1));
}

static bool dial_http(const char *host, const char *port, const char *request, struct buf *out, struct err *err) {
	auto_http_answer struct http_answer answer = { 0 };
	auto_buf struct buf target = { 0 };

	buf_addf(&target, "/%s", request);
	for (size_t i = 0; i < target.len; i++) {
		if (target.ptr[i] == '\r' || target.ptr[i] == '\n' || target.ptr[i] == ' ') {
			return err_set(err, "the request holds a blank or a line break");
		}
	}
	if (!http_call(&(struct http_call){ .host = host, .port = port, .target = target.ptr, .timeout_ms = DIAL_TIMEOUT_MS }, &answer, err)) {
		return false;
	}
	buf_add(out, buf_str(&answer.body));
	return true;
}

static bool dial_udp(const char *host, const char *port, const char *request, struct buf *out, struct err *err) {
	auto_fd int fd = -1;
	char bytes[8192];
	ssize_t n;

	if (!net_connect(host, port, SOCK_DGRAM, DIAL_TIMEOUT_MS, &fd, err)) {
		return false;
	}
	if (write(fd, request, strlen(request)) < 0) {
		return err_sys(err, "udp write");
	}
	if (!net_readable(fd, DIAL_TIMEOUT_MS)) {
		return err_set(err, "reading from udp connection failed: timeout");
	}
	n = read(fd, bytes, sizeof(bytes));
	if (n <= 0) {
		return err_sys(err, "reading from udp connection failed");
	}
	buf_add(out, (struct str){ bytes, (size_t)n });
	return true;
}

static const struct dialer {
	struct str protocol;
	bool (*dial)(const char *host, const char *port, const char *request, struct buf *out, struct err *err);
} dialers[] = {
	{ S(""), dial_http },
	{ S("http"), dial_http },
	{ S("udp"), dial_udp },
};

static const struct dialer *dialer_find(struct str protocol) {
	for (size_t i = 0; i < ARRAY_LEN(dialers); i++) {
		if (str_eq_nocase(dialers[i].protocol, protocol)) {
			return &dialers[i];
		}
	}
	return NULL;
}

/* Adds ,"name":[...] for a list that was gathered as `"a","b"`; nothing for an empty one. */
static void list_member(struct buf *out, const char *name, const struct buf *list) {
	if (list->len > 0) {
		buf_addf(out, "%s\"%s\":[%.*s]", out->len > 1 ? "," : "", name, STR_ARG(buf_str(list)));
	}
}

static void on_dial(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_param host = param(req, S("host")), port = param(req, S("port")), request = param(req, S("request"));
	auto_param protocol = param(req, S("protocol")), tries_text = param(req, S("tries"));
	auto_buf struct buf responses = { 0 }, errors = { 0 };
	const struct dialer *dialer = dialer_find(buf_str(&protocol));
	int64_t tries = 1, number;
	bool ok = false;

	log_line("GET /dial?host=%s&protocol=%s&port=%s&request=%s&tries=%s", host.ptr, protocol.ptr, port.ptr, request.ptr, tries_text.ptr);
	if (tries_text.len > 0 && !str_int(buf_str(&tries_text), 0, DIAL_TRIES_MAX, &tries)) {
		http_reply_text(reply, 400, "tries parameter is invalid: a number up to %d\n", DIAL_TRIES_MAX);
		return;
	}
	if (request.len == 0) {
		http_reply_text(reply, 400, "request parameter not specified\n");
		return;
	}
	if (!dialer) {
		http_reply_text(reply, 400, "unsupported protocol: %s\n", protocol.ptr);
		return;
	}
	if (host.len == 0 || !str_int(buf_str(&port), 1, 65535, &number)) {
		http_reply_text(reply, 400, "host and/or port param are invalid\n");
		return;
	}
	for (int64_t i = 0; i < tries; i++) {
		auto_buf struct buf out = { 0 };
		struct err err = { 0 };
		struct buf *list;

		ok = dialer->dial(host.ptr, port.ptr, request.ptr, &out, &err);
		list = ok ? &responses : &errors;
		buf_add(list, list->len ? S(",") : S(""));
		json_string(list, ok ? buf_str(&out) : str_from(err.msg));
	}
	buf_add(&reply->body, S("{"));
	list_member(&reply->body, "errors", &errors);
	list_member(&reply->body, "responses", &responses);
	buf_add(&reply->body, S("}"));
	reply->status = ok || tries == 0 ? 200 : 417;
}

static void on_echo(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_param msg = param(req, S("msg")), code = param(req, S("code"));
	int64_t status = 200;

	log_line("GET /echo?msg=%s&code=%s", msg.ptr, code.ptr);
	if (code.len > 0 && !str_int(buf_str(&code), 200, 599, &status)) {
		buf_addf(&reply->body, "argument 'code' must be an integer from 200 to 599 or empty, got \"%s\"\n", code.ptr);
		return;
	}
	reply->status = (int)status;
	buf_add(&reply->body, buf_str(&msg));
}

struct exit_request {
	int code;
	int64_t timeout_ms;
};

static void *exit_run(void *arg) {
	struct exit_request *e = arg;

	http_server_stop(netexec.server, (int)e->timeout_ms);
	log_line("graceful shutdown completed");
	exit(e->code);
}

static bool exit_duration(const struct buf *text, int64_t *ret_ms) {
	*ret_ms = 0;
	return text->len == 0 || opt_duration(buf_str(text), ret_ms);
}

static void on_exit_path(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_param code_text = param(req, S("code")), timeout_text = param(req, S("timeout")), wait_text = param(req, S("wait"));
	int64_t code = 0, timeout_ms, wait_ms;
	struct exit_request *e;
	struct err err = { 0 };

	log_line("GET /exit?code=%s&timeout=%s&wait=%s", code_text.ptr, timeout_text.ptr, wait_text.ptr);
	if (!exit_duration(&timeout_text, &timeout_ms) || !exit_duration(&wait_text, &wait_ms)) {
		buf_add(&reply->body, S("arguments 'timeout' and 'wait' must be durations such as 5s, or empty\n"));
		return;
	}
	if (code_text.len > 0 && !str_int(buf_str(&code_text), 0, 127, &code)) {
		buf_addf(&reply->body, "argument 'code' must be an integer [0-127] or empty, got \"%s\"\n", code_text.ptr);
		return;
	}
	poll(NULL, 0, (int)MIN(wait_ms, INT32_MAX));
	if (timeout_ms == 0) {
		exit((int)code);
	}
	e = xcalloc(1, sizeof(*e));
	*e = (struct exit_request){ (int)code, MIN(timeout_ms, INT32_MAX) };
	if (!thread_start(exit_run, e, &err)) {
		exit((int)code);
	}
}

/* Adds `name` in the usual spelling: X-Forwarded-For. */
static void header_name(struct buf *out, struct str name) {
	bool first = true;

	for (size_t i = 0; i < name.len; i++) {
		char c = (char)(first ? toupper((unsigned char)name.ptr[i]) : tolower((unsigned char)name.ptr[i]));

		buf_add(out, (struct str){ &c, 1 });
		first = c == '-';
	}
}

static void on_header(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_param key = param(req, S("key"));

	log_line("GET /header?key=%s", key.ptr);
	if (key.len > 0) {
		buf_add(&reply->body, http_header_get(&req->head, buf_str(&key)));
		return;
	}
	buf_add(&reply->body, S("{"));
	for (size_t i = 0; i < req->head.headers_len; i++) {
		auto_buf struct buf name = { 0 };

		buf_add(&reply->body, i ? S(",") : S(""));
		header_name(&name, req->head.headers[i].name);
		json_string(&reply->body, buf_str(&name));
		buf_add(&reply->body, S(":["));
		json_string(&reply->body, req->head.headers[i].value);
		buf_add(&reply->body, S("]"));
	}
	buf_add(&reply->body, S("}"));
	reply->type = S("application/json");
}

static void on_healthz(void *arg, const struct http_request *req, struct http_reply *reply) {
	log_line("GET /healthz");
	reply->status = atomic_load(&netexec.ready) ? 200 : 412;
}

static void on_hostname(void *arg, const struct http_request *req, struct http_reply *reply) {
	log_line("GET %.*s", STR_ARG(req->path));
	buf_add(&reply->body, host_name());
}

static void on_redirect(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_param location = param(req, S("location")), code = param(req, S("code"));
	int64_t status = 302;

	log_line("%.*s /redirect?msg=%s&code=%s", STR_ARG(req->head.method), location.ptr, code.ptr);
	if (code.len > 0 && !str_int(buf_str(&code), 300, 399, &status)) {
		buf_addf(&reply->body, "argument 'code' must be an integer from 300 to 399 or empty, got \"%s\"\n", code.ptr);
		return;
	}
	http_reply_redirect(reply, buf_str(&location), (int)status);
}

/* Runs `command` by the shell. False when it failed; `error` then says how. */
static bool shell(const char *command, struct buf *output, struct buf *error) {
	int out[2], status = 0;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) != 0) {
		buf_addf(error, "pipe: %s", strerror(errno));
		return false;
	}
	pid = fork();
	if (pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		term_reset();
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		dprintf(STDERR_FILENO, "/bin/sh: %s\n", strerror(errno));
		_exit(127);
	}
	close(out[1]);
	if (pid < 0) {
		buf_addf(error, "fork: %s", strerror(errno));
	}
	for (;;) {
		char bytes[8192];
		ssize_t n = read(out[0], bytes, sizeof(bytes));

		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			break;
		}
		/* What is beyond the limit is read and dropped, so that the command can end. */
		buf_add(output, (struct str){ bytes, (size_t)n });
	}
	close(out[0]);
	if (pid < 0) {
		return false;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (WIFSIGNALED(status)) {
		buf_addf(error, "signal: %s", strsignal(WTERMSIG(status)));
	} else if (WEXITSTATUS(status) != 0) {
		buf_addf(error, "exit status %d", WEXITSTATUS(status));
	}
	return error->len == 0;
}

static void on_shell(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_param command = param(req, S("shellCommand"));
	auto_buf struct buf output = { .max = SHELL_OUTPUT_BYTES_MAX }, error = { 0 };
	struct buf *json = &reply->body;

	if (command.len == 0) {
		http_request_param(req, S("cmd"), &command);
	}
	log_line("GET /shell?cmd=%s", command.ptr);
	reply->status = shell(command.ptr, &output, &error) ? 200 : 417;
	buf_add(json, S("{"));
	if (error.len > 0) {
		buf_add(json, S("\"error\":"));
		json_string(json, buf_str(&error));
	}
	if (output.len > 0) {
		buf_add(json, json->len > 1 ? S(",\"output\":") : S("\"output\":"));
		json_string(json, buf_str(&output));
	}
	buf_add(json, S("}"));
}

static void on_shutdown(void *arg, const struct http_request *req, struct http_reply *reply) {
	log_line("GET /shutdown");
	exit(0);
}

/* The content of the form's part "file" (RFC 7578); false when there is none. */
static bool form_file(const struct http_request *req, struct str *ret) {
	struct str type = http_header_get(&req->head, S("Content-Type")), body = req->body;
	auto_buf struct buf boundary = { .max = 256 };

	if (!str_has_prefix(type, S("multipart/form-data"))) {
		return false;
	}
	while (type.len > 0) {
		struct str part = str_trim(str_cut(&type, ';'));

		if (str_has_prefix(part, S("boundary="))) {
			part = (struct str){ part.ptr + 9, part.len - 9 };
			if (part.len >= 2 && part.ptr[0] == '"') {
				part = (struct str){ part.ptr + 1, part.len - 2 };
			}
			buf_addf(&boundary, "\r\n--%.*s", STR_ARG(part));
		}
	}
	if (boundary.len <= 4) {
		return false;
	}
	/* The first boundary has no line end before it. */
	if (!str_has_prefix(body, (struct str){ boundary.ptr + 2, boundary.len - 2 })) {
		return false;
	}
	body = (struct str){ body.ptr + boundary.len - 2, body.len - boundary.len + 2 };
	while (str_has_prefix(body, S("\r\n"))) {
		const char *end = memmem(body.ptr, body.len, boundary.ptr, boundary.len);
		const char *head_end = memmem(body.ptr, body.len, "\r\n\r\n", 4);

		if (!end || !head_end || head_end >= end) {
			return false;
		}
		if (memmem(body.ptr, (size_t)(head_end - body.ptr), " name=\"file\"", 12)) {
			*ret = (struct str){ head_end + 4, (size_t)(end - head_end - 4) };
			return true;
		}
		body = (struct str){ end + boundary.len, body.len - (size_t)(end - body.ptr) - boundary.len };
	}
	return false;
}

static bool upload(const struct http_request *req, struct buf *path, struct err *err) {
	struct str content;
	auto_fd int fd = -1;

	if (!form_file(req, &content)) {
		return err_set(err, "Unable to upload file.");
	}
	buf_addf(path, "%s/uploadXXXXXX", netexec.upload_dir);
	fd = mkostemp(path->ptr, O_CLOEXEC);
	if (fd < 0) {
		return err_set(err, "Unable to open file for write");
	}
	if (!fd_write_all(fd, content)) {
		return err_set(err, "Unable to write file.");
	}
	return fchmod(fd, 0700) == 0 || err_set(err, "Unable to chmod file.");
}

static void on_upload(void *arg, const struct http_request *req, struct http_reply *reply) {
	auto_buf struct buf path = { 0 };
	struct err err = { 0 };
	bool ok = upload(req, &path, &err);

	log_line("GET /upload");
	log_line("%s%s", ok ? "wrote upload to " : err.msg, ok ? path.ptr : "");
	reply->status = ok ? 201 : 200;
	buf_add(&reply->body, ok ? S("{\"output\":") : S("{\"error\":"));
	json_string(&reply->body, ok ? buf_str(&path) : str_from(err.msg));
	buf_add(&reply->body, S("}"));
}

static const struct http_route routes[] = {
	{ "/clientip",   on_client_ip },
	{ "/serverport", on_server_port },
	{ "/dial",       on_dial },
	{ "/echo",       on_echo },
	{ "/exit",       on_exit_path },
	{ "/header",     on_header },
	{ "/healthz",    on_healthz },
	{ "/hostname",   on_hostname },
	{ "/hostName",   on_hostname },
	{ "/redirect",   on_redirect },
	{ "/shell",      on_shell },
	{ "/shutdown",   on_shutdown },
	{ "/upload",     on_upload },
	{ "/...",        on_root },
};

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	const struct http_route *route;
	struct http_request own;

	if (netexec.override[0]) {
		/* As if a GET with this target had been sent, whatever was. */
		own = *req;
		own.head.method = S("GET");
		own.head.target = str_from(netexec.override);
		own.head.query = own.head.target;
		own.path = own.head.path = str_cut(&own.head.query, '?');
		own.body = (struct str){ 0 };
		req = &own;
	}
	route = http_route_find(routes, ARRAY_LEN(routes), req->path);
	if (!route) {
		http_reply_text(reply, 404, "404 page not found\n");
		return;
	}
	route->handle(arg, req, reply);
}

/* ---- UDP ---- */

static void on_datagram(void *arg, struct str request, const char *peer, struct buf *reply) {
	struct str text = str_trim(request), verb = text;

	verb = str_cut(&text, ' ');
	if (str_eq_nocase(verb, S("hostname")) && text.len == 0) {
		buf_add(reply, host_name());
	} else if (str_eq_nocase(verb, S("echo"))) {
		buf_add(reply, text);
	} else if (str_eq_nocase(verb, S("clientip")) && text.len == 0) {
		buf_add(reply, str_from(peer));
	} else {
		log_line("unknown UDP command from %s: %.*s", peer, (int)MIN(verb.len, 100), verb.ptr);
		return;
	}
	log_line("UDP %.*s answered to %s", STR_ARG(verb), peer);
}

static bool udp_start(const char *addresses, int64_t port, struct err *err) {
	struct str rest = str_from(addresses);
	size_t n = 0;

	do {
		struct str address = str_trim(str_cut(&rest, ','));
		struct udp_server *s = &netexec.udp[n];

		if (n++ == UDP_ADDRESSES_MAX) {
			return err_set(err, "more than %d UDP addresses", UDP_ADDRESSES_MAX);
		}
		*s = (struct udp_server){ .handle = on_datagram };
		if (!udp_server_start(s, str_dup(address), port, err)) {
			return false;
		}
	} while (rest.len > 0);
	atomic_store(&netexec.ready, true);
	return true;
}

int cmd_netexec(int argc, char **argv) {
	int64_t http_port = 8080, udp_port = 8081, sctp_port = -1, delay_s = 0;
	const char *addresses = "", *cert = "", *key = "";
	struct tls_server *tls = NULL;
	struct err err = { 0 };
	const struct opt opts[] = {
		{ "http-port", OPT_INT, &http_port, "where to answer HTTP; 0 is any free port" },
		{ "udp-port", OPT_INT, &udp_port, "where to answer UDP; -1 for nowhere" },
		{ "udp-listen-addresses", OPT_TEXT, &addresses, "for UDP, separated by commas; else all" },
		{ "http-override", OPT_TEXT, &netexec.override, "answer as if this path had been asked for" },
		{ "upload-dir", OPT_TEXT, &netexec.upload_dir, "where /upload puts files (/uploads)" },
		{ "delay-shutdown", OPT_INT, &delay_s, "seconds to go on after SIGTERM" },
		{ "tls-cert-file", OPT_TEXT, &cert, "speak HTTPS with this certificate (PEM)" },
		{ "tls-private-key-file", OPT_TEXT, &key, "its key (PEM)" },
		{ "sctp-port", OPT_INT, &sctp_port, "not supported by this build" },
	};

	netexec.override = "";
	netexec.upload_dir = "/uploads";
	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	if (sctp_port >= 0) {
		log_line("netexec: SCTP is not supported by this build");
		return 1;
	}
	if ((cert[0] && !tls_server_new(cert, key, &tls, &err)) ||
		!http_server_start(&(struct http_serve){ .port = http_port, .handle = on_request, .tls = tls }, &netexec.server, &err) ||
		(udp_port >= 0 && !udp_start(addresses, udp_port, &err))) {
		log_line("netexec: %s", err.msg);
		return 1;
	}
	term_wait(-1);
	if (delay_s > 0) {
		log_line("sleeping %lld seconds before exit", (long long)delay_s);
		poll(NULL, 0, (int)MIN(delay_s, 86400) * 1000);
	}
	return 0;
}
