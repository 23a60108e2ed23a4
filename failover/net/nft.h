/*
 * nf_tables: runs commands of nft's language, each call one atomic transaction. The only home of
 * libnftables.
 *
 * Text and not the library's JSON: JSON counts timeouts in whole seconds and passes over a fraction
 * in silence, and a lease lives for milliseconds. Everything that goes into a command is ours or
 * was checked by the configuration's table (names of letters, digits and - _ .), so that nothing
 * needs quoting.
 *
 * A command waits for the kernel, which takes a tenth of a millisecond to a few; somebody else's
 * transaction makes it wait. Without memory the library ends the process; the kernel's fence then
 * does what it is for.
 */
#pragma once

#include "shared/buf.h"
#include "shared/err.h"

#define NFT_TEXT_MAX (64 * 1024)

struct nft;

/* NULL: no memory, or a kernel without nf_tables. Needs CAP_NET_ADMIN for all that follows. */
struct nft *nft_new(struct err *err);
void nft_free(struct nft *n);
/* Runs all of it or nothing. Several commands are separated by line feeds. */
int nft_run(struct nft *n, const char *commands, struct err *err);
/* The same for a text that was put together; also -1 when it did not fit into its buffer, which the
 * caller says with `whole`. */
int nft_run_buf(struct nft *n, struct buf *text, bool whole, struct err *err);
/* The tables of the family netdev: "table netdev NAME", one a line. Borrows until the next command.
 */
int nft_tables(struct nft *n, struct span *ret_lines, struct err *err);
