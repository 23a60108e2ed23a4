/*
 * Sticky sessions on their way through an exchange: the cookie that a user brings, and the one that
 * he is given.
 */
#include "proxy/exchange/exchange.h"

#include "proxy/http/cookie.h"
#include "proxy/pool/sticky.h"

uint64_t exchange_sticky(const struct exchange *x)
{
	return sticky_parse(http_cookie_find(&x->request, x->pool->sticky.cookie));
}

/* What the client speaks is encrypted, as far as we or those whom we trust can tell. */
bool exchange_is_secure(const struct exchange *x)
{
	const struct http_field *said = http_field_find(&x->request, HTTP_F_X_FORWARDED_PROTO);

	return x->listener->tls ||
	       (x->peer_trusted && said && span_ieq(said->value, SPAN("https")));
}

struct span exchange_set_cookie(const struct exchange *x, char *room, size_t size)
{
	const struct sticky_conf *c = &x->server_pool->sticky;
	char value[STICKY_TEXT_LEN], max_age[40] = "";
	uint64_t right;
	int n;

	ASSERT(c->cookie.len);
	right = sticky_value(c->key, x->server);
	if (exchange_sticky(x) == right)
		return (struct span){0};
	sticky_format(right, value);
	if (c->max_age_s)
		snprintf(max_age, sizeof(max_age), "; Max-Age=%llu",
			(unsigned long long)c->max_age_s);
	/* Nobody else may be given a stored copy of it: private (RFC 9111 5.2.2.7). */
	n = snprintf(room, size,
		"Set-Cookie: %.*s=%.*s; Path=/%s; HttpOnly; SameSite=Lax%s\r\n"
		"Cache-Control: private\r\n",
		SPAN_ARG(c->cookie), STICKY_TEXT_LEN, value, max_age,
		exchange_is_secure(x) ? "; Secure" : "");
	ASSERT(n > 0 && (size_t)n < size); /* a name is short: the table's bound */
	return span_make(room, (size_t)n);
}
