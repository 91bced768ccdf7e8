/* SPDX-License-Identifier: Apache-2.0 */
/* dns_test.c - DNS messages: known wire forms, what is built reads back, truncation, broken and hostile messages. */
#include "net/dns.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void section_print(struct buf *b, const char *title, const struct dns_record *at, size_t n) {
	for (size_t i = 0; i < n; i++) {
		const struct dns_record *r = &at[i];
		buf_printf(b, "%s %.*s %u %u %u", title, STR_ARG(r->name), r->type, r->klass, r->ttl);
		if (r->type == DNS_A) {
			buf_printf(b, " %u.%u.%u.%u", r->address[0], r->address[1], r->address[2], r->address[3]);
		}
		if (r->target.len) {
			buf_printf(b, " %u %u %u %.*s", r->priority, r->weight, r->port, STR_ARG(r->target));
		}
		if (r->type == DNS_SOA) {
			buf_printf(b, " %.*s %u %u", STR_ARG(r->mailbox), r->serial, r->minimum);
		}
		for (size_t k = 0; k < r->texts_len; k++) {
			buf_printf(b, " \"%.*s\"", STR_ARG(r->texts[k]));
		}
		buf_char(b, '\n');
	}
}
static void message_print(struct buf *b, const struct dns_message *m) {
	buf_printf(b, "%u qr%d op%d aa%d tc%d rd%d ra%d rcode%d edns%d/%u q%.*s/%u\n", m->id, m->response, m->opcode, m->authoritative, m->truncated,
		m->recursion_desired, m->recursion_available, m->rcode, m->edns, m->udp_bytes_max, STR_ARG(m->question.name), m->question.type);
	section_print(b, "an", m->answers, m->answers_len);
	section_print(b, "ns", m->authority, m->authority_len);
	section_print(b, "ar", m->additional, m->additional_len);
}

static void test_query_of_dig(void **state) {
	/* dig kubernetes.default.svc.cluster.local, EDNS with a cookie */
	static const char wire[] = "\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x0akubernetes\x07" "default\x03svc\x07" "cluster\x05local\x00\x00\x01\x00\x01"
		"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08";
	auto_arena struct arena a = { 0 };
	auto_buf struct buf got = { 0 };
	struct dns_message m;
	struct err err = { 0 };
	assert_true(dns_parse(&a, (struct str){ wire, sizeof(wire) - 1 }, &m, &err));
	message_print(&got, &m);
	assert_string_equal(buf_cstr(&got), "4660 qr0 op0 aa0 tc0 rd1 ra0 rcode0 edns1/1232 qkubernetes.default.svc.cluster.local./1\n");
	assert_true(m.authentic_data);
}

static void test_answer_with_pointers(void **state) {
	/* RFC 1035 section 4.1.4's way: F.ISI.ARPA, FOO.F.ISI.ARPA, ARPA, the root */
	static const char wire[] = "\x00\x01\x84\x00\x00\x01\x00\x03\x00\x00\x00\x00" "\x01" "F\x03ISI\x04" "ARPA\x00\x00\x01\x00\x01"
		"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x0a\x00\x06\x03" "FOO\xc0\x0c"
		"\xc0\x28\x00\x01\x00\x01\x00\x00\x00\x0a\x00\x04\x0a\x00\x00\x01"
		"\xc0\x12\x00\x02\x00\x01\x00\x00\x00\x0a\x00\x01\x00";
	auto_arena struct arena a = { 0 };
	auto_buf struct buf got = { 0 };
	struct dns_message m;
	struct err err = { 0 };
	assert_true(dns_parse(&a, (struct str){ wire, sizeof(wire) - 1 }, &m, &err));
	message_print(&got, &m);
	assert_string_equal(buf_cstr(&got), "1 qr1 op0 aa1 tc0 rd0 ra0 rcode0 edns0/512 qF.ISI.ARPA./1\n"
		"an F.ISI.ARPA. 5 1 10 0 0 0 FOO.F.ISI.ARPA.\nan FOO.F.ISI.ARPA. 1 1 10 10.0.0.1\nan ARPA. 2 1 10 0 0 0 .\n");
}

static void test_build_reads_back(void **state) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf wire = { 0 }, want = { 0 }, got = { 0 };
	struct err err = { 0 };
	struct str texts[] = { S("dns-version=1.1.0"), S("") };
	struct dns_record answers[] = {
		{ .name = S("_http._tcp.web.default.svc.cluster.local."), .type = DNS_SRV, .klass = DNS_IN, .ttl = 5, .priority = 0, .weight = 50, .port = 80,
			.target = S("web-0.web.default.svc.cluster.local.") },
		{ .name = S("a.b."), .type = DNS_TXT, .klass = DNS_IN, .texts = texts, .texts_len = 2 },
		{ .name = S("odd\\.label\\032x.b."), .type = DNS_CNAME, .klass = DNS_IN, .target = S("a.b.") },
		{ .name = S("4.3.2.1.in-addr.arpa."), .type = DNS_PTR, .klass = DNS_IN, .ttl = 5, .target = S("web.default.svc.cluster.local.") },
		{ .name = S("."), .type = DNS_MX, .klass = DNS_IN, .priority = 10, .target = S("mx.b.") },
	};
	struct dns_record authority[] = { { .name = S("cluster.local."), .type = DNS_SOA, .klass = DNS_IN, .ttl = 30, .target = S("ns.dns.cluster.local."),
		.mailbox = S("hostmaster.cluster.local."), .serial = 1700000000, .refresh = 7200, .retry = 1800, .expire = 86400, .minimum = 30 } };
	struct dns_record additional[] = { { .name = S("web-0.web.default.svc.cluster.local."), .type = DNS_A, .klass = DNS_IN, .ttl = 5, .address = { 10, 0, 0, 7 } } };
	struct dns_message m = { .id = 77, .response = true, .authoritative = true, .recursion_desired = true, .rcode = 0x123, .question = { S("X.b."), DNS_ANY, DNS_IN },
		.answers = answers, .answers_len = 5, .authority = authority, .authority_len = 1, .additional = additional, .additional_len = 1, .edns = true,
		.udp_bytes_max = 1232 }, back;
	assert_true(dns_build(&m, 0, &wire, &err));
	assert_true(wire.len < 400); /* names are compressed */
	assert_true(dns_parse(&a, buf_view(&wire), &back, &err));
	message_print(&want, &m);
	message_print(&got, &back);
	assert_string_equal(buf_cstr(&got), buf_cstr(&want));
}

static void test_truncation(void **state) {
	struct dns_record answers[100];
	auto_arena struct arena a = { 0 };
	struct err err = { 0 };
	for (int i = 0; i < 100; i++) {
		answers[i] = (struct dns_record){ .name = arena_printf(&a, "pod-%d.web.default.svc.cluster.local.", i), .type = DNS_A, .klass = DNS_IN, .address = { 10, 0, 0, (uint8_t)i } };
	}
	struct dns_message m = { .response = true, .question = { S("web.default.svc.cluster.local."), DNS_A, DNS_IN }, .answers = answers, .answers_len = 100,
		.additional = answers, .additional_len = 1, .edns = true, .udp_bytes_max = 1232 }, back;
	static const size_t limits[] = { 512, 513, 600, 1232, 1233, 0 };
	size_t before = 0;
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		auto_buf struct buf wire = { 0 };
		assert_true(dns_build(&m, limits[i], &wire, &err));
		assert_true(!limits[i] || wire.len <= limits[i]);
		assert_true(dns_parse(&a, buf_view(&wire), &back, &err));
		assert_int_equal(back.truncated, limits[i] != 0);
		assert_true(back.answers_len >= before);
		assert_true(back.edns);
		before = back.answers_len;
	}
	assert_int_equal(before, 100);
}

static const struct bad_case {
	const char *name;
	struct str in;
	const char *why;
} bad_cases[] = {
	{ "empty", S_INIT(""), "the message is cut" },
	{ "half a header", S_INIT("\0\1\1\0\0\1"), "the message is cut" },
	{ "no question after all", S_INIT("\0\1\1\0\0\1\0\0\0\0\0\0"), "a name is cut" },
	{ "pointer at itself", S_INIT("\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"), "a name points forward or at itself" },
	{ "pointer forward", S_INIT("\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x20\0\1\0\1"), "a name points forward or at itself" },
	{ "pointers in a circle", S_INIT("\0\1\1\0\0\1\0\0\0\0\0\0\1a\xc0\x0c\0\1\0\1"), "a name points forward or at itself" },
	{ "label cut", S_INIT("\0\1\1\0\0\1\0\0\0\0\0\0\x3f" "abc"), "a name is cut" },
	{ "label of an old kind", S_INIT("\0\1\1\0\0\1\0\0\0\0\0\0\x41" "abc\0\0\1\0\1"), "a label of an unknown kind" },
	{ "address of three bytes", S_INIT("\0\1\x81\0\0\0\0\1\0\0\0\0\0\0\1\0\1\0\0\0\0\0\3abc"), "an address of the wrong length" },
	{ "record cut", S_INIT("\0\1\x81\0\0\0\0\1\0\0\0\0\0\0\1\0\1\0\0\0\0\0\4abc"), "a record is cut" },
	{ "name longer than its record", S_INIT("\0\1\x81\0\0\0\0\1\0\0\0\0\0\0\5\0\1\0\0\0\0\0\1\1a\0"), "a record's data has the wrong length" },
	{ "text longer than its record", S_INIT("\0\1\x81\0\0\0\0\1\0\0\0\0\0\0\x10\0\1\0\0\0\0\0\2\5abcdefgh"), "a text is cut" },
	{ "lying counts", S_INIT("\0\1\x81\0\0\0\xff\xff\xff\xff\xff\xff"), "too many records" },
};

static void test_bad(void **state) {
	const struct bad_case *c = *state;
	auto_arena struct arena a = { 0 };
	struct dns_message m;
	struct err err = { 0 };
	char want[200];
	assert_false(dns_parse(&a, c->in, &m, &err));
	snprintf(want, sizeof(want), "malformed DNS message: %s", c->why);
	assert_string_equal(err.msg, want);
}

static void test_unbuildable(void **state) {
	static const char *const names[] = { "a..b.", ".a.", "a\\", "a\\9", "x234567890123456789012345678901234567890123456789012345678901234.b." };
	struct err err = { 0 };
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_buf struct buf wire = { 0 };
		struct dns_message m = { .question = { str_c(names[i]), DNS_A, DNS_IN } };
		if (dns_build(&m, 0, &wire, &err)) {
			fail_msg("%s was built", names[i]);
		}
		assert_int_equal(wire.len, 0);
	}
}

static void test_names(void **state) {
	auto_arena struct arena a = { 0 };
	char out[46];
	struct str name;
	assert_true(dns_name_eq(S("A.b."), S("a.B")));
	assert_false(dns_name_eq(S("a.b"), S("a.c")));
	assert_true(dns_name_within(S("x.cluster.local."), S("Cluster.Local")));
	assert_true(dns_name_within(S("cluster.local"), S("cluster.local.")));
	assert_false(dns_name_within(S("xcluster.local"), S("cluster.local.")));
	assert_true(dns_name_within(S("x."), S(".")));
	assert_true(dns_reverse_parse(S("4.3.2.1.in-addr.arpa."), out));
	assert_string_equal(out, "1.2.3.4");
	assert_false(dns_reverse_parse(S("3.2.1.in-addr.arpa."), out));
	assert_false(dns_reverse_parse(S("5.4.3.2.1.in-addr.arpa."), out));
	assert_false(dns_reverse_parse(S("256.3.2.1.in-addr.arpa."), out));
	assert_true(dns_reverse_name(&a, S("1.2.3.4"), &name));
	assert_true(str_eqc(name, "4.3.2.1.in-addr.arpa."));
	assert_true(dns_reverse_name(&a, S("2001:db8::567:89ab"), &name)); /* RFC 3596 section 2.5's form */
	assert_true(str_eqc(name, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."));
	assert_true(dns_reverse_parse(name, out));
	assert_string_equal(out, "2001:db8::567:89ab");
	assert_false(dns_reverse_name(&a, S("x"), &name));
}

int main(void) {
	struct CMUnitTest tests[ARRAY_LEN(bad_cases) + 6] = {
		cmocka_unit_test(test_query_of_dig),
		cmocka_unit_test(test_answer_with_pointers),
		cmocka_unit_test(test_build_reads_back),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_unbuildable),
		cmocka_unit_test(test_names),
	};
	for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
		tests[i + 6] = (struct CMUnitTest){ .name = bad_cases[i].name, .test_func = test_bad, .initial_state = (void *)(uintptr_t)&bad_cases[i] };
	}
	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
