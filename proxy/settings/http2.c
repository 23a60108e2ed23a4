/*
 * HTTP/2 as a listener has it, and a pool.
 */
#include "proxy/settings/settings.h"

void settings_pool_h2(const struct conf_node *node, struct pool *p)
{
	p->h2 = conf_u64(node, "protocol") == 1;
}

void settings_h2(const struct conf_node *node, struct listener *l)
{
	l->h2 = conf_bool(node, "h2");
	l->h2c = conf_bool(node, "h2c");
	l->h2_conf.streams = (uint32_t)conf_u64(node, "limits.h2_streams");
	l->h2_conf.stream_window = (uint32_t)conf_u64(node, "limits.h2_stream_window");
	l->h2_conf.connection_window = (uint32_t)conf_u64(node, "limits.h2_connection_window");
	l->h2_conf.frame_bytes = (uint32_t)conf_u64(node, "limits.h2_frame");
}
