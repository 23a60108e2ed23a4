#include "failover/net/nft.h"

#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct nft {
	struct nft_ctx *ctx;
};

/* The library would end the process on a kernel without nf_tables. */
static int ask_for_socket(struct err *err)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0)
		return err_set_errno(err, "no packet filter in this kernel");
	close(fd);
	return 0;
}

struct nft *nft_new(struct err *err)
{
	struct nft *n;

	if (ask_for_socket(err) != 0)
		return NULL;
	n = calloc(1, sizeof(*n));
	if (n)
		n->ctx = nft_ctx_new(NFT_CTX_DEFAULT);
	/* Else it would write to standard output and standard error. */
	if (!n || !n->ctx || nft_ctx_buffer_output(n->ctx) != 0 ||
		nft_ctx_buffer_error(n->ctx) != 0) {
		nft_free(n);
		err_set(err, "cannot make libnftables ready");
		return NULL;
	}
	return n;
}

void nft_free(struct nft *n)
{
	if (!n)
		return;
	if (n->ctx)
		nft_ctx_free(n->ctx);
	free(n);
}

/* Its first line says what is wrong; the rest shows where. */
static int fail(const struct nft *n, struct err *err)
{
	const char *text = nft_ctx_get_error_buffer(n->ctx);
	const char *start = text ? strstr(text, "Error: ") : NULL;

	if (!start)
		return err_set(err, "nf_tables: the kernel refused the rules");
	start += strlen("Error: ");
	return err_set(err, "nf_tables: %.*s", (int)strcspn(start, "\n"), start);
}

int nft_run(struct nft *n, const char *commands, struct err *err)
{
	int rc = nft_run_cmd_from_buffer(n->ctx, commands);

	/* What it says is collected until it is asked for. */
	(void)nft_ctx_get_output_buffer(n->ctx);
	if (rc != 0)
		return fail(n, err);
	(void)nft_ctx_get_error_buffer(n->ctx);
	return 0;
}

int nft_run_buf(struct nft *n, struct buf *text, bool whole, struct err *err)
{
	if (!whole || buf_append(text, span_make("", 1)) != 0)
		return err_set(err, "nf_tables: the rules take more than %d bytes", NFT_TEXT_MAX);
	return nft_run(n, buf_span(text).ptr, err);
}

int nft_tables(struct nft *n, struct span *ret_lines, struct err *err)
{
	if (nft_run_cmd_from_buffer(n->ctx, "list tables netdev") != 0)
		return fail(n, err);
	(void)nft_ctx_get_error_buffer(n->ctx);
	*ret_lines = span_of(nft_ctx_get_output_buffer(n->ctx));
	return 0;
}
