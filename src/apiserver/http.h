/* SPDX-License-Identifier: Apache-2.0 */
/* http.h - the handler that apiserver.c gives to the HTTP server. Private to the room. */
#ifndef APISERVER_HTTP_H
#define APISERVER_HTTP_H

#include "apiserver/server.h"

void http_handle(struct http_exchange *x, void *arg); /* arg: struct apiserver * */

#endif
