/*
 * Rules about TLS that take several keys: that of listeners, and of pools to their servers.
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

bool conf_pool_has_tls(const struct conf_node *pool)
{
	const struct conf_node *tls = good(pool, "tls");

	return tls && (tls->kind == CONF_MAP || tls->num);
}

/* Targets of SRV records have names of their own, which nobody vouches for. */
static void check_service(
	struct conf_report *report, const struct conf_node *pool, const struct conf_node *at)
{
	const struct conf_node *dns = good(pool, "discover.dns");

	if (at && dns && span_starts(dns->text, SPAN("_")))
		conf_error(report, at->name_pos, "write tls: {server_name: NAME}",
			"servers of pool '%.*s' come by SRV records: which name their "
			"certificates must have has to be said",
			SPAN_ARG(pool->name));
}

void conf_rules_pool_tls(struct conf_report *report, const struct conf_node *pool)
{
	const struct conf_node *tls = good(pool, "tls"), *verify, *ca, *key;

	if (!conf_pool_has_tls(pool))
		return;
	verify = good(tls, "verify");
	ca = good(tls, "ca");
	key = good(tls, "key");
	if (verify && !verify->num && ca)
		conf_error(report, ca->name_pos, "leave out one of them",
			"'ca' has no effect with 'verify: false'");
	if (key && !conf_find(tls, "cert"))
		conf_error(report, key->name_pos, "add cert: FILE",
			"'key' is of no use without 'cert'");
	if ((!verify || verify->num) && !conf_find(tls, "server_name"))
		check_service(report, pool, tls);
}
