/*
 * The TLS of a listener: from its keys in the file to certificates and a context, with what is
 * wrong with a certificate told where the file names it.
 */
#include <limits.h>

#include "proxy/settings/settings.h"
#include "proxy/tls/server.h"
#include "shared/secret.h"

#define WARN_DAYS 7 /* before a certificate ends: then it is a warning of each check */

static void add_certificate(struct conf_report *report, const struct conf_node *node,
	struct cert_store *store, struct err *err)
{
	struct span cert = conf_text(node, "cert"), key = conf_text(node, "key");
	char file[PATH_MAX], key_file[PATH_MAX];
	struct cert *c;

	if (span_copy(cert, file, sizeof(file)) < 0 ||
		span_copy(key, key_file, sizeof(key_file)) < 0)
		conf_error(report, node->pos, NULL, "the name of a file is too long");
	else if (cert_load(file, key.len ? key_file : NULL, &c, err) < 0)
		conf_error(report, conf_find(node, "cert")->pos, NULL, "%s", err->text);
	else if (cert_store_add(store, c, err) < 0)
		conf_error(report, node->pos, NULL, "%s", err->text);
}

static void add_directory(struct conf_report *report, const struct conf_node *node,
	struct cert_store *store, struct err *err)
{
	struct span written = node->text;
	char name[PATH_MAX];

	while (written.len > 1 && written.ptr[written.len - 1] == '/')
		written.len--;
	if (span_copy(written, name, sizeof(name)) < 0)
		conf_error(report, node->pos, NULL, "the name of the directory is too long");
	else if (cert_store_add_directory(store, name, err) < 0)
		conf_error(report, node->pos, NULL, "%s", err->text);
}

static void warn_of_ends(
	struct conf_report *report, const struct conf_node *node, const struct cert_store *store)
{
	int64_t now_s = (int64_t)(realtime_ns() / NS_PER_S);

	for (unsigned i = 0; i < store->count; i++) {
		const struct cert *c = store->certs[i];
		int64_t days = cert_days_left(c, now_s);

		if (c->from_s > now_s)
			conf_warning(report, node->pos, NULL,
				"the certificate in %s is not valid yet", c->file);
		else if (c->until_s <= now_s)
			conf_warning(report, node->pos, NULL, "the certificate in %s has expired",
				c->file);
		else if (days < WARN_DAYS)
			conf_warning(report, node->pos, NULL,
				"the certificate in %s expires in %lld days", c->file,
				(long long)days);
	}
}

/* NULL: reported, or out of memory (*ret_no_memory). */
static struct cert_store *load_store(
	struct conf_report *report, const struct conf_node *node, bool *ret_no_memory)
{
	struct cert_store *store = cert_store_new();
	size_t before = conf_report_errors(report);
	struct err err;
	int rc = store ? 0 : -1;

	if (rc == 0 && node->kind == CONF_SCALAR)
		add_directory(report, node, store, &err);
	else if (node->kind == CONF_MAP && rc == 0)
		add_certificate(report, node, store, &err);
	else if (rc == 0)
		conf_each (one, node)
			add_certificate(report, one, store, &err);
	if (rc == 0 && conf_report_errors(report) == before) {
		warn_of_ends(report, node, store);
		rc = cert_store_index(store);
		if (rc == 0)
			return store;
	}
	*ret_no_memory = rc < 0;
	cert_store_free(store);
	return NULL;
}

static enum client_auth auth_of(struct span word)
{
	if (span_eq(word, SPAN("required")))
		return CLIENT_AUTH_REQUIRED;
	return span_eq(word, SPAN("optional")) ? CLIENT_AUTH_OPTIONAL : CLIENT_AUTH_NONE;
}

static void write_hsts(const struct conf_node *tls, struct listener *l)
{
	const struct conf_node *hsts = conf_find(tls, "hsts");
	int n;

	if (!hsts)
		return;
	n = snprintf(l->hsts, sizeof(l->hsts), "Strict-Transport-Security: max-age=%llu\r\n",
		(unsigned long long)(hsts->num / NS_PER_S));
	ASSERT(n > 0 && (size_t)n < sizeof(l->hsts));
}

int listener_build_tls(struct conf_report *report, struct listener *l)
{
	const struct conf_node *node = conf_find(l->node, "tls");
	struct tls_server_options o;
	struct cert_store *store;
	bool no_memory = false;
	char ca[PATH_MAX];
	struct err err;

	if (!node)
		return 0;
	write_hsts(node, l);
	if (span_copy(conf_text(node, "client_ca"), ca, sizeof(ca)) < 0) {
		conf_error(report, node->pos, NULL, "the name of 'client_ca' is too long");
		return 0;
	}
	store = load_store(report, conf_find(node, "certificates"), &no_memory);
	if (!store)
		return no_memory ? -1 : 0;
	o = (struct tls_server_options){.name = l->name,
		.ciphers = conf_text(node, "ciphers"),
		.only_1_3 = span_eq(conf_text(node, "min_version"), SPAN("1.3")),
		.client_auth = auth_of(conf_text(node, "client_auth")),
		.client_ca = ca,
		.http = l->mode == LISTENER_HTTP,
		.h2 = l->h2,
		.ocsp = conf_text(node, "ocsp")};
	l->tls = tls_server_new(store, &o, &err);
	if (!l->tls)
		conf_error(report, node->name_pos, NULL, "%s", err.text);
	else if (l->tls->ocsp_file && tls_server_read_staples(l->tls, &err) < 0)
		conf_warning(report, conf_find(node, "ocsp")->pos, NULL, "%s", err.text);
	return 0;
}

static uint16_t secure_port(const struct settings *s)
{
	uint16_t first = 0;

	for (unsigned i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		for (unsigned j = 0; l->tls && l->mode == LISTENER_HTTP && j < l->bind_count; j++) {
			uint16_t port = addr_port(&l->binds[j]);

			if (!first || port == 443)
				first = port;
		}
	}
	return first;
}

void settings_build_redirects(struct settings *s)
{
	for (unsigned i = 0; i < s->listener_count; i++)
		if (conf_find(s->listeners[i].node, "redirect"))
			s->listeners[i].redirect_port = secure_port(s);
}

int settings_ticket_secret(
	struct settings *s, const uint8_t fallback[TICKET_SECRET_BYTES], struct err *err)
{
	struct span file = conf_text(s->conf->root, "failover.secret_file"), secret;
	uint8_t bytes[TICKET_SECRET_BYTES];
	char name[PATH_MAX];
	bool any = false;
	int rc;

	for (unsigned i = 0; i < s->listener_count; i++)
		any |= s->listeners[i].tls != NULL;
	if (!any)
		return 0;
	memcpy(bytes, fallback, sizeof(bytes));
	if (file.len) {
		if (span_copy(file, name, sizeof(name)) < 0)
			return err_set(err, "the name of 'secret_file' is too long");
		if (secret_read(name, &secret, err) < 0)
			return err_prefix(err, "no key for session tickets");
		rc = ticket_secret_make(secret, bytes, err);
		secret_free(secret);
		if (rc < 0)
			return -1;
	}
	for (unsigned i = 0; i < s->listener_count; i++)
		if (s->listeners[i].tls)
			memcpy(s->listeners[i].tls->ticket_secret, bytes, sizeof(bytes));
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}
