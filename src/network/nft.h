/* SPDX-License-Identifier: Apache-2.0 */
/* nft.h - nftables by its own program: one script, one transaction. Private to network/. Blocks: pool threads. */
#ifndef NETWORK_NFT_H
#define NETWORK_NFT_H

#include "base/buf.h"
#include "base/err.h"

/* All of the script or nothing. ERR_UNAVAILABLE when there is no nft; ERR_INTERNAL with its first words when it refuses. */
NODISCARD bool nft_run(struct str script, struct err *err);
/* What `nft -j list ...` prints; `words` ends with NULL. ERR_NOT_FOUND when there is no such thing. */
NODISCARD bool nft_list(const char *const *words, struct buf *ret, struct err *err);
/* Deletes table ip `name`; success when it is not there. */
NODISCARD bool nft_table_delete(const char *name, struct err *err);
/* Whether text may stand in a script as a name. */
bool nft_name_ok(const char *name);

#endif
