/* SPDX-License-Identifier: Apache-2.0 */
/* headers.c - looking into HTTP headers, and the texts of status codes. Any thread. */
#include "net/http.h"

struct str http_header_get(struct http_headers h, struct str name) {
	for (size_t i = 0; i < h.len; i++) {
		if (h.at[i].name.len == name.len && str_case_eq(h.at[i].name, name)) {
			return h.at[i].value;
		}
	}
	return (struct str){ 0 };
}

bool http_header_has_token(struct http_headers h, struct str name, struct str token) {
	for (size_t i = 0; i < h.len; i++) {
		struct str rest = h.at[i].value, piece;
		if (!str_case_eq(h.at[i].name, name)) {
			continue;
		}
		while (rest.len && str_next(&rest, ',', &piece)) {
			if (str_case_eq(str_trim(piece), token)) {
				return true;
			}
		}
	}
	return false;
}

const char *http_status_text(int status) {
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{ 100, "Continue" }, { 101, "Switching Protocols" }, { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" },
		{ 206, "Partial Content" }, { 301, "Moved Permanently" }, { 302, "Found" }, { 303, "See Other" }, { 304, "Not Modified" },
		{ 307, "Temporary Redirect" }, { 308, "Permanent Redirect" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 406, "Not Acceptable" }, { 408, "Request Timeout" }, { 409, "Conflict" },
		{ 410, "Gone" }, { 411, "Length Required" }, { 412, "Precondition Failed" }, { 413, "Request Entity Too Large" }, { 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" }, { 416, "Range Not Satisfiable" }, { 417, "Expectation Failed" }, { 422, "Unprocessable Entity" },
		{ 426, "Upgrade Required" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
		{ 501, "Not Implemented" }, { 502, "Bad Gateway" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (texts[i].status == status) {
			return texts[i].text;
		}
	}
	return "";
}
