#include "failover/alerts.h"

#include <jansson.h>
#include <stdlib.h>

#include "failover/agent.h"
#include "failover/webhook.h"
#include "shared/assert.h"
#include "shared/log.h"

struct alerts {
	struct agent *agent;
	struct alerting core;
	struct webhook *webhook; /* NULL: no rule has needed one yet */
	ev_timer due;
};

/* --- telling -----------------------------------------------------------------------------------
 */
static const char *state_of(const struct alert_notice *n)
{
	return alert_kind_is_event(n->kind) ? "event" : n->on ? "on" : "off";
}

/* `text` is for those who show only that. Owned; NULL: out of memory. */
static char *to_json(const struct alerts *a, const struct alert_notice *n)
{
	const char *node = a->agent->settings->node, *state = state_of(n);
	char text[512], since[25];
	json_t *object;
	char *out;

	time_format(realtime_ns() - n->lasts_ns, since);
	(void)snprintf(text, sizeof(text), "[%s] %s %s%s: %s", node, alert_kind_name(n->kind),
		n->subject, n->on ? "" : " is over", n->words);
	object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s}", "alert",
		alert_kind_name(n->kind), "state", state, "subject", n->subject, "node", node,
		"words", n->words, "since", since, "events", (json_int_t)n->events, "text", text);
	out = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return out;
}

void alerts_deliver(struct alerts *a, const char *label, const struct hook_command *command,
	const struct hook_vars *vars, const char *webhook, const char *json)
{
	const struct hook_call call = {.lane = 0,
		.label = label,
		.command = command,
		.vars = vars,
		.deadline_ns = a->agent->settings->hook_timeout_ns};
	struct err err;

	if (command->count && hooks_run(a->agent->hooks, &call, &err) == 0)
		log_event(LOG_ERROR, "alert.unsent", err.text);
	if (webhook[0] && !a->webhook)
		a->webhook = webhook_new(&err);
	if (webhook[0] && (!a->webhook || webhook_post(a->webhook, webhook, json, &err) != 0))
		log_event(LOG_ERROR, "alert.unsent", err.text);
}

static void tell(struct alerts *a, const struct alert_notice *n)
{
	const struct alert_rule_settings *r = &a->agent->settings->alerts[n->rule];
	char *json = to_json(a, n);
	struct hook_vars v = {0};

	log_event(LOG_NOTICE, "alert.told", n->words, F_TEXT("alert", alert_kind_name(n->kind)),
		F_TEXT("subject", n->subject), F_TEXT("state", state_of(n)));
	if (!json) {
		log_event(LOG_ERROR, "alert.unsent", "out of memory");
		return;
	}
	hook_vars_add(&v, "TANDEM_ALERT", "%s", alert_kind_name(n->kind));
	hook_vars_add(&v, "TANDEM_ALERT_STATE", "%s", state_of(n));
	hook_vars_add(&v, "TANDEM_SUBJECT", "%s", n->subject);
	hook_vars_add(&v, "TANDEM_NODE", "%s", a->agent->settings->node);
	hook_vars_add(&v, "TANDEM_REASON", "%s", n->words);
	hook_vars_add(&v, "TANDEM_JSON", "%s", json);
	alerts_deliver(a, "alert", &r->command, &v, r->webhook, json);
	free(json);
}

static void look(struct alerts *a)
{
	uint64_t now_ns = monotonic_ns(), next_ns;
	struct alert_notice n;

	while (alerting_next(&a->core, now_ns, &n, &next_ns))
		tell(a, &n);
	ev_timer_stop(a->agent->loop, &a->due);
	if (next_ns == UINT64_MAX)
		return;
	ev_timer_set(&a->due, (double)(next_ns - now_ns) / 1e9, 0.);
	ev_timer_start(a->agent->loop, &a->due);
}

static void on_due(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	look(w->data);
}

/* Not now: the caller may be in the middle of a move. */
static void look_soon(struct alerts *a)
{
	ev_timer_stop(a->agent->loop, &a->due);
	ev_timer_set(&a->due, 0., 0.);
	ev_timer_start(a->agent->loop, &a->due);
}

void alert(struct alerts *a, enum alert_kind kind, const char *subject, bool on, const char *words)
{
	if (!a)
		return;
	alerting_set(&a->core, kind, subject, on, words, monotonic_ns());
	look_soon(a);
}

/* --- what the proxy says -----------------------------------------------------------------------
 */
static bool is_the_proxys(enum alert_kind kind)
{
	return kind == ALERT_SERVER_DOWN || kind == ALERT_POOL_DEGRADED ||
	       kind == ALERT_POOL_DOWN || kind == ALERT_CERT_EXPIRING;
}

static bool is_named(const json_t *list, const struct alert_condition *c)
{
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		const char *kind = json_string_value(json_object_get(item, "kind"));
		const char *subject = json_string_value(json_object_get(item, "subject"));

		if (kind && subject && strcmp(kind, alert_kind_name(c->kind)) == 0 &&
			strcmp(subject, c->subject) == 0)
			return true;
	}
	return false;
}

void alerts_from_proxy(struct alerts *a, const json_t *params)
{
	const json_t *list = json_object_get(params, "conditions"), *item;
	enum alert_kind kind;
	size_t i;

	for (i = 0; i < ALERT_CONDITIONS_MAX; i++) {
		struct alert_condition *c = &a->core.conditions[i];

		if (c->subject[0] && c->on && is_the_proxys(c->kind) && !is_named(list, c))
			alert(a, c->kind, c->subject, false, "it is well again");
	}
	json_array_foreach (list, i, item) {
		const char *name = json_string_value(json_object_get(item, "kind"));
		const char *subject = json_string_value(json_object_get(item, "subject"));
		const char *words = json_string_value(json_object_get(item, "words"));

		if (name && subject && subject[0] && words &&
			alert_kind_parse(span_of(name), &kind) == 0 && is_the_proxys(kind))
			alert(a, kind, subject, true, words);
	}
}

/* --- life --------------------------------------------------------------------------------------
 */
void alerts_apply(struct alerts *a)
{
	const struct settings *s = a->agent->settings;
	struct alert_rule rules[ALERT_RULES_MAX];

	for (unsigned i = 0; i < s->alert_count; i++)
		rules[i] = s->alerts[i].rule;
	alerting_rules(&a->core, rules, s->alert_count);
	look_soon(a);
}

struct alerts *alerts_new(struct agent *agent, struct err *err)
{
	struct alerts *a = calloc(1, sizeof(*a));

	if (!a) {
		err_set(err, "out of memory");
		return NULL;
	}
	a->agent = agent;
	ev_init(&a->due, on_due);
	a->due.data = a;
	alerts_apply(a);
	return a;
}

void alerts_free(struct alerts *a)
{
	if (!a)
		return;
	look(a); /* what the stop itself brought */
	ev_timer_stop(a->agent->loop, &a->due);
	webhook_free(a->webhook);
	free(a);
}
