/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_dig.c - `dig`: asks a DNS server, with those flags of the well-known program that tests use.
 *
 *   dig [@SERVER] [-p PORT] [-x ADDRESS] [NAME] [TYPE] [+[no]tcp] [+[no]search] [+short] [+noall] [+answer]
 *       [+time=S] [+tries=N]
 *
 * Answers are one record a line; all else is told as comments, unless +noall or +short. The exit code
 * is 0 when a server answered, whatever it said, 9 when none did, 1 when the words were wrong.
 */
#include "cmd.h"
#include "dns.h"
#include "http.h"
#include "resolv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_BYTES_MAX = 65535 };

struct dig {
	const char *server, *port, *resolv_path;
	struct str name;
	uint16_t type;
	bool tcp, search, brief, comments;
	int64_t timeout_s, tries;
	struct resolv resolv;
	struct buf reverse; /* holds `name` for -x */
};

static bool exchange_udp(int fd, struct str query, uint16_t id, int timeout_ms, struct buf *in, struct err *err) {
	int64_t deadline = now_ms() + timeout_ms;

	if (!fd_write_all(fd, query)) {
		return err_sys(err, "send");
	}
	for (;;) {
		char bytes[MESSAGE_BYTES_MAX];
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (left <= 0 || !net_readable(fd, (int)left)) {
			return err_code(err, ERR_TIMEOUT, "no servers could be reached: timed out");
		}
		n = read(fd, bytes, sizeof(bytes));
		if (n < 0) {
			return err_sys(err, "receive");
		}
		/* What answers another query is late, or forged. */
		if (n >= 2 && (unsigned char)bytes[0] == id >> 8 && (unsigned char)bytes[1] == (id & 0xff)) {
			return buf_add(in, (struct str){ bytes, (size_t)n });
		}
	}
}

/* RFC 1035 section 4.2.2: over TCP a message has its length in front. */
static bool exchange_tcp(int fd, struct str query, int timeout_ms, struct buf *in, struct err *err) {
	int64_t deadline = now_ms() + timeout_ms;
	char head[2] = { (char)(query.len >> 8), (char)query.len };
	auto_buf struct buf out = { 0 };

	buf_add(&out, (struct str){ head, 2 });
	buf_add(&out, query);
	if (!fd_write_all(fd, buf_str(&out))) {
		return err_sys(err, "send");
	}
	for (;;) {
		size_t want = in->len >= 2 ? ((size_t)(unsigned char)in->ptr[0] << 8 | (unsigned char)in->ptr[1]) + 2 : SIZE_MAX;
		int64_t left = deadline - now_ms();
		char bytes[4096];
		ssize_t n;

		if (in->len >= want) {
			buf_consume(in, 2);
			in->len = want - 2;
			return true;
		}
		if (left <= 0 || !net_readable(fd, (int)left)) {
			return err_code(err, ERR_TIMEOUT, "no servers could be reached: timed out");
		}
		n = read(fd, bytes, sizeof(bytes));
		if (n <= 0) {
			return err_set(err, "the server closed the connection");
		}
		if (!buf_add(in, (struct str){ bytes, (size_t)n })) {
			return err_set(err, "the answer is too large");
		}
	}
}

static bool exchange(const struct dig *d, const char *server, bool tcp, struct str query, uint16_t id, struct buf *in, struct err *err) {
	int timeout_ms = (int)d->timeout_s * 1000;
	auto_fd int fd = -1;

	if (!net_connect(server, d->port, tcp ? SOCK_STREAM : SOCK_DGRAM, timeout_ms, &fd, err)) {
		return false;
	}
	return tcp ? exchange_tcp(fd, query, timeout_ms, in, err) : exchange_udp(fd, query, id, timeout_ms, in, err);
}

/* Asks each server until one answers; a truncated answer is asked for again over TCP. */
static bool ask(const struct dig *d, struct str name, struct buf *text, struct dns_answer *ret, struct err *err) {
	uint16_t id = (uint16_t)(rand() ^ (int)getpid());
	auto_buf struct buf query = { 0 };

	if (!dns_query(&query, id, name, d->type)) {
		return err_set(err, "'%.*s' is not a legal name", (int)MIN(name.len, 255), name.ptr);
	}
	for (int64_t i = 0; i < d->tries; i++) {
		struct str servers = d->server ? str_from(d->server) : buf_str(&d->resolv.servers);

		while (servers.len > 0) {
			auto_buf struct buf in = { .max = MESSAGE_BYTES_MAX + 4098 };
			char *server = str_dup(str_cut(&servers, ','));
			bool ok = exchange(d, server, d->tcp, buf_str(&query), id, &in, err);

			buf_clear(text);
			ok = ok && (dns_answer_read(buf_str(&in), id, d->brief, text, ret) || err_set(err, "%s sent a malformed answer", server));
			if (ok && ret->truncated && !d->tcp) {
				buf_clear(&in);
				buf_clear(text);
				ok = exchange(d, server, true, buf_str(&query), id, &in, err) &&
					(dns_answer_read(buf_str(&in), id, d->brief, text, ret) || err_set(err, "%s sent a malformed answer", server));
			}
			free(server);
			if (ok) {
				return true;
			}
		}
	}
	return err->code == ERR_NONE ? err_set(err, "no server to ask") : false;
}

/* The name with each search suffix, in the resolver's order, until one has records. */
static bool ask_search(const struct dig *d, struct buf *text, struct dns_answer *ret, struct err *err) {
	struct str suffixes = buf_str(&d->resolv.search);
	int64_t dots = 0;
	bool absolute = d->name.len > 0 && d->name.ptr[d->name.len - 1] == '.', asked = false;

	for (size_t i = 0; i < d->name.len; i++) {
		dots += d->name.ptr[i] == '.';
	}
	if (!d->search || absolute || dots >= d->resolv.ndots) {
		if (!ask(d, d->name, text, ret, err)) {
			return false;
		}
		asked = true;
	}
	while (d->search && !absolute && suffixes.len > 0 && !(asked && ret->records > 0)) {
		auto_buf struct buf name = { 0 };

		buf_addf(&name, "%.*s.", STR_ARG(d->name));
		buf_add(&name, str_cut(&suffixes, ','));
		if (!ask(d, buf_str(&name), text, ret, err)) {
			return false;
		}
		asked = true;
	}
	if (asked && (ret->records > 0 || absolute || dots >= d->resolv.ndots || !d->search)) {
		return true;
	}
	return ask(d, d->name, text, ret, err);
}

static bool flag_read(struct dig *d, struct str flag, struct err *err) {
	struct str value = flag, name = str_cut(&value, '=');
	bool no = str_has_prefix(name, S("no"));
	const struct {
		struct str name;
		bool *into;
	} switches[] = {
		{ S("tcp"), &d->tcp }, { S("search"), &d->search }, { S("short"), &d->brief }, { S("all"), &d->comments },
		{ S("comments"), &d->comments },
	};
	static const struct str ignored[] = { S("answer"), S("stats"), S("cmd"), S("question"), S("edns"), S("cookie"), S("authority"),
		S("additional"), S("recurse"), S("dnssec"), S("ndots"), S("multiline"), S("ttlid") };

	if (no) {
		name = (struct str){ name.ptr + 2, name.len - 2 };
	}
	for (size_t i = 0; i < ARRAY_LEN(switches); i++) {
		if (str_eq(name, switches[i].name)) {
			*switches[i].into = !no;
			return true;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(ignored); i++) {
		if (str_eq(name, ignored[i])) {
			return true;
		}
	}
	if (str_eq(name, S("time"))) {
		return str_int(value, 1, 300, &d->timeout_s) || err_set(err, "+time is from 1 to 300 seconds");
	}
	if (str_eq(name, S("tries")) || str_eq(name, S("retry"))) {
		return str_int(value, 1, 100, &d->tries) || err_set(err, "+tries is from 1 to 100");
	}
	return err_set(err, "unknown flag +%.*s", STR_ARG(flag));
}

static bool words_read(struct dig *d, int argc, char **argv, struct err *err) {
	for (int i = 1; i < argc; i++) {
		struct str word = str_from(argv[i]);
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (word.len == 0) {
			continue;
		}
		if (word.ptr[0] == '@') {
			d->server = word.ptr + 1;
		} else if (word.ptr[0] == '+') {
			if (!flag_read(d, (struct str){ word.ptr + 1, word.len - 1 }, err)) {
				return false;
			}
		} else if (str_eq(word, S("-p"))) {
			d->port = value;
			i++;
		} else if (str_eq(word, S("-t"))) {
			d->type = dns_type(str_from(value));
			i++;
			if (d->type == 0) {
				return err_set(err, "unknown type %s", value);
			}
		} else if (str_eq(word, S("-x"))) {
			buf_clear(&d->reverse);
			if (!dns_reverse_name(value, &d->reverse)) {
				return err_set(err, "'%s' is no address", value);
			}
			d->name = buf_str(&d->reverse);
			d->type = dns_type(S("PTR"));
			i++;
		} else if (str_eq(word, S("-4")) || str_eq(word, S("-6"))) {
			continue;
		} else if (str_eq(word, S("--resolv-conf"))) {
			d->resolv_path = value;
			i++;
		} else if (word.ptr[0] == '-') {
			return err_set(err, "unknown flag %s", argv[i]);
		} else if (d->name.len > 0 && dns_type(word)) {
			d->type = dns_type(word);
		} else {
			d->name = word;
		}
	}
	return d->name.len > 0 || err_set(err, "usage: dig [@SERVER] [-p PORT] NAME [TYPE] [-x ADDRESS] [+tcp] [+search] [+short] [+noall +answer]");
}

int cmd_dig(int argc, char **argv) {
	struct dig d = { .port = "53", .resolv_path = "/etc/resolv.conf", .type = 1, .comments = true, .timeout_s = 5, .tries = 3 };
	auto_buf struct buf text = { 0 };
	struct dns_answer answer = { 0 };
	struct err err = { 0 };

	term_exits();
	if (!words_read(&d, argc, argv, &err) || (!(d.server && !d.search) && !resolv_read(d.resolv_path, &d.resolv, &err))) {
		fprintf(stderr, "dig: %s\n", err.msg);
		return 1;
	}
	srand((unsigned)now_ms() ^ (unsigned)getpid());
	if (!ask_search(&d, &text, &answer, &err)) {
		printf(";; %s\n", err.msg);
		return 9;
	}
	if (d.comments && !d.brief) {
		printf(";; status: %s, answers: %zu%s\n", dns_rcode_name(answer.rcode), answer.records, d.tcp ? ", over TCP" : "");
	}
	printf("%.*s", STR_ARG(buf_str(&text)));
	return fflush(stdout) == 0 ? 0 : 1;
}
