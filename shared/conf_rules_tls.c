/*
 * Rules about the TLS of listeners that take several keys.
 */
#include "shared/conf_build.h"

static void check_client_auth(struct conf_report *report, const struct conf_node *tls)
{
	const struct conf_node *ca = good(tls, "client_ca"), *auth = good(tls, "client_auth");
	bool asks = auth && auth->num > 0;

	if (asks && !conf_find(tls, "client_ca"))
		conf_error(report, auth->pos, "add client_ca: FILE",
			"'client_auth' needs 'client_ca', against which certificates are checked");
	if (ca && !asks && !(auth && auth->broken))
		conf_error(report, ca->name_pos, "add client_auth: optional, or required",
			"'client_ca' has no effect without 'client_auth'");
}

void conf_rules_tls(struct conf_report *report, const struct conf_node *listeners)
{
	conf_each (listener, listeners) {
		const struct conf_node *tls = good(listener, "tls");

		if (tls)
			check_client_auth(report, tls);
	}
}
