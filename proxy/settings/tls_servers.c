/*
 * The TLS of a pool to its servers: from its keys in the file to a context, with what is wrong with
 * a file told where it is named.
 */
#include <limits.h>

#include "proxy/settings/settings.h"
#include "proxy/tls/cert.h"
#include "proxy/tls/client.h"

/* NULL: it is not written, or too long, which is reported. */
static const char *file_of(struct conf_report *report, const struct conf_node *tls, const char *key,
	char room[PATH_MAX])
{
	const struct conf_node *node = conf_find(tls, key);

	if (!node)
		return NULL;
	if (span_copy(node->text, room, PATH_MAX) == 0)
		return room;
	conf_error(report, node->pos, NULL, "the name of the file is too long");
	return NULL;
}

static void use_certificate(
	struct conf_report *report, const struct conf_node *tls, struct tls_client *t)
{
	char file[PATH_MAX], key_file[PATH_MAX];
	const char *cert = file_of(report, tls, "cert", file);
	const char *key = file_of(report, tls, "key", key_file);
	struct cert *c;
	struct err err;

	if (!cert)
		return;
	if (cert_load(cert, key, &c, &err) < 0 || tls_client_use(t, c, &err) < 0)
		conf_error(report, conf_find(tls, "cert")->pos, NULL, "%s", err.text);
	else if (cert_days_left(c, (int64_t)(realtime_ns() / NS_PER_S)) < 0)
		conf_warning(report, conf_find(tls, "cert")->pos, NULL,
			"the certificate in %s has expired", cert);
}

/* The host in "host:443"; empty: it is an address, or a service. */
static struct span host_in(struct span endpoint)
{
	struct addr address;
	struct span host;
	uint16_t port;
	struct err err;

	if (endpoint_parse(endpoint, &address, &host, &port, &err) < 0)
		return (struct span){0};
	return host;
}

static int add_hosts(const struct conf_node *pool, struct tls_client *t, struct err *err)
{
	struct span found = host_in(conf_text(pool, "discover.dns"));
	int rc = 0;

	if (found.len)
		rc = tls_client_add_host(t, (struct span){0}, found, err);
	conf_each (server, conf_find(pool, "servers")) {
		struct span host = host_in(conf_text(server, "address"));

		if (host.len && rc == 0)
			rc = tls_client_add_host(t, server->name, host, err);
	}
	return rc;
}

int pool_build_tls(struct conf_report *report, struct pool *p)
{
	const struct conf_node *tls = conf_find(p->node, "tls");
	struct tls_client_options o = {.verify = true};
	char ca[PATH_MAX], name[254];
	struct err err;

	if (!tls || (tls->kind == CONF_SCALAR && !tls->num))
		return 0;
	if (tls->kind == CONF_MAP) {
		o.verify = conf_bool(tls, "verify");
		o.ca = file_of(report, tls, "ca", ca);
		if (span_copy(conf_text(tls, "server_name"), name, sizeof(name)) == 0 && name[0])
			o.server_name = name;
	}
	p->tls = tls_client_new(&o, &err);
	if (!p->tls) {
		conf_error(report, (o.ca ? conf_find(tls, "ca") : tls)->pos, NULL, "%s", err.text);
		return 0;
	}
	if (tls->kind == CONF_MAP)
		use_certificate(report, tls, p->tls);
	if ((!p->tls->name && add_hosts(p->node, p->tls, &err) < 0) ||
		tls_client_seal(p->tls, &err) < 0)
		return -1;
	p->check.tls = p->tls;
	return 0;
}
