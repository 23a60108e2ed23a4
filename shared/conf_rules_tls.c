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
	bool any = false;

	conf_each (listener, listeners)
		any = any || conf_find(listener, "tls");
	conf_each (listener, listeners) {
		const struct conf_node *tls = good(listener, "tls");
		const struct conf_node *redirect = good(listener, "redirect");

		if (tls)
			check_client_auth(report, tls);
		if (redirect && conf_find(listener, "tls"))
			conf_error(report, redirect->name_pos, NULL,
				"listener '%.*s' has 'tls': there is nothing to redirect to",
				SPAN_ARG(listener->name));
		else if (redirect && !any)
			conf_error(report, redirect->name_pos, "give one of them 'tls'",
				"no listener speaks TLS: there is nothing to redirect to");
	}
}
