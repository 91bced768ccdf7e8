/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.h - the door of the room: bytes to and from the network. Include this, or the one part that is needed:
 *
 *   http.h    the server: requests, answers, streams, upgrades
 *   client.h  the client: blocking requests, watches, upgrades
 *   conn.h    a byte stream on a loop; dial, listen, pipe
 *   ws.h      WebSocket frames and handshake
 *   spdy.h    SPDY/3.1 sessions
 *   dns.h     DNS messages
 *   url.h     URLs and query parameters
 *   tls.h     TLS contexts
 *   cert.h    keys, certificates, signing requests
 *   jwt.h     signed tokens
 *   digest.h  digests, random bytes, base64
 *   bytes.h   counted bytes that many connections send
 *
 * The cores (http1, ws, spdy, dns) have no I/O: bytes in, bytes and callbacks out. server, client and conn are the edges with the
 * sockets. Sockets belong to a loop; handlers run on the pool.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include "net/bytes.h"
#include "net/cert.h"
#include "net/client.h"
#include "net/conn.h"
#include "net/digest.h"
#include "net/dns.h"
#include "net/http.h"
#include "net/jwt.h"
#include "net/spdy.h"
#include "net/tls.h"
#include "net/url.h"
#include "net/ws.h"

#endif
