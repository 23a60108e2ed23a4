#include "proxy/settings/stream.h"

#include <stdlib.h>

int stream_build_listener(const struct conf_node *node, struct listener *l)
{
	const struct conf_node *from = conf_find(node, "proxy_protocol.from");
	struct cidr *proxies;

	l->mode = (enum listener_mode)conf_u64(node, "mode");
	if (!from)
		return 0;
	proxies = calloc(from->count, sizeof(*proxies));
	l->proxies = proxies;
	if (!proxies)
		return -1;
	conf_each (network, from)
		proxies[l->proxy_count++] = network->cidr;
	return 0;
}

void stream_build_pool(const struct conf_node *node, struct pool *p)
{
	if (conf_find(node, "send_proxy")) /* v1, v2 */
		p->send_proxy = conf_u64(node, "send_proxy") == 0 ? PROXY_V1 : PROXY_V2;
	/* Another port is another service. */
	p->check.send_proxy = p->check.port ? PROXY_NONE : p->send_proxy;
}

bool listener_expects_header(const struct listener *l, const struct addr *a)
{
	for (unsigned i = 0; i < l->proxy_count; i++)
		if (cidr_contains(&l->proxies[i], a))
			return true;
	return false;
}
