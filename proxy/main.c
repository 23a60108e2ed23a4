/*
 * tandem-proxy: the HTTP reverse proxy and load balancer. See doc/proxy.md for the rooms.
 */
#include "proxy/proxy.h"

static const char about[] = "HTTP reverse proxy and load balancer of a Tandem pair.";

static int check(const char *file)
{
	struct conf_report *report = conf_report_new();
	struct server_table *table = server_table_new();
	struct conf *conf = report && table ? conf_load(file, report) : NULL;
	struct settings *s = conf ? settings_build(conf, report, table, 1, NULL) : NULL;

	if (conf)
		conf_report_print(report, conf, stderr);
	if (s)
		settings_unref(s);
	else
		conf_free(conf);
	server_table_free(table);
	conf_report_free(report);
	return s ? 0 : 2;
}

int main(int argc, char **argv)
{
	struct daemon_options options;
	struct proxy proxy;
	struct err err = {{0}};
	int rc = daemon_parse(&options, argc, argv, "tandem-proxy", about, "http1 http2 tls tcp");

	if (rc >= 0)
		return rc;
	if (options.check)
		return check(options.config);
	if (proxy_start(&proxy, &options, &err) < 0) {
		log_event(LOG_ERROR, "proxy.failed", "cannot start", F_TEXT("reason", err.text));
		upgrade_refuse(proxy.inheritance.talk, err.text);
		upgrade_free(proxy.upgrade);
		return proxy.config_refused ? 2 : 1;
	}
	rc = proxy_run(&proxy);
	proxy_fini(&proxy);
	return rc;
}
