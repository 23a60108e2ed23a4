#include "proxy/settings/registering.h"

#include <limits.h>

#include "shared/digest.h"
#include "shared/secret.h"

void registering_build(
	struct register_conf *r, const struct conf_node *pool, struct conf_report *report)
{
	const struct conf_node *conf = conf_find(pool, "discover.register");
	const struct conf_node *file = conf ? conf_find(conf, "token_file") : NULL;
	char name[PATH_MAX];
	struct span token;
	struct err err;

	*r = (struct register_conf){.on = file != NULL};
	if (!file)
		return;
	r->lease_ns = conf_u64(conf, "lease");
	if (span_copy(file->text, name, sizeof(name)) < 0) {
		conf_error(report, file->pos, NULL, "the name of 'token_file' is too long");
		return;
	}
	if (secret_read(name, &token, &err) < 0) {
		conf_error(report, file->pos, NULL, "%s", err.text);
		return;
	}
	digest_sha256(token, r->token_sha256);
	secret_free(token);
}
