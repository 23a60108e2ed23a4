/*
 * What a request is known by where a pool's balance is `hash`: the client, or something that it
 * says.
 */
#include "proxy/exchange/exchange.h"

#include "proxy/http/cookie.h"
#include "proxy/http/items.h"
#include "shared/map.h"

enum { KEY_MAX = 1024 }; /* what is longer is told apart by its beginning */

static const uint64_t seed[2] = {UINT64_C(0x6b65792d6f66), UINT64_C(0x72657175657374)};

/* An IPv6 client has a /64 to itself. */
static struct span client_network(const struct addr *client, struct addr *room)
{
	*room = *client;
	addr_unmap(room);
	if (room->sa.sa_family == AF_INET6)
		return span_make(&room->in6.sin6_addr, 8);
	return span_make(&room->in.sin_addr, 4);
}

static struct span value_of_field(const struct http_head *h, struct span name)
{
	for (unsigned i = 0; i < h->field_count; i++)
		if (span_ieq(h->fields[i].name, name))
			return h->fields[i].value;
	return (struct span){0};
}

/* The value of `name` in "a=1&b=2". */
static struct span value_in_query(struct span list, struct span name)
{
	struct span found, value;

	while (parameter_next(&list, '&', &found, &value))
		if (span_eq(found, name) && value.len)
			return value;
	return (struct span){0};
}

/* In lower case, into room. */
static struct span host_of(struct span host, char room[KEY_MAX])
{
	host.len = host.len < KEY_MAX ? host.len : KEY_MAX;
	for (size_t i = 0; i < host.len; i++)
		room[i] = ascii_lower(host.ptr[i]);
	return span_make(room, host.len);
}

static struct span key_of(const struct route_ask *ask, const struct hash_conf *by,
	struct addr *addr, char room[KEY_MAX])
{
	switch (by->key) {
	case HASH_CLIENT_IP:
		return client_network(ask->client, addr);
	case HASH_HEADER:
		return value_of_field(ask->head, by->name);
	case HASH_COOKIE:
		return http_cookie_find(ask->head, by->name);
	case HASH_QUERY:
		return value_in_query(ask->query, by->name);
	case HASH_PATH:
		return ask->path;
	case HASH_HOST:
		return host_of(ask->host, room);
	}
	ASSERT(!"unknown key");
	return (struct span){0};
}

bool exchange_hash_key(const struct route_ask *ask, const struct hash_conf *by, uint64_t *ret_key)
{
	UNFILLED char room[KEY_MAX];
	struct addr addr;
	struct span key = key_of(ask, by, &addr, room);

	if (!key.len)
		return false;
	*ret_key = hash_bytes(span_make(key.ptr, key.len < KEY_MAX ? key.len : KEY_MAX), seed);
	return true;
}
