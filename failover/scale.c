#include "failover/scale.h"

#include <stdlib.h>

#include "failover/agent.h"
#include "shared/log.h"

static const struct scale_settings *find(const struct settings *s, const char *pool)
{
	for (unsigned i = 0; i < s->scale_count; i++)
		if (strcmp(s->scales[i].pool, pool) == 0)
			return &s->scales[i];
	return NULL;
}

int scale_from_proxy(struct agent *a, const json_t *params, struct err *err)
{
	const char *pool = json_string_value(json_object_get(params, "pool"));
	const char *why = json_string_value(json_object_get(params, "why"));
	json_int_t want = json_integer_value(json_object_get(params, "want"));
	const struct scale_settings *s = pool ? find(a->settings, pool) : NULL;
	struct hook_vars v = {0};
	char *json;

	if (!pool || !why || want < 1)
		return err_set(err, "proxy.scale: pool, want and why are needed");
	if (!s) /* a reload of one of us is ahead of the other's */
		return err_set(err, "pool '%s' has no 'scale'", pool);
	json = json_dumps(params, JSON_COMPACT);
	if (!json)
		return err_set(err, "out of memory");
	log_event(LOG_NOTICE, "autoscale.told", why, F_TEXT("pool", pool), F_INT("want", want));
	hook_vars_add(&v, "TANDEM_POOL", "%s", pool);
	hook_vars_add(&v, "TANDEM_WANT", "%lld", (long long)want);
	hook_vars_add(&v, "TANDEM_REASON", "%s", why);
	hook_vars_add(&v, "TANDEM_NODE", "%s", a->settings->node);
	hook_vars_add(&v, "TANDEM_JSON", "%s", json);
	alerts_deliver(a->alerts, "scale", &s->command, &v, s->webhook, json);
	free(json);
	return 0;
}
