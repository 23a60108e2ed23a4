#include "proxy/discover/registering.h"

#include <stdlib.h>

#include "proxy/discover/discovery.h"
#include "proxy/discover/registry.h"
#include "shared/digest.h"
#include "shared/log.h"

static void say(struct httpd_answer *a, uint16_t status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	a->status = text ? status : 500;
	a->type = "application/json";
	if (text)
		buf_printf(&a->body, "%s\n", text);
	free(text);
	json_decref(json);
}

static void refuse(struct httpd_answer *a, uint16_t status, const char *why)
{
	say(a, status, json_pack("{s:s}", "error", why));
}

/* --- who may -----------------------------------------------------------------------------------
 */

/* Constant time, whatever was sent. */
static bool knows_token(const struct register_conf *c, struct span authorization)
{
	uint8_t digest[sizeof(c->token_sha256)], differs = 0;
	struct span token = {0};

	if (authorization.len > 7 && span_ieq(span_make(authorization.ptr, 7), SPAN("Bearer ")))
		token = span_trim(span_from(authorization, 7));
	digest_sha256(token, digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		differs |= digest[i] ^ c->token_sha256[i];
	return token.len && differs == 0;
}

/* "/v1/pools/POOL/servers/NAME". */
static bool read_path(struct span path, struct span *ret_pool, struct span *ret_name)
{
	struct span parts[5];

	for (unsigned i = 0; i < countof(parts); i++) {
		size_t end;

		if (path.len == 0 || path.ptr[0] != '/')
			return false;
		path = span_from(path, 1);
		end = span_find(path, '/', 0);
		parts[i] = span_make(path.ptr, end);
		path = span_from(path, end);
	}
	*ret_pool = parts[2];
	*ret_name = parts[4];
	return path.len == 0 && span_eq(parts[0], SPAN("v1")) && span_eq(parts[1], SPAN("pools")) &&
	       span_eq(parts[3], SPAN("servers"));
}

static const struct pool *find_pool(const struct settings *s, struct span name)
{
	for (unsigned i = 0; i < s->pool_count; i++)
		if (span_eq(s->pools[i].name, name))
			return &s->pools[i];
	return NULL;
}

/* --- what it says ------------------------------------------------------------------------------
 */

/* Without a host it is whence it asks: ":8080". */
static int read_address(
	const json_t *value, const struct addr *client, struct addr *ret, struct err *err)
{
	const char *text = json_string_value(value);

	if (!text)
		return err_set(err, "'address' is missing: write IP:PORT, or :PORT for the one "
				    "that asks");
	if (addr_parse(span_of(text), ret, err) < 0)
		return -1;
	if (addr_is_any(ret)) {
		uint16_t port = addr_port(ret);

		*ret = *client;
		addr_set_port(ret, port);
	}
	return 0;
}

static int read_value(const char *key, const json_t *value, struct registration *w, struct err *err)
{
	const char *text = json_string_value(value);
	double number = json_number_value(value);

	if (strcmp(key, "address") == 0)
		return 0; /* has been seen to */
	if (strcmp(key, "weight") == 0) {
		if (!json_is_integer(value) || number < 1 || number > 256)
			return err_set(err, "'weight' is a number from 1 to 256");
		w->weight = (uint32_t)number;
		return 0;
	}
	if (strcmp(key, "zone") == 0) {
		if (!text || strlen(text) > 64)
			return err_set(err, "'zone' is a text of at most 64 characters");
		w->zone = span_of(text);
		return 0;
	}
	if (strcmp(key, "backup") == 0) {
		if (!json_is_boolean(value))
			return err_set(err, "'backup' is true or false");
		w->backup = json_is_true(value);
		return 0;
	}
	if (strcmp(key, "lease") == 0) {
		if (!text || duration_parse(span_of(text), &w->lease_ns, err) < 0 ||
			w->lease_ns < REGISTRY_LEASE_LEAST_NS ||
			w->lease_ns > REGISTRY_LEASE_MOST_NS)
			return err_set(err, "'lease' is a time such as \"10s\", from 1s to 1h");
		return 0;
	}
	if (strcmp(key, "load") == 0) {
		if (!json_is_number(value) || number < 0 || number > 1)
			return err_set(err, "'load' is a number from 0 to 1");
		w->load = number;
		return 0;
	}
	return err_set(
		err, "unknown key '%s': there are address, weight, zone, backup, lease, load", key);
}

static int read_body(
	json_t *body, const struct addr *client, struct registration *w, struct err *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(body))
		return err_set(err, "the content is not a JSON object, such as {\"address\": "
				    "\":8080\"}");
	if (read_address(json_object_get(body, "address"), client, &w->address, err) < 0)
		return -1;
	json_object_foreach (body, key, value)
		if (read_value(key, value, w, err) < 0)
			return -1;
	return 0;
}

static void put(struct registry *registry, const struct register_conf *c, struct span name,
	const struct httpd_request *r, struct httpd_answer *a)
{
	json_t *body = json_loadb(r->body.ptr, r->body.len, JSON_REJECT_DUPLICATES, NULL);
	struct registration what = {.name = name, .weight = 1, .lease_ns = c->lease_ns, .load = -1};
	char address[ADDR_TEXT_MAX];
	bool is_new = false;
	struct err err;

	if (read_body(body, &r->client, &what, &err) < 0 ||
		registry_put(registry, &what, &is_new, &err) < 0) {
		refuse(a, 400, err.text);
	} else {
		addr_format(&what.address, address);
		say(a, is_new ? 201 : 200,
			json_pack("{s:s%, s:s, s:I}", "server", name.ptr, name.len, "address",
				address, "lease_ms", (json_int_t)(what.lease_ns / NS_PER_MS)));
	}
	json_decref(body);
}

void registering_on_request(struct discovery *d, const struct settings *s,
	const struct httpd_request *r, struct httpd_answer *a)
{
	const struct pool *p = NULL;
	struct registry *registry;
	struct span pool, name;

	if (!read_path(r->path, &pool, &name)) {
		refuse(a, 404, "write /v1/pools/POOL/servers/NAME");
		return;
	}
	p = find_pool(s, pool);
	/* Who has no token does not learn which pools there are. */
	if (!p || !p->registering.on || !knows_token(&p->registering, r->authorization)) {
		char client[ADDR_TEXT_MAX];

		addr_format_ip(&r->client, client);
		log_event(LOG_WARNING, "register.refused", "no such pool, or not its token",
			F_TEXT("client", client), F_SPAN("pool", pool));
		refuse(a, 401, "this needs 'Authorization: Bearer TOKEN' with the pool's token");
		return;
	}
	registry = discovery_registry(d, pool);
	if (!registry) {
		refuse(a, 503, "out of memory");
	} else if (discovery_leases_owner(d) != LEASES_OURS) {
		refuse(a, 503, "another process is taking over: try again in a moment");
	} else if (r->method == HTTP_POST || r->method == HTTP_PUT) {
		put(registry, &p->registering, name, r, a);
	} else if (r->method == HTTP_DELETE) {
		if (registry_leave(registry, name) < 0)
			refuse(a, 404, "it is not registered");
		else
			say(a, 200, json_pack("{s:s%}", "server", name.ptr, name.len));
	} else {
		refuse(a, 405, "POST or PUT registers and renews, DELETE leaves");
		a->allow = "POST, PUT, DELETE";
	}
}
