/*
 * Whose request it is, and whether it has been here before: what the proxies in front of us say of
 * themselves, as far as they are trusted.
 */
#include "proxy/exchange/exchange.h"

/* An address, to which some proxies add the client's port: 192.0.2.1:4711, [2001:db8::1]:4711. */
static int read_address(struct span text, struct addr *found)
{
	struct span ip = exchange_without_port(text);

	if (addr_parse_ip(text, found, NULL) == 0)
		return 0;
	if (ip.len > 2 && ip.ptr[0] == '[' && ip.ptr[ip.len - 1] == ']')
		ip = span_make(ip.ptr + 1, ip.len - 2);
	return addr_parse_ip(ip, found, NULL);
}

/* Goes from the right through a list of addresses while they are trusted; false: stops here. */
static bool look_behind(const struct listener *l, struct span list, struct addr *found)
{
	size_t end_at = list.len;

	while (end_at > 0 && listener_trusts(l, found)) {
		size_t from = end_at;

		while (from > 0 && list.ptr[from - 1] != ',')
			from--;
		if (read_address(span_trim(span_make(list.ptr + from, end_at - from)), found) < 0)
			return false; /* what cannot be read is nobody's */
		end_at = from > 0 ? from - 1 : 0;
	}
	return listener_trusts(l, found);
}

bool identity_find(const struct listener *l, const struct http_head *h, struct addr *found)
{
	unsigned left = h->field_count;

	if (!listener_trusts(l, found))
		return false;
	while (left-- > 0) { /* the last line first: a proxy may append one of its own */
		const struct http_field *f = &h->fields[left];

		if (f->id == HTTP_F_X_FORWARDED_FOR && !look_behind(l, f->value, found))
			break;
	}
	return true;
}

void exchange_find_client(struct exchange *x)
{
	x->client_addr = &x->client->addr;
	x->client_ip = client_ip(x->client);
	x->peer_trusted = listener_trusts(x->listener, x->client_addr);
	if (!x->peer_trusted)
		return;
	x->client_addr_room = x->client->addr;
	x->client_addr = &x->client_addr_room;
	identity_find(x->listener, &x->request, &x->client_addr_room);
	x->client_ip =
		span_make(x->client_ip_room, addr_format_ip(x->client_addr, x->client_ip_room));
}

struct span exchange_request_id(const struct exchange *x)
{
	struct span given = {0};

	ASSERT(x->has_request_id);
	if (x->peer_trusted)
		given = http_request_id_given(&x->request);
	return given.len ? given : span_make(x->request_id, sizeof(x->request_id));
}

bool exchange_seen_in_via(const struct exchange *x)
{
	struct span via = x->listener->via;

	if (!via.len || !x->request.first[HTTP_F_VIA])
		return false;
	for (unsigned i = x->request.first[HTTP_F_VIA] - 1u; i < x->request.field_count; i++) {
		const struct http_field *f = &x->request.fields[i];

		if (f->id != HTTP_F_VIA)
			continue;
		for (size_t at = 0; at < f->value.len;) {
			size_t comma = span_find(f->value, ',', at);
			struct span one = span_trim(span_make(f->value.ptr + at, comma - at));
			size_t space = span_find(one, ' ', 0);

			if (space < one.len) {
				struct span by = span_trim(span_from(one, space));

				by.len = span_find(by, ' ', 0); /* a comment may follow */
				if (span_ieq(by, via))
					return true;
			}
			at = comma + 1;
		}
	}
	return false;
}
