/* SPDX-License-Identifier: Apache-2.0 */
/* crypto_test.c - digests, encodings, certificates and tokens against published vectors. */
#include "net/net.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct arena a;
static int release(void **state) {
	arena_release(&a);
	return 0;
}

static struct str hex(const void *bytes, size_t len) {
	return hex_encode(&a, (struct str){ bytes, len });
}
#define assert_str(got, want)                                                                                   \
	do {                                                                                                    \
		struct str got_ = (got);                                                                        \
		if (!str_eqc(got_, (want))) {                                                                   \
			fail_msg("got \"%.*s\", want \"%s\"", STR_ARG(got_), (want));                           \
		}                                                                                               \
	} while (0)

static void test_digests(void **state) {
	uint8_t out[64];
	char text[SHA256_HEX];
	/* FIPS 180-2 */
	sha256_hex(S("abc"), text);
	assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	sha256_hex(S(""), text);
	assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha1(S("abc"), out);
	assert_str(hex(out, 20), "a9993e364706816aba3e25717850c26c9cd0d89d");
	sha512(S("abc"), out);
	assert_str(hex(out, 8), "ddaf35a193617aba");
	/* RFC 4231 section 4.3 */
	hmac_sha256(S("Jefe"), S("what do ya want for nothing?"), out);
	assert_str(hex(out, 32), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	struct sha256_stream *s = sha256_stream_new();
	sha256_stream_add(s, S("a"));
	sha256_stream_add(s, S(""));
	sha256_stream_add(s, S("bc"));
	sha256_stream_hex(s, text);
	sha256_stream_free(s);
	assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_base64(void **state) {
	/* RFC 4648 section 10 */
	static const char *const rows[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" } };
	static const char *const wrong[] = { "Z", "Zg", "Zg=", "Zg===", "Z===", "Zm9v=", "Zm9v====", "Zm8=Zm8=", "Zm-v", "Zm 9v", "====", "=" };
	struct str got;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_str(base64_encode(&a, str_c(rows[i][0])), rows[i][1]);
		assert_true(base64_decode(&a, str_c(rows[i][1]), &got));
		assert_str(got, rows[i][0]);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (base64_decode(&a, str_c(wrong[i]), &got)) {
			fail_msg("\"%s\" was taken", wrong[i]);
		}
	}
	assert_true(base64_decode(&a, S("Zm9v\r\nYmFy\n"), &got));
	assert_str(got, "foobar");
	assert_str(base64url_encode(&a, S("\xfb\xff\xfe")), "-__-");
	assert_str(base64url_encode(&a, S("f")), "Zg");
	assert_true(base64url_decode(&a, S("-__-"), &got) && str_eq(got, S("\xfb\xff\xfe")));
	assert_true(base64url_decode(&a, S("Zg=="), &got) && str_eq(got, S("f")));
	assert_false(base64url_decode(&a, S("+/+/"), &got));
	assert_true(hex_decode(&a, S("00ffA0"), &got) && str_eq(got, S("\0\xff\xa0")));
	assert_false(hex_decode(&a, S("0"), &got));
	assert_false(hex_decode(&a, S("0g"), &got));
}

static void test_random(void **state) {
	struct str t = random_text(&a, 1000, S("bcd"));
	int n[3] = { 0 };
	for (size_t i = 0; i < t.len; i++) {
		assert_in_range(t.ptr[i], 'b', 'd');
		n[t.ptr[i] - 'b']++;
	}
	assert_true(n[0] > 200 && n[1] > 200 && n[2] > 200);
	assert_true(bytes_eq_secret(S("abc"), S("abc")));
	assert_false(bytes_eq_secret(S("abc"), S("abd")));
	assert_false(bytes_eq_secret(S("abc"), S("ab")));
}

/* ---- certificates ---- */

static void test_certificates(void **state) {
	struct err err = { 0 };
	struct str ca_key, ca, key, cert, pub, other;
	struct cert_identity id;
	struct str orgs[] = { S("system:nodes"), S("second") }, dns[] = { S("node-1"), S("kubernetes.default.svc") }, ips[] = { S("10.0.0.1"), S("fd00::1") };
	assert_true(key_new(KEY_EC_P256, &a, &ca_key, &err));
	assert_true(cert_new(ca_key, &(struct cert_opts){ .common_name = S("the CA"), .usage = CERT_CA, .lifetime = 3600 * NSEC_PER_SEC }, &a, &ca, &err));
	assert_true(key_new(KEY_RSA_2048, &a, &key, &err));
	struct cert_opts o = { .common_name = S("system:node:n1"), .organizations = orgs, .organizations_len = 2, .dns = dns, .dns_len = 2, .ips = ips, .ips_len = 2,
		.usage = CERT_SERVER | CERT_CLIENT, .ca_cert_pem = ca, .ca_key_pem = ca_key, .lifetime = 1000000 * NSEC_PER_SEC };
	assert_true(cert_new(key, &o, &a, &cert, &err));
	assert_true(cert_parse(cert, &a, &id, &err));
	assert_str(id.common_name, "system:node:n1");
	assert_int_equal(id.organizations_len, 2);
	assert_str(id.organizations[0], "system:nodes");
	assert_str(id.organizations[1], "second");
	assert_int_equal(id.dns_len, 2);
	assert_str(id.dns[1], "kubernetes.default.svc");
	assert_str(id.ips[0], "10.0.0.1");
	assert_str(id.ips[1], "fd00::1");
	assert_str(id.issuer, "the CA");
	assert_false(id.ca);
	assert_int_equal(id.serial.len, 32);
	assert_int_equal(id.fingerprint.len, 64);
	/* cut to the CA's own end */
	assert_in_range(id.not_after - clock_wall(), 3590 * NSEC_PER_SEC, 3600 * NSEC_PER_SEC);
	assert_true(id.not_before < clock_wall());
	assert_true(cert_verify(cert, ca, &err));
	assert_true(cert_matches_key(cert, key));
	assert_false(cert_matches_key(cert, ca_key));
	assert_true(cert_parse(ca, &a, &id, &err));
	assert_true(id.ca);
	assert_true(key_public(key, &a, &pub, &err));
	assert_true(str_starts(pub, S("-----BEGIN PUBLIC KEY-----\n")));
	/* another CA of the same name does not vouch for it */
	assert_true(key_new(KEY_EC_P256, &a, &ca_key, &err));
	assert_true(cert_new(ca_key, &(struct cert_opts){ .common_name = S("the CA"), .usage = CERT_CA }, &a, &other, &err));
	assert_false(cert_verify(cert, other, &err));
	assert_int_equal(err.code, ERR_UNAUTHORIZED);
	/* nor is an expired one good */
	o = (struct cert_opts){ .common_name = S("x"), .not_before = clock_wall() - 7200 * NSEC_PER_SEC, .lifetime = 3600 * NSEC_PER_SEC, .ca_cert_pem = other,
		.ca_key_pem = ca_key };
	assert_true(cert_new(key, &o, &a, &cert, &err));
	assert_false(cert_verify(cert, other, &err));
	assert_non_null(strstr(err.msg, "expired"));
}

static void test_certificate_requests(void **state) {
	struct err err = { 0 };
	struct str ca_key, ca, key, csr, cert;
	struct cert_identity id;
	struct str orgs[] = { S("system:nodes") }, ips[] = { S("10.1.1.1") };
	assert_true(key_new(KEY_EC_P256, &a, &ca_key, &err));
	assert_true(cert_new(ca_key, &(struct cert_opts){ .common_name = S("ca"), .usage = CERT_CA }, &a, &ca, &err));
	assert_true(key_new(KEY_EC_P256, &a, &key, &err));
	assert_true(csr_new(key, &(struct cert_opts){ .common_name = S("system:node:n"), .organizations = orgs, .organizations_len = 1, .ips = ips, .ips_len = 1 }, &a, &csr,
		&err));
	assert_true(csr_parse(csr, &a, &id, &err));
	assert_str(id.common_name, "system:node:n");
	assert_str(id.ips[0], "10.1.1.1");
	struct cert_opts o = { .usage = CERT_CLIENT, .lifetime = 3600 * NSEC_PER_SEC, .ca_cert_pem = ca, .ca_key_pem = ca_key };
	assert_true(csr_sign(csr, &o, &a, &cert, &err));
	assert_true(cert_parse(cert, &a, &id, &err));
	assert_str(id.common_name, "system:node:n");
	assert_str(id.organizations[0], "system:nodes");
	assert_str(id.ips[0], "10.1.1.1");
	assert_true(cert_matches_key(cert, key));
	assert_true(cert_verify(cert, ca, &err));
	assert_false(csr_sign(S("nonsense"), &o, &a, &cert, &err));
	assert_int_equal(err.code, ERR_INVALID);
}

static void test_bad_certificate_input(void **state) {
	struct err err = { 0 };
	struct str key, cert;
	struct cert_identity id;
	struct str ips[] = { S("not-an-ip") };
	struct tls_server *t;
	assert_false(cert_parse(S(""), &a, &id, &err));
	assert_false(cert_parse(S("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), &a, &id, &err));
	assert_int_equal(err.code, ERR_INVALID);
	assert_true(key_new(KEY_EC_P256, &a, &key, &err));
	assert_false(cert_new(key, &(struct cert_opts){ .ips = ips, .ips_len = 1 }, &a, &cert, &err));
	assert_string_equal(err.msg, "\"not-an-ip\" is not an IP address");
	assert_false(cert_new(S("junk"), &(struct cert_opts){ 0 }, &a, &cert, &err));
	assert_false(tls_server_new(&(struct tls_server_opts){ .cert_pem = S("junk"), .key_pem = key }, &t, &err));
	assert_int_equal(err.code, ERR_INVALID);
}

/* ---- tokens ---- */

#define CLAIMS "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
static const char rfc_rsa[] = /* RFC 7515 appendix A.2 */
	"-----BEGIN PUBLIC KEY-----\n"
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj\n"
	"NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz\n"
	"P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo\n"
	"9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB\n"
	"EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX\n"
	"FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\n"
	"oQIDAQAB\n"
	"-----END PUBLIC KEY-----\n";
static const char rfc_rsa_token[] =
	"eyJhbGciOiJSUzI1NiJ9." CLAIMS
	".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdi"
	"uB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9Q"
	"OYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
static const char rfc_ec[] = /* appendix A.3 */
	"-----BEGIN PUBLIC KEY-----\n"
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"
	"6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
	"-----END PUBLIC KEY-----\n";
static const char rfc_ec_token[] = "eyJhbGciOiJFUzI1NiJ9." CLAIMS ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

static void test_token_vectors(void **state) {
	struct err err = { 0 };
	struct jwt_key *keys[2];
	struct str claims;
	assert_true(jwt_key_new(str_c(rfc_rsa), &keys[0], &err));
	assert_true(jwt_key_new(str_c(rfc_ec), &keys[1], &err));
	assert_true(jwt_verify(keys, 2, str_c(rfc_rsa_token), &a, &claims, &err));
	assert_str(claims, "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}");
	assert_true(jwt_verify(keys, 2, str_c(rfc_ec_token), &a, &claims, &err));
	assert_false(jwt_verify(keys, 1, str_c(rfc_ec_token), &a, &claims, &err));
	assert_int_equal(err.code, ERR_UNAUTHORIZED);
	/* the members of appendix A.3's key, as a JWK */
	assert_true(str_contains(jwt_key_jwk(keys[1], &a), S("\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"")));
	assert_true(str_contains(jwt_key_jwk(keys[0], &a), S("\"e\":\"AQAB\"")));
	assert_false(jwt_sign(keys[0], S("{}"), &a, &claims, &err)); /* a public key */
	jwt_key_free(keys[0]);
	jwt_key_free(keys[1]);
}

static void test_tokens(void **state) {
	struct err err = { 0 };
	for (int kind = KEY_EC_P256; kind <= KEY_RSA_2048; kind++) {
		struct str pem, pub, token, claims;
		struct jwt_key *private, *public;
		assert_true(key_new((enum key_kind)kind, &a, &pem, &err));
		assert_true(key_public(pem, &a, &pub, &err));
		assert_true(jwt_key_new(pem, &private, &err));
		assert_true(jwt_key_new(pub, &public, &err));
		assert_true(str_eq(jwt_key_id(private), jwt_key_id(public)));
		assert_int_equal(jwt_key_id(public).len, 43);
		assert_true(jwt_sign(private, S("{\"sub\":\"system:serviceaccount:default:a\"}"), &a, &token, &err));
		assert_true(jwt_verify(&public, 1, token, &a, &claims, &err));
		assert_str(claims, "{\"sub\":\"system:serviceaccount:default:a\"}");
		assert_true(jwt_verify(&public, 1, token, &a, &claims, &err)); /* again, from memory */
		assert_str(claims, "{\"sub\":\"system:serviceaccount:default:a\"}");
		assert_true(jwt_peek(token, &a, &claims, &err));
		for (size_t i = 0; i < token.len; i++) { /* no single character can change */
			struct str forged = arena_str(&a, token);
			((char *)(uintptr_t)forged.ptr)[i] = token.ptr[i] == 'A' ? 'B' : 'A';
			bool last_of_part = i + 1 == token.len || token.ptr[i + 1] == '.'; /* may hold unused bits */
			if (!last_of_part && jwt_verify(&public, 1, forged, &a, &claims, &err)) {
				fail_msg("forged at %zu", i);
			}
		}
		jwt_key_free(private);
		jwt_key_free(public);
	}
}

static void test_bad_tokens(void **state) {
	static const char *const tokens[] = { "", ".", "..", "a.b", "a.b.c.d", "!.!.!", "e30.e30.", "eyJhbGciOiJub25lIn0.e30." };
	struct err err = { 0 };
	struct jwt_key *key;
	struct str claims;
	assert_true(jwt_key_new(str_c(rfc_rsa), &key, &err));
	for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
		err_clear(&err);
		assert_false(jwt_verify(&key, 1, str_c(tokens[i]), &a, &claims, &err));
		assert_int_equal(err.code, ERR_UNAUTHORIZED);
	}
	jwt_key_free(key);
	assert_false(jwt_key_new(S("junk"), &key, &err));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_certificate_requests),
		cmocka_unit_test(test_bad_certificate_input),
		cmocka_unit_test(test_token_vectors),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_bad_tokens),
	};
	return cmocka_run_group_tests_name("crypto", tests, NULL, release);
}
