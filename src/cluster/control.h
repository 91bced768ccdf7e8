/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the node's control socket, <run dir>/control.sock (root only): images come and go through it, so that `coracle image`
 * works on a running node without a second program writing to its folders.
 *
 *   GET    /images                       {"images": [{"id", "tags", "digests", "size", "created"}]}
 *   POST   /images/load                  body: an archive; answers lines {"step", "done", "total"}, at last {"loaded": [names]} or {"error"}
 *   POST   /images/pull?ref=R            with X-Registry-User, X-Registry-Password; lines as above, at last {"id"} or {"error"}
 *   POST   /images/push?ref=R            likewise, at last {"digest"} or {"error"}
 *   POST   /images/tag?from=A&to=B
 *   DELETE /images?ref=R&force=1
 */
#ifndef CLUSTER_CONTROL_H
#define CLUSTER_CONTROL_H

#include "base/err.h"
#include "runtime/image.h"

struct control;
struct control_opts {
	const char *path;            /* of the socket */
	struct image_store *images;  /* borrowed */
	const char *spool_dir;       /* where an archive is kept while it is read */
};
NODISCARD bool control_start(const struct control_opts *opts, struct control **ret, struct err *err);
void control_stop(struct control *c); /* NULL is fine */

#endif
