#include "proxy/settings/scale.h"

void scale_build(struct scaling_conf *c, const struct conf_node *pool)
{
	const struct conf_node *scale = conf_find(pool, "scale"), *n;

	*c = (struct scaling_conf){0};
	if (!scale)
		return;
	c->min = (unsigned)conf_u64(scale, "min");
	c->max = (unsigned)conf_u64(scale, "max");
	c->for_ns = conf_u64(scale, "for");
	c->cooldown_ns = conf_u64(scale, "cooldown");
	n = conf_find(scale, "signals.in_flight");
	if (n)
		c->targets[SCALING_IN_FLIGHT] = n->ratio;
	n = conf_find(scale, "signals.queue");
	if (n)
		c->targets[SCALING_QUEUE] = (double)n->num;
	n = conf_find(scale, "signals.p99");
	if (n)
		c->targets[SCALING_P99] = (double)n->num / NS_PER_MS;
	n = conf_find(scale, "signals.load");
	if (n)
		c->targets[SCALING_LOAD] = n->ratio;
}
