/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_porter.c - `porter`: serves each environment variable SERVE_PORT_<n> on port n.
 *
 * SERVE_TCP_PORT_<n> means the same, SERVE_TLS_PORT_<n> speaks HTTPS (with CERT_FILE and KEY_FILE, or a
 * certificate of its own), SERVE_UDP_PORT_<n> answers datagrams. A value that looks like
 * HTML is sent as HTML, since the API server's proxy rewrites links in that.
 */
#include "cmd.h"
#include "http.h"
#include "opt.h"
#include "udp.h"

#include <stdlib.h>
#include <string.h>

extern char **environ;

static bool json_response;

/* The type of a body by its first bytes (WHATWG MIME Sniffing, section 7.1). */
static struct str sniff(struct str body) {
	static const struct str tags[] = {
		S("<!DOCTYPE HTML"), S("<HTML"), S("<HEAD"), S("<SCRIPT"), S("<IFRAME"), S("<H1"), S("<DIV"), S("<FONT"),
		S("<TABLE"), S("<A"), S("<STYLE"), S("<TITLE"), S("<B"), S("<BODY"), S("<BR"), S("<P"),
	};

	while (body.len > 0 && memchr(" \t\r\n\f", body.ptr[0], 5)) {
		body = (struct str){ body.ptr + 1, body.len - 1 };
	}
	for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
		size_t len = tags[i].len;

		if (body.len > len && str_eq_nocase((struct str){ body.ptr, len }, tags[i]) && (body.ptr[len] == ' ' || body.ptr[len] == '>')) {
			return S("text/html; charset=utf-8");
		}
	}
	return S("text/plain; charset=utf-8");
}

static void on_request(void *arg, const struct http_request *req, struct http_reply *reply) {
	struct str value = str_from(arg);

	if (!json_response) {
		reply->type = sniff(value);
		buf_add(&reply->body, value);
		return;
	}
	reply->type = S("application/json");
	buf_add(&reply->body, S("{\"Method\":"));
	json_string(&reply->body, req->head.method);
	buf_add(&reply->body, S(",\"Body\":"));
	json_string(&reply->body, value);
	buf_add(&reply->body, S("}"));
}

static void on_datagram(void *arg, struct str request, const char *peer, struct buf *reply) {
	buf_add(reply, str_from(arg));
}

static bool serve_tcp(int64_t port, char *value, struct err *err) {
	struct http_server *server;

	return http_server_start(&(struct http_serve){ .port = port, .handle = on_request, .arg = value }, &server, err);
}

static bool serve_udp(int64_t port, char *value, struct err *err) {
	struct udp_server *server = xcalloc(1, sizeof(*server)); /* lives until the program ends */

	*server = (struct udp_server){ .handle = on_datagram, .arg = value };
	return udp_server_start(server, "", port, err);
}

static bool serve_tls(int64_t port, char *value, struct err *err) {
	const char *cert = getenv("CERT_FILE"), *key = getenv("KEY_FILE");
	struct http_server *server;
	struct tls_server *tls;

	return tls_server_new(cert && *cert ? cert : "localhost.crt", key && *key ? key : "localhost.key", &tls, err) &&
		http_server_start(&(struct http_serve){ .port = port, .handle = on_request, .arg = value, .tls = tls }, &server, err);
}

static const struct {
	struct str prefix;
	bool (*serve)(int64_t port, char *value, struct err *err);
} kinds[] = {
	{ S("SERVE_PORT_"), serve_tcp },
	{ S("SERVE_TCP_PORT_"), serve_tcp },
	{ S("SERVE_UDP_PORT_"), serve_udp },
	{ S("SERVE_TLS_PORT_"), serve_tls },
};

int cmd_porter(int argc, char **argv) {
	const struct opt opts[] = {
		{ "json-response", OPT_BOOL, &json_response, "answer the method and the value as JSON" },
	};

	opt_parse(argc, argv, "[FLAG...]", opts, ARRAY_LEN(opts));
	for (char **e = environ; *e; e++) {
		for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
			struct str value = str_from(*e), name = str_cut(&value, '=');
			struct err err = { 0 };
			int64_t port;

			if (!str_has_prefix(name, kinds[i].prefix)) {
				continue;
			}
			name = (struct str){ name.ptr + kinds[i].prefix.len, name.len - kinds[i].prefix.len };
			if (!str_int(name, 1, 65535, &port)) {
				log_line("porter: no port in %.*s", STR_ARG(str_from(*e)));
			} else if (!kinds[i].serve(port, (char *)value.ptr, &err)) {
				/* The others go on, so that a test sees which one failed. */
				log_line("porter: %s", err.msg);
			}
		}
	}
	term_wait(-1);
	return 0;
}
