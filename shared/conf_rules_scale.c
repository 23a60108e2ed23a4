/*
 * Rules of autoscaling: who is told, and by what it goes.
 */
#include "shared/conf_build.h"

static void check_reach(struct conf_report *report, const struct conf_node *scale)
{
	const struct conf_node *webhook = good(scale, "webhook");

	if (!conf_find(scale, "exec") && !conf_find(scale, "webhook"))
		conf_error(report, scale->name_pos, NULL,
			"'scale' reaches nobody: add exec: PROGRAM or webhook: URL");
	if (webhook && !span_starts(webhook->text, SPAN("http://")) &&
		!span_starts(webhook->text, SPAN("https://")))
		conf_error(report, webhook->pos, NULL,
			"a webhook is a URL such as https://hooks.example.com/scale");
}

void conf_rules_scale(
	struct conf_report *report, const struct conf_node *root, const struct conf_node *pool)
{
	const struct conf_node *scale = good(pool, "scale"), *signals, *in_flight, *least, *most;

	if (!scale)
		return;
	signals = good(scale, "signals");
	in_flight = good(signals, "in_flight");
	least = good(scale, "min");
	most = good(scale, "max");
	check_reach(report, scale);
	if (!conf_find(root, "failover"))
		conf_error(report, scale->name_pos, NULL,
			"'scale' needs 'failover': it is the agent that runs programs and "
			"webhooks");
	if (signals && !signals->first)
		conf_error(report, signals->name_pos, NULL,
			"'signals' is empty: write in_flight, queue, p99 or load");
	if (in_flight && !conf_find(pool, "limits.connections_per_server"))
		conf_error(report, in_flight->name_pos, NULL,
			"'in_flight' is a part of limits.connections_per_server, which pool '%.*s' "
			"does not have",
			SPAN_ARG(pool->name));
	if (most && conf_u64(scale, "min") > most->num)
		conf_error(report, least ? least->pos : most->pos, NULL,
			"min %llu is more than max %llu",
			(unsigned long long)conf_u64(scale, "min"), (unsigned long long)most->num);
}
