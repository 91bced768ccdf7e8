/* SPDX-License-Identifier: Apache-2.0 */
/* Any message: what the zone makes of its question can be written, and parses again. */
#include "network/dns_zone.h"

static struct obj *svc;

static struct obj *service(void *arg, struct str ns, struct str name) {
	return obj_ref(svc);
}

static void slices(void *arg, struct str ns, struct str name, struct client_list *ret) {
	*ret = (struct client_list){ 0 };
}

static bool has_namespace(void *arg, struct str ns) {
	return true;
}

static size_t reverse(void *arg, struct arena *a, const char *address, struct str *ret, size_t max) {
	ret[0] = S("web.prod.svc");
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static const struct dns_source source = { service, slices, has_namespace, reverse, NULL };
	auto_arena struct arena a = { 0 };
	auto_buf struct buf out = { 0 };
	struct dns_message q, m, again;
	struct dns_zone z = { .domain = S("cluster.local."), .source = &source };
	struct str target;
	struct err err = { 0 };

	if (!svc) {
		struct value *v;
		if (!yaml_parse(&a, S("{spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}}"), NULL, &v, &err)) {
			abort();
		}
		svc = obj_freeze(v, 1);
	}
	if (!dns_parse(&a, (struct str){ (const char *)data, size }, &q, &err) || q.questions != 1) {
		return 0;
	}
	m = (struct dns_message){ .id = q.id, .response = true, .question = q.question, .questions = 1 };
	if (dns_zone_answer(&z, &a, &m, &target) == DNS_OUTSIDE) {
		return 0;
	}
	bool ok = dns_build(&m, 512, &out, &err) && dns_parse(&a, buf_view(&out), &again, &err);
	assert(ok && again.rcode == m.rcode);
	(void)ok;
	return 0;
}
